/**
 * Everything that a filter lets through, as one statement without a budget. Exports use it. The filters, the scopes, the order
 * and the ways through the log are those of a timeline.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type { Fragment } from "@effect/sql/Statement"
import { InvalidRequest, type ThreadlineError } from "../../ThreadlineError.js"
import { attempts, furthest } from "./attempt.js"
import { Budget } from "./budget.js"
import { onConditionError } from "../record/condition.js"
import { decodeFilter } from "./filter.js"
import type { Filter } from "./filters.js"
import type { FilterInput } from "./filterInput.js"
import { checkNames } from "./names.js"
import type { Plan } from "./plan.js"
import { prepare } from "./prepare.js"
import { canonicalRequest, type ReadError } from "../core/request.js"
import { type Attempt, everyChange, ordering, search, stopOf } from "./statements.js"
import { rows, type Storage } from "../record/storage.js"
import { CountRow, countStatement } from "./timeline.js"
import { wholeRange } from "./window.js"

export type EverythingFilter = Omit<FilterInput, "order" | "limit" | "cursor">

export type Everything = Omit<Filter, "order" | "limit" | "cursor">

/** Decodes a filter. The page size in it has no effect here. A cursor in it is refused. */
export const decodeEverything = (input: EverythingFilter): Either.Either<Everything, InvalidRequest> =>
  Either.flatMap(decodeFilter(input), ({ cursor, limit: _, order: __, ...filter }) =>
    cursor === undefined
      ? Either.right(filter)
      : Either.left(new InvalidRequest({ field: "cursor", rule: "is a place in a listing; leave it out" }))
  )

/** The one document of a filter, as JSON: equal filters have equal documents, and it decodes to the filter that it was made of. */
export const canonicalFilter = (filter: Everything): string => canonicalRequest(filter)

/** If this many matches are found, the way is good enough. */
const enough = 1000

/** If both ways are open: the one that gets further under the budgets of a timeline, or that finds enough at once. */
const promisingWay = Effect.fnUntraced(function* (
  plan: Plan
): Effect.fn.Return<Attempt["way"], InvalidRequest | ThreadlineError> {
  const [first, ...others] = attempts(plan, yield* Budget)
  if (others.length === 0) {
    return first.way
  }
  const { result } = yield* furthest(plan, (attempt) =>
    Effect.map(
      rows(CountRow, countStatement(plan, search(plan, attempt, enough), enough), onConditionError(plan.storage)),
      ([row]) => ({ result: attempt.way, stop: stopOf(row) })
    )
  )
  return result
})

export interface EveryChange {
  /** A query of rows of `audit_changes`. */
  readonly changes: Fragment
  /** Their order under the alias `c`. */
  readonly order: Fragment
}

/**
 * The changes that a filter lets through, the first `count` of them if it is given. `NotFound` if the filter names a table or a column
 * that the record does not know.
 */
export const everything = Effect.fnUntraced(function* (
  storage: Storage,
  given: Everything,
  order: Filter["order"],
  count: number | undefined
): Effect.fn.Return<EveryChange, ReadError> {
  const filter: Filter = { ...given, order, limit: 1 }
  const prepared = yield* prepare(storage, "changes", filter, undefined)
  // It is one statement, so it includes stragglers.
  const plan = { ...prepared, range: yield* wholeRange(prepared), stragglers: undefined }
  yield* checkNames(plan, filter)
  const changes = everyChange(plan, yield* promisingWay(plan), count)
  return { changes, order: ordering(plan) }
})
