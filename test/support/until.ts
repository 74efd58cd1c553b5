/** Waits of tests: each has an end, and says then what did not come. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

/** Asks until an answer holds, by the real clock, and gives that answer. After four minutes it dies and says what it waited for. */
export const eventually = <A, E, R>(
  what: string,
  ask: Effect.Effect<A, E, R>,
  holds: (answer: A) => boolean
): Effect.Effect<A, E, R> =>
  Effect.gen(function* () {
    for (;;) {
      const answer = yield* ask
      if (holds(answer)) {
        return answer
      }
      yield* Effect.sleep("10 millis")
    }
  }).pipe(
    Effect.timeoutFailCause({
      duration: "4 minutes",
      onTimeout: () => Cause.die(new Error(`four minutes are over, and still not: ${what}`))
    }),
    Effect.withClock(Clock.make())
  )

/** Waits until a condition holds, as `eventually` does. */
export const until = <E, R>(what: string, condition: Effect.Effect<boolean, E, R>): Effect.Effect<void, E, R> =>
  Effect.asVoid(eventually(what, condition, (holds) => holds))
