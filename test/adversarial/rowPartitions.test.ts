/** Partitions of tables in row mode: PostgreSQL clones the triggers, with the rights of whoever makes the partition (A5, A27, A32). */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { attacks, changes, clear, type Host } from "../support/adversarial.js"

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

const restored = "update threadline.capture_policies set relation = 0, database = 'elsewhere', partition_marks = '{}'"

attacks("partitions in row mode (A5)", (attack) => {
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
