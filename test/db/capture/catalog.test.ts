import * as SqlClient from "@effect/sql/SqlClient"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { isCurrent } from "../../../src/internal/capture/catalog.js"
import { clientOf } from "../../harness/client.js"
import * as TestCluster from "../../harness/TestCluster.js"

// A server of its own: on that of the run, other tests end their transactions at any time.
it.scopedLive("a catalog that was read is current until another transaction ends that may have changed something", () =>
  Effect.gen(function* () {
    const cluster = yield* TestCluster.make()
    const other = yield* cluster.rawClient()
    const does = (statement: string) => Effect.promise(() => other.query(statement))
    yield* does("create table t (id int)")
    const answers = Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const snapshot = Effect.map(
        sql<{ readonly snapshot: string }>`select pg_current_snapshot()::text as snapshot`,
        ([row]) => ({ snapshot: row?.snapshot ?? "" })
      )
      const first = yield* snapshot
      const afterNothing = yield* isCurrent(sql, first)
      yield* does("select count(*) from t")
      const afterRead = yield* isCurrent(sql, first)
      yield* sql`insert into t values (1)`
      const afterOwnWrite = yield* isCurrent(sql, first)
      yield* does("begin; insert into t values (2)")
      const besideWrite = yield* isCurrent(sql, first)
      const during = yield* snapshot
      yield* does("commit")
      const afterWrite = [yield* isCurrent(sql, first), yield* isCurrent(sql, during)]
      const later = yield* snapshot
      const ofLater = yield* isCurrent(sql, later)
      return { afterNothing, afterRead, afterOwnWrite, besideWrite, afterWrite, ofLater }
    })
    const client = Effect.flatMap(SqlClient.SqlClient, (sql) => sql.withTransaction(answers))
    const given = yield* Effect.provide(client, clientOf(cluster.url, 1))
    expect(given).toEqual({
      afterNothing: true,
      afterRead: true,
      afterOwnWrite: true,
      besideWrite: true,
      afterWrite: [false, false],
      ofLater: true
    })
  })
)
