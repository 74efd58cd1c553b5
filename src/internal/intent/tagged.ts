/**
 * Two failures of audited calls as classes with tags of their own, for hosts that answer them in their own ways. Public through `Audit`.
 */
import * as Schema from "effect/Schema"
import { AuditError } from "./errors.js"

/** What `HttpApiSchema.annotations({ status })` of `@effect/platform` gives, without loading it. */
const status = (code: number) => ({ [Symbol.for("@effect/platform/HttpApiSchema/AnnotationStatus")]: code })

/**
 * `requireChanges` was asked and no row was captured. Rolled back. An `HttpApi` that declares it answers 404. Its tag is
 * `threadline/NoChanges`.
 *
 * @since 0.1.0
 * @category errors
 */
export class NoChanges extends Schema.TaggedError<NoChanges>("threadline.NoChanges")(
  "threadline/NoChanges",
  { detail: Schema.String },
  status(404)
) {
  override get message(): string {
    return this.detail
  }
}

/**
 * The database could not be used: no connection could be had (`Unreachable`), it was lost and the server rolled back
 * (`ConnectionLost`), or it was lost during COMMIT and nobody knows (`OutcomeUnknown`). An `HttpApi` that declares it answers 503.
 * Its tag is `threadline/Unavailable`.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unavailable extends Schema.TaggedError<Unavailable>("threadline.Unavailable")(
  "threadline/Unavailable",
  { reason: Schema.Literal("Unreachable", "ConnectionLost", "OutcomeUnknown"), detail: Schema.String },
  status(503)
) {
  override get message(): string {
    return this.detail
  }
}

/** The same failure under the class that it has, without its cause, which may hold identities. */
export const tagged = <E>(error: E): E | NoChanges | Unavailable => {
  if (!AuditError.is(error)) {
    return error
  }
  const { detail, reason } = error
  switch (reason) {
    case "NoChanges":
      return new NoChanges({ detail })
    case "Unreachable":
    case "ConnectionLost":
    case "OutcomeUnknown":
      return new Unavailable({ reason, detail })
    default:
      return error
  }
}
