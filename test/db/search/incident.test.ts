import { describe, expect, it } from "@effect/vitest"
import * as SqlClient from "@effect/sql/SqlClient"
import * as BigDecimal from "effect/BigDecimal"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Json from "../../../src/Json.js"
import * as Query from "../../../src/Query.js"
import { at, type ChangeSeed, layer, reset, write } from "../../support/query.js"

/** A change whose id is the second of its capture. */
const numbered = (id: string, rest: Partial<ChangeSeed>): ChangeSeed => ({
  id,
  transactionId: "1",
  at: at(Number(id)),
  op: "insert",
  key: "1",
  ...rest
})

describe("Query.diff", () => {
  it.layer(layer)("of a log", (it) => {
    it.effect("shows what a change did, field by field, sorted by name", () =>
      Effect.gen(function* () {
        yield* reset
        const row = { title: "a", id: 1, note: null }
        yield* write({
          transactions: [{ id: "1", occurredAt: at(0) }],
          changes: [
            numbered("1", { op: "insert", after: row }),
            numbered("2", {
              op: "update",
              fields: ["title", "card", "added", "gone"],
              from: { title: "a", card: "[masked]", gone: 1 },
              after: { title: null, id: 1, note: null, card: "[masked]", added: BigDecimal.make(110n, 2) }
            }),
            numbered("3", { op: "delete", from: row }),
            numbered("4", { op: "truncate", key: null, details: { rowCount: 2 } }),
            numbered("5", { op: "truncate", from: row }),
            numbered("6", { op: "baseline", after: row })
          ]
        })
        const after = [
          { field: "id", after: 1 },
          { field: "note", after: null },
          { field: "title", after: "a" }
        ]
        const before = after.map(({ field, after }) => ({ field, before: after }))
        for (const [id, fields] of [
          ["1", after],
          [
            "2",
            [
              { field: "added", after: BigDecimal.make(110n, 2) },
              { field: "card", before: "[masked]", after: "[masked]" },
              { field: "gone", before: 1 },
              { field: "title", before: "a", after: null }
            ]
          ],
          ["3", before],
          ["4", []],
          ["5", before],
          ["6", after]
        ] as const) {
          const diff = yield* Query.diff(id)
          expect([diff.change.id, diff.fields]).toEqual([id, fields])
        }
        const diff = yield* Query.diff("2")
        expect(Json.stringify(diff)).toBe(
          `{"change":${Json.stringify(diff.change)},"fields":[{"field":"added","after":1.10},` +
            `{"field":"card","before":"[masked]","after":"[masked]"},{"field":"gone","before":1},` +
            `{"field":"title","before":"a","after":null}]}`
        )
      })
    )

    it.effect("refuses what is no id, and finds nothing under an unknown one", () =>
      Effect.gen(function* () {
        yield* reset
        for (const id of ["", "x", "1.5", "-1", "01", "9223372036854775808"]) {
          expect(yield* Effect.flip(Query.diff(id))).toMatchObject({
            _tag: "threadline/InvalidRequest",
            field: "changeId"
          })
        }
        for (const id of ["0", "1", "9223372036854775807"]) {
          expect(yield* Effect.flip(Query.diff(id))).toMatchObject({
            _tag: "threadline/NotFound",
            subject: "change",
            id
          })
        }
      })
    )
  })
})

describe("Query.incident", () => {
  it.layer(layer)("of a log", (it) => {
    it.effect("is a transaction with its actions, its changes and its siblings", () =>
      Effect.gen(function* () {
        yield* reset
        yield* write({
          transactions: [
            { id: "1", xid: "77", occurredAt: at(0), actor: { type: "user", id: "42" }, actionId: "5" },
            { id: "2", xid: "77", occurredAt: at(1), actor: { type: "job", id: "nightly" }, actionId: "7" },
            { id: "3", xid: "77", occurredAt: at(2) },
            // The same xid in another life of the database, and another xid.
            { id: "4", xid: "77", epoch: 2, occurredAt: at(3) },
            { id: "5", xid: "78", occurredAt: at(4) }
          ],
          actions: [
            { id: "5", transactionId: "1", name: "post.created", correlationId: "c" },
            { id: "6", transactionId: "1", name: "post.published" },
            { id: "7", transactionId: "2", name: "job.ran" }
          ],
          changes: [
            numbered("1", { after: { id: 1 } }),
            numbered("2", { op: "delete", from: { id: 1 } }),
            numbered("3", { transactionId: "2", after: { id: 2 } })
          ]
        })
        const incident = yield* Query.incident("1")
        expect(incident.transaction).toMatchObject({ id: "1", actor: { type: "user", id: "42" } })
        expect(incident.actions.map(({ correlationId, id, name }) => [id, name, correlationId])).toEqual([
          ["5", "post.created", "c"],
          ["6", "post.published", null]
        ])
        expect(incident.siblings.map(({ action, transaction }) => [transaction.id, action?.name])).toEqual([
          ["2", "job.ran"],
          ["3", undefined]
        ])
        expect([incident.hasMoreActions, incident.hasMoreSiblings, incident.changes.hasMore]).toEqual([
          false,
          false,
          false
        ])
        expect(incident.changes.items.map(({ change, fields }) => [change.id, fields])).toEqual([
          ["1", [{ field: "id", after: 1 }]],
          ["2", [{ field: "id", before: 1 }]]
        ])
        const newest = yield* Query.incident("1", { order: "newest" })
        expect(newest.changes.items.map((diff) => diff.change.id)).toEqual(["2", "1"])
        expect((yield* Query.incident("5")).changes.items).toEqual([])
        expect((yield* Query.incident("4")).siblings).toEqual([])
      })
    )

    it.effect("has one JSON", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* reset
        yield* write({
          transactions: [
            { id: "1", xid: "77", occurredAt: at(0), actor: { type: "user", id: "42" } },
            { id: "2", xid: "77", occurredAt: at(1) }
          ],
          changes: [numbered("1", { after: { id: 9007199254740993n } })]
        })
        yield* sql`
          insert into threadline.audit_actions (
            id, transaction_id, xid, name, status, actor_type, actor_id, actor, verb, category, reason, comment,
            correlation_id, request_id, job_id, trace_id, subject_type, subject_id, data, occurred_at
          )
          overriding system value values (
            5, 1, '77', 'post.created', 'ok', 'user', '42', '{ "type": "user", "id": "42" }', 'create', 'content', 'launch',
            'a comment', 'c', 'r', 'j', 't', 'post', '1', '{ "price": 1.10 }', ${at(1)}::timestamptz
          )
        `
        const incident = yield* Query.incident("1")
        const json: unknown = JSON.parse(Json.stringify(incident))
        expect(Json.stringify(incident)).toContain(`"data":{"price":1.10}`)
        expect(Json.stringify(incident)).toContain(`"fields":[{"field":"id","after":9007199254740993}]`)
        const transaction = (id: string, second: number, actor: unknown) => ({
          id,
          occurredAt: at(second),
          actor,
          correlationId: null,
          requestId: null,
          jobId: null,
          traceId: null,
          source: null,
          remoteIp: null,
          meta: {},
          contextError: null,
          dbUser: "app",
          applicationName: null,
          clientAddr: null
        })
        expect(json).toEqual({
          transaction: transaction("1", 0, { type: "user", id: "42" }),
          actions: [
            {
              id: "5",
              transactionId: "1",
              occurredAt: at(1),
              name: "post.created",
              status: "ok",
              actor: { type: "user", id: "42" },
              verb: "create",
              category: "content",
              reason: "launch",
              comment: "a comment",
              correlationId: "c",
              requestId: "r",
              jobId: "j",
              traceId: "t",
              subject: { type: "post", id: "1" },
              data: { price: 1.1 },
              contextError: null
            }
          ],
          hasMoreActions: false,
          siblings: [{ transaction: transaction("2", 1, null), action: null }],
          hasMoreSiblings: false,
          related: [],
          hasMoreRelated: false,
          changes: {
            items: incident.changes.items.map((diff): unknown => JSON.parse(Json.stringify(diff))),
            nextCursor: null,
            hasMore: false
          }
        })
      })
    )

    it.effect("knows the other transactions of its correlation, and of those of its actions", () =>
      Effect.gen(function* () {
        yield* reset
        yield* write({
          transactions: [
            { id: "1", xid: "77", occurredAt: at(0), correlationId: "c" },
            { id: "2", xid: "77", occurredAt: at(1), correlationId: "c" },
            { id: "3", occurredAt: at(2), correlationId: "c" },
            { id: "4", occurredAt: at(3), actionId: "2" },
            { id: "5", occurredAt: at(4), correlationId: "other" },
            { id: "6", occurredAt: at(5) }
          ],
          actions: [
            { id: "1", transactionId: "1", name: "did", correlationId: "d" },
            { id: "2", transactionId: "4", name: "did", correlationId: "d" },
            { id: "3", transactionId: null, name: "failed", correlationId: "d" }
          ],
          changes: [numbered("1", {})]
        })
        const { hasMoreRelated, related, siblings } = yield* Query.incident("1")
        expect(siblings.map((one) => one.transaction.id)).toEqual(["2"])
        expect(related.map((one) => [one.transaction.id, one.action?.name])).toEqual([
          ["4", "did"],
          ["3", undefined]
        ])
        expect(hasMoreRelated).toBe(false)
        expect((yield* Query.incident("6")).related).toEqual([])
      })
    )

    it.effect("pages its changes and bounds the rest", () =>
      Effect.gen(function* () {
        yield* reset
        const numbers = Array.from({ length: 101 }, (_, index) => index + 1)
        yield* write({
          transactions: [
            { id: "1", xid: "77", occurredAt: at(0) },
            ...numbers.map((n) => ({ id: String(n + 1), xid: "77", occurredAt: at(0) }))
          ],
          actions: numbers.map((n) => ({ id: String(n), transactionId: "1", name: "did" })),
          changes: numbers.map((n) => numbered(String(n), { after: { id: n } }))
        })
        const ids: Array<string> = []
        let cursor: string | undefined
        do {
          const incident: Query.Incident = yield* Query.incident("1", { limit: 40, cursor })
          expect([incident.actions.length, incident.hasMoreActions]).toEqual([100, true])
          expect([incident.siblings.length, incident.hasMoreSiblings]).toEqual([100, true])
          ids.push(...incident.changes.items.map((diff) => diff.change.id))
          cursor = Option.getOrUndefined(incident.changes.nextCursor)
        } while (cursor !== undefined)
        expect(ids).toEqual(numbers.map(String))
        const page = (yield* Query.incident("1", { limit: 1 })).changes
        const other = Option.getOrThrow(page.nextCursor)
        for (const read of [
          Query.incident("2", { cursor: other }),
          Query.incident("1", { cursor: other, order: "newest" }),
          Query.timeline({ transactionId: "1", cursor: other })
        ] as ReadonlyArray<Effect.Effect<unknown, Query.ReadError, Query.Query>>) {
          expect(yield* Effect.flip(read)).toMatchObject({ _tag: "threadline/InvalidRequest", field: "cursor" })
        }
      })
    )

    it.effect("refuses what is no id, and finds nothing under an unknown one", () =>
      Effect.gen(function* () {
        yield* reset
        for (const id of ["", "x", "1.5", "-1", "01", "99999999999999999999"]) {
          expect(yield* Effect.flip(Query.incident(id))).toMatchObject({
            _tag: "threadline/InvalidRequest",
            field: "transactionId"
          })
        }
        expect(yield* Effect.flip(Query.incident("1", { limit: 0 }))).toMatchObject({ field: "limit" })
        expect(yield* Effect.flip(Query.incident("12"))).toMatchObject({
          _tag: "threadline/NotFound",
          subject: "transaction",
          id: "12"
        })
      })
    )
  })
})
