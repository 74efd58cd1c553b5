/**
 * From configuration to steps, and from steps to the database.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { fromSqlError, InvalidRequest, ThreadlineError } from "../../ThreadlineError.js"
import { CaptureError } from "./captureError.js"
import { isCurrent, readCatalog } from "./catalog.js"
import type { Catalog, Name } from "./catalogModel.js"
import { planDetach } from "./detach.js"
import { activePolicies, policyName } from "./diff.js"
import { followed, followSteps, formerNameOf } from "./follow.js"
import { checkFormerNames, checkSeen } from "./formerly.js"
import { functionNames } from "./generate/names.js"
import { commandMend, hostMend, type Mend, readerCommand, sqlMend } from "./mend.js"
import { TableConfig } from "./model.js"
import { nameCollision, planTable } from "./plan.js"
import type { Refusal } from "./refusal.js"
import { findTable, label, resolve, sameName, type ConfiguredTable } from "./resolve.js"
import type { Step } from "./step.js"
import { lockOnly, locksLeft } from "./statements.js"
import type { Need, PlanOptions, TablePlan } from "./tablePlan.js"
import { millis, mustHaveOnly } from "../core/request.js"
import { nearest } from "../core/suggest.js"
import { patience, persisting, type WithPatience } from "../sql/patience.js"
import { reading, settings } from "./settings.js"
import { beginWriting, isInside, transaction } from "../sql/owned.js"
import { hostFunctionOf, reasonWithCause, sqlState } from "../sql/sqlState.js"
import * as TableName from "../core/tableName.js"

export type Failure = CaptureError | InvalidRequest | ThreadlineError

export interface ApplyOptions extends PlanOptions {
  readonly prune?: boolean | undefined
  readonly allowLessRedaction?: boolean | undefined
  readonly lockTimeout?: Duration.DurationInput | undefined
  readonly retries?: number | undefined
}

/** What is to be done for one table. It is computed once more under the lock, if anything has changed since. */
export interface Unit {
  readonly label: string
  readonly plan: TablePlan
  readonly replan: (catalog: Catalog) => Either.Either<TablePlan, CaptureError>
}

const TableConfigs = Schema.Array(TableConfig).annotations({ message: () => "must be a list of tables" })

const decodeConfigs = Schema.decodeUnknown(TableConfigs, { onExcessProperty: "error" })

/** Checks configuration. It may come from a file that was not type-checked, and a misspelt `mask` must not go unnoticed. */
export const readConfigs: (
  tables: ReadonlyArray<TableConfig>
) => Effect.Effect<ReadonlyArray<ConfiguredTable>, CaptureError | InvalidRequest> = Effect.fnUntraced(function* (
  tables: ReadonlyArray<TableConfig>
) {
  const configs = yield* Effect.mapError(decodeConfigs(tables), invalidConfig)
  const configuredTables: Array<ConfiguredTable> = []
  for (const [index, config] of configs.entries()) {
    const name = yield* TableName.parse(config.table, `tables[${index}].table`)
    for (const [place, formerName] of (config.formerly ?? []).entries()) {
      yield* TableName.parse(formerName, `tables[${index}].formerly[${place}]`)
    }
    if (configuredTables.some((other) => sameName(other, name))) {
      yield* new CaptureError({
        table: label(name),
        refusal: { reason: "DuplicateTable" },
        mend: hostMend("keepOne")
      })
    }
    configuredTables.push({ ...name, config })
  }
  yield* checkFormerNames(configuredTables)
  return configuredTables
})

const invalidConfig = (error: ParseResult.ParseError): InvalidRequest => {
  // Of alternatives, the one that got furthest into the value says what is wrong with it.
  const [firstIssue, ...otherIssues] = ParseResult.ArrayFormatter.formatErrorSync(error)
  const issue = otherIssues.reduce(
    (furthest, each) => (each.path.length > (furthest?.path.length ?? 0) ? each : furthest),
    firstIssue
  )
  const path = (issue?.path ?? []).map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`)).join("")
  return new InvalidRequest({
    field: `tables${path}`,
    rule: issue === undefined || issue._tag === "Unexpected" ? "is not known here" : issue.message
  })
}

export const fromFailure = <E extends CaptureError | InvalidRequest>(
  error: E | SqlError | ParseResult.ParseError | ThreadlineError
): E | ThreadlineError => {
  if (error instanceof SqlError) {
    return fromSqlError(error)
  }
  return ParseResult.isParseError(error)
    ? new ThreadlineError({
        reason: "Failed",
        detail: `the deployed capture policies cannot be read: ${ParseResult.TreeFormatter.formatErrorSync(error)}`
      })
    : error
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
        order by n.nspname = 'public' desc, n.nspname, c.relname
        limit 10000
      `.pipe(
        Effect.flatMap(decodeNames),
        Effect.map((rows) => rows.map(label))
      )

/** Refuses, before anything is touched, what would fail or must not happen unasked. */
const check = (catalog: Catalog, unit: Pick<Unit, "label">, plan: TablePlan, options: ApplyOptions) => {
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
 * Tells a role that may not even read the record what it needs. If it only looks, it needs the grant of a reader (`record`). If
 * it captures, it needs membership in the owner (`membership`), which no grant of Threadline's gives.
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

/** Runs the steps, in one short transaction for each table, and tells what was done. */
export const execute = (
  sql: SqlClient,
  storage: string,
  units: ReadonlyArray<Unit>,
  catalog: Catalog,
  options: ApplyOptions
): Effect.Effect<ReadonlyArray<Step>, Failure> =>
  Effect.gen(function* () {
    for (const unit of units) {
      yield* check(catalog, unit, unit.plan, options)
    }
    const done: Array<Step> = []
    for (const unit of units) {
      if (unit.plan.steps.length > 0) {
        done.push(...(yield* executeUnit(sql, storage, unit, catalog, options)))
      }
    }
    return done
  })

const executeUnit = (
  sql: SqlClient,
  storage: string,
  unit: Unit,
  planned: Catalog,
  options: ApplyOptions
): Effect.Effect<ReadonlyArray<Step>, Failure> => {
  const { names } = unit.plan
  const functions = names.flatMap((name) => functionNames(name))
  const lockTimeout = Math.max(1, Math.round(Duration.toMillis(options.lockTimeout ?? "3 seconds")))
  const body = Effect.gen(function* () {
    yield* sql`select pg_advisory_xact_lock(hashtextextended('threadline.capture', 0))`
    const withPatience = yield* patience(sql, lockTimeout)
    const done: Array<Step> = []
    let catalog = planned
    let { plan } = unit
    // In the second round, the locks of the first steps keep the table unchanged. So a partition that was attached in between is found.
    for (let round = 0; round < 2; round++) {
      if (!(yield* isCurrent(sql, catalog))) {
        catalog = yield* readCatalog(sql, storage, names, { functions })
        plan = yield* unit.replan(catalog)
        yield* check(catalog, unit, plan, options)
      } else if (round > 0) {
        break
      }
      yield* runPlan(sql, plan, withPatience)
      done.push(...plan.steps)
    }
    return done
  })
  const backoff = Schedule.exponential("100 millis").pipe(
    Schedule.jittered,
    Schedule.union(Schedule.spaced("2 seconds")),
    Schedule.intersect(Schedule.recurs(options.retries ?? 5))
  )
  const attempt = transaction(sql, beginWriting({ lock_timeout: String(lockTimeout), ...settings }), body)
  return persisting(attempt, lockTimeout, isContended).pipe(
    Effect.retry({ schedule: backoff, while: isContended }),
    Effect.mapError((error) =>
      error instanceof SqlError ? fromStatement(unit.label, error) : fromFailure<CaptureError>(error)
    )
  )
}

/** A step is one message: a table may have hundreds of partitions. */
const runPlan = (sql: SqlClient, { spread, steps }: TablePlan, withPatience: WithPatience) => {
  const prepared = (statement: string): string =>
    spread?.statements.has(statement) === true
      ? withPatience(statement, locksLeft(spread.root, spread.mode))
      : withPatience(statement)
  const locks = spread?.relations.map((name) => lockOnly(name, spread.mode)) ?? []
  const messages = [locks, ...steps.map((step) => step.sql)].filter((message) => message.length > 0)
  return Effect.forEach(messages, (message) => sql.unsafe(message.map(prepared).join(";\n")), { discard: true })
}

const isContended = (error: unknown): boolean => error instanceof SqlError && isContention(error)

/** Another session holds a lock, or has just changed the same row of the catalog. */
const isContention = (error: SqlError): boolean => {
  const state = sqlState(error)
  return (
    state === "55P03" ||
    state === "40P01" ||
    (state === "XX000" && error.cause instanceof Error && error.cause.message.includes("tuple concurrently"))
  )
}

const fromStatement = (table: string, error: SqlError): CaptureError | ThreadlineError => {
  const state = sqlState(error)
  const sentence = reasonWithCause(error)
  if (isContention(error)) {
    return new CaptureError({
      table,
      refusal: { reason: "LockNotAvailable", serverMessage: sentence },
      mend: hostMend("applyLater"),
      ...(state === undefined ? {} : { sqlState: state })
    })
  }
  if (state === "42501") {
    return new CaptureError({
      table,
      refusal: {
        reason: "InsufficientPrivilege",
        lacks: "unknown",
        role: null,
        relation: null,
        owner: null,
        serverMessage: sentence
      },
      mend: hostMend(hostFunctionOf(error) === undefined ? "useOwners" : "mendEventTrigger"),
      sqlState: state
    })
  }
  const failure = fromSqlError(error)
  return hostFunctionOf(error) === undefined || failure.reason !== "Failed"
    ? failure
    : new ThreadlineError({ ...failure, detail: `the database refused a statement: ${sentence}` })
}

/** Capture is applied in transactions of its own. Inside a transaction of the host's it would hold its locks until that ends. */
export const refuseInside = (operation: "apply" | "remove"): Effect.Effect<void, CaptureError> =>
  Effect.flatMap(isInside, (inside) =>
    inside
      ? Effect.fail(
          new CaptureError({
            table: "*",
            refusal: { reason: "InsideTransaction", operation },
            mend: hostMend("callOutsideTransaction")
          })
        )
      : Effect.void
  )

/** The options of `plan`, `apply` and `remove`. */
const knownOptions = {
  force: true,
  prune: true,
  markPartitions: true,
  allowLessRedaction: true,
  lockTimeout: true,
  retries: true
} as const satisfies Record<keyof ApplyOptions, true>

/** Checks options that may not have been type-checked. */
export const checkOptions = Effect.fnUntraced(function* (options: ApplyOptions) {
  yield* mustHaveOnly(options, knownOptions)
  yield* millis("lockTimeout", options.lockTimeout ?? "3 seconds")
  const { retries } = options
  if (retries !== undefined && !(Number.isInteger(retries) && retries >= 0)) {
    return yield* new InvalidRequest({ field: "retries", rule: "must be a whole number, at least 0" })
  }
})

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
