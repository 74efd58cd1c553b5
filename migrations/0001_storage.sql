-- The record itself: transactions, changes, actions, and where this database lives.
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
