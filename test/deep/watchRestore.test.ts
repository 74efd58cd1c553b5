/** The schema watch through dumps and restores of every kind, and under logical replication. */
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Migrations from "../../src/Migrations.js"
import { apply, changes, findingKinds, rows, run, status, value } from "../support/capture.js"
import * as Installation from "../harness/Installation.js"
import * as TestCluster from "../harness/TestCluster.js"
import { captureIn } from "../support/server.js"
import { eventually, until } from "../support/until.js"

const tables = [
  "create table posts (id int primary key, v text)",
  "create table events (id int primary key, v text) partition by range (id)",
  "create table events_1 partition of events for values from (0) to (10)"
]

const config = [{ table: "posts" }, { table: "events" }]

const openLapses =
  "select count(*)::int from threadline.capture_policies p cross join unnest(threadline.capture_lapses(p.table_schema, p.table_name)) l where upper_inf(l)"
const allLapses =
  "select count(*)::int from threadline.capture_policies p cross join unnest(threadline.capture_lapses(p.table_schema, p.table_name)) l"
const failed = "select count(*)::int from threadline.schema_events where effect = 'failed'"

// Only an installation with pg_dump can tell; continuous integration has one.
if (Installation.withTools() !== undefined) {
  it.live(
    "the schema watch is restored with its database, survives restores into it, and captures what replication applies",
    () =>
      Effect.gen(function* () {
        const cluster = yield* TestCluster.make({ tools: true, settings: { wal_level: "logical" } })
        const admin = yield* cluster.rawClient()
        for (const name of ["before", "after", "data", "clean", "subscriber"]) {
          yield* Effect.promise(() => admin.query(`create database ${name}`))
        }
        const file = join(tmpdir(), `threadline-watch-${cluster.port}.dump`)
        yield* Effect.addFinalizer(() => Effect.promise(() => rm(file, { force: true })))

        yield* Effect.gen(function* () {
          yield* Migrations.run({ watchSchema: true })
          yield* run(...tables)
          yield* apply(config)
          yield* run("insert into posts values (1, 'a'), (2, 'b')", "insert into events values (1, 'a')")
        }).pipe(Effect.provide(captureIn(cluster.urlOf("before"))))
        yield* cluster.run("pg_dump", ["--format=custom", `--file=${file}`, "--dbname", cluster.urlOf("before")])

        // A whole dump, restored by several sessions at once: event triggers come last.
        yield* cluster.run("pg_restore", ["--jobs=4", "--exit-on-error", "--dbname", cluster.urlOf("after"), file])
        yield* Effect.gen(function* () {
          const statuses = yield* status(config)
          expect(statuses.map(({ captured, watch }) => [captured, watch])).toEqual([
            [true, "on"],
            [true, "on"]
          ])
          expect([...new Set(findingKinds(statuses))]).toEqual(["IdentityChanged"])
          expect(yield* value(allLapses)).toBe(0)
          // Names and partitions change before anyone has applied.
          yield* run(
            "create table events_2 partition of events for values from (10) to (20)",
            "insert into events values (11, 'x')",
            "insert into events_2 values (12, 'x')",
            "alter table posts rename to articles",
            "insert into articles values (3, 'c')",
            "alter table articles rename to posts"
          )
          expect((yield* changes).slice(-3)).toEqual(["events insert 11", "events insert 12", "articles insert 3"])
          yield* apply(config)
          expect(yield* value(failed)).toBe(0)
          expect(findingKinds(yield* status(config))).toEqual([])
        }).pipe(Effect.provide(captureIn(cluster.urlOf("after"))))

        // The data of the host alone, into a database with capture and the watch: with triggers, and without.
        yield* Effect.gen(function* () {
          yield* Migrations.run({ watchSchema: true })
          yield* run(...tables)
          yield* apply(config)
          const data = ["--data-only", "--schema=public", "--dbname", cluster.urlOf("data")]
          yield* cluster.run("pg_restore", [...data, "--exit-on-error", "--jobs=2", file])
          expect([...(yield* changes)].sort()).toEqual(["events insert 1", "posts insert 1", "posts insert 2"])
          expect(yield* value(allLapses)).toBe(0)
          yield* run("truncate posts, events")
          yield* cluster.run("pg_restore", [...data, "--exit-on-error", "--disable-triggers", file])
          expect((yield* changes).filter((change) => change.includes("insert")).length).toBe(3)
          // It saw the triggers being disabled, and enabled again.
          expect(yield* value(openLapses)).toBe(0)
          expect(yield* value(allLapses)).toBe(2)
          expect(yield* value(failed)).toBe(0)
          expect(findingKinds(yield* status(config))).toEqual([])
        }).pipe(Effect.provide(captureIn(cluster.urlOf("data"))))

        // The host's schema, dropped and made anew in a database that lives: what was known ends with the tables.
        yield* Effect.gen(function* () {
          yield* Migrations.run({ watchSchema: true })
          yield* run(...tables)
          yield* apply(config)
          yield* run("insert into posts values (7, 'living')")
          yield* run("drop table posts, events")
          // Triggers call functions that the restore finds in place.
          yield* cluster.run("pg_restore", [
            "--exit-on-error",
            "--schema=public",
            "--dbname",
            cluster.urlOf("clean"),
            file
          ])
          expect(yield* value(openLapses)).toBe(2)
          yield* run("insert into posts values (8, 'after')")
          yield* apply(config)
          expect(yield* value(openLapses)).toBe(0)
          expect(yield* value(failed)).toBe(0)
          expect(findingKinds(yield* status(config))).toEqual([])
        }).pipe(Effect.provide(captureIn(cluster.urlOf("clean"))))

        // A subscriber: rows come without statements, and DDL does not come at all.
        yield* Effect.gen(function* () {
          yield* Migrations.run({ watchSchema: true })
          yield* run(...tables)
          const always = config.map((each) => ({ ...each, mode: "row" as const, always: true }))
          yield* apply(always)
          yield* run("create table events_2 partition of events for values from (10) to (20)")
          const publisher = yield* cluster.rawClient("before")
          yield* Effect.promise(async () => {
            await publisher.query(
              "create table if not exists events_2 partition of events for values from (10) to (20)"
            )
            await publisher.query(
              "create publication host for table posts, events with (publish_via_partition_root = true)"
            )
            await publisher.query("select pg_create_logical_replication_slot('host', 'pgoutput')")
          })
          yield* run(
            `create subscription host connection '${cluster.urlOf("before")}' publication host with (create_slot = false, slot_name = 'host', copy_data = false)`
          )
          yield* Effect.promise(() =>
            publisher.query(
              "insert into posts values (21, 'r'); insert into events values (9, 'r'), (13, 'r'); update posts set v = 'rr' where id = 21"
            )
          )
          yield* eventually(
            "the update has arrived",
            rows("select from threadline.audit_changes where op = 'update'"),
            (arrived) => arrived.length > 0
          )
          expect([...(yield* changes)].sort()).toEqual([
            "events insert 13",
            "events insert 9",
            "posts insert 21",
            "posts update 21"
          ])
          expect(yield* value(failed)).toBe(0)
          expect(yield* value(allLapses)).toBe(0)
          yield* run(
            "alter subscription host disable",
            "alter subscription host set (slot_name = none)",
            "drop subscription host"
          )
          // The sender ends a moment after the subscription has.
          yield* until(
            "the slot is dropped",
            Effect.isSuccess(Effect.tryPromise(() => publisher.query("select pg_drop_replication_slot('host')")))
          )
        }).pipe(Effect.provide(captureIn(cluster.urlOf("subscriber"))))
      }).pipe(Effect.scoped),
    300_000
  )
}
