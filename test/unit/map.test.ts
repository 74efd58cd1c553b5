import { expect, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { join } from "node:path"

const root = join(import.meta.dirname, "..", "..")
const map = readFileSync(join(root, "docs/architecture.md"), "utf8")
const internal = join(root, "src/internal")

/** What stands below a heading, with each item of a list in one line. */
const section = (heading: string): string => {
  const [, below = ""] = map.split(`\n${heading}\n`)
  const [text = ""] = below.split(/\n##+ /)
  return text.replaceAll("\n  ", " ")
}

/** The files that the items of a list are about, by the names at the beginning of each item. */
const described = (heading: string): ReadonlyArray<string> =>
  [...section(heading).matchAll(/^- ((?:`[\w/]+`(?:, )?)+):/gm)]
    .flatMap(([, names = ""]) => names.split(", "))
    .map((name) => name.replaceAll("`", ""))
    .sort()

const withoutExtension = (file: string): string => file.replace(/\.tsx?$/, "")

const filesBelow = (directory: string): ReadonlyArray<string> =>
  readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((file) => /\.tsx?$/.test(file))
    .map(withoutExtension)
    .sort()

/** Cells of the rows of the table of rooms. */
const rows = [...map.matchAll(/^\| `(\w+)` +\| ([\w, ]+?) +\| .+ \|$/gm)].map(([, room = "", imports = ""]) => ({
  room,
  imports: imports === "nothing" ? [] : imports.split(", ")
}))

it("The map names the rooms that exist, each with the rooms that it may import", () => {
  const { forbidden } = createRequire(import.meta.url)(join(root, ".dependency-cruiser.cjs")) as {
    readonly forbidden: ReadonlyArray<{ readonly name: string; readonly comment?: string }>
  }
  const existing = readdirSync(internal).sort()
  expect(rows.map(({ room }) => room).sort()).toEqual(existing)
  for (const { imports, room } of rows.filter(({ imports }) => !imports.includes("public modules"))) {
    expect(forbidden.find(({ name }) => name === `room-${room}`)?.comment).toBe(
      `src/internal/${room} imports from ${["itself", ...imports].join(", ")}`
    )
  }
})

for (const room of readdirSync(internal)) {
  it(`The map says once of each file of the room ${room} what it is for, and of no other`, () => {
    expect(described(`### ${room}`)).toEqual(filesBelow(join(internal, room)))
  })
}

it("The map says once of each file of the command line what it is for, and of no other", () => {
  expect(described("## The command line")).toEqual(filesBelow(join(root, "cli")))
})

it("The map says once of each migration what it holds, and of no other", () => {
  const named = [...section("## The database side").matchAll(/^\| `migrations\/(\w+\.sql)` +\|/gm)]
  expect(named.map(([, file]) => file)).toEqual(readdirSync(join(root, "migrations")))
})

it("Every path in the map leads somewhere", () => {
  const directories = ["src", "cli", "test", "migrations", "docs", "scripts"]
  const paths = directories.flatMap((directory) =>
    readdirSync(join(root, directory), { recursive: true, encoding: "utf8" }).map((file) => `${directory}/${file}`)
  )
  const known = paths.flatMap((path) => [
    path,
    withoutExtension(path).replace(/^src\/internal\//, ""),
    path.replace(/^migrations\//, "")
  ])
  const named = [...map.matchAll(/`([\w.*/]+)`/g)].flatMap(([, name = ""]) => name)
  const beginsAsPath = new RegExp(`^(${[...directories, ...rows.map(({ room }) => room)].join("|")})/`)
  const given = [...new Set(named)].filter((name) => beginsAsPath.test(name) || name.endsWith(".sql"))
  expect(given.length).toBeGreaterThan(100)
  const leadsNowhere = given.filter((name) => {
    const pattern = new RegExp(`^${name.replaceAll(".", "\\.").replaceAll("*", "[^/]+")}$`)
    return !known.some((path) => pattern.test(path))
  })
  expect(leadsNowhere).toEqual([])
})

it("Every table, column and function of the database in the map is in the migrations", () => {
  const migrations = readdirSync(join(root, "migrations"))
    .map((file) => readFileSync(join(root, "migrations", file), "utf8"))
    .join("\n")
  const named = [...map.matchAll(/`([a-z]+(?:_[a-z]+)+)(?:\(\))?`/g)].flatMap(([, name = ""]) => name)
  expect(named.length).toBeGreaterThan(20)
  expect(named.filter((name) => !new RegExp(`\\b${name}\\b`).test(migrations))).toEqual([])
})
