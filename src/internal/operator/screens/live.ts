/**
 * The event stream of a followed timeline. An event says that something may have changed; the page then reads itself
 * again.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { many } from "../../core/words.js"
import { read } from "../filterForm.js"
import { answer, type ScreenContext, type Screened } from "../screen.js"
import { notProvided } from "./trouble.js"

/** How long one connection lives. The browser then connects again, and the host authorizes the viewer again. */
const longest = Duration.minutes(5)

const beat = Duration.seconds(20)

export const live = (context: ScreenContext): Screened =>
  Option.match(context.services.feed, {
    onNone: () => Effect.succeed(notProvided("Feed")),
    onSome: (feed) =>
      Either.match(read(context.params, context.zone, context.now), {
        onLeft: (error) => Effect.fail(error),
        onRight: ({ filter }) => {
          const changes = feed
            .stream({ from: "now", live: true, ...(filter.table === undefined ? {} : { tables: filter.table }) })
            .pipe(
              Stream.filter(({ changes }) => changes.length > 0),
              Stream.map(({ changes }) => `event: changes\ndata: ${many(changes.length, "change")}\n\n`)
            )
          const beats = Stream.repeatEffect(Effect.as(Effect.sleep(beat), ":\n\n"))
          const events = Stream.make("retry: 3000\n\n").pipe(
            Stream.concat(Stream.merge(changes, beats)),
            Stream.interruptAfter(longest),
            // The browser connects again. The feed logs what failed.
            Stream.catchAll(() => Stream.empty),
            Stream.encodeText
          )
          return Effect.map(Effect.runtime<never>(), (runtime) =>
            answer(
              new Response(Stream.toReadableStreamRuntime(events, runtime), {
                headers: { "content-type": "text/event-stream; charset=utf-8", "x-accel-buffering": "no" }
              })
            )
          )
        }
      })
  })
