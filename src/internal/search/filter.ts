/**
 * The filters of a read. A filter is one entry of `filters`: the schema of its field, and what it adds to a statement.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { Fragment } from "@effect/sql/Statement"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { InvalidRequest } from "../../ThreadlineError.js"
import { stringify } from "../core/json.js"
import { Operation } from "../record/change.js"
import { Document } from "../record/document.js"
import { Instant, type InstantInput } from "../core/instant.js"
import { type Key, type KeyInput, KeySchema, TableSchema, tableOf } from "../record/key.js"
import { choice, Id, order, paging, request, ShortText } from "../core/request.js"
import { contains, type Naming, namings } from "../record/columns.js"
import { all, type Storage } from "../record/storage.js"
import { ofTable, type Table, withinSpan } from "../record/tables.js"
import { visibleAction, visibleBefore } from "../record/visible.js"
import type { TableName } from "../core/tableName.js"
import { shortTextRule } from "../core/text.js"
import type { JsonObject } from "../core/jsonValue.js"

/** Which ids a page, or a whole listing, needs. */
export interface Ids {
  /** Limits a column to what the page can show. */
  readonly within: (column: string) => Fragment
  readonly direction: Fragment
  /** `limit` and how many, or nothing if all of them are wanted. */
  readonly limit: Fragment
}

/** Transactions found through another table than their own. */
export interface TransactionSource {
  /** A query of the first of their ids, or of all, in a column `id`, without duplicates. */
  readonly ids: (page: Ids) => Fragment
  /** Whether the transaction whose id is in `column` is one of them. */
  readonly holds: (column: string) => Fragment
}

/** What a filter adds to a statement. */
export interface Part {
  /** The tables whose changes are listed. An index has their changes in the order of a timeline. */
  readonly tables?: ReadonlyArray<TableName>
  /** A condition on the change `c` that uses an index, or that nearly every change in the window fulfils. */
  readonly seek?: Fragment
  /** A condition on the change `c` for which each change must be looked at. */
  readonly change?: Fragment
  /**
   * A condition on the transaction `t`. Matching transactions are found by an index in the order of their ids, by an index
   * without an order that finds few, or by looking at each.
   */
  readonly transaction?: { readonly condition: Fragment; readonly index: "ordered" | "few" | "none" }
  readonly source?: TransactionSource
  /** A condition on the action `a`; a filter without one does not apply to actions. */
  readonly action?: Fragment
  /** The row whose changes are listed. */
  readonly row?: { readonly table: TableName; readonly key: Key }
  readonly from?: string
  readonly to?: string
}

/** What a filter may need to know of the others. */
interface Others {
  readonly table?: ReadonlyArray<string> | undefined
  readonly actionStatus?: "ok" | "error" | undefined
  readonly action?: ReadonlyArray<string> | undefined
  readonly includeCaptureOnly?: boolean | undefined
}

interface Definition<A, I> {
  readonly schema: Schema.Schema<A, I>
  readonly part: (value: A, storage: Storage, otherFields: Others, tables: ReadonlyArray<Table>) => Part
}

const filter = <A, I>(schema: Schema.Schema<A, I>, part: Definition<A, I>["part"]): Definition<A, I> => ({
  schema,
  part
})

const maxValues = 50

const oneOrMore = <A extends string, I>(element: Schema.Schema<A, I>, rule: string | undefined) => {
  const union = Schema.Union(element, Schema.NonEmptyArray(element))
  return rule === undefined ? union : union.annotations({ message: () => ({ message: rule, override: true }) })
}

/** One value or several; decoded to a sorted list without repetitions. */
const several = <A extends string, I>(
  element: Schema.Schema<A, I>,
  rule?: string
): Schema.Schema<readonly [A, ...Array<A>], I | readonly [I, ...Array<I>]> =>
  Schema.transform(oneOrMore(element, rule), Schema.NonEmptyArray(Schema.typeSchema(element)), {
    strict: true,
    decode: (input) =>
      [...new Set(typeof input === "string" ? [input] : input)].sort() as unknown as readonly [A, ...Array<A>],
    encode: (values) => values
  }).pipe(
    Schema.filter((values) => values.length <= maxValues, { message: () => `must not be more than ${maxValues}` })
  )

const actorRule = "must be { type, id? } with a type of user, admin, service_account, job, system or anonymous"

const ActorFilter = Schema.Struct({
  type: Schema.Literal("user", "admin", "service_account", "job", "system", "anonymous"),
  id: Schema.optional(ShortText)
}).annotations({ message: (issue) => ({ message: ruleOfActor(issue.actual), override: true }) })

const isActorLike = Schema.is(Schema.Struct({ type: Schema.String, id: Schema.String }))

const ruleOfActor = (actual: unknown): string => {
  const rule = isActorLike(actual) ? shortTextRule(actual.id) : undefined
  return rule === undefined ? actorRule : `id ${rule}`
}

const operationRule = "must be insert, update, delete, truncate or baseline, or several of them"

const Status = choice("ok", "error")

const Flag = Schema.Boolean.annotations({ message: () => "must be true or false" })

const filters = {
  table: filter(several(TableSchema), (tables) => ({ tables: tables.map(tableOf) })),
  schema: filter(ShortText, (schema, { sql }) => ({ change: sql`c.table_schema = ${schema}` })),
  key: filter(KeySchema, (key, _, { table: [table = ""] = [] }) => ({ row: { table: tableOf(table), key } })),
  op: filter(several(Operation, operationRule), (ops, { sql }, { table }) => {
    const condition = ops.length === 1 ? sql`c.op = ${ops[0]}` : sql`c.op in ${sql.in(ops)}`
    // Deletes and truncates have an index of their own, by table.
    return table?.length === 1 && ops.every((op) => op === "delete" || op === "truncate")
      ? { seek: sql`c.op in ('delete', 'truncate') and ${condition}` }
      : { change: condition }
  }),
  contains: filter(Document, (fields, storage, _, tables) => {
    const { sql } = storage
    return {
      change: byNaming(storage, tables, Object.keys(fields), (naming) => {
        // Values that an update did not change are only in the image after it.
        const before = sql`coalesce(c.data_after, '{}') || coalesce(c.changed_from, '{}')`
        return sql`(
        ${contains(sql, sql`c.data_after`, fields, naming)}
        or ${all([contains(sql, before, fields, naming), visibleBefore(storage)])}
      )`
      })
    }
  }),
  changedField: filter(several(ShortText), (fields, storage, _, tables) => {
    const { sql } = storage
    const changed = byNaming(storage, tables, fields, ({ names }) => {
      const recorded = [...new Set(fields.flatMap((field) => names.get(field) ?? [field]))]
      return recorded.length === 0
        ? sql`false`
        : sql`
      c.changed_fields && ${sql.literal("array")}[${sql.csv(recorded.map((field) => sql`${field}`))}]::text[]`
    })
    return { change: all([changed, visibleBefore(storage)]) }
  }),
  actor: filter(ActorFilter, ({ id, type }, { sql }) => {
    const condition = (alias: string) =>
      id === undefined
        ? sql`${sql.literal(alias)}.actor_type = ${type}`
        : sql`${sql.literal(alias)}.actor_type = ${type} and ${sql.literal(alias)}.actor_id = ${id}`
    return {
      transaction: { condition: condition("t"), index: id === undefined ? "none" : "ordered" },
      action: condition("a")
    }
  }),
  impersonator: filter(ActorFilter, ({ id, type }, { sql }) => {
    const condition = (alias: string) => {
      const by = sql.literal(`${alias}.actor -> 'impersonator'`)
      const typed = sql`${by} ->> 'type' = ${type}`
      return id === undefined ? typed : sql`${typed} and ${by} ->> 'id' = ${id}`
    }
    return { transaction: { condition: condition("t"), index: "none" }, action: condition("a") }
  }),
  actorLabel: filter(ShortText, (label, { sql }) => {
    const condition = (alias: string) => {
      const contained = (column: string) =>
        sql`strpos(lower(${sql.literal(`${alias}.${column}`)}), lower(${label})) > 0`
      return sql`(${contained("actor ->> 'label'")} or ${contained("actor #>> '{impersonator,label}'")})`
    }
    return { transaction: { condition: condition("t"), index: "none" }, action: condition("a") }
  }),
  unattributed: filter(Flag, (isUnattributed, { sql }) =>
    isUnattributed
      ? {
          transaction: { condition: sql`t.actor_type is null`, index: "ordered" },
          action: sql`a.actor_type is null`
        }
      : { action: sql`true` }
  ),
  action: filter(several(ShortText), (names, storage, { actionStatus }) => {
    const nameComparison = names.length === 1 ? storage.sql`= ${names[0]}` : storage.sql`in ${storage.sql.in(names)}`
    const status = actionStatus === undefined ? storage.sql`` : storage.sql` and acted.status = ${actionStatus}`
    return {
      source: acted(storage, storage.sql`acted.name ${nameComparison}${status}`),
      action: storage.sql`a.name ${nameComparison}`
    }
  }),
  actionStatus: filter(Status, (status, storage, { action }) => ({
    // Together with a name, both are about the same action.
    ...(action === undefined ? ofStatus(storage, status) : {}),
    action: storage.sql`a.status = ${status}`
  })),
  correlationId: filter(ShortText, (id, storage, { includeCaptureOnly = false }) => ({
    source: correlated(id, storage, includeCaptureOnly),
    action: storage.sql`a.correlation_id = ${id}`
  })),
  requestId: filter(ShortText, (id, { sql }) => ({
    transaction: inBloom(sql, sql`t.request_id = ${id}`),
    action: sql`a.request_id = ${id}`
  })),
  jobId: filter(ShortText, (id, { sql }) => ({
    transaction: inBloom(sql, sql`t.job_id = ${id}`),
    action: sql`a.job_id = ${id}`
  })),
  traceId: filter(ShortText, (id, { sql }) => ({
    transaction: inBloom(sql, sql`t.trace_id = ${id}`),
    action: sql`a.trace_id = ${id}`
  })),
  source: filter(ShortText, (source, { sql }) => ({
    transaction: { condition: sql`t.source = ${source}`, index: "none" }
  })),
  meta: filter(Document, (meta, { sql }) => ({
    transaction: { condition: sql`t.meta @> ${stringify(meta)}::jsonb`, index: "none" }
  })),
  dbUser: filter(ShortText, (user, { sql }) => ({
    transaction: { condition: sql`t.db_user = ${user}`, index: "none" }
  })),
  transactionId: filter(Id, (id, { sql }) => ({
    seek: sql`c.transaction_id = ${id}::bigint`,
    action: sql`a.transaction_id = ${id}::bigint`
  })),
  from: filter(Instant, (from, { sql }) => ({
    from,
    seek: sql`c.captured_at >= ${from}::timestamptz`,
    action: sql`a.occurred_at >= ${from}::timestamptz`
  })),
  to: filter(Instant, (to, { sql }) => ({
    to,
    seek: sql`c.captured_at <= ${to}::timestamptz`,
    action: sql`a.occurred_at <= ${to}::timestamptz`
  }))
}

/** A condition on the change `c` that depends on what columns were called when it was made. */
const byNaming = (
  storage: Storage,
  tables: ReadonlyArray<Table>,
  columns: ReadonlyArray<string>,
  condition: (naming: Pick<Naming, "names">) => Fragment
): Fragment => {
  const { sql } = storage
  const asAsked = condition({ names: new Map(columns.map((column) => [column, [column]])) })
  const ofTables = tables.map((table) => ({ table, times: namings(table, columns) }))
  if (ofTables.every(({ times }) => times.length === 1 && times.every(({ names }) => [...names].every(isAsAsked)))) {
    return asAsked
  }
  return sql.or(
    ofTables.map(({ table, times }) =>
      sql.and([
        ...(tables.length === 1 ? [] : [ofTable(storage, table, "c")]),
        sql.or(times.map((naming) => sql.and([...withinSpan(storage, naming, "c"), condition(naming)])))
      ])
    )
  )
}

const isAsAsked = ([column, [name, ...others]]: readonly [string, ReadonlyArray<string>]): boolean =>
  name === column && others.length === 0

/** Found by the Bloom index. The planner estimates its cost by the order of its ids: see `migrations/0011_reads.sql`. */
const inBloom = (sql: SqlClient, condition: Fragment): NonNullable<Part["transaction"]> => ({
  condition: sql`${condition} and t.id >= 0`,
  index: "few"
})

/** Transactions with an action that fulfils a condition on `acted`. */
const acted = (storage: Storage, condition: Fragment): TransactionSource => {
  const { name, sql } = storage
  const actions = sql`
    select acted.transaction_id as id
    from ${name("audit_actions")} acted
    where ${all([condition, sql`acted.transaction_id is not null`, visibleAction(storage, "acted")])}`
  return {
    ids: ({ direction, limit, within }) => sql`
    select distinct s.id
    from (${actions} and ${within("acted.transaction_id")}) s
    order by s.id ${direction}
    ${limit}`,
    holds: (column) => sql`exists (${actions} and acted.transaction_id = ${sql.literal(column)})`
  }
}

/** Failures are few and have an index. Nearly all actions succeeded. */
const ofStatus = (storage: Storage, status: "ok" | "error"): Part => {
  const source = acted(storage, storage.sql`acted.status = ${status}`)
  return status === "error" ? { source } : { transaction: { condition: source.holds("t.id"), index: "none" } }
}

/**
 * Strictly: transactions with an action that carries the id. Widened: also transactions that carry the id themselves and have no
 * action, or no action that the reader may see. So the answer does not tell whether there is a hidden one.
 */
const correlated = (id: string, storage: Storage, includeCaptureOnly: boolean): TransactionSource => {
  const { name, sql } = storage
  const strict = acted(storage, sql`acted.correlation_id = ${id}`)
  if (!includeCaptureOnly) {
    return strict
  }
  // An alias of its own, because the column that `holds` is given belongs to the enclosing statement.
  const captureOnly = sql`
    select wide.id
    from ${name("audit_transactions")} wide
    where wide.correlation_id = ${id}
      and not exists (
        select from ${name("audit_actions")} any_action
        where ${all([sql`any_action.transaction_id = wide.id`, visibleAction(storage, "any_action")])}
      )`
  return {
    ids: (page) => sql`
    (${strict.ids(page)})
    union all
    (${captureOnly} and ${page.within("wide.id")} order by wide.id ${page.direction} ${page.limit})`,
    holds: (column) => sql`(${strict.holds(column)} or exists (${captureOnly} and wide.id = ${sql.literal(column)}))`
  }
}

type Filters = typeof filters

type Fields = {
  readonly [F in keyof Filters]: Schema.optional<Filters[F]["schema"]>
}

const fields = Object.fromEntries(
  Object.entries(filters).map(([field, { schema }]) => [field, Schema.optional(schema as Schema.Schema<unknown>)])
) as unknown as Fields

/**
 * Which changes (or transactions, or actions) a read shows. Every field is optional, and all that are given must hold. If a field takes
 * several values, one of them must hold. The fields are those of `FilterInput`, which says what each of them is.
 *
 * A decoded filter is valid input again. Equal filters decode to one value: tables are sorted, and `1.0` is `1`. A value that
 * PostgreSQL cannot hold is an `InvalidRequest`: a NUL, half of a surrogate pair, a number beyond `numeric`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Filter = Schema.Struct({
  ...fields,
  /** Together with `correlationId`: also transactions that carry it without an action. */
  includeCaptureOnly: Schema.optional(Flag),
  order,
  ...paging
})

/**
 * A filter that was decoded.
 *
 * @since 0.1.0
 * @category models
 */
export interface Filter extends Schema.Schema.Type<typeof Filter> {}

type OneOrMore<A> = A | readonly [A, ...Array<A>]

/**
 * An actor as filters name it.
 *
 * @since 0.1.0
 * @category models
 */
export interface ActorInput {
  readonly type: "user" | "admin" | "service_account" | "job" | "system" | "anonymous"
  /** Every actor of the type unless given. */
  readonly id?: string | undefined
}

/**
 * A filter as callers write it. Every field is optional, and all that are given must hold.
 *
 * Ids and names have at most 256 bytes, lists at most 50 values, objects at least one field and at most 16 KiB of JSON.
 *
 * @since 0.1.0
 * @category models
 */
export interface FilterInput {
  /** Of this table, or one of several, as in SQL: `posts` (in `public`), `public.posts` or `"Odd.Schema"."T"`. */
  readonly table?: OneOrMore<string> | undefined
  /** Of every table in this PostgreSQL schema. */
  readonly schema?: string | undefined
  /** Of this row of the one table. Such a timeline is in the order of the row's own life. */
  readonly key?: KeyInput | undefined
  /** Of this operation, or one of several. */
  readonly op?: OneOrMore<Operation> | undefined
  /** The row before or after the change has these fields with these values, nested ones too (`jsonb @>`). */
  readonly contains?: JsonObject | undefined
  /** An update changed this column, or one of several. */
  readonly changedField?: OneOrMore<string> | undefined
  /** The transaction has this actor. */
  readonly actor?: ActorInput | undefined
  /** The transaction has this impersonator: the one that really acted, in the name of its actor. */
  readonly impersonator?: ActorInput | undefined
  /** The label of the actor or of its impersonator contains this; capital letters do not matter. */
  readonly actorLabel?: string | undefined
  /** `true`: no actor is recorded. */
  readonly unattributed?: boolean | undefined
  /** The transaction has an action of this name, or of one of several. */
  readonly action?: OneOrMore<string> | undefined
  /** The transaction has an action of this status; together with `action`, the action of that name has it. */
  readonly actionStatus?: "ok" | "error" | undefined
  /** The transaction has an action that carries this id. */
  readonly correlationId?: string | undefined
  /** With `correlationId`: also transactions that carry the id and have no action. */
  readonly includeCaptureOnly?: boolean | undefined
  /** The transaction carries this id of a request. */
  readonly requestId?: string | undefined
  /** The transaction carries this id of a job. */
  readonly jobId?: string | undefined
  /** The transaction carries this id of a trace. */
  readonly traceId?: string | undefined
  /** Where the work came from, as the host named it. */
  readonly source?: string | undefined
  /** The transaction's meta has these fields with these values, nested ones too. */
  readonly meta?: JsonObject | undefined
  /** The role of the database session. */
  readonly dbUser?: string | undefined
  /** Of this transaction: decimal digits. */
  readonly transactionId?: string | undefined
  /** Captured at this instant or later. */
  readonly from?: InstantInput | undefined
  /** Captured at this instant or earlier. */
  readonly to?: InstantInput | undefined
  /** `newest` first unless given. */
  readonly order?: "newest" | "oldest" | undefined
  /** Items in a page, 1 to 1000: 50 unless given. */
  readonly limit?: number | undefined
  /** `nextCursor` of the page before, of the same filter. */
  readonly cursor?: string | undefined
}

/**
 * Whether a filter names one thing: a transaction, a row, an actor, a correlation or an id of another system. If a search for it
 * ended among hidden rows, its end would show that the thing exists.
 */
export const namesOne = ({ actor, correlationId, jobId, key, requestId, traceId, transactionId }: Filter): boolean =>
  [actor?.id, correlationId, jobId, key, requestId, traceId, transactionId].some((name) => name !== undefined)

const invalid = (field: string, ...rule: ReadonlyArray<string | { readonly field: string }>) =>
  Either.left(InvalidRequest.of(field, ...rule))

/**
 * Decodes a filter, and checks the rules between its fields, without a database: every read of the filter fails with what a left holds.
 *
 * @since 0.1.0
 * @category conversions
 */
export const decodeFilter = (input: FilterInput): Either.Either<Filter, InvalidRequest> =>
  Either.flatMap(request(Filter)(input satisfies typeof Filter.Encoded), (decoded) => {
    const { action, actor, from, impersonator, key, op, schema, table, to } = decoded
    if (key !== undefined && table?.length !== 1) {
      return invalid("key", table === undefined ? "needs the table that it is a key of" : "is a key of one table only")
    }
    if (schema !== undefined && table?.every((name) => tableOf(name).schema !== schema) === true) {
      return invalid("schema", "holds none of the tables of this filter")
    }
    if (decoded.changedField !== undefined && op !== undefined && !op.includes("update")) {
      return invalid("changedField", "is about updates, which ", { field: "op" }, " leaves out")
    }
    if (decoded.unattributed === true && decoded.actorLabel !== undefined) {
      return invalid("unattributed", "excludes every ", { field: "actorLabel" }, "; leave one of the two out")
    }
    for (const [field, filteredActor] of [
      ["actor", actor],
      ["impersonator", impersonator]
    ] as const) {
      if (decoded.unattributed === true && filteredActor !== undefined) {
        return invalid("unattributed", "excludes every ", { field }, "; leave one of the two out")
      }
      if (filteredActor?.type === "anonymous" && filteredActor.id !== undefined) {
        return invalid(field, "an anonymous actor has no id")
      }
    }
    if (decoded.includeCaptureOnly === true && decoded.correlationId === undefined) {
      return invalid("includeCaptureOnly", "widens ", { field: "correlationId" }, ", which is not given")
    }
    if (decoded.includeCaptureOnly === true && (action !== undefined || decoded.actionStatus !== undefined)) {
      return invalid(
        "includeCaptureOnly",
        "asks for transactions without an action, which ",
        { field: "action" },
        " and ",
        { field: "actionStatus" },
        " leave out"
      )
    }
    // Instants have one text, which sorts as they do.
    if (from !== undefined && to !== undefined && to < from) {
      return invalid("to", "must not be before ", { field: "from" })
    }
    return Either.right(decoded)
  })

/** What the filters of a request add to its statement. */
export const partsOf = (filter: Filter, storage: Storage, tables: ReadonlyArray<Table>): ReadonlyArray<Part> =>
  filterNames.flatMap((field) => partOf(field, filter, storage, tables) ?? [])

/** The names of the filters, in the order of their text. */
const filterNames = Object.keys(filters) as ReadonlyArray<keyof Filters>

const partOf = (
  field: keyof Filters,
  filter: Filter,
  storage: Storage,
  tables: ReadonlyArray<Table>
): Part | undefined => {
  const value = filter[field]
  const part = filters[field].part as (
    value: unknown,
    storage: Storage,
    otherFields: Others,
    tables: ReadonlyArray<Table>
  ) => Part
  return value === undefined ? undefined : part(value, storage, filter, tables)
}

/** Conditions on the action `a`: those that use an index, and those for which each action must be looked at. */
export interface ActionConditions {
  readonly indexed: ReadonlyArray<Fragment>
  readonly tested: ReadonlyArray<Fragment>
}

/** Filters of actions with an index that is either selective or in the order of the listing. */
const indexedOfActions: ReadonlySet<keyof Filters> = new Set([
  "action",
  "correlationId",
  "transactionId",
  "from",
  "to"
] as const)

/** What the filters add to a read of actions. A filter that does not apply to actions is refused. */
export const actionConditions = (filter: Filter, storage: Storage): Either.Either<ActionConditions, InvalidRequest> => {
  const indexed: Array<Fragment> = []
  const tested: Array<Fragment> = []
  for (const field of filterNames) {
    const part = partOf(field, filter, storage, [])
    if (part === undefined) {
      continue
    }
    if (part.action === undefined) {
      return invalid(field, "does not apply to actions")
    }
    const isIndexed =
      indexedOfActions.has(field) ||
      (field === "actor" && filter.actor?.id !== undefined) ||
      (field === "actionStatus" && filter.actionStatus === "error")
    ;(isIndexed ? indexed : tested).push(part.action)
  }
  return filter.includeCaptureOnly === true
    ? invalid("includeCaptureOnly", "does not apply to actions")
    : Either.right({ indexed, tested })
}
