/** How many changes a second the feed delivers, server and decoding together. */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as Feed from "../src/Feed.js"
import * as Migrations from "../src/Migrations.js"
import { count, options } from "./options.js"
import { database, Session } from "./server.js"

const perTransaction = 5
const { changes: total } = options("How many changes a second the feed delivers, server and decoding together.", {
  changes: count("changes of the log", 500_000, 10_000)
})
const transactions = Math.ceil(total / perTransaction)

// Real transaction ids, so that windows are those of a log that was written here; one in fifty runs beside hundreds of others.
const history = [
  `do $$ begin for i in 1..${transactions + 1000} loop perform pg_current_xact_id(); commit; end loop; end $$`,
  `set role threadline_owner`,
  `set search_path = threadline`,
  `select ensure_partitions(now() - interval '5 months', now())`,
  `insert into installs select 1, s.system_identifier, c.timeline_id, pg_postmaster_start_time()
   from pg_control_system() s, pg_control_checkpoint() c`,
  `insert into audit_transactions (xid, epoch, occurred_at, actor_type, actor_id, actor, correlation_id, db_user, backend_pid)
   select (pg_current_xact_id()::text::bigint - ${transactions + 100} + n)::text::xid8, 1,
     now() - interval '4 months' + interval '4 months' * n / ${transactions},
     'user', n % 5000, jsonb_build_object('type', 'user', 'id', (n % 5000)::text), 'req-' || n, 'app', 1
   from generate_series(1, ${transactions}) n`,
  `insert into audit_changes (transaction_id, captured_at, table_schema, table_name, op, row_pk, row_key, changed_fields, changed_from, data_after)
   select n.id, now() - interval '4 months' + interval '4 months' * n.id / ${transactions} + k * interval '1 ms',
     'public', case when k < 3 then 'invoices' else 'lines' end, case when k = 1 then 'insert' else 'update' end,
     jsonb_build_object('id', (n.id * 7 + k)::text), (n.id * 7 + k)::text,
     case when k > 1 then array['total', 'updated_at'] end,
     case when k > 1 then jsonb_build_object('total', 99.50 + k, 'updated_at', '2026-01-01T10:00:00+00:00') end,
     jsonb_build_object('id', n.id * 7 + k, 'total', 100.50 + k, 'updated_at', '2026-01-02T10:00:00+00:00', 'state', 'open',
       'customer', 'customer number ' || n.id % 977, 'note', repeat('n', 120), 'paid', false, 'lines', k)
   from (
     select t as id, k, t + case when t % 50 = 0 then k * 60 else 0 end as place
     from generate_series(1, ${transactions}) t, generate_series(1, ${perTransaction}) k
   ) n
   order by n.place, n.id, k`,
  `reset role`,
  `vacuum analyze threadline.audit_transactions`,
  `vacuum analyze threadline.audit_changes`
]

const measure = (feed: Feed.Service, label: string, options: Feed.StreamOptions) =>
  Effect.gen(function* () {
    const started = performance.now()
    const cpu = process.cpuUsage()
    let last = 0n
    let inOrder = true
    const count = yield* feed.stream(options).pipe(
      Stream.runFold(0, (sum, batch) => {
        for (const { id } of batch.changes) {
          inOrder &&= BigInt(id) > last
          last = BigInt(id)
        }
        return sum + batch.changes.length
      })
    )
    const seconds = (performance.now() - started) / 1000
    const { user } = process.cpuUsage(cpu)
    console.log(
      `${label}: ${count} changes in ${seconds.toFixed(1)} s, ${Math.round(count / seconds)} a second; ` +
        `${((user / 1000 / count) * 1000).toFixed(1)} us of this process each; ${inOrder ? "in order" : "OUT OF ORDER"}; ` +
        `${Math.round(process.memoryUsage().rss / 2 ** 20)} MB`
    )
  })

const bench = Effect.gen(function* () {
  const { url, version } = yield* database
  const session = yield* Effect.acquireRelease(
    Effect.promise(() => Session.open(url)),
    (open) => Effect.promise(() => open.close())
  )
  const client = PgClient.layer({ url: Redacted.make(url), maxConnections: 2 })
  yield* Effect.provide(Migrations.run(), client)
  yield* Effect.promise(() => session.run(...history))
  console.log(`PostgreSQL ${version}, ${transactions * perTransaction} changes in ${transactions} transactions`)
  yield* Effect.gen(function* () {
    const feed = yield* Feed.Feed
    yield* measure(feed, "warming", { limit: 10_000 })
    for (const limit of [10_000, 1000, 100]) {
      yield* measure(feed, `batches of ${limit}`, { limit })
    }
    yield* measure(feed, "one table of two", { limit: 10_000, tables: ["lines"] })
    const { checkpoint } = yield* feed.read({ from: "now" })
    const started = performance.now()
    const polls = 200
    for (let index = 0; index < polls; index++) {
      yield* feed.read({ checkpoint })
    }
    console.log(`a look at nothing new: ${((performance.now() - started) / polls).toFixed(1)} ms`)
  }).pipe(Effect.provide(Layer.provide(Feed.layer, client)))
})

await Effect.runPromise(Effect.scoped(bench))
