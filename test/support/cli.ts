/**
 * Runs the command line. `run` and what is made of it run it in this process, with an environment, a working directory and a
 * console of their own; `Process` runs the bundle as its users do.
 */
import * as Clock from "effect/Clock"
import * as ConfigProvider from "effect/ConfigProvider"
import type * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, vi } from "vitest"
import * as App from "../../cli/app.js"
import { Surroundings } from "../../cli/surroundings.js"
import packageJson from "../../package.json" with { type: "json" }
import * as TestDatabase from "../harness/TestDatabase.js"

export interface Outcome {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly url?: string | undefined
  readonly cwd?: string | undefined
  /** Beside DATABASE_URL; standard output is 80 columns wide unless COLUMNS says otherwise. */
  readonly env?: Readonly<Record<string, string>> | undefined
  /** Columns of the terminal that standard output is; else it is a pipe. */
  readonly terminal?: number | undefined
  /** Collects the lines of progress, as if standard error were a terminal. */
  readonly status?: Array<string> | undefined
  /** The answer to every question. Without it there is no terminal to ask on. */
  readonly answer?: ((question: string) => boolean) | undefined
}

const possibleArguments: Readonly<Record<string, string>> = {
  FILE: "f",
  ID: "1",
  INSTANT: "2026-01-01",
  KEY: "1",
  NAME: "n",
  REF: "r",
  SHELL: "bash",
  SUBJECT: "trigger_coverage",
  TABLE: "posts",
  TYPE: "user"
}

/** A value that an argument of this name can have, for tests of every command. */
export const argumentOf = (name: string): string => possibleArguments[name] ?? "x"

/** The URL of a server that is not there. */
export const nowhere = "postgres://nobody:s3cret@127.0.0.1:1/nothing"

let empty = tmpdir()

/** A directory without a configuration, for the tests of a file. */
export const setup = (): void => {
  vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 })
  beforeAll(() => {
    empty = mkdtempSync(join(tmpdir(), "threadline-cli-"))
  })
  afterAll(() => {
    rmSync(empty, { recursive: true, force: true })
  })
}

const environment = (options: RunOptions): ReadonlyMap<string, string> =>
  new Map(
    Object.entries({
      COLUMNS: "80",
      ...(options.url === undefined ? {} : { DATABASE_URL: options.url }),
      ...options.env
    })
  )

/**
 * Runs an effect in the surroundings of a command, and gives what it prints. Its value is the exit code, if that is a number.
 */
export const within = <A>(options: RunOptions, effect: Effect.Effect<A>): Effect.Effect<Outcome> =>
  Effect.gen(function* () {
    const stdout: Array<string> = []
    const stderr: Array<string> = []
    const into =
      (lines: Array<string>) =>
      (...parts: ReadonlyArray<unknown>): Effect.Effect<void> =>
        Effect.sync(() => void lines.push(`${parts.join(" ")}\n`))
    const console = yield* Effect.consoleWith((original) =>
      Effect.succeed<Console.Console>({ ...original, log: into(stdout), error: into(stderr) })
    )
    const value = yield* effect.pipe(
      Effect.withConsole(console),
      Effect.withConfigProvider(ConfigProvider.fromMap(new Map(environment(options)))),
      // A database does not wait for the clock of a test.
      Effect.withClock(Clock.make()),
      Effect.provideService(Surroundings, {
        directory: options.cwd ?? empty,
        terminal: Option.map(Option.fromNullable(options.terminal), (columns) => ({ columns })),
        write: (bytes) => Effect.sync(() => void stdout.push(Buffer.from(bytes).toString())),
        status: Option.map(
          Option.fromNullable(options.status),
          (lines) => (line: string) => Effect.sync(() => void lines.push(line))
        ),
        ask: Option.map(
          Option.fromNullable(options.answer),
          (answer) => (question: string) => Effect.sync(() => answer(question))
        )
      })
    )
    return { code: typeof value === "number" ? value : null, stdout: stdout.join(""), stderr: stderr.join("") }
  })

/** Runs the command line in this process. */
export const run = (args: ReadonlyArray<string>, options: RunOptions = {}): Effect.Effect<Outcome> =>
  within(options, App.run(args, packageJson.version))

/** Runs what has to succeed, and gives its output. */
export const text = (args: ReadonlyArray<string>, options: RunOptions = {}): Effect.Effect<string> =>
  Effect.map(run(args, options), (outcome) => {
    expect(outcome, args.join(" ")).toEqual({ code: 0, stdout: expect.any(String), stderr: "" })
    return outcome.stdout
  })

/** Runs what has to succeed with `--json`, and gives its one document. */
export const json = (args: ReadonlyArray<string>, options: RunOptions = {}) =>
  Effect.map(text([...args, "--json"], options), (output): Record<string, unknown> => JSON.parse(output))

/** Runs a check for each item, four at a time. */
export const checkEach = <A, B>(list: ReadonlyArray<A>, check: (one: A) => Effect.Effect<B>): Effect.Effect<void> =>
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

/**
 * A database of a test's own with the tables that a statement makes, some of them captured by the command line. `query` runs statements as its
 * superuser, and gives the rows of the last one.
 */
export const makeHost = (tables: string, ...captured: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const database = yield* TestDatabase.make()
    const client = yield* database.rawClient()
    const query = (statements: string) =>
      Effect.promise(async () => [await client.query(statements)].flat().at(-1)?.rows ?? [])
    yield* query(tables)
    if (captured.length > 0) {
      yield* text(["capture", "apply", ...captured.flatMap((table) => ["--table", table])], { url: database.url })
    }
    return { database, query, url: database.url }
  })

/** What `makeHost` makes. */
export type MadeHost = Effect.Effect.Success<ReturnType<typeof makeHost>>

/** The host that a suite shares. */
export class Host extends Context.Tag("threadline/test/CommandLineHost")<Host, MadeHost>() {}
