/**
 * The errors and ids that everything about intent shares. Public through `Audit`.
 */
import type { SqlError } from "@effect/sql/SqlError"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import { fromSqlError } from "../../ThreadlineError.js"
import { isConnectionLost, sqlState, withoutValues } from "../sql/sqlState.js"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("threadline/AuditError")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * The id of a row of `audit_transactions`, in decimal digits.
 *
 * @since 0.1.0
 * @category ids
 */
export const TransactionId = Schema.String.pipe(Schema.pattern(/^[0-9]+$/), Schema.brand("threadline/TransactionId"))

/**
 * @since 0.1.0
 * @category ids
 */
export type TransactionId = typeof TransactionId.Type

/**
 * The id of a row of `audit_actions`, in decimal digits.
 *
 * @since 0.1.0
 * @category ids
 */
export const ActionId = Schema.String.pipe(Schema.pattern(/^[0-9]+$/), Schema.brand("threadline/ActionId"))

/**
 * @since 0.1.0
 * @category ids
 */
export type ActionId = typeof ActionId.Type

/**
 * Why an audited call failed.
 *
 * - `MissingActor`: no actor is set, and `allowMissingActor` was not given. Nothing ran.
 * - `InvalidContext`: of a call of `define`, the ambient context or what `action` returned is wrong. Rolled back; `cause` is the
 *   `InvalidRequest`.
 * - `NotOutermost`: an option of the outermost call (`isolation`, `retry`; of other clients `transaction`, `onFailure: "record"`) was
 *   given to a call inside a transaction. Nothing ran.
 * - `NoChanges`: `requireChanges` was asked and no row was captured. Rolled back.
 * - `TransactionAborted`: the body succeeded although one of its statements had failed and aborted the transaction. Rolled
 *   back; `sqlState` and `cause` are those of the statement, if they are known.
 * - `EndedByBody`: the body ended the transaction, with a COMMIT or ROLLBACK of its own, or its context, with a RESET ALL. A COMMIT
 *   or ROLLBACK decided what became of the writes before it; writes after it are unattributed, or rolled back with the transaction
 *   that the body began for them. After a RESET ALL everything is rolled back.
 * - `CommitFailed`: COMMIT was refused, by a deferred constraint for example. Rolled back.
 * - `ConnectionLost`: the connection was lost before COMMIT was sent. The server rolled back.
 * - `OutcomeUnknown`: the connection was lost while COMMIT, or a `record` outside of a transaction, was under way: it may or may not
 *   have happened. Never retried.
 * - `Closed`: the transaction this belongs to has ended. Nothing was written.
 * - `Unreachable`: no connection could be had.
 * - `NotMigrated`: the Threadline schema is missing or behind; run `threadline migrate up`.
 * - `InsufficientPrivilege`: the role lacks a grant; `threadline grant` gives it.
 * - `Failed`: any other failure of a statement of Threadline's own; `sqlState` says which. Rolled back.
 *
 * @since 0.1.0
 * @category errors
 */
export const AuditReason = Schema.Literal(
  "MissingActor",
  "InvalidContext",
  "NotOutermost",
  "NoChanges",
  "TransactionAborted",
  "EndedByBody",
  "CommitFailed",
  "ConnectionLost",
  "OutcomeUnknown",
  "Closed",
  "Unreachable",
  "NotMigrated",
  "InsufficientPrivilege",
  "Failed"
)

/**
 * @since 0.1.0
 * @category errors
 */
export type AuditReason = typeof AuditReason.Type

/**
 * An audited call failed, and not because the host's own effect failed. `detail` is a sentence for people that holds no identity
 * and no value. `cause` has what the server said, with its SQLSTATE and the names of the table and the constraint, but without values
 * of rows.
 *
 * @since 0.1.0
 * @category errors
 */
export class AuditError extends Schema.TaggedError<AuditError>("threadline.AuditError")("AuditError", {
  reason: AuditReason,
  detail: Schema.String,
  sqlState: Schema.optional(Schema.String),
  cause: Schema.optional(Schema.Defect)
}) {
  /** @since 0.1.0 */
  readonly [TypeId]: TypeId = TypeId
  /** @since 0.1.0 */
  static is(u: unknown): u is AuditError {
    return Predicate.isTagged(u, "AuditError") && Predicate.hasProperty(u, TypeId)
  }
  override get message(): string {
    return this.detail
  }
}

/**
 * What an audited transaction returns, always in this shape.
 *
 * @since 0.1.0
 * @category models
 */
export interface Audited<A> {
  /** What the body returned. */
  readonly value: A
  /**
   * The audit transaction that holds what was captured; none if nothing was. A call inside a transaction that shares the
   * context of the enclosing one shares its audit transaction, too.
   */
  readonly transactionId: Option.Option<TransactionId>
  /** The action that this call recorded; none if it had no action. */
  readonly actionId: Option.Option<ActionId>
}

export type Ids = Pick<Audited<never>, "transactionId" | "actionId">

export const makeAuditError = (reason: AuditReason, detail: string, cause?: SqlError): AuditError => {
  const state = cause === undefined ? undefined : sqlState(cause)
  return new AuditError({
    reason,
    detail,
    ...(state === undefined ? {} : { sqlState: state }),
    ...(cause === undefined ? {} : { cause: withoutValues(cause) })
  })
}

export const closed = (): AuditError => makeAuditError("Closed", "the audited transaction has ended")

/** An option of this call that only the outermost one may have. */
export const notOutermost = (option: string): AuditError =>
  makeAuditError("NotOutermost", `${option} belongs to the outermost transaction, and this call is inside one`)

export const noChanges = (error: SqlError): AuditError =>
  makeAuditError("NoChanges", "the transaction was to capture a change and captured none; it was rolled back", error)

/** Why a transaction is aborted, although its body did not fail. */
export const wentOn = "a statement failed, which aborts a transaction, and the body went on as if it had not"

/** What is known of a COMMIT whose connection was lost. */
export const commitUnknown =
  "the connection was lost while COMMIT was under way: the transaction may or may not have been committed"

export const noActionId = (): AuditError =>
  makeAuditError("Failed", "the database returned no id for the recorded action")

/** A failed statement of Threadline's own, other than COMMIT. */
export const fromStatement = (error: SqlError): AuditError => {
  if (AuditError.is(error.cause)) {
    return error.cause
  }
  if (isConnectionLost(error)) {
    return connectionLost(error)
  }
  const { detail, reason } = fromSqlError(error)
  return makeAuditError(
    reason === "NotMigrated" || reason === "InsufficientPrivilege" ? reason : "Failed",
    detail,
    error
  )
}

/** No connection could be had. */
export const unreachable = (error: SqlError): AuditError =>
  makeAuditError("Unreachable", fromSqlError(error).detail, error)

export const connectionLost = (error: SqlError): AuditError =>
  makeAuditError(
    "ConnectionLost",
    "the connection was lost before COMMIT was sent, so the server rolled the transaction back",
    error
  )

/** A statement that records an action in a transaction of its own failed with its connection. */
export const recordedOrNot = (error: SqlError): AuditError =>
  makeAuditError(
    "OutcomeUnknown",
    "the connection was lost while the action was being recorded: it may or may not have been",
    error
  )

/** Whether an error says that a transaction may or may not have been committed. */
export const isOutcomeUnknown = (error: unknown): boolean => AuditError.is(error) && error.reason === "OutcomeUnknown"

/** SQLSTATEs of serialization failures and deadlocks: running the transaction once more may succeed. */
export const serializationStates: ReadonlySet<unknown> = new Set(["40001", "40P01"])

/** Whether an error, or one that it wraps, says that running the transaction once more may succeed. */
export const isSerializationFailure = (error: unknown): boolean => {
  let current = error
  for (let depth = 0; depth < 8 && typeof current === "object" && current !== null; depth++) {
    if (
      ("code" in current && serializationStates.has(current.code)) ||
      ("sqlState" in current && serializationStates.has(current.sqlState))
    ) {
      return true
    }
    current = "cause" in current ? current.cause : undefined
  }
  return false
}

const isId = (value: unknown): value is string => typeof value === "string" && /^[0-9]+$/.test(value)

/** Reads what `finish` returned, as text. By hand, because every transaction ends with it. */
export const decodeIds = (text: unknown): Option.Option<Ids> => {
  if (typeof text !== "string" || !text.startsWith("{")) {
    return Option.none()
  }
  const { actionId, transactionId } = JSON.parse(text) as { readonly [key in keyof Ids]?: unknown }
  return Option.some({
    transactionId: isId(transactionId) ? Option.some(transactionId as TransactionId) : Option.none(),
    actionId: isId(actionId) ? Option.some(actionId as ActionId) : Option.none()
  })
}

/** Reads the setting that names the row which captures go to: "<id> <ctid>", or something without an id if there is none. */
export const decodeSetting = (text: unknown): Option.Option<Ids> => {
  if (typeof text !== "string") {
    return Option.none()
  }
  const id = /^([0-9]{1,18}) /.exec(text)?.[1]
  return Option.some({
    transactionId: id === undefined ? Option.none() : Option.some(id as TransactionId),
    actionId: Option.none()
  })
}

/** Reads what `record_action` returned, as text. */
export const decodeActionId: (text: unknown) => Option.Option<ActionId> = Schema.decodeUnknownOption(ActionId)
