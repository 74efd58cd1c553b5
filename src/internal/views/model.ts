/** Saved views as data, and why one is not saved. */
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import { identifiedTypes } from "../../Actor.js"
import { InstantText } from "../core/instant.js"
import { Id, ShortText } from "../core/request.js"

/**
 * The owner of a view: an actor with an id, because actors without one cannot be told apart.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Owner = Schema.Struct({
  type: Schema.Literal(...identifiedTypes),
  id: ShortText
})

/**
 * @since 0.1.0
 * @category models
 */
export type Owner = typeof Owner.Type

/**
 * A filter under a name.
 *
 * - `name`: unique among those of its owner
 * - `filter`: the text that `Query.filterToUrl` writes, without page and place
 * - `since`: the window ends when the view is run, and begins this long before: `90s`, `30m`, `12h`, `7d` or `2w`; null if the filter has
 *   the times, or none
 *
 * @since 0.1.0
 * @category schemas
 */
export const SavedView = Schema.Struct({
  id: Id,
  owner: Owner,
  name: Schema.String,
  filter: Schema.String,
  since: Schema.NullOr(Schema.String),
  createdAt: InstantText,
  updatedAt: InstantText
})

/**
 * @since 0.1.0
 * @category models
 */
export type SavedView = typeof SavedView.Type

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("threadline/SavedViewError")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * Why a view is not saved.
 *
 * - `NameTaken`: the owner has a view of that name, and it was not to be replaced
 * - `TooMany`: the owner has 200 views
 *
 * @since 0.1.0
 * @category errors
 */
export class SavedViewError extends Schema.TaggedError<SavedViewError>("threadline.SavedViewError")("SavedViewError", {
  reason: Schema.Literal("NameTaken", "TooMany"),
  detail: Schema.String
}) {
  /** @since 0.1.0 */
  readonly [TypeId]: TypeId = TypeId
  /** @since 0.1.0 */
  static is(u: unknown): u is SavedViewError {
    return Predicate.isTagged(u, "SavedViewError") && Predicate.hasProperty(u, TypeId)
  }
  override get message(): string {
    return this.detail
  }
}
