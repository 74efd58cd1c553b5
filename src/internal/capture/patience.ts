/**
 * How long DDL waits for locks. It holds the lock of a table while it waits for that of a partition, and a writer may hold and want
 * the same two the other way round. PostgreSQL then ends the one that looks first: whoever has waited for `deadlock_timeout`. It must
 * never be the writer, so an attempt waits for less than that in all and gives its locks back before anybody looks.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as ParseResult from "effect/ParseResult"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"

/** Of the server's `deadlock_timeout`, in milliseconds: what an attempt may take. */
const share = 0.8

const Begun = Schema.Tuple(Schema.Struct({ began: Schema.String, budget: Schema.NumberFromString }))

/**
 * Begins an attempt. A statement that is given to the answer waits for a lock no longer than what is left of the attempt's time:
 * whoever waits for a lock of this attempt began to after the attempt did.
 */
export const patience = (
  sql: SqlClient,
  lockTimeout: number
): Effect.Effect<(statement: string) => string, SqlError | ParseResult.ParseError> =>
  sql`
    select extract(epoch from pg_catalog.clock_timestamp())::text as began,
      least(${lockTimeout}::int, s.setting::int * ${share}::float8)::int::text as budget
    from pg_catalog.pg_settings s
    where s.name = 'deadlock_timeout'
  `.pipe(
    Effect.flatMap(Schema.decodeUnknown(Begun)),
    Effect.map(
      ([{ began, budget }]) =>
        (statement) =>
          `select pg_catalog.set_config('lock_timeout', greatest(1, ${budget} - 1000 * (extract(epoch from pg_catalog.clock_timestamp()) - ${began}))::int::text, true);
${statement}`
    )
  )

/** Pause between two attempts: writers that wait for the table go first. */
const pause = 50

/** Tries until `lockTimeout` has passed. An attempt that is running is not ended. */
export const persisting = <A, E, R>(
  attempt: Effect.Effect<A, E, R>,
  lockTimeout: number,
  isContended: (error: E) => boolean
): Effect.Effect<A, E, R> =>
  Effect.flatMap(Clock.currentTimeMillis, (start) =>
    Effect.retry(attempt, {
      schedule: Schedule.jittered(Schedule.spaced(pause)),
      while: (error) =>
        isContended(error)
          ? Effect.map(Clock.currentTimeMillis, (now) => now + pause < start + lockTimeout)
          : Effect.succeed(false)
    })
  )
