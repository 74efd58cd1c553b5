/**
 * A policy as conditions in SQL. Plans and purges use the same ones, so that what is counted is what goes.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { InvalidRequest, NotFound, type ThreadlineError } from "../../ThreadlineError.js"
import { captureMayPrecede } from "../core/limits.js"
import { parse } from "../core/json.js"
import { format, type TableName } from "../core/tableName.js"
import { rowOf } from "../record/key.js"
import { rows, type Storage } from "../record/storage.js"
import { checkTables, ofTable, resolveTables, type Table, withStrayedNames } from "../record/tables.js"
import { identifier, qualified } from "../sql/sqlText.js"
import { ofHeldRow } from "./formerKeys.js"
import { type CheckedPolicy, type Cutoffs, cutoffsOf, latestOf } from "./policy.js"
import { type Seen, unseenTransaction } from "./unseen.js"

/**
 * How many rows a statement looks at. `few`: an index finds what belongs to each of them. `many`: PostgreSQL may read all of it
 * once, which is quicker then.
 */
type Looks = "few" | "many"

/** Whether `found`, a query without its select list, gives a row. */
export const some = (sql: Storage["sql"], found: Fragment, looks: Looks): Fragment =>
  looks === "many" ? sql`exists (select ${found})` : sql`(select true ${found} limit 1) is true`

/** What a hold means for each of the three tables. Undefined if it means nothing for one. */
interface HoldCondition {
  readonly change: (alias: string, looks: Looks) => Fragment
  readonly transaction: ((alias: string) => Fragment) | undefined
  readonly action: ((alias: string) => Fragment) | undefined
  /** Whether a partition holds such a change, found by an index. */
  readonly within: (leaf: Fragment) => Fragment
}

/** A policy at an instant, with its tables resolved. */
export interface Conditions {
  readonly storage: Storage
  readonly cutoffs: Cutoffs
  readonly tables: ReadonlyArray<{ readonly table: Table; readonly cutoff: string | null }>
  readonly holds: ReadonlyArray<HoldCondition>
  readonly seen: Seen
  readonly ignoreFeed: boolean
}

const Known = Schema.Struct({ known: Schema.Literal("true", "false") })

/** A table that the record does not know yet is fine if it exists: it may be captured later. One that is misspelt is not. */
const checkTable = (storage: Storage, table: TableName): Effect.Effect<void, NotFound | ThreadlineError> =>
  Effect.flatMap(
    rows(
      Known,
      storage.sql`
        select exists (
          select from pg_catalog.pg_class c
            join pg_catalog.pg_namespace n on n.oid = c.relnamespace
          where n.nspname = ${table.schema}
            and c.relname = ${table.name}
            and c.relkind in ('r', 'p', 'f')
            and not c.relispartition
        )::text as known`
    ),
    ([row]) => (row?.known === "true" ? Effect.void : checkTables(storage, [table]))
  )

const StrayedRow = Schema.Struct({
  schema: Schema.String,
  name: Schema.String,
  doubtful: Schema.Literal("true", "false")
})

/**
 * The name by which the record knows a table that was renamed and that no policy has followed yet. If captured tables exchanged their
 * names, nothing tells what a name means, and nothing may go because of it.
 */
const recordedName = (
  { name, sql }: Storage,
  table: TableName,
  field: string
): Effect.Effect<TableName, InvalidRequest | ThreadlineError> =>
  Effect.flatMap(
    rows(
      StrayedRow,
      sql`
        select s.table_schema as schema, s.table_name as name, (s.contested or s.taken is not null)::text as doubtful
        from ${name("strayed_names")}() s
        where format('%I.%I', ${table.schema}::text, ${table.name}::text) = any (s.names)
        order by s.contested or s.taken is not null desc`
    ),
    ([strayed]) =>
      strayed === undefined
        ? Effect.succeed(table)
        : strayed.doubtful === "true"
          ? new InvalidRequest({
              field,
              rule: `names ${format(table)}, a name that changed hands since capture was applied: run threadline capture apply`
            })
          : Effect.succeed({ schema: strayed.schema, name: strayed.name })
  )

const resolveOne = (
  storage: Storage,
  given: TableName,
  field: string
): Effect.Effect<Table, InvalidRequest | NotFound | ThreadlineError> =>
  Effect.zipRight(
    checkTable(storage, given),
    Effect.flatMap(recordedName(storage, given, field), (table) =>
      Effect.flatMap(resolveTables(storage, [table]), (resolved) =>
        Effect.map(
          withStrayedNames(storage, resolved),
          ([first]) =>
            first ?? {
              ...table,
              policy: table,
              spans: [{ ...table, since: null, until: null }],
              columns: [],
              present: []
            }
        )
      )
    )
  )

const HostKey = Schema.Struct({
  schema: Schema.String,
  name: Schema.String,
  columns: Schema.parseJson(Schema.Array(Schema.Struct({ name: Schema.String, type: Schema.String }))),
  readable: Schema.Literal("true", "false")
})

/** Whether the table itself has a row that was never recorded. It may change later, and its changes are then held. */
const isInTable = (storage: Storage, { policy }: Table, key: string): Effect.Effect<boolean, ThreadlineError> => {
  const { name, sql } = storage
  return Effect.gen(function* () {
    const [host] = yield* rows(
      HostKey,
      sql`
        select n.nspname::text as schema, c.relname::text as name, p.key_columns::text as columns,
          has_table_privilege(c.oid, 'select')::text as readable
        from ${name("capture_policies")} p
        join pg_class c on c.oid = p.relation
        join pg_namespace n on n.oid = c.relnamespace
        where p.table_schema = ${policy.schema}
          and p.table_name = ${policy.name}
          and p.database = ${name("this_database")}()
          and p.removed_at is null
          and c.relkind in ('r', 'p', 'f')`
    )
    if (host === undefined || host.readable === "false" || host.columns.length === 0) {
      return false
    }
    const parts = host.columns.length === 1 ? [key] : parse(key)
    if (!Array.isArray(parts) || parts.length !== host.columns.length) {
      return false
    }
    const same = host.columns.map(
      (column, place) =>
        sql`h.${sql.literal(identifier(column.name))} = ${String(parts[place])}::${sql.literal(column.type)}`
    )
    const [row] = yield* rows(
      Known,
      sql`select exists (select from ${sql.literal(qualified(host.schema, host.name))} h where ${sql.and(same)})::text as known`
    )
    return row?.known === "true"
  })
}

/** Refuses a key that neither the record nor the table has: it may be misspelt. */
const checkRow = (
  storage: Storage,
  table: Table,
  key: string,
  held: Fragment
): Effect.Effect<void, NotFound | ThreadlineError> =>
  Effect.flatMap(
    rows(
      Known,
      storage.sql`select exists (select from ${storage.name("audit_changes")} c where ${held})::text as known`
    ),
    ([row]) =>
      row?.known === "true"
        ? Effect.void
        : Effect.flatMap(isInTable(storage, table, key), (isThere) =>
            isThere
              ? Effect.void
              : new NotFound({
                  subject: "row",
                  id: `${key} of ${format(table)}`,
                  detail: "neither the record nor the table has it, so a hold of it may be misspelt"
                })
          )
  )

const holdCondition = (
  storage: Storage,
  { target }: CheckedPolicy["holds"][number],
  field: string
): Effect.Effect<HoldCondition, InvalidRequest | NotFound | ThreadlineError> => {
  const { name, sql } = storage
  const byTransaction = (
    condition: (alias: string) => Fragment,
    action: (alias: string) => Fragment
  ): HoldCondition => ({
    // Both the context of the transaction and its actions may name what is held.
    change: (alias, looks) => {
      const as = sql.literal(alias)
      const transactions = sql`from ${name("audit_transactions")} ht where ht.id = ${as}.transaction_id and ${condition("ht")}`
      const actions = sql`from ${name("audit_actions")} ha where ha.transaction_id = ${as}.transaction_id and ${action("ha")}`
      return sql`(${some(sql, transactions, looks)} or ${some(sql, actions, looks)})`
    },
    transaction: condition,
    action,
    // An impersonator is in no index: only transactions that the partition may have are looked at.
    within: (leaf) => sql`exists (
      select
      from (select min(c.transaction_id), max(c.transaction_id) from ${leaf} c) ids (first, last)
      cross join lateral (
        select ht.id from ${name("audit_transactions")} ht
        where ht.id between ids.first and ids.last and ${condition("ht")}
        union
        select ha.transaction_id from ${name("audit_actions")} ha
        where ha.transaction_id between ids.first and ids.last and ${action("ha")}
      ) held (id)
      cross join lateral (select from ${leaf} hc where hc.transaction_id = held.id limit 1) one
    )`
  })
  switch (target.kind) {
    case "table":
      return Effect.map(resolveOne(storage, target.table, `${field}.table`), (table) => {
        const change = (alias: string) => ofTable(storage, table, alias)
        return {
          change,
          transaction: undefined,
          action: undefined,
          within: (leaf) => sql`exists (select from ${leaf} hc where ${change("hc")})`
        }
      })
    case "row":
      return Effect.flatMap(resolveOne(storage, target.table, `${field}.table`), (table) =>
        Effect.flatMap(
          Effect.mapError(rowOf(storage, table, target.key), (error) =>
            InvalidRequest.is(error) ? new InvalidRequest({ ...error, field: `${field}.${error.field}` }) : error
          ),
          ({ key }) =>
            Effect.flatMap(ofHeldRow(storage, table, key, `${field}.key`), (parts) => {
              const change = (alias: string) => either(storage, parts(alias))
              return Effect.as(checkRow(storage, table, key, change("c")), {
                change,
                transaction: undefined,
                action: undefined,
                within: (leaf: Fragment) =>
                  either(
                    storage,
                    parts("hc").map((part) => sql`exists (select from ${leaf} hc where ${part})`)
                  )
              })
            })
        )
      )
    case "actor": {
      const { id, type } = target
      const path = `$.**.impersonator ? (@.type == $type${id === undefined ? "" : " && @.id == $id"})`
      const variables = JSON.stringify({ type, ...(id === undefined ? {} : { id }) })
      const condition = (alias: string) => {
        const as = sql.literal(alias)
        return sql`(
          (${as}.actor_type = ${type}${id === undefined ? sql`` : sql` and ${as}.actor_id = ${id}`})
          or (
            ${as}.actor -> 'impersonator' is not null
            and pg_catalog.jsonb_path_exists(${as}.actor, ${path}::jsonpath, ${variables}::jsonb)
          )
        )`
      }
      return Effect.succeed(byTransaction(condition, condition))
    }
    case "correlation": {
      const condition = (alias: string) => sql`${sql.literal(alias)}.correlation_id = ${target.id}`
      return Effect.succeed(byTransaction(condition, condition))
    }
  }
}

/** Resolves the tables and rows of a policy. An unknown name is an error: a doubtful policy removes nothing. */
export const conditionsOf = Effect.fnUntraced(function* (
  storage: Storage,
  policy: CheckedPolicy,
  at: string,
  before: string | undefined,
  seen: Seen,
  ignoreFeed: boolean
): Effect.fn.Return<Conditions, InvalidRequest | NotFound | ThreadlineError> {
  const cutoffs = cutoffsOf(policy, at, before)
  const tables = yield* Effect.forEach(policy.tables, ({ keep, table }, place) =>
    Effect.map(resolveOne(storage, table, `tables[${JSON.stringify(format(table))}]`), (resolved) => ({
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

const either = (storage: Storage, conditions: ReadonlyArray<Fragment>): Fragment =>
  conditions.length === 0 ? storage.sql`false` : storage.sql`(${storage.sql.or(conditions)})`

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
