/** Sessions in a table, known by a cookie. */
import * as HttpApiMiddleware from "@effect/platform/HttpApiMiddleware"
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as HttpApiSecurity from "@effect/platform/HttpApiSecurity"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { createHash, randomBytes, scrypt, timingSafeEqual } from "node:crypto"
import { Actor } from "threadline"

export class Unauthorized extends Schema.TaggedError<Unauthorized>()(
  "Unauthorized",
  {},
  HttpApiSchema.annotations({ status: 401 })
) {}

export class SignIn extends Schema.Class<SignIn>("SignIn")({
  name: Schema.String.pipe(Schema.maxLength(200)),
  password: Schema.Redacted(Schema.String.pipe(Schema.maxLength(200)))
}) {}

/** Who is signed in. */
export class CurrentUser extends Context.Tag("effect-host/CurrentUser")<
  CurrentUser,
  { readonly id: number; readonly name: string; readonly tenant: string }
>() {}

export const cookie = HttpApiSecurity.apiKey({ in: "cookie", key: "session" })

export class Authorization extends HttpApiMiddleware.Tag<Authorization>()("effect-host/Authorization", {
  failure: Unauthorized,
  provides: CurrentUser,
  security: { cookie }
}) {}

/** The record asks for the actor when something is written: whoever is signed in then. */
export const actor = Effect.map(
  Effect.serviceOption(CurrentUser),
  Option.map((user) => Actor.user(user.id, { label: user.name }))
)

// Whoever reads the table of sessions can continue none of them.
const digest = (token: string) => createHash("sha256").update(token).digest("hex")

export const AuthorizationLive = Layer.effect(
  Authorization,
  Effect.map(SqlClient.SqlClient, (sql) =>
    Authorization.of({
      cookie: (token) =>
        Effect.gen(function* () {
          const [user] = yield* sql<Context.Tag.Service<CurrentUser>>`
            select u.id, u.name, u.tenant
            from sessions s
            join users u on u.id = s.user_id
            where s.token = ${digest(Redacted.value(token))} and s.expires_at > now()`.pipe(Effect.orDie)
          return user ?? (yield* new Unauthorized())
        })
    })
  )
)

const hash = (password: string, salt: string) =>
  Effect.async<Buffer>((resume) =>
    scrypt(password, salt, 32, (error, key) => resume(error === null ? Effect.succeed(key) : Effect.die(error)))
  )

export const addUser = (name: string, tenant: string, password: string) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const salt = randomBytes(16).toString("hex")
    const key = yield* hash(password, salt)
    yield* sql`
      insert into users ${sql.insert({ name, tenant, salt, password: key.toString("hex") })}
      on conflict (name) do nothing`
  })

/** A new session: the user, and the token for the cookie. */
export const signIn = ({ name, password }: SignIn) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const [user] = yield* sql<{
      readonly id: number
      readonly name: string
      readonly tenant: string
      readonly salt: string
      readonly password: string
    }>`
      select id, name, tenant, salt, password from users where name = ${name}`.pipe(Effect.orDie)
    // An unknown name takes as long as a wrong password.
    const key = yield* hash(Redacted.value(password), user?.salt ?? "")
    if (user === undefined || !timingSafeEqual(key, Buffer.from(user.password, "hex"))) {
      return yield* new Unauthorized()
    }
    const token = randomBytes(32).toString("hex")
    yield* sql`
      insert into sessions (token, user_id, expires_at)
      values (${digest(token)}, ${user.id}, now() + interval '12 hours')`.pipe(Effect.orDie)
    return { user, token: Redacted.make(token) }
  })
