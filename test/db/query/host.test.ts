import * as PgClient from "@effect/sql-pg/PgClient"
import * as SqlClient from "@effect/sql/SqlClient"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as Str from "effect/String"
import * as Tracer from "effect/Tracer"
import * as Grants from "../../../src/internal/schema/grants.js"
import { literal } from "../../../src/internal/sql/sqlText.js"
import { StorageSchema } from "../../../src/internal/sql/storageSchema.js"
import * as Query from "../../../src/Query.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import { at, layer, reset, write } from "../../support/query.js"

const row = { id: 1, snake_case: { inner_name: 1 }, at: "2026-01-01" }

const log = {
  transactions: [{ id: "1", occurredAt: at(0), actor: { type: "user", id: "somebody" } }],
  changes: [{ id: "1", transactionId: "1", at: at(0), op: "insert", key: "1", after: row }]
} as const

describe("Query in a host", () => {
  it.layer(layer)("that has the schema", (it) => {
    it.effect("is not changed by transforms and types of the host's client", () =>
      Effect.gen(function* () {
        yield* reset
        yield* write(log)
        const { url } = yield* TestDatabase.TestDatabase
        const odd = Query.layer.pipe(
          Layer.provide(
            PgClient.layer({
              url: Redacted.make(url),
              transformResultNames: Str.snakeToCamel,
              transformQueryNames: Str.camelToSnake,
              transformJson: true,
              types: { getTypeParser: (oid: number) => (oid === 25 ? (text: string) => text : () => "odd") }
            })
          )
        )
        const reads = Effect.gen(function* () {
          const [change] = (yield* Query.timeline({ table: "posts", key: 1 })).items
          expect(change?.dataAfter).toEqual(row)
          expect(yield* Query.asOf("posts", 1, at(0))).toMatchObject({ _tag: "Present", row })
          expect((yield* Query.incident("1")).changes.items.map((diff) => diff.fields.length)).toEqual([3])
          expect((yield* Query.timeline({ from: at(0), table: "posts", actor: { type: "user" } })).items.length).toBe(1)
        })
        yield* Effect.provide(reads, odd)
      })
    )

    it.effect("reads within the host's transaction", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* reset
        const seen = yield* sql.withTransaction(
          Effect.gen(function* () {
            yield* write(log)
            const page = yield* Query.timeline()
            const streamed = yield* Stream.runCollect(Query.timelineStream())
            return [page.items.length, streamed.length]
          })
        )
        expect(seen).toEqual([1, 1])
      })
    )

    it.effect("fails with the privilege that is missing, and works with those of a reader", () =>
      Effect.gen(function* () {
        const database = yield* TestDatabase.TestDatabase
        yield* reset
        yield* write(log)
        const { name } = yield* database.role("reader")
        const reader = Query.layer.pipe(Layer.provide(database.connectLayer("reader")))
        const refused = yield* Effect.flip(Effect.provide(Query.timeline(), reader))
        expect(refused).toMatchObject({ _tag: "ThreadlineError", reason: "InsufficientPrivilege" })
        yield* Grants.apply({ writers: [], readers: [name], operators: [] })
        const reads = Effect.gen(function* () {
          expect((yield* Query.timeline({ from: at(0), table: "posts", unattributed: false })).items.length).toBe(1)
          expect((yield* Query.history("posts", 1)).items.length).toBe(1)
          expect((yield* Query.asOf("posts", 1, at(0)))._tag).toBe("Present")
          expect((yield* Query.diff("1")).fields.length).toBe(3)
          expect((yield* Query.incident("1")).transaction.id).toBe("1")
        })
        yield* Effect.provide(reads, reader)
      })
    )

    it.effect("leaves spans of its own name, without a value of anybody", () =>
      Effect.gen(function* () {
        yield* reset
        yield* write(log)
        const spans: Array<{ readonly name: string; readonly attributes: Map<string, unknown> }> = []
        const tracer = Tracer.make({
          span: (name, parent, context, links, startTime, kind) => {
            const attributes = new Map<string, unknown>()
            spans.push({ name, attributes })
            return {
              _tag: "Span",
              name,
              spanId: `${spans.length}`,
              traceId: "1",
              parent,
              context,
              links,
              kind,
              sampled: true,
              attributes,
              status: { _tag: "Started", startTime },
              attribute: (key, value) => void attributes.set(key, value),
              event: () => {},
              addLinks: () => {},
              end: () => {}
            }
          },
          context: (run) => run()
        })
        yield* Effect.gen(function* () {
          yield* Query.timeline({ actor: { type: "user", id: "somebody" }, correlationId: "secret-correlation" })
          yield* Stream.runDrain(Query.timelineStream({ table: "notes", key: "secret-key" }))
          yield* Query.history("posts", 76543)
          yield* Stream.runDrain(Query.historyStream("posts", 76543))
          yield* Query.asOf("posts", 76543, at(0))
          yield* Query.diff("1")
          yield* Query.incident("1")
        }).pipe(Effect.withTracer(tracer))
        const names = new Set(spans.map(({ name }) => name).filter((name) => name.startsWith("threadline")))
        expect([...names].sort()).toEqual([
          "threadline.query.asOf",
          "threadline.query.diff",
          "threadline.query.history",
          "threadline.query.historyStream",
          "threadline.query.incident",
          "threadline.query.timeline",
          "threadline.query.timelineStream"
        ])
        const said = JSON.stringify(spans.map(({ attributes, name }) => [name, ...attributes]))
        expect(said).not.toMatch(/somebody|secret|76543|2026-01-02/)
      })
    )

    it.effect("finds its objects in a schema of any name", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* reset
        yield* write(log)
        const renamed = Query.layer.pipe(Layer.provide(Layer.succeed(StorageSchema, `Odd."Schema"`)))
        // As if it had been installed there: functions find each other by their search path.
        const move = (from: string, to: string) =>
          Effect.gen(function* () {
            yield* sql.unsafe(`alter schema ${from} rename to ${to}`)
            yield* sql.unsafe(`do $do$
              declare function regprocedure;
              begin
                for function in select p.oid from pg_proc p where p.pronamespace = ${literal(to)}::regnamespace loop
                  execute format('alter function %s set search_path = %s, pg_temp', function, ${literal(to)});
                end loop;
              end $do$`)
          })
        yield* move("threadline", `"Odd.""Schema"""`)
        const reads = Effect.gen(function* () {
          expect((yield* Query.timeline({ from: at(0), table: "posts", unattributed: false })).items.length).toBe(1)
          expect((yield* Query.incident("1")).changes.items.length).toBe(1)
        })
        yield* Effect.provide(reads, renamed)
        const missing = yield* Effect.flip(Query.timeline())
        expect(missing).toMatchObject({ _tag: "ThreadlineError", reason: "NotMigrated" })
        yield* move(`"Odd.""Schema"""`, "threadline")
      })
    )

    it.effect("names no stored value when a row is not as it should be", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* reset
        yield* write(log)
        yield* sql`update threadline.audit_changes set op = 'secret-op'`
        const error = yield* Effect.flip(Query.timeline())
        expect(error).toMatchObject({ _tag: "ThreadlineError", reason: "Failed" })
        expect(error.message).toBe("a stored row is not of the form that this version of Threadline reads")
        expect(JSON.stringify(error)).not.toContain("secret-op")
      })
    )
  })

  it.layer(Query.layer.pipe(Layer.provideMerge(TestDatabase.layerEmpty)))("that has not", (it) => {
    it.effect("says what is missing", () =>
      Effect.gen(function* () {
        for (const read of [
          Query.timeline(),
          Query.timeline({ from: at(0) }),
          Query.history("posts", 1),
          Query.asOf("posts", 1, at(0)),
          Query.diff("1"),
          Query.incident("1"),
          Stream.runHead(Query.timelineStream())
        ] as ReadonlyArray<Effect.Effect<unknown, Query.ReadError, Query.Query>>) {
          expect(yield* Effect.flip(read)).toMatchObject({ _tag: "ThreadlineError", reason: "NotMigrated" })
        }
        // What is wrong whatever the database holds is said first.
        expect(yield* Effect.flip(Query.timeline({ limit: 0 }))).toMatchObject({ _tag: "threadline/InvalidRequest" })
      })
    )
  })
})
