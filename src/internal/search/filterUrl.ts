/**
 * The one text of a filter: a URL query. Equal filters have equal texts, and a text reads back as the filter it was made of.
 */
import * as Either from "effect/Either"
import { InvalidRequest } from "../../ThreadlineError.js"
import { canonical, parse } from "../core/json.js"
import { decodeFilter, type Filter } from "./filter.js"
import { format as formatTable } from "../core/tableName.js"
import { tableOf } from "../record/key.js"
import { isObject, type JsonValue } from "../core/jsonValue.js"

/** How the value of a field is written, and read again; a text that cannot be read is left to the schema to refuse. */
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
  write: (value) => (value === true ? ["true"] : []),
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

/** `user:42`, `anonymous`: what follows the first colon is the id, whatever it holds. */
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

/** A key of several columns has a name of its own: its text could be the key of one column as well. */
const compositeKey = "keyJson"

const repeatable: ReadonlySet<string> = new Set<Field>(["table", "op", "changedField", "action"])

const defaults: { readonly [F in Field]?: unknown } = { order: "newest", limit: 50 }

const isField = (name: string): name is Field => Object.hasOwn(forms, name)

/**
 * The one text of a filter, a URL query without question mark: `table=public.posts&actor=user%3A42`. Equal filters have equal
 * texts. An actor is `type` or `type:id`, objects are JSON, a key of several columns is `keyJson`.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toUrl = (filter: Filter): string => {
  const params = new URLSearchParams()
  for (const field of Object.keys(forms) as ReadonlyArray<Field>) {
    const value = filter[field]
    if (value === undefined || value === defaults[field]) {
      continue
    }
    if (field === "key" && typeof value !== "string") {
      params.append(compositeKey, canonical(value as JsonValue))
      continue
    }
    for (const text of forms[field].write(value)) {
      params.append(field, text)
    }
  }
  return params.toString()
}

const refused = (field: string, rule: string) => Either.left(new InvalidRequest({ field, rule }))

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
  const input: Record<string, unknown> = {}
  for (const name of new Set(params.keys())) {
    const texts = params.getAll(name)
    if (texts.length > 1 && !repeatable.has(name)) {
      return refused(name, "must be given once")
    }
    if (name === compositeKey) {
      const key = parse(texts[0] ?? "")
      if (params.has("key")) {
        return refused(compositeKey, "is another form of key; leave one of the two out")
      }
      if (!Array.isArray(key) && !isObject(key)) {
        return refused(compositeKey, "must be a JSON array or object")
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
