/** Values that are not UTF-8, in a database without an encoding: every read answers, and says what is damaged. */
import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Capture from "../../src/Capture.js"
import * as Feed from "../../src/Feed.js"
import * as Json from "../../src/Json.js"
import * as Query from "../../src/Query.js"
import { sessionOf } from "../support/adversarial.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import { layerIn } from "../support/otherEncoding.js"

const database = Layer.mergeAll(Query.layer, Feed.layer, Capture.layer).pipe(Layer.provideMerge(layerIn("SQL_ASCII")))

const cafe = "[not UTF-8: 636166e9]"
const naive = "[not UTF-8: 6e61ef766522]"

layer(database, { excludeTestServices: true, timeout: 300_000 })("a value that is not UTF-8", (it) => {
  it.scoped("costs that value alone in every read", () =>
    Effect.gen(function* () {
      const { rawClient } = yield* TestDatabase.TestDatabase
      const db = sessionOf(yield* rawClient())
      yield* db.run(
        "create table notes (id int primary key, body text, tags text[], doc jsonb)",
        "create table names (name text primary key, n int)",
        "create table pairs (a text, b text, n int, primary key (a, b))"
      )
      yield* Effect.flatMap(Capture.Capture, (capture) =>
        capture.apply([{ table: "notes" }, { table: "names" }, { table: "pairs" }])
      )
      yield* db.run(
        String.raw`insert into notes values (1, E'caf\xe9', array['ü', E'na\xefve"'], '{"a": 12345678901234567890.10}')`,
        "update notes set body = 'café' where id = 1",
        String.raw`update notes set body = E'caf\xe9' where id = 1`,
        String.raw`update notes set body = E'caf\xea' where id = 1`,
        String.raw`insert into names values ('a', 1), (E'caf\xe9', 2), (E'caf\xe9\xe9', 3), (E'caf\xff', 4), ('z', 5)`,
        String.raw`insert into pairs values ('a', E'caf\xe9', 1), (E'na\xefve"', 'b', 2), ('ü', 'c', 3)`,
        "insert into notes values (2, 'behind', null, null)",
        `insert into notes values (3, '${cafe}', null, null)`
      )
      const everything = yield* Query.timeline({ order: "oldest" })
      expect(everything.items).toHaveLength(14)

      const { items } = yield* Query.history("notes", 1, { order: "oldest" })
      expect(items.map(({ changedFrom, dataAfter }) => [changedFrom?.["body"], dataAfter?.["body"]])).toEqual([
        [undefined, cafe],
        [cafe, "café"],
        ["café", cafe],
        [cafe, "[not UTF-8: 636166ea]"]
      ])
      expect(items[0]?.dataAfter?.["tags"]).toEqual(["ü", naive])
      expect(Json.stringify(items[0]?.dataAfter?.["doc"] ?? null)).toBe('{"a":12345678901234567890.10}')
      expect(items.map((change) => Query.fieldDiffs(change).map(({ field }) => field)).slice(1)).toEqual([
        ["body"],
        ["body"],
        ["body"]
      ])

      const whole = yield* Query.asOfRows("names", new Date())
      expect(whole.items.map(({ row, rowKey }) => [rowKey, row["n"]])).toEqual([
        ["a", 1],
        [cafe, 2],
        ["[not UTF-8: 636166e9e9]", 3],
        ["[not UTF-8: 636166ff]", 4],
        ["z", 5]
      ])
      const at = new Date()
      const paged: Array<Query.RowAsOf> = []
      for (let cursor: string | undefined, goesOn = true; goesOn;) {
        const page = yield* Query.asOfRows("names", at, { limit: 1, cursor })
        paged.push(...page.items)
        cursor = Option.getOrUndefined(page.nextCursor)
        goesOn = page.hasMore
      }
      expect(paged).toEqual(whole.items)
      expect(yield* Query.asOf("names", cafe, new Date())).toMatchObject({ _tag: "Present", row: { name: cafe, n: 2 } })
      expect((yield* Query.history("names", cafe)).items).toHaveLength(1)
      expect((yield* Query.timeline({ table: "names", key: cafe })).items).toHaveLength(1)

      const pairs = yield* Query.asOfRows("pairs", new Date())
      expect(pairs.items.map(({ row }) => [row["a"], row["b"]]).sort()).toEqual(
        [
          ["a", cafe],
          [naive, "b"],
          ["ü", "c"]
        ].sort()
      )
      expect(yield* Query.asOf("pairs", { a: naive, b: "b" }, new Date())).toMatchObject({ row: { n: 2 } })

      // A string that only looks so is what it is.
      expect((yield* Query.history("notes", 3)).items[0]?.dataAfter?.["body"]).toBe(cafe)

      const [first] = items
      expect(first).toBeDefined()
      const incident = yield* Query.incident(first?.transactionId ?? "")
      expect(incident.changes.items.map(({ change }) => change.dataAfter?.["body"])).toEqual([cafe])
      expect(yield* Query.diff(first?.id ?? "")).toMatchObject({ change: { dataAfter: { body: cafe } } })

      const read = yield* Feed.read({ limit: 3 })
      expect(read.changes).toHaveLength(3)
      const delivered: Array<string> = []
      yield* Feed.consume(
        "mirror",
        ({ changes }) => Effect.sync(() => delivered.push(...changes.map(({ id }) => id))),
        { limit: 4 }
      )
      expect(delivered).toEqual(everything.items.map(({ id }) => id))
    })
  )
})

const latin = Layer.mergeAll(Query.layer, Feed.layer, Capture.layer).pipe(Layer.provideMerge(layerIn("LATIN1")))

layer(latin, { excludeTestServices: true, timeout: 300_000 })("a character that the encoding lacks", (it) => {
  it.effect("is named as the cause where a reader asks for it", () =>
    Effect.gen(function* () {
      const filter = { source: "\u0416" }
      expect((yield* Query.timeline({ source: "\u00e9" })).items).toEqual([])
      const failed = yield* Effect.flip(Query.timeline(filter))
      expect(failed).toMatchObject({ reason: "Failed", sqlState: "22P05" })
      expect(failed.message).toContain("a character that the encoding of the database does not have")
      const scoped = yield* Effect.flip(
        Query.withScope(Query.timeline(), (_, { actorId, sql }) => sql`${actorId} = ${"\u0416"}`)
      )
      expect(scoped).toMatchObject({ field: "scope" })
      expect(scoped.message).toContain("a character that the encoding of the database does not have")
    })
  )
})
