/**
 * Provides the directory of the bundled command line. If `THREADLINE_TEST_DIST` names an existing build, it is that
 * one. Otherwise the first test that needs the bundle builds it (`commandLine.ts`), and it is removed at the end.
 */
import { mkdir, mkdtemp, rm } from "node:fs/promises"
import { join, resolve } from "node:path"
import type { ProvidedContext } from "vitest"
import type { TestProject } from "vitest/node"
import { shared, type Made } from "./shared.js"

declare module "vitest" {
  export interface ProvidedContext {
    threadlineCommandLine: {
      readonly directory: string
      /** Whether `THREADLINE_TEST_DIST` names it, so that it exists already. */
      readonly given: boolean
    }
  }
}

const root = join(import.meta.dirname, "..", "..")

const place = async (): Promise<Made<ProvidedContext["threadlineCommandLine"]>> => {
  const given = process.env["THREADLINE_TEST_DIST"] ?? ""
  if (given !== "") {
    return { value: { directory: resolve(root, given, "bin"), given: true }, end: () => Promise.resolve() }
  }
  // Below the project, where the program finds the packages that are not part of it.
  await mkdir(join(root, ".threadline"), { recursive: true })
  const directory = await mkdtemp(join(root, ".threadline", "cli-"))
  return { value: { directory, given: false }, end: () => rm(directory, { recursive: true, force: true }) }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { end, value } = await shared("commandLine", place)
  project.provide("threadlineCommandLine", value)
  return end
}
