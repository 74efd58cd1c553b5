/**
 * The differences between a configured or present table and its deployed policy, as data.
 */
import * as Schema from "effect/Schema"
import { Mode, Truncate } from "./model.js"

const Names = Schema.Array(Schema.String)

const Renamed = Schema.Struct({ from: Schema.String, to: Schema.String })

/**
 * What became of a table's columns.
 *
 * @since 0.1.0
 * @category models
 */
export const ColumnDifferences = Schema.Struct({
  added: Names,
  dropped: Names,
  renamed: Schema.Array(Renamed),
  retyped: Names
})

/**
 * @since 0.1.0
 * @category models
 */
export type ColumnDifferences = typeof ColumnDifferences.Type

/**
 * One difference from the deployed policy, by the option or the part of the table that differs. `columnDetails` is what only
 * generated code tells apart, such as the number of a column.
 *
 * @since 0.1.0
 * @category models
 */
export const Difference = Schema.Union(
  Schema.TaggedStruct("mode", { from: Mode, to: Mode }),
  Schema.TaggedStruct("always", { to: Schema.Boolean }),
  Schema.TaggedStruct("truncate", { from: Truncate, to: Truncate }),
  Schema.TaggedStruct("key", { from: Names, to: Names }),
  Schema.TaggedStruct("exclude", { added: Names, removed: Names }),
  Schema.TaggedStruct("mask", { added: Names, removed: Names }),
  Schema.TaggedStruct("acknowledgeCasts", { to: Schema.Boolean }),
  /** Declared former names: of the table as in SQL, of a column as `email (mail)`. */
  Schema.TaggedStruct("formerly", { added: Names, removed: Names }),
  Schema.TaggedStruct("dropGuard", { to: Schema.Boolean }),
  Schema.TaggedStruct("columns", { columns: ColumnDifferences }),
  Schema.TaggedStruct("columnDetails", {})
).annotations({ identifier: "threadline.Capture.Difference" })

/**
 * @since 0.1.0
 * @category models
 */
export type Difference = typeof Difference.Type
