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
  policyShape,
  relationState,
  type RelationState
} from "./diff.js"
import { functionNames } from "./generate/names.js"
import type { Finding, FindingKind, Policy, TableStatus } from "./model.js"
import {
  columnShapes,
  findDeployed,
  findTable,
  label,
  primaryKey,
  resolve,
  sameName,
  type Wanted,
  whyNotKey,
  whyRowMode
} from "./resolve.js"
import { generate } from "./generate/generate.js"
import { keyText, policyDifferences } from "./words.js"
import { identifier } from "../sql/sqlText.js"

const apply = "threadline capture apply"

/** A word for a shell: names may hold quotes. */
const word = (text: string): string => (/^[\w.$]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`)

/**
 * The same for a table that no configuration names: with the options of its policy, or whoever copies it would ask for less
 * redaction. What options cannot say takes a configuration.
 */
const applyAlone = (policy: Policy, table: Table | undefined): string => {
  const { always, acknowledgeCasts, exclude, key, mask, mode, truncate } = policy
  if (mode === "row" || always || acknowledgeCasts || truncate !== "event") {
    return `name it in threadline.config.ts, then ${apply}`
  }
  const name = label(policyName(policy))
  // A column is quoted as a table is.
  const quoted = (column: string) => label({ schema: "", name: column }).slice(`"".`.length)
  const option = (named: string, columns: ReadonlyArray<string>) =>
    columns.map((column) => ` --${named} ${word(`${name}.${quoted(column)}`)}`)
  const declared = table !== undefined && primaryKey(table) === undefined ? key : []
  return [
    `${apply} --table ${word(name)}`,
    ...option("exclude", exclude),
    ...option("mask", mask),
    ...option(
      "key",
      declared.map((column) => column.name)
    )
  ].join("")
}

const remove = (table: string): string => `threadline capture remove --table ${word(table)}`

type Report = (
  kind: FindingKind,
  severity: Finding["severity"],
  detail: string,
  fix: string | null,
  subjects?: ReadonlyArray<string>
) => void

/** Status of every configured and every captured table, by name. */
export const statusOf = (
  storage: string,
  catalog: Catalog,
  configured: ReadonlyArray<Wanted> | undefined
): ReadonlyArray<TableStatus> => {
  const extra = catalog.active.filter((name) => !(configured ?? []).some((other) => sameName(other, name)))
  const statuses = [
    ...(configured ?? []).map((wanted) => tableStatus(storage, catalog, findDeployed(catalog, wanted), wanted)),
    ...extra.map((name) => tableStatus(storage, catalog, findDeployed(catalog, name), configured && "not configured"))
  ]
  return statuses.sort((a, b) => (a.table < b.table ? -1 : a.table > b.table ? 1 : 0))
}

const tableStatus = (
  storage: string,
  catalog: Catalog,
  deployed: Deployed | undefined,
  configured: Wanted | "not configured" | undefined
): TableStatus => {
  const wanted = typeof configured === "object" ? configured : undefined
  const policy = deployed?.policy.removedAt === null ? deployed.policy : undefined
  const name = policy === undefined ? (wanted ?? { schema: "", name: "" }) : policyName(policy)
  const table = label(name)
  const findings: Array<Finding> = []
  const found = findTable(catalog, name)
  const applying = wanted === undefined && policy !== undefined ? applyAlone(policy, found) : apply
  const report: Report = (kind, severity, detail, fix, subjects = []) => {
    // A table that was renamed is applied under a name that its policy does not have.
    const whole = kind === "TableRenamed" ? fix : (fix?.replace(apply, () => applying) ?? null)
    findings.push({ kind, severity, table, detail, subjects, fix: whole })
  }
  let captured = false

  if (configured === "not configured") {
    report("NotConfigured", "info", "it is captured and not configured", `configure it, or ${remove(table)}`)
  }
  if (wanted !== undefined) {
    compareConfiguration(storage, catalog, wanted, policy, report)
  }
  if (deployed !== undefined && policy !== undefined) {
    if (found === undefined) {
      reportMissingTable(catalog, deployed, table, report)
    } else {
      reportTable(catalog, deployed, found, report)
      captured = reportInstalled(storage, catalog, policy, found, report)
    }
  }
  return { table, captured, policy: policy ?? null, findings }
}

const compareConfiguration = (
  storage: string,
  catalog: Catalog,
  wanted: Wanted,
  policy: Policy | undefined,
  report: Report
): void => {
  if (policy === undefined) {
    report("NotCaptured", "error", "it is configured and not captured", apply)
  }
  const resolved = resolve(catalog, storage, wanted, [])
  if (Either.isLeft(resolved)) {
    const { detail, hint, reason } = resolved.left
    report("ConfigurationRefused", "error", `${detail} (${reason})`, hint)
  } else if (policy !== undefined) {
    const different = policyDifferences(policy, resolved.right)
    if (different.length > 0) {
      report("ConfigurationDiffers", "error", `configured: ${different.join("; ")}`, apply, different)
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
  // Its triggers go with a renamed table; the OID alone may be another's after a restore.
  const now = elsewhere.find((relation) => relationNow !== null && sameName(relation, relationNow)) ?? elsewhere[0]
  if (now === undefined) {
    report("TableGone", "error", "it no longer exists; its history does", remove(table))
  } else {
    report("TableRenamed", "error", `it is now ${label(now)}`, `configure ${label(now)} in its place, then ${apply}`, [
      label(now)
    ])
  }
}

/** What became of the table itself since its policy was applied. */
const reportTable = (catalog: Catalog, { policy, relation }: Deployed, table: Table, report: Report): void => {
  const root = table.relations[0]
  const described = columnShapes(catalog, table)
  const sameTable = relation === table.oid
  const renumbered = policy.columns.some((known) =>
    described.some(({ shape }) => shape.name === known.name && shape.attnum !== known.attnum)
  )
  if (!sameTable || (renumbered && exchanged(policy, table.columns).length === 0)) {
    report("IdentityChanged", "info", "it was restored or made anew since its policy was applied", apply)
  }

  const changes = columnChanges(
    policy,
    described.map(({ shape }) => shape),
    sameTable
  )
  const words = [
    ...changes.added.map((name) => `${name} is new`),
    ...changes.dropped.map((name) => `${name} is gone`),
    ...changes.renamed.map(([from, to]) => `${from} is now ${to}`),
    ...changes.retyped.map((name) => `${name} has another type`)
  ]
  if (words.length > 0) {
    report(
      "ColumnsChanged",
      "warning",
      `columns changed since its triggers were generated: ${words.join(", ")}`,
      apply,
      [...changes.added, ...changes.dropped, ...changes.renamed.map(([, to]) => to), ...changes.retyped]
    )
  }
  const lost = [...policy.exclude, ...policy.mask].filter(
    (name) => !table.columns.some((column) => column.name === name)
  )
  if (lost.length > 0) {
    report(
      "RedactedColumnMissing",
      "error",
      `redacted columns are gone or renamed: ${lost.join(", ")}; until ${apply}, every column new since then is masked`,
      `correct exclude and mask, then ${apply}`,
      lost
    )
  }
  const moved = (sameTable ? exchanged(policy, table.columns) : []).filter(
    ([from]) => policy.exclude.includes(from) || policy.mask.includes(from)
  )
  if (moved.length > 0) {
    report(
      "RedactedColumnMissing",
      "error",
      `redacted columns have other names now: ${moved.map(([from, to]) => `${from} is ${to}`).join(", ")}; ` +
        `until ${apply}, nothing is stored in the clear under either name`,
      `correct exclude and mask, then ${apply}`,
      moved.map(([from]) => from)
    )
  }
  reportKey(policy, table, report)

  const casts = [...new Set(described.flatMap(({ hostCasts }) => hostCasts))]
  if (casts.length > 0 && !policy.acknowledgeCasts) {
    report(
      "HostCast",
      "error",
      `types have a cast to json that capture runs as ${catalog.storage.owner}: ${casts.join(", ")}`,
      "drop the casts, or set acknowledgeCasts",
      casts
    )
  }
  const rowMode = whyRowMode(table)
  if (policy.mode === "statement" && rowMode !== undefined) {
    report("ModeUnsuitable", "error", `statement mode does not work here: ${rowMode}`, apply)
  }
  const children = root.children.filter((child) => !catalog.active.some((other) => sameName(other, child))).map(label)
  if (children.length > 0) {
    report(
      "ChildNotCaptured",
      "warning",
      `tables that inherit from it are not captured: ${children.join(", ")}`,
      "configure them too",
      children
    )
  }
}

const reportKey = (policy: Policy, table: Table, report: Report): void => {
  const names = policy.key.map(({ name }) => name)
  const lost = names.filter((name) => !table.columns.some((column) => column.name === name))
  const primary = primaryKey(table)
  const why =
    lost.length > 0
      ? `key columns are gone or renamed: ${lost.join(", ")}`
      : primary !== undefined
        ? primary.join("\0") === names.join("\0")
          ? undefined
          : `its primary key is now (${primary.join(", ")}), captured is ${keyText(policy.key)}`
        : names.length === 0
          ? undefined
          : whyNotKey(table, names)?.detail
  if (why !== undefined) {
    report("KeyChanged", "error", why, `correct the key, then ${apply}`, names)
  } else if (names.length === 0) {
    report(
      "NoKey",
      "warning",
      "it has no key: its rows have no history of their own",
      "give it a primary key, or declare a key"
    )
  }
}

/** Compares what is installed with what the policy says; true when nothing that captures is missing. */
const reportInstalled = (storage: string, catalog: Catalog, policy: Policy, table: Table, report: Report): boolean => {
  const shape = policyShape(policy)
  const source = generate(storage, shape)
  const functions = functionState(catalog, source)
  const names = functionNames(policyName(policy))
  const outdated = source.sourceHash !== policy.sourceHash
  if (outdated) {
    report("SourceOutdated", "warning", "this version of Threadline generates other triggers", apply)
  }
  if (functions.missing.length > 0) {
    report(
      "FunctionMissing",
      "error",
      `functions are missing: ${functions.missing.join(", ")}`,
      apply,
      functions.missing
    )
  }
  // Another version's functions differ for a good reason.
  if (functions.altered.length > 0 && !outdated) {
    report(
      "FunctionAltered",
      "error",
      `functions were altered: ${functions.altered.join(", ")}`,
      apply,
      functions.altered
    )
  }
  const superusers = catalog.functions.filter((row) => row.ownerSuperuser && names.includes(row.name))
  if (superusers.length > 0) {
    report(
      "OwnerIsSuperuser",
      "warning",
      `its capture functions run as superuser ${superusers[0]?.owner}`,
      catalog.storage.ownerSuperuser ? "let a role without superuser rights own Threadline's schema" : apply,
      superusers.map(({ name }) => name)
    )
  }

  const states = table.relations.map((relation) =>
    relationState(storage, source, relation, shape, catalog.serverVersion)
  )
  states.forEach((state) => reportTriggers(state, policy, report))
  reportPartitionsThatLeft(catalog, policy, table, report)
  reportHostTriggers(table, report)
  reportOthersTriggers(table, report)

  const unread = table.relations
    .filter(({ level, ownerReads, ownerUsesSchema, ...name }) => {
      return (!ownerReads || !ownerUsesSchema) && (level === 0 || policy.partitions.includes(label(name)))
    })
    .map(label)
  if (policy.truncate !== "refuse" && unread.length > 0) {
    report(
      "TruncateUnreadable",
      policy.truncate === "rows" || table.relations.length > 1 ? "error" : "warning",
      `${catalog.storage.owner} cannot read ${unread.join(", ")}: ` +
        "TRUNCATE is recorded with an estimate, and refused where it would have to keep rows",
      `${apply} as the owner of the tables`,
      unread
    )
  }
  return (
    functions.missing.length === 0 &&
    states.every(
      ({ altered, disabled, missing: absent }) => altered.length === 0 && disabled.length === 0 && absent.length === 0
    )
  )
}

const reportTriggers = (state: RelationState, policy: Policy, report: Report): void => {
  const { altered, colliding, disabled, missing, relation } = state
  const where = label(relation)
  if (relation.level > 0 && missing.length > 0 && !policy.partitions.includes(where)) {
    return report(
      "PartitionAttached",
      "error",
      `partition ${where} was attached and is not captured when it is written to directly`,
      apply,
      [where]
    )
  }
  if (missing.length > 0) {
    const subjects = missing.map(({ name }) => name)
    report("TriggerMissing", "error", `triggers are missing on ${where}: ${subjects.join(", ")}`, apply, subjects)
  }
  if (altered.length > 0 || colliding.length > 0) {
    const subjects = [...altered.map(({ name }) => name), ...colliding]
    report(
      "TriggerAltered",
      "error",
      `triggers of ${where} are not Threadline's own: ${subjects.join(", ")}`,
      // Apply leaves triggers of others alone.
      [...colliding.map((name) => `drop trigger ${identifier(name)} on ${where}, then`), apply].join(" "),
      subjects
    )
  }
  if (disabled.length > 0) {
    const off = disabled.filter(({ enabled }) => enabled === "D").map(({ name }) => name)
    const other = disabled.filter(({ enabled }) => enabled !== "D").map(({ name }) => name)
    report(
      "TriggerDisabled",
      "error",
      [
        ...(off.length > 0 ? [`triggers of ${where} are disabled: ${off.join(", ")}`] : []),
        ...(other.length > 0
          ? [`triggers of ${where} fire only under replication, or not under it: ${other.join(", ")}`]
          : [])
      ].join("; "),
      apply,
      [...off, ...other]
    )
  }
}

const reportPartitionsThatLeft = (catalog: Catalog, policy: Policy, table: Table, report: Report): void => {
  const functions = functionNames(policyName(policy))
  const strays = catalog.strays
    .filter(({ triggers }) => triggers.some(({ calls }) => calls !== null && functions.includes(calls)))
    .map(label)
  const now = new Set(partitionLabels(table))
  const gone = policy.partitions.filter((each) => !now.has(each) && !strays.includes(each))
  if (strays.length > 0) {
    report(
      "PartitionDetached",
      "error",
      `these left the table with its triggers, which refuse every write: ${strays.join(", ")}`,
      apply,
      strays
    )
  }
  if (gone.length > 0) {
    report("PartitionDetached", "info", `partitions are gone: ${gone.join(", ")}`, apply, gone)
  }
}

// Row level, and neither before nor instead.
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
    report(
      "HostRowTrigger",
      "info",
      `it has row triggers of its own: ${names.join(", ")}; what they write to the same row is put in order as it is captured`,
      null,
      names
    )
  }
}

/** Who may make triggers on a table may put one of his own in the place of Threadline's. */
const reportOthersTriggers = (table: Table, report: Report): void => {
  const open = table.relations.filter(({ othersTrigger }) => othersTrigger.length > 0)
  const roles = [...new Set(open.flatMap(({ othersTrigger }) => othersTrigger))]
  if (roles.length > 0) {
    report(
      "TriggerReplaceable",
      "warning",
      `roles that do not own it may replace its triggers, and so end its capture: ${roles.join(", ")}`,
      `revoke trigger on ${open.map(label).join(", ")} from ${roles.join(", ")}`,
      roles
    )
  }
}
