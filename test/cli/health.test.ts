import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Health from "../../src/Health.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import * as Cli from "../support/cli.js"
import { scratch } from "../support/scratch.js"

Cli.setup()

const host = Cli.makeHost(`
  create table posts (id bigint primary key, title text);
  create table users (id bigint primary key, token text);
  create table sessions (id bigint primary key)`)

const config = (document: object) => scratch({ "threadline.config.json": JSON.stringify(document) })

describe("threadline coverage", () => {
  it.scoped("is a gate for continuous integration", () =>
    Effect.gen(function* () {
      const { query, url } = yield* host
      const cwd = yield* config({
        tables: { posts: {} },
        expected: ["posts", "users"],
        expectedGaps: { sessions: "holds no data of persons" }
      })
      const at = { url, cwd }
      yield* Cli.text(["capture", "apply"], at)
      const failing = yield* Cli.run(["coverage"], at)
      expect(failing).toMatchObject({ code: 1, stderr: "" })
      expect(failing.stdout).toMatch(/^public\.users +uncovered .*expected$/m)
      expect(failing.stdout).toMatch(/^public\.posts +covered +\d{4}-/m)
      expect(failing.stdout).toMatch(/^public\.sessions +gap +holds no data/m)
      expect(yield* Cli.json(["coverage", "--expect", "posts"], at)).toMatchObject({
        tables: [
          { table: "public.posts", status: "covered", expected: true, configured: true, refused: null },
          { table: "public.sessions", status: "gap", reason: "holds no data of persons" }
        ]
      })
      expect(yield* Cli.run(["coverage", "--expect", "posts", "--expect=users"], at)).toMatchObject({ code: 1 })
      expect(yield* Cli.run(["coverage", "--expect", "--json"], at)).toMatchObject({ code: 1, stderr: "" })
      expect(yield* Cli.run(["coverage", "--expect", "posts", "--all"], at)).toMatchObject({
        code: 1,
        stdout: expect.stringMatching(/^public\.users +uncovered .*nobody configured it$/m)
      })

      yield* Cli.text(["capture", "apply", "--table", "users"], at)
      expect(yield* Cli.run(["coverage", "--all"], at)).toMatchObject({ code: 0 })
      yield* query("create table later (id int)")
      expect(yield* Cli.run(["coverage"], at)).toMatchObject({ code: 0 })
      expect(yield* Cli.run(["coverage", "--all"], at)).toMatchObject({ code: 1 })
      yield* Cli.text(["capture", "apply", "--table", "sessions"], at)
      expect(yield* Cli.run(["coverage"], at)).toMatchObject({
        code: 1,
        stdout: expect.stringMatching(/^public\.sessions +covered [^]*declared as a gap$/m)
      })
    })
  )

  it.scoped("refuses an empty expectation, wrong names and reasons that are missing", () =>
    Effect.gen(function* () {
      const { url } = yield* host
      const at = (document: object) => Effect.map(config(document), (cwd) => ({ url, cwd }))
      const empty = yield* at({ expected: [] })
      expect(yield* Cli.run(["coverage"], empty)).toEqual(Cli.refusal(2, /expected: .*at least one table/))
      expect(yield* Cli.run(["coverage", "--expect"], empty)).toEqual(
        Cli.refusal(2, /the configuration expects no table/)
      )
      expect(yield* Cli.run(["coverage", "--expect"], yield* at({}))).toEqual(Cli.refusal(2, /expects no table/))
      expect(yield* Cli.run(["coverage", "--expect", "a..b"], yield* at({}))).toEqual(Cli.refusal(2, /--expect/))
      expect(yield* Cli.run(["coverage"], yield* at({ expectedGaps: { sessions: "" } }))).toEqual(
        Cli.refusal(2, /expectedGaps\.sessions: must say in a sentence/)
      )
      expect(yield* Cli.run(["coverage"], yield* at({ expectedGaps: ["sessions"] }))).toEqual(
        Cli.refusal(2, /expectedGaps/)
      )
      expect(yield* Cli.run(["coverage"], yield* at({ sensitive: { ignored: [] } }))).toEqual(
        Cli.refusal(2, /sensitive\.ignored: is not known here/)
      )
      expect(yield* Cli.run(["coverage", "--expect", "nowhere"], yield* at({}))).toMatchObject({
        code: 1,
        stdout: expect.stringContaining("there is no such table")
      })
    })
  )
})

describe("threadline health", () => {
  it.scoped("says what is wrong and what mends it; with --strict it fails on errors", () =>
    Effect.gen(function* () {
      const { query, url } = yield* host
      const cwd = yield* config({ tables: { posts: {}, users: {} } })
      const at = { url, cwd }
      yield* Cli.text(["capture", "apply"], at)
      const healthy = yield* Cli.text(["health", "--strict"], at)
      expect(healthy).toMatch(/warning: public\.users: columns that look sensitive are recorded as they are:\s+token/)
      expect(healthy).toContain("  fix: exclude or mask public.users.token, or name it in sensitive.acknowledged")
      yield* query("alter table posts disable trigger all")
      expect(yield* Cli.json(["health"], at)).toMatchObject({
        schema: "threadline",
        watch: "off",
        tables: [
          { table: "public.posts", status: "uncovered", relations: [{ triggers: "disabled" }] },
          { table: "public.users", status: "covered" }
        ],
        findings: [
          {
            code: "TriggerDisabled",
            severity: "error",
            object: "public.posts",
            fix: "threadline capture apply",
            mend: { _tag: "command", argv: ["threadline", "capture", "apply"] }
          },
          { code: "SensitiveInClear", severity: "warning", object: "public.users" }
        ]
      })
      expect(yield* Cli.run(["health", "--strict"], at)).toMatchObject({ code: 1, stderr: "" })
      expect(yield* Cli.run(["health"], at)).toMatchObject({ code: 0 })
    })
  )

  it.scoped("fails with --strict on what its role may not see, until the fix is run word for word", () =>
    Effect.gen(function* () {
      const database = yield* TestDatabase.make()
      const raw = yield* database.rawClient()
      yield* Effect.promise(() => raw.query("create table posts (id bigint primary key)"))
      const cwd = yield* config({ tables: { posts: {} } })
      yield* Cli.text(["capture", "apply"], { url: database.url, cwd })
      const watcher = yield* database.role("watcher")
      const at = { url: watcher.url, cwd }
      const blind = yield* Cli.run(["health", "--strict", "--json"], at)
      expect(blind).toMatchObject({ code: 1, stderr: "" })
      const { findings } = Schema.decodeUnknownSync(Schema.parseJson(Health.Report))(blind.stdout)
      const unknown = findings.filter(({ code }) => code === "Unknown")
      expect(unknown.length).toBeGreaterThan(3)
      expect(yield* Cli.run(["health"], at)).toMatchObject({ code: 0 })
      expect(yield* Cli.run(["coverage"], at)).toMatchObject({ code: 3, stdout: "" })
      for (const { mend } of unknown) {
        expect(mend?._tag).toBe("command")
      }
      const [first] = unknown
      if (first?.mend?._tag === "command") {
        yield* Cli.text(first.mend.argv.slice(1), { url: database.url, cwd })
      }
      expect(yield* Cli.run(["health", "--strict"], at)).toMatchObject({ code: 0, stderr: "" })
    })
  )

  it.scoped("repeats the configuration in its commands, and needs an installed schema", () =>
    Effect.gen(function* () {
      const { query, url } = yield* host
      const cwd = yield* scratch({ "other.json": JSON.stringify({ tables: { posts: {} } }) })
      const at = { url, cwd }
      expect(yield* Cli.json(["health", "--config", "other.json"], at)).toMatchObject({
        findings: [{ code: "NotCaptured", fix: "threadline capture apply --config other.json" }]
      })
      yield* query("drop schema threadline cascade")
      expect(yield* Cli.run(["health"], at)).toEqual(Cli.refusal(3, /migrate up/))
      expect(yield* Cli.run(["coverage"], at)).toEqual(Cli.refusal(3, /migrate up/))
    })
  )
})

describe("threadline policy show", () => {
  it.scoped("compares what is configured with what is deployed, and fails on drift", () =>
    Effect.gen(function* () {
      const { url } = yield* host
      const cwd = yield* config({
        tables: { users: { mask: [{ column: "token", as: "hash" }] }, posts: { exclude: ["title"] } }
      })
      const at = { url, cwd }
      expect(yield* Cli.run(["policy", "show"], at)).toMatchObject({
        code: 1,
        stdout: expect.stringMatching(/^public\.posts +not captured$/m)
      })
      yield* Cli.text(["capture", "apply"], at)
      expect(yield* Cli.text(["policy", "show"], at)).toMatch(/^public\.users +same\n +token +hash +hash$/m)
      expect(yield* Cli.text(["capture", "status"], at)).toMatch(/^public\.users +captured +id +token as hash$/m)
      yield* Cli.text(
        ["capture", "apply", "--table", "users", "--mask", "users.token=last4", "--allow-less-redaction"],
        at
      )
      const drifted = yield* Cli.run(["policy", "show"], at)
      expect(drifted).toMatchObject({ code: 1, stderr: "" })
      expect(drifted.stdout).toMatch(/^public\.users +differs\n +token +hash +last4 +differs$/m)
      expect(drifted.stdout).toContain("fix: threadline capture apply")
      const shown = yield* Cli.run(["policy", "show", "--json"], at)
      expect(JSON.parse(shown.stdout)).toMatchObject({
        tables: [
          { table: "public.posts", state: "same", drift: false },
          {
            table: "public.users",
            state: "differs",
            drift: true,
            columns: [
              { column: "id", configured: "clear", deployed: "clear", sensitive: false },
              { column: "token", configured: "hash", deployed: "last4", sensitive: true, acknowledged: false }
            ],
            findings: [{ code: "ConfigurationDiffers" }]
          }
        ]
      })
      yield* Cli.text(["capture", "apply"], at)
      expect(yield* Cli.run(["policy", "show"], at)).toMatchObject({ code: 0 })
    })
  )
})
