/**
 * Audited transactions of node-postgres, with a `Pool` or a `Client`. Imports nothing of `pg`, so any version fits.
 *
 * @since 0.1.0
 */
import type { SqlStatement } from "./AuditContext.js"
import * as ClientAdapter from "./ClientAdapter.js"
import type { Action } from "./Semantics.js"
import { AuditError } from "./Audit.js"
import { InvalidRequest } from "./ThreadlineError.js"

/**
 * Who and why; see `ClientAdapter`.
 *
 * @since 0.1.0
 * @category context
 */
export { currentContext, fromEnvelope, toEnvelope, withContext } from "./ClientAdapter.js"

/**
 * What is used of a client of node-postgres.
 *
 * @since 0.1.0
 * @category models
 */
export interface Queryable {
  query(statement: string | SqlStatement): Promise<unknown>
}

/**
 * A client that a pool lends.
 *
 * @since 0.1.0
 * @category models
 */
export interface PoolClient extends Queryable {
  release(destroy?: boolean): void
}

/**
 * A pool of clients `Client`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Pool<Client extends PoolClient> extends Queryable {
  readonly totalCount: number
  connect(): Promise<Client>
  connect(callback: (...answer: never) => void): void
}

/**
 * @since 0.1.0
 * @category models
 */
export type Isolation = "read committed" | "repeatable read" | "serializable"

const run = async (client: Queryable, statement: SqlStatement): Promise<unknown> =>
  ClientAdapter.rowsOf(await client.query(statement))

const isPool = <Client extends PoolClient>(db: Pool<Client> | Queryable): db is Pool<Client> => "totalCount" in db

const tellsStatus = (client: Queryable): client is Queryable & { getTransactionStatus(): unknown } =>
  "getTransactionStatus" in client && typeof client.getTransactionStatus === "function"

/** Whether a client is in a transaction. Clients that cannot say are asked to set a savepoint, which only a transaction has. */
const isInTransaction = async (client: Queryable): Promise<boolean> => {
  if (tellsStatus(client)) {
    const status = client.getTransactionStatus()
    return status === "T" || status === "E"
  }
  return client.query("savepoint threadline_probe; release savepoint threadline_probe").then(
    () => true,
    (error: unknown) => {
      if (typeof error === "object" && error !== null && "code" in error && error.code === "25P01") {
        return false
      }
      throw error
    }
  )
}

/** What the server answered to the last statement of a message. COMMIT of a transaction that has failed answers ROLLBACK. */
const lastCommand = (results: unknown): unknown => {
  const last: unknown = Array.isArray(results) ? results.at(-1) : undefined
  return typeof last === "object" && last !== null && "command" in last ? last.command : undefined
}

const isFromServer = (error: unknown): boolean =>
  typeof error === "object" &&
  error !== null &&
  "code" in error &&
  typeof error.code === "string" &&
  /^(?=.*[0-9])(?!08|57P)[0-9A-Z]{5}$/.test(error.code)

/** Serialization failures and deadlocks, which hosts try again by the client's own error. */
const isTransient = (error: unknown): boolean =>
  typeof error === "object" && error !== null && "code" in error && (error.code === "40001" || error.code === "40P01")

/** Ends a transaction. The outcome of the audited call and COMMIT are one message. */
const commit = async (client: Queryable, last: SqlStatement): Promise<void> => {
  let results: unknown
  try {
    results = await client.query(`${ClientAdapter.asText(last)}; commit`)
  } catch (error) {
    if (ClientAdapter.wasNeverSent(error)) {
      throw ClientAdapter.toAuditError(error)
    }
    if (!isFromServer(error)) {
      // The connection was lost: `ClientAdapter.audited` makes OutcomeUnknown of it.
      throw error
    }
    const ours = ClientAdapter.toAuditError(error)
    if (ours.reason === "EndedByBody") {
      throw ours
    }
    // A COMMIT that is refused has ended the transaction. A statement of ours that fails has left it open, and aborted.
    const isRefused = await client.query("select 1").then(
      () => true,
      () => false
    )
    throw isRefused || isTransient(error) ? error : ours
  }
  if (lastCommand(results) !== "COMMIT") {
    throw new AuditError({
      reason: "TransactionAborted",
      detail: "COMMIT did not commit: the transaction was aborted before"
    })
  }
}

interface Emitting {
  on(event: "error", listener: (error: unknown) => void): unknown
  off(event: "error", listener: (error: unknown) => void): unknown
}

const emits = (client: object): client is Emitting =>
  "on" in client && typeof client.on === "function" && "off" in client && typeof client.off === "function"

const ignored = (): void => undefined

/** How many calls of a client are under way, or ended less than a second ago. */
const listened = new WeakMap<object, number>()

/**
 * A client that loses its connection says so twice: to the statement, and as an event that would end the process if nobody listens. A
 * client has one listener, however many calls it has: Node.js warns of more than ten.
 */
const listening = (client: object): (() => void) => {
  if (!emits(client)) {
    return ignored
  }
  const calls = listened.get(client) ?? 0
  listened.set(client, calls + 1)
  if (calls === 0) {
    client.on("error", ignored)
  }
  const stop = (): void => {
    const left = (listened.get(client) ?? 1) - 1
    listened.set(client, left)
    if (left === 0) {
      client.off("error", ignored)
    }
  }
  // The event may come after the statement has failed.
  return () => void setTimeout(stop, 1000).unref()
}

/** One transaction on a client; whether the client can be used again. */
const transact = async <Client extends Queryable>(
  client: Client,
  isolation: Isolation | undefined,
  first: SqlStatement,
  body: (tx: Client) => Promise<SqlStatement>,
  leave: (usable: boolean) => void
): Promise<void> => {
  let usable = false
  const stopListening = listening(client)
  try {
    const begin = isolation === undefined ? "begin" : `begin isolation level ${isolation}`
    await ClientAdapter.own(client.query(`${begin}; ${ClientAdapter.asText(first)}`))
    await commit(client, await body(client))
    usable = true
  } catch (error) {
    usable = await client.query("rollback").then(
      () => true,
      () => false
    )
    throw error
  } finally {
    leave(usable)
    stopListening()
  }
}

/** Audited calls that wait for a client. It has one transaction at a time, and another audited call must not become part of it. */
const queues = new WeakMap<object, Promise<unknown>>()

const alone = async <A>(client: object, task: () => Promise<A>): Promise<A> => {
  ClientAdapter.mustBeOpen(client)
  if (ClientAdapter.isInside(client)) {
    return task()
  }
  const turn = (queues.get(client) ?? Promise.resolve()).then(task)
  queues.set(
    client,
    turn.catch(() => undefined)
  )
  return turn
}

const isCallback = (last: unknown): last is (error: Error) => void => typeof last === "function"

/** Whether it is what `query` gives back as it is, such as a cursor or a stream, and no promise. */
const isSubmittable = (first: unknown): boolean =>
  typeof first === "object" && first !== null && "submit" in first && typeof first.submit === "function"

/**
 * A client of a pool, as the body of a call gets it. The pool may already have given it to someone else when code goes on that was not
 * awaited.
 */
const lend = <Client extends PoolClient>(client: Client, { refusal }: ClientAdapter.Lending): Client => {
  // All arguments are passed on: there may be values, and a callback.
  const query = (...given: Parameters<Queryable["query"]>): unknown => {
    const refused = refusal()
    if (refused === undefined) {
      return client.query(...given)
    }
    if (isSubmittable(given[0])) {
      throw refused
    }
    const last: unknown = given.at(-1)
    return isCallback(last) ? process.nextTick(last, refused) : Promise.reject(refused)
  }
  const release = (): never => {
    throw new InvalidRequest({ field: "release", rule: "must not be called: the client returns to the pool by itself" })
  }
  return new Proxy(client, {
    get: (_, name): unknown =>
      name === "query" ? query : name === "release" ? release : Reflect.get(client, name, client)
  })
}

const what = "a Pool or a Client of node-postgres"

const isolations: ReadonlySet<unknown> = new Set<Isolation>(["read committed", "repeatable read", "serializable"])

const connectPool = <Client extends PoolClient>(
  pool: Pool<Client>,
  isolation: Isolation | undefined
): ClientAdapter.Connection<Client> => ({
  inside: undefined,
  begin: async (first, body) => {
    const client = await pool.connect()
    await transact(client, isolation, first, body, (usable) => client.release(!usable))
  },
  lend,
  query: (client, statement) => run(client ?? pool, statement)
})

const connectClient = <Client extends Queryable>(
  client: Client,
  isolation: Isolation | undefined,
  place: "inside a transaction" | "outside"
): ClientAdapter.Connection<Client> => ({
  inside:
    place === "inside a transaction"
      ? { transaction: client, savepoint: ClientAdapter.savepointOf(client, (statement) => run(client, statement)) }
      : undefined,
  begin: (first, body) => transact(client, isolation, first, body, () => undefined),
  isCallers: true,
  query: (_, statement) => run(client, statement)
})

/**
 * Runs a body in an audited transaction, and returns what it returned. With a pool the body gets a client of it, which returns to the
 * pool at the end. `transaction` is the isolation level. The rules are those of `ClientAdapter.audited`.
 *
 * @since 0.1.0
 * @category transactions
 * @example
 * ```ts
 * import pg from "pg"
 * import { audited } from "threadline/pg"
 *
 * const pool = new pg.Pool()
 *
 * export const rename = (userId: number, title: string) =>
 *   audited(pool, { action: "post.renamed", actor: { type: "user", id: userId } }, (client) =>
 *     client.query("update posts set title = $1 where id = 1", [title])
 *   )
 * ```
 */
export function audited<Client extends PoolClient, A>(
  pool: Pool<Client>,
  options: ClientAdapter.Options<A, Isolation>,
  body: (client: Client, recorder: ClientAdapter.Recorder) => PromiseLike<A> | A
): Promise<A>
/** The same with a client. If it is in a transaction, the body runs in a savepoint of that. */
export function audited<Client extends Queryable, A>(
  client: Client,
  options: ClientAdapter.Options<A, Isolation>,
  body: (client: Client, recorder: ClientAdapter.Recorder) => PromiseLike<A> | A
): Promise<A>
export async function audited<Client extends PoolClient, A>(
  db: Pool<Client> | Client,
  options: ClientAdapter.Options<A, Isolation>,
  body: (client: Client, recorder: ClientAdapter.Recorder) => PromiseLike<A> | A
): Promise<A> {
  ClientAdapter.mustHave(db, ["query"], what)
  const isolation = options?.transaction
  if (isolation !== undefined && !isolations.has(isolation)) {
    throw new InvalidRequest({
      field: "transaction",
      rule: "must be read committed, repeatable read or serializable"
    })
  }
  if (isPool(db)) {
    return ClientAdapter.audited(connectPool(db, isolation), options, body)
  }
  // Without waiting, so that the enclosing call knows of this one before it can end.
  return ClientAdapter.isInside(db)
    ? ClientAdapter.audited(connectClient(db, isolation, "inside a transaction"), options, body)
    : alone(db, async () =>
        ClientAdapter.audited(
          connectClient(db, isolation, (await isInTransaction(db)) ? "inside a transaction" : "outside"),
          options,
          body
        )
      )
}

/**
 * Records an action without row changes; its id, in digits. In a transaction it belongs to that transaction.
 *
 * @since 0.1.0
 * @category transactions
 */
export const record = async (db: Queryable, action: Action, options?: ClientAdapter.RecordOptions): Promise<string> => {
  ClientAdapter.mustHave(db, ["query"], what)
  return isPool(db)
    ? ClientAdapter.record({ transaction: undefined, query: (statement) => run(db, statement) }, action, options)
    : alone(db, async () =>
        ClientAdapter.record(
          { transaction: (await isInTransaction(db)) ? db : undefined, query: (statement) => run(db, statement) },
          action,
          options
        )
      )
}
