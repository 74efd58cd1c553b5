/**
 * Saved views: filters of the record under names, each of one actor.
 *
 * A view is a filter and no answer: running it asks the record anew, under the scope of the reader. A view may have a window that
 * ends when it is run. The service believes the owner that it is told: a host passes the actor it has authenticated.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { spanOf } from "./internal/core/span.js"
import { wholeStorage } from "./internal/record/whole.js"
import type { Given as GivenView, OwnerInput as Whose } from "./internal/views/check.js"
import type { SavedView, SavedViewError } from "./internal/views/model.js"
import * as service from "./internal/views/service.js"
import { filterOf, type ViewFilter } from "./internal/views/store.js"
import * as Page from "./Page.js"
import * as Query from "./Query.js"
import { InvalidRequest, type NotFound, type ThreadlineError } from "./ThreadlineError.js"

/**
 * @since 0.1.0
 */
export { Owner, SavedView, SavedViewError } from "./internal/views/model.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface OwnerInput extends Whose {}

/**
 * @since 0.1.0
 * @category models
 */
export interface Given extends GivenView {}

/**
 * @since 0.1.0
 * @category models
 */
export interface Filter extends ViewFilter {}

/**
 * @since 0.1.0
 * @category services
 */
export interface Service extends service.Service {}

/**
 * Saved views. Reading and saving them needs a reader.
 *
 * @since 0.1.0
 * @category services
 */
export class SavedViews extends Context.Tag("threadline/SavedViews")<SavedViews, Service>() {}

/**
 * Saved views in the client's database. Building it asks whether row-level security hides any of the record from the client's role,
 * and fails with `ThreadlineError` (`RecordHidden`) if it does: a list of views would be empty.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<SavedViews, ThreadlineError, SqlClient.SqlClient> = Layer.effect(
  SavedViews,
  Effect.map(wholeStorage, service.make)
)

/**
 * A page of views, the newest first; see `Service`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const list = (
  filter?: Filter
): Effect.Effect<Page.Page<SavedView>, InvalidRequest | ThreadlineError, SavedViews> =>
  Effect.flatMap(SavedViews, (views) => views.list(filter))

/**
 * The view of that name.
 *
 * @since 0.1.0
 * @category accessors
 */
export const get = (
  owner: OwnerInput,
  name: string
): Effect.Effect<SavedView, InvalidRequest | NotFound | ThreadlineError, SavedViews> =>
  Effect.flatMap(SavedViews, (views) => views.get(owner, name))

/**
 * Saves a filter under a name; see `Given`.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Actor, SavedViews } from "threadline"
 *
 * export const refunds = SavedViews.save({
 *   owner: Actor.user("42"),
 *   name: "Refunds of the week",
 *   filter: { table: "invoices", action: "invoice.refunded" },
 *   since: "7d"
 * })
 * ```
 */
export const save = (
  view: Given
): Effect.Effect<SavedView, InvalidRequest | NotFound | SavedViewError | ThreadlineError, SavedViews> =>
  Effect.flatMap(SavedViews, (views) => views.save(view))

/**
 * Deletes the view of that name.
 *
 * @since 0.1.0
 * @category accessors
 */
export const remove = (
  owner: OwnerInput,
  name: string
): Effect.Effect<void, InvalidRequest | NotFound | ThreadlineError, SavedViews> =>
  Effect.flatMap(SavedViews, (views) => views.remove(owner, name))

/**
 * Options of `run`.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunOptions {
  /** That of the view unless given. */
  readonly order?: "newest" | "oldest" | undefined
  /** 1 to 1000, 50 unless given. */
  readonly limit?: number | undefined
  /** `nextCursor` of the page before. It keeps the window that the first page had. */
  readonly cursor?: string | undefined
}

/** A cursor of a view whose window ends when it is run says in front when that window began. */
const placeIn = (cursor: string | undefined) => {
  const [, began, place] = /^([0-9]{1,15})\.(.*)$/.exec(cursor ?? "") ?? []
  return began === undefined || place === undefined ? undefined : { began: Number(began), place }
}

/**
 * A page of the changes that a view lets through, under the scope of the reader. A view of `list` or `get` can be run.
 *
 * @since 0.1.0
 * @category accessors
 */
export const run = (
  view: SavedView,
  options: RunOptions = {}
): Effect.Effect<Page.Page<Query.Change>, Query.ReadError, Query.Query> =>
  Effect.gen(function* () {
    const saved = yield* filterOf(view)
    const { cursor, limit, order = saved.order } = options
    const back = spanOf(view.since)?.millis
    if (back === undefined) {
      return yield* Query.timeline({ ...saved, order, limit, cursor })
    }
    const place = placeIn(cursor)
    if (cursor !== undefined && place === undefined) {
      return yield* new InvalidRequest({ field: "cursor", rule: "is not a cursor of this view" })
    }
    const began = place?.began ?? Math.max(0, (yield* Clock.currentTimeMillis) - back)
    const page = yield* Query.timeline({
      ...saved,
      order,
      limit,
      cursor: place?.place,
      from: new Date(began).toISOString()
    })
    return Page.make(
      page.items,
      Option.map(page.nextCursor, (next) => Page.Cursor.make(`${began}.${next}`)),
      page.partial
    )
  })
