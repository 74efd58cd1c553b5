/** What is wrong whatever the database holds is said to be wrong by every command, also if there is no database to ask. */
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { common } from "../../cli/options.js"
import { leaves } from "../../cli/tree.js"
import * as Cli from "../support/cli.js"

Cli.setup()

/** Values that no option and no argument of that kind can have. Kinds that take any string are left out. */
const impossible: Readonly<Record<string, string>> = {
  COLUMN: "",
  CRON: "never",
  CURSOR: "nope",
  DATE: "soon",
  ID: "",
  INSTANT: "soon",
  JSON: "{",
  MILLISECONDS: "soon",
  NAME: "",
  NUMBER: "many",
  OPERATION: "merge",
  PATH: "../x",
  PORT: "many",
  REF: "",
  ROLE: "r".repeat(64),
  ROWS: "few",
  STATE: "nope",
  SUBJECT: "nope",
  TABLE: "a.b.c",
  TIME: "long",
  TYPE: "robot",
  "TYPE:ID": "robot:1",
  "TYPE[:ID]": "robot",
  ZONE: "Moon/Base"
}

/** What a command needs before it looks at anything else. */
const needed: Readonly<Record<string, ReadonlyArray<string>>> = {
  "retention purge": ["--yes"],
  "evidence record": ["--ref=r", "--derive"]
}

/** The place that a cursor names is in the filter of the view, which is in the database. */
const excepted = new Set(["views run n --cursor=nope"])

const cases = leaves.flatMap((leaf) => {
  const name = leaf.path.join(" ")
  const words = leaf.arguments.map((argument) => Cli.argumentOf(argument.name))
  const base = [...leaf.path, ...words]
  const options = leaf.options.flatMap((option) => {
    const value = option.words.length > 0 ? "nope" : impossible[option.placeholder ?? ""]
    return option.name in common || value === undefined ? [] : [`--${option.name}=${value}`]
  })
  const wrongWords = leaf.arguments.flatMap((argument, place) => {
    const value = argument.words.length > 0 ? "nope" : impossible[argument.name]
    return value === undefined ? [] : [words.map((word, each) => (each === place ? value : word))]
  })
  return [
    ...options.map((option) => [
      ...base,
      ...(needed[name] ?? []).filter((given) => given.split("=")[0] !== option.split("=")[0]),
      option
    ]),
    ...wrongWords.map((wrong) => [...leaf.path, ...wrong, ...(needed[name] ?? [])])
  ]
})

describe("wrong input to any command", () => {
  it.effect("is refused with code 2 without a database", () =>
    Effect.gen(function* () {
      const outcomes: Array<readonly [string, Cli.Outcome]> = []
      yield* Cli.checkEach(
        cases.filter((words) => !excepted.has(words.join(" "))),
        (words) =>
          Effect.map(Cli.run(words, { url: "postgres://nobody@127.0.0.1:1/nothing" }), (outcome) =>
            outcomes.push([words.join(" "), outcome])
          )
      )
      expect(outcomes.length).toBeGreaterThan(300)
      expect(outcomes.filter(([, { code, stderr, stdout }]) => code !== 2 || stdout !== "" || stderr === "")).toEqual(
        []
      )
      for (const name of ["n".repeat(64), "pg_audit"]) {
        expect(yield* Cli.run(["health", "--schema", name], { url: "postgres://nobody@127.0.0.1:1/nothing" })).toEqual(
          Cli.refusal(2, /--schema: /)
        )
      }
    })
  )
})
