/**
 * The steps of a plan, as data. `phrase.ts` has their sentences.
 */
import * as Schema from "effect/Schema"
import { Difference } from "./difference.js"
import { Mode, Truncate } from "./model.js"

const Names = Schema.Array(Schema.String)

const base = {
  table: Schema.String,
  sql: Names,
  /** Columns that become more visible than they were. */
  lessRedaction: Names
}

/**
 * Triggers of one relation that are to be made, mended, enabled or dropped.
 *
 * @since 0.1.0
 * @category models
 */
export const RelationRepair = Schema.Struct({
  relation: Schema.String,
  missing: Names,
  altered: Names,
  disabled: Names,
  /** Enabled, but not when they should fire. */
  otherwiseEnabled: Names,
  surplus: Names
})

/**
 * @since 0.1.0
 * @category models
 */
export type RelationRepair = typeof RelationRepair.Type

/** A lapse is noted: what became of the rows since the table was last known is not known. */
const Lapse = Schema.Boolean

const ForeignFunction = Schema.Struct({ name: Schema.String, owner: Schema.String })

const AttachStepSchema = Schema.Struct({
  kind: Schema.Literal("attach"),
  ...base,
  mode: Mode,
  key: Names,
  partitions: Schema.Int,
  exclude: Names,
  mask: Names,
  truncate: Truncate,
  /** Foreign tables whose TRUNCATE fires no trigger in this version of PostgreSQL. */
  truncateUnseen: Names,
  /** Unlogged tables: a crash empties them. */
  unlogged: Names,
  /** Since when a table that was captured before is no longer captured. */
  lapsedSince: Schema.NullOr(Schema.String)
})

/**
 * Functions, triggers and the policy of a table that is not captured.
 *
 * @since 0.1.0
 * @category models
 */
export interface AttachStep extends Schema.Schema.Type<typeof AttachStepSchema> {}

const RegenerateStepSchema = Schema.Struct({
  kind: Schema.Literal("regenerate"),
  ...base,
  /** None if only the installed code differs. */
  differences: Schema.Array(Difference),
  /** Triggers that call the wrong function, for example after names were exchanged, and others that are mended with them. */
  relations: Schema.Array(RelationRepair),
  lapse: Lapse
})

/**
 * Functions, triggers and the policy of a captured table whose policy, columns, key, or generated code differ.
 *
 * @since 0.1.0
 * @category models
 */
export interface RegenerateStep extends Schema.Schema.Type<typeof RegenerateStepSchema> {}

const AttachPartitionStepSchema = Schema.Struct({
  kind: Schema.Literal("attach partition"),
  ...base,
  partition: Schema.String,
  /** Its rows are written as `baseline` changes. */
  marked: Schema.Boolean,
  lapse: Lapse
})

/**
 * Triggers of a relation that joined a captured table.
 *
 * @since 0.1.0
 * @category models
 */
export interface AttachPartitionStep extends Schema.Schema.Type<typeof AttachPartitionStepSchema> {}

const DetachPartitionStepSchema = Schema.Struct({
  kind: Schema.Literal("detach partition"),
  ...base,
  partition: Schema.String,
  /** It no longer exists, or it is no longer found. */
  gone: Schema.Boolean,
  /** Its rows are written as `delete` changes. */
  marked: Schema.Boolean,
  lapse: Lapse
})

/**
 * Triggers of a relation that left a captured table.
 *
 * @since 0.1.0
 * @category models
 */
export interface DetachPartitionStep extends Schema.Schema.Type<typeof DetachPartitionStepSchema> {}

const RepairStepSchema = Schema.Struct({
  kind: Schema.Literal("repair"),
  ...base,
  relations: Schema.Array(RelationRepair),
  missingFunctions: Names,
  alteredFunctions: Names,
  /** Functions that belong to a role other than the owner of the record. */
  foreignFunctions: Schema.Array(ForeignFunction),
  /** The role that is let read the rows that TRUNCATE removes. */
  granted: Schema.NullOr(Schema.String),
  lapse: Lapse
})

/**
 * Triggers or functions that are missing, disabled, or altered.
 *
 * @since 0.1.0
 * @category models
 */
export interface RepairStep extends Schema.Schema.Type<typeof RepairStepSchema> {}

const RefreshStepSchema = Schema.Struct({
  kind: Schema.Literal("refresh"),
  ...base,
  /** None if the step only records which table has the name. After a restore, or after names were exchanged, that is another table. */
  differences: Schema.Array(Difference),
  lapse: Lapse
})

/**
 * Bookkeeping only, as after a restore.
 *
 * @since 0.1.0
 * @category models
 */
export interface RefreshStep extends Schema.Schema.Type<typeof RefreshStepSchema> {}

const FollowStepSchema = Schema.Struct({
  kind: Schema.Literal("follow"),
  ...base,
  /**
   * The name that the policy has. It is the table's present name if the table had another one for a while, and the name of the other
   * table if that is gone.
   */
  formerly: Schema.String
})

/**
 * The policy of a table goes to the name that the table has now, and its history with it.
 *
 * @since 0.1.0
 * @category models
 */
export interface FollowStep extends Schema.Schema.Type<typeof FollowStepSchema> {}

const DetachStepSchema = Schema.Struct({
  kind: Schema.Literal("detach"),
  ...base,
  reason: Schema.Literal("requested", "not configured", "superseded"),
  /** The name under which the table is captured now. */
  capturedAs: Schema.NullOr(Schema.String)
})

/**
 * Everything of a table that is no longer to be captured; its history stays.
 *
 * @since 0.1.0
 * @category models
 */
export interface DetachStep extends Schema.Schema.Type<typeof DetachStepSchema> {}

/**
 * One step of a plan. `describeStep` says in a sentence what it does, `sql` are the statements that do it. `lessRedaction`
 * names the columns that become more visible than they were; `apply` takes such a step only with `allowLessRedaction`.
 *
 * - `attach`: functions, triggers and the policy of a table that is not captured.
 * - `regenerate`: the same for a captured table whose policy, columns, key, or generated code differ.
 * - `attach partition`, `detach partition`: triggers of one relation that joined or left a captured table.
 * - `repair`: triggers or functions that are missing, disabled, or altered.
 * - `refresh`: bookkeeping only, as after a restore.
 * - `follow`: the policy of a table that was renamed, and its history with it, goes to the name that the table has now. Or a table
 *   takes over what one that is gone recorded under its name.
 * - `detach`: everything of a table that is no longer to be captured; its history stays.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Step: Schema.Schema<Step> = Schema.Union(
  AttachStepSchema,
  RegenerateStepSchema,
  AttachPartitionStepSchema,
  DetachPartitionStepSchema,
  RepairStepSchema,
  RefreshStepSchema,
  FollowStepSchema,
  DetachStepSchema
).annotations({ identifier: "threadline.Capture.Step" })

/**
 * @since 0.1.0
 * @category models
 */
export type Step =
  | AttachStep
  | RegenerateStep
  | AttachPartitionStep
  | DetachPartitionStep
  | RepairStep
  | RefreshStep
  | FollowStep
  | DetachStep

/**
 * What a step does; `Step` says what each of them is.
 *
 * @since 0.1.0
 * @category models
 */
export type StepKind = Step["kind"]
