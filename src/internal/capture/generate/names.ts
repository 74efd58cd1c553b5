/**
 * Names of generated functions and triggers. They derive from the table's name alone: a restore changes every OID.
 */
import { createHash } from "node:crypto"
import type { Op } from "./model.js"

type Event = Op | "truncate"

const events: ReadonlyArray<Event> = ["insert", "update", "delete", "truncate"]

/**
 * A name that is readable and yet never collides: the table's name as far as it fits, and a hash of schema and name.
 */
const suffixOf = (table: { readonly schema: string; readonly name: string }): string => {
  const hash = createHash("sha256").update(`${table.schema}\0${table.name}`).digest("hex").slice(0, 10)
  const readable = table.name.replaceAll(/[^A-Za-z0-9_]/g, "_").slice(0, 34)
  return `${readable}_${hash}`
}

export const functionName = (table: { readonly schema: string; readonly name: string }, event: Event): string =>
  `capture_${event}_${suffixOf(table)}`

/** The functions that a table of this name has. */
export const functionNames = (table: { readonly schema: string; readonly name: string }): ReadonlyArray<string> =>
  events.map((event) => functionName(table, event))

/** Names of triggers; the digit sorts before the names of the host's own triggers. */
export const triggerName = (event: Event): string => `0_threadline_${event}`
