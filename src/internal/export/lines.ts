/**
 * The rows of a binary COPY as the records of a text. A CSV puts its cells between commas. A row of JSON is the record already. In a
 * database without an encoding, a string that is not UTF-8 is shown by its bytes, as in reads.
 */
import { isUtf8 } from "node:buffer"
import { legibleText } from "../core/notUtf8.js"
import { type Column, isFormula, mayBeFormula } from "./columns.js"
import { type Handing, Pieces } from "./pieces.js"
import { TupleReader, type Tuples, wholeCells } from "./tuples.js"

const lineFeed = 0x0a
const carriageReturn = 0x0d
const quote = 0x22
const apostrophe = 0x27
const comma = 0x2c

/** The bytes of a format, and how many records are in them so far. */
export interface Body extends AsyncIterable<Buffer> {
  readonly records: number
}

/** Writes rows into pieces. */
abstract class Lines implements Body {
  records = 0

  protected readonly pieces: Pieces
  protected abstract readonly tuples: Tuples

  constructor(
    private readonly source: AsyncIterable<Buffer>,
    handing: Handing
  ) {
    this.pieces = new Pieces(handing)
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    const reader = new TupleReader(this.tuples)
    for await (const bytes of this.source) {
      reader.push(bytes)
      yield* this.pieces.taken()
    }
    if (!reader.isWhole) {
      throw new Error("the rows of COPY broke off")
    }
    yield* this.pieces.rest()
  }
}

/** Which bytes make a cell need quotes. */
const special = new Uint8Array(256)
for (const byte of [lineFeed, carriageReturn, quote, comma]) {
  special[byte] = 1
}

/** COPY FROM takes this cell for the end of its input if it is alone in a line. */
const endOfCopy = Buffer.from("\\.")

const needsQuotes = (bytes: Buffer, start: number, end: number): boolean => {
  for (let at = start; at < end; at++) {
    if (special[bytes[at] ?? 0] === 1) {
      return true
    }
  }
  return start === end || (end - start === 2 && endOfCopy.equals(bytes.subarray(start, end)))
}

/** In bytes. Shorter cells are copied byte by byte, which takes less time than a call. */
const short = 48

export interface CsvOptions {
  readonly columns: ReadonlyArray<Column>
  /** Writes cells that a spreadsheet would run as they are. */
  readonly raw: boolean
  readonly anyBytes: boolean
}

class CsvLines extends Lines {
  private index = 0
  private readonly guarded: ReadonlyArray<boolean>
  private readonly anyBytes: boolean

  protected readonly tuples = wholeCells(
    (bytes, start, end) => this.cell(bytes, start, end),
    () => {
      this.endRecord()
      this.records++
    }
  )

  constructor(source: AsyncIterable<Buffer>, handing: Handing, { anyBytes, columns, raw }: CsvOptions) {
    super(source, handing)
    this.guarded = columns.map((column) => !raw && mayBeFormula(column))
    this.anyBytes = anyBytes
    const names = Buffer.from(columns.join(","))
    this.pieces.append(names, 0, names.length)
    this.endRecord()
  }

  private endRecord(): void {
    this.pieces.appendByte(carriageReturn)
    this.pieces.appendByte(lineFeed)
    this.index = 0
  }

  private cell(bytes: Buffer, start: number, end: number): void {
    const isGuarded = this.guarded[this.index] === true
    if (this.index++ > 0) {
      this.pieces.appendByte(comma)
    }
    if (end === -1) {
      return
    }
    if (this.anyBytes && !isUtf8(bytes.subarray(start, end))) {
      const legible = Buffer.from(legibleText(bytes.subarray(start, end)))
      this.write(legible, 0, legible.length, isGuarded)
    } else {
      this.write(bytes, start, end, isGuarded)
    }
  }

  private write(bytes: Buffer, start: number, end: number, isGuarded: boolean): void {
    const { pieces } = this
    const isQuoted = needsQuotes(bytes, start, end)
    if (isQuoted) {
      pieces.appendByte(quote)
    }
    if (isGuarded && isFormula(bytes[start])) {
      pieces.appendByte(apostrophe)
    }
    if (isQuoted || end - start < short) {
      // Without quotes around it, a cell has none inside.
      pieces.appendDoubled(bytes, start, end, quote)
    } else {
      pieces.append(bytes, start, end)
    }
    if (isQuoted) {
      pieces.appendByte(quote)
    }
  }
}

/** Each row has one cell, which is a record with its line feed. */
class JsonLines extends Lines {
  protected readonly tuples: Tuples = {
    part: (bytes, start, end) => this.pieces.append(bytes, start, end),
    none: () => undefined,
    row: () => {
      this.records++
    }
  }
}

/** JSON lines of a database without an encoding. */
class LegibleJsonLines extends Lines {
  protected readonly tuples = wholeCells(
    (bytes, start, end) => {
      const record = bytes.subarray(start, Math.max(start, end))
      const legible = isUtf8(record) ? record : this.legible(record)
      this.pieces.append(legible, 0, legible.length)
    },
    () => {
      this.records++
    }
  )

  /** A record of a JSON document begins with a comma, and each record ends with a line feed. */
  private legible(record: Buffer): Buffer {
    const from = record[0] === comma ? 1 : 0
    return Buffer.from(`${",".repeat(from)}${legibleText(record.subarray(from, -1))}\n`)
  }
}

export const csvLines = (source: AsyncIterable<Buffer>, handing: Handing, options: CsvOptions): Body =>
  new CsvLines(source, handing, options)

export const jsonLines = (
  source: AsyncIterable<Buffer>,
  handing: Handing,
  { anyBytes }: Pick<CsvOptions, "anyBytes">
): Body => (anyBytes ? new LegibleJsonLines(source, handing) : new JsonLines(source, handing))
