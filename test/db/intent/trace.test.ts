import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Tracer from "effect/Tracer"
import * as Actor from "../../../src/Actor.js"
import * as Audit from "../../../src/Audit.js"
import * as AuditContext from "../../../src/AuditContext.js"
import * as Host from "../../support/auditedHost.js"

const options = { action: "post.created", actor: Actor.user("42") } as const

const traces = Effect.map(Host.transactions, (rows) => rows.map((row) => row["trace_id"]))

layer(Host.layer, { excludeTestServices: true })("the trace of a transaction", (it) => {
  it.effect("is that of the span around it, and a call inside shares it", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const { traceId } = yield* Effect.currentSpan
      yield* Audit.transaction(
        Effect.zipRight(Host.insertPost(1), Effect.withSpan(Audit.transaction(Host.insertPost(2)), "inner")),
        options
      )
      expect(yield* traces).toEqual([traceId])
      yield* Audit.record("report.read", { actor: Actor.user("42") })
      const recorded = yield* Effect.flatMap(
        Host.Owner,
        (owner) => owner`select trace_id from threadline.audit_actions where name = 'report.read'`
      )
      expect(recorded).toEqual([{ trace_id: traceId }])
    }).pipe(Effect.withSpan("request"))
  )

  it.effect("is that of a span of another process, and what the host says wins over it", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const traceId = "4bf92f3577b34da6a3ce929d0e0e4736"
      const remote = Tracer.externalSpan({ traceId, spanId: "00f067aa0ba902b7" })
      yield* Effect.withParentSpan(Audit.transaction(Host.insertPost(1), options), remote)
      yield* Audit.transaction(Host.insertPost(2), options).pipe(
        AuditContext.withTraceId("own"),
        Effect.withParentSpan(remote)
      )
      expect(yield* traces).toEqual([traceId, "own"])
    })
  )

  it.effect("is none without a span", () =>
    Effect.gen(function* () {
      yield* Host.reset
      yield* Audit.transaction(
        Effect.zipRight(Host.insertPost(1), Audit.transaction(Host.insertPost(2), { requireChanges: true })),
        options
      )
      expect(yield* traces).toEqual([null, null])
    })
  )
})
