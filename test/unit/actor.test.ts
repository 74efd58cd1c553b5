import { expect, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Either from "effect/Either"
import * as fc from "effect/FastCheck"
import * as Schema from "effect/Schema"
import * as Actor from "../../src/Actor.js"
import * as AuditContext from "../../src/AuditContext.js"
import { runs } from "../support/runs.js"

const decode = Schema.decodeUnknownEither(Actor.Actor)

it("the constructors of Actor make plain documents, without parts that were not given", () => {
  expect(Actor.user("42")).toStrictEqual({ type: "user", id: "42" })
  expect(Actor.admin("7", { label: "Rosa" })).toStrictEqual({ type: "admin", id: "7", label: "Rosa" })
  expect(Actor.serviceAccount("ci")).toStrictEqual({ type: "service_account", id: "ci" })
  expect(Actor.job("nightly")).toStrictEqual({ type: "job", id: "nightly" })
  expect(Actor.system()).toStrictEqual({ type: "system", id: "system" })
  expect(Actor.system("cron", { label: "clock" })).toStrictEqual({ type: "system", id: "cron", label: "clock" })
  expect(Actor.anonymous).toStrictEqual({ type: "anonymous" })
  expect(Actor.user("42", { impersonator: Actor.admin("7"), label: undefined })).toStrictEqual({
    type: "user",
    id: "42",
    impersonator: { type: "admin", id: "7" }
  })
})

it("the constructors of Actor throw nothing; what cannot be recorded is named where it is used, without its value", () => {
  const secret = "s".repeat(257)
  expect(Actor.invalid(Actor.user("42"))).toBeUndefined()
  expect(Actor.invalid(Actor.user(secret))).toMatchObject({ field: "actor.id", rule: "must not exceed 256 bytes" })
  expect(Actor.invalid(Actor.user("42", { impersonator: Actor.user("1", { label: "" }) }))).toMatchObject({
    field: "actor.impersonator.label",
    rule: "must not be empty"
  })
})

it("the schema of Actor takes documents and nothing else", () => {
  for (const document of [
    {},
    { type: "root", id: "1" },
    { type: "user" },
    { type: "user", id: "" },
    { type: "user", id: 1 },
    { type: "user", id: "é".repeat(129) },
    { type: "user", id: "a\0" },
    { type: "user", id: "1", email: "x@example.org" },
    { type: "anonymous", id: "1" },
    { type: "user", id: "1", impersonator: { type: "admin" } }
  ]) {
    expect(Either.isLeft(decode(document)), JSON.stringify(document)).toBe(true)
  }
  expect(Either.isRight(decode({ type: "user", id: "é".repeat(128) }))).toBe(true)
})

it("the schema of Actor agrees with the check of what can be recorded", () => {
  const text = fc.oneof(
    fc.string({ maxLength: 4 }),
    fc.constantFrom("", "x".repeat(256), "é".repeat(129), "\ud83d", "\0")
  )
  const document = fc.letrec<{ actor: Actor.Actor }>((tie) => ({
    actor: fc.oneof(
      { maxDepth: 3 },
      fc.record({ type: fc.constant("anonymous" as const), label: text }, { requiredKeys: ["type"] }),
      fc.record(
        {
          type: fc.constantFrom<Actor.IdentifiedType>("user", "admin", "service_account", "job", "system"),
          id: text,
          label: text,
          impersonator: tie("actor")
        },
        { requiredKeys: ["type", "id"] }
      )
    )
  })).actor
  fc.assert(
    fc.property(document, (actor) => {
      expect(Actor.invalid(actor) === undefined).toBe(Either.isRight(decode(actor)))
    }),
    { numRuns: runs(500) }
  )
  fc.assert(
    fc.property(Arbitrary.make(Actor.Actor), (actor) => {
      expect(decode(JSON.parse(JSON.stringify(actor)))).toEqual(Either.right(actor))
    })
  )
})

it("an id of an actor may be an integer, and is kept as its digits", () => {
  expect(Actor.user(42)).toEqual({ type: "user", id: "42" })
  expect(Actor.admin(9007199254740993n, { label: "Rosa" })).toEqual({
    type: "admin",
    id: "9007199254740993",
    label: "Rosa"
  })
  const context = {
    actor: { type: "user", id: 42, impersonator: { type: "admin", id: -7n } },
    correlationId: "c"
  } as const
  expect(AuditContext.invalid(context)).toBeUndefined()
  expect(JSON.parse(AuditContext.encode(context))).toEqual({
    actor: { type: "user", id: "42", impersonator: { type: "admin", id: "-7" } },
    correlationId: "c"
  })
})

it("a number that is no exact integer is no id, wherever it is written", () => {
  for (const id of [1.5, Number.NaN, Infinity, 2 ** 53, -(2 ** 53)]) {
    const refusal = { field: "actor.id", rule: "must be a string, or an integer of less than 2^53" }
    expect(Actor.invalid(Actor.user(id))).toMatchObject(refusal)
    expect(AuditContext.invalid({ actor: { type: "user", id } })).toMatchObject(refusal)
    // A caller who did not ask gets a document in which the database refuses the same part.
    expect(JSON.parse(AuditContext.encode({ actor: { type: "user", id } }))).not.toMatchObject({
      actor: { id: expect.any(String) }
    })
  }
  expect(Actor.invalid(Actor.user(10n ** 300n))).toMatchObject({ field: "actor.id", rule: "must not exceed 256 bytes" })
})
