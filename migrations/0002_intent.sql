-- Who and why: the context of a transaction, its row in audit_transactions, and recorded actions.
--
-- Everything travels in transaction-local settings, which a savepoint takes back together with the rows:
--   threadline.context      the stamped context document, "<transaction timestamp> <json>"
--   threadline.transaction  the audit_transactions row that captures currently go to, "<id> <ctid>"
--   threadline.actions      actions recorded before there was such a row, "<id> <ctid>;..."
--   threadline.parts        enclosing audited parts, newest first, as JSON
--
-- Rows are found by their place, never by an index or a scan: under SERIALIZABLE these count as having read what strangers
-- write next to it, and one of the two fails. A look at an own row by its place counts as nothing. Each update moves the row, and
-- the setting with it.

-- Reads a stamped context. Never raises: "doc" holds what is right, "error" names what was left out.
create function read_context(raw text, out doc jsonb, out error text)
language plpgsql stable
set search_path from current
as $$
declare
  stamp text := extract(epoch from transaction_timestamp())::text || ' ';
  given jsonb;
  field text;
  value jsonb;
  actor jsonb;
  wrong text[] := '{}';
begin
  if not starts_with(raw, stamp) then
    error := 'context: not set by set_context in this transaction';
    return;
  end if;
  begin
    given := substr(raw, length(stamp) + 1)::jsonb;
  exception when others then
    error := 'context: not JSON';
    return;
  end;
  if jsonb_typeof(given) <> 'object' then
    error := 'context: not an object';
    return;
  end if;

  doc := '{}';
  for field, value in select e.key, e.value from jsonb_each(given) e where e.value <> 'null' order by e.key loop
    case
      when field in ('correlationId', 'requestId', 'jobId', 'traceId', 'source') then
        if jsonb_typeof(value) = 'string' and octet_length(value #>> '{}') between 1 and 256 then
          doc := doc || jsonb_build_object(field, value);
        else
          wrong := wrong || (field || ': not a text of 1 to 256 bytes');
        end if;
      when field = 'remoteIp' then
        begin
          doc := doc || jsonb_build_object(field, (value #>> '{}')::inet::text);
        exception when others then
          wrong := wrong || (field || ': not an address');
        end;
      when field = 'meta' then
        if jsonb_typeof(value) = 'object' then
          doc := doc || jsonb_build_object(field, value);
        else
          wrong := wrong || (field || ': not an object');
        end if;
      when field = 'actor' then
        actor := check_actor(value);
        if actor is null then
          wrong := wrong || (field || ': needs a known type and an id of 1 to 256 bytes');
        else
          doc := doc || jsonb_build_object(field, actor);
          if actor <> value then
            wrong := wrong || (field || ': has a part that is not a label or an impersonator');
          end if;
        end if;
      else
        wrong := wrong || 'context: has an unknown field'::text;
    end case;
  end loop;
  error := nullif(array_to_string(wrong, '; '), '');
end
$$;

-- The well-formed part of an actor document, or null where type or id are not usable. Impersonators nest up
-- to eight deep, as in the library: a chain without end must not exhaust the stack of somebody's write.
create function check_actor(doc jsonb, depth int default 0) returns jsonb
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
  if doc ? 'impersonator' and depth < 8 then
    impersonator := check_actor(doc -> 'impersonator', depth + 1);
    if impersonator is not null then
      clean := clean || jsonb_build_object('impersonator', impersonator);
    end if;
  end if;
  return clean;
end
$$;

-- Which cluster this is, and on which timeline. The timeline is that of the log which is written now: after a promotion
-- the control file names the one before, until the first checkpoint has ended. A replica writes no log, and some services
-- keep theirs to themselves.
create function current_cluster(out system_identifier bigint, out timeline int)
language plpgsql stable
set search_path from current
as $$
begin
  select s.system_identifier into current_cluster.system_identifier from pg_control_system() s;
  if not pg_is_in_recovery() then
    begin
      timeline := ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int;
    exception when others then
      timeline := null;
    end;
  end if;
  if timeline is null then
    select c.timeline_id into current_cluster.timeline from pg_control_checkpoint() c;
  end if;
end
$$;

-- Transactions of this database that are prepared, as far as the present snapshot knows them.
create function prepared_transactions() returns setof xid8
language sql stable
set search_path from current
as $$
  select x.xid
  from pg_snapshot_xip(pg_current_snapshot()) x (xid)
  join pg_prepared_xacts p on p.transaction::text::bigint = x.xid::text::bigint & 4294967295
  where p.database = current_database()
$$;

-- The epoch of this cluster. The latest one holds while the server has not been started anew; after a
-- start the cluster's identity decides. A server is promoted at most once between two starts, and writes
-- nothing before. Concurrent first writers compute the same number; one stores it.
create function current_epoch() returns int
language plpgsql
set search_path from current
as $$
declare
  latest installs;
  here record;
  result int;
begin
  select * into latest from installs order by epoch desc limit 1;
  if latest.postmaster_started_at = pg_postmaster_start_time() then
    return latest.epoch;
  end if;

  select * into here from current_cluster();
  if latest.system_identifier = here.system_identifier and latest.timeline = here.timeline then
    result := latest.epoch;
  else
    result := coalesce(latest.epoch, 0) + 1;
  end if;
  -- Never wait for another writer here: whoever does not get the lock goes on with the same number.
  if pg_try_advisory_xact_lock(hashtextextended('threadline.installs', 0)) then
    begin
      insert into installs as i (epoch, system_identifier, timeline, postmaster_started_at, prepared)
      values (
        result, here.system_identifier, here.timeline, pg_postmaster_start_time(),
        case
          when latest.system_identifier = here.system_identifier then array(select prepared_transactions())
          else '{}'
        end
      )
      on conflict (epoch) do update set postmaster_started_at = excluded.postmaster_started_at;
    exception when serialization_failure then
      -- Another writer has stored it since this transaction took its snapshot. That is no reason to fail.
      null;
    end;
  end if;
  return result;
end
$$;

-- The audit_transactions row that captures go to; what every capture calls once it knows that something
-- changed. This is the hot path of a single-row transaction: few statements, few expressions, because
-- PL/pgSQL initialises each of them anew in every transaction.
create function current_transaction() returns bigint
language plpgsql
set search_path from current
as $$
declare
  raw text := current_setting('threadline.transaction', true);
  doc jsonb;
  wrong text;
  opened bigint;
  place tid;
begin
  if raw <> '' then
    opened := cached_transaction();
    if opened is not null then
      return opened;
    end if;
  end if;

  raw := current_setting('threadline.context', true);
  if raw <> '' then
    -- An ordinary document is taken as it is: known fields, texts where texts belong, no id over its limit.
    -- Whatever is not as plain as that is read part by part, which takes ten times as long. One jsonpath
    -- costs less than several operators. "is distinct from" is there for what the cast may raise.
    begin
      if starts_with(raw, extract(epoch from transaction_timestamp())::text || ' ') then
        doc := substr(raw, 19)::jsonb;
        if (
          doc - '{actor,correlationId,requestId,jobId,traceId,source,remoteIp,meta}'::text[] = '{}'
          and coalesce((doc -> 'actor') - '{type,id,label}'::text[], '{}') = '{}'
          and (doc ->> 'remoteIp')::inet is distinct from '::/0'
          and doc @@ 'lax
            (!exists($.actor)
              || $.actor.type() == "object"
              && $.actor.type.type() == "string"
              && ($.actor.type == "user" || $.actor.type == "admin" || $.actor.type == "service_account"
                || $.actor.type == "job" || $.actor.type == "system")
              && $.actor.id.type() == "string" && $.actor.id != ""
              && (!exists($.actor.label) || $.actor.label.type() == "string" && $.actor.label != ""))
            && (!exists($.correlationId) || $.correlationId.type() == "string" && $.correlationId != "")
            && (!exists($.requestId) || $.requestId.type() == "string" && $.requestId != "")
            && (!exists($.jobId) || $.jobId.type() == "string" && $.jobId != "")
            && (!exists($.traceId) || $.traceId.type() == "string" && $.traceId != "")
            && (!exists($.source) || $.source.type() == "string" && $.source != "")
            && (!exists($.remoteIp) || $.remoteIp.type() == "string")
            && (!exists($.meta) || $.meta.type() == "object")'
        ) is not true then
          doc := null;
        elsif octet_length(raw) > 270 then
          -- Long as a whole: then each id is measured.
          if greatest(
            octet_length(doc #>> '{actor,id}'), octet_length(doc #>> '{actor,label}'),
            octet_length(doc ->> 'correlationId'), octet_length(doc ->> 'requestId'), octet_length(doc ->> 'jobId'),
            octet_length(doc ->> 'traceId'), octet_length(doc ->> 'source')
          ) > 256 then
            doc := null;
          end if;
        end if;
      end if;
    exception when others then
      doc := null;
    end;
    if doc is null then
      select c.doc, c.error into doc, wrong from read_context(raw) c;
    end if;
  end if;
  opened := nextval('audit_transactions_id_seq');
  insert into audit_transactions (
    id, xid, epoch, occurred_at, actor_type, actor_id, actor, correlation_id, request_id, job_id, trace_id,
    source, remote_ip, meta, context_error, db_user, application_name, client_addr, backend_pid
  ) values (
    opened, pg_current_xact_id(),
    coalesce(
      (
        select i.epoch
        from (select epoch, postmaster_started_at from installs order by epoch desc limit 1) i
        where i.postmaster_started_at = pg_postmaster_start_time()
      ),
      current_epoch()
    ),
    clock_timestamp(), doc #>> '{actor,type}', doc #>> '{actor,id}', doc -> 'actor',
    doc ->> 'correlationId', doc ->> 'requestId', doc ->> 'jobId', doc ->> 'traceId', doc ->> 'source',
    (doc ->> 'remoteIp')::inet, coalesce(doc -> 'meta', '{}'), wrong, session_user,
    current_setting('application_name'), inet_client_addr(), pg_backend_pid()
  )
  returning ctid into place;
  raw := set_config('threadline.transaction', opened || ' ' || place, true);
  if current_setting('threadline.actions', true) <> '' then
    perform link_actions(opened);
  end if;
  return opened;
end
$$;

-- Actions that were recorded in this transaction before it captured anything.
create function link_actions(opened bigint) returns void
language plpgsql
set search_path from current
set enable_seqscan = off
as $$
declare
  actions text := current_setting('threadline.actions', true);
  first_action bigint;
begin
  -- The setting can be set by hand; only unlinked actions of this very transaction are taken.
  if actions ~ '^([0-9]{1,18} [(][0-3]?[0-9]{1,9},[0-9]{1,4}[)](;|$))+$' then
    with linked as (
      update audit_actions a set transaction_id = opened
      where a.ctid = any (array(select split_part(x, ' ', 2)::tid from unnest(string_to_array(actions, ';')) x))
        and a.id + 0 = any (array(select split_part(x, ' ', 1)::bigint from unnest(string_to_array(actions, ';')) x))
        and a.transaction_id + 0 is null
        and a.xid = pg_current_xact_id()
        and a.occurred_at + interval '0' >= transaction_timestamp()
      returning a.id
    )
    select min(id) into first_action from linked;
  end if;
  if first_action is not null then
    perform first_action_of(opened, first_action);
  end if;
  perform set_config('threadline.actions', '', true);
end
$$;

-- The first action of the transaction row that captures currently go to; it keeps one that it has.
create function first_action_of(opened bigint, action bigint) returns void
language plpgsql
set search_path from current
set enable_seqscan = off
as $$
declare
  place tid;
begin
  update audit_transactions t
  set action_id = action
  where t.ctid = split_part(current_setting('threadline.transaction', true), ' ', 2)::tid
    and t.id + 0 = opened
    and t.action_id is null
  returning t.ctid into place;
  if found then
    perform set_config('threadline.transaction', opened || ' ' || place, true);
  end if;
end
$$;

-- The row captures currently go to, or null. The cached id counts only for a row of this very
-- transaction: xids alone repeat after a dump and restore, and the setting can be set by hand.
create function cached_transaction() returns bigint
language plpgsql stable
set search_path from current
set enable_seqscan = off
as $$
declare
  cached text := current_setting('threadline.transaction', true);
  found_id bigint;
begin
  if cached ~ '^[0-9]{1,18} [(][0-3]?[0-9]{1,9},[0-9]{1,4}[)]$' then
    select id into found_id
    from audit_transactions
    where ctid = split_part(cached, ' ', 2)::tid
      and id + 0 = split_part(cached, ' ', 1)::bigint
      and xid is not distinct from pg_current_xact_id_if_assigned()
      and occurred_at + interval '0' >= transaction_timestamp();
  end if;
  return found_id;
end
$$;

-- Gives a context to the transaction row that captures currently go to, if it has none; the place where the row is then.
create function complete_transaction(cached bigint, raw text) returns tid
language plpgsql
set search_path from current
set enable_seqscan = off
as $$
declare
  given jsonb;
  wrong text;
  place tid;
begin
  select c.doc, c.error into given, wrong from read_context(raw) c;
  update audit_transactions
  set actor_type = given #>> '{actor,type}',
    actor_id = given #>> '{actor,id}',
    actor = given -> 'actor',
    correlation_id = given ->> 'correlationId',
    request_id = given ->> 'requestId',
    job_id = given ->> 'jobId',
    trace_id = given ->> 'traceId',
    source = given ->> 'source',
    remote_ip = (given ->> 'remoteIp')::inet,
    meta = coalesce(given -> 'meta', '{}'),
    context_error = wrong
  where ctid = split_part(current_setting('threadline.transaction', true), ' ', 2)::tid
    and id + 0 = cached
    and actor_type is null
    and context_error is null
    and num_nonnulls(correlation_id, request_id, job_id, trace_id, source, remote_ip) = 0
    and meta = '{}'
  returning ctid into place;
  return place;
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
  place tid;
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
      place := complete_transaction(cached, raw);
      if place is not null then
        perform set_config('threadline.transaction', cached || ' ' || place, true);
      else
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
  given jsonb;
  linked bigint := cached_transaction();
  recorded bigint;
  place tid;
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

  select c.doc into given
  from read_context(coalesce(
    extract(epoch from transaction_timestamp())::text || ' ' || context::text,
    nullif(current_setting('threadline.context', true), '')
  )) c;
  insert into audit_actions (
    transaction_id, xid, name, status, actor_type, actor_id, actor, verb, category, reason, comment,
    correlation_id, request_id, job_id, trace_id, subject_type, subject_id, data, occurred_at
  ) values (
    linked, pg_current_xact_id(), action ->> 'name', coalesce(action ->> 'status', 'ok'),
    given #>> '{actor,type}', given #>> '{actor,id}', given -> 'actor',
    action ->> 'verb', action ->> 'category', action ->> 'reason', action ->> 'comment',
    given ->> 'correlationId', given ->> 'requestId', given ->> 'jobId', given ->> 'traceId',
    action #>> '{subject,type}', action #>> '{subject,id}', action -> 'data', clock_timestamp()
  )
  returning id, ctid into recorded, place;

  if linked is null then
    perform set_config('threadline.actions',
      concat_ws(';', nullif(current_setting('threadline.actions', true), ''), recorded || ' ' || place), true);
  else
    perform first_action_of(linked, recorded);
  end if;
  return recorded;
end
$$;

comment on function record_action(jsonb, jsonb) is
  'Records one intent, linked to what the transaction captured or will capture.';

-- Records that changes were exported, or an attempt: record_action for these names alone, so that readers can be allowed it who may record
-- nothing else.
create function record_export(action jsonb, context jsonb) returns bigint
language plpgsql security definer
set search_path from current
as $$
begin
  if coalesce(action ->> 'name', '') not in ('export.completed', 'export.ended') then
    raise exception 'threadline: an export is recorded under a name of its own, not %', action -> 'name'
      using errcode = 'invalid_parameter_value';
  end if;
  return record_action(action, coalesce(context, '{}'));
end
$$;

comment on function record_export(jsonb, jsonb) is
  'Records an export as an action: who, which filter, how many records.';

-- Ends an audited transaction or part: { action?, requireChanges?, part? }. Returns
-- { transactionId, actionId }, both texts or null. Raises TL001 if changes are required and none came, and TL004 if it is
-- to end a part and none is open: the context of what encloses it would be lost.
create function finish(outcome jsonb) returns jsonb
language plpgsql security definer
set search_path from current
as $$
declare
  captured bigint := cached_transaction();
  recorded bigint;
  enclosing jsonb;
begin
  if (outcome ->> 'part')::boolean then
    begin
      enclosing := nullif(current_setting('threadline.parts', true), '')::jsonb;
    exception when others then
      enclosing := null;
    end;
    if jsonb_typeof(enclosing -> 0) is distinct from 'array' then
      raise exception 'threadline: finish ends a part, and none is open'
        using errcode = 'TL004',
          hint = 'Call begin_part once for each part. A rollback to a savepoint ends the parts that were opened after it.';
    end if;
  end if;
  if (outcome ->> 'requireChanges')::boolean and captured is null then
    raise exception 'threadline: the transaction captured no change' using errcode = 'TL001';
  end if;
  if jsonb_typeof(outcome -> 'action') = 'object' then
    recorded := record_action(outcome -> 'action');
  end if;
  if (outcome ->> 'part')::boolean then
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
  read_context(text), check_actor(jsonb, int), current_cluster(), prepared_transactions(), current_epoch(), link_actions(bigint),
  first_action_of(bigint, bigint), complete_transaction(bigint, text),
  cached_transaction(), current_transaction(), set_context(jsonb), begin_part(jsonb),
  record_action(jsonb, jsonb), record_export(jsonb, jsonb), finish(jsonb)
from public;
