import * as SqlClient from "@effect/sql/SqlClient"
import * as Statement from "@effect/sql/Statement"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { createHash } from "node:crypto"
import * as rows from "../../../src/internal/rows/keyWalk.js"
import { Budget } from "../../../src/internal/search/budget.js"
import * as Query from "../../../src/Query.js"
import { layer, partitions, policies } from "../../support/query.js"

/** A node of EXPLAIN (ANALYZE, FORMAT JSON). */
interface Node {
  readonly "Relation Name"?: string
  readonly "Actual Rows": number
  readonly "Actual Loops": number
  readonly "Rows Removed by Filter"?: number
  readonly "Rows Removed by Index Recheck"?: number
  readonly Plans?: ReadonlyArray<Node>
}

/** Rows that a plan looked at in the tables of changes and transactions. */
const work = (node: Node): number => {
  const here = /^audit_(changes|transactions|actions)/.test(node["Relation Name"] ?? "")
    ? (node["Actual Rows"] + (node["Rows Removed by Filter"] ?? 0) + (node["Rows Removed by Index Recheck"] ?? 0)) *
      node["Actual Loops"]
    : 0
  return (node.Plans ?? []).reduce((sum, part) => sum + work(part), here)
}

/** Rows of these tables that this session has come upon by reading a whole table, in functions too. */
const scannedSoFar = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  Effect.map(
    sql<{ readonly rows: number }>`
      select coalesce(sum(seq_tup_read), 0)::int as rows
      from pg_stat_xact_all_tables
      where relname ~ '^audit_(changes|transactions|actions)'`,
    ([scanned]) => scanned?.rows ?? 0
  )
)

/** What the statements of a read cost, each explained as it was sent. */
const cost = Effect.fnUntraced(function* <A, E>(read: Effect.Effect<A, E, Query.Query>) {
  const sql = yield* SqlClient.SqlClient
  const sent: Array<readonly [text: string, values: ReadonlyArray<unknown>]> = []
  yield* Statement.withTransformer(read, (statement) =>
    Effect.sync(() => {
      sent.push(statement.compile())
      return statement
    })
  )
  return yield* sql.withTransaction(
    Effect.gen(function* () {
      const scannedBefore = yield* scannedSoFar
      const works = yield* Effect.forEach(sent, ([text, values]) =>
        Effect.map(
          sql.unsafe<{ readonly "QUERY PLAN": ReadonlyArray<{ readonly Plan: Node }> }>(
            `explain (analyze, format json) ${text}`,
            values as Array<string>
          ),
          (explained) => explained.flatMap((row) => row["QUERY PLAN"].map(({ Plan }) => work(Plan)))
        )
      )
      return {
        statements: sent.length,
        looked: works.flat().reduce((sum, looked) => sum + looked, 0),
        scanned: (yield* scannedSoFar) - scannedBefore
      }
    })
  )
})

const transactions = 24_000

/** 96,000 changes of four months: a busy and a quiet table, a busy and many quiet actors, one row changed all the time. */
const filled = Layer.effectDiscard(
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    yield* partitions
    yield* policies
    yield* sql`
      insert into threadline.audit_transactions (
        id, xid, epoch, occurred_at, actor_type, actor_id, correlation_id, request_id, application_name, db_user, backend_pid
      )
      overriding system value
      select
        g, (1000 + g)::text::xid8, 1, timestamptz '2026-01-01' + g * interval '7 min',
        case when g % 20 = 0 then null when g % 3 = 0 then 'service_account' when g % 500 = 1 then 'admin' else 'user' end,
        case when g % 20 = 0 then null when g % 3 = 0 then 'busy' else 'u' || g % 997 end,
        'c' || g / 3, md5('r' || g), repeat('x', 150), 'app', 1
      from generate_series(1, ${transactions}::int) g
    `
    yield* sql`
      insert into threadline.audit_actions (id, transaction_id, xid, name, status, correlation_id, occurred_at)
      overriding system value
      select id, id, xid, 'did', 'ok', correlation_id, occurred_at
      from threadline.audit_transactions
      where id % 2 = 0
    `
    yield* sql`
      insert into threadline.audit_changes (
        id, transaction_id, captured_at, table_schema, table_name, op, row_pk, row_key, changed_fields, changed_from, data_after
      )
      select
        t.id * 4 + k, t.id, t.occurred_at + k * interval '3 ms', 'public',
        case when (t.id * 4 + k) % 7000 = 7 then 'notes' when (t.id + k) % 2 = 0 then 'posts' else 'members' end,
        case when t.id % 1000 = 0 then 'delete' else 'update' end,
        '{}', case when k = 2 and t.id % 2 = 0 then '1' else ((t.id * 31 + k) % 5000)::text end,
        '{title}', '{ "title": "old" }', '{ "title": "new" }'
      from threadline.audit_transactions t
      cross join generate_series(1, 4) k
      order by t.id, k
    `
    yield* sql`vacuum (analyze) threadline.audit_changes`
    yield* sql`vacuum (analyze) threadline.audit_transactions, threadline.audit_actions`
  })
)

const budget = { probe: 500, changes: 1000, transactions: 1000, visits: 500 }

// An eighth of what a page may look at, in stretches that show more keys than a page has rows.
const rowsBudget: rows.RowsBudget = { entries: 5000, stretch: 2000, keys: 250, few: 2500 }

const withBudgets = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  effect.pipe(Effect.provideService(Budget, budget), Effect.provideService(rows.Budget, rowsBudget))

/**
 * Twice the budget of a statement (what it finds, and where it ended); and, at the ends of a window, 32 blocks of each of the five
 * partitions.
 */
const mostOfSearch = 10_500

/**
 * Of rows at an instant: a stretch of entries is read to find its end and then for its keys; whether the table has few changes is
 * asked for two numbers; and each key has at most nine changes before the instant and four after it, or its two nearest are known.
 */
const mostOfRows = 2 * rowsBudget.entries + rowsBudget.few / 4 + rowsBudget.few + (9 + 4 + 2) * rowsBudget.keys

const busy = { type: "service_account", id: "busy" } as const
const quiet = { type: "user", id: "u77" } as const
const half = { from: "2026-01-20T00:00:00Z", to: "2026-03-20T00:00:00Z" }
const fifty = Array.from({ length: 50 }, (_, index) => index * 50)
// Without any order, as such ids are.
const requestId = createHash("md5").update("r5000").digest("hex")
const hour = { from: "2026-02-10T10:00:00Z", to: "2026-02-10T11:00:00Z" }

describe("reads of 96,000 changes", () => {
  it.layer(filled.pipe(Layer.provideMerge(layer)), { timeout: "2 minutes" })("look at few of them:", (it) => {
    // Before a table is read, its names are. Where a window ends, transactions that began before it are looked for.
    const searches = [
      ["everything", Query.timeline(), 1],
      ["everything, oldest first", Query.timeline({ order: "oldest" }), 1],
      ["a busy table", Query.timeline({ table: "posts" }), 2],
      ["a quiet table", Query.timeline({ table: "notes" }), 2],
      ["the deletes of a table", Query.timeline({ table: "posts", op: "delete" }), 2],
      ["a busy row", Query.timeline({ table: "posts", key: "1" }), 2],
      ["a busy row in a window", Query.timeline({ table: "posts", key: "1", ...half }), 2],
      ["a busy actor", Query.timeline({ actor: busy }), 1],
      ["a quiet actor", Query.timeline({ actor: quiet }), 1],
      ["a rare type of actor", Query.timeline({ actor: { type: "admin" } }), 1],
      ["a quiet actor in a busy table", Query.timeline({ actor: quiet, table: "posts" }), 3],
      ["a busy actor in a quiet table", Query.timeline({ actor: busy, table: "notes" }), 2],
      ["nobody", Query.timeline({ unattributed: true }), 1],
      ["a correlation", Query.timeline({ correlationId: "c5000" }), 1],
      ["a correlation, widened", Query.timeline({ correlationId: "c5000", includeCaptureOnly: true }), 1],
      ["a correlation in a table", Query.timeline({ correlationId: "c5000", table: "posts" }), 2],
      ["a transaction", Query.timeline({ transactionId: "12000" }), 1],
      ["an hour to its end", Query.timeline(hour), 3],
      ["an hour to its end, oldest first", Query.timeline({ ...hour, order: "oldest" }), 3],
      ["two months", Query.timeline(half), 2],
      ["two months, oldest first", Query.timeline({ ...half, order: "oldest" }), 2],
      ["everything since", Query.timeline({ from: half.to }), 2],
      ["everything until", Query.timeline({ to: half.from }), 2],
      ["an hour of a busy table to its end", Query.timeline({ ...hour, table: "posts" }), 4],
      ["two months of a quiet table to their end", Query.timeline({ ...half, table: "notes" }), 4],
      ["two months of a busy actor", Query.timeline({ ...half, actor: busy }), 2],
      ["two months of a quiet actor to their end", Query.timeline({ ...half, actor: quiet }), 3],
      ["two months of a busy actor in a busy table", Query.timeline({ ...half, actor: busy, table: "posts" }), 3],
      ["the history of a busy row", Query.history("posts", "1"), 2],
      ["the history of a busy row, oldest first", Query.history("posts", "1", { order: "oldest" }), 2],
      ["the history of a quiet row", Query.history("posts", "777"), 2],
      ["a busy row as of an instant", Query.asOf("posts", "1", hour.from), 2],
      // Nothing is known from before capture began, so no change is looked at.
      ["a row as of the time before it", Query.asOf("posts", "777", "2025-01-01T00:00:00Z"), 1],
      ["a diff between two instants", Query.diffBetween("posts", "1", half.from, half.to), 4],
      ["fifty rows as of an instant", Query.asOfKeys("posts", fifty, half.to), 3],
      // The order of the fields is asked for last.
      ["a diff", Query.diff("48000"), 2],
      ["an incident", Query.incident("12000"), 5],
      ["all transactions", Query.transactions(), 1],
      ["transactions of a quiet actor", Query.transactions({ actor: quiet }), 1],
      ["transactions of a busy actor in a quiet table", Query.transactions({ actor: busy, table: "notes" }), 2],
      ["transactions by nobody in a window", Query.unattributed(half), 2],
      ["transactions of a request", Query.transactions({ requestId }), 2],
      ["changes of a request", Query.timeline({ requestId }), 2],
      ["changes of an action", Query.timeline({ action: "did" }), 1],
      ["all actions", Query.actions(), 1],
      ["actions of an hour", Query.actions(hour), 1],
      ["a column that never changes", Query.timeline({ changedField: "body" }), 1],
      ["a value that no row has", Query.timeline({ table: "posts", contains: { title: "none" } }), 2],
      ["everything of a correlation", Query.correlation("c5000"), 3],
      ["a count", Query.count({ table: "posts" }, { cap: 1000 }), 2]
    ] as const
    const sets = [
      // A busy row fills the first stretch of keys. This does not mean that the table is rare: the second stretch fills the page.
      ["the rows of a busy table", Query.asOfRows("posts", half.to), 8],
      ["the rows of a quiet table", Query.asOfRows("notes", half.to), 6],
      ["rows that are as wanted", Query.asOfRows("posts", half.to, { contains: { title: "new" } }), 8]
    ] as const
    for (const [most, reads] of [
      [mostOfSearch, searches],
      [mostOfRows, sets]
    ] as const) {
      for (const [label, read, statements] of reads) {
        it.effect(label, () =>
          Effect.gen(function* () {
            const { looked, scanned, statements: sent } = yield* withBudgets(cost<unknown, Query.ReadError>(read))
            expect(looked).toBeLessThan(most)
            expect(scanned).toBeLessThan(500)
            expect(sent).toBe(statements)
          })
        )
      }
    }

    it.effect("as many for a page in the depth as for the first", () =>
      Effect.gen(function* () {
        const deep = (yield* Query.timeline({ order: "oldest", limit: 1, from: "2026-03-01" })).nextCursor
        expect(deep._tag).toBe("Some")
        for (const filter of [
          { order: "oldest" },
          { order: "oldest", table: "members" }
        ] satisfies Array<Query.FilterInput>) {
          let cursor: string | undefined
          for (let page = 0; page < 20; page++) {
            const next = (yield* Query.timeline({ ...filter, limit: 1000, cursor })).nextCursor
            cursor = next._tag === "Some" ? next.value : undefined
          }
          expect(cursor).toBeDefined()
          const { looked } = yield* cost(Query.timeline({ ...filter, limit: 50, cursor }))
          expect(looked).toBeLessThan(400)
        }
      })
    )

    // Two names, each at two times.
    it.effect("a table of several names, as many under each as for a table of one", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const names = (entries: ReadonlyArray<readonly [name: string, since: string | null, until: string | null]>) =>
          JSON.stringify(entries.map(([name, since, until]) => ({ schema: "public", name, since, until })))
        yield* sql`
          update threadline.capture_policies
          set former_names = case table_name when 'posts' then ${names([
            ["members", null, "2026-02-01T00:00:00Z"],
            ["posts", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"],
            ["members", "2026-03-01T00:00:00Z", "2026-03-15T00:00:00Z"],
            ["posts", "2026-03-15T00:00:00Z", null]
          ])}::jsonb else ${names([
            ["jottings", null, "2026-02-01T00:00:00Z"],
            ["notes", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"],
            ["memos", "2026-03-01T00:00:00Z", "2026-03-15T00:00:00Z"],
            ["notes", "2026-03-15T00:00:00Z", null]
          ])}::jsonb end
          where table_name in ('posts', 'notes')
        `
        const wrong: Array<string> = []
        const reads = [
          ["the table", Query.timeline({ table: "posts" })],
          ["oldest first", Query.timeline({ table: "posts", order: "oldest" })],
          ["its deletes", Query.timeline({ table: "posts", op: "delete" })],
          ["a busy row", Query.timeline({ table: "posts", key: "1" })],
          ["a busy row in a window", Query.timeline({ table: "posts", key: "1", ...half })],
          ["a quiet actor in it", Query.timeline({ actor: quiet, table: "posts" })],
          ["a correlation in it", Query.timeline({ correlationId: "c5000", table: "posts" })],
          ["an hour of it", Query.timeline({ ...hour, table: "posts" })],
          ["two months of a busy actor", Query.timeline({ ...half, actor: busy, table: "posts" })],
          ["a history", Query.history("posts", "1")],
          ["a history, oldest first", Query.history("posts", "1", { order: "oldest" })],
          ["a quiet history", Query.history("posts", "777")],
          ["a row as of an instant", Query.asOf("posts", "1", hour.from)],
          ["a diff between two instants", Query.diffBetween("posts", "1", half.from, half.to)],
          ["fifty rows as of an instant", Query.asOfKeys("posts", fifty, half.to)],
          ["a value that no row has", Query.timeline({ table: "posts", contains: { title: "none" } })],
          ["transactions", Query.transactions({ table: "posts" })],
          ["a count", Query.count({ table: "posts" }, { cap: 1000 })]
        ] as const
        const setReads = [
          ["all rows as of an instant", Query.asOfRows("posts", half.to)],
          ["rows that are as wanted", Query.asOfRows("posts", half.to, { contains: { title: "new" } })],
          ["all rows of a quiet table", Query.asOfRows("notes", half.to)]
        ] as const
        for (const [label, read, most] of [
          ...reads.map(([label, read]) => [label, read, mostOfSearch] as const),
          ...setReads.map(([label, read]) => [label, read, mostOfRows] as const)
        ]) {
          const { looked, scanned } = yield* withBudgets(cost<unknown, Query.ReadError>(read))
          if (looked >= 2 * most || scanned >= 500) {
            wrong.push(`${label}: looked at ${looked}, scanned ${scanned}`)
          }
        }
        expect(wrong).toEqual([])
        yield* sql`update threadline.capture_policies set former_names = '[]'`
      })
    )
  })
})
