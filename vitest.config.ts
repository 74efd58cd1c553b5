import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import { LongestFirst } from "./test/harness/LongestFirst.js"

const source = fileURLToPath(new URL("./src", import.meta.url))

const server = "./test/harness/serverSetup.ts"
const commandLine = "./test/harness/commandLineSetup.ts"

/** A project is a directory of `test`, with what has to be there before its first test. */
const project = (name: string, ...globalSetup: ReadonlyArray<string>) => ({
  extends: true as const,
  test: { name, include: [`test/${name}/**/*.test.ts`], globalSetup: [...globalSetup] }
})

export default defineConfig({
  resolve: {
    alias: [
      { find: /^threadline$/, replacement: `${source}/index.ts` },
      { find: /^threadline\/(.+)$/, replacement: `${source}/$1.ts` }
    ]
  },
  test: {
    projects: [
      project("unit"),
      project("db", server),
      project("clients", server),
      project("adversarial", server),
      project("cli", server, commandLine),
      project("browser", server),
      project("deep", server),
      project("once", server, commandLine)
    ],
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
