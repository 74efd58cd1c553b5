/**
 * What the catalog says of the tables to capture, of what is installed on them, and of the deployed policies. It is one statement
 * and one snapshot, for any number of tables.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { ParseError } from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type { ThreadlineError } from "../../ThreadlineError.js"
import { Policy } from "./model.js"
import { refuseHidden } from "../sql/hidden.js"
import { literal, qualified } from "../sql/sqlText.js"
import { Standing, standingOf } from "../sql/standing.js"
import { watchOf, WatchRow, watchStatement } from "../sql/watch.js"

const TypeRow = Schema.Struct({
  oid: Schema.String,
  schema: Schema.String,
  name: Schema.String,
  /** `pg_type.typtype`: base, composite, domain, enum, range, multirange, pseudo. */
  kind: Schema.String,
  /** Came with PostgreSQL itself. */
  builtin: Schema.Boolean,
  extension: Schema.NullOr(Schema.String),
  element: Schema.NullOr(Schema.String),
  base: Schema.NullOr(Schema.String),
  subtype: Schema.NullOr(Schema.String),
  attributes: Schema.Array(Schema.String),
  /** `to_jsonb` uses a cast to json of this type. `host` if a role other than a superuser can have written the cast. */
  jsonCast: Schema.NullOr(Schema.Literal("host", "trusted"))
})
export type TypeRow = typeof TypeRow.Type

const ColumnRow = Schema.Struct({
  name: Schema.String,
  attnum: Schema.Int,
  type: Schema.String,
  typeOid: Schema.String,
  notNull: Schema.Boolean,
  virtual: Schema.Boolean,
  /** The columns that a generated one is computed from. */
  computedFrom: Schema.Array(Schema.String)
})
export type ColumnRow = typeof ColumnRow.Type

const IndexRow = Schema.Struct({
  name: Schema.String,
  primary: Schema.Boolean,
  unique: Schema.Boolean,
  /** Unique, valid, ready, live, checked at once, without predicate and expressions. */
  usable: Schema.Boolean,
  columns: Schema.Array(Schema.NullOr(Schema.String))
})
export type IndexRow = typeof IndexRow.Type

const TriggerRow = Schema.Struct({
  name: Schema.String,
  /** `O`, `A`, `R`, or `D`, as `pg_trigger.tgenabled`. */
  enabled: Schema.String,
  /** Made by PostgreSQL for a partition from a row trigger of its parent. */
  cloned: Schema.Boolean,
  /** `pg_trigger.tgtype`: level, time and event as bits. */
  type: Schema.Int,
  /** Has a WHEN condition or a list of columns. */
  conditional: Schema.Boolean,
  /** The function in Threadline's schema that it calls; null for a trigger of the host. */
  calls: Schema.NullOr(Schema.String)
})
export type TriggerRow = typeof TriggerRow.Type

const Relation = Schema.Struct({
  oid: Schema.String,
  schema: Schema.String,
  name: Schema.String,
  kind: Schema.String,
  level: Schema.Int,
  temporary: Schema.Boolean,
  system: Schema.Boolean,
  rowSecurity: Schema.Boolean,
  /** A crash empties it. */
  unlogged: Schema.Boolean,
  /** The root when the relation is a partition. */
  partitionOf: Schema.NullOr(Schema.Struct({ schema: Schema.String, name: Schema.String })),
  inherits: Schema.Boolean,
  children: Schema.Array(Schema.Struct({ schema: Schema.String, name: Schema.String })),
  /** What the connected role may do. */
  owned: Schema.Boolean,
  mayTrigger: Schema.Boolean,
  mayGrantSelect: Schema.Boolean,
  mayGrantUsage: Schema.Boolean,
  /** What the role that owns Threadline's schema may do. */
  ownerReads: Schema.Boolean,
  ownerUsesSchema: Schema.Boolean,
  /**
   * Other roles that may make triggers, and so replace ours. Names as in SQL, without the roles that control the table or the
   * record anyway.
   */
  othersTrigger: Schema.Array(Schema.String),
  triggers: Schema.Array(TriggerRow)
})
export type Relation = typeof Relation.Type

const Table = Schema.Struct({
  oid: Schema.String,
  columns: Schema.Array(ColumnRow),
  indexes: Schema.Array(IndexRow),
  /** The table itself first, then its partitions, parents before children. */
  relations: Schema.NonEmptyArray(Relation)
})
export type Table = typeof Table.Type

const FunctionRow = Schema.Struct({
  name: Schema.String,
  owner: Schema.String,
  ownerSuperuser: Schema.Boolean,
  /** SHA-256 of the body. */
  bodyHash: Schema.String,
  trigger: Schema.Boolean
})
export type FunctionRow = typeof FunctionRow.Type

/** Why nothing is known of a captured table at present. */
const Gap = Schema.Struct({
  schema: Schema.String,
  name: Schema.String,
  gap: Schema.NullOr(
    Schema.Literal("gone", "replaced", "triggers", "partitions", "key", "rewritten", "restarted", "unwatched")
  ),
  /** Partitions of the policy that left since, also if they came back. */
  moved: Schema.Array(Schema.Struct({ schema: Schema.String, name: Schema.String })),
  /** Enums in the key of which a value has another name. */
  renamedEnums: Schema.Array(Schema.String),
  /** Columns whose values ALTER TABLE may have written anew. */
  rewritten: Schema.Array(Schema.String),
  /** The server has lost what unlogged tables held, or may have. */
  restarted: Schema.Boolean
})
export type Gap = typeof Gap.Type

const Deployed = Schema.Struct({
  policy: Policy,
  relation: Schema.String,
  /** The table that has the recorded OID now. OIDs change with a restore, so this is a hint and never a proof. */
  relationNow: Schema.NullOr(Schema.Struct({ schema: Schema.String, name: Schema.String }))
})
export type Deployed = typeof Deployed.Type

const Catalog = Schema.Struct({
  serverVersion: Schema.Int,
  role: Schema.String,
  /** Foreign tables can be made in this database. */
  foreignServers: Schema.Boolean,
  storage: Schema.Struct({
    owner: Schema.String,
    ownerSuperuser: Schema.Boolean,
    mayBecomeOwner: Schema.Boolean,
    inheritsOwner: Schema.Boolean,
    /** The connected role may ask why nothing is known of a table. */
    knowsGaps: Schema.Boolean
  }),
  tables: Schema.Array(Table),
  types: Schema.Array(TypeRow),
  functions: Schema.Array(FunctionRow),
  /** Every captured table, by the name it was applied under. */
  active: Schema.Array(Schema.Struct({ schema: Schema.String, name: Schema.String })),
  /** Policies of the tables that were asked for. */
  deployed: Schema.Array(Deployed),
  /** Relations outside of every captured table that have triggers of Threadline. */
  strays: Schema.Array(
    Schema.Struct({
      schema: Schema.String,
      name: Schema.String,
      kind: Schema.String,
      /** The root when it is a partition. */
      partitionOf: Schema.NullOr(Schema.Struct({ schema: Schema.String, name: Schema.String })),
      triggers: Schema.Array(TriggerRow)
    })
  )
})
export interface Catalog extends Schema.Schema.Type<typeof Catalog> {
  readonly gaps: ReadonlyArray<Gap>
  readonly watch: ReturnType<typeof watchOf>
  /** Tables that have another name than their policy, or had one for a while: for `follow_names`. */
  readonly strayed: ReadonlyArray<Strayed>
}

export interface Name {
  readonly schema: string
  readonly name: string
}

const NameRow = Schema.Struct({ schema: Schema.String, name: Schema.String })

const Strayed = Schema.Struct({ from: Schema.parseJson(NameRow), to: Schema.parseJson(NameRow) })

/** The name that a policy has, and that of its table. */
export type Strayed = typeof Strayed.Type

const decode = Schema.decodeUnknown(Schema.Tuple(Schema.Struct({ catalog: Schema.parseJson(Catalog) })))

/** Everything that is captured, and the named tables. Or only the named tables, with the functions of these names. */
export type Extent = "everything" | { readonly functions: ReadonlyArray<string> }

/** Reads the catalog. To be run in a transaction whose search path is `pg_catalog, pg_temp`. */
export const readCatalog = (
  sql: SqlClient,
  storage: string,
  names: ReadonlyArray<Name>,
  extent: Extent
): Effect.Effect<Catalog, SqlError | ParseError> =>
  Effect.gen(function* () {
    const everything = extent === "everything"
    const rows = yield* sql.unsafe(statement(storage), [
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
      // A role without the right to ask is told what it lacks, before anything depends on the answer.
      gaps: catalog.storage.knowsGaps
        ? yield* Effect.flatMap(sql.unsafe(gapsStatement(storage), [JSON.stringify(names), everything]), decodeGaps)
        : [],
      strayed: catalog.storage.knowsGaps
        ? yield* Effect.flatMap(sql.unsafe(strayedStatement(storage)), decodeStrayed)
        : []
    }
  })

const decodeGaps = Schema.decodeUnknown(
  Schema.Array(
    Schema.Struct({
      ...Gap.fields,
      moved: Schema.parseJson(Gap.fields.moved),
      renamedEnums: Schema.parseJson(Gap.fields.renamedEnums),
      rewritten: Schema.parseJson(Gap.fields.rewritten)
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

/** The times of former names. They are read and written as text. */
const formerOf = (column: string, names: string): string => `(
          select coalesce(jsonb_agg(jsonb_build_object(
            ${names},
            'since', to_char(nullif(f.since, '-infinity') at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'until', to_char(nullif(f.until, 'infinity') at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'declared', coalesce(f.declared, false)
          ) order by f.place), '[]')
          from (
            select e.value ->> 'schema' as schema, e.value ->> 'name' as name, e.value ->> 'column' as column,
              e.value ->> 'formerly' as formerly, (e.value ->> 'since')::timestamptz as since,
              (e.value ->> 'until')::timestamptz as until, (e.value ->> 'declared')::boolean as declared, e.place
            from jsonb_array_elements(p.${column}) with ordinality e (value, place)
          ) f
        )`

// If there is no gap, no partition has moved and no column is rewritten: what tells the details is not asked then.
const gapsStatement = (storage: string): string => `
select
  p.table_schema as schema,
  p.table_name as name,
  g.gap,
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
    select to_jsonb(${qualified(storage, "key_values_renamed")}(p.relation, p.key_columns, p.key_values))
    where p.database = ${qualified(storage, "this_database")}()
  ), '[]')::text as "renamedEnums",
  case when g.gap is null then '[]' else coalesce((
    select jsonb_agg(w.name order by w.name)
    from pg_class c
    cross join lateral ${qualified(storage, "columns_rewritten")}(c.oid, p.row_marks) w
    where c.oid = p.relation
      and p.database = ${qualified(storage, "this_database")}()
  ), '[]')::text end as rewritten,
  coalesce(g.restarted, false) as restarted
from ${qualified(storage, "capture_policies")} p
cross join lateral (
  select (array_agg(r.gap order by r.place))[1] as gap, bool_or(r.gap = 'restarted') as restarted
  from ${qualified(storage, "capture_gaps")}(p.table_schema, p.table_name) with ordinality r (gap, since, place)
) g
where p.removed_at is null
  and ($2::boolean or (p.table_schema, p.table_name) in (
    select w.schema, w.name from jsonb_to_recordset($1::jsonb) as w (schema text, name text)
  ))
`

const StandingRow = Schema.Tuple(Schema.Struct({ standing: Standing }))

/** How the record that the tables are captured into stands in its database. */
export const readStanding = (sql: SqlClient, storage: string): Effect.Effect<Standing, SqlError | ParseError> =>
  sql.unsafe(standingOf(storage)).pipe(
    Effect.flatMap(Schema.decodeUnknown(StandingRow)),
    Effect.map(([{ standing }]) => standing)
  )

/** The same, refused to a role that may not see every policy. */
export const readWholeStanding = (
  sql: SqlClient,
  storage: string
): Effect.Effect<Standing, SqlError | ParseError | ThreadlineError> =>
  Effect.tap(readStanding(sql, storage), ({ hidden }) =>
    refuseHidden(hidden, "so that nothing can be said of what is captured")
  )

const statement = (storage: string): string => `
with recursive
storage as (
  select n.oid, n.nspowner as owner_oid, r.rolname as owner, r.rolsuper as owner_superuser
  from pg_namespace n
  join pg_roles r on r.oid = n.nspowner
  where n.nspname = $2
),
policies as (
  select * from ${qualified(storage, "capture_policies")}
),
wanted as (
  select w.schema, w.name
  from jsonb_to_recordset($1::jsonb) as w (schema text, name text)
  union
  select table_schema, table_name
  from policies
  where $3::boolean and removed_at is null
),
roots as (
  select c.*
  from wanted w
  join pg_namespace n on n.nspname = w.schema
  join pg_class c on c.relnamespace = n.oid and c.relname = w.name
),
tree (root, relid, level) as (
  select oid, oid, 0 from roots
  union all
  -- Not pg_partition_tree, which locks every partition and so waits for whoever changes one.
  select t.root, i.inhrelid, t.level + 1
  from tree t
  join pg_class c on c.oid = t.relid and c.relkind = 'p'
  join pg_inherits i on i.inhparent = t.relid
  where not i.inhdetachpending
),
captured_roots as (
  select c.oid
  from policies p
  join pg_namespace n on n.nspname = p.table_schema
  join pg_class c on c.relnamespace = n.oid and c.relname = p.table_name
  where p.removed_at is null
),
capturing as materialized (
  select distinct t.tgrelid
  from storage s
  join pg_proc p on p.pronamespace = s.oid
  join pg_trigger t on t.tgfoid = p.oid
  where $3::boolean or p.proname = any ($4::text[])
),
-- Relations outside of every captured table that have triggers of Threadline: a partition that was
-- detached, a table that was renamed.
strays as (
  select c.oid, n.nspname, c.relname, c.relkind
  from capturing k
  join pg_class c on c.oid = k.tgrelid
  join pg_namespace n on n.oid = c.relnamespace
  where n.nspname <> $2
    and c.oid not in (select relid from tree)
    and coalesce(pg_partition_root(c.oid)::oid, c.oid) not in (select oid from captured_roots)
),
triggers as (
  select
    t.tgrelid,
    jsonb_agg(jsonb_build_object(
      'name', t.tgname,
      'enabled', t.tgenabled,
      'cloned', t.tgparentid <> 0,
      'type', t.tgtype,
      'conditional', t.tgqual is not null or cardinality(t.tgattr::int2[]) > 0,
      'calls', case when p.pronamespace = s.oid then p.proname end
    ) order by t.tgname) as entries
  from pg_trigger t
  join pg_proc p on p.oid = t.tgfoid
  cross join storage s
  where (not t.tgisinternal or t.tgparentid <> 0)
    and t.tgrelid in (select relid from tree union all select oid from strays)
  group by t.tgrelid
),
relations as (
  select
    t.root,
    t.level,
    jsonb_build_object(
      'oid', c.oid::text,
      'schema', n.nspname,
      'name', c.relname,
      'kind', c.relkind,
      'level', t.level,
      'temporary', c.relpersistence = 't',
      'system', n.nspname ~ '^(pg_|information_schema$)',
      'rowSecurity', c.relrowsecurity,
      'unlogged', c.relpersistence = 'u',
      'partitionOf', case when c.relispartition then (
        select jsonb_build_object('schema', rn.nspname, 'name', rc.relname)
        from pg_class rc
        join pg_namespace rn on rn.oid = rc.relnamespace
        where rc.oid = pg_partition_root(c.oid)
      ) end,
      'inherits', not c.relispartition and exists (select from pg_inherits i where i.inhrelid = c.oid),
      'children', coalesce((
        select jsonb_agg(jsonb_build_object('schema', hn.nspname, 'name', h.relname) order by hn.nspname, h.relname)
        from pg_inherits i
        join pg_class h on h.oid = i.inhrelid
        join pg_namespace hn on hn.oid = h.relnamespace
        where i.inhparent = c.oid and not h.relispartition and h.relkind not in ('i', 'I')
      ), '[]'),
      'owned', pg_has_role(c.relowner, 'usage'),
      'mayTrigger', has_table_privilege(c.oid, 'trigger'),
      'mayGrantSelect', pg_has_role(c.relowner, 'usage') or has_table_privilege(c.oid, 'select with grant option'),
      'mayGrantUsage', has_schema_privilege(n.oid, 'usage with grant option'),
      'ownerReads', has_table_privilege(s.owner_oid, c.oid, 'select'),
      'ownerUsesSchema', has_schema_privilege(s.owner_oid, n.oid, 'usage'),
      'othersTrigger', coalesce((
        select jsonb_agg(x.who order by x.who)
        from (
          select distinct case when a.grantee = 0 then 'public' else quote_ident(r.rolname) end as who
          from aclexplode(c.relacl) a
          left join pg_roles r on r.oid = a.grantee
          where a.privilege_type = 'TRIGGER'
            and (a.grantee = 0 or not (
              r.rolsuper or pg_has_role(r.oid, c.relowner, 'member') or pg_has_role(r.oid, s.owner_oid, 'member')
            ))
        ) x
      ), '[]'),
      'triggers', coalesce(g.entries, '[]')
    ) as entry
  from tree t
  join pg_class c on c.oid = t.relid
  join pg_namespace n on n.oid = c.relnamespace
  left join triggers g on g.tgrelid = c.oid
  cross join storage s
),
attributes as (
  select a.*
  from roots r
  join pg_attribute a on a.attrelid = r.oid
  where a.attnum > 0 and not a.attisdropped
),
type_graph (oid) as (
  select atttypid from attributes
  union
  select part.oid
  from type_graph g
  join pg_type y on y.oid = g.oid
  cross join lateral (
    select y.typbasetype where y.typtype = 'd'
    union all
    select y.typelem where y.typelem <> 0 and y.typsubscript = 'array_subscript_handler'::regproc
    union all
    select r.rngsubtype from pg_range r where y.oid in (r.rngtypid, r.rngmultitypid)
    union all
    select a.atttypid
    from pg_attribute a
    where y.typtype = 'c' and a.attrelid = y.typrelid and a.attnum > 0 and not a.attisdropped
  ) part (oid)
)
select jsonb_build_object(
  'serverVersion', current_setting('server_version_num')::int,
  'role', current_user,
  'foreignServers', exists (select from pg_foreign_server),
  'storage', (
    select jsonb_build_object(
      'owner', s.owner,
      'ownerSuperuser', s.owner_superuser,
      -- PostgreSQL 16 tells the membership from the right to become the role.
      'mayBecomeOwner', pg_has_role(
        s.owner_oid, case when current_setting('server_version_num')::int >= 160000 then 'set' else 'member' end),
      'inheritsOwner', pg_has_role(s.owner_oid, 'usage'),
      'knowsGaps', has_function_privilege(${literal(`${qualified(storage, "capture_gap")}(text, text)`)}, 'execute')
    )
    from storage s
  ),
  'tables', coalesce((
    select jsonb_agg(jsonb_build_object(
      'oid', r.oid::text,
      'columns', coalesce((
        select jsonb_agg(jsonb_build_object(
          'name', a.attname,
          'attnum', a.attnum,
          'type', format_type(a.atttypid, a.atttypmod),
          'typeOid', a.atttypid::text,
          -- PostgreSQL 18 has constraints for it, which may not hold for old rows.
          'notNull', a.attnotnull and not exists (
            select
            from pg_constraint k
            where k.conrelid = a.attrelid and k.contype = 'n' and k.conkey = array[a.attnum] and not k.convalidated
          ),
          'virtual', a.attgenerated = 'v',
          'computedFrom', (
            select coalesce(jsonb_agg(distinct s.attname), '[]')
            from pg_attrdef f
            join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = a.attrelid
              and (d.classid = 'pg_attrdef'::regclass and d.objid = f.oid
                or d.classid = 'pg_class'::regclass and d.objid = a.attrelid and d.objsubid = a.attnum)
            join pg_attribute s on s.attrelid = d.refobjid and s.attnum = d.refobjsubid
            where a.attgenerated <> '' and f.adrelid = a.attrelid and f.adnum = a.attnum and s.attnum <> a.attnum
          )
        ) order by a.attnum)
        from attributes a
        where a.attrelid = r.oid
      ), '[]'),
      'indexes', coalesce((
        select jsonb_agg(jsonb_build_object(
          'name', x.relname,
          'primary', i.indisprimary,
          'unique', i.indisunique,
          'usable', i.indisunique and i.indisvalid and i.indisready and i.indislive and i.indimmediate
            and i.indpred is null and i.indexprs is null,
          'columns', (
            select jsonb_agg(a.attname order by k.position)
            from unnest(i.indkey::int2[]) with ordinality as k (attnum, position)
            left join pg_attribute a on a.attrelid = r.oid and a.attnum = k.attnum and a.attnum > 0
            where k.position <= i.indnkeyatts
          )
        ) order by x.relname)
        from pg_index i
        join pg_class x on x.oid = i.indexrelid
        where i.indrelid = r.oid
      ), '[]'),
      'relations', (
        select jsonb_agg(e.entry order by e.level, e.entry ->> 'schema', e.entry ->> 'name')
        from relations e
        where e.root = r.oid
      )
    ))
    from roots r
  ), '[]'),
  'types', coalesce((
    select jsonb_agg(jsonb_build_object(
      'oid', y.oid::text,
      'schema', n.nspname,
      'name', y.typname,
      'kind', y.typtype,
      -- What initdb makes has an OID below the first one of a user.
      'builtin', y.oid < 16384,
      'extension', (
        select e.extname
        from pg_depend d
        join pg_extension e on e.oid = d.refobjid
        where d.classid = 'pg_type'::regclass and d.objid = y.oid
          and d.refclassid = 'pg_extension'::regclass and d.deptype = 'e'
      ),
      'element', case when y.typsubscript = 'array_subscript_handler'::regproc then nullif(y.typelem, 0)::text end,
      'base', nullif(y.typbasetype, 0)::text,
      'subtype', (select r.rngsubtype::text from pg_range r where y.oid in (r.rngtypid, r.rngmultitypid)),
      'attributes', coalesce((
        select jsonb_agg(a.atttypid::text order by a.attnum)
        from pg_attribute a
        where y.typtype = 'c' and a.attrelid = y.typrelid and a.attnum > 0 and not a.attisdropped
      ), '[]'),
      -- Only a superuser can have made a function in C or an alias of a built-in one.
      'jsonCast', (
        select case when l.lanname in ('c', 'internal') then 'trusted' else 'host' end
        from pg_cast c
        join pg_proc f on f.oid = c.castfunc
        join pg_language l on l.oid = f.prolang
        where c.castsource = y.oid and c.casttarget = 'json'::regtype and c.castmethod = 'f' and y.oid >= 16384
      )
    ))
    from type_graph g
    join pg_type y on y.oid = g.oid
    join pg_namespace n on n.oid = y.typnamespace
  ), '[]'),
  'functions', coalesce((
    select jsonb_agg(jsonb_build_object(
      'name', p.proname,
      'owner', r.rolname,
      'ownerSuperuser', r.rolsuper,
      'bodyHash', encode(sha256(convert_to(p.prosrc, 'UTF8')), 'hex'),
      'trigger', p.prorettype = 'trigger'::regtype
    ))
    from pg_proc p
    join storage s on s.oid = p.pronamespace
    join pg_roles r on r.oid = p.proowner
    where $3::boolean
      or p.proname = any ($4::text[])
      or p.oid in (select t.tgfoid from pg_trigger t where t.tgrelid in (select relid from tree))
  ), '[]'),
  'active', coalesce((
    select jsonb_agg(jsonb_build_object('schema', p.table_schema, 'name', p.table_name)
      order by p.table_schema, p.table_name)
    from policies p
    where p.removed_at is null
  ), '[]'),
  'deployed', coalesce((
    select jsonb_agg(jsonb_build_object(
      'relation', p.relation::text,
      'relationNow', (
        select jsonb_build_object('schema', n.nspname, 'name', c.relname)
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        where c.oid = p.relation
      ),
      'policy', jsonb_build_object(
        'tableSchema', p.table_schema,
        'tableName', p.table_name,
        'mode', p.mode,
        'always', p.always,
        'truncate', p.on_truncate,
        'key', p.key_columns,
        'exclude', p.excluded,
        'mask', p.masked,
        'masks', p.masks,
        'paths', p.paths,
        'columns', p.columns,
        'partitions', p.partitions,
        'acknowledgeCasts', p.acknowledged_casts,
        'dropGuard', p.drop_guard,
        'sourceHash', p.source_hash,
        'generator', p.generator,
        'appliedAt', to_char(p.applied_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'appliedBy', p.applied_by,
        'removedAt', to_char(p.removed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'formerNames', ${formerOf("former_names", "'schema', f.schema, 'name', f.name")},
        'formerColumns', ${formerOf("former_columns", "'column', f.column, 'formerly', f.formerly")}
      )
    ) order by p.table_schema, p.table_name)
    from policies p
    where $3::boolean
      or (p.table_schema, p.table_name) in (select w.schema, w.name from wanted w)
  ), '[]'),
  'strays', coalesce((
    select jsonb_agg(jsonb_build_object(
      'schema', y.nspname,
      'name', y.relname,
      'kind', y.relkind,
      'partitionOf', (
        select jsonb_build_object('schema', rn.nspname, 'name', rc.relname)
        from pg_class rc
        join pg_namespace rn on rn.oid = rc.relnamespace
        where rc.oid = pg_partition_root(y.oid) and rc.oid <> y.oid
      ),
      'triggers', g.entries
    ) order by y.nspname, y.relname)
    from strays y
    join triggers g on g.tgrelid = y.oid
  ), '[]')
)::text as catalog
`
