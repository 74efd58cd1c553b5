/**
 * What became of a captured table since its policy was applied.
 */
import type { Apply } from "./applyMend.js"
import type { Catalog, Deployed, Name, Table } from "./catalogModel.js"
import { type ColumnChanges, columnChanges, exchanged, partitionLabels, policyName, unloggedRelations } from "./diff.js"
import { functionNames } from "./generate/names.js"
import { applyCommand, commandMend, hostMend, removeCommand } from "./mend.js"
import type { Mode, Policy } from "./model.js"
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

/** What the reports about one captured table are made from. */
interface Subject {
  readonly catalog: Catalog
  readonly policy: Policy
  readonly table: Table
  readonly gap: ReturnType<typeof findGap>
  readonly columns: ReturnType<typeof columnShapes>
  /** The policy was applied to this very table. */
  readonly isSameTable: boolean
  readonly changes: ColumnChanges
  readonly apply: Apply
  readonly report: Report
}

/**
 * What became of the table itself since its policy was applied. `chosenMode` is the mode that its configuration names; undefined if it
 * leaves the choice to capture.
 */
export const reportTable = (
  catalog: Catalog,
  { policy, relation }: Deployed,
  table: Table,
  chosenMode: Mode | undefined,
  apply: Apply,
  report: Report
): void => {
  const gap = findGap(catalog, policyName(policy))
  const columns = columnShapes(catalog, table)
  const shapes = columns.map(({ shape }) => shape)
  const isSameTable = relation === table.oid && !gap.elsewhere
  const changes = columnChanges(policy, shapes, { isSameTable })
  const subject: Subject = { catalog, policy, table, gap, columns, isSameTable, changes, apply, report }
  reportIdentity(subject)
  reportLost(subject)
  reportColumns(subject)
  reportRedaction(subject)
  reportComputed(policy, table, report)
  reportMeanwhile(subject, reportKey(policy, table, apply, report))
  reportCasts(subject)
  reportMode(subject, chosenMode)
  const children = table.relations[0].children
    .filter((child) => !catalog.active.some((other) => sameName(other, child)))
    .map(label)
  if (children.length > 0) {
    report({ kind: "ChildNotCaptured", severity: "warning", mend: hostMend("configureChildren"), subjects: children })
  }
}

/** Whether it is still the table, and the root, that the policy was applied to. */
const reportIdentity = ({
  apply,
  catalog,
  columns,
  gap: { gap },
  isSameTable,
  policy,
  report,
  table
}: Subject): void => {
  const { partitionOf } = table.relations[0]
  if (partitionOf !== null && !isCaptured(catalog, partitionOf)) {
    const above = label(partitionOf)
    const mend = hostMend("nameRoot", [above], { then: applyCommand })
    report({ kind: "RootNotCaptured", severity: "error", mend, root: above, subjects: [above] })
  }
  const renumbered = policy.columns.some((policyColumn) =>
    columns.some(({ shape }) => shape.name === policyColumn.name && shape.attnum !== policyColumn.attnum)
  )
  if (gap === "unwatched") {
    report({ kind: "WatchFailed", severity: "error", mend: apply.mend })
  }
  if (gap === "replaced") {
    report({ kind: "TableReplaced", severity: "error", mend: apply.mend })
  } else if (!isSameTable || (renumbered && exchanged(policy, table.columns).length === 0)) {
    report({ kind: "IdentityChanged", severity: "info", mend: apply.mend })
  }
}

/** Rows that a crash takes, and partitions that were away. */
const reportLost = ({ apply, gap: { moved, restarted }, policy, report, table }: Subject): void => {
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
}

/** Columns that changed, and values that changed without a write of a row. */
const reportColumns = ({ apply, changes, gap: { rewritten, shownOtherwise, unread }, report }: Subject): void => {
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
}

/** Redacted columns that are gone, or that have another name. */
const reportRedaction = ({ apply, isSameTable, policy, report, table }: Subject): void => {
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
  const otherNames = (isSameTable ? exchanged(policy, table.columns) : []).filter(([from]) => redacted.includes(from))
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
}

/** What happened while nothing was known of the table, if no other finding says so. */
const reportMeanwhile = ({ apply, catalog, changes, gap, policy, report }: Subject, isKeyChanged: boolean): void => {
  const { alteredTypes, moved, rewritten, shownOtherwise } = gap
  if (alteredTypes.length > 0) {
    report({ kind: "KeyValuesRenamed", severity: "error", mend: apply.mend, subjects: alteredTypes })
  }
  if (
    (gap.gap === "key" && !isKeyChanged && alteredTypes.length === 0 && changes.retyped.length === 0) ||
    (gap.gap === "rewritten" && rewritten.length === 0 && shownOtherwise.length === 0) ||
    gap.gap === "touched" ||
    // A partition that came since the policy was written has left.
    (gap.gap === "partitions" && moved.length === 0) ||
    // It had another name for a while. What was written under it counts after apply.
    catalog.strayed.some(({ from, to }) => sameName(from, to) && sameName(to, policyName(policy)))
  ) {
    report({ kind: "AlteredMeanwhile", severity: "error", mend: apply.mend })
  }
}

const reportCasts = ({ catalog, columns, policy, report }: Subject): void => {
  const casts = [...new Set(columns.flatMap(({ hostCasts }) => hostCasts))]
  if (casts.length > 0 && !policy.acknowledgeCasts) {
    report({
      kind: "HostCast",
      severity: "error",
      mend: hostMend("dropCasts"),
      owner: catalog.storage.owner,
      subjects: casts
    })
  }
}

/** Whether the table can still be captured statement by statement. */
const reportMode = ({ apply, catalog, policy, report, table }: Subject, chosenMode: Mode | undefined): void => {
  const rowMode = whyRowMode(table)
  if (policy.mode === "statement" && rowMode !== undefined) {
    report({ kind: "ModeUnsuitable", severity: "error", mend: apply.mend, why: rowMode })
  } else if (policy.mode === "statement" && catalog.foreignServers && admitsForeign(table)) {
    const isChosen = chosenMode === "statement"
    report({
      kind: "ModeUnsuitable",
      // The schema watch lets writes through when it happens.
      severity: isChosen || catalog.watch.state === "on" ? "info" : "warning",
      mend: isChosen ? hostMend("leaveModeOut", [], { then: applyCommand }) : apply.mend,
      why: { cause: "foreign server", relation: null }
    })
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
