/**
 * Requests: what callers may write, and the `InvalidRequest` that names what is wrong.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { InvalidRequest, type NotFound, type ThreadlineError } from "../../ThreadlineError.js"
import { canonical } from "./json.js"
import { shortTextRule } from "./text.js"
import type { JsonValue } from "./jsonValue.js"
import { largestPage, usualPage } from "./limits.js"

/**
 * Why a read failed.
 *
 * @since 0.1.0
 * @category errors
 */
export type ReadError = InvalidRequest | NotFound | ThreadlineError

/**
 * Refuses a value that must be an object and is not. Undefined is refused too, because optional arguments have a default. A
 * caller in JavaScript may give anything. A `Map` is refused because it has its entries elsewhere: it would count as an object without
 * fields, and what it says would be ignored silently.
 */
export const notAnObject = (value: unknown, field: string = "options"): InvalidRequest | undefined =>
  Object.prototype.toString.call(value) === "[object Object]"
    ? undefined
    : new InvalidRequest({ field, rule: "must be an object" })

/** The first field that is not one of `known`. It may be a misspelt option, which would be ignored silently. */
export const unknownField = (
  value: object,
  knownFields: { readonly [field: string]: true },
  name: (field: string) => string = (field) => field
): InvalidRequest | undefined => {
  const unknown = Object.keys(value).find((field) => !Object.hasOwn(knownFields, field))
  return unknown === undefined ? undefined : new InvalidRequest({ field: name(unknown), rule: "is not known here" })
}

/** `notAnObject` as an effect. */
export const mustBeObject = (value: unknown, field?: string): Effect.Effect<void, InvalidRequest> =>
  Effect.suspend(() => notAnObject(value, field) ?? Effect.void)

/** Refuses a value that is not an object, and a field that is not one of `knownFields`. */
export const mustHaveOnly = (
  value: object,
  knownFields: { readonly [field: string]: true },
  field?: string
): Effect.Effect<void, InvalidRequest> =>
  Effect.suspend(() => notAnObject(value, field) ?? unknownField(value, knownFields) ?? Effect.void)

/** A hook of the caller's: a function, or nothing. */
export const mustBeFunction = (field: string, value: unknown): Effect.Effect<void, InvalidRequest> =>
  value === undefined || typeof value === "function"
    ? Effect.void
    : Effect.fail(new InvalidRequest({ field, rule: "must be a function" }))

/** Tells a hook of the caller's. One from JavaScript may answer with nothing, or with something that is no effect: then it has been told. */
export const told = <A, E>(hook: ((news: A) => Effect.Effect<void, E>) | undefined, news: A): Effect.Effect<void, E> =>
  Effect.suspend(() => {
    const answer: unknown = hook?.(news)
    return Effect.isEffect(answer) ? (answer as Effect.Effect<void, E>) : Effect.void
  })

/** Whether a duration is negative, or no number: `Duration` would take it for zero. */
const isNegative = (input: unknown): boolean =>
  ((typeof input === "number" || typeof input === "bigint") && !(input >= 0)) ||
  (typeof input === "string" && input.trim().startsWith("-"))

/** A duration in whole milliseconds; a shorter one becomes 1. Zero is refused unless `allowed` is `nothing`. */
export const millisOf = (
  field: string,
  input: unknown,
  allowed: "something" | "nothing" = "something"
): Either.Either<number, InvalidRequest> => {
  const duration = typeof input === "object" && !Duration.isDuration(input) && !Array.isArray(input) ? undefined : input
  const decodedMillis = Option.match(isNegative(input) ? Option.none() : Duration.decodeUnknown(duration), {
    onNone: () => Number.NaN,
    onSome: Duration.toMillis
  })
  return decodedMillis < 2 ** 31 && (decodedMillis > 0 || (allowed === "nothing" && decodedMillis === 0))
    ? Either.right(decodedMillis === 0 ? 0 : Math.max(1, Math.round(decodedMillis)))
    : Either.left(
        new InvalidRequest({
          field,
          rule: `must be a duration, such as "3 seconds", of ${allowed === "something" ? "at least a millisecond and " : ""}less than 24 days`
        })
      )
}

/** `millisOf` as an effect. */
export const millis = (
  field: string,
  input: unknown,
  allowed: "something" | "nothing" = "something"
): Effect.Effect<number, InvalidRequest> => Effect.suspend(() => millisOf(field, input, allowed))

/** Decodes a request. The first mistake becomes an `InvalidRequest` that names its field. */
export const request =
  <A, I>(schema: Schema.Schema<A, I>) =>
  (input: unknown): Either.Either<A, InvalidRequest> => {
    const notObject = notAnObject(input, "request")
    if (notObject !== undefined) {
      return Either.left(notObject)
    }
    try {
      return Either.mapLeft(decodeEither(schema, input), refusal)
    } catch (error) {
      // A value that is nested deeper than the stack can be neither compared nor described.
      if (error instanceof Error && error.message.includes("Maximum call stack size exceeded")) {
        return Either.left(new InvalidRequest({ field: "request", rule: "is nested too deeply" }))
      }
      throw error
    }
  }

/**
 * What is wrong with a value, and where in it. A union has several alternatives: the one that got furthest into the value says what is
 * wrong with it.
 */
export const mistakeIn = (
  error: ParseResult.ParseError
): { readonly path: ReadonlyArray<PropertyKey>; readonly rule: string } => {
  const [firstIssue, ...otherIssues] = ParseResult.ArrayFormatter.formatErrorSync(error)
  const issue = otherIssues.reduce(
    (furthest, other) => (other.path.length > (furthest?.path.length ?? 0) ? other : furthest),
    firstIssue
  )
  return {
    path: issue?.path ?? [],
    rule: issue === undefined || issue._tag === "Unexpected" ? "is not known here" : issue.message
  }
}

const refusal = (error: ParseResult.ParseError): InvalidRequest => {
  const { path, rule } = mistakeIn(error)
  return new InvalidRequest({ field: path.length === 0 ? "request" : String(path[0]), rule })
}

const decodeEither = <A, I>(schema: Schema.Schema<A, I>, input: unknown) =>
  Schema.decodeUnknownEither(schema)(input, { onExcessProperty: "error", errors: "first" })

/** A text that is equal for equal requests. The size of the page and the place in the list are left out. */
export const canonicalRequest = (request: { readonly [field: string]: unknown }): string =>
  canonical(
    Object.fromEntries(
      Object.entries(request).filter(
        ([field, value]) => field !== "limit" && field !== "cursor" && value !== undefined && value !== false
      )
    ) as { readonly [field: string]: JsonValue }
  )

const ruled = (rule: (value: string) => string | undefined, description: string) =>
  Schema.String.annotations({ message: () => `must be ${description}` }).pipe(
    Schema.filter((value) => rule(value) ?? true, {
      message: ({ actual }) => (typeof actual === "string" ? rule(actual) : undefined) ?? `must be ${description}`
    })
  )

/** An id, a name or a label: 1 to 256 bytes. */
export const ShortText: Schema.Schema<string> = ruled(shortTextRule, "a string of 1 to 256 bytes")

const maxId = 2n ** 63n - 1n

export const idRule = "must be an id: decimal digits, at most 9223372036854775807"

export const isId = (value: string): boolean => /^(0|[1-9][0-9]{0,18})$/.test(value) && BigInt(value) <= maxId

/** The id of a transaction, an action or a change. */
export const Id: Schema.Schema<string> = Schema.String.annotations({ message: () => idRule }).pipe(
  Schema.filter(isId, {
    message: () => idRule,
    jsonSchema: { pattern: "^[0-9]{1,19}$" },
    arbitrary: () => (fc) => fc.bigInt({ min: 1n, max: maxId }).map(String)
  })
)

export const id = (field: string, value: unknown): Effect.Effect<string, InvalidRequest> =>
  typeof value === "string" && isId(value)
    ? Effect.succeed(value)
    : Effect.fail(new InvalidRequest({ field, rule: idRule }))

/** A whole number within bounds, with a default. */
export const wholeNumber = (description: string, least: number, most: number, otherwise: number) => {
  const rule = `must be a whole number from ${least} to ${most}`
  return Schema.optionalWith(
    Schema.Number.annotations({ description, message: () => rule }).pipe(
      Schema.filter((value) => Number.isInteger(value) && value >= least && value <= most, { message: () => rule })
    ),
    { default: () => otherwise }
  )
}

/** What every paged read takes besides its filters. */
export interface Paging {
  /** Items in a page, 1 to 1000: 50 unless given. */
  readonly limit?: number | undefined
  /** `nextCursor` of the page before, of the same read. */
  readonly cursor?: string | undefined
}

/** What a read takes whose items have an order in time. */
export interface OrderedPaging extends Paging {
  /** `newest` first unless given. */
  readonly order?: "newest" | "oldest" | undefined
}

export const paging = {
  limit: wholeNumber("items in a page", 1, largestPage, usualPage),
  cursor: Schema.optional(Schema.String.annotations({ message: () => "must be a string" }))
}

/** One of several strings. A union of literals would merge into the union of an optional field and lose its message. */
export const choice = <A extends string>(...values: readonly [A, ...Array<A>]): Schema.Schema<A> => {
  const rule = `must be ${values.slice(0, -1).join(", ")} or ${values.at(-1) ?? ""}`
  const isOne = (text: string): text is A => values.some((value) => value === text)
  return Schema.String.annotations({ message: () => rule }).pipe(Schema.filter(isOne, { message: () => rule })) as never
}

export const Order = choice("newest", "oldest")

export type Order = typeof Order.Type

/** Newest first unless given. */
export const order = Schema.optionalWith(Order, { default: () => "newest" as const })
