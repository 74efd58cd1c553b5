/**
 * Instants in microseconds, as PostgreSQL keeps them and `Date` does not.
 */
import * as DateTime from "effect/DateTime"
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"

const form =
  /^(\d{4})-(\d{2})-(\d{2})(?:[Tt ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,6})0*)?)?(?:([Zz])|([+-])(\d{2})(?::?(\d{2}))?))?$/

/** Microseconds since 1970 of an instant in text, or undefined. */
export const parseMicros = (text: string): bigint | undefined => {
  const match = form.exec(text)
  if (match === null) {
    return undefined
  }
  const [year, month, date, hour, minute, second] = match.slice(1, 7).map((digits) => Number(digits ?? 0)) as [
    number,
    number,
    number,
    number,
    number,
    number
  ]
  const offsetHours = Number(match[10] ?? 0)
  const offsetMinutes = Number(match[11] ?? 0)
  const midnight = new Date(0)
  midnight.setUTCFullYear(year, month - 1, date)
  if (
    year === 0 ||
    midnight.getUTCFullYear() !== year ||
    midnight.getUTCMonth() !== month - 1 ||
    midnight.getUTCDate() !== date ||
    hour > 23 ||
    minute > 59 ||
    second > 59 ||
    offsetHours > 15 ||
    offsetMinutes > 59
  ) {
    return undefined
  }
  const seconds = hour * 3600 + minute * 60 + second
  const offset = (match[9] === "-" ? -1 : 1) * (offsetHours * 3600 + offsetMinutes * 60)
  const micros =
    BigInt(midnight.getTime()) * 1000n + BigInt(seconds - offset) * 1_000_000n + BigInt((match[7] ?? "").padEnd(6, "0"))
  return inRange(micros) ? micros : undefined
}

// The years 1 to 9999, which four digits can write.
const first = -62_135_596_800_000_000n
const last = 253_402_300_799_999_999n

export const inRange = (micros: bigint): boolean => micros >= first && micros <= last

/** The one text of an instant: `2026-11-22T10:00:00.000000Z`. Texts sort as their instants do. */
export const formatMicros = (micros: bigint): string => {
  const extraMicros = ((micros % 1000n) + 1000n) % 1000n
  const millis = Number((micros - extraMicros) / 1000n)
  return `${new Date(millis).toISOString().slice(0, -1)}${extraMicros.toString().padStart(3, "0")}Z`
}

const fromMillis = (millis: number): bigint | undefined => {
  const micros = Number.isFinite(millis) ? BigInt(Math.round(millis * 1000)) : undefined
  return micros !== undefined && inRange(micros) ? micros : undefined
}

/**
 * An instant, with microseconds: an ISO 8601 string with a zone, a date alone (its midnight in UTC), a `Date`, or a `DateTime`.
 *
 * @since 0.1.0
 * @category models
 */
export type InstantInput = string | Date | DateTime.DateTime

const microsOf = (input: InstantInput): bigint | undefined =>
  typeof input === "string"
    ? parseMicros(input)
    : fromMillis(DateTime.isDateTime(input) ? DateTime.toEpochMillis(input) : input.getTime())

const rule = "must be an instant such as 2026-11-22T10:00:00.123456Z, with a zone and at most microseconds"

/**
 * Decodes an `InstantInput` to its one text in UTC with microseconds, `2026-11-22T10:00:00.123456Z`. PostgreSQL's own form of an
 * instant is read too.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Instant: Schema.Schema<string, InstantInput> = Schema.transformOrFail(
  Schema.Union(
    Schema.String,
    Schema.declare((u: unknown): u is Date => u instanceof Date, { identifier: "Date" }),
    Schema.declare(DateTime.isDateTime, { identifier: "DateTime" })
  ),
  Schema.String,
  {
    strict: true,
    decode: (input, _, ast) =>
      Either.map(
        Either.fromNullable(microsOf(input), () => new ParseResult.Type(ast, undefined, rule)),
        formatMicros
      ),
    encode: (text) => ParseResult.succeed(text)
  }
).annotations({ identifier: "Instant", message: () => rule })

/** An instant as it is written: in UTC with microseconds, `2026-11-22T10:00:00.000000Z`. */
export const InstantText: Schema.Schema<string> = Schema.String.pipe(
  Schema.filter((text) => instant(text) === text, {
    message: () => "must be an instant in UTC with microseconds, such as 2026-11-22T10:00:00.123456Z",
    jsonSchema: { format: "date-time" },
    arbitrary: () => (fc) => fc.bigInt({ min: first, max: last }).map(formatMicros)
  })
)

/** The instant in its one text, or undefined if the input is not an instant. */
export const instant = (input: unknown): string | undefined => {
  const usable = typeof input === "string" || input instanceof Date || DateTime.isDateTime(input)
  const micros = usable ? microsOf(input) : undefined
  return micros === undefined ? undefined : formatMicros(micros)
}

export const instantRule = rule
