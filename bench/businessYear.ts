/** A database with the record of a business over a year, of any size; see `businessYear.sql`. */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { readFileSync } from "node:fs"
import pg from "pg"
import * as Capture from "../src/Capture.js"
import * as Migrations from "../src/Migrations.js"
import * as TestCluster from "../test/harness/TestCluster.js"

export interface Options {
  readonly transactions: number
  /** Leaves the database behind, and takes the one that an earlier run left. */
  readonly keep: boolean
  readonly progress: (text: string) => void
}

export interface BusinessYear {
  readonly url: string
  readonly name: string
}

const settings = {
  shared_buffers: "1GB",
  max_wal_size: "6GB",
  checkpoint_timeout: "30min",
  effective_cache_size: "6GB"
}

const tables = [
  "order_events",
  "orders",
  "order_items",
  "inventory",
  "customers",
  "invoices",
  "payments",
  "shipments",
  "messages",
  "sessions",
  "products",
  "subscriptions",
  "prices",
  "members",
  "coupons",
  "suppliers",
  "warehouses",
  "settings",
  "tax_rates",
  "plans"
]

const session = <A>(url: string, run: (client: pg.Client) => Promise<A>): Effect.Effect<A> =>
  Effect.promise(async () => {
    const client = new pg.Client({ connectionString: url, application_name: "threadline-bench" })
    await client.connect()
    try {
      return await run(client)
    } finally {
      await client.end()
    }
  })

/** The steps of `businessYear.sql`, by name. */
const steps = (transactions: number): ReadonlyArray<readonly [name: string, statements: string]> =>
  readFileSync(new URL("./businessYear.sql", import.meta.url), "utf8")
    .split(/^-- step: /m)
    .slice(1)
    .map((text) => {
      const line = text.indexOf("\n")
      return [text.slice(0, line), text.slice(line).replace(/:transactions\b/g, String(transactions))] as const
    })

const portions = 24

const load = (url: string, { progress, transactions }: Options): Effect.Effect<void> =>
  Effect.gen(function* () {
    const start = performance.now()
    const step = (name: string) => progress(`${((performance.now() - start) / 1000).toFixed(0).padStart(5)} s  ${name}`)
    const client = PgClient.layer({ url: Redacted.make(url), maxConnections: 2 })
    const [[, hostTables] = ["", ""], ...others] = steps(transactions)
    step("schema")
    yield* session(url, (open) => open.query(hostTables))
    yield* Effect.gen(function* () {
      yield* Migrations.run()
      const capture = yield* Capture.Capture
      yield* capture.apply(tables.map((table) => ({ table })))
    }).pipe(Effect.provide(Layer.provideMerge(Capture.layer, client)), Effect.orDie)
    yield* session(url, async (open) => {
      await open.query(
        "set work_mem = '256MB'; set maintenance_work_mem = '512MB'; set jit = off; set timezone = 'UTC'"
      )
      for (const [name, statements] of others) {
        step(name)
        if (name === "end") {
          await writeChanges(open, step)
        }
        await open.query(statements)
      }
      step("vacuum analyze")
      await open.query("vacuum analyze")
      await open.query("checkpoint")
      await open.query(`comment on schema threadline is 'threadline bench: a history, complete'`)
      step("done")
    })
  })

/** In portions, so that a long load shows that it goes on. */
const writeChanges = async (open: pg.Client, step: (name: string) => void): Promise<void> => {
  const { rows } = await open.query<{ readonly count: string }>("select max(id)::text as count from history.versions")
  const count = Number(rows[0]?.count ?? 0)
  const size = Math.ceil(count / portions)
  for (let low = 1; low <= count; low += size) {
    await open.query("select history.write_changes($1, $2)", [low, low + size - 1])
    step(`${Math.min(low + size - 1, count)} of ${count} changes`)
  }
}

const isComplete = (url: string): Effect.Effect<boolean> =>
  session(url, async (open) => {
    const { rows } = await open.query<{ readonly note: string | null }>(
      "select obj_description(to_regnamespace('threadline'), 'pg_namespace') as note"
    )
    return rows[0]?.note === "threadline bench: a history, complete"
  })

/**
 * On the server of `DATABASE_URL` (a superuser's), where a history can be kept, or on one made for the run. The settings of a
 * server that is given are left alone.
 */
export const businessYear = (options: Options): Effect.Effect<BusinessYear, TestCluster.ClusterError, Scope.Scope> =>
  Effect.gen(function* () {
    const given = process.env["DATABASE_URL"] ?? ""
    const server = given === "" ? (yield* TestCluster.make({ settings })).url : given
    const name = `threadline_history_${options.transactions}`
    const url = new URL(server)
    url.pathname = `/${name}`
    const drop = session(server, (open) => open.query(`drop database if exists ${name} with (force)`))
    const found = yield* session(server, (open) => open.query("select from pg_database where datname = $1", [name]))
    if (found.rowCount === 0 || !(yield* isComplete(url.href))) {
      yield* drop
      yield* session(server, (open) => open.query(`create database ${name} template template0`))
      yield* load(url.href, options).pipe(Effect.onError(() => drop))
    }
    if (!options.keep) {
      yield* Effect.addFinalizer(() => drop)
    }
    return { url: url.href, name }
  })
