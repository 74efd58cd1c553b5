/** Row-level security on the record: whatever reads it, or removes from it, says that rows may be hidden. */
import type * as SqlClient from "@effect/sql/SqlClient"
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Capture from "../../src/Capture.js"
import * as Continuity from "../../src/Continuity.js"
import * as Evidence from "../../src/Evidence.js"
import * as Export from "../../src/Export.js"
import * as ExportJobs from "../../src/ExportJobs.js"
import * as ExportStore from "../../src/ExportStore.js"
import * as Feed from "../../src/Feed.js"
import * as Grants from "../../src/Grants.js"
import * as Health from "../../src/Health.js"
import * as Migrations from "../../src/Migrations.js"
import * as Query from "../../src/Query.js"
import * as Retention from "../../src/Retention.js"
import * as SavedViews from "../../src/SavedViews.js"
import { clientOf } from "../harness/client.js"
import { attacks, type Host } from "../support/adversarial.js"

const services = Layer.mergeAll(
  Capture.layer,
  Continuity.layer,
  Evidence.layer,
  ExportJobs.layer.pipe(Layer.provide(ExportStore.layerDirectory(join(tmpdir(), "threadline-hidden")))),
  Health.layer,
  Retention.layer
)

type Services = Layer.Layer.Success<typeof services>

const view = { owner: { type: "user", id: "1" }, name: "mine", filter: {} } as const

const schedule = {
  name: "daily",
  cron: "0 3 * * *",
  window: "previous-day",
  format: "csv",
  filter: { table: "t" }
} as const

const at = { from: "2026-01-01", to: "2026-02-01" }

const jobs = ExportJobs.ExportJobs

/** Operations of services whose layers ask the database nothing. */
const operations: Readonly<Record<string, Effect.Effect<unknown, unknown, Services>>> = {
  "Capture.status": Capture.status(),
  "Capture.plan": Capture.plan([{ table: "t" }]),
  "Capture.apply": Capture.apply([{ table: "t" }]),
  "Capture.remove": Capture.remove(["t"]),
  "Capture.print": Capture.print([{ table: "t" }]),
  "Continuity.check": Continuity.check(),
  "Continuity.baseline of all": Continuity.baseline(),
  "Continuity.baseline of a table": Continuity.baseline({ tables: ["t"] }),
  "Evidence.list": Evidence.list(),
  "Evidence.latest": Evidence.latest("retention_run", "x"),
  "Evidence.history": Evidence.history("retention_run", "x"),
  "Evidence.overview": Evidence.overview,
  "Evidence.record": Evidence.record("redaction_policy", { reference: "x", status: "ok", detail: { tables: [] } }),
  "ExportJobs.list": Effect.flatMap(jobs, (service) => service.list()),
  "ExportJobs.get": Effect.flatMap(jobs, (service) => service.get("1")),
  "ExportJobs.cancel": Effect.flatMap(jobs, (service) => service.cancel("1")),
  "ExportJobs.retry": Effect.flatMap(jobs, (service) => service.retry("1")),
  "ExportJobs.download": Effect.flatMap(jobs, (service) => service.download("1")),
  "ExportJobs.link": Effect.flatMap(jobs, (service) => service.link("1")),
  "ExportJobs.queue": ExportJobs.queue({ format: "csv", filter: { table: "t" } }),
  "ExportJobs.run": Effect.flatMap(jobs, (service) => service.run()),
  "ExportJobs.runJob": Effect.flatMap(jobs, (service) => service.runJob("1")),
  "ExportJobs.ready": Effect.flatMap(jobs, (service) => service.ready),
  "ExportJobs.expire": Effect.flatMap(jobs, (service) => service.expire),
  "ExportJobs.schedules": Effect.flatMap(jobs, (service) => service.schedules),
  "ExportJobs.removeSchedule": Effect.flatMap(jobs, (service) => service.removeSchedule("daily")),
  "ExportJobs.addSchedule": Effect.flatMap(jobs, (service) => service.addSchedule(schedule)),
  "Health.coverage": Health.coverage(),
  "Health.policies": Health.policies(),
  "Health.canary": Health.canary,
  "Retention.runs": Retention.runs(),
  "Retention.plan": Retention.plan({ keep: "1 day" }),
  "Retention.maintain": Retention.maintain()
}

/** Layers that look once, when they are built, and what else they do each time. */
const layers: Readonly<Record<string, (url: string) => Effect.Effect<unknown, unknown>>> = {
  Query: (url) => Effect.provide(Query.timeline(), Query.layer.pipe(Layer.provide(clientOf(url)))),
  Feed: (url) => Effect.provide(Feed.read(), Feed.layer.pipe(Layer.provide(clientOf(url)))),
  Export: (url) =>
    Effect.provide(
      Effect.flatMap(Export.Export, (service) =>
        Stream.runDrain(service.stream({ format: "csv", filter: { table: "t", ...at } }))
      ),
      Export.layer.pipe(Layer.provide(clientOf(url)))
    ),
  SavedViews: (url) => Effect.provide(SavedViews.list(), SavedViews.layer.pipe(Layer.provide(clientOf(url))))
}

const refusal = (error: unknown): string =>
  error instanceof Error && "reason" in error ? String(error.reason) : String(error)

const outcomeOf = <R>(effect: Effect.Effect<unknown, unknown, R>): Effect.Effect<string, never, R> =>
  Effect.match(effect, { onFailure: refusal, onSuccess: () => "an answer" })

const every = (url: string) =>
  Effect.gen(function* () {
    const outcomes: Record<string, string> = {}
    for (const [name, operation] of Object.entries(operations)) {
      outcomes[name] = yield* outcomeOf(Effect.provide(operation, services.pipe(Layer.provide(clientOf(url)))))
    }
    for (const [name, use] of Object.entries(layers)) {
      outcomes[name] = yield* outcomeOf(use(url))
    }
    return outcomes
  })

const refused = Object.fromEntries(
  [...Object.keys(operations), ...Object.keys(layers)].map((name) => [name, "RecordHidden"])
)

const prepared = ({ apply, db }: Host) =>
  Effect.gen(function* () {
    yield* db.run("create table t (id int primary key)", "insert into t values (1), (2)")
    yield* apply("t")
    yield* db.run("insert into t values (3)")
  })

const changesIn = ({ db }: Host) => db.value("select count(*) from threadline.audit_changes")

/** As if a host had forced it: rows may be added, and none is seen. */
const whileHidden = <A, E, R>({ db }: Host, table: string, use: Effect.Effect<A, E, R>) =>
  Effect.acquireUseRelease(
    db.run(
      `alter table threadline.${table} enable row level security`,
      `alter table threadline.${table} force row level security`,
      `create policy added on threadline.${table} for insert with check (true)`
    ),
    () => use,
    () =>
      Effect.orDie(
        db.run(
          `drop policy added on threadline.${table}`,
          `alter table threadline.${table} no force row level security`,
          `alter table threadline.${table} disable row level security`
        )
      )
  )

attacks("row-level security on the record", (attack) => {
  attack("is refused by every operation if rows may be hidden from the role that asks", (host) =>
    Effect.gen(function* () {
      yield* prepared(host)
      const operator = yield* host.role("operator")
      const { database, db } = host
      yield* db.run(`grant ${yield* database.ownOwner} to ${operator}`, `grant all on t to ${operator}`)
      yield* Effect.orDie(
        Grants.apply({ operators: [operator], readers: [operator] }).pipe(Effect.provide(clientOf(database.url)))
      )
      const { url } = yield* database.role("operator")
      for (const table of ["retention_runs", "audit_changes"]) {
        expect([table, yield* whileHidden(host, table, every(url))]).toEqual([table, refused])
      }
    }).pipe(Effect.orDie)
  )

  attack("is refused by every operation if it is forced on the owner of the record, also for a superuser", (host) =>
    Effect.gen(function* () {
      yield* prepared(host)
      const { database, db } = host
      yield* db.run("update threadline.audit_changes set captured_at = captured_at - interval '2 days'")
      const retained = yield* Effect.provide(
        Effect.flatMap(Retention.plan({ keep: "1 day" }), (plan) =>
          whileHidden(host, "audit_changes", outcomeOf(Retention.purge(plan)))
        ),
        Retention.layer.pipe(Layer.provide(clientOf(database.url)))
      )
      expect(retained).toBe("RecordHidden")
      const before = yield* changesIn(host)
      expect(yield* whileHidden(host, "audit_changes", every(database.url))).toEqual(refused)
      expect(yield* changesIn(host)).toBe(before)
    }).pipe(Effect.orDie)
  )

  attack("is noticed by each read of a layer that looked before it was enabled, and the reader is refused", (host) =>
    Effect.gen(function* () {
      yield* prepared(host)
      const { database } = host
      const owner = { type: "user", id: "1" } as const
      const use = Effect.gen(function* () {
        const feed = yield* Feed.Feed
        const views = yield* SavedViews.SavedViews
        yield* feed.consume("c", () => Effect.void)
        yield* views.save(view)
        const reads = {
          checkpoints: feed.checkpoints,
          forget: feed.forget("c"),
          consume: feed.consume("c", () => Effect.void),
          list: views.list(),
          get: views.get(owner, "mine"),
          save: views.save(view),
          remove: views.remove(owner, "mine")
        }
        const outcomes: Record<string, string> = {}
        for (const [name, read] of Object.entries(reads)) {
          outcomes[name] = yield* whileHidden(host, "feed_checkpoints", outcomeOf(read))
        }
        expect(outcomes).toEqual(Object.fromEntries(Object.keys(reads).map((name) => [name, "RecordHidden"])))
      })
      yield* Effect.provide(use, Layer.merge(Feed.layer, SavedViews.layer).pipe(Layer.provide(clientOf(database.url))))
    }).pipe(Effect.orDie)
  )

  attack(
    "is refused by retention if it is on a partition alone, which reads of the whole table do not notice",
    (host) =>
      Effect.gen(function* () {
        yield* prepared(host)
        const { database, db } = host
        const other = yield* host.role("other")
        yield* Effect.orDie(
          Grants.apply({ operators: [other], readers: [other] }).pipe(Effect.provide(clientOf(database.url)))
        )
        const { url } = yield* database.role("other")
        const plan = Effect.provide(
          Retention.plan({ keep: "1 day" }),
          Retention.layer.pipe(Layer.provide(clientOf(url)))
        )
        yield* db.run("update threadline.audit_changes set captured_at = captured_at - interval '2 days'")
        const leaf = yield* db.value("select tableoid::regclass::text from threadline.audit_changes limit 1")
        yield* db.run(`alter table ${leaf} enable row level security`)
        expect(yield* outcomeOf(plan)).toBe("RecordHidden")
        yield* db.run(`alter table ${leaf} disable row level security`)
      }).pipe(Effect.orDie)
  )

  attack("lets no migration that it hides be taken for a pending one", (host) =>
    Effect.gen(function* () {
      const uses: ReadonlyArray<Effect.Effect<unknown, unknown, SqlClient.SqlClient>> = [
        Migrations.status(),
        Migrations.run(),
        Migrations.check
      ]
      const outcomes = yield* whileHidden(
        host,
        "migrations",
        Effect.forEach(uses, (use) => outcomeOf(Effect.provide(use, clientOf(host.database.url))))
      )
      expect(outcomes).toEqual(["RecordHidden", "RecordHidden", "RecordHidden"])
    }).pipe(Effect.orDie)
  )
})
