/**
 * Bundles: what one actor did, and what belongs to one correlation, as first pages of three listings.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Pages from "../../Page.js"
import { Action } from "../record/action.js"
import { actions } from "./actions.js"
import { Change } from "../record/change.js"
import type { ActorInput, FilterInput } from "./filterInput.js"
import type { InstantInput } from "../core/instant.js"
import { notAnObject, order, paging, type ReadError, request } from "../core/request.js"
import type { Storage } from "../record/storage.js"
import { isInside } from "../sql/owned.js"
import { timeline } from "./timeline.js"
import { transactions, TransactionSummary } from "./transactions.js"
import type { KnownWindows } from "./window.js"

/**
 * The first pages of what belongs together: actions, transactions, changes. To continue one, use its own cursor and the read of
 * its name (`timeline` for the changes). The filter of an actor window is `{ actor, actorLabel, from, to }`. The filter of a correlation is
 * `{ correlationId, includeCaptureOnly: true }`, and `{ correlationId }` for its actions. `order` and `limit` apply to all three,
 * `cursor` to the changes.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Bundle = Schema.Struct({
  /** Continue with `actions`. */
  actions: Pages.schema(Action),
  /** Continue with `transactions`. */
  transactions: Pages.schema(TransactionSummary),
  /** Continue with `timeline`. */
  changes: Pages.schema(Change)
}).annotations({ identifier: "threadline.Bundle" })

/**
 * @since 0.1.0
 * @category models
 */
export interface Bundle extends Schema.Schema.Type<typeof Bundle> {}

const BundleRequest = Schema.Struct({ order, ...paging })

/**
 * Options of `correlation`.
 *
 * @since 0.1.0
 * @category models
 */
export interface BundleOptions {
  /** Of all three lists: `newest` first unless given. */
  readonly order?: "newest" | "oldest" | undefined
  /** Items in each of the three pages, 1 to 1000: 50 unless given. */
  readonly limit?: number | undefined
  /** `nextCursor` of the changes. */
  readonly cursor?: string | undefined
}

/**
 * Options of `actorWindow`: the window, and the options of its pages.
 *
 * @since 0.1.0
 * @category models
 */
export interface ActorWindowOptions extends BundleOptions {
  /** Not before this instant. */
  readonly from?: InstantInput | undefined
  /** Not after this instant. */
  readonly to?: InstantInput | undefined
  /** Only of actors whose label, or whose impersonator's label, contains this. */
  readonly actorLabel?: string | undefined
}

const bundle = Effect.fnUntraced(function* (
  storage: Storage,
  ofActions: FilterInput,
  ofChanges: FilterInput,
  options: BundleOptions
): Effect.fn.Return<Bundle, ReadError> {
  const { cursor, limit, order } = yield* request(BundleRequest)(options)
  const windows: KnownWindows = new Map()
  // Beside each other, so that the server looks for one listing while another is decoded. A transaction has one connection, which is
  // for one statement at a time.
  const concurrency = (yield* isInside) ? 1 : "unbounded"
  const [changes, ofTransactions, intended] = yield* Effect.all(
    [
      Effect.either(timeline(storage, { ...ofChanges, limit, order, cursor }, windows)),
      Effect.either(transactions(storage, { ...ofChanges, limit, order }, windows)),
      Effect.either(actions(storage, { ...ofActions, limit, order }))
    ],
    { concurrency }
  )
  // The changes first: their cursor may be refused.
  const ofChange = yield* changes
  return { actions: yield* intended, transactions: yield* ofTransactions, changes: ofChange }
})

export const windowFilter = (actor: ActorInput, { actorLabel, from, to }: ActorWindowOptions): FilterInput => ({
  actor,
  actorLabel,
  from,
  to
})

export const actorWindow = (
  storage: Storage,
  actor: ActorInput,
  window: ActorWindowOptions
): Effect.Effect<Bundle, ReadError> => {
  const refusal = notAnObject(window)
  if (refusal !== undefined) {
    return Effect.fail(refusal)
  }
  const { actorLabel, from, to, ...options } = window
  const filter = windowFilter(actor, { actorLabel, from, to })
  return bundle(storage, filter, filter, options)
}

export const correlationFilter = (correlationId: string): FilterInput => ({ correlationId, includeCaptureOnly: true })

export const correlation = (
  storage: Storage,
  correlationId: string,
  options: BundleOptions
): Effect.Effect<Bundle, ReadError> => bundle(storage, { correlationId }, correlationFilter(correlationId), options)
