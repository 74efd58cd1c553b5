/**
 * What a reader may see: the host's conditions become part of every statement that reads.
 *
 * A scope can only hide. Under a scope, a change without an image (a TRUNCATE of a whole table) is never visible, and neither is
 * a row for which the condition is null.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { Fragment } from "@effect/sql/Statement"
import { changeColumns, transactionColumns } from "./change.js"
import { fulfils } from "./condition.js"
import { actionColumnNames, changeColumnNames, judgedAction, judgedChange } from "./scope.js"
import type { Storage } from "./storage.js"

/** The row before a change, rebuilt from what an update replaced. `alias` is of `audit_changes`. */
export const beforeImage = (sql: SqlClient, alias: string): Fragment => {
  const column = (name: string): Fragment => sql.literal(`${alias}.${name}`)
  return sql`case
      when ${column("op")} = 'update'
      then (${column("data_after")} - coalesce(${column("changed_fields")}, '{}')) || coalesce(${column("changed_from")}, '{}')
      when ${column("op")} in ('delete', 'truncate') then ${column("changed_from")}
    end`
}

/** The row that a change left behind, or that a delete removed, and the row before it: each with the key that it had then. */
export type Side = "after" | "before"

const rowOf = (sql: SqlClient, alias: string, side: Side): { readonly image: Fragment; readonly rowKey: Fragment } => {
  const column = (name: string): Fragment => sql.literal(`${alias}.${name}`)
  return side === "after"
    ? { image: sql`coalesce(${column("data_after")}, ${column("changed_from")})`, rowKey: column("row_key") }
    : {
        image: beforeImage(sql, alias),
        rowKey: sql`coalesce(${column("previous_row_key")}, ${column("row_key")})`
      }
}

/**
 * Whether the row on one side of the change under `alias` (of `audit_changes`) is visible. Undefined if there is no scope: then
 * every row is visible.
 */
export const visibleChange = (storage: Storage, alias: string, side: Side = "after"): Fragment | undefined => {
  const { name, restriction, sql } = storage
  if (restriction === undefined) {
    return undefined
  }
  const { image, rowKey } = rowOf(sql, alias, side)
  const ofTransaction = (column: string): Fragment => sql`(
          select scope_t.${sql.literal(column)}
          from ${name("audit_transactions")} scope_t
          where scope_t.id = ${sql.literal(`${alias}.transaction_id`)}
        )`
  const computed: Readonly<Record<string, Fragment>> = { image, before: beforeImage(sql, alias), row_key: rowKey }
  const own: ReadonlySet<string> = new Set(["table_schema", "table_name", "op"])
  const columns = Object.values(changeColumnNames).map((column) => [
    column,
    computed[column] ?? (own.has(column) ? sql.literal(`${alias}.${column}`) : ofTransaction(column))
  ])
  return sql.and([
    sql`${image} is not null`,
    fulfils(sql, restriction.changes, judgedChange, Object.fromEntries(columns) as Record<string, Fragment>)
  ])
}

/** For a visible change `c`: whether the row before it is visible, too. Undefined if there is no scope. */
export const visibleBefore = (storage: Storage): Fragment | undefined => {
  const { sql } = storage
  const visible = visibleChange(storage, "c", "before")
  return visible === undefined ? undefined : sql`(c.op <> 'update' or ${visible})`
}

/** The columns of the change `c` as a reader may see them. An update may have made visible a row that was hidden before. */
export const shownChangeColumns = (storage: Storage): Fragment => {
  const { sql } = storage
  const visible = visibleBefore(storage)
  return changeColumns(sql, visible === undefined ? undefined : sql`not ${visible}`)
}

/** Whether the action under `alias` (of `audit_actions`) is visible; undefined if no scope is set. */
export const visibleAction = (storage: Storage, alias: string): Fragment | undefined => {
  const { restriction, sql } = storage
  if (restriction === undefined) {
    return undefined
  }
  const columns = Object.values(actionColumnNames).map((column) => [column, sql.literal(`${alias}.${column}`)] as const)
  return fulfils(sql, restriction.actions, judgedAction, Object.fromEntries(columns))
}

/**
 * Joins the first action of the transaction `t` that the reader may see, as `a`. Without a scope it is the one that the transaction
 * names.
 */
export const joinedAction = (storage: Storage): Fragment => {
  const { name, sql } = storage
  const visible = visibleAction(storage, "a")
  return visible === undefined
    ? sql`left join ${name("audit_actions")} a on a.id = t.action_id`
    : sql`left join lateral (
      select a.*
      from ${name("audit_actions")} a
      where a.transaction_id = t.id and ${visible}
      order by a.id
      limit 1
    ) a on true`
}

/** Whether a reader may see one of the changes of the transaction under `alias`, and so its context. Undefined if there is no scope. */
export const visibleContext = (storage: Storage, alias: string): Fragment | undefined => {
  const { name, sql } = storage
  const visible = visibleChange(storage, "scope_c")
  return visible === undefined
    ? undefined
    : sql`exists (
        select from ${name("audit_changes")} scope_c
        where scope_c.transaction_id = ${sql.literal(`${alias}.id`)}
          and ${visible}
      )`
}

/** The columns of the transaction `t` and of its action `a`, as a reader may see them who sees one of its changes, or an action. */
export const shownTransactionColumns = (
  storage: Storage
): { readonly columns: Fragment; readonly joined: Fragment } => {
  const { sql } = storage
  const visible = visibleContext(storage, "t")
  // Asked once for all columns.
  return visible === undefined
    ? { columns: transactionColumns(sql), joined: joinedAction(storage) }
    : {
        columns: transactionColumns(sql, sql`not seen.context`),
        joined: sql`${joinedAction(storage)}
    cross join lateral (select ${visible} as context offset 0) seen`
      }
}

/** Whether a reader may see the transaction under `alias` (of `audit_transactions`): one of its changes, or one of its actions. */
export const visibleTransaction = (storage: Storage, alias: string): Fragment | undefined => {
  const { name, sql } = storage
  const context = visibleContext(storage, alias)
  if (context === undefined) {
    return undefined
  }
  const id = sql.literal(`${alias}.id`)
  return sql`(
      ${context} or exists (
        select from ${name("audit_actions")} scope_a
        where scope_a.transaction_id = ${id}
          and ${visibleAction(storage, "scope_a") ?? sql`true`}
      )
    )`
}
