/** Exports on a cluster of one process. Two processes, of which one is killed, are in `examples.test.ts`. */
import * as ClusterWorkflowEngine from "@effect/cluster/ClusterWorkflowEngine"
import * as SingleRunner from "@effect/cluster/SingleRunner"
import { expect, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Ref from "effect/Ref"
import { readdirSync } from "node:fs"
import * as Cluster from "../../src/cluster.js"
import * as ExportJobs from "../../src/ExportJobs.js"
import * as ExportStore from "../../src/ExportStore.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import { scratch } from "../support/scratch.js"
import { eventually } from "../support/until.js"

const shardingConfig = {
  shardsPerGroup: 4,
  entityMessagePollInterval: 100,
  sendRetryInterval: 50,
  entityTerminationTimeout: 2000,
  refreshAssignmentsInterval: 100,
  runnerHealthCheckInterval: 100
}

const directory = scratch()

const jobsOn = (store: ExportStore.Service) =>
  Layer.provide(ExportJobs.layerWith({ backoff: 0, attempts: 2 }), Layer.succeed(ExportStore.ExportStore, store))

/** A process of the cluster. It ends with its scope. */
const process = (store: ExportStore.Service, options: Cluster.ExportOptions = {}) =>
  Layer.build(
    Cluster.layerExports({ poll: "50 millis", ...options }).pipe(
      Layer.provide(jobsOn(store)),
      Layer.provide(ClusterWorkflowEngine.layer),
      Layer.provide(SingleRunner.layer({ shardingConfig })),
      Layer.fresh
    )
  )

const has = (id: string, state: ExportJobs.State) =>
  eventually(`export ${id} is ${state}`, ExportJobs.get(id), (job) => job.state === state)

it.live(
  "a cluster runs each export until it has ended: after a failed attempt, after a retry, and after the process has ended",
  () =>
    Effect.gen(function* () {
      const path = yield* directory
      const files = ExportStore.directory(path)
      yield* Effect.gen(function* () {
        const refusals = yield* Ref.make(1)
        const begun = yield* Deferred.make<void>()
        const holds = yield* Ref.make(false)
        const store: ExportStore.Service = {
          ...files,
          write: (name, bytes, facts) =>
            Effect.gen(function* () {
              if ((yield* Ref.getAndUpdate(refusals, (left) => left - 1)) > 0) {
                return yield* new ExportJobs.ExportError({ reason: "StoreFailed", detail: "the store is away" })
              }
              if (yield* Ref.get(holds)) {
                yield* Deferred.succeed(begun, undefined)
                return yield* Effect.never
              }
              return yield* files.write(name, bytes, facts)
            })
        }
        const held = yield* Effect.gen(function* () {
          yield* process(store)
          const refused = yield* ExportJobs.queue({ format: "csv" })
          expect(yield* has(refused.id, "completed")).toMatchObject({ attempt: 2 })

          const wrong = yield* ExportJobs.queue({ format: "csv", filter: { table: "nosuch" } })
          expect(yield* has(wrong.id, "failed")).toMatchObject({ attempt: 1, error: { reason: "NotFound" } })
          const { availableAt } = yield* ExportJobs.retry(wrong.id)
          expect(yield* has(wrong.id, "failed")).toMatchObject({ attempt: 1, availableAt })

          yield* Ref.set(holds, true)
          const { id } = yield* ExportJobs.queue({ format: "ndjson" })
          yield* Deferred.await(begun)
          return id
        }).pipe(Effect.scoped)
        expect(yield* has(held, "queued")).toMatchObject({ attempt: 0 })

        yield* process(files)
        const done = yield* has(held, "completed")
        expect(done).toMatchObject({ attempt: 1 })
        expect(readdirSync(path)).toContain(done.file)
      }).pipe(Effect.provide(jobsOn(files)))
    }).pipe(Effect.scoped, Logger.withMinimumLogLevel(LogLevel.None), Effect.provide(TestDatabase.layer))
)

it.live("a cluster refuses wrong options, and a host without a store, before it takes anything", () =>
  Effect.gen(function* () {
    const files = ExportStore.directory(yield* directory)
    for (const [options, field] of [
      [{ concurrency: 0 }, "concurrency"],
      [{ concurency: 2 } as never, "concurency"],
      [{ poll: 0 }, "poll"],
      [{ poll: "soon" as never }, "poll"]
    ] as const) {
      expect(yield* Effect.flip(process(files, options))).toMatchObject({ _tag: "threadline/InvalidRequest", field })
    }
    const withoutStore = Layer.build(
      Cluster.layerExports().pipe(
        Layer.provide(ExportJobs.layer),
        Layer.provide(ClusterWorkflowEngine.layer),
        Layer.provide(SingleRunner.layer({ shardingConfig }))
      )
    )
    expect(yield* Effect.flip(withoutStore)).toMatchObject({ reason: "NoStore" })
  }).pipe(Effect.scoped, Logger.withMinimumLogLevel(LogLevel.None), Effect.provide(TestDatabase.layer))
)
