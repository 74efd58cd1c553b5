/**
 * Jobs of exports as data.
 */
import * as Schema from "effect/Schema"
import * as Actor from "../../../Actor.js"
import { InstantText } from "../../core/instant.js"
import { JsonObject } from "../../core/jsonValue.js"
import { Id, ShortText } from "../../core/request.js"
import { compressions, formats, shapes } from "../formats.js"
import { Manifest } from "../manifest.js"

/**
 * - `queued`: it waits for a worker, or for its next attempt
 * - `running`: a worker writes it
 * - `completed`: its file is complete and can be downloaded
 * - `failed`: no attempt is left, or another attempt would not help
 * - `cancelled`: somebody cancelled it
 * - `expired`: it was completed, and its file has been removed
 *
 * @since 0.1.0
 * @category schemas
 */
export const State = Schema.Literal("queued", "running", "completed", "failed", "cancelled", "expired")

/**
 * @since 0.1.0
 * @category models
 */
export type State = typeof State.Type

/**
 * A scope by its name and its parameters. The host makes the condition from them: when the job is queued, and again when it runs.
 *
 * @since 0.1.0
 * @category schemas
 */
export const NamedScope = Schema.Struct({
  name: ShortText,
  parameters: Schema.optionalWith(JsonObject, { default: () => ({}) })
}).annotations({ identifier: "threadline.NamedScope" })

/**
 * @since 0.1.0
 * @category models
 */
export interface NamedScope extends Schema.Schema.Encoded<typeof NamedScope> {}

/** What is exported, as it is stored. */
export const StoredRequest = Schema.Struct({
  format: Schema.Literal(...formats),
  /** The filter as its one document. */
  filter: JsonObject,
  order: Schema.Literal("newest", "oldest"),
  limit: Schema.NullOr(Schema.Number),
  columns: Schema.NullOr(Schema.Array(Schema.String)),
  raw: Schema.Boolean,
  shape: Schema.NullOr(Schema.Literal(...shapes)),
  compression: Schema.NullOr(Schema.Literal(...compressions))
})

export interface StoredRequest extends Schema.Schema.Type<typeof StoredRequest> {}

/** Why an attempt failed, without captured values. */
export const JobError = Schema.Struct({
  /**
   * The reason of an `ExportError` or a `ThreadlineError`, or `InvalidRequest` or `NotFound`. Or one of jobs alone. `Abandoned`: its worker
   * died. `CheckpointMoved`: another job of the schedule ended meanwhile. `CheckpointRefused`: the schedule goes on from a place that this
   * database never had.
   */
  reason: Schema.String,
  /** A sentence for people. */
  detail: Schema.String
})

export interface JobError extends Schema.Schema.Type<typeof JobError> {}

const MaybeInstant = Schema.NullOr(InstantText)

/**
 * A job of an export. Its JSON has the same fields.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Job = Schema.Struct({
  /** Decimal digits. */
  id: Id,
  state: State,
  request: StoredRequest,
  /** Null if it reads everything. */
  scope: Schema.NullOr(Schema.typeSchema(NamedScope)),
  requestedBy: Schema.NullOr(Actor.Actor),
  /** The schedule that made the job, and the tick that the job is for. */
  schedule: Schema.NullOr(Schema.String),
  tick: MaybeInstant,
  requestedAt: InstantText,
  /** The earliest time to run it. After a failed attempt this is later than `requestedAt`. */
  availableAt: InstantText,
  startedAt: MaybeInstant,
  finishedAt: MaybeInstant,
  /** When its file is removed. */
  expiresAt: MaybeInstant,
  /** How many attempts have begun, and how many are allowed. */
  attempt: Schema.NonNegativeInt,
  attempts: Schema.Int,
  /** In this attempt: the records and bytes written so far, and how many records the planner of the database expects. */
  records: Schema.NonNegativeInt,
  bytes: Schema.NonNegativeInt,
  estimate: Schema.NullOr(Schema.NonNegativeInt),
  /** Records per second in this attempt. Null before the first records. */
  rate: Schema.NullOr(Schema.NonNegativeInt),
  error: Schema.NullOr(JobError),
  /** The name of the file in the store. Null if there is no file. */
  file: Schema.NullOr(Schema.String),
  /** Set once the job is completed. It stays when the file is removed. */
  manifest: Schema.NullOr(Manifest)
}).annotations({ identifier: "threadline.ExportJob" })

/**
 * @since 0.1.0
 * @category models
 */
export interface Job extends Schema.Schema.Type<typeof Job> {}
