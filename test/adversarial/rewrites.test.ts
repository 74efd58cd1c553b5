/** What ALTER TABLE does to rows that no trigger sees: other values, and keys that several rows may have. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Capture from "../../src/Capture.js"
import type * as Query from "../../src/Query.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import { attacks, type Host, valueAsOf } from "../support/adversarial.js"

/** What as-of answers for a row, now or at an instant: the value of `v` if it is there. */
const asOf = (host: Host, key: Query.KeyInput, at?: string) => valueAsOf(host, "t", key, at)

const kinds = (statuses: ReadonlyArray<Capture.TableStatus>) =>
  statuses.flatMap(({ findings }) => findings.filter(({ severity }) => severity === "error").map(({ kind }) => kind))

const plain = ["create table t (id int primary key, v numeric, w text, pin text)"]
const partitioned = [
  "create table t (id int primary key, v numeric, w text, pin text) partition by list (id)",
  "create table t_1 partition of t for values in (1)",
  "create table t_rest partition of t default"
]

attacks("values that ALTER TABLE writes anew", (attack) => {
  for (const [what, table] of [
    ["a table", plain],
    ["a partitioned table", partitioned]
  ] as const) {
    for (const [how, alter] of [
      ["to another type", "alter table t alter v type numeric(12, 3)"],
      ["by an expression", "alter table t alter v type bigint using v * 100"],
      ["by an expression of the same type", "alter table t alter v type numeric using v * 100"],
      [
        "by an expression of the same type, into a file that was made anew since",
        "alter table t alter v type numeric using v * 100; vacuum full t"
      ],
      [
        "in a transaction that wrote before and after",
        "begin; update t set w = 'x' where id = 2; alter table t alter v type numeric using v * 100; delete from t where id = 3; commit"
      ]
    ] as const) {
      attack(`of ${what}, ${how}: nothing is claimed of its rows until they change`, (host) =>
        Effect.gen(function* () {
          const { apply, capture, db } = host
          yield* db.run(...table)
          yield* apply({ table: "t", mask: ["pin"] })
          yield* db.run("insert into t values (1, 1), (2, 2), (3, 3)")
          const before = yield* host.now
          expect(yield* asOf(host, "1")).toBe("1")
          yield* db.run(...alter.split("; "))
          // Nobody has looked yet.
          expect(yield* asOf(host, "1")).toBe("BeforeCapture")
          expect(kinds(yield* capture.status())).toContain("RowsRewritten")
          const steps = yield* capture.plan([{ table: "t", mask: ["pin"] }])
          expect(steps.some((step) => "lapse" in step && step.lapse === true)).toBe(true)
          yield* apply({ table: "t", mask: ["pin"] })
          expect(yield* asOf(host, "1")).toBe("BeforeCapture")
          expect(kinds(yield* capture.status())).toEqual([])
          expect(yield* capture.plan([{ table: "t", mask: ["pin"] }])).toEqual([])
          yield* db.run("update t set v = 7 where id = 1")
          expect(yield* asOf(host, "1")).toMatch(/^7/)
          // What a later change replaced is not what was there before the rewrite.
          expect(["1", "BeforeCapture"]).toContain(yield* asOf(host, "1", before))
          expect(yield* asOf(host, "2")).toBe("BeforeCapture")
        })
      )
    }

    attack(`of ${what}, where no value changes: everything stays known`, (host) =>
      Effect.gen(function* () {
        const { apply, capture, db } = host
        yield* db.run(...table)
        yield* apply({ table: "t", mask: ["pin"] })
        yield* db.run(
          "insert into t values (1, 1, 'a'), (2, 2, 'a')",
          "alter table t alter w type varchar, alter w set default 'x', alter v set statistics 7",
          "alter table t alter pin type varchar(9) using upper(pin)",
          "alter table t add e text default clock_timestamp()::text",
          "alter table t add quick int default 7",
          "alter table t alter v set default 5",
          "begin; alter table t alter v set default 6; truncate t; insert into t values (1, 1, 'a'), (2, 2, 'a'); commit"
        )
        if (table === partitioned) {
          yield* db.run(
            "begin; alter table t alter v set default 7; truncate t_1; insert into t values (1, 1, 'a'); commit"
          )
        }
        if (table === plain) {
          yield* apply({ table: "t", mask: ["pin"] })
          yield* db.run("vacuum full t", "cluster t using t_pkey")
          yield* db.run("alter table t add quicker int default 7")
          yield* apply({ table: "t", mask: ["pin"] })
          yield* db.run("alter table t add gen text generated always as (upper(w)) stored")
        }
        expect(kinds(yield* capture.status())).not.toContain("RowsRewritten")
        expect(yield* asOf(host, "1")).toBe("1")
        yield* apply({ table: "t", mask: ["pin"] })
        expect(yield* asOf(host, "2")).toBe("2")
        expect(yield* db.value("select lapses from threadline.capture_policies")).toBe("{}")
      })
    )
  }

  attack("in one transaction with a TRUNCATE, while an older transaction runs: everything stays known", (host) =>
    Effect.gen(function* () {
      const { apply, capture, db } = host
      yield* db.run(...plain)
      yield* apply("t")
      yield* db.run("insert into t values (1, 1), (2, 2)")
      // Its id is lower, so the id of the next transaction is beyond what that transaction's own snapshots know.
      const older = yield* host.session()
      yield* older.run("begin", "select pg_current_xact_id()")
      yield* db.run(
        "begin; select pg_current_xact_id(); alter table t alter v set default 6; truncate t; insert into t values (1, 1), (2, 2); commit"
      )
      expect(yield* db.rows("select what from threadline.capture_alterations")).toEqual([])
      expect(kinds(yield* capture.status())).toEqual([])
      expect(yield* asOf(host, "1")).toBe("1")
      yield* older.run("rollback")
      expect(yield* asOf(host, "2")).toBe("2")
    })
  )

  attack("of an enum in the key, which has another name for a while: nothing untrue is claimed of that time", (host) =>
    Effect.gen(function* () {
      const { apply, capture, db } = host
      yield* db.run(
        "drop type if exists e",
        "create type e as enum ('1', '2', '3', '9')",
        "create table t (id e primary key, v numeric)"
      )
      yield* apply("t")
      yield* db.run(
        "insert into t values ('1', 1), ('2', 2), ('3', 3)",
        "alter type e rename value '1' to '8'",
        "alter type e rename value '2' to '1'",
        "update t set v = v + 100 where id = '3'"
      )
      const between = yield* host.now
      expect(yield* db.value("select v from t where id = '1'")).toBe("2")
      yield* db.run("alter type e rename value '1' to '2'", "alter type e rename value '8' to '1'")
      expect(yield* asOf(host, "1", between)).toBe("BeforeCapture")
      expect((yield* capture.plan([{ table: "t" }])).map(({ kind }) => kind)).toEqual(["refresh"])
      yield* apply("t")
      expect(yield* asOf(host, "1", between)).toBe("BeforeCapture")
      expect(yield* capture.plan([{ table: "t" }])).toEqual([])
      yield* db.run("alter type e add value '10'", "update t set v = 7 where id = '1'")
      expect(yield* asOf(host, "1")).toBe("7")
    })
  )

  if (TestDatabase.serverVersion >= 17) {
    attack("of a stored generated column with another expression", (host) =>
      Effect.gen(function* () {
        const { apply, db } = host
        yield* db.run("create table t (id int primary key, w int, v int generated always as (w + 1) stored)")
        yield* apply("t")
        yield* db.run("insert into t values (1, 1)", "alter table t alter v set expression as (w * 100)")
        expect(yield* asOf(host, "1")).toBe("BeforeCapture")
      })
    )
  }
})

attacks("a key that nothing keeps unique", (attack) => {
  for (const [how, table, key, drop] of [
    ["the primary key is dropped", "id int primary key, v text", undefined, "alter table t drop constraint t_pkey"],
    [
      "the index of a declared key is dropped",
      "id int not null unique, v text",
      "id",
      "alter table t drop constraint t_id_key"
    ]
  ] as const) {
    attack(`${how}: no row is mistaken for another`, (host) =>
      Effect.gen(function* () {
        const { apply, capture, db } = host
        yield* db.run(`create table t (${table})`)
        yield* apply({ table: "t", ...(key === undefined ? {} : { key: [key] as const }) })
        yield* db.run("insert into t values (1, 'a')")
        expect(yield* asOf(host, "1")).toBe(`"a"`)
        yield* db.run(drop, "insert into t values (1, 'b')", "delete from t where v = 'b'")
        expect(yield* asOf(host, "1")).toBe("BeforeCapture")
        expect(kinds(yield* capture.status())).toContain("KeyChanged")
      })
    )
  }

  attack("a primary key made anew over the same columns is the same key", (host) =>
    Effect.gen(function* () {
      const { apply, capture, db } = host
      yield* db.run("create table t (id int primary key, v text)")
      yield* apply("t")
      yield* db.run("insert into t values (1, 'a')", "alter table t drop constraint t_pkey, add primary key (id)")
      expect(yield* asOf(host, "1")).toBe(`"a"`)
      expect(yield* capture.plan([{ table: "t" }])).toEqual([])
    })
  )
})

attacks("several things that make a lapse", (attack) => {
  attack("count from the first of them", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run("create table t (id int primary key, v numeric)")
      yield* apply("t")
      yield* db.run("insert into t values (1, 1), (2, 2)", "alter table t alter v type numeric using v * 100")
      const rewritten = yield* host.now
      yield* db.run("insert into t values (3, 3)", "alter table t disable trigger user", "update t set v = 0")
      // Since the triggers are off nothing is known after the last change, and the rewrite came before it.
      expect(yield* asOf(host, "1", rewritten)).toBe("BeforeCapture")
      yield* apply("t")
      expect(yield* asOf(host, "1", rewritten)).toBe("BeforeCapture")
      expect(yield* asOf(host, "1")).toBe("BeforeCapture")
    })
  )
})
