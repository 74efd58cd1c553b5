/**
 * Values of JSON with exact numbers: what they are, their schemas, and what lets `JSON.stringify` write them without loss.
 */
import type { LazyArbitrary } from "effect/Arbitrary"
import * as BigDecimal from "effect/BigDecimal"
import * as Schema from "effect/Schema"
import { alone, type JsonNumber, printed, unwrapped, withDigits } from "./jsonNumber.js"

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
export type JsonValue = null | boolean | JsonNumber | string | JsonArray | JsonObject

/**
 * @since 0.1.0
 * @category models
 */
export type JsonArray = ReadonlyArray<JsonValue>

/**
 * A JSON object with exact numbers.
 *
 * @since 0.1.0
 * @category models
 */
export interface JsonObject {
  readonly [key: string]: JsonValue
}

/**
 * Whether a value is a JSON object: not null, not an array, not a number.
 *
 * @since 0.1.0
 * @category guards
 */
export const isObject = (value: JsonValue | undefined): value is JsonObject =>
  value !== null && typeof value === "object" && !Array.isArray(value) && !BigDecimal.isBigDecimal(value)

export const isArray = (value: JsonArray | JsonObject): value is JsonArray => Array.isArray(value)

export const isObjectLike = (value: unknown): value is { readonly [key: PropertyKey]: unknown } =>
  typeof value === "object" && value !== null

/**
 * Sets a field without assigning to it. An assignment to `__proto__` would set the prototype and lose the value. An assignment to
 * `toJSON` fails if `toJSON` is inherited.
 */
export const setOwn = (object: Record<string, JsonValue>, key: string, value: JsonValue): void => {
  if (key === "__proto__" || key === "toJSON") {
    Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true })
  } else {
    object[key] = value
  }
}

/**
 * What a list or an object with a `bigint` in it inherits, so that `JSON.stringify` does not throw. It is inherited, because own
 * properties are only those that were stored.
 */
const printing = {
  toJSON: {
    value(this: unknown): unknown {
      return printable(this)
    }
  }
}
const printingArray = Object.create(Array.prototype, printing) as object
const printingObject = Object.create(Object.prototype, printing) as object

export const prints = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === printingObject || prototype === printingArray
}

export const makePrint = (value: object): void => {
  Object.setPrototypeOf(value, Array.isArray(value) ? printingArray : printingObject)
}

/** An object that was stored with a field of this name cannot inherit the method. Its numbers then print themselves. */
export const hides = (value: object): boolean => Object.hasOwn(value, "toJSON")

export const makeNumbersPrint = (object: Record<string, JsonValue>): void => {
  for (const [key, value] of Object.entries(object)) {
    if (typeof value === "bigint") {
      setOwn(object, key, alone(value))
    }
  }
}

/** Not an instance of a class: such an instance knows how it is printed. */
const isPlain = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value)
  return Array.isArray(value) || prototype === Object.prototype || prototype === null || prototype === printingObject
}

/** A value with other elements, or itself if they are the same. */
const mapped = (
  value: { readonly [key: string]: unknown },
  change: (element: unknown) => unknown
): { readonly [key: string]: unknown } => {
  let changed = false
  const entries = Object.entries(value).map(([key, element]) => {
    const newElement = change(element)
    changed ||= newElement !== element
    return [key, newElement] as const
  })
  return !changed
    ? value
    : Array.isArray(value)
      ? (entries.map(([, element]) => element) as never)
      : Object.fromEntries(entries)
}

/**
 * A value that `JSON.stringify` writes with exact numbers: see `printed`. A value that is written exactly anyway is returned as
 * it is. The function recurses as deep as `JSON.stringify` does, and no deeper.
 */
export const printable = (value: unknown): unknown => {
  if (typeof value === "bigint") {
    return printed(value)
  }
  if (!isObjectLike(value)) {
    return value
  }
  if (BigDecimal.isBigDecimal(value)) {
    return printed(value)
  }
  const ownToJson = Object.hasOwn(value, "toJSON") ? value["toJSON"] : undefined
  return isPlain(value) && typeof ownToJson !== "function" ? mapped(value, printable) : value
}

const isScalar = (value: unknown): boolean =>
  value === null ||
  typeof value === "boolean" ||
  typeof value === "bigint" ||
  typeof value === "string" ||
  (typeof value === "number" && Number.isFinite(value)) ||
  BigDecimal.isBigDecimal(value)

/** Whether a test holds for every part of a value, and for the value itself. */
const every = (value: unknown, isSo: (part: unknown) => boolean): boolean => {
  const work: Array<unknown> = [value]
  while (work.length > 0) {
    const part = work.pop()
    if (!isSo(part)) {
      return false
    }
    if (isObjectLike(part) && !BigDecimal.isBigDecimal(part)) {
      for (const element of Array.isArray(part) ? (part as ReadonlyArray<unknown>) : Object.values(part)) {
        work.push(element)
      }
    }
  }
  return true
}

/** Whether a value is JSON all the way down. */
const isJsonValue = (value: unknown): value is JsonValue =>
  every(value, (part) => isScalar(part) || (isObjectLike(part) && isPlain(part)))

const needsPrint = (value: JsonArray | JsonObject): boolean =>
  (hides(value) || !prints(value)) && Object.values(value).some((element) => typeof element === "bigint")

const isExact = (value: JsonValue): boolean =>
  every(value, (part) =>
    BigDecimal.isBigDecimal(part) ? withDigits(part) === part : !isObjectLike(part) || !needsPrint(part as JsonObject)
  )

const copied = (value: JsonValue): JsonValue => {
  if (BigDecimal.isBigDecimal(value)) {
    return withDigits(value)
  }
  if (value === null || typeof value !== "object") {
    return value
  }
  if (isArray(value)) {
    const elements = value.map(copied)
    if (needsPrint(elements)) {
      makePrint(elements)
    }
    return elements
  }
  const members: Record<string, JsonValue> = Object.fromEntries(
    Object.entries(value).map(([key, element]) => [key, copied(element)])
  )
  if (hides(members)) {
    makeNumbersPrint(members)
  } else if (needsPrint(members)) {
    makePrint(members)
  }
  return members
}

/**
 * An equal value that `JSON.stringify` writes without loss, like the values that were read. It is the value itself if that is
 * such a value.
 */
const exact = (value: JsonValue): JsonValue =>
  typeof value === "bigint" ? alone(value) : isExact(value) ? value : copied(value)

/** The value that `exact` was given, as far as it can be known. */
const asGiven = (value: JsonValue): JsonValue => (BigDecimal.isBigDecimal(value) ? unwrapped(value) : value)

/** Lets `JSON.stringify` write a new object that has values of JSON as fields. */
export const marked = <A extends object>(value: A): A => {
  if (Object.values(value).some((element) => typeof element === "bigint")) {
    makePrint(value)
  }
  return value
}

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

/**
 * @since 0.1.0
 * @category schemas
 */
export const JsonValue: Schema.Schema<JsonValue> = encodedExactly(Value)

/**
 * @since 0.1.0
 * @category schemas
 */
export const JsonObject: Schema.Schema<JsonObject> = encodedExactly(JsonObjectValue)
