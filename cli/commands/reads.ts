import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Json from "../../src/Json.js"
import type * as Page from "../../src/Page.js"
import * as Query from "../../src/Query.js"
import * as Option from "effect/Option"
import { changeLines, fieldLines, properties, when, who } from "../describe.js"
import { inOrder } from "../columns.js"
import { type Common, common } from "../options.js"
import { eventLine } from "../describeEvents.js"
import { answerExact, bold, dim, visible } from "../output.js"
import { argument, leaf } from "../parser/declare.js"
import { paragraph } from "../table.js"
import { listed, more, paging, pagingOf, reading } from "../reading.js"

const tableArgument = argument("TABLE", "A table as in SQL, such as public.posts.")
/** The names of the arguments in refusals. */
const ofRow = { table: "TABLE", key: "KEY", instant: "INSTANT" }

const keyArgument = argument("KEY", "Key of the row; of several columns a JSON array or object.")

export const history = leaf("history", { ...common, ...paging, table: tableArgument, key: keyArgument }, (options) =>
  Effect.gen(function* () {
    const pageOptions = yield* pagingOf(options)
    const { columns, page, schemaEvents } = yield* reading(
      options,
      Effect.all({
        history: Query.historyWithEvents(options.table, options.key, pageOptions),
        columns: columnsOfTable(options)
      }).pipe(Effect.map(({ columns, history }) => ({ ...history, columns }))),
      ofRow
    )
    const { hasMore, items, nextCursor, partial } = page
    yield* answerExact(
      options,
      () =>
        Json.pieces({
          items,
          nextCursor: Option.getOrNull(nextCursor),
          hasMore,
          ...(partial ? { partial } : {}),
          schemaEvents
        }),
      (width) =>
        items.length + schemaEvents.length === 0
          ? listed(page, "Nothing is recorded of this row.", () => [])
          : marked(page, columns, schemaEvents, pageOptions.order ?? "newest", width)
    )
  })
)

/** The columns of the one table of a command, for people. */
const columnsOfTable = (options: Common & { readonly table: string }) =>
  options.json
    ? Effect.succeed([])
    : Effect.orElseSucceed(Query.columns(options.table), (): ReadonlyArray<string> => [])

/** Changes with the events of the schema between them, where they belong in time. */
function* marked(
  page: Page.Page<Query.Change>,
  columns: ReadonlyArray<string>,
  events: ReadonlyArray<Query.SchemaEvent>,
  order: "newest" | "oldest",
  width: number
): Generator<string, void> {
  const entries = [
    ...page.items.map((change) => ({
      at: change.capturedAt,
      lines: () => changeLines(change, Query.fieldDiffs(change, columns), width, "alone")
    })),
    ...events.map((event) => ({ at: event.occurredAt, lines: () => [dim(eventLine(event))] }))
  ].sort((a, b) => (a.at === b.at ? 0 : a.at < b.at === (order === "newest") ? 1 : -1))
  for (const [index, { lines }] of entries.entries()) {
    yield* index === 0 ? [] : [""]
    yield* lines()
  }
  yield* more(page)
}

const answers: Readonly<Record<Query.AsOf["_tag"], string>> = {
  Present: "The row was there.",
  Deleted: "The row had been deleted.",
  MovedTo: "The row had moved to another key.",
  NotYetCreated: "The row was not there yet.",
  BeforeCapture: "Nothing is known of the row at that time."
}

/** The answers for an instant in the future. */
const answersNow: Readonly<Record<Query.AsOf["_tag"], string>> = {
  Present: "The row as it is now:",
  Deleted: "By now the row is deleted.",
  MovedTo: "By now the row has moved to another key.",
  NotYetCreated: "The row is not there yet.",
  BeforeCapture: "Nothing is known of the row."
}

export const asOf = leaf(
  "as-of",
  {
    ...common,
    table: tableArgument,
    key: keyArgument,
    instant: argument("INSTANT", "An instant with its zone, such as 2026-11-22T10:00:00Z; one to come is now.")
  },
  (options) =>
    Effect.gen(function* () {
      const { answer, order } = yield* reading(
        options,
        Effect.all({
          answer: Query.asOf(options.table, options.key, options.instant),
          order: columnsOfTable(options)
        }),
        ofRow
      )
      const isFuture = Date.parse(answer.at) > (yield* Clock.currentTimeMillis)
      const lines = (width: number): Iterable<string> =>
        answer._tag === "Present"
          ? fieldLines(
              inOrder(Object.keys(answer.row), order).map((field) => ({ field, after: answer.row[field] ?? null })),
              width
            )
          : answer._tag === "MovedTo"
            ? properties([["  key", answer.key]], width)
            : []
      const rebuilt =
        answer._tag === "Present" && answer.rebuilt === true
          ? ["  rebuilt from the first change after that instant"]
          : []
      const { columns = {}, table: recordedTable } = (answer._tag === "Present" ? answer.recordedAs : undefined) ?? {}
      const former = [
        ...(recordedTable === undefined ? [] : [`the table was ${recordedTable}`]),
        ...Object.entries(columns).map(([column, name]) => `${column} was ${name}`)
      ]
      const names = former.length === 0 ? [] : [visible(`  recorded when ${former.join(", ")}`)]
      yield* answerExact(
        options,
        () => Json.pieces(answer),
        (width) => [
          ...(isFuture
            ? [`${answer.at}: this instant is still to come.`, answersNow[answer._tag]]
            : [`${answer.at}: ${answers[answer._tag]}`]),
          ...rebuilt,
          ...names,
          ...lines(width)
        ]
      )
    })
)

export const transaction = leaf(
  "transaction",
  { ...common, ...paging, id: argument("ID", "Id of the transaction.") },
  (options) =>
    Effect.gen(function* () {
      const pageOptions = yield* pagingOf(options)
      const incident = yield* reading(options, Query.incident(options.id, pageOptions), { transactionId: "ID" })
      yield* answerExact(
        options,
        () => Json.pieces(incident),
        (width) => incidentText(incident, width)
      )
    })
)

function* incidentText(incident: Query.Incident, width: number): Generator<string, void> {
  const { actions, changes, hasMoreActions, hasMoreRelated, hasMoreSiblings, related, siblings, transaction } = incident
  const metadata = Object.keys(transaction.meta).length === 0 ? null : Json.stringify(transaction.meta)
  yield* [
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
      width
    ),
    ...actions.flatMap((action) => [
      "",
      bold(visible(`action ${action.name}${action.status === "ok" ? "" : ` (${action.status})`}`)),
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
          ["data", action.data === null ? null : Json.stringify(action.data)],
          ["context error", action.contextError]
        ],
        width
      )
    ]),
    ...(hasMoreActions ? ["", "There are more actions."] : [])
  ]
  for (const { change, fields } of changes.items) {
    yield ""
    yield* changeLines(change, fields, width, "in its transaction")
  }
  yield* [
    ...more(changes),
    ...otherTransactions("Parts of the same database transaction", siblings, hasMoreSiblings, width),
    ...otherTransactions("Transactions of the same correlation", related, hasMoreRelated, width)
  ]
}

const otherTransactions = (
  heading: string,
  list: Query.Incident["siblings"],
  hasMore: boolean,
  width: number
): ReadonlyArray<string> =>
  list.length === 0
    ? []
    : [
        "",
        `${heading}:`,
        ...list.flatMap(({ action, transaction }) =>
          paragraph(
            `${transaction.id}  ${when(transaction.occurredAt)}  ${who(transaction.actor)}  ${action?.name ?? ""}`.trimEnd(),
            width - 2
          ).map((line) => `  ${line}`)
        ),
        ...(hasMore ? ["  and more"] : [])
      ]
