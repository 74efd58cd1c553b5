/**
 * Answers requests: authorizes the viewer, finds the screen, runs it under the viewer's scope, and renders its page.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import type * as Continuity from "../../Continuity.js"
import type * as Health from "../../Health.js"
import type * as Retention from "../../Retention.js"
import type * as Export from "../../Export.js"
import { InvalidRequest } from "../../ThreadlineError.js"
import type { Capability, Denied, Viewer } from "./access.js"
import * as address from "./address.js"
import { columnReader } from "./columnOrder.js"
import { fittingSize } from "./document.js"
import { htmlOf, plainFailure, rendered, secured, seeOther } from "./answer.js"
import { isSameOrigin, sameToken, tokenOf } from "./forgery.js"
import { dispensable, type Page, type Relations, type ScreenContext, type Screened, type Services } from "./screen.js"
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
import { maskReader } from "./masks.js"
import { goingOn, remembering } from "./remembered.js"
import { type Failure, type LogFailure, logging, settling, unavailable } from "./settled.js"
import { type HostLinks, type Offers, rooms, type Site, type Theme } from "./site.js"
import { utc, zoneOf } from "./zone.js"

/** Settings of the host, the same for every request. */
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

/** A request, independent of the kind of server. */
export interface Incoming {
  readonly method: string
  /** Path and query after the prefix. */
  readonly url: string
  /** The path under which the browser finds the pages, such as `/audit`. Empty for the root. */
  readonly prefix: string
  readonly header: (name: string) => string | undefined
  /** The fields of a form. */
  readonly form: Effect.Effect<URLSearchParams, unknown>
}

export type Surface = (incoming: Incoming, authorize: Effect.Effect<Viewer, Denied>) => Effect.Effect<Response>

/** A request whose viewer was let in. */
interface Admitted {
  readonly url: URL
  readonly to: address.Addresses
  readonly viewer: Viewer
  readonly zone: string
  readonly now: number
  readonly site: Site
}

/** The capability that a screen requires beyond `read`. */
const requiredCapability: { readonly [Tag in address.Route["_tag"]]?: Capability } = {
  Coverage: "coverage",
  Redaction: "policy",
  Retention: "policy",
  Evidence: "evidence",
  Exports: "export",
  Download: "export",
  Changes: "export"
}

/** Pages that show captured values, and so need the masks. */
const showsValues: ReadonlySet<address.Route["_tag"]> = new Set([
  "Timeline",
  "Transaction",
  "Row",
  "Request",
  "Correlation",
  "Actor"
])

const screenOf = (route: address.Route, settings: Settings): ((context: ScreenContext) => Screened) => {
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

const nothingOffered: Offers = { coverage: false, evidence: false, retention: false, exports: false, formats: [] }

const themeCookie = "threadline_theme"

const themeOf = (text: string | undefined): Theme => (text === "light" || text === "dark" ? text : undefined)

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

/** Authorizes the viewer before the path is looked at. Returns the page of the refusal if they are not let in. */
const admit = (settings: Settings, offers: Offers, incoming: Incoming, authorize: Effect.Effect<Viewer, Denied>) =>
  Effect.gen(function* () {
    const { prefix } = incoming
    const url = new URL(`http://own.invalid${incoming.url.startsWith("/") ? "" : "/"}${incoming.url}`)
    const now = Date.now()
    const zoneName = url.searchParams.get("tz")
    const zone = (zoneName === null ? undefined : zoneOf(zoneName)) ?? settings.zone
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
    const answer = yield* Effect.either(authorize)
    if (answer._tag === "Left") {
      const { reason, signIn } = answer.left
      const page = trouble.denied(reason === "Unauthenticated" ? 401 : 403, signIn)
      return htmlOf(page, { ...siteFor(nobody), token: "" }, incoming.method !== "HEAD")
    }
    const viewer = answer.right
    const admitted: Admitted = { url, to, viewer, zone, now, site: siteFor(viewer) }
    return admitted
  })

/** Answers a failure outside every screen in plain text. */
const orPlainFailure = (logFailure: LogFailure, answer: Effect.Effect<Response>): Effect.Effect<Response> =>
  answer.pipe(
    Effect.catchAllCause((cause) =>
      Cause.isInterruptedOnly(cause)
        ? Effect.interrupt
        : Effect.map(logFailure("request", cause), (reference) => plainFailure(reference))
    )
  )

/** The surface while its services cannot be built. Viewers who are let in get a page that says so. */
export const broken =
  (settings: Settings, cause: Cause.Cause<unknown>): Surface =>
  (incoming, authorize) => {
    const logFailure = logging(settings.onFailure)
    return orPlainFailure(
      logFailure,
      Effect.gen(function* () {
        const admitted = yield* admit(settings, nothingOffered, incoming, authorize)
        return admitted instanceof Response
          ? admitted
          : htmlOf(yield* unavailable(logFailure, cause), admitted.site, incoming.method !== "HEAD")
      })
    )
  }

/** The readings that the pages of all viewers share. */
const readingsOf = (settings: Settings, services: Services) => {
  const patience: ScreenContext["patience"] = (what) =>
    Duration.times(Duration.decode(settings.timeout), dispensable[what])
  const longest = Duration.times(Duration.decode(settings.timeout), 12)
  const none = () => Effect.succeed({ newest: undefined, isNew: false })

  const masksAt = Option.match(services.health, {
    onNone: () => () => Effect.succeed(undefined),
    onSome: (health) => maskReader(health.policies(settings.health), patience("masks"))
  })

  const coverageOf = Option.match(services.health, {
    onNone: () => () => Effect.succeed(undefined),
    onSome: (health) => remembering(health.coverage(settings.health), patience("coverage"))
  })

  // With continuity, its report includes that of health, from one reading of the catalog, which is the slow part.
  const reports = Option.map(services.health, (health) =>
    Option.match(services.continuity, {
      onNone: () =>
        Effect.map(health.report(settings.health), (report): Continuity.Report => ({ health: report, readiness: [] })),
      onSome: (continuity) => continuity.report(settings.health)
    })
  )
  const reportOf: ScreenContext["reportOf"] = Option.match(reports, {
    onNone: () => none,
    onSome: (report) => goingOn(report, patience("tables"), longest)
  })
  const policiesOf: ScreenContext["policiesOf"] = Option.match(services.health, {
    onNone: () => none,
    onSome: (health) => goingOn(health.policies(settings.health), patience("tables"), longest)
  })

  return {
    masksAt,
    forScreens: { columnsOf: columnReader(services.query), patience, coverageOf, reportOf, policiesOf }
  }
}

/** The route of an address that the viewer may see, or the page that says why there is none. */
const routeOf = ({ site, url, viewer }: Admitted): Either.Either<address.Route, Page> => {
  const zoneName = url.searchParams.get("tz")
  const route = address.read(url.pathname, url.searchParams)
  if (route === "unknown") {
    return Either.left(trouble.unknownPath)
  }
  if (route === "malformed") {
    return Either.left(trouble.malformedPath)
  }
  if (site.here.length > longestAddress) {
    return Either.left(trouble.tooLong)
  }
  if (zoneName !== null && zoneOf(zoneName) === undefined) {
    return Either.left(
      trouble.invalid(new InvalidRequest({ field: "tz", rule: "must be a time zone, such as UTC or Europe/Berlin" }))
    )
  }
  const capability = requiredCapability[route._tag]
  return capability !== undefined && !viewer.may(capability)
    ? Either.left(trouble.noCapability(capability))
    : Either.right(route)
}

/** Records the view after the screen was read. If that fails, the screen is not shown. */
const recordingView =
  (audit: Services["audit"], viewer: Viewer, page: { readonly kind: string; readonly path: string }) =>
  (screened: Screened): Screened =>
    Effect.tap(screened, (screen) =>
      screen._tag === "Redirect"
        ? Effect.void
        : Option.match(audit, {
            onNone: () =>
              Effect.fail(new InvalidRequest({ field: "scope", rule: "auditAccess needs the service Audit" })),
            onSome: (service) =>
              service.record(
                { name: "audit.viewed", subject: { type: "page", id: page.kind }, data: { address: page.path } },
                viewer.actor === undefined
                  ? { source: "operator surface", actor: { type: "anonymous" } }
                  : { source: "operator surface", actor: viewer.actor }
              )
          })
    )

/** Remembers a choice of colours in a cookie. */
const themeChosen = (text: string | undefined, prefix: string, target: string): Response => {
  const theme = themeOf(text)
  const path = prefix === "" ? "/" : prefix
  return seeOther(target, [
    `${themeCookie}=${theme ?? ""}; Path=${path}; SameSite=Strict; HttpOnly${theme === undefined ? "; Max-Age=0" : "; Max-Age=31536000"}`
  ])
}

/** Makes the surface. It is made once and answers every request. */
export const make = (settings: Settings, services: Services, formats: Offers["formats"]): Surface => {
  const offers: Offers = {
    coverage: Option.isSome(services.health),
    evidence: Option.isSome(services.evidence),
    retention: Option.isSome(services.retention),
    exports: Option.isSome(services.jobs),
    formats
  }
  const { forScreens, masksAt } = readingsOf(settings, services)
  const logFailure = logging(settings.onFailure)
  const settled = settling(settings.timeout, logFailure)

  /** Does what a form of a page asks for, if it comes from a page of this viewer. */
  const answerForm = (
    incoming: Incoming,
    { act: name }: Extract<address.Route, { readonly _tag: "Act" }>,
    { site, to }: Admitted,
    context: ScreenContext
  ): Effect.Effect<Response> =>
    Effect.gen(function* () {
      const show = (page: Page): Response => htmlOf(page, site, incoming.method !== "HEAD")
      if (incoming.method !== "POST") {
        return show(trouble.wrongMethod("POST"))
      }
      const form = yield* Effect.either(incoming.form)
      if (form._tag === "Left") {
        return show(trouble.formTooLarge)
      }
      const fields = form.right
      if (!isSameOrigin(incoming, settings.trustProxy) || !sameToken(fields.get("token"), site.token)) {
        return show(trouble.forged)
      }
      const back = fields.get("back") ?? ""
      const target = address.isOwn(site.prefix, back) ? back : to.home()
      if (name === "theme") {
        return themeChosen(fields.get("theme") ?? undefined, site.prefix, target)
      }
      const done = yield* settled(name, act(name, fields, context, target))
      return done._tag === "Redirect" ? seeOther(done.to) : done._tag === "Raw" ? secured(done.response) : show(done)
    })

  /** Reads a screen, and reads it again with fewer items as long as its page is too large. */
  const answerScreen = (
    incoming: Incoming,
    route: address.Route,
    { now, site: plain, viewer }: Admitted,
    context: ScreenContext
  ): Effect.Effect<Response> =>
    Effect.gen(function* () {
      const hasBody = incoming.method !== "HEAD"
      if (incoming.method !== "GET" && hasBody) {
        return htmlOf(trouble.wrongMethod("GET, HEAD"), plain, hasBody)
      }
      // The masks are read while the page is, and only for pages that show captured values.
      let site: Site | undefined
      const masking = showsValues.has(route._tag) ? yield* Effect.fork(masksAt(now)) : undefined
      const recorded = settings.auditAccess
        ? recordingView(services.audit, viewer, { kind: route._tag, path: plain.here.slice(0, 2000) })
        : identity
      let screened: Screened = screenOf(route, settings)(context)
      for (;;) {
        const screen = yield* settled(route._tag, recorded(screened))
        if (screen._tag === "Redirect") {
          return seeOther(screen.to)
        }
        if (screen._tag === "Raw") {
          return secured(screen.response)
        }
        site ??= masking === undefined ? plain : { ...plain, masks: (yield* Fiber.join(masking))?.value ?? new Map() }
        const made = rendered(screen, site)
        const size = made.fits ? undefined : fittingSize(made.bytes, screen.fewer?.items ?? 0)
        if (size === undefined || screen.fewer === undefined) {
          return htmlOf(screen, site, hasBody, made)
        }
        screened = screen.fewer.of(size)
      }
    })

  return (incoming, authorize) =>
    orPlainFailure(
      logFailure,
      Effect.gen(function* () {
        const admitted = yield* admit(settings, offers, incoming, authorize)
        if (admitted instanceof Response) {
          return admitted
        }
        const routed = routeOf(admitted)
        if (Either.isLeft(routed)) {
          return htmlOf(routed.left, admitted.site, incoming.method !== "HEAD")
        }
        const route = routed.right
        const { now, to, url, viewer, zone } = admitted
        const context: ScreenContext = {
          ...forScreens,
          services: underScope(services, viewer),
          formats,
          params: url.searchParams,
          to,
          viewer,
          zone,
          now,
          relations: settings.relations,
          health: settings.health,
          retention: settings.retention
        }
        return yield* route._tag === "Act"
          ? answerForm(incoming, route, admitted, context)
          : answerScreen(incoming, route, admitted, context)
      })
    )
}

/** The longest path with its query that is read. */
const longestAddress = 16_384
