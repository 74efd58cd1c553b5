/**
 * Audited transactions: what changes inside one is recorded with who did it and why, in the same database transaction.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as AuditContext from "./AuditContext.js"
import { encodeActionSync } from "./internal/intent/action.js"
import { type ActionId, AuditError, type Audited, type AuditReason } from "./internal/intent/errors.js"
import { invalidContext } from "./internal/intent/refusals.js"
import { contradiction } from "./internal/intent/resolve.js"
import { type AuditScope, make, type Options, type ScopedOptions } from "./internal/intent/service.js"
import { type NoChanges, tagged, type Unavailable } from "./internal/intent/tagged.js"
import { StorageSchema } from "./internal/sql/storageSchema.js"
import type { Action, RecordOptions } from "./Semantics.js"
import type { InvalidRequest } from "./ThreadlineError.js"

/**
 * Results, ids and errors.
 *
 * @since 0.1.0
 * @category models
 */
export { NoChanges, Unavailable } from "./internal/intent/tagged.js"

/**
 * Results, ids and errors.
 *
 * @since 0.1.0
 * @category models
 */
export { ActionId, type Audited, AuditError, AuditReason, TransactionId, TypeId } from "./internal/intent/errors.js"

/**
 * How to audit.
 *
 * @since 0.1.0
 * @category models
 */
export type { AuditScope, Options, ScopedOptions } from "./internal/intent/service.js"

/**
 * Audits transactions. The members do what the functions of the same names do.
 *
 * @since 0.1.0
 * @category services
 */
export class Audit extends Context.Tag("threadline/Audit")<
  Audit,
  {
    /** Runs an effect in an audited transaction. */
    readonly transaction: <A, E, R>(
      effect: Effect.Effect<A, E, R>,
      options?: Options<A>
    ) => Effect.Effect<Audited<A>, E | AuditError | InvalidRequest, R>
    /** Opens an audited transaction for the length of a scope. */
    readonly scoped: (options?: ScopedOptions) => Effect.Effect<AuditScope, AuditError | InvalidRequest, Scope.Scope>
    /** Records an action without row changes. */
    readonly record: (action: Action, options?: RecordOptions) => Effect.Effect<ActionId, AuditError | InvalidRequest>
  }
>() {}

/**
 * Runs an effect in a transaction, in which everything it changes through the same `SqlClient` is recorded with actor and
 * action.
 *
 * The outermost call owns its transaction and is all or nothing, however it ends. Inside another audited call, or inside the
 * host's own `sql.withTransaction`, it is a savepoint: its failure undoes its own part only, its context governs its own part
 * only, and what it did lasts if the enclosing transaction does. Audited calls inside the same transaction take turns; a
 * plain statement of another fiber that runs meanwhile shares the savepoint of the call whose turn it is, and its fate.
 *
 * The connection of a transaction serves every client of the process that asks for one (`@effect/sql` has one tag for all), so
 * use one client inside. Statements are refused once the transaction has ended.
 *
 * @since 0.1.0
 * @category transactions
 * @example
 * ```ts
 * import { Actor, Audit, AuditContext } from "threadline"
 * import { SqlClient } from "@effect/sql"
 * import { Effect } from "effect"
 *
 * const createPost = (title: string) =>
 *   Effect.flatMap(SqlClient.SqlClient, (sql) => sql`insert into posts ${sql.insert({ title })} returning id`)
 *
 * export const program = Audit.transaction(createPost("Ship audit logs"), {
 *   action: "post.created",
 *   reason: "launch"
 * }).pipe(AuditContext.withActor(Actor.user("42", { label: "billing desk" })))
 * ```
 */
export const transaction: {
  /** For `pipe`. Runs an effect in an audited transaction, and adds the ids of what was recorded to its value. */
  (
    options?: Options
  ): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<Audited<A>, E | AuditError | InvalidRequest, R | Audit>
  /**
   * For `pipe`, with an action that is made from the value. Runs an effect in an audited transaction, and adds the ids of what was
   * recorded to its value.
   */
  <A>(
    options: Options<A>
  ): <E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<Audited<A>, E | AuditError | InvalidRequest, R | Audit>
  /** Runs an effect in an audited transaction, and adds the ids of what was recorded to its value. */
  <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    options?: Options<A>
  ): Effect.Effect<Audited<A>, E | AuditError | InvalidRequest, R | Audit>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    options?: Options<A>
  ): Effect.Effect<Audited<A>, E | AuditError | InvalidRequest, R | Audit> =>
    Effect.flatMap(Audit, (audit) => audit.transaction(effect, options))
)

/**
 * Like `transaction`, and returns the value alone: for code that does not ask for the ids. It takes the place of
 * `sql.withTransaction`.
 *
 * @since 0.1.0
 * @category transactions
 * @example
 * ```ts
 * import { Actor, Audit } from "threadline"
 * import { SqlClient } from "@effect/sql"
 * import { Effect } from "effect"
 *
 * export const createPost = (title: string) =>
 *   Effect.flatMap(SqlClient.SqlClient, (sql) => sql<{ id: string }>`insert into posts ${sql.insert({ title })} returning id`).pipe(
 *     Audit.withTransaction({
 *       actor: Actor.user("42"),
 *       action: (rows: ReadonlyArray<{ id: string }>) => ({
 *         name: "post.created",
 *         subject: { type: "post", id: rows[0]?.id ?? "none" }
 *       })
 *     })
 *   )
 * ```
 */
export const withTransaction: {
  /** For `pipe`. Runs an effect in an audited transaction, and returns its value. */
  (
    options?: Options
  ): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | AuditError | InvalidRequest, R | Audit>
  /** For `pipe`, with an action that is made from the value. Runs an effect in an audited transaction, and returns its value. */
  <A>(
    options: Options<A>
  ): <E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | AuditError | InvalidRequest, R | Audit>
  /** Runs an effect in an audited transaction, and returns its value. */
  <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    options?: Options<A>
  ): Effect.Effect<A, E | AuditError | InvalidRequest, R | Audit>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    options?: Options<A>
  ): Effect.Effect<A, E | AuditError | InvalidRequest, R | Audit> =>
    Effect.map(transaction(effect, options), ({ value }) => value)
)

/**
 * Whether an error is an `AuditError` with one of some reasons: to tell what a host answers with 404 from what it answers with 503.
 *
 * @since 0.1.0
 * @category errors
 * @example
 * ```ts
 * import { Audit } from "threadline"
 * import { Effect } from "effect"
 *
 * declare const archive: Effect.Effect<void, Audit.AuditError>
 *
 * export const status = archive.pipe(
 *   Effect.as(204),
 *   Effect.catchIf(Audit.hasReason("NoChanges"), () => Effect.succeed(404)),
 *   Effect.catchIf(Audit.hasReason("Unreachable", "ConnectionLost", "OutcomeUnknown"), () => Effect.succeed(503))
 * )
 * ```
 */
export const hasReason =
  <const Reasons extends ReadonlyArray<AuditReason>>(...reasons: Reasons) =>
  (error: unknown): error is AuditError & { readonly reason: Reasons[number] } =>
    AuditError.is(error) && reasons.includes(error.reason)

/**
 * Gives `NoChanges`, and failures of the connection (`Unavailable`), classes and tags of their own, which an `HttpApi` can declare as
 * they are: it answers 404 and 503. What is left of `AuditError` is a mistake of the program or of the installation.
 *
 * @since 0.1.0
 * @category errors
 * @example
 * ```ts
 * import { Audit } from "threadline"
 * import { Effect } from "effect"
 *
 * declare const archive: Effect.Effect<void, Audit.AuditError>
 *
 * export const status = archive.pipe(
 *   Effect.as(204),
 *   Audit.withTags,
 *   Effect.catchTags({
 *     "threadline/NoChanges": () => Effect.succeed(404),
 *     "threadline/Unavailable": () => Effect.succeed(503)
 *   })
 * )
 * ```
 */
export const withTags = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | NoChanges | Unavailable, R> =>
  Effect.mapError(effect, tagged)

/**
 * Audited transactions of one kind, with the options that `define` checked.
 *
 * @since 0.1.0
 * @category models
 */
export interface Defined<in A> {
  /** `Audit.transaction` with these options. */
  readonly transaction: <B extends A, E, R>(
    effect: Effect.Effect<B, E, R>
  ) => Effect.Effect<Audited<B>, E | AuditError, R | Audit>
  /** `Audit.withTransaction` with these options. */
  readonly withTransaction: <B extends A, E, R>(
    effect: Effect.Effect<B, E, R>
  ) => Effect.Effect<B, E | AuditError, R | Audit>
}

/**
 * Audited transactions whose options are literals. They are checked once, here: a mistake in them throws the `InvalidRequest` when the
 * module loads, and no handler has it among its errors. What only a call can tell, an ambient context or an action made from the result
 * that is wrong, is an `AuditError` with the reason `InvalidContext`.
 *
 * @since 0.1.0
 * @category transactions
 * @example
 * ```ts
 * import { Audit } from "threadline"
 * import { SqlClient } from "@effect/sql"
 * import { Effect } from "effect"
 *
 * const archived = Audit.define({ action: "invoice.archived", requireChanges: true })
 *
 * export const archive = (id: number) =>
 *   Effect.flatMap(SqlClient.SqlClient, (sql) => sql`update invoices set archived = true where id = ${id}`).pipe(
 *     archived.withTransaction,
 *     Audit.withTags
 *   )
 * ```
 */
export const define = <A = unknown>(options: Options<A>): Defined<A> => {
  const refusal = contradiction(options) ?? AuditContext.invalid(options)
  if (refusal !== undefined) {
    throw refusal
  }
  const { action, onError } = options
  if (action !== undefined && typeof action !== "function") {
    encodeActionSync(action, options)
  }
  if (onError !== undefined && typeof onError !== "function") {
    encodeActionSync(onError, {})
  }
  // The refusals of a call are known by its options, so each has options of its own.
  const audited = <B extends A, E, R>(effect: Effect.Effect<B, E, R>) =>
    Effect.suspend(() => {
      const own = { ...options }
      return invalidContext(own, transaction(effect, own))
    })
  return { transaction: audited, withTransaction: (effect) => Effect.map(audited(effect), ({ value }) => value) }
}

/**
 * Opens an audited transaction for the length of a scope, for code that cannot be one effect. It holds a connection (or, inside
 * a transaction, its turn) until it commits or the scope closes.
 *
 * @since 0.1.0
 * @category transactions
 * @example
 * ```ts
 * import { Actor, Audit } from "threadline"
 * import { SqlClient } from "@effect/sql"
 * import { Effect } from "effect"
 *
 * export const program = Effect.scoped(
 *   Effect.gen(function* () {
 *     const sql = yield* SqlClient.SqlClient
 *     const audit = yield* Audit.scoped({ action: "import.run", actor: Actor.job("nightly-import") })
 *     yield* audit.run(sql`insert into posts ${sql.insert({ title: "imported" })}`)
 *     return yield* audit.commit
 *   })
 * )
 * ```
 */
export const scoped = (
  options?: ScopedOptions
): Effect.Effect<AuditScope, AuditError | InvalidRequest, Audit | Scope.Scope> =>
  Effect.flatMap(Audit, (audit) => audit.scoped(options))

/**
 * Records an action without row changes: a report that was read, a login that was refused. Inside a transaction it belongs to
 * that transaction; outside it takes one statement of its own.
 *
 * @since 0.1.0
 * @category transactions
 */
export const record = (
  action: Action,
  options?: RecordOptions
): Effect.Effect<ActionId, AuditError | InvalidRequest, Audit> =>
  Effect.flatMap(Audit, (audit) => audit.record(action, options))

/**
 * Audits the transactions of one client. All it asks of the database is asked when a transaction runs.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Audit, never, SqlClient.SqlClient> = Layer.effect(
  Audit,
  Effect.map(Effect.all([SqlClient.SqlClient, StorageSchema]), ([client, schema]) => Audit.of(make(client, schema)))
)
