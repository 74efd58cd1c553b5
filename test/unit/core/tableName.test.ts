import { describe, expect, it } from "@effect/vitest"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as tableName from "../../../src/internal/core/tableName.js"

describe("table names", () => {
  it("are read as in SQL", () => {
    for (const [text, schema, name] of [
      ["posts", "public", "posts"],
      ["public.posts", "public", "posts"],
      ["Public.POSTS", "public", "posts"],
      ["app.übung", "app", "übung"],
      ["app.ÜBUNG", "app", "Übung"],
      ["_a$1.b_2", "_a$1", "b_2"],
      ['"Odd.Schema"."T"', "Odd.Schema", "T"],
      ['"say ""hi"""', "public", 'say "hi"'],
      ['"a b".c', "a b", "c"],
      ['x."Y"', "x", "Y"],
      ["order", "public", "order"],
      ['"😀".😀', "😀", "😀"]
    ] as const) {
      expect([text, tableName.parse(text)]).toEqual([text, Either.right({ schema, name })])
    }
  })

  it("are refused with the field they came from", () => {
    for (const text of [
      "",
      " posts",
      "posts ",
      "a b",
      "a.",
      ".a",
      "a..b",
      "a . b",
      "1a",
      '"a',
      'a"',
      '""',
      '"a"b',
      "a.b.c",
      "a-b",
      "a;drop table b",
      "a\0",
      '"a\0"',
      "x".repeat(64),
      `"${"é".repeat(32)}"`
    ]) {
      const parsed = tableName.parse(text, "expect")
      expect([text, Either.isLeft(parsed) && parsed.left._tag, Either.isLeft(parsed) && parsed.left.field]).toEqual([
        text,
        "threadline/InvalidRequest",
        "expect"
      ])
    }
  })

  const part = FastCheck.oneof(
    FastCheck.string({ unit: "grapheme", minLength: 1, maxLength: 10 }),
    FastCheck.constantFrom("select", "order", "user", "A", 'q"q', "a.b", " ", "posts", "x$", "1")
  ).filter((name) => !name.includes("\0") && Buffer.byteLength(name) <= 63)

  it("come back as they were written", () => {
    FastCheck.assert(
      FastCheck.property(part, part, (schema, name) => {
        expect(tableName.parse(tableName.format({ schema, name }))).toEqual(Either.right({ schema, name }))
      })
    )
    expect(tableName.format({ schema: "public", name: "posts" })).toBe("public.posts")
    expect(tableName.format({ schema: "Odd.Schema", name: "T" })).toBe('"Odd.Schema"."T"')
    expect(tableName.format({ schema: "public", name: "user" })).toBe('public."user"')
  })
})
