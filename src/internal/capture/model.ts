/**
 * The schemas and errors of `Capture`, apart from it because the parts it is made of need them too.
 */
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("threadline/CaptureError")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

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
 * How one table is to be captured. Columns are given by their exact names.
 *
 * - `table`: as in SQL, `posts` (which is `public.posts`), `billing.invoices`, `"Odd.Schema"."T"`.
 * - `exclude`: columns left out of every image; a change of nothing else is not recorded.
 * - `mask`: columns whose values are replaced by a placeholder.
 * - `key`: the columns that identify a row where the table has no primary key; a unique index over exactly these not-null
 *   columns must back them. A table that has a primary key is identified by it; `key` can only repeat it.
 * - `mode`: `statement` where the table allows it, `row` otherwise, unless given.
 * - `always`: capture under `session_replication_role = replica` and logical replication too; uses row mode.
 * - `truncate`: `event` unless given.
 * - `acknowledgeCasts`: accept columns whose type has a cast to json defined in this database. Such a cast runs with the
 *   privileges of the role that owns Threadline's schema.
 *
 * @since 0.1.0
 * @category models
 */
export const TableConfig = Schema.Struct({
  table: Schema.NonEmptyString,
  exclude: Schema.optional(Schema.Array(Schema.NonEmptyString)),
  mask: Schema.optional(Schema.Array(Schema.NonEmptyString)),
  key: Schema.optional(Schema.NonEmptyArray(Schema.NonEmptyString)),
  mode: Schema.optional(Mode),
  always: Schema.optional(Schema.Boolean),
  truncate: Schema.optional(Truncate),
  acknowledgeCasts: Schema.optional(Schema.Boolean)
}).annotations({ identifier: "Capture.TableConfig" })

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
  text: Schema.Literal("text", "numeric", "interval", "citext", "bpchar")
})

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
  comparison: Schema.Literal("text", "jsonb", "json"),
  pins: Schema.Array(
    Schema.Literal(
      "timezone",
      "datestyle",
      "intervalstyle",
      "bytea_output",
      "extra_float_digits",
      "lc_monetary",
      "quote_all_identifiers"
    )
  ),
  virtual: Schema.Boolean
})

/**
 * What is deployed for one table, as `capture_policies` holds it. `removedAt` is null while the table is captured;
 * `partitions` are qualified names, quoted where SQL needs it.
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
  columns: Schema.Array(PolicyColumn),
  partitions: Schema.Array(Schema.String),
  acknowledgeCasts: Schema.Boolean,
  sourceHash: Schema.String,
  generator: Schema.Int,
  appliedAt: Schema.String,
  appliedBy: Schema.String,
  removedAt: Schema.NullOr(Schema.String)
}).annotations({ identifier: "Capture.Policy" })

/**
 * @since 0.1.0
 * @category models
 */
export type Policy = typeof Policy.Type

/**
 * What a step does.
 *
 * - `attach`: functions, triggers and the policy of a table that is not captured.
 * - `regenerate`: the same for a captured table whose policy, columns, key, or generated code differ.
 * - `attach partition`, `detach partition`: triggers of one relation that joined or left a captured table.
 * - `repair`: triggers or functions that are missing, disabled, or altered.
 * - `refresh`: bookkeeping only, as after a restore.
 * - `detach`: everything of a table that is no longer to be captured; its history stays.
 *
 * @since 0.1.0
 * @category models
 */
export const StepKind = Schema.Literal(
  "attach",
  "regenerate",
  "attach partition",
  "detach partition",
  "repair",
  "refresh",
  "detach"
)

/**
 * @since 0.1.0
 * @category models
 */
export type StepKind = typeof StepKind.Type

/**
 * One step of a plan: what it does, in a sentence and as the statements that do it. `lessRedaction` names the columns
 * that become more visible than they were; `apply` takes such a step only with `allowLessRedaction`.
 *
 * @since 0.1.0
 * @category models
 */
export const Step = Schema.Struct({
  kind: StepKind,
  table: Schema.String,
  summary: Schema.String,
  sql: Schema.Array(Schema.String),
  lessRedaction: Schema.Array(Schema.String)
}).annotations({ identifier: "Capture.Step" })

/**
 * @since 0.1.0
 * @category models
 */
export type Step = typeof Step.Type

/**
 * What can be wrong with, or worth knowing about, a captured table.
 *
 * @since 0.1.0
 * @category models
 */
export const FindingKind = Schema.Literal(
  "NotCaptured",
  "NotConfigured",
  "ConfigurationRefused",
  "ConfigurationDiffers",
  "TableGone",
  "TableRenamed",
  "IdentityChanged",
  "ColumnsChanged",
  "KeyChanged",
  "NoKey",
  "RedactedColumnMissing",
  "SourceOutdated",
  "FunctionMissing",
  "FunctionAltered",
  "TriggerMissing",
  "TriggerDisabled",
  "TriggerAltered",
  "TriggerReplaceable",
  "PartitionAttached",
  "PartitionDetached",
  "ChildNotCaptured",
  "ModeUnsuitable",
  "HostCast",
  "HostRowTrigger",
  "TruncateUnreadable",
  "OwnerIsSuperuser"
)

/**
 * @since 0.1.0
 * @category models
 */
export type FindingKind = typeof FindingKind.Type

/**
 * One finding. `error`: changes or their redaction are at risk; `warning`: something is less than it could be; `info`: good to
 * know. `subjects` are the columns, triggers, functions or relations it is about; `fix` is a command or a sentence.
 *
 * @since 0.1.0
 * @category models
 */
export const Finding = Schema.Struct({
  kind: FindingKind,
  severity: Schema.Literal("error", "warning", "info"),
  table: Schema.String,
  detail: Schema.String,
  subjects: Schema.Array(Schema.String),
  fix: Schema.NullOr(Schema.String)
}).annotations({ identifier: "Capture.Finding" })

/**
 * @since 0.1.0
 * @category models
 */
export type Finding = typeof Finding.Type

/**
 * One table: `captured` when every trigger that should be there is there and enabled, on the table and all its partitions.
 *
 * @since 0.1.0
 * @category models
 */
export const TableStatus = Schema.Struct({
  table: Schema.String,
  captured: Schema.Boolean,
  policy: Schema.NullOr(Policy),
  findings: Schema.Array(Finding)
}).annotations({ identifier: "Capture.TableStatus" })

/**
 * @since 0.1.0
 * @category models
 */
export type TableStatus = typeof TableStatus.Type

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
}).annotations({ identifier: "Capture.PrintedFile" })

/**
 * @since 0.1.0
 * @category models
 */
export type PrintedFile = typeof PrintedFile.Type

/**
 * Why a table cannot be captured as asked.
 *
 * @since 0.1.0
 * @category errors
 */
export const Reason = Schema.Literal(
  "UnknownTable",
  "UnknownColumn",
  "DuplicateTable",
  "OwnTable",
  "SystemTable",
  "NotATable",
  "TemporaryTable",
  "PartitionNamed",
  "KeyRedacted",
  "KeyUnusable",
  "KeyDiffers",
  "ExcludedAndMasked",
  "HostCast",
  "ModeUnsupported",
  "TruncateUnsupported",
  "NameCollision",
  "LessRedaction",
  "NotCaptured",
  "InsufficientPrivilege",
  "LockNotAvailable",
  "InsideTransaction"
)

/**
 * @since 0.1.0
 * @category errors
 */
export type Reason = typeof Reason.Type

/**
 * A table cannot be captured, or no longer captured, as asked. `detail` says what is wrong, `hint` what to do.
 *
 * @since 0.1.0
 * @category errors
 */
export class CaptureError extends Schema.TaggedError<CaptureError>("threadline/CaptureError")("CaptureError", {
  reason: Reason,
  table: Schema.String,
  detail: Schema.String,
  hint: Schema.String,
  sqlState: Schema.optional(Schema.String)
}) {
  /** @since 0.1.0 */
  readonly [TypeId]: TypeId = TypeId
  /** @since 0.1.0 */
  static is(u: unknown): u is CaptureError {
    return Predicate.isTagged(u, "CaptureError") && Predicate.hasProperty(u, TypeId)
  }
  override get message(): string {
    return `${this.table}: ${this.detail}; ${this.hint}`
  }
}
