import { describe, expect, it } from "@effect/vitest"
import * as fc from "effect/FastCheck"
import * as address from "../../../src/internal/operator/address.js"
import { runs } from "../../support/runs.js"

const to = address.make("/audit")

/** What a browser sends for a link, read again. */
const routeOf = (link: string): address.Route | address.NoRoute => {
  const url = new URL(link, "http://host.test")
  return address.read(url.pathname.slice("/audit".length), url.searchParams)
}

const hostile = [
  "..",
  ".",
  "a/b",
  "../../etc",
  "%2e%2e",
  "a b",
  "ü/☃",
  '["acme","2041"]',
  '{"a":"1"}',
  "?x=1",
  "#x",
  "\\",
  "'\"<>&",
  "a+b",
  " lead"
]

describe("addresses", () => {
  for (const key of hostile) {
    it(`of a row keep the key ${key}`, () => {
      expect(routeOf(to.row('"Odd.Schema"."T/x"', key))).toStrictEqual({
        _tag: "Row",
        table: '"Odd.Schema"."T/x"',
        key
      })
      expect(routeOf(to.row("public.posts", key))).toStrictEqual({ _tag: "Row", table: "public.posts", key })
    })
  }

  it("keep every id of a correlation, a request and an actor through a browser", () => {
    fc.assert(
      fc.property(
        fc.string({ minLength: 1, unit: "grapheme" }).filter((text) => !/\p{Cc}/u.test(text)),
        (id) => {
          expect(routeOf(to.correlation(id))).toStrictEqual({ _tag: "Correlation", id })
          expect(routeOf(to.request(id))).toStrictEqual({ _tag: "Request", id })
          expect(routeOf(to.actor("user", id))).toStrictEqual({ _tag: "Actor", type: "user", id })
          expect(routeOf(to.row("public.posts", id))).toStrictEqual({ _tag: "Row", table: "public.posts", key: id })
        }
      ),
      { numRuns: runs(100) }
    )
  })

  it("that are cut off or broken name no page", () => {
    const read = (path: string) => address.read(path, new URLSearchParams())
    expect(read("/rows/posts/%ff")).toBe("malformed")
    expect(read("/rows//1")).toBe("malformed")
    expect(read("/rows/posts/a%00b")).toBe("malformed")
    expect(read("/rows")).toBe("malformed")
    expect(read("/rows/posts")).toBe("unknown")
    expect(read("/transactions/1/2/3/4")).toBe("unknown")
    expect(read("/etc/passwd")).toBe("unknown")
    expect(read("/exports/changes.exe")).toBe("unknown")
    expect(read("/timeline/")).toStrictEqual({ _tag: "Timeline" })
  })

  it("carry the zone of the viewer everywhere", () => {
    const zoned = address.make("/audit", { tz: "Europe/Berlin" })
    for (const link of [zoned.home(), zoned.timeline(), zoned.row("public.posts", ".."), zoned.transaction("1")]) {
      expect(new URL(link, "http://host.test").searchParams.get("tz")).toBe("Europe/Berlin")
    }
  })

  it("to come back to are those of the same mount alone", () => {
    for (const target of ["/audit", "/audit/timeline?x=1"]) {
      expect(address.isOwn("/audit", target)).toBe(true)
    }
    for (const target of [
      "//evil.test/audit",
      "https://evil.test/audit",
      "/auditor",
      "/audit/../admin",
      "/\\evil.test",
      "/audit\r\nset-cookie: x=1",
      "javascript:alert(1)",
      ""
    ]) {
      expect(address.isOwn("/audit", target)).toBe(false)
    }
  })

  it("of the host are paths and web addresses alone", () => {
    expect(address.hostLink("/admin/1")).toBe("/admin/1")
    expect(address.hostLink("https://admin.test/1")).toBe("https://admin.test/1")
    for (const target of [
      "javascript:alert(1)",
      "data:text/html,x",
      "//evil.test",
      "/\\evil.test",
      " /x",
      "x\ny",
      7,
      null,
      undefined
    ]) {
      expect(address.hostLink(target)).toBeUndefined()
    }
  })
})
