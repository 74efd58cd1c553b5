/**
 * The plan of a read: its filter, and what had to be asked of the database. Statements are made from it.
 */
import type { Position } from "../record/cursor.js"
import type { Filter } from "./filters.js"
import type { Part } from "./filterPart.js"
import type { Storage } from "../record/storage.js"
import type { IdRange, WindowIds } from "./window.js"
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
  /** The canonical key of the row whose changes are listed. */
  readonly row: string | undefined
  readonly range: IdRange
  /** Ids beyond the range that are searched behind it, if its end is reached: see `windowIds`. */
  readonly stragglers: WindowIds["stragglers"]
  /** Whether the search continues beyond its budget, until it has found enough or everything. */
  readonly exhaustive: boolean
}

export const isTransactional = ({ parts }: Plan): boolean =>
  parts.some((part) => part.transaction !== undefined || part.source !== undefined)

/**
 * Whether transactions are listed without any condition but visibility. A transaction is visible to a reader who sees one of its
 * actions, even if all of its changes are hidden.
 */
export const listsAllVisible = ({ of, parts, row, storage }: Plan): boolean =>
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
