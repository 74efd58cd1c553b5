/**
 * Audited transactions of postgres.js. Imports nothing of `postgres`, so any version fits.
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
 * What is used of postgres.js and of its transactions.
 *
 * @since 0.1.0
 * @category models
 */
export interface Executor {
  unsafe(query: string, parameters: Array<string>): PromiseLike<unknown>
}

/**
 * A transaction of postgres.js.
 *
 * @since 0.1.0
 * @category models
 */
export interface Transaction<Tx> extends Executor {
  savepoint(body: (tx: Tx) => Promise<unknown>): Promise<unknown>
}

/**
 * The `sql` of postgres.js, with transactions `Tx`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Database<Tx extends Transaction<Tx>> extends Executor {
  begin(body: (tx: Tx) => Promise<unknown>): Promise<unknown>
  begin(settings: string, body: (tx: Tx) => Promise<unknown>): Promise<unknown>
}

const run = async (sql: Executor, { text, values }: SqlStatement): Promise<unknown> => sql.unsafe(text, values)

const isTransaction = <Tx extends Transaction<Tx>>(sql: Database<Tx> | Tx): sql is Tx => "savepoint" in sql

const what = "the sql of postgres.js or a transaction of it"

const connect = <Tx extends Transaction<Tx>>(
  sql: Database<Tx> | Tx,
  settings?: string
): ClientAdapter.Connection<Tx> => ({
  inside: isTransaction(sql) ? { transaction: sql, savepoint: (body) => sql.savepoint(body) } : undefined,
  begin: async (first, body) => {
    if (isTransaction(sql)) {
      return
    }
    const steps = ClientAdapter.steps(run, first, body)
    await (settings === undefined ? sql.begin(steps) : sql.begin(settings, steps))
  },
  // postgres.js keeps using its connection after the end, which may be in a transaction of someone else's by then.
  lend: ClientAdapter.lend,
  query: (tx, statement) => run(tx ?? sql, statement)
})

/**
 * Runs a body in an audited transaction, and returns what it returned. `transaction` is what `sql.begin` takes before the body, such as
 * `isolation level serializable`. The rules are those of `ClientAdapter.audited`.
 *
 * @since 0.1.0
 * @category transactions
 * @example
 * ```ts
 * import postgres from "postgres"
 * import { audited } from "threadline/postgres"
 *
 * const sql = postgres()
 *
 * export const rename = (userId: number, title: string) =>
 *   audited(sql, { action: "post.renamed", actor: { type: "user", id: userId } }, (tx) =>
 *     tx`update posts set title = ${title} where id = 1`
 *   )
 * ```
 */
export const audited = async <Tx extends Transaction<Tx>, A>(
  sql: Database<Tx> | Tx,
  options: ClientAdapter.Options<A, string>,
  body: (tx: Tx, recorder: ClientAdapter.Recorder) => PromiseLike<A> | A
): Promise<A> => {
  ClientAdapter.mustHave(sql, ["unsafe"], what)
  ClientAdapter.mustHave(sql, isTransaction(sql) ? ["savepoint"] : ["begin"], what)
  return ClientAdapter.audited(connect(sql, options?.transaction), options, body)
}

/**
 * Records an action without row changes; its id, in digits. In a transaction it belongs to that transaction.
 *
 * @since 0.1.0
 * @category transactions
 */
export const record = async (sql: Executor, action: Action, options?: ClientAdapter.RecordOptions): Promise<string> => {
  ClientAdapter.mustHave(sql, ["unsafe"], what)
  return ClientAdapter.record(
    { transaction: "savepoint" in sql ? sql : undefined, query: (statement) => run(sql, statement) },
    action,
    options
  )
}
