import * as SqlClient from "@effect/sql/SqlClient"
import type { Fragment } from "@effect/sql/Statement"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Table, TableSpan } from "../../../src/internal/record/tables.js"
import { make } from "../../../src/internal/record/storage.js"
import { type Nearest, stretchOf } from "../../../src/internal/rows/candidates.js"
import { knownChanges, nearestChangesOfKeys, truncatesBehind } from "../../../src/internal/rows/near.js"
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

/** The texts of keys that a stretch may begin or end with: one of them begins another one, or is empty, or is not ASCII. */
const texts = ["", "1", "1\u0001", "10", "2", "[", "a", "aa", "é", "\u{10ffff}"]

/** Some changes of these keys, the same each time: inserts, updates, rows that move and rows that move to no key. */
const wild = (seed: number): ReadonlyArray<ChangeSeed> => {
  let state = seed
  const below = (end: number): number => {
    state = (state * 48271) % 2147483647
    return state % end
  }
  const key = () => texts[Math.min(below(texts.length), below(texts.length))] ?? ""
  return Array.from({ length: 80 }, (_, place): ChangeSeed => {
    const own = below(12) === 0 ? null : key()
    const op = own === null ? "update" : (["insert", "update", "delete"] as const)[below(3)]
    return {
      id: String(place + 1),
      transactionId: String(1 + Math.floor(place / 3)),
      at: at(10 + Math.floor(place / 2)),
      op: op ?? "update",
      key: own,
      ...(op === "update" && (own === null || below(3) === 0) ? { previousKey: key(), fields: ["id"], from: {} } : {}),
      ...(below(4) === 0 ? { table: "notes" } : {}),
      after: op === "delete" ? null : {}
    }
  })
}

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
                    nearestChangesOfKeys(storage, table, asked, side, count, { at: at(second), since, until }),
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

    it.effect("are found with all keys of a table, stretch by stretch", () =>
      Effect.gen(function* () {
        const storage = yield* make
        const bytes = (left: string, right: string) => Buffer.compare(Buffer.from(left), Buffer.from(right))
        let without = 0
        let seen = 0
        for (const seed of [1, 7, 1234]) {
          const log = wild(seed)
          yield* reset
          yield* write({
            transactions: Array.from({ length: 27 }, (_, place) => ({ id: String(place + 1), occurredAt: at(0) })),
            changes: log
          })
          const own = log.filter(({ table }) => table === undefined)
          const entriesOf = (key: string) =>
            own.filter(({ key: row, previousKey }) => row === key || (previousKey === key && row !== key))
          for (const [range, entries, second, since, until] of [
            [{ after: undefined, before: undefined }, 4, 30, undefined, undefined],
            [{ after: undefined, before: undefined }, 200, 9, undefined, undefined],
            [{ after: undefined, before: undefined }, 60, 30, at(29), undefined],
            [{ after: undefined, before: undefined }, 13, 9, undefined, undefined],
            [{ after: undefined, before: undefined }, 1000, 20, at(15), at(40)],
            [{ after: "1", before: undefined }, 7, 20, undefined, at(31)],
            [{ after: "", before: "aa" }, 9, 25, at(12), undefined],
            [{ after: "10", before: "é" }, 500, 9, undefined, undefined],
            [{ after: "\u{10ffff}", before: undefined }, 5, 30, undefined, undefined]
          ] as const) {
            const around = { at: at(second), since, until }
            const found: Array<string> = []
            const nearest = new Map<string, Nearest | undefined>()
            for (let after: string | undefined = range.after; ;) {
              const stretch = yield* stretchOf(storage, always, { after, before: range.before }, entries, around)
              found.push(...stretch.keys)
              stretch.nearestByKey.forEach((near, key) => nearest.set(key, near))
              if (stretch.upTo === undefined) break
              expect(bytes(stretch.upTo, after ?? "")).toBeGreaterThanOrEqual(after === undefined ? 0 : 1)
              after = stretch.upTo
            }
            expect(found, `${seed} ${entries}`).toEqual([...new Set(found)].sort(bytes))
            for (const key of texts) {
              const inRange =
                (range.after === undefined || bytes(key, range.after) > 0) &&
                (range.before === undefined || bytes(key, range.before) < 0)
              const captured = entriesOf(key).filter((each) => each.at >= (since ?? "") && each.at < (until ?? "z"))
              const before = captured.filter((each) => each.at <= around.at)
              const [first, next] = before.length > 0 ? [...before].reverse() : captured
              if (!inRange || first === undefined) {
                expect(nearest.get(key)).toBeUndefined()
                expect(inRange ? entriesOf(key).length > 0 || !found.includes(key) : !found.includes(key)).toBe(true)
                continue
              }
              seen += 1
              const label = `${seed} ${entries} ${JSON.stringify(key)}`
              expect(found, label).toContain(key)
              const arrives = first.op === "insert" || (first.key === key && (first.previousKey ?? key) !== key)
              if (!nearest.has(key)) {
                const isBusy = log.filter((each) => each.key === key || each.previousKey === key).length * 4 >= entries
                expect(isBusy || first.key === null || next?.key === null, label).toBe(true)
              } else if (nearest.get(key) === undefined) {
                without += 1
                expect(before.length === 0 && arrives && first.transactionId !== next?.transactionId, label).toBe(true)
              } else {
                expect(before.length > 0 || !arrives || first.transactionId === next?.transactionId, label).toBe(true)
                const near = nearest.get(key)
                expect([near?.side, near?.entry.id, near?.second?.id], label).toEqual([
                  before.length > 0 ? "before" : "after",
                  first.id,
                  next?.id
                ])
              }
            }
          }
        }
        expect([without > 10, seen > 60]).toEqual([true, true])
      })
    )

    it.effect("are read where they are, under whichever name", () =>
      Effect.gen(function* () {
        yield* reset
        yield* write({ transactions: [{ id: "1", occurredAt: at(0) }], changes })
        const storage = yield* make
        const places = changes.flatMap(({ at, id, key }, place) =>
          key === null || key === undefined ? [] : [{ key, nth: (place % 2) as 0 | 1, row_key: key, at, id }]
        )
        for (const side of ["before", "after"] as const) {
          const of = (table: Table) =>
            selected(knownChanges(storage, table, places, side), "r.key, r.captured_at, r.id")
          const rows = yield* of(always)
          expect(rows.length).toBeGreaterThan(10)
          expect(rows).toEqual(yield* of(anew(27)))
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
              ${nearestChangesOfKeys(storage, always, ["1"], side, 4, { at: "2026-03-02T00:00:00Z", since: undefined, until: undefined })}`,
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
