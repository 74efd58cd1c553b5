/**
 * The plans of all tables of a request, each as a unit that can be planned again under its locks.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { InvalidRequest } from "../../ThreadlineError.js"
import { nearest } from "../core/suggest.js"
import * as TableName from "../core/tableName.js"
import { CaptureError } from "./captureError.js"
import { readCatalog } from "./catalog.js"
import type { Catalog, Name } from "./catalogModel.js"
import { isThere } from "./catalogStatement.js"
import { planDetach } from "./detach.js"
import { activePolicies, policyName } from "./diff.js"
import { type Failure, fromFailure } from "./failure.js"
import { followed, followSteps, formerNameOf } from "./follow.js"
import { checkSeen } from "./formerly.js"
import { hostMend } from "./mend.js"
import { nameCollision, planTable } from "./plan.js"
import type { ApplyOptions } from "./request.js"
import { type ConfiguredTable, findTable, label, resolve, sameName } from "./resolve.js"
import { reading } from "./settings.js"
import type { PlanOptions, TablePlan } from "./tablePlan.js"

/** What is to be done for one table. It is computed once more under the lock, if anything has changed since. */
export interface Unit {
  readonly label: string
  readonly plan: TablePlan
  readonly replan: (catalog: Catalog) => Either.Either<TablePlan, CaptureError>
}

/** Reads the catalog and computes the steps of every table; nothing is locked or changed. */
export const planAll = (
  sql: SqlClient,
  storage: string,
  configuredTables: ReadonlyArray<ConfiguredTable>,
  options: ApplyOptions
): Effect.Effect<{ readonly units: ReadonlyArray<Unit>; readonly catalog: Catalog }, Failure> =>
  reading(
    sql,
    Effect.gen(function* () {
      const catalog = yield* readCatalog(sql, storage, configuredTables, "everything")
      const candidates = yield* knownNames(sql, catalog, configuredTables)
      const units: Array<Unit> = []
      for (const configured of configuredTables) {
        const planFrom = replan(storage, configured, candidates, options)
        units.push({ label: label(configured), plan: yield* planFrom(catalog), replan: planFrom })
      }
      yield* checkSeen(sql, storage, catalog, configuredTables)
      const collision = nameCollision(configuredTables, followed(catalog))
      if (collision !== undefined) {
        yield* collision
      }
      if (options.prune === true) {
        units.push(...prune(storage, catalog, configuredTables, units))
      }
      return { units, catalog }
    })
  ).pipe(Effect.mapError((error) => fromFailure(error)))

const replan =
  (storage: string, configured: ConfiguredTable, candidates: ReadonlyArray<string>, options: PlanOptions) =>
  (catalog: Catalog): Either.Either<TablePlan, CaptureError> =>
    Either.flatMap(resolve(catalog, storage, configured, candidates), (resolved) =>
      planTable(storage, catalog, resolved, options)
    )

const prune = (
  storage: string,
  catalog: Catalog,
  configuredTables: ReadonlyArray<ConfiguredTable>,
  units: ReadonlyArray<Unit>
): ReadonlyArray<Unit> =>
  followed(catalog)
    .active.filter(
      (name) =>
        ![...configuredTables, ...units.flatMap(({ plan }) => plan.names)].some((other) => sameName(other, name))
    )
    .flatMap((name) => detachUnit(storage, catalog, name, "not configured"))

const detachUnit = (
  storage: string,
  catalog: Catalog,
  name: Name,
  reason: "requested" | "not configured"
): ReadonlyArray<Unit> => {
  const planFrom = (current: Catalog): TablePlan => {
    // A renamed table may be given by the name that its policy still has.
    const isPolicyName = activePolicies(current).some((policy) => sameName(policyName(policy), name))
    const followedCatalog = isPolicyName ? current : followed(current)
    const policy = activePolicies(followedCatalog).find((candidate) => sameName(policyName(candidate), name))
    if (policy === undefined) {
      return { steps: [], names: [name], needs: [], spread: undefined }
    }
    const plan = planDetach(storage, followedCatalog, policy, reason)
    const formerly = isPolicyName ? undefined : formerNameOf(current, name)
    return formerly === undefined
      ? plan
      : { ...plan, steps: [...followSteps(storage, current, name), ...plan.steps], names: [...plan.names, formerly] }
  }
  return [{ label: label(name), plan: planFrom(catalog), replan: (current) => Either.right(planFrom(current)) }]
}

const decodeNames = Schema.decodeUnknown(Schema.Array(Schema.Struct({ schema: Schema.String, name: Schema.String })))

/** Tables that a misspelt name may have meant. Read only if there is such a name. */
export const knownNames = (sql: SqlClient, catalog: Catalog, names: ReadonlyArray<Name>) =>
  names.every((name) => findTable(catalog, name) !== undefined)
    ? Effect.succeed([])
    : sql`
        select n.nspname as schema, c.relname as name
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'f')
          and not c.relispartition
          and n.nspname !~ '^(pg_|information_schema$)'
          and ${sql.literal(isThere("c.oid"))}
        order by n.nspname = 'public' desc, n.nspname, c.relname
        limit 10000
      `.pipe(
        Effect.flatMap(decodeNames),
        Effect.map((rows) => rows.map(label))
      )

/** The tables to remove, each of which must be captured. */
export const planRemoval = (
  sql: SqlClient,
  storage: string,
  tables: ReadonlyArray<string>
): Effect.Effect<{ readonly units: ReadonlyArray<Unit>; readonly catalog: Catalog }, Failure> =>
  Effect.gen(function* () {
    const names: Array<Name> = []
    if (!Array.isArray(tables)) {
      return yield* new InvalidRequest({ field: "tables", rule: "must be a list of tables" })
    }
    for (const [index, text] of (tables as ReadonlyArray<string>).entries()) {
      const name = yield* TableName.parse(text, `tables[${index}]`)
      if (!names.some((other) => sameName(other, name))) {
        names.push(name)
      }
    }
    const catalog = yield* reading(sql, readCatalog(sql, storage, names, "everything"))
    for (const name of names) {
      if (!catalog.active.some((other) => sameName(other, name))) {
        const suggestion = renamedFrom(catalog, name) ?? nearest(label(name), catalog.active.map(label))
        yield* new CaptureError({
          table: label(name),
          refusal: { reason: "NotCaptured" },
          mend: suggestion === undefined ? hostMend("listCaptured") : hostMend("nameMeant", [suggestion])
        })
      }
    }
    return { units: names.flatMap((name) => detachUnit(storage, catalog, name, "requested")), catalog }
  }).pipe(Effect.mapError((error) => fromFailure(error)))

/** The name under which a table is captured, if the table was renamed since. */
const renamedFrom = (catalog: Catalog, name: Name): string | undefined => {
  const deployed = catalog.deployed.find(
    ({ policy, relationNow }) => policy.removedAt === null && relationNow !== null && sameName(relationNow, name)
  )
  return deployed === undefined ? undefined : label(policyName(deployed.policy))
}
