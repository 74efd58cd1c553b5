-- Traces that DDL on a captured table left in the catalog, and their times.

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
