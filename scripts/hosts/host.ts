/** The package as a host has it: packed, and installed in a project of its own beside the packages that it needs. */
import * as Schema from "effect/Schema"
import { spawnSync } from "node:child_process"
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { basename, join, posix } from "node:path"

const root = join(import.meta.dirname, "..", "..")
const tools = join(root, "node_modules", ".bin")

const Names = Schema.Record({ key: Schema.String, value: Schema.String })

export const manifest = Schema.decodeSync(
  Schema.parseJson(
    Schema.Struct({
      version: Schema.String,
      devDependencies: Names,
      peerDependencies: Names,
      peerDependenciesMeta: Schema.Record({ key: Schema.String, value: Schema.Unknown })
    })
  )
)(readFileSync(join(root, "package.json"), "utf8"))

/** The public modules, `Query` for `threadline/Query`. */
export const modules: ReadonlyArray<string> = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts") && name !== "index.ts" && !name.startsWith("internal/"))
  .map((name) => name.slice(0, -".ts".length))

export const expect = (condition: boolean, complaint: string): void => {
  if (!condition) {
    throw new Error(complaint)
  }
}

/** Runs a program in a directory; what it printed. Programs of `path` come before those of this process. */
export const run = (
  directory: string,
  [program = "", ...args]: ReadonlyArray<string>,
  options: { readonly env?: Readonly<Record<string, string>>; readonly path?: ReadonlyArray<string> } = {}
): string => {
  const { error, status, stdout } = spawnSync(program, args, {
    cwd: directory,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    env: {
      ...process.env,
      ...options.env,
      PATH: [...(options.path ?? []), process.env["PATH"] ?? ""].join(":")
    }
  })
  expect(status === 0, `${basename(program)} ${args[0] ?? ""} failed: ${error?.message ?? ""}\n${stdout}`)
  return stdout
}

/** A tool of this repository. */
export const tool = (name: string): string => join(tools, name)

const Packed = Schema.parseJson(
  Schema.Tuple(Schema.Struct({ filename: Schema.String, files: Schema.Array(Schema.Struct({ path: Schema.String })) }))
)

/** Packs what was built, and checks what is in it; the path of the tarball. */
export const pack = (directory: string): string => {
  const [packed] = Schema.decodeSync(Packed)(
    run(root, ["npm", "pack", "--ignore-scripts", "--json", "--pack-destination", directory])
  )
  const paths = packed.files.map(({ path }) => path)
  const odd = paths.filter(
    (path) =>
      !/^(?:(?:dist|src)\/.+|migrations\/[^/]+\.sql|docs\/[^/]+\.md|docs\/images\/[^/]+\.png|package\.json|LICENSE|[A-Z]+\.md)$/.test(
        path
      )
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

/** The oldest version of every peer that the package declares. */
export const oldestPeers: ReadonlyArray<string> = Object.entries(manifest.peerDependencies).map(([name, range]) => {
  const version = /^(?:\^|>=)(\d+\.\d+\.\d+)(?: <\d+\.\d+\.\d+)?$/.exec(range)?.[1]
  expect(version !== undefined, `no oldest version of the peer ${name} is declared: ${range}`)
  return `${name}@${version}`
})

/** What only some modules need, such as the operator surface. npm installs the other peers unasked. */
export const optionalPeers: ReadonlyArray<string> = Object.keys(manifest.peerDependenciesMeta).map(
  (name) => `${name}@${manifest.devDependencies[name]}`
)

const install = (directory: string, packages: ReadonlyArray<string>, ...flags: ReadonlyArray<string>): void => {
  run(directory, [
    "npm",
    "install",
    "--ignore-scripts",
    "--strict-peer-deps",
    "--no-fund",
    "--no-audit",
    "--prefer-offline",
    ...flags,
    ...packages
  ])
}

/** A project with the package and other packages; npm itself brings what these need, and refuses peers that do not fit. */
export const makeHost = (directory: string, tarball: string, packages: ReadonlyArray<string>): void => {
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, "package.json"), JSON.stringify({ name: "host", private: true, type: "module" }))
  const types = ["@types/node", "@types/pg"].map((name) => `${name}@${manifest.devDependencies[name]}`)
  install(directory, [tarball, ...packages, ...types])
}

/** Installs more packages in a project, without what these could do without. */
export const addPackages = (directory: string, packages: ReadonlyArray<string>): void =>
  install(directory, packages, "--omit=optional")

/** Writes `modules.ts`, which loads every module of the package. */
export const writeModules = (directory: string): void =>
  writeFileSync(
    join(directory, "modules.ts"),
    ["threadline", ...modules.map((name) => `threadline/${name}`)]
      .map((path, index) => `export * as module${index} from "${path}"\n`)
      .join("")
  )

/** A file of the library for a module, `library/http-express.ts` for `threadline/http/express`. */
const fileOf = (name: string): string => join("library", `${name.replaceAll("/", "-")}.ts`)

/** Writes a library of a host's, whose types are those of the package: everything that a module exports. The names of its files. */
export const writeLibrary = (directory: string): ReadonlyArray<string> => {
  mkdirSync(join(directory, "library"), { recursive: true })
  const script = `
    const membersOf = async (name) => [name, Object.keys(await import("threadline/" + name))]
    console.log(JSON.stringify(await Promise.all(${JSON.stringify(modules)}.map(membersOf))))`
  const exports = Schema.decodeSync(
    Schema.parseJson(Schema.Array(Schema.Tuple(Schema.String, Schema.Array(Schema.String))))
  )(run(directory, ["node", "--input-type=module", "-e", script]))
  for (const [name, members] of exports) {
    const exported = members.map((member) => `export const ${member}_ = module.${member}\n`)
    writeFileSync(join(directory, fileOf(name)), `import * as module from "threadline/${name}"\n${exported.join("")}`)
  }
  return modules.map(fileOf)
}

/** A declaration that names an internal module would be of no use to those who install the library. */
export const checkDeclarations = (directory: string): void => {
  for (const name of modules) {
    const declarations = readFileSync(join(directory, fileOf(name).replace(/ts$/, "d.ts")), "utf8")
    const named = /import\("threadline\/internal[^)]*"\)\.\w+/.exec(declarations)
    expect(named === null, `declarations made of ${name} name what is internal: ${named?.[0] ?? ""}`)
  }
}

/** Compiles files of a host, with their declarations; the types of all its packages are checked, too. */
export const compile = (directory: string, files: ReadonlyArray<string>): void => {
  const compilerOptions = {
    target: "ES2022",
    lib: ["ES2022", "DOM", "DOM.Iterable"],
    module: "NodeNext",
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    types: ["node"],
    declaration: true
  }
  writeFileSync(join(directory, "tsconfig.json"), JSON.stringify({ compilerOptions, files }))
  run(directory, [tool("tsc"), "-p", "."])
}

/** Loads every module, from CommonJS too, finds internal ones closed, and starts the command, with the Node.js that is first on the path. */
export const load = (directory: string, path: ReadonlyArray<string> = []): void => {
  run(directory, ["node", "modules.js"], { path })
  const commonJs = `import("threadline/pg").then(({ audited }) => {
    const required = process.features.require_module ? require("threadline/pg").audited : audited
    console.log(typeof audited === "function" && required === audited)
  })`
  const loaded = run(directory, ["node", "--input-type=commonjs", "-e", commonJs], { path }).trim()
  expect(loaded === "true", `a CommonJS program cannot load the package: ${loaded}`)
  const deep = `import("threadline/internal/record/storage").then(() => process.exit(1), (error) => console.log(error.code))`
  const answer = run(directory, ["node", "--input-type=module", "-e", deep], { path }).trim()
  expect(answer === "ERR_PACKAGE_PATH_NOT_EXPORTED", `internal modules can be imported: ${answer}`)
  const version = run(directory, [join(directory, "node_modules", ".bin", "threadline"), "--version"], { path }).trim()
  expect(version.endsWith(manifest.version), `threadline --version says ${version}`)
}
