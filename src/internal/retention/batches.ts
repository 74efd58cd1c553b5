/** What goes by and by: each batch is a transaction of its own, locks only the rows that it removes, and waits for nobody. */
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { instantColumn } from "../record/change.js"
import { rows } from "../record/storage.js"
import { actionMayGo, changesOf, goes, latestOfActions, transactionMayGo } from "./conditions.js"
import { leafName, leafOf, type Partition } from "./partitions.js"
import { type Look, newlyDue, rangesOf } from "./settled.js"
import { asOwner, count } from "./runs.js"
import { done, noteRemoved, turn, type Work, type WorkError } from "./work.js"

const ChangesRow = Schema.Struct({
  removed: Schema.NumberFromString,
  names: Schema.NullOr(Schema.String),
  first: Schema.NullOr(Schema.String),
  last: Schema.NullOr(Schema.String),
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
            returning c.table_schema, c.table_name, c.captured_at, c.transaction_id
          ),
          names as (
            select n.table_schema, n.table_name, min(n.captured_at) as first, max(n.captured_at) + interval '1 microsecond' as up_to,
              count(*) as removed
            from gone n
            group by n.table_schema, n.table_name
          )
          select (select coalesce(sum(n.removed), 0) from names n)::text as removed,
            (select json_agg(n) from names n)::text as names,
            (select min(g.transaction_id) from gone g)::text as first,
            (select max(g.transaction_id) from gone g)::text as last,
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
          yield* count(storage, lease, { changes: removed, batches: 1, touched: row })
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
  due: Schema.NumberFromString,
  looked: Schema.NumberFromString,
  first: Schema.NullOr(Schema.String),
  last: Schema.NullOr(Schema.String),
  place: Schema.NullOr(Schema.String),
  place_id: Schema.NullOr(Schema.String)
})

/** Rows to look at, in the order of an index. */
interface Walk {
  readonly phase: "transactions" | "actions"
  readonly within: Fragment
  readonly order: "id" | "occurred_at" | "transaction_id"
  readonly mayGo: Fragment
}

/** Removes what may go, a batch of rows looked at in each transaction. Gives how many of them were left because others had locked them. */
const walk = Effect.fnUntraced(function* (
  work: Work,
  { mayGo, order, phase, within }: Walk
): Effect.fn.Return<number, WorkError> {
  const { lease, limits, storage } = work
  const { name, sql } = storage
  const table = name(phase === "transactions" ? "audit_transactions" : "audit_actions")
  const major = sql.literal(order)
  const after = (place: string, id: string): Fragment =>
    order === "id"
      ? sql` and r.id > ${id}::bigint`
      : sql` and (r.${major}, r.id) > (${place}::${sql.literal(order === "occurred_at" ? "timestamptz" : "bigint")}, ${id}::bigint)`
  let locked = 0
  let place: Fragment = sql``
  for (;;) {
    yield* turn(work)
    const batch = yield* asOwner(
      storage,
      Effect.gen(function* () {
        const [row] = yield* rows(
          OrderedRow,
          sql`
          with looked as materialized (
            select r.id, r.${major} as place
            from ${table} r
            where ${within}${place}
            order by r.${sql.literal(order === "id" ? "id" : `${order}, r.id`)}
            limit ${limits.batchSize}
          ),
          due as materialized (
            select r.id
            from looked l
            join ${table} r on r.id = l.id
            where ${mayGo}
          ),
          going as materialized (
            select r.id
            from due d
            join ${table} r on r.id = d.id
            for update of r skip locked
          ),
          gone as (
            delete from ${table} r
            using going g
            where r.id = g.id
            returning r.id
          )
          select (select count(*) from gone)::text as removed, (select count(*) from due)::text as due,
            (select count(*) from looked)::text as looked, (select min(g.id) from gone g)::text as first,
            (select max(g.id) from gone g)::text as last, l.place, l.id as place_id
          from (select) one
          left join lateral (
            select ${order === "occurred_at" ? instantColumn(sql, "l.place") : sql`l.place::text`} as place, l.id::text as id
            from looked l
            order by l.place desc, l.id desc
            limit 1
          ) l on true`
        )
        const removed = row?.removed ?? 0
        if (removed > 0) {
          yield* count(storage, lease, {
            [phase]: removed,
            batches: 1,
            ...(phase === "transactions" ? { touched: row } : {})
          })
        }
        return row
      })
    )
    if (batch !== undefined && batch.removed > 0) {
      yield* done(work, phase, batch.removed)
    }
    locked += batch === undefined ? 0 : batch.due - batch.removed
    if (batch === undefined || batch.place === null || batch.place_id === null || batch.looked < limits.batchSize) {
      return locked
    }
    place = after(batch.place, batch.place_id)
  }
})

const total = (counts: ReadonlyArray<number>): number => counts.reduce((sum, count) => sum + count, 0)

export const purgeTransactions = Effect.fnUntraced(function* (
  work: Work,
  look: Look
): Effect.fn.Return<number, WorkError> {
  const { conditions, storage } = work
  const { sql } = storage
  const { latest } = conditions.cutoffs
  if (latest === null) {
    return 0
  }
  const ranges = yield* asOwner(storage, rangesOf(storage, look))
  const locked = yield* Effect.forEach(ranges, ({ since, until }) =>
    walk(work, {
      phase: "transactions",
      within: sql`r.id >= ${since}::bigint and r.id < ${until}::bigint and r.occurred_at < ${latest}::timestamptz`,
      order: "id",
      // What its changes are was settled before: one that has any, for whatever reason, stays.
      mayGo: sql`${transactionMayGo(conditions, "r")} and not exists (select ${changesOf(storage, "r")})`
    })
  )
  return total(locked)
})

export const purgeActions = Effect.fnUntraced(function* (work: Work, look: Look): Effect.fn.Return<number, WorkError> {
  const { conditions, storage } = work
  const { name, sql } = storage
  const latest = latestOfActions(conditions)
  if (latest === null) {
    return 0
  }
  const actions = {
    phase: "actions" as const,
    mayGo: sql`${actionMayGo(conditions, "r")}
      and not exists (select from ${name("audit_transactions")} t where t.id = r.transaction_id)`
  }
  const { settled } = look
  if (settled === undefined) {
    return yield* walk(work, { ...actions, within: sql`r.occurred_at < ${latest}::timestamptz`, order: "occurred_at" })
  }
  const due = yield* Effect.forEach(newlyDue(conditions, conditions.cutoffs, settled, "r"), (within) =>
    walk(work, { ...actions, within, order: "occurred_at" })
  )
  const ofTransactions = yield* Effect.forEach(yield* asOwner(storage, rangesOf(storage, look)), ({ since, until }) =>
    walk(work, {
      ...actions,
      within: sql`r.transaction_id >= ${since}::bigint and r.transaction_id < ${until}::bigint`,
      order: "transaction_id"
    })
  )
  return total(due) + total(ofTransactions)
})
