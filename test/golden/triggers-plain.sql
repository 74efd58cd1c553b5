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
  -- One for all rows: what shares it was done by one statement.
  instant timestamptz;
  now jsonb;
  valued text[];
  several boolean;
  guard boolean;
  stale boolean;
begin
  if tg_table_name <> 'posts' or tg_table_schema <> 'public' then
    select * into of_schema, of_table, of_partition
    from capture_relation(tg_relid, 'public', 'posts');
    if (of_table <> 'posts' or of_schema <> 'public') and of_partition is not null
      and seen_by_root(tg_relid, 'public', 'posts', 'insert')
    then
      return null;
    end if;
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

  if several then
    select h.guard, h.stale into guard, stale
    from capture_hints(tg_relid, array['id', 'title', 'tags', 'published_at']::text[], array[]::text[]) h;
  end if;
  if not guard and not stale and "unaltered_posts_a109cce5d9"(tg_relid) then
    first_id := nextval('audit_changes_id_seq');
    instant := clock_timestamp();
    insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after)
    select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'public'), coalesce(of_table, 'posts'), of_partition,
      'insert', jsonb_object(array['id', r.key_1]), case when octet_length(r.key_1) <= 512 then r.key_1 else bounded_key(r.key_1) end, null, null,
      null, r.image
    from (
      select i.image, i.image ->> 'id' as key_1
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

  if not "unaltered_posts_a109cce5d9"(tg_relid) then
    perform note_altered(tg_relid);
    valued := valued_columns(tg_relid, array['id', 'title', 'tags', 'published_at']::text[]);
  end if;
  first_id := nextval('audit_changes_id_seq');
  instant := clock_timestamp();
  insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after)
  select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'public'), coalesce(of_table, 'posts'), of_partition,
    'insert', k.row_pk, k.row_key, null, null, null, redact(r.image, '{"key":[{"name":"id","attnum":1,"text":"text"}],"excluded":[],"masked":[],"columns":["id","title","tags","published_at"],"json":[],"texts":[]}'::jsonb, tg_relid)
  from (select image_of(x.*, tg_relid, coalesce(valued, array['id', 'title', 'tags', 'published_at']::text[]), array[]::text[]) as image from threadline_new x) r
  cross join lateral image_key(r.image, '{"key":[{"name":"id","attnum":1,"text":"text"}],"excluded":[],"masked":[],"columns":["id","title","tags","published_at"],"json":[],"texts":[]}'::jsonb -> 'key', tg_relid) k;
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
  details jsonb;
  valued text[];
  several boolean;
  guard boolean;
  stale boolean;
begin
  if tg_table_name <> 'posts' or tg_table_schema <> 'public' then
    select * into of_schema, of_table, of_partition
    from capture_relation(tg_relid, 'public', 'posts');
    if (of_table <> 'posts' or of_schema <> 'public') and of_partition is not null
      and seen_by_root(tg_relid, 'public', 'posts', 'update')
    then
      return null;
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
      return null;
    when too_many_rows then
      several := true;
    when sqlstate 'TL006' then
      -- The general way does for one row.
      several := exists (select from threadline_new x offset 1);
    when others then
      was := null;
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
      select alike_fields(o.*, n.*, tg_relid, array[]::text[]) into fields from threadline_old o, threadline_new n;
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

  if several then
    select h.guard, h.stale into guard, stale
    from capture_hints(tg_relid, array['id', 'title', 'tags', 'published_at']::text[], array[]::text[]) h;
  end if;
  if not guard and not stale and "unaltered_posts_a109cce5d9"(tg_relid) then
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
        insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after, details)
        select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'public'), coalesce(of_table, 'posts'), of_partition,
          'update', jsonb_object(array['id', p.key_1]), case when octet_length(p.key_1) <= 512 then p.key_1 else bounded_key(p.key_1) end,
          case when p.moved then nullif(case when octet_length(p.was ->> 'id') <= 512 then p.was ->> 'id' else bounded_key(p.was ->> 'id') end, case when octet_length(p.key_1) <= 512 then p.key_1 else bounded_key(p.key_1) end) end,
          p.fields,
          p.was - p.same,
          p.now,
          p.details
        from (
          select d.was, d.now, d.key_1, d.differ[1] as moved, coalesce(a.alike, array_remove(array[case when d.differ[1] then 'id' end, case when d.differ[2] then 'published_at' end, case when d.differ[3] then 'tags' end, case when d.differ[4] then 'title' end]::text[], null)) as fields,
            case
              when a.alike is null then array_remove(array[case when not d.differ[1] then 'id' end, case when not d.differ[2] then 'published_at' end, case when not d.differ[3] then 'tags' end, case when not d.differ[4] then 'title' end]::text[], null)
              else array(select s from unnest(array_remove(array[case when not d.differ[1] then 'id' end, case when not d.differ[2] then 'published_at' end, case when not d.differ[3] then 'tags' end, case when not d.differ[4] then 'title' end]::text[], null)) s where s <> all (a.alike))
            end as same,
            case when a.alike is not null then jsonb_build_object('alike', a.alike) end as details
          from (
            select i.was as was, i.now as now, i.now ->> 'id' as key_1, i.old_row, i.new_row, array[
              i.was ->> 'id' is distinct from i.now ->> 'id',
              i.was ->> 'published_at' is distinct from i.now ->> 'published_at',
              (i.was -> 'tags')::text is distinct from (i.now -> 'tags')::text,
              i.was ->> 'title' is distinct from i.now ->> 'title'
            ]::boolean[] as differ
            from (
              select case when pg_column_size(r.was) < 150000 then to_jsonb(r.was) else image(r.was) end as was, case when pg_column_size(r.now) < 150000 then to_jsonb(r.now) else image(r.now) end as now, r.was as old_row, r.now as new_row
              from (select unnest(array(select coalesce(x.*) from threadline_old x offset place limit step)) as was, unnest(array(select coalesce(x.*) from threadline_new x offset place limit step)) as now) r
              offset 0
            ) i
            offset 0
          ) d
          cross join lateral (
            select case
              when true = any (d.differ) then null
              else alike_fields(d.old_row, d.new_row, tg_relid, array[]::text[])
            end as alike
            offset 0
          ) a
          where true = any (d.differ) or a.alike is not null
        ) p;
        place := place + step;
      end loop;
    elsif arrived = total then
      insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after, details)
      select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'public'), coalesce(of_table, 'posts'), of_partition,
        'update', jsonb_object(array['id', p.key_1]), case when octet_length(p.key_1) <= 512 then p.key_1 else bounded_key(p.key_1) end,
        case when p.moved then nullif(case when octet_length(p.was ->> 'id') <= 512 then p.was ->> 'id' else bounded_key(p.was ->> 'id') end, case when octet_length(p.key_1) <= 512 then p.key_1 else bounded_key(p.key_1) end) end,
        p.fields,
        p.was - p.same,
        p.now,
        p.details
      from (
        select d.was, d.now, d.key_1, d.differ[1] as moved, coalesce(a.alike, array_remove(array[case when d.differ[1] then 'id' end, case when d.differ[2] then 'published_at' end, case when d.differ[3] then 'tags' end, case when d.differ[4] then 'title' end]::text[], null)) as fields,
          case
            when a.alike is null then array_remove(array[case when not d.differ[1] then 'id' end, case when not d.differ[2] then 'published_at' end, case when not d.differ[3] then 'tags' end, case when not d.differ[4] then 'title' end]::text[], null)
            else array(select s from unnest(array_remove(array[case when not d.differ[1] then 'id' end, case when not d.differ[2] then 'published_at' end, case when not d.differ[3] then 'tags' end, case when not d.differ[4] then 'title' end]::text[], null)) s where s <> all (a.alike))
          end as same,
          case when a.alike is not null then jsonb_build_object('alike', a.alike) end as details
        from (
          select o.place, o.image as was, n.image as now, n.image ->> 'id' as key_1, o.source as old_row, n.source as new_row, array[
            o.image ->> 'id' is distinct from n.image ->> 'id',
            o.image ->> 'published_at' is distinct from n.image ->> 'published_at',
            (o.image -> 'tags')::text is distinct from (n.image -> 'tags')::text,
            o.image ->> 'title' is distinct from n.image ->> 'title'
          ]::boolean[] as differ
          from (select row_number() over () as place, case when pg_column_size(s.source) < 150000 then to_jsonb(s.source) else image(s.source) end as image, s.source from (select coalesce(x.*) as source from threadline_old x offset 0) s) o
          full join (select row_number() over () as place, case when pg_column_size(s.source) < 150000 then to_jsonb(s.source) else image(s.source) end as image, s.source from (select coalesce(x.*) as source from threadline_new x offset 0) s) n on n.place = o.place
          offset 0
        ) d
        cross join lateral (
          select case
            when true = any (d.differ) then null
            else alike_fields(d.old_row, d.new_row, tg_relid, array[]::text[])
          end as alike
          offset 0
        ) a
        where true = any (d.differ) or a.alike is not null
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

  if not "unaltered_posts_a109cce5d9"(tg_relid) then
    perform note_altered(tg_relid);
    valued := valued_columns(tg_relid, array['id', 'title', 'tags', 'published_at']::text[]);
  end if;
  first_id := nextval('audit_changes_id_seq');
  instant := clock_timestamp();
  insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after, details)
  select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'public'), coalesce(of_table, 'posts'), of_partition,
    'update', p.row_pk, p.row_key, p.previous_row_key, p.changed_fields, p.changed_from, p.data_after, p.details
  from (
    select c.*
    from (
      select row_number() over () as place, image_of(x.*, tg_relid, coalesce(valued, array['id', 'title', 'tags', 'published_at']::text[]), array[]::text[]) as image, exact_text(x.*) as exact, coalesce(x.*) as source
      from threadline_old x
    ) o
    full join (
      select row_number() over () as place, image_of(x.*, tg_relid, coalesce(valued, array['id', 'title', 'tags', 'published_at']::text[]), array[]::text[]) as image, exact_text(x.*) as exact, coalesce(x.*) as source
      from threadline_new x
    ) n on n.place = o.place
    cross join lateral describe_update(
      o.image, n.image, o.exact, n.exact, o.source, n.source, '{"key":[{"name":"id","attnum":1,"text":"text"}],"excluded":[],"masked":[],"columns":["id","title","tags","published_at"],"json":[],"texts":[]}'::jsonb, tg_relid
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
  -- One for all rows: what shares it was done by one statement.
  instant timestamptz;
  was jsonb;
  valued text[];
  several boolean;
  guard boolean;
  stale boolean;
begin
  if tg_table_name <> 'posts' or tg_table_schema <> 'public' then
    select * into of_schema, of_table, of_partition
    from capture_relation(tg_relid, 'public', 'posts');
    if (of_table <> 'posts' or of_schema <> 'public') and of_partition is not null
      and seen_by_root(tg_relid, 'public', 'posts', 'delete')
    then
      return null;
    end if;
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

  if several then
    select h.guard, h.stale into guard, stale
    from capture_hints(tg_relid, array['id', 'title', 'tags', 'published_at']::text[], array[]::text[]) h;
  end if;
  if not guard and not stale and "unaltered_posts_a109cce5d9"(tg_relid) then
    first_id := nextval('audit_changes_id_seq');
    instant := clock_timestamp();
    insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after)
    select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'public'), coalesce(of_table, 'posts'), of_partition,
      'delete', jsonb_object(array['id', r.key_1]), case when octet_length(r.key_1) <= 512 then r.key_1 else bounded_key(r.key_1) end, null, null,
      r.image, null
    from (
      select i.image, i.image ->> 'id' as key_1
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

  if not "unaltered_posts_a109cce5d9"(tg_relid) then
    perform note_altered(tg_relid);
    valued := valued_columns(tg_relid, array['id', 'title', 'tags', 'published_at']::text[]);
  end if;
  first_id := nextval('audit_changes_id_seq');
  instant := clock_timestamp();
  insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after)
  select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'public'), coalesce(of_table, 'posts'), of_partition,
    'delete', k.row_pk, k.row_key, null, null, redact(r.image, '{"key":[{"name":"id","attnum":1,"text":"text"}],"excluded":[],"masked":[],"columns":["id","title","tags","published_at"],"json":[],"texts":[]}'::jsonb, tg_relid), null
  from (select image_of(x.*, tg_relid, coalesce(valued, array['id', 'title', 'tags', 'published_at']::text[]), array[]::text[]) as image from threadline_old x) r
  cross join lateral image_key(r.image, '{"key":[{"name":"id","attnum":1,"text":"text"}],"excluded":[],"masked":[],"columns":["id","title","tags","published_at"],"json":[],"texts":[]}'::jsonb -> 'key', tg_relid) k;
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
referencing new table as threadline_new
for each statement
execute function "threadline"."capture_insert_posts_a109cce5d9"();

create or replace trigger "0_threadline_update" after update on "public"."posts"
referencing old table as threadline_old new table as threadline_new
for each statement
execute function "threadline"."capture_update_posts_a109cce5d9"();

create or replace trigger "0_threadline_delete" after delete on "public"."posts"
referencing old table as threadline_old
for each statement
execute function "threadline"."capture_delete_posts_a109cce5d9"();

create or replace trigger "0_threadline_truncate" before truncate on "public"."posts"
for each statement
execute function "threadline"."capture_truncate_posts_a109cce5d9"();
