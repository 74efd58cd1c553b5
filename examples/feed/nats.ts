/**
 * The feed into a broker: NATS with JetStream. A batch may come again. The broker drops what it has had lately by the id of the message, and
 * a consumer remembers the ids that it has dealt with.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { headers, type JetStreamClient } from "nats"
import { Feed, Json } from "threadline"

class PublishError extends Schema.TaggedError<PublishError>()("PublishError", { cause: Schema.Defect }) {}

const letters = (name: string): string => name.replace(/[^A-Za-z0-9_-]/g, "_")

/** Publishes a change under its table; it is done when the broker has stored it. */
const publish = (broker: JetStreamClient, change: Feed.Batch["changes"][number]) =>
  Effect.tryPromise({
    try: () => {
      const about = headers()
      about.set("table", encodeURIComponent(`${change.tableSchema}.${change.tableName}`))
      return broker.publish(
        `changes.${letters(change.tableSchema)}.${letters(change.tableName)}`,
        Json.stringify(change),
        {
          msgID: change.id,
          headers: about
        }
      )
    },
    catch: (cause) => new PublishError({ cause })
  })

/** Publishes what is captured in the order of the feed, until it is interrupted if it is `live`. */
export const forward = (broker: JetStreamClient, options: { readonly live: boolean }) =>
  Feed.consume(
    "nats",
    ({ changes }) => Effect.forEach(changes, (change) => publish(broker, change), { discard: true }),
    {
      ...options,
      limit: 500
    }
  )
