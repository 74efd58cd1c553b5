create or replace function "threadline"."capture_insert_jobs_562f12dff4"() returns trigger
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
  -- One for all rows: what shares it was done by one statement.
  instant timestamptz;
  now jsonb;
  valued text[];
  several boolean;
  guard boolean;
  stale boolean;
begin
  if tg_table_name <> 'jobs' or tg_table_schema <> 'public' then
    select * into of_schema, of_table, of_partition
    from capture_relation(tg_relid, 'public', 'jobs');
    if (of_table <> 'jobs' or of_schema <> 'public') and of_partition is not null
      and seen_by_root(tg_relid, 'public', 'jobs', 'insert')
    then
      return null;
    end if;
  end if;
  if current_setting('threadline.attached', true) <> '' then
    if not "unaltered_jobs_562f12dff4"(tg_relid) then
      valued := valued_columns(tg_relid, array['id', 'state', 'payload']::text[]);
    end if;
    perform forget_attached(tg_relid, coalesce(of_schema, 'public'), coalesce(of_table, 'jobs'), 'insert',
      '{}',
      array(
        select k.row_key
        from threadline_new x
        cross join lateral image_key(image_of(x.*, tg_relid, coalesce(valued, array['id', 'state', 'payload']::text[]), array[]::text[]), '{"key":[{"name":"id","attnum":1,"text":"text"},{"name":"state","attnum":2,"text":"text"}],"excluded":[],"masked":[],"columns":["id","state","payload"],"json":[],"texts":[]}'::jsonb -> 'key', tg_relid) k
      ));
  end if;
  if current_setting('threadline.moved', true) <> '' then
    if not "unaltered_jobs_562f12dff4"(tg_relid) then
      valued := valued_columns(tg_relid, array['id', 'state', 'payload']::text[]);
    end if;
    perform forget_moved(coalesce(of_schema, 'public'), coalesce(of_table, 'jobs'), 'insert', array(
      select jsonb_hash_extended(redact(image_of(x.*, tg_relid, coalesce(valued, array['id', 'state', 'payload']::text[]), array[]::text[]), '{"key":[{"name":"id","attnum":1,"text":"text"},{"name":"state","attnum":2,"text":"text"}],"excluded":[],"masked":[],"columns":["id","state","payload"],"json":[],"texts":[]}'::jsonb, tg_relid), 0) from threadline_new x
    ));
    perform moves_end();
  end if;

  -- One row, the common case, is read into variables. Nothing is written inside the exception block, so
  -- that it costs no transaction id.
  begin
    select to_jsonb(n.*), session_epoch()
    into strict now, of_epoch
    from threadline_new n;
  exception
    when no_data_found then
      return null;
    when too_many_rows then
      several := true;
    when sqlstate 'TL006' then
      -- The general way does for one row.
      several := exists (select from threadline_new x offset 1);
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

  if several then
    select h.guard, h.stale into guard, stale
    from capture_hints(tg_relid, array['id', 'state', 'payload']::text[], array[]::text[]) h;
  end if;
  if not guard and not stale and "unaltered_jobs_562f12dff4"(tg_relid) then
    first_id := nextval('audit_changes_id_seq');
    instant := clock_timestamp();
    insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after)
    select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'public'), coalesce(of_table, 'jobs'), of_partition,
      'insert', jsonb_object(array['id', r.key_1, 'state', r.key_2]), key_of_texts(array[r.key_1, r.key_2]), null, null,
      null, r.image
    from (
      select i.image, i.image ->> 'id' as key_1, i.image ->> 'state' as key_2
      from (
        select case when pg_column_size(s.source) < 150000 then to_jsonb(s.source) else image(s.source) end as image
        from (select coalesce(x.*) as source from threadline_new x offset 0) s
        offset 0
      ) i
      offset 0
    ) r;
    if pg_trigger_depth() > 1 or current_setting('threadline.nested', true) <> '' then
      if note_nested(tg_relid) then
        -- An assignment of its own: only so does it see what the statement saw when it began.
        last_before := last_change_before(first_id);
        perform restore_order(tg_relid, last_before, first_id);
      end if;
    end if;
    return null;
  end if;

  if not "unaltered_jobs_562f12dff4"(tg_relid) then
    perform note_altered(tg_relid);
    valued := valued_columns(tg_relid, array['id', 'state', 'payload']::text[]);
  end if;
  first_id := nextval('audit_changes_id_seq');
  instant := clock_timestamp();
  insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after)
  select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'public'), coalesce(of_table, 'jobs'), of_partition,
    'insert', k.row_pk, k.row_key, null, null, null, redact(r.image, '{"key":[{"name":"id","attnum":1,"text":"text"},{"name":"state","attnum":2,"text":"text"}],"excluded":[],"masked":[],"columns":["id","state","payload"],"json":[],"texts":[]}'::jsonb, tg_relid)
  from (select image_of(x.*, tg_relid, coalesce(valued, array['id', 'state', 'payload']::text[]), array[]::text[]) as image from threadline_new x) r
  cross join lateral image_key(r.image, '{"key":[{"name":"id","attnum":1,"text":"text"},{"name":"state","attnum":2,"text":"text"}],"excluded":[],"masked":[],"columns":["id","state","payload"],"json":[],"texts":[]}'::jsonb -> 'key', tg_relid) k;
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

select "threadline"."guard_function"('"threadline"."capture_insert_jobs_562f12dff4"()');

create or replace function "threadline"."capture_update_jobs_562f12dff4"() returns trigger
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
  -- One for all rows: what shares it was done by one statement.
  instant timestamptz;
  was jsonb;
  now jsonb;
  field text;
  fields text[];
  old_values jsonb;
  former_key text;
  total bigint;
  bytes bigint;
  widest bigint;
  step bigint;
  place bigint;
  arrived bigint;
  moved boolean;
  valued text[];
  several boolean;
  guard boolean;
  stale boolean;
begin
  if tg_table_name <> 'jobs' or tg_table_schema <> 'public' then
    select * into of_schema, of_table, of_partition
    from capture_relation(tg_relid, 'public', 'jobs');
    if (of_table <> 'jobs' or of_schema <> 'public') and of_partition is not null
      and seen_by_root(tg_relid, 'public', 'jobs', 'update')
    then
      return null;
    end if;
  end if;
  if current_setting('threadline.attached', true) <> '' then
    if not "unaltered_jobs_562f12dff4"(tg_relid) then
      valued := valued_columns(tg_relid, array['id', 'state', 'payload']::text[]);
    end if;
    perform forget_attached(tg_relid, coalesce(of_schema, 'public'), coalesce(of_table, 'jobs'), 'update',
      array(
        select k.row_key
        from threadline_old x
        cross join lateral image_key(image_of(x.*, tg_relid, coalesce(valued, array['id', 'state', 'payload']::text[]), array[]::text[]), '{"key":[{"name":"id","attnum":1,"text":"text"},{"name":"state","attnum":2,"text":"text"}],"excluded":[],"masked":[],"columns":["id","state","payload"],"json":[],"texts":[]}'::jsonb -> 'key', tg_relid) k
      ),
      array(
        select k.row_key
        from threadline_new x
        cross join lateral image_key(image_of(x.*, tg_relid, coalesce(valued, array['id', 'state', 'payload']::text[]), array[]::text[]), '{"key":[{"name":"id","attnum":1,"text":"text"},{"name":"state","attnum":2,"text":"text"}],"excluded":[],"masked":[],"columns":["id","state","payload"],"json":[],"texts":[]}'::jsonb -> 'key', tg_relid) k
      ));
  end if;
  if current_setting('threadline.updating', true) <> '' then
    moved := update_ends(tg_relid);
    if moved then
      if not "unaltered_jobs_562f12dff4"(tg_relid) then
        valued := valued_columns(tg_relid, array['id', 'state', 'payload']::text[]);
      end if;
      perform forget_moved(coalesce(of_schema, 'public'), coalesce(of_table, 'jobs'), 'delete', array(
        select jsonb_hash_extended(redact(image_of(x.*, tg_relid, coalesce(valued, array['id', 'state', 'payload']::text[]), array[]::text[]), '{"key":[{"name":"id","attnum":1,"text":"text"},{"name":"state","attnum":2,"text":"text"}],"excluded":[],"masked":[],"columns":["id","state","payload"],"json":[],"texts":[]}'::jsonb, tg_relid), 0) from threadline_old x
      ));
      perform forget_moved(coalesce(of_schema, 'public'), coalesce(of_table, 'jobs'), 'insert', array(
        select jsonb_hash_extended(redact(image_of(x.*, tg_relid, coalesce(valued, array['id', 'state', 'payload']::text[]), array[]::text[]), '{"key":[{"name":"id","attnum":1,"text":"text"},{"name":"state","attnum":2,"text":"text"}],"excluded":[],"masked":[],"columns":["id","state","payload"],"json":[],"texts":[]}'::jsonb, tg_relid), 0) from threadline_new x
      ));
    end if;
  end if;

  -- One row, the common case, is read into variables. Nothing is written inside the exception block, so
  -- that it costs no transaction id.
  begin
    select to_jsonb(o.*), to_jsonb(n.*), session_epoch()
    into strict was, now, of_epoch
    from threadline_old o, threadline_new n;
  exception
    when no_data_found then
      -- An old row alone: a trigger of the partition that it moves to has skipped it.
      if not exists (select from threadline_old x) then
        return null;
      end if;
    when too_many_rows then
      several := true;
    when sqlstate 'TL006' then
      -- The general way does for one row.
      several := exists (select from threadline_new x offset 1);
    when others then
      was := null;
  end;
  if moved is not true and "unaltered_jobs_562f12dff4"(tg_relid) and now - array['id', 'state', 'payload']::text[] = '{}' and now ?& array['id', 'state']::text[] then
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

  if several and moved is not true then
    select h.guard, h.stale into guard, stale
    from capture_hints(tg_relid, array['id', 'state', 'payload']::text[], array[]::text[]) h;
  end if;
  if not guard and not stale and "unaltered_jobs_562f12dff4"(tg_relid) then
    first_id := nextval('audit_changes_id_seq');
    instant := clock_timestamp();
    -- Old and new rows are read in step, so many at a time that their arrays stay small: no join, no sort, and
    -- the order of the statement is kept. What would take too much memory or too many passes is joined by place.
    select count(*) filter (where s.was), count(*) filter (where not s.was), sum(s.size), max(s.size)
    into total, arrived, bytes, widest
    from (
      select true as was, pg_column_size(x.*)::bigint as size from threadline_old x
      union all
      select false, pg_column_size(x.*) from threadline_new x
    ) s;
    step := ceil(total * least(1, 33554432::numeric / bytes));
    if arrived = total and bytes <= 1073741824 and step * widest <= 268435456 then
      place := 0;
      while place < total loop
        insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after)
        select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'public'), coalesce(of_table, 'jobs'), of_partition,
          'update', jsonb_object(array['id', p.key_1, 'state', p.key_2]), key_of_texts(array[p.key_1, p.key_2]),
          case when p.moved then nullif(key_of_texts(array[p.was ->> 'id', p.was ->> 'state']), key_of_texts(array[p.key_1, p.key_2])) end,
          p.fields,
          p.was - p.same,
          p.now
        from (
          select d.was, d.now, d.key_1, d.key_2, d.differ[1] or d.differ[3] as moved, array_remove(array[case when d.differ[1] then 'id' end, case when d.differ[2] then 'payload' end, case when d.differ[3] then 'state' end]::text[], null) as fields, array_remove(array[case when not d.differ[1] then 'id' end, case when not d.differ[2] then 'payload' end, case when not d.differ[3] then 'state' end]::text[], null) as same
          from (
            select i.was as was, i.now as now, i.now ->> 'id' as key_1, i.now ->> 'state' as key_2, array[
              i.was ->> 'id' is distinct from i.now ->> 'id',
              i.was ->> 'payload' is distinct from i.now ->> 'payload',
              i.was ->> 'state' is distinct from i.now ->> 'state'
            ]::boolean[] as differ
            from (
              select case when pg_column_size(r.was) < 150000 then to_jsonb(r.was) else image(r.was) end as was, case when pg_column_size(r.now) < 150000 then to_jsonb(r.now) else image(r.now) end as now
              from (select unnest(array(select coalesce(x.*) from threadline_old x offset place limit step)) as was, unnest(array(select coalesce(x.*) from threadline_new x offset place limit step)) as now) r
              offset 0
            ) i
            offset 0
          ) d
          where true = any (d.differ)
        ) p;
        place := place + step;
      end loop;
    elsif arrived = total then
      insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after)
      select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'public'), coalesce(of_table, 'jobs'), of_partition,
        'update', jsonb_object(array['id', p.key_1, 'state', p.key_2]), key_of_texts(array[p.key_1, p.key_2]),
        case when p.moved then nullif(key_of_texts(array[p.was ->> 'id', p.was ->> 'state']), key_of_texts(array[p.key_1, p.key_2])) end,
        p.fields,
        p.was - p.same,
        p.now
      from (
        select d.was, d.now, d.key_1, d.key_2, d.differ[1] or d.differ[3] as moved, array_remove(array[case when d.differ[1] then 'id' end, case when d.differ[2] then 'payload' end, case when d.differ[3] then 'state' end]::text[], null) as fields, array_remove(array[case when not d.differ[1] then 'id' end, case when not d.differ[2] then 'payload' end, case when not d.differ[3] then 'state' end]::text[], null) as same
        from (
          select o.place, o.image as was, n.image as now, n.image ->> 'id' as key_1, n.image ->> 'state' as key_2, array[
            o.image ->> 'id' is distinct from n.image ->> 'id',
            o.image ->> 'payload' is distinct from n.image ->> 'payload',
            o.image ->> 'state' is distinct from n.image ->> 'state'
          ]::boolean[] as differ
          from (select row_number() over () as place, case when pg_column_size(s.source) < 150000 then to_jsonb(s.source) else image(s.source) end as image from (select coalesce(x.*) as source from threadline_old x offset 0) s) o
          full join (select row_number() over () as place, case when pg_column_size(s.source) < 150000 then to_jsonb(s.source) else image(s.source) end as image from (select coalesce(x.*) as source from threadline_new x offset 0) s) n on n.place = o.place
          offset 0
        ) d
        where true = any (d.differ)
        order by d.place
      ) p;
    end if;
    if arrived = total then
      if pg_trigger_depth() > 1 or current_setting('threadline.nested', true) <> '' then
        if note_nested(tg_relid) then
          -- An assignment of its own: only so does it see what the statement saw when it began.
          last_before := last_change_before(first_id);
          perform restore_order(tg_relid, last_before, first_id);
        end if;
      end if;
      return null;
    end if;
  end if;

  if not "unaltered_jobs_562f12dff4"(tg_relid) then
    perform note_altered(tg_relid);
    valued := valued_columns(tg_relid, array['id', 'state', 'payload']::text[]);
  end if;
  first_id := nextval('audit_changes_id_seq');
  instant := clock_timestamp();
  if (select count(*) from threadline_old x) <> (select count(*) from threadline_new x) then
    insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after, details)
    select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'public'), coalesce(of_table, 'jobs'), of_partition,
      p.op, p.row_pk, p.row_key, p.previous_row_key, p.changed_fields, p.changed_from, p.data_after, p.details
    from (
      select c.*
      from (
        select i.image, i.exact, i.source, coalesce(k.row_key, i.image::text) as identity,
          row_number() over (partition by coalesce(k.row_key, i.image::text)) as nth
        from (
          select row_number() over () as place, image_of(x.*, tg_relid, coalesce(valued, array['id', 'state', 'payload']::text[]), array[]::text[]) as image, exact_text(x.*) as exact, coalesce(x.*) as source
          from threadline_old x
          offset 0
        ) i
        cross join lateral image_key(i.image, '{"key":[{"name":"id","attnum":1,"text":"text"},{"name":"state","attnum":2,"text":"text"}],"excluded":[],"masked":[],"columns":["id","state","payload"],"json":[],"texts":[]}'::jsonb -> 'key', tg_relid) k
      ) o
      full join (
        select i.image, i.exact, i.source, coalesce(k.row_key, i.image::text) as identity,
          row_number() over (partition by coalesce(k.row_key, i.image::text)) as nth
        from (
          select row_number() over () as place, image_of(x.*, tg_relid, coalesce(valued, array['id', 'state', 'payload']::text[]), array[]::text[]) as image, exact_text(x.*) as exact, coalesce(x.*) as source
          from threadline_new x
          offset 0
        ) i
        cross join lateral image_key(i.image, '{"key":[{"name":"id","attnum":1,"text":"text"},{"name":"state","attnum":2,"text":"text"}],"excluded":[],"masked":[],"columns":["id","state","payload"],"json":[],"texts":[]}'::jsonb -> 'key', tg_relid) k
      ) n on n.identity = o.identity and n.nth = o.nth
      cross join lateral describe_change(
        o.image, n.image, o.exact, n.exact, o.source, n.source, '{"key":[{"name":"id","attnum":1,"text":"text"},{"name":"state","attnum":2,"text":"text"}],"excluded":[],"masked":[],"columns":["id","state","payload"],"json":[],"texts":[]}'::jsonb, tg_relid
      ) c
      where c.op is not null
      order by c.op = 'insert', c.op = 'update'
    ) p;
  else
    insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after, details)
    select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'public'), coalesce(of_table, 'jobs'), of_partition,
      'update', p.row_pk, p.row_key, p.previous_row_key, p.changed_fields, p.changed_from, p.data_after, p.details
    from (
      select c.*
      from (
        select row_number() over () as place, image_of(x.*, tg_relid, coalesce(valued, array['id', 'state', 'payload']::text[]), array[]::text[]) as image, exact_text(x.*) as exact, coalesce(x.*) as source
        from threadline_old x
      ) o
      full join (
        select row_number() over () as place, image_of(x.*, tg_relid, coalesce(valued, array['id', 'state', 'payload']::text[]), array[]::text[]) as image, exact_text(x.*) as exact, coalesce(x.*) as source
        from threadline_new x
      ) n on n.place = o.place
      cross join lateral describe_update(
        o.image, n.image, o.exact, n.exact, o.source, n.source, '{"key":[{"name":"id","attnum":1,"text":"text"},{"name":"state","attnum":2,"text":"text"}],"excluded":[],"masked":[],"columns":["id","state","payload"],"json":[],"texts":[]}'::jsonb, tg_relid
      ) c
      where c.changed
      order by o.place
    ) p;
  end if;
  if pg_trigger_depth() > 1 or current_setting('threadline.nested', true) <> '' then
    if note_nested(tg_relid) then
      -- An assignment of its own: only so does it see what the statement saw when it began.
      last_before := last_change_before(first_id);
      perform restore_order(tg_relid, last_before, first_id);
    end if;
  end if;
  if moved then
    perform entered_last(coalesce(of_schema, 'public'), coalesce(of_table, 'jobs'));
  end if;
  return null;
end
$threadline$;

select "threadline"."guard_function"('"threadline"."capture_update_jobs_562f12dff4"()');

create or replace function "threadline"."capture_delete_jobs_562f12dff4"() returns trigger
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
  -- One for all rows: what shares it was done by one statement.
  instant timestamptz;
  was jsonb;
  valued text[];
  several boolean;
  guard boolean;
  stale boolean;
begin
  if tg_table_name <> 'jobs' or tg_table_schema <> 'public' then
    select * into of_schema, of_table, of_partition
    from capture_relation(tg_relid, 'public', 'jobs');
    if (of_table <> 'jobs' or of_schema <> 'public') and of_partition is not null
      and seen_by_root(tg_relid, 'public', 'jobs', 'delete')
    then
      return null;
    end if;
  end if;
  if current_setting('threadline.attached', true) <> '' then
    if not "unaltered_jobs_562f12dff4"(tg_relid) then
      valued := valued_columns(tg_relid, array['id', 'state', 'payload']::text[]);
    end if;
    perform forget_attached(tg_relid, coalesce(of_schema, 'public'), coalesce(of_table, 'jobs'), 'delete',
      array(
        select k.row_key
        from threadline_old x
        cross join lateral image_key(image_of(x.*, tg_relid, coalesce(valued, array['id', 'state', 'payload']::text[]), array[]::text[]), '{"key":[{"name":"id","attnum":1,"text":"text"},{"name":"state","attnum":2,"text":"text"}],"excluded":[],"masked":[],"columns":["id","state","payload"],"json":[],"texts":[]}'::jsonb -> 'key', tg_relid) k
      ),
      '{}');
  end if;
  if current_setting('threadline.moved', true) <> '' then
    if not "unaltered_jobs_562f12dff4"(tg_relid) then
      valued := valued_columns(tg_relid, array['id', 'state', 'payload']::text[]);
    end if;
    perform forget_moved(coalesce(of_schema, 'public'), coalesce(of_table, 'jobs'), 'delete', array(
      select jsonb_hash_extended(redact(image_of(x.*, tg_relid, coalesce(valued, array['id', 'state', 'payload']::text[]), array[]::text[]), '{"key":[{"name":"id","attnum":1,"text":"text"},{"name":"state","attnum":2,"text":"text"}],"excluded":[],"masked":[],"columns":["id","state","payload"],"json":[],"texts":[]}'::jsonb, tg_relid), 0) from threadline_old x
    ));
    perform moves_end();
  end if;

  -- One row, the common case, is read into variables. Nothing is written inside the exception block, so
  -- that it costs no transaction id.
  begin
    select to_jsonb(o.*), session_epoch()
    into strict was, of_epoch
    from threadline_old o;
  exception
    when no_data_found then
      return null;
    when too_many_rows then
      several := true;
    when sqlstate 'TL006' then
      -- The general way does for one row.
      several := exists (select from threadline_old x offset 1);
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

  if several then
    select h.guard, h.stale into guard, stale
    from capture_hints(tg_relid, array['id', 'state', 'payload']::text[], array[]::text[]) h;
  end if;
  if not guard and not stale and "unaltered_jobs_562f12dff4"(tg_relid) then
    first_id := nextval('audit_changes_id_seq');
    instant := clock_timestamp();
    insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after)
    select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'public'), coalesce(of_table, 'jobs'), of_partition,
      'delete', jsonb_object(array['id', r.key_1, 'state', r.key_2]), key_of_texts(array[r.key_1, r.key_2]), null, null,
      r.image, null
    from (
      select i.image, i.image ->> 'id' as key_1, i.image ->> 'state' as key_2
      from (
        select case when pg_column_size(s.source) < 150000 then to_jsonb(s.source) else image(s.source) end as image
        from (select coalesce(x.*) as source from threadline_old x offset 0) s
        offset 0
      ) i
      offset 0
    ) r;
    if pg_trigger_depth() > 1 or current_setting('threadline.nested', true) <> '' then
      if note_nested(tg_relid) then
        -- An assignment of its own: only so does it see what the statement saw when it began.
        last_before := last_change_before(first_id);
        perform restore_order(tg_relid, last_before, first_id);
      end if;
    end if;
    return null;
  end if;

  if not "unaltered_jobs_562f12dff4"(tg_relid) then
    perform note_altered(tg_relid);
    valued := valued_columns(tg_relid, array['id', 'state', 'payload']::text[]);
  end if;
  first_id := nextval('audit_changes_id_seq');
  instant := clock_timestamp();
  insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after)
  select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'public'), coalesce(of_table, 'jobs'), of_partition,
    'delete', k.row_pk, k.row_key, null, null, redact(r.image, '{"key":[{"name":"id","attnum":1,"text":"text"},{"name":"state","attnum":2,"text":"text"}],"excluded":[],"masked":[],"columns":["id","state","payload"],"json":[],"texts":[]}'::jsonb, tg_relid), null
  from (select image_of(x.*, tg_relid, coalesce(valued, array['id', 'state', 'payload']::text[]), array[]::text[]) as image from threadline_old x) r
  cross join lateral image_key(r.image, '{"key":[{"name":"id","attnum":1,"text":"text"},{"name":"state","attnum":2,"text":"text"}],"excluded":[],"masked":[],"columns":["id","state","payload"],"json":[],"texts":[]}'::jsonb -> 'key', tg_relid) k;
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

select "threadline"."guard_function"('"threadline"."capture_delete_jobs_562f12dff4"()');

create or replace function "threadline"."capture_begin_jobs_562f12dff4"() returns trigger
language plpgsql security definer
set search_path = "threadline", pg_temp
set jit = off
as $threadline$
declare
  context text;
begin
  get diagnostics context = pg_context;
  context := case
    when context not like E'%\n%' then current_query()
    when split_part(context, E'\n', 2) like 'SQL statement "%' then context
  end;
  -- Nothing that it may be part of is a MERGE, or has a name for one.
  if octet_length(context) < 10000 and context !~* 'merge|execute' then
    return null;
  end if;
  if current_setting('threadline.moved', true) <> '' and coalesce(current_setting('threadline.updating', true), '') = '' then
    context := set_config('threadline.moved', '', true);
  end if;
  context := set_config('threadline.updating', concat(
    current_setting('threadline.updating', true), ' ', pg_trigger_depth(), ':', tg_relid, ':', nextval('audit_changes_id_seq'), ','
  ), true);
  return null;
end
$threadline$;

select "threadline"."guard_function"('"threadline"."capture_begin_jobs_562f12dff4"()');

create or replace function "threadline"."open_leave_jobs_562f12dff4"() returns trigger
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
  if tg_name <> '0_threadline_leave_562f12dff4' or tg_when <> 'AFTER' or tg_level <> 'ROW' or tg_op <> 'DELETE' then
    raise exception 'threadline: this function serves no other trigger' using errcode = 'insufficient_privilege';
  end if;
  select * into of_schema, of_table, of_partition
  from capture_relation(tg_relid, 'public', 'jobs', true);
  if (of_table <> 'jobs' or of_schema <> 'public') and of_partition is not null
    and seen_by_root(tg_relid, 'public', 'jobs', 'leave')
  then
    return null;
  end if;
  if (strpos(current_setting('threadline.updating', true), ' ' || pg_trigger_depth() || ':') > 0 and set_config('threadline.moved', 'yes', true) <> '') is not true then
    return null;
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
    insert into audit_changes (transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, changed_from, details)
    values (
      opened,
      clock_timestamp(),
      coalesce(of_schema, 'public'),
      coalesce(of_table, 'jobs'),
      of_partition,
      'delete',
      jsonb_object(array['id', was ->> 'id', 'state', was ->> 'state']),
      key_of_texts(array[was ->> 'id', was ->> 'state']),
      was,
      '{"moved": true}'
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
    'delete', k.row_pk, k.row_key, null, null, redact(was, '{"key":[{"name":"id","attnum":1,"text":"text"},{"name":"state","attnum":2,"text":"text"}],"excluded":[],"masked":[],"columns":["id","state","payload"],"json":[],"texts":[]}'::jsonb, tg_relid), null, '{"moved": true}'
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

grant execute on function "threadline"."open_leave_jobs_562f12dff4"() to public;

create or replace function "threadline"."open_enter_jobs_562f12dff4"() returns trigger
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
  if tg_name <> '0_threadline_enter_562f12dff4' or tg_when <> 'AFTER' or tg_level <> 'ROW' or tg_op <> 'INSERT' then
    raise exception 'threadline: this function serves no other trigger' using errcode = 'insufficient_privilege';
  end if;
  select * into of_schema, of_table, of_partition
  from capture_relation(tg_relid, 'public', 'jobs', true);
  if (of_table <> 'jobs' or of_schema <> 'public') and of_partition is not null
    and seen_by_root(tg_relid, 'public', 'jobs', 'enter')
  then
    return null;
  end if;
  if (strpos(current_setting('threadline.updating', true), ' ' || pg_trigger_depth() || ':') > 0 and current_setting('threadline.moved', true) <> '') is not true then
    return null;
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
    insert into audit_changes (transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, data_after, details)
    values (
      opened,
      clock_timestamp(),
      coalesce(of_schema, 'public'),
      coalesce(of_table, 'jobs'),
      of_partition,
      'insert',
      jsonb_object(array['id', now ->> 'id', 'state', now ->> 'state']),
      key_of_texts(array[now ->> 'id', now ->> 'state']),
      now,
      '{"moved": true}'
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
    'insert', k.row_pk, k.row_key, null, null, null, redact(now, '{"key":[{"name":"id","attnum":1,"text":"text"},{"name":"state","attnum":2,"text":"text"}],"excluded":[],"masked":[],"columns":["id","state","payload"],"json":[],"texts":[]}'::jsonb, tg_relid), '{"moved": true}'
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

grant execute on function "threadline"."open_enter_jobs_562f12dff4"() to public;

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

create or replace trigger "0_threadline_insert" after insert on "public"."jobs"
referencing new table as threadline_new
for each statement
execute function "threadline"."capture_insert_jobs_562f12dff4"();

create or replace trigger "0_threadline_update" after update on "public"."jobs"
referencing old table as threadline_old new table as threadline_new
for each statement
execute function "threadline"."capture_update_jobs_562f12dff4"();

create or replace trigger "0_threadline_delete" after delete on "public"."jobs"
referencing old table as threadline_old
for each statement
execute function "threadline"."capture_delete_jobs_562f12dff4"();

create or replace trigger "0_threadline_begin" before update on "public"."jobs"
for each statement
execute function "threadline"."capture_begin_jobs_562f12dff4"();

create or replace trigger "0_threadline_leave_562f12dff4" after delete on "public"."jobs"
for each row
when (pg_catalog.current_setting('threadline.updating', true) operator(pg_catalog.<>) '')
execute function "threadline"."open_leave_jobs_562f12dff4"();

create or replace trigger "0_threadline_enter_562f12dff4" after insert on "public"."jobs"
for each row
when (pg_catalog.current_setting('threadline.updating', true) operator(pg_catalog.<>) '')
execute function "threadline"."open_enter_jobs_562f12dff4"();

create or replace trigger "0_threadline_route_562f12dff4" before insert on "public"."jobs"
for each row
when (false)
execute function "threadline"."open_enter_jobs_562f12dff4"();

create or replace trigger "0_threadline_truncate" before truncate on "public"."jobs"
for each statement
execute function "threadline"."capture_truncate_jobs_562f12dff4"();

create or replace trigger "0_threadline_truncate" before truncate on "public"."jobs_archived"
for each statement
execute function "threadline"."capture_truncate_jobs_562f12dff4"();
