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

/** As if an older release of PostgreSQL had made the table: the types of its columns have no versions. */
const unversioned = "update pg_attribute set attoptions = null where attrelid = 't'::regclass"

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
      attack(`are claimed by nothing until their rows change, in ${what}, ${how}`, (host) =>
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

    attack(`leave everything known if they are the same as before, in ${what}`, (host) =>
      Effect.gen(function* () {
        const { apply, capture, db } = host
        yield* db.run(...table)
        yield* apply({ table: "t", mask: ["pin"] })
        yield* db.run(
          "insert into t values (1, 1, 'a'), (2, 2, 'a')",
          "alter table t alter w type varchar, alter w set default 'x', alter v set statistics 7",
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
          yield* db.run("vacuum full t", "cluster t using t_pkey")
          yield* db.run("alter table t add quicker int default 7")
        }
        expect(yield* asOf(host, "1")).toBe("1")
        // Rows that are written anew for columns that are redacted or new. Another column is altered and has a default.
        yield* apply({ table: "t", mask: ["pin"] })
        yield* db.run(
          "alter table t alter pin type varchar(9) using upper(pin)",
          "alter table t alter v set statistics 8",
          "alter table t add e text default clock_timestamp()::text",
          "alter table t add gen text generated always as (upper(w)) stored"
        )
        expect(kinds(yield* capture.status())).not.toContain("RowsRewritten")
        expect(yield* asOf(host, "1")).toBe("1")
        yield* apply({ table: "t", mask: ["pin"] })
        expect(yield* asOf(host, "2")).toBe("2")
        expect(yield* db.value("select lapses from threadline.capture_policies")).toBe("{}")
      })
    )
  }

  attack("leave everything known in one transaction with a TRUNCATE, while an older transaction runs", (host) =>
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

  attack("leave nothing untrue claimed of the time in which an enum in the key has another name", (host) =>
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
    attack("are noticed if they are of a stored generated column that gets another expression", (host) =>
      Effect.gen(function* () {
        const { apply, db } = host
        yield* db.run("create table t (id int primary key, w int, v int generated always as (w + 1) stored)")
        yield* apply("t")
        yield* db.run("insert into t values (1, 1)", "alter table t alter v set expression as (w * 100)")
        expect(yield* asOf(host, "1")).toBe("BeforeCapture")
      })
    )

    const computed = [
      "create table t (id int, w int, v int generated always as (w + 1) stored, pin int generated always as (w) stored, primary key (id)) partition by range (id)",
      "create table t_1 partition of t for values from (1) to (2)",
      "create table t_5 partition of t for values from (2) to (9) partition by range (id)",
      "create table t_2 partition of t_5 for values from (2) to (3)",
      "create table t_3 partition of t_5 for values from (3) to (4)"
    ]
    for (const [what, alter, v] of [
      ["a partition", "alter table t_1 alter v set expression as (w * 100)", "100 3 4"],
      ["a partition of a partition", "alter table t_2 alter v set expression as (w * 100)", "2 200 4"],
      [
        "a partition, in a transaction that writes afterwards",
        "begin; alter table t_1 alter v set expression as (w * 100); update t set w = 5 where id = 3; commit",
        "100 3 6"
      ],
      ["partitions of a partition", "alter table t_5 alter v set expression as (w * 100)", "2 200 300"],
      [
        "a partition and the table alone",
        "begin; alter table only t alter v set expression as (w * 100); alter table t_1 alter v set expression as (w * 100); commit",
        "100 3 4"
      ],
      ["all partitions", "alter table t alter v set expression as (w * 100)", "100 200 300"]
    ] as const) {
      attack(`are noticed if a stored generated column of ${what} gets another expression`, (host) =>
        Effect.gen(function* () {
          const { apply, capture, db } = host
          yield* db.run(...computed)
          yield* apply({ table: "t", mask: ["pin"] })
          yield* db.run("insert into t values (1, 1), (2, 2), (3, 3)")
          // Of a redacted column it is no matter.
          yield* db.run("alter table t_1 alter pin set expression as (w * 7)", "vacuum full t_2")
          expect([yield* asOf(host, "1"), yield* asOf(host, "2")]).toEqual(["2", "3"])
          yield* db.run(...alter.split("; "))
          expect(yield* db.value("select string_agg(v::text, ' ' order by id) from t")).toBe(v)
          expect([yield* asOf(host, "1"), yield* asOf(host, "2")]).toEqual(["BeforeCapture", "BeforeCapture"])
          const found = (yield* capture.status()).flatMap(({ findings }) => findings)
          expect(found.filter(({ kind }) => kind === "RowsRewritten").map(({ subjects }) => subjects)).toEqual([["v"]])
          yield* apply({ table: "t", mask: ["pin"] })
          expect(yield* capture.plan([{ table: "t", mask: ["pin"] }])).toEqual([])
          expect(yield* asOf(host, "1")).toBe("BeforeCapture")
          yield* db.run("update t set w = 6")
          expect(yield* asOf(host, "1")).toBe(yield* db.value("select v::text from t where id = 1"))
          expect(yield* asOf(host, "2")).toBe(yield* db.value("select v::text from t where id = 2"))
        })
      )
    }

    attack("are noticed in a partition that came since, after it was attached by apply", (host) =>
      Effect.gen(function* () {
        const { apply, db } = host
        yield* db.run(...computed)
        yield* apply({ table: "t", mask: ["pin"] })
        yield* db.run("create table t_4 partition of t_5 for values from (4) to (5)")
        yield* apply({ table: "t", mask: ["pin"] })
        yield* db.run("insert into t values (1, 1), (4, 4)")
        expect(yield* asOf(host, "4")).toBe("5")
        yield* db.run("alter table t_4 alter v set expression as (w * 100)")
        expect(yield* asOf(host, "4")).toBe("BeforeCapture")
      })
    )

    attack("begin their lapse before the first if a partition gets another expression more than once", (host) =>
      Effect.gen(function* () {
        const { apply, db } = host
        yield* db.run(...computed)
        yield* apply({ table: "t", mask: ["pin"] })
        yield* db.run("insert into t values (1, 1), (2, 2)", "alter table t_1 alter v set expression as (w * 100)")
        const between = yield* host.now
        yield* db.run("update t set w = 3 where id = 2", "alter table t_1 alter v set expression as (w * 7)")
        for (const applied of [false, true]) {
          if (applied) {
            yield* apply({ table: "t", mask: ["pin"] })
          }
          expect([yield* asOf(host, "1", between), yield* asOf(host, "1")]).toEqual(["BeforeCapture", "BeforeCapture"])
        }
      })
    )
  }
})

/** Types of a column `v` outside the key, what shows its values otherwise, and what a value is then, as JSON. */
const shown: ReadonlyArray<readonly [what: string, type: string, value: string, alter: string, now: string]> = [
  ["an enum", "e", "'a'", "alter type e rename value 'a' to 'aa'", '"aa"'],
  ["an array of an enum", "e[]", "'{a}'", "alter type e rename value 'a' to 'aa'", '["aa"]'],
  ["a domain over an enum", "d", "'a'", "alter type e rename value 'a' to 'aa'", '"aa"'],
  ["a range of an enum", "er", "'[a,b]'", "alter type e rename value 'a' to 'aa'", '"[aa,b]"'],
  ["an enum within a composite", "c", "row('a', 1)", "alter type e rename value 'a' to 'aa'", '{"x":"aa","y":1}'],
  [
    "a composite with a renamed attribute",
    "c",
    "row('a', 1)",
    "alter type c rename attribute x to z",
    '{"y":1,"z":"a"}'
  ],
  [
    "a composite with a new attribute",
    "c",
    "row('a', 1)",
    "alter type c add attribute z int",
    '{"x":"a","y":1,"z":null}'
  ],
  ["a composite with fewer attributes", "c", "row('a', 1)", "alter type c drop attribute y", '{"x":"a"}'],
  ["an address that is a network no more", "cidr", "'10.0.0.1/32'", "alter table t alter v type inet", '"10.0.0.1"'],
  ["a number that is an OID now", "int", "-1", "alter table t alter v type oid", '"4294967295"']
]
const types = `drop type if exists e, c cascade; create type e as enum ('a', 'b'); create domain d as e;
  create type er as range (subtype = e); create type c as (x e, y int)`

attacks("a column that has the name of one that was dropped", (attack) => {
  for (const [what, table] of [
    ["a table", plain],
    ["a partitioned table", partitioned]
  ] as const) {
    attack(`is another one, of which nothing is claimed until rows change, in ${what}`, (host) =>
      Effect.gen(function* () {
        const { apply, capture, db } = host
        yield* db.run(...table)
        yield* apply({ table: "t", mask: ["pin"] })
        yield* db.run("insert into t values (1, 1, 'a'), (2, 2, 'b')")
        // A redacted column, and a new name, are no matter.
        yield* db.run("alter table t drop pin, drop w", "alter table t add pin text, add e text")
        expect(yield* asOf(host, "1")).toBe("1")
        yield* db.run("alter table t drop v", "alter table t add v numeric")
        expect(yield* asOf(host, "1")).toBe("BeforeCapture")
        const found = (yield* capture.status()).flatMap(({ findings }) => findings)
        expect(found.filter(({ kind }) => kind === "RowsRewritten").map(({ subjects }) => subjects)).toEqual([["v"]])
        const between = yield* host.now
        yield* db.run("update t set e = 'e' where id = 2", "alter table t alter v set default 3")
        expect(yield* asOf(host, "1", between)).toBe("BeforeCapture")
        yield* apply({ table: "t", mask: ["pin"] })
        expect([yield* asOf(host, "1", between), yield* asOf(host, "1")]).toEqual(["BeforeCapture", "BeforeCapture"])
        expect(yield* capture.plan([{ table: "t", mask: ["pin"] }])).toEqual([])
        yield* db.run("update t set v = 7 where id = 1")
        expect(yield* asOf(host, "1")).toBe("7")
        // Also if the table was without it for a while.
        yield* db.run("alter table t drop v")
        for (const more of ["text", "int"]) {
          yield* db.run(`alter table t add more_${more} ${more}`)
          yield* apply({ table: "t", mask: ["pin"] })
        }
        expect(yield* asOf(host, "1")).toBe("7")
        yield* db.run("alter table t add v numeric")
        expect(yield* asOf(host, "1")).toBe("BeforeCapture")
        yield* apply({ table: "t", mask: ["pin"] })
        expect(yield* capture.plan([{ table: "t", mask: ["pin"] }])).toEqual([])
        yield* db.run("update t set v = 8 where id = 1")
        expect(yield* asOf(host, "1")).toBe("8")
      })
    )
  }
})

attacks("values that are shown otherwise, although nothing was written", (attack) => {
  for (const [what, type, value, alter, present] of shown) {
    attack(`are claimed by nothing until rows change, and the past keeps its texts, of ${what}`, (host) =>
      Effect.gen(function* () {
        const { apply, capture, db } = host
        yield* db.run(types, `create table t (id int primary key, v ${type}, w int)`)
        yield* apply("t")
        yield* db.run(`insert into t values (1, ${value}, 1), (2, ${value}, 2)`)
        const before = String(yield* db.value("select max(captured_at)::text from threadline.audit_changes"))
        const former = yield* asOf(host, "1", before)
        expect(former).not.toBe("BeforeCapture")
        yield* db.run(alter)
        // Nobody has looked yet.
        expect(yield* asOf(host, "1")).toBe("BeforeCapture")
        const found = (yield* capture.status()).flatMap(({ findings }) => findings)
        expect(found.filter(({ severity }) => severity === "error")).toMatchObject([
          {
            kind: "ValuesShownOtherwise",
            subjects: ["v"],
            types: [alter.startsWith("alter type ") ? `public.${alter.charAt(11)}` : alter.split(" ").at(-1)]
          }
        ])
        const steps = yield* capture.plan([{ table: "t" }])
        expect(steps.some((step) => "lapse" in step && step.lapse === true)).toBe(true)
        yield* apply("t")
        expect([yield* asOf(host, "1"), yield* asOf(host, "1", before)]).toEqual(["BeforeCapture", former])
        expect(yield* host.findings()).toEqual([])
        expect(yield* capture.plan([{ table: "t" }])).toEqual([])
        yield* db.run("update t set w = 7 where id = 1")
        expect(yield* asOf(host, "1")).toBe(present)
        expect(yield* asOf(host, "2")).toBe("BeforeCapture")
      })
    )
  }

  attack("are noted by the next write of a session that learns of it", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run(types, "create table t (id int primary key, v c, w int)")
      yield* apply("t")
      yield* db.run(
        "insert into t values (1, row('a', 1), 1), (2, row('a', 1), 2)",
        "alter type c rename attribute x to z"
      )
      const between = yield* host.now
      yield* db.run("update t set w = 7 where id = 2", "alter type c rename attribute z to zz")
      expect(yield* db.column("select what from threadline.capture_alterations")).toEqual(["rewritten"])
      expect([yield* asOf(host, "1", between), yield* asOf(host, "1")]).toEqual(["BeforeCapture", "BeforeCapture"])
      yield* apply("t")
      expect(yield* asOf(host, "1", between)).toBe("BeforeCapture")
      yield* db.run("alter type e rename value 'b' to 'bb'")
      const other = yield* host.session()
      yield* other.run("update t set w = 8 where id = 2")
      expect(yield* db.column("select what from threadline.capture_alterations")).toEqual(["rewritten"])
    })
  )

  attack("are none if no text is another: values that are added, other lengths, other names of a type", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run(
        types,
        "create domain word as varchar",
        "create table t (id int primary key, v e, w varchar(9), x text, y bit(3), q e, o c)"
      )
      yield* apply({ table: "t", exclude: ["q"], mask: ["o"] })
      yield* db.run(
        "insert into t values (1, 'a', 'w', 'x', '101', 'b', row('b', 1))",
        "alter type e add value 'c' before 'a'",
        "alter table t alter w type text, alter x type word, alter y type varbit",
        "alter type e rename to ee",
        "create schema other",
        "alter type ee set schema other",
        "alter type c add attribute z int"
      )
      expect(yield* asOf(host, "1")).toBe('"a"')
      expect(yield* db.column("select gap from threadline.capture_gaps('public', 't')")).toEqual([])
      const other = yield* host.session()
      yield* other.run("update t set w = 'ww'")
      expect(yield* db.column("select what from threadline.capture_alterations")).toEqual([])
      yield* db.run("drop schema other cascade")
    })
  )
})

// PostgreSQL makes what uses a column anew when the column gets another type, or refuses to alter it.
attacks("ALTER TABLE", (attack) => {
  const policy = { table: "t", mask: ["pin"] }
  const masked = "alter table t alter pin type varchar(9) using upper(pin)"
  const rewrite = "alter table t alter v type numeric using v + 1"
  for (const [what, use, permitted] of [
    ["a default", "alter table t alter v set default 5", true],
    ["a check", "alter table t add check (v > 0)", true],
    ["an index", "create index on t (v)", true],
    ["an index of an expression", "create index on t ((v * 2)) where v > 0", true],
    ["a unique constraint", "alter table t add unique (v)", true],
    [
      "a foreign key",
      "create table u (v numeric primary key); insert into u values (1), (2); alter table t add foreign key (v) references u",
      true
    ],
    ["statistics", "create statistics s on v, w from t", true],
    ["a view", "create view u as select v from t", false],
    ["a rule", "create rule u as on insert to t where new.v = 77 do instead nothing", false],
    ["a policy", "create policy u on t using (v > 0)", false],
    [
      "a trigger",
      "create trigger u before update of v on t for each row execute function suppress_redundant_updates_trigger()",
      false
    ],
    ...(TestDatabase.serverVersion >= 18 ? [["not null", "alter table t alter v set not null", true] as const] : [])
  ] as const) {
    attack(`is known to have kept the type of a column that ${what} uses, or may not alter it`, (host) =>
      Effect.gen(function* () {
        const { apply, db } = host
        yield* db.run(...plain, unversioned, use)
        yield* apply(policy)
        yield* db.run("insert into t values (1, 1), (2, 2)")
        yield* db.run("alter table t alter v set statistics 7", masked, "alter table t alter v set statistics 8")
        expect(yield* asOf(host, "1")).toBe("1")
        yield* apply(policy)
        expect(yield* asOf(host, "1")).toBe("1")
        expect(
          yield* host.db.outcome(
            `begin; ${what === "a foreign key" ? "insert into u values (3);" : ""} ${rewrite}; commit`
          )
        ).toBe(permitted ? "ok" : "0A000")
        yield* db.run(
          "rollback",
          "alter table t alter v set statistics 9",
          masked,
          "alter table t alter v set statistics 7"
        )
        const expected = permitted ? "BeforeCapture" : "1"
        expect(yield* db.value("select v from t where id = 1")).toBe(permitted ? "2" : "1")
        expect(yield* asOf(host, "1")).toBe(expected)
        yield* apply(policy)
        expect(yield* asOf(host, "1")).toBe(expected)
      })
    )
  }

  attack("is not known to have kept the type of a column if the view that uses it is replaced meanwhile", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run(...plain, "create view u as select id, v from t")
      yield* apply(policy)
      yield* db.run(
        "insert into t values (1, 1)",
        `begin; create or replace view u as select id, null::numeric as v from t; ${rewrite}; create or replace view u as select id, v from t; commit`,
        "alter table t alter v set statistics 7",
        masked
      )
      expect(yield* db.value("select v from u")).toBe("2")
      expect(yield* asOf(host, "1")).toBe("BeforeCapture")
    })
  )

  attack("is known to have kept the type of a computed column by its own expression alone", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run(
        "create table t (id int primary key, w int, v int generated always as (w + 1) stored, pin text)",
        "create index on t (v)"
      )
      yield* apply(policy)
      yield* db.run("insert into t (id, w) values (1, 1)", "alter table t alter v set statistics 7", masked)
      expect(yield* asOf(host, "1")).toBe("2")
      yield* apply(policy)
      if (TestDatabase.serverVersion >= 17) {
        yield* db.run(
          "create view u as select v from t",
          "alter table t alter v set expression as (w * 100)",
          "alter table t alter v set statistics 8",
          masked
        )
        expect(yield* asOf(host, "1")).toBe("BeforeCapture")
      }
    })
  )
})

attacks("a rewrite that the catalog shows no more", (attack) => {
  const policy = { table: "t", mask: ["pin"] }
  const masked = "alter table t alter pin type varchar(9) using upper(pin)"
  for (const [what, ddl] of [
    [
      "to a type that needs none, by an expression, and of a redacted column",
      ["alter table t alter w type varchar using w || '!', alter w set default 'x'", masked]
    ],
    [
      "to a type that needs none, by an expression, and of a new column",
      [
        "alter table t alter w type varchar using w || '!', alter w set default 'x'",
        "alter table t add e text default clock_timestamp()::text"
      ]
    ],
    [
      "to a type that needs none, by an expression, at once with a redacted column",
      [
        `alter table t alter w type varchar using w || '!', ${masked.slice(14)}`,
        "alter table t alter w set default 'x'"
      ]
    ],
    [
      "and back to the type that it had",
      [
        "alter table t alter w type varchar using w || '!', alter w set default 'x'",
        "alter table t alter w type text",
        masked
      ]
    ],
    [
      "of a column that older rows lacked, and settings that were taken back",
      [
        "alter table t alter quick type text using quick || '!', alter w type text using w || '!'",
        "alter table t alter quick set statistics 7, alter w set statistics 7",
        "alter table t alter quick set statistics -1, alter w set statistics -1"
      ]
    ]
  ] as const) {
    attack(`claims nothing of the rows: ${what}`, (host) =>
      Effect.gen(function* () {
        const { apply, db } = host
        const present = db.value("select w from t where id = 1")
        yield* db.run(
          "create table t (id int primary key, v numeric, w text, pin text)",
          "insert into t values (9, 9, 'z')",
          "alter table t add quick text default 'q'"
        )
        yield* apply(policy)
        yield* db.run("insert into t values (1, 1, 'a'), (2, 2, 'a')", ...ddl)
        expect(yield* present).toBe("a!")
        expect(yield* asOf(host, "1")).toBe("BeforeCapture")
        yield* apply(policy)
        expect(yield* asOf(host, "1")).toBe("BeforeCapture")
      })
    )
  }

  attack("claims nothing of the rows, although a partition that comes later has rows of before", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run(...partitioned.slice(0, 2), "create table o (like t including all)", "insert into o values (7, 7)")
      yield* apply(policy)
      yield* db.run("insert into t values (1, 1)", "alter table t alter v type numeric using v + 1")
      yield* db.run("alter table t attach partition o for values in (7)")
      expect(yield* db.value("select v from t where id = 1")).toBe("2")
      expect(yield* asOf(host, "1")).toBe("BeforeCapture")
    })
  )
})

attacks("rows that cannot be read now", (attack) => {
  attack("are no rewrite, and what a write notes meanwhile is no lapse afterwards", (host) =>
    Effect.gen(function* () {
      const { apply, capture, db } = host
      yield* db.run(...partitioned, unversioned)
      yield* apply("t")
      yield* db.run("insert into t values (1, 1)", "vacuum full t", "alter table t alter v set default 6")
      expect(yield* asOf(host, "1")).toBe("1")
      const [locking, writing] = [yield* host.session(), yield* host.session()]
      yield* locking.run("begin", "lock table t_1 in access exclusive mode")
      yield* writing.run("insert into t values (2, 2)", "insert into t values (3, 3)")
      expect(yield* db.column("select what from threadline.capture_alterations")).toEqual(["unknown"])
      expect(yield* asOf(host, "1")).toBe("BeforeCapture")
      const found = (yield* capture.status()).flatMap(({ findings }) => findings)
      expect(found.map(({ kind, severity }) => [kind, severity])).toContainEqual(["RowsRewritten", "warning"])
      yield* locking.run("commit")
      expect(yield* asOf(host, "1")).toBe("1")
      expect(kinds(yield* capture.status())).toEqual([])
      yield* writing.run("insert into t values (4, 4)")
      yield* apply("t")
      expect([yield* asOf(host, "1"), yield* asOf(host, "3")]).toEqual(["1", "3"])
      expect(yield* db.value("select lapses from threadline.capture_policies")).toBe("{}")
    })
  )

  attack("of a partition that nobody has looked at yet say nothing, others do", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run(...partitioned, unversioned)
      yield* apply("t")
      yield* db.run("insert into t values (1, 1), (2, 2)", "vacuum full t", "alter table t alter v set default 6")
      for (const id of [3, 4, 5, 6]) {
        yield* db.run(`create table t_${id} partition of t for values in (${id})`)
        expect(yield* db.value("select gap from threadline.capture_gap('public', 't')")).toBe(undefined)
      }
      expect(yield* asOf(host, "1")).toBe("1")
    })
  )
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
    attack(`lets no row be mistaken for another: ${how}`, (host) =>
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

  attack("is the same key as a primary key that is made anew over the same columns", (host) =>
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
