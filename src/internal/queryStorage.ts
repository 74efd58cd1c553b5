/**
 * What every read needs of the database: a client without the host's transforms, names of the storage schema, and one way to
 * run a statement and to understand what comes back.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import type { Fragment, Statement } from "@effect/sql/Statement"
import { join } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import { fromSqlError, ThreadlineError } from "../ThreadlineError.js"
import type { ReadScope } from "./queryScope.js"
import { decoder } from "./rowDecoder.js"
import { qualified } from "./sqlText.js"
import { sqlState } from "./sqlState.js"
import { StorageSchema } from "./storage.js"

export interface Storage {
  readonly sql: SqlClient.SqlClient
  readonly schema: string
  /** The qualified name of a table or function of Threadline's own. */
  readonly name: (object: string) => Fragment
  /** All of them must let a row through; see `queryVisible`. */
  readonly scopes: ReadonlyArray<ReadScope>
}

export const make: Effect.Effect<Storage, never, SqlClient.SqlClient> = Effect.gen(function* () {
  const sql = (yield* SqlClient.SqlClient).withoutTransforms()
  const schema = yield* StorageSchema
  return { sql, schema, name: (object) => sql.literal(qualified(schema, object)), scopes: [] }
})

const conjunction = join("\n      and ", false, "true")

/** Conditions that all hold; each must be safe between two `and`. */
export const all = (conditions: ReadonlyArray<Fragment | undefined>): Fragment =>
  conjunction(conditions.filter((condition) => condition !== undefined))

/** What the server says of a value that it could not read repeats the value, which may be one that the reader may not see. */
export const withoutValue = (error: SqlError): ThreadlineError => {
  const state = sqlState(error)
  return state?.startsWith("22") === true
    ? new ThreadlineError({
        reason: "Failed",
        detail: "a condition failed on a stored value, such as a cast that it does not stand",
        sqlState: state
      })
    : fromSqlError(error)
}

export const unreadable = () =>
  new ThreadlineError({
    reason: "Failed",
    detail: "a stored row is not of the form that this version of Threadline reads"
  })

/** Runs a statement and decodes its rows. The detail of a failure names no value: values are captured data. */
export const rows = <A, I, E = never>(
  row: Schema.Schema<A, I>,
  statement: Statement<unknown>,
  onSqlError: (error: SqlError) => E | ThreadlineError = withoutValue
): Effect.Effect<ReadonlyArray<A>, E | ThreadlineError> => {
  const decode = decoder(row)
  return statement.pipe(
    Effect.mapError(onSqlError),
    Effect.flatMap((found) => Effect.try({ try: () => found.map(decode), catch: unreadable }))
  )
}
