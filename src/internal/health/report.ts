/**
 * Everything that health knows, from one snapshot: the findings of capture, the state of the record, and what could not be
 * looked at.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { ThreadlineError } from "../../ThreadlineError.js"
import { fromFailure } from "../capture/failure.js"
import type { readConfigs } from "../capture/request.js"
import { readCatalog, readStanding } from "../capture/catalog.js"
import type { Catalog, Name } from "../capture/catalogModel.js"
import type { CaptureError } from "../capture/captureError.js"
import type { TableStatus } from "../capture/finding.js"
import {
  type Argv,
  applyCommand,
  commandMend,
  hostMend,
  migrateCommand,
  readerCommand,
  sqlMend
} from "../capture/mend.js"
import { policyName } from "../capture/diff.js"
import { findTable, label, sameName } from "../capture/resolve.js"
import { reading } from "../capture/settings.js"
import { standingFindings } from "../capture/standingFindings.js"
import { tableStatuses } from "../capture/status.js"
import { migrationFiles } from "../schema/files.js"
import { transactionOrSavepoint } from "../sql/owned.js"
import { sqlState } from "../sql/sqlState.js"
import { identifier, qualified } from "../sql/sqlText.js"
import type { Standing } from "../sql/standing.js"
import { canaryOf, type CanaryResult } from "./canary.js"
import { type Readiness, readReadiness } from "./continuity.js"
import { coverageOf } from "./coverage.js"
import type { Fact, Part } from "./fact.js"
import { inOrder, ofCapture, ofFact } from "./finding.js"
import { recordIndexes } from "./indexes.js"
import type { Coverage, Finding, Report, Severity } from "./model.js"
import { type Options, readOptions } from "./options.js"
import * as record from "./record.js"
import { sensitiveInClear } from "./sensitive.js"
import * as TableName from "../core/tableName.js"

type Failure = CaptureError | ThreadlineError

/** What capture knows of its tables, from one snapshot. */
interface Seen {
  readonly catalog: Catalog
  readonly statuses: ReadonlyArray<TableStatus>
  readonly times: ReadonlyArray<record.Times>
  readonly coverage: ReadonlyArray<Coverage>
}

type Request = Effect.Effect.Success<ReturnType<typeof readOptions>>

type Configured = Effect.Effect.Success<ReturnType<typeof readConfigs>>

const applyTo = (table: string): Argv => [...applyCommand, "--table", table]

/** Reads the coverage inside a snapshot. The role must be able to read the policies. */
const readSeen = Effect.fnUntraced(function* (
  sql: SqlClient,
  storage: string,
  { configured, expected, gaps }: Request,
  all: boolean
) {
  const named: ReadonlyArray<Name> = [...(configured ?? []), ...(expected ?? []), ...gaps]
  const catalog = yield* readCatalog(sql, storage, named, "everything")
  const statuses = tableStatuses(storage, catalog, configured)
  const times = yield* record.readTimes(sql, storage, catalog.gaps)
  const hostTables = all ? yield* record.readHostTables(sql, storage) : []
  const none: Configured = []
  const coverage = coverageOf({
    catalog,
    statuses,
    times,
    configured: configured ?? none,
    expected,
    gaps,
    hostTables
  })
  return { catalog, statuses, times, coverage } satisfies Seen
})

/** The coverage of every table that is captured, configured, expected or declared, and with `all` of every other one. */
export const readCoverage = (
  sql: SqlClient,
  storage: string,
  options: Options,
  all: boolean
): Effect.Effect<ReadonlyArray<Coverage>, Failure | Effect.Effect.Error<ReturnType<typeof readOptions>>> =>
  Effect.flatMap(readOptions(options), (request) =>
    reading(
      sql,
      Effect.map(readSeen(sql, storage, request, all), ({ coverage }) => coverage)
    ).pipe(Effect.mapError((error) => fromFailure<never>(error)))
  )

/** The role lacks a right. */
const isDenied = (error: unknown): boolean =>
  error instanceof SqlError
    ? sqlState(error) === "42501"
    : ThreadlineError.is(error) && error.reason === "InsufficientPrivilege"

type Add = (severity: Severity, object: string, fact: Fact, mend?: Parameters<typeof ofFact>[3]) => void

export const readReport = (
  sql: SqlClient,
  storage: string,
  options: Options
): Effect.Effect<Report, Failure | Effect.Effect.Error<ReturnType<typeof readOptions>>> =>
  Effect.flatMap(readOptions(options), (request) =>
    reading(
      sql,
      Effect.map(reportWithin(sql, storage, request), ({ report }) => report)
    ).pipe(Effect.mapError((error) => fromFailure<never>(error)))
  )

/** The report, and the readiness of its tables; null if the role may not read that. */
export const readReportAndReadiness = (
  sql: SqlClient,
  storage: string,
  options: Options
): Effect.Effect<
  { readonly health: Report; readonly readiness: ReadonlyArray<Readiness> | null },
  Failure | Effect.Effect.Error<ReturnType<typeof readOptions>>
> =>
  Effect.flatMap(readOptions(options), (request) =>
    reading(
      sql,
      Effect.gen(function* () {
        const { report, rights, seen } = yield* reportWithin(sql, storage, request)
        const readiness = seen === undefined || !rights.baselines ? null : yield* readReadiness(sql, storage, seen)
        return { health: report, readiness }
      })
    ).pipe(Effect.mapError((error) => fromFailure<never>(error)))
  )

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
export const readCanary = (sql: SqlClient, storage: string): Effect.Effect<ReadonlyArray<CanaryResult>, Failure> =>
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

const reportWithin = Effect.fnUntraced(function* (sql: SqlClient, storage: string, request: Request) {
  const rights = yield* record.readRights(sql, storage)
  if (!rights.installed) {
    return yield* new ThreadlineError({
      reason: "NotMigrated",
      detail: `the Threadline schema ${storage} is not installed here; run "threadline migrate up"`
    })
  }
  const schema = TableName.quote(storage)
  const findings: Array<Finding> = []
  const add: Add = (severity, object, fact, mend) => {
    findings.push(ofFact(severity, object, fact, mend))
  }
  const lacking = (part: Part, lacks: string): void =>
    add("warning", schema, { kind: "Unknown", part, role: rights.role, lacks }, commandMend(readerCommand(rights.role)))
  const unknown = (part: Part): Effect.Effect<undefined> =>
    Effect.as(
      Effect.sync(() => lacking(part, rights.usage ? "the right to read it" : "usage of the schema")),
      undefined
    )
  // A question may need more than the rights that are known before. Its failure must not end the transaction of the others.
  const asked = <A, E>(
    part: Part,
    allowed: boolean,
    question: Effect.Effect<A, E>
  ): Effect.Effect<A | undefined, E | SqlError> =>
    allowed
      ? Effect.catchIf(transactionOrSavepoint(sql, "begin", question), isDenied, () => unknown(part))
      : unknown(part)

  const standing = yield* readStanding(sql, storage)
  const hidden = standing.hidden.length > 0
  const readable = rights.policies && !hidden
  const seen = yield* asked(
    "capture",
    rights.policies,
    readable ? readSeen(sql, storage, request, false) : Effect.succeed(undefined)
  )
  if (seen !== undefined) {
    tableFindings(seen, request, findings, add)
  }
  findings.push(
    ...standingFindings(schema, standing, seen?.catalog.watch ?? { state: "off", problems: [] }).map((finding) =>
      ofCapture(finding)
    )
  )
  const structure = yield* record.readStructure(sql, storage)
  structureFindings(storage, structure, seen, add)

  const version = yield* asked("version", rights.version, record.readVersion(sql, storage))
  if (version !== undefined && version !== migrationFiles.length) {
    const fact = { kind: "SchemaVersion", installed: version, known: migrationFiles.length } as const
    add(
      "error",
      schema,
      fact,
      version < migrationFiles.length ? commandMend(migrateCommand) : hostMend("useNewerVersion")
    )
  }
  const inDefault = yield* asked("default partition", rights.changes, record.readDefaultPartition(sql, storage))
  if (inDefault !== undefined && inDefault > 0) {
    add("warning", schema, { kind: "DefaultPartitionUsed", atLeast: inDefault }, ensurePartitions(storage, true))
  }
  for (const { name, since } of (yield* asked("consumers", rights.consumers, record.readConsumers(sql, storage))) ??
    []) {
    const mend = hostMend("runConsumer", [name], { or: ["threadline", "consumers", "forget", name] })
    add("warning", name, { kind: "ConsumerBehind", consumer: name, since }, mend)
  }
  const writers = yield* asked("transactions", rights.transactions, record.readWriters(sql, storage))
  if (writers !== undefined) {
    writerFindings(schema, standing, writers, add)
  }
  const report: Report = {
    at: rights.at,
    schema,
    watch: seen?.catalog.watch.state ?? null,
    tables: seen?.coverage ?? [],
    findings: inOrder(findings)
  }
  return { report, rights, seen }
})

const tableFindings = (
  { catalog, coverage, statuses }: Seen,
  request: Request,
  findings: Array<Finding>,
  add: Add
): void => {
  findings.push(...statuses.flatMap((status) => status.findings.map((finding) => ofCapture(finding))))
  for (const tableCoverage of coverage) {
    if (!tableCoverage.exists && !tableCoverage.configured && tableCoverage.since === null) {
      const declared = tableCoverage.reason === null ? "expected" : "gap"
      add("error", tableCoverage.table, { kind: "TableUnknown", declared }, hostMend("correctExpected"))
    } else if (tableCoverage.refused === "uncovered" && !tableCoverage.configured) {
      add("error", tableCoverage.table, { kind: "TableUncovered" }, commandMend(applyTo(tableCoverage.table)))
    } else if (tableCoverage.refused === "gap covered") {
      add(
        "error",
        tableCoverage.table,
        { kind: "GapCovered", reason: tableCoverage.reason ?? "" },
        hostMend("removeGap", [tableCoverage.table])
      )
    }
  }
  for (const { policy, table } of statuses) {
    const columns =
      policy === null ? [] : sensitiveInClear(catalog, policy, request.sensitiveNames, request.acknowledged)
    if (columns.length > 0) {
      add(
        "warning",
        table,
        { kind: "SensitiveInClear", columns },
        hostMend(
          "redactSensitive",
          columns.map((column) => `${table}.${TableName.quote(column)}`),
          { then: applyCommand }
        )
      )
    }
  }
}

/**
 * The mend that makes partitions; with `ofDefault`, it also moves the rows of the default one into those that they belong to.
 */
const ensurePartitions = (storage: string, ofDefault: boolean) =>
  sqlMend([
    ofDefault
      ? `select ${qualified(storage, "ensure_partitions")}((select min(captured_at) from ${qualified(storage, "audit_changes_default")}))`
      : `select ${qualified(storage, "ensure_partitions")}()`
  ])

const structureFindings = (storage: string, structure: record.Structure, seen: Seen | undefined, add: Add): void => {
  const schema = TableName.quote(storage)
  if (structure.partitionsMissing !== "no") {
    const now = structure.partitionsMissing === "now"
    add(
      now ? "error" : "warning",
      schema,
      { kind: "PartitionsMissing", until: structure.partitionsUntil, now },
      ensurePartitions(storage, false)
    )
  }
  const missing = recordIndexes.filter(({ name }) => structure.missingIndexes.includes(name))
  const [create, ...others] = missing.map(
    ({ name, table, using }) => `create index ${identifier(name)} on ${qualified(storage, table)} using ${using}`
  )
  if (create !== undefined) {
    const indexes = missing.map(({ name }) => name)
    add("warning", schema, { kind: "IndexMissing", indexes }, sqlMend([create, ...others]))
  }
  const [reindex, ...further] = structure.invalidIndexes.map((index) => `reindex index ${index}`)
  if (reindex !== undefined) {
    add("warning", schema, { kind: "IndexInvalid", indexes: structure.invalidIndexes }, sqlMend([reindex, ...further]))
  }
  const [setLogged, ...rest] = structure.unlogged.map((table) => `alter table ${table} set logged`)
  if (setLogged !== undefined) {
    add("error", schema, { kind: "RecordUnlogged", tables: structure.unlogged }, sqlMend([setLogged, ...rest]))
  }
  if (structure.replicaSettings.length > 0) {
    const settings = structure.replicaSettings
    add("error", schema, { kind: "ReplicaSessions", settings }, hostMend("resetReplicationRole", settings))
  }
  const [revoke, ...revokes] = structure.replicaAllowed.map(
    (role) => `revoke set on parameter session_replication_role from ${role}`
  )
  if (revoke !== undefined) {
    const roles = structure.replicaAllowed
    add("warning", schema, { kind: "ReplicaAllowed", roles }, sqlMend([revoke, ...revokes]))
  }
  for (const { policy, table } of seen?.statuses ?? []) {
    const relations =
      seen === undefined || policy === null ? [] : (findTable(seen.catalog, policyName(policy))?.relations ?? [])
    const subscriptions = structure.subscribed
      .filter((subscribed) => relations.some((relation) => sameName(relation, subscribed)))
      .reduce((sum, { count }) => sum + count, 0)
    if (policy !== null && !policy.always && subscriptions > 0) {
      add(
        "error",
        table,
        { kind: "SubscriptionUnseen", subscriptions },
        hostMend("captureAlways", [table], { then: applyCommand })
      )
    }
  }
}

/** From this share of unattributed transactions on, an application is a warning. */
const unattributedShare = 0.5

const writerFindings = (schema: string, { owner }: Standing, writers: record.Writers, add: Add): void => {
  if (writers.ownerWrites.length > 0) {
    const roles = writers.ownerWrites
    add("warning", schema, { kind: "OwnerIsApplication", owner, roles }, hostMend("writeAsOther", roles))
  }
  for (const { application, transactions, unattributed } of writers.applications) {
    add(
      unattributed / transactions >= unattributedShare ? "warning" : "info",
      application ?? schema,
      { kind: "UnattributedWrites", application, transactions, unattributed, sampled: writers.sampled },
      hostMend("setContext", application === null ? [] : [application])
    )
  }
  for (const { problem, transactions } of writers.problems) {
    add(
      "warning",
      problem,
      { kind: "ContextRefused", problem, transactions, sampled: writers.sampled },
      hostMend("correctContext", [problem])
    )
  }
}
