create or replace function "threadline"."open_insert_jobs_562f12dff4"() returns trigger
language plpgsql security definer
set search_path = "threadline", pg_temp
set jit = off
as $threadline$
#variable_conflict use_variable
declare
  of_schema text;
  of_table text;
  of_partition text;
  first_id bigint;
  last_before bigint;
  opened bigint;
  of_epoch int;
  raw text;
  doc jsonb;
  wrong text;
  now jsonb;
  valued text[];
begin
  if tg_name <> '0_threadline_insert_562f12dff4' or tg_when <> 'AFTER' or tg_level <> 'ROW' or tg_op <> 'INSERT' then
    raise exception 'threadline: this function serves no other trigger' using errcode = 'insufficient_privilege';
  end if;
  select * into of_schema, of_table, of_partition
  from capture_relation(tg_relid, 'public', 'jobs', true);
  if (of_table <> 'jobs' or of_schema <> 'public') and of_partition is not null
    and seen_by_root(tg_relid, 'public', 'jobs', 'insert')
  then
    return null;
  end if;
  if of_partition is not null then
    perform set_config('threadline.attached', 'yes', true);
  end if;
  begin
    now := to_jsonb(new);
    of_epoch := session_epoch();
  exception
    when sqlstate 'TL006' then
      of_epoch := current_epoch();
    when others then
      now := null;
  end;
  if "unaltered_jobs_562f12dff4"(tg_relid) and now - array['id', 'state', 'payload']::text[] = '{}' and now ?& array['id', 'state']::text[] then
    if current_setting('threadline.transaction', true) <> '' then
      opened := current_transaction();
    elsif current_setting('threadline.context', true) <> '' then
      raw := current_setting('threadline.context', true);
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
      insert into audit_transactions (
        xid, epoch, occurred_at, db_user, application_name, client_addr, backend_pid, actor_type, actor_id, actor, correlation_id, request_id, job_id, trace_id, source, remote_ip, meta, context_error
      ) values (
        pg_current_xact_id(),
        of_epoch,
        greatest(clock_timestamp(), transaction_timestamp()),
        session_user,
        current_setting('application_name'),
        inet_client_addr(),
        pg_backend_pid(),
        doc #>> '{actor,type}',
        doc #>> '{actor,id}',
        doc -> 'actor',
        doc ->> 'correlationId',
        doc ->> 'requestId',
        doc ->> 'jobId',
        doc ->> 'traceId',
        doc ->> 'source',
        (doc ->> 'remoteIp')::inet,
        coalesce(doc -> 'meta', '{}'),
        wrong
      )
      returning id, set_config('threadline.transaction', concat_ws(' ', id, ctid), true) into opened, raw;
    else
      insert into audit_transactions (
        xid, epoch, occurred_at, db_user, application_name, client_addr, backend_pid
      ) values (
        pg_current_xact_id(),
        of_epoch,
        greatest(clock_timestamp(), transaction_timestamp()),
        session_user,
        current_setting('application_name'),
        inet_client_addr(),
        pg_backend_pid()
      )
      returning id, set_config('threadline.transaction', concat_ws(' ', id, ctid), true) into opened, raw;
    end if;
    insert into audit_changes (transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, data_after)
    values (
      opened,
      clock_timestamp(),
      coalesce(of_schema, 'public'),
      coalesce(of_table, 'jobs'),
      of_partition,
      'insert',
      jsonb_object(array['id', now ->> 'id', 'state', now ->> 'state']),
      key_of_texts(array[now ->> 'id', now ->> 'state']),
      now
    );
    if raw is null or pg_trigger_depth() > 1 then
      first_id := currval('audit_changes_id_seq');
      if pg_trigger_depth() > 1 or current_setting('threadline.nested', true) <> '' then
        if note_nested(tg_relid) then
          -- An assignment of its own: only so does it see what the statement saw when it began.
          last_before := last_change_before(first_id);
          perform restore_order(tg_relid, last_before, first_id);
        end if;
      end if;
    end if;
    return null;
  end if;
  if not "unaltered_jobs_562f12dff4"(tg_relid) then
    perform note_altered(tg_relid);
    valued := valued_columns(tg_relid, array['id', 'state', 'payload']::text[]);
  end if;
  now := image_of(new, tg_relid, coalesce(valued, array['id', 'state', 'payload']::text[]), array[]::text[]);
  insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after, details)
  select nextval('audit_changes_id_seq'), (select current_transaction()), clock_timestamp(), coalesce(of_schema, 'public'), coalesce(of_table, 'jobs'), of_partition,
    'insert', k.row_pk, k.row_key, null, null, null, redact(now, '{"key":[{"name":"id","attnum":1,"text":"text"},{"name":"state","attnum":2,"text":"text"}],"excluded":[],"masked":[],"columns":["id","state","payload"],"json":[],"texts":[]}'::jsonb, tg_relid), null
  from image_key(now, '{"key":[{"name":"id","attnum":1,"text":"text"},{"name":"state","attnum":2,"text":"text"}],"excluded":[],"masked":[],"columns":["id","state","payload"],"json":[],"texts":[]}'::jsonb -> 'key', tg_relid) k
  returning id into first_id;
  if first_id is null then
    return null;
  end if;
  if pg_trigger_depth() > 1 or current_setting('threadline.nested', true) <> '' then
    if note_nested(tg_relid) then
      -- An assignment of its own: only so does it see what the statement saw when it began.
      last_before := last_change_before(first_id);
      perform restore_order(tg_relid, last_before, first_id);
    end if;
  end if;
  return null;
end
$threadline$;

grant execute on function "threadline"."open_insert_jobs_562f12dff4"() to public;

create or replace function "threadline"."open_update_jobs_562f12dff4"() returns trigger
language plpgsql security definer
set search_path = "threadline", pg_temp
set jit = off
as $threadline$
#variable_conflict use_variable
declare
  of_schema text;
  of_table text;
  of_partition text;
  first_id bigint;
  last_before bigint;
  opened bigint;
  of_epoch int;
  raw text;
  doc jsonb;
  wrong text;
  was jsonb;
  now jsonb;
  field text;
  fields text[];
  old_values jsonb;
  former_key text;
  valued text[];
begin
  if tg_name <> '0_threadline_update_562f12dff4' or tg_when <> 'AFTER' or tg_level <> 'ROW' or tg_op <> 'UPDATE' then
    raise exception 'threadline: this function serves no other trigger' using errcode = 'insufficient_privilege';
  end if;
  select * into of_schema, of_table, of_partition
  from capture_relation(tg_relid, 'public', 'jobs', true);
  if (of_table <> 'jobs' or of_schema <> 'public') and of_partition is not null
    and seen_by_root(tg_relid, 'public', 'jobs', 'update')
  then
    return null;
  end if;
  if of_partition is not null then
    perform set_config('threadline.attached', 'yes', true);
  end if;
  begin
    was := to_jsonb(old);
    now := to_jsonb(new);
    of_epoch := session_epoch();
  exception
    when sqlstate 'TL006' then
      of_epoch := current_epoch();
    when others then
      now := null;
  end;
  if "unaltered_jobs_562f12dff4"(tg_relid) and now - array['id', 'state', 'payload']::text[] = '{}' and now ?& array['id', 'state']::text[] then
    foreach field in array array['id', 'payload', 'state']::text[] loop
      if was ->> field is distinct from now ->> field then
        fields := fields || field;
        old_values := coalesce(old_values, '{}') || jsonb_build_object(field, was -> field);
      end if;
    end loop;
    if fields is null then
      return null;
    end if;
    if fields && array['id', 'state']::text[] then
      former_key := nullif(key_of_texts(array[was ->> 'id', was ->> 'state']), key_of_texts(array[now ->> 'id', now ->> 'state']));
    end if;
    if current_setting('threadline.transaction', true) <> '' then
      opened := current_transaction();
    elsif current_setting('threadline.context', true) <> '' then
      raw := current_setting('threadline.context', true);
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
      insert into audit_transactions (
        xid, epoch, occurred_at, db_user, application_name, client_addr, backend_pid, actor_type, actor_id, actor, correlation_id, request_id, job_id, trace_id, source, remote_ip, meta, context_error
      ) values (
        pg_current_xact_id(),
        of_epoch,
        greatest(clock_timestamp(), transaction_timestamp()),
        session_user,
        current_setting('application_name'),
        inet_client_addr(),
        pg_backend_pid(),
        doc #>> '{actor,type}',
        doc #>> '{actor,id}',
        doc -> 'actor',
        doc ->> 'correlationId',
        doc ->> 'requestId',
        doc ->> 'jobId',
        doc ->> 'traceId',
        doc ->> 'source',
        (doc ->> 'remoteIp')::inet,
        coalesce(doc -> 'meta', '{}'),
        wrong
      )
      returning id, set_config('threadline.transaction', concat_ws(' ', id, ctid), true) into opened, raw;
    else
      insert into audit_transactions (
        xid, epoch, occurred_at, db_user, application_name, client_addr, backend_pid
      ) values (
        pg_current_xact_id(),
        of_epoch,
        greatest(clock_timestamp(), transaction_timestamp()),
        session_user,
        current_setting('application_name'),
        inet_client_addr(),
        pg_backend_pid()
      )
      returning id, set_config('threadline.transaction', concat_ws(' ', id, ctid), true) into opened, raw;
    end if;
    insert into audit_changes (transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after)
    values (
      opened,
      clock_timestamp(),
      coalesce(of_schema, 'public'),
      coalesce(of_table, 'jobs'),
      of_partition,
      'update',
      jsonb_object(array['id', now ->> 'id', 'state', now ->> 'state']),
      key_of_texts(array[now ->> 'id', now ->> 'state']),
      former_key,
      fields,
      old_values,
      now
    );
    if raw is null or pg_trigger_depth() > 1 then
      first_id := currval('audit_changes_id_seq');
      if pg_trigger_depth() > 1 or current_setting('threadline.nested', true) <> '' then
        if note_nested(tg_relid) then
          -- An assignment of its own: only so does it see what the statement saw when it began.
          last_before := last_change_before(first_id);
          perform restore_order(tg_relid, last_before, first_id);
        end if;
      end if;
    end if;
    return null;
  end if;
  if not "unaltered_jobs_562f12dff4"(tg_relid) then
    perform note_altered(tg_relid);
    valued := valued_columns(tg_relid, array['id', 'state', 'payload']::text[]);
  end if;
  was := image_of(old, tg_relid, coalesce(valued, array['id', 'state', 'payload']::text[]), array[]::text[]);
  now := image_of(new, tg_relid, coalesce(valued, array['id', 'state', 'payload']::text[]), array[]::text[]);
  insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after, details)
  select nextval('audit_changes_id_seq'), (select current_transaction()), clock_timestamp(), coalesce(of_schema, 'public'), coalesce(of_table, 'jobs'), of_partition,
    'update', c.row_pk, c.row_key, c.previous_row_key, c.changed_fields, c.changed_from, c.data_after, c.details
  from describe_update(was, now, exact_text(old), exact_text(new), old, new, '{"key":[{"name":"id","attnum":1,"text":"text"},{"name":"state","attnum":2,"text":"text"}],"excluded":[],"masked":[],"columns":["id","state","payload"],"json":[],"texts":[]}'::jsonb, tg_relid) c
  where c.changed
  returning id into first_id;
  if first_id is null then
    return null;
  end if;
  if pg_trigger_depth() > 1 or current_setting('threadline.nested', true) <> '' then
    if note_nested(tg_relid) then
      -- An assignment of its own: only so does it see what the statement saw when it began.
      last_before := last_change_before(first_id);
      perform restore_order(tg_relid, last_before, first_id);
    end if;
  end if;
  return null;
end
$threadline$;

grant execute on function "threadline"."open_update_jobs_562f12dff4"() to public;

create or replace function "threadline"."open_delete_jobs_562f12dff4"() returns trigger
language plpgsql security definer
set search_path = "threadline", pg_temp
set jit = off
as $threadline$
#variable_conflict use_variable
declare
  of_schema text;
  of_table text;
  of_partition text;
  first_id bigint;
  last_before bigint;
  opened bigint;
  of_epoch int;
  raw text;
  doc jsonb;
  wrong text;
  was jsonb;
  valued text[];
begin
  if tg_name <> '0_threadline_delete_562f12dff4' or tg_when <> 'AFTER' or tg_level <> 'ROW' or tg_op <> 'DELETE' then
    raise exception 'threadline: this function serves no other trigger' using errcode = 'insufficient_privilege';
  end if;
  select * into of_schema, of_table, of_partition
  from capture_relation(tg_relid, 'public', 'jobs', true);
  if (of_table <> 'jobs' or of_schema <> 'public') and of_partition is not null
    and seen_by_root(tg_relid, 'public', 'jobs', 'delete')
  then
    return null;
  end if;
  if of_partition is not null then
    perform set_config('threadline.attached', 'yes', true);
  end if;
  begin
    was := to_jsonb(old);
    of_epoch := session_epoch();
  exception
    when sqlstate 'TL006' then
      of_epoch := current_epoch();
    when others then
      was := null;
  end;
  if "unaltered_jobs_562f12dff4"(tg_relid) and was - array['id', 'state', 'payload']::text[] = '{}' and was ?& array['id', 'state']::text[] then
    if current_setting('threadline.transaction', true) <> '' then
      opened := current_transaction();
    elsif current_setting('threadline.context', true) <> '' then
      raw := current_setting('threadline.context', true);
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
      insert into audit_transactions (
        xid, epoch, occurred_at, db_user, application_name, client_addr, backend_pid, actor_type, actor_id, actor, correlation_id, request_id, job_id, trace_id, source, remote_ip, meta, context_error
      ) values (
        pg_current_xact_id(),
        of_epoch,
        greatest(clock_timestamp(), transaction_timestamp()),
        session_user,
        current_setting('application_name'),
        inet_client_addr(),
        pg_backend_pid(),
        doc #>> '{actor,type}',
        doc #>> '{actor,id}',
        doc -> 'actor',
        doc ->> 'correlationId',
        doc ->> 'requestId',
        doc ->> 'jobId',
        doc ->> 'traceId',
        doc ->> 'source',
        (doc ->> 'remoteIp')::inet,
        coalesce(doc -> 'meta', '{}'),
        wrong
      )
      returning id, set_config('threadline.transaction', concat_ws(' ', id, ctid), true) into opened, raw;
    else
      insert into audit_transactions (
        xid, epoch, occurred_at, db_user, application_name, client_addr, backend_pid
      ) values (
        pg_current_xact_id(),
        of_epoch,
        greatest(clock_timestamp(), transaction_timestamp()),
        session_user,
        current_setting('application_name'),
        inet_client_addr(),
        pg_backend_pid()
      )
      returning id, set_config('threadline.transaction', concat_ws(' ', id, ctid), true) into opened, raw;
    end if;
    insert into audit_changes (transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, changed_from)
    values (
      opened,
      clock_timestamp(),
      coalesce(of_schema, 'public'),
      coalesce(of_table, 'jobs'),
      of_partition,
      'delete',
      jsonb_object(array['id', was ->> 'id', 'state', was ->> 'state']),
      key_of_texts(array[was ->> 'id', was ->> 'state']),
      was
    );
    if raw is null or pg_trigger_depth() > 1 then
      first_id := currval('audit_changes_id_seq');
      if pg_trigger_depth() > 1 or current_setting('threadline.nested', true) <> '' then
        if note_nested(tg_relid) then
          -- An assignment of its own: only so does it see what the statement saw when it began.
          last_before := last_change_before(first_id);
          perform restore_order(tg_relid, last_before, first_id);
        end if;
      end if;
    end if;
    return null;
  end if;
  if not "unaltered_jobs_562f12dff4"(tg_relid) then
    perform note_altered(tg_relid);
    valued := valued_columns(tg_relid, array['id', 'state', 'payload']::text[]);
  end if;
  was := image_of(old, tg_relid, coalesce(valued, array['id', 'state', 'payload']::text[]), array[]::text[]);
  insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after, details)
  select nextval('audit_changes_id_seq'), (select current_transaction()), clock_timestamp(), coalesce(of_schema, 'public'), coalesce(of_table, 'jobs'), of_partition,
    'delete', k.row_pk, k.row_key, null, null, redact(was, '{"key":[{"name":"id","attnum":1,"text":"text"},{"name":"state","attnum":2,"text":"text"}],"excluded":[],"masked":[],"columns":["id","state","payload"],"json":[],"texts":[]}'::jsonb, tg_relid), null, null
  from image_key(was, '{"key":[{"name":"id","attnum":1,"text":"text"},{"name":"state","attnum":2,"text":"text"}],"excluded":[],"masked":[],"columns":["id","state","payload"],"json":[],"texts":[]}'::jsonb -> 'key', tg_relid) k
  returning id into first_id;
  if first_id is null then
    return null;
  end if;
  if pg_trigger_depth() > 1 or current_setting('threadline.nested', true) <> '' then
    if note_nested(tg_relid) then
      -- An assignment of its own: only so does it see what the statement saw when it began.
      last_before := last_change_before(first_id);
      perform restore_order(tg_relid, last_before, first_id);
    end if;
  end if;
  return null;
end
$threadline$;

grant execute on function "threadline"."open_delete_jobs_562f12dff4"() to public;

create or replace function "threadline"."capture_truncate_jobs_562f12dff4"() returns trigger
language plpgsql security definer
set search_path = "threadline", pg_temp
set jit = off
as $threadline$
begin
  perform capture_truncate(
    tg_relid, 'public', 'jobs', 'event', '{"key":[{"name":"id","attnum":1,"text":"text"},{"name":"state","attnum":2,"text":"text"}],"excluded":[],"masked":[],"columns":["id","state","payload"],"json":[],"texts":[]}'::jsonb
  );
  return null;
end
$threadline$;

select "threadline"."guard_function"('"threadline"."capture_truncate_jobs_562f12dff4"()');

create or replace trigger "0_threadline_insert_562f12dff4" after insert on "public"."jobs"
for each row
execute function "threadline"."open_insert_jobs_562f12dff4"();

alter table "public"."jobs" enable always trigger "0_threadline_insert_562f12dff4";

create or replace trigger "0_threadline_update_562f12dff4" after update on "public"."jobs"
for each row
execute function "threadline"."open_update_jobs_562f12dff4"();

alter table "public"."jobs" enable always trigger "0_threadline_update_562f12dff4";

create or replace trigger "0_threadline_delete_562f12dff4" after delete on "public"."jobs"
for each row
execute function "threadline"."open_delete_jobs_562f12dff4"();

alter table "public"."jobs" enable always trigger "0_threadline_delete_562f12dff4";

create or replace trigger "0_threadline_truncate" before truncate on "public"."jobs"
for each statement
execute function "threadline"."capture_truncate_jobs_562f12dff4"();

alter table "public"."jobs" enable always trigger "0_threadline_truncate";

create or replace trigger "0_threadline_truncate" before truncate on "public"."jobs_done"
for each statement
execute function "threadline"."capture_truncate_jobs_562f12dff4"();

alter table "public"."jobs_done" enable always trigger "0_threadline_truncate";
