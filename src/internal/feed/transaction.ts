/**
 * One snapshot for all statements of a read.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import { TransactionConnection } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { ThreadlineError } from "../../ThreadlineError.js"
import { rows } from "../record/storage.js"

// Compiling a statement takes longer than running it, and a batch is sorted in memory. What is read of a transaction is a part of it,
// in the order of an index: a planner that takes all transactions for small ones would read the rest of it for every batch.
const settings = {
  jit: "off",
  work_mem: "32MB",
  enable_sort: "off",
  enable_bitmapscan: "off",
  enable_seqscan: "off"
}

const begin = [
  "begin isolation level repeatable read read only",
  ...Object.entries(settings).map(([name, value]) => `set local ${name} = '${value}'`)
].join("; ")

const Before = Schema.Struct({ before: Schema.String })

/** With the settings of a read, and with those of the host afterwards. */
const withSettings = <A, E, R>(
  sql: SqlClient,
  body: Effect.Effect<A, E, R>
): Effect.Effect<A, E | ThreadlineError, R> => {
  const set = (to: string) =>
    rows(
      Before,
      sql`
        with before as materialized (
          select s.key, s.value, current_setting(s.key) as setting
          from json_each_text(${to}::json) s
        )
        select json_object_agg(key, setting)::text as before, count(set_config(key, value, true))::text as changed
        from before`
    )
  return Effect.acquireUseRelease(
    set(JSON.stringify(settings)),
    () => body,
    // In a transaction that failed it cannot be done, and need not be.
    ([saved]) => (saved === undefined ? Effect.void : Effect.either(set(saved.before)))
  )
}

/** Runs a read on one connection under one snapshot; inside a transaction of the host's, in that transaction. */
export const reading = <A, E, R>(
  sql: SqlClient,
  body: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError | ThreadlineError, R> =>
  Effect.flatMap(
    Effect.serviceOption(TransactionConnection),
    (inside): Effect.Effect<A, E | SqlError | ThreadlineError, R> =>
      Option.isSome(inside)
        ? withSettings(sql, body)
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
