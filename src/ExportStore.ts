/**
 * Where the files of export jobs lie: in a `directory`, or in a `bucket` of S3 and of what speaks like it. A host can write its own: it is
 * four functions.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { ExportError } from "./internal/export/exportError.js"
import * as buckets from "./internal/export/store/bucket.js"
import * as directories from "./internal/export/store/directory.js"
import type * as stores from "./internal/export/store/store.js"
import type { InvalidRequest } from "./ThreadlineError.js"

/**
 * What a store may want to know of a file.
 *
 * @since 0.1.0
 * @category models
 */
export interface FileFacts extends stores.FileFacts {}

/**
 * Of a link that a store makes.
 *
 * @since 0.1.0
 * @category models
 */
export interface LinkOptions extends stores.LinkOptions {}

/**
 * A bucket of S3, or of a server that speaks like it: `bucket`, `prefix`, `region`, `endpoint` and `pathStyle`. There are no credentials in
 * it.
 *
 * @since 0.1.0
 * @category models
 */
export interface BucketOptions extends buckets.BucketOptions {}

/**
 * The schema of `BucketOptions`. It names what is wrong.
 *
 * @since 0.1.0
 * @category schemas
 */
export const BucketModel: Schema.Schema<BucketOptions> = buckets.BucketModel

/**
 * @since 0.1.0
 * @category services
 */
export interface Service extends stores.Service {}

/**
 * Where the files of export jobs lie. Workers write to it, downloads read from it, and expiry removes from it.
 *
 * @since 0.1.0
 * @category services
 */
export class ExportStore extends Context.Tag("threadline/ExportStore")<ExportStore, Service>() {}

/**
 * Files in a directory, which must be there. All workers must see the same one, and so must every process that serves
 * downloads. A file is there when it is whole and synced.
 *
 * @since 0.1.0
 * @category constructors
 */
export const directory = (path: string): Service => directories.directory(path)

/**
 * The same as a layer.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { ExportStore } from "threadline"
 *
 * export const store = ExportStore.layerDirectory("/var/lib/exports")
 * ```
 */
export const layerDirectory = (path: string): Layer.Layer<ExportStore> => Layer.succeed(ExportStore, directory(path))

/**
 * A bucket as a store, from what a configuration says of it. Credentials are what the SDK of AWS finds in the environment. It needs the
 * packages `@aws-sdk/client-s3`, `@aws-sdk/lib-storage` and `@aws-sdk/s3-request-presigner`: without them it is an `ExportError` with the
 * reason `NotInstalled`. If no region or no credentials are found, the reason is `StoreFailed`. To give a client of your own, see
 * `threadline/s3`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const bucket = (options: BucketOptions): Effect.Effect<Service, ExportError | InvalidRequest, Scope.Scope> =>
  buckets.bucket(options)

/**
 * The same as a layer.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { ExportStore } from "threadline"
 *
 * export const store = ExportStore.layerBucket({ bucket: "audit", prefix: "exports/", region: "eu-central-1" })
 * ```
 */
export const layerBucket = (options: BucketOptions): Layer.Layer<ExportStore, ExportError | InvalidRequest> =>
  Layer.scoped(ExportStore, bucket(options))
