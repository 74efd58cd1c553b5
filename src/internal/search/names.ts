/** For a read that found nothing: whether its filter names a table or column that the record does not know. */
import * as Effect from "effect/Effect"
import type { NotFound, ThreadlineError } from "../../ThreadlineError.js"
import { checkTables } from "../record/tables.js"
import { checkColumns } from "../record/unknownColumn.js"
import type { Filter } from "./filters.js"
import type { Plan } from "./plan.js"

export const checkNames = Effect.fnUntraced(function* (
  { row, storage, tables = [] }: Plan,
  { changedField, contains, cursor }: Filter
): Effect.fn.Return<void, NotFound | ThreadlineError> {
  if (row === undefined) {
    yield* checkTables(storage, tables)
  }
  const [table, ...others] = tables
  // Retention may have removed the changes of earlier pages.
  if (table !== undefined && others.length === 0 && cursor === undefined) {
    yield* checkColumns(storage, table, [...(changedField ?? []), ...Object.keys(contains ?? {})])
  }
})
