/**
 * The schema of Threadline: its SQL files as data, a runner, and ways into other migration tools.
 *
 * @since 0.1.0
 */
import type * as Migrator from "@effect/sql/Migrator"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { operation } from "./internal/core/telemetry.js"
import { checkVersion } from "./internal/schema/check.js"
import { migrationFiles } from "./internal/schema/files.js"
import type {
  Migration,
  MigrationError,
  Options,
  RenderOptions,
  RunOptions,
  RunResult,
  Status
} from "./internal/schema/model.js"
import { checkId, inspect, migrate, rendered, renderedWatch, settingsOf } from "./internal/schema/run.js"
import { InvalidRequest, type ThreadlineError } from "./ThreadlineError.js"

/**
 * @since 0.1.0
 */
export { Applied, MigrationError, Reason, RunResult, Status, Summary, TypeId } from "./internal/schema/model.js"

/**
 * @since 0.1.0
 */
export { Concern, describeConcern } from "./internal/schema/concern.js"

/**
 * @since 0.1.0
 */
export { WatchProblem, WatchState } from "./internal/sql/watch.js"

/**
 * @since 0.1.0
 */
export type { Migration, Options, RenderOptions, RunOptions } from "./internal/schema/model.js"

/**
 * Every migration of this library, in order. Ids are 1, 2, 3 and so on.
 *
 * @since 0.1.0
 * @category constructors
 */
export const all: ReadonlyArray<Migration> = migrationFiles

/**
 * Installs or upgrades the schema: whatever this library has and the database lacks, in one transaction, all or nothing.
 * Any number of runners may start at once: one works, the others wait and find nothing to do. Also makes the partitions of
 * the coming months, so calling it at each start of an application is right. Inside a transaction of the caller it runs
 * as a savepoint.
 *
 * Fails with `MigrationError`; with `InvalidRequest` if an option is wrong.
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
) => Effect.Effect<RunResult, MigrationError | InvalidRequest, SqlClient.SqlClient> = Effect.fnUntraced(
  function* (options: RunOptions = {}) {
    const sql = (yield* SqlClient.SqlClient).withoutTransforms()
    const settings = yield* settingsOf(options)
    return yield* migrate(sql, settings)
  },
  operation("migrations", "run")
)

/**
 * Migrates when the layer is built. Notices of the run are logged as warnings.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: RunOptions): Layer.Layer<never, MigrationError | InvalidRequest, SqlClient.SqlClient> =>
  Layer.effectDiscard(
    Effect.flatMap(run(options), ({ notices, schema }) =>
      Effect.forEach(
        notices,
        (notice) => Effect.logWarning(`threadline: ${notice}`).pipe(Effect.annotateLogs({ schema })),
        {
          discard: true
        }
      )
    )
  )

/**
 * @since 0.1.0
 * @category options
 */
export interface PlaceOptions {
  /** Where Threadline is installed, `threadline` unless given. */
  readonly schema?: string | undefined
}

/**
 * Compares the database with this library and changes nothing. Needs the right to read the schema.
 *
 * @since 0.1.0
 * @category running
 */
export const status: (
  options?: PlaceOptions
) => Effect.Effect<Status, MigrationError | InvalidRequest, SqlClient.SqlClient> = Effect.fnUntraced(
  function* (options: PlaceOptions = {}) {
    const sql = (yield* SqlClient.SqlClient).withoutTransforms()
    const { schema } = yield* settingsOf(options)
    return yield* inspect(sql, schema)
  },
  operation("migrations", "status")
)

/**
 * Fails with a `ThreadlineError` unless the schema is at the version of this library: `NotMigrated` if it is missing or behind,
 * `NewerSchema` if it is ahead. It is one short statement, which every role with a grant may run; `Threadline.layer` runs it when
 * it is built. The schema is that of `StorageSchema`.
 *
 * @since 0.1.0
 * @category running
 */
export const check: Effect.Effect<void, ThreadlineError, SqlClient.SqlClient> = checkVersion

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
  return rendered(settings, { from, transaction: (options.transaction ?? true) ? "own" : "of the tool" })
})

/**
 * The schema watch alone as plain SQL, turned on or off in a transaction of its own, for a database that lacks no migration. It is to be
 * run as a role that may make event triggers.
 *
 * @since 0.1.0
 * @category rendering
 */
export const renderWatch = (on: boolean, options: PlaceOptions = {}): Effect.Effect<string, InvalidRequest> =>
  Effect.map(
    settingsOf({ ...options, watchSchema: on }),
    (settings) => `begin;\n\n${renderedWatch(settings)}\ncommit;\n`
  )

/**
 * One SQL file for each migration, for a migration tool that runs each file in a transaction. With `watchSchema` there is one
 * more, `threadline_schema_watch.sql`: to be run after the others, and again after each upgrade, as a role that may make event
 * triggers.
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
        sql: rendered(
          { ...settings, to: migration.id, watchSchema: undefined },
          { from: migration.id, transaction: "of the tool" }
        )
      }))
      .concat(
        settings.watchSchema === undefined
          ? []
          : [{ file: "threadline_schema_watch.sql", sql: renderedWatch(settings) }]
      )
  }
)

/**
 * The migrations for the `Migrator` of `@effect/sql` and its `PgMigrator`, with a bookkeeping table of their own. The Migrator keeps one
 * number for all it has run and skips whatever is lower, so a table that is shared would make it skip migrations of yours. What `run` or
 * the command line applied before is left alone.
 *
 * In a table that has your migrations, install Threadline in one of them: a step may run `Migrations.run()`. Another step does so after
 * an upgrade of Threadline.
 *
 * @since 0.1.0
 * @category loaders
 * @example
 * ```ts
 * import { PgMigrator } from "@effect/sql-pg"
 * import { SqlClient } from "@effect/sql"
 * import { Effect } from "effect"
 * import { Migrations } from "threadline"
 *
 * // Beside the host's migrations, in a table of its own.
 * export const Threadline = PgMigrator.layer({ loader: Migrations.loader(), table: "threadline_migrations" })
 *
 * // Among the host's migrations, as one of them.
 * export const loader = PgMigrator.fromRecord({
 *   "0001_posts": Effect.flatMap(SqlClient.SqlClient, (sql) => sql`create table posts (id bigint primary key)`),
 *   "0002_threadline": Migrations.run()
 * })
 * ```
 */
export const loader = (options: RunOptions = {}): Migrator.Loader =>
  Effect.succeed(
    all
      .filter((migration) => migration.id <= (options.to ?? all.length))
      .map((migration): Migrator.ResolvedMigration => [
        migration.id,
        `threadline_${migration.name}`,
        Effect.succeed(
          run({
            ...options,
            to: migration.id,
            ...(migration.id < all.length ? { watchSchema: undefined } : {})
          })
        )
      ])
  )
