/** For a table that the record does not know: it exists and is not captured, or its name is similar to that of another table. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { NotFound, type ThreadlineError } from "../../ThreadlineError.js"
import { nearest } from "../core/suggest.js"
import { format, type TableName } from "../core/tableName.js"
import { rows, type Storage } from "./storage.js"

const Name = Schema.Struct({ schema: Schema.String, name: Schema.String })

const TableFacts = Schema.Struct({
  kind: Schema.NullOr(Schema.String),
  root: Schema.NullOr(Schema.parseJson(Name)),
  captured: Schema.parseJson(Schema.Array(Name))
})

/** At most so many names are searched for a similar one. */
const mostNames = 10_000

const tableFacts = ({ name, sql }: Storage, table: TableName) => sql`
  select
    (
      select c.relkind::text
      from pg_class c
      where c.oid = named.relation
        and c.relkind in ('r', 'p', 'f')
    ) as kind,
    (
      select pg_catalog.jsonb_build_object('schema', n.nspname, 'name', c.relname)
      from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
      where c.oid = pg_catalog.pg_partition_root(named.relation)
        and c.oid <> named.relation
    )::text as root,
    (
      select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('schema', p.table_schema, 'name', p.table_name)), '[]')
      from (
        select p.table_schema, p.table_name
        from ${name("capture_policies")} p
        order by p.table_schema, p.table_name
        limit ${mostNames}
      ) p
    )::text as captured
  from (
    select (
      select c.oid
      from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
      where n.nspname = ${table.schema}
        and c.relname = ${table.name}
    ) as relation
  ) named`

/** A captured table of the same name in another schema, else the one whose name is nearest. */
const meant = (table: TableName, captured: ReadonlyArray<TableName>): string | undefined => {
  const named = (name: string | undefined): string | undefined => {
    const tableOfName = captured.find((other) => other.name === name)
    return tableOfName === undefined ? undefined : format(tableOfName)
  }
  return (
    named(table.name) ??
    nearest(format(table), captured.map(format)) ??
    named(
      nearest(
        table.name,
        captured.map(({ name }) => name)
      )
    )
  )
}

/** Fails with `NotFound`. A reader under a scope is told nothing of other tables, nor whether this one is there. */
export const unknownTable = (storage: Storage, table: TableName): Effect.Effect<never, NotFound | ThreadlineError> => {
  const id = format(table)
  const notFound = new NotFound({ subject: "table", id })
  if (storage.restriction !== undefined) {
    return notFound
  }
  return rows(TableFacts, tableFacts(storage, table)).pipe(
    // After a failed statement, its transaction accepts no further one.
    Effect.orElseSucceed((): ReadonlyArray<typeof TableFacts.Type> => []),
    Effect.flatMap(([facts]) => {
      if (facts === undefined) {
        return notFound
      }
      if (facts.root !== null) {
        return new NotFound({ subject: "table", id, detail: "it is a partition", suggestion: format(facts.root) })
      }
      if (facts.kind !== null) {
        return new NotFound({ subject: "table", id, detail: "it exists, but it is not captured" })
      }
      const suggestion = meant(table, facts.captured)
      return suggestion === undefined ? notFound : new NotFound({ subject: "table", id, suggestion })
    })
  )
}
