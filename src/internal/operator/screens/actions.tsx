/** The list of actions, failed ones included. */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type { VNode } from "preact"
import type * as Query from "../../../Query.js"
import { ActionTable } from "../design/Actions.js"
import { Empty } from "../design/Empty.js"
import { Facts } from "../design/Facts.js"
import { Chips, FilterForm } from "../design/FilterForm.js"
import { Pager } from "../design/Pager.js"
import { type Listing, nextCursor, read } from "../filterForm.js"
import { page, type ScreenContext, type Screened } from "../screen.js"
import { useSite } from "../site.js"
import { durationName } from "../zone.js"
import { plural } from "./timeline.js"

const View = ({
  actions,
  listing,
  next
}: {
  readonly actions: ReadonlyArray<Query.Action>
  readonly listing: Listing
  readonly next: string | undefined
}): VNode => {
  const { to, zone } = useSite()
  const { filter, since } = listing
  const failed = actions.filter(({ status }) => status === "error").length
  const before = listing.back.at(-1)
  return (
    <>
      <h1>Actions</h1>
      <Facts>
        <b>
          {next === undefined ? "" : "More than "}
          {plural(actions.length, "action")}
        </b>
        {failed === 0 ? "" : `, ${failed} failed`}
        {since === undefined || since === "all" ? "" : `, ${durationName(since)} (${zone})`}.
      </Facts>
      <FilterForm
        actionsOnly
        action={new URL(to.actions(), "http://own.invalid").pathname}
        listing={listing}
        tables={[]}
      />
      <Chips
        listing={listing}
        link={(filter, since) =>
          to.actions(filter, filter.from === undefined && filter.to === undefined ? { since } : {})
        }
      />
      {actions.length === 0 ? (
        <Empty title="No action matches">
          <p>
            An action is what the application meant by a transaction. Take a filter off above, or ask for more time.
          </p>
          <p>
            <a href={to.actions({}, { since: "all" })}>All actions</a>
          </p>
        </Empty>
      ) : (
        <>
          <ActionTable caption="Actions, newest first" actions={actions} />
          <Pager
            newer={
              filter.cursor === undefined
                ? undefined
                : before === undefined || before === "-"
                  ? to.actions({ ...filter, cursor: undefined }, since === "all" ? { since } : {})
                  : to.actions(
                      { ...filter, cursor: before },
                      { back: listing.back.slice(0, -1), ...(since === "all" ? { since } : {}) }
                    )
            }
            older={
              next === undefined
                ? undefined
                : to.actions(
                    { ...filter, cursor: next },
                    { back: [...listing.back, filter.cursor ?? "-"].slice(-12), ...(since === "all" ? { since } : {}) }
                  )
            }
          >
            {plural(actions.length, "action")}
          </Pager>
        </>
      )}
    </>
  )
}

export const actions = (context: ScreenContext): Screened => ofSize(context, undefined)

/** Actions per page by default. So many nearly always fit. */
const usual = 40

const ofSize = (context: ScreenContext, size: number | undefined): Screened =>
  Either.match(read(context.params, context.zone, context.now), {
    onLeft: (error) => Effect.fail(error),
    onRight: (listing) =>
      Effect.map(
        context.services.query.actions({ ...listing.filter, limit: size ?? listing.limit ?? usual }),
        (found) =>
          page({
            title: "Actions",
            place: "actions",
            fewer: { items: found.items.length, of: (fewer) => ofSize(context, fewer) },
            command: { _tag: "Actions", filter: listing.filter, since: listing.since },
            view: () => <View actions={found.items} listing={listing} next={nextCursor(found)} />
          })
      )
  })
