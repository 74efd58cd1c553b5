/** Caches answers that change rarely and are slow to read, such as the catalog's facts about every table. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"

/** An answer, and when its read began. */
export interface Remembered<A> {
  readonly value: A
  readonly at: number
}

/** Reads begin at least so far apart. */
const interval = 30_000

/** An answer of this age is used only if no newer one comes in time. */
const old = 120_000

/**
 * Reads in the background, at most every 30 seconds. A page waits only if there is no answer yet, or an old one. For
 * one read, all pages together wait no longer than `patience`. Then they get the old answer, or undefined.
 */
export const remembering = <A, E>(ask: Effect.Effect<A, E>, patience: Duration.DurationInput) => {
  let rememberedValue: Remembered<A> | undefined
  let asking: { readonly since: number; readonly fiber: Fiber.RuntimeFiber<void> } | undefined
  let askedAt = -Infinity
  return (now: number): Effect.Effect<Remembered<A> | undefined> =>
    Effect.gen(function* () {
      if (asking === undefined && now - askedAt >= interval) {
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

/** The answer that a page can show now. */
export interface Ongoing<A> {
  /** The newest answer; undefined if there is none yet. */
  readonly newest: Remembered<A> | undefined
  /**
   * True if the read that this page waited for gave the answer. False for an earlier one; the new read may still run.
   */
  readonly isNew: boolean
}

/**
 * Begins a read for each page, and shares it with the pages that come while it runs. A read that takes longer than
 * `patience` continues without the page, and a later page finds its answer. It ends after `longest`.
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
