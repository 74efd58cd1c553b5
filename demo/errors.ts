/** What the demo says and exits with when it cannot go on. */
import type { SqlError } from "@effect/sql/SqlError"
import type { ConfigError } from "effect/ConfigError"
import * as Data from "effect/Data"
import { type Audit, type Capture, type Migrations, type SavedViews, ThreadlineError } from "threadline"

/** A sentence for people and an exit code: 1 refused, 2 wrong use, 3 the database cannot be used. */
export class DemoError extends Data.TaggedError("DemoError")<{
  readonly exitCode: 1 | 2 | 3
  readonly message: string
}> {}

type Failure =
  | Audit.AuditError
  | Capture.CaptureError
  | ConfigError
  | DemoError
  | Migrations.MigrationError
  | SavedViews.SavedViewError
  | SqlError
  | ThreadlineError.InvalidRequest
  | ThreadlineError.NotFound
  | ThreadlineError.ThreadlineError

const database: ReadonlySet<string> = new Set([
  "Unreachable",
  "TooOld",
  "NotMigrated",
  "NewerSchema",
  "InsufficientPrivilege"
])

/** Any failure as a sentence and an exit code, the same codes as those of the command `threadline`. */
export const toDemoError = (error: Failure): DemoError => {
  switch (error._tag) {
    case "DemoError":
      return error
    case "SqlError":
      return toDemoError(ThreadlineError.fromSqlError(error))
    case "AuditError":
    case "CaptureError":
    case "MigrationError":
    case "SavedViewError":
    case "ThreadlineError":
      return new DemoError({ exitCode: database.has(error.reason) ? 3 : 1, message: error.message })
    case "threadline/InvalidRequest":
    case "threadline/NotFound":
      return new DemoError({ exitCode: 1, message: error.message })
    default:
      return new DemoError({ exitCode: 2, message: "DATABASE_URL cannot be read" })
  }
}
