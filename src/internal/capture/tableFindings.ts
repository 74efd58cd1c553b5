/**
 * What became of a captured table since its policy was applied.
 */
import type { Apply } from "./applyMend.js"
import type { Catalog, Deployed, Name, Table } from "./catalogModel.js"
import { columnChanges, exchanged, partitionLabels, policyName, unloggedRelations } from "./diff.js"
import { functionNames } from "./generate/names.js"
import { applyCommand, commandMend, hostMend, removeCommand } from "./mend.js"
import type { Policy } from "./model.js"
import type { Report } from "./report.js"
import { admitsForeign, columnShapes, findGap, keyProblem, label, primaryKey, sameName, whyRowMode } from "./resolve.js"

export const reportMissingTable = (
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

/** Whether a table is captured, under its name or under one that it had before. */
const isCaptured = ({ active, deployed }: Catalog, name: Name): boolean =>
  active.some((other) => sameName(other, name)) ||
  deployed.some(
    ({ policy, relationNow }) => policy.removedAt === null && relationNow !== null && sameName(relationNow, name)
  )

/** What became of the table itself since its policy was applied. */
export const reportTable = (
  catalog: Catalog,
  { policy, relation }: Deployed,
  table: Table,
  isStatementChosen: boolean,
  apply: Apply,
  report: Report
): void => {
  const root = table.relations[0]
  const { alteredTypes, elsewhere, gap, moved, restarted, rewritten, shownOtherwise, unread } = findGap(
    catalog,
    policyName(policy)
  )
  const described = columnShapes(catalog, table)
  const { partitionOf } = root
  if (partitionOf !== null && !isCaptured(catalog, partitionOf)) {
    const above = label(partitionOf)
    const mend = hostMend("nameRoot", [above], { then: applyCommand })
    report({ kind: "RootNotCaptured", severity: "error", mend, root: above, subjects: [above] })
  }
  const sameTable = relation === table.oid && !elsewhere
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
  if (unlogged.length > 0 || restarted) {
    report({
      kind: "TableUnlogged",
      severity: restarted ? "error" : "warning",
      mend: restarted ? apply.mend : hostMend("changePersistence", unlogged),
      restarted,
      subjects: unlogged.length > 0 ? unlogged : [label(policyName(policy))]
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
    report({
      kind: "RowsRewritten",
      severity: unread ? "warning" : "error",
      mend: apply.mend,
      unread,
      subjects: rewritten
    })
  }
  if (shownOtherwise.length > 0) {
    report({
      kind: "ValuesShownOtherwise",
      severity: "error",
      mend: apply.mend,
      types: [...new Set(shownOtherwise.map(({ type }) => type))],
      subjects: [...new Set(shownOtherwise.map(({ column }) => column))]
    })
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
  if (alteredTypes.length > 0) {
    report({ kind: "KeyValuesRenamed", severity: "error", mend: apply.mend, subjects: alteredTypes })
  }
  if (
    (gap === "key" && !isKeyChanged && alteredTypes.length === 0 && changes.retyped.length === 0) ||
    (gap === "rewritten" && rewritten.length === 0 && shownOtherwise.length === 0) ||
    gap === "touched" ||
    // A partition that came since the policy was written has left.
    (gap === "partitions" && moved.length === 0) ||
    // It had another name for a while. What was written under it counts after apply.
    catalog.strayed.some(({ from, to }) => sameName(from, to) && sameName(to, policyName(policy)))
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
      shown: virtual ? "nowhere" : policy.key.some((column) => column.name === name) ? "key" : "image",
      from: computedFrom.filter((source) => redacted.has(source))
    }))
    .filter(({ from }) => from.length > 0)
  for (const shown of ["image", "key", "nowhere"]) {
    const columns = computed.filter((column) => column.shown === shown)
    if (columns.length > 0) {
      const names = columns.map(({ name }) => name)
      report({
        kind: "ComputedFromRedacted",
        severity: shown === "nowhere" ? "info" : "warning",
        // A column of the key cannot be redacted.
        mend: shown === "nowhere" ? null : hostMend(shown === "key" ? "keyUncomputed" : "redactComputed", names),
        from: [...new Set(columns.flatMap(({ from }) => from))],
        shown: shown !== "nowhere",
        subjects: names
      })
    }
  }
}

/** Reports a missing or changed key. True if it changed. */
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
