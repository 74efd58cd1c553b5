/**
 * Compares a file with its manifest: the one beside it and, for a JSON document, also the one at its end.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { createHash } from "node:crypto"
import { createReadStream } from "node:fs"
import { open, readFile, stat } from "node:fs/promises"
import { pipeline } from "node:stream"
import { InvalidRequest } from "../../ThreadlineError.js"
import { unsafeParse } from "../core/json.js"
import { availability, compressionOf } from "./compression.js"
import { ExportError } from "./exportError.js"
import { manifestPath } from "./file.js"
import type { Compression } from "./formats.js"
import { Manifest } from "./manifest.js"
import { rowsOf } from "./parquetFooter.js"
import { outerCompression } from "./request.js"

/** A difference between a file and its manifest. */
export interface Difference {
  /** A field of the manifest; `content` if the file cannot be read in its format; `manifest` if the manifest cannot be read. */
  readonly field: string
  /** The value in the manifest. */
  readonly expected: string
  /** The value of the file. */
  readonly found: string
}

export interface Verification {
  /** None if no manifest could be read. */
  readonly manifest: Option.Option<Manifest>
  /** Empty if the file equals its manifest. */
  readonly differences: ReadonlyArray<Difference>
}

const notReadable = (path: string, cause: unknown) =>
  new ExportError({
    reason: "NotReadable",
    detail: `${path} cannot be read (${(cause as { readonly code?: string } | undefined)?.code ?? String(cause)})`,
    cause
  })

const attempt = <A>(path: string, run: (signal: AbortSignal) => Promise<A>): Effect.Effect<A, ExportError> =>
  Effect.tryPromise({ try: run, catch: (cause) => notReadable(path, cause) })

const decodeManifest = Schema.decodeUnknownEither(Manifest)

/** A manifest may have fields that this version does not know. */
const manifestOf = (text: string): Option.Option<Manifest> =>
  Option.flatMap(Either.getRight(Either.try(() => unsafeParse(text))), (document) =>
    Either.getRight(decodeManifest(document))
  )

const headOf = async (path: string): Promise<Uint8Array> => {
  const handle = await open(path, "r")
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(4), 0, 4, 0)
    return buffer.subarray(0, bytesRead)
  } finally {
    await handle.close()
  }
}

/** The size and the SHA-256 of a file. */
const sealOf = async (path: string, signal: AbortSignal) => {
  const hash = createHash("sha256")
  let bytes = 0
  for await (const piece of createReadStream(path, { signal, highWaterMark: 1_048_576 }) as AsyncIterable<Buffer>) {
    hash.update(piece)
    bytes += piece.length
  }
  return { bytes, sha256: hash.digest("hex") }
}

/** Counts lines. In a CSV, a line feed inside of quotes ends none. */
class LineCount {
  lines = 0
  /** 1 inside of quotes. */
  private quoted = 0

  constructor(private readonly isCsv: boolean) {}

  add(bytes: Buffer): void {
    let { quoted } = this
    for (let start = 0; ;) {
      const place = bytes.indexOf(0x0a, start)
      const end = place === -1 ? bytes.length : place
      if (this.isCsv) {
        // A branch for each quote would double the time.
        for (let at = start; at < end; at++) {
          quoted ^= Number(bytes[at] === 0x22)
        }
      }
      if (place === -1) {
        break
      }
      this.lines += 1 - quoted
      start = place + 1
    }
    this.quoted = quoted
  }
}

/** The number of records in a number of lines. */
const recordsOf = (format: Manifest["format"], lines: number): number =>
  // A CSV has one line of names. A document has one line before its records and one after them.
  Math.max(0, format === "csv" ? lines - 1 : format === "json" ? lines - 2 : lines)

/** The manifest of a document is searched for in this many bytes at its end. */
const tailSize = 4_194_304

const marker = Buffer.from(',"manifest":')

/** Only the last line begins so. The marker alone may also be in a filter, inside of the manifest. */
const lastLine = Buffer.from(`\n]${marker.toString()}`)

interface Content {
  /** Records, by what the format has between them. */
  readonly records: number
  /** For a JSON document: its manifest, and the hash of everything before it. */
  readonly embedded: { readonly text: string; readonly bytes: number; readonly sha256: string } | undefined
}

/** Reads a whole file, decompressed. Rejects with an error of the codec if the file is damaged. */
const contentOf = async (
  path: string,
  format: Manifest["format"],
  compression: Compression | undefined,
  signal: AbortSignal
): Promise<Content> => {
  if (format === "parquet") {
    return { records: await rowsOf(path), embedded: undefined }
  }
  const file = createReadStream(path, { signal, highWaterMark: 1_048_576 })
  const codec = compression === undefined ? undefined : Either.getOrThrow(availability(compression))
  const plain =
    codec === undefined ? file : pipeline(file, codec.decompress() as NodeJS.ReadWriteStream, () => undefined)
  const count = new LineCount(format === "csv")
  const hash = createHash("sha256")
  let [bytes, tail] = [0, Buffer.alloc(0)]
  for await (const piece of plain as AsyncIterable<Buffer>) {
    count.add(piece)
    if (format === "json") {
      tail = Buffer.concat([tail, piece])
      if (tail.length > 2 * tailSize) {
        const over = tail.length - tailSize
        hash.update(tail.subarray(0, over))
        bytes += over
        tail = tail.subarray(over)
      }
    }
  }
  const end = tail.lastIndexOf(lastLine)
  if (format !== "json" || end === -1) {
    return { records: recordsOf(format, count.lines), embedded: undefined }
  }
  const at = end + lastLine.length - marker.length
  hash.update(tail.subarray(0, at))
  // Only the end of the document follows the manifest.
  const text = tail
    .subarray(at + marker.length)
    .toString()
    .trimEnd()
    .slice(0, -1)
  return {
    records: recordsOf(format, count.lines),
    embedded: { text, bytes: bytes + at, sha256: hash.digest("hex") }
  }
}

const compared = (
  expected: Readonly<Record<string, string | number>>,
  actual: Readonly<Record<string, string | number>>,
  prefix = ""
): ReadonlyArray<Difference> =>
  Object.entries(expected).flatMap(([field, value]) =>
    actual[field] === value
      ? []
      : [{ field: `${prefix}${field}`, expected: String(value), found: String(actual[field]) }]
  )

const withoutManifest: Verification = {
  manifest: Option.none(),
  differences: [{ field: "manifest", expected: "the manifest of an export", found: "none, or one that cannot be read" }]
}

/** The format of a file without a manifest beside it. Only a JSON document has a manifest inside. */
const guessed = "json" as const

export const verify = Effect.fnUntraced(function* (
  path: string
): Effect.fn.Return<Verification, ExportError | InvalidRequest> {
  if (typeof path !== "string" || path === "") {
    return yield* new InvalidRequest({ field: "path", rule: "must be a string that is not empty" })
  }
  yield* Effect.filterOrFail(
    attempt(path, () => stat(path)),
    (there) => there.isFile(),
    () => notReadable(path, "it is no file")
  )
  const besidePath = manifestPath(path)
  const beside = yield* attempt(besidePath, () =>
    readFile(besidePath, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") {
        return undefined
      }
      throw error
    })
  )
  const manifest = beside === undefined ? Option.none() : manifestOf(beside)
  if (beside !== undefined && Option.isNone(manifest)) {
    return withoutManifest
  }
  const seal = yield* attempt(path, (signal) => sealOf(path, signal))
  const compression = compressionOf(yield* attempt(path, () => headOf(path)))
  if (compression !== undefined) {
    yield* availability(compression)
  }
  const format = Option.match(manifest, { onNone: () => guessed, onSome: (known) => known.format })
  const content = yield* Effect.either(attempt(path, (signal) => contentOf(path, format, compression, signal)))
  const embedded = Either.isRight(content) ? content.right.embedded : undefined
  const inside = embedded === undefined ? Option.none<Manifest>() : manifestOf(embedded.text)
  if (Option.isNone(manifest) && Option.isNone(inside)) {
    return withoutManifest
  }
  const differences: Array<Difference> = []
  if (Option.isSome(manifest)) {
    const { bytes, sha256 } = manifest.value
    differences.push(
      ...compared(
        { bytes, sha256, compression: outerCompression(manifest.value) ?? "none" },
        { ...seal, compression: compression ?? "none" }
      )
    )
  }
  if (Either.isLeft(content)) {
    differences.push({ field: "content", expected: `readable ${format}`, found: content.left.detail })
  } else {
    const count = Option.getOrThrow(Option.orElse(manifest, () => inside)).count
    differences.push(...compared({ count }, { count: content.right.records }))
    if (format === "json" && embedded !== undefined && Option.isSome(inside)) {
      const { bytes, sha256 } = inside.value
      differences.push(...compared({ bytes, sha256 }, { bytes: embedded.bytes, sha256: embedded.sha256 }, "manifest."))
    }
    if (format === "json" && Option.isNone(inside)) {
      differences.push({ field: "manifest", expected: "a manifest at the end of the document", found: "none" })
    }
  }
  return { manifest: Option.orElse(manifest, () => inside), differences }
})
