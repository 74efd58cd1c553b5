import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { userInfo } from "node:os"
import * as Actor from "../../src/Actor.js"
import * as Continuity from "../../src/Continuity.js"
import * as Evidence from "../../src/Evidence.js"
import * as Export from "../../src/Export.js"
import * as Feed from "../../src/Feed.js"
import * as Health from "../../src/Health.js"
import * as Query from "../../src/Query.js"
import * as SavedViews from "../../src/SavedViews.js"
import { configuration, migratedClient, withSchema } from "../database.js"
import { UsageError } from "../exit.js"
import { common, value } from "../options.js"
import { printAddress, servePages } from "../pages.js"
import { leaf } from "../parser/declare.js"
import { wholeNumber } from "../values.js"

const services = Layer.mergeAll(
  Query.layer,
  Export.layer,
  Feed.layer,
  Health.layer,
  Continuity.layer,
  Evidence.layer,
  SavedViews.layer
)

/** The user who started the command. Nobody else gets the token. */
const operator = (): Actor.Actor => {
  try {
    return Actor.system("threadline serve", { label: userInfo().username })
  } catch {
    return Actor.system("threadline serve")
  }
}

export const serve = leaf(
  "serve",
  {
    ...common,
    port: value("port", "PORT", "Port on this machine; default: a free one."),
    prefix: value("prefix", "PATH", "Path of the pages; default: /audit.")
  },
  (options) =>
    Effect.gen(function* () {
      const configured = yield* configuration(options)
      const port = (yield* wholeNumber("--port", options.port, 1, 65_535)) ?? 0
      const prefix = Option.getOrElse(options.prefix, () => "/audit").replace(/\/$/, "")
      if (!/^(\/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$/.test(prefix)) {
        return yield* new UsageError({ message: "--prefix is a path such as /audit" })
      }
      const context = yield* Layer.build(services.pipe(Layer.provide(migratedClient(options)))).pipe(
        withSchema(options, configured)
      )
      const url = yield* servePages(context, {
        port,
        prefix,
        health: { tables: configured.tables, ...configured.health },
        relations: configured.relations,
        access: { viewer: operator(), capabilities: ["export", "coverage", "policy", "evidence"] }
      })
      yield* printAddress(options, url, "Ctrl+C stops the pages.")
      return yield* Effect.never
    }).pipe(Effect.scoped)
)
