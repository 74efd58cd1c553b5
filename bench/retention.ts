/** Purges: how long a whole partition takes with few and with many changes, and what audited writes notice of batches. */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { fork } from "node:child_process"
import { once } from "node:events"
import { setTimeout as sleep } from "node:timers/promises"
import pg from "pg"
import * as Capture from "../src/Capture.js"
import * as Migrations from "../src/Migrations.js"
import * as Retention from "../src/Retention.js"
import { count, options, text } from "./options.js"
import { cpuOf, database } from "./server.js"

const {
  batch: batchSize,
  few,
  many,
  rounds
} = options("How long a purge takes, and what audited writes notice of it.", {
  many: count("changes of a large partition", 1_000_000),
  few: count("changes of a small one", 10_000),
  rounds: count("purges of each", 6),
  batch: text("changes of a batch; what a purge takes by itself, by default", "N")
})

const percentile = (samples: ReadonlyArray<number>, share: number): number =>
  [...samples].sort((a, b) => a - b)[Math.min(samples.length - 1, Math.floor(samples.length * share))] ?? Number.NaN

/** Changes of one month, several to a transaction. */
const fill = (client: pg.Client, month: string, count: number): Promise<unknown> =>
  client.query(
    `with t as (
      insert into threadline.audit_transactions (xid, epoch, occurred_at, actor_type, actor_id, actor, db_user, backend_pid)
      select '3', (select max(epoch) from threadline.installs), $1::timestamptz + i * interval '28 days' / ($2::int / 5), 'user', 'u' || i % 100,
        jsonb_build_object('type', 'user', 'id', 'u' || i % 100), 'bench', 1
      from generate_series(1, $2::int / 5) i
      returning id, occurred_at
    )
    insert into threadline.audit_changes (transaction_id, captured_at, table_schema, table_name, op, row_pk, row_key, changed_fields, changed_from, data_after)
    select t.id, t.occurred_at, 'public', 'bench_rows', 'update', jsonb_build_object('id', md5(t.id::text)), md5(t.id::text), '{title}',
      '{"title": "before"}', jsonb_build_object('id', md5(t.id::text), 'title', repeat('x', 200))
    from t cross join generate_series(1, 5) k`,
    [month, count]
  )

/**
 * Writers in a process of their own: what the purge does in this one must not count as waiting for the database. Gives what makes them write
 * as long as something else works, and then gives the milliseconds of each write.
 */
const writersOf = (url: string) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(async () => {
        const child = fork(new URL("retentionWriters.ts", import.meta.url), [url], { execArgv: ["--import", "tsx"] })
        await once(child, "message")
        return child
      }),
      (child) => Effect.sync(() => child.kill())
    ),
    (child) =>
      async (isOver: () => boolean): Promise<ReadonlyArray<number>> => {
        child.send("begin")
        while (!isOver()) {
          await sleep(5)
        }
        child.send("end")
        const [samples] = (await once(child, "message")) as [ReadonlyArray<number>]
        return samples
      }
  )

const purger = "threadline-purge"

/** What others see of a purge of a whole partition, in milliseconds. */
interface Seen {
  /** How long it held the lock of the partition, and how long its COMMIT went on after that. */
  readonly locked: number
  readonly committing: number
  /** The slowest read of the partition, and the slowest audited write. */
  readonly read: number
  readonly written: number
}

/** Looks again and again, inside of the server: who has the lock, until when, and until when the COMMIT after it is under way. */
const watched = `
  create function pg_temp.watched(leaf oid, purger text, out locked float8, out committing float8) language plpgsql as $$
  declare
    holder int;
    began timestamptz;
    released timestamptz;
  begin
    while holder is null and clock_timestamp() < now() + interval '5 minutes' loop
      holder := (
        select l.pid from pg_locks l where l.relation = leaf and l.mode = 'AccessExclusiveLock' and l.granted limit 1
      );
    end loop;
    began := clock_timestamp();
    while exists (select from pg_locks l where l.relation = leaf and l.pid = holder and l.granted) loop
    end loop;
    released := clock_timestamp();
    loop
      perform pg_stat_clear_snapshot();
      exit when not exists (
        select from pg_stat_activity a where a.pid = holder and a.state = 'active' and a.query = 'commit'
      );
    end loop;
    locked := 1000 * extract(epoch from released - began);
    committing := 1000 * extract(epoch from clock_timestamp() - released);
  end $$`

/** Watches a purge from three other sessions, as long as it works. */
const watching = async (url: string, leaf: string, month: string, isOver: () => boolean): Promise<Seen> => {
  const slowest = async (statement: (client: pg.Client, n: number) => Promise<unknown>): Promise<number> => {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    let most = 0
    for (let i = 0; !isOver(); i++) {
      const began = performance.now()
      await statement(client, i)
      most = Math.max(most, performance.now() - began)
    }
    await client.end()
    return most
  }
  const timed = async () => {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    await client.query(watched)
    const { rows } = await client.query<{ readonly locked: number; readonly committing: number }>(
      "select locked, committing from pg_temp.watched(to_regclass($1), $2)",
      [leaf, purger]
    )
    await client.end()
    return rows[0]
  }
  const [times, read, written] = await Promise.all([
    timed(),
    slowest((client) =>
      client.query(
        "select from threadline.audit_changes where captured_at between $1::timestamptz and $1::timestamptz + interval '20 days' limit 1",
        [month]
      )
    ),
    slowest((client, n) => client.query(`insert into bench_rows values ('${month}-${n}-${Math.random()}', 'x')`))
  ])
  return { locked: times?.locked ?? Number.NaN, committing: times?.committing ?? Number.NaN, read, written }
}

/** Milliseconds of CPU that the sessions of the purge have had; 0 if the server is on another machine. */
const cpuOfPurger = async (client: pg.Client): Promise<number> => {
  const { rows } = await client.query<{ readonly pid: number }>(
    "select pid from pg_stat_activity where application_name = $1 and datname = current_database()",
    [purger]
  )
  return rows.reduce((sum, { pid }) => sum + (cpuOf(String(pid)) ?? 0), 0) / 1000
}

const measure = Effect.gen(function* () {
  const { url, version } = yield* database
  const clients = PgClient.layer({ url: Redacted.make(url), maxConnections: 3, applicationName: purger })
  yield* Effect.provide(Migrations.run(), clients)
  const client = yield* Effect.acquireRelease(
    Effect.promise(async () => {
      const opened = new pg.Client({ connectionString: url })
      await opened.connect()
      return opened
    }),
    (opened) => Effect.promise(() => opened.end())
  )
  yield* Effect.promise(async () => {
    await client.query("create table bench_rows (id text primary key, title text)")
    await client.query(
      "select set_config('role', pg_get_userbyid(nspowner), false), threadline.ensure_partitions('2026-01-01', '2026-03-31') from pg_namespace where nspname = 'threadline'"
    )
    await client.query("reset role; select threadline.current_epoch()")
    await fill(client, "2026-01-01", few)
    await fill(client, "2026-02-01", many)
    await fill(client, "2026-03-01", Math.min(many, 100_000))
    await client.query("vacuum analyze threadline.audit_changes, threadline.audit_transactions")
  })
  const live = Layer.provide(Layer.merge(Capture.layer, Retention.layer), clients)
  yield* Effect.gen(function* () {
    console.log(`PostgreSQL ${version}`)
    yield* Capture.apply([{ table: "bench_rows" }])
    // Only the first batch is the partition: its transactions would follow in batches.
    for (const [label, month, before, count] of [
      ["few", "2026-01-01", "2026-02-01", few],
      ["many", "2026-02-01", "2026-03-01", many]
    ] as const) {
      const counting = performance.now()
      const plan = yield* Retention.plan({ keep: "30 days" }, { before })
      const counted = performance.now() - counting
      let isOver = false
      const purged = Effect.gen(function* () {
        // The other sessions are at work.
        yield* Effect.sleep("500 millis")
        const started = performance.now()
        yield* Retention.purge(plan, { maxBatches: 1, pause: 1 })
        return performance.now() - started
      }).pipe(
        Effect.ensuring(
          Effect.sync(() => {
            isOver = true
          })
        )
      )
      const leaf = `threadline.audit_changes_${month.replaceAll("-", "")}`
      const [took, seen] = yield* Effect.all([purged, Effect.promise(() => watching(url, leaf, month, () => isOver))], {
        concurrency: "unbounded"
      })
      console.log(
        `${label.padEnd(5)} ${String(count).padStart(9)} changes: partition gone in ${took.toFixed(0)} ms (the plan counted for ${counted.toFixed(0)} ms)`
      )
      console.log(
        `      its lock was held for ${seen.locked.toFixed(1)} ms, and COMMIT went on for ${seen.committing.toFixed(1)} ms after that; the slowest read of it took ${seen.read.toFixed(1)} ms, the slowest write ${seen.written.toFixed(1)} ms`
      )
    }
    const writing = yield* writersOf(url)
    const policy = { keep: "30 days", holds: [{ actor: { type: "user", id: "u1" }, reason: "batches" }] } as const
    const size = batchSize === undefined ? {} : { batchSize: Number(batchSize) }
    let alone: ReadonlyArray<number> = []
    let beside: ReadonlyArray<number> = []
    const removed = { changes: 0, batches: 0, millis: 0, cpu: 0 }
    // In turns, so that both have the same machine.
    for (let round = 0; round < rounds; round++) {
      alone = alone.concat(
        yield* Effect.promise(() => {
          const end = performance.now() + 1500
          return writing(() => performance.now() > end)
        })
      )
      const plan = yield* Retention.plan(policy, { before: "2026-04-01" })
      let isOver = false
      const purged = Effect.ensuring(
        Retention.purge(plan, { maxBatches: 15, ...size }),
        Effect.sync(() => {
          isOver = true
        })
      )
      const before = yield* Effect.promise(() => cpuOfPurger(client))
      const [samples, run] = yield* Effect.all([Effect.promise(() => writing(() => isOver)), purged], {
        concurrency: "unbounded"
      })
      beside = beside.concat(samples)
      removed.cpu += (yield* Effect.promise(() => cpuOfPurger(client))) - before
      removed.changes += run.changes
      removed.batches += run.batches
      removed.millis += run.durationMillis ?? 0
    }
    console.log(
      `${removed.batches} batches removed ${removed.changes} changes in ${removed.millis} ms; the CPU of their sessions was ${removed.cpu.toFixed(0)} ms, ${((removed.cpu * 1000) / removed.changes).toFixed(1)} microseconds a change`
    )
    for (const [label, samples] of [
      ["writes alone", alone],
      ["beside batches", beside]
    ] as const) {
      console.log(
        `${label.padEnd(15)} ${String(samples.length).padStart(6)} writes: median ${percentile(samples, 0.5).toFixed(2)} ms, p99 ${percentile(samples, 0.99).toFixed(2)} ms`
      )
    }
    console.log(
      `p99 beside batches is ${(percentile(beside, 0.99) / percentile(alone, 0.99)).toFixed(2)} times that without`
    )
  }).pipe(Effect.provide(live))
})

await Effect.runPromise(Effect.scoped(measure))
