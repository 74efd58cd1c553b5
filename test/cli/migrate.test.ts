import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Migrations from "../../src/Migrations.js"
import * as Cli from "../support/cli.js"
import { emptyDatabase } from "../support/emptyDatabase.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import { scratch } from "../support/scratch.js"

Cli.setup()

const latest = Migrations.all.length

const ids = Migrations.all.map(({ id, name }) => ({ id, name }))

describe("threadline migrate up and status", () => {
  it.scoped("install once, and say what is there", () =>
    Effect.gen(function* () {
      const { ownerRole, query, url } = yield* emptyDatabase
      expect(yield* Cli.json(["migrate", "status"], { url })).toEqual({
        schema: "threadline",
        state: "absent",
        owner: null,
        version: 0,
        latest,
        watch: "off",
        concerns: [],
        applied: [],
        pending: ids,
        mismatched: [],
        unknown: []
      })
      const first = yield* Cli.json(["migrate", "up", "--to", "1", "--owner-role", ownerRole], { url })
      expect(first).toEqual({
        schema: "threadline",
        owner: ownerRole,
        version: 1,
        applied: ids.slice(0, 1),
        partitions: [],
        watch: "off",
        notices: []
      })
      const behind = yield* Cli.text(["migrate", "status"], { url })
      expect(behind).toContain("pending")
      expect(behind).toContain(`The schema threadline is behind this version and belongs to ${ownerRole}.`)
      const rest = yield* Cli.text(["migrate", "up"], { url })
      expect(rest).toBe(
        [
          ...ids.slice(1).map(({ id, name }) => `applied ${id} ${name}`),
          `The schema threadline is at ${latest} and belongs to ${ownerRole}.`,
          ""
        ].join("\n")
      )
      expect(yield* Cli.text(["migrate", "up"], { url })).toBe(
        `The schema threadline is at ${latest}; there was nothing to apply.\n`
      )
      const status = yield* Cli.text(["migrate", "status"], { url })
      expect(status.split("\n").every((line) => line.length <= 80)).toBe(true)
      expect(status).toContain("The schema threadline is up to date")
      expect(yield* Cli.json(["migrate", "status"], { url })).toMatchObject({ state: "current", version: latest })
      expect(yield* query("select threadline.schema_version() as version")).toEqual([{ version: latest }])
    })
  )

  it.scoped("refuse what they must not touch", () =>
    Effect.gen(function* () {
      const { database, ownerRole, query, url } = yield* emptyDatabase
      const up = ["migrate", "up", "--owner-role", ownerRole]

      yield* query("create schema taken; create table taken.t (id int)")
      expect(yield* Cli.run([...up, "--schema", "taken"], { url })).toEqual(
        Cli.refusal(1, /the schema taken holds other objects/)
      )

      const app = yield* database.role("app")
      expect(yield* Cli.run(up, { url: app.url })).toEqual(Cli.refusal(3, /permission denied for database/))

      yield* Cli.text(up, { url })
      expect(yield* Cli.run(up, { url: app.url })).toEqual(Cli.refusal(3, /may not act as that role/))
      expect(yield* Cli.run(["migrate", "status"], { url: app.url })).toEqual(
        Cli.refusal(3, /may not read the migrations of the schema/)
      )

      yield* query("update threadline.migrations set checksum = 'x' where id = 1")
      expect(yield* Cli.run(up, { url })).toEqual(
        Cli.refusal(1, /migration 1 \(storage\) was applied with other statements/)
      )
      const mismatch = yield* Cli.run(["migrate", "status", "--json"], { url })
      expect(mismatch).toMatchObject({ code: 1, stderr: "" })
      expect(JSON.parse(mismatch.stdout)).toMatchObject({ state: "mismatch", mismatched: [{ id: 1, checksum: "x" }] })

      yield* query("insert into threadline.migrations (id, name, checksum) values (99, 'future', 'x')")
      expect(yield* Cli.run(up, { url })).toEqual(Cli.refusal(3, /migrated by a newer Threadline \(migration 99/))
      const newer = yield* Cli.run(["migrate", "status"], { url })
      expect(newer.code).toBe(3)
      expect(newer.stderr).toMatch(/^threadline: the schema threadline was migrated by a newer Threadline[^\n]+\n$/)
    })
  )

  it.scoped("tell of an owner that can log in", () =>
    Effect.gen(function* () {
      const { database, ownerRole, query } = yield* emptyDatabase
      const installer = yield* database.role("installer")
      yield* query(`grant create on database ${database.name} to ${installer.name}`)
      const output = yield* Cli.text(["migrate", "up", "--owner-role", ownerRole], { url: installer.url })
      expect(output).toContain(`belongs to ${installer.name}`)
      expect(output.replaceAll(/\n {2}/g, " ")).toMatch(/^Note: the schema belongs to .* a role that can log in/m)
      expect(output.split("\n").every((line) => line.length <= 80)).toBe(true)
    })
  )
})

describe("threadline migrate print and generate", () => {
  it.scoped("print what migrate up does", () =>
    Effect.gen(function* () {
      const { ownerRole, query, url } = yield* emptyDatabase
      const sql = yield* Cli.text(["migrate", "print", "--owner-role", ownerRole])
      yield* query(sql)
      expect(yield* Cli.json(["migrate", "status"], { url })).toMatchObject({ state: "current", owner: ownerRole })
      expect(yield* Cli.json(["migrate", "print", "--owner-role", ownerRole])).toEqual({ sql })
    })
  )

  it.scoped("print what a database lacks", () =>
    Effect.gen(function* () {
      const { ownerRole, query, url } = yield* emptyDatabase
      yield* Cli.text(["migrate", "up", "--to", "1", "--owner-role", ownerRole], { url })
      const sql = yield* Cli.text(["migrate", "print", "--pending"], { url })
      expect(sql).not.toContain("-- Migration 1:")
      expect(sql).toContain("-- Migration 2:")
      yield* query(sql)
      expect(yield* Cli.text(["migrate", "print", "--pending"], { url })).toBe(
        "-- The schema threadline lacks nothing.\n"
      )
      expect(yield* Cli.json(["migrate", "print", "--pending"], { url })).toEqual({ sql: "" })
    })
  )

  it.scoped("write files, and leave changed ones alone", () =>
    Effect.gen(function* () {
      const cwd = yield* scratch()
      const expected = yield* Migrations.generate()
      const names = expected.map(({ file }) => file)
      expect(yield* Cli.json(["migrate", "generate", "--output", "sql"], { cwd })).toEqual({
        directory: "sql",
        files: names.map((file) => ({ file, written: true }))
      })
      expect(readdirSync(join(cwd, "sql")).sort()).toEqual(names)
      for (const { file, sql } of expected) {
        expect(readFileSync(join(cwd, "sql", file), "utf8")).toBe(sql)
      }
      const again = yield* Cli.text(["migrate", "generate", "--output", "sql"], { cwd })
      expect(again).toBe(names.map((file) => `unchanged ${join("sql", file)}\n`).join(""))

      const first = join(cwd, "sql", names[0] ?? "")
      writeFileSync(first, "-- mine")
      const args = ["migrate", "generate", "--output", "sql"]
      expect(yield* Cli.run(args, { cwd })).toEqual(Cli.refusal(1, /exists with another text; --force replaces it/))
      expect(readFileSync(first, "utf8")).toBe("-- mine")
      yield* Cli.text([...args, "--force"], { cwd })
      expect(readFileSync(first, "utf8")).toBe(expected[0]?.sql)

      writeFileSync(join(cwd, "file"), "")
      expect(yield* Cli.run(["migrate", "generate", "--output", "file"], { cwd })).toEqual(Cli.refusal(1, /file/))
    })
  )
})

describe("threadline grant", () => {
  it.scoped("gives writers and readers what they need, and nothing more", () =>
    Effect.gen(function* () {
      const database = yield* TestDatabase.make()
      const [writer, reader, operator] = yield* Effect.all([
        database.role("writer"),
        database.role("reader"),
        database.role("operator")
      ])
      const args = ["--writer", writer.name, `--reader=${reader.name}`, "--operator", operator.name]
      const { sql } = yield* Cli.json(["grant", ...args, "--print"])
      expect(sql).toBe(yield* Cli.text(["grant", ...args, "--print"]))
      expect(yield* Cli.run(["timeline"], { url: reader.url })).toEqual(Cli.refusal(3, /threadline grant/))

      expect(yield* Cli.text(["grant", ...args], { url: database.url })).toBe(
        `${writer.name} may set context and record actions in threadline.\n` +
          `${reader.name} may read threadline.\n${operator.name} may operate threadline.\n`
      )
      expect(yield* Cli.json(["grant", ...args], { url: database.url })).toEqual({
        writers: [writer.name],
        readers: [reader.name],
        operators: [operator.name],
        applied: true,
        sql
      })

      const ask = (label: string, text: string) =>
        Effect.flatMap(database.rawClient(label), (client) =>
          Effect.promise(() =>
            client.query(text).then(
              () => "done",
              (error: Error) => error.message
            )
          )
        )
      // Made after the grant: the owner's default privileges cover it.
      yield* Effect.flatMap(database.rawClient(), (client) =>
        Effect.promise(() =>
          client.query(`
            begin;
            select set_config('role', pg_get_userbyid(nspowner), true)
              from pg_namespace
              where nspname = 'threadline';
            select threadline.ensure_partitions(now(), now() + interval '5 months');
            commit`)
        )
      )
      const leaves = yield* Effect.flatMap(database.rawClient(), (client) =>
        Effect.promise(async () => {
          const { rows } = await client.query<{ name: string }>(
            "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'threadline.audit_changes'::regclass"
          )
          return rows.map(({ name }) => name)
        })
      )
      expect(leaves.length).toBeGreaterThan(5)
      for (const label of ["reader", "operator"]) {
        for (const table of ["audit_transactions", "audit_actions", "capture_policies", "migrations"]) {
          expect(yield* ask(label, `select from threadline.${table}`)).toBe("done")
        }
        for (const leaf of leaves) {
          expect(yield* ask(label, `select from ${leaf}`)).toBe("done")
        }
        expect(yield* ask(label, "select threadline.schema_version()")).toBe("done")
        expect(yield* ask(label, `select threadline.row_key('public', 'none', '"1"')`)).toMatch(
          /not captured|no .*policy|none/
        )
        expect(yield* ask(label, "delete from threadline.audit_changes")).toMatch(/permission denied/)
        expect(yield* ask(label, "select threadline.set_context('{}')")).toMatch(/permission denied/)
      }
      for (const call of [
        "select threadline.set_context('{}')",
        "begin; select threadline.begin_part('{}'); rollback",
        `select threadline.record_action('{"name": "x"}')`,
        "select threadline.finish('{}')",
        "select threadline.schema_version()"
      ]) {
        expect(yield* ask("writer", call)).toBe("done")
      }
      expect(yield* ask("writer", "select from threadline.audit_changes")).toMatch(/permission denied/)
      expect(yield* ask("writer", "insert into threadline.audit_actions default values")).toMatch(/permission denied/)
      expect(yield* ask("writer", "select threadline.current_transaction()")).toMatch(/permission denied/)

      expect(yield* Cli.json(["timeline"], { url: reader.url })).toEqual({
        items: [],
        nextCursor: null,
        hasMore: false
      })
      expect(yield* Cli.run(["timeline"], { url: writer.url })).toEqual(Cli.refusal(3, /permission denied/))
    })
  )

  it.scoped("refuses a role that is not there, a database without the schema, and one who may not grant", () =>
    Effect.gen(function* () {
      const database = yield* TestDatabase.make()
      const odd = `No "such" role's`
      expect(yield* Cli.run(["grant", "--writer", odd], { url: database.url })).toEqual(
        Cli.refusal(1, /role "No "such" role's" does not exist/)
      )
      const app = yield* database.role("app")
      expect(yield* Cli.run(["grant", "--reader", app.name], { url: app.url })).toEqual(
        Cli.refusal(3, /may not act as the owner of the schema threadline/)
      )
      const bare = yield* TestDatabase.make({ schema: false })
      expect(yield* Cli.run(["grant", "--reader", app.name], { url: bare.url })).toEqual(
        Cli.refusal(3, /threadline migrate up/)
      )
    })
  )
})

describe("a database without the schema, or with another version of it", () => {
  const reads: ReadonlyArray<ReadonlyArray<string>> = [
    ["timeline"],
    ["history", "posts", "1"],
    ["as-of", "posts", "1", "2026-01-01"],
    ["transaction", "1"],
    ["capture", "plan", "--table", "posts"],
    ["capture", "apply", "--table", "posts"],
    ["capture", "remove", "--table", "posts"],
    ["capture", "status"],
    ["capture", "print", "--table", "posts"]
  ]

  it.scoped("cannot be used by anything else", () =>
    Effect.gen(function* () {
      const { ownerRole, query, url } = yield* emptyDatabase
      const check = (sentence: RegExp) =>
        Cli.checkEach(reads, (args) =>
          Effect.map(Cli.run([...args, "--json"], { url }), (outcome) =>
            expect(outcome, args.join(" ")).toEqual(Cli.refusal(3, sentence))
          )
        )
      yield* check(/not installed here or is behind .* run "threadline migrate up"/)
      yield* Cli.text(["migrate", "up", "--to", "1", "--owner-role", ownerRole], { url })
      yield* check(/is at 1 of \d+ migrations; run "threadline migrate up"/)
      yield* Cli.text(["migrate", "up"], { url })
      yield* query("insert into threadline.migrations (id, name, checksum) values (99, 'future', 'x')")
      yield* check(/migrated by a newer Threadline/)
    })
  )
})
