/**
 * What capture sets for its transactions.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import type * as Effect from "effect/Effect"
import { snapshot } from "../sql/owned.js"

export const settings = {
  // Objects of the host must not replace those that the catalog is read with. And types must be printed with their schema.
  search_path: "pg_catalog, pg_temp",
  // The policy has types as `format_type` prints them without it.
  quote_all_identifiers: "off",
  // Compiling the query of the catalog takes a hundred times as long as running it.
  jit: "off"
}

/** Reads in one snapshot. If the fiber is in a transaction of the host, it reads in that. */
export const reading = <A, E, R>(sql: SqlClient, body: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> =>
  snapshot(sql, settings, body)
