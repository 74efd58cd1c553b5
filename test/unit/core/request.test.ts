/** What callers may give as a duration. */
import { describe, expect, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import { inspect } from "node:util"
import { millisOf } from "../../../src/internal/core/request.js"

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
