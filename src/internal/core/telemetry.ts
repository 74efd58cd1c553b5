/**
 * The telemetry of operations: a span and two metrics each. This table is the whole list; `docs/telemetry.md` shows it.
 *
 * No attribute holds an identity, a key or a value, and no failure that a span records does. A tracer records the message of an error and
 * those of its causes, and in the words of a server or a host these may repeat a row.
 */
import * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"

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

/** Errors of Threadline have a symbol of their own, and no value in their message. */
const isOwn = (failure: object): boolean =>
  Object.getOwnPropertySymbols(failure).some(({ description }) => description?.startsWith("threadline/") === true)

/** What a span says of a failure: an error of Threadline without its cause, and of any other one only the name. */
const named = (failure: unknown): Error => {
  const error = new Error()
  if (failure instanceof Error && isOwn(failure)) {
    error.message = failure.message
    error.stack = failure.stack ?? ""
  } else {
    error.message = "its message is not recorded, because it may hold values"
    error.stack = ""
  }
  error.name =
    Predicate.hasProperty(failure, "_tag") && typeof failure._tag === "string"
      ? failure._tag
      : failure instanceof Error
        ? failure.name
        : "Error"
  return error
}

const withoutValues = (cause: Cause.Cause<unknown>): Cause.Cause<unknown> =>
  Cause.match(cause, {
    onEmpty: Cause.empty,
    onFail: (failure) => Cause.fail(named(failure)),
    onDie: (defect) => Cause.die(named(defect)),
    onInterrupt: (fiber) => Cause.interrupt(fiber),
    onSequential: Cause.sequential,
    onParallel: Cause.parallel
  })

const begin = (name: string): Effect.Effect<Tracer.Span> => Effect.makeSpan(name, { captureStackTrace: false })

const end = (span: Tracer.Span, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> =>
  Effect.zipWith(Effect.clock, FiberRef.get(FiberRef.currentTracerTimingEnabled), (clock, isTimed) =>
    span.end(isTimed ? clock.unsafeCurrentTimeNanos() : 0n, Exit.mapErrorCause(exit, withoutValues))
  )

/** Runs an effect that is given a span. */
export const useSpan = <A, E, R>(
  name: string,
  use: (span: Tracer.Span) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => Effect.acquireUseRelease(begin(name), use, end)

/** A span that ends with its scope. */
export const spanOfScope = (name: string): Effect.Effect<Tracer.Span, never, Scope.Scope> =>
  Effect.acquireRelease(begin(name), end)

/** The span and the count of a stream, from its start to its end. */
export const streamed =
  (name: string) =>
  <A, E>(stream: Stream.Stream<A, E>): Stream.Stream<A, E> =>
    Stream.fromChannel(
      Channel.acquireUseRelease(
        begin(name),
        (span) => Stream.toChannel(Stream.provideService(stream, Tracer.ParentSpan, span)),
        (span, exit) => Effect.zipRight(measuredEnd(name, exit), end(span, exit))
      )
    )

/** An operation: its span, its count and its time. */
export const operation =
  <S extends Service>(service: S, name: (typeof operations)[S][number]) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    useSpan(nameOf(service, name), (span) => Effect.withParentSpan(measured(nameOf(service, name))(effect), span))

const ended = (name: string, exit: Exit.Exit<unknown, unknown>, milliseconds: number): Effect.Effect<void> =>
  Effect.zipRight(
    Metric.update(
      count.pipe(Metric.tagged("threadline.operation", name), Metric.tagged("threadline.outcome", outcomeOf(exit))),
      1
    ),
    Metric.update(duration.pipe(Metric.tagged("threadline.operation", name)), milliseconds)
  )

/** Counts the end of a stream. */
const measuredEnd = (name: string, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> =>
  Metric.update(
    count.pipe(Metric.tagged("threadline.operation", name), Metric.tagged("threadline.outcome", outcomeOf(exit))),
    1
  )
