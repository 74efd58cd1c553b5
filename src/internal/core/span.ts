/**
 * Spans of time as people write them: `90s`, `30m`, `12h`, `7d`, `2w`. The command line and the pages read them, too; how a span is written is
 * a part of no signature.
 */

const units: Readonly<Record<string, { readonly unit: string; readonly millis: number }>> = {
  s: { unit: "second", millis: 1000 },
  m: { unit: "minute", millis: 60_000 },
  h: { unit: "hour", millis: 3_600_000 },
  d: { unit: "day", millis: 86_400_000 },
  w: { unit: "week", millis: 604_800_000 }
}

export interface Span {
  readonly count: number
  /** The noun for one of them. */
  readonly unit: string
  /** All of it in milliseconds. */
  readonly millis: number
}

/** Undefined if it is no such span. */
export const spanOf = (text: unknown): Span | undefined => {
  const [, digits, sign = ""] = typeof text === "string" ? (/^([1-9]\d{0,5})([smhdw])$/.exec(text) ?? []) : []
  const size = units[sign]
  if (digits === undefined || size === undefined) {
    return undefined
  }
  const count = Number(digits)
  return { count, unit: size.unit, millis: count * size.millis }
}
