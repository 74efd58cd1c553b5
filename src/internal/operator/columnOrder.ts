/** Orders fields by the columns of their table, because images have no order of their own. */
import * as Effect from "effect/Effect"
import type * as Query from "../../Query.js"

/** The columns of each table, by the table's name as in SQL. */
export type ColumnsByTable = ReadonlyMap<string, ReadonlyArray<string>>

/** Reads the columns of tables. If they cannot be read, the fields of a table are sorted by name. */
export type ReadColumns = (tables: Iterable<string>) => Effect.Effect<ColumnsByTable>

/** Columns change rarely. */
const cacheMillis = 30_000

const mostCached = 2000

export const columnReader = (query: Query.Service): ReadColumns => {
  const orders = new Map<string, { readonly columns: ReadonlyArray<string>; readonly at: number }>()
  const columnsOf = (table: string): Effect.Effect<ReadonlyArray<string>> =>
    Effect.suspend(() => {
      const cached = orders.get(table)
      const now = Date.now()
      if (cached !== undefined && now - cached.at < cacheMillis) {
        return Effect.succeed(cached.columns)
      }
      return query.columns(table).pipe(
        Effect.orElseSucceed((): ReadonlyArray<string> => []),
        Effect.tap((columns) => {
          if (orders.size >= mostCached) {
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
      (entries) => new Map(entries)
    )
}

/** The fields of an image in the order of the columns. Fields that are not among the columns come last, by name. */
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
