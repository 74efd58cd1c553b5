/** What PostgreSQL makes of a literal with a backslash depends on the session, so Threadline's SQL has none that does. */
import { expect, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import ts from "typescript"
import { generate } from "../../../src/internal/capture/generate/generate.js"
import type { TableShape } from "../../../src/internal/capture/generate/model.js"
import { functionStatements, triggerStatements } from "../../../src/internal/capture/generate/print.js"
import { dependentLiterals } from "../../support/sqlLiterals.js"

const root = join(import.meta.dirname, "..", "..", "..")

const filesOf = (directory: string, ending: RegExp): ReadonlyArray<string> =>
  readdirSync(join(root, directory), { recursive: true, encoding: "utf8" })
    .filter((file) => ending.test(file))
    .map((file) => join(directory, file))

const read = (file: string): string => readFileSync(join(root, file), "utf8")

it("A literal whose value depends on the settings of the session is found, also in the body of a function", () => {
  const bodies = [
    String.raw`select '\d'`,
    String.raw`do $$ begin perform 'it''s \d'; end $$`,
    String.raw`select U&'\0441'`,
    String.raw`select E'\''`
  ]
  expect(bodies.map((body) => dependentLiterals(body).length)).toEqual([1, 1, 1, 1])
  const plain = String.raw`select E'\\d', e'\n', 'd', "a\b", ' '' ' -- it's '\d'
    /* '\d' */`
  expect(dependentLiterals(plain)).toEqual([])
})

for (const file of [...filesOf("migrations", /\.sql$/), ...filesOf("test/golden", /\.sql$/)]) {
  it(`No literal in ${file} depends on the settings of the session that parses it`, () => {
    expect(dependentLiterals(read(file))).toEqual([])
  })
}

for (const mode of ["statement", "row"] as const) {
  it(`No literal in the generated triggers in ${mode} mode depends on the settings of the session, with backslashes in every name`, () => {
    const column = { attnum: 1, type: `"ty\\'pe"`, comparison: "text", pins: ["timezone"], virtual: false } as const
    const shape: TableShape = {
      schema: "sche\\ma",
      name: "ta\\'ble",
      mode,
      partitioned: true,
      always: true,
      onTruncate: "rows",
      columns: ["k\\'", "e\\'", "m\\'", "d\\'", "t\\'"].map((name, index) => ({ ...column, name, attnum: index + 1 })),
      key: [{ name: "k\\'", attnum: 1, type: column.type, text: `shape {"a\\\\'":"bounds"}` }],
      excluded: ["e\\'"],
      masked: ["m\\'", "t\\'"],
      masks: { "t\\'": "hash" },
      paths: { "d\\'": [{ path: ["p\\'"], as: "exclude" }] }
    }
    const relation = { schema: shape.schema, name: shape.name, position: "root", kind: "partitioned" } as const
    const generated = generate("thread\\'line", shape)
    const statements = [
      ...generated.functions.flatMap((made) => functionStatements("thread\\'line", made)),
      ...generated.triggers(relation).flatMap((trigger) => triggerStatements("thread\\'line", relation, trigger))
    ]
    expect(statements.filter((statement) => statement.includes("\\"))).not.toEqual([])
    expect(statements.flatMap(dependentLiterals)).toEqual([])
  })
}

/** The texts of a source file as they are when it runs. What is put into a template stands as one letter. */
const textsOf = (file: string): ReadonlyArray<string> => {
  const found: Array<string> = []
  const visit = (node: ts.Node): void => {
    if (ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node)) {
      found.push(node.text)
    } else if (ts.isTemplateExpression(node)) {
      found.push([node.head.text, ...node.templateSpans.map(({ literal }) => literal.text)].join("x"))
    }
    ts.forEachChild(node, visit)
  }
  visit(ts.createSourceFile(file, read(file), ts.ScriptTarget.Latest, true))
  return found
}

/** A quote within quotes, as a shell has it. */
const shellQuote = String.raw`'\''`

it("No statement in the source has a literal that depends on the settings of the session that parses it", () => {
  const files = [...filesOf("src", /\.tsx?$/), ...filesOf("cli", /\.tsx?$/)].filter(
    // The migrations, embedded. They stand above as files.
    (file) => file !== join("src", "internal", "schema", "files.ts")
  )
  const found = files.flatMap((file) =>
    textsOf(file)
      .filter((text) => text !== shellQuote)
      .flatMap((text) => dependentLiterals(text).map((literal) => `${file}: ${literal}`))
  )
  expect(found).toEqual([])
}, 60_000)
