/** Everything that a reader under a scope is told, against a model that judges change by change. */
import * as SqlClient from "@effect/sql/SqlClient"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as Stream from "effect/Stream"
import * as Feed from "../../src/Feed.js"
import * as rowsBudget from "../../src/internal/rows/keyWalk.js"
import { Budget } from "../../src/internal/search/budget.js"
import type { Page } from "../../src/Page.js"
import * as Query from "../../src/Query.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import * as Model from "../support/queryModel.js"
import { drain } from "../support/feed.js"
import { type ActionSeed, reset, write } from "../support/query.js"
import { runs } from "../support/runs.js"
import * as Scoped from "../support/scopeModel.js"

const services = Layer.merge(Query.layer, Feed.layer).pipe(Layer.provideMerge(TestDatabase.layer))

type Services = Query.Query | Feed.Feed | SqlClient.SqlClient

/** Further actions of transactions: about a row, of another name, under another correlation. */
const actionsOf = (simulation: Model.Simulation, dice: ReadonlyArray<number>): ReadonlyArray<ActionSeed> =>
  simulation.log.transactions.flatMap(({ id, occurredAt }, index): ReadonlyArray<ActionSeed> => {
    const die = dice[index % dice.length] ?? 0
    return die % 2 === 0
      ? []
      : [
          {
            id: String(1000 + index),
            transactionId: id,
            name: die % 3 === 0 ? "did" : "other",
            status: die % 5 === 0 ? "error" : "ok",
            correlationId: `c${die % 3}`,
            actor: die % 7 < 3 ? { type: "user", id: String(die % 7) } : null,
            requestId: `r${die % 2}`,
            occurredAt,
            data: { about: String(die % 6) }
          }
        ]
  })

const filters = (instants: ReadonlyArray<string>): FastCheck.Arbitrary<Query.FilterInput> => {
  const rarely = <A>(arbitrary: FastCheck.Arbitrary<A>) =>
    FastCheck.oneof({ weight: 4, arbitrary: FastCheck.constant(undefined) }, { weight: 1, arbitrary })
  const instant = FastCheck.constantFrom(...instants)
  return FastCheck.record({
    table: rarely(FastCheck.constantFrom("posts", "notes")),
    key: rarely(FastCheck.constantFrom("1", "2", "3", "4", "5", "6")),
    op: rarely(FastCheck.constantFrom<Query.Operation>("insert", "update", "delete", "truncate")),
    contains: rarely(FastCheck.constantFrom({ id: 1 }, { v: 0 }, { v: 1 }, { id: 2 })),
    changedField: rarely(FastCheck.constantFrom("v", "id")),
    actor: rarely(
      FastCheck.constantFrom<NonNullable<Query.FilterInput["actor"]>>(
        { type: "user" },
        { type: "user", id: "1" },
        { type: "user", id: "2" }
      )
    ),
    unattributed: rarely(FastCheck.constant(true)),
    action: rarely(FastCheck.constantFrom("did", "made", "other")),
    correlationId: rarely(FastCheck.constantFrom("c0", "c1", "c2")),
    includeCaptureOnly: FastCheck.boolean(),
    requestId: rarely(FastCheck.constantFrom("r0", "r1")),
    source: rarely(FastCheck.constantFrom("web", "worker")),
    transactionId: rarely(FastCheck.constantFrom("1", "2", "3")),
    from: rarely(instant),
    to: rarely(instant),
    order: FastCheck.constantFrom<NonNullable<Query.FilterInput["order"]>>("newest", "oldest")
  }).map(({ changedField, from, includeCaptureOnly, key, to, unattributed, ...rest }): Query.FilterInput => ({
    ...rest,
    ...(rest.table === undefined ? {} : { key }),
    ...(rest.op === undefined || rest.op === "update" ? { changedField } : {}),
    ...(rest.actor === undefined ? { unattributed } : {}),
    ...(rest.correlationId === undefined || rest.action !== undefined ? {} : { includeCaptureOnly }),
    ...(from !== undefined && to !== undefined && to < from ? { from: to, to: from } : { from, to })
  }))
}

/** Every item of every page. What names one thing knows on its first page whether there is more. */
const everyItem = Effect.fnUntraced(function* <A, R>(
  named: boolean,
  read: (cursor: string | undefined) => Effect.Effect<Page<A>, Query.ReadError, R>
) {
  const items: Array<A> = []
  let cursor: string | undefined
  do {
    const page = yield* read(cursor)
    items.push(...page.items)
    expect(page.partial && named).toBe(false)
    cursor = Option.getOrUndefined(page.nextCursor)
  } while (cursor !== undefined)
  return items
})

const namesOne = ({ actor, correlationId, key, requestId, transactionId }: Query.FilterInput): boolean =>
  [actor?.id, correlationId, key, requestId, transactionId].some((name) => name !== undefined)

interface Case {
  readonly plan: Model.Plan
  readonly scope: Scoped.TwiceWritten
  readonly dice: ReadonlyArray<number>
  readonly filters: ReadonlyArray<Query.FilterInput>
  readonly limit: number
  readonly few: number
  readonly purged: boolean
}

const cases: FastCheck.Arbitrary<Case> = FastCheck.record({
  plan: Model.plans,
  scope: FastCheck.constantFrom(...Scoped.scopes),
  dice: FastCheck.array(FastCheck.nat(99), { minLength: 7, maxLength: 7 }),
  limit: FastCheck.integer({ min: 1, max: 4 }),
  few: FastCheck.integer({ min: 1, max: 6 }),
  purged: FastCheck.boolean()
}).chain((one) => {
  const times = Model.instants(Model.simulate(one.plan)).map(Model.timeOf)
  return FastCheck.array(filters(times.length === 0 ? ["2026-01-02T00:00:00Z"] : times), {
    minLength: 3,
    maxLength: 3
  }).map((filters) => ({ ...one, filters }))
})

const agrees = Effect.fnUntraced(function* ({ dice, few, filters, limit, plan, purged, scope }: Case) {
  const simulated = Model.simulate(plan)
  const actions = [...simulated.log.actions, ...actionsOf(simulated, dice)]
  const whole: Model.Simulation = { ...simulated, log: { ...simulated.log, actions } }
  const times = Model.instants(whole)
  // What retention leaves: the rows before are rebuilt.
  const simulation = purged ? Model.purged(whole, times[(dice[0] ?? 0) % Math.max(times.length, 1)] ?? 0) : whole
  yield* reset
  yield* write({ ...simulation.log, changes: simulation.changes })
  const model = Scoped.reader(simulation, scope)
  const restricted = <A, E, R>(read: Effect.Effect<A, E, R>) =>
    Query.withScope(read, scope.scope).pipe(
      Effect.provideService(Budget, { probe: few, changes: few, transactions: few, visits: few }),
      Effect.provideService(rowsBudget.Budget, { entries: 4, stretch: 2, keys: 3, few: 0 })
    )
  const said = `${scope.name}: `

  for (const filter of [{}, { order: "oldest" as const }, ...filters]) {
    const named = namesOne(filter)
    const asked = said + JSON.stringify(filter)
    const changes = yield* everyItem(named, (cursor) => restricted(Query.timeline({ ...filter, limit, cursor })))
    expect(changes.map(Scoped.toldOf), asked).toEqual(model.timeline(filter))
    expect(changes.map(Scoped.shownOf), asked).toEqual(changes.map(({ transactionId }) => model.shown(transactionId)))
    const counted = yield* restricted(Query.count(filter, { cap: 1000 }))
    expect(counted.count, asked).toBeLessThanOrEqual(model.timeline(filter).length)
    if (counted.exact) {
      expect(counted.count, asked).toBe(model.timeline(filter).length)
    }
    expect(counted.exact || !named, asked).toBe(true)
    const listed = yield* everyItem(named, (cursor) => restricted(Query.transactions({ ...filter, limit, cursor })))
    expect(
      listed.map(({ transaction }) => transaction.id),
      asked
    ).toEqual(model.transactions(filter))
    expect(listed.map(Scoped.shownOf), asked).toEqual(listed.map(({ transaction }) => model.shown(transaction.id)))
  }

  const unattributed = yield* everyItem(false, (cursor) => restricted(Query.unattributed({ limit, cursor })))
  expect(unattributed.map(({ transaction }) => transaction.id)).toEqual(model.transactions({ unattributed: true }))
  for (const filter of [{}, { correlationId: "c1" }, { action: "did" }, { transactionId: "2" }]) {
    const listed = yield* everyItem(namesOne(filter), (cursor) =>
      restricted(Query.actions({ ...filter, limit, cursor }))
    )
    expect(
      listed.map(({ id }) => id).sort((a, b) => Number(a) - Number(b)),
      said
    ).toEqual(model.actions(filter))
  }
  const correlation = yield* restricted(Query.correlation("c1", { limit: 1000 }))
  const wide = { correlationId: "c1", includeCaptureOnly: true }
  expect(correlation.changes.items.map(Scoped.toldOf), said).toEqual(model.timeline(wide))
  expect(
    correlation.transactions.items.map(({ transaction }) => transaction.id),
    said
  ).toEqual(model.transactions(wide))
  const actor = { type: "user", id: "1" } as const
  const window = yield* restricted(Query.actorWindow(actor, { limit: 1000 }))
  expect(window.changes.items.map(Scoped.toldOf), said).toEqual(model.timeline({ actor }))
  expect(
    window.transactions.items.map(({ transaction }) => transaction.id),
    said
  ).toEqual(model.transactions({ actor }))

  for (const { id } of simulation.log.transactions) {
    const incidentOrError = yield* Effect.either(restricted(Query.incident(id, { limit: 1000 })))
    expect([id, Either.isRight(incidentOrError)], said).toEqual([id, model.isSeen(id)])
    if (Either.isRight(incidentOrError)) {
      const { actions, changes, related, siblings, transaction: own } = incidentOrError.right
      expect({ ...Scoped.shownOf({ action: null, transaction: own }), action: model.shown(id).action }).toEqual(
        model.shown(id)
      )
      const expected = model.timeline({ transactionId: id, order: "oldest" })
      expect(
        changes.items.map(({ change }) => Scoped.toldOf(change)),
        said
      ).toEqual(expected)
      expect(
        actions.map((one) => one.id),
        said
      ).toEqual(model.actions({ transactionId: id }))
      for (const { action, transaction } of [...siblings, ...related]) {
        expect(model.isSeen(transaction.id), said).toBe(true)
        expect(Scoped.shownOf({ action, transaction }), said).toEqual(model.shown(transaction.id))
      }
    }
  }
  for (const { id } of simulation.changes) {
    const diffOrError = yield* Effect.either(restricted(Query.diff(id)))
    expect(Either.isRight(diffOrError) ? Scoped.toldOf(diffOrError.right.change) : undefined, said + id).toEqual(
      model.change(id)
    )
    if (Either.isRight(diffOrError)) {
      const { change } = diffOrError.right
      expect(Scoped.shownOf(change), said + id).toEqual(model.shown(change.transactionId))
    }
  }
  const feed = yield* Feed.Feed
  const fed = yield* drain(feed.scoped(scope.scope), { limit })
  expect(
    fed.batches.flatMap(({ changes }) => changes.map(Scoped.toldOf)),
    said
  ).toEqual(model.feed())
  for (const change of fed.batches.flatMap(({ changes }) => changes)) {
    expect(Scoped.shownOf(change), said).toEqual(model.shown(change.transactionId))
  }

  const keys = [
    ...new Set(
      whole.changes.flatMap(({ key, previousKey }) => [key, previousKey]).filter((key) => typeof key === "string")
    )
  ].sort()
  for (const key of keys) {
    const history = yield* restricted(Stream.runCollect(Query.historyStream("posts", key, { order: "oldest" })))
    expect([...history].map(Scoped.toldOf), said + key).toEqual(model.history("posts", key))
    expect([...history].map(Scoped.shownOf), said + key).toEqual(
      [...history].map(({ transactionId }) => model.shown(transactionId))
    )
  }
  for (const micros of new Set(dice.slice(0, 3).map((die) => times[die % times.length] ?? 0))) {
    const instant = Model.timeOf(micros)
    const present: Array<readonly [string, unknown]> = []
    for (const key of keys) {
      const answer = yield* restricted(Query.asOf("posts", key, instant))
      // Without a scope, which other tests hold against the truth.
      const truth = yield* Query.asOf("posts", key, instant)
      const verdict = model.standing("posts", key, truth)
      const caseText = JSON.stringify([scope.name, key, instant, truth])
      if (answer._tag !== "BeforeCapture") {
        expect(answer, caseText).toEqual(truth)
        expect(verdict, caseText).not.toBe("hidden")
      } else if (truth._tag !== "BeforeCapture") {
        expect(verdict, caseText).not.toBe("told")
      }
      if (answer._tag === "Present") {
        present.push([key, answer.row])
      }
    }
    const rows = yield* everyItem(false, (cursor) => restricted(Query.asOfRows("posts", instant, { limit, cursor })))
    expect(
      rows.map(({ row, rowKey }) => [rowKey, row]),
      said
    ).toEqual(present)
    const half = yield* restricted(Query.diffBetween("posts", "1", Model.timeOf(0), instant))
    expect(half.to, said).toEqual(yield* restricted(Query.asOf("posts", "1", instant)))
    const related = yield* restricted(
      Query.asOfWith("posts", "1", instant, { same: { table: "posts", columns: { v: "v" } } })
    )
    const alike = present.filter(
      ([, row]) => related.answer._tag === "Present" && (row as Query.RowImage)["v"] === related.answer.row["v"]
    )
    expect(
      related.related.same.items.map(({ rowKey }) => rowKey).every((key) => alike.some(([one]) => one === key))
    ).toBe(true)
  }
})

describe("reads under random scopes of random histories", () => {
  it.layer(services)("show, count and tell", (it) => {
    it.effect(
      "what the scope lets through, and nothing else",
      () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          yield* sql`create table if not exists shared_keys (key text)`
          yield* sql`insert into shared_keys select unnest(${[...Scoped.sharedKeys]}::text[])`
          const runtime = yield* Effect.runtime<Services>()
          yield* Effect.promise(() =>
            FastCheck.assert(
              FastCheck.asyncProperty(cases, (one) => Runtime.runPromise(runtime)(agrees(one))),
              { numRuns: runs(12), endOnFailure: true }
            )
          )
        }),
      3_600_000
    )
  })
})
