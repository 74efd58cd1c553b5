/**
 * A row at an instant with its relations: the rows that it refers to, and those that refer to it.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as Pages from "../../Page.js"
import { InvalidRequest } from "../../ThreadlineError.js"
import { formed, formedSchema } from "../core/jsonForm.js"
import { record, recordOfTexts } from "../core/jsonRecord.js"
import { pageFields, pageForm, pageOfForm } from "../core/pageForm.js"
import { Answer, AsOf, asOfForm, RowAsOf } from "./answer.js"
import { asOf, instantOf } from "./asOf.js"
import type { RowImage } from "../record/change.js"
import { presentImage } from "../record/columns.js"
import type { InstantInput } from "../core/instant.js"
import { type KeyInput, KeyJson, type KeyPart, tableKey, TableSchema, tableOf } from "../record/key.js"
import { mustBeObject, paging, type ReadError, request } from "../core/request.js"
import { asOfRows } from "./asOfRows.js"
import type { Storage } from "../record/storage.js"
import { isObject, JsonObject, type JsonValue } from "../core/jsonValue.js"
import { mostRelations } from "../core/limits.js"

/**
 * Rows of `table` that belong to a row: each named column of theirs holds the same value as the named column of the row. It works
 * in both directions: `{ table: "customers", columns: { id: "customer_id" } }` for a row that is referred to, and `{ table:
 * "invoice_lines", columns: { invoice_id: "id" } }` for rows that refer.
 *
 * @since 0.1.0
 * @category models
 */
export interface Relation {
  /** The table of the rows that belong to the row, written as in SQL. */
  readonly table: string
  /** Their column to the column of the row. */
  readonly columns: { readonly [theirs: string]: string }
  /** Rows of the first page: 50 unless given, at most 1000. */
  readonly limit?: number | undefined
}

const RelatedOptions = Schema.Struct({
  keys: Schema.optionalWith(Schema.Array(KeyJson), { exact: true }),
  contains: Schema.optionalWith(JsonObject, { exact: true })
})

const Related = Schema.transform(
  Schema.Struct({ ...pageFields(RowAsOf), table: Schema.String, options: RelatedOptions }),
  Schema.Struct({
    items: Schema.Array(Schema.typeSchema(RowAsOf)),
    nextCursor: Schema.OptionFromSelf(Pages.Cursor),
    hasMore: Schema.Boolean,
    partial: Schema.Boolean,
    table: Schema.String,
    options: Schema.typeSchema(RelatedOptions)
  }),
  {
    strict: true,
    decode: ({ options, table, ...form }) => {
      const page = pageOfForm(form)
      return { ...page, nextCursor: Option.map(page.nextCursor, (cursor) => Pages.Cursor.make(cursor)), table, options }
    },
    encode: ({ options, table, ...page }) => ({ ...pageForm(page), table, options })
  }
).annotations({ identifier: "threadline.RelatedRows" })

/**
 * The first page of a relation. `options` are those of the read: `asOfRows(table, instant, { ...options, cursor })` continues,
 * with the `nextCursor` of this page.
 *
 * @since 0.1.0
 * @category models
 */
export interface RelatedRows extends Pages.Page<RowAsOf> {
  /** The table of these rows. */
  readonly table: string
  /** Which rows these are, as `asOfRows` takes it. */
  readonly options: typeof RelatedOptions.Type
}

const makeRelatedRows: <Rows extends RelatedRows>(rows: Rows) => Rows = formed(
  ({ options, table, ...page }: RelatedRows) => ({ ...pageForm(page), table, options })
)

/**
 * The JSON is that of a page, with `table` and `options` beside its fields.
 *
 * @since 0.1.0
 * @category schemas
 */
export const RelatedRows: Schema.Schema<RelatedRows, typeof Related.Encoded> = formedSchema<
  RelatedRows,
  typeof Related.Encoded,
  never
>(Related, makeRelatedRows)

/**
 * How a row stood at an instant, and a page of each of its relations. The pages are empty if the row was not present.
 *
 * @since 0.1.0
 * @category models
 */
export interface AsOfWith<Name extends string = string> {
  /** How the row stood. */
  readonly answer: AsOf
  /** Empty pages if the row was not present. */
  readonly related: { readonly [K in Name]: RelatedRows }
}

const makeAsOfWith: <Name extends string>(asOfWith: AsOfWith<Name>) => AsOfWith<Name> = formed(
  ({ answer, related }: AsOfWith) => ({ ...asOfForm(answer), related })
)

const Encoded = Schema.extend(Schema.encodedSchema(Answer), Schema.Struct({ related: record(RelatedRows) }))

const WithRelations = Schema.transformOrFail(
  Encoded,
  Schema.Struct({ answer: Schema.typeSchema(AsOf), related: Schema.typeSchema(record(RelatedRows)) }),
  {
    strict: true,
    decode: ({ related, ...encoded }) =>
      ParseResult.map(ParseResult.decode(AsOf)(encoded), (answer) => ({ answer, related })),
    encode: ({ answer, related }) =>
      ParseResult.map(ParseResult.encode(Answer)(answer), (encoded) => ({ ...encoded, related }))
  }
).annotations({ identifier: "threadline.AsOfWith" })

/**
 * The JSON is that of an answer, with the pages beside its fields: `{ answer, row?, rebuilt?, key?, at, related }`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const AsOfWith: Schema.Schema<AsOfWith, typeof WithRelations.Encoded> = formedSchema(WithRelations, makeAsOfWith)

const columnsRule = "must map columns of the related table to the columns of the row that hold the same values"

const RelationRequest = Schema.Struct({
  table: TableSchema,
  columns: recordOfTexts
    .annotations({ message: () => ({ message: columnsRule, override: true }) })
    .pipe(Schema.filter((columns) => Object.keys(columns).length > 0, { message: () => columnsRule })),
  limit: paging.limit
})

const masked = "[masked]"

/** The values of the row's columns, by the columns of the related table. Undefined if one of them is null, masked or not known. */
const valuesOf = (
  row: RowImage,
  columns: { readonly [theirs: string]: string }
): { readonly [theirs: string]: JsonValue } | undefined => {
  const pairs = Object.entries(columns).map(
    ([theirs, ours]) => [theirs, Object.hasOwn(row, ours) ? (row[ours] ?? null) : null] as const
  )
  return pairs.some(([, value]) => value === null || value === masked) ? undefined : Object.fromEntries(pairs)
}

const isKeyPart = (value: JsonValue): value is KeyPart => value !== null && !Array.isArray(value) && !isObject(value)

/** If the columns are the key, the rows are found by their key. Otherwise they are found by what their images contain. */
const optionsOf = (
  values: { readonly [theirs: string]: JsonValue },
  key: ReadonlyArray<string>
): RelatedRows["options"] => {
  const parts = Object.entries(values).filter((pair): pair is [string, KeyPart] => isKeyPart(pair[1]))
  const isKey = parts.length === key.length && key.every((column) => Object.hasOwn(values, column))
  const singlePart = key.length === 1 ? parts[0]?.[1] : undefined
  return isKey && Object.keys(values).length === key.length
    ? { keys: [singlePart ?? Object.fromEntries(parts)] }
    : { contains: values }
}

const related = Effect.fnUntraced(function* (
  storage: Storage,
  at: string,
  row: RowImage | undefined,
  declared: Relation
): Effect.fn.Return<RelatedRows, ReadError> {
  const { columns, limit, table } = yield* Either.mapLeft(
    request(RelationRequest)(declared),
    ({ field, rule }) => new InvalidRequest({ field: "relations", rule: `${field} ${rule}` })
  )
  const { columns: key } = yield* tableKey(storage, tableOf(table))
  const values = row === undefined ? undefined : valuesOf(row, columns)
  if (values === undefined) {
    return makeRelatedRows({ ...Pages.make<RowAsOf>([]), table, options: { keys: [] } })
  }
  const read = (options: RelatedRows["options"]) =>
    Effect.map(asOfRows(storage, table, at, { ...options, limit }), (page): RelatedRows =>
      makeRelatedRows({ ...page, table, options })
    )
  return yield* read(
    optionsOf(
      values,
      (key ?? []).map(({ name }) => name)
    )
  ).pipe(
    // The value in the row may not fit the present type of the related table's key.
    Effect.catchIf(
      (error) => error._tag === "threadline/InvalidRequest" && error.field === "keys",
      () => read({ contains: values })
    )
  )
})

export const asOfWith = Effect.fnUntraced(function* <Name extends string>(
  storage: Storage,
  table: string,
  key: KeyInput,
  when: InstantInput,
  relations: { readonly [K in Name]: Relation }
): Effect.fn.Return<AsOfWith<Name>, ReadError> {
  const at = yield* instantOf(when)
  yield* mustBeObject(relations, "relations")
  const declared = Object.entries<Relation>(relations)
  if (declared.length > mostRelations) {
    return yield* new InvalidRequest({ field: "relations", rule: `must be at most ${mostRelations}` })
  }
  const answer = yield* asOf(storage, table, key, at)
  // Relations use the present names of columns.
  const row = answer._tag === "Present" ? presentImage(answer.row, answer.recordedAs?.columns) : undefined
  const pages = yield* Effect.forEach(declared, ([name, relation]) =>
    Effect.map(related(storage, at, row, relation), (page) => [name, page] as const)
  )
  return makeAsOfWith({ answer, related: Object.fromEntries(pages) as AsOfWith<Name>["related"] })
})
