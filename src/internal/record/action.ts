/**
 * Recorded actions: their model, the columns they are read from, and their JSON.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { Fragment } from "@effect/sql/Statement"
import * as Schema from "effect/Schema"
import type { Actor } from "../../Actor.js"
import type { JsonObject, JsonValue } from "../core/json.js"
import { stringify } from "../core/json.js"
import { JsonFromText } from "../core/jsonSchema.js"
import { type ActionReference, actorOf, actorToValue, instantColumn } from "./change.js"

/** An action as it was recorded. */
export interface Action extends ActionReference {
  /** Null where it captured no row, or was recorded after a rollback. */
  readonly transactionId: string | null
  readonly occurredAt: string
  readonly actor: Actor | null
  readonly verb: string | null
  readonly category: string | null
  readonly reason: string | null
  readonly comment: string | null
  readonly requestId: string | null
  readonly jobId: string | null
  readonly traceId: string | null
  /** What the action was about. */
  readonly subject: { readonly type: string | null; readonly id: string | null } | null
  readonly data: JsonValue
}

const MaybeText = Schema.NullOr(Schema.String)
const MaybeJson = Schema.NullOr(JsonFromText)

/** A row with the columns of `actionRowColumns`. */
export const ActionRow = Schema.Struct({
  id: Schema.String,
  transaction_id: MaybeText,
  occurred_at: Schema.String,
  name: Schema.String,
  status: Schema.Literal("ok", "error"),
  actor: MaybeJson,
  actor_type: MaybeText,
  actor_id: MaybeText,
  verb: MaybeText,
  category: MaybeText,
  reason: MaybeText,
  comment: MaybeText,
  correlation_id: MaybeText,
  request_id: MaybeText,
  job_id: MaybeText,
  trace_id: MaybeText,
  subject_type: MaybeText,
  subject_id: MaybeText,
  data: MaybeJson
})

/** All columns of an action under the alias `a`. */
export const actionRowColumns = (sql: SqlClient): Fragment => sql`
  a.id::text as id,
  a.transaction_id::text as transaction_id,
  ${instantColumn(sql, "a.occurred_at")} as occurred_at,
  a.name::text as name,
  a.status::text as status,
  a.actor::text as actor,
  a.actor_type::text as actor_type,
  a.actor_id::text as actor_id,
  a.verb::text as verb,
  a.category::text as category,
  a.reason::text as reason,
  a.comment::text as comment,
  a.correlation_id::text as correlation_id,
  a.request_id::text as request_id,
  a.job_id::text as job_id,
  a.trace_id::text as trace_id,
  a.subject_type::text as subject_type,
  a.subject_id::text as subject_id,
  a.data::text as data`

export const actionOfRow = (row: typeof ActionRow.Type): Action => ({
  id: row.id,
  transactionId: row.transaction_id,
  occurredAt: row.occurred_at,
  name: row.name,
  status: row.status,
  actor: actorOf(row.actor, row.actor_type, row.actor_id),
  verb: row.verb,
  category: row.category,
  reason: row.reason,
  comment: row.comment,
  correlationId: row.correlation_id,
  requestId: row.request_id,
  jobId: row.job_id,
  traceId: row.trace_id,
  subject: row.subject_type === null && row.subject_id === null ? null : { type: row.subject_type, id: row.subject_id },
  data: row.data
})

export const recordedActionToValue = (action: Action): JsonObject => ({
  id: action.id,
  transactionId: action.transactionId,
  occurredAt: action.occurredAt,
  name: action.name,
  status: action.status,
  actor: action.actor === null ? null : actorToValue(action.actor),
  verb: action.verb,
  category: action.category,
  reason: action.reason,
  comment: action.comment,
  correlationId: action.correlationId,
  requestId: action.requestId,
  jobId: action.jobId,
  traceId: action.traceId,
  subject: action.subject,
  data: action.data
})

export const actionToJson = (action: Action): string => stringify(recordedActionToValue(action))
