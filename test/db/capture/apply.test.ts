import { describe, expect, it } from "@effect/vitest"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Capture from "../../../src/Capture.js"
import * as Migrations from "../../../src/Migrations.js"
import { StorageSchema } from "../../../src/internal/sql/storageSchema.js"
import * as TableName from "../../../src/internal/core/tableName.js"
import { ThreadlineError } from "../../../src/ThreadlineError.js"
import { literal } from "../../../src/internal/sql/sqlText.js"
import { clientOf } from "../../harness/client.js"
import {
  apply,
  changes,
  finding,
  fresh,
  kinds,
  layer,
  plan,
  refusal,
  remove,
  rows,
  run,
  status,
  value
} from "../../support/capture.js"
import * as TestDatabase from "../../harness/TestDatabase.js"

const triggerCount = (table: string) =>
  value(
    `select count(*)::int from pg_trigger t join pg_proc p on p.oid = t.tgfoid
     where t.tgrelid = '${table}'::regclass and p.pronamespace = 'threadline'::regnamespace`
  )

describe("Capture.apply", () => {
  it.effect("captures a table, says so, and has nothing more to do", () =>
    fresh(
      Effect.gen(function* () {
        yield* run("create table posts (id bigint primary key, title text, body text, secret text)")
        const config = [{ table: "posts", exclude: ["body"], mask: ["secret"] }]
        const planned = yield* plan(config)
        expect(kinds(planned)).toEqual(["attach public.posts"])
        expect(planned[0]?.summary).toBe("capture by statement triggers; key (id); without body; masking secret")
        expect(yield* triggerCount("posts")).toBe(0)

        expect(yield* apply(config)).toEqual(planned)
        expect(yield* plan(config)).toEqual([])
        expect(yield* apply(config)).toEqual([])

        yield* run(
          "insert into posts values (1, 'a', 'b', 'c'), (2, 'd', 'e', 'f')",
          "update posts set title = 'x' where id = 1",
          "update posts set body = 'only what is excluded' where id = 1",
          "delete from posts where id = 2"
        )
        expect(yield* changes).toEqual(["posts insert 1", "posts insert 2", "posts update 1", "posts delete 2"])
        expect(yield* value("select data_after::text from threadline.audit_changes order by id limit 1")).toBe(
          `{"id": 1, "title": "a", "secret": "[masked]"}`
        )
        const [found] = yield* status(config)
        expect(found).toMatchObject({ table: "public.posts", captured: true })
        expect(found?.policy).toMatchObject({
          mode: "statement",
          truncate: "event",
          exclude: ["body"],
          mask: ["secret"],
          key: [{ name: "id", attnum: 1, type: "bigint", text: "text" }],
          removedAt: null
        })
      })
    )
  )

  it.effect("runs its plan as it was printed", () =>
    fresh(
      Effect.gen(function* () {
        yield* run("create table posts (id bigint primary key)")
        const steps = yield* plan([{ table: "posts" }])
        const sql = yield* SqlClient.SqlClient
        yield* sql.withTransaction(run(...steps.flatMap((step) => step.sql)))
        expect(yield* plan([{ table: "posts" }])).toEqual([])
        yield* run("insert into posts values (1)")
        expect(yield* changes).toEqual(["posts insert 1"])
      })
    )
  )

  it.effect("finds the key: primary, in the order of its index, without included columns; declared; none", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(
          "create table composite (a int, b text, c int, primary key (b, a) include (c))",
          "create table declared (a int not null, b text not null, c int)",
          "create unique index on declared (b, a) include (c)",
          "create table keyless (a int)"
        )
        yield* apply([{ table: "composite" }, { table: "declared", key: ["a", "b"] }, { table: "keyless" }])
        yield* run(
          "insert into composite values (1, 'x', 0)",
          "insert into declared values (1, 'x', 0)",
          "insert into keyless values (1)"
        )
        expect(yield* changes).toEqual([
          `composite insert ["x","1"]`,
          `declared insert ["1","x"]`,
          "keyless insert null"
        ])
      })
    )
  )

  it.effect("gives equal keys equal texts, whatever their type", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(
          "create domain amount as numeric check (value > 0)",
          "create table by_numeric (id amount primary key)",
          "create table by_interval (id interval primary key)",
          "create table by_char (id char(5) primary key)",
          "create table by_uuid (id uuid primary key)"
        )
        yield* apply(["numeric", "interval", "char", "uuid"].map((type) => ({ table: `by_${type}` })))
        expect(
          yield* rows(
            "select table_name, key_columns -> 0 ->> 'text' as text from threadline.capture_policies order by table_name"
          )
        ).toEqual([
          { table_name: "by_char", text: "bpchar" },
          { table_name: "by_interval", text: "interval" },
          { table_name: "by_numeric", text: "numeric" },
          { table_name: "by_uuid", text: "text" }
        ])
        yield* run("insert into by_numeric values (1.50)", "insert into by_char values ('ab')")
        expect(yield* changes).toEqual(["by_numeric insert 1.5", "by_char insert ab"])
      })
    )
  )

  it.effect("works on names of every kind", () => {
    const names = [
      { schema: "public", name: "CamelCase" },
      { schema: "Odd.Schema", name: `quo"ted` },
      { schema: "Odd.Schema", name: `it's 'literal'` },
      { schema: "Odd.Schema", name: "dotted.name" },
      { schema: "Odd.Schema", name: "back\\slash" },
      { schema: "Odd.Schema", name: "$$ $1 $threadline$ %s %I" },
      { schema: "Odd.Schema", name: "line\nbreak -- not a comment" },
      { schema: "Odd.Schema", name: "select" },
      { schema: "Odd.Schema", name: "каталог" },
      { schema: "ünïcödé", name: "🦉".repeat(15) },
      { schema: "public", name: "x".repeat(63) },
      { schema: "public", name: `${"x".repeat(62)}y` },
      { schema: "public", name: `${"ü".repeat(31)}` }
    ]
    const columns = [
      `Id"s`,
      "it's",
      "$threadline$",
      "$'$&$$",
      "old",
      "new",
      "place",
      "image",
      "n",
      "o",
      "x",
      "tg_op",
      "ü".repeat(31)
    ]
    return fresh(
      Effect.gen(function* () {
        const quote = (name: string) => `"${name.replaceAll(`"`, `""`)}"`
        yield* run(`create schema "Odd.Schema"`, `create schema "ünïcödé"`)
        for (const name of names) {
          yield* run(
            `create table ${TableName.format(name)} (${columns.map((column) => `${quote(column)} text`).join(", ")}, primary key (${quote(`Id"s`)}, place))`
          )
        }
        const configs = names.map((name) => ({
          table: TableName.format(name),
          mask: ["it's"],
          exclude: ["$threadline$"]
        }))
        const steps = yield* apply(configs)
        expect(steps.map(({ table }) => table)).toEqual(names.map(TableName.format))
        expect(yield* apply(configs)).toEqual([])
        for (const name of names) {
          const table = TableName.format(name)
          const cells = columns.map(literal).join(", ")
          yield* run(
            `insert into ${table} values (${cells})`,
            `update ${table} set "old" = 'other', "new" = 'other' where "place" = 'place'`,
            `delete from ${table}`
          )
          const sql = yield* SqlClient.SqlClient
          const recordedRows = yield* sql<{
            op: string
            row_key: string
            changed_fields: ReadonlyArray<string> | null
          }>`
            select op, row_key, changed_fields, data_after
            from threadline.audit_changes
            where table_schema = ${name.schema} and table_name = ${name.name}
            order by id`
          expect(recordedRows).toMatchObject([
            { op: "insert", row_key: `["Id\\"s","place"]` },
            { op: "update", changed_fields: ["new", "old"], data_after: { "it's": "[masked]", tg_op: "tg_op" } },
            { op: "delete" }
          ])
        }
        expect((yield* status(configs)).flatMap(({ findings }) => findings)).toEqual([])
        expect(yield* remove(...configs.map(({ table }) => table))).toHaveLength(names.length)
        expect(
          yield* value(
            "select count(*)::int from pg_trigger t join pg_class c on c.oid = t.tgrelid where not t.tgisinternal and c.relnamespace <> 'threadline'::regnamespace"
          )
        ).toBe(0)
      })
    )
  })

  it.effect("follows the configuration", () =>
    fresh(
      Effect.gen(function* () {
        yield* run("create table posts (id bigint primary key, a text, b text)")
        yield* apply([{ table: "posts" }])
        const changed = yield* apply([{ table: "posts", mask: ["a"], truncate: "refuse" }])
        expect(kinds(changed)).toEqual(["regenerate public.posts"])
        expect(changed[0]?.summary).toBe("regenerate: truncate refuse instead of event; mask a")
        // The triggers stay, so that nobody waits for a lock on the table.
        expect(changed[0]?.sql.filter((statement) => / trigger "/.test(statement.split("\n")[0] ?? ""))).toEqual([])
        yield* run("insert into posts values (1, 'secret', 'x')")
        expect(yield* value("select data_after ->> 'a' from threadline.audit_changes")).toBe("[masked]")
        const sql = yield* SqlClient.SqlClient
        expect(yield* Effect.either(sql`truncate posts`)).toMatchObject({ _tag: "Left" })

        yield* run("alter table posts add c int, drop column b, alter id type int")
        const altered = yield* apply([{ table: "posts", mask: ["a"], truncate: "refuse" }])
        expect(altered[0]?.summary).toBe(
          "regenerate: new columns c; columns gone b; other types of id; note the lapse since the table was last known"
        )
        expect(yield* apply([{ table: "posts", mask: ["a"], truncate: "refuse" }])).toEqual([])

        yield* run("alter table posts rename c to d")
        expect((yield* apply([{ table: "posts", mask: ["a"], truncate: "refuse" }]))[0]?.summary).toBe(
          "regenerate: column c is now d"
        )
        // The functions stand, their types are known by name: only the record changes.
        yield* run("alter table posts alter d type bigint")
        expect(kinds(yield* apply([{ table: "posts", mask: ["a"], truncate: "refuse" }]))).toEqual([
          "refresh public.posts"
        ])
        expect(yield* plan([{ table: "posts", mask: ["a"], truncate: "refuse" }])).toEqual([])
      })
    )
  )

  it.effect("takes redaction in any order", () =>
    fresh(
      Effect.gen(function* () {
        yield* run("create table posts (id bigint primary key, a text, b text)")
        yield* apply([{ table: "posts", mask: ["a", "b", "a"] }])
        expect(yield* plan([{ table: "posts", mask: ["b", "a"] }])).toEqual([])
      })
    )
  )

  it.effect("switches between statement and row triggers", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(
          "create table events (id int, at int, primary key (id, at)) partition by range (at)",
          "create table events_1 partition of events for values from (0) to (10)",
          "create table events_2 partition of events for values from (10) to (20)"
        )
        const levels = value(
          `select string_agg(distinct c.relname || ' ' || t.tgname || ' ' || (t.tgtype & 1), ', ' order by c.relname || ' ' || t.tgname || ' ' || (t.tgtype & 1))
           from (select tgrelid, regexp_replace(tgname, '_[0-9a-f]{10}$', '') as tgname, tgtype from pg_trigger) t
           join pg_class c on c.oid = t.tgrelid
           where t.tgname like '%insert' and c.relname like 'events%'`
        )
        const insert = "0_threadline_insert"
        yield* apply([{ table: "events" }])
        expect(yield* levels).toBe(`events ${insert} 0, events_1 ${insert} 0, events_2 ${insert} 0`)
        for (const [mode, bit] of [
          ["row", 1],
          ["statement", 0],
          ["row", 1]
        ] as const) {
          expect(kinds(yield* apply([{ table: "events", mode }]))).toEqual(["regenerate public.events"])
          expect(yield* levels).toBe(`events ${insert} ${bit}, events_1 ${insert} ${bit}, events_2 ${insert} ${bit}`)
          expect(yield* plan([{ table: "events", mode }])).toEqual([])
          yield* run("insert into events values (1, 1)", "insert into events_2 values (2, 11)", "delete from events")
          expect((yield* changes).slice(-4).sort()).toEqual([
            `events delete ["1","1"]`,
            `events delete ["2","11"]`,
            `events insert ["1","1"]`,
            `events insert ["2","11"]`
          ])
        }
      })
    )
  )

  it.effect("captures always, also under session_replication_role = replica", () =>
    fresh(
      Effect.gen(function* () {
        yield* run("create table posts (id int primary key)")
        yield* apply([{ table: "posts", always: true }])
        expect(yield* plan([{ table: "posts", always: true }])).toEqual([])
        const sql = yield* SqlClient.SqlClient
        yield* sql.withTransaction(
          run("set local session_replication_role = replica", "insert into posts values (1)", "truncate posts")
        )
        expect((yield* changes).map((change) => change.split(" ")[1])).toEqual(["insert", "truncate"])
        yield* apply([{ table: "posts" }])
        expect(yield* rows("select distinct tgenabled from pg_trigger where tgname like '0_threadline%'")).toEqual([
          { tgenabled: "O" }
        ])
      })
    )
  )

  it.effect("captures foreign tables and members of an inheritance tree by row triggers", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(
          "create foreign data wrapper nothing",
          "create server nowhere foreign data wrapper nothing",
          "create foreign table far (id int) server nowhere",
          "create table parent (id int primary key)",
          "create table child (extra text, primary key (id)) inherits (parent)"
        )
        const configs = [{ table: "far" }, { table: "parent" }, { table: "child" }]
        expect(yield* apply(configs)).toHaveLength(3)
        expect(yield* plan(configs)).toEqual([])
        yield* run(
          "insert into parent values (1)",
          "insert into child values (2, 'x')",
          "update parent set id = id + 10"
        )
        expect(yield* changes).toEqual(["parent insert 1", "child insert 2", "parent update 11", "child update 12"])
      })
    )
  )

  it.effect("keeps redaction from loosening unasked", () =>
    fresh(
      Effect.gen(function* () {
        yield* run("create table people (id int primary key, ssn text, email text, phone text)")
        const strict = { table: "people", exclude: ["ssn"], mask: ["email"] }
        yield* apply([strict])

        const planned = yield* plan([{ table: "people", mask: ["ssn"] }])
        expect(planned[0]?.lessRedaction).toEqual(["ssn", "email"])
        const error = yield* refusal(apply([{ table: "people", mask: ["ssn"] }]))
        expect(error).toMatchObject({ reason: "LessRedaction" })
        expect(error.detail).toContain("ssn, email")
        expect(yield* plan([strict])).toEqual([])

        // More is always taken.
        expect(yield* apply([{ table: "people", exclude: ["ssn", "email"], mask: ["phone"] }])).toHaveLength(1)
        expect(yield* apply([{ table: "people" }], { allowLessRedaction: true })).toHaveLength(1)
        expect(yield* plan([{ table: "people" }])).toEqual([])
      })
    )
  )

  it.effect("recognises loosened redaction behind a rename, and a column that is really gone", () =>
    fresh(
      Effect.gen(function* () {
        yield* run("create table people (id int primary key, ssn text, email text)")
        yield* apply([{ table: "people", exclude: ["ssn"], mask: ["email"] }])
        yield* run("alter table people rename ssn to social_security_number")

        const unknown = yield* refusal(plan([{ table: "people", exclude: ["ssn"], mask: ["email"] }]))
        expect(unknown).toMatchObject({ reason: "UnknownColumn" })
        expect(unknown.hint).toContain("renamed to social_security_number")
        expect(yield* refusal(apply([{ table: "people", mask: ["email"] }]))).toMatchObject({ reason: "LessRedaction" })
        expect(yield* apply([{ table: "people", exclude: ["social_security_number"], mask: ["email"] }])).toHaveLength(
          1
        )

        yield* run("alter table people drop column email")
        expect(yield* apply([{ table: "people", exclude: ["social_security_number"] }])).toHaveLength(1)
      })
    )
  )

  it.effect("recognises loosened redaction behind names that were exchanged", () =>
    fresh(
      Effect.gen(function* () {
        yield* run("create table people (id int primary key, ssn text, nickname text)")
        yield* apply([{ table: "people", mask: ["ssn"] }])
        yield* run(
          "alter table people rename ssn to held",
          "alter table people rename nickname to ssn",
          "alter table people rename held to nickname"
        )

        const planned = yield* plan([{ table: "people", mask: ["ssn"] }])
        expect(planned.map(({ lessRedaction, summary }) => [summary, lessRedaction])).toEqual([
          ["regenerate: column ssn is now nickname; column nickname is now ssn", ["nickname"]]
        ])
        expect(yield* refusal(apply([{ table: "people", mask: ["ssn"] }]))).toMatchObject({ reason: "LessRedaction" })
        expect(kinds(yield* apply([{ table: "people", mask: ["nickname"] }]))).toEqual(["regenerate public.people"])

        yield* run("alter table people rename nickname to old_name", "alter table people add nickname text")
        expect(yield* refusal(apply([{ table: "people", mask: ["nickname"] }]))).toMatchObject({
          reason: "LessRedaction"
        })
        expect(yield* apply([{ table: "people", mask: ["nickname", "old_name"] }])).toHaveLength(1)
        yield* run("alter table people drop old_name", "alter table people drop nickname")
        yield* run("alter table people add nickname text")
        expect(yield* apply([{ table: "people", mask: ["nickname"] }])).toHaveLength(1)
      })
    )
  )

  it.effect("remembers redaction through removal, and through a table made anew", () =>
    fresh(
      Effect.gen(function* () {
        yield* run("create table people (id int primary key, ssn text)")
        yield* apply([{ table: "people", exclude: ["ssn"] }])
        yield* remove("people")
        expect(yield* refusal(apply([{ table: "people" }]))).toMatchObject({ reason: "LessRedaction" })
        yield* apply([{ table: "people", exclude: ["ssn"] }])

        yield* run("drop table people", "create table people (id int primary key, number text)")
        // Whether "number" is what "ssn" was, nobody can tell.
        expect(yield* refusal(apply([{ table: "people" }]))).toMatchObject({ reason: "LessRedaction" })
        yield* run("drop table people", "create table people (id int primary key)")
        expect(kinds(yield* apply([{ table: "people" }]))).toEqual(["regenerate public.people"])
      })
    )
  )

  it.effect("repairs what was dropped, disabled, or altered, and touches nothing else", () =>
    fresh(
      Effect.gen(function* () {
        yield* run("create table posts (id int primary key)", "create table other (id int primary key)")
        const config = [{ table: "posts" }, { table: "other" }]
        yield* apply(config)
        for (const [damage, summary] of [
          [`drop trigger "0_threadline_update" on posts`, "0_threadline_update missing"],
          [`alter table posts disable trigger "0_threadline_insert"`, "0_threadline_insert disabled"],
          [`alter table posts enable replica trigger "0_threadline_delete"`, "0_threadline_delete enabled otherwise"],
          [`alter table posts enable always trigger "0_threadline_delete"`, "0_threadline_delete enabled otherwise"],
          ["alter table posts disable trigger all", "0_threadline_truncate disabled"],
          [
            `create or replace trigger "0_threadline_truncate" before truncate on posts for each statement when (false)
             execute function threadline.NAME()`,
            "0_threadline_truncate altered"
          ],
          [
            `create trigger extra after insert on posts for each statement execute function threadline.NAME()`,
            "extra not needed"
          ]
        ] as const) {
          const name = yield* value(
            "select tgfoid::regproc::text from pg_trigger where tgrelid = 'posts'::regclass and tgname = '0_threadline_truncate'"
          )
          yield* run(damage.replaceAll("threadline.NAME", String(name)))
          const steps = yield* apply(config)
          expect(kinds(steps)).toEqual(["repair public.posts"])
          expect(steps[0]?.summary).toContain(summary)
          expect(yield* plan(config)).toEqual([])
        }
        yield* run("insert into posts values (1)", "delete from posts")
        expect(yield* changes).toEqual(["posts insert 1", "posts delete 1"])
      })
    )
  )

  it.effect("repairs functions", () =>
    fresh(
      Effect.gen(function* () {
        yield* run("create table posts (id int primary key)")
        yield* apply([{ table: "posts" }])
        const name = String(
          yield* value(
            "select tgfoid::regproc::text from pg_trigger where tgrelid = 'posts'::regclass and tgname = '0_threadline_insert'"
          )
        )
        yield* run(
          `create or replace function ${name}() returns trigger language plpgsql as $$ begin return null; end $$`
        )
        expect((yield* apply([{ table: "posts" }]))[0]).toMatchObject({
          kind: "repair",
          summary: `function ${name.split(".")[1]} altered`
        })
        yield* run(`drop function ${name} cascade`)
        expect((yield* apply([{ table: "posts" }]))[0]?.summary).toContain("missing")
        expect(yield* plan([{ table: "posts" }])).toEqual([])
        yield* run("insert into posts values (1)")
        expect(yield* changes).toEqual(["posts insert 1"])
      })
    )
  )

  // A restore numbers everything anew. A copy of the database does not.
  for (const [what, relation] of [
    ["a restore would change", "1"],
    ["a copy of the database would keep", "relation"]
  ]) {
    it.effect(`needs no OID that ${what}`, () =>
      fresh(
        Effect.gen(function* () {
          yield* run("create table posts (id int primary key)")
          yield* apply([{ table: "posts" }])
          yield* run(`update threadline.capture_policies set relation = ${relation}, database = 'elsewhere'`)
          expect(finding(yield* status(), "IdentityChanged")).toMatchObject({ severity: "info" })
          const steps = yield* apply([{ table: "posts" }])
          expect(kinds(steps)).toEqual(["refresh public.posts"])
          expect(
            yield* value(
              "select relation = 'posts'::regclass and database = threadline.this_database() from threadline.capture_policies"
            )
          ).toBe(true)
          expect(yield* plan([{ table: "posts" }])).toEqual([])
          yield* run("insert into posts values (1)", "alter table posts rename to articles")
          expect(kinds(yield* apply([{ table: "articles" }]))[0]).toBe("follow public.articles")
        })
      )
    )
  }

  it.effect("follows a table to its new name", () =>
    fresh(
      Effect.gen(function* () {
        yield* run("create table posts (id int primary key, secret text)")
        yield* apply([{ table: "posts", mask: ["secret"] }])
        yield* run("alter table posts rename to articles")
        expect((yield* refusal(plan([{ table: "posts" }]))).hint).toContain("renamed to public.articles")
        expect(finding(yield* status(), "TableRenamed")).toMatchObject({ subjects: ["public.articles"] })
        expect(yield* refusal(apply([{ table: "articles" }]))).toMatchObject({ reason: "LessRedaction" })

        const steps = yield* apply([{ table: "articles", mask: ["secret"] }])
        expect(kinds(steps)).toEqual(["follow public.articles", "regenerate public.articles"])
        expect(steps[0]?.summary).toBe("the history of public.posts goes on here")
        expect(yield* rows("select table_name from threadline.capture_policies where removed_at is null")).toEqual([
          { table_name: "articles" }
        ])
        expect(yield* rows("select from pg_proc where proname like 'capture_insert_posts%'")).toEqual([])
        expect(yield* plan([{ table: "articles", mask: ["secret"] }])).toEqual([])
        yield* run("insert into articles values (1, 'x')")
        expect(yield* changes).toEqual(["articles insert 1"])
      })
    )
  )

  it.effect("tells apart two tables that swapped their names", () =>
    fresh(
      Effect.gen(function* () {
        yield* run("create table posts (id int primary key)")
        yield* apply([{ table: "posts" }])
        yield* run("alter table posts rename to posts_old", "create table posts (id int primary key, more text)")
        const steps = yield* apply([{ table: "posts" }])
        expect(kinds(steps)).toEqual(["follow public.posts_old", "attach public.posts"])
        expect(yield* plan([{ table: "posts" }])).toEqual([])
        // The one that was captured keeps its triggers, and is recorded as what it is called now.
        yield* run("insert into posts values (1)", "insert into posts_old values (1)")
        expect(yield* changes).toEqual(["posts insert 1", "posts_old insert 1"])
      })
    )
  )

  it.effect("captures through a schema that was renamed, once migrations have run there", () =>
    Effect.gen(function* () {
      const storage = `Audit "Log"`
      yield* run("create table posts (id int primary key)", "create table drafts (id int primary key)")
      yield* apply([{ table: "posts" }])
      yield* run("insert into posts values (1)", `alter schema threadline rename to "Audit ""Log"""`)
      yield* Migrations.run({ schema: storage })
      const capture = yield* Effect.provide(
        Capture.Capture,
        Capture.layer.pipe(Layer.provide(Layer.succeed(StorageSchema, storage)))
      )
      const tables = [{ table: "posts" }, { table: "drafts" }]
      expect(kinds(yield* capture.apply(tables))).toEqual(["regenerate public.posts", "attach public.drafts"])
      expect(yield* capture.plan(tables)).toEqual([])
      yield* run("insert into posts values (2)", "delete from posts where id = 1", "insert into drafts values (1)")
      expect(yield* rows(`select table_name, op, row_key from "Audit ""Log""".audit_changes order by id`)).toEqual([
        { table_name: "posts", op: "insert", row_key: "1" },
        { table_name: "posts", op: "insert", row_key: "2" },
        { table_name: "posts", op: "delete", row_key: "1" },
        { table_name: "drafts", op: "insert", row_key: "1" }
      ])
    }).pipe(Effect.provide(layer))
  )

  it.effect("says that the schema is not installed", () =>
    Effect.gen(function* () {
      yield* run("create table posts (id int primary key)")
      const failed = yield* Effect.flip(plan([{ table: "posts" }]))
      expect(ThreadlineError.is(failed) && failed.reason).toBe("NotMigrated")
    }).pipe(Effect.provide(Capture.layer.pipe(Layer.provideMerge(TestDatabase.layerEmpty))))
  )

  it.effect("gives back the role and leaves no setting behind", () =>
    fresh(
      Effect.gen(function* () {
        const database = yield* TestDatabase.TestDatabase
        const owner = yield* database.ownOwner
        const deployer = yield* database.role("deployer")
        yield* run(
          `grant ${owner} to ${deployer.name}`,
          "create table posts (id int primary key)",
          `alter table posts owner to ${deployer.name}`
        )
        const sql = yield* database.connect("deployer", { maxConnections: 1 })
        yield* sql.unsafe("set search_path = public")
        yield* sql.unsafe(`set role ${deployer.name}`)
        const capture = yield* Effect.provide(
          Capture.Capture,
          Capture.layer.pipe(Layer.provide(Layer.succeed(SqlClient.SqlClient, sql)))
        )
        yield* capture.apply([{ table: "posts" }])
        expect(
          yield* sql.unsafe(
            `select current_user::text as role, current_setting('search_path') as path, current_setting('lock_timeout') as wait`
          )
        ).toEqual([{ role: deployer.name, path: "public", wait: "0" }])
        expect(yield* rows("select tableowner from pg_tables where tablename = 'posts'")).toEqual([
          { tableowner: deployer.name }
        ])
      })
    )
  )

  it.effect("is not misled by what stands before pg_catalog on the search path", () =>
    fresh(
      Effect.gen(function* () {
        const database = yield* TestDatabase.TestDatabase
        yield* run(
          "create schema hostile",
          "create table hostile.pg_class (oid oid)",
          "create function hostile.format_type(oid, int) returns text language sql as $$ select 'hostile' $$",
          "create function hostile.set_config(text, text, boolean) returns text language sql as $$ select 'hostile' $$",
          "create type hostile.jsonb as enum ('hostile')",
          "create table posts (id int primary key, at timestamptz)",
          `alter database ${database.name} set search_path = hostile, pg_catalog, public`
        )
        const sql = yield* database.rawClient()
        expect((yield* Effect.promise(() => sql.query("show search_path"))).rows).toEqual([
          { search_path: "hostile, pg_catalog, public" }
        ])
        const steps = yield* Effect.flatMap(Capture.Capture, (capture) => capture.apply([{ table: "posts" }])).pipe(
          Effect.provide(Capture.layer),
          Effect.provide(Layer.service(SqlClient.SqlClient))
        )
        expect(steps).toHaveLength(1)
        expect(yield* value("select columns -> 1 ->> 'type' from threadline.capture_policies")).toBe(
          "timestamp with time zone"
        )
      })
    )
  )
})

describe("Capture.apply, several at once", () => {
  it.live("does each piece of work once", () =>
    fresh(
      Effect.gen(function* () {
        const tables = ["one", "two", "three", "four"]
        yield* run(...tables.map((table) => `create table ${table} (id int primary key)`))
        const configs = tables.map((table) => ({ table }))
        const outcomes = yield* Effect.all(
          Array.from({ length: 5 }, (_, index) => apply(index % 2 === 0 ? configs : [...configs].reverse())),
          { concurrency: "unbounded" }
        )
        expect([...kinds(outcomes.flat())].sort()).toEqual(tables.map((table) => `attach public.${table}`).sort())
        expect(yield* plan(configs)).toEqual([])
      })
    )
  )

  it.live("waits for a lock only as long as it is told to, tries again, and then gives up", () =>
    fresh(
      Effect.gen(function* () {
        yield* run("create table free (id int primary key)", "create table busy (id int primary key)")
        const database = yield* TestDatabase.TestDatabase
        const holder = yield* database.rawClient()
        yield* Effect.promise(() => holder.query("begin; lock table busy in access exclusive mode"))

        const options = { lockTimeout: "50 millis", retries: 1 } as const
        const error = yield* refusal(apply([{ table: "free" }, { table: "busy" }], options))
        expect(error).toMatchObject({ reason: "LockNotAvailable", table: "public.busy" })
        expect(kinds(yield* plan([{ table: "free" }, { table: "busy" }]))).toEqual(["attach public.busy"])

        const patient = yield* Effect.fork(apply([{ table: "busy" }], { lockTimeout: "50 millis", retries: 100 }))
        // Seen waiting at least once.
        yield* Effect.repeat(
          value(
            "select count(*)::int from pg_locks join pg_database d on d.oid = database where not granted and locktype = 'relation' and datname = current_database()"
          ),
          {
            until: (waiting) => waiting === 1
          }
        )
        yield* Effect.promise(() => holder.query("rollback"))
        expect(kinds(yield* Fiber.join(patient))).toEqual(["attach public.busy"])
      })
    )
  )

  it.live("finds a partition that is attached while it waits", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(
          "create table events (id int, primary key (id)) partition by range (id)",
          "create table events_1 partition of events for values from (0) to (10)",
          // An attempt waits for half of it. The attempt that is seen waiting must be the one that goes on.
          "do $$ begin execute format('alter database %I set deadlock_timeout = 60000', current_database()); end $$"
        )
        const database = yield* TestDatabase.TestDatabase
        const client = clientOf(database.url, 1)
        const capture = yield* Effect.provide(Capture.Capture, yield* Layer.build(Layer.provide(Capture.layer, client)))
        const other = yield* database.rawClient()
        yield* Effect.promise(() =>
          other.query("begin; create table events_2 partition of events for values from (10) to (20)")
        )
        const applying = yield* Effect.fork(capture.apply([{ table: "events" }], { lockTimeout: "30 seconds" }))
        yield* Effect.repeat(
          value(
            "select count(*)::int from pg_locks join pg_database d on d.oid = database where not granted and locktype = 'relation' and datname = current_database()"
          ),
          {
            until: (waiting) => waiting === 1
          }
        )
        yield* Effect.promise(() => other.query("commit"))
        const done = yield* Fiber.join(applying)
        expect(kinds(done)).toEqual(["attach public.events", "attach partition public.events"])
        expect(yield* plan([{ table: "events" }])).toEqual([])
        yield* run("insert into events_2 values (11)")
        expect(yield* changes).toEqual(["events insert 11"])
      })
    )
  )

  for (const [what, drop, expected] of [
    ["a partition", "drop table events_1", { done: ["attach public.events"] }],
    ["the table", "drop table events", { refused: "UnknownTable" }]
  ] as const) {
    it.live(`plans again if ${what} is dropped while it waits`, () =>
      fresh(
        Effect.gen(function* () {
          yield* run(
            "create table events (id int, primary key (id)) partition by range (id)",
            "create table events_1 partition of events for values from (0) to (10)",
            "create table events_2 partition of events for values from (10) to (20)",
            // An attempt waits for half of it. The attempt that is seen waiting must be the one that finds out.
            "do $$ begin execute format('alter database %I set deadlock_timeout = 60000', current_database()); end $$"
          )
          const database = yield* TestDatabase.TestDatabase
          const client = clientOf(database.url, 1)
          const capture = yield* Effect.provide(
            Capture.Capture,
            yield* Layer.build(Layer.provide(Capture.layer, client))
          )
          const other = yield* database.rawClient()
          yield* Effect.promise(() => other.query(`begin; ${drop}`))
          const applying = yield* Effect.fork(
            Effect.either(capture.apply([{ table: "events" }], { lockTimeout: "30 seconds" }))
          )
          yield* Effect.repeat(
            value(
              "select count(*)::int from pg_locks join pg_database d on d.oid = database where not granted and locktype = 'relation' and datname = current_database()"
            ),
            { until: (waiting) => waiting === 1 }
          )
          yield* Effect.promise(() => other.query("commit"))
          const outcome = yield* Fiber.join(applying)
          expect(
            Either.match(outcome, {
              onLeft: (error) => ({ refused: error._tag === "CaptureError" ? error.refusal.reason : error.message }),
              onRight: (steps) => ({ done: kinds(steps) })
            })
          ).toEqual(expected)
        })
      )
    )
  }

  it.live("leaves nothing half done where it is interrupted", () =>
    fresh(
      Effect.gen(function* () {
        yield* run("create table posts (id int primary key)")
        const database = yield* TestDatabase.TestDatabase
        const holder = yield* database.rawClient()
        yield* Effect.promise(() => holder.query("begin; lock table posts in access exclusive mode"))
        const started = yield* Deferred.make<void>()
        const applying = yield* Effect.fork(
          Effect.zipRight(
            Deferred.succeed(started, undefined),
            apply([{ table: "posts" }], { lockTimeout: "1 minute" })
          )
        )
        yield* Deferred.await(started)
        yield* Effect.repeat(
          value(
            "select count(*)::int from pg_locks join pg_database d on d.oid = database where not granted and locktype = 'relation' and datname = current_database()"
          ),
          {
            until: (waiting) => waiting === 1
          }
        )
        yield* Fiber.interrupt(applying)
        yield* Effect.promise(() => holder.query("rollback"))
        expect(yield* rows("select from threadline.capture_policies")).toEqual([])
        expect(kinds(yield* apply([{ table: "posts" }]))).toEqual(["attach public.posts"])
      })
    )
  )
})

describe("the end of a capture", () => {
  it.effect("by remove keeps the history", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(
          "create table events (id int primary key) partition by range (id)",
          "create table events_1 partition of events for values from (0) to (10)",
          "create table posts (id int primary key)"
        )
        yield* apply([{ table: "events" }, { table: "posts" }])
        yield* run("insert into events values (1)")
        const steps = yield* remove("events")
        expect(kinds(steps)).toEqual(["detach public.events"])
        expect(yield* triggerCount("events")).toBe(0)
        expect(yield* triggerCount("events_1")).toBe(0)
        expect(yield* triggerCount("posts")).toBe(4)
        expect(yield* rows("select from pg_proc where proname like 'capture_%_events_%'")).toEqual([])
        yield* run("insert into events values (2)")
        expect(yield* changes).toEqual(["events insert 1"])
        expect(yield* value("select threadline.row_key('public', 'events', '1')")).toBe("1")
        expect(yield* refusal(remove("events"))).toMatchObject({ reason: "NotCaptured" })

        expect(kinds(yield* apply([{ table: "events" }]))).toEqual(["attach public.events"])
        expect(yield* value("select count(*)::int from threadline.capture_policies where removed_at is null")).toBe(2)
      })
    )
  )

  it.effect("by remove takes the triggers of a table that was dropped or renamed", () =>
    fresh(
      Effect.gen(function* () {
        yield* run("create table gone (id int primary key)", "create table moved (id int primary key)")
        yield* apply([{ table: "gone" }, { table: "moved" }])
        yield* run("drop table gone", "alter table moved rename to moved_on")
        expect((yield* refusal(remove("moved_on"))).hint).toBe("did you mean public.moved?")
        expect(kinds(yield* remove("moved", "gone", "public.gone"))).toEqual([
          "detach public.moved",
          "detach public.gone"
        ])
        expect(yield* triggerCount("moved_on")).toBe(0)
        expect(yield* rows("select from pg_proc where proname like 'capture_insert_%'")).toEqual([])
      })
    )
  )

  it.effect("by prune is for tables that are not configured, which apply leaves alone", () =>
    fresh(
      Effect.gen(function* () {
        yield* run("create table keep (id int primary key)", "create table drop_me (id int primary key)")
        yield* apply([{ table: "keep" }, { table: "drop_me" }])
        expect(yield* apply([{ table: "keep" }])).toEqual([])
        expect(kinds(yield* plan([{ table: "keep" }], { prune: true }))).toEqual(["detach public.drop_me"])
        expect(kinds(yield* apply([{ table: "keep" }], { prune: true }))).toEqual(["detach public.drop_me"])
        expect(yield* triggerCount("drop_me")).toBe(0)
        expect(yield* triggerCount("keep")).toBe(4)
        expect(yield* plan([{ table: "keep" }], { prune: true })).toEqual([])
      })
    )
  )
})

it.layer(layer)("Capture.plan", (it) => {
  it.effect("can be asked inside a transaction, and sees what it did", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const [steps, path] = yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* run("create table unborn (id int primary key)", "set local search_path = public")
          const planned = yield* plan([{ table: "unborn" }])
          return [planned, yield* value("select current_setting('search_path')")] as const
        })
      )
      expect(kinds(steps)).toEqual(["attach public.unborn"])
      expect(path).toBe("public")
    })
  )
})
