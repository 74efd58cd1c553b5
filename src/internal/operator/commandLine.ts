/**
 * The command line that gives the same answer as a page, for a viewer to copy into a shell.
 */
import * as BigDecimal from "effect/BigDecimal"
import * as Json from "../../Json.js"
import type * as Query from "../../Query.js"
import { shellWord } from "../core/shell.js"

/** The command that belongs to a page. */
export type Question =
  | {
      readonly _tag: "Timeline" | "Transactions" | "Actions" | "Unattributed"
      readonly filter: Query.Filter
      /** `24h`, if `filter.from` is the beginning of a window that ends now. */
      readonly since?: string | undefined
    }
  | { readonly _tag: "Export"; readonly filter: Query.Filter; readonly format: string }
  | { readonly _tag: "History"; readonly table: string; readonly key: string }
  | { readonly _tag: "AsOf"; readonly table: string; readonly key: string; readonly at: string }
  | { readonly _tag: "Transaction"; readonly id: string }
  | { readonly _tag: "Request"; readonly id: string }
  | { readonly _tag: "Correlation"; readonly id: string }
  | {
      readonly _tag: "Actor"
      readonly type: string
      readonly id: string | undefined
      readonly from: string | undefined
      readonly to: string | undefined
    }
  /** A command by its words. */
  | { readonly _tag: "Words"; readonly words: ReadonlyArray<string> }

/** Joins the value with `=` if it is empty or begins with a dash, because it would be taken for an option. */
const option = (name: string, value: string): ReadonlyArray<string> =>
  value.startsWith("-") || value === "" ? [`--${name}=${value}`] : [`--${name}`, value]

const options = (name: string, values: ReadonlyArray<string> | undefined): ReadonlyArray<string> =>
  (values ?? []).flatMap((value) => option(name, value))

const maybe = (name: string, value: string | undefined): ReadonlyArray<string> =>
  value === undefined ? [] : option(name, value)

const actorText = ({ id, type }: Query.ActorInput): string => (id === undefined ? type : `${type}:${id}`)

const keyText = (key: Query.KeyInput): string =>
  typeof key === "object" && !BigDecimal.isBigDecimal(key) ? Json.stringify(key) : String(key)

const optionsOf = (filter: Query.Filter): ReadonlyArray<string> => [
  ...options("table", filter.table),
  ...maybe("table-schema", filter.schema),
  ...maybe("key", filter.key === undefined ? undefined : keyText(filter.key)),
  ...options("op", filter.op),
  ...maybe("contains", filter.contains === undefined ? undefined : Json.stringify(filter.contains)),
  ...options("changed-field", filter.changedField),
  ...maybe("actor", filter.actor === undefined ? undefined : actorText(filter.actor)),
  ...maybe("impersonator", filter.impersonator === undefined ? undefined : actorText(filter.impersonator)),
  ...maybe("actor-label", filter.actorLabel),
  ...(filter.unattributed === true ? ["--unattributed"] : []),
  ...options("action", filter.action),
  ...maybe("action-status", filter.actionStatus),
  ...maybe("correlation-id", filter.correlationId),
  ...(filter.includeCaptureOnly === true ? ["--include-capture-only"] : []),
  ...maybe("request-id", filter.requestId),
  ...maybe("job-id", filter.jobId),
  ...maybe("trace-id", filter.traceId),
  ...maybe("source", filter.source),
  ...maybe("meta", filter.meta === undefined ? undefined : Json.stringify(filter.meta)),
  ...maybe("db-user", filter.dbUser),
  ...maybe("transaction-id", filter.transactionId),
  ...maybe("from", filter.from),
  ...maybe("to", filter.to)
]

/** After the first page, the exact `from` is given, because the cursor belongs to that window. */
const listingOf = (filter: Query.Filter, since: string | undefined): ReadonlyArray<string> => [
  ...(since === undefined || since === "all" || filter.cursor !== undefined
    ? optionsOf(filter)
    : [...optionsOf({ ...filter, from: undefined }), ...option("since", since)]),
  ...(filter.order === "oldest" ? ["--order", "oldest"] : []),
  ...maybe("cursor", filter.cursor)
]

/** Puts `--` before the arguments if one of them could be taken for an option. */
const args = (...words: ReadonlyArray<string>): ReadonlyArray<string> =>
  words.some((word) => word.startsWith("-")) ? ["--", ...words] : words

/** The words after `threadline`. */
export const wordsOf = (question: Question): ReadonlyArray<string> => {
  switch (question._tag) {
    case "Timeline":
      return ["timeline", ...listingOf(question.filter, question.since)]
    case "Transactions":
      return ["transactions", ...listingOf(question.filter, question.since)]
    case "Actions":
      return ["actions", ...listingOf(question.filter, question.since)]
    case "Unattributed":
      return ["unattributed", ...listingOf({ ...question.filter, unattributed: undefined }, question.since)]
    case "Export":
      return ["export", "--format", question.format, ...optionsOf(question.filter)]
    case "History":
      return ["history", ...args(question.table, question.key)]
    case "AsOf":
      return ["as-of", ...args(question.table, question.key, question.at)]
    case "Transaction":
      return ["transaction", ...args(question.id)]
    case "Request":
      return ["request", ...args(question.id)]
    case "Correlation":
      return ["correlation", ...args(question.id)]
    case "Actor":
      return [
        "actor",
        ...maybe("from", question.from),
        ...maybe("to", question.to),
        ...args(question.type, ...(question.id === undefined ? [] : [question.id]))
      ]
    case "Words":
      return question.words
  }
}

/**
 * Quotes a word for a shell. Invisible characters are written as escapes (`$'\x1b'`), so that what is copied is what is
 * shown.
 */
const quoted = (word: string): string => {
  // oxlint-disable-next-line no-control-regex
  return /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/.test(word)
    ? `$'${[...word].map(escaped).join("")}'`
    : shellWord(word)
}

const escaped = (character: string): string => {
  const code = character.codePointAt(0) ?? 0
  return character === "'" || character === "\\"
    ? `\\${character}`
    : code >= 0x20 && code < 0x7f
      ? character
      : [...new TextEncoder().encode(character)].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("")
}

export const commandOf = (question: Question): string => ["threadline", ...wordsOf(question)].map(quoted).join(" ")
