/**
 * Which PostgreSQL schema holds the record. `threadline` unless a host chose another name when it installed the schema.
 *
 * @since 0.1.0
 */
import * as Layer from "effect/Layer"
import { StorageSchema } from "./internal/sql/storageSchema.js"

/**
 * The name of the schema. It is a `Context.Reference`: an effect that reads it requires nothing, and gets `threadline` unless
 * another name is provided.
 *
 * @since 0.1.0
 * @category references
 */
export { StorageSchema } from "./internal/sql/storageSchema.js"

/**
 * Names the schema for the layers of services that are built with it. `Threadline.layer` takes the name as its option `schema`.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { Query, StorageSchema } from "threadline"
 * import * as Layer from "effect/Layer"
 *
 * export const QueryLive = Query.layer.pipe(Layer.provide(StorageSchema.layer("audit")))
 * ```
 */
export const layer = (schema: string): Layer.Layer<StorageSchema> => Layer.succeed(StorageSchema, schema)
