/** What changes rarely and is slow to ask for, such as what the catalog says of every table. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"

/** An answer, and when it was given. */
export interface Remembered<A> {
  readonly value: A
  readonly at: number
}

const keptFor = 30_000

/**
 * Asks at most every 30 seconds, beside the pages. A page waits only while there is no answer at all, and for all pages together no longer than
 * `patience`; it then has to do without.
 */
export const remembering = <A, E>(ask: Effect.Effect<A, E>, patience: Duration.DurationInput) => {
  let rememberedValue: Remembered<A> | undefined
  let asking: { readonly since: number; readonly fiber: Fiber.RuntimeFiber<void> } | undefined
  let askedAt = -Infinity
  return (now: number): Effect.Effect<Remembered<A> | undefined> =>
    Effect.gen(function* () {
      if (asking === undefined && now - askedAt >= keptFor) {
        askedAt = now
        const fiber = yield* ask.pipe(
          Effect.map((value) => {
            rememberedValue = { value, at: now }
          }),
          Effect.ignore,
          Effect.ensuring(
            Effect.sync(() => {
              asking = undefined
            })
          ),
          Effect.interruptible,
          Effect.forkDaemon
        )
        asking = { since: now, fiber }
      }
      if (rememberedValue === undefined && asking !== undefined) {
        const left = Duration.toMillis(patience) - (now - asking.since)
        yield* Effect.ignore(Effect.timeout(Fiber.await(asking.fiber), Duration.millis(Math.max(0, left))))
      }
      return rememberedValue
    })
}
