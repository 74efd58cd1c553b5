import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as SqlClient from "@effect/sql/SqlClient"
import type { Page } from "../../../src/Page.js"
import * as Pages from "../../../src/Page.js"
import { Budget } from "../../../src/internal/search/budget.js"
import * as Query from "../../../src/Query.js"
import { check } from "../../support/property.js"
import { filters } from "../../support/queryFilters.js"
import * as Model from "../../support/queryModel.js"
import { layer, reset, write } from "../../support/query.js"

/** Reads every page; each must be as long as it may be and know whether there is more. */
const everyPage = Effect.fnUntraced(function* <E, R>(
  limit: number,
  read: (cursor: string | undefined) => Effect.Effect<Page<{ readonly id: string }>, E, R>
) {
  const ids: Array<string> = []
  let cursor: string | undefined
  for (;;) {
    const page = yield* read(cursor)
    ids.push(...page.items.map(({ id }) => id))
    expect(page.hasMore).toBe(Option.isSome(page.nextCursor))
    if (!page.hasMore) {
      return ids
    }
    expect(page.partial ? page.items.length <= limit : page.items.length === limit).toBe(true)
    cursor = Option.getOrUndefined(page.nextCursor)
  }
})

const minutes = 3 * 60_000

const together = { concurrency: 4, discard: true } as const

describe("Query, against a simulated table", () => {
  it.layer(layer)("reads", (it) => {
    const prepare = (simulation: Model.Simulation) => Effect.andThen(reset, write(simulation.log))

    it.effect(
      "answer an as-of with the truth, as far as it can be known",
      () =>
        check(
          FastCheck.tuple(Model.plans, FastCheck.array(FastCheck.nat(99), { minLength: 6, maxLength: 6 })),
          25,
          ([plan, dice]) =>
            Effect.gen(function* () {
              const simulation = Model.simulate(plan)
              yield* prepare(simulation)
              const instants = Model.instants(simulation)
              const asked = new Set(dice.map((one) => instants[one % instants.length] ?? 0))
              yield* Effect.forEach(
                [...asked].flatMap((micros) => Model.keys.map((key) => [key, micros] as const)),
                ([key, micros]) =>
                  Effect.map(Query.asOf("posts", key, Model.timeOf(micros)), (answer) =>
                    expect(answer).toEqual(Model.expectedAsOf(simulation, "posts", String(key), micros))
                  ),
                together
              )
            })
        ),
      minutes
    )

    it.effect(
      "page through a history in both directions",
      () =>
        check(FastCheck.tuple(Model.plans, FastCheck.integer({ min: 1, max: 7 })), 25, ([plan, limit]) =>
          Effect.gen(function* () {
            const simulation = Model.simulate(plan)
            yield* prepare(simulation)
            yield* Effect.forEach(
              Model.keys.flatMap((key) => (["newest", "oldest"] as const).map((order) => [key, order] as const)),
              ([key, order]) =>
                Effect.map(
                  everyPage(limit, (cursor) => Query.history("posts", key, { order, limit, cursor })),
                  (ids) => {
                    const expected = Model.expectedHistory(simulation, "posts", String(key))
                    expect(ids).toEqual(order === "oldest" ? expected : [...expected].reverse())
                  }
                ),
              together
            )
          })
        ),
      minutes
    )

    for (const [label, budget] of [
      ["a generous", { probe: 500, changes: 10_000, transactions: 10_000, visits: 2000 }],
      ["a tight", { probe: 2, changes: 4, transactions: 3, visits: 2 }]
    ] as const) {
      it.effect(
        `page through the timeline under any filter in both directions with ${label} budget`,
        () =>
          check(
            Model.plans.chain((plan) => {
              const simulation = Model.simulate(plan)
              const times = [...simulation.snapshots.flatMap(({ from, to }) => [from, to, to + 1]), 0]
              return FastCheck.record({
                simulation: FastCheck.constant(simulation),
                limit: FastCheck.integer({ min: 1, max: 9 }),
                filters: FastCheck.array(filters(times.map(Model.timeOf)), { minLength: 10, maxLength: 10 })
              })
            }),
            20,
            ({ filters, limit, simulation }) =>
              Effect.andThen(
                prepare(simulation),
                Effect.forEach(
                  filters,
                  (filter) =>
                    Effect.gen(function* () {
                      const ids = yield* everyPage(limit, (cursor) => Query.timeline({ ...filter, limit, cursor }))
                      expect({ filter, ids }).toEqual({ filter, ids: Model.expectedTimeline(simulation, filter) })
                      const transactions = yield* everyPage(limit, (cursor) =>
                        Effect.map(Query.transactions({ ...filter, limit, cursor }), (page) =>
                          Pages.map(page, ({ transaction }) => transaction)
                        )
                      )
                      expect({ filter, transactions }).toEqual({
                        filter,
                        transactions: Model.expectedTransactions(simulation, filter)
                      })
                      const { count, exact } = yield* Query.count(filter)
                      expect(exact ? count === ids.length : count <= ids.length).toBe(true)
                    }),
                  together
                )
              )
          ).pipe(Effect.provideService(Budget, budget)),
        minutes
      )
    }

    it.effect(
      "page on without repeating or losing anything while changes are written and purged",
      () =>
        check(
          FastCheck.record({
            plan: Model.plans,
            limit: FastCheck.integer({ min: 1, max: 5 }),
            order: FastCheck.constantFrom("newest" as const, "oldest" as const),
            tight: FastCheck.boolean(),
            purges: FastCheck.array(FastCheck.nat(60), { maxLength: 8 })
          }),
          15,
          ({ limit, order, plan, purges, tight }) =>
            Effect.gen(function* () {
              const sql = yield* SqlClient.SqlClient
              const simulation = Model.simulate(plan)
              yield* prepare(simulation)
              const filter = { table: "posts", actor: { type: "user" }, order } as const
              const before = Model.expectedTimeline(simulation, filter)
              const purged = new Set<string>()
              const seen: Array<string> = []
              const left = [...purges]
              let cursor: string | undefined
              let written = 1_000_000
              do {
                const page: Page<Query.Change> = yield* Query.timeline({ ...filter, limit, cursor })
                seen.push(...page.items.map(({ id }) => id))
                cursor = Option.getOrUndefined(page.nextCursor)
                const purge = left.pop()
                if (purge !== undefined) {
                  const id = simulation.changes[purge % simulation.changes.length]?.id ?? "0"
                  purged.add(id)
                  yield* sql`delete from threadline.audit_changes where id = ${id}::bigint`
                  const next = String(written++)
                  yield* write({
                    transactions: [{ id: next, occurredAt: Model.timeOf(0), actor: { type: "user", id: "1" } }],
                    changes: [
                      {
                        id: next,
                        transactionId: next,
                        at: Model.timeOf(0),
                        table: "posts",
                        op: "insert",
                        key: next,
                        after: {}
                      }
                    ]
                  })
                }
              } while (cursor !== undefined)
              expect(new Set(seen).size).toBe(seen.length)
              const old = seen.filter((id) => Number(id) < 1_000_000)
              const rank = new Map(before.map((id, index) => [id, index]))
              expect(old.map((id) => rank.get(id))).toEqual([...old.keys()].map(() => expect.any(Number)))
              expect([...old].sort((a, b) => (rank.get(a) ?? 0) - (rank.get(b) ?? 0))).toEqual(old)
              expect(before.filter((id) => !purged.has(id) && !old.includes(id))).toEqual([])
            }).pipe(
              tight
                ? Effect.provideService(Budget, { probe: 2, changes: 4, transactions: 3, visits: 2 })
                : (effect) => effect
            )
        ),
      minutes
    )

    it.effect(
      "stream what their pages show",
      () =>
        check(Model.plans, 10, (plan) =>
          Effect.gen(function* () {
            const simulation = Model.simulate(plan)
            yield* prepare(simulation)
            const timeline = yield* Stream.runCollect(Query.timelineStream({ limit: 1 }))
            expect([...timeline].map(({ id }) => id)).toEqual(Model.expectedTimeline(simulation, {}))
            const history = yield* Stream.runCollect(Query.historyStream("posts", 1, { order: "oldest" }))
            expect([...history].map(({ id }) => id)).toEqual(Model.expectedHistory(simulation, "posts", "1"))
          })
        ),
      minutes
    )
  })
})
