/** The fields of changes in the order of their table. */
import * as Effect from "effect/Effect"
import * as Query from "../src/Query.js"
import * as TableName from "../src/TableName.js"

/** The columns of the table of a change, in its order. Empty if it is not known; fields are then sorted by name. */
export type ColumnsOf = (change: Query.Change) => ReadonlyArray<string>

export const unordered: ColumnsOf = () => []

const tableOf = ({ tableName, tableSchema }: Query.Change): string =>
  TableName.format({ schema: tableSchema, name: tableName })

/**
 * Reads the columns of each table once. If that fails, for example for a table that is gone, fields are sorted by name instead.
 */
export const columnsOf = (changes: ReadonlyArray<Query.Change>): Effect.Effect<ColumnsOf, never, Query.Query> =>
  Effect.map(
    Effect.forEach(new Set(changes.map(tableOf)), (table) =>
      Effect.map(
        Effect.orElseSucceed(Query.columns(table), (): ReadonlyArray<string> => []),
        (columns) => [table, columns] as const
      )
    ),
    (entries): ColumnsOf => {
      const byTable = new Map(entries)
      return (change) => byTable.get(tableOf(change)) ?? []
    }
  )

/** Names in the order of columns; others come last. */
export const inOrder = (names: ReadonlyArray<string>, columns: ReadonlyArray<string>): ReadonlyArray<string> => [
  ...columns.filter((column) => names.includes(column)),
  ...names.filter((name) => !columns.includes(name))
]
