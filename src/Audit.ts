/**
 * Audited transactions: what changes inside one is recorded with who did it and why, in the same database transaction.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type * as Tracer from "effect/Tracer"
import * as AuditContext from "./AuditContext.js"
import { encodeAction, encodeActionSync } from "./internal/intent/action.js"
import {
  type ActionId,
  AuditError,
  type Audited,
  type AuditReason,
  closed,
  isSerializationFailure,
  makeAuditError
} from "./internal/intent/errors.js"
import * as telemetry from "./internal/core/telemetry.js"
import { contradiction, resolve } from "./internal/intent/resolve.js"
import { makeRecorder, recordFailures } from "./internal/intent/recorder.js"
import type { Restore } from "./internal/sql/owned.js"
import { invalidContext, ofCall } from "./internal/intent/refusals.js"
import { type NoChanges, tagged, type Unavailable } from "./internal/intent/tagged.js"
import { StorageSchema } from "./internal/sql/storageSchema.js"
import * as transactions from "./internal/intent/transaction.js"
import type { FailedAction } from "./internal/intent/level.js"
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
 * How to audit a transaction in a scope. Every part of the context that is given here wins over the ambient one.
 *
 * @since 0.1.0
 * @category models
 */
export interface ScopedOptions extends AuditContext.Fields {
  /** What is meant to happen. Kept even if no row changes. */
  readonly action?: Action | undefined
  /** Why; part of the action. */
  readonly reason?: string | undefined
  /** Part of the action. */
  readonly comment?: string | undefined
  /** Says that there is no action on purpose; the same as giving none. */
  readonly captureOnly?: boolean | undefined
  /** Lets a transaction run without an actor; what it changes is then unattributed. Audited calls inside it may do the same. */
  readonly allowMissingActor?: boolean | undefined
  /** Of the outermost call only. */
  readonly isolation?: "read committed" | "repeatable read" | "serializable" | undefined
  /** Fails with `NoChanges`, and rolls back, if no row was captured. */
  readonly requireChanges?: boolean | undefined
  /**
   * `record` keeps the action of a transaction that failed or died, with status `error`, in a transaction of its own after the
   * outermost audited call has ended. Not if the call was interrupted, nor if its outcome is unknown. If the action
   * cannot be recorded that is logged; the caller always gets the original failure.
   */
  readonly onFailure?: "discard" | "record" | undefined
}

/**
 * How to audit a transaction.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<in A = unknown> extends Omit<ScopedOptions, "action"> {
  /**
   * What is meant to happen, kept even if no row changes; or a function that says so from what the body returned, for ids and amounts
   * that are known only afterwards. What is wrong with its answer is an `InvalidRequest`, and rolls back.
   */
  readonly action?: Action | ((value: A) => Action) | undefined
  /**
   * The action of a transaction that failed or died, or a function that says so from the failure; recorded with status `error`, as
   * `onFailure: "record"` does with `action`. If it cannot be recorded that is logged; the caller always gets the original failure.
   */
  readonly onError?: Action | ((failure: unknown) => Action) | undefined
  /**
   * Runs the whole body again after a serialization failure or a deadlock (SQLSTATE 40001, 40P01), whether a statement or COMMIT
   * met it. Of the outermost call only.
   */
  readonly retry?: Schedule.Schedule<unknown, unknown> | undefined
}

/**
 * A transaction that lasts as long as a scope. Closing the scope without `commit` rolls it back.
 *
 * @since 0.1.0
 * @category models
 */
export interface AuditScope {
  /** Runs an effect in the transaction. Its failure ends nothing: commit or not is still for the caller to say. */
  readonly run: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | AuditError, R>
  /** Commits, once. Whatever comes after fails with `Closed`. */
  readonly commit: Effect.Effect<Audited<void>, AuditError>
}

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
  (
    options?: Options
  ): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<Audited<A>, E | AuditError | InvalidRequest, R | Audit>
  <A>(
    options: Options<A>
  ): <E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<Audited<A>, E | AuditError | InvalidRequest, R | Audit>
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
  (
    options?: Options
  ): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | AuditError | InvalidRequest, R | Audit>
  <A>(
    options: Options<A>
  ): <E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | AuditError | InvalidRequest, R | Audit>
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

/** A failed attempt, and whether another one may do better. */
class Attempt<E> {
  constructor(
    readonly error: E,
    readonly retryable: boolean
  ) {}
}

const make = (client: SqlClient.SqlClient, schema: string): Context.Tag.Service<Audit> => {
  /** Checks everything that can be checked before anything runs. */
  const prepare = <A>(context: Context.Context<never>, options: Options<A>, span: Tracer.Span) => {
    const refusal = contradiction(options)
    if (refusal !== undefined) {
      return Effect.fail(refusal)
    }
    const place = transactions.placeIn(context)
    const owner = place._tag === "Inside" ? place.level.owner : undefined
    span.attribute(
      "threadline.mode",
      place._tag === "Outside" ? "outermost" : owner === undefined ? "joined" : "nested"
    )
    if (place._tag === "Inside" && (options.isolation !== undefined || options.retry !== undefined)) {
      const option = options.isolation !== undefined ? "isolation" : "retry"
      return Effect.fail(
        makeAuditError("NotOutermost", `${option} belongs to the outermost transaction, and this call is inside one`)
      )
    }
    const allowMissingActor = options.allowMissingActor ?? owner?.allowMissingActor ?? false
    const { action: given, onError } = options
    return Effect.zipWith(
      resolve(context, options, { allowMissingActor, inside: owner !== undefined }),
      Effect.all([
        given === undefined || typeof given === "function" ? Effect.succeed(undefined) : encodeAction(given, options),
        onError === undefined || typeof onError === "function" ? Effect.succeed(undefined) : encodeAction(onError, {})
      ]),
      ({ document, fields }, [known, failed]) => {
        const action = given === undefined ? undefined : { document: known }
        const request: transactions.Request = {
          schema,
          context: document,
          action,
          requireChanges: options.requireChanges ?? false,
          allowMissingActor,
          isolation: options.isolation
        }
        let failures: Array<FailedAction> = []
        /** The action that is kept of a failure, if any is. */
        const failedAction = (cause: Cause.Cause<unknown>): Effect.Effect<string | undefined> =>
          typeof onError === "function"
            ? Effect.catchAllCause(
                Effect.suspend(() => encodeAction(onError(Cause.squash(cause)), {})),
                (failure) =>
                  Effect.as(Effect.logWarning("threadline: onError gave no action", reasonOf(failure)), undefined)
              )
            : Effect.succeed(failed ?? (options.onFailure === "record" ? known : undefined))
        return {
          fields,
          /** The effect, and then the action that only its value tells. */
          naming: <E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | InvalidRequest, R> =>
            action === undefined || typeof given !== "function"
              ? effect
              : Effect.tap(effect, (value) =>
                  Effect.map(
                    ofCall(
                      options,
                      Effect.suspend(() => encodeAction(given(value), options))
                    ),
                    (document) => {
                      action.document = document
                    }
                  )
                ),
          begin: (restore: Restore) => {
            failures = owner === undefined ? [] : owner.failures
            return place._tag === "Outside"
              ? transactions.beginOwned(client, request, failures, restore)
              : transactions.beginInside(place.level, place.depth, request, failures, restore)
          },
          /** Runs once, after the last attempt; failures inside another audited call wait for its end. */
          settle: (exit: Exit.Exit<unknown, unknown>) =>
            Effect.flatMap(
              Exit.isFailure(exit) && hasFailed(exit.cause) ? failedAction(exit.cause) : Effect.succeed(undefined),
              (action) => {
                if (action !== undefined) {
                  failures.push({ action, context: document })
                }
                return owner === undefined && failures.length > 0
                  ? recordFailures(client, schema, failures)
                  : Effect.void
              }
            )
        }
      }
    )
  }

  const transaction = <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    options: Options<A> = {}
  ): Effect.Effect<Audited<A>, E | AuditError | InvalidRequest, R> =>
    Effect.useSpan(telemetry.nameOf("audit", "transaction"), { captureStackTrace: false }, (span) =>
      Effect.contextWithEffect(
        (context: Context.Context<R>): Effect.Effect<Audited<A>, E | AuditError | InvalidRequest, R> =>
          Effect.flatMap(ofCall(options, prepare(context, options, span)), ({ begin, fields, naming, settle }) => {
            let running: transactions.Running | undefined
            const attempt = transactions.run(
              (begun) => {
                running = begun
                return Effect.mapInputContext(naming(effect), (_: Context.Context<R>) =>
                  transactions.inside(context, begun, fields, span)
                )
              },
              (restore) => {
                running = undefined
                return begin(restore)
              }
            )
            const attempts =
              options.retry === undefined
                ? attempt
                : attempt.pipe(
                    Effect.mapError(
                      (error) =>
                        new Attempt(
                          error,
                          !isOutcomeUnknown(error) &&
                            (isSerializationFailure(error) || isSerializationFailure(running?.level.observed.failed))
                        )
                    ),
                    Effect.retry({ schedule: options.retry, while: ({ retryable }) => retryable }),
                    Effect.mapError(({ error }) => error)
                  )
            return Effect.onExit(attempts, (exit) => (running === undefined ? Effect.void : settle(exit)))
          })
      )
    ).pipe(telemetry.measured(telemetry.nameOf("audit", "transaction")))

  const scoped = (options: ScopedOptions = {}): Effect.Effect<AuditScope, AuditError | InvalidRequest, Scope.Scope> =>
    Effect.gen(function* () {
      const span = yield* Effect.makeSpanScoped(telemetry.nameOf("audit", "transaction"), { captureStackTrace: false })
      const { begin, fields, settle } = yield* prepare(yield* Effect.context<never>(), options, span)
      return yield* Effect.uninterruptibleMask((restore) =>
        Effect.map(
          Effect.acquireRelease(
            Effect.map(begin(restore), (running) => ({ running, open: true })),
            (state, exit) =>
              Effect.suspend(() => {
                if (!state.open) {
                  return Effect.void
                }
                state.open = false
                return state.running.abandon.pipe(
                  Effect.ensuring(state.running.release),
                  Effect.ensuring(Effect.suspend(() => settle(Exit.isSuccess(exit) ? Exit.fail(closed()) : exit)))
                )
              })
          ),
          (state): AuditScope => ({
            run: (effect) =>
              Effect.suspend(() =>
                state.open
                  ? Effect.mapInputContext(effect, (context: Context.Context<Effect.Effect.Context<typeof effect>>) =>
                      transactions.inside(context, state.running, fields, span)
                    ).pipe(Effect.mapError(transactions.whereLost(state.running)))
                  : Effect.fail(closed())
              ),
            commit: Effect.uninterruptible(
              Effect.suspend((): Effect.Effect<Audited<void>, AuditError> => {
                if (!state.open) {
                  return Effect.fail(closed())
                }
                state.open = false
                return Effect.map(state.running.complete, (ids): Audited<void> => ({ value: undefined, ...ids })).pipe(
                  Effect.ensuring(state.running.release),
                  Effect.onExit((exit) => settle(exit))
                )
              })
            )
          })
        )
      )
    })

  return { transaction, scoped, record: makeRecorder(client, schema) }
}

/** What is wrong with an action, without its values; a defect of the host's may hold anything. */
const reasonOf = (cause: Cause.Cause<InvalidRequest>): string =>
  Option.match(Cause.failureOption(cause), { onNone: () => "it threw", onSome: ({ message }) => message })

const isOutcomeUnknown = (error: unknown): boolean => AuditError.is(error) && error.reason === "OutcomeUnknown"

/** An interrupted attempt has not failed, and one of unknown outcome may have succeeded. */
const hasFailed = (cause: Cause.Cause<unknown>): boolean =>
  !Cause.isInterruptedOnly(cause) && !Option.exists(Cause.failureOption(cause), isOutcomeUnknown)

/**
 * Audits the transactions of one client. All it asks of the database is asked when a transaction runs.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Audit, never, SqlClient.SqlClient> = Layer.effect(
  Audit,
  Effect.map(Effect.all([SqlClient.SqlClient, StorageSchema]), ([client, schema]) => make(client, schema))
)
