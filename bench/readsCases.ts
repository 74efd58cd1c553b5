/** The reads that are measured, each with parameters that vary from run to run. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Page } from "../src/Page.js"
import * as Query from "../src/Query.js"
import type { Samples } from "./readsSamples.js"

/** What one run of a read gave. */
export interface Outcome {
  readonly items: number
  readonly partial: boolean
}

type Read<A> = Effect.Effect<A, Query.ReadError, Query.Query>

export interface Run {
  /** What it was asked for, to tell the slowest. */
  readonly label: string
  readonly read: Read<Outcome>
}

export interface Case {
  readonly name: string
  /** Answers in time because an index ends its search; else because a budget does, and the page may be partial. */
  readonly kind: "index" | "budget"
  readonly runs: Read<ReadonlyArray<Run>>
}

const runsOf = 60

const outcome = <A>({ items, partial }: Page<A>): Outcome => ({ items: items.length, partial })

const one = <A>(read: Read<A>): Read<Outcome> => Effect.as(read, { items: 1, partial: false })

/** As many of them as there are runs, from the beginning again where they are fewer. */
const cycle = <A>(values: ReadonlyArray<A>): ReadonlyArray<A> =>
  values.length === 0 ? [] : Array.from({ length: runsOf }, (_, index) => values[index % values.length] as A)

const fixed = (
  name: string,
  kind: Case["kind"],
  runs: ReadonlyArray<readonly [label: string, read: Read<Outcome>]>
): Case => ({ name, kind, runs: Effect.succeed(cycle(runs.map(([label, read]) => ({ label, read })))) })

const timeline = (name: string, kind: Case["kind"], filters: ReadonlyArray<Query.FilterInput>): Case =>
  fixed(
    name,
    kind,
    filters.map((filter) => [JSON.stringify(filter), Effect.map(Query.timeline(filter), outcome)])
  )

const transactions = (name: string, kind: Case["kind"], filters: ReadonlyArray<Query.FilterInput>): Case =>
  fixed(
    name,
    kind,
    filters.map((filter) => [JSON.stringify(filter), Effect.map(Query.transactions(filter), outcome)])
  )

const actions = (name: string, kind: Case["kind"], filters: ReadonlyArray<Query.FilterInput>): Case =>
  fixed(
    name,
    kind,
    filters.map((filter) => [JSON.stringify(filter), Effect.map(Query.actions(filter), outcome)])
  )

/** The page of 50 at a depth; the cursor is found in larger steps. */
const deep = <A>(name: string, kind: Case["kind"], depth: number, page: (at: At) => Read<Page<A>>): Case => ({
  name: `${name}, page ${depth}`,
  kind,
  runs: Effect.gen(function* () {
    let cursor: string | undefined
    let left = (depth - 1) * 50
    while (left > 0) {
      const limit = Math.min(left, 250)
      const found: Page<A> = yield* page({ limit, ...(cursor === undefined ? {} : { cursor }) })
      cursor = Option.getOrUndefined(found.nextCursor)
      if (cursor === undefined) {
        return []
      }
      left -= found.items.length === 0 ? limit : found.items.length
    }
    const read = Effect.map(page({ limit: 50, ...(cursor === undefined ? {} : { cursor }) }), outcome)
    return cycle([{ label: `page ${depth}`, read }])
  })
})

interface At {
  readonly limit: number
  readonly cursor?: string
}

const depths = <A>(name: string, page: (at: At) => Read<Page<A>>, kind: Case["kind"] = "index"): ReadonlyArray<Case> =>
  [1, 100, 1000].map((depth) => deep(name, kind, depth, page))

const plus = (instant: string, hours: number): string => new Date(Date.parse(instant) + hours * 3_600_000).toISOString()

const busy = { type: "service_account", id: "checkout" } as const
const middleTables = ["invoices", "payments", "shipments", "messages", "sessions", "products"]

export const cases = (of: Samples): ReadonlyArray<Case> => {
  const instant = (place: number): string =>
    of.instants[Math.min(of.instants.length - 1, Math.floor(place * of.instants.length))] ?? "2026-01-01T00:00:00Z"
  const hours = of.instants.map((from) => ({ from, to: plus(from, 1) }))
  const minutes = of.instants.map((from) => ({ from, to: plus(from, 0.1) }))
  const days = of.instants.map((from) => ({ from, to: plus(from, 24) }))
  const months = of.instants.map((from) => ({ from, to: plus(from, 24 * 30) }))
  const rowFilter = of.rows.map(({ key, table }) => ({ table, key }))
  const hot = { table: "inventory", key: "0" }
  return [
    ...depths("timeline", (at) => Query.timeline(at)),
    ...depths("timeline oldest first", (at) => Query.timeline({ ...at, order: "oldest" })),
    ...depths("table, busy", (at) => Query.timeline({ ...at, table: "order_events" })),
    timeline(
      "table, middle",
      "index",
      middleTables.map((table) => ({ table }))
    ),
    timeline("table, rarest", "index", [{ table: "plans" }, { table: "plans", order: "oldest" }]),
    timeline("tables, three", "index", [
      { table: ["plans", "orders", "invoices"] },
      { table: ["messages", "prices", "plans"] }
    ]),
    ...depths("row, hot", (at) => Query.timeline({ ...at, ...hot })).slice(0, 2),
    timeline("row, ordinary", "index", rowFilter),
    ...depths("actor, 30 %", (at) => Query.timeline({ ...at, actor: busy })),
    timeline(
      "actor, middle",
      "index",
      of.middleActors.map((actor) => ({ actor }))
    ),
    timeline(
      "actor, rare",
      "index",
      of.rareActors.map((actor) => ({ actor }))
    ),
    timeline("actor type only: user", "index", [{ actor: { type: "user" } }]),
    timeline(
      "actor type only: rarer",
      "index",
      (["admin", "job", "system", "anonymous"] as const).map((type) => ({ actor: { type } }))
    ),
    timeline(
      "correlation, strict",
      "index",
      of.correlations.map((correlationId) => ({ correlationId }))
    ),
    timeline(
      "correlation, widened",
      "index",
      of.correlations.map((correlationId) => ({ correlationId, includeCaptureOnly: true }))
    ),
    timeline(
      "correlation, huge",
      "index",
      ["import-0", "import-2", "import-4", "backfill"].map((correlationId) => ({ correlationId }))
    ),
    timeline(
      "correlation, huge, widened",
      "index",
      ["import-0", "import-2", "import-4", "backfill"].map((correlationId) => ({
        correlationId,
        includeCaptureOnly: true
      }))
    ),
    ...depths("action, frequent", (at) => Query.timeline({ ...at, action: "order.updated" })),
    timeline(
      "action, rare",
      "index",
      of.rareActions.map((action) => ({ action }))
    ),
    timeline("actions, failed", "index", [{ actionStatus: "error" }]),
    timeline("window, an hour", "index", hours),
    timeline(
      "window, an hour, oldest first",
      "index",
      hours.map((hour) => ({ ...hour, order: "oldest" as const }))
    ),
    timeline("window, a day", "index", days),
    timeline("window, a month", "index", months),
    timeline(
      "window, from",
      "index",
      of.instants.map((from) => ({ from }))
    ),
    timeline(
      "window, to",
      "index",
      of.instants.map((to) => ({ to }))
    ),
    ...depths("window, half a year", (at) => Query.timeline({ ...at, from: instant(0.3), to: instant(0.8) })),
    timeline("unattributed", "index", [{ unattributed: true }, { unattributed: true, order: "oldest" }]),
    timeline(
      "request id",
      "index",
      of.requests.map((requestId) => ({ requestId }))
    ),
    timeline(
      "transaction id",
      "index",
      of.transactions.map((transactionId) => ({ transactionId }))
    ),
    timeline("deletes of a busy table", "index", [{ table: "order_events", op: "delete" }]),
    timeline(
      "deletes of middle tables",
      "index",
      middleTables.map((table) => ({ table, op: "delete" as const }))
    ),
    timeline(
      "inserts of a table",
      "index",
      ["order_events", ...middleTables].map((table) => ({ table, op: "insert" as const }))
    ),
    timeline(
      "actor middle + window of a month",
      "index",
      of.middleActors.flatMap((actor, index) => {
        const window = months[index % months.length]
        return window === undefined ? [] : [{ actor, ...window }]
      })
    ),
    timeline(
      "actor 30 % + window of an hour",
      "index",
      hours.map((hour) => ({ actor: busy, ...hour }))
    ),
    timeline(
      "busy table + window of an hour",
      "index",
      hours.map((hour) => ({ table: "order_events", ...hour }))
    ),
    timeline(
      "rare table + window of a month",
      "index",
      months.map((month) => ({ table: "warehouses", ...month }))
    ),
    timeline(
      "row + window of a month",
      "index",
      rowFilter.flatMap((row, index) => {
        const window = months[index % months.length]
        return window === undefined ? [] : [{ ...row, ...window }]
      })
    ),
    timeline(
      "rare actor in busy table",
      "index",
      of.rareActors.map((actor) => ({ actor, table: "order_events" }))
    ),
    timeline(
      "middle actor in busy table",
      "index",
      of.middleActors.map((actor) => ({ actor, table: "order_events" }))
    ),
    timeline("busy actor in busy table", "index", [
      { actor: busy, table: "order_events" },
      { actor: busy, table: "orders", order: "oldest" }
    ]),
    timeline("busy actor in rarest table", "index", [{ actor: busy, table: "plans" }]),
    timeline(
      "busy actor in middle tables",
      "budget",
      middleTables.map((table) => ({ actor: busy, table }))
    ),
    timeline("frequent action in busy table", "index", [{ action: "order.updated", table: "order_events" }]),
    timeline(
      "frequent action in rare table",
      "budget",
      ["warehouses", "settings", "suppliers"].map((table) => ({
        action: "order.updated",
        table
      }))
    ),
    timeline(
      "rare action in busy table",
      "index",
      of.rareActions.map((action) => ({ action, table: "order_events" }))
    ),
    timeline(
      "unattributed in a table",
      "budget",
      ["order_events", "invoices", "plans"].map((table) => ({
        unattributed: true,
        table
      }))
    ),
    timeline("busy actor, his deletes in a table", "budget", [{ actor: busy, table: "order_events", op: "delete" }]),
    timeline("changed field, frequent", "index", [{ table: "order_events", changedField: "amount" }]),
    timeline(
      "changed field, rare",
      "budget",
      ["order_events", "invoices"].map((table) => ({ table, changedField: "priority" }))
    ),
    timeline("changed field, never", "budget", [{ table: "orders", changedField: "nothing" }]),
    timeline("contains, frequent", "index", [{ table: "order_events", contains: { status: "paid" } }]),
    timeline(
      "contains, rare",
      "budget",
      of.rows.map(({ table }, index) => ({ table, contains: { customer_id: 1 + index } }))
    ),
    timeline("contains, any table", "budget", [{ contains: { customer_id: 4711 } }]),
    timeline("meta, a twentieth", "index", [{ meta: { beta: true } }]),
    timeline(
      "meta, a tenant",
      "budget",
      [17, 400, 1100, 1900].map((tenant) => ({ meta: { tenant: `t${tenant}` } }))
    ),
    timeline(
      "meta, one transaction",
      "budget",
      of.tickets.map((ticket) => ({ meta: { ticket } }))
    ),
    timeline("source", "index", [{ source: "mobile" }, { source: "worker" }]),
    timeline("impersonator", "budget", [{ impersonator: { type: "admin", id: "admin-1" } }]),
    timeline("database user", "index", [{ dbUser: "ops" }]),
    timeline("database user, unknown", "budget", [{ dbUser: "nobody" }]),
    ...depths("history, hot", (at) => Query.history("inventory", "0", at)).slice(0, 2),
    fixed(
      "history, ordinary",
      "index",
      of.rows.map((row) => [JSON.stringify(row), Effect.map(Query.history(row.table, row.key), outcome)])
    ),
    fixed(
      "history, moved",
      "index",
      of.moved.map((row) => [JSON.stringify(row), Effect.map(Query.history(row.table, row.key), outcome)])
    ),
    fixed(
      "as-of, hot",
      "index",
      of.instants.map((at) => [at, one(Query.asOf("inventory", "0", at))])
    ),
    fixed(
      "as-of, ordinary",
      "index",
      of.rows.map((row) => [JSON.stringify(row), one(Query.asOf(row.table, row.key, row.at))])
    ),
    fixed(
      "as-of, moved",
      "index",
      of.moved.map((row) => [JSON.stringify(row), one(Query.asOf(row.table, row.key, row.at))])
    ),
    fixed(
      "diff of a change",
      "index",
      of.changes.map((id) => [id, one(Query.diff(id))])
    ),
    fixed(
      "diff of a row between instants",
      "index",
      of.rows.map((row) => [
        JSON.stringify(row),
        one(Query.diffBetween(row.table, row.key, instant(0.2), instant(0.9)))
      ])
    ),
    fixed(
      "incident",
      "index",
      of.transactions.map((id) => [id, Effect.map(Query.incident(id), ({ changes }) => outcome(changes))])
    ),
    ...depths("transactions", (at) => Query.transactions(at)),
    fixed("transactions, a thousand on a page", "budget", [
      ["a thousand", Effect.map(Query.transactions({ limit: 1000 }), outcome)]
    ]),
    transactions("transactions, busy table", "index", [{ table: "order_events" }, { table: "orders" }]),
    transactions("transactions, rarest table", "index", [{ table: "plans" }]),
    transactions("transactions, actor 30 %", "index", [{ actor: busy }]),
    transactions(
      "transactions, actor middle",
      "index",
      of.middleActors.map((actor) => ({ actor }))
    ),
    transactions("transactions, window of an hour", "index", hours),
    transactions("transactions, frequent action", "index", [{ action: "order.updated" }]),
    transactions(
      "transactions, busy actor in middle tables",
      "budget",
      middleTables.map((table) => ({ actor: busy, table }))
    ),
    fixed("unattributed writes", "index", [
      ["all", Effect.map(Query.unattributed(), outcome)],
      ["in a busy table", Effect.map(Query.unattributed({ table: "order_events" }), outcome)],
      ...days.map((day) => [JSON.stringify(day), Effect.map(Query.unattributed(day), outcome)] as const)
    ]),
    ...depths("actions", (at) => Query.actions(at)),
    actions("actions, by name", "index", [
      { action: "order.updated" },
      ...of.rareActions.map((action) => ({ action }))
    ]),
    actions("actions, failed ones", "index", [{ actionStatus: "error" }]),
    actions("actions, by actor", "index", [{ actor: busy }, ...of.middleActors.map((actor) => ({ actor }))]),
    actions("actions, window of an hour", "index", hours),
    actions(
      "actions, rare name + month",
      "budget",
      months.flatMap((month, index) =>
        of.rareActions.slice(index % 3, 1 + (index % 3)).map((action) => ({ action, ...month }))
      )
    ),
    fixed(
      "correlation, everything",
      "index",
      of.correlations.map((id) => [id, Effect.map(Query.correlation(id), ({ changes }) => outcome(changes))])
    ),
    fixed(
      "correlation, everything of a huge one",
      "index",
      ["import-0", "import-3", "backfill"].map((id) => [
        id,
        Effect.map(Query.correlation(id), ({ changes }) => outcome(changes))
      ])
    ),
    fixed(
      "actor window, a day of 30 %",
      "index",
      days.map((day) => [
        JSON.stringify(day),
        Effect.map(Query.actorWindow(busy, day), ({ changes }) => outcome(changes))
      ])
    ),
    fixed(
      "actor window, a month of a middle one",
      "index",
      of.middleActors.map((actor, index) => [
        JSON.stringify(actor),
        Effect.map(Query.actorWindow(actor, months[index % months.length]), ({ changes }) => outcome(changes))
      ])
    ),
    fixed(
      "count, an hour of everything",
      "budget",
      hours.map((hour) => [JSON.stringify(hour), one(Query.count(hour))])
    ),
    fixed("count, a busy table to its cap", "budget", [["all", one(Query.count({ table: "order_events" }))]]),
    fixed(
      "collect, some minutes",
      "budget",
      minutes.map((few) => [
        JSON.stringify(few),
        Effect.map(Query.collect(few), (items) => ({ items: items.length, partial: false }))
      ])
    ),
    fixed(
      "as-of, ten rows",
      "index",
      of.rows.map((row, index) => [
        JSON.stringify(row),
        Effect.map(
          Query.asOfKeys(
            "orders",
            Array.from({ length: 10 }, (_, step) => String(1 + index * 1000 + step * 97)),
            row.at
          ),
          (items) => ({ items: items.length, partial: false })
        )
      ])
    ),
    fixed(
      "as-of, rows of a rare table",
      "index",
      of.instants.map((at) => [at, Effect.map(Query.asOfRows("settings", at), outcome)])
    ),
    fixed(
      "as-of, rows of a busy table",
      "budget",
      of.instants.map((at) => [at, Effect.map(Query.asOfRows("orders", at), outcome)])
    )
  ]
}
