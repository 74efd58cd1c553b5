/** What goes by and by: each batch is a transaction of its own, locks only the rows that it removes, and waits for nobody. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { instantColumn } from "../record/change.js"
import { rows } from "../record/storage.js"
import { actionMayGo, changesOf, goes, latestOfActions, transactionMayGo } from "./conditions.js"
import { leafName, leafOf, type Partition } from "./partitions.js"
import { asOwner, count } from "./runs.js"
import { done, noteRemoved, turn, type Work, type WorkError } from "./work.js"

const ChangesRow = Schema.Struct({
  removed: Schema.NumberFromString,
  names: Schema.NullOr(Schema.String),
  pages: Schema.NumberFromString
})

/** Pages that one statement looks at: few if much of them goes, many if nothing does. */
const fewestPages = 8
const mostPages = 4096

/** Removes changes of a partition in the order in which they lie there, which is that of time. */
export const purgeChanges = Effect.fnUntraced(function* (
  work: Work,
  partition: Partition
): Effect.fn.Return<void, WorkError> {
  const { conditions, lease, limits, storage } = work
  const { sql } = storage
  const leaf = leafOf(storage, partition)
  let page = 0
  let span = 64
  for (;;) {
    yield* turn(work)
    const batch = yield* asOwner(
      storage,
      Effect.gen(function* () {
        const [row] = yield* rows(
          ChangesRow,
          sql`
          with going as materialized (
            select c.ctid as place
            from ${leaf} c
            where c.ctid >= ${`(${page},0)`}::tid
              and c.ctid < ${`(${page + span},0)`}::tid
              and ${goes(conditions, "c")}
            limit ${limits.batchSize}
            for update of c skip locked
          ),
          gone as (
            delete from ${leaf} c
            using going g
            where c.ctid = g.place
            returning c.table_schema, c.table_name, c.captured_at
          ),
          names as (
            select n.table_schema, n.table_name, min(n.captured_at) as first, max(n.captured_at) + interval '1 microsecond' as up_to,
              count(*) as removed
            from gone n
            group by n.table_schema, n.table_name
          )
          select (select coalesce(sum(n.removed), 0) from names n)::text as removed,
            (select json_agg(n) from names n)::text as names,
            (pg_relation_size(${leafName(partition)}::regclass) / current_setting('block_size')::int)::text as pages`
        )
        const removed = row?.removed ?? 0
        if (removed > 0) {
          yield* noteRemoved(
            storage,
            sql`
              select *
              from json_to_recordset(${row?.names ?? "[]"}::json)
                n (table_schema text, table_name text, first timestamptz, up_to timestamptz)`
          )
          yield* count(storage, lease, { changes: removed, batches: 1 })
        }
        return { removed, pages: row?.pages ?? 0 }
      })
    )
    if (batch.removed > 0) {
      yield* done(work, "changes", batch.removed)
    }
    if (batch.removed >= limits.batchSize) {
      // There may be more in these pages.
      span = Math.max(fewestPages, span >> 1)
      continue
    }
    page += span
    if (page >= batch.pages) {
      return
    }
    span = Math.min(mostPages, batch.removed * 4 < limits.batchSize ? span * 2 : span)
  }
})

const OrderedRow = Schema.Struct({
  removed: Schema.NumberFromString,
  looked: Schema.NumberFromString,
  last_at: Schema.NullOr(Schema.String),
  last_id: Schema.NullOr(Schema.String)
})

/** Removes from a table whose rows are found in the order of time, a batch of them looked at in each transaction. */
const inOrder = Effect.fnUntraced(function* (
  work: Work,
  phase: "transactions" | "actions"
): Effect.fn.Return<void, WorkError> {
  const { conditions, lease, limits, storage } = work
  const { name, sql } = storage
  const latest = phase === "transactions" ? conditions.cutoffs.latest : latestOfActions(conditions)
  if (latest === null) {
    return
  }
  const table = name(phase === "transactions" ? "audit_transactions" : "audit_actions")
  const mayGo =
    phase === "transactions"
      ? // What its changes are was settled before: one that has any, for whatever reason, stays.
        sql`${transactionMayGo(conditions, "r")} and not exists (select ${changesOf(storage, "r")})`
      : sql`${actionMayGo(conditions, "r")}
          and not exists (select from ${name("audit_transactions")} t where t.id = r.transaction_id)`
  let place: { readonly at: string; readonly id: string } | undefined
  for (;;) {
    yield* turn(work)
    const batch = yield* asOwner(
      storage,
      Effect.gen(function* () {
        const [row] = yield* rows(
          OrderedRow,
          sql`
          with looked as materialized (
            select r.id, r.occurred_at
            from ${table} r
            where r.occurred_at < ${latest}::timestamptz${
              place === undefined
                ? sql``
                : sql` and (r.occurred_at, r.id) > (${place.at}::timestamptz, ${place.id}::bigint)`
            }
            order by r.occurred_at, r.id
            limit ${limits.batchSize}
          ),
          going as materialized (
            select r.id
            from looked l
            join ${table} r on r.id = l.id
            where ${mayGo}
            for update of r skip locked
          ),
          gone as (
            delete from ${table} r
            using going g
            where r.id = g.id
            returning r.id
          )
          select (select count(*) from gone)::text as removed, (select count(*) from looked)::text as looked,
            l.last_at, l.last_id
          from (select) one
          left join lateral (
            select ${instantColumn(sql, "l.occurred_at")} as last_at, l.id::text as last_id
            from looked l
            order by l.occurred_at desc, l.id desc
            limit 1
          ) l on true`
        )
        const removed = row?.removed ?? 0
        if (removed > 0) {
          yield* count(storage, lease, { [phase]: removed, batches: 1 })
        }
        return row
      })
    )
    if (batch !== undefined && batch.removed > 0) {
      yield* done(work, phase, batch.removed)
    }
    if (batch === undefined || batch.last_at === null || batch.last_id === null || batch.looked < limits.batchSize) {
      return
    }
    place = { at: batch.last_at, id: batch.last_id }
  }
})

export const purgeTransactions = (work: Work): Effect.Effect<void, WorkError> => inOrder(work, "transactions")

export const purgeActions = (work: Work): Effect.Effect<void, WorkError> => inOrder(work, "actions")
