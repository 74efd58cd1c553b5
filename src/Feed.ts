/**
 * The change feed: every captured change exactly once per reader, in the order of its commit, resumable at any point.
 *
 * A feed is read in batches. Each comes with a checkpoint, a small text; what is read with it is what that batch did not have yet:
 * whatever was committed since, also by transactions that were running for hours, and nothing a second time. The changes of one row
 * arrive in the order in which they happened. Checkpoints survive restarts, failovers, dumps and restores.
 *
 * Reading needs a reader. `consume` stores checkpoints under a name and needs an operator (`threadline grant --operator`).
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import type { ReadError as FeedError } from "./internal/core/request.js"
import type { Batch, Consumed, Consumer } from "./internal/feed/model.js"
import type { ConsumeOptions } from "./internal/feed/consume.js"
import type { Options } from "./internal/feed/read.js"
import type { StreamOptions } from "./internal/feed/stream.js"
import type { ReadScope } from "./internal/record/scope.js"
import * as consumers from "./internal/feed/consume.js"
import * as reads from "./internal/feed/read.js"
import * as stores from "./internal/feed/store.js"
import * as streams from "./internal/feed/stream.js"
import * as telemetry from "./internal/core/telemetry.js"
import { onOwnClient } from "./internal/sql/apart.js"
import { type ReaderScopes, restricted as restrict } from "./internal/record/restriction.js"
import type * as storage from "./internal/record/storage.js"
import { wholeStorage } from "./internal/record/whole.js"
import type { InvalidRequest, ThreadlineError } from "./ThreadlineError.js"

/**
 * @since 0.1.0
 */
export { Checkpoint } from "./internal/feed/checkpoint.js"

/**
 * @since 0.1.0
 */
export { type ConsumeOptions } from "./internal/feed/consume.js"

/**
 * @since 0.1.0
 */
export { Batch, Consumed, Consumer } from "./internal/feed/model.js"

/**
 * @since 0.1.0
 */
export { type Options } from "./internal/feed/read.js"

/**
 * @since 0.1.0
 */
export { type StreamOptions } from "./internal/feed/stream.js"

/**
 * @since 0.1.0
 */
export { Change } from "./internal/record/change.js"

/**
 * @since 0.1.0
 */
export { type ReadScope } from "./internal/record/scope.js"

/**
 * @since 0.1.0
 */
export { type ReadError as FeedError } from "./internal/core/request.js"

/**
 * Checks options without a database: a left is what every call with these options fails with. Whether the tables are known is
 * said by the database.
 *
 * @since 0.1.0
 * @category guards
 */
export const validate = (options: Options): Either.Either<void, InvalidRequest> =>
  Either.map(reads.decodeRequest(options), () => undefined)

/**
 * @since 0.1.0
 * @category services
 */
export interface Service {
  /**
   * One batch. It does a bounded amount of work, writes nothing, and reads under one snapshot; inside a transaction of the host's it
   * uses that one, and does not deliver what that transaction itself has written.
   */
  readonly read: (options?: Options) => Effect.Effect<Batch, FeedError>
  /** Batch after batch, one of them in memory at a time. It ends once it is caught up; with `live` it goes on. */
  readonly stream: (options?: StreamOptions) => Stream.Stream<Batch, FeedError>
  /**
   * Hands every batch that has changes to a handler, in order, and stores its checkpoint under the name once it is handled: at least
   * once each, because a handler may have done its work and fail to say so. Several runners of a name take turns: one holds a lease,
   * which it renews while its handler works, and one that lost its lease can move nothing.
   *
   * If the handler fails, the checkpoint stays and the failure is the result; if it begins with a table that is `NotFound`,
   * nothing is stored. Without `live` it ends once it is caught up, or at once with the outcome `Busy` if another runner holds
   * the name.
   */
  readonly consume: <E, R>(
    name: string,
    handler: (batch: Batch) => Effect.Effect<unknown, E, R>,
    options?: ConsumeOptions
  ) => Effect.Effect<Consumed, E | FeedError, R>
  /** The consumers that have a name in the database, by name. */
  readonly checkpoints: Effect.Effect<ReadonlyArray<Consumer>, InvalidRequest | ThreadlineError>
  /** Forgets a consumer, false if there is none: the next one of that name begins anew, and retention waits for it no longer. */
  readonly forget: (name: string) => Effect.Effect<boolean, InvalidRequest | ThreadlineError>
  /**
   * The same feed without what the scope hides; its checkpoints pass over that. A scope on a scope hides more. Consumers are those
   * of the database, whatever they may see.
   */
  readonly scoped: (scope: ReadScope) => Service
}

/**
 * The feed. Reading needs select on Threadline's tables and writes nothing, so that a replica will do; consumers need a primary, and
 * a role that was granted as operator.
 *
 * @since 0.1.0
 * @category services
 */
export class Feed extends Context.Tag("threadline/Feed")<Feed, Service>() {}

/** The feed of a storage under scopes. If one is required everything fails until `scoped` has given one. */
const make = (from: storage.Storage, readerScopes: ReaderScopes): Service => {
  const restricted = Effect.suspend(() => restrict(from, readerScopes))

  const run = <A, E, R>(
    name: (typeof telemetry.operations.feed)[number],
    use: (reader: storage.Storage) => Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | InvalidRequest, R> => telemetry.operation("feed", name)(Effect.flatMap(restricted, use))

  return {
    read: (options = {}) =>
      onOwnClient(
        from.apart,
        run("read", (reader) => reads.read(reader, options))
      ),
    stream: (options = {}) =>
      Effect.map(restricted, (reader) => streams.stream(reader, options)).pipe(
        Stream.unwrap,
        telemetry.streamed(telemetry.nameOf("feed", "stream"))
      ),
    consume: (name, handler, options = {}) =>
      run("consume", (reader) => consumers.consume(reader, name, handler, options)),
    checkpoints: onOwnClient(from.apart, run("checkpoints", stores.list)),
    forget: (name) => run("forget", (reader) => stores.forget(reader, name)),
    scoped: (scope) => make(from, { ...readerScopes, scopes: [...readerScopes.scopes, scope] })
  }
}

/**
 * The feed of the client's database.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Feed, ThreadlineError, SqlClient.SqlClient> = Layer.effect(
  Feed,
  Effect.map(wholeStorage, (from) => make(from, { scopes: [], scopeRequired: false }))
)

/**
 * The same, but the feed requires a scope. Until `scoped` has given one, everything fails with `InvalidRequest` of the field
 * `scope`, also `checkpoints` and `forget`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerScopeRequired: Layer.Layer<Feed, ThreadlineError, SqlClient.SqlClient> = Layer.effect(
  Feed,
  Effect.map(wholeStorage, (from) => make(from, { scopes: [], scopeRequired: true }))
)

/**
 * One batch of the feed. It does a bounded amount of work, writes nothing, and reads under one snapshot. Inside a transaction of the
 * host's it uses that one, and does not deliver what that transaction itself has written.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Feed } from "threadline"
 * import * as Effect from "effect/Effect"
 *
 * export const forward = (checkpoint?: Feed.Checkpoint) =>
 *   Effect.gen(function* () {
 *     const batch = yield* Feed.read({ checkpoint, tables: ["invoices"], limit: 500 })
 *     for (const change of batch.changes) {
 *       yield* Effect.log(`${change.op} ${change.tableName} ${change.rowKey}`)
 *     }
 *     return batch.checkpoint
 *   })
 * ```
 */
export const read = (options?: Options): Effect.Effect<Batch, FeedError, Feed> =>
  Effect.flatMap(Feed, (feed) => feed.read(options))

/**
 * Batch after batch, one of them in memory at a time. It ends once it is caught up; with `live` it goes on.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Feed } from "threadline"
 * import * as Effect from "effect/Effect"
 * import * as Stream from "effect/Stream"
 *
 * export const program = Feed.stream({ from: "now", live: true }).pipe(
 *   Stream.runForEach((batch) => Effect.log(`${batch.changes.length} changes`))
 * )
 * ```
 */
export const stream = (options?: StreamOptions): Stream.Stream<Batch, FeedError, Feed> =>
  Stream.unwrap(Effect.map(Feed, (feed) => feed.stream(options)))

/**
 * Hands every batch that has changes to a handler, in order, and stores its checkpoint under the name once it is handled. A batch is
 * handed over at least once: a handler may do its work and then fail. Several runners of a name take turns: one holds a lease and renews
 * it while its handler works. A runner that lost its lease can move nothing.
 *
 * If the handler fails, the checkpoint stays and the failure is the result. If it begins with a table that is `NotFound`, nothing is
 * stored. Without `live` it ends once it is caught up, or at once with the outcome `Busy` if another runner holds the name.
 *
 * @since 0.1.0
 * @category accessors
 * @example
 * ```ts
 * import { Feed, Json } from "threadline"
 * import * as Effect from "effect/Effect"
 *
 * declare const send: (line: string) => Effect.Effect<void>
 *
 * export const siem = Feed.consume(
 *   "siem",
 *   (batch) => Effect.forEach(batch.changes, (change) => send(Json.stringify(change)), { discard: true }),
 *   { live: true }
 * )
 * ```
 */
export const consume = <E, R>(
  name: string,
  handler: (batch: Batch) => Effect.Effect<unknown, E, R>,
  options?: ConsumeOptions
): Effect.Effect<Consumed, E | FeedError, Feed | R> =>
  Effect.flatMap(Feed, (feed) => feed.consume(name, handler, options))

/**
 * The consumers that have a name in the database, by name: how far they are, and how far behind.
 *
 * @since 0.1.0
 * @category accessors
 */
export const checkpoints: Effect.Effect<
  ReadonlyArray<Consumer>,
  InvalidRequest | ThreadlineError,
  Feed
> = Effect.flatMap(Feed, (feed) => feed.checkpoints)

/**
 * Forgets a consumer; false if there is none. The next consumer of that name begins anew, and retention waits for it no longer.
 *
 * @since 0.1.0
 * @category accessors
 */
export const forget = (name: string): Effect.Effect<boolean, InvalidRequest | ThreadlineError, Feed> =>
  Effect.flatMap(Feed, (feed) => feed.forget(name))
