/** Reads whose plans stay with a session: through a pooler, and while partitions come and go. */
import * as SqlClient from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Query from "../../../src/Query.js"
import { clientOf } from "../../harness/client.js"
import * as Pooler from "../../harness/pooler.js"
import { TestDatabase } from "../../harness/TestDatabase.js"
import { answers, months, seeds } from "../../support/keptPlans.js"
import { layer as reads, reset, write } from "../../support/query.js"

/** Reads of a client of its own. */
const client = (url: string, maxConnections: number) => Layer.provideMerge(Query.layer, clientOf(url, maxConnections))

layer(reads, { excludeTestServices: true })("reads that keep their plans", (it) => {
  it.scoped("say the same through PgBouncer in transaction mode, whoever has the connection", () =>
    Effect.gen(function* () {
      yield* reset
      yield* write(seeds(months.slice(0, 3)))
      const direct = yield* Effect.forEach(months, (month) => answers(month))
      expect(new Set(direct.map(({ rows }) => rows.length)).size).toBeGreaterThan(2)
      // Two connections for four askers, and statements of a host that come in between.
      const pooled = yield* Pooler.make((yield* TestDatabase).url, 2)
      yield* Effect.forEach(
        Array.from({ length: 4 }, (_, place) => place),
        (place) =>
          Effect.gen(function* () {
            const sql = yield* SqlClient.SqlClient
            for (const [number, month] of months.entries()) {
              yield* sql.withTransaction(
                Effect.zipRight(
                  sql`set local search_path = pg_temp`,
                  sql`set local plan_cache_mode = force_custom_plan`
                )
              )
              const index = (number + place) % months.length
              expect(yield* answers(months[index] ?? month)).toEqual(direct[index])
            }
          }).pipe(Effect.provide(client(pooled, 1))),
        { concurrency: "unbounded" }
      )
    })
  )

  it.scoped("know the partitions that came and went since", () =>
    Effect.gen(function* () {
      yield* reset
      const sql = yield* SqlClient.SqlClient
      const asOwner = (statement: string) =>
        sql.withTransaction(
          Effect.zipRight(
            sql`select set_config('role', pg_get_userbyid(nspowner), true) from pg_namespace where nspname = 'threadline'`,
            sql.unsafe(statement)
          )
        )
      const { url } = yield* TestDatabase
      const ofAll = Effect.forEach([months[1], months[3]], (month) => answers(month))
      const fresh = Effect.provide(ofAll, client(url, 1))
      yield* Effect.gen(function* () {
        // One session, which has its plans before anything is there, and keeps them.
        const seen: Array<number> = []
        const same = Effect.gen(function* () {
          const found = yield* ofAll
          expect(found).toEqual(yield* fresh)
          seen.push(found[0]?.changes.length ?? 0)
        })
        yield* same
        // Into partitions that were empty when the plans were made.
        yield* Effect.provide(write(seeds(months.slice(0, 2))), client(url, 1))
        yield* same
        // A month without a partition of its own: into the default one, and then out of it.
        yield* Effect.provide(write(seeds(months.slice(2, 4))), client(url, 1))
        yield* same
        yield* asOwner("select threadline.ensure_partitions('2026-05-01', '2026-05-31')")
        yield* same
        yield* asOwner("drop table threadline.audit_changes_20260101")
        yield* same
        yield* asOwner("alter table threadline.audit_changes detach partition threadline.audit_changes_20260501")
        yield* same
        yield* asOwner(
          "alter table threadline.audit_changes attach partition threadline.audit_changes_20260501 for values from ('2026-05-01Z') to ('2026-06-01Z')"
        )
        yield* same
        yield* asOwner("select threadline.ensure_partitions('2026-01-01', '2026-01-31')")
        yield* same
        expect(seen).toEqual([0, 120, 240, 240, 180, 120, 180, 180])
      }).pipe(Effect.provide(client(url, 1)))
    })
  )
})
