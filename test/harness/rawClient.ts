import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import pg from "pg"

/** One session of node-postgres. */
export const rawClient = (url: string): Effect.Effect<pg.Client, SqlError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.tryPromise({
      try: async () => {
        const client = new pg.Client({ connectionString: url, application_name: "threadline-test" })
        // A session that the test killed must not kill the test.
        client.on("error", () => undefined)
        await client.connect()
        return client
      },
      catch: (cause) => new SqlError({ cause, message: "could not open a session" })
    }),
    (client) =>
      // A session that waits for a lock never reads the farewell; dropping its database ends it.
      Effect.promise(() =>
        Promise.race([client.end(), new Promise<void>((resolve) => setTimeout(resolve, 500).unref())])
      )
  )
