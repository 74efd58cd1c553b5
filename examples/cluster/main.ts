/**
 * `npm run example:cluster`: two processes of a cluster share exports. The one that has the export is killed. The other one takes it up, and
 * the file is whole.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Console from "effect/Console"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { Actor, Export, ExportJobs, ExportStore } from "threadline"
import { client, database, prepare } from "../database.js"

const freePort = Effect.async<number>((resume) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const address = server.address()
    server.close(() => resume(Effect.succeed(typeof address === "object" ? (address?.port ?? 0) : 0)))
  })
})

/** Starts a process of the cluster. `begun` is the first one that has an export. */
const start = (name: string, environment: Readonly<Record<string, string>>, begun: Deferred.Deferred<ChildProcess>) =>
  Effect.acquireRelease(
    Effect.map(freePort, (port) => {
      const child = spawn(process.execPath, ["--import", "tsx", join(import.meta.dirname, "worker.ts")], {
        env: { ...process.env, ...environment, PORT: String(port) },
        stdio: ["ignore", "pipe", "inherit"]
      })
      createInterface(child.stdout).on("line", (line) => {
        if (line.startsWith("attempt")) {
          console.log(`${name}: ${line}`)
          Deferred.unsafeDone(begun, Effect.succeed(child))
        }
      })
      child.once("exit", (code) => {
        Deferred.unsafeDone(begun, Effect.dieMessage(`the process ${name} ended with ${code}`))
      })
      return child
    }),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )

const directory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "threadline-example-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

const example = Effect.gen(function* () {
  const url = yield* database
  const files = yield* directory
  yield* prepare(url, "create table if not exists notes (id int primary key, text text)", [{ table: "notes" }])
  const begun = yield* Deferred.make<ChildProcess>()
  for (const name of ["one", "two"]) {
    yield* start(name, { DATABASE_URL: url, FILES: files }, begun)
  }
  yield* Effect.gen(function* () {
    const sql = yield* PgClient.PgClient
    yield* sql`insert into notes select n, 'a note' from generate_series(1, 5000) n on conflict do nothing`
    const { id } = yield* ExportJobs.queue({ format: "csv", requestedBy: Actor.user("42") })
    const child = yield* Deferred.await(begun)
    child.kill("SIGKILL")
    yield* Console.log("that process is killed")
    const done = yield* ExportJobs.get(id).pipe(
      Effect.filterOrFail(
        ({ state }) => state === "completed",
        () => "not yet" as const
      ),
      Effect.retry({ schedule: Schedule.spaced("100 millis"), while: (error) => error === "not yet" })
    )
    const copy = join(files, "copy.csv")
    yield* ExportJobs.downloadTo(id, copy)
    const { differences } = yield* Export.verify(copy)
    yield* Console.log(
      `the export ${id} is completed in attempt ${done.attempt}: ${done.records} records, ${differences.length} differences`
    )
  }).pipe(
    Effect.provide(
      ExportJobs.layer.pipe(Layer.provide(ExportStore.layerDirectory(files)), Layer.provideMerge(client(url)))
    )
  )
})

NodeRuntime.runMain(Effect.scoped(example))
