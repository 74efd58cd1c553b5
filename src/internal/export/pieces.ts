/** Collects bytes into pieces that are large enough to pass on. */
const pieceSize = 131_072

type Memory = Buffer<ArrayBuffer>

/**
 * Whether pieces belong to their reader. If they are lent, a reader is done with a piece when it asks for the next one, and its memory is
 * used again. Otherwise the memory of pieces would grow until V8 collects everything, which takes longer than the rest.
 */
export type Handing = "given" | "lent"

export class Pieces {
  private full: Array<{ readonly memory: Memory; readonly length: number }> = []
  private memory: Memory = Buffer.allocUnsafeSlow(pieceSize)
  private used = 0
  private readonly free: Array<Memory> = []

  constructor(private readonly handing: Handing) {}

  append(bytes: Buffer, from: number, to: number): void {
    for (let at = from; at < to;) {
      const size = Math.min(to - at, pieceSize - this.used)
      bytes.copy(this.memory, this.used, at, at + size)
      this.used += size
      at += size
      if (this.used === pieceSize) {
        this.endPiece()
      }
    }
  }

  appendByte(byte: number): void {
    this.memory[this.used++] = byte
    if (this.used === pieceSize) {
      this.endPiece()
    }
  }

  /** Writes these bytes, and each `twice` among them two times. */
  appendDoubled(bytes: Buffer, from: number, to: number, twice: number): void {
    for (let at = from; at < to;) {
      const stop = Math.min(to, at + pieceSize / 4)
      if (2 * (stop - at) >= pieceSize - this.used) {
        this.endPiece()
      }
      const { memory } = this
      let { used } = this
      // Most bytes of a CSV pass here. A branch for each of them would double the time of the whole.
      for (; at < stop; at++) {
        const byte = bytes[at] ?? 0
        memory[used] = byte
        memory[used + 1] = byte
        used += 1 + Number(byte === twice)
      }
      this.used = used
    }
  }

  private endPiece(): void {
    this.full.push({ memory: this.memory, length: this.used })
    this.memory = this.free.pop() ?? Buffer.allocUnsafeSlow(pieceSize)
    this.used = 0
  }

  /** The pieces that became full since the last time. */
  *taken(): Generator<Buffer> {
    const { full } = this
    this.full = []
    for (const { length, memory } of full) {
      yield memory.subarray(0, length)
      if (this.handing === "lent") {
        this.free.push(memory)
      }
    }
  }

  /** What is left at the end. */
  *rest(): Generator<Buffer> {
    if (this.used > 0) {
      yield this.memory.subarray(0, this.used)
    }
  }
}
