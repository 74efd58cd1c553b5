/**
 * JSON without loss: what jsonb holds, as JavaScript values, and back to the very same numbers.
 *
 * PostgreSQL nests jsonb deeper than a recursive parser can follow, so nothing here recurses, but what `JSON.stringify` calls.
 */
import * as BigDecimal from "effect/BigDecimal"
import {
  alone,
  formatNumber,
  type JsonNumber,
  normalNumber,
  parseNumber,
  printed,
  unwrapped,
  withDigits
} from "./jsonNumber.js"
import { isStorable } from "./text.js"

/**
 * A JSON value with exact numbers. An integer that a `number` holds exactly is a `number`, a larger one a `bigint`. A number
 * written with a decimal point or an exponent is a `BigDecimal` with the scale it was written with: `1.10` stays `1.10`.
 */
export type JsonValue = null | boolean | JsonNumber | string | JsonArray | JsonObject

export type JsonArray = ReadonlyArray<JsonValue>

export interface JsonObject {
  readonly [key: string]: JsonValue
}

/** Only with one of these in it can a text hold a number that `JSON.parse` changes. */
const inexact = /[0-9]{16}|[0-9][.eE]|-0/

/** The same for a text that PostgreSQL wrote out of `jsonb`, which has its spaces in known places: most dates and times are none. */
const inexactOfJsonb = /(?:^|[:,] |\[)(?:-?[0-9]+[.eE]|-?[0-9]{16}|-0)/

/**
 * What a list or an object with a `bigint` in it inherits, so that `JSON.stringify` does not throw. It is inherited and not a
 * property of its own: the properties are those that were stored.
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

const prints = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === printingObject || prototype === printingArray
}

const makePrint = (value: object): void => {
  Object.setPrototypeOf(value, Array.isArray(value) ? printingArray : printingObject)
}

/** An object that was stored with a field of this name cannot inherit one: its numbers print themselves. */
const hides = (value: object): boolean => Object.hasOwn(value, "toJSON")

const makeNumbersPrint = (object: Record<string, JsonValue>): void => {
  for (const [key, value] of Object.entries(object)) {
    if (typeof value === "bigint") {
      setOwn(object, key, alone(value))
    }
  }
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
  let hasHidden = false

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
        if (hasHidden && hides(value as object)) {
          makeNumbersPrint(value as Record<string, JsonValue>)
        }
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
          hasHidden ||= string === "toJSON"
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
    if (typeof value === "bigint") {
      makePrint(around)
    }
    if (Array.isArray(around)) {
      around.push(value)
    } else {
      setOwn(around, keys[depth] as string, value)
      keys[depth] = undefined
    }
  }
}

/** Assigning to `__proto__` would set the prototype and lose the value; to `toJSON` it fails if that is inherited. */
const setOwn = (object: Record<string, JsonValue>, key: string, value: JsonValue): void => {
  if (key === "__proto__" || key === "toJSON") {
    Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true })
  } else {
    object[key] = value
  }
}

/** Parses JSON; throws a `SyntaxError` if the text is none. */
export const unsafeParse = (text: string): JsonValue => {
  const value = JSON.parse(text) as JsonValue
  return inexact.test(text) ? scan(text) : value
}

/** The same for a text that PostgreSQL wrote out of `jsonb`, which is JSON: it is read once. */
export const unsafeParseJsonb = (text: string): JsonValue =>
  inexactOfJsonb.test(text) ? scan(text) : (JSON.parse(text) as JsonValue)

/** Parses JSON; undefined if the text is none. */
export const parse = (text: string): JsonValue | undefined => {
  try {
    return unsafeParse(text)
  } catch {
    return undefined
  }
}

/** What an object that is more than its fields looks like in JSON. `stringify` and, through `toJSON`, `JSON.stringify` ask for it. */
export const jsonForm: unique symbol = Symbol.for("threadline/jsonForm")

const isObjectLike = (value: unknown): value is { readonly [key: PropertyKey]: unknown } =>
  typeof value === "object" && value !== null

/** A value as JSON sees it. */
const formOf = (value: unknown): unknown => {
  if (!isObjectLike(value) || BigDecimal.isBigDecimal(value) || prints(value)) {
    return value
  }
  const form = value[jsonForm]
  if (typeof form === "function") {
    return formOf(form.call(value))
  }
  const toJSON = value["toJSON"]
  return typeof toJSON === "function" ? formOf(toJSON.call(value, "")) : value
}

const isWritten = (value: unknown): boolean =>
  value !== undefined && typeof value !== "function" && typeof value !== "symbol"

const membersOf = (object: { readonly [key: string]: unknown }): Pending["entries"] => {
  const members: Array<readonly [key: string, value: unknown]> = []
  for (const key of Object.keys(object)) {
    const form = formOf(object[key])
    if (isWritten(form)) {
      members.push([key, form])
    }
  }
  return members
}

interface Pending {
  readonly of: object
  readonly entries: ReadonlyArray<readonly [key: string | undefined, value: unknown]>
  readonly close: string
  next: number
}

/**
 * Writes a value as JSON without spaces: as `JSON.stringify` does, and every number with its digits. What `parse` gave for a text of
 * jsonb is written with the same numbers.
 */
export const stringify = (root: unknown): string => {
  const pending: Array<Pending> = []
  const open = new Set<object>()
  let text = ""

  const enter = (of: object, entries: Pending["entries"], brackets: "[]" | "{}"): void => {
    if (open.has(of)) {
      throw new TypeError("a value that contains itself has no JSON")
    }
    open.add(of)
    text += brackets.charAt(0)
    pending.push({ of, entries, close: brackets.charAt(1), next: 0 })
  }

  const write = (value: unknown): void => {
    switch (typeof value) {
      case "bigint":
      case "number":
        text += formatNumber(value)
        return
      case "object":
        break
      default:
        text += JSON.stringify(value) ?? "null"
        return
    }
    if (value === null) {
      text += "null"
    } else if (BigDecimal.isBigDecimal(value)) {
      text += formatNumber(value)
    } else if (Array.isArray(value)) {
      enter(
        value,
        value.map((element: unknown) => [undefined, formOf(element)] as const),
        "[]"
      )
    } else {
      enter(value, membersOf(value as { readonly [key: string]: unknown }), "{}")
    }
  }

  const form = formOf(root)
  if (!isWritten(form)) {
    throw new TypeError("this value has no JSON")
  }
  write(form)
  for (let current = pending.at(-1); current !== undefined; current = pending.at(-1)) {
    const entry = current.entries[current.next]
    if (entry === undefined) {
      text += current.close
      open.delete(current.of)
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

/** Not an instance of a class, which knows how it is printed. */
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
 * A value that `JSON.stringify` writes with exact numbers: see `printed`. What it writes right already is left as it is. It calls
 * itself as `JSON.stringify` does, and follows no deeper.
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

const isArray = (value: JsonArray | JsonObject): value is JsonArray => Array.isArray(value)

export const isObject = (value: JsonValue | undefined): value is JsonObject =>
  value !== null && typeof value === "object" && !Array.isArray(value) && !BigDecimal.isBigDecimal(value)

/** Whether two values are the same JSON; `1.0` and `1.00` are not. */
export const same = (a: JsonValue, b: JsonValue): boolean => a === b || canonical(a) === canonical(b)

/** The text of a value with the members of every object in one order. */
export const canonical = (value: JsonValue): string => stringify(sorted(value, (scalar) => scalar))

/**
 * The one value of all that jsonb takes for the same, however its numbers are written and its members ordered; undefined where
 * jsonb cannot hold it.
 */
export const normal = (value: JsonValue): JsonValue | undefined => {
  let storable = true
  const normalized = sorted(
    value,
    (scalar) => {
      const normalScalar =
        typeof scalar === "string"
          ? isStorable(scalar)
            ? scalar
            : undefined
          : scalar === null || typeof scalar === "boolean"
            ? scalar
            : normalNumber(scalar)
      storable &&= normalScalar !== undefined
      return normalScalar ?? null
    },
    (key) => (storable &&= isStorable(key))
  )
  return storable ? normalized : undefined
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
  const copy = (source: JsonValue, put: (copied: JsonValue) => void): void => {
    if (source === null || typeof source !== "object" || BigDecimal.isBigDecimal(source)) {
      put(scalar(source))
    } else if (isArray(source)) {
      const array: Array<JsonValue> = []
      put(array)
      work.push(() => source.forEach((element, index) => copy(element, (copied) => void (array[index] = copied))))
    } else {
      const object: Record<string, JsonValue> = {}
      put(object)
      work.push(() => {
        for (const key of Object.keys(source).sort()) {
          member(key)
          setOwn(object, key, null)
          copy(source[key] as JsonValue, (copied) => setOwn(object, key, copied))
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

/** Whether every part of a value, itself included, is so. */
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
export const isJsonValue = (value: unknown): value is JsonValue =>
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

/** An equal value that `JSON.stringify` writes without loss, as those that were read are; itself if it is one. */
export const exact = (value: JsonValue): JsonValue =>
  typeof value === "bigint" ? alone(value) : isExact(value) ? value : copied(value)

/** What `exact` was given, as far as it tells. */
export const asGiven = (value: JsonValue): JsonValue => (BigDecimal.isBigDecimal(value) ? unwrapped(value) : value)

/** Lets `JSON.stringify` write a new object that has values of JSON as fields. */
export const marked = <A extends object>(value: A): A => {
  if (Object.values(value).some((element) => typeof element === "bigint")) {
    makePrint(value)
  }
  return value
}
