/** The service of saved views: each member under a span. */
import type * as Effect from "effect/Effect"
import { operation } from "../core/telemetry.js"
import type { Page } from "../../Page.js"
import type { InvalidRequest, NotFound, ThreadlineError } from "../../ThreadlineError.js"
import type { Storage } from "../record/storage.js"
import type { Given, OwnerInput } from "./check.js"
import type { SavedView, SavedViewError } from "./model.js"
import { get, list, remove, save, type ViewFilter } from "./store.js"

export interface Service {
  /** A page of views, the newest first. An owner has at most 200. */
  readonly list: (filter?: ViewFilter) => Effect.Effect<Page<SavedView>, InvalidRequest | ThreadlineError>
  /** The view of that name. */
  readonly get: (
    owner: OwnerInput,
    name: string
  ) => Effect.Effect<SavedView, InvalidRequest | NotFound | ThreadlineError>
  /**
   * Saves a filter under a name. If there is a view of that name, this fails with `SavedViewError`, unless `replace` is true.
   */
  readonly save: (view: Given) => Effect.Effect<SavedView, InvalidRequest | NotFound | SavedViewError | ThreadlineError>
  /** Deletes the view of that name. */
  readonly remove: (owner: OwnerInput, name: string) => Effect.Effect<void, InvalidRequest | NotFound | ThreadlineError>
}

export const make = (storage: Storage): Service => ({
  list: (filter = {}) => operation("views", "list")(list(storage, filter)),
  get: (owner, name) => operation("views", "get")(get(storage, owner, name)),
  save: (view) => operation("views", "save")(save(storage, view)),
  remove: (owner, name) => operation("views", "remove")(remove(storage, owner, name))
})
