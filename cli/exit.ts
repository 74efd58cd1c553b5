/**
 * Exit codes, and the sentence that goes with them: 0 fine; 1 well-formed but refused, not found or failed; 2 wrong whatever
 * the database holds; 3 the database cannot be used.
 */
import type { SqlError } from "@effect/sql/SqlError"
import * as Data from "effect/Data"
import type { AuditError } from "../src/Audit.js"
import type { CaptureError } from "../src/Capture.js"
import type { ExportError } from "../src/Export.js"
import type { MigrationError } from "../src/Migrations.js"
import type { RetentionError } from "../src/Retention.js"
import type { SavedViewError } from "../src/SavedViews.js"
import { fromSqlError, type InvalidRequest, type NotFound, type ThreadlineError } from "../src/ThreadlineError.js"

export type ExitCode = 0 | 1 | 2 | 3

/** Wrong, no matter what the database holds. */
export class UsageError extends Data.TaggedError("UsageError")<{ readonly message: string }> {}

/** Well-formed, and refused. */
export class Refused extends Data.TaggedError("Refused")<{ readonly message: string }> {}

/** There is no database to use. */
export class NoDatabase extends Data.TaggedError("NoDatabase")<{ readonly message: string }> {}

/** The command printed its answer, and the answer is no: exit code 1 without a sentence. */
export class AnsweredNo extends Data.TaggedError("AnsweredNo") {}

export type CliError =
  | AnsweredNo
  | AuditError
  | CaptureError
  | ExportError
  | InvalidRequest
  | MigrationError
  | NoDatabase
  | NotFound
  | Refused
  | RetentionError
  | SavedViewError
  | SqlError
  | ThreadlineError
  | UsageError

export interface Failure {
  readonly code: ExitCode
  readonly sentence: string | undefined
}

const database: ReadonlySet<string> = new Set([
  "Unreachable",
  "TooOld",
  "NotMigrated",
  "NewerSchema",
  "InsufficientPrivilege",
  "RecordHidden",
  "ReadOnly"
])

const ofReason = (reason: string): ExitCode => (database.has(reason) ? 3 : 1)

/** The exit code and the sentence of a failed command. */
export const failure = (error: CliError): Failure => {
  switch (error._tag) {
    case "AnsweredNo":
      return { code: 1, sentence: undefined }
    case "threadline/InvalidRequest":
    case "UsageError":
      return { code: 2, sentence: error.message }
    case "threadline/NotFound":
    case "Refused":
    case "RetentionError":
    case "SavedViewError":
      return { code: 1, sentence: error.message }
    case "NoDatabase":
      return { code: 3, sentence: error.message }
    case "CaptureError":
      return {
        code: ofReason(error.reason),
        sentence: error.reason === "LessRedaction" ? `${error.message} (--allow-less-redaction)` : error.message
      }
    case "ExportError":
      return {
        code: error.reason === "Unsupported" ? 2 : 1,
        sentence: error.reason === "OutputExists" ? `${error.message} (--force replaces a file)` : error.message
      }
    case "AuditError":
    case "MigrationError":
    case "ThreadlineError":
      return { code: ofReason(error.reason), sentence: error.message }
    case "SqlError":
      return failure(fromSqlError(error))
  }
}
