import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Query from "../src/Query.js"
import { at, layer, reset, write } from "./querySupport.js"

const ids = (items: ReadonlyArray<Query.Change>) => items.map((change) => change.id)

describe("Query", () => {
  it.layer(layer)("reads", (it) => {
    it.effect("of one small log agree with each other", () =>
      Effect.gen(function* () {
        yield* reset
        yield* write({
          transactions: [
            { id: "1", occurredAt: at(0), actor: { type: "user", id: "42" } },
            { id: "2", occurredAt: at(10), actor: null }
          ],
          actions: [{ id: "1", transactionId: "1", name: "x", correlationId: "c" }],
          changes: [
            { id: "1", transactionId: "1", at: at(0), op: "insert", key: "1", after: { id: 1, t: "a" } },
            {
              id: "2",
              transactionId: "2",
              at: at(10),
              op: "update",
              key: "1",
              fields: ["t"],
              from: { t: "a" },
              after: { id: 1, t: "b" }
            },
            { id: "3", transactionId: "1", at: at(15), op: "insert", key: "2", after: { id: 2, t: "a" } },
            { id: "4", transactionId: "2", at: at(20), op: "truncate", key: null }
          ]
        })
        expect(ids((yield* Query.timeline()).items)).toEqual(["4", "2", "3", "1"])
        expect(ids((yield* Query.timeline({ order: "oldest" })).items)).toEqual(["1", "3", "2", "4"])
        expect(ids((yield* Query.timeline({ actor: { type: "user" } })).items)).toEqual(["3", "1"])
        expect(ids((yield* Query.timeline({ correlationId: "c" })).items)).toEqual(["3", "1"])
        expect(
          ids(
            (yield* Query.timeline({ correlationId: "c", includeCaptureOnly: true, table: "posts", order: "oldest" }))
              .items
          )
        ).toEqual(["1", "3"])
        expect(ids((yield* Query.timeline({ table: "posts", key: 1 })).items)).toEqual(["2", "1"])
        expect(ids((yield* Query.timeline({ table: "posts", key: 1, unattributed: true })).items)).toEqual(["2"])
        expect(ids((yield* Query.timeline({ from: at(10), to: at(15) })).items)).toEqual(["2", "3"])
        expect(
          ids((yield* Query.timeline({ from: at(11), to: at(15), actor: { type: "user", id: "42" } })).items)
        ).toEqual(["3"])
        expect(ids((yield* Query.history("posts", 1)).items)).toEqual(["4", "2", "1"])
        expect(ids((yield* Query.history("posts", 1, { order: "oldest", limit: 2 })).items)).toEqual(["1", "2"])
        expect(yield* Query.asOf("posts", "1", at(9))).toEqual({ _tag: "Present", row: { id: 1, t: "a" }, at: at(9) })
        expect(yield* Query.asOf("posts", "1", at(20))).toEqual({ _tag: "Deleted", at: at(20) })
        expect((yield* Query.diff("2")).fields).toEqual([{ field: "t", before: "a", after: "b" }])
        const incident = yield* Query.incident("1")
        expect(incident.changes.items.map((d) => d.change.id)).toEqual(["1", "3"])
      })
    )
  })
})
