/** What the tests of reads share: tables that count as audited, and a log written by hand. */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Query from "../../src/Query.js"
import { stringify } from "../../src/internal/core/json.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import type { JsonValue } from "../../src/internal/core/jsonValue.js"
import * as Capture from "./capture.js"
import { emptiedLog } from "./emptied.js"

/** Reads of a database of the suite's own. */
export const layer = Query.layer.pipe(Layer.provideMerge(TestDatabase.layer))

/** Reads and capture in a database of the suite's own. */
export const layerWithCapture = Query.layer.pipe(Layer.provideMerge(Capture.layer))

export interface TransactionSeed {
  readonly id: string
  readonly xid?: string
  readonly epoch?: number
  readonly occurredAt: string
  readonly actor?: {
    readonly type: string
    readonly id?: string
    readonly label?: string
    readonly impersonator?: { readonly type: string; readonly id?: string; readonly label?: string }
  } | null
  readonly correlationId?: string | null
  readonly requestId?: string
  readonly jobId?: string
  readonly traceId?: string
  readonly source?: string
  readonly dbUser?: string
  readonly meta?: { readonly [key: string]: JsonValue }
  readonly actionId?: string | null
}

export interface ActionSeed {
  readonly id: string
  readonly transactionId: string | null
  readonly name: string
  readonly status?: "ok" | "error"
  readonly actor?: TransactionSeed["actor"]
  readonly correlationId?: string | null
  readonly requestId?: string
  readonly occurredAt?: string
  readonly data?: JsonValue
}

export interface ChangeSeed {
  readonly id: string
  readonly transactionId: string
  readonly at: string
  readonly table?: string
  readonly op: Query.Operation
  readonly key?: string | null
  readonly previousKey?: string | null
  readonly fields?: ReadonlyArray<string> | null
  readonly from?: Query.RowImage | null
  readonly after?: Query.RowImage | null
  readonly details?: JsonValue
}

export interface Log {
  /** When capture of all tables began: at the start of 2026 unless given. */
  readonly capturedSince?: string
  readonly transactions?: ReadonlyArray<TransactionSeed>
  readonly actions?: ReadonlyArray<ActionSeed>
  readonly changes?: ReadonlyArray<ChangeSeed>
}

/** Tables with a policy: `posts` by an integer, `members` by two columns, `things` by a uuid, `notes` by a text, `logs` by nothing. */
export const policies = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const key = (...columns: ReadonlyArray<readonly [name: string, type: string, text: string]>) =>
    JSON.stringify(columns.map(([name, type, text], index) => ({ name, attnum: index + 1, type, text })))
  for (const [table, columns] of [
    ["posts", key(["id", "integer", "text"])],
    ["members", key(["account", "text", "text"], ["person", "integer", "text"])],
    ["things", key(["id", "uuid", "text"])],
    ["notes", key(["id", "text", "text"])],
    ["logs", "[]"]
  ] as const) {
    yield* sql`
      insert into threadline.capture_policies (
        table_schema, table_name, relation, mode, always, on_truncate, key_columns, excluded, masked, columns, partitions,
        source_hash, generator, captured_since
      ) values (
        'public', ${table}, 0, 'statement', false, 'event', ${columns}::jsonb, '{}', '{}', '[]', '{}', '', 1, '2026-01-01'
      )
      on conflict (table_schema, table_name) do update set captured_since = excluded.captured_since, kept_since = null
    `
  }
})

/** Partitions of four months, made by the owner of the schema as in a deployment. */
export const partitions = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* sql`
    select set_config('role', pg_get_userbyid(nspowner), true), threadline.ensure_partitions('2026-01-01', '2026-04-30')
    from pg_namespace
    where nspname = 'threadline'
      and 4 > (
        select count(*)
        from pg_inherits
        join pg_class on oid = inhrelid
        where relname in ('audit_changes_20260101', 'audit_changes_20260201', 'audit_changes_20260301', 'audit_changes_20260401')
      )
  `
})

/** An empty log, with partitions around the times that tests use, and the policies. */
export const reset = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* sql.unsafe(emptiedLog)
  yield* partitions
  yield* policies
})

/** Writes a log as it is given, ids included. */
export const write = Effect.fnUntraced(function* ({
  actions = [],
  capturedSince,
  changes = [],
  transactions = []
}: Log) {
  const sql = yield* SqlClient.SqlClient
  if (capturedSince !== undefined) {
    yield* sql`update threadline.capture_policies set captured_since = ${capturedSince}::timestamptz`
  }
  yield* sql`
    insert into threadline.audit_transactions (
      id, xid, epoch, occurred_at, actor_type, actor_id, actor, correlation_id, request_id, job_id, trace_id,
      source, meta, action_id, db_user, backend_pid
    )
    overriding system value
    select
      (d ->> 'id')::bigint, coalesce(d ->> 'xid', d ->> 'id')::xid8, coalesce((d ->> 'epoch')::int, 1),
      (d ->> 'occurredAt')::timestamptz, d #>> '{actor,type}', d #>> '{actor,id}', nullif(d -> 'actor', 'null'),
      d ->> 'correlationId', d ->> 'requestId', d ->> 'jobId', d ->> 'traceId', d ->> 'source',
      coalesce(d -> 'meta', '{}'), (d ->> 'actionId')::bigint, coalesce(d ->> 'dbUser', 'app'), 1
    from jsonb_array_elements(${stringify(transactions)}::jsonb) d
  `
  yield* sql`
    insert into threadline.audit_actions (
      id, transaction_id, xid, name, status, actor_type, actor_id, actor, correlation_id, request_id, data, occurred_at
    )
    overriding system value
    select
      (d ->> 'id')::bigint, (d ->> 'transactionId')::bigint, '1'::xid8, d ->> 'name', coalesce(d ->> 'status', 'ok'),
      d #>> '{actor,type}', d #>> '{actor,id}', nullif(d -> 'actor', 'null'), d ->> 'correlationId', d ->> 'requestId',
      nullif(d -> 'data', 'null'), coalesce((d ->> 'occurredAt')::timestamptz, now())
    from jsonb_array_elements(${stringify(actions)}::jsonb) d
  `
  yield* sql`
    insert into threadline.audit_changes (
      id, transaction_id, captured_at, table_schema, table_name, op, row_pk, row_key, previous_row_key, changed_fields,
      changed_from, data_after, details
    )
    select
      (d ->> 'id')::bigint, (d ->> 'transactionId')::bigint, (d ->> 'at')::timestamptz, 'public',
      coalesce(d ->> 'table', 'posts'), d ->> 'op',
      case when d ->> 'key' is not null then jsonb_build_object('id', d ->> 'key') end,
      d ->> 'key', d ->> 'previousKey',
      case when jsonb_typeof(d -> 'fields') = 'array' then array(select jsonb_array_elements_text(d -> 'fields')) end,
      nullif(d -> 'from', 'null'), nullif(d -> 'after', 'null'), nullif(d -> 'details', 'null')
    from jsonb_array_elements(${stringify(changes)}::jsonb) d
  `
})

/** A second of 2 January 2026, with microseconds if given. */
export const at = (second: number, micros: number = 0): string =>
  `2026-01-02T00:${String(Math.floor(second / 60)).padStart(2, "0")}:${String(second % 60).padStart(2, "0")}.${String(micros).padStart(6, "0")}Z`

/** Rows carry their tenant; an action is about a tenant through its data. */
export const ofTenant =
  (tenant: string): Query.ReadScope =>
  (surface, columns) =>
    surface === "changes"
      ? columns.sql`${columns.image} ->> 'tenant' = ${tenant}`
      : columns.sql`${columns.data} ->> 'tenant' = ${tenant}`

/** A read as the tenant A. */
export const asA = Query.withScope(ofTenant("A"))

/** The error of a read, as its tag and its sentence; `accepted` if there is none. */
export const refusal = <A, R>(read: Effect.Effect<A, Query.ReadError, R>) =>
  Effect.map(Effect.either(read), (result) =>
    Either.isRight(result) ? "accepted" : `${result.left._tag.replace("threadline/", "")}: ${result.left.message}`
  )

/** A database with a change of the user 7 in January, and one in February. */
export const twoMonths = Layer.tap(TestDatabase.layer, (context) =>
  Effect.provide(
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`select threadline.current_epoch()`
      yield* reset
      yield* write({
        transactions: ["1", "2"].map((id) => ({
          id,
          occurredAt: `2026-0${id}-02T00:00:00Z`,
          actor: { type: "user", id: "7" }
        })),
        changes: ["1", "2"].map((id) => ({
          id,
          transactionId: id,
          at: `2026-0${id}-02T00:00:00Z`,
          op: "insert" as const,
          key: id,
          after: { id }
        }))
      })
    }),
    context
  )
)
