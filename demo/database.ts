/**
 * Where the demo runs: in the database of `DATABASE_URL`, or in an embedded PostgreSQL that lives as long as the demo.
 * Everything it makes is in two schemas and one role of its own. They must not exist before and are dropped afterwards.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { ThreadlineError } from "threadline"
import * as TestCluster from "../test/harness/TestCluster.js"
import { DemoError } from "./errors.js"

/** The schema of the host application. */
const hostSchema = "threadline_demo"
/** The schema of the record; an application would keep the default, `threadline`. */
export const auditSchema = "threadline_demo_audit"
/** The role that owns the record. */
export const ownerRole = "threadline_demo_owner"

/** Whose database it is, and how to reach it. */
export interface Place {
  readonly kind: "embedded" | "given"
  readonly url: Redacted.Redacted
  readonly description: string
}

// The server the tests use, too: it runs as an unprivileged user and ends with this process, however that ends.
const embedded = TestCluster.make({ postgres: "embedded" }).pipe(
  Effect.mapBoth({
    onFailure: ({ message }) =>
      new DemoError({
        exitCode: 3,
        message: `the embedded PostgreSQL does not start here (${message.replaceAll(/\s+/g, " ")}); set DATABASE_URL`
      }),
    onSuccess: ({ major, url }): Place => ({
      kind: "embedded",
      url: Redacted.make(url),
      description: `an embedded PostgreSQL ${major}, gone when the demo ends`
    })
  })
)

const given = (url: Redacted.Redacted): Effect.Effect<Place, DemoError> => {
  const text = Redacted.value(url)
  // What is wrong with it may be its password: the text is not repeated.
  return /^postgres(ql)?:\/\//.test(text) && URL.canParse(text)
    ? Effect.succeed({ kind: "given", url, description: "the database of DATABASE_URL" })
    : Effect.fail(
        new DemoError({
          exitCode: 2,
          message: "DATABASE_URL is not the URL of a PostgreSQL database, such as postgres://user@host:5432/name"
        })
      )
}

/** The database to run in. The scope ends what was started for it. */
export const place = Effect.flatMap(
  Config.option(Config.redacted("DATABASE_URL")),
  Option.match({
    onNone: () => embedded,
    onSome: (url) => (Redacted.value(url) === "" ? embedded : given(url))
  })
)

/** A client of that database. */
export const client = (
  { url }: Place,
  applicationName: string
): Layer.Layer<SqlClient.SqlClient, DemoError | ThreadlineError.ThreadlineError> =>
  PgClient.layer({ url, applicationName, maxConnections: 4, connectTimeout: "5 seconds" }).pipe(
    Layer.catchAll((error) =>
      Layer.fail(
        error._tag === "SqlError"
          ? ThreadlineError.fromSqlError(error)
          : new DemoError({ exitCode: 2, message: "DATABASE_URL cannot be read" })
      )
    )
  )

const drop = [
  `drop schema if exists ${hostSchema} cascade`,
  `drop schema if exists ${auditSchema} cascade`,
  // Without the right to make roles there is none, and "drop role if exists" would be refused all the same.
  `do $$ begin if exists (select from pg_roles where rolname = '${ownerRole}') then drop role ${ownerRole}; end if; end $$`
].join("; ")

const refuseWhatExists = (sql: SqlClient.SqlClient): Effect.Effect<void, DemoError | SqlError> =>
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
            new DemoError({
              exitCode: 1,
              message:
                `this database has ${found.map(({ what }) => what).join(" and ")} already; ` +
                `if a demo left them, this removes them: ${drop}`
            })
          )
    )
  )

/** Makes the host's schema; the scope drops it, and whatever else the demo made. */
export const workspace = Effect.acquireRelease(
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.as(Effect.zipRight(refuseWhatExists(sql), sql.unsafe(`create schema ${hostSchema}`)), sql)
  ),
  (sql) =>
    sql
      .unsafe(drop)
      .pipe(
        Effect.catchAll((error) =>
          Console.error(
            `demo: could not clean up (${ThreadlineError.fromSqlError(error).message}); this does it: ${drop}`
          )
        )
      )
)
