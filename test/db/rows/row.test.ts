import { describe, expect, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Json from "../../../src/Json.js"
import * as Query from "../../../src/Query.js"
import { change, insert, record, remove, type Rest, update } from "../../support/changes.js"
import { at, layer, reset, write } from "../../support/query.js"

const move = (second: number, previousKey: string, key: string, row: Query.RowImage, rest: Rest = {}) =>
  update(second, { id: Number(previousKey) }, { ...row, id: Number(key) }, { key, previousKey, ...rest })

const truncate = (second: number, rest: Rest = {}) => change("truncate", second, { key: null, ...rest })

/** What was said of a key of `posts` at some seconds, each as the tag and what comes with it. */
const answers = (key: string, ...seconds: ReadonlyArray<number | string>) =>
  Effect.forEach(seconds, (second) =>
    Effect.map(Query.asOf("posts", key, typeof second === "number" ? at(second) : second), (answer) =>
      answer._tag === "Present"
        ? answer.row
        : answer._tag === "MovedTo"
          ? `${answer._tag} ${answer.key} ${JSON.stringify(answer.rowPk)}`
          : answer._tag
    )
  )

const shown = (key: string, options?: Query.HistoryOptions) =>
  Effect.map(Query.history("posts", key, options), (page) => page.items.map((item) => item.id))

const a = { id: 1, title: "a" }
const b = { id: 1, title: "b" }

describe("Query.asOf", () => {
  it.layer(layer)("of a log", (it) => {
    it.effect("follows a row through its life, each change from its own instant on", () =>
      Effect.gen(function* () {
        yield* record([insert(10, a), update(20, { title: "a" }, b), remove(30, b), insert(40, a), remove(50, a)])
        expect(yield* answers("1", 9, 10, 19, 20, 29, 30, 39, 40, 49, 50, 60)).toEqual([
          "NotYetCreated",
          a,
          a,
          b,
          b,
          "Deleted",
          "Deleted",
          a,
          a,
          "Deleted",
          "Deleted"
        ])
        expect(yield* answers("1", "2026-01-02T00:00:19.999999Z", "2026-01-02T01:00:20+01:00")).toEqual([a, b])
      })
    )

    it.effect("takes the highest id of several changes at one instant", () =>
      Effect.gen(function* () {
        yield* record([insert(10, a), update(10, { title: "a" }, b), update(10, { title: "b" }, { ...b, title: "c" })])
        expect(yield* answers("1", 9, 10)).toEqual(["NotYetCreated", { id: 1, title: "c" }])
        yield* record([insert(10, a), update(10, { title: "a" }, b), remove(10, b)])
        expect(yield* answers("1", 10)).toEqual(["Deleted"])
      })
    )

    it.effect("counts a truncated row as deleted, and a later one of that key as another", () =>
      Effect.gen(function* () {
        yield* record([insert(10, a), truncate(20), insert(30, b), truncate(40), truncate(50)])
        expect(yield* answers("1", 19, 20, 29, 30, 40, 55)).toEqual([a, "Deleted", "Deleted", b, "Deleted", "Deleted"])
        // One that happened at the very instant of the last change, before it or after it.
        yield* record([truncate(10), insert(10, a)])
        expect(yield* answers("1", 10)).toEqual([a])
        yield* record([insert(10, a), truncate(10)])
        expect(yield* answers("1", 10)).toEqual(["Deleted"])
        // One that kept the rows.
        yield* record([insert(10, a), change("truncate", 20, { from: a })])
        expect(yield* answers("1", 15, 20)).toEqual([a, "Deleted"])
      })
    )

    it.effect("follows a key that moves away and one that moves in", () =>
      Effect.gen(function* () {
        yield* record([
          insert(10, a),
          move(20, "1", "2", a),
          update(30, { title: "a" }, { id: 2, title: "b" }, { key: "2" })
        ])
        expect(yield* answers("1", 15, 20, 35)).toEqual([a, 'MovedTo 2 {"id":"2"}', 'MovedTo 2 {"id":"2"}'])
        expect(yield* answers("2", 15, 20, 30)).toEqual(["NotYetCreated", { id: 2, title: "a" }, { id: 2, title: "b" }])
        yield* record([insert(10, a), move(20, "1", "2", a), insert(30, b), truncate(40)])
        expect(yield* answers("1", 20, 30, 40)).toEqual(['MovedTo 2 {"id":"2"}', b, "Deleted"])
      })
    )

    it.effect("tells rows that pass each other in one statement apart", () =>
      Effect.gen(function* () {
        const firstImage = { id: 1, title: "one" }
        const two = { id: 2, title: "two" }
        // update posts set id = 3 - id
        yield* record([
          insert(10, firstImage),
          insert(10, two, { key: "2" }),
          move(20, "1", "2", firstImage),
          move(20, "2", "1", two, { micros: 1 })
        ])
        expect(yield* answers("1", 15, 25)).toEqual([firstImage, { id: 1, title: "two" }])
        expect(yield* answers("2", 15, 25)).toEqual([two, { id: 2, title: "one" }])
        // The same, of a table first captured by it.
        yield* record([move(20, "1", "2", firstImage), move(20, "2", "1", two)])
        expect(yield* answers("1", 15, 25)).toEqual([firstImage, { id: 1, title: "two" }])
        expect(yield* answers("2", 15, 25)).toEqual([two, { id: 2, title: "one" }])
        // update posts set id = id + 1, of rows that are alike but for their key
        yield* record([
          insert(10, { id: 1, label: "x" }),
          insert(11, { id: 2, label: "x" }, { key: "2" }),
          move(20, "1", "2", { label: "x" }),
          move(20, "2", "3", { label: "x" })
        ])
        expect(yield* answers("1", 15, 25)).toEqual([{ id: 1, label: "x" }, 'MovedTo 2 {"id":"2"}'])
        expect(yield* answers("2", 15, 25)).toEqual([
          { id: 2, label: "x" },
          { id: 2, label: "x" }
        ])
        expect(yield* answers("3", 15, 25)).toEqual(["NotYetCreated", { id: 3, label: "x" }])
        // The same, of a table first captured by it: one statement captured both.
        yield* record([move(20, "1", "2", { label: "x" }), move(20, "2", "3", { label: "x" })])
        expect(yield* answers("1", 15, 25)).toEqual([{ id: 1, label: "x" }, 'MovedTo 2 {"id":"2"}'])
        expect(yield* answers("2", 15, 25)).toEqual([
          { id: 2, label: "x" },
          { id: 2, label: "x" }
        ])
        expect(yield* answers("3", 15, 25)).toEqual(["NotYetCreated", { id: 3, label: "x" }])
      })
    )

    it.effect("does not take one row that moves on for two that pass", () =>
      Effect.gen(function* () {
        yield* record([insert(10, a), move(20, "1", "2", a), move(21, "2", "3", a)])
        expect(yield* answers("2", 20, 21)).toEqual([{ id: 2, title: "a" }, 'MovedTo 3 {"id":"3"}'])
        // Inserted and deleted in one transaction, with a column added in between.
        yield* record([insert(10, a), remove(11, { ...a, added: null })])
        expect(yield* answers("1", 10, 11)).toEqual([a, "Deleted"])
        // A row that was truncated leaves its key free for one that passes through.
        yield* record([
          insert(10, { id: 2, label: "x" }, { key: "2" }),
          truncate(11),
          insert(12, { id: 1, label: "x" }),
          move(20, "1", "2", { label: "x" }),
          move(21, "2", "3", { label: "x" })
        ])
        expect(yield* answers("2", 22)).toEqual(['MovedTo 3 {"id":"3"}'])
      })
    )

    it.effect("rebuilds a row that was first captured by an update or a delete", () =>
      Effect.gen(function* () {
        yield* record([update(20, { title: "a" }, b)])
        expect(yield* answers("1", 0, 19, 20)).toEqual([a, a, b])
        yield* record([remove(20, a)])
        expect(yield* answers("1", 19, 20)).toEqual([a, "Deleted"])
        yield* record([change("truncate", 20, { from: a })])
        expect(yield* answers("1", 19, 20)).toEqual([a, "Deleted"])
        yield* record([move(20, "1", "2", a)])
        expect(yield* answers("1", 19, 20)).toEqual([a, 'MovedTo 2 {"id":"2"}'])
        expect(yield* answers("2", 19)).toEqual(["NotYetCreated"])
        // A column that the update brought is not there before it.
        yield* record([update(20, { title: "a" }, { ...b, added: 1 }, { fields: ["title", "added"] })])
        expect(yield* answers("1", 19)).toEqual([a])
      })
    )

    it.effect("invents nothing", () =>
      Effect.gen(function* () {
        yield* record([
          insert(10, { id: 2 }, { key: "2" }),
          truncate(20),
          change("baseline", 30, { after: a }),
          remove(40, a)
        ])
        expect(yield* answers("3", 5, 15, 25, 99)).toEqual([
          "BeforeCapture",
          "BeforeCapture",
          "BeforeCapture",
          "BeforeCapture"
        ])
        expect(yield* answers("1", 5, 29, 30, 39, 40)).toEqual(["BeforeCapture", "BeforeCapture", a, a, "Deleted"])
        // What an update replaced after a TRUNCATE is not what was there before it.
        yield* record([truncate(20), update(30, { title: "a" }, b)])
        expect(yield* answers("1", 19, 20, 29, 30)).toEqual(["BeforeCapture", a, a, b])
      })
    )

    it.effect("returns masked values as they are stored, and none for excluded columns", () =>
      Effect.gen(function* () {
        const stored = { id: 1, email: "[masked]" }
        yield* record([update(20, { email: "[masked]" }, stored), remove(30, stored)])
        expect(yield* answers("1", 10, 20)).toEqual([stored, stored])
      })
    )

    it.effect("has one JSON", () =>
      Effect.gen(function* () {
        yield* record([insert(10, { id: 1, n: 9007199254740993n }), move(20, "1", "2", { n: 9007199254740993n })])
        const json = (second: number) => Effect.map(Query.asOf("posts", 1, at(second)), Json.stringify)
        expect(yield* json(9)).toBe(`{"answer":"NotYetCreated","at":"${at(9)}"}`)
        expect(yield* json(10)).toBe(`{"answer":"Present","row":{"n":9007199254740993,"id":1},"at":"${at(10)}"}`)
        expect(yield* json(20)).toBe(`{"answer":"MovedTo","key":"2","at":"${at(20)}"}`)
        const later = yield* Query.asOf("posts", 7, new Date(at(20)))
        expect(Json.stringify(later)).toBe(`{"answer":"BeforeCapture","at":"${at(20)}"}`)
        expect((yield* Query.asOf("posts", 1, DateTime.unsafeMake(at(10))))._tag).toBe("Present")
      })
    )

    it.effect("refuses what is no instant, and no table", () =>
      Effect.gen(function* () {
        yield* reset
        for (const instant of [
          "",
          "now",
          "2026-02-30T00:00:00Z",
          "2026-01-02T00:00:00",
          new Date(Number.NaN),
          7 as never
        ]) {
          const result = yield* Effect.either(Query.asOf("posts", "1", instant))
          expect(Either.isLeft(result) && result.left).toMatchObject({
            _tag: "threadline/InvalidRequest",
            field: "instant"
          })
        }
        const unknown = yield* Effect.flip(Query.asOf("unknown", "1", at(0)))
        expect(unknown).toMatchObject({ _tag: "threadline/NotFound", subject: "table", id: "public.unknown" })
      })
    )
  })
})

describe("Query.diffBetween", () => {
  it.layer(layer)("of a log", (it) => {
    it.effect("tells what became of each field between two instants", () =>
      Effect.gen(function* () {
        const early = { id: 1, title: "a", state: "open", dropped: null }
        const late = { id: 1, title: "b", state: "open", added: 9007199254740993n }
        yield* record([
          insert(10, early),
          update(20, { title: "a" }, { ...early, title: "x" }),
          update(30, { title: "x", dropped: null }, late, { fields: ["title", "dropped", "added"] }),
          move(40, "1", "2", { ...late }),
          remove(50, { ...late, id: 2 }, { key: "2" })
        ])
        const fields = (from: number, to: number) =>
          Effect.map(Query.diffBetween("posts", 1, at(from), at(to)), (found) => [
            found.from._tag,
            found.to._tag,
            ...found.fields
          ])
        expect(yield* fields(10, 35)).toEqual([
          "Present",
          "Present",
          { field: "added", after: 9007199254740993n },
          { field: "dropped", before: null },
          { field: "title", before: "a", after: "b" }
        ])
        expect(yield* fields(10, 15)).toEqual(["Present", "Present"])
        expect(yield* fields(15, 15)).toEqual(["Present", "Present"])
        expect(yield* fields(5, 15)).toEqual([
          "NotYetCreated",
          "Present",
          { field: "dropped", after: null },
          { field: "id", after: 1 },
          { field: "state", after: "open" },
          { field: "title", after: "a" }
        ])
        expect((yield* fields(35, 45)).slice(0, 3)).toEqual([
          "Present",
          "MovedTo",
          { field: "added", before: 9007199254740993n }
        ])
        expect(yield* fields(45, 55)).toEqual(["MovedTo", "MovedTo"])
        const json = yield* Effect.map(Query.diffBetween("posts", 1, at(25), at(35)), Json.stringify)
        expect(json).toBe(
          `{"from":{"answer":"Present","row":{"id":1,"state":"open","title":"x","dropped":null},"at":"${at(25)}"},` +
            `"to":{"answer":"Present","row":{"id":1,"added":9007199254740993,"state":"open","title":"b"},"at":"${at(35)}"},` +
            `"fields":[{"field":"added","after":9007199254740993},{"field":"dropped","before":null},` +
            `{"field":"title","before":"x","after":"b"}]}`
        )
      })
    )

    it.effect("refuses what are no two instants", () =>
      Effect.gen(function* () {
        yield* reset
        for (const [field, read] of [
          ["from", Query.diffBetween("posts", 1, "soon", at(1))],
          ["to", Query.diffBetween("posts", 1, at(1), "soon")],
          ["to", Query.diffBetween("posts", 1, at(2), at(1))],
          ["table", Query.diffBetween("a b", 1, at(1), at(2))],
          ["key", Query.diffBetween("things", "x", at(1), at(2))]
        ] as const) {
          expect(yield* Effect.flip(read)).toMatchObject({ _tag: "threadline/InvalidRequest", field })
        }
        expect(yield* Effect.flip(Query.diffBetween("unknown", 1, at(1), at(2)))).toMatchObject({
          _tag: "threadline/NotFound"
        })
      })
    )
  })
})

describe("Query.history", () => {
  it.layer(layer)("of a log", (it) => {
    it.effect("is every change of the row, with those that moved it in or away and the TRUNCATE that ended it", () =>
      Effect.gen(function* () {
        const life = [
          insert(10, a),
          move(20, "1", "2", a),
          insert(30, b),
          truncate(40),
          truncate(41),
          move(50, "3", "1", a),
          remove(60, a)
        ]
        const before = truncate(5)
        const other = insert(25, { id: 9 }, { key: "9" })
        yield* record([...life, before, other])
        const [inserted, away, again, ended, , back, removed] = life.map(({ id }) => id)
        expect(yield* shown("1")).toEqual([removed, back, ended, again, away, inserted])
        expect(yield* shown("1", { order: "oldest" })).toEqual([inserted, away, again, ended, back, removed])
        expect(yield* shown("2")).toEqual([ended, away])
        expect(yield* shown("3")).toEqual([back])
        expect(yield* shown("8")).toEqual([])
      })
    )

    it.effect("pages by time and id, also where changes share an instant", () =>
      Effect.gen(function* () {
        const changes = Array.from({ length: 7 }, (_, index) => update(10 + Math.floor(index / 3), { title: "a" }, b))
        yield* record(changes)
        const expected = changes.map(({ id }) => id)
        for (const order of ["newest", "oldest"] as const) {
          for (const limit of [1, 2, 3, 6, 7, 8]) {
            const seen: Array<string> = []
            let cursor: string | undefined
            do {
              const page = yield* Query.history("posts", 1, { order, limit, cursor })
              expect(page.items.length).toBeGreaterThan(0)
              seen.push(...page.items.map(({ id }) => id))
              cursor = Option.getOrUndefined(page.nextCursor)
            } while (cursor !== undefined)
            expect(seen).toEqual(order === "oldest" ? expected : [...expected].reverse())
          }
        }
      })
    )

    it.effect("goes on where a cursor is, and only for its own row", () =>
      Effect.gen(function* () {
        const changes = [insert(10, a), update(20, { title: "a" }, b), update(30, { title: "b" }, a)]
        yield* record(changes)
        const page = yield* Query.history("posts", "1", { limit: 1 })
        const cursor = Option.getOrThrow(page.nextCursor)
        yield* write({
          changes: [update(40, { title: "a" }, b), update(30, { title: "a" }, b, { micros: 1 })]
        })
        expect(yield* shown("1", { cursor })).toEqual([changes[1]?.id, changes[0]?.id])
        const rest = yield* Stream.runCollect(Query.historyStream("posts", 1, { cursor }))
        expect([...rest].map(({ id }) => id)).toEqual([changes[1]?.id, changes[0]?.id])
        for (const read of [
          Query.history("posts", "2", { cursor }),
          Query.history("posts", "1", { cursor, order: "oldest" }),
          Query.history("notes", "1", { cursor }),
          Query.history("posts", "1", { cursor: "x" })
        ]) {
          expect(yield* Effect.flip(read)).toMatchObject({ _tag: "threadline/InvalidRequest", field: "cursor" })
        }
      })
    )

    it.effect("refuses what no database can answer", () =>
      Effect.gen(function* () {
        yield* reset
        for (const [field, read] of [
          ["table", Query.history("a b", "1")],
          ["limit", Query.history("posts", "1", { limit: 0 })],
          ["order", Query.history("posts", "1", { order: "up" as never })],
          ["colour", Query.history("posts", "1", { colour: "red" } as never)]
        ] as const) {
          expect(yield* Effect.flip(read)).toMatchObject({ _tag: "threadline/InvalidRequest", field })
        }
        expect(yield* Effect.flip(Query.history("unknown", "1"))).toMatchObject({
          _tag: "threadline/NotFound",
          subject: "table"
        })
      })
    )
  })
})
