import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import { readdirSync, readFileSync } from "node:fs"
import { nowhere } from "../../../cli/database.js"
import * as Capture from "../../../src/Capture.js"
import { measured, nameOf, operations, outcomes } from "../../../src/internal/core/telemetry.js"
import * as queryService from "../../../src/internal/query/service.js"
import * as storages from "../../../src/internal/record/storage.js"

const names = Object.entries(operations).flatMap(([service, list]) =>
  list.map((operation) => nameOf(service as keyof typeof operations, operation))
)

const document = readFileSync("docs/telemetry.md", "utf8")

/** The names in backticks in the first column of the tables of the document. */
const documented = [...document.matchAll(/^\| `(threadline\.[A-Za-z.]+)`/gm)].map(([, name]) => name)

describe("docs/telemetry.md", () => {
  it("has every span, metric and attribute of the code, and no other", () => {
    const metrics = ["threadline.operations", "threadline.operation.duration"]
    const attributes = ["threadline.mode", "threadline.operation", "threadline.outcome"]
    expect([...documented].sort()).toEqual([...names, ...metrics, ...attributes].sort())
    for (const outcome of outcomes) {
      expect(document).toContain(`\`${outcome}\``)
    }
  })

  // A span of `core/telemetry` has a name of the table, and leaves values out of its failures. One of Effect's own does neither.
  it("has every span, because no other file of the source makes one", () => {
    const sources = readdirSync("src", { recursive: true, encoding: "utf8" }).filter(
      (file) => /\.tsx?$/.test(file) && !file.endsWith("schema/files.ts") && !file.endsWith("core/telemetry.ts")
    )
    expect(sources.length).toBeGreaterThan(100)
    const made = sources.flatMap((file) =>
      readFileSync(`src/${file}`, "utf8")
        .split("\n")
        .filter((line) => /\b(?:Effect|Stream|Layer|Channel)\.(?:fn\(|(?:with|use|make)Span|span)/.test(line))
        .map((line) => `${file}: ${line}`)
    )
    expect(made).toEqual([])
  })

  it.effect("has every member of the services that it names", () =>
    Effect.gen(function* () {
      const storage = yield* storages.make
      const members = (service: object) => Object.keys(service).filter((name) => name !== "scoped")
      expect(members(queryService.make(storage, { scopes: [], scopeRequired: false })).sort()).toEqual(
        [...operations.query].sort()
      )
      expect(members(yield* Capture.Capture).sort()).toEqual([...operations.capture].sort())
    }).pipe(Effect.provide(Layer.provideMerge(Capture.layer, nowhere)))
  )
})

describe("an operation", () => {
  it.effect("is counted by its outcome, and timed", () =>
    Effect.gen(function* () {
      const name = "threadline.test.operation"
      const run = <E>(effect: Effect.Effect<unknown, E>) => Effect.exit(measured(name)(effect))
      yield* run(Effect.void)
      yield* run(Effect.void)
      yield* run(Effect.fail("secret"))
      yield* run(Effect.die("secret"))
      yield* run(Effect.interrupt)
      const counted = (outcome: string) =>
        Metric.value(
          Metric.counter("threadline.operations", {
            description: "Operations of Threadline that have ended, by operation and outcome",
            incremental: true
          }).pipe(Metric.tagged("threadline.operation", name), Metric.tagged("threadline.outcome", outcome))
        )
      const counts = yield* Effect.forEach(outcomes, (outcome) => Effect.map(counted(outcome), ({ count }) => count))
      expect(counts).toEqual([2, 1, 1, 1])
      const shown = JSON.stringify(yield* Metric.snapshot)
      expect(shown).toContain("threadline.operation.duration")
      expect(shown).not.toContain("secret")
    })
  )
})
