/** Waits of tests: each has an end, and says then what did not come. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"

/** Asks again and again, by the clock of the wall, until the answer is yes; dies with what it waited for after four minutes: it hangs then. */
export const until = <E, R>(what: string, asked: Effect.Effect<boolean, E, R>): Effect.Effect<void, E, R> =>
  Effect.repeat(asked, { until: (answer) => answer, schedule: Schedule.spaced("10 millis") }).pipe(
    Effect.timeoutFailCause({
      duration: "4 minutes",
      onTimeout: () => Cause.die(new Error(`four minutes are over, and still not: ${what}`))
    }),
    Effect.withClock(Clock.make()),
    Effect.asVoid
  )
