/** Health, coverage, continuity and the status of capture through PgBouncer in transaction mode, with rights and without. */
import * as SqlClient from "@effect/sql/SqlClient"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Capture from "../../../src/Capture.js"
import * as Continuity from "../../../src/Continuity.js"
import * as Health from "../../../src/Health.js"
import { clientOf } from "../../harness/client.js"
import * as Pooler from "../../harness/pooler.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import { apply, fresh, run } from "../../support/capture.js"

const services = Layer.mergeAll(Capture.layer, Continuity.layer, Health.layer)

const options = { tables: [{ table: "posts" }, { table: "events" }], expected: ["posts", "events", "users"] }

/** Everything that is asked, at the same time. */
const answers = Effect.all(
  {
    report: Effect.map(Health.report(options), ({ findings, tables }) => ({ findings, tables })),
    coverage: Health.coverage({ ...options, all: true }),
    policies: Health.policies(options),
    continuity: Continuity.check({ tables: options.tables }),
    status: Capture.status(options.tables)
  },
  { concurrency: "unbounded" }
).pipe(Effect.provide(services))

/** Four connections of a client, which share one of the server. */
const through = (url: string) => Layer.unwrapScoped(Effect.map(Pooler.make(url, 1), (pooled) => clientOf(pooled, 4)))

it.scopedLive("Health says the same through a pooler, and of what a role may not see only that it is unknown", () =>
  fresh(
    Effect.gen(function* () {
      const database = yield* TestDatabase.TestDatabase
      const admin = yield* SqlClient.SqlClient
      yield* run(
        "create table posts (id bigint primary key, api_key text)",
        "create table users (id bigint primary key)",
        "create table events (id bigint, day date, primary key (id, day)) partition by range (day)",
        "create table events_1 partition of events for values from ('2026-01-01') to ('2026-02-01')"
      )
      yield* apply([{ table: "posts" }, { table: "events" }])
      yield* run("create table events_2 partition of events for values from ('2026-02-01') to ('2026-03-01')")
      const direct = yield* answers
      expect(direct.report.findings.map(({ code }) => code).sort()).toEqual([
        "PartitionAttached",
        "SensitiveInClear",
        "TableUncovered"
      ])
      expect(JSON.stringify(yield* Effect.provide(answers, through(database.url)))).toBe(JSON.stringify(direct))

      const nobody = yield* database.role("nobody")
      const refused = <A, E extends { readonly _tag: string }, R>(asked: Effect.Effect<A, E, R>) =>
        Effect.map(Effect.flip(asked), (error) => ("reason" in error ? error.reason : error._tag))
      yield* Effect.gen(function* () {
        const unknown = Effect.map(Health.report(options), ({ findings, tables }) => ({
          tables,
          known: findings.filter(({ code }) => code !== "Unknown").map(({ code }) => code),
          unknown: findings.flatMap(({ details }) => (details.kind === "Unknown" ? [details.part] : []))
        }))
        const parts = ["capture", "version", "default partition", "consumers", "transactions"]
        // Nothing; then the schema alone; then the policies, without what tells whether they still hold.
        for (const grant of [
          "select 1",
          `grant usage on schema threadline to ${nobody.name}`,
          `grant select on threadline.capture_policies to ${nobody.name}`
        ]) {
          yield* admin.unsafe(grant)
          expect([grant, yield* unknown]).toEqual([grant, { tables: [], known: [], unknown: parts }])
          expect([
            grant,
            yield* refused(Health.coverage(options)),
            yield* refused(Continuity.check({ tables: options.tables })),
            yield* refused(Capture.status(options.tables))
          ]).toStrictEqual([grant, ...Array.from({ length: 3 }, () => "InsufficientPrivilege")])
          // Redaction is in the policies alone.
          const policies = Effect.map(Effect.either(Health.policies(options)), (answer) =>
            Either.isRight(answer) ? JSON.stringify(answer.right) : "refused"
          )
          expect(yield* policies).toBe(grant.includes("capture_policies") ? JSON.stringify(direct.policies) : "refused")
        }
      }).pipe(Effect.provide(Layer.provideMerge(services, through(nobody.url))))
    })
  )
)
