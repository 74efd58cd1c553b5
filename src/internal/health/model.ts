/**
 * What health reports: schemas of `Health`, whose encoders give the JSON of the command line and of the pages.
 */
import * as Schema from "effect/Schema"
import { Finding as CaptureFinding } from "../capture/finding.js"
import { Mend } from "../capture/mend.js"
import { Mask, Policy } from "../capture/model.js"
import { WatchState } from "../sql/watch.js"
import { Fact } from "./fact.js"

const MaybeText = Schema.NullOr(Schema.String)

const captureCodes = CaptureFinding.members.map(({ fields }) => fields.kind.literals[0])
const factCodes = Fact.members.map(({ fields }) => fields.kind.literals[0])

/**
 * The kind of a finding: one of `Capture.Finding`, or one of `Fact`.
 *
 * @since 0.1.0
 * @category models
 */
export const Code = Schema.Literal(...captureCodes, ...factCodes).annotations({ identifier: "threadline.Health.Code" })

/**
 * @since 0.1.0
 * @category models
 */
export type Code = typeof Code.Type

/**
 * @since 0.1.0
 * @category models
 */
export const Severity = Schema.Literal("error", "warning", "info")

/**
 * @since 0.1.0
 * @category models
 */
export type Severity = typeof Severity.Type

/**
 * One finding. `error`: changes or their redaction are at risk; `warning`: something is less than it could be, or could not be
 * looked at; `info`: good to know.
 *
 * - `object`: the table, partition, role, consumer or application that it is about, written as in SQL; the schema of the record if it is
 *   about the record
 * - `message`: a sentence without its object
 * - `mend`: what mends it, as data; `fix` says the same as a command, as SQL or as a sentence
 * - `details`: the finding as data
 *
 * @since 0.1.0
 * @category models
 */
export const Finding = Schema.Struct({
  code: Code,
  severity: Severity,
  object: Schema.String,
  message: Schema.String,
  mend: Schema.NullOr(Mend),
  fix: MaybeText,
  details: Schema.Union(CaptureFinding, Fact)
}).annotations({ identifier: "threadline.Health.Finding" })

/**
 * @since 0.1.0
 * @category models
 */
export type Finding = typeof Finding.Type

/**
 * How a table or a partition is covered.
 *
 * - `covered`: every trigger that should exist exists and fires
 * - `uncovered`: one is missing or does not fire, or the table is not captured
 * - `gap`: not captured, and `expectedGaps` says why
 *
 * @since 0.1.0
 * @category models
 */
export const CoverageStatus = Schema.Literal("covered", "uncovered", "gap")

/**
 * @since 0.1.0
 * @category models
 */
export type CoverageStatus = typeof CoverageStatus.Type

/**
 * The triggers of one relation: `enabled` is how they should be; `altered` ones call another function, or differ in whether
 * they have a condition.
 *
 * @since 0.1.0
 * @category models
 */
export const TriggerState = Schema.Literal("enabled", "disabled", "altered", "missing")

/**
 * @since 0.1.0
 * @category models
 */
export type TriggerState = typeof TriggerState.Type

/**
 * A table, or one of its partitions.
 *
 * @since 0.1.0
 * @category models
 */
export const RelationCoverage = Schema.Struct({
  relation: Schema.String,
  /** False for the table itself. */
  partition: Schema.Boolean,
  status: CoverageStatus,
  triggers: TriggerState
}).annotations({ identifier: "threadline.Health.RelationCoverage" })

/**
 * @since 0.1.0
 * @category models
 */
export type RelationCoverage = typeof RelationCoverage.Type

/**
 * A time of which nothing is known. `until` is null while it lasts.
 *
 * @since 0.1.0
 * @category models
 */
export const Lapse = Schema.Struct({ since: MaybeText, until: MaybeText }).annotations({
  identifier: "threadline.Health.Lapse"
})

/**
 * @since 0.1.0
 * @category models
 */
export type Lapse = typeof Lapse.Type

/**
 * How one table is covered. Instants have microseconds and are UTC.
 *
 * @since 0.1.0
 * @category models
 */
export const Coverage = Schema.Struct({
  table: Schema.String,
  status: CoverageStatus,
  /** Whether there is such a table. */
  exists: Schema.Boolean,
  expected: Schema.Boolean,
  configured: Schema.Boolean,
  /** Why it is declared as a gap. */
  reason: MaybeText,
  /** When its capture first began; null if it never did. */
  since: MaybeText,
  /** Times after that of which nothing is known, the earlier ones first. */
  lapses: Schema.Array(Lapse),
  /** Changes before it may be gone; null if all are kept. */
  keptSince: MaybeText,
  /** The table first, then its partitions. Empty if it does not exist. */
  relations: Schema.Array(RelationCoverage),
  /** What keeps the table from passing the gate; see `passes`. */
  refused: Schema.NullOr(Schema.Literal("uncovered", "gap covered", "unconfigured"))
}).annotations({ identifier: "threadline.Health.Coverage" })

/**
 * @since 0.1.0
 * @category models
 */
export type Coverage = typeof Coverage.Type

/**
 * How a column, or a path inside a json column, is recorded: `clear` as it is, `exclude` not at all, else by its mask.
 *
 * @since 0.1.0
 * @category models
 */
export const Shown = Schema.Literal("clear", "exclude", ...Mask.literals)

/**
 * @since 0.1.0
 * @category models
 */
export type Shown = typeof Shown.Type

/**
 * A column, or a path inside a json column, as configured and as deployed. Null where the table is not configured, or not captured.
 *
 * @since 0.1.0
 * @category models
 */
export const ColumnPolicy = Schema.Struct({
  /** `email`, or `settings.token`. */
  column: Schema.String,
  configured: Schema.NullOr(Shown),
  deployed: Schema.NullOr(Shown),
  /** Its name looks sensitive. */
  sensitive: Schema.Boolean,
  /** The configuration says that it is recorded as it is on purpose. */
  acknowledged: Schema.Boolean
}).annotations({ identifier: "threadline.Health.ColumnPolicy" })

/**
 * @since 0.1.0
 * @category models
 */
export type ColumnPolicy = typeof ColumnPolicy.Type

/**
 * The policy of one table, as configured and as deployed.
 *
 * - `same`: nothing differs
 * - `differs`: something does; `findings` has the differences, or the code that was altered
 * - `not captured`: it is configured only
 * - `not configured`: it is captured only
 * - `refused`: it cannot be captured as configured
 *
 * `drift` is true for `differs`, `not captured` and `refused`.
 *
 * @since 0.1.0
 * @category models
 */
export const PolicyComparison = Schema.Struct({
  table: Schema.String,
  state: Schema.Literal("same", "differs", "not captured", "not configured", "refused"),
  drift: Schema.Boolean,
  columns: Schema.Array(ColumnPolicy),
  deployed: Schema.NullOr(Policy),
  findings: Schema.Array(Finding)
}).annotations({ identifier: "threadline.Health.PolicyComparison" })

/**
 * @since 0.1.0
 * @category models
 */
export type PolicyComparison = typeof PolicyComparison.Type

/**
 * Everything that health knows, from one snapshot.
 *
 * @since 0.1.0
 * @category models
 */
export const Report = Schema.Struct({
  /** When the snapshot was taken. */
  at: Schema.String,
  /** The schema of the record. */
  schema: Schema.String,
  /** Whether the schema watch sees what is done to the schema; null if it could not be looked at. */
  watch: Schema.NullOr(WatchState),
  tables: Schema.Array(Coverage),
  /** The graver ones first. */
  findings: Schema.Array(Finding)
}).annotations({ identifier: "threadline.Health.Report" })

/**
 * @since 0.1.0
 * @category models
 */
export type Report = typeof Report.Type
