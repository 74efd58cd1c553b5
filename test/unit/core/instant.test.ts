import { describe, expect, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Schema from "effect/Schema"
import * as instants from "../../../src/internal/core/instant.js"

describe("An instant", () => {
  const decodeInstant = Schema.decodeUnknownEither(instants.Instant)

  it("is one text in UTC with microseconds, whatever it was read from", () => {
    for (const [input, text] of [
      ["2026-11-22T10:00:00Z", "2026-11-22T10:00:00.000000Z"],
      ["2026-11-22T10:00:00.123456Z", "2026-11-22T10:00:00.123456Z"],
      ["2026-11-22T10:00:00.5Z", "2026-11-22T10:00:00.500000Z"],
      ["2026-11-22T10:00:00.123456000Z", "2026-11-22T10:00:00.123456Z"],
      ["2026-11-22t10:00z", "2026-11-22T10:00:00.000000Z"],
      ["2026-11-22 10:00:00.000001+00", "2026-11-22T10:00:00.000001Z"],
      ["2026-11-22T10:00:00+05:30", "2026-11-22T04:30:00.000000Z"],
      ["2026-01-01T00:30:00+0100", "2025-12-31T23:30:00.000000Z"],
      ["2026-11-22T10:00:00-08", "2026-11-22T18:00:00.000000Z"],
      ["2026-11-22", "2026-11-22T00:00:00.000000Z"],
      ["2024-02-29", "2024-02-29T00:00:00.000000Z"],
      ["0001-01-01", "0001-01-01T00:00:00.000000Z"],
      ["1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"],
      ["9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"],
      [new Date("2026-11-22T10:00:00.123Z"), "2026-11-22T10:00:00.123000Z"],
      [DateTime.unsafeMake("2026-11-22T10:00:00.123Z"), "2026-11-22T10:00:00.123000Z"],
      [DateTime.unsafeMakeZoned("2026-11-22T10:00:00Z", { timeZone: "Europe/Berlin" }), "2026-11-22T10:00:00.000000Z"]
    ] as const) {
      expect([input, decodeInstant(input)]).toEqual([input, Either.right(text)])
    }
  })

  it("is read from nothing else", () => {
    for (const input of [
      "",
      "now",
      "yesterday",
      "infinity",
      "1700000000",
      "2026-02-30",
      "2023-02-29",
      "2026-13-01",
      "2026-00-10",
      "2026-11-22T24:00:00Z",
      "2026-11-22T10:60:00Z",
      "2026-11-22T10:00:60Z",
      "2026-11-22T10:00:00",
      "2026-11-22T10Z",
      "2026-11-22T10:00:00.1234567Z",
      "2026-11-22T10:00:00+16:00",
      "2026-11-22T10:00:00+01:60",
      "0000-01-01",
      "0001-01-01T00:00:00+01:00",
      "9999-12-31T23:59:59-01:00",
      "10000-01-01",
      " 2026-11-22",
      "2026-11-22Z",
      new Date(Number.NaN),
      new Date(8.64e15),
      1700000000,
      null,
      {}
    ]) {
      expect([input, Either.isLeft(decodeInstant(input))]).toEqual([input, true])
    }
  })

  it("sorts as a text as it does in time", () => {
    const micros = FastCheck.bigInt({ min: -62_135_596_800_000_000n, max: 253_402_300_799_999_999n })
    FastCheck.assert(
      FastCheck.property(micros, micros, (a, b) => {
        expect(instants.parseMicros(instants.formatMicros(a))).toBe(a)
        expect(instants.formatMicros(a) < instants.formatMicros(b)).toBe(a < b)
      })
    )
  })
})
