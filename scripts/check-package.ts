/**
 * Checks the package itself: what is in it, and what tools say of its exports and types. `check-hosts` checks it in the projects of hosts.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { publint } from "publint"
import { formatMessage } from "publint/utils"
import { expect, manifest, modules, pack, run, tool } from "./hosts/host.js"

const lint = async (tarball: string): Promise<void> => {
  const file = readFileSync(tarball)
  const { messages, pkg } = await publint({ pack: { tarball: new Uint8Array(file).buffer }, strict: true })
  expect(messages.length === 0, messages.map((message) => formatMessage(message, pkg) ?? message.code).join("\n"))
  const entrypoints = [".", ...modules.map((name) => `./${name}`)]
  run(".", [tool("attw"), tarball, "--profile", "esm-only", "--entrypoints", ...entrypoints])
}

const directory = mkdtempSync(join(tmpdir(), "threadline-package-"))
try {
  await lint(pack(directory))
  console.log(`the package of ${manifest.version} is fine: ${modules.length + 1} modules`)
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
} finally {
  rmSync(directory, { recursive: true, force: true })
}
