-- Policies follow their tables and columns to other names, and what is known goes with them.

-- The former keys of a table, and after them the keys of another policy.
create function keys_joined(key_columns jsonb, former_keys jsonb, other_columns jsonb, other_keys jsonb) returns jsonb
language sql immutable
set search_path from current
return former_keys || case
  when other_columns = '[]' or other_columns = key_columns then '[]'
  else jsonb_build_array(other_columns)
end || other_keys;

-- A table is often rebuilt like this: the old one is renamed, the new one takes its name, and the old one is dropped. Then the
-- names that the dropped table had before go to the tables that have them now, as if it had never been renamed. The history
-- that such an heir has under its own former names stays under them.
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
    -- The earlier history of the heir stays under the name that it had last.
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

-- A captured table was renamed. Its policy and its known times go with it. Up to "at", its changes are under the former name.
-- If another captured table had the new name and was renamed itself, that table is followed first. If that table is gone, this
-- table goes on with the history under the name, after a lapse. Its own history stays under the former name.
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

-- A column was renamed. If another column has the former name now, "at" separates the two.
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

-- Columns of a table that were renamed since its policy was applied: [{ column, formerly }]. The record, or the last change in
-- the catalog, shows until when a column had its former name. This matters only if another column has that name now.
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
  -- Renames that were noted when they happened are known already.
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
        -- The first change whose row has the present name, if no column had it before.
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

-- The former names that a configuration declares for a table, [{ schema, name }], and for its columns, [{ column, formerly }].
-- Names that are known already stay as they are. Each name counts up to the next one, and the last one up to the time when this
-- table took over. A name is "other" if another table of this database had it: its rows are not rows of this table.
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
        -- If another column has the name now, it belongs to that column from the first row on that has the present name.
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

-- Policies of tables that have another name than their policy, or had one for a while, found by their identity in this
-- database. "names": names under which the table wrote since then, or that it has now. "sighted": when it first wrote under
-- another name. "taken": when another table first wrote under the name of the policy.
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
      c.xmin as touched, p.applied_at
    from here h
    join capture_policies p on p.database = h.database
    -- One by one: apply asks this for each table, and without statistics all policies would be compared with all of the catalog.
    cross join lateral (
      select c.relname, c.relnamespace, c.relkind, c.relispartition, c.xmin from pg_class c where c.oid = p.relation offset 0
    ) c
    join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'f')
      and not c.relispartition
      -- A policy that ended may belong to a name whose table was renamed since.
      and (p.removed_at is null or not exists (
        select from capture_policies o where o.relation = p.relation and o.removed_at is null))
  ),
  seen as (
    select k.relation, format('%I.%I', s.table_schema, s.table_name) as name, s.seen_at,
      s.named_by is not distinct from k.touched and format('%I.%I', s.table_schema, s.table_name) = k.present as still
    from known k
    join here h on true
    cross join lateral (
      select s.table_schema, s.table_name, s.seen_at, s.named_by
      from capture_sightings s
      where s.relation = k.relation and s.database = h.database and s.seen_at > k.applied_at
      offset 0
    ) s
    -- When the table got its name is asked of those alone that were seen.
    where s.seen_at > named_since(k.table_schema, k.table_name)
  ),
  named as (
    select k.*, s.sighted, coalesce(s.sightings, 0) as sightings,
      -- It wrote under its present name and was not altered since. Or it never wrote under another name.
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
        and s.seen_at > n.applied_at
        and s.seen_at > named_since(n.table_schema, n.table_name)
    ),
    n.plain,
    exists (select from named o where o.relation <> n.relation and o.names && n.names)
  from named n
  where n.policy <> n.present
    or n.sightings > 0
    or exists (select from seen s where s.relation <> n.relation and s.name = n.policy);
end;

-- The times at which a table changed its name, as the record shows them. If no other captured table had one of its names
-- meanwhile, all changes under these names belong to this table.
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

-- Follows every captured table of this database to the name that it has now. The changes under the names show until when each
-- table had each name. If captured tables exchanged their names more than once, the changes do not show it. Then that time is a
-- lapse of each of these tables.
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

  -- If the times of one table are unclear, so are those of every table that shares a name with it. A table has a name only
  -- until another one has it.
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

  -- First the tables whose new name is free. The others have exchanged their names.
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
    -- It may have been followed already, to make its name free for another table.
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

revoke all on function
  keys_joined(jsonb, jsonb, jsonb, jsonb), names_released(text, text), strayed_names(), names_written(text[], timestamptz),
  follow_names(), table_renamed(text, text, text, text, timestamptz), column_renamed(text, text, text, text, timestamptz),
  columns_renamed(text, text, jsonb), names_declared(text, text, jsonb, jsonb)
from public;
