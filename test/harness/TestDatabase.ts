/**
 * A database of a suite's own: a clone of the template that has Threadline's schema installed, dropped at the end.
 *
 *     it.layer(TestDatabase.layer)("Audit.transaction", (it) => {
 *       it.effect("records the actor", () =>
 *         Effect.gen(function* () {
 *           const sql = yield* SqlClient.SqlClient // a superuser
 *           const database = yield* TestDatabase.TestDatabase
 *           const app = yield* database.connect("app") // a role without any grant
 *         }).pipe(Effect.scoped)
 *       )
 *     })
 */
import * as Reactivity from "@effect/experimental/Reactivity"
import * as PgClient from "@effect/sql-pg/PgClient"
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { randomBytes } from "node:crypto"
import pg from "pg"
import { rawClient } from "./rawClient.js"
import { server } from "./server.js"

/** Major version of the server, known while tests are collected: define version-specific tests under an `if`. */
export const serverVersion: number = server.major

/** The URL of the server's superuser, in the database `postgres` or the one of `THREADLINE_TEST_URL`. */
export const serverUrl: string = server.url

export interface Options {
  /** False for a database without Threadline's schema. */
  readonly schema?: boolean | undefined
  /** Its encoding, if it is not that of the template; such a database has no schema. */
  readonly encoding?: "SQL_ASCII" | "LATIN1" | undefined
  /** Size of the superuser's pool; 5 by default. */
  readonly maxConnections?: number | undefined
}

export interface Role {
  /** Its name on the server, unique to this database: `tl_1f0c2a_4be1_app`. */
  readonly name: string
  /** URL of this database as this role. */
  readonly url: string
}

export interface Service {
  readonly name: string
  /** Superuser URL of this database. */
  readonly url: string
  /** Major version of the server. */
  readonly serverVersion: number
  /** The role that owns Threadline's schema. Its name differs in every run, so that no code relies on the default. */
  readonly ownerRole: string
  /**
   * Gives Threadline's schema an owner of its own, and its name. For tests that change the owner or make others members of it: the
   * one of `ownerRole` owns the schemas of all databases of the run, and `Capture.status` reports such a change in each of them.
   */
  readonly ownOwner: Effect.Effect<string>
  /**
   * The LOGIN role that stands for `label` in this database, made when first asked for: no superuser, no grant but what PUBLIC
   * has. `attributes` as in `create role` count then: `createrole noinherit`. It is dropped with the database.
   */
  readonly role: (label: string, attributes?: string) => Effect.Effect<Role>
  /** A pool as the role that stands for `label`. */
  readonly connect: (
    label: string,
    options?: Partial<PgClient.PgClientConfig>
  ) => Effect.Effect<PgClient.PgClient, SqlError, Scope.Scope>
  /** `connect` as a layer. */
  readonly connectLayer: (
    label: string,
    options?: Partial<PgClient.PgClientConfig>
  ) => Layer.Layer<PgClient.PgClient | SqlClient.SqlClient, SqlError>
  /** One node-postgres session, as the superuser if there is no label. For tests that need several sessions at once. */
  readonly rawClient: (label?: string) => Effect.Effect<pg.Client, SqlError, Scope.Scope>
  /** Terminates the session of a backend. */
  readonly terminate: (backendPid: number) => Effect.Effect<void>
}

export class TestDatabase extends Context.Tag("threadline/test/TestDatabase")<TestDatabase, Service>() {}

const urlOf = (database: string, as?: { readonly user: string; readonly password: string }): string => {
  const url = new URL(server.url)
  url.pathname = `/${database}`
  if (as !== undefined) {
    url.username = as.user
    url.password = as.password
  }
  return url.href
}

/**
 * The same database through the Unix socket, if the server has one: for a small statement, the kernel has half the work of TCP.
 * Programs that tests start get the URL with TCP, which all of them understand.
 */
const nearby = (url: string): string => {
  if (server.socketDirectory === undefined) {
    return url
  }
  const near = new URL(url)
  near.searchParams.set("host", server.socketDirectory)
  return near.href
}

/**
 * The sessions of this process in the database `postgres`, kept for all of its tests: what a test asks there is done sooner than a session
 * for it is made. An idle one does not keep the process alive, and one that the server ended is made anew.
 */
const administrators = new pg.Pool({
  connectionString: nearby(server.url),
  max: 4,
  idleTimeoutMillis: 0,
  allowExitOnIdle: true
}).on("error", () => undefined)

/** Runs statements as the superuser, each on its own, in the database `postgres`. */
export const administer = (...statements: ReadonlyArray<string>): Effect.Effect<void> =>
  Effect.promise(async () => {
    const client = await administrators.connect()
    try {
      for (const statement of statements) {
        await client.query(statement)
      }
    } finally {
      client.release()
    }
  })

const openPool = (
  url: string,
  options: Partial<PgClient.PgClientConfig> = {}
): Effect.Effect<PgClient.PgClient, SqlError, Scope.Scope> =>
  PgClient.make({
    applicationName: "threadline-test",
    maxConnections: 5,
    ...options,
    url: Redacted.make(nearby(url))
  }).pipe(Effect.provide(Reactivity.layer))

/** Makes one more database on the server of the test run; the scope drops it together with its roles. */
export const make = (options: Options = {}): Effect.Effect<Service, never, Scope.Scope> =>
  Effect.gen(function* () {
    const name = `${server.prefix}_${randomBytes(4).toString("hex")}`
    const roles = new Map<string, Role>()
    const template =
      options.encoding === undefined
        ? options.schema === false
          ? "template0"
          : server.template
        : `template0 encoding '${options.encoding}' locale_provider libc locale 'C'`
    yield* Effect.acquireRelease(
      administer(`create database ${name} template ${template} strategy ${server.strategy}`),
      () =>
        administer(
          `drop database if exists ${name} with (force)`,
          ...[...roles.values()].map((role) => `drop role if exists ${role.name}`)
        )
    )
    const oneRoleAtATime = yield* Effect.makeSemaphore(1)

    const role = (label: string, attributes = ""): Effect.Effect<Role> =>
      Effect.suspend(() => {
        const knownRole = roles.get(label)
        if (knownRole !== undefined) {
          return Effect.succeed(knownRole)
        }
        const user = `${name}_${label.toLowerCase().replaceAll(/[^a-z0-9]+/g, "_")}`
        const made: Role = { name: user, url: urlOf(name, { user, password: server.password }) }
        return Effect.as(
          Effect.tap(administer(`create role ${user} login password '${server.storedPassword}' ${attributes}`), () =>
            Effect.sync(() => roles.set(label, made))
          ),
          made
        )
      }).pipe(oneRoleAtATime.withPermits(1))

    const connect: Service["connect"] = (label, pool) =>
      Effect.flatMap(role(label), (found) => openPool(found.url, pool))

    return {
      name,
      url: urlOf(name),
      serverVersion,
      ownerRole: server.ownerRole,
      ownOwner: Effect.tap(
        Effect.map(role("owner"), (owner) => owner.name),
        (owner) =>
          Effect.scoped(
            Effect.flatMap(rawClient(urlOf(name)), (client) =>
              Effect.promise(() =>
                client.query(`alter role ${owner} nologin; reassign owned by ${server.ownerRole} to ${owner}`)
              )
            )
          ).pipe(Effect.orDie)
      ),
      role,
      connect,
      connectLayer: (label, pool) => clientLayer(connect(label, pool)),
      rawClient: (label) =>
        Effect.flatMap(
          label === undefined ? Effect.succeed(urlOf(name)) : Effect.map(role(label), ({ url }) => url),
          (url) => rawClient(nearby(url))
        ),
      terminate: (backendPid) => administer(`select pg_terminate_backend(${backendPid})`)
    }
  })

const clientLayer = <E>(client: Effect.Effect<PgClient.PgClient, E, Scope.Scope>) =>
  Layer.scopedContext(
    Effect.map(client, (sql) => Context.make(PgClient.PgClient, sql).pipe(Context.add(SqlClient.SqlClient, sql)))
  )

/** A database, and the superuser's client for it. */
export const layerWith = (
  options: Options
): Layer.Layer<TestDatabase | PgClient.PgClient | SqlClient.SqlClient, SqlError> =>
  Layer.unwrapScoped(
    Effect.map(make(options), (database) =>
      Layer.merge(
        Layer.succeed(TestDatabase, database),
        clientLayer(
          openPool(database.url, options.maxConnections === undefined ? {} : { maxConnections: options.maxConnections })
        )
      )
    )
  )

/** A database with Threadline's schema, and the superuser's client for it. */
export const layer = layerWith({})

/** A database without Threadline's schema, and the superuser's client for it. */
export const layerEmpty = layerWith({ schema: false })
