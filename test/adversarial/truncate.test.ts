/** TRUNCATE under an old snapshot, of parents alone, of empty tables, with columns that are generated when they are read. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestDatabase from "../harness/TestDatabase.js"
import { asOf, attacks, changes, clear, type Session } from "../support/adversarial.js"
import { foreignServer } from "../support/foreignServer.js"
import { readers } from "../support/replay.js"

const truncates = (db: Session, table?: string) =>
  Effect.map(changes(db, table), (found) =>
    found
      .filter(({ op }) => op === "truncate")
      .map(({ details, key, partition }) => `${partition} ${key} ${details}`)
      .sort()
  )

attacks("TRUNCATE", (attack) => {
  for (const isolation of ["repeatable read", "serializable"]) {
    for (const truncate of ["event", "rows"] as const) {
      attack(
        `of rows that an old snapshot does not see is recorded, and no count is exact (${truncate}, ${isolation})`,
        (host) =>
          Effect.gen(function* () {
            const { apply, db, session } = host
            yield* db.run("create table t (id int primary key)", "create table seen (n int)")
            yield* apply({ table: "t", truncate })
            const old = yield* session()
            for (const [rows, before] of [
              [0, []],
              [1, ["1"]]
            ] as const) {
              yield* db.run("truncate t", `insert into t select generate_series(1, ${rows})`)
              yield* old.run(`begin isolation level ${isolation}; select from seen`)
              yield* db.run("insert into t values (7), (8)")
              yield* clear(db)
              yield* old.run("truncate t; commit")
              expect(yield* truncates(db)).toEqual(
                [
                  ...(truncate === "rows" ? before.map((key) => `null ${key} null`) : []),
                  `null null {"rowCount": ${rows}, "estimated": true}`
                ].sort()
              )
            }
          })
      )
    }
  }

  for (const mode of ["statement", "row"] as const) {
    attack(
      `of a partition whose rows the record may not read is recorded, and they are not known, in ${mode} mode`,
      (host) =>
        Effect.gen(function* () {
          const { apply, db } = host
          yield* db.run(
            "create table p (id int primary key, v text) partition by range (id)",
            "create table p1 partition of p for values from (0) to (10)",
            "create table p2 partition of p for values from (10) to (20)",
            "alter table p1 enable row level security"
          )
          yield* apply({ table: "p", mode })
          yield* db.run("insert into p values (1, 'a'), (11, 'a')")
          yield* clear(db)
          yield* db.run("insert into p values (2, 'b')", "begin; insert into p values (3, 'c'); truncate p1; commit")
          expect(yield* truncates(db)).toEqual([`p1 null {"unread": true, "rowCount": 0, "estimated": true}`])
          for (const key of ["2", "3"]) {
            expect(yield* asOf(host, "p", key)).toBe("BeforeCapture")
          }
          yield* db.run("insert into p values (2, 'd')", "truncate p2", "truncate p")
          expect(yield* asOf(host, "p", "2")).toBe("Deleted")
        })
    )
  }

  attack("of a partition under an old snapshot keeps what it sees, and is recorded besides", ({ apply, db, session }) =>
    Effect.gen(function* () {
      yield* db.run(
        "create table p (id int primary key) partition by range (id)",
        "create table p1 partition of p for values from (1) to (10)",
        "create table p2 partition of p for values from (10) to (20)",
        "insert into p values (1), (11)"
      )
      yield* apply("p")
      const old = yield* session()
      yield* old.run("begin isolation level repeatable read; select from pg_class limit 1")
      yield* db.run("insert into p values (2)")
      yield* clear(db)
      yield* old.run("truncate p1; commit")
      expect((yield* truncates(db)).map((line) => line.replace(/, "snapshot": "[0-9:,]+"/, ""))).toEqual([
        "p1 1 null",
        'p1 null {"rowCount": 1, "estimated": true}'
      ])
    })
  )

  for (const truncate of ["event", "rows"] as const) {
    attack(`of a partition never leaves a row present that an old snapshot did not see (${truncate})`, (host) =>
      Effect.gen(function* () {
        const { apply, database, db, session } = host
        yield* db.run(
          "create table p (id int primary key) partition by range (id)",
          "create table p1 partition of p for values from (1) to (10)",
          "create table p2 partition of p for values from (10) to (20)"
        )
        yield* apply({ table: "p", truncate })
        yield* db.run("insert into p values (1), (11)")
        const old = yield* session()
        yield* old.run("begin isolation level repeatable read; insert into p values (3), (13)")
        yield* db.run("insert into p values (2), (12)")
        yield* old.run("truncate p1; insert into p values (4); commit")
        yield* db.run("insert into p values (5)")
        const { query } = yield* Effect.orDie(readers(database.url))
        const answers = yield* Effect.orDie(
          query.asOfKeys("p", [1, 2, 3, 4, 5, 11, 12, 13], String(yield* db.value("select clock_timestamp()")))
        )
        expect(answers.map(({ answer, rowKey }) => `${rowKey} ${answer._tag}`)).toEqual([
          "1 Deleted",
          "2 BeforeCapture",
          "3 Deleted",
          "4 Present",
          "5 Present",
          "11 Present",
          // It is there, in another partition: nothing in the record says which one it is in.
          "12 BeforeCapture",
          "13 Present"
        ])
        // Its next change tells.
        yield* db.run("insert into p values (2)", "delete from p where id = 12")
        const later = yield* Effect.orDie(
          query.asOfKeys("p", [2, 12], String(yield* db.value("select clock_timestamp()")))
        )
        expect(later.map(({ answer }) => answer._tag)).toEqual(["Present", "Deleted"])
      })
    )
  }

  for (const truncate of ["event", "rows"] as const) {
    attack(`of an empty table or partition is recorded (${truncate})`, ({ apply, db }) =>
      Effect.gen(function* () {
        yield* db.run(
          "create table t (id int primary key)",
          "create table p (id int primary key) partition by range (id)",
          "create table p1 partition of p for values from (1) to (10)"
        )
        yield* apply({ table: "t", truncate }, { table: "p", truncate })
        yield* db.run("truncate t", "truncate p", "truncate p1")
        expect(
          (yield* changes(db)).map(({ details, op, partition, table }) => `${table} ${partition} ${op} ${details}`)
        ).toEqual([
          't null truncate {"rowCount": 0, "estimated": false}',
          'p null truncate {"rowCount": 0, "estimated": false}',
          'p p1 truncate {"rowCount": 0, "estimated": false}'
        ])
      })
    )

    attack(`of members of an inheritance tree concerns the rows of each alone (${truncate})`, ({ apply, db }) =>
      Effect.gen(function* () {
        const fill = "insert into base values (1, 'a'); insert into child values (2, 'b', 5), (3, 'c', 5)"
        yield* db.run(
          "create table base (id int primary key, v text)",
          "create table child (extra int, primary key (id)) inherits (base)"
        )
        yield* apply({ table: "base", truncate }, { table: "child", truncate })
        yield* db.run(fill)
        yield* clear(db)
        yield* db.run("truncate only base")
        const ofBase = truncate === "rows" ? ["null 1 null"] : ['null null {"rowCount": 1, "estimated": false}']
        const ofChild =
          truncate === "rows" ? ["null 2 null", "null 3 null"] : ['null null {"rowCount": 2, "estimated": false}']
        expect([yield* truncates(db, "base"), yield* truncates(db, "child")]).toEqual([ofBase, []])
        yield* db.run("insert into base values (1, 'a')")
        yield* clear(db)
        yield* db.run("truncate base")
        expect([yield* truncates(db, "base"), yield* truncates(db, "child")]).toEqual([ofBase, ofChild])
      })
    )
  }

  attack("of a foreign table is announced by plan and status if it leaves nothing", (host) =>
    Effect.gen(function* () {
      const { apply, capture, db, findings } = host
      yield* db.run(
        ...foreignServer(host),
        "create table t (id int primary key)",
        "create foreign table f (id int) server here options (table_name 't')",
        "create table p (id int, v text) partition by range (id)",
        "create table p_near partition of p for values from (0) to (10)",
        "create table at_home (id int, v text)",
        "create foreign table p_far partition of p for values from (10) to (20) server here options (table_name 'at_home')"
      )
      const unseen = TestDatabase.serverVersion < 16
      const [step] = yield* capture.plan([{ table: "f" }])
      expect(step?.kind === "attach" ? step.truncateUnseen : undefined).toEqual(unseen ? ["public.f"] : [])
      yield* apply("f", "p")
      expect((yield* findings()).includes("TruncateUnseen")).toBe(unseen)
      // The other server lets the host in, but not the owner of the record: what is recorded has no exact count, and nothing of the host's fails.
      yield* db.run(
        "insert into f values (1)",
        "insert into p values (1, 'a'), (11, 'b')",
        "truncate f",
        "truncate p_far"
      )
      expect([yield* truncates(db, "f"), yield* truncates(db, "p")]).toEqual(
        unseen
          ? [[], []]
          : [
              [`null null {"rowCount": 0, "estimated": true}`],
              [`p_far null {"unread": true, "rowCount": 0, "estimated": true}`]
            ]
      )
      yield* db.run("truncate p")
      expect(yield* truncates(db, "p")).toContain(`null null {"rowCount": 0, "estimated": true}`)
      expect(yield* db.column("select id from t union all select id from at_home")).toEqual([])
      yield* db.run("drop server here cascade")
    })
  )

  if (TestDatabase.serverVersion >= 18) {
    attack("computes no column that is generated when it is read: it may show a secret, and it may raise", (host) =>
      Effect.gen(function* () {
        const { apply, capture, db } = host
        yield* db.run(
          "create table t (id int primary key, a int, secret text, shown text generated always as (upper(secret)) virtual, part int generated always as (100 / a) virtual)",
          "create table p (id int primary key, a int, secret text, shown text generated always as (upper(secret)) virtual, part int generated always as (100 / a) virtual) partition by range (id)",
          "create table p1 partition of p for values from (1) to (10)",
          "create table late (id int primary key, a int, secret text, shown text generated always as (upper(secret)) virtual, part int generated always as (100 / a) virtual)"
        )
        yield* apply({ table: "t", truncate: "rows", mask: ["secret"] }, { table: "p", exclude: ["secret"] })
        yield* db.run(
          "insert into t values (1, 0, 'hush')",
          "insert into p values (1, 0, 'hush')",
          "insert into late values (11, 0, 'hush')",
          "alter table p attach partition late for values from (10) to (20)",
          "truncate t",
          "truncate p1"
        )
        yield* capture.apply([{ table: "p", exclude: ["secret"] }], { markPartitions: true })
        const recordedChanges = yield* changes(db)
        expect(
          recordedChanges
            .map(({ after, from, op }) => `${op} ${from} ${after}`)
            .filter((text) => /hush|shown|part/i.test(text))
        ).toEqual([])
        expect(recordedChanges.map(({ key, op }) => `${op} ${key}`)).toEqual([
          "insert 1",
          "insert 1",
          "truncate 1",
          "truncate 1",
          "baseline 11"
        ])
      })
    )

    for (const mode of ["statement", "row"] as const) {
      attack(
        `and any write leave out what is virtual now, and keep what was and is no more, in ${mode} mode`,
        ({ apply, db }) =>
          Effect.gen(function* () {
            yield* db.run("create table t (id int primary key, a int, v int generated always as (a + 1) virtual)")
            yield* apply({ table: "t", mode })
            const write = (column: string) => [
              `insert into t (id, ${column}) values (1, 5)`,
              `insert into t (id, ${column}) values (2, 5), (3, 6)`,
              `update t set ${column} = 7 where id = 1`,
              `update t set ${column} = ${column} + 1`,
              "delete from t where id = 1",
              "delete from t"
            ]
            const images = Effect.map(changes(db), (found) =>
              found.flatMap(({ after, from }) => [after, from]).join(" ")
            )
            yield* db.run(...write("a"))
            expect(yield* images).not.toMatch(/"v"/)
            yield* db.run("alter table t drop v", "alter table t add v int")
            yield* clear(db)
            yield* db.run(...write("v"))
            expect((yield* changes(db)).length).toBe(10)
            expect(yield* images).toMatch(/"v": 5.*"v": 6.*"v": 7/)
            yield* db.run("alter table t add w int generated always as (a + 2) virtual")
            yield* clear(db)
            yield* db.run(...write("v"))
            expect(yield* images).not.toMatch(/"w"/)
            expect((yield* changes(db)).length).toBe(10)
          })
      )
    }
  }
})
