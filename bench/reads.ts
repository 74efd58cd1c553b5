/** What reads cost at ten million changes. */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { cpus, loadavg } from "node:os"
import * as Query from "../src/Query.js"
import { businessYear } from "./businessYear.js"
import * as Options from "./options.js"
import { cases } from "./readsCases.js"
import { type Figures, measure, type Spread } from "./readsMeasure.js"
import { samples } from "./readsSamples.js"

const asked = Options.options("What reads cost at ten million changes.", {
  ...Options.historyOptions,
  only: Options.pattern("the reads whose name fits"),
  plans: Options.flag("prints what they send, with its plan"),
  json: Options.json
})
const progress = (text: string): void => {
  if (!asked.json) process.stderr.write(`${text}\n`)
}

const target = 10
const load = (): string =>
  loadavg()
    .map((value) => value.toFixed(1))
    .join(" ")

const spread = (of: Spread | undefined): string =>
  of === undefined ? "-".padStart(24) : [of.p50, of.p95, of.max].map((value) => value.toFixed(1).padStart(8)).join("")

const heading =
  `${"".padEnd(38)}${"wall p50".padStart(8)}${"p95".padStart(8)}${"max".padStart(8)}` +
  `${"cpu p50".padStart(8)}${"p95".padStart(8)}${"max".padStart(8)}  of it server p95` +
  "  partial  items  rows looked at  buffers"

/** On a busy machine a wait says more about the others. */
const isOver = (each: Figures): boolean => each.kind === "index" && (each.cpu ?? each.wall).p95 > target

const line = (each: Figures): string =>
  `${each.name.padEnd(38)}${spread(each.wall)}${spread(each.cpu)}${(each.server?.p95.toFixed(1) ?? "-").padStart(18)}` +
  `${String(each.partial).padStart(9)}${each.items.toFixed(0).padStart(7)}${each.looked.toFixed(0).padStart(16)}` +
  `${each.buffers.toFixed(0).padStart(9)}` +
  `${isOver(each) ? "  over" : ""}${each.kind === "index" && each.partial > 0 ? "  partial" : ""}` +
  `${each.failed > 0 ? `  ${each.failed} of ${each.runs} cancelled or failed` : ""}` +
  `${each.scanned.length > 0 ? `  scans ${each.scanned.join(", ")}` : ""}`

const bench = Effect.gen(function* () {
  const { name, url } = yield* businessYear({ ...asked, progress })
  if (asked.keep) {
    progress(`the history is in the database ${name}`)
  }
  const before = load()
  const of = yield* Effect.promise(() => samples(url))
  const client = PgClient.layer({ url: Redacted.make(url), maxConnections: 1, applicationName: "threadline-bench" })
  const figures = yield* Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const found: Array<Figures> = []
    progress(heading)
    const trip = { name: "a round trip", kind: "index" as const }
    const roundTrip = {
      ...trip,
      runs: Effect.succeed(
        Array.from({ length: 60 }, () => ({
          label: "select 1",
          read: Effect.as(Effect.orDie(sql`select 1`), { items: 1, partial: false })
        }))
      )
    }
    for (const each of [roundTrip, ...cases(of)]) {
      if (asked.only.test(each.name)) {
        const measured = yield* measure(each, asked.plans)
        if (measured === undefined) {
          progress(`${each.name.padEnd(38)}the history is too small`)
        } else {
          progress(line(measured))
          for (const plan of measured.plans) progress(`\n${measured.slowest}\n${plan}\n`)
          found.push(measured)
        }
      }
    }
    return found
  }).pipe(Effect.provide(Layer.provideMerge(Query.layer, client)))
  return {
    machine: `${cpus().length} cores, ${cpus()[0]?.model ?? "unknown"}; load ${before} before, ${load()} after`,
    transactions: of.transactionCount,
    changes: of.changeCount,
    targetMilliseconds: target,
    figures
  }
})

const result = await Effect.runPromise(Effect.scoped(bench))
if (asked.json) {
  console.log(JSON.stringify(result, null, 2))
} else {
  console.log(
    [
      `${result.changes} changes of ${result.transactions} transactions; ${result.machine}`,
      "milliseconds, pages of 50",
      "",
      heading,
      ...result.figures.map(line)
    ].join("\n")
  )
}
