/** Names that look like code, like quotes, or like the generated code's own. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { attacks, brief, chain, changes } from "../support/adversarial.js"

const quote = (name: string) => `"${name.replaceAll('"', '""')}"`

const longest = "n".repeat(63)
const names: ReadonlyArray<string> = [
  "MixedCase",
  "with space",
  "with.dot",
  'with"quote',
  "with'apostrophe",
  "back\\slash",
  "$threadline$",
  "$$",
  "$1",
  "%s",
  "%I",
  "{a,b}",
  "[x]",
  "a,b",
  "(x)",
  "; drop table t; --",
  "-- comment",
  "/* comment",
  "é",
  "日本語",
  "😀",
  " ",
  "\t",
  "line\nfeed",
  "\u0001",
  "select",
  "null",
  "NULL",
  "true",
  longest,
  "n".repeat(62) + "m",
  "é".repeat(31),
  "日".repeat(21),
  "C:\\new\\table",
  '{"json":1}',
  "\\u0000",
  "threadline:omitted",
  "constructor",
  "__proto__",
  "toString"
]

// Everything that the generated functions and the functions that they call have a name for.
const own: ReadonlyArray<string> = [
  "now",
  "was",
  "o",
  "n",
  "x",
  "p",
  "d",
  "r",
  "k",
  "c",
  "e",
  "f",
  "h",
  "s",
  "t",
  "field",
  "fields",
  "image",
  "images",
  "place",
  "old",
  "new",
  "several",
  "guard",
  "stale",
  "old_values",
  "first_id",
  "of_schema",
  "of_table",
  "of_partition",
  "threadline_new",
  "threadline_old",
  "tg_op",
  "tg_relid",
  "tg_table_name",
  "tg_table_schema",
  "tg_when",
  "differ",
  "same",
  "exact",
  "changed",
  "row_pk",
  "row_key",
  "previous_row_key",
  "changed_fields",
  "changed_from",
  "data_after",
  "redacted_image",
  "policy",
  "relation",
  "value",
  "key",
  "id",
  "op",
  "total",
  "step",
  "bytes",
  "widest",
  "record",
  "source",
  "result",
  "table_schema",
  "table_name",
  "partition_name",
  "captured_at",
  "transaction_id",
  "found",
  "sqlstate",
  "sqlerrm",
  "row_number",
  "to_jsonb",
  "ctid_",
  "user",
  "current_user",
  "strict",
  "first",
  "last",
  "name",
  "text",
  "part",
  "columns"
]

attacks("names", (attack) => {
  for (const mode of ["statement", "row"] as const) {
    attack(
      `of columns are what they are, each once and all together, in key, mask and exclude, in ${mode} mode`,
      ({ apply, db }) =>
        Effect.gen(function* () {
          const allTables = [...names, ...own]
          yield* db.run(
            `create table everything (${allTables.map((name) => `${quote(name)} int`).join(", ")}, primary key (${[...names.slice(0, 8), "now", "was", "n"].map(quote).join(", ")}))`
          )
          yield* apply({ table: "everything", mode })
          const values = allTables.map((_, at) => at).join(", ")
          yield* db.run(
            `insert into everything values (${values})`,
            ...allTables.map((name) => `update everything set ${quote(name)} = ${quote(name)} + 1000`),
            `insert into everything select ${allTables.map((name) => `${quote(name)} + g`).join(", ")} from everything, generate_series(1, 3) g`,
            `update everything set ${allTables.map((name) => `${quote(name)} = ${quote(name)} + 5`).join(", ")}`,
            "delete from everything"
          )
          const recordedChanges = yield* changes(db)
          expect(yield* chain(db, "everything")).toEqual([])
          expect(
            yield* db.column(
              "select changed_fields[1] from threadline.audit_changes where op = 'update' and cardinality(changed_fields) = 1 order by id"
            )
          ).toEqual(allTables)
          const [bulk] = recordedChanges.filter(({ op }) => op === "update").slice(-1)
          expect((yield* db.rows("select cardinality($1::text[]) as n", [bulk?.fields ?? null]))[0]?.["n"]).toBe(
            String(allTables.length)
          )
          expect(recordedChanges).toHaveLength(1 + allTables.length + 3 + 4 + 4)
        }),
      300_000
    )

    attack(
      `of redacted columns hide their values, in ${mode} mode`,
      ({ apply, db }) =>
        Effect.gen(function* () {
          const half = [...names, ...own].filter((name) => name !== "id")
          const masked = half.filter((_, at) => at % 3 === 0)
          const excluded = half.filter((_, at) => at % 3 === 1)
          yield* db.run(
            `create table secrets (id int primary key, ${half.map((name) => `${quote(name)} text default 'topsecret'`).join(", ")})`
          )
          const open = half.filter((_, at) => at % 3 === 2)
          yield* apply({ table: "secrets", mode, mask: masked, exclude: excluded })
          yield* db.run(
            `insert into secrets (id, ${open.map(quote).join(", ")}) values (1, ${open.map(() => "'open'").join(", ")}), (2, ${open.map(() => "'open'").join(", ")})`,
            `update secrets set ${half.map((name) => `${quote(name)} = ${open.includes(name) ? "'opened'" : "'topsecret too'"}`).join(", ")} where id = 1`,
            `update secrets set ${half.map((name) => `${quote(name)} = ${open.includes(name) ? "'opened!'" : "'topsecret!'"}`).join(", ")}`,
            `update secrets set ${excluded.map((name) => `${quote(name)} = 'topsecret again'`).join(", ")}`,
            "truncate secrets"
          )
          const recordedChanges = yield* changes(db)
          expect(brief(recordedChanges)).toEqual([
            "insert 1",
            "insert 2",
            "update 1",
            "update 2",
            "update 1",
            "truncate -"
          ])
          expect(
            recordedChanges.filter((change) => JSON.stringify(change).includes("topsecret")).map(({ op }) => op)
          ).toEqual([])
          expect(
            yield* db.value(
              "select (select count(*) from jsonb_object_keys(data_after)) from threadline.audit_changes order by id limit 1"
            )
          ).toBe(String(1 + masked.length + open.length))
        }),
      300_000
    )
  }

  attack(
    "of tables and schemas are never confused, captured, truncated, renamed, with a partition each",
    ({ apply, db, findings }) =>
      Effect.gen(function* () {
        const tables = [
          ...names,
          "now",
          "was",
          "threadline_new",
          "audit_changes",
          "capture_policies",
          "n".repeat(60) + "abc",
          "n".repeat(60) + "abd",
          "Mixedcase",
          "mixedcase"
        ]
        const schemas = ["public", "Odd.Schema", 'quo"te', "sp ace", "$threadline$", "é".repeat(31)]
        yield* db.run(...schemas.slice(1).map((schema) => `create schema ${quote(schema)}`))
        const qualifiedTables = tables.map(
          (table, at) => `${quote(schemas[at % schemas.length] ?? "public")}.${quote(table)}`
        )
        yield* db.run(...qualifiedTables.map((table) => `create table ${table} ("Id" int primary key, v text)`))
        yield* db.run(
          `create table "Odd.Schema"."part.of" (id int primary key) partition by range (id)`,
          `create table "quo""te"."part.of.1" partition of "Odd.Schema"."part.of" for values from (1) to (10)`
        )
        yield* apply(...qualifiedTables, `"Odd.Schema"."part.of"`)
        expect(yield* findings()).toEqual([])
        expect(yield* apply(...qualifiedTables, `"Odd.Schema"."part.of"`)).toEqual([])
        yield* db.run(
          ...qualifiedTables.flatMap((table) => [
            `insert into ${table} values (1, 'a')`,
            `update ${table} set v = 'b'`,
            `insert into ${table} values (2, 'a'), (3, 'a')`,
            `update ${table} set v = v || '!'`,
            `delete from ${table} where "Id" = 1`,
            `truncate ${table}`
          ]),
          `insert into "quo""te"."part.of.1" values (1)`
        )
        const seen = yield* db.rows(
          "select table_schema as schema, table_name as name, string_agg(op || coalesce(row_key, ''), ' ' order by id) as story from threadline.audit_changes where table_name <> 'part.of' group by 1, 2 order by min(id)"
        )
        expect(seen).toEqual(
          tables.map((name, at) => ({
            schema: schemas[at % schemas.length],
            name,
            story: "insert1 update1 insert2 insert3 update1 update2 update3 delete1 truncate"
          }))
        )
        expect(
          yield* db.column("select partition_name from threadline.audit_changes where table_name = 'part.of'")
        ).toEqual([`"quo""te"."part.of.1"`])
        for (const [at, name] of tables.entries()) {
          expect([
            name,
            yield* db.value("select threadline.row_key($1, $2, '1')", [schemas[at % schemas.length] ?? "", name])
          ]).toEqual([name, "1"])
        }
        // A renamed table goes on being captured, under its new name, until it is applied again.
        yield* db.run(
          `alter table ${qualifiedTables[0]} rename to "Renamed."`,
          `insert into public."Renamed." values (9, 'x')`
        )
        expect((yield* changes(db, "Renamed.")).map(({ op }) => op)).toEqual(["insert"])
      }),
    300_000
  )

  attack("of columns may be none, and very many", ({ apply, db }) =>
    Effect.gen(function* () {
      const many = Array.from({ length: 800 }, (_, at) => `c${at}`)
      yield* db.run(
        "create table bare ()",
        `create table wide (id int primary key, ${many.map((name) => `${name} text default '${name}'`).join(", ")})`
      )
      yield* apply("bare", "wide")
      yield* db.run(
        "insert into bare default values",
        "insert into bare default values",
        "delete from bare",
        "insert into wide values (1)",
        "update wide set c799 = 'x'",
        "insert into wide values (2), (3)",
        "update wide set c0 = 'y', c400 = 'z'",
        "delete from wide"
      )
      expect(brief(yield* changes(db, "bare"))).toEqual(["insert -", "insert -", "delete -", "delete -"])
      const recordedChanges = yield* changes(db, "wide")
      expect(recordedChanges.filter(({ op }) => op === "update").map(({ fields }) => fields)).toEqual([
        "{c799}",
        "{c0,c400}",
        "{c0,c400}",
        "{c0,c400}"
      ])
      expect(yield* chain(db, "wide")).toEqual([])
    })
  )
})
