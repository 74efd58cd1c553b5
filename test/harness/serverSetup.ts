/**
 * A server and a template database for each process of a test run, made here and removed at the end, or the server of
 * `THREADLINE_TEST_URL` (a superuser's) for all of them. Two processes on one server are slower: `Capture` reads the catalog again when
 * another transaction of the server may have changed it, and those of the other process may have.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { randomBytes } from "node:crypto"
import pg from "pg"
import type { TestProject } from "vitest/node"
import * as Installation from "./Installation.js"
import { install } from "./schema.js"
import { shared, type Made } from "./shared.js"
import * as TestCluster from "./TestCluster.js"

/** What test files know about the server. */
export interface TestServer {
  /** Superuser URL. */
  readonly url: string
  readonly major: number
  /** Name of the database with the schema installed. */
  readonly template: string
  /** The directory of its Unix socket, if it is a server of this run. */
  readonly socketDirectory: string | undefined
  /** How it is cloned: copying its files is fastest, if a checkpoint costs nothing, as on a server that does not wait for its disk. */
  readonly strategy: "file_copy" | "wal_log"
  /** Prefix of everything this run makes on the server. */
  readonly prefix: string
  /** The role that owns the schema: the run's own, so that a server keeps nothing of it. */
  readonly ownerRole: string
  /** The password of all roles that tests make, and what the server stores of it: to derive that anew costs as much as a session. */
  readonly password: string
  readonly storedPassword: string
}

declare module "vitest" {
  export interface ProvidedContext {
    threadlineTestServers: ReadonlyArray<TestServer>
  }
}

const withClient = async <A>(url: string, use: (client: pg.Client) => Promise<A>): Promise<A> => {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return await use(client)
  } finally {
    await client.end()
  }
}

const query = (url: string, statement: string): Promise<ReadonlyArray<string>> =>
  withClient(url, async (client) => {
    const { rows } = await client.query<[string]>({ text: statement, rowMode: "array" })
    return rows.map(([first]) => first)
  })

const show = async (url: string, setting: string): Promise<string> => (await query(url, `show ${setting}`))[0] ?? ""

const majorOf = async (url: string): Promise<number> =>
  Math.floor(Number(await show(url, "server_version_num")) / 10_000)

const checkGiven = async (url: string): Promise<void> => {
  const major = await majorOf(url)
  const choice = Installation.choiceFromEnvironment()
  if (typeof choice === "number" && choice !== major) {
    throw new Error(`THREADLINE_TEST_POSTGRES asks for ${choice}, the server of THREADLINE_TEST_URL is ${major}`)
  }
  if ((await show(url, "is_superuser")) !== "on") {
    throw new Error("THREADLINE_TEST_URL must be the URL of a superuser")
  }
}

/** Removes what a run made, also what a test process that died left of it. */
const sweep = async (url: string, prefix: string): Promise<void> => {
  const mine = `like '${prefix.replaceAll("_", "\\_")}%'`
  for (const name of await query(url, `select datname from pg_database where datname ${mine}`)) {
    await query(url, `alter database ${name} is_template false`)
    await query(url, `drop database ${name} with (force)`)
  }
  for (const name of await query(url, `select rolname from pg_roles where rolname ${mine}`)) {
    await query(url, `drop role ${name}`)
  }
}

const makeTemplate = async (url: string, name: string, ownerRole: string): Promise<void> => {
  await query(url, `create database ${name} template template0`)
  const inside = new URL(url)
  inside.pathname = `/${name}`
  await install(inside.href, { ownerRole })
  await query(url, `alter database ${name} is_template true allow_connections false`)
}

/** What the server stores of a password. */
const storedOf = async (url: string, role: string, password: string): Promise<string> => {
  await query(url, `alter role ${role} password '${password}'`)
  const [stored = ""] = await query(url, `select rolpassword from pg_authid where rolname = '${role}'`)
  await query(url, `alter role ${role} password null`)
  return stored
}

const start = async (given: string): Promise<Made<TestServer>> => {
  const scope = await Effect.runPromise(Scope.make())
  const end = () => Effect.runPromise(Scope.close(scope, Exit.void))
  const prefix = `tl_${randomBytes(4).toString("hex")}`
  const template = `${prefix}_template`
  const ownerRole = `${prefix}_owner`
  try {
    let url = given
    const strategy = url === "" ? "file_copy" : "wal_log"
    let socketDirectory: string | undefined
    if (url === "") {
      ;({ socketDirectory, url } = await Effect.runPromise(Scope.extend(TestCluster.make(), scope)))
    } else {
      await checkGiven(url)
      await Effect.runPromise(
        Scope.addFinalizer(
          scope,
          Effect.promise(() => sweep(given, prefix))
        )
      )
    }
    await makeTemplate(url, template, ownerRole)
    const password = randomBytes(9).toString("hex")
    const storedPassword = await storedOf(url, ownerRole, password)
    const major = await majorOf(url)
    return {
      value: { url, socketDirectory, major, prefix, template, strategy, ownerRole, password, storedPassword },
      end
    }
  } catch (error) {
    await end()
    throw error
  }
}

const startAll = async (processes: number): Promise<Made<ReadonlyArray<TestServer>>> => {
  const given = process.env["THREADLINE_TEST_URL"] ?? ""
  const started = await Promise.allSettled(Array.from({ length: given === "" ? processes : 1 }, () => start(given)))
  const made = started.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []))
  const end = async () => {
    await Promise.all(made.map((each) => each.end()))
  }
  const failed = started.find((each) => each.status === "rejected")
  if (failed !== undefined) {
    await end()
    throw failed.reason
  }
  return { value: made.map(({ value }) => value), end }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const processes = project.config.poolOptions?.forks?.maxForks ?? 1
  const { end, value } = await shared("servers", () => startAll(processes))
  project.provide("threadlineTestServers", value)
  return end
}
