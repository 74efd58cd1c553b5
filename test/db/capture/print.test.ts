import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Capture from "../../../src/Capture.js"
import { apply, changes, findingKinds, fresh, plan, refusal, run, status, value } from "../../support/capture.js"
import * as TestDatabase from "../../harness/TestDatabase.js"

const print = (tables: ReadonlyArray<Capture.TableConfig>) =>
  Effect.flatMap(Capture.Capture, (capture) => capture.print(tables))

/** Runs a file as a migration tool would: whole, in one transaction. */
const runFile = (text: string) =>
  Effect.scoped(
    Effect.gen(function* () {
      const database = yield* TestDatabase.TestDatabase
      const client = yield* database.rawClient()
      yield* Effect.promise(() => client.query(`begin; ${text}; commit`))
    })
  )

const tables = run(
  "create table posts (id int primary key, secret text)",
  `create schema "Odd.Schema"`,
  `create table "Odd.Schema"."line\nbreak" (id int primary key) partition by range (id)`,
  `create table "Odd.Schema".leaf partition of "Odd.Schema"."line\nbreak" for values from (0) to (10)`
)
const config = [
  { table: "posts", mask: ["secret"] },
  { table: `"Odd.Schema"."line\nbreak"`, always: true }
]

describe("Capture.print", () => {
  it.effect("gives files that capture the tables as apply would", () =>
    fresh(
      Effect.gen(function* () {
        yield* tables
        const files = yield* print(config)
        expect(files.map(({ name }) => name)).toEqual([
          "capture_public_posts.sql",
          expect.stringMatching(/^capture_odd_schema_line_break_[0-9a-f]{8}\.sql$/)
        ])
        for (const file of files) {
          expect(file.sql).not.toMatch(/[0-9]{5}::(oid|regclass)/)
          yield* runFile(file.sql)
        }
        expect(yield* plan(config)).toEqual([])
        expect(findingKinds(yield* status(config))).toEqual([])
        yield* run("insert into posts values (1, 'x')", `insert into "Odd.Schema".leaf values (1)`)
        expect(yield* changes).toEqual(["posts insert 1", "line\nbreak insert 1"])
        expect(yield* value("select data_after ->> 'secret' from threadline.audit_changes order by id limit 1")).toBe(
          "[masked]"
        )
      })
    )
  )

  it.effect("prints the same whatever is installed, and may be run again", () =>
    fresh(
      Effect.gen(function* () {
        yield* tables
        const before = yield* print(config)
        yield* apply(config)
        const after = yield* print(config)
        // What was granted need not be granted again.
        const ungranted = (text: string) => text.replaceAll(/\ngrant [^;]*;\n/g, "")
        expect(after.map(({ sql }) => ungranted(sql))).toEqual(before.map(({ sql }) => ungranted(sql)))
        yield* run("insert into posts values (1, 'x')")
        for (const { sql } of before) {
          yield* runFile(sql)
        }
        expect(yield* plan(config)).toEqual([])
        expect(yield* changes).toEqual(["posts insert 1"])
      })
    )
  )

  it.effect("refuses what apply refuses", () =>
    fresh(
      Effect.gen(function* () {
        yield* tables
        expect(yield* refusal(print([{ table: "posts", exclude: ["id"] }]))).toMatchObject({ reason: "KeyRedacted" })
        expect(yield* refusal(print([{ table: "nothing" }]))).toMatchObject({ reason: "UnknownTable" })
      })
    )
  )
})
