/** One transaction: who, why and from where, its changes with their diffs, and related transactions. */
import * as Effect from "effect/Effect"
import type { VNode } from "preact"
import type * as Query from "../../../Query.js"
import { Tag } from "../design/Badge.js"
import { ChangeArticle } from "../design/Changes.js"
import { Copy } from "../design/Copy.js"
import { Empty } from "../design/Empty.js"
import { Facts } from "../design/Facts.js"
import { JsonView } from "../design/JsonView.js"
import { type Entry, KeyValue } from "../design/KeyValue.js"
import { ActionName, ActorName, actorText, CorrelationName, RequestName, RowName } from "../design/Names.js"
import { Notice } from "../design/Notice.js"
import { Pager } from "../design/Pager.js"
import { Panel } from "../design/Panel.js"
import { digestOf, Seen, seenUntil } from "../design/Seen.js"
import { Text } from "../design/Text.js"
import { Time } from "../design/Time.js"
import { nextCursor } from "../filterForm.js"
import { checkUtc, limitOf, page, type ScreenContext, type Screened } from "../screen.js"
import { useSite } from "../site.js"
import { plural } from "./timeline.js"

const text = (name: string, value: string | null): Entry | undefined =>
  value === null || value === ""
    ? undefined
    : {
        name,
        value: (
          <code>
            <Text text={value} limit={256} />
          </code>
        )
      }

const Context = ({ transaction }: { readonly transaction: Query.AuditTransaction }): VNode => {
  const { actor, correlationId, meta, requestId } = transaction
  return (
    <KeyValue
      entries={[
        {
          name: "Transaction",
          value: (
            <>
              <code>{transaction.id}</code>
              <Copy text={transaction.id} name="the transaction id" />
            </>
          )
        },
        {
          name: "Actor",
          value: actor === null ? <Tag tone="warn">no actor</Tag> : <ActorName actor={actor} impersonation={false} />
        },
        actor?.impersonator === undefined
          ? undefined
          : { name: "Really acted", value: <ActorName actor={actor.impersonator} /> },
        correlationId === null
          ? undefined
          : {
              name: "Correlation",
              value: (
                <>
                  <CorrelationName id={correlationId} />
                  <Copy text={correlationId} name="the correlation" />
                </>
              )
            },
        requestId === null
          ? undefined
          : {
              name: "Request",
              value: (
                <>
                  <RequestName id={requestId} />
                  <Copy text={requestId} name="the request" />
                </>
              )
            },
        text("Job", transaction.jobId),
        text("Trace", transaction.traceId),
        text("Source", transaction.source),
        text("Remote address", transaction.remoteIp),
        Object.keys(meta).length === 0 ? undefined : { name: "Meta", value: <JsonView value={meta} /> },
        text("Database user", transaction.dbUser),
        text("Application", transaction.applicationName),
        text("Client address", transaction.clientAddr)
      ]}
    />
  )
}

const ActionPanel = ({ action }: { readonly action: Query.Action }): VNode => (
  <Panel
    title={
      <>
        <Text text={action.name} limit={120} /> {action.status === "error" ? <Tag tone="bad">failed</Tag> : null}
      </>
    }
    aside={<Time at={action.occurredAt} />}
  >
    <KeyValue
      entries={[
        action.reason === null ? undefined : { name: "Reason", value: <Text text={action.reason} limit={2000} /> },
        action.comment === null ? undefined : { name: "Comment", value: <Text text={action.comment} limit={2000} /> },
        action.subject === null
          ? undefined
          : {
              name: "About",
              value: <Text text={`${action.subject.type ?? ""} ${action.subject.id ?? ""}`.trim()} limit={300} />
            },
        text("Verb", action.verb),
        text("Category", action.category),
        action.data === null ? undefined : { name: "Data", value: <JsonView value={action.data} /> },
        { name: "Action", value: <code>{action.id}</code> }
      ]}
    />
  </Panel>
)

const Others = ({
  list,
  more,
  title
}: {
  readonly title: string
  readonly list: ReadonlyArray<Query.Sibling>
  readonly more: boolean
}): VNode | null => {
  const { to } = useSite()
  return list.length === 0 ? null : (
    <Panel title={title} aside={more ? "the first 100" : undefined}>
      <ul class="list">
        {list.map(({ action, transaction }) => (
          <li key={transaction.id}>
            <a href={to.transaction(transaction.id)}>{transaction.id}</a>
            {action === null ? null : <ActionName action={action} transactionId={null} />}
            <span class="sub">
              {transaction.actor === null ? "no actor" : <Text text={actorText(transaction.actor)} limit={80} />}
            </span>
            <span class="end">
              <Time at={transaction.occurredAt} />
            </span>
          </li>
        ))}
      </ul>
    </Panel>
  )
}

/** The ids on the page, for the digest of a pinned link. */
const idsOf = ({ actions, changes, related, siblings }: Query.Incident): ReadonlyArray<string> => [
  ...changes.items.map(({ change }) => change.id),
  ...actions.map(({ id }) => `a${id}`),
  ...[...siblings, ...related].map(({ transaction }) => `t${transaction.id}`)
]

interface Link {
  /** Related transactions after this instant are not shown. */
  readonly until: string | undefined
  readonly seen: string | undefined
  readonly cursor: string | undefined
  /** The most changes of the page. */
  readonly limit: number | undefined
}

const upTo = (incident: Query.Incident, until: string | undefined): Query.Incident => ({
  ...incident,
  related: incident.related.filter(({ transaction }) => until === undefined || transaction.occurredAt <= until)
})

/** Who made how many changes, when and why. */
const Summary = ({ incident, link }: { readonly incident: Query.Incident; readonly link: Link }): VNode => {
  const { actions, changes, transaction } = incident
  const [first] = actions
  const tables = new Set(changes.items.map(({ change }) => `${change.tableSchema}.${change.tableName}`)).size
  const { actor } = transaction
  return (
    <Facts>
      <b>
        {actor === null ? (
          "Nobody known"
        ) : (
          <Text
            text={actor.label === undefined ? actorText(actor) : `${actorText(actor)} · ${actor.label}`}
            limit={160}
          />
        )}
      </b>
      {actor?.impersonator === undefined ? null : (
        <>
          , really <b>{<Text text={actorText(actor.impersonator)} limit={100} />}</b>,
        </>
      )}{" "}
      made{" "}
      <b>
        {changes.hasMore || link.cursor !== undefined ? "more than " : ""}
        {plural(changes.items.length, "change")}
      </b>{" "}
      in {plural(tables, "table")} on{" "}
      <b>
        <Time at={transaction.occurredAt} live zoned />
      </b>
      {first?.reason === null || first === undefined ? null : (
        <>
          {" "}
          because “<Text text={first.reason} limit={200} />”
        </>
      )}
      .
    </Facts>
  )
}

/** A link to exactly what is shown. */
const Pinned = ({ incident, link }: { readonly incident: Query.Incident; readonly link: Link }): VNode => {
  const { now, to } = useSite()
  const { changes, related, transaction } = incident
  return (
    <p class="sub">
      <a
        href={to.transaction(transaction.id, {
          cursor: link.cursor,
          limit: changes.items.length === 0 ? undefined : String(changes.items.length),
          until:
            link.until ??
            seenUntil(
              now,
              related.map(({ transaction }) => transaction.occurredAt)
            ),
          seen: digestOf(idsOf(incident))
        })}
      >
        Link to exactly this
      </a>
    </p>
  )
}

/** The changes, and the way to the first and the next ones. */
const ChangesOf = ({ incident, link }: { readonly incident: Query.Incident; readonly link: Link }): VNode => {
  const { to } = useSite()
  const { changes, transaction } = incident
  const back = link.cursor !== undefined
  const pin = link.until === undefined ? {} : { until: link.until }
  const next = nextCursor(changes)
  return (
    <>
      {changes.items.length === 0 ? (
        <Empty title="No change">
          <p>This transaction changed no captured row that is still kept and that you may see.</p>
        </Empty>
      ) : (
        changes.items.map((diff) => (
          <ChangeArticle
            key={diff.change.id}
            diff={diff}
            heading={
              <>
                <h3>
                  <RowName change={diff.change} at={diff.change.capturedAt} />
                </h3>
                <span class="sub mono end">
                  <Time at={diff.change.capturedAt} form="clock" />
                </span>
              </>
            }
          />
        ))
      )}
      {next === undefined && !back ? null : (
        <Pager
          newer={back ? to.transaction(transaction.id, pin) : undefined}
          newerName="← First changes"
          older={next === undefined ? undefined : to.transaction(transaction.id, { ...pin, cursor: next })}
          olderName="Next changes →"
        >
          {plural(changes.items.length, "change")}
        </Pager>
      )}
    </>
  )
}

const View = ({ incident, link }: { readonly incident: Query.Incident; readonly link: Link }): VNode => {
  const { actions, related, siblings, transaction } = incident
  const [first] = actions
  return (
    <>
      <h1>{first === undefined ? `Transaction ${transaction.id}` : <Text text={first.name} limit={120} />}</h1>
      <Summary incident={incident} link={link} />
      <Seen seen={link.seen} ids={idsOf(incident)} />
      <Pinned incident={incident} link={link} />
      {transaction.contextError === null ? null : (
        <Notice tone="warn">
          <b>A part of the context could not be recorded.</b>
          <Text text={transaction.contextError} limit={500} />
        </Notice>
      )}
      <div class="two">
        <div>
          <Context transaction={transaction} />
        </div>
        <div>
          {actions.map((action) => (
            <ActionPanel key={action.id} action={action} />
          ))}
          {incident.hasMoreActions ? <p class="sub">The first 100 actions are shown.</p> : null}
          <ChangesOf incident={incident} link={link} />
          <Others title="Parts of the same database transaction" list={siblings} more={incident.hasMoreSiblings} />
          <Others title="Other transactions of the same correlation" list={related} more={incident.hasMoreRelated} />
        </div>
      </div>
    </>
  )
}

export const transaction =
  (id: string, size?: number) =>
  (context: ScreenContext): Screened =>
    Effect.gen(function* () {
      const { params, services } = context
      const link: Link = {
        cursor: params.get("cursor") ?? undefined,
        until: params.get("until") ?? undefined,
        seen: params.get("seen") ?? undefined,
        limit: size ?? (yield* limitOf(params))
      }
      yield* checkUtc("until", link.until)
      const incident = yield* services.query.incident(id, { cursor: link.cursor, limit: link.limit })
      return page({
        fewer: { items: incident.changes.items.length, of: (fewer) => transaction(id, fewer)(context) },
        keepsItems: link.seen !== undefined,
        title: `${incident.actions[0]?.name ?? "Transaction"} ${id}`,
        place: "timeline",
        command: { _tag: "Transaction", id },
        view: () => <View incident={upTo(incident, link.until)} link={link} />
      })
    })
