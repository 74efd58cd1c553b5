/** Partitions at every depth, and inheritance. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { attacks, brief, chain, changes, clear } from "../support/adversarial.js"

const tree = `
  create table m (id int, day date not null, v text, n int default 0, primary key (id, day)) partition by range (day);
  create table m_2023 partition of m for values from ('2023-01-01') to ('2024-01-01');
  create table m_2024 partition of m for values from ('2024-01-01') to ('2025-01-01') partition by list (id);
  create table m_2024_odd partition of m_2024 for values in (1, 3, 5);
  create table m_2024_even partition of m_2024 for values in (2, 4, 6);
  create schema far;
  create table far."Odd.Rest" partition of m default`

attacks("partitions", (attack) => {
  for (const mode of ["statement", "row"] as const) {
    attack(
      `are recorded under the root's name, and a move between them as what it is, in ${mode} mode`,
      ({ apply, db }) =>
        Effect.gen(function* () {
          yield* db.run(tree)
          yield* apply({ table: "m", mode })
          yield* db.run(
            "insert into m values (1, '2023-05-05', 'a'), (1, '2024-05-05', 'b'), (2, '2024-05-05', 'c'), (9, '2030-01-01', 'd')",
            "insert into m_2023 values (2, '2023-06-06', 'leaf')",
            "insert into m_2024 values (3, '2024-06-06', 'branch')",
            "insert into m_2024_even values (4, '2024-06-06', 'deep')",
            `insert into far."Odd.Rest" values (8, '2031-01-01', 'far')`,
            "update m set n = n + 1",
            "update m_2024 set v = v || '!'",
            "update m_2024_even set n = 7 where id = 4",
            "delete from m_2023 where id = 2",
            "copy m from program 'printf \"5\\t2024-07-07\\tcopied\\t0\\n\"'",
            "merge into m using (values (1, date '2023-05-05'), (6, date '2024-08-08')) s (id, day) on m.id = s.id and m.day = s.day when matched then update set v = 'merged' when not matched then insert values (s.id, s.day, 'merged', 0)"
          )
          const recordedChanges = yield* changes(db)
          expect(new Set(recordedChanges.map(({ table }) => table))).toEqual(new Set(["m"]))
          expect(yield* chain(db, "m")).toEqual([])
          expect(recordedChanges).toHaveLength(4 + 4 + 8 + 4 + 1 + 1 + 1 + 2)
          if (mode === "statement") {
            expect(recordedChanges.map(({ partition }) => partition).filter((name) => name !== null)).toEqual([
              "m_2023",
              "m_2024",
              "m_2024_even",
              'far."Odd.Rest"',
              "m_2024",
              "m_2024",
              "m_2024",
              "m_2024",
              "m_2024_even",
              "m_2023"
            ])
          }
          // From leaf to leaf of one branch, to another branch, to the default; one row and several.
          yield* clear(db)
          yield* db.run(
            "delete from m; insert into m values (1, '2023-05-05', 'one'), (3, '2024-05-05', 'two'), (4, '2024-05-05', 'three')"
          )
          yield* clear(db)
          yield* db.run(
            "update m set day = '2024-01-01' where id = 1",
            "update m set id = id + 1, day = day + 400",
            "update m set day = '2023-12-31'"
          )
          const moves = yield* changes(db)
          const ends = yield* db.column("select to_jsonb(m.*) from m")
          expect(ends).toHaveLength(3)
          if (mode === "statement") {
            expect(moves.map(({ op }) => op)).toEqual(Array.from({ length: 7 }, () => "update"))
            expect(moves.filter(({ fields }) => fields?.includes("v"))).toEqual([])
          }
          // Row triggers see a move as a delete and an insert: both say what happened to the row.
          expect(
            moves
              .filter(({ op }) => op !== "delete")
              .slice(-3)
              .map(({ after }) => after)
              .sort()
          ).toEqual([...ends].sort())
        })
    )

    attack(`are truncated with the root once, and alone with their rows, in ${mode} mode`, ({ apply, db }) =>
      Effect.gen(function* () {
        yield* db.run(tree)
        const fill =
          "insert into m values (1, '2023-05-05', 'a'), (1, '2024-05-05', 'b'), (2, '2024-05-05', 'c'), (9, '2030-01-01', 'd')"
        yield* apply({ table: "m", mode })
        yield* db.run(fill)
        yield* clear(db)
        yield* db.run("truncate m")
        expect((yield* changes(db)).map(({ details, op, partition }) => [op, partition, details])).toEqual([
          ["truncate", null, '{"rowCount": 4, "estimated": false}']
        ])
        yield* db.run(fill)
        yield* clear(db)
        yield* db.run("truncate m_2023", "truncate m_2024", "truncate m")
        expect((yield* changes(db)).map(({ details, key, op, partition }) => [op, partition, key, details])).toEqual([
          ["truncate", "m_2023", '["1","2023-05-05"]', null],
          ["truncate", "m_2024", '["1","2024-05-05"]', null],
          ["truncate", "m_2024", '["2","2024-05-05"]', null],
          ["truncate", null, null, '{"rowCount": 1, "estimated": false}']
        ])
        // In one transaction: what a leaf holds after its root was truncated is not the root's truncation.
        yield* clear(db)
        yield* db.run(
          `begin; ${fill}; truncate m; insert into m values (1, '2023-05-05', 'again'); truncate m_2023; truncate m_2024; truncate m; commit`
        )
        expect(
          (yield* changes(db))
            .filter(({ op }) => op === "truncate")
            .map(({ from, partition }) => [partition, from !== null])
        ).toEqual([
          [null, false],
          ["m_2023", true],
          ["m_2024", false],
          [null, false]
        ])
      })
    )
  }

  attack("are not truncated without a record under any setting", ({ apply, db, role, session }) =>
    Effect.gen(function* () {
      yield* db.run(tree)
      yield* apply("m")
      const app = yield* role("app")
      yield* db.run(
        `grant usage on schema public to ${app}; grant all on all tables in schema public to ${app}`,
        "insert into m values (1, '2023-05-05', 'a')"
      )
      const attacker = yield* session("app")
      yield* clear(db)
      yield* attacker.run(
        `begin; select set_config('threadline.truncating', 'm'::regclass::oid::text, true); truncate m_2023; commit`
      )
      expect((yield* changes(db)).map(({ op, partition }) => [op, partition])).toEqual([["truncate", "m_2023"]])
      // Nor with a truncation of the root before it, in the same message and so at the same time.
      yield* db.run("insert into m values (1, '2023-05-05', 'a')")
      yield* clear(db)
      yield* attacker.run(
        `begin; truncate m; select set_config('threadline.truncating', 'm'::regclass::oid::text, true);
         insert into m values (1, '2023-05-05', 'b'); select set_config('threadline.truncating', 'm'::regclass::oid::text, true); truncate m_2023; commit`
      )
      expect((yield* changes(db)).map(({ op, partition }) => [op, partition])).toEqual([
        ["truncate", null],
        ["insert", null],
        ["truncate", "m_2023"]
      ])
    })
  )

  attack(
    "that come and go are reported, never guessed, and marked if that is asked for",
    ({ apply, capture, db, findings }) =>
      Effect.gen(function* () {
        yield* db.run(tree)
        yield* apply("m")
        expect(yield* findings()).toEqual([])
        yield* db.run(
          "create table late (like m including all); insert into late values (1, '2026-01-01', 'came along')",
          "alter table m attach partition late for values from ('2026-01-01') to ('2027-01-01')"
        )
        expect(yield* changes(db)).toEqual([])
        expect(yield* findings()).toEqual(["PartitionAttached"])
        // What goes through the root is captured at once.
        yield* db.run("insert into m values (2, '2026-02-02', 'new')")
        expect(brief(yield* changes(db))).toEqual(['insert ["2","2026-02-02"]'])
        yield* capture.apply([{ table: "m" }], { markPartitions: true })
        expect(yield* findings()).toEqual([])
        yield* db.run("update late set n = 5 where id = 1")
        expect(brief(yield* changes(db))).toEqual([
          'insert ["2","2026-02-02"]',
          'baseline ["1","2026-01-01"]',
          'baseline ["2","2026-02-02"]',
          'update ["1","2026-01-01"]'
        ])
        yield* db.run("alter table m detach partition late")
        expect(yield* findings()).toEqual(["PartitionDetached"])
        yield* clear(db)
        yield* capture.apply([{ table: "m" }], { markPartitions: true })
        expect([...brief(yield* changes(db))].sort()).toEqual([
          'delete ["1","2026-01-01"]',
          'delete ["2","2026-02-02"]'
        ])
        yield* db.run("delete from late")
        expect(yield* findings()).toEqual([])
        expect((yield* changes(db)).length).toBe(2)
      })
  )

  attack("are of the same table if their columns stand in another order, with one dropped", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run(
        "create table p (id int primary key, a text, secret text, b numeric) partition by range (id)",
        "create table p1 (gone int, b numeric, secret text, id int not null, a text)",
        "alter table p1 drop column gone",
        "alter table p attach partition p1 for values from (1) to (100)"
      )
      yield* apply({ table: "p", mask: ["secret"] })
      yield* db.run(
        "insert into p values (1, 'a', 'hush', 1.0)",
        "insert into p1 (id, a, secret, b) values (2, 'a', 'hush', 1.0)",
        "update p set b = 1.00",
        "update p1 set a = 'b'",
        "alter table p rename column a to renamed",
        "update p1 set renamed = 'c'",
        "alter table p rename column secret to shy",
        "update p1 set shy = 'hush2', renamed = 'hush'",
        "delete from p1"
      )
      expect((yield* changes(db)).filter((change) => JSON.stringify(change).includes("hush"))).toEqual([])
      expect(new Set((yield* changes(db)).map(({ key }) => key))).toEqual(new Set(["1", "2"]))
    })
  )

  attack(
    "that are members of an inheritance tree are captured in row mode, each under its own name",
    ({ apply, capture, db }) =>
      Effect.gen(function* () {
        yield* db.run(
          "create table base (id int primary key, v text)",
          "create table child (extra int, primary key (id)) inherits (base)",
          "create table grandchild (primary key (id)) inherits (child)"
        )
        const refused = yield* Effect.either(capture.apply([{ table: "base", mode: "statement" }]))
        expect(refused._tag === "Left" && refused.left._tag === "CaptureError" && refused.left.reason).toBe(
          "ModeUnsupported"
        )
        yield* apply("base", "child", "grandchild")
        yield* db.run(
          "insert into base values (1, 'a')",
          "insert into child values (2, 'b', 5)",
          "insert into grandchild values (3, 'c', 6)",
          "update base set v = v || '!'",
          "update only base set v = 'only'",
          "delete from child",
          "truncate base"
        )
        expect((yield* changes(db)).map(({ key, op, table }) => `${table} ${op} ${key}`)).toEqual([
          "base insert 1",
          "child insert 2",
          "grandchild insert 3",
          "base update 1",
          "child update 2",
          "grandchild update 3",
          "base update 1",
          "child delete 2",
          "grandchild delete 3",
          "base truncate null",
          "child truncate null",
          "grandchild truncate null"
        ])
      })
  )
})
