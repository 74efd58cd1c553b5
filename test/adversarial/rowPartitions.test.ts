/** Partitions of tables in row mode: PostgreSQL clones the triggers, with the rights of whoever makes the partition. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { attacks, changes, clear, type Host, restored } from "../support/adversarial.js"

/** A table in row mode that belongs to a role without any right to the record, and a session of that role. */
const owned = (host: Host) =>
  Effect.gen(function* () {
    const app = yield* host.session("app")
    yield* host.db.run(`grant create on schema public to ${yield* host.role("app")}`)
    yield* app.run(
      "create table m (id int primary key, v text) partition by range (id)",
      "create table m_1 partition of m for values from (0) to (10)"
    )
    yield* host.apply({ table: "m", mode: "row" })
    return app
  })

const brief = ({ db }: Host) =>
  Effect.map(changes(db), (found) => found.map(({ key, op, table }) => `${table} ${op} ${key}`))

attacks("partitions in row mode", (attack) => {
  attack("are made, attached and nested by an owner who may do nothing with the record", (host) =>
    Effect.gen(function* () {
      const app = yield* owned(host)
      yield* app.run(
        "create table m_2 partition of m for values from (10) to (20)",
        "create table m_3 (like m including all)",
        "alter table m attach partition m_3 for values from (20) to (30)",
        "create table m_4 partition of m for values from (30) to (40) partition by range (id)",
        "create table m_41 partition of m_4 for values from (30) to (35)",
        "create table m_rest partition of m default",
        "insert into m values (1, 'a'), (11, 'b'), (21, 'c'), (31, 'd'), (99, 'e')",
        "update m_41 set v = 'dd'",
        "delete from m where id = 99"
      )
      expect(yield* brief(host)).toEqual([
        "m insert 1",
        "m insert 11",
        "m insert 21",
        "m insert 31",
        "m insert 99",
        "m update 31",
        "m delete 99"
      ])
      yield* host.apply({ table: "m", mode: "row" })
      expect(yield* host.findings({ table: "m", mode: "row" })).toEqual([])
      // Nothing that belongs to the record, or that only its owner may do, came with that right.
      expect(
        yield* host.db.column(
          "select distinct split_part(proname, '_', 1) from pg_proc where pronamespace = 'threadline'::regnamespace and proname ~ '_m_' and has_function_privilege('public', oid, 'execute')"
        )
      ).toEqual(["open"])
    })
  )

  attack(
    "take writes after a restore, before anyone applies: made since apply, renamed, without a TRUNCATE trigger",
    (host) =>
      Effect.gen(function* () {
        const app = yield* owned(host)
        yield* app.run("create table m_2 partition of m for values from (10) to (20)")
        yield* host.db.run(restored)
        yield* app.run("insert into m values (1, 'a'), (11, 'b')")
        expect(yield* brief(host)).toEqual(["m insert 1", "m insert 11"])
        yield* clear(host.db)
        yield* app.run(
          "alter table m rename to n",
          "insert into n values (2, 'a'), (12, 'b')",
          "alter table n rename to m"
        )
        expect(yield* brief(host)).toEqual(["n insert 2", "n insert 12"])
        yield* clear(host.db)
        yield* app.run(
          'drop trigger "0_threadline_truncate" on m',
          'drop trigger "0_threadline_truncate" on m_1',
          "insert into m values (3, 'a'), (13, 'b')"
        )
        expect(yield* brief(host)).toEqual(["m insert 3", "m insert 13"])
      })
  )

  attack("that take the name of their root are written to all the same", (host) =>
    Effect.gen(function* () {
      const app = yield* owned(host)
      yield* app.run("alter table m rename to root", "alter table m_1 rename to m", "insert into m values (1, 'a')")
      expect(yield* brief(host)).toEqual(["root insert 1"])
    })
  )

  attack("are guarded again by every migration, and open to no role by name", (host) =>
    Effect.gen(function* () {
      const app = yield* owned(host)
      const role = yield* host.role("app")
      yield* host.db.run(
        `grant execute on all functions in schema threadline to ${role}`,
        "select threadline.guard_record()"
      )
      expect(
        yield* host.db.column(
          `select p.proname from pg_proc p cross join lateral aclexplode(p.proacl) a join pg_roles r on r.oid = a.grantee
           where p.pronamespace = 'threadline'::regnamespace and p.prorettype = 'trigger'::regtype and r.rolname = '${role}'
             and p.proname not like 'open~_%' escape '~'`
        )
      ).toEqual([])
      yield* app.run("create table m_2 partition of m for values from (10) to (20)", "insert into m values (11, 'b')")
      expect(yield* brief(host)).toEqual(["m insert 11"])
    })
  )
})

attacks("captured tables that become partitions of captured ones", (attack) => {
  for (const [rootMode, leafMode] of [
    ["statement", "statement"],
    ["statement", "row"],
    ["row", "statement"],
    ["row", "row"]
  ] as const) {
    attack(
      `of ${leafMode} mode in a table of ${rootMode} mode are attached as without capture, and each row is recorded once`,
      (host) =>
        Effect.gen(function* () {
          const { apply, db } = host
          yield* db.run(
            "create table m (id int, k int, v text, primary key (id, k)) partition by list (k)",
            "create table m_1 partition of m for values in (1)",
            "create table alone (id int, k int, v text, primary key (id, k))",
            "create table branch (id int, k int, v text, primary key (id, k)) partition by list (k)",
            "create table branch_3 partition of branch for values in (3)"
          )
          const tables = [
            { table: "m", mode: rootMode },
            { table: "alone", mode: leafMode },
            { table: "branch", mode: leafMode }
          ]
          yield* apply(...tables)
          yield* db.run(
            "alter table m attach partition alone for values in (2)",
            "alter table m attach partition branch for values in (3)",
            "insert into m values (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c')",
            "insert into alone values (4, 2, 'd')",
            "insert into branch values (5, 3, 'e')",
            "insert into branch_3 values (6, 3, 'f')",
            "update alone set v = 'dd' where id = 4",
            "delete from branch where id = 5"
          )
          // What names the attached table is recorded under that name too, until apply.
          const recordedLines = yield* brief(host)
          expect(recordedLines.filter((change) => change.startsWith("m "))).toEqual([
            'm insert ["1","1"]',
            'm insert ["2","2"]',
            'm insert ["3","3"]',
            ...(rootMode === "row" ? ['m insert ["4","2"]'] : []),
            ...(rootMode === "row" || leafMode === "row" ? ['m insert ["5","3"]'] : []),
            'm insert ["6","3"]',
            ...(rootMode === "row" ? ['m update ["4","2"]'] : []),
            ...(rootMode === "row" || leafMode === "row" ? ['m delete ["5","3"]'] : [])
          ])
          expect(new Set(recordedLines).size).toBe(recordedLines.length)
          yield* clear(db)
          // Rows that MERGE moves, if it can: PostgreSQL hands them to row triggers alone.
          yield* db.run("merge into m using (values (1)) s (id) on m.id = s.id when matched then update set k = 3")
          expect([...(yield* brief(host))].sort()).toEqual(['m delete ["1","1"]', 'm insert ["1","3"]'])
          yield* clear(db)
          yield* db.run("alter table m detach partition branch", "update branch set v = 'g' where id = 6")
          expect(yield* brief(host)).toEqual(['branch update ["6","3"]'])
        })
    )
  }

  attack("of row mode in a table of statement mode have each row recorded once, however it is written", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run(
        "create table m (id int, k int, v text, w text, primary key (id, k)) partition by list (k)",
        "create table m_1 partition of m for values in (1)",
        "create table b (id int, k int, v text, w text, primary key (id, k)) partition by list (k)",
        "create table b_3 partition of b for values in (3)",
        "create table b_4 partition of b for values in (4)"
      )
      yield* apply({ table: "m", mode: "statement", mask: ["v"] }, { table: "b", mode: "row", mask: ["w"] })
      yield* db.run("alter table m attach partition b for values in (3, 4)")
      const checkWrite = Effect.fnUntraced(function* (write: string, ...expected: ReadonlyArray<string>) {
        yield* db.run(write)
        expect([write, ...(yield* brief(host))]).toEqual([write, ...expected.map((change) => `m ${change}`)])
        yield* clear(db)
      })
      yield* checkWrite(
        "insert into m select i, k, 'v', 'w' from generate_series(1, 2) i, unnest('{1, 3, 4}'::int[]) k order by 1, 2",
        ...['["1","1"]', '["1","3"]', '["1","4"]', '["2","1"]', '["2","3"]', '["2","4"]'].map((key) => `insert ${key}`)
      )
      yield* checkWrite("update m set v = v || 'x' where id = 1 and k = 3", 'update ["1","3"]')
      yield* checkWrite("update m set k = 4 where id = 9 or (id = 1 and k = 99)")
      yield* checkWrite("delete from m where k = 4", 'delete ["1","4"]', 'delete ["2","4"]')
      yield* checkWrite("update m set k = 4 where k = 3 and id = 1", 'update ["1","4"]')
      yield* checkWrite("update m set k = 1, id = 7 where k = 4", 'update ["7","1"]')
      yield* checkWrite("update m set k = 3 where id = 7", 'update ["7","3"]')
      yield* checkWrite("update m set id = 8 where id = 7", 'update ["8","3"]')
      yield* checkWrite("update b set v = 'y' where id = 8", 'update ["8","3"]')
      yield* checkWrite(
        `do $$ begin
           insert into b values (10, 3); update m set v = 'a' where id = 10; delete from b where id = 10;
           insert into m values (10, 3); update b set v = 'b' where id = 10; delete from m where id = 10;
           insert into b_3 values (10, 3); update m set k = 4 where id = 10; delete from m where id = 10;
         end $$`,
        ...['insert ["10","3"]', 'update ["10","3"]', 'delete ["10","3"]'],
        ...['insert ["10","3"]', 'update ["10","3"]', 'delete ["10","3"]'],
        ...['insert ["10","3"]', 'update ["10","4"]', 'delete ["10","4"]']
      )
      // What is masked by either policy is in no image that stays.
      yield* db.run("insert into m values (11, 3, 'secret', 'seen')")
      expect((yield* changes(db)).map(({ after }) => after)).toEqual([
        '{"k": 3, "v": "[masked]", "w": "seen", "id": 11}'
      ])
    })
  )
})
