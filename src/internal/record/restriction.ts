/**
 * Calls the scopes of a reader before anything is read. Nothing else calls them.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import { InvalidRequest } from "../../ThreadlineError.js"
import { hostCondition, textOf } from "./condition.js"
import {
  type ActionColumns,
  actionColumnNames,
  type ChangeColumns,
  changeColumnNames,
  judgedAction,
  judgedChange,
  type ReadScope
} from "./scope.js"
import type { Storage } from "./storage.js"

const columnsOf = <Name extends string>(
  sql: SqlClient,
  names: { readonly [K in Name]: string },
  judged: string
): { readonly [K in Name]: Fragment } => {
  const pairs = Object.entries<string>(names).map(([name, column]) => [name, sql.literal(`${judged}.${column}`)])
  return Object.fromEntries(pairs) as { readonly [K in Name]: Fragment }
}

const missing = new InvalidRequest({ field: "scope", rule: "is required here: scoped(...) gives one" })

/** The scopes of a reader. If one is required and there is none, every read is refused. */
export interface ReaderScopes {
  readonly scopes: ReadonlyArray<ReadScope>
  readonly scopeRequired: boolean
}

/** The storage as the scopes restrict it, by the answers that they give now. */
export const restricted = (
  storage: Storage,
  { scopeRequired, scopes }: ReaderScopes
): Effect.Effect<Storage, InvalidRequest> => {
  const { sql } = storage
  if (scopes.length === 0) {
    return scopeRequired ? Effect.fail(missing) : Effect.succeed(storage)
  }
  const changeColumns: ChangeColumns = { sql, ...columnsOf(sql, changeColumnNames, judgedChange) }
  const actionColumns: ActionColumns = { sql, ...columnsOf(sql, actionColumnNames, judgedAction) }
  const conditions = (ask: (scope: ReadScope) => unknown) =>
    Effect.forEach(scopes, (scope) => hostCondition(sql, "scope", () => ask(scope)))
  return Effect.gen(function* () {
    const changes = yield* conditions((scope) => scope("changes", changeColumns))
    const actions = yield* conditions((scope) => scope("actions", actionColumns))
    const text = JSON.stringify([changes, actions].map((list) => list.map((condition) => textOf(sql, condition))))
    return { ...storage, restriction: { changes, actions, text } }
  })
}
