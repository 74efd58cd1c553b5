/**
 * A feed as a stream of batches. While one batch is decoded and handled, the next one is fetched. There are never more than these
 * two in memory.
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { type Polling, waiting } from "./consume.js"
import type { Batch } from "./model.js"
import { batch, type Decoded, decodeRequest, type Options, type Step, step } from "./read.js"
import { mustBeObject, type ReadError } from "../core/request.js"
import { onOwnClient } from "../sql/apart.js"
import type { Storage } from "../record/storage.js"

/**
 * Options of `stream`. With `live` it continues after it has caught up, and looks again as `poll` says: every second unless
 * given.
 *
 * @since 0.1.0
 * @category models
 */
export interface StreamOptions extends Options, Polling {}

interface State {
  readonly position: Decoded["position"]
  /** Whether the previous batch had caught up. */
  readonly ended: boolean
  readonly ahead: Fiber.Fiber<Step, ReadError> | undefined
}

export const stream = (storage: Storage, options: StreamOptions): Stream.Stream<Batch, ReadError> =>
  Effect.gen(function* () {
    yield* mustBeObject(options)
    const { live, poll, ...input } = options
    const decoded = yield* decodeRequest(input)
    const pause = yield* waiting({ live, poll })
    const scope = yield* Effect.scope
    const fetch = (position: Decoded["position"]) => onOwnClient(storage.apart, step(storage, { ...decoded, position }))
    const next = Effect.fnUntraced(function* ({
      ahead,
      ended,
      position
    }: State): Effect.fn.Return<Option.Option<readonly [Option.Option<Batch>, State]>, ReadError> {
      if (ended && !(yield* pause.wait)) {
        return Option.none()
      }
      const stepTaken = yield* ahead === undefined ? fetch(position) : Fiber.join(ahead)
      const following = stepTaken.caughtUp ? undefined : yield* Effect.forkIn(fetch(stepTaken.position), scope)
      const nextBatch = yield* batch(decoded, stepTaken)
      if (nextBatch.changes.length > 0) {
        yield* pause.reset
      }
      // A live feed that finds nothing emits nothing.
      const silent = live === true && ended && nextBatch.caughtUp && nextBatch.changes.length === 0
      return Option.some([
        silent ? Option.none() : Option.some(nextBatch),
        { position: stepTaken.position, ended: stepTaken.caughtUp, ahead: following }
      ] as const)
    })
    const initial: State = { position: decoded.position, ended: false, ahead: undefined }
    return Stream.filterMap(Stream.unfoldEffect(initial, next), (emitted) => emitted)
  }).pipe(Stream.unwrapScoped)
