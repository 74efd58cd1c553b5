/** Runs the bundle of the command line as its users do: in a process of its own. Only for what a process alone can show. */
import * as Effect from "effect/Effect"
import { type ChildProcessByStdio, spawn } from "node:child_process"
import { tmpdir } from "node:os"
import type { Readable } from "node:stream"
import { inject } from "vitest"
import type {} from "../harness/commandLineSetup.js"
import type { Outcome } from "./cli.js"

export type Child = ChildProcessByStdio<null, Readable, Readable>

const started = (command: readonly [string, ...Array<string>], env: Readonly<Record<string, string>>) =>
  Effect.acquireRelease(
    Effect.sync((): Child => {
      const { COLUMNS: _, DATABASE_URL: __, NO_COLOR: ___, THREADLINE_DATABASE_URL: ____, ...inherited } = process.env
      const [program, ...args] = command
      return spawn(program, args, {
        cwd: tmpdir(),
        env: { ...inherited, ...env },
        stdio: ["ignore", "pipe", "pipe"]
      })
    }),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )

/** Starts the bundle, and ends it with the scope if it still runs. */
export const start = (args: ReadonlyArray<string>, env: Readonly<Record<string, string>> = {}) =>
  started([process.execPath, inject("threadlineCommandLine"), ...args], env)

/** What a process has said when it has ended. */
export const ended = (child: Child): Effect.Effect<Outcome> =>
  Effect.async((resume) => {
    let stdout = ""
    let stderr = ""
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text))
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text))
    child.on("close", (code) => resume(Effect.succeed({ code, stdout, stderr })))
  })

/** Runs the bundle to its end. */
export const run = (args: ReadonlyArray<string>, env: Readonly<Record<string, string>> = {}): Effect.Effect<Outcome> =>
  Effect.scoped(Effect.flatMap(start(args, env), ended))

/** The same, for a process that may write files of no more than so many blocks of 512 bytes: as on a disk without room. */
export const runLimited = (blocks: number, args: ReadonlyArray<string>): Effect.Effect<Outcome> =>
  Effect.scoped(
    Effect.flatMap(
      started(
        [
          "sh",
          "-c",
          `ulimit -f ${blocks}; exec "$@"`,
          "sh",
          process.execPath,
          inject("threadlineCommandLine"),
          ...args
        ],
        {}
      ),
      ended
    )
  )
