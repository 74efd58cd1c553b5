/** The database of the application: a pool for what it writes, and a client that reads the record. */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import pg from "pg"
import { ThreadlineLive } from "threadline"

const url = process.env["DATABASE_URL"] ?? ""

export const pool = new pg.Pool({ connectionString: url, max: 5 })
// A session that the server ends while nobody uses it. The pool opens another one.
pool.on("error", (error) => console.error(error.message))

/** What the pages read through. Its connections are opened when the first page is asked for. */
export const AuditLive = ThreadlineLive.pipe(
  Layer.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 5, applicationName: "audit pages" }))
)
