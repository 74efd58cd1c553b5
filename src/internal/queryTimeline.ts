/**
 * Timelines: changes by transaction and change, each page one statement that reads an index in that order.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import type { Page } from "../Page.js"
import { fromSqlError, type InvalidRequest, NotFound, type ThreadlineError } from "../ThreadlineError.js"
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
import { onKeyError, tableOf } from "./queryKey.js"
import { pageOf } from "./queryPage.js"
import { canonicalRequest } from "./queryRequest.js"
import { all, rows, type Storage } from "./queryStorage.js"
import { format } from "./tableName.js"

export type ReadError = InvalidRequest | NotFound | ThreadlineError

/** A request that is understood, and all that its statement is made of. */
interface Plan {
  readonly storage: Storage
  readonly filter: Filter
  readonly parts: ReadonlyArray<Part>
  readonly query: cursors.Query
  readonly after: cursors.Position | undefined
}

const conditionsOn = (plan: Plan, side: "change" | "transaction"): ReadonlyArray<Fragment> =>
  plan.parts.flatMap((part) => part[side] ?? [])

const direction = ({ filter, storage: { sql } }: Plan): Fragment =>
  sql.literal(filter.order === "newest" ? "desc" : "asc")

const beyond = ({ filter, storage: { sql } }: Plan): Fragment => sql.literal(filter.order === "newest" ? "<" : ">")

const byTransaction = (plan: Plan): Fragment =>
  plan.storage.sql`c.transaction_id ${direction(plan)}, c.id ${direction(plan)}`

const byTime = (plan: Plan): Fragment => plan.storage.sql`c.captured_at ${direction(plan)}, c.id ${direction(plan)}`

const windowOf = (plan: Plan): { readonly from: string | undefined; readonly to: string | undefined } => ({
  from: plan.parts.find((part) => part.from !== undefined)?.from,
  to: plan.parts.find((part) => part.to !== undefined)?.to
})

/**
 * A time window as a range of transaction ids, exactly: the ids of the transactions that began nearest to its ends, widened by
 * those of transactions that captured something inside although they began before it, or have an id out of order.
 *
 * Such stragglers are found through the BRIN index on captured_at and (transaction_id + 0). The sum keeps the planner from the
 * btree on transaction_id, where it would walk everything before the window; the two-sided range of unknown ends makes it
 * expect few rows.
 */
const bounds = (plan: Plan): Fragment | undefined => {
  const { name, sql } = plan.storage
  const { from, to } = windowOf(plan)
  if (from === undefined && to === undefined) {
    return undefined
  }
  const inside = all([
    from === undefined ? undefined : sql`c.captured_at >= ${from}::timestamptz`,
    to === undefined ? undefined : sql`c.captured_at <= ${to}::timestamptz`
  ])
  const low = sql`
    least(p.low, (
      select min(c.transaction_id + 0)
      from ${name("audit_changes")} c
      where ${inside}
        and c.transaction_id + 0 between p.bottom and p.low - 1
    ))`
  const high = sql`
    greatest(p.high, (
      select max(c.transaction_id + 0)
      from ${name("audit_changes")} c
      where ${inside}
        and c.transaction_id + 0 between p.high + 1 and p.top
    ))`
  return sql`
    with bounds as materialized (
      select
        ${from === undefined ? sql`p.bottom` : low} as low,
        ${to === undefined ? sql`p.top` : high} as high
      from (
        select
          0::bigint as bottom,
          9223372036854775807::bigint as top,
          ${
            from === undefined
              ? sql`0::bigint`
              : sql`coalesce((
                  select min(n.id)
                  from (
                    select t.id
                    from ${name("audit_transactions")} t
                    where t.occurred_at >= ${from}::timestamptz
                    order by t.occurred_at, t.id
                    limit 32
                  ) n
                ), 9223372036854775807)`
          } as low,
          ${
            to === undefined
              ? sql`9223372036854775807::bigint`
              : sql`coalesce((
                  select max(n.id)
                  from (
                    select t.id
                    from ${name("audit_transactions")} t
                    where t.occurred_at <= ${to}::timestamptz
                    order by t.occurred_at desc, t.id desc
                    limit 32
                  ) n
                ), 0)`
          } as high
        offset 0
      ) p
    )`
}

/** Keeps a column of transaction ids within the window and beyond the cursor. */
const within =
  (plan: Plan) =>
  (column: string): Fragment => {
    const { sql } = plan.storage
    const { from, to } = windowOf(plan)
    const id = sql.literal(column)
    return all([
      from === undefined ? undefined : sql`${id} >= (select low from bounds)`,
      // As a row comparison: of a plain two-sided range of unknown ends the planner expects next to nothing.
      to === undefined ? undefined : sql`(${id}, ${id}) <= ((select high from bounds), (select high from bounds))`,
      plan.after === undefined
        ? undefined
        : sql`${id} ${sql.literal(plan.filter.order === "newest" ? "<=" : ">=")} ${plan.after.major.toString()}::bigint`
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
  const { from, to } = windowOf(plan)
  return sql`
    select c.*
    from ${name("audit_changes")} c
    where ${all([
      ...conditionsOn(plan, "change"),
      from === undefined ? undefined : sql`c.transaction_id >= (select low from bounds)`,
      to === undefined ? undefined : sql`(c.transaction_id, c.id) <= ((select high from bounds), 9223372036854775807)`,
      afterCursor(plan)
    ])}
    order by ${byTransaction(plan)}
    ${limited(plan)}`
}

/** A change is captured after its transaction began; a day allows for a clock that was set back meanwhile. */
const prune = (plan: Plan): Fragment => plan.storage.sql`c.captured_at >= t.occurred_at - interval '1 day'`

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
    join ${name("audit_changes")} c on c.transaction_id = t.id
    where ${all([
      prune(plan),
      within(plan)("t.id"),
      ...conditionsOn(plan, "transaction"),
      ...others.map((other) => other.holds("t.id")),
      ...conditionsOn(plan, "change"),
      afterCursor(plan)
    ])}
    order by ${byTransaction(plan)}
    ${limited(plan)}`
}

/** Changes of one row: under its key, and the one that moved the row away from it. In the order of the row. */
const fromRow = (plan: Plan, row: Fragment): Fragment => {
  const { name, sql } = plan.storage
  const { after } = plan
  const transactional = [
    ...conditionsOn(plan, "transaction"),
    ...plan.parts.flatMap((part) => part.source?.holds("t.id") ?? [])
  ]
  const joined =
    transactional.length === 0 ? sql`` : sql`join ${name("audit_transactions")} t on t.id = c.transaction_id`
  const at = after === undefined ? undefined : sql`${formatMicros(after.major)}::timestamptz`
  const branch = (key: Fragment) => sql`
    select c.*
    from ${name("audit_changes")} c
    ${joined}
    where ${all([
      key,
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
      (${branch(sql`c.row_key = ${row}`)})
      union all
      (${branch(sql`c.previous_row_key = ${row} and c.row_key is distinct from ${row}`)})
    ) c
    order by ${byTime(plan)}
    ${limited(plan)}`
}

const rowOf = (plan: Plan): Fragment | undefined => plan.parts.find((part) => part.row !== undefined)?.row

const statement = (plan: Plan) => {
  const { name, sql } = plan.storage
  const row = rowOf(plan)
  const transactional = plan.parts.some((part) => part.transaction !== undefined || part.source !== undefined)
  const found = row !== undefined ? fromRow(plan, row) : transactional ? fromTransactions(plan) : fromChanges(plan)
  return sql`
    ${(row === undefined ? bounds(plan) : undefined) ?? sql``}
    select ${changeColumns(sql)}, ${transactionColumns(sql)}, ${actionColumns(sql)}
    from (${found}) c
    join ${name("audit_transactions")} t on t.id = c.transaction_id
    left join ${name("audit_actions")} a on a.id = t.action_id
    order by ${row === undefined ? byTransaction(plan) : byTime(plan)}`
}

const plan = (storage: Storage, input: FilterInput): Either.Either<Plan, InvalidRequest> =>
  Either.flatMap(decodeFilter(input), (filter) => {
    const query = {
      kind: filter.key === undefined ? "timeline" : "timeline of a row",
      order: filter.key === undefined ? ("ids" as const) : ("time" as const),
      text: canonicalRequest(filter)
    }
    const made = (after: cursors.Position | undefined): Plan => ({
      storage,
      filter,
      query,
      after,
      parts: partsOf(filter, storage)
    })
    return filter.cursor === undefined
      ? Either.right(made(undefined))
      : Either.map(cursors.decode(query, filter.cursor), made)
  })

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

/** The statement of a timeline's page, as text: for tests of what it costs. */
export const compiled = (
  storage: Storage,
  input: FilterInput
): Either.Either<ReturnType<typeof statement>, InvalidRequest> => Either.map(plan(storage, input), statement)

export const timeline = Effect.fnUntraced(function* (
  storage: Storage,
  input: FilterInput
): Effect.fn.Return<Page<Change>, ReadError> {
  const planned = yield* plan(storage, input)
  const { filter } = planned
  const found = yield* rows(
    ChangeRow,
    statement(planned),
    filter.table === undefined || filter.key === undefined ? fromSqlError : onKeyError(tableOf(filter.table))
  )
  if (found.length === 0 && filter.table !== undefined && filter.key === undefined) {
    yield* checkTable(storage, filter.table)
  }
  return pageOf(
    found.map(changeOf),
    filter.limit,
    planned.query,
    filter.key === undefined ? timelinePosition : rowPosition
  )
})
