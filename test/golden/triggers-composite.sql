create or replace function "threadline"."capture_insert_invoices_33984f2d09"() returns trigger
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
  policy jsonb;
  valued text[];
  several boolean;
  guard boolean;
  stale boolean;
begin
  if tg_table_name <> 'invoices' or tg_table_schema <> 'billing' then
    select * into of_schema, of_table, of_partition
    from capture_relation(tg_relid, 'billing', 'invoices');
    if (of_table <> 'invoices' or of_schema <> 'billing') and of_partition is not null
      and seen_by_root(tg_relid, 'billing', 'invoices', 'insert')
    then
      return null;
    end if;
  end if;


  policy := case when (pg_identify_object_as_address('pg_class'::regclass, coalesce(pg_partition_root(tg_relid), tg_relid), 4)).object_names[3] = 'iban' and (pg_identify_object_as_address('pg_class'::regclass, coalesce(pg_partition_root(tg_relid), tg_relid), 5)).object_names[3] = 'notes' then '{"key":[{"name":"tenant","attnum":1,"text":"citext"},{"name":"number","attnum":2,"text":"numeric"}],"excluded":["notes"],"masked":["iban"],"columns":["tenant","number","lines","iban","notes"],"json":["lines"],"texts":[]}'::jsonb else current_policy('{"key":[{"name":"tenant","attnum":1,"text":"citext"},{"name":"number","attnum":2,"text":"numeric"}],"excluded":["notes"],"masked":["iban"],"columns":["tenant","number","lines","iban","notes"],"json":["lines"],"texts":[]}'::jsonb, tg_relid) end;
  if not "unaltered_invoices_33984f2d09"(tg_relid) then
    perform note_altered(tg_relid);
    valued := valued_columns(tg_relid, array['tenant', 'number', 'lines', 'iban', 'notes']::text[]);
  end if;
  first_id := nextval('audit_changes_id_seq');
  instant := clock_timestamp();
  insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after)
  select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'billing'), coalesce(of_table, 'invoices'), of_partition,
    'insert', k.row_pk, k.row_key, null, null, null, redact(r.image, policy, tg_relid)
  from (select image_of(x.*, tg_relid, coalesce(valued, array['tenant', 'number', 'lines', 'iban', 'notes']::text[]), array[]::text[]) as image from threadline_new x) r
  cross join lateral image_key(r.image, policy -> 'key', tg_relid) k;
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

select "threadline"."guard_function"('"threadline"."capture_insert_invoices_33984f2d09"()');

create or replace function "threadline"."capture_update_invoices_33984f2d09"() returns trigger
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
  details jsonb;
  policy jsonb;
  valued text[];
  several boolean;
  guard boolean;
  stale boolean;
begin
  if tg_table_name <> 'invoices' or tg_table_schema <> 'billing' then
    select * into of_schema, of_table, of_partition
    from capture_relation(tg_relid, 'billing', 'invoices');
    if (of_table <> 'invoices' or of_schema <> 'billing') and of_partition is not null
      and seen_by_root(tg_relid, 'billing', 'invoices', 'update')
    then
      return null;
    end if;
  end if;


  policy := case when (pg_identify_object_as_address('pg_class'::regclass, coalesce(pg_partition_root(tg_relid), tg_relid), 4)).object_names[3] = 'iban' and (pg_identify_object_as_address('pg_class'::regclass, coalesce(pg_partition_root(tg_relid), tg_relid), 5)).object_names[3] = 'notes' then '{"key":[{"name":"tenant","attnum":1,"text":"citext"},{"name":"number","attnum":2,"text":"numeric"}],"excluded":["notes"],"masked":["iban"],"columns":["tenant","number","lines","iban","notes"],"json":["lines"],"texts":[]}'::jsonb else current_policy('{"key":[{"name":"tenant","attnum":1,"text":"citext"},{"name":"number","attnum":2,"text":"numeric"}],"excluded":["notes"],"masked":["iban"],"columns":["tenant","number","lines","iban","notes"],"json":["lines"],"texts":[]}'::jsonb, tg_relid) end;
  if not "unaltered_invoices_33984f2d09"(tg_relid) then
    perform note_altered(tg_relid);
    valued := valued_columns(tg_relid, array['tenant', 'number', 'lines', 'iban', 'notes']::text[]);
  end if;
  first_id := nextval('audit_changes_id_seq');
  instant := clock_timestamp();
  insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after, details)
  select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'billing'), coalesce(of_table, 'invoices'), of_partition,
    'update', p.row_pk, p.row_key, p.previous_row_key, p.changed_fields, p.changed_from, p.data_after, p.details
  from (
    select c.*
    from (
      select row_number() over () as place, image_of(x.*, tg_relid, coalesce(valued, array['tenant', 'number', 'lines', 'iban', 'notes']::text[]), array[]::text[]) as image, exact_text(x.*) as exact, coalesce(x.*) as source
      from threadline_old x
    ) o
    full join (
      select row_number() over () as place, image_of(x.*, tg_relid, coalesce(valued, array['tenant', 'number', 'lines', 'iban', 'notes']::text[]), array[]::text[]) as image, exact_text(x.*) as exact, coalesce(x.*) as source
      from threadline_new x
    ) n on n.place = o.place
    cross join lateral describe_update(
      o.image, n.image, o.exact, n.exact, o.source, n.source, policy, tg_relid
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

select "threadline"."guard_function"('"threadline"."capture_update_invoices_33984f2d09"()');

create or replace function "threadline"."capture_delete_invoices_33984f2d09"() returns trigger
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
  policy jsonb;
  valued text[];
  several boolean;
  guard boolean;
  stale boolean;
begin
  if tg_table_name <> 'invoices' or tg_table_schema <> 'billing' then
    select * into of_schema, of_table, of_partition
    from capture_relation(tg_relid, 'billing', 'invoices');
    if (of_table <> 'invoices' or of_schema <> 'billing') and of_partition is not null
      and seen_by_root(tg_relid, 'billing', 'invoices', 'delete')
    then
      return null;
    end if;
  end if;


  policy := case when (pg_identify_object_as_address('pg_class'::regclass, coalesce(pg_partition_root(tg_relid), tg_relid), 4)).object_names[3] = 'iban' and (pg_identify_object_as_address('pg_class'::regclass, coalesce(pg_partition_root(tg_relid), tg_relid), 5)).object_names[3] = 'notes' then '{"key":[{"name":"tenant","attnum":1,"text":"citext"},{"name":"number","attnum":2,"text":"numeric"}],"excluded":["notes"],"masked":["iban"],"columns":["tenant","number","lines","iban","notes"],"json":["lines"],"texts":[]}'::jsonb else current_policy('{"key":[{"name":"tenant","attnum":1,"text":"citext"},{"name":"number","attnum":2,"text":"numeric"}],"excluded":["notes"],"masked":["iban"],"columns":["tenant","number","lines","iban","notes"],"json":["lines"],"texts":[]}'::jsonb, tg_relid) end;
  if not "unaltered_invoices_33984f2d09"(tg_relid) then
    perform note_altered(tg_relid);
    valued := valued_columns(tg_relid, array['tenant', 'number', 'lines', 'iban', 'notes']::text[]);
  end if;
  first_id := nextval('audit_changes_id_seq');
  instant := clock_timestamp();
  insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after)
  select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'billing'), coalesce(of_table, 'invoices'), of_partition,
    'delete', k.row_pk, k.row_key, null, null, redact(r.image, policy, tg_relid), null
  from (select image_of(x.*, tg_relid, coalesce(valued, array['tenant', 'number', 'lines', 'iban', 'notes']::text[]), array[]::text[]) as image from threadline_old x) r
  cross join lateral image_key(r.image, policy -> 'key', tg_relid) k;
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

select "threadline"."guard_function"('"threadline"."capture_delete_invoices_33984f2d09"()');

create or replace function "threadline"."capture_truncate_invoices_33984f2d09"() returns trigger
language plpgsql security definer
set search_path = "threadline", pg_temp
set jit = off
as $threadline$
begin
  perform capture_truncate(
    tg_relid, 'billing', 'invoices', 'rows', '{"key":[{"name":"tenant","attnum":1,"text":"citext"},{"name":"number","attnum":2,"text":"numeric"}],"excluded":["notes"],"masked":["iban"],"columns":["tenant","number","lines","iban","notes"],"json":["lines"],"texts":[]}'::jsonb
  );
  return null;
end
$threadline$;

select "threadline"."guard_function"('"threadline"."capture_truncate_invoices_33984f2d09"()');

create or replace trigger "0_threadline_insert" after insert on "billing"."invoices"
referencing new table as threadline_new
for each statement
execute function "threadline"."capture_insert_invoices_33984f2d09"();

create or replace trigger "0_threadline_update" after update on "billing"."invoices"
referencing old table as threadline_old new table as threadline_new
for each statement
execute function "threadline"."capture_update_invoices_33984f2d09"();

create or replace trigger "0_threadline_delete" after delete on "billing"."invoices"
referencing old table as threadline_old
for each statement
execute function "threadline"."capture_delete_invoices_33984f2d09"();

create or replace trigger "0_threadline_truncate" before truncate on "billing"."invoices"
for each statement
execute function "threadline"."capture_truncate_invoices_33984f2d09"();
