/**
 * The feed into a column store: ClickHouse over HTTP. A batch may come again, so the table keeps one row for each id of a change.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { Feed, Json } from "threadline"

class ClickHouseError extends Schema.TaggedError<ClickHouseError>()("ClickHouseError", {
  status: Schema.Int,
  detail: Schema.String
}) {}

/** What an analyst groups by has columns; images stay documents, with their exact numbers. */
export const createTable = `
  create table if not exists changes (
    id UInt64,
    transaction_id UInt64,
    captured_at String,
    table_schema String,
    table_name String,
    op String,
    row_key Nullable(String),
    actor_type Nullable(String),
    actor_id Nullable(String),
    action Nullable(String),
    changed_from Nullable(String),
    data_after Nullable(String)
  )
  engine = ReplacingMergeTree
  order by (table_schema, table_name, id)`

const image = (value: Json.JsonObject | null) => (value === null ? null : Json.stringify(value))

const lineOf = (change: Feed.Batch["changes"][number]): string => {
  const { actor } = change.transaction
  return JSON.stringify({
    id: change.id,
    transaction_id: change.transactionId,
    captured_at: change.capturedAt,
    table_schema: change.tableSchema,
    table_name: change.tableName,
    op: change.op,
    row_key: change.rowKey,
    actor_type: actor?.type ?? null,
    actor_id: actor !== null && "id" in actor ? actor.id : null,
    action: change.action?.name ?? null,
    changed_from: image(change.changedFrom),
    data_after: image(change.dataAfter)
  })
}

/** Runs a statement; what it answered. */
export const query = (origin: string, statement: string, data = "") =>
  Effect.tryPromise({
    try: (signal) => fetch(`${origin}/?query=${encodeURIComponent(statement)}`, { method: "POST", body: data, signal }),
    catch: (cause) => new ClickHouseError({ status: 0, detail: String(cause) })
  }).pipe(
    Effect.flatMap((response) =>
      Effect.flatMap(
        Effect.promise(() => response.text()),
        (text) =>
          response.ok
            ? Effect.succeed(text)
            : new ClickHouseError({ status: response.status, detail: text.slice(0, 500) })
      )
    )
  )

/** Copies what is captured, until it is interrupted if it is `live`. */
export const copy = (origin: string, options: { readonly live: boolean }) =>
  Feed.consume(
    "clickhouse",
    ({ changes }) =>
      query(origin, "insert into changes format JSONEachRow", changes.map((change) => `${lineOf(change)}\n`).join("")),
    { ...options, limit: 10_000 }
  )
