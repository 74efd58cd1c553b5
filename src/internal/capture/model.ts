/**
 * What is configured and what is deployed: schemas of `Capture`. They are in a file of their own because the parts of `Capture`
 * need them too.
 */
import * as Schema from "effect/Schema"
import { record } from "../core/jsonRecord.js"
import { choice } from "../core/request.js"

/**
 * Statement triggers see a statement's rows at once and cost least; row triggers work on foreign tables, on members of
 * an inheritance tree, and under logical replication.
 *
 * @since 0.1.0
 * @category models
 */
export const Mode = Schema.Literal("statement", "row")

/**
 * @since 0.1.0
 * @category models
 */
export type Mode = typeof Mode.Type

/**
 * What TRUNCATE leaves behind: one change with the row count, one change per row with its image, or an error.
 *
 * @since 0.1.0
 * @category models
 */
export const Truncate = Schema.Literal("event", "rows", "refuse")

/**
 * @since 0.1.0
 * @category models
 */
export type Truncate = typeof Truncate.Type

/**
 * What takes the place of a masked value.
 *
 * - `[masked]`: always this text
 * - `last4`: `****` and the last four characters, if at least four others stay hidden; else `****`
 * - `hash`: `hmac:<id of the key>:<HMAC-SHA-256>`. Equal values have equal hashes until the key is changed
 * - `null`: null
 *
 * @since 0.1.0
 * @category models
 */
export const Mask = Schema.Literal("[masked]", "last4", "hash", "null")

/**
 * @since 0.1.0
 * @category models
 */
export type Mask = typeof Mask.Type

/** What is wrong with a value, said for a reader of configuration. */
const rule = (sentence: string) => ({ message: () => sentence })

const named = (sentence: string) =>
  Schema.String.annotations(rule(sentence)).pipe(Schema.nonEmptyString(rule(sentence)))

const ColumnName = named("must be the name of a column")
const columnsRule = rule("must be a list of names of columns")

const Path = Schema.NonEmptyArray(named("must be the name of a field")).annotations(
  rule("must be a list of at least one name of a field")
)

/**
 * A column, or a path inside a json column: `email`, `settings.token`. As an object, names are exact: `{ column: "settings", path: ["a.b"] }`.
 *
 * @since 0.1.0
 * @category models
 */
export const Excluded = Schema.Union(ColumnName, Schema.Struct({ column: ColumnName, path: Path })).annotations(
  rule(
    `must be the name of a column, a path such as settings.token, or an object such as { column: "settings", path: ["token"] }`
  )
)

/**
 * @since 0.1.0
 * @category models
 */
export type Excluded = typeof Excluded.Type

/**
 * The same with a mask: `{ column: "iban", as: "last4" }`; `[masked]` unless given.
 *
 * @since 0.1.0
 * @category models
 */
export const Masked = Schema.Union(
  ColumnName,
  Schema.Struct({
    column: ColumnName,
    path: Schema.optional(Path),
    as: Schema.optional(choice(...Mask.literals))
  })
).annotations(
  rule(
    `must be the name of a column, a path such as settings.token, or an object such as { column: "iban", as: "last4" }`
  )
)

/**
 * @since 0.1.0
 * @category models
 */
export type Masked = typeof Masked.Type

/**
 * A redacted path inside a json column of a deployed policy.
 *
 * @since 0.1.0
 * @category models
 */
export const PolicyPath = Schema.Struct({
  path: Schema.Array(Schema.String),
  as: Schema.Literal("exclude", ...Mask.literals)
})

/**
 * @since 0.1.0
 * @category models
 */
export type PolicyPath = typeof PolicyPath.Type
const flagRule = rule("must be true or false")

/**
 * How one table is to be captured. Columns are given by their exact names.
 *
 * - `table`: as in SQL, `posts` (which is `public.posts`), `billing.invoices`, `"Odd.Schema"."T"`.
 * - `exclude`: columns left out of every image; a change of nothing else is not recorded. `settings.token` is the field `token` of
 *   the json column `settings`, in every element of the arrays on the way.
 * - `mask`: columns, and paths inside json columns, whose values are replaced by what their `Mask` says.
 * - `key`: the columns that identify a row if the table has no primary key; a unique index over exactly these not-null
 *   columns must back them. A table that has a primary key is identified by it; `key` can only repeat it.
 * - `mode`: `statement` if the table allows it, `row` otherwise, unless given.
 * - `always`: capture under `session_replication_role = replica` and logical replication too; uses row mode.
 * - `truncate`: `event` unless given.
 * - `formerly`: names that the table had before, if the record does not know them by itself: after a restore, or if the table was
 *   built anew beside another one. Reads of the table find what is recorded under these names, up to when the table took its
 *   present name.
 * - `columns`: by column, `{ formerly: [...] }`: names that the column had before.
 * - `acknowledgeCasts`: accept columns whose type has a cast to json defined in this database. Such a cast runs with the
 *   privileges of the role that owns Threadline's schema.
 * - `dropGuard`: refuse to let the table, its triggers or its schema be dropped, or its triggers be disabled, until its capture
 *   is removed. Needs the schema watch (`threadline migrate up --watch-schema`).
 *
 * @since 0.1.0
 * @category models
 */
export const TableConfig = Schema.Struct({
  table: named("must be the name of a table"),
  exclude: Schema.optional(Schema.Array(Excluded).annotations(columnsRule)),
  mask: Schema.optional(Schema.Array(Masked).annotations(columnsRule)),
  key: Schema.optional(Schema.NonEmptyArray(ColumnName).annotations(rule("must be a list of at least one column"))),
  mode: Schema.optional(choice(...Mode.literals)),
  always: Schema.optional(Schema.Boolean.annotations(flagRule)),
  truncate: Schema.optional(choice(...Truncate.literals)),
  acknowledgeCasts: Schema.optional(Schema.Boolean.annotations(flagRule)),
  formerly: Schema.optional(
    Schema.Array(named("must be the name of a table")).annotations(rule("must be a list of names of tables"))
  ),
  columns: Schema.optional(
    record(Schema.Struct({ formerly: Schema.optional(Schema.Array(ColumnName).annotations(columnsRule)) })).annotations(
      rule(`must be an object such as { email: { formerly: ["mail"] } }`)
    )
  ),
  dropGuard: Schema.optional(Schema.Boolean.annotations(flagRule))
}).annotations({
  identifier: "threadline.Capture.TableConfig",
  ...rule(`must be an object such as { table: "public.posts" }`)
})

/**
 * @since 0.1.0
 * @category models
 */
export type TableConfig = typeof TableConfig.Type

/**
 * A column of a deployed key: `text` says how its value becomes the canonical text of `row_key`.
 *
 * @since 0.1.0
 * @category models
 */
export const PolicyKeyColumn = Schema.Struct({
  name: Schema.String,
  attnum: Schema.Int,
  type: Schema.String,
  text: Schema.Union(
    Schema.Literal("text", "numeric", "interval", "citext", "bpchar", "numbers", "bounds"),
    Schema.TemplateLiteral("shape ", Schema.String)
  )
})

/** Every session setting that changes the text of some types, in the order in which functions pin them. */
export const everyPin = [
  "timezone",
  "datestyle",
  "intervalstyle",
  "bytea_output",
  "extra_float_digits",
  "lc_monetary",
  "quote_all_identifiers"
] as const

/** How old and new value of a column are compared: see the generator's `Comparison`. */
export const comparisons = ["text", "image", "jsonb", "json", "cast"] as const

/**
 * A column as it was when the triggers were generated.
 *
 * @since 0.1.0
 * @category models
 */
export const PolicyColumn = Schema.Struct({
  name: Schema.String,
  attnum: Schema.Int,
  type: Schema.String,
  comparison: Schema.Literal(...comparisons),
  pins: Schema.Array(Schema.Literal(...everyPin)),
  virtual: Schema.Boolean
})

/** Instants with microseconds, UTC; null if the time has no such end. */
const time = { since: Schema.NullOr(Schema.String), until: Schema.NullOr(Schema.String), declared: Schema.Boolean }

/**
 * A name that a table had before, and its time: from `since` up to `until`, which is not part of it. `declared`: the
 * configuration says so; otherwise the record saw it.
 *
 * @since 0.1.0
 * @category models
 */
export const FormerName = Schema.Struct({ schema: Schema.String, name: Schema.String, ...time })

/**
 * A name that a column had before, and its time.
 *
 * @since 0.1.0
 * @category models
 */
export const FormerColumn = Schema.Struct({ column: Schema.String, formerly: Schema.String, ...time })

/**
 * What is deployed for one table, as `capture_policies` holds it. `removedAt` is null while the table is captured;
 * `partitions` are qualified names, quoted if SQL needs it.
 *
 * @since 0.1.0
 * @category models
 */
export const Policy = Schema.Struct({
  tableSchema: Schema.String,
  tableName: Schema.String,
  mode: Mode,
  always: Schema.Boolean,
  truncate: Truncate,
  key: Schema.Array(PolicyKeyColumn),
  exclude: Schema.Array(Schema.String),
  mask: Schema.Array(Schema.String),
  /** Masks of columns of `mask` that do not become `[masked]`. */
  masks: record(Mask),
  /** Redacted paths inside json columns, by column. */
  paths: record(Schema.Array(PolicyPath)),
  columns: Schema.Array(PolicyColumn),
  partitions: Schema.Array(Schema.String),
  acknowledgeCasts: Schema.Boolean,
  dropGuard: Schema.Boolean,
  sourceHash: Schema.String,
  generator: Schema.Int,
  appliedAt: Schema.String,
  appliedBy: Schema.String,
  removedAt: Schema.NullOr(Schema.String),
  formerNames: Schema.Array(FormerName),
  formerColumns: Schema.Array(FormerColumn)
}).annotations({ identifier: "threadline.Capture.Policy" })

/**
 * @since 0.1.0
 * @category models
 */
export type Policy = typeof Policy.Type

/**
 * The SQL that captures one table, to be run in one transaction; `name` suits a file.
 *
 * @since 0.1.0
 * @category models
 */
export const PrintedFile = Schema.Struct({
  table: Schema.String,
  name: Schema.String,
  sql: Schema.String
}).annotations({ identifier: "threadline.Capture.PrintedFile" })

/**
 * @since 0.1.0
 * @category models
 */
export type PrintedFile = typeof PrintedFile.Type
