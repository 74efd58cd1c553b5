/**
 * Records an action that comes without row changes of its own.
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type { Fields } from "../../AuditContext.js"
import type { InvalidRequest } from "../../ThreadlineError.js"
import { type Action, encodeAction, failedAction, type Words } from "./action.js"
import {
  type ActionId,
  type AuditError,
  decodeActionId,
  fromStatement,
  makeAuditError,
  noActionId,
  recordedOrNot,
  unreachable
} from "./errors.js"
import * as telemetry from "../core/telemetry.js"
import { mustHaveOnly } from "../core/request.js"
import { contextFields, resolve } from "./resolve.js"
import { qualified } from "../sql/sqlText.js"
import { placeIn, statementError } from "./transaction.js"
import { single, withoutConnection } from "../sql/owned.js"
import { isConnectionLost, isUnreachable, wasNeverSent } from "../sql/sqlState.js"
import type { FailedAction } from "./level.js"

export interface RecordOptions extends Fields, Words {
  readonly status?: "ok" | "error" | undefined
  readonly allowMissingActor?: boolean | undefined
}

const optionNames = {
  ...contextFields,
  reason: true,
  comment: true,
  status: true,
  allowMissingActor: true
} as const satisfies Record<keyof RecordOptions, true>

const statement = (
  sql: SqlClient.SqlClient,
  schema: string,
  action: string,
  context: string | null
): Effect.Effect<Option.Option<ActionId>, SqlError> =>
  Effect.map(
    single(
      sql`
        select ${sql.literal(qualified(schema, "record_action"))}(${action}::jsonb, ${context}::jsonb)::text as id
      `.withoutTransform
    ),
    (rows) => decodeActionId((rows[0] as { readonly id?: unknown } | undefined)?.id)
  )

/** Why a statement failed that was a transaction by itself. */
const aloneError = (error: SqlError): AuditError => {
  if (isUnreachable(error)) {
    return unreachable(error)
  }
  return isConnectionLost(error) && !wasNeverSent(error) ? recordedOrNot(error) : fromStatement(error)
}

export const makeRecorder =
  (client: SqlClient.SqlClient, schema: string) =>
  (action: Action, options: RecordOptions = {}): Effect.Effect<ActionId, AuditError | InvalidRequest> =>
    Effect.gen(function* () {
      yield* mustHaveOnly(options, optionNames)
      const ambient = yield* Effect.context<never>()
      const where = placeIn(ambient)
      const owner = where._tag === "Inside" ? where.level.owner : undefined
      const resolved = yield* resolve(ambient, options, {
        allowMissingActor: options.allowMissingActor ?? owner?.allowMissingActor ?? false,
        inside: owner !== undefined
      })
      const document = yield* encodeAction(action, options, options.status)
      // Without a context of its own the action takes that of the transaction.
      const context = owner?.context === resolved.document ? null : resolved.document
      const id = yield* Effect.mapError(statement(client.withoutTransforms(), schema, document, context), (error) =>
        where._tag === "Inside" ? statementError(where.level, error) : aloneError(error)
      )
      return yield* Option.match(id, {
        onNone: () => Effect.fail(noActionId()),
        onSome: Effect.succeed
      })
    }).pipe(telemetry.operation("audit", "record"))

/**
 * Records actions whose transactions were rolled back, each in a transaction of its own. Never fails: the caller has a
 * failure to report already.
 */
export const recordFailures = (
  client: SqlClient.SqlClient,
  schema: string,
  failures: ReadonlyArray<FailedAction>
): Effect.Effect<void> =>
  Effect.forEach(
    failures,
    ({ action, context }) =>
      statement(client.withoutTransforms(), schema, failedAction(action), context).pipe(
        Effect.timeoutFail({
          duration: "5 seconds",
          onTimeout: () => makeAuditError("Unreachable", "no connection could be had in time")
        }),
        Effect.catchAll((error) =>
          Effect.logWarning(
            "threadline: the failed action could not be recorded",
            (error._tag === "SqlError" ? fromStatement(error) : error).message
          )
        ),
        // In a fiber of its own, because the calling fiber may be interrupted already.
        Effect.interruptible,
        Effect.forkDaemon,
        Effect.flatMap(Fiber.await)
      ),
    { discard: true }
  ).pipe(withoutConnection)
