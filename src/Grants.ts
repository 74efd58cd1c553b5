/**
 * What the roles of a host need on the schema of the record. What their writes change is captured without any grant.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import type * as Effect from "effect/Effect"
import { operation } from "./internal/core/telemetry.js"
import * as grants from "./internal/schema/grants.js"
import type { InvalidRequest, ThreadlineError } from "./ThreadlineError.js"

/**
 * Which role does what; at least one role is named.
 *
 * @since 0.1.0
 * @category models
 */
export interface Grants extends grants.Grants {}

/**
 * The grants as plain SQL, for `psql` or for a migration tool. The schema is that of `StorageSchema`.
 *
 * @since 0.1.0
 * @category rendering
 * @example
 * ```ts
 * import { Grants } from "threadline"
 *
 * export const sql = Grants.render({ writers: ["app"], readers: ["support"] })
 * ```
 */
export const render: (grants: Grants) => Effect.Effect<string, InvalidRequest> = grants.render

/**
 * Gives the grants in one transaction; giving them again changes nothing. The connected role must be the owner of the schema, or
 * a member of it: otherwise this fails with a `ThreadlineError` of the reason `InsufficientPrivilege`.
 *
 * @since 0.1.0
 * @category running
 */
export const apply: (grants: Grants) => Effect.Effect<void, InvalidRequest | ThreadlineError, SqlClient.SqlClient> = (
  given
) => operation("grants", "apply")(grants.apply(given))
