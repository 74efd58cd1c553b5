import * as SqlClient from "@effect/sql/SqlClient"
import type { Fragment } from "@effect/sql/Statement"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Table, TableSpan } from "../../../src/internal/record/tables.js"
import { make } from "../../../src/internal/record/storage.js"
import { nearestOfKeys, truncatesBehind } from "../../../src/internal/rows/life.js"
import { at, type ChangeSeed, layer, reset, write } from "../../support/query.js"

const posts = { schema: "public", name: "posts" }

const named = (...times: ReadonlyArray<Pick<TableSpan, "since" | "until">>): Table => ({
  ...posts,
  policy: posts,
  spans: times.map((time) => ({ ...posts, ...time })),
  columns: [],
  present: []
})

/** The same table twice: it always had its name, or it has had it anew since a second. */
const always = named({ since: null, until: null })
const anew = (second: number) => named({ since: null, until: at(second) }, { since: at(second), until: null })

const keys = ["1", "2", "3"]

/** Changes of three keys, one at each second. Some move a row to the next key, some have one time, some are of another table. */
const changes = Array.from({ length: 90 }, (_, place): ChangeSeed => {
  const key = keys[(place * 7) % 3] ?? ""
  const id = String(place + 1)
  const seed = { id, transactionId: "1", at: at(10 + Math.floor(place / 2)), key, after: { id: key, place } }
  return place % 11 === 5
    ? { ...seed, op: "update", previousKey: keys[(place * 7 + 1) % 3] ?? "", fields: ["id"], from: { id: "x" } }
    : place % 13 === 4
      ? { ...seed, op: "truncate", key: null, after: null }
      : { ...seed, op: "insert", ...(place % 17 === 3 ? { table: "notes" } : {}) }
})

/** The rows that a fragment selects, in an order of their own. */
const selected = Effect.fnUntraced(function* (fragment: Fragment, order: string) {
  const sql = yield* SqlClient.SqlClient
  const rows = yield* sql`select to_jsonb(r)::text as row from (${fragment}) r order by ${sql.literal(order)}`
  return rows.map(({ row }) => row)
})

describe("changes near an instant", () => {
  it.layer(layer)("by the function that keeps its plan", (it) => {
    it.effect("are those of the statement for tables that had several names", () =>
      Effect.gen(function* () {
        yield* reset
        yield* write({ transactions: [{ id: "1", occurredAt: at(0) }], changes })
        const storage = yield* make
        let found = 0
        for (const side of ["before", "after"] as const) {
          for (const second of [9, 20, 31, 44, 99]) {
            for (const [since, until] of [
              [undefined, undefined],
              [at(15), undefined],
              [at(0), at(50)]
            ]) {
              for (const [asked, count] of [
                [["1"], 1],
                [["2"], 4],
                [["nobody"], 4],
                [keys, 3],
                [[], 2]
              ] as const) {
                const of = (table: Table) =>
                  selected(
                    nearestOfKeys(storage, table, asked, side, count, { at: at(second), since, until }),
                    "r.own_key, r.captured_at, r.id"
                  )
                const rows = yield* of(always)
                expect(rows, `${side} ${second} ${since} ${asked.join()}`).toEqual(yield* of(anew(27)))
                found += rows.length
              }
            }
          }
        }
        expect(found).toBeGreaterThan(300)
      })
    )

    it.effect("end with the first TRUNCATE, under whichever name", () =>
      Effect.gen(function* () {
        yield* reset
        yield* write({ transactions: [{ id: "1", occurredAt: at(0) }], changes })
        const storage = yield* make
        const { sql } = storage
        const behind = (table: Table) =>
          selected(
            sql`
            select r.own_key, r.follows, r.id
            from (${truncatesBehind(
              storage,
              table,
              sql`
              select c.row_key as own_key, c.id, c.transaction_id, c.captured_at,
                lead(c.captured_at, 1, 'infinity') over life as next_at, lead(c.id, 1, 0) over life as next_id
              from threadline.audit_changes c
              where c.row_key is not null and c.table_name = 'posts'
              window life as (partition by c.row_key order by c.captured_at, c.id)`
            )}) r`,
            "r.own_key, r.follows"
          )
        const truncates = changes.filter(({ op }) => op === "truncate").map(({ id }) => Number(id))
        const expected = keys.flatMap((key) => {
          const life = changes.filter((change) => change.key === key && change.table === undefined)
          return life.flatMap(({ id }, place) => {
            const next = Number(life[place + 1]?.id ?? Number.POSITIVE_INFINITY)
            const first = truncates.find((truncate) => truncate > Number(id) && truncate < next)
            return first === undefined ? [] : [{ own_key: key, follows: Number(id), id: first }]
          })
        })
        expect(expected.length).toBeGreaterThan(5)
        for (const table of [always, anew(27), anew(9), anew(99)]) {
          expect((yield* behind(table)).map((row) => JSON.parse(String(row)) as unknown)).toEqual(expected)
        }
      })
    )

    it.effect("of a row that is always written are read where they are, whatever is known of the table", () =>
      Effect.gen(function* () {
        yield* reset
        const storage = yield* make
        const { sql } = storage
        yield* sql`
          insert into threadline.audit_changes (transaction_id, captured_at, table_schema, table_name, op, row_key)
          select 1, '2026-01-02'::timestamptz + i * interval '10 minutes', 'public', 'posts', 'update', '1'
          from generate_series(1, 15000) i`
        const pages = (side: "before" | "after") =>
          Effect.map(
            sql<{ readonly "QUERY PLAN": ReadonlyArray<{ readonly Plan: { readonly "Shared Hit Blocks": number } }> }>`
              explain (analyze, buffers, format json)
              ${nearestOfKeys(storage, always, ["1"], side, 4, { at: "2026-03-02T00:00:00Z", since: undefined, until: undefined })}`,
            ([plan]) => plan?.["QUERY PLAN"][0]?.Plan["Shared Hit Blocks"]
          )
        for (const analyzed of [false, true]) {
          if (analyzed) yield* sql`analyze threadline.audit_changes`
          for (const side of ["before", "after"] as const) {
            // The first call makes the plan, and reads the catalog for it.
            yield* pages(side)
            expect(yield* pages(side)).toBeLessThan(200)
          }
        }
      })
    )
  })
})
