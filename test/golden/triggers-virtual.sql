create or replace function "threadline"."capture_insert_orders_86a1f739f8"() returns trigger
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
  if tg_table_name <> 'orders' or tg_table_schema <> 'public' then
    select * into of_schema, of_table, of_partition
    from capture_relation(tg_relid, 'public', 'orders');
    if (of_table <> 'orders' or of_schema <> 'public') and of_partition is not null
      and seen_by_root(tg_relid, 'public', 'orders', 'insert')
    then
      return null;
    end if;
  end if;

  -- One row, the common case, is read into variables. Nothing is written inside the exception block, so
  -- that it costs no transaction id.
  begin
    select without_virtual(to_jsonb(n.*), array['gross']::text[], tg_relid), session_epoch()
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
  if "unaltered_orders_86a1f739f8"(tg_relid) and now - array['id', 'net']::text[] = '{}' and octet_length(now ->> 'id') <= 512 then
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
      coalesce(of_table, 'orders'),
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

  if several then
    select h.guard, h.stale into guard, stale
    from capture_hints(tg_relid, array['id', 'net']::text[], array['gross']::text[]) h;
  end if;
  if not guard and not stale and "unaltered_orders_86a1f739f8"(tg_relid) then
    first_id := nextval('audit_changes_id_seq');
    instant := clock_timestamp();
    insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after)
    select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'public'), coalesce(of_table, 'orders'), of_partition,
      'insert', jsonb_object(array['id', r.key_1]), case when octet_length(r.key_1) <= 512 then r.key_1 else bounded_key(r.key_1) end, null, null,
      null, r.image
    from (
      select i.image, i.image ->> 'id' as key_1
      from (
        select case when pg_column_size(s.source) < 150000 then without_virtual(to_jsonb(s.source), array['gross']::text[], tg_relid) else without_virtual(image(s.source), array['gross']::text[], tg_relid) end as image
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

  if not "unaltered_orders_86a1f739f8"(tg_relid) then
    perform note_altered(tg_relid);
    valued := valued_columns(tg_relid, array['id', 'net']::text[]);
  end if;
  first_id := nextval('audit_changes_id_seq');
  instant := clock_timestamp();
  insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after)
  select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'public'), coalesce(of_table, 'orders'), of_partition,
    'insert', k.row_pk, k.row_key, null, null, null, redact(r.image, '{"key":[{"name":"id","attnum":1,"text":"text"}],"excluded":[],"masked":[],"columns":["id","net"],"json":[],"texts":[]}'::jsonb, tg_relid)
  from (select image_of(x.*, tg_relid, coalesce(valued, array['id', 'net']::text[]), array[]::text[]) as image from threadline_new x) r
  cross join lateral image_key(r.image, '{"key":[{"name":"id","attnum":1,"text":"text"}],"excluded":[],"masked":[],"columns":["id","net"],"json":[],"texts":[]}'::jsonb -> 'key', tg_relid) k;
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

select "threadline"."guard_function"('"threadline"."capture_insert_orders_86a1f739f8"()');

create or replace function "threadline"."capture_update_orders_86a1f739f8"() returns trigger
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
  valued text[];
  several boolean;
  guard boolean;
  stale boolean;
begin
  if tg_table_name <> 'orders' or tg_table_schema <> 'public' then
    select * into of_schema, of_table, of_partition
    from capture_relation(tg_relid, 'public', 'orders');
    if (of_table <> 'orders' or of_schema <> 'public') and of_partition is not null
      and seen_by_root(tg_relid, 'public', 'orders', 'update')
    then
      return null;
    end if;
  end if;

  -- One row, the common case, is read into variables. Nothing is written inside the exception block, so
  -- that it costs no transaction id.
  begin
    select without_virtual(to_jsonb(o.*), array['gross']::text[], tg_relid), without_virtual(to_jsonb(n.*), array['gross']::text[], tg_relid), session_epoch()
    into strict was, now, of_epoch
    from threadline_old o, threadline_new n;
  exception
    when no_data_found then
      return null;
    when too_many_rows then
      several := true;
    when sqlstate 'TL006' then
      -- The general way does for one row.
      several := exists (select from threadline_new x offset 1);
    when others then
      was := null;
  end;
  if "unaltered_orders_86a1f739f8"(tg_relid) and now - array['id', 'net']::text[] = '{}' and octet_length(now ->> 'id') <= 512 then
    foreach field in array array['id', 'net']::text[] loop
      if was ->> field is distinct from now ->> field then
        fields := fields || field;
        old_values := coalesce(old_values, '{}') || jsonb_build_object(field, was -> field);
      end if;
    end loop;
    if fields is null then
      return null;
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
    insert into audit_changes (transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after)
    values (
      opened,
      clock_timestamp(),
      coalesce(of_schema, 'public'),
      coalesce(of_table, 'orders'),
      of_partition,
      'update',
      jsonb_object(array['id', now ->> 'id']),
      now ->> 'id',
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

  if several then
    select h.guard, h.stale into guard, stale
    from capture_hints(tg_relid, array['id', 'net']::text[], array['gross']::text[]) h;
  end if;
  if not guard and not stale and "unaltered_orders_86a1f739f8"(tg_relid) then
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
        select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'public'), coalesce(of_table, 'orders'), of_partition,
          'update', jsonb_object(array['id', p.key_1]), case when octet_length(p.key_1) <= 512 then p.key_1 else bounded_key(p.key_1) end,
          case when p.moved then nullif(case when octet_length(p.was ->> 'id') <= 512 then p.was ->> 'id' else bounded_key(p.was ->> 'id') end, case when octet_length(p.key_1) <= 512 then p.key_1 else bounded_key(p.key_1) end) end,
          p.fields,
          p.was - p.same,
          p.now
        from (
          select d.was, d.now, d.key_1, d.differ[1] as moved, array_remove(array[case when d.differ[1] then 'id' end, case when d.differ[2] then 'net' end]::text[], null) as fields, array_remove(array[case when not d.differ[1] then 'id' end, case when not d.differ[2] then 'net' end]::text[], null) as same
          from (
            select i.was as was, i.now as now, i.now ->> 'id' as key_1, array[
              i.was ->> 'id' is distinct from i.now ->> 'id',
              i.was ->> 'net' is distinct from i.now ->> 'net'
            ]::boolean[] as differ
            from (
              select case when pg_column_size(r.was) < 150000 then without_virtual(to_jsonb(r.was), array['gross']::text[], tg_relid) else without_virtual(image(r.was), array['gross']::text[], tg_relid) end as was, case when pg_column_size(r.now) < 150000 then without_virtual(to_jsonb(r.now), array['gross']::text[], tg_relid) else without_virtual(image(r.now), array['gross']::text[], tg_relid) end as now
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
      select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'public'), coalesce(of_table, 'orders'), of_partition,
        'update', jsonb_object(array['id', p.key_1]), case when octet_length(p.key_1) <= 512 then p.key_1 else bounded_key(p.key_1) end,
        case when p.moved then nullif(case when octet_length(p.was ->> 'id') <= 512 then p.was ->> 'id' else bounded_key(p.was ->> 'id') end, case when octet_length(p.key_1) <= 512 then p.key_1 else bounded_key(p.key_1) end) end,
        p.fields,
        p.was - p.same,
        p.now
      from (
        select d.was, d.now, d.key_1, d.differ[1] as moved, array_remove(array[case when d.differ[1] then 'id' end, case when d.differ[2] then 'net' end]::text[], null) as fields, array_remove(array[case when not d.differ[1] then 'id' end, case when not d.differ[2] then 'net' end]::text[], null) as same
        from (
          select o.place, o.image as was, n.image as now, n.image ->> 'id' as key_1, array[
            o.image ->> 'id' is distinct from n.image ->> 'id',
            o.image ->> 'net' is distinct from n.image ->> 'net'
          ]::boolean[] as differ
          from (select row_number() over () as place, case when pg_column_size(s.source) < 150000 then without_virtual(to_jsonb(s.source), array['gross']::text[], tg_relid) else without_virtual(image(s.source), array['gross']::text[], tg_relid) end as image from (select coalesce(x.*) as source from threadline_old x offset 0) s) o
          full join (select row_number() over () as place, case when pg_column_size(s.source) < 150000 then without_virtual(to_jsonb(s.source), array['gross']::text[], tg_relid) else without_virtual(image(s.source), array['gross']::text[], tg_relid) end as image from (select coalesce(x.*) as source from threadline_new x offset 0) s) n on n.place = o.place
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

  if not "unaltered_orders_86a1f739f8"(tg_relid) then
    perform note_altered(tg_relid);
    valued := valued_columns(tg_relid, array['id', 'net']::text[]);
  end if;
  first_id := nextval('audit_changes_id_seq');
  instant := clock_timestamp();
  insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after, details)
  select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'public'), coalesce(of_table, 'orders'), of_partition,
    'update', p.row_pk, p.row_key, p.previous_row_key, p.changed_fields, p.changed_from, p.data_after, p.details
  from (
    select c.*
    from (
      select row_number() over () as place, image_of(x.*, tg_relid, coalesce(valued, array['id', 'net']::text[]), array[]::text[]) as image, exact_text(x.*) as exact, coalesce(x.*) as source
      from threadline_old x
    ) o
    full join (
      select row_number() over () as place, image_of(x.*, tg_relid, coalesce(valued, array['id', 'net']::text[]), array[]::text[]) as image, exact_text(x.*) as exact, coalesce(x.*) as source
      from threadline_new x
    ) n on n.place = o.place
    cross join lateral describe_update(
      o.image, n.image, o.exact, n.exact, o.source, n.source, '{"key":[{"name":"id","attnum":1,"text":"text"}],"excluded":[],"masked":[],"columns":["id","net"],"json":[],"texts":[]}'::jsonb, tg_relid
    ) c
    where c.changed
    order by o.place
  ) p;
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

select "threadline"."guard_function"('"threadline"."capture_update_orders_86a1f739f8"()');

create or replace function "threadline"."capture_delete_orders_86a1f739f8"() returns trigger
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
  if tg_table_name <> 'orders' or tg_table_schema <> 'public' then
    select * into of_schema, of_table, of_partition
    from capture_relation(tg_relid, 'public', 'orders');
    if (of_table <> 'orders' or of_schema <> 'public') and of_partition is not null
      and seen_by_root(tg_relid, 'public', 'orders', 'delete')
    then
      return null;
    end if;
  end if;

  -- One row, the common case, is read into variables. Nothing is written inside the exception block, so
  -- that it costs no transaction id.
  begin
    select without_virtual(to_jsonb(o.*), array['gross']::text[], tg_relid), session_epoch()
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
  if "unaltered_orders_86a1f739f8"(tg_relid) and was - array['id', 'net']::text[] = '{}' and octet_length(was ->> 'id') <= 512 then
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
      coalesce(of_table, 'orders'),
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

  if several then
    select h.guard, h.stale into guard, stale
    from capture_hints(tg_relid, array['id', 'net']::text[], array['gross']::text[]) h;
  end if;
  if not guard and not stale and "unaltered_orders_86a1f739f8"(tg_relid) then
    first_id := nextval('audit_changes_id_seq');
    instant := clock_timestamp();
    insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after)
    select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'public'), coalesce(of_table, 'orders'), of_partition,
      'delete', jsonb_object(array['id', r.key_1]), case when octet_length(r.key_1) <= 512 then r.key_1 else bounded_key(r.key_1) end, null, null,
      r.image, null
    from (
      select i.image, i.image ->> 'id' as key_1
      from (
        select case when pg_column_size(s.source) < 150000 then without_virtual(to_jsonb(s.source), array['gross']::text[], tg_relid) else without_virtual(image(s.source), array['gross']::text[], tg_relid) end as image
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

  if not "unaltered_orders_86a1f739f8"(tg_relid) then
    perform note_altered(tg_relid);
    valued := valued_columns(tg_relid, array['id', 'net']::text[]);
  end if;
  first_id := nextval('audit_changes_id_seq');
  instant := clock_timestamp();
  insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after)
  select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'public'), coalesce(of_table, 'orders'), of_partition,
    'delete', k.row_pk, k.row_key, null, null, redact(r.image, '{"key":[{"name":"id","attnum":1,"text":"text"}],"excluded":[],"masked":[],"columns":["id","net"],"json":[],"texts":[]}'::jsonb, tg_relid), null
  from (select image_of(x.*, tg_relid, coalesce(valued, array['id', 'net']::text[]), array[]::text[]) as image from threadline_old x) r
  cross join lateral image_key(r.image, '{"key":[{"name":"id","attnum":1,"text":"text"}],"excluded":[],"masked":[],"columns":["id","net"],"json":[],"texts":[]}'::jsonb -> 'key', tg_relid) k;
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

select "threadline"."guard_function"('"threadline"."capture_delete_orders_86a1f739f8"()');

create or replace function "threadline"."capture_truncate_orders_86a1f739f8"() returns trigger
language plpgsql security definer
set search_path = "threadline", pg_temp
set jit = off
as $threadline$
begin
  perform capture_truncate(
    tg_relid, 'public', 'orders', 'event', '{"key":[{"name":"id","attnum":1,"text":"text"}],"excluded":[],"masked":[],"columns":["id","net"],"json":[],"texts":[]}'::jsonb
  );
  return null;
end
$threadline$;

select "threadline"."guard_function"('"threadline"."capture_truncate_orders_86a1f739f8"()');

create or replace trigger "0_threadline_insert" after insert on "public"."orders"
referencing new table as threadline_new
for each statement
execute function "threadline"."capture_insert_orders_86a1f739f8"();

create or replace trigger "0_threadline_update" after update on "public"."orders"
referencing old table as threadline_old new table as threadline_new
for each statement
execute function "threadline"."capture_update_orders_86a1f739f8"();

create or replace trigger "0_threadline_delete" after delete on "public"."orders"
referencing old table as threadline_old
for each statement
execute function "threadline"."capture_delete_orders_86a1f739f8"();

create or replace trigger "0_threadline_truncate" before truncate on "public"."orders"
for each statement
execute function "threadline"."capture_truncate_orders_86a1f739f8"();
