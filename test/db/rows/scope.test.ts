import { describe, expect, it } from "@effect/vitest"
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as sets from "../../../src/internal/rows/asOfRows.js"
import { Budget } from "../../../src/internal/rows/keyWalk.js"
import { asOf } from "../../../src/internal/rows/asOf.js"
import { diff, diffBetween } from "../../../src/internal/rows/diff.js"
import { history, type HistoryOptions } from "../../../src/internal/rows/history.js"
import { restricted } from "../../../src/internal/record/restriction.js"
import type { ReadScope } from "../../../src/internal/record/scope.js"
import * as storages from "../../../src/internal/record/storage.js"
import type * as Query from "../../../src/Query.js"
import * as Runtime from "effect/Runtime"
import { change, insert, record, remove, update } from "../../support/changes.js"
import * as Model from "../../support/queryModel.js"
import { at, layer, reset, write } from "../../support/query.js"
import { runs } from "../../support/runs.js"

/** The reads of somebody who may see what a scope lets through. */
const reader = (scope: ReadScope) =>
  Effect.gen(function* () {
    const storage = yield* restricted(yield* storages.make, { scopes: [scope], scopeRequired: true })
    return {
      asOf: (key: string, instant: string) => asOf(storage, "posts", key, instant),
      every: (instant: string, options: sets.AsOfRowsOptions) => sets.asOfRows(storage, "posts", instant, options),
      history: (key: string, options: HistoryOptions = {}) => history(storage, "posts", key, options),
      shown: (key: string, options: HistoryOptions = {}) =>
        Effect.map(history(storage, "posts", key, options), (page) => page.items.map(({ id }) => id)),
      answers: (key: string, ...seconds: ReadonlyArray<number>) =>
        Effect.forEach(seconds, (second) =>
          Effect.map(asOf(storage, "posts", key, at(second)), (answer) =>
            answer._tag === "Present" ? answer.row : answer._tag
          )
        ),
      diff: (id: string) => diff(storage, id),
      diffBetween: (from: number, to: number) => diffBetween(storage, "posts", "1", at(from), at(to)),
      rows: (second: number, options: sets.AsOfRowsOptions = {}) =>
        sets.asOfRows(storage, "posts", at(second), options),
      keys: (second: number, ...keys: ReadonlyArray<string>) =>
        Effect.map(sets.asOfKeys(storage, "posts", keys, at(second)), (all) => all.map(({ answer }) => answer._tag))
    }
  })

/** Rows of one tenant, whatever the change. */
const tenant =
  (name: string): ReadScope =>
  (...asked) =>
    asked[0] === "changes" ? asked[1].sql`${asked[1].image} ->> 'tenant' = ${name}` : false

const a1 = { id: 1, tenant: "A", secret: "of A" }
const a2 = { id: 1, tenant: "A", secret: "of A, again" }
const b1 = { id: 1, tenant: "B", secret: "of B" }
const b2 = { id: 1, tenant: "B", secret: "of B, again" }

/** A row of A that becomes one of B, and is deleted. */
const moved = [
  insert(10, a1),
  update(20, { secret: a1.secret }, a2),
  update(30, { tenant: "A", secret: a2.secret }, b1),
  update(40, { secret: b1.secret }, b2),
  remove(50, b2)
] as const

describe("reads of one row under a scope", () => {
  it.layer(layer)("of a log", (it) => {
    it.effect("show a row that changed hands to each tenant only while the tenant owned it", () =>
      Effect.gen(function* () {
        yield* record(moved)
        const ids = moved.map(({ id }) => id)
        const a = yield* reader(tenant("A"))
        const b = yield* reader(tenant("B"))
        const c = yield* reader(tenant("C"))
        expect(yield* a.shown("1", { order: "oldest" })).toEqual(ids.slice(0, 2))
        expect(yield* b.shown("1", { order: "oldest" })).toEqual(ids.slice(2))
        expect(yield* c.shown("1")).toEqual([])
        expect(yield* a.answers("1", 5, 15, 25, 35, 45, 55)).toEqual([
          "NotYetCreated",
          a1,
          a2,
          "BeforeCapture",
          "BeforeCapture",
          "BeforeCapture"
        ])
        expect(yield* b.answers("1", 5, 15, 25, 35, 45, 55)).toEqual([
          "BeforeCapture",
          "BeforeCapture",
          "BeforeCapture",
          b1,
          b2,
          "Deleted"
        ])
        expect(yield* c.answers("1", 5, 15, 25, 35, 45, 55)).toEqual(Array.from({ length: 6 }, () => "BeforeCapture"))
        expect(yield* b.keys(5, "1")).toEqual(["BeforeCapture"])
        expect(yield* b.keys(35, "1")).toEqual(["Present"])
        expect(yield* b.keys(55, "1")).toEqual(["Deleted"])
        expect((yield* b.rows(25)).items).toEqual([])
        expect((yield* b.rows(25, { keys: ["1"] })).items).toEqual([])
        expect((yield* b.rows(35)).items.map(({ row }) => row)).toEqual([b1])
        // An invisible change is one that is not there.
        for (const { id } of moved.slice(0, 2)) {
          expect(yield* Effect.flip(b.diff(id))).toMatchObject({ _tag: "threadline/NotFound", subject: "change", id })
        }
        expect(yield* Effect.flip(b.diff("999999"))).toMatchObject({ _tag: "threadline/NotFound", subject: "change" })
      })
    )

    it.effect("leave out what a change replaced that was another's", () =>
      Effect.gen(function* () {
        yield* record(moved)
        const b = yield* reader(tenant("B"))
        const [handed] = (yield* b.history("1", { order: "oldest" })).items
        expect(handed).toMatchObject({ changedFrom: null, changedFields: null, dataAfter: b1 })
        const diffs = yield* b.diff(moved[2].id)
        expect(diffs.change.changedFrom).toBeNull()
        // Which columns changed would tell that the others had these values before.
        expect(diffs.fields).toEqual([])
        const between = yield* b.diffBetween(25, 45)
        expect(between.from._tag).toBe("BeforeCapture")
        expect(between.fields).toEqual([
          { field: "id", after: 1 },
          { field: "secret", after: b2.secret },
          { field: "tenant", after: "B" }
        ])
        expect((yield* b.diffBetween(35, 45)).fields).toEqual([
          { field: "secret", before: b1.secret, after: b2.secret }
        ])
        expect(JSON.stringify(yield* b.history("1"))).not.toContain("of A")
      })
    )

    it.effect("test the very image that is rebuilt", () =>
      Effect.gen(function* () {
        // First captured as it became one of B.
        yield* record(moved.slice(2))
        const a = yield* reader(tenant("A"))
        const b = yield* reader(tenant("B"))
        expect(yield* b.answers("1", 25, 35)).toEqual(["BeforeCapture", b1])
        expect(yield* a.answers("1", 25, 35)).toEqual([a2, "BeforeCapture"])
        expect((yield* b.rows(25)).items).toEqual([])
        expect((yield* a.rows(25)).items.map(({ row }) => row)).toEqual([a2])
        yield* record([remove(50, a1)])
        expect(yield* b.answers("1", 25, 55)).toEqual(["BeforeCapture", "BeforeCapture"])
        expect(yield* a.answers("1", 25, 55)).toEqual([a1, "Deleted"])
      })
    )

    it.effect("do not tell where a row of another's key went, or that it was there", () =>
      Effect.gen(function* () {
        const under2 = { ...b1, id: 2 }
        yield* record([
          insert(10, a1),
          update(20, { id: 1, tenant: "A", secret: a1.secret }, under2, { key: "2", previousKey: "1" })
        ])
        const a = yield* reader(tenant("A"))
        const b = yield* reader(tenant("B"))
        expect(yield* b.answers("1", 15, 25)).toEqual(["BeforeCapture", "BeforeCapture"])
        expect(yield* a.answers("1", 15, 25)).toEqual([a1, "BeforeCapture"])
        expect(yield* b.shown("1")).toEqual([])
        expect(yield* b.answers("2", 15, 25)).toEqual(["NotYetCreated", under2])
        expect((yield* b.history("2")).items).toMatchObject([{ previousRowKey: null, changedFrom: null }])
        // A reader who sees both is told.
        yield* record([insert(10, b1), update(20, { id: 1 }, under2, { key: "2", previousKey: "1" })])
        expect(yield* b.answers("1", 15, 25)).toEqual([b1, "MovedTo"])
        expect(yield* b.shown("1")).toHaveLength(2)
      })
    )

    it.effect("say nothing of a TRUNCATE of the table, and of one that kept a row what it was", () =>
      Effect.gen(function* () {
        const whole = change("truncate", 20, { key: null, details: { rowCount: 1 } })
        yield* record([insert(10, b1), whole, insert(30, b2)])
        const b = yield* reader(tenant("B"))
        expect(yield* b.shown("1")).toHaveLength(2)
        expect(yield* b.answers("1", 15, 25, 35)).toEqual([b1, "BeforeCapture", b2])
        expect((yield* b.rows(25)).items).toEqual([])
        expect(yield* Effect.flip(b.diff(whole.id))).toMatchObject({ _tag: "threadline/NotFound" })
        yield* record([insert(10, b1), change("truncate", 20, { from: b1 })])
        const a = yield* reader(tenant("A"))
        expect(yield* b.answers("1", 25)).toEqual(["Deleted"])
        expect(yield* b.shown("1")).toHaveLength(2)
        expect(yield* a.answers("1", 25)).toEqual(["BeforeCapture"])
        expect(yield* a.shown("1")).toEqual([])
      })
    )

    it.effect("take a condition that is null, and false, for no", () =>
      Effect.gen(function* () {
        const updated = update(20, { tenant: null }, { id: 1, tenant: null })
        yield* record([insert(10, { id: 1 }), updated])
        const scopes: ReadonlyArray<ReadScope> = [
          tenant("B"),
          () => false,
          (...asked) => asked[1].sql`null`,
          (...asked) => asked[1].sql`false`
        ]
        for (const scope of scopes) {
          const nobody = yield* reader(scope)
          expect(yield* nobody.shown("1")).toEqual([])
          expect(yield* nobody.answers("1", 5, 15, 25)).toEqual(["BeforeCapture", "BeforeCapture", "BeforeCapture"])
          expect((yield* nobody.rows(25)).items).toEqual([])
          expect(yield* Effect.flip(nobody.diff(updated.id))).toMatchObject({ _tag: "threadline/NotFound" })
        }
        const everybody = yield* reader(() => true)
        expect(yield* everybody.shown("1")).toHaveLength(2)
        expect(yield* everybody.answers("1", 5, 25)).toEqual(["NotYetCreated", { id: 1, tenant: null }])
      })
    )

    it.effect("cannot be widened by a condition of the reader", () =>
      Effect.gen(function* () {
        yield* record([insert(10, a1), insert(10, { ...b1, id: 2 }, { key: "2" })])
        const b = yield* reader(tenant("B"))
        const page = yield* b.rows(15, { where: (_, sql) => sql`true or true` })
        expect(page.items.map(({ rowKey }) => rowKey)).toEqual(["2"])
        expect((yield* b.rows(15, { contains: { tenant: "A" } })).items).toEqual([])
        // What a condition does to rows of others is not found out either.
        const odd = yield* b.rows(15, { where: (image, sql) => sql`1 / (${image} ->> 'id')::int - ${1} = -1` })
        expect(odd.items.map(({ rowKey }) => rowKey)).toEqual(["2"])
        const error = yield* b.rows(15, {
          where: (image, sql) => sql`1 / ((${image} ->> 'id')::int - ${1}) = 1`
        })
        expect(error.items.map(({ rowKey }) => rowKey)).toEqual(["2"])
      })
    )

    it.effect("fill their pages behind changes that are hidden", () =>
      Effect.gen(function* () {
        const life = Array.from({ length: 2600 }, (_, index) =>
          update(10, { secret: "x" }, index % 1300 === 7 ? b1 : a1)
        )
        yield* record(life)
        const b = yield* reader(tenant("B"))
        const expected = [life[7]?.id, life[1307]?.id]
        for (const order of ["oldest", "newest"] as const) {
          const first = yield* b.history("1", { order, limit: 1 })
          expect(first.hasMore).toBe(true)
          const second = yield* b.history("1", { order, limit: 1, cursor: Option.getOrUndefined(first.nextCursor) })
          expect(second).toMatchObject({ hasMore: false, nextCursor: Option.none() })
          const ids = [...first.items, ...second.items].map(({ id }) => id)
          expect(ids).toEqual(order === "oldest" ? expected : [...expected].reverse())
        }
        const a = yield* reader(tenant("A"))
        const seen: Array<string> = []
        let cursor: string | undefined
        do {
          const page = yield* a.history("1", { limit: 999, cursor })
          seen.push(...page.items.map(({ id }) => id))
          cursor = Option.getOrUndefined(page.nextCursor)
        } while (cursor !== undefined)
        expect(seen.reverse()).toEqual(life.map(({ id }) => id).filter((id) => !expected.includes(id)))
      })
    )

    it.effect("go on with a search without telling where it ended", () =>
      Effect.gen(function* () {
        yield* record([
          ...["anna@a.example", "bob@a.example", "cleo@a.example"].map((key) => insert(10, a1, { key })),
          update(20, { id: 1 }, a1, { key: "zoe@a.example", previousKey: "dora@a.example" }),
          insert(10, b1, { key: "ella@b.example" })
        ])
        const b = yield* reader(tenant("B"))
        for (const few of [0, 100]) {
          const items: Array<string> = []
          const cursors: Array<string> = []
          let cursor: string | undefined
          do {
            const page = yield* b
              .rows(15, { cursor, limit: 5 })
              .pipe(Effect.provideService(Budget, { entries: 1, stretch: 1, keys: 1, few }))
            items.push(...page.items.map(({ rowKey }) => rowKey))
            cursor = Option.getOrUndefined(page.nextCursor)
            cursors.push(...Option.toArray(page.nextCursor))
          } while (cursor !== undefined)
          expect(items).toEqual(["ella@b.example"])
          expect(cursors.length).toBeGreaterThan(3)
          for (const cursor of cursors) {
            expect(Buffer.from(cursor, "base64url").toString()).not.toContain("@a.")
          }
        }
      })
    )
  })
})

describe("reads of one row under a scope, against a simulated table", () => {
  it.layer(layer)("show", (it) => {
    it.effect(
      "what an unrestricted reader is shown, as far as its images are visible",
      () =>
        Effect.flatMap(Effect.runtime<SqlClient.SqlClient>(), (runtime) =>
          Effect.promise(() =>
            FastCheck.assert(
              FastCheck.asyncProperty(
                Model.plans,
                FastCheck.array(FastCheck.nat(99), { minLength: 4, maxLength: 4 }),
                FastCheck.integer({ min: 1, max: 4 }),
                (plan, dice, limit) =>
                  Runtime.runPromise(runtime)(
                    Effect.gen(function* () {
                      const simulation = Model.simulate(plan)
                      yield* Effect.andThen(reset, write(simulation.log))
                      const even = yield* reader(
                        (...asked) => asked[0] === "changes" && asked[1].sql`(${asked[1].image} ->> 'tag')::int % 2 = 0`
                      )
                      const isEven = (row: Query.RowImage | null | undefined) => Number(row?.["tag"] ?? 1) % 2 === 0
                      const instants = Model.instants(simulation)
                      for (const micros of new Set(dice.map((one) => instants[one % instants.length] ?? 0))) {
                        const instant = Model.timeOf(micros)
                        for (const key of Model.keys.map(String)) {
                          const expected = Model.expectedAsOf(simulation, "posts", key, micros)
                          const answer = yield* even.asOf(key, instant)
                          if (expected._tag === "Present" && isEven(expected.row)) {
                            expect(answer).toEqual(expected)
                          } else if (expected._tag === "Present" || answer._tag === "BeforeCapture") {
                            expect(answer).toEqual({ _tag: "BeforeCapture", at: instant })
                          } else {
                            expect(answer).toEqual(expected)
                          }
                        }
                        const rowsAsOf: Array<Query.RowAsOf> = []
                        let cursor: string | undefined
                        do {
                          const page = yield* even
                            .every(instant, { limit, cursor })
                            .pipe(Effect.provideService(Budget, { entries: 4, stretch: 2, keys: 3, few: 0 }))
                          rowsAsOf.push(...page.items)
                          const next = Option.getOrUndefined(page.nextCursor)
                          expect(next === undefined || next !== cursor).toBe(true)
                          cursor = next
                        } while (cursor !== undefined)
                        expect(
                          rowsAsOf.map(({ rebuilt, row, rowKey }) => [rowKey, row, rebuilt === true ? { rebuilt } : {}])
                        ).toEqual(Model.expectedRows(simulation, "posts", micros).filter(([, row]) => isEven(row)))
                      }
                      for (const key of Model.keys.map(String)) {
                        const visible = Model.expectedHistory(simulation, "posts", key).filter((id) => {
                          const changeOfId = simulation.changes.find((change) => change.id === id)
                          return isEven(changeOfId?.after ?? changeOfId?.from)
                        })
                        const ids: Array<string> = []
                        let cursor: string | undefined
                        do {
                          const page = yield* even.history(key, { limit, cursor, order: "oldest" })
                          ids.push(...page.items.map(({ id }) => id))
                          cursor = Option.getOrUndefined(page.nextCursor)
                        } while (cursor !== undefined)
                        expect(ids).toEqual(visible)
                      }
                    })
                  )
              ),
              { numRuns: runs(15), endOnFailure: true }
            )
          )
        ),
      300_000
    )
  })
})
