/** Steps and findings of capture as people and programs read them. The sentences are the library's. */
import * as Option from "effect/Option"
import * as Capture from "../src/Capture.js"
import type { JsonValue } from "../src/Json.js"
import type { Common } from "./options.js"
import { visible } from "./output.js"
import { layout, paragraph } from "./table.js"

/** Steps in full. That a column loses redaction is always shown whole. */
export const stepLines = (steps: ReadonlyArray<Capture.Step>, width: number): string =>
  [
    layout(
      [{ header: "step", rigid: true }, { header: "table" }, { header: "what", whole: true }],
      steps.map((step) => [step.kind, step.table, Capture.describeStep(step)]),
      width
    ),
    ...steps
      .filter(({ lessRedaction }) => lessRedaction.length > 0)
      .flatMap(({ lessRedaction, table }) =>
        paragraph(`Less redaction: ${table} shows more than before of ${lessRedaction.join(", ")}.`, width)
      )
  ].join("\n")

/** A step with its sentence as `summary`. */
export const stepJson = (step: Capture.Step): JsonValue => ({
  ...step,
  summary: Capture.describeStep(step)
})

/** A status. Its findings have their sentences as `detail` and `fix`. */
export const statusJson = ({ captured, findings, policy, table, watch }: Capture.TableStatus): JsonValue => ({
  table,
  captured,
  policy,
  watch,
  findings: findings.map((finding) => ({
    ...finding,
    detail: Capture.describeFinding(finding),
    fix: finding.mend === null ? null : Capture.describeMend(finding.mend)
  }))
})

const stateOf = ({ captured, findings, policy }: Capture.TableStatus): string =>
  captured
    ? "captured"
    : policy === null
      ? "not captured"
      : findings.some(({ kind }) => kind === "TableGone")
        ? "gone"
        : findings.some(({ kind }) => kind === "TableRenamed")
          ? "renamed"
          : "in part"

const redactionColumns = (policy: Capture.Policy): ReadonlyArray<ReadonlyArray<string>> => {
  const { exclude, mask } = Capture.redactionNames(policy)
  return [exclude, mask]
}

export const statusText = (statuses: ReadonlyArray<Capture.TableStatus>, width: number): string => {
  const findings = statuses.flatMap((status) => status.findings)
  return [
    layout(
      [
        { header: "table" },
        { header: "state", rigid: true },
        { header: "key" },
        { header: "excluded" },
        { header: "masked" }
      ],
      statuses.map((status) => [
        status.table,
        stateOf(status),
        ...(status.policy === null
          ? ["", "", ""]
          : [status.policy.key.map(({ name }) => name), ...redactionColumns(status.policy)].map((names) =>
              names.join(", ")
            ))
      ]),
      width
    ),
    ...[...new Set(statuses.map(({ watch }) => watch))].flatMap((watch) => ["", `The schema watch is ${watch}.`]),
    ...(findings.length === 0 ? [] : ["", ...findings.flatMap((finding) => findingLines(finding, width))])
  ].join("\n")
}

const findingLines = (finding: Capture.Finding, width: number): ReadonlyArray<string> => [
  ...paragraph(`${finding.severity}: ${finding.table}: ${Capture.describeFinding(finding)}`, width),
  // A command to copy stays whole.
  ...(finding.mend === null ? [] : [`  fix: ${visible(Capture.describeMend(finding.mend))}`])
]

/** Why a table cannot be captured as configured, and what to do. */
export const refusalText = ({
  mend,
  refusal,
  table
}: Extract<Capture.Finding, { readonly kind: "ConfigurationRefused" }>): string =>
  [`${table}: ${Capture.describeRefusal(refusal)}`, ...(mend === null ? [] : [Capture.describeMend(mend)])].join("; ")

/** Adds the options that named the tables to the commands of a mend that name no table. Only those of capture have such options. */
export const withOptions = (mend: Capture.Mend, options: ReadonlyArray<string>): Capture.Mend => {
  const named = ([command, ...words]: Capture.Argv): Capture.Argv =>
    words[0] !== "capture" || words.includes("--table") ? [command, ...words] : [command, ...words, ...options]
  switch (mend._tag) {
    case "command":
      return { ...mend, argv: named(mend.argv) }
    case "sql":
      return { ...mend, then: mend.then === null ? null : named(mend.then) }
    case "host":
      return { ...mend, then: mend.then === null ? null : named(mend.then) }
  }
}

/** Options that a following command must repeat to work. The URL holds secrets and is not repeated. */
export const placeWords = ({ config, schema }: Common): ReadonlyArray<string> =>
  (
    [
      ["--config", config],
      ["--schema", schema]
    ] as const
  ).flatMap(([option, optionText]) => Option.match(optionText, { onNone: () => [], onSome: (text) => [option, text] }))

/** Adds options to the commands of a mend that they need to work, such as `--config`. */
export const withPlace = (mend: Capture.Mend, words: ReadonlyArray<string>): Capture.Mend => {
  const placed = ([command, ...commandArguments]: Capture.Argv): Capture.Argv => [
    command,
    ...commandArguments,
    ...words
  ]
  const maybePlaced = (argv: Capture.Argv | null) => (argv === null ? null : placed(argv))
  switch (mend._tag) {
    case "command":
      return { ...mend, argv: placed(mend.argv) }
    case "sql":
      return { ...mend, then: maybePlaced(mend.then) }
    case "host":
      return { ...mend, then: maybePlaced(mend.then), or: maybePlaced(mend.or) }
  }
}
