/**
 * Which tables are captured, and how: policies as data, plans as SQL that can be read before it runs, drift as typed findings.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import type { DurationInput } from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { execute, refuseInside } from "./internal/capture/apply.js"
import { readCatalog, readStanding, refuseUnknown } from "./internal/capture/catalog.js"
import type { CaptureError } from "./internal/capture/captureError.js"
import { fromFailure } from "./internal/capture/failure.js"
import type { TableStatus } from "./internal/capture/finding.js"
import type { PrintedFile, TableConfig } from "./internal/capture/model.js"
import { sayingWhatItRequires } from "./internal/capture/privileges.js"
import { checkOptions, readConfigs } from "./internal/capture/request.js"
import { knownNames, planAll, planRemoval } from "./internal/capture/units.js"
import { planTable } from "./internal/capture/plan.js"
import { printFile } from "./internal/capture/print.js"
import { resolve } from "./internal/capture/resolve.js"
import type { Step } from "./internal/capture/step.js"
import { statusOf } from "./internal/capture/status.js"
import { reading } from "./internal/capture/settings.js"
import * as telemetry from "./internal/core/telemetry.js"
import { beginWriting, transactionOrSavepoint } from "./internal/sql/owned.js"
import { StorageSchema } from "./internal/sql/storageSchema.js"
import type { InvalidRequest, ThreadlineError } from "./ThreadlineError.js"

/**
 * @since 0.1.0
 */
export {
  Excluded,
  Mask,
  Masked,
  Mode,
  FormerColumn,
  FormerName,
  Policy,
  PolicyColumn,
  PolicyKeyColumn,
  PolicyPath,
  PrintedFile,
  TableConfig,
  Truncate
} from "./internal/capture/model.js"

/**
 * @since 0.1.0
 */
export { ColumnDifferences, Difference } from "./internal/capture/difference.js"

/**
 * @since 0.1.0
 */
export {
  RelationRepair,
  Step,
  type StepKind,
  type AttachStep,
  type RegenerateStep,
  type AttachPartitionStep,
  type DetachPartitionStep,
  type RepairStep,
  type RefreshStep,
  type FollowStep,
  type DetachStep
} from "./internal/capture/step.js"

/**
 * @since 0.1.0
 */
export { Finding, type FindingKind, TableStatus } from "./internal/capture/finding.js"

/**
 * @since 0.1.0
 */
export { Argv, CommandMend, HostAction, HostMend, Mend, SqlMend } from "./internal/capture/mend.js"

/**
 * @since 0.1.0
 */
export { KeyProblem, type Reason, Refusal, RowModeReason } from "./internal/capture/refusal.js"

/**
 * @since 0.1.0
 */
export { CaptureError, TypeId } from "./internal/capture/captureError.js"

/**
 * @since 0.1.0
 */
export { namesOfPolicy as redactionNames } from "./internal/capture/redaction.js"

/**
 * @since 0.1.0
 */
export { describeFinding, describeMend, describeRefusal, describeStep } from "./internal/capture/phrase.js"

/**
 * Options of `plan`.
 *
 * @since 0.1.0
 * @category models
 */
export interface PlanOptions {
  /** Also ends the capture of tables that are captured and not configured. Otherwise they are left alone. */
  readonly prune?: boolean | undefined
  /**
   * Also records the rows of a partition that joined a captured table, as `baseline` changes, and those of one that left it and
   * still exists, as `delete` changes. Otherwise nothing is recorded of them: attaching and detaching fire no trigger.
   */
  readonly markPartitions?: boolean | undefined
}

/**
 * Options of `apply`, on top of those of `plan`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ApplyOptions extends PlanOptions {
  /** Accepts that a column shows more than when the table was last captured. */
  readonly allowLessRedaction?: boolean | undefined
  /**
   * How long to try for the locks of a table before a longer pause: 3 seconds unless given. One transaction waits for at most half
   * of the server's `deadlock_timeout`, so that it always gives way to a writer.
   */
  readonly lockTimeout?: DurationInput | undefined
  /** How often that is done again, after growing pauses: 5 times unless given. */
  readonly retries?: number | undefined
}

/**
 * Options of `remove`.
 *
 * @since 0.1.0
 * @category models
 */
export type RemoveOptions = Pick<ApplyOptions, "lockTimeout" | "retries">

/**
 * How capturing a table can fail: the request or the table (`CaptureError`), the form of the request (`InvalidRequest`), or the
 * database (`ThreadlineError`).
 *
 * @since 0.1.0
 * @category errors
 */
export type Failure = CaptureError | InvalidRequest | ThreadlineError

/**
 * Attaches tables to capture, keeps them as configured, and says where they are not.
 *
 * @since 0.1.0
 * @category services
 */
export class Capture extends Context.Tag("threadline/Capture")<
  Capture,
  {
    /**
     * The steps from what is installed to what is configured, in order, with their SQL; none when nothing is to be done. Nothing
     * is locked or changed. A table that is captured and merely not named is left alone, unless pruning is asked for.
     */
    readonly plan: (
      tables: ReadonlyArray<TableConfig>,
      options?: PlanOptions
    ) => Effect.Effect<ReadonlyArray<Step>, Failure>
    /**
     * Does what `plan` says, and returns the steps that were done. Everything is checked before anything is changed; then each
     * table has one short transaction of its own, so that no table waits for another's. Applying twice does nothing the second
     * time; several may apply at once. Not to be called inside a transaction.
     *
     * If a lock cannot be had (`LockNotAvailable`), tables before it are done and tables after it are not.
     */
    readonly apply: (
      tables: ReadonlyArray<TableConfig>,
      options?: ApplyOptions
    ) => Effect.Effect<ReadonlyArray<Step>, Failure>
    /**
     * Ends the capture of the named tables, partitions included: triggers and functions are dropped, history and the policy row
     * stay. The rights to read a table that `apply` gave to the owner of the schema stay as well. A table that is not captured is a
     * `CaptureError` (`NotCaptured`), and then nothing is removed.
     */
    readonly remove: (
      tables: ReadonlyArray<string>,
      options?: RemoveOptions
    ) => Effect.Effect<ReadonlyArray<Step>, Failure>
    /**
     * Every captured table with its deployed policy and what is wrong with it. With configuration given, every configured table
     * too, compared with it.
     */
    readonly status: (tables?: ReadonlyArray<TableConfig>) => Effect.Effect<ReadonlyArray<TableStatus>, Failure>
    /**
     * The SQL that captures the tables as they are in this database, one file each, for any migration tool. A file holds
     * everything, whatever is installed already, and may be run again.
     */
    readonly print: (tables: ReadonlyArray<TableConfig>) => Effect.Effect<ReadonlyArray<PrintedFile>, Failure>
    /** Captures tables inside the transaction of the caller, such as a step of a migration tool. */
    readonly migration: (tables: ReadonlyArray<TableConfig>) => Effect.Effect<void, Failure>
  }
>() {}

const make = Effect.gen(function* () {
  const sql = (yield* SqlClient.SqlClient).withoutTransforms()
  const storage = yield* StorageSchema

  const print = Effect.fnUntraced(
    function* (tables: ReadonlyArray<TableConfig>) {
      const configured = yield* readConfigs(tables)
      return yield* reading(
        sql,
        Effect.gen(function* () {
          const catalog = yield* readCatalog(sql, storage, configured, "everything")
          const candidates = yield* knownNames(sql, catalog, configured)
          return yield* Effect.forEach(configured, (table) =>
            Effect.gen(function* () {
              const resolved = yield* resolve(catalog, storage, table, candidates)
              const { steps } = yield* planTable(storage, catalog, resolved, { force: true })
              return printFile(
                resolved,
                steps.filter(({ kind }) => kind === "attach" || kind === "regenerate")
              )
            })
          )
        })
      ).pipe(
        Effect.mapError((error) => fromFailure(error)),
        sayingWhatItRequires(sql, storage, "record")
      )
    },
    telemetry.operation("capture", "print")
  )

  return Capture.of({
    plan: Effect.fnUntraced(
      function* (tables: ReadonlyArray<TableConfig>, options: PlanOptions = {}) {
        yield* checkOptions(options)
        const { units } = yield* planAll(sql, storage, yield* readConfigs(tables), options).pipe(
          sayingWhatItRequires(sql, storage, "record")
        )
        return units.flatMap(({ plan }) => plan.steps)
      },
      telemetry.operation("capture", "plan")
    ),

    apply: Effect.fnUntraced(
      function* (tables: ReadonlyArray<TableConfig>, options: ApplyOptions = {}) {
        yield* refuseInside("apply")
        yield* checkOptions(options)
        const { catalog, units } = yield* planAll(sql, storage, yield* readConfigs(tables), options).pipe(
          sayingWhatItRequires(sql, storage, "membership")
        )
        return yield* execute(sql, storage, units, catalog, options)
      },
      telemetry.operation("capture", "apply")
    ),

    remove: Effect.fnUntraced(
      function* (tables: ReadonlyArray<string>, options: RemoveOptions = {}) {
        yield* refuseInside("remove")
        yield* checkOptions(options)
        const { catalog, units } = yield* planRemoval(sql, storage, tables).pipe(
          sayingWhatItRequires(sql, storage, "membership")
        )
        return yield* execute(sql, storage, units, catalog, options)
      },
      telemetry.operation("capture", "remove")
    ),

    status: Effect.fnUntraced(
      function* (tables?: ReadonlyArray<TableConfig>) {
        const configured = tables === undefined ? undefined : yield* readConfigs(tables)
        const [catalog, standing] = yield* reading(
          sql,
          Effect.all([
            Effect.tap(readCatalog(sql, storage, configured ?? [], "everything"), refuseUnknown),
            readStanding(sql, storage)
          ])
        ).pipe(
          Effect.mapError((error) => fromFailure<never>(error)),
          sayingWhatItRequires(sql, storage, "record")
        )
        return statusOf(storage, catalog, standing, configured)
      },
      telemetry.operation("capture", "status")
    ),

    print,

    migration: Effect.fnUntraced(
      function* (tables: ReadonlyArray<TableConfig>) {
        const files = yield* print(tables)
        yield* transactionOrSavepoint(
          sql,
          beginWriting(),
          Effect.gen(function* () {
            const [before] = yield* sql<{ readonly timeout: string }>`
              select current_setting('lock_timeout') as timeout
            `.withoutTransform
            yield* Effect.forEach(files, (file) => sql.unsafe(file.sql), { discard: true })
            // A file waits three seconds for locks. The steps of the host that follow wait as they did before.
            yield* sql`select set_config('lock_timeout', ${before?.timeout ?? "0"}, true)`
          })
        ).pipe(
          Effect.mapError((error) => fromFailure<never>(error)),
          sayingWhatItRequires(sql, storage, "membership")
        )
      },
      telemetry.operation("capture", "migration")
    )
  })
})

/**
 * Capture over the `SqlClient` in context. Building it asks the database nothing.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Capture, never, SqlClient.SqlClient> = Layer.effect(Capture, make)

/**
 * The steps from what is installed to what is configured, with their SQL. Nothing is locked or changed.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Capture } from "threadline"
 * import * as Effect from "effect/Effect"
 *
 * export const statements = Effect.map(Capture.plan([{ table: "posts" }]), (steps) => steps.flatMap(({ sql }) => sql))
 * ```
 */
export const plan = (
  tables: ReadonlyArray<TableConfig>,
  options?: PlanOptions
): Effect.Effect<ReadonlyArray<Step>, Failure, Capture> =>
  Effect.flatMap(Capture, (capture) => capture.plan(tables, options))

/**
 * Captures the tables as configured, and returns the steps that were done: none if nothing was to be done.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Capture } from "threadline"
 *
 * export const program = Capture.apply([
 *   { table: "posts" },
 *   { table: "users", mask: ["email"], exclude: ["password_hash"] }
 * ])
 * ```
 */
export const apply = (
  tables: ReadonlyArray<TableConfig>,
  options?: ApplyOptions
): Effect.Effect<ReadonlyArray<Step>, Failure, Capture> =>
  Effect.flatMap(Capture, (capture) => capture.apply(tables, options))

/**
 * Ends the capture of the named tables. Their history stays.
 *
 * @since 0.1.0
 * @category accessors
 */
export const remove = (
  tables: ReadonlyArray<string>,
  options?: RemoveOptions
): Effect.Effect<ReadonlyArray<Step>, Failure, Capture> =>
  Effect.flatMap(Capture, (capture) => capture.remove(tables, options))

/**
 * Every captured table, and every configured one, with what is wrong with it.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Capture } from "threadline"
 * import * as Effect from "effect/Effect"
 *
 * export const errors = Effect.map(Capture.status([{ table: "posts" }]), (tables) =>
 *   tables.flatMap(({ findings }) => findings).filter(({ severity }) => severity === "error")
 * )
 * ```
 */
export const status = (
  tables?: ReadonlyArray<TableConfig>
): Effect.Effect<ReadonlyArray<TableStatus>, Failure, Capture> =>
  Effect.flatMap(Capture, (capture) => capture.status(tables))

/**
 * Captures tables inside the transaction of the caller, as one step among the host's migrations: tables that an earlier step made, and
 * that are not committed yet, too. `apply` cannot: it has transactions of its own, in which it waits for locks with patience. The step may
 * run again. It needs what `apply` needs.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { SqlClient } from "@effect/sql"
 * import { PgMigrator } from "@effect/sql-pg"
 * import { Effect } from "effect"
 * import { Capture, Migrations } from "threadline"
 *
 * export const loader = PgMigrator.fromRecord({
 *   "0001_posts": Effect.flatMap(SqlClient.SqlClient, (sql) => sql`create table posts (id bigint primary key)`),
 *   "0002_threadline": Migrations.run(),
 *   "0003_capture": Capture.migration([{ table: "posts" }])
 * })
 * ```
 */
export const migration = (tables: ReadonlyArray<TableConfig>): Effect.Effect<void, Failure, SqlClient.SqlClient> =>
  Effect.flatMap(Capture, (capture) => capture.migration(tables)).pipe(Effect.provide(layer))

/**
 * The SQL that captures the tables, one file each, for any migration tool.
 *
 * @since 0.1.0
 * @category accessors
 */
export const print = (
  tables: ReadonlyArray<TableConfig>
): Effect.Effect<ReadonlyArray<PrintedFile>, Failure, Capture> =>
  Effect.flatMap(Capture, (capture) => capture.print(tables))
