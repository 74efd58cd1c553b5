/** Counts the instructions of one backend: PostgreSQL in single-user mode, under valgrind's callgrind. */
import { execFileSync, spawn } from "node:child_process"
import { chown, mkdir, readdir, readFile, rm } from "node:fs/promises"
import { join } from "node:path"
import { serverUser } from "../test/harness/Installation.js"

/** Cuts one phase from the next: a function that nothing else calls. */
const marker = "pg_conf_load_time"

export const valgrindVersion = (): string | undefined => {
  try {
    return execFileSync("valgrind", ["--version"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim()
  } catch {
    return undefined
  }
}

export interface Phase {
  /** Sent one by one before what is counted. */
  readonly warm: ReadonlyArray<string>
  readonly counted: ReadonlyArray<string>
}

export interface Place {
  readonly binDirectory: string
  readonly dataDirectory: string
  /** For the files of the run. */
  readonly directory: string
}

/** Instructions of what each phase counts, each an own message of one new session. The server must be stopped. */
export const countInstructions = async (
  { binDirectory, dataDirectory, directory }: Place,
  database: string,
  phases: ReadonlyArray<Phase>
): Promise<ReadonlyArray<number>> => {
  const mark = `select ${marker}()`
  const lines = phases.flatMap(({ counted, warm }) => [...warm, mark, ...counted, mark])
  await rm(directory, { recursive: true, force: true })
  await mkdir(directory)
  const user = serverUser()
  if (user !== undefined) await chown(directory, user.uid, user.gid)
  await run(
    "valgrind",
    [
      "--tool=callgrind",
      `--callgrind-out-file=${directory}/out`,
      `--dump-before=${marker}`,
      "--quiet",
      join(binDirectory, "postgres"),
      "--single",
      "-D",
      dataDirectory,
      "-c",
      "log_min_messages=warning",
      database
    ],
    directory,
    lines.map((line) => `${line.replaceAll(/\s+/g, " ")}\n`).join("")
  )
  // One dump before each marker, "out.1" and on: every second one is of what was counted.
  const dumps = (await readdir(directory)).filter((name) => /^out\.\d+$/.test(name)).length
  if (dumps < 2 * phases.length) {
    throw new Error(`callgrind wrote ${dumps} dumps for ${phases.length} phases`)
  }
  const counts = await Promise.all(
    phases.map(async (_, index) => {
      const dump = await readFile(join(directory, `out.${2 * index + 2}`), "utf8")
      const total = /^(?:totals|summary): (\d+)/m.exec(dump)?.[1]
      if (total === undefined) throw new Error("a dump of callgrind has no total")
      return Number(total)
    })
  )
  return counts
}

/** Runs a program as the server's user with lines to read. A statement that fails is a failure. */
const run = (program: string, args: ReadonlyArray<string>, cwd: string, input: string): Promise<void> =>
  new Promise((resolve, reject) => {
    const user = serverUser()
    const child = spawn(program, [...args], {
      cwd,
      ...user,
      env: { ...process.env, LC_ALL: "C" },
      stdio: ["pipe", "ignore", "pipe"]
    })
    let errors = ""
    child.stderr.on("data", (piece: Buffer) => {
      errors += piece.toString("utf8")
    })
    child.on("error", reject)
    child.on("close", (code) => {
      if (code === 0 && !/\b(ERROR|FATAL|PANIC):/.test(errors)) resolve()
      else reject(new Error(`${program} ended with ${String(code)}: ${errors.slice(0, 4000)}`))
    })
    child.stdin.on("error", () => undefined)
    child.stdin.end(input)
  })
