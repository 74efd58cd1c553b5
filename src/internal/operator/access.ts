/**
 * The viewer of the pages, and what they may do. Everything that the host does not grant is denied.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Actor from "../../Actor.js"
import * as ExportJobs from "../../ExportJobs.js"
import type * as Query from "../../Query.js"

/**
 * What a viewer may do beyond reading: `export` changes, see `coverage`, `policy` and `evidence`, and start
 * `retention`. Every viewer who is let in has `read`; naming it changes nothing.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Capability = Schema.Literal("read", "export", "coverage", "policy", "evidence", "retention")

/**
 * @since 0.1.0
 * @category models
 */
export type Capability = typeof Capability.Type

/**
 * The answer of `authorize` for a viewer who is let in.
 *
 * @since 0.1.0
 * @category models
 */
export interface Access {
  /** The viewer. Their saved views, exports and other acts are recorded under this actor. */
  readonly viewer: Actor.Actor
  /** What they may see. `"everything"` must be given explicitly, so that a forgotten scope shows nothing. */
  readonly scope: Query.ReadScope | "everything"
  /** The name of the scope on the pages, such as the name of a tenant. */
  readonly scopeName?: string | undefined
  /** The scope as a name with parameters, for `ExportJobs`. A viewer whose scope has no such name sees no jobs. */
  readonly namedScope?: ExportJobs.NamedScope | undefined
  /** What they may do beyond reading. Nothing by default. */
  readonly capabilities?: ReadonlyArray<Capability> | undefined
}

/**
 * The viewer is not let in. The page has status 401 for `Unauthenticated`, 403 for `Forbidden`. `signIn` is an address
 * of your application that the page links to: a path, or an `https` URL.
 *
 * @since 0.1.0
 * @category errors
 */
export class Denied extends Schema.TaggedError<Denied>("threadline.operator.Denied")("Denied", {
  reason: Schema.Literal("Unauthenticated", "Forbidden"),
  signIn: Schema.optional(Schema.String)
}) {}

/** A viewer who was let in. */
export interface Viewer {
  readonly actor: Actor.Actor | undefined
  readonly scope: Query.ReadScope | undefined
  readonly scopeName: string | undefined
  readonly namedScope: ExportJobs.NamedScope | undefined
  readonly may: (capability: Capability) => boolean
}

const AnswerSchema = Schema.Struct({
  viewer: Actor.Actor,
  scope: Schema.Unknown.pipe(Schema.filter((scope) => scope === "everything" || Predicate.isFunction(scope))),
  scopeName: Schema.optional(Schema.NullishOr(Schema.String)),
  namedScope: Schema.optional(Schema.NullishOr(Schema.typeSchema(ExportJobs.NamedScope))),
  capabilities: Schema.optional(Schema.NullishOr(Schema.Array(Capability)))
})

const forbidden = new Denied({ reason: "Forbidden" })

const isScope = (scope: unknown): scope is Query.ReadScope => Predicate.isFunction(scope)

/** Decodes an answer of `authorize`. An answer without the form of `Access`, which JavaScript can give, denies. */
const viewerOf = (access: unknown): Either.Either<Viewer, Denied> =>
  Either.match(Schema.decodeUnknownEither(AnswerSchema)(access), {
    onLeft: () => Either.left(forbidden),
    onRight: ({ capabilities, namedScope, scope, scopeName, viewer }) => {
      const granted = new Set<Capability>([...(capabilities ?? []), "read"])
      return Either.right({
        actor: viewer,
        scope: isScope(scope) ? scope : undefined,
        scopeName: scopeName ?? namedScope?.name ?? undefined,
        namedScope: namedScope ?? undefined,
        may: (capability: Capability) => granted.has(capability)
      })
    }
  })

/** The viewer of a surface that is explicitly open to anyone. */
export const anyone: Viewer = {
  actor: undefined,
  scope: undefined,
  scopeName: undefined,
  namedScope: undefined,
  may: (capability) => capability === "read"
}

/** What `authorize` may return. */
export type Answer<R = never> =
  | Effect.Effect<Access, Denied, R>
  | PromiseLike<Access | Denied | null | undefined>
  | Access
  | Denied
  | null
  | undefined

const isPromise = (u: unknown): u is PromiseLike<unknown> =>
  Predicate.hasProperty(u, "then") && Predicate.isFunction(u.then)

const isDenied = (u: unknown): u is Denied => Predicate.isTagged(u, "Denied")

const settled = (answer: unknown): Effect.Effect<Viewer, Denied> =>
  isDenied(answer) ? Effect.fail(new Denied(answer)) : viewerOf(answer)

/**
 * Calls the host's `authorize`. If it throws, rejects, dies or answers anything but `Access`, the viewer is denied. If
 * it failed with anything but `Denied`, `onBroken` gets the cause, for the log.
 */
export const ask = <Incoming, R>(
  authorize: (incoming: Incoming) => Answer<R>,
  incoming: Incoming,
  onBroken: (cause: unknown) => Effect.Effect<void>
): Effect.Effect<Viewer, Denied, R> => {
  const broken = (cause: unknown) => Effect.zipRight(onBroken(cause), Effect.fail(forbidden))
  return Effect.suspend((): Effect.Effect<Viewer, Denied, R> => {
    const answer = authorize(incoming)
    return Effect.isEffect(answer)
      ? Effect.flatMap(answer, settled)
      : isPromise(answer)
        ? Effect.tryPromise({ try: () => answer, catch: (cause) => cause }).pipe(
            Effect.catchAll((cause) => (isDenied(cause) ? Effect.fail(new Denied(cause)) : broken(cause))),
            Effect.flatMap(settled)
          )
        : settled(answer)
  }).pipe(
    Effect.catchAllDefect((defect) => (isDenied(defect) ? Effect.fail(new Denied(defect)) : broken(defect))),
    Effect.catchAll((error) => (isDenied(error) ? Effect.fail(error) : broken(error)))
  )
}
