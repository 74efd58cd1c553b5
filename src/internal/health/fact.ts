/**
 * What health finds beside the findings of capture, as data. `phrase.ts` has the sentences.
 */
import * as Schema from "effect/Schema"

const Names = Schema.Array(Schema.String)

const fact = <K extends string, F extends Schema.Struct.Fields>(kind: K, fields: F) =>
  Schema.Struct({ kind: Schema.Literal(kind), ...fields })

/** What could not be looked at, and the privilege that is missing. */
export const Part = Schema.Literal(
  "capture",
  "standing",
  "partitions",
  "default partition",
  "consumers",
  "transactions",
  "masks",
  "version"
)

export type Part = typeof Part.Type

/**
 * One thing that health found about tables that are not captured, about the record, or about who writes.
 *
 * @since 0.1.0
 * @category models
 */
export const Fact = Schema.Union(
  /** It is expected, and not captured. `configured` tables are findings of capture (`NotCaptured`). */
  fact("TableUncovered", {}),
  /** It is expected, or declared as a gap, and there is no such table. */
  fact("TableUnknown", { declared: Schema.Literal("expected", "gap") }),
  /** It is declared as a gap, and captured. */
  fact("GapCovered", { reason: Schema.String }),
  /** Columns whose names look sensitive are recorded as they are. */
  fact("SensitiveInClear", { columns: Names }),
  /** Roles that own the record, or may act as its owner, write the application's data. */
  fact("OwnerIsApplication", { owner: Schema.String, roles: Names }),
  /** The last instant for which the record has a partition; changes after it go to the default one. Null if it has none. */
  fact("PartitionsMissing", { until: Schema.NullOr(Schema.String), now: Schema.Boolean }),
  /** At least so many changes are in the default partition. */
  fact("DefaultPartitionUsed", { atLeast: Schema.Int }),
  /** Indexes of the record that are not there. */
  fact("IndexMissing", { indexes: Names }),
  /** Indexes of the record that a failed command left unusable. */
  fact("IndexInvalid", { indexes: Names }),
  /** Tables of the record that a crash empties. */
  fact("RecordUnlogged", { tables: Names }),
  /** The schema is not that of this version. */
  fact("SchemaVersion", { installed: Schema.Int, known: Schema.Int }),
  /** Sessions of these roles, or in this database, begin with `session_replication_role = replica`. */
  fact("ReplicaSessions", { settings: Names }),
  /** Roles that are no superusers and may set `session_replication_role`. */
  fact("ReplicaAllowed", { roles: Names }),
  /** A subscription writes the table, and its triggers do not fire for that. */
  fact("SubscriptionUnseen", { subscriptions: Schema.Int }),
  /** A consumer of the feed still needs changes that are older than a day. */
  fact("ConsumerBehind", { consumer: Schema.String, since: Schema.NullOr(Schema.String) }),
  /** Transactions of the last day without an actor. `sampled`: only the newest were counted. */
  fact("UnattributedWrites", {
    application: Schema.NullOr(Schema.String),
    transactions: Schema.Int,
    unattributed: Schema.Int,
    sampled: Schema.Boolean
  }),
  /** Contexts of the last day of which a part was refused. */
  fact("ContextRefused", { problem: Schema.String, transactions: Schema.Int, sampled: Schema.Boolean }),
  /** A write of the table was not recorded. */
  fact("CanaryFailed", { relation: Schema.String }),
  /** Whether writes of the relation are recorded could not be tried. */
  fact("CanaryUnknown", {
    relation: Schema.String,
    why: Schema.Literal("empty", "locked", "privilege", "column", "refused", "standby")
  }),
  /** It could not be looked at. */
  fact("Unknown", { part: Part, role: Schema.String, lacks: Schema.String })
).annotations({ identifier: "threadline.Health.Fact" })

/**
 * @since 0.1.0
 * @category models
 */
export type Fact = typeof Fact.Type
