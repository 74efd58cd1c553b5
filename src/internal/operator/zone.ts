/**
 * Instants of the record, shown in a time zone without losing a microsecond.
 */
import { spanOf } from "../core/span.js"
import { many } from "../core/words.js"

export const utc = "UTC"

/** The canonical name of a zone; undefined if there is no such zone. */
export const zoneOf = (name: string): string | undefined => {
  if (name.length > 64 || !/^[A-Za-z][A-Za-z0-9_+\-/]*$/.test(name)) {
    return undefined
  }
  try {
    return new Intl.DateTimeFormat("en", { timeZone: name }).resolvedOptions().timeZone
  } catch {
    return undefined
  }
}

const formats = new Map<string, Intl.DateTimeFormat>()

const formatOf = (zone: string): Intl.DateTimeFormat => {
  const knownFormat = formats.get(zone)
  if (knownFormat !== undefined) {
    return knownFormat
  }
  const made = new Intl.DateTimeFormat("en-GB", {
    timeZone: zone,
    calendar: "iso8601",
    numberingSystem: "latn",
    year: "numeric",
    month: "2-digit",
    day: "2-digit",
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    hourCycle: "h23",
    timeZoneName: "longOffset"
  })
  formats.set(zone, made)
  return made
}

export interface Shown {
  /** `2026-11-21` */
  readonly iso: string
  /** `21 Nov 2026` */
  readonly date: string
  /** `14:03:11` */
  readonly time: string
  /** `.204118`, or an empty string if there is no fraction. */
  readonly fraction: string
  /** `UTC`, `UTC+01:00` */
  readonly offset: string
}

const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"] as const

/** An instant, such as `2026-11-22T10:00:00.000000Z`, as a clock in the zone shows it. */
export const show = (instant: string, zone: string): Shown => {
  const micros = /\.(\d{1,6})/.exec(instant)?.[1]?.padEnd(6, "0") ?? "000000"
  const parsed = Date.parse(instant)
  const fraction = micros === "000000" ? "" : `.${micros}`
  if (Number.isNaN(parsed)) {
    // The record writes years before 1 and after 9999 in a form that Date cannot read.
    return { iso: instant, date: instant, time: "", fraction: "", offset: utc }
  }
  const parts = new Map(
    formatOf(zone)
      .formatToParts(parsed)
      .map(({ type, value }) => [type, value])
  )
  const part = (type: Intl.DateTimeFormatPartTypes): string => parts.get(type) ?? ""
  const month = months[Number(part("month")) - 1] ?? part("month")
  return {
    iso: `${part("year")}-${part("month")}-${part("day")}`,
    date: `${Number(part("day"))} ${month} ${part("year")}`,
    time: `${part("hour")}:${part("minute")}:${part("second")}`,
    fraction,
    offset: part("timeZoneName").replace("GMT", utc)
  }
}

/** How far the clock of a zone is ahead of UTC at an instant, in milliseconds. */
const offsetAt = (millis: number, zone: string): number => {
  const [, sign, hours = "0", minutes = "0", seconds = "0"] =
    /^UTC([+-])(\d\d):(\d\d)(?::(\d\d))?$/.exec(show(new Date(millis).toISOString(), zone).offset) ?? []
  const size = ((Number(hours) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1000
  return sign === "-" ? -size : size
}

/** The instant at which the clock of a zone shows a local time, `2026-11-21T14:03`. Undefined if it is not a time. */
export const instantOfLocal = (text: string, zone: string): string | undefined => {
  const match = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(?::(\d\d)(\.\d{1,6})?)?$/.exec(text)
  if (match === null) {
    return undefined
  }
  const [, date = "", clock = "", seconds = "00", fraction = ""] = match
  const asUtc = Date.parse(`${date}T${clock}:${seconds}Z`)
  if (Number.isNaN(asUtc)) {
    return undefined
  }
  const first = asUtc - offsetAt(asUtc, zone)
  const millis = asUtc - offsetAt(first, zone)
  return `${new Date(millis).toISOString().slice(0, 19)}${fraction === "" ? "" : fraction}Z`
}

/** The first and the last instant of a date in a zone. */
export const dayOf = (text: string, zone: string): { readonly from: string; readonly to: string } | undefined => {
  if (!/^\d{4}-\d\d-\d\d$/.test(text) || Number.isNaN(Date.parse(`${text}T00:00:00Z`))) {
    return undefined
  }
  const from = instantOfLocal(`${text}T00:00`, zone)
  const next = new Date(Date.parse(`${text}T00:00:00Z`) + 86_400_000).toISOString().slice(0, 10)
  const end = instantOfLocal(`${next}T00:00`, zone)
  return from === undefined || end === undefined
    ? undefined
    : { from, to: `${new Date(Date.parse(end) - 1000).toISOString().slice(0, 19)}.999999Z` }
}

/** `last 24 hours` */
export const durationName = (text: string): string => {
  const span = spanOf(text)
  return span === undefined ? text : `last ${span.count === 1 ? span.unit : many(span.count, span.unit)}`
}
