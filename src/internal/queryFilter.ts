/**
 * The filters of a timeline. A filter is one entry of `filters`: the schema of its field, and what it adds to the statement.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { InvalidRequest } from "../ThreadlineError.js"
import { Operation } from "./queryChange.js"
import { Instant } from "./queryInstant.js"
import { type Key, KeySchema, TableSchema, tableOf } from "./queryKey.js"
import { Id, order, paging, request, ShortText } from "./queryRequest.js"
import type { Storage } from "./queryStorage.js"
import type { TableName } from "./tableName.js"

/** Transactions found through another table than their own. */
export interface TransactionSource {
  /** A query of their ids, in a column `id`, without duplicates; `within` limits a column to what the page can show. */
  readonly ids: (within: (column: string) => Fragment) => Fragment
  /** Whether the transaction whose id is in `column` is one of them. */
  readonly holds: (column: string) => Fragment
}

/** What a filter adds to a statement. The driving table follows: a row, else a source, else transactions, else changes. */
export interface Part {
  /** A condition on the change `c`. */
  readonly change?: Fragment
  /** A condition on the transaction `t`. */
  readonly transaction?: Fragment
  readonly source?: TransactionSource
  /** The row whose changes are wanted. */
  readonly row?: { readonly table: TableName; readonly key: Key }
  readonly from?: string
  readonly to?: string
}

/** What a filter may need to know of the others. */
interface Others {
  readonly table?: string | undefined
  readonly includeCaptureOnly?: boolean | undefined
}

interface Definition<A, I> {
  readonly schema: Schema.Schema<A, I>
  readonly part: (value: A, storage: Storage, others: Others) => Part
}

const filter = <A, I>(schema: Schema.Schema<A, I>, part: Definition<A, I>["part"]): Definition<A, I> => ({
  schema,
  part
})

const actorRule = "must be { type, id? } with a type of user, admin, service_account, job, system or anonymous"

const ActorFilter = Schema.Struct({
  type: Schema.Literal("user", "admin", "service_account", "job", "system", "anonymous"),
  id: Schema.optional(ShortText)
}).annotations({ message: () => ({ message: actorRule, override: true }) })

const operationRule = "must be insert, update, delete, truncate or baseline, or several of them"

const Operations = Schema.transform(
  Schema.Union(Operation, Schema.NonEmptyArray(Operation)).annotations({ message: () => operationRule }),
  Schema.Array(Operation),
  {
    strict: true,
    decode: (given) => [...new Set(typeof given === "string" ? [given] : given)].sort(),
    encode: ([first = "insert" as const, ...rest]): readonly [Operation, ...Array<Operation>] => [first, ...rest]
  }
)

const Flag = Schema.Boolean.annotations({ message: () => "must be true or false" })

const filters = {
  table: filter(TableSchema, (text, { sql }) => {
    const { name, schema } = tableOf(text)
    return { change: sql`c.table_schema = ${schema} and c.table_name = ${name}` }
  }),
  key: filter(KeySchema, (key, _, { table = "" }) => ({ row: { table: tableOf(table), key } })),
  op: filter(Operations, (ops, { sql }) => ({
    change: ops.length === 1 ? sql`c.op = ${ops[0]}` : sql`c.op in ${sql.in(ops)}`
  })),
  actor: filter(ActorFilter, ({ id, type }, { sql }) => ({
    transaction: id === undefined ? sql`t.actor_type = ${type}` : sql`t.actor_type = ${type} and t.actor_id = ${id}`
  })),
  unattributed: filter(Flag, (wanted, { sql }) => (wanted ? { transaction: sql`t.actor_type is null` } : {})),
  correlationId: filter(ShortText, (id, storage, { includeCaptureOnly = false }) => ({
    source: correlated(id, storage, includeCaptureOnly)
  })),
  transactionId: filter(Id, (id, { sql }) => ({ change: sql`c.transaction_id = ${id}::bigint` })),
  from: filter(Instant, (from, { sql }) => ({ from, change: sql`c.captured_at >= ${from}::timestamptz` })),
  to: filter(Instant, (to, { sql }) => ({ to, change: sql`c.captured_at <= ${to}::timestamptz` }))
}

/** Strictly: those with an action that carries the id. Widened: also those that carry it themselves and have no action. */
const correlated = (id: string, { name, sql }: Storage, includeCaptureOnly: boolean): TransactionSource => {
  // Aliases of their own: the column that `holds` is asked about belongs to the statement around.
  const actions = sql`
    select strict.transaction_id as id
    from ${name("audit_actions")} strict
    where strict.correlation_id = ${id}
      and strict.transaction_id is not null`
  const captureOnly = sql`
    select wide.id
    from ${name("audit_transactions")} wide
    where wide.correlation_id = ${id}
      and not exists (select from ${name("audit_actions")} any_action where any_action.transaction_id = wide.id)`
  return {
    ids: (within) =>
      includeCaptureOnly
        ? sql`${actions} and ${within("strict.transaction_id")} union ${captureOnly} and ${within("wide.id")}`
        : sql`select distinct s.id from (${actions} and ${within("strict.transaction_id")}) s`,
    holds: (column) => {
      const same = sql.literal(column)
      const strict = sql`exists (${actions} and strict.transaction_id = ${same})`
      return includeCaptureOnly ? sql`(${strict} or exists (${captureOnly} and wide.id = ${same}))` : strict
    }
  }
}

type Filters = typeof filters

type Fields = {
  readonly [F in keyof Filters]: Schema.optional<Filters[F]["schema"]>
}

const fields = Object.fromEntries(
  Object.entries(filters).map(([field, { schema }]) => [field, Schema.optional(schema as Schema.Schema<unknown>)])
) as unknown as Fields

export const Filter = Schema.Struct({
  ...fields,
  /** Together with `correlationId`: also transactions that carry it without an action. */
  includeCaptureOnly: Schema.optional(Flag),
  order,
  ...paging
})

export type Filter = typeof Filter.Type

export type FilterInput = typeof Filter.Encoded

const invalid = (field: string, rule: string) => Either.left(new InvalidRequest({ field, rule }))

/** Decodes a filter and checks what one field alone cannot tell. */
export const decodeFilter = (input: FilterInput): Either.Either<Filter, InvalidRequest> =>
  Either.flatMap(request(Filter)(input), (decoded) => {
    if (decoded.key !== undefined && decoded.table === undefined) {
      return invalid("key", "needs the table that it is a key of")
    }
    if (decoded.unattributed === true && decoded.actor !== undefined) {
      return invalid("unattributed", "excludes every actor; leave one of the two out")
    }
    if (decoded.actor?.type === "anonymous" && decoded.actor.id !== undefined) {
      return invalid("actor", "an anonymous actor has no id")
    }
    // Instants have one text, which sorts as they do.
    if (decoded.from !== undefined && decoded.to !== undefined && decoded.to < decoded.from) {
      return invalid("to", "must not be before from")
    }
    return Either.right(decoded)
  })

/** What the filters of a request add to its statement. */
export const partsOf = (filter: Filter, storage: Storage): ReadonlyArray<Part> =>
  (Object.keys(filters) as Array<keyof Filters>).flatMap((field) => {
    const value = filter[field]
    const part = filters[field].part as (value: unknown, storage: Storage, others: Others) => Part
    return value === undefined ? [] : [part(value, storage, filter)]
  })
