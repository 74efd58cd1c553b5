-- What retention did: one row for each run, and the lease that keeps two runners from the same work.

create table retention_runs (
  id bigint generated always as identity primary key,
  kind text collate "C" not null check (kind in ('purge', 'maintain')),
  state text collate "C" not null default 'running'
    check (state in ('running', 'completed', 'stopped', 'cancelled', 'failed')),
  started_at timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  -- The policy as it was configured, and the plan: what was to go. Null for maintenance.
  policy jsonb,
  plan jsonb,
  -- The latest instant before which anything may go.
  cutoff timestamptz,
  -- What is gone by now. Each batch adds to it in its own transaction, so it is exact if the run dies as well.
  changes bigint not null default 0,
  transactions bigint not null default 0,
  actions bigint not null default 0,
  batches bigint not null default 0,
  -- Whole partitions that were emptied or dropped, or made by maintenance.
  partitions text[] not null default '{}',
  -- What else there is to say: the files of an archive, the indexes that were rebuilt.
  details jsonb not null default '{}',
  -- Why it failed or stopped.
  problem text,
  -- The transactions of which it removed changes, and those that it removed: their ids, in whole blocks.
  touched int8multirange not null default '{}',
  -- Of a purge that completed: the cutoffs up to which it looked at everything, and what it could see. A later purge under the same
  -- policy looks at what is newer, and at what was touched since.
  settled jsonb,
  actor jsonb,
  db_user text collate "C" not null default session_user,
  application_name text default nullif(current_setting('application_name'), ''),
  client_addr inet default inet_client_addr(),
  lease_token text collate "C" not null,
  lease_until timestamptz not null
);

comment on table retention_runs is
  'Runs of retention: by whom, with which policy, what went. A run that is "running" holds a lease; the next one finishes it as failed after that.';

-- One runner of a kind at a time.
create unique index retention_runs_running_idx on retention_runs (kind) where state = 'running';
