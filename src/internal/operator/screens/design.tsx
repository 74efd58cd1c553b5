/** All components on one page, for people who work on them. */
import type { VNode } from "preact"
import type * as Query from "../../../Query.js"
import { OperationBadge, Tag } from "../design/Badge.js"
import { ChangeArticle, ChangeTable } from "../design/Changes.js"
import { Command } from "../design/Command.js"
import { Empty } from "../design/Empty.js"
import { Facts } from "../design/Facts.js"
import { JsonView } from "../design/JsonView.js"
import { KeyValue } from "../design/KeyValue.js"
import { Notice } from "../design/Notice.js"
import { Pager } from "../design/Pager.js"
import { Panel } from "../design/Panel.js"
import { Rail } from "../design/Rail.js"
import { Hint, Search } from "../design/Search.js"
import { Text } from "../design/Text.js"
import { type Page, page } from "../screen.js"

const transaction: Query.AuditTransaction = {
  id: "88214",
  occurredAt: "2026-11-21T14:03:11.204118Z",
  actor: { type: "user", id: "42", label: "billing desk", impersonator: { type: "admin", id: "3" } },
  correlationId: "req-9f2c",
  requestId: null,
  jobId: null,
  traceId: null,
  source: "web",
  remoteIp: "203.0.113.9",
  meta: {},
  contextError: null,
  dbUser: "app",
  applicationName: "shop",
  clientAddr: null
}

const change = (id: string, fields: Partial<Query.Change>): Query.Change => ({
  id,
  transactionId: "88214",
  capturedAt: "2026-11-21T14:03:11.204118Z",
  tableSchema: "public",
  tableName: "invoices",
  partitionName: null,
  op: "update",
  rowPk: { id: "2041" },
  rowKey: "2041",
  previousRowKey: null,
  changedFields: null,
  changedFrom: null,
  dataAfter: null,
  details: null,
  transaction,
  action: { id: "7", name: "invoice.refunded", status: "ok", correlationId: "req-9f2c" },
  ...fields
})

const update = change("1", {
  changedFields: ["status", "note", "card_last4", "settings", "name"],
  changedFrom: {
    status: "open",
    note: "Customer was charged once for the November plan; see ticket 5512.",
    card_last4: "[masked]",
    settings: { reminder: "weekly", copies: 2, to: ["ada@acme.test"], footer: null },
    name: "ב\u202Eevil\u202C"
  },
  dataAfter: {
    status: "refunded",
    note: "Customer was charged twice for the November plan; see ticket 5512.",
    card_last4: "[masked]",
    settings: { reminder: "never", copies: 2, to: ["ada@acme.test", "ben@acme.test"], footer: null },
    name: "<script>alert(1)</script>"
  }
})

const inserted = change("2", {
  op: "insert",
  tableName: "refunds",
  rowKey: "17",
  dataAfter: { id: 17, invoice_id: 2041, amount: "120.00", method: "card", note: "", sent_at: null }
})

const removed = change("3", {
  op: "delete",
  transactionId: "88213",
  rowKey: '["acme","1999"]',
  changedFrom: { number: "INV-1999", amount: "80.00" },
  transaction: { ...transaction, id: "88213", actor: null },
  action: null
})

const View = (): VNode => (
  <>
    <h1>Components</h1>
    <Facts>
      <b>4</b> changes to invoices by user 42, last 24 hours (UTC), <b>1</b> field redacted.
    </Facts>
    <Search searchText="invoices 2041" />
    <Hint />
    <Notice>
      <b>All tables are captured as configured.</b>
    </Notice>
    <Notice tone="warn">
      <b>1 of 14 tables is not captured as configured.</b>
      <span>Nothing is claimed of the time in between.</span>
    </Notice>
    <p>
      {(["insert", "update", "delete", "truncate", "baseline"] as const).map((op) => (
        <OperationBadge key={op} op={op} />
      ))}{" "}
      <Tag>plain</Tag> <Tag tone="good">covered</Tag> <Tag tone="warn">no actor</Tag> <Tag tone="bad">failed</Tag>
    </p>
    <ChangeTable caption="Changes" changes={[update, inserted, removed]} />
    <Pager newer="#newer" older="#older">
      3 changes
    </Pager>
    <ChangeArticle
      diff={{
        change: update,
        fields: ["card_last4", "name", "note", "settings", "status"].map((field) => ({
          field,
          before: update.changedFrom?.[field] ?? null,
          after: update.dataAfter?.[field] ?? null
        }))
      }}
      heading={<h2>public.invoices 2041</h2>}
      here
    />
    <Rail
      marks={[
        { kind: "insert", at: 0, href: "#a", name: "insert", here: false },
        { kind: "schema", at: 10, href: "#b", name: "renamed", here: false },
        { kind: "update", at: 20, href: "#c", name: "update", here: true },
        { kind: "delete", at: 30, href: "#d", name: "delete", here: false }
      ]}
      spans={[]}
      earlier="#b"
      later="#d"
      first="2 Mar 2026"
      last="22 Nov 2026"
    />
    <div class="cols">
      <Panel title="Context">
        <KeyValue
          entries={[
            { name: "Transaction", value: <code>88214</code> },
            { name: "Actor", value: <Text text="user 42" /> }
          ]}
        />
      </Panel>
      <Panel title="Document">
        <JsonView value={{ plan: "gold", limits: { seats: 12, regions: ["eu", "us"] }, note: null }} />
      </Panel>
      <Empty title="No change matches">
        <p>Take a filter off above, or ask for more time.</p>
      </Empty>
    </div>
    <Command question={{ _tag: "History", table: "invoices", key: "2041" }} />
  </>
)

export const designPage: Page = page({
  title: "Components",
  place: "home",
  style: [1, 2, 3, 4].map((at) => `.rail li:nth-child(${at}){left:${at * 20}%}`).join(""),
  view: () => <View />
})
