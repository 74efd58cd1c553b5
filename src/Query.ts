/**
 * Every read of the audit log: timelines, the history of a row, the row as of an instant, diffs, incident bundles.
 *
 * Reads are bounded and stable in order. A list is a `Page`. A stream gives every item, in constant memory. Instants are strings in
 * UTC with microseconds, ids are strings of decimal digits, and numbers in row images are exact.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Export } from "./Export.js"
import { ExportJobs } from "./ExportJobs.js"
import { Feed } from "./Feed.js"
import type { InstantInput } from "./internal/core/instant.js"
import type { ReadError } from "./internal/core/request.js"
import * as service from "./internal/query/service.js"
import * as typedReads from "./internal/query/typed.js"
import { within } from "./internal/query/within.js"
import type { Action } from "./internal/record/action.js"
import type { Change } from "./internal/record/change.js"
import type { KeyInput } from "./internal/record/key.js"
import type { ReadScope } from "./internal/record/scope.js"
import { wholeStorage } from "./internal/record/whole.js"
import type { AsOf, KeyAsOf, RowAsOf } from "./internal/rows/answer.js"
import type { AsOfRowsOptions } from "./internal/rows/asOfRows.js"
import type { TableKnowledge } from "./internal/record/knowledge.js"
import type { TableNames } from "./internal/record/names.js"
import type { ChangeDiff, RowDiff } from "./internal/rows/diff.js"
import type { HistoryOptions } from "./internal/rows/history.js"
import type { AsOfWith, Relation } from "./internal/rows/relations.js"
import type { ActorWindowOptions, Bundle, BundleOptions } from "./internal/search/bundle.js"
import type { ActorInput, FilterInput } from "./internal/search/filterInput.js"
import type { Incident, IncidentOptions } from "./internal/search/incident.js"
import type { CollectOptions, Count, CountOptions } from "./internal/search/timeline.js"
import type { HistoryWithEvents, SchemaEvent, SchemaEventFilter } from "./internal/search/schemaEvents.js"
import type { TransactionSummary } from "./internal/search/transactions.js"
import type { Page } from "./Page.js"
import type { ThreadlineError } from "./ThreadlineError.js"

/**
 * @since 0.1.0
 */
export { ActionReference, AuditTransaction, Change, Operation, type RowImage } from "./internal/record/change.js"

/**
 * @since 0.1.0
 */
export { Action } from "./internal/record/action.js"

/**
 * @since 0.1.0
 */
export { Instant, type InstantInput } from "./internal/core/instant.js"

/**
 * @since 0.1.0
 */
export { type Key, type KeyInput, type KeyPart } from "./internal/record/key.js"

/**
 * @since 0.1.0
 * @category models
 */
export { type RecordedAs } from "./internal/record/columns.js"

/**
 * @since 0.1.0
 * @category models
 */
export { TableNames } from "./internal/record/names.js"

/**
 * @since 0.1.0
 * @category models
 */
export { TableKnowledge } from "./internal/record/knowledge.js"

/**
 * @since 0.1.0
 */
export { type ActionColumns, type ChangeColumns, type ReadScope } from "./internal/record/scope.js"

/**
 * @since 0.1.0
 */
export {
  AsOf,
  type BeforeCapture,
  type Deleted,
  KeyAsOf,
  type MovedTo,
  type NotYetCreated,
  type Present,
  RowAsOf
} from "./internal/rows/answer.js"

/**
 * @since 0.1.0
 */
export type { ImageCondition } from "./internal/rows/standingStatement.js"

/**
 * @since 0.1.0
 */
export { type AsOfRowsOptions } from "./internal/rows/asOfRows.js"

/**
 * @since 0.1.0
 */
export { ChangeDiff, FieldDiff, fieldDiffs, RowDiff } from "./internal/rows/diff.js"

/**
 * @since 0.1.0
 */
export { type HistoryOptions } from "./internal/rows/history.js"

/**
 * @since 0.1.0
 */
export { AsOfWith, RelatedRows, type Relation } from "./internal/rows/relations.js"

/**
 * @since 0.1.0
 */
export { decodeFilter as filterFromInput } from "./internal/search/filter.js"

/**
 * @since 0.1.0
 */
export type { ActorInput, FilterInput } from "./internal/search/filterInput.js"

/**
 * @since 0.1.0
 */
export { Filter } from "./internal/search/filters.js"

/**
 * @since 0.1.0
 */
export {
  FilterFromUrl,
  FilterFromUrlParams,
  fromUrl as filterFromUrl,
  toUrl as filterToUrl
} from "./internal/search/filterUrl.js"

/**
 * @since 0.1.0
 */
export { FilterFromJson } from "./internal/search/filterJson.js"

/**
 * @since 0.1.0
 */
export { type CollectOptions, Count, type CountOptions } from "./internal/search/timeline.js"

/**
 * @since 0.1.0
 */
export { TransactionSummary } from "./internal/search/transactions.js"

/**
 * @since 0.1.0
 */
export {
  type HistoryWithEvents,
  SchemaEffect,
  SchemaEvent,
  type SchemaEventFilter
} from "./internal/search/schemaEvents.js"

/**
 * @since 0.1.0
 */
export { type ActorWindowOptions, Bundle, type BundleOptions } from "./internal/search/bundle.js"

/**
 * @since 0.1.0
 */
export { Incident, type IncidentOptions, Sibling } from "./internal/search/incident.js"

/**
 * @since 0.1.0
 */
export {
  type Decoded,
  type Typed,
  type TypedAsOf,
  type TypedAsOfWith,
  type TypedChange,
  type TypedKeyAsOf,
  type TypedOptions,
  type TypedRelatedRows,
  type TypedRelation,
  type TypedRow,
  Undecodable
} from "./internal/query/typed.js"

/**
 * @since 0.1.0
 */
export { type ReadError } from "./internal/core/request.js"

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
  Effect.map(wholeStorage, (from) => Query.of(service.make(from, { scopes: [], scopeRequired: false })))
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
  Effect.map(wholeStorage, (from) => Query.of(service.make(from, { scopes: [], scopeRequired: true })))
)

/**
 * Reads under a scope: what the effect reads is only what the scope lets through, with `Query` and, if the context has them, with `Feed`
 * and `Export`. Jobs of `ExportJobs` must then name a scope of their own. A scope inside a scope narrows it.
 *
 * Only services of the context are restricted: not one that the effect provides itself, or that it took before. For a stream use
 * `withScopeStream`: a stream reads when it is run. A stream that is itself the result of the effect is restricted, one inside the result
 * is not if it is run outside.
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
  /** For `pipe`. Every read of the effect shows only what the scope lets through. */
  (scope: ReadScope): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R | Query>
  /** Every read of the effect shows only what the scope lets through. */
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
  /** For `pipe`. The stream shows only what the scope lets through, whenever it is run. */
  (scope: ReadScope): <A, E, R>(self: Stream.Stream<A, E, R>) => Stream.Stream<A, E, R | Query>
  /** The stream shows only what the scope lets through, whenever it is run. */
  <A, E, R>(self: Stream.Stream<A, E, R>, scope: ReadScope): Stream.Stream<A, E, R | Query>
} = dual(2, <A, E, R>(self: Stream.Stream<A, E, R>, scope: ReadScope): Stream.Stream<A, E, R | Query> =>
  Stream.unwrap(Effect.map(scopedServices(scope), (services) => Stream.provideSomeContext(self, services)))
)

/** The services of the context as a scope restricts them. */
const scopedServices = (scope: ReadScope): Effect.Effect<Context.Context<Query>, never, Query> =>
  Effect.gen(function* () {
    const query = Context.make(Query, (yield* Query).scoped(scope))
    const withFeed = Option.match(yield* Effect.serviceOption(Feed), {
      onNone: () => query,
      onSome: (feed): Context.Context<Query> => Context.add(query, Feed, feed.scoped(scope))
    })
    const withExports = Option.match(yield* Effect.serviceOption(Export), {
      onNone: () => withFeed,
      onSome: (exports): Context.Context<Query> => Context.add(withFeed, Export, exports.scoped(scope))
    })
    // A job cannot take this scope along: a function is not stored. So it must name one.
    return Option.match(yield* Effect.serviceOption(ExportJobs), {
      onNone: () => withExports,
      onSome: (jobs): Context.Context<Query> => Context.add(withExports, ExportJobs, jobs.withScopeRequired())
    })
  })

const streamed = <A, E>(read: (query: Service) => Stream.Stream<A, E>): Stream.Stream<A, E, Query> =>
  Stream.unwrap(Effect.map(Query, read))

/**
 * Changes newest first: by transaction, and within a transaction by change. Changes of one transaction stand together.
 *
 * `NotFound` if the table of the filter is not captured and has no changes, and if nothing is found and the filter names a column that
 * its one table never had.
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
 * Every change that a filter lets through, in constant memory. `limit` is about pages and is not looked at.
 *
 * @since 0.1.0
 * @category accessors
 */
export const timelineStream = (filter?: FilterInput): Stream.Stream<Change, ReadError, Query> =>
  streamed((query) => query.timelineStream(filter))

/**
 * All changes of one row, newest first by capture time: those under its key, those that moved it to another key or from one, and
 * each TRUNCATE of its table that ended its life.
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
 * Every change of one row, in constant memory.
 *
 * @since 0.1.0
 * @category accessors
 */
export const historyStream = (
  table: string,
  key: KeyInput,
  options?: Omit<HistoryOptions, "limit">
): Stream.Stream<Change, ReadError, Query> => streamed((query) => query.historyStream(table, key, options))

/**
 * How a row stood at an instant. A change captured at that very instant counts, once its transaction has committed. An instant that
 * is yet to come is answered as of now.
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
 * How up to 1000 rows of one table stood at an instant, in the order of the keys given.
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
 * The rows of a table that were present at an instant, in the order of their keys as text (by bytes). Keys are looked at one after
 * another, so a condition that few rows meet gives partial pages.
 *
 * `NotFound` if the table is not captured and has no changes, `InvalidRequest` if its rows have no key.
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
 * Every row of a table that was present at an instant, in constant memory.
 *
 * @since 0.1.0
 * @category accessors
 */
export const asOfRowsStream = (
  table: string,
  instant: InstantInput,
  options?: Omit<AsOfRowsOptions, "limit">
): Stream.Stream<RowAsOf, ReadError, Query> => streamed((query) => query.asOfRowsStream(table, instant, options))

/**
 * One row at an instant with the rows that it refers to and those that refer to it, as the caller declares them: of each relation a
 * first page. At most 20 relations. `InvalidRequest` of the field `relations` if one is not well formed.
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
 * The names that a table and its columns had, each with its time: its changes are recorded under the name of theirs. `NotFound` if the
 * record does not know the table. A scope hides nothing of them.
 *
 * @since 0.1.0
 * @category accessors
 */
export const names = (table: string): Effect.Effect<TableNames, ReadError, Query> =>
  Effect.flatMap(Query, (query) => query.names(table))

/**
 * The columns of a table in its order, for `fieldDiffs`: each is followed by the names that it had, and columns that capture knew and
 * that are gone come last. `NotFound` if the record does not know the table. A scope hides nothing of them.
 *
 * @since 0.1.0
 * @category accessors
 */
export const columns = (table: string): Effect.Effect<ReadonlyArray<string>, ReadError, Query> =>
  Effect.flatMap(Query, (query) => query.columns(table))

/**
 * What is known of a table: since when its changes are kept (`keptSince`), and the times of which nothing is known (`unknown`): before
 * capture began, and lapses. `NotFound` if the record does not know the table. A scope hides nothing of it.
 *
 * @since 0.1.0
 * @category accessors
 */
export const knowledge = (table: string): Effect.Effect<TableKnowledge, ReadError, Query> =>
  Effect.flatMap(Query, (query) => query.knowledge(table))

/**
 * One change, field by field. `NotFound` if there is no such change, or none that the reader may see.
 *
 * @since 0.1.0
 * @category accessors
 */
export const diff = (changeId: string): Effect.Effect<ChangeDiff, ReadError, Query> =>
  Effect.flatMap(Query, (query) => query.diff(changeId))

/**
 * A row at two instants, field by field: what differs if it was present both times, all of its fields if it was present once. It
 * stays with the key: a row that moved away is `MovedTo` in `to`. `InvalidRequest` if `to` is before `from`.
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
 * One transaction with everything that belongs to it. `limit`, `order` and `cursor` are about its changes. `NotFound` if there is no
 * such transaction, or none that the reader may see.
 *
 * @since 0.1.0
 * @category accessors
 */
export const incident = (transactionId: string, options?: IncidentOptions): Effect.Effect<Incident, ReadError, Query> =>
  Effect.flatMap(Query, (query) => query.incident(transactionId, options))

/**
 * Transactions newest first: those with a change that the filter lets through, each with its first action and how much it changed
 * where. Under a scope, a transaction of which only an action is visible is listed too, with a count of 0, unless the filter is about
 * changes.
 *
 * @since 0.1.0
 * @category accessors
 */
export const transactions = (filter?: FilterInput): Effect.Effect<Page<TransactionSummary>, ReadError, Query> =>
  Effect.flatMap(Query, (query) => query.transactions(filter))

/**
 * Every transaction with a change that the filter lets through, in constant memory.
 *
 * @since 0.1.0
 * @category accessors
 */
export const transactionsStream = (filter?: FilterInput): Stream.Stream<TransactionSummary, ReadError, Query> =>
  streamed((query) => query.transactionsStream(filter))

/**
 * Recorded intents newest first by time, failed ones included. `from` and `to` are about when an action was recorded. A filter that is
 * about changes or about the database session is an `InvalidRequest`.
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
 * Every recorded intent that the filter lets through, in constant memory.
 *
 * @since 0.1.0
 * @category accessors
 */
export const actionsStream = (filter?: FilterInput): Stream.Stream<Action, ReadError, Query> =>
  streamed((query) => query.actionsStream(filter))

/**
 * What was done to the schema around captured tables, newest first, and what capture did about it. Nothing is recorded of it without
 * the schema watch (`threadline migrate up --watch-schema`) but what Threadline itself did.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Query } from "threadline"
 *
 * export const lapsesBegun = Query.schemaEvents({ table: "posts", effect: "lapse begins" })
 * ```
 */
export const schemaEvents = (filter?: SchemaEventFilter): Effect.Effect<Page<SchemaEvent>, ReadError, Query> =>
  Effect.flatMap(Query, (query) => query.schemaEvents(filter))

/**
 * The same, whole and in constant memory.
 *
 * @since 0.1.0
 * @category accessors
 */
export const schemaEventsStream = (filter?: SchemaEventFilter): Stream.Stream<SchemaEvent, ReadError, Query> =>
  streamed((query) => query.schemaEventsStream(filter))

/**
 * A page of `history`, with the events of the schema that belong between its changes. They are a list of their own: a page of changes
 * holds changes alone, and its cursor and its limit count them alone.
 *
 * @since 0.1.0
 * @category accessors
 */
export const historyWithEvents = (
  table: string,
  key: KeyInput,
  options?: HistoryOptions
): Effect.Effect<HistoryWithEvents, ReadError, Query> =>
  Effect.flatMap(Query, (query) => query.historyWithEvents(table, key, options))

/**
 * Transactions without an actor, with the database user and the application behind them.
 *
 * @since 0.1.0
 * @category accessors
 */
export const unattributed = (filter?: FilterInput): Effect.Effect<Page<TransactionSummary>, ReadError, Query> =>
  Effect.flatMap(Query, (query) => query.unattributed(filter))

/**
 * Every transaction without an actor, in constant memory.
 *
 * @since 0.1.0
 * @category accessors
 */
export const unattributedStream = (filter?: FilterInput): Stream.Stream<TransactionSummary, ReadError, Query> =>
  streamed((query) => query.unattributedStream(filter))

/**
 * What an actor did between two instants (both inclusive): actions, transactions and changes.
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
 * Every change of an actor window, in constant memory.
 *
 * @since 0.1.0
 * @category accessors
 */
export const actorWindowStream = (
  actor: ActorInput,
  options?: Omit<ActorWindowOptions, "limit">
): Stream.Stream<Change, ReadError, Query> => streamed((query) => query.actorWindowStream(actor, options))

/**
 * Everything of one correlation: its actions, the transactions that carry it with or without an action, and their changes.
 *
 * @since 0.1.0
 * @category accessors
 */
export const correlation = (correlationId: string, options?: BundleOptions): Effect.Effect<Bundle, ReadError, Query> =>
  Effect.flatMap(Query, (query) => query.correlation(correlationId, options))

/**
 * Every change of a correlation, in constant memory.
 *
 * @since 0.1.0
 * @category accessors
 */
export const correlationStream = (
  correlationId: string,
  options?: Omit<BundleOptions, "limit">
): Stream.Stream<Change, ReadError, Query> => streamed((query) => query.correlationStream(correlationId, options))

/**
 * How many changes a timeline would show, counted up to `cap`: 1000 unless given, at most 100,000.
 *
 * @since 0.1.0
 * @category accessors
 */
export const count = (filter?: FilterInput, options?: CountOptions): Effect.Effect<Count, ReadError, Query> =>
  Effect.flatMap(Query, (query) => query.count(filter, options))

/**
 * A small timeline at once. `InvalidRequest` of the field `max` if more changes match: 1000 unless given, at most 10,000.
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
 * Every change of an incident, with its diff, in constant memory.
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
  options: typedReads.TypedOptions = {}
): typedReads.Typed<A, R | Query> => typedReads.typed(Query, table, schema, options)
