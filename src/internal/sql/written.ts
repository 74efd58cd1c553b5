/**
 * Statements with their values written into them. PostgreSQL runs COPY of a query without parameters. A value becomes a literal
 * without a type, like the text that the driver would send. So the statement keeps its meaning.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import { type Fragment, FragmentId, type Segment } from "@effect/sql/Statement"
import * as Predicate from "effect/Predicate"
import { literal } from "./sqlText.js"

/** Thrown if a value of the statement cannot be written as a literal in its own place. */
export class Unwritable extends Error {}

const pad = (value: number, width = 2): string => String(value).padStart(width, "0")

/**
 * A date as the driver sends it: the time of this process with its offset. A `timestamp` takes the time alone, a `timestamptz`
 * takes both.
 */
const dateText = (date: Date): string => {
  const offset = -date.getTimezoneOffset()
  const year = date.getFullYear()
  const zone = `${offset < 0 ? "-" : "+"}${pad(Math.floor(Math.abs(offset) / 60))}:${pad(Math.abs(offset) % 60)}`
  return (
    `${pad(year < 1 ? 1 - year : year, 4)}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}` +
    `T${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}.${pad(date.getMilliseconds(), 3)}` +
    `${zone}${year < 1 ? " BC" : ""}`
  )
}

const bytesText = (bytes: ArrayBufferView): string =>
  `\\x${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex")}`

const elementText = (value: unknown): string => {
  if (Array.isArray(value)) {
    return arrayText(value)
  }
  const text = textOf(value)
  return text === null ? "NULL" : `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`
}

const arrayText = (values: ReadonlyArray<unknown>): string => `{${values.map(elementText).join(",")}}`

/** The text of a value as the driver sends it. */
const textOf = (value: unknown): string | null => {
  if (value === null || value === undefined) {
    return null
  }
  if (typeof value === "string") {
    return value
  }
  if (typeof value === "number" || typeof value === "bigint" || typeof value === "boolean") {
    return String(value)
  }
  if (typeof value !== "object") {
    throw new Unwritable()
  }
  if (ArrayBuffer.isView(value)) {
    return bytesText(value)
  }
  if (value instanceof Date) {
    return dateText(value)
  }
  if (Array.isArray(value)) {
    return arrayText(value)
  }
  return Predicate.hasProperty(value, "toPostgres") && typeof value.toPostgres === "function"
    ? textOf((value.toPostgres as (prepare: (value: unknown) => string | null) => unknown)(textOf))
    : JSON.stringify(value)
}

/** Writes a string as an SQL expression. */
export type Write = (text: string) => string

const valueOf = (write: Write, value: unknown): string => {
  const text = textOf(value)
  return text === null ? "null" : write(text)
}

/** A statement without parameters that says the same. Throws `Unwritable`. */
export const written = (sql: SqlClient, statement: Fragment, write: Write = literal): string => {
  const compiled = (segments: ReadonlyArray<Segment>) =>
    sql`${{ [FragmentId]: statement[FragmentId], segments } as Fragment}`.compile(true)

  const withoutValues = (segment: Segment): Segment => {
    switch (segment._tag) {
      case "Identifier":
        return segment
      case "Literal":
        if (segment.params !== undefined && segment.params.length > 0) {
          throw new Unwritable()
        }
        return segment
      case "Parameter":
        return { _tag: "Literal", value: valueOf(write, segment.value) }
      case "ArrayHelper":
        return { _tag: "Literal", value: `(${segment.value.map((value) => valueOf(write, value)).join(", ")})` }
      default: {
        // A value that the client knows how to send, such as JSON: one parameter, and nothing beside it.
        const [text, values] = compiled([segment])
        if (text !== "$1" || values.length !== 1) {
          throw new Unwritable()
        }
        return { _tag: "Literal", value: valueOf(write, values[0]) }
      }
    }
  }
  return compiled(statement.segments.map(withoutValues))[0]
}
