/**
 * Reads of a database without an encoding (SQL_ASCII). Its server stores any bytes as text, and refuses to send a result with a
 * string that is not UTF-8. So a row is sent as the bytes of its JSON, and only strings that are not UTF-8 are marked.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import { type Compiler, make, type Statement } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import { bytesOfMarked, legibleRow } from "../core/notUtf8.js"
import type { Storage } from "./storage.js"

/** The statement with bytes in place of the parameters that have marks. A client cannot send such a string as text. */
const withBytes = (
  text: string,
  parameters: ReadonlyArray<unknown>
): readonly [text: string, parameters: ReadonlyArray<unknown>] => {
  const bytes = parameters.map((value) => (typeof value === "string" ? bytesOfMarked(value) : undefined))
  return bytes.every((value) => value === undefined)
    ? [text, parameters]
    : [
        text.replaceAll(/\$(\d+)(?!\d)/g, (place, index) =>
          bytes[Number(index) - 1] === undefined
            ? place
            : `pg_catalog.convert_from(pg_catalog.decode(${place}::text, 'hex'), 'SQL_ASCII')`
        ),
        parameters.map((value, index) => bytes[index]?.toString("hex") ?? value)
      ]
}

/** A statement whose rows have one column; also right in a database with an encoding, if it is not known which it is. */
const inBytes = (text: string): string => `
select pg_catalog.encode(
  pg_catalog.convert_to(
    pg_catalog.row_to_json(threadline_read)::text,
    case pg_catalog.getdatabaseencoding() when 'SQL_ASCII' then 'SQL_ASCII' else 'UTF8' end
  ),
  'base64'
) as bytes
from (
${text}
) threadline_read`

const rowOf = (row: unknown): unknown =>
  Predicate.hasProperty(row, "bytes") && typeof row.bytes === "string"
    ? legibleRow(Buffer.from(row.bytes, "base64"))
    : row

/** A client for statements that give rows. */
const legibleClient = (sql: SqlClient): SqlClient => {
  const sent = (text: string, parameters: ReadonlyArray<unknown>): Statement<unknown> =>
    sql.unsafe(...withBytes(text, parameters))
  const execute = (text: string, parameters: ReadonlyArray<unknown>) =>
    Effect.map(sent(inBytes(text), parameters), (rowsInBytes) => rowsInBytes.map(rowOf))
  const connection = {
    execute,
    executeUnprepared: execute,
    executeRaw: (text, parameters) => sent(text, parameters).raw,
    executeValues: (text, parameters) => sent(text, parameters).values,
    executeStream: (text, parameters) => sent(text, parameters).stream
  } as Connection
  const compiler: Compiler = {
    dialect: "pg",
    compile: (statement, withoutTransform) => sql`${statement}`.compile(withoutTransform),
    get withoutTransform() {
      return compiler
    }
  }
  const constructor = make(Effect.succeed(connection), compiler, [], undefined)
  const client: SqlClient = Object.assign(constructor, {
    ...sql,
    ...constructor,
    withoutTransforms: (): SqlClient => client
  })
  return client
}

/** The storage, with a client that reads what its database may hold. */
export const legibleStorage = (storage: Storage): Effect.Effect<Storage> =>
  Effect.map(
    Effect.option(storage.sql<{ readonly encoding: unknown }>`select getdatabaseencoding()::text as encoding`),
    (answer) =>
      answer._tag === "Some" && answer.value[0]?.encoding !== "SQL_ASCII"
        ? storage
        : { ...storage, sql: legibleClient(storage.sql), anyBytes: true }
  )
