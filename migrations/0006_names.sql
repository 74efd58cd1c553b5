-- The names that tables and their columns had: under which of them, and until when, changes are recorded.
--
-- Every read of a table asks these functions. In PL/pgSQL their statements are planned once a session; a function in SQL with
-- settings of its own is planned at every call.

-- The names that a table had, as its policy knows them, each with the time in which it belonged to this table. A name belonged
-- to the table unless an entry says otherwise, or another table had it that was renamed since.
create function own_names(
  policy_schema text, policy_name text,
  out table_schema text, out table_name text, out since timestamptz, out until timestamptz
)
returns setof record
language plpgsql stable rows 4
set search_path from current
as $$
#variable_conflict use_column
begin
  -- Nearly always no table was ever renamed.
  if not exists (select from capture_policies p where p.former_names <> '[]') then
    return query select own_names.policy_schema, own_names.policy_name, '-infinity'::timestamptz, 'infinity'::timestamptz;
    return;
  end if;
  return query
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
end
$$;

-- The policy that belongs to a name: the policy with this name, or that of the table which had the name last and was renamed
-- since. No row if there is none.
create function policy_of(table_schema text, table_name text, out policy_schema text, out policy_name text)
returns setof record
language plpgsql stable rows 1
set search_path from current
as $$
#variable_conflict use_column
begin
  return query
    select p.table_schema, p.table_name
    from capture_policies p
    where p.table_schema = policy_of.table_schema and p.table_name = policy_of.table_name;
  if not found then
    return query
      select p.table_schema, p.table_name
      from capture_policies p
      cross join lateral jsonb_to_recordset(p.former_names)
        e (schema text, name text, since timestamptz, until timestamptz, declared boolean)
      where p.former_names <> '[]'
        and e.schema = policy_of.table_schema
        and e.name = policy_of.table_name
        and e.declared is not true
      order by e.until desc nulls first
      limit 1;
  end if;
end
$$;

-- When a table got the name that its policy has. From then on no other name of the table counts.
create function named_since(table_schema text, table_name text) returns timestamptz
language plpgsql stable
set search_path from current
as $$
#variable_conflict use_column
begin
  return (
    select coalesce(max(e.until), '-infinity')
    from capture_policies p
    cross join lateral jsonb_to_recordset(p.former_names) e (until timestamptz, declared boolean)
    where p.table_schema = named_since.table_schema
      and p.table_name = named_since.table_name
      and e.declared is not true
  );
end
$$;

-- The names under which the changes of a table are recorded, each with its time, [since, until). Times of one name never
-- overlap, not even between tables. Declared former names come first. They are names of another table, up to the time when this
-- one took over.
create function table_names(
  table_schema text, table_name text,
  out former_schema text, out former_name text, out since timestamptz, out until timestamptz
)
returns setof record
language plpgsql stable rows 4
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
  if policy.former_names = '[]' then
    return query select o.* from own_names(policy.policy_schema, policy.policy_name) o order by 3, 4;
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

-- The declared former names of a table, as names of the tables that had them, up to the time when this one took over.
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

-- The names that the columns of a table had before, each with its time. Columns of tables that it declares as its past count
-- too.
create function column_names(
  table_schema text, table_name text,
  out column_name text, out formerly text, out since timestamptz, out until timestamptz
)
returns setof record
language plpgsql stable rows 4
set search_path from current
as $$
#variable_conflict use_column
declare
  policy record;
begin
  select p.former_columns, p.former_names into policy
  from policy_of(column_names.table_schema, column_names.table_name) o
  join capture_policies p on p.table_schema = o.policy_schema and p.table_name = o.policy_name;
  if not found or (policy.former_columns = '[]' and not policy.former_names @> '[{"declared": true}]') then
    return;
  end if;
  return query
    select c.column_name, c.formerly, coalesce(lower(c.span), '-infinity'), coalesce(upper(c.span), 'infinity')
    from (
      select e.value ->> 'column' as column_name, e.value ->> 'formerly' as formerly,
        t.span * tstzrange((e.value ->> 'since')::timestamptz, (e.value ->> 'until')::timestamptz) as span
      from (
        select policy.former_columns, tstzrange(null, null) as span
        union all
        select p.former_columns, tstzrange(e.since, e.until)
        from jsonb_to_recordset(policy.former_names)
          e (schema text, name text, since timestamptz, until timestamptz, declared boolean)
        cross join lateral policy_of(e.schema, e.name) o
        join capture_policies p on p.table_schema = o.policy_schema and p.table_name = o.policy_name
        where e.declared and p.former_names is distinct from policy.former_names
      ) t
      cross join lateral jsonb_array_elements(t.former_columns) e (value)
    ) c
    where not isempty(c.span);
end
$$;

comment on function column_names(text, text) is
  'The names that the columns of a table had before, each with its time: captured_at >= since and captured_at < until.';

revoke all on function
  own_names(text, text), policy_of(text, text), named_since(text, text), table_names(text, text), column_names(text, text),
  declared_names(text, text, text[])
from public;
