import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"

/**
 * Runs statements in one transaction: a savepoint of the caller's own where there is one, else one of its own whose
 * isolation does not depend on the role's defaults (a snapshot taken before the wait for the lock would be stale) and
 * whose failing COMMIT is an error rather than a defect.
 */
export const inTransaction = <A, E, R>(
  sql: SqlClient.SqlClient,
  body: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError, R> =>
  Effect.flatMap(
    Effect.serviceOption(SqlClient.TransactionConnection),
    (enclosing): Effect.Effect<A, E | SqlError, R> =>
      Option.isSome(enclosing) ? sql.withTransaction(body) : Effect.scoped(outermost(sql, body))
  )

const outermost = <A, E, R>(sql: SqlClient.SqlClient, body: Effect.Effect<A, E, R>) =>
  Effect.flatMap(sql.reserve, (connection) => {
    const execute = (statement: string) => connection.executeUnprepared(statement, [], undefined)
    return Effect.uninterruptibleMask((restore) =>
      execute("begin isolation level read committed read write").pipe(
        Effect.zipRight(
          Effect.exit(restore(Effect.provideService(body, SqlClient.TransactionConnection, [connection, 0])))
        ),
        Effect.flatMap((exit) =>
          Exit.isSuccess(exit)
            ? Effect.zipRight(execute("commit"), exit)
            : // A rollback fails only where the connection is gone: what the body met says more.
              Effect.zipRight(Effect.either(execute("rollback")), exit)
        )
      )
    )
  })
