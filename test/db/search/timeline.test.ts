import * as SqlClient from "@effect/sql/SqlClient"
import { describe, expect, it } from "@effect/vitest"
import * as BigDecimal from "effect/BigDecimal"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { Cursor, Page } from "../../../src/Page.js"
import * as Json from "../../../src/Json.js"
import * as Query from "../../../src/Query.js"
import type { InvalidRequest, NotFound } from "../../../src/ThreadlineError.js"
import { at, type ChangeSeed, layer, reset, write } from "../../support/query.js"

const ids = (page: Page<Query.Change>) => page.items.map((change) => change.id)

const cursorOf = (page: Page<unknown>): Cursor => Option.getOrThrow(page.nextCursor)

/** How a read failed: the class and what it names. */
const failure = <A, R>(read: Effect.Effect<A, Query.ReadError, R>) =>
  Effect.map(Effect.either(read), (result) => {
    if (Either.isRight(result)) {
      return "succeeded"
    }
    const error: InvalidRequest | NotFound | { readonly _tag: string; readonly reason: string } = result.left
    switch (error._tag) {
      case "threadline/InvalidRequest":
        return `InvalidRequest ${"field" in error ? error.field : ""}`
      case "threadline/NotFound":
        return `NotFound ${"subject" in error ? `${error.subject} ${error.id}` : ""}`
      default:
        return `${error._tag} ${"reason" in error ? error.reason : ""}`
    }
  })

const user = { type: "user", id: "42" } as const

/** Two overlapping transactions of four changes, one of them by nobody. */
const overlapping = {
  transactions: [
    { id: "1", occurredAt: at(0), actor: user, correlationId: "req-1", actionId: "1" },
    { id: "2", occurredAt: at(10), actor: null, correlationId: "req-1" }
  ],
  actions: [
    { id: "1", transactionId: "1", name: "post.created", correlationId: "req-1" },
    { id: "2", transactionId: null, name: "post.failed", correlationId: "req-1" }
  ],
  changes: [
    { id: "1", transactionId: "1", at: at(0), op: "insert", key: "1", after: { id: 1, title: "a" } },
    {
      id: "2",
      transactionId: "2",
      at: at(10),
      op: "update",
      key: "1",
      fields: ["title"],
      from: { title: "a" },
      after: { id: 1, title: "b" }
    },
    { id: "3", transactionId: "1", at: at(15), op: "insert", key: "2", after: { id: 2, title: "c" } },
    { id: "4", transactionId: "2", at: at(20), op: "delete", key: "1", from: { id: 1, title: "b" } }
  ]
} as const

describe("Query.timeline", () => {
  it.layer(layer)("of a log", (it) => {
    const shown = (filter?: Query.FilterInput) => Effect.map(Query.timeline(filter), ids)

    it.effect("is newest first by transaction, then by change, or the other way round", () =>
      Effect.gen(function* () {
        yield* reset
        yield* write(overlapping)
        expect(yield* shown()).toEqual(["4", "2", "3", "1"])
        expect(yield* shown({ order: "oldest" })).toEqual(["1", "3", "2", "4"])
      })
    )

    it.effect("shows what every filter lets through", () =>
      Effect.gen(function* () {
        yield* reset
        yield* write(overlapping)
        for (const [filter, expected] of [
          [{ table: "posts" }, ["4", "2", "3", "1"]],
          [{ table: "public.posts", op: "insert" }, ["3", "1"]],
          [{ op: ["delete", "update"] }, ["4", "2"]],
          [{ op: "truncate" }, []],
          [{ table: "notes" }, []],
          [{ actor: { type: "user" } }, ["3", "1"]],
          [{ actor: user }, ["3", "1"]],
          [{ actor: { type: "user", id: "4" } }, []],
          [{ actor: { type: "anonymous" } }, []],
          [{ unattributed: true }, ["4", "2"]],
          [{ unattributed: false }, ["4", "2", "3", "1"]],
          [{ correlationId: "req-1" }, ["3", "1"]],
          [{ correlationId: "req-1", includeCaptureOnly: true }, ["4", "2", "3", "1"]],
          [{ correlationId: "req-1", includeCaptureOnly: true, table: "posts", op: "delete" }, ["4"]],
          [{ correlationId: "req-2" }, []],
          [{ transactionId: "2" }, ["4", "2"]],
          [{ transactionId: "9" }, []],
          [{ transactionId: "2", actor: user }, []],
          [{ table: "posts", key: "1" }, ["4", "2", "1"]],
          [{ table: "posts", key: 1, order: "oldest" }, ["1", "2", "4"]],
          [{ table: "posts", key: 1n, actor: user }, ["1"]],
          [{ table: "posts", key: ["1"], correlationId: "req-1" }, ["1"]],
          [{ table: "posts", key: { id: "1" }, op: "update" }, ["2"]],
          [{ table: "posts", key: "1", from: at(10), to: at(10) }, ["2"]],
          [{ table: "posts", key: "3" }, []]
        ] satisfies ReadonlyArray<readonly [Query.FilterInput, ReadonlyArray<string>]>) {
          expect([filter, yield* shown(filter)]).toEqual([filter, expected])
        }
      })
    )

    it.effect("takes instants as text, Date or DateTime, to the microsecond and inclusive", () =>
      Effect.gen(function* () {
        yield* reset
        yield* write(overlapping)
        for (const [filter, expected] of [
          [{ from: at(10), to: at(15) }, ["2", "3"]],
          [{ from: at(10, 1), to: at(15) }, ["3"]],
          [{ from: at(10), to: "2026-01-02T00:00:14.999999Z" }, ["2"]],
          [{ from: new Date(at(10)) }, ["4", "2", "3"]],
          [{ to: DateTime.unsafeMake(at(10)) }, ["2", "1"]],
          [{ from: "2026-01-02T01:00:20+01:00" }, ["4"]],
          [{ from: "2026-01-03" }, []],
          [{ to: "2026-01-01" }, []],
          [{ from: at(15), to: at(15), actor: user }, ["3"]],
          [{ from: at(15), to: at(15), table: "posts", actor: user }, ["3"]],
          [{ from: at(16), to: at(19), order: "oldest" }, []]
        ] satisfies ReadonlyArray<readonly [Query.FilterInput, ReadonlyArray<string>]>) {
          expect([filter, yield* shown(filter)]).toEqual([filter, expected])
        }
      })
    )

    it.effect("finds in a window what transactions of any length and any order of ids captured there", () =>
      Effect.gen(function* () {
        yield* reset
        // Forty transactions, one a second; ids 101 to 140. One began long before, one had its clock set back, one forward.
        const many = Array.from({ length: 40 }, (_, index) => ({ id: String(101 + index), second: 60 + index }))
        const change = (id: string, transactionId: string, when: string): ChangeSeed => ({
          id,
          transactionId,
          at: when,
          op: "insert",
          key: id,
          after: { id: 1 }
        })
        yield* write({
          transactions: [
            ...many.map(({ id, second }) => ({ id, occurredAt: at(second) })),
            { id: "1", occurredAt: at(0) },
            { id: "50", occurredAt: at(80) },
            { id: "900", occurredAt: at(80) }
          ],
          changes: [
            ...many.map(({ id, second }) => change(id, id, at(second))),
            change("1", "1", at(0)),
            change("2", "1", at(80)),
            change("3", "1", at(300)),
            change("50", "50", at(80)),
            change("900", "900", at(80))
          ]
        })
        expect(yield* shown({ from: at(80), to: at(80) })).toEqual(["900", "121", "50", "2"])
        expect(yield* shown({ from: at(80), to: at(80), order: "oldest" })).toEqual(["2", "50", "121", "900"])
        expect(yield* shown({ from: at(99) })).toEqual(["140", "3"])
        expect(yield* shown({ from: at(200) })).toEqual(["3"])
        expect(yield* shown({ to: at(60) })).toEqual(["101", "1"])
        expect(yield* shown({ from: at(1), to: at(59) })).toEqual([])
      })
    )

    it.effect("says exactly whether there is more", () =>
      Effect.gen(function* () {
        yield* reset
        yield* write(overlapping)
        const firstPage = yield* Query.timeline({ limit: 4 })
        expect([ids(firstPage).length, firstPage.hasMore, Option.isNone(firstPage.nextCursor)]).toEqual([
          4,
          false,
          true
        ])
        const first = yield* Query.timeline({ limit: 3 })
        expect([ids(first), first.hasMore]).toEqual([["4", "2", "3"], true])
        const second = yield* Query.timeline({ limit: 1000, cursor: cursorOf(first) })
        expect([ids(second), second.hasMore]).toEqual([["1"], false])
      })
    )

    it.effect("pages by 50 unless told", () =>
      Effect.gen(function* () {
        yield* reset
        yield* write({
          transactions: [{ id: "1", occurredAt: at(0) }],
          changes: Array.from({ length: 51 }, (_, index) => ({
            id: String(index + 1),
            transactionId: "1",
            at: at(index),
            op: "insert" as const,
            key: String(index)
          }))
        })
        const page = yield* Query.timeline()
        expect([page.items.length, page.hasMore, page.items[0]?.id, page.items[49]?.id]).toEqual([50, true, "51", "2"])
        const streamed = yield* Stream.runCollect(Query.timelineStream({ limit: 7, cursor: cursorOf(page) }))
        expect([...streamed].map((change) => change.id)).toEqual(["1"])
      })
    )

    it.effect("neither repeats nor hides a change while others are written", () =>
      Effect.gen(function* () {
        yield* reset
        yield* write(overlapping)
        for (const [filter, before] of [
          [{}, ["4", "2", "3", "1"]],
          [{ table: "posts" }, ["4", "2", "3", "1"]],
          [{ actor: user }, ["3", "1"]],
          [{ correlationId: "req-1", includeCaptureOnly: true }, ["4", "2", "3", "1"]],
          [{ from: at(0), to: at(20) }, ["4", "2", "3", "1"]],
          [{ table: "posts", key: "1" }, ["4", "2", "1"]]
        ] satisfies ReadonlyArray<readonly [Query.FilterInput, ReadonlyArray<string>]>) {
          const seen: Array<string> = []
          let cursor: string | undefined
          let next = 100
          do {
            const page = yield* Query.timeline({ ...filter, limit: 1, cursor })
            seen.push(...ids(page))
            cursor = Option.getOrUndefined(page.nextCursor)
            next++
            yield* write({
              transactions: [{ id: String(next), occurredAt: at(next), actor: user, correlationId: "req-1" }],
              changes: [{ id: String(next), transactionId: String(next), at: at(next), op: "update", key: "1" }]
            })
          } while (cursor !== undefined)
          expect([filter, seen]).toEqual([filter, before])
          yield* reset
          yield* write(overlapping)
        }
      })
    )

    it.effect("refuses a cursor of another query", () =>
      Effect.gen(function* () {
        yield* reset
        yield* write(overlapping)
        const cursor = cursorOf(yield* Query.timeline({ table: "posts", limit: 1 }))
        expect(yield* shown({ table: "public.posts", limit: 2, cursor })).toEqual(["2", "3"])
        expect(yield* shown({ table: '"posts"', unattributed: false, cursor })).toEqual(["2", "3", "1"])
        for (const filter of [
          {},
          { table: "notes" },
          { table: "posts", op: "update" },
          { table: "posts", order: "oldest" },
          { table: "posts", key: "1" },
          { table: "posts", from: at(0) },
          { table: "posts", actor: user }
        ] satisfies ReadonlyArray<Query.FilterInput>) {
          expect([filter, yield* failure(Query.timeline({ ...filter, cursor }))]).toEqual([
            filter,
            "InvalidRequest cursor"
          ])
        }
        expect(yield* failure(Query.history("posts", "1", { cursor }))).toBe("InvalidRequest cursor")
        expect(yield* failure(Query.incident("1", { cursor }))).toBe("InvalidRequest cursor")
        for (const text of ["", "x", `${cursor}A`, cursor.slice(1)]) {
          expect(yield* failure(Query.timeline({ table: "posts", cursor: text }))).toBe("InvalidRequest cursor")
        }
      })
    )

    it.effect("refuses what no database can answer, by field", () =>
      Effect.gen(function* () {
        const wrong: ReadonlyArray<readonly [field: string, filter: unknown]> = [
          ["table", { table: "" }],
          ["table", { table: "a.b.c" }],
          ["table", { table: 7 }],
          ["key", { key: "1" }],
          ["key", { table: "posts", key: null }],
          ["key", { table: "posts", key: [] }],
          ["key", { table: "posts", key: {} }],
          ["key", { table: "posts", key: [["1"]] }],
          ["key", { table: "posts", key: "a\0" }],
          ["key", { table: "posts", key: Number.NaN }],
          ["key", { table: "posts", key: 2 ** 53 }],
          ["op", { op: "upsert" }],
          ["op", { op: [] }],
          ["op", { op: ["insert", "upsert"] }],
          ["actor", { actor: "user" }],
          ["actor", { actor: { type: "robot" } }],
          ["actor", { actor: { type: "user", id: "" } }],
          ["actor", { actor: { type: "user", id: "x".repeat(257) } }],
          ["actor", { actor: { type: "user", id: "1", label: "x" } }],
          ["actor", { actor: { type: "anonymous", id: "1" } }],
          ["unattributed", { unattributed: "yes" }],
          ["unattributed", { unattributed: true, actor: user }],
          ["correlationId", { correlationId: "" }],
          ["correlationId", { correlationId: "a\0" }],
          ["includeCaptureOnly", { includeCaptureOnly: 1 }],
          ["transactionId", { transactionId: "abc" }],
          ["transactionId", { transactionId: "-1" }],
          ["transactionId", { transactionId: "9223372036854775808" }],
          ["from", { from: "yesterday" }],
          ["from", { from: "2026-02-30" }],
          ["to", { to: new Date(Number.NaN) }],
          ["to", { from: at(2), to: at(1) }],
          ["limit", { limit: 0 }],
          ["limit", { limit: 1001 }],
          ["limit", { limit: 1.5 }],
          ["limit", { limit: "10" }],
          ["order", { order: "random" }],
          ["cursor", { cursor: 7 }],
          ["colour", { colour: "red" }]
        ]
        for (const [field, filter] of wrong) {
          const query = yield* Query.Query
          const read = query.timeline(filter as Query.FilterInput)
          expect([filter, yield* failure(read)]).toEqual([filter, `InvalidRequest ${field}`])
        }
        const rules = yield* Effect.forEach(
          [{ limit: 0 }, { from: "yesterday" }, { table: "a b" }, { actor: { type: "x" } }, { colour: "red" }],
          (filter) => Effect.map(Effect.flip(Query.timeline(filter as Query.FilterInput)), (error) => error.message)
        )
        expect(rules).toEqual([
          "limit: must be a whole number from 1 to 1000",
          "from: must be an instant such as 2026-11-22T10:00:00.123456Z, with a zone and at most microseconds",
          'table: must be a table name as in SQL: posts, public.posts or "Odd.Schema"."T"',
          "actor: must be { type, id? } with a type of user, admin, service_account, job, system or anonymous",
          "colour: is not known here"
        ])
      })
    )

    it.effect("tells an unknown table from one without changes", () =>
      Effect.gen(function* () {
        yield* reset
        expect(yield* shown({ table: "posts" })).toEqual([])
        expect(yield* failure(Query.timeline({ table: '"Odd.Schema"."T"' }))).toBe('NotFound table "Odd.Schema"."T"')
        expect(yield* failure(Query.timeline({ table: "unknown", actor: user }))).toBe("NotFound table public.unknown")
        expect(yield* failure(Query.timeline({ table: "unknown", key: "1" }))).toBe("NotFound table public.unknown")
        // Without a policy, but not forgotten.
        yield* write({
          transactions: [{ id: "1", occurredAt: at(0) }],
          changes: [{ id: "1", transactionId: "1", at: at(0), op: "insert", key: "1", table: "retired" }]
        })
        expect(yield* shown({ table: "retired", op: "delete" })).toEqual([])
      })
    )

    it.effect("takes a key in the form that its table has", () =>
      Effect.gen(function* () {
        yield* reset
        const insert = (id: string, table: string, key: string): ChangeSeed => ({
          id,
          table,
          key,
          transactionId: "1",
          at: at(Number(id)),
          op: "insert"
        })
        yield* write({
          transactions: [{ id: "1", occurredAt: at(0) }],
          changes: [
            insert("1", "members", '["acme","7"]'),
            insert("2", "things", "6f1f0e6c-5a0e-4a1c-9d5e-0c6a5c1f7a11"),
            insert("3", "notes", '["acme","7"]'),
            insert("4", "notes", "7"),
            insert("5", "posts", "7")
          ]
        })
        for (const [table, key, expected] of [
          ["members", ["acme", 7], ["1"]],
          ["members", { person: "7", account: "acme" }, ["1"]],
          ["members", '["acme","7"]', ["1"]],
          ["members", '{ "person": 7, "account": "acme" }', ["1"]],
          ["members", ["acme", "07"], ["1"]],
          ["members", ["acme", "8"], []],
          ["things", "6F1F0E6C-5A0E-4A1C-9D5E-0C6A5C1F7A11", ["2"]],
          ["notes", '["acme","7"]', ["3"]],
          ["notes", 7, ["4"]],
          ["posts", " 7 ", ["5"]],
          ["posts", BigDecimal.make(7n, 0), ["5"]]
        ] satisfies ReadonlyArray<readonly [string, Query.KeyInput, ReadonlyArray<string>]>) {
          expect([table, key, yield* shown({ table, key })]).toEqual([table, key, expected])
          expect([table, key, ids(yield* Query.history(table, key))]).toEqual([table, key, expected])
        }
        for (const [table, key] of [
          ["members", "acme"],
          ["members", ["acme"]],
          ["members", { account: "acme", human: 7 }],
          ["members", ["acme", "seven"]],
          ["members", ["acme", "99999999999"]],
          ["things", "no uuid"],
          ["posts", '["1"'],
          ["posts", ["1", "2"]],
          ["logs", "1"]
        ] satisfies ReadonlyArray<readonly [string, Query.KeyInput]>) {
          for (const read of [
            Query.timeline({ table, key }),
            Query.history(table, key),
            Query.asOf(table, key, at(0))
          ] as ReadonlyArray<Effect.Effect<unknown, Query.ReadError, Query.Query>>) {
            expect([table, key, yield* failure(read)]).toEqual([table, key, "InvalidRequest key"])
          }
        }
      })
    )
  })
})

describe("Query.Change", () => {
  it.layer(layer)("of a log", (it) => {
    it.effect("has every part of what was recorded, and one JSON", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* reset
        yield* sql`
          insert into threadline.audit_transactions (
            id, xid, epoch, occurred_at, actor_type, actor_id, actor, correlation_id, request_id, job_id, trace_id, source,
            remote_ip, meta, action_id, context_error, db_user, application_name, client_addr, backend_pid
          )
          overriding system value values (
            7, '700', 1, '2026-01-02 03:04:05.000001+01', 'user', '42',
            '{ "id": "42", "type": "user", "label": "desk", "impersonator": { "type": "admin", "id": "1" } }',
            'c', 'r', 'j', 't', 's', '192.0.2.7', '{ "price": 1.10, "n": 9007199254740993 }', 3, 'meta: odd', 'app',
            'psql', '2001:db8::/32', 1
          )
        `
        yield* sql`
          insert into threadline.audit_actions (id, transaction_id, xid, name, status, correlation_id, occurred_at)
          overriding system value values (3, 7, '700', 'post.created', 'ok', 'c', now())
        `
        yield* sql`
          insert into threadline.audit_changes (
            id, transaction_id, captured_at, table_schema, table_name, partition_name, op, row_pk, row_key,
            previous_row_key, changed_fields, changed_from, data_after, details
          ) values (
            9007199254740993, 7, '2026-01-02 02:04:05.123456Z', 'public', 'posts', 'posts_2026', 'update',
            '{ "id": "2" }', '2', '1', '{id,price}', '{ "id": 1, "price": 1.1 }',
            '{ "id": 2, "price": 1.10, "big": 9007199254740993, "huge": 1e400, "text": "1.10", "none": null }',
            '{ "n": 1.50 }'
          )
        `
        const [change] = (yield* Query.timeline({ transactionId: "7" })).items
        expect(change).toEqual({
          id: "9007199254740993",
          transactionId: "7",
          capturedAt: "2026-01-02T02:04:05.123456Z",
          tableSchema: "public",
          tableName: "posts",
          partitionName: "posts_2026",
          op: "update",
          rowPk: { id: "2" },
          rowKey: "2",
          previousRowKey: "1",
          changedFields: ["id", "price"],
          changedFrom: { id: 1, price: BigDecimal.make(11n, 1) },
          dataAfter: {
            id: 2,
            price: BigDecimal.make(110n, 2),
            big: 9007199254740993n,
            huge: 10n ** 400n,
            text: "1.10",
            none: null
          },
          details: { n: BigDecimal.make(150n, 2) },
          transaction: {
            id: "7",
            occurredAt: "2026-01-02T02:04:05.000001Z",
            actor: { type: "user", id: "42", label: "desk", impersonator: { type: "admin", id: "1" } },
            correlationId: "c",
            requestId: "r",
            jobId: "j",
            traceId: "t",
            source: "s",
            remoteIp: "192.0.2.7",
            meta: { price: BigDecimal.make(110n, 2), n: 9007199254740993n },
            contextError: "meta: odd",
            dbUser: "app",
            applicationName: "psql",
            clientAddr: "2001:db8::/32"
          },
          action: { id: "3", name: "post.created", status: "ok", correlationId: "c" }
        })
        expect(change && Json.stringify(change)).toBe(
          `{"id":"9007199254740993","transactionId":"7","capturedAt":"2026-01-02T02:04:05.123456Z",` +
            `"tableSchema":"public","tableName":"posts","partitionName":"posts_2026","op":"update","rowPk":{"id":"2"},` +
            `"rowKey":"2","previousRowKey":"1","changedFields":["id","price"],"changedFrom":{"id":1,"price":1.1},` +
            `"dataAfter":{"id":2,"big":9007199254740993,"huge":1${"0".repeat(400)},"none":null,"text":"1.10","price":1.10},` +
            `"details":{"n":1.50},"transaction":{"id":"7","occurredAt":"2026-01-02T02:04:05.000001Z",` +
            `"actor":{"type":"user","id":"42","label":"desk","impersonator":{"type":"admin","id":"1"}},` +
            `"correlationId":"c","requestId":"r","jobId":"j","traceId":"t","source":"s","remoteIp":"192.0.2.7",` +
            `"meta":{"n":9007199254740993,"price":1.10},"contextError":"meta: odd","dbUser":"app",` +
            `"applicationName":"psql","clientAddr":"2001:db8::/32"},` +
            `"action":{"id":"3","name":"post.created","status":"ok","correlationId":"c"}}`
        )
      })
    )

    it.effect("has nulls where nothing was recorded", () =>
      Effect.gen(function* () {
        yield* reset
        yield* write({
          transactions: [{ id: "1", occurredAt: at(0) }],
          changes: [{ id: "1", transactionId: "1", at: at(1), op: "truncate", key: null }]
        })
        const page = yield* Query.timeline()
        expect(Json.stringify(page)).toBe(
          `{"items":[{"id":"1","transactionId":"1","capturedAt":"2026-01-02T00:00:01.000000Z","tableSchema":"public",` +
            `"tableName":"posts","partitionName":null,"op":"truncate","rowPk":null,"rowKey":null,"previousRowKey":null,` +
            `"changedFields":null,"changedFrom":null,"dataAfter":null,"details":null,"transaction":{"id":"1",` +
            `"occurredAt":"2026-01-02T00:00:00.000000Z","actor":null,"correlationId":null,"requestId":null,"jobId":null,` +
            `"traceId":null,"source":null,"remoteIp":null,"meta":{},"contextError":null,"dbUser":"app",` +
            `"applicationName":null,"clientAddr":null},"action":null}],"nextCursor":null,"hasMore":false}`
        )
      })
    )

    it.effect("says who acted even where the document of the actor is odd", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* reset
        yield* write(overlapping)
        for (const [type, id, document, actor] of [
          ["user", "42", null, { type: "user", id: "42" }],
          ["user", "42", '{ "odd": true }', { type: "user", id: "42" }],
          ["anonymous", null, null, { type: "anonymous" }],
          ["robot", "1", null, null]
        ] as const) {
          yield* sql`
            update threadline.audit_transactions
            set actor_type = ${type}, actor_id = ${id}, actor = ${document}::jsonb
            where id = 1
          `
          const [change] = (yield* Query.timeline({ transactionId: "1" })).items
          expect(change?.transaction.actor).toEqual(actor)
        }
      })
    )
  })
})
