/**
 * A filter that is understood: what its statements are made of.
 */
import type { Position } from "../record/cursor.js"
import type { Filter, Part } from "./filter.js"
import type { Storage } from "../record/storage.js"
import type { IdRange } from "./window.js"
import type { Table } from "../record/tables.js"

export interface Plan {
  readonly storage: Storage
  /** What is listed: changes, or the transactions they belong to. */
  readonly of: "changes" | "transactions"
  readonly order: Filter["order"]
  readonly parts: ReadonlyArray<Part>
  /** The tables of the filter with all of their names, if it names some. */
  readonly tables: ReadonlyArray<Table> | undefined
  readonly after: Position | undefined
  /** The row whose changes are wanted, by its canonical key. */
  readonly row: string | undefined
  readonly range: IdRange
  /** Whether the search goes on behind its budget until it has found enough or all there is. */
  readonly exhaustive: boolean
}

export const isTransactional = ({ parts }: Plan): boolean =>
  parts.some((part) => part.transaction !== undefined || part.source !== undefined)

/**
 * Whether transactions are listed of which nothing is asked but that they are seen. A transaction is seen by those who see one of its
 * actions, even if all of its changes are hidden.
 */
export const isOfSeen = ({ of, parts, row, storage }: Plan): boolean =>
  of === "transactions" &&
  storage.restriction !== undefined &&
  row === undefined &&
  parts.every((part) => part.tables === undefined && part.change === undefined)

/** Whether changes are in the order of their row's own time. */
export const isOfRow = (plan: Plan): boolean => plan.row !== undefined && plan.of === "changes"

const maxId = 2n ** 63n - 1n

/** The position behind all changes of a transaction. */
export const behind = ({ order }: Pick<Plan, "order">, transaction: bigint): Position => ({
  major: transaction,
  id: order === "newest" ? 0n : maxId
})
