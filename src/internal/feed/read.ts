/**
 * Batches of the feed. A window lies between what was visible and what is visible now, epoch by epoch.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { fromSqlError, InvalidRequest, ThreadlineError } from "../../ThreadlineError.js"
import { type Batch, makeBatch } from "./model.js"
import * as checkpoints from "./checkpoint.js"
import type { Position } from "./checkpoint.js"
import { type Head, readHead } from "./head.js"
import { page } from "./page.js"
import { decode, type PageRows } from "./row.js"
import * as snapshots from "./snapshot.js"
import { tableOf, TableSchema } from "../record/key.js"
import { largestBatch, usualBatch } from "../core/limits.js"
import { type ReadError, request, wholeNumber } from "../core/request.js"
import { snapshot } from "../sql/owned.js"
import type { Storage } from "../record/storage.js"
import { checkTables, resolveTables, withStrayedNames } from "../record/tables.js"

const tablesRule = "must be a list of tables, each written as in SQL"

const Request = Schema.Struct({
  tables: Schema.optional(
    Schema.Array(TableSchema)
      .annotations({ message: (issue) => ({ message: tablesRule, override: !Array.isArray(issue.actual) }) })
      .pipe(
        Schema.filter((tables) => tables.length > 0, {
          message: () => "must not be empty: leave it out for changes of every table"
        })
      )
  ),
  limit: wholeNumber("changes in a batch", 1, largestBatch, usualBatch),
  from: Schema.optionalWith(
    Schema.Literal("beginning", "now").annotations({ message: () => "must be beginning or now" }),
    { default: () => "beginning" as const }
  ),
  checkpoint: Schema.optional(Schema.String.annotations({ message: () => "must be a string" }))
})

/**
 * Options of a read of the feed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * Only changes of these tables, as in SQL: `posts`, `billing.invoices`, `"Odd.Schema"."T"`; of every table unless given. An empty list
   * is refused. If the feed begins with a table that is neither captured nor has changes, it is `NotFound`.
   */
  readonly tables?: ReadonlyArray<string> | undefined
  /** Changes in a batch, 1 to 10,000: 1000 unless given. */
  readonly limit?: number | undefined
  /**
   * Where a feed without a checkpoint begins: at the `beginning` of the record (default), or `now`, with what is not committed
   * yet. With a checkpoint, or for a consumer that has one, it has no effect.
   */
  readonly from?: "beginning" | "now" | undefined
  /** The checkpoint of the batch before. */
  readonly checkpoint?: string | undefined
}

/** Where a feed without a checkpoint begins. */
type Origin = "beginning" | "now"

/** A decoded request, and where it continues. */
export interface Decoded {
  /** Empty for all. */
  readonly tables: ReadonlyArray<string>
  readonly limit: number
  readonly origin: Origin
  readonly position: Position | undefined
}

export const decodeRequest = (input: Options): Either.Either<Decoded, InvalidRequest> =>
  Either.flatMap(request(Request)(input), ({ checkpoint, from: origin, limit, tables = [] }) =>
    Either.map(
      checkpoint === undefined ? Either.right(undefined) : checkpoints.decode(tables, checkpoint),
      (position) => ({ tables: [...new Set(tables)].sort(), limit, origin, position })
    )
  )

/** A batch before it is decoded, and where the feed stands after it. */
export interface Step {
  readonly pageRows: PageRows
  readonly position: Position
  readonly caughtUp: boolean
}

const invalid = (rule: string) => new InvalidRequest({ field: "checkpoint", rule })

/** The position of a feed without a checkpoint. Fails if the server cannot tell what is visible now. */
export const firstPosition = (head: Head, origin: Origin): Effect.Effect<Position, ThreadlineError> => {
  const [first] = head.epochs
  if (origin === "beginning") {
    return Effect.succeed({ ...first, delivered: snapshots.nothing, window: undefined })
  }
  const failed = (detail: string) => Effect.fail(new ThreadlineError({ reason: "Failed", detail }))
  return head.visible === undefined
    ? failed("this replica cannot tell what is visible now while a long transaction runs; ask it later")
    : head.prepared.length > 0
      ? failed("a transaction that was prepared before this server was promoted has not ended; ask again when it has")
      : Effect.succeed({ ...head.current, delivered: head.visible, window: undefined })
}

/** Refuses a checkpoint of a cluster that never held this database, and one that is ahead of it. */
export const check = (head: Head, position: Position): Effect.Effect<void, InvalidRequest> => {
  const ownEpoch = head.epochs.find(({ epoch }) => epoch === position.epoch)
  if (ownEpoch?.cluster !== position.cluster) {
    return Effect.fail(invalid(checkpoints.foreignCluster))
  }
  const end = position.window === undefined ? position.delivered.end : position.window.to.end
  return ownEpoch === head.current && !head.isReplica && head.visible !== undefined && end > head.visible.end
    ? Effect.fail(invalid("is ahead of this database, which was set back to an earlier state"))
    : Effect.void
}

/** The beginning of the next epoch, once everything of this one is delivered. */
const nextEpoch = (head: Head, { delivered, epoch, window }: Position): Position | undefined => {
  if (window !== undefined || !snapshots.includes(delivered, snapshots.everything)) {
    return undefined
  }
  const next = head.epochs.find((candidate) => candidate.epoch > epoch)
  return next === undefined ? undefined : { ...next, delivered: snapshots.nothing, window: undefined }
}

/** What is visible of the position's epoch. A past epoch has no running transactions, but it may have prepared ones. */
const visibleOf = (head: Head, { epoch }: Position): snapshots.Snapshot | undefined =>
  epoch < head.current.epoch
    ? snapshots.without(
        snapshots.everything,
        head.prepared.filter((prepared) => prepared.epoch > epoch).map(({ xid }) => xid)
      )
    : head.visible

/** The window to read. Undefined if everything was delivered. */
const windowOf = (head: Head, position: Position): checkpoints.Window | undefined => {
  const to = visibleOf(head, position)
  if (position.window !== undefined) {
    // Another server wrote the window. What it saw must have arrived here before a transaction counts as missing.
    return to !== undefined && snapshots.includes(to, position.window.to) ? position.window : undefined
  }
  return to === undefined || snapshots.includes(position.delivered, to)
    ? undefined
    : { to, entered: 0n, open: [], last: 0n }
}

const isDelivered = (head: Head, position: Position): boolean =>
  position.epoch === head.current.epoch &&
  position.window === undefined &&
  (head.visible === undefined || snapshots.includes(position.delivered, head.visible))

// Compiling a statement takes longer than running it, and a batch is sorted in memory. A batch reads only a part of a
// transaction, in the order of an index. A planner that expects small transactions would read the rest of it for every batch.
const settings = {
  jit: "off",
  work_mem: "32MB",
  enable_sort: "off",
  enable_bitmapscan: "off",
  enable_seqscan: "off"
}

/**
 * Reads one batch after a position, or the first batch. For the first batch, a table that the record does not know is `NotFound`.
 * Every call does a bounded amount of work.
 */
export const step = (storage: Storage, decoded: Decoded): Effect.Effect<Step, ReadError> =>
  snapshot(
    storage.sql,
    settings,
    Effect.gen(function* () {
      const head = yield* readHead(storage)
      if (decoded.position === undefined) {
        yield* checkTables(storage, decoded.tables.map(tableOf))
        return yield* advance(storage, decoded, head, yield* firstPosition(head, decoded.origin))
      }
      yield* check(head, decoded.position)
      return yield* advance(storage, decoded, head, decoded.position)
    })
  ).pipe(Effect.catchTag("SqlError", (error) => Effect.fail(fromSqlError(error))))

/** Like `firstPosition`, at the present head. */
export const readFirstPosition = (storage: Storage, origin: Origin): Effect.Effect<Position, ThreadlineError> =>
  Effect.flatMap(readHead(storage), (head) => firstPosition(head, origin))

const advance = Effect.fnUntraced(function* (
  storage: Storage,
  { limit, tables }: Decoded,
  head: Head,
  begin: Position
): Effect.fn.Return<Step, InvalidRequest | ThreadlineError> {
  const tablesWithNames = yield* withStrayedNames(storage, yield* resolveTables(storage, tables.map(tableOf)))
  let position = begin
  for (;;) {
    const window = windowOf(head, position)
    if (window === undefined) {
      const next = nextEpoch(head, position)
      if (next === undefined) {
        // The reader is ahead of this server: what it waits for is not here yet.
        return { pageRows: { changes: [], transactions: [] }, position, caughtUp: true }
      }
      position = next
      continue
    }
    const { pageRows, window: nextWindow } = yield* page({
      storage,
      tables: tablesWithNames,
      epoch: position.epoch,
      delivered: position.delivered,
      window,
      limit
    })
    position =
      nextWindow === undefined
        ? { ...position, delivered: snapshots.union(position.delivered, window.to), window: undefined }
        : { ...position, window: nextWindow }
    if (nextWindow !== undefined || pageRows.changes.length > 0 || isDelivered(head, position)) {
      return { pageRows, position, caughtUp: isDelivered(head, position) }
    }
  }
})

/** A step as a batch. */
export const batch = (
  { tables }: Decoded,
  { caughtUp, pageRows, position }: Step
): Effect.Effect<Batch, ThreadlineError> =>
  Effect.map(decode(pageRows), (changes) =>
    makeBatch({ changes, checkpoint: checkpoints.encode(tables, position), caughtUp })
  )

export const read = (storage: Storage, input: Options): Effect.Effect<Batch, ReadError> =>
  Effect.flatMap(decodeRequest(input), (decoded) =>
    Effect.flatMap(step(storage, decoded), (stepTaken) => batch(decoded, stepTaken))
  )
