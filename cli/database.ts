/** The database of a command, and the role that it connects as. */
import * as Reactivity from "@effect/experimental/Reactivity"
import * as PgClient from "@effect/sql-pg/PgClient"
import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Config from "./config.js"
import * as Migrations from "../src/Migrations.js"
import { StorageSchema } from "../src/StorageSchema.js"
import { fromSqlError, InvalidRequest, type ThreadlineError } from "../src/ThreadlineError.js"
import { UsageError } from "./exit.js"
import type { Common } from "./options.js"
import { variable } from "./surroundings.js"

const urlVariables = ["THREADLINE_DATABASE_URL", "DATABASE_URL"] as const

/** The variables of libpq that say which database it is. The driver itself reads PGSSLMODE, PGOPTIONS and the password file. */
const partVariables = ["PGHOST", "PGPORT", "PGUSER", "PGDATABASE"] as const

/** Loads the configuration that the options name or the working directory has. */
export const configuration = (options: Common): Effect.Effect<Config.Configuration, UsageError> =>
  Config.load(Option.getOrUndefined(options.config))

/** The refusal of a name of a schema as a mistake of the option. Generating migrations checks the name without a database. */
const schemaRefused = ({ rule }: InvalidRequest): UsageError => new UsageError({ message: `--schema: ${rule}` })

const chosenSchema = (options: Common, configured: Config.Configuration): Effect.Effect<Option.Option<string>> =>
  Effect.map(
    // As for `ThreadlineLive`.
    variable("THREADLINE_SCHEMA"),
    (set) => Option.firstSomeOf([options.schema, Option.fromNullable(configured.schema), set])
  )

/** Runs an effect under the schema that the option, else the configuration, else the environment names. */
export const withSchema =
  (options: Common, configured: Config.Configuration) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | UsageError, R> =>
    Effect.flatMap(
      chosenSchema(options, configured),
      Option.match({
        onNone: (): Effect.Effect<A, E | UsageError, R> => effect,
        onSome: (schema) =>
          Effect.provideService(
            Effect.zipRight(Effect.mapError(Migrations.generate({}), schemaRefused), effect),
            StorageSchema,
            schema
          )
      })
    )

/** A database that answers nothing. If an effect refuses its input even so, the input is wrong, no matter what the database holds. */
export const nowhere = Layer.effect(
  SqlClient.SqlClient,
  SqlClient.make({
    acquirer: Effect.fail(new SqlError({ cause: undefined, message: "not asked" })),
    compiler: PgClient.makeCompiler(),
    spanAttributes: []
  })
).pipe(Layer.provide(Reactivity.layer))

/** Runs an effect up to its first statement, and fails if the effect refuses its input. */
export const inputOnly = <A, E, R>(
  effect: Effect.Effect<A, E, R | SqlClient.SqlClient>
): Effect.Effect<void, E, Exclude<R, SqlClient.SqlClient>> =>
  Effect.catchIf(
    Effect.asVoid(Effect.provide(effect, nowhere)),
    (error) => !(error instanceof UsageError || InvalidRequest.is(error)),
    () => Effect.void
  )

/**
 * Runs an effect in a database, after its input was checked without one: wrong input is reported even if the database cannot be
 * reached. What the effect does before it asks the database happens twice.
 */
export const inputFirst = <A, E, R, E2>(
  effect: Effect.Effect<A, E, R | SqlClient.SqlClient>,
  database: Layer.Layer<SqlClient.SqlClient, E2>
): Effect.Effect<A, E | E2, Exclude<R, SqlClient.SqlClient>> =>
  Effect.zipRight(inputOnly(effect), Effect.provide(effect, database))

/** A client of a database, under a name that its administrators see. */
export const connection = (
  target: Target,
  { applicationName, maxConnections }: { readonly applicationName: string; readonly maxConnections: number }
): Layer.Layer<SqlClient.SqlClient, UsageError | ThreadlineError> =>
  PgClient.layer({ ...target, applicationName, maxConnections, connectTimeout: "10 seconds" }).pipe(
    Layer.catchAll((error) =>
      Layer.fail(error._tag === "SqlError" ? fromSqlError(error) : new UsageError({ message: error.toString() }))
    )
  )

/** The database that the option, else the environment names. */
export const client = (options: Common): Layer.Layer<SqlClient.SqlClient, UsageError | ThreadlineError> =>
  Layer.unwrapEffect(
    Effect.map(target(options), (found) => connection(found, { applicationName: "threadline", maxConnections: 2 }))
  )

/** A client for a database whose schema this version can work with. */
export const migratedClient = (options: Common) =>
  Layer.tap(client(options), (context) => Effect.provide(Migrations.check, context))

/** Like `migratedClient`, for capture: it says itself what its role lacks. */
export const captureClient = (options: Common) =>
  Layer.tap(client(options), (context) =>
    Migrations.check.pipe(
      Effect.catchIf(
        ({ reason }) => reason === "InsufficientPrivilege",
        () => Effect.void
      ),
      Effect.provide(context)
    )
  )

type Target = Pick<PgClient.PgClientConfig, "url" | "host" | "port" | "username" | "password" | "database">

/** The URL that the option, else the environment has. */
export const givenUrl = Effect.fnUntraced(function* (
  options: Common
): Effect.fn.Return<Option.Option<Redacted.Redacted>, UsageError> {
  const urlSource = [
    { name: "--url", text: options.url },
    ...(yield* Effect.forEach(urlVariables, (name) => Effect.map(variable(name), (text) => ({ name, text }))))
  ].find(({ text }) => Option.isSome(text))
  if (urlSource === undefined) {
    return Option.none()
  }
  const text = Option.getOrElse(urlSource.text, () => "")
  // The mistake may be in the password, so the URL is not repeated.
  if (!/^postgres(ql)?:\/\//i.test(text) || !URL.canParse(text)) {
    return yield* new UsageError({
      message: `${urlSource.name} is not the URL of a PostgreSQL database, such as postgres://user@host:5432/name`
    })
  }
  return Option.some(Redacted.make(text))
})

const target = (options: Common): Effect.Effect<Target, UsageError> =>
  Effect.flatMap(
    givenUrl(options),
    Option.match({ onNone: () => targetOfParts, onSome: (url) => Effect.succeed<Target>({ url }) })
  )

/** The last resort: the variables that psql reads. The defaults are those of psql: this host, this user, a database of the user's name. */
const targetOfParts = Effect.gen(function* (): Effect.fn.Return<Target, UsageError> {
  const [host, port, username, database] = yield* Effect.all([
    variable("PGHOST"),
    variable("PGPORT"),
    variable("PGUSER"),
    variable("PGDATABASE")
  ])
  if ([host, port, username, database].every(Option.isNone)) {
    return yield* new UsageError({
      message: `no database is named: give --url, or set ${urlVariables.join(" or ")}, or ${partVariables.join(", ")}`
    })
  }
  if (Option.exists(port, (text) => !/^[1-9]\d{0,4}$/.test(text) || Number(text) > 65_535)) {
    return yield* new UsageError({ message: "PGPORT is a port from 1 to 65535" })
  }
  const password = yield* variable("PGPASSWORD")
  return {
    host: Option.getOrUndefined(host),
    port: Option.getOrUndefined(Option.map(port, Number)),
    username: Option.getOrUndefined(username),
    password: Option.getOrUndefined(Option.map(password, Redacted.make<string>)),
    database: Option.getOrUndefined(database)
  }
})
