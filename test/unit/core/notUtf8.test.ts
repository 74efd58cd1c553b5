import { expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { isUtf8 } from "node:buffer"
import { bytesOfMarked, legibleRow } from "../../../src/internal/core/notUtf8.js"

/** JSON as a database without an encoding writes it: bytes as they are. */
const rowOf = (value: Buffer): Buffer =>
  Buffer.from(JSON.stringify({ before: "ü", value: value.toString("latin1") }).replace("ü", "\u00c3\u00bc"), "latin1")

const shown = (value: Buffer): string => {
  const row = legibleRow(rowOf(value)) as { readonly before: string; readonly value: string }
  expect(row.before).toBe("ü")
  return row.value
}

const bytes = FastCheck.array(
  FastCheck.oneof(
    FastCheck.constantFrom(0x22, 0x5c, 0x5b, 0x5d, 0x7b, 0x7d, 0xc3, 0xbc, 0xe9, 0xff, 0x0a),
    FastCheck.integer({ min: 1, max: 255 })
  ),
  { maxLength: 40 }
).map((units) => Buffer.from(units))

it("a string that is not UTF-8 is shown by its bytes, and is asked for as it is shown", () => {
  FastCheck.assert(
    FastCheck.property(bytes, (value) => {
      const text = shown(value)
      expect(bytesOfMarked(text)).toEqual(isUtf8(value) ? undefined : value)
      if (isUtf8(value)) {
        expect(text).toBe(value.toString())
      }
    }),
    { numRuns: 2000 }
  )
})

it("of JSON only the strings that are not UTF-8 are marked, however deep they are", () => {
  FastCheck.assert(
    FastCheck.property(FastCheck.array(bytes, { maxLength: 5 }), FastCheck.boolean(), (values, nested) => {
      const array = JSON.stringify(values.map((value) => value.toString("latin1")))
      const json = Buffer.from(nested ? JSON.stringify({ list: [array, 1.1], n: null }) : array, "latin1")
      const text = shown(json)
      const list = JSON.parse(
        nested ? (JSON.parse(text) as { readonly list: readonly [string] }).list[0] : text
      ) as unknown
      expect(list).toEqual(values.map(shown))
      expect(bytesOfMarked(text)).toEqual(isUtf8(json) ? undefined : json)
    }),
    { numRuns: 2000 }
  )
})

it("text that only looks like a mark is what it is", () => {
  for (const text of ["[not UTF-8: 6162]", "[not UTF-8: ", "[not UTF-8: e]", '["[not UTF-8: 6162]"]', "plain"]) {
    expect(bytesOfMarked(text)).toBeUndefined()
  }
})
