/** What instructions are counted of: databases with one capture each, and what a transaction says of itself there. */
import { floor, generic, genericOn } from "./contestants.js"
import { type Table, tables } from "./costTables.js"

export interface Contestant {
  readonly name: string
  /** Contestants of the same database differ in their context alone. */
  readonly database: string
  /** What a transaction sends before its first write. */
  readonly context?: string
  /** What it sends before COMMIT. */
  readonly end?: string
}

const document = `{"actor": {"type": "user", "id": "42"}, "correlationId": "req-1"}`

/** `before` is there if another version is measured, too. */
export const contestantsOf = (before: boolean): ReadonlyArray<Contestant> => [
  { name: "none", database: "none" },
  // Of the ordinary table alone.
  { name: "floor", database: "floor" },
  { name: "generic", database: "generic" },
  {
    name: "generic, actor",
    database: "generic",
    context: `select set_config('generic.actor_ref', '{"type": "user", "id": "42"}', true)`
  },
  {
    name: "Carbonite-like",
    database: "carbonite",
    context: `insert into carbonite.transactions (meta) values ('${document}')`
  },
  ...(before ? ["before", "ours"] : ["ours"]).flatMap((database) => [
    { name: database, database },
    { name: `${database}, context`, database, context: `select threadline.set_context('${document}')` }
  ]),
  // As `Audit.transaction` ends if there is no action: with the id of the transaction's row.
  {
    name: "ours, whole",
    database: "ours",
    context: `select threadline.set_context('${document}')`,
    end:
      "select case when extract(epoch from pg_catalog.transaction_timestamp())::pg_catalog.text <> '' " +
      "then coalesce(pg_catalog.current_setting('threadline.transaction', true), '') end as outcome"
  }
]

/**
 * As Carbonite 12 captures: the client inserts the transaction, a row trigger reads what is configured for the table, takes each
 * part of the key with a statement made at run time, and compares the fields of both images one by one.
 */
const carbonite = `
create schema carbonite;
create sequence carbonite.transactions_id_seq;
create sequence carbonite.changes_id_seq;
create table carbonite.transactions (
  id bigint not null,
  xact_id xid8 primary key default pg_current_xact_id(),
  meta jsonb not null default '{}',
  inserted_at timestamptz not null default clock_timestamp()
);
create index on carbonite.transactions (inserted_at);
create unique index on carbonite.transactions (id, xact_id);
create function carbonite.number_transaction() returns trigger language plpgsql as $$
begin
  if new.xact_id in (select t.xact_id from carbonite.transactions t where t.xact_id = new.xact_id) then
    new.id := currval('carbonite.transactions_id_seq');
  else
    new.id := nextval('carbonite.transactions_id_seq');
  end if;
  return new;
end
$$;
create trigger number_transaction before insert on carbonite.transactions
for each row execute function carbonite.number_transaction();
create table carbonite.triggers (
  id bigserial primary key,
  table_prefix text not null,
  table_name text not null,
  primary_key_columns text[] not null default '{id}',
  excluded_columns text[] not null default '{}',
  filtered_columns text[] not null default '{}',
  mode text not null default 'capture',
  store_changed_from boolean not null default true,
  unique (table_prefix, table_name)
);
create table carbonite.changes (
  id bigint primary key,
  op text not null,
  table_prefix text not null,
  table_name text not null,
  table_pk text[],
  data jsonb not null,
  changed text[] not null,
  changed_from jsonb,
  transaction_id bigint not null,
  transaction_xact_id xid8 not null references carbonite.transactions (xact_id) on delete cascade on update cascade
);
create index on carbonite.changes (transaction_xact_id);
create index on carbonite.changes (transaction_id);
create index on carbonite.changes (table_prefix, table_name, table_pk);
create function carbonite.capture_changes() returns trigger language plpgsql security definer
set search_path = carbonite, pg_temp as $$
declare
  configured record;
  change carbonite.changes%rowtype;
  key_column text;
  key_value text;
  field text;
  value jsonb;
begin
  with settings as (select nullif(current_setting('carbonite.override_mode', true), '') as override)
  select t.primary_key_columns, t.excluded_columns, t.filtered_columns, t.store_changed_from,
    case when s.override = 'override' and t.mode = 'ignore' then 'capture'
      when s.override = 'override' and t.mode = 'capture' then 'ignore'
      else coalesce(s.override, t.mode) end as mode
  into configured
  from triggers t join settings s on true
  where t.table_prefix = tg_table_schema and t.table_name = tg_table_name;
  if configured.mode = 'ignore' then
    return null;
  end if;
  change := row(nextval('changes_id_seq'), lower(tg_op), tg_table_schema, tg_table_name, null, null, '{}', null,
    currval('transactions_id_seq'), pg_current_xact_id());
  if configured.primary_key_columns <> '{}' then
    change.table_pk := '{}';
    foreach key_column in array configured.primary_key_columns loop
      if tg_op = 'DELETE' then
        execute 'select $1.' || quote_ident(key_column) || '::text' using old into key_value;
      else
        execute 'select $1.' || quote_ident(key_column) || '::text' using new into key_value;
      end if;
      change.table_pk := change.table_pk || key_value;
    end loop;
  end if;
  if tg_op = 'DELETE' then
    select to_jsonb(old.*) - configured.excluded_columns into change.data;
  else
    select to_jsonb(new.*) - configured.excluded_columns into change.data;
  end if;
  if tg_op = 'UPDATE' then
    change.changed_from := '{}';
    for field, value in select * from jsonb_each(to_jsonb(old.*) - configured.excluded_columns) loop
      if value <> (change.data -> field) then
        change.changed := change.changed || field;
        if configured.store_changed_from then
          change.changed_from := jsonb_set(change.changed_from, array[field], value);
        end if;
      end if;
    end loop;
    if change.changed = '{}' then
      return null;
    end if;
  end if;
  foreach field in array configured.filtered_columns loop
    change.data := jsonb_set(change.data, array[field], '"[FILTERED]"');
  end loop;
  insert into changes values (change.*);
  return null;
exception when foreign_key_violation then
  raise exception '% on table %.% without prior INSERT into carbonite.transactions', tg_op, tg_table_schema, tg_table_name
    using errcode = 'foreign_key_violation';
end
$$;
`

const redactedColumns = ["email", "note"]

/** What makes a database of a contestant; nothing for ours, which a program of its own installs. */
export const installing = (database: string): string => {
  switch (database) {
    case "floor":
      return floor
    case "generic":
      return generic + tables.map(({ name }) => genericOn(name)).join("")
    case "carbonite":
      return (
        carbonite +
        tables
          .map(
            ({ name, redacted }) => `
insert into carbonite.triggers (table_prefix, table_name, filtered_columns)
select 'public', relid::regclass::text, '{${redacted ? redactedColumns.join(",") : ""}}'
from (select '${name}'::regclass as relid union select relid from pg_partition_tree('${name}')) t;
create constraint trigger carbonite_capture after insert or update or delete on ${name}
deferrable initially immediate for each row execute function carbonite.capture_changes();`
          )
          .join("")
      )
    default:
      return ""
  }
}

/** What `install.ts` is told. */
export const configuration = (): string =>
  JSON.stringify(
    tables.map((table: Table) => ({ table: table.name, ...(table.redacted ? { mask: redactedColumns } : {}) }))
  )
