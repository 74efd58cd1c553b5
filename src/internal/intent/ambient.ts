/**
 * The context of code that is not Effect: it follows promises and callbacks through AsyncLocalStorage.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { AsyncLocalStorage } from "node:async_hooks"
import * as Actor from "../../Actor.js"
import * as AuditContext from "../../AuditContext.js"
import { InvalidRequest } from "../../ThreadlineError.js"
import { notAnObject, unknownField } from "../core/request.js"
import { contextFields } from "./resolve.js"

/**
 * Finds the actor when an audited call needs it. `undefined` and `null` say that there is none.
 *
 * @since 0.1.0
 * @category models
 */
export type LazyActor = () => Found | PromiseLike<Found>

type Found = Actor.Given | null | undefined

/**
 * Finds facts that are known only later, such as the route of a request. It is called for each audited call. If it throws,
 * there are none.
 *
 * @since 0.1.0
 * @category models
 */
export type LazyMeta = () => AuditContext.Meta | undefined

/**
 * The context of everything that the running code writes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Ambient extends Omit<AuditContext.Given, "actor" | "meta"> {
  /** Who acts, or how to find out. A function is asked at most once for each `withContext`. */
  readonly actor?: Actor.Given | LazyActor | undefined
  /** Free facts, or a function that returns them for each audited call. */
  readonly meta?: AuditContext.Meta | LazyMeta | undefined
}

/** The context of the running code, with the facts of this instant. */
interface Current extends Omit<Ambient, "meta"> {
  readonly meta?: AuditContext.Meta | undefined
}

const storage = new AsyncLocalStorage<Ambient>()

const stored = (): Ambient => storage.getStore() ?? {}

const metaNow = (meta: Ambient["meta"]): AuditContext.Meta | undefined => {
  if (typeof meta !== "function") {
    return meta
  }
  try {
    return meta()
  } catch {
    return undefined
  }
}

export const currentContext = (): Current => {
  const { meta, ...context } = stored()
  return { ...context, meta: metaNow(meta) }
}

const remembered = (ask: LazyActor): LazyActor => {
  let asked: Promise<Found> | undefined
  return () => (asked ??= Promise.resolve().then(ask))
}

/** Like `AuditContext.merge`, for any kind of actor. */
const mergeAny = <Who>(
  below: Omit<AuditContext.Given, "actor"> & { readonly actor?: Who | undefined },
  above: Omit<AuditContext.Given, "actor"> & { readonly actor?: Who | undefined }
): Omit<AuditContext.Given, "actor"> & { readonly actor?: Who | undefined } => {
  const { actor: actorBelow, ...fieldsBelow } = below
  const { actor: actorAbove, ...fieldsAbove } = above
  const { actor: _, actorError, ...fields } = AuditContext.merge(fieldsBelow, fieldsAbove)
  return actorAbove === undefined
    ? { ...fields, ...(above.actorError === undefined ? { actor: actorBelow } : {}), actorError }
    : { ...fields, actor: actorAbove }
}

export const merge = (below: AuditContext.Given, above: AuditContext.Given): AuditContext.Given =>
  mergeAny(below, above)

export const withContext = <A>(fields: Ambient, body: () => A): A => {
  const refusal = notAnObject(fields, "context") ?? unknownField(fields, contextFields)
  if (refusal !== undefined) {
    throw refusal
  }
  if (typeof body !== "function") {
    throw new InvalidRequest({ field: "body", rule: "must be a function" })
  }
  const actor = typeof fields.actor === "function" ? remembered(fields.actor) : fields.actor
  const { meta: metaBelow, ...below } = stored()
  const { meta: metaAbove, ...above } = fields
  const both = (): AuditContext.Meta | undefined =>
    AuditContext.merge({ meta: metaNow(metaBelow) }, { meta: metaNow(metaAbove) }).meta
  const isLazy = typeof metaBelow === "function" || typeof metaAbove === "function"
  const merged = mergeAny<Actor.Given | LazyActor>(below, { ...above, actor })
  return storage.run({ ...merged, meta: isLazy ? both : both() }, body)
}

/** How long an audited call waits for a lazy actor, in milliseconds. */
const actorPatience = 5_000

/** The actor of a context, or why it is not known, after a lazy actor was called. */
export type Answered = Pick<AuditContext.Given, "actor" | "actorError">

/**
 * Calls a lazy actor. Never fails, and never waits longer than `patience` milliseconds, because the host's write must not
 * depend on the answer.
 */
export const askActor = async (ask: LazyActor, patience: number = actorPatience): Promise<Answered> => {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<Answered>((resolve) => {
    timer = setTimeout(() => resolve({ actorError: `the actor function took longer than ${patience} ms` }), patience)
  })
  try {
    return await Promise.race([late, Promise.resolve().then(ask).then(toAnswer)])
  } catch {
    return { actorError: "the actor function failed" }
  } finally {
    clearTimeout(timer)
  }
}

// The audited call is not to blame for a wrong answer. The answer is recorded as wrong.
const toAnswer = (found: Found): Answered => {
  const actor = found ?? undefined
  const refusal = actor === undefined ? undefined : Actor.invalid(actor)
  return refusal === undefined ? { actor } : { actorError: `the actor function gave no actor: ${refusal.message}` }
}

const orThrow = <A>(result: Either.Either<A, InvalidRequest>): A => {
  if (Either.isLeft(result)) {
    throw result.left
  }
  return result.right
}

/** The context of the code that runs, as an envelope. An actor that cannot be found is noted in it, as in a transaction. */
export const toEnvelope = async (options: { readonly key?: string | undefined } = {}): Promise<string> => {
  const { actor, ...rest } = currentContext()
  const given = { ...rest, ...(typeof actor === "function" ? await askActor(actor) : { actor }) }
  const refusal = AuditContext.invalid(given)
  if (refusal !== undefined) {
    throw refusal
  }
  const fields = { ...given, actor: given.actor === undefined ? undefined : Actor.fromGiven(given.actor) }
  const sealed = AuditContext.toEnvelope(options).pipe(AuditContext.withContext(fields), Effect.either)
  return orThrow(await Effect.runPromise(sealed))
}

export const fromEnvelope = (envelope: unknown, options: AuditContext.EnvelopeOptions = {}): AuditContext.Fields =>
  orThrow(Effect.runSync(Effect.either(AuditContext.fromEnvelope(envelope, options))))
