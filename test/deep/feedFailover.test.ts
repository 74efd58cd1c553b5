/** The feed over a promotion, a restart, and transactions that were prepared before either. */
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { connect, drain } from "../support/feed.js"
import * as Standby from "../harness/standby.js"
import * as TestCluster from "../harness/TestCluster.js"
import type { Session } from "../support/adversarial.js"
import { makeApp, sessionIn } from "../support/server.js"
import { eventually } from "../support/until.js"

/** A server with a captured table in the database `app`. A checkpoint takes its time there, as on a busy server. */
const primaryCluster = Effect.gen(function* () {
  const cluster = yield* TestCluster.make({
    settings: { checkpoint_timeout: "1h", checkpoint_completion_target: "0.9", wal_keep_size: "256MB" }
  })
  const db = yield* makeApp(cluster, ["create table posts (id int primary key, title text)"], ["posts"])
  return { cluster, db }
})

let serial = 0

/** So many transactions of one post each; the ids of their changes. */
const write = (db: Session, count: number) =>
  Effect.forEach(Array.from({ length: count }), () => {
    const id = ++serial
    return Effect.zipRight(
      db.run(`insert into posts values (${id}, 'written')`),
      Effect.map(
        db.value(`select id from threadline.audit_changes where row_key = '${id}' order by id desc`),
        (change) => change ?? ""
      )
    )
  })

const changeOf = (db: Session, post: number) =>
  Effect.map(db.value(`select id from threadline.audit_changes where row_key = '${post}'`), (id) => id ?? "")

/** A post in a transaction that is prepared; its session is gone. */
const prepare = (cluster: TestCluster.TestCluster, name: string, post: number) =>
  Effect.scoped(
    Effect.flatMap(sessionIn(cluster), (db) =>
      db.run(`begin; insert into posts values (${post}, '${name}'); prepare transaction '${name}'`)
    )
  )

const promote = (standby: Session) =>
  Effect.zipRight(
    standby.run("select pg_promote(false)"),
    eventually(
      "the standby is promoted",
      standby.value("select pg_is_in_recovery()"),
      (recovering) => recovering === "f"
    )
  )

describe("the feed over a promotion", () => {
  it.scopedLive(
    "goes on from every checkpoint, while the old primary gives out the same transaction ids",
    () =>
      Effect.gen(function* () {
        const { cluster, db } = yield* primaryCluster
        const old = yield* connect(cluster.urlOf("app"))
        const shared = yield* write(db, 5)
        const standby = yield* Standby.make(cluster)
        const there = yield* sessionIn(standby)
        const feed = yield* connect(standby.urlOf("app"))
        const early = yield* drain(old)
        const lost = yield* sessionIn(cluster)
        yield* lost.run("begin; insert into posts values (100000, 'lost')")
        shared.push(...(yield* write(db, 5)))
        yield* standby.caughtUp
        const atSplit = yield* drain(old)
        const atSplitThere = yield* drain(feed)
        expect(atSplitThere.ids).toEqual(shared)

        yield* promote(there)
        const fresh = yield* write(there, 3)
        // What is not taken from the control file: it is behind until a checkpoint has ended.
        expect(yield* there.value("select timeline_id from pg_control_checkpoint()")).toBe("1")
        expect(yield* there.column("select timeline from threadline.installs order by epoch")).toEqual(["1", "2"])
        // The old primary goes on, and takes the same ids for other transactions.
        yield* lost.run("commit")
        yield* write(db, 20)
        const beyond = yield* drain(old)

        const starts: ReadonlyArray<readonly [label: string, checkpoint: string, ids: ReadonlyArray<string>]> = [
          ["before the standby", early.checkpoint, [...shared.slice(5), ...fresh]],
          ["when it was promoted", atSplit.checkpoint, fresh],
          ["of the standby itself", atSplitThere.checkpoint, fresh],
          ["of a later state of the old primary", beyond.checkpoint, fresh]
        ]
        const ends = yield* Effect.forEach(starts, ([label, checkpoint, ids]) =>
          Effect.map(drain(feed, { checkpoint, limit: 2 }), (found) => {
            expect(found.ids, label).toEqual(ids)
            return [label, found.checkpoint] as const
          })
        )
        yield* there.run("checkpoint")
        const later = yield* write(there, 30)
        for (const [label, checkpoint] of ends) {
          expect((yield* drain(feed, { checkpoint, limit: 7 })).ids, label).toEqual(later)
        }
        expect((yield* drain(feed)).ids).toEqual([...shared, ...fresh, ...later])
        expect(yield* there.value("select count(*) from threadline.installs")).toBe("2")
        // And back on the old one they mean nothing.
        expect(yield* Effect.flip(old.read({ checkpoint: ends[0]?.[1] }))).toMatchObject({ field: "checkpoint" })
      }),
    300_000
  )

  it.scopedLive(
    "waits for what was prepared before it, and skips none of it",
    () =>
      Effect.gen(function* () {
        const { cluster, db } = yield* primaryCluster
        const old = yield* connect(cluster.urlOf("app"))
        const before = yield* write(db, 3)
        const standby = yield* Standby.make(cluster)
        const further = yield* Standby.make(cluster)
        yield* prepare(cluster, "kept", 100_001)
        yield* prepare(cluster, "forsaken", 100_002)
        yield* prepare(cluster, "late", 100_003)
        before.push(...(yield* write(db, 3)))
        const atSplit = yield* drain(old)
        yield* standby.caughtUp
        yield* further.caughtUp
        const ofReplica = yield* drain(yield* connect(further.urlOf("app")))
        expect(ofReplica.ids).toEqual(before)

        const there = yield* sessionIn(standby)
        const feed = yield* connect(standby.urlOf("app"))
        yield* promote(there)
        // Before anything is captured here, what is prepared may yet be of the epoch before.
        expect(yield* Effect.flip(feed.read({ from: "now" }))).toMatchObject({ reason: "Failed" })
        const none = yield* drain(feed)
        expect(none.ids).toEqual(before)
        const fresh = yield* write(there, 3)
        expect(yield* there.value("select cardinality(prepared) from threadline.installs where epoch = 2")).toBe("3")
        // What is prepared here is of this epoch, and holds nothing back.
        yield* there.run("begin; insert into posts values (100004, 'prepared here'); prepare transaction 'fresh'")
        const starts = [
          ["from the beginning", undefined, []],
          ["of the old primary", atSplit.checkpoint, before],
          ["of another replica", ofReplica.checkpoint, before],
          ["of the new primary", none.checkpoint, before]
        ] as const
        const waiting = yield* Effect.forEach(starts, ([label, checkpoint, has]) =>
          Effect.map(drain(feed, { checkpoint, limit: 2 }), ({ checkpoint, ids }) => {
            expect([...has, ...ids], label).toEqual(before)
            return [label, checkpoint] as const
          })
        )
        yield* there.run("rollback prepared 'forsaken'", "commit prepared 'kept'")
        const keptChange = yield* changeOf(there, 100_001)
        // A restart in between: the timeline stays, and so do the prepared transactions.
        yield* standby.cluster.stop()
        yield* standby.cluster.start
        const again = yield* sessionIn(standby)
        const reopened = yield* connect(standby.urlOf("app"))
        const half = yield* Effect.forEach(waiting, ([label, checkpoint]) =>
          Effect.map(drain(reopened, { checkpoint }), (found) => {
            expect(found.ids, label).toEqual([keptChange])
            return [label, found.checkpoint] as const
          })
        )
        expect(yield* Effect.flip(reopened.read({ from: "now" }))).toMatchObject({ reason: "Failed" })
        yield* again.run("commit prepared 'late'")
        fresh.push(...(yield* write(again, 2)))
        const late = yield* changeOf(again, 100_003)
        const ends = yield* Effect.forEach(half, ([label, checkpoint]) =>
          Effect.map(drain(reopened, { checkpoint, limit: 1 }), (found) => {
            expect(found.ids, label).toEqual([late, ...fresh])
            return found.checkpoint
          })
        )
        const { checkpoint: now } = yield* reopened.read({ from: "now" })
        yield* again.run("commit prepared 'fresh'")
        const last = yield* changeOf(again, 100_004)
        for (const checkpoint of [...ends, now]) {
          expect((yield* drain(reopened, { checkpoint })).ids).toEqual([last])
        }
        expect(yield* again.value("select count(*) from threadline.installs")).toBe("2")
      }),
    300_000
  )
})

describe("the feed over a restart", () => {
  it.scopedLive(
    "delivers what was prepared before it once, whenever that is committed",
    () =>
      Effect.gen(function* () {
        const { cluster, db } = yield* primaryCluster
        // The very first transaction that captures something, so that it holds the epoch open as well.
        yield* prepare(cluster, "first", 100_001)
        const written = yield* write(db, 2)
        yield* prepare(cluster, "second", 100_002)
        written.push(...(yield* write(db, 2)))
        const early = yield* drain(yield* connect(cluster.urlOf("app")))
        expect(early.ids).toEqual(written)
        for (const mode of ["fast", "immediate"] as const) {
          yield* cluster.stop(mode)
          yield* cluster.start
          const restarted = yield* sessionIn(cluster)
          const more = yield* write(restarted, 2)
          const feed = yield* connect(cluster.urlOf("app"))
          expect((yield* drain(feed, { checkpoint: early.checkpoint })).ids).toEqual([...written.slice(4), ...more])
          written.push(...more)
        }
        const end = yield* sessionIn(cluster)
        const feed = yield* connect(cluster.urlOf("app"))
        const beside = yield* drain(feed, { checkpoint: early.checkpoint })
        const { checkpoint: now } = yield* feed.read({ from: "now" })
        yield* end.run("commit prepared 'second'")
        const second = yield* changeOf(end, 100_002)
        const between = yield* drain(feed, { checkpoint: beside.checkpoint })
        expect(between.ids).toEqual([second])
        yield* end.run("commit prepared 'first'")
        const first = yield* changeOf(end, 100_001)
        expect((yield* drain(feed, { checkpoint: between.checkpoint })).ids).toEqual([first])
        for (const { checkpoint } of [beside, { checkpoint: now }]) {
          expect((yield* drain(feed, { checkpoint, limit: 1 })).ids).toEqual([first, second])
        }
        expect((yield* drain(feed)).ids).toHaveLength(written.length + 2)
        yield* write(end, 1)
        expect(yield* end.value("select count(*) from threadline.installs")).toBe("1")
      }),
    300_000
  )
})
