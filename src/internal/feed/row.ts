/**
 * Makes changes of the rows of a feed. A feed reads many rows, so the columns of a transaction are read once for all of its
 * changes.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { InvalidRequest, ThreadlineError } from "../../ThreadlineError.js"
import {
  type ActionReference,
  actionColumns,
  actionOf,
  type AuditTransaction,
  type Change,
  ChangeColumns,
  changeWith,
  transactionColumns,
  transactionOf,
  TransactionRow
} from "../record/change.js"
import { type Storage, unreadable } from "../record/storage.js"
import { decoder, Unreadable } from "../core/rowDecoder.js"
import { onConditionError } from "../record/condition.js"
import { joinedAction } from "../record/visible.js"

interface Row {
  readonly [column: string]: unknown
}

/** The state of a page. One of its rows carries it. */
export const stateOf = (pageRows: ReadonlyArray<unknown>): Option.Option<unknown> =>
  Option.fromNullable((pageRows as ReadonlyArray<Row>).find((row) => row["state"] !== null)?.["state"])

interface ChangeContext {
  readonly transaction: AuditTransaction
  readonly action: ActionReference | null
}

const decodeChange = decoder(ChangeColumns)
const decodeTransaction = decoder(TransactionRow)

const changeOf = (rawRow: Row, contexts: ReadonlyMap<string, ChangeContext>): Change => {
  const row = decodeChange(rawRow)
  const of = contexts.get(row.transaction_id)
  if (of === undefined) {
    throw new Unreadable()
  }
  return changeWith(row, of.transaction, of.action)
}

/** Rows of a page as they came: reading the next page may begin before they are decoded. */
export interface PageRows {
  readonly changes: ReadonlyArray<Row>
  readonly transactions: ReadonlyArray<unknown>
}

/** Rows with `changeColumns`, without the rows that have no id, and their transactions. */
export const fetchPage = Effect.fnUntraced(function* (
  storage: Storage,
  pageRows: ReadonlyArray<unknown>
): Effect.fn.Return<PageRows, InvalidRequest | ThreadlineError> {
  const { name, sql } = storage
  const changes = (pageRows as ReadonlyArray<Row>).filter((row) => row["id"] !== null)
  const ids = new Set(changes.map((row) => String(row["transaction_id"])))
  const transactions =
    ids.size === 0
      ? []
      : yield* Effect.mapError(
          sql`
            select ${transactionColumns(sql)}, ${actionColumns(sql)}
            from ${name("audit_transactions")} t
            ${joinedAction(storage)}
            where t.id = any (${`{${[...ids].join(",")}}`}::bigint[])`,
          onConditionError(storage)
        )
  return { changes, transactions }
})

/** Compares decimal digits as numbers. */
const byId = (left: Change, right: Change): number =>
  left.id.length - right.id.length || (left.id < right.id ? -1 : left.id > right.id ? 1 : 0)

/** Lets other work of this process that waits for the network have its turn. */
const breathe = Effect.async<void>((resume) => {
  const immediate = setImmediate(() => resume(Effect.void))
  return Effect.sync(() => clearImmediate(immediate))
})

const portionSize = 500

/** The changes by id. Decoding a large batch takes a while, and it does not block the process for so long. */
export const decode = Effect.fnUntraced(function* ({
  changes,
  transactions
}: PageRows): Effect.fn.Return<ReadonlyArray<Change>, ThreadlineError> {
  const contexts = new Map<string, ChangeContext>()
  const decoded: Array<Change> = []
  const portions = function* () {
    for (let from = 0; from < transactions.length; from += portionSize) {
      for (const rawRow of transactions.slice(from, from + portionSize)) {
        const row = decodeTransaction(rawRow)
        contexts.set(row.t_id, { transaction: transactionOf(row), action: actionOf(row) })
      }
      yield
    }
    for (let from = 0; from < changes.length; from += portionSize) {
      for (const row of changes.slice(from, from + portionSize)) {
        decoded.push(changeOf(row, contexts))
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
