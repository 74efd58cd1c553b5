/**
 * A PostgreSQL server that lives as long as a scope, for the demonstration and for the tests. It also goes when this process is
 * killed: a watchdog process waits for its standard input to close.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { execFile, execFileSync, spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import { chown, cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { promisify } from "node:util"

/** A server or one of its tools could not be run. */
export class ClusterError extends Data.TaggedError("ClusterError")<{
  readonly message: string
  readonly cause?: unknown
}> {}

/** How a server stops: `fast` writes a checkpoint, `immediate` is a crash. */
export type StopMode = "fast" | "immediate"

export interface Options {
  /** Where `initdb`, `pg_ctl` and `postgres` are. */
  readonly binDirectory: string
  /** Whether the binaries may be copied, if the user that runs the server cannot reach them. */
  readonly movable: boolean
  /** Where the directory of the server is made. */
  readonly parent: string
  readonly initdbFlags: ReadonlyArray<string>
  readonly settings: Readonly<Record<string, string>>
  /** What the server's environment has beside that of this process. */
  readonly environment?: Readonly<Record<string, string>>
}

export interface Cluster {
  /** Superuser URL of a database of this server. */
  readonly urlOf: (database: string) => string
  readonly port: number
  /** Where the binaries that it runs are: a copy, if a copy was needed. */
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

/** The user to run a server as, because PostgreSQL refuses to run as root. Undefined if this process is not root. */
export const serverUser = (): { readonly uid: number; readonly gid: number } | undefined => {
  if (process.getuid?.() !== 0) {
    return undefined
  }
  for (const name of ["postgres", "nobody"]) {
    try {
      const id = (flag: string) =>
        Number(execFileSync("id", [flag, name], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }))
      return { uid: id("-u"), gid: id("-g") }
    } catch {
      continue
    }
  }
  throw new Error("PostgreSQL does not run as root, and this machine has neither a user postgres nor a user nobody")
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
  options: {
    readonly cwd: string
    readonly uid?: number
    readonly gid?: number
    readonly input?: string | undefined
    readonly environment?: Readonly<Record<string, string>> | undefined
  }
): Promise<string> => {
  const { environment, input, ...spawning } = options
  const running = promisify(execFile)(program, [...args], {
    ...spawning,
    maxBuffer: 256 * 1024 * 1024,
    env: { ...process.env, ...environment, LC_ALL: "C" }
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

const requiredFlags = ["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync"]

/** Makes and starts a server; the scope stops it and removes its files. */
export const make = (options: Options): Effect.Effect<Cluster, ClusterError, Scope.Scope> =>
  Effect.gen(function* () {
    const user = yield* Effect.try({
      try: serverUser,
      catch: (cause) => new ClusterError({ message: cause instanceof Error ? cause.message : String(cause), cause })
    })
    const makeDirectory = (parent: string) =>
      Effect.acquireRelease(
        promise("making a directory", async () => {
          const made = await mkdtemp(join(parent, "threadline-postgres-"))
          if (user !== undefined) {
            await chown(made, user.uid, user.gid)
          }
          return made
        }),
        (made) => Effect.promise(() => rm(made, { recursive: true, force: true }))
      )
    const directory = yield* makeDirectory(options.parent)
    const as = { cwd: directory, ...user }
    const asServer = { ...as, environment: options.environment }
    // Programs may not be run from /dev/shm everywhere.
    const programs = (yield* isReachable(options, as)) ? undefined : yield* makeDirectory(tmpdir())
    const binDirectory =
      programs === undefined
        ? options.binDirectory
        : yield* promise("copying the binaries", () => copyOf(options.binDirectory, programs, as))
    const dataDirectory = join(directory, "data")
    const logFile = join(directory, "log")
    const pgCtl = join(binDirectory, "pg_ctl")
    const password = randomBytes(12).toString("hex")

    // It runs to its end: otherwise it would go on filling a directory that is being removed.
    const initialise = promise("initdb", async () => {
      const file = join(directory, "password")
      await writeFile(file, `${password}\n`, { mode: 0o600 })
      if (user !== undefined) {
        await chown(file, user.uid, user.gid)
      }
      await execute(
        join(binDirectory, "initdb"),
        ["-D", dataDirectory, `--pwfile=${file}`, ...requiredFlags, ...options.initdbFlags],
        asServer
      )
      await rm(file)
    })
    yield* Effect.uninterruptible(initialise)

    const settings = Object.entries(options.settings)
      .map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'\n`)
      .join("")
    yield* promise("writing settings", () => writeFile(join(dataDirectory, "postgresql.auto.conf"), settings))

    const startAt = (port: number) =>
      promise("starting PostgreSQL", () =>
        execute(pgCtl, ["-D", dataDirectory, "-l", logFile, "-o", `-p ${port}`, "-w", "-t", "60", "start"], asServer)
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
      urlOf,
      port,
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
  { binDirectory, movable }: Options,
  as: { readonly cwd: string; readonly uid?: number; readonly gid?: number }
): Effect.Effect<boolean, ClusterError> =>
  promise("reaching the binaries", () => execute(join(binDirectory, "postgres"), ["--version"], as)).pipe(
    Effect.as(true),
    Effect.catchAll((error) => (!movable || as.uid === undefined ? Effect.fail(error) : Effect.succeed(false)))
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
