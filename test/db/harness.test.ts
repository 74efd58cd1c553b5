import * as PgClient from "@effect/sql-pg/PgClient"
import * as SqlClient from "@effect/sql/SqlClient"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as TestDatabase from "../harness/TestDatabase.js"

const names = (sql: SqlClient.SqlClient, statement: string) =>
  Effect.map(sql.unsafe<{ readonly name: string }>(statement), (rows) => rows.map(({ name }) => name))

const storage = "select table_name as name from information_schema.tables where table_schema = 'threadline' order by 1"

describe("TestDatabase", () => {
  it.layer(TestDatabase.layer)("layer", (it) => {
    it.effect("is a clone with the schema, and its client a superuser", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const database = yield* TestDatabase.TestDatabase
        const [row] = yield* sql<{ name: string; superuser: string; version: string }>`
          select current_database() as name,
            current_setting('is_superuser') as superuser,
            current_setting('server_version_num') as version
        `
        expect(row?.name).toBe(database.name)
        expect(row?.superuser).toBe("on")
        expect(Math.floor(Number(row?.version) / 10_000)).toBe(database.serverVersion)
        expect(database.serverVersion).toBe(TestDatabase.serverVersion)
        expect(database.serverVersion).toBeGreaterThanOrEqual(15)
        expect(yield* names(sql, storage)).toEqual(
          expect.arrayContaining(["audit_actions", "audit_changes", "audit_transactions"])
        )
        expect(
          yield* names(sql, "select nspowner::regrole::text as name from pg_namespace where nspname = 'threadline'")
        ).toEqual([database.ownerRole])
        expect(yield* PgClient.PgClient).toBe(sql)
      })
    )

    it.scoped("connects as roles that own nothing and may log in", () =>
      Effect.gen(function* () {
        const database = yield* TestDatabase.TestDatabase
        const app = yield* database.connect("app")
        const [row] = yield* app<{ name: string; superuser: string }>`
          select session_user::text as name, current_setting('is_superuser') as superuser
        `
        expect(row).toEqual({ name: (yield* database.role("app")).name, superuser: "off" })
        expect(row?.name).toBe(`${database.name}_app`)
        const refused = yield* Effect.either(app`select * from threadline.audit_changes`)
        expect(Either.isLeft(refused)).toBe(true)

        const raw = yield* database.rawClient("app")
        const again = yield* database.rawClient("app")
        const pid = "select pg_backend_pid()::text as pid, session_user::text as name"
        const [first, second] = yield* Effect.promise(() => Promise.all([raw.query(pid), again.query(pid)]))
        expect(first.rows[0].name).toBe(row?.name)
        expect(first.rows[0].pid).not.toBe(second.rows[0].pid)
      })
    )

    it.scoped("takes the attributes of a role", () =>
      Effect.gen(function* () {
        const database = yield* TestDatabase.TestDatabase
        const { name } = yield* database.role("Back office", "createdb")
        expect(name).toBe(`${database.name}_back_office`)
        const sql = yield* SqlClient.SqlClient
        expect(yield* names(sql, "select rolname::text as name from pg_roles where rolcreatedb")).toContain(name)
      })
    )

    it.scoped("survives the end of a session", () =>
      Effect.gen(function* () {
        const database = yield* TestDatabase.TestDatabase
        const raw = yield* database.rawClient()
        const { rows } = yield* Effect.promise(() => raw.query<{ pid: number }>("select pg_backend_pid() as pid"))
        yield* database.terminate(rows[0]?.pid ?? 0)
        const after = yield* Effect.either(Effect.tryPromise(() => raw.query("select 1")))
        expect(Either.isLeft(after)).toBe(true)
      })
    )

    it.effect("drops databases and roles with their scope, whatever their sessions wait for", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const gone = yield* Effect.scoped(
          Effect.gen(function* () {
            const other = yield* TestDatabase.make()
            const holder = yield* other.rawClient()
            const waiter = yield* other.rawClient()
            const role = yield* other.role("app")
            yield* Effect.promise(() => holder.query("begin; lock table threadline.audit_actions"))
            waiter.query("select * from threadline.audit_actions").catch(() => undefined)
            return { database: other.name, role: role.name }
          })
        )
        expect(yield* names(sql, "select datname::text as name from pg_database")).not.toContain(gone.database)
        expect(yield* names(sql, "select rolname::text as name from pg_roles")).not.toContain(gone.role)
      })
    )
  })

  it.layer(TestDatabase.layer)("a second suite", (it) => {
    it.effect("has a database of its own", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* sql`create table only_here (id int)`
        const other = yield* TestDatabase.make()
        expect(other.name).not.toBe((yield* TestDatabase.TestDatabase).name)
        const raw = yield* other.rawClient()
        const { rows } = yield* Effect.promise(() =>
          raw.query<{ found: string | null }>("select to_regclass('only_here')::text as found")
        )
        expect(rows).toEqual([{ found: null }])
      }).pipe(Effect.scoped)
    )
  })

  it.layer(TestDatabase.layerEmpty)("layerEmpty", (it) => {
    it.effect("has no Threadline schema", () =>
      Effect.gen(function* () {
        expect(yield* names(yield* SqlClient.SqlClient, storage)).toEqual([])
      })
    )
  })
})
