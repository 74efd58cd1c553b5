/** A proof as a page for printing: no script, no style from elsewhere, everything escaped. */
import type { Actor } from "../../Actor.js"
import type { JsonValue } from "../core/jsonValue.js"
import { stringify } from "../core/json.js"
import type { Proof } from "./proof.js"

const escapes: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;"
}

// Characters that reverse the direction of text could make a page show something else than it holds.
const text = (value: string): string =>
  value
    .replaceAll(/[&<>"']/g, (sign) => escapes[sign] ?? "")
    .replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (sign) => `\\u{${(sign.codePointAt(0) ?? 0).toString(16)}}`)

const cell = (value: JsonValue | undefined): string =>
  value === undefined || value === null ? "" : text(typeof value === "string" ? value : stringify(value))

const table = (headers: ReadonlyArray<string>, lines: ReadonlyArray<ReadonlyArray<JsonValue | undefined>>): string =>
  lines.length === 0
    ? "<p>None.</p>"
    : `<table><thead><tr>${headers.map((header) => `<th>${text(header)}</th>`).join("")}</tr></thead><tbody>${lines
        .map((line) => `<tr>${line.map((value) => `<td>${cell(value)}</td>`).join("")}</tr>`)
        .join("\n")}</tbody></table>`

const style = `body{font:11pt/1.45 system-ui,sans-serif;color:#111;background:#fff;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem;border-bottom:1px solid #999}
table{border-collapse:collapse;width:100%;font-size:9pt}th,td{border:1px solid #bbb;padding:.25rem .4rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}
th{background:#eee;white-space:nowrap}caption{text-align:left}@page{margin:15mm}@media print{h2{break-after:avoid}tr{break-inside:avoid}}`

/** In full: who acted for whom is what an auditor asks. */
const who = (actor: Actor): string => {
  const name = actor.type === "anonymous" ? actor.type : `${actor.type} ${actor.id}`
  const label = actor.label === undefined ? "" : ` (${actor.label})`
  return `${name}${label}${actor.impersonator === undefined ? "" : ` by ${who(actor.impersonator)}`}`
}

const lapsesText = (lapses: Proof["coverage"][number]["lapses"]): string =>
  lapses.map(({ since, until }) => `${since ?? "the beginning"} to ${until ?? "now"}`).join("; ")

const incomplete = (proof: Proof): string =>
  proof.incomplete.length === 0 ? "" : `<p><strong>Not complete:</strong> ${proof.incomplete.map(text).join("; ")}.</p>`

export const toHtml = (proof: Proof): string => `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Audit proof ${text(proof.from)} to ${text(proof.to)}</title><style>${style}</style></head><body>
<h1>Audit proof</h1>
<p>From ${text(proof.from)} to ${text(proof.to)}. Made ${text(proof.madeAt)}.</p>
<p>${proof.notes.map(text).join(" ")}</p>
${incomplete(proof)}
<h2>Verdicts when this was made</h2>
${table(
  ["subject", "verdict", "records", "latest derived record", "latest record of the host"],
  proof.overview.map(({ latestByHost, latestDerived, records, subject, verdict }) => [
    subject,
    verdict,
    records,
    latestDerived === null ? null : `evidence ${latestDerived.id}, ${latestDerived.recordedAt}`,
    latestByHost === null
      ? null
      : `evidence ${latestByHost.id}, ${latestByHost.recordedAt}, says ${latestByHost.status}`
  ])
)}
<h2>Coverage when this was made, with lapses in the period</h2>
${table(
  ["table", "status", "captured since", "kept since", "lapses in the period", "reason"],
  proof.coverage.map(({ keptSince, lapses, reason, since, status, table }) => [
    table,
    status,
    since,
    // The oldest month that is kept begins before capture did, if nothing was removed.
    keptSince !== null && since !== null && keptSince <= since ? null : keptSince,
    lapsesText(lapses),
    reason
  ])
)}
<h2>Redaction when this was made</h2>
${table(
  ["table", "columns not recorded", "columns masked"],
  proof.redaction.map(({ excluded, masked, table }) => [table, excluded.join(", "), masked.join(", ")])
)}
<h2>Retention runs</h2>
${table(
  [
    "run",
    "kind",
    "state",
    "started",
    "finished",
    "cutoff",
    "changes",
    "transactions",
    "actions",
    "by",
    "policy",
    "problem"
  ],
  proof.retentionRuns.map((run) => [
    `retention run ${run.id}`,
    run.kind,
    run.state,
    run.startedAt,
    run.finishedAt,
    run.cutoff,
    run.changes,
    run.transactions,
    run.actions,
    run.actor === null ? run.dbUser : `${who(run.actor)}, as ${run.dbUser}`,
    run.policy,
    run.problem
  ])
)}
<h2>Exports delivered, and who looked</h2>
${table(
  ["action", "at", "name", "status", "who", "what"],
  proof.looked.map((action) => [
    `action ${action.id}`,
    action.occurredAt,
    action.name,
    action.status,
    action.actor === null ? "unknown" : who(action.actor),
    action.data
  ])
)}
<h2>Evidence recorded in the period</h2>
${table(
  ["record", "at", "subject", "reference", "status", "origin", "by", "role", "detail"],
  proof.evidence.map((one) => [
    `evidence ${one.id}`,
    one.recordedAt,
    one.subject,
    one.reference,
    one.status,
    one.origin,
    one.actor === null ? null : who(one.actor),
    one.dbUser,
    one.detail
  ])
)}
</body></html>
`
