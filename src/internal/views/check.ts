/** Checks a view before it is saved. */
import * as Either from "effect/Either"
import { identifiedTypes } from "../../Actor.js"
import { InvalidRequest } from "../../ThreadlineError.js"
import { longestSavedFilter } from "../core/limits.js"
import { notAnObject, unknownField } from "../core/request.js"
import { spanOf } from "../core/span.js"
import { idRule, idText, shortTextRule } from "../core/text.js"
import { decodeFilter } from "../search/filter.js"
import type { FilterInput } from "../search/filterInput.js"
import { toUrl } from "../search/filterUrl.js"
import type { Owner } from "./model.js"

/**
 * The owner of a view, as a caller gives it: an actor, whose label and impersonator have no effect.
 *
 * @since 0.1.0
 * @category models
 */
export interface OwnerInput {
  /** The type of the actor, such as `user`. */
  readonly type: string
  /** The id of the actor; an anonymous actor has none. */
  readonly id?: string | number | bigint | undefined
}

/**
 * A view to save.
 *
 * @since 0.1.0
 * @category models
 */
export interface Given {
  readonly owner: OwnerInput
  /** 1 to 256 bytes, without control characters, and without white space at its ends. */
  readonly name: string
  /** A cursor and a limit are no part of a view, and are left out; at most 16 KiB as text. */
  readonly filter?: FilterInput | undefined
  /** As in `SavedView`; the filter then has no `from` and no `to`. */
  readonly since?: string | undefined
  /** Whether a view of that name is replaced; otherwise saving fails with `SavedViewError`. */
  readonly replace?: boolean | undefined
}

const refused = (field: string, rule: string) => Either.left(new InvalidRequest({ field, rule }))

export const checkOwner = (owner: unknown): Either.Either<Owner, InvalidRequest> => {
  const given: { readonly type?: unknown; readonly id?: unknown } | undefined =
    typeof owner === "object" && owner !== null ? owner : undefined
  const type = identifiedTypes.find((one) => one === given?.type)
  if (type === undefined) {
    return refused("owner", 'must be an actor with an id, such as { type: "user", id: "42" }')
  }
  const rule = given?.id === undefined ? "is missing" : idRule(given.id)
  return rule === undefined
    ? Either.right({ type, id: idText(given?.id as string | number | bigint) })
    : refused("owner", `needs an id: it ${rule}`)
}

// oxlint-disable-next-line no-control-regex
const control = /[\u0000-\u001f\u007f-\u009f]/

export const checkName = (name: unknown): Either.Either<string, InvalidRequest> => {
  const rule =
    shortTextRule(name) ??
    (control.test(String(name)) || String(name).trim() !== name
      ? "must have no control characters, and no white space at its ends"
      : undefined)
  return rule === undefined ? Either.right(name as string) : refused("name", rule)
}

/** What is kept of a view. */
export interface Kept {
  readonly owner: Owner
  readonly name: string
  readonly filter: string
  readonly since: string | null
  readonly replace: boolean
}

const fieldNames = { owner: true, name: true, filter: true, since: true, replace: true } as const

export const check = (view: Given): Either.Either<Kept, InvalidRequest> =>
  Either.gen(function* () {
    const refusal = notAnObject(view, "view") ?? unknownField(view, fieldNames)
    if (refusal !== undefined) {
      return yield* Either.left(refusal)
    }
    const owner = yield* checkOwner(view.owner)
    const name = yield* checkName(view.name)
    const { since } = view
    if (since !== undefined && spanOf(since) === undefined) {
      return yield* refused("since", "must be a time such as 90s, 30m, 12h, 7d or 2w")
    }
    const { cursor: _, limit: __, ...filter } = yield* decodeFilter(view.filter ?? {})
    if (since !== undefined && (filter.from !== undefined || filter.to !== undefined)) {
      return yield* Either.left(
        InvalidRequest.of(
          "since",
          "is a window that ends now; leave ",
          { field: "from" },
          " and ",
          { field: "to" },
          " out"
        )
      )
    }
    if (view.replace !== undefined && typeof view.replace !== "boolean") {
      return yield* refused("replace", "must be true or false")
    }
    const text = toUrl({ ...filter, limit: 50 })
    return Buffer.byteLength(text) > longestSavedFilter
      ? yield* refused("filter", `must not exceed ${longestSavedFilter} bytes as text`)
      : { owner, name, filter: text, since: since ?? null, replace: view.replace ?? false }
  })
