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
  commitUnknown,
  connectionLost,
  decodeIds,
  decodeSetting,
  fromStatement,
  type Ids,
  isSerializationFailure,
  makeAuditError,
  noChanges,
  unreachable,
  wentOn
} from "./errors.js"
import { hasCommitted, outcomeOf, reserve, type Reserved, type Restore, results } from "../sql/owned.js"
import { isCancelled, isConnectionLost, sqlState, wasNeverSent } from "../sql/sqlState.js"
import { identifier, literal } from "../sql/sqlText.js"
import { endedByBody, finishDocument, isContextKept, nothingToFinish, unopenedPart } from "./finish.js"
import { type FailedAction, hostLevel, Level } from "./level.js"

export const isolationLevels = {
  "read committed": "begin isolation level read committed",
  "repeatable read": "begin isolation level repeatable read",
  serializable: "begin isolation level serializable"
} as const

export type Isolation = keyof typeof isolationLevels

/** An audited call, with everything checked and encoded. Its action may only be known after its body. */
export interface Request {
  readonly schema: string
  /** Document of the context. */
  readonly context: string
  readonly hasAction: boolean
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
  /** Records the action, if its document is given, and commits, or releases the savepoint. If that fails, everything is rolled back. */
  readonly complete: (action: string | undefined) => Effect.Effect<Ids, AuditError>
  readonly abandon: Effect.Effect<void>
  /** Releases what it holds. Run it once, after one of the two above. */
  readonly release: Effect.Effect<void>
}

/** What the body of an audited call returned, and the document of its action, if it has one. */
export interface Ran<out A> {
  readonly value: A
  readonly action: string | undefined
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
  body: (running: Running) => Effect.Effect<Ran<A>, E, R>,
  begin: (restore: Restore) => Effect.Effect<Running, AuditError>
): Effect.Effect<Audited<A>, E | AuditError, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(begin(restore), (running) =>
      Effect.exit(restore(body(running))).pipe(
        Effect.flatMap((exit): Effect.Effect<Audited<A>, E | AuditError> =>
          Exit.isSuccess(exit)
            ? Effect.map(running.complete(exit.value.action), (ids) => ({ value: exit.value.value, ...ids }))
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
      complete: (action) => Effect.zipRight(level.close(), commit(reserved, level, request, action)),
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
const endingOf = (schema: string, document: string): Ending => {
  const finish = (of: string) => `${identifier(schema)}.finish(${literal(of)}::pg_catalog.jsonb)::pg_catalog.text`
  const [outcome, read] =
    document === nothingToFinish
      ? ["coalesce(pg_catalog.current_setting('threadline.transaction', true), '')", decodeSetting]
      : [finish(document), decodeIds]
  return { sql: `case when ${isContextKept} then ${outcome} else ${finish(unopenedPart)} end`, read }
}

const commit = (
  { connection, rollback }: Reserved,
  level: Level,
  request: Request,
  action: string | undefined
): Effect.Effect<Ids, AuditError> =>
  Effect.suspend(() => {
    const { requireChanges, schema } = request
    const ending = endingOf(schema, finishDocument({ action, requireChanges }))
    return level.observed.lost === undefined
      ? connection.executeRaw(`${undoOpen(level)}select ${ending.sql} as outcome; commit`, []).pipe(
          Effect.matchEffect({
            onFailure: (error) => Effect.flip(commitError(connection, level, request, error)),
            onSuccess: (raw) => committed(raw, ending)
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
const committed = (raw: unknown, ending: Ending): Effect.Effect<Ids, AuditError> => {
  if (!hasCommitted(raw)) {
    return Effect.fail(
      makeAuditError("TransactionAborted", "COMMIT did not commit: the transaction was aborted before")
    )
  }
  return Option.match(idsOf(raw, ending), {
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
      wasNeverSent(error) ? connectionLost(error) : makeAuditError("OutcomeUnknown", commitUnknown, error)
    )
  }
  const commitFailed = () =>
    makeAuditError("CommitFailed", `COMMIT was refused and everything was rolled back${details(error)}`, error)
  // PostgreSQL may report a serialization failure one statement earlier. For the caller that is the same.
  if (isSerializationFailure(error)) {
    return Effect.succeed(commitFailed())
  }
  if (sqlState(error) === "TL004") {
    return Effect.succeed(makeAuditError("EndedByBody", endedByBody, error))
  }
  // A failed COMMIT has ended the transaction; a failed "finish" has left it open and aborted.
  return Effect.match(connection.executeRaw("select 1", []), {
    onFailure: () => finishError(level, request, error),
    onSuccess: commitFailed
  })
}

const finishError = (level: Level, request: Request, error: SqlError): AuditError => {
  if (request.requireChanges && sqlState(error) === "TL001") {
    return noChanges(error)
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
    `${wentOn}${firstFailure === undefined ? "" : details(firstFailure)}`,
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
    const isPart = request.hasAction || request.requireChanges || request.context !== parent.owner?.context
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
    const finish = (action: string | undefined) =>
      Effect.suspend(() => {
        const { requireChanges, schema } = request
        const ending = endingOf(schema, finishDocument({ action, requireChanges, part: isPart }))
        const message = `${undoOpen(level)}select ${ending.sql} as outcome; release savepoint ${name}`
        return parent.control(message, leave).pipe(
          Effect.mapError((error) => finishError(level, request, error)),
          Effect.flatMap((raw) =>
            Option.match(idsOf(raw, ending), { onNone: () => Effect.fail(closed()), onSome: Effect.succeed })
          )
        )
      }).pipe(Effect.onError(() => undo))
    return {
      level,
      depth: depth + 1,
      complete: (action) => Effect.zipRight(level.close(), finish(action)),
      abandon: Effect.ensuring(level.close(), undo),
      release
    }
  })
