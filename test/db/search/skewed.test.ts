/** Reads of a record in which a few transactions have most changes: no average tells how many a transaction has. */
import * as SqlClient from "@effect/sql/SqlClient"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Query from "../../../src/Query.js"
import { layer, partitions, policies } from "../../support/query.js"

/** Entries of indexes, and rows of whole tables, that this transaction has read in the record, in functions too. */
const readSoFar = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  Effect.map(
    sql<{ readonly entries: number }>`
      select (
        select sum(pg_stat_get_xact_tuples_returned(i.indexrelid) + pg_stat_get_xact_tuples_fetched(i.indexrelid))
        from pg_index i
        join pg_class c on c.oid = i.indrelid
        where c.relnamespace = 'threadline'::regnamespace and c.relname ~ '^audit_'
      )::int + (
        select sum(seq_tup_read) from pg_stat_xact_all_tables where schemaname = 'threadline' and relname ~ '^audit_'
      )::int as entries`,
    ([row]) => row?.entries ?? 0
  )
)

/** How many of them a read takes. */
const costOf = <A>(read: Effect.Effect<A, Query.ReadError, Query.Query>) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    sql.withTransaction(
      Effect.gen(function* () {
        const before = yield* readSoFar
        yield* read
        return (yield* readSoFar) - before
      })
    )
  )

const bulk = 60_000
const small = 4000

/** Two transactions of 60,000 changes, of somebody and of nobody. */
const many = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => sql`
    with opened as (
      insert into threadline.audit_transactions (id, xid, epoch, occurred_at, actor_type, actor_id, db_user, backend_pid)
      overriding system value
      values (1, '1001', 1, '2026-01-05', 'user', 'importer', 'app', 1), (2, '1002', 1, '2026-01-06', null, null, 'app', 1)
      returning id, occurred_at
    )
    insert into threadline.audit_changes (
      id, transaction_id, captured_at, table_schema, table_name, op, row_pk, row_key, data_after
    )
    select o.id * 100000 + g, o.id, o.occurred_at + g * interval '1 ms', 'public', 'posts', 'update', '{}', g::text, '{ "title": "new" }'
    from opened o
    cross join generate_series(1, ${bulk}::int) g
    order by o.id, g`
)

/** And then small ones: rows that come and mostly go. */
const few = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => sql`
    with opened as (
      insert into threadline.audit_transactions (id, xid, epoch, occurred_at, actor_type, actor_id, db_user, backend_pid)
      overriding system value
      select 10 + g, (1010 + g)::text::xid8, 1, timestamptz '2026-01-08' + g * interval '1 min', 'user', 'u' || g % 3, 'app', 1
      from generate_series(1, ${small}::int) g
      returning id, occurred_at
    )
    insert into threadline.audit_changes (
      id, transaction_id, captured_at, table_schema, table_name, op, row_pk, row_key, data_after, changed_from
    )
    select 1000000 + o.id, o.id, o.occurred_at, 'public', 'notes',
      case when o.id % 2 = 0 or o.id % 8 = 1 then 'insert' else 'delete' end, '{}',
      lpad(case when o.id % 2 = 0 or o.id % 8 = 1 then o.id else o.id - 1 end::text, 6, '0'), '{}', '{}'
    from opened o
    order by o.id`
)

const analyze = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => sql`analyze threadline.audit_changes_20260101, threadline.audit_transactions, threadline.audit_actions`
)

const actor = { type: "user", id: "u1" } as const

const reads = [
  ["all changes", Query.timeline()],
  ["all changes, oldest first", Query.timeline({ order: "oldest" })],
  ["changes of an actor", Query.timeline({ actor })],
  ["changes of a type of actor", Query.timeline({ actor: { type: "user" } })],
  ["changes of an actor in a table", Query.timeline({ actor, table: "notes" })],
  ["changes of nobody", Query.timeline({ unattributed: true })],
  ["changes of nobody, oldest first", Query.timeline({ unattributed: true, order: "oldest" })],
  ["changes of nobody in a table", Query.timeline({ unattributed: true, table: "posts" })],
  ["changes of nobody by a role", Query.timeline({ unattributed: true, dbUser: "app" })],
  ["changes of somebody who made 60,000", Query.timeline({ actor: { type: "user", id: "importer" } })],
  ["changes of such a transaction", Query.timeline({ transactionId: "1" })],
  ["such a transaction", Query.incident("1")],
  ["all transactions", Query.transactions()],
  ["transactions of a table", Query.transactions({ table: "notes" })],
  ["transactions of an actor in a table", Query.transactions({ actor, table: "notes" })],
  ["transactions of nobody", Query.unattributed()],
  ["a day of an actor", Query.actorWindow(actor, { from: "2026-01-09T00:00:00Z", to: "2026-01-10T00:00:00Z" })],
  ["a count", Query.count({ actor }, { cap: 1000 })],
  ["rows of a table with many deletes", Query.asOfRows("notes", "2026-01-10T00:00:00Z")],
  ["a row of it", Query.asOf("notes", "000100", "2026-01-10T00:00:00Z")]
] as const

/** Nothing of what is read here needs half of a large transaction. The bitmap of a window has ten entries for each page around its ends. */
const most = bulk / 2

const dear = Effect.map(
  Effect.forEach(reads, ([label, read]) =>
    Effect.map(costOf<unknown>(read), (cost) => (cost < most ? [] : [`${label}: ${cost}`]))
  ),
  (labels) => labels.flat()
)

const filled = Layer.effectDiscard(
  Effect.gen(function* () {
    yield* partitions
    yield* policies
    yield* many
    yield* analyze
    yield* few
  })
)

describe("reads of a few transactions with very many changes and many with one", () => {
  it.layer(filled.pipe(Layer.provideMerge(layer)), { timeout: "2 minutes" })("look at few of the changes:", (it) => {
    it.effect("by statistics that are older than the small transactions", () =>
      Effect.gen(function* () {
        expect(yield* dear).toEqual([])
      })
    )

    it.effect("by statistics of all of them", () =>
      Effect.gen(function* () {
        yield* analyze
        expect(yield* dear).toEqual([])
      })
    )
  })
})
