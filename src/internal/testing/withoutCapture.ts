/**
 * Turns the triggers of Threadline off for a load of fixtures.
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as owned from "../sql/owned.js"
import { withReason } from "../sql/sqlState.js"

/** The statements that turn every trigger of Threadline off, and to what it was. */
const triggersOf = (sql: SqlClient.SqlClient, schema: string) => sql<{ readonly off: string; readonly on: string }>`
  select
    format('alter table %s disable trigger %I', t.tgrelid::regclass, t.tgname) as off,
    format(
      'alter table %s enable %s trigger %I',
      t.tgrelid::regclass,
      case t.tgenabled when 'A' then 'always' when 'R' then 'replica' else '' end,
      t.tgname
    ) as on
  from pg_trigger t
    join pg_proc p on p.oid = t.tgfoid
    join pg_namespace n on n.oid = p.pronamespace
    join pg_class c on c.oid = t.tgrelid
  where n.nspname = ${schema}
    and c.relnamespace <> n.oid
    and not t.tgisinternal
    and t.tgparentid = 0
    and t.tgenabled <> 'D'
  order by 1`

/** Ends the lapses of the load, as the owner of the record, if this role may act as that. */
const settle = Effect.fnUntraced(function* (sql: SqlClient.SqlClient, schema: string) {
  const owners = yield* sql<{ readonly owner: string; readonly role: string }>`
    select pg_get_userbyid(n.nspowner)::text as owner, current_setting('role') as role
    from pg_namespace n
    where n.nspname = ${schema} and pg_has_role(n.nspowner, 'usage')`
  for (const { owner, role } of owners) {
    yield* sql`select set_config('role', ${owner}, true)`
    yield* sql`
      select ${sql(schema)}.triggers_settled(p.table_schema, p.table_name)
      from ${sql(schema)}.capture_policies p
      where p.removed_at is null`
    yield* sql`select set_config('role', ${role}, true)`
  }
})

/** Runs the effect with every trigger of Threadline turned off, in one transaction. */
export const loadWithoutCapture = <A, E, R>(
  sql: SqlClient.SqlClient,
  schema: string,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError, R> => {
  const runAll = (statements: ReadonlyArray<string>) =>
    Effect.forEach(statements, (statement) => sql.unsafe(statement), { discard: true })
  return owned.transactionOrSavepoint(
    sql,
    "begin",
    Effect.gen(function* () {
      const switches = yield* triggersOf(sql, schema)
      yield* Effect.mapError(runAll(switches.map(({ off }) => off)), withReason)
      const value = yield* effect
      yield* Effect.mapError(runAll(["set constraints all immediate", ...switches.map(({ on }) => on)]), withReason)
      yield* settle(sql, schema)
      return value
    })
  )
}
