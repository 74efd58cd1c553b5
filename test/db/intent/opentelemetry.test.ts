/** What a collector of OpenTelemetry gets. */
import { expect, layer } from "@effect/vitest"
import { AggregationTemporality, InMemoryMetricExporter } from "@opentelemetry/sdk-metrics"
import { InMemorySpanExporter } from "@opentelemetry/sdk-trace-base"
import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"
import { telemetry } from "../../../examples/telemetry.js"
import * as Actor from "../../../src/Actor.js"
import * as Audit from "../../../src/Audit.js"
import * as Host from "../../support/auditedHost.js"

/** Keeps what it has when the provider ends. */
class Spans extends InMemorySpanExporter {
  override shutdown(): Promise<void> {
    return Promise.resolve()
  }
}

class Metrics extends InMemoryMetricExporter {
  override shutdown(): Promise<void> {
    return Promise.resolve()
  }
}

layer(Host.layer, { excludeTestServices: true })("@effect/opentelemetry", (it) => {
  it.effect("exports the spans under those of the host, their trace is stored, and metrics count them", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const exported = new Spans()
      const metrics = new Metrics(AggregationTemporality.CUMULATIVE)
      const actor = Actor.user("secret-id", { label: "secret label" })
      yield* Audit.transaction(
        Effect.zipRight(Host.insertPost(7007), Effect.exit(Audit.transaction(Effect.fail("refused"), { action: "b" }))),
        { action: "post.created", actor }
      ).pipe(Effect.withSpan("request"), Effect.provide(telemetry(exported, metrics)))

      const spans = exported.getFinishedSpans()
      const named = (name: string) => spans.filter((span) => span.name === name)
      const [request] = named("request")
      const [outermost] = named("threadline.transaction").filter(
        ({ attributes }) => attributes["threadline.mode"] === "outermost"
      )
      const [nested] = named("threadline.transaction").filter(
        ({ attributes }) => attributes["threadline.mode"] === "nested"
      )
      expect(outermost?.parentSpanContext?.spanId).toBe(request?.spanContext().spanId)
      expect(nested?.spanContext().traceId).toBe(request?.spanContext().traceId)
      const [transaction] = yield* Host.transactions
      expect(transaction?.["trace_id"]).toBe(outermost?.spanContext().traceId)

      const own = spans.filter(({ name }) => name.startsWith("threadline."))
      expect(own.map(({ attributes, name }) => [name, attributes])).toEqual([
        ["threadline.transaction", { "threadline.mode": "nested" }],
        ["threadline.transaction", { "threadline.mode": "outermost" }]
      ])

      // The registry of Effect belongs to the process, so others may have counted in it.
      const points = metrics
        .getMetrics()
        .flatMap(({ scopeMetrics }) => scopeMetrics.flatMap((scope) => scope.metrics))
        .flatMap(({ dataPoints, descriptor }) =>
          dataPoints.map(({ attributes }) => ({ metric: descriptor.name, ...attributes }))
        )
      const operation = "threadline.transaction"
      expect(points).toEqual(
        expect.arrayContaining([
          expect.objectContaining({
            metric: "threadline.operations",
            "threadline.operation": operation,
            "threadline.outcome": "ok"
          }),
          expect.objectContaining({
            metric: "threadline.operations",
            "threadline.operation": operation,
            "threadline.outcome": "failed"
          }),
          expect.objectContaining({ metric: "threadline.operation.duration", "threadline.operation": operation })
        ])
      )
      const shown = JSON.stringify([own.map(({ attributes }) => attributes), points])
      for (const secret of ["secret", "7007", "post.created"]) {
        expect(shown).not.toContain(secret)
      }
    })
  )

  it("is set up as the page on telemetry says", () => {
    expect(readFileSync("docs/telemetry.md", "utf8")).toContain(readFileSync("examples/telemetry.ts", "utf8"))
  })
})
