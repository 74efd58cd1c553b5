/** One history across names: a table and its columns are found under the name they have now, whatever they were called. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Schema from "effect/Schema"
import * as Feed from "../../src/Feed.js"
import type { Page } from "../../src/Page.js"
import * as Query from "../../src/Query.js"
import { asOf, attacks, type Host, migrate, reading } from "../support/adversarial.js"
import { runs } from "../support/runs.js"

/** Each change as `a insert 1`. */
const changeLines = (
  changes: ReadonlyArray<{ readonly tableName: string; readonly op: string; readonly rowKey: string | null }>
) => changes.map(({ op, rowKey, tableName }) => `${tableName} ${op}${rowKey === null ? "" : ` ${rowKey}`}`)

const timeline = (host: Host, filter: Query.FilterInput) =>
  Effect.map(reading(host, Query.timeline({ order: "oldest", ...filter })), ({ items }) => changeLines(items))

const history = (host: Host, table: string, key: string) =>
  Effect.map(reading(host, Query.history(table, key, { order: "oldest" })), ({ items }) => changeLines(items))

/** The names of a table as raw SQL has them: each with how many changes of its time it has. */
const namesOf = ({ db }: Pick<Host, "db">, table: string, schema = "public") =>
  Effect.map(
    db.rows(
      `select n.former_schema || '.' || n.former_name || ' ' || (
          select count(*)
          from threadline.audit_changes c
          where c.table_schema = n.former_schema and c.table_name = n.former_name
            and c.captured_at >= n.since and c.captured_at < n.until
        ) as line
      from threadline.table_names($2, $1) n
      order by n.since, n.until`,
      [table, schema]
    ),
    (rows) => rows.map(({ line }) => line)
  )

const renamed = (from: string, to: string) =>
  `alter table ${from} rename to ${to}; select threadline.table_renamed('public', '${from}', 'public', '${to}', clock_timestamp())`

attacks("a policy", (attack) => {
  attack("follows its table through renames told of when they happen", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run("create table a (id int primary key)")
      yield* apply("a")
      yield* db.run("insert into a values (1)", renamed("a", "b"), "insert into b values (2), (3)")
      expect(yield* namesOf(host, "b")).toEqual(["public.a 1", "public.b 2"])
      expect(yield* namesOf(host, "a")).toEqual(["public.a 1", "public.b 2"])
      expect(
        (yield* host.capture.status()).map(({ captured, findings, table }) => [
          table,
          captured,
          findings.map(({ kind }) => kind)
        ])
      ).toEqual([["public.b", true, ["NameFollowed"]]])
      yield* db.run(renamed("b", "c"), "insert into c values (4)", renamed("c", "a"), "delete from a")
      expect(yield* namesOf(host, "a")).toEqual(["public.a 1", "public.b 2", "public.c 1", "public.a 4"])
      expect(
        yield* db.column("select threadline.unknown_times('public', 'a') = threadline.unknown_times('public', 'b')")
      ).toEqual(["t"])
    })
  )

  attack("follows its table through an exchange of names told of when it happens", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run("create table g (id int primary key)", "create table h (id int primary key)")
      yield* apply("g", "h")
      yield* db.run("insert into g values (1)", "insert into h values (1), (2)")
      yield* db.run(renamed("g", "x"), renamed("h", "g"), renamed("x", "h"), "delete from g", "delete from h")
      expect(yield* namesOf(host, "g")).toEqual(["public.h 2", "public.g 2"])
      expect(yield* namesOf(host, "h")).toEqual(["public.g 1", "public.x 0", "public.h 1"])
    })
  )

  attack("follows its table through an exchange that nobody told of", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run("create table g (id int primary key)", "create table h (id int primary key)")
      yield* apply("g", "h")
      yield* db.run("insert into g values (1)", "insert into h values (1), (2)")
      yield* db.run(
        "begin; alter table g rename to x; alter table h rename to g; alter table x rename to h; commit",
        "delete from g",
        "delete from h",
        "select threadline.follow_names()"
      )
      expect(yield* namesOf(host, "g")).toEqual(["public.h 2", "public.g 2"])
      expect(yield* namesOf(host, "h")).toEqual(["public.g 1", "public.h 1"])
      expect(yield* db.column("select count(*) from threadline.capture_sightings")).toEqual(["0"])
    })
  )

  attack("follows its table through chains and back again that nobody told of", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run("create table a (id int primary key)")
      yield* apply("a")
      yield* db.run(
        "insert into a values (1)",
        "alter table a rename to b",
        "insert into b values (2), (3)",
        "alter table b rename to c",
        "insert into c values (4)",
        "alter table c rename to a",
        "insert into a values (5)",
        "alter table a rename to b",
        "insert into b values (6)",
        "select threadline.follow_names()"
      )
      expect(yield* namesOf(host, "b")).toEqual(["public.a 1", "public.b 2", "public.c 1", "public.a 1", "public.b 1"])
      yield* db.run(
        "alter table b rename to c",
        "insert into c values (7)",
        "alter table c rename to b",
        "delete from b"
      )
      yield* db.run("select threadline.follow_names()")
      expect((yield* namesOf(host, "b")).slice(4)).toEqual(["public.b 1", "public.c 1", "public.b 7"])
    })
  )

  attack("of a table that took the name of one which is gone goes on with what is recorded under the name", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run("create table users (id int primary key)", "create table users_new (id int primary key)")
      yield* apply("users", "users_new")
      for (const how of ["told", "untold"]) {
        const rename = (from: string, to: string) =>
          how === "told" ? renamed(from, to) : `alter table ${from} rename to ${to}`
        yield* db.run(
          "insert into users values (1)",
          "insert into users_new values (1), (2)",
          rename("users", "users_old"),
          rename("users_new", "users"),
          "delete from users",
          ...(how === "told" ? [] : ["select threadline.follow_names()"])
        )
        expect((yield* namesOf(host, "users")).slice(-2)).toEqual(["public.users_new 2", "public.users 2"])
        expect((yield* namesOf(host, "users_old")).slice(0, -1)).toEqual(["public.users 1"])
        yield* db.run("drop table users_old", "select threadline.names_released('public', 'users_old')")
        expect(yield* namesOf(host, "users")).toEqual(["public.users 3"])
        expect(yield* namesOf(host, "users_new")).toEqual(["public.users_new 2"])
        expect(yield* db.column("select count(*) from unnest(threadline.unknown_times('public', 'users'))")).toEqual([
          "2"
        ])
        yield* db.run("truncate threadline.audit_changes, threadline.capture_policies")
        yield* db.run(
          "drop table users",
          "create table users (id int primary key)",
          "create table users_new (id int primary key)"
        )
        yield* apply("users", "users_new")
      }
      yield* db.run(
        "insert into users values (1)",
        "insert into users_new values (1), (2)",
        "drop table users",
        "alter table users_new rename to users",
        "delete from users where id = 1",
        "select threadline.follow_names()"
      )
      expect(yield* namesOf(host, "users")).toEqual(["public.users 2"])
      expect(yield* namesOf(host, "users_new")).toEqual(["public.users_new 2"])
    })
  )
})

for (const watched of [false, true]) {
  attacks(`a feed that is filtered by the name of a table${watched ? ", under the schema watch" : ""}`, (attack) => {
    attack("skips nothing and delivers nothing twice if the table is renamed", (host) =>
      Effect.gen(function* () {
        const { apply, db } = host
        yield* watched ? migrate(host, { watchSchema: true }) : Effect.void
        yield* db.run("create table a (id int primary key)", "create table other (id int primary key)")
        yield* apply("a", "other")
        const next = (tables: ReadonlyArray<string>, checkpoint?: string) =>
          reading(host, Feed.read({ tables, ...(checkpoint === undefined ? {} : { checkpoint }) }))
        yield* db.run("insert into a values (1)")
        const [one, all] = [yield* next(["a"]), yield* reading(host, Feed.read({}))]
        expect(changeLines(one.changes)).toEqual(["a insert 1"])
        yield* db.run("alter table a rename to b", "insert into b values (2)", "insert into other values (1)")
        const two = yield* next(["a"], one.checkpoint)
        yield* db.run("insert into b values (3)")
        yield* apply("b")
        yield* db.run("insert into b values (4)")
        const three = yield* next(["a"], two.checkpoint)
        expect(changeLines([...two.changes, ...three.changes])).toEqual(["b insert 2", "b insert 3", "b insert 4"])
        expect(changeLines((yield* reading(host, Feed.read({ checkpoint: all.checkpoint }))).changes)).toEqual([
          "b insert 2",
          "other insert 1",
          "b insert 3",
          "b insert 4"
        ])
        expect(changeLines((yield* next(["b"])).changes)).toEqual([
          "a insert 1",
          "b insert 2",
          "b insert 3",
          "b insert 4"
        ])
      })
    )
  })
}

for (const how of ["apply of the table", "apply that prunes", "remove", "the schema watch"] as const) {
  attacks(`a table that took the name of one which is gone by now, after ${how},`, (attack) => {
    attack("goes on with what is recorded under the name", (host) =>
      Effect.gen(function* () {
        const { apply, capture, db } = host
        if (how === "the schema watch") {
          yield* migrate(host, { watchSchema: true })
        }
        yield* db.run("create table users (id int primary key)", "create table users_new (id int primary key)")
        yield* apply("users", "users_new")
        yield* db.run("insert into users values (1)")
        const then = yield* host.now
        yield* db.run(
          "insert into users_new values (1), (2)",
          "alter table users rename to users_old",
          "alter table users_new rename to users",
          "delete from users where id = 2"
        )
        yield* apply("users", "users_old")
        // The table that was put aside keeps its own past while it lives.
        expect(yield* timeline(host, { table: "users_old" })).toEqual(["users insert 1"])
        expect((yield* reading(host, Query.asOf("users", "1", then)))._tag).toBe("NotYetCreated")
        // A drop that is taken back changes nothing.
        yield* db.run("begin; drop table users_old; rollback", "drop table users_old")
        const settle = {
          "the schema watch": Effect.void,
          "apply of the table": Effect.flatMap(capture.apply([{ table: "users" }]), (steps) =>
            Effect.sync(() =>
              expect(steps.map((step) => (step.kind === "follow" ? [step.table, step.formerly] : [step.kind]))).toEqual(
                [["public.users", "public.users_old"]]
              )
            )
          ),
          "apply that prunes": capture.apply([{ table: "users" }], { prune: true }),
          remove: capture.remove(["users_old"])
        }
        yield* settle[how]
        expect(yield* timeline(host, { table: "users" })).toEqual(["users insert 1", "users delete 2"])
        expect((yield* reading(host, Query.asOf("users", "1", then)))._tag).toBe("Present")
        // At the exchange nothing is known: its rows are not those of the table that is gone.
        expect((yield* reading(host, Query.asOf("users", "1", yield* host.now)))._tag).toBe("BeforeCapture")
        expect(yield* capture.plan([{ table: "users" }])).toEqual([])
      })
    )
  })
}

attacks("a copy that took the name of a table which is gone by now", (attack) => {
  for (const seen of ["by nobody", "by apply", "by the schema watch"]) {
    attack(`is the table of that name after one apply, if the renames were seen ${seen}`, (host) =>
      Effect.gen(function* () {
        const { apply, capture, db } = host
        if (seen === "by the schema watch") {
          yield* migrate(host, { watchSchema: true })
        }
        yield* db.run("create table users (id int primary key)", "create table other (id int primary key)")
        yield* apply("users", "other")
        yield* db.run(
          "insert into users values (1)",
          "create table users_new (like users including all)",
          "insert into users_new select id from users",
          "alter table users rename to users_old",
          "alter table users_new rename to users"
        )
        if (seen === "by apply") {
          yield* apply("users_old")
        }
        yield* db.run("drop table users_old")
        const tables = [{ table: "users" }, { table: "other" }]
        const planned = yield* capture.plan(tables)
        expect((yield* capture.apply(tables)).map(({ kind }) => kind)).toEqual(planned.map(({ kind }) => kind))
        expect(yield* capture.plan(tables)).toEqual([])
        yield* db.run("delete from users where id = 1")
        expect(yield* timeline(host, { table: "users" })).toEqual(["users insert 1", "users delete 1"])
      })
    )
  }
})

attacks("a table that was renamed", (attack) => {
  for (const mode of ["statement", "row"] as const) {
    attack(`is read as one by every read, under its present name and those that it had, in ${mode} mode`, (host) =>
      Effect.gen(function* () {
        const { apply, capture, db } = host
        yield* db.run("create table a (id int primary key, v text)", "create table other (id int primary key)")
        yield* apply({ table: "a", mode }, "other")
        yield* db.run("insert into a values (1, 'one'), (2, 'two')", "insert into other values (1)")
        const then = yield* host.now
        yield* db.run(
          "alter table a rename to b",
          "update b set v = 'uno' where id = 1",
          "insert into other values (2)"
        )
        const steps = yield* apply({ table: "b", mode })
        expect(steps.map(({ kind }) => kind)).toEqual(["follow", "regenerate"])
        expect(steps[0]).toMatchObject({ table: "public.b", formerly: "public.a" })
        expect(yield* capture.plan([{ table: "b", mode }])).toEqual([])
        const [status] = yield* capture.status([{ table: "b", mode }])
        expect(status?.findings).toEqual([])
        expect(status?.policy?.formerNames).toMatchObject([
          { schema: "public", name: "a", since: null, declared: false }
        ])
        yield* db.run("delete from b where id = 1", "insert into b values (3, 'three')")
        const allLines = ["a insert 1", "a insert 2", "b update 1", "b delete 1", "b insert 3"]
        for (const table of ["b", "a"]) {
          expect(yield* timeline(host, { table })).toEqual(allLines)
          expect(yield* timeline(host, { table, key: "1" })).toEqual(["a insert 1", "b update 1", "b delete 1"])
          expect(yield* timeline(host, { table, op: "delete" })).toEqual(["b delete 1"])
          expect(yield* timeline(host, { table: [table, "other"] })).toHaveLength(7)
          expect(yield* history(host, table, "1")).toEqual(["a insert 1", "b update 1", "b delete 1"])
          expect(yield* asOf(host, table, "1", then)).toBe(`Present "one"`)
          expect(yield* asOf(host, table, "2")).toBe(`Present "two"`)
          expect(yield* asOf(host, table, "1")).toBe("Deleted")
          expect(yield* asOf(host, table, "3", then)).toBe("NotYetCreated")
          expect((yield* reading(host, Query.count({ table }))).count).toBe(5)
          expect((yield* reading(host, Query.transactions({ table }))).items).toHaveLength(4)
          expect(
            (yield* reading(host, Query.asOfRows(table, yield* host.now))).items.map(({ rowKey }) => rowKey)
          ).toEqual(["2", "3"])
          expect((yield* reading(host, Query.asOfRows(table, then))).items.map(({ rowKey }) => rowKey)).toEqual([
            "1",
            "2"
          ])
          expect(changeLines((yield* reading(host, Feed.read({ tables: [table] }))).changes)).toEqual(allLines)
          // Pages go on where the one before ended.
          const paged: Array<string> = []
          let cursor: string | undefined
          do {
            const page: Page<Query.Change> = yield* reading(
              host,
              Query.timeline({ table, limit: 2, order: "oldest", cursor })
            )
            paged.push(...changeLines(page.items))
            cursor = page.nextCursor._tag === "Some" ? page.nextCursor.value : undefined
          } while (cursor !== undefined)
          expect(paged).toEqual(allLines)
        }
      })
    )
  }

  attack("is read as one through a schema that was renamed, and as a partitioned root", (host) =>
    Effect.gen(function* () {
      const { apply, capture, db } = host
      yield* db.run(
        "create schema shop",
        "create table shop.t (id int primary key, v text)",
        "create table p (id int primary key, v text) partition by list (id)",
        "create table p_1 partition of p for values in (1)",
        "create table p_rest partition of p default"
      )
      yield* apply("shop.t", "p")
      yield* db.run("insert into shop.t values (1, 'a')", "insert into p values (1, 'a'), (2, 'a')")
      yield* db.run(
        "alter schema shop rename to store",
        "alter table p rename to q",
        "update store.t set v = 'b'",
        "update q set v = 'b' where id = 1",
        "delete from p_rest"
      )
      yield* apply("store.t", "q")
      expect(yield* capture.plan([{ table: "store.t" }, { table: "q" }])).toEqual([])
      expect(yield* timeline(host, { table: "store.t" })).toEqual(["t insert 1", "t update 1"])
      expect(yield* timeline(host, { table: "q" })).toEqual(["p insert 1", "p insert 2", "q update 1", "q delete 2"])
      expect(yield* asOf(host, "q", "2")).toBe("Deleted")
    })
  )

  attack("leaves its former name to a new table that has it from then on", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run("create table a (id int primary key, v text)")
      yield* apply("a")
      yield* db.run(
        "insert into a values (1, 'old')",
        "alter table a rename to b",
        "create table a (id int primary key, v text)"
      )
      yield* apply("b", "a")
      yield* db.run("insert into a values (1, 'new')", "update b set v = 'older'")
      expect(yield* timeline(host, { table: "a" })).toEqual(["a insert 1"])
      expect(yield* timeline(host, { table: "b" })).toEqual(["a insert 1", "b update 1"])
      expect(yield* asOf(host, "a", "1")).toBe(`Present "new"`)
      expect(yield* asOf(host, "b", "1")).toBe(`Present "older"`)
    })
  )

  attack("is not guessed after a restore", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run("create table a (id int primary key, v text)")
      yield* apply("a")
      yield* db.run(
        "insert into a values (1, 'old')",
        "update threadline.capture_policies set relation = 0, database = 'elsewhere', partition_marks = '{}'",
        "alter table a rename to b"
      )
      yield* apply("b")
      yield* db.run("update b set v = 'older'")
      expect(yield* timeline(host, { table: "a" })).toEqual(["a insert 1"])
      expect(yield* timeline(host, { table: "b" })).toEqual(["b update 1"])
    })
  )
})

attacks("former names that are declared", (attack) => {
  const two = ["create table users (id int primary key, v text)", "create table users_new (id int primary key, v text)"]

  attack("join a table that was put aside to the one that took its name", (host) =>
    Effect.gen(function* () {
      const { apply, capture, db } = host
      yield* db.run(...two)
      yield* apply("users", "users_new")
      yield* db.run("insert into users values (1, 'a'), (2, 'a')", "insert into users_new values (1, 'b')")
      const then = yield* host.now
      yield* db.run(
        "begin; alter table users rename to users_old; alter table users_new rename to users; commit",
        "update users set v = 'c'",
        "update users_old set v = 'z' where id = 2"
      )
      const config = { table: "users", formerly: ["users_old"] }
      yield* apply(config, "users_old")
      expect(yield* capture.plan([config, { table: "users_old" }])).toEqual([])
      expect((yield* capture.status([config, { table: "users_old" }])).flatMap(({ findings }) => findings)).toEqual([])
      expect(yield* timeline(host, { table: "users" })).toEqual(["users insert 1", "users insert 2", "users update 1"])
      expect(yield* timeline(host, { table: "users_old" })).toEqual([
        "users insert 1",
        "users insert 2",
        "users_old update 2"
      ])
      expect(yield* asOf(host, "users", "2", then)).toBe(`Present "a"`)
      expect(yield* asOf(host, "users", "1")).toBe(`Present "c"`)
      // Rows of another table tell nothing of those of this one.
      expect(yield* asOf(host, "users", "2")).toBe("BeforeCapture")
      // What is no longer declared is no longer joined.
      expect((yield* apply("users")).map(({ kind }) => kind)).toEqual(["refresh"])
      expect(yield* timeline(host, { table: "users" })).toEqual(["users_new insert 1", "users update 1"])
    })
  )

  attack("join what a restore has taken apart, without a lapse", (host) =>
    Effect.gen(function* () {
      const { apply, capture, db } = host
      yield* db.run("create table a (id int primary key, v text)")
      yield* apply("a")
      yield* db.run(
        "insert into a values (1, 'old'), (2, 'old')",
        "update threadline.capture_policies set relation = 0, database = 'elsewhere', partition_marks = '{}'",
        "alter table a rename to b",
        "update b set v = 'older' where id = 1"
      )
      const config = { table: "b", formerly: ["a"] }
      yield* apply(config)
      expect(yield* capture.plan([config])).toEqual([])
      expect(yield* timeline(host, { table: "b" })).toEqual(["a insert 1", "a insert 2", "b update 1"])
      expect(yield* asOf(host, "b", "2")).toBe(`Present "old"`)
      expect(yield* asOf(host, "b", "1")).toBe(`Present "older"`)
    })
  )

  attack("that cannot be are refused", (host) =>
    Effect.gen(function* () {
      const { apply, capture, db } = host
      yield* db.run(...two)
      yield* apply("users", "users_new")
      const why = (...tables: ReadonlyArray<Parameters<typeof capture.plan>[0][number]>) =>
        Effect.map(Effect.orDie(Effect.flip(capture.plan(tables))), (error) => [
          error._tag === "CaptureError" && error.refusal.reason === "FormerNameUnusable" ? error.refusal.why : "none",
          error.message
        ])
      expect((yield* why({ table: "users", formerly: ["public.users"] }))[0]).toBe("present name")
      expect((yield* why({ table: "users", formerly: ["usres_new"] }))[0]).toBe("never seen")
      expect((yield* why({ table: "users", formerly: ["usres_new"] }))[1]).toContain("public.users_new")
      expect(
        (yield* why({ table: "users", formerly: ["users_new"] }, { table: "users_new", formerly: ["users"] }))[0]
      ).toBe("circle")
      expect(
        (yield* why({ table: "users", formerly: ["people"] }, { table: "users_new", formerly: ["people"] }))[0]
      ).toBe("twice")
      expect((yield* why({ table: "users", columns: { v: { formerly: ["v"] } } }))[0]).toBe("present name")
      expect((yield* why({ table: "users", columns: { v: { formerly: ["w"] }, id: { formerly: ["w"] } } }))[0]).toBe(
        "twice"
      )
      expect((yield* why({ table: "users", columns: { w: { formerly: ["v"] } } }))[1]).toContain(
        "columns names column w"
      )
      expect((yield* why({ table: "users", formerly: [""] }))[1]).toContain("formerly")
    })
  )
})

attacks("a column that was renamed", (attack) => {
  attack(
    "is read as one by filters, as-of, diffs and typed reads, and told apart from one that has its name by now",
    (host) =>
      Effect.gen(function* () {
        const { apply, capture, db } = host
        yield* db.run("create table t (id int primary key, mail text, v text)")
        yield* apply("t")
        yield* db.run("insert into t values (1, 'x', 'a')", "update t set mail = 'y'")
        const then = yield* host.now
        yield* db.run("alter table t rename column mail to email", "alter table t add mail text")
        yield* db.run("update t set email = 'z'", "update t set mail = 'y'")
        yield* apply("t")
        expect(yield* capture.plan([{ table: "t" }])).toEqual([])
        expect((yield* capture.status()).map(({ policy }) => policy?.formerColumns)).toMatchObject([
          [{ column: "email", formerly: "mail", since: null, declared: false }]
        ])
        const fields = (filter: Query.FilterInput) =>
          Effect.map(reading(host, Query.timeline({ table: "t", order: "oldest", ...filter })), ({ items }) =>
            items.map(({ changedFields, op }) => `${op} ${(changedFields ?? []).join()}`)
          )
        expect(yield* fields({ changedField: "email" })).toEqual(["update mail", "update email"])
        expect(yield* fields({ changedField: "mail" })).toEqual(["update mail"])
        expect(yield* fields({ contains: { email: "y" } })).toEqual(["update mail", "update email"])
        expect(yield* fields({ contains: { email: "x", v: "a" } })).toEqual(["insert ", "update mail"])
        expect(yield* fields({ contains: { mail: "y" } })).toEqual(["update mail"])
        const answer = yield* reading(host, Query.asOf("t", "1", then))
        expect(answer).toMatchObject({ row: { mail: "y" }, recordedAs: { columns: { email: "mail" } } })
        const rows = yield* reading(host, Query.asOfRows("t", then, { contains: { email: "y" } }))
        expect(rows.items).toMatchObject([{ rowKey: "1", recordedAs: { columns: { email: "mail" } } }])
        for (const [column, value, keys] of [
          ["email", "y", ["1"]],
          ["email", "x", []],
          ["mail", "y", ["1"]]
        ] as const) {
          const answerOfRead = yield* reading(
            host,
            Query.asOfRows("t", then, { where: (image, sql) => sql`${image} ->> ${column} = ${value}` })
          )
          expect([column, value, answerOfRead.items.map(({ rowKey }) => rowKey)]).toEqual([column, value, keys])
        }
        const diff = yield* reading(host, Query.diffBetween("t", "1", then, yield* host.now))
        expect(diff.fields).toMatchObject([
          { field: "email", formerly: "mail", before: "y", after: "z" },
          { field: "mail", after: "y" }
        ])
        const typed = Query.typed("t", Schema.Struct({ id: Schema.Int, email: Schema.NullOr(Schema.String) }))
        const lives = yield* reading(host, typed.history("1", { order: "oldest" }))
        expect(lives.items.map(({ after }) => (after?._tag === "Right" ? after.right.email : after))).toEqual([
          "x",
          "y",
          "z",
          "z"
        ])
        const before = yield* reading(host, typed.asOf("1", then))
        expect(before).toMatchObject({ row: { _tag: "Right", right: { email: "y" } } })
        expect(yield* reading(host, Query.names("t"))).toMatchObject({
          table: "public.t",
          names: [{ table: "public.t", since: null, until: null }],
          columns: [{ column: "email", formerly: "mail", since: null }]
        })
      })
  )

  attack("is read as one if it exchanged its name with another, or if its former name is declared", (host) =>
    Effect.gen(function* () {
      const { apply, capture, db } = host
      yield* db.run("create table t (id int primary key, a text, b text)")
      yield* apply("t")
      yield* db.run("insert into t values (1, 'a', 'b')", "update t set a = 'a2'")
      yield* db.run(
        "alter table t rename column a to x; alter table t rename column b to a; alter table t rename column x to b"
      )
      yield* db.run("update t set a = 'b2'")
      yield* apply("t")
      const fields = (filter: Query.FilterInput) =>
        Effect.map(reading(host, Query.timeline({ table: "t", order: "oldest", ...filter })), ({ items }) =>
          items.map(({ changedFields, op }) => `${op} ${(changedFields ?? []).join()}`)
        )
      expect(yield* fields({ changedField: "b" })).toEqual(["update a"])
      expect(yield* fields({ changedField: "a" })).toEqual(["update a"])
      expect(yield* fields({ contains: { b: "a2" } })).toEqual(["update a", "update a"])
      expect(yield* fields({ contains: { a: "a2" } })).toEqual([])
      const config = { table: "t", columns: { a: { formerly: ["gone"] } } }
      expect((yield* apply(config)).map(({ kind }) => kind)).toEqual(["refresh"])
      expect(yield* capture.plan([config])).toEqual([])
      expect((yield* reading(host, Query.names("t"))).columns).toContainEqual({
        column: "a",
        formerly: "gone",
        since: null,
        until: null
      })
    })
  )
})

/** What happens to two tables: writes, renames to a free name, exchanges, and a look of `capture apply`. */
const events = FastCheck.array(
  FastCheck.oneof(
    {
      weight: 6,
      arbitrary: FastCheck.tuple(
        FastCheck.constant("write" as const),
        FastCheck.nat(1),
        FastCheck.integer({ min: 1, max: 3 })
      )
    },
    {
      weight: 2,
      arbitrary: FastCheck.tuple(FastCheck.constant("rename" as const), FastCheck.nat(1), FastCheck.nat(2))
    },
    {
      weight: 2,
      arbitrary: FastCheck.tuple(FastCheck.constant("exchange" as const), FastCheck.nat(1), FastCheck.nat(0))
    },
    { weight: 1, arbitrary: FastCheck.tuple(FastCheck.constant("apply" as const), FastCheck.nat(0), FastCheck.nat(0)) }
  ),
  { minLength: 6, maxLength: 16 }
)

interface Modelled {
  name: string
  readonly rows: Map<string, string>
  readonly changes: Array<string>
}

attacks("random renames and exchanges", (attack) => {
  for (const how of ["told of", "found later"] as const) {
    attack(
      `that are ${how} are followed by reads of the present name`,
      (host) =>
        Effect.gen(function* () {
          const { apply, db } = host
          for (const story of FastCheck.sample(events, { numRuns: runs(4), seed: 20_261_129 })) {
            yield* db.run(
              "drop schema public cascade; create schema public",
              "truncate threadline.audit_changes, threadline.audit_transactions, threadline.capture_policies, threadline.capture_sightings",
              "create table a (id int primary key, v text); create table b (id int primary key, v text)"
            )
            yield* apply("a", "b")
            const tables: ReadonlyArray<Modelled> = [
              { name: "a", rows: new Map(), changes: [] },
              { name: "b", rows: new Map(), changes: [] }
            ]
            const [first, second] = tables as readonly [Modelled, Modelled]
            const snapshots: Array<readonly [at: string, rows: ReadonlyArray<ReadonlyMap<string, string>>]> = []
            const rename = (from: string, to: string) =>
              how === "told of" ? renamed(from, to) : `alter table ${from} rename to ${to}`
            let value = 0
            for (const [kind, which, number] of story) {
              const table = which === 0 ? first : second
              switch (kind) {
                case "write": {
                  const key = String(number)
                  value++
                  const op = !table.rows.has(key) ? "insert" : value % 3 === 0 ? "delete" : "update"
                  yield* db.run(
                    op === "insert"
                      ? `insert into ${table.name} values (${key}, 'v${value}')`
                      : op === "update"
                        ? `update ${table.name} set v = 'v${value}' where id = ${key}`
                        : `delete from ${table.name} where id = ${key}`
                  )
                  table.changes.push(`${table.name} ${op} ${key}`)
                  if (op === "delete") {
                    table.rows.delete(key)
                  } else {
                    table.rows.set(key, `v${value}`)
                  }
                  break
                }
                case "rename": {
                  const to = ["c", "d", "e"][number] ?? "c"
                  if (tables.every(({ name }) => name !== to)) {
                    yield* db.run(rename(table.name, to))
                    table.name = to
                  }
                  break
                }
                case "exchange": {
                  yield* db.run(
                    `begin; ${rename(first.name, "z")}; ${rename(second.name, first.name)}; ${rename("z", second.name)}; commit`
                  )
                  const { name } = first
                  first.name = second.name
                  second.name = name
                  break
                }
                case "apply":
                  yield* apply(first.name, second.name)
              }
              snapshots.push([yield* host.now, tables.map(({ rows }) => new Map(rows))])
            }
            yield* apply(first.name, second.name)
            const instants = [
              ...snapshots.filter((_, place) => place % 2 === 0),
              [yield* host.now, [first.rows, second.rows]] as const
            ]
            const answers = yield* reading(
              host,
              Effect.forEach(tables, ({ name }) =>
                Effect.all({
                  changes: Effect.map(Query.timeline({ table: name, order: "oldest" }), ({ items }) =>
                    changeLines(items)
                  ),
                  known: Effect.forEach(instants, ([at]) => Query.asOfKeys(name, ["1", "2", "3"], at))
                })
              )
            )
            for (const [place, { changes }] of tables.entries()) {
              if (how === "told of") {
                expect(answers[place]?.changes).toEqual(changes)
              }
              for (const [instant, known] of (answers[place]?.known ?? []).entries()) {
                const rows = instants[instant]?.[1][place]
                for (const { answer, rowKey } of known) {
                  const there = rows?.get(rowKey)
                  // What nobody told of may not be known; what is claimed is right.
                  if (answer._tag !== "BeforeCapture" || how === "told of") {
                    expect([
                      rowKey,
                      instants[instant]?.[0],
                      answer._tag === "Present" ? answer.row["v"] : "gone"
                    ]).toEqual([rowKey, instants[instant]?.[0], there ?? "gone"])
                  }
                }
              }
            }
          }
        }),
      300_000
    )
  }
})
