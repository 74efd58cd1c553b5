create or replace function "threadline"."capture_insert_measures_2b1f219d27"() returns trigger
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
  if tg_table_name <> 'measures' or tg_table_schema <> 'public' then
    select * into of_schema, of_table, of_partition
    from capture_relation(tg_relid, 'public', 'measures');
    if (of_table <> 'measures' or of_schema <> 'public') and of_partition is not null
      and seen_by_root(tg_relid, 'public', 'measures', 'insert')
    then
      return null;
    end if;
  end if;


  if not "unaltered_measures_2b1f219d27"(tg_relid) then
    perform note_altered(tg_relid);
    valued := valued_columns(tg_relid, array['id', 'value', 'labels']::text[]);
  end if;
  first_id := nextval('audit_changes_id_seq');
  instant := clock_timestamp();
  insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after)
  select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'public'), coalesce(of_table, 'measures'), of_partition,
    'insert', k.row_pk, k.row_key, null, null, null, redact(r.image, '{"key":[{"name":"id","attnum":1,"text":"text"}],"excluded":[],"masked":[],"columns":["id","value","labels"],"json":[],"texts":["labels"]}'::jsonb, tg_relid)
  from (select image_of(x.*, tg_relid, coalesce(valued, array['id', 'value', 'labels']::text[]), array['labels']::text[]) as image from threadline_new x) r
  cross join lateral image_key(r.image, '{"key":[{"name":"id","attnum":1,"text":"text"}],"excluded":[],"masked":[],"columns":["id","value","labels"],"json":[],"texts":["labels"]}'::jsonb -> 'key', tg_relid) k;
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

select "threadline"."guard_function"('"threadline"."capture_insert_measures_2b1f219d27"()');

create or replace function "threadline"."capture_update_measures_2b1f219d27"() returns trigger
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
  valued text[];
  several boolean;
  guard boolean;
  stale boolean;
begin
  if tg_table_name <> 'measures' or tg_table_schema <> 'public' then
    select * into of_schema, of_table, of_partition
    from capture_relation(tg_relid, 'public', 'measures');
    if (of_table <> 'measures' or of_schema <> 'public') and of_partition is not null
      and seen_by_root(tg_relid, 'public', 'measures', 'update')
    then
      return null;
    end if;
  end if;


  if not "unaltered_measures_2b1f219d27"(tg_relid) then
    perform note_altered(tg_relid);
    valued := valued_columns(tg_relid, array['id', 'value', 'labels']::text[]);
  end if;
  first_id := nextval('audit_changes_id_seq');
  instant := clock_timestamp();
  insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after, details)
  select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'public'), coalesce(of_table, 'measures'), of_partition,
    'update', p.row_pk, p.row_key, p.previous_row_key, p.changed_fields, p.changed_from, p.data_after, p.details
  from (
    select c.*
    from (
      select row_number() over () as place, image_of(x.*, tg_relid, coalesce(valued, array['id', 'value', 'labels']::text[]), array['labels']::text[]) as image, exact_text(x.*) as exact, coalesce(x.*) as source
      from threadline_old x
    ) o
    full join (
      select row_number() over () as place, image_of(x.*, tg_relid, coalesce(valued, array['id', 'value', 'labels']::text[]), array['labels']::text[]) as image, exact_text(x.*) as exact, coalesce(x.*) as source
      from threadline_new x
    ) n on n.place = o.place
    cross join lateral describe_update(
      o.image, n.image, o.exact, n.exact, o.source, n.source, '{"key":[{"name":"id","attnum":1,"text":"text"}],"excluded":[],"masked":[],"columns":["id","value","labels"],"json":[],"texts":["labels"]}'::jsonb, tg_relid
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

select "threadline"."guard_function"('"threadline"."capture_update_measures_2b1f219d27"()');

create or replace function "threadline"."capture_delete_measures_2b1f219d27"() returns trigger
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
  if tg_table_name <> 'measures' or tg_table_schema <> 'public' then
    select * into of_schema, of_table, of_partition
    from capture_relation(tg_relid, 'public', 'measures');
    if (of_table <> 'measures' or of_schema <> 'public') and of_partition is not null
      and seen_by_root(tg_relid, 'public', 'measures', 'delete')
    then
      return null;
    end if;
  end if;


  if not "unaltered_measures_2b1f219d27"(tg_relid) then
    perform note_altered(tg_relid);
    valued := valued_columns(tg_relid, array['id', 'value', 'labels']::text[]);
  end if;
  first_id := nextval('audit_changes_id_seq');
  instant := clock_timestamp();
  insert into audit_changes (id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, previous_row_key, changed_fields, changed_from, data_after)
  select nextval('audit_changes_id_seq'), (select current_transaction()), instant, coalesce(of_schema, 'public'), coalesce(of_table, 'measures'), of_partition,
    'delete', k.row_pk, k.row_key, null, null, redact(r.image, '{"key":[{"name":"id","attnum":1,"text":"text"}],"excluded":[],"masked":[],"columns":["id","value","labels"],"json":[],"texts":["labels"]}'::jsonb, tg_relid), null
  from (select image_of(x.*, tg_relid, coalesce(valued, array['id', 'value', 'labels']::text[]), array['labels']::text[]) as image from threadline_old x) r
  cross join lateral image_key(r.image, '{"key":[{"name":"id","attnum":1,"text":"text"}],"excluded":[],"masked":[],"columns":["id","value","labels"],"json":[],"texts":["labels"]}'::jsonb -> 'key', tg_relid) k;
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

select "threadline"."guard_function"('"threadline"."capture_delete_measures_2b1f219d27"()');

create or replace function "threadline"."capture_truncate_measures_2b1f219d27"() returns trigger
language plpgsql security definer
set search_path = "threadline", pg_temp
set jit = off
as $threadline$
begin
  perform capture_truncate(
    tg_relid, 'public', 'measures', 'event', '{"key":[{"name":"id","attnum":1,"text":"text"}],"excluded":[],"masked":[],"columns":["id","value","labels"],"json":[],"texts":["labels"]}'::jsonb
  );
  return null;
end
$threadline$;

select "threadline"."guard_function"('"threadline"."capture_truncate_measures_2b1f219d27"()');

create or replace trigger "0_threadline_insert" after insert on "public"."measures"
referencing new table as threadline_new
for each statement
execute function "threadline"."capture_insert_measures_2b1f219d27"();

create or replace trigger "0_threadline_update" after update on "public"."measures"
referencing old table as threadline_old new table as threadline_new
for each statement
execute function "threadline"."capture_update_measures_2b1f219d27"();

create or replace trigger "0_threadline_delete" after delete on "public"."measures"
referencing old table as threadline_old
for each statement
execute function "threadline"."capture_delete_measures_2b1f219d27"();

create or replace trigger "0_threadline_truncate" before truncate on "public"."measures"
for each statement
execute function "threadline"."capture_truncate_measures_2b1f219d27"();
