/**
 * Reads the query of a list page: the fields of a filter, and the parameters that only pages have.
 */
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Json from "../../Json.js"
import * as Query from "../../Query.js"
import { InvalidRequest } from "../../ThreadlineError.js"
import { spanOf } from "../core/span.js"
import { dayOf, instantOfLocal } from "./zone.js"

/** Parameters of pages that are not fields of a filter. */
const own = ["tz", "since", "q", "back", "seen", "follow"] as const

export interface Listing {
  readonly filter: Query.Filter
  /**
   * `24h`: a window that ends now. `all`: no window. Undefined if the query has instants, or a filter that is narrow.
   */
  readonly since: string | undefined
  /** Cursors of the pages before this one, the nearest last. `-` stands for the first page. */
  readonly back: ReadonlyArray<string>
  /** The digest of what the page showed when the link to it was made (`design/Seen`). */
  readonly seen: string | undefined
  /** The `limit` of the address. `filter.limit` falls back to the library's default, which is too large for a page. */
  readonly limit: number | undefined
}

export const usualWindow = "24h"

/** With one of these fields, a filter is narrow enough to need no window. */
const narrow = ["key", "keyJson", "correlationId", "requestId", "jobId", "traceId", "transactionId"] as const

/** A time of the form as an instant. A day is its first one for `from`, its last one for `to`. */
const rewritten = (name: string, text: string, zone: string): string =>
  name === "from" || name === "to" ? (dayOf(text, zone)?.[name] ?? instantOfLocal(text, zone) ?? text) : text

/** The most pages before this one that a link remembers. */
const longestTrail = 12

/** Ignores empty fields of a form. Reads local times in `zone`. */
export const read = (params: URLSearchParams, zone: string, now: number): Either.Either<Listing, InvalidRequest> => {
  const rest = new URLSearchParams()
  for (const [name, text] of params) {
    const trimmed = text.trim()
    if (!own.some((ownName) => ownName === name) && trimmed !== "" && !(name === "op" && trimmed === "any")) {
      rest.append(name, rewritten(name, name === "key" ? text : trimmed, zone))
    }
  }
  const given = params.get("since")?.trim() ?? ""
  if (given !== "" && given !== "all" && spanOf(given) === undefined) {
    return Either.left(
      new InvalidRequest({ field: "since", rule: "must be `all` or a duration such as 90m, 24h or 7d" })
    )
  }
  const hasTimes = rest.has("from") || rest.has("to")
  const since =
    hasTimes && given === ""
      ? undefined
      : given === "all" || spanOf(given) !== undefined
        ? given
        : narrow.some((name) => rest.has(name))
          ? undefined
          : usualWindow
  const duration = since === undefined ? undefined : spanOf(since)?.millis
  if (duration !== undefined) {
    rest.set("from", new Date(now - duration).toISOString())
  }
  return Either.map(Query.filterFromUrl(rest.toString()), (filter) => ({
    filter,
    since,
    back: params.getAll("back").slice(-longestTrail),
    seen: params.get("seen") ?? undefined,
    limit: rest.has("limit") ? filter.limit : undefined
  }))
}

type Parameters = Readonly<Record<string, string | ReadonlyArray<string> | undefined>>

/** The filter and the parameters of a link to the same list. A moving window is in `since`, not in `from`. */
export const asLinked = ({
  filter,
  since
}: Listing): { readonly filter: Query.FilterInput; readonly extra: Parameters } =>
  since === undefined
    ? { filter, extra: {} }
    : { filter: { ...filter, from: undefined }, extra: { since: since === usualWindow ? undefined : since } }

/** One field of a filter as a chip, and the filter without that field. */
export interface Chip {
  readonly name: string
  readonly text: string
  readonly without: Query.FilterInput
}

const names: Readonly<Record<string, string>> = {
  table: "table",
  schema: "schema",
  key: "row",
  op: "operation",
  contains: "contains",
  changedField: "changed",
  actor: "by",
  impersonator: "impersonator",
  actorLabel: "label",
  unattributed: "no actor",
  action: "action",
  actionStatus: "action",
  correlationId: "correlation",
  includeCaptureOnly: "also without action",
  requestId: "request",
  jobId: "job",
  traceId: "trace",
  source: "source",
  meta: "meta",
  dbUser: "database user",
  transactionId: "transaction",
  from: "since",
  to: "until",
  order: "order"
}

const textOf = (field: string, value: unknown): string => {
  if (field === "unattributed" || field === "includeCaptureOnly") {
    return ""
  }
  if (Array.isArray(value) && field !== "key") {
    return value.join(" or ")
  }
  if ((field === "actor" || field === "impersonator") && isActorFilter(value)) {
    return value.id === undefined ? value.type : `${value.type}:${value.id}`
  }
  return typeof value === "string"
    ? value
    : typeof value === "object" && value !== null
      ? Json.stringify(value)
      : String(value)
}

const isActorFilter = (value: unknown): value is Query.ActorInput =>
  typeof value === "object" && value !== null && "type" in value && typeof value.type === "string"

/** One chip for each field of a filter. */
export const chipsOf = ({ filter, since }: Listing): ReadonlyArray<Chip> =>
  Object.entries(filter).flatMap(([field, value]): ReadonlyArray<Chip> => {
    const name = names[field]
    if (
      value === undefined ||
      name === undefined ||
      value === false ||
      (field === "order" && value === "newest") ||
      (field === "from" && since !== undefined)
    ) {
      return []
    }
    const base: Query.FilterInput = {
      ...filter,
      cursor: undefined,
      ...(since === undefined ? {} : { from: undefined })
    }
    const dependent: Query.FilterInput =
      field === "table" ? { key: undefined } : field === "correlationId" ? { includeCaptureOnly: undefined } : {}
    return [{ name, text: textOf(field, value), without: { ...base, ...dependent, [field]: undefined } }]
  })

export const nextCursor = (page: { readonly nextCursor: Option.Option<string> }): string | undefined =>
  Option.getOrUndefined(page.nextCursor)

/** A local time in the form that an input of type `datetime-local` takes. */
export const localText = (iso: string, time: string, fraction: string): string =>
  `${iso}T${time}${fraction.slice(0, 4)}`
