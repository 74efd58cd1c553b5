/**
 * Audited transactions of TypeORM on PostgreSQL. Imports nothing of `typeorm`, so any version fits.
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
 * What is used of TypeORM, of a `DataSource` and of an `EntityManager`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Executor {
  query(query: string, parameters: Array<string>): Promise<unknown>
}

/**
 * A `DataSource`, or an `EntityManager`, in a transaction or not. `Manager` is what its transactions give.
 *
 * @since 0.1.0
 * @category models
 */
export interface Database<Manager extends Executor, Isolation> extends Executor {
  transaction(body: (manager: Manager) => Promise<unknown>): Promise<unknown>
  transaction(isolation: Isolation, body: (manager: Manager) => Promise<unknown>): Promise<unknown>
}

const run = (db: Executor, { text, values }: SqlStatement): Promise<unknown> => db.query(text, values)

/** The session of an entity manager, if it is in a transaction: all managers of a transaction share it. */
const sessionOf = (db: Executor): object | undefined => {
  const session: unknown = "queryRunner" in db ? db.queryRunner : undefined
  return typeof session === "object" &&
    session !== null &&
    "isTransactionActive" in session &&
    session.isTransactionActive === true
    ? session
    : undefined
}

const what = "a DataSource or an EntityManager of TypeORM"

const connect = <Manager extends Executor, Isolation>(
  db: Database<Manager, Isolation>,
  isolation?: Isolation
): ClientAdapter.Connection<Manager> => {
  const session = sessionOf(db)
  return {
    inside: session === undefined ? undefined : { transaction: session, savepoint: (body) => db.transaction(body) },
    begin: async (first, body) => {
      const steps = ClientAdapter.steps(run, first, body)
      await (isolation === undefined ? db.transaction(steps) : db.transaction(isolation, steps))
    },
    identify: (manager) => sessionOf(manager) ?? manager,
    query: (manager, statement) => run(manager ?? db, statement)
  }
}

/**
 * Runs a body in an audited transaction, and returns what it returned. `transaction` is an isolation level of TypeORM. The
 * rules are those of `ClientAdapter.audited`.
 *
 * @since 0.1.0
 * @category transactions
 * @example
 * ```ts
 * import { audited } from "threadline/typeorm"
 * import type { DataSource } from "typeorm"
 *
 * export const rename = (source: DataSource, userId: number, title: string) =>
 *   audited(source, { action: "post.renamed", actor: { type: "user", id: userId } }, (manager) =>
 *     manager.update("posts", { id: 1 }, { title })
 *   )
 * ```
 */
export const audited = async <Manager extends Executor, A, Isolation = never>(
  db: Database<Manager, Isolation>,
  options: ClientAdapter.Options<A, Isolation>,
  body: (manager: Manager, recorder: ClientAdapter.Recorder) => PromiseLike<A> | A
): Promise<A> => {
  ClientAdapter.mustHave(db, ["query", "transaction"], what)
  return ClientAdapter.audited(connect(db, options?.transaction), options, body)
}

/**
 * Records an action without row changes; its id, in digits. In a transaction it belongs to that transaction.
 *
 * @since 0.1.0
 * @category transactions
 */
export const record = async (db: Executor, action: Action, options?: ClientAdapter.RecordOptions): Promise<string> => {
  ClientAdapter.mustHave(db, ["query"], what)
  const session = sessionOf(db)
  return ClientAdapter.record({ transaction: session, query: (statement) => run(db, statement) }, action, options)
}
