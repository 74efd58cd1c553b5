/** For a column that a table does not have: the name that was probably meant. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { NotFound } from "../../ThreadlineError.js"
import { nearest } from "../core/suggest.js"
import { format, type TableName } from "../core/tableName.js"
import { rows, type Storage, unionAll } from "./storage.js"
import { byName, type Table } from "./tables.js"

const Names = Schema.parseJson(Schema.Array(Schema.String))

const Columns = Schema.Struct({ columns: Names, key: Names })

/** The columns that the policy of a table knows and those that it has in this database; no row if it is not captured. */
const columnsOf = ({ name, sql }: Storage, table: TableName) => sql`
  select
    (
      select coalesce(pg_catalog.jsonb_agg(c.name order by c.place, c.name), '[]')
      from (
        select n.name, pg_catalog.min(n.place) as place
        from (
          select e.value ->> 'name'::text as name, e.place
          from pg_catalog.jsonb_array_elements(p.columns) with ordinality e (value, place)
          union all
          select e.value ->> 'name'::text, 0
          from pg_catalog.jsonb_array_elements(p.key_columns) e (value)
          union all
          select e.value ->> 'name'::text, 0
          from pg_catalog.jsonb_array_elements(p.former_keys) f (value),
            pg_catalog.jsonb_array_elements(f.value) e (value)
          union all
          select e.value ->> 'formerly'::text, 0
          from pg_catalog.jsonb_array_elements(p.former_columns) e (value)
          union all
          select a.attname::text, a.attnum
          from pg_attribute a
            join pg_class c on c.oid = a.attrelid
            join pg_namespace n on n.oid = c.relnamespace
          where a.attnum > 0
            and not a.attisdropped
            and (
              (n.nspname = p.table_schema and c.relname = p.table_name)
              or (c.oid = p.relation and p.database = current_database()::text)
            )
        ) n
        group by n.name
      ) c
    )::text as columns,
    (
      select coalesce(pg_catalog.jsonb_agg(e.value ->> 'name'::text order by e.place), '[]')
      from pg_catalog.jsonb_array_elements(p.key_columns) with ordinality e (value, place)
    )::text as key
  from ${name("policy_of")}(${table.schema}, ${table.name}) o
    join ${name("capture_policies")} p on p.table_schema = o.policy_schema and p.table_name = o.policy_name
  where p.columns <> '[]'`

/** Undefined if this is not known: after a failed statement, its transaction accepts no further one. */
const knownColumns = (storage: Storage, table: TableName): Effect.Effect<typeof Columns.Type | undefined> =>
  rows(Columns, columnsOf(storage, table)).pipe(
    Effect.map(([row]) => row),
    Effect.orElseSucceed(() => undefined)
  )

/** The most changes that are looked at. A table with more changes may have had a column that none of these shows. */
const mostChanges = 10_000

/** At most so many names are looked for. */
const mostNames = 50

const Occurrences = Schema.Struct({
  changes: Schema.NumberFromString,
  occurs: Schema.parseJson(Schema.Array(Schema.NullOr(Schema.Boolean)))
})

/** How many changes a table has, and which columns occur in them. The table may have had a column that was dropped. */
const occurrences = (storage: Storage, table: Table, columns: ReadonlyArray<string>) => {
  const { name, sql } = storage
  const occurs = columns.map(
    (column) => sql`
      pg_catalog.bool_or(
        coalesce(c.data_after ? ${column}::text, false)
        or coalesce(c.changed_from ? ${column}::text, false)
        or coalesce(${column} = any (c.changed_fields), false)
      )`
  )
  return sql`
    select count(*)::text as changes, pg_catalog.jsonb_build_array(${sql.csv(occurs)})::text as occurs
    from (
      ${unionAll(
        byName(storage, table, "c").map(
          (ofName) => sql`(
        select c.data_after, c.changed_from, c.changed_fields
        from ${name("audit_changes")} c
        where ${ofName}
        order by c.transaction_id desc, c.id desc
        limit ${mostChanges + 1}
      )`
        )
      )}
    ) c`
}

/**
 * For a read that found nothing. Fails with `NotFound` if one of the columns was certainly never a column of this captured table.
 * A reader under a scope is told nothing of columns.
 */
export const checkColumns = Effect.fnUntraced(function* (
  storage: Storage,
  table: Table,
  columns: ReadonlyArray<string>
): Effect.fn.Return<void, NotFound> {
  if (storage.restriction !== undefined || columns.length === 0) {
    return
  }
  const captured = yield* knownColumns(storage, table)
  const unknown = columns.filter((column) => captured?.columns.includes(column) === false).slice(0, mostNames)
  if (captured === undefined || unknown.length === 0) {
    return
  }
  const [evidence] = yield* rows(Occurrences, occurrences(storage, table, unknown)).pipe(
    Effect.orElseSucceed((): ReadonlyArray<typeof Occurrences.Type> => [])
  )
  const misspelt = unknown.find((_, index) => evidence?.occurs[index] !== true)
  if (evidence !== undefined && evidence.changes <= mostChanges && misspelt !== undefined) {
    yield* new NotFound({
      subject: "column",
      id: misspelt,
      detail: `${format(table)} has no such column`,
      suggestion: nearest(misspelt, captured.columns)
    })
  }
})

/** The column of the key that was probably meant by one of those given, if the table has no such column. */
export const keyColumnMeant = (
  storage: Storage,
  table: TableName,
  namedColumns: ReadonlyArray<string>
): Effect.Effect<string | undefined> =>
  storage.restriction !== undefined || namedColumns.length === 0
    ? Effect.succeed(undefined)
    : Effect.map(knownColumns(storage, table), (captured) => {
        const misspelt = namedColumns.find((column) => captured?.columns.includes(column) === false)
        const missing = captured?.key.filter((column) => !namedColumns.includes(column)) ?? []
        return misspelt === undefined ? undefined : nearest(misspelt, missing)
      })
