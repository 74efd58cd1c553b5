/**
 * What is worth knowing about every captured table, from one snapshot of the catalog.
 */
import * as Either from "effect/Either"
import type { Catalog, Deployed, Table } from "./catalog.js"
import {
  columnChanges,
  exchanged,
  functionState,
  partitionLabels,
  policyName,
  installedShape,
  relationState,
  type RelationState,
  truncateUnseen,
  unloggedRelations
} from "./diff.js"
import { functionNames } from "./generate/names.js"
import { policyDifferences } from "./compare.js"
import type { Finding, TableStatus } from "./finding.js"
import {
  applyCommand,
  type Argv,
  commandMend,
  type HostAction,
  hostMend,
  type Mend,
  migrateCommand,
  removeCommand,
  sqlMend,
  watchCommand
} from "./mend.js"
import type { Policy, TableConfig } from "./model.js"
import { planTable } from "./plan.js"
import {
  admitsForeign,
  columnShapes,
  findDeployed,
  findGap,
  findTable,
  keyProblem,
  label,
  primaryKey,
  resolve,
  sameName,
  type ConfiguredTable,
  whyRowMode
} from "./resolve.js"
import { generate } from "./generate/generate.js"
import * as TableName from "../core/tableName.js"
import { identifier } from "../sql/sqlText.js"
import type { Standing } from "../sql/standing.js"

/** How a table is captured, as far as options of a command can say it. */
interface ColumnOptions extends TableConfig {
  readonly exclude: ReadonlyArray<string>
  readonly mask: ReadonlyArray<string>
}

/**
 * The command that applies a table which no configuration names. It has the options of its policy, under the present names of
 * columns. Otherwise a copy of the command would ask for less redaction. If options cannot express the policy, a configuration is
 * needed.
 */
const configOf = (catalog: Catalog, { policy, relation }: Deployed, table: Table): ColumnOptions | undefined => {
  const { acknowledgeCasts, always, dropGuard, exclude, key, mask, masks, mode, paths, truncate } = policy
  if (
    Object.keys({ ...masks, ...paths }).length > 0 ||
    mode === "row" ||
    always ||
    acknowledgeCasts ||
    dropGuard ||
    truncate !== "event"
  ) {
    return undefined
  }
  const shapes = columnShapes(catalog, table).map(({ shape }) => shape)
  const { renamed } = columnChanges(policy, shapes, relation === table.oid)
  const present = (columns: ReadonlyArray<string>) =>
    columns
      .map((column) => renamed.find(([from]) => from === column)?.[1] ?? column)
      .filter((column) => table.columns.some(({ name }) => name === column))
  const [firstKey, ...restOfKey] = primaryKey(table) === undefined ? present(key.map(({ name }) => name)) : []
  return {
    table: label(policyName(policy)),
    exclude: present(exclude),
    mask: present(mask),
    ...(firstKey === undefined ? {} : { key: [firstKey, ...restOfKey] as const })
  }
}

const commandOf = ({ exclude, key, mask, table }: ColumnOptions): Argv => {
  const option = (named: string, columns: ReadonlyArray<string>) =>
    columns.flatMap((column) => [`--${named}`, `${table}.${TableName.quote(column)}`])
  return [
    ...applyCommand,
    "--table",
    table,
    ...option("exclude", exclude),
    ...option("mask", mask),
    ...option("key", key ?? [])
  ]
}

/** Why apply would refuse a table, and what to do first. Undefined if it would not. */
const obstacle = (storage: string, catalog: Catalog, configuredTable: ConfiguredTable): Mend | undefined => {
  const planned = Either.flatMap(resolve(catalog, storage, configuredTable, []), (resolved) =>
    planTable(storage, catalog, resolved, {})
  )
  return Either.match(planned, {
    onLeft: ({ mend }) => mend,
    onRight: ({ steps }) =>
      steps.some(({ lessRedaction }) => lessRedaction.length > 0) ? hostMend("allowLessRedaction") : undefined
  })
}

/** A finding, without the fields that all findings of a table share. */
type Report = (finding: Reported) => void

type Reported = Finding extends infer F
  ? F extends Finding
    ? Omit<F, "table" | "subjects"> & { readonly subjects?: ReadonlyArray<string> }
    : never
  : never

/** How to apply this table: a command if that is enough, otherwise what to do first. */
interface Apply {
  readonly mend: Mend
  /** Apply, after something that only the host can do. */
  readonly after: (action: HostAction, names?: ReadonlyArray<string>) => Mend
  /** Apply alone if that is enough, otherwise apply after the host has corrected its configuration. */
  readonly corrected: (action: HostAction) => Mend
  readonly afterSql: (statements: readonly [string, ...ReadonlyArray<string>]) => Mend
}

const applyOf = (argv: Argv, refused: Mend | undefined): Apply => {
  const after = (action: HostAction, names: ReadonlyArray<string> = []) => hostMend(action, names, { then: argv })
  const mend =
    refused === undefined
      ? commandMend(argv)
      : refused._tag === "command"
        ? refused
        : { ...refused, then: refused.then ?? argv }
  return {
    mend,
    after,
    corrected: (action) => (refused === undefined ? mend : after(action)),
    afterSql: (statements) => sqlMend(statements, argv)
  }
}

const applyFor = (
  storage: string,
  catalog: Catalog,
  configuredTable: ConfiguredTable | undefined,
  deployed: Deployed | undefined,
  table: Table | undefined
): Apply => {
  if (configuredTable !== undefined) {
    return applyOf(applyCommand, obstacle(storage, catalog, configuredTable))
  }
  const config = deployed === undefined || table === undefined ? undefined : configOf(catalog, deployed, table)
  return deployed === undefined || config === undefined
    ? applyOf(applyCommand, hostMend("nameInConfiguration"))
    : applyOf(commandOf(config), obstacle(storage, catalog, { ...policyName(deployed.policy), config }))
}

/** Status of every configured and every captured table, by name; also of what concerns the record itself. */
export const statusOf = (
  storage: string,
  catalog: Catalog,
  standing: Standing,
  configured: ReadonlyArray<ConfiguredTable> | undefined
): ReadonlyArray<TableStatus> =>
  tableStatuses(storage, catalog, configured).map((status) =>
    status.policy === null
      ? status
      : {
          ...status,
          findings: [...status.findings, ...standingFindings(status.table, standing, catalog.watch)]
        }
  )

/** The same, without what concerns the record itself. */
export const tableStatuses = (
  storage: string,
  catalog: Catalog,
  configured: ReadonlyArray<ConfiguredTable> | undefined
): ReadonlyArray<TableStatus> => {
  const extra = catalog.active.filter((name) => !(configured ?? []).some((other) => sameName(other, name)))
  return [
    ...(configured ?? []).map((configuredTable) =>
      tableStatus(storage, catalog, findDeployed(catalog, configuredTable), configuredTable)
    ),
    ...extra.map((name) => tableStatus(storage, catalog, findDeployed(catalog, name), configured && "not configured"))
  ].sort((a, b) => (a.table < b.table ? -1 : a.table > b.table ? 1 : 0))
}

/** What is wrong with the record itself. It concerns every table that is captured into it; `table` is the one to name. */
export const standingFindings = (
  table: string,
  standing: Standing,
  { problems }: Catalog["watch"]
): ReadonlyArray<Finding> => {
  const findings: Array<Finding> = []
  const report: Report = (finding) => {
    findings.push({ subjects: [], ...finding, table })
  }
  const { owner, rowSecurity, unidentified, writers } = standing
  if (standing.ownerCanLogin && !standing.ownerSuperuser) {
    report({ kind: "OwnerCanLogin", severity: "warning", mend: hostMend("changeLoginOwner"), owner, subjects: [owner] })
  }
  if (standing.ownerMembers.length > 0) {
    report({ kind: "OwnerHasMembers", severity: "info", mend: null, owner, subjects: standing.ownerMembers })
  }
  const [firstStatement, ...otherStatements] = rowSecurity.map(
    (table) => `alter table ${table} disable row level security`
  )
  if (firstStatement !== undefined) {
    report({
      kind: "RecordRowSecurity",
      severity: "error",
      mend: sqlMend([firstStatement, ...otherStatements]),
      subjects: rowSecurity
    })
  }
  if (unidentified.length > 0) {
    report({ kind: "RecordUnidentified", severity: "error", mend: commandMend(migrateCommand), subjects: unidentified })
  }
  if (writers.length > 0) {
    const mend = commandMend(migrateCommand)
    report({ kind: "RecordWritable", severity: "error", mend, everything: false, subjects: writers })
  }
  if (standing.writersOfAll.length > 0) {
    const mend = sqlMend([`revoke pg_write_all_data from ${standing.writersOfAll.join(", ")}`])
    report({ kind: "RecordWritable", severity: "warning", mend, everything: true, subjects: standing.writersOfAll })
  }
  if (problems.length > 0) {
    const subjects = problems.flatMap(({ trigger }) => (trigger === null ? [] : [trigger]))
    report({ kind: "WatchBroken", severity: "warning", mend: commandMend(watchCommand), problems, subjects })
  }
  return findings
}

const tableStatus = (
  storage: string,
  catalog: Catalog,
  deployed: Deployed | undefined,
  configured: ConfiguredTable | "not configured" | undefined
): TableStatus => {
  const configuredTable = typeof configured === "object" ? configured : undefined
  const policy = deployed?.policy.removedAt === null ? deployed.policy : undefined
  const name = policy === undefined ? (configuredTable ?? { schema: "", name: "" }) : policyName(policy)
  const table = label(name)
  const findings: Array<Finding> = []
  const catalogTable = findTable(catalog, name)
  const apply = applyFor(storage, catalog, configuredTable, deployed, catalogTable)
  const report: Report = (finding) => {
    findings.push({ subjects: [], ...finding, table })
  }
  let captured = false

  if (configured === "not configured") {
    report({ kind: "NotConfigured", severity: "info", mend: hostMend("configure", [], { or: removeCommand(table) }) })
  }
  if (configuredTable !== undefined) {
    compareConfiguration(storage, catalog, configuredTable, policy, apply, report)
  }
  if (deployed !== undefined && policy !== undefined) {
    if (catalogTable === undefined) {
      reportMissingTable(catalog, deployed, table, report)
    } else {
      reportTable(catalog, deployed, catalogTable, configuredTable?.config.mode === "statement", apply, report)
      captured = reportInstalled(storage, catalog, policy, catalogTable, apply, report)
    }
  }
  if (policy?.dropGuard === true && catalog.watch.state !== "on") {
    report({ kind: "GuardOff", severity: "error", mend: commandMend(watchCommand), watch: catalog.watch.state })
  }
  return { table, captured, policy: policy ?? null, watch: catalog.watch.state, findings }
}

const compareConfiguration = (
  storage: string,
  catalog: Catalog,
  configured: ConfiguredTable,
  policy: Policy | undefined,
  apply: Apply,
  report: Report
): void => {
  if (policy === undefined) {
    report({ kind: "NotCaptured", severity: "error", mend: apply.mend })
  }
  const resolved = resolve(catalog, storage, configured, [])
  if (Either.isLeft(resolved)) {
    const { mend, refusal } = resolved.left
    report({ kind: "ConfigurationRefused", severity: "error", mend, refusal })
  } else if (policy !== undefined) {
    const different = policyDifferences(policy, resolved.right)
    if (different.length > 0) {
      report({
        kind: "ConfigurationDiffers",
        severity: "error",
        mend: apply.mend,
        differences: different,
        subjects: different.map(({ _tag }) => _tag)
      })
    }
  }
}

const reportMissingTable = (
  catalog: Catalog,
  { policy, relationNow }: Deployed,
  table: string,
  report: Report
): void => {
  const functions = functionNames(policyName(policy))
  const elsewhere = [...catalog.strays, ...catalog.tables.flatMap(({ relations }) => relations)].filter(
    ({ triggers }) => triggers.some(({ calls }) => calls !== null && functions.includes(calls))
  )
  // A renamed table keeps its triggers and partitions. The OID alone may be that of another table after a restore.
  const presentRelation =
    elsewhere.find((relation) => relationNow !== null && sameName(relation, relationNow)) ??
    elsewhere.find(({ partitionOf }) => partitionOf === null) ??
    elsewhere[0]
  if (presentRelation === undefined) {
    report({ kind: "TableGone", severity: "error", mend: commandMend(removeCommand(table)) })
  } else {
    const present = label(presentRelation)
    report({
      kind: "TableRenamed",
      severity: "error",
      // It is captured, but under a name that its policy does not have.
      mend: hostMend("configureInstead", [present], { then: applyCommand }),
      now: present,
      subjects: [present]
    })
  }
}

/** What became of the table itself since its policy was applied. */
const reportTable = (
  catalog: Catalog,
  { policy, relation }: Deployed,
  table: Table,
  isStatementChosen: boolean,
  apply: Apply,
  report: Report
): void => {
  const root = table.relations[0]
  const { gap, moved, renamedEnums, restarted, rewritten } = findGap(catalog, policyName(policy))
  const described = columnShapes(catalog, table)
  const sameTable = relation === table.oid
  const renumbered = policy.columns.some((policyColumn) =>
    described.some(({ shape }) => shape.name === policyColumn.name && shape.attnum !== policyColumn.attnum)
  )
  if (gap === "unwatched") {
    report({ kind: "WatchFailed", severity: "error", mend: apply.mend })
  }
  if (gap === "replaced") {
    report({ kind: "TableReplaced", severity: "error", mend: apply.mend })
  } else if (!sameTable || (renumbered && exchanged(policy, table.columns).length === 0)) {
    report({ kind: "IdentityChanged", severity: "info", mend: apply.mend })
  }

  const changes = columnChanges(
    policy,
    described.map(({ shape }) => shape),
    sameTable
  )
  const unlogged = unloggedRelations(table)
  if (unlogged.length > 0) {
    report({
      kind: "TableUnlogged",
      severity: restarted ? "error" : "warning",
      mend: restarted ? apply.mend : hostMend("changePersistence", unlogged),
      restarted,
      subjects: unlogged
    })
  }
  const present = new Set(partitionLabels(table))
  const cameBack = moved.map(label).filter((partition) => present.has(partition))
  if (cameBack.length > 0) {
    report({ kind: "PartitionReplaced", severity: "error", mend: apply.mend, subjects: cameBack })
  }

  const columns = { ...changes, renamed: changes.renamed.map(([from, to]) => ({ from, to })) }
  const subjects = [...changes.added, ...changes.dropped, ...changes.renamed.map(([, to]) => to), ...changes.retyped]
  if (subjects.length > 0) {
    report({ kind: "ColumnsChanged", severity: "warning", mend: apply.mend, columns, subjects })
  }
  if (rewritten.length > 0) {
    report({ kind: "RowsRewritten", severity: "error", mend: apply.mend, subjects: rewritten })
  }
  const redacted = [...policy.exclude, ...policy.mask, ...Object.keys(policy.paths)]
  const lostColumns = redacted.filter((name) => !table.columns.some((column) => column.name === name))
  if (lostColumns.length > 0) {
    report({
      kind: "RedactedColumnMissing",
      severity: "error",
      mend: apply.corrected("correctRedaction"),
      missing: lostColumns,
      renamed: [],
      subjects: lostColumns
    })
  }
  const otherNames = (sameTable ? exchanged(policy, table.columns) : []).filter(([from]) => redacted.includes(from))
  if (otherNames.length > 0) {
    report({
      kind: "RedactedColumnMissing",
      severity: "error",
      mend: apply.corrected("correctRedaction"),
      missing: [],
      renamed: otherNames.map(([from, to]) => ({ from, to })),
      subjects: otherNames.map(([from]) => from)
    })
  }
  reportComputed(policy, table, report)
  const isKeyChanged = reportKey(policy, table, apply, report)
  if (renamedEnums.length > 0) {
    report({ kind: "KeyValuesRenamed", severity: "error", mend: apply.mend, subjects: renamedEnums })
  }
  if (
    (gap === "key" && !isKeyChanged && renamedEnums.length === 0 && changes.retyped.length === 0) ||
    (gap === "rewritten" && rewritten.length === 0)
  ) {
    report({ kind: "AlteredMeanwhile", severity: "error", mend: apply.mend })
  }

  const casts = [...new Set(described.flatMap(({ hostCasts }) => hostCasts))]
  if (casts.length > 0 && !policy.acknowledgeCasts) {
    report({
      kind: "HostCast",
      severity: "error",
      mend: hostMend("dropCasts"),
      owner: catalog.storage.owner,
      subjects: casts
    })
  }
  const rowMode = whyRowMode(table)
  if (policy.mode === "statement" && rowMode !== undefined) {
    report({ kind: "ModeUnsuitable", severity: "error", mend: apply.mend, why: rowMode })
  } else if (policy.mode === "statement" && catalog.foreignServers && admitsForeign(table)) {
    // The schema watch lets writes through when it happens.
    const severity = isStatementChosen || catalog.watch.state === "on" ? "info" : "warning"
    report({
      kind: "ModeUnsuitable",
      severity,
      mend: isStatementChosen ? hostMend("leaveModeOut", [], { then: applyCommand }) : apply.mend,
      why: { cause: "foreign server", relation: null }
    })
  }
  const children = root.children.filter((child) => !catalog.active.some((other) => sameName(other, child))).map(label)
  if (children.length > 0) {
    report({ kind: "ChildNotCaptured", severity: "warning", mend: hostMend("configureChildren"), subjects: children })
  }
}

/** A generated column may repeat what a redacted one holds. */
const reportComputed = (policy: Policy, table: Table, report: Report): void => {
  // What is computed from a column may be computed from a redacted path inside of it.
  const redacted = new Set([...policy.exclude, ...policy.mask, ...Object.keys(policy.paths)])
  const computed = table.columns
    .filter(({ name }) => !redacted.has(name))
    .map(({ computedFrom, name, virtual }) => ({
      name,
      virtual,
      from: computedFrom.filter((source) => redacted.has(source))
    }))
    .filter(({ from }) => from.length > 0)
  for (const shown of [true, false]) {
    const columns = computed.filter(({ virtual }) => virtual !== shown)
    if (columns.length > 0) {
      const names = columns.map(({ name }) => name)
      report({
        kind: "ComputedFromRedacted",
        severity: shown ? "warning" : "info",
        mend: shown ? hostMend("redactComputed", names) : null,
        from: [...new Set(columns.flatMap(({ from }) => from))],
        shown,
        subjects: names
      })
    }
  }
}

/** True if the key is another one. */
const reportKey = (policy: Policy, table: Table, apply: Apply, report: Report): boolean => {
  // A column whose rename the record followed is the same one.
  const key = policy.key.map(
    ({ name }) =>
      policy.formerColumns.find(
        ({ column, formerly }) => formerly === name && table.columns.some((present) => present.name === column)
      )?.column ?? name
  )
  const missing = key.filter((name) => !table.columns.some((column) => column.name === name))
  const primary = primaryKey(table)
  const primaryKeyNow =
    primary === undefined || (primary.length === key.length && primary.every((name, place) => name === key[place]))
      ? null
      : primary
  const problem = primary === undefined && key.length > 0 ? (keyProblem(table, key) ?? null) : null
  if (missing.length > 0 || primaryKeyNow !== null || problem !== null) {
    report({
      kind: "KeyChanged",
      severity: "error",
      mend: apply.corrected("correctKey"),
      key,
      missing,
      primaryKey: primaryKeyNow,
      problem,
      subjects: key
    })
    return true
  }
  if (key.length === 0) {
    report({ kind: "NoKey", severity: "warning", mend: hostMend("declareKey") })
  }
  return false
}

/** Compares what is installed with the policy. True if no part of capture is missing. */
const reportInstalled = (
  storage: string,
  catalog: Catalog,
  policy: Policy,
  table: Table,
  apply: Apply,
  report: Report
): boolean => {
  const shape = installedShape(storage, policy, table)
  const source = generate(storage, shape)
  const functions = functionState(catalog, source)
  const names = functionNames(shape)
  if (!sameName(shape, policyName(policy))) {
    report({ kind: "NameFollowed", severity: "info", mend: apply.mend, subjects: [label(shape)] })
  }
  const outdated = source.sourceHash !== policy.sourceHash
  if (outdated) {
    report({ kind: "SourceOutdated", severity: "warning", mend: apply.mend })
  }
  if (functions.missing.length > 0) {
    report({ kind: "FunctionMissing", severity: "error", mend: apply.mend, subjects: functions.missing })
  }
  // Another version's functions differ for a good reason.
  if (functions.altered.length > 0 && !outdated) {
    report({ kind: "FunctionAltered", severity: "error", mend: apply.mend, subjects: functions.altered })
  }
  const superusers = catalog.functions.filter((row) => row.ownerSuperuser && names.includes(row.name))
  if (superusers[0] !== undefined) {
    report({
      kind: "OwnerIsSuperuser",
      severity: "warning",
      mend: catalog.storage.ownerSuperuser ? hostMend("changeOwner") : apply.mend,
      owner: superusers[0].owner,
      subjects: superusers.map(({ name }) => name)
    })
  }

  const states = table.relations.map((relation) =>
    relationState(storage, source, relation, shape, catalog.serverVersion)
  )
  states.forEach((state) => reportTriggers(state, policy, apply, report))
  reportPartitionsThatLeft(catalog, policy, names, table, apply, report)
  reportHostTriggers(table, report)
  reportOthersTriggers(table, report)

  const unread = table.relations
    .filter(({ level, ownerReads, ownerUsesSchema, ...name }) => {
      return (!ownerReads || !ownerUsesSchema) && (level === 0 || policy.partitions.includes(label(name)))
    })
    .map(label)
  if (policy.truncate !== "refuse" && unread.length > 0) {
    report({
      kind: "TruncateUnreadable",
      severity: policy.truncate === "rows" || table.relations.length > 1 ? "error" : "warning",
      mend: apply.after("useTableOwner"),
      owner: catalog.storage.owner,
      subjects: unread
    })
  }
  const unseen = truncateUnseen(table, catalog.serverVersion)
  if (unseen.length > 0) {
    report({ kind: "TruncateUnseen", severity: "warning", mend: null, subjects: unseen })
  }
  return (
    functions.missing.length === 0 &&
    states.every(
      ({ altered, disabled, missing: absent }) => altered.length === 0 && disabled.length === 0 && absent.length === 0
    )
  )
}

/** PostgreSQL cloned the row triggers from the table. Only the statement trigger of TRUNCATE is missing. */
const onlyTruncateMissing = ({ missing, relation }: RelationState): boolean =>
  relation.triggers.some(({ calls, cloned }) => cloned && calls !== null) &&
  missing.every(({ type }) => (type & 32) !== 0)

const reportTriggers = (state: RelationState, policy: Policy, apply: Apply, report: Report): void => {
  const { altered, colliding, disabled, missing, relation } = state
  const where = label(relation)
  const names = (triggers: ReadonlyArray<{ readonly name: string }>) => triggers.map(({ name }) => name)
  if (relation.level > 0 && missing.length > 0 && !policy.partitions.includes(where)) {
    const rowsSeen = onlyTruncateMissing(state)
    report({
      kind: "PartitionAttached",
      severity: rowsSeen ? "warning" : "error",
      mend: apply.mend,
      partition: where,
      rowsSeen,
      subjects: [where]
    })
  } else if (missing.length > 0) {
    report({
      kind: "TriggerMissing",
      severity: "error",
      mend: apply.mend,
      relation: where,
      subjects: names(missing)
    })
  }
  if (altered.length > 0 || colliding.length > 0) {
    const [firstStatement, ...otherStatements] = colliding.map((name) => `drop trigger ${identifier(name)} on ${where}`)
    report({
      kind: "TriggerAltered",
      severity: "error",
      // Apply leaves triggers of others alone.
      mend: firstStatement === undefined ? apply.mend : apply.afterSql([firstStatement, ...otherStatements]),
      relation: where,
      subjects: [...names(altered), ...colliding]
    })
  }
  if (disabled.length > 0) {
    const off = names(disabled.filter(({ enabled }) => enabled === "D"))
    const otherwiseEnabled = names(disabled.filter(({ enabled }) => enabled !== "D"))
    report({
      kind: "TriggerDisabled",
      severity: "error",
      mend: apply.mend,
      relation: where,
      disabled: off,
      otherwiseEnabled,
      subjects: [...off, ...otherwiseEnabled]
    })
  }
}

const reportPartitionsThatLeft = (
  catalog: Catalog,
  policy: Policy,
  functions: ReadonlyArray<string>,
  table: Table,
  apply: Apply,
  report: Report
): void => {
  const withTriggers = catalog.strays.filter(({ triggers }) =>
    triggers.some(({ calls }) => calls !== null && functions.includes(calls))
  )
  const strays = withTriggers.map(label).filter((relation) => policy.partitions.includes(relation))
  const elsewhere = withTriggers
    .filter(({ partitionOf }) => partitionOf === null)
    .map(label)
    .filter((relation) => !policy.partitions.includes(relation))
  const presentPartitions = new Set(partitionLabels(table))
  const leftPartitions = policy.partitions.filter(
    (partition) => !presentPartitions.has(partition) && !strays.includes(partition)
  )
  if (strays.length > 0) {
    report({ kind: "PartitionDetached", severity: "error", mend: apply.mend, gone: false, subjects: strays })
  }
  if (elsewhere.length > 0) {
    report({
      kind: "TriggersElsewhere",
      severity: "warning",
      mend: hostMend("configureChildren", elsewhere, { then: applyCommand }),
      subjects: elsewhere
    })
  }
  if (leftPartitions.length > 0) {
    report({ kind: "PartitionDetached", severity: "warning", mend: apply.mend, gone: true, subjects: leftPartitions })
  }
}

// Row level, and neither BEFORE nor INSTEAD OF.
const isAfterRow = (type: number): boolean => (type & 67) === 1

const reportHostTriggers = (table: Table, report: Report): void => {
  const names = [
    ...new Set(
      table.relations.flatMap(({ triggers }) =>
        triggers.filter(({ calls, type }) => calls === null && isAfterRow(type)).map(({ name }) => name)
      )
    )
  ]
  if (names.length > 0) {
    report({ kind: "HostRowTrigger", severity: "info", mend: null, subjects: names })
  }
}

/** A role that may create triggers on a table may put its own in the place of Threadline's. */
const reportOthersTriggers = (table: Table, report: Report): void => {
  const withOthersTriggers = table.relations.filter(({ othersTrigger }) => othersTrigger.length > 0)
  const roles = [...new Set(withOthersTriggers.flatMap(({ othersTrigger }) => othersTrigger))]
  if (roles.length > 0) {
    const relations = withOthersTriggers.map(label)
    report({
      kind: "TriggerReplaceable",
      severity: "warning",
      mend: sqlMend([`revoke trigger on ${relations.join(", ")} from ${roles.join(", ")}`]),
      relations,
      subjects: roles
    })
  }
}
