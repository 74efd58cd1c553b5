/** Runs the reads one by one, and explains what they send. */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Statement from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"
import type * as Query from "../src/Query.js"
import { ThreadlineError } from "../src/ThreadlineError.js"
import type { Case, Run } from "./readsCases.js"

export interface Spread {
  readonly p50: number
  readonly p95: number
  readonly max: number
}

export interface Figures {
  readonly name: string
  readonly kind: Case["kind"]
  readonly runs: number
  /** Milliseconds as the caller waits. */
  readonly wall: Spread
  /** Milliseconds of CPU, of the server's process and of this one together: what the wait is on a machine with nothing else to do. */
  readonly cpu: Spread | undefined
  /** The server's part of it. */
  readonly server: Spread | undefined
  /** Runs that were cancelled after five seconds, or that could not be read. */
  readonly failed: number
  readonly partial: number
  readonly items: number
  readonly slowest: string
  /** Of the slowest run. */
  readonly statements: number
  /** Milliseconds in which its statements are planned, as a wait. */
  readonly planning: number
  readonly looked: number
  readonly buffers: number
  /** Relations of the log that a plan reads from end to end. */
  readonly scanned: ReadonlyArray<string>
  readonly plans: ReadonlyArray<string>
}

interface Node {
  readonly "Node Type": string
  readonly "Relation Name"?: string
  readonly "Actual Rows"?: number
  readonly "Actual Loops"?: number
  readonly "Rows Removed by Filter"?: number
  readonly "Rows Removed by Index Recheck"?: number
  readonly Plans?: ReadonlyArray<Node>
}

interface Explained {
  readonly "Planning Time"?: number
  readonly Plan: Node & { readonly "Shared Hit Blocks"?: number; readonly "Shared Read Blocks"?: number }
}

const nodes = (node: Node): ReadonlyArray<Node> => [node, ...(node.Plans ?? []).flatMap(nodes)]

const isLog = (node: Node): boolean => /^audit_(changes|transactions|actions)/.test(node["Relation Name"] ?? "")

const looked = (node: Node): number =>
  ((node["Actual Rows"] ?? 0) + (node["Rows Removed by Filter"] ?? 0) + (node["Rows Removed by Index Recheck"] ?? 0)) *
  (node["Actual Loops"] ?? 0)

/** A table of a few pages, such as a partition that is still empty, is read whole by right. */
const ofSize = Effect.map(
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) => sql<{ readonly name: string }>`select relname as name from pg_class where relkind = 'r' and relpages > 100`
  ),
  (rows) => new Set(rows.map(({ name }) => name))
)

/** Of a statement that was cancelled there is a plan only. */
const explain = Effect.fnUntraced(function* (run: Run, failed: boolean, withText: boolean) {
  const analyze = failed ? "verbose false" : "analyze, buffers"
  const sql = yield* SqlClient.SqlClient
  const large = yield* ofSize
  const sent: Array<readonly [text: string, values: ReadonlyArray<unknown>]> = []
  yield* Statement.withTransformer(ended(run.read), (statement) =>
    Effect.sync(() => {
      sent.push(statement.compile())
      return statement
    })
  )
  const plans: Array<string> = []
  const scanned = new Set<string>()
  let rows = 0
  let buffers = 0
  let planning = 0
  for (const [text, values] of sent) {
    const found = yield* sql.unsafe<{ readonly "QUERY PLAN": ReadonlyArray<Explained> }>(
      `explain (${analyze}, format json) ${text}`,
      values as Array<string>
    )
    for (const { Plan, ...explained } of found.flatMap((row) => row["QUERY PLAN"])) {
      planning += explained["Planning Time"] ?? 0
      buffers += (Plan["Shared Hit Blocks"] ?? 0) + (Plan["Shared Read Blocks"] ?? 0)
      for (const node of nodes(Plan).filter(isLog)) {
        rows += looked(node)
        if (node["Node Type"] === "Seq Scan" && large.has(node["Relation Name"] ?? "")) {
          scanned.add(node["Relation Name"] ?? "")
        }
      }
    }
    if (withText) {
      const lines = yield* sql.unsafe<{ readonly "QUERY PLAN": string }>(
        `explain (${analyze}) ${text}`,
        values as Array<string>
      )
      plans.push(`${text}\n${JSON.stringify(values)}\n${lines.map((line) => line["QUERY PLAN"]).join("\n")}`)
    }
  }
  return { statements: sent.length, planning, looked: rows, buffers, scanned: [...scanned], plans }
})

const spread = (values: ReadonlyArray<number>): Spread => {
  const sorted = [...values].sort((a, b) => a - b)
  const quantile = (q: number): number => sorted[Math.ceil(q * sorted.length) - 1] ?? Number.NaN
  return { p50: quantile(0.5), p95: quantile(0.95), max: quantile(1) }
}

/** Milliseconds that a process of this machine has spent on a CPU. */
const cpuOf = (pid: string): number | undefined => {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").startsWith("postgres")
      ? Number(readFileSync(`/proc/${pid}/schedstat`, "utf8").split(" ")[0]) / 1e6
      : undefined
  } catch {
    return undefined
  }
}

/** `backend` serves the one session there is. */
const timed = <A, E, R>(backend: string, effect: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const served = cpuOf(backend)
    const used = process.cpuUsage()
    const start = performance.now()
    return Effect.map(effect, (value) => {
      const wall = performance.now() - start
      const { system, user } = process.cpuUsage(used)
      const now = cpuOf(backend)
      const server = served === undefined || now === undefined ? undefined : now - served
      return { value, wall, server, cpu: server === undefined ? undefined : server + (system + user) / 1000 }
    })
  })

const spreadOf = (values: ReadonlyArray<number | undefined>): Spread | undefined => {
  const known = values.filter((value) => value !== undefined)
  return known.length === values.length ? spread(known) : undefined
}

const longest = 5000

const ended = (read: Run["read"]) =>
  Effect.match(read, {
    onSuccess: (value) => ({ ...value, failed: false }),
    onFailure: () => ({ items: 0, partial: false, failed: true })
  })

const unreachable: Run = {
  label: "a page before it takes too long",
  read: new ThreadlineError({ reason: "Failed", detail: "too deep" })
}

/** Undefined where the history is too small for it. */
export const measure = (
  { kind, name, runs: runsOf }: Case,
  withPlans: boolean
): Effect.Effect<Figures | undefined, Query.ReadError, Query.Query | SqlClient.SqlClient> =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    yield* Effect.orDie(sql`select set_config('statement_timeout', ${String(longest)}, false)`)
    // The first time fills caches and is not counted. Of a read that takes seconds few runs say enough.
    const runs: Array<Run> = []
    const given = yield* Effect.orElseSucceed(runsOf, () => [unreachable])
    const start = performance.now()
    for (const run of given) {
      if (performance.now() - start < 2 * longest) {
        runs.push(run)
        yield* ended(run.read)
      }
    }
    const [session] = yield* Effect.orDie(sql<{ readonly pid: string }>`select pg_backend_pid()::text as pid`)
    const seen = yield* Effect.forEach(runs, (run) =>
      Effect.map(timed(session?.pid ?? "", ended(run.read)), (result) => ({ run, ...result }))
    )
    // The slowest but for the few that something else held up.
    const sorted = [...seen].sort((one, other) => (one.cpu ?? one.wall) - (other.cpu ?? other.wall))
    const slow = sorted[Math.ceil(0.95 * sorted.length) - 1]
    if (slow === undefined) {
      return undefined
    }
    const explained = yield* explain(slow.run, slow.value.failed, withPlans).pipe(
      // What did not end in time is planned only.
      Effect.catchAll(() => explain(slow.run, true, withPlans)),
      Effect.orDie
    )
    return {
      name,
      kind,
      runs: seen.length,
      wall: spread(seen.map(({ wall }) => wall)),
      cpu: spreadOf(seen.map(({ cpu }) => cpu)),
      server: spreadOf(seen.map(({ server }) => server)),
      failed: seen.filter(({ value }) => value.failed).length,
      partial: seen.filter(({ value }) => value.partial).length,
      items: seen.reduce((sum, { value }) => sum + value.items, 0) / seen.length,
      slowest: slow.run.label,
      ...explained
    }
  })
