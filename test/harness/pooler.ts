/** PgBouncer in transaction mode before a database of a test's own server. */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { spawn } from "node:child_process"
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises"
import { createServer, type AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Installation from "./Installation.js"
import { rawClient } from "./rawClient.js"

export const freePort = Effect.async<number>((resume) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address() as AddressInfo
    server.close(() => resume(Effect.succeed(port)))
  })
})

/** Starts a pooler with so many connections to a database, and returns its URL when it answers. */
export const make = (url: string, connections: number) =>
  Effect.gen(function* () {
    const { password, pathname, port, username } = new URL(url)
    const database = pathname.slice(1)
    const listen = yield* freePort
    const directory = yield* Effect.acquireRelease(
      Effect.promise(() => mkdtemp(join(tmpdir(), "threadline-pooler-"))),
      (made) => Effect.promise(() => rm(made, { recursive: true, force: true }))
    )
    const file = join(directory, "pgbouncer.ini")
    yield* Effect.promise(async () => {
      await chmod(directory, 0o755)
      await writeFile(
        file,
        `[databases]
${database} = host=127.0.0.1 port=${port} user=${username} password=${password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = ${connections}
ignore_startup_parameters = extra_float_digits,options
`
      )
    })
    yield* Effect.acquireRelease(
      Effect.sync(() => spawn("pgbouncer", ["-q", file], { ...Installation.serverUser(), stdio: "ignore" })),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    )
    const through = `postgres://${username}@127.0.0.1:${listen}/${database}`
    yield* Effect.scoped(rawClient(through)).pipe(Effect.retry({ schedule: Schedule.spaced("100 millis"), times: 100 }))
    return through
    // Something else may have taken the port meanwhile.
  }).pipe(Effect.retry({ times: 3 }))
