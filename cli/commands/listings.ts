import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Struct from "effect/Struct"
import type * as Page from "../../src/Page.js"
import * as Json from "../../src/Json.js"
import * as Query from "../../src/Query.js"
import { changeTable, when, whoColumn, whoShort } from "../describe.js"
import {
  actionFilterOf,
  actionFilters,
  actorTypes,
  changeFilterOf,
  changeFilters,
  type ChangeFilters
} from "../filter.js"
import type { UsageError } from "../exit.js"
import { type Common, common } from "../options.js"
import { answerExact, bold } from "../output.js"
import { argument, leaf, optionalArgument, wordArgument } from "../parser/declare.js"
import { listed, type Paging, paging, pagingOf, reading } from "../reading.js"
import { layout } from "../table.js"
import { window, windowOf } from "../window.js"

const inTransactions = (changes: ReadonlyArray<Query.Change>, width: number): string =>
  changeTable(changes, { header: "tx", of: ({ transactionId }) => transactionId }, width)

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
      provenance ? transaction.dbUser : whoShort(transaction.actor),
      provenance ? (transaction.applicationName ?? "") : (action?.name ?? ""),
      counted(changes),
      tables.map((table) => table.replace(/^public\./, "")).join(", "),
      ...(failures ? [transaction.contextError ?? ""] : [])
    ]),
    width
  )
}

const actionTable = (actions: ReadonlyArray<Query.Action>, width: number): string =>
  layout(
    [
      { header: "recorded (UTC)", rigid: true },
      { header: "action" },
      { header: "status", rigid: true },
      whoColumn(actions.map(({ actor }) => actor)),
      { header: "correlation" },
      { header: "tx", rigid: true }
    ],
    actions.map((action) => [
      when(action.occurredAt),
      action.name,
      action.status,
      whoShort(action.actor),
      action.correlationId ?? "",
      action.transactionId ?? ""
    ]),
    width
  )

/** How a listing shows its items, and what it says if there are none. */
interface Rendering<in A> {
  readonly table: (items: ReadonlyArray<A>, width: number) => string
  readonly none: string
}

/** Prints the page that the options ask for. */
const list = <A>(
  options: Common & Paging,
  filtered: Effect.Effect<Query.FilterInput, UsageError>,
  read: (filter: Query.FilterInput) => Effect.Effect<Page.Page<A>, Query.ReadError, Query.Query>,
  { none, table }: Rendering<A>
) =>
  Effect.gen(function* () {
    const filter = { ...(yield* filtered), ...(yield* pagingOf(options)) }
    const page = yield* reading(options, read(filter))
    yield* answerExact(
      options,
      () => Json.stringify(page),
      (width) => listed(page, none, () => [table(page.items, width)])
    )
  })

export const timeline = leaf("timeline", { ...common, ...changeFilters, ...paging }, (options) =>
  list(options, changeFilterOf(options), Query.timeline, {
    table: inTransactions,
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
const unattributedFilters = Struct.omit(changeFilters, "actor", "impersonator", "unattributed")

const noActor: Pick<ChangeFilters, "actor" | "impersonator" | "unattributed"> = {
  actor: Option.none(),
  impersonator: Option.none(),
  unattributed: true
}

export const unattributed = leaf("unattributed", { ...common, ...unattributedFilters, ...paging }, (options) =>
  list(options, changeFilterOf({ ...options, ...noActor }), Query.unattributed, {
    table: (summaries, width) => transactionTable(summaries, true, width),
    none: "No unattributed transaction matches."
  })
)

const bundleText = ({ actions, changes, transactions }: Query.Bundle, width: number): string => {
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
    listed(changes, "No change.", () => [inTransactions(changes.items, width)])
  ].join("\n")
}

export const actor = leaf(
  "actor",
  {
    ...common,
    ...window,
    ...paging,
    type: wordArgument("TYPE", actorTypes, `One of ${actorTypes.join(", ")}.`),
    id: optionalArgument("ID", "Id of the actor; else every actor of the type.")
  },
  (options) =>
    Effect.gen(function* () {
      const { type } = options
      const id = Option.getOrUndefined(options.id)
      const bundleOptions = {
        ...(yield* windowOf(options)),
        ...(yield* pagingOf(options))
      }
      const bundle = yield* reading(
        options,
        Query.actorWindow(id === undefined ? { type } : { type, id }, bundleOptions),
        {
          actor: "ID"
        }
      )
      yield* answerExact(
        options,
        () => Json.stringify(bundle),
        (width) => bundleText(bundle, width)
      )
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
    const bundle = yield* reading(options, ofRequest(options.id, pageOptions), { requestId: "ID" })
    yield* answerExact(
      options,
      () => Json.stringify(bundle),
      (width) => bundleText(bundle, width)
    )
  })
)

export const correlation = leaf(
  "correlation",
  { ...common, ...paging, id: argument("ID", "A correlation id.") },
  (options) =>
    Effect.gen(function* () {
      const pageOptions = yield* pagingOf(options)
      const bundle = yield* reading(options, Query.correlation(options.id, pageOptions), { correlationId: "ID" })
      yield* answerExact(
        options,
        () => Json.stringify(bundle),
        (width) => bundleText(bundle, width)
      )
    })
)
