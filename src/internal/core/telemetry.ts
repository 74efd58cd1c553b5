/**
 * The telemetry of operations: a span and two metrics each. This table is the whole list; `docs/telemetry.md` shows it.
 *
 * No attribute holds an identity, a key or a value. Causes of failures are the tracer's to record.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"

/** The operations of each service. */
export const operations = {
  audit: ["transaction", "record"],
  capture: ["plan", "apply", "remove", "status", "print", "migration"],
  query: [
    "timeline",
    "timelineStream",
    "history",
    "historyStream",
    "asOf",
    "asOfKeys",
    "asOfRows",
    "asOfRowsStream",
    "asOfWith",
    "transactions",
    "transactionsStream",
    "actions",
    "actionsStream",
    "unattributed",
    "unattributedStream",
    "actorWindow",
    "actorWindowStream",
    "correlation",
    "correlationStream",
    "count",
    "collect",
    "columns",
    "names",
    "knowledge",
    "diff",
    "diffBetween",
    "incident",
    "incidentStream",
    "schemaEvents",
    "schemaEventsStream",
    "historyWithEvents"
  ],
  feed: ["read", "stream", "consume", "checkpoints", "forget"],
  export: ["stream", "runForEach", "toFile", "toResponse", "toWebResponse"],
  exportJobs: [
    "queue",
    "list",
    "get",
    "cancel",
    "retry",
    "download",
    "downloadTo",
    "link",
    "open",
    "expire",
    "run",
    "ready",
    "runJob",
    "addSchedule",
    "schedules",
    "removeSchedule"
  ],
  health: ["coverage", "report", "canary", "policies"],
  continuity: ["check", "report", "baseline"],
  retention: ["plan", "purge", "runs", "maintain"],
  views: ["list", "get", "save", "remove"],
  evidence: ["record", "derive", "list", "latest", "overview", "proof"],
  migrations: ["run", "status"],
  grants: ["apply"]
} as const

type Service = keyof typeof operations

const prefixes: Readonly<Record<Service, string>> = {
  audit: "",
  capture: "Capture.",
  query: "query.",
  feed: "feed.",
  export: "export.",
  exportJobs: "exportJobs.",
  health: "Health.",
  continuity: "Continuity.",
  retention: "retention.",
  views: "views.",
  evidence: "evidence.",
  migrations: "Migrations.",
  grants: "Grants."
}

/** The name of a span: `threadline.query.timeline`. */
export const nameOf = <S extends Service>(service: S, operation: string): string =>
  `threadline.${prefixes[service]}${operation}`

/** How an operation ended. */
export const outcomes = ["ok", "failed", "interrupted", "defect"] as const

const outcomeOf = (exit: Exit.Exit<unknown, unknown>): (typeof outcomes)[number] =>
  Exit.isSuccess(exit)
    ? "ok"
    : Cause.isInterruptedOnly(exit.cause)
      ? "interrupted"
      : Cause.isFailure(exit.cause)
        ? "failed"
        : "defect"

const count = Metric.counter("threadline.operations", {
  description: "Operations of Threadline that have ended, by operation and outcome",
  incremental: true
})

const duration = Metric.histogram(
  "threadline.operation.duration",
  MetricBoundaries.exponential({ start: 1, factor: 2, count: 16 }),
  "How long operations of Threadline took, in milliseconds, by operation"
)

/** Counts how an operation ended, and how long it took. A stream is counted by its end. */
export const measured =
  (name: string) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.flatMap(Effect.clock, (clock) => {
      const begin = clock.unsafeCurrentTimeMillis()
      return Effect.onExit(effect, (exit) => ended(name, exit, clock.unsafeCurrentTimeMillis() - begin))
    })

/** An operation: its span, its count and its time. */
export const operation =
  <S extends Service>(service: S, name: (typeof operations)[S][number]) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    effect.pipe(measured(nameOf(service, name)), Effect.withSpan(nameOf(service, name), { captureStackTrace: false }))

const ended = (name: string, exit: Exit.Exit<unknown, unknown>, milliseconds: number): Effect.Effect<void> =>
  Effect.zipRight(
    Metric.update(
      count.pipe(Metric.tagged("threadline.operation", name), Metric.tagged("threadline.outcome", outcomeOf(exit))),
      1
    ),
    Metric.update(duration.pipe(Metric.tagged("threadline.operation", name)), milliseconds)
  )

/** Counts the end of a stream. */
export const measuredEnd = (name: string, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> =>
  Metric.update(
    count.pipe(Metric.tagged("threadline.operation", name), Metric.tagged("threadline.outcome", outcomeOf(exit))),
    1
  )
