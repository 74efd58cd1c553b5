/**
 * A policy as conditions in SQL. Plans and purges use the same ones, so that what is counted is what goes.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import { InvalidRequest, type NotFound, type ThreadlineError } from "../../ThreadlineError.js"
import { captureMayPrecede } from "../core/limits.js"
import { format, type TableName } from "../core/tableName.js"
import type { Storage } from "../record/storage.js"
import { ofTable, type Table } from "../record/tables.js"
import { either, holdCondition, type HoldCondition, type Looks } from "./holds.js"
import type { Plan } from "./model.js"
import { type CheckedPolicy, type Cutoffs, cutoffsOf, latestOf } from "./policy.js"
import { resolveTable } from "./tables.js"
import { type Seen, unseenTransaction } from "./unseen.js"

/** A policy at an instant, with its tables resolved. */
export interface Conditions {
  readonly storage: Storage
  readonly cutoffs: Cutoffs
  readonly tables: ReadonlyArray<{ readonly table: Table; readonly cutoff: string | null }>
  readonly holds: ReadonlyArray<HoldCondition>
  readonly seen: Seen
  readonly ignoreFeed: boolean
}

/** What a plan is made for. */
type Planning = Pick<Plan, "at" | "before" | "ignoreFeed">

/** Resolves the tables and rows of a policy. An unknown name is an error: a doubtful policy removes nothing. */
export const conditionsOf = Effect.fnUntraced(function* (
  storage: Storage,
  policy: CheckedPolicy,
  { at, before, ignoreFeed }: Planning,
  seen: Seen
): Effect.fn.Return<Conditions, InvalidRequest | NotFound | ThreadlineError> {
  const cutoffs = cutoffsOf(policy, at, before ?? undefined)
  const tables = yield* Effect.forEach(policy.tables, ({ keep, table }, place) =>
    Effect.map(resolveTable(storage, table, `tables[${JSON.stringify(format(table))}]`), (resolved) => ({
      given: table,
      table: resolved,
      cutoff: cutoffs.tables[place]?.cutoff ?? null,
      keep
    }))
  )
  for (const [place, { given, keep, table }] of tables.entries()) {
    const other = tables
      .slice(0, place)
      .find((earlier) => earlier.keep !== keep && format(earlier.table.policy) === format(table.policy))
    if (other !== undefined) {
      return yield* new InvalidRequest({
        field: `tables[${JSON.stringify(format(given))}]`,
        rule: `means the same table as ${format(other.given)}, which is kept for another time`
      })
    }
  }
  return {
    storage,
    cutoffs,
    tables,
    holds: yield* Effect.forEach(policy.holds, (hold, place) => holdCondition(storage, hold, `holds[${place}]`)),
    seen,
    ignoreFeed
  }
})

/** Whether the time of a change is up. */
export const isExpired = ({ cutoffs, storage, tables }: Conditions, alias: string): Fragment => {
  const { sql } = storage
  const earlier = (cutoff: string | null): Fragment =>
    cutoff === null ? sql`false` : sql`${sql.literal(alias)}.captured_at < ${cutoff}::timestamptz`
  const cases = tables.map(({ cutoff, table }) => sql`when ${ofTable(storage, table, alias)} then ${earlier(cutoff)} `)
  return cases.length === 0
    ? earlier(cutoffs.others)
    : sql`(${sql.literal(alias)}.captured_at < ${cutoffs.latest}::timestamptz and case ${cases.reduce((all, one) => sql`${all}${one}`)}else ${earlier(cutoffs.others)} end)`
}

export const isHeld = ({ holds, storage }: Conditions, alias: string, looks: Looks): Fragment =>
  storage.sql`(${either(
    storage,
    holds.map(({ change }) => change(alias, looks))
  )}) is true`

/** From this id on, a consumer of the feed may still need changes, or did when the plan was made. It is asked in the statement itself. */
const horizon = ({ seen, storage: { name, sql } }: Conditions): Fragment =>
  sql`least(
    coalesce((select ${name("feed_horizon")}()), 9223372036854775807), ${seen.horizon ?? "9223372036854775807"}::bigint
  )`

/**
 * Whether a transaction may have changes that are old enough. Of transactions that were committed after a plan, only these
 * matter.
 */
export const mayHaveOld = ({ cutoffs: { latest }, storage: { sql } }: Conditions, alias: string): Fragment =>
  sql`${sql.literal(alias)}.occurred_at < ${latest}::timestamptz + ${captureMayPrecede}::interval`

export const isAwaited = (conditions: Conditions, alias: string): Fragment => {
  const { sql } = conditions.storage
  return conditions.ignoreFeed ? sql`false` : sql`(${sql.literal(alias)}.id >= ${horizon(conditions)})`
}

/** Whether a change goes, if it was committed before the plan was made. */
export const goes = (conditions: Conditions, alias: string, looks: Looks): Fragment => {
  const { sql } = conditions.storage
  return sql`(
    ${isExpired(conditions, alias)}
    and not ${isHeld(conditions, alias, looks)}
    and not ${isAwaited(conditions, alias)}
  )`
}

/** Whether a consumer of the feed may still need something of a partition. Without consumers no row is looked at. */
export const someAwaited = (conditions: Conditions, leaf: Fragment): Fragment => {
  const { ignoreFeed, storage } = conditions
  const { sql } = storage
  return ignoreFeed
    ? sql`false`
    : sql`(
      ${horizon(conditions)} < 9223372036854775807
      and exists (
        select from ${leaf} sc
        where sc.id >= ${horizon(conditions)}
      )
    )`
}

/**
 * Whether something else in a partition must stay. An index finds each part, except impersonators: for these, the partition's
 * transactions are looked at.
 */
export const someStays = (conditions: Conditions, leaf: Fragment, until: string): Fragment => {
  const { cutoffs, holds, storage, tables } = conditions
  const { sql } = storage
  if (cutoffs.others === null || cutoffs.others < until) {
    return sql`true`
  }
  return either(storage, [
    ...tables
      .filter(({ cutoff }) => cutoff === null || cutoff < until)
      .map(
        ({ cutoff, table }) => sql`exists (
          select from ${leaf} sc
          where ${ofTable(storage, table, "sc")}${cutoff === null ? sql`` : sql` and sc.captured_at >= ${cutoff}::timestamptz`}
        )`
      ),
    ...holds.map(({ within }) => within(leaf))
  ])
}

/** Whether every captured table's time in a partition is up. Then the partition itself may go. */
export const allExpire = ({ cutoffs, tables }: Conditions, until: string): boolean =>
  [cutoffs.others, ...tables.map(({ cutoff }) => cutoff)].every((cutoff) => cutoff !== null && cutoff >= until)

/**
 * The latest instant before which changes under a recorded name may go; null if none do. A name may have been that of several tables.
 */
export const latestOfName = ({ cutoffs, tables }: Conditions, name: TableName): string | null =>
  latestOf([
    isOnlyOf(tables, name) ? null : cutoffs.others,
    ...tables
      .filter(({ table }) => table.spans.some((span) => span.schema === name.schema && span.name === name.name))
      .map(({ cutoff }) => cutoff)
  ])

/** Whether a name always was that of one table of the policy. */
const isOnlyOf = (tables: Conditions["tables"], name: TableName): boolean =>
  tables.some(({ table }) =>
    table.spans.some(
      ({ name: ofSpan, schema, since, until }) =>
        schema === name.schema && ofSpan === name.name && since === null && until === null
    )
  )

/**
 * The changes of one transaction, as `from` and `where`. The bound of time spares older partitions: no change is captured
 * before its transaction began, except by what clocks differ.
 */
export const changesOf = ({ name, sql }: Storage, transaction: string): Fragment => sql`
  from ${name("audit_changes")} oc
  where oc.transaction_id = ${sql.literal(transaction)}.id
    and oc.captured_at >= ${sql.literal(transaction)}.occurred_at - ${captureMayPrecede}::interval`

const actionExpired = ({ cutoffs, storage: { sql } }: Conditions, alias: string): Fragment => {
  const as = sql.literal(alias)
  const earlier = (cutoff: string | null): Fragment =>
    cutoff === null ? sql`false` : sql`${as}.occurred_at < ${cutoff}::timestamptz`
  const cases = cutoffs.actions.map(({ cutoff, name }) => sql`when ${name} then ${earlier(cutoff)} `)
  return cases.length === 0
    ? earlier(cutoffs.otherActions)
    : sql`case ${as}.name ${cases.reduce((all, one) => sql`${all}${one}`)}else ${earlier(cutoffs.otherActions)} end`
}

/** Whether the time of an action is up, and no hold keeps it. */
export const actionMayGo = (conditions: Conditions, alias: string): Fragment => {
  const { holds, storage } = conditions
  const held = holds.flatMap(({ action }) => (action === undefined ? [] : [action(alias)]))
  return storage.sql`(${actionExpired(conditions, alias)} and (${either(storage, held)}) is not true)`
}

/** A transaction may go once it has no changes: it is old, no hold keeps it, and none of its actions is kept. */
export const transactionMayGo = (conditions: Conditions, alias: string): Fragment => {
  const { cutoffs, holds, seen, storage } = conditions
  const { name, sql } = storage
  const held = holds.flatMap(({ transaction }) => (transaction === undefined ? [] : [transaction(alias)]))
  return sql`(
    ${sql.literal(alias)}.occurred_at < ${cutoffs.latest}::timestamptz
    and (${either(storage, held)}) is not true
    and not ${unseenTransaction(seen, storage, alias)}
    and not exists (
      select from ${name("audit_actions")} ka
      where ka.transaction_id = ${sql.literal(alias)}.id and not ${actionMayGo(conditions, "ka")}
    )
  )`
}

/** The latest instant before which an action may go; null if none does. */
export const latestOfActions = ({ cutoffs }: Conditions): string | null =>
  latestOf([cutoffs.otherActions, ...cutoffs.actions.map(({ cutoff }) => cutoff)])
