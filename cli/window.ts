/** The window of time that a command is about: `--from`, `--to`, `--on`, `--since`, and the zone of their dates. */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { spanOf } from "../src/internal/core/span.js"
import { UsageError } from "./exit.js"
import { value } from "./options.js"
import type { Given } from "./parser/declare.js"

export const window = {
  from: value(
    "from",
    "INSTANT",
    "Not before this instant, such as 2026-11-22T10:00:00Z, or from the beginning of this date."
  ),
  to: value("to", "INSTANT", "Not after this instant, or the end of this date."),
  on: value("on", "DATE", "Only on this date, such as 2026-11-22."),
  since: value("since", "TIME", "Only this far back from now: 90s, 30m, 12h, 7d or 2w."),
  tz: value("tz", "ZONE", "Zone of the dates, such as Europe/Berlin or +02:00; default: UTC.")
}

export type Window = Given<typeof window>

interface Bounds {
  readonly from: string | undefined
  readonly to: string | undefined
}

/** The largest offset of a zone that ever was, in hours. PostgreSQL has the same bound. */
const largestOffset = 16

const isOnEarth = (zone: DateTime.TimeZone): boolean =>
  DateTime.isTimeZoneNamed(zone) || Math.abs(zone.offset) < largestOffset * 3_600_000

const zoneOf = (text: Option.Option<string>): Effect.Effect<DateTime.TimeZone, UsageError> =>
  Option.match(text, {
    onNone: () => Effect.succeed(DateTime.zoneMakeOffset(0)),
    onSome: (zone) =>
      Option.match(Option.filter(DateTime.zoneFromString(zone), isOnEarth), {
        onNone: () => new UsageError({ message: "--tz is a time zone, such as Europe/Berlin or +02:00" }),
        onSome: Effect.succeed<DateTime.TimeZone>
      })
  })

/** The first milliseconds of a date and of the next date. None if the text is no date. */
const dayOf = (
  text: string,
  timeZone: DateTime.TimeZone
): Option.Option<{ readonly begin: number; readonly end: number }> => {
  const [, year, month, day] = (/^(\d{4})-(\d{2})-(\d{2})$/.exec(text) ?? []).map(Number)
  if (year === undefined || month === undefined || day === undefined) {
    return Option.none()
  }
  const date = DateTime.make({ year, month, day })
  const begin = (days: number) =>
    Option.flatMap(date, (utc) =>
      DateTime.makeZoned(DateTime.removeTime(DateTime.add(utc, { days })), { timeZone, adjustForTimeZone: true })
    )
  const isDate = Option.exists(date, (utc) => DateTime.formatIsoDateUtc(utc) === text)
  return isDate
    ? Option.zipWith(begin(0), begin(1), (first, next) => ({ begin: first.epochMillis, end: next.epochMillis }))
    : Option.none()
}

const instant = (milliseconds: number): string => new Date(milliseconds).toISOString()

/** The last microsecond before this time. */
const before = (milliseconds: number): string => instant(milliseconds - 1).replace(/Z$/, "999Z")

/** The bounds as instants. If a value is neither a date nor an instant, the read refuses it. */
export const windowOf = Effect.fnUntraced(function* (options: Window): Effect.fn.Return<Bounds, UsageError> {
  const zone = yield* zoneOf(options.tz)
  const { from, on, since, to } = options
  const refuse = (message: string) => new UsageError({ message })
  if (Option.isSome(on)) {
    const conflicting = (
      [
        ["--from", from],
        ["--to", to],
        ["--since", since]
      ] as const
    ).find(([, text]) => Option.isSome(text))
    if (conflicting !== undefined) {
      return yield* refuse(`--on names a whole date: give it without ${conflicting[0]}`)
    }
    const day = yield* Effect.mapError(dayOf(on.value, zone), () => refuse("--on is a date, such as 2026-11-22"))
    return { from: instant(day.begin), to: before(day.end) }
  }
  const bounds = {
    from: Option.getOrUndefined(
      Option.map(from, (text) =>
        Option.match(dayOf(text, zone), { onNone: () => text, onSome: (day) => instant(day.begin) })
      )
    ),
    to: Option.getOrUndefined(
      Option.map(to, (text) =>
        Option.match(dayOf(text, zone), { onNone: () => text, onSome: (day) => before(day.end) })
      )
    )
  }
  if (Option.isNone(since)) {
    return bounds
  }
  if (Option.isSome(from)) {
    return yield* refuse("--since says where the window begins: give it without --from")
  }
  const back = spanOf(since.value)
  if (back === undefined) {
    return yield* refuse("--since is a time such as 90s, 30m, 12h, 7d or 2w")
  }
  const now = yield* Clock.currentTimeMillis
  return { ...bounds, from: instant(now - back.millis) }
})
