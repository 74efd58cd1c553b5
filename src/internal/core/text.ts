/**
 * What PostgreSQL can hold as text and as jsonb, checked before it travels.
 */
import * as Either from "effect/Either"
import { longestName } from "./limits.js"

// In unicode mode a pair is one character, so this finds lone surrogates only.
const loneSurrogate = /[\ud800-\udfff]/u

const encoder = new TextEncoder()

/** Whether jsonb can hold the text: no NUL, no half of a surrogate pair. */
export const isStorable = (value: string): boolean => !value.includes("\0") && !loneSurrogate.test(value)

/** The rule that a text breaks, or undefined. */
export const textRule = (value: unknown): string | undefined => {
  if (typeof value !== "string") {
    return "must be a string"
  }
  return isStorable(value) ? undefined : "must not hold a NUL or half of a surrogate pair"
}

/** The rule that an id, a name or a label breaks, or undefined. */
export const shortTextRule = (value: unknown): string | undefined => {
  const rule = textRule(value)
  if (rule !== undefined || typeof value !== "string") {
    return rule
  }
  if (value === "") {
    return "must not be empty"
  }
  return value.length * 3 > longestName && encoder.encode(value).length > longestName
    ? `must not exceed ${longestName} bytes`
    : undefined
}

/**
 * The id of an actor as a string. An integer that JavaScript holds exactly becomes its digits. Anything else stays as it is,
 * and `idRule` refuses it if it is no id.
 */
export const idText = (id: string | number | bigint): string =>
  typeof id === "bigint" || Number.isSafeInteger(id) ? String(id) : (id as string)

/** The rule that the id of an actor breaks, or undefined. */
export const idRule = (value: unknown): string | undefined => {
  if (typeof value === "number") {
    return Number.isSafeInteger(value) ? undefined : "must be a string, or an integer of less than 2^53"
  }
  return shortTextRule(typeof value === "bigint" ? String(value) : value)
}

class NotJson extends Error {}

const strict = (key: string, value: unknown): unknown => {
  if (!isStorable(key) || (typeof value === "string" && !isStorable(value))) {
    throw new NotJson("must not hold a NUL or half of a surrogate pair")
  }
  if (typeof value === "number" && !Number.isFinite(value)) {
    throw new NotJson("must not hold a number that is not finite")
  }
  if (typeof value === "bigint") {
    throw new NotJson("must not hold a bigint: write it as text")
  }
  return value
}

const storable = (key: string, value: unknown): unknown => {
  if (!isStorable(key) || (typeof value === "string" && !isStorable(value))) {
    throw new NotJson("must not hold a NUL or half of a surrogate pair")
  }
  return typeof value === "bigint" ? value.toString() : value
}

/** The rule that a document breaks before its schema is looked at: one with a cycle would be walked for ever. Undefined if none. */
export const documentRule = (value: unknown): string | undefined => {
  try {
    JSON.stringify(value, storable)
    return undefined
  } catch (error) {
    return error instanceof NotJson ? error.message : "must be a JSON value"
  }
}

/** The value as JSON that jsonb accepts, or the rule that the value breaks. */
export const jsonText = (value: unknown): Either.Either<string, string> => {
  try {
    const text: unknown = JSON.stringify(value, strict)
    return typeof text === "string" ? Either.right(text) : Either.left("must be a JSON value")
  } catch (error) {
    return Either.left(error instanceof NotJson ? error.message : "must be a JSON value")
  }
}
