/**
 * The loop of a worker. It makes the jobs that are due, runs the jobs that wait, and removes expired files.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import * as AuditContext from "../../../AuditContext.js"
import { InvalidRequest, type ThreadlineError } from "../../../ThreadlineError.js"
import { mustHaveOnly } from "../../core/request.js"
import { ExportError } from "../exportError.js"
import { jobAction } from "./outcome.js"
import { makeDue } from "./schedule.js"
import * as table from "./table.js"
import { type Ended, runNext, type Telling, tellingNames, type Working } from "./worker.js"

export interface RunOptions extends Telling {
  /** Jobs that run at the same time, at most 16. The default is 1. */
  readonly concurrency?: number | undefined
}

export interface WatchOptions extends RunOptions {
  /** When the worker looks for work again. The default is every 2 seconds. If the schedule ends, the worker ends. */
  readonly poll?: Schedule.Schedule<unknown> | undefined
}

/** What a run did. */
export interface Ran {
  readonly completed: number
  readonly failed: number
  /** Failed attempts that are repeated later. */
  readonly postponed: number
  /** Files that were removed because they had expired. */
  readonly expired: number
}

const optionNames = { ...tellingNames, concurrency: true, poll: true } as const satisfies {
  readonly [Field in keyof Required<WatchOptions>]: true
}

const mostAtOnce = 16

const concurrencyOf = (options: RunOptions): Effect.Effect<number, InvalidRequest> =>
  Effect.flatMap(mustHaveOnly(options, optionNames), () => {
    const { concurrency = 1 } = options
    return Number.isInteger(concurrency) && concurrency >= 1 && concurrency <= mostAtOnce
      ? Effect.succeed(concurrency)
      : Effect.fail(
          new InvalidRequest({ field: "concurrency", rule: `must be a whole number from 1 to ${mostAtOnce}` })
        )
  })

export const checkRun = (options: RunOptions = {}): Effect.Effect<void, InvalidRequest> =>
  Effect.asVoid(concurrencyOf(options))

/** Removes a file from the store of the host, which may also throw. */
const remove = (store: Working["store"], file: string): Effect.Effect<void, ExportError> =>
  Effect.catchAllDefect(
    Effect.suspend(() => store.remove(file)),
    (defect) =>
      Effect.zipRight(
        Effect.logError("threadline: the store threw", defect),
        new ExportError({ reason: "StoreFailed", detail: `the store threw when it removed ${file}` })
      )
  )

/**
 * Removes expired files, first from the store, then in the database. Returns how many completed jobs have expired. Jobs without a file are
 * removed after a while. If a file cannot be removed, the others are, and then this fails.
 */
export const expire = Effect.fnUntraced(function* ({
  decided,
  storage,
  store
}: Working): Effect.fn.Return<number, ExportError | ThreadlineError> {
  const context = yield* AuditContext.current
  let expired = 0
  let failure: ExportError | undefined
  let after = "0"
  for (;;) {
    const jobs = yield* table.removable(storage, after)
    for (const job of jobs) {
      after = job.id
      if (job.file !== null) {
        const removed = yield* Effect.either(remove(store, job.file))
        if (Either.isLeft(removed)) {
          failure ??= removed.left
          continue
        }
        const action = decided.record ? jobAction("expired", job) : null
        expired += (yield* table.removed(storage, job.id, job.file, action, context)) ? 1 : 0
      }
    }
    if (jobs.length < table.mostRemovable) {
      break
    }
  }
  while ((yield* table.forget(storage, decided.forgetSeconds)) === table.mostRemovable) {
    // There may be more.
  }
  return failure === undefined ? expired : yield* failure
})

/** Runs jobs until none waits. */
const drain = Effect.fnUntraced(function* (working: Working, concurrency: number, { onEnded, onProgress }: RunOptions) {
  const counts = yield* Ref.make<Readonly<Record<Ended, number>>>({ completed: 0, failed: 0, queued: 0, lost: 0 })
  const worker = Effect.gen(function* () {
    for (;;) {
      const ended = yield* runNext(working, { onEnded, onProgress })
      if (Option.isNone(ended)) {
        return
      }
      yield* Ref.update(counts, (before) => ({ ...before, [ended.value]: before[ended.value] + 1 }))
    }
  })
  yield* Effect.all(
    Array.from({ length: concurrency }, () => worker),
    { concurrency, discard: true }
  )
  return yield* Ref.get(counts)
})

const once = Effect.fnUntraced(function* (
  working: Working,
  concurrency: number,
  options: RunOptions
): Effect.fn.Return<Ran, ExportError | ThreadlineError> {
  yield* makeDue(working.storage, working.decided)
  const { completed, failed, queued } = yield* drain(working, concurrency, options)
  return { completed, failed, postponed: queued, expired: yield* expire(working) }
})

export const run = (working: Working, options: RunOptions = {}) =>
  Effect.flatMap(concurrencyOf(options), (concurrency) => once(working, concurrency, options))

export const watch = (working: Working, options: WatchOptions = {}): Effect.Effect<void, InvalidRequest> =>
  Effect.flatMap(concurrencyOf(options), (concurrency) =>
    once(working, concurrency, options).pipe(
      Effect.withTracerEnabled(false),
      Effect.catchAll((error) => Effect.logWarning("threadline: exports wait", error)),
      Effect.repeat(options.poll ?? Schedule.spaced("2 seconds")),
      Effect.asVoid
    )
  )
