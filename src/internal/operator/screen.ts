/** What a screen is: it reads through the services, and gives a view. */
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
import type { AskColumns, ColumnsByTable } from "./columnOrder.js"
import type { Question } from "./commandLine.js"
import type { Place } from "./design/Frame.js"
import type { Ongoing, Remembered } from "./remembered.js"
import type { Room } from "./site.js"

/** The services that screens read through, under the scope of the viewer. All but one are optional. */
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

/** Relations that a row is shown with, by the name of its table: each with a name of its own. */
export type Relations = Readonly<Record<string, Readonly<Record<string, Query.Relation>>>>

/** What a page can do without, and the part of its time that it waits for that. */
export const dispensable = { count: 0.04, masks: 0.07, coverage: 0.08, views: 0.08, tables: 0.8, plan: 0.6 } as const

/** What a screen is asked. */
export interface Asked {
  readonly services: Services
  readonly columnsOf: AskColumns
  /** How long the page waits for what it can do without. */
  readonly patience: (what: keyof typeof dispensable) => Duration.Duration
  /** The coverage of every table as it was seen lately; undefined if it could not be seen in time. */
  readonly coverageOf: (now: number) => Effect.Effect<Remembered<ReadonlyArray<Health.Coverage>> | undefined>
  /** What coverage says in full, and the policy of every table: both take their time if there are many tables. */
  readonly reportOf: (now: number) => Effect.Effect<Ongoing<Continuity.Report>, unknown>
  readonly policiesOf: (now: number) => Effect.Effect<Ongoing<ReadonlyArray<Health.PolicyComparison>>, unknown>
  /** What files can be made of. */
  readonly formats: ReadonlyArray<Export.Format>
  readonly params: URLSearchParams
  readonly to: Addresses
  readonly viewer: Viewer
  readonly zone: string
  readonly now: number
  readonly relations: Relations
  /** What health compares with, as the host's configuration says. */
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
  /** What the search box shows. */
  readonly asked?: string | undefined
  /** The order of the fields of the tables that it shows. */
  readonly columns?: ColumnsByTable | undefined
  /** Rules of numbers and names of ours alone. */
  readonly style?: string | undefined
  /** How many items the page lists, and the same page with fewer, if it is too large. */
  readonly fewer?: Fewer | undefined
  /** The methods that the address takes, if it was asked by another one. */
  readonly allow?: string | undefined
  /** True if long things are shortened before items are left out: a link says how many there were. */
  readonly keepsItems?: boolean | undefined
  /** The rooms that are tried, the largest first; all of them by default. */
  readonly rooms?: ReadonlyArray<Room> | undefined
}

/** The viewer is sent to another page. */
export interface Redirect {
  readonly _tag: "Redirect"
  readonly to: string
}

/** An answer that is no page: a file, or events. */
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

/** How many items a link asks for; undefined if it does not say. The service knows how many there may be. */
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

/** Refuses a parameter that is no instant. */
export const checkInstant = checked(
  "must be an instant with its zone, such as 2026-11-22T10:00:00Z",
  (text) => instant.test(text) && !Number.isNaN(Date.parse(text))
)

/** The same in UTC: it is compared with instants of the record as they are written. */
export const checkUtc = checked(
  "must be an instant in UTC, such as 2026-11-22T10:00:00.000Z",
  (text) => instant.test(text) && /:\d\d(\.\d+)?Z$/.test(text) && !Number.isNaN(Date.parse(text))
)
