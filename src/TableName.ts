/**
 * Names of tables, as people write them in SQL.
 *
 * @since 0.1.0
 */
import type * as Either from "effect/Either"
import * as columnNames from "./internal/core/columnName.js"
import * as tableNames from "./internal/core/tableName.js"
import type { InvalidRequest } from "./ThreadlineError.js"

/**
 * A table with its schema, both by their exact names.
 *
 * @since 0.1.0
 * @category models
 */
export interface TableName extends tableNames.TableName {}

/**
 * Reads `posts` (which is `public.posts`), `billing.invoices` or `"Odd.Schema"."T"`. Letters without quotes are folded to lower
 * case, as PostgreSQL does. A left names `field` as the input that is wrong, `table` unless given.
 *
 * @since 0.1.0
 * @category conversions
 * @example
 * ```ts
 * import { TableName } from "threadline"
 * import * as Either from "effect/Either"
 *
 * // public.posts
 * export const written = Either.map(TableName.parse("Posts"), TableName.format)
 * ```
 */
export const parse: (text: string, field?: string) => Either.Either<TableName, InvalidRequest> = tableNames.parse

/**
 * A column with its table and schema, by their exact names.
 *
 * @since 0.1.0
 * @category models
 */
export interface ColumnName extends columnNames.ColumnName {}

/**
 * Reads `users.password`, `public.users.password` or `"Odd.Schema"."T"."c d"`. A left names `field` as the input that is wrong,
 * `column` unless given.
 *
 * @since 0.1.0
 * @category conversions
 */
export const parseColumn: (text: string, field?: string) => Either.Either<ColumnName, InvalidRequest> =
  columnNames.parse

/**
 * Writes a name with its schema, in quotes if SQL needs them. `parse` reads it back.
 *
 * @since 0.1.0
 * @category conversions
 */
export const format: (name: TableName) => string = tableNames.format

/**
 * Whether two strings name the same table; false if one of them is not the name of a table.
 *
 * @since 0.1.0
 * @category predicates
 */
export const same: (one: string, other: string) => boolean = tableNames.same
