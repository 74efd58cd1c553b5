/**
 * A wrapper for handlers of the web platform, `(request: Request) => Response`, such as those of Next.js, Bun and Deno.
 *
 * @since 0.1.0
 */
import { type LazyActor, withContext } from "../ClientAdapter.js"
import type { Meta } from "../AuditContext.js"
import * as RequestContext from "../RequestContext.js"

/**
 * How requests get their context. The functions get what the handler gets.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<Arguments extends ReadonlyArray<unknown>> extends RequestContext.Rules {
  /**
   * Who acts, as your own session says. It is the only authority: no header names an actor. It is asked when the first audited call
   * of the request needs it.
   */
  readonly actor?: ((...request: Arguments) => ReturnType<LazyActor>) | undefined
  /** More facts for `meta`. If it throws there are none. */
  readonly meta?: ((...request: Arguments) => Meta | undefined) | undefined
  /** Where the connection comes from, if your server says so. If it throws, or is not given, no address is recorded. */
  readonly remoteAddress?: ((...request: Arguments) => string | undefined) | undefined
  /** The pattern of the route, such as `/posts/:id`. */
  readonly route?: string | undefined
}

/**
 * Gives everything that a handler sets in motion the context of its request.
 *
 * @since 0.1.0
 * @category middleware
 * @example
 * ```ts
 * import { audit } from "threadline/http/web"
 *
 * declare const userOf: (request: Request) => Promise<{ id: number } | undefined>
 *
 * export const POST = audit(
 *   async (_request: Request) => new Response("paid"),
 *   {
 *     source: "shop",
 *     route: "/invoices/:id/pay",
 *     actor: async (request) => {
 *       const user = await userOf(request)
 *       return user === undefined ? { type: "anonymous" } : { type: "user", id: user.id }
 *     }
 *   }
 * )
 * ```
 */
export const audit = <Rest extends ReadonlyArray<unknown>, A>(
  handler: (request: Request, ...rest: Rest) => A,
  options: Options<[request: Request, ...rest: Rest]> = {}
): ((request: Request, ...rest: Rest) => A) => {
  const contextOf = RequestContext.make(options)
  const { actor, meta, remoteAddress, route } = options
  return (request, ...rest) => {
    const fields = contextOf({
      header: (name) => request.headers.get(name),
      remoteAddress:
        remoteAddress === undefined ? undefined : RequestContext.attempt(() => remoteAddress(request, ...rest)),
      method: request.method,
      route,
      meta: meta === undefined ? undefined : RequestContext.attempt(() => meta(request, ...rest))
    })
    return withContext({ ...fields, actor: actor === undefined ? undefined : () => actor(request, ...rest) }, () =>
      handler(request, ...rest)
    )
  }
}
