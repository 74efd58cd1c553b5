/** Whether a reader sees the whole record. Row-level security hides rows silently. */
import * as Effect from "effect/Effect"
import type { ThreadlineError } from "../../ThreadlineError.js"
import { fromSqlError } from "../../ThreadlineError.js"
import { refuseHidden } from "../sql/hidden.js"
import { legibleStorage } from "./legible.js"
import * as storage from "./storage.js"

/**
 * Fails if row-level security may hide rows of the record. Services whose layer asks the database nothing ask this before each read, and
 * before anything is removed.
 */
export const mustBeWhole = ({ schema, sql }: storage.Storage): Effect.Effect<void, ThreadlineError> =>
  refuseHidden(sql, schema, "and an answer would not say so").pipe(
    Effect.catchTags({ SqlError: (error) => fromSqlError(error), ParseError: storage.unreadable })
  )

/** The same once, for a layer. If the database does not answer, this does not fail: the first read will. */
const checkWhole = (from: storage.Storage): Effect.Effect<void, ThreadlineError> =>
  Effect.catchIf(
    mustBeWhole(from),
    ({ reason }) => reason !== "RecordHidden",
    () => Effect.void
  )

/** What reads need of the database, once it is known that they see the whole record. */
export const wholeStorage = storage.make.pipe(Effect.tap(checkWhole), Effect.flatMap(legibleStorage))
