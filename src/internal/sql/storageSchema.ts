import * as Context from "effect/Context"

/**
 * The PostgreSQL schema that holds every Threadline object. Fixed at install; a `Context.Reference`, so that it is never
 * part of an effect's requirements.
 */
export class StorageSchema extends Context.Reference<StorageSchema>()("threadline/StorageSchema", {
  defaultValue: () => "threadline"
}) {}
