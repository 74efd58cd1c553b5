import * as SqlClient from "@effect/sql/SqlClient"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { apply as grant } from "../../../src/internal/schema/grants.js"
import { Budget } from "../../../src/internal/search/budget.js"
import { StorageSchema } from "../../../src/internal/sql/storageSchema.js"
import * as Query from "../../../src/Query.js"
import type { ThreadlineError } from "../../../src/ThreadlineError.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import { asA, at, layer, type Log, ofTenant, refusal, reset, write } from "../../support/query.js"

const row = (id: number, tenant: string) => ({ id, tenant })

/** Two tenants in one transaction; one row moves from B to A; a table is emptied. */
const log: Log = {
  transactions: [
    { id: "1", xid: "7", occurredAt: at(0), actor: { type: "user", id: "a" }, correlationId: "c", actionId: "1" },
    { id: "2", occurredAt: at(10), actor: { type: "user", id: "b" }, correlationId: "c", actionId: "2" },
    { id: "3", xid: "7", occurredAt: at(20), actor: null, correlationId: "c" },
    { id: "4", occurredAt: at(30), actor: null }
  ],
  actions: [
    { id: "1", transactionId: "1", name: "both", correlationId: "c", occurredAt: at(0), data: { tenant: "A" } },
    { id: "2", transactionId: "2", name: "of B", correlationId: "c", occurredAt: at(1), data: { tenant: "B" } },
    {
      id: "4",
      transactionId: "1",
      name: "fraud.flagged",
      status: "error",
      correlationId: "case-77",
      occurredAt: at(0),
      data: { tenant: "B" }
    },
    { id: "3", transactionId: null, name: "of nobody", correlationId: "c", occurredAt: at(2) }
  ],
  changes: [
    { id: "1", transactionId: "1", at: at(0), op: "insert", key: "1", after: row(1, "A") },
    { id: "2", transactionId: "1", at: at(1), op: "insert", key: "2", after: row(2, "B") },
    {
      id: "3",
      transactionId: "2",
      at: at(10),
      op: "update",
      key: "2",
      fields: ["note"],
      from: { note: "secret of B" },
      after: row(2, "B")
    },
    { id: "4", transactionId: "2", at: at(11), op: "delete", key: "3", from: row(3, "B") },
    { id: "5", transactionId: "3", at: at(20), op: "delete", key: "1", from: row(1, "A") },
    { id: "6", transactionId: "3", at: at(21), op: "insert", key: "9", after: { id: 9 } },
    {
      id: "8",
      transactionId: "3",
      at: at(22),
      op: "update",
      key: "5",
      previousKey: "44",
      fields: ["id", "note", "tenant"],
      from: { id: 44, note: "secret of B", tenant: "B" },
      after: row(5, "A")
    },
    { id: "7", transactionId: "4", at: at(30), op: "truncate", key: null, details: { rowCount: 4 } }
  ]
}

const prepared = Effect.andThen(reset, write(log))

/** What the database does not understand, and what it says. */
const wrongConditions: ReadonlyArray<readonly [condition: string, told: string]> = [
  ["no_such_column = 1", 'column "no_such_column" does not exist'],
  ["no_such_function(1)", "function no_such_function(integer) does not exist"],
  ["nowhere.no_such_function(1)", 'schema "nowhere" does not exist'],
  ["1 = array[1]", "operator does not exist: integer = integer[]"],
  ["exists (select from tenants_of_nobody)", 'relation "tenants_of_nobody" does not exist'],
  ["exists (select from audit_changes)", 'relation "audit_changes" does not exist'],
  ["other.tenant = 'A'", 'missing FROM-clause entry for table "other"'],
  ["true and", 'syntax error at or near ")"'],
  ["17", "COALESCE types integer and boolean cannot be matched"]
]

/** Every read there is, with what its answer says. */
const reads: Readonly<Record<string, Effect.Effect<unknown, Query.ReadError, Query.Query>>> = {
  timeline: Query.timeline(),
  "timeline of a row": Query.timeline({ table: "posts", key: "2" }),
  "timeline of a correlation": Query.timeline({ correlationId: "c", includeCaptureOnly: true }),
  "timeline of an actor in a table": Query.timeline({ actor: { type: "user" }, table: "posts" }),
  "timeline of a transaction": Query.timeline({ transactionId: "2" }),
  "timeline of a key that a row left": Query.timeline({ table: "posts", key: "44" }),
  "timeline of a value that is gone": Query.timeline({ contains: { note: "secret of B" } }),
  timelineStream: Stream.runCollect(Query.timelineStream()),
  history: Query.history("posts", "2"),
  historyStream: Stream.runCollect(Query.historyStream("posts", "2")),
  asOf: Query.asOf("posts", "2", at(12)),
  asOfKeys: Query.asOfKeys("posts", ["2", "3"], at(5)),
  asOfRows: Query.asOfRows("posts", at(12)),
  asOfRowsStream: Stream.runCollect(Query.asOfRowsStream("posts", at(12))),
  diff: Query.diff("3"),
  diffBetween: Query.diffBetween("posts", "2", at(5), at(12)),
  transactions: Query.transactions({ table: "posts" }),
  transactionsStream: Stream.runCollect(Query.transactionsStream()),
  actions: Query.actions(),
  actionsStream: Stream.runCollect(Query.actionsStream()),
  unattributed: Query.unattributed(),
  unattributedStream: Stream.runCollect(Query.unattributedStream()),
  actorWindow: Query.actorWindow({ type: "user" }),
  actorWindowStream: Stream.runCollect(Query.actorWindowStream({ type: "user" })),
  correlation: Query.correlation("c"),
  correlationStream: Stream.runCollect(Query.correlationStream("c")),
  count: Query.count(),
  collect: Query.collect(),
  "incident of B": Query.incident("2"),
  "incident of both": Query.incident("1"),
  incidentStream: Stream.runCollect(Query.incidentStream("1"))
}

describe("a scope", () => {
  it.layer(layer)("over reads", (it) => {
    for (const [name, read] of Object.entries(reads)) {
      it.effect(`holds in ${name}`, () =>
        Effect.gen(function* () {
          yield* prepared
          const outcome = yield* Effect.either(asA(read))
          const text = JSON.stringify(outcome, (_, value: unknown) =>
            typeof value === "bigint" ? String(value) : value
          )
          expect(text).not.toContain('"tenant":"B"')
          expect(text).not.toContain("secret of B")
          expect(text).not.toContain("rowCount")
          expect(text).not.toContain('"previousRowKey":"44"')
          expect(text).not.toContain('"of B"')
          expect(text).not.toContain('"of nobody"')
          expect(text).not.toMatch(/fraud|case-77/)
        })
      )

      it.effect(`that lets nothing through leaves ${name} empty`, () =>
        Effect.gen(function* () {
          yield* prepared
          const nothing: ReadonlyArray<Query.ReadScope> = [
            () => false,
            (_, columns) => columns.sql`null`,
            // Whatever its precedence.
            (_, columns) => columns.sql`false and true`
          ]
          for (const scope of nothing) {
            const outcome = yield* Effect.either(Query.withScope(read, scope))
            const text = JSON.stringify(outcome, (_, value: unknown) =>
              typeof value === "bigint" ? String(value) : value
            )
            expect(text).not.toMatch(/tenant|rowCount|"user"|of nobody|"both"/)
          }
        })
      )
    }

    it.effect("shows what it lets through, and no more", () =>
      Effect.gen(function* () {
        yield* prepared
        const ids = (page: { readonly items: ReadonlyArray<{ readonly id: string }> }) => page.items.map(({ id }) => id)
        expect(ids(yield* asA(Query.timeline()))).toEqual(["8", "5", "1"])
        expect(ids(yield* asA(Query.actions()))).toEqual(["1"])
        expect(yield* asA(Query.count())).toEqual({ count: 3, exact: true })
        const { items } = yield* asA(Query.transactions())
        expect(items.map(({ changes, transaction }) => [transaction.id, changes.count])).toEqual([
          ["3", 2],
          ["1", 1]
        ])
        expect((yield* Query.timeline({ transactionId: "1", action: "fraud.flagged" })).items).toHaveLength(2)
        for (const hidden of [
          Query.timeline({ table: "posts", key: "44" }),
          Query.timeline({ contains: { note: "secret of B" } }),
          Query.timeline({ contains: { tenant: "B" } }),
          Query.timeline({ changedField: "note" }),
          Query.timeline({ action: "fraud.flagged" }),
          Query.timeline({ actionStatus: "error" }),
          Query.timeline({ transactionId: "1", action: "fraud.flagged" }),
          Query.timeline({ correlationId: "case-77", includeCaptureOnly: true }),
          Query.timeline({ table: "posts", correlationId: "case-77" })
        ]) {
          expect((yield* asA(hidden)).items).toEqual([])
        }
        const incident = yield* asA(Query.incident("1"))
        expect(incident.changes.items.map(({ change }) => change.id)).toEqual(["1"])
        expect(incident.siblings.map(({ transaction }) => transaction.id)).toEqual(["3"])
        expect(incident.related).toEqual([])
        expect(yield* refusal(asA(Query.incident("2")))).toMatch(/^NotFound: transaction 2/)
        expect(yield* refusal(asA(Query.incident("4")))).toMatch(/^NotFound: transaction 4/)
        expect(yield* refusal(asA(Query.diff("3")))).toMatch(/^NotFound: change 3/)
      })
    )

    it.effect("on a scope narrows it, and never widens it", () =>
      Effect.gen(function* () {
        yield* prepared
        const none = Query.timeline().pipe(Query.withScope(ofTenant("B")), asA)
        expect((yield* none).items).toEqual([])
        const allIds = Query.timeline().pipe(
          Query.withScope(() => true),
          asA
        )
        expect((yield* allIds).items).toHaveLength(3)
        // A condition cannot get out of its parentheses.
        const wide: Query.ReadScope = (_, columns) => columns.sql`false or true`
        const escaped = Query.timeline().pipe(Query.withScope(wide), asA)
        expect((yield* escaped).items).toHaveLength(3)
      })
    )

    it.effect("may ask about whatever a change and an action have", () =>
      Effect.gen(function* () {
        yield* prepared
        const everything: Query.ReadScope = (surface, columns) => {
          const { actorId, actorType, correlationId, jobId, requestId, sql } = columns
          const context = sql`
            coalesce(${actorType}, ${actorId}, ${correlationId}, ${requestId}, ${jobId}, 'none') is not null`
          return surface === "changes"
            ? sql`${context} and ${columns.tableSchema} = 'public' and ${columns.tableName} = 'posts'
                and ${columns.op} <> 'x' and ${columns.rowKey} is not null and ${columns.image} ? 'id'
                and coalesce(${columns.before} ? 'id', true) and coalesce(${columns.source}, '') = ''
                and ${columns.meta} = '{}' and ${columns.dbUser} = 'app'`
            : sql`${context} and ${columns.name} is not null and ${columns.status} = 'ok'
                and coalesce(${columns.subjectType}, ${columns.subjectId}) is null
                and coalesce(${columns.data}, '{}') is not null`
        }
        expect((yield* Query.timeline().pipe(Query.withScope(everything))).items).toHaveLength(7)
        expect((yield* Query.actions().pipe(Query.withScope(everything))).items).toHaveLength(3)
      })
    )

    it.effect("keeps pages exact and stays under its budget", () =>
      Effect.gen(function* () {
        yield* prepared
        const seen: Array<string> = []
        let cursor: string | undefined
        do {
          const page = yield* asA(Query.timeline({ limit: 1, cursor })).pipe(
            Effect.provideService(Budget, { probe: 2, changes: 2, transactions: 2, visits: 2 })
          )
          seen.push(...page.items.map(({ id }) => id))
          cursor = Option.getOrUndefined(page.nextCursor)
        } while (cursor !== undefined)
        expect(seen).toEqual(["8", "5", "1"])
      })
    )

    for (const [name, read] of Object.entries(reads)) {
      it.effect(`that is wrong is named by ${name}`, () =>
        Effect.gen(function* () {
          yield* prepared
          const sql = yield* SqlClient.SqlClient
          yield* sql`
            create or replace function repeats(value jsonb) returns boolean language plpgsql as $$
              begin
                raise exception 'met %', value using errcode = 'undefined_column';
              end
            $$`
          for (const [condition, told] of wrongConditions) {
            const scope: Query.ReadScope = (_, { sql }) => sql.literal(condition)
            expect(yield* refusal(read.pipe(Query.withScope(scope))), condition).toBe(
              `InvalidRequest: scope: is not understood by the database: ${told}`
            )
          }
          const of: ReadonlyArray<readonly [condition: string, state: string]> = [
            ["::text::int = 1", "22P02"],
            [" = (select '{}'::jsonb from generate_series(1, 2))", "21000"],
            [" is not null and repeats('\"secret of B\"')", "42703"]
          ]
          for (const [condition, state] of of) {
            const scope: Query.ReadScope = (surface, columns) =>
              surface === "changes"
                ? columns.sql`${columns.image}${columns.sql.literal(condition)}`
                : columns.sql`(${columns.name} || 'of B')${columns.sql.literal(condition.replace("{}'::jsonb", "'"))}`
            expect(yield* refusal(read.pipe(Query.withScope(scope))), condition).toBe(
              `InvalidRequest: scope: raised an error on a stored row (SQLSTATE ${state}); it must work for every row`
            )
          }
        })
      )
    }

    it.effect("is not to blame for what is missing of Threadline's own", () =>
      Effect.gen(function* () {
        yield* prepared
        const database = yield* TestDatabase.TestDatabase
        const sql = yield* SqlClient.SqlClient
        const scoped = (layer: Layer.Layer<Query.Query, ThreadlineError>, scope: Query.ReadScope) =>
          refusal(Query.timeline().pipe(Query.withScope(scope), Effect.provide(layer)))
        const elsewhere = Query.layer.pipe(
          Layer.provide(Layer.succeed(StorageSchema, "nowhere")),
          Layer.provide(Layer.succeed(SqlClient.SqlClient, sql))
        )
        expect(yield* scoped(elsewhere, ofTenant("A"))).toMatch(/^ThreadlineError: .*threadline migrate up/)
        const nobody = yield* database.connect("nobody")
        const withoutGrant = Layer.provide(Query.layer, Layer.succeed(SqlClient.SqlClient, nobody))
        expect(yield* scoped(withoutGrant, ofTenant("A"))).toMatch(/^ThreadlineError: .*"threadline grant" gives it/)
        const reader = yield* database.connect("reader")
        const { name } = yield* database.role("reader")
        yield* grant({ writers: [], readers: [name], operators: [] })
        yield* sql`create table tenants (name text)`
        const granted = Layer.provide(Query.layer, Layer.succeed(SqlClient.SqlClient, reader))
        expect(yield* scoped(granted, ofTenant("A"))).toBe("accepted")
        const joined: Query.ReadScope = (_, { sql }) => sql`exists (select from public.tenants)`
        expect(yield* scoped(granted, joined)).toBe(
          "InvalidRequest: scope: needs tenants, which the database role may not read or call (42501)"
        )
        yield* sql`revoke select on threadline.audit_transactions from ${sql(name)}`
        expect(yield* scoped(granted, joined)).toMatch(/^ThreadlineError: /)
      }).pipe(Effect.scoped)
    )
  })

  const required = Query.layerScopeRequired.pipe(Layer.provideMerge(TestDatabase.layer))

  it.layer(required)("where one is required", (it) => {
    for (const [name, read] of Object.entries(reads)) {
      it.effect(`is missed by ${name}`, () =>
        Effect.gen(function* () {
          expect(yield* refusal(read)).toMatch(/^InvalidRequest: scope: is required here/)
        })
      )
    }

    it.effect("opens the reads", () =>
      Effect.gen(function* () {
        yield* prepared
        expect((yield* asA(Query.timeline())).items).toHaveLength(3)
        const sql = yield* SqlClient.SqlClient
        expect(yield* sql`select count(*)::int as count from threadline.audit_changes`).toEqual([{ count: 8 }])
      })
    )
  })
})
