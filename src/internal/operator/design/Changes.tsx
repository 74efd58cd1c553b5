/** Changes as a table grouped by transaction, or as one article for each change. */
import type { ComponentChildren, VNode } from "preact"
import * as Json from "../../../Json.js"
import * as Query from "../../../Query.js"
import { many } from "../../core/words.js"
import { entriesOf } from "../columnOrder.js"
import { masked } from "../masks.js"
import { useSite } from "../site.js"
import { OperationBadge, Tag } from "./Badge.js"
import { Diff } from "./Diff.js"
import { ActionName, CorrelationName, RowName, TransactionName, Who, tableOf } from "./Names.js"
import { Table } from "./Table.js"
import { Text } from "./Text.js"
import { Time, useZoneName } from "./Time.js"
import { Redacted, Value } from "./Value.js"

export const css = `
.brief{font:var(--mono);overflow-wrap:anywhere}.brief b{font-weight:400;color:var(--ink2)}
.change{border:1px solid var(--line);border-radius:var(--r);background:var(--raise);margin-bottom:var(--s3)}
.change>header{display:flex;flex-wrap:wrap;gap:2px var(--s3);align-items:baseline;padding:var(--s2) var(--s3);border-bottom:1px solid var(--line2)}.change>header h2,.change>header h3{font:inherit;margin:0;color:inherit}
.change>div{padding:var(--s3)}.change p{margin:var(--s2) 0 0}.change>div>p:first-child{margin-top:0}.change>header .op{min-width:58px}@media(max-width:760px){.change>header{gap:2px var(--s2)}}.change.here{border-color:var(--accent);box-shadow:0 0 0 2px var(--wash)}
.flow .diff dt{white-space:nowrap;overflow:hidden;text-overflow:ellipsis}.flow .v,.flow .words{display:-webkit-inline-box;-webkit-box-orient:vertical;-webkit-line-clamp:3;overflow:hidden;vertical-align:middle}
`

/** The first fields with a value of an insert, a delete or a baseline, in one line. */
const Brief = ({ change }: { readonly change: Query.Change }): VNode => {
  const { columns, masks, room } = useSite()
  const masksOfTable = masks.get(tableOf(change))
  const image = change.op === "delete" ? change.changedFrom : change.dataAfter
  const fields = entriesOf(image, columns.get(tableOf(change)))
  const telling = fields.filter(
    ([field, value]) => (value !== null || masksOfTable?.get(field)?.whole === "null") && value !== ""
  )
  const most = Math.min(6, room.fields)
  return (
    <>
      <span class="sub">{many(fields.length, "field")} </span>
      <span class="brief">
        {telling.slice(0, most).map(([field, value], index) => (
          <>
            {index === 0 ? "" : " · "}
            <b>
              <Text text={field} limit={40} />
            </b>{" "}
            {value === masked ? (
              <Redacted />
            ) : masksOfTable?.has(field) === true ? (
              <Value value={value} mask={masksOfTable.get(field)} limit={Math.min(48, room.value)} />
            ) : (
              <Text text={typeof value === "string" ? value : Json.stringify(value)} limit={Math.min(48, room.value)} />
            )}
          </>
        ))}
        {telling.length > most ? " …" : ""}
      </span>
    </>
  )
}

const removed = (details: Json.JsonValue): string | undefined => {
  const rows = Json.isObject(details) ? details["rows"] : undefined
  return typeof rows === "number" || typeof rows === "bigint" ? String(rows) : undefined
}

/** Notes below the fields of a change: its previous key, the rows that a TRUNCATE removed, or that it is a baseline. */
const Remarks = ({ change }: { readonly change: Query.Change }): VNode => (
  <>
    {change.previousRowKey === null ? null : (
      <p class="sub">
        The key was{" "}
        <code>
          <Text text={change.previousRowKey} limit={120} />
        </code>
        .
      </p>
    )}
    {change.op === "truncate" ? (
      <p class="sub">
        The table was emptied{removed(change.details) === undefined ? "" : `: ${removed(change.details)} rows`}.
      </p>
    ) : null}
    {change.op === "baseline" ? <p class="sub">As capture found the row. Nothing was changed.</p> : null}
  </>
)

const What = ({ change }: { readonly change: Query.Change }): VNode => {
  const { columns, masks } = useSite()
  const table = tableOf(change)
  return (
    <div class="flow">
      {change.op === "update" ? (
        <Diff fields={Query.fieldDiffs(change, columns.get(table))} op="update" most={5} masks={masks.get(table)} />
      ) : change.op === "truncate" ? null : (
        <Brief change={change} />
      )}
      <Remarks change={change} />
    </div>
  )
}

const WhoAndWhy = ({ change }: { readonly change: Query.Change }): VNode => {
  const { action, transaction } = change
  return (
    <>
      <Who transaction={transaction} />
      <br />
      {action === null ? null : (
        <>
          <ActionName action={action} transactionId={change.transactionId} />
          <br />
        </>
      )}
      <span class="sub">
        {transaction.correlationId === null ? null : (
          <>
            <CorrelationName id={transaction.correlationId} /> ·{" "}
          </>
        )}
        <TransactionName id={change.transactionId} />
      </span>
    </>
  )
}

/** Groups adjacent changes of one transaction. */
const grouped = (changes: ReadonlyArray<Query.Change>): ReadonlyArray<ReadonlyArray<Query.Change>> => {
  const groups: Array<Array<Query.Change>> = []
  for (const change of changes) {
    const last = groups.at(-1)
    if (last?.[0]?.transactionId === change.transactionId) {
      last.push(change)
    } else {
      groups.push([change])
    }
  }
  return groups
}

export const ChangeTable = ({
  caption,
  changes
}: {
  readonly caption: string
  readonly changes: ReadonlyArray<Query.Change>
}): VNode => {
  const zone = useZoneName()
  let day = ""
  return (
    <Table caption={caption} columns={[`When (${zone})`, "What", "Row", "Change", "Who and why"]} id="results">
      {grouped(changes).map((group) => (
        <tbody key={group[0]?.id}>
          {group.map((change, index) => {
            const newDay = day !== change.capturedAt.slice(0, 10)
            day = change.capturedAt.slice(0, 10)
            return (
              <tr key={change.id} id={`c${change.id}`}>
                <td class="mono fit">
                  <Time at={change.capturedAt} form="clock" />
                  {newDay || index === 0 ? (
                    <div class="sub">
                      <Time at={change.capturedAt} form="day" live={index === 0} />
                    </div>
                  ) : null}
                </td>
                <td class="fit">
                  <OperationBadge op={change.op} />
                </td>
                <td>
                  <RowName change={change} at={change.capturedAt} />
                </td>
                <td>
                  <What change={change} />
                </td>
                <td>{index === 0 ? <WhoAndWhy change={change} /> : <span class="sub">same transaction</span>}</td>
              </tr>
            )
          })}
        </tbody>
      ))}
    </Table>
  )
}

/** One change with all of its fields. */
export const ChangeArticle = ({
  children,
  diff,
  here = false,
  heading
}: {
  readonly diff: Query.ChangeDiff
  readonly heading: ComponentChildren
  readonly here?: boolean
  readonly children?: ComponentChildren
}): VNode => {
  const { change, fields } = diff
  const { masks } = useSite()
  return (
    <article class={here ? "change here" : "change"} id={`c${change.id}`}>
      <header>
        <OperationBadge op={change.op} />
        {heading}
        {here ? <Tag>shown beside</Tag> : null}
      </header>
      <div>
        {change.op === "truncate" ? null : <Diff fields={fields} op={change.op} masks={masks.get(tableOf(change))} />}
        <Remarks change={change} />
        {children}
      </div>
    </article>
  )
}
