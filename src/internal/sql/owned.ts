/**
 * The one way to own a transaction: a connection that is ours alone, its BEGIN and its end. It is all or nothing. The wait for
 * the connection, and what runs between BEGIN and COMMIT, can be interrupted. The end cannot. The client's own
 * `sql.withTransaction` dies if COMMIT or ROLLBACK fails, and takes a COMMIT that answers ROLLBACK for success.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Scope from "effect/Scope"
import { endsWithin, leavable, LeavableConnection } from "./leaving.js"
import { isCancelled, isConnectionLost, reasonOf, sqlState, wasNeverSent } from "./sqlState.js"
import { literal } from "./sqlText.js"

export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** A connection that is ours until it is released. */
export interface Reserved {
  readonly connection: Connection
  /** Undoes the transaction that is open. Never fails, and never takes long. */
  readonly rollback: Effect.Effect<void>
  /** Run it once, after the end of the transaction. */
  readonly release: Effect.Effect<void>
  /** Notes that a statement was left that has not ended. The connection is then never given to anything else. */
  readonly noteLeft: () => void
}

/** Waits for a connection. `restore` says whether the wait can be interrupted. Call it in an uninterruptible region. */
export const reserve = (sql: SqlClient.SqlClient, restore: Restore): Effect.Effect<Reserved, SqlError> =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const giveBack = Scope.close(scope, Exit.void)
    // The driver's `reserve` loses its connection if it is interrupted while it waits for one, so it runs in a fiber that is not.
    const arriving = yield* Effect.forkDaemon(Effect.uninterruptible(Scope.extend(sql.reserve, scope)))
    const target = yield* Effect.onInterrupt(restore(Effect.flatten(Fiber.await(arriving))), () =>
      Effect.forkDaemon(Effect.zipRight(Fiber.await(arriving), giveBack))
    )
    const connection = new LeavableConnection(target)
    return {
      connection,
      rollback: Effect.suspend(() => (connection.hasLeft ? discard(connection) : rollback(connection))),
      // A cancellation that comes too late would hit a statement of the next user of the connection.
      release: Effect.suspend(() => (connection.hasLeft ? Effect.ensuring(discard(connection), giveBack) : giveBack)),
      noteLeft: connection.noteLeft
    }
  })

/** Sends a message that undoes something. A cancellation that was meant for an earlier statement may still hit it. */
const undo = (connection: Connection, message: string): Effect.Effect<unknown, SqlError> =>
  Effect.retry(connection.executeRaw(message, []), { while: isCancelled, times: 9 })

// The pool drops a connection that is gone by itself.
const rollback = (connection: Connection): Effect.Effect<void> =>
  Effect.suspend(() => {
    let isDone = false
    const attempt = Effect.match(undo(connection, "rollback"), {
      onFailure: (error) => {
        isDone = isConnectionLost(error)
      },
      onSuccess: () => {
        isDone = true
      }
    })
    return Effect.zipRight(
      endsWithin(attempt, "2 seconds"),
      Effect.suspend(() => (isDone ? Effect.void : discard(connection)))
    )
  })

// The pool drops a connection whose client was ended. A transaction that did not roll back must never reach another user of the
// pool.
const discard = (connection: Connection): Effect.Effect<void> =>
  Effect.suspend(() => {
    const client = Predicate.hasProperty(connection, "pg") ? connection.pg : undefined
    return Predicate.hasProperty(client, "end") && typeof client.end === "function"
      ? endsWithin(
          Effect.promise(() => Promise.resolve((client.end as () => unknown)()).catch(() => undefined)),
          "1 second"
        )
      : Effect.logWarning("threadline: a connection could not be rolled back")
  })

/** Results of a message of several statements, as the driver gives them. */
export const results = (raw: unknown): ReadonlyArray<unknown> => (Array.isArray(raw) ? raw : [raw])

/** Whether the last statement of a message was a COMMIT that committed. In an aborted transaction COMMIT answers ROLLBACK. */
export const hasCommitted = (raw: unknown): boolean => {
  const last = results(raw).at(-1)
  return Predicate.hasProperty(last, "command") && last.command === "COMMIT"
}

const commit = (connection: Connection): Effect.Effect<void, SqlError> =>
  connection.executeRaw("commit", []).pipe(
    Effect.mapError((error) =>
      !wasNeverSent(error) && (isConnectionLost(error) || sqlState(error) === undefined)
        ? failure(
            `the connection was lost while COMMIT was under way: it may or may not have happened (${reasonOf(error)})`,
            sqlState(error) ?? "08007"
          )
        : error
    ),
    Effect.filterOrFail(hasCommitted, () =>
      failure("COMMIT did not commit: a statement had failed, and what followed went on as if it had not", "25P02")
    ),
    Effect.asVoid
  )

/** An error in the form of one of the server. */
const failure = (message: string, code: string): SqlError =>
  new SqlError({ cause: Object.assign(new Error(message), { code }), message })

/** How a transaction or a savepoint can end. */
interface Ends {
  readonly keep: Effect.Effect<unknown, SqlError>
  /** Never fails. If a savepoint cannot be undone, the transaction of the caller stays aborted, and its own end undoes everything. */
  readonly undo: Effect.Effect<unknown>
}

/** Ends what a body ran in. It cannot be interrupted. */
type End = <A, E, R>(ran: Effect.Effect<A, E | SqlError, R>, ends: Ends) => Effect.Effect<A, E | SqlError, R>

const keeping: End = (ran, { keep, undo }) =>
  ran.pipe(
    Effect.zipLeft(keep),
    Effect.onError(() => undo)
  )

const undoing: End = (ran, { undo }) => Effect.ensuring(ran, undo)

/** Runs a body on a connection of its own, after `begin`. */
const owning = <A, E, R>(
  sql: SqlClient.SqlClient,
  begin: string,
  body: Effect.Effect<A, E, R>,
  end: End
): Effect.Effect<A, E | SqlError, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(reserve(sql, restore), ({ connection, release, rollback }) => {
      const inside = Effect.provideService(body, SqlClient.TransactionConnection, [connection, 0])
      const ran = restore(Effect.zipRight(connection.executeRaw(begin, []), inside))
      return Effect.ensuring(end<A, E, R>(ran, { keep: commit(connection), undo: rollback }), release)
    })
  )

/**
 * Runs a body in a transaction on a connection of its own, which the statements of the body then use. `begin` is one message,
 * BEGIN and what is set for the transaction.
 */
export const transaction = <A, E, R>(
  sql: SqlClient.SqlClient,
  begin: string,
  body: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError, R> => owning(sql, begin, body, keeping)

/** The connection of the transaction that the fiber is in, with its depth. */
const enclosing = Effect.serviceOption(SqlClient.TransactionConnection)

/** Whether the fiber is in a transaction already. */
export const isInside: Effect.Effect<boolean> = Effect.map(enclosing, Option.isSome)

/** A statement of Threadline's own that may be left if it is interrupted. Inside a transaction, the connection already does that. */
export const single = <A, E, R>(statement: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(isInside, (inside) => (inside ? statement : leavable(statement)))

/** Runs an effect outside of every transaction. */
export const withoutConnection = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.mapInputContext(
    effect,
    (context: Context.Context<R>) => Context.omit(SqlClient.TransactionConnection)(context) as Context.Context<R>
  )

const owningOrSavepoint = <A, E, R>(
  sql: SqlClient.SqlClient,
  begin: string,
  body: Effect.Effect<A, E, R>,
  end: End
): Effect.Effect<A, E | SqlError, R> =>
  Effect.flatMap(enclosing, (outer): Effect.Effect<A, E | SqlError, R> =>
    Option.isSome(outer) ? savepoint(...outer.value, body, end) : owning(sql, begin, body, end)
  )

/** Runs a body in a transaction of its own. Inside a transaction of the caller's it is a savepoint. */
export const transactionOrSavepoint = <A, E, R>(
  sql: SqlClient.SqlClient,
  begin: string,
  body: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError, R> => owningOrSavepoint(sql, begin, body, keeping)

/** Runs a body as `transactionOrSavepoint` does. At its end it is undone, however it ends. */
export const rolledBack = <A, E, R>(
  sql: SqlClient.SqlClient,
  begin: string,
  body: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError, R> => owningOrSavepoint(sql, begin, body, undoing)

/** Runs a body after a savepoint. */
const savepoint = <A, E, R>(
  connection: Connection,
  depth: number,
  body: Effect.Effect<A, E, R>,
  end: End
): Effect.Effect<A, E | SqlError, R> => {
  const name = `threadline_owned_${depth + 1}`
  return Effect.uninterruptibleMask((restore) =>
    end<A, E, R>(
      Effect.zipRight(
        connection.executeRaw(`savepoint ${name}`, []),
        restore(Effect.provideService(body, SqlClient.TransactionConnection, [connection, depth + 1]))
      ),
      {
        keep: connection.executeRaw(`release savepoint ${name}`, []),
        undo: Effect.either(undo(connection, `rollback to savepoint ${name}; release savepoint ${name}`))
      }
    )
  )
}

/** Settings of a transaction. A value is a list of words, as PostgreSQL writes it. */
export type Settings = { readonly [name: string]: string }

const setLocal = (settings: Settings): string =>
  Object.entries(settings)
    .map(([name, value]) => `; set local ${name} to ${value.split(", ").map(literal).join(", ")}`)
    .join("")

/** A transaction that changes something, whatever the role's defaults are. */
export const beginWriting = (settings: Settings = {}): string =>
  `begin isolation level read committed read write${setLocal(settings)}`

/**
 * A statement that changes something, in a transaction of its own. With the role's defaults it could not run if these are read-only, and
 * would fail beside other writers if they are stricter than READ COMMITTED. Inside a transaction of the caller's, it is a part of that
 * one.
 */
export const writing = <A, E, R>(
  sql: SqlClient.SqlClient,
  statement: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError, R> =>
  Effect.flatMap(isInside, (inside): Effect.Effect<A, E | SqlError, R> =>
    inside ? statement : transaction(sql, beginWriting(), statement)
  )

/**
 * Runs reads under one snapshot, with settings of their own. Inside a transaction of the caller's, they run in that transaction,
 * under its snapshots. Its settings are restored afterwards.
 */
export const snapshot = <A, E, R>(
  sql: SqlClient.SqlClient,
  settings: Settings,
  body: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError, R> =>
  Effect.flatMap(enclosing, (outer): Effect.Effect<A, E | SqlError, R> =>
    Option.isSome(outer)
      ? withSettings(outer.value[0], settings, body)
      : transaction(sql, `begin isolation level repeatable read read only${setLocal(settings)}`, body)
  )

/** A snapshot on a connection of its own. */
export interface Snapshot extends Pick<Reserved, "connection" | "noteLeft"> {
  /**
   * Ends it before its scope does, and gives its connection back. Whoever holds a connection must not wait for a second one: if all of a
   * pool do so, none of them ever ends.
   */
  readonly end: Effect.Effect<void>
}

/** A snapshot that lasts as long as the scope. It has a connection of its own, even if the fiber is in a transaction. */
export const scopedSnapshot = (
  sql: SqlClient.SqlClient,
  settings: Settings
): Effect.Effect<Snapshot, SqlError, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const { connection, noteLeft, release, rollback } = yield* reserve(sql, restore)
      let hasEnded = false
      const end = Effect.uninterruptible(
        Effect.suspend(() => {
          if (hasEnded) {
            return Effect.void
          }
          hasEnded = true
          return Effect.ensuring(rollback, release)
        })
      )
      yield* Effect.addFinalizer(() => end)
      yield* restore(connection.executeRaw(`begin isolation level repeatable read read only${setLocal(settings)}`, []))
      return { connection, noteLeft, end }
    })
  )

const withSettings = <A, E, R>(
  connection: Connection,
  settings: Settings,
  body: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError, R> => {
  const set = (document: string) =>
    Effect.map(
      connection.executeRaw(
        `with before as materialized (
          select s.key, s.value, pg_catalog.current_setting(s.key) as setting
          from pg_catalog.json_each_text($1::pg_catalog.json) s
        )
        select
          pg_catalog.json_object_agg(key, setting)::pg_catalog.text as outcome,
          pg_catalog.count(pg_catalog.set_config(key, value, true))
        from before`,
        [document]
      ),
      outcomeOf
    )
  return Effect.acquireUseRelease(
    set(JSON.stringify(settings)),
    () => body,
    // In a failed transaction this is impossible, and not needed.
    (before) => (typeof before === "string" ? Effect.either(set(before)) : Effect.void)
  )
}

/** The column "outcome" of a result's first row. */
export const outcomeOf = (result: unknown): unknown => {
  const row: unknown = Predicate.hasProperty(result, "rows") && Array.isArray(result.rows) ? result.rows[0] : undefined
  return Predicate.hasProperty(row, "outcome") ? row.outcome : undefined
}
