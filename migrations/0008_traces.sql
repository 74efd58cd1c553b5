-- What the catalog still tells of what was done to a captured table, and since when.

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

-- The values of the enums in unique indexes of a table, each with the transaction that last touched it.
create function label_marks(relation oid) returns jsonb
language sql stable
set search_path from current
return (
  select coalesce(jsonb_object_agg(e.oid, e.xmin::text), '{}')
  from pg_index i
  join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey::int2[])
  join pg_type d on d.oid = a.atttypid
  join pg_enum e on e.enumtypid = case when d.typtype = 'd' then d.typbasetype else d.oid end
  where i.indrelid = label_marks.relation and i.indisunique
);

-- What tells that ALTER TABLE has not written the rows anew: the file of each relation that holds some, and of each column that
-- images show its type and the transaction that last touched it. And what tells that values of an enum did not have other names
-- meanwhile.
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
        'by', a.xmin::text, 'is', md5(a::text), 'type', a.atttypid, 'text', format_type(a.atttypid, a.atttypmod))), '{}')
      from pg_attribute a
      where a.attrelid = row_marks.relation
        and a.attnum > 0
        and not a.attisdropped
        and a.attgenerated <> 'v'
        and a.attname <> all (row_marks.hidden)
    ),
    'labels', label_marks(row_marks.relation)
  );
end;

-- Whether a transaction, as a row of the catalog tells of it, truncated rows of a captured table.
create function truncated_in(relation oid, id xid) returns boolean
language sql stable
set search_path from current
return exists (
  select
  from capture_policies p
  join audit_transactions t on t.xid = full_xid(truncated_in.id) and t.epoch = (select max(i.epoch) from installs i)
  join audit_changes c
    on c.transaction_id = t.id
    and c.captured_at >= t.occurred_at - interval '1 day'
    and c.op = 'truncate'
    and c.table_schema = p.table_schema
    and c.table_name = p.table_name
  where p.relation = truncated_in.relation
);

-- Columns of which ALTER TABLE may have written other values since, and the transaction that did so. A change of type that needs
-- no new file changes no value. A file may be new for another reason (VACUUM FULL, TRUNCATE). So where the new type is the same, or
-- one to which values need no conversion, the transaction must be that of the file (which another alteration and a TRUNCATE may share), or nothing else can be what
-- it did to the column. All partitions are written anew, or none.
create function columns_rewritten(relation oid, marks jsonb, out name text, out by xid) returns setof record
language sql stable
set search_path from current
begin atomic
  select a.attname, a.xmin
  from pg_attribute a
  cross join lateral jsonb_to_record(columns_rewritten.marks -> 'columns' -> a.attnum::text) m (by text, "is" text, type oid, text text)
  where a.attrelid = columns_rewritten.relation
    and a.attnum > 0
    and not a.attisdropped
    and m.by <> a.xmin::text
    and exists (
      select
      from row_holders(columns_rewritten.relation) h (oid)
      join pg_class c on c.oid = h.oid
      where columns_rewritten.marks -> 'files' ->> c.oid::text <> c.relfilenode::text
        and ((c.xmin = a.xmin and (m.is = md5(a::text) or not truncated_in(columns_rewritten.relation, c.xmin))) or m.is = md5(a::text) or (m.text <> format_type(a.atttypid, a.atttypmod) and not exists (
          select
          from pg_cast k
          where k.castsource = m.type and k.casttarget = a.atttypid and k.castmethod = 'b' and a.atttypmod = -1
        )))
    )
    and not exists (
      select
      from row_holders(columns_rewritten.relation) h (oid)
      join pg_class c on c.oid = h.oid and c.relkind <> 'f'
      where columns_rewritten.marks -> 'files' ->> c.oid::text = c.relfilenode::text
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

revoke all on function
  full_xid(xid), written_since(xid), broken_triggers(text, text), partitions_below(oid), has_empty_file(oid),
  partition_marks(oid), partitions_moved(oid, jsonb), row_holders(oid), label_marks(oid), row_marks(oid, text[]), truncated_in(oid, xid), columns_rewritten(oid, jsonb),
  last_recovery(), key_values(oid, jsonb), key_values_renamed(oid, jsonb, jsonb), plain_type(text),
  key_changed(oid, jsonb, jsonb), former_key(jsonb, jsonb, jsonb), same_key(jsonb, jsonb)
from public;
