/** The contract of a screen: it reads through the services and returns a page, a redirect or a raw response. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { VNode } from "preact"
import type * as Audit from "../../Audit.js"
import type * as Context from "effect/Context"
import type * as Continuity from "../../Continuity.js"
import type * as Evidence from "../../Evidence.js"
import type * as Export from "../../Export.js"
import type * as ExportJobs from "../../ExportJobs.js"
import type * as Health from "../../Health.js"
import type * as Retention from "../../Retention.js"
import type * as Feed from "../../Feed.js"
import type * as Query from "../../Query.js"
import type * as SavedViews from "../../SavedViews.js"
import { InvalidRequest } from "../../ThreadlineError.js"
import type { Viewer } from "./access.js"
import type { Addresses } from "./address.js"
import type { ColumnsByTable, ReadColumns } from "./columnOrder.js"
import type { Question } from "./commandLine.js"
import type { Place } from "./design/Frame.js"
import type { Ongoing, Remembered } from "./remembered.js"
import type { Room } from "./site.js"

/** The services that screens read through, under the scope of the viewer. Only `query` is required. */
export interface Services {
  readonly query: Query.Service
  readonly exports: Option.Option<Export.Service>
  readonly feed: Option.Option<Context.Tag.Service<Feed.Feed>>
  readonly jobs: Option.Option<ExportJobs.Service>
  readonly health: Option.Option<Context.Tag.Service<Health.Health>>
  readonly retention: Option.Option<Retention.Service>
  readonly evidence: Option.Option<Evidence.Service>
  readonly continuity: Option.Option<Context.Tag.Service<Continuity.Continuity>>
  readonly views: Option.Option<SavedViews.Service>
  readonly audit: Option.Option<Context.Tag.Service<Audit.Audit>>
}

/** Named relations that the page of a row shows, by the name of its table. */
export type Relations = Readonly<Record<string, Readonly<Record<string, Query.Relation>>>>

/** What a page can do without, and the share of its timeout that it waits for it. */
export const dispensable = { count: 0.04, masks: 0.07, coverage: 0.08, views: 0.08, tables: 0.8, plan: 0.6 } as const

/** What a screen gets: the request, the viewer, and the services to read through. */
export interface ScreenContext {
  readonly services: Services
  readonly columnsOf: ReadColumns
  /** How long a page waits for something that it can do without. */
  readonly patience: (what: keyof typeof dispensable) => Duration.Duration
  /** A recent coverage of every table; undefined if there is none in time. */
  readonly coverageOf: (now: number) => Effect.Effect<Remembered<ReadonlyArray<Health.Coverage>> | undefined>
  /** The full report on coverage, and the policy of every table. Both are slow if there are many tables. */
  readonly reportOf: (now: number) => Effect.Effect<Ongoing<Continuity.Report>, unknown>
  readonly policiesOf: (now: number) => Effect.Effect<Ongoing<ReadonlyArray<Health.PolicyComparison>>, unknown>
  /** Formats of files that this process can write. */
  readonly formats: ReadonlyArray<Export.Format>
  readonly params: URLSearchParams
  readonly to: Addresses
  readonly viewer: Viewer
  readonly zone: string
  readonly now: number
  readonly relations: Relations
  /** What health compares the database with, from the host's configuration. */
  readonly health: Health.Options
  readonly retention: Retention.Policy | undefined
}

export interface Fewer {
  readonly items: number
  readonly of: (size: number) => Screened
}

export interface Page {
  readonly _tag: "Page"
  readonly status: number
  readonly title: string
  readonly place: Place
  readonly view: () => VNode
  readonly command?: Question | ReadonlyArray<Question> | undefined
  /** The text in the search box. */
  readonly searchText?: string | undefined
  /** The columns of the tables on the page, in their order. */
  readonly columns?: ColumnsByTable | undefined
  /** CSS rules of this page alone. They must not hold captured text. */
  readonly style?: string | undefined
  /** How many items the page lists, and how to make it with fewer items if it is too large. */
  readonly fewer?: Fewer | undefined
  /** The `Allow` header, if the request had a method that the address does not take. */
  readonly allow?: string | undefined
  /** True if long values are shortened before items are left out, because the link says how many items there were. */
  readonly keepsItems?: boolean | undefined
  /** The rooms to try, the largest first. All of them by default. */
  readonly rooms?: ReadonlyArray<Room> | undefined
}

/** Sends the viewer to another page. */
export interface Redirect {
  readonly _tag: "Redirect"
  readonly to: string
}

/** An answer that is not a page: a file, or a stream of events. */
export interface Raw {
  readonly _tag: "Raw"
  readonly response: Response
}

export type Screen = Page | Redirect | Raw

export const answer = (response: Response): Raw => ({ _tag: "Raw", response })

export const page = (page: Omit<Page, "_tag" | "status"> & { readonly status?: number }): Page => ({
  _tag: "Page",
  status: 200,
  ...page
})

export const redirect = (to: string): Redirect => ({ _tag: "Redirect", to })

export type Screened = Effect.Effect<Screen, unknown>

const instant = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)$/

/** The `limit` of an address; undefined if it has none. The service checks the upper bound. */
export const limitOf = (params: URLSearchParams): Effect.Effect<number | undefined, InvalidRequest> => {
  const text = params.get("limit")
  return text === null
    ? Effect.succeed(undefined)
    : /^[1-9]\d{0,3}$/.test(text)
      ? Effect.succeed(Number(text))
      : Effect.fail(new InvalidRequest({ field: "limit", rule: "must be a whole number from 1" }))
}

const checked =
  (rule: string, isValid: (text: string) => boolean) =>
  (field: string, text: string | undefined): Effect.Effect<void, InvalidRequest> =>
    text === undefined || isValid(text) ? Effect.void : Effect.fail(new InvalidRequest({ field, rule }))

/** Refuses a parameter that is not an instant. */
export const checkInstant = checked(
  "must be an instant with its zone, such as 2026-11-22T10:00:00Z",
  (text) => instant.test(text) && !Number.isNaN(Date.parse(text))
)

/** Refuses a parameter that is not an instant in UTC, because it is compared as text with instants of the record. */
export const checkUtc = checked(
  "must be an instant in UTC, such as 2026-11-22T10:00:00.000Z",
  (text) => instant.test(text) && /:\d\d(\.\d+)?Z$/.test(text) && !Number.isNaN(Date.parse(text))
)
