-- The times of the made-up year: each transaction gets its moment, and keeps the microseconds between its changes.
grant select on threadline_demo.year to threadline_demo_owner;
grant usage on schema threadline_demo to threadline_demo_owner;
-- Partitions belong to who makes them.
set local role threadline_demo_owner;
select threadline_demo_audit.ensure_partitions((select min(at) from threadline_demo.year), now());
reset role;

update threadline_demo_audit.audit_changes c
set captured_at = y.at + interval '5 milliseconds' + (c.captured_at - t.occurred_at)
from threadline_demo_audit.audit_transactions t
join threadline_demo.year y using (xid)
where t.id = c.transaction_id;

update threadline_demo_audit.audit_actions a
set occurred_at = y.at + interval '80 milliseconds'
from threadline_demo.year y
where y.xid = a.xid;

update threadline_demo_audit.audit_transactions t
set occurred_at = y.at + interval '5 milliseconds'
from threadline_demo.year y
where y.xid = t.xid;

update threadline_demo_audit.capture_policies
set captured_since = (select min(at) from threadline_demo.year)
where table_schema = 'threadline_demo';
