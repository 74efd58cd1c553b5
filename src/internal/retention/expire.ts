/**
 * Empties and drops whole partitions. How long that takes, and how long it locks, does not depend on the number of their rows.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { fromSqlError, ThreadlineError } from "../../ThreadlineError.js"
import { rows, type Storage } from "../record/storage.js"
import { patience, persisting } from "../sql/patience.js"
import { qualified } from "../sql/sqlText.js"
import { mayHaveOld, someAwaited, someStays } from "./conditions.js"
import { isContended, leafName, leafOf, type Partition, recordedNames } from "./partitions.js"
import { onlyRow } from "./plan.js"
import type { RetentionError } from "./retentionError.js"
import { asOwner, count } from "./runs.js"
import { looked, unseenColumns, unseenFields, unseenQuery } from "./unseen.js"
import { noteRemoved, type Work } from "./work.js"

const Stays = Schema.Struct({ stays: Schema.Literal("true", "false") })

/**
 * Runs statements that need the lock of a partition. They wait only for a moment at a time, so that nobody waits long behind
 * them.
 */
const patiently = (
  storage: Storage,
  lockTimeout: number
): Effect.Effect<(statement: string) => Effect.Effect<void, ThreadlineError>, ThreadlineError> =>
  patience(storage.sql, lockTimeout).pipe(
    Effect.mapError((error) =>
      error._tag === "SqlError"
        ? fromSqlError(error)
        : new ThreadlineError({ reason: "Failed", detail: "the settings of the server cannot be read" })
    ),
    Effect.map(
      (withPatience) => (statement: string) =>
        Effect.asVoid(Effect.mapError(storage.sql.unsafe(withPatience(statement)), fromSqlError))
    )
  )

/** Tries for locks until the time is up; then answers `otherwise`. */
const orGiveUp = <A, E, R>(
  attempt: Effect.Effect<A, E, R>,
  lockTimeout: number,
  otherwise: A
): Effect.Effect<A, E, R> =>
  Effect.catchIf(persisting(attempt, lockTimeout, isContended), isContended, () => Effect.succeed(otherwise))

const UnseenRow = Schema.Struct(unseenFields)

/** Looks for what was committed after the plan, so that little of it is left to look at under a lock. */
const lookForUnseen = (work: Work): Effect.Effect<void, ThreadlineError> => {
  const { conditions, storage } = work
  const { sql } = storage
  return Effect.map(
    Effect.flatMap(
      rows(
        UnseenRow,
        sql`with ${unseenQuery(work.unseen, storage, mayHaveOld(conditions, "ut"))} select ${unseenColumns(storage)}`
      ),
      onlyRow
    ),
    (row) => {
      work.unseen = looked(work.unseen, work.epoch, row)
    }
  )
}

/**
 * Locks a partition and empties it, if nothing in it must stay. What was committed before the plan is checked without the lock.
 * Under it, only two things are checked: what a consumer of the feed needs, and what was committed since. So the lock is held
 * no longer for many rows than for few. False if something must stay, or if the lock could not be had.
 */
export const emptyPartition = (
  work: Work,
  partition: Partition,
  until: string,
  planned: number
): Effect.Effect<boolean, RetentionError | ThreadlineError> => {
  const { conditions, lease, limits, storage } = work
  const { sql } = storage
  const leaf = leafOf(storage, partition)
  const none = (found: Fragment) =>
    Effect.map(rows(Stays, sql`select (${found})::text as stays`), ([row]) => row?.stays === "false")
  const attempt = asOwner(
    storage,
    Effect.gen(function* () {
      const run = yield* patiently(storage, limits.lockTimeout)
      yield* run(`lock table only ${leafName(partition)} in access exclusive mode`)
      // The lock is held meanwhile, so nothing may be read row by row, even if it looks cheap. Ids are in the BRIN index alone.
      yield* run(
        "set local enable_seqscan = off; set local enable_indexscan = off; set local enable_indexonlyscan = off"
      )
      if (!(yield* none(someAwaited(conditions, leaf)))) {
        return false
      }
      yield* run("set local enable_indexscan = on; set local enable_indexonlyscan = on")
      const late = sql`(
        with ${unseenQuery(work.unseen, storage, mayHaveOld(conditions, "ut"))}
        select exists (
          select
          from unseen u
          cross join lateral (select from ${leaf} sc where sc.transaction_id = u.id limit 1) one
        )
      )`
      if (!(yield* none(late))) {
        return false
      }
      // The names that have changes here, each found by the index of tables.
      yield* noteRemoved(
        storage,
        sql`
          ${recordedNames(sql, leaf)}
          select n.table_schema, n.table_name, ${partition.bounds?.from ?? until}::timestamptz as first,
            ${until}::timestamptz as up_to
          from names n`
      )
      yield* count(storage, lease, {
        changes: planned,
        batches: 1,
        partitions: [partition.name],
        touched: sql`select min(c.transaction_id), max(c.transaction_id) from ${leaf} c`
      })
      yield* run(`truncate table only ${leafName(partition)}`)
      return true
    })
  )
  return Effect.gen(function* () {
    const stays = !(yield* asOwner(storage, none(someStays(conditions, leaf, until))))
    yield* asOwner(storage, lookForUnseen(work))
    return !stays && (yield* orGiveUp(attempt, limits.lockTimeout, false))
  })
}

const Empty = Schema.Struct({ empty: Schema.Literal("true", "false") })

/**
 * Drops a partition that is empty. This needs the lock of `audit_changes` itself, for which it never waits longer than a moment. If it
 * cannot be had, the empty partition stays, and costs nothing but its name; the next run drops it.
 */
export const dropPartition = (
  work: Pick<Work, "limits" | "storage">,
  partition: Partition
): Effect.Effect<boolean, ThreadlineError> => {
  const { limits, storage } = work
  const { sql } = storage
  const isEmpty = Effect.map(
    rows(Empty, sql`select (not exists (select from ${leafOf(storage, partition)}))::text as empty`),
    ([row]) => row?.empty === "true"
  )
  const attempt = asOwner(
    storage,
    Effect.gen(function* () {
      // Nobody is held up for a partition that stays.
      if (!(yield* isEmpty)) {
        return false
      }
      const run = yield* patiently(storage, Math.min(limits.lockTimeout, 200))
      // In the order of readers: one of them may have the lock of the table and wait for that of the partition.
      for (const name of ["audit_changes", "audit_changes_default"]) {
        yield* run(`lock table only ${qualified(storage.schema, name)} in access exclusive mode`)
      }
      yield* run(`lock table only ${leafName(partition)} in access exclusive mode`)
      if (!(yield* isEmpty)) {
        return false
      }
      yield* run(`drop table ${leafName(partition)}`)
      return true
    })
  )
  return orGiveUp(attempt, limits.lockTimeout, false)
}
