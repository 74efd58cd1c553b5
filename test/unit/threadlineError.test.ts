import { expect, it } from "@effect/vitest"
import { InvalidRequest } from "../../src/ThreadlineError.js"

it("A rule names other fields as the reader of it calls them", () => {
  const refused = InvalidRequest.of("to", "must not be before ", { field: "from" })
  expect(refused.rule).toBe("must not be before from")
  expect(refused.message).toBe("to: must not be before from")
  expect(refused.ruleWith((field) => `--${field}`)).toBe("must not be before --from")
})

it("A rule that names no other field stays as it is", () => {
  const refused = new InvalidRequest({ field: "limit", rule: "must be a whole number from 1 to 1000" })
  expect(refused.ruleWith(() => "another")).toBe("must be a whole number from 1 to 1000")
})
