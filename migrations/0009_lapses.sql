-- Lapses: times of which nothing is known. The table was not captured then, or what was recorded is gone.

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
