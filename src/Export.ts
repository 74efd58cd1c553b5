/**
 * Exports: every change that a filter lets through, as a file or a stream, exact and in constant memory.
 *
 * The filter is that of `Query.timeline`, under the same scopes. An export reads one consistent snapshot, on its own connection. Inside a
 * transaction of the host, it does not see what that transaction has written. PostgreSQL formats the rows and copies them out. A manifest
 * describes the export, and an action records it.
 *
 * @since 0.1.0
 */
import type * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { notAnObject, unknownField } from "./internal/core/request.js"
import * as columns from "./internal/export/columns.js"
import type { ExportError } from "./internal/export/exportError.js"
import type { Format as FormatName } from "./internal/export/formats.js"
import type { Manifest } from "./internal/export/manifest.js"
import { formats as formatsHere } from "./internal/export/parquet.js"
import { makeRecorder } from "./internal/export/recorder.js"
import type * as requests from "./internal/export/request.js"
import * as service from "./internal/export/service.js"
import * as streams from "./internal/export/stream.js"
import * as verifying from "./internal/export/verify.js"
import { wholeStorage } from "./internal/record/whole.js"
import { StorageSchema } from "./internal/sql/storageSchema.js"
import type { InvalidRequest, NotFound, ThreadlineError } from "./ThreadlineError.js"

/**
 * - `csv`: RFC 4180 in UTF-8, with a header line
 * - `ndjson`: the JSON of a change on each line
 * - `json`: one document `{ items, manifest }`
 * - `parquet`: typed columns, named as those of the CSV; needs the package `hyparquet-writer`
 *
 * @since 0.1.0
 * @category models
 */
export type Format = FormatName

/**
 * The formats that can be written here: `parquet` only if its package is installed.
 *
 * @since 0.1.0
 * @category formats
 */
export const formats: Effect.Effect<ReadonlyArray<Format>> = formatsHere

/**
 * The options of an export.
 *
 * - `format`: see `Format`
 * - `filter`: as of a timeline, without `order`, `limit` and `cursor`; all changes unless given. A table or column that the record does
 *   not know is `NotFound`.
 * - `order`: `oldest` first unless given. Changes of one row have the order in which they happened, all others the order of transactions.
 * - `limit`: the most changes, from 1
 * - `columns`: for a CSV or Parquet, names of `columns` or `personColumns`; all of `columns` unless given
 * - `raw`: for a CSV, leaves out the `'` in front of cells that a spreadsheet would take for a formula
 * - `shape`: for NDJSON, the form in which another system reads a change: `ocsf`, `cloudevents` or `debezium`; see `docs/exports.md`
 * - `compression`: `gzip`, or `zstd` if this version of Node.js has it. Inside of Parquet: Snappy, or `zstd`.
 * - `requestedBy`: the actor who asked for the export; the actor of `AuditContext` unless given
 * - `scopeName`: your name of the scope, for the manifest
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends requests.Options {}

/**
 * The same, with two callbacks: `onManifest` is called once, after the last byte; `onProgress` for each piece of about 128 KiB.
 *
 * @since 0.1.0
 * @category models
 */
export interface StreamOptions extends service.StreamOptions {}

/**
 * The same, with `force`: replaces an existing file.
 *
 * @since 0.1.0
 * @category models
 */
export interface FileOptions extends service.FileOptions {}

/**
 * The same, with `fileName`, under which a browser saves the file, and `manifestUrl`, the link to the manifest.
 *
 * @since 0.1.0
 * @category models
 */
export interface ResponseOptions extends service.ResponseOptions {}

/**
 * The progress of an export. `estimate` is what the planner of the database expects. It may be wrong. Under a
 * scope there is none: it would tell how many changes the scope hides.
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress extends streams.Progress {}

/**
 * @since 0.1.0
 */
export { Manifest } from "./internal/export/manifest.js"

/**
 * The result of `verify`: the manifest, and the differences between the file and its manifest.
 *
 * @since 0.1.0
 * @category models
 */
export interface Verification extends verifying.Verification {}

/**
 * The columns of a CSV, in their order.
 *
 * @since 0.1.0
 * @category constants
 */
export const contractColumns: ReadonlyArray<string> = columns.contractColumns

/**
 * Columns for people: with `field`, `before` or `after` there is one line for each field that a change touched.
 *
 * @since 0.1.0
 * @category constants
 */
export const personColumns: ReadonlyArray<string> = columns.personColumns

/**
 * The value of a CSV cell, without the one `'` in front of what a spreadsheet takes for a formula. Do not use it for a file that was written
 * with `raw`.
 *
 * @since 0.1.0
 * @category conversions
 */
export const cellValue: (cell: string) => string = columns.cellValue

/**
 * @since 0.1.0
 */
export { ExportError } from "./internal/export/exportError.js"

/**
 * @since 0.1.0
 * @category errors
 */
export type Failure = ExportError | InvalidRequest | NotFound | ThreadlineError

/**
 * Checks options without a database. A left is the error that every export with these options has.
 *
 * @since 0.1.0
 * @category guards
 */
export const validate = (options: Options): Either.Either<void, InvalidRequest | ExportError> =>
  Either.map(streams.decoded(options), () => undefined)

/**
 * Compares a file with its manifest: size, SHA-256, count, and whether the file can be read in its format. Needs no database. A file without a
 * manifest has a difference in the field `manifest`.
 *
 * @since 0.1.0
 * @category verification
 * @example
 * ```ts
 * import { Export } from "threadline"
 * import * as Effect from "effect/Effect"
 *
 * export const isFine = Effect.map(Export.verify("changes.csv"), ({ differences }) => differences.length === 0)
 * ```
 */
export const verify = (path: string): Effect.Effect<Verification, ExportError | InvalidRequest> =>
  verifying.verify(path)

/**
 * @since 0.1.0
 * @category services
 */
export interface Service extends service.Service {}

/**
 * Exports. The role needs the privileges of a reader, which include `record_export`. Writers have that too.
 *
 * @since 0.1.0
 * @category services
 */
export class Export extends Context.Tag("threadline/Export")<Export, Service>() {}

/**
 * @since 0.1.0
 * @category models
 */
export interface LayerOptions {
  /** Every export fails until `Query.withScope`, or `scoped` of the service, has said what the reader may see. */
  readonly scopeRequired?: boolean | undefined
  /** If false, exports are not recorded as actions. */
  readonly record?: boolean | undefined
}

/**
 * The client that records exports, if another one reads them. The client that reads may be that of a replica.
 *
 * @since 0.1.0
 * @category services
 */
export class RecordingClient extends Context.Tag("threadline/Export/RecordingClient")<
  RecordingClient,
  SqlClient.SqlClient
>() {}

/**
 * Exports, with options such as whether they are recorded. Throws `InvalidRequest` for an option that is not known.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (options: LayerOptions): Layer.Layer<Export, ThreadlineError, SqlClient.SqlClient> => {
  const wrong = notAnObject(options) ?? unknownField(options, { scopeRequired: true, record: true })
  if (wrong !== undefined) {
    throw wrong
  }
  return Layer.effect(
    Export,
    Effect.gen(function* () {
      const storage = yield* wholeStorage
      const recording = yield* Effect.serviceOption(RecordingClient)
      const schema = yield* StorageSchema
      const client = recording._tag === "Some" ? recording.value : yield* SqlClient.SqlClient
      return service.make({
        storage,
        scopes: [],
        scopeRequired: options.scopeRequired ?? false,
        recorder: options.record === false ? undefined : makeRecorder(client, schema)
      })
    })
  )
}

/**
 * Exports from the client's database. Each export is recorded as an action.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Export, ThreadlineError, SqlClient.SqlClient> = layerWith({})

/**
 * The same, but every export fails with `InvalidRequest` in the field `scope` unless it has a scope.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerScopeRequired: Layer.Layer<Export, ThreadlineError, SqlClient.SqlClient> = layerWith({
  scopeRequired: true
})

/**
 * The bytes of an export. Each run of the stream is a new export. If the reader leaves, the statement is cancelled.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Export } from "threadline"
 * import * as Effect from "effect/Effect"
 * import * as Stream from "effect/Stream"
 *
 * declare const send: (bytes: Uint8Array) => Effect.Effect<void>
 *
 * export const program = Export.stream({ format: "ndjson", filter: { table: "posts" }, compression: "gzip" }).pipe(
 *   Stream.runForEach(send)
 * )
 * ```
 */
export const stream = (options: StreamOptions): Stream.Stream<Uint8Array, Failure, Export> =>
  Stream.unwrap(Effect.map(Export, (exports) => exports.stream(options)))

/**
 * Runs an effect for each piece of the bytes of an export, one after the other, and gives the manifest. The memory of a piece is used again
 * when its effect has ended: copy what you keep. So this takes less memory than `stream`.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Export } from "threadline"
 * import * as Effect from "effect/Effect"
 *
 * export const toStandardOutput = Export.runForEach({ format: "ndjson" }, (bytes) =>
 *   Effect.async<void>((resume) => {
 *     process.stdout.write(bytes, () => resume(Effect.void))
 *   })
 * )
 * ```
 */
export const runForEach = <E, R>(
  options: StreamOptions,
  write: (bytes: Uint8Array) => Effect.Effect<void, E, R>
): Effect.Effect<Manifest, E | Failure, Export | R> =>
  Effect.flatMap(Export, (exports) => exports.runForEach(options, write))

/**
 * Writes a file and its manifest; see `Service`.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Export } from "threadline"
 * import * as Effect from "effect/Effect"
 *
 * export const permissions = Export.toFile("permissions.csv", {
 *   format: "csv",
 *   filter: { table: "permissions", contains: { workspace: "acme" }, from: "2026-11-01" },
 *   columns: ["at", "who", "what", "row", "field", "before", "after"]
 * }).pipe(Effect.map(({ count, sha256 }) => `${count} lines, ${sha256}`))
 * ```
 */
export const toFile = (path: string, options: FileOptions): Effect.Effect<Manifest, Failure, Export> =>
  Effect.flatMap(Export, (exports) => exports.toFile(path, options))

/**
 * A response of `@effect/platform` whose body is an export.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { HttpRouter } from "@effect/platform"
 * import { Export } from "threadline"
 *
 * export const router = HttpRouter.empty.pipe(
 *   HttpRouter.get("/audit/export", Export.toResponse({ format: "csv", filter: { table: "posts" } }))
 * )
 * ```
 */
export const toResponse = (
  options: ResponseOptions
): Effect.Effect<HttpServerResponse.HttpServerResponse, Failure, Export> =>
  Effect.flatMap(Export, (exports) => exports.toResponse(options))

/**
 * The same as a `Response` of the web platform.
 *
 * @since 0.1.0
 * @category accessors
 */
export const toWebResponse = (options: ResponseOptions): Effect.Effect<Response, Failure, Export> =>
  Effect.flatMap(Export, (exports) => exports.toWebResponse(options))
