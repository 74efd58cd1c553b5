import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as Stream from "effect/Stream"
import type * as SqlClient from "@effect/sql/SqlClient"
import type { Page } from "../src/Page.js"
import { FewChanges } from "../src/internal/queryWindow.js"
import * as Query from "../src/Query.js"
import * as Model from "./queryModel.js"
import { layer, reset, write } from "./querySupport.js"

/** Checks an effectful property against one database. */
const check = <A, E>(
  arbitrary: FastCheck.Arbitrary<A>,
  runs: number,
  property: (value: A) => Effect.Effect<void, E, Query.Query | SqlClient.SqlClient>
) =>
  Effect.flatMap(Effect.runtime<Query.Query | SqlClient.SqlClient>(), (runtime) =>
    Effect.promise(() =>
      FastCheck.assert(
        FastCheck.asyncProperty(arbitrary, (value) => Runtime.runPromise(runtime)(property(value))),
        { numRuns: runs }
      )
    )
  )

/** Reads every page; each must be as long as it may be and know whether there is more. */
const everyPage = Effect.fnUntraced(function* <E, R>(
  limit: number,
  read: (cursor: string | undefined) => Effect.Effect<Page<Query.Change>, E, R>
) {
  const ids: Array<string> = []
  let cursor: string | undefined
  for (;;) {
    const page = yield* read(cursor)
    ids.push(...page.items.map((change) => change.id))
    expect(page.hasMore).toBe(Option.isSome(page.nextCursor))
    if (!page.hasMore) {
      return ids
    }
    expect(page.items.length).toBe(limit)
    cursor = Option.getOrUndefined(page.nextCursor)
  }
})

const filters = (instants: ReadonlyArray<string>) => {
  const instant = FastCheck.constantFrom(...instants)
  const sometimes = <A>(arbitrary: FastCheck.Arbitrary<A>) => FastCheck.option(arbitrary, { nil: undefined, freq: 1 })
  const rarely = <A>(arbitrary: FastCheck.Arbitrary<A>) =>
    FastCheck.oneof({ weight: 3, arbitrary: FastCheck.constant(undefined) }, { weight: 1, arbitrary })
  return FastCheck.record({
    table: sometimes(FastCheck.constantFrom("posts", "notes")),
    key: rarely(FastCheck.constantFrom("1", "2", "3")),
    op: rarely(
      FastCheck.constantFrom<NonNullable<Query.FilterInput["op"]>>(
        "insert",
        "delete",
        ["update", "truncate"],
        ["update"]
      )
    ),
    actor: rarely(
      FastCheck.constantFrom<NonNullable<Query.FilterInput["actor"]>>(
        { type: "user" },
        { type: "user", id: "2" },
        { type: "job", id: "1" }
      )
    ),
    unattributed: rarely(FastCheck.boolean()),
    correlationId: rarely(FastCheck.constantFrom("c0", "c1", "none")),
    includeCaptureOnly: FastCheck.boolean(),
    transactionId: FastCheck.oneof(
      { weight: 9, arbitrary: FastCheck.constant(undefined) },
      { weight: 1, arbitrary: FastCheck.constantFrom("1", "2", "3") }
    ),
    from: sometimes(instant),
    to: sometimes(instant),
    order: FastCheck.constantFrom<NonNullable<Query.FilterInput["order"]>>("newest", "oldest")
  }).map(({ actor, from, key, to, unattributed, ...rest }): Query.FilterInput => ({
    ...rest,
    ...(rest.table === undefined ? {} : { key }),
    ...(actor === undefined ? { unattributed } : { actor }),
    ...(from !== undefined && to !== undefined && to < from ? { from: to, to: from } : { from, to })
  }))
}

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

    for (const [label, fewChanges] of [
      ["quiet", 2000],
      ["busy", 0]
    ] as const) {
      it.effect(
        `page through the timeline of ${label} tables under any filter in both directions`,
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
                    Effect.map(
                      everyPage(limit, (cursor) => Query.timeline({ ...filter, limit, cursor })),
                      (ids) =>
                        expect({ filter, ids }).toEqual({ filter, ids: Model.expectedTimeline(simulation, filter) })
                    ),
                  together
                )
              )
          ).pipe(Effect.provideService(FewChanges, fewChanges)),
        minutes
      )
    }

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
