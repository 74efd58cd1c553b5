/** The changes that match a filter. The address holds the whole state of the page. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Either from "effect/Either"
import type { VNode } from "preact"
import * as Query from "../../../Query.js"
import { agreeing, shortTable } from "../../core/words.js"
import { kindsOfLists, labelOf } from "../exportKinds.js"
import { ChangeTable } from "../design/Changes.js"
import { Empty } from "../design/Empty.js"
import { Facts } from "../design/Facts.js"
import { Chips, FilterForm } from "../design/FilterForm.js"
import { tableOf } from "../design/Names.js"
import { Notice } from "../design/Notice.js"
import { Pager } from "../design/Pager.js"
import { digestOf, Seen, seenUntil } from "../design/Seen.js"
import { Text } from "../design/Text.js"
import { Time } from "../design/Time.js"
import { asLinked, type Listing, nextCursor, read, usualWindow } from "../filterForm.js"
import { masked } from "../masks.js"
import { write } from "../qualifiers.js"
import { page, type ScreenContext, type Screened } from "../screen.js"
import { briefRooms, useSite } from "../site.js"
import { ownerOf, SaveForm } from "./views.js"
import { durationName } from "../zone.js"

/** Changes are counted up to this number. */
const cap = 10_000

const numbers = new Intl.NumberFormat("en")

export const counted = (count: number): string => numbers.format(count)

export const plural = (count: number, one: string, several?: string): string =>
  `${counted(count)} ${agreeing(count, one, several)}`

const redactions = (changes: ReadonlyArray<Query.Change>): number =>
  changes.reduce(
    (sum, change) =>
      sum + Query.fieldDiffs(change).filter(({ after, before }) => after === masked || before === masked).length,
    0
  )

const about = ({ filter, since }: Listing): string => {
  const { action, actor, op, table } = filter
  return [
    op === undefined ? "changes" : `${op.join(" or ")} changes`,
    table === undefined ? "" : ` to ${table.map(shortTable).join(" and ")}`,
    filter.key === undefined ? "" : ` ${typeof filter.key === "string" ? filter.key : ""}`,
    actor === undefined ? "" : ` by ${actor.type.replace("_", " ")}${actor.id === undefined ? "" : ` ${actor.id}`}`,
    filter.unattributed === true ? " by nobody known" : "",
    action === undefined ? "" : `, ${action.join(" or ")}`,
    since === undefined || since === "all" ? "" : `, ${durationName(since)}`
  ].join("")
}

const Window = ({ listing }: { readonly listing: Listing }): VNode | null => {
  const { zone } = useSite()
  const { filter, since } = listing
  if (since === "all") {
    return <>, all time</>
  }
  if (since !== undefined) {
    return <> ({zone})</>
  }
  return (
    <>
      {filter.from === undefined ? null : (
        <>
          {" "}
          since <Time at={filter.from} />
        </>
      )}
      {filter.to === undefined ? null : (
        <>
          {" "}
          until <Time at={filter.to} />
        </>
      )}
      {filter.from === undefined && filter.to === undefined ? ", all time" : ` ${zone}`}
    </>
  )
}

interface Answer {
  readonly listing: Listing
  readonly changes: ReadonlyArray<Query.Change>
  readonly next: string | undefined
  readonly partial: boolean
  readonly count: Query.Count | undefined
  /** Whether the viewer can see any change at all. It is only read if this list is empty. */
  readonly anything: boolean
  readonly following: boolean
  readonly canFollow: boolean
  readonly canExport: boolean
  readonly canSave: boolean
}

/** The way to the tables that are captured, for viewers who may see them. */
export const CoverageLink = (): VNode | null => {
  const { offers, to, viewer } = useSite()
  return offers.coverage && viewer.may("coverage") ? (
    <p>
      <a href={to.address("/coverage")}>See which tables are captured</a>
    </p>
  ) : null
}

const Nothing = ({ anything, listing }: Answer): VNode => {
  const { to } = useSite()
  const { filter } = listing
  if (!anything) {
    return (
      <Empty title="Nothing is recorded yet">
        <p>No change was captured that you may see. Changes appear here as soon as a captured table is written to.</p>
        <CoverageLink />
      </Empty>
    )
  }
  const open = { ...filter, from: undefined, to: undefined, cursor: undefined }
  return (
    <Empty title="No change matches">
      <p>There are changes, but none that this filter lets through. Take a filter off above, or ask for more time.</p>
      <p>
        <a href={to.timeline(open, { since: "all" })}>The same filter over all time</a> ·{" "}
        <a href={to.timeline()}>All changes of the last 24 hours</a>
      </p>
    </Empty>
  )
}

/** How many changes there are, of what, and what is shown of them. */
const Summary = ({ changes, count, listing, next, partial }: Answer): VNode => {
  const transactions = new Set(changes.map(({ transactionId }) => transactionId)).size
  const hidden = redactions(changes)
  const exact = count?.exact === true
  return (
    <Facts>
      <b>
        {count === undefined
          ? next === undefined && listing.filter.cursor === undefined && !partial
            ? counted(changes.length)
            : "Many"
          : `${counted(count.count)}${exact ? "" : "+"}`}
      </b>{" "}
      <Text text={about(listing)} limit={400} />
      <Window listing={listing} />
      {changes.length === 0 ? null : (
        <>
          {exact && count.count === changes.length ? ", " : `; here ${plural(changes.length, "change")} `}
          in {plural(transactions, "transaction")}
          {hidden === 0 ? "" : `, ${plural(hidden, "field")} redacted`}
        </>
      )}
      .
    </Facts>
  )
}

/** Begins to follow the list, or ends that. */
const Following = ({ following, listing }: Answer): VNode => {
  const { to } = useSite()
  const { extra, filter } = asLinked(listing)
  const follow = to.timeline(filter, { ...extra, follow: "on" })
  return following ? (
    <>
      <span id="followed" role="status">
        Follows with a script; without one, <a href={follow}>load again</a>
      </span>
      <a href={to.timeline(filter, extra)}>Stop following</a>
    </>
  ) : (
    <a href={follow}>Follow</a>
  )
}

/** The last instant that the page shows. */
const seenOf = (now: number, changes: ReadonlyArray<Query.Change>): string =>
  seenUntil(
    now,
    changes.map(({ capturedAt }) => capturedAt)
  )

/**
 * A link to exactly what is shown, without later changes. The first page ends at an instant. A later page begins at its cursor, which
 * belongs to this filter, and ends after as many items.
 */
const PinnedLink = ({ changes, listing }: Answer): VNode => {
  const { now, to } = useSite()
  const { filter } = listing
  const end = filter.to ?? (filter.cursor === undefined ? seenOf(now, changes) : undefined)
  return (
    <a
      href={to.timeline(
        { ...filter, to: end, limit: undefined },
        {
          ...keptParameters(listing),
          ...(changes.length === 0 ? {} : { limit: String(changes.length) }),
          seen: digestOf(changes.map(({ id }) => id))
        }
      )}
    >
      Link to exactly this
    </a>
  )
}

/** Files of everything that the filter lets through, up to what is seen. */
const ExportLinks = ({ changes, listing: { filter } }: Answer): VNode => {
  const { now, offers, to } = useSite()
  const whole = {
    ...filter,
    to: filter.to ?? seenOf(now, changes),
    cursor: undefined,
    order: undefined,
    limit: undefined
  }
  return (
    <span>
      Export{" "}
      {kindsOfLists(offers.formats).map((kind, index) => (
        <>
          {index === 0 ? "" : " · "}
          <a href={to.changes(kind, whole)}>{labelOf(kind)}</a>
        </>
      ))}
      {offers.exports ? (
        <>
          {" · "}
          <a
            href={to.address("/exports", {
              filter: Either.match(Query.filterFromInput(whole), {
                onLeft: () => "",
                onRight: (all) => write(all)
              })
            })}
          >
            later
          </a>
        </>
      ) : null}
    </span>
  )
}

/** The changes of the page, and the ways to those before and after it. */
const List = ({ changes, listing, next, partial }: Answer): VNode => {
  const { to } = useSite()
  const { back, filter } = listing
  const { cursor } = filter
  const before = back.at(-1)
  const newer =
    cursor === undefined
      ? undefined
      : before === undefined || before === "-"
        ? to.timeline({ ...filter, cursor: undefined }, keptParameters(listing))
        : to.timeline({ ...filter, cursor: before }, { back: back.slice(0, -1), ...keptParameters(listing) })
  const older =
    next === undefined
      ? undefined
      : to.timeline(
          { ...filter, cursor: next },
          { back: [...back, cursor ?? "-"].slice(-12), ...keptParameters(listing) }
        )
  return (
    <>
      {changes.length === 0 ? (
        <Notice>
          <span>Nothing among the changes that were looked at. The search goes on with the next page.</span>
        </Notice>
      ) : (
        <ChangeTable caption={`${about(listing)}, ${filter.order} first`} changes={changes} />
      )}
      <Pager
        newer={newer}
        newerName={filter.order === "oldest" ? "← Earlier" : "← Newer"}
        older={older}
        olderName={filter.order === "oldest" ? "Later →" : "Older →"}
      >
        {partial ? "Searched a part; go on for the rest" : plural(changes.length, "change")}
      </Pager>
    </>
  )
}

const View = (answer: Answer): VNode => {
  const { canExport, canFollow, canSave, changes, listing, partial } = answer
  const { to } = useSite()
  const { cursor, to: until } = listing.filter
  return (
    <>
      <h1>Timeline</h1>
      <Summary {...answer} />
      <Seen seen={listing.seen} ids={changes.map(({ id }) => id)} />
      <FilterForm
        action={new URL(to.timeline(), "http://own.invalid").pathname}
        listing={listing}
        tables={[...new Set(changes.map(tableOf))].sort()}
      />
      <Chips
        listing={listing}
        link={(filter, since) =>
          to.timeline(filter, filter.from === undefined && filter.to === undefined ? { since } : {})
        }
      >
        {canFollow && cursor === undefined && until === undefined ? <Following {...answer} /> : null}
        <PinnedLink {...answer} />
        {canExport ? <ExportLinks {...answer} /> : null}
      </Chips>
      {canSave ? <SaveForm listing={listing} /> : null}
      {changes.length === 0 && !partial ? <Nothing {...answer} /> : <List {...answer} />}
    </>
  )
}

/** The parameters that other pages of this list keep. A moving window is not one: its instants are in the filter. */
const keptParameters = ({ filter, limit, since }: Listing): { readonly since?: string; readonly limit?: string } => ({
  ...(since === "all" && filter.from === undefined && filter.to === undefined ? { since: "all" } : {}),
  ...(limit === undefined ? {} : { limit: String(limit) })
})

/** Changes per page by default. So many nearly always fit. */
const usual = 20

/** What need not be read again for the same page with fewer changes. */
type Known = Pick<Answer, "count">

export const timeline = (context: ScreenContext): Screened => ofSize(context, undefined)

const ofSize = (context: ScreenContext, size: number | undefined, known?: Known): Screened =>
  Either.match(read(context.params, context.zone, context.now), {
    onLeft: (error) => Effect.fail(error),
    onRight: (listing) =>
      Effect.gen(function* () {
        const { exports, feed, query } = context.services
        const { filter } = listing
        const { cursor: _, limit: __, ...whole } = filter
        const [{ items, partial, ...rest }, count] = yield* Effect.all(
          [
            query.timeline({ ...filter, limit: size ?? listing.limit ?? usual }),
            known === undefined
              ? query
                  .count(whole, { cap })
                  .pipe(Effect.timeout(context.patience("count")), Effect.option, Effect.map(Option.getOrUndefined))
              : Effect.succeed(known.count)
          ],
          { concurrency: "unbounded" }
        )
        const columns = yield* context.columnsOf(items.map(tableOf))
        const anything = items.length > 0 || (yield* query.timeline({ limit: 1 })).items.length > 0
        const answer: Answer = {
          listing,
          changes: items,
          next: nextCursor(rest),
          partial,
          count,
          anything,
          following: context.params.get("follow") === "on",
          canFollow: feed._tag === "Some",
          canSave: context.services.views._tag === "Some" && ownerOf(context.viewer) !== undefined,
          canExport: exports._tag === "Some" && context.viewer.may("export")
        }
        const { extra, filter: linked } = asLinked(listing)
        return page({
          title: `Timeline: ${about(listing)}`,
          place: "timeline",
          command: { _tag: "Timeline", filter, since: listing.since },
          columns,
          fewer: { items: items.length, of: (fewer) => ofSize(context, fewer, { count }) },
          // A list shows at most five fields of a change. Fewer changes are easier to read than fewer fields.
          rooms: items.length > 1 && listing.seen === undefined ? briefRooms : undefined,
          keepsItems: listing.seen !== undefined,
          searchText:
            context.params.get("q") ??
            write(
              { ...filter, ...(listing.since === undefined ? {} : { from: undefined }) },
              listing.since === usualWindow ? undefined : listing.since
            ),
          view: () => (
            <div {...(answer.following ? { "data-follow": context.to.live(linked, extra) } : {})}>
              <View {...answer} />
            </div>
          )
        })
      })
  })
