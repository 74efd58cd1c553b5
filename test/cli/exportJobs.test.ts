import { expect, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import * as Cli from "../support/cli.js"
import * as S3 from "../support/s3.js"
import { scratch } from "../support/scratch.js"

Cli.setup()

class Host extends Context.Tag("test/ExportJobsHost")<Host, { readonly url: string; readonly cwd: string }>() {}

const host = Layer.scoped(
  Host,
  Effect.gen(function* () {
    const { query, url } = yield* Cli.makeHost("create table invoices (id bigint primary key, tenant text)", "invoices")
    yield* query("insert into invoices values (1, 'a'), (2, 'b'), (3, 'a')")
    const cwd = yield* scratch({
      "files/.keep": "",
      "threadline.config.js": `
        export default {
          exports: {
            directory: "files",
            limits: { waitingPerActor: 2 },
            scope: ({ name, parameters }) =>
              name === "tenant"
                ? (surface, { image, sql }) =>
                    surface === "changes" && sql\`\${image} ->> 'tenant' = \${parameters.tenant}\`
                : undefined
          }
        }`
    })
    return { url, cwd }
  })
)

it.layer(host, { timeout: 300_000 })("jobs of threadline export", (it) => {
  it.scoped("are queued, run, shown, downloaded and verified", () =>
    Effect.gen(function* () {
      const { cwd, url } = yield* Host
      const at = { url, cwd }
      const queued = yield* Cli.json(["export", "queue", "--format", "csv", "--gzip", "--requested-by", "user:42"], at)
      expect(queued).toMatchObject({ state: "queued", requestedBy: { type: "user", id: "42" } })
      const id = String(queued["id"])
      expect(yield* Cli.text(["export", "jobs", "--state", "queued"], at)).toMatch(
        new RegExp(`job +state +format +asked \\(UTC\\) +by +result\\s+${id} +queued +csv +[-0-9: ]+ +user 42`)
      )
      const status: Array<string> = []
      expect(yield* Cli.text(["export", "run", "--once"], { ...at, status })).toMatch(
        new RegExp(`^export ${id} completed: 3 records, \\d+ B\n1 completed, 0 failed\\.\n$`)
      )
      expect(status.at(-1)).toBe("")
      expect(status[0]).toMatch(new RegExp(`^export ${id}: \\d records`))
      expect(yield* Cli.text(["export", "run", "--once"], at)).toBe("There was nothing to do.\n")
      const shown = yield* Cli.text(["export", "job", id], at)
      expect(shown).toMatch(/^state +completed\nformat +csv, gzip\nfilter +\{\}\nasked /)
      expect(shown).toMatch(/\nSHA-256 +[0-9a-f]{64}\n$/)
      const out = yield* scratch()
      expect(
        yield* Cli.text(["export", "download", id, "--output", join(out, "x.csv.gz"), "--requested-by", "admin:1"], at)
      ).toMatch(/^3 records, \d+ B in .*x\.csv\.gz; its manifest is .*\.manifest\.json\.\n$/)
      expect(yield* Cli.text(["export", "verify", join(out, "x.csv.gz")], at)).toContain("is what its manifest says")
      const again = ["export", "download", id, "--output", join(out, "x.csv.gz")]
      expect(yield* Cli.run(again, at)).toEqual(Cli.refusal(1, /x\.csv\.gz is there already \(--force/))
      expect(yield* Cli.json([...again, "--force"], at)).toMatchObject({ count: 3, format: "csv", compression: "gzip" })
      const page = yield* Cli.json(["actions", "--action", "export.downloaded"], at)
      expect(page["items"]).toMatchObject([{ actor: null }, { actor: { type: "admin", id: "1" } }])
      expect(yield* Cli.json(["export", "expire"], at)).toEqual({ expired: 0 })
    })
  )

  it.effect("have the scope that the configuration makes, by name and parameters", () =>
    Effect.gen(function* () {
      const { cwd, url } = yield* Host
      const at = { url, cwd }
      const scope = ["--scope", "tenant", "--scope-parameters", '{"tenant":"b"}']
      const { id } = yield* Cli.json(["export", "queue", "--format", "ndjson", ...scope], at)
      yield* Cli.text(["export", "run", "--once"], at)
      expect(yield* Cli.json(["export", "job", String(id), ...scope], at)).toMatchObject({ records: 1 })
      const ndjson = yield* Cli.text(["export", "download", String(id)], at)
      expect(JSON.parse(ndjson)).toMatchObject({ dataAfter: { tenant: "b" } })
      expect(yield* Cli.run(["export", "queue", "--format", "csv", "--scope", "other"], at)).toEqual(
        Cli.refusal(1, /the host does not grant the scope other/)
      )
    })
  )

  it.effect("are cancelled and retried, and fail with exit code 1", () =>
    Effect.gen(function* () {
      const { cwd, url } = yield* Host
      const at = { url, cwd }
      const id = String((yield* Cli.json(["export", "queue", "--format", "csv", "--table", "nosuch"], at))["id"])
      expect(yield* Cli.text(["export", "cancel", id], at)).toBe(`The export ${id} is cancelled.\n`)
      expect(yield* Cli.run(["export", "cancel", id], at)).toEqual(
        Cli.refusal(1, `the export ${id} is cancelled: only one that waits or runs can be cancelled`)
      )
      expect(yield* Cli.run(["export", "download", id, "--output", "x"], at)).toEqual(
        Cli.refusal(1, `the export ${id} is cancelled: it has no file`)
      )
      expect(yield* Cli.text(["export", "retry", id], at)).toBe(`The export ${id} is queued again.\n`)
      const ran = yield* Cli.run(["export", "run", "--once"], at)
      expect(ran).toMatchObject({ code: 1, stderr: "", stdout: expect.stringContaining("0 completed, 1 failed.") })
      expect(ran.stdout).toContain(`export ${id} failed: NotFound: table public.nosuch is not known here`)
      expect(yield* Cli.run(["export", "retry", "999999"], at)).toEqual(
        Cli.refusal(1, /export 999999 is not known here/)
      )
      for (let count = 0; count < 2; count++) {
        yield* Cli.text(["export", "queue", "--format", "csv", "--requested-by", "user:9"], at)
      }
      expect(yield* Cli.run(["export", "queue", "--format", "csv", "--requested-by", "user:9"], at)).toEqual(
        Cli.refusal(1, /this actor has 2 exports waiting/)
      )
    })
  )

  it.effect("expire, and their files are gone", () =>
    Effect.gen(function* () {
      const { url } = yield* Host
      const cwd = yield* scratch({
        "files/.keep": "",
        "threadline.config.json": '{ "exports": { "directory": "files", "expiresAfter": "0 seconds" } }'
      })
      const at = { url, cwd }
      const id = String((yield* Cli.json(["export", "queue", "--format", "csv"], at))["id"])
      yield* Cli.run(["export", "run", "--once"], at)
      expect(yield* Cli.json(["export", "job", id], at)).toMatchObject({ state: "expired", file: null })
      expect(yield* Cli.run(["export", "download", id, "--output", "x"], at)).toEqual(
        Cli.refusal(1, `the file of the export ${id} has expired; queue a new one`)
      )
      expect(readdirSync(join(cwd, "files"))).toEqual([".keep"])
      expect(readdirSync(cwd).sort()).toEqual(["files", "threadline.config.json"])
      expect(readFileSync(join(cwd, "files/.keep"), "utf8")).toBe("")
    }).pipe(Effect.scoped)
  )

  it.scoped("refuse what is wrong whatever the database holds before it is asked", () =>
    Effect.gen(function* () {
      const cwd = yield* scratch()
      yield* Cli.checkEach(
        [
          [["queue"], /--format is missing/],
          [["queue", "--format", "xml"], /--format is one of csv, ndjson, json/],
          [["queue", "--format", "csv", "--columns", "befor"], /did you mean before\?/],
          [
            ["queue", "--format", "csv", "--from", "2026-02-01", "--to", "2026-01-01"],
            /--to: must not be before --from/
          ],
          [["queue", "--format", "csv", "--scope-parameters", "{}"], /give its name with --scope/],
          [
            ["queue", "--format", "csv", "--scope", "x", "--scope-parameters", "[]"],
            /--scope-parameters is a JSON object/
          ],
          [["queue", "--format", "csv", "--requested-by", "user"], /--requested-by user needs an id/],
          [["jobs", "--state", "done"], /--state is one of/],
          [["jobs", "--limit", "0"], /--limit is a whole number/],
          [["job"], /ID is missing/],
          [["run"], /--once or --watch/],
          [["run", "--once", "--watch"], /--once or --watch/],
          [["run", "--watch", "--json"], /--json prints one document/],
          [["run", "--once", "--concurrency", "99"], /--concurrency is a whole number from 1 to 16/],
          [["run", "--once"], /no store is named: give --directory/],
          [["run", "--once", "--directory", "nosuch"], /--directory: there is no directory nosuch/],
          [["download", "1", "--directory", ".", "--force"], /--output is missing/],
          [["jbos"], /did you mean export jobs\?/]
        ] as const,
        ([args, sentence]) =>
          Effect.map(Cli.run(["export", ...args], { url: "postgres://127.0.0.1:1/nowhere", cwd }), (outcome) =>
            expect(outcome, args.join(" ")).toEqual(Cli.refusal(2, sentence))
          )
      )
      const { url } = yield* Host
      expect(yield* Cli.run(["export", "job", "x"], { url, cwd })).toEqual(Cli.refusal(2, /ID: must be an id/))
      for (const [document, sentence] of [
        ['{ "exports": { "expiresAfter": "soon" } }', /exports\.expiresAfter: must be a duration/],
        ['{ "exports": { "limits": { "bytes": 0 } } }', /exports\.limits\.bytes: must be a whole number/],
        ['{ "exports": { "scope": "tenant" } }', /exports\.scope: must be a function/],
        ['{ "exports": { "directry": "x" } }', /exports\.directry: is not known here/],
        ['{ "exports": { "s3": "audit" } }', /exports\.s3: must be an object such as \{ bucket: "audit"/],
        ['{ "exports": { "s3": { "region": "x" } } }', /exports\.s3\.bucket: is missing/],
        ['{ "exports": { "s3": { "bucket": "A" } } }', /exports\.s3\.bucket: must be the name of a bucket/],
        [
          '{ "exports": { "s3": { "bucket": "abc", "secretAccessKey": "x" } } }',
          /exports\.s3\.secretAccessKey: is not/
        ],
        ['{ "exports": { "directory": ".", "s3": { "bucket": "abc" } } }', /exports\.s3: is a second place for files/]
      ] as const) {
        const wrong = yield* scratch({ "threadline.config.json": document })
        expect(yield* Cli.run(["export", "jobs"], { url, cwd: wrong })).toEqual(Cli.refusal(2, sentence))
      }
    })
  )

  it.scoped("lie in a bucket, if the configuration names one", () =>
    Effect.gen(function* () {
      const { url } = yield* Host
      const { endpoint } = yield* S3.server
      yield* S3.nothing
      const s3 = { bucket: "audit", prefix: "exports/", region: "us-east-1", endpoint, pathStyle: true }
      const cwd = yield* scratch({ "threadline.config.json": JSON.stringify({ exports: { s3 } }) })
      const at = { url, cwd }
      // Only a command that needs the store asks for credentials.
      const id = String((yield* Cli.json(["export", "queue", "--format", "csv", "--op", "insert"], at))["id"])
      expect(yield* Cli.run(["export", "run", "--once"], at)).toEqual(
        Cli.refusal(1, /there are no credentials for the bucket: set AWS_ACCESS_KEY_ID/)
      )
      yield* S3.credentials
      expect(yield* Cli.json(["export", "run", "--once"], at)).toMatchObject({ completed: 1, failed: 0 })
      const manifest = yield* Cli.json(["export", "download", id, "--output", "x.csv"], at)
      expect(manifest).toMatchObject({ count: 3 })
      expect(yield* Cli.json(["export", "verify", "x.csv"], at)).toMatchObject({ fine: true })
    })
  )

  it.scoped("are made by schedules", () =>
    Effect.gen(function* () {
      const { cwd, url } = yield* Host
      const at = { url, cwd }
      const add = [
        "export",
        "schedule",
        "add",
        "weekly",
        "--cron",
        "0 6 * * 1",
        "--window",
        "previous-week",
        "--format",
        "csv"
      ]
      expect(yield* Cli.json([...add, "--tz", "Europe/Berlin", "--op", "insert"], at)).toMatchObject({
        name: "weekly",
        timeZone: "Europe/Berlin",
        window: "previous-week",
        request: { filter: { op: ["insert"] } }
      })
      expect(yield* Cli.run(add, at)).toEqual(Cli.refusal(1, "there is a schedule weekly already"))
      expect(yield* Cli.text(["export", "schedule", "list"], at)).toMatch(
        /weekly +0 6 \* \* 1 +Europe\/Berlin +previous-week +csv/
      )
      expect(yield* Cli.text(["export", "schedule", "remove", "weekly"], at)).toBe("The schedule weekly is removed.\n")
      expect(yield* Cli.run(["export", "schedule", "remove", "weekly"], at)).toEqual(
        Cli.refusal(1, /schedule weekly is not known here/)
      )
      expect(yield* Cli.text(["export", "schedule", "list"], at)).toBe("There is no schedule.\n")
      yield* Cli.checkEach(
        [
          [["add", "x", "--window", "since-last", "--format", "csv"], /--cron is missing/],
          [["add", "x", "--cron", "0 6 * * 1", "--format", "csv"], /--window is missing/],
          [["add", "x", "--cron", "0 6 * * 1", "--window", "since-last"], /--format is missing/],
          [["add", "a b", "--cron", "0 6 * * 1", "--window", "since-last", "--format", "csv"], /NAME: must be 1 to 63/],
          [["add", "x", "--cron", "hourly", "--window", "since-last", "--format", "csv"], /--cron: must be minute/],
          [["add", "x", "--cron", "0 6 * * 1", "--window", "today", "--format", "csv"], /--window is one of/],
          [
            ["add", "x", "--cron", "0 6 * * 1", "--window", "since-last", "--format", "csv", "--tz", "X"],
            /--tz: must be a time zone/
          ],
          [["add"], /NAME is missing/]
        ] as const,
        ([args, sentence]) =>
          Effect.map(Cli.run(["export", "schedule", ...args], { url: "postgres://127.0.0.1:1/nowhere" }), (outcome) =>
            expect(outcome, args.join(" ")).toEqual(Cli.refusal(2, sentence))
          )
      )
    })
  )

  it.effect("need a database that can be reached: exit code 3", () =>
    Effect.map(Cli.run(["export", "jobs"], { url: "postgres://127.0.0.1:1/nowhere" }), (outcome) =>
      expect(outcome).toMatchObject({ code: 3, stdout: "" })
    )
  )
})
