/**
 * Jobs of exports as data.
 */
import * as Schema from "effect/Schema"
import * as Actor from "../../../Actor.js"
import { InstantText } from "../../core/instant.js"
import { JsonObject } from "../../core/jsonValue.js"
import { Id, ShortText } from "../../core/request.js"
import { Manifest } from "../manifest.js"

/**
 * - `queued`: it waits for a worker, or for its next attempt
 * - `running`: a worker writes it
 * - `completed`: its file is whole, and can be downloaded
 * - `failed`: it has no attempt left, or none would help
 * - `cancelled`: somebody cancelled it
 * - `expired`: it was completed, and its file is removed
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
 * A scope by its name and its parameters. The host makes the condition of it, when the job is queued and again when it is run.
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
  format: Schema.Literal("csv", "ndjson", "json", "parquet"),
  /** The filter as its one document. */
  filter: JsonObject,
  order: Schema.Literal("newest", "oldest"),
  limit: Schema.NullOr(Schema.Number),
  columns: Schema.NullOr(Schema.Array(Schema.String)),
  raw: Schema.Boolean,
  shape: Schema.NullOr(Schema.Literal("ocsf", "cloudevents", "debezium")),
  compression: Schema.NullOr(Schema.Literal("gzip", "zstd"))
})

export interface StoredRequest extends Schema.Schema.Type<typeof StoredRequest> {}

/** Why an attempt failed, without captured values. */
export const JobError = Schema.Struct({
  /** The reason of an `ExportError` or a `ThreadlineError`, `InvalidRequest`, `NotFound`, or `Abandoned`: its worker ended without a word. */
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
  /** The schedule that made it, and the tick it was made for. */
  schedule: Schema.NullOr(Schema.String),
  tick: MaybeInstant,
  requestedAt: InstantText,
  /** When it may be run: later than `requestedAt` after a failed attempt. */
  availableAt: InstantText,
  startedAt: MaybeInstant,
  finishedAt: MaybeInstant,
  /** When its file is removed. */
  expiresAt: MaybeInstant,
  /** Attempts so far, with the one that runs; and at most. */
  attempt: Schema.NonNegativeInt,
  attempts: Schema.Int,
  /** Of this attempt: records and bytes written so far, and how many records the planner of the database expects. */
  records: Schema.NonNegativeInt,
  bytes: Schema.NonNegativeInt,
  estimate: Schema.NullOr(Schema.NonNegativeInt),
  /** Records a second, of this attempt; null before the first ones. */
  rate: Schema.NullOr(Schema.NonNegativeInt),
  error: Schema.NullOr(JobError),
  /** What the store calls the file; null if there is none. */
  file: Schema.NullOr(Schema.String),
  /** Of a completed job, also when its file is gone. */
  manifest: Schema.NullOr(Manifest)
}).annotations({ identifier: "threadline.ExportJob" })

/**
 * @since 0.1.0
 * @category models
 */
export interface Job extends Schema.Schema.Type<typeof Job> {}
