/**
 * A year of a small company, as `threadline demo --large` makes it. The host's statements are real: triggers capture them one transaction
 * after another. Only their times are made up, and set afterwards. Their application name says so.
 */

/** The procedure `threadline_demo.live_a_year`, and the table of the moments that it makes up. */
export const year = `
create table threadline_demo.year (
  xid xid8 primary key,
  at timestamptz not null
);

-- A number in [0, 1) that looks random and is the same each time.
create function threadline_demo.chance(i int, of int) returns double precision
language sql immutable
return (hashint8extended(i, of) & 1073741823)::double precision / 1073741824;

create function threadline_demo.say(who jsonb, correlation text, more jsonb default '{}') returns void
language sql
begin atomic
  select set_config('application_name', 'demo: a made-up year', true);
  select threadline_demo_audit.set_context(
    jsonb_strip_nulls(jsonb_build_object('actor', who, 'correlationId', correlation) || more));
end;

create function threadline_demo.did(action jsonb) returns void
language sql
begin atomic
  select threadline_demo_audit.finish(jsonb_build_object('action', action));
end;

create procedure threadline_demo.live_a_year(days int, per_day int)
language plpgsql
as $$
declare
  names constant text[] := array['Ada', 'Ben', 'Cleo', 'Dana', 'Emre', 'Fatou', 'Gil', 'Hana', 'Ines', 'Jonas', 'Kemi', 'Lior', 'Mara',
    'Noor', 'Omar', 'Pia', 'Quinn', 'Rosa', 'Sven', 'Tova', 'Uma', 'Veda', 'Wim', 'Xenia', 'Yara', 'Zoé', 'שרה', 'محمد', '山田'];
  items constant text[] := array['Desk', 'Lamp', 'Chair', 'Shelf', 'Cabinet', 'Monitor arm', 'Carpet', 'Whiteboard'];
  titles constant text[] := array['What is new', 'How we work', 'Office hours', 'Moving soon', 'A thank you', 'Prices of next year'];
  begins constant timestamptz := date_trunc('day', now()) - days * interval '1 day';
  no int := 0;
  day int;
  n int;
  dice double precision;
  luck double precision;
  moment timestamptz;
  people int := 0;
  bills int := 5000;
  person jsonb;
  person_id int;
  bill int;
  name text;
  staff jsonb;
begin
  for day in 0 .. days - 1 loop
    for n in 0 .. per_day - 1 loop
      no := no + 1;
      dice := threadline_demo.chance(no, 1);
      luck := threadline_demo.chance(no, 2);
      -- From seven to seven, the job of the night first. Less at weekends.
      moment := begins + day * interval '1 day' + case when n = 0 then interval '2 hours' else
        interval '7 hours' + (n + threadline_demo.chance(no, 3)) * interval '12 hours' / per_day end;
      continue when n > 0 and extract(isodow from moment) > 5 and luck < 0.8;
      person_id := 100 + floor(people * power(threadline_demo.chance(no, 4), 0.6))::int;
      person := jsonb_build_object('type', 'user', 'id', person_id::text,
        'label', (select u.name from threadline_demo.users u where u.id = person_id));
      staff := case when luck < 0.7
        then '{ "type": "admin", "id": "900", "label": "Rosa, support" }'::jsonb
        else '{ "type": "admin", "id": "901", "label": "Sam, second line" }'::jsonb end;
      bill := 5000 + floor((bills - 5000) * power(threadline_demo.chance(no, 5), 0.3))::int;
      if n = 0 then
        perform threadline_demo.say('{ "type": "job", "id": "dunning", "label": "dunning job" }', null,
          jsonb_build_object('jobId', 'run-' || to_char(moment, 'YYYY-MM-DD'), 'source', 'worker'));
        update threadline_demo.invoices set status = 'overdue' where status = 'sent' and due_on < moment::date;
        perform threadline_demo.did('{ "name": "invoices.overdue" }');
      elsif people < 12 or dice < 0.06 then
        name := names[1 + (people % array_length(names, 1))];
        perform threadline_demo.say('{ "type": "anonymous" }', 'signup-' || people,
          jsonb_build_object('source', 'web', 'remoteIp', '198.51.100.' || people % 250));
        insert into threadline_demo.users (id, name, email) values (100 + people, name, 'user' || people || '@example.com');
        perform threadline_demo.did('{ "name": "user.signed_up" }');
        people := people + 1;
      elsif dice < 0.36 then
        bills := bills + 1;
        perform threadline_demo.say('{ "type": "service_account", "id": "shop-api", "label": "shop" }', 'order-' || bills,
          jsonb_build_object('source', 'api', 'requestId', 'req-' || md5('r' || no), 'traceId', md5('t' || no),
            'meta', jsonb_build_object('channel', case when luck < 0.5 then 'web' else 'phone' end)));
        insert into threadline_demo.invoices (id, customer_id, due_on) values (bills, person_id, moment::date + 30);
        insert into threadline_demo.invoice_lines
        select bills, line, items[1 + (no * line) % 8], 1 + (no + line) % 9, 19.90 + (no * line % 400)
        from generate_series(1, 1 + no % 4) line;
        update threadline_demo.invoices i
        set status = 'sent', total = (select sum(quantity * unit_price) from threadline_demo.invoice_lines where invoice_id = bills)
        where i.id = bills;
        perform threadline_demo.did(jsonb_build_object('name', 'order.received',
          'subject', jsonb_build_object('type', 'invoice', 'id', bills::text), 'data', jsonb_build_object('invoice', bills)));
      elsif dice < 0.62 then
        perform threadline_demo.say('{ "type": "service_account", "id": "payments", "label": "payment webhook" }', 'order-' || bill,
          jsonb_build_object('source', 'webhook', 'requestId', 'evt_' || md5('p' || no)));
        update threadline_demo.invoices set status = 'paid' where id = bill and status <> 'paid';
        perform threadline_demo.did(jsonb_build_object('name', 'invoice.paid',
          'subject', jsonb_build_object('type', 'invoice', 'id', bill::text)));
      elsif dice < 0.74 then
        perform threadline_demo.say(person, null, jsonb_build_object('source', 'web', 'requestId', 'req-' || md5('w' || no)));
        insert into threadline_demo.posts (author_id, title)
        select u.id, titles[1 + no % 6] || ', ' || to_char(moment, 'DD Mon') from threadline_demo.users u where u.id = person_id;
        perform threadline_demo.did('{ "name": "post.created" }');
      elsif dice < 0.82 then
        perform threadline_demo.say(person, null, jsonb_build_object('source', 'web'));
        update threadline_demo.posts set status = 'published'
        where id = (select max(id) from threadline_demo.posts where author_id = person_id and status = 'draft');
        perform threadline_demo.did('{ "name": "post.published" }');
      elsif dice < 0.87 then
        perform threadline_demo.say(person || jsonb_build_object('impersonator', staff), 'ticket-' || 4000 + no,
          jsonb_build_object('source', 'support-desk', 'remoteIp', '192.0.2.' || 10 + no % 9));
        update threadline_demo.invoice_lines set quantity = greatest(1, quantity - 1) where invoice_id = bill and line = 1;
        update threadline_demo.invoices i
        set total = coalesce((select sum(quantity * unit_price) from threadline_demo.invoice_lines where invoice_id = bill), 0)
        where i.id = bill;
        perform threadline_demo.did(jsonb_build_object('name', 'invoice.corrected', 'reason',
          (array['ordered one less', 'arrived broken', 'wrong item', 'discount that was promised'])[1 + no % 4],
          'subject', jsonb_build_object('type', 'invoice', 'id', bill::text)));
      elsif dice < 0.90 then
        perform threadline_demo.say(person, null, jsonb_build_object('source', 'web'));
        update threadline_demo.users set email = 'user' || person_id || '+' || no || '@example.com' where id = person_id;
        perform threadline_demo.did('{ "name": "email.changed" }');
      elsif dice < 0.93 then
        -- What the host refused and rolled back.
        perform threadline_demo.say(staff, 'ticket-' || 4000 + no, '{ "source": "support-desk" }');
        perform threadline_demo.did(jsonb_build_object('name', 'invoice.deleted', 'status', 'error',
          'reason', 'asked for by the customer', 'subject', jsonb_build_object('type', 'invoice', 'id', bill::text)));
      elsif dice < 0.94 then
        -- Somebody at a psql prompt.
        perform set_config('application_name', 'psql', true);
        update threadline_demo.invoices set due_on = due_on + 14 where id = bill;
      elsif dice < 0.945 and people > 30 then
        perform threadline_demo.say(staff, null, '{ "source": "support-desk" }');
        delete from threadline_demo.users where id = person_id;
        perform threadline_demo.did('{ "name": "user.deleted", "reason": "left" }');
      elsif dice < 0.948 then
        perform threadline_demo.say('{ "type": "system", "id": "billing", "label": "billing" }', 'prices-' || no, '{ "source": "worker" }');
        update threadline_demo.invoice_lines set unit_price = round(unit_price * 1.02, 2)
        where invoice_id > bills - 120;
        perform threadline_demo.did('{ "name": "prices.raised", "reason": "new list of the supplier" }');
      else
        perform threadline_demo.say(person, null, '{ "source": "web" }');
        update threadline_demo.users set password_hash = 'argon2id-' || no where id = person_id;
        perform threadline_demo.did('{ "name": "password.changed" }');
      end if;
      insert into threadline_demo.year values (pg_current_xact_id(), moment);
      commit;
    end loop;
  end loop;
end
$$;
`

/** The times of that year: each transaction gets its moment, and keeps the microseconds between its changes. */
export const yearTimes = `
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
`
