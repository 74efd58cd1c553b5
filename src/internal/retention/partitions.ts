/** The partitions of `audit_changes`, oldest first. */
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { ThreadlineError } from "../../ThreadlineError.js"
import { rows, type Storage } from "../record/storage.js"
import { instantColumn } from "../record/change.js"
import { qualified } from "../sql/sqlText.js"

const PartitionRow = Schema.Struct({
  schema: Schema.String,
  name: Schema.String,
  since: Schema.NullOr(Schema.String),
  until: Schema.NullOr(Schema.String),
  kind: Schema.String,
  estimate: Schema.String
})

export interface Partition {
  readonly schema: string
  readonly name: string
  /** Undefined for the default partition, which is the last one. */
  readonly bounds: { readonly from: string; readonly until: string } | undefined
  /** Rows, as the planner thinks; -1 if it does not know. */
  readonly estimate: number
}

/** Another session holds the lock of a partition, or waiting for it would have held up others. */
export const isContended = (error: unknown): boolean =>
  ThreadlineError.is(error) && (error.sqlState === "55P03" || error.sqlState === "40P01")

export const leafName = ({ name, schema }: Partition): string => qualified(schema, name)

export const leafOf = ({ sql }: Storage, partition: Partition): Fragment => sql.literal(leafName(partition))

/** The names that have changes in a partition, as a query `names` that begins a statement. Each is found by the index of tables. */
export const recordedNames = (sql: Storage["sql"], leaf: Fragment): Fragment => sql`
  with recursive names as (
    (
      select c.table_schema, c.table_name
      from ${leaf} c
      order by c.table_schema, c.table_name
      limit 1
    )
    union all
    select n.table_schema, n.table_name
    from names l
    cross join lateral (
      select c.table_schema, c.table_name
      from ${leaf} c
      where (c.table_schema, c.table_name) > (l.table_schema, l.table_name)
      order by c.table_schema, c.table_name
      limit 1
    ) n
  )`

export const partitions = (storage: Storage): Effect.Effect<ReadonlyArray<Partition>, ThreadlineError> => {
  const { sql } = storage
  // Bounds are written as the session writes instants, with their zone.
  const bound = (word: string) =>
    sql`((regexp_match(pg_get_expr(c.relpartbound, c.oid), ${`${word} [(]'(.*?)'`}))[1])::timestamptz`
  return Effect.flatMap(
    rows(
      PartitionRow,
      sql`
      select p.schema, p.name, p.kind, ${instantColumn(sql, "p.since")} as since, ${instantColumn(sql, "p.until")} as until, p.estimate
      from (
        select n.nspname::text as schema, c.relname::text as name, c.relkind::text as kind, c.reltuples::bigint::text as estimate,
          ${bound("FROM")} as since, ${bound("TO")} as until
        from pg_catalog.pg_inherits i
        join pg_catalog.pg_class c on c.oid = i.inhrelid
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where i.inhparent = to_regclass(${qualified(storage.schema, "audit_changes")})
      ) p
      order by p.since nulls last, p.name`
    ),
    (found) => {
      // Batches take rows by their place, which is unique in one table alone.
      const parent = found.find(({ kind }) => kind !== "r")
      return parent !== undefined
        ? Effect.fail(
            new ThreadlineError({
              reason: "Failed",
              detail: `retention cannot work with ${parent.schema}.${parent.name}, which is no table of its own: a month of the record is one partition`
            })
          )
        : Effect.succeed(
            found.map(({ estimate, name, schema, since, until }) => ({
              schema,
              name,
              bounds: since === null || until === null ? undefined : { from: since, until },
              estimate: Number(estimate)
            }))
          )
    }
  )
}
