/** Waits of tests: each has an end, and says then what did not come. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"

/** Polls until a condition holds, by the real clock. After four minutes it dies and says what it waited for. */
export const until = <E, R>(what: string, condition: Effect.Effect<boolean, E, R>): Effect.Effect<void, E, R> =>
  Effect.repeat(condition, { until: (answer) => answer, schedule: Schedule.spaced("10 millis") }).pipe(
    Effect.timeoutFailCause({
      duration: "4 minutes",
      onTimeout: () => Cause.die(new Error(`four minutes are over, and still not: ${what}`))
    }),
    Effect.withClock(Clock.make()),
    Effect.asVoid
  )
