/**
 * Where the demonstration works: two schemas and one role of its own in a database. They must not exist before, and are dropped
 * afterwards.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { fromSqlError } from "../../src/ThreadlineError.js"
import { Refused } from "../exit.js"
import { printError } from "../output.js"

/** The schema of the host application. */
const hostSchema = "threadline_demo"
/** The schema of the record; an application would keep the default, `threadline`. */
export const auditSchema = "threadline_demo_audit"
/** The role that owns the record. */
export const ownerRole = "threadline_demo_owner"

const drop = [
  `drop schema if exists ${hostSchema} cascade`,
  `drop schema if exists ${auditSchema} cascade`,
  // Without the right to make roles there is none, and "drop role if exists" would be refused all the same.
  `do $$ begin if exists (select from pg_roles where rolname = '${ownerRole}') then drop role ${ownerRole}; end if; end $$`
].join("; ")

const refuseWhatExists = (sql: SqlClient.SqlClient): Effect.Effect<void, Refused | SqlError> =>
  sql<{ readonly what: string }>`
    select 'schema ' || nspname as what
    from pg_namespace
    where nspname in (${hostSchema}, ${auditSchema})
    union all
    select 'role ' || rolname
    from pg_roles
    where rolname = ${ownerRole}
  `.pipe(
    Effect.flatMap((found) =>
      found.length === 0
        ? Effect.void
        : Effect.fail(
            new Refused({
              message:
                `this database has ${found.map(({ what }) => what).join(" and ")} already; ` +
                `if a demo left them, this removes them: ${drop}`
            })
          )
    )
  )

/** Makes the host's schema; the scope drops it, and whatever else the demonstration made. */
export const workspace: Effect.Effect<void, Refused | SqlError, Scope.Scope | SqlClient.SqlClient> = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) =>
    Effect.acquireRelease(Effect.zipRight(refuseWhatExists(sql), sql.unsafe(`create schema ${hostSchema}`)), () =>
      sql
        .unsafe(drop)
        .pipe(
          Effect.catchAll((error) =>
            printError(`the demo could not clean up (${fromSqlError(error).message}); this does it: ${drop}`)
          )
        )
    )
)
