/**
 * The context and action of one audited call. The options of the call win over the context of the fiber, and that wins over the
 * host's defaults.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Tracer from "effect/Tracer"
import * as Actor from "../../Actor.js"
import * as AuditContext from "../../AuditContext.js"
import { notAnObject, unknownField } from "../core/request.js"
import { InvalidRequest } from "../../ThreadlineError.js"
import { type AuditError, makeAuditError } from "./errors.js"
import { isolationLevels } from "./transaction.js"

export interface Resolved {
  readonly fields: AuditContext.Fields
  /** The document of `set_context`. */
  readonly document: string
}

/**
 * The options of the call must be valid. In the context of the fiber, only the actor must be valid. Ids may come from outside: if
 * they cannot be recorded, that is noted, and the host's write does not fail.
 */
export const resolve = (
  context: Context.Context<never>,
  explicit: AuditContext.Fields,
  options: { readonly allowMissingActor: boolean; readonly inside: boolean }
): Effect.Effect<Resolved, AuditError | InvalidRequest> => {
  const refusal = AuditContext.invalid(explicit)
  if (refusal !== undefined) {
    return Effect.fail(refusal)
  }
  const given = AuditContext.merge(AuditContext.fromContext(context), explicit)
  const { actor: ask } = Context.get(context, AuditContext.AuditDefaults)
  return given.actor === undefined && given.actorError === undefined && ask !== undefined
    ? Effect.flatMap(asked(ask), (answer) => complete(context, explicit, AuditContext.merge(given, answer), options))
    : complete(context, explicit, given, options)
}

const actorPatience = "5 seconds"

/** Runs a lazy actor. Never fails: the host's write must not depend on the answer. */
const asked = (ask: AuditContext.LazyActor): Effect.Effect<AuditContext.Fields> =>
  Effect.suspend(() => ask).pipe(
    Effect.disconnect,
    Effect.map((answer): AuditContext.Fields => {
      const actor = (Option.isOption(answer) ? Option.getOrUndefined(answer) : answer) ?? undefined
      const refusal = actor === undefined ? undefined : Actor.invalid(actor)
      return actor === undefined
        ? {}
        : refusal === undefined
          ? { actor: Actor.fromGiven(actor) }
          : { actorError: `the actor effect gave no actor: ${refusal.message}` }
    }),
    Effect.timeoutTo({
      duration: actorPatience,
      onSuccess: (answer: AuditContext.Fields) => answer,
      onTimeout: (): AuditContext.Fields => ({ actorError: `the actor effect took longer than ${actorPatience}` })
    }),
    // Also if the effect interrupts itself. An interruption of the audited call is not caught here.
    Effect.catchAllCause(() => Effect.succeed({ actorError: "the actor effect failed" }))
  )

const complete = (
  context: Context.Context<never>,
  explicit: AuditContext.Fields,
  fields: AuditContext.Fields,
  options: { readonly allowMissingActor: boolean; readonly inside: boolean }
): Effect.Effect<Resolved, AuditError | InvalidRequest> => {
  if (fields.actor === undefined) {
    if (!options.allowMissingActor && fields.actorError === undefined) {
      return Effect.fail(
        makeAuditError(
          "MissingActor",
          "no actor is set: use AuditContext.withActor, the option actor, or allowMissingActor"
        )
      )
    }
  } else if (explicit.actor === undefined) {
    const wrongActor = Actor.invalid(fields.actor)
    if (wrongActor !== undefined) {
      return Effect.fail(wrongActor)
    }
  }
  return options.inside ? Effect.succeed(resolved(fields)) : named(context, fields)
}

/** The trace of the span around the outermost call. Calls inside it inherit it. */
const traceOf = (context: Context.Context<never>): string | undefined => {
  const { value: span } = { value: undefined, ...Context.getOption(context, Tracer.ParentSpan) }
  return span?.sampled === true || span?._tag === "ExternalSpan" ? span.traceId : undefined
}

/** The context of an outermost call, with the ids that the host did not give. */
const named = (context: Context.Context<never>, given: AuditContext.Fields): Effect.Effect<Resolved> => {
  const { makeCorrelationId } = Context.get(context, AuditContext.AuditDefaults)
  const fields = { ...given, traceId: given.traceId ?? traceOf(context) }
  return fields.correlationId === undefined && makeCorrelationId !== undefined
    ? Effect.map(makeCorrelationId, (correlationId) => resolved({ ...fields, correlationId }))
    : Effect.succeed(resolved(fields))
}

const resolved = (fields: AuditContext.Fields): Resolved => ({ fields, document: AuditContext.encode(fields) })

/** The fields of a context. */
export const contextFields = {
  actor: true,
  actorError: true,
  correlationId: true,
  requestId: true,
  jobId: true,
  traceId: true,
  source: true,
  remoteIp: true,
  meta: true
} as const satisfies Record<keyof AuditContext.Fields, true>

const optionNames = {
  ...contextFields,
  action: true,
  reason: true,
  comment: true,
  captureOnly: true,
  allowMissingActor: true,
  isolation: true,
  requireChanges: true,
  onFailure: true,
  onError: true,
  retry: true
} as const

/** Refuses options that contradict each other, or that were not type-checked and are wrong. */
export const contradiction = (options: {
  readonly action?: unknown
  readonly captureOnly?: boolean | undefined
  readonly allowMissingActor?: boolean | undefined
  readonly requireChanges?: boolean | undefined
  readonly retry?: unknown
  readonly reason?: string | undefined
  readonly comment?: string | undefined
  readonly onFailure?: string | undefined
  readonly onError?: unknown
  readonly isolation?: string | undefined
}): InvalidRequest | undefined => {
  const refusal = notAnObject(options) ?? unknownField(options, optionNames)
  if (refusal !== undefined) {
    return refusal
  }
  const { isolation, onFailure } = options
  for (const field of ["captureOnly", "allowMissingActor", "requireChanges"] as const) {
    if (options[field] !== undefined && typeof options[field] !== "boolean") {
      return new InvalidRequest({ field, rule: "must be true or false" })
    }
  }
  if (options.retry !== undefined && !Schedule.isSchedule(options.retry)) {
    return new InvalidRequest({ field: "retry", rule: "must be a Schedule" })
  }
  if (isolation !== undefined && (typeof isolation !== "string" || !Object.hasOwn(isolationLevels, isolation))) {
    return new InvalidRequest({ field: "isolation", rule: "must be read committed, repeatable read or serializable" })
  }
  if (onFailure !== undefined && onFailure !== "discard" && onFailure !== "record") {
    return new InvalidRequest({ field: "onFailure", rule: "must be discard or record" })
  }
  if (options.onError !== undefined && onFailure !== undefined) {
    return new InvalidRequest({ field: "onError", rule: "must not be given together with onFailure" })
  }
  if (typeof options.action === "function" && onFailure === "record") {
    return new InvalidRequest({ field: "onFailure", rule: "needs an action that is known before the transaction" })
  }
  if (options.action !== undefined) {
    return options.captureOnly === true
      ? new InvalidRequest({ field: "captureOnly", rule: "must not be given together with an action" })
      : undefined
  }
  const orphan =
    options.reason !== undefined
      ? "reason"
      : options.comment !== undefined
        ? "comment"
        : onFailure === "record"
          ? "onFailure"
          : undefined
  return orphan === undefined
    ? undefined
    : new InvalidRequest({ field: orphan, rule: "needs an action that it belongs to" })
}
