/**
 * Transactions of capture's own. A plain `sql.withTransaction` turns a failing COMMIT into a defect.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"

// Nothing of the host's may stand in for what the catalog is read with, and types are printed with their schema.
const searchPath = "pg_catalog, pg_temp"

// Compiling the query of the catalog takes a hundred times as long as running it.
const settings = `set local search_path = ${searchPath}; set local jit = off`

/** Runs the body between `begin` and COMMIT on a connection of its own. */
const owned = <A, E, R>(
  sql: SqlClient.SqlClient,
  begin: string,
  body: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.scoped(
      Effect.flatMap(sql.reserve, (connection) => {
        const end = (statement: string) => connection.executeRaw(statement, [])
        return connection.executeRaw(begin, []).pipe(
          Effect.zipRight(restore(Effect.provideService(body, SqlClient.TransactionConnection, [connection, 0]))),
          Effect.exit,
          Effect.flatMap((exit) =>
            Exit.isSuccess(exit)
              ? Effect.zipRight(end("commit"), exit)
              : // A rollback fails only where the connection is gone: what happened before says more.
                Effect.zipRight(Effect.either(end("rollback")), exit)
          )
        )
      })
    )
  )

/** A short transaction that changes something: it waits for no lock longer than it is told to. */
export const writing = <A, E, R>(
  sql: SqlClient.SqlClient,
  lockTimeoutMillis: number,
  body: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError, R> =>
  owned(
    sql,
    `begin isolation level read committed read write; ` +
      `set local lock_timeout = ${Math.max(1, Math.round(lockTimeoutMillis))}; ${settings}`,
    body
  )

/** One snapshot. Inside a transaction of the host's, that transaction is used, and its search path given back. */
export const reading = <A, E, R>(
  sql: SqlClient.SqlClient,
  body: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError, R> =>
  Effect.flatMap(isInside, (inside): Effect.Effect<A, E | SqlError, R> => {
    if (!inside) {
      return owned(sql, `begin isolation level repeatable read read only; ${settings}`, body)
    }
    const setPath = (path: string) => sql`select pg_catalog.set_config('search_path', ${path}, true)`
    return Effect.acquireUseRelease(
      Effect.tap(sql<{ path: string }>`select pg_catalog.current_setting('search_path') as path`, () =>
        setPath(searchPath)
      ),
      () => body,
      // Where this fails the transaction is aborted, and its rollback gives the path back.
      ([before]) => Effect.either(setPath(before?.path ?? ""))
    )
  })

/** Whether the fiber is inside a transaction already. */
export const isInside: Effect.Effect<boolean> = Effect.map(
  Effect.serviceOption(SqlClient.TransactionConnection),
  Option.isSome
)
