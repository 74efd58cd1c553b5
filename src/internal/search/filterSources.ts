/**
 * Transactions that a filter finds through their actions.
 */
import type { TransactionSource } from "./filterPart.js"
import type { Part } from "./filterPart.js"
import { all, type Storage } from "../record/storage.js"
import type { Fragment } from "@effect/sql/Statement"
import { visibleAction } from "../record/visible.js"

/** Transactions with an action that fulfils a condition on `acted`. */
export const acted = (storage: Storage, condition: Fragment): TransactionSource => {
  const { name, sql } = storage
  const actions = sql`
    select acted.transaction_id as id
    from ${name("audit_actions")} acted
    where ${all([condition, sql`acted.transaction_id is not null`, visibleAction(storage, "acted")])}`
  return {
    ids: ({ direction, limit, within }) => sql`
    select distinct s.id
    from (${actions} and ${within("acted.transaction_id")}) s
    order by s.id ${direction}
    ${limit}`,
    holds: (column) => sql`exists (${actions} and acted.transaction_id = ${sql.literal(column)})`
  }
}

/** Failures are few and have an index. Nearly all actions succeeded. */
export const ofStatus = (storage: Storage, status: "ok" | "error"): Part => {
  const source = acted(storage, storage.sql`acted.status = ${status}`)
  return status === "error" ? { source } : { transaction: { condition: source.holds("t.id"), index: "none" } }
}

/**
 * Strictly: transactions with an action that carries the id. Widened: also transactions that carry the id themselves and have no
 * action, or no action that the reader may see. So the answer does not tell whether there is a hidden one.
 */
export const correlated = (id: string, storage: Storage, includeCaptureOnly: boolean): TransactionSource => {
  const { name, sql } = storage
  const strict = acted(storage, sql`acted.correlation_id = ${id}`)
  if (!includeCaptureOnly) {
    return strict
  }
  // An alias of its own, because the column that `holds` is given belongs to the enclosing statement.
  const captureOnly = sql`
    select wide.id
    from ${name("audit_transactions")} wide
    where wide.correlation_id = ${id}
      and not exists (
        select from ${name("audit_actions")} any_action
        where ${all([sql`any_action.transaction_id = wide.id`, visibleAction(storage, "any_action")])}
      )`
  return {
    ids: (page) => sql`
    (${strict.ids(page)})
    union all
    (${captureOnly} and ${page.within("wide.id")} order by wide.id ${page.direction} ${page.limit})`,
    holds: (column) => sql`(${strict.holds(column)} or exists (${captureOnly} and wide.id = ${sql.literal(column)}))`
  }
}
