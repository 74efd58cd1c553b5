/**
 * Errors shared by every service. What belongs to one service (`AuditError`, `CaptureError`, `MigrationError`) lives there.
 *
 * @since 0.1.0
 */
import type { SqlError } from "@effect/sql/SqlError"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import { withSuggestion } from "./internal/core/suggest.js"
import { isReadOnly, isRowSecurity, reasonOf, sqlState } from "./internal/sql/sqlState.js"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("threadline/ThreadlineError")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

const joined = (parts: ReadonlyArray<string | { readonly field: string }>, nameOf: (field: string) => string): string =>
  parts.map((part) => (typeof part === "string" ? part : nameOf(part.field))).join("")

/**
 * An input that is wrong whatever the database holds: `field` names the input, `rule` what it broke. `parts` is the rule taken apart, if
 * it names other fields: `ruleWith` calls these as your users know them. `suggestion` is what was probably meant, if that is known: the
 * column of a key with a similar name. Its tag is `threadline/InvalidRequest`.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidRequest extends Schema.TaggedError<InvalidRequest>("threadline.InvalidRequest")(
  "threadline/InvalidRequest",
  {
    field: Schema.String,
    rule: Schema.String,
    parts: Schema.optional(Schema.Array(Schema.Union(Schema.String, Schema.Struct({ field: Schema.String })))),
    suggestion: Schema.optional(Schema.String)
  }
) {
  /** @since 0.1.0 */
  readonly [TypeId]: TypeId = TypeId
  /**
   * A rule that names other fields, in parts.
   *
   * @since 0.1.0
   */
  static of(field: string, ...parts: ReadonlyArray<string | { readonly field: string }>): InvalidRequest {
    return new InvalidRequest({ field, rule: joined(parts, (name) => name), parts })
  }
  /**
   * The rule with the fields that it names called as `nameOf` says, such as the options of a command.
   *
   * @since 0.1.0
   */
  ruleWith(nameOf: (field: string) => string): string {
    return this.parts === undefined ? this.rule : joined(this.parts, nameOf)
  }
  /** @since 0.1.0 */
  static is(u: unknown): u is InvalidRequest {
    return Predicate.isTagged(u, "threadline/InvalidRequest") && Predicate.hasProperty(u, TypeId)
  }
  override get message(): string {
    return withSuggestion(`${this.field}: ${this.rule}`, this.suggestion)
  }
}

/**
 * A well-formed name or id that the database does not have. `suggestion` is the name that was probably meant, if there is one: of a
 * captured table or a column with a similar name, or of the table that a partition belongs to. Its tag is `threadline/NotFound`, so that it is not taken for the
 * `NotFound` of `@effect/platform`.
 *
 * @since 0.1.0
 * @category errors
 * @example
 * ```ts
 * import { Query } from "threadline"
 * import * as Effect from "effect/Effect"
 *
 * export const title = Query.asOf("posts", "1", "2026-11-22T10:00:00Z").pipe(
 *   Effect.catchTag("threadline/NotFound", () => Effect.succeed(undefined))
 * )
 * ```
 */
export class NotFound extends Schema.TaggedError<NotFound>("threadline.NotFound")("threadline/NotFound", {
  subject: Schema.Literal(
    "table",
    "column",
    "row",
    "transaction",
    "change",
    "action",
    "export",
    "schedule",
    "view",
    "run"
  ),
  id: Schema.String,
  detail: Schema.optional(Schema.String),
  suggestion: Schema.optional(Schema.String)
}) {
  /** @since 0.1.0 */
  readonly [TypeId]: TypeId = TypeId
  /** @since 0.1.0 */
  static is(u: unknown): u is NotFound {
    return Predicate.isTagged(u, "threadline/NotFound") && Predicate.hasProperty(u, TypeId)
  }
  override get message(): string {
    const detail = this.detail === undefined ? "" : `: ${this.detail}`
    return withSuggestion(`${this.subject} ${this.id} is not known here${detail}`, this.suggestion)
  }
}

/**
 * Why the database cannot be used.
 *
 * - `Unreachable`: nothing answers, or the connection was lost.
 * - `TooOld`: the server is older than PostgreSQL 15.
 * - `NotMigrated`: the Threadline schema is missing or behind; run `threadline migrate up`.
 * - `NewerSchema`: the schema was migrated by a newer Threadline.
 * - `InsufficientPrivilege`: the role lacks a grant; `threadline grant` gives it.
 * - `RecordHidden`: row-level security may hide rows of the record from this role, or from the owner of the record.
 * - `ReadOnly`: something is to be written, and the server is a replica, or the transaction is read-only.
 * - `Failed`: any other failure of a statement; `sqlState` says which.
 *
 * @since 0.1.0
 * @category errors
 */
export const Reason = Schema.Literal(
  "Unreachable",
  "TooOld",
  "NotMigrated",
  "NewerSchema",
  "InsufficientPrivilege",
  "RecordHidden",
  "ReadOnly",
  "Failed"
)

/**
 * @since 0.1.0
 * @category errors
 */
export type Reason = typeof Reason.Type

/**
 * The database cannot be used, or a statement of Threadline's own failed. `detail` is a sentence for people and holds no
 * captured value and no credential.
 *
 * @since 0.1.0
 * @category errors
 */
export class ThreadlineError extends Schema.TaggedError<ThreadlineError>("threadline.ThreadlineError")(
  "ThreadlineError",
  {
    reason: Reason,
    detail: Schema.String,
    sqlState: Schema.optional(Schema.String),
    cause: Schema.optional(Schema.Defect)
  }
) {
  /** @since 0.1.0 */
  readonly [TypeId]: TypeId = TypeId
  /** @since 0.1.0 */
  static is(u: unknown): u is ThreadlineError {
    return Predicate.isTagged(u, "ThreadlineError") && Predicate.hasProperty(u, TypeId)
  }
  override get message(): string {
    return this.detail
  }
}

/**
 * What a failed statement of Threadline's own means for its caller.
 *
 * @since 0.1.0
 * @category conversions
 */
export const fromSqlError = (error: SqlError): ThreadlineError => {
  const state = sqlState(error)
  const make = (reason: Reason, detail: string) =>
    new ThreadlineError({ reason, detail, cause: error, ...(state === undefined ? {} : { sqlState: state }) })
  if (state === undefined || state.startsWith("08") || state.startsWith("57P") || state === "3D000") {
    return make("Unreachable", `the database cannot be reached: ${reasonOf(error)}`)
  }
  if (state.startsWith("28")) {
    return make("Unreachable", `the database refused the connection: ${reasonOf(error)}`)
  }
  if (isRowSecurity(error)) {
    return make(
      "RecordHidden",
      `row-level security may hide rows of the record (${reasonOf(error)}): disable it on its tables, or let the role bypass it`
    )
  }
  if (state === "42501") {
    return make(
      "InsufficientPrivilege",
      `the database role lacks a privilege (${reasonOf(error)}); "threadline grant" gives it`
    )
  }
  if (isReadOnly(error)) {
    return make(
      "ReadOnly",
      `nothing can be written here (${reasonOf(error)}): neither a replica nor a read-only transaction takes writes`
    )
  }
  if (state === "3F000" || state === "42P01" || state === "42883") {
    return make(
      "NotMigrated",
      `the Threadline schema is not installed here or is behind (${reasonOf(error)}); run "threadline migrate up"`
    )
  }
  return make("Failed", `the database refused a statement: ${reasonOf(error)}`)
}
