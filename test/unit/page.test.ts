import { describe, expect, it } from "@effect/vitest"
import * as Option from "effect/Option"
import * as Json from "../../src/Json.js"
import * as Page from "../../src/Page.js"

describe("A page", () => {
  it("is one JSON document", () => {
    const cursor = Page.Cursor.make("bmV4dA")
    const page = Page.make([1, 2], Option.some(cursor))
    expect(Json.stringify(page)).toBe(`{"items":[1,2],"nextCursor":"${cursor}","hasMore":true}`)
    const last = Page.map({ ...page, nextCursor: Option.none(), hasMore: false }, (item) => item * 2)
    expect(Json.stringify(last)).toBe('{"items":[2,4],"nextCursor":null,"hasMore":false}')
  })
})
