/**
 * Parquet: the cells that PostgreSQL sends become typed columns, one group of rows after the other. Only one group is in memory. What writes
 * them is `hyparquet-writer`, which the host installs if it wants this format.
 */
import * as Effect from "effect/Effect"
import type * as Library from "hyparquet-writer"
import { isUtf8 } from "node:buffer"
import * as zlib from "node:zlib"
import { legibleText } from "../core/notUtf8.js"
import { type Column, kindOf } from "./columns.js"
import { ExportError } from "./exportError.js"
import { type Format, formats as everyFormat } from "./formats.js"
import { installed } from "./installed.js"
import type { Body } from "./lines.js"
import { TupleReader, wholeCells } from "./tuples.js"

export type Writing = typeof Library

/** The package that writes Parquet, if it is installed. */
export const library: Effect.Effect<Writing, ExportError> = Effect.tryPromise({
  try: async () => installed(await import("hyparquet-writer"), "ParquetWriter"),
  catch: (cause) =>
    new ExportError({
      reason: "NotInstalled",
      detail: "Parquet is written by a package that is not installed: npm install hyparquet-writer",
      cause
    })
})

/** The formats that can be written, with what is installed. */
export const formats: Effect.Effect<ReadonlyArray<Format>> = Effect.match(library, {
  onFailure: () => everyFormat.filter((format) => format !== "parquet"),
  onSuccess: () => everyFormat
})

type WriterOptions = ConstructorParameters<Writing["ParquetWriter"]>[0]

type Element = WriterOptions["schema"][number]

type Source = Parameters<InstanceType<Writing["ParquetWriter"]>["write"]>[0]["columnData"][number]

type Value = bigint | string | Uint8Array | null

interface Kind {
  readonly element: Omit<Element, "name" | "repetition_type">
  /** The older name of a type. The writer takes it for an order to make JSON of values that are JSON already, so it comes last. */
  readonly convertedType?: Element["converted_type"]
  readonly source: Partial<Source>
  /** Whether rows that follow each other often have the same value. */
  readonly repeats: boolean
  readonly valueOf: (cell: Buffer) => Value
}

const instant = /^(\d{4,6})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)\.(\d{6})Z$/

const million = 1_000_000n

/** Microseconds since 1970. */
const microsecondsOf = (text: string): bigint => {
  const [, year, month, day, hour, minute, second, microseconds] = instant.exec(text) ?? []
  if (microseconds === undefined) {
    throw new RangeError(`Parquet has no such instant: ${text}`)
  }
  const date = new Date(0)
  date.setUTCFullYear(Number(year), Number(month) - 1, Number(day))
  date.setUTCHours(Number(hour), Number(minute), Number(second))
  return BigInt(date.getTime() / 1000) * million + BigInt(microseconds)
}

const textOf = (cell: Buffer): string => (isUtf8(cell) ? cell.toString() : legibleText(cell))

const bytesOf = (cell: Buffer): Uint8Array => (isUtf8(cell) ? cell : Buffer.from(legibleText(cell)))

const json = ({ repeats }: Pick<Kind, "repeats">): Kind => ({
  element: { type: "BYTE_ARRAY", logical_type: { type: "JSON" } },
  convertedType: "JSON",
  // A bound of a JSON document would be the whole document, in memory until the end.
  source: repeats ? { statistics: false } : { statistics: false, encoding: "PLAIN" },
  repeats,
  valueOf: bytesOf
})

const kinds: Readonly<Record<ReturnType<typeof kindOf>, Kind>> = {
  integer: {
    element: { type: "INT64" },
    source: { encoding: "DELTA_BINARY_PACKED" },
    repeats: true,
    valueOf: (cell) => BigInt(cell.toString("latin1"))
  },
  instant: {
    element: {
      type: "INT64",
      converted_type: "TIMESTAMP_MICROS",
      logical_type: { type: "TIMESTAMP", isAdjustedToUTC: true, unit: "MICROS" }
    },
    source: { encoding: "DELTA_BINARY_PACKED" },
    repeats: true,
    valueOf: (cell) => microsecondsOf(cell.toString("latin1"))
  },
  name: {
    element: { type: "BYTE_ARRAY", converted_type: "UTF8", logical_type: { type: "STRING" } },
    source: {},
    repeats: true,
    valueOf: textOf
  },
  text: {
    element: { type: "BYTE_ARRAY", converted_type: "UTF8", logical_type: { type: "STRING" } },
    source: { statistics: false },
    repeats: false,
    valueOf: bytesOf
  },
  json: json({ repeats: true }),
  image: json({ repeats: false })
}

const required: ReadonlySet<Column> = new Set([
  "id",
  "transaction_id",
  "captured_at",
  "at",
  "table_schema",
  "table_name",
  "op"
])

/** A group has at most this many bytes of values, unless one row has more, and at most this many rows. */
const groupBytes = 4 * 1024 * 1024
const groupRows = 16_384

/** The values of a dictionary, for one column of a group. */
const dictionaryBytes = 1024 * 1024

/** The largest piece that is passed on. */
const pieceBytes = 262_144

const keptBuffer = 1024 * 1024

const zstd = (bytes: Uint8Array): Uint8Array => {
  const compress: unknown = (zlib as unknown as Readonly<Record<string, unknown>>)["zstdCompressSync"]
  return (compress as (bytes: Uint8Array) => Uint8Array)(bytes)
}

/** The file that the rows of a binary COPY become. */
export class ParquetFile implements Body {
  records = 0

  private readonly kinds: ReadonlyArray<Kind>
  private readonly schema: Array<Element>
  private readonly out: InstanceType<Writing["ByteWriter"]>
  private readonly writer: InstanceType<Writing["ParquetWriter"]>
  private readonly reader = new TupleReader(
    wholeCells(
      (bytes, start, end) => this.take(bytes, start, end),
      () => this.endRow()
    )
  )
  /** The column of the next cell. */
  private column = 0
  private group: ReadonlyArray<Array<Value>>
  private bytes = 0
  /** Of each column the last cell, and its value. */
  private readonly last: Array<{ readonly cell: Buffer; readonly value: Value } | undefined> = []

  constructor(
    writing: Writing,
    private readonly columns: ReadonlyArray<Column>,
    private readonly tuples: AsyncIterable<Buffer>,
    { compression, description }: { readonly compression: "zstd" | undefined; readonly description: string }
  ) {
    this.kinds = columns.map((column) => kinds[kindOf(column)])
    this.schema = [
      { name: "change", num_children: columns.length },
      ...columns.map((name, index) => ({
        ...this.kinds[index]?.element,
        name,
        repetition_type: required.has(name) ? ("REQUIRED" as const) : ("OPTIONAL" as const)
      }))
    ]
    this.out = new writing.ByteWriter(keptBuffer)
    this.writer = new writing.ParquetWriter({
      writer: this.out,
      schema: this.schema,
      createdBy: "threadline",
      kvMetadata: [{ key: "threadline", value: description }],
      ...(compression === "zstd" ? { codec: "ZSTD", compressors: { ZSTD: zstd } } : { codec: "SNAPPY" })
    })
    this.group = columns.map(() => [])
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    for await (const piece of this.tuples) {
      this.reader.push(piece)
      yield* this.written()
    }
    if (!this.reader.isWhole) {
      throw new Error("the rows of COPY broke off")
    }
    if (this.size > 0) {
      this.writeGroup()
      yield* this.written()
    }
    this.schema.slice(1).forEach((element, index) => {
      const convertedType = this.kinds[index]?.convertedType
      if (convertedType !== undefined) {
        element.converted_type = convertedType
      }
    })
    void this.writer.finish()
    yield* this.written()
  }

  private get size(): number {
    return this.group[0]?.length ?? 0
  }

  private take(bytes: Buffer, start: number, end: number): void {
    const index = this.column++
    this.group[index]?.push(end === -1 ? null : this.valueAt(index, bytes, start, end))
    this.bytes += Math.max(0, end - start)
  }

  private endRow(): void {
    this.column = 0
    this.records++
    if (this.bytes >= groupBytes || this.size >= groupRows) {
      this.writeGroup()
    }
  }

  private valueAt(index: number, bytes: Buffer, start: number, end: number): Value {
    const kind = this.kinds[index]
    const last = this.last[index]
    if (last !== undefined && last.cell.length === end - start && last.cell.compare(bytes, start, end) === 0) {
      return last.value
    }
    const cell = bytes.subarray(start, end)
    const value = kind?.valueOf(cell) ?? null
    if (kind?.repeats === true) {
      this.last[index] = { cell: Buffer.from(cell), value }
    }
    return value
  }

  private writeGroup(): void {
    void this.writer.write({
      columnData: this.columns.map((name, index) => ({
        ...this.kinds[index]?.source,
        name,
        data: this.group[index] ?? [],
        offsetIndex: false
      })),
      rowGroupSize: this.size,
      dictionarySize: dictionaryBytes
    })
    this.group = this.columns.map(() => [])
    this.bytes = 0
  }

  /** What was written since the last time. The bytes now belong to the reader. */
  private *written(): Generator<Buffer> {
    if (this.out.index === 0) {
      return
    }
    const bytes = Buffer.from(this.out.buffer, 0, this.out.index)
    this.out.buffer = new ArrayBuffer(keptBuffer)
    this.out.view = new DataView(this.out.buffer)
    this.out.index = 0
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      yield bytes.subarray(at, at + pieceBytes)
    }
  }
}
