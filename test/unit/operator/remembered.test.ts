import { describe, expect, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/TestClock"
import { goingOn, remembering } from "../../../src/internal/operator/remembered.js"

/** Every other fiber has done what it can do. */
const settled = Effect.repeatN(Effect.yieldNow(), 100)

describe("what is remembered", () => {
  it.effect("is shown while it is young, and waited for when it is old", () =>
    Effect.gen(function* () {
      let answers = 0
      const ask = remembering(
        Effect.delay(
          Effect.sync(() => ++answers),
          "400 millis"
        ),
        "800 millis"
      )
      const asked = (now: number) =>
        Effect.gen(function* () {
          const page = yield* Effect.fork(ask(now))
          yield* settled
          const waited = (yield* Fiber.poll(page))._tag === "None"
          yield* TestClock.adjust("1 seconds")
          return [(yield* Fiber.join(page))?.value, waited]
        })
      expect(yield* asked(0)).toStrictEqual([1, true])
      expect(yield* asked(29_000)).toStrictEqual([1, false])
      expect(yield* asked(31_000)).toStrictEqual([1, false])
      expect(yield* asked(40_000)).toStrictEqual([2, false])
      expect(yield* asked(400_000)).toStrictEqual([3, true])
    })
  )
})

describe("what goes on beyond a page", () => {
  it.effect("is asked once for all pages that wait, and is there for the next one", () =>
    Effect.gen(function* () {
      const gates: Array<Deferred.Deferred<string, string>> = []
      const ask = goingOn(
        Effect.gen(function* () {
          const gate = yield* Deferred.make<string, string>()
          gates.push(gate)
          return yield* Deferred.await(gate)
        }),
        "8 seconds",
        "2 minutes"
      )
      // Two pages wait for one question, in vain. It goes on.
      const pages = yield* Effect.fork(Effect.all([ask(1), ask(2)], { concurrency: 2 }))
      yield* TestClock.adjust("8 seconds")
      expect(yield* Fiber.join(pages)).toStrictEqual([
        { newest: undefined, isNew: false },
        { newest: undefined, isNew: false }
      ])
      expect(gates).toHaveLength(1)
      // A page that comes meanwhile gets its answer, and the next one asks anew.
      const third = yield* Effect.fork(ask(3))
      yield* settled
      yield* Deferred.succeed(gates[0] ?? (yield* Deferred.make<string, string>()), "one")
      expect(yield* Fiber.join(third)).toStrictEqual({ newest: { value: "one", at: 1 }, isNew: true })
      const fourth = yield* Effect.fork(ask(4))
      yield* TestClock.adjust("8 seconds")
      expect(yield* Fiber.join(fourth)).toStrictEqual({ newest: { value: "one", at: 1 }, isNew: false })
      expect(gates).toHaveLength(2)
      // One that takes too long ends, and one that fails says so.
      yield* TestClock.adjust("2 minutes")
      yield* settled
      const fifth = yield* Effect.fork(Effect.flip(ask(5)))
      yield* settled
      expect(gates).toHaveLength(3)
      yield* Deferred.fail(gates[2] ?? (yield* Deferred.make<string, string>()), "denied")
      expect(yield* Fiber.join(fifth)).toBe("denied")
    })
  )
})
