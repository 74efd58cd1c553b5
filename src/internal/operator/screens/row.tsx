/** The life of one row: its changes and what was done to its table, the row as it stood beside them, and its relations at that instant. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { VNode } from "preact"
import * as Json from "../../../Json.js"
import * as Query from "../../../Query.js"
import * as TableName from "../../../TableName.js"
import { InvalidRequest } from "../../../ThreadlineError.js"
import { shortTable } from "../address.js"
import { Tag } from "../design/Badge.js"
import { ChangeArticle } from "../design/Changes.js"
import { Command } from "../design/Command.js"
import { Copy } from "../design/Copy.js"
import { Empty } from "../design/Empty.js"
import { Facts } from "../design/Facts.js"
import { ActionName, CorrelationName, TransactionName, Who } from "../design/Names.js"
import { Pager } from "../design/Pager.js"
import { Panel } from "../design/Panel.js"
import { type Mark, Rail, railStyle, type Span } from "../design/Rail.js"
import { Text } from "../design/Text.js"
import { Time } from "../design/Time.js"
import { masked, Value } from "../design/Value.js"
import { nextCursor } from "../filterForm.js"
import { type Asked, page, type Relations, type Screened } from "../screen.js"
import { labelOf, rowLinkOf, useSite } from "../site.js"
import { show } from "../zone.js"
import { plural, smallerThan } from "./timeline.js"

interface Life {
  readonly table: string
  readonly key: string
  /** Newest first. */
  readonly changes: ReadonlyArray<Query.Change>
  readonly events: ReadonlyArray<Query.SchemaEvent>
  readonly next: string | undefined
  readonly hasMore: boolean
  /** Whether newer changes of the row are not on this page. */
  readonly back: boolean
  readonly at: string
  readonly answer: Query.AsOf
  readonly related: Readonly<Record<string, Query.RelatedRows>>
  readonly names: Query.TableNames | undefined
}

const answers: Readonly<Record<Query.AsOf["_tag"], string>> = {
  Present: "",
  Deleted: "The row had been deleted.",
  MovedTo: "The row had moved to another key.",
  NotYetCreated: "The row was not there yet.",
  BeforeCapture: "Nothing is known of the row at that time."
}

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

const eventText = (event: Query.SchemaEvent): string =>
  event.oldName !== null && event.newName !== null
    ? `${event.oldName} became ${event.newName}`
    : `${event.command.toLowerCase()} on ${event.object}`

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

const Entries = ({ life }: { readonly life: Life }): VNode => {
  const { to } = useSite()
  const { at, changes, events, key, table } = life
  const entries = [
    ...changes.map((change) => ({ at: change.capturedAt, change, event: undefined })),
    ...events.map((event) => ({ at: event.occurredAt, change: undefined, event }))
  ].sort((one, other) => (one.at === other.at ? 0 : one.at < other.at ? 1 : -1))
  return (
    <>
      {entries.map(({ change, event }) =>
        change === undefined ? (
          event === undefined ? null : (
            <EventArticle key={`e${event.id}`} event={event} />
          )
        ) : (
          <ChangeArticle
            key={change.id}
            diff={{ change, fields: Query.fieldDiffs(change) }}
            here={change.capturedAt === at}
            heading={
              <>
                <h3>
                  <a href={to.row(table, key, { at: change.capturedAt })}>
                    <b>
                      <Time at={change.capturedAt} />
                    </b>
                  </a>
                </h3>
                {shortTable(tableText(change)) === shortTable(table) ? null : (
                  <span class="sub">
                    as <Text text={shortTable(tableText(change))} />
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
      )}
    </>
  )
}

const tableText = (change: Query.Change): string =>
  TableName.format({ schema: change.tableSchema, name: change.tableName })

/** The row at the instant; what the change of that very instant changed is marked. */
const AsOfPanel = ({ life }: { readonly life: Life }): VNode => {
  const { masks, to, zone } = useSite()
  const { answer, at, changes, table } = life
  const known = masks.get(table)
  const here = changes.find(({ capturedAt, op }) => capturedAt === at && op === "update")
  const was = new Map(here === undefined ? [] : Query.fieldDiffs(here).map(({ before, field }) => [field, before]))
  const recorded = answer._tag === "Present" ? answer.recordedAs : undefined
  return (
    <Panel
      title="The row at that instant"
      aside={
        <>
          <Time at={at} /> {zone}
        </>
      }
    >
      {answer._tag !== "Present" ? (
        <p class="dim">
          {answers[answer._tag]}
          {answer._tag === "MovedTo" ? (
            <>
              {" "}
              <a href={to.row(table, answer.key, { at })}>
                <code>
                  <Text text={answer.key} limit={200} />
                </code>
              </a>
            </>
          ) : null}
        </p>
      ) : (
        <>
          {answer.rebuilt === true ? (
            <p>
              <Tag tone="warn">rebuilt</Tag>{" "}
              <span class="sub">
                from what the first change after that instant replaced; nothing in between was missed
              </span>
            </p>
          ) : null}
          {recorded?.table === undefined ? null : (
            <p class="sub">
              The table was <Text text={recorded.table} limit={130} /> then.
            </p>
          )}
          <dl class="diff">
            {Object.entries(answer.row).map(([field, value]) => (
              <>
                <dt>
                  <Text text={field} limit={63} />
                </dt>
                <dd>
                  {was.has(field) ? (
                    <>
                      <mark>
                        <Value value={value} mask={known?.get(field)} />
                      </mark>{" "}
                      {value === masked ? null : (
                        <span class="sub">
                          was <Value value={was.get(field)} limit={60} mask={known?.get(field)} />
                        </span>
                      )}
                    </>
                  ) : (
                    <Value value={value} mask={known?.get(field)} />
                  )}
                </dd>
              </>
            ))}
          </dl>
        </>
      )}
    </Panel>
  )
}

const briefly = (row: Query.RowImage): string =>
  Object.entries(row)
    .filter(([, value]) => value !== null && value !== "" && value !== masked)
    .slice(0, 4)
    .map(([field, value]) => `${field} ${typeof value === "string" ? value : Json.stringify(value)}`)
    .join(" · ")

const Related = ({ life }: { readonly life: Life }): VNode | null => {
  const { to } = useSite()
  const names = Object.entries(life.related)
  return names.length === 0 ? null : (
    <Panel title="With it, at the same instant">
      {names.map(([name, rows]) => (
        <section key={name}>
          <h3 class="sub">
            <Text text={name} limit={80} />
          </h3>
          {rows.items.length === 0 ? (
            <p class="dim">none</p>
          ) : (
            <ul class="list">
              {rows.items.slice(0, 20).map(({ rebuilt, row, rowKey }) => (
                <li key={rowKey}>
                  <a href={to.row(rows.table, rowKey, { at: life.at })}>
                    <Text text={shortTable(rows.table)} />{" "}
                    <code>
                      <Text text={rowKey} limit={60} />
                    </code>
                  </a>
                  <span class="sub">
                    <Text text={briefly(row)} limit={120} />
                  </span>
                  {rebuilt === true ? <Tag tone="warn">rebuilt</Tag> : null}
                </li>
              ))}
              {rows.items.length > 20 || rows.hasMore ? <li class="sub">and more</li> : null}
            </ul>
          )}
        </section>
      ))}
    </Panel>
  )
}

const marksOf = (life: Life, link: (at: string) => string, told: (at: string) => string): ReadonlyArray<Mark> =>
  [
    ...life.changes.map((change) => ({
      kind: change.op,
      at: Date.parse(change.capturedAt),
      instant: change.capturedAt,
      name: `${change.op} ${told(change.capturedAt)}`,
      here: change.capturedAt === life.at
    })),
    ...life.events
      .filter(({ effect }) => effect !== "lapse begins" && effect !== "lapse ends")
      .map((event) => ({
        kind: "schema",
        at: Date.parse(event.occurredAt),
        instant: event.occurredAt,
        name: `${eventText(event)}, ${told(event.occurredAt)}`,
        here: event.occurredAt === life.at
      }))
  ]
    .sort((one, other) => one.at - other.at || (one.instant < other.instant ? -1 : 1))
    .map(({ instant, ...mark }) => ({ ...mark, href: link(instant) }))
    .filter((mark, index, all) => index === 0 || all[index - 1]?.href !== mark.href)

/** Times of which nothing is known, as far as they lie between the marks. */
const spansOf = (life: Life): ReadonlyArray<Span> => {
  const events = [...life.events].sort((one, other) => (one.occurredAt < other.occurredAt ? -1 : 1))
  const spans: Array<Span> = []
  let begun: string | undefined
  for (const { effect, occurredAt } of events) {
    if (effect === "lapse begins") {
      begun ??= occurredAt
    } else if (effect === "lapse ends" && begun !== undefined) {
      spans.push({
        from: Date.parse(begun),
        to: Date.parse(occurredAt),
        name: `not captured from ${begun} to ${occurredAt}`
      })
      begun = undefined
    }
  }
  return spans
}

const nearest = (life: Life): { readonly earlier: string | undefined; readonly later: string | undefined } => {
  const times = [...new Set(life.changes.map(({ capturedAt }) => capturedAt))]
  return { earlier: times.find((time) => time < life.at), later: times.filter((time) => time > life.at).at(-1) }
}

const View = ({
  life,
  marks,
  spans
}: {
  readonly life: Life
  readonly marks: ReadonlyArray<Mark>
  readonly spans: ReadonlyArray<Span>
}): VNode => {
  const site = useSite()
  const { to, zone } = site
  const { at, changes, key, next, table } = life
  const actors = new Set(
    changes.map(({ transaction: { actor } }) =>
      actor === null ? "" : `${actor.type}:${actor.type === "anonymous" ? "" : actor.id}`
    )
  )
  const oldest = changes.at(-1)
  const { earlier, later } = nearest(life)
  const row = { table, key, rowPk: changes[0]?.rowPk ?? null }
  const label = labelOf(site, { _tag: "Row", row })
  const link = rowLinkOf(site, row)
  const former = (life.names?.names ?? []).filter((name) => name.table !== table && name.until !== null)
  return (
    <>
      <h1>
        <Text text={table} />{" "}
        <code>
          <Text text={key} limit={200} />
        </code>
        <Copy text={key} name="the key" />
        {label === undefined ? null : (
          <span class="sub">
            {" "}
            <Text text={label} />
          </span>
        )}
        {link === undefined ? null : (
          <a class="host" href={link} rel="noreferrer">
            open in the application ↗
          </a>
        )}
      </h1>
      {changes.length === 0 ? (
        <>
          <Facts>Nothing is recorded of this row that you may see.</Facts>
          <Empty title="No change of this row">
            <p>
              It may never have been written to since its table is captured, it may be out of your scope, retention may
              have removed its changes, or the key may be another one.
            </p>
            <p>
              <a href={to.timeline({ table }, { since: "all" })}>
                All changes to <Text text={shortTable(table)} />
              </a>
            </p>
          </Empty>
        </>
      ) : (
        <>
          <Facts>
            <b>
              {life.hasMore || life.back ? "More than " : ""}
              {plural(changes.length, "change")}
            </b>{" "}
            by {plural(actors.size, "actor")}
            {oldest === undefined ? null : (
              <>
                {" "}
                since <Time at={oldest.capturedAt} form="day" />
              </>
            )}
            . As it stood{" "}
            <b>
              <Time at={at} live /> {zone}
            </b>
            .
            {former.map(({ table: name, until }) => (
              <>
                {" "}
                Formerly <Text text={name} />
                {until === null ? null : (
                  <>
                    {" "}
                    until <Time at={until} form="day" />
                  </>
                )}
                .
              </>
            ))}
          </Facts>
          <Rail
            marks={marks}
            spans={spans}
            earlier={
              earlier === undefined
                ? next === undefined
                  ? undefined
                  : to.row(table, key, { cursor: next })
                : to.row(table, key, { at: earlier })
            }
            later={
              later === undefined ? (life.back ? to.row(table, key) : undefined) : to.row(table, key, { at: later })
            }
            {...endsOf(changes, zone)}
          />
          <div class="rowpage">
            <div class="stay">
              <AsOfPanel life={life} />
              <Related life={life} />
              <Command question={{ _tag: "AsOf", table: shortTable(table), key, at }} />
            </div>
            <div>
              <Entries life={life} />
              {next === undefined && !life.back ? null : (
                <Pager
                  newer={life.back ? to.row(table, key) : undefined}
                  newerName="← Newest changes"
                  older={next === undefined ? undefined : to.row(table, key, { cursor: next })}
                >
                  {plural(changes.length, "change")}
                </Pager>
              )}
            </div>
          </div>
        </>
      )}
    </>
  )
}

/** What stands at the ends of the rail: days, or times of the one day. */
const endsOf = (
  changes: ReadonlyArray<Query.Change>,
  zone: string
): { readonly first: string; readonly last: string } => {
  const [first, last] = [changes.at(-1), changes[0]]
  if (first === undefined || last === undefined) {
    return { first: "", last: "" }
  }
  const [begin, end] = [show(first.capturedAt, zone), show(last.capturedAt, zone)]
  return begin.date === end.date ? { first: begin.time, last: end.time } : { first: begin.date, last: end.date }
}

const isInstant = (text: string): boolean =>
  /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)$/.test(text) && !Number.isNaN(Date.parse(text))

/** The changes that a page shows: the newest, those after a cursor, or those up to the instant if it lies further back. */
const changesOf = (
  query: Query.Service,
  table: string,
  key: string,
  at: string | undefined,
  cursor: string | undefined,
  limit: number | undefined
) =>
  Effect.gen(function* () {
    const { page: first, schemaEvents } = yield* query.historyWithEvents(table, key, { cursor, limit })
    const oldest = first.items.at(-1)?.capturedAt
    if (at === undefined || oldest === undefined || at >= oldest || !first.hasMore || cursor !== undefined) {
      return { items: first.items, events: schemaEvents, next: nextCursor(first), back: cursor !== undefined }
    }
    const around = yield* query.timeline({ table, key, to: at, limit })
    return { items: around.items, events: [], next: undefined, back: true }
  })

const relationsOf = (relations: Relations, table: string): Readonly<Record<string, Query.Relation>> =>
  Object.entries(relations).find(([name]) => TableName.same(name, table))?.[1] ?? {}

export const row =
  (tableText: string, key: string, size?: number) =>
  (asked: Asked): Screened =>
    Effect.gen(function* () {
      const { params, services, to, zone } = asked
      const { query } = services
      const table = TableName.format(yield* TableName.parse(tableText))
      const [given, cursor] = [params.get("at") ?? undefined, params.get("cursor") ?? undefined]
      if (given !== undefined && !isInstant(given)) {
        return yield* new InvalidRequest({
          field: "at",
          rule: "must be an instant with its zone, such as 2026-11-22T10:00:00Z"
        })
      }
      const { back, events, items, next } = yield* changesOf(query, table, key, given, cursor, size)
      const at = given ?? items[0]?.capturedAt ?? new Date(asked.now).toISOString()
      const { answer, related } = yield* query.asOfWith(table, key, at, relationsOf(asked.relations, table))
      const names = yield* Effect.option(query.names(table))
      const life: Life = {
        table,
        key,
        changes: items,
        events,
        next,
        hasMore: next !== undefined,
        back,
        at: answer.at,
        answer,
        related,
        names: Option.getOrUndefined(names)
      }
      const told = (instant: string): string => {
        const { date, fraction, time } = show(instant, zone)
        return `${date} ${time}${fraction} ${zone}`
      }
      const marks = marksOf(
        life,
        (instant) => to.row(table, key, { at: instant, ...(cursor === undefined ? {} : { cursor }) }),
        told
      )
      const spans = spansOf(life)
      return page({
        title: `${shortTable(table)} ${key}`,
        status: items.length === 0 ? 404 : 200,
        place: "timeline",
        command: { _tag: "History", table: shortTable(table), key },
        style: railStyle(marks, spans),
        smaller:
          smallerThan(items.length) === undefined ? undefined : row(tableText, key, smallerThan(items.length))(asked),
        view: () => <View life={life} marks={marks} spans={spans} />
      })
    })
