import * as SqlClient from "@effect/sql/SqlClient"
import { describe, expect, it } from "@effect/vitest"
import * as BigDecimal from "effect/BigDecimal"
import * as Effect from "effect/Effect"
import * as Query from "../../../src/Query.js"
import { apply, now, run } from "../../support/capture.js"
import { layerWithCapture } from "../../support/query.js"

/** Runs a statement and tells the instants before and after it. */
const around = Effect.fnUntraced(function* (...statements: ReadonlyArray<string>) {
  const before = yield* now
  yield* run(...statements)
  return [before, yield* now] as const
})

const rowAt = (table: string, key: Query.KeyInput, instant: string) =>
  Effect.map(Query.asOf(table, key, instant), (answer) =>
    answer._tag === "Present" ? answer.row : answer._tag === "MovedTo" ? `MovedTo ${answer.key}` : answer._tag
  )

describe("Query, of what triggers capture", () => {
  it.layer(layerWithCapture)("reads", (it) => {
    it.effect("know every row as of every instant, whatever one statement does to its keys", () =>
      Effect.gen(function* () {
        yield* run("create table seats (id int primary key deferrable initially deferred, label text not null)")
        yield* run("insert into seats values (7, 'early')")
        yield* apply([{ table: "seats" }])
        const [before, inserted] = yield* around("insert into seats values (1, 'one'), (2, 'two'), (3, 'x'), (4, 'x')")
        const [, swapped] = yield* around("update seats set id = 3 - id where id <= 2")
        const [, shifted] = yield* around("update seats set id = id + 1 where id in (3, 4)")
        const [, away] = yield* around("update seats set id = 8 where id = 7")
        const [, deleted] = yield* around("delete from seats where id = 1")
        const [, truncated] = yield* around("truncate seats")
        const [, again] = yield* around("insert into seats values (1, 'new')")
        const life = (key: number) =>
          Effect.forEach([before, inserted, swapped, shifted, away, deleted, truncated, again], (instant) =>
            Effect.map(rowAt("seats", key, instant), (row) => (typeof row === "string" ? row : row["label"]))
          )
        expect(yield* life(1)).toEqual(["NotYetCreated", "one", "two", "two", "two", "Deleted", "Deleted", "new"])
        expect(yield* life(2)).toEqual(["NotYetCreated", "two", "one", "one", "one", "one", "Deleted", "Deleted"])
        expect((yield* life(3)).slice(0, 4)).toEqual(["NotYetCreated", "x", "x", "MovedTo 4"])
        expect(yield* life(4)).toEqual(["NotYetCreated", "x", "x", "x", "x", "x", "Deleted", "Deleted"])
        expect((yield* life(5)).slice(2, 5)).toEqual(["NotYetCreated", "x", "x"])
        expect(yield* life(7)).toEqual([
          ...Array.from({ length: 4 }, () => "early"),
          ...Array.from({ length: 4 }, () => "MovedTo 8")
        ])
        expect(yield* life(8)).toEqual([
          ...Array.from({ length: 4 }, () => "NotYetCreated"),
          "early",
          "early",
          "Deleted",
          "Deleted"
        ])
        const history = yield* Query.history("seats", 1)
        expect(history.items.map(({ op }) => op)).toEqual(["insert", "delete", "update", "update", "insert"])
        const ended = yield* Query.history("seats", 2)
        expect(ended.items.map(({ op }) => op)).toEqual(["truncate", "update", "update", "insert"])
      })
    )

    it.effect("know rows of equal content that pass each other, whatever was known of them before", () =>
      Effect.gen(function* () {
        yield* run(
          "create table queue (id int primary key deferrable initially deferred, label text not null)",
          "insert into queue values (1, 'x'), (2, 'x'), (3, 'x')"
        )
        yield* apply([{ table: "queue" }])
        for (const shift of [1, 2, 3, 4, 5]) {
          const [before, after] = yield* around("update queue set id = id + 1")
          const rows = (instant: string) =>
            Effect.map(Query.asOfRows("queue", instant), ({ items }) => items.map(({ rowKey }) => rowKey))
          expect(yield* rows(before)).toEqual([0, 1, 2].map((id) => String(id + shift)))
          expect(yield* rows(after)).toEqual([1, 2, 3].map((id) => String(id + shift)))
        }
      })
    )

    it.effect("know them as well where a trigger of the host wrote them again", () =>
      Effect.gen(function* () {
        yield* run(
          "create table lanes (id int primary key deferrable initially deferred, label text not null)",
          "insert into lanes values (1, 'x'), (2, 'x'), (3, 'x')",
          `create function rotate() returns trigger language plpgsql as $$
           begin
             if pg_trigger_depth() = 1 and new.id = 2 then
               update lanes set id = id % 3 + 1;
             end if;
             return null;
           end $$`,
          "create trigger rotate after update on lanes for each row execute function rotate()"
        )
        yield* apply([{ table: "lanes" }])
        const [before, after] = yield* around("update lanes set label = 'y'")
        for (const id of [1, 2, 3]) {
          expect(yield* rowAt("lanes", id, before)).toEqual({ id, label: "x" })
          expect(yield* rowAt("lanes", id, after)).toEqual({ id, label: "y" })
        }
      })
    )

    for (const mode of ["statement", "row"] as const) {
      it.effect(`know which of the rows that share a key for a while is left, in ${mode} mode`, () =>
        Effect.gen(function* () {
          const table = `shared_${mode}`
          yield* run(`create table ${table} (id int primary key deferrable initially deferred, v text not null)`)
          yield* apply([{ table, mode }])
          const start = [
            `delete from ${table}`,
            `insert into ${table} values (1, 'x'), (2, 'y'), (3, 'z')`,
            `update ${table} set v = v || id`
          ]
          for (const statements of [
            // The row that comes to a taken key is written again, and the one that was there goes.
            [
              `update ${table} set id = 2 where v = 'x1'`,
              `update ${table} set v = 'newer' where v = 'x1'`,
              `delete from ${table} where v = 'y2'`
            ],
            [
              `update ${table} set id = 2 where v = 'x1'`,
              `update ${table} set v = 'x+' where v = 'x1'`,
              `update ${table} set id = 1 where v = 'y2'`
            ],
            // It comes and goes, by a delete or to another key, and what was there stays.
            [`insert into ${table} values (3, 'tmp')`, `delete from ${table} where v = 'tmp'`],
            [`update ${table} set id = 3 where v = 'y2'`, `update ${table} set id = 4 where v = 'y2'`],
            // Both are alike, and either goes.
            [
              `insert into ${table} values (3, 'z3')`,
              `delete from ${table} where ctid = (select max(ctid) from ${table})`
            ],
            // Two come, one of them and what was there go.
            [
              `insert into ${table} values (3, 't1')`,
              `insert into ${table} values (3, 't2')`,
              `delete from ${table} where v in ('t1', 'z3')`
            ],
            [
              `insert into ${table} values (3, 't1')`,
              `update ${table} set v = 'z+' where v = 'z3'`,
              `insert into ${table} values (3, 't2')`,
              `delete from ${table} where v = 'z+'`,
              `delete from ${table} where v = 't1'`
            ]
          ]) {
            yield* run(...start)
            const [before, after] = yield* around(["begin", ...statements, "commit"].join("; "))
            const sql = yield* SqlClient.SqlClient
            const rows = yield* sql`select id, v from ${sql(table)} order by id::text collate "C"`
            const asOf = (instant: string) =>
              Effect.map(Query.asOfRows(table, instant), ({ items }) => items.map(({ row }) => row))
            expect([statements, yield* asOf(before)]).toEqual([
              statements,
              [
                { id: 1, v: "x1" },
                { id: 2, v: "y2" },
                { id: 3, v: "z3" }
              ]
            ])
            expect([statements, yield* asOf(after)]).toEqual([statements, rows])
            expect(yield* Effect.forEach(rows, (row) => rowAt(table, Number(row["id"]), after))).toEqual(rows)
          }
        })
      )
    }

    it.effect("see a statement on many rows as a whole", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* run("create table batch (id int primary key, v int not null)")
        yield* apply([{ table: "batch" }])
        yield* run(
          "insert into batch select n, 0 from generate_series(1, 2000) n",
          "update batch set v = 1",
          "delete from batch where id % 2 = 0"
        )
        const instants = yield* sql`
          select op, count(distinct captured_at)::int as instants, count(*)::int as changes
          from threadline.audit_changes
          where table_name = 'batch'
          group by op
          order by op`
        expect(instants).toEqual([
          { op: "delete", instants: 1, changes: 1000 },
          { op: "insert", instants: 1, changes: 2000 },
          { op: "update", instants: 1, changes: 2000 }
        ])
      })
    )

    it.effect("give numbers back as the table holds them", () =>
      Effect.gen(function* () {
        yield* run("create table prices (id bigint primary key, amount numeric(12, 2), ratio float8)")
        yield* apply([{ table: "prices" }])
        const [before, after] = yield* around("insert into prices values (9007199254740993, 1.1, 0.1)")
        const [, changed] = yield* around("update prices set amount = 1.25")
        for (const key of [
          "9007199254740993",
          9007199254740993n,
          [9007199254740993n]
        ] satisfies Array<Query.KeyInput>) {
          expect(yield* rowAt("prices", key, after)).toEqual({
            id: 9007199254740993n,
            amount: BigDecimal.make(110n, 2),
            ratio: BigDecimal.make(1n, 1)
          })
        }
        expect(yield* rowAt("prices", "9007199254740993", before)).toBe("NotYetCreated")
        const [update] = (yield* Query.timeline({ table: "prices", op: "update" })).items
        expect(update && Query.fieldDiffs(update)).toEqual([
          { field: "amount", before: BigDecimal.make(110n, 2), after: BigDecimal.make(125n, 2) }
        ])
        expect(yield* rowAt("prices", "9007199254740993", changed)).toMatchObject({ amount: BigDecimal.make(125n, 2) })
      })
    )

    it.effect("find rows by keys of several columns and odd names, and what a long transaction captured late", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* run(
          `create schema "Odd.Schema"`,
          `create table "Odd.Schema"."T ""x""" ("a.b" text, n numeric, v int, primary key ("a.b", n))`
        )
        const table = `"Odd.Schema"."T ""x"""`
        yield* apply([{ table }])
        const middle = yield* sql.withTransaction(
          Effect.gen(function* () {
            yield* run(`insert into "Odd.Schema"."T ""x""" values ('[1]', 1.50, 1)`)
            const middle = yield* now
            yield* run(`update "Odd.Schema"."T ""x""" set v = 2`)
            return middle
          })
        )
        for (const key of [
          ["[1]", "1.5"],
          { n: "1.500", "a.b": "[1]" },
          '["[1]","1.5"]'
        ] satisfies Array<Query.KeyInput>) {
          const history = yield* Query.history(table, key)
          expect(history.items.map(({ op, rowKey }) => [op, rowKey])).toEqual([
            ["update", '["[1]","1.5"]'],
            ["insert", '["[1]","1.5"]']
          ])
          expect(yield* rowAt(table, key, middle)).toMatchObject({ v: 1 })
        }
        const late = yield* Query.timeline({ table, from: middle })
        expect(late.items.map(({ op }) => op)).toEqual(["update"])
        const early = yield* Query.timeline({ table, to: middle })
        expect(early.items.map(({ op }) => op)).toEqual(["insert"])
      })
    )
  })
})
