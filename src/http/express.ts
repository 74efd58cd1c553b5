/**
 * Middleware for Express, or for any framework with requests of Node.js and `next`. Imports no framework.
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
  /** By name, in lower case. */
  readonly headers: { readonly [name: string]: string | Array<string> | undefined }
  /** Such as `POST`. */
  readonly method?: string | undefined
  /** The connection, for the address that it comes from. */
  readonly socket?: { readonly remoteAddress?: string | undefined } | undefined
  /** The route that was found. Where its router stands is not recorded, because that may hold identities. */
  readonly route?: { readonly path?: unknown } | undefined
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
 * Gives everything that a request sets in motion its context. Put it before your routes.
 *
 * @since 0.1.0
 * @category middleware
 * @example
 * ```ts
 * import express from "express"
 * import { audit } from "threadline/http/express"
 *
 * declare const userOf: (request: express.Request) => Promise<{ id: number; name: string } | undefined>
 *
 * export const app = express().use(
 *   audit({
 *     source: "shop",
 *     actor: async (request) => {
 *       const user = await userOf(request)
 *       return user === undefined ? { type: "anonymous" } : { type: "user", id: user.id, label: user.name }
 *     }
 *   })
 * )
 * ```
 */
export const audit = <Request extends Incoming>(
  options: Options<Request> = {}
): ((request: Request, response: unknown, next: () => void) => void) => {
  const contextOf = RequestContext.make(options)
  const { actor, meta } = options
  return (request, _response, next) => {
    const fields = contextOf({
      header: (name) => request.headers[name],
      remoteAddress: request.socket?.remoteAddress,
      method: request.method,
      meta: meta === undefined ? undefined : RequestContext.attempt(() => meta(request))
    })
    const who = actor === undefined ? undefined : () => actor(request)
    // The route is found later.
    const facts = () => ({ ...RequestContext.routeMeta(request.method, request.route?.path), ...fields.meta })
    withContext({ ...fields, actor: who, meta: facts }, () => next())
  }
}
