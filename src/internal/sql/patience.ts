/**
 * How long DDL waits for locks. It holds the lock of a table while it waits for the lock of a partition. A writer may hold the
 * partition and wait for the table. PostgreSQL then ends the first session that has waited for `deadlock_timeout`. That must
 * never be the writer. So all waits of an attempt together take less than that, and it gives its locks back before any session
 * looks for deadlocks. `lock_timeout` is about one lock. So a statement waits for one lock only, or each of its waits has a part of
 * the time.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as ParseResult from "effect/ParseResult"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"

/** The share of `deadlock_timeout` that an attempt may wait. The rest is for a busy machine, on which giving back takes time. */
const share = 0.5

/** The shortest `deadlock_timeout` of this database, in milliseconds: that of this session, or what a role or the database begins with. */
const deadlockTimeout = `least(
  (select s.setting::float8 from pg_catalog.pg_settings s where s.name = 'deadlock_timeout'),
  (
    select pg_catalog.min(t.parts[1]::float8 * case t.parts[2]
      when 'us' then 0.001 when 's' then 1000 when 'min' then 60000 when 'h' then 3600000 when 'd' then 86400000 else 1 end)
    from pg_catalog.pg_db_role_setting d
    cross join lateral pg_catalog.unnest(d.setconfig) c (setting)
    cross join lateral (
      select pg_catalog.regexp_match(c.setting, '^deadlock_timeout=[[:space:]]*([0-9]+[.]?[0-9]*)[[:space:]]*([a-z]*)[[:space:]]*$') as parts
    ) t
    where d.setdatabase in (0, (select b.oid from pg_catalog.pg_database b where b.datname = pg_catalog.current_database()))
  ))`

const Begun = Schema.Tuple(Schema.Struct({ began: Schema.String, budget: Schema.NumberFromString }))

/** Prepares a statement. `locks` is an expression of SQL: for how many locks the statement may have to wait; one unless it is given. */
export type WithPatience = (statement: string, locks?: string) => string

/**
 * Begins an attempt. It gives a function that prepares a statement: the statement waits for locks no longer than the rest of the
 * attempt's time. A session that waits for a lock of this attempt began to wait after the attempt began.
 */
export const patience = (
  sql: SqlClient,
  lockTimeout: number
): Effect.Effect<WithPatience, SqlError | ParseResult.ParseError> =>
  sql`
    select extract(epoch from pg_catalog.clock_timestamp())::text as began,
      greatest(1, least(${lockTimeout}::int, ${sql.literal(deadlockTimeout)} * ${share}::float8))::int::text as budget
  `.pipe(
    Effect.flatMap(Schema.decodeUnknown(Begun)),
    Effect.map(
      ([{ began, budget }]) =>
        (statement, locks) =>
          `select pg_catalog.set_config('lock_timeout', greatest(1, (${budget} - 1000 * (extract(epoch from pg_catalog.clock_timestamp()) - ${began}))${
            locks === undefined ? "" : ` / greatest(1, ${locks})`
          })::int::text, true);
${statement}`
    )
  )

/** Milliseconds between two attempts: writers that wait for the table go first. */
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
