/** The record in a database that does things to it: publications, row-level security, privileges, isolation, settings (A33). */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { attacks, changes } from "../support/adversarial.js"
import { disagreements, readers } from "../support/replay.js"

const who = (id: string) => `select threadline.set_context('{"actor": {"type": "user", "id": "${id}"}}')`

attacks("transactions that are serializable (A33)", (attack) => {
  const begin = "begin isolation level serializable"
  const programs: ReadonlyArray<readonly [string, ReadonlyArray<(table: string, n: number) => string>]> = [
    ["one write", [(table, n) => `insert into ${table} values (${n})`]],
    [
      "several writes",
      [
        (table, n) => `insert into ${table} values (${n})`,
        (table, n) => `update ${table} set v = 'x' where id = ${n}`,
        (table, n) => `delete from ${table} where id = ${n}`
      ]
    ],
    [
      "a context, then one that replaces it",
      [
        () => who("first"),
        (table, n) => `insert into ${table} values (${n})`,
        () => who("second"),
        (table, n) => `update ${table} set v = 'x' where id = ${n}`
      ]
    ],
    [
      "a context that comes after the first write",
      [
        (table, n) => `insert into ${table} values (${n})`,
        () => who("late"),
        (table, n) => `update ${table} set v = 'x' where id = ${n}`
      ]
    ],
    [
      "actions before and after the first write, and a part",
      [
        () => who("actor"),
        () => `select threadline.record_action('{"name": "before"}')`,
        () => `select threadline.record_action('{"name": "before too"}')`,
        (table, n) => `insert into ${table} values (${n})`,
        () => `select threadline.record_action('{"name": "after"}')`,
        () => `select threadline.begin_part('{"actor": {"type": "job", "id": "part"}}')`,
        (table, n) => `update ${table} set v = 'x' where id = ${n}`,
        () => `select threadline.finish('{"action": {"name": "part"}, "part": true}')`,
        (table, n) => `update ${table} set v = 'y' where id = ${n}`,
        () => `select threadline.finish('{"action": {"name": "done"}}')`
      ]
    ],
    [
      "a trigger that writes another table",
      [
        (table, n) => `insert into ${table}_noted values (${n})`,
        (table, n) => `update ${table}_noted set v = 'x' where id = ${n}`
      ]
    ]
  ]
  for (const [name, program] of programs) {
    attack(`two of them on unrelated tables never fail because of capture: ${name}`, ({ apply, db, session }) =>
      Effect.gen(function* () {
        for (const table of ["a", "b"]) {
          yield* db.run(
            `create table ${table} (id int primary key, v text)`,
            `create table ${table}_noted (id int primary key, v text)`,
            `create table ${table}_log (id bigint generated always as identity primary key, what text)`,
            `create function ${table}_note() returns trigger language plpgsql as $$ begin insert into ${table}_log (what) values (tg_op); return null; end $$`,
            `create trigger note after insert or update on ${table}_noted for each row execute function ${table}_note()`
          )
        }
        yield* apply("a", "b", "a_noted", "b_noted", "a_log", "b_log")
        yield* db.run("insert into a values (0); insert into b values (0)")
        const [one, two] = [yield* session(), yield* session()]
        const outcomes: Array<string> = []
        for (let n = 1; n <= 12; n++) {
          // What the planner knows of a small table makes it read all of it.
          yield* db.run("analyze threadline.audit_transactions, threadline.audit_actions, threadline.installs")
          yield* one.run(begin)
          yield* two.run(begin)
          for (const statement of program) {
            outcomes.push(yield* one.outcome(statement("a", n)), yield* two.outcome(statement("b", n)))
          }
          outcomes.push(yield* one.outcome("commit"), yield* two.outcome("commit"))
        }
        expect(outcomes.filter((outcome) => outcome !== "ok")).toEqual([])
        expect(
          yield* db.value("select count(*) from threadline.audit_transactions where context_error is not null")
        ).toBe("0")
        expect(yield* db.value("select count(*) from threadline.audit_actions where transaction_id is null")).toBe("0")
      })
    )
  }
})
