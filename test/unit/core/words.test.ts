import { describe, expect, it } from "@effect/vitest"
import { many, shortTable } from "../../../src/internal/core/words.js"

describe("Words", () => {
  it("agree with a count, and only one is one", () => {
    expect([0, 1, 2].map((count) => many(count, "change"))).toEqual(["0 changes", "1 change", "2 changes"])
    expect(many(2, "batch", "batches")).toBe("2 batches")
    expect(many(1, "change stays", "changes stay")).toBe("1 change stays")
  })

  it("name a table without the schema public, and with any other", () => {
    expect(["public.posts", "publics.posts", "billing.public", "posts"].map(shortTable)).toEqual([
      "posts",
      "publics.posts",
      "billing.public",
      "posts"
    ])
  })
})
