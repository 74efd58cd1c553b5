import * as SqlClient from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Schema from "effect/Schema"
import * as Json from "../../../src/internal/core/json.js"
import { JsonFromText } from "../../../src/internal/core/jsonSchema.js"
import { decoder } from "../../../src/internal/core/rowDecoder.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import { runs } from "../../support/runs.js"

layer(TestDatabase.layerEmpty)("JSON of PostgreSQL", (it) => {
  it.effect("comes back as it was stored, whatever numbers and nesting it has", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      for (const expression of [
        "to_jsonb(1.10::numeric(10,2))",
        "to_jsonb(9007199254740993::bigint)",
        "to_jsonb(9223372036854775807::bigint)",
        "to_jsonb('1e400'::numeric)",
        "to_jsonb('-12345678901234567890.00'::numeric)",
        "to_jsonb(('1e-16000')::numeric)",
        "to_jsonb(0.1::float8)",
        "to_jsonb(1e20::float8)",
        "jsonb_build_object('a', array[1.0, 2.50], 'b', '9007199254740993', 'text 1.50', null)",
        "(repeat('[', 5000) || '1.10' || repeat(']', 5000))::jsonb"
      ]) {
        const [row] = yield* sql.unsafe<{ text: string; same: string }>(`select (${expression})::text as text`)
        const text = row?.text ?? ""
        expect(Json.stringify(Json.unsafeParse(text))).toBe(text.replaceAll(/([,:]) /g, "$1"))
        const [again] = yield* sql.unsafe<{ same: string }>(
          `select ((${expression})::text = $1::jsonb::text)::text as same`,
          [Json.stringify(Json.unsafeParse(text))]
        )
        expect(again?.same).toBe("true")
      }
    })
  )

  it.effect("is read as exactly out of a column", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const number = FastCheck.oneof(
        FastCheck.constantFrom(
          "0",
          "-0",
          "-0.0",
          "1.10",
          "-7",
          "0.1e-20",
          "12e30",
          "9007199254740993",
          "-9007199254740993"
        ),
        FastCheck.integer().map(String),
        FastCheck.bigInt({ min: -(10n ** 25n), max: 10n ** 25n }).map(String),
        FastCheck.tuple(FastCheck.integer(), FastCheck.nat(99_999)).map(([whole, part]) => `${whole}.${part}`)
      )
      const text = FastCheck.oneof(
        FastCheck.constantFrom(
          "2026-01-02T10:00:00.123+00:00",
          ": 1.5",
          ", -0.1",
          "[1.5",
          "9007199254740993",
          '\\": 1.5'
        ),
        FastCheck.string()
      ).map((one) => JSON.stringify(one.replaceAll("\0", "")))
      const { document } = FastCheck.letrec<{ document: string }>((tie) => ({
        document: FastCheck.oneof(
          { maxDepth: 4 },
          number,
          text,
          FastCheck.constantFrom("true", "null"),
          FastCheck.array(tie("document"), { maxLength: 4 }).map((all) => `[${all.join(",")}]`),
          FastCheck.array(FastCheck.tuple(text, tie("document")), { maxLength: 4 }).map(
            (all) => `{${all.map(([name, value]) => `${name}:${value}`).join(",")}}`
          )
        )
      }))
      const documents = FastCheck.sample(document, { numRuns: runs(500), seed: 20_261_126 })
      const written = yield* sql<{ readonly text: string }>`
        select d.value::jsonb::text as text
        from json_array_elements_text(${JSON.stringify(documents)}::json) with ordinality d (value, place)
        order by d.place`
      const decode = decoder(Schema.Struct({ text: JsonFromText }))
      expect(written).toHaveLength(documents.length)
      for (const row of written) {
        expect([row.text, decode(row).text]).toEqual([row.text, Json.unsafeParse(row.text)])
      }
    })
  )
})
