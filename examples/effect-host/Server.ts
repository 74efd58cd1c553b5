/** The host as a layer: its handlers, who acts, what each request says, the worker. */
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { createServer } from "node:http"
import { Actor, AuditContext, Export, Query, Semantics, Threadline } from "threadline"
import * as Http from "threadline/http"
import { client, type Roles } from "../database.js"
import { Actions } from "./Actions.js"
import { Api } from "./Api.js"
import * as Invoices from "./Invoices.js"
import { worker } from "./Jobs.js"
import * as Session from "./Session.js"

const sessions = HttpApiBuilder.group(Api, "sessions", (handlers) =>
  handlers.handle("signIn", ({ payload }) =>
    Effect.gen(function* () {
      const { token, user } = yield* Session.signIn(payload)
      // No row of a captured table changes, so it is an action alone.
      yield* Semantics.record(Actions["user.signed-in"]({ tenant: user.tenant })).pipe(
        AuditContext.withActor(Actor.user(user.id, { label: user.name })),
        Effect.orDie
      )
      yield* HttpApiBuilder.securitySetCookie(Session.cookie, token, { sameSite: "strict", path: "/" })
    })
  )
)

const invoices = HttpApiBuilder.group(Api, "invoices", (handlers) =>
  handlers
    .handle("list", () => Invoices.list)
    .handle("create", ({ payload }) => Invoices.create(payload))
    .handle("pay", ({ path }) => Invoices.pay(path.id))
)

/** What people of a tenant may see of the record. Reads without a scope fail here: `scopeRequired`. */
const ofTenant =
  (tenant: string): Query.ReadScope =>
  (surface, columns) =>
    surface === "changes"
      ? columns.sql`${columns.image} ->> 'tenant' = ${tenant}`
      : columns.sql`${columns.data} ->> 'tenant' = ${tenant}`

const asTenant = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(Session.CurrentUser, ({ tenant }) => Query.withScope(effect, ofTenant(tenant)))

const audit = HttpApiBuilder.group(Api, "audit", (handlers) =>
  handlers
    .handle("timeline", ({ urlParams }) =>
      asTenant(Query.timeline(urlParams)).pipe(Effect.catchTag("ThreadlineError", Effect.die))
    )
    // The body is a stream: PostgreSQL copies it out, and an export of millions of changes needs no memory here.
    .handleRaw("export", ({ urlParams }) =>
      asTenant(Export.toResponse({ format: "csv", filter: urlParams })).pipe(
        Effect.catchTags({ ThreadlineError: Effect.die, ExportError: Effect.die })
      )
    )
)

/** The host on a database that has its tables. */
export const layer = ({ reader, writer }: Roles, port: number) => {
  const sql = client(writer)
  return HttpApiBuilder.serve().pipe(
    Layer.provide(HttpApiBuilder.middlewareOpenApi({ path: "/openapi.json" })),
    Layer.provide(Http.layer({ source: "api" })),
    Layer.provide(HttpApiBuilder.api(Api)),
    Layer.provide([sessions, invoices, audit]),
    Layer.merge(Layer.scopedDiscard(Effect.forkScoped(worker))),
    Layer.provide(Session.AuthorizationLive),
    Layer.provide(AuditContext.layer({ actor: Session.actor })),
    Layer.provide(Threadline.layer({ writer: sql, reader: client(reader), scopeRequired: true })),
    Layer.provide(sql),
    Layer.provideMerge(NodeHttpServer.layer(createServer, { port, host: "127.0.0.1" }))
  )
}
