/**
 * Exports beside `psql \copy` of the same rows and columns as text. They take turns, so that a busy machine is busy for both. The peak of the process is that of a process of its own that only exports.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { execFile } from "node:child_process"
import { mkdtempSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import * as Export from "../src/Export.js"
import { businessYear } from "./businessYear.js"
import { median } from "./measure.js"
import * as Options from "./options.js"

/** What a person would write for psql: every column as the text that the CSV has. */
const columns = `
  c.id, c.transaction_id, to_char(c.captured_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), c.table_schema, c.table_name,
  c.partition_name, c.op, c.row_key, c.row_pk, c.previous_row_key, to_json(c.changed_fields), c.changed_from, c.data_after, c.details,
  to_char(t.occurred_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), t.actor_type, t.actor_id, t.actor, t.correlation_id,
  t.request_id, t.job_id, t.trace_id, t.source, abbrev(t.remote_ip), t.meta, t.context_error, t.db_user, t.application_name,
  abbrev(t.client_addr), a.id, a.name, a.status, a.correlation_id`

const copyOf = (where: string): string =>
  `select ${columns}
  from threadline.audit_changes c
  left join threadline.audit_transactions t on t.id = c.transaction_id
  left join threadline.audit_actions a on a.id = t.action_id
  ${where}
  order by c.transaction_id, c.id`.replaceAll(/\s+/g, " ")

interface Case {
  readonly label: string
  readonly options: Export.FileOptions
  /** The same in SQL. */
  readonly where: string
}

const ofCustomers = { table: "payments", op: ["insert", "update"] } as const

const cases: ReadonlyArray<Case> = [
  { label: "everything, CSV", options: { format: "csv", force: true }, where: "" },
  { label: "everything, NDJSON", options: { format: "ndjson", force: true }, where: "" },
  { label: "everything, JSON", options: { format: "json", force: true }, where: "" },
  { label: "everything, CSV by gzip", options: { format: "csv", compression: "gzip", force: true }, where: "" },
  {
    label: "a table of 3 %, CSV",
    options: { format: "csv", force: true, filter: ofCustomers },
    where: "where c.table_schema = 'public' and c.table_name = 'payments' and c.op in ('insert', 'update')"
  },
  {
    label: "an actor of 1 %, CSV",
    options: { format: "csv", force: true, filter: { actor: { type: "service_account", id: "svc-2" } } },
    where: "where t.actor_type = 'service_account' and t.actor_id = 'svc-2'"
  }
]

const asked = Options.options("Exports beside psql, in turns.", {
  ...Options.historyOptions,
  transactions: Options.count("transactions of the history, five changes each", 200_000, 10_000),
  case: Options.text("exports one case to --path and says what it took", "INDEX"),
  url: Options.text("the database of that case", "URL"),
  path: Options.text("the file of that case", "PATH")
})
const rounds = 3
const run = promisify(execFile)

/** Runs one case in this process, and says what it took. */
const exported = (url: string, path: string, { options }: Case) =>
  Effect.gen(function* () {
    const started = performance.now()
    const { count } = yield* Export.toFile(path, options)
    return { count, seconds: (performance.now() - started) / 1000 }
  }).pipe(
    Effect.provide(
      Layer.provide(Export.layerWith({ record: false }), PgClient.layer({ url: Redacted.make(url), maxConnections: 2 }))
    )
  )

interface Sample {
  readonly count: number
  readonly seconds: number
  /** Megabytes of memory that the process had at most. */
  readonly peak: number
}

const child = async (url: string, path: string, index: number): Promise<Sample> => {
  const { stdout } = await run(process.execPath, [
    "--import",
    "tsx",
    fileURLToPath(import.meta.url),
    "--case",
    String(index),
    "--url",
    url,
    "--path",
    path
  ])
  return JSON.parse(stdout) as Sample
}

const psql = async (url: string, path: string, { where }: Case): Promise<number> => {
  const started = performance.now()
  await run("psql", [
    "-X",
    "-q",
    "-d",
    url,
    "-c",
    `set jit = off`,
    "-c",
    `\\copy (${copyOf(where)}) to '${path}' csv header`
  ])
  return (performance.now() - started) / 1000
}

const bench = Effect.gen(function* () {
  const { url } = yield* businessYear({ ...asked, progress: console.error })
  const directory = mkdtempSync(join(tmpdir(), "threadline-bench-"))
  yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(directory, { recursive: true })))
  console.log("| export | rows | MB | rows/s | psql rows/s | ratio | peak MB |")
  console.log("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
  for (const [index, one] of cases.entries()) {
    const path = join(directory, String(index))
    const ours: Array<Sample> = []
    const theirs: Array<number> = []
    for (let round = 0; round < rounds; round++) {
      theirs.push(yield* Effect.promise(() => psql(url, `${path}.psql`, one)))
      ours.push(yield* Effect.promise(() => child(url, path, index)))
    }
    const ratios = ours.map(({ seconds }, round) => (theirs[round] ?? Number.NaN) / seconds)
    const rows = ours[0]?.count ?? 0
    const speed = Math.round(rows / median(ours.map(({ seconds }) => seconds)))
    const peak = Math.max(...ours.map((sample) => sample.peak))
    console.log(
      `| ${one.label} | ${rows} | ${Math.round(statSync(path).size / 1e6)} | ${speed} | ` +
        `${Math.round(rows / median(theirs))} | ${median(ratios).toFixed(2)} | ${Math.round(peak)} |`
    )
    rmSync(path)
    rmSync(`${path}.psql`)
  }
})

const { case: index, path, url } = asked
const chosenCase = index === undefined ? undefined : cases[Number(index)]
if (chosenCase !== undefined && url !== undefined && path !== undefined) {
  const result = await Effect.runPromise(exported(url, path, chosenCase))
  console.log(JSON.stringify({ ...result, peak: process.resourceUsage().maxRSS / 1024 }))
} else {
  await Effect.runPromise(Effect.scoped(bench))
}
