import { describe, expect, it } from "@effect/vitest"
import * as BigDecimal from "effect/BigDecimal"
import * as FastCheck from "effect/FastCheck"
import * as Schema from "effect/Schema"
import * as Json from "../../../src/internal/core/json.js"
import { isObject, type JsonValue } from "../../../src/internal/core/jsonValue.js"
import { runs } from "../../support/runs.js"
import * as JsonSchema from "../../../src/internal/core/jsonSchema.js"

const isJsonValue = Schema.is(Schema.typeSchema(JsonSchema.JsonFromText))
const isJsonObject = Schema.is(Schema.typeSchema(JsonSchema.JsonObjectFromText))

const roundTrip = (text: string): string => Json.stringify(Json.unsafeParse(text))

describe("JSON", () => {
  it("reads integers as number up to 2^53 and as bigint beyond", () => {
    expect(Json.unsafeParse("9007199254740991")).toBe(9007199254740991)
    expect(Json.unsafeParse("-9007199254740991")).toBe(-9007199254740991)
    expect(Json.unsafeParse("9007199254740992")).toBe(9007199254740992n)
    expect(Json.unsafeParse("9007199254740993")).toBe(9007199254740993n)
    expect(Json.unsafeParse("-9223372036854775808")).toBe(-9223372036854775808n)
    expect(Json.unsafeParse('{"id":9007199254740993,"n":[1,2]}')).toEqual({ id: 9007199254740993n, n: [1, 2] })
  })

  it("reads decimals with the scale they were written with", () => {
    const price = Json.unsafeParse("1.10")
    expect(price).toStrictEqual(BigDecimal.make(110n, 2))
    expect(BigDecimal.isBigDecimal(price) && BigDecimal.equals(price, BigDecimal.unsafeFromString("1.1"))).toBe(true)
    expect(Json.unsafeParse("0.1")).toStrictEqual(BigDecimal.make(1n, 1))
    expect(Json.unsafeParse("-0.050")).toStrictEqual(BigDecimal.make(-50n, 3))
    expect(Json.unsafeParse("1e400")).toStrictEqual(BigDecimal.make(1n, -400))
    expect(Json.unsafeParse("1.5E-3")).toStrictEqual(BigDecimal.make(15n, 4))
  })

  it("writes every number as it was stored", () => {
    for (const text of [
      "0",
      "-1",
      "1.10",
      "0.00",
      "-0.050",
      "100.000",
      "9007199254740993",
      "123456789012345678901234567890.123456789",
      `1${"0".repeat(400)}`,
      `0.${"0".repeat(1000)}1`,
      '{"a":[1.0,{"b":2.50}],"c":"1.10","d":null,"e":true,"f":false}'
    ]) {
      expect(roundTrip(text)).toBe(text)
    }
    expect(roundTrip("1e400")).toBe("1e400")
    expect(Json.unsafeParse(roundTrip("12.5e-20000"))).toStrictEqual(BigDecimal.make(125n, 20001))
  })

  it("reads texts, names and layout as JSON.parse does", () => {
    const text =
      ' { "a\\n\\u00e9\\"\\\\" : [ 1.5 , "\\ud83d\\ude00", {}, [] , "" ] ,\n\t"__proto__" : { "x" : 2.0 }, "1": 1 } '
    const value = Json.unsafeParse(text)
    expect(isObject(value) && Object.keys(value)).toEqual(["1", 'a\né"\\', "__proto__"])
    expect(JSON.parse(Json.stringify(value))).toEqual(JSON.parse(text))
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype)
  })

  it("refuses what is no JSON", () => {
    for (const text of [
      "",
      "{",
      "01",
      "1.",
      ".5",
      "+1",
      "NaN",
      "'a'",
      "[1,]",
      '{"a":1,}',
      "1 2",
      "1e99999999999999999999"
    ]) {
      expect(Json.parse(text)).toBeUndefined()
      expect(() => Json.unsafeParse(text)).toThrow(SyntaxError)
    }
  })

  it("keeps the sign of a zero where a number can", () => {
    expect(Object.is(Json.unsafeParse("-0"), -0)).toBe(true)
    expect(roundTrip("-0")).toBe("-0")
  })

  it("writes pieces, each of some size", () => {
    const value = {
      list: Array.from({ length: 20_000 }, (_, index) => ({ index, text: "é".repeat(index % 50) })),
      end: 1n
    }
    const pieces = [...Json.pieces(value, 65_536)]
    expect(pieces.join("")).toBe(Json.stringify(value))
    expect(Math.min(...pieces.slice(0, -1).map(({ length }) => length))).toBeGreaterThanOrEqual(65_536)
    expect(pieces.length).toBeGreaterThan(5)
    expect([...Json.pieces({}, 65_536)]).toEqual(["{}"])
  })

  it("follows any depth", () => {
    const depth = 20_000
    const text = `${"[".repeat(depth)}1.50${"]".repeat(depth)}`
    const value = Json.unsafeParse(text)
    expect(Json.stringify(value)).toBe(text)
    expect(isJsonValue(value)).toBe(true)
    expect(Json.canonical(value)).toBe(text)
    const nested = `${'{"a":'.repeat(depth)}1.50${"}".repeat(depth)}`
    expect(Json.canonical(Json.unsafeParse(nested))).toBe(nested)
  })

  it("compares values as JSON", () => {
    const parse = Json.unsafeParse
    expect(Json.same(parse('{"a":1,"b":[2.0]}'), parse('{"b":[2.0],"a":1}'))).toBe(true)
    expect(Json.same(parse("[1,2]"), parse("[2,1]"))).toBe(false)
    expect(Json.same(parse("1.0"), parse("1.00"))).toBe(false)
    expect(Json.same(parse("1"), parse('"1"'))).toBe(false)
    expect(Json.same(parse('{"a":{"y":1,"x":2}}'), parse('{"a":{"x":2,"y":1}}'))).toBe(true)
  })

  it("knows JSON values", () => {
    for (const value of [null, true, 1, 1n, BigDecimal.make(1n, 1), "a", [1, [2n]], { a: { b: null } }]) {
      expect(isJsonValue(value)).toBe(true)
    }
    for (const value of [undefined, Number.NaN, Number.POSITIVE_INFINITY, () => 1, { a: undefined }, [Symbol("a")]]) {
      expect(isJsonValue(value)).toBe(false)
    }
    expect(isJsonObject({ a: 1 })).toBe(true)
    expect(isJsonObject([1])).toBe(false)
    expect(isJsonObject(BigDecimal.make(1n, 1))).toBe(false)
  })

  it("is a schema over text", () => {
    const decode = Schema.decodeUnknownEither(JsonSchema.JsonObjectFromText)
    expect(decode('{"a":1.10}')).toMatchObject({ right: { a: BigDecimal.make(110n, 2) } })
    expect(decode("[1]")._tag).toBe("Left")
    expect(decode("{")._tag).toBe("Left")
    expect(Schema.encodeSync(JsonSchema.JsonFromText)({ a: BigDecimal.make(110n, 2), b: 9007199254740993n })).toBe(
      '{"a":1.10,"b":9007199254740993}'
    )
  })

  it("reads back whatever it has written", () => {
    const decimal = FastCheck.tuple(FastCheck.bigInt(), FastCheck.integer({ min: -30, max: 40 })).map(
      ([value, scale]) => BigDecimal.make(value, scale)
    )
    const { value } = FastCheck.letrec<{ value: JsonValue }>((tie) => ({
      value: FastCheck.oneof(
        { maxDepth: 4 },
        FastCheck.constantFrom<JsonValue>(null, true, false),
        FastCheck.maxSafeInteger(),
        FastCheck.bigInt().filter((n) => n > 2n ** 53n || n < -(2n ** 53n)),
        decimal,
        FastCheck.string({ unit: "binary" }),
        FastCheck.array(tie("value"), { maxLength: 4 }),
        FastCheck.dictionary(FastCheck.string(), tie("value"), { maxKeys: 4, noNullPrototype: true })
      )
    }))
    FastCheck.assert(
      FastCheck.property(value, (one) => {
        expect(Json.unsafeParse(Json.stringify(one))).toStrictEqual(one)
      }),
      { numRuns: runs(200) }
    )
  })
})
