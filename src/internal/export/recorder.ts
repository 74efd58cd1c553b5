/**
 * Every export is an action in the record: who requested it, which changes, and how many there were. Exports that ended early
 * are recorded too.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as AuditContext from "../../AuditContext.js"
import { fromSqlError, ThreadlineError } from "../../ThreadlineError.js"
import { stringify, unsafeParse } from "../core/json.js"
import type { JsonValue } from "../core/jsonValue.js"
import { canonicalFilter } from "../search/everything.js"
import { single, withoutConnection, writing } from "../sql/owned.js"
import { qualified } from "../sql/sqlText.js"
import { hasColumns } from "./request.js"
import type { Outcome, Recorder } from "./stream.js"

export const actionOf = (outcome: Outcome): { readonly [field: string]: JsonValue } => {
  switch (outcome._tag) {
    case "Completed": {
      const { bytes, columns, count, filter, format, scope, sha256, snapshot } = outcome.manifest
      return {
        name: "export.completed",
        status: "ok",
        verb: "export",
        data: { format, columns, filter, scope, count, bytes, sha256, snapshot }
      }
    }
    case "Ended": {
      const { bytes, facts, records, request, why } = outcome
      return {
        name: "export.ended",
        status: "error",
        verb: "export",
        reason: why,
        data: {
          format: request.format,
          columns: hasColumns(request.format) ? request.columns : null,
          filter: unsafeParse(canonicalFilter(request.filter)),
          scope: facts.restricted ? (request.scopeName ?? "unnamed") : null,
          count: records,
          bytes,
          snapshot: facts.snapshot
        }
      }
    }
  }
}

const noPlace = (reason: "InsufficientPrivilege" | "ReadOnly", detail: string) =>
  new ThreadlineError({ reason, detail })

/** Records exports through a client of a primary, as any role that has a grant. */
export const makeRecorder = (client: SqlClient, schema: string): Recorder => {
  const sql = client.withoutTransforms()
  const name = qualified(schema, "record_export")
  return {
    check: withoutConnection(
      Effect.flatMap(
        Effect.mapError(
          single(
            sql<{ readonly recovering: string; readonly allowed: string }>`
              select
                pg_is_in_recovery()::text as recovering,
                pg_catalog.has_function_privilege(${`${name}(jsonb, jsonb)`}, 'execute')::text as allowed`
          ),
          fromSqlError
        ),
        ([row]): Effect.Effect<void, ThreadlineError> =>
          row?.recovering === "true"
            ? noPlace(
                "ReadOnly",
                "an export is recorded as an action, and this server is a replica that takes none: name a writer for it"
              )
            : row?.allowed === "true"
              ? Effect.void
              : noPlace(
                  "InsufficientPrivilege",
                  'an export is recorded as an action, and this role may not record one; "threadline grant" lets it'
                )
      )
    ),
    record: (outcome, context) =>
      withoutConnection(
        Effect.asVoid(
          Effect.mapError(
            writing(
              sql,
              sql`select ${sql.literal(name)}(${stringify(actionOf(outcome))}::jsonb, ${AuditContext.encode(context)}::jsonb)`
            ),
            fromSqlError
          )
        )
      )
  }
}
