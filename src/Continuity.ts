/**
 * What can be asked of captured tables, and baselines: the rows that were there before capture began, recorded as they are.
 *
 * Capture knows what changes. A row that never changed since capture began is not in the record, and `asOf` says so. A baseline records
 * such rows in batches while writers go on. From its end on, as-of answers for them, too.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { CaptureError, type Failure, type TableConfig } from "./Capture.js"
import type * as Health from "./Health.js"
import * as telemetry from "./internal/core/telemetry.js"
import { hostMend } from "./internal/capture/mend.js"
import { label, sameName } from "./internal/capture/resolve.js"
import { millis, mustBeFunction, mustHaveOnly } from "./internal/core/request.js"
import * as TableName from "./internal/core/tableName.js"
import * as recording from "./internal/health/baseline.js"
import { type Readiness, readReadiness } from "./internal/health/continuity.js"
import { readCovered } from "./internal/health/covered.js"
import { readingWith } from "./internal/health/options.js"
import { readReportAndReadiness } from "./internal/health/report.js"
import { isInside } from "./internal/sql/owned.js"
import { StorageSchema } from "./internal/sql/storageSchema.js"
import { InvalidRequest } from "./ThreadlineError.js"

/**
 * @since 0.1.0
 */
export { Answer, Baseline, Readiness } from "./internal/health/continuity.js"

/**
 * @since 0.1.0
 */
export { BaselineResult } from "./internal/health/baseline.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Progress extends recording.Progress {}

/**
 * Options of `check`.
 *
 * @since 0.1.0
 * @category models
 */
export interface CheckOptions {
  /** Configured tables, which are checked even if they are not captured. */
  readonly tables?: ReadonlyArray<TableConfig> | undefined
}

/**
 * What `report` answers.
 *
 * @since 0.1.0
 * @category models
 */
export interface Report {
  /** What `Health.check` says. */
  readonly health: Health.Report
  /** What each captured table can answer; null if the role may not see that. */
  readonly readiness: ReadonlyArray<Readiness> | null
}

/**
 * Options of `baseline`.
 *
 * @since 0.1.0
 * @category models
 */
export interface BaselineOptions {
  /** Names as in SQL; every captured table that has a key unless given. */
  readonly tables?: ReadonlyArray<string> | undefined
  /** About so many rows are locked at a time; 500 unless given, from 1 to 100,000. */
  readonly batchSize?: number | undefined
  /** How long to wait for rows that writers keep locked; 30 seconds unless given. */
  readonly patience?: Duration.DurationInput | undefined
  /** Told after each batch. */
  readonly onProgress?: ((progress: Progress) => Effect.Effect<void>) | undefined
}

const baselineFields = { tables: true, batchSize: true, patience: true, onProgress: true } as const satisfies {
  readonly [Field in keyof BaselineOptions]-?: true
}

/**
 * Readiness and baselines.
 *
 * @since 0.1.0
 * @category services
 */
export class Continuity extends Context.Tag("threadline/Continuity")<
  Continuity,
  {
    /** What can be asked of every captured table, and since when, by name. Reads no table of the host. */
    readonly check: (options?: CheckOptions) => Effect.Effect<ReadonlyArray<Readiness>, Failure>
    /**
     * The report of `Health` and what can be asked of its tables, from one snapshot: for who wants both, the catalog is read once.
     * `readiness` is null if the role may not see that; the report then says what it lacks.
     */
    readonly report: (options?: Health.Options) => Effect.Effect<Report, Failure>
    /**
     * Records the rows that the record does not know as `baseline` changes, table by table. Rows that have changed since capture began
     * are known, and left out. Each batch is a transaction of its own. It locks its rows for that long and waits for no one, so a writer
     * waits for one batch at most. An interrupted baseline goes on where it was; several may run at once and share the work.
     *
     * The connected role must be a member of the owner of the record, and may lock the rows (SELECT and UPDATE). Row-level security that
     * hides rows from it, or from the owner, is refused (`RowsHidden`), and so are tables without a key (`BaselineUnsupported`) and tables
     * of which nothing is known at present (`LapseOpen`). Not to be called inside a transaction.
     */
    readonly baseline: (options?: BaselineOptions) => Effect.Effect<ReadonlyArray<recording.BaselineResult>, Failure>
  }
>() {}

const make = Effect.gen(function* () {
  const sql = (yield* SqlClient.SqlClient).withoutTransforms()
  const storage = yield* StorageSchema

  const check = Effect.fnUntraced(
    function* (options: CheckOptions = {}) {
      return yield* readingWith(
        sql,
        options,
        Effect.fnUntraced(function* (request) {
          // Given a whole configuration, `check` is still about its tables only.
          const covered = yield* readCovered(sql, storage, { ...request, expected: undefined }, "known")
          return yield* readReadiness(sql, storage, covered)
        })
      )
    },
    telemetry.operation("continuity", "check")
  )

  const report = (options: Health.Options = {}) =>
    telemetry.operation("continuity", "report")(readReportAndReadiness(sql, storage, options))

  const baseline = Effect.fnUntraced(
    function* (options: BaselineOptions = {}) {
      yield* mustHaveOnly(options, baselineFields)
      const { batchSize = 500, onProgress = () => Effect.void, patience = "30 seconds", tables } = options
      if (!Number.isInteger(batchSize) || batchSize < 1 || batchSize > 100_000) {
        return yield* new InvalidRequest({ field: "batchSize", rule: "must be a whole number from 1 to 100000" })
      }
      const patienceMillis = yield* millis("patience", patience)
      yield* mustBeFunction("onProgress", onProgress)
      const givenTables: unknown = tables
      if (givenTables !== undefined && !Array.isArray(givenTables)) {
        return yield* new InvalidRequest({ field: "tables", rule: "must be a list of names of tables" })
      }
      const names = yield* Effect.forEach(tables ?? [], (text, place) => TableName.parse(text, `tables[${place}]`))
      const twice = names.find((name, place) => names.findIndex((other) => sameName(other, name)) !== place)
      if (twice !== undefined) {
        return yield* new InvalidRequest({ field: "tables", rule: `names ${label(twice)} twice` })
      }
      if (yield* isInside) {
        return yield* new CaptureError({
          table: names[0] === undefined ? "*" : label(names[0]),
          refusal: { reason: "InsideTransaction", operation: "baseline" },
          mend: hostMend("callOutsideTransaction")
        })
      }
      const chosen =
        tables === undefined
          ? yield* Effect.flatMap(check(), (all) =>
              Effect.forEach(
                all.filter(({ keyed, since }) => keyed && since !== null),
                ({ table }) => TableName.parse(table)
              )
            )
          : names
      return yield* Effect.forEach(chosen, (name) =>
        recording.recordBaseline(sql, storage, name, { batchSize, patienceMillis, onProgress })
      )
    },
    telemetry.operation("continuity", "baseline")
  )

  return Continuity.of({ check, report, baseline })
})

/**
 * Continuity over the `SqlClient` in context. Building it asks the database nothing.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Continuity, never, SqlClient.SqlClient> = Layer.effect(Continuity, make)

/**
 * What can be asked of captured tables, and since when.
 *
 * @since 0.1.0
 * @category accessors
 */
export const check = (options?: CheckOptions): Effect.Effect<ReadonlyArray<Readiness>, Failure, Continuity> =>
  Effect.flatMap(Continuity, (continuity) => continuity.check(options))

/**
 * The report of `Health` and what can be asked of its tables, from one snapshot.
 *
 * @since 0.1.0
 * @category accessors
 */
export const report = (options?: Health.Options): Effect.Effect<Report, Failure, Continuity> =>
  Effect.flatMap(Continuity, (continuity) => continuity.report(options))

/**
 * Records the rows that were there before capture began.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Continuity } from "threadline"
 *
 * export const program = Continuity.baseline({ tables: ["posts"], batchSize: 200 })
 * ```
 */
export const baseline = (
  options?: BaselineOptions
): Effect.Effect<ReadonlyArray<recording.BaselineResult>, Failure, Continuity> =>
  Effect.flatMap(Continuity, (continuity) => continuity.baseline(options))
