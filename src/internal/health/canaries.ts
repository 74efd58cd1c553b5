/**
 * The canary of every captured relation, and its findings.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import type { ThreadlineError } from "../../ThreadlineError.js"
import type { CaptureError } from "../capture/captureError.js"
import { readCatalog } from "../capture/catalog.js"
import { policyName } from "../capture/diff.js"
import { fromFailure } from "../capture/failure.js"
import { findTable, label } from "../capture/resolve.js"
import { reading } from "../capture/settings.js"
import { tableStatuses } from "../capture/status.js"
import { canaryOf, type CanaryResult } from "./canary.js"
import { ofFact } from "./finding.js"
import type { Finding } from "./model.js"

/** The relations of captured tables that hold rows, for the canary, each with its table and its redacted columns. */
const canaryTargets = (sql: SqlClient, storage: string) =>
  reading(
    sql,
    Effect.gen(function* () {
      const catalog = yield* readCatalog(sql, storage, [], "everything")
      return tableStatuses(storage, catalog, undefined).flatMap(({ findings, policy }) =>
        policy === null
          ? []
          : (findTable(catalog, policyName(policy))?.relations ?? [])
              .filter(({ kind }) => kind === "r")
              .map((relation) => ({
                table: { schema: policy.tableSchema, name: policy.tableName },
                relation: { schema: relation.schema, name: relation.name },
                redacted: [...policy.exclude, ...Object.keys(policy.paths)],
                mend: findings.find(({ mend, severity }) => severity === "error" && mend !== null)?.mend ?? null
              }))
      )
    })
  )

/** Runs the canary on every relation that holds rows. */
export const readCanary = (
  sql: SqlClient,
  storage: string
): Effect.Effect<ReadonlyArray<CanaryResult>, CaptureError | ThreadlineError> =>
  Effect.flatMap(canaryTargets(sql, storage), (targets) =>
    Effect.forEach(targets, ({ mend, redacted, relation, table }) =>
      Effect.map(canaryOf(sql, storage, table, relation, redacted), (outcome) => ({
        table: label(table),
        relation: label(relation),
        ...outcome,
        mend: outcome.outcome === "not recorded" ? mend : null
      }))
    )
  ).pipe(Effect.mapError((error) => fromFailure<never>(error)))

/** The findings of a canary. */
export const canaryFindings = (results: ReadonlyArray<CanaryResult>): ReadonlyArray<Finding> =>
  results.flatMap(({ mend, outcome, relation, table, why }) =>
    outcome === "not recorded"
      ? [ofFact("error", table, { kind: "CanaryFailed", relation }, mend)]
      : why === null
        ? []
        : [ofFact("info", table, { kind: "CanaryUnknown", relation, why })]
  )
