-- Who and why: the context of a transaction, its row in audit_transactions, and recorded actions.
--
-- Everything travels in transaction-local settings, which a savepoint takes back together with the rows:
--   threadline.context      the stamped context document, "<transaction timestamp> <json>"
--   threadline.transaction  id of the audit_transactions row that captures currently go to
--   threadline.actions      ids of actions recorded before there was such a row, comma separated
--   threadline.parts        enclosing audited parts, newest first, as JSON

-- The mark that ties a setting to one transaction: a value left over from another never matches.
create function context_stamp() returns text
language sql stable
set search_path from current
return extract(epoch from transaction_timestamp())::text;

-- Reads a stamped context. Never raises: what is wrong is left out and named in "error".
create function decode_context(
  raw text,
  out actor jsonb,
  out actor_type text,
  out actor_id text,
  out correlation_id text,
  out request_id text,
  out job_id text,
  out trace_id text,
  out source text,
  out remote_ip inet,
  out meta jsonb,
  out error text
)
language plpgsql stable
set search_path from current
as $$
declare
  stamp text;
  doc jsonb;
  part jsonb;
  wrong text[] := '{}';
begin
  meta := '{}';
  if raw is null or raw = '' then
    return;
  end if;

  stamp := extract(epoch from transaction_timestamp())::text;
  if not starts_with(raw, stamp || ' ') then
    error := 'context: not set by set_context in this transaction';
    return;
  end if;
  begin
    doc := substr(raw, length(stamp) + 2)::jsonb;
  exception when others then
    error := 'context: not JSON';
    return;
  end;
  if jsonb_typeof(doc) <> 'object' then
    error := 'context: not an object';
    return;
  end if;

  correlation_id := doc ->> 'correlationId';
  if correlation_id is not null
    and (jsonb_typeof(doc -> 'correlationId') <> 'string' or octet_length(correlation_id) not between 1 and 256)
  then
    correlation_id := null;
    wrong := wrong || 'correlationId: not a text of 1 to 256 bytes'::text;
  end if;
  request_id := doc ->> 'requestId';
  if request_id is not null
    and (jsonb_typeof(doc -> 'requestId') <> 'string' or octet_length(request_id) not between 1 and 256)
  then
    request_id := null;
    wrong := wrong || 'requestId: not a text of 1 to 256 bytes'::text;
  end if;
  job_id := doc ->> 'jobId';
  if job_id is not null
    and (jsonb_typeof(doc -> 'jobId') <> 'string' or octet_length(job_id) not between 1 and 256)
  then
    job_id := null;
    wrong := wrong || 'jobId: not a text of 1 to 256 bytes'::text;
  end if;
  trace_id := doc ->> 'traceId';
  if trace_id is not null
    and (jsonb_typeof(doc -> 'traceId') <> 'string' or octet_length(trace_id) not between 1 and 256)
  then
    trace_id := null;
    wrong := wrong || 'traceId: not a text of 1 to 256 bytes'::text;
  end if;
  source := doc ->> 'source';
  if source is not null
    and (jsonb_typeof(doc -> 'source') <> 'string' or octet_length(source) not between 1 and 256)
  then
    source := null;
    wrong := wrong || 'source: not a text of 1 to 256 bytes'::text;
  end if;

  part := doc -> 'remoteIp';
  if part is not null and part <> 'null' then
    begin
      if jsonb_typeof(part) = 'string' then
        remote_ip := (part #>> '{}')::inet;
      else
        wrong := wrong || 'remoteIp: not an address'::text;
      end if;
    exception when others then
      wrong := wrong || 'remoteIp: not an address'::text;
    end;
  end if;

  part := doc -> 'meta';
  if part is not null and part <> 'null' then
    if jsonb_typeof(part) = 'object' then
      meta := part;
    else
      wrong := wrong || 'meta: not an object'::text;
    end if;
  end if;

  part := doc -> 'actor';
  if part is not null and part <> 'null' then
    actor := check_actor(part);
    if actor is null then
      wrong := wrong || 'actor: needs a known type and an id of 1 to 256 bytes'::text;
    else
      actor_type := actor ->> 'type';
      actor_id := actor ->> 'id';
      if actor <> part then
        wrong := wrong || 'actor: has a part that is not a label or an impersonator'::text;
      end if;
    end if;
  end if;

  if doc - '{actor,correlationId,requestId,jobId,traceId,source,remoteIp,meta}'::text[] <> '{}' then
    wrong := wrong || 'context: has an unknown field'::text;
  end if;
  if wrong <> '{}' then
    error := array_to_string(wrong, '; ');
  end if;
end
$$;

-- The well-formed part of an actor document, or null where type or id are not usable.
create function check_actor(doc jsonb) returns jsonb
language plpgsql immutable
set search_path from current
as $$
declare
  kind text := doc ->> 'type';
  id text := doc ->> 'id';
  clean jsonb;
  impersonator jsonb;
begin
  if jsonb_typeof(doc) <> 'object'
    or kind is null
    or kind not in ('user', 'admin', 'service_account', 'job', 'system', 'anonymous')
  then
    return null;
  end if;
  if kind = 'anonymous' then
    if id is not null then
      return null;
    end if;
    clean := '{"type": "anonymous"}';
  else
    if id is null or jsonb_typeof(doc -> 'id') <> 'string' or octet_length(id) not between 1 and 256 then
      return null;
    end if;
    clean := jsonb_build_object('type', kind, 'id', id);
  end if;
  if jsonb_typeof(doc -> 'label') = 'string' and octet_length(doc ->> 'label') between 1 and 256 then
    clean := clean || jsonb_build_object('label', doc -> 'label');
  end if;
  if doc ? 'impersonator' then
    impersonator := check_actor(doc -> 'impersonator');
    if impersonator is not null then
      clean := clean || jsonb_build_object('impersonator', impersonator);
    end if;
  end if;
  return clean;
end
$$;

-- The epoch of this cluster. The latest one holds while the server has not been started anew; after a
-- start the cluster's identity decides. Concurrent first writers compute the same number; one stores it.
create function current_epoch() returns int
language plpgsql
set search_path from current
as $$
declare
  latest installs;
  identity bigint;
  line int;
  result int;
begin
  select * into latest from installs order by epoch desc limit 1;
  if latest.postmaster_started_at = pg_postmaster_start_time() then
    return latest.epoch;
  end if;

  select system_identifier into identity from pg_control_system();
  select timeline_id into line from pg_control_checkpoint();
  if latest.system_identifier = identity and latest.timeline = line then
    result := latest.epoch;
  else
    result := coalesce(latest.epoch, 0) + 1;
  end if;
  -- Never wait for another writer here: whoever does not get the lock goes on with the same number.
  if pg_try_advisory_xact_lock(hashtextextended('threadline.installs', 0)) then
    insert into installs as i (epoch, system_identifier, timeline, postmaster_started_at)
    values (result, identity, line, pg_postmaster_start_time())
    on conflict (epoch) do update set postmaster_started_at = excluded.postmaster_started_at;
  end if;
  return result;
end
$$;

-- Opens the audit_transactions row of the running transaction and context.
create function open_transaction() returns bigint
language plpgsql
set search_path from current
as $$
declare
  context record;
  actions bigint[];
  opened bigint;
begin
  context := decode_context(current_setting('threadline.context', true));
  insert into audit_transactions (
    xid, epoch, occurred_at, actor_type, actor_id, actor, correlation_id, request_id, job_id, trace_id,
    source, remote_ip, meta, context_error, db_user, application_name, client_addr, backend_pid
  ) values (
    pg_current_xact_id(), current_epoch(), clock_timestamp(), context.actor_type, context.actor_id,
    context.actor, context.correlation_id, context.request_id, context.job_id, context.trace_id,
    context.source, context.remote_ip, context.meta, context.error, session_user,
    current_setting('application_name'), inet_client_addr(), pg_backend_pid()
  )
  returning id into opened;
  perform set_config('threadline.transaction', opened::text, true);

  if current_setting('threadline.actions', true) <> '' then
    -- The setting can be forged; only ids of unlinked actions are taken.
    begin
      actions := string_to_array(current_setting('threadline.actions', true), ',')::bigint[];
    exception when others then
      actions := '{}';
    end;
    perform link_actions(opened, actions);
  end if;
  return opened;
end
$$;

-- Actions that were recorded in this transaction before it captured anything.
create function link_actions(opened bigint, actions bigint[]) returns void
language plpgsql
set search_path from current
as $$
declare
  first_action bigint;
begin
  with linked as (
    update audit_actions a set transaction_id = opened
    where a.id = any (actions)
      and a.transaction_id is null
      and a.xid = pg_current_xact_id()
      and a.occurred_at >= transaction_timestamp()
    returning a.id
  )
  select min(id) into first_action from linked;
  if first_action is not null then
    update audit_transactions set action_id = first_action where id = opened;
  end if;
  perform set_config('threadline.actions', '', true);
end
$$;

-- The row captures currently go to, or null. The cached id counts only for a row of this very
-- transaction: xids alone repeat after a dump and restore, and the setting can be set by hand.
create function cached_transaction() returns bigint
language plpgsql stable
set search_path from current
as $$
declare
  cached text := current_setting('threadline.transaction', true);
  found_id bigint;
begin
  if cached ~ '^[0-9]{1,18}$' then
    select id into found_id
    from audit_transactions
    where id = cached::bigint
      and xid = pg_current_xact_id_if_assigned()
      and occurred_at >= transaction_timestamp();
  end if;
  return found_id;
end
$$;

-- What every capture calls once it knows that something changed.
create function current_transaction() returns bigint
language plpgsql
set search_path from current
as $$
begin
  return coalesce(cached_transaction(), open_transaction());
end
$$;

-- Sets who and why for the rest of the transaction; any client may call it, at any point of it.
-- A recorded actor is never replaced: a context that comes after captured writes completes a row that
-- has none, and a different one makes the next write open a further row.
create function set_context(context jsonb) returns void
language plpgsql security definer
set search_path from current
as $$
declare
  raw text := extract(epoch from transaction_timestamp())::text || ' ' || context::text;
  cached bigint;
  given record;
begin
  if context is null then
    raise exception 'threadline: the context is null; pass a JSON object'
      using errcode = 'null_value_not_allowed';
  end if;
  if current_setting('threadline.transaction', true) <> ''
    and raw is distinct from current_setting('threadline.context', true)
  then
    cached := cached_transaction();
    if cached is not null then
      given := decode_context(raw);
      update audit_transactions
      set actor_type = given.actor_type,
        actor_id = given.actor_id,
        actor = given.actor,
        correlation_id = given.correlation_id,
        request_id = given.request_id,
        job_id = given.job_id,
        trace_id = given.trace_id,
        source = given.source,
        remote_ip = given.remote_ip,
        meta = given.meta,
        context_error = given.error
      where id = cached
        and actor_type is null
        and context_error is null
        and num_nonnulls(correlation_id, request_id, job_id, trace_id, source, remote_ip) = 0
        and meta = '{}';
      if not found then
        perform set_config('threadline.transaction', '', true);
        perform set_config('threadline.actions', '', true);
      end if;
    end if;
  end if;
  perform set_config('threadline.context', raw, true);
end
$$;

comment on function set_context(jsonb) is
  'Sets actor, correlation, request, job, trace, source, remote address and meta for the rest of the transaction.';

-- Opens an audited part of a larger transaction: what it captures goes to a row of its own, and
-- "finish" gives the enclosing part its context and its row back. A savepoint encloses both calls, so
-- that a part rolled back leaves nothing behind.
create function begin_part(context jsonb) returns void
language plpgsql security definer
set search_path from current
as $$
begin
  perform set_config(
    'threadline.parts',
    (jsonb_build_array(jsonb_build_array(
      coalesce(current_setting('threadline.context', true), ''),
      coalesce(current_setting('threadline.transaction', true), ''),
      coalesce(current_setting('threadline.actions', true), '')
    )) || coalesce(nullif(current_setting('threadline.parts', true), ''), '[]')::jsonb)::text,
    true
  );
  perform set_config('threadline.transaction', '', true);
  perform set_config('threadline.actions', '', true);
  perform set_context(context);
end
$$;

-- Records one intent of the current transaction: { name, status?, verb?, category?, reason?, comment?,
-- subject?: { type, id }, data? }. Who and why come from the context; a second argument replaces it.
create function record_action(action jsonb, context jsonb default null) returns bigint
language plpgsql security definer
set search_path from current
as $$
declare
  given record;
  linked bigint := cached_transaction();
  recorded bigint;
begin
  if jsonb_typeof(action) is distinct from 'object'
    or jsonb_typeof(action -> 'name') is distinct from 'string'
    or octet_length(action ->> 'name') not between 1 and 256
  then
    raise exception 'threadline: an action needs a name of 1 to 256 bytes'
      using errcode = 'invalid_parameter_value';
  end if;
  if coalesce(action ->> 'status', 'ok') not in ('ok', 'error') then
    raise exception 'threadline: the status of an action is ok or error, not %', action -> 'status'
      using errcode = 'invalid_parameter_value';
  end if;

  given := decode_context(
    case when context is null then current_setting('threadline.context', true)
      else extract(epoch from transaction_timestamp())::text || ' ' || context::text end);
  insert into audit_actions (
    transaction_id, xid, name, status, actor_type, actor_id, actor, verb, category, reason, comment,
    correlation_id, request_id, job_id, trace_id, subject_type, subject_id, data, occurred_at
  ) values (
    linked, pg_current_xact_id(), action ->> 'name', coalesce(action ->> 'status', 'ok'), given.actor_type, given.actor_id,
    given.actor, action ->> 'verb', action ->> 'category', action ->> 'reason', action ->> 'comment',
    given.correlation_id, given.request_id, given.job_id, given.trace_id,
    action #>> '{subject,type}', action #>> '{subject,id}', action -> 'data', clock_timestamp()
  )
  returning id into recorded;

  if linked is null then
    perform set_config('threadline.actions',
      concat_ws(',', nullif(current_setting('threadline.actions', true), ''), recorded::text), true);
  else
    update audit_transactions set action_id = recorded where id = linked and action_id is null;
  end if;
  return recorded;
end
$$;

comment on function record_action(jsonb, jsonb) is
  'Records one intent, linked to what the transaction captured or will capture.';

-- Ends an audited transaction or part: { action?, requireChanges?, part? }. Returns
-- { transactionId, actionId }, both texts or null. Raises TL001 where changes are required and none came.
create function finish(outcome jsonb) returns jsonb
language plpgsql security definer
set search_path from current
as $$
declare
  captured bigint := cached_transaction();
  recorded bigint;
  enclosing jsonb;
begin
  if (outcome ->> 'requireChanges')::boolean and captured is null then
    raise exception 'threadline: the transaction captured no change' using errcode = 'TL001';
  end if;
  if jsonb_typeof(outcome -> 'action') = 'object' then
    recorded := record_action(outcome -> 'action');
  end if;
  if (outcome ->> 'part')::boolean then
    enclosing := nullif(current_setting('threadline.parts', true), '')::jsonb;
    perform set_config('threadline.context', coalesce(enclosing #>> '{0,0}', ''), true);
    perform set_config('threadline.transaction', coalesce(enclosing #>> '{0,1}', ''), true);
    perform set_config('threadline.actions', coalesce(enclosing #>> '{0,2}', ''), true);
    perform set_config('threadline.parts', coalesce((enclosing - 0)::text, ''), true);
  end if;
  return jsonb_build_object('transactionId', captured::text, 'actionId', recorded::text);
end
$$;

comment on function finish(jsonb) is
  'Ends an audited transaction, or an audited part of a larger one, and says which rows it has.';

revoke all on function
  context_stamp(), decode_context(text), check_actor(jsonb), current_epoch(), open_transaction(),
  link_actions(bigint, bigint[]), cached_transaction(), current_transaction(), set_context(jsonb),
  begin_part(jsonb), record_action(jsonb, jsonb), finish(jsonb)
from public;
