/**
 * Numbers of JSON: from their text to exact values, and back to the very same text.
 */
import * as BigDecimal from "effect/BigDecimal"
import * as Predicate from "effect/Predicate"

export type JsonNumber = number | bigint | BigDecimal.BigDecimal

/** Scales up to here are written out, as `numeric` does; larger ones only come from an exponent. */
const maxWrittenScale = 16_383

/**
 * What `JSON.stringify` must be given to write this number. If the platform has raw JSON (Node.js from version 21), it is the
 * digits themselves. Elsewhere a number with these digits cannot be written, so it is a string of them.
 */
const printedAs: (digits: string) => unknown = Predicate.hasProperty(JSON, "rawJSON")
  ? (JSON.rawJSON as (digits: string) => unknown)
  : (digits) => digits

/** A `BigDecimal` that `JSON.stringify` writes with its digits, and not as the parts of an object. */
const exactDecimal = Object.create(Object.getPrototypeOf(BigDecimal.make(0n, 0)) as object, {
  toJSON: {
    value(this: BigDecimal.BigDecimal): unknown {
      return printed(this)
    }
  }
}) as object

const decimal = (value: bigint, scale: number): BigDecimal.BigDecimal =>
  Object.assign(Object.create(exactDecimal) as BigDecimal.BigDecimal, { value, scale })

/** The same of a whole number, which has no decimal point. */
const exactInteger = Object.create(exactDecimal) as object

const isInteger = (number: BigDecimal.BigDecimal): boolean => Object.getPrototypeOf(number) === exactInteger

/** A number outside of any object or array that would print it, in a form that `JSON.stringify` writes with its digits. */
export const alone = (number: bigint): BigDecimal.BigDecimal =>
  Object.assign(Object.create(exactInteger) as BigDecimal.BigDecimal, { value: number, scale: 0 })

/** The number that `alone` was given. */
export const unwrapped = (number: BigDecimal.BigDecimal): bigint | BigDecimal.BigDecimal =>
  isInteger(number) ? number.value : number

/** The same number, in a form that `JSON.stringify` writes with its digits. */
export const withDigits = (number: BigDecimal.BigDecimal): BigDecimal.BigDecimal =>
  Object.getPrototypeOf(number) === exactDecimal || isInteger(number) ? number : decimal(number.value, number.scale)

/** Reads the number of a JSON text; throws a `SyntaxError` if its exponent is beyond reason. */
export const parseNumber = (text: string): JsonNumber => {
  const lower = text.indexOf("e")
  const exponent = lower === -1 ? text.indexOf("E") : lower
  const mantissa = exponent === -1 ? text : text.slice(0, exponent)
  const point = mantissa.indexOf(".")
  if (exponent === -1 && point === -1) {
    const value = Number(text)
    return Number.isSafeInteger(value) ? value : BigInt(text)
  }
  const digits = point === -1 ? mantissa : mantissa.slice(0, point) + mantissa.slice(point + 1)
  const power = exponent === -1 ? 0 : Number(text.slice(exponent + 1))
  if (!Number.isSafeInteger(power)) {
    throw new SyntaxError("an exponent beyond 2^53")
  }
  return decimal(BigInt(digits), (point === -1 ? 0 : mantissa.length - point - 1) - power)
}

const formatDecimal = (number: BigDecimal.BigDecimal): string => {
  const { scale, value } = number
  if (isInteger(number)) {
    return value.toString()
  }
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

/** The digits that `parseNumber` reads back. A number that is not finite is `null`, as for `JSON.stringify`: JSON has no such number. */
export const formatNumber = (number: JsonNumber): string => {
  switch (typeof number) {
    case "bigint":
      return number.toString()
    case "number":
      return Object.is(number, -0) ? "-0" : JSON.stringify(number)
    default:
      return formatDecimal(number)
  }
}

/** What stands for a number in a value that is given to `JSON.stringify`. */
export const printed = (number: bigint | BigDecimal.BigDecimal): unknown => printedAs(formatNumber(number))

/** What `numeric` holds: digits in front of the point, and behind it. */
const maxWhole = 131_072
const maxFraction = maxWrittenScale

/** Up to this many digits a whole number is written out. A longer one that ends in zeros has an exponent. */
const maxWritten = 100

/** The one value of equal numbers; undefined if `numeric` cannot hold them. */
export const normalNumber = (value: JsonNumber): JsonNumber | undefined => {
  if (typeof value === "number" && Number.isSafeInteger(value)) {
    // There is no other zero in jsonb.
    return value === 0 ? 0 : value
  }
  const exact = typeof value === "number" ? parseNumber(String(value)) : value
  const { scale, value: digits } = BigDecimal.normalize(
    BigDecimal.isBigDecimal(exact) ? exact : BigDecimal.make(BigInt(exact), 0)
  )
  const wholeDigits = String(digits < 0n ? -digits : digits).length - scale
  if (!(scale <= maxFraction && wholeDigits <= maxWhole)) {
    return undefined
  }
  if (scale > 0 || wholeDigits > maxWritten) {
    return scale === 0 ? digits : decimal(digits, scale)
  }
  const written = digits * 10n ** BigInt(-scale)
  return Number.isSafeInteger(Number(written)) ? Number(written) : written
}
