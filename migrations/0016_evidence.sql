-- Evidence: what a host or Threadline wrote down about how the record is governed. Rows are only added.

create table evidence_records (
  id bigint generated always as identity primary key,
  subject text collate "C" not null check (subject in (
    'redaction_policy', 'trigger_coverage', 'retention_run', 'retention_policy', 'export_delivery', 'support_scope_posture'
  )),
  -- What it is about: the id of a run, the name of an export, an environment.
  reference text collate "C" not null check (octet_length(reference) between 1 and 256),
  status text collate "C" not null check (status in ('ok', 'attention', 'failed')),
  detail jsonb not null check (jsonb_typeof(detail) = 'object'),
  detail_version int not null check (detail_version > 0),
  -- "derived" from the services of Threadline, or as the "host" said.
  origin text collate "C" not null check (origin in ('derived', 'host')),
  actor_type text collate "C",
  actor_id text collate "C",
  actor jsonb,
  recorded_at timestamptz not null,
  db_user text collate "C" not null,
  role_name text collate "C" not null,
  application_name text,
  client_addr inet
);

comment on table evidence_records is
  'Evidence of how the record is governed. Rows are only added, by record_evidence; who recorded them and when is what the server saw.';

create index evidence_records_reference_idx on evidence_records (subject, reference, id);
create index evidence_records_time_idx on evidence_records (recorded_at, id);

-- The first field of a detail that is missing or of another type than in version 1 of the schema of its subject; null if there is none. The
-- library checks the values as well.
create function wrong_evidence_field(subject text, detail jsonb) returns text
language sql immutable
set search_path from current
return (
  select r.field
  from (
    values
      ('redaction_policy', 'tables', '{array}'::text[]),
      ('trigger_coverage', 'tables', '{array}'),
      ('retention_run', 'run', '{string}'),
      ('retention_run', 'kind', '{string}'),
      ('retention_run', 'state', '{string}'),
      ('retention_run', 'startedAt', '{string}'),
      ('retention_run', 'finishedAt', '{string,"null"}'),
      ('retention_run', 'cutoff', '{string,"null"}'),
      ('retention_run', 'changes', '{number}'),
      ('retention_run', 'transactions', '{number}'),
      ('retention_run', 'actions', '{number}'),
      ('retention_policy', 'configured', '{boolean}'),
      ('retention_policy', 'policy', '{object,"null"}'),
      ('export_delivery', 'format', '{string}'),
      ('export_delivery', 'count', '{number}'),
      ('export_delivery', 'bytes', '{number}'),
      ('export_delivery', 'sha256', '{string}'),
      ('support_scope_posture', 'readers', '{array}'),
      ('support_scope_posture', 'writers', '{array}'),
      ('support_scope_posture', 'changers', '{array}')
  ) r (subject, field, types)
  where r.subject = wrong_evidence_field.subject
    and coalesce(jsonb_typeof(wrong_evidence_field.detail -> r.field), '') <> all (r.types)
  limit 1
);

-- Whether a detail that is said to be derived is what the record itself says, of subjects that speak of one row of it.
create function is_evidence_of(subject text, status text, detail jsonb) returns boolean
language sql stable
set search_path from current
return case subject
  when 'retention_run' then exists (
    select
    from retention_runs r
    where r.id::text = detail ->> 'run'
      and r.kind = detail ->> 'kind'
      -- It may have ended since.
      and (r.state = detail ->> 'state' or detail ->> 'state' = 'running')
      and (
        detail ->> 'state' = 'running'
        or (r.changes, r.transactions, r.actions)
          = ((detail ->> 'changes')::numeric, (detail ->> 'transactions')::numeric, (detail ->> 'actions')::numeric)
      )
      and status = case detail ->> 'state' when 'failed' then 'failed' when 'completed' then 'ok' else 'attention' end
  )
  when 'export_delivery' then exists (
    select from audit_actions a where a.id::text = detail ->> 'action'
  )
  else true
end;

-- Adds a record: { subject, reference, status, detail, detailVersion, origin, actor }. The server says who recorded it and when. No
-- argument replaces that.
create function record_evidence(evidence jsonb) returns bigint
language plpgsql security definer
set search_path from current
as $$
declare
  checked record;
  recorded bigint;
  wrong text;
begin
  if jsonb_typeof(evidence) is distinct from 'object'
    or jsonb_typeof(evidence -> 'reference') is distinct from 'string'
    or jsonb_typeof(evidence -> 'detail') is distinct from 'object'
    or octet_length(evidence ->> 'detail') > 1048576
  then
    raise exception 'threadline: evidence has a reference, and a detail that is an object of at most a megabyte'
      using errcode = 'invalid_parameter_value';
  end if;
  if evidence -> 'detailVersion' is distinct from '1' then
    raise exception 'threadline: the version of a detail is 1' using errcode = 'invalid_parameter_value';
  end if;
  wrong := wrong_evidence_field(evidence ->> 'subject', evidence -> 'detail');
  if wrong is not null then
    raise exception 'threadline: the detail of % has "%", of another type or missing here', evidence ->> 'subject', wrong
      using errcode = 'invalid_parameter_value';
  end if;
  if evidence ->> 'origin' = 'derived'
    and not is_evidence_of(evidence ->> 'subject', evidence ->> 'status', evidence -> 'detail')
  then
    raise exception 'threadline: this is not what the record says, so it is not derived: record it as of the host'
      using errcode = 'invalid_parameter_value';
  end if;
  if jsonb_typeof(evidence -> 'actor') = 'object' then
    checked := check_actor(evidence -> 'actor', 'actor', 0);
    if checked.wrong <> '{}' then
      raise exception 'threadline: %', array_to_string(checked.wrong, '; ') using errcode = 'invalid_parameter_value';
    end if;
  elsif coalesce(jsonb_typeof(evidence -> 'actor'), 'null') <> 'null' then
    raise exception 'threadline: the actor of evidence is an object' using errcode = 'invalid_parameter_value';
  end if;
  insert into evidence_records (
    subject, reference, status, detail, detail_version, origin, actor_type, actor_id, actor, recorded_at, db_user, role_name,
    application_name, client_addr
  ) values (
    evidence ->> 'subject', evidence ->> 'reference', evidence ->> 'status', evidence -> 'detail',
    (evidence ->> 'detailVersion')::int, evidence ->> 'origin', evidence #>> '{actor,type}', evidence #>> '{actor,id}',
    nullif(evidence -> 'actor', 'null'), clock_timestamp(), session_user,
    coalesce(nullif(nullif(current_setting('role', true), ''), 'none'), session_user),
    nullif(current_setting('application_name'), ''), inet_client_addr()
  )
  returning id into recorded;
  return recorded;
end
$$;

comment on function record_evidence(jsonb) is 'Adds a record of evidence; who and when is what the server saw.';

revoke all on function record_evidence(jsonb), wrong_evidence_field(text, jsonb), is_evidence_of(text, text, jsonb) from public;
