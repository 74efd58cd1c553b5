/** A log of some months, and the reads of it that functions of the database answer with plans that they keep. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { Budget } from "../../src/internal/rows/keyWalk.js"
import * as Query from "../../src/Query.js"
import type { Log } from "./query.js"

/** The last month has no partition of its own among those of the tests. */
export const months = ["2026-01", "2026-02", "2026-03", "2026-05"] as const

type Month = (typeof months)[number]

const actor = { type: "user", id: "42" } as const

/** So many transactions a month, each of a few changes. */
const each = 12

/** 60 changes in each of these months: rows come, change, move and go, and of each month some stay. */
export const seeds = (of: ReadonlyArray<Month>): Log => {
  const places = of.flatMap((month) =>
    Array.from({ length: each }, (_, step) => ({ month, step, id: (months.indexOf(month) + 1) * 1000 + step }))
  )
  const instant = (month: string, step: number, part: number): string =>
    `${month}-${String(step * 2 + 1).padStart(2, "0")}T00:00:0${part}.000000Z`
  return {
    transactions: places.map(({ id, month, step }) => ({
      id: String(id),
      occurredAt: instant(month, step, 0),
      actor,
      correlationId: "c"
    })),
    changes: places.flatMap(({ id, month, step }) => {
      const seed = (part: number) => ({
        id: String(id * 10 + part),
        transactionId: String(id),
        at: instant(month, step, part)
      })
      const key = String(id)
      const moved = String(id + 500)
      const gone = String(id + 100)
      return [
        { ...seed(0), op: "insert", key, after: { id: key, title: "a" } },
        { ...seed(1), op: "update", key, fields: ["title"], from: { title: "a" }, after: { id: key, title: "b" } },
        { ...seed(2), op: "insert", key: gone, after: { id: gone } },
        {
          ...seed(3),
          op: "update",
          key: moved,
          previousKey: key,
          fields: ["id"],
          from: { id: key },
          after: { id: moved }
        },
        { ...seed(4), op: "delete", key: gone, from: { id: gone } }
      ] as const
    })
  }
}

/** No table has few changes, and a stretch of keys is short: a page takes many of them. */
const budget = { entries: 4000, stretch: 80, keys: 400, few: 0 }

/** What the functions answer, about the middle of a month. */
export const answers = (month: Month) =>
  Effect.all({
    rows: Effect.map(Stream.runCollect(Query.asOfRowsStream("posts", `${month}-15T00:00:00Z`)), (rows) => [...rows]),
    keys: Query.asOfKeys("posts", ["1001", "2003", "3501", "4102"], `${month}-15T00:00:00Z`),
    changes: Query.collect({ actor }, { max: 1000 }),
    correlated: Effect.map(
      Query.timeline({ correlationId: "c", table: "posts", to: `${month}-15T00:00:00Z` }),
      (page) => page.items
    ),
    transactions: Effect.map(Query.transactions({ actor, from: `${month}-01T00:00:00Z` }), (page) => page.items)
  }).pipe(Effect.provideService(Budget, budget))
