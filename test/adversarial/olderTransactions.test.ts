/**
 * Transactions that run beside DDL with an older id, and savepoints with later ids of their own: the ids of what stands in the catalog are
 * those of subtransactions, and tell little of the order in which things happened.
 */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { attacks, type Host, valueAsOf } from "../support/adversarial.js"

/** A session whose transaction has an id before all that come. */
const olderSession = Effect.fnUntraced(function* ({ session }: Host) {
  const older = yield* session()
  yield* older.run("begin", "select pg_current_xact_id()")
  return older
})

const altered = ({ db }: Host) => db.column("select what from threadline.capture_alterations")

const plain = ["create table t (id int primary key, v numeric)", "create table other (id int primary key, v text)"]

const settings = "alter table t alter v set default 6; truncate t; insert into t values (1, 1), (2, 2)"

attacks("a TRUNCATE and ALTER TABLE in one transaction", (attack) => {
  attack("rewrite no value if the rows are written after both, in savepoints and exception blocks too", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run(...plain)
      yield* apply("t")
      yield* db.run("insert into t values (1, 0), (2, 0)")
      yield* olderSession(host)
      for (const transaction of [
        `begin; ${settings}; commit`,
        `begin; savepoint a; ${settings}; release a; commit`,
        `begin; savepoint a; ${settings}; rollback to a; ${settings}; commit`,
        `begin; savepoint a; savepoint b; ${settings}; release b; release a; commit`,
        `do $$ begin begin ${settings}; exception when others then raise; end; end $$`,
        `begin; savepoint a; alter table t alter v set default 7; savepoint b; truncate t; insert into t values (1, 1), (2, 2); commit`
      ]) {
        yield* db.run(transaction)
        expect([transaction, yield* altered(host), yield* valueAsOf(host, "t", "1")]).toEqual([transaction, [], "1"])
      }
    })
  )

  const rewrite = "alter table t alter v set default 6, alter v type numeric using v + 1"
  for (const [how, transaction] of [
    ["", `begin; truncate t; insert into t values (1, 1), (2, 2); ${rewrite}; commit`],
    [
      ", each in a savepoint",
      `begin; savepoint a; truncate t; insert into t values (1, 1), (2, 2); savepoint b; ${rewrite}; commit`
    ],
    [
      ", in one exception block",
      `do $$ begin begin truncate t; insert into t values (1, 1), (2, 2); ${rewrite}; exception when others then raise; end; end $$`
    ]
  ] as const) {
    attack(`rewrite values if ALTER TABLE comes last${how}: nothing is claimed of them`, (host) =>
      Effect.gen(function* () {
        const { apply, db } = host
        yield* db.run(...plain)
        yield* apply("t")
        yield* db.run(transaction)
        expect(yield* db.value("select v from t where id = 1")).toBe("2")
        expect(yield* valueAsOf(host, "t", "1")).toBe("BeforeCapture")
        yield* apply("t")
        expect(yield* valueAsOf(host, "t", "1")).toBe("BeforeCapture")
      })
    )
  }
})

/** The version of a column's type, which some releases of PostgreSQL give. */
const versionOfV = ({ db }: Host) =>
  db.value(
    "select substring(attoptions::text from 'pg_attver=[0-9]+') from pg_attribute where attrelid = 't'::regclass and attname = 'v'"
  )

attacks("ALTER TABLE that writes values anew, beside other DDL, with no write between", (attack) => {
  const rewrite = "alter table t alter v type numeric using v + 1"
  for (const [what, lapse, ddl] of [
    [
      "a column that is added after it",
      true,
      ["alter table t alter v set default 6, alter v type numeric using v + 1", "alter table t add z int"]
    ],
    ["another alteration of the column after it", true, [rewrite, "alter table t alter v set default 6"]],
    [
      "another alteration after it, and VACUUM FULL",
      true,
      [rewrite, "alter table t alter v set default 6", "vacuum full t"]
    ],
    [
      "an attempt to write in the same transaction after",
      true,
      [
        `begin; insert into t values (9, 9); ${rewrite}; savepoint a; update t set v = v; delete from t; rollback to a; alter table t alter v set default 6; commit`
      ]
    ],
    ["VACUUM FULL after both in one statement", true, [`${rewrite}, alter v set default 6`, "vacuum full t"]],
    [
      "savepoints around each",
      true,
      [`begin; savepoint a; ${rewrite}; savepoint b; alter table t alter v set default 6; commit`]
    ],
    [
      "a row written in the same transaction before",
      true,
      [`begin; insert into t values (9, 9); ${rewrite}, alter v set default 6; commit`]
    ],
    [
      "a write that changes nothing after both",
      true,
      [rewrite, "alter table t alter v set default 6", "update t set v = v"]
    ],
    [
      "a write that changes nothing, after a new column that is computed",
      "unless versions tell",
      [
        "alter table t alter v set default 6",
        "alter table t add z int generated always as (id) stored",
        "update t set v = v"
      ]
    ],
    ["VACUUM FULL after another alteration alone", false, ["alter table t alter v set default 6", "vacuum full t"]],
    ["VACUUM FULL before another alteration", false, ["vacuum full t", "alter table t alter v set default 6"]],
    [
      "a new column that is computed",
      "unless versions tell",
      ["alter table t alter v set default 6", "alter table t add z int generated always as (id) stored"]
    ],
    [
      "a redacted column",
      "unless versions tell",
      ["alter table t alter v set default 6", "alter table t alter pin type varchar(9) using upper(pin)"]
    ],
    [
      "rows that are gone",
      false,
      ["delete from t", "alter table t alter v set default 6", "vacuum full t", "insert into t values (1, 1)"]
    ],
    [
      "rows of a savepoint",
      false,
      [
        "begin; delete from t; savepoint a; insert into t values (1, 1); release a; alter table t alter v set default 6; commit",
        "vacuum full t"
      ]
    ]
  ] as const) {
    for (const [made, older] of [
      ["", []],
      // Its columns have no versions until the type of one is altered. Releases that give none find none here.
      [
        ", of a table that an older release of PostgreSQL made",
        ["update pg_attribute set attoptions = null where attrelid = 't'::regclass"]
      ]
    ] as const) {
      attack(`is told from what changes no value: ${what}${made}`, (host) =>
        Effect.gen(function* () {
          const { apply, db } = host
          yield* db.run("create table t (id int primary key, v numeric, pin text)", ...older)
          const told = (yield* versionOfV(host)) !== null
          yield* apply({ table: "t", mask: ["pin"] })
          yield* db.run("insert into t values (1, 1), (2, 2)", ...ddl)
          // Of a column that nothing uses, the catalog shows only that it was altered.
          const expected = lapse === true || (lapse !== false && !told) ? "BeforeCapture" : "1"
          expect(yield* valueAsOf(host, "t", "1")).toBe(expected)
          yield* apply({ table: "t", mask: ["pin"] })
          expect(yield* valueAsOf(host, "t", "1")).toBe(expected)
        })
      )
    }
  }
})

// Some releases of PostgreSQL touch all columns after the one whose type is altered, and give each a new version. Others touch only that
// one.
attacks("ALTER TABLE that alters the type of a column", (attack) => {
  const table = ["create table t (id int primary key, u varchar(3), pin varchar(9), v numeric, w numeric)"]
  const policy = { table: "t", mask: ["pin"] }
  const rows = "insert into t (id, v) values (1, 1), (2, 2)"
  for (const [what, ddl] of [
    ["with no new file", ["alter table t alter pin type varchar(20)"]],
    ["with no new file, and VACUUM FULL", ["alter table t alter u type varchar(20)", "vacuum full t"]],
    ["before options of a later one", ["alter table t alter pin type varchar(20), alter v set (n_distinct = 5)"]]
  ] as const) {
    attack(`changes nothing of those after it: ${what}`, (host) =>
      Effect.gen(function* () {
        const { apply, db } = host
        yield* db.run(...table)
        yield* apply(policy)
        yield* db.run(rows, ...ddl)
        expect(yield* valueAsOf(host, "t", "1")).toBe("1")
        yield* db.run("update t set v = 3 where id = 2")
        expect([yield* altered(host), yield* valueAsOf(host, "t", "1")]).toEqual([[], "1"])
      })
    )
  }

  attack("hides no rewrite of a column after it", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run(...table)
      yield* apply(policy)
      yield* db.run(rows, "alter table t alter v type numeric using v + 1", "alter table t alter pin type varchar(20)")
      expect(yield* valueAsOf(host, "t", "1")).toBe("BeforeCapture")
      yield* db.run("update t set v = v")
      expect(yield* altered(host)).toEqual(["rewritten"])
      yield* apply(policy)
      expect(yield* valueAsOf(host, "t", "1")).toBe("BeforeCapture")
    })
  )

  const masked = "alter table t alter pin type varchar(9) using upper(pin)"
  const rewrite = "alter table t alter v type numeric using v + 1"
  const settings = "alter table t alter v set default 6"
  for (const [what, rewritten, ddl] of [
    ["and later the settings of another", false, [masked, `${settings}, alter v set (n_distinct = 5)`]],
    ["with another, and later its settings", true, [`${rewrite}, ${masked.slice(14)}`, settings]],
    [
      "in a savepoint after that of another, and later its settings",
      true,
      [`begin; savepoint a; ${rewrite}; savepoint b; ${masked}; commit`, settings]
    ],
    ["after another one and its settings", true, [`${rewrite}, alter v set default 6`, masked]]
  ] as const) {
    attack(
      `lets nothing be claimed of values beside a redacted one, ${what}, unless versions tell that no value changed`,
      (host) =>
        Effect.gen(function* () {
          const { apply, db } = host
          yield* db.run("create table t (id int primary key, v numeric, pin text)")
          const told = (yield* versionOfV(host)) !== null
          yield* apply(policy)
          yield* db.run(rows, ...ddl)
          expect(yield* db.value("select v from t where id = 1")).toBe(rewritten ? "2" : "1")
          const expected = rewritten || !told ? "BeforeCapture" : "1"
          expect(yield* valueAsOf(host, "t", "1")).toBe(expected)
          yield* apply(policy)
          expect(yield* valueAsOf(host, "t", "1")).toBe(expected)
          yield* db.run("update t set v = 7 where id = 1")
          expect(yield* valueAsOf(host, "t", "1")).toBe("7")
        })
    )
  }
})

attacks("older transactions beside DDL", (attack) => {
  const m = [
    "create table m (id int primary key, v text) partition by list (id)",
    "create table m_1 partition of m for values in (1)",
    "create table m_3 partition of m for values in (3, 4)",
    "create table p (id int primary key, v text)",
    "insert into p values (2, 'x')"
  ]

  attack("put no row before an attach that it came with, if one of them writes it afterwards", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run(...m)
      yield* apply("m")
      yield* db.run("insert into m values (1, 'a')")
      const [first, second] = [yield* olderSession(host), yield* olderSession(host)]
      const instant = yield* host.now
      yield* db.run("insert into m values (4, 'd')", "alter table m attach partition p for values in (2)")
      yield* first.run("update m set v = 'y' where id = 2", "commit")
      yield* second.run("insert into m values (3, 'c')", "commit")
      yield* db.run("delete from m where id = 4")
      yield* apply("m")
      expect(yield* valueAsOf(host, "m", "2", instant)).toBe("BeforeCapture")
      expect(yield* valueAsOf(host, "m", "1", instant)).toBe(`"a"`)
    })
  )

  for (const mode of ["statement", "row"] as const) {
    attack(
      `do not make a row gone that came with a partition, if one of them writes afterwards, in ${mode} mode`,
      (host) =>
        Effect.gen(function* () {
          const { apply, db } = host
          yield* db.run(...m, "create table m_rest partition of m default")
          yield* apply({ table: "m", mode })
          yield* db.run(
            "insert into m values (1, 'a'), (2, 'there'), (3, 'c')",
            "update m set v = 'b' where id = 1",
            "delete from m where id = 2"
          )
          const older = yield* olderSession(host)
          yield* older.run("update m set v = 'c' where id = 1")
          const before = yield* host.now
          yield* db.run("insert into m values (5, 'e')")
          yield* db.run("alter table m attach partition p for values in (2)")
          const instant = yield* host.now
          yield* older.run("update m set v = 'd' where id = 1", "commit")
          yield* db.run("insert into m values (4, 'd')")
          yield* apply({ table: "m", mode })
          expect(yield* valueAsOf(host, "m", "2", instant)).toBe("BeforeCapture")
          expect(yield* valueAsOf(host, "m", "2", before)).toBe("Deleted")
          expect(yield* valueAsOf(host, "m", "3", before)).toBe(`"c"`)
          expect(yield* altered(host)).toEqual([])
        })
    )
  }

  attack(
    "claim nothing untrue if one of them is the first to write to a plain table that took the name of a partitioned one",
    (host) =>
      Effect.gen(function* () {
        const { apply, db } = host
        yield* db.run(...m, "create table other (id int primary key, v text)")
        yield* apply("m", "other")
        yield* db.run("insert into m values (1, 'a')")
        const triggers = yield* db.column(
          `select pg_get_triggerdef(oid) from pg_trigger
         where tgrelid = 'm'::regclass and tgparentid = 0 and pg_get_triggerdef(oid) !~ 'leave|enter|begin'`
        )
        const older = yield* olderSession(host)
        yield* db.run("drop table m", `create table m (id int primary key, v text); ${triggers.join("; ")}`)
        const instant = yield* host.now
        yield* older.run("insert into m values (7, 'g')", "commit")
        yield* db.run("insert into other values (2, 'o')", "insert into m values (8, 'h')")
        expect(yield* valueAsOf(host, "m", "1", instant)).toBe("BeforeCapture")
        yield* apply("m")
        expect(yield* valueAsOf(host, "m", "1", instant)).toBe("BeforeCapture")
      })
  )

  for (const renamed of [false, true]) {
    attack(
      `claim nothing untrue if one of them is the first to write to a table that was restored under the name${renamed ? " of one that has another now" : ""}`,
      (host) =>
        Effect.gen(function* () {
          const { apply, db } = host
          yield* db.run(...plain)
          yield* apply("t", "other")
          yield* db.run("insert into t values (1, 1), (2, 2)", "insert into other values (1, 'o')")
          const triggers = yield* db.column(
            "select pg_get_triggerdef(oid) from pg_trigger where tgrelid = 't'::regclass"
          )
          const older = yield* olderSession(host)
          yield* db.run(
            renamed ? "alter table t rename to t_old" : "drop table t",
            `begin; savepoint a; create table t (id int primary key, v numeric); ${triggers.join("; ")}; release a; commit`
          )
          const instant = yield* host.now
          yield* older.run("insert into t values (7, 7)", "commit")
          yield* db.run("insert into other values (2, 'o')", "insert into t values (8, 8)")
          expect(yield* valueAsOf(host, "t", "1", instant)).toBe("BeforeCapture")
          yield* apply("t")
          expect(yield* valueAsOf(host, "t", "1", instant)).toBe("BeforeCapture")
        })
    )
  }
})

attacks("ALTER TABLE in a transaction that is older than what is recorded", (attack) => {
  const table = "create table t (id int primary key, v numeric, w text, pin text)"
  const policy = { table: "t", mask: ["pin"] }
  const rows = "insert into t values (1, 1), (2, 2)"
  const rewrite = "alter table t alter v type numeric using v + 1"
  const masked = "alter table t alter pin type varchar(9) using upper(pin)"

  for (const [what, first, second] of [
    ["writes values anew", [], [rewrite]],
    ["writes values anew in a savepoint", [], ["savepoint a", rewrite, "release a"]],
    [
      "writes values anew, after a savepoint that was released",
      ["savepoint a", "create table x ()", "release a"],
      [rewrite]
    ],
    ["writes values anew, and alters the column once more", [], [rewrite, "alter table t alter v set default 6"]],
    ["makes new files after another one has written values anew", [], [`other: ${rewrite}`, "cluster t using t_pkey"]],
    [
      "grants rights after another one has written values anew",
      [],
      [`other: ${rewrite}`, "grant select on t to public"]
    ],
    [
      "alters the column after another one has written values anew",
      [],
      [`other: ${rewrite}`, "alter table t alter v set default 6"]
    ],
    [
      "alters the column after another one has written values anew, and a redacted column",
      [],
      [`other: ${rewrite}, ${masked.slice(14)}`, "alter table t alter v set default 6"]
    ]
  ] as const) {
    for (const when of ["the policy", "the rows"] as const) {
      attack(`lets nothing be claimed if it is older than ${when} and ${what}`, (host) =>
        Effect.gen(function* () {
          const { apply, db } = host
          yield* db.run(table)
          const older = yield* host.session()
          const begin = older.run("begin", "select pg_current_xact_id()", ...first)
          yield* when === "the policy" ? Effect.zipRight(begin, apply(policy)) : Effect.zipRight(apply(policy), begin)
          yield* db.run(rows)
          for (const each of second) {
            yield* each.startsWith("other: ") ? db.run(each.slice(7)) : older.run(each)
          }
          yield* older.run("commit")
          expect(yield* db.value("select v from t where id = 1")).toBe("2")
          expect(yield* valueAsOf(host, "t", "1")).toBe("BeforeCapture")
          yield* apply(policy)
          expect(yield* valueAsOf(host, "t", "1")).toBe("BeforeCapture")
        })
      )
    }
  }

  attack("leaves rows known that it wrote itself", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run(table)
      yield* apply(policy)
      const older = yield* olderSession(host)
      yield* older.run(rows, "savepoint a", "insert into t values (3, 3)", "release a")
      yield* db.run("insert into t values (4, 4)")
      yield* older.run("alter table t alter v set default 6", "cluster t using t_pkey", "commit")
      expect(yield* valueAsOf(host, "t", "1")).toBe("1")
      yield* db.run("delete from t where id <> 3", "insert into t values (5, 5)")
      expect([yield* altered(host), yield* valueAsOf(host, "t", "3")]).toEqual([[], "3"])
    })
  )
})
