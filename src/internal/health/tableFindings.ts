/**
 * Findings of tables: those of capture, what is expected and not so, and sensitive columns.
 */
import { applyCommand, commandMend, hostMend } from "../capture/mend.js"
import * as TableName from "../core/tableName.js"
import type { Covered } from "./covered.js"
import { ofCapture, ofFact } from "./finding.js"
import type { Coverage, Finding } from "./model.js"
import type { Request } from "./options.js"
import { sensitiveInClear } from "./sensitive.js"

const coverageFindings = ({ configured, exists, reason, refused, since, table }: Coverage): ReadonlyArray<Finding> => {
  if (!exists && !configured && since === null) {
    const declared = reason === null ? "expected" : "gap"
    return [ofFact("error", table, { kind: "TableUnknown", declared }, hostMend("correctExpected"))]
  }
  if (refused === "uncovered" && !configured) {
    return [ofFact("error", table, { kind: "TableUncovered" }, commandMend([...applyCommand, "--table", table]))]
  }
  return refused === "gap covered"
    ? [ofFact("error", table, { kind: "GapCovered", reason: reason ?? "" }, hostMend("removeGap", [table]))]
    : []
}

export const tableFindings = (
  { catalog, coverage, statuses }: Covered,
  { acknowledged, sensitiveNames }: Request
): ReadonlyArray<Finding> => [
  ...statuses.flatMap(({ findings }) => findings.map((finding) => ofCapture(finding))),
  ...coverage.flatMap(coverageFindings),
  ...statuses.flatMap(({ policy, table }) => {
    const columns = policy === null ? [] : sensitiveInClear(catalog, policy, sensitiveNames, acknowledged)
    const names = columns.map((column) => `${table}.${TableName.quote(column)}`)
    const mend = hostMend("redactSensitive", names, { then: applyCommand })
    return columns.length === 0 ? [] : [ofFact("warning", table, { kind: "SensitiveInClear", columns }, mend)]
  })
]
