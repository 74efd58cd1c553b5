/**
 * The service of all reads. Each read has a span. If a scope is required, no read runs without one.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Page } from "../../Page.js"
import type { InvalidRequest } from "../../ThreadlineError.js"
import type { Action } from "../record/action.js"
import { actions } from "../search/actions.js"
import type { AsOf, KeyAsOf, RowAsOf } from "../rows/answer.js"
import { asOf } from "../rows/asOf.js"
import {
  actorWindow,
  type ActorWindowOptions,
  type Bundle,
  type BundleOptions,
  correlation,
  correlationFilter,
  windowFilter
} from "../search/bundle.js"
import type { Change } from "../record/change.js"
import { columns } from "../record/columnOrder.js"
import { knowledge, type TableKnowledge } from "../record/knowledge.js"
import { names, type TableNames } from "../record/names.js"
import { type ChangeDiff, diff, diffBetween, type RowDiff } from "../rows/diff.js"
import type { ActorInput, FilterInput } from "../search/filterInput.js"
import { history, type HistoryOptions } from "../rows/history.js"
import { type Incident, incident, type IncidentOptions } from "../search/incident.js"
import type { InstantInput } from "../core/instant.js"
import type { KeyInput } from "../record/key.js"
import { streamLimit, streamPages } from "../record/page.js"
import { mustBeObject, notAnObject, type ReadError } from "../core/request.js"
import { type AsOfWith, asOfWith, type Relation } from "../rows/relations.js"
import { asOfKeys, asOfRows, type AsOfRowsOptions } from "../rows/asOfRows.js"
import * as telemetry from "../core/telemetry.js"
import { onOwnClient } from "../sql/apart.js"
import { type ReaderScopes, restricted } from "../record/restriction.js"
import type { ReadScope } from "../record/scope.js"
import type { Storage } from "../record/storage.js"
import {
  historyWithEvents,
  type HistoryWithEvents,
  type SchemaEvent,
  type SchemaEventFilter,
  schemaEvents
} from "../search/schemaEvents.js"
import { collect, type CollectOptions, count, type Count, type CountOptions, timeline } from "../search/timeline.js"
import { transactions, type TransactionSummary } from "../search/transactions.js"

export interface Service {
  /**
   * Changes newest first: by transaction, and within a transaction by change. Changes of one transaction stand together.
   *
   * `NotFound` if the table of the filter is neither captured nor has changes, and if nothing is found and the filter names a column
   * that its one table never had.
   */
  readonly timeline: (filter?: FilterInput) => Effect.Effect<Page<Change>, ReadError>
  /** All of `timeline` as a stream, in constant memory. `limit` is about pages and has no effect. */
  readonly timelineStream: (filter?: FilterInput) => Stream.Stream<Change, ReadError>
  /**
   * All changes of one row, newest first by capture time: under its key, those that moved it to another key or from one, and
   * each TRUNCATE of its table that ended its life.
   */
  readonly history: (table: string, key: KeyInput, options?: HistoryOptions) => Effect.Effect<Page<Change>, ReadError>
  /** All of `history` as a stream, in constant memory. */
  readonly historyStream: (
    table: string,
    key: KeyInput,
    options?: Omit<HistoryOptions, "limit">
  ) => Stream.Stream<Change, ReadError>
  /**
   * How a row stood at an instant. A change captured at that very instant counts, after its transaction has committed. A future
   * instant is answered as of now.
   */
  readonly asOf: (table: string, key: KeyInput, instant: InstantInput) => Effect.Effect<AsOf, ReadError>
  /** `asOf` for up to 1000 rows of one table, in the order of the keys given. */
  readonly asOfKeys: (
    table: string,
    keys: ReadonlyArray<KeyInput>,
    instant: InstantInput
  ) => Effect.Effect<ReadonlyArray<KeyAsOf>, ReadError>
  /**
   * The rows of a table that were present at an instant, in the order of their keys as text (by bytes). Keys are looked at one
   * after another, so a condition that few rows meet gives partial pages.
   *
   * `NotFound` if the table is neither captured nor has changes, `InvalidRequest` if its rows have no key.
   */
  readonly asOfRows: (
    table: string,
    instant: InstantInput,
    options?: AsOfRowsOptions
  ) => Effect.Effect<Page<RowAsOf>, ReadError>
  /** All of `asOfRows` as a stream, in constant memory. */
  readonly asOfRowsStream: (
    table: string,
    instant: InstantInput,
    options?: Omit<AsOfRowsOptions, "limit">
  ) => Stream.Stream<RowAsOf, ReadError>
  /**
   * One row at an instant, with the rows that it refers to and the rows that refer to it. The caller declares these relations.
   * Each has a first page. At most 20 relations; `InvalidRequest` of the field `relations` if one is not well formed.
   */
  readonly asOfWith: <Name extends string>(
    table: string,
    key: KeyInput,
    instant: InstantInput,
    relations: { readonly [K in Name]: Relation }
  ) => Effect.Effect<AsOfWith<Name>, ReadError>
  /**
   * Transactions newest first: those with a change that the filter lets through. Each has its first action, the number of its
   * changes, and their tables. Under a scope a transaction of which only an action is visible is listed too, with a count of 0,
   * unless the filter asks for something of its changes.
   */
  readonly transactions: (filter?: FilterInput) => Effect.Effect<Page<TransactionSummary>, ReadError>
  /** All of `transactions` as a stream, in constant memory. */
  readonly transactionsStream: (filter?: FilterInput) => Stream.Stream<TransactionSummary, ReadError>
  /**
   * Recorded intents newest first by time, failed ones included. Filters that are about changes or about the database
   * session are refused as `InvalidRequest`; `from` and `to` are about when an action was recorded.
   */
  readonly actions: (filter?: FilterInput) => Effect.Effect<Page<Action>, ReadError>
  /** All of `actions` as a stream, in constant memory. */
  readonly actionsStream: (filter?: FilterInput) => Stream.Stream<Action, ReadError>
  /** Transactions without an actor, with the database user and the application behind them. */
  readonly unattributed: (filter?: FilterInput) => Effect.Effect<Page<TransactionSummary>, ReadError>
  /** All of `unattributed` as a stream, in constant memory. */
  readonly unattributedStream: (filter?: FilterInput) => Stream.Stream<TransactionSummary, ReadError>
  /** What an actor did between two instants (both inclusive): actions, transactions and changes. */
  readonly actorWindow: (actor: ActorInput, options?: ActorWindowOptions) => Effect.Effect<Bundle, ReadError>
  /** Every change of an actor window, in constant memory. */
  readonly actorWindowStream: (
    actor: ActorInput,
    options?: Omit<ActorWindowOptions, "limit">
  ) => Stream.Stream<Change, ReadError>
  /** Everything of one correlation: its actions, and the transactions that carry it with or without an action, and their changes. */
  readonly correlation: (correlationId: string, options?: BundleOptions) => Effect.Effect<Bundle, ReadError>
  /** Every change of a correlation, in constant memory. */
  readonly correlationStream: (
    correlationId: string,
    options?: Omit<BundleOptions, "limit">
  ) => Stream.Stream<Change, ReadError>
  /** How many changes a timeline would show, counted up to `cap`: 1000 unless given, at most 100,000. */
  readonly count: (filter?: FilterInput, options?: CountOptions) => Effect.Effect<Count, ReadError>
  /**
   * A small timeline at once. `InvalidRequest` of the field `max` if more changes match: 1000 unless given, at most 10,000.
   */
  readonly collect: (filter?: FilterInput, options?: CollectOptions) => Effect.Effect<ReadonlyArray<Change>, ReadError>
  /**
   * The names that a table and its columns had, each with its time. `NotFound` if the record does not know the table. A scope hides
   * nothing of them.
   */
  readonly names: (table: string) => Effect.Effect<TableNames, ReadError>
  /**
   * The columns of a table in its order, each followed by the names that it had, and then columns that capture knew and that are
   * gone. `NotFound` if the record does not know the table. A scope hides nothing of them.
   */
  readonly columns: (table: string) => Effect.Effect<ReadonlyArray<string>, ReadError>
  /**
   * What is known of a table: since when its changes are kept, and the times of which nothing is known. `NotFound` if the record does
   * not know the table. A scope hides nothing of it.
   */
  readonly knowledge: (table: string) => Effect.Effect<TableKnowledge, ReadError>
  /** One change, field by field. */
  readonly diff: (changeId: string) => Effect.Effect<ChangeDiff, ReadError>
  /**
   * A row at two instants, field by field. If it was present both times, the fields that differ. If it was present once, all of
   * its fields. The read stays with the key: a row that moved away is `MovedTo` in `to`.
   */
  readonly diffBetween: (
    table: string,
    key: KeyInput,
    from: InstantInput,
    to: InstantInput
  ) => Effect.Effect<RowDiff, ReadError>
  /** One transaction with everything that belongs to it. `limit`, `order` and `cursor` are about its changes. */
  readonly incident: (transactionId: string, options?: IncidentOptions) => Effect.Effect<Incident, ReadError>
  /** The changes of an incident, whole and in constant memory. */
  readonly incidentStream: (
    transactionId: string,
    options?: Omit<IncidentOptions, "limit">
  ) => Stream.Stream<ChangeDiff, ReadError>
  /**
   * DDL on and around captured tables as the schema watch saw it, newest first, and what capture did about it. Under a
   * scope, an event is visible if the scope lets through a change of which only the table is known.
   */
  readonly schemaEvents: (filter?: SchemaEventFilter) => Effect.Effect<Page<SchemaEvent>, ReadError>
  /** All of `schemaEvents` as a stream, in constant memory. */
  readonly schemaEventsStream: (filter?: SchemaEventFilter) => Stream.Stream<SchemaEvent, ReadError>
  /** A page of `history`, with the events of the schema that belong between its changes. */
  readonly historyWithEvents: (
    table: string,
    key: KeyInput,
    options?: HistoryOptions
  ) => Effect.Effect<HistoryWithEvents, ReadError>
  /**
   * The reads for a reader who may see only what the scope lets through, in every read, count and stream. A scope on a scope
   * narrows it further.
   */
  readonly scoped: (scope: ReadScope) => Service
}

type Name = (typeof telemetry.operations.query)[number]

/** A filter with the order and the cursor of options. The read refuses options that are not an object. */
const withPaging = (options: Pick<FilterInput, "order" | "cursor">, filter: () => FilterInput): FilterInput =>
  notAnObject(options) === undefined ? { ...filter(), order: options.order, cursor: options.cursor } : options

/** A filter for transactions without an actor. The read refuses a filter that is not an object. */
const withoutActor = (filter: FilterInput): FilterInput =>
  notAnObject(filter) === undefined ? { ...filter, unattributed: true } : filter

/** The reads of a storage under scopes. If a scope is required, every read fails until `scoped` has given one. */
const actionsHidden = new WeakMap<Service, Effect.Effect<boolean, InvalidRequest>>()

/** Whether a scope may hide actions from a service, so that its lists of them need not be whole. */
export const mayHideActions = (service: Service): Effect.Effect<boolean, InvalidRequest> =>
  actionsHidden.get(service) ?? Effect.succeed(false)

export const make = (from: Storage, readerScopes: ReaderScopes): Service => {
  const storage = Effect.suspend(() => restricted(from, readerScopes))

  const read = <A>(name: Name, run: (storage: Storage) => Effect.Effect<A, ReadError>): Effect.Effect<A, ReadError> =>
    telemetry.operation("query", name)(onOwnClient(from.apart, Effect.flatMap(storage, run)))

  /** Every item of every page. */
  const stream = <A>(
    name: Name,
    options: { readonly cursor?: string | undefined },
    page: (
      storage: Storage,
      paging: { readonly limit: number; readonly cursor: string | undefined }
    ) => Effect.Effect<Page<A>, ReadError>
  ): Stream.Stream<A, ReadError> =>
    Effect.map(Effect.zipLeft(storage, mustBeObject(options)), (reader) =>
      streamPages(options.cursor, (cursor) => onOwnClient(from.apart, page(reader, { limit: streamLimit, cursor })))
    ).pipe(Stream.unwrap, telemetry.streamed(telemetry.nameOf("query", name)))

  const changes = (name: Name, filter: FilterInput): Stream.Stream<Change, ReadError> =>
    stream(name, filter, (reader, paging) => timeline(reader, { ...filter, ...paging }))

  const summaries = (name: Name, filter: FilterInput): Stream.Stream<TransactionSummary, ReadError> =>
    stream(name, filter, (reader, paging) => transactions(reader, { ...filter, ...paging }))

  const service: Service = {
    timeline: (filter = {}) => read("timeline", (reader) => timeline(reader, filter)),
    timelineStream: (filter = {}) => changes("timelineStream", filter),
    history: (table, key, options = {}) => read("history", (reader) => history(reader, table, key, options)),
    historyStream: (table, key, options = {}) =>
      stream("historyStream", options, (reader, paging) => history(reader, table, key, { ...options, ...paging })),
    asOf: (table, key, instant) => read("asOf", (reader) => asOf(reader, table, key, instant)),
    asOfKeys: (table, keys, instant) => read("asOfKeys", (reader) => asOfKeys(reader, table, keys, instant)),
    asOfRows: (table, instant, options = {}) => read("asOfRows", (reader) => asOfRows(reader, table, instant, options)),
    asOfRowsStream: (table, instant, options = {}) =>
      stream("asOfRowsStream", options, (reader, paging) =>
        asOfRows(reader, table, instant, { ...options, ...paging })
      ),
    asOfWith: (table, key, instant, relations) =>
      read("asOfWith", (reader) => asOfWith(reader, table, key, instant, relations)),
    transactions: (filter = {}) => read("transactions", (reader) => transactions(reader, filter)),
    transactionsStream: (filter = {}) => summaries("transactionsStream", filter),
    actions: (filter = {}) => read("actions", (reader) => actions(reader, filter)),
    actionsStream: (filter = {}) =>
      stream("actionsStream", filter, (reader, paging) => actions(reader, { ...filter, ...paging })),
    unattributed: (filter = {}) => read("unattributed", (reader) => transactions(reader, withoutActor(filter))),
    unattributedStream: (filter = {}) => summaries("unattributedStream", withoutActor(filter)),
    actorWindow: (actor, options = {}) => read("actorWindow", (reader) => actorWindow(reader, actor, options)),
    actorWindowStream: (actor, options = {}) =>
      changes(
        "actorWindowStream",
        withPaging(options, () => windowFilter(actor, options))
      ),
    correlation: (id, options = {}) => read("correlation", (reader) => correlation(reader, id, options)),
    correlationStream: (id, options = {}) =>
      changes(
        "correlationStream",
        withPaging(options, () => correlationFilter(id))
      ),
    count: (filter = {}, options = {}) => read("count", (reader) => count(reader, filter, options)),
    collect: (filter = {}, options = {}) => read("collect", (reader) => collect(reader, filter, options)),
    columns: (table) => read("columns", (reader) => columns(reader, table)),
    names: (table) => read("names", (reader) => names(reader, table)),
    knowledge: (table) => read("knowledge", (reader) => knowledge(reader, table)),
    diff: (changeId) => read("diff", (reader) => diff(reader, changeId)),
    diffBetween: (table, key, from, to) => read("diffBetween", (reader) => diffBetween(reader, table, key, from, to)),
    incident: (transactionId, options = {}) => read("incident", (reader) => incident(reader, transactionId, options)),
    incidentStream: (transactionId, options = {}) =>
      stream("incidentStream", options, (reader, paging) =>
        Effect.map(incident(reader, transactionId, { ...options, ...paging }), ({ changes }) => changes)
      ),
    schemaEvents: (filter = {}) => read("schemaEvents", (reader) => schemaEvents(reader, filter)),
    schemaEventsStream: (filter = {}) =>
      stream("schemaEventsStream", filter, (reader, paging) => schemaEvents(reader, { ...filter, ...paging })),
    historyWithEvents: (table, key, options = {}) =>
      read("historyWithEvents", (reader) => historyWithEvents(reader, table, key, options)),
    scoped: (scope) => make(from, { ...readerScopes, scopes: [...readerScopes.scopes, scope] })
  }
  actionsHidden.set(
    service,
    Effect.map(storage, ({ restriction }) => restriction?.actions.some((answer) => answer !== true) ?? false)
  )
  return service
}
