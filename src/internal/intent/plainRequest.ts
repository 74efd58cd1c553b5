/**
 * What an audited call of a client that is not Effect asks for, checked before anything runs.
 */
import * as AuditContext from "../../AuditContext.js"
import { notAnObject, unknownField } from "../core/request.js"
import { storageSchemaName } from "../sql/statement.js"
import type { Action, Words } from "./action.js"
import { askActor, currentContext, merge } from "./ambient.js"
import { makeAuditError, notOutermost } from "./errors.js"
import type { Level } from "./plainLevel.js"
import { contextFields, contradiction } from "./resolve.js"

/**
 * How to audit a transaction. Every part of the context that is given here wins over the ambient one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<A, Settings> extends AuditContext.Given {
  /** What is meant to happen, or a function that derives it from what the body returned. Kept even if no row changes. */
  readonly action?: Action | ((value: A) => Action) | undefined
  /** Why; part of the action. */
  readonly reason?: string | undefined
  /** Part of the action. */
  readonly comment?: string | undefined
  /** Lets a transaction run without an actor; what it changes is then unattributed. */
  readonly allowMissingActor?: boolean | undefined
  /** Fails with `NoChanges`, and rolls back, if no row was captured. */
  readonly requireChanges?: boolean | undefined
  /**
   * `record` keeps the action of a transaction that failed, with status `error`, in a transaction of its own. The caller always gets
   * the original failure. Of the outermost call only, and not for an action that is a function.
   */
  readonly onFailure?: "discard" | "record" | undefined
  /** What the client lets a transaction be set to, such as its isolation level. Of the outermost call only. */
  readonly transaction?: Settings | undefined
  /** Where Threadline is installed, `threadline` if not given. */
  readonly schema?: string | undefined
}

/**
 * How to record an action without row changes.
 *
 * @since 0.1.0
 * @category models
 */
export interface RecordOptions extends AuditContext.Given, Words {
  /** `ok` if not given. */
  readonly status?: "ok" | "error" | undefined
  /** Lets an action without an actor be recorded. */
  readonly allowMissingActor?: boolean | undefined
  /** Where Threadline is installed, `threadline` if not given. */
  readonly schema?: string | undefined
}

const optionNames = {
  ...contextFields,
  action: true,
  reason: true,
  comment: true,
  allowMissingActor: true,
  requireChanges: true,
  onFailure: true,
  transaction: true,
  schema: true
} as const satisfies Record<keyof Options<never, never>, true>

/** An audited call, with everything checked. */
export interface Request {
  readonly schema: string
  readonly fields: AuditContext.Given
  readonly document: string
}

/** Checks what an audited call asks for, inside another one if there is a parent. */
export const prepare = async <A, Settings>(
  given: Options<A, Settings>,
  parent: Level | undefined
): Promise<Request> => {
  const optionsRefusal = notAnObject(given) ?? unknownField(given, optionNames)
  if (optionsRefusal !== undefined) {
    throw optionsRefusal
  }
  const { action, allowMissingActor, comment, onFailure, reason, requireChanges, schema, transaction, ...explicit } =
    given
  const refusal = contradiction({ action, allowMissingActor, comment, onFailure, reason, requireChanges })
  if (refusal !== undefined) {
    throw refusal
  }
  const storageSchema = storageSchemaName(schema)
  if (parent !== undefined && (transaction !== undefined || onFailure === "record")) {
    const option = transaction === undefined ? "onFailure" : "transaction"
    throw notOutermost(option)
  }
  const { actor, ...ambient } = currentContext()
  const fields = merge(
    explicit.actor !== undefined || explicit.actorError !== undefined
      ? ambient
      : { ...ambient, ...(typeof actor === "function" ? await askActor(actor) : { actor }) },
    explicit
  )
  const contextRefusal = AuditContext.invalid(fields)
  if (contextRefusal !== undefined) {
    throw contextRefusal
  }
  if (
    fields.actor === undefined &&
    fields.actorError === undefined &&
    !(allowMissingActor ?? parent?.allowMissingActor ?? false)
  ) {
    throw makeAuditError("MissingActor", "no actor is set: use withContext, the option actor, or allowMissingActor")
  }
  return { schema: storageSchema, fields, document: AuditContext.encode(fields) }
}
