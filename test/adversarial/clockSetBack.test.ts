/**
 * The server's clock is set back while a transaction runs: by a correction, or because a virtual machine was moved. What the
 * transaction recorded is then of a time before its own start.
 */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { attacks, changes, type Host, type Session, who } from "../support/adversarial.js"

/** Lets `shift.back`, an interval, set back the clock that Threadline's functions see. `pg_catalog` comes first unless it is named. */
const movableClock = `
  create schema shift;
  grant usage on schema shift to public;
  create function shift.clock_timestamp() returns timestamptz volatile
  return pg_catalog.clock_timestamp() - coalesce(nullif(current_setting('shift.back', true), ''), '0')::interval;
  create function shift.statement_timestamp() returns timestamptz stable
  return pg_catalog.statement_timestamp() - coalesce(nullif(current_setting('shift.back', true), ''), '0')::interval;
  do $$
  declare
    name text;
  begin
    for name in
      select p.oid::regprocedure
      from pg_proc p
      join pg_language l on l.oid = p.prolang and l.lanname = 'plpgsql'
      where p.pronamespace = 'threadline'::regnamespace
    loop
      execute 'alter function ' || name || ' set search_path = shift, threadline, pg_catalog, pg_temp';
    end loop;
  end
  $$`

const setBack = "set local shift.back = '1 hour'"

const finish = (outcome: object) => `select threadline.finish('${JSON.stringify(outcome)}')`

/** The transactions of the record, each with its actor, its action and the number of its changes. */
const transactions = (db: Session) =>
  db.column(`
    select concat_ws(' ', coalesce(t.actor_id, 'nobody'), coalesce(a.name, 'none'), count(c.id))
    from threadline.audit_transactions t
    left join threadline.audit_actions a on a.id = t.action_id
    left join threadline.audit_changes c on c.transaction_id = t.id
    group by t.id, a.name
    order by t.id
  `)

const prepare = Effect.fnUntraced(function* (
  { apply, db }: Host,
  table: string,
  mode: "row" | "statement",
  ...statements: ReadonlyArray<string>
) {
  yield* db.run(...statements)
  yield* apply({ table, mode })
  yield* db.run(movableClock)
})

const plain = "create table t (id int primary key, v int)"

attacks("a clock that was set back while a transaction ran", (attack) => {
  for (const mode of ["statement", "row"] as const) {
    attack(`leaves all changes in one transaction with its actor and its action, in ${mode} mode`, (host) =>
      Effect.gen(function* () {
        const { db } = host
        yield* prepare(host, "t", mode, plain)
        yield* db.run("begin", who("alice"), setBack)
        yield* db.run(
          "insert into t values (1, 0)",
          "update t set v = 1",
          "insert into t select g, 0 from generate_series(2, 4) g"
        )
        yield* db.run(finish({ action: { name: "t.filled" }, requireChanges: true }), "commit")
        expect(yield* transactions(db)).toEqual(["alice t.filled 5"])
      })
    )

    attack(`keeps an action that was recorded before the first change with that change, in ${mode} mode`, (host) =>
      Effect.gen(function* () {
        const { db } = host
        yield* prepare(host, "t", mode, plain)
        yield* db.run("begin", who("alice"), setBack, `select threadline.record_action('{"name": "t.filled"}')`)
        yield* db.run("insert into t values (1, 0)", "commit")
        expect(yield* transactions(db)).toEqual(["alice t.filled 1"])
      })
    )

    attack(`gives the context that comes after a change to that change, in ${mode} mode`, (host) =>
      Effect.gen(function* () {
        const { db } = host
        yield* prepare(host, "t", mode, plain)
        yield* db.run("begin", setBack, "insert into t values (1, 0)", who("alice"), "update t set v = 1", "commit")
        expect(yield* transactions(db)).toEqual(["alice none 2"])
      })
    )

    attack(
      `leaves the changes that a trigger of the host makes to the same row in their order, in ${mode} mode`,
      (host) =>
        Effect.gen(function* () {
          const { db } = host
          yield* prepare(
            host,
            "t",
            mode,
            plain,
            `create function again() returns trigger language plpgsql
           as $$ begin update t set v = v + 1 where id = new.id and v < 3; return null; end $$`,
            "create trigger again after insert or update on t for each row execute function again()"
          )
          yield* db.run("begin", "insert into t values (9, 0)", setBack, "insert into t values (1, 0)", "commit")
          expect((yield* changes(db, "t")).filter(({ key }) => key === "1").map(({ after }) => after)).toEqual(
            [0, 1, 2, 3].map((v) => `{"v": ${v}, "id": 1}`)
          )
        })
    )
  }

  attack("does not record the TRUNCATE of a partitioned table again for its partitions", (host) =>
    Effect.gen(function* () {
      const { db } = host
      yield* prepare(
        host,
        "t",
        "statement",
        "create table t (id int primary key, v int) partition by range (id)",
        "create table t_1 partition of t for values from (0) to (10)",
        "create table t_2 partition of t for values from (10) to (20)"
      )
      yield* db.run("insert into t values (1, 0), (11, 0)", "begin", setBack, "truncate t", "commit")
      expect((yield* changes(db, "t")).filter(({ op }) => op === "truncate")).toHaveLength(1)
    })
  )
})
