import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Feed from "../../src/Feed.js"
import * as Json from "../../src/Json.js"
import * as Query from "../../src/Query.js"
import { type ColumnsOf, columnsOf } from "../columns.js"
import { configuration, migratedClient, withSchema } from "../database.js"
import { changeTable } from "../describe.js"
import { UsageError } from "../exit.js"
import { choice, common, flag, value, values } from "../options.js"
import { print, printPieces } from "../output.js"
import { leaf } from "../parser/declare.js"
import { wholeNumber } from "../values.js"

const defaultLimit = 1000
const maxLimit = 10_000

const lines = function* ({ changes, checkpoint }: Feed.Batch): Iterable<string> {
  for (const change of changes) {
    yield* Json.pieces(change)
    yield "\n"
  }
  yield JSON.stringify({ checkpoint })
}

const documentOf = ({ caughtUp, changes, checkpoint }: Feed.Batch) => ({ items: changes, checkpoint, caughtUp })

const text = (batch: Feed.Batch, columns: ColumnsOf, width: number): string =>
  [
    ...(batch.changes.length === 0
      ? []
      : [changeTable(batch.changes, { header: "change", of: ({ id }) => id }, columns, width), ""]),
    batch.caughtUp ? "That is all for now." : "There is more.",
    `Go on: --checkpoint ${batch.checkpoint}`
  ].join("\n")

/** Reads batches until the limit is reached or the feed has caught up: a batch of a filtered feed may hold few changes. */
const gather = Effect.fnUntraced(function* (
  options: Feed.Options,
  limit: number
): Effect.fn.Return<Feed.Batch, Feed.FeedError, Feed.Feed> {
  const changes: Array<Query.Change> = []
  let { checkpoint } = options
  for (;;) {
    const batch = yield* Feed.read({ ...options, checkpoint, limit: limit - changes.length })
    changes.push(...batch.changes)
    checkpoint = batch.checkpoint
    if (batch.caughtUp || changes.length >= limit) {
      return { changes, checkpoint: batch.checkpoint, caughtUp: batch.caughtUp }
    }
  }
})

export const feed = leaf(
  "feed",
  {
    ...common,
    table: values("table", "TABLE", "Only changes of this table; may be repeated."),
    checkpoint: value("checkpoint", "TEXT", "Continue where the previous batch ended."),
    from: choice(
      "from",
      ["beginning", "now"],
      "Where to begin; default: at the beginning. With --checkpoint it has no effect."
    ),
    limit: value(
      "limit",
      "NUMBER",
      `How many, 1 to ${maxLimit}; default: ${defaultLimit}. With --follow, in each batch.`
    ),
    follow: flag("follow", "Continue with what is committed from now on, until interrupted."),
    ndjson: flag("ndjson", "Print each change on a line, and after each batch a line with its checkpoint.")
  },
  (options) =>
    Effect.gen(function* () {
      if (options.json && (options.ndjson || options.follow)) {
        return yield* new UsageError({
          message: `--json prints one document: use ${options.ndjson ? "either it or --ndjson" : "--ndjson with --follow"}`
        })
      }
      const limit = (yield* wholeNumber("--limit", options.limit, 1, maxLimit)) ?? defaultLimit
      const request: Feed.Options = {
        tables: options.table.length === 0 ? undefined : options.table,
        checkpoint: Option.getOrUndefined(options.checkpoint),
        from: Option.getOrUndefined(options.from),
        limit
      }
      // This is wrong no matter what the database holds, so the database is not asked.
      yield* Effect.mapError(
        Feed.validate(request),
        ({ field, rule }) => new UsageError({ message: `--${field === "tables" ? "table" : field}: ${rule}` })
      )
      const show = (batch: Feed.Batch) =>
        options.ndjson
          ? printPieces(lines(batch))
          : Effect.flatMap(columnsOf(batch.changes), (columns) =>
              print(options, (width) => text(batch, columns, width))
            )
      const configured = yield* configuration(options)
      yield* (
        options.follow
          ? Stream.runForEach(Feed.stream({ ...request, live: true }), (batch) =>
              batch.changes.length === 0 && !options.ndjson ? Effect.void : show(batch)
            )
          : Effect.flatMap(gather(request, limit), (batch) =>
              options.json ? printPieces(Json.pieces(documentOf(batch))) : show(batch)
            )
      ).pipe(
        Effect.provide(Layer.provide(Layer.merge(Feed.layer, Query.layer), migratedClient(options))),
        withSchema(options, configured)
      )
    })
)
