/**
 * A search that often suffices: the first transactions of a plan, each of which has something to show.
 */
import type { Fragment } from "@effect/sql/Statement"
import type { TableName } from "../core/tableName.js"
import { earliestCapture } from "../record/change.js"
import type { Plan } from "./plan.js"
import {
  drivingPart,
  isBehind,
  lastTransaction,
  type Search,
  tests,
  transactionsOf,
  transactionTests
} from "./statements.js"

/** The name of the one table whose changes are listed. Null if all tables are, undefined if there are several or it had others. */
const onlyName = ({ tables }: Plan): TableName | null | undefined => {
  const [span, ...otherSpans] = tables?.flatMap(({ spans }) => spans) ?? []
  return tables === undefined
    ? null
    : span !== undefined && otherSpans.length === 0 && span.since === null && span.until === null
      ? span
      : undefined
}

/**
 * Whether the transactions of a plan are found in the order of their ids, and nothing else is asked of them or of their changes but
 * their time, and of changes their table.
 */
const isPlain = (plan: Plan): boolean => {
  const { after, of, parts, range, row, storage, tables } = plan
  const driving = drivingPart(plan)
  return (
    storage.restriction === undefined &&
    row === undefined &&
    (of === "transactions"
      ? tables === undefined && (after === undefined || isBehind(plan))
      : // An actor may be too busy to find the few changes of a quiet table.
        (tables === undefined ? driving : driving?.source) !== undefined && onlyName(plan) !== undefined) &&
    (range.low === undefined || range.low !== range.high) &&
    parts.every(({ from, seek, to }) => seek === undefined || from !== undefined || to !== undefined) &&
    tests(plan).length === 0 &&
    transactionTests(plan, driving).length === 0
  )
}

/** Changes that are counted of a transaction in a listing. */
export const mostCounted = 100

/** Transactions that a short search looks at beyond those that are wanted: those at the ends of a window may lie outside of it. */
const spare = 16

/**
 * A short search for the first transactions of a plan, as many as it needs if each has something to show. The log is read by a
 * function of the database, which keeps its plan. A statement is planned each time, over all partitions of changes. Undefined if the
 * plan asks for too much.
 */
export const searchShort = (plan: Plan, limit: number): Search | undefined => {
  if (!isPlain(plan)) {
    return undefined
  }
  const { after, of, order, parts, storage } = plan
  const { name, sql } = storage
  const count = limit + spare
  const bound = (instants: ReadonlyArray<string | undefined>, open: string): Fragment =>
    sql`${instants.find((instant) => instant !== undefined) ?? open}::timestamptz`
  const since = bound(
    parts.map(({ from }) => from),
    "-infinity"
  )
  const until = bound(
    parts.map(({ to }) => to),
    "infinity"
  )
  const found = sql`
        (select pg_catalog.array_agg(t.place order by t.place) from threadline_first t),
        (select pg_catalog.array_agg(${earliestCapture(sql, sql`t.occurred_at`)} order by t.place) from threadline_first t),
        ${order === "newest"}::boolean`
  const within = isBehind(plan) ? undefined : after
  const table = onlyName(plan)
  const isWindow = parts.some(({ seek }) => seek !== undefined)
  return {
    first: transactionsOf(plan, drivingPart(plan), count),
    matches:
      of === "changes"
        ? sql`
      select c.*
      from ${name("changes_of")}(${found}, ${limit}::int, ${table?.schema ?? null}::text, ${table?.name ?? null}::text, ${since}, ${until},
        ${within?.major.toString() ?? null}::bigint, ${within?.id.toString() ?? null}::bigint
      ) c`
        : sql`
      select n.*
      from ${name("contents_of")}(${found}, ${limit}::int, ${mostCounted + 1}::int, ${isWindow}::boolean, ${since}, ${until}) n`,
    stop: lastTransaction(plan, sql`select t.place from threadline_first t`, count)
  }
}
