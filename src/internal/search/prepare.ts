/**
 * Makes the plan of a filter. It asks the database for what the statements need: the names of the tables, the canonical key of a
 * row, the transactions of another system's id, and the range of ids in a window.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { ThreadlineError } from "../../ThreadlineError.js"
import type { Position } from "../record/cursor.js"
import { namesOne, partsOf } from "./filter.js"
import type { Filter } from "./filters.js"
import type { Part, TransactionSource } from "./filterPart.js"
import { rowOf, tableOf } from "../record/key.js"
import type { Plan } from "./plan.js"
import type { ReadError } from "../core/request.js"
import { rows, type Storage } from "../record/storage.js"
import { resolveTables } from "../record/tables.js"
import { allIds, type KnownWindows, type WindowIds, windowIds } from "./window.js"

export const prepare = Effect.fnUntraced(function* (
  storage: Storage,
  of: Plan["of"],
  filter: Filter,
  after: Position | undefined,
  windows: KnownWindows = new Map()
): Effect.fn.Return<Plan, ReadError> {
  const { key: keyInput, table: [tableName, ...otherTables] = [] } = filter
  const row =
    keyInput === undefined || tableName === undefined ? undefined : yield* rowOf(storage, tableOf(tableName), keyInput)
  const tables =
    tableName === undefined
      ? undefined
      : row === undefined
        ? yield* resolveTables(storage, [tableName, ...otherTables].map(tableOf))
        : [row.table]
  const parts = yield* lookedUp(storage, partsOf(filter, storage, tables ?? []))
  const key = row?.key
  const { range, stragglers } =
    key === undefined ? yield* idsOf(storage, filter, windows) : { range: allIds, stragglers: undefined }
  const exhaustive = storage.restriction !== undefined && namesOne(filter)
  return { storage, of, order: filter.order, parts, tables, after, row: key, range, stragglers, exhaustive }
})

/** An id of another system belongs to few transactions. If it belongs to more than this, it is searched for like any other condition. */
const maxLookedUp = 10_000

const IdRow = Schema.Struct({ id: Schema.String })

/**
 * The parts of a plan, with the result of the one unordered index as a list of ids. This index is always read whole, so it is
 * read once. A statement over few known ids is cheap, and the planner knows it: the estimate of this index alone would make the
 * server compile the statement.
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
  const idRows = yield* rows(
    IdRow,
    sql`select t.id::text as id from ${name("audit_transactions")} t where ${condition} limit ${maxLookedUp + 1}`
  )
  const source = sourceOfIds(
    sql,
    idRows.map(({ id }) => id)
  )
  return idRows.length > maxLookedUp
    ? parts
    : parts.map((part) =>
        part === lookup ? { ...(part.context === undefined ? {} : { context: part.context }), source } : part
      )
})

const sourceOfIds = (sql: SqlClient, ids: ReadonlyArray<string>): TransactionSource => {
  const array = sql`${`{${ids.join(",")}}`}::bigint[]`
  return {
    ids: ({ direction, limit, within }) => sql`
    select s.id
    from pg_catalog.unnest(${array}) s(id)
    where ${within("s.id")}
    order by s.id ${direction}
    ${limit}`,
    holds: (column) => sql`${sql.literal(column)} = any (${array})`
  }
}

const idsOf = Effect.fnUntraced(function* (
  storage: Storage,
  { from, order, to, transactionId }: Filter,
  windows: KnownWindows
): Effect.fn.Return<WindowIds, ThreadlineError> {
  if (transactionId !== undefined) {
    return { range: { low: transactionId, high: transactionId }, stragglers: undefined }
  }
  const key = JSON.stringify([order, from, to])
  const known = windows.get(key)
  if (known !== undefined) {
    return yield* known
  }
  // Known before it is asked for: the listings of a bundle look for it beside each other.
  const asked = yield* Effect.cached(
    Effect.flatMap(windowIds(storage, { from, to }, order), ({ range, stragglers }) =>
      Effect.map(stragglers === undefined ? Effect.succeed(undefined) : Effect.cached(stragglers), (cached) => ({
        range,
        stragglers: cached
      }))
    )
  )
  windows.set(key, asked)
  return yield* asked
})
