/**
 * Findings of the record: its version, its partitions and indexes, what passes it by, who reads it and who writes.
 */
import { policyName } from "../capture/diff.js"
import { applyCommand, commandMend, hostMend, type Mend, migrateCommand, sqlMend } from "../capture/mend.js"
import { findTable, sameName } from "../capture/resolve.js"
import * as TableName from "../core/tableName.js"
import { migrationFiles } from "../schema/files.js"
import { identifier, qualified } from "../sql/sqlText.js"
import type { Covered } from "./covered.js"
import { ofFact } from "./finding.js"
import { recordIndexes } from "./indexes.js"
import type { Finding } from "./model.js"
import type { Consumer, Structure, Writers } from "./record.js"

export const versionFindings = (storage: string, installed: number): ReadonlyArray<Finding> => {
  const known = migrationFiles.length
  const mend = installed < known ? commandMend(migrateCommand) : hostMend("useNewerVersion")
  return installed === known
    ? []
    : [ofFact("error", TableName.quote(storage), { kind: "SchemaVersion", installed, known }, mend)]
}

export const defaultPartitionFindings = (storage: string, atLeast: number): ReadonlyArray<Finding> => {
  const defaultPartition = qualified(storage, "audit_changes_default")
  // It also moves the rows of the default partition into those that they belong to.
  const mend = sqlMend([
    `select ${qualified(storage, "ensure_partitions")}((select min(captured_at) from ${defaultPartition}))`
  ])
  return atLeast > 0
    ? [ofFact("warning", TableName.quote(storage), { kind: "DefaultPartitionUsed", atLeast }, mend)]
    : []
}

export const consumerFindings = (consumers: ReadonlyArray<Consumer>): ReadonlyArray<Finding> =>
  consumers.map(({ name, since }) =>
    ofFact(
      "warning",
      name,
      { kind: "ConsumerBehind", consumer: name, since },
      hostMend("runConsumer", [name], { or: ["threadline", "consumers", "forget", name] })
    )
  )

/** One finding about all of these, if there are any. Each of them is mended by a statement. */
const ofAll = <A>(
  items: ReadonlyArray<A>,
  statement: (item: A) => string,
  finding: (mend: Mend) => Finding
): ReadonlyArray<Finding> => {
  const [first, ...others] = items.map(statement)
  return first === undefined ? [] : [finding(sqlMend([first, ...others]))]
}

/** Findings of the tables of the record. */
const storageFindings = (
  storage: string,
  { invalidIndexes, missingIndexes, partitionsMissing, partitionsUntil, unlogged }: Structure
): ReadonlyArray<Finding> => {
  const schema = TableName.quote(storage)
  const missing = recordIndexes.filter(({ name }) => missingIndexes.includes(name))
  const now = partitionsMissing === "now"
  return [
    ...(partitionsMissing === "no"
      ? []
      : [
          ofFact(
            now ? "error" : "warning",
            schema,
            { kind: "PartitionsMissing", until: partitionsUntil, now },
            sqlMend([`select ${qualified(storage, "ensure_partitions")}()`])
          )
        ]),
    ...ofAll(
      missing,
      ({ name, table, using }) => `create index ${identifier(name)} on ${qualified(storage, table)} using ${using}`,
      (mend) => ofFact("warning", schema, { kind: "IndexMissing", indexes: missing.map(({ name }) => name) }, mend)
    ),
    ...ofAll(
      invalidIndexes,
      (index) => `reindex index ${index}`,
      (mend) => ofFact("warning", schema, { kind: "IndexInvalid", indexes: invalidIndexes }, mend)
    ),
    ...ofAll(
      unlogged,
      (table) => `alter table ${table} set logged`,
      (mend) => ofFact("error", schema, { kind: "RecordUnlogged", tables: unlogged }, mend)
    )
  ]
}

/** Findings of sessions that write as a replica does, without firing triggers. */
const replicaFindings = (
  storage: string,
  { replicaAllowed: roles, replicaSettings: settings }: Structure
): ReadonlyArray<Finding> => {
  const schema = TableName.quote(storage)
  return [
    ...(settings.length === 0
      ? []
      : [ofFact("error", schema, { kind: "ReplicaSessions", settings }, hostMend("resetReplicationRole", settings))]),
    ...ofAll(
      roles,
      (role) => `revoke set on parameter session_replication_role from ${role}`,
      (mend) => ofFact("warning", schema, { kind: "ReplicaAllowed", roles }, mend)
    )
  ]
}

const subscriptionFindings = (
  { subscribed }: Structure,
  { catalog, statuses }: Pick<Covered, "catalog" | "statuses">
): ReadonlyArray<Finding> =>
  statuses.flatMap(({ policy, table }) => {
    const relations = policy === null ? [] : (findTable(catalog, policyName(policy))?.relations ?? [])
    const subscriptions = subscribed
      .filter((subscription) => relations.some((relation) => sameName(relation, subscription)))
      .reduce((sum, { count }) => sum + count, 0)
    const mend = hostMend("captureAlways", [table], { then: applyCommand })
    return policy === null || policy.always || subscriptions === 0
      ? []
      : [ofFact("error", table, { kind: "SubscriptionUnseen", subscriptions }, mend)]
  })

/** `covered` is undefined if the role may not read the policies. */
export const structureFindings = (
  storage: string,
  structure: Structure,
  covered: Covered | undefined
): ReadonlyArray<Finding> => [
  ...storageFindings(storage, structure),
  ...replicaFindings(storage, structure),
  ...(covered === undefined ? [] : subscriptionFindings(structure, covered))
]

/** From this share of unattributed transactions on, an application is a warning. */
const unattributedShare = 0.5

export const writerFindings = (
  storage: string,
  owner: string,
  { applications, ownerWrites: roles, problems, sampled }: Writers
): ReadonlyArray<Finding> => {
  const schema = TableName.quote(storage)
  return [
    ...(roles.length === 0
      ? []
      : [ofFact("warning", schema, { kind: "OwnerIsApplication", owner, roles }, hostMend("writeAsOther", roles))]),
    ...applications.map(({ application, transactions, unattributed }) =>
      ofFact(
        unattributed / transactions >= unattributedShare ? "warning" : "info",
        application ?? schema,
        { kind: "UnattributedWrites", application, transactions, unattributed, sampled },
        hostMend("setContext", application === null ? [] : [application])
      )
    ),
    ...problems.map(({ problem, transactions }) =>
      ofFact(
        "warning",
        problem,
        { kind: "ContextRefused", problem, transactions, sampled },
        hostMend("correctContext", [problem])
      )
    )
  ]
}
