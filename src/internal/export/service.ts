/**
 * The service of exports: streams, files and responses, each under a span, and none of them without a scope if one is required.
 */
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { InvalidRequest } from "../../ThreadlineError.js"
import { notAnObject } from "../core/request.js"
import type { ReadScope } from "../record/scope.js"
import { contentEncodings } from "./compression.js"
import { toFile } from "./file.js"
import type { Manifest } from "./manifest.js"
import type { Format, Options, Request } from "./request.js"
import { bytesOf, check, decoded, type Exporting, type Failure, type Hooks } from "./stream.js"

export interface StreamOptions extends Options, Hooks {}

export interface FileOptions extends StreamOptions {
  /** Replaces a file of that name, and its manifest. */
  readonly force?: boolean | undefined
}

export interface ResponseOptions extends StreamOptions {
  /** What a browser calls the file that it saves: `audit` with the date and the ending of the format unless given. */
  readonly fileName?: string | undefined
  /** Where the manifest will be: a link of the relation `describedby` says it. */
  readonly manifestUrl?: string | undefined
}

export interface Service {
  /**
   * The bytes of an export. Each run of the stream is an export of its own, under a snapshot of its own. A reader that is slow makes the
   * database wait; one that leaves cancels the statement.
   */
  readonly stream: (options: StreamOptions) => Stream.Stream<Uint8Array, Failure>
  /**
   * Writes a file, and `FILE.manifest.json` beside it. Under the final name there is never half a file: it is written beside it and
   * renamed at the end, and whatever fails leaves nothing behind. `ExportError` says what is wrong with the place.
   */
  readonly toFile: (path: string, options: FileOptions) => Effect.Effect<Manifest, Failure>
  /**
   * A response of `@effect/platform` whose body is an export. What it would fail with before the first byte is a failure here: later the
   * body only breaks off.
   */
  readonly toResponse: (options: ResponseOptions) => Effect.Effect<HttpServerResponse.HttpServerResponse, Failure>
  /** The same as a `Response` of the web. */
  readonly toWebResponse: (options: ResponseOptions) => Effect.Effect<Response, Failure>
  /** The same exports of what the scope lets through. A scope on a scope narrows it further. */
  readonly scoped: (scope: ReadScope) => Service
}

export const contentTypes: Readonly<Record<Format, string>> = {
  csv: "text/csv; charset=utf-8; header=present",
  ndjson: "application/x-ndjson",
  json: "application/json"
}

const today = Effect.map(Effect.clock, (clock) => new Date(clock.unsafeCurrentTimeMillis()).toISOString().slice(0, 10))

/** A name in the one form that every browser reads, and in the one that has other letters. */
const disposition = (fileName: string): string => {
  const plain = fileName.replaceAll(/[^\x20-\x7e]|["\\%]/g, "_")
  return plain === fileName
    ? `attachment; filename="${plain}"`
    : `attachment; filename="${plain}"; filename*=UTF-8''${encodeURIComponent(fileName).replaceAll(/['()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16)}`)}`
}

const headersOf = (
  { compression, format }: Request,
  date: string,
  { fileName = `audit-${date}.${format}`, manifestUrl }: ResponseOptions
): Readonly<Record<string, string>> => ({
  "content-disposition": disposition(fileName),
  // It holds captured values, and no two of them are the same.
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
  ...(compression === undefined ? {} : { "content-encoding": contentEncodings[compression] }),
  ...(manifestUrl === undefined
    ? {}
    : { link: `<${encodeURI(manifestUrl)}>; rel="describedby"; type="application/json"` })
})

const stringOption = (field: string, value: unknown): InvalidRequest | undefined =>
  value === undefined || (typeof value === "string" && value !== "")
    ? undefined
    : new InvalidRequest({ field, rule: "must be a string that is not empty" })

/** What a response says of the file, checked. */
const responseOptions = (given: ResponseOptions) =>
  Effect.gen(function* () {
    const wrong = notAnObject(given)
    if (wrong !== undefined) {
      return yield* wrong
    }
    const { fileName, manifestUrl, ...options } = given
    yield* stringOption("fileName", fileName) ?? stringOption("manifestUrl", manifestUrl) ?? Effect.void
    return yield* decoded(options)
  })

const fileOptions = (path: string, given: FileOptions) =>
  Effect.gen(function* () {
    const wrong = notAnObject(given) ?? stringOption("path", path)
    if (wrong !== undefined) {
      return yield* wrong
    }
    const { force = false, ...options } = given
    return typeof force === "boolean"
      ? { ...(yield* decoded(options)), force }
      : yield* new InvalidRequest({ field: "force", rule: "must be true or false" })
  })

export const make = (exporting: Exporting): Service => {
  const named = <A, E>(name: string, effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.withSpan(effect, `threadline.export.${name}`, { captureStackTrace: false })

  const toResponse = (given: ResponseOptions): Effect.Effect<HttpServerResponse.HttpServerResponse, Failure> =>
    Effect.gen(function* () {
      const { hooks, request } = yield* responseOptions(given)
      yield* check(exporting, request)
      // The body is read when this effect has ended: it takes along who asked.
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
        Stream.withSpan("threadline.export.stream", { captureStackTrace: false })
      ),
    toFile: (path, given) =>
      named(
        "toFile",
        Effect.gen(function* () {
          const { force, hooks, request } = yield* fileOptions(path, given)
          const manifest = yield* toFile(path, force, (onManifest) =>
            bytesOf(exporting, request, { ...hooks, onManifest })
          )
          yield* hooks.onManifest?.(manifest) ?? Effect.void
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
