-- A history of eleven to twelve months as a business has it, of any size: :transactions transactions and five changes for each of them on
-- average. It is the same each time but for the end of the calendar it hangs on. "history" is a schema that goes when it is done.

-- step: host tables
create table order_events (id bigint primary key, customer_id bigint, status text, amount numeric, currency text,
  priority int, note text, attributes jsonb, created_at timestamptz, updated_at timestamptz);
create table orders (like order_events including all);
create table order_items (like order_events including all);
create table inventory (like order_events including all);
create table customers (like order_events including all);
create table invoices (like order_events including all);
create table payments (like order_events including all);
create table shipments (like order_events including all);
create table messages (like order_events including all);
create table products (like order_events including all);
create table subscriptions (like order_events including all);
create table prices (like order_events including all);
create table suppliers (like order_events including all);
create table warehouses (like order_events including all);
create table settings (like order_events including all);
create table tax_rates (like order_events including all);
create table plans (like order_events including all);
create table sessions (like order_events);
alter table sessions alter id type uuid using null, add primary key (id);
create table coupons (like order_events);
alter table coupons alter id type text, add primary key (id);
create table members (like order_events);
alter table members drop id, add account text, add person bigint, add primary key (account, person);

-- step: shape
create schema history;

-- A number in [0, 1) that looks random and is the same each time.
create function history.u(i bigint, seed bigint) returns double precision
language sql immutable parallel safe
return (hashint8extended(i, seed) & 1073741823)::double precision / 1073741824;

-- "share" is of all changes; the busy actor has his own, and hardly ever comes to a table behind the fourth.
create table history.tables as
select no::int as no, name, key_kind,
  sum(share) over (order by no) / sum(share) over () as others_below,
  sum(busy) over (order by no) / sum(busy) over () as busy_below,
  greatest(10, (:transactions * 5 * total * 0.28)::bigint) as rows
from (
  select row_number() over () as no, name, key_kind, share as total, busy,
    greatest(share - 0.3 * busy, share * 0.7) as share
  from (values
    ('order_events', 'bigint', 0.40009, 0.55), ('orders', 'bigint', 0.20, 0.25), ('order_items', 'bigint', 0.12, 0.12),
    ('inventory', 'bigint', 0.08, 0.079), ('customers', 'bigint', 0.05, 0.0003), ('invoices', 'bigint', 0.04, 0.0003),
    ('payments', 'bigint', 0.03, 0.0002), ('shipments', 'bigint', 0.025, 0.0001), ('messages', 'bigint', 0.02, 0.00005),
    ('sessions', 'uuid', 0.012, 0.00002), ('products', 'bigint', 0.008, 0.00001), ('subscriptions', 'bigint', 0.005, 0.000005),
    ('prices', 'bigint', 0.004, 0.000005), ('members', 'composite', 0.0025, 0.000003), ('coupons', 'moving', 0.0015, 0.000002),
    ('suppliers', 'bigint', 0.001, 0.000001), ('warehouses', 'bigint', 0.0005, 0.000001), ('settings', 'bigint', 0.0003, 0.000001),
    ('tax_rates', 'bigint', 0.0001, 0.000001), ('plans', 'bigint', 0.00001, 0.0000001)
  ) t (name, key_kind, share, busy)
) t;
update history.tables set rows = least(rows, greatest(10, :transactions * 3 / 200)) where name = 'inventory';

create table history.action_names as
select array_agg(name order by no) as names,
  array_agg(below order by no) filter (where no < 63) as thresholds
from (
  select no, name, (sum(weight) over (order by no) / sum(weight) over ())::double precision as below
  from (
    select no, (array['order', 'invoice', 'payment', 'stock', 'customer', 'shipment'])[1 + no % 6] || '.'
      || (array['updated', 'created', 'approved', 'cancelled', 'imported', 'corrected', 'merged', 'closed', 'reopened', 'synced'])[1 + no / 6]
      as name, power(no + 1, -1.6) as weight
    from generate_series(0, 59) no
    union all
    values (60, 'plan.repriced', 0.0001), (61, 'settings.reset', 0.00003), (62, 'ledger.reopened', 0.00001)
  ) n
) n;

create table history.span as
select date_trunc('month', now()) - interval '11 months' as starts,
  extract(epoch from date_trunc('minute', now()) - (date_trunc('month', now()) - interval '11 months')) / 86400 as days;

select threadline.ensure_partitions((select starts from history.span), now());
select threadline.current_epoch();

-- step: actions
-- Most transactions have one, a few have two; some failed and left nothing else behind.
create unlogged table history.actions as
select row_number() over (order by i, part) as id, i as transaction_no, part
from generate_series(1, :transactions::bigint) i
cross join generate_series(0, 2) part
where not history.u(i / 2, 1) between 0.30 and 0.32
  and case part
    when 0 then history.u(i, 5) < 0.87
    when 1 then history.u(i, 5) < 0.03
    else history.u(i, 6) < 0.005
  end;
analyze history.actions;

-- step: transactions
-- Work follows the hours of the day. Two transactions in a row belong to one request.
insert into threadline.audit_transactions (
  id, xid, epoch, occurred_at, actor_type, actor_id, actor, correlation_id, request_id, job_id, trace_id, source, remote_ip,
  meta, action_id, db_user, application_name, client_addr, backend_pid
)
select
  i, (1000 + i * 3)::text::xid8, 1,
  starts + (d - 0.8 * sin(2 * pi() * d) / (2 * pi())) * interval '1 day',
  actor_type, actor_id,
  case
    when actor_type = 'anonymous' then jsonb_build_object('type', 'anonymous')
    when actor_type = 'admin' and history.u(request, 9) < 0.2
      then jsonb_build_object('type', 'admin', 'id', actor_id, 'label', 'Admin ' || actor_id,
        'impersonator', jsonb_build_object('type', 'admin', 'id', 'admin-1'))
    when actor_type = 'user' then jsonb_build_object('type', 'user', 'id', actor_id, 'label', 'User ' || actor_id)
    when actor_type is not null then jsonb_build_object('type', actor_type, 'id', actor_id)
  end,
  correlation,
  case when actor_type in ('user', 'admin', 'anonymous') then 'req-' || md5(request::text) end,
  case when actor_type = 'job' then 'run-' || request / 50 end,
  case when actor_type is not null and history.u(request, 10) < 0.6 then md5('trace' || request) end,
  case actor_type
    when 'user' then (array['web', 'api', 'mobile'])[1 + floor(3 * power(history.u(request, 11), 2))::int]
    when 'anonymous' then 'web'
    when 'admin' then 'admin'
    when 'job' then 'worker'
    when 'service_account' then 'api'
    when 'system' then 'system'
  end,
  case when actor_type in ('user', 'admin', 'anonymous')
    then ('10.' || request % 200 || '.' || request % 251 || '.7')::inet end,
  case
    when actor_type is null then '{}'
    else jsonb_build_object('tenant', 't' || floor(2000 * power(history.u(request, 12), 2)),
        'region', (array['eu', 'us', 'ap'])[1 + request % 3])
      || case when history.u(i, 13) < 0.05 then '{"beta": true}' else '{}' end::jsonb
      || case when history.u(i, 14) < 0.0001 then jsonb_build_object('ticket', 'T-' || i) else '{}' end
  end,
  action_id,
  case when actor_type is null then 'ops' else 'app' end,
  case when actor_type is null then 'psql' else 'app-server' end,
  '10.0.0.5', 1000 + (i % 400)::int
from (
  select t.*, s.starts, s.days * i / :transactions as d, a.id as action_id,
    case
      when a1 < 0.30 then 'service_account'
      when a1 < 0.32 then null
      when a1 < 0.40 then 'service_account'
      when a1 < 0.45 then 'job'
      when a1 < 0.48 then 'admin'
      when a1 < 0.49 then 'system'
      when a1 < 0.50 then 'anonymous'
      else 'user'
    end as actor_type,
    case
      when a1 < 0.30 then 'checkout'
      when a1 < 0.32 then null
      when a1 < 0.40 then 'svc-' || 1 + floor(10 * power(a2, 2))
      when a1 < 0.45 then 'job-' || 1 + floor(6 * a2)
      when a1 < 0.48 then 'admin-' || 1 + floor(40 * power(a2, 2))
      when a1 < 0.49 then 'system'
      when a1 < 0.50 then null
      else (1 + floor(50000 * power(a2, 3)))::text
    end as actor_id,
    case
      when a1 >= 0.30 and a1 < 0.32 then null
      -- Five imports of some hours, and one that goes on all the year.
      when abs(i::double precision / :transactions * 5 - 0.5 - floor(i::double precision / :transactions * 5)) < 0.025
        and history.u(i, 3) < 0.25 then 'import-' || floor(i::double precision / :transactions * 5)
      when history.u(i, 3) between 0.25 and 0.252 then 'backfill'
      when history.u(i, 4) < 0.08 then null
      else md5('correlation' || request)
    end as correlation
  from (
    select i, i / 2 as request, history.u(i / 2, 1) as a1, history.u(i / 2, 2) as a2
    from generate_series(1, :transactions::bigint) i
    offset 0
  ) t
  cross join history.span s
  left join history.actions a on a.transaction_no = t.i and a.part = 0
  offset 0
) t
order by i;
analyze threadline.audit_transactions;

insert into threadline.audit_actions (
  id, transaction_id, xid, name, status, actor_type, actor_id, actor, verb, category, reason, correlation_id, request_id, job_id,
  trace_id, subject_type, subject_id, data, occurred_at
)
overriding system value
select a.id, case when a.part < 2 then t.id end, t.xid, n.name, case when a.part = 2 then 'error' else 'ok' end,
  t.actor_type, t.actor_id, t.actor, split_part(n.name, '.', 2), split_part(n.name, '.', 1),
  case when history.u(a.id, 21) < 0.1 then 'asked for by the customer' end,
  t.correlation_id, t.request_id, t.job_id, t.trace_id, split_part(n.name, '.', 1),
  floor(:transactions * power(history.u(a.id, 22), 2))::text,
  case when history.u(a.id, 23) < 0.3 then jsonb_build_object('channel', t.source, 'attempt', 1) end,
  t.occurred_at + interval '20 milliseconds'
from history.actions a
join threadline.audit_transactions t on t.id = a.transaction_no
cross join lateral (
  select names[1 + width_bucket(history.u(a.id, 20), thresholds)] as name from history.action_names
) n
order by a.id;
analyze threadline.audit_actions;

-- step: rows of changes
create unlogged table history.events as
select row_number() over (order by at, i, part) as id, i, table_no, at,
  -- Of every kind of row those of lately are changed most; one row of the inventory is changed all the time.
  case
    when table_no = 4 and history.u(e.i * 4096 + part, 31) < 0.025 then 0
    else 1 + floor((select array_agg(rows order by no) from history.tables)[table_no]
      * (i::double precision / :transactions) * power(history.u(e.i * 4096 + part, 32), 0.3))::bigint
  end as row_no
from (
  select t.id as i, part,
    t.occurred_at + case
      when history.u(t.id, 7) < 0.003 and t.id < :transactions * 0.99 then part * interval '20 seconds'
      else part * interval '0.7 milliseconds'
    end as at,
    1 + case
      when actor_id = 'checkout' and actor_type = 'service_account'
        then width_bucket(v, (select array_agg(busy_below::double precision order by no) from history.tables where no < 20))
      else width_bucket(v, (select array_agg(others_below::double precision order by no) from history.tables where no < 20))
    end as table_no
  from (
    select id, occurred_at, actor_type, actor_id, history.u(id, 30) as n
    from threadline.audit_transactions
    offset 0
  ) t
  cross join lateral generate_series(1, case
    when n < 0.30 then 1
    when n < 0.50 then 2
    when n < 0.64 then 3
    when n < 0.78 then 5
    when n < 0.90 then 9
    when n < 0.98 then 12
    when n < 0.9997 then 24
    -- Bulk statements.
    else 2500
  end) part
  cross join lateral (
    select case when n < 0.9997 then history.u(t.id * 4096 + part / 3, 8) else history.u(t.id, 8) * 0.79 end as v
  ) v
  offset 0
) e;

-- step: lives of rows
create unlogged table history.versions as
select id, i, table_no, at, row_no,
  (row_number() over life - 1)::int as version,
  lag(at) over life as previous_at,
  first_value(at) over life as created_at,
  lead(id) over life is null as is_last
from history.events
window life as (partition by table_no, row_no order by id)
order by id;
drop table history.events;
create index on history.versions using brin (id) with (pages_per_range = 16);
analyze history.versions;

-- step: changes
-- What "version" says changed since the one before: the status and the time each time, others in turn.
create function history.write_changes(low bigint, high bigint) returns bigint
language plpgsql
set timezone = 'UTC'
as $$
declare
  written bigint;
begin
  insert into threadline.audit_changes (
    id, transaction_id, captured_at, table_schema, table_name, op, row_pk, row_key, previous_row_key, changed_fields,
    changed_from, data_after
  )
  select id, i, at, 'public', table_name, op,
    case key_kind
      when 'composite' then jsonb_build_object('account', account, 'person', row_no::text)
      else jsonb_build_object('id', key)
    end,
    key,
    case when op = 'update' and key_kind = 'moving' and v = 2 then 'C-' || row_no || '-a' end,
    case when op = 'update' then array_remove(array[
      case when v % 2 = 0 then 'amount' end,
      case when key_kind = 'moving' and v = 2 then 'id' end,
      case when v % 4 = 0 then 'note' end,
      case when v % 2 = 0 and row_no % 500 = 7 then 'priority' end,
      'status', 'updated_at'
    ], null) end,
    case op
      when 'update' then jsonb_strip_nulls(jsonb_build_object(
        'amount', case when v % 2 = 0 then history.amount(row_no, (v - 1) / 2) end,
        'id', case when key_kind = 'moving' and v = 2 then 'C-' || row_no || '-a' end,
        'note', case when v % 4 = 0 then history.note(row_no, (v - 1) / 4) end,
        'priority', case when v % 2 = 0 and row_no % 500 = 7 then 5 + (v - 1) / 2 % 2 end,
        'status', history.status(v - 1),
        'updated_at', previous_at
      ))
      when 'delete' then history.image(key_kind, key, account, row_no, v, created_at, previous_at)
    end,
    case when op <> 'delete' then history.image(key_kind, key, account, row_no, v, created_at, at) end
  from (
    select c.*,
      case key_kind
        when 'bigint' then row_no::text
        when 'uuid' then md5(row_no::text)::uuid::text
        when 'composite' then '["' || account || '","' || row_no || '"]'
        else 'C-' || row_no || case when v < 2 then '-a' else '-b' end
      end as key
    from (
      select e.*, t.name as table_name, t.key_kind,
        'acc-' || row_no % 97 as account,
        case
          when version = 0 then 'insert'
          when is_last and row_no % 3 = 1 then 'delete'
          else 'update'
        end as op,
        case when version > 0 and is_last and row_no % 3 = 1 then version - 1 else version end as v
      from history.versions e
      join history.tables t on t.no = e.table_no
      where e.id between low and high
      order by e.id
      offset 0
    ) c
    offset 0
  ) c;
  get diagnostics written = row_count;
  return written;
end
$$;

create function history.status(v int) returns text
language sql immutable
return (array['draft', 'open', 'approved', 'paid', 'shipped', 'closed'])[1 + v % 6];

create function history.amount(row_no bigint, v int) returns numeric
language sql immutable
return round((9 + (row_no * 7 + v * 13) % 90000)::numeric / 100, 2);

create function history.note(row_no bigint, v int) returns text
language sql immutable
return md5(row_no::text || v) || ' ' || md5(v::text || row_no);

create function history.image(
  key_kind text, key text, account text, row_no bigint, v int, created_at timestamptz, updated_at timestamptz
) returns jsonb
language sql stable
return case key_kind
    when 'bigint' then jsonb_build_object('id', row_no)
    when 'composite' then jsonb_build_object('account', account, 'person', row_no)
    else jsonb_build_object('id', key)
  end || jsonb_build_object(
    'customer_id', row_no * 7919 % 100000,
    'status', history.status(v),
    'amount', history.amount(row_no, v / 2),
    'currency', (array['EUR', 'USD', 'GBP'])[1 + (row_no % 3)::int],
    'priority', 5 + case when row_no % 500 = 7 then v / 2 % 2 else 0 end,
    'note', history.note(row_no, v / 4),
    'attributes', jsonb_build_object('colour', (array['red', 'green', 'blue'])[1 + (row_no % 3)::int], 'weight', row_no % 40),
    'created_at', created_at,
    'updated_at', updated_at
  );

-- step: end
select setval('threadline.audit_transactions_id_seq', (select max(id) from threadline.audit_transactions)),
  setval('threadline.audit_changes_id_seq', (select max(id) from threadline.audit_changes)),
  setval(pg_get_serial_sequence('threadline.audit_actions', 'id'), (select max(id) from threadline.audit_actions));
-- The history was captured as it happened.
update threadline.capture_policies
set captured_since = (select min(occurred_at) from threadline.audit_transactions);
drop schema history cascade;
