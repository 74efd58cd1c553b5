/** Parquet files as DuckDB reads them. */
import { DuckDBInstance } from "@duckdb/node-api"
import * as Effect from "effect/Effect"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { scratch } from "./scratch.js"

export type Cells = Readonly<Record<string, string | null>>

/** A database in memory, which ends with the scope. */
const connection = Effect.acquireRelease(
  Effect.promise(async () => {
    const instance = await DuckDBInstance.create(":memory:", { threads: "1" })
    return { instance, connected: await instance.connect() }
  }),
  ({ connected, instance }) =>
    Effect.sync(() => {
      connected.closeSync()
      instance.closeSync()
    })
)

const quoted = (text: string): string => `'${text.replaceAll("'", "''")}'`

const name = (text: string): string => `"${text.replaceAll('"', '""')}"`

/** The columns of a file with their types, and its rows as texts: an instant in UTC, as a CSV has it. */
export const read = (path: string) =>
  Effect.gen(function* () {
    const { connected } = yield* connection
    const ask = (statement: string) =>
      Effect.promise(async () => (await connected.runAndReadAll(statement)).getRowObjectsJson())
    const file = `read_parquet(${quoted(path)})`
    const columns = (yield* ask(`describe select * from ${file}`)).map(
      ({ column_name, column_type }) => [column_name as string, column_type as string] as const
    )
    const texts = columns.map(([column, type]) =>
      type === "TIMESTAMP WITH TIME ZONE"
        ? `strftime(make_timestamp(epoch_us(${name(column)})), '%Y-%m-%dT%H:%M:%S.%fZ') as ${name(column)}`
        : `${name(column)}::varchar as ${name(column)}`
    )
    // The client of DuckDB takes a byte order mark at the beginning of a string away, so strings come as their bytes.
    const bytes = columns.map(([column]) => `hex(encode(${name(column)})) as ${name(column)}`)
    const rows = (yield* ask(`select ${bytes.join(", ")} from (select ${texts.join(", ")} from ${file})`)).map(
      (row): Cells =>
        Object.fromEntries(
          Object.entries(row).map(([column, hex]) => [
            column,
            typeof hex === "string" ? Buffer.from(hex, "hex").toString() : null
          ])
        )
    )
    return { columns: Object.fromEntries(columns), rows, ask: (query: (file: string) => string) => ask(query(file)) }
  })

/** `read`, for the bytes of a file. */
export const readBytes = (bytes: Uint8Array) =>
  Effect.flatMap(scratch(), (directory) => {
    const path = join(directory, "changes.parquet")
    writeFileSync(path, bytes)
    return read(path)
  })
