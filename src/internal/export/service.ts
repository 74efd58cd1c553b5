/**
 * The service of exports: streams, files and responses, each with a span. If a scope is required, each of them fails without one.
 */
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Stream from "effect/Stream"
import { InvalidRequest } from "../../ThreadlineError.js"
import * as telemetry from "../core/telemetry.js"
import { notAnObject, told } from "../core/request.js"
import type { ReadScope } from "../record/scope.js"
import { contentEncodings } from "./compression.js"
import { toFile } from "./file.js"
import type { Format } from "./formats.js"
import type { Manifest } from "./manifest.js"
import { type Options, outerCompression, type Request } from "./request.js"
import { bytesOf, lentBytesOf, check, decoded, type Exporting, type Failure, type Hooks } from "./stream.js"

export interface StreamOptions extends Options, Hooks {}

export interface FileOptions extends StreamOptions {
  /** Replaces an existing file and its manifest. */
  readonly force?: boolean | undefined
}

export interface ResponseOptions extends StreamOptions {
  /** The name under which a browser saves the file. Unless given: `audit`, the date, and the ending of the format. */
  readonly fileName?: string | undefined
  /** The URL of the manifest. The response has it as a link of the relation `describedby`. */
  readonly manifestUrl?: string | undefined
}

export interface Service {
  /**
   * The bytes of an export. Each run of the stream is a new export with a new snapshot. If the reader is slow, the database waits. If the
   * reader leaves, the statement is cancelled.
   */
  readonly stream: (options: StreamOptions) => Stream.Stream<Uint8Array, Failure>
  /**
   * Runs an effect for each piece of the bytes, one after the other, and gives the manifest. The memory of a piece is used again when its
   * effect has ended, so this takes less memory than `stream`.
   */
  readonly runForEach: <E, R>(
    options: StreamOptions,
    write: (bytes: Uint8Array) => Effect.Effect<void, E, R>
  ) => Effect.Effect<Manifest, E | Failure, R>
  /**
   * Writes a file, and `FILE.manifest.json` beside it. The final name never shows half a file: the file has a temporary name until it is
   * complete. A failure leaves nothing behind. `ExportError` says why a path cannot be written.
   */
  readonly toFile: (path: string, options: FileOptions) => Effect.Effect<Manifest, Failure>
  /**
   * A response of `@effect/platform` whose body is an export. An error before the first byte fails this effect. After a later error, the body
   * only ends early.
   */
  readonly toResponse: (options: ResponseOptions) => Effect.Effect<HttpServerResponse.HttpServerResponse, Failure>
  /** Like `toResponse`, as a `Response` of the web platform. */
  readonly toWebResponse: (options: ResponseOptions) => Effect.Effect<Response, Failure>
  /** The service for changes that the scope shows. A scope on a scope narrows it further. */
  readonly scoped: (scope: ReadScope) => Service
}

export const contentTypes: Readonly<Record<Format, string>> = {
  csv: "text/csv; charset=utf-8; header=present",
  ndjson: "application/x-ndjson",
  json: "application/json",
  parquet: "application/vnd.apache.parquet"
}

/** The `content-encoding` of a file; undefined if it has none. */
export const encodingOf = (request: Parameters<typeof outerCompression>[0]): string | undefined => {
  const compression = outerCompression(request)
  return compression === undefined ? undefined : contentEncodings[compression]
}

const today = Effect.map(Effect.clock, (clock) => new Date(clock.unsafeCurrentTimeMillis()).toISOString().slice(0, 10))

/** A file name in two forms: one that every browser reads, and one that allows other letters. */
const disposition = (fileName: string): string => {
  const plain = fileName.replaceAll(/[^\x20-\x7e]|["\\%]/g, "_")
  return plain === fileName
    ? `attachment; filename="${plain}"`
    : `attachment; filename="${plain}"; filename*=UTF-8''${encodeURIComponent(fileName).replaceAll(/['()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16)}`)}`
}

const headersOf = (
  request: Request,
  date: string,
  { fileName = `audit-${date}.${request.format}`, manifestUrl }: ResponseOptions
): Readonly<Record<string, string>> => {
  const encoding = encodingOf(request)
  return {
    "content-disposition": disposition(fileName),
    // A body contains captured values, and no two bodies are the same.
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    ...(encoding === undefined ? {} : { "content-encoding": encoding }),
    ...(manifestUrl === undefined
      ? {}
      : { link: `<${encodeURI(manifestUrl)}>; rel="describedby"; type="application/json"` })
  }
}

const stringOption = (field: string, value: unknown): InvalidRequest | undefined =>
  value === undefined || (typeof value === "string" && value !== "")
    ? undefined
    : new InvalidRequest({ field, rule: "must be a string that is not empty" })

/** The headers that describe the file, checked. */
const responseOptions = (given: ResponseOptions) =>
  Effect.gen(function* () {
    const refusal = notAnObject(given)
    if (refusal !== undefined) {
      return yield* refusal
    }
    const { fileName, manifestUrl, ...options } = given
    yield* stringOption("fileName", fileName) ?? stringOption("manifestUrl", manifestUrl) ?? Effect.void
    return yield* decoded(options)
  })

const fileOptions = (path: string, given: FileOptions) =>
  Effect.gen(function* () {
    const refusal = notAnObject(given) ?? stringOption("path", path)
    if (refusal !== undefined) {
      return yield* refusal
    }
    const { force = false, ...options } = given
    return typeof force === "boolean"
      ? { ...(yield* decoded(options)), force }
      : yield* new InvalidRequest({ field: "force", rule: "must be true or false" })
  })

export const make = (exporting: Exporting): Service => {
  const named = <A, E, R>(
    name: (typeof telemetry.operations.export)[number],
    effect: Effect.Effect<A, E, R>
  ): Effect.Effect<A, E, R> => telemetry.operation("export", name)(effect)

  const toResponse = (given: ResponseOptions): Effect.Effect<HttpServerResponse.HttpServerResponse, Failure> =>
    Effect.gen(function* () {
      const { hooks, request } = yield* responseOptions(given)
      yield* check(exporting, request)
      // The body is read after this effect has ended, so it keeps the context of the caller.
      const context = yield* Effect.context<never>()
      return HttpServerResponse.stream(Stream.provideSomeContext(bytesOf(exporting, request, hooks), context), {
        contentType: contentTypes[request.format],
        headers: headersOf(request, yield* today, given)
      })
    })

  return {
    stream: (options) =>
      Effect.suspend(() => decoded(options)).pipe(
        Effect.map(({ hooks, request }) => bytesOf(exporting, request, hooks)),
        Stream.unwrap,
        telemetry.streamed(telemetry.nameOf("export", "stream"))
      ),
    runForEach: (given, write) =>
      named(
        "runForEach",
        Effect.gen(function* () {
          const { hooks, request } = yield* decoded(given)
          const manifest = yield* Ref.make(Option.none<Manifest>())
          const bytes = lentBytesOf(exporting, request, {
            ...hooks,
            onManifest: (made) => Effect.zipRight(Ref.set(manifest, Option.some(made)), told(hooks.onManifest, made))
          })
          yield* Stream.runForEach(bytes, write)
          return yield* Effect.orDie(Effect.flatten(Ref.get(manifest)))
        })
      ),
    toFile: (path, given) =>
      named(
        "toFile",
        Effect.gen(function* () {
          const { force, hooks, request } = yield* fileOptions(path, given)
          const manifest = yield* toFile(path, force ? "replace" : "keep", (onManifest) =>
            lentBytesOf(exporting, request, { ...hooks, onManifest })
          )
          yield* told(hooks.onManifest, manifest)
          return manifest
        })
      ),
    toResponse: (options) => named("toResponse", toResponse(options)),
    toWebResponse: (options) =>
      named(
        "toWebResponse",
        Effect.zipWith(toResponse(options), Effect.runtime<never>(), (response, runtime) =>
          HttpServerResponse.toWeb(response, { runtime })
        )
      ),
    scoped: (scope) => make({ ...exporting, scopes: [...exporting.scopes, scope] })
  }
}
