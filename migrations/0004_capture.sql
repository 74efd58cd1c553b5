-- What capture needs besides the images of a statement's rows: which table a firing belongs to, TRUNCATE, and marks on request.

-- Which database this is. Inside one database an OID names one table forever. A restore into another database numbers everything
-- anew. Null if the cluster does not show its identifier. Then only names and triggers tell.
create function this_database() returns text
language plpgsql stable
set search_path from current
as $$
begin
  return (
    select s.system_identifier || '/' || d.oid
    from pg_control_system() s
    cross join pg_database d
    where d.datname = current_database()
  );
exception when insufficient_privilege then
  return null;
end
$$;

-- The ending of the names of a table's generated functions.
create function function_suffix(table_schema text, table_name text) returns text
language sql immutable
set search_path from current
return '_' || left(
  encode(sha256(convert_to(table_schema, 'UTF8') || E'\\x00'::bytea || convert_to(table_name, 'UTF8')), 'hex'), 10);

-- Whether the owner of the record has put a trigger of Threadline on a table. Making a trigger requires the right to execute its
-- function. Of functions that another role may execute, a trigger proves nothing. Each captured table has one that does: the
-- trigger of TRUNCATE.
create function made_by_owner(relation oid) returns boolean
language sql stable
set search_path from current
return exists (
  select
  from pg_trigger t
  join pg_proc f on f.oid = t.tgfoid
  where t.tgrelid = made_by_owner.relation
    and f.pronamespace = (select n.oid from pg_namespace n where n.nspname = current_schema())
    and f.proacl is not null
    and not exists (
      select from aclexplode(f.proacl) a where a.grantee <> f.proowner and a.privilege_type = 'EXECUTE')
);

-- Which table a firing belongs to, if it is not the one the function was generated for: a partition of it (recorded under the
-- root's name), or a table under another name than it had, because it was renamed, exchanged, restored, cloned or detached
-- since. It is recorded under the name it has now: a write never fails because the schema around it has changed. Refused is
-- only what a role may have put together to forge a record: temporary tables, and triggers that others could make. If the
-- function is "open" to every role, the name of the table is no proof: the trigger may be on another table that got it.
create function capture_relation(
  relation oid, root_schema text, root_name text, open boolean default false,
  out table_schema text, out table_name text, out partition_name text
)
language plpgsql volatile
set search_path from current
set quote_all_identifiers = off
as $$
declare
  root oid := coalesce(pg_partition_root(relation), relation);
  temporary boolean;
  touched xid;
  latest record;
  known_since timestamptz;
  named boolean;
begin
  select n.nspname, c.relname, c.relpersistence = 't', c.xmin into table_schema, table_name, temporary, touched
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.oid = root;
  named := table_schema = root_schema and table_name = root_name;
  if open or not named then
    -- A partition that was made after "apply" has only the triggers that were cloned from its root.
    if temporary or not (made_by_owner(root) or (relation <> root and made_by_owner(relation))) then
      if not exists (
        select from capture_policies p
        where p.removed_at is null
          and (
            (p.relation = root and p.database = this_database())
            or (p.table_schema = root_schema and p.table_name = root_name and (
              p.relation = root
              -- After a restore, OIDs mean nothing.
              or (named and p.database is distinct from this_database())
              or (not open and quote_ident(capture_relation.table_schema) || '.' || quote_ident(capture_relation.table_name)
                = any (p.partitions))
            ))
          )
      ) then
        raise exception 'threadline: this capture function was not generated for %.%', table_schema, table_name
          using errcode = 'insufficient_privilege',
            hint = format('It was generated for %I.%I. Drop the trigger, or run "threadline capture apply".', root_schema, root_name);
      end if;
    end if;
  end if;
  if not named then
    -- The table has another name than its policy, or the name of another captured table. From now on, changes under this name
    -- belong to this table.
    select max(p.applied_at) into known_since
    from capture_policies p
    where p.removed_at is null
      and (
        (p.table_schema = capture_relation.table_schema and p.table_name = capture_relation.table_name)
        or (p.relation = root and p.database = this_database())
      )
    having not coalesce(bool_or(
      p.table_schema = capture_relation.table_schema and p.table_name = capture_relation.table_name
        and p.relation = root and p.database = this_database()
    ), false);
    if known_since is not null then
      select s.* into latest
      from capture_sightings s
      where s.relation = root and s.seen_at > known_since
      order by s.seen_at desc
      limit 1;
      if latest is null
        or latest.table_name <> table_name
        or latest.table_schema <> table_schema
        or latest.named_by is distinct from touched
      then
        insert into capture_sightings (table_schema, table_name, relation, database, named_by)
        values (capture_relation.table_schema, capture_relation.table_name, root, this_database(), touched);
      end if;
    end if;
  end if;
  if root <> relation then
    select case when n.nspname = capture_relation.table_schema then c.relname
      else quote_ident(n.nspname) || '.' || quote_ident(c.relname) end
    into partition_name
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.oid = relation;
  end if;
end
$$;

-- Whether a row trigger of a partition's root sees the rows of the partition for the same purpose as a function that was generated
-- for another table: one that the partition was, or was in, before it was attached.
create function seen_by_root(relation oid, table_schema text, table_name text, purpose text) returns boolean
language sql stable
set search_path from current
return (
  select coalesce(bool_and(right(f.proname, 11) <> function_suffix(seen_by_root.table_schema, seen_by_root.table_name)), false)
  from pg_trigger t
  join pg_proc f on f.oid = t.tgfoid
  where t.tgrelid = pg_partition_root(seen_by_root.relation)
    and f.pronamespace = (select n.oid from pg_namespace n where n.nspname = current_schema())
    and starts_with(f.proname, 'open_' || purpose || '_')
);

-- Rows that move between partitions. "threadline.updating" holds the statements under way that may be a MERGE, each as
-- " <depth>:<relation>:<id>,": what is recorded of it has greater ids. "threadline.moved" is not empty if rows moved in one;
-- after its end it is that id. Both only spare work: what a row trigger recorded is forgotten only if the transition tables of a
-- statement hold the very rows.

-- Removes the statement of a relation from the running ones. True if rows have moved. If there are several at one depth, the
-- last one is removed. The others never ended.
create function update_ends(relation oid) returns boolean
language plpgsql
set search_path from current
as $$
declare
  under_way text := coalesce(current_setting('threadline.updating', true), '');
  word text := concat(' ', pg_trigger_depth(), ':', relation, ':');
  rest text := split_part(under_way, word, -1);
  id text;
  moved boolean := coalesce(current_setting('threadline.moved', true), '') <> '';
begin
  -- A partition without partitions has no statement under way.
  if rest <> under_way then
    id := split_part(rest, ',', 1);
    rest := set_config('threadline.updating',
      left(under_way, length(under_way) - length(word) - length(rest)) || substr(rest, length(id) + 2), true);
    if moved then
      perform set_config('threadline.moved', id, true);
    end if;
  end if;
  return moved;
end
$$;

create function moves_end() returns void
language plpgsql
set search_path from current
as $$
begin
  if coalesce(current_setting('threadline.updating', true), '') = '' then
    perform set_config('threadline.moved', '', true);
  end if;
end
$$;

-- Removes what row triggers recorded of a statement's rows. The rows are given by the hashes of their images.
create function forget_moved(table_schema text, table_name text, op text, hashes bigint[]) returns void
language plpgsql
set search_path from current
as $$
declare
  word text := current_setting('threadline.moved', true);
  after_id bigint := case
    when word ~ '^[0-9]{1,18}$' then word
    else substring(current_setting('threadline.updating', true) from format(' %s:[0-9]+:([0-9]{1,18}),', pg_trigger_depth()))
  end;
begin
  if hashes = '{}' then
    return;
  end if;
  with moved as (
    select c.id, c.transaction_id, c.captured_at, i.hash, row_number() over (partition by i.hash order by c.id) as nth
    from audit_transactions t
    join audit_changes c on c.transaction_id = t.id
    cross join lateral (
      select jsonb_hash_extended(case c.op when 'insert' then c.data_after else c.changed_from end, 0) as hash
    ) i
    where t.xid = pg_current_xact_id()
      and t.occurred_at >= transaction_timestamp()
      and c.captured_at >= statement_timestamp()
      and c.id > coalesce(after_id, 0)
      and c.table_schema = forget_moved.table_schema
      and c.table_name = forget_moved.table_name
      and c.op = forget_moved.op
      and c.details ? 'moved'
  ),
  seen as (
    select s.hash, count(*) as times from unnest(hashes) s (hash) group by s.hash
  )
  delete from audit_changes c
  using moved m
  join seen s on s.hash = m.hash
  where m.nth <= s.times
    and c.id = m.id
    and c.transaction_id = m.transaction_id
    and c.captured_at = m.captured_at;
end
$$;

-- Removes what row triggers of a captured table that was attached recorded of rows that a statement of its root records itself.
-- The rows are given by their keys before and after. The last change at a key is that of this statement. Rows that a MERGE moves are
-- in no transition table: the attached table and the root have recorded each, one after the other.
create function forget_attached(
  relation oid, table_schema text, table_name text, op text, keys_before text[], keys_after text[]
) returns void
language plpgsql
set search_path from current
set quote_all_identifiers = off
as $$
begin
  with attached as (
    select case when n.nspname = forget_attached.table_schema then c.relname
      else quote_ident(n.nspname) || '.' || quote_ident(c.relname) end as label
    from pg_partition_tree(forget_attached.relation) p
    join pg_class c on c.oid = p.relid and c.relkind = 'r'
    join pg_namespace n on n.oid = c.relnamespace
    where exists (
      select
      from pg_trigger t
      join pg_proc f on f.oid = t.tgfoid
      where t.tgrelid = c.oid
        and t.tgtype & 1 = 1
        and f.pronamespace = (select s.oid from pg_namespace s where s.nspname = current_schema())
        and f.proname ~ '^(open|capture)_(insert|update|delete)_'
    )
  ),
  written as (
    select c.id, c.transaction_id, c.captured_at, c.op, c.row_key, coalesce(c.details ? 'moved', false) as moved,
      row_number() over (partition by c.row_key, coalesce(c.details ? 'moved', false) order by c.id desc) as nth,
      lag(c.op) over sequence = c.op and lag(c.details ? 'moved') over sequence
        or lead(c.op) over sequence = c.op and lead(c.details ? 'moved') over sequence as twin
    from audit_transactions t
    join audit_changes c on c.transaction_id = t.id
    where t.xid = pg_current_xact_id()
      and t.occurred_at >= transaction_timestamp()
      and c.captured_at >= statement_timestamp()
      and c.table_schema = forget_attached.table_schema
      and c.table_name = forget_attached.table_name
      and c.partition_name in (select a.label from attached a)
    window sequence as (partition by c.row_key order by c.id)
  ),
  seen as (
    select s.key, s.op, count(*) as times
    from (
      select k.key, o.op
      from unnest(keys_after) k (key)
      join (values ('insert'), ('update')) o (op) on forget_attached.op in (o.op, 'update')
      union all
      select k.key, 'delete' from unnest(keys_before) k (key)
    ) s
    group by s.key, s.op
  )
  delete from audit_changes c
  using written w
  left join seen s on s.key = w.row_key and s.op = w.op
  where not w.moved
    and (w.nth <= s.times or w.twin)
    and c.id = w.id
    and c.transaction_id = w.transaction_id
    and c.captured_at = w.captured_at;
end
$$;

-- Gives the rows that entered a partition in a statement the ids after its other changes: a row may have entered with the key
-- that another one had before it.
create function entered_last(table_schema text, table_name text) returns void
language plpgsql
set search_path from current
as $$
declare
  word text := current_setting('threadline.moved', true);
  instant timestamptz := clock_timestamp();
begin
  if word !~ '^[0-9]{1,18}$' then
    return;
  end if;
  with ordered as (
    select e.*, nextval('audit_changes_id_seq') as new_id
    from (
      select c.id, c.transaction_id, c.captured_at
      from audit_transactions t
      join audit_changes c on c.transaction_id = t.id
      where t.xid = pg_current_xact_id()
        and t.occurred_at >= transaction_timestamp()
        and c.captured_at >= statement_timestamp()
        and c.id > word::bigint
        and c.table_schema = entered_last.table_schema
        and c.table_name = entered_last.table_name
        and c.op = 'insert'
        and c.details ? 'moved'
      order by c.id
    ) e
  )
  update audit_changes c
  set id = o.new_id, captured_at = instant
  from ordered o
  where c.id = o.id
    and c.transaction_id = o.transaction_id
    and c.captured_at = o.captured_at;
end
$$;

-- What the rows that a relation itself holds are read from. Rows of tables that inherit from it are others'. Virtual generated
-- columns are not computed: they may show what is redacted, and they may raise.
create function row_source(relation oid, condition text default '') returns text
language sql stable
set search_path from current
begin atomic
  select case
    when virtual_columns(c.oid) = '{}' and condition = '' then whole.source
    else format('(select %s from %s)', (
      select string_agg(quote_ident(a.attname), ', ' order by a.attnum)
      from pg_attribute a
      where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attname <> all (virtual_columns(c.oid))
    ), whole.source)
  end
  from pg_class c
  cross join lateral (
    select case when c.relkind = 'p' then '' else 'only ' end || c.oid::regclass || condition as source
  ) whole
  where c.oid = relation;
end;

-- TRUNCATE, seen before it happens. A root truncates its partitions with it: theirs is not recorded again. That
-- is so where the last thing this transaction recorded of the table is the truncation of one that the partition
-- belongs to; a setting could be made by hand to hide a truncation. A partition that is truncated alone concerns
-- only the rows it holds, so their images are kept. TRUNCATE also removes rows that an older snapshot does not see: then no
-- count is exact, and the truncation is recorded as such besides the rows that are seen.
create function capture_truncate(
  relation oid, root_schema text, root_name text, on_truncate text, policy jsonb
) returns void
language plpgsql
set search_path from current
set timezone = 'UTC'
set datestyle = 'ISO, YMD'
set intervalstyle = 'postgres'
set bytea_output = 'hex'
set extra_float_digits = 1
set lc_monetary = 'C'
set quote_all_identifiers = off
as $$
declare
  target record;
  last record;
  old_snapshot boolean := current_setting('transaction_isolation') in ('repeatable read', 'serializable');
  readable boolean := has_table_privilege(relation, 'select') and not row_security_active(relation);
  counted bigint;
  counted_exactly boolean := false;
  unread boolean := false;
  bound constant int := 10000;
begin
  select * into target from capture_relation(relation, root_schema, root_name);
  perform note_altered(relation);
  if target.partition_name is not null then
    select c.op, c.partition_name into last
    from audit_changes c
    where c.table_schema = target.table_schema
      and c.table_name = target.table_name
      and c.captured_at >= least(transaction_timestamp(), statement_timestamp())
      and c.transaction_id in (
        select t.id from audit_transactions t
        where t.xid = pg_current_xact_id_if_assigned() and t.occurred_at >= transaction_timestamp()
      )
    order by c.id desc
    limit 1;
    if last.op = 'truncate' and exists (
      select
      from pg_partition_ancestors(relation) a (relid)
      cross join lateral capture_relation(a.relid, root_schema, root_name) r
      where a.relid <> relation and r.partition_name is not distinct from last.partition_name
    ) then
      return;
    end if;
  end if;

  if on_truncate = 'refuse' then
    raise exception 'threadline: TRUNCATE of % is refused by its capture policy', relation::regclass
      using errcode = 'insufficient_privilege', hint = 'Use DELETE, or change the policy''s "truncate".';
  end if;
  if on_truncate = 'rows' and not readable then
    raise exception 'threadline: TRUNCATE of % cannot keep the rows it removes: % may not read them all',
      relation::regclass, current_user
      using errcode = 'insufficient_privilege',
        hint = 'Run "threadline capture apply", or use DELETE.';
  end if;
  begin
    if not readable then
      unread := target.partition_name is not null;
    elsif on_truncate = 'rows' or target.partition_name is not null then
      policy := current_policy(policy, relation);
      execute format(
        'insert into audit_changes (
           transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key, changed_from
         )
         select (select current_transaction()), (select clock_timestamp()), $1, $2, $3, ''truncate'', k.row_pk, k.row_key,
           redact(r.image, $4, $5)
         from (select image_of(x.*, $5, $6, $7) as image from %s x) r
         cross join lateral image_key(r.image, $4 -> ''key'', $5) k', row_source(relation))
      using target.table_schema, target.table_name, target.partition_name, policy, relation,
        array(select jsonb_array_elements_text(policy -> 'columns')), array(select jsonb_array_elements_text(policy -> 'texts'));
      get diagnostics counted = row_count;
      if counted > 0 and not old_snapshot then
        return;
      end if;
      counted_exactly := not old_snapshot;
    else
      execute format('select count(*) from (select from %s limit %s) x', row_source(relation), bound + 1) into counted;
      counted_exactly := counted <= bound and not old_snapshot;
    end if;
  exception when others then
    -- Another server may not show its rows to the owner of the record.
    if on_truncate = 'rows' or not exists (
      select
      from pg_class c
      where c.relkind = 'f' and (c.oid = relation or c.oid in (select p.relid from pg_partition_tree(relation) p))
    ) then
      raise;
    end if;
    readable := false;
    unread := target.partition_name is not null;
  end;
  if not counted_exactly and coalesce(counted, bound + 1) > bound then
    select sum(greatest(c.reltuples, 0))::bigint into counted
    from pg_partition_tree(relation) p
    join pg_class c on c.oid = p.relid and c.relkind <> 'p';
    if counted is null then
      select greatest(reltuples, 0)::bigint into counted from pg_class where oid = relation;
    end if;
    counted := greatest(counted, case when readable then bound + 1 else 0 end);
  end if;
  insert into audit_changes (
    transaction_id, captured_at, table_schema, table_name, partition_name, op, details
  ) values (
    current_transaction(), clock_timestamp(), target.table_schema, target.table_name, target.partition_name, 'truncate',
    jsonb_build_object('rowCount', counted, 'estimated', not counted_exactly)
      -- With these, reads find the rows that the table may have held unseen.
      || case when unread then '{"unread": true}'
        when old_snapshot and target.partition_name is not null
        then jsonb_build_object('snapshot', pg_current_snapshot()) else '{}' end
  );
end
$$;

-- Baseline or delete marks for the rows a relation holds now, on an operator's request: rows that came with
-- an attached partition, rows that left with a detached one, rows that were there before capture began. Of a relation that is
-- written to meanwhile, only those at "places", which the caller has locked, and of these only rows that the record does not know
-- since "known_from". Without places, the caller keeps writers off the relation.
create function mark_rows(
  relation regclass, root_schema text, root_name text, op text, places tid[] default null, known_from timestamptz default null
) returns bigint
language plpgsql
set search_path from current
set timezone = 'UTC'
set datestyle = 'ISO, YMD'
set intervalstyle = 'postgres'
set bytea_output = 'hex'
set extra_float_digits = 1
set lc_monetary = 'C'
set quote_all_identifiers = off
as $$
declare
  policy jsonb;
  marked bigint;
begin
  if op not in ('baseline', 'delete') then
    raise exception 'threadline: rows are marked as baseline or delete, not %', quote_literal(op)
      using errcode = 'invalid_parameter_value';
  end if;
  select policy_document(p) into policy
  from capture_policies p
  where p.table_schema = root_schema and p.table_name = root_name and p.removed_at is null;
  if policy is null then
    raise exception 'threadline: %.% is not audited', root_schema, root_name using errcode = 'TL002';
  end if;
  if row_security_active(relation) then
    raise exception 'threadline: the rows of % cannot be marked, row-level security may hide some of them from %',
      relation, quote_ident(current_user)
      using errcode = 'insufficient_privilege',
        hint = format('Let it bypass row-level security for as long as this takes: alter role %I bypassrls.', current_user);
  end if;
  policy := current_policy(policy, relation);
  execute format(
    'insert into audit_changes (
       transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key,
       changed_from, data_after, details
     )
     select (select current_transaction()), (select clock_timestamp()), $1, $2, null, $3, k.row_pk, k.row_key,
       case when $3 = ''delete'' then redact(r.image, $4, $5) end,
       case when $3 = ''baseline'' then redact(r.image, $4, $5) end,
       jsonb_build_object(''marked'', true)
     from (select image_of(x.*, $5, $6, $7) as image from %s x) r
     cross join lateral image_key(r.image, $4 -> ''key'', $5) k
     where $9 is null or not exists (
       select
       from audit_changes c
       where c.row_key = k.row_key
         and c.table_name = $2
         and c.table_schema = $1
         and c.captured_at >= $9
     )', row_source(relation, case when places is null then '' else ' where ctid = any ($8)' end))
  using root_schema, root_name, op, policy, relation::oid,
    array(select jsonb_array_elements_text(policy -> 'columns')), array(select jsonb_array_elements_text(policy -> 'texts')),
    places, known_from;
  get diagnostics marked = row_count;
  return marked;
end
$$;

revoke all on function
  row_source(oid, text), update_ends(oid), moves_end(), forget_moved(text, text, text, bigint[]), entered_last(text, text),
  capture_relation(oid, text, text, boolean), seen_by_root(oid, text, text, text), forget_attached(oid, text, text, text, text[], text[]),
  capture_truncate(oid, text, text, text, jsonb), mark_rows(regclass, text, text, text, tid[], timestamptz),
  this_database(), function_suffix(text, text), made_by_owner(oid)
from public;
