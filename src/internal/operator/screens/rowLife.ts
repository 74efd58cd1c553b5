/** The life of one row as its page shows it, and the marks of the rail. */
import type { Mark, Span } from "../design/Rail.js"
import type * as Query from "../../../Query.js"
import { show } from "../zone.js"

export interface Life {
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
  /** Nothing later is shown. Set if a link pins the page. */
  readonly until: string | undefined
  /** The digest of the address (`design/Seen`). */
  readonly seen: string | undefined
  /** The cursor at which the page begins, and its size. A pinned link repeats both. */
  readonly cursor: string | undefined
  readonly limit: number
  readonly answer: Query.AsOf
  readonly related: Readonly<Record<string, Query.RelatedRows>>
  readonly names: Query.TableNames | undefined
  readonly knowledge: Query.TableKnowledge | undefined
}

export const eventText = (event: Query.SchemaEvent): string =>
  event.oldName !== null && event.newName !== null
    ? `${event.oldName} became ${event.newName}`
    : `${event.command.toLowerCase()} on ${event.object}`

/** The ids on the page, for the digest of a pinned link. */
export const idsOf = ({ changes, events }: Life): ReadonlyArray<string> => [
  ...changes.map(({ id }) => id),
  ...events.map(({ id }) => `e${id}`)
]

/** A time without capture between the changes of a page. */
export interface Lapse {
  readonly since: string
  /** Null if it lasts. */
  readonly until: string | null
}

const lapsesOf = ({ back, changes, knowledge, until: end }: Life): ReadonlyArray<Lapse> => {
  const [newest, oldest] = [changes[0]?.capturedAt, changes.at(-1)?.capturedAt]
  return (knowledge?.unknown ?? []).flatMap(({ since, until }) =>
    since === null ||
    (end !== undefined && since > end) ||
    oldest === undefined ||
    newest === undefined ||
    (until !== null && until <= oldest) ||
    (back && since >= newest)
      ? []
      : [{ since, until }]
  )
}

/** An entry of the history: a change, a schema event, or a lapse without an event. */
export type Entry =
  | { readonly _tag: "Change"; readonly at: string; readonly change: Query.Change }
  | { readonly _tag: "Event"; readonly at: string; readonly event: Query.SchemaEvent }
  | { readonly _tag: "Lapse"; readonly at: string; readonly lapse: Lapse }

export const entriesOfLife = (life: Life): ReadonlyArray<Entry> => {
  const { changes, events } = life
  const hasEvent = (lapse: Lapse): boolean =>
    events.some(
      ({ effect, occurredAt }) =>
        effect.startsWith("lapse") && occurredAt >= lapse.since && (lapse.until === null || occurredAt <= lapse.until)
    )
  const entries: ReadonlyArray<Entry> = [
    ...changes.map((change): Entry => ({ _tag: "Change", at: change.capturedAt, change })),
    ...events.map((event): Entry => ({ _tag: "Event", at: event.occurredAt, event })),
    ...lapsesOf(life)
      .filter((lapse) => !hasEvent(lapse))
      .map((lapse): Entry => ({ _tag: "Lapse", at: lapse.since, lapse }))
  ]
  return [...entries].sort((one, other) => (one.at === other.at ? 0 : one.at < other.at ? 1 : -1))
}

const marksOf = (life: Life, link: (at: string) => string, textOf: (at: string) => string): ReadonlyArray<Mark> =>
  [
    ...life.changes.map((change) => ({
      kind: change.op,
      at: Date.parse(change.capturedAt),
      instant: change.capturedAt,
      name: `${change.op} ${textOf(change.capturedAt)}`,
      here: change.capturedAt === life.at
    })),
    ...life.events
      .filter(({ effect }) => effect !== "lapse begins" && effect !== "lapse ends")
      .map((event) => ({
        kind: "schema",
        at: Date.parse(event.occurredAt),
        instant: event.occurredAt,
        name: `${eventText(event)}, ${textOf(event.occurredAt)}`,
        here: event.occurredAt === life.at
      }))
  ]
    .sort((one, other) => one.at - other.at || (one.instant < other.instant ? -1 : 1))
    .map(({ instant, ...mark }) => ({ ...mark, href: link(instant) }))
    .filter((mark, index, all) => index === 0 || all[index - 1]?.href !== mark.href)

/** The lapses on the rail. */
const spansOf = (life: Life, now: string, textOf: (at: string) => string): ReadonlyArray<Span> =>
  lapsesOf(life).map(({ since, until }) => ({
    from: Date.parse(since),
    to: Date.parse(until ?? now),
    name: `not captured from ${textOf(since)} to ${until === null ? "now" : textOf(until)}`
  }))

/** The marks and lapses of the rail. `link` gives the page of an instant. */
export const railOf = (
  life: Life,
  zone: string,
  now: string,
  link: (at: string) => string
): { readonly marks: ReadonlyArray<Mark>; readonly spans: ReadonlyArray<Span> } => {
  const textOf = (instant: string): string => {
    const { date, fraction, time } = show(instant, zone)
    return `${date} ${time}${fraction} ${zone}`
  }
  return { marks: marksOf(life, link, textOf), spans: spansOf(life, now, textOf) }
}

export const nearest = (life: Life): { readonly earlier: string | undefined; readonly later: string | undefined } => {
  const times = [...new Set(life.changes.map(({ capturedAt }) => capturedAt))]
  return { earlier: times.find((time) => time < life.at), later: times.filter((time) => time > life.at).at(-1) }
}

/** The texts at the ends of the rail: two dates, or two times of one day. */
export const endsOf = (
  changes: ReadonlyArray<Query.Change>,
  zone: string
): { readonly first: string; readonly last: string } => {
  const [first, last] = [changes.at(-1), changes[0]]
  if (first === undefined || last === undefined) {
    return { first: "", last: "" }
  }
  const [begin, end] = [show(first.capturedAt, zone), show(last.capturedAt, zone)]
  return begin.date !== end.date
    ? { first: begin.date, last: end.date }
    : begin.time !== end.time
      ? { first: begin.time, last: end.time }
      : { first: `${begin.time}${begin.fraction}`, last: `${end.time}${end.fraction}` }
}
