/** Random programs of a host: what its triggers do, and statements that fire them. */
import * as FastCheck from "effect/FastCheck"
import { literal } from "../../src/internal/sql/sqlText.js"

/** What one firing of the host's generic trigger does: data, so that a program needs no DDL. */
export interface Step {
  readonly table: string
  readonly event: string
  readonly moment: string
  readonly depth: number
  readonly statement: string
}

export const tables = ["alpha", "beta", "gamma"] as const

// $1 is the key of the row that fired the trigger.
const statements = FastCheck.tuple(FastCheck.constantFrom(...tables), FastCheck.integer({ min: 0, max: 4 })).chain(
  ([table, key]) =>
    FastCheck.constantFrom(
      `update ${table} set n = n + 1 where id = $1`,
      `update ${table} set n = n + 1 where id = $1`,
      `update ${table} set v = v || '.' where id = $1 and length(v) < 6`,
      `update ${table} set n = n + 1`,
      `update ${table} set n = n + 1 where id in ($1, ${key})`,
      `update ${table} set n = -n where id <> $1`,
      `update ${table} set id = $1 + 10 where id = $1 and $1 < 40`,
      `update ${table} set id = ${key} where id = $1`,
      `update ${table} set n = n where id = $1`,
      `delete from ${table} where id = $1`,
      `delete from ${table} where id = ${key}`,
      `insert into ${table} values ($1, 'new', 0, null) on conflict (id) do nothing`,
      `insert into ${table} values ($1, 'new', 0, null), (${key}, 'new', 0, null) on conflict (id) do update set n = ${table}.n + 1`,
      `insert into ${table} select id + 1, 'copy', n, null from ${table} where id = $1 on conflict (id) do update set v = excluded.v`
    )
)

const steps: FastCheck.Arbitrary<ReadonlyArray<Step>> = FastCheck.array(
  FastCheck.record({
    table: FastCheck.constantFrom(...tables, "outside"),
    event: FastCheck.constantFrom("INSERT", "UPDATE", "DELETE"),
    moment: FastCheck.constantFrom("AFTER", "AFTER", "AFTER", "BEFORE"),
    depth: FastCheck.constantFrom(1, 1, 2, 2, 3),
    statement: statements
  }),
  { minLength: 1, maxLength: 7 }
)

const outer = FastCheck.oneof(
  statements.map((statement) => statement.replaceAll("$1", "1")),
  statements.map((statement) => statement.replaceAll("$1", "2")),
  FastCheck.constantFrom(
    "insert into outside values (1)",
    "insert into outside values (1), (2), (3)",
    "delete from outside",
    "update gamma set parent = 1 where id > 1",
    "delete from gamma where id = 1",
    "delete from alpha; insert into alpha values (1, 'again', 0, null)",
    "with x as (update alpha set n = n + 1 returning id), y as (update beta set n = n + 1 returning id) select from x, y",
    "merge into alpha a using (values (1), (9)) x (id) on a.id = x.id when matched then update set n = a.n + 1 when not matched then insert values (x.id, 'm', 0, null)"
  )
)

export const programs = FastCheck.record({ steps, outer: FastCheck.array(outer, { minLength: 1, maxLength: 5 }) })

export const world = [
  ...tables.map(
    (name) => `create table ${name} (
      id int primary key, v text, n int not null default 0,
      parent int references ${name} on delete cascade on update cascade deferrable
    )`
  ),
  "create table outside (id int)",
  `create table plan (step int generated always as identity, "table" text, event text, moment text, depth int, statement text)`,
  // Reads the plan; the depth is the host's own, whatever else has triggers here. What a trigger before the row skips is not written.
  `create function follow_plan() returns trigger language plpgsql as $$
   declare
     row jsonb := case tg_op when 'DELETE' then to_jsonb(old) else to_jsonb(new) end;
     depth int := coalesce(nullif(current_setting('host.depth', true), ''), '0')::int + 1;
     command text;
     skips boolean := false;
   begin
     perform set_config('host.depth', depth::text, true);
     for command in
       select p.statement from plan p
       where p.table = tg_table_name and p.event = tg_op and p.moment = tg_when and p.depth = follow_plan.depth
       order by p.step
     loop
       if command = 'skip' then
         skips := true;
       else
         execute command using (row ->> 'id')::int;
       end if;
     end loop;
     perform set_config('host.depth', (depth - 1)::text, true);
     return case when skips then null when tg_op = 'DELETE' then old else new end;
   end $$`.replace("follow_plan.depth", "current_setting('host.depth')::int"),
  ...[...tables, "outside"].flatMap((name) => [
    `create trigger host_before before insert or update or delete on ${name} for each row execute function follow_plan()`,
    `create trigger host_after after insert or update or delete on ${name} for each row execute function follow_plan()`
  ])
]

/** Statements that the host runs one after another, and how. */
export interface Block {
  /** In a DO block or a function, as one message of several statements, or each as a message of its own. */
  readonly form: "do" | "function" | "message" | "each"
  readonly statements: ReadonlyArray<string>
}

export const blocks: FastCheck.Arbitrary<ReadonlyArray<Block>> = FastCheck.array(
  FastCheck.record({
    form: FastCheck.constantFrom("do", "do", "function", "message", "each"),
    statements: FastCheck.array(outer, { minLength: 1, maxLength: 6 })
  }),
  { minLength: 1, maxLength: 3 }
)

/** Steps, some of which skip the row before it is written. */
export const skippingSteps: FastCheck.Arbitrary<ReadonlyArray<Step>> = FastCheck.tuple(
  steps,
  FastCheck.array(
    FastCheck.record({
      table: FastCheck.constantFrom(...tables, "outside"),
      event: FastCheck.constantFrom("INSERT", "UPDATE", "DELETE"),
      moment: FastCheck.constant("BEFORE"),
      depth: FastCheck.constantFrom(1, 2, 3),
      statement: FastCheck.constant("skip")
    }),
    { maxLength: 1 }
  )
).map(([some, skipping]) => [...some, ...skipping])

/** The messages that a block comes to. A statement that fails inside a DO block or a function takes back only itself. */
export const messagesOf = ({ form, statements }: Block): ReadonlyArray<string> => {
  const body = statements
    .map((statement) => `begin ${statement}; exception when others then null; end;`)
    .join("\n")
    .replaceAll("select from x, y", "select into nothing from x, y")
  switch (form) {
    case "do":
      return [`do $block$ declare nothing record; begin ${body} end $block$`]
    case "function":
      return [
        `create or replace function block() returns void language plpgsql as $block$ declare nothing record; begin ${body} end $block$`,
        "select block()"
      ]
    case "message":
      return [statements.join(";\n")]
    case "each":
      return statements
  }
}

/** The statements that tell the host's triggers what to do. */
export const fillPlan = (steps: ReadonlyArray<Step>): ReadonlyArray<string> =>
  steps.map(
    (step) =>
      `insert into plan ("table", event, moment, depth, statement) values ('${step.table}', '${step.event}', '${step.moment}', ${step.depth}, ${literal(step.statement)})`
  )
