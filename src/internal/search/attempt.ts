/**
 * Decides which way through the log to take. The shorter way cannot be known before. A busy actor has too many transactions to
 * find the few in a quiet table. A busy table has too many changes to find the few of a quiet actor. So if both ways are open,
 * both are tried, each under its budget. The answer comes from the one that got further.
 */
import * as Effect from "effect/Effect"
import type { ThreadlineError } from "../../ThreadlineError.js"
import type { Position } from "../record/cursor.js"
import { Budget, type Budgets } from "./budget.js"
import { listsAllVisible, isTransactional, type Plan } from "./plan.js"
import { type Attempt, tests } from "./statements.js"

/** The ways to try, the most promising first. */
export const attempts = (plan: Plan, budget: Budgets): readonly [Attempt, ...Array<Attempt>] => {
  const { changes, probe, transactions, visits } = budget
  const byChanges = { way: "changes", changes, transactions, visits } as const
  const { tables } = plan
  if (listsAllVisible(plan)) {
    return [{ ...byChanges, way: "transactions" }]
  }
  const oneTransaction = plan.range.low !== undefined && plan.range.low === plan.range.high
  if (plan.row !== undefined || oneTransaction) {
    return [byChanges]
  }
  if (!isTransactional(plan)) {
    const isUnfiltered = plan.of === "transactions" && tables === undefined && tests(plan).length === 0
    return [isUnfiltered ? { ...byChanges, way: "transactions" } : byChanges]
  }
  return tables === undefined
    ? [{ ...byChanges, way: "transactions" }]
    : [{ ...byChanges, changes: probe }, { ...byChanges, way: "transactions" }, byChanges]
}

const isFurther = ({ order }: Plan, left: Position, right: Position): boolean => {
  const ahead = left.major === right.major ? left.id > right.id : left.major > right.major
  return order === "oldest" ? ahead : !ahead
}

/** What an attempt found, and where it ended if its budget was used up. */
export interface SearchResult<out A> {
  readonly result: A
  readonly stop: Position | undefined
}

/** The first of the ways that finds enough, or everything. Otherwise the one that got furthest. */
export const furthest = Effect.fnUntraced(function* <A, E>(
  plan: Plan,
  run: (attempt: Attempt) => Effect.Effect<SearchResult<A>, E>
): Effect.fn.Return<SearchResult<A>, E> {
  const [firstAttempt, ...otherAttempts] = attempts(plan, yield* Budget)
  let best = yield* run(firstAttempt)
  for (const attempt of otherAttempts) {
    if (best.stop === undefined) {
      break
    }
    const next = yield* run(attempt)
    best = next.stop === undefined || isFurther(plan, next.stop, best.stop) ? next : best
  }
  return best
})

/**
 * What a search finds, up to `limit`, in parts. If the search is exhaustive, it continues each time its budget is used up. If it
 * comes to the end of a window, it continues with the stragglers there.
 */
export const searched = Effect.fnUntraced(function* <A, E>(
  plan: Plan,
  limit: number,
  sizeOf: (part: A) => number,
  run: (plan: Plan, attempt: Attempt, limit: number) => Effect.Effect<SearchResult<A>, E>,
  /** A shorter search, which answers if it finds enough or everything. Undefined if there is none. */
  runShort?: Effect.Effect<SearchResult<A>, E>
): Effect.fn.Return<SearchResult<ReadonlyArray<A>>, E | ThreadlineError> {
  const parts: Array<A> = []
  let next = plan
  let remaining = limit
  for (;;) {
    const short = next === plan ? yield* runShort ?? Effect.succeed(undefined) : undefined
    const { result: part, stop } =
      short !== undefined && short.stop === undefined
        ? short
        : yield* furthest(next, (attempt) => run(next, attempt, remaining))
    parts.push(part)
    remaining -= sizeOf(part)
    if (remaining <= 0 || (stop !== undefined && !plan.exhaustive)) {
      return { result: parts, stop }
    }
    if (stop !== undefined) {
      next = { ...next, after: stop }
      continue
    }
    const range = next.stragglers === undefined ? undefined : yield* next.stragglers
    if (range === undefined) {
      return { result: parts, stop }
    }
    next = { ...next, after: plan.after, range, stragglers: undefined }
  }
})

export const lengthOf = (items: ReadonlyArray<unknown>): number => items.length
