/** What a purge leaves alone, what it records, and how it ends. */
import * as SqlClient from "@effect/sql/SqlClient"
import { describe, expect, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { appendFileSync, copyFileSync, readdirSync, rmSync } from "node:fs"
import { join } from "node:path"
import * as Actor from "../../../src/Actor.js"
import * as Audit from "../../../src/Audit.js"
import * as AuditContext from "../../../src/AuditContext.js"
import * as Capture from "../../../src/Capture.js"
import * as Export from "../../../src/Export.js"
import * as Feed from "../../../src/Feed.js"
import * as Grants from "../../../src/Grants.js"
import * as Migrations from "../../../src/Migrations.js"
import * as Query from "../../../src/Query.js"
import * as Retention from "../../../src/Retention.js"
import { ThreadlineError } from "../../../src/ThreadlineError.js"
import { clientOf } from "../../harness/client.js"
import { errorOf } from "../../support/errors.js"
import * as log from "../../support/query.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import { scratch } from "../../support/scratch.js"
import { until } from "../../support/until.js"

const services = Layer.mergeAll(Audit.layer, Capture.layer, Export.layer, Feed.layer, Query.layer, Retention.layer)

type Everything = Scope.Scope | SqlClient.SqlClient | Layer.Layer.Success<typeof services> | TestDatabase.TestDatabase

/** A database of its own with posts of four months, a thousandth of a second a piece. */
const withPosts = <A, E>(body: Effect.Effect<A, E, Everything>, perMonth = 40) =>
  Effect.gen(function* () {
    const database = yield* TestDatabase.make()
    const client = yield* Layer.build(clientOf(database.url, 6))
    const sql = Context.get(client, SqlClient.SqlClient)
    return yield* Effect.gen(function* () {
      yield* sql`create table posts (id int primary key, title text)`
      yield* sql`create table notes (id int primary key, title text)`
      yield* Capture.apply([{ table: "posts" }, { table: "notes" }])
      yield* sql`insert into posts select i, 'x' from generate_series(1, 1) i`
      yield* log.partitions
      yield* sql`truncate threadline.audit_changes, threadline.audit_transactions`
      yield* sql`update threadline.capture_policies set captured_since = '2026-01-01', kept_since = null`
      yield* sql`
        insert into threadline.audit_transactions (id, xid, epoch, occurred_at, actor_type, actor_id, actor, db_user, backend_pid)
        select i, i::text::xid8, (select max(epoch) from threadline.installs), '2026-01-01'::timestamptz + (i - 1) * interval '1 month' / ${perMonth},
          'user', '42', '{"type": "user", "id": "42"}', 'app', 1
        from generate_series(1, ${4 * perMonth}::int) i`
      yield* sql`
        insert into threadline.audit_changes (id, transaction_id, captured_at, table_schema, table_name, op, row_pk, row_key, data_after)
        select t.id, t.id, t.occurred_at, 'public', 'posts', 'insert', jsonb_build_object('id', t.id::text), t.id::text, jsonb_build_object('id', t.id)
        from threadline.audit_transactions t`
      yield* sql`select setval('threadline.audit_transactions_id_seq', 100000), setval('threadline.audit_changes_id_seq', 100000)`
      return yield* body
    }).pipe(
      Effect.provide(services),
      Effect.provide(client),
      Effect.provideService(TestDatabase.TestDatabase, database)
    )
  })

const policy = { keep: "30 days" } as const

const number = (query: string) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.map(sql.unsafe<{ n: string }>(`select (${query})::text as n`), ([row]) => Number(row?.n))
  )

const changes = number("select count(*) from threadline.audit_changes")
const transactions = number("select count(*) from threadline.audit_transactions")
const orphans = number(
  `select count(*) from threadline.audit_changes c
   where not exists (select from threadline.audit_transactions t where t.id = c.transaction_id)`
)
const leaves = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  Effect.map(
    sql<{
      name: string
    }>`select inhrelid::regclass::text as name from pg_inherits where inhparent = 'threadline.audit_changes'::regclass order by 1`,
    (rows) => rows.map(({ name }) => name)
  )
)

describe("Retention", () => {
  it.scopedLive("drops partitions whose time is up, and says so in its plan and its run", () =>
    withPosts(
      Effect.gen(function* () {
        const plan = yield* Retention.plan(policy)
        expect(plan.items).toEqual(
          ["2026-01", "2026-02", "2026-03", "2026-04"].map((month) => ({
            table: "public.posts",
            month,
            changes: expect.any(Number),
            how: "drop"
          }))
        )
        expect([plan.changes, plan.transactions, plan.actions, plan.held, plan.awaited]).toEqual([160, 160, 0, 0, 0])
        const run = yield* Retention.purge(plan, { actor: Actor.user("7") })
        expect(run).toMatchObject({
          state: "completed",
          changes: 160,
          transactions: 160,
          planned: { changes: 160, transactions: 160, actions: 0 },
          policy: { keep: "30 days", floor: "1 day", tables: {}, actions: {}, holds: [] },
          actor: { type: "user", id: "7" },
          dbUser: expect.any(String),
          problem: null
        })
        expect(run.partitions).toHaveLength(4)
        expect((yield* leaves).filter((name) => /_20260[1-4]01/.test(name))).toEqual([])
        // As-of claims nothing of a time of which nothing is kept.
        expect((yield* Query.asOf("posts", "1", "2026-02-01T00:00:00Z"))._tag).toBe("BeforeCapture")
        expect((yield* Retention.runs()).items).toEqual([run])
        expect(yield* errorOf(Retention.purge(plan))).toMatchObject({ reason: "OutdatedPlan" })
      })
    )
  )

  it.scopedLive("drops a partition although others read it all the time", () =>
    withPosts(
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        // A read has the lock of the table when it waits for that of a partition.
        const read = sql`select from threadline.audit_changes where captured_at < '2026-05-01' limit 1`
        const readers = yield* Effect.forkAll(Array.from({ length: 3 }, () => Effect.forever(read)))
        const run = yield* Retention.purge(yield* Retention.plan(policy))
        yield* Fiber.interrupt(readers)
        expect(run.partitions).toHaveLength(4)
        expect((yield* leaves).filter((name) => /_20260[1-4]01/.test(name))).toEqual([])
      })
    )
  )

  it.scopedLive("keeps an empty partition where another table is kept for longer, and what is known of it", () =>
    withPosts(
      Effect.gen(function* () {
        const plan = yield* Retention.plan({ ...policy, tables: { notes: "forever" } })
        expect(plan.items.map(({ how }) => how)).toEqual(["empty", "empty", "empty", "empty"])
        yield* Retention.purge(plan)
        expect((yield* leaves).filter((name) => /_20260[1-4]01/.test(name))).toHaveLength(4)
        expect(yield* number("select count(*) from threadline.capture_policies where kept_since = '2026-05-01Z'")).toBe(
          1
        )
        expect(yield* number("select count(*) from threadline.capture_policies where kept_since is null")).toBe(1)
      })
    )
  )

  it.scopedLive("notes what is gone at the present name of a table, and lets a reader plan", () =>
    withPosts(
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const database = yield* TestDatabase.TestDatabase
        yield* sql`alter table posts rename to articles`
        yield* Capture.apply([{ table: "articles" }])
        const held = { ...policy, holds: [{ table: "articles", key: "45", reason: "case 17" }] }
        const reader = yield* database.role("reader")
        yield* Grants.apply({ readers: [reader.name] })
        const client = yield* database.connect("reader")
        const plan = yield* Effect.provide(
          Retention.plan(held),
          Layer.provide(Retention.layer, Layer.succeed(SqlClient.SqlClient, client))
        )
        // The row is held under the name that its change was recorded under.
        expect([plan.changes, plan.held]).toEqual([159, 1])
        yield* Retention.purge(plan, { pause: 1 })
        expect(
          yield* number(
            "select count(*) from threadline.capture_policies where table_name = 'articles' and kept_since > '2026-04-01'"
          )
        ).toBe(1)
        expect((yield* Query.asOf("articles", "1", "2026-02-01T00:00:00Z"))._tag).toBe("BeforeCapture")
      })
    )
  )

  it.scopedLive(
    "holds a renamed table by its present name before capture follows it, and refuses a name of two tables",
    () =>
      withPosts(
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const holding = (...holds: ReadonlyArray<object>) =>
            Retention.plan({ ...policy, holds: holds.map((hold) => ({ reason: "case 17", ...hold })) })
          yield* sql`alter table posts rename to articles`
          const counted = (plan: Retention.Plan) => [plan.changes, plan.held]
          expect(counted(yield* holding({ table: "articles" }))).toEqual([0, 160])
          expect(counted(yield* holding({ table: "posts" }))).toEqual([0, 160])
          expect(counted(yield* holding({ table: "articles", key: "45" }))).toEqual([159, 1])
          // A row that was never recorded is held from its first change on.
          expect((yield* errorOf(holding({ table: "notes", key: "9" })))?.message).toContain("row 9 of public.notes")
          yield* sql`alter table notes disable trigger user`
          yield* sql`insert into notes values (9, 'x')`
          yield* sql`alter table notes enable trigger user`
          expect(counted(yield* holding({ table: "notes", key: "9" }))).toEqual([160, 0])
          expect(
            (yield* errorOf(Retention.plan({ ...policy, tables: { posts: "40 days", articles: "forever" } })))?.message
          ).toContain('tables["public.articles"]: means the same table as public.posts')
          yield* sql`alter table notes rename to posts`
          for (const table of ["posts", "articles", "notes"]) {
            expect((yield* errorOf(holding({ table })))?.message ?? "accepted", table).toMatch(
              /threadline capture apply/
            )
          }
          yield* Retention.purge(yield* Retention.plan(policy), { pause: 1 })
        })
      )
  )

  it.scopedLive(
    "holds a row whole, under every key that it had, whichever of them and of its table's names is given",
    () =>
      withPosts(
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          // Row 45 becomes 9001 and then 9002. The statement that moves it to 9002 moves 9002 to 9003. Another row becomes 45 later.
          yield* sql`
          insert into threadline.audit_changes (id, transaction_id, captured_at, table_schema, table_name, op, row_pk, previous_row_key, row_key)
          select 200000 + n, t.id, t.occurred_at, 'public', 'posts', v.op, jsonb_build_object('id', v.key), v.previous, v.key
          from (values (1, 60, 'update', '45', '9001'), (2, 70, 'update', null, '9001'), (3, 80, 'update', '9002', '9003'),
            (4, 80, 'update', '9001', '9002'), (5, 90, 'update', null, '9003'), (6, 100, 'delete', null, '9002'),
            (7, 110, 'update', '7', '45')) v (n, t, op, previous, key)
          join threadline.audit_transactions t on t.id = v.t`
          const heldBy = (table: string, key: string) =>
            Effect.map(Retention.plan({ ...policy, holds: [{ table, key, reason: "case 17" }] }), ({ held }) => held)
          // The insert of 45, three changes of it, the one that passed it at 9002, its end; and of the other row, what came before 45.
          const ofBoth = 8
          expect(yield* heldBy("posts", "9001")).toBe(6)
          expect(yield* heldBy("posts", "9002")).toBe(7)
          expect(yield* heldBy("posts", "45")).toBe(ofBoth)
          yield* sql`alter table posts rename to articles`
          expect(yield* heldBy("articles", "45")).toBe(ofBoth)
          yield* Capture.apply([{ table: "articles" }])
          expect(yield* heldBy("articles", "45")).toBe(ofBoth)
          expect(yield* heldBy("posts", "45")).toBe(ofBoth)
          expect((yield* Retention.plan({ ...policy, holds: [{ table: "posts", reason: "case 17" }] })).changes).toBe(0)
          const plan = yield* Retention.plan({
            ...policy,
            holds: [{ table: "articles", key: "45", reason: "case 17" }]
          })
          yield* Retention.purge(plan, { pause: 1 })
          expect(yield* changes).toBe(ofBoth)
          const kept = yield* sql<{ id: string }>`select c.id::text as id from threadline.audit_changes c order by c.id`
          expect(kept.map(({ id }) => id)).toEqual([
            "7",
            "45",
            "200001",
            "200002",
            "200003",
            "200004",
            "200006",
            "200007"
          ])
          // A key that is a place in a list, and not that of a row.
          yield* sql`
          insert into threadline.audit_changes (id, transaction_id, captured_at, table_schema, table_name, op, row_pk, previous_row_key, row_key)
          select 300000 + n, 45, '2026-02-01'::timestamptz + n * interval '1 minute', 'public', 'posts', 'update', '{}', (10000 + n)::text, (10001 + n)::text
          from generate_series(1, 210) n`
          expect((yield* errorOf(heldBy("articles", "10001")))?.message).toContain(
            "holds[0].key: names a row that had more than"
          )
        })
      )
  )

  it.scopedLive("lets as-of answer from no held change after which others of its row are gone", () =>
    withPosts(
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        // Row 45 is inserted by 42, and then changed and deleted by somebody else.
        yield* sql`update threadline.audit_transactions set actor_id = '43', actor = '{"type": "user", "id": "43"}' where id <> 45`
        yield* sql`
          insert into threadline.audit_changes (id, transaction_id, captured_at, table_schema, table_name, op, row_pk, row_key, changed_from)
          select 200001, t.id, t.occurred_at, 'public', 'posts', 'delete', '{"id": "45"}', '45', '{"id": 45}'
          from threadline.audit_transactions t where t.id = 60`
        const answers = Effect.forEach(["2026-02-05T00:00:00Z", "2026-04-30T00:00:00Z", "2026-06-01T00:00:00Z"], (at) =>
          Effect.map(Query.asOf("posts", "45", at), ({ _tag }) => _tag)
        )
        expect(yield* answers).toEqual(["Present", "Deleted", "Deleted"])
        const holds = [{ actor: { type: "user", id: "42" }, reason: "case 17" }]
        yield* Retention.purge(yield* Retention.plan({ ...policy, holds }), { pause: 1 })
        const kept = yield* Query.history("posts", "45")
        expect(kept.items.map(({ op }) => op)).toEqual(["insert"])
        expect(yield* answers).toEqual(["BeforeCapture", "BeforeCapture", "BeforeCapture"])
      })
    )
  )

  it.scopedLive("drops and makes partitions beside the schema watch, which records none of it", () =>
    withPosts(
      Effect.gen(function* () {
        yield* Migrations.run({ watchSchema: true })
        const before = yield* number("select count(*) from threadline.schema_events")
        const run = yield* Retention.purge(yield* Retention.plan(policy))
        expect([run.state, run.changes]).toEqual(["completed", 160])
        expect((yield* leaves).filter((name) => /_20260[1-4]01/.test(name))).toEqual([])
        yield* Retention.maintain({ months: 8 })
        expect(yield* number("select count(*) from threadline.schema_events")).toBe(before)
      })
    )
  )

  it.scopedLive("runs by a clock, and maintains afterwards", () =>
    withPosts(
      Effect.gen(function* () {
        expect(
          yield* errorOf(Effect.scoped(Layer.build(Retention.layerScheduled({ policy, cron: "never" }))))
        ).toMatchObject({ field: "cron" })
        for (const [field, wrong] of [
          ["cron", { cron: null }],
          ["timeZone", { timeZone: 1 }],
          ["befor", { befor: "2026-01-01" }],
          ["before", { before: "soon" }],
          ["ignoreFeed", { ignoreFeed: "no" }],
          ["maintain", { maintain: "no" }],
          ["maxBatches", { maxBatches: 0 }],
          ["archive", { archive: "/archive" }],
          ["policy", { policy: null }]
        ] as const) {
          const options: object = Object.assign({ policy, cron: "0 3 * * *" }, wrong)
          expect(
            yield* errorOf(Effect.scoped(Layer.build(Retention.layerScheduled(options as Retention.ScheduleOptions))))
          ).toMatchObject({ _tag: "threadline/InvalidRequest", field })
        }
        expect(
          yield* errorOf(
            Effect.scoped(Layer.build(Retention.layerScheduled(null as unknown as Retention.ScheduleOptions)))
          )
        ).toMatchObject({ _tag: "threadline/InvalidRequest" })
        yield* Layer.build(Retention.layerScheduled({ policy, cron: "* * * * * *" }))
        const isDone = Effect.map(
          Retention.runs({ kind: "maintain", state: "completed" }),
          ({ items }) => items.length > 0
        )
        yield* until("maintenance has run", isDone)
        expect(yield* changes).toBe(0)
      })
    )
  )

  it.scopedLive("leaves what a consumer of the feed has not had, until it is told not to", () =>
    withPosts(
      Effect.gen(function* () {
        const seen: Array<string> = []
        const handle = (batch: Feed.Batch) => Effect.sync(() => void seen.push(...batch.changes.map(({ id }) => id)))
        // It stops in the middle of the log.
        yield* Effect.either(
          Feed.consume(
            "siem",
            (batch) => Effect.zipRight(handle(batch), seen.length >= 50 ? Effect.fail("enough") : Effect.void),
            {
              limit: 50
            }
          )
        )
        seen.length = 0
        const plan = yield* Retention.plan(policy)
        expect(plan.awaited).toBe(160 - plan.changes)
        expect(plan.awaited).toBeGreaterThan(0)
        const run = yield* Retention.purge(plan)
        expect([run.state, run.changes]).toEqual(["completed", plan.changes])
        yield* Feed.consume("siem", handle)
        expect(new Set(seen).size).toBeGreaterThanOrEqual(plan.awaited)
        yield* Feed.consume("late", () => Effect.fail("never")).pipe(Effect.either)
        expect((yield* Retention.plan(policy)).changes).toBe(0)
        const forced = yield* Retention.plan(policy, { ignoreFeed: true })
        expect(forced.changes).toBe(plan.awaited)
        yield* Retention.purge(forced)
        expect(yield* changes).toBe(0)
      })
    )
  )

  it.scopedLive("stops after its batches, is cancelled between two of them, and goes on where it was", () =>
    withPosts(
      Effect.gen(function* () {
        const held = { ...policy, holds: [{ table: "posts", key: "45", reason: "case 17" }] }
        const options = { batchSize: 7, pause: 1 }
        const first = yield* Retention.purge(yield* Retention.plan(held), { ...options, maxBatches: 4 })
        expect([first.state, first.batches]).toEqual(["stopped", 4])
        const half = yield* Deferred.make<void>()
        const running = yield* Effect.fork(
          Retention.purge(yield* Retention.plan(held), {
            ...options,
            onProgress: ({ batches }) =>
              batches === 3 ? Effect.zipRight(Deferred.succeed(half, undefined), Effect.never) : Effect.void
          })
        )
        yield* Deferred.await(half)
        // Two runners never do the same work.
        expect(yield* errorOf(Retention.purge(yield* Retention.plan(held), options))).toMatchObject({ reason: "Busy" })
        yield* Fiber.interrupt(running)
        expect((yield* Retention.runs({ limit: 1 })).items[0]).toMatchObject({ state: "cancelled", batches: 3 })
        expect(yield* orphans).toBe(0)
        const last = yield* Retention.purge(yield* Retention.plan(held), options)
        expect(last.state).toBe("completed")
        expect([yield* changes, yield* transactions, yield* orphans]).toEqual([1, 1, 0])
      })
    )
  )

  it.scopedLive("finishes a run whose process died as failed, and loses nothing when a backend is killed", () =>
    withPosts(
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const held = { ...policy, holds: [{ table: "posts", key: "45", reason: "case 17" }] }
        const killed = yield* errorOf(
          Retention.purge(yield* Retention.plan(held), {
            batchSize: 7,
            pause: 1,
            onProgress: ({ batches }) =>
              batches === 5
                ? Effect.asVoid(
                    Effect.orDie(sql`
                      select pg_terminate_backend(pid) from pg_stat_activity
                      where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'`)
                  )
                : Effect.void
          })
        )
        expect(yield* orphans).toBe(0)
        const [run] = (yield* Retention.runs()).items
        if (killed === undefined) {
          // The pool had opened a new connection for the next batch.
          expect(run?.state).toBe("completed")
        }
        // A run that says nothing for a minute is dead.
        yield* sql`
          insert into threadline.retention_runs (kind, lease_token, lease_until, changes)
          values ('purge', 'gone', now() - interval '1 second', 12)`
        const next = yield* Retention.purge(yield* Retention.plan(held), { pause: 1 })
        expect(next.state).toBe("completed")
        expect((yield* Retention.runs({ state: "failed" })).items).toContainEqual(
          expect.objectContaining({ changes: 12, problem: "its process ended without saying so" })
        )
        expect([yield* changes, yield* transactions, yield* orphans]).toEqual([1, 1, 0])
      })
    )
  )

  it.scopedLive("archives before it removes, and removes nothing if that fails", () =>
    withPosts(
      Effect.gen(function* () {
        const directory = yield* scratch()
        const broken = yield* errorOf(
          Retention.purge(yield* Retention.plan(policy), {
            archive: () =>
              Effect.fail(new Retention.RetentionError({ reason: "ArchiveFailed", detail: "the disk is full" }))
          })
        )
        expect(broken).toMatchObject({ reason: "ArchiveFailed" })
        expect(yield* changes).toBe(160)
        expect((yield* Retention.runs()).items[0]).toMatchObject({
          state: "failed",
          problem: "the disk is full",
          changes: 0
        })
        // What is written is verified again when all of it is: whoever damages, removes or replaces the first file meanwhile is noticed.
        const archiveOf = (name: string) => join(directory, name, "public.posts-2026-01.ndjson.gz")
        for (const [name, tamper, said] of [
          ["damaged", (file: string) => appendFileSync(file, "x"), /is not what its manifest says/],
          ["gone", (file: string) => rmSync(file), /cannot be read/],
          ["manifest", (file: string) => rmSync(`${file}.manifest.json`), /is not what its manifest says/],
          [
            "replaced",
            (file: string) => {
              const other = archiveOf("replaced").replace("-01.", "-04.")
              copyFileSync(other, file)
              copyFileSync(`${other}.manifest.json`, `${file}.manifest.json`)
            },
            /is another file than the one that was written/
          ]
        ] as const) {
          const archiveTo = Retention.archiveTo(join(directory, name))
          const noticed = yield* errorOf(
            Retention.purge(yield* Retention.plan(policy), {
              archive: (part) =>
                Effect.tap(archiveTo(part), () =>
                  Effect.sync(() => {
                    if (part.month === "2026-04") {
                      tamper(archiveOf(name))
                    }
                  })
                )
            })
          )
          expect(noticed?.message, name).toMatch(said)
          expect([yield* changes, yield* transactions]).toEqual([160, 160])
        }
        const whole = join(directory, "whole")
        const run = yield* Retention.purge(yield* Retention.plan(policy), { archive: Retention.archiveTo(whole) })
        expect(run.changes).toBe(160)
        const files = readdirSync(whole).filter((name) => !name.endsWith(".manifest.json"))
        expect(files.sort()).toEqual([1, 2, 3, 4].map((month) => `public.posts-2026-0${month}.ndjson.gz`))
        const counts = yield* Effect.forEach(files, (file) => Export.verify(join(whole, file)))
        expect(counts.flatMap(({ differences }) => differences)).toEqual([])
        expect(run.details["archive"]).toHaveLength(4)
      })
    )
  )

  it.scopedLive("does not touch what was committed after the plan", () =>
    withPosts(
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const plan = yield* Retention.plan(policy)
        yield* sql`
          with late as (
            insert into threadline.audit_transactions (xid, epoch, occurred_at, db_user, backend_pid)
            values (pg_current_xact_id(), (select max(epoch) from threadline.installs), '2026-02-02', 'app', 1)
            returning id
          )
          insert into threadline.audit_changes (transaction_id, captured_at, table_schema, table_name, op)
          select id, '2026-02-02', 'public', 'posts', 'insert' from late`
        const run = yield* Retention.purge(plan, { pause: 1 })
        expect([run.changes, run.transactions]).toEqual([160, 160])
        expect([yield* changes, yield* transactions]).toEqual([1, 1])
      })
    )
  )

  it.scopedLive("leaves what is committed between two of its batches, and looks for each of them once", () =>
    withPosts(
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const database = yield* TestDatabase.TestDatabase
        // A note that is kept in each month, so that the posts of the month go in batches.
        yield* sql`
          insert into threadline.audit_changes (transaction_id, captured_at, table_schema, table_name, op)
          select id, occurred_at, 'public', 'notes', 'insert' from threadline.audit_transactions where id % 40 = 1`
        const raw = yield* database.rawClient()
        const query = (text: string) => Effect.promise(() => raw.query(text))
        const old = `
          with late as (
            insert into threadline.audit_transactions (xid, epoch, occurred_at, db_user, backend_pid)
            values (pg_current_xact_id(), (select max(epoch) from threadline.installs), '2026-03-20', 'app', 1)
            returning id
          )
          insert into threadline.audit_changes (transaction_id, captured_at, table_schema, table_name, op)
          select id, '2026-03-20', 'public', 'posts', 'insert' from late`
        // What runs in another database has a number in every snapshot.
        const elsewhere = yield* Effect.flatMap(TestDatabase.make({ schema: false }), ({ rawClient }) => rawClient())
        yield* Effect.promise(() => elsewhere.query("begin; select pg_current_xact_id()"))
        yield* query(`begin; ${old}`)
        const plan = yield* Retention.plan({ ...policy, tables: { notes: "forever" } })
        yield* query("commit")
        // What others write meanwhile is not old.
        yield* query(
          `do $$ begin for i in 1..300 loop insert into posts values (1000 + i, 'x'); commit; end loop; end $$`
        )
        yield* sql`vacuum analyze threadline.audit_transactions`
        yield* sql`select pg_stat_force_next_flush(), pg_stat_reset_single_table_counters('threadline.audit_transactions'::regclass)`
        let batches = 0
        const purger = Layer.provide(Retention.layer, clientOf(database.url))
        const run = yield* Retention.purge(plan, {
          batchSize: 5,
          pause: 1,
          maxBatches: 30,
          onProgress: ({ phase }) => (phase === "changes" && ++batches === 3 ? query(old) : Effect.void)
        }).pipe(Effect.provide(purger))
        expect([run.state, run.batches]).toEqual(["stopped", 30])
        expect(
          yield* number(
            "select count(*) from threadline.audit_changes where captured_at = '2026-03-20' and op = 'insert' and row_key is null"
          )
        ).toBe(2)
        expect(yield* orphans).toBe(0)
        // The sessions of the purge have ended, so what they read is counted.
        const read = yield* number(`
          select seq_tup_read + idx_tup_fetch + (
            select sum(i.idx_tup_read) from pg_stat_user_indexes i where i.relid = 'threadline.audit_transactions'::regclass
          )
          from pg_stat_user_tables where relid = 'threadline.audit_transactions'::regclass`)
        expect(read).toBeLessThan(4000)
      })
    )
  )

  it.scopedLive("leaves no change behind, whichever way PostgreSQL takes to them", () =>
    withPosts(
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const database = yield* TestDatabase.TestDatabase
        // On disk they lie against their order in every index.
        yield* sql`create table kept as select * from threadline.audit_changes`
        yield* sql`delete from threadline.audit_changes`
        yield* sql`insert into threadline.audit_changes select * from kept order by id desc`
        yield* sql`drop table kept`
        yield* sql`
          insert into threadline.audit_changes (transaction_id, captured_at, table_schema, table_name, op)
          select id, occurred_at, 'public', 'notes', 'insert' from threadline.audit_transactions where id % 40 = 1`
        const name = sql.literal(new URL(database.url).pathname.slice(1))
        for (const way of ["tidscan", "seqscan", "bitmapscan", "sort"]) {
          yield* sql`alter database ${name} set ${sql.literal(`enable_${way}`)} = off`
        }
        const purger = Layer.provide(Retention.layer, clientOf(database.url))
        const plan = yield* Retention.plan({ ...policy, tables: { notes: "forever" } })
        const run = yield* Retention.purge(plan, { batchSize: 7, pause: 1 }).pipe(Effect.provide(purger))
        expect([run.state, run.changes, plan.changes]).toEqual(["completed", 160, 160])
      })
    )
  )

  it.scopedLive("looks once at what is old, and again at what may have changed since", () =>
    withPosts(
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const database = yield* TestDatabase.TestDatabase
        const purge = Effect.flatMap(Retention.plan(policy), (plan) =>
          Effect.map(Retention.purge(plan, { pause: 1 }), (run) => {
            // What was planned is what went, however little was looked at.
            expect(run).toMatchObject({ state: "completed", transactions: plan.transactions, actions: plan.actions })
            return [run.changes, run.transactions, run.actions]
          })
        )
        const insert = (xid: string, id: number) => `
          insert into threadline.audit_transactions (id, xid, epoch, occurred_at, db_user, backend_pid)
          values (${id}, ${xid}, (select max(epoch) from threadline.installs), '2026-02-02', 'app', 1)`
        const raw = yield* database.rawClient()
        const query = (text: string) => Effect.promise(() => raw.query(text))
        // A row that somebody has locked is left, and nothing is settled.
        yield* query("begin; select from threadline.audit_transactions where id = 7 for update")
        const plan = yield* Retention.plan(policy)
        const left = yield* Retention.purge(plan, { pause: 1 })
        expect([plan.transactions, left.transactions, left.state]).toEqual([160, 159, "completed"])
        yield* query("rollback; begin")
        yield* query(insert("pg_current_xact_id()", 2001))
        expect(yield* purge).toEqual([0, 1, 0])
        // What was under way then is seen when it has ended.
        expect(yield* purge).toEqual([0, 0, 0])
        yield* query("commit")
        expect(yield* purge).toEqual([0, 1, 0])
        // What nobody noted is found when everything is looked at again: after a month, or under another policy.
        yield* sql.unsafe(insert("'3'", 2002))
        expect(yield* purge).toEqual([0, 0, 0])
        yield* sql`
          update threadline.retention_runs
          set settled = settled || jsonb_build_object('whole', (clock_timestamp() - interval '31 days')::text)
          where settled is not null`
        expect(yield* purge).toEqual([0, 1, 0])
        expect(yield* transactions).toBe(0)
      })
    )
  )

  it.scopedLive("makes partitions ahead and empties the default one", () =>
    withPosts(
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* sql`
          insert into threadline.audit_changes (transaction_id, captured_at, table_schema, table_name, op)
          select 1, '2025-07-07', 'public', 'posts', 'insert' from generate_series(1, 3)`
        const run = yield* Retention.maintain({ months: 6 })
        expect(run).toMatchObject({ kind: "maintain", state: "completed", details: { waiting: [] } })
        expect(run.partitions).toContain("audit_changes_20250701")
        expect(yield* number("select count(*) from threadline.audit_changes_default")).toBe(0)
        expect(yield* changes).toBe(163)
        expect((yield* Retention.maintain()).partitions).toEqual([])
      })
    )
  )

  it.scopedLive("is refused where a partition of the record has partitions of its own, and removes nothing", () =>
    withPosts(
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        // Rows of two tables then have the same places.
        yield* sql`alter table threadline.audit_changes detach partition threadline.audit_changes_20260201`
        yield* sql`create table threadline.february (like threadline.audit_changes) partition by list (table_name)`
        yield* sql`create table threadline.february_posts partition of threadline.february for values in ('posts')`
        yield* sql`create table threadline.february_others partition of threadline.february default`
        yield* sql`insert into threadline.february select * from threadline.audit_changes_20260201`
        yield* sql`alter table threadline.audit_changes attach partition threadline.february for values from ('2026-02-01') to ('2026-03-01')`
        const { ownerRole } = yield* TestDatabase.TestDatabase
        for (const table of ["february", "february_posts", "february_others"]) {
          yield* sql.unsafe(`alter table threadline.${table} owner to ${ownerRole}`)
        }
        const before = yield* changes
        for (const attempt of [Effect.asVoid(Retention.plan(policy)), Effect.asVoid(Retention.maintain())]) {
          const error = yield* errorOf(attempt)
          expect(ThreadlineError.is(error)).toBe(true)
          expect(error?.message).toContain("threadline.february, which is no table of its own")
        }
        expect(yield* changes).toBe(before)
      })
    )
  )

  it.scopedLive("rebuilds indexes of closed partitions that are half empty, once", () =>
    withPosts(
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* sql`
          insert into threadline.audit_changes (transaction_id, captured_at, table_schema, table_name, op, row_key)
          select i, '2026-02-02', 'public', 'posts', 'insert', md5(i::text) from generate_series(1, 12000) i`
        yield* sql`delete from threadline.audit_changes where table_name = 'posts' and transaction_id % 4 <> 0 and captured_at = '2026-02-02'`
        yield* sql`vacuum threadline.audit_changes_20260201`
        // Outside of a transaction a member has the rights of the owner only if it inherits them.
        const database = yield* TestDatabase.TestDatabase
        const member = yield* database.role("member", "noinherit")
        yield* sql.unsafe(`grant ${yield* database.ownOwner} to ${member.name}`)
        yield* Grants.apply({ operators: [member.name] })
        const left = yield* Retention.maintain({ months: 1 }).pipe(
          Effect.provide(Layer.fresh(Retention.layer).pipe(Layer.provide(database.connectLayer("member")), Layer.orDie))
        )
        expect([left.state, left.details["reindexed"]]).toEqual(["completed", []])
        expect(left.details["waiting"]).toContainEqual(
          expect.stringMatching(
            /^index .*20260201_row_key.*, which needs a role that inherits the rights of the owner$/
          )
        )
        const run = yield* Retention.maintain({ months: 1 })
        const { reindexed } = run.details
        expect(reindexed).toContainEqual(expect.objectContaining({ index: expect.stringMatching(/20260201_row_key/) }))
        for (const reindexedIndex of Array.isArray(reindexed) ? reindexed : []) {
          expect(reindexedIndex).toMatchObject({ before: expect.any(Number), after: expect.any(Number) })
        }
        const options = yield* sql<{ readonly options: ReadonlyArray<string> }>`
          select reloptions as options from pg_class where oid = 'threadline.audit_changes_20260201_row_key_table_name_table_schema_capt_idx'::regclass`
        expect(options).toEqual([{ options: ["deduplicate_items=off", "fillfactor=100"] }])
        const again = yield* Retention.maintain({ months: 1 })
        expect(again.details["reindexed"]).toEqual([])
      })
    )
  )

  it.scopedLive("refuses every doubtful policy, and removes nothing", () =>
    withPosts(
      Effect.gen(function* () {
        const cases: ReadonlyArray<readonly [unknown, string]> = [
          [undefined, "no retention is configured"],
          [{}, "keep: keeps everything forever"],
          [{ keep: 30 }, "keep: must be a duration"],
          [{ keep: "30" }, "keep: must be a duration"],
          [{ keep: { days: 1, seconds: 5 } }, "keep: must be a duration"],
          [{ keep: "12 hours" }, "keep: must not be shorter than the floor, 1 day"],
          [{ keep: "20 days", floor: "30 days" }, "keep: must not be shorter than the floor, 30 days"],
          [{ keep: "-3 days" }, "keep: must be"],
          [{ keep: "9999999999 days" }, "keep: must be"],
          [{ kep: "30 days" }, "kep: is not known here"],
          [{ keep: "30 days", tables: { posts: "1 hour" } }, "tables.posts: must not be shorter"],
          [{ keep: "30 days", tables: new Map([["posts", "400 days"]]) }, "tables: must be an object"],
          [{ keep: "30 days", actions: new Date() }, "actions: must be an object"],
          [new Map([["keep", "30 days"]]), "policy: must be an object"],
          [{ keep: "30 days", tables: { "a.b.c": "40 days" } }, `tables["a.b.c"]:`],
          [{ keep: "30 days", tables: { posts: "40 days", "public.posts": "50 days" } }, "a second time"],
          [{ keep: "30 days", tables: { psts: "400 days" } }, "table public.psts is not known"],
          [{ keep: "30 days", actions: { "": "40 days" } }, "must not be empty"],
          [{ keep: "30 days", holds: [{ table: "posts" }] }, "holds[0].reason: must say why"],
          [{ keep: "30 days", holds: [{ reason: "x" }] }, "holds[0]: must name exactly one"],
          [{ keep: "30 days", holds: [{ reason: "x", table: "psts" }] }, "table public.psts is not known"],
          [{ keep: "30 days", holds: [{ reason: "x", table: "posts", key: "a" }] }, "holds[0].key:"],
          [{ keep: "30 days", holds: [{ reason: "x", table: "posts", key: "999" }] }, "row 999 of public.posts is not"],
          [{ keep: "30 days", holds: [{ reason: "x", actor: { type: "robot", id: "1" } }] }, "holds[0].actor.type"],
          [{ keep: "30 days", holds: [{ reason: "x", correlationId: "" }] }, "holds[0].correlationId"]
        ]
        for (const [given, message] of cases) {
          const error = yield* errorOf(Retention.plan(given as Retention.Policy))
          expect(error?.message ?? "accepted", JSON.stringify(given)).toContain(message)
        }
        expect((yield* errorOf(Retention.plan(policy, { before: "2999-01-01T00:00:00Z" })))?.message).toContain(
          "future"
        )
        expect((yield* errorOf(Retention.plan(policy, { before: "soon" })))?.message).toContain(
          "before: must be an instant"
        )
        const plan = yield* Retention.plan(policy)
        for (const [options, message] of [
          [{ batchSize: 0 }, "batchSize"],
          [{ maxBatches: 0.5 }, "maxBatches"],
          [{ pause: "soon" }, "pause"],
          [{ batchsize: 3 }, "batchsize: is not known here"],
          [{ actor: "me" }, "actor"],
          [{ lockTimeout: null }, "lockTimeout"],
          [{ onProgress: "log" }, "onProgress: must be a function"]
        ] as const) {
          expect((yield* errorOf(Retention.purge(plan, options as Retention.PurgeOptions)))?.message).toContain(message)
        }
        for (const options of [{ lockTimeout: null }, { onProgress: "log" }]) {
          const error = yield* errorOf(Retention.maintain(options as never))
          expect(error?.message ?? "accepted").toContain(Object.keys(options)[0])
        }
        const endless: { self?: unknown } = {}
        endless.self = endless
        for (const altered of [
          // What a purge has seen is written down, so a snapshot that is none would fail every later plan, and one that has not been yet
          // would hide from later purges what is committed until then.
          { ...plan, snapshot: "" },
          { ...plan, snapshot: `${plan.snapshot}\u0000` },
          { ...plan, snapshot: "9:3:" },
          { ...plan, snapshot: "99999999:99999999:" },
          { ...plan, epoch: -1 },
          { ...plan, policy: endless },
          { ...plan, at: "2999-01-01T00:00:00.000000Z" },
          { ...plan, policy: { keep: "1 second" } },
          { ...plan, snapshot: 3 }
        ]) {
          expect((yield* errorOf(Retention.purge(altered as Retention.Plan)))?.message).toMatch(/^plan/)
        }
        const inside = yield* errorOf(
          Effect.flatMap(SqlClient.SqlClient, (sql) => sql.withTransaction(Retention.purge(plan)))
        )
        expect(inside).toMatchObject({ reason: "InsideTransaction" })
        expect([yield* changes, yield* transactions]).toEqual([160, 160])
        expect((yield* Retention.runs()).items).toEqual([])
      })
    )
  )

  it.scopedLive("lets writers write while it works, and no role without membership in the owner purge", () =>
    withPosts(
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const database = yield* TestDatabase.TestDatabase
        const held = { ...policy, holds: [{ table: "posts", key: "45", reason: "case 17" }] }
        const plan = yield* Retention.plan(held)
        const writing = yield* Effect.fork(
          Effect.forEach(
            Array.from({ length: 40 }, (_, i) => i),
            (i) => Audit.transaction(sql`insert into notes values (${i}, 'x')`, { action: "note.made" }),
            { concurrency: 3 }
          ).pipe(AuditContext.withActor(Actor.user("9")))
        )
        const run = yield* Retention.purge(plan, { batchSize: 5, pause: 1 })
        yield* Fiber.join(writing)
        expect(run.state).toBe("completed")
        expect(yield* number("select count(*) from threadline.audit_changes where table_name = 'notes'")).toBe(40)
        expect(yield* orphans).toBe(0)
        const operator = yield* database.role("operator")
        yield* sql.unsafe(
          `grant usage on schema threadline to ${operator.name}; grant select on all tables in schema threadline to ${operator.name}`
        )
        const stranger = yield* database.connect("operator")
        const outcome = yield* errorOf(
          Retention.purge(yield* Retention.plan(held)).pipe(
            Effect.provide(Layer.provide(Retention.layer, Layer.succeed(SqlClient.SqlClient, stranger)))
          )
        )
        expect(outcome).toMatchObject({ reason: "InsufficientPrivilege" })
      })
    )
  )
})
