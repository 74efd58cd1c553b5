/**
 * The one statement that reads the catalog.
 */
import { literal, qualified } from "../sql/sqlText.js"

/**
 * The former names in a column of `capture_policies`, as a JSON array. Times are text, in UTC with microseconds; null stands
 * for infinity.
 */
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

/**
 * Whether a relation was not dropped since the snapshot, which still shows it. The functions of privileges look past the snapshot, and give
 * null for what is not there.
 */
export const isThere = (relation: string): string => `has_table_privilege(${relation}, 'trigger') is not null`

/** The triggers of one relation, by the index of relations: all of them at once would be compared with all relations, if there are no statistics. */
const triggersOf = (relation: string): string => `(
        select jsonb_agg(jsonb_build_object(
          'name', t.tgname,
          'enabled', t.tgenabled,
          'cloned', t.tgparentid <> 0,
          'type', t.tgtype,
          'conditional', t.tgqual is not null or cardinality(t.tgattr::int2[]) > 0,
          'calls', case when p.pronamespace = s.oid then p.proname end
        ) order by t.tgname)
        from pg_trigger t
        join pg_proc p on p.oid = t.tgfoid
        cross join storage s
        where t.tgrelid = ${relation}
          and (
            not t.tgisinternal
            -- Copies in partitions are internal, and so are those of foreign keys.
            or t.tgparentid <> 0 and not exists (
              select from pg_constraint k where k.oid = t.tgconstraint and k.contype = 'f'
            )
          )
      )`

/**
 * Parameters: `$1` the named tables, as a JSON array of `{ schema, name }`; `$2` Threadline's schema; `$3` whether to read everything
 * that is captured; `$4` names of functions, if not. Gives one row, `catalog`: the text of a `Catalog`.
 */
export const catalogStatement = (storage: string): string => `
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
  -- Not pg_partition_tree, which locks every partition and so waits for each session that changes one.
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
    and ${isThere("c.oid")}
    and c.oid not in (select relid from tree)
    and coalesce(pg_partition_root(c.oid)::oid, c.oid) not in (select oid from captured_roots)
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
      'mayTrigger', coalesce(has_table_privilege(c.oid, 'trigger'), false),
      'mayLock', c.relkind <> 'f' and coalesce(has_table_privilege(c.oid, 'update, delete, truncate'), false),
      'mayGrantSelect', pg_has_role(c.relowner, 'usage') or coalesce(has_table_privilege(c.oid, 'select with grant option'), false),
      'mayGrantUsage', coalesce(has_schema_privilege(n.oid, 'usage with grant option'), false),
      'ownerReads', coalesce(has_table_privilege(s.owner_oid, c.oid, 'select'), false),
      'ownerUsesSchema', coalesce(has_schema_privilege(s.owner_oid, n.oid, 'usage'), false),
      'othersTrigger', coalesce(case when c.relacl is not null then (
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
      ) end, '[]'),
      'triggers', coalesce(${triggersOf("c.oid")}, '[]')
    ) as entry
  from tree t
  join pg_class c on c.oid = t.relid
  join pg_namespace n on n.oid = c.relnamespace
  cross join storage s
  where ${isThere("c.oid")}
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
  'snapshot', pg_current_snapshot()::text,
  'serverVersion', current_setting('server_version_num')::int,
  'role', current_user,
  'foreignServers', exists (select from pg_foreign_server),
  'storage', (
    select jsonb_build_object(
      'owner', s.owner,
      'ownerSuperuser', s.owner_superuser,
      -- PostgreSQL 16 distinguishes membership from the right to become the role.
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
        from pg_attribute a
        where a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
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
      'relations', r.entries
    ))
    from (
      select e.root as oid, jsonb_agg(e.entry order by e.level, e.entry ->> 'schema', e.entry ->> 'name') as entries
      from relations e
      group by e.root
    ) r
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
        select jsonb_agg(jsonb_build_object('name', a.attname, 'type', a.atttypid::text) order by a.attnum)
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
    from (
      -- Each by an index: apply asks this for each of a thousand tables, which have four thousand functions.
      select w.oid from pg_proc w join storage s on s.oid = w.pronamespace
      -- Generated names end with a hash. The schema has hundreds of functions of its own.
      where $3::boolean and w.proname ~ '_[0-9a-f]{10}$'
      union
      select w.oid from unnest($4::text[]) f (name) join pg_proc w on w.proname = f.name
      union
      select t.tgfoid from tree join pg_trigger t on t.tgrelid = tree.relid
    ) f
    join pg_proc p on p.oid = f.oid
    join storage s on s.oid = p.pronamespace
    join pg_roles r on r.oid = p.proowner
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
        where c.oid = p.relation and ${isThere("c.oid")}
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
      'triggers', ${triggersOf("y.oid")}
    ) order by y.nspname, y.relname)
    from strays y
  ), '[]')
)::text as catalog
`
