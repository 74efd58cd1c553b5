/**
 * The rows of a table at an instant: keys in their order, and of each how it stood, until a page is full.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Pages from "../../Page.js"
import { ifRebuilt, type KeyAsOf, makeAsOf, makeKeyAsOf, type RowAsOf } from "./answer.js"
import * as cursors from "../record/cursor.js"
import { type JsonObject, type JsonValue, parse } from "../core/json.js"
import type { ImageCondition, Standing } from "./asOf.js"
import { anyRow, imageCondition, instantOf, standing } from "./asOf.js"
import { type Candidates, keysOfFew, type Range, stretchOf } from "./candidates.js"
import type { RowPk } from "../record/change.js"
import { textOf } from "../record/condition.js"
import { Document } from "../record/document.js"
import type { InstantInput } from "../core/instant.js"
import { type KeyColumn, type KeyInput, KeySchema, rowKeys, tableKey, TableSchema, tableOf } from "../record/key.js"
import { capturedAround } from "../record/lapses.js"
import {
  largestPage,
  type Paging,
  canonicalRequest,
  mustBeObject,
  paging,
  type ReadError,
  request
} from "../core/request.js"
import type { Storage } from "../record/storage.js"
import { checkColumns } from "../record/unknownColumn.js"

const Condition: Schema.Schema<ImageCondition> = Schema.declare(
  (u: unknown): u is ImageCondition => typeof u === "function",
  { message: () => "must be a function from the image to an SQL condition" }
)

const maxKeys = largestPage

const Keys = Schema.Array(KeySchema).pipe(
  Schema.maxItems(maxKeys, { message: () => `must be at most ${maxKeys} keys` })
)

const RowsRequest = Schema.Struct({
  table: TableSchema,
  at: Schema.String,
  keys: Schema.optional(Keys),
  contains: Schema.optional(Document),
  where: Schema.optional(Condition),
  ...paging
})

export interface AsOfRowsOptions extends Paging {
  /** Only these rows, at most 1000. */
  readonly keys?: ReadonlyArray<KeyInput> | undefined
  /** Only rows whose image has these fields with these values, an object as in a filter. */
  readonly contains?: JsonObject | undefined
  /**
   * Only rows whose image fulfils this SQL condition. A row for which it is null is not shown. `InvalidRequest` if the database does
   * not understand the condition, or if it fails on a stored row.
   */
  readonly where?: ImageCondition | undefined
}

/** What one page may look at. */
export interface RowsBudget {
  /** Entries of the index of keys, in all and in one statement. */
  readonly entries: number
  readonly stretch: number
  /** Keys whose rows are looked at. */
  readonly keys: number
  /** Changes up to which a table is one of few. */
  readonly few: number
}

export class Budget extends Context.Reference<Budget>()("threadline/Query/RowsBudget", {
  defaultValue: (): RowsBudget => ({ entries: 40_000, stretch: 2000, keys: 2000, few: 20_000 })
}) {}

const byBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b))

const hashed = /:sha256:[0-9a-f]{64}$/

/** A key by column, out of its text. */
const rowPkOf = (key: string, columns: ReadonlyArray<KeyColumn> = []): RowPk | null => {
  const [only, ...others] = columns
  if (only === undefined || hashed.test(key)) {
    return null
  }
  if (others.length === 0) {
    return { [only.name]: key }
  }
  const texts = parse(key)
  const pairs = columns.map(({ name }, index) => [name, Array.isArray(texts) ? texts[index] : undefined] as const)
  return pairs.every((pair): pair is readonly [string, string] => typeof pair[1] === "string")
    ? Object.fromEntries(pairs)
    : null
}

/** Whether a value is of a type of key whose text is that of the value, whatever it is. */
const isPlain = (type: string, value: JsonValue | undefined): value is string | number | bigint =>
  /^(smallint|integer|bigint)$/.test(type)
    ? typeof value === "bigint" || Number.isInteger(value)
    : /^(text|uuid|character varying)/.test(type) && typeof value === "string" && /^[\w .:@+-]+$/.test(value)

/** The keys of several columns whose first ones are as wanted: their texts begin with the same. */
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
  // A long key is cut, and its beginning is left.
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
  const asked = yield* request(RowsRequest)({ ...options, table, at })
  const { contains, limit } = asked
  const where = asked.where === undefined ? undefined : yield* imageCondition(storage, asked.where)
  const text = canonicalRequest({ ...asked, where: where === undefined ? undefined : textOf(storage.sql, where) })
  const query: cursors.Bound = { kind: "asOfRows", text }
  const position = asked.cursor === undefined ? undefined : yield* cursors.decodeKey(storage, query, asked.cursor)
  const budget = yield* Budget
  const name = tableOf(asked.table)
  const { columns, lapses } = yield* tableKey(storage, name)
  const captured = capturedAround(lapses, at)
  const items: Array<RowAsOf> = []
  const range = rangeOf(columns, contains)
  let after = position ?? range.after
  // Keys that begin with what the reader names are looked at to the end: to give up among hidden ones would tell that there are some.
  const exhaustive = storage.restriction !== undefined && range.before !== undefined
  let entries = 0
  let offered = 0
  let looked = 0
  let slice = limit + 1

  /** The keys to look at next; a stretch of the index, or all that there are of a table of few changes. */
  const next = Effect.fnUntraced(function* (): Effect.fn.Return<Candidates, ReadError> {
    if (asked.keys !== undefined) {
      const keys = yield* rowKeys(storage, name, asked.keys)
      return { keys: [...new Set(keys)].sort(byBytes).filter(behind), upTo: undefined }
    }
    const second = entries === budget.stretch
    const reach = Math.min(Math.max(entries, budget.stretch), 8 * budget.stretch)
    entries += reach
    const stretch = yield* stretchOf(storage, name, { after, before: range.before }, reach)
    offered += stretch.keys.length
    // Two stretches tell whether the table is rare among the others.
    if (!second || stretch.upTo === undefined || offered > limit) {
      return stretch
    }
    return (yield* keysOfFew(storage, name, { after, before: range.before }, budget.keys, budget.few)) ?? stretch
  })
  const behind = (key: string): boolean => position === undefined || byBytes(key, position) > 0

  const whole = (): Pages.Page<RowAsOf> => Pages.make(items)
  const upToKey = (key: string, partial: boolean) =>
    Effect.map(cursors.encodeKey(storage, query, key), (cursor) =>
      Pages.make(items.slice(0, limit), Option.some(cursor), partial)
    )
  const full = () => upToKey(items[limit - 1]?.rowKey ?? "", false)
  const stopped = (key: string) => upToKey(key, true)

  if (captured === undefined) {
    // A key that is none is refused all the same.
    yield* asked.keys === undefined ? Effect.void : rowKeys(storage, name, asked.keys)
    return whole()
  }
  for (;;) {
    const { keys, upTo } = yield* next()
    for (let from = 0; from < keys.length;) {
      if (looked >= budget.keys && !exhaustive && asked.keys === undefined && after !== undefined) {
        return yield* stopped(after)
      }
      const some = keys.slice(from, from + slice)
      const found = yield* standing(storage, {
        table: name,
        keys: some,
        at,
        captured,
        contains,
        where,
        presentOnly: true
      })
      for (const key of some) {
        const one = found.get(key)
        if (one?.answer._tag === "Present") {
          const { answer, rowPk } = one
          items.push({ rowKey: key, rowPk: rowPk ?? rowPkOf(key, columns), row: answer.row, ...ifRebuilt(answer) })
        }
      }
      if (items.length > limit) {
        return yield* full()
      }
      from += some.length
      looked += some.length
      after = some.at(-1)
      // Where few rows are as wanted, more of them are looked at together.
      slice = Math.min(500, slice * 2)
    }
    if (upTo === undefined) {
      if (items.length === 0 && asked.cursor === undefined && contains !== undefined) {
        yield* checkColumns(storage, name, Object.keys(contains))
      }
      return whole()
    }
    after = upTo
    if (!exhaustive && (entries >= budget.entries || looked >= budget.keys)) {
      return yield* stopped(after)
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
  const asked = yield* request(KeysRequest)({ table, keys })
  const at = yield* instantOf(when)
  const name = tableOf(asked.table)
  const { columns, lapses } = yield* tableKey(storage, name)
  const captured = capturedAround(lapses, at)
  const resolved = asked.keys.length === 0 ? [] : yield* rowKeys(storage, name, asked.keys)
  const found = new Map<string, Standing>()
  const different = [...new Set(resolved)]
  for (let from = 0; from < different.length; from += 200) {
    const some = different.slice(from, from + 200)
    const answers = yield* standing(storage, { ...anyRow, table: name, keys: some, at, captured })
    answers.forEach((one, key) => found.set(key, one))
  }
  return resolved.map((key) =>
    makeKeyAsOf({
      rowKey: key,
      rowPk: found.get(key)?.rowPk ?? rowPkOf(key, columns),
      answer: makeAsOf(found.get(key)?.answer ?? { _tag: "BeforeCapture", at })
    })
  )
})
