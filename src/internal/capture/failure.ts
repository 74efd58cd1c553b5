/**
 * How planning and applying fail: errors of the database and of decoding become a `ThreadlineError`.
 */
import { SqlError } from "@effect/sql/SqlError"
import * as ParseResult from "effect/ParseResult"
import { fromSqlError, type InvalidRequest, ThreadlineError } from "../../ThreadlineError.js"
import type { CaptureError } from "./captureError.js"

export type Failure = CaptureError | InvalidRequest | ThreadlineError

export const fromFailure = <E extends CaptureError | InvalidRequest>(
  error: E | SqlError | ParseResult.ParseError | ThreadlineError
): E | ThreadlineError => {
  if (error instanceof SqlError) {
    return fromSqlError(error)
  }
  return ParseResult.isParseError(error)
    ? new ThreadlineError({
        reason: "Failed",
        detail: `the deployed capture policies cannot be read: ${ParseResult.TreeFormatter.formatErrorSync(error)}`
      })
    : error
}
