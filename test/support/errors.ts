import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Audit from "../../src/Audit.js"

/** An error of the host's own. */
export class PostError {
  readonly _tag = "PostError"
  constructor(
    readonly message: string,
    readonly cause?: unknown
  ) {}
}

/** The `AuditError` that an effect must fail with. */
export const auditError = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Audit.AuditError, A, R> =>
  Effect.flatMap(Effect.flip(effect), (error) =>
    Audit.AuditError.is(error) ? Effect.succeed(error) : Effect.die(new Error("not an AuditError", { cause: error }))
  )

export const reasonOf = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Audit.AuditReason, A, R> =>
  Effect.map(auditError(effect), ({ reason }) => reason)

/** The error of an effect; undefined if it succeeds. */
export const errorOf = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<E | undefined, never, R> =>
  Effect.map(Effect.either(effect), (outcome) => (Either.isLeft(outcome) ? outcome.left : undefined))
