/**
 * Which way through the log to take. Which is shorter cannot be known before: a busy actor has too many transactions to look for
 * those in a quiet table, a busy table too many changes to look for those of a quiet actor. So both ways are tried if both
 * are open, each under its budget, and what got further is the answer.
 */
import * as Effect from "effect/Effect"
import type { Position } from "../record/cursor.js"
import { Budget, type Budgets } from "./budget.js"
import { isOfSeen, isTransactional, type Plan, tablesOf } from "./plan.js"
import { type Attempt, tests } from "./statements.js"

/** The ways to try, the most promising first. */
const attempts = (plan: Plan, budget: Budgets): readonly [Attempt, ...Array<Attempt>] => {
  const { changes, probe, transactions, visits } = budget
  const whole = { way: "changes", changes, transactions, visits } as const
  const tables = tablesOf(plan)
  if (isOfSeen(plan)) {
    return [{ ...whole, way: "transactions" }]
  }
  const oneTransaction = plan.range.low !== undefined && plan.range.low === plan.range.high
  if (plan.row !== undefined || oneTransaction) {
    return [whole]
  }
  if (!isTransactional(plan)) {
    const everything = plan.of === "transactions" && tables === undefined && tests(plan).length === 0
    return [everything ? { ...whole, way: "transactions" } : whole]
  }
  return tables === undefined
    ? [{ ...whole, way: "transactions" }]
    : [{ ...whole, changes: probe }, { ...whole, way: "transactions" }, whole]
}

const isFurther = ({ order }: Plan, a: Position, b: Position): boolean => {
  const ahead = a.major === b.major ? a.id > b.id : a.major > b.major
  return order === "oldest" ? ahead : !ahead
}

/** What a try found, and where it ended for want of budget. */
export interface Found<out A> {
  readonly found: A
  readonly stop: Position | undefined
}

/** The first of the ways that finds enough or all there is, else the one that got furthest. */
const furthest = Effect.fnUntraced(function* <A, E>(
  plan: Plan,
  run: (attempt: Attempt) => Effect.Effect<Found<A>, E>
): Effect.fn.Return<Found<A>, E> {
  const [first, ...others] = attempts(plan, yield* Budget)
  let best = yield* run(first)
  for (const attempt of others) {
    if (best.stop === undefined) {
      break
    }
    const next = yield* run(attempt)
    best = next.stop === undefined || isFurther(plan, next.stop, best.stop) ? next : best
  }
  return best
})

/** What a search finds, up to `limit`, in parts: one that is exhaustive goes on where it ended for want of budget. */
export const searched = Effect.fnUntraced(function* <A, E>(
  plan: Plan,
  limit: number,
  sizeOf: (found: A) => number,
  run: (plan: Plan, attempt: Attempt, limit: number) => Effect.Effect<Found<A>, E>
): Effect.fn.Return<Found<ReadonlyArray<A>>, E> {
  const parts: Array<A> = []
  let next = plan
  let left = limit
  for (;;) {
    const { found, stop } = yield* furthest(next, (attempt) => run(next, attempt, left))
    parts.push(found)
    left -= sizeOf(found)
    if (stop === undefined || !plan.exhaustive || left <= 0) {
      return { found: parts, stop }
    }
    next = { ...plan, after: stop }
  }
})

export const lengthOf = (found: ReadonlyArray<unknown>): number => found.length
