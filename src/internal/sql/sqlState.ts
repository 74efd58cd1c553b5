/**
 * What the server says of a failed statement.
 */
import { SqlError } from "@effect/sql/SqlError"
import * as Predicate from "effect/Predicate"
import { ownFunctions } from "./ownFunctions.js"

/** Fields of the server's report that hold names and no value of a row. */
const nameFields = [
  "severity",
  "code",
  "schema",
  "table",
  "column",
  "dataType",
  "constraint",
  "file",
  "line",
  "routine"
] as const

const textOf = (
  error: SqlError,
  field: "message" | "position" | "where" | (typeof nameFields)[number]
): string | undefined => {
  const text = Predicate.hasProperty(error.cause, field) ? error.cause[field] : undefined
  return typeof text === "string" && text !== "" ? text : undefined
}

/**
 * The SQLSTATE behind a `SqlError`, or undefined if the server never answered (a socket error has a code of another
 * form, such as `ECONNREFUSED` or `EPIPE`).
 */
export const sqlState = (error: SqlError): string | undefined => {
  const code = textOf(error, "code")
  return code !== undefined && /^(?=.*[0-9])[0-9A-Z]{5}$/.test(code) ? code : undefined
}

/**
 * Whether a statement was refused because row-level security would hide rows from it (`row_security = off`). It has the SQLSTATE of
 * a missing privilege, and its text is translated.
 */
export const isRowSecurity = (error: SqlError): boolean => textOf(error, "routine") === "check_enable_rls"

/**
 * Whether something was to be written where nothing can be. A replica answers BEGIN READ WRITE with the SQLSTATE of whatever is not
 * supported: it is told from others by the check of a setting that is on or off.
 */
export const isReadOnly = (error: SqlError): boolean =>
  sqlState(error) === "25006" || (sqlState(error) === "0A000" && textOf(error, "routine") === "call_bool_check_hook")

/** Messages that our own SQL raises begin with this. So the log of the server shows where they come from. */
const signature = "threadline: "

/** What node-postgres says of a server that asks for a password that it does not have, or that is empty. */
const noPassword = /^SASL: .*client password must be a (non-empty )?string$/

/** What is wrong, in the words of the server or the driver. */
export const reasonOf = (error: SqlError): string => {
  const reason = textOf(error, "message") ?? textOf(error, "code") ?? error.message
  if (noPassword.test(reason)) {
    return "it asks for a password, and none is given"
  }
  return reason.startsWith(signature) ? reason.slice(signature.length) : reason
}

/** The error with what the server says as its message, in place of the driver's "Failed to execute statement". */
export const withReason = (error: SqlError): SqlError => new SqlError({ cause: error.cause, message: reasonOf(error) })

/** The place in the text of the statement, counted from 0. Undefined if the error is not about the text. */
export const positionOf = (error: SqlError): number | undefined => {
  const position = textOf(error, "position")
  return position === undefined ? undefined : Number(position) - 1
}

/** Whether the error comes from something that the statement calls, and not from the statement itself. */
export const isFromWithin = (error: SqlError): boolean => textOf(error, "where") !== undefined

/** The innermost function in the server's report of where an error came from. */
const functionLine = /^PL\/pgSQL\S* +(?:\S+ +)?((?:"[^"]+"|[^\s".(]+)(?:\.(?:"[^"]+"|[^\s".(]+))?)\(/m

const nameAlone = (name: string): string => name.replace(/^(?:"[^"]+"|[^".]+)[.]/, "")

/**
 * The function of the host's in which a statement of ours failed, written as in SQL. Creating or altering an object fires the
 * event triggers of the database, and they run as the role that owns the record.
 */
export const hostFunctionOf = (error: SqlError): string | undefined => {
  const name = functionLine.exec(textOf(error, "where") ?? "")?.[1]
  return name === undefined || ownFunctions.has(nameAlone(name)) ? undefined : name
}

/** What is wrong, in the words of the server, and which function said it. */
export const reasonWithCause = (error: SqlError): string => {
  const host = hostFunctionOf(error)
  return host === undefined
    ? reasonOf(error)
    : `${reasonOf(error)}; this is what ${host}() of this database says, which its event triggers run, here as the owner of the record`
}

/** Whether the connection is gone. The last words of the server tell it, or the driver's error if the server says nothing more. */
export const isConnectionLost = (error: SqlError): boolean => {
  const cause = error.cause
  const state = sqlState(error)
  if (state !== undefined) {
    return (
      state.startsWith("08") ||
      state.startsWith("57P") ||
      (Predicate.hasProperty(cause, "severity") && (cause.severity === "FATAL" || cause.severity === "PANIC"))
    )
  }
  if (Predicate.hasProperty(cause, "code") && typeof cause.code === "string" && /^E[A-Z]+$/.test(cause.code)) {
    return true
  }
  return (
    Predicate.hasProperty(cause, "message") &&
    typeof cause.message === "string" &&
    /connection terminated|not queryable/i.test(cause.message)
  )
}

/**
 * Whether no connection could be had: the server was not reached, or refused it. `28` (the login), `3D000` (the database), `53300` (too many
 * connections) and `57P03` (the server starts or stops) are answers to a new connection only.
 */
export const isUnreachable = (error: SqlError): boolean => {
  const cause = error.cause
  const state = sqlState(error)
  if (state !== undefined) {
    return /^(28|3D000|53300|57P03)/.test(state)
  }
  return (
    (Predicate.hasProperty(cause, "syscall") && (cause.syscall === "connect" || cause.syscall === "getaddrinfo")) ||
    // If a host has several addresses, the error of all of them has only a code.
    textOf(error, "code") === "ECONNREFUSED" ||
    /connection timeout|trying to connect/.test(textOf(error, "message") ?? "")
  )
}

/** A cancellation hit the statement. */
export const isCancelled = (error: SqlError): boolean => sqlState(error) === "57014"

/** The driver knew that the connection was gone and sent nothing. */
export const wasNeverSent = (error: { readonly cause?: unknown }): boolean =>
  Predicate.hasProperty(error.cause, "message") &&
  typeof error.cause.message === "string" &&
  error.cause.message.includes("not queryable")

/**
 * SQLSTATEs whose messages hold names and no values: those of constraints, privileges, objects, locks, limits and connections, and
 * those of our own functions.
 */
const saysOnlyNames = /^(?:08|23|25|28|3|40|42|53|54|55|57|TL)/

/**
 * The error for people who may not see rows: without what the server repeats of them. Details have keys and whole rows, and a message has a
 * value that could not be converted, or what a function of the host wrote into it.
 */
export const withoutValues = (error: SqlError): SqlError => {
  const state = sqlState(error)
  if (state === undefined) {
    return error
  }
  const isSaid = saysOnlyNames.test(state) && (state.startsWith("TL") || !isFromWithin(error))
  const cause = Object.assign(
    new Error(isSaid ? reasonOf(error) : `SQLSTATE ${state}; the message is left out, because it may hold values`),
    Object.fromEntries(
      nameFields.flatMap((field) => {
        const text = textOf(error, field)
        return text === undefined ? [] : [[field, text]]
      })
    )
  )
  return new SqlError({ message: error.message, cause })
}
