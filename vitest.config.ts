import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import { LongestFirst } from "./test/harness/LongestFirst.js"

const source = fileURLToPath(new URL("./src", import.meta.url))

const server = "./test/harness/serverSetup.ts"
const commandLine = "./test/harness/commandLineSetup.ts"

const filesOf = (directory: string): string => `test/${directory}/**/*.test.ts`

/** A project has what has to be there before its first test. */
const project = (name: string, ...globalSetup: ReadonlyArray<string>) => ({
  extends: true as const,
  test: { name, include: [filesOf(name)], globalSetup: [...globalSetup] }
})

const apart = [project("unit"), project("browser", server), project("once", server, commandLine)]

/**
 * All other directories. The files of one project share processes. Processes of several would load the same modules once each, and a
 * project begins when the last file of the one before has ended.
 */
const database = {
  extends: true as const,
  test: {
    name: "database",
    include: [filesOf("*")],
    exclude: apart.map(({ test }) => filesOf(test.name)),
    globalSetup: [server, commandLine]
  }
}

export default defineConfig({
  resolve: {
    alias: [
      { find: /^threadline$/, replacement: `${source}/index.ts` },
      { find: /^threadline\/(.+)$/, replacement: `${source}/$1.ts` }
    ]
  },
  test: {
    projects: [...apart, database],
    sequence: { sequencer: LongestFirst },
    pool: "forks",
    // A test waits for the server half of its time. The files of a project share processes: loading the modules for each file anew
    // would be a third of the work.
    poolOptions: { forks: { minForks: 1, maxForks: 2, isolate: false } },
    setupFiles: ["./test/harness/freshMethods.ts", "./test/harness/randomCases.ts"],
    // For what hangs. A busy machine takes many times as long as a quiet one.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    teardownTimeout: 30_000
  }
})
