/**
 * What a reader may see: the host's own conditions, as parts of every statement that reads.
 *
 * A scope can only take away. What has no image (a TRUNCATE of a whole table) is never visible under one, and neither is
 * anything for which its condition is null.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { Fragment } from "@effect/sql/Statement"
import { changeColumns } from "./change.js"
import type { ActionColumns, ChangeColumns } from "./scope.js"
import type { Storage } from "./storage.js"

const condition = (sql: SqlClient, answer: Fragment | boolean): Fragment =>
  typeof answer === "boolean" ? sql.literal(String(answer)) : sql`coalesce((${answer}), false)`

/** The row before a change, rebuilt from what an update replaced. `alias` is of `audit_changes`. */
export const beforeImage = (sql: SqlClient, alias: string): Fragment => {
  const column = (name: string): Fragment => sql.literal(`${alias}.${name}`)
  return sql`case
      when ${column("op")} = 'update'
      then (${column("data_after")} - coalesce(${column("changed_fields")}, '{}')) || coalesce(${column("changed_from")}, '{}')
      when ${column("op")} in ('delete', 'truncate') then ${column("changed_from")}
    end`
}

/** The row after a change, or what a delete removed. `alias` is of `audit_changes`. */
const imageOf = (sql: SqlClient, alias: string): Fragment =>
  sql`coalesce(${sql.literal(`${alias}.data_after`)}, ${sql.literal(`${alias}.changed_from`)})`

/**
 * Whether the change under `alias` (of `audit_changes`) is visible; undefined where no scope is set and all of them are. `image`
 * is the row that is about to be shown where that is not the one the change left behind.
 */
export const visibleChange = (storage: Storage, alias: string, image?: Fragment): Fragment | undefined => {
  const { name, scopes, sql } = storage
  if (scopes.length === 0) {
    return undefined
  }
  const column = (of: string): Fragment => sql.literal(`${alias}.${of}`)
  const ofTransaction = (of: string): Fragment => sql`(
      select scope_t.${sql.literal(of)}
      from ${name("audit_transactions")} scope_t
      where scope_t.id = ${column("transaction_id")}
    )`
  const shown = image ?? imageOf(sql, alias)
  const columns: ChangeColumns = {
    sql,
    tableSchema: column("table_schema"),
    tableName: column("table_name"),
    op: column("op"),
    rowKey: column("row_key"),
    image: shown,
    before: beforeImage(sql, alias),
    actorType: ofTransaction("actor_type"),
    actorId: ofTransaction("actor_id"),
    correlationId: ofTransaction("correlation_id"),
    requestId: ofTransaction("request_id"),
    jobId: ofTransaction("job_id"),
    source: ofTransaction("source"),
    meta: ofTransaction("meta"),
    dbUser: ofTransaction("db_user")
  }
  const hosts = scopes.map((scope) => condition(sql, scope("changes", columns)))
  return sql.and([sql`${shown} is not null`, ...hosts])
}

/** Whether the row before the change `c` is visible, for a change that is; undefined where no scope is set. */
export const visibleBefore = (storage: Storage): Fragment | undefined => {
  const { sql } = storage
  const visible = visibleChange(storage, "c", beforeImage(sql, "c"))
  return visible === undefined ? undefined : sql`(c.op <> 'update' or ${visible})`
}

/** The columns of the change `c` as a reader may see them: an update may have made a row visible that was not. */
export const shownChangeColumns = (storage: Storage): Fragment => {
  const { sql } = storage
  const visible = visibleBefore(storage)
  return changeColumns(sql, visible === undefined ? undefined : sql`not ${visible}`)
}

/** Whether the action under `alias` (of `audit_actions`) is visible; undefined where no scope is set. */
export const visibleAction = (storage: Storage, alias: string): Fragment | undefined => {
  const { scopes, sql } = storage
  if (scopes.length === 0) {
    return undefined
  }
  const column = (of: string): Fragment => sql.literal(`${alias}.${of}`)
  const columns: ActionColumns = {
    sql,
    name: column("name"),
    status: column("status"),
    actorType: column("actor_type"),
    actorId: column("actor_id"),
    correlationId: column("correlation_id"),
    requestId: column("request_id"),
    jobId: column("job_id"),
    subjectType: column("subject_type"),
    subjectId: column("subject_id"),
    data: column("data")
  }
  return sql.and(scopes.map((scope) => condition(sql, scope("actions", columns))))
}

/** Whether a reader may see the transaction under `alias` (of `audit_transactions`): one of its changes, or one of its actions. */
export const visibleTransaction = (storage: Storage, alias: string): Fragment | undefined => {
  const { name, scopes, sql } = storage
  if (scopes.length === 0) {
    return undefined
  }
  const id = sql.literal(`${alias}.id`)
  return sql`(
      exists (
        select from ${name("audit_changes")} scope_c
        where scope_c.transaction_id = ${id}
          and ${visibleChange(storage, "scope_c") ?? sql`true`}
      ) or exists (
        select from ${name("audit_actions")} scope_a
        where scope_a.transaction_id = ${id}
          and ${visibleAction(storage, "scope_a") ?? sql`true`}
      )
    )`
}
