import { describe, expect, it } from "@effect/vitest"
import { parse as parseCsv } from "csv-parse/sync"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { gunzipSync } from "node:zlib"
import * as Cli from "../support/cli.js"
import { scratch } from "../support/scratch.js"

Cli.setup()

const host = Layer.scoped(
  Cli.Host,
  Effect.gen(function* () {
    const made = yield* Cli.makeHost(
      "create table invoices (id bigint primary key, note text, total numeric)",
      "invoices"
    )
    yield* made.query("insert into invoices values (9007199254740993, e'=1\\u001b[31m', 1.10)")
    yield* made.query("update invoices set total = 2.50")
    return made
  })
)

it.layer(host, { timeout: 300_000 })("threadline export", (it) => {
  describe("to standard output", () => {
    it.effect("writes each format", () =>
      Effect.gen(function* () {
        const { url } = yield* Cli.Host
        const lines = (yield* Cli.text(["export", "--format", "ndjson"], { url })).trimEnd().split("\n")
        const page = yield* Cli.json(["timeline", "--order", "oldest"], { url })
        expect(lines.map((line) => JSON.parse(line))).toEqual(page["items"])
        expect(lines[0]).toContain(`"id": 9007199254740993`)
        const csv = yield* Cli.text(
          ["export", "--format", "csv", "--columns", "op, changed_fields", "--newest-first"],
          { url }
        )
        expect(csv).toBe('op,changed_fields\r\nupdate,"[""total""]"\r\ninsert,\r\n')
        const document = JSON.parse(yield* Cli.text(["export", "--format", "json", "--limit", "1"], { url }))
        expect(document).toMatchObject({
          items: page["items"] instanceof Array ? [page["items"][0]] : [],
          manifest: { count: 1 }
        })
        const nothing = yield* Cli.text(["export", "--format", "csv", "--op", "delete"], { url })
        expect(parseCsv(nothing)).toHaveLength(1)
      })
    )

    it.effect("shows a terminal nothing that moves its cursor", () =>
      Effect.gen(function* () {
        const { url } = yield* Cli.Host
        const columns = ["--columns", "row,field,after", "--op", "insert"]
        const csv = yield* Cli.text(["export", "--format", "csv", ...columns], { url, terminal: 80 })
        expect(csv).toContain("9007199254740993,note,'=1\\u{1b}[31m\n")
        const ndjson = yield* Cli.text(["export", "--format", "ndjson", "--op", "insert"], { url, terminal: 80 })
        expect(ndjson).not.toContain("\u001b")
        expect(ndjson).toContain(`=1\\u001b[31m`)
        expect(yield* Cli.run(["export", "--format", "csv", "--gzip"], { url, terminal: 80 })).toEqual(
          Cli.refusal(2, /what is compressed is not for a terminal/)
        )
        expect(yield* Cli.run(["export", "--format", "parquet"], { url, terminal: 80 })).toEqual(
          Cli.refusal(2, /Parquet is not for a terminal/)
        )
      })
    )
  })

  describe("to a file", () => {
    it.scoped("writes it with its manifest, says so, and verifies", () =>
      Effect.gen(function* () {
        const { url } = yield* Cli.Host
        const cwd = yield* scratch()
        const status: Array<string> = []
        const said = yield* Cli.text(["export", "--output", "all.ndjson.gz", "--gzip", "--requested-by", "user:42"], {
          url,
          cwd,
          status
        })
        expect(said).toMatch(
          /^2 records, \d+ B in all\.ndjson\.gz; its manifest is all\.ndjson\.gz\.manifest\.json\.\n$/
        )
        expect(status.at(-1)).toBe("")
        expect(status[0]).toMatch(/^\d records.*, [\d.]+ k?B, \d+ a second$/)
        const path = join(cwd, "all.ndjson.gz")
        expect(gunzipSync(readFileSync(path)).toString().trimEnd().split("\n")).toHaveLength(2)
        const manifest = yield* Cli.json(
          ["export", "--output", "all.ndjson.gz", "--gzip", "--force", "--table", "invoices"],
          { url, cwd }
        )
        expect(manifest).toMatchObject({
          format: "ndjson",
          formatVersion: 1,
          compression: "gzip",
          filter: { table: ["public.invoices"] },
          scope: null,
          requestedBy: null,
          count: 2,
          sha256: expect.stringMatching(/^[0-9a-f]{64}$/)
        })
        expect(JSON.parse(readFileSync(`${path}.manifest.json`, "utf8"))).toEqual(manifest)
        expect(yield* Cli.text(["export", "verify", "all.ndjson.gz"], { cwd })).toMatch(
          /^all\.ndjson\.gz is what its manifest says: 2 records/
        )
        expect(yield* Cli.json(["export", "verify", "all.ndjson.gz"], { cwd })).toMatchObject({
          fine: true,
          differences: []
        })
        writeFileSync(path, "{}")
        const wrong = yield* Cli.run(["export", "verify", "all.ndjson.gz"], { cwd })
        expect(wrong).toMatchObject({ code: 1, stderr: "", stdout: expect.stringContaining("sha256: expected ") })
        expect(yield* Cli.run(["export", "verify", "nosuch"], { cwd })).toEqual(Cli.refusal(1, /nosuch cannot be read/))
      })
    )

    it.scoped("compresses it if its name says so", () =>
      Effect.gen(function* () {
        const { url } = yield* Cli.Host
        const cwd = yield* scratch()
        const manifest = yield* Cli.json(["export", "--output", "all.csv.gz"], { url, cwd })
        expect(manifest).toMatchObject({ format: "csv", compression: "gzip" })
        expect(gunzipSync(readFileSync(join(cwd, "all.csv.gz"))).toString()).toMatch(/^id,transaction_id,/)
        expect(yield* Cli.json(["export", "verify", "all.csv.gz"], { cwd })).toMatchObject({ fine: true })
      })
    )

    it.scoped("writes Parquet, and verifies it", () =>
      Effect.gen(function* () {
        const { url } = yield* Cli.Host
        const cwd = yield* scratch()
        expect(yield* Cli.json(["export", "--output", "x.parquet"], { url, cwd })).toMatchObject({
          format: "parquet",
          count: 2
        })
        expect(yield* Cli.text(["export", "verify", "x.parquet"], { cwd })).toMatch(/^x\.parquet is what its manifest/)
      })
    )

    it.scoped("writes NDJSON in the shape of another system", () =>
      Effect.gen(function* () {
        const { url } = yield* Cli.Host
        const cwd = yield* scratch()
        const text = yield* Cli.text(["export", "--shape", "ocsf", "--limit", "1"], { url })
        expect(JSON.parse(text)).toMatchObject({ class_uid: 3004, activity_name: "Create" })
        const manifest = yield* Cli.json(["export", "--output", "x.ndjson", "--shape", "debezium"], { url, cwd })
        expect(manifest).toMatchObject({ format: "ndjson", shape: "debezium" })
        expect(yield* Cli.run(["export", "--format", "csv", "--shape", "ocsf"], { url })).toEqual(
          Cli.refusal(2, /--shape: is one of NDJSON: csv has none/)
        )
        expect(yield* Cli.run(["export", "--shape", "leef"], { url })).toMatchObject({ code: 2 })
      })
    )

    it.scoped("refuses what it must not replace or cannot reach, and leaves nothing behind", () =>
      Effect.gen(function* () {
        const { url } = yield* Cli.Host
        const cwd = yield* scratch({ "x.csv": "mine" })
        const outcome = (...args: ReadonlyArray<string>) => Cli.run(["export", ...args], { url, cwd })
        expect(yield* outcome("--output", "x.csv")).toEqual(
          Cli.refusal(1, /x\.csv is there already \(--force replaces a file\)/)
        )
        expect(yield* outcome("--output", "no/x.csv")).toEqual(Cli.refusal(1, /there is no directory/))
        expect(yield* outcome("--output", "y.csv", "--table", "nosuch")).toEqual(Cli.refusal(1, /public\.nosuch/))
        expect(readFileSync(join(cwd, "x.csv"), "utf8")).toBe("mine")
        expect(readdirSync(cwd)).toEqual(["x.csv"])
      })
    )
  })

  it.effect("refuses what is wrong whatever the database holds before it asks one", () =>
    Cli.checkEach(
      [
        [[], /--format is missing/],
        [["--output", "x.txt"], /--format is missing/],
        [["--format", "xml"], /--format is one of csv, ndjson, json, parquet/],
        [["--output", "x.parquet.gz"], /--output: Parquet is compressed inside/],
        [["--output", "x.parquet.zst", "--zstd"], /--output: Parquet is compressed inside/],
        [["--output", "x.zst", "--format", "parquet"], /--output: Parquet is compressed inside/],
        [["--output", "x.csv.zst", "--gzip"], /--gzip and the ending of --output are two compressions/],
        [["--output", "x.csv.GZ", "--zstd"], /--zstd and the ending of --output are two compressions/],
        [["--output", "x.parquet", "--gzip"], /--gzip is for other formats: Parquet is compressed inside/],
        [
          ["--format", "csv", "--columns", "id,captured"],
          /--columns: must name columns of an export, and "captured" is none/
        ],
        [["--format", "csv", "--columns", "id,befor"], /did you mean before\?/],
        [["--format", "json", "--columns", "id"], /--columns: are those of a CSV/],
        [["--format", "ndjson", "--raw"], /--raw: is about the cells of a CSV/],
        [["--format", "csv", "--limit", "0"], /--limit is a whole number/],
        [["--format", "csv", "--gzip", "--zstd"], /two compressions/],
        [["--format", "csv", "--json"], /--json prints the manifest of a file/],
        [["--format", "csv", "--force"], /--force replaces a file/],
        [["--format", "csv", "--from", "2026-02-01", "--to", "2026-01-01"], /--to: must not be before --from/],
        [["--format", "csv", "--requested-by", "user"], /--requested-by user needs an id/],
        [["verify"], /FILE is missing/],
        [["verfy", "x"], /there is no command export verfy; did you mean export verify\?/]
      ] as const,
      ([args, sentence]) =>
        Effect.map(Cli.run(["export", ...args], { url: "postgres://127.0.0.1:1/nowhere" }), (outcome) =>
          expect(outcome).toEqual(Cli.refusal(2, sentence))
        )
    )
  )

  it.effect("ends with code 3 if the database cannot be reached", () =>
    Effect.map(Cli.run(["export", "--format", "csv"], { url: "postgres://127.0.0.1:1/nowhere" }), (outcome) =>
      expect(outcome).toMatchObject({ code: 3, stdout: "" })
    )
  )

  it.scoped("is recorded as an action, unless the configuration says otherwise", () =>
    Effect.gen(function* () {
      const { url } = yield* Cli.Host
      const args = ["export", "--format", "csv", "--requested-by", "admin:7"]
      const count = Effect.map(Cli.json(["actions", "--action", "export.completed"], { url }), ({ items }) =>
        Array.isArray(items) ? items : []
      )
      const before = yield* count
      const cwd = yield* scratch({ "threadline.config.json": '{ "exports": { "record": false } }' })
      yield* Cli.text(args, { url, cwd })
      expect(yield* count).toHaveLength(before.length)
      yield* Cli.text(args, { url })
      const after = yield* count
      expect(after).toHaveLength(before.length + 1)
      expect(after[0]).toMatchObject({
        actor: { type: "admin", id: "7" },
        data: { format: "csv", count: 2, filter: {} }
      })
      const wrong = yield* scratch({ "threadline.config.json": '{ "exports": { "record": 1 } }' })
      expect(yield* Cli.run(args, { url, cwd: wrong })).toEqual(
        Cli.refusal(2, /exports\.record: must be true or false/)
      )
    })
  )

  it.effect("has help of its own, and names the commands below it", () =>
    Effect.gen(function* () {
      const help = yield* Cli.text(["export", "--help"])
      expect(help).toContain("verify")
      expect(help).toContain("--columns NAMES")
      expect(yield* Cli.text(["export", "verify", "--help"])).toContain("<FILE>")
    })
  )
})
