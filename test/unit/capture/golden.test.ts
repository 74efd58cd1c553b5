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
const foreignLeaf = relation("jobs_archived", { position: "partition", kind: "foreign" })

const masks = table({
  name: "people",
  columns: [
    column("id", 1, "uuid"),
    column("card", 2, "text"),
    column("email", 3, "text"),
    column("phone", 4, "text"),
    column("name", 5, "text")
  ],
  key: [{ name: "id", attnum: 1, type: "uuid", text: "text" }],
  masked: ["card", "email", "name", "phone"],
  masks: { card: "last4", email: "hash", phone: "null" }
})

const paths = table({
  name: "events",
  columns: [column("id", 1, "bigint"), column("payload", 2, "jsonb", { comparison: "jsonb" })],
  key: [{ name: "id", attnum: 1, type: "bigint", text: "text" }],
  paths: {
    payload: [
      { path: ["card", "number"], as: "last4" },
      { path: ["secret"], as: "exclude" }
    ]
  }
})

const virtual = table({
  name: "orders",
  columns: [column("id", 1, "bigint"), column("net", 2, "numeric"), column("gross", 3, "numeric", { virtual: true })],
  key: [{ name: "id", attnum: 1, type: "bigint", text: "text" }]
})

const keyless = table({
  name: "log_lines",
  columns: [column("at", 1, "timestamp with time zone", { pins: ["timezone"] }), column("line", 2, "text")],
  key: []
})

const comparisons = table({
  name: "measures",
  columns: [
    column("id", 1, "bigint"),
    column("value", 2, "double precision", { comparison: "image" }),
    column("labels", 3, "public.hstore", { comparison: "cast" })
  ],
  key: [{ name: "id", attnum: 1, type: "bigint", text: "text" }]
})

const images = table({
  name: "samples",
  columns: [column("id", 1, "bigint"), column("value", 2, "double precision", { comparison: "image" })],
  key: [{ name: "id", attnum: 1, type: "bigint", text: "text" }]
})

const refusing = table({
  name: "ledger",
  columns: [column("id", 1, "bigint"), column("account", 2, "text"), column("note", 3, "text")],
  key: [{ name: "id", attnum: 1, type: "bigint", text: "text" }],
  masked: ["account"],
  onTruncate: "refuse"
})

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
  ],
  ["a table with every mask of a column", "masks", masks, [relation("people")]],
  ["a table with redacted paths inside a json column", "paths", paths, [relation("events")]],
  ["a table with a virtual column", "virtual", virtual, [relation("orders")]],
  ["a table without a key", "keyless", keyless, [relation("log_lines")]],
  ["a table with values that have the same image", "images", images, [relation("samples")]],
  ["a table with a type that an extension casts to json", "casts", comparisons, [relation("measures")]],
  [
    "a partitioned table with a foreign partition",
    "foreign",
    partitioned,
    [relation("jobs", { kind: "partitioned" }), foreignLeaf]
  ],
  ["a table without partitions, by row triggers", "row-plain", { ...plain, mode: "row" }, [relation("posts")]],
  ["a masked table that refuses TRUNCATE", "refuse", refusing, [relation("ledger")]]
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
