import { expect, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { basename, join, relative } from "node:path"

const root = join(import.meta.dirname, "..", "..")
const map = readFileSync(join(root, "docs/architecture.md"), "utf8")
const internal = join(root, "src/internal")

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

// Components and screens (*.tsx) are a directory each.
it("The map says of every internal file and every migration what it is for", () => {
  const files = readdirSync(internal, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"))
  expect(files.length).toBeGreaterThan(100)
  const missing = files.filter((file) => !new RegExp(`[\`/]${basename(file, ".ts")}\``).test(map))
  expect(missing.map((file) => relative(root, join(internal, file)))).toEqual([])
  expect(readdirSync(join(root, "migrations")).filter((file) => !map.includes(`migrations/${file}`))).toEqual([])
})

it("The map says of every file of the command line what it is for", () => {
  const files = ["cli", "cli/parser"].flatMap((directory) =>
    readdirSync(join(root, directory)).filter((file) => file.endsWith(".ts"))
  )
  expect(files.length).toBeGreaterThan(20)
  expect(files.filter((file) => !new RegExp(`[\`/]${basename(file, ".ts")}(\\.ts)?\``).test(map))).toEqual([])
})
