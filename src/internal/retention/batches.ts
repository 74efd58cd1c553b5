/**
 * Removes rows in batches. Each batch is a transaction of its own, locks only the rows that it removes, and waits for nobody.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { instantColumn } from "../record/change.js"
import { rows } from "../record/storage.js"
import { actionMayGo, changesOf, goes, mayHaveOld, latestOfActions, transactionMayGo } from "./conditions.js"
import { leafName, leafOf, type Partition } from "./partitions.js"
import { onlyRow } from "./plan.js"
import { type Look, newlyDue, rangesOf } from "./settled.js"
import { adding, asOwner, type Counted, leaseLost } from "./runs.js"
import { looked, unseenColumns, unseenFields, unseenQuery } from "./unseen.js"
import { batch, noting, type Outcome, turn, type Work, type WorkError } from "./work.js"

const outcome = { removed: Schema.NumberFromString, counted: Schema.NumberFromString }

/** The statement that removes rows also updates the row of the run, if it removes anything. */
const counting = ({ lease, storage }: Work, counted: Counted): Fragment =>
  adding(storage, lease, { ...counted, batches: 1 }, storage.sql`exists (select from gone)`)

/** Fails if rows were removed and the row of the run was not updated: the lease is lost, and the transaction is rolled back. */
const underLease = <A extends Outcome>(row: A) =>
  row.removed > 0 && row.counted === 0 ? leaseLost() : Effect.succeed(row)

const ChangesRow = Schema.Struct({
  ...outcome,
  ...unseenFields,
  noted: Schema.NullOr(Schema.String),
  last: Schema.NullOr(Schema.String),
  pages: Schema.NumberFromString
})

/** Pages that one statement looks at: about as many rows as a batch removes. */
const pages = 100

/**
 * Removes expired changes of a partition in the order in which they are stored, which is that of time. So no batch reads what
 * an earlier one removed.
 */
export const purgeChanges = Effect.fnUntraced(function* (
  work: Work,
  partition: Partition
): Effect.fn.Return<void, WorkError> {
  const { conditions, limits, storage } = work
  const { sql } = storage
  const leaf = leafOf(storage, partition)
  let page = 0
  let after = "(0,0)"
  for (;;) {
    yield* turn(work)
    const statement = sql`
      with ${unseenQuery(work.unseen, storage, mayHaveOld(conditions, "ut"))},
      going as materialized (
        select c.ctid as place
        from ${leaf} c
        where c.ctid > ${after}::tid
          and c.ctid < ${`(${page + pages},0)`}::tid
          and ${goes(conditions, "c", "few")}
          and not c.transaction_id in (select u.id from unseen u)
        -- The next batch begins after the last place, whichever way PostgreSQL takes to these rows.
        order by c.ctid
        limit ${limits.batchSize}
        for update of c skip locked
      ),
      gone as (
        delete from ${leaf} c
        using going g
        where c.ctid = g.place
        returning c.table_schema, c.table_name, c.captured_at, c.transaction_id
      ),
      noted as (${noting(
        storage,
        sql`
          select g.table_schema, g.table_name, min(g.captured_at) as first, max(g.captured_at) + interval '1 microsecond' as up_to
          from gone g
          group by g.table_schema, g.table_name`
      )}),
      counted as (${counting(work, {
        changes: sql`(select count(*) from gone)`,
        touched: sql`select min(g.transaction_id), max(g.transaction_id) from gone g`
      })})
      select (select count(*) from gone)::text as removed, (select count(*) from counted)::text as counted,
        (select max(n.text) from noted n) as noted, (select max(g.place) from going g)::text as last,
        (pg_relation_size(${leafName(partition)}::regclass) / current_setting('block_size')::int)::text as pages, ${unseenColumns(storage)}`
    const found = yield* batch(
      work,
      "changes",
      asOwner(storage, Effect.flatMap(Effect.flatMap(rows(ChangesRow, statement), onlyRow), underLease))
    )
    work.unseen = looked(work.unseen, work.epoch, found)
    if (found.last !== null && found.removed >= limits.batchSize) {
      // There may be more in these pages.
      after = found.last
      page = Number(found.last.slice(1).split(",")[0])
      continue
    }
    page += pages
    after = `(${page},0)`
    if (page >= found.pages) {
      return
    }
  }
})

const OrderedRow = Schema.Struct({
  ...outcome,
  due: Schema.NumberFromString,
  looked: Schema.NumberFromString,
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

/**
 * Removes the rows that may go. Each transaction looks at one batch of rows. Returns how many were left because others had
 * locked them.
 */
const walk = Effect.fnUntraced(function* (
  work: Work,
  { mayGo, order, phase, within }: Walk
): Effect.fn.Return<number, WorkError> {
  const { limits, storage } = work
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
    const statement = sql`
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
      ),
      counted as (${counting(work, {
        [phase]: sql`(select count(*) from gone)`,
        ...(phase === "transactions" ? { touched: sql`select min(g.id), max(g.id) from gone g` } : {})
      })})
      select (select count(*) from gone)::text as removed, (select count(*) from counted)::text as counted,
        (select count(*) from due)::text as due, (select count(*) from looked)::text as looked, l.place, l.id as place_id
      from (select) one
      left join lateral (
        select ${order === "occurred_at" ? instantColumn(sql, "l.place") : sql`l.place::text`} as place, l.id::text as id
        from looked l
        order by l.place desc, l.id desc
        limit 1
      ) l on true`
    const found = yield* batch(
      work,
      phase,
      asOwner(storage, Effect.flatMap(Effect.flatMap(rows(OrderedRow, statement), onlyRow), underLease))
    )
    locked += found.due - found.removed
    if (found.place === null || found.place_id === null || found.looked < limits.batchSize) {
      return locked
    }
    place = after(found.place, found.place_id)
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
      // Its changes were removed before this. A transaction that still has some, for whatever reason, stays.
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
