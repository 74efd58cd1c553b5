/**
 * Rows as COPY sends them in its binary format: a head, then for each row the number of its cells, and for each cell its length
 * and its bytes. Nothing in it is escaped. So a value becomes a cell as it is, however long it is.
 */

const signature = Buffer.from("PGCOPY\n\xff\r\n\0", "latin1")

/** The signature, no flags, and no extension. */
export const head: Buffer = Buffer.concat([signature, Buffer.alloc(8)])

/** The end of the rows, in the place of the number of cells of a further row. */
export const end: Buffer = Buffer.from([0xff, 0xff])

const int16 = (value: number): Buffer => {
  const bytes = Buffer.allocUnsafe(2)
  bytes.writeInt16BE(value)
  return bytes
}

const int32 = (value: number): Buffer => {
  const bytes = Buffer.allocUnsafe(4)
  bytes.writeInt32BE(value)
  return bytes
}

/** A row as COPY would send it. */
export const tupleOf = (cells: ReadonlyArray<Uint8Array | string | null>): Buffer =>
  Buffer.concat([
    int16(cells.length),
    ...cells.flatMap((cell) => {
      if (cell === null) {
        return [int32(-1)]
      }
      const bytes = typeof cell === "string" ? Buffer.from(cell) : cell
      return [int32(bytes.length), bytes]
    })
  ])

/** Receives the parts of rows in the order in which they are read. */
export interface Tuples {
  /** Bytes of a cell, and how many of its bytes follow in further parts. */
  readonly part: (bytes: Buffer, start: number, end: number, left: number) => void
  /** A cell that is null. */
  readonly none: () => void
  /** The row has no further cell. */
  readonly row: () => void
}

/** Reads rows from pieces of bytes, wherever these end. It keeps none of the bytes. */
export class TupleReader {
  private skipped = 0
  /** Cells of the row that have not ended. */
  private cells = 0
  /** Bytes of the cell that have not arrived. */
  private left = 0
  /** A number of which some bytes have arrived, and how many. */
  private number = 0
  private digits = 0
  private over = false
  private surplus = false

  constructor(private readonly tuples: Tuples) {}

  /** Whether the end of the rows has been read, and nothing after it. */
  get isWhole(): boolean {
    return this.over && !this.surplus
  }

  push(bytes: Buffer): void {
    const { length } = bytes
    let at = Math.min(head.length - this.skipped, length)
    this.skipped += at
    while (at < length) {
      if (this.over) {
        this.surplus = true
        return
      }
      if (this.left > 0) {
        const end = Math.min(at + this.left, length)
        this.left -= end - at
        this.tuples.part(bytes, at, end, this.left)
        at = end
        if (this.left === 0) {
          this.endCell()
        }
        continue
      }
      const width = this.cells === 0 ? 2 : 4
      this.number = (this.number << 8) | (bytes[at++] ?? 0)
      if (++this.digits === width) {
        const { number } = this
        this.number = 0
        this.digits = 0
        if (width === 2) {
          this.begin(number)
        } else if (number > 0) {
          this.left = number
        } else {
          if (number === 0) {
            this.tuples.part(bytes, at, at, 0)
          } else {
            this.tuples.none()
          }
          this.endCell()
        }
      }
    }
  }

  private begin(cells: number): void {
    this.over = cells === 0xffff
    this.cells = this.over ? 0 : cells
  }

  private endCell(): void {
    if (--this.cells === 0) {
      this.tuples.row()
    }
  }
}

const nothing = Buffer.alloc(0)

/** Puts the parts of each cell together. A cell that came as one part is not copied. One that is null ends at -1. */
export const wholeCells = (onCell: (bytes: Buffer, start: number, end: number) => void, row: () => void): Tuples => {
  let parts: Array<Buffer> = []
  return {
    part: (bytes, start, end, left) => {
      if (left === 0 && parts.length === 0) {
        onCell(bytes, start, end)
        return
      }
      parts.push(bytes.subarray(start, end))
      if (left === 0) {
        const whole = Buffer.concat(parts)
        parts = []
        onCell(whole, 0, whole.length)
      }
    },
    none: () => onCell(nothing, 0, -1),
    row
  }
}
