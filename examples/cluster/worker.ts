/**
 * One process of a cluster that runs exports. It takes its database, its port and the directory of files from the environment.
 *
 * To show what happens to the job of a process that is killed, the first attempt at a job stops at its first bytes, and says so.
 */
import * as ClusterWorkflowEngine from "@effect/cluster/ClusterWorkflowEngine"
import * as RunnerAddress from "@effect/cluster/RunnerAddress"
import * as NodeClusterSocket from "@effect/platform-node/NodeClusterSocket"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { ExportJobs, ExportStore } from "threadline"
import * as Cluster from "threadline/cluster"

const worker = Effect.gen(function* () {
  const port = yield* Config.integer("PORT")
  return Cluster.layerExports({
    poll: "200 millis",
    onProgress: ({ job }) =>
      job.attempt === 1 ? Effect.zipRight(Console.log(`attempt 1 at the export ${job.id}`), Effect.never) : Effect.void
  }).pipe(
    Layer.provide(ExportJobs.layerWith({ lease: "1 second" })),
    Layer.provide(ExportStore.layerDirectory(yield* Config.string("FILES"))),
    Layer.provide(ClusterWorkflowEngine.layer),
    Layer.provide(
      NodeClusterSocket.layer({
        storage: "sql",
        // Impatient, as suits an example: a process that is gone is noticed at once.
        shardingConfig: {
          runnerAddress: Option.some(RunnerAddress.make("127.0.0.1", port)),
          shardsPerGroup: 10,
          shardLockExpiration: 3000,
          refreshAssignmentsInterval: 200,
          runnerHealthCheckInterval: 500,
          entityMessagePollInterval: 200
        }
      })
    ),
    Layer.provide(PgClient.layerConfig({ url: Config.redacted("DATABASE_URL") }))
  )
})

NodeRuntime.runMain(Layer.launch(Layer.unwrapEffect(worker)))
