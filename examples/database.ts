/**
 * What both examples share: a database to run in, and the end. With `DATABASE_URL` it is yours, and stays as the example left it.
 * Otherwise it is an embedded PostgreSQL, which is gone when the example ends.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { Capture, Migrations } from "threadline"
import * as TestCluster from "../test/harness/TestCluster.js"

const database = Effect.flatMap(Config.string("DATABASE_URL").pipe(Config.withDefault("")), (url) =>
  url === "" ? Effect.map(TestCluster.make({ postgres: "embedded" }), (cluster) => cluster.url) : Effect.succeed(url)
)

/** The port to serve on: that of `PORT`, or a free one. */
export const port = Config.integer("PORT").pipe(Config.withDefault(0))

export const client = (url: string) => PgClient.layer({ url: Redacted.make(url), maxConnections: 5 })

/**
 * What a deployment does before a program starts: the host's own tables, Threadline's schema, the capture of tables. Each may be
 * done again.
 */
export const prepare = (url: string, statements: string, tables: ReadonlyArray<Capture.TableConfig>) =>
  Effect.gen(function* () {
    const sql = yield* PgClient.PgClient
    yield* sql.unsafe(statements)
    yield* Migrations.run()
    yield* Capture.apply(tables)
  }).pipe(Effect.provide(Layer.provideMerge(Capture.layer, client(url))))

/** Runs an example until it is stopped. `start` gives the address of its server. */
export const run = <E>(start: (url: string) => Effect.Effect<string, E, Scope.Scope>): void =>
  NodeRuntime.runMain(
    Effect.scoped(
      Effect.gen(function* () {
        const origin = yield* start(yield* database)
        yield* Console.log(`Listening on ${origin}. Ctrl+C ends it.`)
        return yield* Effect.never
      })
    )
  )
