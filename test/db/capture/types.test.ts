import { expect, it } from "@effect/vitest"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import { apply, changes, fresh, layer, plan, refusal, rows, run, status, value } from "../../support/capture.js"
import * as TestDatabase from "../../harness/TestDatabase.js"

/** Columns with a value whose text tells the settings it depends on, and those settings. */
const samples: ReadonlyArray<readonly [name: string, type: string, value: string, pins: ReadonlyArray<string>]> = [
  ["flag", "boolean", "true", []],
  ["small", "smallint", "1", []],
  ["large", "bigint", "9007199254740993", []],
  ["exact", "numeric", "1.10", []],
  ["single", "real", "0.123456789", ["extra_float_digits"]],
  ["double", "double precision", "0.123456789", ["extra_float_digits"]],
  ["words", "text", "'a'", []],
  ["short", "varchar(20)", "'a'", []],
  ["padded", "char(5)", "'a'", []],
  ["bytes", "bytea", `'\\x00ff'`, ["bytea_output"]],
  ["day", "date", "'2024-02-03'", []],
  ["moment", "timestamp", "'2024-02-03 04:05:06.789'", []],
  ["instant", "timestamptz", "'2024-02-03 04:05:06.789+00'", ["timezone"]],
  ["clock", "time", "'04:05'", []],
  ["clock_tz", "timetz", "'04:05+02'", []],
  ["span", "interval", "'1 day 02:03:04'", ["intervalstyle"]],
  ["price", "money", "'12.34'", ["lc_monetary"]],
  ["id", "uuid", "'6b6d6b6d-0000-4000-8000-000000000000'", []],
  ["address", "inet", "'10.0.0.1/8'", []],
  ["spot", "point", "'(0.123456789,0.2)'", ["extra_float_digits"]],
  ["area", "polygon", "'((0.123456789,0.2),(1,1),(1,0))'", ["extra_float_digits"]],
  ["ring", "circle", "'<(0.123456789,0.2),0.3>'", ["extra_float_digits"]],
  ["document", "jsonb", `'{"a":1}'`, []],
  ["source", "json", `'{"a": 1}'`, []],
  ["bits", "bit varying", "'101'", []],
  ["search", "tsvector", "'a b'", []],
  ["days", "daterange", "'[2024-02-03,2024-03-04)'", ["datestyle"]],
  ["moments", "tsrange", "'[2024-02-03 04:05,2024-03-04 05:06)'", ["datestyle"]],
  ["instants", "tstzrange", "'[2024-02-03 04:05+00,2024-03-04 05:06+00)'", ["timezone", "datestyle"]],
  ["many_instants", "tstzmultirange", "'{[2024-02-03 04:05+00,2024-03-04 05:06+00)}'", ["timezone", "datestyle"]],
  ["numbers", "numrange", "'[1.10,2.20)'", []],
  ["instant_list", "timestamptz[]", "array['2024-02-03 04:05:06+00'::timestamptz]", ["timezone"]],
  ["byte_list", "bytea[]", `array['\\x00ff'::bytea]`, ["bytea_output"]],
  ["days_list", "daterange[]", "array['[2024-02-03,2024-03-04)'::daterange]", ["datestyle"]],
  ["feeling", "feeling", "'good'", []],
  ["stamp", "stamp", "'2024-02-03 04:05:06+00'", ["timezone"]],
  ["stamp_list", "stamp[]", "array['2024-02-03 04:05:06+00'::stamp]", ["timezone"]],
  ["stay", "stay", "row('2024-02-03', '2024-02-03 04:05:06+00', '1 day 02:03:04')", ["timezone", "intervalstyle"]],
  [
    "stay_list",
    "stay[]",
    "array[row('2024-02-03', '2024-02-03 04:05:06+00', '1 day 02:03:04')::stay]",
    ["timezone", "intervalstyle"]
  ],
  [
    "stay_span",
    "stay_range",
    "stay_range(row('2024-02-03', '2024-02-03 04:05:06+00', '1 day 02:03:04')::stay, null)",
    ["timezone", "datestyle", "intervalstyle"]
  ],
  ["float_span", "float_range", "float_range(0.123456789, 0.2)", ["extra_float_digits"]],
  ["other_table", "other_table", "row(1, '2024-02-03 04:05:06+00')", ["timezone"]],
  ["relation", "regclass", "'samples'", ["quote_all_identifiers"]]
]

const settings: ReadonlyArray<readonly [name: string, one: string, other: string]> = [
  ["timezone", "UTC", "Asia/Kathmandu"],
  ["datestyle", "ISO, YMD", "German, DMY"],
  ["intervalstyle", "postgres", "iso_8601"],
  ["bytea_output", "hex", "escape"],
  ["extra_float_digits", "1", "-10"],
  ["quote_all_identifiers", "off", "on"]
]

const createTypes = run(
  "create type feeling as enum ('good', 'bad')",
  "create domain stamp as timestamptz check (value > '2000-01-01')",
  "create type stay as (day date, at stamp, span interval)",
  "create type stay_range as range (subtype = stay)",
  "create type float_range as range (subtype = float8)",
  "create table other_table (id int, at timestamptz)"
)

it.layer(layer)("types of columns", (it) => {
  it.effect("are pinned to exactly the settings that their images depend on", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* createTypes
      yield* run(
        `create table samples (${samples.map(([name, type]) => `${name} ${type}`).join(", ")})`,
        `insert into samples values (${samples.map(([, , sample]) => sample).join(", ")})`
      )
      yield* apply([{ table: "samples" }])
      const [found] = yield* status()
      const pins = Object.fromEntries((found?.policy?.columns ?? []).map((column) => [column.name, column.pins]))
      expect(pins).toEqual(Object.fromEntries(samples.map(([name, , , expected]) => [name, expected])))

      // What the database itself does with every other setting.
      const imageUnder = (name: string, setting: string) =>
        sql.withTransaction(
          Effect.gen(function* () {
            yield* sql`select set_config(${name}, ${setting}, true)`
            const [row] = yield* sql<{ image: Record<string, unknown> }>`
              select (select jsonb_object_agg(key, value::text) from jsonb_each(to_jsonb(s))) as image from samples s`
            return row?.image ?? {}
          })
        )
      for (const [name, one, other] of settings) {
        const before = yield* imageUnder(name, one)
        const after = yield* imageUnder(name, other)
        const depending = samples.map(([column]) => column).filter((column) => before[column] !== after[column])
        expect(depending, name).toEqual(
          samples.filter(([, , , expected]) => expected.includes(name)).map(([column]) => column)
        )
      }
    })
  )

  it.effect("say how their values are compared, through domains, arrays and composites", () =>
    Effect.gen(function* () {
      yield* run(
        "create domain document as jsonb",
        "create domain source as json",
        "create type holder as (a int, b source)",
        `create table compared (
          plain text, number numeric, document jsonb, document_domain document, documents jsonb[],
          source json, source_domain source, sources json[], holder holder, holders holder[]
        )`
      )
      yield* apply([{ table: "compared" }])
      const tableStatus = (yield* status()).find(({ table }) => table === "public.compared")
      expect(
        Object.fromEntries((tableStatus?.policy?.columns ?? []).map(({ comparison, name }) => [name, comparison]))
      ).toEqual({
        plain: "text",
        number: "text",
        document: "jsonb",
        document_domain: "jsonb",
        documents: "image",
        source: "json",
        source_domain: "json",
        sources: "json",
        holder: "json",
        holders: "json"
      })
    })
  )

  it.effect("that nobody knows are pinned to every setting", () =>
    Effect.gen(function* () {
      // A base type of the host's own; only a superuser can make one.
      yield* run(
        "create type thing",
        "create function thing_in(cstring) returns thing language internal immutable strict as 'textin'",
        "create function thing_out(thing) returns cstring language internal immutable strict as 'textout'",
        "create type thing (input = thing_in, output = thing_out, like = text)",
        "create table things (id int primary key, thing thing, list thing[])"
      )
      yield* apply([{ table: "things" }])
      const tableStatus = (yield* status()).find(({ table }) => table === "public.things")
      const allPins = [
        "timezone",
        "datestyle",
        "intervalstyle",
        "bytea_output",
        "extra_float_digits",
        "lc_monetary",
        "quote_all_identifiers"
      ]
      expect(tableStatus?.policy?.columns.map(({ pins }) => pins)).toEqual([[], allPins, allPins])
    })
  )

  it.effect("that are acknowledged to have a cast of their own are compared and pinned with care", () =>
    Effect.gen(function* () {
      yield* run(
        "create type hue as enum ('red')",
        "create function hue_to_json(hue) returns json language sql as $$ select to_json(1) $$",
        "create cast (hue as json) with function hue_to_json(hue)",
        "create table hues (id int primary key, hue hue)"
      )
      yield* apply([{ table: "hues", acknowledgeCasts: true }])
      const tableStatus = (yield* status()).find(({ table }) => table === "public.hues")
      expect(tableStatus?.policy).toMatchObject({ acknowledgeCasts: true, columns: [{}, { comparison: "jsonb" }] })
      expect(tableStatus?.policy?.columns[1]?.pins).toHaveLength(7)
      yield* run("insert into hues values (1, 'red')")
      expect(yield* value("select data_after::text from threadline.audit_changes where table_name = 'hues'")).toBe(
        `{"id": 1, "hue": 1}`
      )
    })
  )

  it.effect("of an extension make case-insensitive keys", () =>
    Effect.gen(function* () {
      const available = yield* rows("select from pg_available_extensions where name = 'citext'")
      if (available.length === 0) {
        return expect(yield* refusal(plan([{ table: "by_citext" }]))).toMatchObject({ reason: "UnknownTable" })
      }
      yield* run("create extension citext", "create table by_citext (id citext primary key)")
      yield* apply([{ table: "by_citext" }])
      yield* run("insert into by_citext values ('Mixed')")
      expect(yield* changes).toContain("by_citext insert mixed")
      const tableStatus = (yield* status()).find(({ table }) => table === "public.by_citext")
      expect(tableStatus?.policy).toMatchObject({
        key: [{ type: "public.citext", text: "citext" }],
        columns: [{ pins: [] }]
      })
    })
  )

  if (TestDatabase.serverVersion >= 18) {
    it.effect("say which columns are generated and not stored", () =>
      fresh(
        Effect.gen(function* () {
          yield* run(
            `create table generated (
              id int primary key, a int, stored int generated always as (a + 1) stored,
              virtual int generated always as (a + 2) virtual
            )`
          )
          expect(yield* refusal(plan([{ table: "generated", mask: ["virtual"] }]))).toMatchObject({
            reason: "UnknownColumn"
          })
          yield* apply([{ table: "generated" }])
          const [found] = yield* status()
          expect(found?.policy?.columns.filter(({ virtual }) => virtual).map(({ name }) => name)).toEqual(["virtual"])
          yield* run("insert into generated (id, a) values (1, 1)")
          expect(yield* value("select data_after::text from threadline.audit_changes")).toBe(
            `{"a": 1, "id": 1, "stored": 2}`
          )
        })
      )
    )
  }
})
