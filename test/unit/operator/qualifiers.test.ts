import { describe, expect, it } from "@effect/vitest"
import * as Either from "effect/Either"
import * as fc from "effect/FastCheck"
import { make } from "../../../src/internal/operator/address.js"
import { read, tokensOf, write } from "../../../src/internal/operator/qualifiers.js"
import { meaningsOf } from "../../../src/internal/operator/searchBox.js"
import * as Query from "../../../src/Query.js"
import { filters } from "../../support/operatorFilters.js"
import { runs } from "../../support/runs.js"

const filterOf = (text: string, zone = "UTC") =>
  Either.map(read(tokensOf(text), zone), ({ filter }) => Query.filterToUrl(filter))

const to = make("/audit")

const namesOf = (text: string) => Either.getOrThrow(meaningsOf(text, "UTC")).map(({ name }) => name)

describe("qualifiers", () => {
  it("equal the filter of a form", () => {
    expect(filterOf("table:invoices op:delete actor:user:42 after:2026-11-01")).toStrictEqual(
      Either.right("table=public.invoices&op=delete&actor=user%3A42&from=2026-11-01T00%3A00%3A00.000000Z")
    )
    expect(filterOf('action:"post created" is:failed user:42 before:2026-11-01', "Europe/Berlin")).toStrictEqual(
      Either.right("actor=user%3A42&action=post+created&actionStatus=error&to=2026-11-01T22%3A59%3A59.999999Z")
    )
  })

  it("that are wrong name the word that is wrong", () => {
    expect(filterOf("op:drop")).toMatchObject({ left: { field: "op" } })
    expect(filterOf("table:invoices refunds")).toMatchObject({ left: { field: "refunds" } })
    expect(filterOf("changed:total op:insert")).toMatchObject({ left: { field: "changed" } })
    expect(filterOf("is:bogus")).toMatchObject({ left: { field: "is" } })
    expect(filterOf("key:1")).toMatchObject({ left: { field: "key" } })
  })

  it("of every filter read back as that filter", () => {
    fc.assert(
      fc.property(filters, (filter) => {
        expect(filterOf(write(filter))).toStrictEqual(Either.right(Query.filterToUrl(filter)))
      }),
      { numRuns: runs(100) }
    )
  })
})

describe("the search box", () => {
  it("understands what people have in hand, the likeliest first", () => {
    expect(namesOf("88214")[0]).toBe("transaction 88214")
    expect(namesOf("invoices 2041")[0]).toBe("row 2041 of public.invoices")
    expect(namesOf("invoices/2041")[0]).toBe("row 2041 of public.invoices")
    expect(namesOf('billing.members {"account":"acme","person":7}')[0]).toBe(
      'row {"account":"acme","person":7} of billing.members'
    )
    expect(namesOf("user:42")[0]).toBe("actor user 42")
    expect(namesOf("anonymous")[0]).toBe("every anonymous")
    expect(namesOf("2026-11-21")[0]).toBe("everything of 2026-11-21 (UTC)")
    expect(namesOf("req-9f2c")).toContain("correlation req-9f2c")
    expect(namesOf("invoice.refunded")).toContain("action invoice.refunded")
    expect(namesOf("")).toStrictEqual([])
  })

  it("leads every meaning to an address of its own mount", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 60 }), (text) => {
        const meanings = Either.getOrElse(meaningsOf(text, "Asia/Tokyo"), () => [])
        for (const { address } of meanings) {
          expect(address(to)).toMatch(/^\/audit\/[^/]/)
        }
      }),
      { numRuns: runs(200) }
    )
  })
})
