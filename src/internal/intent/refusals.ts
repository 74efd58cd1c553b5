/**
 * Which audited call refused something. The body of a call may fail with an `InvalidRequest` of its own, which is the host's.
 */
import * as Effect from "effect/Effect"
import { InvalidRequest } from "../../ThreadlineError.js"
import { AuditError } from "./errors.js"

/** By the options of the call. */
const refusals = new WeakMap<InvalidRequest, object>()

/** Marks what an effect refuses as refused by the call with these options. */
export const ofCall = <A, E, R>(options: object, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.tapError(effect, (error) =>
    Effect.sync(() => {
      if (InvalidRequest.is(error)) {
        refusals.set(error, options)
      }
    })
  )

/** Turns a refusal by the call with these options into an `AuditError`. */
export const invalidContext = <A, E, R>(
  options: object,
  call: Effect.Effect<A, E | InvalidRequest, R>
): Effect.Effect<A, E | AuditError, R> =>
  Effect.mapError(call, (error) =>
    InvalidRequest.is(error) && refusals.get(error) === options
      ? new AuditError({ reason: "InvalidContext", detail: error.message, cause: error })
      : (error as E)
  )
