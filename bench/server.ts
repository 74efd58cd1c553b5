/** The server to measure on, and a database of the run's own. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { randomBytes } from "node:crypto"
import { readFileSync } from "node:fs"
import pg from "pg"
import * as TestCluster from "../test/harness/TestCluster.js"

export interface Database {
  readonly url: string
  readonly version: string
  /** Whether backends are processes of this machine, so that their CPU time can be read. */
  readonly local: boolean
}

const settings = {
  shared_buffers: "512MB",
  max_wal_size: "8GB",
  checkpoint_timeout: "30min",
  // The harness trades durability for speed; a COMMIT that is measured must be one.
  fsync: "on",
  full_page_writes: "on"
}

/** `DATABASE_URL` (a superuser's), or a server made for the run, chosen as the tests choose theirs. */
const serverUrl: Effect.Effect<string, TestCluster.ClusterError, Scope.Scope> = Effect.suspend(() => {
  const given = process.env["DATABASE_URL"] ?? process.env["THREADLINE_TEST_URL"] ?? ""
  return given === "" ? Effect.map(TestCluster.make({ settings }), (cluster) => cluster.url) : Effect.succeed(given)
})

const administer = (url: string, statement: string): Effect.Effect<void> =>
  Effect.promise(async () => {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    try {
      await client.query(statement)
    } finally {
      await client.end()
    }
  })

export const database: Effect.Effect<Database, TestCluster.ClusterError, Scope.Scope> = Effect.gen(function* () {
  const server = yield* serverUrl
  const name = `threadline_bench_${randomBytes(4).toString("hex")}`
  yield* Effect.acquireRelease(administer(server, `create database ${name} template template0`), () =>
    administer(server, `drop database if exists ${name} with (force)`)
  )
  const url = new URL(server)
  url.pathname = `/${name}`
  return yield* Effect.promise(async () => {
    const session = await Session.open(url.href)
    const [version = ""] = await session.column("show server_version")
    const [pid = ""] = await session.column("select pg_backend_pid()::text")
    await session.close()
    return { url: url.href, version, local: cpuOf(pid) !== undefined && isPostgres(pid) }
  })
})

const isPostgres = (pid: string): boolean => {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").startsWith("postgres")
  } catch {
    return false
  }
}

/** Microseconds a process has spent on a CPU. */
export const cpuOf = (pid: string): number | undefined => {
  try {
    return Number(readFileSync(`/proc/${pid}/schedstat`, "utf8").split(" ")[0]) / 1000
  } catch {
    return undefined
  }
}

/** Bytes of memory of a process that it shares with no other. */
const memoryOf = (pid: string): number | undefined => {
  try {
    const kilobytes = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]
    return kilobytes === undefined ? undefined : Number(kilobytes) * 1024
  } catch {
    return undefined
  }
}

export interface Cost {
  /** Microseconds of the backend's CPU; undefined where they cannot be read. */
  readonly cpu: number | undefined
  readonly wall: number
}

/** One session, and what its backend spends. */
export class Session {
  static async open(url: string): Promise<Session> {
    const client = new pg.Client({ connectionString: url, application_name: "threadline-bench" })
    await client.connect()
    const { rows } = await client.query<{ readonly pid: string }>("select pg_backend_pid()::text as pid")
    return new Session(client, rows[0]?.pid ?? "")
  }

  private constructor(
    private readonly client: pg.Client,
    private readonly pid: string
  ) {}

  async run(...statements: ReadonlyArray<string>): Promise<void> {
    for (const statement of statements) {
      await this.client.query(statement)
    }
  }

  /** First column of every row. */
  async column(statement: string): Promise<ReadonlyArray<string>> {
    const { rows } = await this.client.query<[string]>({ text: statement, rowMode: "array" })
    return rows.map(([first]) => first)
  }

  async cost(statement: string): Promise<Cost> {
    const before = cpuOf(this.pid)
    const start = performance.now()
    await this.client.query(statement)
    const wall = (performance.now() - start) * 1000
    const after = cpuOf(this.pid)
    return { cpu: before === undefined || after === undefined ? undefined : after - before, wall }
  }

  /** The same, with the most memory of its own that the backend was seen to have meanwhile. */
  async costWithMemory(statement: string): Promise<Cost & { readonly peak: number | undefined }> {
    let peak = memoryOf(this.pid)
    const timer = setInterval(() => {
      peak = Math.max(peak ?? 0, memoryOf(this.pid) ?? 0)
    }, 20)
    try {
      const cost = await this.cost(statement)
      return { ...cost, peak }
    } finally {
      clearInterval(timer)
    }
  }

  close(): Promise<void> {
    return this.client.end()
  }
}
