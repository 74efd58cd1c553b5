import { describe, expect, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as cursors from "../src/internal/cursor.js"
import * as instants from "../src/internal/queryInstant.js"
import * as Page from "../src/Page.js"

const ids: cursors.Query = { kind: "timeline", order: "ids", text: '{"order":"newest"}' }
const time: cursors.Query = { ...ids, kind: "history", order: "time" }

const rule = (query: cursors.Query, cursor: string): string | undefined =>
  Either.match(cursors.decode(query, cursor), {
    onLeft: (error) => (error.field === "cursor" ? error.rule : undefined),
    onRight: () => undefined
  })

const forged = (...parts: ReadonlyArray<string>): string => Buffer.from(parts.join(" ")).toString("base64url")

describe("Cursor", () => {
  it("comes back as the position it was made of", () => {
    FastCheck.assert(
      FastCheck.property(
        FastCheck.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
        FastCheck.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
        (major, id) => {
          const cursor = cursors.encode(ids, { major, id })
          expect(cursor).toMatch(/^[A-Za-z0-9_-]+$/)
          expect(cursors.decode(ids, cursor)).toEqual(Either.right({ major, id }))
        }
      )
    )
    const before1970 = { major: -5n, id: 7n }
    expect(cursors.decode(time, cursors.encode(time, before1970))).toEqual(Either.right(before1970))
  })

  it("belongs to its query", () => {
    const cursor = cursors.encode(ids, { major: 1n, id: 2n })
    for (const other of [time, { ...ids, kind: "incident" }, { ...ids, text: '{"order":"oldest"}' }]) {
      expect(rule(other, cursor)).toBe("belongs to another query")
    }
  })

  it("is refused when it is none, or of another version", () => {
    const cursor = cursors.encode(ids, { major: 1n, id: 2n })
    const [version = "", hash = ""] = Buffer.from(cursor, "base64url").toString().split(" ")
    for (const text of [
      "",
      " ",
      "garbage",
      "%%%",
      `${cursor}=`,
      `${cursor} `,
      cursor.slice(0, -3),
      forged(version, hash),
      forged(version, hash, "1"),
      forged(version, hash, "1", "2", "3"),
      forged(version, hash, "1", "x"),
      forged(version, hash, "-1", "2"),
      forged(version, hash, "01", "2"),
      forged(version, hash, "1.5", "2"),
      forged(version, hash, "9223372036854775808", "2"),
      forged(version, hash, "1", "9223372036854775808"),
      forged("x", hash, "1", "2")
    ]) {
      expect([text, rule(ids, text)]).toEqual([text, "is not a cursor"])
    }
    expect(rule(ids, forged("2", hash, "1", "2"))).toBe("was made by another version of Threadline")
    const [, timeHash = ""] = Buffer.from(cursors.encode(time, { major: 1n, id: 2n }), "base64url")
      .toString()
      .split(" ")
    expect(rule(time, forged(version, timeHash, "999999999999999999", "2"))).toBe("is not a cursor")
  })
})

describe("Page", () => {
  it("is one JSON document", () => {
    const cursor = cursors.encode(ids, { major: 1n, id: 2n })
    const page: Page.Page<number> = { items: [1, 2], nextCursor: Option.some(cursor), hasMore: true, partial: false }
    expect(Page.toJson(page, String)).toBe(`{"items":[1,2],"nextCursor":"${cursor}","hasMore":true}`)
    const last = Page.map({ ...page, nextCursor: Option.none(), hasMore: false }, (item) => item * 2)
    expect(Page.toJson(last, String)).toBe('{"items":[2,4],"nextCursor":null,"hasMore":false}')
  })
})

describe("Instant", () => {
  const decode = Schema.decodeUnknownEither(instants.Instant)

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
      expect([input, decode(input)]).toEqual([input, Either.right(text)])
    }
  })

  it("is nothing else", () => {
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
      expect([input, Either.isLeft(decode(input))]).toEqual([input, true])
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
