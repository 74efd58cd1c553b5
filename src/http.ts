/**
 * The context of requests for `@effect/platform`: for an `HttpApi`, an `HttpLayerRouter`, or any `HttpApp`. The actor comes from
 * `AuditContext.layer({ actor })`, asked at each audited call.
 *
 * @since 0.1.0
 */
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as AuditContext from "./AuditContext.js"
import * as RequestContext from "./RequestContext.js"

/**
 * Middleware that gives an application the context of each request. What the code around it says is kept, if the request says nothing
 * of it. Rules that cannot be followed throw `InvalidRequest` here.
 *
 * @since 0.1.0
 * @category middleware
 */
export const middleware = (
  rules: RequestContext.Rules = {}
): (<E, R>(app: HttpApp.Default<E, R>) => HttpApp.Default<E, R>) => {
  const contextOf = RequestContext.make(rules)
  return (app) =>
    Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) =>
      AuditContext.withContext(
        app,
        contextOf({
          header: (name) => request.headers[name],
          remoteAddress: Option.getOrUndefined(request.remoteAddress),
          method: request.method
        })
      ).pipe(
        // Where middleware runs, the route may not have been found yet.
        Effect.provideService(AuditContext.LazyMeta, (context) =>
          Option.match(Context.getOption(context, HttpRouter.RouteContext), {
            onNone: () => undefined,
            onSome: ({ route: { path } }) => RequestContext.routeMeta(request.method, path)
          })
        )
      )
    )
}

/**
 * The middleware for an `HttpApi`: provide it to `HttpApiBuilder.serve`.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { HttpApiBuilder } from "@effect/platform"
 * import { Context, Effect, Layer, Option } from "effect"
 * import { Actor, AuditContext } from "threadline"
 * import * as Http from "threadline/http"
 *
 * // What the security middleware of your API provides.
 * class CurrentUser extends Context.Tag("CurrentUser")<CurrentUser, { readonly id: number; readonly name: string }>() {}
 *
 * const actor = Effect.map(
 *   Effect.serviceOption(CurrentUser),
 *   Option.map((user) => Actor.user(user.id, { label: user.name }))
 * )
 *
 * export const Live = HttpApiBuilder.serve().pipe(
 *   Layer.provide(Http.layer({ source: "api", trustedProxies: ["10.0.0.0/8"] })),
 *   Layer.provide(AuditContext.layer({ actor }))
 * )
 * ```
 */
export const layer = (rules: RequestContext.Rules = {}): Layer.Layer<never> =>
  HttpApiBuilder.middleware(middleware(rules))

/**
 * The middleware for all routes of an `HttpLayerRouter`.
 *
 * @since 0.1.0
 * @category layers
 */
export const routerLayer = (rules: RequestContext.Rules = {}): Layer.Layer<never, never, HttpLayerRouter.HttpRouter> =>
  HttpLayerRouter.middleware(middleware(rules), { global: true })
