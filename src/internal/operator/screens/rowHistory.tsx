/** The history of one row: its changes, schema events of its table, and lapses of capture. */
import type { VNode } from "preact"
import * as Query from "../../../Query.js"
import { shortTable } from "../../core/words.js"
import { Tag } from "../design/Badge.js"
import { ChangeArticle } from "../design/Changes.js"
import { ActionName, CorrelationName, tableOf, TransactionName, Who } from "../design/Names.js"
import { Notice } from "../design/Notice.js"
import { Text } from "../design/Text.js"
import { Time } from "../design/Time.js"
import { useSite } from "../site.js"
import { entriesOfLife, eventText, type Lapse, type Life } from "./rowLife.js"

const effectNames: Readonly<Record<Query.SchemaEffect, string>> = {
  none: "nothing was to be done",
  "partition attached": "the partition is captured",
  "partition not attached": "the partition is not captured",
  "partition left": "the partition left the table",
  renamed: "the record follows the new name",
  lapse: "what was known before is not claimed after it",
  "lapse begins": "from here on nothing is known of the rows",
  "lapse ends": "from here on changes are captured again",
  applied: "capture was applied",
  removed: "capture was removed",
  failed: "the schema watch could not follow"
}

const EventArticle = ({ event }: { readonly event: Query.SchemaEvent }): VNode => (
  <article class="change" id={`e${event.id}`}>
    <header>
      <span class="op schema">schema</span>
      <h3>
        <b>
          <Time at={event.occurredAt} />
        </b>
      </h3>
      {event.effect.startsWith("lapse") ? <Tag tone="warn">{event.effect}</Tag> : null}
    </header>
    <div>
      <Text text={eventText(event)} limit={300} />{" "}
      <span class="sub">
        — {effectNames[event.effect]}; by <Text text={event.dbUser} limit={63} />
        {event.applicationName === null || event.applicationName === "" ? null : (
          <>
            , <Text text={event.applicationName} limit={63} />
          </>
        )}
      </span>
    </div>
  </article>
)

const LapseArticle = ({ lapse: { since, until } }: { readonly lapse: Lapse }): VNode => (
  <article class="change">
    <header>
      <span class="op schema">lapse</span>
      <h3>
        <b>
          <Time at={since} />
        </b>{" "}
        to {until === null ? "now" : <Time at={until} />}
      </h3>
      <Tag tone="warn">nothing is known</Tag>
    </header>
    <div class="sub">
      The table was not captured then, or was altered unseen. What a change on one side says does not hold on the other.
    </div>
  </article>
)

const Why = ({ change }: { readonly change: Query.Change }): VNode => {
  const { action, transaction } = change
  return (
    <p class="sub">
      <Who transaction={transaction} />
      {action === null ? null : (
        <>
          {" · "}
          <ActionName action={action} transactionId={change.transactionId} />
        </>
      )}
      {transaction.correlationId === null ? null : (
        <>
          {" · "}
          <CorrelationName id={transaction.correlationId} />
        </>
      )}
    </p>
  )
}

const ChangeEntry = ({
  change,
  life: { at, key, table, until }
}: {
  readonly change: Query.Change
  readonly life: Life
}): VNode => {
  const { columns, to } = useSite()
  const named = tableOf(change)
  return (
    <ChangeArticle
      diff={{ change, fields: Query.fieldDiffs(change, columns.get(named)) }}
      here={change.capturedAt === at}
      heading={
        <>
          <h3>
            <a href={to.row(table, key, { at: change.capturedAt, until })}>
              <b>
                <Time at={change.capturedAt} />
              </b>
            </a>
          </h3>
          {shortTable(named) === shortTable(table) ? null : (
            <span class="sub">
              as <Text text={shortTable(named)} />
            </span>
          )}
          <span class="sub end">
            <TransactionName id={change.transactionId} />
          </span>
        </>
      }
    >
      <Why change={change} />
    </ChangeArticle>
  )
}

/** The notice below the oldest change that retention may have removed older ones. */
const Boundary = ({ life }: { readonly life: Life }): VNode | null => {
  const since = life.knowledge?.keptSince ?? null
  const oldest = life.changes.at(-1)
  return since === null || life.next !== undefined || oldest?.op === "insert" ? null : (
    <Notice>
      <span>
        Retention has removed changes to <Text text={shortTable(life.table)} limit={130} /> from before{" "}
        <b>
          <Time at={since} />
        </b>
        . This row may have older ones that are gone.
      </span>
    </Notice>
  )
}

export const Entries = ({ life }: { readonly life: Life }): VNode => (
  <>
    {entriesOfLife(life).map((entry) =>
      entry._tag === "Change" ? (
        <ChangeEntry key={entry.change.id} change={entry.change} life={life} />
      ) : entry._tag === "Event" ? (
        <EventArticle key={`e${entry.event.id}`} event={entry.event} />
      ) : (
        <LapseArticle key={`l${entry.at}`} lapse={entry.lapse} />
      )
    )}
    <Boundary life={life} />
  </>
)
