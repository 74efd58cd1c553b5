/**
 * The SQL around the migration files: who owns the schema, one runner at a time, bookkeeping. The runner executes exactly
 * the text that `render` prints.
 */
import { identifier, literal } from "../sql/sqlText.js"

export interface MigrationFile {
  readonly id: number
  readonly name: string
  readonly checksum: string
  readonly sql: string
}

export interface PrologueSettings {
  readonly schema: string
  readonly ownerRole: string
  readonly lockTimeoutMillis: number
}

/** SQLSTATEs that the SQL below raises. */
export const schemaTaken = "TL011"
export const ownerRefused = "TL012"
export const tooOld = "TL013"
const outOfOrder = "TL014"

/** Quotes a body, whatever it holds. */
const dollarQuoted = (body: string): string => {
  let tag = "$threadline$"
  while (body.includes(tag)) {
    tag = `${tag.slice(0, -1)}x$`
  }
  return `${tag}\n${body}\n${tag}`
}

/**
 * Remembers the settings that will change, for the epilogue, and removes everything else from the search path. It is apart from
 * the rest, because an old server may not even parse what follows.
 */
export const preamble = `select pg_catalog.set_config('threadline.before_migration', pg_catalog.json_build_object(
  'role', pg_catalog.current_setting('role'),
  'search_path', pg_catalog.current_setting('search_path'),
  'lock_timeout', pg_catalog.current_setting('lock_timeout'),
  'statement_timeout', pg_catalog.current_setting('statement_timeout')
)::text, true);
set local search_path = pg_catalog, pg_temp;
set local statement_timeout = 0;

do $threadline$
begin
  if current_setting('server_version_num')::int < 150000 then
    raise exception 'threadline: PostgreSQL 15 or later is needed, this server is %', current_setting('server_version')
      using errcode = '${tooOld}';
  end if;
end
$threadline$;`

/**
 * Restores the settings within the same transaction, for what follows in it. Otherwise the bookkeeping of another migration tool
 * would run as the owner of the schema.
 */
export const epilogue = `select pg_catalog.set_config(key, value, true)
from pg_catalog.json_each_text(pg_catalog.current_setting('threadline.before_migration')::json);`

/** Continues as the connected role. All other settings stay as they are. */
export const asConnected = `select pg_catalog.set_config(
  'role', pg_catalog.current_setting('threadline.before_migration')::pg_catalog.json ->> 'role', true);`

/**
 * Waits for other runners, makes the schema and its owner if they are missing, and continues as that owner with the schema first
 * on the search path. All of it is local to the transaction, because a pooler requires that.
 */
export const prologue = (settings: PrologueSettings): string =>
  `do ${dollarQuoted(`declare
  target constant name := ${literal(settings.schema)};
  wanted constant name := ${literal(settings.ownerRole)};
  version constant int := current_setting('server_version_num')::int;
  -- From PostgreSQL 16 on a membership alone does not allow "set role".
  needed constant text := case when version >= 160000 then 'SET' else 'MEMBER' end;
  target_oid oid;
  holder name;
  chosen name := current_user;
  installed boolean;
  routine regprocedure;
begin
  -- Waiting for another runner is right, holding up audited writes is not.
  perform set_config('lock_timeout', '0', true);
  perform pg_advisory_xact_lock(hashtextextended('threadline.migrations', 0));
  perform set_config('lock_timeout', '${settings.lockTimeoutMillis}ms', true);

  select n.oid, pg_get_userbyid(n.nspowner), (
      select count(*) = 5
      from pg_class c
      join pg_attribute a on a.attrelid = c.oid
      where c.relnamespace = n.oid
        and c.relname = 'migrations'
        and a.attname in ('id', 'name', 'checksum', 'applied_at', 'applied_by')
    )
  into target_oid, holder, installed
  from pg_namespace n
  where n.nspname = target;

  if not installed and exists (
    select
    from pg_depend
    where refclassid = 'pg_namespace'::regclass
      and refobjid = target_oid
      and classid <> 'pg_default_acl'::regclass
  ) then
    raise exception 'threadline: the schema % holds other objects and no Threadline installation', quote_ident(target)
      using errcode = '${schemaTaken}';
  end if;

  if installed is not true then
    -- Roles belong to the cluster: an installation in another of its databases may make the same one right now.
    if not exists (select from pg_roles where rolname = wanted) then
      begin
        execute format('create role %I nologin', wanted);
      exception
        when duplicate_object or unique_violation then
          null;
        when insufficient_privilege then
          null;
      end;
    end if;
    if exists (select from pg_roles where rolname = wanted) then
      if exists (select from pg_roles where rolname = wanted and rolsuper) then
        raise exception 'threadline: the owner role % is a superuser; give the schema a plain role', quote_ident(wanted)
          using errcode = '${ownerRefused}';
      end if;
      if not pg_has_role(current_user, wanted, needed) then
        begin
          execute format('grant %I to %I', wanted, current_user)
            || case when version >= 160000 then ' with inherit true, set true' else '' end;
        exception
          when unique_violation then
            null;
          when insufficient_privilege then
            null;
        end;
      end if;
      if pg_has_role(current_user, wanted, needed) then
        chosen := wanted;
      end if;
    end if;

    if target_oid is null then
      execute format('create schema %I authorization %I', target, chosen);
      holder := chosen;
    elsif holder <> chosen and pg_has_role(current_user, holder, needed) then
      begin
        execute format('alter schema %I owner to %I', target, chosen);
        holder := chosen;
      exception
        when insufficient_privilege then
          null;
      end;
    end if;
  end if;

  if not pg_has_role(current_user, holder, needed) then
    raise exception 'threadline: the schema % belongs to %, and % may not act as that role',
      quote_ident(target), quote_ident(holder), quote_ident(current_user)
      using errcode = 'insufficient_privilege';
  end if;
  perform set_config('search_path', quote_ident(target) || ', pg_temp', true);
  perform set_config('role', holder, true);

  -- The functions keep the name that the schema had when they were made. If the schema was renamed, they find nothing.
  for routine in
    select p.oid::regprocedure
    from pg_proc p
    where p.pronamespace = target_oid
      and installed
      -- Those of the schema watch belong to a superuser, and find everything by pg_catalog.
      and pg_get_userbyid(p.proowner) = holder
      and exists (
        select
        from unnest(p.proconfig) c (setting)
        where starts_with(c.setting, 'search_path=')
          and not starts_with(c.setting, 'search_path=pg_catalog')
          and replace(c.setting, '"', '') <> replace(format('search_path=%s, pg_temp', target), '"', '')
      )
  loop
    execute format('alter routine %s set search_path = %I, pg_temp', routine, target);
  end loop;

  if installed is not true then
    create table migrations (
      id int not null,
      name text not null,
      checksum text not null,
      applied_at timestamptz not null default clock_timestamp(),
      applied_by text not null default session_user
    );
    -- No primary key, on purpose: a data-only restore into a migrated schema brings the same rows once more.
    comment on table migrations is '${migrationsComment}';
    -- As its owner: a role that only writes may ask too, and has nothing on the tables.
    create function schema_version() returns int
    language sql stable security definer
    set search_path from current
    return (select coalesce(max(id), 0) from migrations);
    comment on function schema_version() is 'Number of the last applied migration.';
    revoke all on function schema_version() from public;
  elsif not exists (select from migrations) then
    -- A restore of the structure alone: the comment says what was applied.
    insert into migrations (id, name, checksum)
    select m.id, m.name, m.checksum
    from jsonb_to_recordset(
      substring(obj_description('migrations'::regclass, 'pg_class') from '[[].*[]]$')::jsonb
    ) m (id int, name text, checksum text);
  end if;
end`)};`

/** Refuses a printed migration that is already applied, or whose predecessor is not applied. */
export const orderCheck = (file: MigrationFile, previous: number): string => `do $threadline$
begin
  if exists (select from migrations where id = ${file.id}) then
    raise exception 'threadline: migration ${file.id} is applied already' using errcode = '${outOfOrder}';
  end if;
  if (select count(distinct id) from migrations where id between 1 and ${previous}) < ${previous} then
    raise exception 'threadline: migration ${file.id} follows ${previous}, which is not applied'
      using errcode = '${outOfOrder}';
  end if;
end
$threadline$;`

const migrationsComment = "Applied migrations. Repeated rows of one id are harmless."

/** Notes a migration, in a row and in the comment of the table. A restore of the structure alone brings only the comment. */
export const record = (file: MigrationFile): string => `insert into migrations (id, name, checksum)
values (${file.id}, ${literal(file.name)}, ${literal(file.checksum)});
do $threadline$
begin
  execute format('comment on table migrations is %L', '${migrationsComment} ' || (
    select jsonb_agg(distinct jsonb_build_object('id', m.id, 'name', m.name, 'checksum', m.checksum))::text
    from migrations m
  ));
end
$threadline$;`

/** The settings of the prologue are local. Outside a transaction they would no longer be set. */
export const transactionCheck = (schema: string): string =>
  `do ${dollarQuoted(`begin
  if current_schema() is distinct from ${literal(schema)} then
    raise exception 'threadline: run this file in one transaction';
  end if;
end`)};`

export const appliedMigrations = (schema: string): string =>
  `select id, name, checksum, applied_by,
  to_char(applied_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as applied_at
from ${identifier(schema)}.migrations
order by id, applied_at`

/** Who owns the schema, and whether Threadline is in it. Needs no privilege on the schema. */
export const installation = (schema: string): string =>
  `select pg_get_userbyid(n.nspowner) as owner, exists (
    select
    from pg_class c
    where c.relnamespace = n.oid
      and c.relname = 'migrations'
  ) as installed
from pg_namespace n
where n.nspname = ${literal(schema)}`

/** Other schemas of this database that hold a record. */
export const otherInstallations = (schema: string): string =>
  `select n.nspname as name
from pg_catalog.pg_namespace n
where n.nspname <> ${literal(schema)}
  and (
    select count(*)
    from pg_catalog.pg_class c
    where c.relnamespace = n.oid
      and c.relname in ('migrations', 'installs', 'audit_changes', 'capture_policies')
  ) = 4
order by n.nspname`

/** Makes the partitions that are due, as each run does. Gives the names of those that it made. */
export const partitions = "select unnest(ensure_partitions()) as name"

/** Makes the keys that a restore of the structure alone lacks. */
export const seeds = `do $threadline$
begin
  if to_regprocedure('ensure_cursor_key()') is not null then
    perform ensure_cursor_key();
  end if;
  if to_regprocedure('ensure_mask_key()') is not null then
    perform ensure_mask_key();
  end if;
end
$threadline$;`

/** The connected role, and the role that owns the schema. */
export const acting = (
  schema: string
): string => `select current_user::text as role, pg_catalog.pg_get_userbyid(nspowner)::text as owner
from pg_catalog.pg_namespace
where nspname = ${literal(schema)}`
