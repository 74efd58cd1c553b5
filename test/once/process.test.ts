import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { readdirSync, statSync } from "node:fs"
import { join } from "node:path"
import { unsafeParse } from "../../src/internal/core/json.js"
import packageJson from "../../package.json" with { type: "json" }
import * as TestDatabase from "../harness/TestDatabase.js"
import * as Cli from "../support/cli.js"
import * as Process from "../support/cliProcess.js"
import { scratch } from "../support/scratch.js"
import { until } from "../support/until.js"

Cli.setup()

it.effect("the bundle says its version without loading the rest, and with it the same", () =>
  Effect.gen(function* () {
    for (const args of [["--version"], ["migrate", "up", "--version"]]) {
      expect(yield* Process.run(args)).toEqual({ code: 0, stdout: `${packageJson.version}\n`, stderr: "" })
    }
  })
)

it.scoped("the bundle says the same as the sources, and exits with its code", () =>
  Effect.gen(function* () {
    const { url } = yield* TestDatabase.make()
    for (const [args, code] of [
      [["--help"], 0],
      [["timeline", "--json"], 0],
      [["timeline", "--table", "nowhere"], 1],
      [["timeline", "--limit", "many"], 2],
      [["timeline", "--url", Cli.nowhere], 3]
    ] as const) {
      const env = { DATABASE_URL: url, COLUMNS: "80" }
      const outcome = yield* Process.run(args, env)
      expect(outcome, args.join(" ")).toEqual({ ...(yield* Cli.run(args, { url })), code })
      expect(outcome.stderr).not.toContain("s3cret")
    }
  })
)

// In a process of its own: node-postgres leaves such a connection open, and the server waits for it.
it.effect("a server that asks for a password, when none is given, is said in words", () =>
  Effect.gen(function* () {
    const url = new URL(TestDatabase.serverUrl)
    url.password = ""
    expect(yield* Process.run(["timeline"], { DATABASE_URL: url.href })).toEqual(
      Cli.refusal(3, "the database cannot be reached: it asks for a password, and none is given")
    )
  })
)

it.scoped("what goes to a pipe is not cut, and all of it arrives before the process exits", () =>
  Effect.gen(function* () {
    const { url } = yield* TestDatabase.make()
    const whole = yield* Process.run(["migrate", "print", "--json"], { DATABASE_URL: url })
    expect(whole).toMatchObject({ code: 0, stderr: "" })
    expect(String(JSON.parse(whole.stdout).sql).length).toBeGreaterThan(50_000)
    const raw = yield* Effect.flatMap(TestDatabase.make(), (database) =>
      Effect.map(database.rawClient(), (client) => ({ client, url: database.url }))
    )
    yield* Effect.promise(() => raw.client.query(`create table posts (id text primary key)`))
    yield* Cli.text(["capture", "apply", "--table", "posts"], { url: raw.url })
    yield* Effect.promise(() => raw.client.query(`insert into posts values (repeat('long', 100))`))
    const { stdout } = yield* Process.run(["timeline"], { DATABASE_URL: raw.url })
    expect(stdout).toContain("long".repeat(100))
  })
)

it.scoped("a reader of the pipe may close it before everything is said", () =>
  Effect.gen(function* () {
    const child = yield* Process.start(["migrate", "print"])
    child.stdout.destroy()
    const outcome = yield* Process.ended(child)
    expect(outcome.stderr).toBe("")
    expect(outcome.code).toBe(0)
  })
)

it.scoped("an export whose output cannot be written fails, and the record has how far it came", () =>
  Effect.gen(function* () {
    const { rawClient, url } = yield* TestDatabase.make()
    const host = yield* rawClient()
    yield* Effect.promise(() => host.query("create table posts (id int primary key)"))
    yield* Cli.text(["capture", "apply", "--table", "posts"], { url })
    yield* Effect.promise(() => host.query("insert into posts select generate_series(1, 100)"))
    const env = { DATABASE_URL: url }
    const { code, stderr } = yield* Process.runIntoFull(["export", "--format", "csv"], env)
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringContaining("the output cannot be written: ENOSPC")
    })
    expect(stderr.match(/cannot be written/g)).toHaveLength(1)
    expect(yield* Process.runIntoFull(["timeline"], env)).toMatchObject({ code: 1 })
    const { items } = yield* Cli.json(["actions"], { url })
    expect(items).toMatchObject([{ name: "export.ended", status: "error", data: { format: "csv" } }])
  })
)

it.scoped("an export whose terminal is closed leaves no file, and the record has that it ended", () =>
  Effect.gen(function* () {
    const { rawClient, url } = yield* TestDatabase.make()
    const host = yield* rawClient()
    yield* Effect.promise(() => host.query("create table posts (id int primary key, body text)"))
    yield* Cli.text(["capture", "apply", "--table", "posts"], { url })
    yield* Effect.promise(() =>
      host.query("insert into posts select n, repeat('x', 500) from generate_series(1, 40000) n")
    )
    const cwd = yield* scratch()
    const child = yield* Process.start(["export", "--output", join(cwd, "all.csv")], { DATABASE_URL: url })
    const begun = Effect.sync(() => readdirSync(cwd).some((name) => statSync(join(cwd, name)).size > 0))
    yield* until("rows are written", begun)
    child.kill("SIGHUP")
    expect(yield* Process.ended(child)).toEqual({ code: null, stdout: "", stderr: "" })
    expect(readdirSync(cwd)).toEqual([])
    const { items } = yield* Cli.json(["actions"], { url })
    expect(items).toMatchObject([{ name: "export.ended", status: "error", data: { format: "csv" } }])
  })
)

it.scoped("a command says its exit code if nobody reads its errors any more", () =>
  Effect.gen(function* () {
    const child = yield* Process.start(["export", "--format", "nosuch"])
    child.stderr.destroy()
    expect((yield* Process.ended(child)).code).toBe(2)
  })
)

it.scoped("feed --follow goes on until the process is interrupted", () =>
  Effect.gen(function* () {
    const database = yield* TestDatabase.make()
    const raw = yield* database.rawClient()
    const query = (text: string) => Effect.promise((): Promise<unknown> => raw.query(text))
    yield* query("create table notes (id int primary key)")
    const { url } = database
    yield* Cli.text(["capture", "apply", "--table", "notes"], { url })
    const child = yield* Process.start(["feed", "--follow", "--ndjson", "--from", "now"], { DATABASE_URL: url })
    const outcome = yield* Effect.all(
      [
        Process.ended(child),
        Effect.gen(function* () {
          // Its first line says where it began.
          yield* Process.firstLine(child)
          yield* Effect.zip(
            Process.said(child, (text) => text.trimEnd().split("\n").length >= 2),
            query("insert into notes values (2)"),
            { concurrent: true }
          )
          child.kill("SIGINT")
        })
      ],
      { concurrency: 2 }
    ).pipe(Effect.map(([found]) => found))
    expect(outcome.code).toBe(130)
    expect(
      outcome.stdout
        .trimEnd()
        .split("\n")
        .map((line) => unsafeParse(line))
    ).toMatchObject([
      { checkpoint: expect.any(String) },
      { tableName: "notes", rowKey: "2" },
      { checkpoint: expect.any(String) }
    ])
  })
)

it.scopedLive("migrate up that is interrupted leaves nothing behind", () =>
  Effect.gen(function* () {
    const database = yield* TestDatabase.make({ schema: false })
    const { url } = database
    const raw = yield* database.rawClient()
    const query = (text: string) => Effect.promise(async () => (await raw.query(text)).rows)
    const holder = yield* database.rawClient()
    yield* Effect.promise(() =>
      holder.query("begin; select pg_advisory_xact_lock(hashtextextended('threadline.migrations', 0))")
    )
    const child = yield* Process.start(["migrate", "up", "--owner-role", `${database.name}_owner`], {
      DATABASE_URL: url
    })
    const waits = query(
      `select from pg_locks
        where locktype = 'advisory' and not granted
          and database = (select oid from pg_database where datname = current_database())`
    )
    yield* Effect.repeat(waits, { until: (rows) => rows.length > 0 })
    child.kill("SIGINT")
    expect((yield* Process.ended(child)).code).toBe(130)
    yield* Effect.promise(() => holder.query("rollback"))
    expect(yield* Cli.json(["migrate", "status"], { url })).toMatchObject({ state: "absent" })
    expect(yield* query("select from pg_namespace where nspname = 'threadline'")).toEqual([])
  })
)

it.scoped("the bundle shows a change of a long value in little memory", () =>
  Effect.gen(function* () {
    const { rawClient, url } = yield* TestDatabase.make()
    const host = yield* rawClient()
    const query = (text: string) => Effect.promise(() => host.query(text))
    yield* query("create table contracts (id int primary key, body text, terms jsonb)")
    const env = { DATABASE_URL: url, COLUMNS: "80", NODE_OPTIONS: "--max-old-space-size=160" }
    expect(yield* Process.run(["capture", "apply", "--table", "contracts"], env)).toMatchObject({ code: 0 })
    yield* query("insert into contracts select 1, repeat('x', 16000000), to_jsonb(repeat('y', 1000000))")
    yield* query("update contracts set body = body || '!', terms = to_jsonb(repeat('y', 1000000) || '?')")
    const { code, stderr, stdout } = yield* Process.run(["history", "contracts", "1", "--limit", "1"], env)
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
    expect(stdout).toMatch(/^ {2}body:\n {4}- …x+"\n {4}\+ …x+!"$/m)
    expect(stdout).toMatch(/^ {2}terms:\n {4}- …y+"\n {4}\+ …y+\?"$/m)
    expect(Math.max(...stdout.split("\n").map((line) => line.length))).toBeLessThanOrEqual(80)
    // Several: they are written one after the other, and none is there twice.
    yield* query("update contracts set body = 'z' || body")
    yield* query("update contracts set body = 'z' || body")
    const several = yield* Process.run(["history", "contracts", "1", "--wide"], {
      ...env,
      NODE_OPTIONS: "--max-old-space-size=320"
    })
    expect([several.code, several.stderr]).toEqual([0, ""])
    expect(several.stdout).toContain("zzxx")
  })
)
