/**
 * The incident bundle: one transaction with everything that belongs to it.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Pages from "../../Page.js"
import { type InvalidRequest, NotFound, type ThreadlineError } from "../../ThreadlineError.js"
import * as cursors from "../record/cursor.js"
import { Action, ActionRow, actionOfRow, actionRowColumns } from "../record/action.js"
import {
  actionColumns,
  actionOf,
  ActionReference,
  AuditTransaction,
  changeOf,
  ChangeRow,
  earliestCapture,
  timelinePosition,
  transactionColumns,
  transactionOf,
  TransactionRow
} from "../record/change.js"
import { onConditionError } from "../record/condition.js"
import { ChangeDiff, changeDiffs, fieldDiffs } from "../rows/diff.js"
import { pageOf } from "../record/page.js"
import { canonicalRequest, Id, mustBeObject, Order, paging, request } from "../core/request.js"
import { all, rows, type Storage } from "../record/storage.js"
import {
  joinedAction,
  shownChangeColumns,
  shownTransactionColumns,
  visibleAction,
  visibleChange,
  visibleContext,
  visibleTransaction
} from "../record/visible.js"

/**
 * Another transaction: a part of the same database transaction under a context of its own, or one of the same correlation.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Sibling = Schema.Struct({
  transaction: AuditTransaction,
  /** Its first action that the reader may see. */
  action: Schema.NullOr(ActionReference)
}).annotations({ identifier: "threadline.Sibling" })

/**
 * @since 0.1.0
 * @category models
 */
export interface Sibling extends Schema.Schema.Type<typeof Sibling> {}

/**
 * One transaction with its actions, its changes and their diffs, and the other parts of the same database transaction.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Incident = Schema.Struct({
  transaction: AuditTransaction,
  /** In the order in which they were recorded. At most 100; `hasMoreActions` tells whether there are others. */
  actions: Schema.Array(Action),
  hasMoreActions: Schema.Boolean,
  /** The other parts of the database transaction, in their order. At most 100; `hasMoreSiblings` tells whether there are others. */
  siblings: Schema.Array(Sibling),
  hasMoreSiblings: Schema.Boolean,
  /** Other transactions of the same correlation, newest first. At most 100; `hasMoreRelated` tells whether there are others. */
  related: Schema.Array(Sibling),
  hasMoreRelated: Schema.Boolean,
  /** In the order they happened, unless `order` says otherwise. */
  changes: Pages.schema<ChangeDiff, typeof ChangeDiff.Encoded, never>(ChangeDiff)
}).annotations({ identifier: "threadline.Incident" })

/**
 * @since 0.1.0
 * @category models
 */
export interface Incident extends Schema.Schema.Type<typeof Incident> {}

const bound = 100

const IncidentRequest = Schema.Struct({
  transactionId: Id,
  order: Schema.optionalWith(Order, { default: () => "oldest" as const }),
  ...paging
})

/**
 * Options of `incident`. They apply to the changes.
 *
 * @since 0.1.0
 * @category models
 */
export interface IncidentOptions {
  /** Of the changes: `oldest` first, as they happened, unless given. */
  readonly order?: "newest" | "oldest" | undefined
  /** Changes in the page, 1 to 1000: 50 unless given. */
  readonly limit?: number | undefined
  /** `nextCursor` of the changes. */
  readonly cursor?: string | undefined
}

const siblingsOf = (transactionRows: ReadonlyArray<typeof TransactionRow.Type>): ReadonlyArray<Sibling> =>
  transactionRows.slice(0, bound).map((row) => ({ transaction: transactionOf(row), action: actionOf(row) }))

/** The transaction itself first, then its siblings. xids repeat after a restore: the epoch tells them apart. */
const partsStatement = (storage: Storage, id: string) => {
  const { name, sql } = storage
  const shown = shownTransactionColumns(storage)
  return sql`
  select ${shown.columns}, ${actionColumns(sql)}
  from ${name("audit_transactions")} o
  join ${name("audit_transactions")} t on t.xid = o.xid and t.epoch = o.epoch
  ${shown.joined}
  where ${all([sql`o.id = ${id}::bigint`, visibleTransaction(storage, "t")])}
  order by t.id <> o.id, t.id
  limit ${bound + 2}`
}

const actionsStatement = (storage: Storage, id: string) => {
  const { name, sql } = storage
  return sql`
  select ${actionRowColumns(sql)}
  from ${name("audit_actions")} a
  where ${all([sql`a.transaction_id = ${id}::bigint`, visibleAction(storage, "a")])}
  order by a.id
  limit ${bound + 1}`
}

/** Transactions of the same correlation as this one or as one of its actions. Siblings are not listed twice. */
const relatedStatement = (
  storage: Storage,
  correlationIds: ReadonlyArray<string>,
  excludedIds: ReadonlyArray<string>
) => {
  const { name, sql } = storage
  const ids = sql.in(correlationIds)
  const shown = shownTransactionColumns(storage)
  const isNotExcluded = (column: string): Fragment => sql`${sql.literal(column)} not in ${sql.in(excludedIds)}`
  return sql`
  select ${shown.columns}, ${actionColumns(sql)}
  from (
    (
      select t.id
      from ${name("audit_transactions")} t
      where ${all([sql`t.correlation_id in ${ids}`, isNotExcluded("t.id"), visibleContext(storage, "t")])}
      order by t.id desc
      limit ${bound + 1}
    )
    union
    (
      select distinct t.id
      from ${name("audit_actions")} acted
      join ${name("audit_transactions")} t on t.id = acted.transaction_id
      where ${all([
        sql`acted.correlation_id in ${ids}`,
        isNotExcluded("t.id"),
        visibleAction(storage, "acted"),
        visibleTransaction(storage, "t")
      ])}
      order by t.id desc
      limit ${bound + 1}
    )
  ) r
  join ${name("audit_transactions")} t on t.id = r.id
  ${shown.joined}
  order by t.id desc
  limit ${bound + 1}`
}

const changesStatement = (
  storage: Storage,
  transaction: AuditTransaction,
  { limit, order }: typeof IncidentRequest.Type,
  after: cursors.Position | undefined
) => {
  const { name, sql } = storage
  const direction = sql.literal(order === "newest" ? "desc" : "asc")
  const beyond = sql.literal(order === "newest" ? "<" : ">")
  return sql`
  select ${shownChangeColumns(storage)}, ${transactionColumns(sql)}, ${actionColumns(sql)}
  from (
    select c.*
    from ${name("audit_changes")} c
    where ${all([
      sql`c.transaction_id = ${transaction.id}::bigint`,
      sql`c.captured_at >= ${earliestCapture(sql, sql`${transaction.occurredAt}::timestamptz`)}`,
      after === undefined ? undefined : sql`c.id ${beyond} ${after.id.toString()}::bigint`,
      visibleChange(storage, "c")
    ])}
    order by c.transaction_id ${direction}, c.id ${direction}
    limit ${limit + 1}
  ) c
  join ${name("audit_transactions")} t on t.id = c.transaction_id
  ${joinedAction(storage)}
  order by c.id ${direction}`
}

export const incident = Effect.fnUntraced(function* (
  storage: Storage,
  transactionId: string,
  options: IncidentOptions
): Effect.fn.Return<Incident, InvalidRequest | NotFound | ThreadlineError> {
  yield* mustBeObject(options)
  const decoded = yield* request(IncidentRequest)({ ...options, transactionId })
  const query: cursors.Query = { kind: "incident", order: "ids", text: canonicalRequest(decoded) }
  const after = decoded.cursor === undefined ? undefined : yield* cursors.decode(storage, query, decoded.cursor)
  const onError = onConditionError(storage)
  const [ownRow, ...siblingRows] = yield* rows(TransactionRow, partsStatement(storage, decoded.transactionId), onError)
  // If the transaction is hidden, the first part is one of its siblings.
  if (ownRow?.t_id !== decoded.transactionId) {
    return yield* new NotFound({ subject: "transaction", id: decoded.transactionId })
  }
  const transaction = transactionOf(ownRow)
  const actionRows = yield* rows(ActionRow, actionsStatement(storage, decoded.transactionId), onError)
  const actions = actionRows.slice(0, bound).map(actionOfRow)
  const correlationIds = new Set(
    [transaction, ...actions].flatMap(({ correlationId }) => (correlationId === null ? [] : [correlationId]))
  )
  const excludedIds = [ownRow, ...siblingRows].map((row) => row.t_id)
  const relatedRows =
    correlationIds.size === 0
      ? []
      : yield* rows(TransactionRow, relatedStatement(storage, [...correlationIds], excludedIds), onError)
  const changeRows = yield* rows(ChangeRow, changesStatement(storage, transaction, decoded, after), onError)
  const page = yield* pageOf(storage, changeRows.map(changeOf), decoded.limit, query, timelinePosition)
  const diffs = new Map((yield* changeDiffs(storage, page.items)).map((diff) => [diff.change, diff]))
  return {
    transaction,
    actions,
    hasMoreActions: actionRows.length > bound,
    siblings: siblingsOf(siblingRows),
    hasMoreSiblings: siblingRows.length > bound,
    related: siblingsOf(relatedRows),
    hasMoreRelated: relatedRows.length > bound,
    changes: Pages.map(page, (change) => diffs.get(change) ?? { change, fields: fieldDiffs(change) })
  }
})
