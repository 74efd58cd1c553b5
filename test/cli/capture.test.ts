import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import * as Cli from "../support/cli.js"
import { scratch } from "../support/scratch.js"

Cli.setup()

const host = Cli.makeHost(`
  create table posts (id bigint primary key, title text, draft text);
  create table users (id uuid primary key default gen_random_uuid(), email text not null, password text);
  create table notes (author text not null, place int not null, body text);
  create unique index on notes (author, place);
  create schema "Odd.Schema";
  create table "Odd.Schema"."T ""x""" (id int primary key, "a b" text)`)

describe("threadline capture", () => {
  it.scoped("plans, applies once, reports and removes", () =>
    Effect.gen(function* () {
      const { query, url } = yield* host
      const tables = [
        "--table=posts",
        "--table",
        "public.users",
        "--exclude=public.users.password",
        "--mask",
        "users.email"
      ]
      const planned = yield* Cli.json(["capture", "plan", ...tables], { url })
      expect(planned).toMatchObject({
        steps: [
          { kind: "attach", table: "public.posts", lessRedaction: [] },
          { kind: "attach", table: "public.users", lessRedaction: [] }
        ]
      })
      const human = yield* Cli.text(["capture", "plan", ...tables], { url })
      expect(human).toContain("public.posts")
      expect(human.split("\n").every((line) => line.length <= 80)).toBe(true)
      expect(yield* Cli.json(["capture", "status"], { url })).toEqual({ tables: [] })
      expect(yield* Cli.text(["capture", "status"], { url })).toBe("No table is captured.\n")

      expect(yield* Cli.json(["capture", "apply", ...tables], { url })).toEqual(planned)
      expect(yield* Cli.text(["capture", "apply", ...tables], { url })).toBe("There was nothing to do.\n")
      expect(yield* Cli.text(["capture", "plan", ...tables], { url })).toBe("Nothing is to be done.\n")
      expect(yield* Cli.json(["capture", "status"], { url })).toMatchObject({
        tables: [
          { table: "public.posts", captured: true, findings: [] },
          { table: "public.users", captured: true, policy: { exclude: ["password"], mask: ["email"] } }
        ]
      })
      expect(yield* Cli.text(["capture", "status"], { url })).toMatch(/^public\.users +captured +id +password +email$/m)

      yield* query("insert into users (email, password) values ('a@example.com', 'hunter2')")
      const timeline = yield* Cli.text(["timeline", "--json"], { url })
      expect(timeline).not.toMatch(/hunter2|a@example\.com/)

      expect(yield* Cli.run(["capture", "remove", "--table", "posts", "--table", "notes"], { url })).toEqual(
        Cli.refusal(1, /public.notes: .*not captured/)
      )
      expect(yield* Cli.json(["capture", "remove", "--table", "posts"], { url })).toMatchObject({
        steps: [{ kind: "detach", table: "public.posts" }]
      })
      yield* query("insert into posts values (1, 'x')")
      expect(yield* Cli.json(["timeline", "--table", "users"], { url })).toMatchObject({ items: [{ op: "insert" }] })
      expect(yield* Cli.json(["timeline"], { url })).toMatchObject({ items: [{ tableName: "users" }] })
    })
  )

  it.scoped("takes tables from the configuration, and --table selects from them", () =>
    Effect.gen(function* () {
      const { url } = yield* host
      const cwd = yield* scratch({
        "threadline.config.ts": `export default {
          tables: {
            posts: { exclude: ["draft"] },
            users: { exclude: ["password"], mask: ["email"] },
            notes: { key: ["author", "place"] }
          }
        }`
      })
      const selected = yield* Cli.json(["capture", "apply", "--table", "public.users"], { url, cwd })
      expect(selected).toMatchObject({ steps: [{ kind: "attach", table: "public.users" }] })
      const plan = yield* Cli.json(["capture", "plan"], { url, cwd })
      expect(plan).toMatchObject({ steps: [{ table: "public.posts" }, { table: "public.notes" }] })
      yield* Cli.text(["capture", "apply"], { url, cwd })
      expect(yield* Cli.json(["capture", "status"], { url, cwd })).toMatchObject({
        tables: expect.arrayContaining([
          expect.objectContaining({
            table: "public.notes",
            policy: expect.objectContaining({
              key: [expect.objectContaining({ name: "author" }), expect.objectContaining({ name: "place" })]
            })
          })
        ])
      })
      const other = yield* scratch({ "threadline.config.json": `{ "tables": ["posts"] }` })
      expect(yield* Cli.run(["capture", "plan"], { url, cwd: other })).toEqual(Cli.refusal(2, /tables\.0: /))
      const fewer = yield* scratch({
        "threadline.config.json": `{ "tables": { "posts": { "exclude": ["draft"] } } }`
      })
      expect(yield* Cli.json(["capture", "plan"], { url, cwd: fewer })).toEqual({ steps: [] })
      expect(yield* Cli.json(["capture", "plan", "--prune"], { url, cwd: fewer })).toMatchObject({
        steps: [{ kind: "detach" }, { kind: "detach" }]
      })
    })
  )

  it.scoped("reads names as SQL does", () =>
    Effect.gen(function* () {
      const { url } = yield* host
      const table = `"Odd.Schema"."T ""x"""`
      const args = ["--table", table, "--exclude", `${table}."a b"`]
      yield* Cli.text(["capture", "apply", ...args], { url })
      expect(yield* Cli.json(["capture", "status"], { url })).toMatchObject({
        tables: [{ table, captured: true, policy: { tableSchema: "Odd.Schema", tableName: `T "x"`, exclude: ["a b"] } }]
      })
      const keyed = ["--table", "NOTES", "--key", "notes.author", "--key=public.notes.place"]
      expect(yield* Cli.json(["capture", "plan", ...keyed], { url })).toMatchObject({
        steps: [{ table: "public.notes", summary: expect.stringContaining("key (author, place)") }]
      })
    })
  )

  it.scoped("refuses what is not there, and less redaction", () =>
    Effect.gen(function* () {
      const { url } = yield* host
      const refused = (args: ReadonlyArray<string>, sentence: RegExp) =>
        Effect.map(Cli.run(["capture", "apply", ...args], { url }), (outcome) =>
          expect(outcome, args.join(" ")).toEqual(Cli.refusal(1, sentence))
        )
      yield* refused(["--table", "nowhere"], /public.nowhere: there is no such table/)
      yield* refused(["--table", "posts", "--mask", "posts.tittle"], /public.posts: .*tittle/)
      yield* refused(["--table", "posts", "--exclude", "posts.id"], /public.posts: .*id/)
      expect(yield* Cli.run(["capture", "status", "--table", "nowhere"], { url })).toEqual(
        Cli.refusal(1, /public.nowhere: there is no such table/)
      )
      yield* refused(["--table", "threadline.audit_changes"], /audit_changes/)
      expect(yield* Cli.json(["capture", "status"], { url })).toEqual({ tables: [] })

      yield* Cli.text(["capture", "apply", "--table", "users", "--exclude", "users.password"], { url })
      yield* refused(["--table", "users"], /password would be more visible.* \(--allow-less-redaction\)/)
      const planned = yield* Cli.text(["capture", "plan", "--table", "users"], { url })
      expect(planned).toContain("Less redaction: public.users shows more than before of password.")
      expect(planned).toContain("refuses it without")
      const allowed = ["capture", "apply", "--table", "users", "--allow-less-redaction"]
      expect(yield* Cli.json(allowed, { url })).toMatchObject({ steps: [{ lessRedaction: ["password"] }] })
    })
  )

  it.scoped("shows the whole of what a plan does, however narrow the terminal", () =>
    Effect.gen(function* () {
      const { query, url } = yield* host
      const columns = Array.from({ length: 9 }, (_, at) => `a_rather_long_name_of_a_secret_${at}`)
      yield* query(`create table secrets (id int primary key, ${columns.map((name) => `${name} text`).join(", ")})`)
      const args = columns.flatMap((name) => ["--exclude", `secrets.${name}`])
      yield* Cli.text(["capture", "apply", "--table", "secrets", ...args], { url })
      for (const command of ["plan", "apply"]) {
        const allowed = command === "apply" ? ["--allow-less-redaction"] : []
        const said = yield* Cli.text(["capture", command, "--table", "secrets", ...allowed], { url })
        expect(columns.filter((name) => said.split(name).length !== 3)).toEqual([])
        expect(said.split("\n").every((line) => line.length <= 80)).toBe(true)
      }
    })
  )

  it.scoped("reports on the tables that were asked for, with commands that can be copied", () =>
    Effect.gen(function* () {
      const { query, url } = yield* host
      const table = `"Odd.Schema"."T ""x"""`
      yield* Cli.text(
        ["capture", "apply", "--table", "posts", "--table", "notes", "--key=notes.author", "--key=notes.place"],
        {
          url
        }
      )
      yield* Cli.text(["capture", "apply", "--table", table, "--exclude", `${table}."a b"`], { url })
      yield* query(`alter table notes add more int; alter table "Odd.Schema"."T ""x""" add more int`)
      yield* query(`alter table posts disable trigger "0_threadline_update"`)

      const status = yield* Cli.text(["capture", "status"], { url })
      const command = "threadline capture apply --table"
      expect(status).toContain(`${command} public.notes --key public.notes.author --key public.notes.place\n`)
      expect(status).toContain(`${command} '${table}' --exclude '${table}."a b"'\n`)
      expect(status).toMatch(/^public\.posts +in part +id$/m)

      expect(yield* Cli.json(["capture", "status", "--table", "posts"], { url })).toMatchObject({
        tables: [{ table: "public.posts", captured: false, findings: [{ kind: "TriggerDisabled" }] }]
      })
      expect(yield* Cli.json(["capture", "status", "--table", "users"], { url })).toMatchObject({
        tables: [{ table: "public.users", captured: false, policy: null, findings: [{ kind: "NotCaptured" }] }]
      })
      expect(yield* Cli.run(["capture", "remove", "--table", "users"], { url })).toEqual(
        Cli.refusal(1, "public.users: it is not captured; capture status lists the tables that are")
      )
    })
  )

  it.scoped("marks the rows of partitions that came and went", () =>
    Effect.gen(function* () {
      const { query, url } = yield* host
      yield* query(`
        create table events (id int, day int, primary key (id, day)) partition by list (day);
        create table events_1 partition of events for values in (1);
        create table events_2 (like events);
        insert into events values (1, 1);
        insert into events_2 values (2, 2)`)
      const apply = ["capture", "apply", "--table", "events", "--mark-partitions"]
      yield* Cli.text(apply, { url })
      yield* query("alter table events attach partition events_2 for values in (2)")
      expect(yield* Cli.text(["capture", "plan", "--table", "events", "--mark-partitions"], { url })).toContain(
        `"threadline capture apply --mark-partitions" with the same tables does it`
      )
      expect(yield* Cli.json(apply, { url })).toMatchObject({ steps: [{ kind: "attach partition" }] })
      yield* query("alter table events detach partition events_1")
      expect(yield* Cli.json(apply, { url })).toMatchObject({
        steps: [
          { kind: "detach partition", marked: true },
          { kind: "refresh", lapse: true, summary: "note the lapse since the table was last known" }
        ]
      })
      expect(yield* Cli.json(["timeline", "--table", "events"], { url })).toMatchObject({
        items: [
          { op: "delete", rowKey: `["1","1"]` },
          { op: "baseline", rowKey: `["2","2"]` }
        ]
      })
    })
  )

  it.scoped("prints SQL that does what apply does", () =>
    Effect.gen(function* () {
      const { query, url } = yield* host
      const args = ["capture", "print", "--table", "posts", "--table", "users", "--mask", "users.email"]
      const cwd = yield* scratch()
      const written = yield* Cli.json([...args, "--output", "sql"], { url, cwd })
      const names = readdirSync(join(cwd, "sql"))
      expect(names).toHaveLength(2)
      expect(written).toMatchObject({ files: [{ table: "public.posts" }, { table: "public.users" }] })
      const printed = yield* Cli.text(args, { url })
      for (const name of names) {
        const sql = readFileSync(join(cwd, "sql", name), "utf8")
        expect(printed).toContain(sql)
        yield* query(`begin; ${sql}\n; commit`)
      }
      expect(yield* Cli.json(["capture", "plan", ...args.slice(2)], { url })).toEqual({ steps: [] })
      const paths = yield* Cli.text([...args, "--output", "sql"], { url, cwd })
      expect(paths.trimEnd().split("\n")).toHaveLength(2)
    })
  )
})
