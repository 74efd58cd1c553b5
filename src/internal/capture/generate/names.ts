/**
 * Names of generated functions and triggers. They derive from the table's name alone, because a restore changes every OID.
 */
import { createHash } from "node:crypto"
import type { Purpose } from "./model.js"

interface TableName {
  readonly schema: string
  readonly name: string
}

/** Purposes of functions that only Threadline may use in triggers. */
const guarded: ReadonlyArray<Purpose> = ["insert", "update", "delete", "truncate", "begin"]

/** Purposes of functions that every role may execute. */
const open: ReadonlyArray<Purpose> = ["insert", "update", "delete", "leave", "enter"]

const hashOf = (table: TableName): string =>
  createHash("sha256").update(`${table.schema}\0${table.name}`).digest("hex").slice(0, 10)

/**
 * A name that is readable and never collides: the table's name as far as it fits, and a hash of schema and name.
 */
const suffixOf = (table: TableName): string => {
  const readable = table.name.replaceAll(/[^A-Za-z0-9_]/g, "_").slice(0, 34)
  return `${readable}_${hashOf(table)}`
}

const guardedBeginning = (purpose: Purpose): string => `capture_${purpose}_`

const openBeginning = (purpose: Purpose): string => `open_${purpose}_`

/** What the name of every trigger function begins with. */
const beginnings = [...guarded.map(guardedBeginning), ...open.map(openBeginning)]

const watchful = "unaltered_"

export const functionName = (table: TableName, purpose: Purpose): string =>
  `${guardedBeginning(purpose)}${suffixOf(table)}`

/** The name says that every role may execute the function: the database relies on it (`is_open_function`). */
export const openFunctionName = (table: TableName, purpose: Purpose): string =>
  `${openBeginning(purpose)}${suffixOf(table)}`

/** The function by which the others ask whether the table was altered (`make_watchful`). It is no trigger function. */
export const watchfulName = (table: TableName): string => `${watchful}${suffixOf(table)}`

export const isWatchful = (functionName: string): boolean => functionName.startsWith(watchful)

/** The name of that function for the table that a trigger function was generated for. */
export const watchfulOf = (triggerFunction: string): string => {
  const beginning = beginnings.find((each) => triggerFunction.startsWith(each))
  return beginning === undefined ? triggerFunction : `${watchful}${triggerFunction.slice(beginning.length)}`
}

/** The names of all functions that a table of this name can have. */
export const functionNames = (table: TableName): ReadonlyArray<string> => {
  const suffix = suffixOf(table)
  return [watchful, ...beginnings].map((beginning) => `${beginning}${suffix}`)
}

/** Names of triggers; the digit sorts before the names of the host's own triggers. "route" has no function of its own. */
export const triggerName = (purpose: Purpose | "route"): string => `0_threadline_${purpose}`

/**
 * The same for a row trigger that PostgreSQL clones to partitions. A partition may be a captured table that was attached, which has
 * triggers of its own: the names must differ, or the table could not be attached.
 */
export const clonedTriggerName = (table: TableName, purpose: Purpose | "route"): string =>
  `${triggerName(purpose)}_${hashOf(table)}`
