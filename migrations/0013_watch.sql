-- The schema watch: what is done to the schema around captured tables, recorded when it happens. While the watch is off, this
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
