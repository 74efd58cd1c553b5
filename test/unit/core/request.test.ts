/** What callers may give as a duration, and as a hook. */
import { describe, expect, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { inspect } from "node:util"
import { millisOf, told } from "../../../src/internal/core/request.js"

const nothing = [0, "0 seconds", Duration.zero, 0n]
const wrong = [
  -1,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  "-1 seconds",
  " -1 seconds",
  -1n,
  "soon",
  "forever",
  null,
  {},
  "25 days"
]

describe("a duration", () => {
  it("is taken in each form", () => {
    expect([3000, "3 seconds", Duration.seconds(3), "100 micros"].map((input) => millisOf("wait", input))).toEqual(
      [3000, 3000, 3000, 1].map(Either.right)
    )
  })

  it("that is negative, no number, endless or none is refused by name, for Effect takes some of these for nothing", () => {
    for (const input of [...wrong, ...nothing]) {
      expect(millisOf("wait", input), inspect(input)).toMatchObject({
        left: { field: "wait", rule: expect.stringContaining("must be a duration") }
      })
    }
  })

  it("of nothing is a pause, and nothing less is", () => {
    expect(nothing.map((input) => millisOf("pause", input, "nothing"))).toEqual([0, 0, 0, 0].map(Either.right))
    for (const input of wrong) {
      expect(Either.isLeft(millisOf("pause", input, "nothing")), inspect(input)).toBe(true)
    }
  })
})

describe("a hook", () => {
  it("is told by its effect, or by being called if it answers with anything else", () => {
    const heard: Array<unknown> = []
    const hear = (news: unknown) => heard.push(news)
    const hooks: ReadonlyArray<(news: number) => unknown> = [
      (news) => Effect.sync(() => hear(news)),
      hear,
      (news) => {
        hear(news)
      },
      (news) => Promise.resolve(hear(news))
    ]
    hooks.forEach((hook, place) => {
      Effect.runSync(told(hook as (news: number) => Effect.Effect<void>, place))
    })
    Effect.runSync(told(undefined, 4))
    expect(heard).toEqual([0, 1, 2, 3])
  })
})
