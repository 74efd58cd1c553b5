import * as Context from "effect/Context"

export interface Budgets {
  /** Changes of a table that are looked at first, in the hope that a busy actor is behind many of them. */
  readonly probe: number
  /** Changes that one statement looks at. */
  readonly changes: number
  /** Transactions that one statement looks at. */
  readonly transactions: number
  /** Transactions whose changes one statement looks at. */
  readonly visits: number
}

/**
 * How many rows a statement looks at before it gives up and answers with a partial page, if no index ends the search. About
 * ten to thirty milliseconds each.
 */
export class Budget extends Context.Reference<Budget>()("threadline/Query/Budget", {
  defaultValue: (): Budgets => ({ probe: 500, changes: 10_000, transactions: 10_000, visits: 2_000 })
}) {}
