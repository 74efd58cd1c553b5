/**
 * Recorded actions: their model, which is also their JSON, and the columns they are read from.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { Fragment } from "@effect/sql/Statement"
import * as Schema from "effect/Schema"
import { Actor } from "../../Actor.js"
import { InstantText } from "../core/instant.js"
import { JsonFromText } from "../core/jsonSchema.js"
import { Id } from "../core/request.js"
import { actorOf, instantColumn } from "./change.js"
import { JsonValue, marked } from "../core/jsonValue.js"

const MaybeText = Schema.NullOr(Schema.String)
const MaybeJson = Schema.NullOr(JsonFromText)

/**
 * A recorded intent.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Action = Schema.Struct({
  /** Decimal digits. */
  id: Id,
  /** Null if its transaction captured no row, or if it was recorded after a rollback. */
  transactionId: Schema.NullOr(Id),
  /** In UTC with microseconds: `2026-11-22T10:00:00.000000Z`. */
  occurredAt: InstantText,
  /** Such as `post.created`. */
  name: Schema.String,
  /** `error` if the attempt failed. */
  status: Schema.Literal("ok", "error"),
  /** Null if unattributed. */
  actor: Schema.NullOr(Actor),
  verb: MaybeText,
  category: MaybeText,
  reason: MaybeText,
  comment: MaybeText,
  correlationId: MaybeText,
  requestId: MaybeText,
  jobId: MaybeText,
  traceId: MaybeText,
  /** What the action was about. */
  subject: Schema.NullOr(Schema.Struct({ type: MaybeText, id: MaybeText })),
  /** What the host recorded with it. */
  data: JsonValue,
  /** What was wrong with the context of the action; its wrong parts are left out. */
  contextError: MaybeText
}).annotations({ identifier: "threadline.Action" })

/**
 * @since 0.1.0
 * @category models
 */
export interface Action extends Schema.Schema.Type<typeof Action> {}

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
  data: MaybeJson,
  context_error: MaybeText
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
  a.data::text as data,
  a.context_error::text as context_error`

export const actionOfRow = (row: typeof ActionRow.Type): Action =>
  marked({
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
    subject:
      row.subject_type === null && row.subject_id === null ? null : { type: row.subject_type, id: row.subject_id },
    data: row.data,
    contextError: row.context_error
  })
