/** What the schema watch sees, does and notes, whoever changes the schema, and whatever goes wrong meanwhile. */
import type { SqlError } from "@effect/sql/SqlError"
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type * as Capture from "../../src/Capture.js"
import * as Migrations from "../../src/Migrations.js"
import * as Query from "../../src/Query.js"
import { clientOf } from "../harness/client.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import { asOf, attacks, type Host, migrate, type Session } from "../support/adversarial.js"

const watch = (host: Host, watchSchema: boolean | undefined) => migrate(host, { watchSchema })

/** Every event, without those of Threadline's own work. */
const events = ({ db }: Pick<Host, "db">) =>
  db.column(`
    select concat_ws(' | ', command, object_type, object_identity, effect,
      case when old_name is not null then old_name || ' -> ' || new_name end, details - 'since' - 'always')
    from threadline.schema_events
    where command not in ('capture', 'watch')
    order by id`)

const lapses = ({ db }: Pick<Host, "db">, table: string) =>
  db.value(`select (select count(*) from unnest(threadline.capture_lapses('public', '${table}')))::text`)

/** An application role that owns what it makes in the schema `public`. */
const owner = (host: Host) =>
  Effect.gen(function* () {
    const app = yield* host.session("app")
    yield* host.db.run(`grant create on schema public to ${yield* host.role("app")}`)
    return app
  })

type Body<R> = (host: Host, app: Session) => Effect.Effect<void, SqlError | Capture.Failure, R>

/** With the watch on, and a session of a role that owns its tables and may do nothing with the record. */
const watched =
  (body: Body<Scope.Scope>) =>
  (host: Host): ReturnType<Body<Scope.Scope>> =>
    Effect.gen(function* () {
      yield* watch(host, true)
      yield* body(host, yield* owner(host))
    })

attacks("the schema watch", (attack) => {
  attack(
    "captures a partition that is created, from its first write on, and one that is attached with its rows as a lapse",
    watched((host, app) =>
      Effect.gen(function* () {
        const { db } = host
        yield* app.run(
          "create table events (id int, v text, primary key (id)) partition by list (id)",
          "create table events_1 partition of events for values in (1)"
        )
        yield* host.apply("events")
        yield* app.run(
          "create table events_2 partition of events for values in (2)",
          "insert into events_2 values (2, 'a')",
          "update events_2 set v = 'b'"
        )
        expect(yield* asOf(host, "events", "2")).toBe('Present "b"')
        expect(yield* lapses(host, "events")).toBe("0")
        const before = yield* host.now
        yield* app.run(
          "create table events_3 (like events including all)",
          "insert into events_3 values (3, 'x')",
          "alter table events attach partition events_3 for values in (3)",
          "update events_3 set v = 'y'"
        )
        expect(yield* asOf(host, "events", "3")).toBe('Present "y"')
        expect(yield* asOf(host, "events", "2", before)).toBe('Present "b"')
        expect(yield* asOf(host, "events", "2")).toBe("BeforeCapture")
        expect(yield* events(host)).toEqual([
          'CREATE TABLE | partition | public.events_2 | partition attached | {"lapse": false}',
          'ALTER TABLE | partition | public.events_3 | partition attached | {"lapse": true}'
        ])
        expect(yield* host.findings()).toEqual([])
        expect(yield* host.capture.plan([{ table: "events" }])).toEqual([])
        expect(
          yield* db.column(
            "select distinct role_name = db_user and db_user like '%_app' from threadline.schema_events where command like '% TABLE'"
          )
        ).toEqual(["t"])
      })
    )
  )

  attack(
    "notes the true instants of triggers that were disabled for a while",
    watched((host, app) =>
      Effect.gen(function* () {
        yield* app.run("create table posts (id int primary key, v text)")
        yield* host.apply("posts")
        yield* app.run("insert into posts values (1, 'a')")
        const before = yield* host.now
        yield* app.run("alter table posts disable trigger user")
        const during = yield* host.now
        yield* app.run("update posts set v = 'unseen'", "alter table posts enable trigger user")
        expect(yield* asOf(host, "posts", "1")).toBe("BeforeCapture")
        expect(yield* asOf(host, "posts", "1", before)).toBe('Present "a"')
        expect(yield* asOf(host, "posts", "1", during)).toBe("BeforeCapture")
        yield* app.run("update posts set v = 'b'")
        expect(yield* asOf(host, "posts", "1")).toBe('Present "b"')
        expect(yield* asOf(host, "posts", "1", during)).toBe("BeforeCapture")
        expect(yield* lapses(host, "posts")).toBe("1")
        expect(yield* events(host)).toEqual([
          'ALTER TABLE | table | public.posts | lapse begins | {"gap": "triggers"}',
          "ALTER TABLE | table | public.posts | lapse ends | {}"
        ])
        expect(yield* host.findings()).toEqual([])
        expect(yield* host.capture.plan([{ table: "posts" }])).toEqual([])
      })
    )
  )

  attack(
    "lets apply end what goes on, once, from its true instant on",
    watched((host, app) =>
      Effect.gen(function* () {
        yield* app.run("create table posts (id int primary key, v text)", "create table other (id int primary key)")
        yield* host.apply("posts", "other")
        yield* app.run("insert into posts values (1, 'a')")
        const before = yield* host.now
        yield* app.run('drop trigger "0_threadline_update" on posts')
        const after = yield* host.now
        yield* app.run("insert into other values (1)", 'drop trigger "0_threadline_insert" on posts')
        expect(yield* host.findings()).toEqual(["TriggerMissing"])
        yield* host.apply("posts")
        expect(
          yield* host.db.column(`
            select (lower(l) > '${before}' and lower(l) < '${after}' and not upper_inf(l))::text
            from unnest(threadline.capture_lapses('public', 'posts')) l`)
        ).toEqual(["true"])
        expect(yield* asOf(host, "posts", "1", before)).toBe('Present "a"')
        expect(yield* host.findings()).toEqual([])
        expect(yield* events(host)).toEqual([
          'DROP TRIGGER | trigger | "0_threadline_update" on public.posts | lapse begins | {"gap": "triggers"}',
          'DROP TRIGGER | trigger | "0_threadline_insert" on public.posts | none'
        ])
      })
    )
  )

  for (const [what, ...statements] of [
    ["a table that is dropped", "drop table posts"],
    ["a schema that is dropped", "drop schema shop cascade", "shop.posts"],
    ["what a role owned", "drop owned by current_role"]
  ] as const) {
    attack(
      `knows ${what} up to that instant`,
      watched((host, app) =>
        Effect.gen(function* () {
          const [statement, table = "posts"] = statements
          yield* host.db.run(`grant create on database ${host.database.name} to ${yield* host.role("app")}`)
          yield* app.run(
            "create schema shop",
            `create table ${table} (id int primary key, v text)`,
            `create view ${table}_seen as select * from ${table}`
          )
          yield* host.apply(table)
          yield* app.run(`insert into ${table} values (1, 'a')`)
          const before = yield* host.now
          yield* app.run(
            ...(statement.includes("cascade") || statement.includes("owned") ? [] : [`drop view ${table}_seen`]),
            statement
          )
          expect(yield* asOf(host, table, "1", before)).toBe('Present "a"')
          expect(yield* asOf(host, table, "1")).toBe("BeforeCapture")
          const full = table.includes(".") ? table : `public.${table}`
          expect(yield* events(host)).toEqual([
            `${statement.toUpperCase().split(" ").slice(0, 2).join(" ")} | table | ${full} | lapse begins | {"gap": "gone"}`
          ])
          expect(yield* host.findings()).toEqual(["TableGone"])
        })
      )
    )
  }

  attack(
    "sees partitions leave: dropped, detached, detached concurrently, empty or not, and come back under other names",
    watched((host, app) =>
      Effect.gen(function* () {
        yield* app.run(
          "create table events (id int, v text, primary key (id)) partition by list (id)",
          ...[1, 2, 3, 4, 5].map((n) => `create table events_${n} partition of events for values in (${n})`)
        )
        yield* host.apply("events")
        yield* app.run(
          "insert into events values (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')",
          "alter table events_1 rename to events_one"
        )
        expect(yield* lapses(host, "events")).toBe("0")
        yield* app.run("alter table events detach partition events_5")
        expect(yield* lapses(host, "events")).toBe("0")
        const before = yield* host.now
        expect(yield* asOf(host, "events", "3")).toBe('Present "c"')
        yield* app.run("alter table events detach partition events_2 concurrently")
        expect(yield* asOf(host, "events", "3")).toBe("BeforeCapture")
        yield* app.run(
          "drop table events_3",
          "alter table events detach partition events_4",
          "update events_4 set v = 'x'"
        )
        yield* app.run("alter table events attach partition events_4 for values in (4)")
        expect(yield* asOf(host, "events", "4")).toBe("BeforeCapture")
        expect(yield* asOf(host, "events", "4", before)).toBe('Present "d"')
        yield* app.run("update events set v = 'y' where id = 4", "update events_one set v = 'z'")
        expect(yield* asOf(host, "events", "4")).toBe('Present "y"')
        expect(yield* asOf(host, "events", "1")).toBe('Present "z"')
        expect(yield* events(host)).toEqual([
          "ALTER TABLE | partition | public.events_one | renamed | public.events_1 -> public.events_one",
          'ALTER TABLE | partition | public.events_5 | partition left | {"gone": false, "lapse": false}',
          'ALTER TABLE | partition | public.events_2 | partition left | {"gone": false, "lapse": true}',
          'DROP TABLE | partition | public.events_3 | partition left | {"gone": true, "lapse": true}',
          'ALTER TABLE | partition | public.events_4 | partition left | {"gone": false, "lapse": true}',
          'ALTER TABLE | partition | public.events_4 | partition attached | {"lapse": true}'
        ])
        expect(yield* lapses(host, "events")).toBe("4")
        yield* host.apply("events")
        expect(yield* lapses(host, "events")).toBe("4")
        expect(yield* host.findings()).toEqual([])
      })
    )
  )

  attack(
    "sees keys that get another type, other values, or other columns, and columns whose values are written anew",
    watched((host, app) =>
      Effect.gen(function* () {
        yield* app.run(
          "create type mood as enum ('good', 'bad')",
          "create table typed (id int primary key, v text)",
          "create table moods (m mood primary key, v text)",
          "create table pairs (a int, b int not null, v text, primary key (a))",
          "create table lost (id int primary key, v text)",
          "create table written (id int primary key, v int)"
        )
        yield* host.apply("typed", "moods", "pairs", "lost", "written")
        yield* app.run("insert into written values (1, 5)", "insert into typed values (1, 'a')")
        yield* app.run(
          "alter table typed alter id type text using 'x' || id",
          "alter type mood rename value 'bad' to 'sad'",
          "alter table pairs drop constraint pairs_pkey",
          "alter table pairs add primary key (a, b)",
          "alter table lost drop column id",
          "alter table written alter v type int using v * 100",
          "alter table written alter v set not null",
          "alter table written set unlogged"
        )
        expect(yield* asOf(host, "written", "1")).toBe("BeforeCapture")
        expect(yield* asOf(host, "typed", "1")).toBe("BeforeCapture")
        expect(yield* events(host)).toEqual([
          'ALTER TABLE | table | public.typed | lapse | {"rewritten": true}',
          'ALTER TABLE | table | public.typed | lapse begins | {"gap": "key"}',
          'ALTER TYPE | type | public.mood | lapse begins | {"gap": "key"}',
          'ALTER TABLE | table | public.pairs | lapse begins | {"gap": "key"}',
          "ALTER TABLE | table | public.pairs | none",
          'ALTER TABLE | table column | public.lost.id | lapse begins | {"gap": "key"}',
          "ALTER TABLE | table | public.lost | none",
          'ALTER TABLE | table | public.written | lapse | {"rewritten": true}',
          "ALTER TABLE | table | public.written | none",
          "ALTER TABLE | table | public.written | none",
          "ALTER TABLE | table | public.written | none"
        ])
      })
    )
  )

  if (TestDatabase.serverVersion >= 17) {
    attack(
      "sees computed columns that get another expression, of a partition alone too, each time",
      watched((host, app) =>
        Effect.gen(function* () {
          yield* app.run(
            "create table p (id int primary key, w int, v int generated always as (w + 1) stored) partition by range (id)",
            "create table p_1 partition of p for values from (1) to (2)",
            "create table p_2 partition of p for values from (2) to (3)"
          )
          yield* host.apply("p")
          yield* app.run(
            "insert into p values (1, 1), (2, 2)",
            "create table p_3 partition of p for values from (3) to (4)",
            "insert into p values (3, 3)",
            "alter table p_3 alter v set expression as (w * 2)"
          )
          expect(yield* asOf(host, "p", "1")).toBe("BeforeCapture")
          expect(yield* host.findings()).toEqual([])
          yield* app.run(
            "begin",
            "update p set w = 7",
            "alter table p_1 alter v set expression as (w * 3)",
            "update p set w = 8",
            "alter table p_1 alter v set expression as (w * 4)",
            "commit"
          )
          expect(yield* asOf(host, "p", "1")).toBe("BeforeCapture")
          yield* app.run("update p set w = 9", "alter table p alter v set expression as (w * 5)")
          expect(yield* asOf(host, "p", "1")).toBe("BeforeCapture")
          yield* app.run("update p set w = 10")
          expect(yield* asOf(host, "p", "1")).toContain("50")
          expect((yield* events(host)).filter((event) => event?.includes("rewritten") === true)).toEqual(
            Array.from({ length: 4 }, () => 'ALTER TABLE | table | public.p | lapse | {"rewritten": true}')
          )
          expect(yield* lapses(host, "p")).toBe("4")
        })
      )
    )
  }

  attack(
    "sees values outside of keys that are shown otherwise, each time, also those that were added since apply",
    watched((host, app) =>
      Effect.gen(function* () {
        yield* app.run(
          "create type mood as enum ('good', 'bad')",
          "create type place as (x int, y text)",
          "create table p (id int primary key, v mood, w place[], n int)"
        )
        yield* host.apply("p")
        yield* app.run(
          "alter type mood add value 'new'",
          "insert into p values (1, 'new', null, 1), (2, 'good', null, 2)"
        )
        expect(yield* asOf(host, "p", "1")).toContain("new")
        for (const alter of [
          "alter type mood rename value 'new' to 'newer'",
          "alter type mood rename value 'newer' to 'new'",
          "alter type place rename attribute x to z",
          "alter type place add attribute q int",
          "alter type place drop attribute z",
          "alter table p alter n type oid",
          "alter table p drop column w; alter table p add column w text"
        ]) {
          yield* app.run(alter)
          expect([alter, yield* asOf(host, "p", "1")]).toEqual([alter, "BeforeCapture"])
          yield* app.run("update p set n = (n::int + 1)")
          expect([alter, yield* asOf(host, "p", "1")]).toEqual([alter, expect.stringContaining("new")])
        }
        expect((yield* host.findings()).filter((kind) => kind !== "ColumnsChanged")).toEqual([])
        expect((yield* events(host)).filter((event) => event?.startsWith("ALTER") === true)).toEqual([
          "ALTER TYPE | type | public.mood | none",
          ...Array.from({ length: 5 }, () => 'ALTER TYPE | table | public.p | lapse | {"rewritten": true}'),
          'ALTER TABLE | table | public.p | lapse | {"rewritten": true}',
          "ALTER TABLE | table column | public.p.w | none",
          "ALTER TABLE | table | public.p | none",
          'ALTER TABLE | table | public.p | lapse | {"rewritten": true}'
        ])
        expect(yield* lapses(host, "p")).toBe("7")
      })
    )
  )

  attack(
    "sees types inside of keys that are altered and altered back, and does not mistake other types for them",
    watched((host, app) =>
      Effect.gen(function* () {
        yield* app.run(
          "create type mood as enum ('good', 'bad')",
          "create type place as (x int, y text)",
          "create table plain (id int primary key, v text)",
          "create table pairs (a mood[], p place, v text, primary key (a, p))"
        )
        yield* host.apply("pairs", "plain")
        yield* app.run("insert into pairs values ('{good}', row(1, 'y'), 'a')")
        yield* app.run(
          "create table another (id int)",
          "create type unused as (x int)",
          "alter type unused add attribute y int",
          "alter type mood add value 'new'",
          "alter type mood rename value 'good' to 'fine'",
          "alter type mood rename value 'fine' to 'good'",
          "alter type place rename attribute x to z",
          "update pairs set v = 'b'",
          "alter type place rename attribute z to x",
          "alter type place add attribute w int",
          "alter type place drop attribute w"
        )
        expect((yield* events(host)).filter((event) => event?.includes("TYPE") === true)).toEqual([
          "ALTER TYPE | type | public.mood | none",
          'ALTER TYPE | type | public.mood | lapse begins | {"gap": "key"}',
          "ALTER TYPE | type | public.mood | lapse ends | {}",
          'ALTER TYPE | composite type column | public.place.z | lapse begins | {"gap": "key"}',
          "ALTER TYPE | composite type column | public.place.x | lapse ends | {}",
          'ALTER TYPE | composite type | public.place | lapse begins | {"gap": "key"}',
          "ALTER TYPE | composite type | public.place | lapse ends | {}"
        ])
        expect(yield* lapses(host, "pairs")).toBe("3")
        expect(yield* host.findings()).toEqual([])
      })
    )
  )

  attack(
    "says of each event who it was, also under set role, in functions and blocks, and nothing of what is undone",
    watched((host, app) =>
      Effect.gen(function* () {
        const role = yield* host.role("app")
        const other = yield* host.role("other")
        yield* host.db.run(`grant ${role} to ${other}`, `grant create on schema public to ${other}`)
        yield* app.run(
          "create table posts (id int primary key, v text)",
          `create function change() returns void language plpgsql security definer as $$
            begin alter table posts add c1 int; end $$`
        )
        yield* host.apply("posts")
        const session = yield* host.session("other")
        yield* session.run(
          `set role ${role}`,
          "alter table posts add c2 int",
          "reset role",
          "select change()",
          `do $$ begin alter table posts add c3 int; end $$`,
          "begin; alter table posts disable trigger all",
          "rollback",
          "savepoint_less: do $$ begin null; end $$".replace("savepoint_less: ", ""),
          "begin; savepoint a; alter table posts add c4 int; rollback to a; alter table posts add c5 int; commit",
          "set threadline.watched_role = 'somebody'",
          "alter table posts add c6 int",
          "truncate posts",
          "select 1 as one into temp table scratch",
          "create temp table scratch_2 as select * from posts",
          "drop table scratch, scratch_2"
        )
        expect(
          yield* host.db.column(
            `select replace(replace(db_user || ' ' || role_name, '${role}', 'app'), '${other}', 'other')
            from threadline.schema_events where command not in ('capture', 'watch') order by id`
          )
        ).toEqual(["other app", "other app", "other other", "other other", "other other"])
        expect(yield* lapses(host, "posts")).toBe("0")
      })
    )
  )

  attack(
    "never waits and never fails: what it cannot do is noted, and nothing is claimed from then on",
    watched((host, app) =>
      Effect.gen(function* () {
        yield* app.run(
          "create table posts (id int primary key, v text)",
          "create table events (id int primary key, v text) partition by list (id)"
        )
        yield* host.apply("posts", "events")
        yield* app.run("insert into posts values (1, 'a')")
        const locking = yield* host.session()
        yield* locking.run("begin; select from threadline.capture_policies for update")
        yield* app.run("set statement_timeout = '5s'", "alter table posts disable trigger all")
        yield* app.run("create table events_1 partition of events for values in (1)")
        expect(yield* asOf(host, "posts", "1")).toBe("BeforeCapture")
        yield* locking.run("rollback")
        expect(yield* asOf(host, "posts", "1")).toBe("BeforeCapture")
        yield* app.run("update posts set v = 'unseen'", "alter table posts enable trigger all")
        expect(yield* events(host)).toEqual([
          'ALTER TABLE | table | public.posts | failed | {"reason": "the policy of public.posts is locked by another session", "sqlState": "55P03"}',
          'CREATE TABLE | table | public.events_1 | failed | {"reason": "the policy of public.events is locked by another session", "sqlState": "55P03"}',
          "ALTER TABLE | table | public.posts | lapse ends | {}"
        ])
        expect(yield* asOf(host, "posts", "1")).toBe("BeforeCapture")
        yield* app.run("update posts set v = 'b'")
        expect(yield* asOf(host, "posts", "1")).toBe('Present "b"')
        expect(yield* host.findings()).toEqual(["WatchFailed", "PartitionAttached"])
        yield* host.apply("events")
        expect(yield* host.findings()).toEqual([])

        for (const table of ["schema_events", "capture_policies"]) {
          yield* locking.run(`begin; lock table threadline.${table} in access exclusive mode`)
          yield* app.run(
            "alter table posts add c int",
            "alter table posts drop c",
            "create table free (id int)",
            "drop table free"
          )
          yield* locking.run("rollback")
        }
        yield* host.db.run("alter table threadline.schema_events rename column effect to broken")
        yield* app.run("alter table posts add c int", "alter table posts drop c")
        yield* host.db.run("alter table threadline.schema_events rename column broken to effect")
      })
    )
  )

  attack(
    "follows renames of tables, schemas and columns, and tells tables apart that exchange their names",
    watched((host, app) =>
      Effect.gen(function* () {
        yield* host.db.run(`grant create on database ${host.database.name} to ${yield* host.role("app")}`)
        yield* app.run(
          "create schema shop",
          "create table shop.carts (id int primary key, v text)",
          "create table g (id int primary key, v text)",
          "create table g_new (id int primary key, v text)",
          "create table posts (id int primary key, v text)"
        )
        yield* host.apply("shop.carts", "g", "g_new", "posts")
        yield* app.run(
          "insert into shop.carts values (1, 'cart')",
          "insert into g values (1, 'old')",
          "insert into g_new values (1, 'new')",
          "insert into posts values (1, 'post')"
        )
        yield* app.run(
          "begin; alter table g rename to g_old; alter table g_new rename to g; commit",
          "alter schema shop rename to store",
          "alter table store.carts set schema public",
          "alter index posts rename to articles",
          "alter table articles rename column id to number",
          "alter table articles rename v to body",
          "alter table articles rename body to words"
        )
        expect(yield* events(host)).toEqual([
          "ALTER TABLE | table | public.g_old | renamed | public.g -> public.g_old",
          "ALTER TABLE | table | public.g | renamed | public.g_new -> public.g",
          "ALTER SCHEMA | schema | store | renamed | shop.carts -> store.carts",
          "ALTER TABLE | table | public.carts | renamed | store.carts -> public.carts",
          "ALTER INDEX | table | public.articles | renamed | public.posts -> public.articles",
          'ALTER TABLE | table column | public.articles.number | renamed | id -> number | {"column": 1}',
          'ALTER TABLE | table column | public.articles.body | renamed | v -> body | {"column": 2}',
          'ALTER TABLE | table column | public.articles.words | renamed | body -> words | {"column": 2}'
        ])
        expect(
          yield* host.db.column(
            "select table_schema || '.' || table_name || ' ' || lapses::text from threadline.capture_policies where removed_at is null order by 1"
          )
        ).toEqual(["public.articles {}", "public.carts {}", "public.g {}", "public.g_old {}"])
        yield* app.run("update articles set words = 'b'", "update carts set v = 'c'", "update g set v = 'n'")
        const errors = Effect.map(host.capture.status(), (statuses) =>
          statuses.flatMap(({ findings, table }) =>
            findings.filter(({ severity }) => severity === "error").map(({ kind }) => `${table} ${kind}`)
          )
        )
        expect(yield* errors).toEqual([])
        yield* host.apply("carts", "g", "g_old", "articles")
        expect(yield* host.findings()).toEqual([])
        expect(
          yield* host.db.column(
            "select table_schema || '.' || table_name || ' ' || lapses::text from threadline.capture_policies where removed_at is null order by 1"
          )
        ).toEqual(["public.articles {}", "public.carts {}", "public.g {}", "public.g_old {}"])
      })
    )
  )

  attack(
    "captures what partition managers do: rows moved to a new table that is attached then",
    watched((host, app) =>
      Effect.gen(function* () {
        yield* app.run(
          "create table events (id int primary key, v text) partition by range (id)",
          "create table events_default partition of events default"
        )
        yield* host.apply("events")
        yield* app.run("insert into events values (1, 'a'), (20, 'b')")
        yield* app.run(
          `begin;
          create table events_p1 (like events including all);
          with moved as (delete from events_default where id < 10 returning *) insert into events_p1 select * from moved;
          alter table events attach partition events_p1 for values from (0) to (10);
          commit`
        )
        expect(yield* asOf(host, "events", "1")).toBe("BeforeCapture")
        yield* app.run(
          "update events set v = 'c' where id = 1",
          "merge into events e using (values (1)) s (id) on e.id = s.id when matched then update set id = 30"
        )
        expect(yield* asOf(host, "events", "1")).toBe("Deleted")
        expect(yield* asOf(host, "events", "30")).toBe('Present "c"')
        expect(yield* host.findings()).toEqual([])
      })
    )
  )

  attack(
    "refuses to let a guarded table, its triggers or its schema be dropped or disabled, until its capture is removed",
    watched((host, app) =>
      Effect.gen(function* () {
        yield* host.db.run(`grant create on database ${host.database.name} to ${yield* host.role("app")}`)
        yield* app.run(
          "create schema shop",
          "create table shop.posts (id int primary key, v text) partition by list (id)",
          "create table shop.posts_1 partition of shop.posts for values in (1)",
          "create table free (id int primary key)"
        )
        yield* host.apply({ table: "shop.posts", dropGuard: true }, "free")
        const guarded = [
          "drop table shop.posts",
          "drop table free, shop.posts cascade",
          "drop schema shop cascade",
          "drop owned by current_role",
          'drop trigger "0_threadline_insert" on shop.posts',
          'drop trigger "0_threadline_insert" on shop.posts_1',
          "alter table shop.posts disable trigger all",
          'alter table shop.posts_1 disable trigger "0_threadline_update"',
          `create or replace trigger "0_threadline_insert" after insert on shop.posts for each statement execute function nothing()`
        ]
        yield* app.run("create function nothing() returns trigger language plpgsql as $$ begin return null; end $$")
        for (const statement of guarded) {
          expect([statement, yield* app.outcome(statement)]).toEqual([statement, "TL020"])
          if (!statement.includes("current_role")) {
            expect([statement, yield* host.db.outcome(`begin; ${statement}`)]).toEqual([statement, "TL020"])
          }
          yield* host.db.run("rollback")
        }
        yield* app.run(
          "insert into shop.posts values (1, 'a')",
          "alter table shop.posts add c int",
          "drop table shop.posts_1"
        )
        expect(yield* host.findings()).toEqual(["ColumnsChanged"])
        expect((yield* host.apply({ table: "shop.posts", dropGuard: false })).map(({ kind }) => kind)).toEqual([
          "regenerate"
        ])
        expect((yield* host.apply({ table: "shop.posts", dropGuard: true })).map(({ kind }) => kind)).toEqual([
          "refresh"
        ])
        expect(yield* app.outcome("drop table shop.posts")).toBe("TL020")
        yield* host.capture.remove(["shop.posts"])
        yield* app.run("drop table shop.posts", "drop table free")
      })
    )
  )

  attack("is turned on and off, says when it is broken, and a guard needs it", (host) =>
    Effect.gen(function* () {
      expect((yield* watch(host, false)).watch).toBe("off")
      yield* host.db.run("create table posts (id int primary key, v text)")
      const refused = yield* Effect.orDie(Effect.flip(host.apply({ table: "posts", dropGuard: true })))
      expect(refused.message).toContain("a drop guard needs the schema watch, which is off")
      expect(yield* host.findings()).toEqual([])
      yield* host.apply("posts")
      const state = Effect.map(host.capture.status(), ([status]) => [
        status?.watch,
        status?.findings.map(({ kind }) => kind)
      ])
      expect(yield* state).toEqual(["off", []])

      // What is so when it is turned on began before, and what ends is noted.
      yield* host.db.run("insert into posts values (1, 'a')", "alter table posts disable trigger all")
      expect((yield* watch(host, true)).watch).toBe("on")
      expect((yield* watch(host, undefined)).watch).toBe("on")
      yield* host.db.run("update posts set v = 'b'", "alter table posts enable trigger all")
      expect(yield* state).toEqual(["on", []])
      expect(yield* asOf(host, "posts", "1")).toBe("BeforeCapture")
      yield* host.apply({ table: "posts", dropGuard: true })

      yield* host.db.run("alter event trigger threadline_watch_drop_2 disable")
      expect(yield* state).toEqual(["broken", ["GuardOff", "WatchBroken"]])
      expect((yield* watch(host, undefined)).notices.join()).toContain(
        "the event trigger threadline_watch_drop_2 is not enabled always"
      )
      expect((yield* watch(host, true)).watch).toBe("on")
      yield* host.db.run("drop event trigger threadline_watch_command_1")
      expect(yield* state).toEqual(["broken", ["GuardOff", "WatchBroken"]])
      expect((yield* watch(host, false)).watch).toBe("off")
      expect(yield* state).toEqual(["off", ["GuardOff"]])

      // What it saw begin, and not end, is unknown until capture is applied.
      yield* watch(host, true)
      yield* host.apply({ table: "posts", dropGuard: false })
      yield* host.db.run("insert into posts values (2, 'a')", "alter table posts disable trigger all")
      yield* watch(host, false)
      yield* host.db.run("alter table posts enable trigger all")
      expect(yield* state).toEqual(["off", ["WatchFailed"]])
      expect(yield* asOf(host, "posts", "2")).toBe("BeforeCapture")
      yield* host.apply("posts")
      expect(yield* state).toEqual(["off", []])
    })
  )

  attack("asks for the right to make event triggers, and does nothing without", (host) =>
    Effect.gen(function* () {
      yield* watch(host, false)
      const { name, url } = yield* host.database.role("deploy")
      yield* host.db.run(`grant ${yield* host.database.ownOwner} to ${name}`)
      const deploy = clientOf(url, 1)
      const error = yield* Effect.flip(Migrations.run({ watchSchema: true }).pipe(Effect.provide(deploy))).pipe(
        Effect.orDie
      )
      expect(error).toMatchObject({ reason: "InsufficientPrivilege" })
      expect(error.message).toContain("run it as a superuser, or on a managed service")
      expect((yield* Migrations.run().pipe(Effect.provide(deploy), Effect.orDie)).watch).toBe("off")
      yield* host.db.run(
        yield* Effect.orDie(Migrations.render({ from: Migrations.all.length, watchSchema: true })).pipe(
          Effect.map((sql) => sql.slice(sql.lastIndexOf("-- The schema watch\n"), sql.lastIndexOf("commit;")))
        )
      )
      expect((yield* watch(host, undefined)).watch).toBe("on")
      yield* host.db.run("begin; drop schema threadline cascade; rollback")
    })
  )

  attack(
    "is read by table, by pages, and under a scope that knows the table",
    watched((host, app) =>
      Effect.gen(function* () {
        yield* app.run("create table posts (id int primary key, v text)", "create table other (id int primary key)")
        yield* host.apply("posts", "other")
        yield* app.run(
          "insert into posts values (1, 'a')",
          "alter table posts add c int",
          "update posts set v = 'b'",
          "alter table other add c int",
          "alter table posts rename to articles",
          "update articles set v = 'c'",
          "alter table articles drop c"
        )
        const read = <A>(body: Effect.Effect<A, Query.ReadError, Query.Query>) =>
          body.pipe(Effect.provide(Query.layer.pipe(Layer.provide(clientOf(host.database.url, 1)))), Effect.orDie)
        const said = (events: ReadonlyArray<Query.SchemaEvent>) =>
          events.map(({ command, effect, object }) => `${command} ${object} ${effect}`)
        const first = yield* read(Query.schemaEvents({ table: "articles", limit: 3 }))
        expect(said(first.items)).toEqual([
          "ALTER TABLE public.articles none",
          "ALTER TABLE public.articles.c none",
          "ALTER TABLE public.articles renamed"
        ])
        const rest = yield* read(
          Query.schemaEvents({ table: "articles", limit: 3, cursor: Option.getOrUndefined(first.nextCursor) })
        )
        expect(said(rest.items)).toEqual(["ALTER TABLE public.posts none", "capture public.posts applied"])
        expect(rest.hasMore).toBe(false)

        const marks: Array<string> = []
        let cursor: string | undefined
        do {
          const { page, schemaEvents } = yield* read(Query.historyWithEvents("articles", "1", { limit: 1, cursor }))
          marks.push(...page.items.map(({ op }) => op), ...said(schemaEvents))
          cursor = Option.getOrUndefined(page.nextCursor)
        } while (cursor !== undefined)
        expect(marks).toEqual([
          "update",
          "ALTER TABLE public.articles none",
          "ALTER TABLE public.articles.c none",
          "update",
          "ALTER TABLE public.articles renamed",
          "insert",
          "ALTER TABLE public.posts none"
        ])

        const scoped = (scope: Query.ReadScope) =>
          read(Effect.map(Query.schemaEvents(), ({ items }) => items.length).pipe(Query.withScope(scope)))
        expect(yield* scoped(() => true)).toBe(7)
        expect(yield* scoped((surface, c) => (surface === "changes" ? c.sql`${c.tableName} = 'other'` : false))).toBe(2)
        expect(yield* scoped((surface, c) => (surface === "changes" ? c.sql`${c.image} ->> 'v' = 'a'` : false))).toBe(0)
        expect(yield* scoped((surface, c) => (surface === "changes" ? c.sql`${c.actorId} = '1'` : false))).toBe(0)
        const unknown = yield* read(Effect.either(Query.schemaEvents({ table: "postz" })))
        expect(Either.isLeft(unknown) && unknown.left._tag).toBe("threadline/NotFound")
      })
    )
  )
})
