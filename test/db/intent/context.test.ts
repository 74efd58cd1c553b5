import { expect, it, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Actor from "../../../src/Actor.js"
import * as Audit from "../../../src/Audit.js"
import * as AuditContext from "../../../src/AuditContext.js"
import { TestDatabase } from "../../harness/TestDatabase.js"
import * as Host from "../../support/auditedHost.js"

const alice = Actor.user("alice")
const everything: AuditContext.Fields = {
  actor: Actor.user("42", { label: "billing", impersonator: Actor.admin("7") }),
  correlationId: "c",
  requestId: "r",
  jobId: "j",
  traceId: "t",
  source: "api",
  remoteIp: "10.0.0.1",
  meta: { tenant: 1 }
}

it.effect("AuditContext is empty unless set, never part of R, and inherited by fibers", () =>
  Effect.gen(function* () {
    expect(yield* AuditContext.AuditContext).toEqual({})
    const seen = Effect.flatMap(Effect.fork(AuditContext.current), Fiber.join)
    expect(
      yield* seen.pipe(
        AuditContext.withActor(alice),
        AuditContext.withCorrelationId("c"),
        AuditContext.withRequestId("r"),
        AuditContext.withJobId("j"),
        AuditContext.withTraceId("t"),
        AuditContext.withSource("s"),
        AuditContext.withRemoteIp("10.0.0.1"),
        AuditContext.withMeta({ a: 1 })
      )
    ).toEqual({
      actor: alice,
      correlationId: "c",
      requestId: "r",
      jobId: "j",
      traceId: "t",
      source: "s",
      remoteIp: "10.0.0.1",
      meta: { a: 1 }
    })
    expect(yield* AuditContext.current).toEqual({})
  })
)

it.effect("AuditContext lets the inner combinator win, and merges meta", () =>
  Effect.gen(function* () {
    const fields = yield* AuditContext.withMeta(AuditContext.withActor(AuditContext.current, alice), { b: 2 }).pipe(
      AuditContext.withContext({ actor: Actor.user("outer"), requestId: "r", meta: { a: 1, b: 1 } })
    )
    expect(fields).toEqual({ actor: alice, requestId: "r", meta: { a: 1, b: 2 } })
  })
)

it.effect("AuditContext keeps what the fiber says, wherever the layer of defaults is provided", () =>
  Effect.gen(function* () {
    const defaults = Effect.provide(AuditContext.layer({ source: "default", meta: { a: 1 } }))
    const expected = { actor: alice, source: "default", meta: { a: 1 } }
    expect(yield* AuditContext.current.pipe(AuditContext.withActor(alice), defaults)).toEqual(expected)
    expect(yield* AuditContext.current.pipe(defaults, AuditContext.withActor(alice))).toEqual(expected)
  })
)

it("AuditContext.encode writes the document of set_context", () => {
  expect(JSON.parse(AuditContext.encode(everything))).toEqual(everything)
  expect(AuditContext.encode({})).toBe("{}")
  expect(AuditContext.invalid(everything)).toBeUndefined()
})

it("AuditContext.toSql makes a statement for clients that are not Effect, its schema quoted", () => {
  expect(AuditContext.toSql({ actor: alice })).toEqual({
    text: `select "threadline".set_context($1::text::jsonb)`,
    values: [`{"actor":{"type":"user","id":"alice"}}`]
  })
  expect(AuditContext.toSql({}, { schema: `Odd."Schema` }).text).toBe(
    `select "Odd.""Schema".set_context($1::text::jsonb)`
  )
})

layer(Host.layer, { excludeTestServices: true })("AuditContext.toSql", (it) => {
  it.effect("gives a transaction of another client its actor", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const client = yield* (yield* TestDatabase).rawClient("app")
      const { values, text } = AuditContext.toSql(everything)
      yield* Effect.promise(async () => {
        await client.query("begin")
        await client.query(text, values)
        await client.query("insert into posts (id, title) values (1, 'by pg')")
        await client.query("commit")
        await client.query("insert into posts (id, title) values (2, 'by nobody')")
      })
      const [first, second] = yield* Host.transactions
      expect(first).toMatchObject({
        actor: everything.actor,
        correlation_id: "c",
        request_id: "r",
        job_id: "j",
        trace_id: "t",
        source: "api",
        remote_ip: "10.0.0.1",
        meta: { tenant: 1 },
        context_error: null
      })
      expect(second).toMatchObject({ actor: null, correlation_id: null, context_error: null })
    }).pipe(Effect.scoped)
  )

  it.effect("never breaks a write: what cannot be recorded is named", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const client = yield* (yield* TestDatabase).rawClient("app")
      const { values, text } = AuditContext.toSql({
        actor: Actor.user("nul\0"),
        correlationId: "\ud800",
        requestId: "kept",
        remoteIp: "nowhere",
        meta: { "bad\0key": 1, kept: true, big: 1n, missing: undefined }
      })
      yield* Effect.promise(async () => {
        await client.query("begin")
        await client.query(text, values)
        await client.query("insert into posts (id, title) values (1, 'x')")
        await client.query("commit")
      })
      const [transaction] = yield* Host.transactions
      expect(transaction).toMatchObject({
        actor: null,
        correlation_id: null,
        request_id: "kept",
        meta: { kept: true, big: "[not JSON]" }
      })
      for (const field of ["actor", "correlationId", "remoteIp"]) {
        expect(transaction?.["context_error"]).toContain(field)
      }
    }).pipe(Effect.scoped)
  )

  it.effect("is joined by correlation ids made where there is none, once per outermost call", () =>
    Effect.gen(function* () {
      yield* Host.reset
      let made = 0
      yield* Effect.zipRight(
        Audit.transaction(Effect.zipRight(Host.insertPost(1), Audit.transaction(Host.insertPost(2), { action: "in" }))),
        Audit.transaction(Host.insertPost(3), { correlationId: "given" })
      ).pipe(
        Effect.zipRight(Audit.record("read")),
        AuditContext.withActor(alice),
        Effect.provide(AuditContext.layer({ makeCorrelationId: Effect.sync(() => `made ${++made}`) }))
      )
      expect((yield* Host.transactions).map((row) => row["correlation_id"])).toEqual(["made 1", "made 1", "given"])
      expect((yield* Host.actions).map((row) => row["correlation_id"])).toEqual(["made 1", "made 2"])
    })
  )
})
