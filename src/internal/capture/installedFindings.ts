/**
 * How the triggers and functions that are installed differ from the policy of their table.
 */
import type { Apply } from "./applyMend.js"
import type { Catalog, Table } from "./catalogModel.js"
import {
  functionState,
  functionsByName,
  installedSource,
  partitionLabels,
  policyName,
  type RelationState,
  relationState,
  truncateUnseen,
  unknownTo
} from "./diff.js"
import { functionNames } from "./generate/names.js"
import { applyCommand, hostMend, sqlMend } from "./mend.js"
import type { Policy } from "./model.js"
import type { Report } from "./report.js"
import { label, sameName } from "./resolve.js"
import { identifier } from "../sql/sqlText.js"

/** Compares what is installed with the policy. True if no part of capture is missing. */
export const reportInstalled = (
  storage: string,
  catalog: Catalog,
  policy: Policy,
  table: Table,
  apply: Apply,
  report: Report
): boolean => {
  const { shape, source } = installedSource(storage, policy, table)
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
  const superusers = names.flatMap((name) => {
    const row = functionsByName(catalog).get(name)
    return row?.ownerSuperuser === true ? [row] : []
  })
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
  const isUnknown = unknownTo(catalog, policy)
  states.forEach((state) => reportTriggers(state, isUnknown(state.relation), apply, report))
  reportPartitionsThatLeft(catalog, policy, names, table, apply, report)
  reportHostTriggers(table, report)
  reportOthersTriggers(table, report)

  const unread = table.relations
    .filter((relation) => (!relation.ownerReads || !relation.ownerUsesSchema) && !isUnknown(relation))
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

const reportTriggers = (state: RelationState, isUnknown: boolean, apply: Apply, report: Report): void => {
  const { altered, colliding, disabled, missing, relation } = state
  const where = label(relation)
  const names = (triggers: ReadonlyArray<{ readonly name: string }>) => triggers.map(({ name }) => name)
  if (isUnknown && missing.length > 0) {
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
