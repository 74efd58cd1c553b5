/**
 * The error of capture.
 */
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import { Mend } from "./mend.js"
import { describeMend, describeRefusal } from "./phrase.js"
import { type Reason, Refusal } from "./refusal.js"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("threadline/CaptureError")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * The capture of a table cannot be started, changed or ended as requested. `reason`, `refusal` and `mend` are for programs;
 * `detail` says what is wrong, `hint` what to do.
 *
 * @since 0.1.0
 * @category errors
 */
export class CaptureError extends Schema.TaggedError<CaptureError>("threadline.CaptureError")("CaptureError", {
  table: Schema.String,
  refusal: Refusal,
  mend: Mend,
  sqlState: Schema.optional(Schema.String)
}) {
  /** @since 0.1.0 */
  readonly [TypeId]: TypeId = TypeId
  /** @since 0.1.0 */
  static is(u: unknown): u is CaptureError {
    return Predicate.isTagged(u, "CaptureError") && Predicate.hasProperty(u, TypeId)
  }
  /** @since 0.1.0 */
  get reason(): Reason {
    return this.refusal.reason
  }
  /** @since 0.1.0 */
  get detail(): string {
    return describeRefusal(this.refusal)
  }
  /** @since 0.1.0 */
  get hint(): string {
    return describeMend(this.mend)
  }
  override get message(): string {
    return `${this.table}: ${this.detail}; ${this.hint}`
  }
}
