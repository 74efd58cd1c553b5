/**
 * How the record stands in its database: its owner, the other roles that may write it, and what hides or blocks its rows. One
 * statement reads the catalog for every status.
 */
import * as Schema from "effect/Schema"
import { mayHide } from "./hidden.js"
import { literal } from "./sqlText.js"

const Names = Schema.Array(Schema.String)

/** What the catalog says. Names are written as in SQL. */
export const Standing = Schema.Struct({
  owner: Schema.String,
  ownerSuperuser: Schema.Boolean,
  ownerCanLogin: Schema.Boolean,
  /** Roles that may act as the owner, without superusers and without the connected role. */
  ownerMembers: Names,
  /** Tables whose rows row-level security may hide. */
  rowSecurity: Names,
  /** Tables whose rows it may hide from the connected role, or from the owner. */
  hidden: Names,
  /** Tables whose rows a publication could not identify. If a publication covers such a table, an update or a delete fails. */
  unidentified: Names,
  /** Roles with a grant to write tables of the record, to create objects in its schema, or to make triggers of its functions. */
  writers: Names,
  /** What does not belong to the owner of the schema, as `alter` names it (`table threadline.migrations`), and whom it belongs to. */
  notOwned: Schema.Array(Schema.Struct({ object: Schema.String, owner: Schema.String })),
  /** Roles that may write every table of the cluster. */
  writersOfAll: Names
})

export type Standing = typeof Standing.Type

/**
 * Common table expressions: the schema (`storage`), its `tables`, the roles that were `granted` what changes the record, and objects
 * that are `not_owned` by the owner of the schema. Identity sequences have the owner of their table.
 */
export const withGrants = (schema: string): string => `storage as (
  select n.oid, n.nspname, n.nspacl, n.nspowner, r.rolname, r.rolsuper, r.rolcanlogin
  from pg_namespace n
  join pg_roles r on r.oid = n.nspowner
  where n.nspname = ${literal(schema)}
),
tables as (
  select c.*, pg_catalog.format('%I.%I', s.nspname, c.relname) as label
  from storage s
  join pg_class c on c.relnamespace = s.oid
  where c.relkind in ('r', 'p')
),
granted as (
  select a.grantee
  from tables t
  cross join lateral pg_catalog.aclexplode(t.relacl) a
  where a.grantee <> t.relowner
    and a.privilege_type <> 'SELECT'
  union
  select a.grantee
  from tables t
  join pg_attribute c on c.attrelid = t.oid
  cross join lateral pg_catalog.aclexplode(c.attacl) a
  where a.grantee <> t.relowner
    and a.privilege_type <> 'SELECT'
  union
  -- With "setval", no captured write could get an id any more.
  select a.grantee
  from storage s
  join pg_class c on c.relnamespace = s.oid and c.relkind = 'S'
  cross join lateral pg_catalog.aclexplode(c.relacl) a
  where a.grantee <> c.relowner
    and a.privilege_type <> 'SELECT'
  union
  select a.grantee
  from storage s
  cross join lateral pg_catalog.aclexplode(s.nspacl) a
  where a.grantee <> s.nspowner
    and a.privilege_type = 'CREATE'
  union
  select a.grantee
  from storage s
  join pg_proc p on p.pronamespace = s.oid and p.prorettype = 'trigger'::regtype
  cross join lateral pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) a
  where a.grantee <> p.proowner
    -- Those that everybody may execute refuse to serve any other trigger than their own.
    and p.proname not like 'open~_%' escape '~'
),
not_owned as (
  select c.relowner as owner, pg_catalog.format('%s %I.%I', k.kind, s.nspname, c.relname) as object
  from storage s
  join pg_class c on c.relnamespace = s.oid and c.relowner <> s.nspowner
  join (values ('r', 'table'), ('p', 'table'), ('f', 'foreign table'), ('v', 'view'), ('m', 'materialized view'), ('S', 'sequence'))
    k (relkind, kind) on k.relkind = c.relkind::text
  where not exists (
    select
    from pg_depend d
    where c.relkind = 'S' and d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('a', 'i')
  )
  union all
  select p.proowner, pg_catalog.format('routine %I.%I(%s)', s.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid))
  from storage s
  join pg_proc p on p.pronamespace = s.oid and p.proowner <> s.nspowner
  -- Functions of the schema watch belong to the role that made its event triggers, as these do.
  where p.prorettype <> 'event_trigger'::regtype
    or exists (select from pg_event_trigger e where e.evtfoid = p.oid and e.evtowner <> p.proowner)
)`

/**
 * A common table expression after those of `withGrants`: the roles that can make themselves a member of the owner, because before
 * PostgreSQL 16 one with CREATEROLE can do so with every role that is no superuser.
 */
export const ownerMakers = `owner_makers as (
  select r.oid
  from storage s
  join pg_roles r on r.rolcreaterole and not r.rolsuper
  where not s.rolsuper
    and pg_catalog.current_setting('server_version_num')::int < 160000
)`

/** The statement that gives a `Standing` as `standing`, JSON; no row if there is no such schema. Needs no privilege. */
export const standingOf = (schema: string): string => `
with ${withGrants(schema)},
others as (
  select r.oid, r.rolname, pg_catalog.pg_has_role(r.oid, s.nspowner, 'member') as member
  from storage s
  cross join pg_roles r
  where not r.rolsuper
    and r.oid <> s.nspowner
    and r.rolname not like 'pg~_%' escape '~'
)
select pg_catalog.jsonb_build_object(
  'owner', pg_catalog.quote_ident(s.rolname),
  'ownerSuperuser', s.rolsuper,
  'ownerCanLogin', s.rolcanlogin,
  'ownerMembers', coalesce((
    select pg_catalog.jsonb_agg(pg_catalog.quote_ident(o.rolname) order by o.rolname)
    from others o
    where o.member and o.rolname not in (current_user, session_user)
  ), '[]'),
  'rowSecurity', coalesce((
    select pg_catalog.jsonb_agg(t.label order by t.label) from tables t where t.relrowsecurity
  ), '[]'),
  'hidden', coalesce((
    select pg_catalog.jsonb_agg(t.label order by t.label) from tables t where not t.relispartition and ${mayHide("t", "s.nspowner")}
  ), '[]'),
  'unidentified', coalesce((
    select pg_catalog.jsonb_agg(t.label order by t.label)
    from tables t
    where t.relkind = 'r'
      and (t.relreplident = 'n' or t.relreplident = 'd' and not exists (
        select from pg_index i where i.indrelid = t.oid and i.indisprimary
      ))
  ), '[]'),
  'writers', coalesce((
    select pg_catalog.jsonb_agg(w.label order by w.label)
    from (
      select distinct case when g.grantee = 0 then 'public' else pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(g.grantee)) end as label
      from granted g
      where g.grantee = 0
        or g.grantee in (select o.oid from others o where not o.member)
    ) w
  ), '[]'),
  'notOwned', coalesce((
    select pg_catalog.jsonb_agg(
      pg_catalog.jsonb_build_object('object', n.object, 'owner', pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(n.owner)))
      order by n.object
    )
    from not_owned n
  ), '[]'),
  'writersOfAll', coalesce((
    select pg_catalog.jsonb_agg(pg_catalog.quote_ident(o.rolname) order by o.rolname)
    from others o
    where not o.member and pg_catalog.pg_has_role(o.oid, 'pg_write_all_data', 'usage')
  ), '[]')
) as standing
from storage s`
