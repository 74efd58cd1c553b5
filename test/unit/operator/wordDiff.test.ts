import { describe, expect, it } from "@effect/vitest"
import * as fc from "effect/FastCheck"
import { piecesOf, visible } from "../../../src/internal/operator/visible.js"
import { structuralDiff, wordDiff } from "../../../src/internal/operator/wordDiff.js"
import { dayOf, instantOfLocal, show, zoneOf } from "../../../src/internal/operator/zone.js"
import { runs } from "../../support/runs.js"

const sides = (before: string, after: string) => {
  const segments = wordDiff(before, after, 10_000)
  const side = (kind: "del" | "ins") =>
    segments
      .filter((segment) => segment.kind === "same" || segment.kind === kind)
      .map(({ text }) => text)
      .join("")
  return { segments, before: side("del"), after: side("ins") }
}

describe("a diff of words", () => {
  it("marks the words that differ", () => {
    expect(wordDiff("charged once for November", "charged twice for November", 100)).toStrictEqual([
      { kind: "same", text: "charged " },
      { kind: "del", text: "once" },
      { kind: "ins", text: "twice" },
      { kind: "same", text: " for November" }
    ])
  })

  it("has both texts in it, unless equal parts are folded", () => {
    const words = fc
      .array(fc.constantFrom("one", "two", "three", " ", "\n", ".", "é", "👩‍💻"), { maxLength: 24 })
      .map((all) => all.join(""))
    fc.assert(
      fc.property(words, words, (one, other) => {
        const { after, before, segments } = sides(one, other)
        if (segments.every(({ kind }) => kind !== "fold")) {
          expect(before).toBe(one)
          expect(after).toBe(other)
        }
      }),
      { numRuns: runs(200) }
    )
  })

  it("of a megabyte is short, and quick", () => {
    const text = "lorem ipsum dolor ".repeat(60_000)
    const segments = wordDiff(text, text.replace("ipsum", "XX") + "end", 200)
    expect(segments.reduce((sum, { text }) => sum + text.length, 0)).toBeLessThan(1500)
  })
})

describe("a diff of documents", () => {
  it("names the places that differ and counts the equal ones", () => {
    expect(
      structuralDiff({ a: { b: [1, 2, 3], c: 1 }, "odd key": 1 }, { a: { b: [1, 9, 3], c: 1 }, d: null, "odd key": 2 })
    ).toStrictEqual({
      places: [
        { path: "a.b[1]", before: 2, after: 9 },
        { path: '"odd key"', before: 1, after: 2 },
        { path: "d", after: null }
      ],
      equal: 3
    })
  })

  it("shows items put into a list as added", () => {
    expect(structuralDiff(["a", "c"], ["a", "b", "c"]).places).toStrictEqual([{ path: "[1]", after: "b" }])
  })
})

describe("what cannot be seen", () => {
  it("is shown by its code point", () => {
    expect(visible("a\u202Eb\u0000c")).toBe("a⟨U+202E⟩b⟨U+0000⟩c")
    expect(piecesOf("plain\ttext\n")).toStrictEqual([{ text: "plain\ttext\n", mark: false }])
    expect(visible("👩‍💻")).toBe("👩‍💻")
    expect(visible("a\u200Db")).toBe("a⟨U+200D⟩b")
  })
})

describe("times of a zone", () => {
  it("keep microseconds", () => {
    expect(show("2026-11-21T14:03:11.204118Z", "Europe/Berlin")).toStrictEqual({
      iso: "2026-11-21",
      date: "21 Nov 2026",
      time: "15:03:11",
      fraction: ".204118",
      offset: "UTC+01:00"
    })
  })

  it("know when a day begins and ends, also when clocks change", () => {
    expect(dayOf("2026-10-25", "Europe/Berlin")).toStrictEqual({
      from: "2026-10-24T22:00:00Z",
      to: "2026-10-25T22:59:59.999999Z"
    })
    expect(instantOfLocal("2026-07-01T12:00", "America/New_York")).toBe("2026-07-01T16:00:00Z")
    expect(dayOf("2026-13-45", "UTC")).toBeUndefined()
  })

  it("exist or are refused", () => {
    expect(zoneOf("Europe/Berlin")).toBe("Europe/Berlin")
    expect(zoneOf("Europe/Atlantis")).toBeUndefined()
    expect(zoneOf("<script>")).toBeUndefined()
  })
})
