/**
 * A filter as people type it: `table:invoices op:delete actor:user:42 after:2026-11-01`. Forms and addresses can
 * express the same filters.
 */
import * as Either from "effect/Either"
import * as Actor from "../../Actor.js"
import * as Query from "../../Query.js"
import { InvalidRequest } from "../../ThreadlineError.js"
import { spanOf } from "../core/span.js"
import { shortTable } from "../core/words.js"
import { dayOf, instantOfLocal } from "./zone.js"

/** The parameter of a filter that each word stands for. */
const parameters: Readonly<Record<string, string>> = {
  table: "table",
  schema: "schema",
  key: "key",
  row: "key",
  "key-json": "keyJson",
  op: "op",
  contains: "contains",
  changed: "changedField",
  actor: "actor",
  by: "actor",
  impersonator: "impersonator",
  label: "actorLabel",
  action: "action",
  outcome: "actionStatus",
  correlation: "correlationId",
  request: "requestId",
  "job-id": "jobId",
  trace: "traceId",
  source: "source",
  meta: "meta",
  "db-user": "dbUser",
  transaction: "transactionId",
  order: "order"
}

/** The word that `write` uses for a parameter. */
const wordOf: ReadonlyMap<string, string> = new Map(
  Object.entries(parameters)
    .filter(([word]) => word !== "row" && word !== "by")
    .map(([word, parameter]) => [parameter, word])
)

const actorTypes: ReadonlySet<string> = new Set<string>(Actor.types)

const times = new Set(["after", "before", "since", "on"])

export interface Token {
  /** The word before the first colon; undefined if there is none, or if it is not a qualifier. */
  readonly word: string | undefined
  readonly value: string
}

/** Splits at spaces outside quotes. Inside quotes, a backslash escapes the next character. */
export const tokensOf = (text: string): ReadonlyArray<Token> => {
  const tokens: Array<Token> = []
  const pattern = /(?:([A-Za-z_-]+):)?("(?:[^"\\]|\\.)*"|(?:[^\s"]+|"(?:[^"\\]|\\.)*")+)/gsu
  for (const [whole, word, raw = ""] of text.matchAll(pattern)) {
    const name = word?.toLowerCase()
    const known =
      name !== undefined &&
      (Object.hasOwn(parameters, name) || times.has(name) || name === "is" || actorTypes.has(name))
    const written = known ? raw : whole
    const quoted = /^"((?:[^"\\]|\\.)*)"$/s.exec(written)
    const value = quoted === null ? written : (quoted[1] ?? "").replaceAll(/\\(.)/gsu, "$1")
    tokens.push({ word: known ? name : undefined, value })
  }
  return tokens
}

export interface Understood {
  readonly filter: Query.Filter
  /** `since:7d` */
  readonly since: string | undefined
}

const refused = (field: string, rule: string) => Either.left(new InvalidRequest({ field, rule }))

/** The filter that qualifiers make. A left names the word that is wrong. */
export const read = (tokens: ReadonlyArray<Token>, zone: string): Either.Either<Understood, InvalidRequest> => {
  const params = new URLSearchParams()
  let since: string | undefined
  for (const { value, word } of tokens) {
    if (word === undefined) {
      return refused(value, "is no qualifier; beside qualifiers every word is one, such as table:invoices")
    }
    if (word === "is") {
      if (value === "unattributed") {
        params.set("unattributed", "true")
      } else if (value === "capture-only") {
        params.set("includeCaptureOnly", "true")
      } else if (value === "failed") {
        params.set("actionStatus", "error")
      } else {
        return refused("is", "must be unattributed, capture-only or failed")
      }
    } else if (word === "since") {
      if (spanOf(value) === undefined) {
        return refused("since", "must be a time such as 90m, 12h, 7d or 2w")
      }
      since = value
    } else if (word === "on") {
      const day = dayOf(value, zone)
      if (day === undefined) {
        return refused("on", "must be a date, such as 2026-11-22")
      }
      params.append("from", day.from)
      params.append("to", day.to)
    } else if (word === "after" || word === "before") {
      const day = dayOf(value, zone)
      const bound = word === "after" ? day?.from : day?.to
      params.append(word === "after" ? "from" : "to", bound ?? instantOfLocal(value, zone) ?? value)
    } else if (actorTypes.has(word)) {
      params.append("actor", `${word}:${value}`)
    } else {
      params.append(parameters[word] ?? word, value)
    }
  }
  return Either.mapBoth(Query.filterFromUrl(params.toString()), {
    onLeft: (error) =>
      new InvalidRequest({
        field: wordOf.get(error.field) ?? error.field,
        rule: error.ruleWith((field) => wordOf.get(field) ?? field)
      }),
    onRight: (filter) => ({ filter, since })
  })
}

const quoted = (value: string): string =>
  value === "" || /[\s"\\]/.test(value) ? `"${value.replaceAll(/["\\]/g, "\\$&")}"` : value

/** Writes a filter as qualifiers. `read` gives the same filter again. */
export const write = (filter: Query.Filter, since?: string): string => {
  const params = new URLSearchParams(Query.filterToUrl(filter))
  const parts: Array<string> = []
  for (const [name, value] of params) {
    switch (name) {
      case "from":
        parts.push(...(since === undefined ? [`after:${quoted(value)}`] : []))
        break
      case "to":
        parts.push(`before:${quoted(value)}`)
        break
      case "unattributed":
        parts.push("is:unattributed")
        break
      case "includeCaptureOnly":
        parts.push("is:capture-only")
        break
      case "limit":
      case "cursor":
        break
      default: {
        const word = wordOf.get(name)
        // People leave out the schema `public`.
        parts.push(...(word === undefined ? [] : [`${word}:${quoted(name === "table" ? shortTable(value) : value)}`]))
      }
    }
  }
  return [...parts, ...(since === undefined || since === "all" ? [] : [`since:${since}`])].join(" ")
}

/** Whether the text is a filter: it has a qualifier, and is more than one actor such as `user:42`. */
export const hasQualifiers = (tokens: ReadonlyArray<Token>): boolean =>
  tokens.some(({ word }) => word !== undefined && !(actorTypes.has(word) && tokens.length === 1))

export const actorOf = (token: Token): Query.ActorInput | undefined => {
  const { value, word } = token
  const type = word ?? value
  switch (type) {
    case "user":
    case "admin":
    case "service_account":
    case "job":
    case "system":
      return word === undefined ? { type } : { type, id: value }
    case "anonymous":
      return { type }
    default:
      return undefined
  }
}
