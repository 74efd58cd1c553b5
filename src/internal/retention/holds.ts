/**
 * Holds as conditions in SQL: what a hold keeps of changes, transactions and actions.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { InvalidRequest, NotFound, type ThreadlineError } from "../../ThreadlineError.js"
import { parse } from "../core/json.js"
import { format } from "../core/tableName.js"
import { type Key, rowOf } from "../record/key.js"
import { rows, type Storage } from "../record/storage.js"
import { ofTable, type Table } from "../record/tables.js"
import { identifier, qualified } from "../sql/sqlText.js"
import { ofHeldRow } from "./formerKeys.js"
import type { CheckedPolicy } from "./policy.js"
import { resolveTable } from "./tables.js"

/**
 * How many rows a statement looks at. `few`: an index finds what belongs to each of them. `many`: PostgreSQL may read all of it
 * once, which is quicker then.
 */
export type Looks = "few" | "many"

/** Whether `found`, a query without its select list, gives a row. */
export const some = (sql: Storage["sql"], found: Fragment, looks: Looks): Fragment =>
  looks === "many" ? sql`exists (select ${found})` : sql`(select true ${found} limit 1) is true`

/** What a hold means for each of the three tables. Undefined if it means nothing for one. */
export interface HoldCondition {
  readonly change: (alias: string, looks: Looks) => Fragment
  readonly transaction: ((alias: string) => Fragment) | undefined
  readonly action: ((alias: string) => Fragment) | undefined
  /** Whether a partition holds such a change, found by an index. */
  readonly within: (leaf: Fragment) => Fragment
}

/** Whether one of the conditions is met. */
export const either = (storage: Storage, conditions: ReadonlyArray<Fragment>): Fragment =>
  conditions.length === 0 ? storage.sql`false` : storage.sql`(${storage.sql.or(conditions)})`

const Known = Schema.Struct({ known: Schema.Literal("true", "false") })

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

/** Holds of transactions and their actions: both the context of a transaction and its actions may name what is held. */
const ofContext = ({ name, sql }: Storage, condition: (alias: string) => Fragment): HoldCondition => ({
  change: (alias, looks) => {
    const as = sql.literal(alias)
    const transactions = sql`from ${name("audit_transactions")} ht where ht.id = ${as}.transaction_id and ${condition("ht")}`
    const actions = sql`from ${name("audit_actions")} ha where ha.transaction_id = ${as}.transaction_id and ${condition("ha")}`
    return sql`(${some(sql, transactions, looks)} or ${some(sql, actions, looks)})`
  },
  transaction: condition,
  action: condition,
  // An impersonator is in no index: only transactions that the partition may have are looked at.
  within: (leaf) => sql`exists (
      select
      from (select min(c.transaction_id), max(c.transaction_id) from ${leaf} c) ids (first, last)
      cross join lateral (
        select ht.id from ${name("audit_transactions")} ht
        where ht.id between ids.first and ids.last and ${condition("ht")}
        union
        select ha.transaction_id from ${name("audit_actions")} ha
        where ha.transaction_id between ids.first and ids.last and ${condition("ha")}
      ) held (id)
      cross join lateral (select from ${leaf} hc where hc.transaction_id = held.id limit 1) one
    )`
})

const ofWholeTable = (storage: Storage, table: Table): HoldCondition => {
  const change = (alias: string) => ofTable(storage, table, alias)
  return {
    change,
    transaction: undefined,
    action: undefined,
    within: (leaf) => storage.sql`exists (select from ${leaf} hc where ${change("hc")})`
  }
}

const ofRow = Effect.fnUntraced(function* (
  storage: Storage,
  table: Table,
  given: Key,
  field: string
): Effect.fn.Return<HoldCondition, InvalidRequest | NotFound | ThreadlineError> {
  const { key } = yield* Effect.mapError(rowOf(storage, table, given), (error) =>
    InvalidRequest.is(error) ? new InvalidRequest({ ...error, field: `${field}.${error.field}` }) : error
  )
  const held = yield* ofHeldRow(storage, table, key, `${field}.key`)
  yield* checkRow(storage, table, key, either(storage, held.ofRow("c")))
  const parts = (alias: string) => [...held.ofRow(alias), held.ending(alias)]
  return {
    change: (alias) => either(storage, parts(alias)),
    transaction: undefined,
    action: undefined,
    within: (leaf) =>
      either(
        storage,
        parts("hc").map((part) => storage.sql`exists (select from ${leaf} hc where ${part})`)
      )
  }
})

const ofActor = ({ sql }: Storage, { id, type }: { readonly id?: string | undefined; readonly type: string }) => {
  const path = `$.**.impersonator ? (@.type == $type${id === undefined ? "" : " && @.id == $id"})`
  const variables = JSON.stringify({ type, ...(id === undefined ? {} : { id }) })
  return (alias: string): Fragment => {
    const as = sql.literal(alias)
    return sql`(
          (${as}.actor_type = ${type}${id === undefined ? sql`` : sql` and ${as}.actor_id = ${id}`})
          or (
            ${as}.actor -> 'impersonator' is not null
            and pg_catalog.jsonb_path_exists(${as}.actor, ${path}::jsonpath, ${variables}::jsonb)
          )
        )`
  }
}

/** What a hold that stands in `field` holds. */
export const holdCondition = (
  storage: Storage,
  { target }: CheckedPolicy["holds"][number],
  field: string
): Effect.Effect<HoldCondition, InvalidRequest | NotFound | ThreadlineError> => {
  const { sql } = storage
  switch (target.kind) {
    case "table":
      return Effect.map(resolveTable(storage, target.table, `${field}.table`), (table) => ofWholeTable(storage, table))
    case "row":
      return Effect.flatMap(resolveTable(storage, target.table, `${field}.table`), (table) =>
        ofRow(storage, table, target.key, field)
      )
    case "actor":
      return Effect.succeed(ofContext(storage, ofActor(storage, target)))
    case "correlation":
      return Effect.succeed(ofContext(storage, (alias) => sql`${sql.literal(alias)}.correlation_id = ${target.id}`))
  }
}
