/**
 * Row history and as-of: what `queryRow` reads, as pages and as an answer.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Page } from "../Page.js"
import { InvalidRequest, type NotFound, type ThreadlineError } from "../ThreadlineError.js"
import * as cursors from "./cursor.js"
import type { JsonObject } from "./json.js"
import { stringify } from "./json.js"
import type { Change, RowImage } from "./queryChange.js"
import { rowPosition } from "./queryChange.js"
import type { InstantInput } from "./queryInstant.js"
import { instant, instantRule, parseMicros } from "./queryInstant.js"
import { type Key, type KeyInput, KeySchema, rowKey, TableSchema, tableOf } from "./queryKey.js"
import { pageOf } from "./queryPage.js"
import { canonicalRequest, order, paging, request } from "./queryRequest.js"
import { isBefore, life, lifeOf, type Row, stateBefore, states } from "./queryRow.js"
import type { Storage } from "./queryStorage.js"

const HistoryRequest = Schema.Struct({ table: TableSchema, key: KeySchema, order, ...paging })

export const HistoryOptions = Schema.Struct({ order, ...paging })

export type HistoryOptions = typeof HistoryOptions.Encoded

type ReadError = InvalidRequest | NotFound | ThreadlineError

const rowOf = (
  storage: Storage,
  { key, table }: { readonly table: string; readonly key: Key }
): Effect.Effect<Row, ReadError> => {
  const name = tableOf(table)
  return Effect.map(rowKey(storage, name, key), (resolved) => ({ table: name, key: resolved }))
}

export const history = Effect.fnUntraced(function* (
  storage: Storage,
  table: string,
  key: KeyInput,
  options: HistoryOptions
): Effect.fn.Return<Page<Change>, ReadError> {
  const asked = yield* request(HistoryRequest)({ ...options, table, key })
  const query: cursors.Query = { kind: "history", order: "time", text: canonicalRequest(asked) }
  const cursor = asked.cursor === undefined ? undefined : yield* cursors.decode(query, asked.cursor)
  const newest = asked.order === "newest"
  const row = yield* rowOf(storage, asked)
  // One more than the page holds, and before them two that their states depend on.
  const [before, after] = newest ? [asked.limit + 3, 0] : [cursor === undefined ? 0 : 3, asked.limit + 2]
  const found = yield* life(storage, row, { position: cursor, inclusive: !newest, before, after })
  const all = lifeOf([...found.before, ...found.after])
  const ordered = newest ? [...all].reverse() : all.filter((change) => beyond(cursor, rowPosition(change)))
  return pageOf(ordered, asked.limit, query, rowPosition)
})

const beyond = (cursor: cursors.Position | undefined, position: cursors.Position): boolean =>
  cursor === undefined || isBefore(cursor, position)

/**
 * How a row stood at an instant.
 *
 * - `Present`: it was there, as `row`. Where the first known change after the instant is an update or a delete, the row is
 *   rebuilt from what that change replaced.
 * - `Deleted`: it had been deleted, or its table truncated.
 * - `MovedTo`: an update had given it another key: `key` is the row key, `rowPk` the same by column.
 * - `NotYetCreated`: the first known change is the insert (or the move to this key) that came later.
 * - `BeforeCapture`: nothing is known of it at that time.
 */
export type AsOf =
  | { readonly _tag: "Present"; readonly row: RowImage; readonly at: string }
  | { readonly _tag: "Deleted"; readonly at: string }
  | { readonly _tag: "MovedTo"; readonly key: string; readonly rowPk: Change["rowPk"]; readonly at: string }
  | { readonly _tag: "NotYetCreated"; readonly at: string }
  | { readonly _tag: "BeforeCapture"; readonly at: string }

const AsOfRequest = Schema.Struct({ table: TableSchema, key: KeySchema })

const lastId = 2n ** 63n - 1n

export const asOf = Effect.fnUntraced(function* (
  storage: Storage,
  table: string,
  key: KeyInput,
  when: InstantInput
): Effect.fn.Return<AsOf, ReadError> {
  const asked = yield* request(AsOfRequest)({ table, key })
  const at = instant(when)
  const micros = at === undefined ? undefined : parseMicros(at)
  if (at === undefined || micros === undefined) {
    return yield* new InvalidRequest({ field: "instant", rule: instantRule })
  }
  const position = { major: micros, id: lastId }
  const row = yield* rowOf(storage, asked)
  // Three changes decide what was there after the last of them.
  const { before } = yield* life(storage, row, { position, inclusive: true, before: 3, after: 0 })
  const last = before.at(-1)
  const state = states(before).at(-1)
  if (last !== undefined && state !== undefined) {
    if (state._tag === "Alive") {
      return last.truncate === undefined ? { _tag: "Present", row: state.row, at } : { _tag: "Deleted", at }
    }
    const { op, rowKey, rowPk } = state.change
    return op === "update" && rowKey !== null ? { _tag: "MovedTo", key: rowKey, rowPk, at } : { _tag: "Deleted", at }
  }
  // Two decide what was there before the first of them.
  const { after, cut } = yield* life(storage, row, { position, inclusive: true, before: 0, after: 2 })
  const earlier = stateBefore(after)
  // What a change after a TRUNCATE replaced says nothing of the time before it.
  if (earlier?._tag === "Alive" && !cut) {
    return { _tag: "Present", row: earlier.row, at }
  }
  return { _tag: earlier?._tag === "NotYet" ? "NotYetCreated" : "BeforeCapture", at }
})

export const asOfToJson = (answer: AsOf): string => {
  const said: JsonObject =
    answer._tag === "Present" ? { row: answer.row } : answer._tag === "MovedTo" ? { key: answer.key } : {}
  return stringify({ answer: answer._tag, ...said, at: answer.at })
}
