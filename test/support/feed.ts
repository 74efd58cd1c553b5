/** What the tests of the feed share. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Feed from "../../src/Feed.js"
import { clientOf } from "../harness/client.js"

/** The feed of a database; a client of its own, which goes with the scope. */
export const connect = (url: string, make: typeof Feed.layer = Feed.layer) =>
  Effect.map(Layer.build(Layer.provide(make, clientOf(url, 3))), (context) =>
    Feed.Feed.pipe(Effect.provide(context), Effect.runSync)
  )

/** Batches from a checkpoint until caught up. */
export const drain = Effect.fnUntraced(function* (
  feed: Feed.Service,
  options: Feed.Options = {}
): Effect.fn.Return<
  { readonly batches: ReadonlyArray<Feed.Batch>; readonly ids: ReadonlyArray<string>; readonly checkpoint: string },
  Feed.FeedError
> {
  const batches: Array<Feed.Batch> = []
  let { checkpoint } = options
  for (;;) {
    const batch = yield* feed.read(checkpoint === undefined ? options : { ...options, checkpoint })
    batches.push(batch)
    checkpoint = batch.checkpoint
    if (batch.caughtUp) {
      return { batches, ids: batches.flatMap(({ changes }) => changes.map(({ id }) => id)), checkpoint }
    }
  }
})
