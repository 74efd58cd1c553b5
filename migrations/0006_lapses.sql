-- The times of which nothing is known: a table was not captured in them, or what was recorded of them is gone.

-- The names that a table had, as its policy knows them: each with the time in which it was this table's. A name was its own while no
-- entry of it says otherwise, and while it was not that of a table which has another one by now.
create function own_names(
  policy_schema text, policy_name text,
  out table_schema text, out table_name text, out since timestamptz, out until timestamptz
)
returns setof record
language sql stable
set search_path from current
begin atomic
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
end;

-- The policy that belongs to a name: the policy with this name, or that of the table which had the name last and has another one
-- by now. No row if there is none.
create function policy_of(table_schema text, table_name text, out policy_schema text, out policy_name text)
returns setof record
language sql stable
set search_path from current
begin atomic
  select f.policy_schema, f.policy_name
  from (
    select p.table_schema as policy_schema, p.table_name as policy_name, 0 as place, null::timestamptz as until
    from capture_policies p
    where p.table_schema = policy_of.table_schema and p.table_name = policy_of.table_name
    union all
    select p.table_schema, p.table_name, 1, e.until
    from capture_policies p
    cross join lateral jsonb_to_recordset(p.former_names)
      e (schema text, name text, since timestamptz, until timestamptz, declared boolean)
    where p.former_names <> '[]'
      and e.schema = policy_of.table_schema
      and e.name = policy_of.table_name
      and e.declared is not true
  ) f
  order by f.place, f.until desc nulls first
  limit 1;
end;

-- When a table got the name that its policy has. From then on no other name of the table counts.
create function named_since(table_schema text, table_name text) returns timestamptz
language sql stable
set search_path from current
begin atomic
  select coalesce(max(e.until), '-infinity')
  from capture_policies p
  cross join lateral jsonb_to_recordset(p.former_names) e (until timestamptz, declared boolean)
  where p.table_schema = named_since.table_schema
    and p.table_name = named_since.table_name
    and e.declared is not true;
end;

-- The names under which the changes of a table are recorded, each with its time, [since, until); times of one name do not overlap,
-- and those of different tables do not either. Former names that are declared come first: of the table that had them up to when
-- this one took over.
create function table_names(
  table_schema text, table_name text,
  out former_schema text, out former_name text, out since timestamptz, out until timestamptz
)
returns setof record
language plpgsql stable
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

-- What the declared former names of a table stand for: the names of those tables, up to when this one took over.
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

-- The names that the columns of a table had before, each with its time; also those of the tables that it declares as its own past.
create function column_names(
  table_schema text, table_name text,
  out column_name text, out formerly text, out since timestamptz, out until timestamptz
)
returns setof record
language sql stable
set search_path from current
begin atomic
  with tables as (
    select p.former_columns, tstzrange(null, null) as span, p.former_names
    from policy_of(column_names.table_schema, column_names.table_name) o
    join capture_policies p on p.table_schema = o.policy_schema and p.table_name = o.policy_name
  )
  select c.column_name, c.formerly, coalesce(lower(c.span), '-infinity'), coalesce(upper(c.span), 'infinity')
  from (
    select e.value ->> 'column' as column_name, e.value ->> 'formerly' as formerly,
      t.span * tstzrange((e.value ->> 'since')::timestamptz, (e.value ->> 'until')::timestamptz) as span
    from (
      select t.former_columns, t.span
      from tables t
      union all
      select p.former_columns, tstzrange(e.since, e.until)
      from tables t
      cross join lateral jsonb_to_recordset(t.former_names)
        e (schema text, name text, since timestamptz, until timestamptz, declared boolean)
      cross join lateral policy_of(e.schema, e.name) o
      join capture_policies p on p.table_schema = o.policy_schema and p.table_name = o.policy_name
      where e.declared and p.former_names is distinct from t.former_names
    ) t
    cross join lateral jsonb_array_elements(t.former_columns) e (value)
  ) c
  where not isempty(c.span);
end;

comment on function column_names(text, text) is
  'The names that the columns of a table had before, each with its time: captured_at >= since and captured_at < until.';

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
      from own_names(known_until.table_schema, known_until.table_name) n
      cross join lateral (
        select *
        from audit_changes c
        where c.table_schema = n.table_schema
          and c.table_name = n.table_name
          and c.captured_at >= n.since
          and c.captured_at < n.until
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
    select coalesce(
      greatest(
        -- What this transaction applied says nothing of the time before it.
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

-- The whole id of a transaction that a row of the catalog tells of. 0 if the row is frozen, or of before the cluster was made: it is
-- older than all that is recorded.
create function full_xid(id xid) returns xid8
language sql stable
set search_path from current
return (
  select case when id::text::bigint < 3 or u.behind > u.upcoming then '0' else (u.upcoming - u.behind)::text::xid8 end
  from (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as upcoming) s
  cross join lateral (select s.upcoming, (s.upcoming - id::text::bigint) & 4294967295 as behind) u
);

-- When the first audited transaction began to write that got its id together with or after one that a row of the catalog
-- tells of: what was recorded before is older than what that one did to the schema. Infinite if there was none. A later id may
-- write first, and its statement begins before its transaction is recorded: so the first ones are looked at, and their changes.
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

-- The operations of an existing table with a trigger that is missing, disabled or not ours.
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

-- The partitions of a table, at every level below it. Unlike pg_partition_tree it locks none of them: a read must not wait until a TRUNCATE
-- or an ALTER TABLE of the host has committed.
create function partitions_below(relation oid) returns setof oid
language sql stable
set search_path from current
begin atomic
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
end;

-- Whether the file of a relation is empty. False if somebody has locked it: then nobody can tell.
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

-- What tells of each partition of a table that it is still the one it was: its OID and the transaction that attached it; and
-- the file of its rows.
create function partition_marks(relation oid) returns jsonb
language sql stable
set search_path from current
return (
  select coalesce(jsonb_object_agg(
    quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.oid || '/' || i.xmin || ' ' || c.relfilenode), '{}')
  from partitions_below(partition_marks.relation) t (oid)
  join pg_class c on c.oid = t.oid
  join pg_namespace n on n.oid = c.relnamespace
  join pg_inherits i on i.inhrelid = c.oid
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
        and has_empty_file(c.oid)
    )
);

-- The relations that hold a table's rows: itself, or its partitions.
create function row_holders(relation oid) returns setof oid
language sql stable
set search_path from current
begin atomic
  select c.oid
  from (
    select row_holders.relation as oid
    union
    select t.oid from partitions_below(row_holders.relation) t (oid)
  ) r
  join pg_class c on c.oid = r.oid and c.relkind <> 'p';
end;

-- What tells that ALTER TABLE has not written the rows anew: the file of each relation that holds some, and of each column that
-- images show its type and the transaction that last touched it.
create function row_marks(relation oid, hidden text[]) returns jsonb
language sql stable
set search_path from current
begin atomic
  select jsonb_build_object(
    'files', (
      select coalesce(jsonb_object_agg(c.oid, c.relfilenode), '{}')
      from row_holders(row_marks.relation) h (oid)
      join pg_class c on c.oid = h.oid
    ),
    'columns', (
      select coalesce(jsonb_object_agg(a.attnum, jsonb_build_object(
        'by', a.xmin::text, 'type', a.atttypid, 'text', format_type(a.atttypid, a.atttypmod))), '{}')
      from pg_attribute a
      where a.attrelid = row_marks.relation
        and a.attnum > 0
        and not a.attisdropped
        and a.attgenerated <> 'v'
        and a.attname <> all (row_marks.hidden)
    )
  );
end;

-- Columns of which ALTER TABLE may have written other values since, and the transaction that did so. A change of type that needs
-- no new file changes no value. A file may be new for another reason (VACUUM FULL, TRUNCATE), so where the new type is the same, or
-- one to which values need no conversion, the transaction must be that of the file.
create function columns_rewritten(relation oid, marks jsonb, out name text, out by xid) returns setof record
language sql stable
set search_path from current
begin atomic
  select a.attname, a.xmin
  from pg_attribute a
  cross join lateral jsonb_to_record(columns_rewritten.marks -> 'columns' -> a.attnum::text) m (by text, type oid, text text)
  where a.attrelid = columns_rewritten.relation
    and a.attnum > 0
    and not a.attisdropped
    and m.by <> a.xmin::text
    and exists (
      select
      from row_holders(columns_rewritten.relation) h (oid)
      join pg_class c on c.oid = h.oid
      where columns_rewritten.marks -> 'files' ->> c.oid::text <> c.relfilenode::text
        and (c.xmin = a.xmin or (m.text <> format_type(a.atttypid, a.atttypmod) and not exists (
          select
          from pg_cast k
          where k.castsource = m.type and k.casttarget = a.atttypid and k.castmethod = 'b' and a.atttypmod = -1
        )))
    );
end;

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
  -- Without a unique index over its columns several rows may have one key. An index that was dropped leaves no trace of when.
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

-- When the server last may have emptied unlogged tables: it was started, or it recovered from a crash of a backend. Then
-- statistics of every kind begin anew at the same time. Apart from that, only a reset of all statistics does so.
create function last_recovery() returns timestamptz
language sql volatile
set search_path from current
begin atomic
  select greatest(pg_postmaster_start_time(), least(w.stats_reset, a.stats_reset, b.stats_reset))
  from pg_stat_wal w
  cross join pg_stat_archiver a
  cross join pg_stat_bgwriter b;
end;

-- Since when the schema watch could not do its work for a table. What it did later, or a policy that was applied since, makes up
-- for that.
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
-- "gone": no table has its name. "replaced": another table has it, or had it for a while. "triggers": some are missing or do not
-- fire. "partitions": some left with their rows. "key": rows are told apart by something else.
-- "rewritten": ALTER TABLE may have given columns other values. "restarted": an unlogged table may have been emptied.
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
  broken text[];
  rekeyed xid;
  rewritten xid;
begin
  select p.* into policy
  from capture_policies p
  where p.table_schema = capture_gaps.table_schema
    and p.table_name = capture_gaps.table_name
    and p.removed_at is null;
  if not found then
    return;
  end if;
  select c.oid, i.xmin as made into now_named
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  -- A row that nothing ever changes: its transaction is the one that made the table.
  left join pg_attribute i on i.attrelid = c.oid and i.attnum = -1
  where n.nspname = capture_gaps.table_schema
    and c.relname = capture_gaps.table_name
    and c.relkind in ('r', 'p', 'f')
    and not c.relispartition;
  if not found then
    gap := 'gone';
    since := coalesce(policy.gap_since, known_until(table_schema, table_name));
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
    since := known_until(table_schema, table_name, null, sighted);
    return next;
    -- Its policy tells of another table.
    if policy.relation <> now_named.oid then
      return;
    end if;
  end if;
  broken := broken_triggers(table_schema, table_name);
  if policy.database = here and policy.relation <> now_named.oid then
    -- With triggers, the new table may have written under the name without a trace of it: nothing counts that came after it
    -- was made.
    gap := 'replaced';
    since := coalesce(policy.gap_since, known_until(table_schema, table_name, null,
      case when cardinality(broken) = 4 then null else written_since(now_named.made) end));
    return next;
    return;
  end if;
  if broken is not null then
    gap := 'triggers';
    since := coalesce(
      policy.gap_since, known_until(table_schema, table_name, case when cardinality(broken) < 4 then broken end));
    return next;
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
    since := coalesce(policy.gap_since, greatest(policy.applied_at, upper(policy.lapses)));
    return next;
  end if;
  rekeyed := case when policy.database = here then key_changed(now_named.oid, policy.key_columns, policy.key_values) end;
  if rekeyed is not null then
    gap := 'key';
    since := coalesce(policy.gap_since, known_until(table_schema, table_name, null, written_since(rekeyed)));
    return next;
  end if;
  if policy.database = here then
    select w.by into rewritten
    from columns_rewritten(now_named.oid, policy.row_marks) w
    order by age(w.by) desc
    limit 1;
  end if;
  if rewritten is not null then
    gap := 'rewritten';
    since := known_until(table_schema, table_name, null, written_since(rewritten));
    return next;
  end if;
  if exists (select from row_holders(now_named.oid) h (oid) join pg_class c on c.oid = h.oid where c.relpersistence = 'u')
    and last_recovery() > greatest(policy.applied_at, upper(policy.lapses))
  then
    gap := 'restarted';
    since := known_until(table_schema, table_name, null, last_recovery());
    return next;
  end if;
  since := least(policy.gap_since, watch_failed_since(table_schema, table_name));
  if since is not null then
    gap := 'unwatched';
    return next;
  end if;
end
$$;

-- The first reason of them, and since when nothing is known for any of them.
create function capture_gap(table_schema text, table_name text, out gap text, out since timestamptz)
returns setof record
language sql stable
set search_path from current
begin atomic
  select g.gap, min(g.since) over ()
  from capture_gaps(capture_gap.table_schema, capture_gap.table_name) with ordinality g (gap, since, place)
  order by g.place
  limit 1;
end;

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
  select p.lapses, p.removed_at, p.relation, p.database, p.applied_at into policy
  from capture_policies p
  where p.table_schema = capture_lapses.table_schema and p.table_name = capture_lapses.table_name;
  if policy.lapses is null then
    return '{}';
  end if;
  unknown_since := coalesce(policy.removed_at, least(
    (select g.since from capture_gap(table_schema, table_name) g),
    -- What it wrote under another name is read with the rest once capture has been applied, which settles its names.
    (
      select min(s.seen_at)
      from capture_sightings s
      where s.relation = policy.relation
        and s.database is not distinct from policy.database
        and (s.table_schema <> capture_lapses.table_schema or s.table_name <> capture_lapses.table_name)
        and s.seen_at > greatest(policy.applied_at, named_since(capture_lapses.table_schema, capture_lapses.table_name))
    )));
  return case when unknown_since is null then policy.lapses
    else policy.lapses + tstzmultirange(tstzrange(unknown_since, null)) end;
end
$$;

-- With which transaction a partition became one of its root: it, or the one above it that was attached last.
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

-- Rows of one partition among the changes that audited transactions wrote since a partition joined: those that a change found,
-- though the record told of none at their key. They came with it, or were written to it directly, and may be gone again.
create function unexplained_changes(relation regclass, root_schema text, root_name text, known_since timestamptz)
returns boolean
language plpgsql stable
set search_path from current
set timezone = 'UTC'
set datestyle = 'ISO, YMD'
set intervalstyle = 'postgres'
set quote_all_identifiers = off
as $$
declare
  joined xid8 := full_xid(joined_with(relation));
  key_present text;
  key_columns text;
  unexplained boolean;
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
  -- Without a key nothing tells which row a change found.
  if key_columns is null then
    return false;
  end if;
  execute format(
    'with written as materialized (
       select c.*
       from audit_transactions t
       join audit_changes c on c.transaction_id = t.id and c.captured_at >= t.occurred_at - interval ''1 day''
       join own_names($1, $2) n
         on n.table_schema = c.table_schema
         and n.table_name = c.table_name
         and c.captured_at >= n.since
         and c.captured_at < n.until
       where t.xid >= $3 and t.epoch = (select max(i.epoch) from installs i)
     ),
     truncates as (
       select array_agg(w.id order by w.id) || 9223372036854775807 as ids
       from (select 0::bigint as id union all
         select w.id from written w where w.op = ''truncate'' and w.row_key is null and w.partition_name is null) w
     ),
     -- What a change found at a key, and what it left there. The rows of another partition do not count.
     ends as (
       select e.key, w.id, e.effect, w.op = ''baseline'' as anew, width_bucket(w.id, t.ids) as truncated
       from written w
       cross join truncates t
       cross join lateral (values
         (
           case when w.op in (''update'', ''delete'', ''truncate'') then coalesce(w.previous_row_key, w.row_key) end,
           case when w.previous_row_key is null then w.row_pk
             else coalesce(w.data_after, ''{}'') || coalesce(w.changed_from, ''{}'') end,
           -1
         ),
         (case when w.op in (''insert'', ''update'', ''baseline'') then w.row_key end, w.row_pk, 1)
       ) e (key, pk, effect)
       where e.key is not null
         and case when %s then (select %s from (select %s) x) else true end
     ),
     settled as (
       select e.*, count(*) filter (where e.anew) over (partition by e.key, e.truncated order by e.id) as anew_count
       from ends e
     ),
     counted as (
       select s.key, s.id, s.truncated = 1 and s.anew_count = 0 as from_before,
         sum(s.effect) over (
           partition by s.key, s.truncated, s.anew_count order by s.id, s.effect rows unbounded preceding) as standing
       from settled s
     ),
     short as (
       select c.key, c.from_before, min(c.standing) as least_standing, min(c.id) as first_id
       from counted c
       where c.standing < 0
       group by c.key, c.from_before
     )
     select exists (
       select
       from short s
       where s.least_standing < -1
         or not s.from_before
         or not known_standing($1, $2, s.key, (select min(w.id) from written w), $4)
     )',
    key_present, coalesce(pg_get_partition_constraintdef(relation), 'true'), key_columns)
  into unexplained
  using root_schema, root_name, joined, known_since;
  return unexplained;
exception
  -- A key that its column does not take any more.
  when data_exception or undefined_object or undefined_function or undefined_column then
    return true;
end
$$;

-- Whether the record tells, by changes from an instant on and before one, that there is a row at a key: with the same image, if one
-- is given.
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

-- Whether rows joined a captured table with a relation, or were written to it directly, of which the record does not tell: it holds
-- some, or changes found some. What is larger than so many bytes is not looked through.
create function unexplained_rows(
  relation regclass, root_schema text, root_name text, largest bigint default null
) returns boolean
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
  joined timestamptz := written_since(joined_with(relation));
  policy jsonb;
  known_since timestamptz;
  unexplained boolean := true;
begin
  -- A foreign table may not be readable, and is written to elsewhere.
  if (select c.relkind from pg_class c where c.oid = relation) <> 'f'
    and has_table_privilege(relation, 'select')
    and not row_security_active(relation)
    and not coalesce(pg_relation_size(relation) > largest, false)
  then
    select jsonb_build_object(
        'key', p.key_columns, 'excluded', to_jsonb(p.excluded), 'masked', to_jsonb(p.masked),
        'columns', (select jsonb_agg(c ->> 'name') from jsonb_array_elements(p.columns) c)),
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
    unexplained := unexplained or unexplained_changes(relation, root_schema, root_name, known_since);
  end if;
  return unexplained;
end
$$;

-- A partition that joined a captured table: if rows came with it that the record does not tell of, nothing is known of the time in
-- which that may have happened.
create function partition_joined(relation regclass, root_schema text, root_name text) returns void
language plpgsql
set search_path from current
as $$
declare
  joined timestamptz := written_since(joined_with(relation));
begin
  if (select c.relkind from pg_class c where c.oid = relation) <> 'p'
    and unexplained_rows(relation, root_schema, root_name)
  then
    update capture_policies p
    set lapses = p.lapses + tstzmultirange(tstzrange(
      least(
        known_until(root_schema, root_name, null, least(joined, transaction_timestamp())),
        clock_timestamp()),
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
  where c.table_schema = first_change.table_schema
    and c.table_name = first_change.table_name
    -- What was recorded before is of a table that has another name by now.
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
  limit 1;
end;

-- Until capture of a table began, nothing is known of it. After that everything is, but for lapses: a row is as its first change
-- found it. Without a policy it is the first change that tells.
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
      -- Rows of another table: what was known of them tells nothing of those of this one.
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

-- Since when every change of a table is kept. An older change that is still kept is a fact. But changes between it and the next
-- one may be gone, so nothing is rebuilt from a later change.
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
      where e.declared
    ))
    from policy_of(kept_since.table_schema, kept_since.table_name) o
    join capture_policies p on p.table_schema = o.policy_schema and p.table_name = o.policy_name
  ));
end
$$;

comment on function kept_since(text, text) is 'Since when every change of a table is kept.';

-- Runs after any statement that removes changes. Notes that every change of their tables is kept only after the last removed one.
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

-- The former keys of a table, and after them the keys of another policy.
create function keys_joined(key_columns jsonb, former_keys jsonb, other_columns jsonb, other_keys jsonb) returns jsonb
language sql immutable
set search_path from current
return former_keys || case
  when other_columns = '[]' or other_columns = key_columns then '[]'
  else jsonb_build_array(other_columns)
end || other_keys;

-- A table that is gone leaves the names that it had before to those which have them by now, as if it had never got another one: this
-- is how a table is rebuilt that is put aside, replaced and dropped. What the heir had under its former names stays under them.
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
    -- What the heir had before stays under the name that it had last.
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

-- A captured table got another name: its policy and all that is known of its times go with it, and up to "at" its changes are those
-- under the name that it had. If another table of the record had the name, and goes on under a third one, that one is
-- followed first. If it is gone, the table goes on with what is recorded under the name, after a lapse; what it had itself
-- stays under the name that it had.
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

-- A column got another name. If another column has the former one by now, "at" tells them apart.
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

-- Columns of a table that got other names since its policy was applied: [{ column, formerly }]. Up to when the former one was theirs
-- is told by what is recorded, or by when the catalog was last touched there. It matters only if another column has the name now.
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
  -- What was told of when it happened is known already.
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
        -- The first of the last changes whose row has the present name, if no column had it before.
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

-- The former names that a configuration declares for a table, [{ schema, name }], and for its columns, [{ column, formerly }]. Those
-- that are known anyway are left as they are. Each name counts up to the next one, and the last up to when this table took over; it
-- is "other" if another table of this very database had it, whose rows are not those of this one.
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
        -- If another column has the name by now, it is that one's from the first row on that has the present name.
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

-- Policies of tables that have, or had for a while, another name than their policy says, by their identity in this database.
-- "names" are those under which the table wrote since then or has now; "sighted" when it first did so under another one; "taken" when
-- another table first wrote under the name of the policy.
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
      c.xmin as touched, greatest(p.applied_at, named_since(p.table_schema, p.table_name)) as named_at
    from here h
    join capture_policies p on p.database = h.database
    join pg_class c on c.oid = p.relation
    join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'f')
      and not c.relispartition
      -- A policy that ended may be that of a name whose table has another one by now.
      and (p.removed_at is null or not exists (
        select from capture_policies o where o.relation = p.relation and o.removed_at is null))
  ),
  seen as (
    select k.relation, format('%I.%I', s.table_schema, s.table_name) as name, s.seen_at,
      s.named_by is not distinct from k.touched and format('%I.%I', s.table_schema, s.table_name) = k.present as still
    from known k
    join here h on true
    join capture_sightings s on s.relation = k.relation and s.database = h.database and s.seen_at > k.named_at
  ),
  named as (
    select k.*, s.sighted, coalesce(s.sightings, 0) as sightings,
      -- It wrote under its present name, and has not been touched since; or never under another one.
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
        and s.seen_at > n.named_at
    ),
    n.plain,
    exists (select from named o where o.relation <> n.relation and o.names && n.names)
  from named n
  where n.policy <> n.present
    or n.sightings > 0
    or exists (select from seen s where s.relation <> n.relation and s.name = n.policy);
end;

-- The times at which a table changed its name, as what is recorded of it tells: if no other captured table had one of its names
-- meanwhile, whatever was recorded under them is of this one.
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

-- Follows every captured table of this database to the name that it has now. What was written under the names tells until when
-- each table had each name. If it does not, because captured tables exchanged their names more than once, the time is a lapse of
-- each of them.
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

  -- What is unclear of one table is unclear of those that it shares a name with. And a name is one's only until another's.
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

  -- Those first whose new name is free; what is left have exchanged theirs.
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
    -- It may have been followed already, out of the way of another one.
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
  this_database(), function_suffix(text, text), made_by_owner(oid), full_xid(xid), written_since(xid), joined_with(oid), broken_triggers(text, text),
  partitions_below(oid), has_empty_file(oid), partition_marks(oid), partitions_moved(oid, jsonb), row_holders(oid), row_marks(oid, text[]), columns_rewritten(oid, jsonb),
  last_recovery(), capture_gaps(text, text), capture_gap(text, text),
  partition_joined(regclass, text, text), unexplained_rows(regclass, text, text, bigint),
  unexplained_changes(regclass, text, text, timestamptz), known_standing(text, text, text, bigint, timestamptz, jsonb),
  watch_failed_since(text, text),
  key_values(oid, jsonb), key_values_renamed(oid, jsonb, jsonb),
  plain_type(text), key_changed(oid, jsonb, jsonb), former_key(jsonb, jsonb, jsonb), same_key(jsonb, jsonb),
  key_in_columns(text, text, jsonb, jsonb), own_names(text, text), policy_of(text, text), named_since(text, text),
  table_names(text, text), column_names(text, text), declared_names(text, text, text[]), keys_joined(jsonb, jsonb, jsonb, jsonb),
  names_released(text, text), strayed_names(), names_written(text[], timestamptz), follow_names(), table_renamed(text, text, text, text, timestamptz),
  column_renamed(text, text, text, text, timestamptz), columns_renamed(text, text, jsonb),
  names_declared(text, text, jsonb, jsonb)
from public;
