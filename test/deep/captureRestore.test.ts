import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Migrations from "../../src/Migrations.js"
import { apply, changes, findingKinds, kinds, run, status, value } from "../support/capture.js"
import * as Installation from "../harness/Installation.js"
import * as TestCluster from "../harness/TestCluster.js"
import { captureIn } from "../support/server.js"

const config = [
  { table: "posts", mask: ["secret"] },
  { table: "squeezed", mask: ["secret"] },
  { table: `"Odd.Schema"."Events"`, mode: "row" as const }
]

// Only an installation with pg_dump can tell; continuous integration has one.
if (Installation.withTools() !== undefined) {
  it.live("capture goes on after a dump and a restore, and apply takes note of it", () =>
    Effect.gen(function* () {
      const cluster = yield* TestCluster.make({ tools: true })
      const admin = yield* cluster.rawClient()
      yield* Effect.promise(() => admin.query("create database before"))
      yield* Effect.promise(() => admin.query("create database after"))

      const begun = value("select json_agg(captured_since order by table_name)::text from threadline.capture_policies")
      const before = yield* Effect.gen(function* () {
        yield* Migrations.run()
        yield* run(
          "create table posts (id int primary key, secret text)",
          // A restore numbers the columns anew.
          "create table squeezed (gone int, id int primary key, secret text, title text)",
          "alter table squeezed drop column gone",
          `create schema "Odd.Schema"`,
          `create table "Odd.Schema"."Events" (id int primary key) partition by range (id)`,
          `create table "Odd.Schema".leaf partition of "Odd.Schema"."Events" for values from (0) to (10)`
        )
        yield* apply(config)
        yield* run("insert into posts values (1, 'x')")
        return yield* begun
      }).pipe(Effect.provide(captureIn(cluster.urlOf("before"))))

      const dump = yield* cluster.run("pg_dump", ["--dbname", cluster.urlOf("before")])
      yield* cluster.run("psql", ["--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", cluster.urlOf("after")], dump)

      yield* Effect.gen(function* () {
        yield* run(
          "insert into posts values (2, 'x')",
          "insert into squeezed values (1, 'x', 'open')",
          `insert into "Odd.Schema".leaf values (1)`
        )
        expect(yield* changes).toEqual(["posts insert 1", "posts insert 2", "squeezed insert 1", "Events insert 1"])
        // Another number is no other name: what was open stays open.
        const image = "select data_after::text from threadline.audit_changes where table_name = 'squeezed'"
        expect(yield* value(image)).toBe('{"id": 1, "title": "open", "secret": "[masked]"}')
        const statuses = yield* status(config)
        expect(statuses.map(({ captured }) => captured)).toEqual([true, true, true])
        expect([...new Set(findingKinds(statuses))]).toEqual(["IdentityChanged"])

        expect(kinds(yield* apply(config))).toEqual([
          "refresh public.posts",
          "regenerate public.squeezed",
          `refresh "Odd.Schema"."Events"`
        ])
        expect(yield* apply(config)).toEqual([])
        expect(findingKinds(yield* status(config))).toEqual([])
        // When capture began is part of what was restored.
        expect(yield* begun).toBe(before)
        expect(yield* value("select count(*)::int from threadline.capture_policies where lapses <> '{}'")).toBe(0)
        yield* run("insert into squeezed values (2)")
        expect((yield* changes).at(-1)).toBe("squeezed insert 2")
      }).pipe(Effect.provide(captureIn(cluster.urlOf("after"))))
    }).pipe(Effect.scoped)
  )
}
