/**
 * What it means that a statement failed which holds conditions of the host's: its scopes, or the `where` of a caller.
 */
import type { SqlError } from "@effect/sql/SqlError"
import { escape } from "effect/RegExp"
import { fromSqlError, InvalidRequest, type ThreadlineError } from "../../ThreadlineError.js"
import { type Storage, withoutValue } from "./storage.js"
import { isFromWithin, reasonOf, sqlState } from "../sql/sqlState.js"

/** Threadline's own tables in such statements, which call none of its functions. */
const tables = ["audit_changes", "audit_transactions", "audit_actions"]

/** Whether it is Threadline's own tables that are not there, or not to be read. */
const isOwn = ({ schema }: Storage, state: string, reason: string): boolean =>
  state === "42P01"
    ? tables.some((table) => reason.includes(`"${schema}.${table}"`))
    : state === "42501" && new RegExp(`(?<!\\w)(${[schema, ...tables].map(escape).join("|")})(?!\\w)`).test(reason)

/** Connections, transactions, resources, the server: nothing that a condition says or meets. */
const isOfServer = (state: string): boolean => /^(08|25|28|3D|40|53|54|55|57|58|XX)/.test(state)

/** Names and types that the database does not know: such a message is about the text of a statement, not about rows. */
const isOfText = (state: string): boolean => /^(0A|3F|42)/.test(state)

/**
 * The error of a statement with conditions of the host's; `field` names those that are to blame. What the database says of a
 * condition that it does not understand is told; what it says of one that failed on a stored value repeats the value, and is not.
 */
export const onConditionError =
  (storage: Storage, field: "scope" | "where" = "scope") =>
  (error: SqlError): InvalidRequest | ThreadlineError => {
    const state = sqlState(error)
    if (field === "scope" && storage.scopes.length === 0) {
      return withoutValue(error)
    }
    const reason = reasonOf(error)
    if (state === undefined || isOfServer(state) || isOwn(storage, state, reason)) {
      return fromSqlError(error)
    }
    const rule =
      isOfText(state) && !isFromWithin(error)
        ? `is not understood by the database: ${reason}`
        : `must hold or not for everything that is stored; something fails it (${state})`
    return new InvalidRequest({ field, rule })
  }
