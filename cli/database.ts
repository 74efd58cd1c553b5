/** Which database a command talks to, and as what. */
import * as PgClient from "@effect/sql-pg/PgClient"
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Config from "./config.js"
import * as Migrations from "../src/Migrations.js"
import { StorageSchema } from "../src/StorageSchema.js"
import { fromSqlError, type ThreadlineError } from "../src/ThreadlineError.js"
import { UsageError } from "./exit.js"
import type { Common } from "./options.js"

const variables = ["THREADLINE_DATABASE_URL", "DATABASE_URL"] as const

/** Loads the configuration that the options name or the working directory has. */
export const configuration = (options: Common): Effect.Effect<Config.Configuration, UsageError> =>
  Config.load(Option.getOrUndefined(options.config))

const chosenSchema = (options: Common, configured: Config.Configuration): Option.Option<string> =>
  Option.firstSomeOf([
    options.schema,
    Option.fromNullable(configured.schema),
    // As for `ThreadlineLive`.
    Option.filter(Option.fromNullable(process.env["THREADLINE_SCHEMA"]), (name) => name !== "")
  ])

/** Runs an effect under the schema that the option, else the configuration, else the environment names. */
export const withSchema =
  (options: Common, configured: Config.Configuration) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Option.match(chosenSchema(options, configured), {
      onNone: () => effect,
      onSome: (schema) => Effect.provideService(effect, StorageSchema, schema)
    })

/** The database that the option, else the environment names. */
export const client = (options: Common): Layer.Layer<SqlClient.SqlClient, UsageError | ThreadlineError> =>
  Layer.unwrapEffect(
    Effect.map(url(options), (found) =>
      PgClient.layer({
        url: Redacted.make(found),
        applicationName: "threadline",
        maxConnections: 2,
        connectTimeout: "10 seconds"
      }).pipe(
        Layer.catchAll((error) =>
          Layer.fail(error._tag === "SqlError" ? fromSqlError(error) : new UsageError({ message: error.toString() }))
        )
      )
    )
  )

/** A client for a database whose schema this version can work with. */
export const migratedClient = (options: Common) =>
  Layer.tap(client(options), (context) => Effect.provide(Migrations.check, context))

const url = Effect.fnUntraced(function* (options: Common) {
  const given: ReadonlyArray<readonly [name: string, value: string | undefined]> = [
    ["--url", Option.getOrUndefined(options.url)],
    ...variables.map((name) => [name, process.env[name]] as const)
  ]
  const found = given.find(([, value]) => value !== undefined && value !== "")
  if (found === undefined) {
    return yield* new UsageError({
      message: `no database is named: give --url, or set ${variables.join(" or ")}`
    })
  }
  const [name, text = ""] = found
  // What is wrong with it may be its password: the text is not repeated.
  if (!/^postgres(ql)?:\/\//i.test(text) || !URL.canParse(text)) {
    return yield* new UsageError({
      message: `${name} is not the URL of a PostgreSQL database, such as postgres://user@host:5432/name`
    })
  }
  return text
})
