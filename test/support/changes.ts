/** Changes of a log written by hand, which tests of rows put together. */
import * as Effect from "effect/Effect"
import type * as Query from "../../src/Query.js"
import { at, type ChangeSeed, reset, write } from "./query.js"

/** What a change has instead of what it would have. */
export type Rest = Partial<ChangeSeed> & { readonly micros?: number }

let last = 0

/** A change of the row `1` of `posts` at a second, in the transaction `1`, unless `rest` says otherwise. Each has a higher id than the one before. */
export const change = (op: Query.Operation, second: number, { micros = 0, ...rest }: Rest = {}): ChangeSeed => ({
  id: String(++last),
  transactionId: "1",
  at: at(second, micros),
  op,
  key: "1",
  ...rest
})

export const insert = (second: number, after: Query.RowImage, rest: Rest = {}) =>
  change("insert", second, { after, ...rest })

export const update = (second: number, from: Query.RowImage, after: Query.RowImage, rest: Rest = {}) =>
  change("update", second, { fields: Object.keys(from), from, after, ...rest })

export const remove = (second: number, from: Query.RowImage, rest: Rest = {}) =>
  change("delete", second, { from, ...rest })

/** Makes a log of changes, with a transaction for each number that they name. */
export const record = Effect.fnUntraced(function* (changes: ReadonlyArray<ChangeSeed>) {
  yield* reset
  const transactions = new Set(changes.map(({ transactionId }) => transactionId))
  yield* write({ transactions: [...transactions].map((id) => ({ id, occurredAt: at(0) })), changes })
})
