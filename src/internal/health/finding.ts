/**
 * Findings: those of capture, and facts with what mends them.
 */
import type { Finding as CaptureFinding } from "../capture/finding.js"
import type { Mend } from "../capture/mend.js"
import { describeFinding, describeMend } from "../capture/phrase.js"
import type { Fact } from "./fact.js"
import type { Finding, Severity } from "./model.js"
import { describeFact } from "./phrase.js"

export const ofCapture = (finding: CaptureFinding, object: string = finding.table): Finding => ({
  code: finding.kind,
  severity: finding.severity,
  object,
  message: describeFinding(finding),
  mend: finding.mend,
  fix: finding.mend === null ? null : describeMend(finding.mend),
  details: finding
})

export const ofFact = (severity: Severity, object: string, details: Fact, mend: Mend | null = null): Finding => ({
  code: details.kind,
  severity,
  object,
  message: describeFact(details),
  mend,
  fix: mend === null ? null : describeMend(mend),
  details
})

const ranks: Readonly<Record<Severity, number>> = { error: 0, warning: 1, info: 2 }

/** The graver ones first, then by object. */
export const inOrder = (findings: ReadonlyArray<Finding>): ReadonlyArray<Finding> =>
  [...findings].sort(
    (a, b) => ranks[a.severity] - ranks[b.severity] || (a.object < b.object ? -1 : a.object > b.object ? 1 : 0)
  )
