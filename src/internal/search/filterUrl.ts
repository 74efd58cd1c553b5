/**
 * A filter as one string: a URL query. Equal filters have equal strings, and a string reads back as the filter that it was made of.
 */
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"
import { InvalidRequest } from "../../ThreadlineError.js"
import { canonical, normal, parse } from "../core/json.js"
import { decodeFilter } from "./filter.js"
import { Filter } from "./filters.js"
import { usualPage } from "../core/limits.js"
import { format as formatTable } from "../core/tableName.js"
import { tableOf } from "../record/key.js"
import { isObject, type JsonValue } from "../core/jsonValue.js"

/** How the value of a field is written and read again. If a string cannot be read, the schema refuses it. */
interface Form {
  readonly write: (value: unknown) => ReadonlyArray<string>
  readonly read: (texts: ReadonlyArray<string>) => unknown
}

const single: Form = {
  write: (value) => [String(value)],
  read: ([text]) => text
}

const several: Form = {
  write: (value) => value as ReadonlyArray<string>,
  read: (texts) => texts
}

const flag: Form = {
  write: () => ["true"],
  read: ([text]) => (text === "true" ? true : text === "false" ? undefined : text)
}

const number: Form = {
  write: (value) => [String(value)],
  read: ([text = ""]) => (/^[0-9]{1,9}$/.test(text) ? Number(text) : text)
}

const document: Form = {
  write: (value) => [canonical(value as JsonValue)],
  read: ([text = ""]) => parse(text) ?? text
}

/** `user:42`, `anonymous`. Everything after the first colon is the id. */
const actor: Form = {
  write: (value) => {
    const { id, type } = value as { readonly type: string; readonly id?: string }
    return [id === undefined ? type : `${type}:${id}`]
  },
  read: ([text = ""]) => {
    const colon = text.indexOf(":")
    return colon === -1 ? { type: text } : { type: text.slice(0, colon), id: text.slice(colon + 1) }
  }
}

/** In the order of the text. */
const forms = {
  table: {
    write: (value: unknown) => (value as ReadonlyArray<string>).map((text) => formatTable(tableOf(text))),
    read: several.read
  },
  schema: single,
  key: single,
  op: several,
  contains: document,
  changedField: several,
  actor,
  impersonator: actor,
  actorLabel: single,
  unattributed: flag,
  action: several,
  actionStatus: single,
  correlationId: single,
  includeCaptureOnly: flag,
  requestId: single,
  jobId: single,
  traceId: single,
  source: single,
  meta: document,
  dbUser: single,
  transactionId: single,
  from: single,
  to: single,
  order: single,
  limit: number,
  cursor: single
} satisfies { readonly [F in keyof Required<Filter>]: Form }

type Field = keyof typeof forms

/**
 * A key of several columns has a field of its own, because its text could also be the key of one column. So has the empty string: an
 * empty field of a form is one that nobody filled in.
 */
const keyAsJson = "keyJson"

const repeatable: ReadonlySet<string> = new Set<Field>(["table", "op", "changedField", "action"])

const defaults: { readonly [F in Field]?: unknown } = {
  unattributed: false,
  includeCaptureOnly: false,
  order: "newest",
  limit: usualPage
}

const isField = (name: string): name is Field => Object.hasOwn(forms, name)

const canonicalValue = (field: Field, value: unknown): unknown =>
  field === "table" ? forms.table.write(value) : field === "key" ? normal(value as JsonValue) : value

/** The fields of a filter in one order, without fields that have no effect. Tables are written with their schemas. */
export const canonicalFields = (filter: Filter): ReadonlyArray<readonly [field: Field, value: unknown]> =>
  (Object.keys(forms) as ReadonlyArray<Field>).flatMap((field) => {
    const value = filter[field]
    return value === undefined || value === defaults[field] ? [] : [[field, canonicalValue(field, value)] as const]
  })

const paramsOf = (filter: Filter): ReadonlyArray<readonly [name: string, texts: ReadonlyArray<string>]> =>
  canonicalFields(filter).map(([field, value]) =>
    field === "key" && (typeof value !== "string" || value === "")
      ? [keyAsJson, [canonical(value as JsonValue)]]
      : [field, forms[field].write(value)]
  )

/**
 * The one text of a filter, a URL query without question mark: `table=public.posts&actor=user%3A42`. Equal filters have equal
 * texts. An actor is `type` or `type:id`, objects are JSON, a key of several columns, or the empty string, is `keyJson`.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toUrl = (filter: Filter): string =>
  new URLSearchParams(
    paramsOf(filter).flatMap(([name, texts]) => texts.map((text): [string, string] => [name, text]))
  ).toString()

const refused = (field: string, rule: string) => Either.left(new InvalidRequest({ field, rule }))

const fromParams = (params: ReadonlyMap<string, ReadonlyArray<string>>): Either.Either<Filter, InvalidRequest> => {
  const input: Record<string, unknown> = {}
  for (const [name, texts] of params) {
    if (texts.length > 1 && !repeatable.has(name)) {
      return refused(name, "must be given once")
    }
    if (name === keyAsJson) {
      const key = parse(texts[0] ?? "")
      if (params.has("key")) {
        return refused(keyAsJson, "is another form of key; leave one of the two out")
      }
      if (typeof key !== "string" && !Array.isArray(key) && !isObject(key)) {
        return refused(keyAsJson, "must be a JSON array, object or string")
      }
      input["key"] = key
    } else if (isField(name)) {
      input[name] = forms[name].read(texts)
    } else {
      return refused(name, "is not known here")
    }
  }
  return decodeFilter(input)
}

/**
 * Reads the text of a filter, with or without question mark. `InvalidRequest` names what is unknown, repeated, malformed or
 * contradictory.
 *
 * @since 0.1.0
 * @category conversions
 * @example
 * ```ts
 * import { Query } from "threadline"
 * import * as Effect from "effect/Effect"
 *
 * export const page = Effect.flatMap(Query.filterFromUrl("?table=posts&op=delete"), Query.timeline)
 * ```
 */
export const fromUrl = (text: string): Either.Either<Filter, InvalidRequest> => {
  if (typeof text !== "string") {
    return refused("filter", "must be a string")
  }
  const params = new URLSearchParams(text)
  return fromParams(new Map([...params.keys()].map((name) => [name, params.getAll(name)])))
}

const FilterType = Schema.typeSchema(Filter)

/** The refusal of a filter, as the issue of a schema. */
export const refusedInput =
  (ast: SchemaAST.AST, input: unknown) =>
  ({ field, rule }: InvalidRequest): ParseResult.ParseIssue =>
    new ParseResult.Type(ast, input, `${field} ${rule}`)

/**
 * The schema of the one text of a filter: `filterFromUrl` and `filterToUrl` in one.
 *
 * @since 0.1.0
 * @category schemas
 */
export const FilterFromUrl: Schema.Schema<Filter, string> = Schema.transformOrFail(Schema.String, FilterType, {
  strict: true,
  decode: (text, _, ast) => Either.mapLeft(fromUrl(text), refusedInput(ast, text)),
  encode: (filter) => ParseResult.succeed(toUrl(filter))
})

const singleValue = (description: string) => Schema.optional(Schema.String.annotations({ description }))

const oneOrMore = (description: string) =>
  Schema.optional(Schema.Union(Schema.String, Schema.Array(Schema.String)).annotations({ description }))

const params = {
  table: oneOrMore("a table as in SQL, public.posts"),
  schema: singleValue("every table in this schema"),
  key: singleValue("the key of a row of the one table"),
  keyJson: singleValue(
    "the key of a row of the one table, if it has several columns: a JSON array or object; the empty string as a JSON string"
  ),
  op: oneOrMore("insert, update, delete, truncate or baseline"),
  contains: singleValue("a JSON object that the row before or after the change contains"),
  changedField: oneOrMore("a column that an update changed"),
  actor: singleValue("the actor, as type or type:id: user:42"),
  impersonator: singleValue("the impersonator, who acted in the name of the actor, as type or type:id"),
  actorLabel: singleValue("the label of the actor or of its impersonator contains this"),
  unattributed: singleValue("true: no actor is recorded"),
  action: oneOrMore("the name of an action of the transaction"),
  actionStatus: singleValue("ok or error"),
  correlationId: singleValue("the transaction has an action that carries this id"),
  includeCaptureOnly: singleValue("true: with correlationId, also transactions that carry it and have no action"),
  requestId: singleValue("the transaction carries this id of a request"),
  jobId: singleValue("the transaction carries this id of a job"),
  traceId: singleValue("the transaction carries this id of a trace"),
  source: singleValue("where the work came from"),
  meta: singleValue("a JSON object that the meta of the transaction contains"),
  dbUser: singleValue("the role of the database session"),
  transactionId: singleValue("decimal digits"),
  from: singleValue("captured at this instant or later"),
  to: singleValue("captured at this instant or earlier"),
  order: singleValue("newest (default) or oldest"),
  limit: singleValue("items in a page, 1 to 1000, 50 unless given"),
  cursor: singleValue("nextCursor of the page before")
} satisfies { readonly [F in Field | typeof keyAsJson]: unknown }

const Params = Schema.Struct(params).annotations({ parseOptions: { onExcessProperty: "error" } })

/**
 * The schema of a filter as the parameters of a URL, for an endpoint of an `HttpApi`: `setUrlParams(Query.FilterFromUrlParams)`.
 * They are those of the text of a filter; a parameter may be repeated if the field takes several values.
 *
 * @since 0.1.0
 * @category schemas
 */
export const FilterFromUrlParams: Schema.Schema<Filter, typeof Params.Encoded> = Schema.transformOrFail(
  Params,
  FilterType,
  {
    strict: true,
    decode: (params, _, ast) =>
      Either.mapLeft(
        fromParams(
          new Map(
            Object.entries(params).flatMap(([name, texts]) =>
              texts === undefined ? [] : [[name, typeof texts === "string" ? [texts] : texts] as const]
            )
          )
        ),
        refusedInput(ast, params)
      ),
    encode: (filter) =>
      ParseResult.succeed(
        Object.fromEntries(paramsOf(filter).map(([name, texts]) => [name, texts.length === 1 ? texts[0] : texts]))
      )
  }
)
