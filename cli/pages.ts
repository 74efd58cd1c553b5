/** Pages on this machine, for one browser. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Context from "effect/Context"
import type * as Scope from "effect/Scope"
import { randomBytes, timingSafeEqual } from "node:crypto"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import * as OperatorSurface from "../src/OperatorSurface.js"
import type * as Query from "../src/Query.js"
import { Refused } from "./exit.js"
import { type Form, print, printDocument } from "./output.js"

const same = (one: string, other: string): boolean =>
  one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other))

const cookieName = "threadline_session"

const sessionOf = (request: IncomingMessage): string =>
  (request.headers.cookie ?? "")
    .split(";")
    .map((part) => part.trim())
    .find((part) => part.startsWith(`${cookieName}=`))
    ?.slice(cookieName.length + 1) ?? ""

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

/** Whether a request names this machine. A foreign name may lead here by a trick of DNS. */
const isOwnHost = (request: IncomingMessage, port: number): boolean =>
  [`127.0.0.1:${port}`, `localhost:${port}`].includes(request.headers.host ?? "")

type Pages = Omit<OperatorSurface.Options<IncomingMessage>, "authorize" | "prefix">

export interface Options extends Pages {
  readonly port: number
  /** An empty one is the root. */
  readonly prefix: string
  readonly access: Omit<OperatorSurface.Access, "scope">
}

/** Serves the pages until the scope ends. The address lets one browser in, once. */
export const servePages = (
  services: Context.Context<Query.Query>,
  { access, port, prefix, ...pages }: Options
): Effect.Effect<string, Refused, Scope.Scope> =>
  Effect.gen(function* () {
    const [token, session] = [randomBytes(24).toString("base64url"), randomBytes(24).toString("base64url")]
    const { handler } = yield* Effect.acquireRelease(
      Effect.sync(() =>
        OperatorSurface.toNodeHandler(Layer.succeedContext(services), {
          ...pages,
          prefix: prefix === "" ? "/" : prefix,
          authorize: (request) =>
            same(sessionOf(request), session)
              ? { ...access, scope: "everything" }
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
    return `http://127.0.0.1:${isAddress(address) ? address.port : port}${prefix}/?token=${token}`
  })

/** Says where the pages are. */
export const printAddress = (form: Pick<Form, "json">, url: string, ending: string): Effect.Effect<void> =>
  form.json
    ? printDocument(JSON.stringify({ url }))
    : print({ wide: true }, () => `${url}\n\nThe address works once, in one browser. ${ending}`)

const isAddress = (address: string | AddressInfo | null): address is AddressInfo =>
  typeof address === "object" && address !== null
