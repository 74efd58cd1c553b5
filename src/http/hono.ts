/**
 * Middleware for Hono. Imports no framework.
 *
 * @since 0.1.0
 */
import { type LazyActor, withContext } from "../ClientAdapter.js"
import type { Meta } from "../AuditContext.js"
import * as RequestContext from "../RequestContext.js"

/**
 * What is used of the context of a request.
 *
 * @since 0.1.0
 * @category models
 */
export interface Incoming {
  readonly req: {
    readonly method: string
    /** The pattern of the route that runs. */
    readonly routePath?: string | undefined
    header(name: string): string | undefined
  }
}

/**
 * How requests get their context.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<Context> extends RequestContext.Rules {
  /**
   * Who acts, as your own session says. It is the only authority: no header names an actor. It is asked when the first audited call
   * of the request needs it.
   */
  readonly actor?: ((context: Context) => ReturnType<LazyActor>) | undefined
  /** More facts for `meta`. If it throws there are none. */
  readonly meta?: ((context: Context) => Meta | undefined) | undefined
  /** Where the connection comes from: `(c) => getConnInfo(c).remote.address`. If it throws, or is not given, no address is recorded. */
  readonly remoteAddress?: ((context: Context) => string | undefined) | undefined
}

/**
 * Gives everything that a request sets in motion its context. Put it before your routes.
 *
 * @since 0.1.0
 * @category middleware
 * @example
 * ```ts
 * import { type Context, Hono } from "hono"
 * import { audit } from "threadline/http/hono"
 *
 * declare const userOf: (c: Context) => Promise<{ id: number } | undefined>
 *
 * export const app = new Hono().use(
 *   audit({
 *     source: "shop",
 *     actor: async (c: Context) => {
 *       const user = await userOf(c)
 *       return user === undefined ? { type: "anonymous" } : { type: "user", id: user.id }
 *     }
 *   })
 * )
 * ```
 */
export const audit = <Context extends Incoming>(
  options: Options<Context> = {}
): ((context: Context, next: () => Promise<void>) => Promise<void>) => {
  const contextOf = RequestContext.make(options)
  const { actor, meta, remoteAddress } = options
  return (context, next) => {
    const fields = contextOf({
      header: (name) => context.req.header(name),
      remoteAddress: remoteAddress === undefined ? undefined : RequestContext.attempt(() => remoteAddress(context)),
      method: context.req.method,
      meta: meta === undefined ? undefined : RequestContext.attempt(() => meta(context))
    })
    const who = actor === undefined ? undefined : () => actor(context)
    // The route is found later.
    const facts = () => ({ ...RequestContext.routeMeta(context.req.method, context.req.routePath), ...fields.meta })
    return withContext({ ...fields, actor: who, meta: facts }, next)
  }
}
