-- Jobs of exports: what is exported, who asked for it, how far the job is, and where its file is. And schedules, which make jobs.

create table export_schedules (
  name text collate "C" primary key check (name ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$'),
  cron text not null,
  time_zone text not null,
  time_window text not null check (time_window in ('previous-day', 'previous-week', 'previous-month', 'since-last')),
  -- What happens with ticks that passed while no worker ran.
  missed text not null check (missed in ('once', 'each', 'skip')),
  -- As for a job.
  request jsonb not null,
  scope jsonb,
  requested_by jsonb,
  context jsonb not null default '{}',
  next_tick timestamptz not null,
  last_tick timestamptz,
  created_at timestamptz not null default clock_timestamp()
);

comment on table export_schedules is
  'When exports are made, and of which window. Changed by the export functions only.';

create table export_jobs (
  id bigint generated always as identity primary key,
  state text not null default 'queued'
    check (state in ('queued', 'running', 'completed', 'failed', 'cancelled', 'expired')),
  -- What is exported: the options of an export, with the filter as its canonical document.
  request jsonb not null,
  -- The scope by name and parameters. The worker asks the host for its condition again.
  scope jsonb,
  requested_by jsonb,
  -- The context of the request, for the actions of the job.
  context jsonb not null default '{}',
  schedule text collate "C",
  tick timestamptz,
  -- Whether it begins where the last job of its schedule ended.
  since_last boolean not null default false,
  -- Whether that schedule was removed. Another one may have its name since, and a consumer of that name.
  unscheduled boolean not null default false,
  requested_at timestamptz not null default clock_timestamp(),
  available_at timestamptz not null default clock_timestamp(),
  attempt int not null default 0,
  attempts int not null check (attempts between 1 and 100),
  -- A lease is a token and a time. Unlike a lock it outlives transactions and needs no session.
  lease_token text collate "C",
  lease_until timestamptz,
  started_at timestamptz,
  progress_at timestamptz,
  finished_at timestamptz,
  records bigint not null default 0,
  bytes bigint not null default 0,
  estimate bigint,
  -- Why the last attempt failed: a reason and a sentence, without captured values.
  error jsonb,
  -- The name of the file in the store. It stays until the store has removed the file.
  location text,
  manifest jsonb,
  expires_at timestamptz
);

create index export_jobs_waiting_idx on export_jobs (available_at, id) where state in ('queued', 'running');
create index export_jobs_stored_idx on export_jobs (id) where location is not null and state <> 'running';
-- Several workers make one job for a tick.
create unique index export_jobs_tick_idx on export_jobs (schedule, tick);

comment on table export_jobs is
  'Exports that a worker makes, and what became of them. Changed by the export functions only.';

create function export_insert(
  request jsonb,
  scope jsonb,
  requested_by jsonb,
  context jsonb,
  attempts int
) returns bigint
language sql
set search_path from current
as $$
  insert into export_jobs (request, scope, requested_by, context, attempts)
  values (request, scope, requested_by, coalesce(context, '{}'), attempts)
  returning id
$$;

-- Queues a job and records the action. Returns null if the actor already has as many waiting jobs as the host allows.
create function export_queue(
  request jsonb,
  scope jsonb,
  requested_by jsonb,
  context jsonb,
  attempts int,
  most_waiting int,
  action jsonb
) returns bigint
language plpgsql security definer
set search_path from current
as $$
declare
  asker text := concat(requested_by ->> 'type', ':', requested_by ->> 'id');
  job bigint;
begin
  if jsonb_typeof(request) is distinct from 'object' or pg_column_size(request) > 100000 then
    raise exception 'threadline: the request of an export is an object of at most 100 kB'
      using errcode = 'invalid_parameter_value';
  end if;
  if most_waiting is not null then
    -- Requests for the same actor at the same time are counted one after the other.
    perform pg_advisory_xact_lock(hashtextextended('threadline export ' || asker, 0));
    if most_waiting <= (
      select count(*)
      from export_jobs j
      where j.state in ('queued', 'running')
        and concat(j.requested_by ->> 'type', ':', j.requested_by ->> 'id') = asker
    ) then
      return null;
    end if;
  end if;
  job := export_insert(request, scope, requested_by, context, attempts);
  if action is not null then
    perform record_export(action || jsonb_build_object('subject', export_subject(job)), context);
  end if;
  return job;
end
$$;

create function export_subject(job bigint) returns jsonb
language sql immutable
set search_path from current
as $$
  select jsonb_build_object('type', 'export', 'id', job::text)
$$;

-- Cancels a job that waits or runs. Its worker notices when it next renews its lease. Returns the state before, null if there is no such
-- job.
create function export_cancel(job bigint, action jsonb, asking jsonb) returns text
language plpgsql security definer
set search_path from current
as $$
declare
  standing text;
begin
  select j.state into standing from export_jobs j where j.id = job for update;
  if standing in ('queued', 'running') then
    update export_jobs j
    set state = 'cancelled',
      finished_at = clock_timestamp(),
      lease_token = null,
      lease_until = null
    where j.id = job;
    if action is not null then
      perform record_export(action || jsonb_build_object('subject', export_subject(job)), asking);
    end if;
  end if;
  return standing;
end
$$;

-- Queues a failed or cancelled job again. Returns the state before, null if there is no such job. Returns unscheduled, and changes nothing, if
-- the job began where the last one of its schedule ended, and the schedule was removed: it would move the checkpoint of another one.
create function export_retry(job bigint, action jsonb, asking jsonb) returns text
language plpgsql security definer
set search_path from current
as $$
declare
  standing text;
  orphaned boolean;
begin
  select j.state, j.unscheduled into standing, orphaned from export_jobs j where j.id = job for update;
  if standing in ('failed', 'cancelled') and orphaned then
    return 'unscheduled';
  end if;
  if standing in ('failed', 'cancelled') then
    update export_jobs j
    set state = 'queued',
      attempt = 0,
      available_at = clock_timestamp(),
      started_at = null,
      progress_at = null,
      finished_at = null,
      records = 0,
      bytes = 0,
      estimate = null,
      error = null
    where j.id = job;
    if action is not null then
      perform record_export(action || jsonb_build_object('subject', export_subject(job)), asking);
    end if;
  end if;
  return standing;
end
$$;

-- What the store is to call the file of an attempt.
create function export_location(job bigint, request jsonb, token text) returns text
language sql immutable
set search_path from current
as $$
  select concat(
    job, '-', left(md5(token), 16), '.', request ->> 'format',
    -- Parquet is compressed within.
    case when request ->> 'format' <> 'parquet' then
      case request ->> 'compression' when 'gzip' then '.gz' when 'zstd' then '.zst' end
    end
  )
$$;

-- Takes the next job: one that waits, or one whose lease has expired. Jobs that begin where the last one of their schedule ended run one
-- after the other. If no attempt is left, the worker only stores that the job failed.
-- `wanted` takes that job alone, if it can be taken.
-- If an attempt before this one has named a file, that name stays until the worker has removed the file (`export_place`), so that a worker
-- that dies leaves no file behind.
create function export_claim(token text, seconds double precision, wanted bigint default null)
returns table (job bigint, former_location text, goes_on boolean, checkpoint text)
language plpgsql security definer
set search_path from current
as $$
begin
  if octet_length(token) not between 16 and 256 or seconds not between 0 and 86400 then
    raise exception 'threadline: a lease has a token of 16 to 256 bytes, and lasts at most a day'
      using errcode = 'invalid_parameter_value';
  end if;
  return query
    with taken as materialized (
      select j.id, j.location
      from export_jobs j
      where (
          (j.state = 'queued' and j.available_at <= clock_timestamp())
          or (j.state = 'running' and j.lease_until < clock_timestamp())
        )
        and (wanted is null or j.id = wanted)
        and not (
          j.since_last
          and exists (
            select
            from export_jobs o
            where o.schedule = j.schedule
              and o.since_last
              and o.id <> j.id
              and (o.state = 'running' or (o.state = 'queued' and o.id < j.id))
          )
        )
      order by j.available_at, j.id
      limit 1
      for update skip locked
    ),
    claimed as (
      update export_jobs j
      set state = 'running',
        attempt = j.attempt + 1,
        lease_token = token,
        lease_until = clock_timestamp() + make_interval(secs => seconds),
        started_at = clock_timestamp(),
        progress_at = clock_timestamp(),
        records = 0,
        bytes = 0,
        estimate = null,
        location = coalesce(j.location, export_location(j.id, j.request, token))
      from taken
      where j.id = taken.id
      returning j.id, taken.location, j.schedule, j.since_last
    )
    select c.id, c.location, c.since_last, case when c.since_last then p.checkpoint end
    from claimed c
    left join feed_checkpoints p on p.name = 'export:' || c.schedule;
end
$$;

-- Names the file of this attempt, after that of the one before was removed. Null if the lease is lost.
create function export_place(job bigint, token text) returns text
language plpgsql security definer
set search_path from current
as $$
declare
  place text;
begin
  update export_jobs j
  set location = export_location(j.id, j.request, token)
  where j.id = job
    and j.state = 'running'
    and j.lease_token = token
  returning j.location into place;
  return place;
end
$$;

-- Renews a lease and stores the progress of the job. Returns false if the job was cancelled, or if another worker has it.
create function export_renew(
  job bigint,
  token text,
  seconds double precision,
  so_far bigint,
  bytes_so_far bigint,
  expected bigint
) returns boolean
language plpgsql security definer
set search_path from current
as $$
begin
  update export_jobs j
  set lease_until = clock_timestamp() + make_interval(secs => least(greatest(seconds, 0), 86400)),
    progress_at = clock_timestamp(),
    records = so_far,
    bytes = bytes_so_far,
    estimate = expected
  where j.id = job
    and j.state = 'running'
    and j.lease_token = token;
  return found;
end
$$;

-- Ends a job whose file is complete and records the action. The checkpoint of its schedule moves in the same transaction, so nothing is
-- exported twice. Returns completed, or lost if the lease is lost, or moved if another job has moved the checkpoint.
create function export_complete(
  job bigint,
  token text,
  described jsonb,
  keep_seconds double precision,
  expected text,
  reached text,
  reached_epoch int,
  reached_snapshot pg_snapshot,
  action jsonb
) returns text
language plpgsql security definer
set search_path from current
as $$
declare
  this record;
begin
  select j.schedule, j.since_last, j.context into this
  from export_jobs j
  where j.id = job and j.state = 'running' and j.lease_token = token
  for update;
  if not found then
    return 'lost';
  end if;
  if this.since_last then
    perform current_epoch();
    insert into feed_checkpoints (name) values ('export:' || this.schedule) on conflict do nothing;
    update feed_checkpoints p
    set checkpoint = reached,
      epoch = reached_epoch,
      snapshot = reached_snapshot,
      last_id = null,
      last_captured_at = null,
      updated_at = clock_timestamp()
    where p.name = 'export:' || this.schedule
      and p.checkpoint is not distinct from expected;
    if not found then
      return 'moved';
    end if;
  end if;
  update export_jobs j
  set state = 'completed',
    finished_at = clock_timestamp(),
    progress_at = clock_timestamp(),
    lease_token = null,
    lease_until = null,
    records = (described ->> 'count')::bigint,
    bytes = (described ->> 'bytes')::bigint,
    error = null,
    manifest = described,
    expires_at = clock_timestamp() + make_interval(secs => keep_seconds)
  where j.id = job;
  if action is not null then
    perform record_export(action || jsonb_build_object('subject', export_subject(job)), this.context);
  end if;
  return 'completed';
end
$$;

-- Ends a failed attempt. If `delay_seconds` is given and an attempt is left, the job waits for that long and is tried again. Otherwise the
-- job has failed, and that is recorded. Returns the state of the job, null if the lease is lost.
create function export_fail(
  job bigint,
  token text,
  why jsonb,
  delay_seconds double precision,
  action jsonb
) returns text
language plpgsql security definer
set search_path from current
as $$
declare
  this record;
  again boolean;
begin
  select j.attempt, j.attempts, j.context into this
  from export_jobs j
  where j.id = job and j.state = 'running' and j.lease_token = token
  for update;
  if not found then
    return null;
  end if;
  again := delay_seconds is not null and this.attempt < this.attempts;
  update export_jobs j
  set state = case when again then 'queued' else 'failed' end,
    available_at = case when again then clock_timestamp() + make_interval(secs => delay_seconds) else j.available_at end,
    finished_at = case when not again then clock_timestamp() end,
    lease_token = null,
    lease_until = null,
    error = why
  where j.id = job;
  if again then
    return 'queued';
  end if;
  if action is not null then
    perform record_export(action || jsonb_build_object('subject', export_subject(job)), this.context);
  end if;
  return 'failed';
end
$$;

-- Gives a job back because its worker stops. The job waits again. The attempt does not count.
create function export_release(job bigint, token text) returns boolean
language plpgsql security definer
set search_path from current
as $$
begin
  update export_jobs j
  set state = 'queued',
    attempt = j.attempt - 1,
    available_at = clock_timestamp(),
    lease_token = null,
    lease_until = null
  where j.id = job
    and j.state = 'running'
    and j.lease_token = token;
  return found;
end
$$;

-- Stores that the store has removed a file. A completed job is expired from then on.
create function export_removed(job bigint, removed text, action jsonb, asking jsonb) returns boolean
language plpgsql security definer
set search_path from current
as $$
declare
  this record;
begin
  select j.state into this
  from export_jobs j
  where j.id = job and j.location = removed and j.state <> 'running'
  for update;
  if not found then
    return false;
  end if;
  update export_jobs j
  set location = null,
    state = case j.state when 'completed' then 'expired' else j.state end
  where j.id = job;
  if this.state = 'completed' and action is not null then
    perform record_export(action || jsonb_build_object('subject', export_subject(job)), asking);
  end if;
  return this.state = 'completed';
end
$$;

-- Removes the rows of jobs that ended so long ago, and that have no file any more. The record keeps what became of them.
create function export_forget(seconds double precision) returns bigint
language plpgsql security definer
set search_path from current
as $$
declare
  forgotten bigint;
begin
  delete from export_jobs j
  where j.id in (
    select o.id
    from export_jobs o
    where o.state in ('failed', 'cancelled', 'expired')
      and o.location is null
      and o.finished_at < clock_timestamp() - make_interval(secs => seconds)
    order by o.id
    limit 1000
    for update skip locked
  );
  get diagnostics forgotten = row_count;
  return forgotten;
end
$$;

-- Adds a schedule. Returns false if the name is taken. A schedule with the window since-last has a consumer of the feed, so that retention
-- waits for it.
create function export_schedule_add(
  schedule text,
  cron_text text,
  zone text,
  window_kind text,
  on_missed text,
  asked jsonb,
  under jsonb,
  asked_by jsonb,
  asked_context jsonb,
  first_tick timestamptz
) returns boolean
language plpgsql security definer
set search_path from current
as $$
begin
  insert into export_schedules (
    name, cron, time_zone, time_window, missed, request, scope, requested_by, context, next_tick
  )
  values (
    schedule, cron_text, zone, window_kind, on_missed, asked, under, asked_by, coalesce(asked_context, '{}'), first_tick
  )
  on conflict do nothing;
  if not found then
    return false;
  end if;
  if window_kind = 'since-last' then
    insert into feed_checkpoints (name) values ('export:' || schedule) on conflict do nothing;
  end if;
  return true;
end
$$;

-- Removes a schedule and its consumer of the feed. Its jobs stay. With a scope, it must be of that scope. Returns false if there is none.
create function export_schedule_remove(schedule text, under jsonb default null) returns boolean
language plpgsql security definer
set search_path from current
as $$
begin
  delete from export_schedules s
  where s.name = schedule
    and (under is null or s.scope = under);
  if not found then
    return false;
  end if;
  delete from feed_checkpoints p where p.name = 'export:' || schedule;
  -- Without the checkpoint such a job would export everything again.
  update export_jobs j
  set state = 'cancelled',
    finished_at = clock_timestamp(),
    lease_token = null,
    lease_until = null
  where j.schedule = export_schedule_remove.schedule
    and j.since_last
    and j.state in ('queued', 'running');
  update export_jobs j
  set unscheduled = true
  where j.schedule = export_schedule_remove.schedule
    and j.since_last;
  return true;
end
$$;

-- Makes the job of a tick and moves the schedule to its next tick. Of several workers one succeeds. The others get null. Without a request
-- no job is made for the tick.
create function export_tick(
  schedule text,
  due timestamptz,
  following timestamptz,
  asked jsonb,
  attempts int,
  action jsonb
) returns bigint
language plpgsql security definer
set search_path from current
as $$
declare
  this record;
  job bigint;
begin
  update export_schedules s
  set next_tick = following,
    last_tick = case when asked is null then s.last_tick else due end
  where s.name = schedule
    and s.next_tick = due
    and following > due
  returning s.name, s.time_window, s.scope, s.requested_by, s.context into this;
  if not found or asked is null or exists (
    select from export_jobs j where j.schedule = this.name and j.tick = due
  ) then
    return null;
  end if;
  job := export_insert(asked, this.scope, this.requested_by, this.context, attempts);
  update export_jobs j
  set schedule = this.name,
    tick = due,
    since_last = this.time_window = 'since-last'
  where j.id = job;
  if action is not null then
    perform record_export(action || jsonb_build_object('subject', export_subject(job)), this.context);
  end if;
  return job;
end
$$;

revoke all on function
  export_insert(jsonb, jsonb, jsonb, jsonb, int), export_subject(bigint),
  export_queue(jsonb, jsonb, jsonb, jsonb, int, int, jsonb), export_cancel(bigint, jsonb, jsonb),
  export_retry(bigint, jsonb, jsonb), export_claim(text, double precision, bigint),
  export_renew(bigint, text, double precision, bigint, bigint, bigint),
  export_complete(bigint, text, jsonb, double precision, text, text, int, pg_snapshot, jsonb),
  export_fail(bigint, text, jsonb, double precision, jsonb), export_release(bigint, text),
  export_removed(bigint, text, jsonb, jsonb), export_forget(double precision), export_place(bigint, text),
  export_location(bigint, jsonb, text),
  export_schedule_add(text, text, text, text, text, jsonb, jsonb, jsonb, jsonb, timestamptz),
  export_schedule_remove(text, jsonb), export_tick(text, timestamptz, timestamptz, jsonb, int, jsonb)
from public;
