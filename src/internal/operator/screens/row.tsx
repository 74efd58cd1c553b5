/** The page of one row: its history, the row at an instant, and its relations at that instant. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { VNode } from "preact"
import type * as Query from "../../../Query.js"
import * as TableName from "../../../TableName.js"
import { shortTable } from "../../core/words.js"
import { Command } from "../design/Command.js"
import { Copy } from "../design/Copy.js"
import { Empty } from "../design/Empty.js"
import { Facts } from "../design/Facts.js"
import { tableOf } from "../design/Names.js"
import { Pager } from "../design/Pager.js"
import { type Mark, Rail, railStyle, type Span } from "../design/Rail.js"
import { digestOf, Seen, seenUntil } from "../design/Seen.js"
import { Text } from "../design/Text.js"
import { Time } from "../design/Time.js"
import { nextCursor } from "../filterForm.js"
import { checkInstant, checkUtc, limitOf, page, type Relations, type ScreenContext, type Screened } from "../screen.js"
import { labelOf, rowLinkOf, useSite } from "../site.js"
import { AsOfPanel, Related } from "./rowAtInstant.js"
import { Entries } from "./rowHistory.js"
import { endsOf, idsOf, type Life, nearest, railOf } from "./rowLife.js"
import { plural } from "./timeline.js"

const Heading = ({ life: { changes, key, table } }: { readonly life: Life }): VNode => {
  const site = useSite()
  const row = { table, key, rowPk: changes[0]?.rowPk ?? null }
  const label = labelOf(site, { _tag: "Row", row })
  const link = rowLinkOf(site, row)
  return (
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
  )
}

const NoChange = ({ life: { knowledge, table } }: { readonly life: Life }): VNode => {
  const { to } = useSite()
  const keptSince = knowledge?.keptSince ?? null
  return (
    <>
      <Facts>
        {keptSince === null ? (
          "Nothing is recorded of this row that you may see."
        ) : (
          <>
            Nothing is kept of this row that you may see. Retention has removed changes to{" "}
            <Text text={shortTable(table)} limit={130} /> from before{" "}
            <b>
              <Time at={keptSince} zoned />
            </b>
            .
          </>
        )}
      </Facts>
      <Empty title={keptSince === null ? "No change of this row" : "No change of this row is kept"}>
        <p>
          {keptSince === null
            ? "It may never have been written to since its table is captured"
            : "Its changes may all be older than that"}
          , it may be out of your scope, or the key may be another one.
        </p>
        <p>
          <a href={to.timeline({ table }, { since: "all" })}>
            All changes to <Text text={shortTable(table)} />
          </a>
        </p>
      </Empty>
    </>
  )
}

/** How many changes by how many actors, since when, and under which names the row was recorded before. */
const Summary = ({ life }: { readonly life: Life }): VNode => {
  const { at, changes, table } = life
  const actors = new Set(
    changes.flatMap(({ transaction: { actor } }) =>
      actor === null ? [] : [`${actor.type}:${actor.type === "anonymous" ? "" : actor.id}`]
    )
  )
  const isPart = life.hasMore || life.back
  const unattributed = changes.filter(({ transaction: { actor } }) => actor === null).length
  const oldest = changes.at(-1)
  const former = (life.names?.names ?? []).filter((name) => name.table !== table && name.until !== null)
  return (
    <Facts>
      <b>
        {isPart ? "More than " : ""}
        {plural(changes.length, "change")}
      </b>
      {actors.size === 0
        ? " by nobody known"
        : unattributed === 0
          ? ` by ${plural(actors.size, "actor")}`
          : ` (${isPart ? "here " : ""}${changes.length - unattributed} by ${plural(actors.size, "actor")}, ${unattributed} by nobody known)`}
      {oldest === undefined ? null : (
        <>
          {" "}
          since <Time at={oldest.capturedAt} form="day" />
        </>
      )}
      . As it stood{" "}
      <b>
        <Time at={at} live zoned />
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
  )
}

/** A link to exactly what is shown. If the page is pinned already, also one to the row as it is now. */
const Pinned = ({ life }: { readonly life: Life }): VNode => {
  const { now, to } = useSite()
  const { at, changes, key, table } = life
  const pinned = to.row(table, key, {
    at,
    cursor: life.cursor,
    limit: String(life.limit),
    until:
      life.until ??
      seenUntil(now, [
        ...changes.map(({ capturedAt }) => capturedAt),
        ...life.events.map(({ occurredAt }) => occurredAt)
      ]),
    seen: digestOf(idsOf(life))
  })
  return (
    <p class="sub">
      <a href={pinned}>Link to exactly this</a>
      {life.until === undefined ? null : (
        <>
          {" "}
          · nothing after <Time at={life.until} /> is shown · <a href={to.row(table, key)}>the row as it is now</a>
        </>
      )}
    </p>
  )
}

/** Links from a page that ends at an instant end there too. */
const pinOf = ({ until }: Life) => (until === undefined ? {} : { until })

/** The changes as marks on a line, with the way to the instants beside the one that is shown. */
const HistoryRail = ({
  life,
  marks,
  spans
}: {
  readonly life: Life
  readonly marks: ReadonlyArray<Mark>
  readonly spans: ReadonlyArray<Span>
}): VNode => {
  const { to, zone } = useSite()
  const { changes, key, next, table } = life
  const { earlier, later } = nearest(life)
  const pin = pinOf(life)
  return (
    <Rail
      marks={marks}
      spans={spans}
      earlier={
        earlier === undefined
          ? next === undefined
            ? undefined
            : to.row(table, key, { ...pin, cursor: next })
          : to.row(table, key, { ...pin, at: earlier })
      }
      later={
        later === undefined
          ? life.back
            ? to.row(table, key, pin)
            : undefined
          : to.row(table, key, { ...pin, at: later })
      }
      {...endsOf(changes, zone)}
    />
  )
}

/** The changes themselves, and the way to newer and older ones. */
const History = ({ life }: { readonly life: Life }): VNode => {
  const { to } = useSite()
  const { changes, key, next, table } = life
  const pin = pinOf(life)
  return (
    <div>
      <Entries life={life} />
      {next === undefined && !life.back ? null : (
        <Pager
          newer={life.back ? to.row(table, key, pin) : undefined}
          newerName="← Newest changes"
          older={next === undefined ? undefined : to.row(table, key, { ...pin, cursor: next })}
        >
          {plural(changes.length, "change")}
        </Pager>
      )}
    </div>
  )
}

const View = ({
  life,
  marks,
  spans
}: {
  readonly life: Life
  readonly marks: ReadonlyArray<Mark>
  readonly spans: ReadonlyArray<Span>
}): VNode => (
  <>
    <Heading life={life} />
    {life.changes.length === 0 ? (
      <NoChange life={life} />
    ) : (
      <>
        <Summary life={life} />
        <Seen seen={life.seen} ids={idsOf(life)} />
        <Pinned life={life} />
        <HistoryRail life={life} marks={marks} spans={spans} />
        <div class="rowpage">
          <div class="stay">
            <AsOfPanel life={life} />
            <Related life={life} />
            <Command question={{ _tag: "AsOf", table: shortTable(life.table), key: life.key, at: life.at }} />
          </div>
          <History life={life} />
        </div>
      </>
    )}
  </>
)

/** Changes per page by default. So many nearly always fit. */
const usual = 20

/** Which part of the history a page shows. */
interface Place {
  readonly at: string | undefined
  readonly cursor: string | undefined
  readonly until: string | undefined
  readonly limit: number
}

/** The most pages of the history to read to get to an instant. */
const mostTurns = 40

/** The first page as it was at an instant. Later changes are left out, and older ones fill the page. */
const changesUntil = Effect.fnUntraced(function* (
  query: Query.Service,
  table: string,
  key: string,
  until: string,
  limit: number
) {
  const items: Array<Query.Change> = []
  const events: Array<Query.SchemaEvent> = []
  let cursor: string | undefined
  for (let turn = 0; turn < mostTurns; turn++) {
    const { page: here, schemaEvents } = yield* query.historyWithEvents(table, key, {
      cursor,
      limit: items.length === 0 ? limit : limit - items.length
    })
    items.push(...here.items.filter(({ capturedAt }) => capturedAt <= until))
    events.push(...schemaEvents.filter(({ occurredAt }) => occurredAt <= until))
    cursor = nextCursor(here)
    if (cursor === undefined || items.length >= limit) {
      break
    }
  }
  return { items, events, next: cursor, back: false }
})

const changesFrom = Effect.fnUntraced(function* (
  query: Query.Service,
  table: string,
  key: string,
  cursor: string | undefined,
  limit: number
) {
  const { page: here, schemaEvents } = yield* query.historyWithEvents(table, key, { cursor, limit })
  return { items: here.items, events: schemaEvents, next: nextCursor(here), back: cursor !== undefined }
})

/**
 * The changes that a page shows: the newest ones, those after a cursor, or those around `at` if it lies before the
 * first page. Without a cursor, none is later than `until`.
 */
const changesOf = (query: Query.Service, table: string, key: string, { at, cursor, limit, until }: Place) =>
  Effect.gen(function* () {
    const first = yield* until !== undefined && cursor === undefined
      ? changesUntil(query, table, key, until, limit)
      : changesFrom(query, table, key, cursor, limit)
    const oldest = first.items.at(-1)?.capturedAt
    if (at === undefined || oldest === undefined || at >= oldest || first.next === undefined || cursor !== undefined) {
      return first
    }
    // The instant lies before the first page: read the changes up to it, and the next ones after it.
    const [led, after] = yield* Effect.all(
      [
        query.timeline({ table, key, to: at, limit }),
        query.timeline({ table, key, from: at, to: until, order: "oldest", limit: Math.min(limit, nextOnes) })
      ],
      { concurrency: 2 }
    )
    const ledIds = new Set(led.items.map(({ id }) => id))
    const items = [...after.items.filter(({ id }) => !ledIds.has(id)).reverse(), ...led.items]
    const events = yield* query.schemaEvents({
      table,
      from: led.hasMore ? items.at(-1)?.capturedAt : undefined,
      to: items[0]?.capturedAt,
      limit: 200
    })
    const unapplied = events.items.filter(({ effect }) => effect !== "applied")
    return { items, events: unapplied, next: undefined, back: true }
  })

/** How many later changes to show beside an instant that lies before the first page. */
const nextOnes = 5

const relationsOf = (relations: Relations, table: string): Readonly<Record<string, Query.Relation>> =>
  Object.entries(relations).find(([name]) => TableName.same(name, table))?.[1] ?? {}

export const row =
  (tableText: string, key: string, size?: number) =>
  (context: ScreenContext): Screened =>
    Effect.gen(function* () {
      const { params, services, to, zone } = context
      const { query } = services
      const table = TableName.format(yield* TableName.parse(tableText))
      const [given, cursor, until] = ["at", "cursor", "until"].map((name) => params.get(name) ?? undefined)
      yield* checkInstant("at", given)
      yield* checkUtc("until", until)
      const limit = size ?? (yield* limitOf(params)) ?? usual
      const seen = params.get("seen") ?? undefined
      const [{ back, events, items, next }, names, knowledge] = yield* Effect.all(
        [
          changesOf(query, table, key, { at: given, cursor, until, limit }),
          Effect.option(query.names(table)),
          Effect.option(query.knowledge(table))
        ],
        { concurrency: "unbounded" }
      )
      const at = given ?? items[0]?.capturedAt ?? until ?? new Date(context.now).toISOString()
      const { answer, related } = yield* query.asOfWith(table, key, at, relationsOf(context.relations, table))
      const life: Life = {
        table,
        key,
        changes: items,
        events,
        next,
        hasMore: next !== undefined,
        back,
        at: answer.at,
        until,
        seen,
        cursor,
        limit,
        answer,
        related,
        names: Option.getOrUndefined(names),
        knowledge: Option.getOrUndefined(knowledge)
      }
      const { marks, spans } = railOf(life, zone, until ?? new Date(context.now).toISOString(), (instant) =>
        to.row(table, key, { at: instant, cursor, until })
      )
      const columns = yield* context.columnsOf([
        table,
        ...items.map(tableOf),
        ...(answer._tag === "Present" && answer.recordedAs?.table !== undefined ? [answer.recordedAs.table] : []),
        ...Object.values(related).map((rows) => rows.table)
      ])
      return page({
        title: `${shortTable(table)} ${key}`,
        status: items.length === 0 ? 404 : 200,
        place: "timeline",
        command: { _tag: "History", table: shortTable(table), key },
        columns,
        style: railStyle(marks, spans),
        fewer: { items: items.length, of: (fewer) => row(tableText, key, fewer)(context) },
        keepsItems: seen !== undefined,
        view: () => <View life={life} marks={marks} spans={spans} />
      })
    })
