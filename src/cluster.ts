/**
 * Workers of exports on `@effect/cluster` and `@effect/workflow`, for a host that runs a cluster. It needs these two packages.
 *
 * The cluster decides which process runs which job. The lease in the database still decides who may complete it, so that workers of other
 * kinds may run beside these.
 *
 * @since 0.1.0
 */
import type { Sharding } from "@effect/cluster/Sharding"
import * as Singleton from "@effect/cluster/Singleton"
import * as Workflow from "@effect/workflow/Workflow"
import type { WorkflowEngine } from "@effect/workflow/WorkflowEngine"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as ExportJobs from "./ExportJobs.js"
import { InvalidRequest } from "./ThreadlineError.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface ExportOptions extends ExportJobs.RunJobOptions {
  /** Jobs that run at the same time in this process, at most 16. The default is 1. */
  readonly concurrency?: number | undefined
  /** How often jobs are looked for, at least 10 milliseconds. The default is every 2 seconds. */
  readonly poll?: Duration.DurationInput | undefined
}

/**
 * One attempt at a job. The time when a job became available tells its attempts apart: one that failed or was given back waits anew, and
 * its next attempt is another execution. A worker that died changes nothing of it, so that the cluster resumes the same execution.
 */
const RunExport = Workflow.make({
  name: "threadline/RunExport",
  payload: { job: Schema.String, availableAt: Schema.String },
  idempotencyKey: ({ availableAt, job }) => `${job} ${availableAt}`
})

const mustBeObject = (options: unknown): Effect.Effect<void, InvalidRequest> =>
  Predicate.isRecord(options) ? Effect.void : new InvalidRequest({ field: "options", rule: "must be an object" })

const shortestPoll = Duration.millis(10)

const pollOf = (poll: Duration.DurationInput = "2 seconds"): Effect.Effect<Duration.Duration, InvalidRequest> =>
  Option.match(
    Option.filter(
      Duration.decodeUnknown(poll),
      (given) => Duration.isFinite(given) && Duration.greaterThanOrEqualTo(given, shortestPoll)
    ),
    {
      onNone: () => new InvalidRequest({ field: "poll", rule: "must be a duration of at least 10 milliseconds" }),
      onSome: Effect.succeed
    }
  )

const waits = (error: unknown) => Effect.logWarning("threadline: exports wait", error)

/** An execution that has failed is never run again. So nothing makes these fail: they wait, and try again. */
const persistently = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A | undefined, never, R> =>
  effect.pipe(
    Effect.catchAll(waits),
    Effect.catchAllDefect(waits),
    Effect.map((value) => value ?? undefined)
  )

/**
 * Workers of exports as part of a cluster. Every process of the cluster that has this layer runs jobs. One of them, which the cluster
 * chooses, makes the jobs of schedules that are due, hands out the jobs that wait, and removes expired files.
 *
 * If a process ends, it gives its jobs back. If it is killed, the cluster resumes its jobs in another process, which makes their files anew
 * as soon as their leases have run out. Wrong options, and a missing store, are failures of the layer.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import * as ClusterWorkflowEngine from "@effect/cluster/ClusterWorkflowEngine"
 * import * as SingleRunner from "@effect/cluster/SingleRunner"
 * import { ExportJobs } from "threadline"
 * import * as Cluster from "threadline/cluster"
 * import * as Layer from "effect/Layer"
 *
 * // A cluster of one process; `NodeClusterSocket.layer` of `@effect/platform-node` makes one of many.
 * export const workers = Cluster.layerExports({ concurrency: 2 }).pipe(
 *   Layer.provide(ExportJobs.layer),
 *   Layer.provide(ClusterWorkflowEngine.layer),
 *   Layer.provide(SingleRunner.layer())
 * )
 * ```
 */
export const layerExports = (
  options: ExportOptions = {}
): Layer.Layer<never, ExportJobs.ExportError | InvalidRequest, ExportJobs.ExportJobs | Sharding | WorkflowEngine> =>
  Layer.unwrapEffect(
    Effect.gen(function* () {
      const jobs = yield* ExportJobs.ExportJobs
      yield* mustBeObject(options)
      const { poll: givenPoll, ...running } = options
      yield* jobs.check(running)
      const { concurrency = 1, onEnded, onProgress } = running
      const poll = yield* pollOf(givenPoll)
      const places = yield* Effect.makeSemaphore(concurrency)

      /** Runs the job until this attempt has ended, no matter who ended it. */
      const attempt = Effect.fnUntraced(function* (payload: typeof RunExport.payloadSchema.Type) {
        const isOver = jobs.runJob(payload.job, { onEnded, onProgress }).pipe(
          places.withPermits(1),
          Effect.map(
            ({ availableAt, state }) =>
              (state !== "queued" && state !== "running") || availableAt !== payload.availableAt
          ),
          Effect.catchTag("threadline/NotFound", () => Effect.succeed(true)),
          persistently
        )
        // While another worker holds the job, dead or not, it cannot be taken.
        while ((yield* isOver) !== true) {
          yield* Effect.sleep(poll)
        }
      })

      const handOut = Effect.gen(function* () {
        let before: ReadonlySet<string> = new Set()
        const round = Effect.gen(function* () {
          const ready = yield* jobs.ready
          const handed = new Set<string>()
          for (const { availableAt, id } of ready) {
            const key = `${id} ${availableAt}`
            if (!before.has(key)) {
              yield* RunExport.execute({ job: id, availableAt }, { discard: true })
            }
            handed.add(key)
          }
          before = handed
          yield* jobs.expire
        })
        yield* round.pipe(Effect.withTracerEnabled(false), persistently, Effect.repeat(Schedule.spaced(poll)))
      })

      return Layer.merge(RunExport.toLayer(attempt), Singleton.make("threadline/exports", handOut))
    })
  )
