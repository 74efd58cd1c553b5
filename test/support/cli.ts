/** Runs the command line as its users do: one bundle, a process of its own, output that is no terminal. */
import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { afterAll, beforeAll, expect, inject, vi } from "vitest"
import type {} from "../harness/commandLineSetup.js"

const root = fileURLToPath(new URL("../..", import.meta.url))
const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href

export interface Outcome {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly url?: string | undefined
  readonly cwd?: string | undefined
  readonly env?: Readonly<Record<string, string>> | undefined
}

let empty: string | undefined

/** A directory for the tests of a file, in which nothing is. */
export const setup = (): void => {
  // A process takes its time where the machine is busy.
  vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 })
  beforeAll(() => {
    empty = mkdtempSync(join(tmpdir(), "threadline-cli-"))
  })
  afterAll(() => {
    if (empty !== undefined) {
      rmSync(empty, { recursive: true, force: true })
    }
  })
}

const execute = (command: ReadonlyArray<string>, options: RunOptions): Effect.Effect<Outcome> =>
  Effect.async((resume) => {
    const { DATABASE_URL: _, NO_COLOR: __, THREADLINE_DATABASE_URL: ___, ...inherited } = process.env
    const child = spawn(process.execPath, command, {
      cwd: options.cwd ?? empty,
      env: { ...inherited, ...(options.url === undefined ? {} : { DATABASE_URL: options.url }), ...options.env },
      stdio: ["ignore", "pipe", "pipe"]
    })
    let stdout = ""
    let stderr = ""
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text))
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text))
    child.on("close", (code) => resume(Effect.succeed({ code, stdout, stderr })))
    return Effect.sync(() => child.kill())
  })

/** Path of the bundle. */
export const program = (): string => inject("threadlineCommandLine")

/** Runs the bundle. */
export const run = (args: ReadonlyArray<string>, options: RunOptions = {}): Effect.Effect<Outcome> =>
  Effect.suspend(() => execute([program(), ...args], options))

/** Interrupts the bundle once something is true, as Ctrl-C does. */
export const interrupt = (args: ReadonlyArray<string>, url: string, when: Effect.Effect<unknown>) =>
  Effect.acquireUseRelease(
    Effect.sync(() =>
      spawn(process.execPath, [program(), ...args], {
        env: { ...process.env, DATABASE_URL: url },
        stdio: ["ignore", "pipe", "pipe"]
      })
    ),
    (child) =>
      Effect.zipRight(
        when,
        Effect.async<number | null>((resume) => {
          child.on("close", (code) => resume(Effect.succeed(code)))
          child.kill("SIGINT")
        })
      ),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )

/** Runs the sources: slower, and they resolve "threadline" to themselves. */
export const runSource = (args: ReadonlyArray<string>, options: RunOptions = {}): Effect.Effect<Outcome> =>
  execute(["--import", tsx, join(root, "cli/main.ts"), ...args], options)

/** Runs what has to succeed, and gives its output. */
export const text = (args: ReadonlyArray<string>, options: RunOptions = {}): Effect.Effect<string> =>
  Effect.map(run(args, options), (outcome) => {
    expect(outcome, args.join(" ")).toEqual({ code: 0, stdout: expect.any(String), stderr: "" })
    return outcome.stdout
  })

/** Runs what has to succeed with `--json`, and gives its one document. */
export const json = (args: ReadonlyArray<string>, options: RunOptions = {}) =>
  Effect.map(text([...args, "--json"], options), (output): Record<string, unknown> => JSON.parse(output))

/** Runs several at once, as many as two cores like. */
export const each = <A, B>(list: ReadonlyArray<A>, check: (one: A) => Effect.Effect<B>): Effect.Effect<void> =>
  Effect.forEach(list, check, { concurrency: 4, discard: true })

/** What every failure looks like: a code, one sentence on standard error, nothing on standard output. */
export const refusal = (code: number, sentence: string | RegExp) => ({
  code,
  stdout: "",
  stderr: expect.stringMatching(
    typeof sentence === "string" ? new RegExp(`^threadline: ${escaped(sentence)}\n$`) : oneLine(sentence)
  )
})

const escaped = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")

const oneLine = (sentence: RegExp): RegExp => new RegExp(`^threadline: (?=[^\\n]*(?:${sentence.source}))[^\\n]+\\n$`)

/** A directory with files, gone with the scope. */
export const directory = (files: Readonly<Record<string, string>> = {}) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const made = mkdtempSync(join(tmpdir(), "threadline-cli-"))
      for (const [name, content] of Object.entries(files)) {
        mkdirSync(dirname(join(made, name)), { recursive: true })
        writeFileSync(join(made, name), content)
      }
      return made
    }),
    (made) => Effect.sync(() => rmSync(made, { recursive: true, force: true }))
  )
