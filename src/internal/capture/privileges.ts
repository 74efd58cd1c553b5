/**
 * Checks a plan before anything is touched: the privileges it needs, and that it shows no more of redacted columns than
 * allowed.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as TableName from "../core/tableName.js"
import { CaptureError } from "./captureError.js"
import type { Catalog } from "./catalogModel.js"
import type { Failure } from "./failure.js"
import { commandMend, hostMend, type Mend, readerCommand, sqlMend } from "./mend.js"
import type { Refusal } from "./refusal.js"
import type { ApplyOptions } from "./request.js"
import { label } from "./resolve.js"
import type { Need, TablePlan } from "./tablePlan.js"
import type { Unit } from "./units.js"

/**
 * Refuses a plan that would fail for lack of a privilege, or that reduces redaction without being allowed to. Says what to
 * grant.
 */
export const check = (catalog: Catalog, unit: Pick<Unit, "label">, plan: TablePlan, options: ApplyOptions) => {
  const refuse = (refusal: Refusal, mend: Mend) => Effect.fail(new CaptureError({ table: unit.label, refusal, mend }))
  const lessRedaction = plan.steps.flatMap(({ lessRedaction }) => lessRedaction)
  const { role, storage } = catalog
  if (plan.steps.length === 0) {
    return Effect.void
  }
  if (lessRedaction.length > 0 && options.allowLessRedaction !== true) {
    return refuse({ reason: "LessRedaction", columns: [...new Set(lessRedaction)] }, hostMend("allowLessRedaction"))
  }
  const lacking = (lacks: "membership" | "inheritance"): Refusal => ({
    reason: "InsufficientPrivilege",
    lacks,
    role,
    relation: null,
    owner: storage.owner,
    serverMessage: null
  })
  const membership = `grant ${TableName.quote(storage.owner)} to ${TableName.quote(role)}`
  if (!storage.mayBecomeOwner) {
    return refuse(lacking("membership"), sqlMend([membership]))
  }
  if (!storage.inheritsOwner) {
    return refuse(lacking("inheritance"), sqlMend([`${membership} with inherit`]))
  }
  const unmet = plan.needs.find(isUnmet)
  return unmet === undefined ? Effect.void : refuse(...missing(unmet, catalog))
}

const isUnmet = ({ privilege, relation }: Need): boolean =>
  privilege === "trigger" ? !relation.mayTrigger : privilege === "ownership" ? !relation.owned : true

const missing = (
  { privilege, relation }: Need,
  { role, storage }: Catalog
): readonly [refusal: Refusal, mend: Mend] => {
  const table = label(relation)
  const owner = TableName.quote(storage.owner)
  const refusal = {
    reason: "InsufficientPrivilege",
    role,
    relation: table,
    owner: storage.owner,
    serverMessage: null
  } as const
  switch (privilege) {
    case "trigger":
      return [{ ...refusal, lacks: "trigger" }, sqlMend([`grant trigger on ${table} to ${TableName.quote(role)}`])]
    case "ownership":
      return [{ ...refusal, lacks: "ownership" }, hostMend("useTableOwner")]
    case "grant":
      return [
        { ...refusal, lacks: "read" },
        sqlMend([
          `grant usage on schema ${TableName.quote(relation.schema)} to ${owner}`,
          `grant select on ${table} to ${owner}`
        ])
      ]
  }
}

const ActingRow = Schema.Tuple(Schema.Struct({ role: Schema.String, owner: Schema.String }))

/**
 * If the role may not even read the record, fails with what it needs: to look, the grant of a reader (`record`); to capture,
 * membership in the owner (`membership`), which no grant of Threadline gives.
 */
export const sayingWhatItRequires =
  (sql: SqlClient, storage: string, lacks: "membership" | "record") =>
  <A>(planning: Effect.Effect<A, Failure>): Effect.Effect<A, Failure> =>
    Effect.catchTag(planning, "ThreadlineError", (error) =>
      error.reason !== "InsufficientPrivilege"
        ? error
        : sql`
            select current_user::text as role, pg_catalog.pg_get_userbyid(nspowner)::text as owner
            from pg_catalog.pg_namespace
            where nspname = ${storage}
          `.pipe(
            Effect.flatMap(Schema.decodeUnknown(ActingRow)),
            Effect.mapError(() => error),
            Effect.flatMap(
              ([{ owner, role }]) =>
                new CaptureError({
                  table: "*",
                  refusal: {
                    reason: "InsufficientPrivilege",
                    lacks,
                    role,
                    relation: null,
                    owner,
                    serverMessage: null
                  },
                  mend:
                    lacks === "record"
                      ? commandMend(readerCommand(role))
                      : sqlMend([`grant ${TableName.quote(owner)} to ${TableName.quote(role)}`]),
                  ...(error.sqlState === undefined ? {} : { sqlState: error.sqlState })
                })
            )
          )
    )
