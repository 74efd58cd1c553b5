import * as PgClient from "@effect/sql-pg/PgClient"
import * as Redacted from "effect/Redacted"

/** A client of the database of a URL, which ends with the scope: beside that of the suite, or of another server. */
export const clientOf = (url: string, maxConnections = 2) => PgClient.layer({ url: Redacted.make(url), maxConnections })
