-- The checkpoints of the consumers of the change feed, the leases of their runners, and what retention must keep for them.

create table feed_checkpoints (
  name text collate "C" primary key check (octet_length(name) between 1 and 256),
  -- The library reads this column. The columns after it are the same for SQL.
  checkpoint text,
  epoch int,
  snapshot pg_snapshot,
  -- Inside a window: everything of the snapshot up to this change is delivered.
  last_id bigint,
  last_captured_at timestamptz,
  updated_at timestamptz not null default clock_timestamp(),
  lease_token text collate "C",
  lease_until timestamptz
);

comment on table feed_checkpoints is
  'How far each consumer of the change feed has come. Moved by the feed functions only; retention asks feed_horizon().';

-- The lease of a consumer, and where it continues. No row while another runner holds the lease. A lease is a token and a time,
-- not a lock: it outlives transactions, and needs no session.
create function feed_claim(consumer text, token text, seconds double precision)
returns table (claimed_checkpoint text)
language plpgsql security definer
set search_path from current
as $$
begin
  if octet_length(consumer) not between 1 and 256 or octet_length(token) not between 16 and 256
    or seconds not between 0 and 86400
  then
    raise exception 'threadline: a consumer has a name of 1 to 256 bytes, and a lease of at most a day'
      using errcode = 'invalid_parameter_value';
  end if;
  insert into feed_checkpoints (name) values (consumer) on conflict do nothing;
  return query
    update feed_checkpoints p
    set lease_token = token,
      lease_until = clock_timestamp() + make_interval(secs => seconds)
    where p.name = consumer
      and (p.lease_token is null or p.lease_token = token or p.lease_until < clock_timestamp())
    returning p.checkpoint;
end
$$;

-- Renews a lease. False if another runner has it by now.
create function feed_renew(consumer text, token text, seconds double precision) returns boolean
language plpgsql security definer
set search_path from current
as $$
begin
  update feed_checkpoints p
  set lease_until = clock_timestamp() + make_interval(secs => least(greatest(seconds, 0), 86400))
  where p.name = consumer
    and p.lease_token = token;
  return found;
end
$$;

-- Moves a checkpoint from where its runner found it, and renews the lease. False if the lease or the checkpoint has changed
-- meanwhile: a runner that lost its lease moves nothing.
create function feed_store(
  consumer text,
  token text,
  expected text,
  reached text,
  reached_epoch int,
  reached_snapshot pg_snapshot,
  reached_id bigint,
  reached_captured_at timestamptz,
  seconds double precision
) returns boolean
language plpgsql security definer
set search_path from current
as $$
begin
  if reached is null or reached_epoch is null or reached_snapshot is null then
    raise exception 'threadline: a checkpoint is not null' using errcode = 'null_value_not_allowed';
  end if;
  -- A checkpoint names the cluster that it was made on. Once stored, it is known there and in every copy.
  perform current_epoch();
  update feed_checkpoints p
  set checkpoint = reached,
    epoch = reached_epoch,
    snapshot = reached_snapshot,
    last_id = reached_id,
    last_captured_at = coalesce(reached_captured_at, p.last_captured_at),
    updated_at = clock_timestamp(),
    lease_until = clock_timestamp() + make_interval(secs => least(greatest(seconds, 0), 86400))
  where p.name = consumer
    and p.lease_token = token
    and p.checkpoint is not distinct from expected;
  return found;
end
$$;

-- Releases a lease, so that the next runner need not wait for its end.
create function feed_release(consumer text, token text) returns boolean
language plpgsql security definer
set search_path from current
as $$
begin
  update feed_checkpoints p
  set lease_token = null,
    lease_until = null
  where p.name = consumer
    and p.lease_token = token;
  return found;
end
$$;

-- Forgets a consumer. Retention no longer waits for it, and the next consumer of this name starts anew.
create function feed_forget(consumer text) returns boolean
language plpgsql security definer
set search_path from current
as $$
begin
  delete from feed_checkpoints p where p.name = consumer;
  return found;
end
$$;

-- The oldest change that each consumer may still need. Null if it has everything. Of the transactions that a checkpoint does not
-- know, those with the smallest ids are looked at, in each epoch more of them than run at once: while a change is captured, every
-- transaction with a smaller id than its own has begun, so that one whose changes are all later is running.
create function feed_pending()
returns table (name text, change_id bigint, captured_at timestamptz)
language plpgsql stable
set search_path from current
-- JIT compilation takes longer than running it.
set jit = off
as $$
#variable_conflict use_column
begin
  -- PL/pgSQL keeps the plan, which takes longer to make than to run: every batch of a purge asks.
  return query
    select
      p.name,
      case when p.snapshot is null then 0 else least(p.last_id + 1, oldest.id) end,
      case
        when p.last_id is null or oldest.id <= p.last_id then oldest.captured_at
        else coalesce(p.last_captured_at, oldest.captured_at)
      end
    from feed_checkpoints p
    left join lateral (
      with recursive epochs as (
        select i.epoch from installs i
        union all
        -- The epoch of the first write after a start is not stored before that write is committed.
        (
          select i.epoch + 1
          from (select * from installs order by epoch desc limit 1) i
          where i.postmaster_started_at <> pg_postmaster_start_time()
        )
      ),
      later as (
        select
          e.epoch,
          case when e.epoch = p.epoch then (pg_snapshot_xmax(p.snapshot)::text::bigint - 1)::text::xid8 else '0' end as xid,
          0 as counted,
          null::bigint as id,
          null::timestamptz as captured_at
        from epochs e
        where e.epoch >= p.epoch
        union all
        select l.epoch, n.xid, l.counted + (c.id is not null)::int, c.id, c.captured_at
        from later l
        cross join lateral (
          select t.xid
          from audit_transactions t
          where t.epoch = l.epoch
            and t.xid > l.xid
          order by t.xid, t.id
          limit 1
        ) n
        left join lateral (
          select c.id, c.captured_at
          from audit_transactions t
          cross join lateral (
            select c.id, c.captured_at
            from audit_changes c
            where c.transaction_id = t.id
              and c.captured_at >= t.occurred_at - interval '1 day'
            order by c.transaction_id, c.id
            limit 1
          ) c
          where t.xid = n.xid
            and t.epoch = l.epoch
          order by c.id
          limit 1
        ) c on true
        where l.counted < 2 * (current_setting('max_connections')::int + current_setting('max_worker_processes')::int)
      )
      select f.id, f.captured_at
      from (
        select c.id, c.captured_at
        from pg_snapshot_xip(p.snapshot) x (xid)
        join audit_transactions t on t.xid = x.xid and t.epoch = p.epoch
        cross join lateral (
          select c.id, c.captured_at
          from audit_changes c
          where c.transaction_id = t.id
            and c.captured_at >= t.occurred_at - interval '1 day'
          order by c.transaction_id, c.id
          limit 1
        ) c
        union all
        select l.id, l.captured_at
        from later l
      ) f
      where f.id is not null
      order by f.id
      limit 1
    ) oldest on true;
end
$$;

comment on function feed_pending() is
  'The oldest change that each consumer of the feed may still need, and when it was captured; nulls where it has everything.';

-- The limit for retention: every committed change with a smaller id is delivered to every consumer. A change that is not
-- committed yet may have a smaller id. So ask in the statement that deletes, or after locking what is to be dropped.
create function feed_horizon() returns bigint
language sql stable
set search_path from current
as $$
  select min(change_id) from feed_pending()
$$;

comment on function feed_horizon() is
  'The smallest id of a change that a stored checkpoint may still need; null where none is held back.';

revoke all on function
  feed_claim(text, text, double precision), feed_renew(text, text, double precision),
  feed_store(text, text, text, text, int, pg_snapshot, bigint, timestamptz, double precision),
  feed_release(text, text), feed_forget(text), feed_pending(), feed_horizon()
from public;
