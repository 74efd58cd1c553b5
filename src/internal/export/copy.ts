/**
 * The rows of a query, whose cells are formatted by PostgreSQL, as COPY sends them in its binary format, through the connection of the
 * driver. Its text formats would escape each cell, which takes a tenth of the time of the server. If there is no such connection, a cursor
 * reads the rows.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Runtime from "effect/Runtime"
import { to as copyTo } from "pg-copy-streams"
import { Readable } from "node:stream"
import { cancelRunning } from "../sql/cancelling.js"
import { end, head, tupleOf } from "./tuples.js"

/** A query whose columns are all strings, or bytes. */
export interface Rows {
  readonly query: string
  /** Values in it are bytes that may not be UTF-8. */
  readonly anyBytes: boolean
}

export interface Source {
  readonly bytes: Readable
  /** Rows that the server has sent, by its own count. Known after `bytes` has ended and the connection has answered another statement. */
  readonly sent: () => number
  /** Ends the copy early. It tells the server. The connection cannot be used again. */
  readonly stop: Effect.Effect<void>
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

/** Bytes in flight. With so many, neither side waits for the other. */
const highWaterMark = 262_144

const copied = (driver: Driver, { query }: Rows): Source => {
  const bytes = copyTo(`copy (${query}\n) to stdout (format binary)`, { highWaterMark })
  // The reader of the bytes gets the error. This handler is needed because an unhandled error would end the process.
  bytes.on("error", () => undefined)
  driver.query(bytes)
  return {
    bytes,
    sent: () => bytes.rowCount,
    stop: Effect.zipRight(
      Effect.sync(() => bytes.destroy()),
      cancelRunning(driver)
    )
  }
}

const fetched = 500

async function* fetchedTuples(
  fetch: () => Promise<ReadonlyArray<ReadonlyArray<Uint8Array | string | null>>>,
  onRows: (count: number) => void
): AsyncGenerator<Buffer> {
  yield head
  for (;;) {
    const rows = await fetch()
    if (rows.length === 0) {
      yield end
      return
    }
    onRows(rows.length)
    yield Buffer.concat(rows.map(tupleOf))
  }
}

const cursorName = "threadline_export"

const throughCursor = Effect.fnUntraced(function* (
  connection: Connection,
  { query }: Rows
): Effect.fn.Return<Source, SqlError> {
  const runtime = yield* Effect.runtime<never>()
  yield* connection.executeRaw(`declare ${cursorName} no scroll cursor for ${query}`, [])
  const stopping = new AbortController()
  let sent = 0
  const fetch = () =>
    Runtime.runPromise(runtime)(
      connection.executeValues(`fetch ${fetched} from ${cursorName}`, []).pipe(
        Effect.map((values) => values as ReadonlyArray<ReadonlyArray<Uint8Array | string | null>>),
        Effect.catchAllCause((cause) => Effect.die(Cause.squash(cause)))
      ),
      { signal: stopping.signal }
    ).catch((error: unknown) => {
      throw Runtime.isFiberFailure(error) ? Cause.squash(error[Runtime.FiberFailureCauseId]) : error
    })
  const bytes = Readable.from(
    fetchedTuples(fetch, (count) => {
      sent += count
    }),
    { objectMode: false, highWaterMark }
  )
  bytes.on("error", () => undefined)
  return {
    bytes,
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
