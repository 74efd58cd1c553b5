/**
 * Schemas of exact JSON. `JSON.stringify` writes an encoded value without loss, no matter what made the value.
 */
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { parse, stringify, unsafeParseJsonb } from "./json.js"
import { isObject, JsonObject, JsonValue } from "./jsonValue.js"
import { decodedBy } from "./rowDecoder.js"

const expected = "must be JSON"

/** What a schema decodes, read from a JSON text. */
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
export const JsonFromText: Schema.Schema<JsonValue, string> = decodedBy(
  fromText(Schema.typeSchema(JsonValue)),
  unsafeParseJsonb
)

/** A JSON object out of a `jsonb` column read as text. */
export const JsonObjectFromText: Schema.Schema<JsonObject, string> = decodedBy(
  fromText(Schema.typeSchema(JsonObject)),
  (text) => {
    const value = unsafeParseJsonb(text)
    if (!isObject(value)) {
      throw new SyntaxError("no object")
    }
    return value
  }
)
