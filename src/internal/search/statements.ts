/**
 * The statements that look for what a plan lists.
 *
 * There are two ways through the log. One reads changes in order (of a table, if one is given), each with its transaction. The
 * other reads transactions in order (of an actor, an action, a correlation), each with its changes. No statement looks at more
 * rows than its budget.
 */
import { earliestCapture } from "../record/change.js"
import type { Fragment } from "@effect/sql/Statement"
import * as Schema from "effect/Schema"
import type { Position } from "../record/cursor.js"
import type { Part } from "./filterPart.js"
import { formatMicros } from "../core/instant.js"
import { behind, isOfRow, listsAllVisible, type Plan } from "./plan.js"
import { all, unionAll } from "../record/storage.js"
import { byName } from "../record/tables.js"
import { visibleAction, visibleBefore, visibleChange, visibleContext } from "../record/visible.js"

/** What is found, at most `limit` rows. If the budget was used up, also where the search ended: a row `major, id`, otherwise none. */
export interface Search {
  /** The transactions of what is found and further ones, as a table `threadline_first`, if they are read before it. */
  readonly first?: Fragment
  readonly matches: Fragment
  readonly stop: Fragment | undefined
}

/** One try at finding what a plan asks for. */
export interface Attempt {
  readonly way: "changes" | "transactions"
  readonly changes: number
  readonly transactions: number
  /** Transactions whose changes are looked at, if no other condition selects them. */
  readonly visits: number
}

const seeks = ({ parts }: Plan): ReadonlyArray<Fragment> => parts.flatMap((part) => part.seek ?? [])

/** Conditions for which a change must be looked at. */
export const tests = ({ parts, row, storage }: Plan): ReadonlyArray<Fragment> => {
  const visible = visibleChange(storage, "c")
  const before = visibleBefore(storage)
  // Only a reader who may see the row under this key learns that it came from there.
  const arrival = row === undefined || before === undefined ? [] : [storage.sql`(c.row_key = ${row} or ${before})`]
  return [...parts.flatMap((part) => part.change ?? []), ...(visible === undefined ? [] : [visible]), ...arrival]
}

const direction = ({ order, storage: { sql } }: Plan): Fragment => sql.literal(order === "newest" ? "desc" : "asc")

const beyond = ({ order, storage: { sql } }: Plan): Fragment => sql.literal(order === "newest" ? "<" : ">")

const byTransaction = (plan: Plan): Fragment =>
  plan.storage.sql`c.transaction_id ${direction(plan)}, c.id ${direction(plan)}`

const byTime = (plan: Plan): Fragment => plan.storage.sql`c.captured_at ${direction(plan)}, c.id ${direction(plan)}`

/** The order of the changes of a plan: a row's own time, else by transaction. */
export const ordering = (plan: Plan): Fragment => (isOfRow(plan) ? byTime(plan) : byTransaction(plan))

/** Whether the cursor is behind all changes of its transaction. */
export const isBehind = ({ after, order }: Pick<Plan, "after" | "order">): boolean =>
  after !== undefined && after.id === behind({ order }, after.major).id

/** Keeps a column of transaction ids within the window and not before the cursor. */
const within =
  ({ after, order, range, storage: { sql } }: Plan) =>
  (column: string): Fragment => {
    const id = sql.literal(column)
    const beyond = sql.literal(`${order === "newest" ? "<" : ">"}${isBehind({ after, order }) ? "" : "="}`)
    return all([
      range.low === undefined ? undefined : sql`${id} >= ${range.low}::bigint`,
      range.high === undefined ? undefined : sql`${id} <= ${range.high}::bigint`,
      after === undefined ? undefined : sql`${id} ${beyond} ${after.major.toString()}::bigint`
    ])
  }

const afterCursor = (plan: Plan): Fragment | undefined =>
  plan.after === undefined
    ? undefined
    : plan.storage
        .sql`(c.transaction_id, c.id) ${beyond(plan)} (${plan.after.major.toString()}::bigint, ${plan.after.id.toString()}::bigint)`

/** `limit` and how many, or nothing if all of them are wanted. */
const limited = ({ storage: { sql } }: Plan, count: number | undefined): Fragment =>
  count === undefined ? sql`` : sql`limit ${count}`

/** The first changes of some tables or of all tables, or all of them. Several tables are read side by side, each in its order. */
const fromLog = (plan: Plan, count: number | undefined): Fragment => {
  const { name, sql } = plan.storage
  const select = (ofName: Fragment | undefined): Fragment => sql`(
        select c.*
        from ${name("audit_changes")} c
        where ${all([ofName, ...seeks(plan), within(plan)("c.transaction_id"), afterCursor(plan)])}
        order by ${byTransaction(plan)}
        ${limited(plan, count)}
      )`
  const names = plan.tables?.flatMap((table) => byName(plan.storage, table, "c"))
  return unionAll((names ?? [undefined]).map(select))
}

/** Changes of one row: under its key, and the one that moved the row away from it. */
const fromRow = (plan: Plan, key: string, count: number | undefined): Fragment => {
  const { name, sql } = plan.storage
  const after = isOfRow(plan) ? plan.after : undefined
  const at = after === undefined ? undefined : sql`${formatMicros(after.major)}::timestamptz`
  const names = plan.tables?.flatMap((table) => byName(plan.storage, table, "c")) ?? []
  const branch = (ofRow: Fragment) => (ofName: Fragment) => sql`(
        select c.*
        from ${name("audit_changes")} c
        where ${all([
          ofRow,
          ofName,
          ...seeks(plan),
          // The row comparison alone prunes no partition.
          ...(after === undefined || at === undefined
            ? [afterCursor(plan)]
            : [
                sql`c.captured_at ${sql.literal(plan.order === "newest" ? "<=" : ">=")} ${at}`,
                sql`(c.captured_at, c.id) ${beyond(plan)} (${at}, ${after.id.toString()}::bigint)`
              ])
        ])}
        order by ${ordering(plan)}
        ${limited(plan, count)}
      )`
  return unionAll([
    ...names.map(branch(sql`c.row_key = ${key}`)),
    ...names.map(branch(sql`c.previous_row_key = ${key} and c.row_key is distinct from ${key}`))
  ])
}

/** Partitions of changes that are too old for the transaction `t` are not looked at. */
const prune = ({ storage: { sql } }: Plan): Fragment =>
  sql`c.captured_at >= ${earliestCapture(sql, sql`t.occurred_at`)}`

/** Conditions on the transaction `t`, but for the one that its index finds. */
export const transactionTests = (plan: Plan, driving: Part | undefined): ReadonlyArray<Fragment> =>
  plan.parts.flatMap((part) => [
    ...(part === driving || part.transaction === undefined ? [] : [part.transaction.condition]),
    ...(part === driving || part.source === undefined ? [] : [part.source.holds("t.id")])
  ])

/**
 * Transactions in the order of their ids (`place`), as many as the budget allows. If two filters have an index, the first one is
 * used. Ids from another table are sorted first and fetched one by one. In a join, the planner could merge them with all
 * transactions.
 */
export const transactionsOf = (plan: Plan, driving: Part | undefined, count: number | undefined): Fragment => {
  const { name, sql } = plan.storage
  const limit = limited(plan, count)
  // Without the fence, the planner would walk all transactions in their order and hope to meet the few early.
  const fence = driving?.transaction?.index === "few" ? sql`offset 0` : sql``
  return driving?.source === undefined
    ? sql`
        select t.id as place, t.*
        from (
          select t.*
          from ${name("audit_transactions")} t
          where ${all([driving?.transaction?.condition, within(plan)("t.id")])}
          ${fence}
        ) t
        order by t.id ${direction(plan)}
        ${limit}`
    : sql`
        select s.id as place, t.*
        from (
          select s.id
          from (${driving.source.ids({ within: within(plan), direction: direction(plan), limit })}) s
          order by s.id ${direction(plan)}
          ${limit}
        ) s
        cross join lateral (
          select t.*
          from ${name("audit_transactions")} t
          where t.id = s.id
          offset 0
        ) t
        order by s.id ${direction(plan)}
        ${limit}`
}

export const drivingPart = ({ parts }: Plan): Part | undefined =>
  parts.find((part) => part.transaction?.index === "few") ??
  parts.find((part) => part.source !== undefined) ??
  parts.find((part) => part.transaction?.index === "ordered")

/** The change at which a search ends: the last candidate, if the budget was used up. */
const lastChange = (plan: Plan, candidates: Fragment, count: number): Fragment => {
  const { sql } = plan.storage
  const major = isOfRow(plan) ? sql`(extract(epoch from c.captured_at) * 1000000)` : sql`c.transaction_id`
  return sql`
      select ${major}::bigint as major, c.id as id
      from (${candidates}) c
      order by ${ordering(plan)}
      offset ${count - 1}
      limit 1`
}

/** The transaction at which a search ends: all of its changes have been looked at. */
export const lastTransaction = (plan: Plan, transactions: Fragment, count: number): Fragment => {
  const { sql } = plan.storage
  return sql`
      select t.place as major, ${sql.literal(behind(plan, 0n).id.toString())}::bigint as id
      from (${transactions}) t
      order by t.place ${direction(plan)}
      offset ${count - 1}
      limit 1`
}

/** The first changes that an index finds, or all of them, in their order. */
const candidatesOf = (plan: Plan, count: number | undefined): Fragment => plan.storage.sql`
      select c.*
      from (${plan.row === undefined ? fromLog(plan, count) : fromRow(plan, plan.row, count)}) c
      order by ${ordering(plan)}
      ${limited(plan, count)}`

/** The transaction of the change `c`, if there is a condition on it. */
const joinedTo = (plan: Plan, ofTransaction: ReadonlyArray<Fragment>): Fragment => {
  const { name, sql } = plan.storage
  return ofTransaction.length === 0
    ? sql``
    : sql`
    cross join lateral (
      select t.id
      from ${name("audit_transactions")} t
      where ${all([sql`t.id = c.transaction_id`, ...ofTransaction])}
      offset 0
    ) t`
}

/** Changes in their order, and of each its transaction. */
const searchChanges = (plan: Plan, { changes: budget }: Attempt, limit: number): Search => {
  const { sql } = plan.storage
  const ofTransaction = transactionTests(plan, undefined)
  const conditions = tests(plan)
  const complete = plan.of === "changes" && ofTransaction.length === 0 && conditions.length === 0
  const count = complete ? limit : Math.max(budget, limit)
  const candidates = candidatesOf(plan, count)
  const joined = joinedTo(plan, ofTransaction)
  const matches =
    plan.of === "changes"
      ? sql`
    select c.*
    from (${candidates}) c${joined}
    where ${all(conditions)}
    order by ${ordering(plan)}
    limit ${limit}`
      : sql`
    select distinct c.transaction_id as id
    from (${candidates}) c${joined}
    where ${all(conditions)}
    order by c.transaction_id ${direction(plan)}
    limit ${limit}`
  return { matches, stop: complete ? undefined : lastChange(plan, candidates, count) }
}

/** What changes of the transaction `t` an index finds. */
const changesOfTransaction = (plan: Plan): ReadonlyArray<Fragment | undefined> => {
  const { sql } = plan.storage
  const names = plan.tables?.flatMap((table) => byName(plan.storage, table, "c"))
  // A cursor behind a transaction says nothing of the changes of another one.
  return [
    names === undefined ? undefined : sql.or(names),
    ...seeks(plan),
    isBehind(plan) ? undefined : afterCursor(plan)
  ]
}

const belongs = (plan: Plan): Fragment => plan.storage.sql`c.transaction_id = t.place and ${prune(plan)}`

/**
 * Whether the transaction `t` has an action that the reader may see. Its changes may be hidden, so its own time counts. If they all
 * are, its context is hidden too: the filters must not tell it, so the context that is shown instead has to fulfil them. Without the
 * fence, the planner could test all actions and look for the few transactions among them.
 */
const seenByAction = ({ parts, storage }: Plan): Fragment => {
  const { name, sql } = storage
  const contexts = parts.flatMap(({ context }) => context ?? [])
  const actions = sql`
        select a.*
        from ${name("audit_actions")} a
        where ${all([sql`a.transaction_id = t.place`, visibleAction(storage, "a")])}`
  return all([
    ...parts.map(({ from }) => (from === undefined ? undefined : sql`t.occurred_at >= ${from}::timestamptz`)),
    ...parts.map(({ to }) => (to === undefined ? undefined : sql`t.occurred_at <= ${to}::timestamptz`)),
    sql`exists (${actions}
        offset 0
      )`,
    contexts.length === 0
      ? undefined
      : sql.or([
          visibleContext(storage, "t") ?? sql`true`,
          contexts.includes(false)
            ? sql`false`
            : sql`exists (
        select from (${actions}
        order by a.id
        limit 1) a
        where ${all(contexts.filter((context) => context !== false))}
      )`
        ])
  ])
}

/**
 * The first changes of some transactions, or all of them. The order inside the lateral query keeps it a lateral query. As a plain
 * join it could become a merge with the whole log. Its limit keeps a transaction of a million changes from being read to its end: the
 * order outside is only known when all changes of a transaction are there.
 */
const changesOf = (
  plan: Plan,
  transactions: Fragment,
  ofTransaction: ReadonlyArray<Fragment>,
  count: number | undefined
): Fragment => {
  const { name, sql } = plan.storage
  return sql`
      select c.*
      from (${transactions}) t
      cross join lateral (
        select c.*
        from ${name("audit_changes")} c
        where ${all([belongs(plan), ...changesOfTransaction(plan)])}
        order by c.transaction_id ${direction(plan)}, c.id ${direction(plan)}
        ${limited(plan, count)}
      ) c
      where ${all(ofTransaction)}
      order by t.place ${direction(plan)}, c.id ${direction(plan)}
      ${limited(plan, count)}`
}

/** Transactions in the order of their ids, and of each its changes. */
const searchTransactions = (plan: Plan, attempt: Attempt, limit: number): Search => {
  const { name, sql } = plan.storage
  const driving = drivingPart(plan)
  const conditions = tests(plan)
  const ofTransaction = transactionTests(plan, driving)
  const visited = ofTransaction.length === 0 && (conditions.length > 0 || plan.tables !== undefined)
  const budget = visited ? attempt.visits : attempt.transactions
  const transactions = transactionsOf(plan, driving, budget)
  const last = lastTransaction(plan, transactions, budget)
  if (plan.of === "transactions") {
    const required = [...changesOfTransaction(plan), ...conditions].filter((condition) => condition !== undefined)
    // Without the fence, the planner may join all transactions of a long listing with the log.
    const captured =
      required.length === 0
        ? undefined
        : sql`exists (
        select from ${name("audit_changes")} c
        where ${all([belongs(plan), ...required])}
        offset 0
      )`
    const isListed =
      captured === undefined || !listsAllVisible(plan) ? captured : sql`(${captured} or ${seenByAction(plan)})`
    const matches = sql`
    select t.place as id
    from (${transactions}) t
    where ${all([...ofTransaction, isListed])}
    order by t.place ${direction(plan)}
    limit ${limit}`
    return { matches, stop: last }
  }
  const count = conditions.length === 0 ? limit : Math.max(attempt.changes, limit)
  const candidates = changesOf(plan, transactions, ofTransaction, count)
  const matches = sql`
    select c.*
    from (${candidates}) c
    where ${all(conditions)}
    order by ${byTransaction(plan)}
    limit ${limit}`
  // Where the first budget was used up. The changes belong to the transactions.
  const stop =
    conditions.length === 0
      ? last
      : sql`
      select s.major, s.id
      from (
        select 1 as first, c.* from (${lastChange(plan, candidates, count)}) c
        union all
        select 2 as first, t.* from (${last}) t
      ) s
      order by s.first
      limit 1`
  return { matches, stop }
}

/** Columns of a row that says where a search ended. */
export const Stop = { stop_major: Schema.NullOr(Schema.String), stop_id: Schema.NullOr(Schema.String) }

export const stopOf = (row: Schema.Struct.Type<typeof Stop> | undefined): Position | undefined =>
  row === undefined || row.stop_major === null || row.stop_id === null
    ? undefined
    : { major: BigInt(row.stop_major), id: BigInt(row.stop_id) }

/**
 * Where a search ended, as `s.major, s.id`. It is computed only if the search found less than its limit (in a table
 * `threadline_matches`).
 */
export const stopStatement = ({ storage: { sql } }: Plan, { stop }: Search, limit: number): Fragment =>
  stop === undefined
    ? sql`select null::bigint as major, null::bigint as id where false`
    : sql`select s.major, s.id from (${stop}) s where (select count(*) from threadline_matches) < ${limit}`

/** The table of the transactions that are read first, before that of the matches. */
export const withFirst = ({ storage: { sql } }: Plan, { first }: Search): Fragment =>
  first === undefined
    ? sql``
    : sql`threadline_first as materialized (${first}),
    `

/** Where the transactions of the matches are. */
export const transactionsFor = ({ storage: { name, sql } }: Plan, { first }: Search): Fragment =>
  first === undefined ? name("audit_transactions") : sql`threadline_first`

export const search = (plan: Plan, attempt: Attempt, limit: number): Search =>
  attempt.way === "changes" ? searchChanges(plan, attempt, limit) : searchTransactions(plan, attempt, limit)

/**
 * Every change that a plan finds, in its order and without a budget, or the first `count` of them. It is one statement, read to
 * its end. It takes one of the ways. If both are open, both find the same.
 */
export const everyChange = (plan: Plan, way: Attempt["way"], count: number | undefined): Fragment => {
  const { sql } = plan.storage
  const conditions = tests(plan)
  const driving = way === "transactions" ? drivingPart(plan) : undefined
  const ofTransaction = transactionTests(plan, driving)
  const tested = conditions.length > 0
  if (way === "transactions") {
    const foundChanges = changesOf(
      plan,
      transactionsOf(plan, driving, undefined),
      ofTransaction,
      tested ? undefined : count
    )
    return tested
      ? sql`
    select c.*
    from (${foundChanges}) c
    where ${all(conditions)}
    order by ${byTransaction(plan)}
    ${limited(plan, count)}`
      : foundChanges
  }
  const complete = !tested && ofTransaction.length === 0
  const candidates = candidatesOf(plan, complete ? count : undefined)
  return complete
    ? candidates
    : sql`
    select c.*
    from (${candidates}) c${joinedTo(plan, ofTransaction)}
    where ${all(conditions)}
    order by ${ordering(plan)}
    ${limited(plan, count)}`
}
