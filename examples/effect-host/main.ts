/** `npm run example:effect`: the host on a database of its own, with two tenants of one person each. */
import * as HttpServer from "@effect/platform/HttpServer"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { client, port, prepare, roles, run } from "../database.js"
import { captured, createTables } from "./Schema.js"
import * as Server from "./Server.js"
import { addUser } from "./Session.js"

const people = Effect.all([addUser("ann", "acme", "ann's password"), addUser("bob", "umbrella", "bob's password")])

run((url) =>
  Effect.gen(function* () {
    yield* prepare(url, createTables, captured)
    yield* Effect.provide(people, client(url))
    const services = yield* Layer.build(Server.layer(yield* roles(url, "invoicing"), yield* port))
    return HttpServer.formatAddress(Context.get(services, HttpServer.HttpServer).address)
  })
)
