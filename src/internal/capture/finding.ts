/**
 * What can be wrong with a captured table, or worth knowing about it, as data. `phrase.ts` has the sentences.
 */
import * as Schema from "effect/Schema"
import { ColumnDifferences, Difference } from "./difference.js"
import { Mend } from "./mend.js"
import { Policy } from "./model.js"
import { WatchProblem, WatchState } from "../sql/watch.js"
import { KeyProblem, Refusal, RowModeReason } from "./refusal.js"

const Names = Schema.Array(Schema.String)

const kind = <K extends string, F extends Schema.Struct.Fields>(name: K, fields: F) =>
  Schema.Struct({
    kind: Schema.Literal(name),
    severity: Schema.Literal("error", "warning", "info"),
    table: Schema.String,
    /** The columns, triggers, functions, roles or relations it is about. */
    subjects: Names,
    mend: Schema.NullOr(Mend),
    ...fields
  })

/**
 * One finding. `error`: changes or their redaction are at risk; `warning`: something is less than it could be; `info`: good to
 * know. `describeFinding` says it in a sentence, `describeMend` what to do.
 *
 * @since 0.1.0
 * @category models
 */
export const Finding = Schema.Union(
  kind("NotCaptured", {}),
  kind("NotConfigured", {}),
  kind("ConfigurationRefused", { refusal: Refusal }),
  kind("ConfigurationDiffers", { differences: Schema.Array(Difference) }),
  kind("TableGone", {}),
  kind("TableRenamed", { now: Schema.String }),
  kind("IdentityChanged", {}),
  /** Its policy has followed it to its name, and its triggers are still those of a former one. */
  kind("NameFollowed", {}),
  /** Another table has the name, or had it for a while. */
  kind("TableReplaced", {}),
  kind("TableUnlogged", {
    /** The server was restarted since. A crash may have emptied the table. */
    restarted: Schema.Boolean
  }),
  /** Tables that are not captured have its triggers: it was cloned, or renamed. */
  kind("TriggersElsewhere", {}),
  /** Partitions left and came back, or others have their names. */
  kind("PartitionReplaced", {}),
  /** ALTER TABLE wrote the rows anew, and may have given these columns other values. Or they have the names of columns that were dropped. */
  kind("RowsRewritten", {
    /** Perhaps it did not. A lock of another session, or row-level security, keeps the rows from being read. */
    unread: Schema.Boolean
  }),
  /** A type within these columns was altered, or they have another one that needed no rewrite: equal values have other texts. */
  kind("ValuesShownOtherwise", { types: Names }),
  kind("ColumnsChanged", { columns: ColumnDifferences }),
  kind("KeyChanged", {
    /** Columns of the key, in its order. */
    key: Names,
    missing: Names,
    primaryKey: Schema.NullOr(Names),
    problem: Schema.NullOr(KeyProblem)
  }),
  /** Enums in the key have values, or composites attributes, of other names. So the texts of keys changed. Subjects are these types. */
  kind("KeyValuesRenamed", {}),
  /** Its key or its rows were altered, and altered back. */
  kind("AlteredMeanwhile", {}),
  kind("NoKey", {}),
  kind("RedactedColumnMissing", {
    missing: Names,
    renamed: Schema.Array(Schema.Struct({ from: Schema.String, to: Schema.String }))
  }),
  /**
   * Generated columns show what redacted ones hold; subjects are these columns. `shown`: images have them; virtual columns are in
   * no image.
   */
  kind("ComputedFromRedacted", { from: Names, shown: Schema.Boolean }),
  kind("SourceOutdated", {}),
  kind("FunctionMissing", {}),
  kind("FunctionAltered", {}),
  kind("TriggerMissing", { relation: Schema.String }),
  kind("TriggerDisabled", { relation: Schema.String, disabled: Names, otherwiseEnabled: Names }),
  kind("TriggerAltered", { relation: Schema.String }),
  kind("TriggerReplaceable", { relations: Names }),
  kind("PartitionAttached", {
    partition: Schema.String,
    /** PostgreSQL cloned the row triggers for it. If a statement names the partition itself, only its TRUNCATE is not seen. */
    rowsSeen: Schema.Boolean
  }),
  kind("PartitionDetached", {
    /** They no longer exist. */
    gone: Schema.Boolean
  }),
  kind("ChildNotCaptured", {}),
  /** It became a partition of a table that is not captured. Writes that name that table are not seen. */
  kind("RootNotCaptured", { root: Schema.String }),
  kind("ModeUnsuitable", { why: RowModeReason }),
  kind("HostCast", { owner: Schema.String }),
  kind("HostRowTrigger", {}),
  /** PostgreSQL before 16 has no triggers for TRUNCATE of foreign tables. */
  kind("TruncateUnseen", {}),
  kind("TruncateUnreadable", { owner: Schema.String }),
  kind("OwnerIsSuperuser", { owner: Schema.String }),
  /** The role that owns the record can log in. */
  kind("OwnerCanLogin", { owner: Schema.String }),
  /** Other roles may act as the owner of the record; subjects are these. */
  kind("OwnerHasMembers", { owner: Schema.String }),
  /** Row-level security may hide rows of the record from readers; subjects are its tables. */
  kind("RecordRowSecurity", {}),
  /** An update or a delete fails in tables of the record once a publication covers them; subjects are these. */
  kind("RecordUnidentified", {}),
  /** The schema watch is on and does not see everything; subjects are its event triggers. */
  kind("WatchBroken", { problems: Schema.Array(WatchProblem) }),
  /** The table has a drop guard, and the schema watch, which enforces it, is not on. */
  kind("GuardOff", { watch: WatchState }),
  /** The schema watch could not do its work, or saw something begin that it did not see end. */
  kind("WatchFailed", {}),
  /** Objects of the record belong to roles other than its owner; subjects are these objects. */
  kind("RecordNotOwned", { owner: Schema.String, owners: Names }),
  /** Roles other than the owner may write the record; subjects are these. `everything`: as they may write every table. */
  kind("RecordWritable", { everything: Schema.Boolean })
).annotations({ identifier: "threadline.Capture.Finding" })

/**
 * @since 0.1.0
 * @category models
 */
export type Finding = typeof Finding.Type

/**
 * The kind of a finding.
 *
 * @since 0.1.0
 * @category models
 */
export type FindingKind = Finding["kind"]

/**
 * One table. `captured` is true if every trigger that should exist exists and is enabled, on the table and on all of its
 * partitions, and if it has not become a partition of a table that is not captured.
 *
 * @since 0.1.0
 * @category models
 */
export const TableStatus = Schema.Struct({
  table: Schema.String,
  captured: Schema.Boolean,
  policy: Schema.NullOr(Policy),
  /** Whether the schema watch sees what is done to the schema: the same for all tables. */
  watch: WatchState,
  findings: Schema.Array(Finding)
}).annotations({ identifier: "threadline.Capture.TableStatus" })

/**
 * @since 0.1.0
 * @category models
 */
export type TableStatus = typeof TableStatus.Type
