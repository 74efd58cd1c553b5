/**
 * The service of audited transactions: checks before anything runs, repeated attempts, the record of failures, and transactions
 * that last as long as a scope.
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type * as Tracer from "effect/Tracer"
import type * as AuditContext from "../../AuditContext.js"
import type { InvalidRequest } from "../../ThreadlineError.js"
import { type Action, encodeAction } from "./action.js"
import {
  type AuditError,
  type Audited,
  closed,
  isOutcomeUnknown,
  isSerializationFailure,
  notOutermost
} from "./errors.js"
import type { FailedAction } from "./level.js"
import { makeRecorder, recordFailures } from "./recorder.js"
import { ofCall } from "./refusals.js"
import { contradiction, resolve } from "./resolve.js"
import * as transactions from "./transaction.js"
import * as telemetry from "../core/telemetry.js"
import type { Restore } from "../sql/owned.js"

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
   * What is meant to happen, kept even if no row changes; or a function that derives it from what the body returned, for ids
   * and amounts that are known only afterwards. If that action is not valid, the call fails with `InvalidRequest` and rolls
   * back.
   */
  readonly action?: Action | ((value: A) => Action) | undefined
  /**
   * The action of a transaction that failed or died, or a function that derives it from the failure; recorded with status
   * `error`, as `onFailure: "record"` does with `action`. If it cannot be recorded that is logged; the caller always gets the
   * original failure.
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
  /** Runs an effect in the transaction. If it fails, the transaction stays open: the caller still decides whether to commit. */
  readonly run: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | AuditError, R>
  /** Commits, once. Whatever comes after fails with `Closed`. */
  readonly commit: Effect.Effect<Audited<void>, AuditError>
}

/** A failed attempt, and whether another one may do better. */
class Attempt<E> {
  constructor(
    readonly error: E,
    readonly retryable: boolean
  ) {}
}

/** The audited transactions of one client, in the record of this schema. */
export const make = (client: SqlClient.SqlClient, schema: string) => {
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
    const outermostOption = place._tag === "Inside" ? outermostOptionOf(options) : undefined
    if (outermostOption !== undefined) {
      return Effect.fail(notOutermost(outermostOption))
    }
    const allowMissingActor = options.allowMissingActor ?? owner?.allowMissingActor ?? false
    return Effect.zipWith(
      resolve(context, options, { allowMissingActor, inside: owner !== undefined }),
      knownActionsOf(options),
      ({ document, fields }, known) => {
        const request: transactions.Request = {
          schema,
          context: document,
          hasAction: options.action !== undefined,
          requireChanges: options.requireChanges ?? false,
          allowMissingActor,
          isolation: options.isolation
        }
        let failures: Array<FailedAction> = []
        return {
          fields,
          /** The document of the action, unless it derives from what the body returns. */
          knownAction: known.action,
          withAction: <E, R>(effect: Effect.Effect<A, E, R>) => withAction(effect, options, known.action),
          begin: (restore: Restore) => {
            failures = owner === undefined ? [] : owner.failures
            return place._tag === "Outside"
              ? transactions.beginOwned(client, request, failures, restore)
              : transactions.beginInside(place.level, place.depth, request, failures, restore)
          },
          /** Runs once, after the last attempt; failures inside another audited call wait for its end. */
          settle: (exit: Exit.Exit<unknown, unknown>) =>
            Effect.flatMap(
              Exit.isFailure(exit) && hasFailed(exit.cause)
                ? failedActionOf(exit.cause, options, known)
                : Effect.succeed(undefined),
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
    telemetry
      .useSpan(telemetry.nameOf("audit", "transaction"), (span) =>
        Effect.contextWithEffect(
          (context: Context.Context<R>): Effect.Effect<Audited<A>, E | AuditError | InvalidRequest, R> =>
            Effect.flatMap(
              ofCall(options, prepare(context, options, span)),
              ({ begin, fields, settle, withAction }) => {
                let running: transactions.Running | undefined
                const attempt = transactions.run(
                  (begun) => {
                    running = begun
                    return Effect.mapInputContext(withAction(effect), (_: Context.Context<R>) =>
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
                                (isSerializationFailure(error) ||
                                  isSerializationFailure(running?.level.observed.failed))
                            )
                        ),
                        Effect.retry({ schedule: options.retry, while: ({ retryable }) => retryable }),
                        Effect.mapError(({ error }) => error)
                      )
                return Effect.onExit(attempts, (exit) => (running === undefined ? Effect.void : settle(exit)))
              }
            )
        )
      )
      .pipe(telemetry.measured(telemetry.nameOf("audit", "transaction")))

  const scoped = (options: ScopedOptions = {}): Effect.Effect<AuditScope, AuditError | InvalidRequest, Scope.Scope> =>
    Effect.gen(function* () {
      const span = yield* telemetry.spanOfScope(telemetry.nameOf("audit", "transaction"))
      const { begin, fields, knownAction, settle } = yield* prepare(yield* Effect.context<never>(), options, span)
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
                const { complete, release } = state.running
                return complete(knownAction).pipe(
                  Effect.map((ids): Audited<void> => ({ value: undefined, ...ids })),
                  Effect.ensuring(release),
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

/** An option of this call that only an outermost one may have. */
const outermostOptionOf = ({ isolation, retry }: Options<never>): "isolation" | "retry" | undefined =>
  isolation !== undefined ? "isolation" : retry !== undefined ? "retry" : undefined

/** The documents of the actions that are known before the body runs. Those that derive from its outcome are undefined. */
interface KnownActions {
  readonly action: string | undefined
  readonly onError: string | undefined
}

const knownActionsOf = <A>(options: Options<A>): Effect.Effect<KnownActions, InvalidRequest> => {
  const { action, onError } = options
  return Effect.zipWith(
    action === undefined || typeof action === "function" ? Effect.succeed(undefined) : encodeAction(action, options),
    onError === undefined || typeof onError === "function" ? Effect.succeed(undefined) : encodeAction(onError, {}),
    (knownAction, knownErrorAction) => ({ action: knownAction, onError: knownErrorAction })
  )
}

/** Runs the effect, and then derives the action from its value, if `action` is a function. */
const withAction = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options: Options<A>,
  knownAction: string | undefined
): Effect.Effect<transactions.Ran<A>, E | InvalidRequest, R> => {
  const { action: given } = options
  return typeof given !== "function"
    ? Effect.map(effect, (value) => ({ value, action: knownAction }))
    : Effect.flatMap(effect, (value) =>
        Effect.map(
          ofCall(
            options,
            Effect.suspend(() => encodeAction(given(value), options))
          ),
          (action) => ({ value, action })
        )
      )
}

/** The action to record for a failure, if there is one. */
const failedActionOf = (
  cause: Cause.Cause<unknown>,
  { onError, onFailure }: Pick<Options, "onError" | "onFailure">,
  known: KnownActions
): Effect.Effect<string | undefined> =>
  typeof onError === "function"
    ? Effect.catchAllCause(
        Effect.suspend(() => encodeAction(onError(Cause.squash(cause)), {})),
        (failure) => Effect.as(Effect.logWarning("threadline: onError gave no action", reasonOf(failure)), undefined)
      )
    : Effect.succeed(known.onError ?? (onFailure === "record" ? known.action : undefined))

/** Why an action could not be encoded, without its values. A defect of the host may hold anything. */
const reasonOf = (cause: Cause.Cause<InvalidRequest>): string =>
  Option.match(Cause.failureOption(cause), { onNone: () => "it threw", onSome: ({ message }) => message })

/** An interrupted attempt has not failed, and one of unknown outcome may have succeeded. */
const hasFailed = (cause: Cause.Cause<unknown>): boolean =>
  !Cause.isInterruptedOnly(cause) && !Option.exists(Cause.failureOption(cause), isOutcomeUnknown)
