import { expect, it } from "@effect/vitest"
import * as Suggestion from "../../../src/Suggestion.js"

it("a suggestion is the nearest word if at most a third of the letters are wrong", () => {
  for (const [word, candidates, meant] of [
    ["limt", ["table", "limit"], "limit"],
    ["idd", ["id", "iddd"], "id"],
    ["usr", ["user", "job"], "user"],
    ["x", ["y"], "y"],
    ["timeline", ["transactions"], undefined],
    ["total", ["paid_by"], undefined],
    ["billing_adress_lne", ["billing_address_line"], "billing_address_line"],
    ["anything", [], undefined]
  ] as const) {
    expect([word, Suggestion.nearest(word, candidates)]).toEqual([word, meant])
  }
})

it("letters that changed places are one mistake, also beside another one", () => {
  expect(Suggestion.nearest("nwo", ["beginning", "now"])).toBe("now")
  expect(Suggestion.nearest("tiemlne", ["timeline"])).toBe("timeline")
  expect(Suggestion.nearest("cba", ["abc"])).toBeUndefined()
})

it("a name in other capitals is suggested", () => {
  expect(Suggestion.nearest("PASSWORD", ["passwords", "Password"])).toBe("Password")
})

it("a long schema does not make a short name of a table likelier", () => {
  expect(Suggestion.nearest("accounting.bils", ["accounting.bills"])).toBe("accounting.bills")
  expect(Suggestion.nearest("accounting.abcd", ["accounting.wxyz"])).toBeUndefined()
})

it("a sentence without a suggestion stays as it is", () => {
  expect(Suggestion.withSuggestion("there is no table bils", "bills")).toBe(
    "there is no table bils; did you mean bills?"
  )
  expect(Suggestion.withSuggestion("there is no table bils", undefined)).toBe("there is no table bils")
})
