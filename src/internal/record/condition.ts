/**
 * Conditions of the host's: scopes, and the `where` of a caller. How they become part of a statement, and what it means if a
 * statement with such a condition fails.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import { type Fragment, FragmentId, isFragment, type Segment } from "@effect/sql/Statement"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import { escape } from "effect/RegExp"
import { inspect } from "node:util"
import { fromSqlError, InvalidRequest, ThreadlineError } from "../../ThreadlineError.js"
import { isReserved } from "../core/tableName.js"
import { isFromWithin, positionOf, reasonOf, sqlState } from "../sql/sqlState.js"
import type { HostCondition } from "./scope.js"
import { type Storage, untranslatable, untranslatableText, withoutValue } from "./storage.js"

/**
 * An empty list gives no valid SQL (`in ()`), and the client turns `or` and `and` over an empty list into something that is
 * always true. A condition over an empty list of tenants is meant to match none of them. So it becomes null, which hides.
 */
const withoutEmptyList = (segment: Segment): Segment => {
  const isEmpty =
    (segment._tag === "ArrayHelper" && segment.value.length === 0) ||
    (segment._tag === "Literal" && segment.value === "1=1")
  return isEmpty ? { _tag: "Literal", value: segment._tag === "Literal" ? "null::boolean" : "(null)" } : segment
}

/** What a host threw, to be logged. It may be anything, also something that throws as soon as a logger looks at it. */
const loggable = (thrown: unknown): Error => {
  const error = new Error("an exception that cannot be shown")
  try {
    const text = thrown instanceof Error ? `${thrown.stack ?? thrown.message}` : inspect(thrown)
    error.message = thrown instanceof Error ? `${thrown.message}` : text
    error.stack = text
  } catch {
    // The message says so.
  }
  return error
}

/** Whether the client can make SQL of it. Something that only looks like a fragment fails in any way. */
const isReadable = (sql: SqlClient, condition: Fragment): boolean => {
  try {
    textOf(sql, condition)
    return true
  } catch {
    return false
  }
}

const withoutEmptyLists = (answer: unknown): Fragment | undefined => {
  try {
    return isFragment(answer) && Array.isArray(answer.segments)
      ? { [FragmentId]: answer[FragmentId], segments: answer.segments.map(withoutEmptyList) }
      : undefined
  } catch {
    return undefined
  }
}

/** The condition that a function of the host returns. `InvalidRequest` if it throws, or returns anything else. */
export const hostCondition = Effect.fnUntraced(function* (
  sql: SqlClient,
  field: "scope" | "where",
  ask: () => unknown
): Effect.fn.Return<HostCondition, InvalidRequest> {
  const answer = yield* Effect.try({ try: ask, catch: identity }).pipe(
    Effect.tapError((thrown) => Effect.logError(`threadline: a ${field} threw`, Cause.die(loggable(thrown)))),
    Effect.mapError(
      () => new InvalidRequest({ field, rule: "threw an exception instead of answering with a condition" })
    )
  )
  if (typeof answer === "boolean") {
    return answer
  }
  const condition = withoutEmptyLists(answer)
  return condition !== undefined && isReadable(sql, condition)
    ? condition
    : yield* new InvalidRequest({ field, rule: "must answer with an SQL condition, or with true or false" })
})

/** A condition as a string that differs from that of every other condition. */
export const textOf = (sql: SqlClient, condition: HostCondition): string | readonly [text: string, values: string] => {
  if (typeof condition === "boolean") {
    return String(condition)
  }
  const [text, values] = sql`${condition}`.compile(true)
  return [text, inspect(values, { depth: null, maxArrayLength: null, maxStringLength: null })]
}

/**
 * Whether a row fulfils conditions of the host's. A condition that is null is not fulfilled. The conditions stand in a subquery
 * of their own over that one row, `judged`. It gives them the columns that they mention, and no other row: a window function or
 * an aggregate sees only this row.
 */
export const fulfils = (
  sql: SqlClient,
  conditions: ReadonlyArray<HostCondition>,
  judged: string,
  columns: Readonly<Record<string, Fragment>>
): Fragment => {
  const fragments = conditions.filter((condition) => typeof condition !== "boolean")
  if (conditions.includes(false)) {
    return sql`false`
  }
  if (fragments.length === 0) {
    return sql`true`
  }
  // A line of its own: it ends a comment that the condition may have begun with "--".
  const conjunction = sql.and(
    fragments.map(
      (condition) => sql`coalesce((
        ${condition}
      ), false)`
    )
  )
  const [text] = sql`${conjunction}`.compile(true)
  const mentioned = Object.entries(columns).filter(([column]) => text.includes(`${judged}.${column}`))
  const judgedColumns = sql.csv(mentioned.map(([column, value]) => sql`${value} as ${sql.literal(column)}`))
  return sql`(
      select ${conjunction}
      from (select ${judgedColumns}) ${sql.literal(judged)}
    )`
}

/** Threadline's own tables in such statements. The statements call none of its functions. */
const tables = ["audit_changes", "audit_transactions", "audit_actions"]

/** Whether a message names one of these. The words and the quotes around a name are those of the server's language. */
const isNamedIn = (reason: string, names: ReadonlyArray<string>): boolean =>
  new RegExp(`(?<![\\w$])(${names.map(escape).join("|")})(?![\\w$])`).test(reason)

/** Whether an error says that Threadline's own tables are missing, or may not be read. */
const isOwn = ({ schema }: Storage, state: string, reason: string): boolean =>
  state === "42501"
    ? isNamedIn(reason, [schema, ...tables])
    : state === "42P01" &&
      isNamedIn(
        reason,
        tables.map((table) => `${schema}.${table}`)
      )

const ofOwn = (state: string): ThreadlineError =>
  state === "42501"
    ? new ThreadlineError({
        reason: "InsufficientPrivilege",
        detail: 'the database role lacks a privilege on the Threadline schema; "threadline grant" gives it',
        sqlState: state
      })
    : new ThreadlineError({
        reason: "NotMigrated",
        detail: 'the Threadline schema is not installed here or is behind; run "threadline migrate up"',
        sqlState: state
      })

/** Errors of connections, transactions, resources and the server. No condition and no stored value causes them. */
const isOfServer = (state: string): boolean => /^(08|25|28|3D|40|53|54|55|57|58|XX)/.test(state)

/** Errors in which the server speaks only of itself, never of a value that a function was given. */
const isOfItself = (state: string): boolean => /^(08|25|28|40|53|57|55P03)/.test(state)

const ofServer = (error: SqlError, state: string): ThreadlineError =>
  isOfItself(state) && !isFromWithin(error)
    ? fromSqlError(error)
    : new ThreadlineError({
        reason: "Failed",
        detail: `the database failed a statement with conditions (SQLSTATE ${state})`,
        sqlState: state
      })

/**
 * What the database refuses, if the scopes name it themselves: the names of their text that the message has, too. The message is
 * in the language of the server, and what a function is refused may be a stored value, so nothing else of it is shown. The error
 * has no field for it: the database checks privileges when a statement begins, and gives no place in the text.
 */
const refusedNames = ({ restriction, sql }: Storage, error: SqlError): ReadonlyArray<string> => {
  if (restriction === undefined || isFromWithin(error)) {
    return []
  }
  const words = [...restriction.changes, ...restriction.actions].flatMap((condition) => {
    const [text = ""] = typeof condition === "boolean" ? [] : sql`${condition}`.compile(true)
    return text.match(/[\p{L}_][\p{L}\p{N}_$]*/gu) ?? []
  })
  const reason = reasonOf(error)
  return [...new Set(words)].filter((word) => !isReserved(word) && isNamedIn(reason, [word]))
}

const ofRefused = (names: ReadonlyArray<string>): string =>
  names.length === 0
    ? "needs something that the database role may not read or call (42501)"
    : `needs ${names.join(" or ")}, which the database role may not read or call (42501)`

/**
 * The error of a statement with conditions of the host's. `field` names the conditions that are to blame. If the database
 * complains about the text of a condition, it gives the place in the statement, and its message is shown. Any other message may
 * repeat a stored value, under any SQLSTATE, and is not shown.
 */
export const onConditionError =
  (storage: Storage, field: "scope" | "where" = "scope") =>
  (error: SqlError): InvalidRequest | ThreadlineError => {
    const state = sqlState(error)
    if (field === "scope" && storage.restriction === undefined) {
      return withoutValue(error)
    }
    if (state === undefined) {
      return fromSqlError(error)
    }
    const reason = reasonOf(error)
    if (state === untranslatable) {
      return new InvalidRequest({ field, rule: `cannot be asked here: ${untranslatableText}` })
    }
    if (isOwn(storage, state, reason)) {
      return ofOwn(state)
    }
    if (isOfServer(state)) {
      return ofServer(error, state)
    }
    const rule =
      !isFromWithin(error) && positionOf(error) !== undefined
        ? `is not understood by the database: ${reason}`
        : state === "42501"
          ? ofRefused(refusedNames(storage, error))
          : `raised an error on a stored row (SQLSTATE ${state}); it must work for every row`
    return new InvalidRequest({ field, rule })
  }
