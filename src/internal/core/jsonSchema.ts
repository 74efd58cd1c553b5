/**
 * Schemas of exact JSON. Encoded, a value is one that `JSON.stringify` writes without loss, whatever made it.
 */
import type { LazyArbitrary } from "effect/Arbitrary"
import * as BigDecimal from "effect/BigDecimal"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import {
  asGiven,
  exact,
  isJsonValue,
  isObject,
  type JsonArray,
  type JsonObject,
  type JsonValue,
  parse,
  stringify,
  unsafeParseJsonb
} from "./json.js"
import { decodedBy } from "./rowDecoder.js"

/** JSON with numbers of each kind. */
const arbitraries = (fc: Parameters<LazyArbitrary<unknown>>[0]) =>
  fc.letrec<{ value: JsonValue; array: JsonArray; object: JsonObject }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 2, depthSize: "small" },
      fc.constantFrom(null, true, false),
      fc.string({ maxLength: 8 }),
      fc.integer(),
      fc.bigInt({ min: 2n ** 53n, max: 2n ** 70n }),
      fc
        .tuple(fc.bigInt({ min: -(10n ** 12n), max: 10n ** 12n }), fc.integer({ min: 1, max: 6 }))
        .map(([digits, scale]) => BigDecimal.make(digits, scale)),
      tie("array"),
      tie("object")
    ),
    array: fc.array(tie("value"), { maxLength: 3 }),
    object: fc.dictionary(fc.string({ maxLength: 8 }), tie("value"), { maxKeys: 3, noNullPrototype: true })
  }))

const isJsonObject = (value: unknown): value is JsonObject => isJsonValue(value) && isObject(value)

const Value: Schema.Schema<JsonValue> = Schema.declare(isJsonValue, {
  identifier: "threadline.JsonValue",
  description: "a JSON value",
  jsonSchema: { anyOf: ["null", "boolean", "number", "string", "array", "object"].map((type) => ({ type })) },
  arbitrary: () => (fc) => arbitraries(fc).value
})

const JsonObjectValue: Schema.Schema<JsonObject> = Schema.declare(isJsonObject, {
  identifier: "threadline.JsonObject",
  description: "a JSON object",
  jsonSchema: { type: "object" },
  arbitrary: () => (fc) => arbitraries(fc).object
})

const encodedExactly = <A extends JsonValue>(schema: Schema.Schema<A>): Schema.Schema<A> =>
  Schema.transform(schema, schema, {
    strict: true,
    decode: (value) => asGiven(value) as A,
    encode: (value) => exact(value) as A
  })

/** Any JSON value. */
export const JsonValueSchema = encodedExactly(Value)

/** A JSON object. */
export const JsonObjectSchema = encodedExactly(JsonObjectValue)

const expected = "must be JSON"

/** What a schema has in a JSON text. */
export const fromText = <A, I, R>(
  schema: Schema.Schema<A, I, R>,
  text: Schema.Schema<string> = Schema.String
): Schema.Schema<A, string, R> =>
  Schema.compose(
    Schema.transformOrFail(text, Schema.Unknown, {
      strict: true,
      decode: (text, _, ast) => {
        const value = parse(text)
        return value === undefined
          ? ParseResult.fail(new ParseResult.Type(ast, text, expected))
          : ParseResult.succeed(value)
      },
      encode: (value, _, ast) =>
        ParseResult.try({
          try: () => stringify(value),
          catch: () => new ParseResult.Type(ast, undefined, expected)
        })
    }),
    schema,
    { strict: false }
  )

/** JSON of any kind out of a `jsonb` column read as text. */
export const JsonFromText: Schema.Schema<JsonValue, string> = decodedBy(fromText(Value), unsafeParseJsonb)

/** A JSON object out of a `jsonb` column read as text. */
export const JsonObjectFromText: Schema.Schema<JsonObject, string> = decodedBy(fromText(JsonObjectValue), (text) => {
  const value = unsafeParseJsonb(text)
  if (!isObject(value)) {
    throw new SyntaxError("no object")
  }
  return value
})
