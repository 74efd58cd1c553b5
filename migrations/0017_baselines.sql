-- Baselines. The record does not know rows that were there before capture began, or that were written in a lapse. A baseline records them
-- as they are, in batches, while writers go on. A batch locks the rows of a few blocks against changes. It leaves out rows that a writer has
-- locked. So it waits for nobody, and a writer waits for one batch at most. While the lock is held, the image of a row is exact, and every
-- later change of the row gets a greater id and a later instant.

create table capture_baselines (
  id bigint generated always as identity primary key,
  table_schema text collate "C" not null,
  table_name text collate "C" not null,
  database text collate "C",
  -- The one of the policy. When capture is applied again, the baseline begins again.
  applied_at timestamptz not null,
  -- A row with a change since then is known.
  known_from timestamptz not null,
  -- The relations that hold the rows, and how far each has been read: [{ relation, file, blocks, next }].
  relations jsonb not null,
  -- Blocks with rows that a writer had locked: [{ relation, from, to }].
  waiting jsonb not null default '[]',
  recorded bigint not null default 0,
  state text collate "C" not null default 'running' check (state in ('running', 'done', 'abandoned')),
  started_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  started_by text collate "C" not null default session_user
);

comment on table capture_baselines is
  'Baselines of captured tables: how far each has come, and since when rows that never changed are known.';

-- One baseline of a table runs at a time. Any number of sessions may work on it, batch by batch.
create unique index capture_baselines_running_idx on capture_baselines (table_schema, table_name) where state = 'running';

-- A change since this instant makes its row known: it is the latest end of a lapse. Null while a lapse lasts.
create function baseline_known_from(table_schema text, table_name text) returns timestamptz
language sql stable
set search_path from current
begin atomic
  select case
    when upper_inf(l.lapses) then null
    else greatest(p.captured_since, upper(l.lapses),
      nullif(kept_since(baseline_known_from.table_schema, baseline_known_from.table_name), '-infinity'))
  end
  from capture_policies p
  cross join lateral (
    select capture_lapses(baseline_known_from.table_schema, baseline_known_from.table_name) as lapses
  ) l
  where p.table_schema = baseline_known_from.table_schema
    and p.table_name = baseline_known_from.table_name
    and p.removed_at is null;
end;

-- The relations that hold a table's rows, as they are now.
create function baseline_relations(root regclass) returns jsonb
language sql stable
set search_path from current
begin atomic
  select coalesce(jsonb_agg(jsonb_build_object(
    'relation', c.oid::bigint,
    'file', pg_relation_filenode(c.oid)::bigint,
    'blocks', pg_relation_size(c.oid) / current_setting('block_size')::int,
    'next', 0
  ) order by c.oid), '[]')
  from row_holders(root) h (oid)
  join pg_class c on c.oid = h.oid and c.relkind = 'r';
end;

-- The baseline to work on: the one that runs, otherwise a new one. Null while a lapse lasts.
create function baseline_begin(table_schema text, table_name text) returns bigint
language plpgsql
set search_path from current
as $$
declare
  known_since timestamptz;
  policy_applied timestamptz;
  result bigint;
begin
  perform pg_advisory_xact_lock(hashtextextended('threadline.baseline.' || table_schema || '.' || table_name, 0));
  known_since := baseline_known_from(table_schema, table_name);
  if known_since is null then
    return null;
  end if;
  select p.applied_at into policy_applied
  from capture_policies p
  where p.table_schema = baseline_begin.table_schema and p.table_name = baseline_begin.table_name;
  update capture_baselines b
  set state = 'abandoned', finished_at = clock_timestamp()
  where b.table_schema = baseline_begin.table_schema
    and b.table_name = baseline_begin.table_name
    and b.state = 'running'
    and (b.applied_at, b.known_from, b.database) is distinct from (policy_applied, known_since, this_database());
  select b.id into result
  from capture_baselines b
  where b.table_schema = baseline_begin.table_schema
    and b.table_name = baseline_begin.table_name
    and b.state = 'running';
  if result is null then
    insert into capture_baselines (table_schema, table_name, database, applied_at, known_from, relations)
    values (
      baseline_begin.table_schema, baseline_begin.table_name, this_database(), policy_applied, known_since,
      baseline_relations(format('%I.%I', baseline_begin.table_schema, baseline_begin.table_name)::regclass)
    )
    returning id into result;
  end if;
  return result;
end
$$;

-- The next blocks of a baseline: first those that nobody has read, then those with rows that were locked. Returns no row at the end, and
-- notes the end. The caller holds the baseline until the end of the transaction, so two sessions never get the same blocks.
create function baseline_next(
  baseline bigint, batch_rows int, out relation bigint, out label text, out from_block bigint, out to_block bigint,
  out is_waiting boolean
)
returns setof record
language plpgsql
set search_path from current
as $$
declare
  running record;
begin
  select * into running from capture_baselines b where b.id = baseline and b.state = 'running' for update;
  if not found then
    return;
  end if;
  select (e.value ->> 'relation')::bigint, c.oid::regclass::text, (e.value ->> 'next')::bigint,
    least((e.value ->> 'blocks')::bigint, (e.value ->> 'next')::bigint + greatest(1, (batch_rows / case
      when c.reltuples > 0 and c.relpages > 0 then greatest(1, c.reltuples / c.relpages) else 60 end)::bigint)),
    false
  into relation, label, from_block, to_block, is_waiting
  from jsonb_array_elements(running.relations) with ordinality e (value, place)
  -- A dropped partition has no rows any more.
  join pg_class c on c.oid = (e.value ->> 'relation')::oid
  where (e.value ->> 'next')::bigint < (e.value ->> 'blocks')::bigint
  order by e.place
  limit 1;
  if not found then
    select (e.value ->> 'relation')::bigint, c.oid::regclass::text, (e.value ->> 'from')::bigint, (e.value ->> 'to')::bigint, true
    into relation, label, from_block, to_block, is_waiting
    from jsonb_array_elements(running.waiting) with ordinality e (value, place)
    join pg_class c on c.oid = (e.value ->> 'relation')::oid
    order by e.place
    limit 1;
  end if;
  if not found then
    update capture_baselines b
    set state = 'done', waiting = '[]', updated_at = clock_timestamp(), finished_at = clock_timestamp()
    where b.id = baseline;
    return;
  end if;
  return next;
end
$$;

-- Records the rows of a batch that the caller has locked, and notes how far the baseline is. "visible" is how many rows the blocks have. If
-- some of them were left out, the blocks are read again later.
create function baseline_batch(
  baseline bigint, batch_relation bigint, from_block bigint, to_block bigint, is_waiting boolean, places tid[], visible bigint
) returns bigint
language plpgsql
set search_path from current
as $$
declare
  running record;
  marked bigint := 0;
  file bigint := pg_relation_filenode(batch_relation::oid::regclass);
  blocks bigint;
  moved boolean;
begin
  select * into running from capture_baselines b where b.id = baseline and b.state = 'running' for update;
  if cardinality(places) > 0 then
    marked := mark_rows(
      batch_relation::oid::regclass, running.table_schema, running.table_name, 'baseline', places, running.known_from);
  end if;
  -- What the schema watch or the catalog show now was so before the rows were read. Otherwise the rows could not have been read.
  if baseline_known_from(running.table_schema, running.table_name) is distinct from running.known_from then
    raise exception 'threadline: nothing is known of %.% since a moment ago', running.table_schema, running.table_name
      using errcode = 'TL007', hint = 'Run "threadline capture apply", then the baseline again.';
  end if;
  select (e.value ->> 'file')::bigint <> file into moved
  from jsonb_array_elements(running.relations) e
  where (e.value ->> 'relation')::bigint = batch_relation;
  if moved then
    -- The rows were rewritten (VACUUM FULL, CLUSTER) and may be in any block. What has been recorded stays known.
    blocks := pg_relation_size(batch_relation::oid::regclass) / current_setting('block_size')::int;
  end if;
  update capture_baselines b
  set recorded = b.recorded + marked,
    updated_at = clock_timestamp(),
    relations = (
      select jsonb_agg(case
        when (e.value ->> 'relation')::bigint <> batch_relation or (is_waiting and not moved) then e.value
        when moved then e.value || jsonb_build_object('file', file, 'blocks', blocks, 'next', 0)
        else e.value || jsonb_build_object('next', to_block)
      end order by e.place)
      from jsonb_array_elements(b.relations) with ordinality e (value, place)
    ),
    waiting = case when is_waiting then b.waiting - 0 else b.waiting end || case
      when not moved and cardinality(places) < visible
      then jsonb_build_array(jsonb_build_object('relation', batch_relation, 'from', from_block, 'to', to_block))
      else '[]' end
  where b.id = baseline;
  return marked;
end
$$;

revoke all on function
  baseline_known_from(text, text), baseline_relations(regclass), baseline_begin(text, text), baseline_next(bigint, int),
  baseline_batch(bigint, bigint, bigint, bigint, boolean, tid[], bigint)
from public;

select guard_record();
