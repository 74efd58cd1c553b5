/**
 * Audited transactions of clients that are not Effect. `threadline/pg`, `threadline/postgres`, `threadline/drizzle`,
 * `threadline/kysely`, `threadline/prisma` and `threadline/typeorm` are made with it, and so can be an adapter of your own client.
 *
 * @since 0.1.0
 */
import type { AuditError } from "./Audit.js"
import type { EnvelopeOptions, Fields, SqlStatement } from "./AuditContext.js"
import * as ambient from "./internal/intent/ambient.js"
import * as driverError from "./internal/intent/driverError.js"
import * as lending from "./internal/intent/lend.js"
import type { Lending } from "./internal/intent/lend.js"
import * as plain from "./internal/intent/plain.js"
import type { Connection, Recorder, Savepoint } from "./internal/intent/plain.js"
import type { Options, RecordOptions } from "./internal/intent/plainRequest.js"
import * as plainLevel from "./internal/intent/plainLevel.js"
import * as sqlState from "./internal/sql/sqlState.js"
import { inline } from "./internal/sql/statement.js"
import type { Action } from "./Semantics.js"

/**
 * Who and why, as the code that runs says it.
 *
 * @since 0.1.0
 * @category models
 */
export type { Ambient, LazyActor, LazyMeta } from "./internal/intent/ambient.js"

/**
 * What an audited transaction takes.
 *
 * @since 0.1.0
 * @category models
 */
export type { Options, RecordOptions } from "./internal/intent/plainRequest.js"

/**
 * What a client must be able to do.
 *
 * @since 0.1.0
 * @category models
 */
export type { Connection, Recorder, Savepoint } from "./internal/intent/plain.js"

/**
 * What a client gets to know of the call that lends a transaction to its body.
 *
 * @since 0.1.0
 * @category models
 */
export type { Lending } from "./internal/intent/lend.js"

/**
 * Says who and why for everything that a function does, and all that it starts. What is said here wins over what is said around it;
 * `meta` is merged key by key. What is wrong in it is refused by the audited call that uses it.
 *
 * @since 0.1.0
 * @category context
 * @example
 * ```ts
 * import { withContext } from "threadline/ClientAdapter"
 *
 * export const nightly = (importInvoices: () => Promise<void>) =>
 *   withContext({ actor: { type: "job", id: "nightly-import" }, jobId: "run-7" }, importInvoices)
 * ```
 */
export const withContext: <A>(fields: ambient.Ambient, body: () => A) => A = ambient.withContext

/**
 * What the code that runs now has been told to say of its writes.
 *
 * @since 0.1.0
 * @category context
 */
export const currentContext: () => ambient.Ambient = ambient.currentContext

/**
 * What the code that runs now has been told to say, as a string for a job: `AuditContext.toEnvelope` for code that is not Effect. With a
 * `key` it is signed. Fails with `InvalidRequest` if the context is wrong, or larger than 16 KiB.
 *
 * @since 0.1.0
 * @category context
 */
export const toEnvelope: (options?: {
  /** Signs the envelope. `fromEnvelope` must have the same one. */
  readonly key?: string | undefined
}) => Promise<string> = ambient.toEnvelope

/**
 * The context that an envelope carries, for `withContext` around the job. Throws `InvalidRequest` of the field `envelope`, and gives no actor, if the envelope is
 * too old, changed, or none.
 *
 * @since 0.1.0
 * @category context
 * @example
 * ```ts
 * import { fromEnvelope, withContext } from "threadline/ClientAdapter"
 *
 * const actor = { type: "job", id: "send-receipt" } as const
 *
 * export const run = (job: { id: string; envelope: string }, send: () => Promise<void>) =>
 *   withContext(fromEnvelope(job.envelope, { actor, jobId: job.id, source: "worker", maxAge: "7 days" }), send)
 * ```
 */
export const fromEnvelope: (envelope: unknown, options?: EnvelopeOptions) => Fields = ambient.fromEnvelope

/**
 * Runs a body in an audited transaction of a client, and returns what the body returned. Context and action are checked before
 * anything runs: a mistake is an `InvalidRequest`, a missing actor an `AuditError` with the reason `MissingActor`. Errors of the body
 * and of the client pass unchanged.
 *
 * Inside another audited call, or inside a transaction that the host opened with the same client, it is a savepoint: its context
 * governs its own part only, and its failure undoes its own part only. Audited calls inside the same transaction take turns.
 *
 * @since 0.1.0
 * @category transactions
 */
export const audited: <Tx extends object, A, Settings>(
  connection: Connection<Tx>,
  options: Options<A, Settings>,
  body: (tx: Tx, recorder: Recorder) => PromiseLike<A> | A
) => Promise<A> = plain.audited

/**
 * Records an action without row changes, such as a report that was read or a login that was refused. Inside a transaction it belongs
 * to that transaction, else it takes one statement of its own. The answer is the id of the action, in digits.
 *
 * @since 0.1.0
 * @category transactions
 */
export const record: (
  connection: {
    /** What tells the transaction from others, if the statement runs in one. */
    readonly transaction: object | undefined
    readonly query: (statement: SqlStatement) => Promise<unknown>
  },
  action: Action,
  options?: RecordOptions
) => Promise<string> = plain.record

/**
 * Throws an `InvalidRequest` of the field `db` unless a value has the methods of a client.
 *
 * @since 0.1.0
 * @category adapters
 */
export const mustHave: (db: unknown, methods: ReadonlyArray<string>, what: string) => void = plain.mustHave

/**
 * Awaits a statement of Threadline's own. What a client throws becomes an `AuditError` with the SQLSTATE behind it, except serialization
 * failures and deadlocks, which stay the client's.
 *
 * @since 0.1.0
 * @category adapters
 */
export const own: <A>(answer: PromiseLike<A>) => Promise<A> = driverError.own

/**
 * What a failed statement of Threadline's own means: an `AuditError` with the SQLSTATE behind what the client threw.
 *
 * @since 0.1.0
 * @category adapters
 */
export const toAuditError: (error: unknown) => AuditError = driverError.fromDriver

/**
 * The steps of a transaction that the client begins and commits itself: what `begin` runs in it.
 *
 * @since 0.1.0
 * @category adapters
 */
export const steps: <Tx extends object>(
  query: (tx: Tx, statement: SqlStatement) => Promise<unknown>,
  first: SqlStatement,
  body: (tx: Tx) => Promise<SqlStatement>
) => (tx: Tx) => Promise<void> = plain.steps

/**
 * Shows the body a transaction each use of which is refused after its end, with the reason `Closed`: for the `lend` of clients that keep
 * using the connection, which may be in someone else's transaction by then. Queries that postgres.js or Drizzle built before the end are
 * refused, too, when someone awaits them.
 *
 * @since 0.1.0
 * @category adapters
 */
export const lend: <Tx extends object>(tx: Tx, options: Lending) => Tx = lending.lend

/**
 * Savepoints by statements, for clients that have none of their own.
 *
 * @since 0.1.0
 * @category adapters
 */
export const savepointOf: <Tx extends object>(
  tx: Tx,
  query: (statement: SqlStatement) => Promise<unknown>
) => Savepoint<Tx> = plain.savepointOf

/**
 * Whether the code that runs is inside an audited call of a transaction, or of a client that has one transaction at a time.
 *
 * @since 0.1.0
 * @category adapters
 */
export const isInside: (transaction: object) => boolean = plainLevel.isInside

/**
 * Throws an `AuditError` with the reason `Closed` if the code that runs was started by an audited call that has ended, and uses
 * what that call gave it. By now this may be in a transaction of someone else's.
 *
 * @since 0.1.0
 * @category adapters
 */
export const mustBeOpen: (transaction: object) => void = plainLevel.mustBeOpen

/**
 * Whether a driver knew that its connection was gone, and sent nothing. A COMMIT that was never sent has not happened.
 *
 * @since 0.1.0
 * @category adapters
 */
export const wasNeverSent = (error: unknown): boolean => sqlState.wasNeverSent({ cause: error })

/**
 * A statement with its values as literals, for clients that take text alone.
 *
 * @since 0.1.0
 * @category adapters
 */
export const asText: (statement: SqlStatement) => string = inline

/**
 * The rows of a result: clients give them alone, or in an object that has them.
 *
 * @since 0.1.0
 * @category adapters
 */
export const rowsOf = (result: unknown): unknown =>
  typeof result === "object" && result !== null && "rows" in result ? result.rows : result
