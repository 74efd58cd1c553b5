/** Workers as processes of their own, of which one is killed. */
import { expect, layer as suite } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { rawClient } from "../harness/rawClient.js"
import * as Cli from "../support/cli.js"
import * as Process from "../support/cliProcess.js"
import { scratch } from "../support/scratch.js"
import { until } from "../support/until.js"

Cli.setup()

const host = Layer.scoped(
  Cli.Host,
  Effect.gen(function* () {
    const made = yield* Cli.makeHost("create table invoices (id bigint primary key, note text)", "invoices")
    yield* made.query("insert into invoices select n, repeat('x', 500) from generate_series(1, 40000) n")
    return made
  })
)

const begun = (directory: string) => Effect.sync(() => readdirSync(directory).some((name) => name.endsWith(".partial")))

/** A directory for files, and two configurations: of a worker that is to lose its job, and of one that takes it up. */
const places = Effect.gen(function* () {
  const { url } = yield* Cli.Host
  const cwd = yield* scratch({
    "files/.keep": "",
    "threadline.config.json": '{ "exports": { "directory": "files" } }',
    // On a busy machine a worker can lose a short lease while it runs.
    "short.config.json": '{ "exports": { "directory": "files", "lease": "1 second" } }'
  })
  const shortLease = ["--url", url, "--config", join(cwd, "short.config.json")]
  return { at: { url, cwd }, cwd, files: join(cwd, "files"), shortLease, url }
})

suite(host, { excludeTestServices: true, timeout: 300_000 })("workers of exports", (it) => {
  it.scoped("that are killed lose no job: another one takes it up, and the file is whole", () =>
    Effect.gen(function* () {
      const { at, cwd, files, shortLease } = yield* places
      const { id } = yield* Cli.json(["export", "queue", "--format", "ndjson"], at)
      const child = yield* Process.start(["export", "run", "--watch", ...shortLease])
      yield* until("a file is begun", begun(files))
      child.kill("SIGKILL")
      const killed = yield* Cli.json(["export", "job", String(id)], at)
      expect(killed).toMatchObject({ state: "running" })
      yield* until(
        "the job is completed",
        Cli.run(["export", "run", "--once"], at).pipe(
          Effect.zipRight(Cli.json(["export", "job", String(id)], at)),
          Effect.map((job) => job["state"] === "completed")
        )
      )
      const job = yield* Cli.json(["export", "job", String(id)], at)
      expect(job).toMatchObject({ state: "completed", attempt: Number(killed["attempt"]) + 1, records: 40_000 })
      expect(readdirSync(files).sort()).toEqual([".keep", job["file"]])
      const output = join(cwd, "all.ndjson")
      yield* Cli.text(["export", "download", String(id), "--output", output], at)
      expect(yield* Cli.text(["export", "verify", output], at)).toContain("40000 records")
    })
  )

  it.scoped(
    "that freeze are overtaken; whether they go on or are killed then, there is one file, and it is whole",
    () =>
      Effect.gen(function* () {
        const { at, cwd, files, shortLease, url } = yield* places
        const database = yield* rawClient(url)
        const query = (text: string) => Effect.promise(() => database.query(text))
        const args = ["export", "run", "--once", ...shortLease]
        const done: Array<unknown> = []
        for (const fate of ["SIGCONT", "SIGKILL"] as const) {
          // What it reads waits, so that it freezes in the middle of its job however fast it is.
          yield* query("begin; lock table threadline.audit_changes")
          const { id } = yield* Cli.json(["export", "queue", "--format", "ndjson"], at)
          const child = yield* Process.start(args)
          const end = yield* Effect.fork(Process.ended(child))
          yield* until("a file is begun", begun(files))
          child.kill("SIGSTOP")
          yield* query("commit")
          const completed = Effect.map(
            Cli.json(["export", "job", String(id)], at),
            (job) => job["state"] === "completed"
          )
          yield* until(
            "another worker has made the file",
            Effect.zipRight(Cli.run(["export", "run", "--once"], at), completed)
          )
          const job = yield* Cli.json(["export", "job", String(id)], at)
          expect(job).toMatchObject({ records: 40_000 })
          expect(Number(job["attempt"])).toBeGreaterThan(1)
          done.push(job["file"])
          child.kill(fate)
          expect(yield* end).toMatchObject({ code: fate === "SIGCONT" ? 0 : null })
          expect(yield* Cli.json(["export", "job", String(id)], at)).toEqual(job)
          expect(readdirSync(files).sort()).toEqual([".keep", ...done])
          const output = join(cwd, `${fate}.ndjson`)
          yield* Cli.text(["export", "download", String(id), "--output", output], at)
          expect(yield* Cli.text(["export", "verify", output], at)).toContain("40000 records")
        }
      })
  )

  it.scoped("that are asked to end give their job back, and say nothing", () =>
    Effect.gen(function* () {
      const { url } = yield* Cli.Host
      const cwd = yield* scratch({ "files/.keep": "" })
      const { id } = yield* Cli.json(["export", "queue", "--format", "csv"], { url, cwd })
      // The second one is that of a terminal that closes.
      for (const signal of ["SIGINT", "SIGHUP"] as const) {
        const child = yield* Process.start([
          "export",
          "run",
          "--watch",
          "--url",
          url,
          "--directory",
          join(cwd, "files")
        ])
        const end = yield* Effect.fork(Process.ended(child))
        yield* until("a file is begun", begun(join(cwd, "files")))
        child.kill(signal)
        expect(yield* end).toMatchObject({ code: signal === "SIGINT" ? 130 : null, stderr: "" })
        expect(readdirSync(join(cwd, "files"))).toEqual([".keep"])
        expect(yield* Cli.json(["export", "job", String(id)], { url, cwd })).toMatchObject({
          state: "queued",
          attempt: 0
        })
      }
    })
  )

  it.scoped("on a disk without room fail with one typed error each, and leave nothing", () =>
    Effect.gen(function* () {
      const { url } = yield* Cli.Host
      const cwd = yield* scratch({ "files/.keep": "" })
      const files = join(cwd, "files")
      const limited = (...args: ReadonlyArray<string>) => Process.runLimited(100, [...args, "--url", url])
      const direct = yield* limited("export", "--output", join(files, "all.csv"))
      expect(direct).toEqual(Cli.refusal(1, /there is no room for .*all\.csv \(EFBIG\)/))
      expect(readdirSync(files)).toEqual([".keep"])
      const { id } = yield* Cli.json(["export", "queue", "--format", "csv"], { url, cwd })
      yield* limited("export", "run", "--once", "--directory", files)
      expect(readdirSync(files)).toEqual([".keep"])
      expect(yield* Cli.json(["export", "job", String(id)], { url, cwd })).toMatchObject({
        state: "queued",
        attempt: 1,
        error: { reason: "DiskFull" }
      })
    })
  )
})
