-- The order of a row's changes if triggers of the host write it again.

-- Keeps every row's changes in the order in which they happened, if a trigger of the host wrote the same row again. Its statement
-- ends, and is captured, inside the outer statement: before it. A capture below another one leaves word in threadline.nested
-- ("<table>:<deepest level> ...", tables by OID). The capture of an outer statement on such a table then looks for changes that
-- start where its own end, and gives them new ids. Only changes since the outer statement began come into question: what ran
-- before it, in the same function, DO block or message, is no work of its triggers.
--
-- Conditions on captured_at spare partitions and entries of indexes. The clock may have been set back since the transaction began, so
-- they go back a day, or to the start of the statement if that is now before the start of the transaction.

-- Notes a capture that is not at the outermost level. True if the same table was captured below this level.
create function note_nested(relation oid) returns boolean
language plpgsql
set search_path from current
as $$
declare
  depth int := pg_trigger_depth();
  root text := coalesce(pg_partition_root(relation), relation)::oid;
  word text := ' ' || coalesce(current_setting('threadline.nested', true), '') || ' ';
  deepest int := substring(word from ' ' || root || ':([0-9]{1,4}) ');
begin
  if depth > 1 and (deepest is null or depth > deepest) then
    perform set_config('threadline.nested',
      btrim(replace(word, concat(' ', root, ':', deepest, ' '), ' ') || root || ':' || depth), true);
  end if;
  return coalesce(deepest > depth, false);
end
$$;

-- The last change of this transaction that was there when the statement began whose trigger asks; null if there was none.
--
-- It is "immutable" for one reason: a function that is not volatile sees what the calling statement sees. PL/pgSQL evaluates an
-- expression of immutable functions and variables with the snapshot that the trigger was called with, which is that of the
-- statement that fired it. So the call must be an assignment of its own, and its argument a variable.
create function last_change_before(statement_first bigint) returns bigint
language plpgsql immutable
set search_path from current
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
begin
  return (
    select max(c.id)
    from audit_transactions t
    cross join lateral (
      select c.id
      from audit_changes c
      where c.transaction_id = t.id
        and c.captured_at >= transaction_timestamp() - interval '1 day'
        and c.id < statement_first
      order by c.id desc
      limit 1
    ) c
    where t.xid = pg_current_xact_id_if_assigned()
      and t.occurred_at >= transaction_timestamp()
  );
end
$$;

-- "full join" and "offset 0" keep the planner from nested loops over what it takes for a handful of rows. The settings
-- keep it to the indexes, and an order keeps it to the right one: a plan made while a partition is as good as empty, or
-- of a few large transactions, would read all of it, again and again, while one transaction fills it. And they keep it
-- from planning anew each time, which takes longer than all the rest.
create function restore_order(relation oid, last_before bigint, outer_first bigint) returns void
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
  nested_first bigint;
  start_id bigint;
  cascades boolean;
  many bigint;
  counted bigint;
  moved bigint[];
  captured timestamptz[];
  instant timestamptz;
begin
  select min(c.id) into nested_first
  from unnest(own) t (owned)
  cross join lateral (
    select c.id
    from audit_changes c
    where c.transaction_id = t.owned
      and c.captured_at >= transaction_timestamp() - interval '1 day'
      and c.id > coalesce(last_before, 0)
    order by c.id
    limit 1
  ) c;
  if nested_first >= outer_first then
    -- The changes captured below belong to statements that have ended.
    if pg_trigger_depth() = 1 then
      perform set_config('threadline.nested', '', true);
    end if;
    return;
  end if;
  start_id := nested_first;
  many := 2 + (outer_first - nested_first) / 8;

  -- A trigger's statement usually writes a few rows, many times, while the changes captured below become more. Then only
  -- changes of those rows matter, and each row is looked up.
  select count(*) into counted
  from (
    select
    from unnest(own) t (owned)
    cross join lateral (
      select
      from audit_changes c
      where c.transaction_id = t.owned
        and c.captured_at >= transaction_timestamp() - interval '1 day'
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
          and c.captured_at >= transaction_timestamp() - interval '1 day'
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
          and c.captured_at >= least(transaction_timestamp(), statement_timestamp())
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
          and c.captured_at >= least(transaction_timestamp(), statement_timestamp())
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

  cascades := exists (
    select
    from pg_constraint k
    where k.conrelid = coalesce(pg_partition_root(relation), relation)
      and k.contype = 'f'
      and (k.confupdtype in ('c', 'n', 'd') or k.confdeltype in ('c', 'n', 'd'))
  );
  with recursive
  written as materialized (
    select c.id, c.captured_at, c.op, c.table_schema, c.table_name, c.row_key, c.previous_row_key,
      coalesce(c.previous_row_key, c.row_key) as start_key, c.data_after, c.changed_from
    from unnest(own) t (owned)
    cross join lateral (
      select *
      from audit_changes c
      where c.transaction_id = t.owned
        and c.captured_at >= transaction_timestamp() - interval '1 day'
        and c.id >= start_id
      order by c.id
      offset 0
    ) c
    where c.op in ('insert', 'update', 'delete')
      and c.row_key is not null
  ),
  paired as (
    select o.id as outer_id, o.table_schema, o.table_name, o.row_key, o.data_after as left_image,
      o.op as outer_op, o.start_key as outer_start_key,
      case o.op when 'update' then o.data_after || o.changed_from when 'delete' then o.changed_from end as outer_start_image,
      n.id, n.captured_at,
      case n.op when 'update' then n.data_after || n.changed_from when 'delete' then n.changed_from end as start_image
    from (select * from written where id >= outer_first offset 0) o
    full join (select * from written where id < outer_first offset 0) n
      on n.table_schema = o.table_schema and n.table_name = o.table_name and n.start_key = o.row_key
    offset 0
  ),
  -- Rows that the outer statement removed from their keys, as the statement found them. Nothing was written to them before.
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
      -- The nested change starts from the image that the outer one left.
      and p.start_image is not distinct from p.left_image
      -- No other row that still exists had that image before, except one that the outer statement removed.
      and (
        not coalesce(
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
          ),
          -- Nothing is known of the row before. A statement never finds a row as its own triggers left it. A cascade does.
          cascades and p.outer_op <> 'insert' and (
            select l.data_after is not distinct from p.outer_start_image
            from written l
            where l.table_schema = p.table_schema
              and l.table_name = p.table_name
              and l.row_key = p.outer_start_key
              and l.id < outer_first
            order by l.id desc
            limit 1
          ),
          false
        )
        or (p.table_schema, p.table_name, p.row_key, p.left_image) in (
          select v.table_schema, v.table_name, v.start_key, v.image from vacated v
        )
      )
    group by p.outer_id, p.table_schema, p.table_name, p.row_key
  ),
  -- That change and all later changes of the row, under any key.
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
    -- The changes of one statement keep one instant, and no other statement has the same. Some instants are microseconds in the
    -- future. They have passed before all of these changes are written.
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
      and c.captured_at >= transaction_timestamp() - interval '1 day';
  end if;
end
$$;

revoke all on function
  note_nested(oid), last_change_before(bigint), restore_order(oid, bigint, bigint)
from public;
