/**
 * The event triggers of the schema watch: how they are made and removed, and what the catalog says of them. Making one requires a
 * superuser, or the role that a managed service gives in its place. The functions that do the work belong to the owner of the
 * record.
 */
import { createHash } from "node:crypto"
import * as Schema from "effect/Schema"
import { identifier, literal, qualified } from "./sqlText.js"

/** Whether the schema watch sees what is done to the schema: all of it, some of it, or nothing. */
export const WatchState = Schema.Literal("on", "broken", "off")

export type WatchState = typeof WatchState.Type

interface EventTrigger {
  readonly name: string
  readonly event: "ddl_command_end" | "sql_drop" | "table_rewrite"
  readonly tags: ReadonlyArray<string>
  readonly calls: string
}

/** Commands other than drops that may concern a captured table. */
const commands: ReadonlyArray<string> = [
  "ALTER DOMAIN",
  "ALTER FOREIGN TABLE",
  "ALTER INDEX",
  "ALTER SCHEMA",
  "ALTER TABLE",
  "ALTER TRIGGER",
  "ALTER TYPE",
  "CREATE FOREIGN TABLE",
  "CREATE SCHEMA",
  "CREATE TABLE",
  "CREATE TABLE AS",
  "CREATE TRIGGER",
  "CREATE VIEW",
  "IMPORT FOREIGN SCHEMA",
  "SELECT INTO"
]

/** Commands by which a table gets a partition. */
const attaching: ReadonlyArray<string> = [
  "ALTER FOREIGN TABLE",
  "ALTER TABLE",
  "CREATE FOREIGN TABLE",
  "CREATE SCHEMA",
  "CREATE TABLE",
  "IMPORT FOREIGN SCHEMA"
]

/** Event triggers have no schema. Event triggers of one event fire in the order of their names. */
const eventTriggers = (schema: string): ReadonlyArray<EventTrigger> => {
  const suffix = schema === "threadline" ? "" : `_${createHash("sha256").update(schema).digest("hex").slice(0, 8)}`
  const made = (place: string, event: EventTrigger["event"], calls: string, tags: ReadonlyArray<string> = []) => ({
    name: `threadline_watch_${place}${suffix}`,
    event,
    tags,
    calls
  })
  return [
    made("command_1", "ddl_command_end", "watch_prepare", commands),
    made("command_2", "ddl_command_end", "watch_command", commands),
    made("command_3", "ddl_command_end", "watch_settle", attaching),
    made("drop_1", "sql_drop", "watch_prepare"),
    made("drop_2", "sql_drop", "watch_drop"),
    made("rewrite_1", "table_rewrite", "watch_prepare"),
    made("rewrite_2", "table_rewrite", "watch_rewrite")
  ]
}

/** The partitions of the captured tables that a command concerns, as the catalog alone tells them. */
const partitionsOf = (schema: string, more: { readonly join?: string; readonly where: string }): string => `
      from pg_event_trigger_ddl_commands() d
      join pg_class o on o.oid = d.objid and d.classid = 'pg_class'::regclass and (o.relkind = 'p' or o.relispartition)
      cross join lateral (select coalesce(pg_partition_root(o.oid), o.oid) as oid) root
      cross join lateral (
        with recursive below (relid, level) as (
          select root.oid, 0
          union all
          select i.inhrelid, b.level + 1
          from below b
          join pg_inherits i on i.inhparent = b.relid
          where not i.inhdetachpending
        )
        select * from below
      ) tree
      join pg_class c on c.oid = tree.relid and tree.level > 0
      join pg_namespace n on n.oid = c.relnamespace
      join pg_namespace storage on storage.nspname = ${literal(schema)}${more.join ?? ""}
      where exists (
          select
          from pg_trigger g
          join pg_proc f on f.oid = g.tgfoid
          where g.tgrelid = root.oid and f.pronamespace = storage.oid
        )
        and ${more.where}`

/** The statement triggers with transition tables of tables that a command gave a foreign partition. */
const foreignPartitionsOf = (schema: string): string => `
      from pg_event_trigger_ddl_commands() d
      join pg_class o on o.oid = d.objid and d.classid = 'pg_class'::regclass and (o.relkind = 'p' or o.relispartition)
      cross join lateral (
        with recursive below (relid) as (
          select coalesce(pg_partition_root(o.oid), o.oid)::oid
          union all
          select i.inhrelid
          from below b
          join pg_inherits i on i.inhparent = b.relid
          where not i.inhdetachpending
        )
        select array_agg(k.oid) filter (where k.relkind = 'p') as parents, bool_or(k.relkind = 'f') as has_foreign
        from below b
        join pg_class k on k.oid = b.relid
      ) tree
      join pg_class c on c.oid = any (tree.parents)
      join pg_trigger t on t.tgrelid = c.oid and (t.tgoldtable is not null or t.tgnewtable is not null)
      join pg_proc p on p.oid = t.tgfoid
      join pg_namespace storage on storage.oid = p.pronamespace and storage.nspname = ${literal(schema)}
      where tree.has_foreign`

interface WatchFunction {
  readonly name: string
  readonly body: string
}

/**
 * Functions that run with the rights of the role that runs the command. They belong to the role that turns the watch on. A role
 * that can change them could act as each role that runs a command, and the owner of the record must not be able to. They do what
 * requires the rights of a table's owner, and tell the other functions which role it is.
 */
const invokerFunctions = (schema: string): ReadonlyArray<WatchFunction> => [
  {
    name: "watch_prepare",
    body: `
declare
  found record;
begin
  perform set_config('threadline.watched_role', current_user, true);
  if tg_event <> 'ddl_command_end' or tg_tag <> all (array[${attaching.map(literal).join(", ")}]) then
    return;
  end if;
  -- The owner of the record makes the triggers of a new partition, and reads the rows that a TRUNCATE of it removes.
  for found in
      select c.oid::regclass as relation, n.nspname as schema, pg_get_userbyid(storage.nspowner) as owner,
        not has_table_privilege(storage.nspowner, c.oid, 'trigger') as needs_trigger,
        has_table_privilege(storage.nspowner, root.oid, 'select') and not has_table_privilege(storage.nspowner, c.oid, 'select')
          as needs_select,
        not has_schema_privilege(storage.nspowner, n.oid, 'usage') and has_schema_privilege(n.oid, 'usage with grant option')
          as needs_usage${partitionsOf(schema, {
            where: `not (has_table_privilege(storage.nspowner, c.oid, 'trigger')
          and has_schema_privilege(storage.nspowner, n.oid, 'usage'))`
          })}
  loop
    begin
      if found.needs_trigger then
        execute format('grant trigger on table %s to %I', found.relation, found.owner);
      end if;
      if found.needs_select then
        execute format('grant select on table %s to %I', found.relation, found.owner);
      end if;
      if found.needs_usage then
        execute format('grant usage on schema %I to %I', found.schema, found.owner);
      end if;
    exception when others then
      -- Then the trigger cannot be made, which is noted.
      null;
    end;
  end loop;
exception when others then
  null;
end
`
  },
  {
    name: "watch_settle",
    body: `
declare
  found record;
begin
  -- Rows of a foreign partition cannot be handed to statement triggers. PostgreSQL refuses every write that reaches such a partition
  -- through a table that has some. The write goes before the record: without the triggers it is a lapse, and "apply" ends it.
  for found in
      select distinct c.oid::regclass as relation, t.tgname${foreignPartitionsOf(schema)}
  loop
    begin
      execute format('drop trigger %I on %s', found.tgname, found.relation);
    exception
      when sqlstate 'TL020' then
        raise exception 'threadline: a foreign partition of % is refused: its policy guards capture by statement triggers', found.relation
          using errcode = 'TL020', hint = 'Capture the table with "mode": "row" first.';
      when others then
        null;
    end;
  end loop;
  -- Triggers that are to fire under replication too: only the owner of a table can enable them so.
  for found in
      select c.oid::regclass as relation, c.relkind, t.tgname${partitionsOf(schema, {
        join: `
      join pg_trigger t on t.tgrelid = c.oid and t.tgparentid = 0 and t.tgenabled = 'O'
      join pg_proc p on p.oid = t.tgfoid and p.pronamespace = storage.oid`,
        where: `exists (
          select
          from pg_trigger g
          where g.tgrelid = root.oid and g.tgfoid = t.tgfoid and g.tgenabled = 'A'
        )`
      })}
  loop
    execute format('alter %s %s enable always trigger %I',
      case found.relkind when 'f' then 'foreign table' else 'table' end, found.relation, found.tgname);
  end loop;
exception
  when sqlstate 'TL020' then
    raise;
  when others then
    null;
end
`
  }
]

const createInvoker = (schema: string, { body, name }: WatchFunction): string =>
  `create or replace function ${qualified(schema, name)}() returns event_trigger
language plpgsql security invoker
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
as $threadline$${body}$threadline$;
revoke all on function ${qualified(schema, name)}() from public;`

const createEventTrigger = (schema: string, { calls, event, name, tags }: EventTrigger): string =>
  `create event trigger ${identifier(name)} on ${event}
${tags.length === 0 ? "" : `  when tag in (${tags.map(literal).join(", ")})\n`}  execute function ${qualified(schema, calls)}();
-- Under replication, too.
alter event trigger ${identifier(name)} enable always;`

const dropEventTriggers = (schema: string): string =>
  eventTriggers(schema)
    .map(({ name }) => `drop event trigger if exists ${identifier(name)};`)
    .join("\n")

/** Runs a statement as the owner of the record, and gives the role back. */
const asOwnerOf = (schema: string, statement: string): string =>
  `select pg_catalog.set_config('threadline.role', pg_catalog.current_setting('role'), true);
select pg_catalog.set_config('role', pg_catalog.pg_get_userbyid(nspowner), true)
from pg_catalog.pg_namespace
where nspname = ${literal(schema)};
${statement};
select pg_catalog.set_config('role', pg_catalog.current_setting('threadline.role'), true);`

/** Turns the watch on, or makes it anew. Run it in a transaction, as a role that may make event triggers. */
export const watchOn = (schema: string): string =>
  [
    dropEventTriggers(schema),
    ...invokerFunctions(schema).map((made) => createInvoker(schema, made)),
    ...eventTriggers(schema).map((trigger) => createEventTrigger(schema, trigger)),
    asOwnerOf(schema, `select ${qualified(schema, "watch_begins")}()`)
  ].join("\n")

/** Turns the watch off. */
export const watchOff = (schema: string): string =>
  [
    dropEventTriggers(schema),
    ...invokerFunctions(schema).map(({ name }) => `drop function if exists ${qualified(schema, name)}();`),
    asOwnerOf(schema, `select ${qualified(schema, "watch_ends")}()`)
  ].join("\n")

/** One thing that keeps the watch from seeing everything; `trigger` is the event trigger, null for all of them. */
export const WatchProblem = Schema.Struct({
  trigger: Schema.NullOr(Schema.String),
  problem: Schema.Literal("missing", "disabled", "altered", "suspended")
})

export type WatchProblem = typeof WatchProblem.Type

const Installed = Schema.Struct({
  suspended: Schema.Boolean,
  triggers: Schema.Array(
    Schema.Struct({
      name: Schema.String,
      event: Schema.String,
      enabled: Schema.String,
      tags: Schema.Array(Schema.String),
      calls: Schema.String,
      body: Schema.String
    })
  )
})

/** What is installed of the watch, as `watchOf` reads it. */
export const WatchRow = Schema.Struct({ watch: Installed })

/** The statement that gives a `WatchRow`. Needs no privilege. */
export const watchStatement = (schema: string): string => `
select pg_catalog.jsonb_build_object(
  -- Since PostgreSQL 17 there is a setting that stops all of them.
  'suspended', coalesce(pg_catalog.current_setting('event_triggers', true), 'on') = 'off',
  'triggers', coalesce((
    select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
      'name', e.evtname,
      'event', e.evtevent,
      'enabled', e.evtenabled,
      'tags', coalesce(e.evttags, '{}'),
      'calls', p.proname,
      'body', p.prosrc
    ) order by e.evtname)
    from pg_catalog.pg_event_trigger e
    join pg_catalog.pg_proc p on p.oid = e.evtfoid
    join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    where n.nspname = ${literal(schema)}
  ), '[]')
) as watch`

/** Whether the watch works, and what keeps it from working. */
export const watchOf = (
  schema: string,
  { suspended, triggers }: typeof Installed.Type
): { readonly state: WatchState; readonly problems: ReadonlyArray<WatchProblem> } => {
  if (triggers.length === 0) {
    return { state: "off", problems: [] }
  }
  const bodies = new Map(invokerFunctions(schema).map(({ body, name }) => [name, body]))
  const sorted = (tags: ReadonlyArray<string>) => [...tags].sort().join()
  const problems = [
    ...(suspended ? [{ trigger: null, problem: "suspended" as const }] : []),
    ...eventTriggers(schema).flatMap((expected): ReadonlyArray<WatchProblem> => {
      const installed = triggers.find(({ name }) => name === expected.name)
      if (installed === undefined) {
        return [{ trigger: expected.name, problem: "missing" }]
      }
      const same =
        installed.event === expected.event &&
        installed.calls === expected.calls &&
        sorted(installed.tags) === sorted(expected.tags) &&
        (bodies.get(expected.calls) ?? installed.body) === installed.body
      return same
        ? installed.enabled === "A"
          ? []
          : [{ trigger: expected.name, problem: "disabled" }]
        : [{ trigger: expected.name, problem: "altered" }]
    })
  ]
  return { state: problems.length === 0 ? "on" : "broken", problems }
}

/** What keeps the watch from working, in words. */
export const describeWatch = (problems: ReadonlyArray<WatchProblem>): string =>
  problems
    .map(({ problem, trigger }) =>
      trigger === null
        ? "the setting event_triggers is off"
        : problem === "missing"
          ? `the event trigger ${trigger} is missing`
          : problem === "disabled"
            ? `the event trigger ${trigger} is not enabled always`
            : `the event trigger ${trigger} is not that of this version`
    )
    .join(", ")
