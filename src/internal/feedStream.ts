/**
 * A feed as a stream of batches, one of them in memory at a time.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { InvalidRequest, ThreadlineError } from "../ThreadlineError.js"
import * as checkpoints from "./feedCheckpoint.js"
import { type Polling, waiting } from "./feedConsume.js"
import { type Batch, type Decoded, decodeRequest, type RequestInput, step } from "./feedRead.js"
import type { Storage } from "./queryStorage.js"

export interface StreamOptions extends RequestInput, Polling {}

export const stream = (
  storage: Storage,
  { live, poll, ...input }: StreamOptions
): Stream.Stream<Batch, InvalidRequest | ThreadlineError> =>
  Effect.gen(function* () {
    const decoded = yield* decodeRequest(input)
    const pause = yield* waiting({ live, poll })
    const next = ({
      ended,
      position
    }: {
      readonly position: Decoded["position"]
      readonly ended: boolean
    }): Effect.Effect<
      Option.Option<
        readonly [Option.Option<Batch>, { readonly position: Decoded["position"]; readonly ended: boolean }]
      >,
      InvalidRequest | ThreadlineError
    > =>
      Effect.gen(function* () {
        if (ended && !(yield* pause.wait)) {
          return Option.none()
        }
        const found = yield* step(storage, { ...decoded, position })
        if (found.changes.length > 0) {
          yield* pause.reset
        }
        const batch: Batch = {
          changes: found.changes,
          checkpoint: checkpoints.encode(decoded.tables, found.position),
          caughtUp: found.caughtUp
        }
        // A live feed that finds nothing has nothing to say.
        const silent = live === true && ended && found.caughtUp && found.changes.length === 0
        return Option.some([
          silent ? Option.none() : Option.some(batch),
          { position: found.position, ended: found.caughtUp }
        ] as const)
      })
    return Stream.filterMap(Stream.unfoldEffect({ position: decoded.position, ended: false }, next), (batch) => batch)
  }).pipe(Stream.unwrap)
