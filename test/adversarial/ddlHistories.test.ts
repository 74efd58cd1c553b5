/** Random histories of DDL and DML: every answer is true at its instant, or says that nothing is known (A33). */
import * as PgClient from "@effect/sql-pg/PgClient"
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Redacted from "effect/Redacted"
import * as Migrations from "../../src/Migrations.js"
import { attacks, type Host } from "../support/adversarial.js"
import { harmlessHistories, histories, type History, shrunken } from "../support/ddlModel.js"
import { makeStage, type Report, runHistory } from "../support/ddlRun.js"
import { readers } from "../support/replay.js"
import { runs } from "../support/runs.js"

/** Another one with `THREADLINE_TEST_SEED`. */
const seed = Number(process.env["THREADLINE_TEST_SEED"] ?? 20_261_129)

/** What is wrong, without what is of this run alone. */
const kindOf = (line: string): string => line.replaceAll(/\{.*?\}|[0-9]+/g, "").slice(0, 40)

const told = (history: History, { log, wrong }: Report): string =>
  [`seed ${seed}`, JSON.stringify(history.tables), ...log, ...wrong.slice(0, 12)].join("\n")

/** Runs histories, and shows the first ones in which something is wrong, as small as they get. */
const tryAll = Effect.fnUntraced(function* (
  host: Host,
  sample: ReadonlyArray<History>,
  wrongOf: (report: Report) => ReadonlyArray<string>
) {
  const stage = yield* makeStage(host, yield* Effect.orDie(readers(host.database.url)))
  const failures: Array<string> = []
  let [asked, answered] = [0, 0]
  for (const history of sample) {
    const report = yield* runHistory(stage, history)
    asked += report.asked
    answered += report.answered
    if (wrongOf(report).length > 0 && failures.length < 3) {
      const kinds = new Set(wrongOf(report).map(kindOf))
      const again = (each: History) => Effect.map(runHistory(stage, each), wrongOf)
      const small = yield* shrunken(
        history,
        (each) => Effect.map(again(each), (wrong) => wrong.some((line) => kinds.has(kindOf(line)))),
        80
      )
      const shown = yield* runHistory(stage, small)
      failures.push(told(small, { ...shown, wrong: wrongOf(shown) }))
    }
  }
  expect(failures.join("\n\n")).toBe("")
  return answered / asked
})

attacks("random histories of DDL (A33)", (attack) => {
  attack(
    "are answered truly, or not at all",
    (host) =>
      Effect.gen(function* () {
        const sample = FastCheck.sample(histories, { numRuns: runs(8), seed })
        const share = yield* tryAll(host, sample, ({ wrong }) => wrong)
        // Answers that nothing is known prove nothing. How many there are depends on what the histories are made of.
        expect(share).toBeGreaterThan(0.2)
      }),
    600_000
  )

  attack(
    "without DDL that makes a lapse are always answered",
    (host) =>
      Effect.gen(function* () {
        const sample = FastCheck.sample(harmlessHistories, { numRuns: runs(5), seed }).map((history): History => ({
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

attacks("random histories of DDL under the schema watch (A33)", (attack) => {
  attack(
    "are answered truly, or not at all",
    (host) =>
      Effect.gen(function* () {
        yield* Migrations.run({ watchSchema: true }).pipe(
          Effect.provide(PgClient.layer({ url: Redacted.make(host.database.url), maxConnections: 1 })),
          Effect.orDie
        )
        const sample = FastCheck.sample(histories, { numRuns: runs(5), seed })
        const share = yield* tryAll(host, sample, ({ wrong }) => wrong)
        expect(share).toBeGreaterThan(0.3)
      }),
    600_000
  )
})
