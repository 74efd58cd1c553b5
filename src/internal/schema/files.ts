/**
 * Written by scripts/embed-migrations.ts from migrations/*.sql. Change those files, not this one.
 */
export const migrationFiles = [
  {
    id: 1,
    name: "storage",
    checksum: "e2990321d6807b2bf90d494c04d2042518aa37d049af83af84767819159bed93",
    sql: `-- The record itself: transactions, changes, actions, and where this database lives.
-- Names are unqualified: the prologue puts Threadline's schema first on the search path.

-- One row for each cluster that this database has lived in. Empty until the first captured write, so that a data-only restore
-- into a migrated schema meets no conflict.
create table installs (
  epoch int primary key,
  system_identifier bigint not null,
  timeline int not null,
  postmaster_started_at timestamptz not null,
  opened_at timestamptz not null default clock_timestamp(),
  -- Transactions of earlier epochs that may still commit. A promotion ends all of them except prepared ones.
  prepared xid8[] not null default '{}'
);

comment on table installs is
  'Clusters this database has lived in. A restore or clone opens a new epoch, because transaction ids start over there.';

create sequence audit_transactions_id_seq;

create table audit_transactions (
  id bigint primary key default nextval('audit_transactions_id_seq'),
  xid xid8 not null,
  epoch int not null,
  occurred_at timestamptz not null,
  actor_type text collate "C",
  actor_id text collate "C",
  actor jsonb,
  correlation_id text collate "C",
  request_id text collate "C",
  job_id text collate "C",
  trace_id text collate "C",
  source text collate "C",
  remote_ip inet,
  meta jsonb not null default '{}',
  action_id bigint,
  context_error text,
  db_user text collate "C" not null,
  application_name text,
  client_addr inet,
  backend_pid int not null
);

alter sequence audit_transactions_id_seq owned by audit_transactions.id;

comment on table audit_transactions is
  'One row per database transaction and context that captured something. Unattributed: actor_type is null.';

-- These indexes end with the id, so no two entries are equal. Without the option, PostgreSQL would look for equal ones on each page
-- that is full, before it splits it: 250,000 instructions for nothing.
create index audit_transactions_actor_idx on audit_transactions (actor_type, actor_id, id)
  with (deduplicate_items = off)
  where actor_type is not null;
create index audit_transactions_unattributed_idx on audit_transactions (id)
  with (deduplicate_items = off)
  where actor_type is null;
create index audit_transactions_correlation_idx on audit_transactions (correlation_id, id)
  with (deduplicate_items = off)
  where correlation_id is not null;
create index audit_transactions_occurred_idx on audit_transactions (occurred_at, id)
  with (deduplicate_items = off);
create index audit_transactions_xid_idx on audit_transactions (xid, epoch, id)
  with (deduplicate_items = off);

create sequence audit_changes_id_seq;

create table audit_changes (
  id bigint not null default nextval('audit_changes_id_seq'),
  transaction_id bigint not null,
  captured_at timestamptz not null,
  table_schema text collate "C" not null,
  table_name text collate "C" not null,
  partition_name text collate "C",
  op text collate "C" not null,
  row_pk jsonb,
  row_key text collate "C",
  previous_row_key text collate "C",
  changed_fields text[],
  changed_from jsonb,
  data_after jsonb,
  details jsonb
) partition by range (captured_at);

alter sequence audit_changes_id_seq owned by audit_changes.id;

comment on table audit_changes is
  'One row per captured row change (insert, update, delete, truncate, baseline), partitioned by captured_at.';

create index audit_changes_transaction_idx on audit_changes (transaction_id, id)
  with (deduplicate_items = off);
create index audit_changes_table_idx on audit_changes (table_schema, table_name, transaction_id, id)
  with (deduplicate_items = off);
-- It begins with the column that tells rows apart, so a write finds its place by one comparison instead of three.
create index audit_changes_row_idx on audit_changes (row_key, table_name, table_schema, captured_at, id)
  with (deduplicate_items = off);
create index audit_changes_previous_key_idx
  on audit_changes (previous_row_key, table_name, table_schema, captured_at, id)
  with (deduplicate_items = off)
  where previous_row_key is not null;

create table audit_changes_default partition of audit_changes default;

-- Tells the planner how many changes transactions usually have, for a table of the record's changes. It would guess from a sample. If one
-- transaction of a million changes is in it, each seems to have thousands, and a lookup of one that has two would read a bitmap of all changes
-- of its time as well. Whether a transaction has many is no reason for another way to its changes.
create function expect_transactions(relation regclass) returns void
language plpgsql
set search_path from current
as $$
begin
  execute format('alter table %s alter column transaction_id set (n_distinct = -0.25, n_distinct_inherited = -0.25)', relation);
end
$$;

select expect_transactions('audit_changes'), expect_transactions('audit_changes_default');

create table audit_actions (
  id bigint generated always as identity primary key,
  transaction_id bigint,
  xid xid8 not null,
  name text collate "C" not null,
  status text collate "C" not null,
  actor_type text collate "C",
  actor_id text collate "C",
  actor jsonb,
  verb text collate "C",
  category text collate "C",
  reason text,
  comment text,
  correlation_id text collate "C",
  request_id text collate "C",
  job_id text collate "C",
  trace_id text collate "C",
  subject_type text collate "C",
  subject_id text collate "C",
  data jsonb,
  context_error text,
  occurred_at timestamptz not null
);

comment on table audit_actions is
  'One recorded intent. transaction_id is null when it captured no row or is a recorded failure.';

create index audit_actions_transaction_idx on audit_actions (transaction_id)
  where transaction_id is not null;
create index audit_actions_correlation_idx on audit_actions (correlation_id, id)
  where correlation_id is not null;

-- What is deployed, one row for each captured root table. See the capture functions.
create table capture_policies (
  table_schema text collate "C" not null,
  table_name text collate "C" not null,
  relation oid not null,
  -- The database in which "relation" and the marks were read. In another database they mean nothing.
  database text collate "C",
  -- Marks of each partition, by its qualified name. They show whether it is still the same partition.
  partition_marks jsonb not null default '{}',
  -- Marks that show whether ALTER TABLE has rewritten the rows or touched the triggers; see row_marks.
  row_marks jsonb not null default '{}',
  mode text not null check (mode in ('statement', 'row')),
  always boolean not null,
  on_truncate text not null check (on_truncate in ('event', 'rows', 'refuse')),
  key_columns jsonb not null,
  -- Keys that the table had before, the latest first. Changes of that time have their texts.
  former_keys jsonb not null default '[]',
  -- The values of enums in the key, by type. A value that is gone was renamed, and the texts of keys changed with it.
  key_values jsonb not null default '{}',
  excluded text[] not null,
  masked text[] not null,
  -- Of masked columns, how those are masked that do not just become "[masked]": last4, hash, null.
  masks jsonb not null default '{}',
  -- Paths inside json columns: { column: [{ path, as }] }, "as" is exclude or a mask.
  paths jsonb not null default '{}',
  columns jsonb not null,
  partitions text[] not null,
  acknowledged_casts boolean not null default false,
  source_hash text not null,
  generator int not null,
  applied_at timestamptz not null default clock_timestamp(),
  applied_by text not null default session_user,
  removed_at timestamptz,
  -- When capture first began. Triggers are made under a lock that blocks writes, so every row of then was written before.
  captured_since timestamptz not null default clock_timestamp(),
  -- Times in which the table was not captured, after capture first began. removed_at begins the one that has not ended.
  lapses tstzmultirange not null default '{}',
  -- Some or all changes before this time were removed; see note_removal.
  kept_since timestamptz,
  -- The triggers of a partition, by its kind (table, partitioned, foreign). The schema watch makes them.
  partition_triggers jsonb not null default '{}',
  -- Whether the schema watch refuses to let the table or its triggers be dropped.
  drop_guard boolean not null default false,
  -- When a lapse began that the schema watch saw begin, and has not seen end.
  gap_since timestamptz,
  -- When the schema watch last looked at the table and finished.
  watched_at timestamptz,
  -- Names that the table had before, each [since, until): { schema, name, since, until }, and declared ones; see 0006_names.sql.
  former_names jsonb not null default '[]',
  -- Names that its columns had before: { column, formerly, since, until }.
  former_columns jsonb not null default '[]',
  primary key (table_schema, table_name)
);

-- Written by triggers that fire under a name that is not the one in their table's policy, or under the name of another captured
-- table. There is one row for each time that the table may have got a name. When capture is applied, these rows tell what was
-- renamed.
create table capture_sightings (
  table_schema text collate "C" not null,
  table_name text collate "C" not null,
  relation oid not null,
  database text collate "C",
  seen_at timestamptz not null default clock_timestamp(),
  -- The transaction that last changed the table in the catalog. If it is another one later, the table may have been renamed.
  named_by xid
);

comment on table capture_sightings is
  'Which table wrote under a name that is not that of its policy, and since when: what it means is settled when capture is applied.';

create index capture_sightings_idx on capture_sightings (table_schema, table_name, seen_at);
create index capture_sightings_relation_idx on capture_sightings (relation, seen_at);

-- Written by triggers that find their table altered in a way that its policy does not know: rows have other keys, or other values, or came
-- with a partition. The catalog keeps the last alteration alone, and its transactions do not tell the time. What was written between two
-- alterations, or by an older transaction after one, would prove too much without these rows.
create table capture_alterations (
  relation oid not null,
  database text collate "C",
  seen_at timestamptz not null default clock_timestamp(),
  -- "key", "rewritten", "triggers", "inherited", "joined" (a partition), or "unknown" if the snapshot of the writing transaction is older than something that was done to the table.
  what text not null,
  -- Of "joined": the marks of all partitions that the policy does not know, as partition_marks has them.
  partitions jsonb not null default '{}'
);

comment on table capture_alterations is
  'Since when a captured table is written with other keys, values, triggers or partitions than its policy knows; capture apply settles it.';

create index capture_alterations_idx on capture_alterations (relation, seen_at);

comment on table capture_policies is
  'The capture policy deployed for each audited table, as data: key, redaction, columns known when the triggers were generated.';

-- Ensures two things for a table or sequence of the record, whatever the defaults of this database are. Its rows can be updated
-- and deleted under any publication. No role but its owner may write it; default privileges of the owner may have given others
-- that right.
create function guard_relation(relation regclass) returns void
language plpgsql
set search_path from current
as $$
declare
  guarded record;
  granted record;
  -- The keys of masks are nobody's but the owner's.
  secret boolean := relation = to_regclass('mask_keys');
begin
  select c.relkind, c.relreplident, c.relowner, exists (
      select from pg_index i where i.indrelid = c.oid and i.indisprimary
    ) as keyed
  into guarded
  from pg_class c
  where c.oid = relation;
  if guarded.relkind <> 'S'
    and guarded.relreplident in ('d', 'n')
    and not (guarded.relreplident = 'd' and guarded.keyed)
  then
    execute format('alter table %s replica identity full', relation);
  end if;
  for granted in
    select case when g.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(g.grantee)) end as role,
      bool_or(g.reads) as reads
    from (
      select a.grantee, a.privilege_type, a.privilege_type = 'SELECT' as reads
      from pg_class c
      cross join lateral aclexplode(c.relacl) a
      where c.oid = relation
      union all
      select a.grantee, a.privilege_type, false
      from pg_attribute t
      cross join lateral aclexplode(t.attacl) a
      where t.attrelid = relation
    ) g
    where g.grantee <> guarded.relowner
    group by g.grantee
    having secret or bool_or(g.privilege_type <> 'SELECT')
  loop
    execute format('revoke all on %s from %s cascade', relation, granted.role);
    if granted.reads and secret is not true then
      execute format('grant select on %s to %s', relation, granted.role);
    end if;
  end loop;
end
$$;

-- No role but its owner may execute a trigger function of the record. A role that may execute it could put it on a table of its
-- own. Default privileges of the owner may give the right to roles other than PUBLIC.
create function guard_function(guarded regprocedure) returns void
language plpgsql
set search_path from current
as $$
declare
  granted record;
begin
  for granted in
    select distinct a.grantee
    from pg_proc p
    cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
    where p.oid = guarded and a.grantee <> p.proowner
  loop
    execute format('revoke all on function %s from %s cascade', guarded,
      case when granted.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(granted.grantee)) end);
  end loop;
end
$$;

-- Trigger functions that every role may execute. When a role makes a partition, PostgreSQL clones the row triggers of the table
-- for it, and checks the role's right to the function. These functions do not prove which role made a trigger. They refuse any
-- trigger but their own.
create function is_open_function(function_name text) returns boolean
language sql immutable
set search_path from current
return starts_with(function_name, 'open_');

-- The same for everything that the record has by now, and for its schema: a role that may create objects in it could shadow what
-- capture calls.
create function guard_record() returns void
language plpgsql
set search_path from current
as $$
declare
  guarded record;
begin
  perform guard_relation(c.oid)
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = current_schema()
    and c.relkind in ('r', 'p', 'S');
  perform guard_function(p.oid)
  from pg_proc p
  join pg_namespace n on n.oid = p.pronamespace
  where n.nspname = current_schema()
    and p.prorettype = 'trigger'::regtype
    and not is_open_function(p.proname);
  for guarded in
    select distinct a.grantee, n.nspname
    from pg_namespace n
    cross join lateral aclexplode(n.nspacl) a
    where n.nspname = current_schema()
      and a.grantee <> n.nspowner
      and a.privilege_type = 'CREATE'
  loop
    execute format('revoke create on schema %I from %s cascade', guarded.nspname,
      case when guarded.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(guarded.grantee)) end);
  end loop;
end
$$;

-- Partitions of audit_changes from the step that holds "through_from" up to the one that holds
-- "through_to". Each is made standalone and then attached: "create table ... partition of" would wait
-- behind every reader of audit_changes and hold up audited writes meanwhile.
create function ensure_partitions(
  through_from timestamptz default now(),
  through_to timestamptz default now() + interval '3 months',
  step text default null
) returns text[]
language plpgsql
set search_path from current
set timezone = 'UTC'
as $$
declare
  parent regclass := 'audit_changes'::regclass;
  made text[] := '{}';
  unit text := step;
  lower_bound timestamptz;
  upper_bound timestamptz;
  leaf name;
  record_owner name := (select pg_get_userbyid(c.relowner) from pg_class c where c.oid = parent);
begin
  -- Configured steps are remembered in the parent's comment; a fresh install is monthly.
  if unit is null then
    unit := coalesce(substring(obj_description(parent, 'pg_class') from 'step: (day|week|month|year)'), 'month');
  elsif unit not in ('day', 'week', 'month', 'year') then
    raise exception 'threadline: a partition step is day, week, month or year, not %', quote_literal(unit)
      using errcode = 'invalid_parameter_value';
  end if;
  if step is not null then
    execute format('comment on table %s is %L', parent,
      regexp_replace(obj_description(parent, 'pg_class'), ' step: [a-z]+$', '') || ' step: ' || unit);
  end if;

  perform guard_record();
  lower_bound := date_trunc(unit, through_from);
  while lower_bound <= through_to loop
    upper_bound := lower_bound + ('1 ' || unit)::interval;
    leaf := 'audit_changes_' || to_char(lower_bound, 'YYYYMMDD');
    if not exists (
      select
      from pg_inherits i
      cross join lateral (
        select regexp_match(
          pg_get_expr(c.relpartbound, 0), 'FROM [(]''(.*?)''[)] TO [(]''(.*?)''[)]') as b
        from pg_class c
        where c.oid = i.inhrelid
      ) bounds
      where i.inhparent = parent
        and b is not null
        and b[1]::timestamptz < upper_bound
        and b[2]::timestamptz > lower_bound
    ) then
      execute format('create table %I (like audit_changes including all)', leaf);
      perform expect_transactions(leaf::regclass);
      -- A superuser may have called this; a purge empties partitions as the owner of the record.
      if current_user <> record_owner then
        execute format('alter table %I owner to %I', leaf, record_owner);
      end if;
      perform guard_relation(leaf::regclass);
      -- Only this step blocks: rows of the default partition move out before the new one is attached.
      if exists (
        select from audit_changes_default where captured_at >= lower_bound and captured_at < upper_bound
      ) then
        lock table audit_changes_default in access exclusive mode;
        execute format(
          'with moved as (
             delete from audit_changes_default where captured_at >= %L and captured_at < %L returning *
           ) insert into %I select * from moved', lower_bound, upper_bound, leaf);
      end if;
      execute format('alter table audit_changes attach partition %I for values from (%L) to (%L)',
        leaf, lower_bound, upper_bound);
      made := made || leaf::text;
    end if;
    lower_bound := upper_bound;
  end loop;
  return made;
end
$$;

comment on function ensure_partitions(timestamptz, timestamptz, text) is
  'Makes the missing partitions of audit_changes for a span of time; returns their names.';

revoke all on function
  expect_transactions(regclass), guard_relation(regclass), guard_function(regprocedure), is_open_function(text), guard_record(), ensure_partitions(timestamptz, timestamptz, text)
from public;

select ensure_partitions();
`
  },
  {
    id: 2,
    name: "intent",
    checksum: "7ccb871f42e3e142e7bad01456d29b01dbf90101aec8d917ece5f37bca2d1098",
    sql: `-- Who and why: the context of a transaction, its row in audit_transactions, and recorded actions.
--
-- Everything travels in transaction-local settings, which a savepoint takes back together with the rows:
--   threadline.context      the stamped context document, "<transaction timestamp> <json>"
--   threadline.transaction  the audit_transactions row that captures currently go to, "<id> <ctid>"; empty until something is
--                           captured or recorded, "none" where it was and captures go to a row to come
--   threadline.actions      actions recorded before there was such a row, "<id> <ctid>;..."
--   threadline.parts        enclosing audited parts, newest first, as JSON
--
-- Rows are found by their place, never by an index or a scan. Under SERIALIZABLE, an index or a scan counts as having read what
-- other transactions write nearby, and one of the two fails. Reading a row of one's own by its place counts as nothing. Each
-- update moves the row, and changes the setting with it.

-- Reads a stamped context. "doc" holds the valid parts, "error" names what was left out. Raises only in strict mode, which a
-- database for development or tests may be in ("alter database shop_test set threadline.strict = on").
create function read_context(raw text, out doc jsonb, out error text)
language plpgsql stable
set search_path from current
as $$
declare
  stamp text := extract(epoch from transaction_timestamp())::text || ' ';
  given jsonb;
  field text;
  value jsonb;
  actor record;
  address inet;
  wrong text[] := '{}';
begin
  <<reading>>
  begin
    if not starts_with(raw, stamp) then
      wrong := '{"context: not set by set_context in this transaction"}';
      exit reading;
    end if;
    begin
      given := substr(raw, length(stamp) + 1)::jsonb;
    exception when others then
      wrong := '{"context: not JSON"}';
      exit reading;
    end;
    if jsonb_typeof(given) <> 'object' then
      wrong := '{"context: not an object"}';
      exit reading;
    end if;

    doc := '{}';
    for field, value in select e.key, e.value from jsonb_each(given) e where e.value <> 'null' order by e.key loop
      case
        when field in ('correlationId', 'requestId', 'jobId', 'traceId', 'source') then
          if jsonb_typeof(value) = 'string' and octet_length(value #>> '{}') between 1 and 256 then
            doc := doc || jsonb_build_object(field, value);
          else
            wrong := wrong || (field || ': not a text of 1 to 256 bytes');
          end if;
        when field = 'remoteIp' then
          begin
            address := (value #>> '{}')::inet;
            -- A socket for both families shows an IPv4 address as part of IPv6.
            if address <<= '::ffff:0:0/96' and masklen(address) = 128 then
              address := inet '0.0.0.0' + (address - inet '::ffff:0:0');
            end if;
            doc := doc || jsonb_build_object(field, address::text);
          exception when others then
            wrong := wrong || (field || ': not an address');
          end;
        when field = 'meta' then
          if jsonb_typeof(value) = 'object' then
            doc := doc || jsonb_build_object(field, value);
          else
            wrong := wrong || (field || ': not an object');
          end if;
        when field = 'actor' then
          actor := check_actor(value, field, 0);
          wrong := wrong || actor.wrong;
          if actor.clean is not null then
            doc := doc || jsonb_build_object(field, actor.clean);
          end if;
        when field = 'actorError' then
          -- The host could not find out who acts. It says why.
          wrong := wrong || coalesce('actor: ' || left(nullif(value #>> '{}', ''), 256), 'actor: not known');
        else
          wrong := wrong || format('context: has an unknown field %s', to_json(left(field, 63)));
      end case;
    end loop;
  end;
  error := nullif(array_to_string(wrong, '; '), '');
  if error is not null and current_setting('threadline.strict', true) in ('on', 'true', 'yes', '1') then
    raise exception 'threadline: %', error
      using errcode = 'TL005',
        hint = 'Without threadline.strict the write succeeds, and context_error says this.';
  end if;
end
$$;

-- The well-formed part of an actor document, null if type or id are not usable, and what is wrong with the rest. Integers are
-- taken as ids. Impersonators nest up to eight deep, as in the library: an endless chain must not exhaust the stack of a write.
create function check_actor(doc jsonb, path text, depth int, out clean jsonb, out wrong text[])
language plpgsql immutable
set search_path from current
as $$
declare
  kind text := doc ->> 'type';
  id text := doc ->> 'id';
  impersonator record;
begin
  wrong := '{}';
  if jsonb_typeof(doc) <> 'object' then
    wrong := array[path || ': not an object'];
    return;
  end if;
  if kind is null or kind not in ('user', 'admin', 'service_account', 'job', 'system', 'anonymous') then
    wrong := array[path || '.type: not user, admin, service_account, job, system or anonymous'];
    return;
  end if;
  if kind = 'anonymous' then
    if id is not null then
      wrong := array[path || '.id: an anonymous actor has none'];
      return;
    end if;
    clean := '{"type": "anonymous"}';
  else
    if id is null then
      wrong := array[path || '.id: missing'];
      return;
    end if;
    if octet_length(id) not between 1 and 256
      or not (jsonb_typeof(doc -> 'id') = 'string' or jsonb_typeof(doc -> 'id') = 'number' and id ~ '^-?[0-9]+$')
    then
      wrong := array[path || '.id: not a text of 1 to 256 bytes or an integer'];
      return;
    end if;
    clean := jsonb_build_object('type', kind, 'id', id);
  end if;
  if doc ->> 'label' is not null then
    if jsonb_typeof(doc -> 'label') = 'string' and octet_length(doc ->> 'label') between 1 and 256 then
      clean := clean || jsonb_build_object('label', doc -> 'label');
    else
      wrong := wrong || (path || '.label: not a text of 1 to 256 bytes');
    end if;
  end if;
  if doc ->> 'impersonator' is not null then
    if depth < 8 then
      impersonator := check_actor(doc -> 'impersonator', path || '.impersonator', depth + 1);
      wrong := wrong || impersonator.wrong;
      if impersonator.clean is not null then
        clean := clean || jsonb_build_object('impersonator', impersonator.clean);
      end if;
    else
      wrong := wrong || (path || '.impersonator: nests more than 8 deep');
    end if;
  end if;
  if doc - '{type,id,label,impersonator}'::text[] <> '{}' then
    wrong := wrong || (path || ': has a part that is not type, id, label or impersonator');
  end if;
end
$$;

-- Which cluster this is, and on which timeline. The timeline is that of the log that is written now. After a promotion, the
-- control file names the previous one until the first checkpoint has ended. A replica writes no log, and some services do not
-- show theirs.
create function current_cluster(out system_identifier bigint, out timeline int)
language plpgsql stable
set search_path from current
as $$
begin
  select s.system_identifier into current_cluster.system_identifier from pg_control_system() s;
  if not pg_is_in_recovery() then
    begin
      timeline := ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int;
    exception when others then
      timeline := null;
    end;
  end if;
  if timeline is null then
    select c.timeline_id into current_cluster.timeline from pg_control_checkpoint() c;
  end if;
end
$$;

-- Transactions of this database that are prepared, as far as the present snapshot knows them.
create function prepared_transactions() returns setof xid8
language sql stable
set search_path from current
as $$
  select x.xid
  from pg_snapshot_xip(pg_current_snapshot()) x (xid)
  join pg_prepared_xacts p on p.transaction::text::bigint = x.xid::text::bigint & 4294967295
  where p.database = current_database()
$$;

-- The epoch that the latest install has, and the start of the server that this was seen for, in one number: microseconds since
-- 1970, then ten bits of the epoch. A write reads it without a query, and only the owner can set it. Any other server, any
-- other start and a restore find another start in it, and ask "installs".
create sequence known_epoch;

-- The epoch of this cluster. The latest one holds while the server has not been started anew; after a
-- start the cluster's identity decides. A server is promoted at most once between two starts, and writes
-- nothing before. Concurrent first writers compute the same number; one stores it.
create function current_epoch() returns bigint
language plpgsql
set search_path from current
as $$
declare
  latest record;
  here record;
  is_stored boolean;
  goes_on boolean;
  result bigint;
begin
  select i.epoch, i.system_identifier, i.timeline, i.postmaster_started_at, age(i.xmin) as age into latest
  from installs i
  order by i.epoch desc
  limit 1;
  is_stored := latest.postmaster_started_at = pg_postmaster_start_time();
  if is_stored is not true then
    select * into here from current_cluster();
    goes_on := latest.system_identifier = here.system_identifier and latest.timeline = here.timeline;
  end if;
  -- Serializable transactions do not store a start: the first ones after it would be conflicts of each other for that alone.
  if is_stored or goes_on and current_setting('transaction_isolation') = 'serializable' then
    -- It is older than this transaction. A row that is visible and not our own is committed.
    if latest.age > age(pg_current_xact_id()::xid) and latest.epoch < 1024 then
      perform setval('known_epoch', (date_part('epoch', pg_postmaster_start_time()) * 1000000)::bigint * 1024 + latest.epoch);
    end if;
    return latest.epoch;
  end if;

  result := case when goes_on then latest.epoch else coalesce(latest.epoch, 0) + 1 end;
  -- Never wait for another writer here. A writer that does not get the lock goes on with the same number.
  if pg_try_advisory_xact_lock(hashtextextended('threadline.installs', 0)) then
    begin
      insert into installs as i (epoch, system_identifier, timeline, postmaster_started_at, prepared)
      values (
        result, here.system_identifier, here.timeline, pg_postmaster_start_time(),
        case
          when latest.system_identifier = here.system_identifier then array(select prepared_transactions())
          else '{}'
        end
      )
      on conflict (epoch) do update set postmaster_started_at = excluded.postmaster_started_at;
    exception when serialization_failure then
      -- Another writer has stored it since this transaction took its snapshot. That is no reason to fail.
      null;
    end;
  end if;
  return result;
end
$$;

-- The same for the triggers of a single row, each session asks once. It is declared immutable, so that its result is a constant in
-- their plans: it holds as long as the server runs, and plans end with their session. While the epoch is not known it raises an
-- error. Then there is no plan, and the write takes a way that asks "installs".
create function session_epoch() returns int
language plpgsql immutable
set search_path from current
as $$
declare
  known bigint := pg_sequence_last_value('known_epoch');
begin
  if known / 1024 = (date_part('epoch', pg_postmaster_start_time()) * 1000000)::bigint then
    return known % 1024;
  end if;
  raise exception 'threadline: the epoch is not known yet' using errcode = 'TL006';
end
$$;

-- After any write of "installs", also by a restore of data, the next captured writes read it. Plans of all sessions that have the
-- epoch as a constant end when its function is altered. A captured write that opens an epoch needs none of that: no session has
-- one yet.
create function forget_epoch() returns trigger
language plpgsql
set search_path from current
as $$
begin
  perform setval('known_epoch', 1);
  if pg_trigger_depth() = 1 then
    alter function session_epoch() cost 100;
  end if;
  return null;
end
$$;

create trigger forget_epoch after insert or update or delete or truncate on installs
for each statement execute function forget_epoch();

-- Whether each id of a context is within its limit.
create function has_short_ids(doc jsonb) returns boolean
language plpgsql immutable
set search_path from current
as $$
begin
  return coalesce(greatest(
    octet_length(doc #>> '{actor,id}'), octet_length(doc #>> '{actor,label}'),
    octet_length(doc ->> 'correlationId'), octet_length(doc ->> 'requestId'), octet_length(doc ->> 'jobId'),
    octet_length(doc ->> 'traceId'), octet_length(doc ->> 'source')
  ) <= 256, true);
end
$$;

-- Whether a context is an ordinary one, which is taken as it is: known fields, strings where strings belong, none of them empty
-- or over its limit, an actor of a common type. It has few operators, because each is prepared anew in every transaction. Raises
-- an error if an address is none. Its body is parsed here and now, so it needs no search path; without one it is compiled into
-- its caller.
create function is_plain_context(doc jsonb, raw text) returns boolean
language sql stable
begin atomic
  select doc - '{actor,correlationId,requestId,jobId,traceId,source,remoteIp,meta}'::text[] = '{}'
    -- "strict": an array is not taken for its elements.
    and not doc - '{actor,meta}'::text[] @? 'strict $.* ? (@.type() != "string" || @ == "")'
    and doc @@ '
      (!exists($.actor)
        || $.actor.type() == "object"
        && $.actor.type.type() == "string"
        && ($.actor.type == "user" || $.actor.type == "admin" || $.actor.type == "service_account"
          || $.actor.type == "job" || $.actor.type == "system")
        && $.actor.id.type() == "string" && $.actor.id != ""
        && (!exists($.actor.label) || $.actor.label.type() == "string" && $.actor.label != ""))
      && (!exists($.meta) || $.meta.type() == "object")'
    and coalesce((doc -> 'actor') - '{type,id,label}'::text[] = '{}', true)
    and ((doc ->> 'remoteIp')::inet <<= '::ffff:0:0/96') is not true
    and (octet_length(raw) <= 270 or has_short_ids(doc));
end;

-- The audit_transactions row that captures go to, once it is known that something changed. The generated triggers of a single row
-- have the same code written out (see "openTransaction"). They save the call, and everything that it would prepare anew in every
-- transaction.
create function current_transaction() returns bigint
language plpgsql
set search_path from current
as $$
declare
  raw text;
  doc jsonb;
  wrong text;
  opened bigint;
  place text;
begin
  if current_setting('threadline.transaction', true) <> '' then
    opened := cached_transaction();
    if opened is not null then
      return opened;
    end if;
  end if;

  raw := current_setting('threadline.context', true);
  if raw <> '' then
    begin
      doc := case
        when starts_with(raw, extract(epoch from transaction_timestamp())::text || ' ') then substr(raw, 19)::jsonb
      end;
      if is_plain_context(doc, raw) is not true then
        select c.doc, c.error into doc, wrong from read_context(raw) c;
      end if;
    exception when others then
      select c.doc, c.error into doc, wrong from read_context(raw) c;
    end;
  end if;
  insert into audit_transactions (
    xid, epoch, occurred_at, actor_type, actor_id, actor, correlation_id, request_id, job_id, trace_id,
    source, remote_ip, meta, context_error, db_user, application_name, client_addr, backend_pid
  ) values (
    pg_current_xact_id(),
    case pg_sequence_last_value('known_epoch') / 1024
      when (date_part('epoch', pg_postmaster_start_time()) * 1000000)::bigint
        then pg_sequence_last_value('known_epoch') % 1024
      else current_epoch()
    end,
    -- At the earliest the transaction's start, by which the row is told from those of other clusters, if the clock was set back
    -- meanwhile.
    greatest(clock_timestamp(), transaction_timestamp()), doc #>> '{actor,type}', doc #>> '{actor,id}', doc -> 'actor',
    doc ->> 'correlationId', doc ->> 'requestId', doc ->> 'jobId', doc ->> 'traceId', doc ->> 'source',
    (doc ->> 'remoteIp')::inet, coalesce(doc -> 'meta', '{}'), wrong, session_user,
    current_setting('application_name'), inet_client_addr(), pg_backend_pid()
  )
  returning id, set_config('threadline.transaction', concat_ws(' ', id, ctid), true) into opened, place;
  if current_setting('threadline.actions', true) <> '' then
    perform link_actions(opened);
  end if;
  return opened;
end
$$;

-- Actions that were recorded in this transaction before it captured anything.
create function link_actions(opened bigint) returns void
language plpgsql
set search_path from current
set enable_seqscan = off
as $$
declare
  actions text := current_setting('threadline.actions', true);
  first_action bigint;
begin
  -- Any role can set the setting. So only actions of this transaction that have no row yet are taken.
  if actions ~ '^([0-9]{1,18} [(][0-3]?[0-9]{1,9},[0-9]{1,4}[)](;|$))+$' then
    with linked as (
      update audit_actions a set transaction_id = opened
      where a.ctid = any (array(select split_part(x, ' ', 2)::tid from unnest(string_to_array(actions, ';')) x))
        and a.id + 0 = any (array(select split_part(x, ' ', 1)::bigint from unnest(string_to_array(actions, ';')) x))
        and a.transaction_id + 0 is null
        and a.xid = pg_current_xact_id()
        and a.occurred_at + interval '0' >= transaction_timestamp()
      returning a.id
    )
    select min(id) into first_action from linked;
  end if;
  if first_action is not null then
    perform first_action_of(opened, first_action);
  end if;
  perform set_config('threadline.actions', '', true);
end
$$;

-- The first action of the transaction row that captures currently go to; it keeps one that it has.
create function first_action_of(opened bigint, action bigint) returns void
language plpgsql
set search_path from current
set enable_seqscan = off
as $$
declare
  place tid;
begin
  update audit_transactions t
  set action_id = action
  where t.ctid = split_part(current_setting('threadline.transaction', true), ' ', 2)::tid
    and t.id + 0 = opened
    and t.action_id is null
  returning t.ctid into place;
  if found then
    perform set_config('threadline.transaction', opened || ' ' || place, true);
  end if;
end
$$;

-- The row captures currently go to, or null. The cached id counts only for a row of this very
-- transaction: xids alone repeat after a dump and restore, and the setting can be set by hand.
create function cached_transaction() returns bigint
language plpgsql stable
set search_path from current
set enable_seqscan = off
as $$
declare
  cached text := current_setting('threadline.transaction', true);
  found_id bigint;
begin
  if cached ~ '^[0-9]{1,18} [(][0-3]?[0-9]{1,9},[0-9]{1,4}[)]$' then
    select id into found_id
    from audit_transactions
    where ctid = split_part(cached, ' ', 2)::tid
      and id + 0 = split_part(cached, ' ', 1)::bigint
      and xid is not distinct from pg_current_xact_id_if_assigned()
      and occurred_at + interval '0' >= transaction_timestamp();
  end if;
  return found_id;
end
$$;

-- Gives a context to the transaction row that captures currently go to, if it has none. Returns the place of the row afterwards.
create function complete_transaction(cached bigint, raw text) returns tid
language plpgsql
set search_path from current
set enable_seqscan = off
as $$
declare
  given jsonb;
  wrong text;
  place tid;
begin
  select c.doc, c.error into given, wrong from read_context(raw) c;
  update audit_transactions
  set actor_type = given #>> '{actor,type}',
    actor_id = given #>> '{actor,id}',
    actor = given -> 'actor',
    correlation_id = given ->> 'correlationId',
    request_id = given ->> 'requestId',
    job_id = given ->> 'jobId',
    trace_id = given ->> 'traceId',
    source = given ->> 'source',
    remote_ip = (given ->> 'remoteIp')::inet,
    meta = coalesce(given -> 'meta', '{}'),
    context_error = wrong
  where ctid = split_part(current_setting('threadline.transaction', true), ' ', 2)::tid
    and id + 0 = cached
    and actor_type is null
    and context_error is null
    and num_nonnulls(correlation_id, request_id, job_id, trace_id, source, remote_ip) = 0
    and meta = '{}'
  returning ctid into place;
  return place;
end
$$;

-- What happens with a context that is not the first thing of its transaction, that is malformed, or that comes in strict mode.
create function context_changes(raw text) returns void
language plpgsql
set search_path from current
as $$
declare
  cached bigint;
  place tid;
begin
  if raw is null then
    raise exception 'threadline: the context is null; pass a JSON object'
      using errcode = 'null_value_not_allowed';
  end if;
  if current_setting('threadline.strict', true) <> '' then
    perform read_context(raw);
  end if;
  if current_setting('threadline.transaction', true) <> '' and raw is distinct from current_setting('threadline.context', true) then
    cached := cached_transaction();
    if cached is not null then
      place := complete_transaction(cached, raw);
    end if;
    if place is not null then
      perform set_config('threadline.transaction', cached || ' ' || place, true);
    else
      -- This also replaces a value that belongs to no row of this transaction. From here on, this transaction has set it.
      perform set_config('threadline.transaction', 'none', true);
    end if;
    if cached is not null and place is null then
      perform set_config('threadline.actions', '', true);
    end if;
  end if;
end
$$;

-- Sets who and why for the rest of the transaction; any client may call it, at any point of it.
-- A recorded actor is never replaced: a context that comes after captured writes completes a row that
-- has none, and a different one makes the next write open a further row. Returns true, because some clients cannot read void.
create function set_context(context jsonb) returns boolean
language plpgsql security definer
set search_path from current
as $$
declare
  raw text := extract(epoch from transaction_timestamp())::text || ' ' || context::text;
begin
  if raw is null
    or current_setting('threadline.transaction', true) <> ''
    or current_setting('threadline.strict', true) <> ''
  then
    perform context_changes(raw);
  end if;
  return set_config('threadline.context', raw, true) is not null;
end
$$;

comment on function set_context(jsonb) is
  'Sets actor, correlation, request, job, trace, source, remote address and meta for the rest of the transaction.';

-- Opens an audited part of a larger transaction: what it captures goes to a row of its own, and
-- "finish" gives the enclosing part its context and its row back. A savepoint encloses both calls, so
-- that a part rolled back leaves nothing behind.
create function begin_part(context jsonb) returns boolean
language plpgsql security definer
set search_path from current
as $$
begin
  perform set_config(
    'threadline.parts',
    (jsonb_build_array(jsonb_build_array(
      coalesce(current_setting('threadline.context', true), ''),
      coalesce(current_setting('threadline.transaction', true), ''),
      coalesce(current_setting('threadline.actions', true), '')
    )) || coalesce(nullif(current_setting('threadline.parts', true), ''), '[]')::jsonb)::text,
    true
  );
  perform set_config('threadline.transaction', 'none', true);
  perform set_config('threadline.actions', '', true);
  return set_context(context);
end
$$;

-- Records one intent of the current transaction: { name, status?, verb?, category?, reason?, comment?,
-- subject?: { type, id }, data? }. Who and why come from the context; a second argument replaces it.
create function record_action(action jsonb, context jsonb default null) returns bigint
language plpgsql security definer
set search_path from current
as $$
declare
  unknown_fields jsonb;
  subject jsonb := nullif(action -> 'subject', 'null');
  given jsonb;
  wrong text;
  linked bigint := cached_transaction();
  recorded bigint;
  place tid;
begin
  if jsonb_typeof(action) is distinct from 'object'
    or jsonb_typeof(action -> 'name') is distinct from 'string'
    or octet_length(action ->> 'name') not between 1 and 256
  then
    raise exception 'threadline: an action needs a name of 1 to 256 bytes'
      using errcode = 'invalid_parameter_value';
  end if;
  -- What is not known is not left out: nothing would say so later.
  unknown_fields := action - '{name,status,verb,category,reason,comment,subject,data}'::text[];
  if unknown_fields <> '{}' then
    raise exception 'threadline: an action has an unknown field %', (select to_json(left(min(k), 63)) from jsonb_object_keys(unknown_fields) k)
      using errcode = 'invalid_parameter_value';
  end if;
  if jsonb_typeof(subject) <> 'object' then
    raise exception 'threadline: the subject of an action is an object with type and id, not %', jsonb_typeof(subject)
      using errcode = 'invalid_parameter_value';
  end if;
  if subject - '{type,id}'::text[] <> '{}'
    or not subject ?& '{type,id}'
    or jsonb_typeof(subject -> 'type') <> 'string'
    or octet_length(subject ->> 'type') not between 1 and 256
    or jsonb_typeof(subject -> 'id') not in ('string', 'number')
    or jsonb_typeof(subject -> 'id') = 'number' and subject ->> 'id' !~ '^-?[0-9]+$'
    or octet_length(subject ->> 'id') not between 1 and 256
  then
    raise exception 'threadline: the subject of an action has a type and an id of 1 to 256 bytes, and nothing else'
      using errcode = 'invalid_parameter_value';
  end if;
  if jsonb_typeof(action -> 'verb') not in ('string', 'null') or octet_length(action ->> 'verb') not between 1 and 256
    or jsonb_typeof(action -> 'category') not in ('string', 'null')
    or octet_length(action ->> 'category') not between 1 and 256
  then
    raise exception 'threadline: verb and category of an action are strings of 1 to 256 bytes'
      using errcode = 'invalid_parameter_value';
  end if;
  if jsonb_typeof(action -> 'reason') not in ('string', 'null') or jsonb_typeof(action -> 'comment') not in ('string', 'null') then
    raise exception 'threadline: reason and comment of an action are strings'
      using errcode = 'invalid_parameter_value';
  end if;
  if coalesce(action ->> 'status', 'ok') not in ('ok', 'error') then
    raise exception 'threadline: the status of an action is ok or error, not %', action -> 'status'
      using errcode = 'invalid_parameter_value';
  end if;

  select c.doc, c.error into given, wrong
  from read_context(coalesce(
    extract(epoch from transaction_timestamp())::text || ' ' || context::text,
    nullif(current_setting('threadline.context', true), '')
  )) c;
  insert into audit_actions (
    transaction_id, xid, name, status, actor_type, actor_id, actor, verb, category, reason, comment,
    correlation_id, request_id, job_id, trace_id, subject_type, subject_id, data, context_error, occurred_at
  ) values (
    linked, pg_current_xact_id(), action ->> 'name', coalesce(action ->> 'status', 'ok'),
    given #>> '{actor,type}', given #>> '{actor,id}', given -> 'actor',
    action ->> 'verb', action ->> 'category', action ->> 'reason', action ->> 'comment',
    given ->> 'correlationId', given ->> 'requestId', given ->> 'jobId', given ->> 'traceId',
    subject ->> 'type', subject ->> 'id', action -> 'data', wrong,
    greatest(clock_timestamp(), transaction_timestamp())
  )
  returning id, ctid into recorded, place;

  if linked is null then
    perform set_config('threadline.transaction', 'none', true);
    perform set_config('threadline.actions',
      concat_ws(';', nullif(current_setting('threadline.actions', true), ''), recorded || ' ' || place), true);
  else
    perform first_action_of(linked, recorded);
  end if;
  return recorded;
end
$$;

comment on function record_action(jsonb, jsonb) is
  'Records one intent, linked to what the transaction captured or will capture.';

-- Records that changes were exported, or an attempt. It is record_action for these names alone. So readers can be allowed to call
-- it, and can record nothing else.
create function record_export(action jsonb, context jsonb) returns bigint
language plpgsql security definer
set search_path from current
as $$
begin
  if coalesce(action ->> 'name', '') not in (
    'export.completed', 'export.ended', 'export.queued', 'export.failed', 'export.cancelled', 'export.retried',
    'export.downloaded', 'export.expired'
  ) then
    raise exception 'threadline: an export is recorded under a name of its own, not %', action -> 'name'
      using errcode = 'invalid_parameter_value';
  end if;
  return record_action(action, coalesce(context, '{}'));
end
$$;

comment on function record_export(jsonb, jsonb) is
  'Records an export as an action: who, which filter, how many records.';

-- Ends an audited transaction or part: { action?, requireChanges?, part? }. Returns
-- { transactionId, actionId }, both texts or null. Raises TL001 if changes are required and none came, and TL004 if it is
-- to end a part and none is open: the context of what encloses it would be lost.
create function finish(outcome jsonb) returns jsonb
language plpgsql security definer
set search_path from current
as $$
declare
  captured bigint := cached_transaction();
  recorded bigint;
  enclosing jsonb;
begin
  -- An outcome that is not understood must not end the transaction as if there had been no action.
  if jsonb_typeof(outcome) is distinct from 'object' or outcome - '{action,requireChanges,part}'::text[] <> '{}' then
    raise exception 'threadline: finish takes a JSON object of action, requireChanges and part'
      using errcode = 'invalid_parameter_value';
  end if;
  if (outcome ->> 'part')::boolean then
    begin
      enclosing := nullif(current_setting('threadline.parts', true), '')::jsonb;
    exception when others then
      enclosing := null;
    end;
    if jsonb_typeof(enclosing -> 0) is distinct from 'array' then
      raise exception 'threadline: finish ends a part, and none is open'
        using errcode = 'TL004',
          hint = 'Call begin_part once for each part. A rollback to a savepoint ends the parts that were opened after it.';
    end if;
  end if;
  if (outcome ->> 'requireChanges')::boolean and captured is null then
    raise exception 'threadline: the transaction captured no change' using errcode = 'TL001';
  end if;
  if outcome ->> 'action' is not null then
    recorded := record_action(outcome -> 'action');
  end if;
  if (outcome ->> 'part')::boolean then
    perform set_config('threadline.context', coalesce(enclosing #>> '{0,0}', ''), true);
    perform set_config('threadline.transaction', coalesce(nullif(enclosing #>> '{0,1}', ''), 'none'), true);
    perform set_config('threadline.actions', coalesce(enclosing #>> '{0,2}', ''), true);
    perform set_config('threadline.parts', coalesce((enclosing - 0)::text, ''), true);
  end if;
  return jsonb_build_object('transactionId', captured::text, 'actionId', recorded::text);
end
$$;

comment on function finish(jsonb) is
  'Ends an audited transaction, or an audited part of a larger one, and says which rows it has.';

revoke all on function
  read_context(text), check_actor(jsonb, text, int), current_cluster(), prepared_transactions(), current_epoch(), session_epoch(),
  forget_epoch(),
  has_short_ids(jsonb), is_plain_context(jsonb, text), context_changes(text), link_actions(bigint),
  first_action_of(bigint, bigint), complete_transaction(bigint, text),
  cached_transaction(), current_transaction(), set_context(jsonb), begin_part(jsonb),
  record_action(jsonb, jsonb), record_export(jsonb, jsonb), finish(jsonb)
from public;
`
  },
  {
    id: 3,
    name: "images",
    checksum: "56adf5a34a1efc6a4686d291a3cf2c43d6dd56297988d08d5cc8817a351a53b7",
    sql: `-- The functions about keys and images that the generated trigger functions share. The generated functions hold what is known of
-- one table: its key, its redaction, the columns that it had when they were generated. Nothing here names a column of the host.

-- Equal keys have equal texts: "value" is the text of the image, "kind" says what equality ignores.
create function key_text(value text, kind text) returns text
language plpgsql immutable strict
set search_path from current
set intervalstyle = 'postgres'
as $$
begin
  if kind like 'shape %' then
    return key_shaped(value::jsonb, substr(kind, 7)::jsonb) #>> '{}';
  end if;
  case kind
    when 'numeric' then return trim_scale(value::numeric)::text;
    when 'interval' then return justify_interval(value::interval)::text;
    when 'citext' then return lower(value);
    when 'bpchar' then return rtrim(value, ' ');
    when 'numbers' then return numbers_trimmed(value::jsonb) #>> '{}';
    when 'bounds' then
      return regexp_replace(regexp_replace(value, '([.][0-9]*[1-9])0+(?=[],)])', E'\\\\1', 'g'), '[.]0*(?=[],)])', '', 'g');
    else return value;
  end case;
exception when others then
  return value;
end
$$;

-- jsonb with numbers that have no more digits than they need. Equal numbers become equal, whatever their scale.
create function numbers_trimmed(document jsonb) returns jsonb
language plpgsql immutable strict
set search_path from current
as $$
begin
  return case jsonb_typeof(document)
    when 'number' then to_jsonb(trim_scale(document::numeric))
    when 'array' then (
      select coalesce(jsonb_agg(numbers_trimmed(e.value) order by e.place), '[]')
      from jsonb_array_elements(document) with ordinality e (value, place)
    )
    when 'object' then (
      select coalesce(jsonb_object_agg(e.key, numbers_trimmed(e.value)), '{}') from jsonb_each(document) e
    )
    else document
  end;
end
$$;

-- The parts of an array or a composite, each as "shape" says: a kind of key_text, [kind of the elements], or { attribute: kind }. A part of an
-- array that is an array is another dimension.
create function key_shaped(document jsonb, shape jsonb) returns jsonb
language plpgsql immutable strict
set search_path from current
as $$
declare
  kind text := case jsonb_typeof(shape) when 'string' then shape #>> '{}' end;
begin
  return case
    when kind = 'text' or jsonb_typeof(document) = 'null' then document
    when kind in ('numeric', 'numbers') then numbers_trimmed(document)
    when jsonb_typeof(document) = 'array' then (
      select coalesce(
        jsonb_agg(key_shaped(e.value, case jsonb_typeof(shape) when 'array' then shape -> 0 else shape end) order by e.place), '[]')
      from jsonb_array_elements(document) with ordinality e (value, place)
    )
    when kind is not null then to_jsonb(key_text(document #>> '{}', kind))
    when jsonb_typeof(document) = 'object' then (
      select coalesce(jsonb_object_agg(e.key, key_shaped(e.value, coalesce(shape -> e.key, '"text"'))), '{}')
      from jsonb_each(document) e
    )
    else document
  end;
end
$$;

-- A key too long for an index: its beginning and its SHA-256. row_pk keeps it whole.
create function bounded_key(key text) returns text
language sql immutable strict
set search_path from current
return case
  when octet_length(key) <= 512 then key
  else left(key, 100) || ':sha256:' || encode(sha256(convert_to(key, 'UTF8')), 'hex')
end;

-- row_pk and row_key of an image. "columns" is [{ "name", "attnum", "text" }] in key order; a name that the
-- image lacks was renamed since and is looked up by its number, unless current_policy did so already ("from").
create function image_key(image jsonb, columns jsonb, relation oid, out row_pk jsonb, out row_key text)
language plpgsql stable
set search_path from current
as $$
declare
  part jsonb;
  name text;
  value text;
  texts text[] := '{}';
begin
  if image is null or columns = '[]' then
    return;
  end if;
  row_pk := '{}';
  for part in select e.value from jsonb_array_elements(columns) with ordinality e (value, place) order by place loop
    name := coalesce(part ->> 'from', part ->> 'name');
    if not image ? name then
      select attname into name
      from pg_attribute
      where attrelid = coalesce(pg_partition_root(relation), relation)
        and attnum = (part ->> 'attnum')::int2
        and not attisdropped;
    end if;
    value := key_text(image ->> name, part ->> 'text');
    if value is null then
      row_pk := null;
      return;
    end if;
    row_pk := row_pk || jsonb_build_object(part ->> 'name', value);
    texts := texts || value;
  end loop;
  row_key := key_of_texts(texts);
end
$$;

-- One text as it is, several as a JSON array of texts without spaces.
create function key_of_texts(texts text[]) returns text
language plpgsql immutable
set search_path from current
as $$
declare
  result text;
  part text;
begin
  if cardinality(texts) = 1 then
    return bounded_key(texts[1]);
  end if;
  foreach part in array texts loop
    result := concat_ws(',', result, to_json(part)::text);
  end loop;
  return bounded_key('[' || result || ']');
end
$$;

-- Functions on json resolve its escapes and fail at \\u0000 and at lone surrogates. Shielded, these are plain text: an escaped
-- backslash becomes two of them, \\u becomes an escaped backslash and a u. Different texts stay different, and shield_removed
-- gives the original text back. chr(1) never occurs in json.
create function shielded(document text) returns text
language sql immutable strict
set search_path from current
return replace(replace(replace(document, E'\\\\\\\\', chr(1)), E'\\\\u', E'\\\\\\\\u'), chr(1), E'\\\\\\\\\\\\\\\\');

create function shield_removed(document text) returns text
language sql immutable strict
set search_path from current
return replace(replace(replace(document, E'\\\\\\\\\\\\\\\\', chr(1)), E'\\\\\\\\u', E'\\\\u'), chr(1), E'\\\\\\\\');

-- The image of a row whatever it holds. A value that jsonb cannot hold (json with \\u0000, a lone
-- surrogate, more than 256 MB) is kept as its text or, where that does not fit either, as a marker with
-- its size and hash: another value is another image.
-- Writes nothing, so that its exception blocks cost no transaction id.
create function image(source record) returns jsonb
language plpgsql stable
set search_path from current
as $$
declare
  result jsonb := '{}';
  shield boolean;
  field text;
  value text;
begin
  begin
    return to_jsonb(source);
  exception when others then
    null;
  end;
  value := row_to_json(source)::text;
  shield := strpos(value, E'\\\\u') > 0;
  for field, value in
    select e.key, e.value::text
    from json_each(case when shield then shielded(value) else value end::json) e
  loop
    if shield then
      field := shield_removed(to_jsonb(field)::text)::jsonb #>> '{}';
      value := shield_removed(value);
    end if;
    begin
      if octet_length(value) >= 268435456 then
        raise program_limit_exceeded;
      end if;
      begin
        result := result || jsonb_build_object(field, value::jsonb);
      exception when others then
        result := result || jsonb_build_object(field, value);
      end;
    exception when others then
      result := result || jsonb_build_object(field, jsonb_build_object(
        'threadline:omitted', octet_length(value) || ' bytes',
        'sha256', encode(sha256(convert_to(value, 'UTF8')), 'hex')
      ));
    end;
  end loop;
  return result;
exception when others then
  return jsonb_build_object('threadline:omitted', sqlstate);
end
$$;

-- The virtual generated columns that a table has now: triggers see null in them.
create function virtual_columns(relation oid) returns text[]
language sql stable
set search_path from current
begin atomic
  select coalesce(array_agg(a.attname::text), '{}')
  from pg_attribute a
  where a.attrelid = relation and a.attgenerated = 'v' and not a.attisdropped;
end;

-- "names" were virtual when the triggers were generated. If such a column holds a value, it is no longer virtual.
create function without_virtual(image jsonb, names text[], relation oid) returns jsonb
language plpgsql stable
set search_path from current
as $$
begin
  if image @> (select jsonb_object_agg(n, null) from unnest(names) n) then
    return image - names;
  end if;
  return image - virtual_columns(relation);
end
$$;

-- The named columns of a row, each as its text. A row is read anew from its own text: only so can its columns be named without
-- naming the type of the table beforehand.
create function column_texts(source text, relation oid, names text[]) returns jsonb
language plpgsql stable
set search_path from current
as $$
declare
  result jsonb;
begin
  execute (
    select format('select jsonb_build_object(%s) from (select $1::%s as it offset 0) r',
      string_agg(format('%1$L, (r.it).%1$I::text', a.attname), ', '), relation::regclass)
    from pg_attribute a
    where a.attrelid = relation and a.attname = any (names) and not a.attisdropped and a.attgenerated <> 'v'
  ) into result using source;
  return coalesce(result, '{}');
end
$$;

-- An image, made column by column. If the cast of a value to json fails, the value is kept as its text, and no other column is
-- affected.
create function image_by_column(source text, relation oid) returns jsonb
language plpgsql stable
set search_path from current
as $$
declare
  result jsonb := '{}';
  field name;
  value jsonb;
begin
  for field in
    select a.attname
    from pg_attribute a
    where a.attrelid = relation and a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v'
    order by a.attnum
  loop
    begin
      execute format('select to_jsonb((r.it).%I) from (select $1::%s as it offset 0) r', field, relation::regclass)
      into value using source;
    exception when others then
      begin
        value := column_texts(source, relation, array[field::text]) -> field::text;
      exception when others then
        value := jsonb_build_object('threadline:omitted', sqlstate);
      end;
    end;
    result := result || jsonb_build_object(field, value);
  end loop;
  return result;
end
$$;

-- Those of the named columns that hold values now.
create function valued_columns(relation oid, names text[]) returns text[]
language sql stable
set search_path from current
begin atomic
  select coalesce(array_agg(a.attname::text), '{}')
  from pg_attribute a
  where a.attrelid = relation and a.attname = any (names) and a.attgenerated <> 'v' and not a.attisdropped;
end;

-- The image of a row, for any values, and even if its table was altered. "names" are the columns with values that were known when
-- the triggers were generated and have values still: any other may be virtual, or of a type that needs settings which they do not
-- make. "texts" are those that hold the text of their value.
create function image_of(source record, relation oid, names text[], texts text[]) returns jsonb
language plpgsql stable
set search_path from current
as $$
declare
  result jsonb := image(source);
begin
  if texts = '{}' and result - names = '{}' then
    return result;
  end if;
  return settled_image(source, relation, texts);
end
$$;

create function settled_image(source record, relation oid, texts text[]) returns jsonb
language plpgsql stable
set search_path from current
set timezone = 'UTC'
set datestyle = 'ISO, YMD'
set intervalstyle = 'postgres'
set bytea_output = 'hex'
set extra_float_digits = 1
set lc_monetary = 'C'
set quote_all_identifiers = off
as $$
declare
  result jsonb := image(source);
begin
  if result ? 'threadline:omitted' and not exists (
    select from pg_attribute a where a.attrelid = relation and a.attname = 'threadline:omitted'
  ) then
    result := image_by_column(source::text, relation);
  end if;
  if texts <> '{}' then
    result := result || column_texts(source::text, relation, texts);
  end if;
  -- As "virtual_columns", of which a call for each row costs more than its query.
  return result - array(
    select a.attname::text from pg_attribute a where a.attrelid = relation and a.attgenerated = 'v' and not a.attisdropped);
exception when others then
  return image(source);
end
$$;

-- The fields in which two rows differ that have the same image: json null and SQL's null, the bounds of an array, a negative
-- zero. Null if they do not differ, or only in excluded columns. Empty if it cannot be told which fields differ.
create function alike_fields(old_row record, new_row record, relation oid, excluded text[]) returns text[]
language plpgsql stable
set search_path from current
as $$
declare
  result text[];
begin
  if old_row::text is not distinct from new_row::text then
    return null;
  end if;
  execute (
    select format('select array_remove(array[%s]::text[], null) from (select $1::%s as o, $2::%2$s as n offset 0) r',
      string_agg(format('case when (r.o).%1$I::text is distinct from (r.n).%1$I::text then %1$L end', a.attname), ', '
        order by a.attname),
      relation::regclass)
    from pg_attribute a
    where a.attrelid = relation
      and a.attnum > 0
      and not a.attisdropped
      and a.attgenerated <> 'v'
      and a.attname <> all (excluded)
  ) into result using old_row::text, new_row::text;
  return nullif(result, '{}');
exception when others then
  return case when excluded = '{}' then '{}'::text[] end;
end
$$;

-- The row as shielded json, which keeps the exact text of its json columns; null where it cannot be built.
create function exact_text(source record) returns json
language plpgsql stable
set search_path from current
as $$
begin
  return shielded(row_to_json(source)::text);
exception when others then
  return null;
end
$$;

-- What a statement on many rows must know of its table now. "guard": a column has a type with values that jsonb may refuse.
-- "stale": the columns with values are not those that the triggers were generated for, or a column is virtual that was not.
create function capture_hints(relation oid, columns text[], virtual_names text[], out guard boolean, out stale boolean)
language sql stable
set search_path from current
begin atomic
  select
    bool_or(not (t.typtype = 'e' or (t.typnamespace = 'pg_catalog'::regnamespace and t.typname = any (
      '{bool,bytea,char,name,int8,int2,int4,text,oid,float4,float8,money,bpchar,varchar,date,time,timestamp,
        timestamptz,interval,timetz,numeric,uuid,jsonb,inet,cidr,macaddr,macaddr8,tsvector,
        _bool,_int2,_int4,_int8,_text,_varchar,_uuid,_numeric,_date,_timestamptz}'::name[]))))
      filter (where a.attgenerated <> 'v'),
    count(*) filter (where a.attgenerated <> 'v' and a.attname::text = any (columns)) <> cardinality(columns)
      or count(*) filter (where a.attgenerated <> 'v') <> cardinality(columns)
      or bool_or(a.attgenerated = 'v' and a.attname::text <> all (virtual_names))
  from pg_attribute a
  join pg_type t on t.oid = a.atttypid
  where a.attrelid = relation
    and a.attnum > 0
    and not a.attisdropped;
end;

-- The policy, rewritten for the names that columns have now. Names that were exchanged since (a to b, b to a) leave images of the
-- same names, with other values under them: whatever name a redacted column has is masked as well, and a key is read from where
-- it is. Only columns of the very table tell, and only where their order is another: a restored table numbers them anew and keeps
-- the order.
create function current_policy(policy jsonb, relation oid) returns jsonb
language plpgsql stable
set search_path from current
as $$
declare
  names jsonb;
begin
  select jsonb_object_agg(c.name, a.attname)
  into names
  from capture_policies p
  cross join lateral (
    select e.value ->> 'name' as name, (e.value ->> 'attnum')::int2 as attnum from jsonb_array_elements(p.columns) e
  ) c
  join pg_attribute a on a.attrelid = p.relation and a.attnum = c.attnum and not a.attisdropped
  where p.relation = coalesce(pg_partition_root(current_policy.relation), current_policy.relation)
    and p.removed_at is null
    and a.attname <> c.name
    and policy -> 'columns' ? a.attname
    and exists (
      select
      from (
        select x.attnum, max(x.attnum) over (
          order by (e.value ->> 'attnum')::int2 rows between unbounded preceding and 1 preceding) as before
        from jsonb_array_elements(p.columns) e
        join pg_attribute x on x.attrelid = p.relation and x.attname = e.value ->> 'name' and not x.attisdropped
      ) o
      where o.attnum < o.before
    );
  if names is null then
    return policy;
  end if;
  return policy || jsonb_build_object(
    'masked', policy -> 'masked' || (
      select coalesce(jsonb_agg(n.value), '[]')
      from jsonb_each(names) n
      where policy -> 'excluded' ? n.key or policy -> 'masked' ? n.key or policy -> 'paths' ? n.key
    ),
    'key', (
      select coalesce(jsonb_agg(k.value || jsonb_build_object('from', coalesce(names -> (k.value ->> 'name'), k.value -> 'name'))
        order by k.place), '[]')
      from jsonb_array_elements(policy -> 'key') with ordinality k (value, place)
    )
  );
end
$$;

-- The keys of hashed masks; the newest one counts. Only the owner of the record reads this table: who knows a key can try out
-- values. A key is kept as its two blocks of HMAC (RFC 2104), so that a hash costs two calls of sha256. "id" is a part of every hash,
-- so that hashes of different keys are never taken for those of one.
create table mask_keys (
  id text collate "C" primary key,
  inner_block bytea not null check (octet_length(inner_block) = 64),
  outer_block bytea not null check (octet_length(outer_block) = 64),
  created_at timestamptz not null default clock_timestamp()
);

comment on table mask_keys is
  'Keys of the mask "hash". Nobody but the owner reads it. Leave its rows out of dumps that others get: --exclude-table-data.';

-- From now on hashes are made with another key. Those of before stay as they are, and no longer equal new ones.
create function rotate_mask_key() returns text
language sql
set search_path from current
begin atomic
  insert into mask_keys (id, inner_block, outer_block)
  select left(encode(sha256(k.key || 'threadline mask key'::bytea), 'hex'), 8), b.inner_block, b.outer_block
  from (select sha256(string_agg(uuid_send(gen_random_uuid()), '')) as key from generate_series(1, 4)) k
  cross join lateral (
    select
      decode(string_agg(lpad(to_hex(o.octet # 54), 2, '0'), '' order by o.place), 'hex') as inner_block,
      decode(string_agg(lpad(to_hex(o.octet # 92), 2, '0'), '' order by o.place), 'hex') as outer_block
    from (
      select n as place, case when n < 32 then get_byte(k.key, n) else 0 end as octet from generate_series(0, 63) n
    ) o
  ) b
  returning id;
end;

comment on function rotate_mask_key() is
  'Makes a new key for the mask "hash" and gives its id. Only the owner of the record may call it.';

-- Made here, and by every later run if it is missing: a restore without the table's rows brings no key.
create function ensure_mask_key() returns void
language sql
set search_path from current
begin atomic
  select rotate_mask_key() where not exists (select from mask_keys);
end;

select ensure_mask_key();

-- The keyed hash of a text; without a key, or if the text cannot be hashed, nothing of it. It never fails: a write depends on it.
create function mask_hash(value text) returns text
language plpgsql stable
set search_path from current
as $$
declare
  made record;
begin
  select k.id, k.inner_block, k.outer_block into made from mask_keys k order by k.created_at desc, k.id desc limit 1;
  return coalesce(
    'hmac:' || made.id || ':' || encode(
      sha256(made.outer_block || sha256(made.inner_block || convert_to(coalesce('t' || value, 'n'), 'UTF8'))), 'hex'),
    '[masked]');
exception when others then
  return '[masked]';
end
$$;

-- What takes the place of a masked value. "last4" shows four characters if at least as many stay hidden. Whether the value is null
-- is hidden by each of them: the hash of null is one of many.
create function mask_value(value jsonb, kind text) returns jsonb
language plpgsql stable
set search_path from current
as $$
begin
  case kind
    when 'null' then return 'null';
    when 'last4' then
      return to_jsonb(case when length(value #>> '{}') >= 8 then '****' || right(value #>> '{}', 4) else '****' end);
    when 'hash' then return to_jsonb(mask_hash(value #>> '{}'));
    else return '"[masked]"';
  end case;
end
$$;

-- Masks those of the named fields that a document has. "masks" is { field: mask }.
create function mask_fields(document jsonb, masks jsonb) returns jsonb
language sql stable
set search_path from current
begin atomic
  select document || coalesce(jsonb_object_agg(m.key, mask_value(document -> m.key, m.value)), '{}')
  from jsonb_each_text(masks) m
  where document ? m.key;
end;

-- Redacts what is at a path inside a value, in every element of the arrays on the way. A string on the way may hold anything, a document
-- as well: it is masked, unless "compared" tells that two values are compared and neither is kept.
create function redact_path(value jsonb, path text[], kind text, compared boolean) returns jsonb
language plpgsql stable
set search_path from current
as $$
begin
  if jsonb_typeof(value) = 'array' then
    return (
      select coalesce(jsonb_agg(redact_path(e.value, path, kind, compared) order by e.place), '[]')
      from jsonb_array_elements(value) with ordinality e (value, place)
    );
  end if;
  if jsonb_typeof(value) = 'string' and not compared then
    return '"[masked]"';
  end if;
  if jsonb_typeof(value) is distinct from 'object' or not value ? path[1] then
    return value;
  end if;
  return case
    when cardinality(path) > 1 then value || jsonb_build_object(path[1], redact_path(value -> path[1], path[2:], kind, compared))
    when kind = 'exclude' then value - path[1]
    else value || jsonb_build_object(path[1], mask_value(value -> path[1], kind))
  end;
end
$$;

-- The value of a json column without what its policy redacts; "paths" is [{ path, as }]. With "only_as" two values are compared, and only
-- those paths count. A value that jsonb cannot hold is kept as a string, which is masked as a whole.
create function redact_paths(value jsonb, paths jsonb, only_as text default null) returns jsonb
language plpgsql stable
set search_path from current
as $$
declare
  one jsonb;
begin
  for one in select e.value from jsonb_array_elements(paths) e loop
    if only_as is null or one ->> 'as' = only_as then
      value := redact_path(value, array(select jsonb_array_elements_text(one -> 'path')), one ->> 'as', only_as is not null);
    end if;
  end loop;
  return value;
end
$$;

-- What the functions about images need of a policy: { key, excluded, masked, masks, paths, columns, texts }.
create function policy_document(policy capture_policies) returns jsonb
language sql stable
set search_path from current
begin atomic
  select jsonb_build_object(
    'key', policy.key_columns,
    'excluded', to_jsonb(policy.excluded),
    'masked', to_jsonb(policy.masked),
    'masks', policy.masks,
    'paths', policy.paths,
    'columns', (
      select jsonb_agg(c ->> 'name') from jsonb_array_elements(policy.columns) c where not (c ->> 'virtual')::boolean
    ),
    'texts', (
      select coalesce(jsonb_agg(c ->> 'name'), '[]') from jsonb_array_elements(policy.columns) c where c ->> 'comparison' = 'cast'
    )
  );
end;

-- The part of an image that may be stored. "policy" is { key, excluded, masked, columns, json }, with masks and paths if there are any. Where an
-- excluded or masked name is gone from the image it was renamed: then every name that was unknown when the
-- triggers were generated is masked, until they are generated anew. Where a new column took its name, the table
-- itself tells which of the unknown names is the renamed one; a restored table can not, and all are masked.
create function redact(image jsonb, policy jsonb, relation oid) returns jsonb
language plpgsql stable
set search_path from current
as $$
declare
  root oid;
  redacted text[];
  field text;
  hides boolean;
begin
  if image is null
    or (policy -> 'excluded' = '[]' and policy -> 'masked' = '[]' and coalesce(policy -> 'paths', '{}') = '{}')
  then
    return image;
  end if;
  root := coalesce(pg_partition_root(relation), relation);
  redacted := array(
    select jsonb_array_elements_text(policy -> 'excluded' || (policy -> 'masked'))
    union all
    select jsonb_object_keys(policy -> 'paths')
  );
  for field in select jsonb_object_keys(image) loop
    hides := policy -> 'masked' ? field;
    -- Apart from the rest: an expression that holds a query costs ten times as much, whether or not the query is run.
    if not policy -> 'columns' ? field then
      hides := hides
        or not image ?& redacted
        or not exists (select from capture_policies p where p.relation = root)
        or exists (
          select
          from pg_attribute a
          join capture_policies p on p.relation = a.attrelid
          cross join jsonb_array_elements(p.columns) c
          where a.attrelid = root
            and a.attname = field
            and a.attnum = (c ->> 'attnum')::int2
            and c ->> 'name' = any (redacted)
        );
    end if;
    if hides then
      image := jsonb_set(image, array[field], mask_value(image -> field, policy -> 'masks' ->> field));
    elsif policy -> 'paths' ? field then
      image := jsonb_set(image, array[field], redact_paths(image -> field, policy -> 'paths' -> field));
    end if;
  end loop;
  return image - array(select jsonb_array_elements_text(policy -> 'excluded'));
end
$$;

-- The slow and general way from two images to one change, for tables with json columns and for tables
-- altered since their triggers were generated.
create function describe_update(
  old_image jsonb, new_image jsonb, old_text json, new_text json, old_row record, new_row record, policy jsonb, relation oid,
  out changed boolean, out row_pk jsonb, out row_key text, out previous_row_key text,
  out changed_fields text[], out changed_from jsonb, out data_after jsonb, out details jsonb
)
language plpgsql stable
set search_path from current
as $$
declare
  hidden text[] := array(select jsonb_array_elements_text(policy -> 'excluded'));
  stored jsonb;
begin
  select array_agg(f.field order by f.field)
  into changed_fields
  from jsonb_object_keys(new_image || old_image) f (field)
  where f.field <> all (hidden)
    and (
      case
        when policy -> 'paths' ? f.field
        then redact_paths(old_image -> f.field, policy -> 'paths' -> f.field, 'exclude')::text
          is distinct from redact_paths(new_image -> f.field, policy -> 'paths' -> f.field, 'exclude')::text
        else (old_image -> f.field)::text is distinct from (new_image -> f.field)::text
      end
      -- Of a column with redacted paths, only the text around them may tell that it changed.
      or (not coalesce(policy -> 'paths' ? f.field
          and (old_image -> f.field)::text is distinct from (new_image -> f.field)::text, false)
        and (policy -> 'json' ? f.field or not policy -> 'columns' ? f.field)
        and (old_text -> replace(f.field, E'\\\\', E'\\\\\\\\'))::text
          is distinct from (new_text -> replace(f.field, E'\\\\', E'\\\\\\\\'))::text)
    );
  if changed_fields is null then
    -- A column in which only an excluded path changed has not changed.
    changed_fields := alike_fields(old_row, new_row, relation, hidden || array(
      select p.key
      from jsonb_each(policy -> 'paths') p
      where (old_image -> p.key)::text is distinct from (new_image -> p.key)::text
    ));
    details := case when changed_fields is not null then jsonb_build_object('alike', changed_fields) end;
  end if;
  -- If an image could not be built, it is not known whether it is the same.
  changed := changed_fields is not null
    or (new_image ? 'threadline:omitted' and not policy -> 'columns' ? 'threadline:omitted');
  if not changed then
    return;
  end if;
  select k.row_pk, k.row_key into row_pk, row_key from image_key(new_image, policy -> 'key', relation) k;
  select nullif(k.row_key, describe_update.row_key) into previous_row_key
  from image_key(old_image, policy -> 'key', relation) k;
  stored := redact(old_image, policy, relation);
  select coalesce(jsonb_object_agg(f, stored -> f) filter (where stored ? f), '{}')
  into changed_from
  from unnest(changed_fields) f;
  data_after := redact(new_image, policy, relation);
end
$$;

-- The same for an old and a new row that belong together, if there are both.
create function describe_change(
  old_image jsonb, new_image jsonb, old_text json, new_text json, old_row record, new_row record, policy jsonb, relation oid,
  out op text, out row_pk jsonb, out row_key text, out previous_row_key text,
  out changed_fields text[], out changed_from jsonb, out data_after jsonb, out details jsonb
)
language plpgsql stable
set search_path from current
as $$
begin
  if new_image is null then
    op := 'delete';
    select k.row_pk, k.row_key into row_pk, row_key from image_key(old_image, policy -> 'key', relation) k;
    changed_from := redact(old_image, policy, relation);
  elsif old_image is null then
    op := 'insert';
    select k.row_pk, k.row_key into row_pk, row_key from image_key(new_image, policy -> 'key', relation) k;
    data_after := redact(new_image, policy, relation);
  else
    select case when c.changed then 'update' end, c.row_pk, c.row_key, c.previous_row_key, c.changed_fields, c.changed_from,
      c.data_after, c.details
    into op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after, details
    from describe_update(old_image, new_image, old_text, new_text, old_row, new_row, policy, relation) c;
  end if;
end
$$;

-- The image of an array or a composite that is given as the JSON which the record shows. Null if it cannot be read so, or has other attributes
-- than the type.
create function key_shown(given text, type text) returns text
language plpgsql stable
set search_path from current
as $$
declare
  document jsonb;
  value jsonb;
  names constant jsonpath := 'lax $.** ? (@.type() == "object").keyvalue().key';
begin
  document := given::jsonb;
  if jsonb_typeof(document) not in ('array', 'object') then
    return null;
  end if;
  execute format('select to_jsonb(r.k) from jsonb_to_record(jsonb_build_object(''k'', $1)) r (k %s)', type) into value using document;
  -- Attributes of other names would be ignored.
  return case
    when jsonb_path_query_array(value, names) = jsonb_path_query_array(document, names) then value #>> '{}'
  end;
exception when others then
  return null;
end
$$;

-- The row_key under which a row is found, from what a person knows of its key: a text (one column), an
-- array in key order, or an object. PostgreSQL itself renders each value as its column's type does.
create function key_in_columns(table_schema text, table_name text, key jsonb, columns jsonb) returns text
language plpgsql stable
set search_path from current
set timezone = 'UTC'
set datestyle = 'ISO, YMD'
set intervalstyle = 'postgres'
set bytea_output = 'hex'
set extra_float_digits = 1
set lc_monetary = 'C'
set quote_all_identifiers = off
as $$
declare
  part jsonb;
  place int := 0;
  given text;
  value text;
  texts text[] := '{}';
begin
  if columns = '[]' then
    raise exception 'threadline: %.% has no key; find its changes by table and time', table_schema, table_name
      using errcode = 'TL003';
  end if;
  case jsonb_typeof(key)
    when 'array' then
      if jsonb_array_length(key) <> jsonb_array_length(columns) then
        raise exception 'threadline: the key of %.% has % columns, not %',
          table_schema, table_name, jsonb_array_length(columns), jsonb_array_length(key) using errcode = 'TL003';
      end if;
    when 'object' then
      if exists (
        select e.value ->> 'name' from jsonb_array_elements(columns) e
        except select jsonb_object_keys(key)
      ) or exists (
        select jsonb_object_keys(key)
        except select e.value ->> 'name' from jsonb_array_elements(columns) e
      ) then
        raise exception 'threadline: the key of %.% is (%)', table_schema, table_name,
          (select string_agg(e.value ->> 'name', ', ') from jsonb_array_elements(columns) e) using errcode = 'TL003';
      end if;
    when 'null' then
      raise exception 'threadline: a key is not null' using errcode = 'TL003';
    else
      if jsonb_array_length(columns) <> 1 then
        raise exception 'threadline: the key of %.% has several columns: %; give an array or an object',
          table_schema, table_name,
          (select string_agg(e.value ->> 'name', ', ') from jsonb_array_elements(columns) e) using errcode = 'TL003';
      end if;
  end case;

  for part in select e.value from jsonb_array_elements(columns) with ordinality e (value, n) order by n loop
    given := case jsonb_typeof(key)
      when 'array' then key ->> place
      when 'object' then key ->> (part ->> 'name')
      else key #>> '{}'
    end;
    if given is null then
      raise exception 'threadline: a part of a key is not null: %', part ->> 'name' using errcode = 'TL003';
    end if;
    begin
      -- A cast would shorten a text that is too long, and find another row. Reading it as a record raises an error instead.
      execute format(
        case
          when part ->> 'type' ~ '^(character|bit)'
            then 'select to_jsonb(r.k) #>> ''{}'' from jsonb_to_record(jsonb_build_object(''k'', $1)) r (k %s)'
          else 'select to_jsonb(cast($1 as %s)) #>> ''{}'''
        end,
        part ->> 'type') into value using given;
    exception
      when undefined_object or undefined_table or undefined_function or invalid_schema_name or invalid_name or ambiguous_function then
        -- The type is gone with its table, or what the value names (a regclass) is gone. So the text is taken as it is.
        value := given;
      when invalid_text_representation then
        value := key_shown(given, part ->> 'type');
        if value is null then
          raise;
        end if;
    end;
    texts := texts || key_text(value, part ->> 'text');
    place := place + 1;
  end loop;
  return key_of_texts(texts);
end
$$;

-- The canonical text of a key of a table. If it does not fit the columns of the present key, it may fit a key that the table had
-- before. Changes of that time are still found by it.
create function row_key(table_schema text, table_name text, key jsonb) returns text
language plpgsql stable
set search_path from current
as $$
declare
  policy record;
  former jsonb;
begin
  select p.key_columns, p.former_keys, p.key_values, p.relation into policy
  from policy_of(row_key.table_schema, row_key.table_name) o
  join capture_policies p on p.table_schema = o.policy_schema and p.table_name = o.policy_name;
  if policy.key_columns is null then
    raise exception 'threadline: %.% is not audited', table_schema, table_name using errcode = 'TL002';
  end if;
  -- A key too long for an index, as the record shows it (bounded_key).
  if jsonb_typeof(key) = 'string' and key #>> '{}' ~ '^.{100}:sha256:[0-9a-f]{64}$' then
    return key #>> '{}';
  end if;
  if policy.former_keys = '[]' and policy.key_values = '{}' then
    return key_in_columns(table_schema, table_name, key, policy.key_columns);
  end if;
  begin
    return key_in_columns(table_schema, table_name, key, policy.key_columns);
  exception when others then
    for former in
      select former_key(policy.key_columns, policy.key_values, '{}')
      where key_values_renamed(policy.relation, policy.key_columns, policy.key_values) <> '{}'
      union all
      (select e.value from jsonb_array_elements(policy.former_keys) with ordinality e order by e.ordinality)
    loop
      begin
        return key_in_columns(table_schema, table_name, key, former);
      exception when others then
        null;
      end;
    end loop;
    raise;
  end;
end
$$;

comment on function row_key(text, text, jsonb) is
  'The canonical row_key of a key given as text, array or object.';

revoke all on function
  key_text(text, text), bounded_key(text), numbers_trimmed(jsonb), key_shaped(jsonb, jsonb), image_key(jsonb, jsonb, oid), key_of_texts(text[]),
  shielded(text), shield_removed(text), image(record), exact_text(record), capture_hints(oid, text[], text[]), current_policy(jsonb, oid),
  rotate_mask_key(), ensure_mask_key(), mask_hash(text), mask_value(jsonb, text), mask_fields(jsonb, jsonb),
  redact_path(jsonb, text[], text, boolean), redact_paths(jsonb, jsonb, text), policy_document(capture_policies),
  redact(jsonb, jsonb, oid), describe_update(jsonb, jsonb, json, json, record, record, jsonb, oid),
  describe_change(jsonb, jsonb, json, json, record, record, jsonb, oid), virtual_columns(oid), valued_columns(oid, text[]),
  without_virtual(jsonb, text[], oid), column_texts(text, oid, text[]), image_by_column(text, oid),
  image_of(record, oid, text[], text[]), settled_image(record, oid, text[]), alike_fields(record, record, oid, text[]),
  row_key(text, text, jsonb), key_shown(text, text), key_in_columns(text, text, jsonb, jsonb)
from public;
`
  },
  {
    id: 4,
    name: "capture",
    checksum: "759bd88263f6aae1b2d92cb74faf64f53ad26f9db7aa490f014e86e898fffae1",
    sql: `-- What capture needs besides the images of a statement's rows: which table a firing belongs to, TRUNCATE, and marks on request.

-- Which database this is. Inside one database an OID names one table forever. A restore into another database numbers everything
-- anew. Null if the cluster does not show its identifier. Then only names and triggers tell.
create function this_database() returns text
language plpgsql stable
set search_path from current
as $$
begin
  return (
    select s.system_identifier || '/' || d.oid
    from pg_control_system() s
    cross join pg_database d
    where d.datname = current_database()
  );
exception when insufficient_privilege then
  return null;
end
$$;

-- The ending of the names of a table's generated functions.
create function function_suffix(table_schema text, table_name text) returns text
language sql immutable
set search_path from current
return '_' || left(
  encode(sha256(convert_to(table_schema, 'UTF8') || E'\\\\x00'::bytea || convert_to(table_name, 'UTF8')), 'hex'), 10);

-- Whether the owner of the record has put a trigger of Threadline on a table. Making a trigger requires the right to execute its
-- function. Of functions that another role may execute, a trigger proves nothing. Each captured table has one that does: the
-- trigger of TRUNCATE.
create function made_by_owner(relation oid) returns boolean
language sql stable
set search_path from current
return exists (
  select
  from pg_trigger t
  join pg_proc f on f.oid = t.tgfoid
  where t.tgrelid = made_by_owner.relation
    and f.pronamespace = (select n.oid from pg_namespace n where n.nspname = current_schema())
    and f.proacl is not null
    and not exists (
      select from aclexplode(f.proacl) a where a.grantee <> f.proowner and a.privilege_type = 'EXECUTE')
);

-- Which table a firing belongs to, if it is not the one the function was generated for: a partition of it (recorded under the
-- root's name), or a table under another name than it had, because it was renamed, exchanged, restored, cloned or detached
-- since. It is recorded under the name it has now: a write never fails because the schema around it has changed. Refused is
-- only what a role may have put together to forge a record: temporary tables, and triggers that others could make. If the
-- function is "open" to every role, the name of the table is no proof: the trigger may be on another table that got it.
create function capture_relation(
  relation oid, root_schema text, root_name text, open boolean default false,
  out table_schema text, out table_name text, out partition_name text
)
language plpgsql volatile
set search_path from current
set quote_all_identifiers = off
as $$
declare
  root oid := coalesce(pg_partition_root(relation), relation);
  temporary boolean;
  touched xid;
  latest record;
  known_since timestamptz;
  named boolean;
begin
  select n.nspname, c.relname, c.relpersistence = 't', c.xmin into table_schema, table_name, temporary, touched
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.oid = root;
  named := table_schema = root_schema and table_name = root_name;
  if open or not named then
    -- A partition that was made after "apply" has only the triggers that were cloned from its root.
    if temporary or not (made_by_owner(root) or (relation <> root and made_by_owner(relation))) then
      if not exists (
        select from capture_policies p
        where p.removed_at is null
          and (
            (p.relation = root and p.database = this_database())
            or (p.table_schema = root_schema and p.table_name = root_name and (
              p.relation = root
              -- After a restore, OIDs mean nothing.
              or (named and p.database is distinct from this_database())
              or (not open and quote_ident(capture_relation.table_schema) || '.' || quote_ident(capture_relation.table_name)
                = any (p.partitions))
            ))
          )
      ) then
        raise exception 'threadline: this capture function was not generated for %.%', table_schema, table_name
          using errcode = 'insufficient_privilege',
            hint = format('It was generated for %I.%I. Drop the trigger, or run "threadline capture apply".', root_schema, root_name);
      end if;
    end if;
  end if;
  if not named then
    -- The table has another name than its policy, or the name of another captured table. From now on, changes under this name
    -- belong to this table.
    select max(p.applied_at) into known_since
    from capture_policies p
    where p.removed_at is null
      and (
        (p.table_schema = capture_relation.table_schema and p.table_name = capture_relation.table_name)
        or (p.relation = root and p.database = this_database())
      )
    having not coalesce(bool_or(
      p.table_schema = capture_relation.table_schema and p.table_name = capture_relation.table_name
        and p.relation = root and p.database = this_database()
    ), false);
    if known_since is not null then
      select s.* into latest
      from capture_sightings s
      where s.relation = root and s.seen_at > known_since
      order by s.seen_at desc
      limit 1;
      if latest is null
        or latest.table_name <> table_name
        or latest.table_schema <> table_schema
        or latest.named_by is distinct from touched
      then
        insert into capture_sightings (table_schema, table_name, relation, database, named_by)
        values (capture_relation.table_schema, capture_relation.table_name, root, this_database(), touched);
      end if;
    end if;
  end if;
  if root <> relation then
    select case when n.nspname = capture_relation.table_schema then c.relname
      else quote_ident(n.nspname) || '.' || quote_ident(c.relname) end
    into partition_name
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.oid = relation;
  end if;
end
$$;

-- Whether a row trigger of a partition's root sees the rows of the partition for the same purpose as a function that was generated
-- for another table: one that the partition was, or was in, before it was attached.
create function seen_by_root(relation oid, table_schema text, table_name text, purpose text) returns boolean
language sql stable
set search_path from current
return (
  select coalesce(bool_and(right(f.proname, 11) <> function_suffix(seen_by_root.table_schema, seen_by_root.table_name)), false)
  from pg_trigger t
  join pg_proc f on f.oid = t.tgfoid
  where t.tgrelid = pg_partition_root(seen_by_root.relation)
    and f.pronamespace = (select n.oid from pg_namespace n where n.nspname = current_schema())
    and starts_with(f.proname, 'open_' || purpose || '_')
);

-- Rows that move between partitions. "threadline.updating" holds the statements under way that may be a MERGE, each as
-- " <depth>:<relation>:<id>,": what is recorded of it has greater ids. "threadline.moved" is not empty if rows moved in one;
-- after its end it is that id. Both only spare work: what a row trigger recorded is forgotten only if the transition tables of a
-- statement hold the very rows.

-- Removes the statement of a relation from the running ones. True if rows have moved. If there are several at one depth, the
-- last one is removed. The others never ended.
create function update_ends(relation oid) returns boolean
language plpgsql
set search_path from current
as $$
declare
  under_way text := coalesce(current_setting('threadline.updating', true), '');
  word text := concat(' ', pg_trigger_depth(), ':', relation, ':');
  rest text := split_part(under_way, word, -1);
  id text;
  moved boolean := coalesce(current_setting('threadline.moved', true), '') <> '';
begin
  -- A partition without partitions has no statement under way.
  if rest <> under_way then
    id := split_part(rest, ',', 1);
    rest := set_config('threadline.updating',
      left(under_way, length(under_way) - length(word) - length(rest)) || substr(rest, length(id) + 2), true);
    if moved then
      perform set_config('threadline.moved', id, true);
    end if;
  end if;
  return moved;
end
$$;

create function moves_end() returns void
language plpgsql
set search_path from current
as $$
begin
  if coalesce(current_setting('threadline.updating', true), '') = '' then
    perform set_config('threadline.moved', '', true);
  end if;
end
$$;

-- Removes what row triggers recorded of a statement's rows. The rows are given by the hashes of their images.
create function forget_moved(table_schema text, table_name text, op text, hashes bigint[]) returns void
language plpgsql
set search_path from current
as $$
declare
  word text := current_setting('threadline.moved', true);
  after_id bigint := case
    when word ~ '^[0-9]{1,18}$' then word
    else substring(current_setting('threadline.updating', true) from format(' %s:[0-9]+:([0-9]{1,18}),', pg_trigger_depth()))
  end;
begin
  if hashes = '{}' then
    return;
  end if;
  with moved as (
    select c.id, c.transaction_id, c.captured_at, i.hash, row_number() over (partition by i.hash order by c.id) as nth
    from audit_transactions t
    join audit_changes c on c.transaction_id = t.id
    cross join lateral (
      select jsonb_hash_extended(case c.op when 'insert' then c.data_after else c.changed_from end, 0) as hash
    ) i
    where t.xid = pg_current_xact_id()
      and t.occurred_at >= transaction_timestamp()
      and c.captured_at >= statement_timestamp()
      and c.id > coalesce(after_id, 0)
      and c.table_schema = forget_moved.table_schema
      and c.table_name = forget_moved.table_name
      and c.op = forget_moved.op
      and c.details ? 'moved'
  ),
  seen as (
    select s.hash, count(*) as times from unnest(hashes) s (hash) group by s.hash
  )
  delete from audit_changes c
  using moved m
  join seen s on s.hash = m.hash
  where m.nth <= s.times
    and c.id = m.id
    and c.transaction_id = m.transaction_id
    and c.captured_at = m.captured_at;
end
$$;

-- Removes what row triggers of a captured table that was attached recorded of rows that a statement of its root records itself.
-- The rows are given by their keys before and after. The last change at a key is that of this statement. Rows that a MERGE moves are
-- in no transition table: the attached table and the root have recorded each, one after the other.
create function forget_attached(
  relation oid, table_schema text, table_name text, op text, keys_before text[], keys_after text[]
) returns void
language plpgsql
set search_path from current
set quote_all_identifiers = off
as $$
begin
  with attached as (
    select case when n.nspname = forget_attached.table_schema then c.relname
      else quote_ident(n.nspname) || '.' || quote_ident(c.relname) end as label
    from pg_partition_tree(forget_attached.relation) p
    join pg_class c on c.oid = p.relid and c.relkind = 'r'
    join pg_namespace n on n.oid = c.relnamespace
    where exists (
      select
      from pg_trigger t
      join pg_proc f on f.oid = t.tgfoid
      where t.tgrelid = c.oid
        and t.tgtype & 1 = 1
        and f.pronamespace = (select s.oid from pg_namespace s where s.nspname = current_schema())
        and f.proname ~ '^(open|capture)_(insert|update|delete)_'
    )
  ),
  written as (
    select c.id, c.transaction_id, c.captured_at, c.op, c.row_key, coalesce(c.details ? 'moved', false) as moved,
      row_number() over (partition by c.row_key, coalesce(c.details ? 'moved', false) order by c.id desc) as nth,
      lag(c.op) over sequence = c.op and lag(c.details ? 'moved') over sequence
        or lead(c.op) over sequence = c.op and lead(c.details ? 'moved') over sequence as twin
    from audit_transactions t
    join audit_changes c on c.transaction_id = t.id
    where t.xid = pg_current_xact_id()
      and t.occurred_at >= transaction_timestamp()
      and c.captured_at >= statement_timestamp()
      and c.table_schema = forget_attached.table_schema
      and c.table_name = forget_attached.table_name
      and c.partition_name in (select a.label from attached a)
    window sequence as (partition by c.row_key order by c.id)
  ),
  seen as (
    select s.key, s.op, count(*) as times
    from (
      select k.key, o.op
      from unnest(keys_after) k (key)
      join (values ('insert'), ('update')) o (op) on forget_attached.op in (o.op, 'update')
      union all
      select k.key, 'delete' from unnest(keys_before) k (key)
    ) s
    group by s.key, s.op
  )
  delete from audit_changes c
  using written w
  left join seen s on s.key = w.row_key and s.op = w.op
  where not w.moved
    and (w.nth <= s.times or w.twin)
    and c.id = w.id
    and c.transaction_id = w.transaction_id
    and c.captured_at = w.captured_at;
end
$$;

-- Gives the rows that entered a partition in a statement the ids after its other changes: a row may have entered with the key
-- that another one had before it.
create function entered_last(table_schema text, table_name text) returns void
language plpgsql
set search_path from current
as $$
declare
  word text := current_setting('threadline.moved', true);
  instant timestamptz := clock_timestamp();
begin
  if word !~ '^[0-9]{1,18}$' then
    return;
  end if;
  with ordered as (
    select e.*, nextval('audit_changes_id_seq') as new_id
    from (
      select c.id, c.transaction_id, c.captured_at
      from audit_transactions t
      join audit_changes c on c.transaction_id = t.id
      where t.xid = pg_current_xact_id()
        and t.occurred_at >= transaction_timestamp()
        and c.captured_at >= statement_timestamp()
        and c.id > word::bigint
        and c.table_schema = entered_last.table_schema
        and c.table_name = entered_last.table_name
        and c.op = 'insert'
        and c.details ? 'moved'
      order by c.id
    ) e
  )
  update audit_changes c
  set id = o.new_id, captured_at = instant
  from ordered o
  where c.id = o.id
    and c.transaction_id = o.transaction_id
    and c.captured_at = o.captured_at;
end
$$;

-- What the rows that a relation itself holds are read from. Rows of tables that inherit from it are others'. Virtual generated
-- columns are not computed: they may show what is redacted, and they may raise.
create function row_source(relation oid, condition text default '') returns text
language sql stable
set search_path from current
begin atomic
  select case
    when virtual_columns(c.oid) = '{}' and condition = '' then whole.source
    else format('(select %s from %s)', (
      select string_agg(quote_ident(a.attname), ', ' order by a.attnum)
      from pg_attribute a
      where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attname <> all (virtual_columns(c.oid))
    ), whole.source)
  end
  from pg_class c
  cross join lateral (
    select case when c.relkind = 'p' then '' else 'only ' end || c.oid::regclass || condition as source
  ) whole
  where c.oid = relation;
end;

-- TRUNCATE, seen before it happens. A root truncates its partitions with it: theirs is not recorded again. That
-- is so where the last thing this transaction recorded of the table is the truncation of one that the partition
-- belongs to; a setting could be made by hand to hide a truncation. A partition that is truncated alone concerns
-- only the rows it holds, so their images are kept. TRUNCATE also removes rows that an older snapshot does not see: then no
-- count is exact, and the truncation is recorded as such besides the rows that are seen.
create function capture_truncate(
  relation oid, root_schema text, root_name text, on_truncate text, policy jsonb
) returns void
language plpgsql
set search_path from current
set timezone = 'UTC'
set datestyle = 'ISO, YMD'
set intervalstyle = 'postgres'
set bytea_output = 'hex'
set extra_float_digits = 1
set lc_monetary = 'C'
set quote_all_identifiers = off
as $$
declare
  target record;
  last record;
  old_snapshot boolean := current_setting('transaction_isolation') in ('repeatable read', 'serializable');
  readable boolean := has_table_privilege(relation, 'select') and not row_security_active(relation);
  counted bigint;
  counted_exactly boolean := false;
  unread boolean := false;
  bound constant int := 10000;
begin
  select * into target from capture_relation(relation, root_schema, root_name);
  perform note_altered(relation);
  if target.partition_name is not null then
    select c.op, c.partition_name into last
    from audit_changes c
    where c.table_schema = target.table_schema
      and c.table_name = target.table_name
      and c.captured_at >= least(transaction_timestamp(), statement_timestamp())
      and c.transaction_id in (
        select t.id from audit_transactions t
        where t.xid = pg_current_xact_id_if_assigned() and t.occurred_at >= transaction_timestamp()
      )
    order by c.id desc
    limit 1;
    if last.op = 'truncate' and exists (
      select
      from pg_partition_ancestors(relation) a (relid)
      cross join lateral capture_relation(a.relid, root_schema, root_name) r
      where a.relid <> relation and r.partition_name is not distinct from last.partition_name
    ) then
      return;
    end if;
  end if;

  if on_truncate = 'refuse' then
    raise exception 'threadline: TRUNCATE of % is refused by its capture policy', relation::regclass
      using errcode = 'insufficient_privilege', hint = 'Use DELETE, or change the policy''s "truncate".';
  end if;
  if on_truncate = 'rows' and not readable then
    raise exception 'threadline: TRUNCATE of % cannot keep the rows it removes: % may not read them all',
      relation::regclass, current_user
      using errcode = 'insufficient_privilege',
        hint = 'Run "threadline capture apply", or use DELETE.';
  end if;
  begin
    if not readable then
      unread := target.partition_name is not null;
    elsif on_truncate = 'rows' or target.partition_name is not null then
      policy := current_policy(policy, relation);
      execute format(
        'insert into audit_changes (
           transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, changed_from
         )
         select (select current_transaction()), (select clock_timestamp()), $1, $2, $3, ''truncate'', k.row_pk, k.row_key,
           redact(r.image, $4, $5)
         from (select image_of(x.*, $5, $6, $7) as image from %s x) r
         cross join lateral image_key(r.image, $4 -> ''key'', $5) k', row_source(relation))
      using target.table_schema, target.table_name, target.partition_name, policy, relation,
        array(select jsonb_array_elements_text(policy -> 'columns')), array(select jsonb_array_elements_text(policy -> 'texts'));
      get diagnostics counted = row_count;
      if counted > 0 and not old_snapshot then
        return;
      end if;
      counted_exactly := not old_snapshot;
    else
      execute format('select count(*) from (select from %s limit %s) x', row_source(relation), bound + 1) into counted;
      counted_exactly := counted <= bound and not old_snapshot;
    end if;
  exception when others then
    -- Another server may not show its rows to the owner of the record.
    if on_truncate = 'rows' or not exists (
      select
      from pg_class c
      where c.relkind = 'f' and (c.oid = relation or c.oid in (select p.relid from pg_partition_tree(relation) p))
    ) then
      raise;
    end if;
    readable := false;
    unread := target.partition_name is not null;
  end;
  if not counted_exactly and coalesce(counted, bound + 1) > bound then
    select sum(greatest(c.reltuples, 0))::bigint into counted
    from pg_partition_tree(relation) p
    join pg_class c on c.oid = p.relid and c.relkind <> 'p';
    if counted is null then
      select greatest(reltuples, 0)::bigint into counted from pg_class where oid = relation;
    end if;
    counted := greatest(counted, case when readable then bound + 1 else 0 end);
  end if;
  insert into audit_changes (
    transaction_id, captured_at, table_schema, table_name, partition_name, op, details
  ) values (
    current_transaction(), clock_timestamp(), target.table_schema, target.table_name, target.partition_name, 'truncate',
    jsonb_build_object('rowCount', counted, 'estimated', not counted_exactly)
      -- With these, reads find the rows that the table may have held unseen.
      || case when unread then '{"unread": true}'
        when old_snapshot and target.partition_name is not null
        then jsonb_build_object('snapshot', pg_current_snapshot()) else '{}' end
  );
end
$$;

-- Baseline or delete marks for the rows a relation holds now, on an operator's request: rows that came with
-- an attached partition, rows that left with a detached one, rows that were there before capture began. Of a relation that is
-- written to meanwhile, only those at "places", which the caller has locked, and of these only rows that the record does not know
-- since "known_from". Without places, the caller keeps writers off the relation.
create function mark_rows(
  relation regclass, root_schema text, root_name text, op text, places tid[] default null, known_from timestamptz default null
) returns bigint
language plpgsql
set search_path from current
set timezone = 'UTC'
set datestyle = 'ISO, YMD'
set intervalstyle = 'postgres'
set bytea_output = 'hex'
set extra_float_digits = 1
set lc_monetary = 'C'
set quote_all_identifiers = off
as $$
declare
  policy jsonb;
  marked bigint;
begin
  if op not in ('baseline', 'delete') then
    raise exception 'threadline: rows are marked as baseline or delete, not %', quote_literal(op)
      using errcode = 'invalid_parameter_value';
  end if;
  select policy_document(p) into policy
  from capture_policies p
  where p.table_schema = root_schema and p.table_name = root_name and p.removed_at is null;
  if policy is null then
    raise exception 'threadline: %.% is not audited', root_schema, root_name using errcode = 'TL002';
  end if;
  if row_security_active(relation) then
    raise exception 'threadline: the rows of % cannot be marked, row-level security may hide some of them from %',
      relation, quote_ident(current_user)
      using errcode = 'insufficient_privilege',
        hint = format('Let it bypass row-level security for as long as this takes: alter role %I bypassrls.', current_user);
  end if;
  policy := current_policy(policy, relation);
  execute format(
    'insert into audit_changes (
       transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key,
       changed_from, data_after, details
     )
     select (select current_transaction()), (select clock_timestamp()), $1, $2, null, $3, k.row_pk, k.row_key,
       case when $3 = ''delete'' then redact(r.image, $4, $5) end,
       case when $3 = ''baseline'' then redact(r.image, $4, $5) end,
       jsonb_build_object(''marked'', true)
     from (select image_of(x.*, $5, $6, $7) as image from %s x) r
     cross join lateral image_key(r.image, $4 -> ''key'', $5) k
     where $9 is null or not exists (
       select
       from audit_changes c
       where c.row_key = k.row_key
         and c.table_name = $2
         and c.table_schema = $1
         and c.captured_at >= $9
     )', row_source(relation, case when places is null then '' else ' where ctid = any ($8)' end))
  using root_schema, root_name, op, policy, relation::oid,
    array(select jsonb_array_elements_text(policy -> 'columns')), array(select jsonb_array_elements_text(policy -> 'texts')),
    places, known_from;
  get diagnostics marked = row_count;
  return marked;
end
$$;

revoke all on function
  row_source(oid, text), update_ends(oid), moves_end(), forget_moved(text, text, text, bigint[]), entered_last(text, text),
  capture_relation(oid, text, text, boolean), seen_by_root(oid, text, text, text), forget_attached(oid, text, text, text, text[], text[]),
  capture_truncate(oid, text, text, text, jsonb), mark_rows(regclass, text, text, text, tid[], timestamptz),
  this_database(), function_suffix(text, text), made_by_owner(oid)
from public;
`
  },
  {
    id: 5,
    name: "order",
    checksum: "1bb7aa43648de868127e452dfa43807c7665b17b99a9419399f86a4c1a1de777",
    sql: `-- The order of a row's changes if triggers of the host write it again.

-- Keeps every row's changes in the order in which they happened, if a trigger of the host wrote the same row again. Its statement
-- ends, and is captured, inside the outer statement: before it. A capture below another one leaves word in threadline.nested
-- ("<table>:<deepest level> ...", tables by OID). The capture of an outer statement on such a table then looks for changes that
-- start where its own end, and gives them new ids. Only changes since the outer statement began come into question: what ran
-- before it, in the same function, DO block or message, is no work of its triggers.
--
-- Conditions on captured_at spare partitions and entries of indexes. The clock may have been set back since the transaction began, so
-- they go back a day, or to the start of the statement if that is now before the start of the transaction.

-- Notes a capture that is not at the outermost level. True if the same table was captured below this level.
create function note_nested(relation oid) returns boolean
language plpgsql
set search_path from current
as $$
declare
  depth int := pg_trigger_depth();
  root text := coalesce(pg_partition_root(relation), relation)::oid;
  word text := ' ' || coalesce(current_setting('threadline.nested', true), '') || ' ';
  deepest int := substring(word from ' ' || root || ':([0-9]{1,4}) ');
begin
  if depth > 1 and (deepest is null or depth > deepest) then
    perform set_config('threadline.nested',
      btrim(replace(word, concat(' ', root, ':', deepest, ' '), ' ') || root || ':' || depth), true);
  end if;
  return coalesce(deepest > depth, false);
end
$$;

-- The last change of this transaction that was there when the statement began whose trigger asks; null if there was none.
--
-- It is "immutable" for one reason: a function that is not volatile sees what the calling statement sees. PL/pgSQL evaluates an
-- expression of immutable functions and variables with the snapshot that the trigger was called with, which is that of the
-- statement that fired it. So the call must be an assignment of its own, and its argument a variable.
create function last_change_before(statement_first bigint) returns bigint
language plpgsql immutable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
begin
  return (
    select max(c.id)
    from audit_transactions t
    cross join lateral (
      select c.id
      from audit_changes c
      where c.transaction_id = t.id
        and c.captured_at >= transaction_timestamp() - interval '1 day'
        and c.id < statement_first
      order by c.id desc
      limit 1
    ) c
    where t.xid = pg_current_xact_id_if_assigned()
      and t.occurred_at >= transaction_timestamp()
  );
end
$$;

-- "full join" and "offset 0" keep the planner from nested loops over what it takes for a handful of rows. The settings
-- keep it to the indexes, and an order keeps it to the right one: a plan made while a partition is as good as empty, or
-- of a few large transactions, would read all of it, again and again, while one transaction fills it. And they keep it
-- from planning anew each time, which takes longer than all the rest.
create function restore_order(relation oid, last_before bigint, outer_first bigint) returns void
language plpgsql
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
  own bigint[] := array(
    select id from audit_transactions
    where xid = pg_current_xact_id() and occurred_at >= transaction_timestamp()
  );
  nested_first bigint;
  start_id bigint;
  cascades boolean;
  many bigint;
  counted bigint;
  moved bigint[];
  captured timestamptz[];
  instant timestamptz;
begin
  select min(c.id) into nested_first
  from unnest(own) t (owned)
  cross join lateral (
    select c.id
    from audit_changes c
    where c.transaction_id = t.owned
      and c.captured_at >= transaction_timestamp() - interval '1 day'
      and c.id > coalesce(last_before, 0)
    order by c.id
    limit 1
  ) c;
  if nested_first >= outer_first then
    -- The changes captured below belong to statements that have ended.
    if pg_trigger_depth() = 1 then
      perform set_config('threadline.nested', '', true);
    end if;
    return;
  end if;
  start_id := nested_first;
  many := 2 + (outer_first - nested_first) / 8;

  -- A trigger's statement usually writes a few rows, many times, while the changes captured below become more. Then only
  -- changes of those rows matter, and each row is looked up.
  select count(*) into counted
  from (
    select
    from unnest(own) t (owned)
    cross join lateral (
      select
      from audit_changes c
      where c.transaction_id = t.owned
        and c.captured_at >= transaction_timestamp() - interval '1 day'
        and c.id >= outer_first
      order by c.id
      limit many
    ) c
    limit many
  ) x;
  if counted < many then
    select min(n.id) into start_id
    from (
      select distinct c.table_schema, c.table_name, c.row_key
      from unnest(own) t (owned)
      cross join lateral (
        select c.table_schema, c.table_name, c.row_key
        from audit_changes c
        where c.transaction_id = t.owned
          and c.captured_at >= transaction_timestamp() - interval '1 day'
          and c.id >= outer_first
        order by c.id
        offset 0
      ) c
      where c.row_key is not null
      offset 0
    ) o
    cross join lateral (
      (
        select c.id
        from audit_changes c
        where c.row_key = o.row_key
          and c.table_name = o.table_name
          and c.table_schema = o.table_schema
          and c.captured_at >= least(transaction_timestamp(), statement_timestamp())
          and c.id >= nested_first
          and c.id < outer_first
        order by c.captured_at, c.id
        limit 1
      )
      union all
      (
        select c.id
        from audit_changes c
        where c.previous_row_key = o.row_key
          and c.table_name = o.table_name
          and c.table_schema = o.table_schema
          and c.captured_at >= least(transaction_timestamp(), statement_timestamp())
          and c.id >= nested_first
          and c.id < outer_first
        order by c.captured_at, c.id
        limit 1
      )
    ) n;
    if start_id is null then
      return;
    end if;
  end if;

  cascades := exists (
    select
    from pg_constraint k
    where k.conrelid = coalesce(pg_partition_root(relation), relation)
      and k.contype = 'f'
      and (k.confupdtype in ('c', 'n', 'd') or k.confdeltype in ('c', 'n', 'd'))
  );
  with recursive
  written as materialized (
    select c.id, c.captured_at, c.op, c.table_schema, c.table_name, c.row_key, c.previous_row_key,
      coalesce(c.previous_row_key, c.row_key) as start_key, c.data_after, c.changed_from
    from unnest(own) t (owned)
    cross join lateral (
      select *
      from audit_changes c
      where c.transaction_id = t.owned
        and c.captured_at >= transaction_timestamp() - interval '1 day'
        and c.id >= start_id
      order by c.id
      offset 0
    ) c
    where c.op in ('insert', 'update', 'delete')
      and c.row_key is not null
  ),
  paired as (
    select o.id as outer_id, o.table_schema, o.table_name, o.row_key, o.data_after as left_image,
      o.op as outer_op, o.start_key as outer_start_key,
      case o.op when 'update' then o.data_after || o.changed_from when 'delete' then o.changed_from end as outer_start_image,
      n.id, n.captured_at,
      case n.op when 'update' then n.data_after || n.changed_from when 'delete' then n.changed_from end as start_image
    from (select * from written where id >= outer_first offset 0) o
    full join (select * from written where id < outer_first offset 0) n
      on n.table_schema = o.table_schema and n.table_name = o.table_name and n.start_key = o.row_key
    offset 0
  ),
  -- Rows that the outer statement removed from their keys, as the statement found them. Nothing was written to them before.
  vacated as (
    select w.table_schema, w.table_name, w.start_key,
      case w.op when 'update' then w.data_after || w.changed_from else w.changed_from end as image
    from written w
    where w.id >= outer_first
      and (w.op = 'delete' or w.start_key <> w.row_key)
  ),
  outers as (
    select p.table_schema, p.table_name, p.row_key, min(p.id) as nested_id
    from paired p
    where p.outer_id is not null
      and p.id is not null
      -- The nested change starts from the image that the outer one left.
      and p.start_image is not distinct from p.left_image
      -- No other row that still exists had that image before, except one that the outer statement removed.
      and (
        not coalesce(
          (
            select b.data_after is not distinct from p.left_image
              and not exists (
                select
                from audit_changes d
                where d.previous_row_key = p.row_key
                  and d.table_name = p.table_name
                  and d.table_schema = p.table_schema
                  and d.row_key is distinct from p.row_key
                  and d.captured_at > b.captured_at
                  and d.captured_at <= p.captured_at
                  and d.id < p.id
              )
            from audit_changes b
            where b.table_schema = p.table_schema
              and b.table_name = p.table_name
              and b.row_key = p.row_key
              and b.captured_at <= p.captured_at
              and (b.captured_at, b.id) < (p.captured_at, p.id)
            order by b.captured_at desc, b.id desc
            limit 1
          ),
          -- Nothing is known of the row before. A statement never finds a row as its own triggers left it. A cascade does.
          cascades and p.outer_op <> 'insert' and (
            select l.data_after is not distinct from p.outer_start_image
            from written l
            where l.table_schema = p.table_schema
              and l.table_name = p.table_name
              and l.row_key = p.outer_start_key
              and l.id < outer_first
            order by l.id desc
            limit 1
          ),
          false
        )
        or (p.table_schema, p.table_name, p.row_key, p.left_image) in (
          select v.table_schema, v.table_name, v.start_key, v.image from vacated v
        )
      )
    group by p.outer_id, p.table_schema, p.table_name, p.row_key
  ),
  -- That change and all later changes of the row, under any key.
  threads (table_schema, table_name, row_key, from_id) as (
    select table_schema, table_name, row_key, nested_id from outers
    union
    select m.table_schema, m.table_name, m.row_key, m.id
    from threads t
    join written m
      on m.table_schema = t.table_schema and m.table_name = t.table_name and m.previous_row_key = t.row_key
    where m.id >= t.from_id and m.id < outer_first
  )
  select array_agg(m.id), array_agg(m.captured_at) into moved, captured
  from (
    select distinct f.id, f.captured_at
    from (
      select n.id, n.captured_at, t.from_id
      from (select * from written where id < outer_first offset 0) n
      full join threads t
        on t.table_schema = n.table_schema and t.table_name = n.table_name and t.row_key = n.start_key
      offset 0
    ) f
    where f.id >= f.from_id
  ) m;

  if moved is not null then
    -- The changes of one statement keep one instant, and no other statement has the same. Some instants are microseconds in the
    -- future. They have passed before all of these changes are written.
    instant := clock_timestamp();
    with ordered as (
      select s.id, nextval('audit_changes_id_seq') as new_id, s.captured_at
      from (
        select m.id, instant + dense_rank() over (order by m.captured_at) * interval '1 microsecond' as captured_at
        from unnest(moved, captured) m (id, captured_at)
        order by m.id
      ) s
    )
    update audit_changes c
    set id = o.new_id, captured_at = o.captured_at
    from ordered o
    cross join unnest(own) t (owned)
    where c.transaction_id = t.owned
      and c.id = o.id
      and c.captured_at >= transaction_timestamp() - interval '1 day';
  end if;
end
$$;

revoke all on function
  note_nested(oid), last_change_before(bigint), restore_order(oid, bigint, bigint)
from public;
`
  },
  {
    id: 6,
    name: "names",
    checksum: "a624d7689d6be6e21ca0a8284bbe89702637b78e26b2c6029fb9c29bedc22704",
    sql: `-- The names that tables and their columns had: under which of them, and until when, changes are recorded.
--
-- Every read of a table asks these functions. In PL/pgSQL their statements are planned once a session; a function in SQL with
-- settings of its own is planned at every call.

-- The names that a table had, as its policy knows them, each with the time in which it belonged to this table. A name belonged
-- to the table unless an entry says otherwise, or another table had it that was renamed since.
create function own_names(
  policy_schema text, policy_name text,
  out table_schema text, out table_name text, out since timestamptz, out until timestamptz
)
returns setof record
language plpgsql stable rows 4
set search_path from current
as $$
#variable_conflict use_column
begin
  -- Nearly always no table was ever renamed.
  if not exists (select from capture_policies p where p.former_names <> '[]') then
    return query select own_names.policy_schema, own_names.policy_name, '-infinity'::timestamptz, 'infinity'::timestamptz;
    return;
  end if;
  return query
    with entries as (
      select e.schema, e.name, tstzrange(e.since, e.until) as span
      from capture_policies p
      cross join lateral jsonb_to_recordset(p.former_names)
        e (schema text, name text, since timestamptz, until timestamptz, declared boolean)
      where p.table_schema = policy_schema
        and p.table_name = policy_name
        and e.declared is not true
    ),
    others as (
      select tstzrange(e.since, e.until) as span
      from capture_policies p
      cross join lateral jsonb_to_recordset(p.former_names)
        e (schema text, name text, since timestamptz, until timestamptz, declared boolean)
      where p.former_names <> '[]'
        and (p.table_schema <> policy_schema or p.table_name <> policy_name)
        and e.schema = policy_schema
        and e.name = policy_name
        and e.declared is not true
    )
    select e.schema, e.name, coalesce(lower(e.span), '-infinity'), coalesce(upper(e.span), 'infinity')
    from entries e
    where not isempty(e.span)
    union all
    select policy_schema, policy_name, coalesce(lower(r.span), '-infinity'), coalesce(upper(r.span), 'infinity')
    from unnest(
      '{(,)}'::tstzmultirange
        - coalesce((select range_agg(e.span) from entries e), '{}')
        - coalesce((select range_agg(o.span) from others o), '{}')
    ) r (span);
end
$$;

-- The policy that belongs to a name: the policy with this name, or that of the table which had the name last and was renamed
-- since. No row if there is none.
create function policy_of(table_schema text, table_name text, out policy_schema text, out policy_name text)
returns setof record
language plpgsql stable rows 1
set search_path from current
as $$
#variable_conflict use_column
begin
  return query
    select p.table_schema, p.table_name
    from capture_policies p
    where p.table_schema = policy_of.table_schema and p.table_name = policy_of.table_name;
  if not found then
    return query
      select p.table_schema, p.table_name
      from capture_policies p
      cross join lateral jsonb_to_recordset(p.former_names)
        e (schema text, name text, since timestamptz, until timestamptz, declared boolean)
      where p.former_names <> '[]'
        and e.schema = policy_of.table_schema
        and e.name = policy_of.table_name
        and e.declared is not true
      order by e.until desc nulls first
      limit 1;
  end if;
end
$$;

-- When a table got the name that its policy has. From then on no other name of the table counts.
create function named_since(table_schema text, table_name text) returns timestamptz
language plpgsql stable
set search_path from current
as $$
#variable_conflict use_column
begin
  return (
    select coalesce(max(e.until), '-infinity')
    from capture_policies p
    cross join lateral jsonb_to_recordset(p.former_names) e (until timestamptz, declared boolean)
    where p.table_schema = named_since.table_schema
      and p.table_name = named_since.table_name
      and e.declared is not true
  );
end
$$;

-- The names under which the changes of a table are recorded, each with its time, [since, until). Times of one name never
-- overlap, not even between tables. Declared former names come first. They are names of another table, up to the time when this
-- one took over.
create function table_names(
  table_schema text, table_name text,
  out former_schema text, out former_name text, out since timestamptz, out until timestamptz
)
returns setof record
language plpgsql stable rows 4
set search_path from current
as $$
declare
  policy record;
  declared jsonb := '[]';
begin
  select o.policy_schema, o.policy_name, p.former_names into policy
  from policy_of(table_schema, table_name) o
  join capture_policies p on p.table_schema = o.policy_schema and p.table_name = o.policy_name;
  if not found then
    return query select table_names.table_schema, table_names.table_name, '-infinity'::timestamptz, 'infinity'::timestamptz;
    return;
  end if;
  if policy.former_names = '[]' then
    return query select o.* from own_names(policy.policy_schema, policy.policy_name) o order by 3, 4;
    return;
  end if;
  if policy.former_names @> '[{"declared": true}]' then
    declared := declared_names(policy.policy_schema, policy.policy_name);
  end if;
  return query
    select d.schema, d.name, d.since, d.until
    from jsonb_to_recordset(declared) d (schema text, name text, since timestamptz, until timestamptz)
    union all
    select o.table_schema, o.table_name, coalesce(lower(r.span), '-infinity'), coalesce(upper(r.span), 'infinity')
    from own_names(policy.policy_schema, policy.policy_name) o
    cross join lateral unnest(
      tstzmultirange(tstzrange(nullif(o.since, '-infinity'), nullif(o.until, 'infinity'))) - coalesce((
        select range_agg(tstzrange(e.since, e.until))
        from jsonb_to_recordset(policy.former_names) e (since timestamptz, until timestamptz, declared boolean)
        where e.declared
      ), '{}')
    ) r (span)
    order by 3, 4;
end
$$;

comment on function table_names(text, text) is
  'The names under which the changes of a table are recorded, each with its time: captured_at >= since and captured_at < until.';

-- The declared former names of a table, as names of the tables that had them, up to the time when this one took over.
create function declared_names(policy_schema text, policy_name text, seen text[] default '{}') returns jsonb
language plpgsql stable
set search_path from current
set timezone = 'UTC'
as $$
declare
  entry record;
  source record;
  spans jsonb;
  names jsonb := '[]';
begin
  for entry in
    select e.schema, e.name, tstzrange(e.since, e.until) as span
    from capture_policies p
    cross join lateral jsonb_to_recordset(p.former_names)
      e (schema text, name text, since timestamptz, until timestamptz, declared boolean)
    where p.table_schema = policy_schema and p.table_name = policy_name and e.declared
  loop
    select o.policy_schema as schema, o.policy_name as name into source from policy_of(entry.schema, entry.name) o;
    if not found then
      spans := jsonb_build_array(jsonb_build_object('schema', entry.schema, 'name', entry.name));
    elsif format('%I.%I', source.schema, source.name) = any (seen || format('%I.%I', policy_schema, policy_name)) then
      continue;
    else
      select declared_names(source.schema, source.name, seen || format('%I.%I', policy_schema, policy_name))
        || coalesce(jsonb_agg(jsonb_build_object('schema', o.table_schema, 'name', o.table_name,
          'since', lower(r.span), 'until', upper(r.span))), '[]')
      into spans
      from own_names(source.schema, source.name) o
      cross join lateral unnest(
        tstzmultirange(tstzrange(nullif(o.since, '-infinity'), nullif(o.until, 'infinity'))) - coalesce((
          select range_agg(tstzrange(e.since, e.until))
          from capture_policies p
          cross join lateral jsonb_to_recordset(p.former_names) e (since timestamptz, until timestamptz, declared boolean)
          where p.table_schema = source.schema and p.table_name = source.name and e.declared
        ), '{}')
      ) r (span);
    end if;
    names := names || coalesce((
      select jsonb_agg(jsonb_build_object('schema', s.schema, 'name', s.name,
        'since', coalesce(lower(s.span), '-infinity'), 'until', coalesce(upper(s.span), 'infinity')))
      from (
        select s.schema, s.name,
          tstzrange(nullif(s.since, '-infinity'), nullif(s.until, 'infinity')) * entry.span as span
        from jsonb_to_recordset(spans) s (schema text, name text, since timestamptz, until timestamptz)
      ) s
      where not isempty(s.span)
    ), '[]');
  end loop;
  return names;
end
$$;

-- The names that the columns of a table had before, each with its time. Columns of tables that it declares as its past count
-- too.
create function column_names(
  table_schema text, table_name text,
  out column_name text, out formerly text, out since timestamptz, out until timestamptz
)
returns setof record
language plpgsql stable rows 4
set search_path from current
as $$
#variable_conflict use_column
declare
  policy record;
begin
  select p.former_columns, p.former_names into policy
  from policy_of(column_names.table_schema, column_names.table_name) o
  join capture_policies p on p.table_schema = o.policy_schema and p.table_name = o.policy_name;
  if not found or (policy.former_columns = '[]' and not policy.former_names @> '[{"declared": true}]') then
    return;
  end if;
  return query
    select c.column_name, c.formerly, coalesce(lower(c.span), '-infinity'), coalesce(upper(c.span), 'infinity')
    from (
      select e.value ->> 'column' as column_name, e.value ->> 'formerly' as formerly,
        t.span * tstzrange((e.value ->> 'since')::timestamptz, (e.value ->> 'until')::timestamptz) as span
      from (
        select policy.former_columns, tstzrange(null, null) as span
        union all
        select p.former_columns, tstzrange(e.since, e.until)
        from jsonb_to_recordset(policy.former_names)
          e (schema text, name text, since timestamptz, until timestamptz, declared boolean)
        cross join lateral policy_of(e.schema, e.name) o
        join capture_policies p on p.table_schema = o.policy_schema and p.table_name = o.policy_name
        where e.declared and p.former_names is distinct from policy.former_names
      ) t
      cross join lateral jsonb_array_elements(t.former_columns) e (value)
    ) c
    where not isempty(c.span);
end
$$;

comment on function column_names(text, text) is
  'The names that the columns of a table had before, each with its time: captured_at >= since and captured_at < until.';

revoke all on function
  own_names(text, text), policy_of(text, text), named_since(text, text), table_names(text, text), column_names(text, text),
  declared_names(text, text, text[])
from public;
`
  },
  {
    id: 7,
    name: "renames",
    checksum: "f305cfc8a1424e860e3583a70e3a49d6adffddcd372c203958a6c780756c8131",
    sql: `-- Policies follow their tables and columns to other names, and what is known goes with them.

-- The former keys of a table, and after them the keys of another policy.
create function keys_joined(key_columns jsonb, former_keys jsonb, other_columns jsonb, other_keys jsonb) returns jsonb
language sql immutable
set search_path from current
return former_keys || case
  when other_columns = '[]' or other_columns = key_columns then '[]'
  else jsonb_build_array(other_columns)
end || other_keys;

-- A table is often rebuilt like this: the old one is renamed, the new one takes its name, and the old one is dropped. Then the
-- names that the dropped table had before go to the tables that have them now, as if it had never been renamed. The history
-- that such an heir has under its own former names stays under them.
create function names_released(gone_schema text, gone_name text) returns void
language plpgsql
set search_path from current
set timezone = 'UTC'
as $$
declare
  gone capture_policies;
  heir capture_policies;
  entry record;
  taken timestamptz;
  last record;
begin
  for entry in
    select e.*
    from capture_policies p
    cross join lateral jsonb_to_recordset(p.former_names)
      e (schema text, name text, since timestamptz, until timestamptz, declared boolean)
    where p.table_schema = gone_schema and p.table_name = gone_name and e.declared is not true
    order by e.until desc
  loop
    select p.* into gone from capture_policies p where p.table_schema = gone_schema and p.table_name = gone_name;
    select p.* into heir
    from capture_policies p
    where p.table_schema = entry.schema
      and p.table_name = entry.name
      and p.removed_at is null
      and p.relation <> gone.relation;
    continue when not found;
    taken := greatest(
      nullif(named_since(heir.table_schema, heir.table_name), '-infinity'),
      case when named_since(heir.table_schema, heir.table_name) = '-infinity' then heir.captured_since end,
      entry.until + interval '1 microsecond');
    -- The earlier history of the heir stays under the name that it had last.
    select e.* into last
    from jsonb_to_recordset(heir.former_names)
      e (schema text, name text, since timestamptz, until timestamptz, declared boolean)
    where e.declared is not true
    order by e.until desc
    limit 1;
    if found then
      insert into capture_policies
      select r.*
      from jsonb_populate_record(heir, jsonb_build_object(
        'table_schema', last.schema,
        'table_name', last.name,
        'removed_at', last.until,
        'lapses', heir.lapses * tstzmultirange(tstzrange(null, last.until)),
        'former_names', (
          select coalesce(jsonb_agg(e.value), '[]')
          from jsonb_array_elements(heir.former_names) e (value)
          where e.value ->> 'declared' is null and (e.value ->> 'until')::timestamptz < last.until
        )
      )) r
      on conflict do nothing;
    end if;
    update capture_policies p
    set former_names = (
        select coalesce(jsonb_agg(e.value), '[]')
        from (
          select f.value from jsonb_array_elements(gone.former_names) f (value)
          where f.value ->> 'declared' is null and (f.value ->> 'until')::timestamptz < entry.until
          union all
          select f.value from jsonb_array_elements(heir.former_names) f (value)
          where f.value ->> 'declared' is not null
        ) e
      ),
      lapses = gone.lapses * tstzmultirange(tstzrange(null, entry.until))
        + tstzmultirange(tstzrange(entry.until, taken))
        + heir.lapses * tstzmultirange(tstzrange(taken, null)),
      captured_since = least(heir.captured_since, gone.captured_since),
      kept_since = greatest(heir.kept_since, gone.kept_since),
      former_keys = keys_joined(heir.key_columns, heir.former_keys, gone.key_columns, gone.former_keys)
    where p.table_schema = heir.table_schema and p.table_name = heir.table_name;
    update capture_policies p
    set former_names = (
        select coalesce(jsonb_agg(e.value), '[]')
        from jsonb_array_elements(gone.former_names) e (value)
        where e.value ->> 'declared' is not null or (e.value ->> 'until')::timestamptz > entry.until
      ),
      captured_since = greatest(gone.captured_since, entry.until)
    where p.table_schema = gone_schema and p.table_name = gone_name;
    return;
  end loop;
end
$$;

-- A captured table was renamed. Its policy and its known times go with it. Up to "at", its changes are under the former name.
-- If another captured table had the new name and was renamed itself, that table is followed first. If that table is gone, this
-- table goes on with the history under the name, after a lapse. Its own history stays under the former name.
create function table_renamed(
  former_schema text, former_name text, table_schema text, table_name text, at timestamptz
) returns void
language plpgsql
set search_path from current
set timezone = 'UTC'
as $$
declare
  moving capture_policies;
  bearer capture_policies;
  present record;
  parked_name text;
  unknown_since timestamptz;
begin
  select p.* into moving from capture_policies p
  where p.table_schema = former_schema and p.table_name = former_name;
  if not found or (former_schema = table_renamed.table_schema and former_name = table_renamed.table_name) then
    return;
  end if;
  select p.* into bearer from capture_policies p
  where p.table_schema = table_renamed.table_schema and p.table_name = table_renamed.table_name;
  if found then
    select n.nspname as schema, c.relname as name into present
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where c.oid = bearer.relation
      and bearer.database = this_database()
      and bearer.relation <> moving.relation
      and c.relkind in ('r', 'p', 'f')
      and (n.nspname <> bearer.table_schema or c.relname <> bearer.table_name)
      and (bearer.removed_at is null or not exists (
        select from capture_policies p where p.relation = bearer.relation and p.removed_at is null));
    if found then
      parked_name := 'renamed ' || moving.relation;
      update capture_policies p
      set table_schema = '', table_name = parked_name
      where p.table_schema = former_schema and p.table_name = former_name;
      perform table_renamed(bearer.table_schema, bearer.table_name, present.schema, present.name, at);
    else
      perform names_released(bearer.table_schema, bearer.table_name);
      select p.* into moving from capture_policies p
      where p.table_schema = former_schema and p.table_name = former_name;
      select p.* into bearer from capture_policies p
      where p.table_schema = table_renamed.table_schema and p.table_name = table_renamed.table_name;
      unknown_since := least(coalesce(bearer.removed_at, known_until(table_schema, table_name, null, at)), at);
      delete from capture_policies p
      where p.table_schema = bearer.table_schema and p.table_name = bearer.table_name;
      insert into capture_policies
      select r.*
      from jsonb_populate_record(moving, jsonb_build_object(
        'table_schema', bearer.table_schema,
        'table_name', bearer.table_name,
        'captured_since', bearer.captured_since,
        'kept_since', greatest(bearer.kept_since, moving.kept_since),
        'lapses', bearer.lapses * tstzmultirange(tstzrange(null, at))
          + tstzmultirange(tstzrange(unknown_since, greatest(at, unknown_since + interval '1 microsecond')))
          + moving.lapses * tstzmultirange(tstzrange(at, null)),
        'former_keys', keys_joined(moving.key_columns, moving.former_keys, bearer.key_columns, bearer.former_keys),
        'former_names', bearer.former_names
      )) r;
      update capture_policies p
      set removed_at = coalesce(p.removed_at, at)
      where p.table_schema = former_schema and p.table_name = former_name;
      return;
    end if;
  end if;
  update capture_policies p
  set table_schema = table_renamed.table_schema,
    table_name = table_renamed.table_name,
    former_names = p.former_names || jsonb_build_array(jsonb_build_object(
      'schema', former_schema,
      'name', former_name,
      'since', nullif(greatest(named_since(p.table_schema, p.table_name), '-infinity'), '-infinity'),
      'until', at
    ))
  where (p.table_schema = former_schema and p.table_name = former_name and parked_name is null)
    or (p.table_schema = '' and p.table_name = parked_name);
end
$$;

comment on function table_renamed(text, text, text, text, timestamptz) is
  'Moves the policy of a captured table, and all that is known of its times, to the name that the table got.';

-- A column was renamed. If another column has the former name now, "at" separates the two.
create function column_renamed(
  table_schema text, table_name text, former text, present text, at timestamptz
) returns void
language plpgsql
set search_path from current
set timezone = 'UTC'
as $$
begin
  if former = present then
    return;
  end if;
  update capture_policies p
  set former_columns = (
    select coalesce(jsonb_agg(case
        when e.value ->> 'column' = former then e.value || jsonb_build_object('column', present)
        else e.value
      end), '[]')
    from jsonb_array_elements(p.former_columns) e (value)
  ) || jsonb_build_array(jsonb_build_object(
    'column', present,
    'formerly', former,
    'since', (
      select max((e.value ->> 'until')::timestamptz)
      from jsonb_array_elements(p.former_columns) e (value)
      where e.value ->> 'column' = former
    ),
    'until', at
  ))
  where p.table_schema = column_renamed.table_schema
    and p.table_name = column_renamed.table_name;
end
$$;

comment on function column_renamed(text, text, text, text, timestamptz) is
  'Notes that a column of a captured table got another name: up to then its former one is that of the same column.';

-- Columns of a table that were renamed since its policy was applied: [{ column, formerly }]. The record, or the last change in
-- the catalog, shows until when a column had its former name. This matters only if another column has that name now.
create function columns_renamed(table_schema text, table_name text, renames jsonb) returns void
language plpgsql
set search_path from current
set timezone = 'UTC'
as $$
declare
  policy capture_policies;
begin
  select p.* into policy from capture_policies p
  where p.table_schema = columns_renamed.table_schema and p.table_name = columns_renamed.table_name;
  -- Renames that were noted when they happened are known already.
  renames := (
    select coalesce(jsonb_agg(r.value), '[]')
    from jsonb_array_elements(renames) r (value)
    where not exists (
      select
      from jsonb_array_elements(policy.former_columns) e (value)
      where e.value ->> 'column' = r.value ->> 'column'
        and e.value ->> 'formerly' = r.value ->> 'formerly'
        and (e.value ->> 'until')::timestamptz >= policy.applied_at
    )
  );
  update capture_policies p
  set former_columns = (
    select coalesce(jsonb_agg(case
        when r.column is null then e.value
        else e.value || jsonb_build_object('column', r.column)
      end order by e.place), '[]')
    from jsonb_array_elements(policy.former_columns) with ordinality e (value, place)
    left join jsonb_to_recordset(renames) r ("column" text, formerly text) on r.formerly = e.value ->> 'column'
  ) || (
    select coalesce(jsonb_agg(jsonb_build_object(
      'column', r.column,
      'formerly', r.formerly,
      'since', (
        select max((e.value ->> 'until')::timestamptz)
        from jsonb_array_elements(policy.former_columns) e (value)
        where e.value ->> 'column' = r.formerly
      ),
      'until', greatest(policy.applied_at, least(
        clock_timestamp(),
        (
          select written_since(a.xmin)
          from pg_attribute a
          where a.attrelid = policy.relation and a.attname = r.column and not a.attisdropped
        ),
        -- The first change whose row has the present name, if no column had it before.
        (
          select min(c.captured_at)
          from own_names(policy.table_schema, policy.table_name) n
          cross join lateral (
            select h.captured_at, h.data_after
            from audit_changes h
            where h.table_schema = n.table_schema
              and h.table_name = n.table_name
              and h.captured_at >= greatest(n.since, policy.applied_at)
              and h.captured_at < n.until
            order by h.transaction_id desc, h.id desc
            limit 10000
          ) c
          where c.data_after ? r.column
            and not exists (
              select from jsonb_array_elements(policy.columns) k (value) where k.value ->> 'name' = r.column)
        )
      ))
    )), '[]')
    from jsonb_to_recordset(renames) r ("column" text, formerly text)
  )
  where p.table_schema = policy.table_schema and p.table_name = policy.table_name;
end
$$;

-- The former names that a configuration declares for a table, [{ schema, name }], and for its columns, [{ column, formerly }].
-- Names that are known already stay as they are. Each name counts up to the next one, and the last one up to the time when this
-- table took over. A name is "other" if another table of this database had it: its rows are not rows of this table.
create function names_declared(table_schema text, table_name text, names jsonb, columns jsonb) returns void
language plpgsql
set search_path from current
set timezone = 'UTC'
as $$
declare
  policy capture_policies;
  taken timestamptz;
begin
  select p.* into policy from capture_policies p
  where p.table_schema = names_declared.table_schema and p.table_name = names_declared.table_name;
  taken := coalesce(nullif(named_since(policy.table_schema, policy.table_name), '-infinity'), policy.captured_since);
  update capture_policies p
  set former_names = (
      select coalesce(jsonb_agg(e.value), '[]')
      from jsonb_array_elements(policy.former_names) e (value)
      where e.value ->> 'declared' is null
    ) || (
      select coalesce(jsonb_agg(jsonb_build_object(
        'schema', d.schema,
        'name', d.name,
        'since', d.since,
        'until', least(coalesce(d.until, taken), taken),
        'declared', true,
        'other', d.other
      ) order by d.began), '[]')
      from (
        select w.*,
          case when lag(w.began) over ordered is not null then w.began end as since,
          lead(w.began) over ordered as until
        from (
          select w.schema, w.name,
            coalesce((
              select min(c.captured_at)
              from table_names(w.schema, w.name) n
              cross join lateral (
                select h.captured_at
                from audit_changes h
                where h.table_schema = n.former_schema
                  and h.table_name = n.former_name
                  and h.captured_at >= n.since
                  and h.captured_at < n.until
                order by h.transaction_id, h.id
                limit 1
              ) c
            ), taken) as began,
            coalesce((
              select q.database = policy.database and q.relation <> policy.relation and q.relation <> 0
              from policy_of(w.schema, w.name) o
              join capture_policies q on q.table_schema = o.policy_schema and q.table_name = o.policy_name
            ), false) as other
          from jsonb_to_recordset(names) w (schema text, name text)
          where not exists (
            select
            from jsonb_to_recordset(policy.former_names) e (schema text, name text, declared boolean)
            where e.declared is not true and e.schema = w.schema and e.name = w.name
          )
        ) w
        window ordered as (order by w.began, w.schema, w.name)
      ) d
    ),
    former_columns = (
      select coalesce(jsonb_agg(e.value), '[]')
      from jsonb_array_elements(policy.former_columns) e (value)
      where e.value ->> 'declared' is null
    ) || (
      select coalesce(jsonb_agg(jsonb_build_object(
        'column', w.column,
        'formerly', w.formerly,
        'declared', true,
        -- If another column has the name now, it belongs to that column from the first row on that has the present name.
        'until', case
          when exists (select from jsonb_array_elements(policy.columns) k (value) where k.value ->> 'name' = w.formerly)
          then coalesce((
            select min(c.captured_at)
            from own_names(policy.table_schema, policy.table_name) n
            cross join lateral (
              select h.captured_at
              from audit_changes h
              where h.table_schema = n.table_schema
                and h.table_name = n.table_name
                and h.captured_at >= n.since
                and h.captured_at < n.until
                and h.data_after ? w.column
              order by h.transaction_id, h.id
              limit 1
            ) c
          ), clock_timestamp())
        end
      )), '[]')
      from jsonb_to_recordset(names_declared.columns) w ("column" text, formerly text)
      where not exists (
        select
        from jsonb_to_recordset(policy.former_columns) e ("column" text, formerly text, declared boolean)
        where e.declared is not true and e.column = w.column and e.formerly = w.formerly
      )
    )
  where p.table_schema = policy.table_schema and p.table_name = policy.table_name;
end
$$;

-- Policies of tables that have another name than their policy, or had one for a while, found by their identity in this
-- database. "names": names under which the table wrote since then, or that it has now. "sighted": when it first wrote under
-- another name. "taken": when another table first wrote under the name of the policy.
create function strayed_names(
  out table_schema text, out table_name text, out relation oid, out present_schema text, out present_name text,
  out names text[], out sighted timestamptz, out sightings bigint, out taken timestamptz, out plain boolean, out contested boolean
)
returns setof record
language sql stable
set search_path from current
begin atomic
  with here as (
    select this_database() as database
  ),
  known as (
    select p.table_schema, p.table_name, p.relation, n.nspname::text as present_schema, c.relname::text as present_name,
      format('%I.%I', p.table_schema, p.table_name) as policy, format('%I.%I', n.nspname, c.relname) as present,
      c.xmin as touched, p.applied_at
    from here h
    join capture_policies p on p.database = h.database
    -- One by one: apply asks this for each table, and without statistics all policies would be compared with all of the catalog.
    cross join lateral (
      select c.relname, c.relnamespace, c.relkind, c.relispartition, c.xmin from pg_class c where c.oid = p.relation offset 0
    ) c
    join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'f')
      and not c.relispartition
      -- A policy that ended may belong to a name whose table was renamed since.
      and (p.removed_at is null or not exists (
        select from capture_policies o where o.relation = p.relation and o.removed_at is null))
  ),
  seen as (
    select k.relation, format('%I.%I', s.table_schema, s.table_name) as name, s.seen_at,
      s.named_by is not distinct from k.touched and format('%I.%I', s.table_schema, s.table_name) = k.present as still
    from known k
    join here h on true
    cross join lateral (
      select s.table_schema, s.table_name, s.seen_at, s.named_by
      from capture_sightings s
      where s.relation = k.relation and s.database = h.database and s.seen_at > k.applied_at
      offset 0
    ) s
    -- When the table got its name is asked of those alone that were seen.
    where s.seen_at > named_since(k.table_schema, k.table_name)
  ),
  named as (
    select k.*, s.sighted, coalesce(s.sightings, 0) as sightings,
      -- It wrote under its present name and was not altered since. Or it never wrote under another name.
      coalesce(s.sightings = 1 and s.still, k.policy <> k.present) and k.policy <> k.present as plain,
      array(select distinct u.name from unnest(array[k.policy, k.present] || s.names) u (name)) as names
    from known k
    left join lateral (
      select min(s.seen_at) as sighted, count(*) as sightings, bool_and(s.still) as still, array_agg(distinct s.name) as names
      from seen s
      where s.relation = k.relation
      having count(*) > 0
    ) s on true
  )
  select n.table_schema, n.table_name, n.relation, n.present_schema, n.present_name, n.names, n.sighted, n.sightings,
    (
      select min(s.seen_at)
      from capture_sightings s
      where s.table_schema = n.table_schema
        and s.table_name = n.table_name
        and s.relation <> n.relation
        and s.seen_at > n.applied_at
        and s.seen_at > named_since(n.table_schema, n.table_name)
    ),
    n.plain,
    exists (select from named o where o.relation <> n.relation and o.names && n.names)
  from named n
  where n.policy <> n.present
    or n.sightings > 0
    or exists (select from seen s where s.relation <> n.relation and s.name = n.policy);
end;

-- The times at which a table changed its name, as the record shows them. If no other captured table had one of its names
-- meanwhile, all changes under these names belong to this table.
create function names_written(
  names text[], since timestamptz, out table_schema text, out table_name text, out at timestamptz
)
returns setof record
language sql stable
set search_path from current
begin atomic
  select w.table_schema, w.table_name, w.captured_at
  from (
    select c.table_schema, c.table_name, c.captured_at,
      (c.table_schema, c.table_name) is distinct from
        (lag(c.table_schema) over written, lag(c.table_name) over written) as other
    from unnest(names) u (name)
    cross join lateral (select parse_ident(u.name) as parts) i
    join audit_changes c on c.table_schema = i.parts[1] and c.table_name = i.parts[2]
    where c.captured_at >= since
    window written as (order by c.captured_at, c.id)
  ) w
  where w.other
  order by w.captured_at;
end;

-- Follows every captured table of this database to the name that it has now. The changes under the names show until when each
-- table had each name. If captured tables exchanged their names more than once, the changes do not show it. Then that time is a
-- lapse of each of these tables.
create function follow_names() returns void
language plpgsql
set search_path from current
set timezone = 'UTC'
as $$
declare
  until_now timestamptz := clock_timestamp();
  strayed jsonb;
  place int;
  changed boolean := true;
  one jsonb;
  each record;
  entries jsonb;
  former jsonb;
  since timestamptz;
begin
  select jsonb_agg(to_jsonb(s) || jsonb_build_object(
    'unclear', s.contested and not s.plain,
    'at', least(case when s.plain then s.sighted end, s.taken, until_now)))
  into strayed
  from strayed_names() s;
  if strayed is null then
    return;
  end if;

  -- If the times of one table are unclear, so are those of every table that shares a name with it. A table has a name only
  -- until another one has it.
  while changed loop
    changed := false;
    for place in 0 .. jsonb_array_length(strayed) - 1 loop
      for another in 0 .. jsonb_array_length(strayed) - 1 loop
        continue when place = another;
        if (strayed -> place ->> 'unclear')::boolean
          and (strayed -> another ->> 'contested')::boolean
          and not (strayed -> another ->> 'unclear')::boolean
          and strayed -> place -> 'names' ?| array(select jsonb_array_elements_text(strayed -> another -> 'names'))
        then
          strayed := jsonb_set(strayed, array[another::text, 'unclear'], 'true');
          changed := true;
        end if;
        if strayed -> another ->> 'present_schema' = strayed -> place ->> 'table_schema'
          and strayed -> another ->> 'present_name' = strayed -> place ->> 'table_name'
          and (strayed -> another ->> 'at')::timestamptz < (strayed -> place ->> 'at')::timestamptz
        then
          strayed := jsonb_set(strayed, array[place::text, 'at'], strayed -> another -> 'at');
          changed := true;
        end if;
      end loop;
    end loop;
  end loop;

  select min((s.value ->> 'sighted')::timestamptz) into since
  from jsonb_array_elements(strayed) s (value)
  where (s.value ->> 'unclear')::boolean;
  for one in select s.value from jsonb_array_elements(strayed) s (value) where (s.value ->> 'unclear')::boolean loop
    update capture_policies p
    set lapses = p.lapses + tstzmultirange(tstzrange(
      least(known_until(p.table_schema, p.table_name, null, since), until_now), clock_timestamp()))
    where p.table_schema = one ->> 'table_schema'
      and p.table_name = one ->> 'table_name'
      and p.removed_at is null;
  end loop;

  -- First the tables whose new name is free. The others have exchanged their names.
  while jsonb_array_length(strayed) > 0 loop
    select s.ordinality - 1 into place
    from jsonb_array_elements(strayed) with ordinality s (value, ordinality)
    order by exists (
      select
      from jsonb_array_elements(strayed) o (value)
      where o.value <> s.value
        and o.value ->> 'table_schema' = s.value ->> 'present_schema'
        and o.value ->> 'table_name' = s.value ->> 'present_name'
    ), s.ordinality
    limit 1;
    one := strayed -> place;
    strayed := strayed - place;
    delete from capture_sightings s where s.relation = (one ->> 'relation')::oid and s.database = this_database();
    entries := null;
    if not (one ->> 'contested')::boolean and (one ->> 'sightings')::bigint > 0 and not (one ->> 'plain')::boolean then
      entries := '[]';
      former := jsonb_build_object('schema', one -> 'table_schema', 'name', one -> 'table_name', 'since',
        nullif(named_since(one ->> 'table_schema', one ->> 'table_name'), '-infinity'));
      for each in
        select w.*
        from names_written(
          array(select jsonb_array_elements_text(one -> 'names')), (one ->> 'sighted')::timestamptz) w
      loop
        if each.table_schema <> former ->> 'schema' or each.table_name <> former ->> 'name' then
          entries := entries || jsonb_build_array(former || jsonb_build_object('until', each.at));
          former := jsonb_build_object('schema', each.table_schema, 'name', each.table_name, 'since', each.at);
        end if;
      end loop;
      if former ->> 'schema' <> one ->> 'present_schema' or former ->> 'name' <> one ->> 'present_name' then
        entries := entries || jsonb_build_array(former || jsonb_build_object('until', until_now));
      end if;
    end if;
    select p.former_names into former
    from capture_policies p
    where p.table_schema = one ->> 'table_schema'
      and p.table_name = one ->> 'table_name'
      and p.relation = (one ->> 'relation')::oid;
    -- It may have been followed already, to make its name free for another table.
    continue when not found;
    perform table_renamed(one ->> 'table_schema', one ->> 'table_name', one ->> 'present_schema', one ->> 'present_name',
      (one ->> 'at')::timestamptz);
    if entries is not null then
      update capture_policies p
      set former_names = former || entries
      where p.table_schema = one ->> 'present_schema'
        and p.table_name = one ->> 'present_name'
        and p.relation = (one ->> 'relation')::oid;
    end if;
  end loop;
end
$$;

comment on function follow_names() is
  'Moves the policies of tables that were renamed since capture was applied to the names that they have now.';

revoke all on function
  keys_joined(jsonb, jsonb, jsonb, jsonb), names_released(text, text), strayed_names(), names_written(text[], timestamptz),
  follow_names(), table_renamed(text, text, text, text, timestamptz), column_renamed(text, text, text, text, timestamptz),
  columns_renamed(text, text, jsonb), names_declared(text, text, jsonb, jsonb)
from public;
`
  },
  {
    id: 8,
    name: "traces",
    checksum: "bb158204adaa5da76c52f557c21664033d60511ca83a80765755e5188f41a6b5",
    sql: `-- Traces that DDL on a captured table left in the catalog, and their times.

-- The full id of the transaction that wrote a row of the catalog. 0 if the row is frozen, or older than the cluster: then it is
-- older than the whole record. The id of this transaction and of its savepoints may be ahead of the snapshot, by as many as run
-- beside it. 2^28 are allowed for them.
create function full_xid(id xid) returns xid8
language sql stable
set search_path from current
return (
  select case when id::text::bigint < 3 or u.behind > u.highest then '0' else (u.highest - u.behind)::text::xid8 end
  from (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 268435455 as highest) s
  cross join lateral (select s.highest, (s.highest - id::text::bigint) & 4294967295 as behind) u
);

-- Takes the transaction that wrote a row of the catalog. Gives the time when the first audited transaction with the same id or
-- a later one began to write. Changes recorded before that time are older than that DDL. Infinite if there is none. A
-- transaction with a later id may write first, and its statement begins before its transaction is recorded. So several of the
-- first transactions are read, with their changes.
create function written_since(id xid) returns timestamptz
language plpgsql stable
set search_path from current
as $$
declare
  full_id xid8 := full_xid(id);
begin
  if full_id = '0' then
    return '-infinity';
  end if;
  return coalesce((
    select min(least(t.occurred_at, c.captured_at))
    from (
      select t.id, t.occurred_at
      from audit_transactions t
      where t.xid >= full_id
        and t.epoch = (select max(i.epoch) from installs i)
      order by t.xid, t.id
      limit 100
    ) t
    left join lateral (
      select c.captured_at
      from audit_changes c
      where c.transaction_id = t.id and c.captured_at >= t.occurred_at - interval '1 day'
      order by c.transaction_id, c.id
      limit 1
    ) c on true
  ), 'infinity');
end
$$;

-- The operations of an existing table whose trigger is missing, disabled or not from Threadline.
create function broken_triggers(table_schema text, table_name text) returns text[]
language plpgsql stable
set search_path from current
-- Coverage asks it of every table, and to plan takes ten times as long as to run. So there is one plan, by indexes alone: a session may
-- have made it when its database was empty.
set plan_cache_mode = 'force_generic_plan'
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
  return (
    select array_agg(o.op order by o.op) filter (where w.bits & o.bit = 0)
    from (
      select coalesce(bit_or(
        -- A trigger that fires before the statement records none of its rows.
        case when t.tgtype & 2 <> 0 then t.tgtype & 32 else t.tgtype & 28 end
      ), 0) | case
        -- Foreign tables have triggers for it since PostgreSQL 16.
        when bool_or(c.relkind = 'f') and current_setting('server_version_num')::int < 160000 then 32
        else 0
      end as bits
      from pg_namespace n
      join pg_class c on c.relnamespace = n.oid
      left join (
        capture_policies p
        join pg_trigger t on t.tgenabled = 'A' or (t.tgenabled = 'O' and not p.always)
        join pg_proc f on f.oid = t.tgfoid
        join pg_namespace own on own.oid = f.pronamespace
      ) on p.table_schema = broken_triggers.table_schema
        and p.table_name = broken_triggers.table_name
        and t.tgrelid = c.oid
        and t.tgqual is null
        and cardinality(t.tgattr::int2[]) = 0
        and own.nspname = current_schema()
      where n.nspname = broken_triggers.table_schema
        and c.relname = broken_triggers.table_name
        and c.relkind in ('r', 'p', 'f')
        and not c.relispartition
    ) w
    cross join (values ('insert', 4), ('delete', 8), ('update', 16), ('truncate', 32)) o (op, bit)
  );
end
$$;

-- The partitions of a table, at every level below it. Unlike pg_partition_tree it locks none of them: a read must not wait until a TRUNCATE
-- or an ALTER TABLE of the host has committed.
create function partitions_below(relation oid) returns setof oid
language plpgsql stable rows 20
set search_path from current
as $$
#variable_conflict use_column
begin
  return query
    with recursive below (oid) as (
      select i.inhrelid
      from pg_inherits i
      join pg_class c on c.oid = i.inhparent
      where i.inhparent = partitions_below.relation and c.relkind = 'p' and not i.inhdetachpending
      union all
      select i.inhrelid
      from below b
      join pg_inherits i on i.inhparent = b.oid
      where not i.inhdetachpending
    )
    select b.oid from below b;
end
$$;

-- Whether the file of a relation is empty. False if another session has locked it, because then it is not known.
create function has_empty_file(relation oid) returns boolean
language plpgsql stable
set search_path from current
set lock_timeout = '100ms'
as $$
begin
  return pg_relation_size(relation) = 0;
exception when lock_not_available then
  return false;
end
$$;

-- The marks of each partition of a table. Its OID and the transaction that attached it show whether it is still the same
-- partition. The third mark is the file of its rows.
create function partition_marks(relation oid) returns jsonb
language plpgsql stable
set search_path from current
set quote_all_identifiers = off
as $$
#variable_conflict use_column
begin
  return (
    select coalesce(jsonb_object_agg(
      quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.oid || '/' || i.xmin || ' ' || c.relfilenode), '{}')
    from partitions_below(partition_marks.relation) t (oid)
    join pg_class c on c.oid = t.oid
    join pg_namespace n on n.oid = c.relnamespace
    join pg_inherits i on i.inhrelid = c.oid
  );
end
$$;

-- The marks of partitions that are too new for the snapshot of this transaction. It does not show the transaction that attached them, so 0
-- stands for it. None if a partition is locked: a write must not wait for one that it does not touch.
create function unseen_partition_marks(relation oid) returns jsonb
language plpgsql stable
set search_path from current
set quote_all_identifiers = off
set lock_timeout = '1ms'
as $$
declare
  present oid[];
begin
  if current_setting('transaction_isolation') not in ('repeatable read', 'serializable') then
    return '{}';
  end if;
  begin
    -- This function sees what is. It locks each partition, and the end of the block gives the locks back.
    present := array(select t.relid from pg_partition_tree(unseen_partition_marks.relation) t);
    raise exception using errcode = 'TL000';
  exception
    when sqlstate 'TL000' then
      null;
    when lock_not_available then
      return '{}';
  end;
  return (
    select coalesce(jsonb_object_agg(p.oid::regclass, p.oid || '/0 ' || coalesce(pg_relation_filenode(p.oid), 0)), '{}')
    from unnest(present) p (oid)
    where p.oid <> unseen_partition_marks.relation
      and p.oid not in (select b.oid from partitions_below(unseen_partition_marks.relation) b (oid))
  );
end
$$;

-- How marks may name a partition: by its OID and the transaction that attached it, or by 0 if it was unseen.
create function partition_identities(mark text) returns text[]
language sql immutable
set search_path from current
return array[split_part(mark, ' ', 1), split_part(mark, '/', 1) || '/0'];

-- Partitions that a policy or a note knows and that left since, by the names that they had. They may have come back, or others may have
-- their names. A partition that only has another name is still there, and one that had no row since it was marked does not count.
create function partitions_moved(relation oid, marks jsonb) returns text[]
language plpgsql stable
set search_path from current
as $$
#variable_conflict use_column
declare
  present constant jsonb := partition_marks(relation);
begin
  return (
    select coalesce(array_agg(m.key order by m.key), '{}')
    from jsonb_each_text(marks) m
    where split_part(m.value, ' ', 1) not in (
        select i.identity from jsonb_each_text(present) p cross join unnest(partition_identities(p.value)) i (identity)
      )
      and not exists (
        select
        from pg_class c
        where c.oid = split_part(m.value, '/', 1)::oid
          and c.relkind <> 'p'
          and c.relfilenode = split_part(m.value, ' ', 2)::oid
          and has_empty_file(c.oid)
          -- VACUUM cuts a file to nothing if all rows were deleted. Then it counts them.
          and c.reltuples = -1
      )
  );
end
$$;

-- The relations that hold a table's rows: itself, or its partitions.
create function row_holders(relation oid) returns setof oid
language plpgsql stable rows 4
set search_path from current
as $$
#variable_conflict use_column
begin
  return query select c.oid from pg_class c where c.oid = row_holders.relation and c.relkind <> 'p';
  if not found then
    return query
      select c.oid
      from partitions_below(row_holders.relation) t (oid)
      join pg_class c on c.oid = t.oid and c.relkind <> 'p';
  end if;
end
$$;

-- The types of columns and all types within them: that which a domain is over, of the elements of an array, of the bounds of a range, of the
-- attributes of a composite.
create function types_within(relation oid, attnums int2[]) returns setof oid
language plpgsql stable rows 4
set search_path from current
-- A row or two of each catalog.
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
#variable_conflict use_column
begin
  return query
    -- Without "all", so that no type is visited twice.
    with recursive found (type) as (
      select a.atttypid
      from pg_attribute a
      where a.attrelid = types_within.relation and a.attnum = any (attnums)
      union
      select w.type
      from found f
      join pg_type t on t.oid = f.type
      cross join lateral (
        select t.typbasetype as type where t.typtype = 'd'
        union all
        select t.typelem where t.typelem <> 0
        union all
        select r.rngsubtype from pg_range r where t.typtype = 'r' and r.rngtypid = t.oid
        union all
        select r.rngsubtype from pg_range r where t.typtype = 'm' and r.rngmultitypid = t.oid
        union all
        select a.atttypid from pg_attribute a
        where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
      ) w
    )
    select f.type from found f;
end
$$;

-- What columns have within them: the values of enums, each with the transaction that last touched it, and composites, each with the
-- transactions that last touched its attributes. Those of dropped attributes stay.
create function value_marks(relation oid, attnums int2[]) returns jsonb
language plpgsql stable
set search_path from current
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
#variable_conflict use_column
begin
  return (
    select coalesce(jsonb_object_agg(m.oid, m.mark), '{}')
    from types_within(value_marks.relation, value_marks.attnums) w (type)
    join pg_type t on t.oid = w.type
    cross join lateral (
      select e.oid, e.xmin::text as mark
      from pg_enum e
      where t.typtype = 'e' and e.enumtypid = t.oid
      union all
      select t.oid, string_agg(a.xmin::text, ' ' order by a.attnum)
      from pg_attribute a
      where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0
      having count(*) > 0
    ) m
  );
end
$$;

-- The same of the columns in unique indexes of a table.
create function label_marks(relation oid) returns jsonb
language sql stable
set search_path from current
return value_marks(relation, array(
  select k.attnum
  from pg_index i
  cross join lateral unnest(i.indkey::int2[]) k (attnum)
  where i.indrelid = label_marks.relation and i.indisunique
));

-- Types of which a value or an attribute was renamed, added to a composite or dropped since it was marked, each with the first transaction
-- that the catalog still shows. Each mark is looked up where it came from, so a value that was added to an enum is no such thing.
create function values_touched(marks jsonb, out type text, out by xid) returns setof record
language plpgsql stable rows 1
set search_path from current
set quote_all_identifiers = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
#variable_conflict use_column
begin
  return query
    select format_type(x.type, null), (array_agg(x.by order by age(x.by) desc))[1]
    from (
      select e.enumtypid as type, e.xmin as by
      from jsonb_each_text(values_touched.marks) m
      join pg_enum e on e.oid = m.key::oid
      where e.xmin::text <> m.value
      union all
      select t.oid, a.xmin
      from jsonb_each_text(values_touched.marks) m
      join pg_type t on t.oid = m.key::oid and t.typtype = 'c'
      join pg_attribute a on a.attrelid = t.typrelid and a.attnum > 0
      where (string_to_array(m.value, ' '))[a.attnum] is distinct from a.xmin::text
    ) x
    group by x.type;
end
$$;

-- What the text of a value depends on: types with the same form show a value alike.
create function text_form(type oid) returns text
language plpgsql stable
set search_path from current
as $$
#variable_conflict use_column
declare
  form record;
  arrays text := '';
begin
  loop
    select t.typtype, t.typbasetype, t.typcategory, t.typelem into form from pg_type t where t.oid = text_form.type;
    if form.typtype = 'd' then
      text_form.type := form.typbasetype;
    elsif form.typcategory = 'A' then
      text_form.type := form.typelem;
      arrays := '[]';
    else
      -- All texts, and all strings of bits.
      return case when form.typcategory in ('S', 'V') then form.typcategory::text else text_form.type::text end || arrays;
    end if;
  end loop;
end
$$;

-- The version of a column's type, among its options. Some releases of PostgreSQL have it, 15.20 for one. They give a new one to the column
-- whose type ALTER TABLE alters, also if the type stays the same, and to all columns after it. ALTER TABLE cannot set it. Null if the column
-- is older than such a release, or the server is.
create function type_version(options text[]) returns text
language sql immutable
set search_path from current
return (select o from unnest(options) o where starts_with(o, 'pg_attver='));

-- What ALTER TABLE may have changed of a column, apart from its type and its values.
create function column_state(relation oid, attnum int2) returns text
language sql stable
set search_path from current
return (
  select md5(row(
    a.attname, a.attnotnull, a.atthasdef, a.attidentity, a.attstattarget, a.attstorage, a.attcompression, a.attacl,
    nullif(array_remove(a.attoptions, type_version(a.attoptions)), '{}')
  )::text)
  from pg_attribute a
  where a.attrelid = column_state.relation and a.attnum = column_state.attnum
);

-- Our triggers on a table and on each of its partitions, each with the transaction that last touched it. One that was disabled, replaced or
-- dropped has another mark ever after, also if it was enabled or made again since.
create function trigger_marks(relation oid) returns jsonb
language plpgsql stable
set search_path from current
as $$
begin
  return (
    select coalesce(jsonb_object_agg(g.tgrelid, g.marks), '{}')
    from (
      select t.tgrelid, string_agg(t.oid || '/' || t.xmin, ' ' order by t.oid) as marks
      from (select trigger_marks.relation as oid union all select b.oid from partitions_below(trigger_marks.relation) b (oid)) r
      join pg_trigger t on t.tgrelid = r.oid
      join pg_proc f on f.oid = t.tgfoid
      join pg_namespace own on own.oid = f.pronamespace
      where own.nspname = current_schema()
      group by t.tgrelid
    ) g
  );
end
$$;

-- The relations of a table whose triggers were touched since a policy was written, each with the first transaction that the catalog still
-- shows; null if it shows none. Triggers that a partition has from the table are touched with those of the table.
create function triggers_touched(relation oid, marks jsonb, out touched oid, out by xid) returns setof record
language plpgsql stable rows 1
set search_path from current
as $$
#variable_conflict use_column
declare
  present constant jsonb := trigger_marks(relation);
begin
  if present @> (marks -> 'triggers') then
    return;
  end if;
  return query
    with known as (
      select m.key::oid as oid, string_to_array(m.value, ' ') as before, coalesce(string_to_array(present ->> m.key, ' '), '{}') as after
      from jsonb_each_text(triggers_touched.marks -> 'triggers') m
      where present ->> m.key is distinct from m.value
        and (present ? m.key or m.key::oid = triggers_touched.relation
          or m.key::oid in (select b.oid from partitions_below(triggers_touched.relation) b (oid)))
    ),
    changed as (
      select k.oid,
        (select count(*) from unnest(k.before) b (mark) where b.mark <> all (k.after)) as lost,
        array(
          select split_part(a.mark, '/', 2)
          from unnest(k.after) a (mark)
          where a.mark <> all (k.before)
          order by age(split_part(a.mark, '/', 2)::xid) desc
        ) as xids
      from known k
      where not k.before <@ k.after
    )
    select c.oid, c.xids[1]::xid
    from changed c
    left join changed root on root.oid = triggers_touched.relation and c.oid <> root.oid
    where root.oid is null or c.lost > cardinality(c.xids) or not c.xids <@ root.xids;
end
$$;

-- What uses a column and shows that its type was not altered: PostgreSQL then makes defaults, constraints, indexes and statistics of the column
-- anew, and refuses to if a view, a rule, a policy or a trigger uses it. So one that is still here, by the same transaction, was here
-- all the time. Another expression of a computed column makes only its default anew.
create function type_uses(relation oid, attnum int2, computed boolean) returns jsonb
language sql stable
set search_path from current
return (
  select coalesce(jsonb_object_agg(d.classid || '/' || d.objid || '/' || d.deptype::text, d.xmin::text), '{}')
  from pg_depend d
  left join pg_class c on d.classid = 'pg_class'::regclass and c.oid = d.objid
  where d.refclassid = 'pg_class'::regclass
    and d.refobjid = type_uses.relation
    and d.refobjsubid = type_uses.attnum
    and case when type_uses.computed then d.classid = 'pg_attrdef'::regclass and d.deptype = 'i'
      else d.classid in ('pg_attrdef'::regclass, 'pg_constraint'::regclass, 'pg_rewrite'::regclass, 'pg_policy'::regclass,
        'pg_trigger'::regclass, 'pg_statistic_ext'::regclass) or c.relkind in ('i', 'I') end
);

-- Marks that show whether ALTER TABLE has rewritten the rows: the file of each relation that holds rows, the transaction before which all had
-- ended, and the type of each column in images, with the transaction that last altered it. Also marks that show whether a partition has
-- another expression of a computed column, whether values of an enum or attributes of a composite were renamed meanwhile, and whether
-- triggers were touched.
create function row_marks(relation oid, hidden text[]) returns jsonb
language sql stable
set search_path from current
set quote_all_identifiers = off
begin atomic
  select jsonb_build_object(
    'files', (
      select coalesce(jsonb_object_agg(c.oid, c.relfilenode), '{}')
      from row_holders(row_marks.relation) h (oid)
      join pg_class c on c.oid = h.oid
    ),
    'columns', (
      select coalesce(jsonb_object_agg(a.attnum, jsonb_build_object(
        'name', a.attname, 'by', a.xmin::text, 'is', column_state(a.attrelid, a.attnum), 'missing', a.atthasmissing,
        'version', type_version(a.attoptions), 'computed', a.attgenerated <> '',
        'uses', type_uses(a.attrelid, a.attnum, a.attgenerated <> ''),
        'type', a.atttypid, 'text', format_type(a.atttypid, a.atttypmod),
        -- Types of PostgreSQL's own never change.
        'values', case when a.atttypid < 16384 then '{}' else value_marks(a.attrelid, array[a.attnum]) end)), '{}')
      from pg_attribute a
      where a.attrelid = row_marks.relation
        and a.attnum > 0
        and not a.attisdropped
        and a.attgenerated <> 'v'
        and a.attname <> all (row_marks.hidden)
    ) || (
      -- Columns that were dropped, until another one has the name: changes still show their values.
      select coalesce(jsonb_object_agg(m.key, m.value), '{}')
      from capture_policies p
      cross join lateral jsonb_each(p.row_marks -> 'columns') m
      join pg_attribute d on d.attrelid = p.relation and d.attnum = m.key::int2 and d.attisdropped
      where p.relation = row_marks.relation
        and p.database = this_database()
        and not exists (
          select from pg_attribute a where a.attrelid = p.relation and a.attname = m.value ->> 'name' and not a.attisdropped
        )
    ),
    -- An expression that is set is stored anew, also if it is the same.
    'computed', (
      select coalesce(jsonb_object_agg(e.relation, e.expressions), '{}')
      from (
        select a.attrelid as relation, jsonb_object_agg(d.oid, true) as expressions
        from row_holders(row_marks.relation) h (oid)
        join pg_class c on c.oid = h.oid and c.relispartition
        join pg_attribute a on a.attrelid = h.oid and a.attgenerated = 's'
        join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        group by a.attrelid
      ) e
    ),
    -- A crash empties these, and what they are later does not tell what they were then.
    'unlogged', (
      select coalesce(jsonb_object_agg(c.oid, true), '{}')
      from row_holders(row_marks.relation) h (oid)
      join pg_class c on c.oid = h.oid
      where c.relpersistence = 'u'
    ),
    'before', pg_snapshot_xmin(pg_current_snapshot())::text,
    'labels', label_marks(row_marks.relation),
    'triggers', trigger_marks(row_marks.relation)
  );
end;

-- Whether ALTER TABLE may have written the rows of a captured table anew since its policy was written; null if that cannot be read now.
-- VACUUM FULL and TRUNCATE make new files too. But they leave the ids of the transactions that wrote the rows as they are, and ALTER TABLE
-- does not. It writes all rows anew, those of all partitions, or none. So one row that is as a write left it is enough: its transaction had
-- ended before the policy was written, or has recorded a change of the table by the same command or a later one. The first write after an
-- alteration notes it (note_altered), so changes since then prove nothing. An id alone does not either: the transaction of ALTER TABLE may be
-- older than those of recorded changes. Nor does the command of a row that somebody tried to delete: it is that of the attempt. The function
-- has the rights of the owner of the record, who may read captured tables. It reads no value.
create function rows_rewritten(relation oid, marks jsonb) returns boolean
language plpgsql stable security definer
set search_path from current
set lock_timeout = '100ms'
as $$
declare
  before constant xid8 := coalesce(marks ->> 'before', '0')::xid8;
  policy record;
  holder oid;
  writers jsonb;
  there boolean := false;
  unread boolean := false;
begin
  select p.table_schema, p.table_name, coalesce(min(a.seen_at), 'infinity') as altered_at into policy
  from capture_policies p
  left join capture_alterations a
    on a.relation = p.relation
    and a.database is not distinct from p.database
    and a.seen_at > greatest(p.applied_at, p.watched_at)
    and a.what <> 'joined'
  where p.relation = rows_rewritten.relation and p.removed_at is null and p.database = this_database()
  group by p.table_schema, p.table_name, p.applied_at
  order by p.applied_at desc
  limit 1;
  -- A partition that came since brought its rows with it.
  for holder in
    select c.oid
    from row_holders(rows_rewritten.relation) h (oid)
    join pg_class c on c.oid = h.oid
    where c.relkind = 'r' and rows_rewritten.marks -> 'files' ? c.oid::text
  loop
    if not has_table_privilege(holder, 'select') or row_security_active(holder) then
      unread := true;
      continue;
    end if;
    begin
      execute format(
        'select jsonb_agg(array[w.id, w.command]) from (
           select x.id::text, min(x.command)::text as command
           from (
             select t.xmin as id, case when t.xmax::text = ''0'' then t.cmin::text::bigint else 4294967296 end as command
             from only %s t limit 1000
           ) x
           group by x.id order by age(x.id) desc limit 20
         ) w', holder::regclass)
      into writers;
    exception when lock_not_available then
      unread := true;
      -- For all locks of others together, not for each.
      perform set_config('lock_timeout', '1ms', true);
      continue;
    end;
    there := there or writers is not null;
    if exists (
      select
      from jsonb_array_elements(writers) w (writer)
      cross join lateral (
        select (w.writer ->> 0)::xid as id, full_xid((w.writer ->> 0)::xid) as full_id, (w.writer ->> 1)::bigint as command
      ) r
      where r.full_id < before
        or exists (
          select
          from (
            -- That of a savepoint has a later id of its own.
            select t.id
            from audit_transactions t
            where t.xid <= r.full_id and t.epoch = (select max(i.epoch) from installs i)
            order by t.xid desc, t.id desc
            limit 10
          ) t
          cross join lateral (
            select h.xmin as id, h.cmin::text::bigint as command
            from audit_changes h
            where h.table_schema = policy.table_schema
              and h.table_name = policy.table_name
              and h.transaction_id = t.id
              and h.captured_at < policy.altered_at
              and h.xmax::text = '0'
              and h.op <> 'baseline'
              and not coalesce(h.details ? 'marked', false)
            order by h.id desc
            limit 100
          ) h
          where h.id = r.id and h.command >= r.command
        )
    ) then
      return false;
    end if;
  end loop;
  return case when unread then null else there end;
end
$$;

-- Columns that may have other values since, without a change that tells them, and the transaction that altered them last. ALTER TABLE may
-- have written the rows anew, or a column was dropped and another one has its name. "unread": the rows, which may tell that it did not,
-- cannot be read now. "apart": the rows of a partition alone, of which writes note nothing. Or values are shown otherwise: "type" is the
-- altered type within the column, or its new one. The columns of the key are left out of that: they are watched more closely (key_changed,
-- labels_touched).
-- A file may be new for another reason: then rows are as they were written (rows_rewritten). Rows may also have been written anew for a
-- column that is new or redacted. Of any other column the catalog shows only the last alteration, and an earlier one may have written the
-- rows. So if one was altered, something must tell that it kept its type: its version, or what uses it (type_uses). All partitions are
-- rewritten, or none, unless a computed column of a partition alone gets another expression: that is always a rewrite.
create function columns_rewritten(
  relation oid, marks jsonb, key_columns jsonb, out name text, out by xid, out unread boolean, out apart boolean, out type text
) returns setof record
language plpgsql stable rows 4
set search_path from current
set quote_all_identifiers = off
as $$
#variable_conflict use_column
declare
  altered text[];
  doubted int2[];
  dropped text[];
  has_new_files boolean;
  rewritten boolean := false;
begin
  select
    array_agg(a.attname) filter (
      where not a.attisdropped
        and m.by <> a.xmin::text
        and not coalesce(m.version = type_version(a.attoptions) and not m.computed, false)
        and not exists (
          select
          from jsonb_each_text(type_uses(a.attrelid, a.attnum, m.computed)) u
          where m.uses ->> u.key = u.value
        )),
    array_agg(a.attnum) filter (where not a.attisdropped and (m.by <> a.xmin::text or m.values <> '{}')),
    array_agg(m.name) filter (where a.attisdropped and m.by is not null)
  into altered, doubted, dropped
  from pg_attribute a
  cross join lateral jsonb_to_record(columns_rewritten.marks -> 'columns' -> a.attnum::text)
    m (name text, by text, version text, computed boolean, uses jsonb, "values" jsonb)
  where a.attrelid = columns_rewritten.relation
    and a.attnum > 0;
  has_new_files := altered is not null and exists (
    select
    from row_holders(columns_rewritten.relation) h (oid)
    join pg_class c on c.oid = h.oid
    where columns_rewritten.marks -> 'files' ->> c.oid::text <> c.relfilenode::text
  ) and not exists (
    select
    from row_holders(columns_rewritten.relation) h (oid)
    join pg_class c on c.oid = h.oid and c.relkind <> 'f'
    where columns_rewritten.marks -> 'files' ->> c.oid::text = c.relfilenode::text
  );
  if has_new_files then
    rewritten := rows_rewritten(relation, marks);
  end if;
  if rewritten is distinct from false then
    return query
      select a.attname::text, a.xmin, rewritten is null, false, null::text
      from pg_attribute a
      where a.attrelid = columns_rewritten.relation
        and a.attname = any (altered);
  end if;
  if marks -> 'computed' <> '{}' then
    return query
      select a.attname::text, (array_agg(d.xmin order by age(d.xmin)))[1], false, true, null::text
      from row_holders(columns_rewritten.relation) h (oid)
      join pg_attribute c on c.attrelid = h.oid and c.attgenerated = 's'
      join pg_attrdef d on d.adrelid = c.attrelid and d.adnum = c.attnum
      join pg_attribute a on a.attrelid = columns_rewritten.relation and a.attname = c.attname
      join pg_attrdef r on r.adrelid = a.attrelid and r.adnum = a.attnum
      where columns_rewritten.marks -> 'columns' ? a.attnum::text
        and not columns_rewritten.marks -> 'computed' -> h.oid::text ? d.oid::text
        -- With the whole table, which is told above.
        and not (rewritten is distinct from false and a.attname = any (altered) and d.xmin = r.xmin)
      group by a.attname;
  end if;
  -- Another column has the name of one that was dropped.
  if dropped is not null then
    return query
      select a.attname::text, a.xmin, false, false, null::text
      from pg_attribute a
      where a.attrelid = columns_rewritten.relation
        and a.attnum > 0
        and a.attname = any (dropped)
        and not columns_rewritten.marks -> 'columns' ? a.attnum::text;
  end if;
  if doubted is null then
    return;
  end if;
  return query
    select a.attname::text, t.by, false, false, t.type
    from pg_attribute a
    cross join lateral jsonb_to_record(columns_rewritten.marks -> 'columns' -> a.attnum::text) m (type oid, "values" jsonb)
    cross join lateral (
      select v.type, v.by
      from values_touched(m.values) v
      where m.type = a.atttypid and m.values <> '{}'
      union all
      select format_type(a.atttypid, a.atttypmod), a.xmin
      where m.type <> a.atttypid
        and text_form(m.type) is distinct from text_form(a.atttypid)
        -- Another type that needs no rewrite. If the files are new all the same, it was not for this one.
        and (not has_new_files or exists (
          select from pg_cast c where c.castsource = m.type and c.casttarget = a.atttypid and c.castmethod = 'b'
        ))
    ) t
    where a.attrelid = columns_rewritten.relation
      and a.attnum = any (doubted)
      and a.attnum <> all (array(select (k ->> 'attnum')::int2 from jsonb_array_elements(columns_rewritten.key_columns) k));
end
$$;

-- What types within the key give to its texts, by type: an enum its values, a composite the names and types of its attributes, all in one
-- text. The columns of the key are found by their numbers.
create function key_values(relation oid, key_columns jsonb) returns jsonb
language plpgsql stable
set search_path from current
set quote_all_identifiers = off
as $$
#variable_conflict use_column
begin
  return (
    select coalesce(jsonb_object_agg(format_type(t.oid, null), case t.typtype
      when 'e' then (select coalesce(jsonb_agg(e.enumlabel order by e.enumlabel), '[]') from pg_enum e where e.enumtypid = t.oid)
      else (
        select jsonb_build_array(coalesce(
          string_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod), ', ' order by a.attnum), ''))
        from pg_attribute a
        where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
      )
    end), '{}')
    from types_within(relation, array(select (k ->> 'attnum')::int2 from jsonb_array_elements(key_columns) k)) w (type)
    join pg_type t on t.oid = w.type
    where t.typtype in ('e', 'c')
  );
end
$$;

-- Types that lack what a key may have had of them: a value of an enum, which only renaming it does, or the attributes of a composite.
create function key_values_renamed(relation oid, key_columns jsonb, key_values jsonb) returns text[]
language plpgsql stable
set search_path from current
as $$
#variable_conflict use_column
declare
  present constant jsonb := case key_values when '{}' then '{}' else key_values(relation, key_columns) end;
begin
  return (
    select coalesce(array_agg(v.key order by v.key), '{}')
    from jsonb_each(key_values) v
    where not coalesce(present -> v.key @> v.value, false)
      -- A type that went with an attribute of another was not altered itself.
      and (present ? v.key or not exists (
        select from jsonb_each(key_values) o where present ? o.key and not present -> o.key @> o.value
      ))
  );
end
$$;

-- A type without its length or precision. Neither changes the text of a value.
create function plain_type(type text) returns text
language sql immutable
set search_path from current
return regexp_replace(type, '[(].*?[)]', '');

-- Since when a table may have another key than its policy: the transaction that last altered what makes the key. Null if the
-- key is the same.
create function key_changed(relation oid, key_columns jsonb, key_values jsonb) returns xid
language plpgsql stable
set search_path from current
set quote_all_identifiers = off
as $$
declare
  primary_key record;
  changed xid;
begin
  if key_columns = '[]' then
    return null;
  end if;
  select i.xmin as touched, (i.indkey::int2[])[0:i.indnkeyatts - 1] as attnums into primary_key
  from pg_index i
  where i.indrelid = relation and i.indisprimary;
  -- Without a unique index over its columns, several rows may have one key. The catalog does not show when an index was
  -- dropped.
  if primary_key.attnums is null and not exists (
    select
    from pg_index i
    where i.indrelid = relation
      and i.indisunique
      and i.indisvalid
      and i.indpred is null
      and i.indnkeyatts = jsonb_array_length(key_columns)
      and not exists (
        select
        from jsonb_array_elements(key_columns) k
        where (k ->> 'attnum')::int <> all ((i.indkey::int2[])[0:i.indnkeyatts - 1])
      )
  ) then
    return '2';
  end if;
  if primary_key.attnums is not null
    and primary_key.attnums::int[] is distinct from array(
      select (k.value ->> 'attnum')::int from jsonb_array_elements(key_columns) with ordinality k order by k.ordinality)
  then
    return primary_key.touched;
  end if;
  select a.xmin into changed
  from jsonb_array_elements(key_columns) k
  join pg_attribute a on a.attrelid = relation and a.attnum = (k ->> 'attnum')::int
  -- Some types have another name if they have no length: bpchar, "bit", an interval with fields.
  where a.attisdropped
    or plain_type(k ->> 'type') not in (plain_type(format_type(a.atttypid, null)), plain_type(format_type(a.atttypid, a.atttypmod)))
  limit 1;
  if changed is null and key_values_renamed(relation, key_columns, key_values) <> '{}' then
    select x.id into changed
    from types_within(relation, array(select (k ->> 'attnum')::int2 from jsonb_array_elements(key_columns) k)) w (type)
    join pg_type t on t.oid = w.type
    cross join lateral (
      select e.xmin as id
      from pg_enum e
      where t.typtype = 'e'
        and e.enumtypid = t.oid
        and not coalesce(key_values -> format_type(t.oid, null) ? e.enumlabel, false)
      union all
      -- Of a composite the last one: the others may be as old as the type. A type of an attribute may have another name.
      (
        select x.id
        from pg_attribute a
        left join pg_type y on y.oid = a.atttypid
        cross join lateral (values (a.xmin), (y.xmin)) x (id)
        where x.id is not null
          and t.typtype = 'c'
          and a.attrelid = t.typrelid
          and a.attnum > 0
          and format_type(t.oid, null) = any (key_values_renamed(relation, key_columns, key_values))
        order by age(x.id)
        limit 1
      )
    ) x
    order by age(x.id) desc
    limit 1;
    -- The altered type is no longer in the key.
    changed := coalesce(changed, '2');
  end if;
  return changed;
end
$$;

-- Whether a value of an enum in the key, or an attribute of a composite, had another name for a while. Then their marks differ. The same
-- question as that of values_touched, without its answers: every statement on a table with such a key asks it.
create function labels_touched(relation oid, key_values jsonb, row_marks jsonb) returns boolean
language plpgsql stable
set search_path from current
as $$
begin
  -- Each mark is looked up where it came from. A value that was added has none.
  return key_values <> '{}' and exists (
    select
    from jsonb_each_text(row_marks -> 'labels') m
    where exists (select from pg_enum e where e.oid = m.key::oid and e.xmin::text <> m.value)
      or exists (
        select
        from pg_type t
        join pg_attribute a on a.attrelid = t.typrelid and a.attnum > 0
        where t.oid = m.key::oid and t.typtype = 'c'
        having string_agg(a.xmin::text, ' ' order by a.attnum) <> m.value
      )
  );
end
$$;

-- A key that a table had before, as row_key reads it. If values of an enum or attributes were renamed since, only the text is left.
create function former_key(key_columns jsonb, key_values jsonb, present_values jsonb) returns jsonb
language sql immutable
set search_path from current
return case when present_values @> key_values then key_columns else (
  select jsonb_agg(k.value || '{"type": "text", "text": "text"}' order by k.ordinality)
  from jsonb_array_elements(key_columns) with ordinality k
) end;

-- Whether two policies of a table key its rows alike. A restore numbers the columns anew, and a column may be renamed.
create function same_key(a jsonb, b jsonb) returns boolean
language sql immutable
set search_path from current
return (
  select count(*) = 0 or bool_and(x.value ->> 'name' is not distinct from y.value ->> 'name')
    or bool_and(x.value ->> 'attnum' is not distinct from y.value ->> 'attnum')
  from jsonb_array_elements(a) with ordinality x
  full join jsonb_array_elements(b) with ordinality y on y.ordinality = x.ordinality
) and (
  select coalesce(bool_and(
    plain_type(x.value ->> 'type') is not distinct from plain_type(y.value ->> 'type')), true)
  from jsonb_array_elements(a) with ordinality x
  full join jsonb_array_elements(b) with ordinality y on y.ordinality = x.ordinality
);

-- When the server last may have emptied unlogged tables: when it started, or when it recovered from a crash of a backend. At
-- that time all kinds of statistics begin anew together. Nothing else does that except a reset of all statistics.
create function last_recovery() returns timestamptz
language sql volatile
set search_path from current
begin atomic
  select greatest(pg_postmaster_start_time(), least(w.stats_reset, a.stats_reset, b.stats_reset))
  from pg_stat_wal w
  cross join pg_stat_archiver a
  cross join pg_stat_bgwriter b;
end;

-- Whether an enum or a composite of a key has other values or attributes than the snapshot of this transaction shows. "key_values" has the
-- types.
create function labels_outdated(key_values jsonb) returns boolean
language plpgsql stable
set search_path from current
as $$
declare
  type regtype;
  attributes oid;
  present text[];
  shown text[];
begin
  for type in select to_regtype(v) from jsonb_object_keys(key_values) v loop
    select t.typrelid into attributes from pg_type t where t.oid = type and t.typtype = 'c';
    -- Both statements see what is.
    if attributes is null then
      execute format('select enum_range(null::%s)::text[]', type) into present;
      shown := array(select e.enumlabel from pg_enum e where e.enumtypid = type order by e.enumsortorder);
    else
      execute format(
        'select array(select k.key from json_object_keys(row_to_json(r)) with ordinality k (key, place) order by k.place)
         from (select (null::%s).*) r', type) into present;
      shown := array(
        select a.attname from pg_attribute a where a.attrelid = attributes and a.attnum > 0 and not a.attisdropped order by a.attnum);
    end if;
    if present is distinct from shown then
      return true;
    end if;
  end loop;
  return false;
exception when others then
  -- The type is gone, or has a value that this transaction has added.
  return true;
end
$$;

-- Whether a table that is no partition, and has none, inherits from another table or is inherited from.
create function inherits(relation oid) returns boolean
language sql stable
set search_path from current
begin atomic
  select exists (select from pg_class c where c.oid = inherits.relation and c.relkind = 'r' and not c.relispartition)
    and (
      exists (select from pg_inherits i where i.inhrelid = inherits.relation)
      or exists (select from pg_inherits i where i.inhparent = inherits.relation)
    );
end;

-- The transaction by which a table ceased to be a child of another one, or a partition, since a policy was written; null if it did not.
-- That touches all columns which the two have in common by one command, and changes nothing of them. Nothing else does so with more than one
-- column, but a GRANT and a REVOKE of several columns.
create function disinherited_by(relation oid, marks jsonb) returns xid
language plpgsql stable
set search_path from current
set quote_all_identifiers = off
as $$
begin
  if not exists (
    select
    from pg_attribute a
    where a.attrelid = disinherited_by.relation
      and a.attnum > 0
      and disinherited_by.marks -> 'columns' -> a.attnum::text ->> 'by' <> a.xmin::text
  ) then
    return null;
  end if;
  return (
    select a.xmin
    from pg_attribute a
    cross join lateral jsonb_to_record(disinherited_by.marks -> 'columns' -> a.attnum::text)
      m (by text, "is" text, missing boolean, version text, type oid, text text)
    where a.attrelid = disinherited_by.relation
      and a.attnum > 0
      and not a.attisdropped
      and m.by <> a.xmin::text
      and m.is = column_state(a.attrelid, a.attnum)
      and m.missing = a.atthasmissing
      and m.version is not distinct from type_version(a.attoptions)
      and m.type = a.atttypid
      and m.text = format_type(a.atttypid, a.atttypmod)
    group by a.xmin, a.cmin::text
    having count(*) > 1
    order by age(a.xmin) desc
    limit 1
  );
end
$$;

-- Whether the snapshot of this transaction is older than the present triggers or columns of a table. Two functions see what is.
create function is_outdated(relation oid) returns boolean
language sql stable
set search_path from current
return exists (
  select
  from pg_trigger t
  where t.tgrelid = is_outdated.relation
    and not t.tgisinternal
    and (currtid2('pg_catalog.pg_trigger', t.ctid) <> t.ctid or pg_get_triggerdef(t.oid) is null)
) or exists (
  select
  from pg_attribute a
  where a.attrelid = is_outdated.relation and a.attnum > 0 and currtid2('pg_catalog.pg_attribute', a.ctid) <> a.ctid
);

-- What was altered of a captured table since its policy was written, as the snapshot of this transaction shows it: "key",
-- "rewritten", "triggers" or "inherited", null if nothing was. "unknown": the snapshot is older than the table's files, unique indexes,
-- triggers or columns, so it shows nothing, or rows cannot be read now.
create function alteration(relation oid) returns text
language plpgsql stable
set search_path from current
as $$
declare
  policy record;
  rewritten text;
begin
  select p.mode, p.key_columns, p.key_values, p.row_marks into policy
  from capture_policies p
  where p.relation = alteration.relation
    and p.removed_at is null
    and p.database = this_database()
  order by p.applied_at desc
  limit 1;
  if not found then
    return null;
  end if;
  if key_changed(relation, policy.key_columns, policy.key_values) is not null
    or labels_touched(relation, policy.key_values, policy.row_marks)
  then
    return 'key';
  end if;
  select case when bool_and(w.unread) then 'unknown' else 'rewritten' end into rewritten
  from columns_rewritten(relation, policy.row_marks, policy.key_columns) w
  having count(*) > 0;
  return case
    when rewritten = 'rewritten' then rewritten
    when exists (select from triggers_touched(relation, policy.row_marks) t where t.touched = relation) then 'triggers'
    when policy.mode = 'statement' and (inherits(relation) or disinherited_by(relation, policy.row_marks) is not null) then 'inherited'
    when rewritten is not null then rewritten
    when current_setting('transaction_isolation') in ('repeatable read', 'serializable') and (
      exists (
        select
        from row_holders(relation) h (oid)
        left join pg_index i on i.indrelid = h.oid and i.indisunique
        join pg_class c on c.oid in (h.oid, i.indexrelid)
        -- The function sees what is, not what the snapshot shows.
        where c.relkind in ('r', 'i') and pg_relation_filenode(c.oid) is distinct from c.relfilenode
      )
      or labels_outdated(policy.key_values)
      or is_outdated(relation)
    )
    then 'unknown'
  end;
end
$$;

-- Whether a captured table is as its policy knows it. A virtual column that has the name of one with values is no alteration of rows, but the
-- code that knows the name would take its null for a value. It reads the catalog and is declared immutable all the same: PostgreSQL then
-- computes it while it plans a statement that calls it with a constant table, and plans that statement again after the table was
-- altered. So it costs a write nothing. Only the functions of make_watchful may call it.
create function unaltered(relation regclass) returns boolean
language plpgsql immutable
set search_path from current
as $$
begin
  return alteration(relation) is null and not exists (
    select
    from capture_policies p
    cross join jsonb_array_elements(p.columns) c
    join pg_attribute a on a.attrelid = p.relation and a.attname = c ->> 'name' and a.attgenerated = 'v' and not a.attisdropped
    where p.relation = unaltered.relation
      and p.removed_at is null
      and p.database = this_database()
      and not (c ->> 'virtual')::boolean
  );
end
$$;

-- The same for values of enums and attributes of composites in the key. No plan depends on these, so that tables with such keys ask anew
-- in each statement.
create function labels_unaltered(relation regclass) returns boolean
language plpgsql stable
set search_path from current
as $$
begin
  return not exists (
    select
    from capture_policies p
    where p.relation = labels_unaltered.relation
      and p.removed_at is null
      and p.database = this_database()
      and (labels_touched(labels_unaltered.relation, p.key_values, p.row_marks)
        or (current_setting('transaction_isolation') in ('repeatable read', 'serializable') and labels_outdated(p.key_values)))
  );
end
$$;

-- Whether a captured table's identity tells nothing, because its policy was written in another database. Declared immutable for the
-- same reason as "unaltered".
create function is_elsewhere(relation regclass) returns boolean
language plpgsql immutable
set search_path from current
as $$
begin
  return not exists (
    select
    from capture_policies p
    where p.relation = is_elsewhere.relation and p.removed_at is null and p.database = this_database()
  );
end
$$;

-- The marks of the partitions that the policy of their table does not know, and of those that have partitions themselves: their mark has
-- no file. Declared immutable for the same reason as "unaltered".
create function unknown_partitions(relation regclass) returns jsonb
language plpgsql immutable
set search_path from current
as $$
declare
  known text[];
begin
  select coalesce(array_agg(i.identity), '{}') into known
  from capture_policies p
  cross join lateral jsonb_each_text(p.partition_marks) k
  cross join lateral unnest(partition_identities(k.value)) i (identity)
  where p.relation = unknown_partitions.relation and p.removed_at is null and p.database = this_database();
  return (
    select coalesce(jsonb_object_agg(m.key, m.value), '{}')
    from capture_policies p
    cross join lateral jsonb_each_text(partition_marks(p.relation) || unseen_partition_marks(p.relation)) m
    where p.relation = unknown_partitions.relation
      and p.removed_at is null
      and p.database = this_database()
      and split_part(m.value, ' ', 1) <> all (known)
      -- Others write to a foreign table, too.
      and (select c.relkind from pg_class c where c.oid = split_part(m.value, '/', 1)::oid) is distinct from 'f'
  );
end
$$;

create function add_joined(relation regclass, partitions jsonb) returns void
language sql
set search_path from current
begin atomic
  insert into capture_alterations (relation, database, what, partitions)
  values (add_joined.relation, this_database(), 'joined', add_joined.partitions);
end;

-- Notes that a table is written with partitions that its policy does not know, unless that is noted. Always true: the write goes on as
-- ever. If such a partition is dropped before capture is applied, nothing else tells that it was there. A session that has seen the note of
-- another transaction remembers it. In a serializable transaction, a look for it would be a conflict with the others, so each session notes
-- it. The function is declared stable for the same reason as "unaltered" is immutable, so another function writes.
create function note_joined(relation regclass, partitions jsonb) returns boolean
language plpgsql stable
set search_path from current
as $$
declare
  serializable constant boolean := current_setting('transaction_isolation') = 'serializable';
  memory constant text := 'threadline.joined_' || quote_ident(current_schema())::regnamespace::oid || '_' || relation::oid;
  noted_at timestamptz;
begin
  -- No plan ends with a new partition of a partition that is unknown itself.
  if partitions::text like '% 0"%' then
    partitions := unknown_partitions(relation);
  end if;
  if current_setting(memory, true) = md5(partitions::text) then
    return true;
  end if;
  if not serializable then
    select min(a.seen_at) into noted_at
    from capture_alterations a
    where a.relation = note_joined.relation
      and a.database = this_database()
      and a.what = 'joined'
      and a.partitions @> note_joined.partitions;
  end if;
  if noted_at is null then
    perform add_joined(relation, partitions);
  end if;
  if serializable or noted_at < transaction_timestamp() then
    -- A prepared transaction may be rolled back after the session has gone on.
    perform set_config(memory, md5(partitions::text), serializable and current_setting('max_prepared_transactions')::int > 0);
  end if;
  return true;
end
$$;

-- Makes the function by which the triggers of a table ask whether it is as its policy knows it. Its name is of the table's name, as those
-- of all generated functions, and its text has the table's OID. It is made anew with each policy: the sessions that have its answer
-- ask again. While partitions are "joining", what is noted of them is kept.
create function make_watchful(relation regclass, function_name text, joining boolean default false) returns void
language plpgsql
set search_path from current
as $$
declare
  partitioned boolean := (select c.relkind = 'p' from pg_class c where c.oid = make_watchful.relation);
  -- By their OIDs, which may be gone by the time.
  parents text := (
    select coalesce(string_agg(format('%L::pg_catalog.regclass, ', c.oid), '' order by c.oid), '')
    from partitions_below(relation) t (oid)
    join pg_class c on c.oid = t.oid and c.relkind = 'p');
  -- An alteration of a composite ends the plan too. One of an enum does not.
  composites text := (
    select coalesce(string_agg(format('%L::pg_catalog.regclass, ', t.typrelid), '' order by t.typrelid), '')
    from types_within(relation, array(
      select a.attnum from pg_attribute a where a.attrelid = make_watchful.relation and a.attnum > 0 and a.atttypid >= 16384)) w (type)
    join pg_type t on t.oid = w.type and t.typtype = 'c');
  has_labels boolean := exists (
    select from capture_policies p where p.relation = make_watchful.relation and p.removed_at is null and p.key_values <> '{}');
begin
  -- The function is inlined, which it could not be with a search path of its own: its text names everything in full. Its first part is
  -- computed when it is planned. The second keeps the table and its partitions that have partitions in the plan, so that the plan ends with
  -- the next ALTER TABLE of one of them. It costs next to nothing: "relation" is not null, so its array is never made, and it calls no
  -- function. The third asks whether the trigger is on the very table of the policy, or on a partition of it. The fourth notes partitions that
  -- the policy does not know.
  execute format(
    'create or replace function %I(relation oid) returns boolean language sql stable as %L', function_name,
    format(
      'select %1$I.unaltered(%2$L::pg_catalog.regclass) operator(pg_catalog.=) '
        '($1 is not null or array[%2$L::pg_catalog.regclass, %3$s$1::pg_catalog.regclass] is null) '
        'and ($1 operator(pg_catalog.=) %2$L::pg_catalog.oid or %1$I.is_elsewhere(%2$L::pg_catalog.regclass)'
        || case when partitioned then ' or coalesce(pg_catalog.pg_partition_root($1)::pg_catalog.oid, $1) operator(pg_catalog.=) %2$L::pg_catalog.oid)'
          ' and (%1$I.unknown_partitions(%2$L::pg_catalog.regclass) operator(pg_catalog.=) ''{}''::pg_catalog.jsonb'
          ' or %1$I.note_joined(%2$L::pg_catalog.regclass, %1$I.unknown_partitions(%2$L::pg_catalog.regclass)))' else ')' end
        || case when has_labels then ' and %1$I.labels_unaltered(%2$L::pg_catalog.regclass)' else '' end,
      current_schema(), relation::oid, parents || composites));
  execute format('revoke all on function %I(oid) from public', function_name);
  -- The policy knows by now.
  delete from capture_alterations a
  where a.relation = make_watchful.relation
    and case a.what when 'joined' then not joining else not exists (
      select
      from capture_policies p
      where p.relation = a.relation and p.removed_at is null and a.seen_at > p.applied_at and p.database is not distinct from a.database
    ) end;
end
$$;

-- Called by the general way of every trigger function, if the table is not as its policy knows it.
create function note_altered(relation oid) returns void
language plpgsql
set search_path from current
as $$
declare
  root oid := coalesce(pg_partition_root(relation), relation);
  serializable constant boolean := current_setting('transaction_isolation') = 'serializable';
  noted text[] := '{}';
  found text;
begin
  -- Another table writes under the name of the policy. From now on, changes under this name belong to it.
  insert into capture_sightings (table_schema, table_name, relation, database, named_by)
  select p.table_schema, p.table_name, root, p.database, c.xmin
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join capture_policies p
    on p.table_schema = n.nspname
    and p.table_name = c.relname
    and p.removed_at is null
    and p.relation <> root
    and p.database = this_database()
  where c.oid = root
    and (serializable or not exists (
      select
      from capture_sightings s
      where s.relation = root and s.table_name = p.table_name and s.table_schema = p.table_schema and s.seen_at > p.applied_at
    ));
  -- In a serializable transaction, a look for what others noted would be a conflict with them.
  if not serializable then
    noted := array(
      select a.what
      from capture_policies p
      join capture_alterations a
        on a.relation = root
        and a.database is not distinct from p.database
        and a.seen_at > greatest(p.applied_at, p.watched_at)
      where p.relation = root and p.removed_at is null
    );
    if not noted <@ '{unknown,joined}' then
      return;
    end if;
  end if;
  found := alteration(root);
  -- One word of it is enough: it only tells since when.
  if found is not null and (found <> 'unknown' or found <> all (noted)) then
    insert into capture_alterations (relation, database, what) values (root, this_database(), found);
  end if;
  if unknown_partitions(root) <> '{}' then
    perform note_joined(root, unknown_partitions(root));
  end if;
end
$$;

revoke all on function
  trigger_marks(oid), triggers_touched(oid, jsonb), inherits(oid), disinherited_by(oid, jsonb), is_outdated(oid), alteration(oid), unaltered(regclass), labels_unaltered(regclass), is_elsewhere(regclass), unknown_partitions(regclass), add_joined(regclass, jsonb), note_joined(regclass, jsonb), make_watchful(regclass, text, boolean), note_altered(oid),
  labels_touched(oid, jsonb, jsonb), labels_outdated(jsonb),
  full_xid(xid), written_since(xid), broken_triggers(text, text), partitions_below(oid), has_empty_file(oid),
  partition_marks(oid), unseen_partition_marks(oid), partition_identities(text), partitions_moved(oid, jsonb), row_holders(oid), types_within(oid, int2[]), value_marks(oid, int2[]), values_touched(jsonb), text_form(oid), label_marks(oid), type_version(text[]), column_state(oid, int2), row_marks(oid, text[]), type_uses(oid, int2, boolean), rows_rewritten(oid, jsonb), columns_rewritten(oid, jsonb, jsonb),
  last_recovery(), key_values(oid, jsonb), key_values_renamed(oid, jsonb, jsonb), plain_type(text),
  key_changed(oid, jsonb, jsonb), former_key(jsonb, jsonb, jsonb), same_key(jsonb, jsonb)
from public;
`
  },
  {
    id: 9,
    name: "lapses",
    checksum: "cc77e8c0b706ca1a5590586dbb2515324ef06c79d08bc775024e60493ef18ea6",
    sql: `-- Lapses: times of which nothing is known. The table was not captured then, or what was recorded is gone.

-- The last changes under a name that were captured before an instant, by transaction. A table that is always written has changes in
-- every page of the log, so they are found by the index of tables, from the last transaction back that began before the instant. It may have
-- written a moment before it was recorded.
create function last_changes(of_schema text, of_name text, until timestamptz)
returns table (captured_at timestamptz, op text, details jsonb)
language plpgsql stable rows 1000
set search_path from current
set plan_cache_mode = force_generic_plan
-- A session may have made the plan when the log was empty.
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
  last_transaction bigint := 9223372036854775807;
begin
  if until < 'infinity' then
    -- Those that began at one time may have been recorded in another order.
    select coalesce(max(t.id), 0) into last_transaction
    from (
      select t.id
      from audit_transactions t
      where t.occurred_at < last_changes.until + interval '1 second'
      order by t.occurred_at desc, t.id desc
      limit 1000
    ) t;
  end if;
  return query
    select c.captured_at, c.op, c.details
    from audit_changes c
    where c.table_schema = of_schema
      and c.table_name = of_name
      and c.transaction_id <= last_transaction
      and c.captured_at < last_changes.until
    order by c.transaction_id desc, c.id desc
    limit 1000;
end
$$;

-- If capture of a table ended unseen: the instant up to which the table is known. This is right after its last recorded change,
-- or when its policy was last applied. If only the triggers of some operations are "broken", changes of other operations prove
-- nothing. The last changes are found by transaction, and an earlier transaction may end later. So several are read. A change
-- that is missed makes the instant too early, never too late. Marks are not made by triggers, and do not count. Changes at
-- "unless_since" and later do not count either: another table may have made them under the name.
create function known_until(
  table_schema text, table_name text, broken text[] default null, unless_since timestamptz default null
) returns timestamptz
language plpgsql stable
set search_path from current
as $$
begin
  return (
    with recent as (
      select c.captured_at, c.op
      from own_names(known_until.table_schema, known_until.table_name) n
      cross join lateral last_changes(n.table_schema, n.table_name, least(n.until, unless_since)) c
      where c.captured_at >= n.since
        and not coalesce(c.details ? 'marked', false)
    ),
    latest as (
      select max(r.captured_at) filter (where broken is null or r.op = o.op) as captured_at
      from unnest(coalesce(broken, '{any}')) o (op)
      cross join recent r
      group by o.op
    )
    select coalesce(
      greatest(
        -- A policy that this transaction applied proves nothing about the time before it.
        case when unless_since is null or p.applied_at < transaction_timestamp() then p.applied_at end,
        upper(case when unless_since is null then p.lapses
          else p.lapses * tstzmultirange(tstzrange(null, unless_since)) end),
        (
          select min(l.captured_at) + interval '1 microsecond'
          from latest l
          having count(l.captured_at) = count(*)
        )),
      p.captured_since)
    from capture_policies p
    where p.table_schema = known_until.table_schema and p.table_name = known_until.table_name
  );
end
$$;

-- Since when the schema watch could not do its work for a table. If it did its work later, or a policy was applied since, this
-- no longer counts.
create function watch_failed_since(table_schema text, table_name text) returns timestamptz
language plpgsql stable
set search_path from current
as $$
begin
  return (
    select min(e.occurred_at)
    from capture_policies p
    join schema_events e
      on e.table_schema = p.table_schema
      and e.table_name = p.table_name
      and e.effect = 'failed'
      and e.occurred_at > greatest(p.applied_at, p.watched_at)
    where p.table_schema = watch_failed_since.table_schema and p.table_name = watch_failed_since.table_name
  );
end
$$;

-- Why and since when nothing is known of a table whose policy is active, every reason there is; no row if all is known.
-- "gone": no table has its name. "replaced": another table has it, or had it for a while. "triggers": some are missing, do not
-- fire, or do not see what is written to the table. "touched": triggers were disabled or dropped and are there again, or the table was in an
-- inheritance tree for a while. "partitions": some left with their rows. "key": rows are told apart by something else.
-- "rewritten": columns may have other values, by ALTER TABLE or because a type was altered, or a write saw the table in an inheritance tree.
-- "restarted": an unlogged table may have been emptied.
-- "unwatched": the schema watch saw something begin and not end, or could not do its work. What the watch saw begin has its true
-- instant.
create function capture_gaps(table_schema text, table_name text, out gap text, out since timestamptz)
returns setof record
language plpgsql stable
set search_path from current
as $$
declare
  policy record;
  here text := this_database();
  now_named record;
  sighted timestamptz;
  elsewhere timestamptz;
  altered timestamptz;
  joined timestamptz;
  broken text[];
  rekeyed xid;
  rewritten record;
  inherited xid;
  touched record;
  seen record;
begin
  select p.* into policy
  from capture_policies p
  where p.table_schema = capture_gaps.table_schema
    and p.table_name = capture_gaps.table_name
    and p.removed_at is null;
  if not found then
    return;
  end if;
  select c.oid, i.xmin as made, c.relkind as kind into now_named
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  -- Nothing ever changes this row, so its transaction is the one that made the table.
  left join pg_attribute i on i.attrelid = c.oid and i.attnum = -1
  where n.nspname = capture_gaps.table_schema
    and c.relname = capture_gaps.table_name
    and c.relkind in ('r', 'p', 'f')
    and not c.relispartition;
  if not found or (policy.database = here and policy.relation <> now_named.oid) then
    -- What its table wrote under another name for a while is lost with it: apply finds only where a table is now.
    select min(s.seen_at) into elsewhere
    from capture_sightings s
    where s.relation = policy.relation
      and s.database is not distinct from policy.database
      and (s.table_schema <> capture_gaps.table_schema or s.table_name <> capture_gaps.table_name)
      and s.seen_at > greatest(policy.applied_at, named_since(policy.table_schema, policy.table_name));
    -- So is that it was altered before.
    select min(a.seen_at) into altered
    from capture_alterations a
    where a.relation = policy.relation
      and a.database is not distinct from policy.database
      and a.what <> 'joined'
      and a.seen_at > greatest(policy.applied_at, policy.watched_at);
    if altered is not null then
      elsewhere := least(elsewhere, known_until(table_schema, table_name, null, altered));
    end if;
  end if;
  if now_named.oid is null then
    gap := 'gone';
    since := coalesce(policy.gap_since, least(known_until(table_schema, table_name), elsewhere));
    return next;
    return;
  end if;

  select min(s.seen_at) into sighted
  from capture_sightings s
  where s.table_schema = capture_gaps.table_schema
    and s.table_name = capture_gaps.table_name
    and s.seen_at > greatest(policy.applied_at, named_since(policy.table_schema, policy.table_name))
    and not (s.relation = policy.relation and s.database is not distinct from policy.database);
  if sighted is not null then
    gap := 'replaced';
    since := least(known_until(table_schema, table_name, null, sighted), elsewhere);
    return next;
    -- Its policy describes another table.
    if policy.relation <> now_named.oid then
      return;
    end if;
  end if;
  broken := broken_triggers(table_schema, table_name);
  if policy.database = here and policy.relation <> now_named.oid then
    -- If it has triggers, the new table may have written under the name without a trace. So no change after it was made counts.
    gap := 'replaced';
    since := coalesce(policy.gap_since, least(elsewhere, known_until(table_schema, table_name, null,
      case when cardinality(broken) = 4 then null else written_since(now_named.made) end)));
    return next;
    return;
  end if;
  if broken is not null then
    gap := 'triggers';
    since := coalesce(
      policy.gap_since, known_until(table_schema, table_name, case when cardinality(broken) < 4 then broken end));
    return next;
  end if;
  -- What is written through a parent fires no statement trigger of a child, and those of a parent see the rows of children.
  if policy.mode = 'statement' and now_named.kind = 'r' then
    select i.xmin into inherited
    from pg_inherits i
    where i.inhrelid = now_named.oid or i.inhparent = now_named.oid
    order by age(i.xmin) desc
    limit 1;
    if found then
      gap := 'triggers';
      since := coalesce(policy.gap_since, known_until(table_schema, table_name, null, written_since(inherited)));
      return next;
    end if;
  end if;
  -- After a restore into another database, OIDs mean nothing. But each function still belongs to a name.
  if policy.database is distinct from here and exists (
    select
    from pg_trigger t
    join pg_proc f on f.oid = t.tgfoid
    join pg_namespace own on own.oid = f.pronamespace
    where t.tgrelid = now_named.oid
      and own.nspname = current_schema()
      and right(f.proname, 11) <> function_suffix(table_schema, table_name)
  ) then
    gap := 'replaced';
    since := known_until(table_schema, table_name);
    return next;
    return;
  end if;
  if policy.database = here and policy.partition_marks <> '{}'
    and partitions_moved(now_named.oid, policy.partition_marks) <> '{}'
  then
    gap := 'partitions';
    since := coalesce(policy.gap_since, greatest(policy.applied_at, upper(policy.lapses)));
    return next;
  end if;
  -- Or one left that came since, with rows that were written to it through the table.
  select min(n.seen_at) into joined
  from (
    select a.partitions, min(a.seen_at) as seen_at
    from capture_alterations a
    where a.relation = now_named.oid
      and a.database = policy.database
      and a.what = 'joined'
      and a.seen_at > coalesce(policy.watched_at, '-infinity')
    group by a.partitions
  ) n
  where partitions_moved(now_named.oid, n.partitions) <> '{}';
  if joined is not null then
    gap := 'partitions';
    since := least(policy.gap_since, joined);
    return next;
  end if;
  -- What was written since then proves nothing about the time before it.
  select min(a.seen_at) as first, min(a.seen_at) filter (where a.what = 'key') as key,
    min(a.seen_at) filter (where a.what in ('rewritten', 'inherited')) as rewritten
  into seen
  from capture_alterations a
  where a.relation = now_named.oid
    and a.database = policy.database
    and a.what <> 'joined'
    and a.seen_at > greatest(policy.applied_at, policy.watched_at);
  -- No write notes what was done to the triggers of a partition, and the table's own writes fire other triggers. If the watch saw it, that
  -- is known better.
  if policy.database = here and policy.gap_since is null then
    select
      bool_or(t.touched <> now_named.oid) as partition,
      bool_or(t.touched = now_named.oid) as itself,
      min(written_since(t.by)) filter (where t.touched = now_named.oid) as first
    into touched
    from (
      select x.touched, x.by from triggers_touched(now_named.oid, policy.row_marks) x
      union all
      select now_named.oid, d.by
      from disinherited_by(now_named.oid, policy.row_marks) d (by)
      where d.by is not null and policy.mode = 'statement' and now_named.kind = 'r'
    ) t;
    if touched.partition or touched.itself then
      gap := 'touched';
      since := least(
        case when touched.partition then greatest(policy.applied_at, policy.watched_at) end,
        case when touched.itself
          then known_until(table_schema, table_name, null, coalesce(least(touched.first, seen.first), 'infinity')) end);
      return next;
    end if;
  end if;
  rekeyed := case when policy.database = here then key_changed(now_named.oid, policy.key_columns, policy.key_values) end;
  if rekeyed is not null then
    gap := 'key';
    since := coalesce(policy.gap_since, known_until(table_schema, table_name, null,
      -- If nothing in the catalog tells when, the first write that found it so does.
      coalesce(least(case when rekeyed <> '2' then written_since(rekeyed) end, seen.first), 'infinity')));
    return next;
  -- A value of an enum in the key, or an attribute of a composite, had another name for a while.
  elsif policy.database = here and labels_touched(now_named.oid, policy.key_values, policy.row_marks) then
    gap := 'key';
    since := coalesce(policy.gap_since, known_until(table_schema, table_name, null, coalesce(seen.first, 'infinity')));
    return next;
  -- The key is as it was, and was another one for a while.
  elsif seen.key is not null then
    gap := 'key';
    since := coalesce(policy.gap_since, known_until(table_schema, table_name, null, seen.first));
    return next;
  end if;
  select bool_or(w.apart) as apart, (array_agg(w.by order by age(w.by) desc))[1] as altered_by into rewritten
  from columns_rewritten(now_named.oid, policy.row_marks, policy.key_columns) w
  where policy.database = here;
  if rewritten.altered_by is not null or seen.rewritten is not null then
    gap := 'rewritten';
    since := least(
      policy.gap_since,
      case when rewritten.apart then greatest(policy.applied_at, policy.watched_at) end,
      known_until(table_schema, table_name, null,
        least(case when rewritten.altered_by is not null then written_since(rewritten.altered_by) end, seen.first)));
    return next;
  end if;
  -- The cheaper question first.
  if last_recovery() > greatest(policy.applied_at, upper(policy.lapses))
    and (
      policy.row_marks -> 'unlogged' <> '{}'
      or exists (select from row_holders(now_named.oid) h (oid) join pg_class c on c.oid = h.oid where c.relpersistence = 'u')
    )
  then
    gap := 'restarted';
    since := least(policy.gap_since, known_until(table_schema, table_name, null, last_recovery()));
    return next;
  end if;
  since := least(policy.gap_since, watch_failed_since(table_schema, table_name));
  if since is not null then
    gap := 'unwatched';
    return next;
  end if;
end
$$;

-- The first of these reasons, and the earliest time of all of them.
create function capture_gap(table_schema text, table_name text, out gap text, out since timestamptz)
returns setof record
language plpgsql stable rows 1
set search_path from current
as $$
#variable_conflict use_column
begin
  return query
    select g.gap, min(g.since) over ()
    from capture_gaps(capture_gap.table_schema, capture_gap.table_name) with ordinality g (gap, since, place)
    order by g.place
    limit 1;
end
$$;

-- The recorded lapses of a table, with the one that has not ended: since "gap_since", the answer of capture_gap, or since its capture
-- was removed. Whoever has asked capture_gap need not ask it again.
create function lapses_with(table_schema text, table_name text, gap_since timestamptz) returns tstzmultirange
language plpgsql stable
set search_path from current
as $$
declare
  policy record;
  unknown_since timestamptz;
begin
  select p.lapses, p.removed_at, p.relation, p.database, p.applied_at into policy
  from capture_policies p
  where p.table_schema = lapses_with.table_schema and p.table_name = lapses_with.table_name;
  if policy.lapses is null then
    return '{}';
  end if;
  unknown_since := coalesce(policy.removed_at, least(
    gap_since,
    -- Changes under another name are read with the others after capture has been applied, which settles its names.
    (
      select min(s.seen_at)
      from capture_sightings s
      where s.relation = policy.relation
        and s.database is not distinct from policy.database
        and (s.table_schema <> lapses_with.table_schema or s.table_name <> lapses_with.table_name)
        and s.seen_at > greatest(policy.applied_at, named_since(lapses_with.table_schema, lapses_with.table_name))
    )));
  return case when unknown_since is null then policy.lapses
    else policy.lapses + tstzmultirange(tstzrange(unknown_since, null)) end;
end
$$;

-- All lapses of a table: those that are recorded, and the one that has not ended if the table is no longer captured, does not
-- exist, or is another table. A query of the catalog needs no right to the table's schema.
create function capture_lapses(table_schema text, table_name text) returns tstzmultirange
language plpgsql stable
set search_path from current
as $$
begin
  return lapses_with(table_schema, table_name, (select g.since from capture_gap(table_schema, table_name) g));
end
$$;

comment on function capture_lapses(text, text) is
  'The times in which nothing was recorded of a table that had been captured before; the last one may go on.';

-- Changes before this time may be gone with the partition that held them. Changes older than the oldest partition are in the
-- default one, or gone.
create function oldest_kept() returns timestamptz
language plpgsql stable
set search_path from current
set datestyle = 'ISO'
set timezone = 'UTC'
as $$
declare
  oldest timestamptz;
begin
  select min((regexp_match(pg_get_expr(c.relpartbound, 0), 'FROM [(]''(.*?)''[)]'))[1]::timestamptz)
  into oldest
  from pg_inherits i
  join pg_class c on c.oid = i.inhrelid
  where i.inhparent = 'audit_changes'::regclass;
  return least(oldest, (select min(d.captured_at) from audit_changes_default d where d.captured_at < oldest));
end;
$$;

-- When the first change under a name was made. If a table was renamed, or restored without its policy, it is captured before
-- its policy is made.
create function first_change(table_schema text, table_name text) returns timestamptz
language plpgsql stable
set search_path from current
as $$
#variable_conflict use_column
begin
  return (
    select c.captured_at
    from audit_changes c
    where c.table_schema = first_change.table_schema
      and c.table_name = first_change.table_name
      -- Earlier changes belong to a table that was renamed since.
      and c.captured_at >= (
        select coalesce(max(e.until), '-infinity')
        from capture_policies p
        cross join lateral jsonb_to_recordset(p.former_names)
          e (schema text, name text, until timestamptz, declared boolean)
        where p.former_names <> '[]'
          and e.schema = first_change.table_schema
          and e.name = first_change.table_name
          and e.declared is not true
      )
    order by c.transaction_id, c.id
    limit 1
  );
end
$$;

-- Until capture of a table began, nothing is known of it. After that everything is known, except in lapses: a row was as its
-- first change found it. Without a policy, the first change marks the beginning.
create function unknown_times(table_schema text, table_name text) returns tstzmultirange
language plpgsql stable
set search_path from current
as $$
declare
  policy record;
  since timestamptz;
  entry record;
  unknown tstzmultirange;
  theirs tstzmultirange;
begin
  select p.table_schema, p.table_name, p.captured_since, p.former_names, p.relation, p.database into policy
  from policy_of(unknown_times.table_schema, unknown_times.table_name) o
  join capture_policies p on p.table_schema = o.policy_schema and p.table_name = o.policy_name;
  if not found then
    since := first_change(table_schema, table_name);
    return case when since is null then '{}' else tstzmultirange(tstzrange(null, since)) end;
  end if;
  unknown := capture_lapses(policy.table_schema, policy.table_name) + tstzmultirange(tstzrange(null, policy.captured_since));
  if policy.former_names @> '[{"declared": true}]' then
    for entry in
      select e.schema, e.name, tstzrange(e.since, e.until) as span, coalesce(e.other, false) as other
      from jsonb_to_recordset(policy.former_names)
        e (schema text, name text, since timestamptz, until timestamptz, declared boolean, other boolean)
      where e.declared
    loop
      select case when o.policy_name is null or (o.policy_schema = policy.table_schema and o.policy_name = policy.table_name)
        then (select tstzmultirange(tstzrange(null, first_change(entry.schema, entry.name))))
        else unknown_times(o.policy_schema, o.policy_name) end
      into theirs
      from (select 1) one
      left join policy_of(entry.schema, entry.name) o on true;
      unknown := unknown - tstzmultirange(entry.span) + theirs * tstzmultirange(entry.span);
      -- These are rows of another table. They prove nothing about rows of this one.
      if entry.other and upper(entry.span) is not null then
        unknown := unknown + tstzmultirange(tstzrange(upper(entry.span) - interval '1 microsecond', upper(entry.span)));
      end if;
    end loop;
  end if;
  return unknown;
end
$$;

comment on function unknown_times(text, text) is
  'The times of which nothing is known of a table: before its capture began, and its lapses.';

-- Since when every change of a table is kept. An older change may still be there, because something holds it. But changes between it and
-- the next one may be gone, so nothing is known of that time.
create function kept_since(table_schema text, table_name text) returns timestamptz
language plpgsql stable
set search_path from current
as $$
begin
  return greatest(oldest_kept(), (
    select greatest(p.kept_since, (
      select max(least(d.kept_since, e.until))
      from jsonb_to_recordset(p.former_names) e (schema text, name text, until timestamptz, declared boolean)
      cross join lateral policy_of(e.schema, e.name) f
      join capture_policies d on d.table_schema = f.policy_schema and d.table_name = f.policy_name
      -- "least" passes over null, which here says that every change is kept.
      where e.declared and d.kept_since is not null
    ))
    from policy_of(kept_since.table_schema, kept_since.table_name) o
    join capture_policies p on p.table_schema = o.policy_schema and p.table_name = o.policy_name
  ));
end
$$;

comment on function kept_since(text, text) is 'Since when every change of a table is kept.';

-- Notes that changes under a name were removed, captured from "first" up to "up_to", which is not part of it: every change of the table
-- is kept only from then on. It may have another name by now.
create function note_removed(gone_schema text, gone_name text, first timestamptz, up_to timestamptz) returns void
language plpgsql
set search_path from current
set datestyle = 'ISO'
set timezone = 'UTC'
as $$
begin
  -- PL/pgSQL keeps the plan: every batch of a purge asks.
  update capture_policies p
  set kept_since = r.until
  from (
    select q.table_schema, q.table_name, max(n.until) as until
    from capture_policies q
    cross join lateral (
      select note_removed.up_to as until
      where q.table_schema = note_removed.gone_schema and q.table_name = note_removed.gone_name
      union all
      select least(note_removed.up_to, e.until)
      from jsonb_to_recordset(q.former_names)
        e (schema text, name text, since timestamptz, until timestamptz, declared boolean)
      where e.declared is not true
        and e.schema = note_removed.gone_schema
        and e.name = note_removed.gone_name
        and e.until > note_removed.first
    ) n
    group by q.table_schema, q.table_name
  ) r
  where p.table_schema = r.table_schema
    and p.table_name = r.table_name
    and (p.kept_since is null or p.kept_since < r.until);
end
$$;

-- Runs after any statement that removes changes. Capture itself takes back what it has recorded in the same transaction and what another
-- trigger records as well: that removes nothing which anybody could have read.
create function note_removal() returns trigger
language plpgsql
set search_path from current
as $$
begin
  if tg_op = 'TRUNCATE' then
    update capture_policies set kept_since = clock_timestamp();
  else
    perform note_removed(r.table_schema, r.table_name, r.first, r.up_to)
    from (
      select c.table_schema, c.table_name, min(c.captured_at) as first, max(c.captured_at) + interval '1 microsecond' as up_to
      from removed c
      where c.transaction_id not in (
        select t.id
        from audit_transactions t
        where t.xid = pg_current_xact_id_if_assigned() and t.occurred_at >= transaction_timestamp()
      )
      group by c.table_schema, c.table_name
    ) r;
  end if;
  return null;
end
$$;

create trigger note_removal_by_delete after delete on audit_changes
  referencing old table as removed
  for each statement execute function note_removal();
create trigger note_removal_by_truncate after truncate on audit_changes
  for each statement execute function note_removal();

-- Called before triggers are made or dropped and before a policy is written. If nothing is known of an active policy's table, the
-- policy counts as removed since then, until lapses_closed. A restored or renamed table has its triggers.
create function note_lapse(table_schema text, table_name text) returns timestamptz
language sql
set search_path from current
begin atomic
  update capture_policies p
  set removed_at = g.since, gap_since = null
  from capture_gap(note_lapse.table_schema, note_lapse.table_name) g
  where p.table_schema = note_lapse.table_schema
    and p.table_name = note_lapse.table_name
    and p.removed_at is null
  returning p.removed_at;
end;

-- The lapses of a table that is captured again. The triggers must have been made before, in the same transaction. Then the
-- triggers see every running write, and no other write begins before the commit.
create function lapses_closed(lapses tstzmultirange, removed_at timestamptz) returns tstzmultirange
language sql volatile
set search_path from current
return case
  when removed_at is null then lapses
  else lapses + tstzmultirange(tstzrange(removed_at, greatest(removed_at, clock_timestamp())))
end;

-- Triggers of a table were off on purpose and are on again, in one transaction. Nothing is known of what was done meanwhile; from now on
-- they are known as they are.
create function triggers_settled(table_schema text, table_name text) returns void
language sql
set search_path from current
begin atomic
  select note_lapse(triggers_settled.table_schema, triggers_settled.table_name);
  update capture_policies p
  set lapses = lapses_closed(p.lapses, p.removed_at),
    removed_at = null,
    row_marks = p.row_marks || jsonb_build_object('triggers', trigger_marks(p.relation))
  where p.table_schema = triggers_settled.table_schema
    and p.table_name = triggers_settled.table_name
    and p.removed_at is not null;
end;

revoke all on function triggers_settled(text, text),
  last_changes(text, text, timestamptz), known_until(text, text, text[], timestamptz), lapses_with(text, text, timestamptz), capture_lapses(text, text), oldest_kept(),
  first_change(text, text),
  unknown_times(text, text), kept_since(text, text), note_removed(text, text, timestamptz, timestamptz), note_removal(), note_lapse(text, text),
  lapses_closed(tstzmultirange, timestamptz), capture_gaps(text, text), capture_gap(text, text), watch_failed_since(text, text)
from public;
`
  },
  {
    id: 10,
    name: "joined",
    checksum: "85e494be3716af9095f9e4b9d5d3b4d11e5aafd54985f039d5959f94b1430075",
    sql: `-- Partitions that join a captured table: whether they bring rows that the record does not know.

-- The transaction by which a partition joined its root. It is that of the partition itself or of one above it, if that was
-- attached later.
create function joined_with(relation oid) returns xid
language sql stable
set search_path from current
return (
  select i.xmin
  from pg_partition_ancestors(joined_with.relation) a (oid)
  join pg_inherits i on i.inhrelid = a.oid
  order by age(i.xmin)
  limit 1
);

-- When a partition was known to be one of its root: when a transaction with a later id began to write, or when a write found it
-- there and noted that. A transaction with an earlier id may write first.
create function joined_before(relation oid) returns timestamptz
language sql stable
set search_path from current
begin atomic
  select least(
    written_since(joined_with(joined_before.relation)),
    (
      select min(a.seen_at)
      from capture_policies p
      join capture_alterations a
        on a.relation = p.relation
        and a.database = p.database
        and a.what = 'joined'
      join pg_inherits i on i.inhrelid = joined_before.relation
      where p.relation = pg_partition_root(joined_before.relation)
        and p.removed_at is null
        and exists (
          select
          from jsonb_each_text(a.partitions) m
          where split_part(m.value, ' ', 1) = any (partition_identities(i.inhrelid || '/' || i.xmin || ' '))
        )
    ));
end;

-- An instant before which a partition was none of its root: when the first of the last older transactions that wrote before it began to
-- write. Any of them may write on after the partition joined. Or it attached the partition itself in a savepoint, which has a later id of
-- its own. It is assumed that no more of them run at once.
create function joined_after(relation oid) returns timestamptz
language plpgsql stable
set search_path from current
as $$
declare
  joined xid8 := full_xid(joined_with(relation));
  known timestamptz := joined_before(relation);
begin
  return least(known, (
    select min(least(t.occurred_at, c.captured_at))
    from (
      select t.id, t.occurred_at
      from audit_transactions t
      where t.xid < joined
        and t.epoch = (select max(i.epoch) from installs i)
        and t.occurred_at < known
      order by t.xid desc, t.id
      limit 100
    ) t
    left join lateral (
      select c.captured_at
      from audit_changes c
      where c.transaction_id = t.id and c.captured_at >= t.occurred_at - interval '1 day'
      order by c.transaction_id, c.id
      limit 1
    ) c on true
  ));
end
$$;

-- What the changes since a partition joined tell of its rows. "found_at": the first of them that found a row which the record did not
-- know. That row came with the partition or was written to it directly, and may be gone again. "lost_at": right after the first of those
-- that left a row which is not there. It was removed from the partition directly. Rows of other partitions do not count.
create function unexplained_changes(
  relation regclass, root_schema text, root_name text, known_since timestamptz, policy jsonb,
  out found_at timestamptz, out lost_at timestamptz
)
language plpgsql stable
set search_path from current
set timezone = 'UTC'
set datestyle = 'ISO, YMD'
set intervalstyle = 'postgres'
set bytea_output = 'hex'
set extra_float_digits = 1
set lc_monetary = 'C'
set quote_all_identifiers = off
as $$
declare
  since timestamptz := greatest(joined_after(relation), known_since);
  key_present text;
  key_columns text;
begin
  select string_agg(format('(%s) is not null', k.text), ' and '),
    string_agg(format('(%s)::%s%s as %I', k.text, k.type, k.collation, k.name), ', ')
  into key_present, key_columns
  from (
    select r.attname as name, format_type(a.atttypid, a.atttypmod) as type,
      coalesce((select format(' collate %I.%I', n.nspname, l.collname)
        from pg_collation l join pg_namespace n on n.oid = l.collnamespace where l.oid = a.attcollation), '') as collation,
      format('coalesce(e.pk ->> %L, e.pk ->> %L)', r.attname, c ->> 'name') as text
    from capture_policies p
    cross join lateral jsonb_array_elements(p.key_columns) c
    join pg_attribute r
      on r.attrelid = coalesce(pg_partition_root(unexplained_changes.relation), unexplained_changes.relation)
      and r.attnum = (c ->> 'attnum')::int
    join pg_attribute a on a.attrelid = unexplained_changes.relation and a.attname = r.attname and not a.attisdropped
    where p.table_schema = root_schema and p.table_name = root_name
  ) k;
  -- Without a key it is not known which row a change found.
  if key_columns is null then
    return;
  end if;
  execute format(
    'with written as materialized (
       select c.*
       from own_names($1, $2) n
       join audit_changes c
         on c.table_schema = n.table_schema
         and c.table_name = n.table_name
         and c.captured_at >= greatest(n.since, $3)
         and c.captured_at < n.until
       where c.transaction_id >= (
         select t.id
         from audit_transactions t
         where t.occurred_at >= $3 - interval ''1 day''
         order by t.occurred_at, t.id
         limit 1
       )
     ),
     truncates as (
       select array_agg(w.id order by w.id) || 9223372036854775807 as ids
       from (select 0::bigint as id union all
         select w.id from written w where w.op = ''truncate'' and w.row_key is null
           and (w.partition_name is null or w.partition_name = any ($5))) w
     ),
     -- The row that a change found at a key, and the one that it left there.
     ends as (
       select e.key, w.id, w.transaction_id, w.captured_at, e.effect, e.image, w.op = ''baseline'' as anew,
         width_bucket(w.id, t.ids) as truncated
       from written w
       cross join truncates t
       cross join lateral (values
         (
           case when w.op in (''update'', ''delete'', ''truncate'') then coalesce(w.previous_row_key, w.row_key) end,
           case when w.previous_row_key is null then w.row_pk
             else coalesce(w.data_after, ''{}'') || coalesce(w.changed_from, ''{}'') end,
           coalesce(w.data_after, ''{}'') || coalesce(w.changed_from, ''{}''),
           -1
         ),
         (case when w.op in (''insert'', ''update'', ''baseline'') then w.row_key end, w.row_pk, w.data_after, 1)
       ) e (key, pk, image, effect)
       where e.key is not null
         and case when %s then (select %s from (select %s) x) else true end
     ),
     settled as (
       select e.*, count(*) filter (where e.anew) over (partition by e.key, e.truncated order by e.id) as anew_count
       from ends e
     ),
     counted as (
       select s.*, s.truncated = 1 and s.anew_count = 0 as from_before,
         sum(s.effect) over (life rows unbounded preceding) as standing,
         lag(s.effect) over life as effect_before,
         lag(s.transaction_id) over life as transaction_before,
         lag(s.captured_at) over life as before,
         lag(s.image) over life as image_before
       from settled s
       window life as (partition by s.key, s.truncated, s.anew_count order by s.id, s.effect)
     ),
     short as (
       select c.key, c.from_before, min(c.id) as first_id, min(c.id) filter (where c.standing < -1) as second_id
       from counted c
       where c.standing < 0
       group by c.key, c.from_before
     ),
     -- What the last change at each key left there. The row may be older than all of them.
     standing as (
       select distinct on (c.key) c.key, c.captured_at, c.truncated, c.effect = 1 or c.standing > 0 as stands
       from counted c
       order by c.key, c.truncated desc, c.anew_count desc, c.id desc, c.effect desc
     ),
     -- After which changes something unseen was done to the row that they left: it is not there; a later transaction found another one; or there
     -- would be two.
     lost as (
       select s.captured_at as since
       from standing s
       where s.stands
         and s.truncated = (select cardinality(t.ids) - 1 from truncates t)
         and s.key not in (
           select k.row_key
           from (select image_of(x.*, $7, $8, $9) as image from %s x) r
           cross join lateral image_key(r.image, $6 -> ''key'', $7) k
           where k.row_key is not null
         )
       union all
       select c.before
       from counted c
       where c.effect = -1
         and c.effect_before = 1
         and c.transaction_before <> c.transaction_id
         and exists (
           select
           from jsonb_each(c.image_before) a
           join jsonb_each(c.image) b on b.key = a.key
           where a.value <> b.value
         )
       union all
       select min(c.before) filter (where c.standing = 2)
       from counted c
       group by c.key, c.truncated, c.anew_count
       having sum(c.effect) > 1
     )
     select
       (
         select min(w.captured_at)
         from short s
         join written w
           on w.id = case
             when s.from_before and known_standing($1, $2, s.key, (select min(w.id) from written w), $4) then s.second_id
             else s.first_id
           end
       ),
       (select min(l.since) + interval ''1 microsecond'' from lost l)',
    key_present, coalesce(pg_get_partition_constraintdef(relation), 'true'), key_columns, row_source(relation))
  into found_at, lost_at
  using root_schema, root_name, since, known_since,
    array(
      select case when n.nspname = root_schema then c.relname else quote_ident(n.nspname) || '.' || quote_ident(c.relname) end
      from pg_partition_ancestors(relation) a (relid)
      join pg_class c on c.oid = a.relid
      join pg_namespace n on n.oid = c.relnamespace
    ),
    policy, relation::oid,
    array(select jsonb_array_elements_text(policy -> 'columns')), array(select jsonb_array_elements_text(policy -> 'texts'));
exception
  -- Its column no longer accepts this key.
  when data_exception or undefined_object or undefined_function or undefined_column or undefined_table then
    found_at := since;
end
$$;

-- Whether changes from one instant on and before another show a row at a key. If an image is given, the row must have it.
create function known_standing(
  root_schema text, root_name text, key text, before_id bigint, known_since timestamptz, image jsonb default null
) returns boolean
language sql stable
set search_path from current
begin atomic
  select coalesce((
    select l.data_after is not null
      and (known_standing.image is null or l.data_after = known_standing.image)
      and not exists (
        select
        from own_names(known_standing.root_schema, known_standing.root_name) n
        join audit_changes m on m.table_name = n.table_name and m.table_schema = n.table_schema
          and m.captured_at >= n.since and m.captured_at < n.until
        where m.captured_at >= l.captured_at
          and (m.captured_at, m.id) > (l.captured_at, l.id)
          and m.id < coalesce(before_id, 9223372036854775807)
          and (m.previous_row_key = known_standing.key
            or (m.row_key is null and m.op = 'truncate' and m.partition_name is null))
      )
    from (
      select c.captured_at, c.id, c.data_after
      from own_names(known_standing.root_schema, known_standing.root_name) n
      cross join lateral (
        select c.captured_at, c.id, c.data_after
        from audit_changes c
        where c.row_key = known_standing.key
          and c.table_name = n.table_name
          and c.table_schema = n.table_schema
          and c.captured_at >= greatest(n.since, known_standing.known_since)
          and c.captured_at < n.until
          and c.id < coalesce(before_id, 9223372036854775807)
        order by c.captured_at desc, c.id desc
        limit 1
      ) c
      order by c.captured_at desc, c.id desc
      limit 1
    ) l
  ), false);
end;

-- Since when a relation of a captured table may hold other rows than the record knows, because they joined with it or were written to it
-- directly. Null if it does not, and changes found none. Relations larger than so many bytes are not read.
create function unexplained_rows(
  relation regclass, root_schema text, root_name text, largest bigint default null
) returns timestamptz
language plpgsql
set search_path from current
set timezone = 'UTC'
set datestyle = 'ISO, YMD'
set intervalstyle = 'postgres'
set bytea_output = 'hex'
set extra_float_digits = 1
set lc_monetary = 'C'
set quote_all_identifiers = off
as $$
declare
  joined timestamptz := joined_before(relation);
  policy jsonb;
  known_since timestamptz;
  changes record;
  unexplained boolean := true;
  lost_at timestamptz;
begin
  -- A foreign table may not be readable, and other servers write to it.
  if (select c.relkind from pg_class c where c.oid = relation) <> 'f'
    and has_table_privilege(relation, 'select')
    and not row_security_active(relation)
    and not coalesce(pg_relation_size(relation) > largest, false)
  then
    select policy_document(p),
      greatest(p.captured_since, upper(p.lapses * tstzmultirange(tstzrange(null, joined))))
    into policy, known_since
    from capture_policies p
    where p.table_schema = root_schema and p.table_name = root_name;
    policy := current_policy(policy, relation);
    execute format(
      'select exists (
         select
         from (select image_of(x.*, $2, $5, $6) as image from %s x) r
         cross join lateral image_key(r.image, $1 -> ''key'', $2) k
         where k.row_key is null or not known_standing($3, $4, k.row_key, null, $7, redact(r.image, $1, $2))
       )', row_source(relation))
    into unexplained
    using policy, relation::oid, root_schema, root_name,
      array(select jsonb_array_elements_text(policy -> 'columns')), array(select jsonb_array_elements_text(policy -> 'texts')),
      known_since;
    select * into changes from unexplained_changes(relation, root_schema, root_name, known_since, policy);
    if changes.found_at is not null then
      unexplained := true;
      joined := least(joined, changes.found_at);
    end if;
    lost_at := changes.lost_at;
  end if;
  return least(case when unexplained then joined end, lost_at);
end
$$;

-- Notes a partition that joined a captured table. If it brought rows that the record does not know, the time in which that may
-- have happened is a lapse.
create function partition_joined(relation regclass, root_schema text, root_name text) returns void
language plpgsql
set search_path from current
as $$
declare
  since timestamptz;
begin
  if (select c.relkind from pg_class c where c.oid = relation) <> 'p' then
    since := unexplained_rows(relation, root_schema, root_name);
  end if;
  if since is not null then
    update capture_policies p
    set lapses = p.lapses + tstzmultirange(tstzrange(
      least(
        known_until(root_schema, root_name, null, least(since, transaction_timestamp())),
        clock_timestamp()),
      clock_timestamp()))
    where p.table_schema = root_schema and p.table_name = root_name and p.removed_at is null;
  end if;
end
$$;

-- The same for each partition that the policy does not know: it has another OID than those that it knows, whatever its name.
create function partitions_joined(root regclass, root_schema text, root_name text) returns void
language plpgsql
set search_path from current
as $$
declare
  joined oid;
begin
  for joined in
    select split_part(m.value, '/', 1)::oid
    from capture_policies p
    cross join lateral jsonb_each_text(partition_marks(root)) m
    where p.table_schema = root_schema
      and p.table_name = root_name
      and p.removed_at is null
      and p.database = this_database()
      and split_part(m.value, '/', 1) <> all (array(
        select split_part(k.value, '/', 1) from jsonb_each_text(p.partition_marks) k))
  loop
    perform partition_joined(joined, root_schema, root_name);
  end loop;
end
$$;

revoke all on function
  joined_with(oid), joined_before(oid), joined_after(oid), partition_joined(regclass, text, text), partitions_joined(regclass, text, text), unexplained_rows(regclass, text, text, bigint),
  unexplained_changes(regclass, text, text, timestamptz, jsonb), known_standing(text, text, text, bigint, timestamptz, jsonb)
from public;
`
  },
  {
    id: 11,
    name: "reads",
    checksum: "4017f16b29798eb29723816e3d60c7e7b64877462b0de3cb3c14d736004b95f4",
    sql: `-- Indexes of reads. Each costs every write that it covers, so those that a write pays for in full are few: see
-- docs/indexes.md for what each is for and what it costs.

-- Ids and times rise together. A few bytes for 32 pages find the changes around an instant, and a change by its id. The sum keeps
-- the planner from using it where the btree on transaction_id belongs. No btree begins with the id.
create index audit_changes_time_idx
  on audit_changes using brin (captured_at, id, (transaction_id + 0))
  with (autosummarize = on, pages_per_range = 32);

-- Deletes and truncates, by table. Inserts and updates do not pay for it.
create index audit_changes_removed_idx
  on audit_changes (table_schema, table_name, transaction_id, id)
  with (deduplicate_items = off)
  where op in ('delete', 'truncate');

-- The ids that a host's other systems know a transaction by. They are looked up whole and match few rows, so a Bloom filter for
-- every twelve pages is enough; three btrees of random texts would cost each transaction more than its own row does. A filter has
-- fewer than 500 bytes, so PostgreSQL does not compress it. A transaction that is written where a purge has made room changes the
-- filters of these pages, and would compress them anew. What a search through such an index costs is estimated from the order of
-- the rows by its columns: by these there is none, and the planner would read the table instead. By id there is: a search that
-- names an id as well is estimated as what it costs. A transaction without such ids does not pay for it.
create index audit_transactions_ids_idx
  on audit_transactions using brin (
    id,
    request_id text_bloom_ops (n_distinct_per_range = 350, false_positive_rate = 0.005),
    job_id text_bloom_ops (n_distinct_per_range = 350, false_positive_rate = 0.005),
    trace_id text_bloom_ops (n_distinct_per_range = 350, false_positive_rate = 0.005)
  )
  with (autosummarize = on, pages_per_range = 12)
  where request_id is not null or job_id is not null or trace_id is not null;

-- Transactions of a correlation in the order of their ids, which is the order of a timeline.
drop index audit_actions_correlation_idx;
create index audit_actions_correlation_idx on audit_actions (correlation_id, transaction_id)
  where correlation_id is not null;
create index audit_actions_name_idx on audit_actions (name, transaction_id);
create index audit_actions_actor_idx on audit_actions (actor_type, actor_id, occurred_at, id)
  with (deduplicate_items = off)
  where actor_type is not null;
create index audit_actions_occurred_idx on audit_actions (occurred_at, id)
  with (deduplicate_items = off);

-- Failures are few, and nothing else pays for finding them.
create index audit_actions_failed_idx on audit_actions (occurred_at, id)
  with (deduplicate_items = off)
  where status = 'error';
create index audit_actions_failed_transaction_idx on audit_actions (transaction_id)
  where status = 'error' and transaction_id is not null;

-- The changes of some keys of a table that are nearest to an instant, at most so many on one side of it: changes under the key, and
-- those that moved a row away from it. Only changes of a time count: from "since", before "until".
--
-- A statement over all partitions takes longer to plan than to run. The plan of a function stays with the session, and leaves out
-- partitions when it runs. It must not depend on the values: a plan for the values of a call would be made at every call.
create function changes_near(
  keys text[], of_schema text, of_name text, side text, instant timestamptz, since timestamptz, until timestamptz, most int
)
returns table (
  own_key text, id bigint, transaction_id bigint, captured_at timestamptz, table_schema text, table_name text, partition_name text,
  op text, row_pk jsonb, row_key text, previous_row_key text, changed_fields text[], changed_from jsonb, data_after jsonb,
  details jsonb
)
language plpgsql stable rows 10
set search_path from current
set plan_cache_mode = force_generic_plan
set jit = off
as $$
#variable_conflict use_column
begin
  if side = 'before' then
    return query
      select k.key, c.*
      from unnest(keys) k (key)
      cross join lateral (
        (
          select c.*
          from audit_changes c
          where c.row_key = k.key
            and c.table_name = of_name
            and c.table_schema = of_schema
            and c.captured_at <= instant
            and c.captured_at >= since
            and c.captured_at < until
          order by c.captured_at desc, c.id desc
          limit most
        )
        union all
        (
          select c.*
          from audit_changes c
          where c.previous_row_key = k.key and c.row_key is distinct from k.key
            and c.table_name = of_name
            and c.table_schema = of_schema
            and c.captured_at <= instant
            and c.captured_at >= since
            and c.captured_at < until
          order by c.captured_at desc, c.id desc
          limit most
        )
        order by captured_at desc, id desc
        limit most
      ) c;
  else
    return query
      select k.key, c.*
      from unnest(keys) k (key)
      cross join lateral (
        (
          select c.*
          from audit_changes c
          where c.row_key = k.key
            and c.table_name = of_name
            and c.table_schema = of_schema
            and c.captured_at > instant
            and c.captured_at >= since
            and c.captured_at < until
          order by c.captured_at, c.id
          limit most
        )
        union all
        (
          select c.*
          from audit_changes c
          where c.previous_row_key = k.key and c.row_key is distinct from k.key
            and c.table_name = of_name
            and c.table_schema = of_schema
            and c.captured_at > instant
            and c.captured_at >= since
            and c.captured_at < until
          order by c.captured_at, c.id
          limit most
        )
        order by captured_at, id
        limit most
      ) c;
  end if;
end
$$;

revoke all on function changes_near(text[], text, text, text, timestamptz, timestamptz, timestamptz, int) from public;

-- The first TRUNCATE of a table behind each of some changes of keys ({ own_key, id, transaction_id, captured_at, next_at, next_id }) and
-- before the next one of the key: of the whole table, or else one of a partition that may have removed the row. A TRUNCATE removes all rows, but it records only
-- those that its own snapshot sees. Only those of a time count: from "since", before "until". They have no key, and the index of row histories
-- finds them by that. The empty text and the settings keep the planner from the index of deletes and from bitmaps of a time: if its
-- statistics are older than the deletes, these seem as good, and each change would walk all deletes of the table.
create function truncates_behind(changes jsonb, of_schema text, of_name text, since timestamptz, until timestamptz)
returns table (
  own_key text, follows bigint, id bigint, transaction_id bigint, captured_at timestamptz, table_schema text, table_name text, partition_name text,
  op text, row_pk jsonb, row_key text, previous_row_key text, changed_fields text[], changed_from jsonb, data_after jsonb,
  details jsonb
)
language plpgsql stable rows 1
set search_path from current
set plan_cache_mode = force_generic_plan
set jit = off
set enable_bitmapscan = off
set enable_seqscan = off
as $$
#variable_conflict use_column
begin
  return query
    select o.own_key, o.id, r.*
    from jsonb_to_recordset(changes)
      o (own_key text, id bigint, transaction_id bigint, captured_at timestamptz, next_at timestamptz, next_id bigint)
    cross join lateral (
      select r.*
      from audit_changes r
      where r.table_name = of_name
        and r.table_schema = of_schema
        and r.op || '' = 'truncate'
        and r.row_key is null
        and r.captured_at >= since
        and r.captured_at < until
        and r.captured_at >= o.captured_at
        and r.captured_at <= o.next_at
        and (r.captured_at, r.id) > (o.captured_at, o.id)
        and (r.captured_at, r.id) < (o.next_at, o.next_id)
        and (
          r.partition_name is null
          or r.details ? 'unread'
          or r.details ? 'snapshot' and exists (
            select
            from audit_transactions tr
            join audit_transactions tc on tc.id = o.transaction_id
            where tr.id = r.transaction_id
              and tr.epoch = tc.epoch
              and tr.xid <> tc.xid
              and not pg_visible_in_snapshot(tc.xid, (r.details ->> 'snapshot')::pg_snapshot)
          )
        )
      order by r.partition_name nulls first, r.captured_at, r.id
      limit 1
    ) r;
end
$$;

revoke all on function truncates_behind(jsonb, text, text, timestamptz, timestamptz) from public;

-- Changes of keys of which it is known where they are ({ key, nth, row_key, at, id }): each is read there.
create function changes_known(changes jsonb, of_schema text, of_name text, since timestamptz, until timestamptz)
returns table (
  own_key text, nth int, id bigint, transaction_id bigint, captured_at timestamptz, table_schema text, table_name text,
  partition_name text, op text, row_pk jsonb, row_key text, previous_row_key text, changed_fields text[], changed_from jsonb,
  data_after jsonb, details jsonb
)
language plpgsql stable rows 100
set search_path from current
set plan_cache_mode = force_generic_plan
set jit = off
as $$
#variable_conflict use_column
begin
  return query
    select k.key, k.nth, c.*
    from jsonb_to_recordset(changes) k (key text, nth int, row_key text, at timestamptz, id bigint)
    cross join lateral (
      select c.*
      from audit_changes c
      where c.row_key = k.row_key
        and c.table_name = of_name
        and c.table_schema = of_schema
        and c.captured_at = k.at
        and c.id = k.id
        and c.captured_at >= since
        and c.captured_at < until
      offset 0
    ) c;
end
$$;

revoke all on function changes_known(jsonb, text, text, timestamptz, timestamptz) from public;

-- The keys of a table behind one and before another, as far as so many entries of the index of row histories reach, and of each its
-- two changes that are nearest to an instant: the last ones before it or, if none is, the first ones after it. The index holds the
-- changes of all tables. "captured" and "kept" are the ends of the captured time around the instant. A key without a side had certainly no row: its
-- first change behind the instant brought it, and the next one is of another transaction. "complete" is false if a nearest change is not
-- found through the index, because it moved its row away without giving it a key.
--
-- The last row has no key. All keys up to its "up_to" were looked at. It is null if there are no further keys. A key that fills a
-- quarter of the entries is busy: it comes last, and nothing else is known of it. If a stretch ends within another key, the next one begins with it.
create function keys_near(
  of_schema text, of_name text, since timestamptz, until timestamptz, after text, before text, entries int, instant timestamptz,
  captured timestamptz, kept timestamptz
)
returns table (
  key text, complete boolean, side text, entry_key text, entry_at timestamptz, entry_id bigint, second_key text,
  second_at timestamptz, second_id bigint, up_to text
)
language plpgsql stable rows 500
set search_path from current
set plan_cache_mode = force_generic_plan
set jit = off
as $$
#variable_conflict use_column
declare
  -- The first text behind it.
  low text collate "C" := coalesce(after || E'\\x01', '');
  quarter int := (entries + 3) / 4;
  own text[] collate "C";
  moved text[] collate "C";
  last text collate "C";
  seen text collate "C";
  busy text collate "C";
  bound text collate "C";
  high text collate "C";
begin
  -- Only the end of the stretch is kept. To keep all of it would take longer than to read it.
  own := array(
    select c.row_key from audit_changes c where c.row_key >= low order by c.row_key offset entries - quarter limit quarter
  );
  moved := array(
    select c.previous_row_key
    from audit_changes c
    where c.previous_row_key >= low
    order by c.previous_row_key
    offset entries - quarter
    limit quarter
  );
  last := least(own[quarter], moved[quarter]);
  if last >= before collate "C" then
    last := null;
  end if;
  if last is distinct from own[1] and last is distinct from moved[1] then
    seen := (select max(f.key) from unnest(own || moved) f (key) where f.key < last collate "C");
  end if;
  busy := case when seen is null then last end;
  bound := coalesce(busy, before);
  high := seen;
  if high is null and bound is null then
    high := greatest(
      (select max(c.row_key) from audit_changes c where c.row_key >= low),
      (select max(c.previous_row_key) from audit_changes c where c.previous_row_key >= low)
    );
  elsif high is null then
    high := greatest(
      (select max(c.row_key) from audit_changes c where c.row_key >= low and c.row_key < bound),
      (select max(c.previous_row_key) from audit_changes c where c.previous_row_key >= low and c.previous_row_key < bound)
    );
  end if;
  return query
    select e.key,
      e.row_key is not null and (e.second_id is null or e.second_key is not null),
      case
        when e.side = 'after'
          and (f.op in ('insert', 'baseline') or f.row_key = e.key and coalesce(f.previous_row_key, e.key) <> e.key)
          and f.transaction_id is distinct from s.transaction_id
        then null
        else e.side
      end,
      e.row_key, e.captured_at, e.id, e.second_key, e.second_at, e.second_id, null::text
    from (
      select e.key, e.row_key, e.captured_at, e.id,
        case when e.captured_at <= instant then 'before' else 'after' end as side,
        case when e.captured_at <= instant then e.previous_key else e.next_key end as second_key,
        case when e.captured_at <= instant then e.previous_at else e.next_at end as second_at,
        case when e.captured_at <= instant then e.previous_id else e.next_id end as second_id
      from (
        select e.*,
          lag(e.row_key) over life as previous_key, lag(e.captured_at) over life as previous_at, lag(e.id) over life as previous_id,
          lead(e.row_key) over life as next_key, lead(e.captured_at) over life as next_at, lead(e.id) over life as next_id
        from (
          select c.row_key as key, c.row_key, c.captured_at, c.id
          from audit_changes c
          where c.row_key >= low
            and c.row_key <= high
            and c.table_name = of_name
            and c.table_schema = of_schema
            and c.captured_at >= since
            and c.captured_at < until
          union all
          select c.previous_row_key, c.row_key, c.captured_at, c.id
          from audit_changes c
          where c.previous_row_key >= low
            and c.previous_row_key <= high
            and c.row_key is distinct from c.previous_row_key
            and c.table_name = of_name
            and c.table_schema = of_schema
            and c.captured_at >= since
            and c.captured_at < until
        ) e
        where e.captured_at >= captured
          and (e.captured_at <= instant or e.captured_at < kept)
        window life as (partition by e.key order by e.captured_at, e.id)
      ) e
      where e.captured_at <= instant and (e.next_at is null or e.next_at > instant)
        or e.captured_at > instant and e.previous_at is null
    ) e
    left join lateral (
      select c.op, c.row_key, c.previous_row_key, c.transaction_id
      from audit_changes c
      where e.side = 'after'
        and c.row_key = e.row_key
        and c.table_name = of_name
        and c.table_schema = of_schema
        and c.captured_at = e.captured_at
        and c.id = e.id
      offset 0
    ) f on true
    left join lateral (
      select c.transaction_id
      from audit_changes c
      where (f.op in ('insert', 'baseline') or f.row_key = e.key)
        and c.row_key = e.second_key
        and c.table_name = of_name
        and c.table_schema = of_schema
        and c.captured_at = e.second_at
        and c.id = e.second_id
      offset 0
    ) s on true;
  if busy is not null and (
    exists (
      select
      from audit_changes c
      where c.row_key = busy and c.table_name = of_name and c.table_schema = of_schema and c.captured_at >= since and c.captured_at < until
    ) or exists (
      select
      from audit_changes c
      where c.previous_row_key = busy and c.table_name = of_name and c.table_schema = of_schema
        and c.captured_at >= since and c.captured_at < until
    )
  ) then
    return query select busy::text, false, null::text, null::text, null::timestamptz, null::bigint, null::text, null::timestamptz, null::bigint, null::text;
  end if;
  return query select null::text, false, null::text, null::text, null::timestamptz, null::bigint, null::text, null::timestamptz, null::bigint, coalesce(seen, busy)::text;
end
$$;

revoke all on function keys_near(text, text, timestamptz, timestamptz, text, text, int, timestamptz, timestamptz, timestamptz) from public;

-- The first changes of some transactions, "most" of them, in the order of the transactions' ids and their own: those of a table, if one
-- is named. "earliest" has the first instant at which each transaction can have captured a change. Only changes of a time count. Those
-- of the transaction "after_transaction" only count behind the change "after_id".
--
-- The order of each subquery lets the limit end the search early, so it must be that of an index: nobody knows how many changes a
-- transaction has. An average says nothing of it, if one of a million changes is among them. So each order has a statement of its own, and
-- the settings leave the planner no other way than through the index: neither a sort of all changes of a transaction, nor a bitmap of all
-- changes of a time.
create function changes_of(
  transactions bigint[], earliest timestamptz[], newest boolean, most int, of_schema text, of_name text, since timestamptz,
  until timestamptz, after_transaction bigint, after_id bigint
)
returns setof audit_changes
language plpgsql stable rows 50
set search_path from current
set plan_cache_mode = force_generic_plan
set jit = off
set enable_sort = off
set enable_bitmapscan = off
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  -- Partitions from before it are not even opened.
  oldest timestamptz := (select min(e.earliest) from unnest(earliest) e (earliest));
begin
  -- The changes of a table have an index of their own, so they need plans of their own.
  if of_name is null then
    if newest then
      return query
        select c.*
        from (
          select o.*, case when o.id = after_transaction then coalesce(after_id, 9223372036854775807) else 9223372036854775807 end as behind
          from unnest(transactions, earliest) o (id, earliest)
          order by o.id desc
        ) o
        cross join lateral (
          select c.*
          from audit_changes c
          where c.transaction_id = o.id
            and c.id < o.behind
            and c.captured_at >= o.earliest
            and c.captured_at >= oldest
            and c.captured_at >= since
            and c.captured_at <= until
          order by c.transaction_id desc, c.id desc
          limit most
        ) c
        order by o.id desc, c.id desc
        limit most;
    else
      return query
        select c.*
        from (
          select o.*, case when o.id = after_transaction then coalesce(after_id, -1) else -1 end as behind
          from unnest(transactions, earliest) o (id, earliest)
          order by o.id
        ) o
        cross join lateral (
          select c.*
          from audit_changes c
          where c.transaction_id = o.id
            and c.id > o.behind
            and c.captured_at >= o.earliest
            and c.captured_at >= oldest
            and c.captured_at >= since
            and c.captured_at <= until
          order by c.transaction_id, c.id
          limit most
        ) c
        order by o.id, c.id
        limit most;
    end if;
  elsif newest then
    return query
      select c.*
      from (
        select o.*, case when o.id = after_transaction then coalesce(after_id, 9223372036854775807) else 9223372036854775807 end as behind
        from unnest(transactions, earliest) o (id, earliest)
        order by o.id desc
      ) o
      cross join lateral (
        select c.*
        from audit_changes c
        where c.transaction_id = o.id
          and c.table_schema = of_schema
          and c.table_name = of_name
          and c.id < o.behind
          and c.captured_at >= o.earliest
          and c.captured_at >= oldest
          and c.captured_at >= since
          and c.captured_at <= until
        order by c.transaction_id desc, c.id desc
        limit most
      ) c
      order by o.id desc, c.id desc
      limit most;
  else
    return query
      select c.*
      from (
        select o.*, case when o.id = after_transaction then coalesce(after_id, -1) else -1 end as behind
        from unnest(transactions, earliest) o (id, earliest)
        order by o.id
      ) o
      cross join lateral (
        select c.*
        from audit_changes c
        where c.transaction_id = o.id
          and c.table_schema = of_schema
          and c.table_name = of_name
          and c.id > o.behind
          and c.captured_at >= o.earliest
          and c.captured_at >= oldest
          and c.captured_at >= since
          and c.captured_at <= until
        order by c.transaction_id, c.id
        limit most
      ) c
      order by o.id, c.id
      limit most;
  end if;
end
$$;

revoke all on function changes_of(bigint[], timestamptz[], boolean, int, text, text, timestamptz, timestamptz, bigint, bigint) from public;

-- The first of some transactions, "most" of them, in the order of their ids: how many changes each has, counted up to "counted", and in
-- which tables. If "captured" is true, only those count that captured something in a time; their other changes are counted too.
create function contents_of(
  transactions bigint[], earliest timestamptz[], newest boolean, most int, counted int, captured boolean, since timestamptz,
  until timestamptz
)
returns table (id bigint, changes bigint, tables json)
language plpgsql stable rows 50
set search_path from current
set plan_cache_mode = force_generic_plan
set jit = off
-- No bitmap of all changes of a time, however many a transaction is expected to have.
set enable_bitmapscan = off
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  -- Partitions from before it are not even opened.
  oldest timestamptz := (select min(e.earliest) from unnest(earliest) e (earliest));
begin
  return query
    select o.id, n.changes, n.tables
    from (
      select o.*, case when newest then -o.id else o.id end as place
      from unnest(transactions, earliest) o (id, earliest)
      order by place
    ) o
    cross join lateral (
      select coalesce(sum(t.changes), 0)::bigint as changes,
        coalesce(json_agg(json_build_object('schema', t.table_schema, 'name', t.table_name)), '[]') as tables,
        coalesce(bool_or(t.inside), false) as inside
      from (
        select c.table_schema, c.table_name, count(*) as changes, bool_or(c.captured_at >= since and c.captured_at <= until) as inside
        from (
          select c.table_schema, c.table_name, c.captured_at
          from audit_changes c
          where c.transaction_id = o.id
            and c.captured_at >= o.earliest
            and c.captured_at >= oldest
          limit counted
        ) c
        group by c.table_schema, c.table_name
      ) t
      offset 0
    ) n
    where not captured
      or n.inside
      or n.changes >= counted and exists (
        select
        from audit_changes c
        where c.transaction_id = o.id
          and c.captured_at >= o.earliest
          and c.captured_at >= oldest
          and c.captured_at >= since
          and c.captured_at <= until
      )
    order by o.place
    limit most;
end
$$;

revoke all on function contents_of(bigint[], timestamptz[], boolean, int, int, boolean, timestamptz, timestamptz) from public;

-- The key that seals cursors under a scope. Roles that read can read it. The holder of a cursor alone cannot. The oldest key
-- counts, so that cursors outlive a restore of data alone into a schema that has made a key of its own.
create table cursor_keys (
  key bytea primary key check (octet_length(key) = 32),
  created_at timestamptz not null default clock_timestamp()
);

comment on table cursor_keys is
  'The key of cursors under a scope. With another one, all cursors made so far are refused.';

-- Made here, and by every later run if it is missing: a restore of the structure alone brings no key.
create function ensure_cursor_key() returns void
language sql
set search_path from current
begin atomic
  insert into cursor_keys (key)
  select sha256(string_agg(uuid_send(gen_random_uuid()), ''))
  from generate_series(1, 4)
  where not exists (select from cursor_keys)
  having count(*) > 0;
end;

revoke all on function ensure_cursor_key() from public;

select ensure_cursor_key();
`
  },
  {
    id: 12,
    name: "feed",
    checksum: "9ef770224706fa5b299bdce9c102fe9845f60ffa317b85746ea9aafaa1280f9c",
    sql: `-- The checkpoints of the consumers of the change feed, the leases of their runners, and what retention must keep for them.

create table feed_checkpoints (
  name text collate "C" primary key check (octet_length(name) between 1 and 256),
  -- The library reads this column. The columns after it are the same for SQL.
  checkpoint text,
  epoch int,
  snapshot pg_snapshot,
  -- Inside a window: everything of the snapshot up to this change is delivered.
  last_id bigint,
  last_captured_at timestamptz,
  updated_at timestamptz not null default clock_timestamp(),
  lease_token text collate "C",
  lease_until timestamptz
);

comment on table feed_checkpoints is
  'How far each consumer of the change feed has come. Moved by the feed functions only; retention asks feed_horizon().';

-- The lease of a consumer, and where it continues. No row while another runner holds the lease. A lease is a token and a time,
-- not a lock: it outlives transactions, and needs no session.
create function feed_claim(consumer text, token text, seconds double precision)
returns table (claimed_checkpoint text)
language plpgsql security definer
set search_path from current
as $$
begin
  if octet_length(consumer) not between 1 and 256 or octet_length(token) not between 16 and 256
    or seconds not between 0 and 86400
  then
    raise exception 'threadline: a consumer has a name of 1 to 256 bytes, and a lease of at most a day'
      using errcode = 'invalid_parameter_value';
  end if;
  insert into feed_checkpoints (name) values (consumer) on conflict do nothing;
  return query
    update feed_checkpoints p
    set lease_token = token,
      lease_until = clock_timestamp() + make_interval(secs => seconds)
    where p.name = consumer
      and (p.lease_token is null or p.lease_token = token or p.lease_until < clock_timestamp())
    returning p.checkpoint;
end
$$;

-- Renews a lease. False if another runner has it by now.
create function feed_renew(consumer text, token text, seconds double precision) returns boolean
language plpgsql security definer
set search_path from current
as $$
begin
  update feed_checkpoints p
  set lease_until = clock_timestamp() + make_interval(secs => least(greatest(seconds, 0), 86400))
  where p.name = consumer
    and p.lease_token = token;
  return found;
end
$$;

-- Moves a checkpoint from where its runner found it, and renews the lease. False if the lease or the checkpoint has changed
-- meanwhile: a runner that lost its lease moves nothing.
create function feed_store(
  consumer text,
  token text,
  expected text,
  reached text,
  reached_epoch int,
  reached_snapshot pg_snapshot,
  reached_id bigint,
  reached_captured_at timestamptz,
  seconds double precision
) returns boolean
language plpgsql security definer
set search_path from current
as $$
begin
  if reached is null or reached_epoch is null or reached_snapshot is null then
    raise exception 'threadline: a checkpoint is not null' using errcode = 'null_value_not_allowed';
  end if;
  -- A checkpoint names the cluster that it was made on. Once stored, it is known there and in every copy.
  perform current_epoch();
  update feed_checkpoints p
  set checkpoint = reached,
    epoch = reached_epoch,
    snapshot = reached_snapshot,
    last_id = reached_id,
    last_captured_at = coalesce(reached_captured_at, p.last_captured_at),
    updated_at = clock_timestamp(),
    lease_until = clock_timestamp() + make_interval(secs => least(greatest(seconds, 0), 86400))
  where p.name = consumer
    and p.lease_token = token
    and p.checkpoint is not distinct from expected;
  return found;
end
$$;

-- Releases a lease, so that the next runner need not wait for its end.
create function feed_release(consumer text, token text) returns boolean
language plpgsql security definer
set search_path from current
as $$
begin
  update feed_checkpoints p
  set lease_token = null,
    lease_until = null
  where p.name = consumer
    and p.lease_token = token;
  return found;
end
$$;

-- Forgets a consumer. Retention no longer waits for it, and the next consumer of this name starts anew.
create function feed_forget(consumer text) returns boolean
language plpgsql security definer
set search_path from current
as $$
begin
  delete from feed_checkpoints p where p.name = consumer;
  return found;
end
$$;

-- The oldest change that each consumer may still need. Null if it has everything. Of the transactions that a checkpoint does not
-- know, those with the smallest ids are looked at, in each epoch more of them than run at once: while a change is captured, every
-- transaction with a smaller id than its own has begun, so that one whose changes are all later is running.
create function feed_pending()
returns table (name text, change_id bigint, captured_at timestamptz)
language plpgsql stable
set search_path from current
-- JIT compilation takes longer than running it.
set jit = off
as $$
#variable_conflict use_column
begin
  -- PL/pgSQL keeps the plan, which takes longer to make than to run: every batch of a purge asks.
  return query
    select
      p.name,
      case when p.snapshot is null then 0 else least(p.last_id + 1, oldest.id) end,
      case
        when p.last_id is null or oldest.id <= p.last_id then oldest.captured_at
        else coalesce(p.last_captured_at, oldest.captured_at)
      end
    from feed_checkpoints p
    left join lateral (
      with recursive epochs as (
        select i.epoch from installs i
        union all
        -- The epoch of the first write after a start is not stored before that write is committed.
        (
          select i.epoch + 1
          from (select * from installs order by epoch desc limit 1) i
          where i.postmaster_started_at <> pg_postmaster_start_time()
        )
      ),
      later as (
        select
          e.epoch,
          case when e.epoch = p.epoch then (pg_snapshot_xmax(p.snapshot)::text::bigint - 1)::text::xid8 else '0' end as xid,
          0 as counted,
          null::bigint as id,
          null::timestamptz as captured_at
        from epochs e
        where e.epoch >= p.epoch
        union all
        select l.epoch, n.xid, l.counted + (c.id is not null)::int, c.id, c.captured_at
        from later l
        cross join lateral (
          select t.xid
          from audit_transactions t
          where t.epoch = l.epoch
            and t.xid > l.xid
          order by t.xid, t.id
          limit 1
        ) n
        left join lateral (
          select c.id, c.captured_at
          from audit_transactions t
          cross join lateral (
            select c.id, c.captured_at
            from audit_changes c
            where c.transaction_id = t.id
              and c.captured_at >= t.occurred_at - interval '1 day'
            order by c.transaction_id, c.id
            limit 1
          ) c
          where t.xid = n.xid
            and t.epoch = l.epoch
          order by c.id
          limit 1
        ) c on true
        where l.counted < 2 * (current_setting('max_connections')::int + current_setting('max_worker_processes')::int)
      )
      select f.id, f.captured_at
      from (
        select c.id, c.captured_at
        from pg_snapshot_xip(p.snapshot) x (xid)
        join audit_transactions t on t.xid = x.xid and t.epoch = p.epoch
        cross join lateral (
          select c.id, c.captured_at
          from audit_changes c
          where c.transaction_id = t.id
            and c.captured_at >= t.occurred_at - interval '1 day'
          order by c.transaction_id, c.id
          limit 1
        ) c
        union all
        select l.id, l.captured_at
        from later l
      ) f
      where f.id is not null
      order by f.id
      limit 1
    ) oldest on true;
end
$$;

comment on function feed_pending() is
  'The oldest change that each consumer of the feed may still need, and when it was captured; nulls where it has everything.';

-- The limit for retention: every committed change with a smaller id is delivered to every consumer. A change that is not
-- committed yet may have a smaller id. So ask in the statement that deletes, or after locking what is to be dropped.
create function feed_horizon() returns bigint
language sql stable
set search_path from current
as $$
  select min(change_id) from feed_pending()
$$;

comment on function feed_horizon() is
  'The smallest id of a change that a stored checkpoint may still need; null where none is held back.';

revoke all on function
  feed_claim(text, text, double precision), feed_renew(text, text, double precision),
  feed_store(text, text, text, text, int, pg_snapshot, bigint, timestamptz, double precision),
  feed_release(text, text), feed_forget(text), feed_pending(), feed_horizon()
from public;
`
  },
  {
    id: 13,
    name: "watch",
    checksum: "2988bb84aa13f79c8ceb1b6e4a2e6eb4013ea7fff64c36d89b48918befaa8081",
    sql: `-- The schema watch: what is done to the schema around captured tables, recorded when it happens. While the watch is off, this
-- file does nothing: event triggers call these functions, and only a superuser can make event triggers.

create table schema_events (
  id bigint generated always as identity primary key,
  occurred_at timestamptz not null default clock_timestamp(),
  xid xid8 not null default pg_current_xact_id(),
  -- The captured table, under the name that it has after the event. Null if it is not known.
  table_schema text collate "C",
  table_name text collate "C",
  command text collate "C" not null,
  object_type text collate "C" not null,
  object_identity text not null,
  old_name text,
  new_name text,
  -- How capture reacted.
  effect text collate "C" not null check (effect in (
    'none', 'partition attached', 'partition not attached', 'partition left', 'renamed', 'lapse', 'lapse begins', 'lapse ends',
    'applied', 'removed', 'failed'
  )),
  details jsonb,
  db_user text collate "C" not null default session_user,
  role_name text collate "C" not null,
  application_name text default nullif(current_setting('application_name'), ''),
  client_addr inet default inet_client_addr()
);

comment on table schema_events is
  'What was done to the schema around captured tables: by whom, when, and what capture did about it. No text of statements.';

create index schema_events_table_idx on schema_events (table_schema, table_name, id);
create index schema_events_failed_idx on schema_events (table_schema, table_name, occurred_at) where effect = 'failed';

-- Tables that Threadline itself is working on. Rows never outlive their transaction. Meanwhile, what is done to the triggers of
-- these tables is no event. Only the owner of the record can write here.
create table capture_work (
  xid xid8 not null,
  table_schema text collate "C" not null,
  table_name text collate "C" not null,
  primary key (xid, table_schema, table_name)
);

create function work_begins(table_schema text, table_name text) returns void
language sql
set search_path from current
begin atomic
  insert into capture_work values (pg_current_xact_id(), work_begins.table_schema, work_begins.table_name)
  on conflict do nothing;
end;

-- Ends all work of this transaction.
create function work_ends() returns void
language sql
set search_path from current
begin atomic
  delete from capture_work w where w.xid = pg_current_xact_id();
end;

-- The same for one table, and notes the result.
create function work_ends(table_schema text, table_name text, effect text) returns void
language sql
set search_path from current
set quote_all_identifiers = off
begin atomic
  select work_ends();
  insert into schema_events (table_schema, table_name, command, object_type, object_identity, effect, role_name)
  values (
    work_ends.table_schema, work_ends.table_name, 'capture', 'table',
    quote_ident(work_ends.table_schema) || '.' || quote_ident(work_ends.table_name), work_ends.effect,
    coalesce(nullif(nullif(current_setting('threadline.role', true), ''), 'none'), session_user)
  );
end;

create function is_working(table_schema text, table_name text) returns boolean
language sql stable
set search_path from current
begin atomic
  select exists (
    select
    from capture_work w
    where w.xid = pg_current_xact_id_if_assigned()
      and w.table_schema = is_working.table_schema
      and w.table_name = is_working.table_name
  );
end;

-- The role that runs the command. A function that runs with the rights of its caller has noted the role's name right before.
create function watched_role() returns text
language sql stable
set search_path from current
return coalesce(nullif(current_setting('threadline.watched_role', true), ''), session_user);

create function note_event(
  table_schema text, table_name text, command text, object_type text, object_identity text, role_name text,
  effect text, details jsonb default null, old_name text default null, new_name text default null,
  at timestamptz default clock_timestamp()
) returns void
language sql
set search_path from current
begin atomic
  insert into schema_events (
    occurred_at, table_schema, table_name, command, object_type, object_identity, role_name, effect, details, old_name, new_name
  ) values (
    at, note_event.table_schema, note_event.table_name, note_event.command, note_event.object_type, note_event.object_identity,
    note_event.role_name, note_event.effect, jsonb_strip_nulls(note_event.details), note_event.old_name, note_event.new_name
  );
end;

-- Whether this transaction has noted, after an instant, that a table's rows were written anew.
create function rewrite_noted(table_schema text, table_name text, after timestamptz) returns boolean
language sql stable
set search_path from current
return exists (
  select
  from schema_events e
  where e.table_schema = rewrite_noted.table_schema
    and e.table_name = rewrite_noted.table_name
    and e.xid = pg_current_xact_id_if_assigned()
    and e.occurred_at > rewrite_noted.after
    and e.details ? 'rewritten'
);

-- Triggers of a policy that a partition lacks, or that do not fire as they should.
create function partition_triggers_lacking(relation oid, partition_triggers jsonb) returns jsonb
language sql stable
set search_path from current
return (
  select coalesce(jsonb_agg(t.value), '[]')
  from pg_class c
  cross join lateral jsonb_array_elements(
    partition_triggers -> case c.relkind when 'p' then 'partitioned' when 'f' then 'foreign' else 'table' end) t
  where c.oid = relation
    -- Foreign tables have triggers for it since PostgreSQL 16.
    and not (c.relkind = 'f' and t.value ->> 'event' = 'truncate' and current_setting('server_version_num')::int < 160000)
    and not exists (
      select
      from pg_trigger g
      join pg_proc f on f.oid = g.tgfoid
      join pg_namespace n on n.oid = f.pronamespace
      where g.tgrelid = c.oid
        and g.tgname = t.value ->> 'name'
        and f.proname = t.value ->> 'calls'
        and n.nspname = current_schema()
        and (g.tgenabled = 'A' or (g.tgenabled = 'O' and not (t.value ->> 'always')::boolean))
    )
);

-- Partitions with triggers of their own that do not all fire. Only partitions that capture knew count.
create function broken_partitions(relation oid, partition_triggers jsonb, marks jsonb) returns text[]
language sql stable
set search_path from current
return (
  select coalesce(array_agg(m.key order by m.key), '{}')
  from jsonb_each_text(partition_marks(relation)) m
  where marks ? m.key
    and exists (
      select
      from jsonb_array_elements(partition_triggers_lacking(split_part(m.value, '/', 1)::oid, partition_triggers)) t
      -- Triggers that the owner of the record cannot enable for replication fire in all other sessions.
      where not (t.value ->> 'always')::boolean
    )
);

-- Makes a trigger from its description in a policy.
create function make_trigger(relation regclass, trigger jsonb) returns void
language plpgsql
set search_path from current
as $$
begin
  execute format(
    'create or replace trigger %I %s %s on %s %s for each %s %s execute function %I.%I()',
    trigger ->> 'name',
    trigger ->> 'timing',
    trigger ->> 'event',
    relation,
    case when (trigger ->> 'transition')::boolean then concat_ws(' ', 'referencing',
      case when trigger ->> 'event' <> 'insert' then 'old table as threadline_old' end,
      case when trigger ->> 'event' <> 'delete' then 'new table as threadline_new' end) end,
    trigger ->> 'level',
    'when (' || (trigger ->> 'condition') || ')',
    current_schema(),
    trigger ->> 'calls'
  );
end
$$;

-- Looks at one captured table after something was done to it or around it. It acts on that, and notes both. Takes no lock that
-- the command does not hold: if the policy is locked by another session, it fails, and that is noted.
create function watch_table(
  of_schema text, of_name text, command text, object_type text, object_identity text, column_number int, role_name text
) returns void
language plpgsql
set search_path from current
set quote_all_identifiers = off
as $$
declare
  policy capture_policies;
  here text := this_database();
  instant timestamptz := clock_timestamp();
  was_named text := quote_ident(of_schema) || '.' || quote_ident(of_name);
  named record;
  sane boolean;
  present jsonb := '{}';
  partition record;
  lacking jsonb;
  failure record;
  joined boolean;
  lapsed boolean := false;
  gone boolean;
  found_gap record;
  unfinished timestamptz;
  former text;
  noted boolean := false;
begin
  select * into policy
  from capture_policies p
  where p.table_schema = of_schema and p.table_name = of_name and p.removed_at is null
  for update skip locked;
  if not found then
    if exists (
      select from capture_policies p
      where p.table_schema = of_schema and p.table_name = of_name and p.removed_at is null
    ) then
      raise exception 'the policy of %.% is locked by another session', of_schema, of_name using errcode = 'lock_not_available';
    end if;
    return;
  end if;

  -- The table is found by its identity, or by its name after a restore.
  select c.oid, n.nspname, c.relname, c.relkind into named
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where case when policy.database = here then c.oid = policy.relation else n.nspname = of_schema and c.relname = of_name end;
  sane := policy.database is not distinct from here;

  -- The table was renamed.
  if named.oid is not null and (named.nspname <> of_schema or named.relname <> of_name) then
    if to_regprocedure('table_renamed(text, text, text, text, timestamptz)') is not null then
      execute 'select table_renamed($1, $2, $3, $4, $5)' using of_schema, of_name, named.nspname, named.relname, instant;
      of_schema := named.nspname;
      of_name := named.relname;
    end if;
    perform note_event(of_schema, of_name, command, object_type, object_identity, role_name,
      case when of_schema = named.nspname and of_name = named.relname then 'renamed' else 'none' end, null, was_named,
      quote_ident(named.nspname) || '.' || quote_ident(named.relname), instant);
    noted := true;
  end if;
  if named.oid is not null and column_number > 0 then
    select coalesce(
      (select e.new_name
       from schema_events e
       where e.table_schema = of_schema
         and e.table_name = of_name
         and e.object_type = 'table column'
         and e.details ->> 'column' = column_number::text
         and e.occurred_at > policy.applied_at
       order by e.id desc
       limit 1),
      (select c ->> 'name' from jsonb_array_elements(policy.columns) c where (c ->> 'attnum')::int = column_number))
    into former;
    select a.attname as name into partition from pg_attribute a where a.attrelid = named.oid and a.attnum = column_number;
    if former <> partition.name then
      if to_regprocedure('column_renamed(text, text, text, text, timestamptz)') is not null then
        execute 'select column_renamed($1, $2, $3, $4, $5)' using of_schema, of_name, former, partition.name, instant;
      end if;
      perform note_event(of_schema, of_name, command, object_type, object_identity, role_name, 'renamed',
        jsonb_build_object('column', column_number), former, partition.name, instant);
      noted := true;
    end if;
  end if;

  -- Partitions that exist now.
  if named.relkind = 'p' then
    present := partition_marks(named.oid);
  end if;
  for partition in
    select m.key as label, m.value as mark, split_part(m.value, '/', 1)::oid as oid, k.key as former
    from jsonb_each_text(present) m
    left join jsonb_each_text(policy.partition_marks) k
      on sane and split_part(k.value, ' ', 1) = split_part(m.value, ' ', 1) and k.key <> m.key
    where not sane
      or split_part(policy.partition_marks ->> m.key, ' ', 1) is distinct from split_part(m.value, ' ', 1)
    order by m.key
  loop
    if partition.former is not null then
      -- The same partition under another name.
      policy.partitions := array_replace(policy.partitions, partition.former, partition.label);
      policy.partition_marks :=
        policy.partition_marks - partition.former || jsonb_build_object(partition.label, partition.mark);
      perform note_event(of_schema, of_name, command, 'partition', partition.label, role_name, 'renamed', null,
        partition.former, partition.label, instant);
      noted := true;
      continue;
    end if;
    failure := null;
    lacking := partition_triggers_lacking(partition.oid, policy.partition_triggers);
    continue when not sane and lacking = '[]';
    begin
      perform make_trigger(partition.oid, t.value)
      from jsonb_array_elements(lacking) t;
    exception when others then
      select sqlstate as state, sqlerrm as message into failure;
    end;
    if failure is not null then
      -- As without the watch, apply attaches it.
      perform note_event(of_schema, of_name, command, 'partition', partition.label, role_name, 'partition not attached',
        jsonb_build_object('sqlState', failure.state, 'reason', failure.message), at => instant);
      noted := true;
      continue;
    end if;
    joined := sane
      and (select c.relkind <> 'p' from pg_class c where c.oid = partition.oid)
      and case when (select c.relkind = 'f' from pg_class c where c.oid = partition.oid) then true
        else pg_relation_size(partition.oid) > 0 end;
    if joined then
      joined := unexplained_rows(partition.oid, of_schema, of_name, 8388608) is not null;
    end if;
    lapsed := lapsed or joined;
    if partition.label <> all (policy.partitions) then
      policy.partitions := policy.partitions || partition.label;
    end if;
    if sane then
      policy.partition_marks := policy.partition_marks || jsonb_build_object(partition.label, partition.mark);
    end if;
    perform note_event(of_schema, of_name, command, 'partition', partition.label, role_name, 'partition attached',
      jsonb_build_object('lapse', joined, 'always', nullif(lacking @> '[{"always": true}]', false)), at => instant);
    noted := true;
  end loop;

  -- Partitions that left, with rows or empty. If they went with the table itself, the event is that of the table.
  if sane and named.oid is not null then
    for partition in
      select m.key as label, c.oid, c.relkind,
        c.oid is not null and c.relkind <> 'p' and c.relfilenode = split_part(m.value, ' ', 2)::oid
          and pg_relation_size(c.oid) = 0 as empty
      from jsonb_each_text(policy.partition_marks) m
      left join pg_class c on c.oid = split_part(m.value, '/', 1)::oid
      where not present ? m.key
        or split_part(present ->> m.key, '/', 1) is distinct from split_part(m.value, '/', 1)
      order by m.key
    loop
      gone := partition.oid is null;
      -- A detached partition keeps its triggers until apply removes them.
      if gone then
        policy.partitions := array_remove(policy.partitions, partition.label);
      end if;
      policy.partition_marks := policy.partition_marks - partition.label;
      -- If the partition is partitioned itself, its rows are in its partitions.
      joined := partition.relkind is distinct from 'p' and not coalesce(partition.empty, false);
      lapsed := lapsed or joined;
      perform note_event(of_schema, of_name, command, 'partition', partition.label, role_name, 'partition left',
        jsonb_build_object('gone', gone, 'lapse', joined), at => instant);
      noted := true;
    end loop;
  end if;

  -- A lapse that an earlier failure left open ends here. A moment in which rows came or went is a lapse of its own.
  unfinished := watch_failed_since(of_schema, of_name);
  -- So does what a write found altered that the watch did not see, or what the triggers tell of an earlier transaction.
  if policy.gap_since is null and (exists (
    select
    from capture_alterations a
    where a.relation = policy.relation
      and a.database is not distinct from policy.database
      and a.seen_at > greatest(policy.applied_at, policy.watched_at)
      and a.what not in ('unknown', 'joined')
  ) or sane and exists (
    select
    from triggers_touched(named.oid, policy.row_marks) t
    where t.by is not null and pg_xact_status(full_xid(t.by)) is distinct from 'in progress'
  )) then
    unfinished := least(unfinished, (select g.since from capture_gap(of_schema, of_name) g));
  end if;
  -- This command gave columns other values, and did not rewrite them for another type (watch_rewrite). If an earlier one may have too, the
  -- lapse lasts until apply.
  if policy.gap_since is null
    and sane
    and not rewrite_noted(of_schema, of_name, coalesce(policy.watched_at, '-infinity'))
    and (
      select bool_and(not w.unread and pg_xact_status(full_xid(w.by)) is not distinct from 'in progress')
      from columns_rewritten(named.oid, policy.row_marks, policy.key_columns) w
    )
  then
    lapsed := true;
    perform note_event(of_schema, of_name, command, 'table', quote_ident(of_schema) || '.' || quote_ident(of_name), role_name, 'lapse',
      '{"rewritten": true}', at => instant);
    noted := true;
  end if;
  update capture_policies p
  set partitions = policy.partitions,
    partition_marks = policy.partition_marks,
    row_marks = case
      when named.oid is null or not sane then p.row_marks
      -- The rewrite is noted. A later one is another rewrite.
      when rewrite_noted(of_schema, of_name, '-infinity') then row_marks(named.oid, p.excluded || p.masked)
        || jsonb_build_object('unlogged', p.row_marks -> 'unlogged' || (row_marks(named.oid, '{}') -> 'unlogged'))
      else p.row_marks || jsonb_build_object(
        'files', row_marks(named.oid, '{}') -> 'files' || coalesce(p.row_marks -> 'files', '{}'),
        -- With the values that were added.
        'columns', (
          select coalesce(jsonb_object_agg(c.key, case when (c.value ->> 'type')::oid < 16384 then c.value
            else c.value || jsonb_build_object('values', value_marks(named.oid, array[c.key::int2]) || (c.value -> 'values')) end), '{}')
          from jsonb_each(p.row_marks -> 'columns') c
        ),
        'computed', row_marks(named.oid, '{}') -> 'computed' || coalesce(p.row_marks -> 'computed', '{}'),
        'unlogged', p.row_marks -> 'unlogged' || (row_marks(named.oid, '{}') -> 'unlogged'),
        -- Values of an enum that have their names again: when they had not is a lapse of its own.
        'labels', case when key_changed(named.oid, p.key_columns, p.key_values) is not null then p.row_marks -> 'labels'
          else label_marks(named.oid) end,
        'triggers', trigger_marks(named.oid))
    end,
    watched_at = instant,
    lapses = p.lapses
      + case when lapsed then tstzmultirange(tstzrange(instant, instant + interval '1 microsecond')) else '{}' end
      + case when unfinished is null then '{}' else tstzmultirange(tstzrange(unfinished, instant)) end
  where p.table_schema = of_schema and p.table_name = of_name;
  if unfinished is not null then
    perform note_event(of_schema, of_name, command, object_type, object_identity, role_name, 'lapse ends',
      jsonb_build_object('since', unfinished), at => instant);
    noted := true;
  end if;

  -- Problems that go on.
  select g.* into found_gap from capture_gap(of_schema, of_name) g;
  if found_gap.gap is not distinct from 'unwatched' and named.oid is not null
    and broken_partitions(named.oid, policy.partition_triggers, policy.partition_marks) <> '{}'
    or found_gap.gap is null and named.oid is not null
    and broken_partitions(named.oid, policy.partition_triggers, policy.partition_marks) <> '{}'
  then
    found_gap.gap := 'triggers';
  end if;
  if found_gap.gap in ('gone', 'replaced', 'triggers', 'key', 'partitions') and policy.gap_since is null and not exists (
    select
    from capture_sightings s
    where s.table_schema = of_schema and s.table_name = of_name and s.seen_at > policy.applied_at
  ) then
    update capture_policies p
    set gap_since = instant
    where p.table_schema = of_schema and p.table_name = of_name;
    perform note_event(of_schema, of_name, command, object_type, object_identity, role_name, 'lapse begins',
      jsonb_build_object('gap', found_gap.gap), at => instant);
    noted := true;
  elsif policy.gap_since is not null and (found_gap.gap is null or found_gap.gap = 'unwatched') then
    update capture_policies p
    set gap_since = null,
      lapses = p.lapses + tstzmultirange(tstzrange(policy.gap_since, greatest(policy.gap_since, instant)))
    where p.table_schema = of_schema and p.table_name = of_name;
    perform note_event(of_schema, of_name, command, object_type, object_identity, role_name, 'lapse ends',
      jsonb_build_object('since', policy.gap_since), at => instant);
    noted := true;
  end if;
  if not noted then
    perform note_event(of_schema, of_name, command, object_type, object_identity, role_name, 'none', at => instant);
  end if;

  -- If a table took the name of one that is dropped now, it goes on with the history under that name.
  if sane and named.oid is null then
    perform names_released(of_schema, of_name);
  end if;

  if policy.drop_guard and found_gap.gap = 'triggers' and policy.gap_since is null then
    perform refuse_by_guard(of_schema, of_name, command);
  end if;
end
$$;

-- Refuses a command on a guarded table.
create function refuse_by_guard(of_schema text, of_name text, command text) returns void
language plpgsql
set search_path from current
set quote_all_identifiers = off
as $$
begin
  raise exception 'threadline: % is refused: %.% is captured, and its policy guards it',
    command, quote_ident(of_schema), quote_ident(of_name)
    using errcode = 'TL020',
      hint = format('To do it on purpose, run "threadline capture remove --table %s" first; what is recorded stays.',
        quote_literal(quote_ident(of_schema) || '.' || quote_ident(of_name)));
end
$$;

-- The work of "watch_table", but an error is noted instead of raised. Only a guard raises an error.
create function watch_safely(
  of_schema text, of_name text, command text, object_type text, object_identity text, column_number int, role_name text
) returns void
language plpgsql
set search_path from current
as $$
declare
  state text;
  message text;
begin
  if is_working(of_schema, of_name) then
    return;
  end if;
  -- Triggers that are made meanwhile are the work of Threadline itself.
  perform work_begins(of_schema, of_name);
  perform watch_table(of_schema, of_name, command, object_type, object_identity, column_number, role_name);
  delete from capture_work w
  where w.xid = pg_current_xact_id() and w.table_schema = of_schema and w.table_name = of_name;
exception
  when sqlstate 'TL020' then
    raise;
  when others then
    get stacked diagnostics state = returned_sqlstate, message = message_text;
    begin
      perform note_event(of_schema, of_name, command, object_type, object_identity, role_name, 'failed',
        jsonb_build_object('sqlState', state, 'reason', message));
    exception when others then
      raise warning 'threadline: the schema watch could not note what was done to %.%: %', of_schema, of_name, sqlerrm;
    end;
end
$$;

-- After a command: the captured tables that it concerns.
create function watch_command() returns event_trigger
language plpgsql security definer
set search_path from current
set quote_all_identifiers = off
set lock_timeout = '100ms'
as $$
declare
  role_name text := watched_role();
  concerned record;
begin
  for concerned in
    with commands as materialized (
      select c.classid, c.objid, c.objsubid, c.command_tag, c.object_type, c.object_identity
      from pg_event_trigger_ddl_commands() c
      where c.classid in ('pg_class'::regclass, 'pg_trigger'::regclass, 'pg_type'::regclass, 'pg_namespace'::regclass)
        and c.schema_name is distinct from 'pg_temp'
        and not (c.schema_name is not distinct from current_schema() and c.object_type <> 'trigger')
    ),
    relations as materialized (
      select c.*, coalesce(pg_partition_root(r.oid), r.oid) as root
      from commands c
      cross join lateral (
        select c.objid as oid where c.classid = 'pg_class'::regclass
        union all
        select t.tgrelid from pg_trigger t where c.classid = 'pg_trigger'::regclass and t.oid = c.objid
      ) r
    )
    select distinct on (p.table_schema, p.table_name)
      p.table_schema, p.table_name, x.command_tag, x.object_type, x.object_identity, x.objsubid
    from (
      select c.oid as relation, n.nspname, c.relname, r.command_tag, r.object_type, r.object_identity,
        case when r.objid = c.oid then r.objsubid else 0 end as objsubid
      from relations r
      join pg_class c on c.oid = r.root
      join pg_namespace n on n.oid = c.relnamespace
      where c.relkind in ('r', 'p', 'f', 'v', 'm')
      union all
      -- A captured table that became a partition.
      select k.relation, null, null, r.command_tag, r.object_type, r.object_identity, 0
      from relations r
      join capture_policies k on k.removed_at is null and pg_partition_root(k.relation) = r.root
      union all
      select a.attrelid, null, null, t.command_tag, t.object_type, t.object_identity, 0
      from commands t
      join capture_policies k on k.removed_at is null
      cross join lateral (
        select k.relation as attrelid
        where t.classid = 'pg_type'::regclass
          and t.objid in (select types_within(k.relation, array(
            select (e ->> 'attnum')::int2 from jsonb_array_elements(k.key_columns) e
            union
            select e.key::int2 from jsonb_each(k.row_marks -> 'columns') e where (e.value ->> 'type')::oid >= 16384)))
        union all
        -- The attributes of a composite are those of its relation.
        select k.relation
        from pg_class c
        where t.classid = 'pg_class'::regclass
          and c.oid = t.objid
          and (k.key_values ? format_type(c.reltype, null)
            or (c.relkind = 'c' and exists (
              select from jsonb_each(k.row_marks -> 'columns') e where e.value -> 'values' ? c.reltype::text)))
      ) a
      union all
      select c.oid, n.nspname, c.relname, s.command_tag, s.object_type, s.object_identity, 0
      from commands s
      join pg_namespace n on n.oid = s.objid
      join pg_class c on c.relnamespace = n.oid
      where s.classid = 'pg_namespace'::regclass
        and s.command_tag = 'ALTER SCHEMA'
        and c.relkind in ('r', 'p', 'f')
    ) x
    join capture_policies p
      on p.removed_at is null
      and (
        (p.table_schema = x.nspname and p.table_name = x.relname)
        or (p.relation = x.relation and p.database is not distinct from this_database())
      )
    order by p.table_schema, p.table_name, x.objsubid desc
  loop
    perform watch_safely(concerned.table_schema, concerned.table_name, concerned.command_tag, concerned.object_type,
      concerned.object_identity, concerned.objsubid, role_name);
  end loop;
exception
  when sqlstate 'TL020' then
    raise;
  when others then
    perform watch_failed(tg_event, role_name, tg_tag, sqlstate, sqlerrm);
end
$$;

-- The watch cannot tell which tables a command concerns. Those that the catalog alone shows to be captured count, or those that
-- lost our triggers.
create function watch_failed(event text, role_name text, command text, state text, message text) returns void
language plpgsql
set search_path from current
set quote_all_identifiers = off
as $$
declare
  concerned jsonb;
begin
  if event = 'sql_drop' then
    select jsonb_agg(distinct jsonb_build_object('schema', d.address_names[1], 'name', d.address_names[2])) into concerned
    from pg_event_trigger_dropped_objects() d
    where d.object_type = 'trigger' and starts_with(d.address_names[3], '0_threadline_');
  else
    select jsonb_agg(distinct jsonb_build_object('schema', n.nspname, 'name', c.relname)) into concerned
    from pg_event_trigger_ddl_commands() d
    join pg_class c on c.oid = coalesce(pg_partition_root(d.objid), d.objid)
    join pg_namespace n on n.oid = c.relnamespace
    where d.classid = 'pg_class'::regclass
      and exists (
        select
        from pg_trigger t
        join pg_proc f on f.oid = t.tgfoid
        where t.tgrelid = c.oid
          and f.pronamespace = (select s.oid from pg_namespace s where s.nspname = current_schema())
      );
  end if;
  perform note_event(f.schema, f.name, command, 'table', coalesce(quote_ident(f.schema) || '.' || quote_ident(f.name), 'unknown'),
    role_name, 'failed', jsonb_build_object('sqlState', state, 'reason', message))
  from (select) one
  left join jsonb_to_recordset(concerned) f (schema text, name text) on true;
exception when others then
  raise warning 'threadline: the schema watch failed: %', message;
end
$$;

-- After objects were dropped, in the same command.
create function watch_drop() returns event_trigger
language plpgsql security definer
set search_path from current
set quote_all_identifiers = off
set lock_timeout = '100ms'
as $$
declare
  role_name text := watched_role();
  concerned record;
begin
  for concerned in
    with objects as materialized (
      select d.objid, d.object_type, d.schema_name, d.object_name, d.address_names
      from pg_event_trigger_dropped_objects() d
      where not d.is_temporary
        and d.object_type in ('table', 'foreign table', 'table column', 'table constraint', 'trigger')
        -- For these, the command itself is noted.
        and not (d.object_type = 'table constraint' and tg_tag in ('ALTER TABLE', 'ALTER FOREIGN TABLE'))
    ),
    -- If an object goes with its table, only the table is noted.
    alone as (
      select o.*
      from objects o
      where o.object_type in ('table', 'foreign table')
        or not exists (
          select
          from objects t
          where t.object_type in ('table', 'foreign table')
            and t.schema_name = o.address_names[1]
            and t.object_name = o.address_names[2]
        )
    ),
    labelled as (
      select a.*, a.object_type in ('table', 'foreign table') as of_table,
        quote_ident(coalesce(a.schema_name, a.address_names[1])) || '.' || quote_ident(
          case when a.object_type in ('table', 'foreign table') then a.object_name else a.address_names[2] end) as label,
        case when a.object_type in ('table', 'foreign table') then a.schema_name else a.address_names[1] end as of_schema,
        case when a.object_type in ('table', 'foreign table') then a.object_name else a.address_names[2] end as of_name
      from alone a
    ),
    named as (
      -- The identities that PostgreSQL gives were written under the settings of the session that drops.
      select l.*, case
          when l.of_table then l.label
          when l.object_type = 'table column' then l.label || '.' || quote_ident(l.address_names[3])
          else quote_ident(l.address_names[3]) || ' on ' || l.label
        end as object_identity
      from labelled l
    )
    select x.*
    from (
      select distinct on (p.table_schema, p.table_name, m.as_partition, m.said)
        p.table_schema, p.table_name, o.object_type, o.object_identity,
        p.drop_guard and ((o.of_table and not m.as_partition)
          or (o.object_type = 'trigger' and starts_with(o.address_names[3], '0_threadline_'))) as guarded
      from named o
      join capture_policies p on p.removed_at is null
      cross join lateral (
        select not (p.table_schema = o.of_schema and p.table_name = o.of_name)
          and not (o.of_table and p.relation = o.objid) as as_partition
      ) w
      -- One call finds all partitions that go.
      cross join lateral (
        select w.as_partition, case when w.as_partition and o.of_table then '' else o.object_identity end as said
      ) m
      where not w.as_partition
        or o.label = any (p.partitions) and o.object_type in ('table', 'foreign table', 'trigger') and not exists (
          select from named t where t.of_table and t.of_schema = p.table_schema and t.of_name = p.table_name
        )
      order by p.table_schema, p.table_name, m.as_partition, m.said, o.object_identity
    ) x
    order by x.table_schema, x.table_name,
      array_position(array['table', 'foreign table', 'table column', 'table constraint', 'trigger'], x.object_type), x.object_identity
  loop
    if concerned.guarded and not is_working(concerned.table_schema, concerned.table_name) then
      perform refuse_by_guard(concerned.table_schema, concerned.table_name, tg_tag);
    end if;
    perform watch_safely(concerned.table_schema, concerned.table_name, tg_tag, concerned.object_type,
      concerned.object_identity, 0, role_name);
  end loop;
exception
  when sqlstate 'TL020' then
    raise;
  when others then
    perform watch_failed(tg_event, role_name, tg_tag, sqlstate, sqlerrm);
end
$$;

-- Before a table is written anew because a column gets another type. Its rows then have other values, and no change records them.
create function watch_rewrite() returns event_trigger
language plpgsql security definer
set search_path from current
set quote_all_identifiers = off
set lock_timeout = '100ms'
as $$
declare
  role_name text := watched_role();
  instant timestamptz := clock_timestamp();
  root oid := coalesce(pg_partition_root(pg_event_trigger_table_rewrite_oid()), pg_event_trigger_table_rewrite_oid());
  concerned record;
  label text;
begin
  -- Only this bit means another type. The others change no value.
  if pg_event_trigger_table_rewrite_reason() & 4 = 0 then
    return;
  end if;
  for concerned in
    select p.table_schema, p.table_name
    from capture_policies p
    where p.removed_at is null and p.relation = root and p.database is not distinct from this_database()
  loop
    continue when is_working(concerned.table_schema, concerned.table_name);
    label := quote_ident(concerned.table_schema) || '.' || quote_ident(concerned.table_name);
    begin
      perform from capture_policies p
      where p.table_schema = concerned.table_schema and p.table_name = concerned.table_name
      for update nowait;
      update capture_policies p
      set lapses = p.lapses + tstzmultirange(tstzrange(instant, instant + interval '1 microsecond'))
      where p.table_schema = concerned.table_schema and p.table_name = concerned.table_name;
      -- Each partition is rewritten.
      if not rewrite_noted(concerned.table_schema, concerned.table_name, statement_timestamp()) then
        perform note_event(concerned.table_schema, concerned.table_name, tg_tag, 'table', label, role_name, 'lapse',
          '{"rewritten": true}', at => instant);
      end if;
    exception when others then
      perform note_event(concerned.table_schema, concerned.table_name, tg_tag, 'table', label, role_name, 'failed',
        jsonb_build_object('sqlState', sqlstate, 'reason', sqlerrm), at => instant);
    end;
  end loop;
exception when others then
  raise warning 'threadline: the schema watch failed: %', sqlerrm;
end
$$;

-- Called when the watch is turned on. Lapses that were not seen until now begin when they are known to have begun.
create function watch_begins() returns void
language sql
set search_path from current
set quote_all_identifiers = off
begin atomic
  update capture_policies p
  set gap_since = (select g.since from capture_gap(p.table_schema, p.table_name) g), watched_at = clock_timestamp()
  where p.removed_at is null;
  select note_event(null, null, 'watch', 'schema watch', quote_ident(current_schema()), session_user, 'applied');
end;

create function watch_ends() returns void
language sql
set search_path from current
set quote_all_identifiers = off
begin atomic
  select note_event(null, null, 'watch', 'schema watch', quote_ident(current_schema()), session_user, 'removed');
end;

revoke all on function
  work_begins(text, text), work_ends(), work_ends(text, text, text), is_working(text, text), watched_role(),
  note_event(text, text, text, text, text, text, text, jsonb, text, text, timestamptz), rewrite_noted(text, text, timestamptz),
  partition_triggers_lacking(oid, jsonb), broken_partitions(oid, jsonb, jsonb), make_trigger(regclass, jsonb),
  watch_table(text, text, text, text, text, int, text), refuse_by_guard(text, text, text),
  watch_safely(text, text, text, text, text, int, text), watch_command(), watch_failed(text, text, text, text, text), watch_drop(),
  watch_rewrite(), watch_begins(), watch_ends()
from public;

select guard_record();
`
  },
  {
    id: 14,
    name: "exports",
    checksum: "de2f9f73b49e90ad1ac301d3179238378d4ee4e539bb73a0ea1645eda1779c13",
    sql: `-- Jobs of exports: what is exported, who asked for it, how far the job is, and where its file is. And schedules, which make jobs.

create table export_schedules (
  name text collate "C" primary key check (name ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$'),
  cron text not null,
  time_zone text not null,
  time_window text not null check (time_window in ('previous-day', 'previous-week', 'previous-month', 'since-last')),
  -- What happens with ticks that passed while no worker ran.
  missed text not null check (missed in ('once', 'each', 'skip')),
  -- As for a job.
  request jsonb not null,
  scope jsonb,
  requested_by jsonb,
  context jsonb not null default '{}',
  next_tick timestamptz not null,
  last_tick timestamptz,
  created_at timestamptz not null default clock_timestamp()
);

comment on table export_schedules is
  'When exports are made, and of which window. Changed by the export functions only.';

create table export_jobs (
  id bigint generated always as identity primary key,
  state text not null default 'queued'
    check (state in ('queued', 'running', 'completed', 'failed', 'cancelled', 'expired')),
  -- What is exported: the options of an export, with the filter as its canonical document.
  request jsonb not null,
  -- The scope by name and parameters. The worker asks the host for its condition again.
  scope jsonb,
  requested_by jsonb,
  -- The context of the request, for the actions of the job.
  context jsonb not null default '{}',
  schedule text collate "C",
  tick timestamptz,
  -- Whether it begins where the last job of its schedule ended.
  since_last boolean not null default false,
  -- Whether that schedule was removed. Another one may have its name since, and a consumer of that name.
  unscheduled boolean not null default false,
  requested_at timestamptz not null default clock_timestamp(),
  available_at timestamptz not null default clock_timestamp(),
  attempt int not null default 0,
  attempts int not null check (attempts between 1 and 100),
  -- A lease is a token and a time. Unlike a lock it outlives transactions and needs no session.
  lease_token text collate "C",
  lease_until timestamptz,
  started_at timestamptz,
  progress_at timestamptz,
  finished_at timestamptz,
  records bigint not null default 0,
  bytes bigint not null default 0,
  estimate bigint,
  -- Why the last attempt failed: a reason and a sentence, without captured values.
  error jsonb,
  -- The name of the file in the store. It stays until the store has removed the file.
  location text,
  manifest jsonb,
  expires_at timestamptz
);

create index export_jobs_waiting_idx on export_jobs (available_at, id) where state in ('queued', 'running');
create index export_jobs_stored_idx on export_jobs (id) where location is not null and state <> 'running';
-- Several workers make one job for a tick.
create unique index export_jobs_tick_idx on export_jobs (schedule, tick);

comment on table export_jobs is
  'Exports that a worker makes, and what became of them. Changed by the export functions only.';

create function export_insert(
  request jsonb,
  scope jsonb,
  requested_by jsonb,
  context jsonb,
  attempts int
) returns bigint
language sql
set search_path from current
as $$
  insert into export_jobs (request, scope, requested_by, context, attempts)
  values (request, scope, requested_by, coalesce(context, '{}'), attempts)
  returning id
$$;

-- Queues a job and records the action. Returns null if the actor already has as many waiting jobs as the host allows.
create function export_queue(
  request jsonb,
  scope jsonb,
  requested_by jsonb,
  context jsonb,
  attempts int,
  most_waiting int,
  action jsonb
) returns bigint
language plpgsql security definer
set search_path from current
as $$
declare
  asker text := concat(requested_by ->> 'type', ':', requested_by ->> 'id');
  job bigint;
begin
  if jsonb_typeof(request) is distinct from 'object' or pg_column_size(request) > 100000 then
    raise exception 'threadline: the request of an export is an object of at most 100 kB'
      using errcode = 'invalid_parameter_value';
  end if;
  if most_waiting is not null then
    -- Requests for the same actor at the same time are counted one after the other.
    perform pg_advisory_xact_lock(hashtextextended('threadline export ' || asker, 0));
    if most_waiting <= (
      select count(*)
      from export_jobs j
      where j.state in ('queued', 'running')
        and concat(j.requested_by ->> 'type', ':', j.requested_by ->> 'id') = asker
    ) then
      return null;
    end if;
  end if;
  job := export_insert(request, scope, requested_by, context, attempts);
  if action is not null then
    perform record_export(action || jsonb_build_object('subject', export_subject(job)), context);
  end if;
  return job;
end
$$;

create function export_subject(job bigint) returns jsonb
language sql immutable
set search_path from current
as $$
  select jsonb_build_object('type', 'export', 'id', job::text)
$$;

-- Cancels a job that waits or runs. Its worker notices when it next renews its lease. Returns the state before, null if there is no such
-- job.
create function export_cancel(job bigint, action jsonb, asking jsonb) returns text
language plpgsql security definer
set search_path from current
as $$
declare
  standing text;
begin
  select j.state into standing from export_jobs j where j.id = job for update;
  if standing in ('queued', 'running') then
    update export_jobs j
    set state = 'cancelled',
      finished_at = clock_timestamp(),
      lease_token = null,
      lease_until = null
    where j.id = job;
    if action is not null then
      perform record_export(action || jsonb_build_object('subject', export_subject(job)), asking);
    end if;
  end if;
  return standing;
end
$$;

-- Queues a failed or cancelled job again. Returns the state before, null if there is no such job. Returns unscheduled, and changes nothing, if
-- the job began where the last one of its schedule ended, and the schedule was removed: it would move the checkpoint of another one.
create function export_retry(job bigint, action jsonb, asking jsonb) returns text
language plpgsql security definer
set search_path from current
as $$
declare
  standing text;
  orphaned boolean;
begin
  select j.state, j.unscheduled into standing, orphaned from export_jobs j where j.id = job for update;
  if standing in ('failed', 'cancelled') and orphaned then
    return 'unscheduled';
  end if;
  if standing in ('failed', 'cancelled') then
    update export_jobs j
    set state = 'queued',
      attempt = 0,
      available_at = clock_timestamp(),
      started_at = null,
      progress_at = null,
      finished_at = null,
      records = 0,
      bytes = 0,
      estimate = null,
      error = null
    where j.id = job;
    if action is not null then
      perform record_export(action || jsonb_build_object('subject', export_subject(job)), asking);
    end if;
  end if;
  return standing;
end
$$;

-- What the store is to call the file of an attempt.
create function export_location(job bigint, request jsonb, token text) returns text
language sql immutable
set search_path from current
as $$
  select concat(
    job, '-', left(md5(token), 16), '.', request ->> 'format',
    -- Parquet is compressed within.
    case when request ->> 'format' <> 'parquet' then
      case request ->> 'compression' when 'gzip' then '.gz' when 'zstd' then '.zst' end
    end
  )
$$;

-- Takes the next job: one that waits, or one whose lease has expired. Jobs that begin where the last one of their schedule ended run one
-- after the other. If no attempt is left, the worker only stores that the job failed.
-- \`wanted\` takes that job alone, if it can be taken.
-- If an attempt before this one has named a file, that name stays until the worker has removed the file (\`export_place\`), so that a worker
-- that dies leaves no file behind.
create function export_claim(token text, seconds double precision, wanted bigint default null)
returns table (job bigint, former_location text, goes_on boolean, checkpoint text)
language plpgsql security definer
set search_path from current
as $$
begin
  if octet_length(token) not between 16 and 256 or seconds not between 0 and 86400 then
    raise exception 'threadline: a lease has a token of 16 to 256 bytes, and lasts at most a day'
      using errcode = 'invalid_parameter_value';
  end if;
  return query
    with taken as materialized (
      select j.id, j.location
      from export_jobs j
      where (
          (j.state = 'queued' and j.available_at <= clock_timestamp())
          or (j.state = 'running' and j.lease_until < clock_timestamp())
        )
        and (wanted is null or j.id = wanted)
        and not (
          j.since_last
          and exists (
            select
            from export_jobs o
            where o.schedule = j.schedule
              and o.since_last
              and o.id <> j.id
              and (o.state = 'running' or (o.state = 'queued' and o.id < j.id))
          )
        )
      order by j.available_at, j.id
      limit 1
      for update skip locked
    ),
    claimed as (
      update export_jobs j
      set state = 'running',
        attempt = j.attempt + 1,
        lease_token = token,
        lease_until = clock_timestamp() + make_interval(secs => seconds),
        started_at = clock_timestamp(),
        progress_at = clock_timestamp(),
        records = 0,
        bytes = 0,
        estimate = null,
        location = coalesce(j.location, export_location(j.id, j.request, token))
      from taken
      where j.id = taken.id
      returning j.id, taken.location, j.schedule, j.since_last
    )
    select c.id, c.location, c.since_last, case when c.since_last then p.checkpoint end
    from claimed c
    left join feed_checkpoints p on p.name = 'export:' || c.schedule;
end
$$;

-- Names the file of this attempt, after that of the one before was removed. Null if the lease is lost.
create function export_place(job bigint, token text) returns text
language plpgsql security definer
set search_path from current
as $$
declare
  place text;
begin
  update export_jobs j
  set location = export_location(j.id, j.request, token)
  where j.id = job
    and j.state = 'running'
    and j.lease_token = token
  returning j.location into place;
  return place;
end
$$;

-- Renews a lease and stores the progress of the job. Returns false if the job was cancelled, or if another worker has it.
create function export_renew(
  job bigint,
  token text,
  seconds double precision,
  so_far bigint,
  bytes_so_far bigint,
  expected bigint
) returns boolean
language plpgsql security definer
set search_path from current
as $$
begin
  update export_jobs j
  set lease_until = clock_timestamp() + make_interval(secs => least(greatest(seconds, 0), 86400)),
    progress_at = clock_timestamp(),
    records = so_far,
    bytes = bytes_so_far,
    estimate = expected
  where j.id = job
    and j.state = 'running'
    and j.lease_token = token;
  return found;
end
$$;

-- Ends a job whose file is complete and records the action. The checkpoint of its schedule moves in the same transaction, so nothing is
-- exported twice. Returns completed, or lost if the lease is lost, or moved if another job has moved the checkpoint.
create function export_complete(
  job bigint,
  token text,
  described jsonb,
  keep_seconds double precision,
  expected text,
  reached text,
  reached_epoch int,
  reached_snapshot pg_snapshot,
  action jsonb
) returns text
language plpgsql security definer
set search_path from current
as $$
declare
  this record;
begin
  select j.schedule, j.since_last, j.context into this
  from export_jobs j
  where j.id = job and j.state = 'running' and j.lease_token = token
  for update;
  if not found then
    return 'lost';
  end if;
  if this.since_last then
    perform current_epoch();
    insert into feed_checkpoints (name) values ('export:' || this.schedule) on conflict do nothing;
    update feed_checkpoints p
    set checkpoint = reached,
      epoch = reached_epoch,
      snapshot = reached_snapshot,
      last_id = null,
      last_captured_at = null,
      updated_at = clock_timestamp()
    where p.name = 'export:' || this.schedule
      and p.checkpoint is not distinct from expected;
    if not found then
      return 'moved';
    end if;
  end if;
  update export_jobs j
  set state = 'completed',
    finished_at = clock_timestamp(),
    progress_at = clock_timestamp(),
    lease_token = null,
    lease_until = null,
    records = (described ->> 'count')::bigint,
    bytes = (described ->> 'bytes')::bigint,
    error = null,
    manifest = described,
    expires_at = clock_timestamp() + make_interval(secs => keep_seconds)
  where j.id = job;
  if action is not null then
    perform record_export(action || jsonb_build_object('subject', export_subject(job)), this.context);
  end if;
  return 'completed';
end
$$;

-- Ends a failed attempt. If \`delay_seconds\` is given and an attempt is left, the job waits for that long and is tried again. Otherwise the
-- job has failed, and that is recorded. Returns the state of the job, null if the lease is lost.
create function export_fail(
  job bigint,
  token text,
  why jsonb,
  delay_seconds double precision,
  action jsonb
) returns text
language plpgsql security definer
set search_path from current
as $$
declare
  this record;
  again boolean;
begin
  select j.attempt, j.attempts, j.context into this
  from export_jobs j
  where j.id = job and j.state = 'running' and j.lease_token = token
  for update;
  if not found then
    return null;
  end if;
  again := delay_seconds is not null and this.attempt < this.attempts;
  update export_jobs j
  set state = case when again then 'queued' else 'failed' end,
    available_at = case when again then clock_timestamp() + make_interval(secs => delay_seconds) else j.available_at end,
    finished_at = case when not again then clock_timestamp() end,
    lease_token = null,
    lease_until = null,
    error = why
  where j.id = job;
  if again then
    return 'queued';
  end if;
  if action is not null then
    perform record_export(action || jsonb_build_object('subject', export_subject(job)), this.context);
  end if;
  return 'failed';
end
$$;

-- Gives a job back because its worker stops. The job waits again. The attempt does not count.
create function export_release(job bigint, token text) returns boolean
language plpgsql security definer
set search_path from current
as $$
begin
  update export_jobs j
  set state = 'queued',
    attempt = j.attempt - 1,
    available_at = clock_timestamp(),
    lease_token = null,
    lease_until = null
  where j.id = job
    and j.state = 'running'
    and j.lease_token = token;
  return found;
end
$$;

-- Stores that the store has removed a file. A completed job is expired from then on.
create function export_removed(job bigint, removed text, action jsonb, asking jsonb) returns boolean
language plpgsql security definer
set search_path from current
as $$
declare
  this record;
begin
  select j.state into this
  from export_jobs j
  where j.id = job and j.location = removed and j.state <> 'running'
  for update;
  if not found then
    return false;
  end if;
  update export_jobs j
  set location = null,
    state = case j.state when 'completed' then 'expired' else j.state end
  where j.id = job;
  if this.state = 'completed' and action is not null then
    perform record_export(action || jsonb_build_object('subject', export_subject(job)), asking);
  end if;
  return this.state = 'completed';
end
$$;

-- Removes the rows of jobs that ended so long ago, and that have no file any more. The record keeps what became of them.
create function export_forget(seconds double precision) returns bigint
language plpgsql security definer
set search_path from current
as $$
declare
  forgotten bigint;
begin
  delete from export_jobs j
  where j.id in (
    select o.id
    from export_jobs o
    where o.state in ('failed', 'cancelled', 'expired')
      and o.location is null
      and o.finished_at < clock_timestamp() - make_interval(secs => seconds)
    order by o.id
    limit 1000
    for update skip locked
  );
  get diagnostics forgotten = row_count;
  return forgotten;
end
$$;

-- Adds a schedule. Returns false if the name is taken. A schedule with the window since-last has a consumer of the feed, so that retention
-- waits for it.
create function export_schedule_add(
  schedule text,
  cron_text text,
  zone text,
  window_kind text,
  on_missed text,
  asked jsonb,
  under jsonb,
  asked_by jsonb,
  asked_context jsonb,
  first_tick timestamptz
) returns boolean
language plpgsql security definer
set search_path from current
as $$
begin
  insert into export_schedules (
    name, cron, time_zone, time_window, missed, request, scope, requested_by, context, next_tick
  )
  values (
    schedule, cron_text, zone, window_kind, on_missed, asked, under, asked_by, coalesce(asked_context, '{}'), first_tick
  )
  on conflict do nothing;
  if not found then
    return false;
  end if;
  if window_kind = 'since-last' then
    insert into feed_checkpoints (name) values ('export:' || schedule) on conflict do nothing;
  end if;
  return true;
end
$$;

-- Removes a schedule and its consumer of the feed. Its jobs stay. With a scope, it must be of that scope. Returns false if there is none.
create function export_schedule_remove(schedule text, under jsonb default null) returns boolean
language plpgsql security definer
set search_path from current
as $$
begin
  delete from export_schedules s
  where s.name = schedule
    and (under is null or s.scope = under);
  if not found then
    return false;
  end if;
  delete from feed_checkpoints p where p.name = 'export:' || schedule;
  -- Without the checkpoint such a job would export everything again.
  update export_jobs j
  set state = 'cancelled',
    finished_at = clock_timestamp(),
    lease_token = null,
    lease_until = null
  where j.schedule = export_schedule_remove.schedule
    and j.since_last
    and j.state in ('queued', 'running');
  update export_jobs j
  set unscheduled = true
  where j.schedule = export_schedule_remove.schedule
    and j.since_last;
  return true;
end
$$;

-- Makes the job of a tick and moves the schedule to its next tick. Of several workers one succeeds. The others get null. Without a request
-- no job is made for the tick.
create function export_tick(
  schedule text,
  due timestamptz,
  following timestamptz,
  asked jsonb,
  attempts int,
  action jsonb
) returns bigint
language plpgsql security definer
set search_path from current
as $$
declare
  this record;
  job bigint;
begin
  update export_schedules s
  set next_tick = following,
    last_tick = case when asked is null then s.last_tick else due end
  where s.name = schedule
    and s.next_tick = due
    and following > due
  returning s.name, s.time_window, s.scope, s.requested_by, s.context into this;
  if not found or asked is null or exists (
    select from export_jobs j where j.schedule = this.name and j.tick = due
  ) then
    return null;
  end if;
  job := export_insert(asked, this.scope, this.requested_by, this.context, attempts);
  update export_jobs j
  set schedule = this.name,
    tick = due,
    since_last = this.time_window = 'since-last'
  where j.id = job;
  if action is not null then
    perform record_export(action || jsonb_build_object('subject', export_subject(job)), this.context);
  end if;
  return job;
end
$$;

revoke all on function
  export_insert(jsonb, jsonb, jsonb, jsonb, int), export_subject(bigint),
  export_queue(jsonb, jsonb, jsonb, jsonb, int, int, jsonb), export_cancel(bigint, jsonb, jsonb),
  export_retry(bigint, jsonb, jsonb), export_claim(text, double precision, bigint),
  export_renew(bigint, text, double precision, bigint, bigint, bigint),
  export_complete(bigint, text, jsonb, double precision, text, text, int, pg_snapshot, jsonb),
  export_fail(bigint, text, jsonb, double precision, jsonb), export_release(bigint, text),
  export_removed(bigint, text, jsonb, jsonb), export_forget(double precision), export_place(bigint, text),
  export_location(bigint, jsonb, text),
  export_schedule_add(text, text, text, text, text, jsonb, jsonb, jsonb, jsonb, timestamptz),
  export_schedule_remove(text, jsonb), export_tick(text, timestamptz, timestamptz, jsonb, int, jsonb)
from public;
`
  },
  {
    id: 15,
    name: "retention",
    checksum: "706eba400a984308bc0f2b871ad38a603891b0f38c587bc9bcc3a1c925c2b07b",
    sql: `-- What retention did: one row for each run. The lease keeps two runners from the same work.

create table retention_runs (
  id bigint generated always as identity primary key,
  kind text collate "C" not null check (kind in ('purge', 'maintain')),
  state text collate "C" not null default 'running'
    check (state in ('running', 'completed', 'stopped', 'cancelled', 'failed')),
  started_at timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  -- The policy as it was configured, and the plan: what was to be removed. Null for maintenance.
  policy jsonb,
  plan jsonb,
  -- Nothing at or after this instant may be removed.
  cutoff timestamptz,
  -- What has been removed so far. Each batch adds to it in its own transaction, so it is exact even if the run dies.
  changes bigint not null default 0,
  transactions bigint not null default 0,
  actions bigint not null default 0,
  batches bigint not null default 0,
  -- Partitions that a purge emptied or dropped, or that maintenance made.
  partitions text[] not null default '{}',
  -- Other results: the files of an archive, the indexes that were rebuilt.
  details jsonb not null default '{}',
  -- Why it failed or stopped.
  problem text,
  -- Ids, in whole blocks: of the transactions of which it removed changes, and of the transactions that it removed.
  touched int8multirange not null default '{}',
  -- Only of a completed purge: the cutoffs up to which it looked at everything, and the snapshot that it looked with. A later purge under
  -- the same policy looks only at what is newer, and at what was touched since.
  settled jsonb,
  actor jsonb,
  db_user text collate "C" not null default session_user,
  application_name text default nullif(current_setting('application_name'), ''),
  client_addr inet default inet_client_addr(),
  lease_token text collate "C" not null,
  lease_until timestamptz not null
);

comment on table retention_runs is
  'Runs of retention: by whom, with which policy, what went. A run that is "running" holds a lease; the next one finishes it as failed after that.';

-- One runner of a kind at a time.
create unique index retention_runs_running_idx on retention_runs (kind) where state = 'running';
`
  },
  {
    id: 16,
    name: "evidence",
    checksum: "cb06b0db2bd6fed71061718c8dcf16d82646f681f8c25177594a28bcc4b736a5",
    sql: `-- Evidence: what a host or Threadline wrote down about how the record is governed. Rows are only added.

create table evidence_records (
  id bigint generated always as identity primary key,
  subject text collate "C" not null check (subject in (
    'redaction_policy', 'trigger_coverage', 'retention_run', 'retention_policy', 'export_delivery', 'support_scope_posture'
  )),
  -- What it is about: the id of a run, the name of an export, an environment.
  reference text collate "C" not null check (octet_length(reference) between 1 and 256),
  status text collate "C" not null check (status in ('ok', 'attention', 'failed')),
  detail jsonb not null check (jsonb_typeof(detail) = 'object'),
  detail_version int not null check (detail_version > 0),
  -- "derived" from the services of Threadline, or as the "host" said.
  origin text collate "C" not null check (origin in ('derived', 'host')),
  actor_type text collate "C",
  actor_id text collate "C",
  actor jsonb,
  recorded_at timestamptz not null,
  db_user text collate "C" not null,
  role_name text collate "C" not null,
  application_name text,
  client_addr inet
);

comment on table evidence_records is
  'Evidence of how the record is governed. Rows are only added, by record_evidence; who recorded them and when is what the server saw.';

create index evidence_records_reference_idx on evidence_records (subject, reference, id);
create index evidence_records_time_idx on evidence_records (recorded_at, id);

-- The first field of a detail that is missing or of another type than in version 1 of the schema of its subject; null if there is none. The
-- library checks the values as well.
create function wrong_evidence_field(subject text, detail jsonb) returns text
language sql immutable
set search_path from current
return (
  select r.field
  from (
    values
      ('redaction_policy', 'tables', '{array}'::text[]),
      ('trigger_coverage', 'tables', '{array}'),
      ('retention_run', 'run', '{string}'),
      ('retention_run', 'kind', '{string}'),
      ('retention_run', 'state', '{string}'),
      ('retention_run', 'startedAt', '{string}'),
      ('retention_run', 'finishedAt', '{string,"null"}'),
      ('retention_run', 'cutoff', '{string,"null"}'),
      ('retention_run', 'changes', '{number}'),
      ('retention_run', 'transactions', '{number}'),
      ('retention_run', 'actions', '{number}'),
      ('retention_policy', 'configured', '{boolean}'),
      ('retention_policy', 'policy', '{object,"null"}'),
      ('export_delivery', 'format', '{string}'),
      ('export_delivery', 'count', '{number}'),
      ('export_delivery', 'bytes', '{number}'),
      ('export_delivery', 'sha256', '{string}'),
      ('support_scope_posture', 'readers', '{array}'),
      ('support_scope_posture', 'writers', '{array}'),
      ('support_scope_posture', 'changers', '{array}')
  ) r (subject, field, types)
  where r.subject = wrong_evidence_field.subject
    and coalesce(jsonb_typeof(wrong_evidence_field.detail -> r.field), '') <> all (r.types)
  limit 1
);

-- Whether a detail that is said to be derived is what the record itself says, of subjects that speak of one row of it.
create function is_evidence_of(subject text, status text, detail jsonb) returns boolean
language sql stable
set search_path from current
return case subject
  when 'retention_run' then exists (
    select
    from retention_runs r
    where r.id::text = detail ->> 'run'
      and r.kind = detail ->> 'kind'
      -- It may have ended since.
      and (r.state = detail ->> 'state' or detail ->> 'state' = 'running')
      and (
        detail ->> 'state' = 'running'
        or (r.changes, r.transactions, r.actions)
          = ((detail ->> 'changes')::numeric, (detail ->> 'transactions')::numeric, (detail ->> 'actions')::numeric)
      )
      and status = case detail ->> 'state' when 'failed' then 'failed' when 'completed' then 'ok' else 'attention' end
  )
  when 'export_delivery' then exists (
    select from audit_actions a where a.id::text = detail ->> 'action'
  )
  else true
end;

-- Adds a record: { subject, reference, status, detail, detailVersion, origin, actor }. The server says who recorded it and when. No
-- argument replaces that.
create function record_evidence(evidence jsonb) returns bigint
language plpgsql security definer
set search_path from current
as $$
declare
  checked record;
  recorded bigint;
  wrong text;
begin
  if jsonb_typeof(evidence) is distinct from 'object'
    or jsonb_typeof(evidence -> 'reference') is distinct from 'string'
    or jsonb_typeof(evidence -> 'detail') is distinct from 'object'
    or octet_length(evidence ->> 'detail') > 1048576
  then
    raise exception 'threadline: evidence has a reference, and a detail that is an object of at most a megabyte'
      using errcode = 'invalid_parameter_value';
  end if;
  if evidence -> 'detailVersion' is distinct from '1' then
    raise exception 'threadline: the version of a detail is 1' using errcode = 'invalid_parameter_value';
  end if;
  wrong := wrong_evidence_field(evidence ->> 'subject', evidence -> 'detail');
  if wrong is not null then
    raise exception 'threadline: the detail of % has "%", of another type or missing here', evidence ->> 'subject', wrong
      using errcode = 'invalid_parameter_value';
  end if;
  if evidence ->> 'origin' = 'derived'
    and not is_evidence_of(evidence ->> 'subject', evidence ->> 'status', evidence -> 'detail')
  then
    raise exception 'threadline: this is not what the record says, so it is not derived: record it as of the host'
      using errcode = 'invalid_parameter_value';
  end if;
  if jsonb_typeof(evidence -> 'actor') = 'object' then
    checked := check_actor(evidence -> 'actor', 'actor', 0);
    if checked.wrong <> '{}' then
      raise exception 'threadline: %', array_to_string(checked.wrong, '; ') using errcode = 'invalid_parameter_value';
    end if;
  elsif coalesce(jsonb_typeof(evidence -> 'actor'), 'null') <> 'null' then
    raise exception 'threadline: the actor of evidence is an object' using errcode = 'invalid_parameter_value';
  end if;
  insert into evidence_records (
    subject, reference, status, detail, detail_version, origin, actor_type, actor_id, actor, recorded_at, db_user, role_name,
    application_name, client_addr
  ) values (
    evidence ->> 'subject', evidence ->> 'reference', evidence ->> 'status', evidence -> 'detail',
    (evidence ->> 'detailVersion')::int, evidence ->> 'origin', evidence #>> '{actor,type}', evidence #>> '{actor,id}',
    nullif(evidence -> 'actor', 'null'), clock_timestamp(), session_user,
    coalesce(nullif(nullif(current_setting('role', true), ''), 'none'), session_user),
    nullif(current_setting('application_name'), ''), inet_client_addr()
  )
  returning id into recorded;
  return recorded;
end
$$;

comment on function record_evidence(jsonb) is 'Adds a record of evidence; who and when is what the server saw.';

revoke all on function record_evidence(jsonb), wrong_evidence_field(text, jsonb), is_evidence_of(text, text, jsonb) from public;
`
  },
  {
    id: 17,
    name: "baselines",
    checksum: "2c03324a3107bfe45d5ee344b418b0ce9d1f522d8c9b561435b499f8bab38c23",
    sql: `-- Baselines. The record does not know rows that were there before capture began, or that were written in a lapse. A baseline records them
-- as they are, in batches, while writers go on. A batch locks the rows of a few blocks against changes. It leaves out rows that a writer has
-- locked. So it waits for nobody, and a writer waits for one batch at most. While the lock is held, the image of a row is exact, and every
-- later change of the row gets a greater id and a later instant.

create table capture_baselines (
  id bigint generated always as identity primary key,
  table_schema text collate "C" not null,
  table_name text collate "C" not null,
  database text collate "C",
  -- The one of the policy. When capture is applied again, the baseline begins again.
  applied_at timestamptz not null,
  -- A row with a change since then is known.
  known_from timestamptz not null,
  -- The relations that hold the rows, and how far each has been read: [{ relation, file, blocks, next }].
  relations jsonb not null,
  -- Blocks with rows that a writer had locked: [{ relation, from, to }].
  waiting jsonb not null default '[]',
  recorded bigint not null default 0,
  state text collate "C" not null default 'running' check (state in ('running', 'done', 'abandoned')),
  started_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  started_by text collate "C" not null default session_user
);

comment on table capture_baselines is
  'Baselines of captured tables: how far each has come, and since when rows that never changed are known.';

-- One baseline of a table runs at a time. Any number of sessions may work on it, batch by batch.
create unique index capture_baselines_running_idx on capture_baselines (table_schema, table_name) where state = 'running';

-- A change since this instant makes its row known: it is the latest end of a lapse. Null while a lapse lasts.
create function baseline_known_from(table_schema text, table_name text) returns timestamptz
language sql stable
set search_path from current
begin atomic
  select case
    when upper_inf(l.lapses) then null
    else greatest(p.captured_since, upper(l.lapses),
      nullif(kept_since(baseline_known_from.table_schema, baseline_known_from.table_name), '-infinity'))
  end
  from capture_policies p
  cross join lateral (
    select capture_lapses(baseline_known_from.table_schema, baseline_known_from.table_name) as lapses
  ) l
  where p.table_schema = baseline_known_from.table_schema
    and p.table_name = baseline_known_from.table_name
    and p.removed_at is null;
end;

-- The relations that hold a table's rows, as they are now.
create function baseline_relations(root regclass) returns jsonb
language sql stable
set search_path from current
begin atomic
  select coalesce(jsonb_agg(jsonb_build_object(
    'relation', c.oid::bigint,
    'file', pg_relation_filenode(c.oid)::bigint,
    'blocks', pg_relation_size(c.oid) / current_setting('block_size')::int,
    'next', 0
  ) order by c.oid), '[]')
  from row_holders(root) h (oid)
  join pg_class c on c.oid = h.oid and c.relkind = 'r';
end;

-- The baseline to work on: the one that runs, otherwise a new one. Null while a lapse lasts.
create function baseline_begin(table_schema text, table_name text) returns bigint
language plpgsql
set search_path from current
as $$
declare
  known_since timestamptz;
  policy_applied timestamptz;
  result bigint;
begin
  perform pg_advisory_xact_lock(hashtextextended('threadline.baseline.' || table_schema || '.' || table_name, 0));
  known_since := baseline_known_from(table_schema, table_name);
  if known_since is null then
    return null;
  end if;
  select p.applied_at into policy_applied
  from capture_policies p
  where p.table_schema = baseline_begin.table_schema and p.table_name = baseline_begin.table_name;
  update capture_baselines b
  set state = 'abandoned', finished_at = clock_timestamp()
  where b.table_schema = baseline_begin.table_schema
    and b.table_name = baseline_begin.table_name
    and b.state = 'running'
    and (b.applied_at, b.known_from, b.database) is distinct from (policy_applied, known_since, this_database());
  select b.id into result
  from capture_baselines b
  where b.table_schema = baseline_begin.table_schema
    and b.table_name = baseline_begin.table_name
    and b.state = 'running';
  if result is null then
    insert into capture_baselines (table_schema, table_name, database, applied_at, known_from, relations)
    values (
      baseline_begin.table_schema, baseline_begin.table_name, this_database(), policy_applied, known_since,
      baseline_relations(format('%I.%I', baseline_begin.table_schema, baseline_begin.table_name)::regclass)
    )
    returning id into result;
  end if;
  return result;
end
$$;

-- The next blocks of a baseline: first those that nobody has read, then those with rows that were locked. Returns no row at the end, and
-- notes the end. The caller holds the baseline until the end of the transaction, so two sessions never get the same blocks.
create function baseline_next(
  baseline bigint, batch_rows int, out relation bigint, out label text, out from_block bigint, out to_block bigint,
  out is_waiting boolean
)
returns setof record
language plpgsql
set search_path from current
as $$
declare
  running record;
begin
  select * into running from capture_baselines b where b.id = baseline and b.state = 'running' for update;
  if not found then
    return;
  end if;
  select (e.value ->> 'relation')::bigint, c.oid::regclass::text, (e.value ->> 'next')::bigint,
    least((e.value ->> 'blocks')::bigint, (e.value ->> 'next')::bigint + greatest(1, (batch_rows / case
      when c.reltuples > 0 and c.relpages > 0 then greatest(1, c.reltuples / c.relpages) else 60 end)::bigint)),
    false
  into relation, label, from_block, to_block, is_waiting
  from jsonb_array_elements(running.relations) with ordinality e (value, place)
  -- A dropped partition has no rows any more.
  join pg_class c on c.oid = (e.value ->> 'relation')::oid
  where (e.value ->> 'next')::bigint < (e.value ->> 'blocks')::bigint
  order by e.place
  limit 1;
  if not found then
    select (e.value ->> 'relation')::bigint, c.oid::regclass::text, (e.value ->> 'from')::bigint, (e.value ->> 'to')::bigint, true
    into relation, label, from_block, to_block, is_waiting
    from jsonb_array_elements(running.waiting) with ordinality e (value, place)
    join pg_class c on c.oid = (e.value ->> 'relation')::oid
    order by e.place
    limit 1;
  end if;
  if not found then
    update capture_baselines b
    set state = 'done', waiting = '[]', updated_at = clock_timestamp(), finished_at = clock_timestamp()
    where b.id = baseline;
    return;
  end if;
  return next;
end
$$;

-- Records the rows of a batch that the caller has locked, and notes how far the baseline is. "visible" is how many rows the blocks have. If
-- some of them were left out, the blocks are read again later.
create function baseline_batch(
  baseline bigint, batch_relation bigint, from_block bigint, to_block bigint, is_waiting boolean, places tid[], visible bigint
) returns bigint
language plpgsql
set search_path from current
as $$
declare
  running record;
  marked bigint := 0;
  file bigint := pg_relation_filenode(batch_relation::oid::regclass);
  blocks bigint;
  moved boolean;
begin
  select * into running from capture_baselines b where b.id = baseline and b.state = 'running' for update;
  if cardinality(places) > 0 then
    marked := mark_rows(
      batch_relation::oid::regclass, running.table_schema, running.table_name, 'baseline', places, running.known_from);
  end if;
  -- What the schema watch or the catalog show now was so before the rows were read. Otherwise the rows could not have been read.
  if baseline_known_from(running.table_schema, running.table_name) is distinct from running.known_from then
    raise exception 'threadline: nothing is known of %.% since a moment ago', running.table_schema, running.table_name
      using errcode = 'TL007', hint = 'Run "threadline capture apply", then the baseline again.';
  end if;
  select (e.value ->> 'file')::bigint <> file into moved
  from jsonb_array_elements(running.relations) e
  where (e.value ->> 'relation')::bigint = batch_relation;
  if moved then
    -- The rows were rewritten (VACUUM FULL, CLUSTER) and may be in any block. What has been recorded stays known.
    blocks := pg_relation_size(batch_relation::oid::regclass) / current_setting('block_size')::int;
  end if;
  update capture_baselines b
  set recorded = b.recorded + marked,
    updated_at = clock_timestamp(),
    relations = (
      select jsonb_agg(case
        when (e.value ->> 'relation')::bigint <> batch_relation or (is_waiting and not moved) then e.value
        when moved then e.value || jsonb_build_object('file', file, 'blocks', blocks, 'next', 0)
        else e.value || jsonb_build_object('next', to_block)
      end order by e.place)
      from jsonb_array_elements(b.relations) with ordinality e (value, place)
    ),
    waiting = case when is_waiting then b.waiting - 0 else b.waiting end || case
      when not moved and cardinality(places) < visible
      then jsonb_build_array(jsonb_build_object('relation', batch_relation, 'from', from_block, 'to', to_block))
      else '[]' end
  where b.id = baseline;
  return marked;
end
$$;

revoke all on function
  baseline_known_from(text, text), baseline_relations(regclass), baseline_begin(text, text), baseline_next(bigint, int),
  baseline_batch(bigint, bigint, bigint, bigint, boolean, tid[], bigint)
from public;

select guard_record();
`
  },
  {
    id: 18,
    name: "views",
    checksum: "8c9ad8b3eebb18aeaad08dbd6c8f3b0521331da5e95d36b0fcdbe8fa6bba16ad",
    sql: `-- Saved views: filters under a name. Each belongs to one actor, who may replace and delete it. Views are not part of the record.

create table saved_views (
  id bigint generated always as identity primary key,
  owner_type text collate "C" not null check (owner_type in ('user', 'admin', 'service_account', 'job', 'system')),
  owner_id text collate "C" not null check (octet_length(owner_id) between 1 and 256),
  name text collate "C" not null check (octet_length(name) between 1 and 256),
  -- The canonical text of the filter, without limit and cursor.
  filter text collate "C" not null check (octet_length(filter) <= 16384),
  -- A window that ends when the view is run, such as 7d. Then the filter has no \`from\`.
  since text collate "C" check (since ~ '^[1-9][0-9]{0,5}[smhdw]$'),
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  unique (owner_type, owner_id, name)
);

comment on table saved_views is 'Filters that actors have saved under a name.';

-- Saves a view and returns saved. If there is a view of that name, it is replaced if the caller asks for that. Otherwise taken is returned.
-- If the owner has as many views as allowed, full is returned.
create function save_view(
  kind text,
  owner text,
  view_name text,
  view_filter text,
  view_since text,
  replacing boolean,
  most int
) returns text
language plpgsql security definer
set search_path from current
as $$
begin
  -- Only one session at a time counts and adds.
  perform pg_advisory_xact_lock(hashtextextended('threadline views ' || kind || ':' || owner, 0));
  if exists (
    select from saved_views v where v.owner_type = kind and v.owner_id = owner and v.name = view_name
  ) then
    if not replacing then
      return 'taken';
    end if;
    update saved_views v
    set filter = view_filter,
      since = view_since,
      updated_at = clock_timestamp()
    where v.owner_type = kind and v.owner_id = owner and v.name = view_name;
    return 'saved';
  end if;
  if (select count(*) from saved_views v where v.owner_type = kind and v.owner_id = owner) >= most then
    return 'full';
  end if;
  insert into saved_views (owner_type, owner_id, name, filter, since)
  values (kind, owner, view_name, view_filter, view_since);
  return 'saved';
end
$$;

-- Deletes a view. Returns false if there is no view of that name.
create function delete_view(kind text, owner text, view_name text) returns boolean
language plpgsql security definer
set search_path from current
as $$
begin
  delete from saved_views v where v.owner_type = kind and v.owner_id = owner and v.name = view_name;
  return found;
end
$$;

revoke all on function save_view(text, text, text, text, text, boolean, int), delete_view(text, text, text) from public;

select guard_record();
`
  }
] as const
