/**
 * Consumers: batches handled at least once, in order, by one runner at a time.
 */
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { randomUUID } from "node:crypto"
import { InvalidRequest, ThreadlineError } from "../../ThreadlineError.js"
import * as checkpoints from "./checkpoint.js"
import type { Batch, Consumed } from "./model.js"
import { batch, type Decoded, decodeRequest, type Options, readFirstPosition, step } from "./read.js"
import * as stores from "./store.js"
import { mustBeObject, type ReadError } from "../core/request.js"
import type { Storage } from "../record/storage.js"
import { tableOf } from "../record/key.js"
import { checkTables } from "../record/tables.js"
import { endsWithin } from "../sql/leaving.js"
import { withoutConnection } from "../sql/owned.js"
import { longestLease } from "../core/limits.js"

export interface Polling {
  /** Whether it continues after it has caught up. Otherwise it ends there. */
  readonly live?: boolean | undefined
  /** When a live feed looks again: every second unless given. The schedule starts anew after each batch. If it ends, the feed ends. */
  readonly poll?: Schedule.Schedule<unknown> | undefined
}

/**
 * Options of `consume`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConsumeOptions extends Omit<Options, "checkpoint">, Polling {
  /**
   * Runs again after a failure, of the handler or of the database, as the schedule says. The schedule starts anew after each batch that
   * was handled and stored, so that a consumer that runs for months does not wait longer and longer. If it ends, `consume` fails. What
   * is wrong with the options is not tried again.
   */
  readonly retry?: Schedule.Schedule<unknown, unknown> | undefined
  /** How long a dead runner holds the consumer's name: 30 seconds unless given, at least 1 second, at most a day. */
  readonly lease?: Duration.DurationInput | undefined
}

/** Waits as the schedule says; false at its end. */
export interface Waiting {
  readonly wait: Effect.Effect<boolean>
  readonly reset: Effect.Effect<void>
}

export const waiting = (options: Polling): Effect.Effect<Waiting> =>
  options.live === true
    ? Effect.map(Schedule.driver(options.poll ?? Schedule.spaced("1 second")), (driver) => ({
        wait: Effect.match(driver.next(undefined), { onFailure: () => false, onSuccess: () => true }),
        reset: driver.reset
      }))
    : Effect.succeed({ wait: Effect.succeed(false), reset: Effect.void })

class LeaseLost extends Data.TaggedError("LeaseLost") {}

const leaseSeconds = (input: Duration.DurationInput): Effect.Effect<number, InvalidRequest> => {
  const seconds = Option.match(
    typeof input === "object" && !Duration.isDuration(input) ? Option.none() : Duration.decodeUnknown(input),
    { onNone: () => Number.NaN, onSome: Duration.toSeconds }
  )
  return seconds >= 1 && seconds <= longestLease
    ? Effect.succeed(seconds)
    : Effect.fail(new InvalidRequest({ field: "lease", rule: "must be a duration from 1 second to a day" }))
}

interface Run<E, R> {
  readonly storage: Storage
  readonly lease: stores.Lease
  readonly decoded: Decoded
  readonly handler: (batch: Batch) => Effect.Effect<unknown, E, R>
  readonly pause: Waiting
  readonly live: boolean
  /** Runs once a batch is handled and its checkpoint stored. */
  readonly delivered: Effect.Effect<void>
  /** What was handled so far. */
  readonly tally: { batches: number; changes: number }
}

/**
 * Holds the lease until it is lost. A handler that holds the only connection of the pool keeps the lease from being renewed. When it has
 * ended, the run fails: another runner may handle the same batch by now, and if it waits in silence too, none of them ever moves on.
 */
const heartbeat = (storage: Storage, lease: stores.Lease): Effect.Effect<never, LeaseLost | ThreadlineError> =>
  Effect.forever(
    Effect.zipRight(
      Effect.sleep(Duration.seconds(lease.seconds / 3)),
      stores.renew(storage, lease).pipe(
        Effect.timeoutFail({
          duration: Duration.seconds((lease.seconds * 2) / 3),
          onTimeout: () =>
            new ThreadlineError({
              reason: "Unreachable",
              detail: `the lease of the consumer ${lease.name} could not be renewed in time: give its pool at least two connections`
            })
        }),
        Effect.filterOrFail(
          (isHeld) => isHeld,
          () => new LeaseLost()
        )
      )
    )
  )

const storeOrFail = Effect.fnUntraced(function* (
  { lease, storage }: { readonly lease: stores.Lease; readonly storage: Storage },
  ...args: readonly [
    expected: string | null,
    reached: checkpoints.Checkpoint,
    position: checkpoints.Position,
    capturedAt: string | null
  ]
): Effect.fn.Return<void, LeaseLost | ThreadlineError> {
  if (!(yield* stores.store(storage, lease, ...args))) {
    return yield* new LeaseLost()
  }
})

/** Handles batch after batch under the lease, from the checkpoint of the name. */
const session = Effect.fnUntraced(function* <E, R>(
  run: Run<E, R>,
  stored: string | null
): Effect.fn.Return<void, E | LeaseLost | ReadError, R> {
  const { decoded, delivered, handler, lease, live, pause, storage, tally } = run
  const { tables } = decoded
  let expected: string
  let position: checkpoints.Position
  if (stored === null) {
    // Stored before anything is handled. So a feed that began "now" continues from there, whatever happens next.
    position = yield* withoutConnection(readFirstPosition(storage, decoded.origin))
    expected = checkpoints.encode(tables, position)
    yield* storeOrFail(run, null, checkpoints.encode(tables, position), position, null)
  } else {
    position = yield* checkpoints.decode(tables, stored)
    expected = stored
  }
  let storedAt = yield* Clock.currentTimeMillis
  for (;;) {
    const stepTaken = yield* withoutConnection(step(storage, { ...decoded, position }))
    const { caughtUp, changes, checkpoint } = yield* batch(decoded, stepTaken)
    position = stepTaken.position
    const last = changes.at(-1)
    if (last !== undefined) {
      yield* handler({ changes, checkpoint, caughtUp })
      tally.batches++
      tally.changes += changes.length
    }
    const now = yield* Clock.currentTimeMillis
    // An idle feed moves its checkpoint too, so that retention can remove changes. But it does not do so at every look.
    if (
      checkpoint !== expected &&
      (last !== undefined || !caughtUp || !live || now - storedAt >= (lease.seconds * 1000) / 3)
    ) {
      yield* storeOrFail(run, expected, checkpoint, position, last?.capturedAt ?? null)
      expected = checkpoint
      storedAt = now
    }
    if (last !== undefined) {
      yield* delivered
    }
    if (caughtUp) {
      if (last !== undefined) {
        yield* pause.reset
      }
      if (!(yield* pause.wait)) {
        return
      }
    }
  }
})

export const consume = Effect.fnUntraced(function* <E, R>(
  storage: Storage,
  name: string,
  handler: (batch: Batch) => Effect.Effect<unknown, E, R>,
  options: ConsumeOptions
): Effect.fn.Return<Consumed, E | ReadError, R> {
  yield* mustBeObject(options)
  const { lease: duration, live, poll, retry, ...request } = options
  if (retry !== undefined && !Schedule.isSchedule(retry)) {
    return yield* new InvalidRequest({ field: "retry", rule: "must be a Schedule" })
  }
  const driver = retry === undefined ? undefined : yield* Schedule.driver(retry)
  const run: Run<E, R> = {
    storage,
    lease: {
      name: yield* stores.checkName(name),
      token: randomUUID(),
      seconds: yield* leaseSeconds(duration ?? "30 seconds")
    },
    decoded: yield* decodeRequest(request),
    handler,
    pause: yield* waiting({ live, poll }),
    live: live === true,
    delivered: driver?.reset ?? Effect.void,
    tally: { batches: 0, changes: 0 }
  }
  const { tables } = run.decoded
  // A claim stores the name: a consumer that cannot begin has none.
  if (tables.length > 0 && !(yield* stores.hasBegun(storage, run.lease.name))) {
    yield* withoutConnection(checkTables(storage, tables.map(tableOf)))
  }
  let isOfHandler = false
  const attempt = Effect.suspend(() => {
    isOfHandler = false
    return taken({
      ...run,
      handler: (batch) =>
        Effect.tapErrorCause(
          Effect.suspend(() => handler(batch)),
          () => Effect.sync(() => (isOfHandler = true))
        )
    })
  })
  if (driver === undefined) {
    return yield* attempt
  }
  const again: Effect.Effect<Consumed, E | ReadError, R> = Effect.catchAll(attempt, (error) =>
    InvalidRequest.is(error) && !isOfHandler
      ? Effect.fail(error)
      : Effect.matchEffect(driver.next(error), { onFailure: () => Effect.fail(error), onSuccess: () => again })
  )
  return yield* again
})

/** Takes the lease, again and again if it is live, and handles what comes. */
const taken = Effect.fnUntraced(function* <E, R>(run: Run<E, R>): Effect.fn.Return<Consumed, E | ReadError, R> {
  const { storage } = run
  for (;;) {
    let mayHold = true
    const outcome = yield* Effect.ensuring(
      Effect.flatMap(
        stores.claim(storage, run.lease),
        Option.match({
          onNone: () => {
            mayHold = false
            return Effect.succeed("Busy" as const)
          },
          onSome: ({ checkpoint }) =>
            Effect.raceFirst(session(run, checkpoint), heartbeat(storage, run.lease)).pipe(
              Effect.as("CaughtUp" as const),
              Effect.catchIf(
                (error): error is LeaseLost => error instanceof LeaseLost,
                () => Effect.succeed("Busy" as const)
              )
            )
        })
      ),
      // A claim that was interrupted may have been granted. If the release fails, the lease ends by itself.
      Effect.suspend(() =>
        mayHold ? endsWithin(Effect.either(stores.release(storage, run.lease)), "1 second") : Effect.void
      )
    )
    if (outcome === "CaughtUp" || !(yield* run.pause.wait)) {
      return { outcome, ...run.tally }
    }
  }
})
