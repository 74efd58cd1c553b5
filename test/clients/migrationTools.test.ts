/** Threadline among the migrations of a host, run by the tools that hosts have. */
import * as PgMigrator from "@effect/sql-pg/PgMigrator"
import * as SqlClient from "@effect/sql/SqlClient"
import { NodeContext } from "@effect/platform-node"
import { expect, it } from "@effect/vitest"
import { drizzle } from "drizzle-orm/node-postgres"
import { migrate } from "drizzle-orm/node-postgres/migrator"
import * as Effect from "effect/Effect"
import { runner } from "node-pg-migrate"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import pg from "pg"
import * as Capture from "../../src/Capture.js"
import * as Migrations from "../../src/Migrations.js"
import * as TestDatabase from "../harness/TestDatabase.js"

const createPosts = "create table posts (id int primary key, title text)"
const config = [{ table: "posts" }]

/** Threadline is whole, the table is captured as configured, and a write of it is recorded. */
const works = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  expect((yield* Migrations.status()).pending).toEqual([])
  const [status] = yield* Capture.status(config)
  expect(status?.findings).toEqual([])
  yield* sql`insert into posts values (1, 'x')`
  expect(yield* sql`select op, row_key from threadline.audit_changes`).toEqual([{ op: "insert", row_key: "1" }])
}).pipe(Effect.provide(Capture.layer))

/** A database without Threadline, and its URL. */
const fresh = <A, E>(
  use: (url: string) => Effect.Effect<A, E, SqlClient.SqlClient | TestDatabase.TestDatabase>
): Effect.Effect<A, unknown> =>
  Effect.flatMap(TestDatabase.TestDatabase, ({ url }) => use(url)).pipe(
    Effect.provide(TestDatabase.layerWith({ schema: false }))
  )

const files = Effect.map(Migrations.generate(), (generated) =>
  generated.map(({ file, sql }) => ({ name: file.replace(/\.sql$/, ""), sql }))
)

/** The file that captures the tables, from a database like the host's: where it was developed. */
const captureFile = fresh(() =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    yield* Migrations.run()
    yield* sql.unsafe(createPosts)
    return yield* Capture.print(config)
  }).pipe(Effect.provide(Capture.layer))
)

const withClient = (url: string, body: (client: pg.Client) => Promise<void>) =>
  Effect.promise(async () => {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    try {
      await body(client)
    } finally {
      await client.end()
    }
  })

it.live("the Migrator of @effect/sql installs Threadline and captures a table that the same run made", () =>
  fresh(() =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const step = (text: string) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(text))
      const first = {
        "0001_posts": step(createPosts),
        "0002_threadline": Migrations.run(),
        "0003_capture": Capture.migration(config)
      }
      const run = (steps: Record<string, Effect.Effect<unknown, unknown, SqlClient.SqlClient>>) =>
        PgMigrator.run({ loader: PgMigrator.fromRecord(steps) }).pipe(Effect.provide(NodeContext.layer))
      expect((yield* run(first)).map(([id]) => id)).toEqual([1, 2, 3])
      yield* works
      // Later steps are neither skipped nor bound by the lock timeout of the capture; a capture may be repeated.
      const timeout = step("create table waits as select current_setting('lock_timeout') as timeout")
      const again = { ...first, "0004_capture": Capture.migration(config), "0005_later": timeout }
      expect((yield* run(again)).map(([id]) => id)).toEqual([4, 5])
      expect(yield* sql`select timeout from waits`).toEqual([{ timeout: "0" }])
    })
  )
)

it.live("a step that cannot capture fails, and the whole run is undone", () =>
  fresh(() =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const steps = {
        "0001_threadline": Migrations.run(),
        "0002_capture": Capture.migration([{ table: "missing" }])
      }
      const exit = yield* Effect.exit(
        PgMigrator.run({ loader: PgMigrator.fromRecord(steps) }).pipe(Effect.provide(NodeContext.layer))
      )
      expect(exit._tag).toBe("Failure")
      expect(yield* sql`select from pg_namespace where nspname = 'threadline'`).toEqual([])
    })
  )
)

it.live("drizzle-kit: custom migrations in its folder, run by the migrator of Drizzle", () =>
  fresh((url) =>
    Effect.gen(function* () {
      const steps = [
        { name: "0000_posts", sql: createPosts },
        ...(yield* files),
        ...(yield* captureFile).map(({ name, sql }) => ({ name: name.replace(/\.sql$/, ""), sql }))
      ]
      const folder = mkdtempSync(join(tmpdir(), "threadline-drizzle-"))
      mkdirSync(join(folder, "meta"))
      steps.forEach(({ name, sql }) => writeFileSync(join(folder, `${name}.sql`), sql))
      writeFileSync(
        join(folder, "meta", "_journal.json"),
        JSON.stringify({
          version: "7",
          dialect: "postgresql",
          entries: steps.map(({ name }, idx) => ({
            idx,
            version: "7",
            when: 1_700_000_000_000 + idx,
            tag: name,
            breakpoints: false
          }))
        })
      )
      yield* withClient(url, async (client) => {
        await migrate(drizzle(client), { migrationsFolder: folder })
        await migrate(drizzle(client), { migrationsFolder: folder })
      })
      rmSync(folder, { recursive: true })
      yield* works
    })
  )
)

it.live("node-pg-migrate: SQL migrations in its folder, and a file that a step in JavaScript reads", () =>
  fresh((url) =>
    Effect.gen(function* () {
      const steps = [
        { name: "posts", sql: createPosts },
        ...(yield* files),
        ...(yield* captureFile).map(({ name, sql }) => ({ name: name.replace(/\.sql$/, ""), sql }))
      ]
      const folder = mkdtempSync(join(tmpdir(), "threadline-node-pg-migrate-"))
      const nameOf = (index: number, name: string) => `${1_700_000_000_000 + index}_${name}`
      steps.forEach(({ name, sql }, index) => writeFileSync(join(folder, `${nameOf(index, name)}.sql`), sql))
      // The capture again, as a step that is a program.
      const capture = `${nameOf(steps.length - 1, steps.at(-1)?.name ?? "")}.sql`
      writeFileSync(
        join(folder, `${nameOf(steps.length, "again")}.mjs`),
        `import { readFileSync } from "node:fs"
        const file = new URL(${JSON.stringify(capture)}, import.meta.url)
        export const up = (pgm) => pgm.sql(readFileSync(file, "utf8"))`
      )
      const run = () =>
        runner({
          databaseUrl: url,
          dir: folder,
          migrationsTable: "pgmigrations",
          direction: "up",
          log: () => undefined
        })
      const applied = yield* Effect.promise(run)
      expect(applied.length).toBe(steps.length + 1)
      expect(yield* Effect.promise(run)).toEqual([])
      rmSync(folder, { recursive: true })
      yield* works
    })
  )
)

it.live("Flyway and its like: each file in a transaction of its own, in the order of the names", () =>
  fresh((url) =>
    Effect.gen(function* () {
      const steps = [
        createPosts,
        ...(yield* files).map(({ sql }) => sql),
        ...(yield* captureFile).map(({ sql }) => sql)
      ]
      yield* withClient(url, async (client) => {
        for (const sql of steps) {
          await client.query("begin")
          await client.query(sql)
          await client.query("commit")
        }
      })
      yield* works
    })
  )
)

it.live("Prisma migrate: each file is one message of several statements", () =>
  fresh((url) =>
    Effect.gen(function* () {
      const steps = [
        createPosts,
        ...(yield* files).map(({ sql }) => sql),
        ...(yield* captureFile).map(({ sql }) => sql)
      ]
      yield* withClient(url, async (client) => {
        for (const sql of steps) {
          await client.query(sql)
        }
      })
      yield* works
    })
  )
)
