-- Partitions that join a captured table: whether they bring rows that the record does not know.

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
