-- The times of which nothing is known: a table was not captured in them, or what was recorded of them is gone.

-- The instant up to which a table is known whose capture ended unseen: right after the last change recorded of it, or when its
-- policy was last applied. Where only the triggers of some operations are "broken", a change of another one proves nothing. The
-- last changes are found by transaction, of which an earlier one may end later: so a few of them are looked at, and what is
-- missed makes the instant too early, never too late. Marks are no work of a trigger.
create function known_until(table_schema text, table_name text, broken text[] default null) returns timestamptz
language plpgsql stable
set search_path from current
as $$
begin
  return (
    with recent as (
      select c.captured_at, c.op
      from (
        select *
        from audit_changes c
        where c.table_schema = known_until.table_schema and c.table_name = known_until.table_name
        order by c.transaction_id desc, c.id desc
        limit 1000
      ) c
      where not coalesce(c.details ? 'marked', false)
    ),
    latest as (
      select max(r.captured_at) filter (where broken is null or r.op = o.op) as captured_at
      from unnest(coalesce(broken, '{any}')) o (op)
      cross join recent r
      group by o.op
    )
    select greatest(p.applied_at, upper(p.lapses), (
      select min(l.captured_at) + interval '1 microsecond'
      from latest l
      having count(l.captured_at) = count(*)
    ))
    from capture_policies p
    where p.table_schema = known_until.table_schema and p.table_name = known_until.table_name
  );
end
$$;

-- The times of which nothing is known of a table's rows: those recorded, and the one that goes on where it is not captured
-- any more or does not exist. A query of the catalog needs no right to the schema that the table is in.
create function capture_lapses(table_schema text, table_name text) returns tstzmultirange
language plpgsql stable
set search_path from current
as $$
declare
  policy record;
begin
  select p.lapses, p.removed_at into policy
  from capture_policies p
  where p.table_schema = capture_lapses.table_schema and p.table_name = capture_lapses.table_name;
  if policy.removed_at is null and (policy.lapses is null or exists (
    select
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = capture_lapses.table_schema
      and c.relname = capture_lapses.table_name
      and c.relkind in ('r', 'p', 'f')
      and not c.relispartition
  )) then
    return coalesce(policy.lapses, '{}');
  end if;
  return policy.lapses
    + tstzmultirange(tstzrange(coalesce(policy.removed_at, known_until(table_schema, table_name)), null));
end
$$;

comment on function capture_lapses(text, text) is
  'The times in which nothing was recorded of a table that had been captured before; the last one may go on.';

-- Changes before it may be gone with the partition that held them. What was written before the oldest partition is in the
-- default one, or nowhere.
create function oldest_kept() returns timestamptz
language plpgsql stable
set search_path from current
set datestyle = 'ISO'
set timezone = 'UTC'
as $$
declare
  oldest timestamptz;
begin
  select min((regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''(.*?)''\)'))[1]::timestamptz)
  into oldest
  from pg_inherits i
  join pg_class c on c.oid = i.inhrelid
  where i.inhparent = 'audit_changes'::regclass;
  return least(oldest, (select min(d.captured_at) from audit_changes_default d where d.captured_at < oldest));
end;
$$;

-- When the first change under a name was made. A table that was renamed, or restored without its policy, is captured before its
-- policy is made.
create function first_change(table_schema text, table_name text) returns timestamptz
language sql stable
set search_path from current
begin atomic
  select c.captured_at
  from audit_changes c
  where c.table_schema = first_change.table_schema and c.table_name = first_change.table_name
  order by c.transaction_id, c.id
  limit 1;
end;

-- Until capture of a table began, and until its oldest kept change where changes were removed, nothing is known of it. After that,
-- everything is but for lapses: a row is as its first kept change found it. Without a policy it is the first change that tells.
create function unknown_times(table_schema text, table_name text) returns tstzmultirange
language plpgsql stable
set search_path from current
as $$
declare
  since timestamptz;
begin
  select greatest(p.captured_since, p.kept_since, oldest_kept())
  into since
  from capture_policies p
  where p.table_schema = unknown_times.table_schema and p.table_name = unknown_times.table_name;
  if not found then
    since := first_change(table_schema, table_name);
  end if;
  return capture_lapses(table_schema, table_name)
    + case when since is null then '{}' else tstzmultirange(tstzrange(null, since)) end;
end
$$;

comment on function unknown_times(text, text) is
  'The times of which nothing is known of a table: before its capture or its oldest kept change, and its lapses.';

-- Whoever removes changes, by whatever statement: what is known of their tables begins after them.
create function note_removal() returns trigger
language plpgsql
set search_path from current
as $$
begin
  if tg_op = 'TRUNCATE' then
    update capture_policies set kept_since = clock_timestamp();
  else
    update capture_policies p
    set kept_since = greatest(p.kept_since, r.up_to)
    from (
      select c.table_schema, c.table_name, max(c.captured_at) + interval '1 microsecond' as up_to
      from removed c
      group by c.table_schema, c.table_name
    ) r
    where p.table_schema = r.table_schema and p.table_name = r.table_name;
  end if;
  return null;
end
$$;

create trigger note_removal_by_delete after delete on audit_changes
  referencing old table as removed
  for each statement execute function note_removal();
create trigger note_removal_by_truncate after truncate on audit_changes
  for each statement execute function note_removal();

-- Called before triggers are made or dropped. Where an active policy's table does not have all of them, or not enabled, capture
-- ended unseen: the policy counts as removed since then, until lapses_closed. A restored or renamed table has its triggers.
create function note_lapse(table_schema text, table_name text) returns timestamptz
language sql
set search_path from current
begin atomic
  update capture_policies p
  set removed_at = known_until(p.table_schema, p.table_name, case when not whole then broken end)
  from (
    select bool_and(o.works is not true) as whole, array_agg(o.op) filter (where o.works is not true) as broken
    from (
      select o.op, (
        select bool_or(t.tgtype & o.bit <> 0)
        from capture_policies p
        join pg_namespace n on n.nspname = p.table_schema
        join pg_class c on c.relnamespace = n.oid and c.relname = p.table_name
        join pg_trigger t on t.tgrelid = c.oid
        join pg_proc f on f.oid = t.tgfoid
        join pg_namespace own on own.oid = f.pronamespace
        where p.table_schema = note_lapse.table_schema
          and p.table_name = note_lapse.table_name
          and c.relkind in ('r', 'p', 'f')
          and not c.relispartition
          and own.nspname = current_schema()
          -- What goes before a statement records none of its rows.
          and (t.tgtype & 2 <> 0) = (o.op = 'truncate')
          and (t.tgenabled = 'A' or (t.tgenabled = 'O' and not p.always))
          and t.tgqual is null
          and cardinality(t.tgattr::int2[]) = 0
      ) or (o.op = 'truncate' and current_setting('server_version_num')::int < 160000 and exists (
        -- Foreign tables have triggers for it since PostgreSQL 16.
        select
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = note_lapse.table_schema and c.relname = note_lapse.table_name and c.relkind = 'f'
      )) as works
      from (values ('insert', 4), ('delete', 8), ('update', 16), ('truncate', 32)) o (op, bit)
    ) o
  ) found
  where p.table_schema = note_lapse.table_schema
    and p.table_name = note_lapse.table_name
    and p.removed_at is null
    and found.broken is not null
  returning p.removed_at;
end;

-- The lapses of a table that is captured again. The triggers must have been made before, in the same transaction: then no write
-- goes on that they do not see, and none begins until it has committed.
create function lapses_closed(lapses tstzmultirange, removed_at timestamptz) returns tstzmultirange
language sql volatile
set search_path from current
return case
  when removed_at is null then lapses
  else lapses + tstzmultirange(tstzrange(removed_at, greatest(removed_at, clock_timestamp())))
end;

revoke all on function
  known_until(text, text, text[]), capture_lapses(text, text), oldest_kept(), first_change(text, text),
  unknown_times(text, text), note_removal(),
  note_lapse(text, text),
  lapses_closed(tstzmultirange, timestamptz),
  key_text(text, text), bounded_key(text), image_key(jsonb, jsonb, oid), key_of_texts(text[]), shielded(text),
  shield_removed(text), image(record),
  exact_text(record), capture_hints(oid, text[]), current_policy(jsonb, oid), redact(jsonb, jsonb, oid),
  describe_update(jsonb, jsonb, json, json, jsonb, oid), describe_change(jsonb, jsonb, json, json, jsonb, oid),
  update_begins(oid), update_ends(oid), moves_end(), forget_moved(text, text, text, bigint[]), entered_last(text, text),
  capture_relation(oid, text, text), note_nested(oid),
  last_change_before(bigint), restore_order(oid, bigint, bigint), capture_truncate(oid, text, text, text, jsonb),
  mark_rows(regclass, text, text, text), row_key(text, text, jsonb)
from public;
