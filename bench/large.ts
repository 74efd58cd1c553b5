/** Whether a row costs the same in small and in large statements, and how much memory a large one takes. */
import * as Effect from "effect/Effect"
import { execFileSync } from "node:child_process"
import { bulk, host, type Op, ops } from "./contestants.js"
import * as Options from "./options.js"
import { database, Session } from "./server.js"

const { json, rows: most } = Options.options("Whether a row costs the same in small and in large statements.", {
  rows: Options.count("rows of the largest statement; a million write some 6 GB", 1_000_000),
  json: Options.json
})

export interface Size {
  readonly op: Op
  readonly rows: number
  /** Microseconds a row, with the host's own work; CPU of the backend where it can be read, else wall. */
  readonly each: number
  /** Megabytes of the backend's own memory. */
  readonly peak: number | undefined
}

const sizes = [1000, 10_000, 100_000, 1_000_000].filter((rows) => rows < most)

const bench = Effect.gen(function* () {
  const { url, version } = yield* database
  const seen: Array<Size> = []
  yield* Effect.promise(async () => {
    const first = await Session.open(url)
    await first.run(host(0))
    await first.close()
    execFileSync(process.execPath, ["--import", "tsx", "bench/install.ts", url, `[{ "table": "accounts" }]`], {
      stdio: ["ignore", "ignore", "inherit"]
    })
    // The first writes of a server take a way of their own, until one of them is committed that says which cluster this is.
    for (let time = 0; time < 2; time++) {
      const session = await Session.open(url)
      await session.run(bulk("insert", 10), bulk("delete", 10))
      await session.close()
    }
    // A size has a session of its own: memory that an earlier one was given may stay with its process.
    for (const rows of [...sizes, most]) {
      const session = await Session.open(url)
      await session.run("set synchronous_commit = off", "analyze")
      // A session plans each statement once. That is no matter of rows.
      await session.run("begin", bulk("insert", 100), bulk("update", 500_100), bulk("delete", 100), "rollback")
      // Inserted rows begin at 500001, updated ones at 1.
      for (const op of ["insert", "update", "delete"] as const) {
        const statement = op === "update" ? bulk(op, 500_000 + rows) : bulk(op, rows)
        const { cpu, peak, wall } = await session.costWithMemory(statement)
        seen.push({ op, rows, each: (cpu ?? wall) / rows, peak: peak === undefined ? undefined : peak / 1024 / 1024 })
        if (!json) process.stderr.write(`${op} ${rows}\n`)
      }
      await session.run("vacuum accounts")
      await session.close()
    }
  })
  return { server: version, sizes: seen }
})

const result = await Effect.runPromise(Effect.scoped(bench))
const print = (): string =>
  [
    `PostgreSQL ${result.server}; microseconds a row with the host's own work, megabytes of the backend's own memory`,
    "",
    ...ops.flatMap((op) =>
      result.sizes
        .filter((size) => size.op === op)
        .map(
          ({ each, peak, rows }) =>
            `${op.padEnd(8)}${String(rows).padStart(10)} rows${each.toFixed(1).padStart(8)}${(peak?.toFixed(0) ?? "-").padStart(8)} MB`
        )
    )
  ].join("\n")
console.log(json ? JSON.stringify(result, null, 2) : print())
