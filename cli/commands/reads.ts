import * as Args from "@effect/cli/Args"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Page from "../../src/Page.js"
import * as Query from "../../src/Query.js"
import { configuration, migratedClient, withSchema } from "../database.js"
import { changeLines, fieldLines, keyOf, properties, tableOf, what, when, who } from "../describe.js"
import { leaf } from "../leaf.js"
import { type Common, common, flag, value, values } from "../options.js"
import { bold, print, width } from "../output.js"
import { layout } from "../table.js"
import { oneOf, wholeNumber } from "../values.js"

const paging = {
  order: value("order", "newest|oldest", "Which come first; else the newest."),
  limit: value("limit", "NUMBER", "How many, 1 to 1000; else 50."),
  cursor: value("cursor", "CURSOR", "Goes on where the page before ended.")
}

type Paging = Readonly<Record<keyof typeof paging, Option.Option<string>>>

const pagingOf = Effect.fnUntraced(function* (options: Paging) {
  return {
    order: yield* oneOf("--order", ["newest", "oldest"], options.order),
    limit: yield* wholeNumber("--limit", options.limit),
    cursor: Option.getOrUndefined(options.cursor)
  }
})

const argument = (name: string, description: string) => Args.text({ name }).pipe(Args.withDescription(description))

const tableArgument = argument("TABLE", "A table as in SQL, such as public.posts.")
const keyArgument = argument("KEY", "Key of the row; of several columns a JSON array or object.")

/** Runs a read in the database that the options name. */
const reading = <A, E>(options: Common, read: Effect.Effect<A, E, Query.Query>) =>
  Effect.flatMap(configuration(options), (configured) =>
    read.pipe(Effect.provide(Layer.provide(Query.layer, migratedClient(options))), withSchema(options, configured))
  )

const more = (page: Page.Page<unknown>): ReadonlyArray<string> =>
  Option.match(page.nextCursor, { onNone: () => [], onSome: (cursor) => ["", `More: --cursor ${cursor}`] })

const listed = (page: Page.Page<unknown>, none: string, lines: () => ReadonlyArray<string>): string =>
  page.items.length === 0 ? none : [...lines(), ...more(page)].join("\n")

const operations = ["insert", "update", "delete", "truncate", "baseline"] as const

const actorTypes = ["user", "admin", "service_account", "job", "system", "anonymous"] as const

/** Reads `user`, `user:42`, `anonymous`. */
const actorOf = Effect.fnUntraced(function* (text: Option.Option<string>) {
  if (Option.isNone(text)) {
    return undefined
  }
  const [type = ""] = text.value.split(":", 1)
  const known = yield* oneOf("--actor", actorTypes, Option.some(type))
  const id = text.value.slice(type.length + 1)
  return known === undefined ? undefined : id === "" ? { type: known } : { type: known, id }
})

export const timeline = leaf(
  "timeline",
  {
    ...common,
    table: value("table", "TABLE", "Only changes of this table."),
    key: value("key", "KEY", "Only changes of this row of the table."),
    op: values("op", "OPERATION", `Only these: ${operations.join(", ")}.`),
    actor: value("actor", "TYPE[:ID]", "Only changes by this actor, such as user:42."),
    unattributed: flag("unattributed", "Only changes of which nobody said who made them."),
    correlationId: value("correlation-id", "ID", "Only transactions with an action of this correlation."),
    includeCaptureOnly: flag("include-capture-only", "Also transactions of that correlation without an action."),
    transactionId: value("transaction-id", "ID", "Only changes of this transaction."),
    from: value("from", "INSTANT", "Not before this instant, such as 2026-11-22T10:00:00Z."),
    to: value("to", "INSTANT", "Not after this instant."),
    ...paging
  },
  (options) =>
    Effect.gen(function* () {
      const ops = yield* Effect.forEach(options.op, (op) => oneOf("--op", operations, Option.some(op)))
      const [firstOp, ...otherOps] = ops.flatMap((op) => (op === undefined ? [] : [op]))
      const page = yield* reading(
        options,
        Query.timeline({
          table: Option.getOrUndefined(options.table),
          key: Option.getOrUndefined(options.key),
          op: firstOp === undefined ? undefined : ([firstOp, ...otherOps] as const),
          actor: yield* actorOf(options.actor),
          unattributed: options.unattributed ? true : undefined,
          correlationId: Option.getOrUndefined(options.correlationId),
          includeCaptureOnly: options.includeCaptureOnly ? true : undefined,
          transactionId: Option.getOrUndefined(options.transactionId),
          from: Option.getOrUndefined(options.from),
          to: Option.getOrUndefined(options.to),
          ...(yield* pagingOf(options))
        })
      )
      yield* print(
        options.json
          ? Page.toJson(page, Query.changeToJson)
          : listed(page, "No change matches.", () => [
              layout(
                [
                  { header: "captured (UTC)", rigid: true },
                  { header: "op", rigid: true },
                  { header: "row" },
                  { header: "who" },
                  { header: "what" },
                  { header: "tx", rigid: true }
                ],
                page.items.map((change) => [
                  when(change.capturedAt),
                  change.op,
                  `${tableOf(change)} ${keyOf(change)}`.trim(),
                  who(change.transaction.actor),
                  what(change),
                  change.transactionId
                ]),
                width()
              )
            ])
      )
    })
)

const blocks = (changes: ReadonlyArray<Query.Change>, context: boolean): ReadonlyArray<string> =>
  changes.flatMap((change, index) => [...(index === 0 ? [] : [""]), ...changeLines(change, width(), context)])

export const history = leaf("history", { ...common, ...paging, table: tableArgument, key: keyArgument }, (options) =>
  Effect.gen(function* () {
    const page = yield* reading(options, Query.history(options.table, options.key, yield* pagingOf(options)))
    yield* print(
      options.json
        ? Page.toJson(page, Query.changeToJson)
        : listed(page, "Nothing is recorded of this row.", () => blocks(page.items, true))
    )
  })
)

const answers: Readonly<Record<Query.AsOf["_tag"], string>> = {
  Present: "The row was there.",
  Deleted: "The row had been deleted.",
  MovedTo: "The row had moved to another key.",
  NotYetCreated: "The row was not there yet.",
  BeforeCapture: "Nothing is known of the row at that time."
}

export const asOf = leaf(
  "as-of",
  {
    ...common,
    table: tableArgument,
    key: keyArgument,
    instant: argument("INSTANT", "An instant with its zone, such as 2026-11-22T10:00:00Z.")
  },
  (options) =>
    Effect.gen(function* () {
      const answer = yield* reading(options, Query.asOf(options.table, options.key, options.instant))
      if (options.json) {
        return yield* print(Query.asOfToJson(answer))
      }
      const lines =
        answer._tag === "Present"
          ? fieldLines(
              Object.entries(answer.row).map(([field, after]) => ({ field, after })),
              width()
            )
          : answer._tag === "MovedTo"
            ? properties([["  key", answer.key]], width())
            : []
      yield* print([`${answer.at}: ${answers[answer._tag]}`, ...lines].join("\n"))
    })
)

export const transaction = leaf(
  "transaction",
  { ...common, ...paging, id: argument("ID", "Id of the transaction.") },
  (options) =>
    Effect.gen(function* () {
      const incident = yield* reading(options, Query.incident(options.id, yield* pagingOf(options)))
      yield* print(options.json ? Query.incidentToJson(incident) : incidentText(incident))
    })
)

const incidentText = (incident: Query.Incident): string => {
  const { actions, changes, hasMoreActions, hasMoreSiblings, siblings, transaction } = incident
  const metadata = Object.keys(transaction.meta).length === 0 ? null : Query.toJson(transaction.meta)
  return [
    bold(`transaction ${transaction.id}`),
    ...properties(
      [
        ["occurred", transaction.occurredAt],
        ["who", who(transaction.actor)],
        ["correlation", transaction.correlationId],
        ["request", transaction.requestId],
        ["job", transaction.jobId],
        ["trace", transaction.traceId],
        ["source", transaction.source],
        ["remote address", transaction.remoteIp],
        ["meta", metadata],
        ["context error", transaction.contextError],
        ["database user", transaction.dbUser],
        ["application", transaction.applicationName],
        ["client address", transaction.clientAddr]
      ],
      width()
    ),
    ...actions.flatMap((action) => [
      "",
      bold(`action ${action.name}${action.status === "ok" ? "" : ` (${action.status})`}`),
      ...properties(
        [
          ["id", action.id],
          ["occurred", action.occurredAt],
          ["reason", action.reason],
          ["comment", action.comment],
          [
            "subject",
            action.subject === null ? null : `${action.subject.type ?? ""} ${action.subject.id ?? ""}`.trim()
          ],
          ["data", action.data === null ? null : Query.toJson(action.data)]
        ],
        width()
      )
    ]),
    ...(hasMoreActions ? ["", "There are more actions."] : []),
    ...(changes.items.length === 0
      ? []
      : [
          "",
          ...blocks(
            changes.items.map(({ change }) => change),
            false
          )
        ]),
    ...more(changes),
    ...(siblings.length === 0
      ? []
      : [
          "",
          `Parts of the same database transaction: ${siblings
            .map((sibling) => `${sibling.transaction.id} (${who(sibling.transaction.actor)})`)
            .join(", ")}${hasMoreSiblings ? ", and more" : ""}`
        ])
  ].join("\n")
}
