/** Runs the bundle of the command line as its users do: in a process of its own. Only for what a process alone can show. */
import * as Effect from "effect/Effect"
import { type ChildProcessByStdio, execFile, spawn } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Readable } from "node:stream"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { afterAll, beforeAll, vi } from "vitest"
import type { Outcome } from "./cli.js"

const root = fileURLToPath(new URL("../..", import.meta.url))

export type Child = ChildProcessByStdio<null, Readable, Readable>

let bundle = ""

/** Builds the bundle before the tests of a file. */
export const setup = (): void => {
  // A process takes its time where the machine is busy.
  vi.setConfig({ testTimeout: 240_000, hookTimeout: 240_000 })
  beforeAll(async () => {
    // Below the project, where the bundle finds the packages that are not part of it.
    mkdirSync(join(root, ".threadline"), { recursive: true })
    bundle = mkdtempSync(join(root, ".threadline", "cli-"))
    await promisify(execFile)(join(root, "node_modules/.bin/tsup"), ["--silent", "--out-dir", bundle], { cwd: root })
  })
  afterAll(() => {
    rmSync(bundle, { recursive: true, force: true })
  })
}

/** Starts the bundle, and ends it with the scope if it still runs. */
export const start = (args: ReadonlyArray<string>, env: Readonly<Record<string, string>> = {}) =>
  Effect.acquireRelease(
    Effect.sync((): Child => {
      const { COLUMNS: _, DATABASE_URL: __, NO_COLOR: ___, THREADLINE_DATABASE_URL: ____, ...inherited } = process.env
      return spawn(process.execPath, [join(bundle, "threadline.js"), ...args], {
        cwd: tmpdir(),
        env: { ...inherited, ...env },
        stdio: ["ignore", "pipe", "pipe"]
      })
    }),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )

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
