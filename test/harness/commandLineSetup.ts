/**
 * The command line as it is published, one file, made once for all that run it: that of a build which is there already, where
 * `THREADLINE_TEST_DIST` names its directory, or one that is made here and removed at the end.
 */
import { execFile } from "node:child_process"
import { mkdir, mkdtemp, rm } from "node:fs/promises"
import { join, resolve } from "node:path"
import { promisify } from "node:util"
import type { TestProject } from "vitest/node"
import { shared, type Made } from "./shared.js"

declare module "vitest" {
  export interface ProvidedContext {
    /** Path of the program. */
    threadlineCommandLine: string
  }
}

const root = join(import.meta.dirname, "..", "..")

const build = async (): Promise<Made<string>> => {
  const given = process.env["THREADLINE_TEST_DIST"] ?? ""
  if (given !== "") {
    return { value: resolve(root, given, "bin", "threadline.js"), end: () => Promise.resolve() }
  }
  // Below the project, where the program finds the packages that are not part of it.
  await mkdir(join(root, ".threadline"), { recursive: true })
  const directory = await mkdtemp(join(root, ".threadline", "cli-"))
  const end = () => rm(directory, { recursive: true, force: true })
  try {
    await promisify(execFile)(join(root, "node_modules/.bin/tsup"), ["--silent", "--out-dir", directory], { cwd: root })
  } catch (error) {
    await end()
    throw error
  }
  return { value: join(directory, "threadline.js"), end }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { end, value } = await shared("commandLine", build)
  project.provide("threadlineCommandLine", value)
  return end
}
