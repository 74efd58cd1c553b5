/**
 * Reads and writes JSON without loss: what jsonb holds becomes JavaScript values, and these are written with the very same
 * numbers.
 *
 * PostgreSQL nests jsonb deeper than a recursive parser can follow. So nothing here recurses, except what `JSON.stringify` calls.
 */
import * as BigDecimal from "effect/BigDecimal"
import { formatNumber, normalNumber, parseNumber } from "./jsonNumber.js"
import {
  hides,
  isArray,
  isObjectLike,
  type JsonArray,
  type JsonObject,
  type JsonValue,
  makeNumbersPrint,
  makePrint,
  prints,
  setOwn
} from "./jsonValue.js"
import { isStorable } from "./text.js"

/** A text can hold a number that `JSON.parse` changes only if one of these is in it. */
const inexact = /[0-9]{16}|[0-9][.eE]|-0/

/** The same for a text that PostgreSQL wrote out of `jsonb`. Its spaces are in known places, so most dates and times do not match. */
const inexactOfJsonb = /(?:^|[:,] |\[)(?:-?[0-9]+[.eE]|-?[0-9]{16}|-0)/

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
  // The open arrays and objects. For each object, also the key whose value comes next.
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

/** Parses JSON. Throws a `SyntaxError` if the text is not JSON. */
export const unsafeParse = (text: string): JsonValue => {
  const value = JSON.parse(text) as JsonValue
  return inexact.test(text) ? scan(text) : value
}

/** The same for a text that PostgreSQL wrote out of `jsonb`. It is known to be JSON, so it is read only once. */
export const unsafeParseJsonb = (text: string): JsonValue =>
  inexactOfJsonb.test(text) ? scan(text) : (JSON.parse(text) as JsonValue)

/** Parses JSON. Undefined if the text is not JSON. */
export const parse = (text: string): JsonValue | undefined => {
  try {
    return unsafeParse(text)
  } catch {
    return undefined
  }
}

/** The JSON form of an object whose JSON is not just its fields. `stringify` asks for it, and through `toJSON` also `JSON.stringify`. */
export const jsonForm: unique symbol = Symbol.for("threadline/jsonForm")

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
 * Writes a value as JSON without spaces, as `JSON.stringify` does, but every number with all its digits. What `parse` read from
 * jsonb is written with the same numbers.
 */
export const stringify = (root: unknown): string => {
  let text = ""
  for (const piece of pieces(root, Infinity)) {
    text += piece
  }
  return text
}

/** The same in pieces of at least `size` units, except the last one. A string in the value is never divided. */
export function* pieces(root: unknown, size: number): Generator<string, void> {
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
    if (text.length >= size) {
      yield text
      text = ""
    }
  }
  yield text
}

/** Whether two values are the same JSON; `1.0` and `1.00` are not. */
export const same = (a: JsonValue, b: JsonValue): boolean => a === b || canonical(a) === canonical(b)

/** The text of a value with the members of every object in one order. */
export const canonical = (value: JsonValue): string => stringify(sorted(value, (scalar) => scalar))

/**
 * The one value for all values that jsonb treats as equal, however their numbers are written and their members are ordered.
 * Undefined if jsonb cannot hold it.
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
