/**
 * JSON without loss: the exact numbers of PostgreSQL as JavaScript values, and back to the same text.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import * as json from "./internal/core/json.js"

/**
 * A JSON value with exact numbers.
 *
 * - An integer up to 2^53 is a `number`, a larger one a `bigint`.
 * - A number that is written with a decimal point or an exponent is a `BigDecimal` with the scale it was written with: `1.10`
 *   stays `1.10`.
 *
 * @since 0.1.0
 * @category models
 */
export type JsonValue = json.JsonValue

/**
 * @since 0.1.0
 * @category models
 */
export type JsonArray = json.JsonArray

/**
 * @since 0.1.0
 * @category models
 */
export interface JsonObject extends json.JsonObject {}

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
 * // 9007199254740993n, where JSON.parse answers 9007199254740992
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
 * Writes JSON without spaces, its numbers as they were read. Nesting of any depth is written.
 *
 * @since 0.1.0
 * @category conversions
 */
export const stringify: (value: JsonValue) => string = json.stringify

/**
 * Whether a value is a JSON object: not null, not an array, not a number.
 *
 * @since 0.1.0
 * @category guards
 */
export const isObject: (value: JsonValue | undefined) => value is JsonObject = json.isObject
