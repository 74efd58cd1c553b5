/**
 * Makes pages, from statements that ask for one row more than the page holds. Makes streams from pages.
 */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Pages from "../../Page.js"
import type { ThreadlineError } from "../../ThreadlineError.js"
import * as cursors from "./cursor.js"
import type { Storage } from "./storage.js"

export const pageOf = <A>(
  storage: Storage,
  candidates: ReadonlyArray<A>,
  limit: number,
  query: cursors.Query,
  position: (item: A) => cursors.Position,
  /** Where the search ended because its budget was used up. */
  stop?: cursors.Position
): Effect.Effect<Pages.Page<A>, ThreadlineError> => {
  const items = candidates.slice(0, limit)
  const last = items.at(-1)
  const next = candidates.length > limit ? (last === undefined ? undefined : position(last)) : stop
  return next === undefined
    ? Effect.succeed(Pages.make(items))
    : Effect.map(cursors.encode(storage, query, next), (cursor) =>
        Pages.make(items, Option.some(cursor), next === stop)
      )
}

/** Items that one read of a stream fetches. */
export const streamLimit = 500

/** Every item of every page, one page in memory at a time. */
export const streamPages = <A, E>(
  first: Pages.Cursor | string | undefined,
  read: (cursor: Pages.Cursor | string | undefined) => Effect.Effect<Pages.Page<A>, E>
): Stream.Stream<A, E> =>
  Stream.paginateChunkEffect(first, (cursor) =>
    Effect.map(
      read(cursor),
      (page) => [Chunk.unsafeFromArray(page.items), Option.map(page.nextCursor, (next): typeof first => next)] as const
    )
  )
