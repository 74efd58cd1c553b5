/** One history across names: a table and its columns are found under the name they have now, whatever they were called (A31). */
import * as PgClient from "@effect/sql-pg/PgClient"
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Feed from "../../src/Feed.js"
import { stringify } from "../../src/internal/core/json.js"
import type { Page } from "../../src/Page.js"
import * as Query from "../../src/Query.js"
import { attacks, type Host } from "../support/adversarial.js"

/** Runs a read against the database of a host. */
const reading = <A, E>(host: Host, read: Effect.Effect<A, E, Query.Query | Feed.Feed>) =>
  read.pipe(
    Effect.provide(
      Layer.merge(Query.layer, Feed.layer).pipe(
        Layer.provide(PgClient.layer({ url: Redacted.make(host.database.url), maxConnections: 1 }))
      )
    ),
    Effect.orDie
  )

const now = ({ db }: Pick<Host, "db">) =>
  Effect.map(db.value(`select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`), String)

/** Each change as `a insert 1`. */
const told = (
  changes: ReadonlyArray<{ readonly tableName: string; readonly op: string; readonly rowKey: string | null }>
) => changes.map(({ op, rowKey, tableName }) => `${tableName} ${op}${rowKey === null ? "" : ` ${rowKey}`}`)

const timeline = (host: Host, filter: Query.FilterInput) =>
  Effect.map(reading(host, Query.timeline({ order: "oldest", ...filter })), ({ items }) => told(items))

const history = (host: Host, table: string, key: string) =>
  Effect.map(reading(host, Query.history(table, key, { order: "oldest" })), ({ items }) => told(items))

/** What as-of answers for a row, as `Present v`, now or at an instant. */
const asOf = (host: Host, table: string, key: string, at?: string) =>
  Effect.gen(function* () {
    const answer = yield* reading(host, Query.asOf(table, key, at ?? (yield* now(host))))
    return answer._tag === "Present" ? `Present ${stringify(answer.row["v"] ?? null)}` : answer._tag
  })

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

attacks("a policy follows its table", (attack) => {
  attack("through renames told of when they happen", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run("create table a (id int primary key)")
      yield* apply("a")
      yield* db.run("insert into a values (1)", renamed("a", "b"), "insert into b values (2), (3)")
      expect(yield* namesOf(host, "b")).toEqual(["public.a 1", "public.b 2"])
      expect(yield* namesOf(host, "a")).toEqual(["public.a 1", "public.b 2"])
      yield* db.run(renamed("b", "c"), "insert into c values (4)", renamed("c", "a"), "delete from a")
      expect(yield* namesOf(host, "a")).toEqual(["public.a 1", "public.b 2", "public.c 1", "public.a 4"])
      expect(
        yield* db.column("select threadline.unknown_times('public', 'a') = threadline.unknown_times('public', 'b')")
      ).toEqual(["t"])
    })
  )

  attack("through an exchange of names told of when it happens", (host) =>
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

  attack("through an exchange that nobody told of", (host) =>
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

  attack("through chains and back again that nobody told of", (host) =>
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

  attack("and one that took the name of a table that is gone goes on with what is recorded under the name", (host) =>
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

attacks("a table that was renamed is read as one", (attack) => {
  for (const mode of ["statement", "row"] as const) {
    attack(`by every read, under its present name and those that it had, in ${mode} mode`, (host) =>
      Effect.gen(function* () {
        const { apply, capture, db } = host
        yield* db.run("create table a (id int primary key, v text)", "create table other (id int primary key)")
        yield* apply({ table: "a", mode }, "other")
        yield* db.run("insert into a values (1, 'one'), (2, 'two')", "insert into other values (1)")
        const then = yield* now(host)
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
        const all = ["a insert 1", "a insert 2", "b update 1", "b delete 1", "b insert 3"]
        for (const table of ["b", "a"]) {
          expect(yield* timeline(host, { table })).toEqual(all)
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
            (yield* reading(host, Query.asOfRows(table, yield* now(host)))).items.map(({ rowKey }) => rowKey)
          ).toEqual(["2", "3"])
          expect((yield* reading(host, Query.asOfRows(table, then))).items.map(({ rowKey }) => rowKey)).toEqual([
            "1",
            "2"
          ])
          expect(told((yield* reading(host, Feed.read({ tables: [table] }))).changes)).toEqual(all)
          // Pages go on where the one before ended.
          const paged: Array<string> = []
          let cursor: string | undefined
          do {
            const page: Page<Query.Change> = yield* reading(
              host,
              Query.timeline({ table, limit: 2, order: "oldest", cursor })
            )
            paged.push(...told(page.items))
            cursor = page.nextCursor._tag === "Some" ? page.nextCursor.value : undefined
          } while (cursor !== undefined)
          expect(paged).toEqual(all)
        }
      })
    )
  }

  attack("through a schema that was renamed, and a partitioned root", (host) =>
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

  attack("and a name that a new table has is that table's from then on", (host) =>
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

  attack("and nothing is guessed after a restore", (host) =>
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
