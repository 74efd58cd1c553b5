/** Transactions a second of several clients with durable commits, without and with capture. */
import * as Effect from "effect/Effect"
import { execFileSync } from "node:child_process"
import { host } from "./contestants.js"
import { median } from "./measure.js"
import { count, json, options } from "./options.js"
import { database, Session } from "./server.js"

const asked = options("Transactions a second with durable commits, without and with capture.", {
  clients: count("sessions that write", 4),
  seconds: count("how long each round is", 3),
  json
})
const { clients, seconds } = asked
const rounds = 5

const context = `select threadline.set_context('{"actor": {"type": "user", "id": "42"}, "correlationId": "req-1"}')`

/** Each client has rows of its own, and sends a message for each statement. */
const load = async (sessions: ReadonlyArray<Session>, captured: boolean): Promise<number> => {
  const end = performance.now() + seconds * 1000
  const counts = await Promise.all(
    sessions.map(async (session, client) => {
      let count = 0
      while (performance.now() < end) {
        const id = 1 + ((count * sessions.length + client) % 100_000)
        await session.run(
          "begin",
          ...(captured ? [context] : []),
          `update accounts set balance = balance + 1 where id = ${id}`,
          "commit"
        )
        count++
      }
      return count
    })
  )
  return counts.reduce((sum, count) => sum + count, 0) / seconds
}

const bench = Effect.gen(function* () {
  const { url, version } = yield* database
  return yield* Effect.promise(async () => {
    const sessions = await Promise.all(Array.from({ length: clients }, () => Session.open(url)))
    const [first] = sessions
    if (first === undefined) throw new Error("no clients")
    await first.run(host(100_000))
    execFileSync(process.execPath, ["--import", "tsx", "bench/install.ts", url, `[{ "table": "accounts" }]`], {
      stdio: ["ignore", "ignore", "inherit"]
    })
    await first.run("vacuum analyze accounts")
    const plain: Array<number> = []
    const captured: Array<number> = []
    for (let round = 0; round <= rounds; round++) {
      for (const on of [false, true]) {
        await first.run(`alter table accounts ${on ? "enable" : "disable"} trigger all`)
        const rate = await load(sessions, on)
        if (round > 0) (on ? captured : plain).push(rate)
      }
    }
    await Promise.all(sessions.map((session) => session.close()))
    return { server: version, clients, plain: median(plain), captured: median(captured) }
  })
})

const result = await Effect.runPromise(Effect.scoped(bench))
console.log(
  asked.json
    ? JSON.stringify(result, null, 2)
    : `PostgreSQL ${result.server}; ${result.clients} clients, durable commits; transactions a second: ` +
        `no capture ${result.plain.toFixed(0)}, ours with a context ${result.captured.toFixed(0)} ` +
        `(${(result.plain / result.captured).toFixed(2)} times fewer)`
)
