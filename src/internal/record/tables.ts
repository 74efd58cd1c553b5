/**
 * The tables that the record knows, and their names. A table is found under the name that it has now. Each change is recorded
 * under the name that the table had then. So each name has a time. This is the one place where a table becomes a condition on
 * changes.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { NotFound, ThreadlineError } from "../../ThreadlineError.js"
import { instantColumn } from "./change.js"
import { all, rows, type Storage, unionAll } from "./storage.js"
import type { TableName } from "../core/tableName.js"
import { unknownTable } from "./unknownTable.js"

const Name = Schema.Struct({ schema: Schema.String, name: Schema.String })

/** From an instant up to another one, which is not part of the time. An end is null if the time has no such end. */
const time = { since: Schema.NullOr(Schema.String), until: Schema.NullOr(Schema.String) }

const TableSpan = Schema.Struct({ ...Name.fields, ...time })

/** A time in which the changes of a table are recorded under a name. */
export type TableSpan = typeof TableSpan.Type

const ColumnSpan = Schema.Struct({ column: Schema.String, formerly: Schema.String, ...time })

/** A time in which a column had another name than it has now. */
export type ColumnSpan = typeof ColumnSpan.Type

/** What `tableColumns` reads of a table. */
export const TableNames = Schema.parseJson(
  Schema.Struct({
    /** The policy of the table. Null if it has none. */
    policy: Schema.NullOr(Name),
    spans: Schema.Array(TableSpan),
    columns: Schema.Array(ColumnSpan),
    /** The columns that its policy knows. */
    present: Schema.Array(Schema.String)
  })
)

/** A table under the name that a caller gave, with all of its names. */
export interface Table extends TableName {
  readonly policy: TableName
  readonly spans: ReadonlyArray<TableSpan>
  readonly columns: ReadonlyArray<ColumnSpan>
  readonly present: ReadonlyArray<string>
}

export const tableFrom = (
  { name, schema }: TableName,
  { columns, policy, present, spans }: typeof TableNames.Type
): Table => ({
  schema,
  name,
  policy: policy ?? { schema, name },
  spans,
  columns,
  present
})

/** The names of a table as an expression that `TableNames` decodes. */
export const tableNamesOf = ({ name, sql }: Storage, table: TableName): Fragment => sql`(
      select pg_catalog.json_build_object(
        'policy', (
          select pg_catalog.json_build_object('schema', o.policy_schema, 'name', o.policy_name)
          from ${name("policy_of")}(${table.schema}, ${table.name}) o
        ),
        'spans', (
          select pg_catalog.json_agg(pg_catalog.json_build_object(
            'schema', n.former_schema,
            'name', n.former_name,
            'since', ${instantColumn(sql, "nullif(n.since, '-infinity')")},
            'until', ${instantColumn(sql, "nullif(n.until, 'infinity')")}
          ) order by n.since, n.until)
          from ${name("table_names")}(${table.schema}, ${table.name}) n
        ),
        'columns', coalesce((
          select pg_catalog.json_agg(pg_catalog.json_build_object(
            'column', e.column_name,
            'formerly', e.formerly,
            'since', ${instantColumn(sql, "nullif(e.since, '-infinity')")},
            'until', ${instantColumn(sql, "nullif(e.until, 'infinity')")}
          ))
          from ${name("column_names")}(${table.schema}, ${table.name}) e
        ), '[]'),
        'present', coalesce((
          select pg_catalog.jsonb_path_query_array(p.columns, '$[*].name')
          from ${name("policy_of")}(${table.schema}, ${table.name}) o
            join ${name("capture_policies")} p on p.table_schema = o.policy_schema and p.table_name = o.policy_name
        ), '[]')
      )
    )::text`

const NamesRow = Schema.Struct({ names: TableNames })

/** Tables with all of their names, in one statement. A table that the record does not know has only its own name. */
export const resolveTables = (
  storage: Storage,
  tables: ReadonlyArray<TableName>
): Effect.Effect<ReadonlyArray<Table>, ThreadlineError> => {
  const { sql } = storage
  const statement = sql`${unionAll(
    tables.map(
      (table, place) => sql`
    select ${tableNamesOf(storage, table)} as names, ${sql.literal(String(place))} as place`
    )
  )}
    order by place`
  return tables.length === 0
    ? Effect.succeed([])
    : Effect.map(rows(NamesRow, statement), (namesRows) =>
        tables.map((table, place) =>
          tableFrom(
            table,
            namesRows[place]?.names ?? {
              policy: null,
              spans: [{ ...table, since: null, until: null }],
              columns: [],
              present: []
            }
          )
        )
      )
}

const StrayedRow = Schema.Struct({ policy: Schema.parseJson(Name), ...Name.fields, since: Schema.String })

/**
 * Tables with the names too under which they wrote since they were renamed, though no policy has followed them yet. A name that
 * another captured table had meanwhile is left out: nothing tells whose its changes are.
 */
export const withStrayedNames = (
  storage: Storage,
  tables: ReadonlyArray<Table>
): Effect.Effect<ReadonlyArray<Table>, ThreadlineError> => {
  const { name, sql } = storage
  const statement = sql`
    select pg_catalog.json_build_object('schema', s.table_schema, 'name', s.table_name)::text as policy, i.parts[1] as schema,
      i.parts[2] as name, ${instantColumn(sql, "s.sighted")} as since
    from ${name("strayed_names")}() s
    cross join lateral pg_catalog.unnest(s.names) u (name)
    cross join lateral (select pg_catalog.parse_ident(u.name) as parts) i
    where s.sighted is not null
      and not s.contested
      and (i.parts[1] <> s.table_schema or i.parts[2] <> s.table_name)`
  return tables.length === 0
    ? Effect.succeed(tables)
    : Effect.map(rows(StrayedRow, statement), (strayed) =>
        tables.map((table) => ({
          ...table,
          spans: [
            ...table.spans,
            ...strayed
              .filter(({ policy }) => policy.schema === table.policy.schema && policy.name === table.policy.name)
              .map((span) => ({ schema: span.schema, name: span.name, since: span.since, until: null }))
          ]
        }))
      )
}

/** The condition that `captured_at` under an alias lies in a time. */
export const withinSpan = (
  { sql }: Pick<Storage, "sql">,
  { since, until }: Pick<TableSpan, "since" | "until">,
  alias: string
): ReadonlyArray<Fragment> => [
  ...(since === null ? [] : [sql`${sql.literal(alias)}.captured_at >= ${since}::timestamptz`]),
  ...(until === null ? [] : [sql`${sql.literal(alias)}.captured_at < ${until}::timestamptz`])
]

/**
 * For each name of a table, the condition that a change under an alias of `audit_changes` has this name. A statement that reads
 * in the order of an index reads each name by itself.
 */
export const byName = (storage: Storage, table: Table, alias: string): ReadonlyArray<Fragment> => {
  const { sql } = storage
  return table.spans.map((span) =>
    all([
      sql`${sql.literal(alias)}.table_schema = ${span.schema} and ${sql.literal(alias)}.table_name = ${span.name}`,
      ...withinSpan(storage, span, alias)
    ])
  )
}

/** The condition that a change under an alias of `audit_changes` is of a table, under whichever name. */
export const ofTable = (storage: Storage, table: Table, alias: string): Fragment => {
  const [first, ...others] = byName(storage, table, alias)
  return first === undefined ? storage.sql`false` : others.length === 0 ? first : storage.sql.or([first, ...others])
}

const Known = Schema.Struct({ known: Schema.Literal("true", "false") })

/** Fails with `NotFound` for a table that neither is captured nor has changes. A captured table may have none yet. */
export const checkTables = (
  storage: Storage,
  tables: ReadonlyArray<TableName>
): Effect.Effect<void, NotFound | ThreadlineError> =>
  Effect.forEach(
    tables,
    (table) => {
      const { name, sql } = storage
      const knownStatement = sql`
        select (
          exists (
            select from ${name("policy_of")}(${table.schema}, ${table.name})
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
