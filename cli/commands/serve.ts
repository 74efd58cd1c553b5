import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { randomBytes, timingSafeEqual } from "node:crypto"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { userInfo } from "node:os"
import * as Actor from "../../src/Actor.js"
import * as Continuity from "../../src/Continuity.js"
import * as Evidence from "../../src/Evidence.js"
import * as Export from "../../src/Export.js"
import * as Feed from "../../src/Feed.js"
import * as Health from "../../src/Health.js"
import * as OperatorSurface from "../../src/OperatorSurface.js"
import * as Query from "../../src/Query.js"
import * as SavedViews from "../../src/SavedViews.js"
import { configuration, migratedClient, withSchema } from "../database.js"
import { Refused, UsageError } from "../exit.js"
import { common, value } from "../options.js"
import { print, printDocument } from "../output.js"
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

const same = (one: string, other: string): boolean =>
  one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other))

const cookieName = "threadline_session"

const sessionOf = (request: IncomingMessage): string =>
  (request.headers.cookie ?? "")
    .split(";")
    .map((part) => part.trim())
    .find((part) => part.startsWith(`${cookieName}=`))
    ?.slice(cookieName.length + 1) ?? ""

/** Who started the command. Nobody else gets the token. */
const operator = (): Actor.Actor => {
  try {
    return Actor.system("threadline serve", { label: userInfo().username })
  } catch {
    return Actor.system("threadline serve")
  }
}

/** Takes the token once, for a cookie that lasts as long as the browser does. */
const entrance = (prefix: string, token: string, session: string) => {
  let isUsed = false
  return (request: IncomingMessage, response: ServerResponse): boolean => {
    const url = new URL(`http://own.invalid${(request.url ?? "/").replace(/^\/+/, "/")}`)
    const given = url.searchParams.get("token")
    if (given === null || isUsed || !same(given, token)) {
      return false
    }
    isUsed = true
    response.writeHead(303, {
      location: `${prefix}/`,
      "set-cookie": `${cookieName}=${session}; Path=${prefix === "" ? "/" : prefix}; HttpOnly; SameSite=Strict`,
      "cache-control": "no-store",
      "referrer-policy": "no-referrer"
    })
    response.end()
    return true
  }
}

/** A name that leads here by a trick of DNS is not ours. */
const isOwnHost = (request: IncomingMessage, port: number): boolean =>
  [`127.0.0.1:${port}`, `localhost:${port}`].includes(request.headers.host ?? "")

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
      const [token, session] = [randomBytes(24).toString("base64url"), randomBytes(24).toString("base64url")]
      const viewer = operator()
      const { handler } = yield* Effect.acquireRelease(
        Effect.sync(() =>
          OperatorSurface.toNodeHandler(Layer.succeedContext(context), {
            prefix: prefix === "" ? "/" : prefix,
            health: { tables: configured.tables, ...configured.health },
            relations: configured.relations,
            authorize: (request) =>
              same(sessionOf(request), session)
                ? { viewer, scope: "everything", capabilities: ["export", "coverage", "policy", "evidence"] }
                : new OperatorSurface.Denied({ reason: "Unauthenticated" })
          })
        ),
        ({ dispose }) => Effect.promise(dispose)
      )
      const enter = entrance(prefix, token, session)
      const server = yield* Effect.acquireRelease(
        Effect.async<ReturnType<typeof createServer>, Refused>((resume) => {
          const made = createServer((request, response) => {
            const address = made.address()
            if (!isOwnHost(request, typeof address === "object" && address !== null ? address.port : 0)) {
              response.writeHead(401).end()
            } else if (!enter(request, response)) {
              handler(request, response)
            }
          })
          made.once("error", (error: NodeJS.ErrnoException) =>
            resume(new Refused({ message: `the port cannot be used: ${error.code ?? error.message}` }))
          )
          made.listen(port, "127.0.0.1", () => resume(Effect.succeed(made)))
        }),
        (made) =>
          Effect.async<void>((resume) => {
            made.close(() => resume(Effect.void))
            made.closeAllConnections()
          })
      )
      const address = server.address()
      const url = `http://127.0.0.1:${isAddress(address) ? address.port : port}${prefix}/?token=${token}`
      yield* options.json
        ? printDocument(JSON.stringify({ url }))
        : print({ wide: true }, () => `${url}\n\nThe address works once, in one browser. Ctrl+C stops the pages.`)
      return yield* Effect.never
    }).pipe(Effect.scoped)
)

const isAddress = (address: string | AddressInfo | null): address is AddressInfo =>
  typeof address === "object" && address !== null
