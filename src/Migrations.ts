/**
 * The schema of Threadline: its SQL files as data, a runner, and ways into other migration tools.
 *
 * @since 0.1.0
 */
import * as Migrator from "@effect/sql/Migrator"
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import { migrationFiles } from "./internal/migrationFiles.js"
import * as Plan from "./internal/migrationPlan.js"
import * as Text from "./internal/migrationSql.js"
import { inTransaction } from "./internal/migrationTransaction.js"
import { sqlState } from "./internal/sqlState.js"
import { StorageSchema } from "./internal/storage.js"
import { fromSqlError, InvalidRequest } from "./ThreadlineError.js"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("threadline/Migrations")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * One migration file. `checksum` is the SHA-256 of `sql`, in hexadecimal.
 *
 * @since 0.1.0
 * @category models
 */
export interface Migration {
  readonly id: number
  readonly name: string
  readonly sql: string
  readonly checksum: string
}

/**
 * Why migrating failed.
 *
 * - `Unreachable`: nothing answers, or the connection was lost; nothing is half done, run again.
 * - `TooOld`: the server is older than PostgreSQL 15.
 * - `NewerSchema`: the schema was migrated by a newer Threadline.
 * - `InsufficientPrivilege`: the role may not create the schema, or not act as its owner.
 * - `ChecksumMismatch`: an applied migration had another text than the one this library has.
 * - `SchemaTaken`: the schema exists and holds something else.
 * - `OwnerRefused`: the owner role asked for is a superuser.
 * - `Busy`: a table stayed locked for longer than `lockTimeout`.
 * - `Failed`: any other failure of a statement; `sqlState` says which.
 *
 * @since 0.1.0
 * @category errors
 */
export const Reason = Schema.Literal(
  "Unreachable",
  "TooOld",
  "NewerSchema",
  "InsufficientPrivilege",
  "ChecksumMismatch",
  "SchemaTaken",
  "OwnerRefused",
  "Busy",
  "Failed"
)

/**
 * @since 0.1.0
 * @category errors
 */
export type Reason = typeof Reason.Type

/**
 * Migrating failed and changed nothing. `detail` is a sentence for people.
 *
 * @since 0.1.0
 * @category errors
 */
export class MigrationError extends Schema.TaggedError<MigrationError>("threadline/MigrationError")("MigrationError", {
  reason: Reason,
  detail: Schema.String,
  sqlState: Schema.optional(Schema.String),
  cause: Schema.optional(Schema.Defect)
}) {
  /** @since 0.1.0 */
  readonly [TypeId]: TypeId = TypeId
  /** @since 0.1.0 */
  static is(u: unknown): u is MigrationError {
    return Predicate.isTagged(u, "MigrationError") && Predicate.hasProperty(u, TypeId)
  }
  override get message(): string {
    return this.detail
  }
}

/**
 * Every migration of this library, in order. Ids are 1, 2, 3 and so on.
 *
 * @since 0.1.0
 * @category constructors
 */
export const all: ReadonlyArray<Migration> = migrationFiles

/**
 * Where the schema goes and whom it belongs to.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options {
  /** Name of the schema; `threadline` unless configured otherwise. Fixed at install. */
  readonly schema?: string | undefined
  /**
   * The role that owns everything Threadline stores, made on the first run where the connecting role may; default
   * `threadline_owner`. Where it may not, the connecting role becomes the owner and the result says so.
   */
  readonly ownerRole?: string | undefined
  /** Id of the last migration to apply; default the newest. */
  readonly to?: number | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export interface RunOptions extends Options {
  /** How long to wait for a locked table before giving up with `Busy`; default 10 seconds. */
  readonly lockTimeout?: Duration.DurationInput | undefined
}

/**
 * What a run did.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunResult {
  readonly schema: string
  /** The role that owns the schema. */
  readonly owner: string
  /** Migrations applied by this run, in order; empty where there was nothing to do. */
  readonly applied: ReadonlyArray<Migration>
  /** Number of the last applied migration. */
  readonly version: number
  /** Partitions of `audit_changes` made by this run. */
  readonly partitions: ReadonlyArray<string>
  /** Sentences for people on what should be better, such as an owner that can log in. */
  readonly notices: ReadonlyArray<string>
}

/**
 * One row of the bookkeeping.
 *
 * @since 0.1.0
 * @category models
 */
export interface Applied {
  readonly id: number
  readonly name: string
  readonly checksum: string
  /** UTC, with microseconds. */
  readonly appliedAt: string
  readonly appliedBy: string
}

/**
 * How the database compares with this library.
 *
 * @since 0.1.0
 * @category models
 */
export interface Status {
  readonly schema: string
  readonly state: "absent" | "behind" | "current" | "mismatch" | "newer"
  readonly owner: Option.Option<string>
  /** Number of the last applied migration; 0 where there is none. */
  readonly version: number
  /** Number of the newest migration of this library. */
  readonly latest: number
  readonly applied: ReadonlyArray<Applied>
  readonly pending: ReadonlyArray<Migration>
  /** Applied with another text than this library has. */
  readonly mismatched: ReadonlyArray<Applied>
  /** Applied, and not known to this library. */
  readonly unknown: ReadonlyArray<Applied>
}

/**
 * Installs or upgrades the schema: whatever this library has and the database lacks, in one transaction, all or nothing.
 * Any number of runners may start at once: one works, the others wait and find nothing to do. Also makes the partitions of
 * the coming months, so calling it at each start of an application is right. Inside a transaction of the caller it runs
 * as a savepoint.
 *
 * Fails with `MigrationError`; with `InvalidRequest` where an option is wrong.
 *
 * @example
 * ```ts
 * import { PgClient } from "@effect/sql-pg"
 * import * as Config from "effect/Config"
 * import * as Effect from "effect/Effect"
 * import * as Migrations from "threadline/Migrations"
 *
 * const program = Migrations.run().pipe(
 *   Effect.tap((result) => Effect.log(`the audit schema is at ${result.version}`)),
 *   Effect.provide(PgClient.layerConfig({ url: Config.redacted("DATABASE_URL") }))
 * )
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const run: (
  options?: RunOptions
) => Effect.Effect<RunResult, MigrationError | InvalidRequest, SqlClient.SqlClient> = Effect.fnUntraced(function* (
  options: RunOptions = {}
) {
  const sql = (yield* SqlClient.SqlClient).withoutTransforms()
  const settings = yield* settingsOf(options)
  return yield* inTransaction(sql, migrate(sql, settings)).pipe(Effect.catchTag("SqlError", fromDatabase))
})

/**
 * Migrates when the layer is built.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: RunOptions): Layer.Layer<never, MigrationError | InvalidRequest, SqlClient.SqlClient> =>
  Layer.effectDiscard(run(options))

/**
 * Compares the database with this library and changes nothing. Needs the right to read the schema.
 *
 * @since 0.1.0
 * @category running
 */
export const status: (options?: {
  readonly schema?: string | undefined
}) => Effect.Effect<Status, MigrationError | InvalidRequest, SqlClient.SqlClient> = Effect.fnUntraced(function* (
  options: { readonly schema?: string | undefined } = {}
) {
  const sql = (yield* SqlClient.SqlClient).withoutTransforms()
  const { schema } = yield* settingsOf(options)
  const body = Effect.gen(function* () {
    yield* sql.unsafe(Text.preamble)
    const found = yield* installationOf(sql, schema)
    const rows = found?.installed === true ? yield* query(sql, Text.appliedMigrations(schema), Plan.AppliedRow) : []
    yield* sql.unsafe(Text.epilogue)
    const result: Status = {
      schema,
      owner: Option.map(Option.fromNullable(found), (row) => row.owner),
      latest: all.length,
      ...Plan.compare(all, rows)
    }
    return result
  })
  return yield* inTransaction(sql, body).pipe(Effect.catchTag("SqlError", fromDatabase))
})

/**
 * @since 0.1.0
 * @category options
 */
export interface RenderOptions extends Options {
  /** Id of the first migration of the text; default 1, a whole installation. */
  readonly from?: number | undefined
  /**
   * Whether the text begins and commits its own transaction; default true. A tool that wraps each file in a transaction
   * wants false; the text then refuses to run outside of one and gives back the settings that it changed.
   */
  readonly transaction?: boolean | undefined
}

/**
 * The migrations as plain SQL, for `psql` or for reading. It does what `run` does, bookkeeping included, and refuses to
 * run twice.
 *
 * @since 0.1.0
 * @category rendering
 */
export const render: (options?: RenderOptions) => Effect.Effect<string, InvalidRequest> = Effect.fnUntraced(function* (
  options: RenderOptions = {}
) {
  const settings = yield* settingsOf(options)
  const from = yield* checkId("from", options.from ?? 1)
  if (from > settings.to) {
    return yield* new InvalidRequest({ field: "from", rule: "comes after the last migration asked for" })
  }
  return rendered(settings, from, options.transaction ?? true)
})

/**
 * One SQL file for each migration, for a migration tool that runs each file in a transaction.
 *
 * @since 0.1.0
 * @category rendering
 */
export const generate: (
  options?: Options
) => Effect.Effect<ReadonlyArray<{ readonly file: string; readonly sql: string }>, InvalidRequest> = Effect.fnUntraced(
  function* (options: Options = {}) {
    const settings = yield* settingsOf(options)
    return all
      .filter((migration) => migration.id <= settings.to)
      .map((migration) => ({
        file: `${String(migration.id).padStart(4, "0")}_threadline_${migration.name}.sql`,
        sql: rendered({ ...settings, to: migration.id }, migration.id, false)
      }))
  }
)

/**
 * The migrations for the `Migrator` of `@effect/sql` and its `PgMigrator`. It keeps one number for all it has run and
 * skips whatever is lower, so give Threadline a bookkeeping table of its own (`table: "threadline_migrations"`), or an
 * `idOffset` above every migration that the host has so far. What `run` or the command line applied before is left alone.
 *
 * @since 0.1.0
 * @category loaders
 */
export const loader = (
  options: RunOptions & {
    /** Added to each id; default 0. */
    readonly idOffset?: number | undefined
  } = {}
): Migrator.Loader =>
  Effect.succeed(
    all
      .filter((migration) => migration.id <= (options.to ?? all.length))
      .map((migration): Migrator.ResolvedMigration => [
        migration.id + (options.idOffset ?? 0),
        `threadline_${migration.name}`,
        Effect.succeed(run({ ...options, to: migration.id }))
      ])
  )

// --- internal -------------------------------------------------------------------------------------------------------

interface Settings extends Text.PrologueSettings {
  readonly to: number
}

const reserved = /^(pg_.*|public|information_schema|none)$/

const checkName = (field: string, name: string): Effect.Effect<string, InvalidRequest> => {
  const bytes = Buffer.byteLength(name, "utf8")
  return bytes < 1 || bytes > 63 || name.includes("\0")
    ? Effect.fail(new InvalidRequest({ field, rule: "a name has 1 to 63 bytes" }))
    : reserved.test(name)
      ? Effect.fail(new InvalidRequest({ field, rule: "this name is reserved" }))
      : Effect.succeed(name)
}

const checkId = (field: string, id: number): Effect.Effect<number, InvalidRequest> =>
  Number.isInteger(id) && id >= 1 && id <= all.length
    ? Effect.succeed(id)
    : Effect.fail(new InvalidRequest({ field, rule: `a migration has a number from 1 to ${all.length}` }))

const settingsOf = Effect.fnUntraced(function* (options: RunOptions) {
  const settings: Settings = {
    schema: yield* checkName("schema", options.schema ?? (yield* StorageSchema)),
    ownerRole: yield* checkName("ownerRole", options.ownerRole ?? "threadline_owner"),
    to: yield* checkId("to", options.to ?? all.length),
    lockTimeoutMillis: Math.max(1, Math.round(Duration.toMillis(options.lockTimeout ?? "10 seconds")))
  }
  return settings
})

const rendered = (settings: Settings, from: number, transaction: boolean): string => {
  const files = all.filter((migration) => migration.id >= from && migration.id <= settings.to)
  const steps = files.flatMap((file) => [
    `-- Migration ${file.id}: ${file.name}`,
    Text.orderCheck(file, file.id - 1),
    file.sql.trimEnd(),
    Text.record(file)
  ])
  const work = [Text.preamble, Text.prologue(settings)]
  return (
    transaction
      ? ["begin;", ...work, ...steps, `${Text.partitions};`, "commit;"]
      : [...work, Text.transactionCheck(settings.schema), ...steps, `${Text.partitions};`, Text.epilogue]
  )
    .join("\n\n")
    .concat("\n")
}

const query = <A, I>(
  sql: SqlClient.SqlClient,
  text: string,
  row: Schema.Schema<A, I>
): Effect.Effect<ReadonlyArray<A>, SqlError> =>
  Effect.flatMap(sql.unsafe(text), (rows) => Effect.orDie(Schema.decodeUnknown(Schema.Array(row))(rows)))

const InstallationRow = Schema.Struct({
  owner: Schema.String,
  can_login: Schema.Boolean,
  is_super: Schema.Boolean,
  installed: Schema.Boolean
})

const installationOf = (sql: SqlClient.SqlClient, schema: string) =>
  Effect.map(query(sql, Text.installation(schema), InstallationRow), (rows) => rows[0])

const migrate = Effect.fnUntraced(function* (sql: SqlClient.SqlClient, settings: Settings) {
  yield* sql.unsafe(Text.preamble)
  yield* sql.unsafe(Text.prologue(settings))
  const rows = yield* query(sql, Text.appliedMigrations(settings.schema), Plan.AppliedRow)
  const found = Plan.compare(all, rows)
  yield* refuse(settings, found)

  const pending = found.pending.filter((migration) => migration.id <= settings.to)
  for (const migration of pending) {
    yield* sql.unsafe(migration.sql).pipe(
      Effect.zipRight(sql.unsafe(Text.record(migration))),
      Effect.mapError((error) => failed(error, `migration ${migration.id} (${migration.name})`))
    )
  }
  const partitions = yield* query(sql, Text.partitions, Schema.Struct({ name: Schema.String }))
  const owner = yield* installationOf(sql, settings.schema)
  yield* sql.unsafe(Text.epilogue)
  const result: RunResult = {
    schema: settings.schema,
    owner: owner?.owner ?? settings.ownerRole,
    applied: pending,
    version: Math.max(found.version, ...pending.map((migration) => migration.id)),
    partitions: partitions.map((row) => row.name),
    notices: owner === undefined ? [] : noticesOf(settings, owner)
  }
  return result
})

const noticesOf = (settings: Settings, found: typeof InstallationRow.Type): ReadonlyArray<string> => {
  if (found.is_super) {
    return [
      `the schema belongs to the superuser ${found.owner}, so its functions run with all rights: ` +
        `give it and what it holds to a role that is none`
    ]
  }
  if (found.can_login) {
    return [
      `the schema belongs to ${found.owner}, a role that can log in: whoever logs in as it can change the record. ` +
        `Where roles may not be made here, have the role ${settings.ownerRole} made and granted before the first run`
    ]
  }
  return []
}

const refuse = (settings: Settings, found: Plan.Comparison): Effect.Effect<void, MigrationError> => {
  const list = (rows: ReadonlyArray<Plan.Applied>) => rows.map((row) => `${row.id} (${row.name})`).join(", ")
  if (found.state === "newer") {
    return Effect.fail(
      new MigrationError({
        reason: "NewerSchema",
        detail:
          `the schema ${settings.schema} was migrated by a newer Threadline (migration ${list(found.unknown)} is ` +
          `not known here): use that version or a later one`
      })
    )
  }
  if (found.state === "mismatch") {
    return Effect.fail(
      new MigrationError({
        reason: "ChecksumMismatch",
        detail: `migration ${list(found.mismatched)} was applied with another text than this Threadline has`
      })
    )
  }
  return Effect.void
}

const fromDatabase = (error: SqlError) => Effect.fail(failed(error))

const reasons: Readonly<Record<string, Reason>> = {
  [Text.schemaTaken]: "SchemaTaken",
  [Text.ownerRefused]: "OwnerRefused",
  [Text.tooOld]: "TooOld",
  "42501": "InsufficientPrivilege",
  "55P03": "Busy"
}

const failed = (error: SqlError, step?: string): MigrationError => {
  const state = sqlState(error)
  const general = fromSqlError(error)
  if (general.reason === "Unreachable") {
    return new MigrationError({ reason: "Unreachable", detail: general.detail, cause: error })
  }
  const said = Predicate.hasProperty(error.cause, "message") ? String(error.cause.message) : error.message
  const sentence = said.replace(/^threadline: /, "")
  return new MigrationError({
    reason: (state === undefined ? undefined : reasons[state]) ?? "Failed",
    detail: step === undefined ? sentence : `${step} failed: ${sentence}`,
    cause: error,
    ...(state === undefined ? {} : { sqlState: state })
  })
}
