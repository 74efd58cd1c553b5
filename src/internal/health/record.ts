/**
 * The state of the record and of its database: partitions, indexes, consumers, who wrote. Each question is a statement of its
 * own, because a role may have the right to only some of them.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { ParseError } from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type { Gap } from "../capture/catalogModel.js"
import { literal, qualified } from "../sql/sqlText.js"
import { mostDefaultRows, mostTransactions } from "./bounds.js"
import { recordIndexes } from "./indexes.js"

type Reading<A> = Effect.Effect<A, SqlError | ParseError>

/** An instant as text: UTC with microseconds. */
export const instant = (expression: string): string =>
  `to_char(${expression} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`

const Names = Schema.Array(Schema.String)
const names = Schema.parseJson(Names)

const readOne = <A, I>(sql: SqlClient, row: Schema.Schema<A, I>, statement: string): Reading<A> =>
  Effect.map(
    Effect.flatMap(sql.unsafe(statement), Schema.decodeUnknown(Schema.Tuple(Schema.asSchema(row)))),
    ([decoded]) => decoded
  )

/** What the connected role may read. */
const Rights = Schema.Struct({
  at: Schema.String,
  role: Schema.String,
  installed: Schema.Boolean,
  /** It may use the schema. */
  usage: Schema.Boolean,
  /** It may read every table of the record that health reads. */
  policies: Schema.Boolean,
  baselines: Schema.Boolean,
  changes: Schema.Boolean,
  transactions: Schema.Boolean,
  consumers: Schema.Boolean,
  version: Schema.Boolean
})

export type Rights = typeof Rights.Type

export const readRights = (sql: SqlClient, storage: string): Reading<Rights> => {
  const may = (table: string) =>
    `coalesce(has_table_privilege(to_regclass(${literal(qualified(storage, table))}), 'select'), false)`
  const mayCall = (name: string, parameters: string) =>
    `coalesce(has_function_privilege(to_regprocedure(${literal(`${qualified(storage, name)}(${parameters})`)}), 'execute'), false)`
  return readOne(
    sql,
    Rights,
    `
with storage as (
  select coalesce((select has_schema_privilege(n.oid, 'usage') from pg_namespace n where n.nspname = ${literal(storage)}), false) as usage
)
select
  ${instant("clock_timestamp()")} as at,
  current_user::text as role,
  exists (select from pg_namespace n where n.nspname = ${literal(storage)}) as installed,
  s.usage,
  case when s.usage then ${may("capture_policies")} and ${mayCall("capture_gap", "text, text")} else false end as policies,
  case when s.usage then ${may("capture_baselines")} else false end as baselines,
  case when s.usage then ${may("audit_changes_default")} else false end as changes,
  case when s.usage then ${may("audit_transactions")} else false end as transactions,
  case when s.usage then ${may("feed_checkpoints")} and ${mayCall("feed_pending", "")} else false end as consumers,
  case when s.usage then ${mayCall("schema_version", "")} else false end as version
from storage s`
  )
}

/** When capture of a table began, and the times after that of which nothing is known. */
const Times = Schema.Struct({
  schema: Schema.String,
  name: Schema.String,
  since: Schema.String,
  keptSince: Schema.NullOr(Schema.String),
  /** A change since then makes its row known. Null while a lapse lasts, or if the table is not captured. */
  knownFrom: Schema.NullOr(Schema.String),
  lapses: Schema.parseJson(
    Schema.Array(Schema.Struct({ since: Schema.NullOr(Schema.String), until: Schema.NullOr(Schema.String) }))
  )
})

export type Times = typeof Times.Type

/** The times of every policy. `gaps` are those of the catalog, in the same transaction, so that they are not asked for a second time. */
export const readTimes = (sql: SqlClient, storage: string, gaps: ReadonlyArray<Gap>): Reading<ReadonlyArray<Times>> =>
  Effect.flatMap(
    sql.unsafe(
      `
select
  p.table_schema as schema,
  p.table_name as name,
  ${instant("p.captured_since")} as since,
  ${instant("nullif(k.since, '-infinity')")} as "keptSince",
  ${instant("case when p.removed_at is null and not upper_inf(t.lapses) then greatest(p.captured_since, upper(t.lapses), nullif(k.since, '-infinity')) end")} as "knownFrom",
  coalesce((
    select jsonb_agg(jsonb_build_object(
      'since', ${instant("nullif(lower(l.lapse), '-infinity')")},
      'until', ${instant("nullif(upper(l.lapse), 'infinity')")}
    ) order by l.lapse)
    from unnest(t.lapses) l (lapse)
  ), '[]')::text as lapses
from ${qualified(storage, "capture_policies")} p
left join jsonb_to_recordset($1::jsonb) as g (schema text, name text, since timestamptz)
  on g.schema = p.table_schema and g.name = p.table_name
cross join lateral (select ${qualified(storage, "kept_since")}(p.table_schema, p.table_name) as since) k
cross join lateral (
  select ${qualified(storage, "lapses_with")}(p.table_schema, p.table_name, g.since) as lapses
) t
order by p.table_schema, p.table_name`,
      [JSON.stringify(gaps.map(({ name, schema, since }) => ({ schema, name, since })))]
    ),
    Schema.decodeUnknown(Schema.Array(Times))
  )

const Version = Schema.Struct({ version: Schema.Int })

export const readVersion = (sql: SqlClient, storage: string): Reading<number> =>
  Effect.map(
    readOne(sql, Version, `select ${qualified(storage, "schema_version")}()::int as version`),
    ({ version }) => version
  )

/** What the catalog alone tells of the record and of its database. Reading it needs no privilege. */
const Structure = Schema.Struct({
  /** The last instant for which there is a partition. */
  partitionsUntil: Schema.NullOr(Schema.String),
  /** Whether that is in the past, or soon will be. */
  partitionsMissing: Schema.Literal("now", "soon", "no"),
  missingIndexes: names,
  invalidIndexes: names,
  unlogged: names,
  replicaSettings: names,
  replicaAllowed: names,
  subscribed: Schema.parseJson(
    Schema.Array(Schema.Struct({ schema: Schema.String, name: Schema.String, count: Schema.Int }))
  )
})

export type Structure = typeof Structure.Type

/** How long before the end of the last partition a finding warns of it: retention and its schedule may run once a month. */
const partitionsAhead = "14 days"

export const readStructure = (sql: SqlClient, storage: string): Reading<Structure> =>
  readOne(
    sql,
    Structure,
    `
with tables as (
  select c.oid, c.relname, c.relkind, c.relpersistence, c.relispartition, format('%I.%I', n.nspname, c.relname) as label
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = ${literal(storage)} and c.relkind in ('r', 'p')
),
bounds as (
  select max(b.parts[1]::timestamptz) as until
  from tables p
  join pg_inherits i on i.inhparent = p.oid
  join pg_class c on c.oid = i.inhrelid
  cross join lateral (
    select regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO [(]''(.*?)''[)]') as parts
  ) b
  where p.relname = 'audit_changes' and b.parts is not null
)
select
  ${instant("b.until")} as "partitionsUntil",
  case
    when b.until is null or b.until <= now() then 'now'
    when b.until < now() + interval '${partitionsAhead}' then 'soon'
    else 'no'
  end as "partitionsMissing",
  coalesce((
    select jsonb_agg(w.name order by w.name)
    from unnest(array[${recordIndexes.map(({ name }) => literal(name)).join(", ")}]::text[]) w (name)
    where not exists (
      select
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
      where n.nspname = ${literal(storage)} and c.relname = w.name and c.relkind in ('i', 'I')
    )
  ), '[]')::text as "missingIndexes",
  coalesce((
    select jsonb_agg(x.oid::regclass::text order by x.relname)
    from tables t
    join pg_index k on k.indrelid = t.oid
    join pg_class x on x.oid = k.indexrelid
    where not (k.indisvalid and k.indisready and k.indislive)
  ), '[]')::text as "invalidIndexes",
  coalesce((
    select jsonb_agg(t.label order by t.label) from tables t where t.relpersistence = 'u'
  ), '[]')::text as unlogged,
  coalesce((
    select jsonb_agg(e.label order by e.label)
    from (
      select concat_ws(' in ', case when s.setrole <> 0 then 'role ' || quote_ident(pg_get_userbyid(s.setrole)) end,
        case when s.setdatabase <> 0 then 'database ' || quote_ident(current_database()) end) as label
      from pg_db_role_setting s
      cross join lateral unnest(s.setconfig) e (entry)
      where e.entry = 'session_replication_role=replica'
        and (s.setdatabase = 0 or s.setdatabase = (select d.oid from pg_database d where d.datname = current_database()))
    ) e
  ), '[]')::text as "replicaSettings",
  coalesce((
    select jsonb_agg(e.label order by e.label)
    from (
      select distinct case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as label
      from pg_parameter_acl p
      cross join lateral aclexplode(p.paracl) a
      left join pg_roles r on r.oid = a.grantee
      where p.parname = 'session_replication_role' and a.privilege_type = 'SET' and r.rolsuper is not true
    ) e
  ), '[]')::text as "replicaAllowed",
  coalesce((
    select jsonb_agg(jsonb_build_object('schema', n.nspname, 'name', c.relname, 'count', s.count) order by n.nspname, c.relname)
    from (select srrelid, count(*) as count from pg_subscription_rel group by srrelid) s
    join pg_class c on c.oid = s.srrelid
    join pg_namespace n on n.oid = c.relnamespace
  ), '[]')::text as subscribed
from bounds b`
  )

const Counted = Schema.Struct({ rows: Schema.Int })

/** How many changes are in the default partition, up to a bound. */
export const readDefaultPartition = (sql: SqlClient, storage: string): Reading<number> =>
  Effect.map(
    readOne(
      sql,
      Counted,
      `select count(*)::int as rows from (select from ${qualified(storage, "audit_changes_default")} limit ${mostDefaultRows}) x`
    ),
    ({ rows }) => rows
  )

const Consumer = Schema.Struct({ name: Schema.String, since: Schema.NullOr(Schema.String) })

export type Consumer = typeof Consumer.Type

/** Consumers of the feed that still need changes older than a day. One that has never stored anything needs all of them. */
export const readConsumers = (sql: SqlClient, storage: string): Reading<ReadonlyArray<Consumer>> =>
  Effect.flatMap(
    sql.unsafe(`
select f.name, ${instant("f.captured_at")} as since
from ${qualified(storage, "feed_pending")}() f
join ${qualified(storage, "feed_checkpoints")} c on c.name = f.name
where f.change_id is not null
  and coalesce(f.captured_at, c.updated_at) < now() - interval '1 day'
order by f.name`),
    Schema.decodeUnknown(Schema.Array(Consumer))
  )

const Writers = Schema.Struct({
  sampled: Schema.Boolean,
  applications: Schema.parseJson(
    Schema.Array(
      Schema.Struct({
        application: Schema.NullOr(Schema.String),
        transactions: Schema.Int,
        unattributed: Schema.Int
      })
    )
  ),
  problems: Schema.parseJson(Schema.Array(Schema.Struct({ problem: Schema.String, transactions: Schema.Int }))),
  /** Roles that wrote, and that own the record or may act as its owner. */
  ownerWrites: names
})

export type Writers = typeof Writers.Type

/** Who wrote in the last day. A refused part of a context is reported by its field and its rule, without its value. */
export const readWriters = (sql: SqlClient, storage: string): Reading<Writers> =>
  readOne(
    sql,
    Writers,
    `
with latest as materialized (
  select t.actor_type, t.context_error, nullif(t.application_name, '') as application_name, t.db_user
  from ${qualified(storage, "audit_transactions")} t
  where t.occurred_at >= now() - interval '1 day'
  order by t.occurred_at desc, t.id desc
  limit ${mostTransactions}
),
problems as (
  select split_part(e.entry, ': ', 1) || case
      when split_part(e.entry, ': ', 2) ~ '^(not |missing$|an anonymous|nests |has )'
      then ': ' || regexp_replace(split_part(e.entry, ': ', 2), ' ".*$', '') else '' end as problem
  from latest l
  cross join lateral regexp_split_to_table(l.context_error, '; ') e (entry)
  where l.context_error is not null
)
select
  (select count(*) = ${mostTransactions} from latest) as sampled,
  coalesce((
    select jsonb_agg(to_jsonb(a) order by a.unattributed desc, a.application)
    from (
      select l.application_name as application, count(*)::int as transactions,
        count(*) filter (where l.actor_type is null)::int as unattributed
      from latest l
      group by l.application_name
      having count(*) filter (where l.actor_type is null) > 0
      order by 3 desc
      limit 20
    ) a
  ), '[]')::text as applications,
  coalesce((
    select jsonb_agg(to_jsonb(p) order by p.transactions desc, p.problem)
    from (
      select left(problem, 128) as problem, count(*)::int as transactions from problems group by 1 order by 2 desc limit 20
    ) p
  ), '[]')::text as problems,
  coalesce((
    select jsonb_agg(quote_ident(r.rolname) order by r.rolname)
    from (select distinct db_user from latest) l
    join pg_roles r on r.rolname = l.db_user
    join pg_namespace n on n.nspname = ${literal(storage)}
    where not r.rolsuper and pg_has_role(r.oid, n.nspowner, 'member')
  ), '[]')::text as "ownerWrites"`
  )

const HostTable = Schema.Struct({ schema: Schema.String, name: Schema.String })

/** Every table of the host that could be captured: no partitions, no tables of PostgreSQL, of extensions, or of the record. */
export const readHostTables = (sql: SqlClient, storage: string): Reading<ReadonlyArray<typeof HostTable.Type>> =>
  Effect.flatMap(
    sql.unsafe(`
select n.nspname as schema, c.relname as name
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'f')
  and not c.relispartition
  and c.relpersistence <> 't'
  and n.nspname !~ '^(pg_|information_schema$)'
  and n.nspname <> ${literal(storage)}
  and not exists (
    select
    from pg_depend d
    where d.classid = 'pg_class'::regclass and d.objid = c.oid
      and d.refclassid = 'pg_extension'::regclass and d.deptype = 'e'
  )
order by n.nspname, c.relname`),
    Schema.decodeUnknown(Schema.Array(HostTable))
  )
