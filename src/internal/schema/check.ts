import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { fromSqlError, ThreadlineError } from "../../ThreadlineError.js"
import { migrationFiles } from "./files.js"
import { refuseHidden } from "../sql/hidden.js"
import { identifier } from "../sql/sqlText.js"
import { StorageSchema } from "../sql/storageSchema.js"

const Answer = Schema.Tuple(Schema.Struct({ version: Schema.Number }))

/** Fails if the schema is missing, behind this library, or ahead of it. */
export const checkVersion: Effect.Effect<void, ThreadlineError, SqlClient.SqlClient> = Effect.gen(function* () {
  const sql = (yield* SqlClient.SqlClient).withoutTransforms()
  const schema = yield* StorageSchema
  const rows = yield* Effect.mapError(
    sql.unsafe(`select ${identifier(schema)}.schema_version() as version`),
    fromSqlError
  )
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
