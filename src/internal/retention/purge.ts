/**
 * Removes what a plan says: whole partitions, then changes in batches, then transactions that have none left, then actions. Each step is a
 * short transaction of its own and complete in itself, so that a run may end between any two of them.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { randomUUID } from "node:crypto"
import { fromSqlError, InvalidRequest, type NotFound, type ThreadlineError } from "../../ThreadlineError.js"
import { formatMicros, parseMicros } from "../core/instant.js"
import type { JsonObject } from "../core/jsonValue.js"
import { told } from "../core/request.js"
import { rows, type Storage } from "../record/storage.js"
import { mustBeWhole } from "../record/whole.js"
import { snapshot } from "../sql/owned.js"
import { purgeActions, purgeChanges, purgeTransactions } from "./batches.js"
import { allExpire, type Conditions, conditionsOf } from "./conditions.js"
import { dropPartition, emptyPartition } from "./expire.js"
import { Plan, type Run } from "./model.js"
import { type ArchivePart, checkedOptions, type PurgeOptions } from "./options.js"
import type { Partition } from "./partitions.js"
import { Now, now, onlyRow, partitionsNow, refuseInside, settings } from "./plan.js"
import { check } from "./policy.js"
import { RetentionError } from "./retentionError.js"
import { asOwner, begin, count, finish, heartbeat, type Lease, leaseLost, runById } from "./runs.js"
import { settledBy, toLookAt } from "./settled.js"
import { batch, Enough, turn, type Work, type WorkError } from "./work.js"

export type PurgeError = InvalidRequest | NotFound | RetentionError | ThreadlineError

const isPlan = Schema.is(Plan)

/** Everything that a plan removes, in its order. */
const removeAll = Effect.fnUntraced(function* (work: Work): Effect.fn.Return<void, WorkError> {
  const { conditions, plan, storage } = work
  const planned = new Map(plan.partitions.map((partition) => [partition.name, partition]))
  const partitions = yield* partitionsNow(storage)
  for (const partition of partitions) {
    const part = planned.get(partition.name)
    const until = partition.bounds?.until
    if (part !== undefined && part.how !== "batches" && until !== undefined && until === part.until) {
      yield* expire(work, partition, until, part.changes)
    }
  }
  // The list is read again, because partitions were dropped.
  for (const partition of yield* partitionsNow(storage)) {
    if (planned.has(partition.name) && conditions.cutoffs.latest !== null) {
      yield* purgeChanges(work, partition)
    }
  }
  const look = yield* asOwner(storage, toLookAt(conditions, plan.policy))
  const locked = (yield* purgeTransactions(work, look)) + (yield* purgeActions(work, look))
  work.settled = locked === 0 ? settledBy(conditions, look, plan.at) : null
})

const expire = Effect.fnUntraced(function* (
  work: Work,
  partition: Partition,
  until: string,
  planned: number
): Effect.fn.Return<void, WorkError> {
  yield* turn(work)
  const { isEmpty } = yield* batch(
    work,
    "changes",
    Effect.map(emptyPartition(work, partition, until, planned), (isEmpty) => ({
      isEmpty,
      removed: isEmpty ? planned : 0,
      counted: isEmpty ? 1 : 0
    }))
  )
  if (isEmpty && allExpire(work.conditions, until)) {
    yield* dropPartition(work, partition)
  }
})

/** The parts to archive: one for each table and month. */
const archiveParts = (plan: Plan, conditions: Conditions): ReadonlyArray<ArchivePart> => {
  const counts = new Map<string, ArchivePart>()
  for (const { changes, month, table } of plan.items) {
    const [year = 0, number = 0] = month.split("-").map(Number)
    const from = formatMicros(BigInt(Date.UTC(year, number - 1)) * 1000n)
    const end = formatMicros(BigInt(Date.UTC(year, number)) * 1000n)
    const { latest } = conditions.cutoffs
    const until = latest !== null && latest < end ? latest : end
    const key = JSON.stringify([table, month])
    counts.set(key, {
      table,
      month,
      from,
      to: formatMicros((parseMicros(until) ?? 0n) - 1n),
      changes: changes + (counts.get(key)?.changes ?? 0)
    })
  }
  return [...counts.values()]
}

const archiveAll = <E, R>(
  { conditions, lease, plan, storage, tell }: Work,
  archive: PurgeOptions<E, R>["archive"]
): Effect.Effect<void, E | RetentionError | ThreadlineError, R> =>
  archive === undefined
    ? Effect.void
    : Effect.gen(function* () {
        const places: Array<string> = []
        const verifications: Array<Effect.Effect<void, E, R>> = []
        for (const part of archiveParts(plan, conditions)) {
          const archived = yield* archive(part)
          if (typeof archived === "string") {
            places.push(archived)
          } else {
            places.push(archived.place)
            verifications.push(archived.verify)
          }
          yield* tell("archive")
        }
        yield* asOwner(storage, count(storage, lease, { details: { archive: places } }))
        // The first file may have been there for hours when the last one is written.
        for (const verify of verifications) {
          yield* verify
          yield* tell("archive")
        }
      })

/** How a run ended, for its record. */
const ending = <E>(exit: Exit.Exit<void, E | Enough>): readonly [Exclude<Run["state"], "running">, string | null] => {
  if (Exit.isSuccess(exit)) {
    return ["completed", null]
  }
  if (Cause.isInterruptedOnly(exit.cause)) {
    return ["cancelled", "it was interrupted"]
  }
  const failure = Option.getOrUndefined(Cause.failureOption(exit.cause))
  return failure instanceof Enough
    ? ["stopped", "it had done as many batches as it was allowed to"]
    : ["failed", failure instanceof Error ? failure.message : "it failed"]
}

/** Runs under a lease, and records how that ended. */
export const underLease = <E, R>(
  storage: Storage,
  lease: Lease,
  body: Effect.Effect<void, E | Enough, R>,
  settled: () => JsonObject | null = () => null
): Effect.Effect<Run, E | RetentionError | ThreadlineError, R> =>
  Effect.raceFirst(body, heartbeat(storage, lease)).pipe(
    Effect.onExit((exit) => {
      const [state, problem] = ending(exit)
      // If that cannot be recorded, the lease ends by itself, and the next run records it.
      return Effect.ignoreLogged(
        Effect.timeout(finish(storage, lease, state, problem, state === "completed" ? settled() : null), "5 seconds")
      )
    }),
    Effect.catchAll((error): Effect.Effect<void, E | RetentionError | ThreadlineError> =>
      error instanceof Enough ? Effect.void : Effect.fail(error)
    ),
    Effect.zipRight(runById(storage, lease.id)),
    Effect.flatMap(Option.match({ onNone: leaseLost, onSome: Effect.succeed }))
  )

const Past = Schema.Struct({ past: Schema.Literal("true", "false") })

const notOfPlan = () => new InvalidRequest({ field: "plan", rule: "must be a plan, as Retention.plan makes it" })

/** A plan may come from a file. One that is not JSON, such as one with a cycle, would be looked through for ever. */
const checkedPlan = (given: Plan): Effect.Effect<Plan, InvalidRequest> =>
  Effect.try({ try: () => JSON.stringify(given), catch: notOfPlan }).pipe(
    Effect.flatMap(() => (isPlan(given) ? Effect.succeed(given) : notOfPlan()))
  )

/**
 * The snapshot of a plan decides what stays, and what later purges need not look at. One that has not been yet would hide from them what is
 * committed until then.
 */
const checkSnapshot = (
  { sql }: Storage,
  plan: Plan,
  epoch: number
): Effect.Effect<void, InvalidRequest | ThreadlineError> =>
  rows(
    Past,
    sql`select (pg_snapshot_xmax(${plan.snapshot}::pg_snapshot) <= pg_snapshot_xmax(pg_current_snapshot()))::text as past`,
    fromSqlError
  ).pipe(
    Effect.catchIf((error) => error.sqlState === "22P02", notOfPlan),
    Effect.flatMap(([row]) => (plan.epoch < epoch || row?.past === "true" ? Effect.void : notOfPlan()))
  )

/** Resolves the policy of the plan again. The plan's own instants count, and they cannot be in the future. */
const resolved = (storage: Storage, plan: Plan) =>
  Effect.gen(function* (): Effect.fn.Return<{ conditions: Conditions; epoch: number }, PurgeError> {
    const { at, epoch } = yield* Effect.flatMap(rows(Now, now(storage)), onlyRow)
    if (plan.at > at) {
      return yield* new InvalidRequest({ field: "plan", rule: `was made in the future: the database has ${at}` })
    }
    if (plan.epoch > Number(epoch)) {
      return yield* new RetentionError({
        reason: "OutdatedPlan",
        detail: "this plan was made on another database: make a new one"
      })
    }
    yield* checkSnapshot(storage, plan, Number(epoch))
    const policy = yield* Either.mapLeft(
      check(plan.policy),
      ({ field, rule }) => new InvalidRequest({ field: `plan.policy.${field}`, rule })
    )
    const conditions = yield* conditionsOf(storage, policy, plan, plan)
    return { conditions, epoch: Number(epoch) }
  })

export const purge = Effect.fnUntraced(function* <E, R>(
  storage: Storage,
  given: Plan,
  options: PurgeOptions<E, R>
): Effect.fn.Return<Run, E | PurgeError, R> {
  yield* refuseInside
  const limits = yield* checkedOptions(options)
  const plan = yield* checkedPlan(given)
  yield* mustBeWhole(storage)
  const { conditions, epoch } = yield* snapshot(storage.sql, settings, resolved(storage, plan)).pipe(
    Effect.catchTag("SqlError", (error) => fromSqlError(error))
  )
  const { changes, transactions, actions } = plan
  const lease = yield* begin(
    storage,
    "purge",
    randomUUID(),
    { policy: plan.policy, plan: { changes, transactions, actions, items: plan.items.length }, cutoff: plan.cutoff },
    options.actor,
    plan.lastRun
  )
  const tally = { changes: 0, transactions: 0, actions: 0, batches: 0 }
  const work: Work = {
    storage,
    conditions,
    plan,
    lease,
    limits,
    tally,
    settled: null,
    epoch,
    unseen: { ids: [], since: plan },
    tell: (phase) => told(options.onProgress, { phase, ...tally, plan })
  }
  return yield* underLease<E | WorkError, R>(
    storage,
    lease,
    Effect.zipRight(archiveAll(work, options.archive), removeAll(work)),
    () => work.settled
  ) as Effect.Effect<Run, E | RetentionError | ThreadlineError, R>
})
