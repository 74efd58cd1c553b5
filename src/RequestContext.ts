/**
 * From an HTTP request to a context: which headers are believed, and how much. `threadline/http` and its siblings for frameworks
 * are made with it.
 *
 * @since 0.1.0
 */
import { BlockList, isIP } from "node:net"
import * as AuditContext from "./AuditContext.js"
import { notAnObject, unknownField } from "./internal/core/request.js"
import { InvalidRequest } from "./ThreadlineError.js"

/**
 * What headers may say of a request.
 *
 * @since 0.1.0
 * @category models
 */
export interface Rules {
  /** The program that writes, such as `api`. */
  readonly source?: string | undefined
  /**
   * Proxies in front of the application, as addresses or ranges such as `10.0.0.0/8`. `x-forwarded-for` counts only if the connection
   * comes from one of them, and only up to the first address that is not one of them. None if not given.
   */
  readonly trustedProxies?: ReadonlyArray<string> | undefined
  /** The header with the correlation id; `x-correlation-id` if not given, `false` to believe none. */
  readonly correlationHeader?: string | false | undefined
  /** The header with the id of the request; `x-request-id` if not given, `false` to believe none. */
  readonly requestHeader?: string | false | undefined
  /** Makes the id of a request that has none, or a bad one; `crypto.randomUUID` if not given. */
  readonly makeId?: (() => string) | undefined
}

/**
 * What is known of a request.
 *
 * @since 0.1.0
 * @category models
 */
export interface Incoming {
  /** The value of a header, by its name in lower case. Several values are no value. */
  readonly header: (name: string) => string | ReadonlyArray<string> | null | undefined
  /** The address that the connection comes from. */
  readonly remoteAddress?: string | undefined
  /** Such as `POST`. */
  readonly method?: string | undefined
  /** The pattern of the route, such as `/posts/:id`; never the path, which may hold identities. */
  readonly route?: string | undefined
  /** More facts; what is no JSON object is left out. */
  readonly meta?: AuditContext.Meta | undefined
}

/** The rules, and what a middleware adds to them. A misspelt `trustedProxies` would make the proxy the sender of every request. */
const ruleNames = {
  source: true,
  trustedProxies: true,
  correlationHeader: true,
  requestHeader: true,
  makeId: true,
  actor: true,
  meta: true,
  remoteAddress: true,
  route: true
} as const satisfies Record<keyof Rules, true> & { readonly [rule: string]: true }

/** Ids that come from outside: printable, no spaces, no quotes, nothing that a log or a terminal reads as its own. */
const idPattern = /^[A-Za-z0-9._:/+=@~-]{1,128}$/

const traceParent = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$/

/** The trace id of a W3C `traceparent`, or undefined if it is none. */
const traceIdOf = (value: string | undefined): string | undefined => {
  const [, version, traceId, parentId, rest] = traceParent.exec(value ?? "") ?? []
  const valid =
    version !== undefined &&
    version !== "ff" &&
    (version !== "00" || rest === undefined) &&
    !/^0*$/.test(traceId ?? "") &&
    !/^0*$/.test(parentId ?? "")
  return valid ? traceId : undefined
}

/** An address in its usual form, without a port, a zone, or the IPv6 dress of IPv4; undefined if it is none. */
const addressOf = (given: string | undefined): string | undefined => {
  const text = given?.trim() ?? ""
  const bracketed = /^\[([^\]]+)\](?::\d{1,5})?$/.exec(text)?.[1]
  const withPort = /^(\d{1,3}(?:\.\d{1,3}){3}):\d{1,5}$/.exec(text)?.[1]
  const address = (bracketed ?? withPort ?? text).replace(/%.*$/s, "")
  const mapped = /^::ffff:(\d{1,3}(?:\.\d{1,3}){3})$/i.exec(address)?.[1]
  const plain = mapped ?? address
  return isIP(plain) === 0 ? undefined : plain
}

const proxyList = (proxies: unknown): BlockList => {
  const list = new BlockList()
  // Other libraries take `true` here, or one string. Here neither names a proxy.
  const entries: ReadonlyArray<unknown> = Array.isArray(proxies) ? proxies : [undefined]
  for (const proxy of entries) {
    const [address = "", bits, ...rest] = typeof proxy === "string" ? proxy.split("/") : []
    const family = isIP(address)
    const width = bits === undefined || !/^\d{1,3}$/.test(bits) ? undefined : Number(bits)
    const isRange = bits === undefined || (width !== undefined && width <= (family === 4 ? 32 : 128))
    if (family === 0 || !isRange || rest.length > 0) {
      throw new InvalidRequest({
        field: "trustedProxies",
        rule: "must be addresses or ranges such as 10.0.0.0/8"
      })
    }
    const type = family === 4 ? "ipv4" : "ipv6"
    if (width === undefined) {
      list.addAddress(address, type)
    } else {
      list.addSubnet(address, width, type)
    }
  }
  return list
}

/**
 * The `meta` of a route: `{ route: "POST /posts/:id" }`. Nothing for what is no pattern, such as the one of a regular expression, or cannot be
 * recorded.
 *
 * @since 0.1.0
 * @category adapters
 */
export const routeMeta = (method: string | undefined, pattern: unknown): AuditContext.Meta | undefined => {
  if (typeof pattern !== "string" || pattern === "") {
    return undefined
  }
  const meta = { route: method === undefined ? pattern : `${method} ${pattern}` }
  return AuditContext.invalid({ meta }) === undefined ? meta : undefined
}

/**
 * What a function of the host's gives, or undefined if it throws: no fact about a request is worth its failure.
 *
 * @since 0.1.0
 * @category adapters
 */
export const attempt = <A>(ask: () => A): A | undefined => {
  try {
    return ask()
  } catch {
    return undefined
  }
}

const single = (value: string | ReadonlyArray<string> | null | undefined): string | undefined =>
  typeof value === "string" ? value : undefined

/**
 * Makes the function that gives a request its context. Rules that cannot be followed throw `InvalidRequest` now, not with each request.
 *
 * The function never fails, and what it gives can always be recorded: an id that is not 1 to 128 letters, digits or `._:/+=@~-` is
 * replaced by a new one and kept nowhere; a `traceparent` that breaks its standard is ignored. Without a correlation id the id of the
 * request stands in for it. It never says who acts: no header may.
 *
 * @since 0.1.0
 * @category constructors
 * @example
 * ```ts
 * import { RequestContext } from "threadline"
 *
 * const contextOf = RequestContext.make({ source: "api", trustedProxies: ["10.0.0.0/8"] })
 *
 * export const context = (request: Request, remoteAddress: string) =>
 *   contextOf({ header: (name) => request.headers.get(name), remoteAddress, method: request.method })
 * ```
 */
export const make = (rules: Rules = {}): ((incoming: Incoming) => AuditContext.Fields) => {
  const refusal = notAnObject(rules) ?? unknownField(rules, ruleNames) ?? AuditContext.invalid({ source: rules.source })
  if (refusal !== undefined) {
    throw refusal
  }
  // What a middleware adds to the rules. An actor that is no function would leave every write unattributed.
  for (const [field, value] of Object.entries(rules)) {
    if (
      ["actor", "makeId", "meta", "remoteAddress"].includes(field) &&
      value !== undefined &&
      typeof value !== "function"
    ) {
      throw new InvalidRequest({ field, rule: "must be a function" })
    }
  }
  const headers = {
    correlationId: rules.correlationHeader ?? "x-correlation-id",
    requestId: rules.requestHeader ?? "x-request-id"
  }
  for (const [field, name] of Object.entries({
    correlationHeader: headers.correlationId,
    requestHeader: headers.requestId
  })) {
    if (name !== false && (typeof name !== "string" || !/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name))) {
      throw new InvalidRequest({ field, rule: "must be the name of a header, or false" })
    }
  }
  const proxies = proxyList(rules.trustedProxies ?? [])
  const isTrusted = (address: string): boolean => proxies.check(address, isIP(address) === 4 ? "ipv4" : "ipv6")
  const makeId = (): string => {
    const made: unknown = attempt(() => rules.makeId?.())
    return typeof made === "string" && AuditContext.invalid({ requestId: made }) === undefined
      ? made
      : crypto.randomUUID()
  }
  const idOf = (
    incoming: Incoming,
    name: string | false
  ): { readonly given: string | undefined; readonly bad: boolean } => {
    const value = name === false ? undefined : incoming.header(name.toLowerCase())
    const text = single(value)
    const given = text !== undefined && idPattern.test(text) ? text : undefined
    return { given, bad: given === undefined && value !== undefined && value !== null }
  }
  /** The nearest address that is no proxy of ours. What stands before it in the header is what a stranger wrote. */
  const remoteIpOf = (incoming: Incoming): string | undefined => {
    let address = addressOf(incoming.remoteAddress)
    const forwarded = (single(incoming.header("x-forwarded-for")) ?? "").split(",")
    while (address !== undefined && isTrusted(address) && forwarded.length > 0) {
      const next = addressOf(forwarded.pop())
      if (next === undefined) {
        return address
      }
      address = next
    }
    return address
  }
  const metaOf = ({ meta, method, route }: Incoming): AuditContext.Meta | undefined => {
    const wholeMeta = { ...routeMeta(method, route), ...(AuditContext.invalid({ meta }) === undefined ? meta : {}) }
    return Object.keys(wholeMeta).length === 0 || AuditContext.invalid({ meta: wholeMeta }) !== undefined
      ? undefined
      : wholeMeta
  }
  return (incoming) => {
    const request = idOf(incoming, headers.requestId)
    const correlation = idOf(incoming, headers.correlationId)
    const requestId = request.given ?? makeId()
    return {
      requestId,
      correlationId: correlation.given ?? (correlation.bad ? makeId() : requestId),
      traceId: traceIdOf(single(incoming.header("traceparent"))),
      remoteIp: remoteIpOf(incoming),
      source: rules.source,
      meta: metaOf(incoming)
    }
  }
}
