import * as PgClient from "@effect/sql-pg/PgClient"
import * as SqlClient from "@effect/sql/SqlClient"
import { describe, expect, layer as suite } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Ref from "effect/Ref"
import * as Stream from "effect/Stream"
import { createHash } from "node:crypto"
import { readdirSync } from "node:fs"
import * as Actor from "../../../src/Actor.js"
import * as AuditContext from "../../../src/AuditContext.js"
import * as Export from "../../../src/Export.js"
import * as ExportJobs from "../../../src/ExportJobs.js"
import * as ExportStore from "../../../src/ExportStore.js"
import * as Grants from "../../../src/Grants.js"
import * as Json from "../../../src/Json.js"
import * as Query from "../../../src/Query.js"
import { clientOf } from "../../harness/client.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import { bytesOf } from "../../support/export.js"
import { at, reset, write } from "../../support/query.js"
import { scratch } from "../../support/scratch.js"
import { eventually, until } from "../../support/until.js"

const layer = Layer.mergeAll(Query.layer, Export.layer).pipe(Layer.provideMerge(TestDatabase.layer))

const log = (changes = 5) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    yield* reset
    yield* sql`truncate threadline.export_jobs, threadline.export_schedules, threadline.feed_checkpoints`
    yield* write({
      transactions: [{ id: "1", occurredAt: at(1), actor: { type: "user", id: "42" } }],
      changes: Array.from({ length: changes }, (_, index) => ({
        id: String(index + 1),
        transactionId: "1",
        at: at(1),
        op: "insert" as const,
        key: String(index),
        after: Json.unsafeParse(
          `{"id":${index},"tenant":"${index % 2 === 0 ? "a" : "b"}","price":1.10,"big":9007199254740993}`
        ) as Query.RowImage
      }))
    })
  })

const directory = scratch()

/** The service with options, on a store of its own unless one is given. */
const jobsWith = Effect.fnUntraced(function* (
  options: ExportJobs.Options = {},
  given?: ExportStore.Service,
  sql?: SqlClient.SqlClient
) {
  const path = yield* directory
  const store = given ?? ExportStore.directory(path)
  const client = sql ?? (yield* SqlClient.SqlClient)
  const context = yield* Layer.build(ExportJobs.layerWith(options)).pipe(
    Effect.provideService(ExportStore.ExportStore, store),
    Effect.provideService(SqlClient.SqlClient, client)
  )
  return { jobs: Context.get(context, ExportJobs.ExportJobs), path, store }
})

const textOf = ({ bytes }: ExportJobs.Download) => Effect.map(bytesOf(bytes), String)

const actions = Effect.gen(function* () {
  const page = yield* Query.actions({ limit: 200 })
  return page.items
    .filter(({ name }) => name.startsWith("export."))
    .map(({ actor, name, status, subject }) => ({ name, status, job: subject?.id ?? null, actor }))
    .reverse()
})

const names = Effect.map(actions, (items) => items.map(({ name }) => name))

/** A store whose files wait, each until it is let go; or that fails for a while. */
const gated = (store: ExportStore.Service) =>
  Effect.gen(function* () {
    const begun = yield* Deferred.make<void>()
    const gate = yield* Deferred.make<void>()
    const through: ExportStore.Service = {
      ...store,
      write: (name, bytes, facts) =>
        store.write(
          name,
          Stream.tap(bytes, () => Effect.zipRight(Deferred.succeed(begun, undefined), Deferred.await(gate))),
          facts
        )
    }
    return { store: through, begun: Deferred.await(begun), open: Deferred.succeed(gate, undefined) }
  })

const failing = (store: ExportStore.Service, times: number) =>
  Effect.map(Ref.make(times), (left): ExportStore.Service => ({
    ...store,
    write: (name, bytes, facts) =>
      Effect.flatMap(
        Ref.getAndUpdate(left, (n) => n - 1),
        (n) =>
          n > 0
            ? new ExportJobs.ExportError({ reason: "StoreFailed", detail: "the store is away" })
            : store.write(name, bytes, facts)
      )
  }))

suite(layer, { excludeTestServices: true, timeout: 300_000 })("ExportJobs", (it) => {
  describe("a job", () => {
    it.scoped("is queued, run and downloaded, and each of these is an action", () =>
      Effect.gen(function* () {
        yield* log()
        const { jobs, path } = yield* jobsWith()
        const queued = yield* jobs.queue({
          format: "ndjson",
          filter: { table: "posts", contains: { big: Json.unsafeParse("9007199254740993") } },
          requestedBy: Actor.user("7", { label: "legal" })
        })
        expect(queued).toMatchObject({
          state: "queued",
          request: { format: "ndjson", order: "oldest", columns: null, limit: null },
          requestedBy: { type: "user", id: "7", label: "legal" },
          attempt: 0,
          attempts: 3,
          manifest: null,
          file: null
        })
        expect(Json.stringify(queued.request.filter)).toContain("9007199254740993")
        expect(yield* Effect.flip(jobs.download(queued.id))).toMatchObject({ reason: "WrongState" })
        expect(yield* jobs.run()).toEqual({ completed: 1, failed: 0, postponed: 0, expired: 0 })
        expect(yield* jobs.run()).toEqual({ completed: 0, failed: 0, postponed: 0, expired: 0 })
        const done = yield* jobs.get(queued.id)
        expect(done).toMatchObject({ state: "completed", records: 5, attempt: 1, error: null })
        expect(readdirSync(path)).toEqual([done.file])
        const download = yield* jobs.download(queued.id).pipe(AuditContext.withActor(Actor.admin("1")))
        expect(download).toMatchObject({
          fileName: `export-${queued.id}.ndjson`,
          contentType: "application/x-ndjson",
          contentEncoding: undefined
        })
        const text = yield* textOf(download)
        expect(text.trimEnd().split("\n")).toHaveLength(5)
        expect(done.manifest).toMatchObject({
          count: 5,
          bytes: Buffer.byteLength(text),
          sha256: createHash("sha256").update(text).digest("hex"),
          requestedBy: { type: "user", id: "7" },
          scope: null,
          after: null
        })
        const asker = { type: "user", id: "7", label: "legal" }
        expect(yield* actions).toEqual([
          { name: "export.queued", status: "ok", job: queued.id, actor: asker },
          { name: "export.completed", status: "ok", job: queued.id, actor: asker },
          { name: "export.downloaded", status: "ok", job: queued.id, actor: { type: "admin", id: "1" } }
        ])
      })
    )

    it.scoped("has the same bytes as a direct export, in every format and compression", () =>
      Effect.gen(function* () {
        yield* log()
        const { jobs } = yield* jobsWith()
        for (const options of [
          { format: "csv", columns: ["id", "op"], order: "newest", limit: 3 },
          { format: "csv", raw: true, compression: "gzip" },
          { format: "ndjson", filter: { op: "insert" } }
        ] as const) {
          const { id } = yield* jobs.queue(options)
          yield* jobs.run()
          const direct = yield* Stream.runCollect(Export.stream(options))
          const file = yield* Effect.flatMap(jobs.download(id), ({ bytes }) => Stream.runCollect(bytes))
          const bytesOf = (pieces: Chunk.Chunk<Uint8Array>) =>
            Buffer.concat(Chunk.toReadonlyArray(pieces)).toString("hex")
          expect(bytesOf(file)).toBe(bytesOf(direct))
        }
      })
    )

    it.scoped("is listed by state and actor, page by page", () =>
      Effect.gen(function* () {
        yield* log()
        const { jobs } = yield* jobsWith()
        const ids: Array<string> = []
        for (const actor of ["1", "2", "1"]) {
          ids.unshift((yield* jobs.queue({ format: "csv", requestedBy: Actor.user(actor) })).id)
        }
        yield* jobs.cancel(ids[1] ?? "")
        const first = yield* jobs.list({ limit: 2 })
        expect(first.items.map(({ id }) => id)).toEqual(ids.slice(0, 2))
        const rest = yield* jobs.list({ limit: 2, cursor: Option.getOrThrow(first.nextCursor) })
        expect([rest.items.map(({ id }) => id), rest.hasMore]).toEqual([ids.slice(2), false])
        const ofOne = yield* jobs.list({ requestedBy: { type: "user", id: "1" }, state: "queued" })
        expect(ofOne.items.map(({ id }) => id)).toEqual([ids[0], ids[2]])
        expect(yield* Effect.flip(jobs.list({ state: "done" as never }))).toMatchObject({ field: "state" })
        expect(yield* Effect.flip(jobs.list({ cursor: "x" }))).toMatchObject({ field: "cursor" })
      })
    )

    it.scoped("refuses wrong input and wrong states, each with one error", () =>
      Effect.gen(function* () {
        yield* log()
        const { jobs } = yield* jobsWith()
        const refused = <A, E>(effect: Effect.Effect<A, E>) => Effect.flip(effect)
        expect(yield* refused(jobs.queue({ format: "xml" as never }))).toMatchObject({ field: "format" })
        expect(
          yield* refused(jobs.queue({ format: "csv", filter: { from: "2026-02-01", to: "2026-01-01" } }))
        ).toMatchObject({ field: "to" })
        expect(yield* refused(jobs.queue({ format: "csv", filter: { cursor: "x" } as never }))).toMatchObject({
          field: "cursor"
        })
        for (const field of ["scopeName", "onManifest", "onProgress"]) {
          expect(yield* refused(jobs.queue({ format: "csv", [field]: "x" } as never))).toMatchObject({ field })
        }
        expect(yield* refused(jobs.queue({ format: "csv", scope: "x" as never }))).toMatchObject({ field: "scope" })
        expect(yield* refused(jobs.queue({ format: "csv", scope: { name: "" } }))).toMatchObject({
          field: "scope.name"
        })
        expect(yield* refused(jobs.queue({ format: "csv", scope: { name: "tenant" } }))).toMatchObject({
          reason: "ScopeRefused"
        })
        for (const call of [jobs.get, jobs.cancel, jobs.retry, jobs.download, jobs.link]) {
          expect(yield* refused<unknown, unknown>(call("999"))).toMatchObject({ subject: "export", id: "999" })
          expect(yield* refused<unknown, unknown>(call("x"))).toMatchObject({ field: "id" })
        }
        const { id } = yield* jobs.queue({ format: "csv", filter: { table: "nosuch" } })
        expect(yield* refused(jobs.retry(id))).toMatchObject({ reason: "WrongState" })
        expect(yield* jobs.run()).toMatchObject({ failed: 1 })
        const failed = yield* jobs.get(id)
        expect(failed).toMatchObject({ state: "failed", attempt: 1, error: { reason: "NotFound" } })
        expect(yield* refused(jobs.cancel(id))).toMatchObject({ reason: "WrongState" })
        expect(yield* refused(jobs.download(id))).toMatchObject({ reason: "WrongState" })
        expect(yield* names).toEqual(["export.queued", "export.failed"])
        const bare = Context.get(yield* Layer.build(ExportJobs.layer), ExportJobs.ExportJobs)
        expect(yield* refused(bare.run())).toMatchObject({ reason: "NoStore" })
        const wrong = yield* jobsWith({ attempts: 0 })
        expect(yield* refused(wrong.jobs.queue({ format: "csv" }))).toMatchObject({ field: "attempts" })
        expect(yield* refused(jobs.run({ concurrency: 0 }))).toMatchObject({ field: "concurrency" })
        // A misspelt option would be ignored in silence: a scope, for example.
        for (const call of [
          jobs.run({ onEnd: () => Effect.void } as never),
          jobs.runJob(id, { onEnd: () => Effect.void } as never),
          jobs.watch({ onEnd: () => Effect.void } as never)
        ]) {
          expect(yield* refused(call)).toMatchObject({ field: "onEnd" })
        }
        for (const call of [
          jobs.get(id, { scop: "tenant" } as never),
          jobs.cancel(id, { scop: "tenant" } as never),
          jobs.retry(id, { scop: "tenant" } as never),
          jobs.download(id, { scop: "tenant" } as never),
          jobs.list({ scop: "tenant" } as never),
          jobs.removeSchedule("nightly", { scop: "tenant" } as never)
        ]) {
          expect(yield* refused(call)).toMatchObject({ field: "scop" })
        }
      })
    )

    it.scoped("is not recorded if the host turns that off", () =>
      Effect.gen(function* () {
        yield* log()
        const { jobs } = yield* jobsWith({ record: false })
        const { id } = yield* jobs.queue({ format: "csv" })
        yield* jobs.run()
        yield* Effect.flatMap(jobs.download(id), textOf)
        expect(yield* names).toEqual([])
      })
    )
  })

  describe("limits", () => {
    it.scoped("hold per actor, also for many who ask at once", () =>
      Effect.gen(function* () {
        yield* log()
        const { jobs } = yield* jobsWith({ limits: { waitingPerActor: 2 } })
        const asked = yield* Effect.all(
          Array.from({ length: 6 }, () => Effect.either(jobs.queue({ format: "csv", requestedBy: Actor.user("1") }))),
          { concurrency: "unbounded" }
        )
        expect(asked.filter(({ _tag }) => _tag === "Right")).toHaveLength(2)
        expect(asked.find(({ _tag }) => _tag === "Left")).toMatchObject({ left: { reason: "TooManyJobs" } })
        yield* jobs.queue({ format: "csv", requestedBy: Actor.user("2") })
        yield* jobs.run()
        yield* jobs.queue({ format: "csv", requestedBy: Actor.user("1") })
      })
    )

    it.scoped("on bytes end a job for good, and leave nothing", () =>
      Effect.gen(function* () {
        yield* log()
        const { jobs, path } = yield* jobsWith({ limits: { bytes: 100 } })
        const { id } = yield* jobs.queue({ format: "csv" })
        expect(yield* jobs.run()).toMatchObject({ failed: 1 })
        expect(yield* jobs.get(id)).toMatchObject({ attempt: 1, error: { reason: "TooLarge" } })
        expect(readdirSync(path)).toEqual([])
      })
    )
  })

  describe("a scope", () => {
    const scopes = (granted: Ref.Ref<boolean>): ExportJobs.Options => ({
      scope: ({ name, parameters }) =>
        Effect.map(Ref.get(granted), (isGranted) =>
          isGranted && name === "tenant"
            ? Option.some<Query.ReadScope>(
                (surface, columns) =>
                  surface === "changes" &&
                  columns.sql`${columns.image} ->> 'tenant' = ${`${parameters?.["tenant"] as string}`}`
              )
            : Option.none()
        )
    })

    it.scoped("goes with the job, and the worker asks the host for it again", () =>
      Effect.gen(function* () {
        yield* log()
        const granted = yield* Ref.make(true)
        const { jobs } = yield* jobsWith(scopes(granted))
        const scope = { name: "tenant", parameters: { tenant: "b" } }
        const first = yield* jobs.queue({ format: "ndjson", scope })
        const second = yield* jobs.queue({ format: "ndjson", scope })
        const { jobs: one } = yield* jobsWith(scopes(granted))
        yield* one.run()
        const done = yield* jobs.get(first.id)
        expect(done).toMatchObject({ records: 2, scope, manifest: { scope: "tenant", count: 2 } })
        yield* Ref.set(granted, false)
        yield* jobs.retry(second.id).pipe(Effect.flip)
        const third = yield* Effect.flip(jobs.queue({ format: "ndjson", scope }))
        expect(third).toMatchObject({ reason: "ScopeRefused" })
      })
    )

    it.scoped("that is no longer granted ends the job without a byte", () =>
      Effect.gen(function* () {
        yield* log()
        const granted = yield* Ref.make(true)
        const { jobs, path } = yield* jobsWith(scopes(granted))
        const { id } = yield* jobs.queue({ format: "csv", scope: { name: "tenant", parameters: { tenant: "a" } } })
        yield* Ref.set(granted, false)
        expect(yield* jobs.run()).toMatchObject({ failed: 1 })
        expect(yield* jobs.get(id)).toMatchObject({ state: "failed", attempt: 1, error: { reason: "ScopeRefused" } })
        expect(readdirSync(path)).toEqual([])
      })
    )

    it.scoped("if it is required, must be named by every call, and hides the jobs of others", () =>
      Effect.gen(function* () {
        yield* log()
        const options = scopes(yield* Ref.make(true))
        const { jobs } = yield* jobsWith({ ...options, scopeRequired: true })
        const [a, b] = ["a", "b"].map((tenant) => ({ name: "tenant", parameters: { tenant } }))
        const { id } = yield* jobs.queue({ format: "csv", scope: a })
        for (const call of [
          jobs.queue({ format: "csv" }),
          jobs.list(),
          jobs.get(id),
          jobs.cancel(id),
          jobs.retry(id),
          jobs.download(id),
          jobs.link(id)
        ]) {
          expect(yield* Effect.flip<unknown, unknown, never>(call)).toMatchObject({ field: "scope" })
        }
        expect(yield* Effect.flip(jobs.get(id, { scope: b }))).toMatchObject({ subject: "export" })
        expect((yield* jobs.list({ scope: b })).items).toEqual([])
        expect((yield* jobs.list({ scope: a })).items).toHaveLength(1)
        yield* jobs.run()
        expect(yield* Effect.flatMap(jobs.download(id, { scope: a }), textOf)).toContain("insert")
      })
    )

    it.scoped("that the host cannot decide about is asked for again, and until then nothing is read", () =>
      Effect.gen(function* () {
        yield* log()
        const scope = { name: "tenant", parameters: { tenant: "a" } }
        for (const answer of [
          () => Effect.die("the database of the host is away"),
          () => Effect.succeed(undefined as never),
          () => undefined as never
        ]) {
          const { jobs: asking, path, store } = yield* jobsWith(scopes(yield* Ref.make(true)))
          const { jobs } = yield* jobsWith({ scope: answer, backoff: 0 }, store)
          expect(yield* Effect.flip(jobs.queue({ format: "csv", scope }))).toMatchObject({ reason: "Failed" })
          const { id } = yield* asking.queue({ format: "csv", scope })
          expect(yield* jobs.run()).toMatchObject({ postponed: 2, failed: 1 })
          expect(yield* asking.get(id)).toMatchObject({ state: "failed", attempt: 3, error: { reason: "Failed" } })
          expect(readdirSync(path)).toEqual([])
          yield* asking.retry(id)
          expect(yield* asking.run()).toMatchObject({ completed: 1 })
        }
      })
    )

    it.scoped("restricts no worker: under it nothing can be asked that is about the jobs of all scopes", () =>
      Effect.gen(function* () {
        yield* log()
        const { jobs } = yield* jobsWith(scopes(yield* Ref.make(true)))
        const { id } = yield* jobs.queue({ format: "csv", scope: { name: "tenant", parameters: { tenant: "b" } } })
        for (const call of [
          ExportJobs.ready,
          ExportJobs.runJob(id),
          ExportJobs.run(),
          ExportJobs.watch(),
          ExportJobs.expire,
          ExportJobs.schedules,
          ExportJobs.removeSchedule("daily")
        ]) {
          const refused = Effect.flip<unknown, unknown, ExportJobs.ExportJobs>(call).pipe(
            Query.withScope(() => true),
            Effect.provideService(ExportJobs.ExportJobs, jobs)
          )
          expect(yield* refused).toMatchObject({ _tag: "threadline/InvalidRequest", field: "scope" })
        }
        expect(yield* jobs.get(id)).toMatchObject({ state: "queued" })
      })
    )

    it.scoped("that only a function says cannot be taken along: under it a job must name one", () =>
      Effect.gen(function* () {
        yield* log()
        const { jobs } = yield* jobsWith()
        const asked = yield* ExportJobs.queue({ format: "csv" }).pipe(
          Query.withScope(() => true),
          Effect.provideService(ExportJobs.ExportJobs, jobs),
          Effect.flip
        )
        expect(asked).toMatchObject({ field: "scope" })
      })
    )
  })

  describe("what fails", () => {
    it.scoped("is tried again after a while, and the last error is kept without captured values", () =>
      Effect.gen(function* () {
        yield* log()
        const { path, store } = yield* jobsWith()
        const { jobs } = yield* jobsWith({ backoff: 0 }, yield* failing(store, 2))
        const { id } = yield* jobs.queue({ format: "csv" })
        expect(yield* jobs.run()).toEqual({ completed: 1, failed: 0, postponed: 2, expired: 0 })
        expect(yield* jobs.get(id)).toMatchObject({ state: "completed", attempt: 3, error: null })
        expect(readdirSync(path)).toHaveLength(1)
        const { jobs: never } = yield* jobsWith({ backoff: "1 hour" }, yield* failing(store, 9))
        const waiting = yield* never.queue({ format: "csv" })
        expect(yield* never.run()).toMatchObject({ postponed: 1 })
        const postponed = yield* never.get(waiting.id)
        expect(postponed).toMatchObject({
          state: "queued",
          error: { reason: "StoreFailed", detail: "the store is away" }
        })
        expect(Date.parse(postponed.availableAt) - Date.parse(postponed.requestedAt)).toBeGreaterThan(3_500_000)
        expect(yield* never.run()).toMatchObject({ completed: 0, postponed: 0 })
      })
    )

    it.scoped("says nothing of a captured value", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* log()
        const { jobs } = yield* jobsWith({
          attempts: 1,
          scope: () =>
            Effect.succeed(
              Option.some<Query.ReadScope>(
                (surface, columns) => surface === "changes" && columns.sql`(${columns.image} ->> 'tenant')::int = 1`
              )
            )
        })
        const { id } = yield* jobs.queue({ format: "csv", scope: { name: "broken" } })
        yield* jobs.run()
        const { error } = yield* jobs.get(id)
        expect(error).toMatchObject({ reason: "InvalidRequest" })
        expect(JSON.stringify(error)).not.toMatch(/"a"|"b"|tenant/)
        expect(yield* sql`select from threadline.audit_actions where data::text ~ 'invalid input'`).toEqual([])
      })
    )

    it.scoped("because something of the host throws is tried again, and the worker goes on", () =>
      Effect.gen(function* () {
        yield* log()
        const { jobs: asking, path, store } = yield* jobsWith()
        const throws = (): never => {
          throw new Error("of the host")
        }
        for (const [what, options, broken] of [
          ["a store that throws", {}, { ...store, write: throws }],
          ["a store that dies", {}, { ...store, write: () => Effect.die("of the host") }],
          ["a store that fails as no store may", {}, { ...store, write: () => Effect.fail("of the host" as never) }]
        ] as const) {
          const { jobs } = yield* jobsWith({ attempts: 2, backoff: 0, ...options }, broken)
          const { id } = yield* jobs.queue({ format: "csv" })
          expect(yield* jobs.run(), what).toMatchObject({ postponed: 1, failed: 1 })
          const { error, state } = yield* asking.get(id)
          expect({ reason: error?.reason, state }, what).toEqual({ reason: "Failed", state: "failed" })
          expect(JSON.stringify(error), what).not.toContain("of the host threw: ")
        }
        expect(readdirSync(path)).toEqual([])
        // Callbacks that throw cost a job nothing.
        const { jobs } = yield* jobsWith({ onSettled: throws }, store)
        yield* jobs.queue({ format: "csv" })
        yield* jobs.queue({ format: "csv" })
        expect(yield* jobs.run({ onEnded: throws })).toMatchObject({ completed: 2 })
      })
    )

    it.scoped("reaches the host through its callback, as what is completed does", () =>
      Effect.gen(function* () {
        yield* log()
        const toldStates = yield* Ref.make<ReadonlyArray<string>>([])
        const { jobs } = yield* jobsWith({
          onSettled: (job) =>
            Effect.zipRight(
              Ref.update(toldStates, (before) => [...before, `${job.id} ${job.state}`]),
              Effect.fail("the host fails too")
            )
        })
        const fine = yield* jobs.queue({ format: "csv" })
        const wrong = yield* jobs.queue({ format: "csv", filter: { table: "nosuch" } })
        expect(yield* jobs.run()).toMatchObject({ completed: 1, failed: 1 })
        expect(yield* Ref.get(toldStates)).toEqual([`${fine.id} completed`, `${wrong.id} failed`])
      })
    )
  })

  describe("workers", () => {
    it.scoped("run each job once, however many of them there are", () =>
      Effect.gen(function* () {
        yield* log(200)
        const { jobs, path, store } = yield* jobsWith()
        const writes = yield* Ref.make(0)
        const counting: ExportStore.Service = {
          ...store,
          write: (...args) =>
            Effect.zipRight(
              Ref.update(writes, (n) => n + 1),
              store.write(...args)
            )
        }
        const ids = yield* Effect.forEach(Array.from({ length: 12 }), (_, n) =>
          Effect.map(jobs.queue({ format: "csv", requestedBy: Actor.user(String(n)) }), ({ id }) => id)
        )
        const workers = yield* Effect.all(Array.from({ length: 4 }, () => jobsWith({}, counting)))
        const ran = yield* Effect.all(
          workers.map((worker) => worker.jobs.run()),
          { concurrency: "unbounded" }
        )
        expect(ran.reduce((sum, { completed }) => sum + completed, 0)).toBe(12)
        expect(yield* Ref.get(writes)).toBe(12)
        expect(readdirSync(path)).toHaveLength(12)
        const after = yield* Effect.forEach(ids, (id) => jobs.get(id))
        expect(
          after.every(({ attempt, records, state }) => state === "completed" && attempt === 1 && records === 200)
        ).toBe(true)
      })
    )

    it.scoped("notice within a second or two that a job was cancelled, and leave nothing", () =>
      Effect.gen(function* () {
        yield* log()
        const { jobs: asking, path, store } = yield* jobsWith()
        const gate = yield* gated(store)
        const { jobs } = yield* jobsWith({}, gate.store)
        const { id } = yield* asking.queue({ format: "csv" })
        const running = yield* Effect.fork(jobs.run())
        yield* gate.begun
        expect(yield* eventually("the job runs", asking.get(id), ({ state }) => state === "running")).toMatchObject({
          attempt: 1
        })
        expect(yield* asking.cancel(id)).toMatchObject({ state: "cancelled" })
        expect(yield* Fiber.join(running)).toMatchObject({ completed: 0, failed: 0 })
        expect(readdirSync(path)).toEqual([])
        expect(yield* asking.get(id)).toMatchObject({ state: "cancelled", file: null })
        yield* gate.open
        expect(yield* asking.retry(id)).toMatchObject({ state: "queued", attempt: 0 })
        expect(yield* asking.run()).toMatchObject({ completed: 1 })
        expect(yield* names).toEqual(["export.queued", "export.cancelled", "export.retried", "export.completed"])
      })
    )

    it.scoped("take up the job of one that is dead, and its result is whole", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* log()
        const { jobs: asking, path, store } = yield* jobsWith()
        const gate = yield* gated(store)
        const { jobs: dying } = yield* jobsWith({ lease: "1 hour" }, gate.store)
        const { id } = yield* asking.queue({ format: "csv" })
        const zombie = yield* Effect.fork(dying.run())
        yield* gate.begun
        const [draft] = readdirSync(path)
        expect(draft).toMatch(/\.partial$/)
        expect(yield* asking.run()).toMatchObject({ completed: 0 })
        yield* sql`update threadline.export_jobs set lease_until = clock_timestamp() - interval '1 second'`
        expect(yield* asking.run()).toMatchObject({ completed: 1 })
        const done = yield* asking.get(id)
        expect(done).toMatchObject({ state: "completed", attempt: 2, records: 5 })
        // The one that was thought dead finds that its lease is lost.
        yield* gate.open
        expect(yield* Fiber.join(zombie)).toMatchObject({ completed: 0, failed: 0 })
        expect(readdirSync(path)).toEqual([done.file])
        expect(yield* Effect.flatMap(asking.download(id), textOf)).toContain("insert")
        expect(yield* names).toEqual(["export.queued", "export.completed", "export.downloaded"])
      })
    )

    it.scoped("that come late keep a job that nobody has taken, and can do nothing to one that another has", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* log()
        const { jobs } = yield* jobsWith()
        const { id } = yield* jobs.queue({ format: "csv" })
        const claim = (worker: string, seconds: number) =>
          Effect.map(sql`select job from threadline.export_claim(${worker}, ${seconds})`, ({ length }) => length === 1)
        const renew = (worker: string, seconds: number) =>
          sql`select threadline.export_renew(${id}::bigint, ${worker}, ${seconds}, 1, 1, null) as answer`
        const calls = (worker: string) => [
          renew(worker, 3600),
          sql`select threadline.export_place(${id}::bigint, ${worker}) is not null as answer`,
          sql`select threadline.export_fail(${id}::bigint, ${worker}, '{}', 0, null) is not null as answer`,
          sql`select threadline.export_release(${id}::bigint, ${worker}) as answer`,
          sql`
            select threadline.export_complete(${id}::bigint, ${worker}, '{"count": 0, "bytes": 0}', 60, null, null, null, null, null)
              <> 'lost' as answer`
        ]
        const state = sql`
          select state, attempt, records::text, location, lease_token, lease_until::text from threadline.export_jobs`
        expect(yield* claim("the worker that is slow", 0)).toBe(true)
        // Its lease has run out, and it is renewed before anybody takes the job.
        expect(yield* renew("the worker that is slow", 3600)).toEqual([{ answer: true }])
        expect(yield* claim("the other worker", 3600)).toBe(false)
        yield* renew("the worker that is slow", 0)
        expect(yield* claim("the other worker", 3600)).toBe(true)
        expect(yield* claim("a third worker, at once", 3600)).toBe(false)
        const before = yield* state
        expect(yield* Effect.all(calls("the worker that is slow"))).toEqual(Array(5).fill([{ answer: false }]))
        expect(yield* state).toEqual(before)
        expect(yield* sql`select threadline.export_release(${id}::bigint, 'the other worker') as answer`).toEqual([
          { answer: true }
        ])
        expect(yield* jobs.run()).toMatchObject({ completed: 1 })
      })
    )

    it.scoped("whose clocks are wrong by a day have jobs as the clock of the database alone decides", () =>
      Effect.gen(function* () {
        yield* log()
        const { jobs: asking, path, store } = yield* jobsWith()
        const wrongBy = (days: number) => {
          const clock = Clock.make()
          const now = () => clock.unsafeCurrentTimeMillis() + days * 86_400_000
          const wrong: Clock.Clock = Object.assign(Object.create(clock) as Clock.Clock, {
            currentTimeMillis: Effect.sync(now),
            unsafeCurrentTimeMillis: now
          })
          return Effect.withClock(wrong)
        }
        for (const [late, early] of [
          [-1, 1],
          [1, -1]
        ] as const) {
          const gate = yield* gated(store)
          const { jobs: working } = yield* jobsWith({}, gate.store)
          const { id } = yield* asking.queue({ format: "csv" })
          const running = yield* Effect.fork(wrongBy(late)(working.run()))
          yield* gate.begun
          expect(yield* wrongBy(early)(asking.run())).toMatchObject({ completed: 0 })
          yield* gate.open
          expect(yield* Fiber.join(running)).toMatchObject({ completed: 1 })
          expect(yield* asking.get(id)).toMatchObject({ state: "completed", attempt: 1 })
        }
        expect(readdirSync(path)).toHaveLength(2)
      })
    )

    it.scoped("that cannot renew their lease for as long as it lasts stop, and leave nothing", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const database = yield* TestDatabase.TestDatabase
        const other = yield* database.rawClient()
        yield* log()
        const renewing = "threadline.export_renew(bigint, text, double precision, bigint, bigint, bigint)"
        const elsewhere = (text: string) => Effect.promise(() => other.query(text))
        for (const [fails, recovers] of [
          // The answer does not come.
          ["begin; select from threadline.export_jobs for update", "commit"],
          // The answer is an error.
          [
            `alter function ${renewing} rename to export_renew_not`,
            `alter function ${renewing.replace("renew", "renew_not")} rename to export_renew`
          ]
        ] as const) {
          const { jobs: asking, path, store } = yield* jobsWith()
          const gate = yield* gated(store)
          const { jobs: working } = yield* jobsWith({ lease: "2 seconds" }, gate.store)
          const { id } = yield* asking.queue({ format: "csv" })
          const running = yield* Effect.fork(working.runJob(id))
          yield* gate.begun
          yield* elsewhere(fails)
          // Nobody lets it go on: it ends by itself.
          expect(yield* Fiber.join(running)).toMatchObject({ state: "running", attempt: 1 })
          expect(readdirSync(path)).toEqual([])
          yield* elsewhere(recovers)
          yield* sql`update threadline.export_jobs set lease_until = clock_timestamp() - interval '1 second' where id = ${id}::bigint`
          expect(yield* asking.run()).toMatchObject({ completed: 1 })
          const done = yield* asking.get(id)
          expect(done).toMatchObject({ state: "completed", attempt: 2, records: 5 })
          expect(readdirSync(path)).toEqual([done.file])
        }
        expect((yield* names).filter((name) => name === "export.completed")).toHaveLength(2)
      })
    )

    it.scoped("give up a job that no worker survives", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* log()
        const { jobs } = yield* jobsWith()
        const { id } = yield* jobs.queue({ format: "csv" })
        yield* sql`
          update threadline.export_jobs
          set state = 'running', attempt = 3, lease_token = 'somebody who is dead', lease_until = now() - interval '1 second'`
        expect(yield* jobs.run()).toMatchObject({ failed: 1 })
        expect(yield* jobs.get(id)).toMatchObject({ state: "failed", error: { reason: "Abandoned" } })
      })
    )

    it.scoped("give their job back when they end", () =>
      Effect.gen(function* () {
        yield* log()
        const { jobs: asking, path, store } = yield* jobsWith()
        const gate = yield* gated(store)
        const { jobs } = yield* jobsWith({}, gate.store)
        const { id } = yield* asking.queue({ format: "csv" })
        const worker = yield* Effect.fork(
          Effect.scoped(
            Effect.zipRight(
              Layer.build(Layer.provide(ExportJobs.layerWorker(), Layer.succeed(ExportJobs.ExportJobs, jobs))),
              Effect.never
            )
          )
        )
        yield* gate.begun
        yield* Fiber.interrupt(worker)
        expect(readdirSync(path)).toEqual([])
        expect(yield* asking.get(id)).toMatchObject({ state: "queued", attempt: 0 })
        expect(yield* asking.run()).toMatchObject({ completed: 1 })
      })
    )

    it.scoped("go on when the database cuts off what they read and what they say", () =>
      Effect.gen(function* () {
        const database = yield* TestDatabase.TestDatabase
        yield* log()
        const { jobs: asking, path, store } = yield* jobsWith()
        const gate = yield* gated(store)
        const cut = yield* Effect.map(
          Layer.build(
            PgClient.layer({ url: Redacted.make(database.url), maxConnections: 3, applicationName: "threadline-cut" })
          ),
          (context) => Context.get(context, SqlClient.SqlClient)
        )
        const { jobs } = yield* jobsWith({ backoff: 0 }, gate.store, cut)
        const { id } = yield* asking.queue({ format: "csv" })
        const running = yield* Effect.fork(jobs.run())
        yield* gate.begun
        const sql = yield* SqlClient.SqlClient
        yield* sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'threadline-cut'`
        yield* gate.open
        yield* Fiber.await(running)
        yield* asking.run()
        const done = yield* asking.get(id)
        expect(done).toMatchObject({ state: "completed", records: 5 })
        expect(readdirSync(path)).toEqual([done.file])
      })
    )
  })

  describe("files", () => {
    it.scoped("that expire are removed by the store before they are marked", () =>
      Effect.gen(function* () {
        yield* log()
        const { path, store } = yield* jobsWith()
        const refuses = yield* Ref.make(true)
        const fussy: ExportStore.Service = {
          ...store,
          remove: (name) =>
            Effect.flatMap(Ref.get(refuses), (refused) =>
              refused ? new ExportJobs.ExportError({ reason: "StoreFailed", detail: "not now" }) : store.remove(name)
            )
        }
        const { jobs } = yield* jobsWith({ expiresAfter: 0 }, fussy)
        const { id } = yield* jobs.queue({ format: "csv" })
        expect(yield* Effect.flip(jobs.run())).toMatchObject({ reason: "StoreFailed" })
        expect(yield* jobs.get(id)).toMatchObject({ state: "completed" })
        expect(yield* Effect.flip(jobs.download(id))).toMatchObject({ reason: "Expired" })
        expect(readdirSync(path)).toHaveLength(1)
        yield* Ref.set(refuses, false)
        expect(yield* jobs.expire).toBe(1)
        expect(yield* jobs.expire).toBe(0)
        expect(readdirSync(path)).toEqual([])
        expect(yield* jobs.get(id)).toMatchObject({ state: "expired", file: null, manifest: { count: 5 } })
        expect(yield* Effect.flip(jobs.download(id))).toMatchObject({ reason: "Expired" })
        expect(yield* Effect.flip(jobs.link(id))).toMatchObject({ reason: "Expired" })
        expect(yield* names).toEqual(["export.queued", "export.completed", "export.expired"])
      })
    )

    it.scoped("that cannot be removed keep no other file, and no job, from going", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* log()
        const { jobs: asking, path, store } = yield* jobsWith({ expiresAfter: 0 })
        for (const refusal of [
          new ExportJobs.ExportError({ reason: "StoreFailed", detail: "it is held" }),
          "the store throws"
        ]) {
          const made = yield* Effect.forEach([1, 2, 3], () => asking.queue({ format: "csv" }))
          yield* Effect.forEach(made, ({ id }) => asking.runJob(id))
          const forgotten = yield* asking.queue({ format: "csv" })
          yield* sql`update threadline.export_jobs set state = 'failed', finished_at = now() where id = ${forgotten.id}::bigint`
          const stuck = (yield* asking.get(made[0]?.id ?? "")).file
          const { jobs } = yield* jobsWith(
            { forgetAfter: 0 },
            {
              ...store,
              remove: (file) =>
                file !== stuck
                  ? store.remove(file)
                  : typeof refusal === "string"
                    ? Effect.die(refusal)
                    : Effect.fail(refusal)
            }
          )
          expect(yield* Effect.flip(jobs.expire)).toMatchObject({ reason: "StoreFailed" })
          expect(readdirSync(path)).toEqual([stuck])
          expect(yield* Effect.flip(asking.get(forgotten.id))).toMatchObject({ subject: "export" })
          expect(yield* asking.expire).toBe(1)
          expect(readdirSync(path)).toEqual([])
        }
      })
    )

    it.scoped("of workers that died one after the other are all removed", () =>
      Effect.gen(function* () {
        yield* log()
        const sql = yield* SqlClient.SqlClient
        const { jobs, path, store } = yield* jobsWith()
        const { id } = yield* jobs.queue({ format: "parquet" })
        const location = Effect.map(
          sql<{ readonly location: string }>`select location from threadline.export_jobs where id = ${id}::bigint`,
          ([row]) => row?.location ?? ""
        )
        // The first one dies while it writes, the second one before it has removed anything.
        yield* sql`select * from threadline.export_claim('the first worker', 0)`
        yield* store.write(yield* location, Stream.make(Buffer.from("PAR1")), {
          contentType: "",
          contentEncoding: undefined
        })
        expect(readdirSync(path)).toHaveLength(1)
        yield* sql`select * from threadline.export_claim('the second worker', 0)`
        expect(yield* jobs.run()).toMatchObject({ completed: 1 })
        const { attempt, file } = yield* jobs.get(id)
        expect({ attempt, names: readdirSync(path) }).toEqual({ attempt: 3, names: [file] })
      })
    )

    it.scoped("of an attempt that the store cannot remove keep their name until it can", () =>
      Effect.gen(function* () {
        yield* log()
        const { path, store } = yield* jobsWith()
        const refused = new ExportJobs.ExportError({ reason: "StoreFailed", detail: "the store is away" })
        const failures = yield* Ref.make(2)
        const written = yield* Ref.make(false)
        const { jobs } = yield* jobsWith(
          { backoff: 0, attempts: 5 },
          {
            ...store,
            // The file is there, and its worker does not get to know it.
            write: (...args) =>
              Effect.zipRight(
                store.write(...args),
                Effect.flatMap(Ref.getAndSet(written, true), (again) => (again ? Effect.void : Effect.fail(refused)))
              ),
            remove: (file) =>
              Effect.flatMap(
                Ref.getAndUpdate(failures, (left) => left - 1),
                (left) => (left > 0 ? Effect.fail(refused) : store.remove(file))
              )
          }
        )
        const { id } = yield* jobs.queue({ format: "csv" })
        expect(yield* jobs.run()).toMatchObject({ completed: 1, postponed: 3 })
        const { attempt, file } = yield* jobs.get(id)
        expect({ attempt, names: readdirSync(path) }).toEqual({ attempt: 4, names: [file] })
      })
    )

    it.scoped("are forgotten with their jobs, a while after they have ended", () =>
      Effect.gen(function* () {
        yield* log()
        const { jobs: kept } = yield* jobsWith({ expiresAfter: 0 })
        const { id: expired } = yield* kept.queue({ format: "csv" })
        const { id: cancelled } = yield* kept.queue({ format: "csv", filter: { table: "nosuch" } })
        yield* kept.cancel(cancelled)
        expect(yield* kept.run()).toMatchObject({ completed: 1, expired: 1 })
        expect((yield* kept.list()).items.map(({ id }) => id)).toEqual([cancelled, expired])
        const { jobs } = yield* jobsWith({ forgetAfter: 0 })
        const { id } = yield* jobs.queue({ format: "csv" })
        expect(yield* jobs.run()).toMatchObject({ completed: 1, expired: 0 })
        expect((yield* jobs.list()).items.map((job) => [job.id, job.state])).toEqual([[id, "completed"]])
        expect(yield* Effect.flip(jobs.get(expired))).toMatchObject({ _tag: "threadline/NotFound", subject: "export" })
      })
    )

    it.scoped("have links that are signed, and end", () =>
      Effect.gen(function* () {
        yield* log()
        const links = { url: "https://app.example/audit/file?x=1", key: "a secret of some length" }
        const { jobs } = yield* jobsWith({ links })
        const { id } = yield* jobs.queue({ format: "csv" })
        yield* jobs.run()
        const url = new URL(yield* jobs.link(id, { expiresIn: "5 minutes" }))
        const token = url.searchParams.get("token") ?? ""
        expect([url.origin, url.pathname, url.searchParams.get("x")]).toEqual([
          "https://app.example",
          "/audit/file",
          "1"
        ])
        const file = yield* jobs.open(token)
        expect(yield* textOf(file)).toContain("insert")
        const { jobs: other } = yield* jobsWith({ links: { ...links, key: "another secret of some length" } })
        const { jobs: none } = yield* jobsWith()
        const [version, job, expiry, signature] = token.split(".")
        for (const [service, forged] of [
          [other, token],
          [none, token],
          [jobs, ""],
          [jobs, `${token}x`],
          [jobs, [version, Number(job) + 1, expiry, signature].join(".")],
          [jobs, [version, job, "zzzzzzzzz", signature].join(".")],
          [jobs, 5 as never]
        ] as const) {
          expect(yield* Effect.flip(service.open(forged))).toMatchObject({ reason: "LinkRefused" })
        }
        const short = new URL(yield* jobs.link(id, { expiresIn: "1 second" })).searchParams.get("token") ?? ""
        yield* until("the link has expired", Effect.map(Effect.either(jobs.open(short)), Either.isLeft))
        expect(yield* Effect.flip(jobs.link(id, { expiresIn: "8 days" }))).toMatchObject({ field: "expiresIn" })
        expect(yield* Effect.flip(none.link(id))).toMatchObject({ reason: "Unsupported" })
      })
    )
  })

  it.scoped("lets readers queue, operators run, and nobody else do either", () =>
    Effect.gen(function* () {
      const database = yield* TestDatabase.TestDatabase
      yield* log()
      const [reader, operator, writer] = yield* Effect.all(
        ["jobs reader", "jobs operator", "jobs writer"].map((label) => database.role(label))
      )
      yield* Grants.apply({
        readers: [reader?.name ?? ""],
        operators: [operator?.name ?? ""],
        writers: [writer?.name ?? ""]
      })
      const store = (yield* jobsWith()).store
      const as = (url = "") =>
        Effect.gen(function* () {
          const context = yield* Layer.build(clientOf(url))
          return (yield* jobsWith({}, store, Context.get(context, SqlClient.SqlClient))).jobs
        })
      const [reads, operates, writes] = [yield* as(reader?.url), yield* as(operator?.url), yield* as(writer?.url)]
      const { id } = yield* reads.queue({ format: "csv" })
      const denied = { reason: "InsufficientPrivilege" }
      expect(yield* Effect.flip(reads.run())).toMatchObject(denied)
      expect(yield* Effect.flip(writes.queue({ format: "csv" }))).toMatchObject(denied)
      expect(yield* Effect.flip(writes.get(id))).toMatchObject(denied)
      expect(yield* operates.run()).toMatchObject({ completed: 1 })
      expect(yield* Effect.flatMap(reads.download(id), textOf)).toContain("insert")
      const sql = yield* database.connect("jobs operator")
      for (const statement of [
        "insert into threadline.export_jobs (request, attempts) values ('{}', 1)",
        "update threadline.export_jobs set state = 'queued'",
        "delete from threadline.export_jobs",
        "truncate threadline.export_schedules"
      ]) {
        expect((yield* Effect.exit(sql.unsafe(statement)))._tag, statement).toBe("Failure")
      }
    })
  )
})
