/** The filters of listings as options. They are the same for all listings, with the names of `Query.Filter`. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Actor from "../src/Actor.js"
import * as Json from "../src/Json.js"
import type * as Query from "../src/Query.js"
import { UsageError } from "./exit.js"
import { choice, choices, flag, value, values } from "./options.js"
import type { Given } from "./parser/declare.js"
import { oneOf } from "./values.js"
import { window, windowOf } from "./window.js"

const operations = ["insert", "update", "delete", "truncate", "baseline"] as const

const ids = {
  correlationId: value("correlation-id", "ID", "Only transactions with an action of this correlation."),
  requestId: value("request-id", "ID", "Only of this request."),
  jobId: value("job-id", "ID", "Only of this job."),
  traceId: value("trace-id", "ID", "Only of this trace.")
}

/** Filters of actions. */
export const actionFilters = {
  actor: value("actor", "TYPE[:ID]", "Only by this actor, such as user:42."),
  impersonator: value("impersonator", "TYPE[:ID]", "Only by actors in whose name this one acted."),
  actorLabel: value("actor-label", "TEXT", "Only by actors whose label, or their impersonator's, contains this."),
  unattributed: flag("unattributed", "Only changes without an actor."),
  action: values("action", "NAME", "Only of actions of this name, such as post.created; may be repeated."),
  actionStatus: choice("action-status", ["ok", "error"], "Only of actions that succeeded or failed."),
  ...ids,
  transactionId: value("transaction-id", "ID", "Only of this transaction."),
  ...window
}

/** Filters of changes. */
export const changeFilters = {
  table: values("table", "TABLE", "Only changes of this table; may be repeated."),
  tableSchema: value("table-schema", "NAME", "Only changes of tables in this schema."),
  key: value("key", "KEY", "Only changes of this row of the one table."),
  op: choices("op", operations, "OPERATION", `Only these: ${operations.join(", ")}.`),
  contains: value("contains", "JSON", `Only rows with these values before or after, such as '{"state":"open"}'.`),
  changedField: values("changed-field", "COLUMN", "Only updates that changed this column; may be repeated."),
  ...actionFilters,
  includeCaptureOnly: flag("include-capture-only", "Also transactions of that correlation without an action."),
  source: value("source", "NAME", "Only of this source, such as web."),
  meta: value("meta", "JSON", `Only of transactions whose meta contains this, such as '{"plan":"gold"}'.`),
  dbUser: value("db-user", "NAME", "Only by this database user.")
}

export type ActionFilters = Given<typeof actionFilters>

export type ChangeFilters = Given<typeof changeFilters>

const list = <A>(texts: ReadonlyArray<A>): readonly [A, ...Array<A>] | undefined => {
  const [first, ...otherTexts] = texts
  return first === undefined ? undefined : [first, ...otherTexts]
}

/** Reads `user`, `user:42`, `anonymous`. */
export const actorOf = Effect.fnUntraced(function* (option: string, text: Option.Option<string>) {
  if (Option.isNone(text)) {
    return undefined
  }
  const [type = ""] = text.value.split(":", 1)
  const actorType = yield* oneOf(option, Actor.types, Option.some(type))
  if (actorType === undefined || text.value === type) {
    return actorType === undefined ? undefined : { type: actorType }
  }
  const id = text.value.slice(type.length + 1)
  return id === ""
    ? yield* new UsageError({ message: `${option} ${text.value} names no id: leave the colon out for every ${type}` })
    : { type: actorType, id }
})

/** An actor that can have done something: with an id, unless it is anonymous. */
export const identifiedActorOf = Effect.fnUntraced(function* (
  option: string,
  text: Option.Option<string>
): Effect.fn.Return<Actor.Actor | undefined, UsageError> {
  const actor = yield* actorOf(option, text)
  if (actor === undefined || actor.type === "anonymous") {
    return actor === undefined ? undefined : { type: "anonymous" }
  }
  return actor.id === undefined
    ? yield* new UsageError({ message: `${option} ${actor.type} needs an id: ${actor.type}:ID` })
    : { type: actor.type, id: actor.id }
})

const documentOf = (
  option: string,
  text: Option.Option<string>
): Effect.Effect<Json.JsonObject | undefined, UsageError> => {
  if (Option.isNone(text)) {
    return Effect.succeed(undefined)
  }
  const document = Option.getOrUndefined(Json.parse(text.value))
  return Json.isObject(document) ? Effect.succeed(document) : new UsageError({ message: `${option} is a JSON object` })
}

export const actionFilterOf = Effect.fnUntraced(function* (
  options: ActionFilters
): Effect.fn.Return<Query.FilterInput, UsageError> {
  const text = Option.getOrUndefined
  return {
    actor: yield* actorOf("--actor", options.actor),
    impersonator: yield* actorOf("--impersonator", options.impersonator),
    actorLabel: text(options.actorLabel),
    unattributed: options.unattributed ? true : undefined,
    action: list(options.action),
    actionStatus: text(options.actionStatus),
    correlationId: text(options.correlationId),
    requestId: text(options.requestId),
    jobId: text(options.jobId),
    traceId: text(options.traceId),
    transactionId: text(options.transactionId),
    ...(yield* windowOf(options))
  }
})

export const changeFilterOf = Effect.fnUntraced(function* (
  options: ChangeFilters
): Effect.fn.Return<Query.FilterInput, UsageError> {
  const text = Option.getOrUndefined
  return {
    ...(yield* actionFilterOf(options)),
    table: list(options.table),
    schema: text(options.tableSchema),
    key: text(options.key),
    op: list(options.op),
    contains: yield* documentOf("--contains", options.contains),
    changedField: list(options.changedField),
    includeCaptureOnly: options.includeCaptureOnly ? true : undefined,
    source: text(options.source),
    meta: yield* documentOf("--meta", options.meta),
    dbUser: text(options.dbUser)
  }
})
