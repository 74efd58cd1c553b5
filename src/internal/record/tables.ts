/**
 * Which tables the record knows: those that are or were captured, and those that have changes.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { NotFound, ThreadlineError } from "../../ThreadlineError.js"
import { tableOf } from "./key.js"
import { rows, type Storage } from "./storage.js"
import { unknownTable } from "./unknownTable.js"

const Known = Schema.Struct({ known: Schema.Literal("true", "false") })

/** A table without changes is either one that never changed or one that is not audited. */
export const checkTables = (
  storage: Storage,
  tables: ReadonlyArray<string>
): Effect.Effect<void, NotFound | ThreadlineError> =>
  Effect.forEach(
    tables,
    (text) => {
      const { name, sql } = storage
      const table = tableOf(text)
      const knownStatement = sql`
        select (
          exists (
            select from ${name("capture_policies")}
            where table_schema = ${table.schema}
              and table_name = ${table.name}
          ) or exists (
            select from ${name("audit_changes")}
            where table_schema = ${table.schema}
              and table_name = ${table.name}
          )
        )::text as known`
      return Effect.flatMap(rows(Known, knownStatement), ([row]) =>
        row?.known === "true" ? Effect.void : unknownTable(storage, table)
      )
    },
    { discard: true }
  )
