/**
 * Reads the tables to capture, what is installed on them, and the deployed policies: in one snapshot, for any number of tables.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { ParseError } from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { ThreadlineError } from "../../ThreadlineError.js"
import { Catalog, Gap, type Name, Strayed } from "./catalogModel.js"
import { catalogStatement } from "./catalogStatement.js"
import { refuseHidden } from "../sql/hidden.js"
import { qualified } from "../sql/sqlText.js"
import { Standing, standingOf } from "../sql/standing.js"
import { watchOf, WatchRow, watchStatement } from "../sql/watch.js"

const decode = Schema.decodeUnknown(Schema.Tuple(Schema.Struct({ catalog: Schema.parseJson(Catalog) })))

/**
 * How much of the catalog is read: everything that is captured and the named tables, or only the named tables and the functions
 * with the given names.
 */
export type Extent = "everything" | { readonly functions: ReadonlyArray<string> }

/**
 * Reads the catalog. Run it in a transaction whose search path is `pg_catalog, pg_temp`. It fails if row-level security may hide
 * policies: what is captured would look as if it were not.
 */
export const readCatalog = (
  sql: SqlClient,
  storage: string,
  names: ReadonlyArray<Name>,
  extent: Extent
): Effect.Effect<Catalog, SqlError | ParseError | ThreadlineError> =>
  Effect.gen(function* () {
    yield* refuseHidden(sql, storage, "so that nothing can be said of what is captured")
    const everything = extent === "everything"
    const rows = yield* sql.unsafe(catalogStatement(storage), [
      JSON.stringify(names),
      storage,
      everything,
      everything ? [] : extent.functions
    ])
    const [{ catalog }] = yield* decode(rows)
    const [{ watch }] = yield* Effect.flatMap(sql.unsafe(watchStatement(storage)), decodeWatch)
    return {
      ...catalog,
      watch: watchOf(storage, watch),
      // A role that may not call these functions gets no gaps. `refuseUnknown` fails for it before a status depends on them.
      gaps: catalog.storage.knowsGaps
        ? yield* Effect.flatMap(sql.unsafe(gapsStatement(storage), [JSON.stringify(names), everything]), decodeGaps)
        : [],
      strayed: catalog.storage.knowsGaps
        ? yield* Effect.flatMap(sql.unsafe(strayedStatement(storage)), decodeStrayed)
        : []
    }
  })

const CurrentRow = Schema.Tuple(Schema.Struct({ current: Schema.Boolean }))

/**
 * Whether the catalog would be the same if it were read now: no transaction other than the present one has committed since.
 * Subtransactions of the present one may count as others; then the answer is false.
 */
export const isCurrent = (
  sql: SqlClient,
  { snapshot }: Pick<Catalog, "snapshot">
): Effect.Effect<boolean, SqlError | ParseError> =>
  sql`
    select not exists (
      select
      from (
        select pg_snapshot_xip(${snapshot}::pg_snapshot)
        union all
        select xid::text::xid8
        from generate_series(
          pg_snapshot_xmax(${snapshot}::pg_snapshot)::text::bigint,
          pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1
        ) xid
      ) then_running (xid)
      where then_running.xid is distinct from pg_current_xact_id_if_assigned()
        and pg_visible_in_snapshot(then_running.xid, pg_current_snapshot())
    ) as current
  `.pipe(
    Effect.flatMap(Schema.decodeUnknown(CurrentRow)),
    Effect.map(([{ current }]) => current)
  )

/** Fails if the role may read the policies, but not whether they still hold. An answer without gaps would say that they do. */
export const refuseUnknown = ({ role, storage }: Catalog): Effect.Effect<void, ThreadlineError> =>
  storage.knowsGaps
    ? Effect.void
    : Effect.fail(
        new ThreadlineError({
          reason: "InsufficientPrivilege",
          detail: `the role ${role} may read the policies, but not whether they still hold; "threadline grant --reader" gives it`
        })
      )

const decodeGaps = Schema.decodeUnknown(
  Schema.Array(
    Schema.Struct({
      ...Gap.fields,
      moved: Schema.parseJson(Gap.fields.moved),
      otherPartitions: Schema.parseJson(Gap.fields.otherPartitions),
      alteredTypes: Schema.parseJson(Gap.fields.alteredTypes),
      rewritten: Schema.parseJson(Gap.fields.rewritten),
      shownOtherwise: Schema.parseJson(Gap.fields.shownOtherwise)
    })
  )
)

const decodeWatch = Schema.decodeUnknown(Schema.Tuple(WatchRow))
const decodeStrayed = Schema.decodeUnknown(Schema.Array(Strayed))

const strayedStatement = (storage: string): string => `
select
  jsonb_build_object('schema', s.table_schema, 'name', s.table_name)::text as "from",
  jsonb_build_object('schema', s.present_schema, 'name', s.present_name)::text as "to"
from ${qualified(storage, "strayed_names")}() s
order by s.table_schema, s.table_name
`

// Without a gap, no partition has moved and no column is rewritten: the functions that return the details are not called.
const gapsStatement = (storage: string): string => `
select
  p.table_schema as schema,
  p.table_name as name,
  g.gap,
  g.since::text as since,
  case when g.gap is null then '[]' else coalesce((
    select jsonb_agg(jsonb_build_object('schema', i.names[1], 'name', i.names[2]) order by i.names)
    from pg_namespace n
    join pg_class c on c.relnamespace = n.oid and c.relname = p.table_name
    cross join lateral unnest(${qualified(storage, "partitions_moved")}(c.oid, p.partition_marks)) m (label)
    cross join lateral (select parse_ident(m.label)) i (names)
    where n.nspname = p.table_schema
      and p.database = ${qualified(storage, "this_database")}()
  ), '[]')::text end as moved,
  coalesce((
    select jsonb_agg(jsonb_build_object('schema', i.names[1], 'name', i.names[2]) order by i.names)
    from jsonb_object_keys(p.partition_marks) m (label)
    cross join lateral (select parse_ident(m.label)) i (names)
    join pg_namespace n on n.nspname = i.names[1]
    join pg_class c on c.relnamespace = n.oid and c.relname = i.names[2]
    where c.oid::text <> all (array(select split_part(k.value, '/', 1) from jsonb_each_text(p.partition_marks) k))
      and p.database = ${qualified(storage, "this_database")}()
  ), '[]')::text as "otherPartitions",
  coalesce((
    select to_jsonb(${qualified(storage, "key_values_renamed")}(p.relation, p.key_columns, p.key_values))
    where p.database = ${qualified(storage, "this_database")}()
  ), '[]')::text as "alteredTypes",
  case when g.gap is null then '[]' else coalesce((
    select jsonb_agg(distinct w.name)
    from pg_class c
    cross join lateral ${qualified(storage, "columns_rewritten")}(c.oid, p.row_marks, p.key_columns) w
    where c.oid = p.relation
      and w.type is null
      and p.database = ${qualified(storage, "this_database")}()
  ), '[]')::text end as rewritten,
  case when g.gap is null then '[]' else coalesce((
    select jsonb_agg(distinct jsonb_build_object('column', w.name, 'type', w.type))
    from pg_class c
    cross join lateral ${qualified(storage, "columns_rewritten")}(c.oid, p.row_marks, p.key_columns) w
    where c.oid = p.relation
      and w.type is not null
      and p.database = ${qualified(storage, "this_database")}()
  ), '[]')::text end as "shownOtherwise",
  case when g.gap is null then false else exists (
    select
    from ${qualified(storage, "columns_rewritten")}(p.relation, p.row_marks, p.key_columns) w
    where w.unread
      and p.database = ${qualified(storage, "this_database")}()
  ) end as unread,
  coalesce(g.restarted, false) as restarted,
  p.database is distinct from ${qualified(storage, "this_database")}() as elsewhere
from ${qualified(storage, "capture_policies")} p
cross join lateral (
  select (array_agg(r.gap order by r.place))[1] as gap, min(r.since) as since, bool_or(r.gap = 'restarted') as restarted
  from ${qualified(storage, "capture_gaps")}(p.table_schema, p.table_name) with ordinality r (gap, since, place)
) g
where p.removed_at is null
  and ($2::boolean or (p.table_schema, p.table_name) in (
    select w.schema, w.name from jsonb_to_recordset($1::jsonb) as w (schema text, name text)
  ))
`

const StandingRow = Schema.Tuple(Schema.Struct({ standing: Standing }))

/** Reads who owns the record, which other roles may write it, and what hides or blocks its rows. */
export const readStanding = (sql: SqlClient, storage: string): Effect.Effect<Standing, SqlError | ParseError> =>
  sql.unsafe(standingOf(storage)).pipe(
    Effect.flatMap(Schema.decodeUnknown(StandingRow)),
    Effect.map(([{ standing }]) => standing)
  )
