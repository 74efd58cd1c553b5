/**
 * The rows of a table at an instant. Keys are read in their order, and how the row of each key stood, until a page is full.
 */
import * as Context from "effect/Context"
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
import { sharingOf, standing, standingNear } from "./standing.js"
import { type Candidates, hasFew, keysOfFew, type Range, stretchOf } from "./candidates.js"
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

/** What one page may look at. */
export interface RowsBudget {
  /** Entries of the index of keys, in all. */
  readonly entries: number
  /** Entries that the first statement reads. Later ones read up to eight times as many. */
  readonly stretch: number
  /** Keys whose rows are looked at. */
  readonly keys: number
  /**
   * A table with at most this many changes under its names counts as a table of few changes. If the index of keys mostly has
   * keys of other tables, these changes are read instead. If there are at most a quarter as many, they are read from the start.
   */
  readonly few: number
}

export class Budget extends Context.Reference<Budget>()("threadline/Query/RowsBudget", {
  defaultValue: (): RowsBudget => ({ entries: 40_000, stretch: 4000, keys: 2000, few: 20_000 })
}) {}

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

/**
 * How many rows to expect at a key, 0 to 1. Few keys had a row if all of their changes are after the instant: `late` is their
 * share.
 */
const chance = (key: string, nearest: Candidates["nearest"], late: number): number => {
  const near = nearest.get(key)
  return near === undefined ? (nearest.has(key) ? 0 : 1) : near.side === "before" ? 1 : late
}

const chances = ({ keys, nearest }: Candidates, late: number): number =>
  keys.reduce((sum, key) => sum + chance(key, nearest, late), 0)

/** Where a slice of keys ends at which about `slice` rows can be expected. */
const endOf = ({ keys, nearest }: Candidates, from: number, slice: number, late: number): number => {
  let end = from
  for (let left = slice; left > 0 && end < keys.length && end - from < 1000; end++) {
    left -= chance(keys[end] ?? "", nearest, late)
  }
  return end
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
  const budget = yield* Budget
  const name = tableOf(decoded.table)
  const { columns, lapses, table: namedTable } = yield* tableKey(storage, name)
  const captured = capturedAround(lapses, at)
  const presentRows: Array<RowAsOf> = []
  const range = rangeOf(columns, contains)
  let after = position ?? range.after
  // Keys that begin with given values are read to the end. If the search ended among hidden keys, its end would show that there
  // are some.
  const exhaustive = storage.restriction !== undefined && range.before !== undefined
  let entries = 0
  /** Known once for a page: whether the changes of the table are few enough to read them all. */
  let isOfFew: boolean | undefined
  let keysLookedAt = 0
  let slice = limit + 1
  // Of keys whose changes are all after the instant: the share that had a row (a guess for the first 50 keys), how many keys
  // there were, and how many had one. Of a table that always had one name, only keys come that probably had one.
  let late = namedTable.spans.length === 1 ? 1 : 0.25
  let lateKeys = 0
  let lateRows = 0

  const stretchBehind = Effect.fnUntraced(function* (
    from: string | undefined
  ): Effect.fn.Return<Candidates, ReadError> {
    const left = budget.entries - entries
    const reach = Math.min(Math.max(entries, budget.stretch), 8 * budget.stretch, left > 0 ? left : budget.entries)
    entries += reach
    return yield* stretchOf(storage, namedTable, { after: from, before: range.before }, reach, around)
  })

  /** The keys to look at next: as many stretches of the index as a page may need, or all keys of a table of few changes. */
  const next = Effect.fnUntraced(function* (): Effect.fn.Return<Candidates, ReadError> {
    if (decoded.keys !== undefined) {
      const keys = yield* rowKeys(storage, name, decoded.keys)
      return { keys: [...new Set(keys)].sort(byBytes).filter(behind), upTo: undefined, nearest: new Map() }
    }
    const isFirst = entries === 0
    const few = keysOfFew(storage, namedTable, { after, before: range.before }, budget.keys, around)
    isOfFew ??= yield* hasFew(storage, namedTable, Math.floor(budget.few / 4))
    if (isOfFew) {
      return yield* few
    }
    let found = yield* stretchBehind(after)
    while (
      found.upTo !== undefined &&
      entries < budget.entries &&
      found.keys.length < budget.keys &&
      presentRows.length + chances(found, late) <= limit
    ) {
      // After two stretches it is known whether the table is rare among the others. One may lie within a busy row.
      if (isFirst && entries === 2 * budget.stretch && found.keys.length <= limit) {
        isOfFew = yield* hasFew(storage, namedTable, budget.few)
        if (isOfFew) {
          return yield* few
        }
      }
      const more = yield* stretchBehind(found.upTo)
      found = {
        keys: [...found.keys, ...more.keys],
        nearest: new Map([...found.nearest, ...more.nearest]),
        upTo: more.upTo
      }
    }
    return found
  })
  const behind = (key: string): boolean => position === undefined || byBytes(key, position) > 0

  const lastPage = (): Pages.Page<RowAsOf> => Pages.make(presentRows)
  const upToKey = (key: string, partial: boolean) =>
    Effect.map(cursors.encodeKey(storage, query, key), (cursor) =>
      Pages.make(presentRows.slice(0, limit), Option.some(cursor), partial)
    )
  const fullPage = () => upToKey(presentRows[limit - 1]?.rowKey ?? "", false)
  const partialPage = (key: string) => upToKey(key, true)

  if (captured === undefined) {
    // A malformed key is refused even then.
    yield* decoded.keys === undefined ? Effect.void : rowKeys(storage, name, decoded.keys)
    return lastPage()
  }
  const around = { at, since: captured.since, until: captured.until }
  // Whether rows may share a key for a while. Known once for a page too, and asked only if there are keys.
  let isShared: boolean | undefined
  for (;;) {
    const candidates = yield* next()
    const { keys, nearest, upTo } = candidates
    isShared ??= nearest.size > 0 ? (yield* sharingOf(storage, namedTable)) === "several" : undefined
    for (let from = 0; from < keys.length;) {
      const left = exhaustive || decoded.keys !== undefined ? keys.length : budget.keys - keysLookedAt
      if (left <= 0 && after !== undefined) {
        return yield* partialPage(after)
      }
      const end = isShared === false ? endOf(candidates, from, slice, late) : from + slice
      const keySlice = keys.slice(from, Math.min(end, from + left))
      const request = { table: namedTable, keys: keySlice, at, captured, contains, where, presentOnly: true }
      const standingByKey = yield* isShared === false
        ? standingNear(storage, request, nearest)
        : standing(storage, request)
      for (const key of keySlice) {
        const standingRow = standingByKey.get(key)
        if (nearest.get(key)?.side === "after") {
          lateKeys += 1
          lateRows += standingRow?.answer._tag === "Present" ? 1 : 0
        }
        if (standingRow?.answer._tag === "Present") {
          const { answer, rowPk } = standingRow
          presentRows.push({
            rowKey: key,
            rowPk: rowPk ?? rowPkOf(key, columns),
            row: answer.row,
            ...marksOf(answer)
          })
        }
      }
      if (presentRows.length > limit) {
        return yield* fullPage()
      }
      from += keySlice.length
      keysLookedAt += keySlice.length
      after = keySlice.at(-1)
      late = lateKeys < 50 ? late : Math.max(1 / 32, lateRows / lateKeys)
      // If few rows match, more rows are looked at together.
      slice = Math.min(500, slice * 4)
    }
    if (upTo === undefined) {
      if (presentRows.length === 0 && decoded.cursor === undefined && contains !== undefined) {
        yield* checkColumns(storage, namedTable, Object.keys(contains))
      }
      return lastPage()
    }
    after = upTo
    if (!exhaustive && (entries >= budget.entries || keysLookedAt >= budget.keys)) {
      return yield* partialPage(after)
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
