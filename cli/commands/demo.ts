import type * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as ExportJobs from "../../src/ExportJobs.js"
import * as Json from "../../src/Json.js"
import * as Query from "../../src/Query.js"
import { connection, givenUrl } from "../database.js"
import * as Embedded from "../demo/embedded.js"
import * as Host from "../demo/host.js"
import * as Print from "../demo/print.js"
import * as Story from "../demo/story.js"
import { viewer } from "../demo/traffic.js"
import { UsageError } from "../exit.js"
import { common, flag, value } from "../options.js"
import { answerExact } from "../output.js"
import { printAddress, servePages } from "../pages.js"
import { leaf } from "../parser/declare.js"
import { wholeNumber } from "../values.js"

/** A second Ctrl+C, or a terminal that closes, must not end the process before everything is removed. */
const patience = Effect.acquireRelease(
  Effect.sync(() => {
    const wait = () => undefined
    process.on("SIGINT", wait).on("SIGTERM", wait)
    return wait
  }),
  (wait) => Effect.sync(() => void process.off("SIGINT", wait).off("SIGTERM", wait))
)

const withoutText = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.consoleWith((console) =>
    Effect.withConsole(effect, { ...console, log: () => Effect.void } satisfies Console.Console)
  )

/**
 * The given database, else an embedded one. PGHOST and the like are ignored, because they may be set for another
 * purpose.
 */
const place = Effect.fnUntraced(function* (given: Option.Option<Redacted.Redacted>) {
  if (Option.isSome(given)) {
    return { url: given.value, description: "the database that is named, in schemas of its own" }
  }
  const url = Redacted.make(yield* Embedded.start)
  return { url, description: "an embedded PostgreSQL, which is gone when the demo ends" }
})

export const demo = leaf(
  "demo",
  {
    ...common,
    exit: flag("exit", "End after the story, without pages; --json then prints the timeline."),
    large: flag("large", "Let a year of a small company go before; takes half a minute."),
    port: value("port", "PORT", "Port of the pages on this machine; default: a free one.")
  },
  (options) =>
    Effect.gen(function* () {
      if (Option.isSome(options.schema) || Option.isSome(options.config)) {
        return yield* new UsageError({ message: "the demo has a schema and a configuration of its own" })
      }
      if (options.exit && Option.isSome(options.port)) {
        return yield* new UsageError({ message: "--port is for the pages, and with --exit there are none" })
      }
      const port = (yield* wholeNumber("--port", options.port, 1, 65_535)) ?? 0
      yield* patience
      const { description, url } = yield* place(yield* givenUrl(options))
      const client = (applicationName: string) => connection({ url }, { applicationName, maxConnections: 4 })

      const story = Effect.gen(function* () {
        yield* Print.say(`Running in ${description}.`)
        const { outcome, services } = yield* Story.live(client("psql"), options)
        yield* Effect.provide(Story.investigate(outcome), services)
        return services
      })

      yield* Effect.gen(function* () {
        const services = yield* options.json ? withoutText(story) : story
        if (options.exit) {
          return yield* options.json ? Effect.provide(timeline, services) : Print.goOn
        }
        yield* Layer.launch(Layer.provide(ExportJobs.layerWorker(), Layer.succeedContext(services))).pipe(
          Effect.forkScoped
        )
        const address = yield* servePages(services, {
          port,
          prefix: "/audit",
          health: { tables: Host.tables },
          relations: Host.relations,
          // The year leaves something to remove.
          ...(options.large ? { retention: { keep: "300 days" } } : {}),
          access: { viewer, capabilities: ["export", "coverage", "policy", "evidence", "retention"] }
        })
        yield* options.json ? Effect.void : Effect.zipRight(Print.goOn, Print.text("The same as pages:"))
        yield* printAddress(options, address, "Ctrl+C ends the demo and removes everything it made.")
        return yield* Effect.never
      }).pipe(Effect.scoped, Effect.provide(client("threadline-demo")))
    }).pipe(Effect.scoped)
)

const timeline = Effect.flatMap(Query.timeline(), ({ hasMore, items, nextCursor }) =>
  answerExact(
    { json: true, wide: true },
    () => Json.pieces({ items, nextCursor: Option.getOrNull(nextCursor), hasMore }),
    () => ""
  )
)
