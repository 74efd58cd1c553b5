/** Fields in the order of their table. Images have no order of their own. */
import * as Effect from "effect/Effect"
import type * as Query from "../../Query.js"

/** The columns of tables, by the table as in SQL. */
export type ColumnsByTable = ReadonlyMap<string, ReadonlyArray<string>>

/** Asks for the columns of tables. Those of a table without an answer are shown by name. */
export type AskColumns = (tables: Iterable<string>) => Effect.Effect<ColumnsByTable>

/** Columns change rarely. */
const keptMillis = 30_000

const mostKept = 2000

export const asking = (query: Query.Service): AskColumns => {
  const orders = new Map<string, { readonly columns: ReadonlyArray<string>; readonly at: number }>()
  const columnsOf = (table: string): Effect.Effect<ReadonlyArray<string>> =>
    Effect.suspend(() => {
      const remembered = orders.get(table)
      const now = Date.now()
      if (remembered !== undefined && now - remembered.at < keptMillis) {
        return Effect.succeed(remembered.columns)
      }
      return query.columns(table).pipe(
        Effect.orElseSucceed((): ReadonlyArray<string> => []),
        Effect.tap((columns) => {
          if (orders.size >= mostKept) {
            orders.clear()
          }
          orders.set(table, { columns, at: now })
        })
      )
    })
  return (tables) =>
    Effect.map(
      Effect.forEach(new Set(tables), (table) => Effect.map(columnsOf(table), (columns) => [table, columns] as const), {
        concurrency: 4
      }),
      (found) => new Map(found)
    )
}

/** The fields of an image in the order of the columns; others come last, by name. */
export const entriesOf = <A>(
  image: { readonly [field: string]: A } | null,
  columns: ReadonlyArray<string> = []
): ReadonlyArray<readonly [string, A]> => {
  const places = new Map(columns.map((column, place) => [column, place]))
  const placeOf = (field: string): number => places.get(field) ?? columns.length
  return Object.entries(image ?? {}).sort(
    ([one], [other]) => placeOf(one) - placeOf(other) || (one < other ? -1 : one > other ? 1 : 0)
  )
}
