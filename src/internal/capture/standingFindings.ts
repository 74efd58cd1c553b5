/**
 * What is wrong with the record itself.
 */
import type { Catalog } from "./catalogModel.js"
import type { Finding } from "./finding.js"
import { commandMend, hostMend, migrateCommand, sqlMend, watchCommand } from "./mend.js"
import type { Report } from "./report.js"
import type { Standing } from "../sql/standing.js"

/** Findings about the record. They concern every table that is captured into it; `table` is the one to name. */
export const standingFindings = (
  table: string,
  standing: Standing,
  { problems }: Catalog["watch"]
): ReadonlyArray<Finding> => {
  const findings: Array<Finding> = []
  const report: Report = (finding) => {
    findings.push({ subjects: [], ...finding, table })
  }
  const { notOwned, owner, rowSecurity, unidentified, writers } = standing
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
  const [firstReturn, ...otherReturns] = notOwned.map(({ object }) => `alter ${object} owner to ${owner}`)
  if (firstReturn !== undefined) {
    report({
      kind: "RecordNotOwned",
      severity: "error",
      mend: sqlMend([firstReturn, ...otherReturns]),
      owner,
      owners: [...new Set(notOwned.map((one) => one.owner))].sort(),
      subjects: notOwned.map(({ object }) => object)
    })
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
