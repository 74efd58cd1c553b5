/**
 * The rows of a query as PostgreSQL formats them, one record a line. COPY sends them through the connection of the driver. If there is no such
 * connection, a cursor reads them, and this file formats them as COPY would.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Runtime from "effect/Runtime"
import { Readable } from "node:stream"
import { cancelRunning } from "../sql/cancelling.js"
import { literal } from "../sql/sqlText.js"
import { CopyOut } from "./copyOut.js"
import { end, head, tupleOf } from "./tuples.js"

/** A query whose columns are all strings. */
export interface Rows {
  readonly query: string
  /** Rows as tuples of their bytes, and not as lines. */
  readonly binary: boolean
  /** Names for the first line. Undefined if there is no such line; then the only column is the line. */
  readonly header: ReadonlyArray<string> | undefined
  /** Bytes are sent as they are stored, even if they are not UTF-8. */
  readonly anyBytes: boolean
}

export interface Source {
  readonly bytes: Readable
  /** Records in the bytes so far, with the first line, if the bytes are the lines of the format. Undefined if they are not. */
  readonly records: (() => number) | undefined
  /** Rows that the server has sent, by its own count. Known after `bytes` has ended and the connection has answered another statement. */
  readonly sent: () => number
  /** Ends the copy early. It tells the server. The connection cannot be used again. */
  readonly stop: Effect.Effect<void>
}

// JSON contains no control character, so COPY sends a line of it unchanged.
const unquoted = ["quote E'\\x01'", "delimiter E'\\x02'"]

const copyStatement = ({ anyBytes, binary, header, query }: Rows): string => {
  if (binary) {
    return `copy (${query}\n) to stdout (format binary)`
  }
  const options = [
    "format csv",
    ...(header === undefined ? unquoted : ["header true"]),
    ...(anyBytes ? [`encoding ${literal("SQL_ASCII")}`] : [])
  ]
  return `copy (${query}\n) to stdout (${options.join(", ")})`
}

interface Driver {
  readonly query: (query: unknown) => unknown
}

/** The driver's client of a connection, if COPY works with it. */
const driverOf = (connection: Connection): Driver | undefined => {
  const client: unknown = Predicate.hasProperty(connection, "pg") ? connection.pg : undefined
  return Predicate.hasProperty(client, "query") &&
    typeof client.query === "function" &&
    Predicate.hasProperty(client, "connection")
    ? (client as unknown as Driver)
    : undefined
}

/** Bytes in flight. */
const highWaterMark = 262_144

const copied = (driver: Driver, rows: Rows): Source => {
  const isLines = !rows.binary && !rows.anyBytes
  const bytes = new CopyOut(copyStatement(rows), isLines && rows.header !== undefined)
  // The reader of the bytes is told of an error. A handler is needed here, because an unhandled error would end the process.
  bytes.on("error", () => undefined)
  driver.query(bytes)
  return {
    bytes,
    records: isLines ? () => bytes.records : undefined,
    sent: () => bytes.rowCount,
    stop: Effect.zipRight(
      Effect.sync(() => bytes.destroy()),
      cancelRunning(driver)
    )
  }
}

/** A cell as COPY writes it: nothing for a null, quotes if they are needed, and quotes around an empty string. */
const cell = (value: string | null): string =>
  value === null
    ? ""
    : value === "" || /[",\r\n]/.test(value) || value === "\\."
      ? `"${value.replaceAll('"', '""')}"`
      : value

const fetched = 500

async function* fetchedLines(
  fetch: () => Promise<ReadonlyArray<ReadonlyArray<string | null>>>,
  { binary, header }: Rows,
  onRows: (count: number) => void
): AsyncGenerator<Buffer> {
  if (binary) {
    yield head
  }
  if (header !== undefined) {
    yield Buffer.from(`${header.join(",")}\n`)
  }
  for (;;) {
    const rows = await fetch()
    if (rows.length === 0) {
      if (binary) {
        yield end
      }
      return
    }
    onRows(rows.length)
    if (binary) {
      yield Buffer.concat(rows.map(tupleOf))
      continue
    }
    const lines = rows.map((row) => (header === undefined ? (row[0] ?? "") : row.map(cell).join(",")))
    yield Buffer.from(`${lines.join("\n")}\n`)
  }
}

const cursorName = "threadline_export"

const throughCursor = Effect.fnUntraced(function* (
  connection: Connection,
  rows: Rows
): Effect.fn.Return<Source, SqlError> {
  const runtime = yield* Effect.runtime<never>()
  yield* connection.executeRaw(`declare ${cursorName} no scroll cursor for ${rows.query}`, [])
  const stopping = new AbortController()
  let sent = 0
  const fetch = () =>
    Runtime.runPromise(runtime)(
      connection.executeValues(`fetch ${fetched} from ${cursorName}`, []).pipe(
        Effect.map((values) => values as ReadonlyArray<ReadonlyArray<string | null>>),
        Effect.catchAllCause((cause) => Effect.die(Cause.squash(cause)))
      ),
      { signal: stopping.signal }
    ).catch((error: unknown) => {
      throw Runtime.isFiberFailure(error) ? Cause.squash(error[Runtime.FiberFailureCauseId]) : error
    })
  const bytes = Readable.from(
    fetchedLines(fetch, rows, (count) => {
      sent += count
    }),
    { objectMode: false, highWaterMark }
  )
  bytes.on("error", () => undefined)
  return {
    bytes,
    records: undefined,
    sent: () => sent,
    stop: Effect.sync(() => {
      stopping.abort()
      bytes.destroy()
    })
  }
})

/** Begins to send the rows of a query, in the transaction that is open on the connection. */
export const begin = (connection: Connection, rows: Rows): Effect.Effect<Source, SqlError> => {
  const driver = driverOf(connection)
  return driver === undefined ? throughCursor(connection, rows) : Effect.sync(() => copied(driver, rows))
}

/** The error of a source, in the form that other statements have. */
export const sqlErrorOf = (cause: unknown): SqlError =>
  cause instanceof SqlError ? cause : new SqlError({ cause, message: "Failed to copy rows" })
