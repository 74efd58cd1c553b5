import type * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { fromSqlError, InvalidRequest } from "../../ThreadlineError.js"
import { migrationFiles } from "./files.js"
import {
  type Applied,
  makeStatus,
  MigrationError,
  type Reason,
  type RenderOptions,
  type RunOptions,
  type RunResult,
  type Status,
  type Summary
} from "./model.js"
import * as compare from "./compare.js"
import { concernsOf, describeConcern, notOwnedIn } from "./concern.js"
import * as bookkeeping from "./bookkeeping.js"
import { beginWriting, transactionOrSavepoint } from "../sql/owned.js"
import { millis, mustHaveOnly } from "../core/request.js"
import { reasonWithCause, sqlState } from "../sql/sqlState.js"
import { Standing, standingOf } from "../sql/standing.js"
import { StorageSchema } from "../sql/storageSchema.js"
import { watchOf, watchOff, watchOn, WatchRow, watchStatement } from "../sql/watch.js"

export interface Settings extends bookkeeping.PrologueSettings {
  readonly to: number
  /** Whether the schema watch is turned on or off; undefined if it stays as it is. */
  readonly watchSchema: boolean | undefined
}

const reserved = /^(pg_.*|public|information_schema|none)$/

const checkName = (field: string, name: string): Effect.Effect<string, InvalidRequest> => {
  const bytes = typeof name === "string" ? Buffer.byteLength(name, "utf8") : 0
  return bytes < 1 || bytes > 63 || name.includes("\0")
    ? Effect.fail(new InvalidRequest({ field, rule: "must have 1 to 63 bytes" }))
    : reserved.test(name)
      ? Effect.fail(new InvalidRequest({ field, rule: "must not be a reserved name" }))
      : Effect.succeed(name)
}

export const checkId = (field: string, id: number): Effect.Effect<number, InvalidRequest> =>
  Number.isInteger(id) && id >= 1 && id <= migrationFiles.length
    ? Effect.succeed(id)
    : Effect.fail(
        new InvalidRequest({ field, rule: `must be the number of a migration, from 1 to ${migrationFiles.length}` })
      )

/** The options of all that runs or prints migrations. */
const knownOptions = {
  schema: true,
  ownerRole: true,
  to: true,
  watchSchema: true,
  lockTimeout: true,
  from: true,
  transaction: true
} as const satisfies Record<keyof RunOptions | keyof RenderOptions, true>

export const settingsOf = Effect.fnUntraced(function* (options: RunOptions) {
  yield* mustHaveOnly(options, knownOptions)
  const settings: Settings = {
    schema: yield* checkName("schema", options.schema ?? (yield* StorageSchema)),
    ownerRole: yield* checkName("ownerRole", options.ownerRole ?? "threadline_owner"),
    to: yield* checkId("to", options.to ?? migrationFiles.length),
    lockTimeoutMillis: yield* millis("lockTimeout", options.lockTimeout ?? "10 seconds"),
    watchSchema: options.watchSchema
  }
  if (settings.watchSchema !== undefined && typeof settings.watchSchema !== "boolean") {
    return yield* new InvalidRequest({ field: "watchSchema", rule: "must be true or false" })
  }
  if (settings.watchSchema === true && settings.to < migrationFiles.length) {
    return yield* new InvalidRequest({
      field: "watchSchema",
      rule: "needs every migration: leave out `to`"
    })
  }
  return settings
})

/** Migrations as one text: in a transaction of its own, or for a tool that runs the text in one. */
export const rendered = (
  settings: Settings,
  { from, transaction }: { readonly from: number; readonly transaction: "own" | "of the tool" }
): string => {
  const files = migrationFiles.filter((migration) => migration.id >= from && migration.id <= settings.to)
  const steps = files.flatMap((file) => [
    `-- Migration ${file.id}: ${file.name}`,
    bookkeeping.orderCheck(file, file.id - 1),
    file.sql.trimEnd(),
    bookkeeping.record(file)
  ])
  const work = [bookkeeping.preamble, bookkeeping.prologue(settings)]
  const watch = watchSteps(settings)
  return (
    transaction === "own"
      ? ["begin;", ...work, ...steps, bookkeeping.seeds, `${bookkeeping.partitions};`, ...watch, "commit;"]
      : [
          ...work,
          bookkeeping.transactionCheck(settings.schema),
          ...steps,
          bookkeeping.seeds,
          `${bookkeeping.partitions};`,
          ...watch,
          bookkeeping.epilogue
        ]
  )
    .join("\n\n")
    .concat("\n")
}

/** Turns the schema watch on or off, as the connected role: the owner of the record may make no event triggers. */
const watchSteps = ({ schema, watchSchema }: Settings): ReadonlyArray<string> =>
  watchSchema === undefined
    ? []
    : [bookkeeping.asConnected, watchSchema ? `-- The schema watch\n${watchOn(schema)}` : watchOff(schema)]

/** The schema watch alone, for a tool that runs each file in a transaction. */
export const renderedWatch = (settings: Settings): string =>
  [bookkeeping.preamble, ...watchSteps(settings), bookkeeping.epilogue].join("\n\n").concat("\n")

const query = <A, I>(
  sql: SqlClient.SqlClient,
  text: string,
  row: Schema.Schema<A, I>
): Effect.Effect<ReadonlyArray<A>, SqlError> =>
  Effect.flatMap(sql.unsafe(text), (rows) => Effect.orDie(Schema.decodeUnknown(Schema.Array(row))(rows)))

const InstallationRow = Schema.Struct({ owner: Schema.String, installed: Schema.Boolean })

const StandingRow = Schema.Struct({ standing: Standing })

/** How the record stands; none if there is no such schema. */
const standingIn = (sql: SqlClient.SqlClient, schema: string) =>
  Effect.map(query(sql, standingOf(schema), StandingRow), (rows) => rows.map(({ standing }) => standing))

/** Migrations that are applied, and hidden, would look as if they were pending. What hides other tables is a concern of the status. */
const refuseHiddenMigrations = (standings: ReadonlyArray<Standing>): Effect.Effect<void, MigrationError> => {
  const hidden = standings.flatMap((standing) => standing.hidden).find((table) => table.endsWith(".migrations"))
  return hidden === undefined
    ? Effect.void
    : Effect.fail(
        new MigrationError({
          reason: "RecordHidden",
          detail:
            `row-level security may hide rows of ${hidden} from this role or from the owner of the record, ` +
            "and migrations would look as if they were not applied: disable it on this table"
        })
      )
}

const watchIn = (sql: SqlClient.SqlClient, schema: string) =>
  Effect.map(query(sql, watchStatement(schema), WatchRow), ([row]) =>
    row === undefined ? ({ state: "off", problems: [] } as const) : watchOf(schema, row.watch)
  )

const installationOf = (sql: SqlClient.SqlClient, schema: string) =>
  Effect.map(query(sql, bookkeeping.installation(schema), InstallationRow), (rows) => rows[0])

/**
 * The isolation does not depend on the role's defaults: a snapshot taken before the wait for the lock would be stale. Inside a
 * transaction of the caller it is a savepoint.
 */
export const migrate = (sql: SqlClient.SqlClient, settings: Settings): Effect.Effect<RunResult, MigrationError> =>
  transactionOrSavepoint(sql, beginWriting(), apply(sql, settings)).pipe(Effect.catchTag("SqlError", fromDatabase))

const summaryOf = ({ checksum, id, name }: bookkeeping.MigrationFile): Summary => ({ id, name, checksum })

export const inspect = (sql: SqlClient.SqlClient, schema: string): Effect.Effect<Status, MigrationError> => {
  const body = Effect.gen(function* () {
    yield* sql.unsafe(bookkeeping.preamble)
    const installation = yield* installationOf(sql, schema)
    const standings = installation?.installed === true ? yield* standingIn(sql, schema) : []
    yield* refuseHiddenMigrations(standings)
    const rows =
      installation?.installed === true
        ? yield* query(sql, bookkeeping.appliedMigrations(schema), compare.AppliedRow)
        : []
    const watch = yield* watchIn(sql, schema)
    yield* sql.unsafe(bookkeeping.epilogue)
    const comparison = compare.compare(migrationFiles, rows)
    return makeStatus({
      schema,
      concerns: standings.flatMap((standing) => concernsOf(standing, watch)),
      watch: watch.state,
      owner: Option.map(Option.fromNullable(installation), (row) => row.owner),
      latest: migrationFiles.length,
      ...comparison,
      pending: comparison.pending.map(summaryOf)
    })
  })
  // A replica has a status, too.
  return transactionOrSavepoint(sql, "begin isolation level read committed read only", body).pipe(
    Effect.catchTag("SqlError", (error) =>
      sqlState(error) === "42501" ? Effect.flatMap(lacking(sql, schema, error), Effect.fail) : fromDatabase(error)
    )
  )
}

/** If the role may not read the migrations: what it lacks, and how to get it. */
const lacking = (sql: SqlClient.SqlClient, schema: string, error: SqlError): Effect.Effect<MigrationError> =>
  query(sql, bookkeeping.acting(schema), Schema.Struct({ role: Schema.String, owner: Schema.String })).pipe(
    Effect.map(([acting]) =>
      acting === undefined
        ? failed(error)
        : new MigrationError({
            reason: "InsufficientPrivilege",
            detail:
              `role ${acting.role} may not read the migrations of the schema ${schema}; a role that may act as its owner ` +
              `${acting.owner} gives that right with "threadline grant --reader ${acting.role}"`,
            cause: error,
            sqlState: "42501"
          })
    ),
    Effect.orElseSucceed(() => failed(error))
  )

/** Objects of other roles may be the reason why the owner of the record is refused something. */
const apply = Effect.fnUntraced(function* (sql: SqlClient.SqlClient, settings: Settings) {
  yield* sql.unsafe(bookkeeping.preamble)
  const standings = yield* standingIn(sql, settings.schema)
  yield* refuseHiddenMigrations(standings)
  const [notOwned] = standings.flatMap(notOwnedIn)
  return yield* notOwned === undefined
    ? applied(sql, settings)
    : Effect.mapError(applied(sql, settings), (error) =>
        causeOf(error) === "42501"
          ? new MigrationError({
              reason: "InsufficientPrivilege",
              detail: describeConcern(notOwned),
              cause: error,
              sqlState: "42501"
            })
          : error
      )
})

const causeOf = (error: SqlError | MigrationError): string | undefined =>
  error._tag === "SqlError" ? sqlState(error) : error.sqlState

const applied = Effect.fnUntraced(function* (sql: SqlClient.SqlClient, settings: Settings) {
  yield* sql.unsafe(bookkeeping.prologue(settings))
  const rows = yield* query(sql, bookkeeping.appliedMigrations(settings.schema), compare.AppliedRow)
  const comparison = compare.compare(migrationFiles, rows)
  yield* refuse(settings, comparison)

  const pending = comparison.pending.filter((migration) => migration.id <= settings.to)
  for (const migration of pending) {
    yield* sql.unsafe(migration.sql).pipe(
      Effect.zipRight(sql.unsafe(bookkeeping.record(migration))),
      Effect.mapError((error) => failed(error, `migration ${migration.id} (${migration.name})`))
    )
  }
  yield* sql.unsafe(bookkeeping.seeds)
  const partitions = yield* query(sql, bookkeeping.partitions, Schema.Struct({ name: Schema.String }))
  const installation = yield* installationOf(sql, settings.schema)
  const otherRecords =
    comparison.state === "absent"
      ? yield* query(sql, bookkeeping.otherInstallations(settings.schema), Schema.Struct({ name: Schema.String }))
      : []
  const standings = yield* standingIn(sql, settings.schema)
  for (const statements of watchSteps(settings)) {
    yield* sql.unsafe(statements).pipe(Effect.mapError(watchRefused))
  }
  const watch = yield* watchIn(sql, settings.schema)
  const concerns = standings.flatMap((standing) => concernsOf(standing, watch))
  yield* sql.unsafe(bookkeeping.epilogue)
  const result: RunResult = {
    schema: settings.schema,
    owner: installation?.owner ?? settings.ownerRole,
    applied: pending.map(summaryOf),
    version: Math.max(comparison.version, ...pending.map((migration) => migration.id)),
    partitions: partitions.map((row) => row.name),
    concerns,
    watch: watch.state,
    notices: [
      ...concerns.map(describeConcern),
      // An upgrade without the schema's name would install a second record, and upgrade nothing.
      ...otherRecords.map(
        ({ name }) =>
          `this database had a record already, in the schema ${name}; if that was meant, name it, and drop ${settings.schema}`
      )
    ]
  }
  return result
})

/** The roles that may make event triggers on services that give no superuser. */
const mayWatch =
  "on a managed service, the role that it gives for that: rds_superuser on Amazon RDS and Aurora, cloudsqlsuperuser on " +
  "Google Cloud SQL, azure_pg_admin on Azure, postgres on Supabase, neon_superuser on Neon"

/** One error for everything that fails because the right to make event triggers is missing. */
const watchRefused = (error: SqlError): MigrationError | SqlError =>
  sqlState(error) === "42501"
    ? new MigrationError({
        reason: "InsufficientPrivilege",
        detail:
          `the schema watch is made of event triggers, which this role may not make or drop (${reasonWithCause(error)}): ` +
          `run it as a superuser, or ${mayWatch}. Without --watch-schema everything else works as before`,
        cause: error,
        sqlState: "42501"
      })
    : error

const refuse = (settings: Settings, comparison: compare.Comparison): Effect.Effect<void, MigrationError> => {
  const list = (rows: ReadonlyArray<Applied>) => rows.map((row) => `${row.id} (${row.name})`).join(", ")
  if (comparison.state === "newer") {
    return Effect.fail(
      new MigrationError({
        reason: "NewerSchema",
        detail:
          `the schema ${settings.schema} was migrated by a newer Threadline (migration ${list(comparison.unknown)} is ` +
          `not known here): use that version or a later one`
      })
    )
  }
  if (comparison.state === "mismatch") {
    return Effect.fail(
      new MigrationError({
        reason: "ChecksumMismatch",
        detail: `migration ${list(comparison.mismatched)} was applied with other statements than this version of Threadline has`
      })
    )
  }
  return Effect.void
}

const fromDatabase = (error: SqlError) => Effect.fail(failed(error))

const reasons: Readonly<Record<string, Reason>> = {
  [bookkeeping.schemaTaken]: "SchemaTaken",
  [bookkeeping.ownerRefused]: "OwnerRefused",
  [bookkeeping.tooOld]: "TooOld",
  "42501": "InsufficientPrivilege",
  "55P03": "Busy"
}

const failed = (error: SqlError, step?: string): MigrationError => {
  const state = sqlState(error)
  const general = fromSqlError(error)
  if (general.reason === "Unreachable" || general.reason === "ReadOnly") {
    return new MigrationError({ reason: general.reason, detail: general.detail, cause: error })
  }
  const sentence = reasonWithCause(error)
  return new MigrationError({
    reason: (state === undefined ? undefined : reasons[state]) ?? "Failed",
    detail: step === undefined ? sentence : `${step} failed: ${sentence}`,
    cause: error,
    ...(state === undefined ? {} : { sqlState: state })
  })
}
