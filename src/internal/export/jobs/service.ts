/**
 * The service of jobs: the queue for callers, and the side of the worker.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { createHash } from "node:crypto"
import * as AuditContext from "../../../AuditContext.js"
import type * as Page from "../../../Page.js"
import { InvalidRequest, type NotFound, type ThreadlineError } from "../../../ThreadlineError.js"
import { compressedEndings } from "../../core/fileEnding.js"
import * as telemetry from "../../core/telemetry.js"
import { stringify } from "../../core/json.js"
import { id as checkId, mustBeObject } from "../../core/request.js"
import * as cursors from "../../record/cursor.js"
import { pageOf } from "../../record/page.js"
import type { Storage } from "../../record/storage.js"
import { ExportError } from "../exportError.js"
import { toFile } from "../file.js"
import type { Manifest } from "../manifest.js"
import { outerCompression } from "../request.js"
import { contentTypes, encodingOf } from "../service.js"
import type { Service as Store } from "../store/store.js"
import { jobOfToken, tokenOf } from "./link.js"
import type { Job, NamedScope } from "./model.js"
import { decide, type Options } from "./options.js"
import { type Failure, jobAction, queuedAction } from "./outcome.js"
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
import { grantedScopes, runNext, type Telling, type Working } from "./worker.js"

export interface Download {
  readonly job: Job
  /** A name to save the file as, such as `export-42.csv.gz`. */
  readonly fileName: string
  /** Such as `text/csv; charset=utf-8`. */
  readonly contentType: string
  /** The name that HTTP has for the compression. Undefined if the file is not compressed. */
  readonly contentEncoding: string | undefined
  readonly bytes: Stream.Stream<Uint8Array, ExportError>
}

export interface DownloadToOptions extends ScopeOption {
  /** Replaces a file of that name, and its manifest. */
  readonly force?: boolean | undefined
}

export interface LinkOptions extends ScopeOption {
  /** How long the link works, at most seven days and not longer than the file is kept. The default is an hour. */
  readonly expiresIn?: Duration.DurationInput | undefined
}

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
  /** Removes a schedule. Its jobs stay. Where it had got to is forgotten: a new schedule of the same name begins anew. */
  readonly removeSchedule: (name: string) => Effect.Effect<void, InvalidRequest | NotFound | ThreadlineError>
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
  /** The same jobs, but each call must name a scope. */
  readonly withScopeRequired: () => Service
}

export interface Making {
  /** Where jobs are kept: on a primary. */
  readonly storage: Storage
  /** What exports are read from. */
  readonly source: Effect.Effect<Storage, ThreadlineError>
  readonly store: Store | undefined
  readonly options: Options
}

const endingOf = (request: Job["request"]): string => {
  const compression = outerCompression(request)
  return `${request.format}${compression === undefined ? "" : compressedEndings[compression]}`
}

const wrongState = (job: Job, rule: string) =>
  new ExportError({ reason: "WrongState", detail: `the export ${job.id} is ${job.state}: ${rule}` })

const noStore = () =>
  new ExportError({ reason: "NoStore", detail: "no store for the files of exports is configured (ExportStore)" })

const longestLink = Duration.days(7)

const linkLife = (given: Duration.DurationInput): Effect.Effect<Duration.Duration, InvalidRequest> =>
  Option.match(
    Option.filter(Duration.decodeUnknown(given), (life) =>
      Duration.between(life, { minimum: Duration.seconds(1), maximum: longestLink })
    ),
    {
      onNone: () => new InvalidRequest({ field: "expiresIn", rule: "must be a duration from 1 second to 7 days" }),
      onSome: Effect.succeed
    }
  )

const linkRefused = () =>
  Effect.fail(new ExportError({ reason: "LinkRefused", detail: "no links are configured for the files of exports" }))

const withToken = (address: string, token: string): string => {
  const url = new URL(address)
  url.searchParams.set("token", token)
  return url.href
}

const fileNameOf = ({ id, request }: Job): string => `export-${id}.${endingOf(request)}`

/** The bytes. The stream fails at its end if their hash is not that of the manifest. */
const compared = (
  bytes: Stream.Stream<Uint8Array, ExportError>,
  manifest: Manifest,
  onManifest: (manifest: Manifest) => Effect.Effect<void>
): Stream.Stream<Uint8Array, ExportError> =>
  Stream.suspend(() => {
    const hash = createHash("sha256")
    return Stream.concat(
      Stream.map(bytes, (piece) => {
        hash.update(piece)
        return piece
      }),
      Stream.execute(
        Effect.suspend(() =>
          hash.digest("hex") === manifest.sha256
            ? onManifest(manifest)
            : new ExportError({
                reason: "StoreFailed",
                detail: "the store gave another file than the one that was written"
              })
        )
      )
    )
  })

const storedScope = (scope: NamedScope | undefined): Job["scope"] =>
  scope === undefined ? null : { name: scope.name, parameters: scope.parameters ?? {} }

export const make = (making: Making): Service => {
  const { options, source, storage, store: given } = making
  const decided = decide(options)

  const named = <A, E>(
    name: (typeof telemetry.operations.exportJobs)[number],
    effect: Effect.Effect<A, E>
  ): Effect.Effect<A, E> => telemetry.operation("exportJobs", name)(effect)

  const storeOf: Effect.Effect<Store, ExportError> = Effect.suspend(() =>
    given === undefined ? noStore() : Effect.succeed(given)
  )

  const working: Effect.Effect<Working, ExportError | InvalidRequest> = Effect.gen(function* () {
    return { storage, source, store: yield* storeOf, decided: yield* decided }
  })

  const scopeOf = (options: ScopeOption) =>
    Effect.gen(function* () {
      yield* mustBeObject(options)
      const { scopeRequired } = yield* decided
      const scope = yield* decodeScope(options.scope)
      return scope === undefined && scopeRequired ? yield* requiredScope() : scope
    })

  const find = (id: string, options: ScopeOption) =>
    Effect.gen(function* () {
      const scope = yield* scopeOf(options)
      return yield* table.find(storage, yield* checkId("id", id), scope)
    })

  /** Gives an effect the action to record, if exports are recorded. */
  const acting = <A, E>(
    name: Parameters<typeof jobAction>[0],
    job: Job,
    use: (action: table.Action, context: AuditContext.Fields) => Effect.Effect<A, E>
  ) =>
    Effect.gen(function* () {
      const { record } = yield* decided
      return yield* use(record ? jobAction(name, job) : null, yield* AuditContext.current)
    })

  const change = (
    name: "cancelled" | "retried",
    from: ReadonlyArray<Job["state"]>,
    rule: string,
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
        : yield* wrongState(after, rule)
    })

  const cancel = change("cancelled", ["queued", "running"], "only one that waits or runs can be cancelled", (...args) =>
    table.cancel(storage, ...args)
  )

  const retry = change(
    "retried",
    ["failed", "cancelled"],
    "only one that failed or was cancelled can be retried; queue a new one",
    (...args) => table.retry(storage, ...args)
  )

  /** The job, if its file can be downloaded now. */
  const available = (job: Job) =>
    Effect.gen(function* () {
      const now = yield* Clock.currentTimeMillis
      const over = job.expiresAt !== null && Date.parse(job.expiresAt) <= now
      if (job.state === "expired" || (job.state === "completed" && (over || job.file === null))) {
        return yield* new ExportError({
          reason: "Expired",
          detail: `the file of the export ${job.id} has expired; queue a new one`
        })
      }
      return job.state === "completed" && job.file !== null
        ? { job, file: job.file, now }
        : yield* wrongState(job, "it has no file")
    })

  const downloadOf = (found: Job) =>
    Effect.gen(function* () {
      const store = yield* storeOf
      const { file, job } = yield* available(found)
      yield* acting("downloaded", job, (action, context) => table.record(storage, action, context))
      return {
        job,
        fileName: fileNameOf(job),
        contentType: contentTypes[job.request.format],
        contentEncoding: encodingOf(job.request),
        bytes: store.read(file)
      } satisfies Download
    })

  const downloadTo = Effect.fnUntraced(function* (
    id: string,
    path: string,
    { force = false, ...which }: DownloadToOptions = {}
  ): Effect.fn.Return<Manifest, Failure> {
    const foundJob = yield* find(id, which)
    return yield* toFile(path, force, (onManifest) =>
      Stream.unwrap(
        Effect.map(downloadOf(foundJob), ({ bytes, job }) =>
          job.manifest === null ? bytes : compared(bytes, job.manifest, onManifest)
        )
      )
    )
  })

  const link = Effect.fnUntraced(function* (
    id: string,
    { expiresIn = "1 hour", ...which }: LinkOptions = {}
  ): Effect.fn.Return<string, Failure> {
    const life = yield* linkLife(expiresIn)
    const { links } = yield* decided
    const store = yield* storeOf
    const { file, job, now } = yield* available(yield* find(id, which))
    const end = job.expiresAt === null ? Infinity : Date.parse(job.expiresAt)
    const until = Math.min(now + Duration.toMillis(life), end)
    if (store.link === undefined && links === undefined) {
      return yield* new ExportError({
        reason: "Unsupported",
        detail: "this store makes no links: give the jobs `links`, with a URL that you serve and a key"
      })
    }
    yield* acting("downloaded", job, (action, context) => table.record(storage, action, context))
    return store.link === undefined
      ? withToken(links?.url ?? "", tokenOf(links?.key ?? "", job.id, until))
      : yield* store.link(file, {
          expiresIn: Duration.millis(Math.max(1000, until - now)),
          fileName: fileNameOf(job)
        })
  })

  const open = Effect.fnUntraced(function* (token: string): Effect.fn.Return<Download, Failure> {
    const { links } = yield* decided
    const now = yield* Clock.currentTimeMillis
    const id = yield* links === undefined ? linkRefused() : jobOfToken(links.key, token, now)
    return yield* downloadOf(yield* table.find(storage, id))
  })

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
    yield* mustBeObject(options)
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
    download: (id, options = {}) => named("download", Effect.flatMap(find(id, options), downloadOf)),
    downloadTo: (id, path, options) => named("downloadTo", downloadTo(id, path, options)),
    link: (id, options) => named("link", link(id, options)),
    open: (token) => named("open", open(token)),
    expire: named("expire", Effect.flatMap(working, expire)),
    run: (options) =>
      named(
        "run",
        Effect.flatMap(working, (worker) => run(worker, options))
      ),
    ready: named(
      "ready",
      Effect.flatMap(decided, (known) => Effect.zipRight(schedules.makeDue(storage, known), table.ready(storage)))
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
    removeSchedule: (name) => named("removeSchedule", schedules.remove(storage, name)),
    check: (options) => Effect.flatMap(working, () => checkRun(options)),
    withScopeRequired: () => make({ ...making, options: { ...options, scopeRequired: true } })
  }
}
