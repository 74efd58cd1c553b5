/**
 * Policies as configured and as deployed, compared as data.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import { readCatalog } from "../capture/catalog.js"
import type { Catalog } from "../capture/catalogModel.js"
import type { FindingKind, TableStatus } from "../capture/finding.js"
import { nameOf, readRedaction, type Redaction, redactionsOf, redactionsOfPolicy } from "../capture/redaction.js"
import { policyName } from "../capture/diff.js"
import { type ConfiguredTable, findTable, label } from "../capture/resolve.js"
import { tableStatuses } from "../capture/status.js"
import { ofCapture } from "./finding.js"
import type { ColumnPolicy, PolicyComparison, Shown } from "./model.js"
import { type Options, readingWith, type Request } from "./options.js"
import { looksSensitive } from "./sensitive.js"

/** Findings by which a deployed policy is not what is configured, or not what is installed. */
const drifting: ReadonlySet<FindingKind> = new Set([
  "ConfigurationDiffers",
  "FunctionAltered",
  "FunctionMissing",
  "RedactedColumnMissing",
  "TableRenamed"
])

const shownBy = (redactions: ReadonlyArray<Redaction>, name: string): Shown =>
  redactions.find((each) => nameOf(each) === name)?.as ?? "clear"

const columnsOf = (
  catalog: Catalog,
  { policy, table }: TableStatus,
  configured: ConfiguredTable | undefined,
  request: Request
): ReadonlyArray<ColumnPolicy> => {
  const name = policy === null ? configured : policyName(policy)
  const catalogTable = name === undefined ? undefined : findTable(catalog, name)
  const names = (catalogTable?.columns ?? []).filter(({ virtual }) => !virtual).map(({ name }) => name)
  const { exclude = [], mask = [] } = configured?.config ?? {}
  const configuredRedactions =
    configured === undefined
      ? undefined
      : [
          ...exclude.map((entry) => readRedaction(entry, names, "exclude")),
          ...mask.map((entry) => readRedaction(entry, names, "mask"))
        ]
  const deployed = policy === null ? undefined : redactionsOf(redactionsOfPolicy(policy))
  const allNames = [...new Set([...names, ...[...(configuredRedactions ?? []), ...(deployed ?? [])].map(nameOf)])]
  return allNames.map((column) => ({
    column,
    configured: configuredRedactions === undefined ? null : shownBy(configuredRedactions, column),
    deployed: deployed === undefined ? null : shownBy(deployed, column),
    sensitive: looksSensitive(column, request.sensitiveNames),
    acknowledged: request.acknowledged.some((each) => label(each) === table && each.column === column)
  }))
}

const compare = (
  catalog: Catalog,
  status: TableStatus,
  configured: ConfiguredTable | undefined,
  request: Request
): PolicyComparison => {
  const drift = status.findings.filter(({ kind }) => drifting.has(kind))
  const refused = status.findings.filter(({ kind }) => kind === "ConfigurationRefused")
  const state: PolicyComparison["state"] =
    refused.length > 0
      ? "refused"
      : status.policy === null
        ? "not captured"
        : drift.length > 0
          ? "differs"
          : request.configured !== undefined && configured === undefined
            ? "not configured"
            : "same"
  return {
    table: status.table,
    state,
    drift: state === "refused" || state === "not captured" || state === "differs",
    columns: columnsOf(catalog, status, configured, request),
    deployed: status.policy,
    findings: [...refused, ...drift].map((finding) => ofCapture(finding))
  }
}

/** The policies of every configured and every captured table, by name. */
export const readPolicies = (sql: SqlClient, storage: string, options: Options) =>
  readingWith(sql, options, (request) =>
    Effect.map(readCatalog(sql, storage, request.configured ?? [], "everything"), (catalog) => {
      const configured = new Map((request.configured ?? []).map((each) => [label(each), each]))
      return tableStatuses(storage, catalog, request.configured).map((status) =>
        compare(catalog, status, configured.get(status.table), request)
      )
    })
  )
