/**
 * Reads of a table as a host's schema has its rows.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import type * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Page } from "../Page.js"
import type { AsOf } from "./queryAsOf.js"
import type { Change, RowImage } from "./queryChange.js"
import { coercion } from "./queryCoerce.js"
import type { HistoryOptions } from "./queryHistory.js"
import type { InstantInput } from "./queryInstant.js"
import type { KeyInput } from "./queryKey.js"
import type { ReadError } from "./queryRequest.js"
import { imageBefore } from "./queryRow.js"
import type { AsOfRowsOptions, RowAsOf } from "./queryRows.js"
import type { Service } from "./queryService.js"

/** An image that does not fit the schema: of a time when the table was another, masked, or never as the schema says. */
export class Undecodable extends Data.TaggedError("Undecodable")<{
  /** The row as it was stored. */
  readonly image: RowImage
  /** Says what does not fit. It shows captured values: nothing for a log. */
  readonly error: ParseResult.ParseError
}> {
  override get message(): string {
    return "a stored row does not fit the schema"
  }
}

/** A row as the schema has it, or the image that does not fit. */
export type Decoded<A> = Either.Either<A, Undecodable>

/** A change with the rows on both sides of it; null where there is none, or none that the reader may see. */
export interface TypedChange<A> {
  readonly change: Change
  readonly before: Decoded<A> | null
  readonly after: Decoded<A> | null
}

/** How a row stood at an instant. */
export type TypedAsOf<A> =
  | { readonly _tag: "Present"; readonly row: Decoded<A>; readonly at: string }
  | Exclude<AsOf, { readonly _tag: "Present" }>

/** A row that was present at an instant. */
export interface TypedRow<A> extends Omit<RowAsOf, "row"> {
  readonly row: Decoded<A>
}

export interface TypedOptions {
  /**
   * The schema's name of a column, where the host's client transforms names (`snakeToCamel`). Only names of columns are
   * changed, nothing inside their values.
   */
  readonly fieldOf?: ((column: string) => string) | undefined
}

export interface Typed<A, R> {
  /** An image of the table by the schema. */
  readonly decode: (image: RowImage) => Effect.Effect<Decoded<A>, never, R>
  readonly history: (key: KeyInput, options?: HistoryOptions) => Effect.Effect<Page<TypedChange<A>>, ReadError, R>
  readonly historyStream: (
    key: KeyInput,
    options?: Omit<HistoryOptions, "limit">
  ) => Stream.Stream<TypedChange<A>, ReadError, R>
  readonly asOf: (key: KeyInput, instant: InstantInput) => Effect.Effect<TypedAsOf<A>, ReadError, R>
  readonly asOfRows: (
    instant: InstantInput,
    options?: AsOfRowsOptions
  ) => Effect.Effect<Page<TypedRow<A>>, ReadError, R>
  readonly asOfRowsStream: (
    instant: InstantInput,
    options?: Omit<AsOfRowsOptions, "limit">
  ) => Stream.Stream<TypedRow<A>, ReadError, R>
}

const renamed = (image: RowImage, fieldOf: (column: string) => string): RowImage =>
  Object.fromEntries(Object.entries(image).map(([column, value]) => [fieldOf(column), value]))

const beforeOf = (change: Change): RowImage | undefined =>
  change.op === "update" && change.changedFrom === null ? undefined : imageBefore(change)

export const typed = <A, I, R, Q>(
  query: Effect.Effect<Service, never, Q>,
  table: string,
  schema: Schema.Schema<A, I, R>,
  { fieldOf }: TypedOptions
): Typed<A, R | Q> => {
  const coerce = coercion(schema)
  const parse = Schema.decodeUnknown(schema)

  const decode = (image: RowImage): Effect.Effect<Decoded<A>, never, R> =>
    Effect.suspend(() => parse(coerce(fieldOf === undefined ? image : renamed(image, fieldOf)))).pipe(
      Effect.mapError((error) => new Undecodable({ image, error })),
      Effect.either
    )

  const maybe = (image: RowImage | null | undefined): Effect.Effect<Decoded<A> | null, never, R> =>
    image === null || image === undefined ? Effect.succeed(null) : decode(image)

  const typedChange = (change: Change): Effect.Effect<TypedChange<A>, never, R> =>
    Effect.zipWith(maybe(beforeOf(change)), maybe(change.dataAfter), (before, after) => ({ change, before, after }))

  const typedRow = (row: RowAsOf): Effect.Effect<TypedRow<A>, never, R> =>
    Effect.map(decode(row.row), (decoded) => ({ ...row, row: decoded }))

  const page = <X, Y>(
    read: (service: Service) => Effect.Effect<Page<X>, ReadError>,
    item: (item: X) => Effect.Effect<Y, never, R>
  ): Effect.Effect<Page<Y>, ReadError, R | Q> =>
    Effect.flatMap(query, (service) =>
      Effect.flatMap(read(service), (found) =>
        Effect.map(Effect.forEach(found.items, item), (items) => ({ ...found, items }))
      )
    )

  const stream = <X, Y>(
    read: (service: Service) => Stream.Stream<X, ReadError>,
    item: (item: X) => Effect.Effect<Y, never, R>
  ): Stream.Stream<Y, ReadError, R | Q> => Stream.mapEffect(Stream.unwrap(Effect.map(query, read)), item)

  return {
    decode,
    history: (key, options) => page((service) => service.history(table, key, options), typedChange),
    historyStream: (key, options) => stream((service) => service.historyStream(table, key, options), typedChange),
    asOf: (key, instant) =>
      Effect.flatMap(query, (service) =>
        Effect.flatMap(service.asOf(table, key, instant), (answer): Effect.Effect<TypedAsOf<A>, never, R> =>
          answer._tag === "Present"
            ? Effect.map(decode(answer.row), (row) => ({ ...answer, row }))
            : Effect.succeed(answer)
        )
      ),
    asOfRows: (instant, options) => page((service) => service.asOfRows(table, instant, options), typedRow),
    asOfRowsStream: (instant, options) => stream((service) => service.asOfRowsStream(table, instant, options), typedRow)
  }
}
