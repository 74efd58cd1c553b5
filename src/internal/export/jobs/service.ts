/**
 * The service of jobs: the queue for callers, and the side of the worker.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as AuditContext from "../../../AuditContext.js"
import type * as Page from "../../../Page.js"
import { InvalidRequest, type NotFound, type ThreadlineError } from "../../../ThreadlineError.js"
import * as telemetry from "../../core/telemetry.js"
import { stringify } from "../../core/json.js"
import { id as checkId, mustHaveOnly } from "../../core/request.js"
import * as cursors from "../../record/cursor.js"
import { pageOf } from "../../record/page.js"
import type { Storage } from "../../record/storage.js"
import { ExportError } from "../exportError.js"
import type { Manifest } from "../manifest.js"
import type { Service as Store } from "../store/store.js"
import {
  actingOn,
  type Download,
  type DownloadToOptions,
  type LinkOptions,
  makeDownloads,
  wrongState
} from "./downloads.js"
import type { Job, NamedScope } from "./model.js"
import { decide, type Options } from "./options.js"
import { type Failure, queuedAction } from "./outcome.js"
import {
  decodeAsked,
  decodeListing,
  decodeScope,
  type ListOptions,
  type QueueOptions,
  requiredScope,
  type ScopeOption
} from "./queue.js"
import * as schedules from "./schedule.js"
import * as table from "./table.js"
import { checkRun, expire, type Ran, run, type RunOptions, watch, type WatchOptions } from "./runner.js"
import { grantedScopes, runNext, type Telling, tellingNames, type Working } from "./worker.js"

export interface Service {
  /**
   * Queues an export. It is not part of a transaction of yours. Wrong options fail with `InvalidRequest` at once. A filter with an unknown
   * table makes the job fail later.
   */
  readonly queue: (
    options: QueueOptions
  ) => Effect.Effect<Job, ExportError | InvalidRequest | NotFound | ThreadlineError>
  /** Jobs, newest first. */
  readonly list: (options?: ListOptions) => Effect.Effect<Page.Page<Job>, InvalidRequest | ThreadlineError>
  readonly get: (id: string, options?: ScopeOption) => Effect.Effect<Job, InvalidRequest | NotFound | ThreadlineError>
  /** Cancels a job that waits or runs. Its worker stops within a second. Its file is removed. */
  readonly cancel: (id: string, options?: ScopeOption) => Effect.Effect<Job, Failure>
  /** Queues a failed or cancelled job again. It gets all of its attempts again. */
  readonly retry: (id: string, options?: ScopeOption) => Effect.Effect<Job, Failure>
  /** The file of a completed job. The download is recorded before its first byte. */
  readonly download: (id: string, options?: ScopeOption) => Effect.Effect<Download, Failure>
  /** Writes the file of a completed job to a path, with its manifest beside it. The bytes are compared with the manifest meanwhile. */
  readonly downloadTo: (id: string, path: string, options?: DownloadToOptions) => Effect.Effect<Manifest, Failure>
  /**
   * A link to the file of a completed job. Anybody may follow it until it expires. If the store makes links, it is one of these. Otherwise
   * it goes to `links.url`, with a signed `token` for `open`. Making a link is recorded as a download.
   */
  readonly link: (id: string, options?: LinkOptions) => Effect.Effect<string, Failure>
  /** The file that the token of a link is for. */
  readonly open: (token: string) => Effect.Effect<Download, Failure>
  /**
   * Adds a schedule. It makes jobs at its ticks while a worker runs. Fails with an `ExportError` with the reason `ScheduleExists` if the
   * name is taken.
   */
  readonly addSchedule: (
    options: schedules.ScheduleOptions
  ) => Effect.Effect<schedules.ScheduleModel, ExportError | InvalidRequest | ThreadlineError>
  /** The schedules, by name. */
  readonly schedules: Effect.Effect<ReadonlyArray<schedules.ScheduleModel>, InvalidRequest | ThreadlineError>
  /**
   * Removes a schedule. Its jobs stay. Where it had got to is forgotten: a new schedule of the same name begins anew. With a scope, only a
   * schedule of that scope is removed.
   */
  readonly removeSchedule: (
    name: string,
    options?: ScopeOption
  ) => Effect.Effect<void, InvalidRequest | NotFound | ThreadlineError>
  /** Removes expired files, and returns how many. The store removes a file before its job is marked. */
  readonly expire: Effect.Effect<number, ExportError | InvalidRequest | ThreadlineError>
  /** Makes the jobs of schedules that are due, runs every waiting job, and removes expired files. */
  readonly run: (options?: RunOptions) => Effect.Effect<Ran, ExportError | InvalidRequest | ThreadlineError>
  /** Does what `run` does, repeatedly. While the database cannot be used, it waits. Failures are logged. */
  readonly watch: (options?: WatchOptions) => Effect.Effect<void, ExportError | InvalidRequest>
  /**
   * Makes the jobs of schedules that are due, and returns the jobs that a worker could take now, the oldest first: they wait, or their
   * worker is dead. At most 1000. For an engine that decides which worker takes which job.
   */
  readonly ready: Effect.Effect<ReadonlyArray<Job>, InvalidRequest | ThreadlineError>
  /** Runs this job if it can be taken now, and returns its state after that. A job that another worker has is left alone. */
  readonly runJob: (id: string, options?: Telling) => Effect.Effect<Job, Failure>
  /** Fails if a worker could not run with these options. */
  readonly check: (options?: WatchOptions) => Effect.Effect<void, ExportError | InvalidRequest>
  /** The same jobs for callers: each call must name a scope. What a worker does is refused, because it is about the jobs of all scopes. */
  readonly withScopeRequired: () => Service
}

export interface Making {
  /** Where jobs are kept: on a primary. */
  readonly storage: Storage
  /** What exports are read from. */
  readonly source: Effect.Effect<Storage, ThreadlineError>
  readonly store: Store | undefined
  readonly options: Options
  /** Whether only callers use it, each under a scope. */
  readonly callersOnly?: boolean | undefined
}

const noStore = () =>
  new ExportError({ reason: "NoStore", detail: "no store for the files of exports is configured (ExportStore)" })

const storedScope = (scope: NamedScope | undefined): Job["scope"] =>
  scope === undefined ? null : { name: scope.name, parameters: scope.parameters ?? {} }

export const make = (making: Making): Service => {
  const { callersOnly = false, options, source, storage, store: given } = making
  const decided = decide(options)

  const named = <A, E>(
    name: (typeof telemetry.operations.exportJobs)[number],
    effect: Effect.Effect<A, E>
  ): Effect.Effect<A, E> => telemetry.operation("exportJobs", name)(effect)

  const workerOnly: Effect.Effect<void, InvalidRequest> = callersOnly
    ? Effect.fail(
        new InvalidRequest({
          field: "scope",
          rule: "restricts nothing that a worker does, which is about the jobs of all scopes: call this outside of it"
        })
      )
    : Effect.void

  const storeOf: Effect.Effect<Store, ExportError> = Effect.suspend(() =>
    given === undefined ? noStore() : Effect.succeed(given)
  )

  const working: Effect.Effect<Working, ExportError | InvalidRequest> = Effect.gen(function* () {
    yield* workerOnly
    return { storage, source, store: yield* storeOf, decided: yield* decided }
  })

  const scopeOf = (options: ScopeOption) =>
    Effect.gen(function* () {
      yield* mustHaveOnly(options, { scope: true })
      const { scopeRequired } = yield* decided
      const scope = yield* decodeScope(options.scope)
      return scope === undefined && scopeRequired ? yield* requiredScope() : scope
    })

  const find = (id: string, options: ScopeOption) =>
    Effect.gen(function* () {
      const scope = yield* scopeOf(options)
      return yield* table.find(storage, yield* checkId("id", id), scope)
    })

  const acting = actingOn(decided)

  const change = (
    name: "cancelled" | "retried",
    from: ReadonlyArray<Job["state"]>,
    ruleOf: (outcome: Option.Option<string>) => string,
    statement: (
      id: string,
      action: table.Action,
      context: AuditContext.Fields
    ) => Effect.Effect<Option.Option<string>, ThreadlineError>
  ) =>
    Effect.fnUntraced(function* (id: string, options: ScopeOption = {}): Effect.fn.Return<Job, Failure> {
      const job = yield* find(id, options)
      const changedJob = yield* acting(name, job, (action, context) => statement(id, action, context))
      const after = yield* table.find(storage, id)
      return Option.exists(changedJob, (state) => from.some((allowed) => allowed === state))
        ? after
        : yield* wrongState(after, ruleOf(changedJob))
    })

  const cancel = change(
    "cancelled",
    ["queued", "running"],
    () => "only one that waits or runs can be cancelled",
    (...args) => table.cancel(storage, ...args)
  )

  const retry = change(
    "retried",
    ["failed", "cancelled"],
    (outcome) =>
      Option.contains(outcome, table.unscheduled)
        ? "it went on where the last one of its schedule ended, and the schedule was removed; queue a new one"
        : "only one that failed or was cancelled can be retried; queue a new one",
    (...args) => table.retry(storage, ...args)
  )

  const downloads = makeDownloads({ storage, decided, storeOf, acting, find })

  const queue = Effect.fnUntraced(function* (
    asked: QueueOptions
  ): Effect.fn.Return<Job, ExportError | InvalidRequest | NotFound | ThreadlineError> {
    const { attempts, record, scopeRequired, waitingPerActor, ...rest } = yield* decided
    const decodedRequest = yield* decodeAsked(asked)
    if (decodedRequest.scope === undefined && scopeRequired) {
      return yield* requiredScope()
    }
    const about = { request: decodedRequest.request, scope: storedScope(decodedRequest.scope), schedule: null }
    yield* grantedScopes(
      { ...rest, scopeRequired },
      { scope: about.scope, requestedBy: decodedRequest.requestedBy ?? null }
    )
    const id = yield* table.queue(
      storage,
      decodedRequest,
      attempts,
      waitingPerActor,
      record ? queuedAction(about) : null
    )
    return yield* Option.match(id, {
      onNone: () =>
        Effect.fail(
          new ExportError({
            reason: "TooManyJobs",
            detail: `this actor has ${waitingPerActor} exports waiting, and no more are allowed`
          })
        ),
      onSome: (made) => table.find(storage, made)
    })
  })

  const list = Effect.fnUntraced(function* (
    options: ListOptions = {}
  ): Effect.fn.Return<Page.Page<Job>, InvalidRequest | ThreadlineError> {
    const { cursor, limit, ...which } = yield* decodeListing(options)
    if (which.scope === undefined && (yield* decided).scopeRequired) {
      return yield* requiredScope()
    }
    const query: cursors.Query = { kind: "exports", order: "ids", text: stringify(which) }
    const after = cursor === undefined ? undefined : yield* cursors.decode(storage, query, cursor)
    const jobRows = yield* table.list(storage, { ...which, before: after?.major }, limit + 1)
    return yield* pageOf(storage, jobRows, limit, query, (job) => ({ major: BigInt(job.id), id: 0n }))
  })

  const runJob = Effect.fnUntraced(function* (id: string, options: Telling = {}): Effect.fn.Return<Job, Failure> {
    yield* mustHaveOnly(options, tellingNames)
    yield* workerOnly
    const job = yield* table.find(storage, yield* checkId("id", id))
    yield* runNext(yield* working, options, job.id)
    return yield* table.find(storage, job.id)
  })

  return {
    queue: (asked) => named("queue", queue(asked)),
    list: (options) => named("list", list(options)),
    get: (id, options = {}) => named("get", find(id, options)),
    cancel: (id, options) => named("cancel", cancel(id, options)),
    retry: (id, options) => named("retry", retry(id, options)),
    download: (id, options = {}) => named("download", Effect.flatMap(find(id, options), downloads.of)),
    downloadTo: (id, path, options) => named("downloadTo", downloads.to(id, path, options)),
    link: (id, options) => named("link", downloads.link(id, options)),
    open: (token) => named("open", downloads.open(token)),
    expire: named("expire", Effect.flatMap(working, expire)),
    run: (options) =>
      named(
        "run",
        Effect.flatMap(working, (worker) => run(worker, options))
      ),
    ready: named(
      "ready",
      Effect.flatMap(Effect.zipRight(workerOnly, decided), (known) =>
        Effect.zipRight(schedules.makeDue(storage, known), table.ready(storage))
      )
    ),
    runJob: (id, options) => named("runJob", runJob(id, options)),
    watch: (options) => Effect.flatMap(working, (worker) => watch(worker, options)),
    addSchedule: (asked) =>
      named(
        "addSchedule",
        Effect.flatMap(decided, (known) => schedules.add(storage, known, asked))
      ),
    schedules: named(
      "schedules",
      Effect.flatMap(
        decided,
        ({ scopeRequired }): Effect.Effect<ReadonlyArray<schedules.ScheduleModel>, InvalidRequest | ThreadlineError> =>
          scopeRequired ? Effect.fail(requiredScope()) : schedules.list(storage)
      )
    ),
    removeSchedule: (name, options = {}) =>
      named(
        "removeSchedule",
        Effect.flatMap(scopeOf(options), (scope) => schedules.remove(storage, name, scope))
      ),
    check: (options) => Effect.flatMap(working, () => checkRun(options)),
    withScopeRequired: () => make({ ...making, callersOnly: true, options: { ...options, scopeRequired: true } })
  }
}
