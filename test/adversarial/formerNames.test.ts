/** One history across names: a table and its columns are found under the name they have now, whatever they were called (A31). */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { attacks, type Host } from "../support/adversarial.js"

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
