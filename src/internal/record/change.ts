/**
 * A change as every read returns it: its model, which is also its JSON, and the columns it is read from.
 *
 * Models are schemas for the boundaries of a host. Rows are read by `rowDecoder`, which is faster.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { Fragment } from "@effect/sql/Statement"
import * as Schema from "effect/Schema"
import * as Actor from "../../Actor.js"
import { InstantText, parseMicros } from "../core/instant.js"
import { stringify } from "../core/json.js"
import { JsonFromText, JsonObjectFromText } from "../core/jsonSchema.js"
import { recordOfTexts } from "../core/jsonRecord.js"
import { Id } from "../core/request.js"
import { isObject, JsonObject, JsonValue, marked } from "../core/jsonValue.js"
import { captureMayPrecede } from "../core/limits.js"
import { shortTextRule } from "../core/text.js"

const Text = Schema.String
const MaybeText = Schema.NullOr(Schema.String)

/**
 * What happened to a row. `baseline` is a row that was there when capture began. `truncate` is one change for a whole table, or one
 * for each of its rows, as the policy of the table says.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Operation = Schema.Literal("insert", "update", "delete", "truncate", "baseline")

/**
 * @since 0.1.0
 * @category models
 */
export type Operation = typeof Operation.Type

/**
 * A row as it was stored, as a schema.
 */
export const RowImage = JsonObject

/**
 * A row as it was stored, column by column. An excluded column is missing. A masked column holds the string `[masked]`.
 *
 * @since 0.1.0
 * @category models
 */
export type RowImage = JsonObject

/** Key column to canonical text. */
export const RowPk = recordOfTexts

export type RowPk = typeof RowPk.Type

/**
 * The database transaction of a change: who acted, and from where. A database transaction with several contexts has one for each.
 *
 * @since 0.1.0
 * @category schemas
 */
export const AuditTransaction = Schema.Struct({
  /** Decimal digits. */
  id: Id,
  /** When it captured its first change, in UTC with microseconds: `2026-11-22T10:00:00.000000Z`. */
  occurredAt: InstantText,
  /** Null if unattributed. */
  actor: Schema.NullOr(Actor.Actor),
  correlationId: MaybeText,
  requestId: MaybeText,
  jobId: MaybeText,
  traceId: MaybeText,
  /** Where the work came from, as the host names it: `web`, `worker`. */
  source: MaybeText,
  /** The address of the client that the host served. */
  remoteIp: MaybeText,
  /** Further facts that the host gave. */
  meta: JsonObject,
  /** What was wrong with its context. The wrong parts are left out. */
  contextError: MaybeText,
  /** The role of the database session. Null for a reader whose scope shows an action of the transaction and no change. */
  dbUser: MaybeText,
  applicationName: MaybeText,
  /** The address of the database client. */
  clientAddr: MaybeText
}).annotations({ identifier: "threadline.AuditTransaction" })

/**
 * @since 0.1.0
 * @category models
 */
export interface AuditTransaction extends Schema.Schema.Type<typeof AuditTransaction> {}

/**
 * The first action of a transaction that the reader may see.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ActionReference = Schema.Struct({
  /** Decimal digits. */
  id: Id,
  /** Such as `post.created`. */
  name: Text,
  status: Schema.Literal("ok", "error"),
  correlationId: MaybeText
}).annotations({ identifier: "threadline.ActionReference" })

/**
 * @since 0.1.0
 * @category models
 */
export interface ActionReference extends Schema.Schema.Type<typeof ActionReference> {}

/**
 * One captured row change. The fields are those of its JSON.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Change = Schema.Struct({
  /** Decimal digits. */
  id: Id,
  /** Decimal digits. */
  transactionId: Id,
  /** In UTC with microseconds: `2026-11-22T10:00:00.000000Z`. */
  capturedAt: InstantText,
  tableSchema: Text,
  /** A partitioned table is recorded under its root's name. */
  tableName: Text,
  /** The partition, if the statement named it. */
  partitionName: MaybeText,
  op: Operation,
  /** Key column to canonical text; null if the table has no key, or the change is of a whole table. */
  rowPk: Schema.NullOr(RowPk),
  /** The key as one text. */
  rowKey: MaybeText,
  /** The key before an update that moved it. */
  previousRowKey: MaybeText,
  /** The columns that an update changed; null for every other change. */
  changedFields: Schema.NullOr(Schema.Array(Text)),
  /** The old values of the changed fields of an update; the whole row of a delete. */
  changedFrom: Schema.NullOr(RowImage),
  /** The whole row after an insert or an update, or as a baseline found it. */
  dataAfter: Schema.NullOr(RowImage),
  /** What else is known of the change, such as the number of rows that a TRUNCATE removed. */
  details: JsonValue,
  transaction: AuditTransaction,
  /** The first action of the transaction that the reader may see. Null if there is none: without a scope, the change is capture-only. */
  action: Schema.NullOr(ActionReference)
}).annotations({ identifier: "threadline.Change" })

/**
 * @since 0.1.0
 * @category models
 */
export interface Change extends Schema.Schema.Type<typeof Change> {}

const transactionFields = {
  t_id: Text,
  t_occurred_at: Text,
  t_actor_type: MaybeText,
  t_actor_id: MaybeText,
  t_actor: Schema.NullOr(JsonFromText),
  t_correlation_id: MaybeText,
  t_request_id: MaybeText,
  t_job_id: MaybeText,
  t_trace_id: MaybeText,
  t_source: MaybeText,
  t_remote_ip: MaybeText,
  t_meta: JsonObjectFromText,
  t_context_error: MaybeText,
  t_db_user: MaybeText,
  t_application_name: MaybeText,
  t_client_addr: MaybeText
}

const actionFields = {
  a_id: MaybeText,
  a_name: MaybeText,
  a_status: Schema.NullOr(Schema.Literal("ok", "error")),
  a_correlation_id: MaybeText
}

const changeFields = {
  id: Text,
  transaction_id: Text,
  captured_at: Text,
  table_schema: Text,
  table_name: Text,
  partition_name: MaybeText,
  op: Operation,
  row_pk: Schema.NullOr(JsonObjectFromText),
  row_key: MaybeText,
  previous_row_key: MaybeText,
  changed_fields: Schema.NullOr(Schema.parseJson(Schema.Array(Text))),
  changed_from: Schema.NullOr(JsonObjectFromText),
  data_after: Schema.NullOr(JsonObjectFromText),
  details: Schema.NullOr(JsonFromText)
}

/** A row with the columns of `changeColumns`. */
export const ChangeColumns = Schema.Struct(changeFields)

/** A row with the columns of `transactionColumns` and `actionColumns`. */
export const TransactionRow = Schema.Struct({ ...transactionFields, ...actionFields })

/** A row with the columns of `changeColumns`, `transactionColumns` and `actionColumns`. */
export const ChangeRow = Schema.Struct({ ...changeFields, ...transactionFields, ...actionFields })

const satisfies = Schema.is(Actor.Actor)

const types: ReadonlySet<JsonValue | undefined> = new Set(Actor.identifiedTypes)

const isShort = (value: JsonValue | undefined): boolean => shortTextRule(value) === undefined

/** Whether it certainly is an actor, as nearly all are. The schema takes much longer, and a page has fifty of them. */
const isPlain = (document: JsonValue): boolean =>
  isObject(document) &&
  types.has(document["type"]) &&
  isShort(document["id"]) &&
  Object.keys(document).every(
    (part) => part === "type" || part === "id" || (part === "label" && isShort(document["label"]))
  )

const isActor = (document: unknown): document is Actor.Actor => isPlain(document as JsonValue) || satisfies(document)

/** The document with its parts in one order. jsonb does not keep an order. */
const inOrder = (actor: Actor.Actor): Actor.Actor =>
  ({
    type: actor.type,
    ...(actor.type === "anonymous" ? {} : { id: actor.id }),
    ...(actor.label === undefined ? {} : { label: actor.label }),
    ...(actor.impersonator === undefined ? {} : { impersonator: inOrder(actor.impersonator) })
  }) as Actor.Actor

export const actorOf = (document: JsonValue, type: string | null, id: string | null): Actor.Actor | null => {
  if (isActor(document)) {
    return inOrder(document)
  }
  // A row written by hand may have no document, or an odd one. The columns that are searched still name the actor.
  const fromColumns = id === null ? { type } : { type, id }
  return isActor(fromColumns) ? fromColumns : null
}

/** The key by column. Its values are strings by contract, but a row written by hand may hold a number. */
export const rowPkOf = (rowPk: JsonObject | null): RowPk | null =>
  rowPk === null || isOfTexts(rowPk)
    ? rowPk
    : Object.fromEntries(
        Object.entries(rowPk).map(([column, value]) => [column, typeof value === "string" ? value : stringify(value)])
      )

const isOfTexts = (rowPk: JsonObject): rowPk is { readonly [column: string]: string } => {
  for (const column in rowPk) {
    if (typeof rowPk[column] !== "string") {
      return false
    }
  }
  return true
}

export const transactionOf = (row: typeof TransactionRow.Type): AuditTransaction => ({
  id: row.t_id,
  occurredAt: row.t_occurred_at,
  actor: actorOf(row.t_actor, row.t_actor_type, row.t_actor_id),
  correlationId: row.t_correlation_id,
  requestId: row.t_request_id,
  jobId: row.t_job_id,
  traceId: row.t_trace_id,
  source: row.t_source,
  remoteIp: row.t_remote_ip,
  meta: row.t_meta,
  contextError: row.t_context_error,
  dbUser: row.t_db_user,
  applicationName: row.t_application_name,
  clientAddr: row.t_client_addr
})

export const actionOf = (row: typeof TransactionRow.Type): ActionReference | null =>
  row.a_id === null || row.a_name === null || row.a_status === null
    ? null
    : { id: row.a_id, name: row.a_name, status: row.a_status, correlationId: row.a_correlation_id }

export const changeWith = (
  row: typeof ChangeColumns.Type,
  transaction: AuditTransaction,
  action: ActionReference | null
): Change => {
  const change = {
    id: row.id,
    transactionId: row.transaction_id,
    capturedAt: row.captured_at,
    tableSchema: row.table_schema,
    tableName: row.table_name,
    partitionName: row.partition_name,
    op: row.op,
    rowPk: rowPkOf(row.row_pk),
    rowKey: row.row_key,
    previousRowKey: row.previous_row_key,
    changedFields: row.changed_fields,
    changedFrom: row.changed_from,
    dataAfter: row.data_after,
    details: row.details,
    transaction,
    action
  }
  return typeof row.details === "bigint" ? marked(change) : change
}

export const changeOf = (row: typeof ChangeRow.Type): Change => changeWith(row, transactionOf(row), actionOf(row))

/** An instant column as the text that `Instant` has. */
export const instantColumn = (sql: SqlClient, column: string): Fragment =>
  sql`pg_catalog.to_char(${sql.literal(column)} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`

/** The columns of a change under the alias `c`. If `hidden` is true, what they say of the row before the change is left out. */
export const changeColumns = (sql: SqlClient, hidden?: Fragment): Fragment => {
  const before = (expression: string): Fragment =>
    hidden === undefined
      ? sql.literal(expression)
      : sql`case when ${hidden} then null else ${sql.literal(expression)} end`
  return sql`
  c.id::text as id,
  c.transaction_id::text as transaction_id,
  ${instantColumn(sql, "c.captured_at")} as captured_at,
  c.table_schema::text as table_schema,
  c.table_name::text as table_name,
  c.partition_name::text as partition_name,
  c.op::text as op,
  c.row_pk::text as row_pk,
  c.row_key::text as row_key,
  ${before("c.previous_row_key::text")} as previous_row_key,
  ${before("pg_catalog.to_json(c.changed_fields)::text")} as changed_fields,
  ${before("c.changed_from::text")} as changed_from,
  c.data_after::text as data_after,
  c.details::text as details`
}

/** The number of `changeColumns`. */
export const changeColumnCount = Object.keys(changeFields).length

/**
 * The columns of a transaction under the alias `t`. If `hidden` is true, its own context is left out: it shows that of the action
 * under the alias `a`, as far as an action has one.
 */
export const transactionColumns = (sql: SqlClient, hidden?: Fragment): Fragment => {
  const own = (expression: string, ofAction: string): Fragment =>
    hidden === undefined
      ? sql.literal(expression)
      : sql`case when ${hidden} then ${sql.literal(ofAction)} else ${sql.literal(expression)} end`
  return sql`
  t.id::text as t_id,
  ${instantColumn(sql, "t.occurred_at")} as t_occurred_at,
  ${own("t.actor_type::text", "a.actor_type::text")} as t_actor_type,
  ${own("t.actor_id::text", "a.actor_id::text")} as t_actor_id,
  ${own("t.actor::text", "a.actor::text")} as t_actor,
  ${own("t.correlation_id::text", "a.correlation_id::text")} as t_correlation_id,
  ${own("t.request_id::text", "a.request_id::text")} as t_request_id,
  ${own("t.job_id::text", "a.job_id::text")} as t_job_id,
  ${own("t.trace_id::text", "a.trace_id::text")} as t_trace_id,
  ${own("t.source::text", "null")} as t_source,
  ${own("pg_catalog.abbrev(t.remote_ip)", "null")} as t_remote_ip,
  ${own("t.meta::text", "'{}'")} as t_meta,
  ${own("t.context_error::text", "a.context_error::text")} as t_context_error,
  ${own("t.db_user::text", "null")} as t_db_user,
  ${own("t.application_name::text", "null")} as t_application_name,
  ${own("pg_catalog.abbrev(t.client_addr)", "null")} as t_client_addr`
}

/** The columns of an action under the alias `a`. */
export const actionColumns = (sql: SqlClient): Fragment => sql`
  a.id::text as a_id,
  a.name::text as a_name,
  a.status::text as a_status,
  a.correlation_id::text as a_correlation_id`

/** The first instant at which a transaction can have captured a change, from the instant of its first one. */
export const earliestCapture = (sql: SqlClient, occurredAt: Fragment): Fragment =>
  sql`${occurredAt} - ${sql.literal(`interval '${captureMayPrecede}'`)}`

/** Where a change stands in the life of its row. */
export const rowPosition = (change: Change): { readonly major: bigint; readonly id: bigint } => ({
  major: parseMicros(change.capturedAt) ?? 0n,
  id: BigInt(change.id)
})

/** Where a change stands in a timeline. */
export const timelinePosition = (change: Change): { readonly major: bigint; readonly id: bigint } => ({
  major: BigInt(change.transactionId),
  id: BigInt(change.id)
})
