/**
 * Every read of the audit log: timelines, the history of a row, the row as of an instant, diffs, incident bundles.
 *
 * Reads are bounded and stable in order. A list is a `Page`; what is wanted whole is a stream. Instants are texts in UTC with
 * microseconds, ids are texts of decimal digits, and numbers in row images are exact.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { pipe } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as asOfs from "./internal/queryAsOf.js"
import * as changes from "./internal/queryChange.js"
import * as diffs from "./internal/queryDiff.js"
import * as filters from "./internal/queryFilter.js"
import * as histories from "./internal/queryHistory.js"
import * as incidents from "./internal/queryIncident.js"
import * as instants from "./internal/queryInstant.js"
import type * as json from "./internal/json.js"
import * as jsonText from "./internal/json.js"
import type * as keys from "./internal/queryKey.js"
import * as pages from "./internal/queryPage.js"
import * as sets from "./internal/queryRows.js"
import * as storage from "./internal/queryStorage.js"
import * as timelines from "./internal/queryTimeline.js"
import type { Page } from "./Page.js"
import type { InvalidRequest, NotFound, ThreadlineError } from "./ThreadlineError.js"

/**
 * A JSON value with exact numbers: an integer is a `number` up to 2^53 and a `bigint` beyond it, a number with a decimal point is a
 * `BigDecimal` of the scale that was stored, so that `1.10` stays `1.10`. `toJson` writes the same numbers again.
 *
 * @since 0.1.0
 * @category models
 */
export type JsonValue = json.JsonValue

/**
 * @since 0.1.0
 * @category models
 */
export interface JsonObject extends json.JsonObject {}

/**
 * A row as it was stored, column by column: excluded columns are missing, masked ones hold the text `[masked]`.
 *
 * @since 0.1.0
 * @category models
 */
export type RowImage = changes.RowImage

/**
 * Writes a JSON value as text, its numbers as they were stored.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toJson: (value: JsonValue) => string = jsonText.stringify

/**
 * What happened to a row. `baseline` is a row found when capture began; `truncate` is one change for a whole table, or one for
 * each of its rows, as its policy says.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Operation = changes.Operation

/**
 * @since 0.1.0
 * @category schemas
 */
export type Operation = changes.Operation

/**
 * The database transaction a change belongs to, as far as one context reached: who acted, and from where.
 *
 * @since 0.1.0
 * @category models
 */
export interface AuditTransaction extends changes.AuditTransaction {}

/**
 * The first action of a transaction.
 *
 * @since 0.1.0
 * @category models
 */
export interface ActionReference extends changes.ActionReference {}

/**
 * One captured row change. The fields are those of its JSON.
 *
 * @since 0.1.0
 * @category models
 */
export interface Change extends changes.Change {}

/**
 * The JSON of a change: ids as texts, numbers inside images as they were stored.
 *
 * @since 0.1.0
 * @category conversions
 */
export const changeToJson: (change: Change) => string = changes.changeToJson

/**
 * An instant, with microseconds: ISO 8601 text with a zone (or a date alone, its midnight in UTC), a `Date`, or a `DateTime`.
 *
 * @since 0.1.0
 * @category models
 */
export type InstantInput = instants.InstantInput

/**
 * Decodes an `InstantInput` to its one text, `2026-11-22T10:00:00.123456Z`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Instant = instants.Instant

/**
 * One column of a key. An integer beyond 2^53 is written as text or `bigint`.
 *
 * @since 0.1.0
 * @category models
 */
export type KeyPart = keys.KeyPart

/**
 * The key of a row: its value where one column is the key; an array in key order or an object by column name where several
 * are. A text that holds such an array or object as JSON is understood for a key of several columns.
 *
 * @since 0.1.0
 * @category models
 */
export type KeyInput = keys.KeyInput

/**
 * Which changes a timeline shows; every field is optional, and all that are given must hold.
 *
 * - `table`: as in SQL, `posts` (in `public`), `public.posts` or `"Odd.Schema"."T"`
 * - `key`: a row of that table. Such a timeline is in the order of the row's own life.
 * - `op`: one or several
 * - `actor`: `{ type, id? }`; `unattributed: true`: nobody said who acted
 * - `correlationId`: strictly, transactions with an action that carries it; with `includeCaptureOnly: true` also those that
 *   carry it without an action
 * - `transactionId`
 * - `from`, `to`: when it was captured, both inclusive
 * - `order`: `newest` (default) or `oldest`; `limit`: 1 to 1000, 50 by default; `cursor`: `nextCursor` of the page before
 *
 * @since 0.1.0
 * @category schemas
 */
export const Filter = filters.Filter

/**
 * A filter that was decoded; it is also valid input.
 *
 * @since 0.1.0
 * @category schemas
 */
export type Filter = filters.Filter

/**
 * A filter as callers write it.
 *
 * @since 0.1.0
 * @category models
 */
export interface FilterInput extends filters.FilterInput {}

/**
 * @since 0.1.0
 * @category models
 */
export interface HistoryOptions extends histories.HistoryOptions {}

/**
 * How a row stood at an instant.
 *
 * @since 0.1.0
 * @category models
 */
export type AsOf = asOfs.AsOf

/**
 * The JSON of an as-of, `{ answer, row?, key?, at }`.
 *
 * @since 0.1.0
 * @category conversions
 */
export const asOfToJson: (answer: AsOf) => string = asOfs.asOfToJson

/**
 * A condition over the image of a row, `jsonb`, built with the client of the read: `(image, sql) => sql\`${image} ->> 'state' = 'open'\``.
 * It says the same whenever it is called: a cursor belongs to its text and values.
 *
 * @since 0.1.0
 * @category models
 */
export type ImageCondition = asOfs.ImageCondition

/**
 * Which rows of a table; every field is optional, and all that are given must hold.
 *
 * - `keys`: only these rows, at most 1000
 * - `contains`: only rows whose image has these fields with these values
 * - `where`: only rows whose image is so, as an SQL condition
 * - `limit`: 1 to 1000, 50 by default; `cursor`: `nextCursor` of the page before
 *
 * @since 0.1.0
 * @category models
 */
export interface AsOfRowsOptions extends sets.AsOfRowsOptions {}

/**
 * A row that was present at an instant, with its key as text and by column.
 *
 * @since 0.1.0
 * @category models
 */
export interface RowAsOf extends sets.RowAsOf {}

/**
 * The JSON of a row that was present, `{ rowKey, rowPk, row }`.
 *
 * @since 0.1.0
 * @category conversions
 */
export const rowAsOfToJson: (row: RowAsOf) => string = sets.rowAsOfToJson

/**
 * How the row under one of several keys stood at an instant.
 *
 * @since 0.1.0
 * @category models
 */
export interface KeyAsOf extends sets.KeyAsOf {}

/**
 * The JSON of one of several answers, `{ rowKey, rowPk, answer, row?, key?, at }`.
 *
 * @since 0.1.0
 * @category conversions
 */
export const keyAsOfToJson: (one: KeyAsOf) => string = sets.keyAsOfToJson

/**
 * One field of a diff. `before` is missing where there was no row (or no such column) before, `after` likewise.
 *
 * @since 0.1.0
 * @category models
 */
export interface FieldDiff extends diffs.FieldDiff {}

/**
 * A change and what it did, field by field, sorted by name.
 *
 * @since 0.1.0
 * @category models
 */
export interface ChangeDiff extends diffs.ChangeDiff {}

/**
 * The fields that a change touched: all of them for an insert, a delete and a baseline, the changed ones for an update.
 *
 * @since 0.1.0
 * @category conversions
 */
export const fieldDiffs: (change: Change) => ReadonlyArray<FieldDiff> = diffs.fieldDiffs

/**
 * The JSON of a diff, `{ change, fields: [{ field, before?, after? }] }`.
 *
 * @since 0.1.0
 * @category conversions
 */
export const diffToJson: (diff: ChangeDiff) => string = diffs.diffToJson

/**
 * A row at two instants, and what became of its fields in between.
 *
 * @since 0.1.0
 * @category models
 */
export interface RowDiff extends diffs.RowDiff {}

/**
 * The JSON of a row's diff, `{ from, to, fields: [{ field, before?, after? }] }`, with `from` and `to` as `asOfToJson` has them.
 *
 * @since 0.1.0
 * @category conversions
 */
export const rowDiffToJson: (diff: RowDiff) => string = diffs.rowDiffToJson

/**
 * @since 0.1.0
 * @category models
 */
export interface IncidentOptions extends incidents.IncidentOptions {}

/**
 * One transaction with its actions, its changes and their diffs, and the other parts of the same database transaction.
 *
 * @since 0.1.0
 * @category models
 */
export interface Incident extends incidents.Incident {}

/**
 * The JSON of an incident; its changes are a page.
 *
 * @since 0.1.0
 * @category conversions
 */
export const incidentToJson: (incident: Incident) => string = incidents.incidentToJson

/**
 * Why a read failed.
 *
 * @since 0.1.0
 * @category errors
 */
export type ReadError = InvalidRequest | NotFound | ThreadlineError

/**
 * @since 0.1.0
 * @category services
 */
export interface Service {
  /**
   * Changes newest first: by transaction, and within a transaction by change. Changes of one transaction stand together.
   *
   * `NotFound` where the table of the filter is neither audited nor has changes.
   */
  readonly timeline: (filter?: FilterInput) => Effect.Effect<Page<Change>, ReadError>
  /** The same, whole and in constant memory. `limit` is about pages and is not looked at. */
  readonly timelineStream: (filter?: FilterInput) => Stream.Stream<Change, ReadError>
  /**
   * All changes of one row, newest first by capture time: under its key, those that moved it to another key or from one, and
   * each TRUNCATE of its table that ended its life.
   */
  readonly history: (table: string, key: KeyInput, options?: HistoryOptions) => Effect.Effect<Page<Change>, ReadError>
  /** The same, whole and in constant memory. */
  readonly historyStream: (
    table: string,
    key: KeyInput,
    options?: Omit<HistoryOptions, "limit">
  ) => Stream.Stream<Change, ReadError>
  /** How a row stood at an instant; a change captured at that very instant counts. */
  readonly asOf: (table: string, key: KeyInput, instant: InstantInput) => Effect.Effect<AsOf, ReadError>
  /** The same of up to 1000 rows of one table, in the order of the keys given. */
  readonly asOfKeys: (
    table: string,
    keys: ReadonlyArray<KeyInput>,
    instant: InstantInput
  ) => Effect.Effect<ReadonlyArray<KeyAsOf>, ReadError>
  /**
   * The rows of a table that were present at an instant, in the order of their keys as text (by bytes). Keys are looked at one
   * after another, so a condition that few rows meet gives partial pages.
   *
   * `NotFound` where the table is neither audited nor has changes, `InvalidRequest` where its rows have no key.
   */
  readonly asOfRows: (
    table: string,
    instant: InstantInput,
    options?: AsOfRowsOptions
  ) => Effect.Effect<Page<RowAsOf>, ReadError>
  /** The same, whole and in constant memory. */
  readonly asOfRowsStream: (
    table: string,
    instant: InstantInput,
    options?: Omit<AsOfRowsOptions, "limit">
  ) => Stream.Stream<RowAsOf, ReadError>
  /** One change, field by field. */
  readonly diff: (changeId: string) => Effect.Effect<ChangeDiff, ReadError>
  /**
   * A row at two instants, field by field: what differs where it was present both times, all of its fields where it was once.
   * It stays with the key: a row that moved away is `MovedTo` in `to`.
   */
  readonly diffBetween: (
    table: string,
    key: KeyInput,
    from: InstantInput,
    to: InstantInput
  ) => Effect.Effect<RowDiff, ReadError>
  /** One transaction with everything that belongs to it. `limit`, `order` and `cursor` are about its changes. */
  readonly incident: (transactionId: string, options?: IncidentOptions) => Effect.Effect<Incident, ReadError>
}

/**
 * The reads. They need select on Threadline's tables, and nothing else of the database.
 *
 * @since 0.1.0
 * @category services
 */
export class Query extends Context.Tag("threadline/Query")<Query, Service>() {}

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Query, never, SqlClient.SqlClient> = Layer.effect(
  Query,
  Effect.map(storage.make, (from) =>
    Query.of({
      timeline: (filter = {}) =>
        timelines
          .timeline(from, filter)
          .pipe(Effect.withSpan("threadline.query.timeline", { captureStackTrace: false })),
      timelineStream: (filter = {}) =>
        pages
          .streamPages(filter.cursor, (cursor) =>
            timelines.timeline(from, { ...filter, limit: pages.streamLimit, cursor })
          )
          .pipe(Stream.withSpan("threadline.query.timelineStream", { captureStackTrace: false })),
      history: (table, key, options = {}) =>
        histories
          .history(from, table, key, options)
          .pipe(Effect.withSpan("threadline.query.history", { captureStackTrace: false })),
      historyStream: (table, key, options = {}) =>
        pages
          .streamPages(options.cursor, (cursor) =>
            histories.history(from, table, key, { ...options, limit: pages.streamLimit, cursor })
          )
          .pipe(Stream.withSpan("threadline.query.historyStream", { captureStackTrace: false })),
      asOf: (table, key, instant) =>
        asOfs
          .asOf(from, table, key, instant)
          .pipe(Effect.withSpan("threadline.query.asOf", { captureStackTrace: false })),
      asOfKeys: (table, keys, instant) =>
        sets
          .asOfKeys(from, table, keys, instant)
          .pipe(Effect.withSpan("threadline.query.asOfKeys", { captureStackTrace: false })),
      asOfRows: (table, instant, options = {}) =>
        sets
          .asOfRows(from, table, instant, options)
          .pipe(Effect.withSpan("threadline.query.asOfRows", { captureStackTrace: false })),
      asOfRowsStream: (table, instant, options = {}) =>
        pages
          .streamPages(options.cursor, (cursor) =>
            sets.asOfRows(from, table, instant, { ...options, limit: pages.streamLimit, cursor })
          )
          .pipe(Stream.withSpan("threadline.query.asOfRowsStream", { captureStackTrace: false })),
      diff: (changeId) =>
        diffs.diff(from, changeId).pipe(Effect.withSpan("threadline.query.diff", { captureStackTrace: false })),
      diffBetween: (table, key, first, second) =>
        diffs
          .diffBetween(from, table, key, first, second)
          .pipe(Effect.withSpan("threadline.query.diffBetween", { captureStackTrace: false })),
      incident: (transactionId, options = {}) =>
        incidents
          .incident(from, transactionId, options)
          .pipe(Effect.withSpan("threadline.query.incident", { captureStackTrace: false }))
    })
  )
)

/**
 * Changes newest first: by transaction, and within a transaction by change.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Query } from "threadline"
 * import * as Effect from "effect/Effect"
 *
 * export const program = Effect.gen(function* () {
 *   const page = yield* Query.timeline({ table: "posts", actor: { type: "user", id: "42" }, limit: 10 })
 *   for (const change of page.items) {
 *     yield* Effect.log(`${change.op} ${change.tableName} ${change.rowKey}`)
 *   }
 *   return page.nextCursor
 * })
 * ```
 */
export const timeline = (filter?: FilterInput): Effect.Effect<Page<Change>, ReadError, Query> =>
  Effect.flatMap(Query, (query) => query.timeline(filter))

/**
 * Every change that a filter lets through, page by page behind the scenes.
 *
 * @since 0.1.0
 * @category accessors
 */
export const timelineStream = (filter?: FilterInput): Stream.Stream<Change, ReadError, Query> =>
  pipe(
    Query,
    Effect.map((query) => query.timelineStream(filter)),
    Stream.unwrap
  )

/**
 * All changes of one row, newest first by capture time.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Query } from "threadline"
 *
 * export const post = Query.history("posts", "1")
 *
 * export const membership = Query.history("public.members", { account: "acme", person: 7 }, { limit: 10 })
 * ```
 */
export const history = (
  table: string,
  key: KeyInput,
  options?: HistoryOptions
): Effect.Effect<Page<Change>, ReadError, Query> => Effect.flatMap(Query, (query) => query.history(table, key, options))

/**
 * Every change of one row.
 *
 * @since 0.1.0
 * @category accessors
 */
export const historyStream = (
  table: string,
  key: KeyInput,
  options?: Omit<HistoryOptions, "limit">
): Stream.Stream<Change, ReadError, Query> =>
  pipe(
    Query,
    Effect.map((query) => query.historyStream(table, key, options)),
    Stream.unwrap
  )

/**
 * How a row stood at an instant.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Query } from "threadline"
 * import * as Effect from "effect/Effect"
 *
 * export const title = Effect.map(Query.asOf("posts", "1", "2026-11-22T10:00:00Z"), (answer) =>
 *   answer._tag === "Present" ? answer.row["title"] : undefined
 * )
 * ```
 */
export const asOf = (table: string, key: KeyInput, instant: InstantInput): Effect.Effect<AsOf, ReadError, Query> =>
  Effect.flatMap(Query, (query) => query.asOf(table, key, instant))

/**
 * How up to 1000 rows of one table stood at an instant.
 *
 * @since 0.1.0
 * @category accessors
 */
export const asOfKeys = (
  table: string,
  keys: ReadonlyArray<KeyInput>,
  instant: InstantInput
): Effect.Effect<ReadonlyArray<KeyAsOf>, ReadError, Query> =>
  Effect.flatMap(Query, (query) => query.asOfKeys(table, keys, instant))

/**
 * The rows of a table that were present at an instant.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Query } from "threadline"
 *
 * export const open = Query.asOfRows("invoices", "2026-11-22T10:00:00Z", { contains: { state: "open" } })
 *
 * export const large = Query.asOfRows("invoices", "2026-11-22T10:00:00Z", {
 *   where: (image, sql) => sql`(${image} ->> 'total')::numeric > ${1000}`
 * })
 * ```
 */
export const asOfRows = (
  table: string,
  instant: InstantInput,
  options?: AsOfRowsOptions
): Effect.Effect<Page<RowAsOf>, ReadError, Query> =>
  Effect.flatMap(Query, (query) => query.asOfRows(table, instant, options))

/**
 * Every row of a table that was present at an instant.
 *
 * @since 0.1.0
 * @category accessors
 */
export const asOfRowsStream = (
  table: string,
  instant: InstantInput,
  options?: Omit<AsOfRowsOptions, "limit">
): Stream.Stream<RowAsOf, ReadError, Query> =>
  pipe(
    Query,
    Effect.map((query) => query.asOfRowsStream(table, instant, options)),
    Stream.unwrap
  )

/**
 * One change, field by field.
 *
 * @since 0.1.0
 * @category accessors
 */
export const diff = (changeId: string): Effect.Effect<ChangeDiff, ReadError, Query> =>
  Effect.flatMap(Query, (query) => query.diff(changeId))

/**
 * A row at two instants, field by field.
 *
 * @since 0.1.0
 * @category accessors
 */
export const diffBetween = (
  table: string,
  key: KeyInput,
  from: InstantInput,
  to: InstantInput
): Effect.Effect<RowDiff, ReadError, Query> => Effect.flatMap(Query, (query) => query.diffBetween(table, key, from, to))

/**
 * One transaction with everything that belongs to it.
 *
 * @since 0.1.0
 * @category accessors
 */
export const incident = (transactionId: string, options?: IncidentOptions): Effect.Effect<Incident, ReadError, Query> =>
  Effect.flatMap(Query, (query) => query.incident(transactionId, options))
