/**
 * What a filter adds to a statement.
 */
import type { Fragment } from "@effect/sql/Statement"
import type { TableName } from "../core/tableName.js"
import type { Key } from "../record/key.js"

/** Which ids a page, or a whole listing, needs. */
export interface Ids {
  /** Limits a column to what the page can show. */
  readonly within: (column: string) => Fragment
  readonly direction: Fragment
  /** `limit` and how many, or nothing if all of them are wanted. */
  readonly limit: Fragment
}

/** Transactions found through another table than their own. */
export interface TransactionSource {
  /** A query of the first of their ids, or of all, in a column `id`, without duplicates. */
  readonly ids: (page: Ids) => Fragment
  /** Whether the transaction whose id is in `column` is one of them. */
  readonly holds: (column: string) => Fragment
}

/** What a filter adds to a statement. */
export interface Part {
  /** The tables whose changes are listed. An index has their changes in the order of a timeline. */
  readonly tables?: ReadonlyArray<TableName>
  /** A condition on the change `c` that uses an index, or that nearly every change in the window fulfils. */
  readonly seek?: Fragment
  /** A condition on the change `c` for which each change must be looked at. */
  readonly change?: Fragment
  /**
   * A condition on the transaction `t`. Matching transactions are found by an index in the order of their ids, by an index
   * without an order that finds few, or by looking at each.
   */
  readonly transaction?: { readonly condition: Fragment; readonly index: "ordered" | "few" | "none" }
  /**
   * The condition on the context of a transaction, for a reader who sees no change of it but the action `a`: the context of that action
   * has to fulfil it too. False if an action has no such context.
   */
  readonly context?: Fragment | false
  readonly source?: TransactionSource
  /** A condition on the action `a`; a filter without one does not apply to actions. */
  readonly action?: Fragment
  /** The row whose changes are listed. */
  readonly row?: { readonly table: TableName; readonly key: Key }
  readonly from?: string
  readonly to?: string
}
