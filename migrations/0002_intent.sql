-- Who and why: the context of a transaction, its row in audit_transactions, and recorded actions.
--
-- Everything travels in transaction-local settings, which a savepoint takes back together with the rows:
--   threadline.context      the stamped context document, "<transaction timestamp> <json>"
--   threadline.transaction  the audit_transactions row that captures currently go to, "<id> <ctid>"; empty until something is
--                           captured or recorded, "none" where it was and captures go to a row to come
--   threadline.actions      actions recorded before there was such a row, "<id> <ctid>;..."
--   threadline.parts        enclosing audited parts, newest first, as JSON
--
-- Rows are found by their place, never by an index or a scan. Under SERIALIZABLE, an index or a scan counts as having read what
-- other transactions write nearby, and one of the two fails. Reading a row of one's own by its place counts as nothing. Each
-- update moves the row, and changes the setting with it.

-- Reads a stamped context. "doc" holds the valid parts, "error" names what was left out. Raises only in strict mode, which a
-- database for development or tests may be in ("alter database shop_test set threadline.strict = on").
create function read_context(raw text, out doc jsonb, out error text)
language plpgsql stable
set search_path from current
as $$
declare
  stamp text := extract(epoch from transaction_timestamp())::text || ' ';
  given jsonb;
  field text;
  value jsonb;
  actor record;
  address inet;
  wrong text[] := '{}';
begin
  <<reading>>
  begin
    if not starts_with(raw, stamp) then
      wrong := '{"context: not set by set_context in this transaction"}';
      exit reading;
    end if;
    begin
      given := substr(raw, length(stamp) + 1)::jsonb;
    exception when others then
      wrong := '{"context: not JSON"}';
      exit reading;
    end;
    if jsonb_typeof(given) <> 'object' then
      wrong := '{"context: not an object"}';
      exit reading;
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
            address := (value #>> '{}')::inet;
            -- A socket for both families shows an IPv4 address as part of IPv6.
            if address <<= '::ffff:0:0/96' and masklen(address) = 128 then
              address := inet '0.0.0.0' + (address - inet '::ffff:0:0');
            end if;
            doc := doc || jsonb_build_object(field, address::text);
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
          actor := check_actor(value, field, 0);
          wrong := wrong || actor.wrong;
          if actor.clean is not null then
            doc := doc || jsonb_build_object(field, actor.clean);
          end if;
        when field = 'actorError' then
          -- The host could not find out who acts. It says why.
          wrong := wrong || coalesce('actor: ' || left(nullif(value #>> '{}', ''), 256), 'actor: not known');
        else
          wrong := wrong || format('context: has an unknown field %s', to_json(left(field, 63)));
      end case;
    end loop;
  end;
  error := nullif(array_to_string(wrong, '; '), '');
  if error is not null and current_setting('threadline.strict', true) in ('on', 'true', 'yes', '1') then
    raise exception 'threadline: %', error
      using errcode = 'TL005',
        hint = 'Without threadline.strict the write succeeds, and context_error says this.';
  end if;
end
$$;

-- The well-formed part of an actor document, null if type or id are not usable, and what is wrong with the rest. Integers are
-- taken as ids. Impersonators nest up to eight deep, as in the library: an endless chain must not exhaust the stack of a write.
create function check_actor(doc jsonb, path text, depth int, out clean jsonb, out wrong text[])
language plpgsql immutable
set search_path from current
as $$
declare
  kind text := doc ->> 'type';
  id text := doc ->> 'id';
  impersonator record;
begin
  wrong := '{}';
  if jsonb_typeof(doc) <> 'object' then
    wrong := array[path || ': not an object'];
    return;
  end if;
  if kind is null or kind not in ('user', 'admin', 'service_account', 'job', 'system', 'anonymous') then
    wrong := array[path || '.type: not user, admin, service_account, job, system or anonymous'];
    return;
  end if;
  if kind = 'anonymous' then
    if id is not null then
      wrong := array[path || '.id: an anonymous actor has none'];
      return;
    end if;
    clean := '{"type": "anonymous"}';
  else
    if id is null then
      wrong := array[path || '.id: missing'];
      return;
    end if;
    if octet_length(id) not between 1 and 256
      or not (jsonb_typeof(doc -> 'id') = 'string' or jsonb_typeof(doc -> 'id') = 'number' and id ~ '^-?[0-9]+$')
    then
      wrong := array[path || '.id: not a text of 1 to 256 bytes or an integer'];
      return;
    end if;
    clean := jsonb_build_object('type', kind, 'id', id);
  end if;
  if doc ->> 'label' is not null then
    if jsonb_typeof(doc -> 'label') = 'string' and octet_length(doc ->> 'label') between 1 and 256 then
      clean := clean || jsonb_build_object('label', doc -> 'label');
    else
      wrong := wrong || (path || '.label: not a text of 1 to 256 bytes');
    end if;
  end if;
  if doc ->> 'impersonator' is not null then
    if depth < 8 then
      impersonator := check_actor(doc -> 'impersonator', path || '.impersonator', depth + 1);
      wrong := wrong || impersonator.wrong;
      if impersonator.clean is not null then
        clean := clean || jsonb_build_object('impersonator', impersonator.clean);
      end if;
    else
      wrong := wrong || (path || '.impersonator: nests more than 8 deep');
    end if;
  end if;
  if doc - '{type,id,label,impersonator}'::text[] <> '{}' then
    wrong := wrong || (path || ': has a part that is not type, id, label or impersonator');
  end if;
end
$$;

-- Which cluster this is, and on which timeline. The timeline is that of the log that is written now. After a promotion, the
-- control file names the previous one until the first checkpoint has ended. A replica writes no log, and some services do not
-- show theirs.
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

-- The epoch that the latest install has, and the start of the server that this was seen for, in one number: microseconds since
-- 1970, then ten bits of the epoch. A write reads it without a query, and only the owner can set it. Any other server, any
-- other start and a restore find another start in it, and ask "installs".
create sequence known_epoch;

-- The epoch of this cluster. The latest one holds while the server has not been started anew; after a
-- start the cluster's identity decides. A server is promoted at most once between two starts, and writes
-- nothing before. Concurrent first writers compute the same number; one stores it.
create function current_epoch() returns bigint
language plpgsql
set search_path from current
as $$
declare
  latest record;
  here record;
  is_stored boolean;
  goes_on boolean;
  result bigint;
begin
  select i.epoch, i.system_identifier, i.timeline, i.postmaster_started_at, age(i.xmin) as age into latest
  from installs i
  order by i.epoch desc
  limit 1;
  is_stored := latest.postmaster_started_at = pg_postmaster_start_time();
  if is_stored is not true then
    select * into here from current_cluster();
    goes_on := latest.system_identifier = here.system_identifier and latest.timeline = here.timeline;
  end if;
  -- Serializable transactions do not store a start: the first ones after it would be conflicts of each other for that alone.
  if is_stored or goes_on and current_setting('transaction_isolation') = 'serializable' then
    -- It is older than this transaction. A row that is visible and not our own is committed.
    if latest.age > age(pg_current_xact_id()::xid) and latest.epoch < 1024 then
      perform setval('known_epoch', (date_part('epoch', pg_postmaster_start_time()) * 1000000)::bigint * 1024 + latest.epoch);
    end if;
    return latest.epoch;
  end if;

  result := case when goes_on then latest.epoch else coalesce(latest.epoch, 0) + 1 end;
  -- Never wait for another writer here. A writer that does not get the lock goes on with the same number.
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

-- The same for the triggers of a single row, each session asks once. It is declared immutable, so that its result is a constant in
-- their plans: it holds as long as the server runs, and plans end with their session. While the epoch is not known it raises an
-- error. Then there is no plan, and the write takes a way that asks "installs".
create function session_epoch() returns int
language plpgsql immutable
set search_path from current
as $$
declare
  known bigint := pg_sequence_last_value('known_epoch');
begin
  if known / 1024 = (date_part('epoch', pg_postmaster_start_time()) * 1000000)::bigint then
    return known % 1024;
  end if;
  raise exception 'threadline: the epoch is not known yet' using errcode = 'TL006';
end
$$;

-- After any write of "installs", also by a restore of data, the next captured writes read it. Plans of all sessions that have the
-- epoch as a constant end when its function is altered. A captured write that opens an epoch needs none of that: no session has
-- one yet.
create function forget_epoch() returns trigger
language plpgsql
set search_path from current
as $$
begin
  perform setval('known_epoch', 1);
  if pg_trigger_depth() = 1 then
    alter function session_epoch() cost 100;
  end if;
  return null;
end
$$;

create trigger forget_epoch after insert or update or delete or truncate on installs
for each statement execute function forget_epoch();

-- Whether each id of a context is within its limit.
create function has_short_ids(doc jsonb) returns boolean
language plpgsql immutable
set search_path from current
as $$
begin
  return coalesce(greatest(
    octet_length(doc #>> '{actor,id}'), octet_length(doc #>> '{actor,label}'),
    octet_length(doc ->> 'correlationId'), octet_length(doc ->> 'requestId'), octet_length(doc ->> 'jobId'),
    octet_length(doc ->> 'traceId'), octet_length(doc ->> 'source')
  ) <= 256, true);
end
$$;

-- Whether a context is an ordinary one, which is taken as it is: known fields, strings where strings belong, none of them empty
-- or over its limit, an actor of a common type. It has few operators, because each is prepared anew in every transaction. Raises
-- an error if an address is none. Its body is parsed here and now, so it needs no search path; without one it is compiled into
-- its caller.
create function is_plain_context(doc jsonb, raw text) returns boolean
language sql stable
begin atomic
  select doc - '{actor,correlationId,requestId,jobId,traceId,source,remoteIp,meta}'::text[] = '{}'
    -- "strict": an array is not taken for its elements.
    and not doc - '{actor,meta}'::text[] @? 'strict $.* ? (@.type() != "string" || @ == "")'
    and doc @@ '
      (!exists($.actor)
        || $.actor.type() == "object"
        && $.actor.type.type() == "string"
        && ($.actor.type == "user" || $.actor.type == "admin" || $.actor.type == "service_account"
          || $.actor.type == "job" || $.actor.type == "system")
        && $.actor.id.type() == "string" && $.actor.id != ""
        && (!exists($.actor.label) || $.actor.label.type() == "string" && $.actor.label != ""))
      && (!exists($.meta) || $.meta.type() == "object")'
    and coalesce((doc -> 'actor') - '{type,id,label}'::text[] = '{}', true)
    and ((doc ->> 'remoteIp')::inet <<= '::ffff:0:0/96') is not true
    and (octet_length(raw) <= 270 or has_short_ids(doc));
end;

-- The audit_transactions row that captures go to, once it is known that something changed. The generated triggers of a single row
-- have the same code written out (see "openTransaction"). They save the call, and everything that it would prepare anew in every
-- transaction.
create function current_transaction() returns bigint
language plpgsql
set search_path from current
as $$
declare
  raw text;
  doc jsonb;
  wrong text;
  opened bigint;
  place text;
begin
  if current_setting('threadline.transaction', true) <> '' then
    opened := cached_transaction();
    if opened is not null then
      return opened;
    end if;
  end if;

  raw := current_setting('threadline.context', true);
  if raw <> '' then
    begin
      doc := case
        when starts_with(raw, extract(epoch from transaction_timestamp())::text || ' ') then substr(raw, 19)::jsonb
      end;
      if is_plain_context(doc, raw) is not true then
        select c.doc, c.error into doc, wrong from read_context(raw) c;
      end if;
    exception when others then
      select c.doc, c.error into doc, wrong from read_context(raw) c;
    end;
  end if;
  insert into audit_transactions (
    xid, epoch, occurred_at, actor_type, actor_id, actor, correlation_id, request_id, job_id, trace_id,
    source, remote_ip, meta, context_error, db_user, application_name, client_addr, backend_pid
  ) values (
    pg_current_xact_id(),
    case pg_sequence_last_value('known_epoch') / 1024
      when (date_part('epoch', pg_postmaster_start_time()) * 1000000)::bigint
        then pg_sequence_last_value('known_epoch') % 1024
      else current_epoch()
    end,
    -- At the earliest the transaction's start, by which the row is told from those of other clusters, if the clock was set back
    -- meanwhile.
    greatest(clock_timestamp(), transaction_timestamp()), doc #>> '{actor,type}', doc #>> '{actor,id}', doc -> 'actor',
    doc ->> 'correlationId', doc ->> 'requestId', doc ->> 'jobId', doc ->> 'traceId', doc ->> 'source',
    (doc ->> 'remoteIp')::inet, coalesce(doc -> 'meta', '{}'), wrong, session_user,
    current_setting('application_name'), inet_client_addr(), pg_backend_pid()
  )
  returning id, set_config('threadline.transaction', concat_ws(' ', id, ctid), true) into opened, place;
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
  -- Any role can set the setting. So only actions of this transaction that have no row yet are taken.
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

-- Gives a context to the transaction row that captures currently go to, if it has none. Returns the place of the row afterwards.
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

-- What happens with a context that is not the first thing of its transaction, that is malformed, or that comes in strict mode.
create function context_changes(raw text) returns void
language plpgsql
set search_path from current
as $$
declare
  cached bigint;
  place tid;
begin
  if raw is null then
    raise exception 'threadline: the context is null; pass a JSON object'
      using errcode = 'null_value_not_allowed';
  end if;
  if current_setting('threadline.strict', true) <> '' then
    perform read_context(raw);
  end if;
  if current_setting('threadline.transaction', true) <> '' and raw is distinct from current_setting('threadline.context', true) then
    cached := cached_transaction();
    if cached is not null then
      place := complete_transaction(cached, raw);
    end if;
    if place is not null then
      perform set_config('threadline.transaction', cached || ' ' || place, true);
    else
      -- This also replaces a value that belongs to no row of this transaction. From here on, this transaction has set it.
      perform set_config('threadline.transaction', 'none', true);
    end if;
    if cached is not null and place is null then
      perform set_config('threadline.actions', '', true);
    end if;
  end if;
end
$$;

-- Sets who and why for the rest of the transaction; any client may call it, at any point of it.
-- A recorded actor is never replaced: a context that comes after captured writes completes a row that
-- has none, and a different one makes the next write open a further row. Returns true, because some clients cannot read void.
create function set_context(context jsonb) returns boolean
language plpgsql security definer
set search_path from current
as $$
declare
  raw text := extract(epoch from transaction_timestamp())::text || ' ' || context::text;
begin
  if raw is null
    or current_setting('threadline.transaction', true) <> ''
    or current_setting('threadline.strict', true) <> ''
  then
    perform context_changes(raw);
  end if;
  return set_config('threadline.context', raw, true) is not null;
end
$$;

comment on function set_context(jsonb) is
  'Sets actor, correlation, request, job, trace, source, remote address and meta for the rest of the transaction.';

-- Opens an audited part of a larger transaction: what it captures goes to a row of its own, and
-- "finish" gives the enclosing part its context and its row back. A savepoint encloses both calls, so
-- that a part rolled back leaves nothing behind.
create function begin_part(context jsonb) returns boolean
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
  perform set_config('threadline.transaction', 'none', true);
  perform set_config('threadline.actions', '', true);
  return set_context(context);
end
$$;

-- Records one intent of the current transaction: { name, status?, verb?, category?, reason?, comment?,
-- subject?: { type, id }, data? }. Who and why come from the context; a second argument replaces it.
create function record_action(action jsonb, context jsonb default null) returns bigint
language plpgsql security definer
set search_path from current
as $$
declare
  unknown_fields jsonb;
  subject jsonb := nullif(action -> 'subject', 'null');
  given jsonb;
  wrong text;
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
  -- What is not known is not left out: nothing would say so later.
  unknown_fields := action - '{name,status,verb,category,reason,comment,subject,data}'::text[];
  if unknown_fields <> '{}' then
    raise exception 'threadline: an action has an unknown field %', (select to_json(left(min(k), 63)) from jsonb_object_keys(unknown_fields) k)
      using errcode = 'invalid_parameter_value';
  end if;
  if jsonb_typeof(subject) <> 'object' then
    raise exception 'threadline: the subject of an action is an object with type and id, not %', jsonb_typeof(subject)
      using errcode = 'invalid_parameter_value';
  end if;
  if subject - '{type,id}'::text[] <> '{}'
    or not subject ?& '{type,id}'
    or jsonb_typeof(subject -> 'type') <> 'string'
    or octet_length(subject ->> 'type') not between 1 and 256
    or jsonb_typeof(subject -> 'id') not in ('string', 'number')
    or jsonb_typeof(subject -> 'id') = 'number' and subject ->> 'id' !~ '^-?[0-9]+$'
    or octet_length(subject ->> 'id') not between 1 and 256
  then
    raise exception 'threadline: the subject of an action has a type and an id of 1 to 256 bytes, and nothing else'
      using errcode = 'invalid_parameter_value';
  end if;
  if jsonb_typeof(action -> 'verb') not in ('string', 'null') or octet_length(action ->> 'verb') not between 1 and 256
    or jsonb_typeof(action -> 'category') not in ('string', 'null')
    or octet_length(action ->> 'category') not between 1 and 256
  then
    raise exception 'threadline: verb and category of an action are strings of 1 to 256 bytes'
      using errcode = 'invalid_parameter_value';
  end if;
  if jsonb_typeof(action -> 'reason') not in ('string', 'null') or jsonb_typeof(action -> 'comment') not in ('string', 'null') then
    raise exception 'threadline: reason and comment of an action are strings'
      using errcode = 'invalid_parameter_value';
  end if;
  if coalesce(action ->> 'status', 'ok') not in ('ok', 'error') then
    raise exception 'threadline: the status of an action is ok or error, not %', action -> 'status'
      using errcode = 'invalid_parameter_value';
  end if;

  select c.doc, c.error into given, wrong
  from read_context(coalesce(
    extract(epoch from transaction_timestamp())::text || ' ' || context::text,
    nullif(current_setting('threadline.context', true), '')
  )) c;
  insert into audit_actions (
    transaction_id, xid, name, status, actor_type, actor_id, actor, verb, category, reason, comment,
    correlation_id, request_id, job_id, trace_id, subject_type, subject_id, data, context_error, occurred_at
  ) values (
    linked, pg_current_xact_id(), action ->> 'name', coalesce(action ->> 'status', 'ok'),
    given #>> '{actor,type}', given #>> '{actor,id}', given -> 'actor',
    action ->> 'verb', action ->> 'category', action ->> 'reason', action ->> 'comment',
    given ->> 'correlationId', given ->> 'requestId', given ->> 'jobId', given ->> 'traceId',
    subject ->> 'type', subject ->> 'id', action -> 'data', wrong,
    greatest(clock_timestamp(), transaction_timestamp())
  )
  returning id, ctid into recorded, place;

  if linked is null then
    perform set_config('threadline.transaction', 'none', true);
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

-- Records that changes were exported, or an attempt. It is record_action for these names alone. So readers can be allowed to call
-- it, and can record nothing else.
create function record_export(action jsonb, context jsonb) returns bigint
language plpgsql security definer
set search_path from current
as $$
begin
  if coalesce(action ->> 'name', '') not in (
    'export.completed', 'export.ended', 'export.queued', 'export.failed', 'export.cancelled', 'export.retried',
    'export.downloaded', 'export.expired'
  ) then
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
  -- An outcome that is not understood must not end the transaction as if there had been no action.
  if jsonb_typeof(outcome) is distinct from 'object' or outcome - '{action,requireChanges,part}'::text[] <> '{}' then
    raise exception 'threadline: finish takes a JSON object of action, requireChanges and part'
      using errcode = 'invalid_parameter_value';
  end if;
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
  if outcome ->> 'action' is not null then
    recorded := record_action(outcome -> 'action');
  end if;
  if (outcome ->> 'part')::boolean then
    perform set_config('threadline.context', coalesce(enclosing #>> '{0,0}', ''), true);
    perform set_config('threadline.transaction', coalesce(nullif(enclosing #>> '{0,1}', ''), 'none'), true);
    perform set_config('threadline.actions', coalesce(enclosing #>> '{0,2}', ''), true);
    perform set_config('threadline.parts', coalesce((enclosing - 0)::text, ''), true);
  end if;
  return jsonb_build_object('transactionId', captured::text, 'actionId', recorded::text);
end
$$;

comment on function finish(jsonb) is
  'Ends an audited transaction, or an audited part of a larger one, and says which rows it has.';

revoke all on function
  read_context(text), check_actor(jsonb, text, int), current_cluster(), prepared_transactions(), current_epoch(), session_epoch(),
  forget_epoch(),
  has_short_ids(jsonb), is_plain_context(jsonb, text), context_changes(text), link_actions(bigint),
  first_action_of(bigint, bigint), complete_transaction(bigint, text),
  cached_transaction(), current_transaction(), set_context(jsonb), begin_part(jsonb),
  record_action(jsonb, jsonb), record_export(jsonb, jsonb), finish(jsonb)
from public;
