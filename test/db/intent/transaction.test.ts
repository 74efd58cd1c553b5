import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Tracer from "effect/Tracer"
import * as Actor from "../../../src/Actor.js"
import * as Audit from "../../../src/Audit.js"
import * as AuditContext from "../../../src/AuditContext.js"
import * as Semantics from "../../../src/Semantics.js"
import { InvalidRequest } from "../../../src/ThreadlineError.js"
import { TestDatabase } from "../../harness/TestDatabase.js"
import * as Host from "../../support/auditedHost.js"
import { auditError, PostError, reasonOf } from "../../support/errors.js"

const alice = Actor.user("alice")

layer(Host.layer, { excludeTestServices: true })("Audit.transaction", (it) => {
  it.effect("records who and why of what the body writes", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const audited = yield* Audit.transaction(Effect.as(Host.insertPost(1), "written"), {
        action: "post.created",
        reason: "launch"
      }).pipe(
        AuditContext.withActor(Actor.user("42", { label: "billing desk" })),
        AuditContext.withCorrelationId("req-9f2")
      )
      const [change] = yield* Host.changes
      const [transaction] = yield* Host.transactions
      const [action] = yield* Host.actions
      expect(audited.value).toBe("written")
      expect(audited.transactionId).toEqual(Option.some(transaction?.["id"]))
      expect(audited.actionId).toEqual(Option.some(action?.["id"]))
      expect(change).toMatchObject({ row: "1", op: "insert", actor: "user:42", transaction: transaction?.["id"] })
      expect(transaction).toMatchObject({
        actor: { type: "user", id: "42", label: "billing desk" },
        correlation_id: "req-9f2",
        action_id: action?.["id"],
        context_error: null
      })
      expect(action).toMatchObject({
        name: "post.created",
        status: "ok",
        reason: "launch",
        actor_id: "42",
        correlation_id: "req-9f2",
        transaction_id: transaction?.["id"]
      })
    })
  )

  it.effect("takes every part of the context and of the action", () =>
    Effect.gen(function* () {
      yield* Host.reset
      yield* Host.insertPost(1).pipe(
        Audit.transaction({
          action: {
            name: "post.created",
            verb: "create",
            category: "content",
            reason: "it's \\ 'quoted'",
            comment: 'a "comment"\nof two lines',
            subject: { type: "customer", id: "c-1" },
            data: { list: [1, null, "x"], nested: { deep: true } }
          },
          actor: Actor.user("42", { impersonator: Actor.admin("7", { label: "Rosa" }) }),
          correlationId: "corr",
          requestId: "req",
          jobId: "job",
          traceId: "trace",
          source: "api",
          remoteIp: "2001:db8::1",
          meta: { tenant: 5, tags: ["a"] }
        })
      )
      const [transaction] = yield* Host.transactions
      const [action] = yield* Host.actions
      expect(transaction).toMatchObject({
        actor: { type: "user", id: "42", impersonator: { type: "admin", id: "7", label: "Rosa" } },
        correlation_id: "corr",
        request_id: "req",
        job_id: "job",
        trace_id: "trace",
        source: "api",
        remote_ip: "2001:db8::1",
        meta: { tenant: 5, tags: ["a"] },
        context_error: null
      })
      expect(action).toMatchObject({
        verb: "create",
        category: "content",
        reason: "it's \\ 'quoted'",
        comment: 'a "comment"\nof two lines',
        subject_type: "customer",
        subject_id: "c-1",
        data: { list: [1, null, "x"], nested: { deep: true } }
      })
    })
  )

  it.effect("lets an explicit option win over the ambient context, which wins over the defaults", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const inBody = yield* Audit.transaction(Effect.zipRight(Host.insertPost(1), AuditContext.current), {
        actor: alice,
        source: "explicit",
        meta: { explicit: 1, shared: "explicit" }
      }).pipe(
        AuditContext.withContext({ actor: Actor.user("ambient"), source: "ambient", requestId: "r-1" }),
        AuditContext.withMeta({ ambient: 1, shared: "ambient" }),
        Effect.provide(
          AuditContext.layer({
            source: "default",
            meta: { default: 1, shared: "default" },
            makeCorrelationId: Effect.succeed("made")
          })
        )
      )
      const expected = { explicit: 1, ambient: 1, default: 1, shared: "explicit" }
      expect(yield* Host.transactions).toMatchObject([
        { actor_id: "alice", source: "explicit", request_id: "r-1", correlation_id: "made", meta: expected }
      ])
      expect(inBody.value).toEqual({
        actor: alice,
        source: "explicit",
        requestId: "r-1",
        correlationId: "made",
        meta: expected
      })
    })
  )

  it.effect("keeps an action that captured nothing, and has no transaction then", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const audited = yield* Audit.transaction(Effect.void, { action: "report.read", actor: alice })
      expect(audited.transactionId).toEqual(Option.none())
      expect(Option.isSome(audited.actionId)).toBe(true)
      expect(yield* Host.actions).toMatchObject([{ name: "report.read", transaction_id: null, actor_id: "alice" }])
    })
  )

  it.effect("captures without an action", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const audited = yield* Audit.transaction(Host.insertPost(1), { captureOnly: true, actor: alice })
      expect(Option.isSome(audited.transactionId)).toBe(true)
      expect(audited.actionId).toEqual(Option.none())
      expect(yield* Host.actions).toEqual([])
      expect(yield* Host.changes).toMatchObject([{ row: "1", actor: "user:alice" }])
    })
  )

  it.effect("fails before the body runs where nobody acts", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const ran = yield* Ref.make(false)
      const body = Effect.zipRight(Ref.set(ran, true), Host.insertPost(1))
      expect(yield* reasonOf(Audit.transaction(body, { action: "post.created" }))).toBe("MissingActor")
      expect(yield* Ref.get(ran)).toBe(false)
      yield* Audit.transaction(body, { action: "post.created", actor: Actor.anonymous })
      yield* Audit.transaction(Host.insertPost(2), { allowMissingActor: true })
      expect(yield* Host.changes).toMatchObject([
        { row: "1", actor: "anonymous" },
        { row: "2", actor: null }
      ])
    })
  )

  it.effect("passes the failures of the host as they are, and undoes what it wrote", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const marker = {}
      const failure = new PostError("refused", marker)
      const failed = yield* Effect.flip(
        Audit.transaction(Effect.zipRight(Host.insertPost(1), Effect.fail(failure)), { action: "a", actor: alice })
      )
      expect(failed).toBeInstanceOf(PostError)
      expect(failed).toHaveProperty("cause", marker)
      const defect = yield* Effect.exit(
        Audit.transaction(Effect.zipRight(Host.insertPost(1), Effect.die("defect")), { action: "a", actor: alice })
      )
      expect(defect).toEqual(Exit.die("defect"))
      const twice = yield* Effect.flip(
        Audit.transaction(Effect.zipRight(Host.insertPost(1), Host.insertPost(1)), { action: "a", actor: alice })
      )
      expect(twice).toBeInstanceOf(SqlError)
      expect(twice).toMatchObject({ cause: { code: "23505" } })
      expect(yield* Host.postIds).toEqual([])
      expect(yield* Host.changes).toEqual([])
      expect(yield* Host.actions).toEqual([])
      expect(yield* Host.poolIsClean(5)).toBe(true)
    })
  )

  it.effect("fails and rolls back where changes are required and none came", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const options = { action: "post.renamed", actor: alice, requireChanges: true } as const
      const none = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`update posts set title = 'x' where id = 99`)
      const error = yield* auditError(Audit.transaction(none, options))
      expect(error).toMatchObject({ reason: "NoChanges", sqlState: "TL001" })
      expect(yield* Host.actions).toEqual([])
      const audited = yield* Audit.transaction(Host.insertPost(1), options)
      expect(Option.isSome(audited.transactionId)).toBe(true)
      expect(yield* Host.actions).toMatchObject([{ name: "post.renamed" }])
    })
  )

  for (const isolation of ["read committed", "repeatable read", "serializable"] as const) {
    it.effect(`runs at the isolation level ${isolation}`, () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const audited = yield* Audit.transaction(sql`show transaction_isolation`, { isolation, actor: alice })
        expect(audited.value).toEqual([{ transaction_isolation: isolation }])
      })
    )
  }

  it.effect("runs the body again after a serialization failure at COMMIT", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const sql = yield* SqlClient.SqlClient
      const rival = yield* (yield* TestDatabase).rawClient()
      const attempts = yield* Ref.make(0)
      const body = Effect.gen(function* () {
        const attempt = yield* Ref.updateAndGet(attempts, (n) => n + 1)
        const [row] = yield* sql<{ readonly sum: number }>`select coalesce(sum(amount), 0)::int as sum from ledger`
        yield* sql`insert into ledger (id, amount) values (1, ${(row?.sum ?? 0) + 1})`
        if (attempt === 1) {
          yield* Effect.promise(() =>
            rival.query(`
              begin isolation level serializable;
              select threadline.set_context('{"actor": {"type": "system", "id": "rival"}}');
              insert into ledger (id, amount) select 2, coalesce(sum(amount), 0) + 10 from ledger;
              commit
            `)
          )
        }
        return attempt
      })
      const options = { action: "ledger.added", actor: alice, isolation: "serializable" } as const
      const error = yield* auditError(Audit.transaction(body, options))
      expect(error).toMatchObject({ reason: "CommitFailed", sqlState: "40001" })
      yield* Host.reset
      yield* Ref.set(attempts, 0)
      const audited = yield* Audit.transaction(body, { ...options, retry: Schedule.recurs(3) })
      expect(audited.value).toBe(2)
      expect(yield* Host.changes).toMatchObject([
        { row: "2", actor: "system:rival" },
        { row: "1", actor: "user:alice" }
      ])
      expect(yield* Host.actions).toMatchObject([{ name: "ledger.added" }])
    }).pipe(Effect.scoped)
  )

  const mappings: ReadonlyArray<readonly [string, ((error: SqlError) => SqlError | PostError) | undefined]> = [
    ["as it is", (error) => error],
    ["wrapped", (error) => new PostError("wrapped", error)],
    ["replaced", () => new PostError("replaced")],
    ["swallowed", undefined]
  ]
  for (const [label, map] of mappings) {
    it.effect(`runs the body again after a serialization failure of a statement, ${label}`, () =>
      Effect.gen(function* () {
        yield* Host.reset
        const sql = yield* SqlClient.SqlClient
        const rival = yield* (yield* TestDatabase).rawClient()
        yield* Audit.transaction(sql`insert into ledger (id, amount) values (1, 0)`, { actor: alice })
        const attempts = yield* Ref.make(0)
        const add = sql`update ledger set amount = amount + 1 where id = 1`
        const body = Effect.gen(function* () {
          const attempt = yield* Ref.updateAndGet(attempts, (n) => n + 1)
          yield* sql`select * from ledger`
          if (attempt === 1) {
            yield* Effect.promise(() => rival.query("update ledger set amount = amount + 10 where id = 1"))
          }
          yield* map === undefined ? Effect.either(add) : Effect.mapError(add, map)
          return attempt
        })
        const audited = yield* Audit.transaction(body, {
          action: "ledger.added",
          actor: alice,
          isolation: "repeatable read",
          retry: Schedule.recurs(3)
        })
        expect(audited.value).toBe(2)
        expect(yield* sql`select amount from ledger`).toEqual([{ amount: 11 }])
      }).pipe(Effect.scoped)
    )
  }

  it.effect("stops retrying when the schedule does, and never retries anything else", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const sql = yield* SqlClient.SqlClient
      const attempts = yield* Ref.make(0)
      const failing = (code: string) =>
        Effect.zipRight(
          Ref.update(attempts, (n) => n + 1),
          sql`insert into fuses (id, what) values (1, ${code})`
        )
      const options = { actor: alice, retry: Schedule.recurs(2) }
      expect(yield* auditError(Audit.transaction(failing("40P01"), options))).toMatchObject({
        reason: "CommitFailed",
        sqlState: "40P01"
      })
      expect(yield* Ref.getAndSet(attempts, 0)).toBe(3)
      expect(yield* auditError(Audit.transaction(failing("23514"), options))).toMatchObject({
        reason: "CommitFailed",
        sqlState: "23514"
      })
      expect(yield* Ref.get(attempts)).toBe(1)
    })
  )

  it.effect("records a failed attempt in a transaction of its own, if asked to", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const options = { action: "post.created", reason: "launch", actor: alice, onFailure: "record" } as const
      const marker = {}
      const failure = new PostError("refused", marker)
      const failed = yield* Effect.flip(
        Audit.transaction(Effect.zipRight(Host.insertPost(1), Effect.fail(failure)), options)
      )
      expect(failed).toBeInstanceOf(PostError)
      expect(failed).toHaveProperty("cause", marker)
      const died = yield* Effect.exit(Audit.transaction(Effect.die("defect"), options))
      expect(died).toEqual(Exit.die("defect"))
      yield* Effect.exit(Audit.transaction(Effect.interrupt, options))
      yield* Audit.transaction(Host.insertPost(2), options)
      const failedAction = { name: "post.created", status: "error", reason: "launch", actor_id: "alice" }
      expect(yield* Host.actions).toMatchObject([
        { ...failedAction, transaction_id: null },
        { ...failedAction, transaction_id: null },
        { ...failedAction, status: "ok" }
      ])
      expect(yield* Host.postIds).toEqual([2])
    })
  )

  it.effect("records one failure of an attempt that was retried", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const sql = yield* SqlClient.SqlClient
      yield* auditError(
        Audit.transaction(sql`insert into fuses (id, what) values (1, '40001')`, {
          action: "fuse.lit",
          actor: alice,
          retry: Schedule.recurs(2),
          onFailure: "record"
        })
      )
      expect(yield* Host.actions).toMatchObject([{ name: "fuse.lit", status: "error" }])
    })
  )

  it.effect("makes one span, without identities", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const spans: Array<Tracer.Span> = []
      const native = yield* Effect.tracer
      const tracer = Tracer.make({
        span: (...args) => {
          const span = native.span(...args)
          spans.push(span)
          return span
        },
        context: (f, fiber) => native.context(f, fiber)
      })
      yield* Audit.transaction(Effect.withSpan(Effect.void, "body"), {
        action: "secret.action",
        actor: Actor.user("secret-user"),
        requestId: "secret-request"
      }).pipe(Effect.withTracer(tracer))
      expect(spans.map(({ name }) => name)).toEqual(["threadline.transaction", "body"])
      expect(Object.fromEntries(spans[0]?.attributes ?? [])).toEqual({ "threadline.mode": "outermost" })
      expect(spans[1]?.parent).toMatchObject({ value: { spanId: spans[0]?.spanId } })
    })
  )
})

layer(Host.layer, { excludeTestServices: true })("Audit.transaction refuses", (it) => {
  const long = "é".repeat(129)
  const cyclic: { self?: unknown } = {}
  cyclic.self = cyclic
  const endless: { type: "user"; id: string; impersonator?: Actor.Actor } = { type: "user", id: "1" }
  endless.impersonator = endless
  const Posts = Semantics.catalogue({ "post.created": { data: Schema.Struct({ title: Schema.NonEmptyString }) } })
  const cases: ReadonlyArray<readonly [label: string, field: string, options: Audit.Options]> = [
    ["an action together with captureOnly", "captureOnly", { action: "a", captureOnly: true }],
    ["a reason without an action", "reason", { reason: "because" }],
    ["a comment without an action", "comment", { captureOnly: true, comment: "c" }],
    ["a failure to record without an action", "onFailure", { onFailure: "record" }],
    ["two different reasons", "reason", { action: { name: "a", reason: "x" }, reason: "y" }],
    ["an empty name", "action.name", { action: "" }],
    ["a name over 256 bytes", "action.name", { action: { name: long } }],
    ["an empty verb", "action.verb", { action: { name: "a", verb: "" } }],
    ["a category over 256 bytes", "action.category", { action: { name: "a", category: long } }],
    ["an empty subject", "action.subject.id", { action: { name: "a", subject: { type: "t", id: "" } } }],
    ["a reason with a NUL", "reason", { action: "a", reason: "a\0b" }],
    ["data that is no JSON", "action.data", { action: { name: "a", data: () => 1 } }],
    ["data with a bigint", "action.data", { action: { name: "a", data: { n: 1n } } }],
    ["data with a number that is not finite", "action.data", { action: { name: "a", data: [Number.NaN] } }],
    ["data that contains itself", "action.data", { action: { name: "a", data: cyclic } }],
    ["data that the catalogue refuses", "action.data.title", { action: Posts["post.created"]({ title: "" }) }],
    ["an actor with an empty id", "actor.id", { actor: Actor.user("") }],
    ["an actor with an id over 256 bytes", "actor.id", { actor: Actor.job(long) }],
    ["an actor with an empty label", "actor.label", { actor: Actor.user("1", { label: "" }) }],
    ["a bad impersonator", "actor.impersonator.id", { actor: Actor.user("1", { impersonator: Actor.admin("") }) }],
    ["impersonators without end", "actor.impersonator", { actor: endless }],
    ["an empty correlation id", "correlationId", { actor: alice, correlationId: "" }],
    ["a request id over 256 bytes", "requestId", { actor: alice, requestId: long }],
    ["a job id with half a surrogate pair", "jobId", { actor: alice, jobId: "\ud800" }],
    ["an empty trace id", "traceId", { actor: alice, traceId: "" }],
    ["a source over 256 bytes", "source", { actor: alice, source: long }],
    ["an address that is none", "remoteIp", { actor: alice, remoteIp: "300.1.1.1" }],
    ["an address with a zone", "remoteIp", { actor: alice, remoteIp: "fe80::1%eth0" }],
    ["meta that is no JSON", "meta", { actor: alice, meta: { big: 1n } }]
  ]
  for (const [label, field, options] of cases) {
    it.effect(label, () =>
      Effect.gen(function* () {
        const ran = yield* Ref.make(false)
        const error = yield* Effect.flip(Audit.transaction(Ref.set(ran, true), { actor: alice, ...options }))
        expect(error).toBeInstanceOf(InvalidRequest)
        expect(error).toMatchObject({ field })
        expect(yield* Ref.get(ran)).toBe(false)
      })
    )
  }

  it.effect("an option, or a field of an action, that is misspelt", () =>
    Effect.gen(function* () {
      const misspelt: object = { actor: alice, acton: "post.created" }
      const reworded: object = { name: "post.created", raeson: "launch" }
      const refused = [
        yield* Effect.flip(Audit.transaction(Effect.void, misspelt)),
        yield* Effect.flip(Audit.transaction(Effect.void, { actor: alice, action: reworded as Semantics.Action })),
        yield* Effect.flip(Audit.record("post.created", misspelt))
      ]
      expect(refused.map(({ message }) => message)).toEqual([
        "acton: is not known here",
        "action.raeson: is not known here",
        "acton: is not known here"
      ])
    })
  )

  it.effect("an actor of the fiber that cannot be recorded", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(
        Audit.transaction(Effect.void, { action: "a" }).pipe(AuditContext.withActor(Actor.user("")))
      )
      expect(error).toMatchObject({ _tag: "threadline/InvalidRequest", field: "actor.id" })
    })
  )

  it.effect("nothing else of the fiber: what cannot be recorded is recorded as such", () =>
    Effect.gen(function* () {
      yield* Host.reset
      yield* Audit.transaction(Host.insertPost(1), { actor: alice }).pipe(
        AuditContext.withContext({
          correlationId: long,
          requestId: "nul\0",
          jobId: "\udfff",
          remoteIp: "not an address",
          source: "kept"
        }),
        AuditContext.withMeta({ kept: 1, big: 1n })
      )
      const [transaction] = yield* Host.transactions
      expect(transaction).toMatchObject({
        actor_id: "alice",
        correlation_id: null,
        request_id: null,
        job_id: null,
        remote_ip: null,
        source: "kept",
        meta: { kept: 1, big: "[not JSON]" }
      })
      for (const field of ["correlationId", "requestId", "jobId", "remoteIp"]) {
        expect(transaction?.["context_error"]).toContain(field)
      }
    })
  )
})
