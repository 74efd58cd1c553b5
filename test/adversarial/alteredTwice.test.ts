/** Keys and columns altered more than once before anybody applies, with captured writes between. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { asOf, attacks, type Host, type Session } from "../support/adversarial.js"

const alterations = ({ db }: Host) =>
  Effect.map(db.value("select count(*) from threadline.capture_alterations"), Number)

interface Story {
  readonly what: string
  readonly table: string
  /** Rows with the key `k` and the value `a` in `v`; another row is written meanwhile. */
  readonly filled: string
  readonly key: string
  readonly first: string
  readonly other: string
  readonly second: string
  /** What is found, if the table looks as it did before. */
  readonly found?: ReadonlyArray<string>
  /** Tried in row mode too. */
  readonly inRowMode?: boolean
}

const stories: ReadonlyArray<Story> = [
  {
    what: "the key gets other values twice",
    table: "create table t (id int primary key, v text)",
    filled: "insert into t values (1, 'a')",
    key: "1",
    first: "alter table t alter id type bigint using id + 1",
    other: "insert into t values (50, 'x')",
    second: "alter table t alter id type int using id + 1",
    inRowMode: true
  },
  {
    what: "a column gets other values twice",
    table: "create table t (id int primary key, v text)",
    filled: "insert into t values (1, 'a')",
    key: "1",
    first: "alter table t alter v type varchar(50) using v || '!'",
    other: "insert into t values (50, 'x')",
    second: "alter table t alter v type text using v || '!'"
  },
  {
    what: "a column gets other values, and then another name",
    table: "create table t (id int primary key, v text, w text default 'w')",
    filled: "insert into t values (1, 'a')",
    key: "1",
    first: "alter table t alter w type varchar(50) using w || '!'",
    other: "update t set v = 'x' where id = 50; insert into t values (50, 'x')",
    second: "alter table t rename w to ww"
  },
  {
    what: "the key gets another column, and another one",
    table: "create table t (id int primary key, v text)",
    filled: "insert into t values (1, 'a')",
    key: "1",
    first:
      "alter table t add column b int not null default 7; alter table t drop constraint t_pkey, add primary key (b, id)",
    other: "insert into t values (50, 'x')",
    second: "alter table t drop constraint t_pkey, add primary key (id, b)"
  },
  {
    what: "nothing keeps the key unique for a while",
    table: "create table t (id int primary key, v text)",
    filled: "insert into t values (1, 'a')",
    key: "1",
    first: "alter table t drop constraint t_pkey; update t set id = 2 where false",
    other: "insert into t values (1, 'x'); delete from t where v = 'a'",
    second: "alter table t add primary key (id)",
    found: ["AlteredMeanwhile"]
  },
  {
    what: "a value of an enum in the key is renamed twice",
    table: "create type state as enum ('open', 'closed', 'gone'); create table t (id state primary key, v text)",
    filled: "insert into t values ('open', 'a')",
    key: "open",
    first: "alter type state rename value 'open' to 'opened'",
    other: "insert into t values ('closed', 'x')",
    second: "alter type state rename value 'opened' to 'wide'"
  },
  {
    what: "values of an enum in the key exchange their names and take them back",
    table: "create type state as enum ('open', 'closed', 'gone'); create table t (id state primary key, v text)",
    filled: "insert into t values ('open', 'a')",
    key: "open",
    first:
      "alter type state rename value 'open' to 'x'; alter type state rename value 'closed' to 'open'; alter type state rename value 'x' to 'closed'",
    other: "insert into t values ('gone', 'x')",
    second:
      "alter type state rename value 'open' to 'x'; alter type state rename value 'closed' to 'open'; alter type state rename value 'x' to 'closed'",
    found: ["AlteredMeanwhile"]
  },
  {
    what: "the key of a partitioned table gets other values twice",
    table:
      "create table t (id int, k int, v text, primary key (id, k)) partition by list (k); create table t_1 partition of t for values in (1); create table t_2 partition of t for values in (2)",
    filled: "insert into t values (1, 1, 'a')",
    key: '["1","1"]',
    first: "alter table t alter id type bigint using id + 1",
    other: "insert into t_2 values (50, 2, 'x')",
    second: "alter table t alter id type int using id + 1",
    inRowMode: true
  }
]

attacks("a table that is altered twice, and written in between", (attack) => {
  for (const mode of ["statement", "row"] as const) {
    attack(`claims nothing of the time before from what was written in between, in ${mode} mode`, (host) =>
      Effect.gen(function* () {
        const { apply, capture, db } = host
        // Two sessions, each with plans of its own.
        const other = yield* host.session()
        for (const { filled, first, found, inRowMode, key, other: between, second, table, what } of stories) {
          if (mode === "row" && inRowMode !== true) {
            continue
          }
          yield* db.run("drop table if exists t; drop type if exists state", table)
          yield* apply({ table: "t", mode })
          yield* db.run(filled, "update t set v = 'b'", "update t set v = 'a'")
          yield* other.run("update t set v = 'b'", "update t set v = 'a'", "update t set v = v")
          const before = yield* host.now
          yield* db.run("update t set v = 'c'", "update t set v = 'a'")
          const ask = (at: string) => asOf(host, "t", key, at)
          expect([what, yield* ask(before)]).toEqual([what, `Present "a"`])
          expect(yield* alterations(host)).toBe(0)
          yield* db.run(first)
          yield* other.run(between)
          const since = yield* host.now
          yield* db.run(second)
          yield* other.run("update t set v = v || '.' where v = 'x'")
          const after = yield* host.now
          const said = [yield* ask(before), yield* ask(since), yield* ask(after)]
          expect([what, ...said]).toEqual([what, `Present "a"`, "BeforeCapture", "BeforeCapture"])
          // Something is to be done, and the statement of it is loud.
          const findings = yield* host.findings({ table: "t", mode })
          expect(findings).not.toEqual([])
          expect([what, findings]).toEqual([what, found ?? findings])
          const plan = yield* capture.plan([{ table: "t", mode }])
          expect(plan.map((step) => "lapse" in step && step.lapse)).toContain(true)
          yield* apply({ table: "t", mode })
          const later = [yield* ask(before), yield* ask(since), yield* ask(after)]
          expect([what, ...later]).toEqual([what, `Present "a"`, "BeforeCapture", "BeforeCapture"])
          expect(yield* alterations(host)).toBe(0)
          expect([what, yield* host.findings()]).toEqual([what, []])
          yield* capture.remove(["t"])
          yield* db.run("truncate threadline.capture_policies, threadline.audit_changes")
        }
      })
    )
  }

  attack("and is then dropped and created again, does not hide that it was altered before", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      const create = "create table t (id int primary key, v text)"
      yield* db.run(create)
      yield* apply("t")
      yield* db.run("insert into t values (1, 'a')")
      const before = yield* host.now
      yield* db.run("update t set v = 'b'", "update t set v = 'a'", "alter table t alter id type bigint using id + 1")
      yield* db.run("insert into t values (50, 'x')")
      const since = yield* host.now
      yield* db.run("insert into t values (51, 'x')", "drop table t", create)
      for (const applied of [false, true]) {
        if (applied) {
          yield* apply("t")
        }
        expect(yield* asOf(host, "t", "1", before)).toBe(`Present "a"`)
        expect(yield* asOf(host, "t", "1", since)).toBe("BeforeCapture")
        expect(yield* asOf(host, "t", "50", since)).toBe("BeforeCapture")
      }
    })
  )

  attack("is noticed by the session that writes first, whatever it did before, and disturbs nobody", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      const other = yield* host.session()
      yield* db.run("create table t (id int primary key, v text)", "create table u (id int primary key, v text)")
      yield* apply("t", "u")
      const write = "insert into t select coalesce(max(id), 0) + 1, 'x' from t"
      const plans = (session: Session) =>
        session.run(write, write, "update t set v = v || '.' where id = 1", "update t set v = 'y'")
      const noted = Effect.map(db.column("select what from threadline.capture_alterations order by seen_at"), (all) =>
        all.map(String)
      )
      yield* plans(db)
      yield* plans(other)
      expect(yield* noted).toEqual([])

      // What is taken back was nothing.
      yield* db.run(`begin; alter table t alter id type bigint using id + 1; ${write}; rollback`)
      yield* db.run(
        "begin",
        write,
        "savepoint s",
        "alter table t alter id type bigint using id + 1",
        write,
        "rollback to s",
        write,
        "commit"
      )
      yield* db.run(
        "vacuum full t",
        "reindex table t",
        "analyze t",
        "alter table t add column w text default 'w'",
        "create index on t (v)"
      )
      yield* plans(other)
      yield* plans(db)
      expect(yield* noted).toEqual([])
      expect(yield* db.value("select gap from threadline.capture_gap('public', 't')")).toBeUndefined()

      // Another session has planned before. A snapshot that is older than the alteration does not show it.
      const late = yield* host.session()
      yield* late.run("prepare p as insert into t (id, v) values (1000, 'late')")
      yield* late.run("begin isolation level repeatable read", "select count(*) from u")
      yield* db.run("alter table t alter id type bigint using id + 1")
      yield* late.run("execute p", "commit")
      expect(yield* noted).toEqual(["unknown"])
      yield* other.run(write)
      expect(yield* noted).toEqual(["unknown", "key"])
      yield* plans(other)
      yield* late.run("insert into t values (1500, 'later')")
      expect(yield* noted).toEqual(["unknown", "key"])

      // Serializable transactions that write the altered table and another one have no conflict because of it.
      yield* db.run("begin isolation level serializable", "update u set v = 'a'")
      yield* other.run("begin isolation level serializable", "insert into t values (2000, 'a')")
      yield* db.run("insert into t values (3000, 'b')", "commit")
      yield* other.run("insert into u values (1, 'b')", "commit")

      yield* apply("t")
      expect(yield* noted).toEqual([])
      yield* plans(other)
      yield* plans(late)
      expect(yield* noted).toEqual([])
    })
  )
})
