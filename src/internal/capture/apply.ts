/**
 * Runs the steps of a plan, under the locks that they need.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { fromSqlError, ThreadlineError } from "../../ThreadlineError.js"
import { beginWriting, isInside, transaction } from "../sql/owned.js"
import { patience, persisting, type WithPatience } from "../sql/patience.js"
import { hostFunctionOf, reasonWithCause, sqlState } from "../sql/sqlState.js"
import { CaptureError } from "./captureError.js"
import { isCurrent, readCatalog } from "./catalog.js"
import type { Catalog } from "./catalogModel.js"
import { type Failure, fromFailure } from "./failure.js"
import { functionNames } from "./generate/names.js"
import { hostMend } from "./mend.js"
import { check } from "./privileges.js"
import type { ApplyOptions } from "./request.js"
import { settings } from "./settings.js"
import { lockOnly, locksLeft } from "./statements.js"
import type { Step } from "./step.js"
import type { TablePlan } from "./tablePlan.js"
import type { Unit } from "./units.js"

/** Runs the steps in one short transaction per table. Returns the steps that were run. */
export const execute = (
  sql: SqlClient,
  storage: string,
  units: ReadonlyArray<Unit>,
  catalog: Catalog,
  options: ApplyOptions
): Effect.Effect<ReadonlyArray<Step>, Failure> =>
  Effect.gen(function* () {
    for (const unit of units) {
      yield* check(catalog, unit, unit.plan, options)
    }
    const done: Array<Step> = []
    for (const unit of units) {
      if (unit.plan.steps.length > 0) {
        done.push(...(yield* executeUnit(sql, storage, unit, catalog, options)))
      }
    }
    return done
  })

const executeUnit = (
  sql: SqlClient,
  storage: string,
  unit: Unit,
  planned: Catalog,
  options: ApplyOptions
): Effect.Effect<ReadonlyArray<Step>, Failure> => {
  const { names } = unit.plan
  const functions = names.flatMap((name) => functionNames(name))
  const lockTimeout = Math.max(1, Math.round(Duration.toMillis(options.lockTimeout ?? "3 seconds")))
  const body = Effect.gen(function* () {
    yield* sql`select pg_advisory_xact_lock(hashtextextended('threadline.capture', 0))`
    const withPatience = yield* patience(sql, lockTimeout)
    const done: Array<Step> = []
    let catalog = planned
    let { plan } = unit
    // The steps of the first round take the locks. The second round finds a partition that was attached just before that.
    for (let round = 0; round < 2; round++) {
      if (!(yield* isCurrent(sql, catalog))) {
        catalog = yield* readCatalog(sql, storage, names, { functions })
        plan = yield* unit.replan(catalog)
        yield* check(catalog, unit, plan, options)
      } else if (round > 0) {
        break
      }
      yield* runPlan(sql, plan, withPatience)
      done.push(...plan.steps)
    }
    return done
  })
  const backoff = Schedule.exponential("100 millis").pipe(
    Schedule.jittered,
    Schedule.union(Schedule.spaced("2 seconds")),
    Schedule.intersect(Schedule.recurs(options.retries ?? 5))
  )
  const attempt = transaction(sql, beginWriting({ lock_timeout: String(lockTimeout), ...settings }), body)
  return persisting(attempt, lockTimeout, isContended).pipe(
    Effect.retry({ schedule: backoff, while: isContended }),
    Effect.mapError((error) =>
      error instanceof SqlError || error instanceof Outdated
        ? fromStatement(unit.label, error)
        : fromFailure<CaptureError>(error)
    )
  )
}

/**
 * A statement of a plan names what is not there any more, or makes what is there by now: another session changed it between the
 * plan and its locks. The next attempt plans again.
 */
class Outdated extends Data.TaggedError("Outdated")<{ readonly cause: SqlError }> {}

/** A table, function, type or trigger, a column, a schema, and what is there already. */
const outdatedStates: ReadonlySet<string | undefined> = new Set([
  "42P01",
  "42704",
  "42703",
  "42883",
  "3F000",
  "42710",
  "42P07"
])

const outdated = (error: SqlError): SqlError | Outdated =>
  outdatedStates.has(sqlState(error)) && hostFunctionOf(error) === undefined ? new Outdated({ cause: error }) : error

/** Sends the statements of each step in one message: a table may have hundreds of partitions. */
const runPlan = (sql: SqlClient, { spread, steps }: TablePlan, withPatience: WithPatience) => {
  const prepared = (statement: string): string =>
    spread?.statements.has(statement) === true
      ? withPatience(statement, locksLeft(spread.root, spread.mode))
      : withPatience(statement)
  const locks = spread?.relations.map((name) => lockOnly(name, spread.mode)) ?? []
  const messages = [locks, ...steps.map((step) => step.sql)].filter((message) => message.length > 0)
  return Effect.forEach(
    messages,
    (message) => Effect.mapError(sql.unsafe(message.map(prepared).join(";\n")), outdated),
    { discard: true }
  )
}

const isContended = (error: unknown): boolean =>
  error instanceof Outdated || (error instanceof SqlError && isContention(error))

/**
 * Another session holds a lock, or has just changed the same row of the catalog. That one has no SQLSTATE of its own. The server
 * never translates what it says with XX000.
 */
const isContention = (error: SqlError): boolean => {
  const state = sqlState(error)
  return (
    state === "55P03" ||
    state === "40P01" ||
    (state === "XX000" && error.cause instanceof Error && error.cause.message.includes("tuple concurrently"))
  )
}

const fromStatement = (table: string, failed: SqlError | Outdated): CaptureError | ThreadlineError => {
  const error = failed instanceof Outdated ? failed.cause : failed
  const state = sqlState(error)
  const sentence = reasonWithCause(error)
  if (isContended(failed)) {
    return new CaptureError({
      table,
      refusal: { reason: "LockNotAvailable", serverMessage: sentence },
      mend: hostMend("applyLater"),
      ...(state === undefined ? {} : { sqlState: state })
    })
  }
  if (state === "42501") {
    return new CaptureError({
      table,
      refusal: {
        reason: "InsufficientPrivilege",
        lacks: "unknown",
        role: null,
        relation: null,
        owner: null,
        serverMessage: sentence
      },
      mend: hostMend(hostFunctionOf(error) === undefined ? "useOwners" : "mendEventTrigger"),
      sqlState: state
    })
  }
  const failure = fromSqlError(error)
  return hostFunctionOf(error) === undefined || failure.reason !== "Failed"
    ? failure
    : new ThreadlineError({ ...failure, detail: `the database refused a statement: ${sentence}` })
}

/** Capture is applied in transactions of its own. Inside a transaction of the host's it would hold its locks until that ends. */
export const refuseInside = (operation: "apply" | "remove"): Effect.Effect<void, CaptureError> =>
  Effect.flatMap(isInside, (inside) =>
    inside
      ? Effect.fail(
          new CaptureError({
            table: "*",
            refusal: { reason: "InsideTransaction", operation },
            mend: hostMend("callOutsideTransaction")
          })
        )
      : Effect.void
  )
