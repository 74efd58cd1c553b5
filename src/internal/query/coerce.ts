/**
 * Makes images into what a host's schema expects of its own client's rows. Exact JSON values become what the encoded side of the
 * schema takes, and nothing is rounded. A value that cannot be converted stays as it is, and the schema says what is wrong with
 * it.
 */
import * as BigDecimal from "effect/BigDecimal"
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import { parse, stringify } from "../core/json.js"
import type { RowImage } from "../record/change.js"
import { parseMicros } from "../core/instant.js"
import { isObject, type JsonValue } from "../core/jsonValue.js"

const decimalText = (decimal: BigDecimal.BigDecimal): string =>
  decimal.scale > 0 ? stringify(decimal) : BigDecimal.scale(decimal, 0).value.toString()

const isArray = (value: JsonValue): value is ReadonlyArray<JsonValue> => Array.isArray(value)

/** Numbers by their exact digits; a value of `json` or `jsonb` as the text that a driver would have parsed. */
const toText = (value: JsonValue): JsonValue => {
  switch (typeof value) {
    case "number":
    case "bigint":
      return stringify(value)
    case "object":
      return value === null ? value : BigDecimal.isBigDecimal(value) ? decimalText(value) : stringify(value)
    default:
      return value
  }
}

const toDecimal = (value: JsonValue | undefined): BigDecimal.BigDecimal | undefined => {
  switch (typeof value) {
    case "number":
      return Number.isInteger(value) ? BigDecimal.fromBigInt(BigInt(value)) : toDecimal(parse(String(value)))
    case "bigint":
      return BigDecimal.fromBigInt(value)
    default:
      return BigDecimal.isBigDecimal(value) ? value : undefined
  }
}

const unwritten = new Set(["NaN", "Infinity", "-Infinity"])

/** Only if the number is the same. `0.1` is: the `number` nearest to it is written `0.1`. `0.1000000000000000001` is not. */
const toNumber = (value: JsonValue): JsonValue => {
  if (typeof value === "string") {
    // JSON has no number for these.
    return unwritten.has(value) ? Number(value) : value
  }
  const decimal = typeof value === "number" ? undefined : toDecimal(value)
  if (decimal === undefined) {
    return value
  }
  const number = Number(decimalText(decimal))
  const reread = Number.isFinite(number) ? toDecimal(parse(JSON.stringify(number))) : undefined
  return reread !== undefined && BigDecimal.equals(reread, decimal) ? number : value
}

const toBigInt = (value: JsonValue): JsonValue => {
  const decimal = toDecimal(value)
  const integer = decimal === undefined ? undefined : BigDecimal.scale(decimal, 0)
  return decimal !== undefined && integer !== undefined && BigDecimal.equals(decimal, integer) ? integer.value : value
}

const local = /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,6}))?)?$/

/** A `timestamp` and a `date` have no zone. They are read in the zone of the process, as the driver reads them. */
const toDate = (text: string): Date | undefined => {
  const [, year, month, day, hour = "0", minute = "0", second = "0", fraction = ""] = local.exec(text) ?? []
  if (year !== undefined && month !== undefined && day !== undefined) {
    const date = new Date(0)
    date.setFullYear(Number(year), Number(month) - 1, Number(day))
    date.setHours(Number(hour), Number(minute), Number(second), Number(fraction.padEnd(3, "0").slice(0, 3)))
    return date
  }
  const micros = parseMicros(text)
  return micros === undefined ? undefined : new Date(Number((micros - (((micros % 1000n) + 1000n) % 1000n)) / 1000n))
}

const bytes = /^\\x((?:[0-9a-f]{2})*)$/

/** The forms in which a value may satisfy a declared type with its own test, the likeliest first. */
const candidates = function* (ast: AST.Declaration, value: JsonValue): Generator<unknown> {
  yield value
  const decimal = toDecimal(value)
  if (decimal !== undefined) {
    yield decimal
    yield toBigInt(value)
    yield toNumber(value)
  }
  if (typeof value === "string") {
    const date = toDate(value)
    if (date !== undefined) {
      yield date
      yield DateTime.unsafeFromDate(date)
    }
    const [, hex] = bytes.exec(value) ?? []
    if (hex !== undefined) {
      yield new Uint8Array(Buffer.from(hex, "hex"))
    }
  }
  const [inner, ...otherParameters] = ast.typeParameters
  if (inner !== undefined && otherParameters.length === 0) {
    yield value === null ? Option.none() : Option.some(coerce(inner, value))
  }
}

const accepts = (ast: AST.AST, value: unknown): boolean => ParseResult.is(Schema.make<unknown>(ast))(value)

const firstAccepted = (ast: AST.AST, values: Iterable<unknown>): { readonly value: unknown } | undefined => {
  for (const value of values) {
    if (accepts(ast, value)) {
      return { value }
    }
  }
  return undefined
}

const members = function* (ast: AST.Union, value: JsonValue): Generator<unknown> {
  yield value
  for (const member of ast.types) {
    const coerced = coerce(member, value)
    if (accepts(member, coerced)) {
      yield coerced
    }
  }
}

/** Converts a value for the encoded side of a schema. */
const coerce = (ast: AST.AST, value: JsonValue): unknown => {
  switch (ast._tag) {
    case "StringKeyword":
    case "TemplateLiteral":
      return toText(value)
    case "NumberKeyword":
      return toNumber(value)
    case "BigIntKeyword":
      return toBigInt(value)
    case "Literal":
      return typeof ast.literal === "string"
        ? toText(value)
        : typeof ast.literal === "number"
          ? toNumber(value)
          : typeof ast.literal === "bigint"
            ? toBigInt(value)
            : value
    case "Union":
      return firstAccepted(ast, members(ast, value))?.value ?? value
    case "TupleType":
      return isArray(value)
        ? value.map((element, index) => {
            const type = (ast.elements[index] ?? ast.rest[0])?.type
            return type === undefined ? element : coerce(type, element)
          })
        : value
    case "TypeLiteral":
      return isObject(value) ? coerceFields(ast, value) : value
    case "Suspend":
      return coerce(ast.f(), value)
    case "Refinement":
    case "Transformation":
      return coerce(ast.from, value)
    case "Declaration":
      return firstAccepted(ast, candidates(ast, value))?.value ?? value
    default:
      return value
  }
}

const coerceFields = (ast: AST.TypeLiteral, image: RowImage): { readonly [field: string]: unknown } =>
  Object.fromEntries(
    Object.entries(image).map(([field, value]) => {
      const type = ast.propertySignatures.find(({ name }) => name === field)?.type ?? ast.indexSignatures[0]?.type
      return [field, type === undefined ? value : coerce(type, value)]
    })
  )

/** The function that makes an image what the encoded side of a schema takes. */
export const coercion = <A, I, R>(schema: Schema.Schema<A, I, R>): ((image: RowImage) => unknown) => {
  const encoded = AST.encodedAST(schema.ast)
  return (image) => coerce(encoded, image)
}
