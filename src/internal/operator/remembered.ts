/** What changes rarely and is slow to ask for, such as what the catalog says of every table. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"

/** An answer, and when it was given. */
export interface Remembered<A> {
  readonly value: A
  readonly at: number
}

const keptFor = 30_000

/** An answer of this age is shown only if there is no newer one in time. */
const old = 120_000

/**
 * Asks at most every 30 seconds, beside the pages. A page waits only while there is no answer, or an old one, and for all pages together no
 * longer than `patience`; it then has to do with what there is.
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
      if ((rememberedValue === undefined || now - rememberedValue.at >= old) && asking !== undefined) {
        const left = Duration.toMillis(patience) - (now - asking.since)
        yield* Effect.ignore(Effect.timeout(Fiber.await(asking.fiber), Duration.millis(Math.max(0, left))))
      }
      return rememberedValue
    })
}

/** What is known when a page has to be shown. */
export interface Ongoing<A> {
  /** The newest answer; undefined if there is none yet. */
  readonly newest: Remembered<A> | undefined
  /** Whether it was asked for by this page, or is one from before while the new one is under way. */
  readonly isNew: boolean
}

/**
 * Asks anew for each page, once for all pages that come meanwhile, and goes on beyond a page that cannot wait: the next one finds the answer.
 * It ends after `longest`.
 */
export const goingOn = <A, E>(
  ask: Effect.Effect<A, E>,
  patience: Duration.DurationInput,
  longest: Duration.DurationInput
) => {
  let newest: Remembered<A> | undefined
  let asking: Fiber.RuntimeFiber<Option.Option<Remembered<A>>, E> | undefined
  return (now: number): Effect.Effect<Ongoing<A>, E> =>
    Effect.gen(function* () {
      asking ??= yield* ask.pipe(
        Effect.map((value) => (newest = { value, at: now })),
        Effect.timeoutOption(longest),
        Effect.ensuring(
          Effect.sync(() => {
            asking = undefined
          })
        ),
        Effect.interruptible,
        Effect.forkDaemon
      )
      const answered = Option.flatten(yield* Effect.timeoutOption(Fiber.join(asking), patience))
      return Option.isSome(answered) ? { newest: answered.value, isNew: true } : { newest, isNew: false }
    })
}
