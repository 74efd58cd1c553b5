/**
 * The operator surface: pages that show the record to support, operations and compliance, mounted inside of a host's own application.
 *
 * The host says who may look (`authorize`), and what they may see (a scope). Without it the pages do not start. They read through the
 * services of the library, work without JavaScript, and load nothing from elsewhere.
 *
 * Needs the optional packages `preact` and `preact-render-to-string`.
 *
 * @since 0.1.0
 */
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Option from "effect/Option"
import { randomBytes } from "node:crypto"
import type { IncomingMessage, ServerResponse } from "node:http"
import type * as Actor from "./Actor.js"
import * as Audit from "./Audit.js"
import * as Continuity from "./Continuity.js"
import * as Evidence from "./Evidence.js"
import * as Export from "./Export.js"
import * as ExportJobs from "./ExportJobs.js"
import * as Feed from "./Feed.js"
import * as Health from "./Health.js"
import { notAnObject, unknownField } from "./internal/core/request.js"
import * as access from "./internal/operator/access.js"
import { fromNode, fromWeb, type Mounting, prefixOf, send } from "./internal/operator/mount.js"
import type { HostRow, Labelled } from "./internal/operator/site.js"
import type { Failure as PageFailure } from "./internal/operator/settled.js"
import * as surfaces from "./internal/operator/surface.js"
import { zoneOf } from "./internal/operator/zone.js"
import * as Query from "./Query.js"
import * as Retention from "./Retention.js"
import * as SavedViews from "./SavedViews.js"
import { InvalidRequest } from "./ThreadlineError.js"

/**
 * @since 0.1.0
 */
export { Capability, Denied } from "./internal/operator/access.js"

/**
 * What `authorize` answers for a viewer that it lets in.
 *
 * @since 0.1.0
 * @category models
 */
export interface Access extends access.Access {}

/**
 * What `authorize` may return: an effect, a promise or a value. Nothing at all, `null` and anything that is not `Access` deny.
 *
 * @since 0.1.0
 * @category models
 */
export type Answer<R = never> = access.Answer<R>

/**
 * A row as the functions of the host get it: its table as in SQL, its key as one string, and by column if that is known.
 *
 * @since 0.1.0
 * @category models
 */
export interface Row extends HostRow {}

/**
 * What is told of a page that failed: the reference that the page shows, which page it was, and the cause.
 *
 * @since 0.1.0
 * @category models
 */
export interface Failure extends PageFailure {}

/**
 * How the pages are mounted. Either `authorize` or `unauthenticated` must be given.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<in Asked, out R = never> {
  /**
   * Who looks, and what they may see. It is asked for every request, before the path is looked at. If it throws, rejects or answers
   * anything that is not `Access`, the viewer is denied.
   */
  readonly authorize?: ((asked: Asked) => Answer<R>) | undefined
  /** True lets everybody read everything, and nothing else. For a machine that nobody else reaches. */
  readonly unauthenticated?: boolean | undefined
  /** The path of the pages, `/audit` unless given; `/` for the root. Express says it itself if the handler is mounted with `use`. */
  readonly prefix?: string | undefined
  /** The same as the browser sees it, if a proxy takes away a part of the path. */
  readonly publicPrefix?: string | undefined
  /** True believes `X-Forwarded-Prefix` and `X-Forwarded-Host`. Only behind a proxy that sets them. */
  readonly trustProxy?: boolean | undefined
  /** Of the times that are shown, `UTC` unless given; a viewer can choose another one. */
  readonly timeZone?: string | undefined
  /** How long a page may take, 10 seconds unless given. What it was asking the database is cancelled then. */
  readonly timeout?: Duration.DurationInput | undefined
  /** What coverage and redaction are compared with, `{ tables, expected }` of your configuration. */
  readonly health?: Health.Options | undefined
  /** The policy of retention. */
  readonly retention?: Retention.Policy | undefined
  /** What rows are shown with, by table: `{ invoices: { lines: { table: "invoice_lines", columns: { invoice_id: "id" } } } }`. */
  readonly relations?: { readonly [table: string]: { readonly [name: string]: Query.Relation } } | undefined
  /** An address of your own admin for a row. Only paths and http(s) addresses become links. */
  readonly rowLink?: ((row: Row) => string | null | undefined) | undefined
  /** An address of your own admin for an actor. Only paths and http(s) addresses become links. */
  readonly actorLink?: ((actor: Actor.Actor) => string | null | undefined) | undefined
  /** What you call an actor or a row now. */
  readonly label?: ((thing: Labelled) => string | null | undefined) | undefined
  /** Is told of every page that failed. The log has it as well. */
  readonly onFailure?: ((failure: Failure) => void) | undefined
  /** Proves that forms are of these pages. Random unless given; several machines must share one. */
  readonly secret?: string | undefined
  /**
   * True records every page that a viewer is shown as an action `audit.viewed`, and shows none that cannot be recorded. It needs the
   * service `Audit`. Exports are recorded by their own service in any case.
   */
  readonly auditAccess?: boolean | undefined
  /** True shows the components under `/_design`. */
  readonly design?: boolean | undefined
}

const optionNames = {
  authorize: true,
  unauthenticated: true,
  prefix: true,
  publicPrefix: true,
  trustProxy: true,
  timeZone: true,
  timeout: true,
  health: true,
  retention: true,
  relations: true,
  rowLink: true,
  actorLink: true,
  label: true,
  onFailure: true,
  secret: true,
  auditAccess: true,
  design: true
} as const satisfies { readonly [Field in keyof Required<Options<never>>]: true }

/** The settings of valid options. A misspelt `auditAccess` would record no view. */
const settingsOf = <Asked, R>(
  options: Options<Asked, R>
): Either.Either<{ readonly settings: surfaces.Settings; readonly mounting: Mounting }, InvalidRequest> => {
  const wrong = notAnObject(options) ?? unknownField(options, optionNames)
  if (wrong !== undefined) {
    return Either.left(wrong)
  }
  const refuse = (field: string, rule: string) => Either.left(new InvalidRequest({ field, rule }))
  const { authorize, publicPrefix, secret, timeZone = "UTC", trustProxy = false } = options
  if (authorize === undefined && options.unauthenticated !== true) {
    return refuse("authorize", "must be given, or unauthenticated: true, which lets everybody read everything")
  }
  if (authorize !== undefined && (typeof authorize !== "function" || options.unauthenticated === true)) {
    return refuse("authorize", "must be a function, without unauthenticated: true beside it")
  }
  const prefix = prefixOf(options.prefix ?? "/audit")
  if (prefix === undefined) {
    return refuse("prefix", "must be a path such as /audit, of letters, digits, dots, dashes and slashes")
  }
  const shown = publicPrefix === undefined ? undefined : prefixOf(publicPrefix)
  if (publicPrefix !== undefined && shown === undefined) {
    return refuse("publicPrefix", "must be a path such as /tools/audit, of letters, digits, dots, dashes and slashes")
  }
  const zone = zoneOf(timeZone)
  if (zone === undefined) {
    return refuse("timeZone", "must be a time zone, such as UTC or Europe/Berlin")
  }
  if (secret !== undefined && secret.length < 16) {
    return refuse("secret", "must have at least 16 characters")
  }
  const timeout = Option.filter(
    Duration.decodeUnknown(options.timeout ?? "10 seconds"),
    (given) => Duration.isFinite(given) && Duration.greaterThan(given, Duration.zero)
  )
  if (Option.isNone(timeout)) {
    return refuse("timeout", 'must be a duration, such as "10 seconds"')
  }
  return Either.right({
    mounting: { prefix, publicPrefix: shown, trustProxy },
    settings: {
      timeout: timeout.value,
      zone,
      design: options.design ?? false,
      auditAccess: options.auditAccess ?? false,
      relations: options.relations ?? {},
      health: options.health ?? {},
      retention: options.retention,
      secret: secret ?? randomBytes(32).toString("base64url"),
      trustProxy,
      onFailure: options.onFailure,
      rowLink: options.rowLink,
      actorLink: options.actorLink,
      label: options.label
    }
  })
}

class Surface extends Context.Tag("threadline/OperatorSurface/Surface")<
  Surface,
  { readonly surface: surfaces.Surface }
>() {}

const surfaceOf = (settings: surfaces.Settings): Effect.Effect<surfaces.Surface, never, Query.Query> =>
  Effect.flatMap(
    Effect.all({
      query: Query.Query,
      exports: Effect.serviceOption(Export.Export),
      feed: Effect.serviceOption(Feed.Feed),
      jobs: Effect.serviceOption(ExportJobs.ExportJobs),
      health: Effect.serviceOption(Health.Health),
      retention: Effect.serviceOption(Retention.Retention),
      evidence: Effect.serviceOption(Evidence.Evidence),
      continuity: Effect.serviceOption(Continuity.Continuity),
      views: Effect.serviceOption(SavedViews.SavedViews),
      audit: Effect.serviceOption(Audit.Audit)
    }),
    (services) => Effect.map(Export.formats, (formats) => surfaces.make(settings, services, formats))
  )

const viewerOf = <Asked, R>(options: Options<Asked, R>, asked: Asked) => {
  const { authorize } = options
  return authorize === undefined
    ? Effect.succeed(access.anyone)
    : access.ask(authorize, asked, (cause) =>
        Effect.annotateLogs(Effect.logError("authorize of the operator surface failed; the viewer is denied", cause), {
          page: "authorize"
        })
      )
}

/**
 * Mounts the pages in an `HttpLayerRouter`. `authorize` gets the request, and may need services of the host's, which the layer then needs.
 *
 * @since 0.1.0
 * @category layers
 * @example
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Actor, ThreadlineLive } from "threadline"
 * import { OperatorSurface } from "threadline/operator"
 *
 * export const AuditPages = OperatorSurface.layer({
 *   authorize: (request) =>
 *     request.headers["x-staff"] === undefined
 *       ? new OperatorSurface.Denied({ reason: "Unauthenticated", signIn: "/login" })
 *       : Effect.succeed({ viewer: Actor.admin(request.headers["x-staff"]), scope: "everything", capabilities: ["export"] })
 * }).pipe(Layer.provide(ThreadlineLive))
 * ```
 */
export const layer = <R = never>(
  options: Options<HttpServerRequest.HttpServerRequest, R>
): Layer.Layer<never, InvalidRequest, HttpLayerRouter.HttpRouter | Query.Query | R> =>
  HttpLayerRouter.use((router) =>
    Effect.gen(function* () {
      const { mounting, settings } = yield* settingsOf(options)
      const surface = yield* surfaceOf(settings)
      const context = yield* Effect.context<R>()
      const handler = (request: HttpServerRequest.HttpServerRequest) =>
        HttpServerRequest.toWeb(request).pipe(
          Effect.map((web) => fromWeb(mounting, web)),
          Effect.flatMap((incoming) => surface(incoming, Effect.provide(viewerOf(options, request), context))),
          Effect.map(HttpServerResponse.fromWeb),
          Effect.orDie
        )
      const root = mounting.prefix === "" ? "/" : mounting.prefix
      yield* router.add("*", `/${root.slice(1)}`, handler)
      yield* router.add("*", `/${mounting.prefix.slice(1)}${mounting.prefix === "" ? "" : "/"}*`, handler)
    })
  )

/**
 * A handler for one kind of request, and how to let go of what it holds: the connections of its layer.
 *
 * @since 0.1.0
 * @category models
 */
export interface Handler<in Arguments extends ReadonlyArray<unknown>, out A> {
  /** Answers one request. */
  readonly handler: (...request: Arguments) => A
  /** Ends the connections of the layer. No request may come after it. */
  readonly dispose: () => Promise<void>
}

const running = <Asked, E>(services: Layer.Layer<Query.Query, E>, options: Options<Asked>) => {
  const { mounting, settings } = Either.getOrThrowWith(settingsOf(options), (error) => error)
  const make = () =>
    ManagedRuntime.make(
      Layer.effect(
        Surface,
        Effect.map(surfaceOf(settings), (surface) => Surface.of({ surface }))
      ).pipe(Layer.provide(services))
    )
  let runtime = make()
  let isDisposed = false
  const run = (effect: Effect.Effect<Response>, signal: AbortSignal | undefined): Promise<Response> =>
    Effect.runPromise(effect, signal === undefined ? {} : { signal })
  return {
    mounting,
    dispose: () => {
      isDisposed = true
      return runtime.dispose()
    },
    answer: async (incoming: surfaces.Incoming, asked: Asked, signal: AbortSignal | undefined): Promise<Response> => {
      const used = runtime
      const built = await Effect.runPromiseExit(used.runtimeEffect)
      if (Exit.isFailure(built)) {
        // What was made of them keeps its failure for good: the next request makes them anew.
        if (used === runtime && !isDisposed) {
          runtime = make()
          void used.dispose()
        }
        return run(surfaces.broken(settings, built.cause)(incoming, viewerOf(options, asked)), signal)
      }
      const { surface } = Context.get(built.value.context, Surface)
      return used.runPromise(surface(incoming, viewerOf(options, asked)), signal === undefined ? {} : { signal })
    }
  }
}

/**
 * A handler of the web platform, for Next.js, Hono, Bun and Deno. Options that cannot be used throw `InvalidRequest` here. `services` needs
 * `Query`. Each of `Export`, `ExportJobs`, `Health`, `Continuity`, `Retention`, `Evidence`, `SavedViews`, `Feed` and `Audit` that it has adds
 * what belongs to it.
 *
 * @since 0.1.0
 * @category handlers
 * @example
 * ```ts
 * import type { Layer } from "effect"
 * import { Actor, type Query } from "threadline"
 * import { OperatorSurface } from "threadline/operator"
 *
 * declare const AuditLive: Layer.Layer<Query.Query>
 * declare const staffOf: (request: Request) => Promise<{ id: string } | undefined>
 *
 * const { handler } = OperatorSurface.toWebHandler(AuditLive, {
 *   authorize: async (request) => {
 *     const staff = await staffOf(request)
 *     return staff && { viewer: Actor.admin(staff.id), scope: "everything" as const }
 *   }
 * })
 *
 * // app/audit/[[...path]]/route.ts
 * export { handler as GET, handler as POST }
 * ```
 */
export const toWebHandler = <E>(
  services: Layer.Layer<Query.Query, E>,
  options: Options<Request>
): Handler<[request: Request], Promise<Response>> => {
  const { answer, dispose, mounting } = running(services, options)
  return {
    handler: (request) => answer(fromWeb(mounting, request), request, request.signal),
    dispose
  }
}

/**
 * A handler of Node.js, for `http.createServer`, Express, Fastify and Koa. `authorize` gets the request that the framework gives, with what
 * its middleware put there.
 *
 * @since 0.1.0
 * @category handlers
 * @example
 * ```ts
 * import type { Layer } from "effect"
 * import express from "express"
 * import { Actor, type Query } from "threadline"
 * import { OperatorSurface } from "threadline/operator"
 *
 * declare const AuditLive: Layer.Layer<Query.Query>
 *
 * const { handler } = OperatorSurface.toNodeHandler(AuditLive, {
 *   authorize: (request: express.Request) => {
 *     const staff = request.get("x-staff")
 *     return staff === undefined ? undefined : { viewer: Actor.admin(staff), scope: "everything" }
 *   }
 * })
 *
 * export const app = express().use("/audit", handler)
 * ```
 */
export const toNodeHandler = <E, Asked extends IncomingMessage = IncomingMessage>(
  services: Layer.Layer<Query.Query, E>,
  options: Options<Asked>
): Handler<[request: Asked, response: ServerResponse], void> => {
  const { answer, dispose, mounting } = running(services, options)
  return {
    handler: (request, response) => {
      const left = new AbortController()
      response.once("close", () => left.abort())
      answer(fromNode(mounting, request), request, left.signal).then(
        (made) => send(response, made),
        () => {
          // The reader has left, or the services could not be built.
          if (!response.headersSent && !response.destroyed) {
            response.writeHead(503, { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" })
            response.end("The audit log cannot be shown now.\n")
          } else {
            response.destroy()
          }
        }
      )
    },
    dispose
  }
}
