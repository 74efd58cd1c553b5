/**
 * Compression with the codecs of Node.js.
 */
import * as Either from "effect/Either"
import type { Transform } from "node:stream"
import * as zlib from "node:zlib"
import { ExportError } from "./exportError.js"
import type { Compression } from "./formats.js"

interface Codec {
  readonly compress: () => Transform
  readonly decompress: () => Transform
}

const zstdOf = (name: string): (() => Transform) | undefined => {
  const make = (zlib as unknown as Readonly<Record<string, unknown>>)[name]
  return typeof make === "function" ? () => (make as () => Transform)() : undefined
}

/** Compression limits the speed of an export. This level takes a third of the time of the default, for a tenth more bytes. */
const gzipLevel = 3

const codecs: Readonly<Record<Compression, () => Codec | undefined>> = {
  gzip: () => ({
    compress: () => zlib.createGzip({ level: gzipLevel, chunkSize: 65_536 }),
    decompress: () => zlib.createGunzip()
  }),
  zstd: () => {
    const [compress, decompress] = [zstdOf("createZstdCompress"), zstdOf("createZstdDecompress")]
    return compress === undefined || decompress === undefined ? undefined : { compress, decompress }
  }
}

/**
 * The codec, if this version of Node.js has it. `instead`: the end of the error's sentence, which says what every version can
 * do.
 */
export const availability = (
  compression: Compression,
  instead = "gzip is there in every one"
): Either.Either<Codec, ExportError> =>
  Either.fromNullable(
    codecs[compression](),
    () =>
      new ExportError({
        reason: "Unsupported",
        detail: `Node.js ${process.versions.node} cannot write ${compression}: versions from 22.15 can; ${instead}`
      })
  )

/** The compression of a file, by its first bytes. */
export const compressionOf = (head: Uint8Array): Compression | undefined =>
  head[0] === 0x1f && head[1] === 0x8b
    ? "gzip"
    : head[0] === 0x28 && head[1] === 0xb5 && head[2] === 0x2f && head[3] === 0xfd
      ? "zstd"
      : undefined

/** Its name in HTTP. */
export const contentEncodings: Readonly<Record<Compression, string>> = { gzip: "gzip", zstd: "zstd" }
