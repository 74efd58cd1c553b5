import { execFileSync } from "node:child_process"
import { mkdtempSync } from "node:fs"
import { join } from "node:path"
import { inject } from "vitest"
import type {} from "./commandLineSetup.js"

const root = join(import.meta.dirname, "..", "..")

const build = (directory: string): string => {
  const own = mkdtempSync(join(directory, "built-"))
  execFileSync(join(root, "node_modules/.bin/tsup"), ["--silent", "--out-dir", own], { cwd: root })
  return own
}

let made: string | undefined

/** The path of the bundled command line. It is built when the first test of this process needs it. */
export const commandLine = (): string => {
  const { directory, given } = inject("threadlineCommandLine")
  made ??= given ? directory : build(directory)
  return join(made, "threadline.js")
}
