/** Threadline among the migrations of a host, run by the tools that hosts have. */
import * as PgMigrator from "@effect/sql-pg/PgMigrator"
import * as SqlClient from "@effect/sql/SqlClient"
import { NodeContext } from "@effect/platform-node"
import { expect, it } from "@effect/vitest"
import { PrismaPg } from "@prisma/adapter-pg"
import { bindMigrationAwareSqlAdapterFactory } from "@prisma/driver-adapter-utils"
import * as Effect from "effect/Effect"
import { runner } from "node-pg-migrate"
import type { SchemaEngine } from "@prisma/schema-engine-wasm"
import { execFile } from "node:child_process"
import { readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { promisify } from "node:util"
import * as Capture from "../../src/Capture.js"
import * as Migrations from "../../src/Migrations.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import { scratch } from "../support/scratch.js"

const root = join(import.meta.dirname, "../..")

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

/** A directory of a project that has the packages of this one. */
const project = Effect.tap(scratch(), (directory) =>
  Effect.sync(() => symlinkSync(join(root, "node_modules"), join(directory, "node_modules")))
)

/** Runs the command of a tool; what it printed. */
const command = (directory: string, script: string, ...args: ReadonlyArray<string>) =>
  Effect.promise(async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [join(root, "node_modules", script), ...args], {
      cwd: directory,
      env: { ...process.env, NO_COLOR: "1" }
    })
    return stdout
  })

it.live("drizzle-kit makes and runs custom migrations, and wants to change nothing afterwards", () =>
  fresh((url) =>
    Effect.gen(function* () {
      const folder = yield* project
      const kit = (...args: ReadonlyArray<string>) => command(folder, "drizzle-kit/bin.cjs", ...args)
      const table = `import { integer, pgTable, text } from "drizzle-orm/pg-core"
        export const posts = pgTable("posts", { id: integer().primaryKey(), title: text() })`
      writeFileSync(join(folder, "schema.ts"), table)
      writeFileSync(
        join(folder, "drizzle.config.json"),
        JSON.stringify({
          dialect: "postgresql",
          schema: "./schema.ts",
          out: "./drizzle",
          schemaFilter: ["public"],
          dbCredentials: { url }
        })
      )
      yield* kit("generate", "--name", "posts")
      yield* kit("generate", "--custom", "--name", "threadline")
      const made = readdirSync(join(folder, "drizzle")).find((file) => file.endsWith("_threadline.sql")) ?? ""
      const parts = [...(yield* files), ...(yield* captureFile)]
      writeFileSync(join(folder, "drizzle", made), parts.map(({ sql }) => sql).join("\n"))
      yield* kit("migrate")
      yield* kit("migrate")
      expect(yield* kit("push")).toContain("No changes detected")
      yield* works
    }).pipe(Effect.scoped)
  )
)

it.live("node-pg-migrate runs SQL migrations in its folder, and a file that a step in JavaScript reads", () =>
  fresh((url) =>
    Effect.gen(function* () {
      const steps = [
        { name: "posts", sql: createPosts },
        ...(yield* files),
        ...(yield* captureFile).map(({ name, sql }) => ({ name: name.replace(/\.sql$/, ""), sql }))
      ]
      const folder = yield* scratch()
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
      yield* works
    }).pipe(Effect.scoped)
  )
)

it.live("dbmate, which is as Flyway, runs each file in a transaction of its own, in the order of the names", () =>
  fresh((url) =>
    Effect.gen(function* () {
      const steps = [
        { name: "posts", sql: createPosts },
        ...(yield* files),
        ...(yield* captureFile).map(({ name, sql }) => ({ name: name.replace(/\.sql$/, ""), sql }))
      ]
      const folder = yield* project
      steps.forEach(({ name, sql }, index) =>
        writeFileSync(join(folder, `${20260101000000 + index}_${name}.sql`), `-- migrate:up\n${sql}\n-- migrate:down\n`)
      )
      const run = command(
        folder,
        "dbmate/dist/cli.js",
        ...["--url", `${url}?sslmode=disable`, "--migrations-dir", folder, "--no-dump-schema", "migrate"]
      )
      yield* run
      yield* run
      yield* works
    }).pipe(Effect.scoped)
  )
)

/** The engine of `prisma migrate`, as WebAssembly. The command itself downloads the same engine as a program. */
const schemaEngine = async (url: string): Promise<SchemaEngine> => {
  const engine = await import("@prisma/schema-engine-wasm/schema_engine_bg")
  const file = join(root, "node_modules/@prisma/schema-engine-wasm/schema_engine_bg.wasm")
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(file)), {
    "./schema_engine_bg.js": engine
  })
  const { __wbg_set_wasm: setWasm } = engine as unknown as { readonly __wbg_set_wasm: (exports: unknown) => void }
  setWasm(exports)
  ;(exports as { readonly __wbindgen_start: () => void }).__wbindgen_start()
  const postgres = new PrismaPg({ connectionString: url })
  const adapter = bindMigrationAwareSqlAdapterFactory({
    provider: postgres.provider,
    adapterName: postgres.adapterName,
    // The adapter cuts a script at each semicolon. The program sends it whole.
    connect: async () => {
      const connection = await postgres.connect()
      connection.executeScript = async (script) => void (await connection.underlyingDriver().query(script))
      return connection
    },
    connectToShadowDb: () => postgres.connectToShadowDb()
  })
  const schema = `datasource db {
      provider = "postgresql"
    }
    model posts {
      id    Int     @id
      title String?
    }`
  return engine.SchemaEngine.new({ datamodels: [["schema.prisma", schema]] }, () => undefined, adapter)
}

it.live("the engine of Prisma migrate runs each file once", () =>
  fresh((url) =>
    Effect.gen(function* () {
      const steps = [
        { name: "posts", sql: createPosts },
        ...(yield* files),
        ...(yield* captureFile).map(({ name, sql }) => ({ name: name.replace(/\.sql$/, ""), sql }))
      ]
      const migrationsList = {
        baseDir: "migrations",
        lockfile: { path: "migration_lock.toml", content: 'provider = "postgresql"' },
        shadowDbInitScript: "",
        migrationDirectories: steps.map(({ name, sql }, index) => ({
          path: `${20260101000000 + index}_${name}`,
          migrationFile: { path: "migration.sql", content: { tag: "ok" as const, value: sql } }
        }))
      }
      const filters = { externalTables: [], externalEnums: [] }
      yield* Effect.promise(async () => {
        const engine = await schemaEngine(url)
        const { appliedMigrationNames } = await engine.applyMigrations({ migrationsList, filters })
        expect(appliedMigrationNames.length).toBe(steps.length)
        expect((await engine.applyMigrations({ migrationsList, filters })).appliedMigrationNames).toEqual([])
        engine.free()
      })
      yield* works
    })
  )
)
