import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"

export const TypeId: unique symbol = Symbol.for("threadline/RetentionError")

export type TypeId = typeof TypeId

/**
 * Why a plan or a run was refused, or why a run ended. What a run has removed by then is complete, and the next run goes on.
 *
 * - `NotConfigured`: there is no policy, so nothing is ever removed
 * - `Busy`: another runner does the same work
 * - `LeaseLost`: the run was cut off for longer than its lease, and another one may go on
 * - `OutdatedPlan`: another run began after the plan was made, or the database has become another one
 * - `ArchiveFailed`: what was to be archived first could not be archived or verified; nothing was removed
 * - `InsideTransaction`: retention works in transactions of its own
 *
 * @since 0.1.0
 * @category errors
 */
export const Reason = Schema.Literal(
  "NotConfigured",
  "Busy",
  "LeaseLost",
  "OutdatedPlan",
  "ArchiveFailed",
  "InsideTransaction"
)

/**
 * A refusal of retention; see `Reason`.
 *
 * @since 0.1.0
 * @category errors
 */
export class RetentionError extends Schema.TaggedError<RetentionError>("threadline.RetentionError")("RetentionError", {
  reason: Reason,
  /** A sentence for people, without captured values. */
  detail: Schema.String,
  cause: Schema.optional(Schema.Defect)
}) {
  readonly [TypeId]: TypeId = TypeId
  static is(u: unknown): u is RetentionError {
    return Predicate.isTagged(u, "RetentionError") && Predicate.hasProperty(u, TypeId)
  }
  override get message(): string {
    return this.detail
  }
}
