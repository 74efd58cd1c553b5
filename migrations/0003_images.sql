-- The functions about keys and images that the generated trigger functions share. The generated functions hold what is known of
-- one table: its key, its redaction, the columns that it had when they were generated. Nothing here names a column of the host.

-- Equal keys have equal texts: "value" is the text of the image, "kind" says what equality ignores.
create function key_text(value text, kind text) returns text
language plpgsql immutable strict
set search_path from current
set intervalstyle = 'postgres'
as $$
begin
  if kind like 'shape %' then
    return key_shaped(value::jsonb, substr(kind, 7)::jsonb) #>> '{}';
  end if;
  case kind
    when 'numeric' then return trim_scale(value::numeric)::text;
    when 'interval' then return justify_interval(value::interval)::text;
    when 'citext' then return lower(value);
    when 'bpchar' then return rtrim(value, ' ');
    when 'numbers' then return numbers_trimmed(value::jsonb) #>> '{}';
    when 'bounds' then
      return regexp_replace(regexp_replace(value, '([.][0-9]*[1-9])0+(?=[],)])', E'\\1', 'g'), '[.]0*(?=[],)])', '', 'g');
    else return value;
  end case;
exception when others then
  return value;
end
$$;

-- jsonb with numbers that have no more digits than they need. Equal numbers become equal, whatever their scale.
create function numbers_trimmed(document jsonb) returns jsonb
language plpgsql immutable strict
set search_path from current
as $$
begin
  return case jsonb_typeof(document)
    when 'number' then to_jsonb(trim_scale(document::numeric))
    when 'array' then (
      select coalesce(jsonb_agg(numbers_trimmed(e.value) order by e.place), '[]')
      from jsonb_array_elements(document) with ordinality e (value, place)
    )
    when 'object' then (
      select coalesce(jsonb_object_agg(e.key, numbers_trimmed(e.value)), '{}') from jsonb_each(document) e
    )
    else document
  end;
end
$$;

-- The parts of an array or a composite, each as "shape" says: a kind of key_text, [kind of the elements], or { attribute: kind }. A part of an
-- array that is an array is another dimension.
create function key_shaped(document jsonb, shape jsonb) returns jsonb
language plpgsql immutable strict
set search_path from current
as $$
declare
  kind text := case jsonb_typeof(shape) when 'string' then shape #>> '{}' end;
begin
  return case
    when kind = 'text' or jsonb_typeof(document) = 'null' then document
    when kind in ('numeric', 'numbers') then numbers_trimmed(document)
    when jsonb_typeof(document) = 'array' then (
      select coalesce(
        jsonb_agg(key_shaped(e.value, case jsonb_typeof(shape) when 'array' then shape -> 0 else shape end) order by e.place), '[]')
      from jsonb_array_elements(document) with ordinality e (value, place)
    )
    when kind is not null then to_jsonb(key_text(document #>> '{}', kind))
    when jsonb_typeof(document) = 'object' then (
      select coalesce(jsonb_object_agg(e.key, key_shaped(e.value, coalesce(shape -> e.key, '"text"'))), '{}')
      from jsonb_each(document) e
    )
    else document
  end;
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

-- Functions on json resolve its escapes and fail at \u0000 and at lone surrogates. Shielded, these are plain text: an escaped
-- backslash becomes two of them, \u becomes an escaped backslash and a u. Different texts stay different, and shield_removed
-- gives the original text back. chr(1) never occurs in json.
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

-- The virtual generated columns that a table has now: triggers see null in them.
create function virtual_columns(relation oid) returns text[]
language sql stable
set search_path from current
begin atomic
  select coalesce(array_agg(a.attname::text), '{}')
  from pg_attribute a
  where a.attrelid = relation and a.attgenerated = 'v' and not a.attisdropped;
end;

-- "names" were virtual when the triggers were generated. If such a column holds a value, it is no longer virtual.
create function without_virtual(image jsonb, names text[], relation oid) returns jsonb
language plpgsql stable
set search_path from current
as $$
begin
  if image @> (select jsonb_object_agg(n, null) from unnest(names) n) then
    return image - names;
  end if;
  return image - virtual_columns(relation);
end
$$;

-- The named columns of a row, each as its text. A row is read anew from its own text: only so can its columns be named without
-- naming the type of the table beforehand.
create function column_texts(source text, relation oid, names text[]) returns jsonb
language plpgsql stable
set search_path from current
as $$
declare
  result jsonb;
begin
  execute (
    select format('select jsonb_build_object(%s) from (select $1::%s as it offset 0) r',
      string_agg(format('%1$L, (r.it).%1$I::text', a.attname), ', '), relation::regclass)
    from pg_attribute a
    where a.attrelid = relation and a.attname = any (names) and not a.attisdropped and a.attgenerated <> 'v'
  ) into result using source;
  return coalesce(result, '{}');
end
$$;

-- An image, made column by column. If the cast of a value to json fails, the value is kept as its text, and no other column is
-- affected.
create function image_by_column(source text, relation oid) returns jsonb
language plpgsql stable
set search_path from current
as $$
declare
  result jsonb := '{}';
  field name;
  value jsonb;
begin
  for field in
    select a.attname
    from pg_attribute a
    where a.attrelid = relation and a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v'
    order by a.attnum
  loop
    begin
      execute format('select to_jsonb((r.it).%I) from (select $1::%s as it offset 0) r', field, relation::regclass)
      into value using source;
    exception when others then
      begin
        value := column_texts(source, relation, array[field::text]) -> field::text;
      exception when others then
        value := jsonb_build_object('threadline:omitted', sqlstate);
      end;
    end;
    result := result || jsonb_build_object(field, value);
  end loop;
  return result;
end
$$;

-- Those of the named columns that hold values now.
create function valued_columns(relation oid, names text[]) returns text[]
language sql stable
set search_path from current
begin atomic
  select coalesce(array_agg(a.attname::text), '{}')
  from pg_attribute a
  where a.attrelid = relation and a.attname = any (names) and a.attgenerated <> 'v' and not a.attisdropped;
end;

-- The image of a row, for any values, and even if its table was altered. "names" are the columns with values that were known when
-- the triggers were generated and have values still: any other may be virtual, or of a type that needs settings which they do not
-- make. "texts" are those that hold the text of their value.
create function image_of(source record, relation oid, names text[], texts text[]) returns jsonb
language plpgsql stable
set search_path from current
as $$
declare
  result jsonb := image(source);
begin
  if texts = '{}' and result - names = '{}' then
    return result;
  end if;
  return settled_image(source, relation, texts);
end
$$;

create function settled_image(source record, relation oid, texts text[]) returns jsonb
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
  result jsonb := image(source);
begin
  if result ? 'threadline:omitted' and not exists (
    select from pg_attribute a where a.attrelid = relation and a.attname = 'threadline:omitted'
  ) then
    result := image_by_column(source::text, relation);
  end if;
  if texts <> '{}' then
    result := result || column_texts(source::text, relation, texts);
  end if;
  -- As "virtual_columns", of which a call for each row costs more than its query.
  return result - array(
    select a.attname::text from pg_attribute a where a.attrelid = relation and a.attgenerated = 'v' and not a.attisdropped);
exception when others then
  return image(source);
end
$$;

-- The fields in which two rows differ that have the same image: json null and SQL's null, the bounds of an array, a negative
-- zero. Null if they do not differ, or only in excluded columns. Empty if it cannot be told which fields differ.
create function alike_fields(old_row record, new_row record, relation oid, excluded text[]) returns text[]
language plpgsql stable
set search_path from current
as $$
declare
  result text[];
begin
  if old_row::text is not distinct from new_row::text then
    return null;
  end if;
  execute (
    select format('select array_remove(array[%s]::text[], null) from (select $1::%s as o, $2::%2$s as n offset 0) r',
      string_agg(format('case when (r.o).%1$I::text is distinct from (r.n).%1$I::text then %1$L end', a.attname), ', '
        order by a.attname),
      relation::regclass)
    from pg_attribute a
    where a.attrelid = relation
      and a.attnum > 0
      and not a.attisdropped
      and a.attgenerated <> 'v'
      and a.attname <> all (excluded)
  ) into result using old_row::text, new_row::text;
  return nullif(result, '{}');
exception when others then
  return case when excluded = '{}' then '{}'::text[] end;
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

-- What a statement on many rows must know of its table now. "guard": a column has a type with values that jsonb may refuse.
-- "stale": the columns with values are not those that the triggers were generated for, or a column is virtual that was not.
create function capture_hints(relation oid, columns text[], virtual_names text[], out guard boolean, out stale boolean)
language sql stable
set search_path from current
begin atomic
  select
    bool_or(not (t.typtype = 'e' or (t.typnamespace = 'pg_catalog'::regnamespace and t.typname = any (
      '{bool,bytea,char,name,int8,int2,int4,text,oid,float4,float8,money,bpchar,varchar,date,time,timestamp,
        timestamptz,interval,timetz,numeric,uuid,jsonb,inet,cidr,macaddr,macaddr8,tsvector,
        _bool,_int2,_int4,_int8,_text,_varchar,_uuid,_numeric,_date,_timestamptz}'::name[]))))
      filter (where a.attgenerated <> 'v'),
    count(*) filter (where a.attgenerated <> 'v' and a.attname::text = any (columns)) <> cardinality(columns)
      or count(*) filter (where a.attgenerated <> 'v') <> cardinality(columns)
      or bool_or(a.attgenerated = 'v' and a.attname::text <> all (virtual_names))
  from pg_attribute a
  join pg_type t on t.oid = a.atttypid
  where a.attrelid = relation
    and a.attnum > 0
    and not a.attisdropped;
end;

-- The policy, rewritten for the names that columns have now. Names that were exchanged since (a to b, b to a) leave images of the
-- same names, with other values under them: whatever name a redacted column has is masked as well, and a key is read from where
-- it is. Only columns of the very table tell, and only where their order is another: a restored table numbers them anew and keeps
-- the order.
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
      from (
        select x.attnum, max(x.attnum) over (
          order by (e.value ->> 'attnum')::int2 rows between unbounded preceding and 1 preceding) as before
        from jsonb_array_elements(p.columns) e
        join pg_attribute x on x.attrelid = p.relation and x.attname = e.value ->> 'name' and not x.attisdropped
      ) o
      where o.attnum < o.before
    );
  if names is null then
    return policy;
  end if;
  return policy || jsonb_build_object(
    'masked', policy -> 'masked' || (
      select coalesce(jsonb_agg(n.value), '[]')
      from jsonb_each(names) n
      where policy -> 'excluded' ? n.key or policy -> 'masked' ? n.key or policy -> 'paths' ? n.key
    ),
    'key', (
      select coalesce(jsonb_agg(k.value || jsonb_build_object('from', coalesce(names -> (k.value ->> 'name'), k.value -> 'name'))
        order by k.place), '[]')
      from jsonb_array_elements(policy -> 'key') with ordinality k (value, place)
    )
  );
end
$$;

-- The keys of hashed masks; the newest one counts. Only the owner of the record reads this table: who knows a key can try out
-- values. A key is kept as its two blocks of HMAC (RFC 2104), so that a hash costs two calls of sha256. "id" is a part of every hash,
-- so that hashes of different keys are never taken for those of one.
create table mask_keys (
  id text collate "C" primary key,
  inner_block bytea not null check (octet_length(inner_block) = 64),
  outer_block bytea not null check (octet_length(outer_block) = 64),
  created_at timestamptz not null default clock_timestamp()
);

comment on table mask_keys is
  'Keys of the mask "hash". Nobody but the owner reads it. Leave its rows out of dumps that others get: --exclude-table-data.';

-- From now on hashes are made with another key. Those of before stay as they are, and no longer equal new ones.
create function rotate_mask_key() returns text
language sql
set search_path from current
begin atomic
  insert into mask_keys (id, inner_block, outer_block)
  select left(encode(sha256(k.key || 'threadline mask key'::bytea), 'hex'), 8), b.inner_block, b.outer_block
  from (select sha256(string_agg(uuid_send(gen_random_uuid()), '')) as key from generate_series(1, 4)) k
  cross join lateral (
    select
      decode(string_agg(lpad(to_hex(o.octet # 54), 2, '0'), '' order by o.place), 'hex') as inner_block,
      decode(string_agg(lpad(to_hex(o.octet # 92), 2, '0'), '' order by o.place), 'hex') as outer_block
    from (
      select n as place, case when n < 32 then get_byte(k.key, n) else 0 end as octet from generate_series(0, 63) n
    ) o
  ) b
  returning id;
end;

comment on function rotate_mask_key() is
  'Makes a new key for the mask "hash" and gives its id. Only the owner of the record may call it.';

-- Made here, and by every later run if it is missing: a restore without the table's rows brings no key.
create function ensure_mask_key() returns void
language sql
set search_path from current
begin atomic
  select rotate_mask_key() where not exists (select from mask_keys);
end;

select ensure_mask_key();

-- The keyed hash of a text; without a key, or if the text cannot be hashed, nothing of it. It never fails: a write depends on it.
create function mask_hash(value text) returns text
language plpgsql stable
set search_path from current
as $$
declare
  made record;
begin
  select k.id, k.inner_block, k.outer_block into made from mask_keys k order by k.created_at desc, k.id desc limit 1;
  return coalesce(
    'hmac:' || made.id || ':' || encode(
      sha256(made.outer_block || sha256(made.inner_block || convert_to(coalesce('t' || value, 'n'), 'UTF8'))), 'hex'),
    '[masked]');
exception when others then
  return '[masked]';
end
$$;

-- What takes the place of a masked value. "last4" shows four characters if at least as many stay hidden. Whether the value is null
-- is hidden by each of them: the hash of null is one of many.
create function mask_value(value jsonb, kind text) returns jsonb
language plpgsql stable
set search_path from current
as $$
begin
  case kind
    when 'null' then return 'null';
    when 'last4' then
      return to_jsonb(case when length(value #>> '{}') >= 8 then '****' || right(value #>> '{}', 4) else '****' end);
    when 'hash' then return to_jsonb(mask_hash(value #>> '{}'));
    else return '"[masked]"';
  end case;
end
$$;

-- Masks those of the named fields that a document has. "masks" is { field: mask }.
create function mask_fields(document jsonb, masks jsonb) returns jsonb
language sql stable
set search_path from current
begin atomic
  select document || coalesce(jsonb_object_agg(m.key, mask_value(document -> m.key, m.value)), '{}')
  from jsonb_each_text(masks) m
  where document ? m.key;
end;

-- Redacts what is at a path inside a value, in every element of the arrays on the way. A string on the way may hold anything, a document
-- as well: it is masked, unless "compared" tells that two values are compared and neither is kept.
create function redact_path(value jsonb, path text[], kind text, compared boolean) returns jsonb
language plpgsql stable
set search_path from current
as $$
begin
  if jsonb_typeof(value) = 'array' then
    return (
      select coalesce(jsonb_agg(redact_path(e.value, path, kind, compared) order by e.place), '[]')
      from jsonb_array_elements(value) with ordinality e (value, place)
    );
  end if;
  if jsonb_typeof(value) = 'string' and not compared then
    return '"[masked]"';
  end if;
  if jsonb_typeof(value) is distinct from 'object' or not value ? path[1] then
    return value;
  end if;
  return case
    when cardinality(path) > 1 then value || jsonb_build_object(path[1], redact_path(value -> path[1], path[2:], kind, compared))
    when kind = 'exclude' then value - path[1]
    else value || jsonb_build_object(path[1], mask_value(value -> path[1], kind))
  end;
end
$$;

-- The value of a json column without what its policy redacts; "paths" is [{ path, as }]. With "only_as" two values are compared, and only
-- those paths count. A value that jsonb cannot hold is kept as a string, which is masked as a whole.
create function redact_paths(value jsonb, paths jsonb, only_as text default null) returns jsonb
language plpgsql stable
set search_path from current
as $$
declare
  one jsonb;
begin
  for one in select e.value from jsonb_array_elements(paths) e loop
    if only_as is null or one ->> 'as' = only_as then
      value := redact_path(value, array(select jsonb_array_elements_text(one -> 'path')), one ->> 'as', only_as is not null);
    end if;
  end loop;
  return value;
end
$$;

-- What the functions about images need of a policy: { key, excluded, masked, masks, paths, columns, texts }.
create function policy_document(policy capture_policies) returns jsonb
language sql stable
set search_path from current
begin atomic
  select jsonb_build_object(
    'key', policy.key_columns,
    'excluded', to_jsonb(policy.excluded),
    'masked', to_jsonb(policy.masked),
    'masks', policy.masks,
    'paths', policy.paths,
    'columns', (
      select jsonb_agg(c ->> 'name') from jsonb_array_elements(policy.columns) c where not (c ->> 'virtual')::boolean
    ),
    'texts', (
      select coalesce(jsonb_agg(c ->> 'name'), '[]') from jsonb_array_elements(policy.columns) c where c ->> 'comparison' = 'cast'
    )
  );
end;

-- The part of an image that may be stored. "policy" is { key, excluded, masked, columns, json }, with masks and paths if there are any. Where an
-- excluded or masked name is gone from the image it was renamed: then every name that was unknown when the
-- triggers were generated is masked, until they are generated anew. Where a new column took its name, the table
-- itself tells which of the unknown names is the renamed one; a restored table can not, and all are masked.
create function redact(image jsonb, policy jsonb, relation oid) returns jsonb
language plpgsql stable
set search_path from current
as $$
declare
  root oid;
  redacted text[];
  field text;
  hides boolean;
begin
  if image is null
    or (policy -> 'excluded' = '[]' and policy -> 'masked' = '[]' and coalesce(policy -> 'paths', '{}') = '{}')
  then
    return image;
  end if;
  root := coalesce(pg_partition_root(relation), relation);
  redacted := array(
    select jsonb_array_elements_text(policy -> 'excluded' || (policy -> 'masked'))
    union all
    select jsonb_object_keys(policy -> 'paths')
  );
  for field in select jsonb_object_keys(image) loop
    hides := policy -> 'masked' ? field;
    -- Apart from the rest: an expression that holds a query costs ten times as much, whether or not the query is run.
    if not policy -> 'columns' ? field then
      hides := hides
        or not image ?& redacted
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
        );
    end if;
    if hides then
      image := jsonb_set(image, array[field], mask_value(image -> field, policy -> 'masks' ->> field));
    elsif policy -> 'paths' ? field then
      image := jsonb_set(image, array[field], redact_paths(image -> field, policy -> 'paths' -> field));
    end if;
  end loop;
  return image - array(select jsonb_array_elements_text(policy -> 'excluded'));
end
$$;

-- The slow and general way from two images to one change, for tables with json columns and for tables
-- altered since their triggers were generated.
create function describe_update(
  old_image jsonb, new_image jsonb, old_text json, new_text json, old_row record, new_row record, policy jsonb, relation oid,
  out changed boolean, out row_pk jsonb, out row_key text, out previous_row_key text,
  out changed_fields text[], out changed_from jsonb, out data_after jsonb, out details jsonb
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
      case
        when policy -> 'paths' ? f.field
        then redact_paths(old_image -> f.field, policy -> 'paths' -> f.field, 'exclude')::text
          is distinct from redact_paths(new_image -> f.field, policy -> 'paths' -> f.field, 'exclude')::text
        else (old_image -> f.field)::text is distinct from (new_image -> f.field)::text
      end
      -- Of a column with redacted paths, only the text around them may tell that it changed.
      or (not coalesce(policy -> 'paths' ? f.field
          and (old_image -> f.field)::text is distinct from (new_image -> f.field)::text, false)
        and (policy -> 'json' ? f.field or not policy -> 'columns' ? f.field)
        and (old_text -> replace(f.field, E'\\', E'\\\\'))::text
          is distinct from (new_text -> replace(f.field, E'\\', E'\\\\'))::text)
    );
  if changed_fields is null then
    -- A column in which only an excluded path changed has not changed.
    changed_fields := alike_fields(old_row, new_row, relation, hidden || array(
      select p.key
      from jsonb_each(policy -> 'paths') p
      where (old_image -> p.key)::text is distinct from (new_image -> p.key)::text
    ));
    details := case when changed_fields is not null then jsonb_build_object('alike', changed_fields) end;
  end if;
  -- If an image could not be built, it is not known whether it is the same.
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

-- The same for an old and a new row that belong together, if there are both.
create function describe_change(
  old_image jsonb, new_image jsonb, old_text json, new_text json, old_row record, new_row record, policy jsonb, relation oid,
  out op text, out row_pk jsonb, out row_key text, out previous_row_key text,
  out changed_fields text[], out changed_from jsonb, out data_after jsonb, out details jsonb
)
language plpgsql stable
set search_path from current
as $$
begin
  if new_image is null then
    op := 'delete';
    select k.row_pk, k.row_key into row_pk, row_key from image_key(old_image, policy -> 'key', relation) k;
    changed_from := redact(old_image, policy, relation);
  elsif old_image is null then
    op := 'insert';
    select k.row_pk, k.row_key into row_pk, row_key from image_key(new_image, policy -> 'key', relation) k;
    data_after := redact(new_image, policy, relation);
  else
    select case when c.changed then 'update' end, c.row_pk, c.row_key, c.previous_row_key, c.changed_fields, c.changed_from,
      c.data_after, c.details
    into op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after, details
    from describe_update(old_image, new_image, old_text, new_text, old_row, new_row, policy, relation) c;
  end if;
end
$$;

-- The image of an array or a composite that is given as the JSON which the record shows. Null if it cannot be read so, or has other attributes
-- than the type.
create function key_shown(given text, type text) returns text
language plpgsql stable
set search_path from current
as $$
declare
  document jsonb;
  value jsonb;
  names constant jsonpath := 'lax $.** ? (@.type() == "object").keyvalue().key';
begin
  document := given::jsonb;
  if jsonb_typeof(document) not in ('array', 'object') then
    return null;
  end if;
  execute format('select to_jsonb(r.k) from jsonb_to_record(jsonb_build_object(''k'', $1)) r (k %s)', type) into value using document;
  -- Attributes of other names would be ignored.
  return case
    when jsonb_path_query_array(value, names) = jsonb_path_query_array(document, names) then value #>> '{}'
  end;
exception when others then
  return null;
end
$$;

-- The row_key under which a row is found, from what a person knows of its key: a text (one column), an
-- array in key order, or an object. PostgreSQL itself renders each value as its column's type does.
create function key_in_columns(table_schema text, table_name text, key jsonb, columns jsonb) returns text
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
  part jsonb;
  place int := 0;
  given text;
  value text;
  texts text[] := '{}';
begin
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
      -- A cast would shorten a text that is too long, and find another row. Reading it as a record raises an error instead.
      execute format(
        case
          when part ->> 'type' ~ '^(character|bit)'
            then 'select to_jsonb(r.k) #>> ''{}'' from jsonb_to_record(jsonb_build_object(''k'', $1)) r (k %s)'
          else 'select to_jsonb(cast($1 as %s)) #>> ''{}'''
        end,
        part ->> 'type') into value using given;
    exception
      when undefined_object or undefined_table or undefined_function or invalid_schema_name or invalid_name or ambiguous_function then
        -- The type is gone with its table, or what the value names (a regclass) is gone. So the text is taken as it is.
        value := given;
      when invalid_text_representation then
        value := key_shown(given, part ->> 'type');
        if value is null then
          raise;
        end if;
    end;
    texts := texts || key_text(value, part ->> 'text');
    place := place + 1;
  end loop;
  return key_of_texts(texts);
end
$$;

-- The canonical text of a key of a table. If it does not fit the columns of the present key, it may fit a key that the table had
-- before. Changes of that time are still found by it.
create function row_key(table_schema text, table_name text, key jsonb) returns text
language plpgsql stable
set search_path from current
as $$
declare
  policy record;
  former jsonb;
begin
  select p.key_columns, p.former_keys, p.key_values, p.relation into policy
  from policy_of(row_key.table_schema, row_key.table_name) o
  join capture_policies p on p.table_schema = o.policy_schema and p.table_name = o.policy_name;
  if policy.key_columns is null then
    raise exception 'threadline: %.% is not audited', table_schema, table_name using errcode = 'TL002';
  end if;
  -- A key too long for an index, as the record shows it (bounded_key).
  if jsonb_typeof(key) = 'string' and key #>> '{}' ~ '^.{100}:sha256:[0-9a-f]{64}$' then
    return key #>> '{}';
  end if;
  if policy.former_keys = '[]' and policy.key_values = '{}' then
    return key_in_columns(table_schema, table_name, key, policy.key_columns);
  end if;
  begin
    return key_in_columns(table_schema, table_name, key, policy.key_columns);
  exception when others then
    for former in
      select former_key(policy.key_columns, policy.key_values, '{}')
      where key_values_renamed(policy.relation, policy.key_columns, policy.key_values) <> '{}'
      union all
      (select e.value from jsonb_array_elements(policy.former_keys) with ordinality e order by e.ordinality)
    loop
      begin
        return key_in_columns(table_schema, table_name, key, former);
      exception when others then
        null;
      end;
    end loop;
    raise;
  end;
end
$$;

comment on function row_key(text, text, jsonb) is
  'The canonical row_key of a key given as text, array or object.';

revoke all on function
  key_text(text, text), bounded_key(text), numbers_trimmed(jsonb), key_shaped(jsonb, jsonb), image_key(jsonb, jsonb, oid), key_of_texts(text[]),
  shielded(text), shield_removed(text), image(record), exact_text(record), capture_hints(oid, text[], text[]), current_policy(jsonb, oid),
  rotate_mask_key(), ensure_mask_key(), mask_hash(text), mask_value(jsonb, text), mask_fields(jsonb, jsonb),
  redact_path(jsonb, text[], text, boolean), redact_paths(jsonb, jsonb, text), policy_document(capture_policies),
  redact(jsonb, jsonb, oid), describe_update(jsonb, jsonb, json, json, record, record, jsonb, oid),
  describe_change(jsonb, jsonb, json, json, record, record, jsonb, oid), virtual_columns(oid), valued_columns(oid, text[]),
  without_virtual(jsonb, text[], oid), column_texts(text, oid, text[]), image_by_column(text, oid),
  image_of(record, oid, text[], text[]), settled_image(record, oid, text[]), alike_fields(record, record, oid, text[]),
  row_key(text, text, jsonb), key_shown(text, text), key_in_columns(text, text, jsonb, jsonb)
from public;
