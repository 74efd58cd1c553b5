/**
 * What a viewer waits for the pages of operators at ten million changes: the time to the first byte, and the size of the page.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { loadavg } from "node:os"
import * as OperatorSurface from "../src/OperatorSurface.js"
import * as Threadline from "../src/Threadline.js"
import { businessYear } from "./businessYear.js"
import * as Options from "./options.js"
import { type Samples, samples } from "./readsSamples.js"

const asked = Options.options("What a viewer waits for the pages of operators at ten million changes.", {
  ...Options.historyOptions,
  only: Options.pattern("the pages whose name fits")
})
const progress = (text: string): void => {
  process.stderr.write(`${text}\n`)
}

const runs = 30
const target = { milliseconds: 50, bytes: 60 * 1024 }

/** Each page with addresses that vary from run to run. */
const pagesOf = (of: Samples): ReadonlyArray<readonly [page: string, addresses: ReadonlyArray<string>]> => {
  const hour = (from: string): string =>
    new URLSearchParams({ from, to: new Date(Date.parse(from) + 3_600_000).toISOString() }).toString()
  return [
    ["home", ["/audit"]],
    ["timeline", ["/audit/timeline"]],
    ["timeline of everything", ["/audit/timeline?since=all"]],
    ["timeline of a busy table", ["/audit/timeline?table=order_events&since=all"]],
    ["timeline of an hour", of.instants.map((from) => `/audit/timeline?${hour(from)}`)],
    ["row", of.rows.map(({ key, table }) => `/audit/rows/${table}/${encodeURIComponent(String(key))}`)],
    ["row of 20,000 changes", ["/audit/rows/inventory/0"]],
    ["transaction", of.transactions.map((id) => `/audit/transactions/${id}`)],
    ["request", of.requests.map((id) => `/audit/requests/${encodeURIComponent(id)}`)],
    ["correlation", of.correlations.map((id) => `/audit/correlations/${encodeURIComponent(id)}`)],
    ["actor of 30 %", ["/audit/actors/service_account/checkout"]],
    ["actor", of.middleActors.map(({ id, type }) => `/audit/actors/${type}/${encodeURIComponent(id ?? "")}`)],
    ["actions", ["/audit/actions"]]
  ]
}

const quantile = (values: ReadonlyArray<number>, share: number): number =>
  [...values].sort((a, b) => a - b)[Math.ceil(share * values.length) - 1] ?? Number.NaN

interface Answer {
  readonly status: number
  readonly first: number
  readonly bytes: number
}

const visited = async (handler: (request: Request) => Promise<Response>, address: string): Promise<Answer> => {
  const started = performance.now()
  const response = await handler(new Request(`http://bench.test${address}`))
  const reader = response.body?.getReader()
  let first = Number.NaN
  let bytes = 0
  for (;;) {
    const piece = await reader?.read()
    first = Number.isNaN(first) ? performance.now() - started : first
    if (piece === undefined || piece.done) {
      return { status: response.status, first, bytes }
    }
    bytes += piece.value.byteLength
  }
}

const bench = Effect.gen(function* () {
  const { url } = yield* businessYear({ ...asked, progress })
  const of = yield* Effect.promise(() => samples(url))
  const writer = PgClient.layer({ url: Redacted.make(url), maxConnections: 4, applicationName: "threadline-bench" })
  const services = Threadline.layer({
    writer: Layer.effect(SqlClient.SqlClient, PgClient.PgClient).pipe(Layer.provide(writer))
  })
  const { handler } = yield* Effect.acquireRelease(
    Effect.sync(() => OperatorSurface.toWebHandler(services, { unauthenticated: true })),
    ({ dispose }) => Effect.promise(dispose)
  )
  console.log(`${of.changeCount} changes; load ${loadavg()[0]?.toFixed(1) ?? "unknown"}; ${runs} visits of each page`)
  console.log("| page | first byte: least, p50, p95 ms | KB, most | |")
  console.log("| --- | ---: | ---: | --- |")
  for (const [page, addresses] of pagesOf(of).filter(([page]) => asked.only.test(page))) {
    const answers: Array<Answer> = []
    for (let run = -3; run < runs && addresses.length > 0; run++) {
      const address = addresses[Math.max(0, run) % addresses.length] ?? "/audit"
      const answer = yield* Effect.promise(() => visited(handler, address))
      // The first visits fill caches.
      if (run >= 0) {
        answers.push(answer)
      }
    }
    const times = answers.map(({ first }) => first)
    const bytes = Math.max(...answers.map((answer) => answer.bytes))
    const failed = answers.filter(({ status }) => status !== 200).length
    const verdicts = [
      ...(quantile(times, 0.95) > target.milliseconds ? ["slow"] : []),
      ...(bytes > target.bytes ? ["large"] : []),
      ...(failed > 0 ? [`${failed} not 200`] : [])
    ]
    const spread = [0.01, 0.5, 0.95].map((share) => quantile(times, share).toFixed(1)).join(", ")
    console.log(`| ${page} | ${spread} | ${(bytes / 1024).toFixed(1)} | ${verdicts.join(", ") || "met"} |`)
  }
})

await Effect.runPromise(Effect.scoped(bench))
