/** Runs the bundle of the command line as its users do: in a process of its own. Only for what a process alone can show. */
import * as Effect from "effect/Effect"
import { type ChildProcessByStdio, spawn } from "node:child_process"
import { tmpdir } from "node:os"
import type { Readable } from "node:stream"
import { commandLine } from "../harness/commandLine.js"
import type { Outcome } from "./cli.js"

export type Child = ChildProcessByStdio<null, Readable, Readable>

/** How each process ends. The listener is there from the beginning, because a process tells its end only once. */
const endings = new WeakMap<Child, Promise<Outcome>>()

const ending = (child: Child): Promise<Outcome> => {
  const output = { stdout: "", stderr: "" }
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output.stdout += text))
  child.stderr.setEncoding("utf8").on("data", (text: string) => (output.stderr += text))
  return new Promise((resolve) => child.on("close", (code) => resolve({ code, ...output })))
}

const started = (
  command: readonly [string, ...Array<string>],
  env: Readonly<Record<string, string>>,
  cwd: string = tmpdir()
) =>
  Effect.acquireRelease(
    Effect.sync((): Child => {
      const { COLUMNS: _, DATABASE_URL: __, NO_COLOR: ___, THREADLINE_DATABASE_URL: ____, ...inherited } = process.env
      const [program, ...args] = command
      const child = spawn(program, args, {
        cwd,
        env: { ...inherited, ...env },
        stdio: ["ignore", "pipe", "pipe"]
      })
      endings.set(child, ending(child))
      return child
    }),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )

/** Starts the bundle, and ends it with the scope if it still runs. */
export const start = (args: ReadonlyArray<string>, env: Readonly<Record<string, string>> = {}) =>
  started([process.execPath, commandLine(), ...args], env)

/** The output of a process and its exit code, once it has ended; also if that was long ago. */
export const ended = (child: Child): Effect.Effect<Outcome> =>
  Effect.promise(() => endings.get(child) ?? Promise.reject(new Error("the process was not started here")))

/** What a process says on standard output from now on, once it is enough. */
export const said = (child: Child, enough: (text: string) => boolean): Effect.Effect<string> =>
  Effect.async((resume) => {
    let text = ""
    const hear = (part: string) => {
      text += part
      if (enough(text)) {
        child.stdout.off("data", hear)
        resume(Effect.succeed(text))
      }
    }
    child.stdout.on("data", hear)
  })

/** The first line that a process says from now on. */
export const firstLine = (child: Child): Effect.Effect<string> =>
  Effect.map(
    said(child, (text) => text.includes("\n")),
    (text) => text.slice(0, text.indexOf("\n"))
  )

/** Runs the bundle to its end. */
export const run = (args: ReadonlyArray<string>, env: Readonly<Record<string, string>> = {}): Effect.Effect<Outcome> =>
  Effect.scoped(Effect.flatMap(start(args, env), ended))

/** Like `run`, for a process that may only write files of so many blocks of 512 bytes: as on a disk without room. */
export const runLimited = (blocks: number, args: ReadonlyArray<string>): Effect.Effect<Outcome> =>
  Effect.scoped(
    Effect.flatMap(
      started(["sh", "-c", `ulimit -f ${blocks}; exec "$@"`, "sh", process.execPath, commandLine(), ...args], {}),
      ended
    )
  )

/** Like `run`, for an output that is longer than any string: what is said of it is how many bytes it has. */
export const runCounted = (
  args: ReadonlyArray<string>,
  env: Readonly<Record<string, string>> = {}
): Effect.Effect<Outcome> =>
  Effect.scoped(
    Effect.flatMap(started(["sh", "-c", '"$@" | wc -c', "sh", process.execPath, commandLine(), ...args], env), ended)
  )

/** Like `run`, with an output that accepts nothing. */
export const runIntoFull = (
  args: ReadonlyArray<string>,
  env: Readonly<Record<string, string>> = {}
): Effect.Effect<Outcome> =>
  Effect.scoped(
    Effect.flatMap(
      started(["sh", "-c", 'exec "$@" > /dev/full', "sh", process.execPath, commandLine(), ...args], env),
      ended
    )
  )

/** Runs a copy of the bundle in a directory, to its end. */
export const runProgram = (program: string, args: ReadonlyArray<string>, cwd: string): Effect.Effect<Outcome> =>
  Effect.scoped(Effect.flatMap(started([process.execPath, program, ...args], {}, cwd), ended))
