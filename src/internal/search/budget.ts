import * as Context from "effect/Context"

export interface Budgets {
  /** Changes of a table that are looked at first. If the actor is busy, many of them match. */
  readonly probe: number
  /** Changes that one statement looks at. */
  readonly changes: number
  /** Transactions that one statement looks at. */
  readonly transactions: number
  /** Transactions whose changes one statement looks at. */
  readonly visits: number
}

/**
 * How many rows a statement looks at before it ends with a partial page, if no index ends the search earlier. Each budget takes
 * about ten to thirty milliseconds.
 */
export class Budget extends Context.Reference<Budget>()("threadline/Query/Budget", {
  defaultValue: (): Budgets => ({ probe: 500, changes: 10_000, transactions: 10_000, visits: 2_000 })
}) {}
