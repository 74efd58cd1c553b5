/** Which physical table a change is of, whatever becomes of names, OIDs and triggers (A31, A32). */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Capture from "../../src/Capture.js"
import { attacks, changes, type Host } from "../support/adversarial.js"

/** As a restore into another database leaves it: every table has another OID than its policy says. */
const restored = "update threadline.capture_policies set relation = 0, database = 'elsewhere', partition_marks = '{}'"

const story = (host: Pick<Host, "db">) =>
  Effect.map(
    host.db.rows(
      "select table_schema || '.' || table_name || ' ' || op || coalesce(' ' || row_key, '') as line from threadline.audit_changes order by id"
    ),
    (rows) => rows.map(({ line }) => line)
  )

const lapses = (host: Pick<Host, "db">, table: string) =>
  host.db.value(
    "select count(*) from threadline.capture_policies p cross join unnest(threadline.capture_lapses(p.table_schema, p.table_name)) where p.table_name = $1",
    [table]
  )

/** Whether a table is in a lapse now. */
const unknownNow = (host: Pick<Host, "db">, table: string) =>
  host.db.value("select threadline.capture_lapses('public', $1) @> clock_timestamp()", [table])

const said = (statuses: ReadonlyArray<Capture.TableStatus>, table: string) =>
  statuses
    .filter((status) => status.table === table)
    .flatMap(({ findings }) => findings.map((finding) => `${finding.kind}: ${Capture.describeFinding(finding)}`))

attacks("identity after a restore (A32)", (attack) => {
  for (const mode of ["statement", "row"] as const) {
    attack(`a renamed table, root or schema goes on being written, under its new name, in ${mode} mode`, (host) =>
      Effect.gen(function* () {
        const { apply, capture, db } = host
        yield* db.run(
          "create table posts (id int primary key)",
          "create table events (id int primary key) partition by list (id)",
          "create table events_1 partition of events for values in (1)",
          "create schema shop",
          "create table shop.carts (id int primary key)"
        )
        yield* apply(...["posts", "events", "shop.carts"].map((table) => ({ table, mode })))
        yield* db.run(
          restored,
          "alter table posts rename to articles",
          "alter table events rename to happenings",
          "alter schema shop rename to store",
          "insert into articles values (1)",
          "insert into happenings values (1)",
          "delete from events_1",
          "insert into store.carts values (1)",
          "truncate articles"
        )
        expect(yield* story(host)).toEqual([
          "public.articles insert 1",
          "public.happenings insert 1",
          "public.happenings delete 1",
          "store.carts insert 1",
          "public.articles truncate"
        ])
        const statuses = yield* capture.status()
        expect(statuses.map((status) => [status.table, said([status], status.table)])).toEqual([
          ["public.events", ["TableRenamed: it is now public.happenings"]],
          ["public.posts", ["TableRenamed: it is now public.articles"]],
          ["shop.carts", ["TableRenamed: it is now store.carts"]]
        ])
        yield* apply(...["articles", "happenings", "store.carts"].map((table) => ({ table, mode })))
        expect((yield* capture.status()).map(({ captured, findings, table }) => [table, captured, findings])).toEqual([
          ["public.articles", true, []],
          ["public.happenings", true, []],
          ["store.carts", true, []]
        ])
        yield* db.run("insert into articles values (2)", "insert into events_1 values (1)")
        expect((yield* story(host)).slice(-2)).toEqual(["public.articles insert 2", "public.happenings insert 1"])
      })
    )
  }

  attack("a schema cloned with its triggers is recorded under its own names, and the mend names it", (host) =>
    Effect.gen(function* () {
      const { apply, capture, db } = host
      yield* db.run("create schema one", "create table one.posts (id int primary key)")
      yield* apply("one.posts")
      const triggers = yield* db.column(
        "select replace(pg_get_triggerdef(oid), 'one.posts', 'two.posts') from pg_trigger where tgrelid = 'one.posts'::regclass"
      )
      yield* db.run(
        "create schema two",
        "create table two.posts (like one.posts including all)",
        ...triggers.map(String),
        "insert into one.posts values (1)",
        "insert into two.posts values (2)"
      )
      expect(yield* story(host)).toEqual(["one.posts insert 1", "two.posts insert 2"])
      expect(said(yield* capture.status(), "one.posts")).toEqual([
        "TriggersElsewhere: tables that are not captured have its triggers: two.posts; they are recorded under their own names"
      ])
      // Nothing of the clone is taken away when the original is applied, and it can be applied itself.
      yield* apply({ table: "one.posts", truncate: "refuse" })
      yield* db.run("insert into two.posts values (3)")
      yield* apply("two.posts")
      yield* db.run("insert into two.posts values (4)", "insert into one.posts values (4)")
      expect((yield* story(host)).slice(2)).toEqual(["two.posts insert 3", "two.posts insert 4", "one.posts insert 4"])
      expect((yield* capture.status()).map(({ captured, findings, table }) => [table, captured, findings])).toEqual([
        ["one.posts", true, []],
        ["two.posts", true, []]
      ])
    })
  )
})
