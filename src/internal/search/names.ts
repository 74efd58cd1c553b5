/** What the filter of a read that found nothing names, and the record does not know. */
import * as Effect from "effect/Effect"
import type { NotFound, ThreadlineError } from "../../ThreadlineError.js"
import { tableOf } from "../record/key.js"
import { checkTables } from "../record/tables.js"
import { checkColumns } from "../record/unknownColumn.js"
import type { Filter } from "./filter.js"
import type { Plan } from "./plan.js"

export const checkNames = Effect.fnUntraced(function* (
  { row, storage }: Plan,
  { changedField, contains, cursor, table }: Filter
): Effect.fn.Return<void, NotFound | ThreadlineError> {
  if (table === undefined) {
    return
  }
  if (row === undefined) {
    yield* checkTables(storage, table)
  }
  // The changes of the pages before may have left the record since.
  if (table.length === 1 && cursor === undefined) {
    yield* checkColumns(storage, tableOf(table[0]), [...(changedField ?? []), ...Object.keys(contains ?? {})])
  }
})
