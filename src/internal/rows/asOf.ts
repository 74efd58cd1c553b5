/**
 * How one row stood at an instant.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { InvalidRequest, type NotFound, type ThreadlineError } from "../../ThreadlineError.js"
import { type AsOf, makeAsOf } from "./answer.js"
import { standing } from "./standing.js"
import { anyRow } from "./standingStatement.js"
import { instant, type InstantInput, instantRule } from "../core/instant.js"
import { request } from "../core/request.js"
import { type CapturedRow, capturedRowOf, type KeyInput, KeySchema, TableSchema, tableOf } from "../record/key.js"
import { capturedAround } from "../record/lapses.js"
import type { Storage } from "../record/storage.js"

const AsOfRequest = Schema.Struct({ table: TableSchema, key: KeySchema })

/** The canonical text of an instant, in UTC with microseconds; `field` is the input that an `InvalidRequest` names. */
export const instantOf = (when: InstantInput, field: string = "instant"): Effect.Effect<string, InvalidRequest> => {
  const at = instant(when)
  return at === undefined ? Effect.fail(new InvalidRequest({ field, rule: instantRule })) : Effect.succeed(at)
}

export const resolveRow = Effect.fnUntraced(function* (
  storage: Storage,
  table: string,
  key: KeyInput
): Effect.fn.Return<CapturedRow, InvalidRequest | NotFound | ThreadlineError> {
  const decoded = yield* request(AsOfRequest)({ table, key })
  return yield* capturedRowOf(storage, tableOf(decoded.table), decoded.key)
})

/** How a row stood at a decoded instant. */
export const rowAsOf = (
  storage: Storage,
  { key, lapses, table }: CapturedRow,
  at: string
): Effect.Effect<AsOf, InvalidRequest | ThreadlineError> =>
  Effect.map(
    standing(storage, { ...anyRow, table, keys: [key], at, captured: capturedAround(lapses, at) }),
    (answersByKey) => makeAsOf(answersByKey.get(key)?.answer ?? { _tag: "BeforeCapture", at })
  )

export const asOf = Effect.fnUntraced(function* (
  storage: Storage,
  table: string,
  key: KeyInput,
  when: InstantInput
): Effect.fn.Return<AsOf, InvalidRequest | NotFound | ThreadlineError> {
  const at = yield* instantOf(when)
  return yield* rowAsOf(storage, yield* resolveRow(storage, table, key), at)
})
