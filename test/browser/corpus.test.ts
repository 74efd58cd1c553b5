/**
 * Hostile strings in every field that reaches a page, and every page with scripts on: nothing of them runs, makes markup, leads
 * elsewhere, or turns the order of what stands beside it.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Actor from "../../src/Actor.js"
import * as Audit from "../../src/Audit.js"
import * as AuditContext from "../../src/AuditContext.js"
import * as Capture from "../../src/Capture.js"
import * as Evidence from "../../src/Evidence.js"
import * as ExportJobs from "../../src/ExportJobs.js"
import * as Migrations from "../../src/Migrations.js"
import * as OperatorSurface from "../../src/OperatorSurface.js"
import * as SavedViews from "../../src/SavedViews.js"
import * as Threadline from "../../src/Threadline.js"
import { identifier, literal } from "../../src/internal/sql/sqlText.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import { browser, complaintsOf, serving, within } from "../support/browser.js"
import { executable } from "../support/chromium.js"

/** Each says what it would do: run code, close an element, an attribute or the document, lead elsewhere, turn the order of letters. */
const corpus: ReadonlyArray<string> = [
  `</script><script>top.pwned=1</script>`,
  `"><img src=x onerror=top.pwned=2>`,
  `' autofocus onfocus=top.pwned=3 x='`,
  `javascript:top.pwned=4`,
  `<svg/onload=top.pwned=5>`,
  `\u202Eevil\u2066gpj\u2069`,
  `</title></textarea></style><iframe src=//evil.test>`,
  `&lt;img src=x onerror=top.pwned=6&gt;&#60;b&#62;`,
  `{{7*7}}\${top.pwned=7}<%=7%>`,
  `مرحبا <b>world</b> שלום`
]

const at = (index: number): string => corpus[index % corpus.length] ?? ""

/** Writes the corpus into the record: each field has each string once. */
const written = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const database = yield* TestDatabase.TestDatabase
  const raw = yield* database.rawClient()
  const transactions: Array<string> = []
  for (let round = 0; round < corpus.length; round++) {
    const text = (field: number): string => at(round + field)
    const table = identifier(`${round}${text(0)}`)
    const column = identifier(text(1))
    yield* sql.unsafe(`create table ${table} (id text primary key, ${column} text, ${identifier("doc")} jsonb)`)
    yield* Capture.apply([{ table }])
    const context = {
      actor: Actor.user(text(2), { label: text(3), impersonator: Actor.admin(text(4), { label: text(5) }) }),
      correlationId: text(6),
      requestId: text(7),
      jobId: text(8),
      traceId: text(9),
      source: text(0),
      meta: { [text(1)]: text(2), nested: { [text(3)]: [text(4)] } }
    }
    const done = yield* Audit.transaction(
      sql.unsafe(
        `insert into ${table} values (${literal(text(3))}, ${literal(text(4))}, ${literal(JSON.stringify({ [text(5)]: text(6) }))})`
      ),
      {
        ...context,
        action: {
          name: text(3),
          verb: text(4),
          category: text(5),
          reason: text(6),
          comment: text(7),
          subject: { type: text(8), id: text(9) },
          data: { [text(0)]: text(1) }
        }
      }
    )
    transactions.push(yield* Effect.orDie(done.transactionId))
    yield* Audit.record({ name: text(4), reason: text(5) }, { ...context, status: "error" })
    // A session that nobody knows, under a name of its own; a key that moves; a context that cannot be read.
    yield* Effect.promise(async () => {
      const role = identifier(`${round}${text(6)}`.slice(0, 40))
      await raw.query(`create role ${role} superuser; set session authorization ${role}`)
      await raw.query(`set application_name = ${literal(text(7))}`)
      await raw.query(
        `update ${table} set ${column} = ${literal(`a longer text, of which a part stays, ${text(8)}`)}, id = ${literal(text(4))}, doc = ${literal(JSON.stringify({ [text(5)]: text(9), more: [text(0)] }))}`
      )
      await raw.query(
        `begin; select threadline.set_context(${literal(JSON.stringify({ actor: { type: text(1), id: text(2) } }))}); update ${table} set doc = null; commit`
      )
      await raw.query(`reset application_name; reset session authorization`)
    })
    yield* sql.unsafe(`alter table ${table} add column ${identifier(`${text(2)}!`)} text`)
    yield* SavedViews.save({ owner: Actor.admin("1"), name: text(0), filter: { source: text(1), action: text(2) } })
    yield* Evidence.exportDelivery({
      reference: text(0),
      status: "attention",
      detail: { format: "csv", count: 1, bytes: 1, sha256: "ab", recipient: text(1) },
      actor: Actor.user(text(2), { label: text(3) })
    })
    yield* ExportJobs.queue({
      format: "csv",
      filter: { source: text(0), actorLabel: text(1), contains: { [text(2)]: text(3) } },
      requestedBy: Actor.user(text(4), { label: text(5) })
    }).pipe(AuditContext.withSource(text(6)))
  }
  yield* sql`update threadline.export_jobs set state = 'failed', error = jsonb_build_object('reason', 'Failed', 'detail', ${at(0)}::text) where id = (select min(id) from threadline.export_jobs)`
  return transactions
})

interface Found {
  readonly pwned: unknown
  readonly strangers: ReadonlyArray<string>
  readonly handlers: ReadonlyArray<string>
  readonly links: ReadonlyArray<string>
  readonly bidi: ReadonlyArray<string>
  readonly unisolated: ReadonlyArray<string>
}

/** Runs in the page. Fields of forms hold what was typed, and options of a list are plain: neither has markup. */
const look = `(() => {
  const all = [...document.querySelectorAll("*")]
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  const bidi = [], unisolated = []
  for (let node = texts.nextNode(); node; node = texts.nextNode()) {
    const parent = node.parentElement
    if (parent.closest("script,style,option,input")) continue
    if (/[\\u202a-\\u202e\\u2066-\\u2069\\u200e\\u200f]/.test(node.data)) bidi.push(parent.outerHTML.slice(0, 120))
    if (/[\\u0590-\\u08ff]/.test(node.data) && !parent.closest("bdi,h1,code,del,ins,.v")) unisolated.push(parent.outerHTML.slice(0, 160))
  }
  const attributes = all.flatMap((element) => [...element.attributes].map((attribute) => [element, attribute]))
  return {
    pwned: window.pwned ?? null,
    strangers: all.filter((element) => element.matches("img,svg,iframe,object,embed,base,video,audio,template,math,meta[http-equiv],script:not(body>script:last-child),link:not([rel=icon]),style:not(head>style)")).map((element) => element.outerHTML.slice(0, 120)),
    handlers: attributes.filter(([, { name }]) => /^on|^style$/.test(name)).map(([element]) => element.outerHTML.slice(0, 120)),
    links: attributes
      .filter(([element, { name }]) => name === "href" || name === "src" || name === "action" || name === "formaction")
      .map(([, { value }]) => new URL(value, location.href).href)
      .filter((url) => !url.startsWith(location.origin + "/audit") && !url.startsWith("https://admin.test/") && !url.startsWith("data:image/svg+xml,")),
    bidi, unisolated
  }
})()`

if (executable === undefined) {
  it.skip("there is no Chromium here: hostile strings are not shown", () => undefined)
} else {
  it.layer(TestDatabase.layer)("hostile strings", (it) => {
    it.scoped(
      "stay strings on every page",
      () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          yield* Migrations.run({ watchSchema: true })
          const layer = Threadline.layer({ writer: Layer.succeed(SqlClient.SqlClient, sql) })
          const transactions = yield* Effect.provide(written, layer)
          const { handler } = yield* Effect.acquireRelease(
            Effect.sync(() =>
              OperatorSurface.toNodeHandler(layer, {
                authorize: () => ({
                  viewer: Actor.admin("1", { label: at(5) }),
                  scope: "everything",
                  scopeName: at(1),
                  capabilities: ["export", "coverage", "policy", "evidence", "retention"]
                }),
                rowLink: ({ key }) => (key.startsWith("<") ? `https://admin.test/${key}` : key),
                actorLink: (actor) => (actor.type === "anonymous" ? null : `javascript:${actor.id}`),
                label: (thing) => (thing._tag === "Row" ? at(1) : at(9)),
                health: {
                  expected: ["gone", identifier(at(0))],
                  expectedGaps: [{ table: "gap", reason: at(1) }]
                },
                retention: { keep: "365 days", holds: [{ table: identifier(`0${at(0)}`), reason: at(0) }] }
              })
            ),
            ({ dispose }) => Effect.promise(dispose)
          )
          const base = yield* serving(handler)
          const tables = corpus.map((text, round) => `public.${identifier(`${round}${text}`)}`)
          const keyOf = (round: number): string => at(round + 4)
          const query = (name: string, text: string) => `?${name}=${encodeURIComponent(text)}`
          const paths = [
            "/",
            "/timeline?since=all",
            "/actions?since=all",
            "/coverage",
            "/policy/redaction",
            "/policy/retention",
            "/evidence",
            "/exports",
            ...transactions.map((id) => `/transactions/${id}`),
            ...tables.flatMap((table, round) => [
              `/rows${query("table", table)}&key=${encodeURIComponent(keyOf(round))}`,
              `/timeline${query("table", table)}&since=all`
            ]),
            // A third of them by turns: each kind of page has three of the strings at least.
            ...corpus.flatMap((text, round) =>
              [
                `/${query("q", text)}`,
                `/${query("q", `source:"${text}" ${text}`)}`,
                `/${query("view", text)}`,
                `/correlations${query("id", text)}`,
                `/requests${query("id", text)}`,
                `/actors/user${query("id", text)}`,
                `/timeline${query("source", text)}&action=${encodeURIComponent(text)}&since=all`,
                `/timeline${query(text, text)}`,
                `/timeline${query("contains", JSON.stringify({ [text]: text }))}`,
                `/timeline${query(round % 2 === 0 ? "cursor" : "since", text)}`,
                `/timeline${query("tz", text)}`,
                `/evidence${query("subject", text)}`,
                `/transactions/${encodeURIComponent(text.replaceAll("/", "-"))}`,
                `/${encodeURIComponent(text.replaceAll("/", "-"))}`,
                `/rows${query("table", text)}&key=${encodeURIComponent(text)}&at=${encodeURIComponent(text)}`
              ].filter((_, kind) => (round + kind) % 3 === 0)
            )
          ]
          const browsing = yield* browser
          yield* Effect.promise(() =>
            within(browsing, { viewport: { width: 1280, height: 900 } }, async (context) => {
              const page = await context.newPage()
              const complaints = complaintsOf(page)
              const statuses = new Map<number, number>()
              const failures: Array<readonly [string, Found]> = []
              for (const path of paths) {
                const response = await page.goto(`${base}${path}`, { waitUntil: "domcontentloaded" })
                const status = response?.status() ?? 0
                statuses.set(status, (statuses.get(status) ?? 0) + 1)
                const foundOnPage = await page.evaluate<Found>(look)
                if (
                  Object.values(foundOnPage).some(
                    (value) => value !== null && !(Array.isArray(value) && value.length === 0)
                  )
                ) {
                  failures.push([path, foundOnPage])
                }
              }
              expect(failures).toStrictEqual([])
              // All of them are pages, and most of them of what is there.
              expect([...statuses.keys()].filter((status) => ![200, 400, 404].includes(status))).toStrictEqual([])
              expect(statuses.get(200)).toBeGreaterThan(40)
              expect(complaints).toStrictEqual([])
            })
          )

          // The names of files cannot carry a header.
          const file = yield* Effect.promise(() =>
            fetch(`${base}/exports/changes.csv?since=all&source=${encodeURIComponent("a\r\nset-cookie: b=c")}`)
          )
          expect([file.status, file.headers.get("set-cookie")]).toStrictEqual([200, null])
        }),
      300_000
    )
  })
}
