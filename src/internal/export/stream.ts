/**
 * An export as a stream of bytes: one snapshot on its own connection, rows as PostgreSQL formats them, and a manifest at the end. The
 * statement waits while no bytes are read. It is cancelled when the reader leaves.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { createHash } from "node:crypto"
import { pipeline, Readable } from "node:stream"
import * as AuditContext from "../../AuditContext.js"
import { InvalidRequest, ThreadlineError } from "../../ThreadlineError.js"
import { notAnObject, type ReadError, told } from "../core/request.js"
import { stringify } from "../core/json.js"
import { onConditionError } from "../record/condition.js"
import { type ReaderScopes, restricted } from "../record/restriction.js"
import type { Storage } from "../record/storage.js"
import { type Reached, since, type Since } from "../feed/since.js"
import { everything } from "../search/everything.js"
import { scopedSnapshot, type Snapshot, withoutConnection } from "../sql/owned.js"
import { availability } from "./compression.js"
import { begin, type Rows, type Source, sqlErrorOf } from "./copy.js"
import type { ExportError } from "./exportError.js"
import type { Compression } from "./formats.js"
import { type Body, csvLines, jsonLines } from "./lines.js"
import { type Facts, factsOf, type Manifest, manifestOf } from "./manifest.js"
import { library, ParquetFile, type Writing } from "./parquet.js"
import type { Handing } from "./pieces.js"
import { decodeOptions, type Options, outerCompression, type Request } from "./request.js"
import { rowsOf } from "./statement.js"

export type Failure = ExportError | ReadError

/** The progress of an export. */
export interface Progress {
  /** Records written so far: changes, or lines if a CSV has one line for each field. */
  readonly records: number
  /** Bytes given to the reader, after compression. */
  readonly bytes: number
  /** How many records the planner of the database expects in total; undefined if it was not asked, and under a scope. */
  readonly estimate: number | undefined
}

/** Callbacks of a running export. */
export interface Hooks {
  /** Called once, after the last byte. */
  readonly onManifest?: ((manifest: Manifest) => Effect.Effect<void>) | undefined
  /** Called for each piece. */
  readonly onProgress?: ((progress: Progress) => Effect.Effect<void>) | undefined
}

/** How an export ended, for its action. */
export type Outcome =
  | { readonly _tag: "Completed"; readonly manifest: Manifest }
  | {
      readonly _tag: "Ended"
      readonly request: Request
      readonly facts: Facts
      readonly records: number
      readonly bytes: number
      /** The tag or the reason of the error, or that the reader left. */
      readonly why: string
    }

/** Records how exports ended. */
export interface Recorder {
  /** Fails if nothing could be recorded. It runs before anything is read. */
  readonly check: Effect.Effect<void, ThreadlineError>
  readonly record: (outcome: Outcome, context: AuditContext.Fields) => Effect.Effect<void, ThreadlineError>
}

/** The source of exports, the scope of their reader, and their recorder. */
export interface Exporting extends ReaderScopes {
  readonly storage: Storage
  readonly recorder: Recorder | undefined
  readonly continuing?: Continuing | undefined
}

/** Only what is new since a checkpoint is exported; the first time, everything. */
export interface Continuing {
  readonly checkpoint: string | null
  /** Called before the first byte, with the place where the next export continues. */
  readonly onReached: (reached: Reached) => Effect.Effect<void>
}

/**
 * JIT compilation takes longer than it saves, because the statement is mostly output. The log lies on the disk in the order of its index, but the
 * planner takes little account of it. With its usual cost of a page out of order it would read everything and sort it, on disk, before the first
 * byte. Parallel workers are left to others, because an export may wait for its reader for hours.
 */
const settings = {
  jit: "off",
  seq_page_cost: "1",
  random_page_cost: "1.1",
  max_parallel_workers_per_gather: "0",
  // Shapes have names as SQL has them.
  quote_all_identifiers: "off"
}

const Plans = Schema.NonEmptyArray(Schema.Struct({ Plan: Schema.Struct({ "Plan Rows": Schema.Number }) }))

/** A host may have told its driver to leave JSON as it comes. */
const Explained = Schema.Union(Plans, Schema.parseJson(Plans))

/** The rows that a plan says it has, as EXPLAIN writes it with `format json`. */
const planRows = (plan: unknown): number | undefined =>
  Option.getOrUndefined(Option.map(Schema.decodeUnknownOption(Explained)(plan), ([{ Plan }]) => Plan["Plan Rows"]))

/** The number of rows that the planner expects. EXPLAIN also fails if the role may not read a table of the statement. */
const estimated = (connection: Connection, { anyBytes, query }: Rows): Effect.Effect<number | undefined, SqlError> =>
  anyBytes
    ? Effect.succeed(undefined)
    : Effect.map(connection.executeValues(`explain (format json) ${query}`, []), ([first]) => planRows(first?.[0]))

interface Prepared {
  readonly storage: Storage
  readonly request: Request
  readonly rows: Rows
  readonly facts: Facts
  /** What writes Parquet, if that is asked for. */
  readonly parquet: Writing | undefined
  readonly estimate: number | undefined
  readonly context: AuditContext.Fields
}

const inSnapshot =
  ({ connection }: Snapshot) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, Exclude<R, SqlClient.TransactionConnection>> =>
    Effect.provideService(effect, SqlClient.TransactionConnection, [connection, 0])

const never = "9999-12-31T23:59:59.999999Z"

/** The earliest instant of changes to export, so that the index of time leads to those that are new. */
const beginOf = ({ filter: { from } }: Request, news: Since | undefined): string | undefined => {
  if (news?.isNew === undefined) {
    return from
  }
  const { earliest = never } = news
  return from === undefined || from < earliest ? earliest : from
}

/** Decodes the request, and queries what the statement needs. */
const prepare = Effect.fnUntraced(function* (
  storage: Storage,
  request: Request,
  parquet: Writing | undefined,
  continuing: Continuing | undefined,
  snapshot: Snapshot
): Effect.fn.Return<Prepared, ReadError> {
  const context = AuditContext.merge(yield* AuditContext.current, {
    ...(request.requestedBy === undefined ? {} : { actor: request.requestedBy })
  })
  return yield* Effect.gen(function* () {
    const news = continuing === undefined ? undefined : yield* since(storage, continuing.checkpoint)
    const filter = { ...request.filter, from: beginOf(request, news) }
    const changesStatement = yield* everything(storage, filter, request.order, request.limit)
    const rows = yield* rowsOf(storage, request, changesStatement, news?.isNew)
    const expected = yield* Effect.mapError(estimated(snapshot.connection, rows), onConditionError(storage))
    // The planner expects rows by statistics of the whole record: under a scope, they would tell how many rows it hides.
    const estimate = storage.restriction === undefined ? expected : undefined
    const facts = yield* factsOf(storage, request, context.actor, news)
    yield* news === undefined || continuing === undefined ? Effect.void : continuing.onReached(news.reached)
    return { storage, request, rows, facts, parquet, estimate, context }
  }).pipe(inSnapshot(snapshot))
})

/** Counts the bytes so far, and computes their hash. */
class Tally {
  bytes = 0
  private readonly hash = createHash("sha256")

  get sha256(): string {
    return this.hash.copy().digest("hex")
  }

  /** The same pieces, each counted before it is passed on. */
  async *of(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const piece of pieces) {
      this.hash.update(piece)
      this.bytes += piece.length
      yield piece
    }
  }
}

const jsonHead = Buffer.from('{"items":[\n')
const comma = 0x2c

/**
 * A JSON document around the records. It ends with a manifest of everything before that manifest. `tally` counts what this
 * generator yields.
 */
async function* documentOf(lines: Body, { facts, request }: Prepared, tally: Tally): AsyncGenerator<Buffer> {
  yield jsonHead
  let isFirst = true
  for await (const piece of lines) {
    // Each record begins with a comma.
    yield isFirst && piece[0] === comma ? piece.subarray(1) : piece
    isFirst = false
  }
  yield Buffer.from("]")
  const { bytes, sha256 } = tally
  const manifest = manifestOf(request, facts, { count: lines.records, bytes, sha256 })
  yield Buffer.from(`,"manifest":${stringify(manifest)}}\n`)
}

/** A snapshot, and the query to run in it. */
const ready = Effect.fnUntraced(function* (
  exporting: Exporting,
  request: Request
): Effect.fn.Return<{ readonly snapshot: Snapshot; readonly prepared: Prepared }, Failure, Scope.Scope> {
  const { continuing, recorder } = exporting
  const parquet = request.format === "parquet" ? yield* library : undefined
  const storage = yield* restricted(exporting.storage, exporting)
  yield* recorder?.check ?? Effect.void
  const snapshot = yield* Effect.mapError(scopedSnapshot(storage.sql, settings), onConditionError(storage))
  return { snapshot, prepared: yield* prepare(storage, request, parquet, continuing, snapshot) }
})

/** The manifest inside a Parquet file: without what is known only when the file has ended. */
const description = ({ facts, request }: Prepared): string => {
  const { bytes: _, count: __, sha256: ___, ...known } = manifestOf(request, facts, { bytes: 0, count: 0, sha256: "" })
  return stringify(known)
}

const bodyOf = (prepared: Prepared, { bytes }: Source, handing: Handing): Body => {
  const { parquet, request, storage } = prepared
  const { columns, compression, format, raw } = request
  return parquet !== undefined
    ? new ParquetFile(parquet, columns, bytes, {
        compression: compression === "zstd" ? "zstd" : undefined,
        description: description(prepared)
      })
    : format === "csv"
      ? csvLines(bytes, handing, { columns, raw, anyBytes: storage.anyBytes })
      : jsonLines(bytes, handing, { anyBytes: storage.anyBytes })
}

const compressed = (pieces: AsyncIterable<Buffer>, compression: Compression): AsyncIterable<Buffer> => {
  const codec = Either.getOrThrow(availability(compression)).compress()
  pipeline(Readable.from(pieces, { objectMode: false }), codec, () => undefined)
  return codec
}

/** A running export. */
class Running {
  readonly tally = new Tally()
  ended = false
  private readonly body: Body
  private readonly iterator: AsyncIterator<Buffer>

  constructor(
    readonly prepared: Prepared,
    readonly source: Source,
    handing: Handing
  ) {
    const { request } = prepared
    const compression = outerCompression(request)
    // A codec takes pieces before it is done with the last one.
    this.body = bodyOf(prepared, source, compression === undefined ? handing : "given")
    const written = (tally: Tally): AsyncIterable<Buffer> =>
      request.format === "json" ? tally.of(documentOf(this.body, prepared, tally)) : this.body
    const pieces =
      compression !== undefined
        ? this.tally.of(compressed(written(new Tally()), compression))
        : request.format === "json"
          ? written(this.tally)
          : this.tally.of(this.body)
    this.iterator = pieces[Symbol.asyncIterator]()
  }

  get records(): number {
    return this.body.records
  }

  readonly next: Effect.Effect<Option.Option<Buffer>, SqlError> = Effect.suspend(() =>
    // If the fiber is interrupted, nothing waits for the promise. It ends with the source.
    Effect.map(
      Effect.tryPromise({ try: () => this.iterator.next(), catch: sqlErrorOf }),
      (result): Option.Option<Buffer> => (result.done === true ? Option.none() : Option.some(result.value))
    )
  )

  get progress(): Progress {
    return { records: this.records, bytes: this.tally.bytes, estimate: this.prepared.estimate }
  }
}

const incomplete = (records: number, sent: number) =>
  new ThreadlineError({
    reason: "Failed",
    detail: `the database sent ${sent} rows, and ${records} arrived: the export is not whole`
  })

/** The end of an export, after its last row. The server says how many rows there were. */
const finish = Effect.fnUntraced(function* (
  running: Running,
  { connection, end }: Snapshot,
  { recorder }: Exporting,
  { onManifest, onProgress }: Hooks
): Effect.fn.Return<void, ReadError> {
  const { context, facts, request, storage } = running.prepared
  yield* Effect.mapError(connection.executeRaw("commit", []), onConditionError(storage))
  if (running.source.sent() !== running.records) {
    return yield* incomplete(running.records, running.source.sent())
  }
  const { bytes, sha256 } = running.tally
  const manifest = manifestOf(request, facts, { count: running.records, bytes, sha256 })
  yield* told(onProgress, running.progress)
  running.ended = true
  yield* end
  yield* recorder?.record({ _tag: "Completed", manifest }, context) ?? Effect.void
  yield* told(onManifest, manifest)
})

const reasonOf = (error: Failure | undefined): string =>
  error === undefined
    ? "nobody read on"
    : error._tag === "ThreadlineError" || error._tag === "ExportError"
      ? `${error._tag} ${error.reason}`
      : error._tag

/** Ends an export early. The action says how much was written until then. */
const leave = (running: Running, { end, noteLeft }: Snapshot, { recorder }: Exporting, error: Failure | undefined) =>
  Effect.suspend(() => {
    if (running.ended) {
      return Effect.void
    }
    running.ended = true
    noteLeft()
    const {
      prepared,
      records,
      tally: { bytes }
    } = running
    const { context, facts, request } = prepared
    const outcome: Outcome = { _tag: "Ended", request, facts, records, bytes, why: reasonOf(error) }
    return running.source.stop.pipe(
      Effect.zipRight(end),
      Effect.zipRight(recorder?.record(outcome, context) ?? Effect.void),
      // The failure is reported already, or the reader has left.
      Effect.catchAll((failure) => Effect.logWarning(`threadline: an export was not recorded: ${failure.detail}`))
    )
  })

const opened = Effect.fnUntraced(function* (
  exporting: Exporting,
  request: Request,
  hooks: Hooks,
  handing: Handing
): Effect.fn.Return<Stream.Stream<Uint8Array, Failure>, Failure, Scope.Scope> {
  const { prepared, snapshot } = yield* ready(exporting, request)
  const sqlFailure = onConditionError(prepared.storage)
  let failure: Failure | undefined
  const running = yield* Effect.acquireRelease(
    Effect.map(
      Effect.mapError(begin(snapshot.connection, prepared.rows), sqlFailure),
      (source) => new Running(prepared, source, handing)
    ),
    (started) => leave(started, snapshot, exporting, failure)
  )
  const pull = Effect.flatMap(
    Effect.mapError(running.next, sqlFailure),
    Option.match({
      onNone: () =>
        Effect.zipRight(
          Effect.mapError(finish(running, snapshot, exporting, hooks), Option.some),
          Effect.fail(Option.none())
        ),
      onSome: (piece) => Effect.as(told(hooks.onProgress, running.progress), Chunk.of<Uint8Array>(piece))
    })
  )
  return Stream.repeatEffectChunkOption(
    Effect.mapError(pull, (error) => {
      const option = Option.isOption(error) ? error : Option.some(error)
      failure = Option.getOrElse(option, () => failure)
      return option
    })
  )
})

const notHooks = (hooks: Hooks): InvalidRequest | undefined => {
  for (const field of ["onManifest", "onProgress"] as const) {
    if (hooks[field] !== undefined && typeof hooks[field] !== "function") {
      return new InvalidRequest({ field, rule: "must be a function that gives an effect" })
    }
  }
  return undefined
}

/** The options without callbacks. */
export const decoded = (
  given: Options & Hooks
): Either.Either<{ readonly request: Request; readonly hooks: Hooks }, InvalidRequest | ExportError> => {
  const notObject = notAnObject(given)
  if (notObject !== undefined) {
    return Either.left(notObject)
  }
  const { onManifest, onProgress, ...options } = given
  const hooks: Hooks = { onManifest, onProgress }
  const refusal = notHooks(hooks)
  return refusal === undefined
    ? Either.map(decodeOptions(options), (request) => ({ request, hooks }))
    : Either.left(refusal)
}

/** The bytes of an export. Each run of the stream is a new export. */
export const bytesOf = (exporting: Exporting, request: Request, hooks: Hooks): Stream.Stream<Uint8Array, Failure> =>
  Stream.unwrapScoped(withoutConnection(opened(exporting, request, hooks, "given")))

/**
 * Like `bytesOf`, for a reader that is done with each piece before it asks for the next one: the memory of pieces is used
 * again.
 */
export const lentBytesOf = (exporting: Exporting, request: Request, hooks: Hooks): Stream.Stream<Uint8Array, Failure> =>
  Stream.unwrapScoped(withoutConnection(opened(exporting, request, hooks, "lent")))

/** Fails with the error that an export would have before its first byte. */
export const check = (exporting: Exporting, request: Request): Effect.Effect<void, Failure> =>
  Effect.asVoid(Effect.scoped(withoutConnection(ready(exporting, request))))
