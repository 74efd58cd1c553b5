/**
 * Runs one job at a time. The worker holds a lease on the job and renews it while it writes the file into the store. Then it stores in the
 * database how the job ended. A worker that loses its lease stops and leaves no file.
 */
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { randomUUID } from "node:crypto"
import { ThreadlineError } from "../../../ThreadlineError.js"
import { told } from "../../core/request.js"
import type { Reached } from "../../feed/since.js"
import type { ReadScope } from "../../record/scope.js"
import type { Storage } from "../../record/storage.js"
import { endsWithin } from "../../sql/leaving.js"
import { ExportError } from "../exportError.js"
import type { Manifest } from "../manifest.js"
import type { Request } from "../request.js"
import type { Service as Store } from "../store/store.js"
import { bytesOf, decoded } from "../stream.js"
import type { Job, NamedScope } from "./model.js"
import type { Decided } from "./options.js"
import {
  abandoned,
  type Attempted,
  attempted,
  checkpointMoved,
  completedAction,
  type Failure,
  failedAction,
  thrown
} from "./outcome.js"
import { contentTypes, encodingOf } from "../service.js"
import * as table from "./table.js"

/** The progress of a job. */
export interface JobProgress extends table.SoFar {
  readonly job: Job
  /** Since this attempt began. */
  readonly seconds: number
}

/** Callbacks while jobs run. */
export interface Telling {
  /** Called repeatedly with the progress of a job. */
  readonly onProgress?: ((progress: JobProgress) => Effect.Effect<void>) | undefined
  /** Called when a job was completed or has failed. */
  readonly onEnded?: ((job: Job) => Effect.Effect<void>) | undefined
}

export const tellingNames = { onProgress: true, onEnded: true } as const satisfies {
  readonly [Field in keyof Required<Telling>]: true
}

/** What running jobs needs: where jobs and files are kept, and where exports are read. */
export interface Working {
  readonly storage: Storage
  readonly source: Effect.Effect<Storage, ThreadlineError>
  readonly store: Store
  readonly decided: Decided
}

/** The lease is lost, or the job was cancelled. What this worker wrote does not count. */
class LeaseLost extends Data.TaggedError("LeaseLost") {}

/** Something of the host threw: its store, its scope or a callback. */
class Defect extends Data.TaggedError("Defect")<{ readonly cause: unknown }> {}

/** How often a worker stores its progress and looks whether its job was cancelled. */
const beat = Duration.seconds(1)

const beatOf = ({ leaseSeconds }: Decided) => Duration.min(beat, Duration.seconds(leaseSeconds / 3))

/** Renews the lease until it is lost. If the database does not answer, the lease is lost when it expires. */
const heartbeat = (
  { decided, storage }: Working,
  id: string,
  lease: table.Lease,
  soFar: Ref.Ref<table.SoFar>
): Effect.Effect<never, LeaseLost> =>
  Effect.gen(function* () {
    const lifetime = decided.leaseSeconds * 1000
    let renewedAt = yield* Clock.currentTimeMillis
    for (;;) {
      yield* Effect.sleep(beatOf(decided))
      const askedAt = yield* Clock.currentTimeMillis
      const remaining = renewedAt + lifetime - askedAt
      const held = yield* table.renew(storage, id, lease, yield* Ref.get(soFar)).pipe(
        Effect.timeoutFail({ duration: Math.max(1, remaining), onTimeout: () => new LeaseLost() }),
        Effect.map(Option.some),
        Effect.catchTag("ThreadlineError", () => Effect.succeedNone)
      )
      if (Option.contains(held, false) || (Option.isNone(held) && remaining <= 0)) {
        return yield* new LeaseLost()
      }
      if (Option.isSome(held)) {
        renewedAt = askedAt
      }
    }
  })

/** What the host answers about a scope. If it cannot say, nothing is read, and another attempt may help. */
const grantOf = (
  scope: NonNullable<Decided["scope"]>,
  named: NamedScope,
  { requestedBy }: Pick<Job, "requestedBy">
): Effect.Effect<Option.Option<ReadScope>, ThreadlineError> =>
  Effect.suspend(() => scope(named, requestedBy ?? undefined)).pipe(
    Effect.filterOrDieMessage(Option.isOption, "a scope is answered with an Option"),
    Effect.catchAllDefect((defect) =>
      Effect.zipRight(
        Effect.logError("threadline: a scope could not be decided", defect),
        new ThreadlineError({ reason: "Failed", detail: `the host could not decide about the scope ${named.name}` })
      )
    )
  )

export const grantedScopes = (
  { scope, scopeRequired }: Pick<Decided, "scope" | "scopeRequired">,
  job: Pick<Job, "requestedBy" | "scope">
): Effect.Effect<ReadonlyArray<ReadScope>, ExportError | ThreadlineError> => {
  if (job.scope === null) {
    return scopeRequired
      ? Effect.fail(
          new ExportError({ reason: "ScopeRefused", detail: "a scope is required here, and the job has none" })
        )
      : Effect.succeed([])
  }
  const refused = new ExportError({
    reason: "ScopeRefused",
    detail: `the host does not grant the scope ${job.scope.name}`
  })
  return scope === undefined
    ? refused
    : Effect.flatMap(
        grantOf(scope, job.scope, job),
        Option.match({ onNone: () => refused, onSome: (granted) => Effect.succeed([granted]) })
      )
}

/** The options of the export, from the job. */
const requestOf = (job: Job) => {
  const { columns, compression, filter, format, limit, order, raw, shape } = job.request
  return Either.map(
    decoded({
      format,
      filter,
      order,
      limit: limit ?? undefined,
      columns: columns ?? undefined,
      raw,
      shape: shape ?? undefined,
      compression: compression ?? undefined,
      requestedBy: job.requestedBy ?? undefined,
      scopeName: job.scope?.name
    }),
    ({ request }) => request
  )
}

/** Fails after more bytes than are allowed. */
const bounded =
  (most: number) =>
  <E>(bytes: Stream.Stream<Uint8Array, E>): Stream.Stream<Uint8Array, E | ExportError> =>
    most === Infinity
      ? bytes
      : Stream.mapAccumEffect(bytes, 0, (before, piece) => {
          const after = before + piece.length
          return after > most
            ? Effect.fail(new ExportError({ reason: "TooLarge", detail: `the file would exceed ${most} bytes` }))
            : Effect.succeed([after, piece] as const)
        })

interface Written {
  readonly manifest: Manifest
  readonly reached: Reached | undefined
}

/** Writes the file of a job. */
const write = Effect.fnUntraced(function* (
  { decided, source, store }: Working,
  { checkpoint, job, sinceLast }: table.Claimed,
  file: string,
  noteProgress: (progress: table.SoFar) => Effect.Effect<void>
): Effect.fn.Return<Written, Failure> {
  const request: Request = yield* requestOf(job)
  const scopes = yield* grantedScopes(decided, job)
  const manifest = yield* Ref.make<Manifest | undefined>(undefined)
  const reached = yield* Ref.make<Reached | undefined>(undefined)
  const exporting = {
    storage: yield* source,
    scopes,
    scopeRequired: decided.scopeRequired,
    recorder: undefined,
    continuing: sinceLast ? { checkpoint, onReached: (where: Reached) => Ref.set(reached, where) } : undefined
  }
  const bytes = bytesOf(exporting, request, {
    onManifest: (described) => Ref.set(manifest, described),
    onProgress: noteProgress
  })
  yield* store.write(file, bounded(decided.bytes)(bytes), {
    contentType: contentTypes[request.format],
    contentEncoding: encodingOf(request)
  })
  const described = yield* Ref.get(manifest)
  return described === undefined
    ? yield* new ThreadlineError({ reason: "Failed", detail: "an export ended without a manifest" })
    : { manifest: described, reached: yield* Ref.get(reached) }
})

/** While the database does not answer, the worker waits for as long as its lease lasts. */
const persistently = <A>(
  { leaseSeconds }: Decided,
  statement: Effect.Effect<A, ThreadlineError>
): Effect.Effect<A, ThreadlineError> =>
  Effect.retry(statement, {
    while: ({ reason }) => reason === "Unreachable",
    schedule: Schedule.spaced("500 millis").pipe(Schedule.upTo(Duration.seconds(leaseSeconds)))
  })

/** What the host gives may throw. That is one more way to fail, and must not end a worker: nobody else would run the jobs after this one. */
const withoutDefect = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E | Defect> =>
  Effect.catchAllDefect(effect, (cause) => new Defect({ cause }))

const logged = (what: string) => Effect.catchAll((error: unknown) => Effect.logWarning(`threadline: ${what}`, error))

/**
 * Removes a file that does not count. If the job was completed with it, and only the answer of the database was lost, it stays.
 */
const discard = ({ storage, store }: Working, id: string, file: string): Effect.Effect<void> =>
  table.find(storage, id).pipe(
    Effect.flatMap((job) => (job.state === "completed" && job.file === file ? Effect.void : store.remove(file))),
    logged("what an export left is removed later")
  )

/** The next wait after a failed attempt. */
const delayOf = ({ backoffSeconds }: Decided, attempt: number): number =>
  Math.min(3600, backoffSeconds * 2 ** Math.min(attempt - 1, 20))

const settled = (
  { decided: { onSettled }, storage }: Working,
  { onEnded }: Telling,
  id: string
): Effect.Effect<void> =>
  onSettled === undefined && onEnded === undefined
    ? Effect.void
    : Effect.flatMap(table.find(storage, id), (job) => Effect.zipRight(told(onEnded, job), told(onSettled, job))).pipe(
        withoutDefect,
        logged("the host was not told of an export")
      )

export type Ended = "completed" | "failed" | "queued" | "lost"

const fail = (working: Working, job: Job, lease: table.Lease, { again, error }: Attempted) =>
  Effect.gen(function* () {
    const { decided, storage } = working
    const state = yield* persistently(
      decided,
      table.fail(
        storage,
        job.id,
        lease,
        error,
        again ? delayOf(decided, job.attempt) : undefined,
        decided.record ? failedAction(job, error) : null
      )
    )
    return Option.match(state, {
      onNone: (): Ended => "lost",
      onSome: (found): Ended => (found === "failed" ? "failed" : "queued")
    })
  })

/** Completes a job whose file is written. */
const complete = Effect.fnUntraced(function* (
  working: Working,
  { checkpoint, job, sinceLast }: table.Claimed,
  lease: table.Lease,
  file: string,
  { manifest, reached }: Written
): Effect.fn.Return<Ended, ThreadlineError> {
  const { decided, storage, store } = working
  const answer = yield* persistently(
    decided,
    table.complete(storage, job.id, lease, {
      manifest,
      keepSeconds: decided.keepSeconds,
      checkpoint,
      reached: sinceLast ? reached : undefined,
      action: decided.record ? completedAction(manifest) : null
    })
  )
  if (Option.contains(answer, "completed")) {
    return "completed"
  }
  if (Option.contains(answer, "moved")) {
    yield* store.remove(file).pipe(logged("what an export left is removed later"))
    return yield* fail(working, job, lease, checkpointMoved)
  }
  // The answer to a first call may have been lost: then this call found no lease any more.
  const foundJob = yield* Effect.option(table.find(storage, job.id))
  if (Option.exists(foundJob, (stored) => stored.state === "completed" && stored.file === file)) {
    return "completed"
  }
  yield* discard(working, job.id, file)
  return "lost"
})

/** Runs a claimed job, and returns how it ended. */
const run = Effect.fnUntraced(function* (
  working: Working,
  claimed: table.Claimed,
  lease: table.Lease,
  { onProgress }: Telling
): Effect.fn.Return<Ended, ThreadlineError> {
  const { storage, store } = working
  const { formerFile, job } = claimed
  const { id } = job
  if (job.attempt > job.attempts) {
    return yield* fail(working, job, lease, abandoned)
  }
  if (formerFile !== undefined) {
    // Its name is known to this job alone. Under another name, a file that is still there would never be removed.
    const removed = yield* Effect.either(store.remove(formerFile))
    if (Either.isLeft(removed)) {
      return yield* fail(working, job, lease, attempted(removed.left, job))
    }
  }
  const named = formerFile === undefined ? Option.fromNullable(job.file) : yield* table.place(storage, id, lease)
  if (Option.isNone(named)) {
    return "lost"
  }
  const file = named.value
  const soFar = yield* Ref.make<table.SoFar>({ records: 0, bytes: 0, estimate: undefined })
  const begunAt = yield* Clock.currentTimeMillis
  const noteProgress = (progress: table.SoFar) =>
    Effect.zipRight(
      Ref.set(soFar, progress),
      onProgress === undefined
        ? Effect.void
        : Effect.flatMap(Clock.currentTimeMillis, (now) =>
            told(onProgress, { ...progress, job, seconds: (now - begunAt) / 1000 })
          )
    )
  const written = yield* write(working, claimed, file, noteProgress).pipe(
    Effect.either,
    Effect.raceFirst(heartbeat(working, id, lease, soFar)),
    Effect.map(Option.some),
    Effect.catchTag("LeaseLost", () => Effect.succeedNone)
  )
  if (Option.isNone(written)) {
    yield* discard(working, id, file)
    return "lost"
  }
  return yield* Either.match(written.value, {
    onLeft: (failure) => fail(working, job, lease, attempted(failure, job)),
    onRight: (whole) => complete(working, claimed, lease, file, whole)
  })
})

/**
 * Runs the next waiting job, or the one that is named. Returns none if it cannot be taken. An interrupted worker gives its job back.
 */
export const runNext = (
  working: Working,
  telling: Telling,
  wanted?: string
): Effect.Effect<Option.Option<Ended>, ThreadlineError> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const lease: table.Lease = { token: randomUUID(), seconds: working.decided.leaseSeconds }
      const claimed = yield* table
        .claim(working.storage, lease, wanted)
        .pipe(Effect.catchTag("threadline/NotFound", () => Effect.succeedNone))
      if (Option.isNone(claimed)) {
        return Option.none()
      }
      const { job } = claimed.value
      const { id } = job
      const exit = yield* Effect.exit(
        restore(
          Effect.catchAllDefect(run(working, claimed.value, lease, telling), (defect) =>
            Effect.zipRight(
              Effect.logError("threadline: what the host gives to a worker threw", defect),
              fail(working, job, lease, thrown)
            )
          )
        )
      )
      if (Exit.isFailure(exit) && Exit.isInterrupted(exit)) {
        yield* endsWithin(
          table.release(working.storage, id, lease).pipe(logged("a job waits for its lease")),
          "2 seconds"
        )
      }
      const ended = yield* exit
      yield* ended === "completed" || ended === "failed" ? settled(working, telling, id) : Effect.void
      return Option.some(ended)
    })
  )
