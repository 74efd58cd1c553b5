/**
 * Provides services to an effect, and to the stream that it returns, which runs later.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"

// Effects have the type id of a stream too, and so do Option, Either, Exit and HTTP responses. None of these reads by
// itself.
const isStream = (u: unknown): u is Stream.Stream<unknown, unknown, unknown> =>
  Predicate.hasProperty(u, Stream.StreamTypeId) && !Effect.isEffect(u)

/** A stream reads when it runs, after the effect that returned it has ended. So it gets the services itself. */
const carried = <A, I>(value: A, services: Context.Context<I>): A =>
  isStream(value) ? (Stream.provideSomeContext(value, services) as A) : value

/** The effect, with these services in place of those of its context. */
export const within = <A, E, R, I>(
  self: Effect.Effect<A, E, R>,
  services: Context.Context<I>
): Effect.Effect<A, E, Exclude<R, I>> => Effect.map(Effect.provide(self, services), (value) => carried(value, services))
