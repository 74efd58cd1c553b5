/**
 * Where the files of export jobs lie. `directory` is here, `threadline/s3` has one for S3 and what speaks like it, and a host can write
 * its own: it is four functions.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import * as directories from "./internal/export/store/directory.js"
import type * as stores from "./internal/export/store/store.js"

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
 * Files in a directory, which must be there. All workers, and whoever downloads, must see the same one. A file is there when it is whole
 * and synced.
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
