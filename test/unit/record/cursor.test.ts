import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import { createSecretKey, type KeyObject, randomBytes } from "node:crypto"
import * as cursors from "../../../src/internal/record/cursor.js"
import { isStorable } from "../../../src/internal/core/text.js"
import { type InvalidRequest, ThreadlineError } from "../../../src/ThreadlineError.js"

const ids: cursors.Query = { kind: "timeline", order: "ids", text: '{"order":"newest"}' }
const time: cursors.Query = { ...ids, kind: "history", order: "time" }

/** Nothing is asked of the database. */
const unscoped: Parameters<typeof cursors.encode>[0] = {
  restriction: undefined,
  cursorKey: Effect.die("no key is needed")
}

const restriction = { changes: [true], actions: [true], text: "of A" }

const scopedBy = (key: KeyObject): typeof unscoped => ({ restriction, cursorKey: Effect.succeed(key) })

const key = createSecretKey(randomBytes(32))
const scoped = scopedBy(key)

const encode = (query: cursors.Query, position: cursors.Position, storage = unscoped) =>
  Effect.runSync(cursors.encode(storage, query, position))

const decode = (query: cursors.Query, cursor: string, storage = unscoped) =>
  Effect.runSync(Effect.either(cursors.decode(storage, query, cursor)))

const encodeKey = (query: cursors.Bound, of: string, storage = scoped) =>
  Effect.runSync(cursors.encodeKey(storage, query, of))

const decodeKey = (query: cursors.Bound, cursor: string, storage = scoped) =>
  Effect.runSync(Effect.either(cursors.decodeKey(storage, query, cursor)))

const ruleOf = <A>(decoded: Either.Either<A, InvalidRequest | ThreadlineError>): string | undefined =>
  Either.match(decoded, {
    onLeft: (error) =>
      error._tag === "threadline/InvalidRequest" && error.field === "cursor" ? error.rule : undefined,
    onRight: () => undefined
  })

const rule = (query: cursors.Query, cursor: string, storage = unscoped) => ruleOf(decode(query, cursor, storage))

const forged = (...parts: ReadonlyArray<string>): string => Buffer.from(parts.join(" ")).toString("base64url")

const anyId = FastCheck.bigInt({ min: 0n, max: 2n ** 63n - 1n })

describe("A cursor", () => {
  it("comes back as the position it was made of", () => {
    FastCheck.assert(
      FastCheck.property(anyId, anyId, FastCheck.constantFrom(unscoped, scoped), (major, id, storage) => {
        const cursor = encode(ids, { major, id }, storage)
        expect(cursor).toMatch(/^[A-Za-z0-9_-]+$/)
        expect(decode(ids, cursor, storage)).toEqual(Either.right({ major, id }))
      })
    )
    const before1970 = { major: -5n, id: 7n }
    expect(decode(time, encode(time, before1970))).toEqual(Either.right(before1970))
    expect(decode(time, encode(time, before1970, scoped), scoped)).toEqual(Either.right(before1970))
    FastCheck.assert(
      FastCheck.property(
        FastCheck.string({ unit: "grapheme", maxLength: 1500 }).filter(isStorable),
        FastCheck.constantFrom(unscoped, scoped),
        (text, storage) => {
          expect(decodeKey(ids, encodeKey(ids, text, storage), storage)).toEqual(Either.right(text))
        }
      )
    )
  })

  it("belongs to its query", () => {
    for (const storage of [unscoped, scoped]) {
      const cursor = encode(ids, { major: 1n, id: 2n }, storage)
      for (const other of [time, { ...ids, kind: "incident" }, { ...ids, text: '{"order":"oldest"}' }]) {
        expect(rule(other, cursor, storage)).toBe(
          storage === unscoped ? "belongs to another query" : "is not a cursor of this query"
        )
      }
    }
  })

  it("is refused when the text is none, or one of another version", () => {
    const cursor = encode(ids, { major: 1n, id: 2n })
    const [version = "", hash = ""] = Buffer.from(cursor, "base64url").toString().split(" ")
    for (const text of [
      "",
      " ",
      "garbage",
      "%%%",
      `${cursor}=`,
      `${cursor} `,
      cursor.slice(0, -3),
      encode(ids, { major: 1n, id: 2n }, scoped),
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
    const [, timeHash = ""] = Buffer.from(encode(time, { major: 1n, id: 2n }), "base64url")
      .toString()
      .split(" ")
    for (const micros of ["999999999999999999", "-999999999999999999", "253402300800000000", "-62135596800000001"]) {
      expect(rule(time, forged(version, timeHash, micros, "2"))).toBe("is not a cursor")
    }
    for (const text of ["a\0b", "\0"]) {
      expect(ruleOf(decodeKey(ids, forged(version, hash, text), unscoped))).toBe("is not a cursor")
    }
    // Half of a surrogate pair in three bytes.
    const half = Buffer.concat([Buffer.from(`${version} ${hash} a`), Buffer.from("eda080", "hex")])
    expect(ruleOf(decodeKey(ids, half.toString("base64url"), unscoped))).toBe("is not a cursor")
  })
})

describe("A cursor under a scope", () => {
  it("is refused by one rule when it is edited, cut, from elsewhere or made up", () => {
    const cursor = encode(ids, { major: 1n, id: 2n }, scoped)
    const bytes = Buffer.from(cursor, "base64url")
    const wrong = [
      "",
      " ",
      "garbage",
      `${cursor}=`,
      `${cursor}AAAA`,
      encode(ids, { major: 1n, id: 2n }),
      encode(ids, { major: 1n, id: 2n }, scopedBy(createSecretKey(randomBytes(32)))),
      forged("1", "hash", "1", "2"),
      Buffer.alloc(bytes.length, 1).toString("base64url")
    ]
    for (let at = 0; at < bytes.length; at++) {
      wrong.push(bytes.subarray(0, at).toString("base64url"))
      for (const bit of [1, 128]) {
        const edited = Buffer.from(bytes)
        edited[at] = (edited[at] ?? 0) ^ bit
        wrong.push(edited.toString("base64url"))
      }
    }
    for (const text of wrong) {
      expect([text, rule(ids, text, scoped)]).toEqual([text, "is not a cursor of this query"])
      expect(ruleOf(decodeKey(ids, text))).toBe("is not a cursor of this query")
    }
    expect(rule(ids, cursor, scoped)).toBeUndefined()
  })

  it("says nothing of where it is, neither by what it holds nor by its length", () => {
    const numbers = [0n, 7n, 2n ** 63n - 1n].map((id) => encode(ids, { major: id, id }, scoped))
    const [least, most] = [-62_135_596_800_000_000n, 253_402_300_799_999_999n]
    numbers.push(...[least, -1n, most].map((major) => encode(time, { major, id: 1n }, scoped)))
    expect(new Set(numbers.map((cursor) => cursor.length)).size).toBe(1)
    const keys = ["", "a", "a".repeat(62), "a".repeat(63), "a".repeat(512), "\u{1f980}".repeat(128)]
    const ofKeys = keys.map((one) => encodeKey(ids, one))
    expect(new Set(ofKeys.map((cursor) => cursor.length)).size).toBe(1)
    const secret = "hidden@example.com"
    const twice = [encodeKey(ids, secret), encodeKey(ids, secret)]
    expect(new Set(twice.map((cursor) => cursor.slice(0, 12))).size).toBe(2)
    for (const cursor of twice) {
      expect(Buffer.from(cursor, "base64url").toString("latin1")).not.toContain("hidden")
    }
  })

  it("is an error of the database where the key is not to be had", () => {
    const failure = new ThreadlineError({ reason: "InsufficientPrivilege", detail: "no" })
    const withoutKey: typeof unscoped = { restriction, cursorKey: Effect.fail(failure) }
    const cursor = encode(ids, { major: 1n, id: 2n }, scoped)
    expect(decode(ids, cursor, withoutKey)).toEqual(Either.left(failure))
    expect(Effect.runSync(Effect.flip(cursors.encode(withoutKey, ids, { major: 1n, id: 2n })))).toBe(failure)
  })
})
