/** Sessions by better-auth, and what the record is told of them: who acts, and in whose name. */
import { betterAuth, type BetterAuthPlugin } from "better-auth"
import { getMigrations } from "better-auth/db"
import { fromNodeHeaders } from "better-auth/node"
import { admin } from "better-auth/plugins"
import type { IncomingHttpHeaders } from "node:http"
import type pg from "pg"
import type { Actor } from "threadline"
import { record } from "threadline/pg"

/** What this adapter uses of a session. */
interface Session {
  readonly session: object
  readonly user: { readonly id: string; readonly name: string }
}

/** The actor of a session: the user, and the administrator behind them if there is one. The plugin `admin` adds `impersonatedBy`. */
const toActor = ({ session, user }: Session): Actor.Given => ({
  type: "user",
  id: user.id,
  label: user.name,
  ...("impersonatedBy" in session && typeof session.impersonatedBy === "string"
    ? { impersonator: { type: "admin", id: session.impersonatedBy } }
    : {})
})

export const makeAuth = (pool: pg.Pool, origin: string) =>
  betterAuth({
    baseURL: origin,
    secret: process.env["AUTH_SECRET"] ?? crypto.randomUUID(),
    database: pool,
    emailAndPassword: { enabled: true },
    // Its types do not fit those of better-auth if a host uses `exactOptionalPropertyTypes`.
    plugins: [admin() as BetterAuthPlugin],
    telemetry: { enabled: false },
    databaseHooks: {
      session: {
        create: {
          // A sign-in writes none of the shop's tables, so it is recorded as an action.
          after: async ({ impersonatedBy, userId }) => {
            const by = typeof impersonatedBy === "string" ? impersonatedBy : undefined
            await record(pool, by === undefined ? "user.signed-in" : "user.impersonated", {
              actor: by === undefined ? { type: "user", id: userId } : { type: "admin", id: by }
            })
          }
        }
      }
    }
  })

export type Auth = ReturnType<typeof makeAuth>

/** better-auth makes its own tables. */
export const migrate = async ({ options }: Auth): Promise<void> => (await getMigrations(options)).runMigrations()

/** Who sent a request. */
export const actorOf = async (auth: Auth, headers: IncomingHttpHeaders): Promise<Actor.Given> => {
  const found = await auth.api.getSession({ headers: fromNodeHeaders(headers) })
  return found === null ? { type: "anonymous" } : toActor(found)
}
