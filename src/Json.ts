/**
 * JSON without loss: the exact numbers of PostgreSQL as JavaScript values, and back to the same text.
 *
 * Everything that Threadline reads can be given to `JSON.stringify`. How it writes a `bigint` or a `BigDecimal` depends on the
 * platform: with their digits, as numbers, if it has `JSON.rawJSON` (Node.js from version 21); with their digits in a string if it has
 * not (Node.js 20). Nothing is rounded either way. `Json.stringify` writes numbers on every platform.
 *
 * @since 0.1.0
 */
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import * as json from "./internal/core/json.js"
import * as jsonSchema from "./internal/core/jsonSchema.js"
import type { JsonValue } from "./internal/core/jsonValue.js"

/**
 * @since 0.1.0
 */
export { isObject, type JsonArray, JsonObject, JsonValue } from "./internal/core/jsonValue.js"

/**
 * Reads JSON; none if the text is not JSON.
 *
 * @since 0.1.0
 * @category conversions
 * @example
 * ```ts
 * import { Json } from "threadline"
 * import * as Option from "effect/Option"
 *
 * // 9007199254740993n; JSON.parse answers 9007199254740992
 * export const id = Option.getOrThrow(Json.parse("9007199254740993"))
 * ```
 */
export const parse: (text: string) => Option.Option<JsonValue> = Option.liftThrowable(json.unsafeParse)

/**
 * Reads JSON; throws a `SyntaxError` if the text is not JSON.
 *
 * @since 0.1.0
 * @category unsafe
 */
export const unsafeParse: (text: string) => JsonValue = json.unsafeParse

/**
 * Writes JSON as `JSON.stringify` does, without spaces, and every number with its digits on every platform. Nesting of any depth is
 * written. It throws a `TypeError` if the value contains itself, or is a function.
 *
 * @since 0.1.0
 * @category conversions
 * @example
 * ```ts
 * import { Json, Query } from "threadline"
 * import * as Effect from "effect/Effect"
 *
 * export const lines = Effect.map(Query.timeline({ table: "invoices" }), (page) => page.items.map(Json.stringify))
 * ```
 */
export const stringify = (value: JsonValue | object): string => json.stringify(value)

const pieceSize = 65_536

/**
 * The same JSON as that of `stringify`, in pieces of about 64 KB. A string in the value is never divided, so a piece can be as
 * long as the longest one. A page of large images is written without a second copy of it in memory.
 *
 * @since 0.1.0
 * @category conversions
 * @example
 * ```ts
 * import { Json, Query } from "threadline"
 * import * as Effect from "effect/Effect"
 * import * as Stream from "effect/Stream"
 *
 * export const body = Stream.unwrap(
 *   Effect.map(Query.timeline({ table: "invoices" }), (page) => Stream.fromIterable(Json.pieces(page)))
 * ).pipe(Stream.encodeText)
 * ```
 */
export const pieces = (value: JsonValue | object): Iterable<string> => ({
  [Symbol.iterator]: () => json.pieces(value, pieceSize)
})

/**
 * The schema of a JSON text, like `Schema.parseJson`, with exact numbers in both directions.
 *
 * As the success of an endpoint of an `HttpApi` it is a body of `application/json`: numbers are exact on every platform, also for the
 * typed client, and the OpenAPI document describes what is in the text.
 *
 * @since 0.1.0
 * @category schemas
 * @example
 * ```ts
 * import { HttpApiEndpoint } from "@effect/platform"
 * import { Json, Page, Query } from "threadline"
 *
 * export const timeline = HttpApiEndpoint.get("timeline", "/audit/timeline").addSuccess(
 *   Json.fromText(Page.schema(Query.Change))
 * )
 * ```
 */
export const fromText = <A, I, R>(schema: Schema.Schema<A, I, R>): Schema.Schema<A, string, R> =>
  HttpApiSchema.withEncoding(
    jsonSchema.fromText(schema, Schema.String.annotations({ [SchemaAST.SurrogateAnnotationId]: schema.ast })),
    { kind: "Text", contentType: "application/json" }
  )
