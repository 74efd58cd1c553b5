import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as fc from "effect/FastCheck"
import * as Option from "effect/Option"
import { execFileSync } from "node:child_process"
import { changeFilterOf } from "../../../cli/filter.js"
import { read } from "../../../cli/parser/read.js"
import { leaves } from "../../../cli/tree.js"
import { commandOf, type Question, wordsOf } from "../../../src/internal/operator/commandLine.js"
import * as Query from "../../../src/Query.js"
import { filters } from "../../support/operatorFilters.js"
import { runs } from "../../support/runs.js"

/** The options that the command line reads, by their names as properties. */
const optionsOf = (words: ReadonlyArray<string>) => {
  const invocation = Either.getOrThrowWith(read(words, leaves), (sentence) => new Error(sentence))
  if (invocation._tag !== "Run") {
    throw new Error("this is no command")
  }
  const given = new Map<string, Array<string>>()
  const { args } = invocation
  const end = args.indexOf("--")
  const options = end === -1 ? args : args.slice(0, end)
  for (let at = 0; at < options.length; at++) {
    const word = options[at] ?? ""
    if (word.startsWith("--")) {
      const equals = word.indexOf("=")
      const name = word.slice(2, equals === -1 ? undefined : equals)
      const isFlag = name === "unattributed" || name === "include-capture-only"
      const value = isFlag ? "true" : equals === -1 ? (options[++at] ?? "") : word.slice(equals + 1)
      given.set(name, [...(given.get(name) ?? []), value])
    }
  }
  return { given, words: end === -1 ? [] : args.slice(end + 1) }
}

const filterOf = (words: ReadonlyArray<string>): Query.Filter => {
  const { given } = optionsOf(words)
  const firstOption = (name: string) => Option.fromNullable(given.get(name)?.[0])
  const allOptions = (name: string) => given.get(name) ?? []
  const input = Effect.runSync(
    changeFilterOf({
      table: allOptions("table"),
      tableSchema: firstOption("table-schema"),
      key: firstOption("key"),
      // oxlint-disable-next-line typescript/no-explicit-any
      op: allOptions("op") as any,
      contains: firstOption("contains"),
      changedField: allOptions("changed-field"),
      actor: firstOption("actor"),
      impersonator: firstOption("impersonator"),
      actorLabel: firstOption("actor-label"),
      unattributed: given.has("unattributed"),
      action: allOptions("action"),
      // oxlint-disable-next-line typescript/no-explicit-any
      actionStatus: firstOption("action-status") as any,
      correlationId: firstOption("correlation-id"),
      requestId: firstOption("request-id"),
      jobId: firstOption("job-id"),
      traceId: firstOption("trace-id"),
      transactionId: firstOption("transaction-id"),
      includeCaptureOnly: given.has("include-capture-only"),
      source: firstOption("source"),
      meta: firstOption("meta"),
      dbUser: firstOption("db-user"),
      from: firstOption("from"),
      to: firstOption("to"),
      on: Option.none(),
      since: Option.none(),
      tz: Option.none()
    })
  )
  return Either.getOrThrow(
    Query.filterFromInput({ ...input, order: given.get("order")?.[0] === "oldest" ? "oldest" : "newest" })
  )
}

/** The words of a line, as a shell reads them. */
const asShell = (line: string): ReadonlyArray<string> =>
  execFileSync("bash", ["-c", `printf '%s\\0' ${line}`], { encoding: "utf8" })
    .split("\0")
    .slice(0, -1)

describe("the command of a page", () => {
  it("asks with the same filter", () => {
    fc.assert(
      fc.property(filters, (filter) => {
        const written = wordsOf({ _tag: "Timeline", filter })
        expect(Query.filterToUrl(filterOf(written))).toBe(Query.filterToUrl(filter))
      }),
      { numRuns: runs(60) }
    )
  })

  const cases: ReadonlyArray<Question> = [
    { _tag: "AsOf", table: "posts", key: "-5", at: "2026-11-22T10:00:00.000000Z" },
    {
      _tag: "AsOf",
      table: '"Odd.Schema"."T"',
      key: `it's "quoted" $HOME \\ \u202e\n!`,
      at: "2026-11-22T10:00:00.000000Z"
    },
    { _tag: "History", table: "members", key: '["acme","2041"]' },
    { _tag: "Transaction", id: "88214" },
    { _tag: "Correlation", id: "--json" },
    { _tag: "Request", id: "`rm -rf /`" },
    { _tag: "Actor", type: "user", id: "-1", from: "2026-11-22T10:00:00.000000Z", to: undefined }
  ]
  for (const question of cases) {
    it(`survives a shell: ${commandOf(question)}`, () => {
      const [program, ...words] = asShell(commandOf(question))
      expect(program).toBe("threadline")
      expect(words).toStrictEqual(wordsOf(question))
      const { words: read } = optionsOf(words)
      const own = Object.entries(question).flatMap(([name, value]: [string, unknown]) =>
        ["_tag", "from", "to"].includes(name) || value === undefined ? [] : [value]
      )
      expect(read).toStrictEqual(own)
    })
  }
})
