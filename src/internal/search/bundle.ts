/**
 * Bundles: what one actor did, and what belongs to one correlation, as first pages of three listings.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Pages from "../../Page.js"
import { type Action, actionToJson } from "../record/action.js"
import { actions } from "./actions.js"
import type { Change } from "../record/change.js"
import { changeToJson } from "../record/change.js"
import type { FilterInput } from "./filter.js"
import type { InstantInput } from "../core/instant.js"
import { order, paging, type ReadError, request } from "../core/request.js"
import type { Storage } from "../record/storage.js"
import { timeline } from "./timeline.js"
import { summaryToJson, type TransactionSummary, transactions } from "./transactions.js"

/**
 * The first pages of what belongs together. Each goes on with the read of its name, the same filter and its own cursor:
 * `actions`, `transactions`, and `timeline` for the changes.
 */
export interface Bundle {
  readonly actions: Pages.Page<Action>
  readonly transactions: Pages.Page<TransactionSummary>
  readonly changes: Pages.Page<Change>
}

export const BundleOptions = Schema.Struct({
  order,
  limit: paging.limit,
  /** `nextCursor` of the changes. */
  cursor: paging.cursor
})

export type BundleOptions = typeof BundleOptions.Encoded

export interface ActorWindowOptions extends BundleOptions {
  readonly from?: InstantInput | undefined
  readonly to?: InstantInput | undefined
}

export type ActorInput = NonNullable<FilterInput["actor"]>

const bundle = Effect.fnUntraced(function* (
  storage: Storage,
  ofActions: FilterInput,
  ofChanges: FilterInput,
  options: BundleOptions
): Effect.fn.Return<Bundle, ReadError> {
  const { cursor, limit, order } = yield* request(BundleOptions)(options)
  // The changes first: it is their cursor that may be refused.
  const changes = yield* timeline(storage, { ...ofChanges, limit, order, cursor })
  return {
    actions: yield* actions(storage, { ...ofActions, limit, order }),
    transactions: yield* transactions(storage, { ...ofChanges, limit, order }),
    changes
  }
})

export const windowFilter = (actor: ActorInput, { from, to }: ActorWindowOptions): FilterInput => ({ actor, from, to })

export const actorWindow = (
  storage: Storage,
  actor: ActorInput,
  { from, to, ...options }: ActorWindowOptions
): Effect.Effect<Bundle, ReadError> => {
  const filter = windowFilter(actor, { from, to })
  return bundle(storage, filter, filter, options)
}

export const correlationFilter = (correlationId: string): FilterInput => ({ correlationId, includeCaptureOnly: true })

export const correlation = (
  storage: Storage,
  correlationId: string,
  options: BundleOptions
): Effect.Effect<Bundle, ReadError> => bundle(storage, { correlationId }, correlationFilter(correlationId), options)

export const bundleToJson = ({ actions, changes, transactions }: Bundle): string =>
  [
    `{"actions":${Pages.toJson(actions, actionToJson)}`,
    `"transactions":${Pages.toJson(transactions, summaryToJson)}`,
    `"changes":${Pages.toJson(changes, changeToJson)}}`
  ].join(",")
