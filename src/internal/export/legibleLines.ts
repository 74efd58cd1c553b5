/**
 * The lines of a database without an encoding. A string that is not UTF-8 is shown by its bytes, as in reads.
 */
import { isUtf8 } from "node:buffer"
import { legibleText } from "../core/notUtf8.js"
import { cellValue } from "./columns.js"
import { Lines } from "./lines.js"

const newline = 0x0a
const quote = 0x22

/** The cells of a record, each byte as one character. */
const cellsOf = (record: string): ReadonlyArray<string> => record.match(/"(?:[^"]|"")*"|[^,]+|(?<=,|^)(?=,|$)/g) ?? []

const inQuotes = (text: string): string => `"${text.replaceAll('"', '""')}"`

export class LegibleLines extends Lines {
  private pending: ReadonlyArray<Buffer> = []
  private quoted = false

  constructor(
    private readonly isCsv: boolean,
    /** Whether a `'` in front of some cells is not part of the value. */
    private readonly guarded: boolean,
    areLent: boolean
  ) {
    super(areLent)
  }

  protected push(bytes: Buffer): void {
    let start = 0
    for (let at = 0; at < bytes.length; at++) {
      if (this.isCsv && bytes[at] === quote) {
        this.quoted = !this.quoted
      } else if (bytes[at] === newline && !this.quoted) {
        const record = Buffer.concat([...this.pending, bytes.subarray(start, at)])
        const line = Buffer.from(`${this.legible(record)}${this.isCsv ? "\r\n" : "\n"}`)
        this.append(line, 0, line.length)
        this.pending = []
        this.records++
        start = at + 1
      }
    }
    this.pending = [...this.pending, bytes.subarray(start)]
  }

  private legible(record: Buffer): string {
    if (isUtf8(record)) {
      return record.toString()
    }
    if (this.isCsv) {
      return cellsOf(record.toString("latin1"))
        .map((cell) => this.legibleCell(cell))
        .join(",")
    }
    // A record of a JSON document begins with a comma.
    const comma = record[0] === 0x2c ? 1 : 0
    return `${",".repeat(comma)}${legibleText(record.subarray(comma))}`
  }

  private legibleCell(cell: string): string {
    const bytes = Buffer.from(cell, "latin1")
    if (isUtf8(bytes)) {
      return bytes.toString()
    }
    const text = cell.startsWith('"') ? cell.slice(1, -1).replaceAll('""', '"') : cell
    return inQuotes(legibleText(Buffer.from(this.guarded ? cellValue(text) : text, "latin1")))
  }
}
