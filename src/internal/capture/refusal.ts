/**
 * Why a table cannot be captured as asked, as data. `phrase.ts` has the sentences.
 */
import * as Schema from "effect/Schema"
import { WatchState } from "../sql/watch.js"

const Names = Schema.Array(Schema.String)
const MaybeName = Schema.NullOr(Schema.String)

/**
 * Why statement triggers cannot capture a table. `relation` is the foreign partition. `foreign server`: a foreign table may become
 * a partition at any time, because no unique index keeps it out.
 *
 * @since 0.1.0
 * @category models
 */
export const RowModeReason = Schema.Struct({
  cause: Schema.Literal("foreign table", "foreign partition", "foreign server", "inherits", "inherited", "always"),
  relation: MaybeName
})

/**
 * @since 0.1.0
 * @category models
 */
export type RowModeReason = typeof RowModeReason.Type

/**
 * Why columns are no key: those that may be null, or the index over them that does not identify rows (null if there is none).
 *
 * @since 0.1.0
 * @category models
 */
export const KeyProblem = Schema.Struct({ key: Names, nullable: Names, index: MaybeName })

/**
 * @since 0.1.0
 * @category models
 */
export type KeyProblem = typeof KeyProblem.Type

/**
 * What is wrong with a declared former name: it is the present name, it is declared twice, tables declare each other in a circle,
 * or the record has never seen it.
 *
 * @since 0.1.0
 * @category models
 */
export const FormerNameProblem = Schema.Literal("present name", "twice", "circle", "never seen")

/**
 * @since 0.1.0
 * @category models
 */
export type FormerNameProblem = typeof FormerNameProblem.Type

/** What a role lacks. */
const Lacking = Schema.Literal(
  "membership",
  "inheritance",
  "record",
  "trigger",
  "ownership",
  "read",
  "rows",
  "lock",
  "unknown"
)

/**
 * Why a table cannot be captured as asked, with the fields that its sentence needs.
 *
 * @since 0.1.0
 * @category errors
 */
export const Refusal = Schema.Union(
  Schema.Struct({ reason: Schema.Literal("UnknownTable") }),
  Schema.Struct({
    reason: Schema.Literal("UnknownColumn"),
    option: Schema.Literal("exclude", "mask", "key", "columns"),
    column: Schema.String,
    /** It exists, but it is in no change. */
    virtual: Schema.Boolean
  }),
  Schema.Struct({ reason: Schema.Literal("DuplicateTable") }),
  Schema.Struct({
    reason: Schema.Literal("FormerNameUnusable"),
    name: Schema.String,
    why: FormerNameProblem,
    /** The table or column that declares it too. */
    of: MaybeName
  }),
  Schema.Struct({ reason: Schema.Literal("OwnTable") }),
  Schema.Struct({ reason: Schema.Literal("SystemTable") }),
  Schema.Struct({
    reason: Schema.Literal("NotATable"),
    relationKind: Schema.Literal(
      "view",
      "materialized view",
      "sequence",
      "composite type",
      "index",
      "TOAST table",
      "other"
    )
  }),
  Schema.Struct({ reason: Schema.Literal("TemporaryTable") }),
  Schema.Struct({ reason: Schema.Literal("PartitionNamed"), root: Schema.String }),
  Schema.Struct({ reason: Schema.Literal("KeyRedacted"), column: Schema.String }),
  Schema.Struct({ reason: Schema.Literal("KeyUnusable"), problem: KeyProblem }),
  Schema.Struct({ reason: Schema.Literal("KeyDiffers"), key: Names, primaryKey: Names }),
  Schema.Struct({ reason: Schema.Literal("ExcludedAndMasked"), column: Schema.String }),
  /** One of the two is the other, or a part of it. */
  Schema.Struct({ reason: Schema.Literal("RedactedTwice"), columns: Names }),
  /** A path is given into a column that is neither json nor jsonb. */
  Schema.Struct({
    reason: Schema.Literal("PathUnsupported"),
    column: Schema.String,
    type: Schema.String,
    path: Schema.String
  }),
  Schema.Struct({
    reason: Schema.Literal("HostCast"),
    column: Schema.String,
    types: Names,
    owner: Schema.String
  }),
  Schema.Struct({ reason: Schema.Literal("ModeUnsupported"), why: RowModeReason }),
  Schema.Struct({
    reason: Schema.Literal("TruncateUnsupported"),
    relation: Schema.String,
    why: Schema.Literal("foreign table", "row security"),
    owner: Schema.String
  }),
  Schema.Struct({
    reason: Schema.Literal("NameCollision"),
    object: Schema.Literal("trigger", "function"),
    names: Names,
    /**
     * The relation that has the trigger, and the captured table that has the function. The table is null if the function belongs
     * to none.
     */
    of: MaybeName
  }),
  Schema.Struct({ reason: Schema.Literal("LessRedaction"), columns: Names }),
  /** A drop guard is asked for, and the schema watch, which enforces it, is off or does not see everything. */
  Schema.Struct({ reason: Schema.Literal("WatchMissing"), watch: WatchState }),
  Schema.Struct({ reason: Schema.Literal("NotCaptured") }),
  Schema.Struct({
    reason: Schema.Literal("InsufficientPrivilege"),
    lacks: Lacking,
    /** The role that is connected. */
    role: MaybeName,
    relation: MaybeName,
    /** The owner of Threadline's schema. */
    owner: MaybeName,
    /** What PostgreSQL said. */
    serverMessage: MaybeName
  }),
  /** Row-level security may hide rows from the role. */
  Schema.Struct({ reason: Schema.Literal("RowsHidden"), relation: Schema.String, role: Schema.String }),
  /** A baseline is asked for while nothing is known of the table. */
  Schema.Struct({ reason: Schema.Literal("LapseOpen") }),
  /** A baseline is asked for, and rows cannot be told apart, or may change unseen. */
  Schema.Struct({
    reason: Schema.Literal("BaselineUnsupported"),
    why: Schema.Literal("no key", "foreign table"),
    relation: MaybeName
  }),
  Schema.Struct({ reason: Schema.Literal("LockNotAvailable"), serverMessage: Schema.String }),
  Schema.Struct({
    reason: Schema.Literal("InsideTransaction"),
    operation: Schema.Literal("apply", "remove", "baseline")
  })
).annotations({ identifier: "threadline.Capture.Refusal" })

/**
 * @since 0.1.0
 * @category errors
 */
export type Refusal = typeof Refusal.Type

/**
 * Why a table cannot be captured as asked; `Refusal` has what belongs to each.
 *
 * @since 0.1.0
 * @category errors
 */
export type Reason = Refusal["reason"]
