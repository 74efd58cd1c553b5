import * as NodeContext from "@effect/platform-node/NodeContext"
import * as PgClient from "@effect/sql-pg/PgClient"
import * as PgMigrator from "@effect/sql-pg/PgMigrator"
import * as SqlClient from "@effect/sql/SqlClient"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import pg from "pg"
import { embedded } from "../../../scripts/embed-migrations.js"
import * as compare from "../../../src/internal/schema/compare.js"
import { identifier } from "../../../src/internal/sql/sqlText.js"
import * as Grants from "../../../src/Grants.js"
import * as Migrations from "../../../src/Migrations.js"
import { InvalidRequest } from "../../../src/ThreadlineError.js"
import * as Installation from "../../harness/Installation.js"
import * as TestCluster from "../../harness/TestCluster.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import * as EmptyDatabase from "../../support/emptyDatabase.js"

const latest = Migrations.all.length

/** Every migration without its text, as answers have it. */
const allMigrations = Migrations.all.map(({ checksum, id, name }) => ({ id, name, checksum }))

/** An empty database with a client of its superuser's. */
const emptyDatabase = Effect.gen(function* () {
  const made = yield* EmptyDatabase.emptyDatabase
  return { ...made, admin: yield* pooledClient(made.url) }
})

const pooledClient = (url: string, options: Partial<PgClient.PgClientConfig> = {}) =>
  Effect.map(Layer.build(PgClient.layerFromPool({ acquire: poolOf(url, options.maxConnections ?? 5) })), (context) =>
    Layer.succeedContext(context)
  )

const poolOf = (url: string, max: number) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const pool = new pg.Pool({ connectionString: url, max })
      pool.on("error", () => undefined)
      return pool
    }),
    (pool) => Effect.promise(() => pool.end())
  )

/** What is in a schema, as text that two installations can be compared by. */
const inventory = (schema: string) => `
  select 'column ' || c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' '
      || a.attnotnull || ' ' || a.attidentity::text || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '') as entry
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
    where c.relnamespace = '${schema}'::regnamespace
  union all
  select 'relation ' || c.relname || ' ' || c.relkind::text || ' ' || pg_get_userbyid(c.relowner)
      || coalesce(' ' || pg_get_expr(c.relpartbound, c.oid), '')
    from pg_class c
    where c.relnamespace = '${schema}'::regnamespace
  union all
  select 'index ' || pg_get_indexdef(i.indexrelid)
    from pg_index i
    join pg_class c on c.oid = i.indexrelid
    where c.relnamespace = '${schema}'::regnamespace
  union all
  select 'function ' || pg_get_functiondef(p.oid) || ' ' || pg_get_userbyid(p.proowner) || ' ' || p.proacl::text
    from pg_proc p
    where p.pronamespace = '${schema}'::regnamespace
  order by 1`

const ownersOf = `
  select distinct pg_get_userbyid(owner)::text as owner
  from (
    select relowner from pg_class where relnamespace = 'threadline'::regnamespace
    union all
    select proowner from pg_proc where pronamespace = 'threadline'::regnamespace
    union all
    select nspowner from pg_namespace where nspname = 'threadline'
  ) as owned (owner)`

const countSchemas = "select count(*)::int as schemas from pg_namespace where nspname = 'threadline'"

describe("Migrations.all", () => {
  it("is what the migrations directory holds", () => {
    const file = fileURLToPath(new URL("../../../src/internal/schema/files.ts", import.meta.url))
    const fresh = readFileSync(file, "utf8") === embedded()
    expect(fresh, "stale: run tsx scripts/embed-migrations.ts").toBe(true)
  })

  it("is numbered without gaps, and its checksums are those of its texts", () => {
    expect(Migrations.all.map(({ id }) => id)).toEqual(Migrations.all.map((_, index) => index + 1))
    for (const { checksum, sql } of Migrations.all) {
      expect(createHash("sha256").update(sql, "utf8").digest("hex")).toBe(checksum)
    }
  })
})

describe("Migrations.run", () => {
  it.scopedLive("installs everything under an owner that nobody can log in as", () =>
    Effect.gen(function* () {
      const { admin, ownerRole, query } = yield* emptyDatabase
      const result = yield* Migrations.run({ ownerRole }).pipe(Effect.provide(admin))
      expect(result).toMatchObject({ schema: "threadline", owner: ownerRole, version: latest, notices: [] })
      expect(result.applied.map(({ id }) => id)).toEqual(Migrations.all.map(({ id }) => id))
      expect(yield* query(ownersOf)).toEqual([{ owner: ownerRole }])
      expect(
        yield* query(`select rolcanlogin, rolsuper, rolcreaterole from pg_roles where rolname = '${ownerRole}'`)
      ).toEqual([{ rolcanlogin: false, rolsuper: false, rolcreaterole: false }])
      expect(yield* query("select threadline.schema_version() as version")).toEqual([{ version: latest }])
      expect(
        yield* query(
          "select has_function_privilege('public', 'threadline.schema_version()', 'execute') as anybody, applied_by from threadline.migrations limit 1"
        )
      ).toEqual([{ anybody: false, applied_by: new URL(TestDatabase.serverUrl).username }])

      const again = yield* Migrations.run({ ownerRole }).pipe(Effect.provide(admin))
      expect(again).toMatchObject({ applied: [], version: latest, owner: ownerRole })
      expect(yield* query("select count(*)::int as rows from threadline.migrations")).toEqual([{ rows: latest }])
    })
  )

  it.scopedLive("makes missing partitions at each run", () =>
    Effect.gen(function* () {
      const { admin, ownerRole, query } = yield* emptyDatabase
      yield* Migrations.run({ ownerRole }).pipe(Effect.provide(admin))
      const [row] = yield* query<{ name: string }>(`
        select max(c.relname)::text as name
        from pg_inherits i
        join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'threadline.audit_changes'::regclass
          and c.relname ~ '_[0-9]{8}$'`)
      const last = row?.name ?? ""
      yield* query(`drop table threadline.${last}`)
      const again = yield* Migrations.run().pipe(Effect.provide(admin))
      expect(again.partitions).toEqual([last])
    })
  )

  it.scopedLive("lets one of twenty concurrent runners do the work", () =>
    Effect.gen(function* () {
      const { database, ownerRole, query } = yield* emptyDatabase
      // Waiting for another runner is no wait for a lock of the host.
      const url = `${database.url}?options=${encodeURIComponent("-c lock_timeout=1ms -c statement_timeout=100ms")}`
      const runners = yield* Effect.all(Array.from({ length: 20 }, () => pooledClient(url, { maxConnections: 1 })))
      const results = yield* Effect.forEach(
        runners,
        (runner) => Effect.either(Migrations.run({ ownerRole, watchSchema: true }).pipe(Effect.provide(runner))),
        { concurrency: "unbounded" }
      )
      const versions = results.map(Either.map(({ version }) => version))
      expect(versions).toEqual(Array.from({ length: 20 }, () => Either.right(latest)))
      const applied = results.map(Either.match({ onLeft: () => 0, onRight: (result) => result.applied.length }))
      expect(applied.filter((count) => count > 0)).toEqual([latest])
      expect(yield* query("select id from threadline.migrations order by id")).toEqual(
        Migrations.all.map(({ id }) => ({ id }))
      )
    })
  )

  it.scopedLive("is as right for a role whose transactions are serializable and read-only by default", () =>
    Effect.gen(function* () {
      const { database, ownerRole, query } = yield* emptyDatabase
      const { name, url } = yield* database.role("strict", "superuser")
      yield* query(`alter role ${name} set default_transaction_isolation = 'serializable'`)
      yield* query(`alter role ${name} set default_transaction_read_only = on`)
      // Shorter than the wait for the other runners.
      yield* query(`alter role ${name} set statement_timeout = '150ms'`)
      const runners = yield* Effect.all(Array.from({ length: 5 }, () => pooledClient(url, { maxConnections: 1 })))
      const results = yield* Effect.forEach(
        runners,
        (runner) => Effect.either(Migrations.run({ ownerRole }).pipe(Effect.provide(runner))),
        { concurrency: "unbounded" }
      )
      expect(results.map(Either.map(({ version }) => version))).toEqual(
        Array.from({ length: 5 }, () => Either.right(latest))
      )
    })
  )

  for (const attributes of ["superuser", "createrole"]) {
    it.scopedLive(`shares one owner role between databases that install at once (${attributes})`, () =>
      Effect.gen(function* () {
        const first = yield* emptyDatabase
        const { name, url } = yield* first.database.role("installer", attributes)
        const others = yield* Effect.all(
          Array.from({ length: 4 }, () =>
            Effect.tap(emptyDatabase, ({ database }) =>
              TestDatabase.administer(`grant create on database ${database.name} to ${name}`)
            )
          )
        )
        const runners = yield* Effect.forEach(others, ({ database }) => {
          const target = new URL(url)
          target.pathname = `/${database.name}`
          return pooledClient(target.href)
        })
        const results = yield* Effect.forEach(
          runners,
          (runner) => Effect.either(Migrations.run({ ownerRole: first.ownerRole }).pipe(Effect.provide(runner))),
          { concurrency: "unbounded" }
        )
        yield* TestDatabase.administer(...others.map(({ database }) => `drop database ${database.name} with (force)`))
        expect(results.map(Either.map(({ owner, version }) => ({ owner, version })))).toEqual(
          others.map(() => Either.right({ owner: first.ownerRole, version: latest }))
        )
      })
    )
  }

  it.scopedLive("lets a role that may make roles and schemas install and upgrade", () =>
    Effect.gen(function* () {
      const { database, ownerRole, query } = yield* emptyDatabase
      const { name, url } = yield* database.role("installer", "createrole")
      yield* query(`grant create on database ${database.name} to ${name}`)
      const installer = yield* pooledClient(url)
      const installed = yield* Migrations.run({ ownerRole, to: 1 }).pipe(Effect.provide(installer))
      expect(installed).toMatchObject({ owner: ownerRole, version: 1, notices: [] })
      const upgraded = yield* Migrations.run().pipe(Effect.provide(installer))
      expect(upgraded).toMatchObject({ owner: ownerRole, version: latest, notices: [] })
      expect(yield* query(ownersOf)).toEqual([{ owner: ownerRole }])
      // As itself too it reads what it installed.
      expect((yield* Migrations.status().pipe(Effect.provide(installer))).state).toBe("current")
    })
  )

  it.scopedLive("says that a database has a record already, where another one is installed beside it", () =>
    Effect.gen(function* () {
      const { database, ownerRole } = yield* emptyDatabase
      const client = yield* pooledClient(database.url)
      expect((yield* Migrations.run({ ownerRole }).pipe(Effect.provide(client))).notices).toEqual([])
      const second = yield* Migrations.run({ ownerRole, schema: "Second" }).pipe(Effect.provide(client))
      expect(second.notices).toEqual([expect.stringContaining("already, in the schema threadline;")])
      expect((yield* Migrations.run({ ownerRole }).pipe(Effect.provide(client))).notices).toEqual([])
    })
  )

  it.scopedLive("falls back to the connecting role where roles may not be made, and says so", () =>
    Effect.gen(function* () {
      const { database, ownerRole, query } = yield* emptyDatabase
      const { name, url } = yield* database.role("installer")
      yield* query(`grant create on database ${database.name} to ${name}`)
      const result = yield* Migrations.run({ ownerRole }).pipe(Effect.provide(yield* pooledClient(url)))
      expect(result).toMatchObject({ owner: name, version: latest })
      expect(result.notices).toEqual([expect.stringContaining(`${name}, a role that can log in`)])
      expect(yield* query(ownersOf)).toEqual([{ owner: name }])
      expect(yield* query(`select from pg_roles where rolname = '${ownerRole}'`)).toEqual([])
    })
  )

  it.scopedLive("falls back where the owner role exists and belongs to somebody else", () =>
    Effect.gen(function* () {
      const { database, ownerRole, query } = yield* emptyDatabase
      const { name, url } = yield* database.role("installer")
      yield* query(`create role ${ownerRole} nologin`)
      yield* query(`grant create on database ${database.name} to ${name}`)
      const result = yield* Migrations.run({ ownerRole }).pipe(Effect.provide(yield* pooledClient(url)))
      expect(result).toMatchObject({ owner: name, version: latest })
    })
  )

  it.scopedLive("uses an owner role that was granted beforehand", () =>
    Effect.gen(function* () {
      const { database, ownerRole, query } = yield* emptyDatabase
      const { name, url } = yield* database.role("installer")
      yield* query(`create role ${ownerRole} nologin`)
      yield* query(`grant ${ownerRole} to ${name}`)
      yield* query(`grant create on database ${database.name} to ${name}`)
      const result = yield* Migrations.run({ ownerRole }).pipe(Effect.provide(yield* pooledClient(url)))
      expect(result).toMatchObject({ owner: ownerRole, version: latest, notices: [] })
    })
  )

  it.scopedLive("refuses a role that may not create the schema, and leaves nothing", () =>
    Effect.gen(function* () {
      const { database, ownerRole, query } = yield* emptyDatabase
      const { url } = yield* database.role("app", "createrole")
      const error = yield* Effect.flip(Migrations.run({ ownerRole }).pipe(Effect.provide(yield* pooledClient(url))))
      expect(error).toMatchObject({ _tag: "MigrationError", reason: "InsufficientPrivilege", sqlState: "42501" })
      expect(yield* query(countSchemas)).toEqual([{ schemas: 0 }])
      expect(yield* query(`select from pg_roles where rolname = '${ownerRole}'`)).toEqual([])
    })
  )

  it.scopedLive("refuses a role that may not act as the owner", () =>
    Effect.gen(function* () {
      const { admin, database, ownerRole } = yield* emptyDatabase
      yield* Migrations.run({ ownerRole }).pipe(Effect.provide(admin))
      const { name, url } = yield* database.role("app")
      const error = yield* Effect.flip(Migrations.run().pipe(Effect.provide(yield* pooledClient(url))))
      expect(error).toMatchObject({
        reason: "InsufficientPrivilege",
        message: `the schema threadline belongs to ${ownerRole}, and ${name} may not act as that role`
      })
    })
  )

  it.scopedLive("refuses a superuser as the owner role", () =>
    Effect.gen(function* () {
      const { admin, database, query } = yield* emptyDatabase
      const { name } = yield* database.role("boss", "superuser")
      const error = yield* Effect.flip(Migrations.run({ ownerRole: name }).pipe(Effect.provide(admin)))
      expect(error).toMatchObject({ reason: "OwnerRefused" })
      expect(yield* query(countSchemas)).toEqual([{ schemas: 0 }])
    })
  )

  for (const [what, statement] of [
    ["a table", "create table threadline.posts (id int)"],
    ["a function only", "create function threadline.f() returns int language sql return 1"],
    ["a type only", "create type threadline.mood as enum ('ok')"],
    ["a table of migrations of something else", "create table threadline.migrations (id int, version text)"]
  ] as const) {
    it.scopedLive(`refuses a schema that holds ${what}`, () =>
      Effect.gen(function* () {
        const { admin, ownerRole, query } = yield* emptyDatabase
        yield* query("create schema threadline")
        yield* query(statement)
        const before = yield* query(inventory("threadline"))
        const error = yield* Effect.flip(Migrations.run({ ownerRole }).pipe(Effect.provide(admin)))
        expect(error).toMatchObject({ reason: "SchemaTaken" })
        expect(yield* query(inventory("threadline"))).toEqual(before)
      })
    )
  }

  it.scopedLive("takes an empty schema over, default privileges and all", () =>
    Effect.gen(function* () {
      const { admin, ownerRole, query } = yield* emptyDatabase
      yield* query("create schema threadline")
      yield* query("alter default privileges in schema threadline grant select on tables to public")
      const result = yield* Migrations.run({ ownerRole }).pipe(Effect.provide(admin))
      expect(result).toMatchObject({ owner: ownerRole, version: latest })
      expect(yield* query(ownersOf)).toEqual([{ owner: ownerRole }])
    })
  )

  it.scopedLive("installs into a schema of any name", () =>
    Effect.gen(function* () {
      const { admin, ownerRole, query } = yield* emptyDatabase
      const schema = `Odd "audit" $threadline$ x'y\\z.é`
      const result = yield* Migrations.run({ ownerRole, schema }).pipe(Effect.provide(admin))
      expect(result).toMatchObject({ schema, version: latest })
      expect((yield* Migrations.status({ schema }).pipe(Effect.provide(admin))).state).toBe("current")
      expect(yield* query(`select ${identifier(schema)}.schema_version() as version`)).toEqual([{ version: latest }])
      expect(
        yield* query("select count(*)::int as strays from pg_class where relnamespace = 'public'::regnamespace")
      ).toEqual([{ strays: 0 }])
    })
  )

  it.scopedLive("is not led astray by a hostile search path", () =>
    Effect.gen(function* () {
      const { database, ownerRole, query } = yield* emptyDatabase
      yield* query(`
        create schema evil;
        create function evil.boom() returns text language plpgsql as $$ begin raise exception 'shadowed'; end $$;
        create function evil.quote_ident(text) returns text language sql return evil.boom();
        create function evil.pg_has_role(name, name, text) returns boolean language sql return evil.boom()::boolean;
        create function evil.current_setting(text) returns text language sql return evil.boom();
        create function evil.set_config(text, text, boolean) returns text language sql return evil.boom();
        create table evil.migrations (id int, name text, checksum text, applied_at timestamptz, applied_by text);
        insert into evil.migrations values (1, 'storage', 'x', now(), 'x');
        alter database ${database.name} set search_path = evil, pg_catalog`)
      const result = yield* Migrations.run({ ownerRole }).pipe(Effect.provide(yield* pooledClient(database.url)))
      expect(result.applied).toHaveLength(latest)
    })
  )

  it.scopedLive("refuses a migration that was applied with another text", () =>
    Effect.gen(function* () {
      const { admin, ownerRole, query } = yield* emptyDatabase
      yield* Migrations.run({ ownerRole }).pipe(Effect.provide(admin))
      yield* query("update threadline.migrations set checksum = 'other' where id = 1")
      const error = yield* Effect.flip(Migrations.run().pipe(Effect.provide(admin)))
      expect(error).toMatchObject({ reason: "ChecksumMismatch", message: expect.stringContaining("1 (storage)") })
      const status = yield* Migrations.status().pipe(Effect.provide(admin))
      expect(status).toMatchObject({ state: "mismatch", mismatched: [{ id: 1, checksum: "other" }] })
    })
  )

  it.scopedLive("refuses a schema that a newer Threadline migrated", () =>
    Effect.gen(function* () {
      const { admin, ownerRole, query } = yield* emptyDatabase
      yield* Migrations.run({ ownerRole }).pipe(Effect.provide(admin))
      yield* query("insert into threadline.migrations (id, name, checksum) values (999, 'future', 'x')")
      const error = yield* Effect.flip(Migrations.run().pipe(Effect.provide(admin)))
      expect(error).toMatchObject({ reason: "NewerSchema", message: expect.stringContaining("999 (future)") })
      const status = yield* Migrations.status().pipe(Effect.provide(admin))
      expect(status).toMatchObject({ state: "newer", version: 999, latest, unknown: [{ id: 999 }] })
    })
  )

  it.scopedLive("gives no grants in a schema of another version, because they would not be those of that version", () =>
    Effect.gen(function* () {
      const { admin, ownerRole, query } = yield* emptyDatabase
      const granted = Effect.flip(Grants.apply({ readers: [ownerRole] })).pipe(Effect.provide(admin))
      expect(yield* granted).toMatchObject({ reason: "NotMigrated" })
      yield* Migrations.run({ ownerRole, to: latest - 1 }).pipe(Effect.provide(admin))
      expect(yield* granted).toMatchObject({
        reason: "NotMigrated",
        message: expect.stringContaining(`at ${latest - 1} of ${latest} migrations`)
      })
      yield* Migrations.run({ ownerRole }).pipe(Effect.provide(admin))
      yield* Grants.apply({ readers: [ownerRole] }).pipe(Effect.provide(admin))
      yield* query("insert into threadline.migrations (id, name, checksum) values (999, 'future', 'x')")
      expect(yield* granted).toMatchObject({ reason: "NewerSchema" })
    })
  )

  it.scopedLive("keeps to all or nothing when a migration fails", () =>
    Effect.gen(function* () {
      const { admin, ownerRole, query } = yield* emptyDatabase
      yield* Migrations.run({ ownerRole }).pipe(Effect.provide(admin))
      yield* query("delete from threadline.migrations where id = 2")
      const before = yield* query(inventory("threadline"))
      const error = yield* Effect.flip(Migrations.run().pipe(Effect.provide(admin)))
      expect(error).toMatchObject({
        reason: "Failed",
        sqlState: "42723",
        message: expect.stringMatching(/^migration 2 \(intent\) failed: function .* already exists/)
      })
      expect(yield* query(inventory("threadline"))).toEqual(before)
      expect(yield* query("select id from threadline.migrations where id = 2")).toEqual([])
    })
  )

  it.scopedLive("accepts the repeated rows of a restore", () =>
    Effect.gen(function* () {
      const { admin, ownerRole, query } = yield* emptyDatabase
      yield* Migrations.run({ ownerRole }).pipe(Effect.provide(admin))
      yield* query("insert into threadline.migrations select * from threadline.migrations")
      const result = yield* Migrations.run().pipe(Effect.provide(admin))
      expect(result).toMatchObject({ applied: [], version: latest })
      const status = yield* Migrations.status().pipe(Effect.provide(admin))
      expect(status.applied.map(({ id }) => id)).toEqual(Migrations.all.map(({ id }) => id))
    })
  )

  for (const { id } of Migrations.all) {
    it.scopedLive(
      `upgrades from ${id - 1 === 0 ? "nothing" : `version ${id - 1}`} to what a new installation has`,
      () =>
        Effect.gen(function* () {
          const fresh = yield* emptyDatabase
          const { ownerRole } = fresh
          yield* Migrations.run({ ownerRole }).pipe(Effect.provide(fresh.admin))
          const upgraded = yield* emptyDatabase
          if (id > 1) {
            const old = yield* Migrations.run({ ownerRole, to: id - 1 }).pipe(Effect.provide(upgraded.admin))
            expect(old.version).toBe(id - 1)
            const status = yield* Migrations.status().pipe(Effect.provide(upgraded.admin))
            expect(status).toMatchObject({ state: "behind", version: id - 1, pending: allMigrations.slice(id - 1) })
          }
          const result = yield* Migrations.run({ ownerRole }).pipe(Effect.provide(upgraded.admin))
          expect(result.applied.map((migration) => migration.id)).toEqual(
            Migrations.all.slice(id - 1).map((migration) => migration.id)
          )
          const expected = yield* fresh.query(inventory("threadline"))
          expect(yield* upgraded.query(inventory("threadline"))).toEqual(expected)
          yield* TestDatabase.administer(`drop database ${upgraded.database.name} with (force)`)
        })
    )
  }

  it.scopedLive("gives up on a locked table in time", () =>
    Effect.gen(function* () {
      const { admin, database, ownerRole, query } = yield* emptyDatabase
      yield* Migrations.run({ ownerRole, to: 1 }).pipe(Effect.provide(admin))
      const holder = yield* database.rawClient()
      yield* Effect.promise(() => holder.query("begin; lock table threadline.migrations"))
      const error = yield* Effect.flip(Migrations.run({ lockTimeout: "100 millis" }).pipe(Effect.provide(admin)))
      expect(error).toMatchObject({ reason: "Busy", sqlState: "55P03" })
      yield* Effect.promise(() => holder.query("rollback"))
      expect(yield* query("select threadline.schema_version() as version")).toEqual([{ version: 1 }])
    })
  )

  it.scopedLive("leaves nothing behind when its session dies, and the next run works", () =>
    Effect.gen(function* () {
      const { admin, database, ownerRole, query } = yield* emptyDatabase
      const holder = yield* database.rawClient()
      yield* Effect.promise(() =>
        holder.query("begin; select pg_advisory_xact_lock(hashtextextended('threadline.migrations', 0))")
      )
      const runner = yield* Effect.fork(Effect.flip(Migrations.run({ ownerRole }).pipe(Effect.provide(admin))))
      const waiting = query<{ pid: number }>(
        `select pid from pg_locks
          where locktype = 'advisory' and not granted
            and database = (select oid from pg_database where datname = current_database())`
      )
      const [row] = yield* Effect.repeat(waiting, { until: (rows) => rows.length > 0 })
      yield* database.terminate(row?.pid ?? 0)
      expect(yield* Fiber.join(runner)).toMatchObject({ reason: "Unreachable" })
      yield* Effect.promise(() => holder.query("rollback"))
      expect(yield* query(countSchemas)).toEqual([{ schemas: 0 }])
      expect((yield* Migrations.run({ ownerRole }).pipe(Effect.provide(admin))).version).toBe(latest)
    })
  )

  it.scopedLive("leaves nothing behind when it is interrupted", () =>
    Effect.gen(function* () {
      const { admin, database, ownerRole, query } = yield* emptyDatabase
      const holder = yield* database.rawClient()
      yield* Effect.promise(() =>
        holder.query("begin; select pg_advisory_xact_lock(hashtextextended('threadline.migrations', 0))")
      )
      const runner = yield* Effect.fork(Migrations.run({ ownerRole }).pipe(Effect.provide(admin)))
      const waiting = query(
        `select from pg_locks
          where locktype = 'advisory' and not granted
            and database = (select oid from pg_database where datname = current_database())`
      )
      yield* Effect.repeat(waiting, { until: (rows) => rows.length > 0 })
      expect(Exit.isInterrupted(yield* Fiber.interrupt(runner))).toBe(true)
      yield* Effect.promise(() => holder.query("rollback"))
      expect(yield* query(countSchemas)).toEqual([{ schemas: 0 }])
      expect((yield* Migrations.run({ ownerRole }).pipe(Effect.provide(admin))).version).toBe(latest)
    })
  )

  it.scopedLive("runs within a transaction of the caller, and gives its settings back", () =>
    Effect.gen(function* () {
      const { admin, ownerRole, query } = yield* emptyDatabase
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const settings = sql`
          select current_user::text as role, current_setting('search_path') as path,
            current_setting('lock_timeout') as lock_timeout, current_setting('statement_timeout') as statement_timeout`
        yield* sql.withTransaction(
          Effect.gen(function* () {
            yield* sql`set local lock_timeout = '7s'`
            const before = yield* settings
            yield* Migrations.run({ ownerRole })
            expect(yield* settings).toEqual(before)
          })
        )
        const undone = sql.withTransaction(
          Effect.zipRight(sql`drop schema threadline cascade`, Effect.zipRight(Migrations.run(), Effect.fail("undo")))
        )
        expect(yield* Effect.flip(undone)).toBe("undo")
      }).pipe(Effect.provide(admin))
      expect(yield* query("select threadline.schema_version() as version")).toEqual([{ version: latest }])
    })
  )

  it.scopedLive("needs PostgreSQL 15", () =>
    Effect.gen(function* () {
      const { admin, ownerRole, query } = yield* emptyDatabase
      // As this server would answer a library with a later floor: the same check, another number.
      const demanding = Layer.effect(
        SqlClient.SqlClient,
        Effect.map(SqlClient.SqlClient, (sql) => {
          const client: SqlClient.SqlClient = new Proxy(sql, {
            get: (target, name) =>
              name === "withoutTransforms"
                ? () => client
                : name === "unsafe"
                  ? (text: string) => sql.unsafe(text.replace("150000", "990000"))
                  : Reflect.get(target, name, target)
          })
          return client
        })
      ).pipe(Layer.provide(admin))
      for (const program of [Effect.asVoid(Migrations.run({ ownerRole })), Effect.asVoid(Migrations.status())]) {
        const error = yield* Effect.flip(Effect.provide(program, demanding))
        expect(error).toMatchObject({ reason: "TooOld", message: expect.stringContaining("PostgreSQL 15") })
      }
      expect(yield* query(countSchemas)).toEqual([{ schemas: 0 }])
    })
  )

  for (const [options, field] of [
    [{ schema: "" }, "schema"],
    [{ schema: "pg_audit" }, "schema"],
    [{ schema: "public" }, "schema"],
    [{ schema: "s".repeat(64) }, "schema"],
    [{ schema: "a\0b" }, "schema"],
    [{ ownerRole: "none" }, "ownerRole"],
    [{ to: 0 }, "to"],
    [{ to: latest + 1 }, "to"],
    [{ to: 1.5 }, "to"]
  ] as const) {
    it.scopedLive(`refuses ${JSON.stringify(options)} before it asks the database`, () =>
      Effect.gen(function* () {
        // Nothing listens there, and the pool connects when first asked.
        const nobody = yield* pooledClient("postgres://nobody@127.0.0.1:1/nothing")
        const error = yield* Effect.flip(Migrations.run(options).pipe(Effect.provide(nobody)))
        expect(error).toBeInstanceOf(InvalidRequest)
        expect(error).toMatchObject({ field })
      })
    )
  }

  it.scopedLive("says so where nothing answers", () =>
    Effect.gen(function* () {
      const nobody = yield* pooledClient("postgres://nobody:secret@127.0.0.1:1/nothing")
      const error = yield* Effect.flip(Migrations.run().pipe(Effect.provide(nobody)))
      expect(error).toMatchObject({ _tag: "MigrationError", reason: "Unreachable" })
      expect(error.message).not.toContain("secret")
    })
  )
})

describe("Migrations.status", () => {
  it.scopedLive("tells an empty database, an empty schema and a reader without grants apart", () =>
    Effect.gen(function* () {
      const { admin, database, ownerRole, query } = yield* emptyDatabase
      expect(yield* Migrations.status().pipe(Effect.provide(admin))).toMatchObject({
        state: "absent",
        owner: Option.none(),
        version: 0,
        applied: [],
        pending: allMigrations
      })
      yield* query("create schema threadline")
      expect(yield* Migrations.status().pipe(Effect.provide(admin))).toMatchObject({ state: "absent", version: 0 })
      yield* Migrations.run({ ownerRole }).pipe(Effect.provide(admin))
      const status = yield* Migrations.status().pipe(Effect.provide(admin))
      expect(status).toMatchObject({ state: "current", owner: Option.some(ownerRole), version: latest, pending: [] })
      expect(status.applied[0]).toMatchObject({ id: 1, name: "storage", checksum: Migrations.all[0]?.checksum })
      expect(status.applied[0]?.appliedAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/)
      const { url } = yield* database.role("stranger")
      const error = yield* Effect.flip(Migrations.status().pipe(Effect.provide(yield* pooledClient(url))))
      expect(error).toMatchObject({ reason: "InsufficientPrivilege" })
    })
  )
})

const rejection = (url: string, text: string) =>
  Effect.promise(async () => {
    const client = new pg.Client({ connectionString: url }).on("error", () => undefined)
    await client.connect()
    try {
      await client.query(text)
      return "accepted"
    } catch (error) {
      return error instanceof Error ? error.message : String(error)
    } finally {
      await client.end()
    }
  })

describe("Migrations.render", () => {
  it.scopedLive("does what run does, in one go and once only", () =>
    Effect.gen(function* () {
      const ran = yield* emptyDatabase
      const { ownerRole } = ran
      yield* Migrations.run({ ownerRole }).pipe(Effect.provide(ran.admin))
      const printed = yield* emptyDatabase
      const text = yield* Migrations.render({ ownerRole })
      yield* printed.query(text)
      expect(yield* printed.query(inventory("threadline"))).toEqual(yield* ran.query(inventory("threadline")))
      const nothing = yield* Migrations.run().pipe(Effect.provide(printed.admin))
      expect(nothing).toMatchObject({ applied: [], version: latest })
      expect(yield* rejection(printed.database.url, text)).toContain("migration 1 is applied already")
      yield* TestDatabase.administer(`drop database ${printed.database.name} with (force)`)
    })
  )

  it.scopedLive("prints the migrations after one that is there", () =>
    Effect.gen(function* () {
      const { admin, database, ownerRole, query } = yield* emptyDatabase
      const rest = yield* Migrations.render({ ownerRole, from: 2 })
      expect(yield* rejection(database.url, rest)).toContain("migration 2 follows 1, which is not applied")
      expect(yield* query(countSchemas)).toEqual([{ schemas: 0 }])
      yield* Migrations.run({ ownerRole, to: 1 }).pipe(Effect.provide(admin))
      yield* query(rest)
      expect((yield* Migrations.status().pipe(Effect.provide(admin))).state).toBe("current")
    })
  )

  it.effect("refuses a first migration after the last", () =>
    Effect.gen(function* () {
      expect(yield* Effect.flip(Migrations.render({ from: 2, to: 1 }))).toMatchObject({ field: "from" })
    })
  )
})

describe("Migrations.generate", () => {
  it.scopedLive("gives files that a tool runs one by one, each in its transaction", () =>
    Effect.gen(function* () {
      const { admin, ownerRole, query } = yield* emptyDatabase
      const files = yield* Migrations.generate({ ownerRole })
      expect(files.map(({ file }) => file)).toEqual(
        Migrations.all.map(({ id, name }) => `${String(id).padStart(4, "0")}_threadline_${name}.sql`)
      )
      yield* query("create table done (file text)")
      for (const { file, sql } of files) {
        yield* query("begin")
        yield* query(sql)
        // The tool's own bookkeeping, as the tool's own role and on its own search path.
        yield* query(`insert into done values ('${file}')`)
        yield* query("commit")
      }
      expect(yield* query(ownersOf)).toEqual([{ owner: ownerRole }])
      const nothing = yield* Migrations.run().pipe(Effect.provide(admin))
      expect(nothing).toMatchObject({ applied: [], version: latest })
    })
  )

  it.scopedLive("gives files that refuse to run statement by statement", () =>
    Effect.gen(function* () {
      const { ownerRole, query } = yield* emptyDatabase
      const [first] = yield* Migrations.generate({ ownerRole })
      const head = (first?.sql ?? "").split("-- Migration 1")[0] ?? ""
      const outcomes: Array<string> = []
      for (const statement of head.split(/;\n(?=\n|set |do )/).filter((text) => text.trim() !== "")) {
        outcomes.push(
          yield* query(statement).pipe(
            Effect.as("done"),
            Effect.catchAllDefect((defect) => Effect.succeed(String(defect)))
          )
        )
      }
      expect(outcomes.at(-1)).toContain("threadline: run this file in one transaction")
    })
  )
})

describe("Migrations.loader", () => {
  const names = Migrations.all.map(({ id, name }) => ({ id, name: `threadline_${name}` }))

  it.scopedLive("works with PgMigrator", () =>
    Effect.gen(function* () {
      const { database, ownerRole, query } = yield* emptyDatabase
      const client = PgClient.layerFromPool({ acquire: poolOf(database.url, 2) })
      const migrator = PgMigrator.layer({
        loader: Migrations.loader({ ownerRole }),
        table: "threadline_migrations"
      }).pipe(Layer.provideMerge(client), Layer.provide(NodeContext.layer))
      yield* Layer.build(migrator)
      yield* Layer.build(Layer.fresh(migrator))
      expect(yield* query("select migration_id as id, name from threadline_migrations order by 1")).toEqual(names)
      expect(yield* query(ownersOf)).toEqual([{ owner: ownerRole }])
      const tables = "select tableowner::text as owner from pg_tables where tablename = 'threadline_migrations'"
      expect(yield* query(tables)).toEqual([{ owner: new URL(database.url).username }])
      expect((yield* Migrations.status().pipe(Effect.provide(client))).state).toBe("current")
    })
  )

  it.scopedLive("goes on from what run applied", () =>
    Effect.gen(function* () {
      const { admin, ownerRole, query } = yield* emptyDatabase
      yield* Migrations.run({ ownerRole, to: 1 }).pipe(Effect.provide(admin))
      const loader = Migrations.loader({ ownerRole })
      yield* PgMigrator.make({})({ loader, table: "threadline_migrations" }).pipe(Effect.provide(admin))
      expect(yield* query("select id from threadline.migrations order by id")).toEqual(
        Migrations.all.map(({ id }) => ({ id }))
      )
    })
  )
})

describe("a migration of the host", () => {
  it.scopedLive("installs Threadline, and the host's next one is run", () =>
    Effect.gen(function* () {
      const { admin, ownerRole, query } = yield* emptyDatabase
      const create = (table: string) =>
        Effect.flatMap(SqlClient.SqlClient, (sql) => sql`create table ${sql(table)} (id int primary key)`)
      const first = {
        "0001_posts": create("posts"),
        "0002_threadline": Migrations.run({ ownerRole })
      }
      const next = { ...first, "0003_users": create("users") }
      for (const steps of [first, next, next]) {
        yield* PgMigrator.make({})({ loader: PgMigrator.fromRecord(steps) }).pipe(Effect.provide(admin))
      }
      expect(yield* query("select migration_id as id, name from effect_sql_migrations order by 1")).toEqual([
        { id: 1, name: "posts" },
        { id: 2, name: "threadline" },
        { id: 3, name: "users" }
      ])
      expect((yield* Migrations.status().pipe(Effect.provide(admin))).state).toBe("current")
    })
  )
})

describe("a comparison", () => {
  const file = (id: number) => ({ id, name: `m${id}`, checksum: `c${id}`, sql: "" })
  const row = (id: number, checksum = `c${id}`) => ({
    id,
    name: `m${id}`,
    checksum,
    applied_at: "2030-01-01T00:00:00.000000Z",
    applied_by: "postgres"
  })
  const files = [file(1), file(2), file(3)]

  it("goes id by id: a lower one that is missing is pending", () => {
    const result = compare.compare(files, [row(1), row(3)])
    expect(result).toMatchObject({ state: "behind", version: 3, pending: [file(2)] })
  })

  it("wants every repeated row to agree", () => {
    expect(compare.compare(files, [row(1), row(2), row(3), row(2)]).state).toBe("current")
    expect(compare.compare(files, [row(1), row(2), row(3), row(2, "x")]).state).toBe("mismatch")
  })

  it("puts a newer schema before a mismatch", () => {
    expect(compare.compare(files, [row(1, "x"), row(4)]).state).toBe("newer")
  })
})

// A machine with nothing but Node has no pg_dump: there the tests are not defined.
if (Installation.withTools() !== undefined) {
  describe("Migrations, with the tools of PostgreSQL,", () => {
    it.scopedLive("restores a data-only dump into a migrated schema", () =>
      Effect.gen(function* () {
        const cluster = yield* TestCluster.make({ tools: true })
        const psql = (database: string, input: string) =>
          cluster.run("psql", ["-qXAt", "-v", "ON_ERROR_STOP=1", "-d", cluster.urlOf(database)], input)
        yield* psql("postgres", "create database before; create database after;")
        const text = yield* Migrations.render()
        yield* psql("before", text)
        yield* psql("after", text)
        const dump = yield* cluster.run("pg_dump", ["--data-only", "-d", cluster.urlOf("before")])
        yield* psql("after", dump)
        expect(yield* psql("after", "select count(*) from threadline.migrations")).toBe(`${2 * latest}\n`)
        const after = yield* pooledClient(cluster.urlOf("after"))
        expect(yield* Migrations.run().pipe(Effect.provide(after))).toMatchObject({ applied: [], version: latest })
      })
    )

    it.scopedLive("upgrades what a full dump brought to another cluster", () =>
      Effect.gen(function* () {
        const from = yield* TestCluster.make({ tools: true })
        const to = yield* TestCluster.make({ tools: true })
        yield* from.run("psql", ["-qX", "-v", "ON_ERROR_STOP=1", "-d", from.url], yield* Migrations.render({ to: 1 }))
        const dump = yield* from.run("pg_dump", ["--no-owner", "--schema=threadline", "-d", from.url])
        yield* to.run("psql", ["-qX", "-v", "ON_ERROR_STOP=1", "-d", to.url], dump)
        const result = yield* Migrations.run().pipe(Effect.provide(yield* pooledClient(to.url)))
        expect(result).toMatchObject({ version: latest, owner: "postgres" })
        expect(result.notices).toEqual([expect.stringContaining("belongs to the superuser postgres")])
      })
    )
  })
}
