/**
 * Plans and runs of retention as data. Their JSON is their fields.
 */
import * as Schema from "effect/Schema"
import * as Actor from "../../Actor.js"
import { InstantText } from "../core/instant.js"
import { Id } from "../core/request.js"
import { JsonObject } from "../core/jsonValue.js"

const Count = Schema.NonNegativeInt

/**
 * How changes go:
 *
 * - `drop`: with their whole partition, which is emptied and dropped. That takes the same time however many they are.
 * - `empty`: with their whole partition, which stays as an empty one: another table is kept for longer, and what is known of it would end with
 *   the partition.
 * - `batches`: in batches, because something else in their partition must stay
 *
 * @since 0.1.0
 * @category schemas
 */
export const How = Schema.Literal("drop", "empty", "batches")

/**
 * @since 0.1.0
 * @category models
 */
export type How = typeof How.Type

/**
 * Changes of one table and one month that would go.
 *
 * @since 0.1.0
 * @category schemas
 */
export const PlanItem = Schema.Struct({
  /** The name that the changes are recorded under, as SQL writes it. */
  table: Schema.String,
  /** In UTC: `2026-01`. */
  month: Schema.String,
  changes: Count,
  how: How
}).annotations({ identifier: "threadline.Retention.PlanItem" })

/**
 * @since 0.1.0
 * @category models
 */
export interface PlanItem extends Schema.Schema.Type<typeof PlanItem> {}

/**
 * A partition of which something would go.
 *
 * @since 0.1.0
 * @category schemas
 */
export const PlanPartition = Schema.Struct({
  name: Schema.String,
  /** Its bounds; null for the default partition. */
  from: Schema.NullOr(InstantText),
  until: Schema.NullOr(InstantText),
  how: How,
  changes: Count
}).annotations({ identifier: "threadline.Retention.PlanPartition" })

/**
 * @since 0.1.0
 * @category models
 */
export interface PlanPartition extends Schema.Schema.Type<typeof PlanPartition> {}

/**
 * What would go, exactly. `purge` takes it and removes this and nothing else: what is committed after the plan was made stays.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Plan = Schema.Struct({
  items: Schema.Array(PlanItem),
  /** Transactions that would have no change and no kept action left. */
  transactions: Count,
  actions: Count,
  /** Nothing that was captured at or after this instant goes; null if no change goes. */
  cutoff: Schema.NullOr(InstantText),
  /** Changes that would go, all items together. */
  changes: Count,
  partitions: Schema.Array(PlanPartition),
  /** Changes whose time is up and that stay because of a hold. */
  held: Count,
  /** Changes whose time is up and that stay because a consumer of the feed has not had them. */
  awaited: Count,
  /** The policy in its one form. */
  policy: JsonObject,
  /** When the plan was made, by the clock of the server. */
  at: InstantText,
  before: Schema.NullOr(InstantText),
  ignoreFeed: Schema.Boolean,
  /** What the plan saw: the snapshot and epoch of the database, and the last run before it. */
  snapshot: Schema.String.pipe(Schema.pattern(/^\d+:\d+:[\d,]*$/)),
  epoch: Count,
  /** The smallest id that a consumer of the feed waited for. */
  horizon: Schema.NullOr(Id),
  lastRun: Schema.NullOr(Id)
}).annotations({ identifier: "threadline.Retention.Plan" })

/**
 * @since 0.1.0
 * @category models
 */
export interface Plan extends Schema.Schema.Type<typeof Plan> {}

/**
 * - `running`: under way, or its process died and no other run has begun since
 * - `completed`: everything that was planned is done
 * - `stopped`: it did the batches that it was allowed to; the next run goes on
 * - `cancelled`: it was interrupted; the next run goes on
 * - `failed`: it failed, or its process died; the next run goes on
 *
 * @since 0.1.0
 * @category schemas
 */
export const State = Schema.Literal("running", "completed", "stopped", "cancelled", "failed")

/**
 * @since 0.1.0
 * @category models
 */
export type State = typeof State.Type

/**
 * A run as it is recorded. Counts are exact, also of a run that died: each batch counts in its own transaction.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Run = Schema.Struct({
  /** Decimal digits. */
  id: Id,
  kind: Schema.Literal("purge", "maintain"),
  state: State,
  startedAt: InstantText,
  finishedAt: Schema.NullOr(InstantText),
  /** Null while it runs. */
  durationMillis: Schema.NullOr(Schema.Number),
  policy: Schema.NullOr(JsonObject),
  cutoff: Schema.NullOr(InstantText),
  /** What its plan said: `{ changes, transactions, actions }`. */
  planned: Schema.NullOr(JsonObject),
  changes: Count,
  transactions: Count,
  actions: Count,
  batches: Count,
  /** Whole partitions that it emptied or dropped, or made. */
  partitions: Schema.Array(Schema.String),
  details: JsonObject,
  /** Why it stopped or failed. */
  problem: Schema.NullOr(Schema.String),
  /** Who ran it, as the host says. */
  actor: Schema.NullOr(Actor.Actor),
  /** Who ran it, as the server says. */
  dbUser: Schema.String,
  applicationName: Schema.NullOr(Schema.String),
  clientAddr: Schema.NullOr(Schema.String)
}).annotations({ identifier: "threadline.Retention.Run" })

/**
 * @since 0.1.0
 * @category models
 */
export interface Run extends Schema.Schema.Type<typeof Run> {}

/**
 * How far a purge has come.
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress {
  /** What is being worked on. */
  readonly phase: "archive" | "changes" | "transactions" | "actions"
  /** How many are gone by now. */
  readonly changes: number
  /** How many are gone by now. */
  readonly transactions: number
  /** How many are gone by now. */
  readonly actions: number
  /** How many were committed by now. */
  readonly batches: number
  /** What the plan said. */
  readonly plan: Plan
}

const Maintained = Schema.Struct({
  analysed: Schema.Array(Schema.String),
  reindexed: Schema.Array(
    Schema.Struct({ index: Schema.String, before: Schema.Number, after: Schema.Number, rows: Schema.Number })
  ),
  waiting: Schema.Array(Schema.String)
})

/**
 * What maintenance did, as the details of its run say:
 *
 * - `analysed`: partitions that were analysed
 * - `reindexed`: indexes that were rebuilt, with their bytes before and after
 * - `waiting`: what was left for the next time: because of locks, or because the role does not inherit the rights of the owner
 *
 * @since 0.1.0
 * @category models
 */
export interface Maintained extends Schema.Schema.Type<typeof Maintained> {}

const isMaintained = Schema.is(Maintained)

export const maintained = ({ details }: Run): Maintained =>
  isMaintained(details) ? details : { analysed: [], reindexed: [], waiting: [] }
