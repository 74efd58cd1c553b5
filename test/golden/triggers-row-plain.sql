create or replace function "threadline"."capture_insert_posts_a109cce5d9"() returns trigger
language plpgsql security definer
set search_path = "threadline", pg_temp
set jit = off
set timezone = 'UTC'
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
  if tg_table_name <> 'posts' or tg_table_schema <> 'public' then
    select * into of_schema, of_table, of_partition
    from capture_relation(tg_relid, 'public', 'posts');
    if (of_table <> 'posts' or of_schema <> 'public') and of_partition is not null
      and seen_by_root(tg_relid, 'public', 'posts', 'insert')
    then
      return null;
    end if;
    if of_partition is not null then
      perform set_config('threadline.attached', 'yes', true);
    end if;
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
  if "unaltered_posts_a109cce5d9"(tg_relid) and now - array['id', 'title', 'tags', 'published_at']::text[] = '{}' and octet_length(now ->> 'id') <= 512 then
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
      coalesce(of_table, 'posts'),
      of_partition,
      'insert',
      jsonb_object(array['id', now ->> 'id']),
      now ->> 'id',
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
  if not "unaltered_posts_a109cce5d9"(tg_relid) then
    perform note_altered(tg_relid);
    valued := valued_columns(tg_relid, array['id', 'title', 'tags', 'published_at']::text[]);
  end if;
  now := image_of(new, tg_relid, coalesce(valued, array['id', 'title', 'tags', 'published_at']::text[]), array[]::text[]);
  insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after, details)
  select nextval('audit_changes_id_seq'), (select current_transaction()), clock_timestamp(), coalesce(of_schema, 'public'), coalesce(of_table, 'posts'), of_partition,
    'insert', k.row_pk, k.row_key, null, null, null, redact(now, '{"key":[{"name":"id","attnum":1,"text":"text"}],"excluded":[],"masked":[],"columns":["id","title","tags","published_at"],"json":[],"texts":[]}'::jsonb, tg_relid), null
  from image_key(now, '{"key":[{"name":"id","attnum":1,"text":"text"}],"excluded":[],"masked":[],"columns":["id","title","tags","published_at"],"json":[],"texts":[]}'::jsonb -> 'key', tg_relid) k
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

select "threadline"."guard_function"('"threadline"."capture_insert_posts_a109cce5d9"()');

create or replace function "threadline"."capture_update_posts_a109cce5d9"() returns trigger
language plpgsql security definer
set search_path = "threadline", pg_temp
set jit = off
set timezone = 'UTC'
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
  details jsonb;
  valued text[];
begin
  if tg_table_name <> 'posts' or tg_table_schema <> 'public' then
    select * into of_schema, of_table, of_partition
    from capture_relation(tg_relid, 'public', 'posts');
    if (of_table <> 'posts' or of_schema <> 'public') and of_partition is not null
      and seen_by_root(tg_relid, 'public', 'posts', 'update')
    then
      return null;
    end if;
    if of_partition is not null then
      perform set_config('threadline.attached', 'yes', true);
    end if;
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
  if "unaltered_posts_a109cce5d9"(tg_relid) and now - array['id', 'title', 'tags', 'published_at']::text[] = '{}' and octet_length(now ->> 'id') <= 512 then
    foreach field in array array['id', 'published_at', 'title']::text[] loop
      if was ->> field is distinct from now ->> field then
        fields := fields || field;
        old_values := coalesce(old_values, '{}') || jsonb_build_object(field, was -> field);
      end if;
    end loop;
    foreach field in array array['tags']::text[] loop
      if (was -> field)::text is distinct from (now -> field)::text then
        fields := fields || field;
        old_values := coalesce(old_values, '{}') || jsonb_build_object(field, was -> field);
      end if;
    end loop;
    if fields is null then
      fields := alike_fields(old, new, tg_relid, array[]::text[]);
      if fields is null then
        return null;
      end if;
      details := jsonb_build_object('alike', fields);
      select coalesce(jsonb_object_agg(f, was -> f), '{}') into old_values from unnest(fields) f;
    end if;
    if fields && array['id']::text[] then
      former_key := nullif(case when octet_length(was ->> 'id') <= 512 then was ->> 'id' else bounded_key(was ->> 'id') end, case when octet_length(now ->> 'id') <= 512 then now ->> 'id' else bounded_key(now ->> 'id') end);
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
    insert into audit_changes (transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after, details)
    values (
      opened,
      clock_timestamp(),
      coalesce(of_schema, 'public'),
      coalesce(of_table, 'posts'),
      of_partition,
      'update',
      jsonb_object(array['id', now ->> 'id']),
      now ->> 'id',
      former_key,
      fields,
      old_values,
      now,
      details
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
  if not "unaltered_posts_a109cce5d9"(tg_relid) then
    perform note_altered(tg_relid);
    valued := valued_columns(tg_relid, array['id', 'title', 'tags', 'published_at']::text[]);
  end if;
  was := image_of(old, tg_relid, coalesce(valued, array['id', 'title', 'tags', 'published_at']::text[]), array[]::text[]);
  now := image_of(new, tg_relid, coalesce(valued, array['id', 'title', 'tags', 'published_at']::text[]), array[]::text[]);
  insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after, details)
  select nextval('audit_changes_id_seq'), (select current_transaction()), clock_timestamp(), coalesce(of_schema, 'public'), coalesce(of_table, 'posts'), of_partition,
    'update', c.row_pk, c.row_key, c.previous_row_key, c.changed_fields, c.changed_from, c.data_after, c.details
  from describe_update(was, now, exact_text(old), exact_text(new), old, new, '{"key":[{"name":"id","attnum":1,"text":"text"}],"excluded":[],"masked":[],"columns":["id","title","tags","published_at"],"json":[],"texts":[]}'::jsonb, tg_relid) c
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

select "threadline"."guard_function"('"threadline"."capture_update_posts_a109cce5d9"()');

create or replace function "threadline"."capture_delete_posts_a109cce5d9"() returns trigger
language plpgsql security definer
set search_path = "threadline", pg_temp
set jit = off
set timezone = 'UTC'
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
  if tg_table_name <> 'posts' or tg_table_schema <> 'public' then
    select * into of_schema, of_table, of_partition
    from capture_relation(tg_relid, 'public', 'posts');
    if (of_table <> 'posts' or of_schema <> 'public') and of_partition is not null
      and seen_by_root(tg_relid, 'public', 'posts', 'delete')
    then
      return null;
    end if;
    if of_partition is not null then
      perform set_config('threadline.attached', 'yes', true);
    end if;
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
  if "unaltered_posts_a109cce5d9"(tg_relid) and was - array['id', 'title', 'tags', 'published_at']::text[] = '{}' and octet_length(was ->> 'id') <= 512 then
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
      coalesce(of_table, 'posts'),
      of_partition,
      'delete',
      jsonb_object(array['id', was ->> 'id']),
      was ->> 'id',
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
  if not "unaltered_posts_a109cce5d9"(tg_relid) then
    perform note_altered(tg_relid);
    valued := valued_columns(tg_relid, array['id', 'title', 'tags', 'published_at']::text[]);
  end if;
  was := image_of(old, tg_relid, coalesce(valued, array['id', 'title', 'tags', 'published_at']::text[]), array[]::text[]);
  insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after, details)
  select nextval('audit_changes_id_seq'), (select current_transaction()), clock_timestamp(), coalesce(of_schema, 'public'), coalesce(of_table, 'posts'), of_partition,
    'delete', k.row_pk, k.row_key, null, null, redact(was, '{"key":[{"name":"id","attnum":1,"text":"text"}],"excluded":[],"masked":[],"columns":["id","title","tags","published_at"],"json":[],"texts":[]}'::jsonb, tg_relid), null, null
  from image_key(was, '{"key":[{"name":"id","attnum":1,"text":"text"}],"excluded":[],"masked":[],"columns":["id","title","tags","published_at"],"json":[],"texts":[]}'::jsonb -> 'key', tg_relid) k
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

select "threadline"."guard_function"('"threadline"."capture_delete_posts_a109cce5d9"()');

create or replace function "threadline"."capture_truncate_posts_a109cce5d9"() returns trigger
language plpgsql security definer
set search_path = "threadline", pg_temp
set jit = off
set timezone = 'UTC'
as $threadline$
begin
  perform capture_truncate(
    tg_relid, 'public', 'posts', 'event', '{"key":[{"name":"id","attnum":1,"text":"text"}],"excluded":[],"masked":[],"columns":["id","title","tags","published_at"],"json":[],"texts":[]}'::jsonb
  );
  return null;
end
$threadline$;

select "threadline"."guard_function"('"threadline"."capture_truncate_posts_a109cce5d9"()');

create or replace trigger "0_threadline_insert" after insert on "public"."posts"
for each row
execute function "threadline"."capture_insert_posts_a109cce5d9"();

create or replace trigger "0_threadline_update" after update on "public"."posts"
for each row
execute function "threadline"."capture_update_posts_a109cce5d9"();

create or replace trigger "0_threadline_delete" after delete on "public"."posts"
for each row
execute function "threadline"."capture_delete_posts_a109cce5d9"();

create or replace trigger "0_threadline_truncate" before truncate on "public"."posts"
for each statement
execute function "threadline"."capture_truncate_posts_a109cce5d9"();
