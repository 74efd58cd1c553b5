-- Indexes of reads. Each costs every write that it covers, so those that a write pays for in full are few: see
-- docs/indexes.md for what each is for and what it costs.

-- Ids and times rise together. A few bytes for 32 pages find the changes around an instant, and a change by its id. The sum keeps
-- the planner from using it where the btree on transaction_id belongs. No btree begins with the id.
create index audit_changes_time_idx
  on audit_changes using brin (captured_at, id, (transaction_id + 0))
  with (autosummarize = on, pages_per_range = 32);

-- Deletes and truncates, by table. Inserts and updates do not pay for it.
create index audit_changes_removed_idx
  on audit_changes (table_schema, table_name, transaction_id, id)
  with (deduplicate_items = off)
  where op in ('delete', 'truncate');

-- The ids that a host's other systems know a transaction by. They are looked up whole and match few rows, so a Bloom filter for
-- every twelve pages is enough; three btrees of random texts would cost each transaction more than its own row does. A filter has
-- fewer than 500 bytes, so PostgreSQL does not compress it. A transaction that is written where a purge has made room changes the
-- filters of these pages, and would compress them anew. What a search through such an index costs is estimated from the order of
-- the rows by its columns: by these there is none, and the planner would read the table instead. By id there is: a search that
-- names an id as well is estimated as what it costs. A transaction without such ids does not pay for it.
create index audit_transactions_ids_idx
  on audit_transactions using brin (
    id,
    request_id text_bloom_ops (n_distinct_per_range = 350, false_positive_rate = 0.005),
    job_id text_bloom_ops (n_distinct_per_range = 350, false_positive_rate = 0.005),
    trace_id text_bloom_ops (n_distinct_per_range = 350, false_positive_rate = 0.005)
  )
  with (autosummarize = on, pages_per_range = 12)
  where request_id is not null or job_id is not null or trace_id is not null;

-- Transactions of a correlation in the order of their ids, which is the order of a timeline.
drop index audit_actions_correlation_idx;
create index audit_actions_correlation_idx on audit_actions (correlation_id, transaction_id)
  where correlation_id is not null;
create index audit_actions_name_idx on audit_actions (name, transaction_id);
create index audit_actions_actor_idx on audit_actions (actor_type, actor_id, occurred_at, id)
  with (deduplicate_items = off)
  where actor_type is not null;
create index audit_actions_occurred_idx on audit_actions (occurred_at, id)
  with (deduplicate_items = off);

-- Failures are few, and nothing else pays for finding them.
create index audit_actions_failed_idx on audit_actions (occurred_at, id)
  with (deduplicate_items = off)
  where status = 'error';
create index audit_actions_failed_transaction_idx on audit_actions (transaction_id)
  where status = 'error' and transaction_id is not null;

-- The changes of some keys of a table that are nearest to an instant, at most so many on one side of it: changes under the key, and
-- those that moved a row away from it. Only changes of a time count: from "since", before "until".
--
-- A statement over all partitions takes longer to plan than to run. The plan of a function stays with the session, and leaves out
-- partitions when it runs. It must not depend on the values: a plan for the values of a call would be made at every call.
create function changes_near(
  keys text[], of_schema text, of_name text, side text, instant timestamptz, since timestamptz, until timestamptz, most int
)
returns table (
  own_key text, id bigint, transaction_id bigint, captured_at timestamptz, table_schema text, table_name text, partition_name text,
  op text, row_pk jsonb, row_key text, previous_row_key text, changed_fields text[], changed_from jsonb, data_after jsonb,
  details jsonb
)
language plpgsql stable rows 10
set search_path from current
set plan_cache_mode = force_generic_plan
set jit = off
as $$
#variable_conflict use_column
begin
  if side = 'before' then
    return query
      select k.key, c.*
      from unnest(keys) k (key)
      cross join lateral (
        (
          select c.*
          from audit_changes c
          where c.row_key = k.key
            and c.table_name = of_name
            and c.table_schema = of_schema
            and c.captured_at <= instant
            and c.captured_at >= since
            and c.captured_at < until
          order by c.captured_at desc, c.id desc
          limit most
        )
        union all
        (
          select c.*
          from audit_changes c
          where c.previous_row_key = k.key and c.row_key is distinct from k.key
            and c.table_name = of_name
            and c.table_schema = of_schema
            and c.captured_at <= instant
            and c.captured_at >= since
            and c.captured_at < until
          order by c.captured_at desc, c.id desc
          limit most
        )
        order by captured_at desc, id desc
        limit most
      ) c;
  else
    return query
      select k.key, c.*
      from unnest(keys) k (key)
      cross join lateral (
        (
          select c.*
          from audit_changes c
          where c.row_key = k.key
            and c.table_name = of_name
            and c.table_schema = of_schema
            and c.captured_at > instant
            and c.captured_at >= since
            and c.captured_at < until
          order by c.captured_at, c.id
          limit most
        )
        union all
        (
          select c.*
          from audit_changes c
          where c.previous_row_key = k.key and c.row_key is distinct from k.key
            and c.table_name = of_name
            and c.table_schema = of_schema
            and c.captured_at > instant
            and c.captured_at >= since
            and c.captured_at < until
          order by c.captured_at, c.id
          limit most
        )
        order by captured_at, id
        limit most
      ) c;
  end if;
end
$$;

revoke all on function changes_near(text[], text, text, text, timestamptz, timestamptz, timestamptz, int) from public;

-- The first TRUNCATE of a table behind each of some changes of keys ({ own_key, id, transaction_id, captured_at, next_at, next_id }) and
-- before the next one of the key: of the whole table, or else one of a partition that may have removed the row. A TRUNCATE removes all rows, but it records only
-- those that its own snapshot sees. Only those of a time count: from "since", before "until". They have no key, and the index of row histories
-- finds them by that. The empty text and the settings keep the planner from the index of deletes and from bitmaps of a time: if its
-- statistics are older than the deletes, these seem as good, and each change would walk all deletes of the table.
create function truncates_behind(changes jsonb, of_schema text, of_name text, since timestamptz, until timestamptz)
returns table (
  own_key text, follows bigint, id bigint, transaction_id bigint, captured_at timestamptz, table_schema text, table_name text, partition_name text,
  op text, row_pk jsonb, row_key text, previous_row_key text, changed_fields text[], changed_from jsonb, data_after jsonb,
  details jsonb
)
language plpgsql stable rows 1
set search_path from current
set plan_cache_mode = force_generic_plan
set jit = off
set enable_bitmapscan = off
set enable_seqscan = off
as $$
#variable_conflict use_column
begin
  return query
    select o.own_key, o.id, r.*
    from jsonb_to_recordset(changes)
      o (own_key text, id bigint, transaction_id bigint, captured_at timestamptz, next_at timestamptz, next_id bigint)
    cross join lateral (
      select r.*
      from audit_changes r
      where r.table_name = of_name
        and r.table_schema = of_schema
        and r.op || '' = 'truncate'
        and r.row_key is null
        and r.captured_at >= since
        and r.captured_at < until
        and r.captured_at >= o.captured_at
        and r.captured_at <= o.next_at
        and (r.captured_at, r.id) > (o.captured_at, o.id)
        and (r.captured_at, r.id) < (o.next_at, o.next_id)
        and (
          r.partition_name is null
          or r.details ? 'unread'
          or r.details ? 'snapshot' and exists (
            select
            from audit_transactions tr
            join audit_transactions tc on tc.id = o.transaction_id
            where tr.id = r.transaction_id
              and tr.epoch = tc.epoch
              and tr.xid <> tc.xid
              and not pg_visible_in_snapshot(tc.xid, (r.details ->> 'snapshot')::pg_snapshot)
          )
        )
      order by r.partition_name nulls first, r.captured_at, r.id
      limit 1
    ) r;
end
$$;

revoke all on function truncates_behind(jsonb, text, text, timestamptz, timestamptz) from public;

-- Changes of keys of which it is known where they are ({ key, nth, row_key, at, id }): each is read there.
create function changes_known(changes jsonb, of_schema text, of_name text, since timestamptz, until timestamptz)
returns table (
  own_key text, nth int, id bigint, transaction_id bigint, captured_at timestamptz, table_schema text, table_name text,
  partition_name text, op text, row_pk jsonb, row_key text, previous_row_key text, changed_fields text[], changed_from jsonb,
  data_after jsonb, details jsonb
)
language plpgsql stable rows 100
set search_path from current
set plan_cache_mode = force_generic_plan
set jit = off
as $$
#variable_conflict use_column
begin
  return query
    select k.key, k.nth, c.*
    from jsonb_to_recordset(changes) k (key text, nth int, row_key text, at timestamptz, id bigint)
    cross join lateral (
      select c.*
      from audit_changes c
      where c.row_key = k.row_key
        and c.table_name = of_name
        and c.table_schema = of_schema
        and c.captured_at = k.at
        and c.id = k.id
        and c.captured_at >= since
        and c.captured_at < until
      offset 0
    ) c;
end
$$;

revoke all on function changes_known(jsonb, text, text, timestamptz, timestamptz) from public;

-- The keys of a table behind one and before another, as far as so many entries of the index of row histories reach, and of each its
-- two changes that are nearest to an instant: the last ones before it or, if none is, the first ones after it. The index holds the
-- changes of all tables. "captured" and "kept" are the ends of the captured time around the instant. A key without a side had certainly no row: its
-- first change behind the instant brought it, and the next one is of another transaction. "complete" is false if a nearest change is not
-- found through the index, because it moved its row away without giving it a key.
--
-- The last row has no key. All keys up to its "up_to" were looked at. It is null if there are no further keys. A key that fills a
-- quarter of the entries is busy: it comes last, and nothing else is known of it. If a stretch ends within another key, the next one begins with it.
create function keys_near(
  of_schema text, of_name text, since timestamptz, until timestamptz, after text, before text, entries int, instant timestamptz,
  captured timestamptz, kept timestamptz
)
returns table (
  key text, complete boolean, side text, entry_key text, entry_at timestamptz, entry_id bigint, second_key text,
  second_at timestamptz, second_id bigint, up_to text
)
language plpgsql stable rows 500
set search_path from current
set plan_cache_mode = force_generic_plan
set jit = off
as $$
#variable_conflict use_column
declare
  -- The first text behind it.
  low text collate "C" := coalesce(after || E'\x01', '');
  quarter int := (entries + 3) / 4;
  own text[] collate "C";
  moved text[] collate "C";
  last text collate "C";
  seen text collate "C";
  busy text collate "C";
  bound text collate "C";
  high text collate "C";
begin
  -- Only the end of the stretch is kept. To keep all of it would take longer than to read it.
  own := array(
    select c.row_key from audit_changes c where c.row_key >= low order by c.row_key offset entries - quarter limit quarter
  );
  moved := array(
    select c.previous_row_key
    from audit_changes c
    where c.previous_row_key >= low
    order by c.previous_row_key
    offset entries - quarter
    limit quarter
  );
  last := least(own[quarter], moved[quarter]);
  if last >= before collate "C" then
    last := null;
  end if;
  if last is distinct from own[1] and last is distinct from moved[1] then
    seen := (select max(f.key) from unnest(own || moved) f (key) where f.key < last collate "C");
  end if;
  busy := case when seen is null then last end;
  bound := coalesce(busy, before);
  high := seen;
  if high is null and bound is null then
    high := greatest(
      (select max(c.row_key) from audit_changes c where c.row_key >= low),
      (select max(c.previous_row_key) from audit_changes c where c.previous_row_key >= low)
    );
  elsif high is null then
    high := greatest(
      (select max(c.row_key) from audit_changes c where c.row_key >= low and c.row_key < bound),
      (select max(c.previous_row_key) from audit_changes c where c.previous_row_key >= low and c.previous_row_key < bound)
    );
  end if;
  return query
    select e.key,
      e.row_key is not null and (e.second_id is null or e.second_key is not null),
      case
        when e.side = 'after'
          and (f.op in ('insert', 'baseline') or f.row_key = e.key and coalesce(f.previous_row_key, e.key) <> e.key)
          and f.transaction_id is distinct from s.transaction_id
        then null
        else e.side
      end,
      e.row_key, e.captured_at, e.id, e.second_key, e.second_at, e.second_id, null::text
    from (
      select e.key, e.row_key, e.captured_at, e.id,
        case when e.captured_at <= instant then 'before' else 'after' end as side,
        case when e.captured_at <= instant then e.previous_key else e.next_key end as second_key,
        case when e.captured_at <= instant then e.previous_at else e.next_at end as second_at,
        case when e.captured_at <= instant then e.previous_id else e.next_id end as second_id
      from (
        select e.*,
          lag(e.row_key) over life as previous_key, lag(e.captured_at) over life as previous_at, lag(e.id) over life as previous_id,
          lead(e.row_key) over life as next_key, lead(e.captured_at) over life as next_at, lead(e.id) over life as next_id
        from (
          select c.row_key as key, c.row_key, c.captured_at, c.id
          from audit_changes c
          where c.row_key >= low
            and c.row_key <= high
            and c.table_name = of_name
            and c.table_schema = of_schema
            and c.captured_at >= since
            and c.captured_at < until
          union all
          select c.previous_row_key, c.row_key, c.captured_at, c.id
          from audit_changes c
          where c.previous_row_key >= low
            and c.previous_row_key <= high
            and c.row_key is distinct from c.previous_row_key
            and c.table_name = of_name
            and c.table_schema = of_schema
            and c.captured_at >= since
            and c.captured_at < until
        ) e
        where e.captured_at >= captured
          and (e.captured_at <= instant or e.captured_at < kept)
        window life as (partition by e.key order by e.captured_at, e.id)
      ) e
      where e.captured_at <= instant and (e.next_at is null or e.next_at > instant)
        or e.captured_at > instant and e.previous_at is null
    ) e
    left join lateral (
      select c.op, c.row_key, c.previous_row_key, c.transaction_id
      from audit_changes c
      where e.side = 'after'
        and c.row_key = e.row_key
        and c.table_name = of_name
        and c.table_schema = of_schema
        and c.captured_at = e.captured_at
        and c.id = e.id
      offset 0
    ) f on true
    left join lateral (
      select c.transaction_id
      from audit_changes c
      where (f.op in ('insert', 'baseline') or f.row_key = e.key)
        and c.row_key = e.second_key
        and c.table_name = of_name
        and c.table_schema = of_schema
        and c.captured_at = e.second_at
        and c.id = e.second_id
      offset 0
    ) s on true;
  if busy is not null and (
    exists (
      select
      from audit_changes c
      where c.row_key = busy and c.table_name = of_name and c.table_schema = of_schema and c.captured_at >= since and c.captured_at < until
    ) or exists (
      select
      from audit_changes c
      where c.previous_row_key = busy and c.table_name = of_name and c.table_schema = of_schema
        and c.captured_at >= since and c.captured_at < until
    )
  ) then
    return query select busy::text, false, null::text, null::text, null::timestamptz, null::bigint, null::text, null::timestamptz, null::bigint, null::text;
  end if;
  return query select null::text, false, null::text, null::text, null::timestamptz, null::bigint, null::text, null::timestamptz, null::bigint, coalesce(seen, busy)::text;
end
$$;

revoke all on function keys_near(text, text, timestamptz, timestamptz, text, text, int, timestamptz, timestamptz, timestamptz) from public;

-- The first changes of some transactions, "most" of them, in the order of the transactions' ids and their own: those of a table, if one
-- is named. "earliest" has the first instant at which each transaction can have captured a change. Only changes of a time count. Those
-- of the transaction "after_transaction" only count behind the change "after_id".
--
-- The order of each subquery lets the limit end the search early, so it must be that of an index: nobody knows how many changes a
-- transaction has. An average says nothing of it, if one of a million changes is among them. So each order has a statement of its own, and
-- the settings leave the planner no other way than through the index: neither a sort of all changes of a transaction, nor a bitmap of all
-- changes of a time.
create function changes_of(
  transactions bigint[], earliest timestamptz[], newest boolean, most int, of_schema text, of_name text, since timestamptz,
  until timestamptz, after_transaction bigint, after_id bigint
)
returns setof audit_changes
language plpgsql stable rows 50
set search_path from current
set plan_cache_mode = force_generic_plan
set jit = off
set enable_sort = off
set enable_bitmapscan = off
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  -- Partitions from before it are not even opened.
  oldest timestamptz := (select min(e.earliest) from unnest(earliest) e (earliest));
begin
  -- The changes of a table have an index of their own, so they need plans of their own.
  if of_name is null then
    if newest then
      return query
        select c.*
        from (
          select o.*, case when o.id = after_transaction then coalesce(after_id, 9223372036854775807) else 9223372036854775807 end as behind
          from unnest(transactions, earliest) o (id, earliest)
          order by o.id desc
        ) o
        cross join lateral (
          select c.*
          from audit_changes c
          where c.transaction_id = o.id
            and c.id < o.behind
            and c.captured_at >= o.earliest
            and c.captured_at >= oldest
            and c.captured_at >= since
            and c.captured_at <= until
          order by c.transaction_id desc, c.id desc
          limit most
        ) c
        order by o.id desc, c.id desc
        limit most;
    else
      return query
        select c.*
        from (
          select o.*, case when o.id = after_transaction then coalesce(after_id, -1) else -1 end as behind
          from unnest(transactions, earliest) o (id, earliest)
          order by o.id
        ) o
        cross join lateral (
          select c.*
          from audit_changes c
          where c.transaction_id = o.id
            and c.id > o.behind
            and c.captured_at >= o.earliest
            and c.captured_at >= oldest
            and c.captured_at >= since
            and c.captured_at <= until
          order by c.transaction_id, c.id
          limit most
        ) c
        order by o.id, c.id
        limit most;
    end if;
  elsif newest then
    return query
      select c.*
      from (
        select o.*, case when o.id = after_transaction then coalesce(after_id, 9223372036854775807) else 9223372036854775807 end as behind
        from unnest(transactions, earliest) o (id, earliest)
        order by o.id desc
      ) o
      cross join lateral (
        select c.*
        from audit_changes c
        where c.transaction_id = o.id
          and c.table_schema = of_schema
          and c.table_name = of_name
          and c.id < o.behind
          and c.captured_at >= o.earliest
          and c.captured_at >= oldest
          and c.captured_at >= since
          and c.captured_at <= until
        order by c.transaction_id desc, c.id desc
        limit most
      ) c
      order by o.id desc, c.id desc
      limit most;
  else
    return query
      select c.*
      from (
        select o.*, case when o.id = after_transaction then coalesce(after_id, -1) else -1 end as behind
        from unnest(transactions, earliest) o (id, earliest)
        order by o.id
      ) o
      cross join lateral (
        select c.*
        from audit_changes c
        where c.transaction_id = o.id
          and c.table_schema = of_schema
          and c.table_name = of_name
          and c.id > o.behind
          and c.captured_at >= o.earliest
          and c.captured_at >= oldest
          and c.captured_at >= since
          and c.captured_at <= until
        order by c.transaction_id, c.id
        limit most
      ) c
      order by o.id, c.id
      limit most;
  end if;
end
$$;

revoke all on function changes_of(bigint[], timestamptz[], boolean, int, text, text, timestamptz, timestamptz, bigint, bigint) from public;

-- The first of some transactions, "most" of them, in the order of their ids: how many changes each has, counted up to "counted", and in
-- which tables. If "captured" is true, only those count that captured something in a time; their other changes are counted too.
create function contents_of(
  transactions bigint[], earliest timestamptz[], newest boolean, most int, counted int, captured boolean, since timestamptz,
  until timestamptz
)
returns table (id bigint, changes bigint, tables json)
language plpgsql stable rows 50
set search_path from current
set plan_cache_mode = force_generic_plan
set jit = off
-- No bitmap of all changes of a time, however many a transaction is expected to have.
set enable_bitmapscan = off
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  -- Partitions from before it are not even opened.
  oldest timestamptz := (select min(e.earliest) from unnest(earliest) e (earliest));
begin
  return query
    select o.id, n.changes, n.tables
    from (
      select o.*, case when newest then -o.id else o.id end as place
      from unnest(transactions, earliest) o (id, earliest)
      order by place
    ) o
    cross join lateral (
      select coalesce(sum(t.changes), 0)::bigint as changes,
        coalesce(json_agg(json_build_object('schema', t.table_schema, 'name', t.table_name)), '[]') as tables,
        coalesce(bool_or(t.inside), false) as inside
      from (
        select c.table_schema, c.table_name, count(*) as changes, bool_or(c.captured_at >= since and c.captured_at <= until) as inside
        from (
          select c.table_schema, c.table_name, c.captured_at
          from audit_changes c
          where c.transaction_id = o.id
            and c.captured_at >= o.earliest
            and c.captured_at >= oldest
          limit counted
        ) c
        group by c.table_schema, c.table_name
      ) t
      offset 0
    ) n
    where not captured
      or n.inside
      or n.changes >= counted and exists (
        select
        from audit_changes c
        where c.transaction_id = o.id
          and c.captured_at >= o.earliest
          and c.captured_at >= oldest
          and c.captured_at >= since
          and c.captured_at <= until
      )
    order by o.place
    limit most;
end
$$;

revoke all on function contents_of(bigint[], timestamptz[], boolean, int, int, boolean, timestamptz, timestamptz) from public;

-- The key that seals cursors under a scope. Roles that read can read it. The holder of a cursor alone cannot. The oldest key
-- counts, so that cursors outlive a restore of data alone into a schema that has made a key of its own.
create table cursor_keys (
  key bytea primary key check (octet_length(key) = 32),
  created_at timestamptz not null default clock_timestamp()
);

comment on table cursor_keys is
  'The key of cursors under a scope. With another one, all cursors made so far are refused.';

-- Made here, and by every later run if it is missing: a restore of the structure alone brings no key.
create function ensure_cursor_key() returns void
language sql
set search_path from current
begin atomic
  insert into cursor_keys (key)
  select sha256(string_agg(uuid_send(gen_random_uuid()), ''))
  from generate_series(1, 4)
  where not exists (select from cursor_keys)
  having count(*) > 0;
end;

revoke all on function ensure_cursor_key() from public;

select ensure_cursor_key();
