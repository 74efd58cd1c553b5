import { describe, expect, it, layer, vi } from "@effect/vitest"
import * as Effect from "effect/Effect"
import express from "express"
import fastify, { type FastifyRequest } from "fastify"
import { Hono } from "hono"
import { createServer, type RequestListener, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import pg from "pg"
import type * as Actor from "../../src/Actor.js"
import * as onExpress from "../../src/http/express.js"
import * as onFastify from "../../src/http/fastify.js"
import * as onHono from "../../src/http/hono.js"
import * as onWeb from "../../src/http/web.js"
import { audited, currentContext } from "../../src/pg.js"
import { TestDatabase } from "../harness/TestDatabase.js"
import * as Host from "../support/auditedHost.js"
import { listening } from "./plainClients.js"

/** The host's own session: what it says of the header `authorization`. */
const session = async (authorization: string | undefined): Promise<Actor.Given | undefined> => {
  await new Promise((resolve) => setTimeout(resolve, 1))
  switch (authorization) {
    case undefined:
      return { type: "anonymous" }
    case "broken":
      throw new Error("the session store is down")
    case "hangs":
      return new Promise(() => undefined)
    case "none":
      return undefined
    default:
      return { type: "user", id: Number(authorization) }
  }
}

const rules = { source: "shop", trustedProxies: ["127.0.0.1"] }

/** A clock on which five seconds are over at once. */
const withoutPatience = async <A>(body: () => Promise<A>): Promise<A> => {
  const { setTimeout } = globalThis
  const clock = vi.spyOn(globalThis, "setTimeout")
  clock.mockImplementation(((done: () => void, delay: number) =>
    setTimeout(done, delay === 5_000 ? 0 : delay)) as typeof setTimeout)
  try {
    return await body()
  } finally {
    clock.mockRestore()
  }
}

/** Sends a request; the status of the answer. */
type Send = (id: number, headers: Readonly<Record<string, string>>) => Promise<number>

interface Running {
  readonly send: Send
  readonly stop: () => Promise<unknown>
}

const sendTo =
  (origin: string): Send =>
  async (id, headers) => {
    const response = await fetch(`${origin}/posts/${id}`, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify({ title: "x".repeat(10_000) })
    })
    await response.text()
    return response.status
  }

const originOf = (server: Server): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`

const listen = (listener: RequestListener): Promise<Running> =>
  new Promise((resolve) => {
    const server = createServer(listener)
    server.listen(0, "127.0.0.1", () =>
      resolve({ send: sendTo(originOf(server)), stop: () => new Promise((done) => server.close(done)) })
    )
  })

type Write = (id: number) => Promise<unknown>

const frameworks: Readonly<Record<string, (write: Write) => Promise<Running>>> = {
  Express: (write) => {
    const app = express()
    app.use(onExpress.audit({ ...rules, actor: (request: express.Request) => session(request.headers.authorization) }))
    app.use(express.json())
    app.post("/posts/:id", async (request, response) => {
      await write(Number(request.params.id))
      response.send("done")
    })
    app.use(((_error, _request, response, _next) => {
      response.status(500).send("failed")
    }) as express.ErrorRequestHandler)
    return listen(app)
  },
  Fastify: async (write) => {
    const app = fastify()
    onFastify.audit(app, { ...rules, actor: (request: FastifyRequest) => session(request.headers.authorization) })
    app.post<{ Params: { id: string } }>("/posts/:id", async (request) => {
      await write(Number(request.params.id))
      return "done"
    })
    const origin = await app.listen({ host: "127.0.0.1", port: 0 })
    return { send: sendTo(origin), stop: () => app.close() }
  },
  Hono: (write) => {
    const app = new Hono()
    app.use(
      onHono.audit({
        ...rules,
        remoteAddress: () => "127.0.0.1",
        actor: (c) => session(c.req.header("authorization"))
      })
    )
    app.post("/posts/:id", async (c) => {
      await c.req.json()
      await write(Number(c.req.param("id")))
      return c.text("done")
    })
    const send: Send = async (id, headers) =>
      (await app.request(`/posts/${id}`, { method: "POST", headers, body: "{}" })).status
    return Promise.resolve({ send, stop: () => Promise.resolve() })
  },
  "a handler of the web platform": (write) => {
    const handler = onWeb.audit(
      async (request: Request, parameters: { readonly id: number }) => {
        await request.text()
        await write(parameters.id)
        return new Response("done")
      },
      {
        ...rules,
        route: "/posts/:id",
        remoteAddress: () => "127.0.0.1",
        actor: (request) => session(request.headers.get("authorization") ?? undefined)
      }
    )
    const send: Send = async (id, headers) => {
      const request = new Request(`http://localhost/posts/${id}`, { method: "POST", headers, body: "{}" })
      try {
        return (await handler(request, { id })).status
      } catch {
        return 500
      }
    }
    return Promise.resolve({ send, stop: () => Promise.resolve() })
  }
}

for (const [name, start] of Object.entries(frameworks)) {
  layer(Host.layer, { excludeTestServices: true })(`audit, for ${name}`, (it) => {
    const run = (body: (send: Send) => Promise<void>) =>
      Effect.gen(function* () {
        yield* Host.reset
        const { url } = yield* (yield* TestDatabase).role("app")
        const pool = listening(new pg.Pool({ connectionString: url, max: 4 }))
        const write: Write = (id) =>
          audited(pool, { action: "post.created" }, (client) =>
            client.query("insert into posts (id, title) values ($1, 'x')", [id])
          )
        yield* Effect.promise(async () => {
          const { send, stop } = await start(write)
          try {
            await body(send)
          } finally {
            await stop()
            await pool.end()
          }
        })
      })

    it.effect("gives each request its own context, and no other's, however many run at once", () =>
      Effect.gen(function* () {
        const ids = Array.from({ length: 30 }, (_, index) => index + 1)
        yield* run(async (send) => {
          const answers = await Promise.all(
            ids.map((id) =>
              send(id, {
                authorization: String(id),
                "x-request-id": `r-${id}`,
                "x-correlation-id": `c-${id % 3}`,
                traceparent: `00-${String(id).padStart(32, "0")}-00f067aa0ba902b7-01`,
                "x-forwarded-for": `6.6.6.6, 198.51.100.${id}`
              })
            )
          )
          expect(new Set(answers)).toEqual(new Set([200]))
        })
        const rows = yield* Host.transactions
        const changes = yield* Host.changes
        const byRequest = [...rows].sort((a, b) => Number(a["actor_id"]) - Number(b["actor_id"]))
        expect(byRequest).toMatchObject(
          ids.map((id) => ({
            actor: { type: "user", id: String(id) },
            request_id: `r-${id}`,
            correlation_id: `c-${id % 3}`,
            trace_id: String(id).padStart(32, "0"),
            remote_ip: `198.51.100.${id}`,
            source: "shop",
            meta: { route: "POST /posts/:id" },
            context_error: null
          }))
        )
        expect(changes.every(({ actor, row }) => actor === `user:${row}`)).toBe(true)
      })
    )

    it.effect("believes no header about the actor, and stores no id that is none", () =>
      Effect.gen(function* () {
        yield* run(async (send) => {
          expect(
            await send(1, {
              "x-actor": `{"type":"admin","id":"root"}`,
              "x-request-id": "'; drop table posts; --",
              "x-correlation-id": `{"actor":{"type":"admin","id":"root"}}`,
              traceparent: "00-x",
              "x-forwarded-for": "not an address"
            })
          ).toBe(200)
        })
        const [row] = yield* Host.transactions
        expect(row).toMatchObject({
          actor: { type: "anonymous" },
          trace_id: null,
          remote_ip: "127.0.0.1",
          context_error: null
        })
        expect(row?.["request_id"]).toMatch(/^[0-9a-f-]{36}$/)
        expect(row?.["correlation_id"]).toMatch(/^[0-9a-f-]{36}$/)
      })
    )

    it.effect(
      "writes without an actor if the host's function fails or hangs, and refuses the write if there is none",
      () =>
        Effect.gen(function* () {
          yield* run(async (send) => {
            expect(await send(1, { authorization: "broken" })).toBe(200)
            expect(await send(2, { authorization: "none" })).toBe(500)
            expect(await send(3, { authorization: "1.5" })).toBe(200)
            expect(await withoutPatience(() => send(4, { authorization: "hangs" }))).toBe(200)
          })
          expect(yield* Host.transactions).toMatchObject([
            { actor: null, context_error: "actor: the actor function failed" },
            {
              actor: null,
              context_error:
                "actor: the actor function gave no actor: actor.id: must be a string, or an integer of less than 2^53"
            },
            { actor: null, context_error: "actor: the actor function took longer than 5000 ms" }
          ])
          expect(yield* Host.postIds).toEqual([1, 3, 4])
        })
    )
  })
}

describe("the middleware for Fastify", () => {
  it("needs no function for the actor, on any server", async () => {
    const app = fastify()
    onFastify.audit(app, { source: "shop" })
    app.get("/", () => currentContext().source)
    expect((await app.inject("/")).body).toBe("shop")
    expect(() => onFastify.audit(fastify({ http2: true }))).not.toThrow()
  })
})
