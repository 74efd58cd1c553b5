/**
 * What is worth knowing about every captured table, from one snapshot of the catalog.
 */
import * as Either from "effect/Either"
import { type Apply, applyFor } from "./applyMend.js"
import type { Catalog, Deployed } from "./catalogModel.js"
import { byName } from "./byName.js"
import { policyDifferences } from "./compare.js"
import { policyName } from "./diff.js"
import type { Finding, TableStatus } from "./finding.js"
import { reportInstalled } from "./installedFindings.js"
import { commandMend, hostMend, removeCommand, watchCommand } from "./mend.js"
import type { Policy } from "./model.js"
import type { Report } from "./report.js"
import { type ConfiguredTable, findDeployed, findTable, label, resolve } from "./resolve.js"
import { standingFindings } from "./standingFindings.js"
import { reportMissingTable, reportTable } from "./tableFindings.js"
import type { Standing } from "../sql/standing.js"

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

/** Like `statusOf`, without what concerns the record itself. */
export const tableStatuses = (
  storage: string,
  catalog: Catalog,
  configured: ReadonlyArray<ConfiguredTable> | undefined
): ReadonlyArray<TableStatus> => {
  const findConfigured = byName(configured ?? [], (name) => name)
  const extra = catalog.active.filter((name) => findConfigured(name) === undefined)
  return [
    ...(configured ?? []).map((configuredTable) =>
      tableStatus(storage, catalog, findDeployed(catalog, configuredTable), configuredTable)
    ),
    ...extra.map((name) => tableStatus(storage, catalog, findDeployed(catalog, name), configured && "not configured"))
  ].sort((a, b) => (a.table < b.table ? -1 : a.table > b.table ? 1 : 0))
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
      reportTable(catalog, deployed, catalogTable, configuredTable?.config.mode, apply, report)
      captured =
        reportInstalled(storage, catalog, policy, catalogTable, apply, report) &&
        !findings.some(({ kind }) => kind === "RootNotCaptured")
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
