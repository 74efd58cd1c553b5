/** Triggers of the host's that write the row that is being written: the images still tell one story. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import { attacks, brief, chain, changes, clear, type Session } from "../support/adversarial.js"
import { fillPlan, programs, tables, world } from "../support/hostPrograms.js"
import { runs } from "../support/runs.js"

const trigger = (name: string, when: string, table: string, body: string, level = "row") => `
  create function ${name}() returns trigger language plpgsql as $$ begin ${body}; return ${level === "row" && when.startsWith("before") ? "new" : "null"}; end $$;
  create trigger ${name} ${when} on ${table} for each ${level} execute function ${name}()`

attacks("the chain of a row that host triggers write as well", (attack) => {
  for (const mode of ["statement", "row"] as const) {
    attack(`holds after every kind of statement, on one row and on many, in ${mode} mode`, ({ apply, db }) =>
      Effect.gen(function* () {
        yield* db.run(
          "create table t (id int primary key, v text, n int not null default 0)",
          trigger("t_insert", "after insert", "t", "update t set n = n + 1 where id = new.id"),
          trigger("t_update", "after update of v", "t", "update t set n = n + 10 where id = new.id")
        )
        yield* apply({ table: "t", mode })
        yield* db.run(
          "insert into t values (1, 'a')",
          "insert into t select i, 'b' from generate_series(2, 6) i",
          "update t set v = 'c' where id = 1",
          "update t set v = v || '!'",
          "insert into t values (1, 'x'), (7, 'y') on conflict (id) do update set v = excluded.v",
          "delete from t where id < 3"
        )
        expect(yield* chain(db, "t")).toEqual([])
        expect(brief(yield* changes(db)).slice(0, 2)).toEqual(["insert 1", "update 1"])
      })
    )
  }

  attack(
    "holds for rows that are alike, shifted by one statement and written again at their new keys",
    ({ apply, db }) =>
      Effect.gen(function* () {
        for (const [table, kind] of [
          ["t", "primary key"],
          ["u", "primary key deferrable"]
        ] as const) {
          yield* db.run(
            `create table ${table} (id int ${kind}, n int not null)`,
            trigger(`${table}_count`, "after update of id", table, `update ${table} set n = n + 1 where id = new.id`)
          )
          yield* apply(table)
          yield* db.run(
            `insert into ${table} values (12, 1), (13, 1), (14, 1)`,
            `update ${table} set id = id - 1`,
            `update ${table} set id = id - 1`,
            `update ${table} set n = 1`,
            `update ${table} set id = id - 1`
          )
          expect(yield* chain(db, table)).toEqual([])
          // A row that had the key, and moved on before.
          yield* db.run(
            `insert into ${table} values (21, 1), (22, 1), (23, 1)`,
            `update ${table} set id = 20 where id = 21`,
            `update ${table} set id = id - 1 where id >= 20`,
            `delete from ${table} where id >= 19`
          )
          expect(yield* chain(db, table)).toEqual([])
          const last = yield* db.rows(
            `select distinct on (row_key) row_key as key, data_after ->> 'n' as n
           from threadline.audit_changes
           where table_name = '${table}' and row_key in ('9', '10', '11')
           order by row_key, captured_at desc, id desc`
          )
          expect(last).toEqual(["10", "11", "9"].map((key) => ({ key, n: "2" })))
        }
      })
  )

  attack("holds three levels deep, and below a statement on a table that is not captured", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run(
        "create table t (id int primary key, n int not null default 0)",
        "create table outside (id int)",
        "create table log (id int generated always as identity primary key, t int, n int)",
        trigger(
          "t_climb",
          "after insert or update",
          "t",
          "if new.n < 3 then update t set n = n + 1 where id = new.id; end if"
        ),
        trigger("t_log", "after update", "t", "insert into log (t, n) values (new.id, new.n)"),
        trigger(
          "outside_in",
          "after insert",
          "outside",
          "insert into t values (new.id); update t set n = n + 100 where id = new.id"
        )
      )
      yield* apply("t", "log")
      yield* db.run(
        "insert into t values (1)",
        "insert into t select i from generate_series(2, 5) i",
        "insert into outside values (10)",
        "insert into outside values (11), (12), (13)",
        "update t set n = 0"
      )
      expect(yield* chain(db, "t")).toEqual([])
      expect(yield* chain(db, "log")).toEqual([])
    })
  )

  attack(
    "holds for a row replaced by a trigger before the insert, deleted by one after it, moved to another key",
    ({ apply, db }) =>
      Effect.gen(function* () {
        yield* db.run(
          "create table a (id int primary key, v int)",
          trigger("a_replace", "before insert", "a", "delete from a where id = new.id"),
          "create table b (id int primary key, v int)",
          trigger("b_gone", "after insert", "b", "if new.v < 0 then delete from b where id = new.id; end if"),
          "create table c (id int primary key, v int)",
          trigger(
            "c_move",
            "after insert or update",
            "c",
            "if new.id < 100 then update c set id = new.id + 100 where id = new.id; update c set v = v + 1 where id = new.id + 100; end if"
          )
        )
        yield* apply("a", "b", "c")
        yield* db.run(
          "insert into a values (1, 1)",
          "insert into a values (1, 2)",
          "insert into a values (1, 3), (2, 1)",
          "insert into a select 1, i from generate_series(4, 6) i",
          "insert into b values (1, -1)",
          "insert into b values (2, 1), (3, -1), (4, -1)",
          "insert into c values (1, 1)",
          "insert into c values (2, 1), (3, 1)",
          "update c set id = id - 100"
        )
        for (const table of ["a", "b", "c"]) {
          expect([table, yield* chain(db, table)]).toEqual([table, []])
        }
      })
  )

  attack(
    "holds with foreign keys that cascade, mixed with triggers and with a table that points at itself",
    ({ apply, db }) =>
      Effect.gen(function* () {
        yield* db.run(
          "create table tree (id int primary key, parent int references tree on delete cascade on update cascade, n int not null default 0)",
          "create table leaf (id int primary key, tree int references tree on delete set null on update cascade, n int not null default 0)",
          trigger(
            "leaf_count",
            "after update",
            "leaf",
            "if new.tree is null and new.n < 5 then update leaf set n = n + 1 where id = new.id; end if"
          ),
          trigger("tree_count", "after update of parent", "tree", "update tree set n = n + 1 where id = new.id")
        )
        yield* apply("tree", "leaf")
        yield* db.run(
          "insert into tree select i, nullif(i / 2, 0) from generate_series(1, 15) i",
          "insert into leaf select i, i from generate_series(1, 15) i",
          "update tree set id = 100 where id = 1",
          "update tree set id = id + 1000 where id in (2, 3, 15)",
          "delete from tree where id = 1002",
          "delete from tree"
        )
        expect(yield* chain(db, "tree")).toEqual([])
        expect(yield* chain(db, "leaf")).toEqual([])
      })
  )

  attack(
    "holds for an aggregate that every row's trigger writes again, in statements of hundreds",
    ({ apply, db }) =>
      Effect.gen(function* () {
        yield* db.run(
          "create table total (id int primary key, n int not null)",
          "create table line (id int primary key, total int, n int not null)",
          trigger(
            "line_sum",
            "after insert or update",
            "line",
            "update total set n = total.n + 1 where id = new.total; update line set n = n + 1 where id = new.id and n < 3"
          )
        )
        yield* apply("total", "line")
        yield* db.run(
          "insert into total values (1, 0), (2, 0)",
          "insert into line select i, i % 2 + 1, 0 from generate_series(1, 300) i",
          "update line set total = 3 - total"
        )
        expect(yield* chain(db, "total")).toEqual([])
        expect(yield* chain(db, "line")).toEqual([])
        expect(yield* db.value("select sum(n) from total")).toBe("1500")
      }),
    300_000
  )

  attack("is made three levels below a bulk statement by reading in proportion to what is written", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run(
        "create table one (id int primary key, n int not null default 0)",
        "create table two (id int primary key, n int not null default 0)",
        "create table three (id int primary key, n int not null default 0)"
      )
      yield* apply("one", "two", "three")
      yield* db.run(
        "insert into one select i from generate_series(1, 800) i",
        "insert into two select i from generate_series(1, 1000) i",
        "insert into three select i from generate_series(1, 1000) i",
        trigger(
          "one_two",
          "after update",
          "one",
          "update two set n = n + 1 where id in (new.id, new.id + 1, new.id + 2)"
        ),
        trigger("two_three", "after update", "two", "update three set n = n + 1 where id = new.id")
      )
      // Rows of the record that a statement has read: what takes longer and longer shows here, whatever the machine does.
      const read = (statement: string) =>
        Effect.gen(function* () {
          yield* db.run("begin", statement)
          const rows = yield* db.value(
            "select sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) from pg_stat_xact_all_tables where relname like 'audit_changes%'"
          )
          yield* db.run("commit")
          return Number(rows)
        })
      const few = yield* read("update one set n = n + 1 where id <= 100")
      const many = yield* read("update one set n = n + 1")
      expect(many / 800).toBeLessThan(Math.max(10, (3 * few) / 100))
      expect(yield* db.value("select count(*) from threadline.audit_changes")).toBe(String(900 * 7 + 2800))
      expect(yield* chain(db, "two")).toEqual([])
      expect(yield* chain(db, "three")).toEqual([])
    })
  )
})

attacks("several sessions that write one row", (attack) => {
  attack("leave its changes in the order in which they happened", ({ apply, db, session }) =>
    Effect.gen(function* () {
      yield* db.run(
        "create table t (id int primary key, n int not null default 0)",
        "create table other (id int primary key)"
      )
      yield* apply("t", "other")
      yield* db.run("insert into t values (1), (2)")
      const sessions = yield* Effect.all(Array.from({ length: 8 }, () => session()))
      yield* Effect.forEach(
        sessions,
        (writer, at) =>
          Effect.forEach(Array.from({ length: 25 }), (_, turn) =>
            writer.run(
              // Ids and transaction rows are drawn long before the lock on the row is had.
              `begin; insert into other values (${at * 100 + turn}); update t set n = n + 1 where id = ${(turn % 2) + 1}; commit`
            )
          ),
        { concurrency: "unbounded" }
      )
      expect(yield* chain(db, "t")).toEqual([])
      expect(yield* db.value("select sum(n) from t")).toBe("200")
    })
  )
})

const state = (db: Session) =>
  Effect.forEach(tables, (name) => db.column(`select to_jsonb(t.*) from ${name} t order by id`))

attacks("random programs of host triggers and statements", (attack) => {
  for (const mode of ["statement", "row"] as const) {
    attack(
      `leave a chain that holds, and do the same without capture, in ${mode} mode`,
      ({ apply, db, session }) =>
        Effect.gen(function* () {
          yield* db.run(...world)
          yield* db.run("create schema twin; set search_path = twin", ...world, "set search_path = public")
          yield* apply(...tables.map((table) => ({ table, mode })))
          const twin = yield* session()
          yield* twin.run("set search_path = twin")
          const samples = FastCheck.sample(programs, { numRuns: runs(150), seed: 20_260_101 })
          const failures: Array<unknown> = []
          let nested = 0
          for (const program of samples) {
            const empty = ["truncate plan, outside", ...tables.map((name) => `delete from ${name}`)]
            const fill = [
              ...tables.map(
                (name) =>
                  `insert into ${name} values (1, 'one', 0, null), (2, 'two', 0, 1), (3, 'three', 0, 2), (4, 'four', 0, null)`
              ),
              ...fillPlan(program.steps)
            ]
            const outcomes: Array<ReadonlyArray<string>> = []
            for (const session of [db, twin]) {
              yield* session.run(empty.join("; "))
              yield* session === db ? clear(db) : Effect.void
              yield* session.run(fill.join("; "), "begin")
              const seen: Array<string> = []
              for (const statement of program.outer) {
                yield* session.run("savepoint s; select set_config('host.depth', '', true)")
                const result = yield* session.outcome(statement)
                seen.push(result)
                if (result !== "ok") {
                  yield* session.run("rollback to s")
                }
              }
              yield* session.run("commit")
              outcomes.push(seen)
            }
            const broken: Array<string> = []
            for (const name of tables) {
              broken.push(...(yield* chain(db, name)))
            }
            const [here, there] = [yield* state(db), yield* state(twin)]
            const count = yield* db.value("select count(*) from threadline.audit_changes")
            nested += Number(count)
            if (
              broken.length > 0 ||
              JSON.stringify(outcomes[0]) !== JSON.stringify(outcomes[1]) ||
              JSON.stringify(here) !== JSON.stringify(there)
            ) {
              failures.push({ program, outcomes, broken })
            }
          }
          expect(
            failures.length,
            JSON.stringify(failures.sort((a, b) => JSON.stringify(a).length - JSON.stringify(b).length)[0], null, 1)
          ).toBe(0)
          // The programs do write.
          expect(nested).toBeGreaterThan(samples.length * 15)
        }),
      300_000
    )
  }
})
