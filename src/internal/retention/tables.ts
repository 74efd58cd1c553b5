/**
 * The tables that a policy names. An unknown name is an error: a doubtful policy removes nothing.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { InvalidRequest, type NotFound, type ThreadlineError } from "../../ThreadlineError.js"
import { format, type TableName } from "../core/tableName.js"
import { rows, type Storage } from "../record/storage.js"
import { checkTables, resolveTables, type Table, withStrayedNames } from "../record/tables.js"

const Known = Schema.Struct({ known: Schema.Literal("true", "false") })

/** A table that the record does not know yet is fine if it exists: it may be captured later. One that is misspelt is not. */
const checkTable = (storage: Storage, table: TableName): Effect.Effect<void, NotFound | ThreadlineError> =>
  Effect.flatMap(
    rows(
      Known,
      storage.sql`
        select exists (
          select from pg_catalog.pg_class c
            join pg_catalog.pg_namespace n on n.oid = c.relnamespace
          where n.nspname = ${table.schema}
            and c.relname = ${table.name}
            and c.relkind in ('r', 'p', 'f')
            and not c.relispartition
        )::text as known`
    ),
    ([row]) => (row?.known === "true" ? Effect.void : checkTables(storage, [table]))
  )

const StrayedRow = Schema.Struct({
  schema: Schema.String,
  name: Schema.String,
  doubtful: Schema.Literal("true", "false")
})

/**
 * The name by which the record knows a table that was renamed and that no policy has followed yet. If captured tables exchanged their
 * names, nothing tells what a name means, and nothing may go because of it.
 */
const recordedName = (
  { name, sql }: Storage,
  table: TableName,
  field: string
): Effect.Effect<TableName, InvalidRequest | ThreadlineError> =>
  Effect.flatMap(
    rows(
      StrayedRow,
      sql`
        select s.table_schema as schema, s.table_name as name, (s.contested or s.taken is not null)::text as doubtful
        from ${name("strayed_names")}() s
        where format('%I.%I', ${table.schema}::text, ${table.name}::text) = any (s.names)
        order by s.contested or s.taken is not null desc`
    ),
    ([strayed]) =>
      strayed === undefined
        ? Effect.succeed(table)
        : strayed.doubtful === "true"
          ? new InvalidRequest({
              field,
              rule: `names ${format(table)}, a name that changed hands since capture was applied: run threadline capture apply`
            })
          : Effect.succeed({ schema: strayed.schema, name: strayed.name })
  )

/** The table of a name that the host wrote in `field`. */
export const resolveTable = (
  storage: Storage,
  given: TableName,
  field: string
): Effect.Effect<Table, InvalidRequest | NotFound | ThreadlineError> =>
  Effect.zipRight(
    checkTable(storage, given),
    Effect.flatMap(recordedName(storage, given, field), (table) =>
      Effect.flatMap(resolveTables(storage, [table]), (resolved) =>
        Effect.map(
          withStrayedNames(storage, resolved),
          ([first]) =>
            first ?? {
              ...table,
              policy: table,
              spans: [{ ...table, since: null, until: null }],
              columns: [],
              present: []
            }
        )
      )
    )
  )
