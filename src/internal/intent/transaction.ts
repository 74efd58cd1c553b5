/**
 * How audited transactions begin and end. One that is outermost owns its connection, BEGIN and COMMIT; one inside another, or
 * inside a transaction of the host's, is a savepoint.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Tracer from "effect/Tracer"
import * as AuditContext from "../../AuditContext.js"
import {
  type AuditError,
  type Audited,
  closed,
  connectionLost,
  decodeIds,
  decodeSetting,
  fromStatement,
  type Ids,
  isSerializationFailure,
  makeAuditError,
  unreachable
} from "./errors.js"
import { hasCommitted, outcomeOf, reserve, type Reserved, type Restore, results } from "../sql/owned.js"
import { isCancelled, isConnectionLost, sqlState, wasNeverSent } from "../sql/sqlState.js"
import { identifier, literal } from "../sql/sqlText.js"
import { endedByBody, finishDocument, isContextKept, refused } from "./finish.js"
import { type FailedAction, hostLevel, Level } from "./level.js"

export const isolationLevels = {
  "read committed": "begin isolation level read committed",
  "repeatable read": "begin isolation level repeatable read",
  serializable: "begin isolation level serializable"
} as const

export type Isolation = keyof typeof isolationLevels

/** An audited call, with everything checked and encoded. */
export interface Request {
  readonly schema: string
  /** Document of the context. */
  readonly context: string
  /** The action, if there is one; its document is known at the latest when the transaction is completed. */
  readonly action: { document: string | undefined } | undefined
  readonly requireChanges: boolean
  readonly allowMissingActor: boolean
  readonly isolation: Isolation | undefined
}

/** Where an audited call runs: outside of any transaction, or inside one. */
export type Place =
  { readonly _tag: "Outside" } | { readonly _tag: "Inside"; readonly level: Level; readonly depth: number }

/** A transaction or savepoint that has begun. */
export interface Running {
  readonly level: Level
  readonly depth: number
  /** Commits it, or releases it as a savepoint. If that fails, everything is rolled back. */
  readonly complete: Effect.Effect<Ids, AuditError>
  readonly abandon: Effect.Effect<void>
  /** Releases what it holds. Run it once, after one of the two above. */
  readonly release: Effect.Effect<void>
}

/** Where an effect with this context runs. */
export const placeIn = (context: Context.Context<never>): Place =>
  Option.match(Context.getOption(context, SqlClient.TransactionConnection), {
    onNone: (): Place => ({ _tag: "Outside" }),
    onSome: ([connection, depth]): Place => ({
      _tag: "Inside",
      level: connection instanceof Level ? connection : hostLevel(connection),
      depth
    })
  })

/**
 * A context with the connection of a running transaction, and with everything that one level of audited calls adds. Statements
 * and `sql.withTransaction` then use that connection.
 */
export const inside = <R>(
  context: Context.Context<R>,
  running: Running,
  fields: AuditContext.Fields,
  span: Tracer.Span
): Context.Context<R> =>
  Context.merge(
    context,
    Context.make(SqlClient.TransactionConnection, [running.level, running.depth]).pipe(
      Context.add(AuditContext.AuditContext, fields),
      Context.add(Tracer.ParentSpan, span)
    )
  )

/**
 * Runs the body of an audited call that `begin` opens. It is all or nothing: only the body can be interrupted, the end of the
 * transaction cannot.
 */
export const run = <A, E, R>(
  body: (running: Running) => Effect.Effect<A, E, R>,
  begin: (restore: Restore) => Effect.Effect<Running, AuditError>
): Effect.Effect<Audited<A>, E | AuditError, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(begin(restore), (running) =>
      Effect.exit(restore(body(running))).pipe(
        Effect.flatMap((exit): Effect.Effect<Audited<A>, E | AuditError> =>
          Exit.isSuccess(exit)
            ? Effect.map(running.complete, (ids) => ({ value: exit.value, ...ids }))
            : Effect.zipRight(running.abandon, Effect.failCause(causeOf(exit.cause, running)))
        ),
        Effect.ensuring(running.release)
      )
    )
  )

// The host's own errors pass unchanged. A lost connection, found by a statement of the body, is not the host's error.
export const whereLost =
  ({ level: { observed } }: Running) =>
  <E>(error: E): E | AuditError =>
    observed.lost !== undefined && Object.is(Cause.originalError(error), Cause.originalError(observed.lost))
      ? connectionLost(observed.lost)
      : error

// The host's own `sql.withTransaction` inside the body dies if it cannot roll back. On a lost connection it cannot.
const causeOf = <E>(cause: Cause.Cause<E>, running: Running): Cause.Cause<E | AuditError> => {
  const connectionError = running.level.observed.lost
  const defects = connectionError === undefined ? Chunk.empty<unknown>() : Cause.defects(cause)
  return connectionError !== undefined &&
    Chunk.isNonEmpty(defects) &&
    Chunk.every(defects, (defect) => defect instanceof SqlError && isConnectionLost(defect))
    ? Cause.fail(connectionLost(connectionError))
    : Cause.map(cause, whereLost(running))
}

/** Opens a transaction of our own on a connection of its own. */
export const beginOwned = (
  sql: SqlClient.SqlClient,
  request: Request,
  failures: Array<FailedAction>,
  restore: Restore
): Effect.Effect<Running, AuditError> =>
  Effect.gen(function* () {
    const reserved = yield* Effect.mapError(reserve(sql, restore), unreachable)
    const { connection, release, rollback } = reserved
    const begin = request.isolation === undefined ? "begin" : isolationLevels[request.isolation]
    const context = call(request.schema, "set_context", request.context)
    yield* restore(connection.executeRaw(`${begin}; ${context} as outcome`, [])).pipe(
      Effect.mapError(fromStatement),
      Effect.map((raw) => outcomeOf(results(raw).at(-1))),
      Effect.filterOrFail(Predicate.isNotNullable, () =>
        makeAuditError("Failed", "the client's answer to BEGIN is not that of a PostgreSQL driver")
      ),
      Effect.onError(() => Effect.ensuring(rollback, release))
    )
    const level = new Level(
      connection,
      { lost: undefined, failed: undefined },
      { context: request.context, allowMissingActor: request.allowMissingActor, failures }
    )
    return {
      level,
      depth: 0,
      complete: Effect.zipRight(level.close(), commit(reserved, level, request)),
      abandon: Effect.ensuring(level.close(), rollback),
      release
    }
  })

const call = (schema: string, name: string, document: string): string =>
  `select ${identifier(schema)}.${name}(${literal(document)}::pg_catalog.jsonb)`

/** The end of an audited call: an expression for the last message of its level, and how to read its value. */
interface Ending {
  readonly sql: string
  readonly read: (outcome: unknown) => Option.Option<Ids>
}

/**
 * Calls `finish` if there is something to record, to check or to end. Otherwise the transaction's setting holds what `finish`
 * would return. `set_context` has removed anything that another transaction left in it.
 */
const ending = (request: Request, part: boolean): Ending => {
  const finish = (document: string) =>
    `${identifier(request.schema)}.finish(${literal(document)}::pg_catalog.jsonb)::pg_catalog.text`
  const document = finishDocument(request.action?.document, request.requireChanges, part)
  const [outcome, read] =
    document === "{}"
      ? ["coalesce(pg_catalog.current_setting('threadline.transaction', true), '')", decodeSetting]
      : [finish(document), decodeIds]
  return { sql: `case when ${isContextKept} then ${outcome} else ${finish(refused)} end`, read }
}

const commit = ({ connection, rollback }: Reserved, level: Level, request: Request): Effect.Effect<Ids, AuditError> =>
  Effect.suspend(() => {
    // Only now: the action may come from the result of the body.
    const end = ending(request, false)
    return level.observed.lost === undefined
      ? connection.executeRaw(`${undoOpen(level)}select ${end.sql} as outcome; commit`, []).pipe(
          Effect.matchEffect({
            onFailure: (error) => Effect.flip(commitError(connection, level, request, error)),
            onSuccess: (raw) => committed(raw, end)
          })
        )
      : Effect.fail(connectionLost(level.observed.lost))
  }).pipe(Effect.onError(() => rollback))

/** The ids in the answer to a message. The ending is its last statement but one. */
const idsOf = (raw: unknown, { read }: Ending): Option.Option<Ids> => read(outcomeOf(results(raw).at(-2)))

// An audited call in a fiber of its own may still be open when the enclosing call ends. It has not succeeded, so it is undone.
const undoOpen = (level: Level): string =>
  level.inner === undefined ? "" : `rollback to savepoint ${level.inner}; release savepoint ${level.inner}; `

/** Reads the answer of the last message. If the transaction was aborted, COMMIT answers ROLLBACK, and the driver reports no error. */
const committed = (raw: unknown, end: Ending): Effect.Effect<Ids, AuditError> => {
  if (!hasCommitted(raw)) {
    return Effect.fail(
      makeAuditError("TransactionAborted", "COMMIT did not commit: the transaction was aborted before")
    )
  }
  return Option.match(idsOf(raw, end), {
    onNone: () => Effect.fail(makeAuditError("EndedByBody", endedByBody)),
    onSome: Effect.succeed
  })
}

/** Why the last message failed. Either of its two statements may be what failed. */
const commitError = (
  connection: Connection,
  level: Level,
  request: Request,
  error: SqlError
): Effect.Effect<AuditError> => {
  if (isConnectionLost(error) || sqlState(error) === undefined) {
    return Effect.succeed(
      wasNeverSent(error)
        ? connectionLost(error)
        : makeAuditError(
            "OutcomeUnknown",
            "the connection was lost while COMMIT was under way: the transaction may or may not have been committed",
            error
          )
    )
  }
  const refused = () =>
    makeAuditError("CommitFailed", `COMMIT was refused and everything was rolled back${details(error)}`, error)
  // PostgreSQL may report a serialization failure one statement earlier. For the caller that is the same.
  if (isSerializationFailure(error)) {
    return Effect.succeed(refused())
  }
  if (sqlState(error) === "TL004") {
    return Effect.succeed(makeAuditError("EndedByBody", endedByBody, error))
  }
  // A failed COMMIT has ended the transaction; a failed "finish" has left it open and aborted.
  return Effect.match(connection.executeRaw("select 1", []), {
    onFailure: () => finishError(level, request, error),
    onSuccess: refused
  })
}

const finishError = (level: Level, request: Request, error: SqlError): AuditError => {
  if (request.requireChanges && sqlState(error) === "TL001") {
    return makeAuditError(
      "NoChanges",
      "the transaction was to capture a change and captured none; it was rolled back",
      error
    )
  }
  return sqlState(error) === "TL004" ? makeAuditError("EndedByBody", endedByBody, error) : statementError(level, error)
}

/** Why a statement of Threadline's own failed inside a transaction. */
export const statementError = (level: Level, error: SqlError): AuditError =>
  sqlState(error) === "25P02" ? aborted(level, error) : fromStatement(error)

const aborted = (level: Level, error: SqlError): AuditError => {
  const firstFailure = level.observed.failed
  return makeAuditError(
    "TransactionAborted",
    "a statement failed, which aborts a transaction, and the body went on as if it had not" +
      (firstFailure === undefined ? "" : details(firstFailure)),
    firstFailure ?? error
  )
}

/** SQLSTATE and constraint: neither names a value. */
const details = (error: SqlError): string => {
  const cause = error.cause
  const constraint =
    Predicate.hasProperty(cause, "constraint") && typeof cause.constraint === "string" ? cause.constraint : undefined
  return ` (SQLSTATE ${sqlState(error) ?? "unknown"}${constraint === undefined ? "" : `, constraint ${constraint}`})`
}

/**
 * Opens a savepoint inside a transaction. It is an audited part of its own if it has an action, if it requires changes, or if its
 * context differs from the enclosing one. Otherwise it shares the enclosing audit transaction.
 */
export const beginInside = (
  parent: Level,
  depth: number,
  request: Request,
  failures: Array<FailedAction>,
  restore: Restore
): Effect.Effect<Running, AuditError> =>
  Effect.gen(function* () {
    yield* parent.takeTurn(restore)
    const release = parent.passTurn
    const name = `threadline_${depth + 1}`
    const isPart = request.action !== undefined || request.requireChanges || request.context !== parent.owner?.context
    const leave = () => {
      parent.inner = undefined
    }
    const undo = parent.control(`rollback to savepoint ${name}; release savepoint ${name}`, leave).pipe(
      Effect.retry({ while: isCancelled, times: 9 }),
      // If this fails the transaction stays aborted, or the enclosing call has undone it already.
      Effect.matchEffect({ onFailure: () => Effect.void, onSuccess: () => Effect.void })
    )

    yield* parent
      .control(`savepoint ${name}${isPart ? `; ${call(request.schema, "begin_part", request.context)}` : ""}`, () => {
        parent.inner = name
      })
      .pipe(
        Effect.mapError((error) => statementError(parent, error)),
        Effect.onError(() => Effect.ensuring(undo, release))
      )

    const level = new Level(parent, parent.observed, {
      context: request.context,
      allowMissingActor: request.allowMissingActor,
      failures
    })
    const end = Effect.suspend(() => {
      const lastly = ending(request, isPart)
      return parent.control(`${undoOpen(level)}select ${lastly.sql} as outcome; release savepoint ${name}`, leave).pipe(
        Effect.mapError((error) => finishError(level, request, error)),
        Effect.flatMap((raw) =>
          Option.match(idsOf(raw, lastly), { onNone: () => Effect.fail(closed()), onSome: Effect.succeed })
        )
      )
    }).pipe(Effect.onError(() => undo))
    return {
      level,
      depth: depth + 1,
      complete: Effect.zipRight(level.close(), end),
      abandon: Effect.ensuring(level.close(), undo),
      release
    }
  })
