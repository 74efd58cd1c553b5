/**
 * Actions: what someone meant to do, by name. A catalogue gives the names of an application types and schemas for their data.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as AuditContext from "./AuditContext.js"
import { notAnObject, unknownField } from "./internal/core/request.js"
import { type Action, encodeActionSync } from "./internal/intent/action.js"
import type { ActionId, AuditError } from "./internal/intent/errors.js"
import * as actionCatalogue from "./internal/intent/actionCatalogue.js"
import type { Arguments, Definition, Spec } from "./internal/intent/actionCatalogue.js"
import { makeRecorder } from "./internal/intent/recorder.js"
import { storageSchemaName } from "./internal/sql/statement.js"
import { StorageSchema } from "./internal/sql/storageSchema.js"
import { identifier } from "./internal/sql/sqlText.js"
import type { InvalidRequest } from "./ThreadlineError.js"

/**
 * How to name an action, and what its parts are.
 *
 * @since 0.1.0
 * @category models
 */
export type { Action, Details, Entry, Subject } from "./internal/intent/action.js"

/**
 * What a catalogue is made of.
 *
 * @since 0.1.0
 * @category models
 */
export type { Arguments, Definition, Remarks, Spec } from "./internal/intent/actionCatalogue.js"

/**
 * Defines one action. Data is checked by the compiler, and again by its schema when the action is recorded: what does not
 * fit is an `InvalidRequest` before anything runs.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { Audit, Semantics } from "threadline"
 * import { Effect, Schema } from "effect"
 *
 * const postCreated = Semantics.action("post.created", {
 *   data: Schema.Struct({ title: Schema.NonEmptyString }),
 *   verb: "create",
 *   category: "content"
 * })
 *
 * export const program = Audit.transaction(Effect.succeed("written"), {
 *   action: postCreated({ title: "Ship audit logs" }, { subject: { type: "post", id: "1" } })
 * })
 * ```
 */
export const action: <const Name extends string, const S extends Spec = Record<never, never>>(
  name: Name,
  spec?: S
) => Definition<Name, Arguments<S>> = actionCatalogue.action

/**
 * Defines the actions of an application, by name.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { Semantics } from "threadline"
 * import { Schema } from "effect"
 *
 * const Actions = Semantics.catalogue({
 *   "post.created": { data: Schema.Struct({ title: Schema.NonEmptyString }), verb: "create" },
 *   "post.archived": { verb: "archive" }
 * })
 *
 * export const created = Actions["post.created"]({ title: "Ship audit logs" })
 * export const archived = Actions["post.archived"]({ reason: "outdated" })
 * ```
 */
export const catalogue: <const Specs extends { readonly [name: string]: Spec }>(
  specs: Specs
) => { readonly [Name in keyof Specs & string]: Definition<Name, Arguments<Specs[Name]>> } = actionCatalogue.catalogue

/**
 * How to record an action without row changes. Every part of the context that is given here wins over the ambient one.
 *
 * @since 0.1.0
 * @category models
 */
export interface RecordOptions extends AuditContext.Fields {
  /** Why; part of the action. */
  readonly reason?: string | undefined
  /** A remark; part of the action. */
  readonly comment?: string | undefined
  /** `ok` if not given. */
  readonly status?: "ok" | "error" | undefined
  /** Lets an action without an actor be recorded. */
  readonly allowMissingActor?: boolean | undefined
}

/**
 * Records actions.
 *
 * @since 0.1.0
 * @category services
 */
export class Semantics extends Context.Tag("threadline/Semantics")<
  Semantics,
  {
    /**
     * Records an action. In a transaction it belongs to that transaction, and to what this captured; outside it takes one
     * statement of its own.
     */
    readonly record: (action: Action, options?: RecordOptions) => Effect.Effect<ActionId, AuditError | InvalidRequest>
  }
>() {}

/**
 * Records an action; see `Semantics`.
 *
 * @since 0.1.0
 * @category recording
 */
export const record = (
  action: Action,
  options?: RecordOptions
): Effect.Effect<ActionId, AuditError | InvalidRequest, Semantics> =>
  Effect.flatMap(Semantics, (semantics) => semantics.record(action, options))

/**
 * How a client that is not Effect records an action.
 *
 * @since 0.1.0
 * @category models
 */
export interface SqlOptions {
  /** Why; part of the action. */
  readonly reason?: string | undefined
  /** A remark; part of the action. */
  readonly comment?: string | undefined
  /** `ok` if not given. */
  readonly status?: "ok" | "error" | undefined
  /** Who and why; the context of the transaction if not given. */
  readonly context?: AuditContext.Given | undefined
  /** Where Threadline is installed, `threadline` if not given. */
  readonly schema?: string | undefined
}

/**
 * The statement that records an action in a transaction of a client that is not Effect. Its one column `id` is the id of the action,
 * in digits. What is wrong with the action or its context throws `InvalidRequest`.
 *
 * @since 0.1.0
 * @category conversions
 * @example
 * ```ts
 * import { Semantics } from "threadline"
 * import type { Client } from "pg"
 *
 * export const paid = (client: Client, invoice: string) =>
 *   client.query(Semantics.toSql({ name: "invoice.paid", subject: { type: "invoice", id: invoice } }))
 * ```
 */
export const toSql = (action: Action, options: SqlOptions = {}): AuditContext.SqlStatement => {
  const refusal =
    notAnObject(options) ??
    unknownField(options, { reason: true, comment: true, status: true, context: true, schema: true }) ??
    (options.context === undefined ? undefined : AuditContext.invalid(options.context))
  if (refusal !== undefined) {
    throw refusal
  }
  const call = `${identifier(storageSchemaName(options.schema))}.record_action`
  const document = encodeActionSync(action, options, options.status)
  return options.context === undefined
    ? { text: `select ${call}($1::text::jsonb)::text as id`, values: [document] }
    : {
        text: `select ${call}($1::text::jsonb, $2::text::jsonb)::text as id`,
        values: [document, AuditContext.encode(options.context)]
      }
}

/**
 * Records actions through the client of its context.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Semantics, never, SqlClient.SqlClient> = Layer.effect(
  Semantics,
  Effect.map(Effect.all([SqlClient.SqlClient, StorageSchema]), ([sql, schema]) => ({
    record: makeRecorder(sql, schema)
  }))
)
