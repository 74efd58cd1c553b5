/**
 * One snapshot for all statements of a read.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import { TransactionConnection } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"

// Compiling a statement takes longer than running it, and a batch is sorted in memory.
const begin = "begin isolation level repeatable read read only; set local jit = off; set local work_mem = '32MB'"

/** Runs a read on one connection under one snapshot; inside a transaction of the host's, in that transaction. */
export const reading = <A, E, R>(sql: SqlClient, body: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> =>
  Effect.flatMap(Effect.serviceOption(TransactionConnection), (inside): Effect.Effect<A, E | SqlError, R> =>
    Option.isSome(inside)
      ? body
      : Effect.uninterruptibleMask((restore) =>
          Effect.scoped(
            Effect.flatMap(sql.reserve, (connection) =>
              connection.executeRaw(begin, []).pipe(
                Effect.zipRight(restore(Effect.provideService(body, TransactionConnection, [connection, 0]))),
                Effect.exit,
                Effect.flatMap((exit) =>
                  // Nothing was written; an end that fails says that the connection is gone, and nobody needs it.
                  Effect.zipRight(
                    Effect.either(connection.executeRaw(Exit.isSuccess(exit) ? "commit" : "rollback", [])),
                    exit
                  )
                )
              )
            )
          )
        )
  )
