/**
 * Turns the output of COPY, one record a line, into the lines of a format. It writes the line ends of RFC 4180, counts the records, and
 * collects bytes into pieces that are large enough to pass on.
 */
import { Transform, type TransformCallback } from "node:stream"

const pieceSize = 131_072

const newline = 0x0a
const carriageReturn = 0x0d
const quote = 0x22

/** Collects bytes into pieces. */
export abstract class Lines extends Transform {
  /** The number of complete records. */
  records = 0

  private piece = Buffer.allocUnsafe(pieceSize)
  private used = 0

  constructor() {
    super({ readableHighWaterMark: 2 * pieceSize, writableHighWaterMark: pieceSize })
  }

  protected abstract convert(bytes: Buffer): void

  protected append(bytes: Buffer, from: number, to: number): void {
    for (let at = from; at < to;) {
      const size = Math.min(to - at, pieceSize - this.used)
      bytes.copy(this.piece, this.used, at, at + size)
      this.used += size
      at += size
      if (this.used === pieceSize) {
        this.emitPiece()
      }
    }
  }

  protected appendByte(byte: number): void {
    this.piece[this.used++] = byte
    if (this.used === pieceSize) {
      this.emitPiece()
    }
  }

  private emitPiece(): void {
    this.push(this.piece.subarray(0, this.used))
    // The piece now belongs to the reader.
    this.piece = Buffer.allocUnsafe(pieceSize)
    this.used = 0
  }

  override _transform(bytes: Buffer, _: BufferEncoding, done: TransformCallback): void {
    this.convert(bytes)
    done()
  }

  override _flush(done: TransformCallback): void {
    if (this.used > 0) {
      this.emitPiece()
    }
    done()
  }
}

/** Records of CSV. A line feed outside of quotes ends a record. */
class CsvLines extends Lines {
  private quoted = false

  protected convert(bytes: Buffer): void {
    let start = 0
    let quoted = this.quoted
    for (let at = 0; at < bytes.length; at++) {
      const byte = bytes[at]
      if (byte === quote) {
        quoted = !quoted
      } else if (byte === newline && !quoted) {
        this.append(bytes, start, at)
        this.appendByte(carriageReturn)
        start = at
        this.records++
      }
    }
    this.append(bytes, start, bytes.length)
    this.quoted = quoted
  }
}

/** Records of JSON. A line feed ends a record. The bytes stay as they are. */
class JsonLines extends Lines {
  protected convert(bytes: Buffer): void {
    for (let at = bytes.indexOf(newline); at !== -1; at = bytes.indexOf(newline, at + 1)) {
      this.records++
    }
    this.append(bytes, 0, bytes.length)
  }
}

export const linesOf = (isCsv: boolean): Lines => (isCsv ? new CsvLines() : new JsonLines())
