/** The feed of a database that was dumped, restored elsewhere and written on, and of a replica. */
import { describe, expect, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import { chown, cp, mkdir, readdir, readFile, rm } from "node:fs/promises"
import { join } from "node:path"
import * as ExportJobs from "../../src/ExportJobs.js"
import * as ExportStore from "../../src/ExportStore.js"
import type * as Feed from "../../src/Feed.js"
import * as checkpoints from "../../src/internal/feed/checkpoint.js"
import { clientOf } from "../harness/client.js"
import { connect, drain } from "../support/feed.js"
import * as Installation from "../harness/Installation.js"
import { rawClient } from "../harness/rawClient.js"
import * as TestCluster from "../harness/TestCluster.js"
import { type Session, sessionOf } from "../support/adversarial.js"
import { scratch } from "../support/scratch.js"
import { makeApp, sessionIn } from "../support/server.js"
import { eventually } from "../support/until.js"

const owner = "keeper_of_records"

/** A cluster with a captured table in the database `app`. */
const source = Effect.gen(function* () {
  const cluster = yield* TestCluster.make({ tools: true })
  const db = yield* makeApp(
    cluster,
    [
      // Older than what a restore makes: it takes a transaction id for each object.
      "do $$ begin for n in 1..2000 loop perform pg_current_xact_id(); commit; end loop; end $$",
      "create table posts (id int primary key, title text)"
    ],
    ["posts"],
    { ownerRole: owner }
  )
  return { cluster, db }
})

const write = (db: Session, from: number, count: number) =>
  db.run(
    `do $$ begin
       for id in ${from}..${from + count - 1} loop
         insert into posts values (id, 'written');
         commit;
       end loop;
     end $$`
  )

const storedCheckpoint = (db: Session) =>
  Effect.map(
    db.value("select checkpoint from threadline.feed_checkpoints where name = 'export:siem'"),
    (checkpoint) => checkpoint ?? ""
  )

const allIds = (db: Session) => db.column("select id from threadline.audit_changes order by id")

/** A schedule since the last run: its jobs, and a tick of it. */
const scheduleAt = (url: string, db: Session) =>
  Effect.gen(function* () {
    const path = yield* scratch()
    const settled: Array<ExportJobs.Job> = []
    const client = clientOf(url, 3)
    const jobs = Context.get(
      yield* Layer.build(
        ExportJobs.layerWith({ onSettled: (job) => Effect.sync(() => settled.push(job)) }).pipe(
          Layer.provide([ExportStore.layerDirectory(path), client])
        )
      ),
      ExportJobs.ExportJobs
    )
    const tick = Effect.gen(function* () {
      yield* db.run("update threadline.export_schedules set next_tick = date_trunc('milliseconds', clock_timestamp())")
      const ran = yield* jobs.run()
      // A round later the tick has been dealt with.
      yield* jobs.run()
      const [job] = (yield* jobs.list({ schedule: "siem", limit: 1 })).items
      if (job?.state !== "completed") {
        return { ran, job, ids: [] }
      }
      const file = join(path, job.file ?? "")
      const lines = (yield* Effect.promise(() => readFile(file, "utf8"))).split("\n").slice(0, -1)
      return { ran, job, ids: lines.map((line): string => JSON.parse(line).id) }
    })
    return { jobs, tick, settled }
  })

const sorted = (ids: ReadonlyArray<string>) => [...ids].sort((a, b) => Number(a) - Number(b))

if (Installation.withTools() !== undefined) {
  describe("the feed of a restored database", () => {
    it.scopedLive(
      "goes on from every checkpoint of the old cluster, complete and without repeats",
      () =>
        Effect.gen(function* () {
          const { cluster: first, db } = yield* source
          const feed = yield* connect(first.urlOf("app"))
          yield* write(db, 1, 300)
          const early = yield* feed.read({ limit: 100 })
          const started = yield* drain(feed)
          const handled: Array<string> = []
          let batches = 0
          yield* Effect.flip(
            feed.consume(
              "stored",
              ({ changes }) =>
                Effect.suspend(() => {
                  if (++batches > 2) {
                    return Effect.fail("stop")
                  }
                  handled.push(...changes.map(({ id }) => id))
                  return Effect.void
                }),
              { limit: 50 }
            )
          )
          const open = yield* sessionIn(first)
          yield* open.run("begin; insert into posts values (5000, 'open at the checkpoint')")
          yield* write(db, 301, 50)
          const beside = yield* drain(feed)
          // The transaction that is open is not in the file.
          const exporting = yield* scheduleAt(first.urlOf("app"), db)
          yield* exporting.jobs.addSchedule({ name: "siem", cron: "0 0 1 1 *", format: "ndjson", window: "since-last" })
          const firstFile = yield* exporting.tick
          expect(sorted(firstFile.ids)).toEqual(sorted(beside.ids))
          yield* open.run("commit")
          const highest = Number(yield* db.value("select max(xid::text::bigint) from threadline.audit_transactions"))
          const dump = yield* first.run("pg_dump", ["-d", first.urlOf("app")])
          // A checkpoint of what only the old cluster has.
          yield* write(db, 6000, 20)
          const future = yield* drain(feed)

          const second = yield* TestCluster.make({ tools: true })
          const there = yield* sessionIn(second, "postgres")
          yield* there.run(`create role ${owner} nologin`, "create database app")
          yield* second.run("psql", ["-d", second.urlOf("app"), "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null"], dump)
          const restored = yield* sessionIn(second)
          const copy = yield* connect(second.urlOf("app"))
          const old = (yield* allIds(restored)).map(String)
          expect(old).toHaveLength(351)
          const lowest = Number(yield* restored.value("select pg_current_xact_id()"))
          expect(lowest).toBeLessThan(highest)

          const starts: ReadonlyArray<readonly [string, string | undefined, ReadonlyArray<string>]> = [
            ["none", undefined, []],
            ["in the middle of a window", early.checkpoint, early.changes.map(({ id }) => id)],
            ["of a caught up feed", started.checkpoint, started.ids],
            ["beside an open transaction", beside.checkpoint, beside.ids],
            ["of a later state than the dump", future.checkpoint, old]
          ]
          // Before anything is captured here, and afterwards.
          const positions = yield* Effect.forEach(starts, ([label, checkpoint, before]) =>
            Effect.map(drain(copy, { ...(checkpoint === undefined ? {} : { checkpoint }), limit: 70 }), (found) => {
              expect(sorted([...before, ...found.ids]), label).toEqual(old)
              return [label, found.checkpoint] as const
            })
          )
          // Transaction ids come by those of the old cluster again.
          yield* restored.run(
            `do $$ begin
               while pg_current_xact_id()::text::bigint < ${highest - 200} loop commit; end loop;
             end $$`
          )
          const late = yield* sessionIn(second)
          yield* late.run("begin; insert into posts values (7000, 'open here')")
          yield* write(restored, 8000, 300)
          const fresh = (yield* allIds(restored)).map(String).filter((id) => !old.includes(id))
          expect(fresh).toHaveLength(300)
          expect(
            Number(
              yield* restored.value(
                "select count(*) from threadline.audit_transactions a join threadline.audit_transactions b using (xid) where a.epoch < b.epoch"
              )
            )
          ).toBeGreaterThan(50)
          const ends: Array<string> = []
          for (const [label, checkpoint] of positions) {
            const found = yield* drain(copy, { checkpoint, limit: 70 })
            expect(found.ids, label).toEqual(fresh)
            ends.push(found.checkpoint)
          }
          for (const [label, checkpoint, before] of starts) {
            const found = yield* drain(copy, { ...(checkpoint === undefined ? {} : { checkpoint }), limit: 70 })
            expect(sorted([...before, ...found.ids]), label).toEqual(sorted([...old, ...fresh]))
            ends.push(found.checkpoint)
          }
          yield* copy.consume("stored", ({ changes }: Feed.Batch) =>
            Effect.sync(() => handled.push(...changes.map(({ id }) => id)))
          )
          expect(sorted(handled)).toEqual(sorted([...old, ...fresh]))
          // So does a schedule of exports: what was open when the old cluster exported, and what is new.
          const exportingThere = yield* scheduleAt(second.urlOf("app"), restored)
          const secondFile = yield* exportingThere.tick
          expect(secondFile.job).toMatchObject({
            state: "completed",
            manifest: { after: firstFile.job?.manifest?.snapshot }
          })
          expect(sorted([...firstFile.ids, ...secondFile.ids])).toEqual(sorted([...old, ...fresh]))
          expect((yield* exportingThere.tick).ids).toEqual([])
          expect(yield* restored.value("select threadline.feed_horizon()")).toBe(null)

          yield* late.run("commit")
          for (const checkpoint of ends) {
            expect((yield* drain(copy, { checkpoint })).ids).toHaveLength(1)
          }
          expect(yield* restored.value("select threadline.feed_horizon() is not null")).toBe("t")

          // Back on the old cluster, what was read on the new one means nothing.
          expect(yield* Effect.flip(feed.read({ checkpoint: ends[0] }))).toMatchObject({
            _tag: "threadline/InvalidRequest",
            field: "checkpoint"
          })
          // Nor what a schedule has exported there. It says so once a tick, loses nothing, and begins anew when somebody says so.
          const own = yield* storedCheckpoint(db)
          const foreign = yield* storedCheckpoint(restored)
          const position = Either.getOrThrow(checkpoints.decode([], own))
          const ahead = checkpoints.encode([], { ...position, delivered: { end: 2n ** 40n, running: [] } })
          const refusals = [
            [foreign, /checkpoint of the schedule belongs to another database.*consumers forget export:siem/],
            [ahead, /checkpoint of the schedule is ahead of this database.*consumers forget export:siem/]
          ] as const
          for (const [checkpoint, says] of refusals) {
            yield* db.run(
              `update threadline.feed_checkpoints set checkpoint = '${checkpoint}' where name = 'export:siem'`
            )
            for (const _ of [1, 2]) {
              exporting.settled.length = 0
              const refused = yield* exporting.tick
              expect(refused.ran).toMatchObject({ completed: 0, failed: 1, postponed: 0 })
              expect(refused.job).toMatchObject({
                state: "failed",
                attempt: 1,
                file: null,
                error: { reason: "CheckpointRefused" }
              })
              expect(refused.job?.error?.detail).toMatch(says)
              expect(exporting.settled.map(({ id }) => id)).toEqual([refused.job?.id])
              expect(yield* storedCheckpoint(db)).toBe(checkpoint)
            }
          }
          yield* feed.forget("export:siem")
          expect(sorted((yield* exporting.tick).ids)).toEqual(sorted((yield* allIds(db)).map(String)))
          // The old cluster's own feed goes on, also after a restart.
          yield* first.stop()
          yield* first.start
          const again = yield* sessionIn(first)
          yield* write(again, 9000, 3)
          const reconnected = yield* connect(first.urlOf("app"))
          expect((yield* drain(reconnected, { checkpoint: future.checkpoint })).ids).toHaveLength(3)
        }),
      300_000
    )
  })

  describe("the feed of a replica", () => {
    it.scopedLive(
      "delivers what a long transaction leaves out later, in step with its primary",
      () =>
        Effect.gen(function* () {
          const { cluster: primary, db } = yield* source
          yield* write(db, 1, 20)
          const replica = yield* TestCluster.make({ tools: true })
          yield* replica.stop()
          yield* Effect.promise(async () => {
            for (const entry of await readdir(replica.dataDirectory)) {
              await rm(join(replica.dataDirectory, entry), { recursive: true })
            }
          })
          const base = `${primary.dataDirectory}-base`
          yield* primary.run("pg_basebackup", ["-D", base, "-d", primary.urlOf("postgres"), "-R", "-c", "fast"])
          yield* Effect.promise(async () => {
            const user = Installation.serverUser()
            const copyInto = async (from: string, to: string): Promise<void> => {
              for (const entry of await readdir(from, { withFileTypes: true })) {
                const target = join(to, entry.name)
                await (entry.isDirectory() ? mkdir(target, { mode: 0o700 }) : cp(join(from, entry.name), target))
                if (user !== undefined) {
                  await chown(target, user.uid, user.gid)
                }
                if (entry.isDirectory()) {
                  await copyInto(join(from, entry.name), target)
                }
              }
            }
            await copyInto(base, replica.dataDirectory)
          })
          yield* replica.start
          const standby = yield* replicaSession(primary, replica)
          const caughtUp = Effect.gen(function* () {
            const written = yield* db.value("select pg_current_wal_lsn()")
            yield* eventually(
              "the replica has caught up",
              standby.value(`select pg_last_wal_replay_lsn() >= '${written ?? ""}'::pg_lsn`),
              (done) => done === "t"
            )
          })

          const there = yield* connect(urlOfReplica(primary, replica))
          const here = yield* connect(primary.urlOf("app"))
          const before = yield* drain(there)
          expect(before.ids).toHaveLength(20)
          const open = yield* sessionIn(primary)
          yield* open.run("begin; insert into posts values (100, 'open')")
          yield* write(db, 200, 30)
          yield* caughtUp
          expect(yield* standby.value("select pg_is_in_recovery()")).toBe("t")
          // PostgreSQL leaves running transactions out of a replica's snapshot; the feed must not.
          expect(yield* standby.value("select count(*) from pg_snapshot_xip(pg_current_snapshot())")).toBe("0")
          const between = yield* drain(there, { checkpoint: before.checkpoint, limit: 7 })
          expect(between.ids).toHaveLength(30)
          const primaryBetween = yield* drain(here, { checkpoint: before.checkpoint })
          expect(primaryBetween.ids).toEqual(between.ids)
          yield* open.run("commit")
          // The primary is ahead of the replica: nothing is lost, and nothing comes twice.
          const onPrimary = yield* drain(here, { checkpoint: between.checkpoint })
          expect(onPrimary.ids).toHaveLength(1)
          yield* caughtUp
          expect((yield* drain(there, { checkpoint: between.checkpoint })).ids).toEqual(onPrimary.ids)
          expect((yield* drain(there, { checkpoint: primaryBetween.checkpoint })).ids).toEqual(onPrimary.ids)
          expect((yield* drain(there, { checkpoint: onPrimary.checkpoint })).ids).toEqual([])

          // A window that the primary began and the replica does not have yet waits for it.
          yield* standby.run("select pg_wal_replay_pause()")
          yield* write(db, 300, 10)
          const begun = yield* here.read({ checkpoint: onPrimary.checkpoint, limit: 4 })
          expect(begun.changes).toHaveLength(4)
          expect(yield* there.read({ checkpoint: begun.checkpoint })).toMatchObject({ changes: [], caughtUp: true })
          yield* standby.run("select pg_wal_replay_resume()")
          yield* caughtUp
          expect((yield* drain(there, { checkpoint: begun.checkpoint })).ids).toHaveLength(6)

          // Promoted, it goes on under an epoch of its own.
          const last = yield* drain(there, { checkpoint: begun.checkpoint })
          yield* standby.value("select pg_promote()")
          yield* standby.run("checkpoint")
          yield* write(standby, 400, 10)
          const promoted = yield* drain(there, { checkpoint: last.checkpoint })
          expect(promoted.ids).toHaveLength(10)
          expect(yield* standby.value("select count(*) from threadline.installs")).toBe("2")
          expect((yield* drain(there, { checkpoint: promoted.checkpoint })).ids).toEqual([])
          expect((yield* drain(there)).ids).toHaveLength(20 + 30 + 1 + 10 + 10)
        }),
      300_000
    )
  })
}

/** The replica has the primary's password. */
const urlOfReplica = (primary: TestCluster.TestCluster, replica: TestCluster.TestCluster): string => {
  const url = new URL(primary.urlOf("app"))
  url.port = String(replica.port)
  return url.href
}

const replicaSession = (primary: TestCluster.TestCluster, replica: TestCluster.TestCluster) =>
  Effect.map(rawClient(urlOfReplica(primary, replica)), sessionOf)
