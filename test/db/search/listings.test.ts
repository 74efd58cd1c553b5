import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { Budget } from "../../../src/internal/search/budget.js"
import * as Json from "../../../src/Json.js"
import type { Page } from "../../../src/Page.js"
import * as Query from "../../../src/Query.js"
import { at, layer, type Log, refusal, reset, write } from "../../support/query.js"

const user = { type: "user", id: "42" } as const
const support = { type: "admin", id: "9" } as const

const log: Log = {
  transactions: [
    { id: "1", occurredAt: at(0), actor: user, correlationId: "c", requestId: "r1", actionId: "1" },
    { id: "2", occurredAt: at(10), actor: null, correlationId: "c", dbUser: "psql" },
    { id: "3", occurredAt: at(20), actor: { ...user, impersonator: support }, meta: { region: { name: "eu" } } },
    { id: "4", occurredAt: at(30), actor: user }
  ],
  actions: [
    { id: "1", transactionId: "1", name: "post.created", actor: user, correlationId: "c", occurredAt: at(1) },
    {
      id: "2",
      transactionId: null,
      name: "post.published",
      status: "error",
      actor: user,
      correlationId: "c",
      requestId: "r2",
      occurredAt: at(15),
      data: { reason: "no title" }
    },
    { id: "3", transactionId: null, name: "report.read", actor: support, occurredAt: at(15) }
  ],
  changes: [
    { id: "1", transactionId: "1", at: at(0), op: "insert", key: "1", after: { id: 1, title: "a" } },
    { id: "2", transactionId: "1", at: at(1), table: "notes", op: "insert", key: "x", after: { id: "x" } },
    { id: "3", transactionId: "2", at: at(10), op: "delete", key: "1", from: { id: 1, title: "a" } },
    { id: "4", transactionId: "3", at: at(20), op: "insert", key: "2", after: { id: 2, title: "b" } }
  ]
}

const prepared = Effect.andThen(reset, write(log))

describe("listings", () => {
  it.layer(layer)("of a log", (it) => {
    it.effect("of transactions say how much changed where", () =>
      Effect.gen(function* () {
        yield* prepared
        const listed = (filter?: Query.FilterInput) =>
          Effect.map(Query.transactions(filter), (page) =>
            page.items.map(({ action, changes, tables, transaction }) => [
              transaction.id,
              action?.name,
              changes.exact ? changes.count : `${changes.count}+`,
              tables.join(" ")
            ])
          )
        expect(yield* listed()).toEqual([
          ["4", undefined, 0, ""],
          ["3", undefined, 1, "public.posts"],
          ["2", undefined, 1, "public.posts"],
          ["1", "post.created", 2, "public.notes public.posts"]
        ])
        expect(yield* listed({ table: "notes" })).toEqual([["1", "post.created", 2, "public.notes public.posts"]])
        expect(yield* listed({ impersonator: support })).toEqual([["3", undefined, 1, "public.posts"]])
        expect(yield* listed({ meta: { region: { name: "eu" } }, order: "oldest" })).toHaveLength(1)
        const many = Array.from({ length: 150 }, (_, index) => ({
          id: String(100 + index),
          transactionId: "4",
          at: at(31),
          op: "insert" as const,
          key: String(100 + index),
          after: { id: index }
        }))
        yield* write({ changes: many })
        expect((yield* listed({ limit: 1 }))[0]).toEqual(["4", undefined, "100+", "public.posts"])
      })
    )

    it.effect("list a transaction once, wherever a search ends within it", () =>
      Effect.gen(function* () {
        yield* reset
        const changes = Array.from({ length: 40 }, (_, index) => ({
          id: String(index + 1),
          transactionId: String(1 + Math.floor(index / 20)),
          at: at(index),
          op: "insert" as const,
          key: String(index),
          after: { id: index, odd: index % 2 === 1 }
        }))
        yield* write({
          transactions: ["1", "2"].map((id) => ({ id, occurredAt: at(0), actor: user })),
          changes
        })
        for (const order of ["newest", "oldest"] as const) {
          const streamedItems = yield* Stream.runCollect(
            Query.transactionsStream({ table: "posts", contains: { odd: true }, order })
          ).pipe(Effect.provideService(Budget, { probe: 3, changes: 3, transactions: 3, visits: 3 }))
          expect([...streamedItems].map(({ transaction }) => transaction.id)).toEqual(
            order === "newest" ? ["2", "1"] : ["1", "2"]
          )
        }
      })
    )

    it.effect("show a transaction that captured nothing on whichever page it is", () =>
      Effect.gen(function* () {
        yield* reset
        yield* write({
          transactions: ["1", "2", "3", "4", "5"].map((id) => ({ id, occurredAt: at(Number(id)), actor: user })),
          changes: ["1", "3", "5"].map((id) => ({
            id,
            transactionId: id,
            at: at(Number(id)),
            op: "insert",
            key: id,
            after: {}
          }))
        })
        for (const filter of [{}, { actor: user }, { dbUser: "app" }]) {
          for (const order of ["newest", "oldest"] as const) {
            const found: Array<readonly [id: string, changes: number]> = []
            let cursor: string | undefined
            do {
              const page: Page<Query.TransactionSummary> = yield* Query.transactions({
                ...filter,
                order,
                limit: 1,
                cursor
              })
              found.push(...page.items.map(({ changes, transaction }) => [transaction.id, changes.count] as const))
              cursor = Option.getOrUndefined(page.nextCursor)
            } while (cursor !== undefined)
            const expected = ["1", "2", "3", "4", "5"].map((id) => [id, Number(id) % 2] as const)
            expect(found).toEqual(order === "oldest" ? expected : expected.reverse())
          }
        }
      })
    )

    it.effect("find what lies behind many transactions that have nothing to show", () =>
      Effect.gen(function* () {
        yield* reset
        // Each began within the minute. Those in between captured nothing, or nothing before the minute was over.
        const ids = Array.from({ length: 90 }, (_, place) => String(place + 1))
        const shown = ["1", "2", "41", "89", "90"]
        yield* write({
          transactions: ids.map((id) => ({ id, occurredAt: at(Math.floor(Number(id) / 2)), actor: user })),
          changes: ids.flatMap((id) =>
            shown.includes(id)
              ? [
                  {
                    id,
                    transactionId: id,
                    at: at(Math.floor(Number(id) / 2)),
                    op: "insert",
                    key: id,
                    after: {}
                  } as const
                ]
              : Number(id) % 2 === 0
                ? [{ id, transactionId: id, at: at(70), op: "insert", key: id, after: {} } as const]
                : []
          )
        })
        const window = { actor: user, from: at(0), to: at(60) }
        for (const order of ["newest", "oldest"] as const) {
          const expected = order === "oldest" ? shown : [...shown].reverse()
          for (const limit of [1, 2, 50]) {
            const changes: Array<string> = []
            const transactions: Array<string> = []
            let cursor: string | undefined
            do {
              const page: Page<Query.Change> = yield* Query.timeline({ ...window, order, limit, cursor })
              changes.push(...page.items.map(({ transactionId }) => transactionId))
              cursor = Option.getOrUndefined(page.nextCursor)
            } while (cursor !== undefined)
            do {
              const page: Page<Query.TransactionSummary> = yield* Query.transactions({
                ...window,
                order,
                limit,
                cursor
              })
              transactions.push(...page.items.map(({ transaction }) => transaction.id))
              cursor = Option.getOrUndefined(page.nextCursor)
            } while (cursor !== undefined)
            expect([order, limit, changes, transactions]).toEqual([order, limit, expected, expected])
          }
        }
      })
    )

    it.effect("of actions hold what failed and what captured nothing", () =>
      Effect.gen(function* () {
        yield* prepared
        const names = (filter?: Query.FilterInput) =>
          Effect.map(Query.actions(filter), (page) => page.items.map(({ id }) => id))
        expect(yield* names()).toEqual(["3", "2", "1"])
        expect(yield* names({ order: "oldest" })).toEqual(["1", "2", "3"])
        expect(yield* names({ actionStatus: "error" })).toEqual(["2"])
        expect(yield* names({ action: ["post.created", "report.read"] })).toEqual(["3", "1"])
        expect(yield* names({ actor: user })).toEqual(["2", "1"])
        expect(yield* names({ actor: { type: "admin" } })).toEqual(["3"])
        expect(yield* names({ correlationId: "c", from: at(15) })).toEqual(["2"])
        expect(yield* names({ to: at(15) })).toEqual(["3", "2", "1"])
        expect(yield* names({ to: at(14) })).toEqual(["1"])
        expect(yield* names({ requestId: "r2" })).toEqual(["2"])
        expect(yield* names({ transactionId: "1" })).toEqual(["1"])
        expect(yield* names({ unattributed: true })).toEqual([])
        const first = yield* Query.actions({ limit: 2 })
        expect(first.hasMore).toBe(true)
        const rest = yield* Query.actions({ limit: 2, cursor: Option.getOrUndefined(first.nextCursor) })
        expect(rest.items.map(({ id }) => id)).toEqual(["1"])
        expect(rest.hasMore).toBe(false)
        expect([...(yield* Stream.runCollect(Query.actionsStream()))]).toHaveLength(3)
        const [failed] = (yield* Query.actions({ actionStatus: "error" })).items
        expect(failed).toMatchObject({ name: "post.published", transactionId: null, data: { reason: "no title" } })
        for (const [filter, expected] of [
          [{ table: "posts" }, "InvalidRequest: table: does not apply to actions"],
          [{ table: "posts", key: "1" }, "InvalidRequest: table: does not apply to actions"],
          [{ dbUser: "app" }, "InvalidRequest: dbUser: does not apply to actions"],
          [
            { correlationId: "c", includeCaptureOnly: true },
            "InvalidRequest: includeCaptureOnly: does not apply to actions"
          ]
        ] as const) {
          expect(yield* refusal(Query.actions(filter))).toBe(expected)
        }
        const partial = yield* Query.actions({ impersonator: support, limit: 1 }).pipe(
          Effect.provideService(Budget, { probe: 1, changes: 1, transactions: 1, visits: 1 })
        )
        expect(partial).toMatchObject({ hasMore: true, partial: true, items: [] })
      })
    )

    it.effect("of what nobody answers for name the database user", () =>
      Effect.gen(function* () {
        yield* prepared
        const page = yield* Query.unattributed()
        expect(page.items.map(({ transaction }) => [transaction.id, transaction.dbUser])).toEqual([["2", "psql"]])
        expect((yield* Query.unattributed({ dbUser: "app" })).items).toEqual([])
        expect([...(yield* Stream.runCollect(Query.unattributedStream()))]).toHaveLength(1)
        expect(yield* refusal(Query.unattributed({ actor: user }))).toMatch(/^InvalidRequest: unattributed: excludes/)
      })
    )

    it.effect("of an actor and of a correlation belong together", () =>
      Effect.gen(function* () {
        yield* prepared
        const ids = ({ actions, changes, transactions }: Query.Bundle) => ({
          actions: actions.items.map(({ id }) => id),
          transactions: transactions.items.map(({ transaction }) => transaction.id),
          changes: changes.items.map(({ id }) => id)
        })
        expect(ids(yield* Query.actorWindow(user))).toEqual({
          actions: ["2", "1"],
          transactions: ["4", "3", "1"],
          changes: ["4", "2", "1"]
        })
        expect(ids(yield* Query.actorWindow(user, { from: at(1), to: at(20), order: "oldest" }))).toEqual({
          actions: ["1", "2"],
          transactions: ["1", "3"],
          changes: ["2", "4"]
        })
        const correlation = yield* Query.correlation("c")
        expect(ids(correlation)).toEqual({ actions: ["2", "1"], transactions: ["2", "1"], changes: ["3", "2", "1"] })
        expect(ids(yield* Query.correlation("none"))).toEqual({ actions: [], transactions: [], changes: [] })
        const first = yield* Query.actorWindow(user, { limit: 1 })
        const next = yield* Query.transactions({
          actor: user,
          limit: 1,
          cursor: Option.getOrUndefined(first.transactions.nextCursor)
        })
        expect(next.items.map(({ transaction }) => transaction.id)).toEqual(["3"])
        const changes = yield* Stream.runCollect(Query.actorWindowStream(user, { to: at(5) }))
        expect([...changes].map(({ id }) => id)).toEqual(["2", "1"])
        const correlated = yield* Stream.runCollect(Query.correlationStream("c", { order: "oldest" }))
        expect([...correlated].map(({ id }) => id)).toEqual(["1", "2", "3"])
        expect(yield* refusal(Query.actorWindow({ type: "anonymous", id: "1" }))).toMatch(
          /an anonymous actor has no id/
        )
        expect(yield* refusal(Query.actorWindow(user, { from: at(2), to: at(1) }))).toMatch(/^InvalidRequest: to: /)
        expect(yield* refusal(Query.correlation(""))).toMatch(/^InvalidRequest: correlationId: /)
        const json = JSON.parse(Json.stringify(correlation)) as Record<string, { items: Array<unknown> }>
        expect(Object.entries(json).map(([name, page]) => [name, page.items.length])).toEqual([
          ["actions", 2],
          ["transactions", 2],
          ["changes", 3]
        ])
      })
    )

    it.effect("are counted up to a cap, and collected under one", () =>
      Effect.gen(function* () {
        yield* prepared
        expect(yield* Query.count()).toEqual({ count: 4, exact: true })
        expect(yield* Query.count({ table: "posts" }, { cap: 3 })).toEqual({ count: 3, exact: true })
        expect(yield* Query.count({}, { cap: 3 })).toEqual({ count: 3, exact: false })
        expect(yield* Query.count({ table: "posts", key: "1" })).toEqual({ count: 2, exact: true })
        expect(yield* refusal(Query.count({}, { cap: 0 }))).toMatch(/^InvalidRequest: cap: must be a whole number/)
        expect(yield* refusal(Query.count({ table: "nowhere" }))).toMatch(/^NotFound: table/)
        expect(yield* refusal(Query.count({ cursor: "x" }))).toBe("InvalidRequest: cursor: does not apply to a count")
        expect((yield* Query.collect({ table: "posts" })).map(({ id }) => id)).toEqual(["4", "3", "1"])
        expect((yield* Query.collect({}, { max: 4 })).length).toBe(4)
        expect(yield* refusal(Query.collect({}, { max: 3 }))).toMatch(/^InvalidRequest: max: more than 3 changes match/)
        expect(yield* refusal(Query.collect({}, { max: 10_001 }))).toMatch(/^InvalidRequest: max: must be/)
        const tight = { probe: 1, changes: 2, transactions: 2, visits: 2 }
        const counted = Query.count({ contains: { id: 1 } }, { cap: 1 })
        expect(yield* counted.pipe(Effect.provideService(Budget, tight))).toEqual({ count: 1, exact: false })
        expect(yield* Query.collect({ contains: { id: 1 } }).pipe(Effect.provideService(Budget, tight))).toHaveLength(2)
      })
    )

    it.effect("of an incident are streamed whole", () =>
      Effect.gen(function* () {
        yield* prepared
        const diffs = yield* Stream.runCollect(Query.incidentStream("1"))
        expect([...diffs].map(({ change }) => change.id)).toEqual(["1", "2"])
        expect(yield* refusal(Stream.runCollect(Query.incidentStream("99")))).toMatch(/^NotFound: transaction 99/)
      })
    )
  })
})
