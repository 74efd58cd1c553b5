import * as SqlClient from "@effect/sql/SqlClient"
import { describe, expect, layer as suite, test } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as Stream from "effect/Stream"
import * as Capture from "../../../src/Capture.js"
import * as ExportJobs from "../../../src/ExportJobs.js"
import * as ExportStore from "../../../src/ExportStore.js"
import * as Feed from "../../../src/Feed.js"
import { boundsOf } from "../../../src/internal/export/jobs/schedule.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import { runs, seed } from "../../support/runs.js"
import { scratch } from "../../support/scratch.js"

const layer = Layer.mergeAll(Capture.layer, Feed.layer).pipe(
  Layer.provideMerge(TestDatabase.layerWith({ maxConnections: 8 }))
)

const clean = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* sql`truncate threadline.export_jobs, threadline.export_schedules, threadline.feed_checkpoints`
})

const jobsOf = Effect.gen(function* () {
  const path = yield* scratch()
  const built = Layer.build(Layer.provide(ExportJobs.layer, ExportStore.layerDirectory(path)))
  const service = Effect.map(built, (context) => Context.get(context, ExportJobs.ExportJobs))
  return yield* Effect.all([service, service, service])
})

const daily = { name: "daily" as string, cron: "0 6 * * *", format: "ndjson" as const }

const ticksAt = (name: string, tick: Date) =>
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) => sql`update threadline.export_schedules set next_tick = ${tick} where name = ${name}`
  )

const minute = 60_000

/** The whole minute that was so many minutes ago. */
const minutesAgo = (minutes: number): Date => new Date(Math.floor(Date.now() / minute - minutes) * minute)

describe("the window of a tick", () => {
  const zone = (name: string) => Option.getOrThrow(DateTime.zoneFromString(name))
  test.each([
    ["previous-day", "UTC", "2026-03-10T02:00:00Z", "2026-03-09T00:00:00.000000Z", "2026-03-09T23:59:59.999999Z"],
    // The night in which clocks go forward has 23 hours, the one in which they go back 25.
    [
      "previous-day",
      "Europe/Berlin",
      "2026-03-30T04:00:00Z",
      "2026-03-28T23:00:00.000000Z",
      "2026-03-29T21:59:59.999999Z"
    ],
    [
      "previous-day",
      "Europe/Berlin",
      "2026-10-26T04:00:00Z",
      "2026-10-24T22:00:00.000000Z",
      "2026-10-25T22:59:59.999999Z"
    ],
    ["previous-week", "UTC", "2026-11-29T06:00:00Z", "2026-11-16T00:00:00.000000Z", "2026-11-22T23:59:59.999999Z"],
    ["previous-week", "UTC", "2026-11-30T06:00:00Z", "2026-11-23T00:00:00.000000Z", "2026-11-29T23:59:59.999999Z"],
    [
      "previous-month",
      "America/New_York",
      "2026-03-31T12:00:00Z",
      "2026-02-01T05:00:00.000000Z",
      "2026-03-01T04:59:59.999999Z"
    ],
    ["previous-month", "+05:30", "2026-01-01T00:00:00Z", "2025-11-30T18:30:00.000000Z", "2025-12-31T18:29:59.999999Z"]
  ] as const)("is that of %s in %s at %s", (window, name, tick, from, to) => {
    expect(boundsOf(window, zone(name), new Date(tick))).toEqual({ from, to })
  })
})

suite(layer, { excludeTestServices: true, timeout: 300_000 })("schedules of exports", (it) => {
  it.scoped("are added, listed and removed, and refuse what is wrong", () =>
    Effect.gen(function* () {
      yield* clean
      const [jobs] = yield* jobsOf
      const added = yield* jobs.addSchedule({ ...daily, window: "previous-day", timeZone: "Europe/Berlin" })
      expect(added).toMatchObject({
        name: "daily",
        cron: "0 6 * * *",
        timeZone: "Europe/Berlin",
        window: "previous-day",
        missed: "once",
        lastTick: null,
        request: { format: "ndjson", filter: {} }
      })
      expect(new Date(added.nextTick).getTime()).toBeGreaterThan(Date.now())
      expect(yield* jobs.schedules).toEqual([added])
      const refused = (options: object) =>
        Effect.flip(jobs.addSchedule({ ...daily, window: "since-last" as const, ...options }))
      expect(yield* refused({})).toMatchObject({ reason: "ScheduleExists" })
      for (const [options, field] of [
        [{ name: "a b" }, "name"],
        [{ name: "" }, "name"],
        [{ cron: "0 6 * *" }, "cron"],
        [{ cron: "0 25 * * *" }, "cron"],
        [{ cron: "0 0 31 2 *" }, "cron"],
        [{ timeZone: "Mars/Olympus" }, "timeZone"],
        [{ window: "yesterday" }, "window"],
        [{ missed: "never" }, "missed"],
        [{ format: "xml" }, "format"],
        [{ limit: 5 }, "limit"],
        [{ filter: { from: "2026-01-01" } }, "from"],
        [{ scope: 5 }, "scope"]
      ] as const) {
        expect(yield* refused(Object.assign({ name: "other" }, options)), JSON.stringify(options)).toMatchObject({
          field
        })
      }
      yield* jobs.removeSchedule("daily")
      expect(yield* Effect.flip(jobs.removeSchedule("daily"))).toMatchObject({ subject: "schedule", id: "daily" })
      expect(yield* jobs.schedules).toEqual([])
    })
  )

  it.scoped("make one job a tick, however many workers there are, and make up for missed ticks as configured", () =>
    Effect.gen(function* () {
      yield* clean
      const workers = yield* jobsOf
      const [jobs] = workers
      // The last of four ticks of each, one an hour, is that of so many minutes ago.
      for (const [name, missed, minutes] of [
        ["once", "once", 5],
        ["each", "each", 5],
        ["skip", "skip", 5],
        ["skip-late", "skip", 20]
      ] as const) {
        const last = minutesAgo(minutes)
        const cron = `${last.getUTCMinutes()} * * * *`
        yield* jobs.addSchedule({ name, cron, format: "csv", window: "previous-day", missed })
        yield* ticksAt(name, new Date(last.getTime() - 180 * minute))
      }
      yield* Effect.all(
        [...workers, ...workers].map((worker) => worker.run()),
        { concurrency: "unbounded" }
      )
      const made = (schedule: string) => Effect.map(jobs.list({ schedule }), ({ items }) => items)
      expect(yield* made("once")).toHaveLength(1)
      expect(yield* made("each")).toHaveLength(4)
      expect(yield* made("skip")).toHaveLength(1)
      expect(yield* made("skip-late")).toEqual([])
      const each = yield* made("each")
      expect(new Set(each.map(({ tick }) => tick)).size).toBe(4)
      expect(each.every(({ state }) => state === "completed")).toBe(true)
      const [job] = yield* made("once")
      const day = new Date(Date.parse(job?.tick ?? "") - 86_400_000).toISOString().slice(0, 10)
      expect(job?.request.filter).toEqual({ from: `${day}T00:00:00.000000Z`, to: `${day}T23:59:59.999999Z` })
      yield* Effect.all(workers.map((worker) => worker.run()))
      expect(yield* made("each")).toHaveLength(4)
    })
  )

  it.scoped("since the last run miss nothing and bring nothing twice, whoever writes meanwhile", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const database = yield* TestDatabase.TestDatabase
      yield* sql`create table if not exists events (id serial primary key, writer int)`
      yield* Effect.flatMap(Capture.Capture, (capture) => capture.apply([{ table: "events" }]))
      const workers = yield* jobsOf
      const [jobs] = workers
      const sessions = yield* Effect.all(Array.from({ length: 4 }, () => database.rawClient()))
      const runtime = yield* Effect.runtime<SqlClient.SqlClient>()
      const run = <A, E>(effect: Effect.Effect<A, E, SqlClient.SqlClient>) => Runtime.runPromise(runtime)(effect)

      /** What a writer does in one step, or a tick with so many workers. */
      const steps = FastCheck.array(
        FastCheck.oneof(
          FastCheck.record({ writer: FastCheck.nat(3), does: FastCheck.constantFrom("write", "commit", "rollback") }),
          FastCheck.record({ workers: FastCheck.integer({ min: 1, max: 3 }), while: FastCheck.nat(3) })
        ),
        { minLength: 6, maxLength: 24 }
      )
      const property = FastCheck.asyncProperty(steps, FastCheck.boolean(), async (history, filtered) => {
        await run(clean)
        await run(sql`truncate threadline.audit_changes, threadline.audit_transactions, threadline.audit_actions`)
        await run(
          jobs.addSchedule({
            name: "siem",
            cron: "0 0 1 1 *",
            format: "ndjson",
            window: "since-last",
            filter: filtered ? { table: "events", op: "insert" } : {}
          })
        )
        const open = new Set<number>()
        const write = async (writer: number) => {
          const session = sessions[writer]
          if (!open.has(writer)) {
            await session?.query("begin")
            open.add(writer)
          }
          await session?.query(`insert into events (writer) values (${writer})`)
        }
        const end = async (writer: number, how: string) => {
          if (open.delete(writer)) {
            await sessions[writer]?.query(how)
          }
        }
        const tick = async (count: number) => {
          await run(ticksAt("siem", new Date()))
          await run(
            Effect.all(
              workers.slice(0, count).map((worker) => worker.run()),
              { concurrency: "unbounded" }
            )
          )
        }
        for (const step of history) {
          if ("does" in step) {
            await (step.does === "write" ? write(step.writer) : end(step.writer, step.does))
          } else {
            // One writes and commits while the export is made.
            await Promise.all([
              tick(step.workers),
              (async () => {
                await write(step.while)
                await end(step.while, "commit")
              })()
            ])
          }
        }
        for (const writer of [0, 1, 2, 3]) {
          await end(writer, "commit")
        }
        await tick(1)
        await run(sql`update threadline.export_jobs set available_at = clock_timestamp() where state = 'queued'`)
        await tick(2)
        const { items } = await run(jobs.list({ limit: 1000 }))
        expect(items.filter(({ state }) => state !== "completed")).toEqual([])
        const sent: Array<string> = []
        for (const { id } of [...items].reverse()) {
          const { bytes } = await run(jobs.download(id))
          const text = Buffer.concat(Chunk.toReadonlyArray(await run(Stream.runCollect(bytes)))).toString()
          sent.push(
            ...text
              .split("\n")
              .slice(0, -1)
              .map((line): string => JSON.parse(line).id)
          )
        }
        const stored = await run(sql<{ id: string }>`select c.id::text from threadline.audit_changes c order by c.id`)
        expect([...sent].sort((a, b) => Number(a) - Number(b))).toEqual(stored.map(({ id }) => id))
      })
      yield* Effect.promise(() => FastCheck.assert(property, { numRuns: runs(5), seed }))
    })
  )

  it.scoped(
    "since the last run go on where they were after a run that failed or was cancelled, and retention waits",
    () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* clean
        yield* sql`create table if not exists notes (id serial primary key)`
        yield* Effect.flatMap(Capture.Capture, (capture) => capture.apply([{ table: "notes" }]))
        const [jobs] = yield* jobsOf
        yield* sql`insert into notes default values`
        yield* jobs.addSchedule({ ...daily, window: "since-last", filter: { table: "notes" } })
        const consumers = () => Effect.flatMap(Feed.Feed, (feed) => feed.checkpoints)
        expect(yield* consumers()).toMatchObject([{ name: "export:daily", checkpoint: Option.none() }])
        yield* ticksAt("daily", new Date())
        yield* sql`update threadline.export_schedules set request = jsonb_set(request, '{filter,table}', '["public.nosuch"]')`
        expect(yield* jobs.run()).toMatchObject({ failed: 1 })
        yield* sql`update threadline.export_schedules set request = jsonb_set(request, '{filter,table}', '["public.notes"]')`
        yield* ticksAt("daily", new Date())
        expect(yield* jobs.run()).toMatchObject({ completed: 1 })
        const [done] = (yield* jobs.list({ state: "completed" })).items
        expect(done).toMatchObject({
          records: 1,
          schedule: "daily",
          manifest: { after: null, filter: { table: ["public.notes"] } }
        })
        expect(yield* consumers()).toMatchObject([{ name: "export:daily", lag: Option.none() }])
        yield* sql`insert into notes default values`
        expect(yield* sql`select threadline.feed_horizon() is not null as waits`).toEqual([{ waits: true }])
        yield* ticksAt("daily", new Date())
        yield* jobs.run()
        const [second] = (yield* jobs.list({ state: "completed" })).items
        expect(second).toMatchObject({ records: 1, manifest: { after: done?.manifest?.snapshot } })
        yield* jobs.removeSchedule("daily")
        expect(yield* consumers()).toEqual([])
      })
  )

  it.scoped("that are removed leave no job that moves the checkpoint of a later one of their name", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* clean
      yield* sql`create table if not exists notes (id serial primary key)`
      yield* Effect.flatMap(Capture.Capture, (capture) => capture.apply([{ table: "notes" }]))
      const [jobs] = yield* jobsOf
      const asked = { ...daily, window: "since-last" as const, filter: { table: "notes" } }
      const due = (minutes: number) => Effect.zipRight(ticksAt("daily", minutesAgo(minutes)), jobs.ready)
      yield* jobs.addSchedule(asked)
      const [failed] = yield* due(5)
      yield* sql`update threadline.export_jobs set state = 'failed' where id = ${failed?.id ?? ""}::bigint`
      const [waiting] = yield* due(4)
      yield* jobs.removeSchedule("daily")
      for (const how of ["before", "after"]) {
        for (const job of [failed, waiting]) {
          expect(yield* Effect.flip(jobs.retry(job?.id ?? "")), how).toMatchObject({ reason: "WrongState" })
        }
        expect(yield* jobs.run(), how).toMatchObject({ completed: 0 })
        if (how === "before") {
          yield* jobs.addSchedule(asked)
        }
      }
      yield* sql`insert into notes default values`
      yield* due(3)
      yield* jobs.run()
      const changes = yield* sql`select from threadline.audit_changes where table_name = 'notes'`
      expect((yield* jobs.list({ state: "completed" })).items).toMatchObject([{ records: changes.length }])
      // Jobs of a window of time depend on no checkpoint.
      yield* jobs.removeSchedule("daily")
      yield* jobs.addSchedule({ ...asked, window: "previous-day" })
      const [ofYesterday] = yield* due(2)
      yield* jobs.cancel(ofYesterday?.id ?? "")
      yield* jobs.removeSchedule("daily")
      expect(yield* jobs.retry(ofYesterday?.id ?? "")).toMatchObject({ state: "queued" })
    })
  )

  it.scoped("of a scope are removed under that scope alone", () =>
    Effect.gen(function* () {
      yield* clean
      const context = yield* Layer.build(
        ExportJobs.layerWith({ scope: () => Effect.succeedSome(() => true), scopeRequired: true })
      )
      const jobs = Context.get(context, ExportJobs.ExportJobs)
      const [a, b] = ["a", "b"].map((tenant) => ({ name: "tenant", parameters: { tenant } }))
      yield* jobs.addSchedule({ ...daily, window: "since-last", scope: a })
      expect(yield* Effect.flip(jobs.removeSchedule("daily"))).toMatchObject({ field: "scope" })
      expect(yield* Effect.flip(jobs.removeSchedule("daily", { scope: b }))).toMatchObject({ subject: "schedule" })
      yield* jobs.removeSchedule("daily", { scope: a })
      expect(yield* Effect.flip(jobs.removeSchedule("daily", { scope: a }))).toMatchObject({ subject: "schedule" })
    })
  )
})
