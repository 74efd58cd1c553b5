/**
 * What the schema watch recorded of captured tables, and what capture did about it; and the history of a row with the events of its
 * table as marks between its changes.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Page } from "../../Page.js"
import type { InvalidRequest, NotFound, ThreadlineError } from "../../ThreadlineError.js"
import { formatMicros, Instant, type InstantInput, InstantText, parseMicros } from "../core/instant.js"
import { JsonFromText } from "../core/jsonSchema.js"
import { isObject, JsonObject } from "../core/jsonValue.js"
import {
  canonicalRequest,
  choice,
  Id,
  mustBeObject,
  order,
  type OrderedPaging,
  paging,
  request
} from "../core/request.js"
import { type Change, instantColumn } from "../record/change.js"
import { fulfils, onConditionError } from "../record/condition.js"
import * as cursors from "../record/cursor.js"
import { type KeyInput, TableSchema, tableOf } from "../record/key.js"
import { pageOf } from "../record/page.js"
import { changeColumnNames, judgedChange } from "../record/scope.js"
import { all, rows, type Storage } from "../record/storage.js"
import { checkTables, ofTable, resolveTables } from "../record/tables.js"
import { beginning, history, type HistoryOptions } from "../rows/history.js"

const MaybeText = Schema.NullOr(Schema.String)

/** What capture did about an event. */
const effects = [
  "none",
  "partition attached",
  "partition not attached",
  "partition left",
  "renamed",
  "lapse",
  "lapse begins",
  "lapse ends",
  "applied",
  "removed",
  "failed"
] as const

/**
 * What capture did about an event of the schema:
 *
 * - `none`: nothing was to be done.
 * - `partition attached`: a partition that joined the table is captured; `details.lapse` if it brought rows that are not in the
 *   record.
 * - `partition not attached`: it is not captured until `threadline capture apply`; `details.reason` says why.
 * - `partition left`: it was dropped or detached; `details.lapse` if rows may have gone with it.
 * - `renamed`: the record follows the table, partition or column to its new name.
 * - `lapse`: what was known before does not hold after that instant, because the rows got other values.
 * - `lapse begins`, `lapse ends`: nothing is known of the rows between these instants; `details.gap` says why.
 * - `applied`, `removed`: `threadline capture apply` or `remove` worked on the table, or the watch itself was turned on or off.
 * - `failed`: the watch could not do its work; nothing is known of the table from then on, until the watch works again or
 *   capture is applied.
 *
 * @since 0.1.0
 * @category schemas
 */
export const SchemaEffect = Schema.Literal(...effects)

/**
 * @since 0.1.0
 * @category models
 */
export type SchemaEffect = typeof SchemaEffect.Type

/**
 * Something that was done to the schema around a captured table.
 *
 * @since 0.1.0
 * @category schemas
 */
export const SchemaEvent = Schema.Struct({
  /** Decimal digits. */
  id: Id,
  /** In UTC with microseconds: `2026-11-22T10:00:00.000000Z`. */
  occurredAt: InstantText,
  /** The captured table, under the name that it had after the event; null if it could not be told, or it concerns all of them. */
  tableSchema: MaybeText,
  tableName: MaybeText,
  /** The command as PostgreSQL tags it: `ALTER TABLE`; `capture` and `watch` are Threadline's own. */
  command: Schema.String,
  /** Such as `table`, `partition`, `table column`, `trigger`, `type`, `schema`. */
  objectType: Schema.String,
  /** As SQL writes it. */
  object: Schema.String,
  /** The name before, if it was renamed. */
  oldName: MaybeText,
  newName: MaybeText,
  effect: SchemaEffect,
  /** More of the effect; null if there is none. */
  details: Schema.NullOr(JsonObject),
  /** The role of the database session. */
  dbUser: Schema.String,
  /** The role with whose rights the command ran. */
  role: Schema.String,
  applicationName: MaybeText,
  clientAddr: MaybeText
}).annotations({ identifier: "threadline.SchemaEvent" })

/**
 * @since 0.1.0
 * @category models
 */
export interface SchemaEvent extends Schema.Schema.Type<typeof SchemaEvent> {}

/**
 * Which events of the schema a read shows. Instants are inclusive.
 *
 * @since 0.1.0
 * @category models
 */
export interface SchemaEventFilter extends OrderedPaging {
  /** As in SQL. Events of its former names are found by its present one. */
  readonly table?: string | undefined
  /** What the event did to the capture of its table. */
  readonly effect?: SchemaEffect | undefined
  /** Events at this instant or later. */
  readonly from?: InstantInput | undefined
  /** Events at this instant or earlier. */
  readonly to?: InstantInput | undefined
}

const Request = Schema.Struct({
  table: Schema.optional(TableSchema),
  effect: Schema.optional(choice(...effects)),
  from: Schema.optional(Instant),
  to: Schema.optional(Instant),
  order,
  ...paging
})

const EventRow = Schema.Struct({
  id: Schema.String,
  occurred_at: Schema.String,
  table_schema: MaybeText,
  table_name: MaybeText,
  command: Schema.String,
  object_type: Schema.String,
  object_identity: Schema.String,
  old_name: MaybeText,
  new_name: MaybeText,
  effect: SchemaEffect,
  details: Schema.NullOr(JsonFromText),
  db_user: Schema.String,
  role_name: Schema.String,
  application_name: MaybeText,
  client_addr: MaybeText
})

const eventOf = (row: typeof EventRow.Type): SchemaEvent => ({
  id: row.id,
  occurredAt: row.occurred_at,
  tableSchema: row.table_schema,
  tableName: row.table_name,
  command: row.command,
  objectType: row.object_type,
  object: row.object_identity,
  oldName: row.old_name,
  newName: row.new_name,
  effect: row.effect,
  details: isObject(row.details ?? undefined) ? (row.details as JsonObject) : null,
  dbUser: row.db_user,
  role: row.role_name,
  applicationName: row.application_name,
  clientAddr: row.client_addr
})

/**
 * Whether a reader may see an event: the scope on changes judges a change of which only the table is known. A scope that looks
 * at rows or actors therefore hides events. Events without a table are hidden from every reader with a scope.
 */
const visibleEvent = ({ restriction, sql }: Storage) => {
  if (restriction === undefined) {
    return undefined
  }
  const conditions = new Map<string, Fragment>([
    ["table_schema", sql`c.table_schema`],
    ["table_name", sql`c.table_name`]
  ])
  const json: ReadonlySet<string> = new Set(["image", "before", "meta"])
  const columns = Object.values(changeColumnNames).map(
    (column) => [column, conditions.get(column) ?? (json.has(column) ? sql`null::jsonb` : sql`null::text`)] as const
  )
  return sql`c.table_name is not null and ${fulfils(sql, restriction.changes, judgedChange, Object.fromEntries(columns))}`
}

const position = ({ id, occurredAt }: SchemaEvent): cursors.Position => ({
  major: parseMicros(occurredAt) ?? 0n,
  id: BigInt(id)
})

export const schemaEvents = Effect.fnUntraced(function* (
  storage: Storage,
  filter: SchemaEventFilter,
  /** Leaves out what Threadline did to keep the table captured. */
  withoutApplied = false
): Effect.fn.Return<Page<SchemaEvent>, InvalidRequest | NotFound | ThreadlineError> {
  yield* mustBeObject(filter, "filter")
  const decoded = yield* request(Request)(filter)
  const { name, sql } = storage
  const query: cursors.Query = { kind: "schemaEvents", order: "time", text: canonicalRequest(decoded) }
  const after = decoded.cursor === undefined ? undefined : yield* cursors.decode(storage, query, decoded.cursor)
  const newest = decoded.order === "newest"
  const direction = sql.literal(newest ? "desc" : "asc")
  const [table] = yield* resolveTables(storage, decoded.table === undefined ? [] : [tableOf(decoded.table)])
  if (table !== undefined) {
    yield* checkTables(storage, [table])
  }
  const statement = sql`
    select c.id::text as id, ${instantColumn(sql, "c.captured_at")} as occurred_at, c.table_schema::text as table_schema,
      c.table_name::text as table_name, c.command::text as command, c.object_type::text as object_type,
      c.object_identity, c.old_name, c.new_name, c.effect::text as effect, c.details::text as details,
      c.db_user::text as db_user, c.role_name::text as role_name, c.application_name, pg_catalog.host(c.client_addr) as client_addr
    from (select e.*, e.occurred_at as captured_at from ${name("schema_events")} e) c
    where ${all([
      table === undefined ? undefined : ofTable(storage, table, "c"),
      decoded.effect === undefined ? undefined : sql`c.effect = ${decoded.effect}`,
      decoded.from === undefined ? undefined : sql`c.captured_at >= ${decoded.from}::timestamptz`,
      decoded.to === undefined ? undefined : sql`c.captured_at <= ${decoded.to}::timestamptz`,
      withoutApplied ? sql`c.effect <> 'applied'` : undefined,
      visibleEvent(storage),
      after === undefined
        ? undefined
        : sql`(c.captured_at, c.id) ${sql.literal(newest ? "<" : ">")} (${formatMicros(after.major)}::timestamptz, ${after.id.toString()}::bigint)`
    ])}
    order by c.captured_at ${direction}, c.id ${direction}
    limit ${decoded.limit + 1}`
  const eventRows = yield* rows(EventRow, statement, onConditionError(storage))
  return yield* pageOf(storage, eventRows.map(eventOf), decoded.limit, query, position)
})

/**
 * A page of a row's history, and the events of its table that belong between its changes.
 *
 * @since 0.1.0
 * @category models
 */
export interface HistoryWithEvents {
  /** Changes of the row. */
  readonly page: Page<Change>
  /** In the order of the page, at most 1000. Each event is on one page only. */
  readonly schemaEvents: ReadonlyArray<SchemaEvent>
}

/**
 * An instant so many microseconds later. Events at the instant of the last change of a page are on that page, so the next one
 * begins a microsecond further.
 */
const step = (instant: string, by: bigint): string => formatMicros((parseMicros(instant) ?? 0n) + by)

export const historyWithEvents = Effect.fnUntraced(function* (
  storage: Storage,
  table: string,
  key: KeyInput,
  options: HistoryOptions
): Effect.fn.Return<HistoryWithEvents, InvalidRequest | NotFound | ThreadlineError> {
  const page = yield* history(storage, table, key, options)
  const newest = options.order !== "oldest"
  const edge = page.hasMore ? page.items.at(-1)?.capturedAt : undefined
  const begin = yield* beginning(storage, table, key, options)
  // From the last change of the page before, which is on it, to the last one of this page, which is on this one.
  const span = newest
    ? { from: edge, to: begin === undefined ? undefined : step(begin, -1n) }
    : { from: begin === undefined ? undefined : step(begin, 1n), to: edge }
  const events = yield* schemaEvents(
    storage,
    { table, order: newest ? "newest" : "oldest", limit: 1000, ...span },
    true
  )
  return { page, schemaEvents: events.items }
})
