/** Purges and maintenance whose process is killed at chosen points: nothing is lost, nothing is half, and the next one goes on. */
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { join } from "node:path"
import * as Cli from "../support/cli.js"
import * as KilledAt from "../support/killedAt.js"
import { scratch } from "../support/scratch.js"

Cli.setup()

const posts = "create table posts (id int primary key, title text)"

/** Changes of two months, each in a transaction of its own with its action. */
const recorded = `
  select threadline.current_epoch(), threadline.ensure_partitions('2026-01-01', '2026-04-30');
  with t as (
    insert into threadline.audit_transactions (xid, epoch, occurred_at, actor_type, actor_id, actor, db_user, backend_pid)
    select '3', (select max(epoch) from threadline.installs), m.month::timestamptz + i * interval '1 minute', 'user', w.id,
      jsonb_build_object('type', 'user', 'id', w.id), 'app', 1
    from unnest(array['2026-01-05', '2026-03-05']) m (month)
    cross join generate_series(1, 30) i
    cross join lateral (select case when m.month > '2026-02' and i = 17 then 'held' else '7' end) w (id)
    returning id, occurred_at
  ), a as (
    insert into threadline.audit_actions (transaction_id, xid, name, status, occurred_at)
    select t.id, '3', 'post.created', 'ok', t.occurred_at from t
  )
  insert into threadline.audit_changes (transaction_id, captured_at, table_schema, table_name, op, row_pk, row_key, data_after)
  select t.id, t.occurred_at, 'public', 'posts', 'insert', jsonb_build_object('id', t.id), t.id::text, jsonb_build_object('id', t.id)
  from t`

const january = "threadline.audit_changes_20260101"
const march = "threadline.audit_changes_20260301"
const strayed = "threadline.audit_changes_default"
const transactions = "threadline.audit_transactions"
const actions = "threadline.audit_actions"

/** What is there, and what runs say that went. */
const counts = `
  select
    (select count(*) from threadline.audit_changes)::int as changes,
    (select count(*) from threadline.audit_transactions)::int as transactions,
    (select count(*) from threadline.audit_actions)::int as actions,
    (select coalesce(sum(r.changes), 0) from threadline.retention_runs r)::int as "changesGone",
    (select coalesce(sum(r.transactions), 0) from threadline.retention_runs r)::int as "transactionsGone",
    (select coalesce(sum(r.actions), 0) from threadline.retention_runs r)::int as "actionsGone",
    (select count(*) from threadline.audit_changes c
     where not exists (select from threadline.audit_transactions t where t.id = c.transaction_id))::int as "withoutTransaction",
    (select count(*) from threadline.audit_changes c
     join threadline.audit_transactions t on t.id = c.transaction_id
     where not exists (select from threadline.audit_actions a where a.transaction_id = t.id))::int as "withoutAction"`

/** As if a minute were over since the process was killed. */
const leaseOver =
  "update threadline.retention_runs set lease_until = now() - interval '1 second' where state = 'running'"

const runs = "threadline.retention_runs"

const purgePoints: ReadonlyArray<KilledAt.Point> = [
  // The first update of a run is of those that died.
  { at: "where an emptied partition is counted", table: runs, before: "update", nth: 2, ends: true },
  { at: "where an empty partition is dropped", command: "DROP TABLE", when: "start", ends: false },
  { at: "at its third batch of changes", table: march, before: "delete", nth: 3, ends: false },
  { at: "where its second batch of changes is counted", table: runs, before: "update", nth: 3, ends: true },
  { at: "at its second batch of transactions", table: transactions, before: "delete", nth: 2, ends: false },
  { at: "at its second batch of actions", table: actions, before: "delete", nth: 2, ends: true }
]

const maintainPoints: ReadonlyArray<KilledAt.Point & { readonly months: number }> = [
  { at: "where it makes partitions", months: 6, command: "ALTER TABLE", when: "end", nth: 4, ends: false },
  { at: "where it counts them", months: 6, table: runs, before: "update", nth: 2, ends: true },
  { at: "where changes leave the default partition", months: 1, table: strayed, before: "delete", ends: true },
  { at: "where their partition joins", months: 1, command: "ALTER TABLE", when: "start", ends: false },
  { at: "where it analyses", months: 1, lock: `lock ${march} in share update exclusive mode`, ends: true },
  { at: "where it rebuilds an index", months: 1, lock: `lock ${march} in row exclusive mode`, ends: true }
]

describe("a process that is killed", () => {
  it.scopedLive("while it purges leaves no change without its transaction, and no count that is wrong", () =>
    Effect.gen(function* () {
      const host = yield* Cli.makeHost(posts, "posts")
      const { query, url } = host
      yield* query(recorded)
      const cwd = yield* scratch({
        "threadline.config.json": JSON.stringify({
          retention: { keep: "30 days", holds: [{ actor: { type: "user", id: "held" }, reason: "case 17" }] }
        })
      })
      const config = join(cwd, "threadline.config.json")
      const args = ["retention", "purge", "--yes", "--batch-size", "5", "--pause", "0", "--config", config]
      const { killedAt } = yield* KilledAt.make(host)
      for (const point of purgePoints) {
        yield* killedAt(point, args)
        if (point === purgePoints[0]) {
          // Until its lease is over it may live; then the next one says that it died, and goes on.
          expect(yield* Cli.run(args, { url })).toEqual(Cli.refusal(1, /is under way; if its process has died/))
        }
        const [found] = yield* query(counts)
        expect([
          point.at,
          found.withoutTransaction,
          found.withoutAction,
          found.changes + found.changesGone,
          found.transactions + found.transactionsGone,
          found.actions + found.actionsGone
        ]).toEqual([point.at, 0, 0, 60, 60, 60])
        yield* query(leaseOver)
      }
      expect(yield* Cli.json(args, { url })).toMatchObject({ state: "completed" })
      expect(yield* query(counts)).toEqual([
        {
          changes: 1,
          transactions: 1,
          actions: 1,
          changesGone: 59,
          transactionsGone: 59,
          actionsGone: 59,
          withoutTransaction: 0,
          withoutAction: 0
        }
      ])
      expect(
        yield* query("select state, problem, count(*)::int from threadline.retention_runs group by 1, 2 order by 1")
      ).toEqual([
        { state: "completed", problem: null, count: 1 },
        { state: "failed", problem: "its process ended without saying so", count: purgePoints.length }
      ])
      expect(yield* query(`select to_regclass('${january}')::text as leaf`)).toEqual([{ leaf: null }])
    })
  )

  it.scopedLive("while it maintains loses no change, and what it left unfinished is finished by the next one", () =>
    Effect.gen(function* () {
      const host = yield* Cli.makeHost(posts, "posts")
      const { query, url } = host
      yield* query(recorded)
      // Three changes for which there is no partition, and a partition whose indexes are half empty.
      yield* query(`
        insert into threadline.audit_changes (transaction_id, captured_at, table_schema, table_name, op)
          select 1, '2025-07-07', 'public', 'posts', 'insert' from generate_series(1, 3);
        insert into threadline.audit_changes (transaction_id, captured_at, table_schema, table_name, op, row_key)
          select 1, '2026-03-09', 'public', 'posts', 'insert', md5(i::text) from generate_series(1, 8000) i;
        delete from threadline.audit_changes where captured_at = '2026-03-09' and id % 4 <> 0`)
      yield* query(`vacuum ${march}`)
      const content = `
        select count(*)::int as changes, count(distinct c.id)::int as ids, md5(string_agg(c::text, '|' order by c.id)) as sum
        from threadline.audit_changes c
        where c.captured_at < '2026-04-01'`
      const before = yield* query(content)
      const { killedAt } = yield* KilledAt.make(host)
      for (const [index, { months, ...point }] of maintainPoints.entries()) {
        const args = ["retention", "maintain", "--months", String(months)]
        yield* killedAt(point, args)
        expect([point.at, yield* query(content)]).toEqual([point.at, before])
        yield* query(`insert into posts values (${index}, 'a')`)
        if (index === 0) {
          expect(yield* Cli.run(args, { url })).toEqual(Cli.refusal(1, /is under way; if its process has died/))
        }
        yield* query(leaseOver)
      }
      const unfinished = `
        select x.indexrelid::regclass::text as name from pg_index x
        join pg_class c on c.oid = x.indrelid
        where c.relnamespace = 'threadline'::regnamespace and not x.indisvalid`
      expect(yield* query(unfinished)).not.toEqual([])
      const last = yield* Cli.json(["retention", "maintain", "--months", "6"], { url })
      expect(last).toMatchObject({ state: "completed", details: { waiting: [] } })
      expect(yield* query(unfinished)).toEqual([])
      expect(yield* query(content)).toEqual(before)
      expect(yield* query(`select from ${strayed}`)).toEqual([])
      expect(
        yield* query("select count(*)::int as n from threadline.audit_changes where captured_at > '2026-04-01'")
      ).toEqual([{ n: maintainPoints.length }])
      expect(yield* query("select state, count(*)::int from threadline.retention_runs group by 1 order by 1")).toEqual([
        { state: "completed", count: 1 },
        { state: "failed", count: maintainPoints.length }
      ])
    })
  )
})
