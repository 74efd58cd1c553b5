/**
 * What a feed gives, as data: batches, the state of a consumer in the database, and the result of a run.
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { InstantText } from "../core/instant.js"
import { formed, formedSchema } from "../core/jsonForm.js"
import { Change } from "../record/change.js"
import { Checkpoint } from "./checkpoint.js"

const BatchJson = Schema.Struct({
  items: Schema.Array(Change),
  checkpoint: Checkpoint,
  caughtUp: Schema.Boolean
}).annotations({ identifier: "threadline.Feed.Batch" })

const BatchFields = Schema.transform(
  BatchJson,
  Schema.Struct({
    /** In the order of the feed. */
    changes: Schema.Array(Schema.typeSchema(Change)),
    /** Where the next batch begins. */
    checkpoint: Schema.typeSchema(Checkpoint),
    /** Whether there was nothing further when the batch was read. */
    caughtUp: Schema.Boolean
  }),
  {
    strict: true,
    decode: ({ items, ...rest }) => ({ changes: items, ...rest }),
    encode: ({ changes, ...rest }) => ({ items: changes, ...rest })
  }
)

/**
 * @since 0.1.0
 * @category models
 */
export interface Batch extends Schema.Schema.Type<typeof BatchFields> {}

/** A batch whose JSON is that of its schema. */
export const makeBatch: (batch: Batch) => Batch = formed(({ caughtUp, changes, checkpoint }: Batch) => ({
  items: changes,
  checkpoint,
  caughtUp
}))

/**
 * Some changes in order, and where to continue. A batch may hold fewer changes than its limit, or none, while there are more:
 * only `caughtUp` says that there was nothing further when it was read.
 *
 * Its JSON is what `threadline feed --json` prints: `{ items, checkpoint, caughtUp }`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Batch: Schema.Schema<Batch, typeof BatchJson.Encoded> = formedSchema(BatchFields, makeBatch)

const ConsumerJson = Schema.Struct({
  name: Schema.String,
  checkpoint: Schema.NullOr(Checkpoint),
  updatedAt: InstantText,
  lagMillis: Schema.NullOr(Schema.NonNegativeInt),
  leasedUntil: Schema.NullOr(InstantText)
}).annotations({ identifier: "threadline.Feed.Consumer" })

/** Finite, so that it is a number of milliseconds. */
const Lag = Schema.DurationFromSelf.pipe(
  Schema.filter(Duration.isFinite, { arbitrary: () => (fc) => fc.nat().map(Duration.millis) })
)

const ConsumerFields = Schema.Struct({
  name: Schema.String,
  /** None before its first batch. */
  checkpoint: Schema.OptionFromSelf(Schema.typeSchema(Checkpoint)),
  /** When the checkpoint was last stored, in UTC with microseconds. */
  updatedAt: InstantText,
  /** The age of the oldest change that it has not handled yet. None if it has handled everything. */
  lag: Schema.OptionFromSelf(Lag),
  /** Until when a runner holds the name. None if the name is free. */
  leasedUntil: Schema.OptionFromSelf(InstantText)
})

/**
 * @since 0.1.0
 * @category models
 */
export interface Consumer extends Schema.Schema.Type<typeof ConsumerFields> {}

const consumerForm = ({ checkpoint, lag, leasedUntil, name, updatedAt }: Consumer): typeof ConsumerJson.Type => ({
  name,
  checkpoint: Option.getOrNull(checkpoint),
  updatedAt,
  lagMillis: Option.getOrNull(Option.map(lag, (behind) => Math.round(Duration.toMillis(behind)))),
  leasedUntil: Option.getOrNull(leasedUntil)
})

const Stored = Schema.transform(ConsumerJson, ConsumerFields, {
  strict: true,
  decode: ({ checkpoint, lagMillis, leasedUntil, name, updatedAt }) => ({
    name,
    checkpoint: Option.fromNullable(checkpoint),
    updatedAt,
    lag: Option.map(Option.fromNullable(lagMillis), Duration.millis),
    leasedUntil: Option.fromNullable(leasedUntil)
  }),
  encode: consumerForm
})

/** A consumer whose JSON is that of its schema. */
export const makeConsumer: (consumer: Consumer) => Consumer = formed(consumerForm)

/**
 * A consumer as it stands in the database. Its JSON is `{ name, checkpoint, updatedAt, lagMillis, leasedUntil }`. The lag is in
 * whole milliseconds. A missing value is null.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Consumer: Schema.Schema<Consumer, typeof ConsumerJson.Encoded> = formedSchema(Stored, makeConsumer)

/**
 * What a run of a consumer did.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Consumed = Schema.Struct({
  /** `Busy`: another runner held the name, or took it over. */
  outcome: Schema.Literal("CaughtUp", "Busy"),
  /** Batches that this run handled. */
  batches: Schema.NonNegativeInt,
  /** Changes that this run handled. */
  changes: Schema.NonNegativeInt
}).annotations({ identifier: "threadline.Feed.Consumed" })

/**
 * @since 0.1.0
 * @category models
 */
export interface Consumed extends Schema.Schema.Type<typeof Consumed> {}
