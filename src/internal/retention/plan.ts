/** What would go, counted under one snapshot. */
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { fromSqlError, InvalidRequest, type NotFound, ThreadlineError } from "../../ThreadlineError.js"
import { instant, instantRule, type InstantInput } from "../core/instant.js"
import { mustHaveOnly } from "../core/request.js"
import { format, type TableName } from "../core/tableName.js"
import { instantColumn } from "../record/change.js"
import { rows, type Storage, unionAll } from "../record/storage.js"
import { mustBeWhole } from "../record/whole.js"
import { isInside, snapshot } from "../sql/owned.js"
import {
  actionMayGo,
  allExpire,
  changesOf,
  type Conditions,
  conditionsOf,
  goes,
  isAwaited,
  isExpired,
  isHeld,
  latestOfActions,
  latestOfName,
  someAwaited,
  someStays,
  transactionMayGo
} from "./conditions.js"
import { some } from "./holds.js"
import type { How, Plan, PlanItem, PlanPartition } from "./model.js"
import { leafOf, type Partition, partitions, recordedNames } from "./partitions.js"
import { check, type CheckedPolicy } from "./policy.js"
import { RetentionError } from "./retentionError.js"
import { block, type Look, newlyDue, toLookAt } from "./settled.js"

/**
 * Options of a plan.
 *
 * @since 0.1.0
 * @category models
 */
export interface PlanOptions {
  /** Nothing that was captured at or after this instant goes, even if its time is up. It cannot be in the future. */
  readonly before?: InstantInput | undefined
  /** Also removes what a consumer of the feed has not had yet. It will never get it. */
  readonly ignoreFeed?: boolean | undefined
}

export type PlanError = InvalidRequest | NotFound | RetentionError | ThreadlineError

/** Settings for the statements of retention. If row-level security would hide a row, the statement fails. */
export const settings = {
  search_path: "pg_catalog, pg_temp",
  row_security: "off",
  jit: "off",
  // The bounds of partitions are read as PostgreSQL prints them.
  timezone: "UTC",
  datestyle: "ISO"
}

export const refuseInside: Effect.Effect<void, RetentionError> = Effect.flatMap(isInside, (inside) =>
  inside
    ? new RetentionError({
        reason: "InsideTransaction",
        detail: "retention works in transactions of its own: call it outside of yours"
      })
    : Effect.void
)

const notConfigured = () =>
  new RetentionError({
    reason: "NotConfigured",
    detail: 'no retention is configured, so nothing is ever removed: give a policy such as { keep: "365 days" }'
  })

export const optionNames = { before: true, ignoreFeed: true } as const

export const checkedPlanOptions = Effect.fnUntraced(function* (options: PlanOptions) {
  yield* mustHaveOnly(options, optionNames)
  if (options.ignoreFeed !== undefined && typeof options.ignoreFeed !== "boolean") {
    return yield* new InvalidRequest({ field: "ignoreFeed", rule: "must be true or false" })
  }
  const before = options.before === undefined ? undefined : instant(options.before)
  if (options.before !== undefined && before === undefined) {
    return yield* new InvalidRequest({ field: "before", rule: instantRule })
  }
  return { before: before ?? null, ignoreFeed: options.ignoreFeed === true }
})

export const Now = Schema.Struct({
  at: Schema.String,
  snapshot: Schema.String,
  epoch: Schema.String,
  horizon: Schema.NullOr(Schema.String),
  lastRun: Schema.NullOr(Schema.String)
})

/** The present state of the database: its clock, its snapshot and epoch, the horizon of the feed, the last purge. */
export const now = ({ name, sql }: Storage) => sql`
  select ${instantColumn(sql, "clock_timestamp()")} as at, pg_current_snapshot()::text as snapshot,
    coalesce((
      -- Of another cluster: this record was restored, and the first write opens its epoch here.
      select i.epoch + (i.system_identifier <> (select s.system_identifier from pg_control_system() s))::int
      from ${name("installs")} i
      order by i.epoch desc
      limit 1
    ), 0)::text as epoch,
    (select ${name("feed_horizon")}())::text as horizon,
    (select max(r.id)::text from ${name("retention_runs")} r where r.kind = 'purge') as "lastRun"`

/** This does not happen: such a statement always gives one row. */
const nothing = () => new ThreadlineError({ reason: "Failed", detail: "the database gave no answer" })

export const onlyRow = <A>(found: ReadonlyArray<A>): Effect.Effect<A, ThreadlineError> =>
  found[0] === undefined ? nothing() : Effect.succeed(found[0])

/** The partitions as they are now. */
export const partitionsNow = (storage: Storage): Effect.Effect<ReadonlyArray<Partition>, ThreadlineError> =>
  snapshot(storage.sql, settings, partitions(storage)).pipe(Effect.catchTag("SqlError", (error) => fromSqlError(error)))

const Stays = Schema.Struct({ stays: Schema.Literal("true", "false") })

const staysIn = (conditions: Conditions, partition: Partition): Effect.Effect<boolean, ThreadlineError> =>
  partition.bounds === undefined
    ? Effect.succeed(true)
    : Effect.map(
        rows(
          Stays,
          conditions.storage.sql`
            select (
              ${someStays(conditions, leafOf(conditions.storage, partition), partition.bounds.until)}
              or ${someAwaited(conditions, leafOf(conditions.storage, partition))}
            )::text as stays`
        ),
        ([row]) => row?.stays !== "false"
      )

const howOf = (conditions: Conditions, partition: Partition): Effect.Effect<How, ThreadlineError> =>
  Effect.map(staysIn(conditions, partition), (stays) =>
    stays || partition.bounds === undefined
      ? "batches"
      : allExpire(conditions, partition.bounds.until)
        ? "drop"
        : "empty"
  )

const ItemRow = Schema.Struct({
  schema: Schema.String,
  name: Schema.String,
  month: Schema.String,
  going: Schema.NumberFromString,
  held: Schema.NumberFromString,
  awaited: Schema.NumberFromString,
  blocks: Schema.String
})

/** Names under which a partition has changes, each found by the index of tables. */
const namesIn = ({ sql }: Storage, leaf: Fragment) =>
  rows(
    Schema.Struct({ schema: Schema.String, name: Schema.String }),
    sql`
      ${recordedNames(sql, leaf)}
      select n.table_schema::text as schema, n.table_name::text as name
      from names n`
  )

/** Whether a change under an alias has one of the names. */
const isOneOf = ({ sql }: Storage, names: ReadonlyArray<TableName>, alias: string): Fragment =>
  sql.or(
    names.map(
      ({ name, schema }) =>
        sql`(${sql.literal(alias)}.table_schema = ${schema} and ${sql.literal(alias)}.table_name = ${name})`
    )
  )

/** Counts which expired changes of a partition go, and which stay. Names of which nothing is old enough are not looked at. */
const items = Effect.fnUntraced(function* (conditions: Conditions, partition: Partition) {
  const { storage } = conditions
  const { sql } = storage
  const leaf = leafOf(storage, partition)
  const from = partition.bounds?.from
  const names = (yield* namesIn(storage, leaf)).filter((name) => {
    const latest = latestOfName(conditions, name)
    return latest !== null && (from === undefined || latest > from)
  })
  if (names.length === 0) {
    return []
  }
  return yield* rows(
    ItemRow,
    sql`
      select x.table_schema::text as schema, x.table_name::text as name, x.month,
        (count(*) filter (where not x.held and not x.awaited))::text as going,
        (count(*) filter (where x.held))::text as held,
        (count(*) filter (where not x.held and x.awaited))::text as awaited,
        coalesce(
          range_agg(distinct int8range(x.block * ${block}, (x.block + 1) * ${block})) filter (where not x.held and not x.awaited),
          '{}'
        )::text as blocks
      from (
        select c.table_schema, c.table_name, c.transaction_id / ${block} as block, to_char(c.captured_at at time zone 'UTC', 'YYYY-MM') as month,
          ${isHeld(conditions, "c", "many")} as held, ${isAwaited(conditions, "c")} as awaited
        from ${leaf} c
        where ${isOneOf(storage, names, "c")} and ${isExpired(conditions, "c")}
      ) x
      group by x.table_schema, x.table_name, x.month
      order by x.month, x.table_schema, x.table_name`
  )
})

const CountRow = Schema.Struct({ transactions: Schema.NumberFromString, actions: Schema.NumberFromString })

/** Counts the transactions of which nothing stays, and the actions that nothing keeps. */
const others = (conditions: Conditions, look: Look) => {
  const { storage } = conditions
  const { name, sql } = storage
  const latest = latestOfActions(conditions)
  const isWhole = look.settled === undefined
  const none = (found: Fragment): Fragment => sql`not (${some(sql, found, isWhole ? "many" : "few")})`
  const transactionGoes = (alias: string) => sql`(
    ${transactionMayGo(conditions, alias)}
    and ${none(sql`${changesOf(storage, alias)} and not ${goes(conditions, "oc", "many")}`)}
  )`
  const inBlocks = (table: string, id: string): Fragment => sql`
    select r.*
    from unnest(${look.blocks}::int8multirange) b (ids)
    join ${name(table)} r on r.${sql.literal(id)} >= lower(b.ids) and r.${sql.literal(id)} < upper(b.ids)`
  const due =
    look.settled === undefined
      ? [sql`select r.* from ${name("audit_actions")} r where r.occurred_at < ${latest}::timestamptz`]
      : [
          inBlocks("audit_actions", "transaction_id"),
          ...newlyDue(conditions, conditions.cutoffs, look.settled, "r").map(
            (condition) => sql`select r.* from ${name("audit_actions")} r where ${condition}`
          )
        ]
  const counted = (rows: Fragment, alias: string, goes: Fragment): Fragment => sql`(
    with looked as ${sql.literal(isWhole ? "not materialized" : "materialized")} (${rows})
    select count(*)
    from looked ${sql.literal(alias)}
    where ${goes}
  )`
  return Effect.flatMap(
    rows(
      CountRow,
      sql`
        select
          ${
            conditions.cutoffs.latest === null
              ? sql`0`
              : counted(inBlocks("audit_transactions", "id"), "t", transactionGoes("t"))
          }::text as transactions,
          ${
            latest === null
              ? sql`0`
              : counted(
                  // One may be found both ways.
                  due.length === 1
                    ? unionAll(due)
                    : sql`select distinct on (d.id) d.* from (${unionAll(due)}) d order by d.id`,
                  "a",
                  sql`${actionMayGo(conditions, "a")} and ${none(sql`
                    from ${name("audit_transactions")} t
                    where t.id = a.transaction_id and (${conditions.cutoffs.latest === null ? sql`true` : sql`not ${transactionGoes("t")}`})`)}`
                )
          }::text as actions`
    ),
    onlyRow
  )
}

const merged = (found: ReadonlyArray<PlanItem>): ReadonlyArray<PlanItem> => {
  const byKey = new Map<string, PlanItem>()
  for (const item of found) {
    const key = JSON.stringify([item.month, item.table, item.how])
    byKey.set(key, { ...item, changes: item.changes + (byKey.get(key)?.changes ?? 0) })
  }
  return [...byKey.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, item]) => item)
}

/** What a policy means at this moment. The conditions are those that the counts were made with. */
const planned = (
  storage: Storage,
  policy: CheckedPolicy,
  { before, ignoreFeed }: Pick<Plan, "before" | "ignoreFeed">
) =>
  Effect.gen(function* (): Effect.fn.Return<Plan, InvalidRequest | NotFound | ThreadlineError> {
    const { at, epoch, horizon, lastRun, snapshot } = yield* Effect.flatMap(rows(Now, now(storage)), onlyRow)
    if (before !== null && before > at) {
      return yield* new InvalidRequest({ field: "before", rule: `must not be in the future: the database has ${at}` })
    }
    const seen = { snapshot, epoch: Number(epoch), horizon }
    const conditions = yield* conditionsOf(storage, policy, { at, before, ignoreFeed }, seen)
    const { latest } = conditions.cutoffs
    const planItems: Array<PlanItem> = []
    const parts: Array<PlanPartition> = []
    const blocks: Array<string> = []
    let held = 0
    let awaited = 0
    const mayExpire = ({ bounds }: Partition) => latest !== null && (bounds === undefined || bounds.from < latest)
    for (const partition of (yield* partitions(storage)).filter(mayExpire)) {
      const counted = yield* items(conditions, partition)
      held += counted.reduce((sum, item) => sum + item.held, 0)
      awaited += counted.reduce((sum, item) => sum + item.awaited, 0)
      const going = counted.filter((item) => item.going > 0)
      blocks.push(...going.map((item) => item.blocks))
      const how = yield* howOf(conditions, partition)
      if (going.length > 0 || how === "drop") {
        parts.push({
          name: partition.name,
          from: partition.bounds?.from ?? null,
          until: partition.bounds?.until ?? null,
          how,
          changes: going.reduce((sum, item) => sum + item.going, 0)
        })
      }
      planItems.push(
        ...going.map(({ going, month, name, schema }) => ({
          table: format({ schema, name }),
          month,
          changes: going,
          how
        }))
      )
    }
    const look = yield* toLookAt(conditions, policy.document, blocks)
    const { actions, transactions } = yield* others(conditions, look)
    return {
      items: merged(planItems),
      transactions,
      actions,
      cutoff: latest,
      changes: planItems.reduce((sum, { changes }) => sum + changes, 0),
      partitions: parts,
      held,
      awaited,
      policy: policy.document,
      at,
      before,
      ignoreFeed,
      ...seen,
      lastRun
    }
  })

export const plan = Effect.fnUntraced(function* (
  storage: Storage,
  policy: unknown,
  options: PlanOptions
): Effect.fn.Return<Plan, PlanError> {
  yield* refuseInside
  const planning = yield* checkedPlanOptions(options)
  if (policy === undefined || policy === null) {
    return yield* notConfigured()
  }
  const checked = yield* check(policy)
  yield* mustBeWhole(storage)
  return yield* snapshot(storage.sql, settings, planned(storage, checked, planning)).pipe(
    Effect.catchTag("SqlError", (error) => fromSqlError(error))
  )
})
