import * as SqlClient from "@effect/sql/SqlClient"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Query from "../../../src/Query.js"
import { apply, run } from "../../support/capture.js"
import { layerWithCapture } from "../../support/query.js"

/** What a read fails with, in words; undefined if it does not. */
const failure = <A, E, R>(read: Effect.Effect<A, E, R>) =>
  read.pipe(
    Effect.flip,
    Effect.map((error) => (error instanceof Error ? error.message : String(error))),
    Effect.option,
    Effect.map(Option.getOrUndefined)
  )

const suggested = (table: string, column: string, meant?: string) =>
  `column ${column} is not known here: public.${table} has no such column${meant === undefined ? "" : `; did you mean ${meant}?`}`

describe("columns that a read names", () => {
  it.layer(layerWithCapture)("of captured tables", (it) => {
    it.effect("are NotFound with a suggestion if nothing was found and the table never had them", () =>
      Effect.gen(function* () {
        yield* run(`create table orders (id int primary key, total int, "Note" text)`)
        yield* apply([{ table: "orders" }])
        const misspelt = suggested("orders", "totl", "total")
        const check = Effect.gen(function* () {
          for (const filter of [
            { table: "orders", changedField: "totl" },
            { table: "orders", changedField: ["total", "totl"] as const, from: "2099-01-01" },
            { table: "orders", contains: { totl: 1 } },
            { table: "orders", key: 1, contains: { totl: 1 } }
          ] satisfies ReadonlyArray<Query.FilterInput>) {
            expect(yield* failure(Query.timeline(filter)), JSON.stringify(filter)).toBe(misspelt)
            expect(yield* failure(Query.transactions(filter)), JSON.stringify(filter)).toBe(misspelt)
            expect(yield* failure(Query.count(filter)), JSON.stringify(filter)).toBe(misspelt)
            expect(yield* failure(Stream.runDrain(Query.timelineStream(filter))), JSON.stringify(filter)).toBe(misspelt)
          }
          expect(yield* failure(Query.asOfRows("orders", "2099-01-01", { contains: { totl: 1 } }))).toBe(misspelt)
        })
        yield* check
        yield* run("insert into orders values (1, 5, 'a')", "update orders set total = 6")
        yield* check
        expect(yield* Effect.flip(Query.timeline({ table: "orders", changedField: "note" }))).toMatchObject({
          _tag: "threadline/NotFound",
          subject: "column",
          id: "note",
          suggestion: "Note"
        })
        expect(yield* failure(Query.timeline({ table: "orders", changedField: "customer" }))).toBe(
          suggested("orders", "customer")
        )
      })
    )

    it.effect("are not looked at if something was found, or if several tables or none are named", () =>
      Effect.gen(function* () {
        yield* run("create table parcels (id int primary key, weight int)")
        yield* apply([{ table: "parcels" }])
        yield* run("insert into parcels values (1, 5)", "update parcels set weight = 6")
        const { items } = yield* Query.timeline({ table: "parcels", changedField: ["weight", "wieght"] })
        expect(items).toHaveLength(1)
        yield* run("create table crates (id int primary key, weight int)")
        yield* apply([{ table: "crates" }])
        for (const filter of [
          { changedField: "wieght" },
          { schema: "public", changedField: "wieght" },
          { table: ["parcels", "crates"] as const, changedField: "wieght" },
          { table: "parcels", contains: { weight: { wieght: 1 } } }
        ] satisfies ReadonlyArray<Query.FilterInput>) {
          expect((yield* Query.timeline(filter)).items, JSON.stringify(filter)).toEqual([])
        }
      })
    )

    it.effect("are known if the table has them, had them in a captured change, or does not record them", () =>
      Effect.gen(function* () {
        yield* run("create table people (id int primary key, name text, phone text, secret text, email text)")
        yield* apply([{ table: "people", exclude: ["secret"], mask: ["email"] }])
        yield* run("insert into people values (1, 'a', '1', 's', 'e')")
        yield* run("alter table people drop column phone", "alter table people rename column name to full_name")
        yield* run("alter table people add column born date")
        const quiet = ["name", "full_name", "phone", "secret", "email", "born"]
        const check = Effect.gen(function* () {
          for (const column of quiet) {
            expect((yield* Query.timeline({ table: "people", changedField: column })).items, column).toEqual([])
            expect((yield* Query.timeline({ table: "people", contains: { [column]: "none" } })).items).toEqual([])
          }
          expect(yield* failure(Query.timeline({ table: "people", changedField: "phones" }))).toContain("phones")
        })
        yield* check
        yield* apply([{ table: "people", exclude: ["secret"], mask: ["email"] }])
        yield* check
      })
    )

    it.effect("are not judged if the table has more changes than are looked at", () =>
      Effect.gen(function* () {
        yield* run("create table readings (id int primary key, value int)")
        yield* apply([{ table: "readings" }])
        yield* run("insert into readings select n, n from generate_series(1, 10000) n")
        const since = { table: "readings", changedField: "valeu", from: "2099-01-01" }
        expect(yield* failure(Query.timeline(since))).toBe(suggested("readings", "valeu", "value"))
        yield* run("insert into readings values (0, 0)")
        expect((yield* Query.timeline(since)).items).toEqual([])
      })
    )

    it.effect("are not told to a reader under a scope", () =>
      Effect.gen(function* () {
        yield* run("create table letters (id int, box int, text text, primary key (id, box))")
        yield* apply([{ table: "letters" }])
        const sql = yield* SqlClient.SqlClient
        const scoped = (yield* Query.Query).scoped(() => sql`true`)
        expect((yield* scoped.timeline({ table: "letters", changedField: "txet" })).items).toEqual([])
        expect(yield* failure(scoped.history("letters", { id: 1, bxo: 1 }))).not.toContain("did you mean")
      })
    )

    it.effect("of a key are suggested if the key of the table has a similar one", () =>
      Effect.gen(function* () {
        yield* run("create table seats (row_number int, place int, label text, primary key (row_number, place))")
        yield* apply([{ table: "seats" }])
        const meant = "the key of public.seats is (row_number, place); did you mean place?"
        for (const key of [{ row_number: 1, plcae: 2 }, '{"row_number":1,"plcae":2}'] as const) {
          expect(yield* failure(Query.history("seats", key))).toBe(`key: ${meant}`)
          expect(yield* failure(Query.asOf("seats", key, "2026-01-01"))).toBe(`key: ${meant}`)
          expect(yield* failure(Query.asOfKeys("seats", [key], "2026-01-01"))).toBe(`keys: ${meant}`)
        }
        expect(yield* Effect.flip(Query.history("seats", { row_number: 1, plcae: 2 }))).toMatchObject({
          _tag: "threadline/InvalidRequest",
          field: "key",
          rule: "the key of public.seats is (row_number, place)",
          suggestion: "place"
        })
        for (const key of [{ row_number: 1, label: "a" }, { row_number: 1, seat: 2 }, [1]]) {
          expect(yield* failure(Query.history("seats", key))).not.toContain("did you mean")
        }
      })
    )
  })
})
