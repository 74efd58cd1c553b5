-- What retention did: one row for each run. The lease keeps two runners from the same work.

create table retention_runs (
  id bigint generated always as identity primary key,
  kind text collate "C" not null check (kind in ('purge', 'maintain')),
  state text collate "C" not null default 'running'
    check (state in ('running', 'completed', 'stopped', 'cancelled', 'failed')),
  started_at timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  -- The policy as it was configured, and the plan: what was to be removed. Null for maintenance.
  policy jsonb,
  plan jsonb,
  -- Nothing at or after this instant may be removed.
  cutoff timestamptz,
  -- What has been removed so far. Each batch adds to it in its own transaction, so it is exact even if the run dies.
  changes bigint not null default 0,
  transactions bigint not null default 0,
  actions bigint not null default 0,
  batches bigint not null default 0,
  -- Partitions that a purge emptied or dropped, or that maintenance made.
  partitions text[] not null default '{}',
  -- Other results: the files of an archive, the indexes that were rebuilt.
  details jsonb not null default '{}',
  -- Why it failed or stopped.
  problem text,
  -- Ids, in whole blocks: of the transactions of which it removed changes, and of the transactions that it removed.
  touched int8multirange not null default '{}',
  -- Only of a completed purge: the cutoffs up to which it looked at everything, and the snapshot that it looked with. A later purge under
  -- the same policy looks only at what is newer, and at what was touched since.
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
