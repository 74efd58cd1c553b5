/**
 * A filter that is understood: what its statements are made of.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { ThreadlineError } from "../../ThreadlineError.js"
import type { Position } from "../record/cursor.js"
import type { Filter, Part, TransactionSource } from "./filter.js"
import { namesOne, partsOf } from "./filter.js"
import { rowKey } from "../record/key.js"
import type { ReadError } from "../core/request.js"
import { rows, type Storage } from "../record/storage.js"
import { everything, type Survey, survey } from "./window.js"
import type { TableName } from "../core/tableName.js"

export interface Plan {
  readonly storage: Storage
  /** What is listed: changes, or the transactions they belong to. */
  readonly of: "changes" | "transactions"
  readonly order: Filter["order"]
  readonly parts: ReadonlyArray<Part>
  readonly after: Position | undefined
  /** The row whose changes are wanted, by its canonical key. */
  readonly row: string | undefined
  readonly range: Survey
  /** Whether the search goes on behind its budget until it has found enough or all there is. */
  readonly exhaustive: boolean
}

export const plan = Effect.fnUntraced(function* (
  storage: Storage,
  of: Plan["of"],
  filter: Filter,
  after: Position | undefined
): Effect.fn.Return<Plan, ReadError> {
  const parts = yield* lookedUp(storage, partsOf(filter, storage))
  const row = parts.find((part) => part.row !== undefined)?.row
  const key = row === undefined ? undefined : yield* rowKey(storage, row.table, row.key)
  const range: Survey = key === undefined ? yield* windowOf(storage, filter) : everything
  const exhaustive = storage.restriction !== undefined && namesOne(filter)
  return { storage, of, order: filter.order, parts, after, row: key, range, exhaustive }
})

/** Ids of a log's other systems stand for few transactions; more than these are searched for like any other. */
const maxLookedUp = 10_000

const Found = Schema.Struct({ id: Schema.String })

/**
 * The parts of a plan with what the one unordered index finds as a list of ids. It is read whole, so it is read once, and what
 * is built on few known ids costs little and is known to: an estimate of this index alone makes the server compile the statement.
 */
const lookedUp = Effect.fnUntraced(function* (
  { name, sql }: Storage,
  parts: ReadonlyArray<Part>
): Effect.fn.Return<ReadonlyArray<Part>, ThreadlineError> {
  const lookup = parts.find((part) => part.transaction?.index === "few")
  const condition = lookup?.transaction?.condition
  if (condition === undefined) {
    return parts
  }
  const found = yield* rows(
    Found,
    sql`select t.id::text as id from ${name("audit_transactions")} t where ${condition} limit ${maxLookedUp + 1}`
  )
  const source = listed(
    sql,
    found.map(({ id }) => id)
  )
  return found.length > maxLookedUp ? parts : parts.map((part) => (part === lookup ? { source } : part))
})

const listed = (sql: SqlClient, ids: ReadonlyArray<string>): TransactionSource => {
  const array = sql`${`{${ids.join(",")}}`}::bigint[]`
  return {
    ids: ({ count, direction, within }) => sql`
    select s.id
    from unnest(${array}) s(id)
    where ${within("s.id")}
    order by s.id ${direction}
    limit ${count}`,
    holds: (column) => sql`${sql.literal(column)} = any (${array})`
  }
}

const windowOf = (storage: Storage, filter: Filter): Effect.Effect<Survey, ThreadlineError> =>
  filter.transactionId === undefined
    ? survey(storage, { from: filter.from, to: filter.to })
    : Effect.succeed({ low: filter.transactionId, high: filter.transactionId })

export const isTransactional = ({ parts }: Plan): boolean =>
  parts.some((part) => part.transaction !== undefined || part.source !== undefined)

/** The tables of the filter, if it names some. */
export const tablesOf = ({ parts }: Plan): ReadonlyArray<TableName> | undefined =>
  parts.find((part) => part.tables !== undefined)?.tables

/**
 * Whether transactions are listed of which nothing is asked but that they are seen. That is so for who sees one of their actions, also
 * if all of their changes are hidden.
 */
export const isOfSeen = ({ of, parts, row, storage }: Plan): boolean =>
  of === "transactions" &&
  storage.restriction !== undefined &&
  row === undefined &&
  parts.every((part) => part.tables === undefined && part.change === undefined)

/** Whether changes are in the order of their row's own time. */
export const isOfRow = (plan: Plan): boolean => plan.row !== undefined && plan.of === "changes"

const maxId = 2n ** 63n - 1n

/** The position behind all changes of a transaction. */
export const behind = ({ order }: Pick<Plan, "order">, transaction: bigint): Position => ({
  major: transaction,
  id: order === "newest" ? 0n : maxId
})
