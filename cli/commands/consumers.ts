import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Feed from "../../src/Feed.js"
import * as Json from "../../src/Json.js"
import * as Suggestion from "../../src/Suggestion.js"
import { configuration, inputFirst, migratedClient, withSchema } from "../database.js"
import { when } from "../describe.js"
import { Refused, UsageError } from "../exit.js"
import { type Common, common } from "../options.js"
import { answer, answerExact, visible } from "../output.js"
import { argument, leaf } from "../parser/declare.js"
import { layout } from "../table.js"

const inFeed = <A, E>(options: Common, call: Effect.Effect<A, E, Feed.Feed>) =>
  Effect.flatMap(configuration(options), (configured) =>
    inputFirst(Effect.provide(call, Feed.layer), migratedClient(options)).pipe(withSchema(options, configured))
  )

/** The lag in at most two units, rounded up to seconds. */
const lagText = (lag: Duration.Duration): string =>
  Duration.format(Duration.seconds(Math.ceil(Duration.toSeconds(lag))))
    .split(" ")
    .slice(0, 2)
    .join(" ")

const table = (consumers: ReadonlyArray<Feed.Consumer>, width: number): string =>
  layout(
    [
      { header: "consumer" },
      { header: "behind by", rigid: true },
      { header: "stored (UTC)", rigid: true },
      { header: "held until (UTC)", rigid: true }
    ],
    consumers.map(({ lag, leasedUntil, name, updatedAt }) => [
      name,
      Option.match(lag, { onNone: () => "nothing", onSome: lagText }),
      when(updatedAt),
      Option.match(leasedUntil, { onNone: () => "", onSome: when })
    ]),
    width
  )

export const list = leaf("consumers list", common, (options) =>
  Effect.gen(function* () {
    const consumers = yield* inFeed(options, Feed.checkpoints)
    yield* answerExact(
      options,
      () => Json.stringify({ consumers }),
      (width) => (consumers.length === 0 ? "The feed has no consumer." : table(consumers, width))
    )
  })
)

export const forget = leaf(
  "consumers forget",
  { ...common, name: argument("NAME", "Name of the consumer. The next one of that name begins anew.") },
  (options) =>
    Effect.gen(function* () {
      const { name } = options
      const names = yield* inFeed(
        options,
        Effect.gen(function* () {
          const forgotten = yield* Effect.mapError(Feed.forget(name), (error) =>
            error._tag === "threadline/InvalidRequest" ? new UsageError({ message: `NAME: ${error.rule}` }) : error
          )
          return forgotten ? undefined : (yield* Feed.checkpoints).map((consumer) => consumer.name)
        })
      )
      if (names !== undefined) {
        return yield* new Refused({
          message: Suggestion.withSuggestion(`the feed has no consumer ${name}`, Suggestion.nearest(name, names))
        })
      }
      yield* answer(
        options,
        () => ({ name, forgotten: true }),
        () => `The consumer ${visible(name)} is forgotten.`
      )
    })
)
