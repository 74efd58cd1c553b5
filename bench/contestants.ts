/** What is measured against each other, as SQL. */

/** Ten columns, three secondary indexes, a note of 300 bytes. */
export const host = (rows: number): string => `
create table accounts (
  id bigint primary key,
  version int not null,
  email text not null,
  name text not null,
  status text not null,
  balance numeric(18, 4) not null,
  settings jsonb not null,
  note text,
  created_at timestamptz not null,
  updated_at timestamptz not null
);
create index on accounts (email);
create index on accounts (status);
create index on accounts (updated_at);
insert into accounts
select i, 1, 'user' || i || '@example.test', 'Name ' || i, 'active', i * 1.5,
  jsonb_build_object('theme', 'dark', 'n', i), repeat('x', 300), now(), now()
from generate_series(1, ${rows}) i;
`

/** The least a statement trigger can do: one image of each row into a heap without an index. */
export const floor = `
create schema bare;
create table bare.changes (image jsonb);
${(["insert", "update", "delete"] as const)
  .map(
    (op) => `
create function bare.capture_${op}() returns trigger language plpgsql as $$
begin
  insert into bare.changes select to_jsonb(r.*) from seen r;
  return null;
end
$$;
create trigger bare_${op} after ${op} on accounts
referencing ${op === "delete" ? "old" : "new"} table as seen
for each statement execute function bare.capture_${op}();`
  )
  .join("\n")}
`

/**
 * One function for every table and operation, fired for each row, as such triggers are commonly written: the transaction is
 * upserted and read back for each row, the key's names are an argument, the images are compared with "jsonb_each". It keeps the
 * images that Threadline keeps, and has the indexes such tables usually have.
 */
export const generic = `
create schema generic;
create table generic.transactions (
  id uuid primary key default gen_random_uuid(),
  txid bigint not null unique,
  occurred_at timestamptz not null default now(),
  source text,
  meta jsonb,
  actor_ref jsonb,
  action_id uuid
);
create index on generic.transactions using gin (actor_ref);
create table generic.changes (
  id uuid primary key default gen_random_uuid(),
  transaction_id uuid not null references generic.transactions (id) on delete cascade,
  table_schema text not null,
  table_name text not null,
  table_pk jsonb not null,
  op text not null check (op in ('insert', 'update', 'delete')),
  data_after jsonb,
  changed_fields text[],
  changed_from jsonb,
  captured_at timestamptz not null default now()
);
create index on generic.changes (transaction_id);
create index on generic.changes (table_name);
create index on generic.changes (captured_at);
create index on generic.changes (table_schema, table_name, table_pk, captured_at desc, id desc);

create function generic.capture() returns trigger language plpgsql security definer set search_path = generic, pg_temp as $$
declare
  current_txid bigint := txid_current();
  of_transaction uuid;
  was jsonb;
  image jsonb;
  fields text[];
  old_values jsonb;
  key jsonb := '{}';
  name text;
begin
  insert into generic.transactions (txid, occurred_at, actor_ref)
  values (current_txid, clock_timestamp(), nullif(current_setting('generic.actor_ref', true), '')::jsonb)
  on conflict (txid) do nothing;
  select id into of_transaction from generic.transactions where txid = current_txid;

  if tg_op <> 'DELETE' then
    image := to_jsonb(new);
  end if;
  if tg_op <> 'INSERT' then
    was := to_jsonb(old);
  end if;
  foreach name in array tg_argv loop
    key := key || jsonb_build_object(name, coalesce(image, was) ->> name);
  end loop;
  if tg_op = 'UPDATE' then
    select array_agg(n.key order by n.key) into fields
    from jsonb_each(image) n
    join jsonb_each(was) o on o.key = n.key
    where n.value is distinct from o.value;
    select jsonb_object_agg(o.key, o.value) into old_values
    from jsonb_each(was) o
    where o.key = any (fields);
  elsif tg_op = 'DELETE' then
    old_values := was;
  end if;

  insert into generic.changes (
    transaction_id, table_schema, table_name, table_pk, op, data_after, changed_fields, changed_from, captured_at
  ) values (
    of_transaction, tg_table_schema, tg_table_name, key, lower(tg_op), image, fields, old_values, clock_timestamp()
  );
  return null;
end
$$;
`

export const genericOn = (table: string): string => `
create trigger generic_capture after insert or update or delete on ${table}
for each row execute function generic.capture('id');
`

/** Runs transactions in the server, so that neither network nor client counts. */
export const procedures = `
create procedure single_rows(op text, first int, count int, context text) language plpgsql as $$
declare
  i int;
begin
  for i in first .. first + count - 1 loop
    if context = 'generic' then
      perform set_config('generic.actor_ref', '{"type": "user", "id": "42"}', true);
    elsif context = 'ours' then
      perform threadline.set_context('{"actor": {"type": "user", "id": "42"}, "correlationId": "req-1"}');
    end if;
    case op
      when 'update' then
        update accounts set balance = balance + 1, updated_at = clock_timestamp() where id = 1 + (i * 7919) % 100000;
      when 'insert' then
        insert into accounts
        values (1000000 + i, 1, 'user' || i || '@example.test', 'Name ' || i, 'active', i * 1.5,
          '{"theme": "dark", "n": 1}', repeat('x', 300), now(), now());
      when 'delete' then
        delete from accounts where id = 1000000 + i;
    end case;
    commit;
  end loop;
end
$$;
`

export type Contestant = "none" | "floor" | "generic" | "ours"
export const contestants: ReadonlyArray<Contestant> = ["none", "floor", "generic", "ours"]

export type Op = "insert" | "update" | "delete"
export const ops: ReadonlyArray<Op> = ["insert", "update", "delete"]

export const bulk = (op: Op, rows: number): string =>
  ({
    insert: `insert into accounts
      select 500000 + i, 1, 'user' || i || '@example.test', 'Name ' || i, 'active', i * 1.5,
        jsonb_build_object('theme', 'dark', 'n', i), repeat('x', 300), now(), now()
      from generate_series(1, ${rows}) i`,
    update: `update accounts set balance = balance + 1, updated_at = clock_timestamp() where id between 1 and ${rows}`,
    delete: `delete from accounts where id between 500001 and ${500000 + rows}`
  })[op]

/** Leaves only one contestant's triggers on. */
export const select = (contestant: Contestant): string => {
  const on = {
    none: "false",
    floor: "tgname like 'bare\\_%'",
    generic: "tgname = 'generic_capture'",
    ours: "tgname like '0\\_%'"
  }[contestant]
  return `do $$
declare
  found record;
begin
  for found in
    select tgname, ${on} as enabled from pg_trigger where tgrelid = 'accounts'::regclass and not tgisinternal
  loop
    execute format('alter table accounts %s trigger %I', case when found.enabled then 'enable' else 'disable' end, found.tgname);
  end loop;
end
$$`
}

const schemaOf = (contestant: "generic" | "ours"): string => (contestant === "ours" ? "threadline.audit_" : "generic.")

/** Bytes of everything a contestant keeps, indexes and all. */
export const size = (contestant: "generic" | "ours"): string => {
  const schema = schemaOf(contestant)
  return `select sum(pg_total_relation_size(p.relid))::text
    from (
      select relid from pg_partition_tree('${schema}changes')
      union select '${schema}changes'::regclass
      union select '${schema}transactions'::regclass
    ) p`
}

export const changes = (contestant: "generic" | "ours"): string =>
  `select count(*)::text from ${schemaOf(contestant)}changes`

export const empty =
  "truncate threadline.audit_changes, threadline.audit_transactions, generic.transactions, generic.changes, bare.changes"
