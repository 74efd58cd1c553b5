import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

const source = fileURLToPath(new URL("./src", import.meta.url))

export default defineConfig({
  resolve: {
    alias: [
      { find: /^threadline$/, replacement: `${source}/index.ts` },
      { find: /^threadline\/(.+)$/, replacement: `${source}/$1.ts` }
    ]
  },
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["./test/harness/globalSetup.ts"],
    pool: "forks",
    // A test waits for the server half of its time.
    poolOptions: { forks: { minForks: 1, maxForks: 2 } },
    testTimeout: 120_000,
    hookTimeout: 180_000,
    teardownTimeout: 30_000
  }
})
