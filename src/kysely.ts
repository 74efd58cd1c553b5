/**
 * Audited transactions of Kysely on PostgreSQL. Imports nothing of `kysely`, so any version fits.
 *
 * @since 0.1.0
 */
import type { SqlStatement } from "./AuditContext.js"
import * as ClientAdapter from "./ClientAdapter.js"
import type { Action } from "./Semantics.js"

/**
 * Who and why; see `ClientAdapter`.
 *
 * @since 0.1.0
 * @category context
 */
export { currentContext, fromEnvelope, toEnvelope, withContext } from "./ClientAdapter.js"

/**
 * A query as Kysely runs it.
 *
 * @since 0.1.0
 * @category models
 */
export interface CompiledQuery {
  readonly query: { readonly kind: "RawNode"; readonly sqlFragments: Array<string>; readonly parameters: Array<never> }
  readonly queryId: { readonly queryId: string }
  readonly sql: string
  readonly parameters: ReadonlyArray<unknown>
}

/**
 * What is used of Kysely and of its transactions.
 *
 * @since 0.1.0
 * @category models
 */
export interface Executor {
  readonly isTransaction: boolean
  executeQuery(query: CompiledQuery): Promise<unknown>
}

/**
 * What `transaction()` of Kysely gives.
 *
 * @since 0.1.0
 * @category models
 */
export interface Builder<Tx, Isolation> {
  setIsolationLevel(level: Isolation): Builder<Tx, Isolation>
  execute(body: (tx: Tx) => Promise<unknown>): Promise<unknown>
}

/**
 * A Kysely instance with transactions `Tx`, or such a transaction.
 *
 * @since 0.1.0
 * @category models
 */
export interface Database<Tx extends Executor, Isolation> extends Executor {
  transaction(): Builder<Tx, Isolation>
}

let queries = 0

const run = async (db: Executor, { text, values }: SqlStatement): Promise<unknown> =>
  ClientAdapter.rowsOf(
    await db.executeQuery({
      query: { kind: "RawNode", sqlFragments: [text], parameters: [] },
      queryId: { queryId: `threadline-${++queries}` },
      sql: text,
      parameters: values
    })
  )

const isTransaction = <Tx extends Executor, Isolation>(db: Database<Tx, Isolation> | Tx): db is Tx => db.isTransaction

const what = "an instance or a transaction of Kysely"

const connect = <Tx extends Executor, Isolation>(
  db: Database<Tx, Isolation> | Tx,
  isolation?: Isolation
): ClientAdapter.Connection<Tx> => ({
  inside: isTransaction(db)
    ? { transaction: db, savepoint: ClientAdapter.savepointOf(db, (statement) => run(db, statement)) }
    : undefined,
  begin: async (first, body) => {
    if (isTransaction(db)) {
      return
    }
    const builder = db.transaction()
    const steps = ClientAdapter.steps(run, first, body)
    await (isolation === undefined ? builder : builder.setIsolationLevel(isolation)).execute(steps)
  },
  query: (tx, statement) => run(tx ?? db, statement)
})

/**
 * Runs a body in an audited transaction, and returns what it returned. `transaction` is an isolation level of Kysely. The
 * rules are those of `ClientAdapter.audited`.
 *
 * @since 0.1.0
 * @category transactions
 * @example
 * ```ts
 * import type { Kysely } from "kysely"
 * import { audited } from "threadline/kysely"
 *
 * interface Tables {
 *   readonly posts: { readonly id: number; readonly title: string }
 * }
 *
 * export const rename = (db: Kysely<Tables>, userId: number, title: string) =>
 *   audited(db, { action: "post.renamed", actor: { type: "user", id: userId } }, (tx) =>
 *     tx.updateTable("posts").set({ title }).where("id", "=", 1).execute()
 *   )
 * ```
 */
export const audited = async <Tx extends Executor, A, Isolation = never>(
  db: Database<Tx, Isolation> | Tx,
  options: ClientAdapter.Options<A, Isolation>,
  body: (tx: Tx, recorder: ClientAdapter.Recorder) => PromiseLike<A> | A
): Promise<A> => {
  ClientAdapter.mustHave(db, ["executeQuery", "transaction"], what)
  return ClientAdapter.audited(connect(db, options?.transaction), options, body)
}

/**
 * Records an action without row changes; its id, in digits. In a transaction it belongs to that transaction.
 *
 * @since 0.1.0
 * @category transactions
 */
export const record = async (db: Executor, action: Action, options?: ClientAdapter.RecordOptions): Promise<string> => {
  ClientAdapter.mustHave(db, ["executeQuery"], what)
  return ClientAdapter.record(
    { transaction: db.isTransaction ? db : undefined, query: (statement) => run(db, statement) },
    action,
    options
  )
}
