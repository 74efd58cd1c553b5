/**
 * COPY TO STDOUT as a query of the driver node-postgres. The driver hands over each message of the server, and the server sends each record
 * as one message (the protocol says so). So records are counted, and line ends are written, without a look at the bytes between them. Each
 * byte is copied once, into pieces that are large enough to pass on.
 */
import { Readable } from "node:stream"

const pieceSize = 131_072

const newline = 0x0a
const carriageReturn = 0x0d

/** What is used of the driver's connection. */
interface Connection {
  readonly query: (text: string) => void
  readonly stream: { readonly pause: () => unknown; readonly resume: () => unknown }
}

const rowsCopied = /^COPY (\d+)/

export class CopyOut extends Readable {
  /** Records that have arrived. The header of a CSV is one of them. */
  records = 0
  /** Rows that the server has sent, by its own count. Known when the query has ended. */
  rowCount = 0
  /** Set by the driver, which stops its timer of a query when this is called. */
  callback: (() => void) | undefined

  private piece = Buffer.allocUnsafe(pieceSize)
  private used = 0
  private connection: Connection | undefined
  private paused = false

  /** With `crlf` each record ends with CR and LF instead of LF. */
  constructor(
    readonly text: string,
    private readonly crlf: boolean
  ) {
    // Pieces are objects of the stream, which would otherwise copy several of them into one.
    super({ objectMode: true, highWaterMark: 2 })
  }

  submit(connection: Connection): void {
    this.connection = connection
    connection.query(this.text)
  }

  handleCopyData({ chunk }: { readonly chunk: Buffer }): void {
    if (this.destroyed) {
      return
    }
    this.records++
    // One byte more for CR.
    if (this.used + chunk.length < pieceSize) {
      this.piece.set(chunk, this.used)
      this.used += chunk.length
      if (this.crlf) {
        this.piece[this.used - 1] = carriageReturn
        this.piece[this.used++] = newline
      }
    } else {
      this.append(this.crlf ? chunk.subarray(0, -1) : chunk)
      if (this.crlf) {
        this.append(Buffer.of(carriageReturn, newline))
      }
    }
  }

  handleCommandComplete({ text }: { readonly text: string }): void {
    this.rowCount = Number(rowsCopied.exec(text)?.[1] ?? 0)
    if (!this.destroyed) {
      if (this.used > 0) {
        this.pass()
      }
      this.push(null)
    }
  }

  handleReadyForQuery(): void {
    this.callback?.()
  }

  handleError(error: Error): void {
    this.callback?.()
    this.destroy(error)
  }

  override _read(): void {
    this.flow()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    // What the server still sends is read, and dropped, so that the connection hears how the query ends.
    this.flow()
    done(error)
  }

  private flow(): void {
    if (this.paused) {
      this.paused = false
      this.connection?.stream.resume()
    }
  }

  private append(bytes: Buffer): void {
    for (let at = 0; at < bytes.length;) {
      const size = Math.min(bytes.length - at, pieceSize - this.used)
      this.piece.set(bytes.subarray(at, at + size), this.used)
      this.used += size
      at += size
      if (this.used === pieceSize) {
        this.pass()
      }
    }
  }

  /** The piece now belongs to the reader. */
  private pass(): void {
    const goesOn = this.push(this.piece.subarray(0, this.used))
    this.piece = Buffer.allocUnsafe(pieceSize)
    this.used = 0
    if (!goesOn && !this.paused) {
      this.paused = true
      this.connection?.stream.pause()
    }
  }
}
