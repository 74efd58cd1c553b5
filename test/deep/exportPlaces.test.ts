/** Exports where statements meet something else than a server of one's own: a pooler, a replica, a log of which little is asked for. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { describe, expect, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as Capture from "../../src/Capture.js"
import * as Export from "../../src/Export.js"
import * as Migrations from "../../src/Migrations.js"
import * as Pooler from "../harness/pooler.js"
import * as Standby from "../harness/standby.js"
import * as TestCluster from "../harness/TestCluster.js"
import { sessionOf } from "../support/adversarial.js"

const clientOf = (url: string) => PgClient.layer({ url: Redacted.make(url), maxConnections: 2 })

const exportsOf = (url: string) => Layer.provide(Export.layerWith({ record: false }), clientOf(url))

const linesOf = (url: string, options: Omit<Export.StreamOptions, "format"> = {}) =>
  Stream.runCollect(Export.stream({ format: "ndjson", ...options })).pipe(
    Effect.map((pieces) => Buffer.concat(Chunk.toReadonlyArray(pieces)).toString().split("\n").slice(0, -1)),
    Effect.provide(exportsOf(url))
  )

/** A log of which one percent is about notes, in the database `app`. */
const primaryCluster = Effect.gen(function* () {
  const cluster = yield* TestCluster.make({ settings: { wal_keep_size: "512MB" } })
  const admin = yield* Effect.map(cluster.rawClient(), sessionOf)
  yield* admin.run("create database app")
  const db = yield* Effect.map(cluster.rawClient("app"), sessionOf)
  yield* db.run("create table posts (id int primary key, title text); create table notes (id int primary key)")
  yield* Migrations.run({}).pipe(
    Effect.zipRight(
      Effect.flatMap(Capture.Capture, (service) => service.apply([{ table: "posts" }, { table: "notes" }]))
    ),
    Effect.provide(Layer.provideMerge(Capture.layer, clientOf(cluster.urlOf("app"))))
  )
  yield* db.run("insert into posts select i, 'written' from generate_series(1, 20000) i")
  yield* db.run("insert into notes select i from generate_series(1, 200) i")
  yield* db.run("insert into posts select i, 'written' from generate_series(20001, 40000) i")
  yield* db.run("vacuum analyze")
  return { cluster, db }
})

describe("exports in other places", () => {
  it.scopedLive(
    "through PgBouncer, on a standby, and by index if little is asked for",
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
        const alone = Effect.repeat(
          db.column(
            "select from pg_stat_activity where backend_type = 'client backend' and datname = 'app' and pid <> pg_backend_pid()"
          ),
          { until: (others) => others.length === 0 }
        )
        yield* db.run("select pg_stat_force_next_flush()")
        const before = yield* read
        const notes = yield* linesOf(url, { filter: { table: "notes" } })
        expect(notes).toHaveLength(200)
        yield* alone
        expect(yield* read).toBe(before)
        // The counter would have told.
        yield* Effect.scoped(
          Effect.flatMap(cluster.rawClient("app"), (client) =>
            sessionOf(client).run("select count(*) from threadline.audit_changes where data_after::text like '%none%'")
          )
        )
        yield* alone
        expect(Number(yield* read)).toBeGreaterThanOrEqual(Number(before) + 40_200)

        const everything = yield* linesOf(url)
        expect(everything).toHaveLength(40_200)

        const pooler = yield* Pooler.make(url, 1)
        expect(yield* linesOf(pooler)).toEqual(everything)
        expect(yield* linesOf(pooler, { filter: { table: "notes" } })).toEqual(notes)

        const standby = yield* Standby.make(cluster)
        yield* db.run("insert into notes values (1000)")
        yield* standby.caughtUp
        const there = yield* linesOf(standby.urlOf("app"))
        expect(there).toHaveLength(40_201)
        expect(there.slice(0, -1)).toEqual(everything)
      }),
    300_000
  )
})
