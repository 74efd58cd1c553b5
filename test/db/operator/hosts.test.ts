import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as SqlClient from "@effect/sql/SqlClient"
import { expect, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import express from "express"
import fastify from "fastify"
import { Hono } from "hono"
import { createServer, type IncomingMessage, type Server } from "node:http"
import * as OperatorSurface from "../../../src/OperatorSurface.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import { everything, seed, services } from "../../support/operator.js"

const listening = (server: Server) =>
  Effect.acquireRelease(
    Effect.async<number>((resume) => {
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
      })
    }),
    () =>
      Effect.async<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  )

/** Only who sends the header of the staff is let in. */
const staff = (header: string | null | undefined) => (header === "7" ? everything : undefined)

/** Walks through the pages as a browser does, by the links that they have. */
const walk = (port: number, prefix: string, headers: Readonly<Record<string, string>> = {}) =>
  Effect.promise(async () => {
    const ask = (path: string, init: RequestInit = {}) =>
      fetch(`http://127.0.0.1:${port}${path}`, {
        redirect: "manual",
        ...init,
        headers: { "x-staff": "7", ...headers, ...init.headers }
      })
    const denied = await fetch(`http://127.0.0.1:${port}${prefix}/timeline`)
    expect(denied.status).toBe(403)
    const home = await ask(`${prefix}/`)
    expect([prefix, home.status]).toStrictEqual([prefix, 200])
    expect(home.headers.get("content-security-policy")).toContain("default-src 'none'")
    const body = await home.text()
    const link = new RegExp(`href="(${prefix}/transactions/\\d+)"`).exec(body)?.[1]
    expect(link).toBeDefined()
    const transaction = await ask(link ?? "")
    expect(transaction.status).toBe(200)
    const row = new RegExp(`href="(${prefix}/rows/[^"]+)"`)
      .exec(await transaction.text())?.[1]
      ?.replaceAll("&amp;", "&")
    expect((await ask(row ?? "")).status).toBe(200)
    expect((await ask(`${prefix}/nope`)).status).toBe(404)
    const token = /name="token" value="([^"]+)"/.exec(body)?.[1] ?? ""
    const form = await ask(`${prefix}/theme`, {
      method: "POST",
      body: new URLSearchParams({ token, theme: "dark", back: `${prefix}/timeline` }),
      headers: { "sec-fetch-site": "same-origin" }
    })
    expect([form.status, form.headers.get("location")]).toStrictEqual([303, `${prefix}/timeline`])
    const csv = await ask(`${prefix}/exports/changes.csv?since=all&table=members`)
    expect([csv.status, csv.headers.get("x-content-type-options")]).toStrictEqual([200, "nosniff"])
    expect((await csv.text()).split("\r\n").length).toBeGreaterThan(1)
    expect((await ask(`${prefix}/timeline/`, { method: "PUT" })).status).toBe(405)
  })

it.layer(TestDatabase.layer)("the pages are mounted in", (it) => {
  it.scoped("a server of Node.js, Express, Fastify, Hono, Next.js and Effect", () =>
    Effect.gen(function* () {
      yield* seed
      const layer = yield* services
      const node = (options: Partial<OperatorSurface.Options<IncomingMessage>> = {}) =>
        Effect.map(
          Effect.acquireRelease(
            Effect.sync(() =>
              OperatorSurface.toNodeHandler(layer, {
                authorize: (request) => staff(String(request.headers["x-staff"])),
                ...options
              })
            ),
            ({ dispose }) => Effect.promise(dispose)
          ),
          ({ handler }) => handler
        )
      const web = Effect.map(
        Effect.acquireRelease(
          Effect.sync(() =>
            OperatorSurface.toWebHandler(layer, { authorize: (request) => staff(request.headers.get("x-staff")) })
          ),
          ({ dispose }) => Effect.promise(dispose)
        ),
        ({ handler }) => handler
      )

      // Node.js itself, twice in one process, the second at the root.
      const [first, second] = [yield* node(), yield* node({ prefix: "/" })]
      yield* Effect.flatMap(listening(createServer(first)), (port) => walk(port, "/audit"))
      yield* Effect.flatMap(listening(createServer(second)), (port) => walk(port, ""))

      // Behind a proxy that takes a part of the path away.
      const behind = yield* node({ trustProxy: true })
      yield* Effect.flatMap(
        listening(
          createServer((request, response) => {
            request.url = (request.url ?? "").replace(/^\/tools/, "")
            request.headers["x-forwarded-prefix"] = "/tools"
            behind(request, response)
          })
        ),
        (port) => walk(port, "/tools/audit")
      )
      const spoofed = yield* node()
      yield* Effect.flatMap(listening(createServer(spoofed)), (port) =>
        walk(port, "/audit", { "x-forwarded-prefix": "/evil", "x-forwarded-host": "evil.test" })
      )

      // Express says where the handler is mounted; a body parser before it does no harm.
      const inExpress = yield* node()
      yield* Effect.flatMap(
        listening(
          createServer(
            express()
              .use(express.urlencoded({ extended: false }))
              .use("/admin/log", inExpress)
          )
        ),
        (port) => walk(port, "/admin/log")
      )

      // Fastify hands over the raw request.
      const inFastify = yield* node()
      const app = fastify()
      app.addContentTypeParser("application/x-www-form-urlencoded", (_request, _payload, done) => done(null))
      app.all("/audit/*", (request, reply) => {
        reply.hijack()
        inFastify(request.raw, reply.raw)
      })
      yield* Effect.acquireRelease(
        Effect.promise(() => app.listen({ port: 0, host: "127.0.0.1" })),
        () => Effect.promise(() => app.close())
      )
      const { port: fastifyPort } = app.server.address() as { readonly port: number }
      yield* walk(fastifyPort, "/audit")

      // Hono and the route handlers of Next.js are handlers of the web.
      const inHono = yield* web
      const hono = new Hono()
      hono.all("/audit/*", (c) => inHono(c.req.raw))
      const next = yield* web
      const route = { GET: next, POST: next, HEAD: next, PUT: next }
      for (const handle of [
        (request: Request) => hono.fetch(request),
        (request: Request) => route[request.method as keyof typeof route](request)
      ]) {
        const server = createServer((request, response) => {
          const chunks: Array<Buffer> = []
          request.on("data", (chunk: Buffer) => chunks.push(chunk))
          request.on("end", () => {
            const init = request.method === "GET" || request.method === "HEAD" ? {} : { body: Buffer.concat(chunks) }
            void Promise.resolve(
              handle(
                new Request(`http://${request.headers.host}${request.url}`, {
                  method: request.method ?? "GET",
                  headers: request.headers as Record<string, string>,
                  ...init
                })
              )
            ).then(async (answer) => {
              response.writeHead(answer.status, Object.fromEntries(answer.headers))
              response.end(Buffer.from(await answer.arrayBuffer()))
            })
          })
        })
        yield* Effect.flatMap(listening(server), (port) => walk(port, "/audit"))
      }

      // An Effect server, whose `authorize` needs a service of the host's.
      class Staff extends Context.Tag("test/Staff")<Staff, { readonly known: ReadonlySet<string> }>() {}
      const pages = OperatorSurface.layer({
        authorize: (request) =>
          Effect.flatMap(Staff, ({ known }) =>
            known.has(request.headers["x-staff"] ?? "")
              ? Effect.succeed(everything)
              : Effect.fail(new OperatorSurface.Denied({ reason: "Forbidden" }))
          )
      }).pipe(Layer.provide([layer, Layer.succeed(Staff, { known: new Set(["7"]) })]))
      const live = HttpLayerRouter.serve(pages, { disableLogger: true, disableListenLog: true }).pipe(
        Layer.provideMerge(NodeHttpServer.layer(createServer, { port: 0, host: "127.0.0.1" }))
      )
      const server = yield* Layer.build(live)
      const { address } = Context.get(server, HttpServer.HttpServer)
      yield* walk(address._tag === "TcpAddress" ? address.port : 0, "/audit")

      const sql = yield* SqlClient.SqlClient
      expect(yield* sql`select 1 from threadline.audit_actions where name like 'export%'`).not.toHaveLength(0)
    })
  )
})
