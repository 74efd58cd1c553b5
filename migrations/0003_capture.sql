-- What the generated trigger functions share. They themselves hold what is known of one table: its key,
-- its redaction, the columns it had when they were generated. Nothing here names a host column.

-- Equal keys have equal texts: "value" is the text of the image, "kind" says what equality ignores.
create function key_text(value text, kind text) returns text
language plpgsql immutable strict
set search_path from current
set intervalstyle = 'postgres'
as $$
begin
  case kind
    when 'numeric' then return trim_scale(value::numeric)::text;
    when 'interval' then return justify_interval(value::interval)::text;
    when 'citext' then return lower(value);
    when 'bpchar' then return rtrim(value, ' ');
    else return value;
  end case;
exception when others then
  return value;
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

-- Functions on json resolve its escapes and fail at \u0000 and at lone surrogates. Shielded, these are plain
-- text: an escaped backslash becomes two of them, \u becomes an escaped backslash and a u. Nothing that was
-- different becomes equal, and shield_removed gives the very text back. chr(1) never occurs in json.
create function shielded(document text) returns text
language sql immutable strict
set search_path from current
return replace(replace(replace(document, E'\\\\', chr(1)), E'\\u', E'\\\\u'), chr(1), E'\\\\\\\\');

create function shield_removed(document text) returns text
language sql immutable strict
set search_path from current
return replace(replace(replace(document, E'\\\\\\\\', chr(1)), E'\\\\u', E'\\u'), chr(1), E'\\\\');

-- The image of a row whatever it holds. A value that jsonb cannot hold (json with \u0000, a lone
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
  shield := strpos(value, E'\\u') > 0;
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

-- What a statement on many rows has to know of its table now. "guard": a type whose values jsonb may
-- refuse; "stale": columns other than those the triggers were generated for.
create function capture_hints(relation oid, columns text[], out guard boolean, out stale boolean)
language sql stable
set search_path from current
begin atomic
  select
    bool_or(not (t.typtype = 'e' or (t.typnamespace = 'pg_catalog'::regnamespace and t.typname = any (
      '{bool,bytea,char,name,int8,int2,int4,text,oid,float4,float8,money,bpchar,varchar,date,time,timestamp,
        timestamptz,interval,timetz,numeric,uuid,jsonb,inet,cidr,macaddr,macaddr8,tsvector,
        _bool,_int2,_int4,_int8,_text,_varchar,_uuid,_numeric,_date,_timestamptz}'::name[])))),
    count(*) filter (where a.attname::text = any (columns)) <> cardinality(columns)
      or count(*) <> cardinality(columns)
  from pg_attribute a
  join pg_type t on t.oid = a.atttypid
  where a.attrelid = relation
    and a.attnum > 0
    and not a.attisdropped;
end;

-- The policy as it concerns the names that columns have now. Names that were exchanged since (a to b, b to a) leave images of
-- the same names, with other values under them: whatever name a redacted column has is masked as well, and a key is read
-- from where it is. Only columns of the very table tell, and only where their order is another: a restored table
-- numbers them anew and keeps the order.
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
      from jsonb_array_elements(p.columns) e
      join jsonb_array_elements(p.columns) f on (e.value ->> 'attnum')::int2 < (f.value ->> 'attnum')::int2
      join pg_attribute x on x.attrelid = p.relation and x.attname = e.value ->> 'name' and not x.attisdropped
      join pg_attribute y on y.attrelid = p.relation and y.attname = f.value ->> 'name' and not y.attisdropped
      where x.attnum > y.attnum
    );
  if names is null then
    return policy;
  end if;
  return policy || jsonb_build_object(
    'masked', policy -> 'masked' || (
      select coalesce(jsonb_agg(n.value), '[]')
      from jsonb_each(names) n
      where policy -> 'excluded' ? n.key or policy -> 'masked' ? n.key
    ),
    'key', (
      select coalesce(jsonb_agg(k.value || jsonb_build_object('from', coalesce(names -> (k.value ->> 'name'), k.value -> 'name'))
        order by k.place), '[]')
      from jsonb_array_elements(policy -> 'key') with ordinality k (value, place)
    )
  );
end
$$;

-- The part of an image that may be stored. "policy" is { key, excluded, masked, columns, json }. Where an
-- excluded or masked name is gone from the image it was renamed: then every name that was unknown when the
-- triggers were generated is masked, until they are generated anew. Where a new column took its name, the table
-- itself tells which of the unknown names is the renamed one; a restored table can not, and all are masked.
create function redact(image jsonb, policy jsonb, relation oid) returns jsonb
language plpgsql stable
set search_path from current
as $$
declare
  root oid := coalesce(pg_partition_root(relation), relation);
  redacted text[] := array(
    select jsonb_array_elements_text(policy -> 'excluded' || (policy -> 'masked'))
  );
  field text;
begin
  if image is null then
    return null;
  end if;
  for field in select jsonb_object_keys(image) loop
    if policy -> 'masked' ? field
      or (
        not policy -> 'columns' ? field
        and redacted <> '{}'
        and (
          not image ?& redacted
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
          )
        )
      )
    then
      image := jsonb_set(image, array[field], '"[masked]"');
    end if;
  end loop;
  return image - array(select jsonb_array_elements_text(policy -> 'excluded'));
end
$$;

-- The slow and general way from two images to one change, for tables with json columns and for tables
-- altered since their triggers were generated.
create function describe_update(
  old_image jsonb, new_image jsonb, old_text json, new_text json, policy jsonb, relation oid,
  out changed boolean, out row_pk jsonb, out row_key text, out previous_row_key text,
  out changed_fields text[], out changed_from jsonb, out data_after jsonb
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
      (old_image -> f.field)::text is distinct from (new_image -> f.field)::text
      or (policy -> 'json' ? f.field
        and (old_text -> replace(f.field, E'\\', E'\\\\'))::text
          is distinct from (new_text -> replace(f.field, E'\\', E'\\\\'))::text)
    );
  -- Of an image that could not be built at all, nobody knows whether it is the same.
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

-- Which table a firing belongs to, where it is not the one the function was generated for: a partition of
-- it (recorded under the root's name), the same table under a new name, or a partition that was detached
-- since and keeps its triggers (recorded under its own name: it is no part of the root any more). Anything
-- else is refused.
create function capture_relation(
  relation oid, root_schema text, root_name text,
  out table_schema text, out table_name text, out partition_name text
)
language plpgsql stable
set search_path from current
as $$
declare
  root oid := pg_partition_root(relation);
begin
  select n.nspname, c.relname into table_schema, table_name
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.oid = coalesce(root, relation);
  if not (table_schema = root_schema and table_name = root_name)
    and not exists (
      select from capture_policies p
      where p.table_schema = root_schema
        and p.table_name = root_name
        and p.removed_at is null
        and (
          p.relation = coalesce(root, capture_relation.relation)
          or quote_ident(capture_relation.table_schema) || '.' || quote_ident(capture_relation.table_name)
            = any (p.partitions)
        )
    )
  then
    raise exception 'threadline: this capture function was not generated for %.%', table_schema, table_name
      using errcode = 'insufficient_privilege',
        hint = format('It was generated for %I.%I. Drop the trigger, or run "threadline capture apply".', root_schema, root_name);
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

-- Keeps every row's changes in the order in which they happened, where a host trigger wrote the same row
-- again. Its statement ends, and is captured, inside the outer statement: before it. A capture below
-- another one leaves word in threadline.nested ("<statement> <first id> <deepest level>"); the capture of
-- an outer statement then looks for changes that start where its own end, and gives them new ids.
create function settle_order(first_id bigint) returns void
language plpgsql
set search_path from current
as $$
declare
  depth int := pg_trigger_depth();
  statement text := extract(epoch from statement_timestamp())::text;
  word text[] := string_to_array(current_setting('threadline.nested', true), ' ');
  nested_first bigint;
  deepest int := 0;
begin
  if word[1] = statement and cardinality(word) = 3 and word[2] ~ '^[0-9]{1,18}$' and word[3] ~ '^[0-9]{1,4}$' then
    nested_first := word[2];
    deepest := word[3];
  end if;
  if deepest > depth and nested_first < first_id then
    perform restore_order(nested_first, first_id);
  end if;
  if depth > 1 and depth > deepest then
    perform set_config('threadline.nested',
      concat_ws(' ', statement, coalesce(nested_first, first_id), depth), true);
  end if;
end
$$;

-- "full join" and "offset 0" keep the planner from nested loops over what it takes for a handful of rows. The settings
-- keep it to the indexes, and an order keeps it to the right one: a plan made while a partition is as good as empty, or
-- of a few large transactions, would read all of it, again and again, while one transaction fills it. And they keep it
-- from planning anew each time, which takes longer than all the rest.
create function restore_order(nested_first bigint, outer_first bigint) returns void
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
  start_id bigint := nested_first;
  many bigint := 2 + (outer_first - nested_first) / 8;
  counted bigint;
  moved bigint[];
  captured timestamptz[];
  instant timestamptz;
begin
  -- A trigger's statement mostly writes a row or a few, over and over, while what was captured below grows: then only
  -- changes of those rows matter, and each is looked up.
  select count(*) into counted
  from (
    select
    from unnest(own) t (owned)
    cross join lateral (
      select
      from audit_changes c
      where c.transaction_id = t.owned
        and c.captured_at >= transaction_timestamp()
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
          and c.captured_at >= transaction_timestamp()
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
          and c.captured_at >= transaction_timestamp()
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
          and c.captured_at >= transaction_timestamp()
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

  with recursive
  written as materialized (
    select c.id, c.captured_at, c.op, c.table_schema, c.table_name, c.row_key, c.previous_row_key,
      coalesce(c.previous_row_key, c.row_key) as start_key, c.data_after, c.changed_from
    from unnest(own) t (owned)
    cross join lateral (
      select *
      from audit_changes c
      where c.transaction_id = t.owned
        and c.captured_at >= transaction_timestamp()
        and c.id >= start_id
      order by c.id
      offset 0
    ) c
    where c.op in ('insert', 'update', 'delete')
      and c.row_key is not null
  ),
  paired as (
    select o.id as outer_id, o.table_schema, o.table_name, o.row_key, o.data_after as left_image,
      n.id, n.captured_at,
      case n.op when 'update' then n.data_after || n.changed_from when 'delete' then n.changed_from end as start_image
    from (select * from written where id >= outer_first offset 0) o
    full join (select * from written where id < outer_first offset 0) n
      on n.table_schema = o.table_schema and n.table_name = o.table_name and n.start_key = o.row_key
    offset 0
  ),
  -- Rows that the outer statement took away from their keys, as it found them: nothing was written to them before.
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
      -- the nested change starts from the image that the outer one left
      and p.start_image is not distinct from p.left_image
      -- and nothing that is still there has left that image before, but for a row that the outer one took away with it
      and (
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
        ) is not true
        or (p.table_schema, p.table_name, p.row_key, p.left_image) in (
          select v.table_schema, v.table_name, v.start_key, v.image from vacated v
        )
      )
    group by p.outer_id, p.table_schema, p.table_name, p.row_key
  ),
  -- That change and what follows it in the life of the row, under whatever key.
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
    -- What one statement captured keeps one instant, and no other statement has the same. Microseconds that have not come yet
    -- will have before all of these are written.
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
      and c.captured_at >= transaction_timestamp();
  end if;
end
$$;

-- TRUNCATE, seen before it happens. A root truncates its partitions with it: theirs is not recorded again. That
-- is so where the last thing this transaction recorded of the table is the truncation of one that the partition
-- belongs to; a setting could be made by hand to hide a truncation. A partition that is truncated alone concerns
-- only the rows it holds, so their images are kept.
create function capture_truncate(
  relation oid, root_schema text, root_name text, on_truncate text, policy jsonb
) returns void
language plpgsql
set search_path from current
as $$
declare
  target record;
  last record;
  readable boolean := has_table_privilege(relation, 'select') and not row_security_active(relation);
  counted bigint;
  counted_exactly boolean := false;
  first_id bigint;
  bound constant int := 10000;
begin
  select * into target from capture_relation(relation, root_schema, root_name);
  if target.partition_name is not null then
    select c.op, c.partition_name into last
    from audit_changes c
    where c.table_schema = target.table_schema
      and c.table_name = target.table_name
      and c.captured_at >= transaction_timestamp()
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
  if on_truncate = 'rows' or target.partition_name is not null then
    if not readable then
      raise exception 'threadline: TRUNCATE of % cannot keep the rows it removes: % may not read them all',
        relation::regclass, current_user
        using errcode = 'insufficient_privilege',
          hint = 'Run "threadline capture apply", or use DELETE.';
    end if;
    first_id := nextval('audit_changes_id_seq');
    policy := current_policy(policy, relation);
    execute format(
      'insert into audit_changes (
         transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, changed_from
       )
       select (select current_transaction()), (select clock_timestamp()), $1, $2, $3, ''truncate'', k.row_pk, k.row_key,
         redact(r.image, $4, $5)
       from (select image(x.*) as image from %s x) r
       cross join lateral image_key(r.image, $4 -> ''key'', $5) k', relation::regclass)
    using target.table_schema, target.table_name, target.partition_name, policy, relation;
    return;
  end if;

  if readable then
    execute format('select count(*) from (select from %s limit %s) x', relation::regclass, bound + 1) into counted;
    counted_exactly := counted <= bound;
  end if;
  if not counted_exactly then
    select sum(greatest(c.reltuples, 0))::bigint into counted
    from pg_partition_tree(relation) p
    join pg_class c on c.oid = p.relid and c.relkind <> 'p';
    if counted is null then
      select greatest(reltuples, 0)::bigint into counted from pg_class where oid = relation;
    end if;
    counted := greatest(counted, case when readable then bound + 1 else 0 end);
  end if;
  if counted_exactly and counted = 0 then
    return;
  end if;
  insert into audit_changes (
    transaction_id, captured_at, table_schema, table_name, partition_name, op, details
  ) values (
    current_transaction(), clock_timestamp(), target.table_schema, target.table_name, target.partition_name, 'truncate',
    jsonb_build_object('rowCount', counted, 'estimated', not counted_exactly)
  );
end
$$;

-- Baseline or delete marks for the rows a relation holds now, on an operator's request: rows that came with
-- an attached partition, rows that left with a detached one, rows that were there before capture began.
create function mark_rows(relation regclass, root_schema text, root_name text, op text) returns bigint
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
  select jsonb_build_object(
      'key', p.key_columns, 'excluded', to_jsonb(p.excluded), 'masked', to_jsonb(p.masked),
      'columns', (select jsonb_agg(c ->> 'name') from jsonb_array_elements(p.columns) c))
  into policy
  from capture_policies p
  where p.table_schema = root_schema and p.table_name = root_name and p.removed_at is null;
  if policy is null then
    raise exception 'threadline: %.% is not audited', root_schema, root_name using errcode = 'TL002';
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
     from (select image(x.*) as image from %s x) r
     cross join lateral image_key(r.image, $4 -> ''key'', $5) k', relation)
  using root_schema, root_name, op, policy, relation;
  get diagnostics marked = row_count;
  return marked;
end
$$;

-- The row_key under which a row is found, from what a person knows of its key: a text (one column), an
-- array in key order, or an object. PostgreSQL itself renders each value as its column's type does.
create function row_key(table_schema text, table_name text, key jsonb) returns text
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
  columns jsonb;
  part jsonb;
  place int := 0;
  given text;
  value text;
  texts text[] := '{}';
begin
  select p.key_columns into columns
  from capture_policies p
  where p.table_schema = row_key.table_schema and p.table_name = row_key.table_name;
  if columns is null then
    raise exception 'threadline: %.% is not audited', table_schema, table_name using errcode = 'TL002';
  end if;
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
      -- A cast would cut a text that is too long into the key of another row; reading a record refuses it.
      execute format(
        case
          when part ->> 'type' ~ '^(character|bit)'
            then 'select to_jsonb(r.k) #>> ''{}'' from jsonb_to_record(jsonb_build_object(''k'', $1)) r (k %s)'
          else 'select to_jsonb(cast($1 as %s)) #>> ''{}'''
        end,
        part ->> 'type') into value using given;
    exception when undefined_object then
      -- The type is gone with its table: the text stands as it is.
      value := given;
    end;
    texts := texts || key_text(value, part ->> 'text');
    place := place + 1;
  end loop;
  return key_of_texts(texts);
end
$$;

comment on function row_key(text, text, jsonb) is
  'The canonical row_key of a key given as text, array or object.';

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
  known_until(text, text, text[]), capture_lapses(text, text), note_lapse(text, text),
  lapses_closed(tstzmultirange, timestamptz),
  key_text(text, text), bounded_key(text), image_key(jsonb, jsonb, oid), key_of_texts(text[]), shielded(text),
  shield_removed(text), image(record),
  exact_text(record), capture_hints(oid, text[]), current_policy(jsonb, oid), redact(jsonb, jsonb, oid),
  describe_update(jsonb, jsonb, json, json, jsonb, oid), capture_relation(oid, text, text), settle_order(bigint),
  restore_order(bigint, bigint), capture_truncate(oid, text, text, text, jsonb),
  mark_rows(regclass, text, text, text), row_key(text, text, jsonb)
from public;
