import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Budget } from "../../../src/internal/rows/keyWalk.js"
import * as Json from "../../../src/Json.js"
import * as Query from "../../../src/Query.js"
import { change, record } from "../../support/changes.js"
import { at, type ChangeSeed, layer, write } from "../../support/query.js"

const insert = (table: string, second: number, key: string, row: Query.RowImage) =>
  change("insert", second, { table, key, after: row })

const member = (account: string, person: number) => `["${account}","${person}"]`

/** `posts` are written by a member (`author_account`, `author`), `notes` belong to a post, `members` to an account. */
const log: ReadonlyArray<ChangeSeed> = [
  insert("members", 10, member("acme", 7), { account: "acme", person: 7, role: "owner", tenant: "A" }),
  insert("members", 10, member("acme", 70), { account: "acme", person: 70, role: "guest", tenant: "B" }),
  insert("members", 10, member("acme2", 7), { account: "acme2", person: 7, role: "owner", tenant: "A" }),
  insert("posts", 11, "1", { id: 1, account: "acme", author: 7, editor: null, tenant: "A" }),
  insert("notes", 12, "a", { id: "a", post_id: 1, tenant: "A" }),
  insert("notes", 12, "b", { id: "b", post_id: 1, tenant: "B" }),
  insert("notes", 12, "c", { id: "c", post_id: 2, tenant: "A" }),
  change("update", 20, {
    table: "notes",
    key: "c",
    fields: ["post_id"],
    from: { post_id: 2 },
    after: { id: "c", post_id: 1, tenant: "A" }
  }),
  change("delete", 30, { table: "notes", key: "a", from: { id: "a", post_id: 1, tenant: "A" } }),
  change("delete", 40, { from: { id: 1, account: "acme", author: 7, editor: null, tenant: "A" } })
]

const relations = {
  author: { table: "members", columns: { account: "account", person: "author" } },
  editor: { table: "members", columns: { account: "account", person: "editor" } },
  colleagues: { table: "public.members", columns: { account: "account" } },
  notes: { table: "notes", columns: { post_id: "id" } }
} as const

const prepare = record(log)

const keysOf = ({ related }: Query.AsOfWith<keyof typeof relations>) => ({
  author: related.author.items.map(({ rowKey }) => rowKey),
  editor: related.editor.items.map(({ rowKey }) => rowKey),
  colleagues: related.colleagues.items.map(({ rowKey }) => rowKey),
  notes: related.notes.items.map(({ rowKey }) => rowKey)
})

const nothing = { author: [], editor: [], colleagues: [], notes: [] }

describe("Query.asOfWith", () => {
  it.layer(layer)("of a log", (it) => {
    it.effect("is a row with what it referred to and what referred to it at that instant", () =>
      Effect.gen(function* () {
        yield* prepare
        const withRelations = (second: number) => Query.asOfWith("posts", 1, at(second), relations)
        const colleagues = [member("acme", 7), member("acme", 70)]
        const before = yield* withRelations(15)
        expect(before.answer._tag).toBe("Present")
        expect(keysOf(before)).toEqual({ author: [member("acme", 7)], editor: [], colleagues, notes: ["a", "b"] })
        expect(keysOf(yield* withRelations(25)).notes).toEqual(["a", "b", "c"])
        expect(keysOf(yield* withRelations(35)).notes).toEqual(["b", "c"])
        for (const [second, tag] of [
          [5, "NotYetCreated"],
          [45, "Deleted"]
        ] as const) {
          const gone = yield* withRelations(second)
          expect(gone.answer._tag).toBe(tag)
          expect(keysOf(gone)).toEqual(nothing)
        }
        const { author } = yield* Query.asOfWith("posts", "1", at(15), { author: relations.author }).pipe(
          Effect.map(({ related }) => related)
        )
        expect(author.items[0]?.row).toEqual({ account: "acme", person: 7, role: "owner", tenant: "A" })
        const knownRow = yield* Query.asOfWith("members", ["acme2", 7], at(15), { none: relations.notes })
        expect(Json.stringify(knownRow)).toBe(
          `{"answer":"Present","row":{"role":"owner","person":7,"tenant":"A","account":"acme2"},"at":"${at(15)}",` +
            `"related":{"none":{"items":[],"nextCursor":null,"hasMore":false,"table":"public.notes","options":{"keys":[]}}}}`
        )
      })
    )

    it.effect("has a page of each relation, that asOfRows goes on with", () =>
      Effect.gen(function* () {
        yield* prepare
        const { related } = yield* Query.asOfWith("posts", 1, at(25), {
          notes: { ...relations.notes, limit: 2 },
          colleagues: { ...relations.colleagues, limit: 1 }
        })
        for (const [page, rest] of [
          [related.notes, ["c"]],
          [related.colleagues, [member("acme", 70)]]
        ] as const) {
          expect(page.hasMore).toBe(true)
          const next = yield* Query.asOfRows(page.table, at(25), {
            ...page.options,
            cursor: Option.getOrUndefined(page.nextCursor)
          })
          expect(next.items.map(({ rowKey }) => rowKey)).toEqual(rest)
        }
      })
    )

    it.effect("looks only at keys that begin as they have to", () =>
      Effect.gen(function* () {
        const others = Array.from({ length: 50 }, (_, index) =>
          insert("members", 10, member(`b${index}`, 7), { account: `b${index}`, person: 7 })
        )
        yield* Effect.andThen(prepare, write({ changes: others }))
        const page = yield* Query.asOfRows("members", at(25), { contains: { account: "b49" } }).pipe(
          Effect.provideService(Budget, { entries: 2, stretch: 2, keys: 2, few: 0 })
        )
        expect(page).toMatchObject({ items: [{ rowKey: member("b49", 7) }], hasMore: false })
      })
    )

    it.effect("shows under a scope what it lets through, of the row and of its relations", () =>
      Effect.gen(function* () {
        yield* prepare
        const of = (tenant: string) =>
          Query.asOfWith("posts", 1, at(15), relations).pipe(
            Query.withScope(
              (surface, columns) => surface === "changes" && columns.sql`${columns.image} ->> 'tenant' = ${tenant}`
            )
          )
        const a = yield* of("A")
        expect(keysOf(a)).toEqual({
          author: [member("acme", 7)],
          editor: [],
          colleagues: [member("acme", 7)],
          notes: ["a"]
        })
        const b = yield* of("B")
        expect(b.answer._tag).toBe("BeforeCapture")
        expect(keysOf(b)).toEqual(nothing)
      })
    )

    it.effect("takes what is no key, what is masked and what is not there for no relation", () =>
      Effect.gen(function* () {
        yield* Effect.andThen(
          prepare,
          write({
            changes: [
              insert("posts", 13, "5", { id: 5, account: "[masked]", author: "seven", object: { a: 1 } }),
              insert("notes", 13, "[masked]", { id: "[masked]", about: { a: 1 } })
            ]
          })
        )
        const { related } = yield* Query.asOfWith("posts", 5, at(15), {
          masked: { table: "notes", columns: { id: "account" } },
          odd: { table: "things", columns: { id: "author" } },
          object: { table: "notes", columns: { about: "object" } },
          missing: { table: "notes", columns: { id: "unknown" } }
        })
        expect(Object.entries(related).map(([name, { items }]) => [name, items.length])).toEqual([
          ["masked", 0],
          ["odd", 0],
          ["object", 1],
          ["missing", 0]
        ])
      })
    )

    it.effect("refuses relations that are none", () =>
      Effect.gen(function* () {
        yield* prepare
        for (const relation of [
          { table: "a b", columns: { id: "id" } },
          { table: "notes", columns: {} },
          { table: "notes", columns: { id: 7 } as never },
          { table: "notes", columns: { id: "id" }, limit: 0 },
          { table: "notes" } as never
        ]) {
          expect(yield* Effect.flip(Query.asOfWith("posts", 1, at(15), { relation }))).toMatchObject({
            _tag: "threadline/InvalidRequest",
            field: "relations"
          })
        }
        const many = Object.fromEntries(Array.from({ length: 21 }, (_, index) => [`r${index}`, relations.notes]))
        expect(yield* Effect.flip(Query.asOfWith("posts", 1, at(15), many))).toMatchObject({ field: "relations" })
        const keyless = { table: "logs", columns: { id: "id" } }
        expect(yield* Effect.flip(Query.asOfWith("posts", 1, at(15), { keyless }))).toMatchObject({ field: "table" })
        const unknown = { table: "unknown", columns: { id: "id" } }
        expect(yield* Effect.flip(Query.asOfWith("posts", 1, at(15), { unknown }))).toMatchObject({
          _tag: "threadline/NotFound"
        })
      })
    )
  })
})
