/**
 * The ambient who and why of a fiber. Nested effects and forked fibers inherit it, it never shows up in `R`, and it reaches
 * the database with each audited transaction.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import type * as Duration from "effect/Duration"
import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { isIP } from "node:net"
import * as Actor from "./Actor.js"
import { type SqlStatement, storageSchemaName } from "./internal/sql/statement.js"
import { identifier } from "./internal/sql/sqlText.js"
import { millis, notAnObject, unknownField } from "./internal/core/request.js"
import * as envelopes from "./internal/core/envelope.js"
import { record } from "./internal/core/jsonRecord.js"
import { idText, isStorable, jsonText, shortTextRule } from "./internal/core/text.js"
import { InvalidRequest } from "./ThreadlineError.js"
import { deepestImpersonator } from "./internal/core/limits.js"

/**
 * A statement with its parameters.
 *
 * @since 0.1.0
 * @category models
 */
export type { SqlStatement } from "./internal/sql/statement.js"

/**
 * Free facts about a transaction, a JSON object.
 *
 * @since 0.1.0
 * @category models
 */
export type Meta = { readonly [key: string]: unknown }

/**
 * Everything a context may say; each part is optional. Ids are 1 to 256 bytes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Fields {
  /** Who acts. */
  readonly actor?: Actor.Actor | undefined
  /** Why it is not known who acts: the transaction is then unattributed, and its `context_error` says this. */
  readonly actorError?: string | undefined
  /** Joins everything that one request, message or job set in motion. */
  readonly correlationId?: string | undefined
  /** The request that the write belongs to. */
  readonly requestId?: string | undefined
  /** The job that the write belongs to. */
  readonly jobId?: string | undefined
  /** The trace of telemetry that the write belongs to. */
  readonly traceId?: string | undefined
  /** The program or the part of it that writes, such as `api` or `importer`. */
  readonly source?: string | undefined
  /** An IPv4 or IPv6 address. */
  readonly remoteIp?: string | undefined
  /** Free facts. Those of an inner context are merged into those of the outer one, key by key. */
  readonly meta?: Meta | undefined
}

/**
 * Fields as callers may write them: the ids of actors may be integers.
 *
 * @since 0.1.0
 * @category models
 */
export interface Given extends Omit<Fields, "actor"> {
  /** Who acts. */
  readonly actor?: Actor.Given | undefined
}

/**
 * The context of the running fiber, without the defaults of `layer`; `current` has both.
 *
 * @since 0.1.0
 * @category references
 */
export class AuditContext extends Context.Reference<AuditContext>()("threadline/AuditContext", {
  defaultValue: (): Fields => ({})
}) {}

/**
 * What a host says once for everything it writes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Defaults {
  /** The program that writes; a context that names one wins. */
  readonly source?: string | undefined
  /** Facts of every write; those of a context are merged into them, key by key. */
  readonly meta?: Meta | undefined
  /** Makes the correlation id of an audited transaction that has none. Without it such a transaction stays without one. */
  readonly makeCorrelationId?: Effect.Effect<string> | undefined
  /**
   * Finds who acts, at each audited call that has no actor, with the services that are in its context: take those with
   * `Effect.serviceOption`. If it fails, gives no valid actor, or takes longer than five seconds, the write goes on: it is
   * unattributed, and `context_error` says why. If it gives none, there is no actor, and the call fails with `MissingActor`.
   */
  readonly actor?: LazyActor | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export type LazyActor = Effect.Effect<Actor.Given | Option.Option<Actor.Given> | null | undefined, unknown>

/**
 * The defaults of the running fiber.
 *
 * @since 0.1.0
 * @category references
 */
export class AuditDefaults extends Context.Reference<AuditDefaults>()("threadline/AuditContext/Defaults", {
  defaultValue: (): Defaults => ({})
}) {}

/**
 * Finds facts that are known only when an audited call is made, such as the route of its request, in the context of that call. What the
 * fiber or the call says of `meta` wins over them. Middleware for another server than those of `threadline/http` provides it.
 *
 * @since 0.1.0
 * @category references
 */
export class LazyMeta extends Context.Reference<LazyMeta>()("threadline/AuditContext/LazyMeta", {
  defaultValue: (): ((context: Context.Context<never>) => Meta | undefined) => () => undefined
}) {}

/**
 * Sets what a host says once. Anything the fiber or the call says wins over it; `meta` is merged key by key. Throws `InvalidRequest` for a
 * field that is not known.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { AuditContext } from "threadline"
 * import { Effect } from "effect"
 *
 * export const AuditDefaults = AuditContext.layer({
 *   source: "api",
 *   meta: { release: "2026.1" },
 *   makeCorrelationId: Effect.sync(() => crypto.randomUUID())
 * })
 * ```
 */
export const layer = (defaults: Defaults): Layer.Layer<never> => {
  const refusal = notAnObject(defaults, "defaults") ?? unknownField(defaults, defaultNames)
  if (refusal !== undefined) {
    throw refusal
  }
  return Layer.succeed(AuditDefaults, defaults)
}

/** A misspelt one would be missing in everything that is written. */
const defaultNames = { source: true, meta: true, makeCorrelationId: true, actor: true } as const satisfies {
  readonly [Field in keyof Required<Defaults>]: true
}

const pick = ({ actorError, correlationId, jobId, meta, remoteIp, requestId, source, traceId }: Given): Fields => ({
  actorError,
  correlationId,
  requestId,
  jobId,
  traceId,
  source,
  remoteIp,
  meta
})

/**
 * Two contexts in one: what `above` says wins over what `below` says, and `meta` is merged key by key.
 *
 * @since 0.1.0
 * @category combining
 */
export const merge = (below: Fields, above: Fields): Fields => ({
  ...(above.actor === undefined && above.actorError === undefined
    ? { actor: below.actor, actorError: below.actorError }
    : { actor: above.actor, actorError: above.actorError }),
  correlationId: above.correlationId ?? below.correlationId,
  requestId: above.requestId ?? below.requestId,
  jobId: above.jobId ?? below.jobId,
  traceId: above.traceId ?? below.traceId,
  source: above.source ?? below.source,
  remoteIp: above.remoteIp ?? below.remoteIp,
  meta: isObject(below.meta) && isObject(above.meta) ? { ...below.meta, ...above.meta } : (above.meta ?? below.meta)
})

const isObject = (value: unknown): value is object =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/**
 * What a context says, over the defaults in it.
 *
 * @since 0.1.0
 * @category references
 */
export const fromContext = (context: Context.Context<never>): Fields => {
  const { meta, source } = Context.get(context, AuditDefaults)
  const lazyMeta = Context.get(context, LazyMeta)(context)
  return merge(merge({ source, meta }, { meta: lazyMeta }), Context.get(context, AuditContext))
}

/**
 * The context that an audited transaction would be given now: what the fiber says, over the defaults. It has a correlation
 * id only if one was set.
 *
 * @since 0.1.0
 * @category references
 */
export const current: Effect.Effect<Fields> = Effect.map(Effect.context<never>(), fromContext)

/**
 * Sets several parts at once; what is undefined stays as it is, and `meta` is merged key by key.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withContext: {
  /** For `pipe`. Sets several parts at once; what is undefined stays as it is, and `meta` is merged key by key. */
  (fields: Fields): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Sets several parts at once; what is undefined stays as it is, and `meta` is merged key by key. */
  <A, E, R>(effect: Effect.Effect<A, E, R>, fields: Fields): Effect.Effect<A, E, R>
} = dual(2, <A, E, R>(effect: Effect.Effect<A, E, R>, fields: Fields): Effect.Effect<A, E, R> =>
  Effect.mapInputContext(effect, (context: Context.Context<R>) =>
    Context.add(context, AuditContext, merge(Context.get(context, AuditContext), isObject(fields) ? fields : {}))
  )
)

type With<Value> = {
  (value: Value): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(effect: Effect.Effect<A, E, R>, value: Value): Effect.Effect<A, E, R>
}

const setter = <Value>(fields: (value: Value) => Fields): With<Value> =>
  dual(2, <A, E, R>(effect: Effect.Effect<A, E, R>, value: Value): Effect.Effect<A, E, R> =>
    withContext(effect, fields(value))
  )

/**
 * Says who acts.
 *
 * @since 0.1.0
 * @category combinators
 * @example
 * ```ts
 * import { Actor, Audit, AuditContext } from "threadline"
 * import { Effect } from "effect"
 *
 * export const program = Audit.transaction(Effect.succeed("written"), { action: "post.created" }).pipe(
 *   AuditContext.withActor(Actor.user("42")),
 *   AuditContext.withCorrelationId("req-9f2")
 * )
 * ```
 */
export const withActor: {
  /** For `pipe`. Says who acts. */
  (actor: Actor.Actor): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Says who acts. */
  <A, E, R>(effect: Effect.Effect<A, E, R>, actor: Actor.Actor): Effect.Effect<A, E, R>
} = setter((actor) => ({ actor }))

/**
 * Joins what is written to everything that has the same id.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withCorrelationId: {
  /** For `pipe`. Joins what is written to everything that has the same id. */
  (correlationId: string): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Joins what is written to everything that has the same id. */
  <A, E, R>(effect: Effect.Effect<A, E, R>, correlationId: string): Effect.Effect<A, E, R>
} = setter((correlationId) => ({ correlationId }))

/**
 * Says which request the write belongs to.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withRequestId: {
  /** For `pipe`. Says which request the write belongs to. */
  (requestId: string): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Says which request the write belongs to. */
  <A, E, R>(effect: Effect.Effect<A, E, R>, requestId: string): Effect.Effect<A, E, R>
} = setter((requestId) => ({ requestId }))

/**
 * Says which job the write belongs to.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withJobId: {
  /** For `pipe`. Says which job the write belongs to. */
  (jobId: string): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Says which job the write belongs to. */
  <A, E, R>(effect: Effect.Effect<A, E, R>, jobId: string): Effect.Effect<A, E, R>
} = setter((jobId) => ({ jobId }))

/**
 * Says which trace of telemetry the write belongs to.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withTraceId: {
  /** For `pipe`. Says which trace of telemetry the write belongs to. */
  (traceId: string): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Says which trace of telemetry the write belongs to. */
  <A, E, R>(effect: Effect.Effect<A, E, R>, traceId: string): Effect.Effect<A, E, R>
} = setter((traceId) => ({ traceId }))

/**
 * Says which program, or part of it, writes.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withSource: {
  /** For `pipe`. Says which program, or part of it, writes. */
  (source: string): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Says which program, or part of it, writes. */
  <A, E, R>(effect: Effect.Effect<A, E, R>, source: string): Effect.Effect<A, E, R>
} = setter((source) => ({ source }))

/**
 * Says from which address the request came.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withRemoteIp: {
  /** For `pipe`. Says from which address the request came. */
  (remoteIp: string): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Says from which address the request came. */
  <A, E, R>(effect: Effect.Effect<A, E, R>, remoteIp: string): Effect.Effect<A, E, R>
} = setter((remoteIp) => ({ remoteIp }))

/**
 * Adds to `meta`; a key that is there already is replaced.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withMeta: {
  /** For `pipe`. Adds to `meta`; a key that is there already is replaced. */
  (meta: Meta): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Adds to `meta`; a key that is there already is replaced. */
  <A, E, R>(effect: Effect.Effect<A, E, R>, meta: Meta): Effect.Effect<A, E, R>
} = setter((meta) => ({ meta }))

/**
 * The first rule that the fields break, or undefined.
 *
 * @since 0.1.0
 * @category validation
 */
export const invalid = (fields: Given): InvalidRequest | undefined => {
  const notObject = notAnObject(fields, "context")
  if (notObject !== undefined) {
    return notObject
  }
  if (fields.actor !== undefined) {
    const wrongActor = Actor.invalid(fields.actor)
    if (wrongActor !== undefined) {
      return wrongActor
    }
  }
  for (const field of ["actorError", "correlationId", "requestId", "jobId", "traceId", "source"] as const) {
    const rule = fields[field] === undefined ? undefined : shortTextRule(fields[field])
    if (rule !== undefined) {
      return new InvalidRequest({ field, rule })
    }
  }
  // A zone ("fe80::1%eth0") is local to a machine; inet has no place for it.
  if (
    fields.remoteIp !== undefined &&
    (typeof fields.remoteIp !== "string" || isIP(fields.remoteIp) === 0 || fields.remoteIp.includes("%"))
  ) {
    return new InvalidRequest({ field: "remoteIp", rule: "must be an IPv4 or IPv6 address without a zone" })
  }
  if (fields.meta !== undefined) {
    if (!isObject(fields.meta)) {
      return new InvalidRequest({ field: "meta", rule: "must be an object" })
    }
    const json = jsonText(fields.meta)
    if (Either.isLeft(json)) {
      return new InvalidRequest({ field: "meta", rule: json.left })
    }
  }
  return undefined
}

/** The chain stops where validation would have refused it, so that a cycle ends. */
const actorDocument = (actor: Actor.Given, depth = 0): unknown => ({
  type: actor.type,
  ...("id" in actor ? { id: idText(actor.id) } : {}),
  label: actor.label,
  impersonator:
    actor.impersonator === undefined || depth > deepestImpersonator
      ? undefined
      : actorDocument(actor.impersonator, depth + 1)
})

// What jsonb cannot hold is replaced by what `set_context` names in "context_error": never by a guess, and never so that
// the host's write fails.
const textOrMark = (value: string | undefined): string | undefined =>
  value === undefined || (typeof value === "string" && isStorable(value)) ? value : ""

const metaDocument = (meta: Meta | undefined): unknown => {
  if (meta === undefined || !isObject(meta) || Either.isRight(jsonText(meta))) {
    return meta
  }
  const usable = Object.entries(meta).flatMap(([key, value]) => {
    if (value === undefined || !isStorable(key)) {
      return []
    }
    return [[key, Either.isRight(jsonText(value)) ? value : "[not JSON]"]]
  })
  return Object.fromEntries(usable)
}

/**
 * The JSON document that `threadline.set_context` takes. Never fails: a part that jsonb cannot hold is left out in such a
 * way that the transaction's `context_error` names it.
 *
 * @since 0.1.0
 * @category conversions
 */
export const encode = (given: Given): string => {
  // It may not have been type-checked.
  const fields = isObject(given) ? given : {}
  const actor = fields.actor === undefined ? undefined : actorDocument(fields.actor)
  const plain = jsonText({ actor, ...pick(fields) })
  if (Either.isRight(plain)) {
    return plain.right
  }
  const marked = jsonText({
    actor: actor === undefined || Either.isRight(jsonText(actor)) ? actor : false,
    actorError: textOrMark(fields.actorError),
    correlationId: textOrMark(fields.correlationId),
    requestId: textOrMark(fields.requestId),
    jobId: textOrMark(fields.jobId),
    traceId: textOrMark(fields.traceId),
    source: textOrMark(fields.source),
    remoteIp: textOrMark(fields.remoteIp),
    meta: metaDocument(fields.meta)
  })
  return Either.getOrElse(marked, () => "{}")
}

/**
 * The statement that gives a context to a transaction of a client that is not Effect. Run it inside the transaction, before the
 * writes. `schema` is where Threadline is installed, `threadline` if not given. What is no object throws `InvalidRequest`. The
 * entry points for clients, such as `threadline/pg`, do all of this for you.
 *
 * @since 0.1.0
 * @category conversions
 * @example
 * ```ts
 * import { AuditContext } from "threadline"
 * import type { Client } from "pg"
 *
 * export const actAs = (client: Client, userId: number) =>
 *   client.query(AuditContext.toSql({ actor: { type: "user", id: userId } }))
 * ```
 */
export const toSql = (
  fields: Given,
  options: {
    /** Where Threadline is installed, `threadline` unless given. */
    readonly schema?: string | undefined
  } = {}
): SqlStatement => {
  const refusal = notAnObject(fields, "context") ?? notAnObject(options)
  if (refusal !== undefined) {
    throw refusal
  }
  const call = `${identifier(storageSchemaName(options.schema))}.set_context`
  return { text: `select ${call}($1::text::jsonb)`, values: [encode(fields)] }
}

/**
 * Which envelopes a job accepts, and what the job itself adds to the context that one carries.
 *
 * @since 0.1.0
 * @category models
 */
export interface EnvelopeOptions {
  /** Who runs the job. Then the actor who caused it is kept in `meta.onBehalfOf`. Without it the job acts as the actor who caused it. */
  readonly actor?: Actor.Given | undefined
  /** The id of the job, for its context. */
  readonly jobId?: string | undefined
  /** The program that runs the job. */
  readonly source?: string | undefined
  /** How old an envelope may be. Without it, no age is too old. */
  readonly maxAge?: Duration.DurationInput | undefined
  /** The key that `toEnvelope` had. With it an envelope without its signature is refused. */
  readonly key?: string | undefined
}

const keyRule = (key: unknown): InvalidRequest | undefined =>
  key === undefined || (typeof key === "string" && key !== "")
    ? undefined
    : new InvalidRequest({ field: "key", rule: "must be a string that is not empty" })

/**
 * The context of the running fiber as a string that travels with a job: version, context, and the instant. Give it a `key` if
 * others can write into the queue. Without a key, anyone who can change an envelope can choose the actor.
 *
 * @since 0.1.0
 * @category jobs
 */
export const toEnvelope = (
  options: {
    /** Signs the envelope. `fromEnvelope` must have the same one. */
    readonly key?: string | undefined
  } = {}
): Effect.Effect<string, InvalidRequest> =>
  Effect.gen(function* () {
    const optionsRefusal = notAnObject(options) ?? unknownField(options, { key: true }) ?? keyRule(options.key)
    if (optionsRefusal !== undefined) {
      return yield* optionsRefusal
    }
    const { source: _, ...fields } = yield* current
    const refusal = invalid(fields)
    if (refusal !== undefined) {
      return yield* refusal
    }
    const sealed = envelopes.seal(encode(fields), yield* Clock.currentTimeMillis, options.key)
    return yield* Either.mapLeft(sealed, (rule) => new InvalidRequest({ field: "envelope", rule }))
  })

/**
 * The context of a job, from the envelope that came with it: correlation, causing request and trace go on, `jobId` and `source` are the
 * job's. What is expired, changed, of another version, or no envelope at all, fails with `InvalidRequest` and gives no actor. A job that
 * must be done all the same goes on with its own actor.
 *
 * @since 0.1.0
 * @category jobs
 * @example
 * ```ts
 * import { Actor, Audit, AuditContext } from "threadline"
 * import { Effect } from "effect"
 *
 * const actor = Actor.job("send-invoice")
 *
 * export const handle = (job: { readonly id: string; readonly envelope: string }, send: Effect.Effect<void>) =>
 *   AuditContext.fromEnvelope(job.envelope, { actor, jobId: job.id, maxAge: "1 day" }).pipe(
 *     Effect.catchTag("threadline/InvalidRequest", () => Effect.succeed({ actor, jobId: job.id })),
 *     Effect.flatMap((context) =>
 *       Audit.transaction(send, { action: "invoice.sent" }).pipe(AuditContext.withContext(context))
 *     )
 *   )
 * ```
 */
export const fromEnvelope = (envelope: unknown, options: EnvelopeOptions = {}): Effect.Effect<Fields, InvalidRequest> =>
  Effect.gen(function* () {
    const notObject = notAnObject(options)
    if (notObject !== undefined) {
      return yield* notObject
    }
    const { actor, jobId, key, maxAge, source } = options
    const optionsRefusal =
      unknownField(options, { actor: true, jobId: true, source: true, maxAge: true, key: true }) ??
      keyRule(key) ??
      invalid({ actor, jobId, source })
    if (optionsRefusal !== undefined) {
      return yield* optionsRefusal
    }
    const age = maxAge === undefined ? undefined : yield* millis("maxAge", maxAge)
    const opened = envelopes.open(envelope, yield* Clock.currentTimeMillis, { key, maxAge: age })
    const refused = (rule: string) => new InvalidRequest({ field: "envelope", rule })
    const document = yield* Either.mapLeft(opened, refused)
    const cause = yield* Effect.mapError(Schema.decodeUnknown(Carried)(document), () =>
      refused("holds what is no context")
    )
    const refusal = invalid(cause)
    if (refusal !== undefined) {
      return yield* refused(`holds what is no context: ${refusal.message}`)
    }
    const meta =
      actor === undefined || cause.actor === undefined ? cause.meta : { ...cause.meta, onBehalfOf: cause.actor }
    return {
      ...cause,
      ...(actor === undefined ? {} : { actor: Actor.fromGiven(actor), actorError: undefined }),
      ...(meta === undefined ? {} : { meta }),
      jobId: jobId ?? cause.jobId,
      source
    }
  })

/** What an envelope may hold; `invalid` knows the bounds. */
const Carried = Schema.Struct({
  actor: Schema.optional(Actor.Actor),
  actorError: Schema.optional(Schema.String),
  correlationId: Schema.optional(Schema.String),
  requestId: Schema.optional(Schema.String),
  jobId: Schema.optional(Schema.String),
  traceId: Schema.optional(Schema.String),
  remoteIp: Schema.optional(Schema.String),
  meta: Schema.optional(record(Schema.Unknown))
}).annotations({ parseOptions: { onExcessProperty: "error" } })
