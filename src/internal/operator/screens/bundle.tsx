/** Everything of one request, of one correlation, or of one actor in a window: actions, transactions and changes. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { ComponentChildren, VNode } from "preact"
import * as Actor from "../../../Actor.js"
import type * as PageOf from "../../../Page.js"
import type * as Query from "../../../Query.js"
import { InvalidRequest } from "../../../ThreadlineError.js"
import { spanOf } from "../../core/span.js"
import type { ColumnsByTable } from "../columnOrder.js"
import type { Question } from "../commandLine.js"
import { ActionTable } from "../design/Actions.js"
import { ChangeTable } from "../design/Changes.js"
import { Copy } from "../design/Copy.js"
import { Empty } from "../design/Empty.js"
import { Facts } from "../design/Facts.js"
import { actorText, tableOf } from "../design/Names.js"
import { Text } from "../design/Text.js"
import { Time } from "../design/Time.js"
import { actorLinkOf, labelOf, useSite } from "../site.js"
import { type Fewer, page, type ScreenContext, type Screened } from "../screen.js"
import { durationName } from "../zone.js"
import { plural } from "./timeline.js"

/** Items per list by default. */
const usual = 16

const more = (listed: PageOf.Page<unknown>): string => (listed.hasMore ? "more than " : "")

interface Shown {
  readonly bundle: Query.Bundle
  readonly columns: ColumnsByTable
  readonly changesLink: string
  readonly actionsLink: string
  readonly fewer: Fewer
}

const Lists = ({ actionsLink, bundle, changesLink }: Shown): VNode => {
  const { actions, changes } = bundle
  return (
    <>
      {actions.items.length === 0 ? null : (
        <section>
          <h2>Actions</h2>
          <ActionTable caption="Actions, newest first" actions={actions.items} />
          <p class="sub">{actions.hasMore ? <a href={actionsLink}>All actions</a> : null}</p>
        </section>
      )}
      <section>
        <h2>Changes</h2>
        {changes.items.length === 0 ? (
          <p class="dim">{changes.partial ? "None among those that were looked at." : "No change."}</p>
        ) : (
          <ChangeTable caption="Changes, newest first" changes={changes.items} />
        )}
        <p class="sub">
          <a href={changesLink}>{changes.hasMore ? "All changes" : "As a timeline"}</a>
        </p>
      </section>
    </>
  )
}

const Counts = ({ bundle }: { readonly bundle: Query.Bundle }): VNode => {
  const { actions, changes, transactions } = bundle
  const failed = actions.items.filter(({ status }) => status === "error").length
  return (
    <>
      <b>
        {more(changes)}
        {plural(changes.items.length, "change")}
      </b>{" "}
      in {more(transactions)}
      {plural(transactions.items.length, "transaction")}, {more(actions)}
      {plural(actions.items.length, "action")}
      {failed === 0 ? "" : `, ${failed} of them failed`}
    </>
  )
}

const isEmpty = ({ actions, changes, transactions }: Query.Bundle): boolean =>
  actions.items.length + changes.items.length + transactions.items.length === 0 &&
  !changes.partial &&
  !transactions.partial

const Times = ({ bundle }: { readonly bundle: Query.Bundle }): VNode | null => {
  const times = [
    ...bundle.actions.items.map(({ occurredAt }) => occurredAt),
    ...bundle.changes.items.map(({ capturedAt }) => capturedAt)
  ].sort()
  const [first, last] = [times[0], times.at(-1)]
  return first === undefined || last === undefined ? null : (
    <>
      {" "}
      from <Time at={first} /> to <Time at={last} live zoned />
    </>
  )
}

const Found = ({
  children,
  heading,
  id,
  shown
}: {
  readonly heading: string
  readonly id: string
  readonly shown: Shown
  readonly children?: ComponentChildren
}): VNode => (
  <>
    <h1>
      {heading}{" "}
      <code>
        <Text text={id} limit={256} />
      </code>
      <Copy text={id} name="the id" />
    </h1>
    {isEmpty(shown.bundle) ? (
      <Empty title="Nothing is recorded under this id">
        <p>It may be spelt differently, out of your scope, or older than what is kept.</p>
      </Empty>
    ) : (
      <>
        <Facts>
          <Counts bundle={shown.bundle} />
          <Times bundle={shown.bundle} />.
        </Facts>
        {children}
        <Lists {...shown} />
      </>
    )}
  </>
)

const foundSection = (heading: string, id: string, question: Question, shown: Shown) =>
  page({
    title: `${heading} ${id}`,
    status: isEmpty(shown.bundle) ? 404 : 200,
    place: "timeline",
    command: question,
    columns: shown.columns,
    fewer: shown.fewer,
    view: () => <Found heading={heading} id={id} shown={shown} />
  })

const withColumns = <E,>(context: ScreenContext, read: Effect.Effect<Query.Bundle, E>) =>
  Effect.flatMap(read, (bundle) =>
    Effect.map(context.columnsOf(bundle.changes.items.map(tableOf)), (columns) => [bundle, columns] as const)
  )

/** The same page with fewer items in each list. */
const fewerOf = (bundle: Query.Bundle, of: Fewer["of"]): Fewer => ({
  items: Math.max(bundle.actions.items.length, bundle.changes.items.length),
  of
})

export const correlation =
  (id: string, limit = usual) =>
  (context: ScreenContext): Screened => {
    const {
      services: { query },
      to
    } = context
    return Effect.map(withColumns(context, query.correlation(id, { limit })), ([bundle, columns]) =>
      foundSection(
        "Correlation",
        id,
        { _tag: "Correlation", id },
        {
          bundle,
          columns,
          fewer: fewerOf(bundle, (size) => correlation(id, size)(context)),
          changesLink: to.timeline({ correlationId: id, includeCaptureOnly: true }),
          actionsLink: to.actions({ correlationId: id })
        }
      )
    )
  }

export const request =
  (id: string, limit = usual) =>
  (context: ScreenContext): Screened => {
    const {
      services: { query },
      to
    } = context
    return Effect.map(
      withColumns(
        context,
        Effect.all(
          {
            changes: query.timeline({ requestId: id, limit }),
            transactions: query.transactions({ requestId: id, limit }),
            actions: query.actions({ requestId: id, limit })
          },
          { concurrency: "unbounded" }
        )
      ),
      ([bundle, columns]) =>
        foundSection(
          "Request",
          id,
          { _tag: "Request", id },
          {
            bundle,
            columns,
            fewer: fewerOf(bundle, (size) => request(id, size)(context)),
            changesLink: to.timeline({ requestId: id }),
            actionsLink: to.actions({ requestId: id })
          }
        )
    )
  }

const ActorType = Schema.Literal(...Actor.types)

const isActorType = Schema.is(ActorType)

const presets = ["1h", "24h", "7d", "30d", "all"] as const

const ActorView = ({
  actor,
  since,
  shown
}: {
  readonly actor: Query.ActorInput
  readonly since: string
  readonly shown: Shown
}): VNode => {
  const site = useSite()
  const { to, zone } = site
  const known =
    shown.bundle.changes.items.find(({ transaction }) => transaction.actor !== null)?.transaction.actor ??
    shown.bundle.actions.items.find(({ actor }) => actor !== null)?.actor
  const host = known === null || known === undefined || actor.id === undefined ? undefined : known
  const label = host === undefined ? undefined : (labelOf(site, { _tag: "Actor", actor: host }) ?? host.label)
  const link = host === undefined ? undefined : actorLinkOf(site, host)
  return (
    <>
      <h1>
        <Text
          text={
            actor.id === undefined
              ? `Every ${actor.type.replace("_", " ")}`
              : actorText({ type: actor.type === "anonymous" ? "user" : actor.type, id: actor.id })
          }
          limit={256}
        />
        {label === undefined ? null : (
          <>
            {" · "}
            <Text text={label} limit={256} />
          </>
        )}
        {link === undefined ? null : (
          <a class="host" href={link} rel="noreferrer">
            open in the application ↗
          </a>
        )}
      </h1>
      <Facts>
        {isEmpty(shown.bundle) ? "Nothing" : <Counts bundle={shown.bundle} />},{" "}
        {since === "all" ? "all time" : `${durationName(since)} (${zone})`}.
      </Facts>
      <ul class="chips" aria-label="Window">
        {presets.map((preset) => (
          <li key={preset}>
            {preset === since ? (
              <b aria-current="true">{preset === "all" ? "all time" : durationName(preset)}</b>
            ) : (
              <a href={to.actor(actor.type, actor.id, { since: preset })}>
                {preset === "all" ? "all time" : durationName(preset)}
              </a>
            )}
          </li>
        ))}
      </ul>
      {isEmpty(shown.bundle) ? (
        <Empty title="Nothing in this window">
          <p>The actor did nothing then that is recorded and that you may see.</p>
          <p>
            <a href={to.actor(actor.type, actor.id, { since: "all" })}>Look over all time</a>
          </p>
        </Empty>
      ) : (
        <Lists {...shown} />
      )}
    </>
  )
}

export const actor =
  (type: string, id: string | undefined, limit = usual) =>
  (context: ScreenContext): Screened =>
    Effect.gen(function* () {
      const {
        now,
        params,
        services: { query },
        to
      } = context
      if (!isActorType(type)) {
        return yield* new InvalidRequest({
          field: "actor",
          rule: `must be of a type: ${ActorType.literals.join(", ")}`
        })
      }
      const since = params.get("since") ?? "30d"
      const duration = spanOf(since)?.millis
      if (duration === undefined && since !== "all") {
        return yield* new InvalidRequest({ field: "since", rule: "must be a time such as 90m, 12h, 7d or 2w, or all" })
      }
      const from = duration === undefined ? undefined : new Date(now - duration).toISOString()
      const named = id === undefined ? { type } : { type, id }
      const [bundle, columns] = yield* withColumns(
        context,
        query.actorWindow(named, from === undefined ? { limit } : { from, limit })
      )
      const shown: Shown = {
        bundle,
        columns,
        fewer: fewerOf(bundle, (size) => actor(type, id, size)(context)),
        changesLink: to.timeline({ actor: named }, { since }),
        actionsLink: to.actions({ actor: named }, { since })
      }
      return page({
        title: `${type} ${id ?? ""}`.trim(),
        place: "timeline",
        command: { _tag: "Actor", type, id, from, to: undefined },
        columns: shown.columns,
        fewer: shown.fewer,
        view: () => <ActorView actor={named} since={since} shown={shown} />
      })
    })
