import * as Model from "@effect/sql/Model"
import * as SqlClient from "@effect/sql/SqlClient"
import { describe, expect, it } from "@effect/vitest"
import * as BigDecimal from "effect/BigDecimal"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type * as Json from "../../../src/Json.js"
import * as Query from "../../../src/Query.js"
import { apply, layer as captureLayer, run } from "../../support/capture.js"
import { change, record } from "../../support/changes.js"
import { at, layer, reset } from "../../support/query.js"

/** What a schema makes of an image. */
const decoded = <A, I>(schema: Schema.Schema<A, I>, image: Query.RowImage) => Query.typed("posts", schema).decode(image)

/** The value of one field, or undefined where it does not fit. */
const field = <A, I>(type: Schema.Schema<A, I>, value: Json.JsonValue) =>
  Effect.map(decoded(Schema.Struct({ value: type }), { value }), (row) =>
    Either.isRight(row) ? { is: row.right.value } : undefined
  )

const big = 9007199254740993n
const decimal = (text: string) => BigDecimal.unsafeFromString(text)

class Invoice extends Model.Class<Invoice>("Invoice")({
  id: Model.Generated(Schema.BigInt),
  customer: Schema.NonEmptyString.pipe(Schema.brand("Customer")),
  total: Schema.BigDecimal,
  views: Model.GeneratedByApp(Schema.NumberFromString),
  note: Model.FieldOption(Schema.String),
  lines: Model.JsonFromString(Schema.Array(Schema.Struct({ sku: Schema.String, count: Schema.Number }))),
  createdAt: Model.DateTimeInsert,
  updatedAt: Model.DateTimeUpdateFromDate
}) {}

const invoice: Query.RowImage = {
  id: big,
  customer: "acme",
  total: decimal("12345678901234567890.1234567890"),
  views: 12,
  note: null,
  lines: [{ sku: "a", count: 2 }],
  createdAt: "2026-01-02T03:04:05.678901+00:00",
  updatedAt: "2026-01-02T03:04:05.678901+00:00"
}

describe("Query.typed", () => {
  it.layer(layer)("of a log", (it) => {
    it.effect("gives a schema what its encoded side takes, and nothing that is rounded", () =>
      Effect.gen(function* () {
        expect(yield* field(Schema.String, big)).toEqual({ is: "9007199254740993" })
        expect(yield* field(Schema.String, decimal("1.10"))).toEqual({ is: "1.10" })
        expect(yield* field(Schema.NumberFromString, 7)).toEqual({ is: 7 })
        expect(yield* field(Schema.BigInt, big)).toEqual({ is: big })
        expect(yield* field(Schema.BigIntFromSelf, 7)).toEqual({ is: 7n })
        expect(yield* field(Schema.BigIntFromSelf, decimal("7.00"))).toEqual({ is: 7n })
        expect(yield* field(Schema.BigIntFromSelf, decimal("7.5"))).toBeUndefined()
        expect(yield* field(Schema.Number, decimal("1.10"))).toEqual({ is: 1.1 })
        expect(yield* field(Schema.Number, decimal("0.1000000000000000001"))).toBeUndefined()
        expect(yield* field(Schema.Number, big)).toBeUndefined()
        expect(yield* field(Schema.Number, "NaN")).toEqual({ is: Number.NaN })
        expect(yield* field(Schema.Number, "12")).toBeUndefined()
        expect(yield* field(Schema.Int, 12)).toEqual({ is: 12 })
        expect(yield* field(Schema.Int, decimal("12.5"))).toBeUndefined()
        expect(yield* field(Schema.BigDecimalFromSelf, decimal("1.10"))).toEqual({ is: decimal("1.10") })
        expect(yield* field(Schema.BigDecimalFromSelf, 7)).toEqual({ is: decimal("7") })
        expect(yield* field(Schema.BigDecimalFromSelf, big)).toEqual({ is: decimal("9007199254740993") })
        const fromText = yield* field(Schema.BigDecimal, decimal("12345678901234567890.123"))
        expect(fromText === undefined ? undefined : BigDecimal.format(fromText.is)).toBe("12345678901234567890.123")
        expect(yield* field(Schema.Uint8ArrayFromSelf, "\\x00ff")).toEqual({ is: new Uint8Array([0, 255]) })
        expect(yield* field(Schema.Boolean, true)).toEqual({ is: true })
        expect(yield* field(Schema.Unknown, decimal("1.10"))).toEqual({ is: decimal("1.10") })
      })
    )

    it.effect("keeps the microseconds of timestamps where the type can hold them", () =>
      Effect.gen(function* () {
        const text = "2026-01-02T03:04:05.678901+00:00"
        expect(yield* field(Schema.String, text)).toEqual({ is: text })
        expect(yield* field(Schema.DateFromSelf, text)).toEqual({ is: new Date("2026-01-02T03:04:05.678Z") })
        expect(yield* field(Schema.Date, text)).toEqual({ is: new Date("2026-01-02T03:04:05.678Z") })
        expect(yield* field(Schema.DateTimeUtcFromDate, text)).toEqual({
          is: DateTime.unsafeMake("2026-01-02T03:04:05.678Z")
        })
        expect(yield* field(Schema.DateTimeUtcFromSelf, text)).toEqual({
          is: DateTime.unsafeMake("2026-01-02T03:04:05.678Z")
        })
        // Before 1970 as well: the millisecond that has begun.
        expect(yield* field(Schema.DateFromSelf, "1969-12-31T23:59:59.999999+00:00")).toEqual({ is: new Date(-1) })
        // Without a zone as the driver reads it.
        expect(yield* field(Schema.DateFromSelf, "2026-01-02T03:04:05.678901")).toEqual({
          is: new Date(2026, 0, 2, 3, 4, 5, 678)
        })
        expect(yield* field(Schema.DateFromSelf, "2026-01-02")).toEqual({ is: new Date(2026, 0, 2) })
        expect(yield* field(Schema.DateFromSelf, "infinity")).toBeUndefined()
      })
    )

    it.effect("finds its way through unions, options, lists, records, branded and recursive types", () =>
      Effect.gen(function* () {
        interface Tree {
          readonly n: bigint
          readonly children: ReadonlyArray<Tree>
        }
        interface TreeEncoded {
          readonly n: bigint
          readonly children: ReadonlyArray<TreeEncoded>
        }
        const Tree = Schema.Struct({
          n: Schema.BigIntFromSelf,
          children: Schema.Array(Schema.suspend((): Schema.Schema<Tree, TreeEncoded> => Tree))
        })
        expect(yield* field(Schema.NullOr(Schema.BigIntFromSelf), null)).toEqual({ is: null })
        expect(yield* field(Schema.NullOr(Schema.BigIntFromSelf), 1)).toEqual({ is: 1n })
        expect(yield* field(Schema.OptionFromNullOr(Schema.BigInt), 1)).toEqual({ is: Option.some(1n) })
        expect(yield* field(Schema.OptionFromSelf(Schema.BigIntFromSelf), null)).toEqual({ is: Option.none() })
        expect(yield* field(Schema.OptionFromSelf(Schema.BigIntFromSelf), 1)).toEqual({ is: Option.some(1n) })
        // What a member takes as it is stays as it is.
        expect(yield* field(Schema.Union(Schema.String, Schema.Number), 5)).toEqual({ is: 5 })
        expect(yield* field(Schema.Union(Schema.Number, Schema.BigIntFromSelf), big)).toEqual({ is: big })
        expect(yield* field(Schema.Literal("1", "2"), 2)).toEqual({ is: "2" })
        expect(yield* field(Schema.Literal(2n), 2)).toEqual({ is: 2n })
        expect(yield* field(Schema.Tuple(Schema.String, Schema.BigIntFromSelf), [1, 2])).toEqual({ is: ["1", 2n] })
        expect(yield* field(Schema.Array(Schema.NullOr(Schema.BigInt)), [1, null])).toEqual({ is: [1n, null] })
        expect(
          yield* field(Schema.Record({ key: Schema.String, value: Schema.BigInt }), { a: 1, __proto__: 2 })
        ).toEqual({ is: { a: 1n } })
        expect(yield* field(Tree, { n: 1, children: [{ n: big, children: [] }] })).toEqual({
          is: { n: 1n, children: [{ n: big, children: [] }] }
        })
        expect(yield* field(Schema.parseJson(Schema.Struct({ a: Schema.Number })), { a: 1 })).toEqual({ is: { a: 1 } })
        expect(yield* field(Schema.parseJson(Schema.Struct({ a: Schema.Number })), '{"a":1}')).toEqual({ is: { a: 1 } })
        const renamed = Schema.Struct({ n: Schema.propertySignature(Schema.BigInt).pipe(Schema.fromKey("the_n")) })
        expect(yield* decoded(renamed, { the_n: big })).toEqual(Either.right({ n: big }))
      })
    )

    it.effect("reads a Model", () =>
      Effect.gen(function* () {
        yield* record([
          change("insert", 10, { after: invoice }),
          change("update", 20, {
            fields: ["note", "views"],
            from: { note: null, views: 12 },
            after: { ...invoice, note: "paid", views: 13 }
          }),
          change("delete", 30, { from: { ...invoice, note: "paid", views: 13 } })
        ])
        const invoices = Query.typed("posts", Invoice)
        const page = yield* invoices.history("1", { order: "oldest" })
        const [inserted, updated, removed] = page.items
        const row = yield* inserted?.after ?? Effect.dieMessage("not inserted")
        expect(row).toBeInstanceOf(Invoice)
        expect(row.id).toBe(big)
        expect(BigDecimal.format(row.total)).toBe("12345678901234567890.123456789")
        expect(row.views).toBe(12)
        expect(row.note).toEqual(Option.none())
        expect(row.lines).toEqual([{ sku: "a", count: 2 }])
        expect(DateTime.formatIso(row.createdAt)).toBe("2026-01-02T03:04:05.678Z")
        expect(row.updatedAt).toEqual(row.createdAt)
        expect(inserted?.before).toBeNull()
        expect(updated?.before).toEqual(Either.right(row))
        expect((yield* updated?.after ?? Effect.dieMessage("not updated")).note).toEqual(Option.some("paid"))
        expect(removed?.before).toEqual(updated?.after)
        expect(removed?.after).toBeNull()
        expect(removed?.change.op).toBe("delete")
        const streamed = yield* Stream.runCollect(invoices.historyStream("1", { order: "oldest" }))
        expect([...streamed]).toEqual(page.items)
        const answer = yield* invoices.asOf("1", at(15))
        expect(answer).toEqual({ _tag: "Present", row: Either.right(row), at: at(15) })
        expect(yield* invoices.asOf("1", at(35))).toEqual({ _tag: "Deleted", at: at(35) })
        const set = yield* invoices.asOfRows(at(15))
        expect(set).toMatchObject({ hasMore: false, items: [{ rowKey: "1", rowPk: { id: "1" } }] })
        expect(set.items[0]?.row).toEqual(Either.right(row))
        expect([...(yield* Stream.runCollect(invoices.asOfRowsStream(at(15))))]).toEqual(set.items)
      })
    )

    it.effect("reports old images that do not fit, and fills what the schema has defaults for", () =>
      Effect.gen(function* () {
        const Post = Schema.Struct({
          id: Schema.Number,
          title: Schema.String,
          score: Schema.Number,
          state: Schema.optionalWith(Schema.String, { default: () => "draft" })
        })
        yield* record([
          // The score was a text, then masked, and there was no title at first.
          change("insert", 10, { after: { id: 1, score: 1 } }),
          change("update", 20, { fields: ["title"], from: {}, after: { id: 1, title: "a", score: "1" } }),
          change("update", 30, {
            fields: ["score"],
            from: { score: "1" },
            after: { id: 1, title: "a", score: "[masked]" }
          }),
          change("update", 40, {
            fields: ["score", "state", "dropped"],
            from: { score: "[masked]" },
            after: { id: 1, title: "a", score: 2, state: "open", dropped: true }
          }),
          change("update", 50, { fields: ["dropped"], from: { dropped: true }, after: { id: 1, title: "a", score: 2 } })
        ])
        const posts = Query.typed("posts", Post)
        const { items } = yield* posts.history("1", { order: "oldest" })
        expect(items.map(({ after }) => (after === null ? null : Either.isRight(after)))).toEqual([
          false,
          false,
          false,
          true,
          true
        ])
        expect(items.slice(3).map(({ after }) => after)).toEqual([
          Either.right({ id: 1, title: "a", score: 2, state: "open" }),
          Either.right({ id: 1, title: "a", score: 2, state: "draft" })
        ])
        const masked = yield* posts.asOf("1", at(35))
        const row = masked._tag === "Present" ? masked.row : Either.right(undefined)
        const problem = Either.isLeft(row) ? row.left : undefined
        expect(problem).toBeInstanceOf(Query.Undecodable)
        expect(problem?.image).toEqual({ id: 1, title: "a", score: "[masked]" })
        expect(problem?.error.message).toContain("score")
        expect(problem?.message).not.toContain("masked")
        // An Either is an effect: whoever wants only rows that fit says so.
        const strict = yield* Effect.flip(Effect.flatten(Effect.succeed(row)))
        expect(strict).toMatchObject({ _tag: "Undecodable" })
      })
    )

    it.effect("answers for each of several keys, decoded where the row was present", () =>
      Effect.gen(function* () {
        yield* record([
          change("insert", 10, { after: invoice }),
          change("insert", 10, { key: "2", after: { ...invoice, total: "[masked]" } }),
          change("delete", 10, { key: "3", from: invoice })
        ])
        const answers = yield* Query.typed("posts", Invoice).asOfKeys([3, "1", 2n, 4], at(15))
        expect(answers.map(({ answer, rowKey, rowPk }) => [rowKey, rowPk, answer._tag])).toEqual([
          ["3", { id: "3" }, "Deleted"],
          ["1", { id: "1" }, "Present"],
          ["2", { id: "2" }, "Present"],
          ["4", { id: "4" }, "BeforeCapture"]
        ])
        const rows = answers.flatMap(({ answer }) => (answer._tag === "Present" ? [answer.row] : []))
        const [first, second] = rows
        expect((yield* first ?? Effect.dieMessage("not present")).views).toBe(12)
        expect(second).toEqual(Either.left(expect.any(Query.Undecodable)))
        expect(second !== undefined && Either.isLeft(second) ? second.left.image["total"] : undefined).toBe("[masked]")
      })
    )

    it.effect("decodes a row and each relation by its own schema", () =>
      Effect.gen(function* () {
        class Suffix extends Context.Tag("test/Suffix")<Suffix, string>() {}
        const Named = Schema.Struct({
          noteId: Schema.transformOrFail(Schema.String, Schema.String, {
            strict: true,
            decode: (text) => Effect.map(Suffix, (suffix) => text + suffix),
            encode: (text) => Effect.succeed(text)
          })
        })
        const note = (key: string, rest: Query.RowImage) =>
          change("insert", 10, { table: "notes", key, after: { note_id: key, post_id: 1, ...rest } })
        class Note extends Schema.Class<Note>("Note")({ noteId: Schema.String, size: Schema.BigInt }) {}
        const invoices = Query.typed("posts", Invoice, {
          fieldOf: (column) => column.replaceAll(/_(.)/g, (_, letter: string) => letter.toUpperCase())
        })
        const notes = { table: "notes", columns: { post_id: "views" } }
        const relations = {
          notes: { ...notes, schema: Note, limit: 1 },
          all: { ...notes, schema: Note },
          named: { ...notes, schema: Named },
          images: notes,
          none: { table: "things", columns: { id: "unknown" }, schema: Invoice }
        }
        yield* record([
          change("insert", 10, { after: { ...invoice, views: 1 } }),
          note("a", { size: big }),
          note("b", { size: "[masked]" }),
          change("insert", 10, { key: "5", after: { id: 5, views: 1 } })
        ])
        const read: Effect.Effect<
          Query.TypedAsOfWith<Invoice, typeof relations>,
          Query.ReadError,
          Query.Query | Suffix
        > = invoices.asOfWith("1", at(15), relations)
        // @ts-expect-error -- what the schema of a relation needs is missing
        const incomplete: Effect.Effect<unknown, Query.ReadError, Query.Query> = read
        expect(incomplete).toBe(read)
        const { answer, related } = yield* Effect.provideService(read, Suffix, "!")
        const row = answer._tag === "Present" ? yield* answer.row : yield* Effect.dieMessage("not present")
        expect(row).toBeInstanceOf(Invoice)
        expect(row.id).toBe(big)
        const of: ReadonlyArray<Query.Decoded<Note>> = related.all.items.map((one) => one.row)
        expect(of[0]).toEqual(Either.right(new Note({ noteId: "a", size: big })))
        expect(of[1]).toEqual(Either.left(expect.any(Query.Undecodable)))
        const named: ReadonlyArray<Query.Decoded<{ readonly noteId: string }>> = related.named.items.map(
          ({ row }) => row
        )
        expect(named).toEqual([Either.right({ noteId: "a!" }), Either.right({ noteId: "b!" })])
        const images: ReadonlyArray<Query.RowImage> = related.images.items.map((one) => one.row)
        expect(images[1]).toEqual({ note_id: "b", post_id: 1, size: "[masked]" })
        expect(related.none.items).toEqual([])
        // Each goes on with its own options.
        expect(related.notes).toMatchObject({ table: "public.notes", hasMore: true, items: [{ rowKey: "a" }] })
        const rest = yield* Query.typed(related.notes.table, Note, { fieldOf: (column) => column }).asOfRows(at(15), {
          ...related.notes.options,
          cursor: Option.getOrUndefined(related.notes.nextCursor)
        })
        expect(rest.items.map(({ rowKey }) => rowKey)).toEqual(["b"])
        // A row that does not fit has its relations all the same; one that is not there has none.
        const odd = yield* invoices.asOfWith("5", at(15), { notes: { ...notes, schema: Note } })
        expect(odd.answer).toMatchObject({ _tag: "Present", row: { _tag: "Left" } })
        expect(odd.related.notes.items).toHaveLength(2)
        const absent = yield* invoices.asOfWith("6", at(15), { notes: { ...notes, schema: Note } })
        expect(absent).toMatchObject({ answer: { _tag: "BeforeCapture" }, related: { notes: { items: [] } } })
        expect((yield* invoices.asOfWith("1", at(15), {})).related).toEqual({})
        // A relation that may have a schema has rows of both forms.
        const maybe: { readonly notes: Query.TypedRelation & { readonly schema: typeof Note | undefined } } = {
          notes: { ...notes, schema: undefined }
        }
        const either: ReadonlyArray<Query.Decoded<Note> | Query.RowImage> = (yield* invoices.asOfWith(
          "1",
          at(15),
          maybe
        )).related.notes.items.map(({ row }) => row)
        expect(either).toEqual(images)
        expect(yield* Effect.flip(invoices.asOfWith("1", at(15), { x: { ...notes, columns: {} } }))).toMatchObject({
          _tag: "threadline/InvalidRequest",
          field: "relations"
        })
      })
    )

    it.effect("asks a schema's services, and knows columns by the client's names", () =>
      Effect.gen(function* () {
        class Suffix extends Context.Tag("test/Suffix")<Suffix, string>() {}
        const Title = Schema.transformOrFail(Schema.String, Schema.String, {
          strict: true,
          decode: (text) => Effect.map(Suffix, (suffix) => text + suffix),
          encode: (text) => Effect.succeed(text)
        })
        const Post = Schema.Struct({ longTitle: Title, data: Schema.Struct({ in_json: Schema.Number }) })
        yield* record([change("insert", 10, { after: { long_title: "a", data: { in_json: 1 } } })])
        const posts = Query.typed("posts", Post, {
          fieldOf: (column) => column.replaceAll(/_(.)/g, (_, letter: string) => letter.toUpperCase())
        })
        const answer = yield* Effect.provideService(posts.asOf("1", at(15)), Suffix, "!")
        expect(answer).toMatchObject({ row: Either.right({ longTitle: "a!", data: { in_json: 1 } }) })
      })
    )

    it.effect("reads under a scope, without what a change replaced that was another's", () =>
      Effect.gen(function* () {
        const Row = Schema.Struct({ tenant: Schema.String, secret: Schema.String })
        yield* record([
          change("insert", 10, { after: { tenant: "A", secret: "a" } }),
          change("update", 20, {
            fields: ["tenant", "secret"],
            from: { tenant: "A", secret: "a" },
            after: { tenant: "B", secret: "b" }
          })
        ])
        const posts = Query.typed("posts", Row)
        const ofB = Query.withScope(
          (surface, columns) => surface === "changes" && columns.sql`${columns.image} ->> 'tenant' = 'B'`
        )
        const page = yield* posts.history("1").pipe(ofB)
        expect(page.items.map(({ after, before }) => [before, after])).toEqual([
          [null, Either.right({ tenant: "B", secret: "b" })]
        ])
        expect(yield* posts.asOf("1", at(15)).pipe(ofB)).toMatchObject({ _tag: "BeforeCapture" })
      })
    )

    it.effect("fails as the read does", () =>
      Effect.gen(function* () {
        yield* reset
        const posts = Query.typed("unknown", Schema.Struct({}))
        expect(yield* Effect.flip(posts.history("1"))).toMatchObject({ _tag: "threadline/NotFound" })
        expect(yield* Effect.flip(posts.asOf("1", "soon"))).toMatchObject({
          _tag: "threadline/InvalidRequest",
          field: "instant"
        })
        expect(yield* Effect.flip(Stream.runDrain(posts.asOfRowsStream(at(0))))).toMatchObject({
          _tag: "threadline/NotFound"
        })
      })
    )
  })
})

describe("Query.typed, of what triggers capture", () => {
  it.layer(Query.layer.pipe(Layer.provideMerge(captureLayer)))("reads", (it) => {
    it.effect("the rows that the host's own client reads", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* run(`create table readings (
          id bigint primary key, exact numeric(40, 10), scaled numeric(10, 4), near double precision, real real, small smallint,
          at timestamptz, wall timestamp, day date, raw bytea, doc jsonb, tags text[], counts bigint[], ok boolean, ref uuid, empty text
        )`)
        yield* apply([{ table: "readings" }])
        yield* run(`insert into readings values (
          9007199254740993, 123456789012345678901234567890.0123456789, 1.1000, 0.1, 0.3, 7,
          '2026-01-02 03:04:05.678901+02', '2026-01-02 03:04:05.678901', '2026-01-02', '\\xdeadbeef',
          '{ "a": [1, 2.5] }', '{a,b}', '{9007199254740993,1}', true, 'c0ffee00-0000-4000-8000-000000000001', null
        )`)
        const Reading = Schema.Struct({
          id: Schema.BigInt,
          exact: Schema.BigDecimal,
          scaled: Schema.String,
          near: Schema.Number,
          real: Schema.Number,
          small: Schema.Int,
          at: Schema.DateFromSelf,
          wall: Schema.DateFromSelf,
          day: Schema.DateFromSelf,
          raw: Schema.Uint8ArrayFromSelf,
          doc: Schema.Struct({ a: Schema.Array(Schema.Number) }),
          tags: Schema.Array(Schema.String),
          counts: Schema.Array(Schema.BigInt),
          ok: Schema.Boolean,
          ref: Schema.UUID,
          empty: Schema.NullOr(Schema.String)
        })
        const [live] = yield* Schema.decodeUnknown(Schema.Array(Reading))(yield* sql`select * from readings`)
        const readings = Query.typed("readings", Reading)
        const answer = yield* readings.asOf(9007199254740993n, "9999-12-31")
        const captured = answer._tag === "Present" ? Either.getOrThrow(answer.row) : undefined
        expect({ ...captured, raw: [...(captured?.raw ?? [])] }).toEqual({ ...live, raw: [...(live?.raw ?? [])] })
        expect(captured?.id).toBe(9007199254740993n)
        expect(captured?.scaled).toBe("1.1000")
      })
    )
  })
})
