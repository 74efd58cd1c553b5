/** How a page ends: as it is meant to, or as a page that says what is the matter. What failed is logged under a reference. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { randomBytes } from "node:crypto"
import * as Export from "../../Export.js"
import { SavedViewError } from "../../SavedViews.js"
import { InvalidRequest, NotFound, ThreadlineError } from "../../ThreadlineError.js"
import type { Page, Screen, Screened } from "./screen.js"
import * as trouble from "./screens/trouble.js"

/** What is told of a page that failed. */
export interface Failure {
  /** What the page shows. */
  readonly reference: string
  /** Which page it was, such as `Row`. Its address may name a person, and is left out. */
  readonly page: string
  readonly cause: Cause.Cause<unknown>
}

const isUnusable = (error: ThreadlineError): boolean =>
  error.reason === "Unreachable" || error.sqlState?.startsWith("53") === true

const isTooSlow = (error: ThreadlineError): boolean => error.sqlState === "57014"

class TooSlow {
  readonly _tag = "TooSlow"
}

/** Logs why a page failed, and tells the host; the reference that the page shows. */
export type Logged = (page: string, cause: Cause.Cause<unknown>) => Effect.Effect<string>

export const logging =
  (onFailure: ((failure: Failure) => void) | undefined): Logged =>
  (page, cause) => {
    const reference = randomBytes(6).toString("hex")
    const hostTold = Effect.sync(() => onFailure?.({ reference, page, cause })).pipe(
      Effect.catchAllCause(() => Effect.void)
    )
    return Effect.logError("a page of the operator surface failed", cause).pipe(
      Effect.annotateLogs({ reference, page }),
      Effect.zipRight(hostTold),
      Effect.as(reference)
    )
  }

/** Every way in which a screen can end becomes a page. */
export const settling = (timeout: Duration.DurationInput, logged: Logged) => {
  const seconds = Math.max(1, Math.round(Duration.toSeconds(timeout)))
  return (name: string, screened: Screened): Effect.Effect<Screen> =>
    screened.pipe(
      Effect.timeoutFail({ duration: timeout, onTimeout: () => new TooSlow() }),
      Effect.exit,
      Effect.flatMap((exit): Effect.Effect<Screen> => {
        if (Exit.isSuccess(exit)) {
          return Effect.succeed(exit.value)
        }
        if (Cause.isInterruptedOnly(exit.cause)) {
          return Effect.interrupt
        }
        const error = Option.getOrUndefined(Cause.failureOption(exit.cause))
        if (InvalidRequest.is(error)) {
          // What is wrong with a scope is the host's business, and may say something of it.
          return error.field === "scope"
            ? Effect.map(logged(name, exit.cause), trouble.failed)
            : Effect.succeed(trouble.invalid(error))
        }
        if (NotFound.is(error)) {
          return Effect.succeed(trouble.notFound(error))
        }
        if (SavedViewError.is(error)) {
          return Effect.succeed(trouble.viewTrouble(error.reason))
        }
        return Effect.map(logged(name, exit.cause), (reference) =>
          Export.ExportError.is(error)
            ? trouble.exportTrouble(error.reason, reference)
            : error instanceof TooSlow || (ThreadlineError.is(error) && isTooSlow(error))
              ? trouble.tooSlow(reference, seconds)
              : ThreadlineError.is(error) && isUnusable(error)
                ? trouble.unreachable(reference)
                : ThreadlineError.is(error) && error.reason !== "Failed"
                  ? trouble.notReady(reference)
                  : trouble.failed(reference)
        )
      })
    )
}

/**
 * The page of a surface whose services could not be made, as when the database is gone while they are. What a client says of that is no
 * error of ours: whatever it was, nothing was asked.
 */
export const unavailable = (logged: Logged, cause: Cause.Cause<unknown>): Effect.Effect<Page> =>
  Effect.map(logged("services", cause), (reference) => {
    const error = Option.getOrUndefined(Cause.failureOption(cause))
    return ThreadlineError.is(error) && error.reason !== "Unreachable"
      ? trouble.notReady(reference)
      : trouble.unreachable(reference)
  })
