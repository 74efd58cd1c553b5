/**
 * Strings that are not UTF-8. A database without an encoding (SQL_ASCII) may hold them. They are shown by their bytes: nothing of
 * them is lost, different strings stay different, and a key can be asked for as it is shown.
 */
import { isUtf8 } from "node:buffer"

const prefix = "[not UTF-8: "

const mark = (bytes: Buffer): string => `${prefix}${bytes.toString("hex")}]`

const latin1Of = (text: string): string => Buffer.from(text).toString("latin1")

/** Bytes, each written as one character. A character from a JSON escape that needs more than one byte stays as it is. */
const bytesOf = (latin1: string): Buffer => Buffer.from(latin1.replaceAll(/[^\0-\xff]+/g, latin1Of), "latin1")

/** Whether a text is JSON with strings in it. */
const isJson = (text: string): boolean => {
  if (!/^[[{"]/.test(text)) {
    return false
  }
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** Where the string ends that begins at this quote of a JSON text. */
const endOfString = (json: string, start: number): number => {
  for (let at = json.indexOf('"', start + 1); ; at = json.indexOf('"', at + 1)) {
    let escapes = 0
    while (json[at - 1 - escapes] === "\\") {
      escapes++
    }
    if (escapes % 2 === 0) {
      return at + 1
    }
  }
}

/** JSON with its strings replaced. The strings are given with their quotes. The JSON is known to be well-formed. */
const withStrings = (json: string, other: (string: string) => string): string => {
  const parts: Array<string> = []
  for (let at = 0; ;) {
    const start = json.indexOf('"', at)
    if (start === -1) {
      return parts.join("") + json.slice(at)
    }
    const end = endOfString(json, start)
    parts.push(json.slice(at, start), other(json.slice(start, end)))
    at = end
  }
}

const parsed = (string: string): string => JSON.parse(string) as string

/** A string of bytes, each written as one character. If it is JSON, only those of its strings that are not UTF-8 are marked. */
const legible = (latin1: string): string => {
  const bytes = bytesOf(latin1)
  return isUtf8(bytes) ? bytes.toString() : isJson(latin1) ? withStrings(latin1, legibleString) : mark(bytes)
}

const legibleString = (string: string): string => {
  const bytes = bytesOf(string)
  return isUtf8(bytes) ? bytes.toString() : JSON.stringify(legible(parsed(string)))
}

/** A text, or a JSON text, from its bytes. */
export const legibleText = (bytes: Buffer): string =>
  isUtf8(bytes) ? bytes.toString() : legible(bytes.toString("latin1"))

/** A row from the bytes of its JSON object. */
export const legibleRow = (json: Buffer): unknown =>
  isUtf8(json)
    ? JSON.parse(json.toString())
    : JSON.parse(json.toString("latin1"), (_, value: unknown) => (typeof value === "string" ? legible(value) : value))

const marks = /\[not UTF-8: ((?:[0-9a-f]{2})+)\]/g

/** The bytes that a text with marks stands for, each as one character. */
const unmarked = (text: string): string =>
  !text.includes(prefix)
    ? latin1Of(text)
    : isJson(text)
      ? withStrings(text, unmarkedString)
      : latin1Of(text).replaceAll(marks, (mark, hex: string) => {
          const bytes = Buffer.from(hex, "hex")
          return isUtf8(bytes) ? mark : bytes.toString("latin1")
        })

const unmarkedString = (string: string): string =>
  string.includes(prefix) ? JSON.stringify(unmarked(parsed(string))) : latin1Of(string)

/** The bytes that a text with marks stands for; undefined if it has none. */
export const bytesOfMarked = (text: string): Buffer | undefined => {
  if (!text.includes(prefix)) {
    return undefined
  }
  const bytes = bytesOf(unmarked(text))
  return isUtf8(bytes) ? undefined : bytes
}
