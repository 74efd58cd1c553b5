/**
 * Every read of the audit log: timelines, the history of a row, the row as of an instant, diffs, incident bundles.
 *
 * Reads are bounded and stable in order. A list is a `Page`; what is wanted whole is a stream. Instants are strings in UTC with
 * microseconds, ids are strings of decimal digits, and numbers in row images are exact.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import { dual, pipe } from "effect/Function"
import * as Layer from "effect/Layer"
import type * as Schema from "effect/Schema"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { Feed } from "./Feed.js"
import * as action from "./internal/record/action.js"
import * as answers from "./internal/rows/answer.js"
import type * as asOfs from "./internal/rows/asOf.js"
import * as bundles from "./internal/search/bundle.js"
import * as changes from "./internal/record/change.js"
import * as diffs from "./internal/rows/diff.js"
import * as filters from "./internal/search/filter.js"
import type * as histories from "./internal/rows/history.js"
import * as incidents from "./internal/search/incident.js"
import * as instants from "./internal/core/instant.js"
import type * as keys from "./internal/record/key.js"
import type * as relations from "./internal/rows/relations.js"
import type * as asOfRowsReads from "./internal/rows/asOfRows.js"
import type * as scopes from "./internal/record/scope.js"
import * as service from "./internal/query/service.js"
import { wholeStorage } from "./internal/record/whole.js"
import * as timelines from "./internal/search/timeline.js"
import * as transactionReads from "./internal/search/transactions.js"
import * as filterUrl from "./internal/search/filterUrl.js"
import * as typedReads from "./internal/query/typed.js"
import { within } from "./internal/query/within.js"
import type { Page } from "./Page.js"
import type { InvalidRequest, NotFound, ThreadlineError } from "./ThreadlineError.js"

/**
 * A row as it was stored, column by column: excluded columns are missing, masked ones hold the text `[masked]`.
 *
 * @since 0.1.0
 * @category models
 */
export type RowImage = changes.RowImage

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
 * @category schemas
 */
export const AuditTransaction = changes.AuditTransaction

/**
 * @since 0.1.0
 * @category models
 */
export interface AuditTransaction extends changes.AuditTransaction {}

/**
 * The first action of a transaction.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ActionReference = changes.ActionReference

/**
 * @since 0.1.0
 * @category models
 */
export interface ActionReference extends changes.ActionReference {}

/**
 * One captured row change. The fields are those of its JSON.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Change = changes.Change

/**
 * @since 0.1.0
 * @category models
 */
export interface Change extends changes.Change {}

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
 * The key of a row: its value if one column is the key; an array in key order or an object by column name if several
 * are. A text that holds such an array or object as JSON is understood for a key of several columns.
 *
 * @since 0.1.0
 * @category models
 */
export type KeyInput = keys.KeyInput

/**
 * Which changes (or transactions, or actions) a read shows; every field is optional, and all that are given must hold. Where
 * several values are allowed, one of them must.
 *
 * - `table`: one or several, as in SQL: `posts` (in `public`), `public.posts` or `"Odd.Schema"."T"`; `schema`: every table in it
 * - `key`: a row of the one table. Such a timeline is in the order of the row's own life.
 * - `op`: one or several
 * - `contains`: an object; the row before or after the change has these fields with these values, nested ones too (`jsonb @>`)
 * - `changedField`: an update changed this column, or one of several
 * - `actor`: `{ type, id? }`; `impersonator`: the same, of who acted in the actor's name; `unattributed: true`: nobody said who
 * - `action`: the transaction has an action of this name, or of one of several; `actionStatus`: of this status, `ok` or `error`
 * - `correlationId`: strictly, transactions with an action that carries it; with `includeCaptureOnly: true` also those that
 *   carry it without an action
 * - `requestId`, `jobId`, `traceId`, `source`, `dbUser`: of the transaction
 * - `meta`: an object that the transaction's meta contains
 * - `transactionId`
 * - `from`, `to`: when it was captured, both inclusive
 * - `order`: `newest` (default) or `oldest`; `limit`: 1 to 1000, 50 by default; `cursor`: `nextCursor` of the page before
 *
 * Ids and names have at most 256 bytes, lists at most 50 values, objects at least one field and at most 16 KiB of JSON. What PostgreSQL
 * cannot hold is an `InvalidRequest`: a NUL, half of a surrogate pair, a number beyond `numeric`. A decoded filter has one value for
 * numbers that are the same: `1.0` is `1`.
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
 * The one text of a filter, a URL query without question mark: `table=public.posts&actor=user%3A42`. Equal filters have equal
 * texts. An actor is `type` or `type:id`, objects are JSON, a key of several columns is `keyJson`.
 *
 * @since 0.1.0
 * @category conversions
 */
export const filterToUrl: (filter: Filter) => string = filterUrl.toUrl

/**
 * Reads the text of a filter, with or without question mark. `InvalidRequest` names what is unknown, repeated, malformed or
 * contradictory.
 *
 * @since 0.1.0
 * @category conversions
 * @example
 * ```ts
 * import { Query } from "threadline"
 * import * as Effect from "effect/Effect"
 *
 * export const page = Effect.flatMap(Query.filterFromUrl("?table=posts&op=delete"), Query.timeline)
 * ```
 */
export const filterFromUrl: (text: string) => Either.Either<Filter, InvalidRequest> = filterUrl.fromUrl

/**
 * @since 0.1.0
 * @category models
 */
export interface HistoryOptions extends histories.HistoryOptions {}

/**
 * How a row stood at an instant.
 *
 * @since 0.1.0
 * @category schemas
 */
export const AsOf = answers.AsOf

/**
 * @since 0.1.0
 * @category models
 */
export type AsOf = answers.AsOf

/**
 * A condition over the image of a row, `jsonb`, built with the client of the read: `(image, sql) => sql\`${image} ->> 'state' = 'open'\``.
 * It says the same whenever it is called: a cursor belongs to its text and values. It is SQL of the host's, never of a reader's, and
 * judges one row: a window function or an aggregate is one of that row.
 *
 * @since 0.1.0
 * @category models
 */
export type ImageCondition = asOfs.ImageCondition

/**
 * Which rows of a table; every field is optional, and all that are given must hold.
 *
 * - `keys`: only these rows, at most 1000
 * - `contains`: only rows whose image has these fields with these values, an object as in `Filter`
 * - `where`: only rows whose image is so, as an SQL condition; `InvalidRequest` if the database does not understand it, or
 *   it fails on something stored
 * - `limit`: 1 to 1000, 50 by default; `cursor`: `nextCursor` of the page before
 *
 * @since 0.1.0
 * @category models
 */
export interface AsOfRowsOptions extends asOfRowsReads.AsOfRowsOptions {}

/**
 * A row that was present at an instant, with its key as text and by column.
 *
 * @since 0.1.0
 * @category schemas
 */
export const RowAsOf = answers.RowAsOf

/**
 * @since 0.1.0
 * @category models
 */
export interface RowAsOf extends answers.RowAsOf {}

/**
 * How the row under one of several keys stood at an instant.
 *
 * @since 0.1.0
 * @category schemas
 */
export const KeyAsOf = answers.KeyAsOf

/**
 * @since 0.1.0
 * @category models
 */
export interface KeyAsOf extends answers.KeyAsOf {}

/**
 * Rows of `table` that belong to a row: each column of theirs that is named holds what the named column of the row holds. It is
 * the same in both directions, `{ table: "customers", columns: { id: "customer_id" } }` for a row that is referred to and
 * `{ table: "invoice_lines", columns: { invoice_id: "id" } }` for rows that refer.
 *
 * @since 0.1.0
 * @category models
 */
export interface Relation extends relations.Relation {}

/**
 * The first page of a relation, and the options with which `asOfRows` goes on with it.
 *
 * @since 0.1.0
 * @category models
 */
export interface RelatedRows extends relations.RelatedRows {}

/**
 * How a row stood at an instant, and a page of each of its relations: empty if it was not present.
 *
 * @since 0.1.0
 * @category models
 */
export interface AsOfWith<Name extends string = string> extends relations.AsOfWith<Name> {}

/**
 * One field of a diff. `before` is missing if there was no row (or no such column) before, `after` likewise.
 *
 * @since 0.1.0
 * @category schemas
 */
export const FieldDiff = diffs.FieldDiff

/**
 * @since 0.1.0
 * @category models
 */
export interface FieldDiff extends diffs.FieldDiff {}

/**
 * A change and what it did, field by field, sorted by name.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ChangeDiff = diffs.ChangeDiff

/**
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
 * A row at two instants, and what became of its fields in between.
 *
 * @since 0.1.0
 * @category schemas
 */
export const RowDiff = diffs.RowDiff

/**
 * @since 0.1.0
 * @category models
 */
export interface RowDiff extends diffs.RowDiff {}

/**
 * A recorded intent.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Action = action.Action

/**
 * @since 0.1.0
 * @category models
 */
export interface Action extends action.Action {}

/**
 * A transaction with its first action, how many changes it has (counted up to 100) and in which tables.
 *
 * @since 0.1.0
 * @category schemas
 */
export const TransactionSummary = transactionReads.TransactionSummary

/**
 * @since 0.1.0
 * @category models
 */
export interface TransactionSummary extends transactionReads.TransactionSummary {}

/**
 * How many, as far as they were counted; `exact` is false if there may be more.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Count = timelines.Count

/**
 * @since 0.1.0
 * @category models
 */
export interface Count extends timelines.Count {}

/**
 * @since 0.1.0
 * @category models
 */
export interface CountOptions extends timelines.CountOptions {}

/**
 * @since 0.1.0
 * @category models
 */
export interface CollectOptions extends timelines.CollectOptions {}

/**
 * An actor as filters name it, `{ type, id? }`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ActorInput extends filters.ActorInput {}

/**
 * @since 0.1.0
 * @category models
 */
export interface BundleOptions extends bundles.BundleOptions {}

/**
 * @since 0.1.0
 * @category models
 */
export interface ActorWindowOptions extends bundles.ActorWindowOptions {}

/**
 * The first pages of what belongs together: actions, transactions, changes. Each goes on with its own cursor and the read of
 * its name (`timeline` for the changes). For an actor window the filter is `{ actor, from, to }`; for a correlation it is
 * `{ correlationId, includeCaptureOnly: true }`, of actions without the second field. `order` and `limit` are of all three,
 * `cursor` of the changes.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Bundle = bundles.Bundle

/**
 * @since 0.1.0
 * @category models
 */
export interface Bundle extends bundles.Bundle {}

/**
 * What a scope may test of a change, as SQL expressions.
 *
 * @since 0.1.0
 * @category scope
 */
export interface ChangeColumns extends scopes.ChangeColumns {}

/**
 * What a scope may test of an action, as SQL expressions.
 *
 * @since 0.1.0
 * @category scope
 */
export interface ActionColumns extends scopes.ActionColumns {}

/**
 * The host's own restriction of what a reader may see: a function from a surface (`changes` or `actions`) and its columns to an
 * SQL condition, or to the same answer for every row. A condition that is null lets nothing through, and a TRUNCATE of a
 * whole table, which has no image, is never let through. A condition made of an empty list hides. A transaction is visible if one
 * of its changes or actions is. It is asked once for a read or a stream, and must answer the same from page to page: a cursor belongs
 * to the scope that it was made under. One that throws, that answers anything else, that the database does not understand, or that
 * fails on something stored, is an `InvalidRequest` of the field `scope`.
 *
 * @since 0.1.0
 * @category scope
 */
export type ReadScope = scopes.ReadScope

/**
 * @since 0.1.0
 * @category models
 */
export interface IncidentOptions extends incidents.IncidentOptions {}

/**
 * One transaction with its actions, its changes and their diffs, and the other parts of the same database transaction.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Incident = incidents.Incident

/**
 * @since 0.1.0
 * @category models
 */
export interface Incident extends incidents.Incident {}

/**
 * A stored row that does not fit the schema it was to be decoded by: of a time when the table was another, masked, or never as the
 * schema says. `error` tells what does not fit; it shows captured values.
 *
 * @since 0.1.0
 * @category errors
 */
export const Undecodable = typedReads.Undecodable

/**
 * @since 0.1.0
 * @category errors
 */
export type Undecodable = typedReads.Undecodable

/**
 * A row as a host's schema has it, or the stored image that does not fit.
 *
 * @since 0.1.0
 * @category models
 */
export type Decoded<A> = typedReads.Decoded<A>

/**
 * A change with the rows before and after it, decoded.
 *
 * @since 0.1.0
 * @category models
 */
export interface TypedChange<A> extends typedReads.TypedChange<A> {}

/**
 * How a row stood at an instant, decoded if it was present.
 *
 * @since 0.1.0
 * @category models
 */
export type TypedAsOf<A> = typedReads.TypedAsOf<A>

/**
 * A row that was present at an instant, decoded.
 *
 * @since 0.1.0
 * @category models
 */
export interface TypedRow<A> extends typedReads.TypedRow<A> {}

/**
 * How the row under one of several keys stood at an instant, decoded if it was present.
 *
 * @since 0.1.0
 * @category models
 */
export interface TypedKeyAsOf<A> extends typedReads.TypedKeyAsOf<A> {}

/**
 * A relation, with the `schema` of its rows if they are to be decoded.
 *
 * @since 0.1.0
 * @category models
 */
export interface TypedRelation extends typedReads.TypedRelation {}

/**
 * The first page of a relation, and the options with which `asOfRows` goes on with it.
 *
 * @since 0.1.0
 * @category models
 */
export interface TypedRelatedRows<Row> extends typedReads.TypedRelatedRows<Row> {}

/**
 * How a row stood at an instant, decoded, and a page of each of its relations: rows decoded by the relation's schema, or images
 * if it has none.
 *
 * @since 0.1.0
 * @category models
 */
export interface TypedAsOfWith<A, Relations> extends typedReads.TypedAsOfWith<A, Relations> {}

/**
 * @since 0.1.0
 * @category models
 */
export interface TypedOptions extends typedReads.TypedOptions {}

/**
 * The row reads of one table, decoded by a schema.
 *
 * @since 0.1.0
 * @category models
 */
export interface Typed<A, R> extends typedReads.Typed<A, R> {}

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
export interface Service extends service.Service {}

/**
 * The reads. They need select on Threadline's tables, and nothing else of the database.
 *
 * @since 0.1.0
 * @category services
 */
export class Query extends Context.Tag("threadline/Query")<Query, Service>() {}

/**
 * The reads over the `SqlClient` in context. Building it asks whether row-level security hides any of the record from the client's
 * role, and fails with `ThreadlineError` (`RecordHidden`) if it does: reads would answer as if that did not exist.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Query, ThreadlineError, SqlClient.SqlClient> = Layer.effect(
  Query,
  Effect.map(wholeStorage, (from) => Query.of(service.make(from, false)))
)

/**
 * The reads of a deployment whose readers all have a scope: each of them fails with an `InvalidRequest` of the field `scope`
 * until `withScope` or `scoped` has given one.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerScopeRequired: Layer.Layer<Query, ThreadlineError, SqlClient.SqlClient> = Layer.effect(
  Query,
  Effect.map(wholeStorage, (from) => Query.of(service.make(from, true)))
)

/**
 * Reads under a scope: what the effect reads is only what the scope lets through, with `Query` and, if the context has one,
 * with `Feed`. A scope within a scope narrows it. It is about the services in context: one that the effect provides itself, or
 * took before, is not restricted. For a stream use `withScopeStream`: a stream reads when it is run, and a part of the result that is
 * run outside is not restricted. (A stream that is itself the result is.)
 *
 * @since 0.1.0
 * @category scope
 * @example
 * ```ts
 * import { Query } from "threadline"
 *
 * const ofTenant =
 *   (tenant: string): Query.ReadScope =>
 *   (surface, columns) =>
 *     surface === "changes" && columns.sql`${columns.image} ->> 'tenant_id' = ${tenant}`
 *
 * export const program = Query.timeline({ table: "posts" }).pipe(Query.withScope(ofTenant("acme")))
 * ```
 */
export const withScope: {
  (scope: ReadScope): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R | Query>
  <A, E, R>(self: Effect.Effect<A, E, R>, scope: ReadScope): Effect.Effect<A, E, R | Query>
} = dual(2, <A, E, R>(self: Effect.Effect<A, E, R>, scope: ReadScope): Effect.Effect<A, E, R | Query> =>
  Effect.flatMap(scopedServices(scope), (services) => within(self, services))
)

/**
 * The same for a stream: what it reads, whenever it is run, is only what the scope lets through. A stream that was made under
 * `withScope` and is run outside it is not restricted, unless it is the very result of the effect.
 *
 * @since 0.1.0
 * @category scope
 * @example
 * ```ts
 * import { Query } from "threadline"
 *
 * declare const ofTenant: (tenant: string) => Query.ReadScope
 *
 * export const changes = Query.timelineStream({ table: "posts" }).pipe(Query.withScopeStream(ofTenant("acme")))
 * ```
 */
export const withScopeStream: {
  (scope: ReadScope): <A, E, R>(self: Stream.Stream<A, E, R>) => Stream.Stream<A, E, R | Query>
  <A, E, R>(self: Stream.Stream<A, E, R>, scope: ReadScope): Stream.Stream<A, E, R | Query>
} = dual(2, <A, E, R>(self: Stream.Stream<A, E, R>, scope: ReadScope): Stream.Stream<A, E, R | Query> =>
  Stream.unwrap(Effect.map(scopedServices(scope), (services) => Stream.provideSomeContext(self, services)))
)

/** The services of the context as a scope restricts them. */
const scopedServices = (scope: ReadScope): Effect.Effect<Context.Context<Query>, never, Query> =>
  Effect.gen(function* () {
    const query = Context.make(Query, (yield* Query).scoped(scope))
    const feed = yield* Effect.serviceOption(Feed)
    return Option.match(feed, {
      onNone: () => query,
      onSome: (feedService): Context.Context<Query> => Context.add(query, Feed, feedService.scoped(scope))
    })
  })

const streamed = <A, E>(read: (query: Service) => Stream.Stream<A, E>): Stream.Stream<A, E, Query> =>
  Stream.unwrap(Effect.map(Query, read))

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
 * One row at an instant with the rows that it refers to and those that refer to it.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Query } from "threadline"
 *
 * export const invoice = Query.asOfWith("invoices", "17", "2026-11-22T10:00:00Z", {
 *   customer: { table: "customers", columns: { id: "customer_id" } },
 *   lines: { table: "invoice_lines", columns: { invoice_id: "id" } }
 * })
 * ```
 */
export const asOfWith = <Name extends string>(
  table: string,
  key: KeyInput,
  instant: InstantInput,
  relations: { readonly [K in Name]: Relation }
): Effect.Effect<AsOfWith<Name>, ReadError, Query> =>
  Effect.flatMap(Query, (query) => query.asOfWith(table, key, instant, relations))

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

/**
 * Transactions newest first: those with a change that the filter lets through.
 *
 * @since 0.1.0
 * @category accessors
 */
export const transactions = (filter?: FilterInput): Effect.Effect<Page<TransactionSummary>, ReadError, Query> =>
  Effect.flatMap(Query, (query) => query.transactions(filter))

/**
 * Every transaction with a change that the filter lets through.
 *
 * @since 0.1.0
 * @category accessors
 */
export const transactionsStream = (filter?: FilterInput): Stream.Stream<TransactionSummary, ReadError, Query> =>
  streamed((query) => query.transactionsStream(filter))

/**
 * Recorded intents newest first, failed ones included.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Query } from "threadline"
 *
 * export const failedPublications = Query.actions({ action: "post.published", actionStatus: "error" })
 * ```
 */
export const actions = (filter?: FilterInput): Effect.Effect<Page<Action>, ReadError, Query> =>
  Effect.flatMap(Query, (query) => query.actions(filter))

/**
 * Every recorded intent that the filter lets through.
 *
 * @since 0.1.0
 * @category accessors
 */
export const actionsStream = (filter?: FilterInput): Stream.Stream<Action, ReadError, Query> =>
  streamed((query) => query.actionsStream(filter))

/**
 * Transactions without an actor.
 *
 * @since 0.1.0
 * @category accessors
 */
export const unattributed = (filter?: FilterInput): Effect.Effect<Page<TransactionSummary>, ReadError, Query> =>
  Effect.flatMap(Query, (query) => query.unattributed(filter))

/**
 * Every transaction without an actor.
 *
 * @since 0.1.0
 * @category accessors
 */
export const unattributedStream = (filter?: FilterInput): Stream.Stream<TransactionSummary, ReadError, Query> =>
  streamed((query) => query.unattributedStream(filter))

/**
 * What an actor did between two instants.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Query } from "threadline"
 *
 * export const morning = Query.actorWindow(
 *   { type: "user", id: "42" },
 *   { from: "2026-11-22T08:00:00Z", to: "2026-11-22T12:00:00Z" }
 * )
 * ```
 */
export const actorWindow = (actor: ActorInput, options?: ActorWindowOptions): Effect.Effect<Bundle, ReadError, Query> =>
  Effect.flatMap(Query, (query) => query.actorWindow(actor, options))

/**
 * Every change of an actor window.
 *
 * @since 0.1.0
 * @category accessors
 */
export const actorWindowStream = (
  actor: ActorInput,
  options?: Omit<ActorWindowOptions, "limit">
): Stream.Stream<Change, ReadError, Query> => streamed((query) => query.actorWindowStream(actor, options))

/**
 * Everything of one correlation.
 *
 * @since 0.1.0
 * @category accessors
 */
export const correlation = (correlationId: string, options?: BundleOptions): Effect.Effect<Bundle, ReadError, Query> =>
  Effect.flatMap(Query, (query) => query.correlation(correlationId, options))

/**
 * Every change of a correlation.
 *
 * @since 0.1.0
 * @category accessors
 */
export const correlationStream = (
  correlationId: string,
  options?: Omit<BundleOptions, "limit">
): Stream.Stream<Change, ReadError, Query> => streamed((query) => query.correlationStream(correlationId, options))

/**
 * How many changes a timeline would show, counted up to a cap.
 *
 * @since 0.1.0
 * @category accessors
 */
export const count = (filter?: FilterInput, options?: CountOptions): Effect.Effect<Count, ReadError, Query> =>
  Effect.flatMap(Query, (query) => query.count(filter, options))

/**
 * A small timeline at once.
 *
 * @since 0.1.0
 * @category accessors
 */
export const collect = (
  filter?: FilterInput,
  options?: CollectOptions
): Effect.Effect<ReadonlyArray<Change>, ReadError, Query> =>
  Effect.flatMap(Query, (query) => query.collect(filter, options))

/**
 * Every change of an incident, with its diff.
 *
 * @since 0.1.0
 * @category accessors
 */
export const incidentStream = (
  transactionId: string,
  options?: Omit<IncidentOptions, "limit">
): Stream.Stream<ChangeDiff, ReadError, Query> => streamed((query) => query.incidentStream(transactionId, options))

/**
 * The reads of one table as a host's own schema, or a `Model` of `@effect/sql`, has its rows.
 *
 * Images hold exact values; they become what the encoded side of the schema takes: numbers the digits if it takes text, a
 * `bigint` or a `BigDecimal` if it takes these, a `number` only if it says the same; timestamps stay text with microseconds
 * unless it takes a `Date` or a `DateTime`, which hold milliseconds; `bytea` becomes `Uint8Array`, JSON columns text if it parses them.
 * An image that does not fit is not lost: it is an `Undecodable` in its place.
 *
 * @since 0.1.0
 * @category typed
 * @example
 * ```ts
 * import { Query } from "threadline"
 * import * as Effect from "effect/Effect"
 * import * as Either from "effect/Either"
 * import * as Schema from "effect/Schema"
 *
 * const Post = Schema.Struct({ id: Schema.Number, title: Schema.String, views: Schema.BigIntFromSelf })
 *
 * const posts = Query.typed("posts", Post)
 *
 * export const titles = Effect.map(posts.history("1"), (page) =>
 *   page.items.map(({ after }) => (after === null ? "gone" : Either.isRight(after) ? after.right.title : "of another form"))
 * )
 * ```
 */
export const typed = <A, I, R>(
  table: string,
  schema: Schema.Schema<A, I, R>,
  options: TypedOptions = {}
): Typed<A, R | Query> => typedReads.typed(Query, table, schema, options)
