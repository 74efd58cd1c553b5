/**
 * JSON without loss: what jsonb holds, as JavaScript values, and back to the very same numbers.
 *
 * PostgreSQL nests jsonb deeper than a recursive parser can follow, so nothing here recurses.
 */
import * as BigDecimal from "effect/BigDecimal"
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { decodedBy } from "./rowDecoder.js"
import { isStorable } from "./text.js"

/**
 * A JSON value with exact numbers. An integer that a `number` holds exactly is a `number`, a larger one a `bigint`. A number
 * written with a decimal point or an exponent is a `BigDecimal` with the scale it was written with: `1.10` stays `1.10`.
 */
export type JsonValue = null | boolean | number | bigint | BigDecimal.BigDecimal | string | JsonArray | JsonObject

export type JsonArray = ReadonlyArray<JsonValue>

export interface JsonObject {
  readonly [key: string]: JsonValue
}

/** Only with one of these in it can a text hold a number that `JSON.parse` changes. */
const inexact = /[0-9]{16}|[0-9][.eE]|-0/

/** The same for a text that PostgreSQL wrote out of `jsonb`, which has its spaces in known places: most dates and times are none. */
const inexactOfJsonb = /(?:^|[:,] |\[)(?:-?[0-9]+[.eE]|-?[0-9]{16}|-0)/

/** Scales up to here are written out, as `numeric` does; larger ones only come from an exponent. */
const maxWrittenScale = 16_383

const parseNumber = (text: string): JsonValue => {
  const lower = text.indexOf("e")
  const exponent = lower === -1 ? text.indexOf("E") : lower
  const plain = exponent === -1 ? text : text.slice(0, exponent)
  const point = plain.indexOf(".")
  if (exponent === -1 && point === -1) {
    const value = Number(text)
    return Number.isSafeInteger(value) ? value : BigInt(text)
  }
  const digits = point === -1 ? plain : plain.slice(0, point) + plain.slice(point + 1)
  const power = exponent === -1 ? 0 : Number(text.slice(exponent + 1))
  if (!Number.isSafeInteger(power)) {
    throw new SyntaxError("an exponent beyond 2^53")
  }
  return BigDecimal.make(BigInt(digits), (point === -1 ? 0 : plain.length - point - 1) - power)
}

const formatDecimal = ({ scale, value }: BigDecimal.BigDecimal): string => {
  if (scale < 0 || scale > maxWrittenScale) {
    return `${value}e${-scale}`
  }
  if (scale === 0) {
    // Without an exponent it would be read as an integer.
    return `${value}e0`
  }
  const negative = value < 0n
  const digits = `${negative ? -value : value}`.padStart(scale + 1, "0")
  return `${negative ? "-" : ""}${digits.slice(0, -scale)}.${digits.slice(-scale)}`
}

/** Whether a unit can be part of a number. */
const isNumeric = (unit: number): boolean =>
  (unit >= 0x30 && unit <= 0x39) || unit === 0x2e || unit === 0x2d || unit === 0x2b || unit === 0x65 || unit === 0x45

/** Where a string ends that begins at `start`: the place of its closing quote. */
const closingQuote = (text: string, start: number): number => {
  let at = text.indexOf('"', start + 1)
  for (;;) {
    let backslashes = 0
    while (text.charCodeAt(at - 1 - backslashes) === 0x5c) {
      backslashes++
    }
    if (backslashes % 2 === 0) {
      return at
    }
    at = text.indexOf('"', at + 1)
  }
}

/** Reads a text that `JSON.parse` has accepted. */
const scan = (text: string): JsonValue => {
  // What is open: arrays and objects, and of each object the key whose value comes.
  const open: Array<Array<JsonValue> | Record<string, JsonValue>> = []
  const keys: Array<string | undefined> = []
  let at = 0

  for (;;) {
    const unit = text.charCodeAt(at)
    let value: JsonValue
    switch (unit) {
      case 0x20:
      case 0x09:
      case 0x0a:
      case 0x0d:
      case 0x2c:
      case 0x3a:
        at++
        continue
      case 0x5b:
        open.push([])
        keys.push(undefined)
        at++
        continue
      case 0x7b:
        open.push({})
        keys.push(undefined)
        at++
        continue
      case 0x5d:
      case 0x7d:
        value = open.pop() as JsonValue
        keys.pop()
        at++
        break
      case 0x22: {
        const end = closingQuote(text, at)
        const plain = text.slice(at + 1, end)
        const string = plain.includes("\\") ? (JSON.parse(text.slice(at, end + 1)) as string) : plain
        at = end + 1
        const depth = open.length - 1
        if (depth >= 0 && keys[depth] === undefined && !Array.isArray(open[depth])) {
          keys[depth] = string
          continue
        }
        value = string
        break
      }
      case 0x74:
        value = true
        at += 4
        break
      case 0x66:
        value = false
        at += 5
        break
      case 0x6e:
        value = null
        at += 4
        break
      default: {
        const start = at
        while (isNumeric(text.charCodeAt(at))) {
          at++
        }
        value = parseNumber(text.slice(start, at))
      }
    }
    const depth = open.length - 1
    const around = open[depth]
    if (around === undefined) {
      return value
    }
    if (Array.isArray(around)) {
      around.push(value)
    } else {
      setOwn(around, keys[depth] as string, value)
      keys[depth] = undefined
    }
  }
}

/** Assigning to `__proto__` would set the prototype and lose the value. */
const setOwn = (object: Record<string, JsonValue>, key: string, value: JsonValue): void => {
  if (key === "__proto__") {
    Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true })
  } else {
    object[key] = value
  }
}

/** Parses JSON; throws a `SyntaxError` where the text is none. */
export const unsafeParse = (text: string): JsonValue => {
  const value = JSON.parse(text) as JsonValue
  return inexact.test(text) ? scan(text) : value
}

/** The same for a text that PostgreSQL wrote out of `jsonb`, which is JSON: it is read once. */
const unsafeParseJsonb = (text: string): JsonValue =>
  inexactOfJsonb.test(text) ? scan(text) : (JSON.parse(text) as JsonValue)

/** Parses JSON; undefined where the text is none. */
export const parse = (text: string): JsonValue | undefined => {
  try {
    return unsafeParse(text)
  } catch {
    return undefined
  }
}

const scalar = (value: null | boolean | number | bigint | string): string => {
  switch (typeof value) {
    case "bigint":
      return value.toString()
    case "number":
      return Object.is(value, -0) ? "-0" : JSON.stringify(value)
    default:
      return JSON.stringify(value)
  }
}

interface Pending {
  readonly entries: ReadonlyArray<readonly [key: string | undefined, value: JsonValue]>
  readonly close: string
  next: number
}

/** Writes a value as JSON without spaces. What `parse` gave for a text of jsonb is written with the same numbers. */
export const stringify = (value: JsonValue): string => {
  const pending: Array<Pending> = []
  let text = ""

  const write = (one: JsonValue): void => {
    if (one === null || typeof one !== "object") {
      text += scalar(one)
    } else if (BigDecimal.isBigDecimal(one)) {
      text += formatDecimal(one)
    } else if (isArray(one)) {
      text += "["
      pending.push({ entries: one.map((element) => [undefined, element] as const), close: "]", next: 0 })
    } else {
      text += "{"
      pending.push({ entries: Object.entries(one), close: "}", next: 0 })
    }
  }

  write(value)
  for (let current = pending.at(-1); current !== undefined; current = pending.at(-1)) {
    const entry = current.entries[current.next]
    if (entry === undefined) {
      text += current.close
      pending.pop()
      continue
    }
    if (current.next++ > 0) {
      text += ","
    }
    const [key, element] = entry
    if (key !== undefined) {
      text += `${JSON.stringify(key)}:`
    }
    write(element)
  }
  return text
}

const isArray = (value: JsonArray | JsonObject): value is JsonArray => Array.isArray(value)

export const isObject = (value: JsonValue | undefined): value is JsonObject =>
  value !== null && typeof value === "object" && !Array.isArray(value) && !BigDecimal.isBigDecimal(value)

/** Whether two values are the same JSON; `1.0` and `1.00` are not. */
export const same = (a: JsonValue, b: JsonValue): boolean => a === b || canonical(a) === canonical(b)

/** The text of a value with the members of every object in one order. */
export const canonical = (value: JsonValue): string => stringify(sorted(value, (scalar) => scalar))

/** What `numeric` holds: digits in front of the point, and behind it. */
const maxWhole = 131_072
const maxFraction = maxWrittenScale

/** Up to here a whole number is written out; a longer one that ends in zeros has an exponent. */
const maxWritten = 100

/** The one value of equal numbers; undefined where `numeric` cannot hold them. */
const oneNumber = (value: number | bigint | BigDecimal.BigDecimal): JsonValue | undefined => {
  if (typeof value === "number" && Number.isSafeInteger(value)) {
    // There is no other zero in jsonb.
    return value === 0 ? 0 : value
  }
  const exact = typeof value === "number" ? parseNumber(String(value)) : value
  const { scale, value: digits } = BigDecimal.normalize(
    BigDecimal.isBigDecimal(exact) ? exact : BigDecimal.make(BigInt(exact as number | bigint), 0)
  )
  const whole = String(digits < 0n ? -digits : digits).length - scale
  if (!(scale <= maxFraction && whole <= maxWhole)) {
    return undefined
  }
  if (scale > 0 || whole > maxWritten) {
    return scale === 0 ? digits : BigDecimal.make(digits, scale)
  }
  const written = digits * 10n ** BigInt(-scale)
  return Number.isSafeInteger(Number(written)) ? Number(written) : written
}

/**
 * The one value of all that jsonb takes for the same, however its numbers are written and its members ordered; undefined where
 * jsonb cannot hold it.
 */
export const normal = (value: JsonValue): JsonValue | undefined => {
  let storable = true
  const one = sorted(
    value,
    (scalar) => {
      const found =
        typeof scalar === "string"
          ? isStorable(scalar)
            ? scalar
            : undefined
          : scalar === null || typeof scalar === "boolean"
            ? scalar
            : oneNumber(scalar)
      storable &&= found !== undefined
      return found ?? null
    },
    (key) => (storable &&= isStorable(key))
  )
  return storable ? one : undefined
}

type Scalar = Exclude<JsonValue, JsonArray | JsonObject>

const sorted = (
  value: JsonValue,
  scalar: (value: Scalar) => JsonValue,
  member: (key: string) => void = () => undefined
): JsonValue => {
  if (value === null || typeof value !== "object" || BigDecimal.isBigDecimal(value)) {
    return scalar(value)
  }
  const root: Array<JsonValue> = []
  const work: Array<() => void> = []
  const copy = (one: JsonValue, put: (copied: JsonValue) => void): void => {
    if (one === null || typeof one !== "object" || BigDecimal.isBigDecimal(one)) {
      put(scalar(one))
    } else if (isArray(one)) {
      const array: Array<JsonValue> = []
      put(array)
      work.push(() => one.forEach((element, index) => copy(element, (copied) => void (array[index] = copied))))
    } else {
      const object: Record<string, JsonValue> = {}
      put(object)
      work.push(() => {
        for (const key of Object.keys(one).sort()) {
          member(key)
          setOwn(object, key, null)
          copy(one[key] as JsonValue, (copied) => setOwn(object, key, copied))
        }
      })
    }
  }
  copy(value, (copied) => root.push(copied))
  for (let step = work.pop(); step !== undefined; step = work.pop()) {
    step()
  }
  return root[0] as JsonValue
}

const isScalar = (value: unknown): boolean =>
  value === null ||
  typeof value === "boolean" ||
  typeof value === "bigint" ||
  typeof value === "string" ||
  (typeof value === "number" && Number.isFinite(value)) ||
  BigDecimal.isBigDecimal(value)

/** Not a `Date`, a `Map` or another instance of a class, of which JSON would tell something else or nothing. */
const isPlain = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value)
  return Array.isArray(value) || prototype === Object.prototype || prototype === null
}

/** Whether a value is JSON all the way down. */
const isJsonValue = (value: unknown): value is JsonValue => {
  const work: Array<unknown> = [value]
  while (work.length > 0) {
    const one = work.pop()
    if (isScalar(one)) {
      continue
    }
    if (typeof one !== "object" || one === null || !isPlain(one)) {
      return false
    }
    for (const element of Array.isArray(one) ? (one as ReadonlyArray<unknown>) : Object.values(one)) {
      work.push(element)
    }
  }
  return true
}

const JsonValueSchema: Schema.Schema<JsonValue> = Schema.declare(isJsonValue, { identifier: "JsonValue" })

export const JsonObjectSchema: Schema.Schema<JsonObject> = Schema.declare(
  (value: unknown): value is JsonObject => isJsonValue(value) && isObject(value),
  { identifier: "JsonObject" }
)

const fromText = <A extends JsonValue>(schema: Schema.Schema<A>): Schema.Schema<A, string> =>
  Schema.transformOrFail(Schema.String, schema, {
    strict: false,
    decode: (text, _, ast) =>
      Either.fromNullable(parse(text), () => new ParseResult.Type(ast, undefined, "Expected JSON")),
    encode: (value) => ParseResult.succeed(stringify(value))
  })

/** JSON of any kind out of a `jsonb` column read as text. */
export const JsonFromText: Schema.Schema<JsonValue, string> = decodedBy(fromText(JsonValueSchema), unsafeParseJsonb)

/** A JSON object out of a `jsonb` column read as text. */
export const JsonObjectFromText: Schema.Schema<JsonObject, string> = decodedBy(fromText(JsonObjectSchema), (text) => {
  const value = unsafeParseJsonb(text)
  if (!isObject(value)) {
    throw new SyntaxError("no object")
  }
  return value
})
