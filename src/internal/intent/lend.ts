/**
 * What the body of a call gets as its transaction, if the client keeps using the connection after the end: it may be in a transaction of
 * someone else's by then.
 *
 * Some clients send a query only when someone awaits it, which may be after the end of the call that built it. So what sends it asks once
 * more whether the call has ended. This uses what the clients do not document. In a version that lacks it, only what is built after
 * the end is refused.
 */
import type { AuditError } from "./errors.js"

/**
 * What the transaction that a body gets has to do with the call that lends it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Lending {
  /** Why statements are refused: the transaction has ended. Undefined while it is open. */
  readonly refusal: () => AuditError | undefined
  /** Is told why a statement failed before the body is, which may send the next one at once. */
  readonly failed: (error: unknown) => void
}

type Method = (...values: ReadonlyArray<unknown>) => unknown

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null

const property = (value: unknown, name: string): unknown => (isObject(value) ? Reflect.get(value, name) : undefined)

const isMethod = (value: unknown): value is Method => typeof value === "function"

/** A transaction, each use of which is refused after its end. */
const lendPlainly = <Tx extends object>(tx: Tx, { refusal }: Lending): Tx => {
  const mustBeOpen = (): void => {
    const refused = refusal()
    if (refused !== undefined) {
      throw refused
    }
  }
  return new Proxy(tx, {
    get: (_, name): unknown => {
      // A promise asks whatever it is given for `then`.
      if (typeof name === "string" && name !== "then") {
        mustBeOpen()
      }
      return Reflect.get(tx, name, tx)
    },
    // The transaction of postgres.js is a function.
    apply: (_, self, values: ReadonlyArray<unknown>): unknown => {
      mustBeOpen()
      return Reflect.apply(tx as Method, self, values)
    }
  })
}

/** A query of postgres.js: a promise that gives itself to its `handler` when someone awaits it, in whatever way. */
const guardQuery = (query: unknown, { failed, refusal }: Lending): unknown => {
  const send = property(query, "handler")
  let reject = property(query, "reject")
  if (query instanceof Promise && isMethod(send) && isMethod(reject)) {
    const rejectGuarded = (error: unknown): unknown => {
      failed(error)
      return isMethod(reject) ? reject(error) : undefined
    }
    const guarded = new Proxy(send, {
      apply: (_, self, sent: ReadonlyArray<unknown>): unknown => {
        const refused = refusal()
        return refused === undefined ? Reflect.apply(send, self, sent) : rejectGuarded(refused)
      }
    })
    Reflect.set(query, "handler", guarded)
    // A cursor gives the query another one for each of its parts.
    Reflect.defineProperty(query, "reject", {
      get: () => rejectGuarded,
      set: (next: unknown) => {
        reject = next
      }
    })
  }
  return query
}

/** A transaction of postgres.js, each use of which is refused after its end, also by queries that were built before. */
const lendPostgres = <Tx extends object>(tx: Tx, lending: Lending): Tx => {
  const query =
    (method: Method): Method =>
    (...values) =>
      guardQuery(Reflect.apply(method, tx, values), lending)

  const savepoint =
    (method: Method): Method =>
    (...values) => {
      const body = values.at(-1)
      if (!isMethod(body)) {
        return Reflect.apply(method, tx, values)
      }
      const run = async (inner: object): Promise<unknown> => {
        const made = body(lendPostgres(inner, lending))
        return await (Array.isArray(made) ? Promise.all(made) : made)
      }
      return new Promise((resolve, reject) => {
        const part = (inner: object): Promise<unknown> => {
          const ran = run(inner)
          return ran.catch((error: unknown) => {
            if (lending.refusal() === undefined) {
              throw error
            }
            resolve(ran)
            // Otherwise postgres.js would roll back to a savepoint of this name, in the transaction of someone else's.
            return new Promise(() => undefined)
          })
        }
        Promise.resolve(Reflect.apply(method, tx, [...values.slice(0, -1), part])).then(resolve, reject)
      })
    }

  const guards: Readonly<Record<PropertyKey, (method: Method) => Method>> = { unsafe: query, file: query, savepoint }
  const guarded = new Proxy(tx, {
    get: (_, name): unknown => {
      const value: unknown = Reflect.get(tx, name, tx)
      const guard = Object.hasOwn(guards, name) ? guards[name] : undefined
      return guard !== undefined && isMethod(value) ? guard(value) : value
    },
    apply: (_, self, values: ReadonlyArray<unknown>): unknown =>
      guardQuery(Reflect.apply(tx as Method, self, values), lending)
  })
  return lendPlainly(guarded, lending)
}

/** The same object as another one, but for some properties. The other one is not touched: its owner goes on with it. */
const variant = <A extends object>(of: A, properties: PropertyDescriptorMap): A => Object.create(of, properties) as A

/** A session of Drizzle, which prepares every statement and shares its connection with the owner of the transaction. */
const guardSession = (session: object, prepareQuery: Method, lending: Lending): object => {
  const client = property(session, "client")
  const guarded: object = variant(session, {
    prepareQuery: {
      value: (...values: ReadonlyArray<unknown>): unknown => {
        const prepared = Reflect.apply(prepareQuery, guarded, values)
        for (const name of ["execute", "all", "values"]) {
          const send = property(prepared, name)
          if (isObject(prepared) && isMethod(send)) {
            Reflect.set(prepared, name, (...sent: ReadonlyArray<unknown>): unknown => {
              const refused = lending.refusal()
              return refused === undefined ? Reflect.apply(send, prepared, sent) : Promise.reject(refused)
            })
          }
        }
        return prepared
      }
    },
    // That of postgres.js, which makes the savepoints of the transaction.
    ...(typeof client === "function" ? { client: { value: lendPostgres(client, lending) } } : {})
  })
  return guarded
}

/** A transaction of Drizzle, each use of which is refused after its end, also by queries that were built before. */
const lendDrizzle = <Tx extends object>(tx: Tx, lending: Lending): Tx => {
  const unguarded = property(tx, "session")
  const prepareQuery = property(unguarded, "prepareQuery")
  const transaction = property(tx, "transaction")
  if (!isObject(unguarded) || !isMethod(prepareQuery) || !isMethod(transaction)) {
    return lendPlainly(tx, lending)
  }
  const session = { value: guardSession(unguarded, prepareQuery, lending) }
  const withSession = (value: unknown): unknown =>
    isObject(value) && property(value, "session") === unguarded ? variant(value, { session }) : value
  const guarded: Tx = variant(tx, {
    session,
    _: { value: withSession(property(tx, "_")) },
    // The relational queries, each of which keeps the session.
    ...Object.fromEntries(
      ["query", "_query"]
        .map((name) => [name, property(tx, name)] as const)
        .filter(([, tables]) => isObject(tables))
        .map(([name, tables]) => [
          name,
          {
            get: () =>
              Object.fromEntries(Object.entries(tables as object).map(([table, query]) => [table, withSession(query)]))
          }
        ])
    ),
    transaction: {
      value: (body: Method, ...settings: ReadonlyArray<unknown>): unknown =>
        Reflect.apply(transaction, guarded, [(inner: object) => body(lendDrizzle(inner, lending)), ...settings])
    }
  })
  return lendPlainly(guarded, lending)
}

/** A transaction, each use of which is refused after its end, also by queries that postgres.js or Drizzle built before. */
export const lend = <Tx extends object>(tx: Tx, lending: Lending): Tx =>
  typeof tx === "function" ? lendPostgres(tx, lending) : lendDrizzle(tx, lending)
