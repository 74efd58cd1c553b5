import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpApiMiddleware from "@effect/platform/HttpApiMiddleware"
import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import type * as SqlClient from "@effect/sql/SqlClient"
import { expect, it, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import * as Actor from "../../src/Actor.js"
import * as Audit from "../../src/Audit.js"
import * as AuditContext from "../../src/AuditContext.js"
import * as Http from "../../src/http.js"
import { resolve } from "../../src/internal/intent/resolve.js"
import { InvalidRequest } from "../../src/ThreadlineError.js"
import * as Host from "../support/auditedHost.js"

/** What the security middleware of the host's API provides. */
class CurrentUser extends Context.Tag("test/CurrentUser")<CurrentUser, { readonly id: number }>() {}

class Authorization extends HttpApiMiddleware.Tag<Authorization>()("test/Authorization", { provides: CurrentUser }) {}

const Api = HttpApi.make("shop").add(
  HttpApiGroup.make("posts")
    .add(
      HttpApiEndpoint.post("create", "/posts/:id")
        .setPath(Schema.Struct({ id: Schema.NumberFromString }))
        .addSuccess(Schema.String)
    )
    .middleware(Authorization)
)

const rules = { source: "shop", trustedProxies: ["127.0.0.1"] }

const actor = Effect.map(
  Effect.serviceOption(CurrentUser),
  Option.map((user) => Actor.user(user.id))
)

const posts = HttpApiBuilder.group(Api, "posts", (handlers) =>
  handlers.handle("create", ({ path }) =>
    Audit.transaction(Host.insertPost(path.id), { action: "post.created" }).pipe(Effect.orDie, Effect.as("done"))
  )
)

const authorization = Layer.succeed(
  Authorization,
  Effect.map(HttpServerRequest.HttpServerRequest, (request) => ({ id: Number(request.headers["authorization"]) }))
)

const defaults = AuditContext.layer({ actor })

const httpApi = Effect.map(Effect.context<Audit.Audit | SqlClient.SqlClient>(), (context) =>
  HttpApiBuilder.toWebHandler(
    Layer.mergeAll(
      HttpApiBuilder.api(Api).pipe(Layer.provide(posts), Layer.provide(authorization)),
      Http.layer(rules),
      HttpServer.layerContext
    ).pipe(Layer.provideMerge(defaults), Layer.provideMerge(Layer.succeedContext(context)))
  )
)

const router = Effect.map(Effect.context<Audit.Audit | SqlClient.SqlClient>(), (context) =>
  HttpLayerRouter.toWebHandler(
    Layer.mergeAll(
      HttpLayerRouter.add(
        "POST",
        "/posts/:id",
        Effect.gen(function* () {
          const { id } = yield* HttpLayerRouter.schemaPathParams(Schema.Struct({ id: Schema.NumberFromString }))
          yield* Audit.transaction(Host.insertPost(id), { action: "post.created", actor: Actor.user(id) })
          return HttpServerResponse.text("done")
        }).pipe(Effect.orDie)
      ),
      Http.routerLayer(rules)
    ).pipe(Layer.provideMerge(Layer.succeedContext(context))),
    { disableLogger: true }
  )
)

const plainApp = Effect.map(Effect.runtime<Audit.Audit | SqlClient.SqlClient>(), (runtime) => ({
  handler: HttpApp.toWebHandlerRuntime(runtime)(
    Effect.gen(function* () {
      const request = yield* HttpServerRequest.HttpServerRequest
      const id = Number(request.url.split("/").at(-1))
      yield* Audit.transaction(Host.insertPost(id), { action: "post.created", actor: Actor.user(id) })
      return HttpServerResponse.text("done")
    }).pipe(Http.middleware(rules))
  ),
  dispose: () => Promise.resolve()
}))

layer(Host.layer, { excludeTestServices: true })("Http", (it) => {
  for (const [name, made] of Object.entries({
    "an HttpApi": httpApi,
    "an HttpLayerRouter": router,
    "an HttpApp": plainApp
  })) {
    it.effect(`gives each request of ${name} its own context`, () =>
      Effect.gen(function* () {
        yield* Host.reset
        const { dispose, handler } = yield* made
        const ids = Array.from({ length: 12 }, (_, index) => index + 1)
        const send = (id: number, headers: Readonly<Record<string, string>>) =>
          Effect.promise(() =>
            handler(new Request(`http://localhost/posts/${id}`, { method: "POST", headers }), Context.empty() as never)
          )
        const answers = yield* Effect.forEach(
          ids,
          (id) => send(id, { authorization: String(id), "x-request-id": `r-${id}`, "x-correlation-id": `c-${id}` }),
          { concurrency: "unbounded" }
        )
        expect(answers.map((answer) => answer.status)).toEqual(ids.map(() => 200))
        yield* send(100, { authorization: "100", "x-request-id": "a b", "x-actor": `{"type":"admin","id":"root"}` })
        yield* Effect.promise(dispose)
        const rows = [...(yield* Host.transactions)].sort((a, b) => Number(a["actor_id"]) - Number(b["actor_id"]))
        expect(rows.slice(0, -1)).toMatchObject(
          ids.map((id) => ({
            actor: { type: "user", id: String(id) },
            request_id: `r-${id}`,
            correlation_id: `c-${id}`,
            source: "shop",
            context_error: null
          }))
        )
        const meta = name === "an HttpApp" ? {} : { route: "POST /posts/:id" }
        expect(rows.map((row) => row["meta"])).toEqual(rows.map(() => meta))
        expect(rows.at(-1)).toMatchObject({ actor_id: "100", request_id: expect.stringMatching(/^[0-9a-f-]{36}$/) })
      })
    )
  }

  it.effect("lets a lazy actor fail or be wrong, and writes without one", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const actors: ReadonlyArray<AuditContext.LazyActor> = [
        Effect.fail("the session store is down: secret"),
        Effect.die(new Error("secret")),
        Effect.interrupt,
        Effect.succeed({ type: "user", id: 1.5 }),
        Effect.succeed({ type: "user", id: 42 }),
        Effect.succeed(Option.some(Actor.anonymous))
      ]
      for (const [id, lazy] of actors.entries()) {
        yield* Audit.transaction(
          Effect.zipRight(Host.insertPost(id), Audit.transaction(Host.insertPost(100 + id), { action: "inner" })),
          { action: "a" }
        ).pipe(Effect.provide(AuditContext.layer({ actor: lazy })))
      }
      const none = yield* Effect.flip(
        Audit.transaction(Host.insertPost(50), { action: "a" }).pipe(
          Effect.provide(AuditContext.layer({ actor: Effect.succeed(Option.none()) }))
        )
      )
      expect(none).toMatchObject({ _tag: "AuditError", reason: "MissingActor" })
      const failed = "actor: the actor effect failed"
      const wrong = "actor: the actor effect gave no actor: actor.id: must be a string, or an integer of less than 2^53"
      expect(
        (yield* Host.transactions).map((row) => row["actor_id"] ?? row["context_error"] ?? row["actor_type"])
      ).toEqual([failed, failed, failed, failed, failed, failed, wrong, wrong, "42", "42", "anonymous", "anonymous"])
    })
  )

  it.effect("asks a lazy actor only if nothing nearer says who acts", () =>
    Effect.gen(function* () {
      yield* Host.reset
      let asked = 0
      const lazy = Effect.sync(() => {
        asked++
        return Actor.user("lazy")
      })
      yield* Effect.all([
        Audit.transaction(Host.insertPost(1), { actor: Actor.user("given") }),
        Audit.transaction(Host.insertPost(2)).pipe(AuditContext.withActor(Actor.user("fiber"))),
        Audit.transaction(Effect.zipRight(Host.insertPost(3), Audit.record("read")))
      ]).pipe(Effect.provide(AuditContext.layer({ actor: lazy })))
      expect((yield* Host.transactions).map((row) => row["actor_id"])).toEqual(["given", "fiber", "lazy"])
      expect(asked).toBe(1)
    })
  )
})

it.effect("a lazy actor that hangs is waited for no longer than five seconds", () =>
  Effect.gen(function* () {
    const asked = yield* Deferred.make<void>()
    const hanging = Effect.uninterruptible(Effect.zipRight(Deferred.succeed(asked, undefined), Effect.never))
    const context = Context.make(AuditContext.AuditDefaults, { actor: hanging })
    const fiber = yield* Effect.fork(resolve(context, {}, { allowMissingActor: false, inside: false }))
    yield* Deferred.await(asked)
    yield* TestClock.adjust("5 seconds")
    expect((yield* Fiber.join(fiber)).fields).toEqual({ actorError: "the actor effect took longer than 5 seconds" })
  })
)

it("Http refuses rules that cannot be followed when it is made", () => {
  expect(() => Http.middleware({ trustedProxies: ["proxy.example"] })).toThrow(InvalidRequest)
})
