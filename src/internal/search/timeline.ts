/**
 * Timelines: the changes that a filter lets through, page by page, counted, or all at once if they are few.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Page } from "../../Page.js"
import { InvalidRequest, type ThreadlineError } from "../../ThreadlineError.js"
import * as cursors from "../record/cursor.js"
import { lengthOf, searched, type SearchResult } from "./attempt.js"
import {
  actionColumns,
  type Change,
  changeOf,
  ChangeRow,
  rowPosition,
  timelinePosition,
  transactionColumns
} from "../record/change.js"
import { onConditionError } from "../record/condition.js"
import type { Filter } from "./filters.js"
import type { FilterInput } from "./filterInput.js"
import { decodeFilter } from "./filter.js"
import { pageOf, streamLimit } from "../record/page.js"
import { isOfRow, type Plan } from "./plan.js"
import { prepare } from "./prepare.js"
import type { KnownWindows } from "./window.js"
import { canonicalRequest, type ReadError, request, wholeNumber } from "../core/request.js"
import { checkNames } from "./names.js"
import { ordering, type Search, search, Stop, stopOf, stopStatement, transactionsFor, withFirst } from "./statements.js"
import { searchShort } from "./shortSearch.js"
import { rows, type Storage } from "../record/storage.js"
import { joinedAction, shownChangeColumns } from "../record/visible.js"

/** One row for each change found; one row without a change if there is none. */
const MatchRow = Schema.Union(
  Schema.Struct({ ...ChangeRow.fields, ...Stop }),
  Schema.Struct({ id: Schema.Null, ...Stop })
)

const statement = (plan: Plan, search: Search, limit: number) => {
  const { sql } = plan.storage
  return sql`
    with ${withFirst(plan, search)}threadline_matches as materialized (${search.matches})
    select ${shownChangeColumns(plan.storage)}, ${transactionColumns(sql)}, ${actionColumns(sql)},
      s.major::text as stop_major,
      s.id::text as stop_id
    from (select 1) one
    left join (${stopStatement(plan, search, limit)}) s on true
    left join threadline_matches c on true
    left join ${transactionsFor(plan, search)} t on t.id = c.transaction_id
    ${joinedAction(plan.storage)}
    order by ${ordering(plan)}`
}

const changesOf = (
  plan: Plan,
  limit: number
): Effect.Effect<SearchResult<ReadonlyArray<Change>>, InvalidRequest | ThreadlineError> => {
  const found = (next: Plan, search: Search, remaining: number) =>
    Effect.map(rows(MatchRow, statement(next, search, remaining), onConditionError(plan.storage)), (rows) => ({
      result: rows.flatMap((row) => (row.id === null ? [] : [changeOf(row)])),
      stop: stopOf(rows[0])
    }))
  const short = searchShort(plan, limit)
  return Effect.map(
    searched(
      plan,
      limit,
      lengthOf,
      (next, attempt, remaining) => found(next, search(next, attempt, remaining), remaining),
      short === undefined ? undefined : found(plan, short, limit)
    ),
    ({ result: parts, stop }) => ({ result: parts.flat(), stop })
  )
}

const cursorQuery = (filter: Filter): cursors.Query =>
  filter.key === undefined
    ? { kind: "timeline", order: "ids", text: canonicalRequest(filter) }
    : { kind: "timeline of a row", order: "time", text: canonicalRequest(filter) }

export const timeline = Effect.fnUntraced(function* (
  storage: Storage,
  input: FilterInput,
  windows?: KnownWindows
): Effect.fn.Return<Page<Change>, ReadError> {
  const filter = yield* decodeFilter(input)
  const query = cursorQuery(filter)
  const after = filter.cursor === undefined ? undefined : yield* cursors.decode(storage, query, filter.cursor)
  const plan = yield* prepare(storage, "changes", filter, after, windows)
  const { result: changes, stop } = yield* changesOf(plan, filter.limit + 1)
  if (changes.length === 0 && stop === undefined) {
    yield* checkNames(plan, filter)
  }
  return yield* pageOf(storage, changes, filter.limit, query, isOfRow(plan) ? rowPosition : timelinePosition, stop)
})

/**
 * How many changes were counted. `exact` is false if there may be more.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Count = Schema.Struct({
  count: Schema.NonNegativeInt,
  /** False if there may be more. */
  exact: Schema.Boolean
}).annotations({ identifier: "threadline.Count" })

/**
 * @since 0.1.0
 * @category models
 */
export interface Count extends Schema.Schema.Type<typeof Count> {}

const CountRequest = Schema.Struct({ cap: wholeNumber("cap", 1, 100_000, 1000) })

/**
 * Options of `count`.
 *
 * @since 0.1.0
 * @category models
 */
export interface CountOptions {
  /** Counting ends at this number, 1 to 100,000: 1000 unless given. */
  readonly cap?: number | undefined
}

export const CountRow = Schema.Struct({ count: Schema.NumberFromString, ...Stop })

export const countStatement = (plan: Plan, search: Search, limit: number) => {
  const { sql } = plan.storage
  return sql`
    with threadline_matches as materialized (select c.id from (${search.matches}) c)
    select
      (select count(*)::text from threadline_matches) as count,
      s.major::text as stop_major,
      s.id::text as stop_id
    from (select 1) one
    left join (${stopStatement(plan, search, limit)}) s on true`
}

export const count = Effect.fnUntraced(function* (
  storage: Storage,
  input: FilterInput,
  options: CountOptions
): Effect.fn.Return<Count, ReadError> {
  const filter = yield* decodeFilter(input)
  const { cap } = yield* request(CountRequest)(options)
  if (filter.cursor !== undefined) {
    return yield* new InvalidRequest({ field: "cursor", rule: "does not apply to a count" })
  }
  const plan = yield* prepare(storage, "changes", filter, undefined)
  const counted = yield* searched(
    plan,
    cap + 1,
    (partCount: number) => partCount,
    (next, attempt, remaining) =>
      Effect.map(
        rows(CountRow, countStatement(next, search(next, attempt, remaining), remaining), onConditionError(storage)),
        ([row]) => ({ result: row?.count ?? 0, stop: stopOf(row) })
      )
  )
  const total = counted.result.reduce((sum, partCount) => sum + partCount, 0)
  if (total === 0) {
    yield* checkNames(plan, filter)
  }
  return { count: Math.min(total, cap), exact: counted.stop === undefined && total <= cap }
})

const CollectRequest = Schema.Struct({ max: wholeNumber("max", 1, 10_000, 1000) })

/**
 * Options of `collect`.
 *
 * @since 0.1.0
 * @category models
 */
export interface CollectOptions {
  /** How many changes may match, 1 to 10,000: 1000 unless given. More are an `InvalidRequest` of this field. */
  readonly max?: number | undefined
}

export const collect = Effect.fnUntraced(function* (
  storage: Storage,
  input: FilterInput,
  options: CollectOptions
): Effect.fn.Return<ReadonlyArray<Change>, ReadError> {
  const { max } = yield* request(CollectRequest)(options)
  const changes: Array<Change> = []
  let cursor = input.cursor
  do {
    const page = yield* timeline(storage, { ...input, limit: Math.min(max - changes.length + 1, streamLimit), cursor })
    changes.push(...page.items)
    if (changes.length > max) {
      return yield* new InvalidRequest({
        field: "max",
        rule: `more than ${max} changes match; narrow the filter, page through them or stream them`
      })
    }
    cursor = Option.getOrUndefined(page.nextCursor)
  } while (cursor !== undefined)
  return changes
})
