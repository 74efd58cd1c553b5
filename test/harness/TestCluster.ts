/**
 * A PostgreSQL server of a test's own, made in about a second and gone with its scope. It also goes when this process is
 * killed: a watchdog process waits for its standard input to close.
 */
import type { SqlError } from "@effect/sql/SqlError"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { execFile, spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import { statfsSync } from "node:fs"
import { chown, cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { createServer } from "node:net"
import { freemem, tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { promisify } from "node:util"
import type pg from "pg"
import * as Installation from "./Installation.js"
import { rawClient } from "./rawClient.js"

/** A server or one of its tools could not be run. */
export class ClusterError extends Data.TaggedError("ClusterError")<{
  readonly message: string
  readonly cause?: unknown
}> {}

/** How a server stops: `fast` writes a checkpoint, `immediate` is a crash. */
export type StopMode = "fast" | "immediate"

export interface Options {
  /** Which binaries; by default those the whole test run uses. */
  readonly postgres?: Installation.Choice | undefined
  /** Takes the newest binaries that come with `psql`, `pg_dump` and `pg_restore`, whatever the test run uses. */
  readonly tools?: boolean | undefined
  /** Server settings on top of those of the harness. */
  readonly settings?: Readonly<Record<string, string>> | undefined
}

export interface TestCluster {
  /** Superuser URL of the database `postgres`. */
  readonly url: string
  /** Superuser URL of another database of this server. */
  readonly urlOf: (database: string) => string
  /** A superuser's session of node-postgres; in `postgres` where no database is named. */
  readonly rawClient: (database?: string) => Effect.Effect<pg.Client, SqlError, Scope.Scope>
  readonly port: number
  readonly major: number
  readonly binDirectory: string
  readonly dataDirectory: string
  /** What the server logged so far. */
  readonly log: Effect.Effect<string, ClusterError>
  readonly stop: (mode?: StopMode) => Effect.Effect<void, ClusterError>
  /** Starts a stopped server at the same port. */
  readonly start: Effect.Effect<void, ClusterError>
  /** Runs a program of the installation, such as `pg_dump`; its standard output. */
  readonly run: (program: string, args: ReadonlyArray<string>, input?: string) => Effect.Effect<string, ClusterError>
}

// Survives a crash of the server, not of the machine. An ICU default collation, so that an order that forgets `collate "C"` shows.
const initdbFlags = [
  "--username=postgres",
  "--auth=scram-sha-256",
  "--encoding=UTF8",
  "--no-locale",
  "--locale-provider=icu",
  "--icu-locale=en-US",
  "--no-sync"
]

const baseSettings: Readonly<Record<string, string>> = {
  listen_addresses: "127.0.0.1",
  unix_socket_directories: "",
  fsync: "off",
  full_page_writes: "off",
  max_connections: "200",
  max_prepared_transactions: "20",
  // Compiling a statement costs more than running it does: what a test reads is small.
  jit: "off",
  // It takes locks that no test has asked for. What a test fills, it analyses itself.
  autovacuum: "off",
  shared_buffers: "128MB",
  max_wal_size: "512MB",
  timezone: "UTC",
  log_timezone: "UTC"
}

/** What `/dev/shm` and the memory must have free. The clusters of a run hold one gigabyte at most, and most of it is WAL. */
const room = 3 * 2 ** 30

/**
 * Where clusters are made: in memory if there is room. A database has 330 files; on a disk, making and dropping them takes ten
 * times as long as in memory, and is half of what the server does for a short test.
 */
const place = (): string => {
  try {
    const { bavail, bsize, type } = statfsSync("/dev/shm")
    return type === 0x01021994 && bavail * bsize >= room && freemem() >= room ? "/dev/shm" : tmpdir()
  } catch {
    // Not on Linux.
    return tmpdir()
  }
}

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer()
    server.once("error", reject)
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      server.close(() =>
        typeof address === "object" && address !== null ? resolve(address.port) : reject(new Error("no port"))
      )
    })
  })

const promise = <A>(what: string, run: () => Promise<A>): Effect.Effect<A, ClusterError> =>
  Effect.tryPromise({
    try: run,
    catch: (cause) => {
      const said = cause instanceof Error ? cause : new Error(String(cause))
      const stderr = "stderr" in said && typeof said.stderr === "string" ? said.stderr.trim() : ""
      return new ClusterError({ message: `${what}: ${stderr === "" ? said.message : stderr}`, cause })
    }
  })

const execute = (
  program: string,
  args: ReadonlyArray<string>,
  options: { readonly cwd: string; readonly uid?: number; readonly gid?: number; readonly input?: string | undefined }
): Promise<string> => {
  const { input, ...spawning } = options
  const running = promisify(execFile)(program, [...args], {
    ...spawning,
    maxBuffer: 256 * 1024 * 1024,
    env: { ...process.env, LC_ALL: "C" }
  })
  // A program that reads nothing may be gone before it is written to; what it did, its exit code says.
  running.child.stdin?.on("error", () => undefined)
  running.child.stdin?.end(input)
  return running.then(({ stdout }) => stdout)
}

// The watchdog outlives us only long enough to take the server along.
const watchdogScript = `read -r word
[ "$word" = done ] && exit 0
"$0" -D "$1/data" -m immediate -w stop
rm -rf "$@"`

/** Makes and starts a server; the scope stops it and removes its files. */
export const make = (options: Options = {}): Effect.Effect<TestCluster, ClusterError, Scope.Scope> =>
  Effect.gen(function* () {
    const chosen = yield* Effect.try({
      try: () => {
        const chosenInstallation =
          options.tools === true ? Installation.withTools() : Installation.select(options.postgres)
        if (chosenInstallation === undefined) {
          throw new Error("this machine has no PostgreSQL with psql, pg_dump and pg_restore")
        }
        return chosenInstallation
      },
      catch: (cause) => new ClusterError({ message: cause instanceof Error ? cause.message : String(cause), cause })
    })
    const user = Installation.serverUser()
    const makeDirectory = (parent: string) =>
      Effect.acquireRelease(
        promise("making a directory", async () => {
          const made = await mkdtemp(join(parent, "threadline-test-"))
          if (user !== undefined) {
            await chown(made, user.uid, user.gid)
          }
          return made
        }),
        (made) => Effect.promise(() => rm(made, { recursive: true, force: true }))
      )
    const directory = yield* makeDirectory(place())
    const as = { cwd: directory, ...user }
    // Programs may not be run from /dev/shm everywhere.
    const programs = (yield* isReachable(chosen, as)) ? undefined : yield* makeDirectory(tmpdir())
    const binDirectory =
      programs === undefined
        ? chosen.binDirectory
        : yield* promise("copying the binaries", () => copyOf(chosen.binDirectory, programs, as))
    const dataDirectory = join(directory, "data")
    const logFile = join(directory, "log")
    const pgCtl = join(binDirectory, "pg_ctl")
    const password = randomBytes(12).toString("hex")

    // To its end, or it would go on filling a directory that is being removed.
    const initialise = promise("initdb", async () => {
      const file = join(directory, "password")
      await writeFile(file, `${password}\n`, { mode: 0o600 })
      if (user !== undefined) {
        await chown(file, user.uid, user.gid)
      }
      await execute(join(binDirectory, "initdb"), ["-D", dataDirectory, `--pwfile=${file}`, ...initdbFlags], as)
      await rm(file)
    })
    yield* Effect.uninterruptible(initialise)

    const settings = Object.entries({ ...baseSettings, ...options.settings })
      .map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'\n`)
      .join("")
    yield* promise("writing settings", () => writeFile(join(dataDirectory, "postgresql.auto.conf"), settings))

    const startAt = (port: number) =>
      promise("starting PostgreSQL", () =>
        execute(pgCtl, ["-D", dataDirectory, "-l", logFile, "-o", `-p ${port}`, "-w", "-t", "60", "start"], as)
      )
    const log = promise("reading the log", () => readFile(logFile, "utf8"))

    // Another process may take the port between asking for it and starting on it.
    const startSomewhere = (attempts: number): Effect.Effect<number, ClusterError> =>
      Effect.flatMap(promise("finding a port", freePort), (port) =>
        startAt(port).pipe(
          Effect.as(port),
          Effect.catchAll((error) =>
            Effect.flatMap(
              Effect.orElseSucceed(log, () => ""),
              (text) =>
                attempts > 1 && text.includes("Address already in use")
                  ? startSomewhere(attempts - 1)
                  : Effect.fail(new ClusterError({ message: `${error.message}\n${text}`, cause: error }))
            )
          )
        )
      )

    yield* Effect.acquireRelease(
      Effect.sync(() => {
        const watchdog = spawn(
          "/bin/sh",
          ["-c", watchdogScript, pgCtl, directory, ...(programs === undefined ? [] : [programs])],
          {
            ...as,
            detached: true,
            stdio: ["pipe", "ignore", "ignore"]
          }
        )
        watchdog.unref()
        return watchdog
      }),
      (watchdog) => Effect.sync(() => watchdog.stdin.end("done\n"))
    )
    const stop = (mode: StopMode = "fast") =>
      promise("stopping PostgreSQL", () => execute(pgCtl, ["-D", dataDirectory, "-m", mode, "-w", "stop"], as)).pipe(
        Effect.asVoid
      )
    const port = yield* Effect.acquireRelease(startSomewhere(5), () =>
      // A test may have stopped it already.
      Effect.ignore(stop("immediate"))
    )
    const urlOf = (database: string) =>
      `postgres://postgres:${password}@127.0.0.1:${port}/${encodeURIComponent(database)}`

    return {
      url: urlOf("postgres"),
      urlOf,
      rawClient: (database = "postgres") => rawClient(urlOf(database)),
      port,
      major: chosen.major,
      binDirectory,
      dataDirectory,
      log,
      stop,
      start: Effect.asVoid(startAt(port)),
      run: (program, args, input) =>
        promise(program, () => execute(join(binDirectory, program), args, { cwd: directory, input }))
    }
  })

/** Whether the server's user can run the binaries. A private home directory hides the node_modules below it. */
const isReachable = (
  { binDirectory, kind }: Installation.Installation,
  as: { readonly cwd: string; readonly uid?: number; readonly gid?: number }
): Effect.Effect<boolean, ClusterError> =>
  promise("reaching the binaries", () => execute(join(binDirectory, "postgres"), ["--version"], as)).pipe(
    Effect.as(true),
    Effect.catchAll((error) => (kind === "system" || as.uid === undefined ? Effect.fail(error) : Effect.succeed(false)))
  )

const copyOf = async (
  binDirectory: string,
  directory: string,
  { gid, uid }: { readonly uid?: number; readonly gid?: number }
): Promise<string> => {
  const copy = join(directory, "postgresql")
  await cp(dirname(binDirectory), copy, { recursive: true, verbatimSymlinks: true })
  // The watchdog runs as that user, and has to remove it.
  await promisify(execFile)("chown", ["-R", `${uid}:${gid}`, copy])
  return join(copy, "bin")
}
