/**
 * A document that stored JSON has to contain.
 */
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { largestDocument } from "../core/limits.js"
import { normal, stringify } from "../core/json.js"
import { isObject, JsonObject } from "../core/jsonValue.js"

const documentRule = [
  "must be an object of at least one field",
  "without NULs, halves of surrogate pairs and numbers beyond numeric",
  `at most ${largestDocument} bytes as JSON`
].join(", ")

const isJsonObject = Schema.is(JsonObject)

/** The object as jsonb holds it. Undefined if jsonb cannot hold it, or if it is too large. */
const documentOf = (u: unknown): JsonObject | undefined => {
  if (isCyclic(u) || !isJsonObject(u) || Object.keys(u).length === 0) {
    return undefined
  }
  const document = normal(u)
  return isObject(document) && Buffer.byteLength(stringify(document)) <= largestDocument ? document : undefined
}

const isCyclic = (u: unknown): boolean => {
  try {
    JSON.stringify(u, (_, value: unknown) => (typeof value === "bigint" ? null : value))
    return false
  } catch {
    return true
  }
}

const ofDocument = { identifier: "Document", message: () => documentRule }

const isDocument = (u: unknown): u is JsonObject => documentOf(u) !== undefined

/** An object that images or meta must contain. Objects that jsonb treats as equal become one. */
export const Document: Schema.Schema<JsonObject> = Schema.transformOrFail(
  Schema.declare(isDocument, ofDocument),
  Schema.declare(isDocument, ofDocument),
  {
    strict: true,
    decode: (input, _, ast) =>
      Either.fromNullable(documentOf(input), () => new ParseResult.Type(ast, undefined, documentRule)),
    encode: (document) => ParseResult.succeed(document)
  }
)
