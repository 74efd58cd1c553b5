/**
 * A filter as a JSON document.
 */
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as Actor from "../../Actor.js"
import { JsonObject, JsonValue } from "../core/jsonValue.js"
import { Operation } from "../record/change.js"
import { decodeFilter } from "./filter.js"
import { Filter } from "./filters.js"
import type { FilterInput } from "./filterInput.js"
import { canonicalFields, refusedInput } from "./filterUrl.js"

const field = <A, I>(schema: Schema.Schema<A, I>) => Schema.optionalWith(schema, { exact: true })

const oneOrMore = <A extends string>(element: Schema.Schema<A>) => Schema.Union(element, Schema.NonEmptyArray(element))

const Text = Schema.String

const ActorJson = Schema.Struct({
  type: Schema.Literal(...Actor.types),
  id: field(Text)
})

const FilterJson = Schema.Struct({
  table: field(oneOrMore(Text)),
  schema: field(Text),
  /** The value of a key of one column. For several columns, a list in key order or an object by column name. */
  key: field(JsonValue),
  op: field(oneOrMore(Operation)),
  contains: field(JsonObject),
  changedField: field(oneOrMore(Text)),
  actor: field(ActorJson),
  impersonator: field(ActorJson),
  actorLabel: field(Text),
  unattributed: field(Schema.Boolean),
  action: field(oneOrMore(Text)),
  actionStatus: field(Schema.Literal("ok", "error")),
  correlationId: field(Text),
  includeCaptureOnly: field(Schema.Boolean),
  requestId: field(Text),
  jobId: field(Text),
  traceId: field(Text),
  source: field(Text),
  meta: field(JsonObject),
  dbUser: field(Text),
  transactionId: field(Text),
  /** An instant with its zone. */
  from: field(Text),
  to: field(Text),
  order: field(Schema.Literal("newest", "oldest")),
  limit: field(Schema.Number),
  cursor: field(Text)
} satisfies { readonly [F in keyof Required<FilterInput>]: unknown }).annotations({
  identifier: "threadline.Filter",
  parseOptions: { onExcessProperty: "error" }
})

/**
 * The schema of a filter as a JSON document, for the body of an endpoint of an `HttpApi`, or to be stored. The fields are those
 * of `FilterInput`, with instants as strings. An encoded filter leaves out fields that are not given or have their default. Equal
 * filters have equal documents. `Json.fromText(Query.FilterFromJson)` keeps every digit of the numbers in it.
 *
 * @since 0.1.0
 * @category schemas
 */
export const FilterFromJson: Schema.Schema<Filter, typeof FilterJson.Encoded> = Schema.transformOrFail(
  FilterJson,
  Schema.typeSchema(Filter),
  {
    strict: true,
    decode: (document, _, ast) => Either.mapLeft(decodeFilter(document as FilterInput), refusedInput(ast, document)),
    encode: (filter) => ParseResult.succeed(Object.fromEntries(canonicalFields(filter)) as typeof FilterJson.Type)
  }
)
