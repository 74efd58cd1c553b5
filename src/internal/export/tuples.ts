/**
 * Rows as COPY sends them in its binary format: a head, then of each row the number of its cells, and of each cell its length and its bytes.
 * Nothing in it is escaped. So a value becomes a cell as it is, however long it is.
 */

const signature = Buffer.from("PGCOPY\n\xff\r\n\0", "latin1")

/** The signature, no flags, and no extension. */
export const head: Buffer = Buffer.concat([signature, Buffer.alloc(8)])

/** Stands where the number of cells of a further row would. */
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

/** Takes the cells of a row: where each one begins and ends among the bytes. One that is null ends at -1. */
export type OnRow = (bytes: Buffer, starts: ReadonlyArray<number>, ends: ReadonlyArray<number>) => void

/** Reads rows from pieces of bytes, wherever these end. */
export class TupleReader {
  private pieces: Array<Buffer> = []
  private length = 0
  /** With fewer bytes than these, nothing more can be read. */
  private needed = head.length
  private begun = false
  private over = false
  private readonly starts: Array<number> = []
  private readonly ends: Array<number> = []

  constructor(private readonly onRow: OnRow) {}

  /** Whether the end of the rows has been read, and nothing after it. */
  get isWhole(): boolean {
    return this.over && this.length === 0
  }

  /** Reads the rows that are complete with this piece. */
  push(piece: Buffer): void {
    this.pieces.push(piece)
    this.length += piece.length
    if (this.length < this.needed) {
      return
    }
    const bytes = this.pieces.length === 1 ? piece : Buffer.concat(this.pieces)
    let at = this.begun ? 0 : head.length
    this.begun = true
    while (!this.over) {
      const next = this.read(bytes, at)
      if (next === undefined) {
        break
      }
      at = next
    }
    const rest = bytes.subarray(at)
    this.pieces = rest.length === 0 ? [] : [rest]
    this.length = rest.length
  }

  /** Reads the row at a place, or the end of the rows, and says where that ends. If it is not complete, says how much it needs at least. */
  private read(bytes: Buffer, start: number): number | undefined {
    const has = (end: number): boolean => {
      this.needed = end - start
      return end <= bytes.length
    }
    let at = start + 2
    if (!has(at)) {
      return undefined
    }
    const count = bytes.readInt16BE(start)
    if (count === -1) {
      this.over = true
      return at
    }
    for (let index = 0; index < count; index++) {
      if (!has(at + 4)) {
        return undefined
      }
      const length = bytes.readInt32BE(at)
      at += 4
      this.starts[index] = at
      this.ends[index] = length === -1 ? -1 : at + length
      at += Math.max(length, 0)
      if (!has(at)) {
        return undefined
      }
    }
    this.onRow(bytes, this.starts, this.ends)
    return at
  }
}
