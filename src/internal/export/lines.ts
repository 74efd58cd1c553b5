/**
 * Turns the output of COPY, one record a line, into the lines of a format. It writes the line ends of RFC 4180, counts the records, and
 * collects bytes into pieces that are large enough to pass on.
 */
const pieceSize = 131_072

const newline = 0x0a
const carriageReturn = 0x0d
const quote = 0x22

/** Collects bytes into pieces. */
export abstract class Lines {
  /** The number of complete records. */
  records = 0

  private full: Array<Buffer<ArrayBuffer>> = []
  private piece = Buffer.allocUnsafeSlow(pieceSize)
  private used = 0
  private readonly free: Array<Buffer<ArrayBuffer>> = []

  /**
   * If pieces are lent, a reader is done with a piece when it asks for the next one, and its memory is used again. Otherwise the memory of pieces
   * would grow until V8 collects everything, which takes longer than the rest.
   */
  constructor(private readonly areLent: boolean) {}

  /** Takes the bytes that follow, wherever they end. */
  protected abstract push(bytes: Buffer): void

  protected append(bytes: Buffer, from: number, to: number): void {
    for (let at = from; at < to;) {
      const size = Math.min(to - at, pieceSize - this.used)
      bytes.copy(this.piece, this.used, at, at + size)
      this.used += size
      at += size
      if (this.used === pieceSize) {
        this.endPiece()
      }
    }
  }

  protected appendByte(byte: number): void {
    this.piece[this.used++] = byte
    if (this.used === pieceSize) {
      this.endPiece()
    }
  }

  private endPiece(): void {
    this.full.push(this.piece)
    this.piece = this.free.pop() ?? Buffer.allocUnsafeSlow(pieceSize)
    this.used = 0
  }

  /** The pieces that became full since the last time. They now belong to the reader, unless they are given back. */
  private taken(): ReadonlyArray<Buffer<ArrayBuffer>> {
    const { full } = this
    this.full = []
    return full
  }

  /** Takes bytes of which only the records are counted. */
  count(bytes: Buffer): void {
    this.push(bytes)
    this.free.push(...this.taken())
  }

  /** The lines of everything that a source gives, in pieces. */
  async *of(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const bytes of source) {
      this.push(bytes)
      for (const piece of this.taken()) {
        yield piece
        if (this.areLent) {
          this.free.push(piece)
        }
      }
    }
    if (this.used > 0) {
      yield this.piece.subarray(0, this.used)
    }
  }
}

/** Records of CSV. A line feed outside of quotes ends a record. */
class CsvLines extends Lines {
  /** 1 inside of quotes. */
  private quoted = 0

  protected push(bytes: Buffer): void {
    let { quoted } = this
    for (let start = 0; ;) {
      const place = bytes.indexOf(newline, start)
      const end = place === -1 ? bytes.length : place
      // Most bytes of an export pass here. A branch for each quote would double the time of the whole.
      for (let at = start; at < end; at++) {
        quoted ^= Number(bytes[at] === quote)
      }
      this.append(bytes, start, end)
      if (place === -1) {
        break
      }
      if (quoted === 0) {
        this.appendByte(carriageReturn)
        this.records++
      }
      this.appendByte(newline)
      start = place + 1
    }
    this.quoted = quoted
  }
}

/** Records of JSON. A line feed ends a record. The bytes stay as they are. */
class JsonLines extends Lines {
  protected push(bytes: Buffer): void {
    for (let at = bytes.indexOf(newline); at !== -1; at = bytes.indexOf(newline, at + 1)) {
      this.records++
    }
    this.append(bytes, 0, bytes.length)
  }
}

export const linesOf = (isCsv: boolean, areLent: boolean): Lines =>
  isCsv ? new CsvLines(areLent) : new JsonLines(areLent)
