/** What the generator makes of typical tables, as SQL that a reviewer can read: `npm run golden` writes the files anew. */
import { expect, it } from "@effect/vitest"
import { generate } from "../../../src/internal/capture/generate/generate.js"
import type { ColumnShape, RelationShape, TableShape } from "../../../src/internal/capture/generate/model.js"
import { functionStatements, triggerStatements } from "../../../src/internal/capture/generate/print.js"

const column = (name: string, attnum: number, type: string, more: Partial<ColumnShape> = {}): ColumnShape => ({
  name,
  attnum,
  type,
  comparison: "text",
  pins: [],
  virtual: false,
  ...more
})

const table = (shape: Partial<TableShape> & Pick<TableShape, "columns" | "key" | "name">): TableShape => ({
  schema: "public",
  mode: "statement",
  partitioned: false,
  always: false,
  onTruncate: "event",
  excluded: [],
  masked: [],
  masks: {},
  paths: {},
  ...shape
})

const plain = table({
  name: "posts",
  columns: [
    column("id", 1, "bigint"),
    column("title", 2, "text"),
    column("tags", 3, "jsonb", { comparison: "jsonb" }),
    column("published_at", 4, "timestamp with time zone", { pins: ["timezone"] })
  ],
  key: [{ name: "id", attnum: 1, type: "bigint", text: "text" }]
})

const composite = table({
  schema: "billing",
  name: "invoices",
  columns: [
    column("tenant", 1, "citext"),
    column("number", 2, "numeric"),
    column("lines", 3, "json", { comparison: "json" }),
    column("iban", 4, "text"),
    column("notes", 5, "text")
  ],
  key: [
    { name: "tenant", attnum: 1, type: "citext", text: "citext" },
    { name: "number", attnum: 2, type: "numeric", text: "numeric" }
  ],
  onTruncate: "rows",
  excluded: ["notes"],
  masked: ["iban"]
})

const partitioned = table({
  name: "jobs",
  partitioned: true,
  columns: [column("id", 1, "integer"), column("state", 2, "text"), column("payload", 3, "text")],
  key: [
    { name: "id", attnum: 1, type: "integer", text: "text" },
    { name: "state", attnum: 2, type: "text", text: "text" }
  ]
})

const relation = (name: string, more: Partial<RelationShape> = {}): RelationShape => ({
  schema: "public",
  name,
  position: "root",
  kind: "table",
  ...more
})

const leaf = relation("jobs_done", { position: "partition" })

const cases: ReadonlyArray<
  readonly [what: string, file: string, shape: TableShape, relations: ReadonlyArray<RelationShape>]
> = [
  ["a table with a bigint key", "plain", plain, [relation("posts")]],
  [
    "a table with a composite key, excluded, masked and json columns",
    "composite",
    composite,
    [relation("invoices", { schema: "billing" })]
  ],
  ["a partitioned table", "partitioned", partitioned, [relation("jobs", { kind: "partitioned" }), leaf]],
  [
    "a table captured always, by row triggers",
    "row",
    { ...partitioned, mode: "row", always: true },
    [relation("jobs", { kind: "partitioned" }), leaf]
  ]
]

it.each(cases)("the generated triggers of %s are those of test/golden", async (_, file, shape, relations) => {
  const generated = generate("threadline", shape)
  const statements = [
    ...generated.functions.flatMap((made) => functionStatements("threadline", made)),
    ...relations.flatMap((each) =>
      generated.triggers(each).flatMap((trigger) => triggerStatements("threadline", each, trigger))
    )
  ]
  await expect(statements.map((statement) => `${statement};\n`).join("\n")).toMatchFileSnapshot(
    `../../golden/triggers-${file}.sql`
  )
})
