/** Evidence as data: six subjects, each with a versioned schema of its detail. */
import * as Schema from "effect/Schema"
import * as Actor from "../../Actor.js"
import { InstantText } from "../core/instant.js"
import { choice, Id } from "../core/request.js"
import { JsonObject } from "../core/jsonValue.js"

/** The subjects. The list is closed. */
export const subjects = [
  "redaction_policy",
  "trigger_coverage",
  "retention_run",
  "retention_policy",
  "export_delivery",
  "support_scope_posture"
] as const

/**
 * What evidence can be about.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Subject = Schema.Literal(...subjects)

/**
 * @since 0.1.0
 * @category models
 */
export type Subject = typeof Subject.Type

/**
 * - `ok`: as it should be
 * - `attention`: somebody should look at it
 * - `failed`: not as it should be
 *
 * @since 0.1.0
 * @category schemas
 */
export const Status = Schema.Literal("ok", "attention", "failed")

/**
 * @since 0.1.0
 * @category models
 */
export type Status = typeof Status.Type

/**
 * - `derived`: Threadline determined it itself
 * - `host`: the host stated it
 *
 * @since 0.1.0
 * @category schemas
 */
export const Origin = Schema.Literal("derived", "host")

/**
 * @since 0.1.0
 * @category models
 */
export type Origin = typeof Origin.Type

const ruled = (rule: string) => ({ message: () => rule })

const Text = Schema.String.annotations(ruled("must be a string")).pipe(
  Schema.nonEmptyString(ruled("must not be empty"))
)
const Texts = Schema.Array(Text).annotations(ruled("must be a list of strings"))
const Count = Schema.Number.annotations(ruled("must be a number")).pipe(
  Schema.filter((value) => Number.isSafeInteger(value) && value >= 0, ruled("must be a whole number, at least 0"))
)
const Flag = Schema.Boolean.annotations(ruled("must be true or false"))
const At = InstantText.annotations(ruled("must be an instant in UTC with microseconds"))
const note = Schema.optional(Text)

/** Version 1 of the details. A later version is a further schema; what was recorded under an earlier one stays as it is. */
export const details = {
  redaction_policy: Schema.Struct({
    /** Columns of each table, and paths such as `settings.token`, that are not recorded, or recorded under a mask. */
    tables: Schema.Array(Schema.Struct({ table: Text, excluded: Texts, masked: Texts })),
    note
  }),
  trigger_coverage: Schema.Struct({
    tables: Schema.Array(
      Schema.Struct({
        table: Text,
        status: choice("covered", "uncovered", "gap"),
        since: Schema.optional(Schema.NullOr(At)),
        keptSince: Schema.optional(Schema.NullOr(At)),
        lapses: Schema.optional(Schema.Array(Schema.Struct({ since: Schema.NullOr(At), until: Schema.NullOr(At) }))),
        reason: Schema.optional(Schema.NullOr(Text))
      })
    ),
    note
  }),
  retention_run: Schema.Struct({
    run: Id,
    kind: choice("purge", "maintain"),
    state: choice("running", "completed", "stopped", "cancelled", "failed"),
    startedAt: At,
    finishedAt: Schema.NullOr(At),
    cutoff: Schema.NullOr(At),
    changes: Count,
    transactions: Count,
    actions: Count,
    problem: Schema.optional(Schema.NullOr(Text)),
    note
  }),
  retention_policy: Schema.Struct({
    configured: Flag,
    /** As it is configured. */
    policy: Schema.NullOr(JsonObject),
    note
  }),
  export_delivery: Schema.Struct({
    format: Text,
    count: Count,
    bytes: Count,
    sha256: Text,
    filter: Schema.optional(JsonObject),
    scope: Schema.optional(Schema.NullOr(Text)),
    /** Who got it, and where it went. */
    recipient: Schema.optional(Text),
    destination: Schema.optional(Text),
    /** The action that the export was recorded as. */
    action: Schema.optional(Id),
    note
  }),
  support_scope_posture: Schema.Struct({
    /** Roles of the database that can read the record, that can add to it, and that can change it. */
    readers: Texts,
    writers: Texts,
    changers: Texts,
    /** Whether row-level security is on for a table of the record. */
    rowSecurity: Schema.optional(Flag),
    /** Surfaces of the host, and whether each has a scope. */
    surfaces: Schema.optional(Schema.Array(Schema.Struct({ name: Text, scoped: Flag }))),
    note
  })
} as const

/** The version of the schemas above. */
export const detailVersion = 1

/**
 * The detail of each subject.
 *
 * @since 0.1.0
 * @category models
 */
export type Details = { readonly [S in Subject]: Schema.Schema.Type<(typeof details)[S]> }

/**
 * One record of evidence. Who recorded it and when is what the server saw.
 *
 * @since 0.1.0
 * @category schemas
 */
export const EvidenceRecord = Schema.Struct({
  /** Decimal digits. */
  id: Id,
  subject: Subject,
  /** What it is about, such as the name of an environment or the id of a run. */
  reference: Schema.String,
  status: Status,
  detail: JsonObject,
  detailVersion: Schema.Int,
  origin: Origin,
  /** Who recorded it, as the host says. */
  actor: Schema.NullOr(Actor.Actor),
  recordedAt: InstantText,
  /** The role of the session, and the role that it acted as, as the server says. */
  dbUser: Schema.String,
  role: Schema.String,
  applicationName: Schema.NullOr(Schema.String),
  clientAddr: Schema.NullOr(Schema.String)
}).annotations({ identifier: "threadline.Evidence.Record" })

/**
 * @since 0.1.0
 * @category models
 */
export interface EvidenceRecord extends Schema.Schema.Type<typeof EvidenceRecord> {}

/**
 * How a subject stands. The verdict is that of the latest derived record; without one it is `unproven`, whatever the host said.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Standing = Schema.Struct({
  subject: Subject,
  verdict: Schema.Literal("ok", "attention", "failed", "unproven"),
  records: Schema.NonNegativeInt,
  latestDerived: Schema.NullOr(EvidenceRecord),
  latestByHost: Schema.NullOr(EvidenceRecord)
}).annotations({ identifier: "threadline.Evidence.Standing" })

/**
 * @since 0.1.0
 * @category models
 */
export interface Standing extends Schema.Schema.Type<typeof Standing> {}
