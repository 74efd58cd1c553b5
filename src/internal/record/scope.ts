/**
 * What a reader may see, as a host says it: a function from what is read and its columns to a condition.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { Fragment } from "@effect/sql/Statement"

/** Who and where from, of the transaction that captured a change or of an action. Each is an SQL expression, null if unknown. */
export interface ContextColumns {
  /** The client the read uses, to build conditions with. */
  readonly sql: SqlClient
  readonly actorType: Fragment
  readonly actorId: Fragment
  readonly correlationId: Fragment
  readonly requestId: Fragment
  readonly jobId: Fragment
}

/** What a scope may test of a change, as SQL expressions. */
export interface ChangeColumns extends ContextColumns {
  readonly tableSchema: Fragment
  readonly tableName: Fragment
  readonly op: Fragment
  readonly rowKey: Fragment
  /** `jsonb`: the row after the change, or what a delete removed. */
  readonly image: Fragment
  /** `jsonb`: the row before the change; null of an insert and a baseline. */
  readonly before: Fragment
  readonly source: Fragment
  /** `jsonb` */
  readonly meta: Fragment
  readonly dbUser: Fragment
}

/** What a scope may test of an action, as SQL expressions. */
export interface ActionColumns extends ContextColumns {
  readonly name: Fragment
  readonly status: Fragment
  readonly subjectType: Fragment
  readonly subjectId: Fragment
  /** `jsonb` */
  readonly data: Fragment
}

/** An SQL condition, or the same answer for every row. */
export type HostCondition = Fragment | boolean

/** Whether a reader may see a row of a surface: an SQL condition over its columns, or the same answer for all of them. */
export type ReadScope = (
  ...surfaceAndColumns: [surface: "changes", columns: ChangeColumns] | [surface: "actions", columns: ActionColumns]
) => HostCondition

/**
 * The one row that scopes of a surface judge, under a name that no host has, so that no alias of a host's subquery takes its place.
 * A scope is asked once for a read, and its answer is part of every statement as it is.
 */
export const judgedChange = "threadline_change"
export const judgedAction = "threadline_action"

/** The names of a surface's columns, for SQL, by those that a scope knows them by. */
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

/** What the scopes of a reader answered. All of them must let a row through. */
export interface Restriction {
  /** Over the columns of `judgedChange`. */
  readonly changes: ReadonlyArray<HostCondition>
  /** Over the columns of `judgedAction`. */
  readonly actions: ReadonlyArray<HostCondition>
  /** Their statements and values: equal restrictions have equal texts. */
  readonly text: string
}
