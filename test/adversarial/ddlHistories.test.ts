/** Random histories of DDL and DML: every answer is true at its instant, or says that nothing is known. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import { attacks, type Host, migrate } from "../support/adversarial.js"
import { harmlessHistories, histories, type History, shrunken } from "../support/ddlModel.js"
import { makeStage, type Report, runHistory } from "../support/ddlRun.js"
import { runs, seed } from "../support/runs.js"

/** What is wrong, without what is of this run alone. */
const kindOf = (line: string): string => line.replaceAll(/\{.*?\}|[0-9]+/g, "").slice(0, 40)

const historyText = (history: History, { log, wrong }: Pick<Report, "log" | "wrong">): string =>
  [`seed ${seed}`, JSON.stringify(history.tables), ...log, ...wrong.slice(0, 12)].join("\n")

/** How long a failure is made smaller. `THREADLINE_TEST_SHRINK` gives another number of seconds. */
const shrinking = Number(process.env["THREADLINE_TEST_SHRINK"] ?? 30) * 1000

/** Runs histories up to the first one in which something is wrong, says so at once, and shows it as small as it gets. */
const tryAll = Effect.fnUntraced(function* (
  host: Host,
  sample: ReadonlyArray<History>,
  wrongOf: (report: Report) => ReadonlyArray<string>
) {
  const stage = yield* makeStage(host, host.readers)
  let [asked, answered] = [0, 0]
  for (const [place, history] of sample.entries()) {
    const log: Array<string> = []
    const report = yield* runHistory(stage, history, log).pipe(
      Effect.timeoutOption("5 minutes"),
      // Somebody waits for a lock that this history holds.
      Effect.map(
        Option.getOrElse(() => expect.fail(`a history does not end:\n${historyText(history, { log, wrong: [] })}`))
      )
    )
    asked += report.asked
    answered += report.answered
    const wrong = wrongOf(report)
    if (wrong.length > 0) {
      process.stderr.write(
        `history ${place + 1} of ${sample.length} fails, here as it is:\n${historyText(history, { ...report, wrong })}\n\n`
      )
      const kinds = new Set(wrong.map(kindOf))
      const small = yield* shrunken(
        history,
        (each) =>
          Effect.map(runHistory(stage, each), (again) => wrongOf(again).some((line) => kinds.has(kindOf(line)))),
        80,
        shrinking
      )
      const shown = yield* runHistory(stage, small)
      expect(historyText(small, { ...shown, wrong: wrongOf(shown) })).toBe("")
    }
  }
  // Of some samples nothing can be known: their tables had rows before they were captured.
  return asked === 0 ? 1 : answered / asked
})

attacks("random histories of DDL", (attack) => {
  attack(
    "are answered truly, or not at all",
    (host) =>
      Effect.gen(function* () {
        const sample = FastCheck.sample(histories, { numRuns: runs(6), seed })
        const share = yield* tryAll(host, sample, ({ wrong }) => wrong)
        // Answers that nothing is known prove nothing. How many there are depends on what the histories are made of.
        expect(share).toBeGreaterThan(0.3)
      }),
    600_000
  )

  attack(
    "without DDL that makes a lapse are always answered",
    (host) =>
      Effect.gen(function* () {
        const sample = FastCheck.sample(harmlessHistories, { numRuns: runs(4), seed }).map((history): History => ({
          ...history,
          applied: true,
          filled: "captured"
        }))
        const share = yield* tryAll(host, sample, ({ unknown, wrong }) => [...wrong, ...unknown])
        expect(share).toBeGreaterThan(0.8)
      }),
    600_000
  )
})

attacks("random histories of DDL under the schema watch", (attack) => {
  attack(
    "are answered truly, or not at all",
    (host) =>
      Effect.gen(function* () {
        yield* migrate(host, { watchSchema: true })
        const sample = FastCheck.sample(histories, { numRuns: runs(4), seed })
        const share = yield* tryAll(host, sample, ({ wrong }) => wrong)
        expect(share).toBeGreaterThan(0.4)
      }),
    600_000
  )
})
