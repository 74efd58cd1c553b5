import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Export from "../../src/Export.js"

/** The bytes of a stream. */
export const bytesOf = <E, R>(stream: Stream.Stream<Uint8Array, E, R>) =>
  Effect.map(Stream.runCollect(stream), (pieces) => Buffer.concat(Chunk.toReadonlyArray(pieces)))

/** An export as a string. */
export const textOf = (options: Export.StreamOptions) => Effect.map(bytesOf(Export.stream(options)), String)

/** The lines of an export as NDJSON. */
export const linesOf = (options: Omit<Export.StreamOptions, "format">) =>
  Effect.map(textOf({ format: "ndjson", ...options }), (text) => text.split("\n").slice(0, -1))
