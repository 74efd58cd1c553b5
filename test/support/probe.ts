/**
 * A client whose reserved connections call a probe around every message.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"

export interface Probe {
  /** Runs in place of each message. */
  around: <A>(message: string, send: Effect.Effect<A, SqlError>) => Effect.Effect<A, SqlError>
}

export const idle: Probe["around"] = (_, send) => send

const probed = (connection: Connection, probe: Probe): Connection => ({
  execute: (sql, params, transform) =>
    Effect.suspend(() => probe.around(sql, connection.execute(sql, params, transform))),
  executeRaw: (sql, params) => Effect.suspend(() => probe.around(sql, connection.executeRaw(sql, params))),
  executeValues: (sql, params) => Effect.suspend(() => probe.around(sql, connection.executeValues(sql, params))),
  executeUnprepared: (sql, params, transform) =>
    Effect.suspend(() => probe.around(sql, connection.executeUnprepared(sql, params, transform))),
  executeStream: (sql, params, transform) => connection.executeStream(sql, params, transform),
  // The driver's client, which the driver's own connections have.
  ...("pg" in connection ? { pg: connection.pg } : {})
})

/** The client of the environment, with a probe on the connections that it reserves and that its transactions use. */
export const clientWith = (probe: Probe): Layer.Layer<SqlClient.SqlClient, never, SqlClient.SqlClient> =>
  Layer.effect(
    SqlClient.SqlClient,
    Effect.map(SqlClient.SqlClient, (sql) => {
      const reserve = Effect.map(sql.reserve, (connection) => probed(connection, probe))
      // What the client's own `withTransaction` is made of.
      const send = (message: (id: number) => string) => (connection: Connection, id: number) =>
        connection.executeUnprepared(message(id), [], undefined)
      const withTransaction = SqlClient.makeWithTransaction({
        transactionTag: SqlClient.TransactionConnection,
        spanAttributes: [],
        acquireConnection: Effect.flatMap(Scope.make(), (scope) =>
          Effect.map(Scope.extend(reserve, scope), (connection) => [scope, connection] as const)
        ),
        begin: (connection) => send(() => "BEGIN")(connection, 0),
        savepoint: send((id) => `SAVEPOINT effect_sql_${id}`),
        commit: (connection) => send(() => "COMMIT")(connection, 0),
        rollback: (connection) => send(() => "ROLLBACK")(connection, 0),
        rollbackSavepoint: send((id) => `ROLLBACK TO SAVEPOINT effect_sql_${id}`)
      })
      return new Proxy(sql, {
        get: (target, key): unknown =>
          key === "reserve" ? reserve : key === "withTransaction" ? withTransaction : Reflect.get(target, key)
      })
    })
  )
