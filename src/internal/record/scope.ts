/**
 * Scopes: what a reader may see, as a function of the host from a surface and its columns to a condition.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { Fragment } from "@effect/sql/Statement"

/**
 * Actor and origin of the transaction of a change, or of an action. Each is an SQL expression, null if unknown.
 */
export interface ContextColumns {
  /** The client the read uses, to build conditions with. */
  readonly sql: SqlClient
  readonly actorType: Fragment
  readonly actorId: Fragment
  readonly correlationId: Fragment
  readonly requestId: Fragment
  readonly jobId: Fragment
}

/**
 * What a scope may test of a change, as SQL expressions.
 *
 * @since 0.1.0
 * @category scope
 */
export interface ChangeColumns extends ContextColumns {
  /** `text`: the schema of the table. */
  readonly tableSchema: Fragment
  /** `text`: the table; the root of a partitioned one. */
  readonly tableName: Fragment
  /** `text`: `insert`, `update`, `delete`, `truncate` or `baseline`. */
  readonly op: Fragment
  /** `text`: the key of the row as one string. Null if the table has no key. */
  readonly rowKey: Fragment
  /** `jsonb`: the row after the change, or the row that a delete removed. */
  readonly image: Fragment
  /** `jsonb`: the row before the change. Null for an insert and a baseline. */
  readonly before: Fragment
  /** `text`: the program that wrote. */
  readonly source: Fragment
  /** `jsonb` */
  readonly meta: Fragment
  /** `text`: the database user that wrote. */
  readonly dbUser: Fragment
}

/**
 * What a scope may test of an action, as SQL expressions.
 *
 * @since 0.1.0
 * @category scope
 */
export interface ActionColumns extends ContextColumns {
  /** `text` */
  readonly name: Fragment
  /** `text`: `ok` or `error`. */
  readonly status: Fragment
  /** `text`, or null if the action has no subject. */
  readonly subjectType: Fragment
  /** `text`, or null if the action has no subject. */
  readonly subjectId: Fragment
  /** `jsonb` */
  readonly data: Fragment
}

/** An SQL condition, or the same answer for every row. */
export type HostCondition = Fragment | boolean

/**
 * The host's own restriction of what a reader may see: a function from a surface (`changes` or `actions`) and its columns to an
 * SQL condition, or to one answer for every row.
 *
 * - A condition that is null hides the row, and so does a condition made of an empty list.
 * - A TRUNCATE of a whole table has no image and is always hidden.
 * - A transaction is visible if one of its changes or actions is.
 * - It is called once for each read or stream, and must give the same condition from page to page: a cursor belongs to the
 *   scope that it was made under.
 * - If it throws or returns anything else, or if the database does not understand its SQL or fails to evaluate it on a stored
 *   row, the read fails with an `InvalidRequest` of the field `scope`.
 *
 * @since 0.1.0
 * @category scope
 */
export type ReadScope = (
  ...surfaceAndColumns: [surface: "changes", columns: ChangeColumns] | [surface: "actions", columns: ActionColumns]
) => HostCondition

/**
 * The one row that scopes of a surface judge. No host uses this name, so no alias in a host's subquery hides it. A scope is
 * called once for a read, and its condition becomes part of every statement unchanged.
 */
export const judgedChange = "threadline_change"
export const judgedAction = "threadline_action"

/** The names of a surface's columns: the name that a scope uses to the name in SQL. */
export const changeColumnNames = {
  tableSchema: "table_schema",
  tableName: "table_name",
  op: "op",
  rowKey: "row_key",
  image: "image",
  before: "before",
  actorType: "actor_type",
  actorId: "actor_id",
  correlationId: "correlation_id",
  requestId: "request_id",
  jobId: "job_id",
  source: "source",
  meta: "meta",
  dbUser: "db_user"
} as const satisfies Record<Exclude<keyof ChangeColumns, "sql">, string>

export const actionColumnNames = {
  name: "name",
  status: "status",
  actorType: "actor_type",
  actorId: "actor_id",
  correlationId: "correlation_id",
  requestId: "request_id",
  jobId: "job_id",
  subjectType: "subject_type",
  subjectId: "subject_id",
  data: "data"
} as const satisfies Record<Exclude<keyof ActionColumns, "sql">, string>

/** The conditions that the scopes of a reader returned. All of them must let a row through. */
export interface Restriction {
  /** Over the columns of `judgedChange`. */
  readonly changes: ReadonlyArray<HostCondition>
  /** Over the columns of `judgedAction`. */
  readonly actions: ReadonlyArray<HostCondition>
  /** Their statements and values: equal restrictions have equal texts. */
  readonly text: string
}
