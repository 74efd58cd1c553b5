/**
 * The rows of a table at an instant. Keys are read in their order, and how the row of each key stood, until a page is full.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Pages from "../../Page.js"
import { marksOf, type KeyAsOf, makeAsOf, makeKeyAsOf, type RowAsOf } from "./answer.js"
import * as cursors from "../record/cursor.js"
import { parse } from "../core/json.js"
import type { ImageCondition } from "./standingStatement.js"
import type { Standing } from "./standing.js"
import { anyRow, imageCondition } from "./standingStatement.js"
import { instantOf } from "./asOf.js"
import { standing, standingNear } from "./standing.js"
import type { Range } from "./candidates.js"
import { makeWalk } from "./keyWalk.js"
import type { RowPk } from "../record/change.js"
import { textOf } from "../record/condition.js"
import { Document } from "../record/document.js"
import type { InstantInput } from "../core/instant.js"
import { type KeyColumn, type KeyInput, KeySchema, rowKeys, tableKey, TableSchema, tableOf } from "../record/key.js"
import { capturedAround } from "../record/lapses.js"
import { type Paging, canonicalRequest, mustBeObject, paging, type ReadError, request } from "../core/request.js"
import type { Storage } from "../record/storage.js"
import { checkColumns } from "../record/unknownColumn.js"
import type { JsonObject, JsonValue } from "../core/jsonValue.js"
import { largestPage } from "../core/limits.js"

const Condition: Schema.Schema<ImageCondition> = Schema.declare(
  (u: unknown): u is ImageCondition => typeof u === "function",
  { message: () => "must be a function from the image to an SQL condition" }
)

const Keys = Schema.Array(KeySchema).pipe(
  Schema.maxItems(largestPage, { message: () => `must be at most ${largestPage} keys` })
)

const RowsRequest = Schema.Struct({
  table: TableSchema,
  at: Schema.String,
  keys: Schema.optional(Keys),
  contains: Schema.optional(Document),
  where: Schema.optional(Condition),
  ...paging
})

/**
 * Which rows of a table. Every field is optional, and all that are given must hold.
 *
 * @since 0.1.0
 * @category models
 */
export interface AsOfRowsOptions extends Paging {
  /** Only these rows, at most 1000. */
  readonly keys?: ReadonlyArray<KeyInput> | undefined
  /** Only rows whose image has these fields with these values, an object as in a filter. */
  readonly contains?: JsonObject | undefined
  /**
   * Only rows whose image fulfils this SQL condition. Columns have their present names in it, and former ones that no other column
   * has by now. A row for which it is null is not shown. `InvalidRequest` if the database does
   * not understand the condition, or if it fails on a stored row.
   */
  readonly where?: ImageCondition | undefined
}

const byBytes = (left: string, right: string): number => Buffer.compare(Buffer.from(left), Buffer.from(right))

const hashed = /:sha256:[0-9a-f]{64}$/

/** The key by column, from `row_key`. Null if that text is a hash, or does not fit the columns. */
const rowPkOf = (key: string, columns: ReadonlyArray<KeyColumn> = []): RowPk | null => {
  const [firstColumn, ...otherColumns] = columns
  if (firstColumn === undefined || hashed.test(key)) {
    return null
  }
  if (otherColumns.length === 0) {
    return { [firstColumn.name]: key }
  }
  const texts = parse(key)
  const pairs = columns.map(({ name }, index) => [name, Array.isArray(texts) ? texts[index] : undefined] as const)
  return pairs.every((pair): pair is readonly [string, string] => typeof pair[1] === "string")
    ? Object.fromEntries(pairs)
    : null
}

/** Whether `String(value)` is certainly the canonical text of a key column of this type. */
const isPlain = (type: string, value: JsonValue | undefined): value is string | number | bigint =>
  /^(smallint|integer|bigint)$/.test(type)
    ? typeof value === "bigint" || Number.isInteger(value)
    : /^(text|uuid|character varying)/.test(type) && typeof value === "string" && /^[\w .:@+-]+$/.test(value)

/** The keys of several columns that begin with given values. Their texts begin with the same string. */
const rangeOf = (columns: ReadonlyArray<KeyColumn> = [], contains: JsonObject = {}): Range => {
  const texts: Array<string> = []
  for (const { name, type } of columns.slice(0, -1)) {
    const value = Object.hasOwn(contains, name) ? contains[name] : undefined
    if (!isPlain(type, value)) {
      break
    }
    texts.push(JSON.stringify(String(value)))
  }
  const start = `[${texts.join(",")}`
  // A long key is cut, and only its beginning is kept. A long start could miss such keys.
  return texts.length === 0 || start.length > 90
    ? { after: undefined, before: undefined }
    : { after: start, before: `${start}-` }
}

export const asOfRows = Effect.fnUntraced(function* (
  storage: Storage,
  table: string,
  when: InstantInput,
  options: AsOfRowsOptions
): Effect.fn.Return<Pages.Page<RowAsOf>, ReadError> {
  const at = yield* instantOf(when)
  yield* mustBeObject(options)
  const decoded = yield* request(RowsRequest)({ ...options, table, at })
  const { contains, limit } = decoded
  const where = decoded.where === undefined ? undefined : yield* imageCondition(storage, decoded.where)
  const text = canonicalRequest({ ...decoded, where: where === undefined ? undefined : textOf(storage.sql, where) })
  const query: cursors.Bound = { kind: "asOfRows", text }
  const position = decoded.cursor === undefined ? undefined : yield* cursors.decodeKey(storage, query, decoded.cursor)
  const name = tableOf(decoded.table)
  const { columns, lapses, table: namedTable } = yield* tableKey(storage, name)
  const keys = decoded.keys === undefined ? undefined : yield* rowKeys(storage, name, decoded.keys)
  const captured = capturedAround(lapses, at)
  if (captured === undefined) {
    return Pages.make([])
  }
  const { after, before } = rangeOf(columns, contains)
  const walk = yield* makeWalk(storage, {
    table: namedTable,
    around: { at, since: captured.since, until: captured.until },
    range: { after: position ?? after, before },
    limit,
    named:
      keys === undefined
        ? undefined
        : [...new Set(keys)].sort(byBytes).filter((key) => position === undefined || byBytes(key, position) > 0),
    // Keys that begin with given values are read to the end. If the search ended among hidden keys, its end would show that there
    // are some.
    exhaustive: storage.restriction !== undefined && before !== undefined
  })
  const presentRows: Array<RowAsOf> = []
  const upToKey = (key: string, filled: "full" | "partial") =>
    Effect.map(cursors.encodeKey(storage, query, key), (cursor) =>
      Pages.make(presentRows.slice(0, limit), Option.some(cursor), filled === "partial")
    )
  for (;;) {
    const step = yield* walk.next(presentRows.length)
    if (step._tag === "Enough") {
      return yield* upToKey(step.upTo, "partial")
    }
    if (step._tag === "End") {
      if (presentRows.length === 0 && decoded.cursor === undefined && contains !== undefined) {
        yield* checkColumns(storage, namedTable, Object.keys(contains))
      }
      return Pages.make(presentRows)
    }
    const looked = { table: namedTable, keys: step.keys, at, captured, contains, where, presentOnly: true }
    const standingByKey = yield* step.nearestByKey === undefined
      ? standing(storage, looked)
      : standingNear(storage, looked, step.nearestByKey)
    for (const key of step.keys) {
      const found = standingByKey.get(key)
      walk.note(key, found?.answer._tag === "Present")
      if (found?.answer._tag === "Present") {
        const { answer, rowPk } = found
        presentRows.push({ rowKey: key, rowPk: rowPk ?? rowPkOf(key, columns), row: answer.row, ...marksOf(answer) })
      }
    }
    if (presentRows.length > limit) {
      return yield* upToKey(presentRows[limit - 1]?.rowKey ?? "", "full")
    }
  }
})

const KeysRequest = Schema.Struct({ table: TableSchema, keys: Keys })

export const asOfKeys = Effect.fnUntraced(function* (
  storage: Storage,
  table: string,
  keys: ReadonlyArray<KeyInput>,
  when: InstantInput
): Effect.fn.Return<ReadonlyArray<KeyAsOf>, ReadError> {
  const decoded = yield* request(KeysRequest)({ table, keys })
  const at = yield* instantOf(when)
  const name = tableOf(decoded.table)
  const { columns, lapses, table: namedTable } = yield* tableKey(storage, name)
  const captured = capturedAround(lapses, at)
  const resolved = decoded.keys.length === 0 ? [] : yield* rowKeys(storage, name, decoded.keys)
  const standingByKey = new Map<string, Standing>()
  const different = [...new Set(resolved)]
  for (let from = 0; from < different.length; from += 200) {
    const keySlice = different.slice(from, from + 200)
    const answers = yield* standing(storage, { ...anyRow, table: namedTable, keys: keySlice, at, captured })
    answers.forEach((standingOfKey, key) => standingByKey.set(key, standingOfKey))
  }
  return resolved.map((key) =>
    makeKeyAsOf({
      rowKey: key,
      rowPk: standingByKey.get(key)?.rowPk ?? rowPkOf(key, columns),
      answer: makeAsOf(standingByKey.get(key)?.answer ?? { _tag: "BeforeCapture", at })
    })
  )
})
