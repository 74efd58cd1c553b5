/** retention and evidence on the command line: their documents, their exit codes, and the one question. */
import * as SqlClient from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import * as Cli from "../support/cli.js"
import * as log from "../support/query.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import { twoMonths } from "../support/query.js"
import { scratch } from "../support/scratch.js"

Cli.setup()

const config = (retention: unknown) => scratch({ "threadline.config.json": JSON.stringify({ retention }) })

layer(twoMonths, { excludeTestServices: true, timeout: 300_000 })("threadline retention and evidence", (it) => {
  it.scoped("plan, purge, list runs and maintain", () =>
    Effect.gen(function* () {
      const { url } = yield* TestDatabase.TestDatabase
      const cwd = yield* config({ keep: "30 days", tables: { posts: "40 days" } })
      const where = { url, cwd }
      expect(yield* Cli.run(["retention", "plan"], { url })).toEqual(Cli.refusal(1, /no retention is configured/))
      expect(yield* Cli.json(["retention", "plan"], where)).toMatchObject({
        items: [
          { table: "public.posts", month: "2026-01", changes: 1, how: "drop" },
          { table: "public.posts", month: "2026-02", changes: 1, how: "drop" }
        ],
        transactions: 2,
        actions: 0,
        cutoff: expect.stringMatching(/Z$/)
      })
      expect(yield* Cli.json(["retention", "plan", "--before", "2026-02-01"], where)).toMatchObject({ transactions: 1 })
      expect(yield* Cli.run(["retention", "plan", "--before", "2999-01-01"], where)).toEqual(
        Cli.refusal(2, /--before: must not be in the future/)
      )
      expect(yield* Cli.run(["retention", "purge"], where)).toEqual(Cli.refusal(2, /give --yes/))
      expect(yield* Cli.run(["retention", "purge", "--yes", "--max-batches", "0"], where)).toEqual(
        Cli.refusal(2, /--max-batches/)
      )
      const questions: Array<string> = []
      const no = yield* Cli.run(["retention", "purge"], {
        ...where,
        answer: (question) => {
          questions.push(question)
          return false
        }
      })
      expect(no).toEqual(Cli.refusal(1, "nothing was removed"))
      expect(questions).toHaveLength(1)
      expect(questions[0]).toMatch(
        /2 changes, 2 transactions and 0 actions would go[^]*Remove this for good\? \[y\/N\] $/
      )
      const status: Array<string> = []
      const archive = join(cwd, "archive")
      const run = yield* Cli.run(["retention", "purge", "--yes", "--json", "--actor", "user:9", "--archive", archive], {
        ...where,
        status
      })
      expect(run).toMatchObject({ code: 0, stderr: "" })
      expect(JSON.parse(run.stdout)).toMatchObject({
        state: "completed",
        changes: 2,
        transactions: 2,
        actor: { type: "user", id: "9" }
      })
      expect(status.at(-1)).toBe("")
      expect(existsSync(join(archive, "public.posts-2026-01.ndjson.gz"))).toBe(true)
      expect(yield* Cli.json(["retention", "runs"], where)).toMatchObject({
        items: [{ kind: "purge", changes: 2 }],
        hasMore: false
      })
      expect(yield* Cli.json(["retention", "maintain", "--months", "1"], where)).toMatchObject({
        kind: "maintain",
        state: "completed"
      })
      expect(yield* Cli.text(["retention", "runs", "--kind", "maintain"], where)).toContain("completed")
    })
  )

  it.scoped("refuse a doubtful configuration before the database is asked", () =>
    Cli.checkEach(
      [
        [{ keep: 30 }, /retention\.keep: must be a duration with its unit/],
        [{ keep: "10 days", floor: "20 days" }, /retention\.keep: must not be shorter than the floor/],
        [{ keep: "30 days", floor: "20 days", tables: { posts: "10 days" } }, /must not be shorter than the floor/],
        [{ keep: "30 days", floor: "20 days", actions: { login: "10 days" } }, /must not be shorter than the floor/],
        [{ keep: { days: 30, seconds: 5 } }, /retention\.keep: must be a duration/],
        [{ keep: "30 days 5 seconds" }, /retention\.keep: must be a duration/],
        [{ keep: "30 days", keepSeconds: 5 }, /retention\.keepSeconds: is not known here/],
        [{ keep: "0 days" }, /retention\.keep/],
        [{ keep: "-1 days" }, /retention\.keep/],
        [{ keep: "10 days", holds: [{ table: "posts" }] }, /retention\.holds\[0\]\.reason/],
        ["365 days", /retention: must be an object/]
      ] as const,
      ([retention, sentence]) =>
        Effect.gen(function* () {
          const cwd = yield* config(retention)
          expect(
            yield* Cli.run(["retention", "purge", "--yes"], { cwd, url: "postgres://nobody@127.0.0.1:1/none" })
          ).toEqual(Cli.refusal(2, sentence))
        }).pipe(Effect.scoped)
    )
  )

  it.scoped("record, derive, list and prove evidence", () =>
    Effect.gen(function* () {
      const { url } = yield* TestDatabase.TestDatabase
      yield* log.reset
      const cwd = yield* config({ keep: "30 days" })
      const where = { url, cwd }
      const detail = JSON.stringify({ format: "csv", count: 1, bytes: 2, sha256: "ab" })
      const record = ["evidence", "record", "export_delivery", "--ref", "q3"]
      expect(
        yield* Cli.json([...record, "--status", "ok", "--detail", detail, "--actor", "user:42"], where)
      ).toMatchObject({
        subject: "export_delivery",
        origin: "host",
        actor: { type: "user", id: "42" }
      })
      expect(
        yield* Cli.json(["evidence", "record", "retention_policy", "--ref", "prod", "--derive"], where)
      ).toMatchObject({
        origin: "derived",
        status: "ok",
        detail: { configured: true, policy: { keep: "30 days" } }
      })
      for (const [args, code, sentence] of [
        [["evidence", "record", "exports", "--ref", "q3", "--derive"], 2, /SUBJECT: must be one of/],
        [["evidence", "record", "export_delivery", "--ref", "", "--derive"], 2, /--ref/],
        [[...record, "--status", "ok", "--detail", "{"], 2, /--detail must be JSON/],
        [[...record, "--status", "ok", "--detail", "{}"], 2, /--detail: format: is missing/],
        [[...record, "--derive", "--status", "ok"], 2, /leave --status and --detail out/],
        [["evidence", "latest", "export_delivery", "q4"], 1, /no evidence of export_delivery is recorded for q4/],
        [["evidence", "proof", "--from", "2026-01-01"], 2, /--from, --to and --output/],
        [
          ["evidence", "proof", "--from", "2026-02-01", "--to", "2026-01-01", "--output", "x"],
          2,
          /--to: must not be before --from/
        ],
        [["evidence", "list", "--subject", "exports"], 2, /SUBJECT: must be one of redaction_policy/],
        [["evidence", "list", "--ref", ""], 2, /the option --ref needs a value/],
        [["evidence", "history", "export_delivery", ""], 2, /REF/],
        [["evidence", "latest", "nothing", "q3"], 2, /SUBJECT: must be one of redaction_policy/],
        [[...record, "--status", "fine", "--detail", detail], 2, /--status/],
        [[...record, "--derive", "--actor", "user"], 2, /--actor/],
        [
          ["evidence", "proof", "--from", "2026-01-01", "--to", "2026-02-01", "--output", "x", "--looked", ""],
          2,
          /--looked/
        ]
      ] as const) {
        expect(yield* Cli.run(args, where), args.join(" ")).toEqual(Cli.refusal(code, sentence))
      }
      expect(yield* Cli.json(["evidence", "latest", "export_delivery", "q3"], where)).toMatchObject({ status: "ok" })
      expect(yield* Cli.json(["evidence", "history", "export_delivery", "q3"], where)).toMatchObject({ hasMore: false })
      expect(yield* Cli.json(["evidence", "list", "--origin", "derived"], where)).toMatchObject({
        items: [{ reference: "prod" }]
      })
      const { subjects } = yield* Cli.json(["evidence", "overview"], where)
      expect(subjects).toHaveLength(6)
      expect(yield* Cli.text(["evidence", "overview"], where)).toContain("unproven")
      expect(existsSync(join(cwd, "x"))).toBe(false)
      const sql = yield* SqlClient.SqlClient
      yield* sql`select threadline.record_action('{"name": "audit.viewed"}', '{"actor": {"type": "user", "id": "9"}}')`
      const proof = ["evidence", "proof", "--from", "2026-01-01", "--to", "2999-12-31", "--looked", "audit.viewed"]
      yield* Cli.text([...proof, "--output", "proof.json"], where)
      expect(JSON.parse(readFileSync(join(cwd, "proof.json"), "utf8"))).toMatchObject({
        evidence: [{}, {}],
        looked: [{ name: "audit.viewed", actor: { type: "user", id: "9" } }],
        incomplete: []
      })
      expect(yield* Cli.run([...proof, "--output", "proof.json"], where)).toEqual(Cli.refusal(1, /is there already/))
      yield* Cli.text([...proof, "--output", "proof.html", "--html"], where)
      expect(readFileSync(join(cwd, "proof.html"), "utf8")).toMatch(/^<!doctype html>/)
    })
  )
})
