/**
 * What every read needs from the database: a client without the host's transforms, the names in Threadline's schema, and one way
 * to run a statement and decode its rows.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import type { Fragment, Statement } from "@effect/sql/Statement"
import { join } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schema from "effect/Schema"
import { createSecretKey, type KeyObject } from "node:crypto"
import { fromSqlError, ThreadlineError } from "../../ThreadlineError.js"
import type { Restriction } from "./scope.js"
import { decoder } from "../core/rowDecoder.js"
import { Apart } from "../sql/apart.js"
import { single, writing } from "../sql/owned.js"
import { qualified } from "../sql/sqlText.js"
import { sqlState } from "../sql/sqlState.js"
import { StorageSchema } from "../sql/storageSchema.js"

export interface Storage {
  readonly sql: SqlClient.SqlClient
  readonly schema: string
  /** The qualified name of a table or function of Threadline's own. */
  readonly name: (object: string) => Fragment
  /** Whether reads take connections of their own client even inside a transaction: see `Apart`. */
  readonly apart: boolean
  /** Whether strings may be no UTF-8, because the database has no encoding (SQL_ASCII). */
  readonly anyBytes: boolean
  /** What a reader may see; undefined if it is everything. */
  readonly restriction: Restriction | undefined
  /** What cursors are sealed with under a scope. */
  readonly cursorKey: Effect.Effect<KeyObject, ThreadlineError>
}

const conjunction = join("\n      and ", false, "true")

/** The rows of all branches, each of which is a select in parentheses. */
export const unionAll: (branches: ReadonlyArray<Fragment>) => Fragment = join("\n      union all\n      ", false)

/** All of these conditions. Each must be safe between two `and`. */
export const all = (conditions: ReadonlyArray<Fragment | undefined>): Fragment =>
  conjunction(conditions.filter((condition) => condition !== undefined))

/** A character that the encoding of the database lacks; only one other than UTF8 lacks any. */
export const untranslatable = "22P05"
export const untranslatableText =
  "a value has a character that the encoding of the database does not have (SQLSTATE 22P05)"

/** If the server could not read a value, its message repeats the value. The reader may not be allowed to see it. */
export const withoutValue = (error: SqlError): ThreadlineError => {
  const state = sqlState(error)
  return state === untranslatable
    ? new ThreadlineError({ reason: "Failed", detail: untranslatableText, sqlState: state })
    : state?.startsWith("22") === true
      ? new ThreadlineError({
          reason: "Failed",
          detail: "a condition raised an error on a stored value, for example in a cast",
          sqlState: state
        })
      : fromSqlError(error)
}

export const unreadable = () =>
  new ThreadlineError({
    reason: "Failed",
    detail: "a stored row is not of the form that this version of Threadline reads"
  })

/** Drops each row as soon as it is decoded: images can be large, and would be in memory twice. Nothing else uses the array. */
const decodeEach = <A>(stored: Array<unknown>, decode: (row: unknown) => A): ReadonlyArray<A> =>
  stored.map((row, place) => {
    stored[place] = undefined
    return decode(row)
  })

const decodedRows = <A, I, E>(
  row: Schema.Schema<A, I>,
  answer: Effect.Effect<ReadonlyArray<unknown>, SqlError>,
  onSqlError: (error: SqlError) => E | ThreadlineError
): Effect.Effect<ReadonlyArray<A>, E | ThreadlineError> => {
  const decode = decoder(row)
  return answer.pipe(
    Effect.mapError(onSqlError),
    Effect.flatMap((stored) =>
      Effect.try({ try: () => decodeEach(stored as Array<unknown>, decode), catch: unreadable })
    )
  )
}

/** Runs a statement and decodes its rows. The detail of a failure names no value: values are captured data. */
export const rows = <A, I, E = never>(
  row: Schema.Schema<A, I>,
  statement: Statement<unknown>,
  onSqlError: (error: SqlError) => E | ThreadlineError = withoutValue
): Effect.Effect<ReadonlyArray<A>, E | ThreadlineError> => decodedRows(row, single(statement), onSqlError)

/** The same for a statement that changes something. */
export const writtenRows = <A, I, E = never>(
  { sql }: Storage,
  row: Schema.Schema<A, I>,
  statement: Statement<unknown>,
  onSqlError: (error: SqlError) => E | ThreadlineError = withoutValue
): Effect.Effect<ReadonlyArray<A>, E | ThreadlineError> => decodedRows(row, writing(sql, statement), onSqlError)

const KeyRow = Schema.Struct({ key: Schema.String.pipe(Schema.pattern(/^[0-9a-f]{64}$/)) })

const cursorKey = (sql: SqlClient.SqlClient, name: Storage["name"]): Effect.Effect<KeyObject, ThreadlineError> =>
  rows(
    KeyRow,
    sql`
      select pg_catalog.encode(k.key, 'hex') as key
      from ${name("cursor_keys")} k
      order by k.created_at, k.key
      limit 1`
  ).pipe(
    Effect.flatMap(([stored]) =>
      stored === undefined
        ? new ThreadlineError({
            reason: "Failed",
            detail:
              'the table "cursor_keys" of the Threadline schema has lost its key: give it a row with 32 random bytes'
          })
        : Effect.succeed(createSecretKey(stored.key, "hex"))
    )
  )

/** Runs the effect until it has succeeded once, and then gives that result. */
const succeededOnce = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<Effect.Effect<A, E>> =>
  Effect.map(Ref.make(Option.none<A>()), (cache) =>
    Effect.flatMap(
      Ref.get(cache),
      Option.match({
        onNone: () => Effect.tap(effect, (value) => Ref.set(cache, Option.some(value))),
        onSome: Effect.succeed
      })
    )
  )

export const make: Effect.Effect<Storage, never, SqlClient.SqlClient> = Effect.gen(function* () {
  const sql = (yield* SqlClient.SqlClient).withoutTransforms()
  const schema = yield* StorageSchema
  const name: Storage["name"] = (object) => sql.literal(qualified(schema, object))
  return {
    sql,
    schema,
    name,
    apart: yield* Apart,
    anyBytes: false,
    restriction: undefined,
    cursorKey: yield* succeededOnce(cursorKey(sql, name))
  }
})
