import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/TestClock"
import * as Actor from "../../../src/Actor.js"
import * as AuditContext from "../../../src/AuditContext.js"

const alice = Actor.user("42", { label: "Alice", impersonator: Actor.admin("7") })

const cause: AuditContext.Fields = {
  actor: alice,
  correlationId: "c",
  requestId: "r",
  traceId: "t",
  source: "api",
  remoteIp: "10.0.0.1",
  meta: { tenant: 1 }
}

const job = Actor.job("send-invoice")

const sealed = (options?: { readonly key?: string }) =>
  AuditContext.toEnvelope(options).pipe(AuditContext.withContext(cause))

it.effect("an envelope carries who caused a job and as part of what, and the job says who runs it", () =>
  Effect.gen(function* () {
    const envelope = yield* sealed()
    expect(yield* AuditContext.fromEnvelope(envelope, { actor: job, jobId: "j-1", source: "worker" })).toEqual({
      actor: job,
      correlationId: "c",
      requestId: "r",
      traceId: "t",
      remoteIp: "10.0.0.1",
      jobId: "j-1",
      source: "worker",
      meta: { tenant: 1, onBehalfOf: alice }
    })
    // Without an actor of its own the job acts as whoever caused it. The source is never that of the cause.
    expect(yield* AuditContext.fromEnvelope(envelope)).toMatchObject({
      actor: alice,
      meta: { tenant: 1 },
      source: undefined
    })
    const empty = yield* AuditContext.toEnvelope()
    expect(yield* AuditContext.fromEnvelope(empty, { actor: { type: "job", id: 7 } })).toMatchObject({
      actor: { type: "job", id: "7" }
    })
    const failed = yield* AuditContext.toEnvelope().pipe(AuditContext.withContext({ actorError: "expired" }))
    expect(yield* AuditContext.fromEnvelope(failed)).toMatchObject({ actorError: "expired" })
    expect(yield* AuditContext.fromEnvelope(failed, { actor: job })).toMatchObject({
      actor: job,
      actorError: undefined
    })
  })
)

it.effect("an envelope that was changed, is signed with another key, or not at all, gives no context", () =>
  Effect.gen(function* () {
    const envelope = yield* sealed({ key: "secret" })
    expect(yield* AuditContext.fromEnvelope(envelope, { key: "secret" })).toMatchObject({ actor: alice })
    const forged = [
      envelope.replace("42", "43"),
      envelope.replace(/"sealed":"[^"]+"/, `"sealed":"2999-01-01T00:00:00.000Z"`),
      envelope.replace(/"signature":"./, `"signature":"~`),
      envelope.replace(/,"signature":"[^"]+"/, ""),
      envelope.replace(/"signature":"[^"]+"/, `"signature":null`),
      yield* sealed({ key: "another" }),
      yield* sealed()
    ]
    for (const forgedEnvelope of forged) {
      expect(forgedEnvelope).not.toBe(envelope)
      expect(yield* Effect.flip(AuditContext.fromEnvelope(forgedEnvelope, { key: "secret" }))).toMatchObject({
        _tag: "threadline/InvalidRequest",
        field: "envelope",
        rule: "is not signed with the key, or was changed"
      })
    }
  })
)

it.effect("an envelope is too old after its age, and none comes from the future", () =>
  Effect.gen(function* () {
    const envelope = yield* sealed()
    const open = AuditContext.fromEnvelope(envelope, { maxAge: "1 hour" })
    yield* TestClock.adjust("1 hour")
    expect(yield* open).toMatchObject({ actor: alice })
    yield* TestClock.adjust("1 second")
    expect(yield* Effect.flip(open)).toMatchObject({ field: "envelope", rule: "is too old" })
    for (const sealedAt of ["2999-01-01T00:00:00.000Z", "yesterday", ""]) {
      const moved = envelope.replace(/"sealed":"[^"]+"/, `"sealed":"${sealedAt}"`)
      expect(yield* Effect.flip(AuditContext.fromEnvelope(moved, { maxAge: "1 hour" }))).toMatchObject({
        rule: "is too old"
      })
    }
  })
)

it.effect("what is no envelope is an error that says nothing of what is in it", () =>
  Effect.gen(function* () {
    const envelope = yield* sealed()
    const context = (document: unknown) =>
      JSON.stringify({ v: 1, sealed: "1970-01-01T00:00:00.000Z", context: JSON.stringify(document) })
    const wrong: ReadonlyArray<unknown> = [
      undefined,
      null,
      7,
      {},
      "",
      "null",
      "[]",
      "secret",
      envelope.slice(0, -1),
      envelope.replace(`"v":1`, `"v":2`),
      JSON.stringify({ v: 1 }),
      JSON.stringify({ v: 1, sealed: 1, context: "{}" }),
      JSON.stringify({ v: 1, sealed: "1970-01-01T00:00:00.000Z", context: "secret" }),
      context([]),
      context({ actor: { type: "secret", id: "1" } }),
      context({ actor: { type: "user", id: "1", secret: 1 } }),
      context({ actor: { type: "user", id: 1 } }),
      context({ correlationId: "secret".repeat(100) }),
      context({ remoteIp: "secret" }),
      context({ surprise: "secret" }),
      context({ meta: { deep: "x".repeat(20_000) } })
    ]
    for (const wrongEnvelope of wrong) {
      const error = yield* Effect.flip(AuditContext.fromEnvelope(wrongEnvelope))
      expect(error).toMatchObject({ _tag: "threadline/InvalidRequest", field: "envelope" })
      expect(error.message).not.toContain("secret")
    }
  })
)

it.effect("an envelope is refused when it is made, if its context is wrong or too large", () =>
  Effect.gen(function* () {
    const refusal = (fields: AuditContext.Fields) =>
      Effect.flip(AuditContext.toEnvelope().pipe(AuditContext.withContext(fields)))
    expect(yield* refusal({ meta: { text: "x".repeat(17_000) } })).toMatchObject({ field: "envelope" })
    expect(yield* refusal({ correlationId: "" })).toMatchObject({ field: "correlationId" })
    for (const options of [null, { key: "" }, { keys: "x" }] as ReadonlyArray<unknown> as ReadonlyArray<never>) {
      expect(yield* Effect.flip(AuditContext.toEnvelope(options))).toMatchObject({ _tag: "threadline/InvalidRequest" })
    }
    for (const options of [
      null,
      { key: 7 },
      { maxAge: "soon" },
      { actor: { type: "nobody" } },
      { jobId: "" },
      { job: "x" }
    ] as ReadonlyArray<unknown> as ReadonlyArray<never>) {
      expect(yield* Effect.flip(AuditContext.fromEnvelope("{}", options))).toMatchObject({
        _tag: "threadline/InvalidRequest"
      })
    }
  })
)
