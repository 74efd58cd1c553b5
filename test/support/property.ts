import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Runtime from "effect/Runtime"
import { runs } from "./runs.js"

/** Checks a property of so many random values, with the services of the test. */
export const check = <A, E, R>(
  arbitrary: FastCheck.Arbitrary<A>,
  cases: number,
  property: (value: A) => Effect.Effect<void, E, R>
): Effect.Effect<void, never, R> =>
  Effect.flatMap(Effect.runtime<R>(), (runtime) =>
    Effect.promise(() =>
      FastCheck.assert(
        FastCheck.asyncProperty(arbitrary, (value) => Runtime.runPromise(runtime)(property(value))),
        { numRuns: runs(cases) }
      )
    )
  )
