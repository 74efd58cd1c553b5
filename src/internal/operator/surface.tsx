/** From a request to an answer: who asks, what they may see, which screen it is, and what is said if that fails. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { randomBytes } from "node:crypto"
import type * as Health from "../../Health.js"
import type * as Retention from "../../Retention.js"
import * as Export from "../../Export.js"
import { SavedViewError } from "../../SavedViews.js"
import { InvalidRequest, NotFound, ThreadlineError } from "../../ThreadlineError.js"
import type { Capability, Denied, Viewer } from "./access.js"
import * as address from "./address.js"
import { asking as askingColumns } from "./columnOrder.js"
import { Frame } from "./design/Frame.js"
import { Understood } from "./design/Understood.js"
import { documentOf } from "./document.js"
import { isSameOrigin, sameToken, tokenOf } from "./forgery.js"
import type { Asked, Page, Relations, Screen, Screened, Services } from "./screen.js"
import { actions } from "./screens/actions.js"
import { act } from "./acts.js"
import { actor, correlation, request } from "./screens/bundle.js"
import { changes, download, exportJobs } from "./screens/exports.js"
import { evidence } from "./screens/evidence.js"
import { coverage } from "./screens/coverage.js"
import { redaction } from "./screens/redaction.js"
import { retention } from "./screens/retention.js"
import { live } from "./screens/live.js"
import { designPage } from "./screens/design.js"
import { home } from "./screens/home.js"
import { row } from "./screens/row.js"
import { timeline } from "./screens/timeline.js"
import { transaction } from "./screens/transaction.js"
import * as trouble from "./screens/trouble.js"
import { asking } from "./masks.js"
import { securityHeaders } from "./securityHeaders.js"
import { type HostLinks, type Offers, rooms, type Site, type Theme } from "./site.js"
import { utc, zoneOf } from "./zone.js"

/** What a host sets once. */
export interface Settings extends HostLinks {
  readonly timeout: Duration.DurationInput
  readonly zone: string
  readonly design: boolean
  readonly auditAccess: boolean
  readonly relations: Relations
  readonly health: Health.Options
  readonly retention: Retention.Policy | undefined
  readonly secret: string
  readonly trustProxy: boolean
  readonly onFailure: ((failure: Failure) => void) | undefined
}

/** What is told of a page that failed. */
export interface Failure {
  /** What the page shows. */
  readonly reference: string
  /** Which page it was, such as `Row`. Its address may name a person, and is left out. */
  readonly page: string
  readonly cause: Cause.Cause<unknown>
}

/** A request as every mounting gives it. */
export interface Incoming {
  readonly method: string
  /** Path and query, from behind the prefix on. */
  readonly url: string
  /** The path under which the browser finds the pages: `/audit`; empty for the root. */
  readonly prefix: string
  readonly header: (name: string) => string | undefined
  /** The fields of a form. */
  readonly form: Effect.Effect<URLSearchParams, unknown>
}

export type Surface = (incoming: Incoming, authorize: Effect.Effect<Viewer, Denied>) => Effect.Effect<Response>

/** What a screen needs beyond reading. */
const needed: { readonly [Tag in address.Route["_tag"]]?: Capability } = {
  Coverage: "coverage",
  Redaction: "policy",
  Retention: "policy",
  Evidence: "evidence",
  Exports: "export",
  Download: "export",
  Changes: "export"
}

const screenOf = (route: address.Route, settings: Settings): ((asked: Asked) => Screened) => {
  switch (route._tag) {
    case "Home":
      return home
    case "Timeline":
      return timeline
    case "Transaction":
      return transaction(route.id)
    case "Row":
      return row(route.table, route.key)
    case "Request":
      return request(route.id)
    case "Correlation":
      return correlation(route.id)
    case "Actor":
      return actor(route.type, route.id)
    case "Actions":
      return actions
    case "Coverage":
      return coverage
    case "Redaction":
      return redaction
    case "Retention":
      return retention
    case "Evidence":
      return evidence
    case "Exports":
      return exportJobs
    case "Download":
      return download(route.id)
    case "Changes":
      return changes(route.kind)
    case "Live":
      return live
    case "Design":
      return () => Effect.succeed(settings.design ? designPage : trouble.unknownPath)
    default:
      return () => Effect.succeed(trouble.unknownPath)
  }
}

const cookieOf = (header: string | undefined, name: string): string | undefined =>
  header
    ?.split(";")
    .map((part) => part.trim())
    .find((part) => part.startsWith(`${name}=`))
    ?.slice(name.length + 1)

const themeCookie = "threadline_theme"

const themeOf = (text: string | undefined): Theme => (text === "light" || text === "dark" ? text : undefined)

const isUnusable = (error: ThreadlineError): boolean =>
  error.reason === "Unreachable" || error.sqlState?.startsWith("53") === true

const isTooSlow = (error: ThreadlineError): boolean => error.sqlState === "57014"

class TooSlow {
  readonly _tag = "TooSlow"
}

const underScope = (services: Services, viewer: Viewer): Services =>
  viewer.scope === undefined
    ? services
    : {
        ...services,
        query: services.query.scoped(viewer.scope),
        exports: Option.map(services.exports, (exports): Export.Service =>
          exports.scoped(viewer.scope ?? (() => false))
        ),
        feed: Option.map(services.feed, (feed) => feed.scoped(viewer.scope ?? (() => false)))
      }

/** The code of the pages. It is made once, and answers every request. */
export const make = (settings: Settings, services: Services): Surface => {
  const seconds = Math.max(1, Math.round(Duration.toSeconds(settings.timeout)))
  const offers: Offers = {
    coverage: Option.isSome(services.health),
    evidence: Option.isSome(services.evidence),
    retention: Option.isSome(services.retention),
    exports: Option.isSome(services.jobs)
  }

  const columnsOf = askingColumns(services.query)

  const masks = Option.match(services.health, {
    onNone: () => () => Effect.succeed<Site["masks"]>(new Map()),
    onSome: (health) => asking(health.policies(settings.health))
  })

  const logged = (page: string, cause: Cause.Cause<unknown>): Effect.Effect<string> => {
    const reference = randomBytes(6).toString("hex")
    const reported = Effect.sync(() => settings.onFailure?.({ reference, page, cause })).pipe(
      Effect.catchAllCause(() => Effect.void)
    )
    return Effect.logError("a page of the operator surface failed", cause).pipe(
      Effect.annotateLogs({ reference, page }),
      Effect.zipRight(reported),
      Effect.as(reference)
    )
  }

  /** Every way in which a screen can end becomes a page. */
  const settled = (name: string, screened: Screened): Effect.Effect<Screen> =>
    screened.pipe(
      Effect.timeoutFail({ duration: settings.timeout, onTimeout: () => new TooSlow() }),
      Effect.exit,
      Effect.flatMap((exit): Effect.Effect<Screen> => {
        if (Exit.isSuccess(exit)) {
          return Effect.succeed(exit.value)
        }
        if (Cause.isInterruptedOnly(exit.cause)) {
          return Effect.interrupt
        }
        const error = Option.getOrUndefined(Cause.failureOption(exit.cause))
        if (InvalidRequest.is(error)) {
          // What is wrong with a scope is the host's business, and may say something of it.
          return error.field === "scope"
            ? Effect.map(logged(name, exit.cause), trouble.failed)
            : Effect.succeed(trouble.invalid(error))
        }
        if (NotFound.is(error)) {
          return Effect.succeed(trouble.notFound(error))
        }
        if (SavedViewError.is(error)) {
          return Effect.succeed(trouble.viewTrouble(error.reason))
        }
        return Effect.map(logged(name, exit.cause), (reference) =>
          Export.ExportError.is(error)
            ? trouble.exportTrouble(error.reason, reference)
            : error instanceof TooSlow || (ThreadlineError.is(error) && isTooSlow(error))
              ? trouble.tooSlow(reference, seconds)
              : ThreadlineError.is(error) && isUnusable(error)
                ? trouble.unreachable(reference)
                : ThreadlineError.is(error) && error.reason !== "Failed"
                  ? trouble.notReady(reference)
                  : trouble.failed(reference)
        )
      })
    )

  /** The view is recorded once the screen is there, and the screen shown only if it was. */
  const recordingView =
    (viewer: Viewer, path: string) =>
    (route: address.Route, screened: Screened): Screened =>
      !settings.auditAccess
        ? screened
        : Effect.tap(screened, (screen) =>
            screen._tag === "Redirect"
              ? Effect.void
              : Option.match(services.audit, {
                  onNone: () =>
                    Effect.fail(new InvalidRequest({ field: "scope", rule: "auditAccess needs the service Audit" })),
                  onSome: (audit) =>
                    audit.record(
                      { name: "audit.viewed", subject: { type: "page", id: route._tag }, data: { address: path } },
                      viewer.actor === undefined
                        ? { source: "operator surface", actor: { type: "anonymous" } }
                        : { source: "operator surface", actor: viewer.actor }
                    )
                })
          )

  const rendered = (page: Page, site: Site) => {
    const titled = { ...site, title: page.title, columns: page.columns ?? site.columns }
    const url = new URL(site.here, "http://own.invalid")
    const asked = url.searchParams.get("q")
    url.searchParams.delete("q")
    return documentOf(
      titled,
      () => (
        <Frame place={page.place} command={page.command} asked={page.asked ?? asked ?? ""}>
          {asked === null || page.place === "home" || page.place === "none" ? null : (
            <Understood asked={asked} here={`${url.pathname}${url.search}`} />
          )}
          {page.view()}
        </Frame>
      ),
      page.style,
      page.rooms
    )
  }

  const htmlOf = (page: Page, site: Site, withBody: boolean, made = rendered(page, site)): Response => {
    const { headers, html } = made
    return new Response(withBody ? html : null, {
      status: page.status,
      headers: [
        ["content-type", "text/html; charset=utf-8"],
        ...headers.map(([name, value]): [string, string] => [name, value])
      ]
    })
  }

  const seeOther = (to: string, cookies: ReadonlyArray<string> = []): Response => {
    const headers = new Headers(securityHeaders().map(([name, value]): [string, string] => [name, value]))
    headers.set("location", to)
    for (const cookie of cookies) {
      headers.append("set-cookie", cookie)
    }
    return new Response(null, { status: 303, headers })
  }

  return (incoming, authorize) =>
    Effect.gen(function* () {
      const { prefix } = incoming
      const url = new URL(`http://own.invalid${incoming.url.startsWith("/") ? "" : "/"}${incoming.url}`)
      const params = url.searchParams
      const now = Date.now()
      const asksFor = params.get("tz")
      const zone = (asksFor === null ? undefined : zoneOf(asksFor)) ?? settings.zone
      const to = address.make(prefix, zone === settings.zone && settings.zone === utc ? {} : { tz: zone })
      const here = `${prefix}${url.pathname}${url.search}`
      const siteFor = (viewer: Viewer): Site => ({
        to,
        here,
        prefix,
        zone,
        now,
        viewer,
        theme: themeOf(cookieOf(incoming.header("cookie"), themeCookie)),
        token: tokenOf(settings.secret, viewer.actor),
        offers,
        room: rooms[0],
        links: settings,
        masks: new Map(),
        columns: new Map(),
        title: "Audit"
      })
      const nobody: Viewer = {
        actor: undefined,
        scope: undefined,
        scopeName: undefined,
        namedScope: undefined,
        may: () => false
      }
      const isHead = incoming.method === "HEAD"
      const answer = yield* Effect.either(authorize)
      if (answer._tag === "Left") {
        const { reason, signIn } = answer.left
        return deniedPage(siteFor(nobody), trouble.denied(reason === "Unauthenticated" ? 401 : 403, signIn), !isHead)
      }
      const viewer = answer.right
      const plain = siteFor(viewer)
      const show = (page: Page): Response => htmlOf(page, plain, !isHead)
      const route = address.read(url.pathname, params)
      if (route === "unknown") {
        return show(trouble.unknownPath)
      }
      if (route === "malformed") {
        return show(trouble.malformedPath)
      }
      if (here.length > longestAddress) {
        return show(trouble.tooLong)
      }
      if (asksFor !== null && zoneOf(asksFor) === undefined) {
        return show(
          trouble.invalid(
            new InvalidRequest({ field: "tz", rule: "must be a time zone, such as UTC or Europe/Berlin" })
          )
        )
      }
      const capability = needed[route._tag]
      if (capability !== undefined && !viewer.may(capability)) {
        return show(trouble.noCapability(capability))
      }
      const asked: Asked = {
        services: underScope(services, viewer),
        columnsOf,
        params,
        to,
        viewer,
        zone,
        now,
        relations: settings.relations,
        health: settings.health,
        retention: settings.retention
      }
      if (route._tag === "Act") {
        if (incoming.method !== "POST") {
          return show(trouble.wrongMethod)
        }
        const form = yield* Effect.either(incoming.form)
        if (form._tag === "Left") {
          return show(trouble.formTooLarge)
        }
        const fields = form.right
        if (!isSameOrigin(incoming, settings.trustProxy) || !sameToken(fields.get("token"), plain.token)) {
          return show(trouble.forged)
        }
        const back = fields.get("back") ?? ""
        const target = address.isOwn(prefix, back) ? back : to.home()
        if (route.act === "theme") {
          const theme = themeOf(fields.get("theme") ?? undefined)
          const path = prefix === "" ? "/" : prefix
          return seeOther(target, [
            `${themeCookie}=${theme ?? ""}; Path=${path}; SameSite=Strict; HttpOnly${theme === undefined ? "; Max-Age=0" : "; Max-Age=31536000"}`
          ])
        }
        const done = yield* settled(route.act, act(route.act, fields, asked, target))
        return done._tag === "Redirect" ? seeOther(done.to) : done._tag === "Raw" ? secured(done.response) : show(done)
      }
      if (incoming.method !== "GET" && !isHead) {
        return show(trouble.wrongMethod)
      }
      const site: Site = { ...plain, masks: yield* masks(now) }
      const recording = recordingView(viewer, here.slice(0, 2000))
      let screened: Screened = screenOf(route, settings)(asked)
      for (;;) {
        const screen = yield* settled(route._tag, recording(route, screened))
        if (screen._tag === "Redirect") {
          return seeOther(screen.to)
        }
        if (screen._tag === "Raw") {
          return secured(screen.response)
        }
        const made = rendered(screen, site)
        if (made.fits || screen.smaller === undefined) {
          return htmlOf(screen, site, !isHead, made)
        }
        screened = screen.smaller
      }
    }).pipe(
      Effect.catchAllCause((cause) =>
        Cause.isInterruptedOnly(cause)
          ? Effect.interrupt
          : Effect.map(logged("request", cause), (reference) => plainFailure(reference))
      )
    )

  function deniedPage(site: Site, page: Page, withBody: boolean): Response {
    return htmlOf(page, { ...site, token: "" }, withBody)
  }
}

/** Headers of ours on an answer that is no page. A file is saved, and never shown. */
const secured = (response: Response): Response => {
  const headers = new Headers(response.headers)
  for (const [name, value] of securityHeaders()) {
    headers.set(name, value)
  }
  return new Response(response.body, { status: response.status, headers })
}

/** The longest path and query that is read. */
const longestAddress = 16_384

/** What is said if not even a page can be made. */
const plainFailure = (reference: string): Response =>
  new Response(`This page failed. The log of the application has more under the reference ${reference}.\n`, {
    status: 500,
    headers: [
      ["content-type", "text/plain; charset=utf-8"],
      ...securityHeaders().map(([name, value]): [string, string] => [name, value])
    ]
  })
