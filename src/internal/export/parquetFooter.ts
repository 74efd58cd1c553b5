/**
 * Reads the number of rows from the footer of a Parquet file, which is in the compact protocol of Thrift. That needs no
 * package.
 */
import { type FileHandle, open } from "node:fs/promises"

const magic = "PAR1"

/** More than the footer of any export. */
const longest = 512 * 1024 * 1024

const damaged = (what: string): Error => new Error(`it is no whole Parquet file: ${what}`)

/**
 * Reads a structure of Thrift's compact protocol, and skips all fields but one. The numbers of types are those of the protocol.
 */
class Compact {
  private at = 0

  constructor(private readonly bytes: Buffer) {}

  private byte(): number {
    const byte = this.bytes[this.at++]
    if (byte === undefined) {
      throw damaged("its footer breaks off")
    }
    return byte
  }

  private varint(): bigint {
    let value = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.byte()
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) {
        return value
      }
    }
    throw damaged("its footer has a number without an end")
  }

  private zigzag(): bigint {
    const value = this.varint()
    return (value >> 1n) ^ -(value & 1n)
  }

  private step(count: number): void {
    this.at += count
    if (count < 0 || this.at > this.bytes.length) {
      throw damaged("its footer breaks off")
    }
  }

  private skip(type: number, place: "field" | "item", depth: number): void {
    if (depth > 16) {
      throw damaged("its footer has no end")
    }
    switch (type) {
      case 1:
      case 2:
        // A boolean field has its value in its type.
        return place === "item" ? this.step(1) : undefined
      case 3:
        return this.step(1)
      case 4:
      case 5:
      case 6:
        this.varint()
        return
      case 7:
        return this.step(8)
      case 8:
        return this.step(Number(this.varint()))
      case 9:
      case 10: {
        const head = this.byte()
        const short = head >> 4
        const size = short === 15 ? Number(this.varint()) : short
        for (let index = 0; index < size; index++) {
          this.skip(head & 0x0f, "item", depth + 1)
        }
        return
      }
      case 12:
        this.fieldsTo(-1, depth + 1)
        return
      default:
        throw damaged(`its footer has a type ${type}`)
    }
  }

  /** Reads the fields of a structure up to one of them, which is a whole number. */
  private fieldsTo(asked: number, depth: number): bigint | undefined {
    for (let field = 0; ;) {
      const head = this.byte()
      if (head === 0) {
        return undefined
      }
      field = head >> 4 === 0 ? Number(this.zigzag()) : field + (head >> 4)
      const type = head & 0x0f
      if (field === asked && type >= 4 && type <= 6) {
        return this.zigzag()
      }
      this.skip(type, "field", depth)
    }
  }

  numberAt(field: number): bigint | undefined {
    return this.fieldsTo(field, 0)
  }
}

const numberOfRows = 3

const read = async (handle: FileHandle, from: number, length: number): Promise<Buffer> => {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, from)
  return buffer.subarray(0, bytesRead)
}

const within = async (handle: FileHandle): Promise<number> => {
  const { size } = await handle.stat()
  const [start, end] = size < 12 ? [] : [await read(handle, 0, 4), await read(handle, size - 8, 8)]
  if (start?.toString("latin1") !== magic || end?.toString("latin1", 4) !== magic) {
    throw damaged(`it does not begin and end with ${magic}`)
  }
  const length = end.readUInt32LE(0)
  if (length > size - 12 || length > longest) {
    throw damaged("its footer is longer than the file")
  }
  const rows = new Compact(await read(handle, size - 8 - length, length)).numberAt(numberOfRows)
  if (rows === undefined) {
    throw damaged("its footer has no number of rows")
  }
  return Number(rows)
}

export const rowsOf = async (path: string): Promise<number> => {
  const handle = await open(path)
  try {
    return await within(handle)
  } finally {
    await handle.close()
  }
}
