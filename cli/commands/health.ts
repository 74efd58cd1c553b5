import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Capture from "../../src/Capture.js"
import * as Health from "../../src/Health.js"
import * as TableName from "../../src/TableName.js"
import { InvalidRequest } from "../../src/ThreadlineError.js"
import type { Configuration } from "../config.js"
import { configuration, captureClient, inputFirst, withSchema } from "../database.js"
import { placeWords, withPlace } from "../describeCapture.js"
import { coverageText, policiesText, reportText } from "../describeHealth.js"
import { AnsweredNo } from "../exit.js"
import { type Common, common, flag, valuesOr } from "../options.js"
import { answer } from "../output.js"
import { leaf } from "../parser/declare.js"

const inDatabase = <A, E>(options: Common, configured: Configuration, call: Effect.Effect<A, E, Health.Health>) =>
  inputFirst(Effect.provide(call, Health.layer), captureClient(options)).pipe(withSchema(options, configured))

/** Findings whose commands repeat which configuration and schema they are about. */
const placed = (options: Common, finding: Health.Finding): Health.Finding => {
  if (finding.mend === null) {
    return finding
  }
  const mend = withPlace(finding.mend, placeWords(options))
  return { ...finding, mend, fix: Capture.describeMend(mend) }
}

const encodeReport = Schema.encodeSync(Health.Report)

export const health = leaf(
  "health",
  {
    ...common,
    canary: flag(
      "canary",
      "Also change a row of each captured table and roll that back, to prove that it is recorded."
    ),
    strict: flag("strict", "Fail (exit code 1) if a finding is an error, or if something could not be looked at.")
  },
  (options) =>
    Effect.gen(function* () {
      const configured = yield* configuration(options)
      const seen = yield* inDatabase(
        options,
        configured,
        Health.report({ tables: configured.tables, ...configured.health })
      )
      const proved = options.canary ? Health.canaryFindings(yield* inDatabase(options, configured, Health.canary)) : []
      const report = { ...seen, findings: [...proved, ...seen.findings].map((finding) => placed(options, finding)) }
      yield* answer(
        options,
        () => encodeReport(report),
        (width) => reportText(report, width)
      )
      // A check does not pass on what it cannot see.
      if (options.strict && report.findings.some(({ code, severity }) => severity === "error" || code === "Unknown")) {
        return yield* new AnsweredNo()
      }
    })
)

/** The tables of the configuration, as `--expect` without a table asks for them. */
const ofConfiguration = "*"

const expectedOf = Effect.fnUntraced(function* (texts: ReadonlyArray<string>, { health: { expected } }: Configuration) {
  if (texts.length === 0) {
    return expected
  }
  if (texts.includes(ofConfiguration) && (expected ?? []).length === 0) {
    return yield* new InvalidRequest({ field: "expected", rule: "the configuration expects no table: name one" })
  }
  const named = texts.flatMap((text) => (text === ofConfiguration ? (expected ?? []) : [text]))
  return yield* Effect.forEach(named, (text) => Effect.map(TableName.parse(text, "--expect"), TableName.format))
})

const encodeCoverage = Schema.encodeSync(Schema.Struct({ tables: Schema.Array(Health.Coverage) }))

export const coverage = leaf(
  "coverage",
  {
    ...common,
    expect: valuesOr(
      "expect",
      ofConfiguration,
      "TABLE",
      "A table that must be captured; without a table, those that the configuration expects."
    ),
    all: flag("all", "Also fail on tables that nobody configured.")
  },
  (options) =>
    Effect.gen(function* () {
      const configured = yield* configuration(options)
      const expected = yield* expectedOf(options.expect, configured)
      const tables = yield* inDatabase(
        options,
        configured,
        Health.coverage({ tables: configured.tables, ...configured.health, expected, all: options.all })
      )
      yield* answer(
        options,
        () => encodeCoverage({ tables }),
        (width) => (tables.length === 0 ? "No table is captured, configured or expected." : coverageText(tables, width))
      )
      if (tables.some(({ refused }) => refused !== null)) {
        return yield* new AnsweredNo()
      }
    })
)

const encodePolicies = Schema.encodeSync(Schema.Struct({ tables: Schema.Array(Health.PolicyComparison) }))

export const policyShow = leaf("policy show", common, (options) =>
  Effect.gen(function* () {
    const configured = yield* configuration(options)
    const compared = yield* inDatabase(
      options,
      configured,
      Health.policies({ tables: configured.tables, ...configured.health })
    )
    const tables = compared.map((comparison) => ({
      ...comparison,
      findings: comparison.findings.map((finding) => placed(options, finding))
    }))
    yield* answer(
      options,
      () => encodePolicies({ tables }),
      (width) => (tables.length === 0 ? "No table is captured or configured." : policiesText(tables, width))
    )
    if (tables.some(({ drift }) => drift)) {
      return yield* new AnsweredNo()
    }
  })
)
