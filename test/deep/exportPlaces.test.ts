/** Exports where statements meet something else than a server of one's own: a pooler, a replica, a log of which little is asked for. */
import * as SqlClient from "@effect/sql/SqlClient"
import { describe, expect, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Stream from "effect/Stream"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import * as Export from "../../src/Export.js"
import * as ExportJobs from "../../src/ExportJobs.js"
import * as ExportStore from "../../src/ExportStore.js"
import { clientOf } from "../harness/client.js"
import * as Pooler from "../harness/pooler.js"
import * as Standby from "../harness/standby.js"
import * as TestCluster from "../harness/TestCluster.js"
import { linesOf } from "../support/export.js"
import { scratch } from "../support/scratch.js"
import { makeApp, sessionIn } from "../support/server.js"
import { eventually } from "../support/until.js"

const linesAt = (url: string, options: Omit<Export.StreamOptions, "format"> = {}) =>
  Effect.provide(linesOf(options), Layer.provide(Export.layerWith({ record: false }), clientOf(url)))

/** Jobs whose files are in a directory, or in a store. They are read elsewhere if that is said. */
const jobsAt = (url: string, path: string, readAt?: string, store = ExportStore.directory(path)) =>
  Effect.gen(function* () {
    const reading =
      readAt === undefined
        ? Layer.empty
        : Layer.map(Layer.fresh(clientOf(readAt)), (context) =>
            Context.make(ExportJobs.ReadingClient, Context.get(context, SqlClient.SqlClient))
          )
    const services = yield* Layer.build(
      ExportJobs.layerWith({ backoff: 0, lease: "1 minute" }).pipe(
        Layer.provide([Layer.succeed(ExportStore.ExportStore, store), reading, Layer.fresh(clientOf(url))])
      )
    )
    return Context.get(services, ExportJobs.ExportJobs)
  })

/** A log of which one percent is about notes, in the database `app`. */
const primaryCluster = Effect.gen(function* () {
  const cluster = yield* TestCluster.make({ settings: { wal_keep_size: "512MB" } })
  const tables = ["create table posts (id int primary key, title text)", "create table notes (id int primary key)"]
  const db = yield* makeApp(cluster, tables, ["posts", "notes"])
  yield* db.run("insert into posts select i, 'written' from generate_series(1, 20000) i")
  yield* db.run("insert into notes select i from generate_series(1, 200) i")
  yield* db.run("insert into posts select i, 'written' from generate_series(20001, 40000) i")
  yield* db.run("vacuum analyze")
  return { cluster, db }
})

describe("exports", () => {
  it.scopedLive(
    "are the same through PgBouncer and on a standby, read by index if little is asked for, and are made by jobs and schedules there, also if the server crashes in one",
    () =>
      Effect.gen(function* () {
        const { cluster, db } = yield* primaryCluster
        const url = cluster.urlOf("app")

        const read = Effect.map(
          db.column(
            "select sum(seq_tup_read)::text from pg_stat_user_tables where relname ~ '^audit_changes' and schemaname = 'threadline'"
          ),
          ([sum]) => sum
        )
        // A session that is gone has told what it read.
        const alone = eventually(
          "every other session is gone",
          db.column(
            "select from pg_stat_activity where backend_type = 'client backend' and datname = 'app' and pid <> pg_backend_pid()"
          ),
          (others) => others.length === 0
        )
        yield* db.run("select pg_stat_force_next_flush()")
        const before = yield* read
        const notes = yield* linesAt(url, { filter: { table: "notes" } })
        expect(notes).toHaveLength(200)
        yield* alone
        expect(yield* read).toBe(before)
        // The counter would have told.
        yield* Effect.scoped(
          Effect.flatMap(sessionIn(cluster), (session) =>
            session.run("select count(*) from threadline.audit_changes where data_after::text like '%none%'")
          )
        )
        yield* alone
        expect(Number(yield* read)).toBeGreaterThanOrEqual(Number(before) + 40_200)

        const everything = yield* linesAt(url)
        expect(everything).toHaveLength(40_200)

        const pooler = yield* Pooler.make(url, 1)
        expect(yield* linesAt(pooler)).toEqual(everything)
        expect(yield* linesAt(pooler, { filter: { table: "notes" } })).toEqual(notes)

        const standby = yield* Standby.make(cluster)
        yield* db.run("insert into notes values (1000)")
        yield* standby.caughtUp
        const there = yield* linesAt(standby.urlOf("app"))
        expect(there).toHaveLength(40_201)
        expect(there.slice(0, -1)).toEqual(everything)

        // Jobs through the pooler. A worker needs two connections: one for what it reads, one for its lease.
        const path = yield* scratch()
        const throughPooler = yield* jobsAt(yield* Pooler.make(url, 2), path)
        yield* throughPooler.queue({ format: "ndjson", filter: { table: "notes" } })
        expect(yield* throughPooler.run()).toMatchObject({ completed: 1 })

        // Jobs that read on the standby.
        const { id: onStandby } = yield* throughPooler.queue({ format: "ndjson", filter: { table: "notes" } })
        const reading = yield* jobsAt(url, path, standby.urlOf("app"))
        expect(yield* reading.run()).toMatchObject({ completed: 1 })
        expect(yield* reading.get(onStandby)).toMatchObject({ state: "completed", records: 201 })

        // A schedule that is read on the primary, then on a standby that is behind, then on the primary again.
        yield* throughPooler.addSchedule({ name: "siem", cron: "0 0 1 1 *", format: "ndjson", window: "since-last" })
        const sentBy = (jobs: ExportJobs.Service) =>
          Effect.gen(function* () {
            yield* db.run(
              "update threadline.export_schedules set next_tick = date_trunc('milliseconds', clock_timestamp())"
            )
            expect(yield* jobs.run()).toMatchObject({ completed: 1 })
            const [done] = (yield* jobs.list({ schedule: "siem", limit: 1 })).items
            return [done?.records, done?.manifest] as const
          })
        expect((yield* sentBy(reading))[0]).toBe(40_201)
        const replay = yield* sessionIn(standby)
        yield* replay.run("select pg_wal_replay_pause()")
        yield* db.run("insert into notes values (1001)")
        expect((yield* sentBy(throughPooler))[0]).toBe(1)
        const [behind, manifest] = yield* sentBy(reading)
        expect(behind).toBe(0)
        yield* db.run("insert into notes values (1002)")
        const [fresh, next] = yield* sentBy(throughPooler)
        expect(fresh).toBe(1)
        expect(next?.after).toBe(manifest?.snapshot)
        yield* replay.run("select pg_wal_replay_resume()")
        yield* standby.caughtUp
        expect((yield* sentBy(reading))[0]).toBe(0)

        // The server crashes in the middle of a job, and comes back.
        const begun = yield* Deferred.make<void>()
        const gate = yield* Deferred.make<void>()
        const store = ExportStore.directory(path)
        const jobs = yield* jobsAt(url, path, undefined, {
          ...store,
          write: (name, bytes, facts) =>
            store.write(
              name,
              Stream.tap(bytes, () => Effect.zipRight(Deferred.succeed(begun, undefined), Deferred.await(gate))),
              facts
            )
        })
        const { id } = yield* jobs.queue({ format: "ndjson" })
        const running = yield* Effect.fork(jobs.run())
        yield* Deferred.await(begun)
        yield* cluster.stop("immediate")
        yield* cluster.start
        yield* Deferred.succeed(gate, undefined)
        yield* Fiber.await(running)
        const done = yield* eventually(
          "the job is completed",
          Effect.either(Effect.zipRight(jobs.run(), jobs.get(id))),
          (tried) => Either.isRight(tried) && tried.right.state === "completed"
        ).pipe(Effect.flatten)
        expect(done).toMatchObject({ records: 40_203 })
        expect(done.attempt).toBeGreaterThanOrEqual(2)
        const copy = join(path, "copy.ndjson")
        yield* jobs.downloadTo(id, copy)
        expect(readFileSync(copy, "utf8").split("\n").slice(0, -3)).toEqual(there)
        expect(readdirSync(path).filter((name) => name.includes("partial"))).toEqual([])
      }).pipe(Logger.withMinimumLogLevel(LogLevel.None)),
    300_000
  )
})
