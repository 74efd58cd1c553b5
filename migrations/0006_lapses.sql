-- The times of which nothing is known: a table was not captured in them, or what was recorded of them is gone.

-- The instant up to which a table is known whose capture ended unseen: right after the last change recorded of it, or when its
-- policy was last applied. Where only the triggers of some operations are "broken", a change of another one proves nothing. The
-- last changes are found by transaction, of which an earlier one may end later: so a few of them are looked at, and what is
-- missed makes the instant too early, never too late. Marks are no work of a trigger. Changes that another table may have made
-- under the name, at "unless_since" and later, do not count.
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
      from (
        select *
        from audit_changes c
        where c.table_schema = known_until.table_schema
          and c.table_name = known_until.table_name
          and (unless_since is null or c.captured_at < unless_since)
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

-- When the first audited transaction began to write that got its id together with or after one that a row of the catalog
-- tells of: what was recorded before is older than what that one did to the schema. Infinite if there was none.
create function written_since(id xid) returns timestamptz
language plpgsql stable
set search_path from current
as $$
declare
  upcoming bigint := pg_snapshot_xmax(pg_current_snapshot())::text::bigint;
  behind bigint := (upcoming - id::text::bigint) & 4294967295;
begin
  -- Frozen, or of before the cluster was made: older than all that is recorded.
  if id::text::bigint < 3 or behind > upcoming then
    return '-infinity';
  end if;
  return coalesce((
    select t.occurred_at
    from audit_transactions t
    where t.xid >= (upcoming - behind)::text::xid8
      and t.epoch = (select max(i.epoch) from installs i)
    order by t.xid, t.id
    limit 1
  ), 'infinity');
end
$$;

-- The operations of an existing table whose trigger is missing, disabled or not ours.
create function broken_triggers(table_schema text, table_name text) returns text[]
language sql stable
set search_path from current
begin atomic
  select array_agg(o.op order by o.op) filter (where o.works is not true)
  from (
    select o.op, (
      select bool_or(t.tgtype & o.bit <> 0)
      from capture_policies p
      join pg_namespace n on n.nspname = p.table_schema
      join pg_class c on c.relnamespace = n.oid and c.relname = p.table_name
      join pg_trigger t on t.tgrelid = c.oid
      join pg_proc f on f.oid = t.tgfoid
      join pg_namespace own on own.oid = f.pronamespace
      where p.table_schema = broken_triggers.table_schema
        and p.table_name = broken_triggers.table_name
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
      where n.nspname = broken_triggers.table_schema and c.relname = broken_triggers.table_name and c.relkind = 'f'
    )) as works
    from (values ('insert', 4), ('delete', 8), ('update', 16), ('truncate', 32)) o (op, bit)
  ) o;
end;

-- What tells of each partition of a table that it is still the one it was: its OID and the transaction that attached it; and
-- the file of its rows.
create function partition_marks(relation oid) returns jsonb
language sql stable
set search_path from current
return (
  select coalesce(jsonb_object_agg(
    quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.oid || '/' || i.xmin || ' ' || c.relfilenode), '{}')
  from pg_partition_tree(partition_marks.relation) t
  join pg_class c on c.oid = t.relid
  join pg_namespace n on n.oid = c.relnamespace
  join pg_inherits i on i.inhrelid = c.oid
  where t.level > 0
);

-- Partitions that a policy knows and that left since, whether they came back or others have their names. One that never had a
-- row since its policy was written took nothing along.
create function partitions_moved(relation oid, marks jsonb) returns text[]
language sql stable
set search_path from current
return (
  select coalesce(array_agg(m.key order by m.key), '{}')
  from jsonb_each_text(marks) m
  where split_part(m.value, ' ', 1) is distinct from split_part(partition_marks(relation) ->> m.key, ' ', 1)
    and not exists (
      select
      from pg_class c
      where c.oid = split_part(m.value, '/', 1)::oid
        and c.relkind <> 'p'
        and c.relfilenode = split_part(m.value, ' ', 2)::oid
        and pg_relation_size(c.oid) = 0
    )
);

-- The values of the enums in a key, by type; the columns of the key are found by their numbers.
create function key_values(relation oid, key_columns jsonb) returns jsonb
language sql stable
set search_path from current
return (
  select coalesce(jsonb_object_agg(v.type, v.labels), '{}')
  from (
    select format_type(y.oid, null) as type, jsonb_agg(distinct e.enumlabel) as labels
    from jsonb_array_elements(key_columns) k
    join pg_attribute a on a.attrelid = key_values.relation and a.attnum = (k ->> 'attnum')::int
    join pg_type d on d.oid = a.atttypid
    -- A domain over an enum is as much at risk.
    join pg_type y on y.oid = case when d.typtype = 'd' then d.typbasetype else d.oid end
    join pg_enum e on e.enumtypid = y.oid
    group by y.oid
  ) v
);

-- Types of which a value that a key may have had is gone, which only a new name makes.
create function key_values_renamed(relation oid, key_columns jsonb, key_values jsonb) returns text[]
language sql stable
set search_path from current
return (
  select coalesce(array_agg(v.key order by v.key), '{}')
  from jsonb_each(key_values) v
  where not coalesce(key_values(relation, key_columns) -> v.key @> v.value, false)
);

-- A type without its length or precision, which change no text of a value.
create function plain_type(type text) returns text
language sql immutable
set search_path from current
return regexp_replace(type, '\(.*?\)', '');

-- Since when a table may have had another key than its policy says: the transaction that last touched what makes the key.
-- Null if it has the same.
create function key_changed(relation oid, key_columns jsonb, key_values jsonb) returns xid
language plpgsql stable
set search_path from current
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
  if primary_key.attnums is not null
    and primary_key.attnums::int[] is distinct from array(
      select (k.value ->> 'attnum')::int from jsonb_array_elements(key_columns) with ordinality k order by k.ordinality)
  then
    return primary_key.touched;
  end if;
  select a.xmin into changed
  from jsonb_array_elements(key_columns) k
  join pg_attribute a on a.attrelid = relation and a.attnum = (k ->> 'attnum')::int
  where a.attisdropped or plain_type(format_type(a.atttypid, null)) <> plain_type(k ->> 'type')
  limit 1;
  if changed is null and key_values_renamed(relation, key_columns, key_values) <> '{}' then
    select e.xmin into changed
    from jsonb_array_elements(key_columns) k
    join pg_attribute a on a.attrelid = relation and a.attnum = (k ->> 'attnum')::int
    join pg_type d on d.oid = a.atttypid
    join pg_enum e on e.enumtypid = case when d.typtype = 'd' then d.typbasetype else d.oid end
    where not coalesce(key_values -> format_type(e.enumtypid, null) ? e.enumlabel, false)
    order by age(e.xmin) desc
    limit 1;
  end if;
  return changed;
end
$$;

-- A key that a table had before, as row_key reads it: of an enum whose values have other names by now, the text is all there is.
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

-- Why and since when nothing is known of a table whose policy is active; no row if all is known.
-- "gone": no table has its name. "replaced": another table has it, or had it for a while. "triggers": some are missing or do not
-- fire. "partitions": some left with their rows. "key": rows are told apart by something else. "restarted": an unlogged table may have been emptied.
create function capture_gap(table_schema text, table_name text, out gap text, out since timestamptz)
returns setof record
language plpgsql stable
set search_path from current
as $$
declare
  policy record;
  here text := this_database();
  now_named record;
  sighted timestamptz;
  broken text[];
  rekeyed xid;
begin
  select p.* into policy
  from capture_policies p
  where p.table_schema = capture_gap.table_schema
    and p.table_name = capture_gap.table_name
    and p.removed_at is null;
  if not found then
    return;
  end if;
  select c.oid, c.relpersistence, i.xmin as made into now_named
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  -- A row that nothing ever changes: its transaction is the one that made the table.
  left join pg_attribute i on i.attrelid = c.oid and i.attnum = -1
  where n.nspname = capture_gap.table_schema
    and c.relname = capture_gap.table_name
    and c.relkind in ('r', 'p', 'f')
    and not c.relispartition;
  if not found then
    gap := 'gone';
    since := known_until(table_schema, table_name);
    return next;
    return;
  end if;

  select min(s.seen_at) into sighted
  from capture_sightings s
  where s.table_schema = capture_gap.table_schema
    and s.table_name = capture_gap.table_name
    and s.seen_at > policy.applied_at;
  if sighted is not null then
    gap := 'replaced';
    since := known_until(table_schema, table_name, null, sighted);
    return next;
    return;
  end if;
  broken := broken_triggers(table_schema, table_name);
  if policy.database = here and policy.relation <> now_named.oid then
    -- With triggers, the new table may have written under the name without a trace of it: nothing counts that came after it
    -- was made.
    gap := 'replaced';
    since := known_until(table_schema, table_name, null,
      case when cardinality(broken) = 4 then null else written_since(now_named.made) end);
    return next;
    return;
  end if;
  if broken is not null then
    gap := 'triggers';
    since := known_until(table_schema, table_name, case when cardinality(broken) < 4 then broken end);
    return next;
    return;
  end if;
  -- After a restore into another database no OID says anything, but each function still belongs to a name.
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
    since := greatest(policy.applied_at, upper(policy.lapses));
    return next;
    return;
  end if;
  rekeyed := case when policy.database = here then key_changed(now_named.oid, policy.key_columns, policy.key_values) end;
  if rekeyed is not null then
    gap := 'key';
    since := known_until(table_schema, table_name, null, written_since(rekeyed));
    return next;
    return;
  end if;
  if now_named.relpersistence = 'u' and pg_postmaster_start_time() > greatest(policy.applied_at, upper(policy.lapses)) then
    gap := 'restarted';
    since := known_until(table_schema, table_name, null, pg_postmaster_start_time());
    return next;
  end if;
end
$$;

-- The times of which nothing is known of a table's rows: those recorded, and the one that goes on if it is not captured any
-- more, does not exist, or is not the table it was. A query of the catalog needs no right to the schema that the table is in.
create function capture_lapses(table_schema text, table_name text) returns tstzmultirange
language plpgsql stable
set search_path from current
as $$
declare
  policy record;
  unknown_since timestamptz;
begin
  select p.lapses, p.removed_at into policy
  from capture_policies p
  where p.table_schema = capture_lapses.table_schema and p.table_name = capture_lapses.table_name;
  if policy.lapses is null then
    return '{}';
  end if;
  unknown_since := coalesce(policy.removed_at, (select g.since from capture_gap(table_schema, table_name) g));
  return case when unknown_since is null then policy.lapses
    else policy.lapses + tstzmultirange(tstzrange(unknown_since, null)) end;
end
$$;

-- A partition that joined a captured table: rows that the record does not tell of, as they are, came with it or were written to
-- it directly. Of the time in which that may have happened nothing is known.
create function partition_joined(relation regclass, root_schema text, root_name text) returns void
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
  unexplained boolean := true;
begin
  if (select c.relkind from pg_class c where c.oid = relation) = 'p' then
    return;
  end if;
  -- A foreign table may not be readable, and is written to elsewhere.
  if (select c.relkind from pg_class c where c.oid = relation) <> 'f'
    and has_table_privilege(relation, 'select')
    and not row_security_active(relation)
  then
    select jsonb_build_object(
        'key', p.key_columns, 'excluded', to_jsonb(p.excluded), 'masked', to_jsonb(p.masked),
        'columns', (select jsonb_agg(c ->> 'name') from jsonb_array_elements(p.columns) c))
    into policy
    from capture_policies p
    where p.table_schema = root_schema and p.table_name = root_name;
    policy := current_policy(policy, relation);
    execute format(
      'select exists (
         select
         from (select image_of(x.*, $2, $5, $6) as image from %s x) r
         cross join lateral image_key(r.image, $1 -> ''key'', $2) k
         where not exists (
           select
           from (
             select c.data_after
             from audit_changes c
             where c.row_key = k.row_key and c.table_name = $4 and c.table_schema = $3
             order by c.captured_at desc, c.id desc
             limit 1
           ) l
           where l.data_after = redact(r.image, $1, $2)
         )
       )', row_source(relation))
    into unexplained
    using policy, relation::oid, root_schema, root_name,
      array(select jsonb_array_elements_text(policy -> 'columns')), array(select jsonb_array_elements_text(policy -> 'texts'));
  end if;
  if unexplained then
    update capture_policies p
    set lapses = p.lapses + tstzmultirange(tstzrange(
      known_until(root_schema, root_name, null,
        (select written_since(i.xmin) from pg_inherits i where i.inhrelid = partition_joined.relation)),
      clock_timestamp()))
    where p.table_schema = root_schema and p.table_name = root_name and p.removed_at is null;
  end if;
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

-- Until capture of a table began, nothing is known of it. After that everything is, but for lapses: a row is as its first change
-- found it. Without a policy it is the first change that tells.
create function unknown_times(table_schema text, table_name text) returns tstzmultirange
language plpgsql stable
set search_path from current
as $$
declare
  since timestamptz;
begin
  select p.captured_since
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
  'The times of which nothing is known of a table: before its capture began, and its lapses.';

-- Since when every change of a table is kept. One that is kept from before that is a fact, but what lies between it and another
-- may be gone: nothing is rebuilt from a change that came later.
create function kept_since(table_schema text, table_name text) returns timestamptz
language plpgsql stable
set search_path from current
as $$
begin
  return greatest(oldest_kept(), (
    select p.kept_since
    from capture_policies p
    where p.table_schema = kept_since.table_schema and p.table_name = kept_since.table_name
  ));
end
$$;

comment on function kept_since(text, text) is 'Since when every change of a table is kept.';

-- Whoever removes changes, by whatever statement: of their tables every change is kept from after them on.
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

-- Called before triggers are made or dropped and before a policy is written. If nothing is known of an active policy's table, the
-- policy counts as removed since then, until lapses_closed. A restored or renamed table has its triggers.
create function note_lapse(table_schema text, table_name text) returns timestamptz
language sql
set search_path from current
begin atomic
  update capture_policies p
  set removed_at = g.since
  from capture_gap(note_lapse.table_schema, note_lapse.table_name) g
  where p.table_schema = note_lapse.table_schema
    and p.table_name = note_lapse.table_name
    and p.removed_at is null
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
  known_until(text, text, text[], timestamptz), capture_lapses(text, text),
  oldest_kept(), first_change(text, text), unknown_times(text, text), kept_since(text, text), note_removal(), note_lapse(text, text),
  lapses_closed(tstzmultirange, timestamptz),
  key_text(text, text), bounded_key(text), numbers_trimmed(jsonb), image_key(jsonb, jsonb, oid), key_of_texts(text[]), shielded(text),
  shield_removed(text), image(record),
  exact_text(record), capture_hints(oid, text[]), current_policy(jsonb, oid), redact(jsonb, jsonb, oid),
  describe_update(jsonb, jsonb, json, json, record, record, jsonb, oid),
  describe_change(jsonb, jsonb, json, json, record, record, jsonb, oid),
  virtual_columns(oid), without_virtual(jsonb, text[], oid), column_texts(text, oid, text[]), image_by_column(text, oid),
  row_source(oid), image_of(record, oid, text[], text[]), settled_image(record, oid, text[]), alike_fields(record, record, oid, text[]),
  update_ends(oid), moves_end(), forget_moved(text, text, text, bigint[]), entered_last(text, text),
  capture_relation(oid, text, text), note_nested(oid),
  last_change_before(bigint), restore_order(oid, bigint, bigint), capture_truncate(oid, text, text, text, jsonb),
  mark_rows(regclass, text, text, text), row_key(text, text, jsonb)
from public;

revoke all on function
  this_database(), function_suffix(text, text), made_by_owner(oid), written_since(xid), broken_triggers(text, text),
  partition_marks(oid), partitions_moved(oid, jsonb), capture_gap(text, text),
  partition_joined(regclass, text, text), key_values(oid, jsonb), key_values_renamed(oid, jsonb, jsonb),
  plain_type(text), key_changed(oid, jsonb, jsonb), former_key(jsonb, jsonb, jsonb), same_key(jsonb, jsonb),
  key_in_columns(text, text, jsonb, jsonb)
from public;
