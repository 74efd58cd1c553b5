/** The feed under many writers at once, of a primary and of a replica that lags. */
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type * as Feed from "../../src/Feed.js"
import { connect } from "../support/feed.js"
import * as Standby from "../harness/standby.js"
import * as TestCluster from "../harness/TestCluster.js"
import type { Session } from "../support/adversarial.js"
import { seed } from "../support/runs.js"
import { makeApp, sessionIn } from "../support/server.js"

const writers = 16
const transactionsEach = 12
const rows = 24

const between = (min: number, max: number) => Random.nextIntBetween(min, max + 1)

const chance = (percent: number) => Effect.map(Random.nextIntBetween(0, 100), (drawn) => drawn < percent)

const tables = ["items", "others"] as const

// Nobody waits for a lock: who has the row writes it.
const change = Effect.gen(function* () {
  const table = tables[yield* between(0, 1)] ?? "items"
  const row = yield* between(1, rows)
  return `update ${table} set v = v + 1 where id in (select id from ${table} where id = ${row} for update skip locked)`
})

/** More subtransactions than a snapshot has room for, every third of them rolled back. */
const subtransactions = (row: number) => `do $$ begin
  for n in 1..80 loop
    begin
      update items set v = v + 1 where id in (select id from items where id = (${row} + n) % ${rows} + 1 for update skip locked);
      if n % 3 = 0 then
        raise exception 'taken back';
      end if;
    exception when raise_exception then
      null;
    end;
  end loop;
end $$`

const transaction = Effect.fnUntraced(function* (db: Session) {
  yield* db.run((yield* chance(30)) ? "begin; select pg_current_xact_id()" : "begin")
  if (yield* chance(15)) {
    yield* db.run(subtransactions(yield* between(1, rows)))
  }
  const steps = yield* between(1, (yield* chance(10)) ? 60 : 6)
  for (let step = 0; step < steps; step++) {
    const kind = yield* between(0, 9)
    if (kind === 0) {
      yield* db.run(`savepoint s; ${yield* change}; ${yield* change}; rollback to s`)
    } else if (kind === 1) {
      yield* db.run(`savepoint s; ${yield* change}; release s`)
    } else if (kind === 2) {
      yield* db.run(`select threadline.set_context('{"actor":{"type":"user","id":"${step}"}}')`)
    } else {
      yield* db.run(yield* change)
    }
  }
  yield* db.run((yield* chance(25)) ? "rollback" : "commit")
})

interface State {
  readonly checkpoint: string | undefined
  readonly seen: ReadonlyArray<Seen>
}

interface Seen {
  readonly id: number
  readonly row: string
  readonly transaction: string
  readonly v: unknown
}

const step = Effect.fnUntraced(function* (feed: Feed.Service, { checkpoint, seen }: State, limit: number) {
  const batch = yield* feed.read({ checkpoint, limit })
  const added = batch.changes.map((change) => ({
    id: Number(change.id),
    row: `${change.tableName} ${change.rowKey ?? ""}`,
    transaction: change.transactionId,
    v: change.dataAfter?.["v"]
  }))
  return { caughtUp: batch.caughtUp, state: { checkpoint: batch.checkpoint, seen: [...seen, ...added] } }
})

const storm = Effect.gen(function* () {
  const cluster = yield* TestCluster.make({ settings: { wal_keep_size: "256MB" } })
  const db = yield* makeApp(
    cluster,
    tables.map((table) => `create table ${table} (id int primary key, v int not null)`),
    tables
  )
  yield* db.run(
    `insert into items select n, 0 from generate_series(1, ${rows}) n; insert into others select n, 0 from generate_series(1, ${rows}) n`
  )
  const standby = yield* Standby.make(cluster)
  const lagging = yield* sessionIn(standby)
  const primary = yield* connect(cluster.urlOf("app"))
  const replica = yield* connect(standby.urlOf("app"))

  let working = writers
  const writer = Effect.gen(function* () {
    const own = yield* sessionIn(cluster)
    yield* Effect.repeatN(transaction(own), transactionsEach - 1)
    working--
  })
  // Reads on, here or there, and goes back to a checkpoint that it had, as a process does that was started anew.
  const reader = Effect.fnUntraced(function* (feeds: ReadonlyArray<Feed.Service>) {
    let states: ReadonlyArray<State> = [{ checkpoint: undefined, seen: [] }]
    while (working > 0) {
      const from = states[(yield* chance(20)) ? yield* between(0, states.length - 1) : states.length - 1]
      const feed = feeds[yield* between(0, feeds.length - 1)]
      if (from !== undefined && feed !== undefined) {
        const { state } = yield* step(feed, from, (yield* chance(50)) ? yield* between(1, 5) : yield* between(20, 400))
        states = [...states.slice(-40), state]
      }
    }
    return [states[0], states[Math.floor(states.length / 2)], states.at(-1)]
  })
  const lag = Effect.gen(function* () {
    while (working > 0) {
      yield* lagging.run(
        (yield* chance(50)) ? "select pg_wal_replay_pause()" : "select pg_wal_replay_resume()",
        "select txid_current_snapshot()"
      )
      yield* replica.read({ from: "now" })
    }
    yield* lagging.run("select pg_wal_replay_resume()")
  })
  const [found] = yield* Effect.all(
    [
      Effect.all([reader([primary]), reader([primary]), reader([replica]), reader([primary, replica])], {
        concurrency: "unbounded"
      }),
      Effect.all(
        Array.from({ length: writers }, () => writer),
        { concurrency: "unbounded" }
      ),
      lag
    ],
    { concurrency: "unbounded" }
  )
  yield* standby.caughtUp

  const committed = (yield* db.column("select id from threadline.audit_changes order by id")).map(Number)
  const table = yield* db.column(
    "select format('items %s %s', id, v) from items union all select format('others %s %s', id, v) from others order by 1"
  )
  expect(committed.length).toBeGreaterThan(writers * transactionsEach)
  for (const feed of [primary, replica]) {
    for (const start of found.flat()) {
      let state = start ?? { checkpoint: undefined, seen: [] }
      for (let caughtUp = false; !caughtUp;) {
        const next = yield* step(feed, state, 500)
        caughtUp = next.caughtUp
        state = next.state
      }
      expect(state.seen.map(({ id }) => id).sort((a, b) => a - b)).toEqual(committed)
      for (const of of ["row", "transaction"] as const) {
        const last = new Map<string, number>()
        for (const seenChange of state.seen) {
          expect(seenChange.id, `${of} ${seenChange[of]}`).toBeGreaterThan(last.get(seenChange[of]) ?? 0)
          last.set(seenChange[of], seenChange.id)
        }
      }
      // Whoever applies what arrives has the tables.
      const applied = new Map(state.seen.map(({ row, v }) => [row, v]))
      expect([...applied].map(([row, v]) => `${row} ${String(v)}`).sort()).toEqual([...table].sort())
    }
  }
})

describe("the feed under many writers", () => {
  it.scopedLive(
    "is complete, without repeats and in order, from every checkpoint, on the primary and on a replica that lags",
    () => storm.pipe(Effect.withRandom(Random.make(seed))),
    300_000
  )
})
