import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Struct from "effect/Struct"
import * as Actor from "../../src/Actor.js"
import type * as Page from "../../src/Page.js"
import * as Json from "../../src/Json.js"
import * as Query from "../../src/Query.js"
import { shortTable } from "../../src/internal/core/words.js"
import { type ColumnsOf, columnsOf, unordered } from "../columns.js"
import { changeTable, when, whoColumn, whoShort } from "../describe.js"
import { actionFilterOf, actionFilters, changeFilterOf, changeFilters, type ChangeFilters } from "../filter.js"
import type { UsageError } from "../exit.js"
import { type Common, common, value } from "../options.js"
import { answerExact, bold } from "../output.js"
import { argument, leaf, optionalArgument, wordArgument } from "../parser/declare.js"
import { listed, type Paging, paging, pagingOf, reading } from "../reading.js"
import { layout, paragraph } from "../table.js"
import { window, windowOf } from "../window.js"

export const inTransactions = (changes: ReadonlyArray<Query.Change>, width: number, columns: ColumnsOf): string =>
  changeTable(changes, { header: "tx", of: ({ transactionId }) => transactionId }, columns, width)

const counted = ({ count, exact }: Query.Count): string => (exact ? String(count) : `${count}+`)

const transactionTable = (
  summaries: ReadonlyArray<Query.TransactionSummary>,
  provenance: boolean,
  width: number
): string => {
  // Parts of a context that could not be recorded.
  const failures = provenance && summaries.some(({ transaction }) => transaction.contextError !== null)
  return layout(
    [
      { header: "occurred (UTC)", rigid: true },
      { header: "tx", rigid: true },
      provenance ? { header: "database user" } : whoColumn(summaries.map(({ transaction }) => transaction.actor)),
      { header: provenance ? "application" : "action" },
      { header: "changes", rigid: true },
      { header: "tables" },
      ...(failures ? [{ header: "context error", whole: true }] : [])
    ],
    summaries.map(({ action, changes, tables, transaction }) => [
      when(transaction.occurredAt),
      transaction.id,
      provenance ? (transaction.dbUser ?? "") : whoShort(transaction.actor),
      provenance ? (transaction.applicationName ?? "") : (action?.name ?? ""),
      counted(changes),
      tables.map(shortTable).join(", "),
      ...(failures ? [transaction.contextError ?? ""] : [])
    ]),
    width
  )
}

const actionTable = (actions: ReadonlyArray<Query.Action>, width: number): string => {
  // Parts of a context that could not be recorded.
  const failures = actions.some(({ contextError }) => contextError !== null)
  return layout(
    [
      { header: "recorded (UTC)", rigid: true },
      { header: "action" },
      { header: "status", rigid: true },
      whoColumn(actions.map(({ actor }) => actor)),
      { header: "correlation" },
      { header: "tx", rigid: true },
      ...(failures ? [{ header: "context error", whole: true }] : [])
    ],
    actions.map((action) => [
      when(action.occurredAt),
      action.name,
      action.status,
      whoShort(action.actor),
      action.correlationId ?? "",
      action.transactionId ?? "",
      ...(failures ? [action.contextError ?? ""] : [])
    ]),
    width
  )
}

/** How a listing shows its items, and what it says if there are none. */
interface Rendering<in A> {
  readonly table: (items: ReadonlyArray<A>, width: number, columns: ColumnsOf) => string
  /** The changes among the items, whose fields are shown in the order of their table. */
  readonly changes?: (items: ReadonlyArray<A>) => ReadonlyArray<Query.Change>
  readonly none: string
}

/** How many transactions carry the correlation without an action, if that explains why a listing is empty. */
const withoutAction = (
  { cursor, ...filter }: Query.FilterInput,
  page: Page.Page<unknown>
): Effect.Effect<Query.Count, Query.ReadError, Query.Query> =>
  filter.correlationId === undefined ||
  filter.includeCaptureOnly === true ||
  filter.action !== undefined ||
  filter.actionStatus !== undefined ||
  cursor !== undefined ||
  page.items.length > 0 ||
  page.partial
    ? Effect.succeed({ count: 0, exact: true })
    : Effect.map(
        Query.transactions({ ...filter, includeCaptureOnly: true, limit: 1000 }),
        ({ hasMore, items }): Query.Count => ({ count: items.length, exact: !hasMore })
      )

const withoutActionText = ({ count, exact }: Query.Count): string =>
  count === 1 && exact
    ? "1 transaction carries this correlation without an action"
    : `${count}${exact ? "" : " or more"} transactions carry this correlation without an action`

/** Prints the page that the options ask for. */
const list = <A>(
  options: Common & Paging,
  filtered: Effect.Effect<Query.FilterInput, UsageError>,
  read: (filter: Query.FilterInput) => Effect.Effect<Page.Page<A>, Query.ReadError, Query.Query>,
  { changes = () => [], none, table }: Rendering<A>
) =>
  Effect.gen(function* () {
    const filter = { ...(yield* filtered), ...(yield* pagingOf(options)) }
    const { columns, page, uncorrelated } = yield* reading(
      options,
      Effect.gen(function* () {
        const page = yield* read(filter)
        return {
          page,
          uncorrelated: yield* withoutAction(filter, page),
          columns: options.json ? unordered : yield* columnsOf(changes(page.items))
        }
      })
    )
    const sentence =
      "includeCaptureOnly" in options
        ? `${withoutActionText(uncorrelated)}: --include-capture-only shows them.`
        : `${withoutActionText(uncorrelated)}: threadline correlation shows them.`
    const found = uncorrelated.count === 0
    yield* answerExact(
      options,
      () =>
        found
          ? Json.pieces(page)
          : Json.stringify({ items: [], nextCursor: null, hasMore: false, withoutAction: { ...uncorrelated } }),
      (width) =>
        found
          ? listed(page, none, () => [table(page.items, width, columns)])
          : [none, ...paragraph(sentence, width)].join("\n")
    )
  })

export const timeline = leaf("timeline", { ...common, ...changeFilters, ...paging }, (options) =>
  list(options, changeFilterOf(options), Query.timeline, {
    table: inTransactions,
    changes: (items) => items,
    none: "No change matches."
  })
)

export const transactions = leaf("transactions", { ...common, ...changeFilters, ...paging }, (options) =>
  list(options, changeFilterOf(options), Query.transactions, {
    table: (summaries, width) => transactionTable(summaries, false, width),
    none: "No transaction matches."
  })
)

export const actions = leaf("actions", { ...common, ...actionFilters, ...paging }, (options) =>
  list(options, actionFilterOf(options), Query.actions, {
    table: actionTable,
    none: "No action matches."
  })
)

// The listing is about transactions without an actor.
const unattributedFilters = Struct.omit(changeFilters, "actor", "impersonator", "actorLabel", "unattributed")

const noActor: Pick<ChangeFilters, "actor" | "impersonator" | "actorLabel" | "unattributed"> = {
  actor: Option.none(),
  actorLabel: Option.none(),
  impersonator: Option.none(),
  unattributed: true
}

export const unattributed = leaf("unattributed", { ...common, ...unattributedFilters, ...paging }, (options) =>
  list(options, changeFilterOf({ ...options, ...noActor }), Query.unattributed, {
    table: (summaries, width) => transactionTable(summaries, true, width),
    none: "No unattributed transaction matches."
  })
)

const bundleText = ({ actions, changes, transactions }: Query.Bundle, columns: ColumnsOf, width: number): string => {
  const raise = (page: Page.Page<unknown>): ReadonlyArray<string> =>
    page.hasMore ? ["There are more: raise --limit, or ask for less time."] : []
  return [
    bold("actions"),
    ...(actions.items.length === 0 ? ["No action."] : [actionTable(actions.items, width)]),
    ...raise(actions),
    "",
    bold("transactions"),
    ...(transactions.items.length === 0 ? ["No transaction."] : [transactionTable(transactions.items, false, width)]),
    ...raise(transactions),
    "",
    bold("changes"),
    listed(changes, "No change.", () => [inTransactions(changes.items, width, columns)])
  ].join("\n")
}

const showBundle = (
  options: Common,
  read: Effect.Effect<Query.Bundle, Query.ReadError, Query.Query>,
  args: Readonly<Record<string, string>>
) =>
  Effect.gen(function* () {
    const { bundle, columns } = yield* reading(
      options,
      Effect.flatMap(read, (bundle) =>
        Effect.map(options.json ? Effect.succeed(unordered) : columnsOf(bundle.changes.items), (columns) => ({
          bundle,
          columns
        }))
      ),
      args
    )
    yield* answerExact(
      options,
      () => Json.pieces(bundle),
      (width) => bundleText(bundle, columns, width)
    )
  })

export const actor = leaf(
  "actor",
  {
    ...common,
    ...window,
    ...paging,
    type: wordArgument("TYPE", Actor.types, `One of ${Actor.types.join(", ")}.`),
    id: optionalArgument("ID", "Id of the actor; default: every actor of the type."),
    label: value("label", "TEXT", "Only actors whose label, or their impersonator's, contains this.")
  },
  (options) =>
    Effect.gen(function* () {
      const { type } = options
      const id = Option.getOrUndefined(options.id)
      const bundleOptions = {
        ...(yield* windowOf(options)),
        ...(yield* pagingOf(options)),
        actorLabel: Option.getOrUndefined(options.label)
      }
      yield* showBundle(options, Query.actorWindow(id === undefined ? { type } : { type, id }, bundleOptions), {
        actor: "ID",
        actorLabel: "--label"
      })
    })
)

/** The same bundle as for a correlation, for everything that carries the id of a request. */
const ofRequest = (requestId: string, { cursor, ...paged }: Effect.Effect.Success<ReturnType<typeof pagingOf>>) =>
  Effect.all({
    // The changes first, because their cursor may be refused.
    changes: Query.timeline({ requestId, cursor, ...paged }),
    actions: Query.actions({ requestId, ...paged }),
    transactions: Query.transactions({ requestId, ...paged })
  }).pipe(Effect.map(({ actions, changes, transactions }): Query.Bundle => ({ actions, transactions, changes })))

export const request = leaf("request", { ...common, ...paging, id: argument("ID", "A request id.") }, (options) =>
  Effect.gen(function* () {
    const pageOptions = yield* pagingOf(options)
    yield* showBundle(options, ofRequest(options.id, pageOptions), { requestId: "ID" })
  })
)

export const correlation = leaf(
  "correlation",
  { ...common, ...paging, id: argument("ID", "A correlation id.") },
  (options) =>
    Effect.gen(function* () {
      const pageOptions = yield* pagingOf(options)
      yield* showBundle(options, Query.correlation(options.id, pageOptions), { correlationId: "ID" })
    })
)
