/** Coverage and findings as people read them. */
import type * as Continuity from "../src/Continuity.js"
import type * as Health from "../src/Health.js"
import { when } from "./describe.js"
import { visible } from "./output.js"
import { layout, paragraph } from "./table.js"

const refusals: Readonly<Record<NonNullable<Health.Coverage["refused"]>, string>> = {
  uncovered: "expected",
  "gap covered": "declared as a gap",
  unconfigured: "nobody configured it"
}

const lapsesText = (lapses: ReadonlyArray<Health.Lapse>): string => {
  const last = lapses.at(-1)
  return last === undefined
    ? ""
    : last.until === null
      ? `since ${last.since === null ? "ever" : when(last.since)}`
      : `${lapses.length}, the last until ${when(last.until)}`
}

/** Why the table is here, or why it does not pass. */
const why = ({ exists, reason, refused }: Health.Coverage): string =>
  [
    ...(exists ? [] : ["there is no such table"]),
    ...(reason === null ? [] : [reason]),
    ...(refused === null ? [] : [refusals[refused]])
  ].join("; ")

export const coverageText = (tables: ReadonlyArray<Health.Coverage>, width: number): string => {
  const uncovered = tables.flatMap(({ relations }) =>
    relations.filter(({ partition, status }) => partition && status !== "covered")
  )
  return [
    layout(
      [
        { header: "table" },
        { header: "status", rigid: true },
        { header: "since (UTC)", rigid: true },
        { header: "lapses" },
        { header: "why", whole: true }
      ],
      tables.map((table) => [
        table.table,
        table.status,
        table.since === null ? "" : when(table.since),
        lapsesText(table.lapses),
        why(table)
      ]),
      width
    ),
    ...(uncovered.length === 0
      ? []
      : [
          "",
          ...uncovered.flatMap(({ relation, triggers }) =>
            paragraph(`Partition ${relation} is not covered: its triggers are ${triggers}.`, width)
          )
        ])
  ].join("\n")
}

const findingLines = (finding: Health.Finding, width: number): ReadonlyArray<string> => [
  ...paragraph(
    `${finding.severity}: ${[finding.object, finding.message].filter((text) => text !== "").join(": ")}`,
    width
  ),
  // A command to copy stays whole.
  ...(finding.fix === null ? [] : [`  fix: ${visible(finding.fix)}`])
]

export const reportText = ({ findings, tables, watch }: Health.Report, width: number): string => {
  const counted = (["error", "warning", "info"] as const)
    .map((severity) => [severity, findings.filter((finding) => finding.severity === severity).length] as const)
    .filter(([, count]) => count > 0)
    .map(([severity, count]) => `${count} ${severity}${severity !== "info" && count !== 1 ? "s" : ""}`)
  return [
    ...(tables.length === 0 ? ["No table is captured, configured or expected."] : [coverageText(tables, width)]),
    ...(watch === null ? [] : ["", `The schema watch is ${watch}.`]),
    "",
    ...findings.flatMap((finding) => findingLines(finding, width)),
    ...(findings.length === 0 ? ["Nothing is wrong."] : ["", `Findings: ${counted.join(", ")}.`])
  ].join("\n")
}

/** Of columns that are recorded as they are, only those that look sensitive are shown. */
const isRemarkable = ({ acknowledged, configured, deployed, sensitive }: Health.ColumnPolicy): boolean =>
  (sensitive && !acknowledged) || [configured, deployed].some((shown) => shown !== null && shown !== "clear")

const remark = ({ acknowledged, configured, deployed, sensitive }: Health.ColumnPolicy): string =>
  configured !== null && deployed !== null && configured !== deployed
    ? "differs"
    : sensitive && !acknowledged && (deployed ?? configured) === "clear"
      ? "looks sensitive"
      : ""

export const policiesText = (tables: ReadonlyArray<Health.PolicyComparison>, width: number): string =>
  [
    layout(
      [
        { header: "table" },
        { header: "column" },
        { header: "configured", rigid: true },
        { header: "deployed", rigid: true },
        { header: "", whole: true }
      ],
      tables.flatMap(({ columns, state, table }) => {
        const remarkable = columns.filter(isRemarkable)
        return [
          [table, "", "", "", state],
          ...remarkable.map((column) => [
            "",
            column.column,
            column.configured ?? "",
            column.deployed ?? "",
            remark(column)
          ])
        ]
      }),
      width
    ),
    ...tables.flatMap(({ findings }) => findings.flatMap((finding) => ["", ...findingLines(finding, width)]))
  ].join("\n")

const reasons: Readonly<Record<NonNullable<Continuity.Answer["why"]>, string>> = {
  "not captured": "it is not captured",
  lapse: "a lapse: threadline capture apply",
  "no key": "it has no key",
  "no baseline": "there is no baseline",
  "baseline running": "its baseline is not finished"
}

export const readinessText = (tables: ReadonlyArray<Continuity.Readiness>, width: number): string =>
  layout(
    [
      { header: "table" },
      { header: "question" },
      { header: "answered since (UTC)", rigid: true },
      { header: "or why not", whole: true }
    ],
    tables.flatMap(({ answers, table }) =>
      answers.map(({ from, question, why }, place) => [
        place === 0 ? table : "",
        question,
        from === null ? "" : when(from),
        why === null ? "" : reasons[why]
      ])
    ),
    width
  )

export const baselinesText = (results: ReadonlyArray<Continuity.BaselineResult>, width: number): string =>
  results.length === 0
    ? "No captured table has a key."
    : layout(
        [
          { header: "table" },
          { header: "baseline", rigid: true },
          { header: "rows", rigid: true },
          { header: "", whole: true }
        ],
        results.map(({ recorded, state, table }) => [
          table,
          state,
          String(recorded),
          state === "waiting" ? "writers kept some rows locked: run it again" : ""
        ]),
        width
      )
