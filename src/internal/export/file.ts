/**
 * An export into a file. It is written under a temporary name in the same directory, and renamed when it is complete, with its manifest. So a
 * file of the final name is either the previous one or a complete one.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Predicate from "effect/Predicate"
import * as Ref from "effect/Ref"
import * as Stream from "effect/Stream"
import { randomBytes } from "node:crypto"
import { constants } from "node:fs"
import { type FileHandle, link, lstat, open, readdir, realpath, rename, rm, stat } from "node:fs/promises"
import { basename, dirname, join, resolve } from "node:path"
import { stringify } from "../core/json.js"
import { ExportError } from "./exportError.js"
import type { Manifest } from "./manifest.js"

export const manifestPath = (path: string): string => `${path}.manifest.json`

const codeOf = (cause: unknown): string | undefined =>
  Predicate.hasProperty(cause, "code") && typeof cause.code === "string" ? cause.code : undefined

const isFull = (code: string | undefined): boolean => code === "ENOSPC" || code === "EDQUOT" || code === "EFBIG"

const notWritable = (path: string, cause: unknown): ExportError => {
  const code = codeOf(cause)
  return isFull(code)
    ? new ExportError({ reason: "DiskFull", detail: `there is no room for ${path} (${code})`, cause })
    : code === "EEXIST"
      ? exists(path)
      : new ExportError({
          reason: "NotWritable",
          detail: `${path} cannot be written (${code ?? String(cause)})`,
          cause
        })
}

const exists = (path: string): ExportError =>
  new ExportError({ reason: "OutputExists", detail: `${path} is there already` })

const attempt = <A>(path: string, run: () => Promise<A>): Effect.Effect<A, ExportError> =>
  Effect.tryPromise({ try: run, catch: (cause) => notWritable(path, cause) })

/** The entry at a path, a link as a link; undefined if there is none. */
const fileExists = (path: string) =>
  attempt(path, () =>
    lstat(path).catch((error: unknown) => {
      if (codeOf(error) === "ENOENT") {
        return undefined
      }
      throw error
    })
  )

/** The file that a link leads to. */
const leadsTo = (path: string): Effect.Effect<string, ExportError> =>
  Effect.tryPromise({
    try: () => realpath(path),
    catch: (cause) =>
      codeOf(cause) === "ENOENT"
        ? new ExportError({ reason: "NotWritable", detail: `${path} is a link that leads nowhere`, cause })
        : notWritable(path, cause)
  })

/** What becomes of a file that is there already: it stays, and nothing is written, or it is replaced. */
export type Existing = "keep" | "replace"

/** The path of a file to write: if a link is there and may be replaced, the path that it leads to. */
const targetOf = Effect.fnUntraced(function* (path: string, existing: Existing): Effect.fn.Return<string, ExportError> {
  const there = yield* fileExists(path)
  if (there === undefined) {
    return path
  }
  if (existing === "keep") {
    return yield* exists(path)
  }
  const target = there.isSymbolicLink() ? yield* leadsTo(path) : path
  const file = yield* attempt(path, () => stat(target))
  return file.isFile()
    ? target
    : yield* new ExportError({ reason: "NotWritable", detail: `${path} is no file, and is left alone` })
})

const checkDirectory = (path: string): Effect.Effect<void, ExportError> => {
  const directory = dirname(path)
  const missing = new ExportError({ reason: "NoDirectory", detail: `there is no directory ${directory}` })
  return Effect.tryPromise({ try: () => stat(directory), catch: () => missing }).pipe(
    Effect.filterOrFail(
      (there) => there.isDirectory(),
      () => missing
    ),
    Effect.asVoid
  )
}

const draftEnding = (mark: string): string => `.${mark}.partial`

/** In bytes, so that the name of a draft is no longer than a file system allows. */
const longestStem = 200

const draftPath = (target: string, mark: string): string => {
  const stem = Buffer.from(basename(target)).subarray(0, longestStem).toString()
  return join(dirname(target), `.${stem}${draftEnding(mark)}`)
}

/** A temporary file in the directory of the final one. The scope removes it, unless it was renamed. */
interface Draft {
  readonly target: string
  readonly handle: FileHandle
  readonly place: Effect.Effect<void, ExportError>
}

const draft = (target: string, existing: Existing, path: string = draftPath(target, randomBytes(6).toString("hex"))) =>
  Effect.gen(function* () {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL
    const handle = yield* Effect.acquireRelease(
      attempt(target, () => open(path, flags)),
      (opened) =>
        Effect.promise(() =>
          opened
            .close()
            .catch(() => undefined)
            .then(() => rm(path, { force: true }).catch(() => undefined))
        )
    )
    const place = attempt(target, async () => {
      await handle.sync()
      await handle.close()
      if (existing === "replace") {
        return rename(path, target)
      }
      // A rename would replace a file that was created meanwhile.
      await link(path, target).catch((error: unknown) => {
        const code = codeOf(error)
        if (code === "EPERM" || code === "ENOTSUP" || code === "ENOSYS" || code === "EOPNOTSUPP") {
          return rename(path, target)
        }
        throw error
      })
    })
    return { target, handle, place } satisfies Draft
  })

const write = ({ handle, target }: Draft, bytes: Uint8Array): Effect.Effect<void, ExportError> =>
  attempt(target, async () => {
    for (let at = 0; at < bytes.length;) {
      at += (await handle.write(bytes, at)).bytesWritten
    }
  })

/** Makes the names in a directory durable, if the file system can. */
const syncDirectory = (path: string): Effect.Effect<void> =>
  Effect.promise(async () => {
    const handle = await open(dirname(path), constants.O_RDONLY).catch(() => undefined)
    await handle?.sync().catch(() => undefined)
    await handle?.close().catch(() => undefined)
  })

/** Fails if no file can be written there. It runs before the first query. */
const checkTarget = Effect.fnUntraced(function* (
  given: string,
  existing: Existing
): Effect.fn.Return<{ readonly data: string; readonly manifest: string }, ExportError> {
  const path = resolve(given)
  yield* checkDirectory(path)
  return { data: yield* targetOf(path, existing), manifest: yield* targetOf(manifestPath(path), existing) }
})

/** Writes `bytes`, and then the manifest that is known at their end. */
export const toFile = <E>(
  path: string,
  existing: Existing,
  bytes: (onManifest: (manifest: Manifest) => Effect.Effect<void>) => Stream.Stream<Uint8Array, E>
): Effect.Effect<Manifest, E | ExportError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const targets = yield* checkTarget(path, existing)
      const data = yield* draft(targets.data, existing)
      const beside = yield* draft(targets.manifest, existing)
      const manifestRef = yield* Ref.make<Manifest | undefined>(undefined)
      yield* Stream.runForEach(
        bytes((manifest) => Ref.set(manifestRef, manifest)),
        (piece) => write(data, piece)
      )
      const manifest = yield* Ref.get(manifestRef)
      if (manifest === undefined) {
        return yield* Effect.dieMessage("an export ended without a manifest")
      }
      yield* write(beside, Buffer.from(`${stringify(manifest)}\n`))
      // The manifest comes first, so a file is never without one. If the file cannot be renamed, its manifest is removed again.
      yield* Effect.uninterruptible(
        Effect.zipRight(
          beside.place,
          Effect.onExit(data.place, (exit) =>
            Exit.isSuccess(exit) || existing === "replace"
              ? Effect.void
              : Effect.promise(() => rm(targets.manifest, { force: true }).catch(() => undefined))
          )
        )
      )
      yield* syncDirectory(targets.data)
      return manifest
    })
  )

/** Writes a file that nothing else writes, so that its draft has a name that is known. */
export const writeWhole = <E>(
  path: string,
  bytes: Stream.Stream<Uint8Array, E>
): Effect.Effect<void, E | ExportError> =>
  Effect.scoped(
    Effect.gen(function* () {
      yield* checkDirectory(path)
      const data = yield* draft(path, "keep", draftPath(path, "job"))
      yield* Stream.runForEach(bytes, (piece) => write(data, piece))
      yield* Effect.uninterruptible(data.place)
      yield* syncDirectory(path)
    })
  )

/**
 * In milliseconds. A draft that was not written to for so long is abandoned: its worker was killed after another one had taken
 * the job.
 */
const abandonedAfter = 24 * 3600 * 1000

const sweep = async (directory: string): Promise<void> => {
  for (const name of await readdir(directory)) {
    const path = join(directory, name)
    if (name.startsWith(".") && name.endsWith(draftEnding("job"))) {
      const file = await stat(path).catch(() => undefined)
      if (file !== undefined && Date.now() - file.mtimeMs > abandonedAfter) {
        await rm(path, { force: true })
      }
    }
  }
}

/** Removes a file and its draft, if they are there, and abandoned drafts in the directory. */
export const removeWhole = (path: string): Effect.Effect<void, ExportError> =>
  attempt(path, async () => {
    await rm(draftPath(path, "job"), { force: true })
    await rm(path, { force: true })
    // What cannot be swept now is swept with the next file.
    await sweep(dirname(path)).catch(() => undefined)
  })
