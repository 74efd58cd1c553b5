/**
 * One server and one template database for a test run: the server of `THREADLINE_TEST_URL` (a superuser's), or one that is
 * made here and removed at the end.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { randomBytes } from "node:crypto"
import pg from "pg"
import type { TestProject } from "vitest/node"
import * as Installation from "./Installation.js"
import { install } from "./schema.js"
import * as TestCluster from "./TestCluster.js"

/** What a test file knows of the server. */
export interface TestServer {
  /** Superuser URL. */
  readonly url: string
  readonly major: number
  /** Name of the database with the schema installed. */
  readonly template: string
  /** Prefix of everything this run makes on the server. */
  readonly prefix: string
}

declare module "vitest" {
  export interface ProvidedContext {
    threadlineTestServer: TestServer
  }
}

const query = async (url: string, statement: string): Promise<string> => {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const { rows } = await client.query<[string]>({ text: statement, rowMode: "array" })
    return rows[0]?.[0] ?? ""
  } finally {
    await client.end()
  }
}

const given = async (url: string): Promise<string> => {
  const major = Math.floor(Number(await query(url, "show server_version_num")) / 10_000)
  const choice = Installation.choiceFromEnvironment()
  if (typeof choice === "number" && choice !== major) {
    throw new Error(`THREADLINE_TEST_POSTGRES asks for ${choice}, the server of THREADLINE_TEST_URL is ${major}`)
  }
  if ((await query(url, "show is_superuser")) !== "on") {
    throw new Error("THREADLINE_TEST_URL must be the URL of a superuser")
  }
  return url
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const scope = await Effect.runPromise(Scope.make())
  const close = () => Effect.runPromise(Scope.close(scope, Exit.void))
  try {
    const ownUrl = process.env["THREADLINE_TEST_URL"] ?? ""
    const url =
      ownUrl === "" ? (await Effect.runPromise(Scope.extend(TestCluster.make(), scope))).url : await given(ownUrl)
    const prefix = `tl_${randomBytes(4).toString("hex")}`
    const template = `${prefix}_template`
    await query(url, `create database ${template} template template0`)
    await Effect.runPromise(
      Scope.addFinalizer(
        scope,
        Effect.promise(async () => {
          await query(url, `alter database ${template} is_template false`)
          await query(url, `drop database ${template}`)
        })
      )
    )
    const inTemplate = new URL(url)
    inTemplate.pathname = `/${template}`
    await install(inTemplate.href)
    await query(url, `alter database ${template} is_template true allow_connections false`)
    const major = Math.floor(Number(await query(url, "show server_version_num")) / 10_000)
    project.provide("threadlineTestServer", { url, major, template, prefix })
  } catch (error) {
    await close()
    throw error
  }
  return close
}
