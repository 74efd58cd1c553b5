import type { SqlError } from "@effect/sql/SqlError"
import * as Predicate from "effect/Predicate"

/**
 * The SQLSTATE behind a `SqlError`, or undefined where the server never answered (a socket error has a code of another
 * form, such as `ECONNREFUSED` or `EPIPE`).
 */
export const sqlState = (error: SqlError): string | undefined =>
  Predicate.hasProperty(error.cause, "code") &&
  typeof error.cause.code === "string" &&
  /^(?=.*[0-9])[0-9A-Z]{5}$/.test(error.cause.code)
    ? error.cause.code
    : undefined
