/** Random histories of DDL and DML: every answer is true at its instant, or says that nothing is known. */
import { appendFileSync } from "node:fs"
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import { attacks } from "../support/adversarial.js"
import { harmlessHistories, histories, type History, shrunken } from "../support/ddlModel.js"
import { makeStage, type Report, runHistory } from "../support/ddlRun.js"
import { readers } from "../support/replay.js"
import { runs } from "../support/runs.js"

const seed = Number(process.env["THREADLINE_TEST_SEED"] ?? 20_261_129)

const describe = (history: History, { log, wrong }: Report): string =>
  [`seed ${seed}`, JSON.stringify(history.tables), ...log, ...wrong.slice(0, 12)].join("\n")

attacks("random histories of DDL (A33)", (attack) => {
  attack(
    "are answered truly, or not at all",
    (host) =>
      Effect.gen(function* () {
        const stage = yield* makeStage(host, yield* Effect.orDie(readers(host.database.url)))
        const ran = new Map<string, number>()
        let [asked, answered] = [0, 0]
        const failures: Array<string> = []
        for (const history of FastCheck.sample(histories, { numRuns: runs(12), seed })) {
          const report = yield* runHistory(stage, history)
          asked += report.asked
          answered += report.answered
          report.ran.forEach((count, kind) => ran.set(kind, (ran.get(kind) ?? 0) + count))
          if (report.wrong.length > 0) {
            const kind = (line: string) => line.replaceAll(/[0-9]+|\{.*?\}/g, "#").slice(0, 40)
            const kinds = new Set(report.wrong.map(kind))
            const small = yield* shrunken(history, (each) => Effect.map(runHistory(stage, each), ({ wrong }) => wrong.some((line) => kinds.has(kind(line)))), 60)
            failures.push(describe(small, yield* runHistory(stage, small)))
            if (process.env["DDL_STATS"] !== undefined) {
              appendFileSync(process.env["DDL_STATS"], failures.at(-1) + "\n\n\n")
            }
          }
        }
        if (process.env["DDL_STATS"] !== undefined) {
          console.log(asked, answered, failures.length, JSON.stringify(Object.fromEntries([...ran].sort())))
        }
        expect(failures.slice(0, 3).join("\n\n")).toBe("")
        expect(answered / asked).toBeGreaterThan(0.3)
      }),
    600_000
  )

  attack(
    "without DDL that makes a lapse are answered always",
    (host) =>
      Effect.gen(function* () {
        const stage = yield* makeStage(host, yield* Effect.orDie(readers(host.database.url)))
        const failures: Array<string> = []
        for (const history of FastCheck.sample(harmlessHistories, { numRuns: runs(8), seed })) {
          const report = yield* runHistory(stage, { ...history, applied: true })
          if (report.wrong.length + report.unknown.length > 0) {
            failures.push(describe(history, { ...report, wrong: [...report.wrong, ...report.unknown] }))
            if (process.env["DDL_STATS"] !== undefined) {
              appendFileSync(process.env["DDL_STATS"], "HARMLESS " + failures.at(-1) + "\n\n\n")
            }
          }
        }
        if (process.env["DDL_STATS"] !== undefined) {
          console.log(failures.length)
        }
        expect(failures.slice(0, 3).join("\n\n")).toBe("")
      }),
    600_000
  )
})
