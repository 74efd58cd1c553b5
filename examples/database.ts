/**
 * What the examples share: a database to run in, and the end. With `DATABASE_URL` it is yours, and stays as the example left it.
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
import { randomBytes } from "node:crypto"
import { Capture, Grants, Migrations } from "threadline"
import * as TestCluster from "../test/harness/TestCluster.js"

/** The URL of the database. */
export const database = Effect.flatMap(Config.string("DATABASE_URL").pipe(Config.withDefault("")), (url) =>
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

/** The URLs of a program whose roles are apart: none of them can change the record, or capture. */
export interface Roles {
  /** Writes the host's tables, and what it means by it. */
  readonly writer: string
  /** Reads the record, and no table of the host. */
  readonly reader: string
}

/**
 * The roles of a program, on a database that is prepared: `<name>_writer` with the host's tables, `<name>_reader` with the record alone. A
 * deployment makes them once and keeps the passwords where it keeps secrets; here each start makes new ones.
 */
export const roles = (url: string, name: string) =>
  Effect.gen(function* () {
    const sql = yield* PgClient.PgClient
    const [writer, reader] = [`${name}_writer`, `${name}_reader`] as const
    const urlOf = (role: string) =>
      Effect.gen(function* () {
        const password = randomBytes(16).toString("hex")
        const exists = yield* sql`select from pg_roles where rolname = ${role}`
        yield* sql.unsafe(`${exists.length === 0 ? "create" : "alter"} role ${role} login password '${password}'`)
        const own = new URL(url)
        own.username = role
        own.password = password
        return own.href
      })
    const made: Roles = { writer: yield* urlOf(writer), reader: yield* urlOf(reader) }
    yield* sql.unsafe(`
      grant usage on schema public to ${writer};
      grant select, insert, update, delete on all tables in schema public to ${writer}`)
    yield* Grants.apply({ writers: [writer], readers: [reader] })
    return made
  }).pipe(Effect.provide(client(url)))

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
