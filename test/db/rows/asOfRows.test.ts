import * as SqlClient from "@effect/sql/SqlClient"
import { describe, expect, it } from "@effect/vitest"
import * as BigDecimal from "effect/BigDecimal"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as Stream from "effect/Stream"
import { Budget, type RowsBudget } from "../../../src/internal/rows/keyWalk.js"
import * as Json from "../../../src/Json.js"
import * as Query from "../../../src/Query.js"
import { apply, layer as captureLayer, run } from "../../support/capture.js"
import { change, record } from "../../support/changes.js"
import * as Model from "../../support/queryModel.js"
import { at, layer, reset, write } from "../../support/query.js"
import { runs } from "../../support/runs.js"

const insert = (second: number, key: string, row: Query.RowImage = {}) =>
  change("insert", second, { key, after: { id: key, ...row } })

const update = (second: number, key: string, from: Query.RowImage, row: Query.RowImage) =>
  change("update", second, { key, fields: Object.keys(from), from, after: { id: key, ...row } })

const remove = (second: number, key: string, row: Query.RowImage = {}) =>
  change("delete", second, { key, from: { id: key, ...row } })

const move = (second: number, from: string, to: string, row: Query.RowImage = {}) =>
  change("update", second, {
    key: to,
    previousKey: from,
    fields: ["id"],
    from: { id: from },
    after: { id: to, ...row }
  })

const small: RowsBudget = { entries: 6, stretch: 3, keys: 4, few: 0 }

const keysOf = (page: { readonly items: ReadonlyArray<Query.RowAsOf> }) => page.items.map(({ rowKey }) => rowKey)

/** Every page; all but partial ones must be as long as they may be. */
const everyRow = Effect.fnUntraced(function* (table: string, instant: string, options: Query.AsOfRowsOptions) {
  const items: Array<Query.RowAsOf> = []
  let cursor: string | undefined
  for (;;) {
    const page = yield* Query.asOfRows(table, instant, { ...options, cursor })
    items.push(...page.items)
    expect(page.hasMore).toBe(Option.isSome(page.nextCursor))
    if (!page.hasMore) {
      return items
    }
    if (!page.partial) {
      expect(page.items.length).toBe(options.limit)
    }
    cursor = Option.getOrUndefined(page.nextCursor)
  }
})

describe("Query.asOfRows", () => {
  it.layer(layer)("of a log", (it) => {
    it.effect("is the rows that were there, in the order of their keys", () =>
      Effect.gen(function* () {
        yield* record([
          insert(10, "2", { title: "b" }),
          insert(11, "10", { title: "a" }),
          insert(12, "1", { title: "c" }),
          insert(13, "é", { title: "d" }),
          update(20, "1", { title: "c" }, { title: "C" }),
          remove(30, "2", { title: "b" }),
          move(31, "10", "3", { title: "a" }),
          insert(40, "9", {}),
          // Known only since: it was there before, in a form that was replaced.
          update(50, "old", { title: "x" }, { title: "y" }),
          remove(51, "gone", { title: "z" }),
          move(52, "from", "to", { title: "m" }),
          change("baseline", 53, { key: "base", after: { id: "base" } })
        ])
        const page = yield* Query.asOfRows("posts", at(15))
        expect(page).toMatchObject({ hasMore: false, partial: false })
        expect(page.items).toEqual([
          { rowKey: "1", rowPk: { id: "1" }, row: { id: "1", title: "c" } },
          { rowKey: "10", rowPk: { id: "10" }, row: { id: "10", title: "a" } },
          { rowKey: "2", rowPk: { id: "2" }, row: { id: "2", title: "b" } },
          { rowKey: "from", rowPk: { id: "from" }, row: { id: "from", title: "m" }, rebuilt: true },
          { rowKey: "gone", rowPk: { id: "gone" }, row: { id: "gone", title: "z" }, rebuilt: true },
          { rowKey: "old", rowPk: { id: "old" }, row: { id: "old", title: "x" }, rebuilt: true },
          { rowKey: "é", rowPk: { id: "é" }, row: { id: "é", title: "d" } }
        ])
        expect(keysOf(yield* Query.asOfRows("posts", at(35)))).toEqual(["1", "3", "from", "gone", "old", "é"])
        expect(keysOf(yield* Query.asOfRows("posts", at(99)))).toEqual(["1", "3", "9", "base", "old", "to", "é"])
        expect(keysOf(yield* Query.asOfRows("posts", at(0)))).toEqual(["from", "gone", "old"])
        expect(keysOf(yield* Query.asOfRows("notes", at(99)))).toEqual([])
        expect(page.items.slice(0, 1).map(Json.stringify)).toEqual([
          `{"rowKey":"1","rowPk":{"id":"1"},"row":{"id":"1","title":"c"}}`
        ])
      })
    )

    it.effect("knows TRUNCATEs of the table and of its rows", () =>
      Effect.gen(function* () {
        yield* record([
          insert(10, "1"),
          insert(10, "2"),
          change("truncate", 20, { from: { id: "1" } }),
          change("truncate", 30, { key: null }),
          insert(40, "1"),
          // It may have been there before the TRUNCATE, but not this form of it.
          update(50, "3", { title: "a" }, { title: "b" })
        ])
        const allKeys = (second: number) => Effect.map(Query.asOfRows("posts", at(second)), keysOf)
        expect(yield* allKeys(15)).toEqual(["1", "2"])
        expect(yield* allKeys(25)).toEqual(["2"])
        expect(yield* allKeys(35)).toEqual(["3"])
        expect(yield* allKeys(45)).toEqual(["1", "3"])
      })
    )

    it.effect("is asked for by keys, by fields and by a condition over the image at that instant", () =>
      Effect.gen(function* () {
        yield* record([
          insert(10, "1", { state: "open", total: BigDecimal.make(110n, 2), n: 9007199254740993n }),
          insert(10, "2", { state: "open", total: BigDecimal.make(9n, 0), n: 9007199254740992n }),
          insert(10, "3", { state: null }),
          update(20, "1", { state: "open" }, { state: "paid", total: BigDecimal.make(110n, 2) }),
          // Before it was captured it was open.
          update(30, "4", { state: "open" }, { state: "paid" })
        ])
        const asked = (options: Query.AsOfRowsOptions, second = 15) =>
          Effect.map(Query.asOfRows("posts", at(second), options), keysOf)
        expect(yield* asked({ contains: { state: "open" } })).toEqual(["1", "2", "4"])
        expect(yield* asked({ contains: { state: "open" } }, 25)).toEqual(["2", "4"])
        expect(yield* asked({ contains: { state: "open" } }, 35)).toEqual(["2"])
        expect(yield* asked({ contains: { state: null } })).toEqual(["3"])
        expect(yield* asked({ contains: { n: 9007199254740993n } })).toEqual(["1"])
        expect(yield* asked({ contains: { total: BigDecimal.make(11n, 1) } })).toEqual(["1"])
        const rich: Query.ImageCondition = (image, sql) => sql`(${image} ->> 'total')::numeric > ${1} or false`
        expect(yield* asked({ where: rich })).toEqual(["1", "2"])
        expect(yield* asked({ where: rich, contains: { n: 9007199254740992n } })).toEqual(["2"])
        expect(yield* asked({ keys: ["4", 1, "99", "1"] })).toEqual(["1", "4"])
        expect(yield* asked({ keys: ["4", 3], where: rich })).toEqual([])
        expect(yield* asked({ keys: [] })).toEqual([])
        const page = yield* Query.asOfRows("posts", at(15), { keys: [3, 2, 1], limit: 2 })
        expect(keysOf(page)).toEqual(["1", "2"])
        const cursor = Option.getOrThrow(page.nextCursor)
        expect(yield* asked({ keys: [3, 2, 1], cursor })).toEqual(["3"])
      })
    )

    it.effect("answers every one of several keys, in the order asked", () =>
      Effect.gen(function* () {
        yield* record([insert(10, "1"), remove(20, "1"), insert(10, "2"), move(20, "2", "3"), insert(30, "4")])
        const answers = yield* Query.asOfKeys("posts", ["4", 3, 2, "1", "9", 3n], at(25))
        expect(answers.map(({ answer, rowKey, rowPk }) => [rowKey, rowPk?.["id"], answer._tag])).toEqual([
          ["4", "4", "NotYetCreated"],
          ["3", "3", "Present"],
          ["2", "2", "MovedTo"],
          ["1", "1", "Deleted"],
          ["9", "9", "BeforeCapture"],
          ["3", "3", "Present"]
        ])
        expect(answers.map(Json.stringify).slice(1, 3)).toEqual([
          `{"rowKey":"3","rowPk":{"id":"3"},"answer":"Present","row":{"id":"3"},"at":"${at(25)}"}`,
          `{"rowKey":"2","rowPk":{"id":"2"},"answer":"MovedTo","key":"3","at":"${at(25)}"}`
        ])
        expect(yield* Query.asOfKeys("posts", [], at(25))).toEqual([])
      })
    )

    it.effect("writes a composite key by column", () =>
      Effect.gen(function* () {
        const key = (account: string, person: number) => `["${account}","${person}"]`
        const row = { account: "acme", person: 7, role: "owner" }
        yield* record([
          { ...insert(10, key("acme", 8), row), table: "members" },
          {
            ...change("update", 20, {
              key: key("acme", 9),
              previousKey: key("acme", 7),
              fields: ["person"],
              from: { person: 7 },
              after: { ...row, person: 9 }
            }),
            table: "members"
          }
        ])
        const page = yield* Query.asOfRows("members", at(5), { keys: [["acme", 7], { account: "acme", person: "8" }] })
        expect(page.items).toEqual([
          { rowKey: key("acme", 7), rowPk: { account: "acme", person: "7" }, row, rebuilt: true }
        ])
      })
    )

    it.effect("goes on where a cursor is, and only for its own question", () =>
      Effect.gen(function* () {
        yield* record(["1", "2", "3", "4"].map((key) => insert(10, key, { state: "open" })))
        const where: Query.ImageCondition = (image, sql) => sql`${image} ->> 'state' = ${"open"}`
        const page = yield* Query.asOfRows("posts", at(15), { where, limit: 2 })
        const cursor = Option.getOrThrow(page.nextCursor)
        yield* write({ changes: [insert(12, "11", { state: "open" }), insert(12, "33", { state: "open" })] })
        expect(keysOf(yield* Query.asOfRows("posts", at(15), { where, cursor }))).toEqual(["3", "33", "4"])
        const rest = yield* Stream.runCollect(Query.asOfRowsStream("posts", at(15), { where, cursor }))
        expect(keysOf({ items: [...rest] })).toEqual(["3", "33", "4"])
        for (const read of [
          Query.asOfRows("posts", at(16), { where, cursor }),
          Query.asOfRows("notes", at(15), { where, cursor }),
          Query.asOfRows("posts", at(15), { cursor }),
          Query.asOfRows("posts", at(15), { where, contains: { state: "open" }, cursor }),
          Query.asOfRows("posts", at(15), {
            where: (image, sql) => sql`${image} ->> 'state' = ${"paid"}`,
            cursor
          }),
          Query.asOfRows("posts", at(15), { cursor: "x" })
        ]) {
          expect(yield* Effect.flip(read)).toMatchObject({ _tag: "threadline/InvalidRequest", field: "cursor" })
        }
      })
    )

    it.effect("goes on with a cursor however its numbers are written, and takes what numeric holds", () =>
      Effect.gen(function* () {
        const n = 10n ** 21n
        yield* record(["1", "2", "3"].map((key) => insert(10, key, { n, m: BigDecimal.make(110n, 2) })))
        const page = yield* Query.asOfRows("posts", at(15), { contains: { n: 1e21, m: 1.1 }, limit: 2 })
        expect(keysOf(page)).toEqual(["1", "2"])
        const cursor = Option.getOrThrow(page.nextCursor)
        for (const contains of [
          { n, m: BigDecimal.make(11n, 1) },
          { m: BigDecimal.make(1100n, 3), n: BigDecimal.make(1n, -21) }
        ]) {
          expect(keysOf(yield* Query.asOfRows("posts", at(15), { contains, cursor }))).toEqual(["3"])
        }
        for (const contains of [
          { n: BigDecimal.make(1n, -131_071) },
          { n: BigDecimal.make(-99n, -131_070) },
          { n: BigDecimal.make(1n, 16_000) }
        ]) {
          expect(keysOf(yield* Query.asOfRows("posts", at(15), { contains }))).toEqual([])
          expect((yield* Query.timeline({ contains })).items).toEqual([])
          expect((yield* Query.timeline({ meta: contains })).items).toEqual([])
        }
        const found = yield* Query.timeline({ contains: { n: 1e21 }, limit: 1 })
        const url = `contains={%22n%22:1.0e21}&limit=1&cursor=${Option.getOrThrow(found.nextCursor)}`
        const next = yield* Effect.flatMap(Query.filterFromUrl(url), Query.timeline)
        expect(next.items).toHaveLength(1)
      })
    )

    it.effect("refuses what no database can answer", () =>
      Effect.gen(function* () {
        yield* reset
        for (const [field, read] of [
          ["table", Query.asOfRows("logs", at(0))],
          ["table", Query.asOfKeys("logs", ["1"], at(0))],
          ["table", Query.asOfRows("a b", at(0))],
          ["instant", Query.asOfRows("posts", "soon")],
          ["instant", Query.asOfKeys("posts", ["1"], "soon")],
          ["limit", Query.asOfRows("posts", at(0), { limit: 1001 })],
          ["contains", Query.asOfRows("posts", at(0), { contains: "open" as never })],
          ["contains", Query.asOfRows("posts", at(0), { contains: {} })],
          ["contains", Query.asOfRows("posts", at(0), { contains: { state: "\0" } })],
          ["contains", Query.asOfRows("posts", at(0), { contains: { "\ud800": 1 } })],
          ["contains", Query.asOfRows("posts", at(0), { contains: { n: BigDecimal.make(1n, -131_072) } })],
          ["keys", Query.asOfRows("posts", at(0), { keys: ["\ud800"] })],
          ["keys", Query.asOfKeys("posts", [Number.NaN], at(0))],
          ["key", Query.asOf("posts", "\0", at(0))],
          ["key", Query.history("posts", null as never)],
          ["where", Query.asOfRows("posts", at(0), { where: "true" as never })],
          ["keys", Query.asOfRows("posts", at(0), { keys: Array.from({ length: 1001 }, (_, index) => index) })],
          ["keys", Query.asOfKeys("members", ["1"], at(0))],
          ["keys", Query.asOfKeys("things", ["no uuid"], at(0))],
          ["colour", Query.asOfRows("posts", at(0), { colour: "red" } as never)]
        ] as const) {
          expect(yield* Effect.flip<unknown, Query.ReadError, Query.Query>(read)).toMatchObject({
            _tag: "threadline/InvalidRequest",
            field
          })
        }
        expect(yield* Effect.flip(Query.asOfRows("unknown", at(0)))).toMatchObject({
          _tag: "threadline/NotFound",
          subject: "table"
        })
      })
    )

    it.effect("says that a condition fails, and not on what", () =>
      Effect.gen(function* () {
        yield* record([insert(10, "1", { n: "a secret" }), update(20, "2", { n: "another" }, { n: 5 })])
        const where: Query.ImageCondition = (image, sql) => sql`(${image} ->> 'n')::int = 5`
        for (const keys of [["1"], ["2"]]) {
          const error = yield* Effect.flip(Query.asOfRows("posts", at(15), { where, keys }))
          expect(error).toMatchObject({ _tag: "threadline/InvalidRequest", field: "where" })
          expect(error.message).toContain("22P02")
          expect(error.message).not.toContain("another")
          expect(error.message).not.toContain("secret")
        }
        expect(keysOf(yield* Query.asOfRows("posts", at(25), { where, keys: ["2"] }))).toEqual(["2"])
      })
    )

    it.effect("says of a condition that the database does not understand what it does not understand", () =>
      Effect.gen(function* () {
        yield* record([insert(10, "1", { n: "a secret" }), update(20, "2", { n: "another" }, { n: 5 })])
        const refused = <R>(read: Effect.Effect<unknown, Query.ReadError, R>) =>
          Effect.map(Effect.flip(read), ({ _tag, message }) => `${_tag.replace("threadline/", "")}: ${message}`)
        const refusal = (field: string, told: string) =>
          `InvalidRequest: ${field}: is not understood by the database: ${told}`
        const mine = Query.withScope((_, { sql }) => sql`true`)
        const wrongScope = Query.withScope((_, { sql }) => sql`no_such_tenant = 'A'`)
        const wrong: ReadonlyArray<readonly [where: Query.ImageCondition, told: string]> = [
          [(_, sql) => sql`no_such_column = 1`, 'column "no_such_column" does not exist'],
          [(image, sql) => sql`no_such_function(${image})`, "function no_such_function(jsonb) does not exist"],
          [(image, sql) => sql`${image} + 1 = 2`, "operator does not exist: jsonb + integer"],
          [(_, sql) => sql`exists (select from nowhere)`, 'relation "nowhere" does not exist'],
          [(image, sql) => sql`${image} = `, 'syntax error at or near ")"'],
          [(image, sql) => sql`${image}`, "COALESCE types jsonb and boolean cannot be matched"],
          [(_, sql) => sql`generate_series(1, 2) = 1`, "set-returning functions are not allowed in COALESCE"]
        ]
        for (const [where, told] of wrong) {
          for (const contains of [undefined, { id: "1" }]) {
            const read = Query.asOfRows("posts", at(15), { where, contains })
            expect(yield* refused(read)).toBe(refusal("where", told))
            // Under a scope it is still the caller's own condition, and that of a scope the scope's.
            expect(yield* refused(mine(read))).toBe(refusal("where", told))
          }
        }
        const fine: Query.ImageCondition = (image, sql) => sql`${image} ->> 'n' = 'a secret'`
        for (const options of [{}, { where: fine }, { contains: { n: 5 } }]) {
          expect(yield* refused(wrongScope(Query.asOfRows("posts", at(15), options)))).toBe(
            refusal("scope", 'column "no_such_tenant" does not exist')
          )
        }
        const casting = Query.withScope(
          (surface, columns) => surface === "changes" && columns.sql`(${columns.image} ->> 'n')::int = 5`
        )
        for (const options of [{}, { contains: { n: 5 } }]) {
          const error = yield* Effect.flip(casting(Query.asOfRows("posts", at(15), options)))
          expect(error).toMatchObject({ _tag: "threadline/InvalidRequest", field: "scope" })
          expect(error.message).toContain("22P02")
          expect(error.message).not.toMatch(/secret|another/)
        }
      })
    )

    it.effect("stops a long search and goes on with it", () =>
      Effect.gen(function* () {
        const keys = Array.from({ length: 40 }, (_, index) => String(100 + index))
        yield* record([
          // Other tables have keys in between, and one row is busy.
          ...keys.map((key) => ({ ...insert(5, `${key}-`), table: "notes" })),
          ...keys.map((key, index) => insert(10, key, { n: index })),
          ...keys.map((_, index) => update(20 + index, "105", { n: index }, { n: 5 }))
        ])
        for (const budget of [
          { ...small, few: 0 },
          { ...small, few: 1000 },
          // Two stretches show that the table is rare.
          { ...small, entries: 12, few: 100 }
        ]) {
          const rowsPageByPage = yield* everyRow("posts", at(15), { limit: 3 }).pipe(
            Effect.provideService(Budget, budget)
          )
          expect(keysOf({ items: rowsPageByPage })).toEqual(keys)
          const first = yield* Query.asOfRows("posts", at(15), { contains: { n: 33 } }).pipe(
            Effect.provideService(Budget, budget)
          )
          expect(first).toMatchObject({ items: [], hasMore: true, partial: true })
          const matchingRows = yield* everyRow("posts", at(15), { contains: { n: 33 }, limit: 3 }).pipe(
            Effect.provideService(Budget, budget)
          )
          expect(keysOf({ items: matchingRows })).toEqual(["133"])
        }
      })
    )
  })
})

/** The key behind which a cursor goes on: what retention made of a row that was passed is not looked at again. */
const passed = (cursor: string | undefined): string =>
  Buffer.from(cursor ?? "", "base64url")
    .toString()
    .replace(/^1 \S+ /, "")

const conditions: ReadonlyArray<{
  readonly options: Query.AsOfRowsOptions
  readonly holds: (row: Query.RowImage) => boolean
}> = [
  { options: {}, holds: () => true },
  { options: { contains: { v: 0 } }, holds: (row) => row["v"] === 0 },
  { options: { contains: { tag: 2 } }, holds: (row) => row["tag"] === 2 },
  {
    options: { where: (image, sql) => sql`(${image} ->> 'v')::int > ${0}` },
    holds: (row) => Number(row["v"]) > 0
  },
  {
    options: { where: (image, sql) => sql`(${image} ->> 'tag')::int % 2 = 0`, contains: { v: 0 } },
    holds: (row) => Number(row["tag"]) % 2 === 0 && row["v"] === 0
  }
]

describe("Query.asOfRows, against a simulated table", () => {
  it.layer(layer)("reads", (it) => {
    for (const [label, budget] of [
      ["by the index of keys", { entries: 40_000, stretch: 2000, keys: 2000, few: 0 }],
      ["of few changes", { entries: 40_000, stretch: 2, keys: 2000, few: 1000 }],
      ["bit by bit", small]
    ] as const) {
      it.effect(
        `${label}, while retention removes what is old`,
        () =>
          Effect.flatMap(Effect.runtime<Query.Query | SqlClient.SqlClient>(), (runtime) =>
            Effect.promise(() =>
              FastCheck.assert(
                FastCheck.asyncProperty(
                  Model.plans,
                  FastCheck.array(
                    FastCheck.record({
                      die: FastCheck.nat(99),
                      limit: FastCheck.integer({ min: 1, max: 5 }),
                      condition: FastCheck.constantFrom(...conditions),
                      horizon: FastCheck.option(FastCheck.nat(99), { nil: undefined }),
                      at: FastCheck.nat(3)
                    }),
                    { minLength: 4, maxLength: 4 }
                  ),
                  (plan, questions) =>
                    Runtime.runPromise(runtime)(
                      Effect.gen(function* () {
                        const sql = yield* SqlClient.SqlClient
                        let simulation = Model.simulate(plan)
                        yield* Effect.andThen(reset, write(simulation.log))
                        const instants = [0, ...Model.instants(simulation)]
                        for (const { at: when, condition, die, horizon, limit } of questions) {
                          const micros = instants[die % instants.length] ?? 0
                          let cursor: string | undefined
                          for (let count = 0; ; count++) {
                            const page = yield* Query.asOfRows("posts", Model.timeOf(micros), {
                              ...condition.options,
                              limit,
                              cursor
                            })
                            const behind = Model.expectedRows(simulation, "posts", micros).filter(
                              ([key, row]) => condition.holds(row) && key > passed(cursor)
                            )
                            expect(page.items).toEqual(
                              behind
                                .slice(0, page.partial ? page.items.length : limit)
                                .map(([key, row, mark]) => ({ rowKey: key, rowPk: { id: key }, row, ...mark }))
                            )
                            if (!page.partial) {
                              expect(page.hasMore).toBe(behind.length > limit)
                            }
                            if (!page.hasMore) {
                              expect(behind.length).toBe(page.items.length)
                              break
                            }
                            cursor = Option.getOrUndefined(page.nextCursor)
                            if (horizon !== undefined && count === when) {
                              const before = (instants[horizon % instants.length] ?? 0) + 1
                              yield* sql`
                                delete from threadline.audit_changes where captured_at < ${Model.timeOf(before)}::timestamptz
                              `
                              simulation = Model.purged(simulation, before)
                            }
                          }
                        }
                      }).pipe(Effect.provideService(Budget, budget))
                    )
                ),
                { numRuns: runs(20), endOnFailure: true }
              )
            )
          ),
        300_000
      )
    }
  })
})

describe("Query.asOfRows, of what triggers capture", () => {
  it.layer(Query.layer.pipe(Layer.provideMerge(captureLayer)))("is", (it) => {
    for (const [label, create] of [
      ["a table", "create table seats (hall text, id int, label text, primary key (hall, id) deferrable)"],
      [
        "a partitioned table",
        `create table seats (hall text, id int, label text, primary key (hall, id) deferrable) partition by list (hall);
         create table seats_a partition of seats for values in ('a');
         create table seats_b partition of seats default`
      ]
    ] as const) {
      it.effect(`${label} as it was after each statement`, () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          yield* run("drop table if exists seats", create)
          yield* sql`truncate threadline.audit_changes, threadline.audit_transactions`
          yield* apply([{ table: "seats" }])
          const history: Array<readonly [instant: string, rows: unknown]> = []
          for (const statement of [
            "insert into seats select h, i, 'x' from unnest('{a,b}'::text[]) h cross join generate_series(1, 6) i",
            "update seats set label = h.id from (select 1 as id) h where seats.id = 2",
            "delete from seats where id = 3",
            "update seats set hall = 'b', id = id + 100 where hall = 'a' and id > 4",
            "update seats set id = id + 1000 where hall = 'b'",
            "insert into seats values ('a', 3, 'again'), ('c', 1, 'new')",
            "update seats set hall = case hall when 'a' then 'c' else 'a' end where id = 1",
            "truncate seats",
            "insert into seats values ('a', 1, 'last')"
          ]) {
            yield* run(statement)
            const [now] = yield* sql<{ at: string; rows: string }>`
              select
                to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at,
                (select coalesce(json_agg(to_jsonb(s)), '[]') from seats s)::text as rows
            `
            history.push([now?.at ?? "", JSON.parse(now?.rows ?? "")])
          }
          const sorted = (rows: ReadonlyArray<unknown>) => rows.map((row) => JSON.stringify(row)).sort()
          for (const [instant, rows] of history) {
            for (const budget of [small, { entries: 40_000, stretch: 2000, keys: 2000, few: 20_000 }]) {
              const rowsPageByPage = yield* everyRow("seats", instant, { limit: 3 }).pipe(
                Effect.provideService(Budget, budget)
              )
              expect(sorted(rowsPageByPage.map(({ row }) => row))).toEqual(sorted(rows as ReadonlyArray<unknown>))
              expect(rowsPageByPage.map(({ rowPk }) => rowPk)).toEqual(
                rowsPageByPage.map(({ row }) => ({ hall: row["hall"], id: Json.stringify(row["id"] ?? null) }))
              )
              const inB = yield* everyRow("seats", instant, { limit: 3, contains: { hall: "b" } }).pipe(
                Effect.provideService(Budget, budget)
              )
              expect(inB).toEqual(rowsPageByPage.filter(({ row }) => row["hall"] === "b"))
            }
          }
        })
      )
    }
  })
})
