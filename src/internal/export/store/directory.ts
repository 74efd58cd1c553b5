/**
 * A directory as a store.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import { open } from "node:fs/promises"
import { join, resolve } from "node:path"
import { ExportError } from "../exportError.js"
import { removeWhole, writeWhole } from "../file.js"
import type { Service } from "./store.js"

const pieceSize = 262_144

const notReadable = (path: string) => (cause: unknown) => {
  const code = Predicate.hasProperty(cause, "code") ? String(cause.code) : "unknown"
  return code === "ENOENT"
    ? new ExportError({ reason: "Expired", detail: "the file of this export is no longer there", cause })
    : new ExportError({ reason: "NotReadable", detail: `${path} cannot be read (${code})`, cause })
}

const read = (path: string): Stream.Stream<Uint8Array, ExportError> =>
  Stream.unwrapScoped(
    Effect.map(
      Effect.acquireRelease(Effect.tryPromise({ try: () => open(path), catch: notReadable(path) }), (handle) =>
        Effect.promise(() => handle.close().catch(() => undefined))
      ),
      (handle) =>
        Stream.unfoldEffect(0, (at) =>
          Effect.map(
            Effect.tryPromise({
              try: () => handle.read(Buffer.allocUnsafe(pieceSize), 0, pieceSize, at),
              catch: notReadable(path)
            }),
            ({ buffer, bytesRead }) =>
              bytesRead === 0
                ? Option.none<readonly [Uint8Array, number]>()
                : Option.some([new Uint8Array(buffer.buffer, buffer.byteOffset, bytesRead), at + bytesRead] as const)
          )
        )
    )
  )

/** Files in a directory, which must be there. All workers, and all processes that serve downloads, must see the same one. */
export const directory = (given: string): Service => {
  const pathOf = (name: string): string => join(resolve(given), name)
  return {
    write: (name, bytes) => writeWhole(pathOf(name), bytes),
    read: (name) => read(pathOf(name)),
    remove: (name) => removeWhole(pathOf(name))
  }
}
