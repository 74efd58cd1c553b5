import * as SqlClient from "@effect/sql/SqlClient"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as Stream from "effect/Stream"
import { apply as grant } from "../../../src/internal/schema/grants.js"
import { Budget } from "../../../src/internal/search/budget.js"
import * as walks from "../../../src/internal/rows/keyWalk.js"
import type { Page } from "../../../src/Page.js"
import * as Query from "../../../src/Query.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import { asA, at, type ChangeSeed, layer, type Log, ofTenant, refusal, reset, write } from "../../support/query.js"
import { runs } from "../../support/runs.js"

const wholeLog = ["A", "B", "A", "B", "B", "A"]

/** A transaction, an action, and a change of each of two rows for every tenant of a list. */
const logOf = (tenants: ReadonlyArray<string>): Log => ({
  transactions: tenants.map((_, index) => ({
    id: String(index + 1),
    occurredAt: at(index),
    actor: { type: "user", id: "1" },
    correlationId: "c",
    actionId: String(index + 1)
  })),
  actions: tenants.map((tenant, index) => ({
    id: String(index + 1),
    transactionId: String(index + 1),
    name: "did",
    actor: { type: "user", id: "1" },
    correlationId: "c",
    occurredAt: at(index),
    data: { tenant }
  })),
  changes: tenants.flatMap((tenant, index): ReadonlyArray<ChangeSeed> => {
    const change = { transactionId: String(index + 1), at: at(index), op: "insert" } as const
    return [
      { ...change, id: String(2 * index + 1), key: `k${index}-of-${tenant}`, after: { tenant, n: index } },
      {
        ...change,
        id: String(2 * index + 2),
        op: index === 0 ? "insert" : "update",
        key: "shared",
        fields: index === 0 ? null : ["tenant"],
        from: index === 0 ? null : { tenant: tenants[index - 1] ?? "" },
        after: { tenant, n: -1 }
      }
    ]
  })
})

type Cursor = string | undefined

type Read = (cursor: Cursor) => Effect.Effect<Page<unknown>, Query.ReadError, Query.Query>

const limit = 1
const oldest = { limit, order: "oldest" } as const

/** Every read that hands out a cursor. */
const reads: Readonly<Record<string, Read>> = {
  timeline: (cursor) => Query.timeline({ limit, cursor }),
  "timeline, oldest first": (cursor) => Query.timeline({ ...oldest, cursor }),
  "timeline of a row": (cursor) => Query.timeline({ table: "posts", key: "shared", limit, cursor }),
  "timeline of an actor": (cursor) => Query.timeline({ actor: { type: "user" }, limit, cursor }),
  "timeline in a time": (cursor) => Query.timeline({ from: at(0), to: at(50), limit, cursor }),
  history: (cursor) => Query.history("posts", "shared", { limit, cursor }),
  "history, oldest first": (cursor) => Query.history("posts", "shared", { ...oldest, cursor }),
  transactions: (cursor) => Query.transactions({ limit, cursor }),
  "transactions, oldest first": (cursor) => Query.transactions({ ...oldest, cursor }),
  "transactions of a row": (cursor) => Query.transactions({ table: "posts", key: "shared", limit, cursor }),
  actions: (cursor) => Query.actions({ limit, cursor }),
  "actions, oldest first": (cursor) => Query.actions({ ...oldest, cursor }),
  "actions of a correlation": (cursor) => Query.actions({ correlationId: "c", limit, cursor }),
  "changes of an actor": (cursor) =>
    Effect.map(Query.actorWindow({ type: "user" }, { limit, cursor }), ({ changes }) => changes),
  "changes of a correlation": (cursor) =>
    Effect.map(Query.correlation("c", { limit, cursor }), ({ changes }) => changes),
  incident: (cursor) => Effect.map(Query.incident("1", { limit, cursor }), ({ changes }) => changes),
  "incident, newest first": (cursor) =>
    Effect.map(Query.incident("1", { limit, order: "newest", cursor }), ({ changes }) => changes),
  asOfRows: (cursor) => Query.asOfRows("posts", at(50), { limit, cursor }),
  "asOfRows of keys": (cursor) =>
    Query.asOfRows("posts", at(50), { keys: ["k0-of-A", "k1-of-B", "k2-of-A", "k5-of-A"], limit, cursor }),
  "rows of a relation": (cursor) =>
    cursor === undefined
      ? Effect.map(
          Query.asOfWith("posts", "shared", at(0), { same: { table: "posts", columns: { tenant: "tenant" }, limit } }),
          ({ related }) => related.same
        )
      : Query.asOfRows("posts", at(0), { contains: { tenant: "A" }, limit, cursor })
}

/** `posts` by a text, for keys that tell whose they are. */
const prepare = (log: Log) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    yield* reset
    yield* sql`
      update threadline.capture_policies
      set key_columns = '[{"name":"id","attnum":1,"type":"text","text":"text"}]'
      where table_name = 'posts'`
    yield* write(log)
  })

const prepared = prepare(logOf(wholeLog))

/** The changes of an actor window are the timeline of that actor, which goes on with their cursor. */
const sameQuestion = ["timeline of an actor", "changes of an actor"]

const sealedRefusal = "InvalidRequest: cursor: is not a cursor of this query"

/** A layer of its own, as in another process: nothing that another one knows is known to it. */
const elsewhere = <A, E>(read: Effect.Effect<A, E, Query.Query>, client?: SqlClient.SqlClient) =>
  Effect.flatMap(SqlClient.SqlClient, (own) =>
    Effect.provide(
      read,
      Layer.fresh(Query.layer).pipe(Layer.provide(Layer.succeed(SqlClient.SqlClient, client ?? own)))
    )
  )

/** Every page, the cursors between them, and what they show. */
const pages = Effect.fnUntraced(function* <E, R>(read: (cursor: Cursor) => Effect.Effect<Page<unknown>, E, R>) {
  const items: Array<unknown> = []
  const cursors: Array<string> = []
  for (let cursor: Cursor; ;) {
    const page = yield* read(cursor)
    items.push(...page.items)
    cursor = Option.getOrUndefined(page.nextCursor)
    if (cursor === undefined) {
      return { items, cursors }
    }
    cursors.push(cursor)
  }
})

const textOf = (cursor: string): string => Buffer.from(cursor, "base64url").toString("latin1")

/** A readable cursor with another place in it. */
const placed = (cursor: string, place: string): string =>
  Buffer.from(textOf(cursor).replace(/^(\S+ \S+ )[^]*$/, `$1${place}`)).toString("base64url")

const firstCursor = (read: Read) =>
  Effect.map(read(undefined), ({ nextCursor }) => Option.getOrElse(nextCursor, () => ""))

const cursorKey = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  Effect.map(
    sql<{ key: string }>`select encode(key, 'hex') as key from threadline.cursor_keys`,
    (rows) => rows[0]?.key ?? ""
  )
)

describe("cursors under a scope", () => {
  it.layer(layer)("of every read", (it) => {
    for (const [name, read] of Object.entries(reads)) {
      it.effect(`go on in another process, and are opaque: ${name}`, () =>
        Effect.gen(function* () {
          yield* prepared
          const { cursors, items } = yield* pages((cursor) => asA(read(cursor)))
          const there = yield* pages((cursor) => elsewhere(asA(read(cursor))))
          expect(there.items).toEqual(items)
          expect(items.length).toBeGreaterThan(name.startsWith("incident") || name.startsWith("rows of") ? 1 : 2)
          expect(new Set(cursors.map(({ length }) => length)).size).toBe(1)
          for (const cursor of cursors) {
            expect(textOf(cursor)).not.toMatch(/of-|shared|^1 /)
          }
        })
      )

      it.effect(`are the only ones that are accepted: ${name}`, () =>
        Effect.gen(function* () {
          yield* prepared
          const open = yield* firstCursor(read)
          const sealed = yield* firstCursor((cursor) => asA(read(cursor)))
          expect(textOf(open)).toMatch(/^1 /)
          expect(yield* refusal(read(open))).toBe("accepted")
          expect(yield* refusal(asA(read(sealed)))).toBe("accepted")
          expect(yield* refusal(read(sealed))).toBe("InvalidRequest: cursor: is not a cursor")
          const micros = BigInt(Date.parse(at(1))) * 1000n
          const forged = ["", "kk1-of-B", "k1-of-B", `c${micros} 3`, `p${micros} 3`, `${micros} 3`, "2 3"]
          for (const cursor of [open, ...forged.map((place) => placed(open, place))]) {
            expect(yield* refusal(asA(read(cursor)))).toBe(sealedRefusal)
          }
          const bytes = Buffer.from(sealed, "base64url")
          for (let index = 0; index < bytes.length; index += 7) {
            const edited = Buffer.from(bytes)
            edited[index] = (edited[index] ?? 0) ^ 1
            expect(yield* refusal(asA(read(edited.toString("base64url"))))).toBe(sealedRefusal)
          }
          // A cursor of one scope does not page under another, nor under a scope within it.
          for (const other of [
            Query.withScope(read(sealed), ofTenant("B")),
            Query.withScope(asA(read(sealed)), () => true)
          ]) {
            expect(yield* refusal(other)).toBe(sealedRefusal)
          }
        })
      )

      it.effect(`belong to their own question: ${name}`, () =>
        Effect.gen(function* () {
          yield* prepared
          const sealed = yield* firstCursor((cursor) => asA(read(cursor)))
          for (const [other, another] of Object.entries(reads)) {
            const same = other === name || (sameQuestion.includes(name) && sameQuestion.includes(other))
            expect([other, yield* refusal(asA(another(sealed)))]).toEqual([other, same ? "accepted" : sealedRefusal])
          }
        })
      )
    }

    it.effect("neither tell of a hidden change nor begin behind one", () =>
      Effect.gen(function* () {
        yield* prepared
        const sql = yield* SqlClient.SqlClient
        const [hidden] = yield* sql<{ id: string; micros: string }>`
          select id::text as id, (extract(epoch from captured_at) * 1000000)::bigint::text as micros
          from threadline.audit_changes where row_key = 'k1-of-B'`
        const rows: Read = (cursor) => Query.asOfRows("posts", at(50), { cursor, limit })
        const own = yield* firstCursor((cursor) => asA(rows(cursor)))
        const open = yield* firstCursor(rows)
        // The two must not be told apart, whatever the form.
        for (const id of [hidden?.id ?? "", "999"]) {
          for (const cursor of [
            placed(open, `c${hidden?.micros} ${id}`),
            placed(own, `c${hidden?.micros} ${id}`),
            Buffer.from(`1 AAAAAAAAAAAAAAAA c${hidden?.micros} ${id}`).toString("base64url")
          ]) {
            expect(yield* refusal(asA(rows(cursor)))).toBe(sealedRefusal)
          }
        }
      })
    )

    it.effect("hold where a search ended among hidden rows, in one length, whatever retention removes", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const keyOf = (index: number) => `${String.fromCharCode(97 + index)}-hidden${"x".repeat(index * 60)}`
        const hidden = Array.from({ length: 8 }, (_, index): ChangeSeed => ({
          id: String(index + 1),
          transactionId: "1",
          at: at(1),
          op: "insert",
          key: keyOf(index),
          after: { tenant: "B" }
        }))
        yield* prepare({
          transactions: [{ id: "1", occurredAt: at(0) }],
          changes: [
            ...hidden,
            // After the horizon that the removal below leaves.
            { id: "99", transactionId: "1", at: at(2), op: "insert", key: "z", after: { tenant: "A" } }
          ]
        })
        const tight = Effect.provideService(walks.Budget, { entries: 1, stretch: 1, keys: 1, few: 0 })
        const read: Read = (cursor) => asA(Query.asOfRows("posts", at(50), { cursor })).pipe(tight)
        const { cursors, items } = yield* pages(read)
        expect(items).toMatchObject([{ rowKey: "z" }])
        expect(cursors.length).toBeGreaterThan(7)
        expect(new Set(cursors.map(({ length }) => length)).size).toBe(1)
        for (const cursor of cursors) {
          expect(textOf(cursor)).not.toContain("hidden")
        }
        yield* sql`delete from threadline.audit_changes where row_key like '%hidden%'`
        for (const cursor of cursors.slice(0, 8)) {
          const rest = yield* pages((next) => read(next ?? cursor))
          expect(rest.items).toMatchObject([{ rowKey: "z" }])
        }
      })
    )

    it.effect("of streams begin where a page ended, and end as it would", () =>
      Effect.gen(function* () {
        yield* prepared
        const { items } = yield* pages((cursor) => asA(Query.timeline({ limit, cursor })))
        const cursor = yield* firstCursor((next) => asA(Query.timeline({ limit, cursor: next })))
        const rest = yield* asA(Stream.runCollect(Query.timelineStream({ cursor })))
        expect([...rest]).toEqual(items.slice(1))
        expect(yield* asA(Query.collect({ cursor }))).toEqual(items.slice(1))
        const everything = yield* asA(Stream.runCollect(Query.asOfRowsStream("posts", at(50)))).pipe(
          Effect.provideService(walks.Budget, { entries: 2, stretch: 1, keys: 1, few: 0 })
        )
        expect([...everything].map(({ rowKey }) => rowKey)).toEqual(["k0-of-A", "k2-of-A", "k5-of-A", "shared"])
      })
    )
  })

  it.layer(layer)("whatever becomes of their key", (it) => {
    const read: Read = (cursor) => asA(Query.timeline({ limit, cursor }))

    it.effect("fail what needs the key if it is missing, and nothing else, until it is there", () =>
      Effect.gen(function* () {
        yield* prepared
        const sql = yield* SqlClient.SqlClient
        const key = yield* cursorKey
        const cursor = yield* firstCursor(read)
        yield* sql`delete from threadline.cursor_keys`
        yield* elsewhere(
          Effect.gen(function* () {
            const missing = /^ThreadlineError: the table "cursor_keys" of the Threadline schema has lost its key/
            expect(yield* refusal(read(undefined))).toMatch(missing)
            expect(yield* refusal(read(cursor))).toMatch(missing)
            expect(yield* refusal(Query.timeline({ limit }))).toBe("accepted")
            expect(yield* refusal(asA(Query.timeline()))).toBe("accepted")
            yield* sql`insert into threadline.cursor_keys (key) values (decode(${key}, 'hex'))`
            expect(yield* refusal(read(cursor))).toBe("accepted")
            // Known from here on.
            yield* sql`delete from threadline.cursor_keys`
            expect(yield* refusal(read(cursor))).toBe("accepted")
          })
        )
        yield* sql`insert into threadline.cursor_keys (key) values (decode(${key}, 'hex'))`
        yield* sql`alter table threadline.cursor_keys rename to gone`
        expect(yield* refusal(elsewhere(read(undefined)))).toMatch(/^ThreadlineError: .*threadline migrate up/)
        yield* sql`alter table threadline.gone rename to cursor_keys`
      })
    )

    it.effect("let readers read the key, no role change it, and writers learn nothing of it", () =>
      Effect.gen(function* () {
        yield* prepared
        const database = yield* TestDatabase.TestDatabase
        const sql = yield* SqlClient.SqlClient
        const names = yield* Effect.forEach(["reader", "writer"], (label) => database.role(label))
        const [readers, writers] = names.map(({ name }) => [name])
        yield* grant({ writers: writers ?? [], readers: readers ?? [], operators: [] })
        const reader = yield* database.connect("reader")
        const writer = yield* database.connect("writer")
        const state = (statement: Effect.Effect<unknown, unknown>) =>
          Effect.map(Effect.flip(statement), (error) => JSON.stringify(error).includes('"42501"'))
        expect(yield* state(writer`select key from threadline.cursor_keys`)).toBe(true)
        for (const client of [reader, writer]) {
          expect(yield* state(client`update threadline.cursor_keys set created_at = now()`)).toBe(true)
          expect(yield* state(client`delete from threadline.cursor_keys`)).toBe(true)
          expect(yield* state(client`insert into threadline.cursor_keys (key) values (sha256('x'))`)).toBe(true)
        }
        const cursor = yield* firstCursor(read)
        expect(yield* refusal(elsewhere(read(cursor), reader))).toBe("accepted")
        yield* sql`revoke select on threadline.cursor_keys from ${sql(readers?.[0] ?? "")}`
        const without = Layer.provide(Query.layer, Layer.succeed(SqlClient.SqlClient, reader))
        yield* Effect.gen(function* () {
          const failed = yield* Effect.flip(read(cursor))
          expect(failed).toMatchObject({ _tag: "ThreadlineError", reason: "InsufficientPrivilege" })
          expect(yield* refusal(Query.timeline({ limit }))).toBe("accepted")
          yield* grant({ writers: [], readers: readers ?? [], operators: [] })
          expect(yield* refusal(read(cursor))).toBe("accepted")
        }).pipe(Effect.provide(Layer.fresh(without)))
      }).pipe(Effect.scoped)
    )

    it.effect("are refused if another key made them, and the older key counts where data was restored", () =>
      Effect.gen(function* () {
        yield* prepared
        const sql = yield* SqlClient.SqlClient
        const key = yield* cursorKey
        const cursor = yield* firstCursor(read)
        yield* sql`insert into threadline.cursor_keys (key) values (sha256('made by a migration afterwards'))`
        expect(yield* refusal(elsewhere(read(cursor)))).toBe("accepted")
        yield* sql`delete from threadline.cursor_keys where key = decode(${key}, 'hex')`
        expect(yield* refusal(elsewhere(read(cursor)))).toBe(sealedRefusal)
        // Two deployments in one process, each with its own.
        const foreign = yield* elsewhere(firstCursor(read))
        expect(yield* refusal(read(foreign))).toBe(sealedRefusal)
        expect(yield* refusal(read(cursor))).toBe("accepted")
      })
    )
  })
})

describe("cursors without a scope", () => {
  it.layer(layer)("that were edited", (it) => {
    const most = 2n ** 63n - 1n
    const numbers = ["0", "1", "-1", String(most), String(most + 1n), String(-most - 1n), "9".repeat(19), "1e3", ""]
    const times = ["253402300799999999", "253402300800000000", "-62135596800000000", "-62135596800000001"]
    const majors = [...numbers, ...times, "999999999999999999", "-999999999999999999"]
    const places = [
      ...majors.flatMap((major) => ["0", String(most), String(most + 1n), "-1", ""].map((id) => `${major} ${id}`)),
      "",
      " ",
      "a\0b",
      "\0",
      "\ud800",
      "\udfff",
      "x".repeat(10_000),
      "c-999999999999999999 1",
      "c1 99999999999999999999",
      "[",
      "{}",
      "\u{10ffff}"
    ]
    for (const [name, read] of Object.entries(reads)) {
      it.effect(`are read or refused, and never fail the database: ${name}`, () =>
        Effect.gen(function* () {
          yield* prepared
          const cursor = yield* firstCursor(read)
          const half = Buffer.concat([
            Buffer.from(textOf(cursor).replace(/^(\S+ \S+ )[^]*$/, "$1")),
            Buffer.from("61eda08062", "hex")
          ])
          expect(yield* refusal(read(half.toString("base64url")))).toBe("InvalidRequest: cursor: is not a cursor")
          for (const place of places) {
            expect([place, yield* refusal(read(placed(cursor, place)))]).toEqual([
              place,
              expect.stringMatching(/^(accepted|InvalidRequest: cursor: is not a cursor)$/)
            ])
          }
        })
      )
    }
  })
})

describe("pages under a scope and tight budgets", () => {
  it.layer(layer)("show", (it) => {
    it.effect(
      "what is visible, all of it and nothing else",
      () =>
        Effect.flatMap(Effect.runtime<Query.Query | SqlClient.SqlClient>(), (runtime) =>
          Effect.promise(() =>
            FastCheck.assert(
              FastCheck.asyncProperty(
                FastCheck.array(FastCheck.constantFrom("A", "B"), { minLength: 1, maxLength: 12 }),
                FastCheck.integer({ min: 1, max: 3 }),
                FastCheck.integer({ min: 1, max: 4 }),
                FastCheck.constantFrom<"newest" | "oldest">("newest", "oldest"),
                (tenants, limit, few, order) =>
                  Runtime.runPromise(runtime)(
                    Effect.gen(function* () {
                      yield* prepare(logOf(tenants))
                      const own = tenants.flatMap((tenant, index) => (tenant === "A" ? [index + 1] : []))
                      const ordered = <A>(list: ReadonlyArray<A>) => (order === "oldest" ? list : [...list].reverse())
                      const seen = <A>(
                        read: (cursor: Cursor) => Effect.Effect<Page<A>, Query.ReadError, Query.Query>,
                        idOf: (item: A) => string
                      ) =>
                        Effect.gen(function* () {
                          const ids: Array<string> = []
                          for (let cursor: Cursor; ;) {
                            const page = yield* asA(read(cursor))
                            expect(page.items.length).toBeLessThanOrEqual(limit)
                            ids.push(...page.items.map(idOf))
                            const next = Option.getOrUndefined(page.nextCursor)
                            if (next === undefined) {
                              return ids
                            }
                            expect(textOf(next)).not.toMatch(/of-|shared|^1 /)
                            cursor = next
                          }
                        }).pipe(
                          Effect.provideService(Budget, { probe: few, changes: few, transactions: few, visits: few }),
                          Effect.provideService(walks.Budget, { entries: few, stretch: few, keys: few, few: 0 })
                        )
                      const id = (item: { readonly id: string }) => item.id
                      const changes = ordered(own.flatMap((n) => [String(2 * n - 1), String(2 * n)]))
                      const paging = { limit, order }
                      expect(yield* seen((cursor) => Query.timeline({ ...paging, cursor }), id)).toEqual(changes)
                      expect(
                        yield* seen((cursor) => Query.timeline({ ...paging, actor: { type: "user" }, cursor }), id)
                      ).toEqual(changes)
                      expect(
                        yield* seen((cursor) => Query.history("posts", "shared", { ...paging, cursor }), id)
                      ).toEqual(ordered(own.map((n) => String(2 * n))))
                      expect(
                        yield* seen(
                          (cursor) => Query.transactions({ ...paging, table: "posts", cursor }),
                          ({ transaction }) => transaction.id
                        )
                      ).toEqual(ordered(own.map(String)))
                      expect(yield* seen((cursor) => Query.actions({ ...paging, cursor }), id)).toEqual(
                        ordered(own.map(String))
                      )
                      const rows = own.map((n) => `k${n - 1}-of-A`)
                      const shared = tenants.at(-1) === "A" ? ["shared"] : []
                      expect(
                        yield* seen(
                          (cursor) => Query.asOfRows("posts", at(50), { limit, cursor }),
                          ({ rowKey }) => rowKey
                        )
                      ).toEqual([...rows.sort(), ...shared])
                    })
                  )
              ),
              { numRuns: runs(25), endOnFailure: true }
            )
          )
        ),
      300_000
    )
  })
})
