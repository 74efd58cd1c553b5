/** Turns every end of a screen into a page. Failures are logged under a reference, which the page shows. */
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

/** What the host's `onFailure` gets. */
export interface Failure {
  /** The reference that the page shows. */
  readonly reference: string
  /** Which page failed, such as `Row`. The address is left out because it may name a person. */
  readonly page: string
  readonly cause: Cause.Cause<unknown>
}

const isUnusable = (error: ThreadlineError): boolean =>
  error.reason === "Unreachable" || error.sqlState?.startsWith("53") === true

const isTooSlow = (error: ThreadlineError): boolean => error.sqlState === "57014"

class TooSlow {
  readonly _tag = "TooSlow"
}

/** Logs why a page failed and tells the host. Returns the reference for the page. */
export type LogFailure = (page: string, cause: Cause.Cause<unknown>) => Effect.Effect<string>

export const logging =
  (onFailure: ((failure: Failure) => void) | undefined): LogFailure =>
  (page, cause) => {
    const reference = randomBytes(6).toString("hex")
    const tellHost = Effect.sync(() => onFailure?.({ reference, page, cause })).pipe(
      Effect.catchAllCause(() => Effect.void)
    )
    return Effect.logError("a page of the operator surface failed", cause).pipe(
      Effect.annotateLogs({ reference, page }),
      Effect.zipRight(tellHost),
      Effect.as(reference)
    )
  }

/** Runs a screen under the timeout. A failure becomes a page; an interruption stays one. */
export const settling = (timeout: Duration.DurationInput, logFailure: LogFailure) => {
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
          // A wrong scope is a mistake of the host, and its message may reveal something about the scope.
          return error.field === "scope"
            ? Effect.map(logFailure(name, exit.cause), trouble.failed)
            : Effect.succeed(trouble.invalid(error))
        }
        if (NotFound.is(error)) {
          return Effect.succeed(trouble.notFound(error))
        }
        if (SavedViewError.is(error)) {
          return Effect.succeed(trouble.viewTrouble(error.reason))
        }
        return Effect.map(logFailure(name, exit.cause), (reference) =>
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
 * The page while the services cannot be built, for example because the database cannot be reached. An error that is not
 * a `ThreadlineError` comes from the client's layer, and counts as unreachable.
 */
export const unavailable = (logFailure: LogFailure, cause: Cause.Cause<unknown>): Effect.Effect<Page> =>
  Effect.map(logFailure("services", cause), (reference) => {
    const error = Option.getOrUndefined(Cause.failureOption(cause))
    return ThreadlineError.is(error) && error.reason !== "Unreachable"
      ? trouble.notReady(reference)
      : trouble.unreachable(reference)
  })
