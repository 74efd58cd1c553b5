/**
 * Encodes an action, however it is named, as the document that the database takes.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import { InvalidRequest } from "../../ThreadlineError.js"
import { unknownField } from "../core/request.js"
import { idRule, idText, jsonText, shortTextRule, textRule } from "../core/text.js"

/** @internal */
export const EntryTypeId: unique symbol = Symbol.for("threadline/Semantics/Entry")

/**
 * What an action is about, in the words of the host: a customer, an order. Type and id are 1 to 256 bytes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Subject {
  /** The kind of thing: `invoice`. */
  readonly type: string
  /** An integer is kept as its digits. */
  readonly id: string | number | bigint
}

/**
 * An action, written out. Name, verb and category are 1 to 256 bytes; `data` is any JSON value.
 *
 * @since 0.1.0
 * @category models
 */
export interface Details {
  /** What is meant to happen: `invoice.paid`. */
  readonly name: string
  /** What is done: `pay`. */
  readonly verb?: string | undefined
  /** What it belongs to: `billing`. */
  readonly category?: string | undefined
  /** Why. */
  readonly reason?: string | undefined
  /** A remark. */
  readonly comment?: string | undefined
  /** What it is about. */
  readonly subject?: Subject | undefined
  /** More facts, as JSON. */
  readonly data?: unknown
}

/**
 * An action of a catalogue, with its data.
 *
 * @since 0.1.0
 * @category models
 */
export interface Entry<Name extends string = string> extends Omit<Details, "data"> {
  readonly name: Name
  readonly [EntryTypeId]: Effect.Effect<unknown, InvalidRequest>
}

/**
 * How to name an action: a name, an object with a name, or an entry of a catalogue.
 *
 * @since 0.1.0
 * @category models
 */
export type Action = string | Details | Entry

export interface Words {
  readonly reason?: string | undefined
  readonly comment?: string | undefined
}

const isEntry = (action: Details | Entry): action is Entry => Predicate.hasProperty(action, EntryTypeId)

const isDetails = (action: unknown): action is Details | Entry => typeof action === "object" && action !== null

const invalid = (field: string, rule: string): InvalidRequest => new InvalidRequest({ field, rule })

const actionFields = {
  name: true,
  verb: true,
  category: true,
  reason: true,
  comment: true,
  subject: true,
  data: true
} as const satisfies Record<keyof Details, true>

const refusalOf = (action: Details | Entry, words: Words): InvalidRequest | undefined => {
  const unknown = unknownField(action, actionFields, (field) => `action.${field}`)
  if (unknown !== undefined) {
    return unknown
  }
  const { category, name, subject, verb } = action
  const short: ReadonlyArray<readonly [field: string, value: unknown]> = [
    ["name", name],
    ...(verb === undefined ? [] : [["verb", verb] as const]),
    ...(category === undefined ? [] : [["category", category] as const]),
    ...(subject === undefined ? [] : [["subject.type", subject.type] as const])
  ]
  for (const [field, value] of short) {
    const rule = shortTextRule(value)
    if (rule !== undefined) {
      return invalid(`action.${field}`, rule)
    }
  }
  const subjectRule = subject === undefined ? undefined : idRule(subject.id)
  if (subjectRule !== undefined) {
    return invalid("action.subject.id", subjectRule)
  }
  for (const field of ["reason", "comment"] as const) {
    if (words[field] !== undefined && action[field] !== undefined && words[field] !== action[field]) {
      return invalid(field, "must not be given twice, differently, with the action and beside it")
    }
    const value = words[field] ?? action[field]
    const rule = value === undefined ? undefined : textRule(value)
    if (rule !== undefined) {
      return invalid(words[field] === undefined ? `action.${field}` : field, rule)
    }
  }
  return undefined
}

const wrongStatus = (status: string | undefined): InvalidRequest | undefined =>
  status === undefined || status === "ok" || status === "error" ? undefined : invalid("status", "must be ok or error")

/** The JSON document of an action, everything checked. */
export const encodeAction = (
  input: Action,
  words: Words,
  status?: "ok" | "error"
): Effect.Effect<string, InvalidRequest> =>
  Effect.suspend(() => {
    const action = typeof input === "string" ? { name: input } : input
    if (!isDetails(action)) {
      return Effect.fail(invalid("action", "must be a name, an object with a name, or an entry of a catalogue"))
    }
    const problem = refusalOf(action, words) ?? wrongStatus(status)
    if (problem !== undefined) {
      return Effect.fail(problem)
    }
    const data = isEntry(action) ? action[EntryTypeId] : Effect.succeed(action.data)
    return Effect.flatMap(data, (data) => {
      const json = data === undefined ? undefined : jsonText(data)
      if (json !== undefined && Either.isLeft(json)) {
        return Effect.fail(invalid("action.data", json.left))
      }
      return Effect.succeed(
        JSON.stringify({
          name: action.name,
          status,
          verb: action.verb,
          category: action.category,
          reason: words.reason ?? action.reason,
          comment: words.comment ?? action.comment,
          subject:
            action.subject === undefined ? undefined : { type: action.subject.type, id: idText(action.subject.id) },
          data
        })
      )
    })
  })

/**
 * `encodeAction` for callers that are not Effect. Throws `InvalidRequest`, also if the schema of the data cannot be encoded
 * synchronously.
 */
export const encodeActionSync = (input: Action, words: Words, status?: "ok" | "error"): string => {
  const exit = Effect.runSyncExit(encodeAction(input, words, status))
  if (Exit.isSuccess(exit)) {
    return exit.value
  }
  throw Option.getOrElse(Cause.failureOption(exit.cause), () =>
    invalid("action.data", "must be encoded by its schema without waiting")
  )
}

/** The same action, with status `error`. */
export const failedAction = (document: string): string => `${document.slice(0, -1)},"status":"error"}`

/** Encodes data by its schema. The error names the place, never the value. */
export const encodeData = (
  schema: Schema.Schema<unknown, unknown>,
  data: unknown
): Effect.Effect<unknown, InvalidRequest> =>
  Effect.mapError(Schema.encodeUnknown(schema, { onExcessProperty: "ignore" })(data), (error) =>
    invalid(["action.data", ...pathOf(error.issue)].join("."), "does not fit the schema that the catalogue has for it")
  )

const pathOf = (issue: unknown): ReadonlyArray<string> => {
  const path: Array<string> = []
  let current = issue
  while (typeof current === "object" && current !== null && "_tag" in current) {
    if (current._tag === "Pointer" && "path" in current) {
      path.push(...(Array.isArray(current.path) ? current.path : [current.path]).map(String))
    }
    const next: unknown = "issues" in current ? current.issues : "issue" in current ? current.issue : undefined
    current = Array.isArray(next) ? (next.length === 1 ? next[0] : undefined) : next
  }
  return path
}
