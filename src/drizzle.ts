/**
 * Audited transactions of Drizzle on PostgreSQL, whatever its driver. Imports nothing of `drizzle-orm`, so any version fits.
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
 * What is used of a Drizzle database and of its transactions.
 *
 * @since 0.1.0
 * @category models
 */
export interface Executor {
  execute(query: string): PromiseLike<unknown>
}

/**
 * A Drizzle database with transactions `Tx`, or such a transaction.
 *
 * @since 0.1.0
 * @category models
 */
export interface Database<Tx extends Executor, Settings> extends Executor {
  transaction(body: (tx: Tx) => Promise<unknown>, settings?: Settings): Promise<unknown>
}

const run = async (db: Executor, statement: SqlStatement): Promise<unknown> =>
  ClientAdapter.rowsOf(await db.execute(ClientAdapter.asText(statement)))

const isTransaction = (db: object): boolean => "rollback" in db && typeof db.rollback === "function"

const what = "a database or a transaction of Drizzle"

const connect = <Tx extends Executor, Settings>(
  db: Database<Tx, Settings>,
  settings?: Settings
): ClientAdapter.Connection<Tx> => ({
  inside: isTransaction(db) ? { transaction: db, savepoint: (body) => db.transaction(body) } : undefined,
  begin: (first, body) => db.transaction(ClientAdapter.steps(run, first, body), settings),
  // Drizzle keeps using its connection after the end, which may be in a transaction of someone else's by then.
  lend: ClientAdapter.lend,
  query: (tx, statement) => run(tx ?? db, statement)
})

/**
 * Runs a body in an audited transaction, and returns what it returned. `transaction` is what Drizzle's `db.transaction` takes as its
 * second argument. The rules are those of `ClientAdapter.audited`.
 *
 * @since 0.1.0
 * @category transactions
 * @example
 * ```ts
 * import type { NodePgDatabase } from "drizzle-orm/node-postgres"
 * import { pgTable, text } from "drizzle-orm/pg-core"
 * import { audited } from "threadline/drizzle"
 *
 * const posts = pgTable("posts", { title: text().notNull() })
 *
 * export const publish = (db: NodePgDatabase, userId: number, title: string) =>
 *   audited(db, { action: "post.created", actor: { type: "user", id: userId } }, (tx) => tx.insert(posts).values({ title }))
 * ```
 */
export const audited = async <Tx extends Executor, A, Settings = never>(
  db: Database<Tx, Settings>,
  options: ClientAdapter.Options<A, Settings>,
  body: (tx: Tx, recorder: ClientAdapter.Recorder) => PromiseLike<A> | A
): Promise<A> => {
  ClientAdapter.mustHave(db, ["execute", "transaction"], what)
  return ClientAdapter.audited(connect(db, options?.transaction), options, body)
}

/**
 * Records an action without row changes; its id, in digits. In a transaction it belongs to that transaction.
 *
 * @since 0.1.0
 * @category transactions
 */
export const record = async (db: Executor, action: Action, options?: ClientAdapter.RecordOptions): Promise<string> => {
  ClientAdapter.mustHave(db, ["execute"], what)
  return ClientAdapter.record(
    {
      transaction: isTransaction(db) ? db : undefined,
      query: (statement) => run(db, statement)
    },
    action,
    options
  )
}
