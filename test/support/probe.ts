/**
 * A client whose reserved connections call a probe around every message.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
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
      // Built like the client's own `withTransaction`.
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

/** When a call is interrupted: when a message is about to be sent, is under way, or has just been answered. */
export const phases = ["before", "during", "after"] as const

export type Phase = (typeof phases)[number]

/** Lets every fiber that can go on do so. */
export const turn = Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))

/** Interrupts a call at its nth message. How many it has sent, and how it ended. */
export const interruptedAt = <A, E, R>(probe: Probe, message: number, phase: Phase, call: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    let sent = 0
    const started = yield* Deferred.make<Fiber.RuntimeFiber<A, E>>()
    const interrupt = Effect.flatMap(Deferred.await(started), Fiber.interruptFork)
    // The interruption reaches its fiber before the fiber goes on.
    const interrupted = Effect.uninterruptible(Effect.zipRight(interrupt, turn))
    probe.around = (_, send) => {
      if (++sent !== message) {
        return send
      }
      switch (phase) {
        case "before":
          return Effect.zipRight(interrupted, send)
        case "during":
          return Effect.zipRight(Effect.forkDaemon(interrupt), send)
        case "after":
          return Effect.zipLeft(send, interrupted)
      }
    }
    const fiber = yield* Effect.forkDaemon(call)
    yield* Deferred.succeed(started, fiber)
    const exit = yield* Fiber.await(fiber)
    probe.around = idle
    return { sent, exit }
  })
