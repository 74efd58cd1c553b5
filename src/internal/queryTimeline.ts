/**
 * Timelines: changes by transaction and change, each page one statement that reads an index in that order.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Page } from "../Page.js"
import { type InvalidRequest, NotFound, type ThreadlineError } from "../ThreadlineError.js"
import * as cursors from "./cursor.js"
import type { Change } from "./queryChange.js"
import {
  actionColumns,
  changeColumns,
  changeOf,
  ChangeRow,
  rowPosition,
  timelinePosition,
  transactionColumns
} from "./queryChange.js"
import type { Filter, FilterInput, Part } from "./queryFilter.js"
import { decodeFilter, partsOf } from "./queryFilter.js"
import { formatMicros } from "./queryInstant.js"
import { rowKey, tableOf } from "./queryKey.js"
import { pageOf } from "./queryPage.js"
import { canonicalRequest } from "./queryRequest.js"
import { all, rows, type Storage } from "./queryStorage.js"
import { everything, survey, type Survey, type Window } from "./queryWindow.js"
import { format } from "./tableName.js"

export type ReadError = InvalidRequest | NotFound | ThreadlineError

/** A request that is understood, and all that its statement is made of. */
interface Plan {
  readonly storage: Storage
  readonly filter: Filter
  readonly parts: ReadonlyArray<Part>
  readonly after: cursors.Position | undefined
  readonly rowKey: string | undefined
  readonly range: Survey
}

const conditionsOn = (plan: Plan, side: "change" | "transaction"): ReadonlyArray<Fragment> =>
  plan.parts.flatMap((part) => part[side] ?? [])

const direction = ({ filter, storage: { sql } }: Plan): Fragment =>
  sql.literal(filter.order === "newest" ? "desc" : "asc")

const beyond = ({ filter, storage: { sql } }: Plan): Fragment => sql.literal(filter.order === "newest" ? "<" : ">")

const byTransaction = (plan: Plan): Fragment =>
  plan.storage.sql`c.transaction_id ${direction(plan)}, c.id ${direction(plan)}`

const byTime = (plan: Plan): Fragment => plan.storage.sql`c.captured_at ${direction(plan)}, c.id ${direction(plan)}`

const windowOf = (parts: ReadonlyArray<Part>): Window => ({
  from: parts.find((part) => part.from !== undefined)?.from,
  to: parts.find((part) => part.to !== undefined)?.to
})

/** Keeps a column of transaction ids within the window and not before the cursor. */
const within =
  ({ after, filter, range, storage: { sql } }: Plan) =>
  (column: string): Fragment => {
    const id = sql.literal(column)
    const least = filter.order === "newest" ? undefined : after?.major.toString()
    const most = filter.order === "newest" ? after?.major.toString() : undefined
    return all([
      range.low === undefined ? undefined : sql`${id} >= ${range.low}::bigint`,
      range.high === undefined ? undefined : sql`${id} <= ${range.high}::bigint`,
      least === undefined ? undefined : sql`${id} >= ${least}::bigint`,
      most === undefined ? undefined : sql`${id} <= ${most}::bigint`
    ])
  }

const afterCursor = (plan: Plan): Fragment | undefined =>
  plan.after === undefined
    ? undefined
    : plan.storage
        .sql`(c.transaction_id, c.id) ${beyond(plan)} (${plan.after.major.toString()}::bigint, ${plan.after.id.toString()}::bigint)`

const limited = (plan: Plan): Fragment => plan.storage.sql`limit ${plan.filter.limit + 1}`

const fromChanges = (plan: Plan): Fragment => {
  const { name, sql } = plan.storage
  return sql`
    select c.*
    from ${name("audit_changes")} c
    where ${all([...conditionsOn(plan, "change"), within(plan)("c.transaction_id"), afterCursor(plan)])}
    order by ${byTransaction(plan)}
    ${limited(plan)}`
}

/** A change is captured after its transaction began; a day allows for a clock that was set back meanwhile. */
const prune = (plan: Plan): Fragment => plan.storage.sql`c.captured_at >= t.occurred_at - interval '1 day'`

/**
 * Transactions in the order of their ids, and of each its changes. The order inside the lateral query keeps it one: as a plain join
 * it could become a merge with the whole log.
 */
const fromTransactions = (plan: Plan): Fragment => {
  const { name, sql } = plan.storage
  const [driving, ...others] = plan.parts.flatMap((part) => part.source ?? [])
  const source =
    driving === undefined
      ? sql`${name("audit_transactions")} t`
      : sql`(${driving.ids(within(plan))}) s join ${name("audit_transactions")} t on t.id = s.id`
  return sql`
    select c.*
    from ${source}
    cross join lateral (
      select c.*
      from ${name("audit_changes")} c
      where ${all([sql`c.transaction_id = t.id`, prune(plan), ...conditionsOn(plan, "change"), afterCursor(plan)])}
      order by c.transaction_id ${direction(plan)}, c.id ${direction(plan)}
    ) c
    where ${all([
      within(plan)("t.id"),
      ...conditionsOn(plan, "transaction"),
      ...others.map((other) => other.holds("t.id"))
    ])}
    order by t.id ${direction(plan)}, c.id ${direction(plan)}
    ${limited(plan)}`
}

/**
 * The other way round: changes in their order, and of each its transaction. A busy actor has too many transactions to look for
 * those in a quiet table, a busy table too many changes to look for those of a quiet actor.
 */
const fromChangesOfTransactions = (plan: Plan): Fragment => {
  const { name, sql } = plan.storage
  return sql`
    select c.*
    from ${name("audit_changes")} c
    cross join lateral (
      select t.id
      from ${name("audit_transactions")} t
      where ${all([
        sql`t.id = c.transaction_id`,
        ...conditionsOn(plan, "transaction"),
        ...plan.parts.flatMap((part) => part.source?.holds("t.id") ?? [])
      ])}
      offset 0
    ) t
    where ${all([...conditionsOn(plan, "change"), within(plan)("c.transaction_id"), afterCursor(plan)])}
    order by ${byTransaction(plan)}
    ${limited(plan)}`
}

/** Changes of one row: under its key, and the one that moved the row away from it. In the order of the row. */
const fromRow = (plan: Plan, key: string): Fragment => {
  const { name, sql } = plan.storage
  const { after } = plan
  const transactional = [
    ...conditionsOn(plan, "transaction"),
    ...plan.parts.flatMap((part) => part.source?.holds("t.id") ?? [])
  ]
  const joined =
    transactional.length === 0 ? sql`` : sql`join ${name("audit_transactions")} t on t.id = c.transaction_id`
  const at = after === undefined ? undefined : sql`${formatMicros(after.major)}::timestamptz`
  const branch = (ofRow: Fragment) => sql`
    select c.*
    from ${name("audit_changes")} c
    ${joined}
    where ${all([
      ofRow,
      ...conditionsOn(plan, "change"),
      ...transactional,
      // The row comparison alone prunes no partition.
      ...(after === undefined || at === undefined
        ? []
        : [
            sql`c.captured_at ${sql.literal(plan.filter.order === "newest" ? "<=" : ">=")} ${at}`,
            sql`(c.captured_at, c.id) ${beyond(plan)} (${at}, ${after.id.toString()}::bigint)`
          ])
    ])}
    order by ${byTime(plan)}
    ${limited(plan)}`
  return sql`
    select *
    from (
      (${branch(sql`c.row_key = ${key}`)})
      union all
      (${branch(sql`c.previous_row_key = ${key} and c.row_key is distinct from ${key}`)})
    ) c
    order by ${byTime(plan)}
    ${limited(plan)}`
}

const isTransactional = (parts: ReadonlyArray<Part>): boolean =>
  parts.some((part) => part.transaction !== undefined || part.source !== undefined)

const statement = (plan: Plan) => {
  const { name, sql } = plan.storage
  const { rowKey } = plan
  const found =
    rowKey !== undefined
      ? fromRow(plan, rowKey)
      : !isTransactional(plan.parts)
        ? fromChanges(plan)
        : plan.range.few
          ? fromChangesOfTransactions(plan)
          : fromTransactions(plan)
  return sql`
    select ${changeColumns(sql)}, ${transactionColumns(sql)}, ${actionColumns(sql)}
    from (${found}) c
    join ${name("audit_transactions")} t on t.id = c.transaction_id
    left join ${name("audit_actions")} a on a.id = t.action_id
    order by ${rowKey === undefined ? byTransaction(plan) : byTime(plan)}`
}

const Known = Schema.Struct({ known: Schema.Literal("true", "false") })

/** A table without changes is either one that never changed or one that is not audited. */
const checkTable = (storage: Storage, text: string): Effect.Effect<void, NotFound | ThreadlineError> => {
  const { name, sql } = storage
  const table = tableOf(text)
  const known = sql`
    select (
      exists (
        select from ${name("capture_policies")}
        where table_schema = ${table.schema}
          and table_name = ${table.name}
      ) or exists (
        select from ${name("audit_changes")}
        where table_schema = ${table.schema}
          and table_name = ${table.name}
      )
    )::text as known`
  return Effect.flatMap(rows(Known, known), ([row]) =>
    row?.known === "true" ? Effect.void : Effect.fail(new NotFound({ subject: "table", id: format(table) }))
  )
}

export const timeline = Effect.fnUntraced(function* (
  storage: Storage,
  input: FilterInput
): Effect.fn.Return<Page<Change>, ReadError> {
  const filter = yield* decodeFilter(input)
  const query: cursors.Query =
    filter.key === undefined
      ? { kind: "timeline", order: "ids", text: canonicalRequest(filter) }
      : { kind: "timeline of a row", order: "time", text: canonicalRequest(filter) }
  const after = filter.cursor === undefined ? undefined : yield* cursors.decode(query, filter.cursor)
  const parts = partsOf(filter, storage)
  // What decides the way to read is found first: a row's key, or the ids that a window spans and how much there is in a table.
  const row = parts.find((part) => part.row !== undefined)?.row
  const key = row === undefined ? undefined : yield* rowKey(storage, row.table, row.key)
  const range =
    key !== undefined
      ? everything
      : yield* survey(
          storage,
          windowOf(parts),
          filter.table !== undefined && isTransactional(parts) ? parts.flatMap((part) => part.change ?? []) : undefined
        )
  const found = yield* rows(ChangeRow, statement({ storage, filter, parts, after, rowKey: key, range }))
  if (found.length === 0 && filter.table !== undefined && key === undefined) {
    yield* checkTable(storage, filter.table)
  }
  return pageOf(found.map(changeOf), filter.limit, query, key === undefined ? timelinePosition : rowPosition)
})
