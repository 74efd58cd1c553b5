/**
 * Audited transactions of Prisma on PostgreSQL. Imports nothing of Prisma, so any version with interactive transactions fits.
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
 * What is used of a Prisma client and of its transactions.
 *
 * @since 0.1.0
 * @category models
 */
export interface Executor {
  $queryRawUnsafe(query: string, ...values: Array<string>): PromiseLike<unknown>
  $executeRawUnsafe(query: string, ...values: Array<string>): PromiseLike<unknown>
}

/**
 * A Prisma client with interactive transactions `Tx`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Database<Tx extends Executor, Settings> extends Executor {
  $transaction(body: (tx: Tx) => Promise<unknown>, settings?: Settings): Promise<unknown>
}

const run = async (prisma: Executor, { text, values }: SqlStatement): Promise<unknown> =>
  prisma.$queryRawUnsafe(text, ...values)

// A transaction cannot connect. Newer ones have `$transaction`, too, so that it tells nothing.
const isTransaction = <Tx extends Executor, Settings>(prisma: Database<Tx, Settings> | Tx): prisma is Tx =>
  !("$connect" in prisma && typeof prisma.$connect === "function")

const what = "a client or a transaction of Prisma"

const connect = <Tx extends Executor, Settings>(
  prisma: Database<Tx, Settings> | Tx,
  settings?: Settings
): ClientAdapter.Connection<Tx> => ({
  inside: isTransaction(prisma)
    ? {
        transaction: prisma,
        savepoint: ClientAdapter.savepointOf(prisma, async ({ text }) => prisma.$executeRawUnsafe(text))
      }
    : undefined,
  begin: async (first, body) => {
    if (isTransaction(prisma)) {
      return
    }
    await prisma.$transaction(ClientAdapter.steps(run, first, body), settings)
  },
  query: (tx, statement) => run(tx ?? prisma, statement)
})

/**
 * Runs a body in an audited transaction, and returns what it returned. `transaction` is what `$transaction` takes as its second
 * argument: `maxWait`, `timeout`, `isolationLevel`. The rules are those of `ClientAdapter.audited`.
 *
 * @since 0.1.0
 * @category transactions
 * @example
 * ```
 * import { audited } from "threadline/prisma"
 * import type { PrismaClient } from "./generated/client.js"
 *
 * export const rename = (prisma: PrismaClient, userId: number, title: string) =>
 *   audited(prisma, { action: "post.renamed", actor: { type: "user", id: userId } }, (tx) =>
 *     tx.post.update({ where: { id: 1 }, data: { title } })
 *   )
 * ```
 */
export const audited = async <Tx extends Executor, A, Settings = never>(
  prisma: Database<Tx, Settings> | Tx,
  options: ClientAdapter.Options<A, Settings>,
  body: (tx: Tx, recorder: ClientAdapter.Recorder) => PromiseLike<A> | A
): Promise<A> => {
  ClientAdapter.mustHave(prisma, ["$queryRawUnsafe", "$executeRawUnsafe"], what)
  return ClientAdapter.audited(connect(prisma, options?.transaction), options, body)
}

/**
 * Records an action without row changes; its id, in digits. In a transaction it belongs to that transaction.
 *
 * @since 0.1.0
 * @category transactions
 */
export const record = async (
  prisma: Executor,
  action: Action,
  options?: ClientAdapter.RecordOptions
): Promise<string> => {
  ClientAdapter.mustHave(prisma, ["$queryRawUnsafe", "$executeRawUnsafe"], what)
  return ClientAdapter.record(
    { transaction: isTransaction(prisma) ? prisma : undefined, query: (statement) => run(prisma, statement) },
    action,
    options
  )
}
