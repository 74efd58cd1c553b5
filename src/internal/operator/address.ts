/**
 * Makes and reads the addresses of the pages. Values that proxies or browsers could rewrite in a path, such as slashes,
 * dots alone or an empty string, go into the query.
 */
import * as Either from "effect/Either"
import * as Query from "../../Query.js"
import { type ExportKind, kindNamed } from "./exportKinds.js"

export type Route =
  | { readonly _tag: "Home" }
  | { readonly _tag: "Timeline" }
  | { readonly _tag: "Live" }
  | { readonly _tag: "Transaction"; readonly id: string }
  | { readonly _tag: "Row"; readonly table: string; readonly key: string }
  | { readonly _tag: "Request"; readonly id: string }
  | { readonly _tag: "Correlation"; readonly id: string }
  | { readonly _tag: "Actor"; readonly type: string; readonly id: string | undefined }
  | { readonly _tag: "Actions" }
  | { readonly _tag: "Coverage" }
  | { readonly _tag: "Redaction" }
  | { readonly _tag: "Retention" }
  | { readonly _tag: "Evidence" }
  | { readonly _tag: "Exports" }
  | { readonly _tag: "Download"; readonly id: string }
  | { readonly _tag: "Changes"; readonly kind: ExportKind }
  | { readonly _tag: "Design" }
  | { readonly _tag: "Act"; readonly act: Act }

/** Every action that a form of a page can post. */
export const acts = [
  "theme",
  "views/save",
  "views/delete",
  "exports/queue",
  "exports/cancel",
  "exports/retry",
  "policy/retention/run"
] as const

export type Act = (typeof acts)[number]

/** Why a path is not a route. */
export type NoRoute = "unknown" | "malformed"

// oxlint-disable-next-line no-control-regex
const control = /[\u0000-\u001f\u007f]/

const decoded = (segment: string): string | undefined => {
  try {
    const text = decodeURIComponent(segment)
    return control.test(text) ? undefined : text
  } catch {
    return undefined
  }
}

const firstValue = (params: URLSearchParams, name: string): string | undefined => {
  const texts = params.getAll(name)
  return texts.length === 1 ? texts[0] : undefined
}

const named = (
  segment: string | undefined,
  params: URLSearchParams,
  name: string,
  route: (text: string) => Route
): Route | NoRoute => {
  const text = segment ?? firstValue(params, name)
  return text === undefined || text === "" ? "malformed" : route(text)
}

const isAct = (text: string): text is Act => acts.some((act) => act === text)

/**
 * Reads a path without its prefix, and the parameters that belong to it. A path is malformed if it has an empty part,
 * an invalid escape or a control character, or if a required parameter is missing.
 */
export const read = (path: string, params: URLSearchParams): Route | NoRoute => {
  const trimmed = path.replace(/^\//, "").replace(/\/$/, "")
  if (trimmed === "") {
    return { _tag: "Home" }
  }
  const parts = trimmed.split("/")
  const segments = parts.flatMap((part) => {
    const text = decoded(part)
    return text === undefined || text === "" ? [] : [text]
  })
  if (segments.length !== parts.length) {
    return "malformed"
  }
  const [head = "", second, third, ...others] = segments
  if (others.length > 0) {
    return "unknown"
  }
  const joined = segments.join("/")
  if (isAct(joined)) {
    return { _tag: "Act", act: joined }
  }
  if (segments.length === 3) {
    switch (head) {
      case "rows":
        return second === undefined || third === undefined ? "unknown" : { _tag: "Row", table: second, key: third }
      case "actors":
        return second === undefined ? "unknown" : { _tag: "Actor", type: second, id: third }
      case "exports":
        return third === "download" && second !== undefined ? { _tag: "Download", id: second } : "unknown"
      default:
        return "unknown"
    }
  }
  if (segments.length === 2) {
    switch (head) {
      case "transactions":
        return named(second, params, "id", (id) => ({ _tag: "Transaction", id }))
      case "requests":
        return named(second, params, "id", (id) => ({ _tag: "Request", id }))
      case "correlations":
        return named(second, params, "id", (id) => ({ _tag: "Correlation", id }))
      case "actors":
        return named(second, params, "type", (type) => ({ _tag: "Actor", type, id: firstValue(params, "id") }))
      case "policy":
        return second === "redaction"
          ? { _tag: "Redaction" }
          : second === "retention"
            ? { _tag: "Retention" }
            : "unknown"
      case "timeline":
        return second === "live" ? { _tag: "Live" } : "unknown"
      case "exports": {
        const kind = kindNamed(second?.startsWith("changes.") === true ? second.slice("changes.".length) : null)
        return kind === undefined ? "unknown" : { _tag: "Changes", kind }
      }
      default:
        return "unknown"
    }
  }
  switch (head) {
    case "timeline":
      return { _tag: "Timeline" }
    case "rows": {
      const [table, key] = [firstValue(params, "table"), firstValue(params, "key")]
      return table === undefined || key === undefined ? "malformed" : { _tag: "Row", table, key }
    }
    case "requests":
      return named(undefined, params, "id", (id) => ({ _tag: "Request", id }))
    case "correlations":
      return named(undefined, params, "id", (id) => ({ _tag: "Correlation", id }))
    case "actions":
      return { _tag: "Actions" }
    case "coverage":
      return { _tag: "Coverage" }
    case "evidence":
      return { _tag: "Evidence" }
    case "exports":
      return { _tag: "Exports" }
    case "_design":
      return { _tag: "Design" }
    default:
      return "unknown"
  }
}

type Parameters = Readonly<Record<string, string | ReadonlyArray<string> | undefined>>

/** Whether a value can be a part of the path. */
const plain = (text: string): boolean =>
  /^[\p{L}\p{N}_~:@,'"[\]{} .-]+$/u.test(text) && !/^\.+$/.test(text) && text.trim() === text

const segment = (text: string): string =>
  encodeURIComponent(text).replaceAll("%3A", ":").replaceAll("%40", "@").replaceAll("%2C", ",")

/** Makes addresses under a prefix. `carried` are the parameters that every address keeps, such as the time zone. */
export const make = (prefix: string, carried: Parameters = {}) => {
  const address = (path: string, parameters: Parameters = {}): string => {
    const params = new URLSearchParams()
    for (const [name, value] of Object.entries({ ...parameters, ...carried })) {
      for (const text of value === undefined ? [] : typeof value === "string" ? [value] : value) {
        params.append(name, text)
      }
    }
    const query = params.toString()
    return `${prefix}${path}${query === "" ? "" : `?${query}`}`
  }
  /** Adds `text` to the path if it can be a part of it, else as a parameter. */
  const withPart = (path: string, name: string, text: string, parameters: Parameters = {}): string =>
    plain(text) ? address(`${path}/${segment(text)}`, parameters) : address(path, { [name]: text, ...parameters })
  return {
    address,
    home: (parameters: Parameters = {}): string => address("/", parameters),
    /** `extra` are parameters that are not fields of the filter. */
    timeline: (filter: Query.FilterInput = {}, extra: Parameters = {}): string =>
      address("/timeline", { ...parametersOf(filter), ...extra }),
    live: (filter: Query.FilterInput, extra: Parameters = {}): string =>
      address("/timeline/live", { ...parametersOf(filter), ...extra }),
    actions: (filter: Query.FilterInput = {}, extra: Parameters = {}): string =>
      address("/actions", { ...parametersOf(filter), ...extra }),
    transaction: (id: string, parameters: Parameters = {}): string =>
      address(`/transactions/${segment(id)}`, parameters),
    row: (table: string, key: string, parameters: Parameters = {}): string =>
      plain(table) && plain(key)
        ? address(`/rows/${segment(table)}/${segment(key)}`, parameters)
        : address("/rows", { table, key, ...parameters }),
    request: (id: string, parameters: Parameters = {}): string => withPart("/requests", "id", id, parameters),
    correlation: (id: string, parameters: Parameters = {}): string => withPart("/correlations", "id", id, parameters),
    actor: (type: string, id: string | undefined, parameters: Parameters = {}): string =>
      id === undefined
        ? address(`/actors/${segment(type)}`, parameters)
        : withPart(`/actors/${segment(type)}`, "id", id, parameters),
    changes: (kind: ExportKind, filter: Query.FilterInput, extra: Parameters = {}): string =>
      address(`/exports/changes.${kind}`, { ...parametersOf(filter), ...extra }),
    download: (id: string): string => address(`/exports/${segment(id)}/download`),
    act: (act: Act): string => `${prefix}/${act}`
  }
}

export type Addresses = ReturnType<typeof make>

/** The parameters of a filter; none if it is not valid. */
const parametersOf = (filter: Query.FilterInput): Parameters =>
  Either.match(Query.filterFromInput(filter), {
    onLeft: () => ({}),
    onRight: (decoded) => {
      const params = new URLSearchParams(Query.filterToUrl(decoded))
      return Object.fromEntries([...new Set(params.keys())].map((name) => [name, params.getAll(name)]))
    }
  })

/** Whether an address is below this prefix, so that a form may send its viewer back to it. */
export const isOwn = (prefix: string, target: string): boolean => {
  if (!target.startsWith("/") || target.startsWith("//") || target.includes("\\") || control.test(target)) {
    return false
  }
  const url = new URL(target, "http://own.invalid")
  return url.host === "own.invalid" && (url.pathname === prefix || url.pathname.startsWith(`${prefix}/`))
}

/** A link that the host gave: a path of its own site, or an http(s) URL. Undefined for anything else. */
export const hostLink = (target: unknown): string | undefined => {
  if (typeof target !== "string" || control.test(target) || target.trim() !== target) {
    return undefined
  }
  if (/^\/(?![/\\])/.test(target)) {
    return target
  }
  try {
    const { protocol } = new URL(target)
    return protocol === "https:" || protocol === "http:" ? target : undefined
  } catch {
    return undefined
  }
}
