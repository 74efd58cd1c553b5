/**
 * What a reader may see, as a host says it: a function from what is read and its columns to a condition.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { Fragment } from "@effect/sql/Statement"
import { InvalidRequest } from "../../ThreadlineError.js"

/** Who and where from, of the transaction that captured a change or of an action. Each is an SQL expression, null where unknown. */
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

/** Whether a reader may see a row of a surface: an SQL condition over its columns, or the same answer for all of them. */
export type ReadScope = (
  ...asked: [surface: "changes", columns: ChangeColumns] | [surface: "actions", columns: ActionColumns]
) => Fragment | boolean

/** The refusal of everything where a scope is required and none is given; undefined where that is not so. */
export const missingScope = (required: boolean, scopes: ReadonlyArray<ReadScope>): InvalidRequest | undefined =>
  required && scopes.length === 0
    ? new InvalidRequest({ field: "scope", rule: "is required here: scoped(...) gives one" })
    : undefined
