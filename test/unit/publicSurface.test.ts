import * as HttpApiError from "@effect/platform/HttpApiError"
import { expect, it } from "@effect/vitest"
import * as BigDecimal from "effect/BigDecimal"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Feed from "../../src/Feed.js"
import * as Grants from "../../src/Grants.js"
import * as Json from "../../src/Json.js"
import * as StorageSchema from "../../src/StorageSchema.js"
import * as TableName from "../../src/TableName.js"
import * as ThreadlineError from "../../src/ThreadlineError.js"

it("Json reads exact numbers and writes the same text", () => {
  const text = '{"id":9007199254740993,"price":1.10,"count":3,"nothing":null}'
  const value = Option.getOrThrow(Json.parse(text))
  expect(value).toMatchObject({ id: 9007199254740993n, count: 3, nothing: null })
  expect(Json.isObject(value) && BigDecimal.isBigDecimal(value["price"])).toBe(true)
  expect(Json.stringify(value)).toBe(text)
})

it("Json tells the text null from a text that is no JSON", () => {
  expect(Json.parse("null")).toStrictEqual(Option.some(null))
  expect(Json.parse("nul")).toStrictEqual(Option.none())
  expect(() => Json.unsafeParse("nul")).toThrow(SyntaxError)
})

it("two texts name the same table if SQL reads them as one", () => {
  expect(TableName.same("Posts", '"public"."posts"')).toBe(true)
  expect(TableName.same('"Posts"', "posts")).toBe(false)
  expect(TableName.same("a.b.c", "a.b.c")).toBe(false)
})

it("a role that PostgreSQL reads as everybody is refused before a grant is written", () => {
  for (const everybody of ["public", "none"]) {
    expect(Effect.runSync(Effect.flip(Grants.render({ readers: [everybody] })))).toMatchObject({ field: "reader" })
  }
  expect(Effect.runSync(Effect.flip(Grants.render({})))).toMatchObject({ field: "grants" })
})

it("grants are about the schema that StorageSchema names", () => {
  const sql = Grants.render({ writers: ["app"] }).pipe(Effect.provide(StorageSchema.layer("audit")), Effect.runSync)
  expect(sql).toContain('grant usage on schema "audit" to "app"')
  expect(sql).not.toContain("threadline")
})

it("options of a feed are checked without a database", () => {
  expect(Either.isRight(Feed.validate({ tables: ["posts"], limit: 10 }))).toBe(true)
  expect(Either.getLeft(Feed.validate({ tables: [] }))).toMatchObject({ value: { field: "tables" } })
  expect(Either.getLeft(Feed.validate({ checkpoint: "none" }))).toMatchObject({ value: { field: "checkpoint" } })
})

it("a handler of Threadline's NotFound leaves that of an HttpApi alone", () => {
  const caught = (failure: ThreadlineError.NotFound | HttpApiError.NotFound) =>
    Effect.fail(failure).pipe(
      Effect.catchTag("threadline/NotFound", ({ id }) => Effect.succeed(id)),
      Effect.either,
      Effect.runSync
    )
  const notFound = new ThreadlineError.NotFound({ subject: "transaction", id: "7" })
  expect(caught(notFound)).toStrictEqual(Either.right("7"))
  expect(Either.isLeft(caught(new HttpApiError.NotFound()))).toBe(true)
  expect(ThreadlineError.NotFound.is(notFound)).toBe(true)
  expect(ThreadlineError.InvalidRequest.is(notFound)).toBe(false)
})
