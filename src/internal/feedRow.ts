/**
 * Rows of a feed as changes. A feed reads many: what belongs to a transaction is read once for all its changes, and the columns of
 * a change are checked by hand, which takes a fifth of the time that a schema takes.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { fromSqlError, ThreadlineError } from "../ThreadlineError.js"
import { isObject, type JsonObject, unsafeParseJsonb } from "./json.js"
import {
  type ActionReference,
  actionColumns,
  actionOf,
  type AuditTransaction,
  type Change,
  Operation,
  rowPkOf,
  transactionColumns,
  transactionOf,
  type TransactionRow
} from "./queryChange.js"
import type { Storage } from "./queryStorage.js"

export const unreadable = () =>
  new ThreadlineError({
    reason: "Failed",
    detail: "a stored row is not of the form that this version of Threadline reads"
  })

interface Row {
  readonly [column: string]: unknown
}

/** The state of a page, which one of its rows carries. */
export const stateOf = (found: ReadonlyArray<unknown>): Option.Option<unknown> =>
  Option.fromNullable((found as ReadonlyArray<Row>).find((row) => row["state"] !== null)?.["state"])

class Unreadable extends Error {}

const text = (row: Row, column: string): string => {
  const value = row[column]
  if (typeof value !== "string") {
    throw new Unreadable()
  }
  return value
}

const maybeText = (row: Row, column: string): string | null => {
  const value = row[column]
  if (value !== null && typeof value !== "string") {
    throw new Unreadable()
  }
  return value
}

const maybeObject = (row: Row, column: string): JsonObject | null => {
  const written = maybeText(row, column)
  if (written === null) {
    return null
  }
  const value = unsafeParseJsonb(written)
  if (!isObject(value)) {
    throw new Unreadable()
  }
  return value
}

const operations: ReadonlySet<string> = new Set(Operation.literals)

const isOperation = (value: string): value is Operation => operations.has(value)

const maybeFields = (row: Row): ReadonlyArray<string> | null => {
  const written = maybeText(row, "changed_fields")
  if (written === null) {
    return null
  }
  const value: unknown = JSON.parse(written)
  if (!Array.isArray(value) || !value.every((field) => typeof field === "string")) {
    throw new Unreadable()
  }
  return value
}

interface Whose {
  readonly transaction: AuditTransaction
  readonly action: ActionReference | null
}

const changeOf = (row: Row, whose: ReadonlyMap<string, Whose>): Change => {
  const transactionId = text(row, "transaction_id")
  const found = whose.get(transactionId)
  const op = text(row, "op")
  if (found === undefined || !isOperation(op)) {
    throw new Unreadable()
  }
  const details = maybeText(row, "details")
  return {
    id: text(row, "id"),
    transactionId,
    capturedAt: text(row, "captured_at"),
    tableSchema: text(row, "table_schema"),
    tableName: text(row, "table_name"),
    partitionName: maybeText(row, "partition_name"),
    op,
    rowPk: rowPkOf(maybeObject(row, "row_pk")),
    rowKey: maybeText(row, "row_key"),
    previousRowKey: maybeText(row, "previous_row_key"),
    changedFields: maybeFields(row),
    changedFrom: maybeObject(row, "changed_from"),
    dataAfter: maybeObject(row, "data_after"),
    details: details === null ? null : unsafeParseJsonb(details),
    transaction: found.transaction,
    action: found.action
  }
}

/** Rows of a page as they came: reading the next page may begin before they are decoded. */
export interface Fetched {
  readonly changes: ReadonlyArray<Row>
  readonly transactions: ReadonlyArray<unknown>
}

/** Rows with `changeColumns`, those without an id left out, and their transactions. */
export const fetched = Effect.fnUntraced(function* (
  { name, sql }: Storage,
  found: ReadonlyArray<unknown>
): Effect.fn.Return<Fetched, ThreadlineError> {
  const changes = (found as ReadonlyArray<Row>).filter((row) => row["id"] !== null)
  const ids = new Set(changes.map((row) => String(row["transaction_id"])))
  const transactions =
    ids.size === 0
      ? []
      : yield* Effect.mapError(
          sql`
            select ${transactionColumns(sql)}, ${actionColumns(sql)}
            from ${name("audit_transactions")} t
            left join ${name("audit_actions")} a on a.id = t.action_id
            where t.id = any (${`{${[...ids].join(",")}}`}::bigint[])`,
          fromSqlError
        )
  return { changes, transactions }
})

/** Decimal digits, as the numbers that they are. */
const byId = (a: Change, b: Change): number => a.id.length - b.id.length || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)

const maybeStatus = (row: Row): "ok" | "error" | null => {
  const status = maybeText(row, "a_status")
  if (status !== null && status !== "ok" && status !== "error") {
    throw new Unreadable()
  }
  return status
}

/** A row with `transactionColumns` and `actionColumns`. */
const transactionRow = (row: Row): typeof TransactionRow.Type => {
  const actor = maybeText(row, "t_actor")
  return {
    t_id: text(row, "t_id"),
    t_occurred_at: text(row, "t_occurred_at"),
    t_actor_type: maybeText(row, "t_actor_type"),
    t_actor_id: maybeText(row, "t_actor_id"),
    t_actor: actor === null ? null : unsafeParseJsonb(actor),
    t_correlation_id: maybeText(row, "t_correlation_id"),
    t_request_id: maybeText(row, "t_request_id"),
    t_job_id: maybeText(row, "t_job_id"),
    t_trace_id: maybeText(row, "t_trace_id"),
    t_source: maybeText(row, "t_source"),
    t_remote_ip: maybeText(row, "t_remote_ip"),
    t_meta: maybeObject(row, "t_meta") ?? {},
    t_context_error: maybeText(row, "t_context_error"),
    t_db_user: text(row, "t_db_user"),
    t_application_name: maybeText(row, "t_application_name"),
    t_client_addr: maybeText(row, "t_client_addr"),
    a_id: maybeText(row, "a_id"),
    a_name: maybeText(row, "a_name"),
    a_status: maybeStatus(row),
    a_correlation_id: maybeText(row, "a_correlation_id")
  }
}

/** Lets whatever waits for the network have its turn. */
const breathe = Effect.async<void>((resume) => {
  const immediate = setImmediate(() => resume(Effect.void))
  return Effect.sync(() => clearImmediate(immediate))
})

const atOnce = 500

/** The changes by id. A large batch takes its time, and others of this process are not kept waiting for it. */
export const decode = Effect.fnUntraced(function* ({
  changes,
  transactions
}: Fetched): Effect.fn.Return<ReadonlyArray<Change>, ThreadlineError> {
  const whose = new Map<string, Whose>()
  const decoded: Array<Change> = []
  const portions = function* () {
    for (let from = 0; from < transactions.length; from += atOnce) {
      for (const found of transactions.slice(from, from + atOnce)) {
        const row = transactionRow(found as Row)
        whose.set(row.t_id, { transaction: transactionOf(row), action: actionOf(row) })
      }
      yield
    }
    for (let from = 0; from < changes.length; from += atOnce) {
      for (const row of changes.slice(from, from + atOnce)) {
        decoded.push(changeOf(row, whose))
      }
      yield
    }
  }
  const work = portions()
  while ((yield* Effect.try({ try: () => work.next(), catch: unreadable })).done !== true) {
    yield* breathe
  }
  return decoded.sort(byId)
})
