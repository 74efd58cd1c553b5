/** The schema watch from the command line. */
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Cli from "../support/cli.js"
import { emptyDatabase } from "../support/emptyDatabase.js"

Cli.setup()

describe("the schema watch", () => {
  it.scoped("is turned on and off, printed, and its events are listed and shown in a row's history", () =>
    Effect.gen(function* () {
      const { database, ownerRole, query, url } = yield* emptyDatabase
      const up = ["migrate", "up", "--owner-role", ownerRole]
      expect(yield* Cli.run([...up, "--watch-schema", "--no-watch-schema"], { url })).toEqual(
        Cli.refusal(2, /exclude each other/)
      )
      expect(yield* Cli.text([...up, "--watch-schema"], { url })).toContain("The schema watch is on.\n")
      expect(yield* Cli.json(["migrate", "status"], { url })).toMatchObject({ state: "current", watch: "on" })
      expect(yield* Cli.json([...up, "--no-watch-schema"], { url })).toMatchObject({ watch: "off" })

      // What a database lacks that lacks no migration.
      const printed = yield* Cli.text(["migrate", "print", "--pending", "--watch-schema"], { url })
      yield* query(printed)
      expect(yield* Cli.text(["migrate", "status"], { url })).toContain("The schema watch is on.")

      const app = yield* database.role("app")
      yield* query(`grant ${ownerRole} to ${app.name}`)
      expect(yield* Cli.run(["migrate", "up", "--watch-schema"], { url: app.url })).toEqual(
        Cli.refusal(3, /run it as a superuser, or on a managed service/)
      )
      expect(yield* Cli.json(["migrate", "up"], { url: app.url })).toMatchObject({ watch: "on" })

      expect(yield* Cli.text(["schema", "events", "--effect", "failed"], { url })).toContain("No event of the schema")
      yield* query("create table posts (id int primary key, v text)")
      yield* Cli.text(["capture", "apply", "--table", "posts"], { url })
      yield* query("insert into posts values (1, 'a')")
      yield* query("alter table posts disable trigger all")
      yield* query("alter table posts enable trigger all")
      yield* query("update posts set v = 'b'")
      expect(yield* Cli.json(["schema", "events", "--table", "posts", "--limit", "2"], { url })).toMatchObject({
        items: [
          { command: "ALTER TABLE", effect: "lapse ends", tableName: "posts" },
          { command: "ALTER TABLE", effect: "lapse begins", details: { gap: "triggers" } }
        ],
        hasMore: true
      })
      const table = yield* Cli.text(["schema", "events"], { url })
      for (const part of ["ALTER TABLE  table public.pos", "lapse begins", "(triggers)"]) {
        expect(table).toContain(part)
      }
      const history = yield* Cli.text(["history", "posts", "1"], { url })
      expect(
        history
          .split("\n")
          .filter((line) => /^\d{4}-/.test(line))
          .map((line) => line.slice(21).replace(/, by .*/, ""))
      ).toEqual([
        "update posts 1",
        "-- ALTER TABLE table public.posts: lapse ends",
        "-- ALTER TABLE table public.posts: lapse begins (triggers)",
        "insert posts 1"
      ])
      expect(yield* Cli.json(["history", "posts", "1"], { url })).toMatchObject({
        items: [{ op: "update" }, { op: "insert" }],
        schemaEvents: [{ effect: "lapse ends" }, { effect: "lapse begins" }]
      })
      yield* query(`alter table posts rename v to "Body"`)
      expect(yield* Cli.text(["schema", "events", "--wide"], { url })).toContain(
        '  table column v -> public.posts."Body"  '
      )
      expect(yield* Cli.text(["history", "posts", "1"], { url })).toContain(
        '-- ALTER TABLE table column v -> public.posts."Body": renamed, by '
      )
      expect(yield* Cli.text(["capture", "status"], { url })).toContain("The schema watch is on.")
      expect(yield* Cli.run(["schema", "events", "--table", "postz"], { url })).toEqual(Cli.refusal(1, /postz/))
      expect(yield* Cli.run(["schema", "events", "--effect", "lapsed"], { url })).toEqual(Cli.refusal(2, /--effect/))
    })
  )
})
