/**
 * Reads of a table, with rows decoded by a host's schema.
 */
import type { YieldableError } from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import type * as ParseResult from "effect/ParseResult"
import * as Record from "effect/Record"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Struct from "effect/Struct"
import type { Page } from "../../Page.js"
import { withFields } from "../core/jsonForm.js"
import type { AsOf, KeyAsOf, RowAsOf } from "../rows/answer.js"
import type { Change, RowImage } from "../record/change.js"
import { presentImage, type RecordedAs, recordedColumns } from "../record/columns.js"
import type { TableNames } from "../record/names.js"
import { coercion } from "./coerce.js"
import type { HistoryOptions } from "../rows/history.js"
import type { InstantInput } from "../core/instant.js"
import type { KeyInput } from "../record/key.js"
import type { ReadError } from "../core/request.js"
import { imageBefore } from "../rows/life.js"
import type { RelatedRows, Relation } from "../rows/relations.js"
import type { AsOfRowsOptions } from "../rows/asOfRows.js"
import type { Service } from "./service.js"

interface Misfit {
  /** The row as it was stored. */
  readonly image: RowImage
  /** Says what does not fit. It shows captured values, so do not log it. */
  readonly error: ParseResult.ParseError
}

// The type is written out. The inferred one would name a type that older versions of Effect do not have.
const UndecodableError: new (fields: Misfit) => YieldableError & { readonly _tag: "Undecodable" } & Readonly<Misfit> =
  Data.TaggedError("Undecodable")<Misfit>

/**
 * A stored row that does not fit the schema: the table had other columns then, a column is masked, or the schema is wrong. `error` says
 * what does not fit; it shows captured values.
 *
 * @since 0.1.0
 * @category errors
 */
export class Undecodable extends UndecodableError {
  override get message(): string {
    return "a stored row does not fit the schema"
  }
}

/**
 * A row decoded by the schema, or the stored image that does not fit it.
 *
 * @since 0.1.0
 * @category models
 */
export type Decoded<A> = Either.Either<A, Undecodable>

/**
 * A change with the rows before and after it, decoded. A row is null if there is none, or if the reader may not see it.
 *
 * @since 0.1.0
 * @category models
 */
export interface TypedChange<A> {
  /** The change as it is recorded. */
  readonly change: Change
  /** The row before it. */
  readonly before: Decoded<A> | null
  /** The row after it. */
  readonly after: Decoded<A> | null
}

/**
 * How a row stood at an instant, decoded if it was present.
 *
 * @since 0.1.0
 * @category models
 */
export type TypedAsOf<A> =
  | {
      readonly _tag: "Present"
      /** The row, or why its image does not fit the schema. */
      readonly row: Decoded<A>
      /** There if the row was rebuilt from later changes. */
      readonly rebuilt?: true
      /** There if the table or its columns have other names now. */
      readonly recordedAs?: RecordedAs
      /** The instant. */
      readonly at: string
    }
  | Exclude<AsOf, { readonly _tag: "Present" }>

/**
 * A row that was present at an instant, decoded.
 *
 * @since 0.1.0
 * @category models
 */
export interface TypedRow<A> extends Omit<RowAsOf, "row"> {
  /** The row, or why its image does not fit the schema. */
  readonly row: Decoded<A>
}

/**
 * How the row under one of several keys stood at an instant, decoded if it was present.
 *
 * @since 0.1.0
 * @category models
 */
export interface TypedKeyAsOf<A> extends Omit<KeyAsOf, "answer"> {
  /** How the row stood. */
  readonly answer: TypedAsOf<A>
}

/**
 * A relation, with the `schema` of its rows if they are to be decoded.
 *
 * @since 0.1.0
 * @category models
 */
export interface TypedRelation extends Relation {
  /** Decodes the rows. They stay images without it. */
  readonly schema?: Schema.Schema.All | undefined
}

export interface TypedRelations {
  readonly [name: string]: TypedRelation
}

type SchemaOf<R> = "schema" extends keyof R ? R["schema"] : undefined

/** A row of a relation: decoded by its schema, or the image if the relation has no schema. */
export type TypedRelated<R> = RelatedAs<SchemaOf<R>>

type RelatedAs<S> = S extends Schema.Schema.All ? TypedRow<Schema.Schema.Type<S>> : RowAsOf

/** The services that the schemas of relations require. */
export type RelationsContext<Relations> = {
  readonly [Name in keyof Relations]: ContextOf<SchemaOf<Relations[Name]>>
}[keyof Relations]

type ContextOf<S> = S extends Schema.Schema.All ? Schema.Schema.Context<S> : never

/**
 * The first page of a relation, and the options with which `asOfRows` continues it.
 *
 * @since 0.1.0
 * @category models
 */
export interface TypedRelatedRows<Row> extends Page<Row>, Pick<RelatedRows, "table" | "options"> {}

/**
 * How a row stood at an instant, decoded, and a page of each of its relations. Rows of a relation with a schema are decoded. Rows
 * of a relation without one are images.
 *
 * @since 0.1.0
 * @category models
 */
export interface TypedAsOfWith<A, Relations> {
  /** How the row stood. */
  readonly answer: TypedAsOf<A>
  /** A page of each relation. The pages are empty if the row was not present. */
  readonly related: { readonly [Name in keyof Relations]: TypedRelatedRows<TypedRelated<Relations[Name]>> }
}

/**
 * Options of `typed`.
 *
 * @since 0.1.0
 * @category models
 */
export interface TypedOptions {
  /**
   * The schema's name of a column, if the host's client transforms names (`snakeToCamel`). Only names of columns are
   * changed, nothing inside their values.
   */
  readonly fieldOf?: ((column: string) => string) | undefined
}

/**
 * The reads of one table, decoded by a schema.
 *
 * @since 0.1.0
 * @category models
 */
export interface Typed<A, R> {
  /** Decodes an image of the table by the schema. */
  readonly decode: (image: RowImage) => Effect.Effect<Decoded<A>, never, R>
  /** `Query.history` of a row. */
  readonly history: (key: KeyInput, options?: HistoryOptions) => Effect.Effect<Page<TypedChange<A>>, ReadError, R>
  /** `Query.historyStream` of a row. */
  readonly historyStream: (
    key: KeyInput,
    options?: Omit<HistoryOptions, "limit">
  ) => Stream.Stream<TypedChange<A>, ReadError, R>
  /** `Query.asOf` of a row. */
  readonly asOf: (key: KeyInput, instant: InstantInput) => Effect.Effect<TypedAsOf<A>, ReadError, R>
  /** `Query.asOfKeys`: several rows at one instant. */
  readonly asOfKeys: (
    keys: ReadonlyArray<KeyInput>,
    instant: InstantInput
  ) => Effect.Effect<ReadonlyArray<TypedKeyAsOf<A>>, ReadError, R>
  /** `Query.asOfRows`: a page of the rows at an instant. */
  readonly asOfRows: (
    instant: InstantInput,
    options?: AsOfRowsOptions
  ) => Effect.Effect<Page<TypedRow<A>>, ReadError, R>
  /** `Query.asOfRowsStream`: all rows at an instant. */
  readonly asOfRowsStream: (
    instant: InstantInput,
    options?: Omit<AsOfRowsOptions, "limit">
  ) => Stream.Stream<TypedRow<A>, ReadError, R>
  /**
   * A row and its relations. `columns` names columns of the tables, not the names that `fieldOf` makes. Rows of a relation with a
   * `schema` are decoded by it, with the same `fieldOf`. Rows of a relation without one stay images.
   */
  readonly asOfWith: <Relations extends TypedRelations>(
    key: KeyInput,
    instant: InstantInput,
    relations: Relations
  ) => Effect.Effect<TypedAsOfWith<A, Relations>, ReadError, R | RelationsContext<Relations>>
}

const renamed = (image: RowImage, fieldOf: (column: string) => string): RowImage =>
  Object.fromEntries(Object.entries(image).map(([column, value]) => [fieldOf(column), value]))

const beforeOf = (change: Change): RowImage | undefined =>
  change.op === "update" && change.changedFrom === null ? undefined : imageBefore(change)

/** Decodes images by a schema. */
const decoder = <A, I, R>(
  schema: Schema.Schema<A, I, R>,
  fieldOf: TypedOptions["fieldOf"]
): ((image: RowImage) => Effect.Effect<Decoded<A>, never, R>) => {
  const coerce = coercion(schema)
  const parse = Schema.decodeUnknown(schema)
  return (image) =>
    Effect.suspend(() => parse(coerce(fieldOf === undefined ? image : renamed(image, fieldOf)))).pipe(
      Effect.mapError((error) => new Undecodable({ image, error })),
      Effect.either
    )
}

const rowBy =
  <A, R>(decode: (image: RowImage) => Effect.Effect<Decoded<A>, never, R>) =>
  (row: RowAsOf): Effect.Effect<TypedRow<A>, never, R> =>
    Effect.map(decode(presentImage(row.row, row.recordedAs?.columns)), (decoded) => ({ ...row, row: decoded }))

/** Decodes the rows of a relation by its schema, if it has one. */
const relatedBy = (
  page: RelatedRows,
  schema: TypedRelation["schema"],
  fieldOf: TypedOptions["fieldOf"]
): Effect.Effect<TypedRelatedRows<TypedRow<unknown> | RowAsOf>, never, unknown> =>
  schema === undefined
    ? Effect.succeed(page)
    : Effect.map(
        Effect.forEach(page.items, rowBy(decoder(schema as Schema.Schema<unknown, unknown, unknown>, fieldOf))),
        (items) => withFields(page, { items })
      )

export const typed = <A, I, R, Q>(
  query: Effect.Effect<Service, never, Q>,
  table: string,
  schema: Schema.Schema<A, I, R>,
  { fieldOf }: TypedOptions
): Typed<A, R | Q> => {
  const decode = decoder(schema, fieldOf)

  const maybe = (image: RowImage | null | undefined): Effect.Effect<Decoded<A> | null, never, R> =>
    image === null || image === undefined ? Effect.succeed(null) : decode(image)

  const typedChange =
    ({ columns }: TableNames) =>
    (change: Change): Effect.Effect<TypedChange<A>, never, R> => {
      // The schema uses the present names of the columns.
      const present = (image: RowImage | null | undefined) =>
        image === null || image === undefined
          ? image
          : presentImage(image, recordedColumns(image, columns, change.capturedAt))
      return Effect.zipWith(maybe(present(beforeOf(change))), maybe(present(change.dataAfter)), (before, after) => ({
        change,
        before,
        after
      }))
    }

  const names = Effect.flatMap(query, (service) => service.names(table))

  const typedRow = rowBy(decode)

  const typedAnswer = (answer: AsOf): Effect.Effect<TypedAsOf<A>, never, R> =>
    answer._tag === "Present"
      ? Effect.map(decode(presentImage(answer.row, answer.recordedAs?.columns)), (row) => ({ ...answer, row }))
      : Effect.succeed(answer)

  const page = <X, Y>(
    read: (service: Service) => Effect.Effect<Page<X>, ReadError>,
    item: (item: X) => Effect.Effect<Y, never, R>
  ): Effect.Effect<Page<Y>, ReadError, R | Q> =>
    Effect.flatMap(query, (service) =>
      Effect.flatMap(read(service), (plainPage) =>
        Effect.map(Effect.forEach(plainPage.items, item), (items) => withFields(plainPage, { items }))
      )
    )

  const stream = <X, Y>(
    read: (service: Service) => Stream.Stream<X, ReadError>,
    item: (item: X) => Effect.Effect<Y, never, R>
  ): Stream.Stream<Y, ReadError, R | Q> => Stream.mapEffect(Stream.unwrap(Effect.map(query, read)), item)

  return {
    decode,
    history: (key, options) =>
      Effect.flatMap(names, (tableNames) =>
        page((service) => service.history(table, key, options), typedChange(tableNames))
      ),
    historyStream: (key, options) =>
      Stream.unwrap(
        Effect.map(names, (tableNames) =>
          stream((service) => service.historyStream(table, key, options), typedChange(tableNames))
        )
      ),
    asOf: (key, instant) =>
      Effect.flatMap(query, (service) => Effect.flatMap(service.asOf(table, key, instant), typedAnswer)),
    asOfKeys: (keys, instant) =>
      Effect.flatMap(query, (service) =>
        Effect.flatMap(service.asOfKeys(table, keys, instant), (answers) =>
          Effect.forEach(answers, (keyAnswer) =>
            Effect.map(typedAnswer(keyAnswer.answer), (answer) => ({ ...keyAnswer, answer }))
          )
        )
      ),
    asOfRows: (instant, options) => page((service) => service.asOfRows(table, instant, options), typedRow),
    asOfRowsStream: (instant, options) =>
      stream((service) => service.asOfRowsStream(table, instant, options), typedRow),
    asOfWith: <Relations extends TypedRelations>(key: KeyInput, instant: InstantInput, relations: Relations) =>
      Effect.gen(function* () {
        const service = yield* query
        const plain = Record.map<string, TypedRelation, Relation>(relations, Struct.omit("schema"))
        const plainAnswer = yield* service.asOfWith(table, key, instant, plain)
        const answer = yield* typedAnswer(plainAnswer.answer)
        const pages = yield* Effect.forEach(Object.entries(plainAnswer.related), ([name, page]) =>
          Effect.map(relatedBy(page, relations[name]?.schema, fieldOf), (typed) => [name, typed] as const)
        )
        return { answer, related: Object.fromEntries(pages) }
      }) as Effect.Effect<TypedAsOfWith<A, Relations>, ReadError, R | Q | RelationsContext<Relations>>
  }
}
