/**
 * A plugin for Fastify. Imports no framework.
 *
 * @since 0.1.0
 */
import { type LazyActor, withContext } from "../ClientAdapter.js"
import type { Meta } from "../AuditContext.js"
import * as RequestContext from "../RequestContext.js"

/**
 * What is used of a request.
 *
 * @since 0.1.0
 * @category models
 */
export interface Incoming {
  readonly headers: { readonly [name: string]: string | Array<string> | undefined }
  readonly method: string
  readonly socket: { readonly remoteAddress?: string | undefined }
  /** The route that was found. */
  readonly routeOptions?: { readonly url?: string | undefined } | undefined
}

/**
 * What is used of an application.
 *
 * @since 0.1.0
 * @category models
 */
export interface Application<Request> {
  addHook(name: "preHandler", hook: (request: NoInfer<Request>, reply: unknown, done: () => void) => void): unknown
  /** Tells TypeScript which request the application has, because `addHook` has too many forms. It is not called. */
  errorHandler?(error: unknown, request: Request, reply: never): unknown
}

/**
 * How requests get their context.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<Request> extends RequestContext.Rules {
  /**
   * Who acts, as your own session says. It is the only authority: no header names an actor. It is asked when the first audited call
   * of the request needs it.
   */
  readonly actor?: ((request: Request) => ReturnType<LazyActor>) | undefined
  /** More facts for `meta`. If it throws there are none. */
  readonly meta?: ((request: Request) => Meta | undefined) | undefined
}

/**
 * Gives the handlers of an application their context, the pattern of the route included. Call it before you add routes.
 *
 * @since 0.1.0
 * @category middleware
 * @example
 * ```ts
 * import fastify, { type FastifyRequest } from "fastify"
 * import { audit } from "threadline/http/fastify"
 *
 * declare const userOf: (request: FastifyRequest) => Promise<{ id: number } | undefined>
 *
 * export const app = fastify()
 * audit(app, {
 *   source: "shop",
 *   actor: async (request) => {
 *     const user = await userOf(request)
 *     return user === undefined ? { type: "anonymous" } : { type: "user", id: user.id }
 *   }
 * })
 * ```
 */
export const audit = <Request extends Incoming>(app: Application<Request>, options: Options<Request> = {}): void => {
  const contextOf = RequestContext.make(options)
  const { actor, meta } = options
  // The body is read by then: what reads it need not keep the context.
  app.addHook("preHandler", (request, _reply, done) => {
    const fields = contextOf({
      header: (name) => request.headers[name],
      remoteAddress: request.socket.remoteAddress,
      method: request.method,
      route: request.routeOptions?.url,
      meta: meta === undefined ? undefined : RequestContext.attempt(() => meta(request))
    })
    withContext({ ...fields, actor: actor === undefined ? undefined : () => actor(request) }, () => done())
  })
}
