/** The order of changes within functions, DO blocks and messages of several statements. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import { attacks, brief, changes, clear, type Session } from "../support/adversarial.js"
import { blocks, fillPlan, messagesOf, skippingSteps, tables, world } from "../support/hostPrograms.js"
import { disagreements, rowsOf } from "../support/replay.js"
import { runs } from "../support/runs.js"

const logged = `
  create table m (id int primary key, v text);
  create table log (id bigint generated always as identity primary key, v text);
  create table plain (v text);
  create function tr() returns trigger language plpgsql as $$ begin insert into log (v) values ('x'); return new; end $$;
  create trigger tr after insert on plain for each row execute function tr()`

const ofM = (db: Session) => Effect.map(changes(db, "m"), brief)

attacks("siblings of a statement whose triggers wrote something", (attack) => {
  const siblings = [
    "insert into plain values ('l')",
    "insert into m values (1, 'a')",
    "update m set v = 'b'",
    "delete from m"
  ]
  const forms: ReadonlyArray<readonly [string, ReadonlyArray<string>]> = [
    ["a DO block", [`do $$ begin ${siblings.join("; ")}; end $$`]],
    [
      "a function",
      [`create function f() returns void language plpgsql as $$ begin ${siblings.join("; ")}; end $$`, "select f()"]
    ],
    [
      "a function in SQL",
      [`create function f() returns void language sql as $$ ${siblings.join("; ")} $$`, "select f()"]
    ],
    ["a procedure", [`create procedure f() language plpgsql as $$ begin ${siblings.join("; ")}; end $$`, "call f()"]],
    ["a message of several statements", [siblings.join("; ")]],
    ["a transaction in one message", [`begin; ${siblings.join("; ")}; commit`]],
    [
      "a trigger of another table",
      [
        "create table button (id int)",
        `create function f() returns trigger language plpgsql as $$ begin ${siblings.join("; ")}; return null; end $$`,
        "create trigger f after insert on button for each row execute function f()",
        "insert into button values (1)"
      ]
    ]
  ]
  for (const mode of ["statement", "row"] as const) {
    for (const [form, messages] of forms) {
      attack(
        `keep the order of insert, update and delete of a row, in ${form}, in ${mode} mode`,
        ({ apply, db, readers: reads }) =>
          Effect.gen(function* () {
            yield* db.run(logged)
            yield* apply({ table: "m", mode }, { table: "log", mode })
            yield* db.run(...messages)
            expect(yield* ofM(db)).toEqual(["insert 1", "update 1", "delete 1"])
            expect(yield* Effect.orDie(disagreements(db, reads, "m"))).toEqual([])
            const answer = yield* Effect.orDie(reads.query.asOf("m", { id: 1 }, new Date(Date.now() + 60_000)))
            expect(answer._tag).toBe("Deleted")
          })
      )
    }
  }

  attack(
    "are told apart from triggers that undid something, for rows that the record does not know yet",
    ({ apply, db, readers: reads }) =>
      Effect.gen(function* () {
        yield* db.run(
          "create table t (id int primary key, v text)",
          "create table outside (id int)",
          `create function guard() returns trigger language plpgsql as $$ begin
           if new.v = 'forbidden' then update t set v = old.v where id = new.id; end if; return null; end $$`,
          "create trigger guard after update on t for each row execute function guard()",
          `create function touch() returns trigger language plpgsql as $$ begin
           update t set v = 'touched' where id = new.id; return null; end $$`,
          "create trigger touch after insert on outside for each row execute function touch()",
          "insert into t select i, 'kept' from generate_series(1, 6) i"
        )
        yield* apply("t")
        const start = yield* rowsOf(db, "t")
        yield* db.run(
          // The trigger puts it back.
          "update t set v = 'forbidden' where id = 1",
          // A statement does, after a trigger of a table that is not captured wrote the row.
          "do $$ begin insert into outside values (2); update t set v = 'kept' where id = 2; end $$",
          "insert into outside values (3); update t set v = 'kept' where id = 3",
          "do $$ begin insert into outside values (4); update t set v = 'forbidden' where id = 4; update t set v = 'kept' where id = 4; end $$",
          "do $$ begin delete from t where id = 5; insert into t values (5, 'kept'); insert into outside values (5); delete from t where id = 5; end $$",
          "do $$ begin insert into outside values (6), (6); update t set v = 'kept' where id = 6; insert into outside values (6); end $$"
        )
        expect(yield* Effect.orDie(disagreements(db, reads, "t", start))).toEqual([])
      })
  )

  attack(
    "keep their order with triggers that write the same row three levels deep between them",
    ({ apply, db, readers: reads }) =>
      Effect.gen(function* () {
        yield* db.run(
          "create table t (id int primary key, n int not null)",
          "create table outside (id int)",
          `create function climb() returns trigger language plpgsql as $$ begin
           if new.n % 10 < 3 then update t set n = n + 1 where id = new.id; end if; return null; end $$`,
          "create trigger climb after insert or update on t for each row execute function climb()",
          `create function outside_in() returns trigger language plpgsql as $$ begin
           update t set n = 0 where id = new.id; update t set n = n + 10 where id = new.id; return null; end $$`,
          "create trigger outside_in after insert on outside for each row execute function outside_in()"
        )
        yield* apply("t")
        yield* db.run(
          `do $$ begin
           insert into t values (1, 0), (2, 0);
           update t set n = 0;
           insert into outside values (1), (2), (1);
           update t set n = 0 where id = 1;
           delete from t where id = 2;
           insert into t values (2, 0);
           update t set n = 0;
         end $$`,
          "update t set n = 0; insert into outside values (1); update t set n = 0; delete from t; insert into t values (1, 0)"
        )
        expect(yield* Effect.orDie(disagreements(db, reads, "t"))).toEqual([])
        expect((yield* changes(db, "t")).length).toBeGreaterThan(40)
      })
  )

  attack("keep their order if a trigger writes a child before the cascade takes it", ({ apply, db, readers: reads }) =>
    Effect.gen(function* () {
      yield* db.run(
        "create table parent (id int primary key)",
        "create table child (id int primary key, parent int references parent on delete cascade, v text)",
        `create function last_words() returns trigger language plpgsql as $$ begin
           insert into child values (old.id + 10, old.id, 'new'); update child set v = 'last' where parent = old.id; return old; end $$`,
        "create trigger last_words before delete on parent for each row execute function last_words()"
      )
      yield* apply("parent", "child")
      yield* db.run(
        "insert into parent values (1), (2)",
        "insert into child values (1, 1, 'first')",
        "delete from parent"
      )
      expect(yield* Effect.orDie(disagreements(db, reads, "child"))).toEqual([])
      expect(yield* Effect.orDie(disagreements(db, reads, "parent"))).toEqual([])
    })
  )

  attack(
    "keep their order beside what a savepoint takes back, and what an earlier message left",
    ({ apply, db, readers: reads }) =>
      Effect.gen(function* () {
        yield* db.run(
          "create table t (id int primary key, n int not null)",
          `create function more() returns trigger language plpgsql as $$ begin
           if new.n % 2 = 1 then update t set n = n + 1 where id = new.id; end if; return null; end $$`,
          "create trigger more after insert or update on t for each row execute function more()"
        )
        yield* apply("t")
        yield* db.run(
          "begin",
          "insert into t values (1, 1)",
          "savepoint a",
          "update t set n = 3",
          "rollback to a",
          "update t set n = 5",
          "delete from t",
          "insert into t values (1, 5)",
          "update t set n = 0",
          "update t set n = 1",
          "commit"
        )
        expect(yield* Effect.orDie(disagreements(db, reads, "t"))).toEqual([])
      })
  )
})

attacks("random blocks of statements and host triggers", (attack) => {
  for (const mode of ["statement", "row"] as const) {
    for (const known of [true, false]) {
      attack(
        `leave a record that tells how the tables came to be, ${known ? "from the first row on" : "of rows that were there before"}, in ${mode} mode`,
        ({ apply, db, readers: reads }) =>
          Effect.gen(function* () {
            yield* db.run(...world)
            yield* apply(...tables.map((table) => ({ table, mode })))
            const programs = FastCheck.sample(FastCheck.record({ steps: skippingSteps, blocks }), {
              numRuns: runs(40),
              seed: known ? 20_261_128 : 20_261_129
            })
            const failures: Array<unknown> = []
            let written = 0
            for (const program of programs) {
              yield* db.run(
                "rollback",
                ["truncate plan, outside", ...tables.map((name) => `delete from ${name}`)].join("; ")
              )
              yield* clear(db)
              yield* db.run(
                tables
                  .map(
                    (name) =>
                      `insert into ${name} values (1, 'one', 0, null), (2, 'two', 0, 1), (3, 'three', 0, 2), (4, 'four', 0, null)`
                  )
                  .join("; "),
                ...fillPlan(program.steps)
              )
              yield* known ? Effect.void : clear(db)
              const start = new Map<string, Effect.Effect.Success<ReturnType<typeof rowsOf>>>()
              for (const table of tables) {
                start.set(table, known ? new Map() : yield* rowsOf(db, table))
              }
              const outcomes: Array<string> = []
              for (const message of program.blocks.flatMap(messagesOf)) {
                yield* db.run("select set_config('host.depth', '', false)")
                outcomes.push(yield* db.outcome(message))
              }
              const wrong: Array<string> = []
              for (const table of tables) {
                wrong.push(...(yield* Effect.orDie(disagreements(db, reads, table, start.get(table)))))
              }
              written += Number(yield* db.value("select count(*) from threadline.audit_changes"))
              if (wrong.length > 0) {
                failures.push({ ...program, messages: program.blocks.flatMap(messagesOf), outcomes, wrong })
              }
            }
            expect(
              failures.length,
              JSON.stringify(failures.sort((a, b) => JSON.stringify(a).length - JSON.stringify(b).length)[0], null, 1)
            ).toBe(0)
            expect(written).toBeGreaterThan(programs.length * 8)
          }),
        300_000
      )
    }
  }
})
