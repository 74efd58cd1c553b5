/**
 * Exports that are made later, by a worker: queued, run under a lease, retried, cancelled, downloaded and expired.
 *
 * Jobs are rows of the database. Any number of workers run them, each job once at a time. A worker that dies loses its lease, and another
 * one makes the file anew. A job keeps the filter, and the scope by its name and parameters: the worker asks the host for it again.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { ExportError } from "./internal/export/exportError.js"
import type * as downloads from "./internal/export/jobs/downloads.js"
import type * as options from "./internal/export/jobs/options.js"
import type { Failure as JobFailure } from "./internal/export/jobs/outcome.js"
import type * as queues from "./internal/export/jobs/queue.js"
import type * as runner from "./internal/export/jobs/runner.js"
import * as scheduling from "./internal/export/jobs/schedule.js"
import * as service from "./internal/export/jobs/service.js"
import type * as worker from "./internal/export/jobs/worker.js"
import type { Manifest } from "./internal/export/manifest.js"
import * as Store from "./ExportStore.js"
import type * as model from "./internal/export/jobs/model.js"
import * as storages from "./internal/record/storage.js"
import { wholeStorage } from "./internal/record/whole.js"
import { StorageSchema } from "./internal/sql/storageSchema.js"
import type * as Page from "./Page.js"
import type { InvalidRequest, NotFound, ThreadlineError } from "./ThreadlineError.js"

/**
 * @since 0.1.0
 */
export { Job, NamedScope, State } from "./internal/export/jobs/model.js"

/**
 * @since 0.1.0
 */
export { ScheduleModel as Schedule, Window } from "./internal/export/jobs/schedule.js"

/**
 * @since 0.1.0
 */
export { ExportError } from "./internal/export/exportError.js"

/**
 * What is exported: the options of `Export.stream`, with the `scope` it is read under instead of `scopeName`.
 *
 * @since 0.1.0
 * @category models
 */
export interface QueueOptions extends queues.QueueOptions {}

/**
 * @since 0.1.0
 * @category models
 */
export interface ScopeOption extends queues.ScopeOption {}

/**
 * When jobs are made, what they export, and of which window. The filter has no `from`, `to` and limit: the window says them.
 *
 * @since 0.1.0
 * @category models
 */
export interface ScheduleOptions extends scheduling.ScheduleOptions {}

/**
 * Which jobs are listed.
 *
 * @since 0.1.0
 * @category models
 */
export interface ListOptions extends queues.ListOptions {}

/**
 * @since 0.1.0
 * @category models
 */
export interface LinkOptions extends downloads.LinkOptions {}

/**
 * @since 0.1.0
 * @category models
 */
export interface DownloadToOptions extends downloads.DownloadToOptions {}

/**
 * How far a job is, with the seconds since its attempt began.
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress extends worker.JobProgress {}

/**
 * The file of a job, and what a response says of it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Download extends downloads.Download {}

/**
 * @since 0.1.0
 * @category models
 */
export interface RunOptions extends runner.RunOptions {}

/**
 * @since 0.1.0
 * @category models
 */
export interface RunJobOptions extends worker.Telling {}

/**
 * @since 0.1.0
 * @category models
 */
export interface WatchOptions extends runner.WatchOptions {}

/**
 * What a run did.
 *
 * @since 0.1.0
 * @category models
 */
export interface Ran extends runner.Ran {}

/**
 * What a host decides about jobs.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends options.Options {}

/**
 * @since 0.1.0
 * @category models
 */
export interface Limits extends options.Limits {}

/**
 * @since 0.1.0
 * @category errors
 */
export type Failure = JobFailure

/**
 * @since 0.1.0
 * @category services
 */
export interface Service extends service.Service {}

/**
 * Jobs of exports. Readers queue, list, cancel and retry them; running them needs an operator (`threadline grant --operator`). Their
 * client is that of a primary.
 *
 * @since 0.1.0
 * @category services
 */
export class ExportJobs extends Context.Tag("threadline/ExportJobs")<ExportJobs, Service>() {}

/**
 * The client that exports are read with, if it is not the one that jobs are kept with: that of a replica.
 *
 * @since 0.1.0
 * @category services
 */
export class ReadingClient extends Context.Tag("threadline/ExportJobs/ReadingClient")<
  ReadingClient,
  SqlClient.SqlClient
>() {}

/**
 * Jobs in the client's database. The store is the `ExportStore` of the context. Without one, jobs can be queued, listed and cancelled; to
 * run or download them is an `ExportError` with the reason `NoStore`. A wrong option is an `InvalidRequest` of every call.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { ExportJobs, ExportStore, Query } from "threadline"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 * import * as Option from "effect/Option"
 *
 * declare const ofTenant: (tenant: unknown) => Query.ReadScope
 *
 * export const jobs = ExportJobs.layerWith({
 *   scope: ({ name, parameters }) =>
 *     Effect.succeed(name === "tenant" ? Option.some(ofTenant(parameters?.["tenant"])) : Option.none()),
 *   limits: { waitingPerActor: 5 },
 *   expiresAfter: "2 days"
 * }).pipe(Layer.provide(ExportStore.layerDirectory("/var/lib/exports")))
 * ```
 */
export const layerWith = (given: Options): Layer.Layer<ExportJobs, never, SqlClient.SqlClient> =>
  Layer.effect(
    ExportJobs,
    Effect.gen(function* () {
      const storage = yield* storages.make
      const reading = yield* Effect.serviceOption(ReadingClient)
      const store = yield* Effect.serviceOption(Store.ExportStore)
      const client = reading._tag === "Some" ? reading.value : yield* SqlClient.SqlClient
      const source = wholeStorage.pipe(
        Effect.provideService(SqlClient.SqlClient, client),
        Effect.provideService(StorageSchema, storage.schema)
      )
      return service.make({ storage, source, store: store._tag === "Some" ? store.value : undefined, options: given })
    })
  )

/**
 * The same with every option as it is unless given.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<ExportJobs, never, SqlClient.SqlClient> = layerWith({})

/**
 * Runs jobs for as long as the layer lives. When it ends, the job that is under way is given back, and does not count as an attempt.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { ExportJobs } from "threadline"
 * import * as Layer from "effect/Layer"
 *
 * export const worker = ExportJobs.layerWorker({ concurrency: 2 }).pipe(Layer.provide(ExportJobs.layer))
 * ```
 */
export const layerWorker = (
  watchOptions: WatchOptions = {}
): Layer.Layer<never, ExportError | InvalidRequest, ExportJobs> =>
  Layer.scopedDiscard(
    Effect.gen(function* () {
      const jobs = yield* ExportJobs
      // What is wrong from the start is a failure of the layer, and not of a fiber that nobody waits for.
      yield* jobs.check(watchOptions)
      yield* Effect.forkScoped(jobs.watch(watchOptions))
    })
  )

/**
 * Queues an export; see `Service`.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Actor, ExportJobs } from "threadline"
 * import * as Effect from "effect/Effect"
 *
 * export const program = ExportJobs.queue({
 *   format: "csv",
 *   filter: { table: "permissions", from: "2026-11-01" },
 *   compression: "gzip",
 *   requestedBy: Actor.user("42"),
 *   scope: { name: "tenant", parameters: { tenant: "acme" } }
 * }).pipe(Effect.map(({ id, state }) => `${id} is ${state}`))
 * ```
 */
export const queue = (
  given: QueueOptions
): Effect.Effect<model.Job, ExportError | InvalidRequest | NotFound | ThreadlineError, ExportJobs> =>
  Effect.flatMap(ExportJobs, (jobs) => jobs.queue(given))

/**
 * Jobs, newest first.
 *
 * @since 0.1.0
 * @category accessors
 */
export const list = (
  given?: ListOptions
): Effect.Effect<Page.Page<model.Job>, InvalidRequest | ThreadlineError, ExportJobs> =>
  Effect.flatMap(ExportJobs, (jobs) => jobs.list(given))

/**
 * One job, by its id.
 *
 * @since 0.1.0
 * @category accessors
 */
export const get = (
  id: string,
  given?: ScopeOption
): Effect.Effect<model.Job, InvalidRequest | NotFound | ThreadlineError, ExportJobs> =>
  Effect.flatMap(ExportJobs, (jobs) => jobs.get(id, given))

/**
 * Cancels a job that waits or runs; see `Service`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const cancel = (id: string, given?: ScopeOption): Effect.Effect<model.Job, Failure, ExportJobs> =>
  Effect.flatMap(ExportJobs, (jobs) => jobs.cancel(id, given))

/**
 * Queues a job again that failed or was cancelled; see `Service`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const retry = (id: string, given?: ScopeOption): Effect.Effect<model.Job, Failure, ExportJobs> =>
  Effect.flatMap(ExportJobs, (jobs) => jobs.retry(id, given))

/**
 * The file of a completed job; see `Service`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const download = (id: string, given?: ScopeOption): Effect.Effect<Download, Failure, ExportJobs> =>
  Effect.flatMap(ExportJobs, (jobs) => jobs.download(id, given))

/**
 * Writes the file of a completed job to a path, and its manifest beside it; see `Service`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const downloadTo = (
  id: string,
  path: string,
  given?: DownloadToOptions
): Effect.Effect<Manifest, Failure, ExportJobs> =>
  Effect.flatMap(ExportJobs, (jobs) => jobs.downloadTo(id, path, given))

/**
 * A link to the file of a completed job that expires; see `Service`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const link = (id: string, given?: LinkOptions): Effect.Effect<string, Failure, ExportJobs> =>
  Effect.flatMap(ExportJobs, (jobs) => jobs.link(id, given))

/**
 * The file that the token of a link is for; see `Service`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const open = (token: string): Effect.Effect<Download, Failure, ExportJobs> =>
  Effect.flatMap(ExportJobs, (jobs) => jobs.open(token))

/**
 * Removes the files whose time is over, and says how many.
 *
 * @since 0.1.0
 * @category accessors
 */
export const expire: Effect.Effect<number, ExportError | InvalidRequest | ThreadlineError, ExportJobs> = Effect.flatMap(
  ExportJobs,
  (jobs) => jobs.expire
)

/**
 * Makes the jobs of schedules that are due, runs every job that waits, and removes what has expired.
 *
 * @since 0.1.0
 * @category accessors
 */
export const run = (
  given?: RunOptions
): Effect.Effect<Ran, ExportError | InvalidRequest | ThreadlineError, ExportJobs> =>
  Effect.flatMap(ExportJobs, (jobs) => jobs.run(given))

/**
 * Does so again and again.
 *
 * @since 0.1.0
 * @category accessors
 */
export const watch = (given?: WatchOptions): Effect.Effect<void, ExportError | InvalidRequest, ExportJobs> =>
  Effect.flatMap(ExportJobs, (jobs) => jobs.watch(given))

/**
 * Makes the jobs of schedules that are due, and returns the jobs that a worker could take now, the oldest first. For an engine that
 * decides which worker takes which job; see `Service`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const ready: Effect.Effect<
  ReadonlyArray<model.Job>,
  InvalidRequest | ThreadlineError,
  ExportJobs
> = Effect.flatMap(ExportJobs, (jobs) => jobs.ready)

/**
 * Runs this job if it can be taken now, and returns it as it is then; see `Service`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const runJob = (id: string, given?: RunJobOptions): Effect.Effect<model.Job, Failure, ExportJobs> =>
  Effect.flatMap(ExportJobs, (jobs) => jobs.runJob(id, given))

/**
 * What adding a schedule with these options would fail with, without a database.
 *
 * @since 0.1.0
 * @category guards
 */
export const validateSchedule = (given: ScheduleOptions): Effect.Effect<void, ExportError | InvalidRequest> =>
  scheduling.validate(given)

/**
 * Adds a schedule; see `Service`.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { ExportJobs } from "threadline"
 *
 * export const nightly = ExportJobs.addSchedule({
 *   name: "siem",
 *   cron: "0 2 * * *",
 *   timeZone: "Europe/Berlin",
 *   window: "since-last",
 *   format: "ndjson",
 *   compression: "gzip"
 * })
 * ```
 */
export const addSchedule = (
  given: ScheduleOptions
): Effect.Effect<scheduling.ScheduleModel, ExportError | InvalidRequest | ThreadlineError, ExportJobs> =>
  Effect.flatMap(ExportJobs, (jobs) => jobs.addSchedule(given))

/**
 * The schedules, by name.
 *
 * @since 0.1.0
 * @category accessors
 */
export const schedules: Effect.Effect<
  ReadonlyArray<scheduling.ScheduleModel>,
  InvalidRequest | ThreadlineError,
  ExportJobs
> = Effect.flatMap(ExportJobs, (jobs) => jobs.schedules)

/**
 * Removes a schedule; see `Service`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const removeSchedule = (
  name: string,
  given?: ScopeOption
): Effect.Effect<void, InvalidRequest | NotFound | ThreadlineError, ExportJobs> =>
  Effect.flatMap(ExportJobs, (jobs) => jobs.removeSchedule(name, given))
