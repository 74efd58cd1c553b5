import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { fromSqlError, ThreadlineError } from "../../ThreadlineError.js"
import { otherInstallations } from "./bookkeeping.js"
import { migrationFiles } from "./files.js"
import { refuseHidden } from "../sql/hidden.js"
import { identifier } from "../sql/sqlText.js"
import { StorageSchema } from "../sql/storageSchema.js"

const Answer = Schema.Tuple(Schema.Struct({ version: Schema.Number }))

const Schemas = Schema.Array(Schema.Struct({ name: Schema.String }))

/**
 * If the schema is missing: the error names the schemas that Threadline is installed in. Otherwise a caller who forgot the name would
 * install Threadline a second time, and find an empty record.
 */
const withOtherSchemas = (
  sql: SqlClient.SqlClient,
  schema: string,
  error: ThreadlineError
): Effect.Effect<ThreadlineError> =>
  error.sqlState !== "3F000"
    ? Effect.succeed(error)
    : sql.unsafe(otherInstallations(schema)).pipe(
        Effect.flatMap(Schema.decodeUnknown(Schemas)),
        // The first error is the one to report.
        Effect.orElseSucceed((): typeof Schemas.Type => []),
        Effect.map((others) =>
          others.length === 0
            ? error
            : new ThreadlineError({
                reason: error.reason,
                detail:
                  `Threadline is not installed here as ${schema}, but as ${others.map(({ name }) => name).join(" and as ")}: ` +
                  "name that schema, with --schema, THREADLINE_SCHEMA or the option schema",
                sqlState: error.sqlState,
                cause: error.cause
              })
        )
      )

/** Fails if the schema is missing, behind this library, or ahead of it. */
export const checkVersion: Effect.Effect<void, ThreadlineError, SqlClient.SqlClient> = Effect.gen(function* () {
  const sql = (yield* SqlClient.SqlClient).withoutTransforms()
  const schema = yield* StorageSchema
  const rows = yield* sql
    .unsafe(`select ${identifier(schema)}.schema_version() as version`)
    .pipe(Effect.catchAll((error) => Effect.flatMap(withOtherSchemas(sql, schema, fromSqlError(error)), Effect.fail)))
  const [{ version }] = yield* Effect.orDie(Schema.decodeUnknown(Answer)(rows))
  const latest = migrationFiles.length
  if (version < latest) {
    yield* refuseHidden(sql, schema, "and its version cannot be known").pipe(
      Effect.catchTags({ SqlError: (error) => fromSqlError(error), ParseError: (error) => Effect.die(error) })
    )
    return yield* new ThreadlineError({
      reason: "NotMigrated",
      detail: `the schema ${schema} is at ${version} of ${latest} migrations; run "threadline migrate up"`
    })
  }
  if (version > latest) {
    return yield* new ThreadlineError({
      reason: "NewerSchema",
      detail: `the schema ${schema} was migrated by a newer Threadline (${version}, known here are ${latest}): use that version or a later one`
    })
  }
})
