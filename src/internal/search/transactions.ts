/**
 * Listings of transactions: those with a change that a filter lets through.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Page } from "../../Page.js"
import * as cursors from "../record/cursor.js"
import { lengthOf, searched } from "./attempt.js"
import {
  actionColumns,
  actionOf,
  ActionReference,
  AuditTransaction,
  earliestCapture,
  transactionColumns,
  transactionOf,
  TransactionRow
} from "../record/change.js"
import { onConditionError } from "../record/condition.js"
import { decodeFilter } from "./filter.js"
import type { FilterInput } from "./filterInput.js"
import { pageOf } from "../record/page.js"
import { checkNames } from "./names.js"
import { behind, type Plan } from "./plan.js"
import { prepare } from "./prepare.js"
import type { KnownWindows } from "./window.js"
import { canonicalRequest, type ReadError } from "../core/request.js"
import { type Search, search, Stop, stopOf, stopStatement, transactionsFor, withFirst } from "./statements.js"
import { mostCounted, searchShort } from "./shortSearch.js"
import { all, rows, type Storage } from "../record/storage.js"
import { Count } from "./timeline.js"
import { joinedAction, visibleChange } from "../record/visible.js"
import { format, type TableName } from "../core/tableName.js"

/**
 * A transaction with its first action, how many changes it has (counted up to 100) and in which tables.
 *
 * @since 0.1.0
 * @category schemas
 */
export const TransactionSummary = Schema.Struct({
  transaction: AuditTransaction,
  /** Its first action that the reader may see. */
  action: Schema.NullOr(ActionReference),
  /** Counted up to 100. */
  changes: Count,
  /** The tables of the changes that were counted, as in SQL, sorted. */
  tables: Schema.Array(Schema.String)
}).annotations({ identifier: "threadline.TransactionSummary" })

/**
 * @since 0.1.0
 * @category models
 */
export interface TransactionSummary extends Schema.Schema.Type<typeof TransactionSummary> {}

const SummaryRow = Schema.Struct({
  ...TransactionRow.fields,
  changes: Schema.NumberFromString,
  tables: Schema.parseJson(Schema.Array(Schema.Struct({ schema: Schema.String, name: Schema.String }))),
  ...Stop
})

/** One row for each transaction found; one row without a transaction if there is none. */
const MatchRow = Schema.Union(SummaryRow, Schema.Struct({ t_id: Schema.Null, ...Stop }))

/** The first changes of the transaction `t` that a scope lets through. */
const changesOf = (plan: Plan): Fragment => {
  const { name, sql } = plan.storage
  return sql`
      select c.table_schema, c.table_name
      from ${name("audit_changes")} c
      where ${all([
        sql`c.transaction_id = t.id`,
        sql`c.captured_at >= ${earliestCapture(sql, sql`t.occurred_at`)}`,
        visibleChange(plan.storage, "c")
      ])}
      limit ${mostCounted + 1}`
}

const statement = (plan: Plan, search: Search, limit: number) => {
  const { sql } = plan.storage
  const direction = sql.literal(plan.order === "newest" ? "desc" : "asc")
  // Who sees no change of a transaction does not see its context. Only visible changes are counted.
  const hidden = plan.storage.restriction === undefined ? undefined : sql`n.changes = 0`
  return sql`
    with ${withFirst(plan, search)}threadline_matches as materialized (${search.matches})
    select ${transactionColumns(sql, hidden)}, ${actionColumns(sql)},
      n.changes::text as changes,
      n.tables::text as tables,
      s.major::text as stop_major,
      s.id::text as stop_id
    from (select 1) one
    left join (${stopStatement(plan, search, limit)}) s on true
    left join threadline_matches f on true
    left join ${transactionsFor(plan, search)} t on t.id = f.id
    ${joinedAction(plan.storage)}
    left join lateral ${
      search.first === undefined
        ? sql`(
      select
        count(*) as changes,
        coalesce(
          pg_catalog.json_agg(distinct pg_catalog.jsonb_build_object('schema', c.table_schema, 'name', c.table_name)),
          '[]'
        ) as tables
      from (${changesOf(plan)}) c
    )`
        : sql`(select f.changes, f.tables)`
    } n on true
    order by t.id ${direction}`
}

const tableOrder = (left: TableName, right: TableName): number => (format(left) < format(right) ? -1 : 1)

const summaryOf = (row: typeof SummaryRow.Type): TransactionSummary => ({
  transaction: transactionOf(row),
  action: actionOf(row),
  changes: { count: Math.min(row.changes, mostCounted), exact: row.changes <= mostCounted },
  tables: [...row.tables].sort(tableOrder).map(format)
})

/** Transactions newest first. */
export const transactions = Effect.fnUntraced(function* (
  storage: Storage,
  input: FilterInput,
  windows?: KnownWindows
): Effect.fn.Return<Page<TransactionSummary>, ReadError> {
  const filter = yield* decodeFilter(input)
  const query: cursors.Query = { kind: "transactions", order: "ids", text: canonicalRequest(filter) }
  const after = filter.cursor === undefined ? undefined : yield* cursors.decode(storage, query, filter.cursor)
  const plan = yield* prepare(storage, "transactions", filter, after, windows)
  const limit = filter.limit + 1
  const found = (next: Plan, search: Search, remaining: number) =>
    Effect.map(rows(MatchRow, statement(next, search, remaining), onConditionError(storage)), (rows) => {
      const summaries = rows.flatMap((row) => (row.t_id === null ? [] : [summaryOf(row)]))
      const stop = stopOf(rows[0])
      // A search may end in the middle of a transaction that it has found.
      const ended = stop !== undefined && summaries.at(-1)?.transaction.id === stop.major.toString()
      return { result: summaries, stop: ended ? behind(next, stop.major) : stop }
    })
  const short = searchShort(plan, limit)
  const searching = searched(
    plan,
    limit,
    lengthOf,
    (next, attempt, remaining) => found(next, search(next, attempt, remaining), remaining),
    short === undefined ? undefined : found(plan, short, limit)
  )
  const { result: summaries, stop } = yield* Effect.map(searching, ({ result: parts, stop }) => ({
    result: parts.flat(),
    stop
  }))
  if (summaries.length === 0 && stop === undefined) {
    yield* checkNames(plan, filter)
  }
  const position = ({ transaction }: TransactionSummary): cursors.Position => behind(filter, BigInt(transaction.id))
  return yield* pageOf(storage, summaries, filter.limit, query, position, stop)
})
