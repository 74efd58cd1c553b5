import * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Migrations from "../../src/Migrations.js"

/** Installs Threadline's schema in the database of a superuser's URL. */
export const install = (url: string, options?: Migrations.RunOptions): Promise<void> =>
  Migrations.run(options).pipe(
    Effect.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 2 })),
    Effect.asVoid,
    Effect.runPromise
  )
