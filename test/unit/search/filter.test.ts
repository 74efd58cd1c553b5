import { describe, expect, it } from "@effect/vitest"
import * as BigDecimal from "effect/BigDecimal"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Schema from "effect/Schema"
import { decodeFilter } from "../../../src/internal/search/filter.js"
import { canonical } from "../../../src/internal/core/json.js"
import * as Json from "../../../src/Json.js"
import * as Query from "../../../src/Query.js"
import { runs } from "../../support/runs.js"

/** What is wrong with a filter, or that nothing is. */
const refusal = (input: object): string =>
  Either.match(decodeFilter(input as Query.FilterInput), {
    onLeft: ({ field, rule }) => `${field}: ${rule}`,
    onRight: () => "fine"
  })

const decoded = (input: Query.FilterInput): Query.Filter => Either.getOrThrow(decodeFilter(input))

describe("Query.Filter", () => {
  it("names what is unknown, malformed or contradictory", () => {
    const long = "x".repeat(257)
    const cyclic: { self?: object } = {}
    cyclic.self = cyclic
    for (const [input, expected] of [
      [{ tabel: "posts" }, "tabel: is not known here"],
      [{ table: "" }, /^table: /],
      [{ table: ["posts", 'a"b'] }, /^table: /],
      [{ table: [] }, /^table: /],
      [{ table: Array.from({ length: 51 }, (_, index) => `t${index}`) }, "table: must not be more than 50"],
      [{ key: "1" }, "key: needs the table that it is a key of"],
      [{ key: "1", table: ["posts", "notes"] }, "key: is a key of one table only"],
      [{ schema: "other", table: "posts" }, "schema: holds none of the tables of this filter"],
      [{ op: "upsert" }, /^op: must be insert/],
      [{ contains: {} }, /^contains: must be an object of at least one field/],
      [{ contains: [1] }, /^contains: must be an object/],
      [{ contains: { a: undefined } }, /^contains: must be an object/],
      [{ contains: { a: () => 1 } }, /^contains: must be an object/],
      [{ contains: { a: new Date(0) } }, /^contains: must be an object/],
      [{ contains: cyclic }, /^contains: must be an object/],
      [{ contains: { a: "\0" } }, /^contains: must be an object/],
      [{ contains: { a: "x".repeat(20_000) } }, /^contains: must be an object/],
      [{ contains: { a: Number.NaN } }, /^contains: must be an object/],
      [{ contains: { a: "\\u0000" } }, "fine"],
      ...["contains", "meta"].flatMap((field) =>
        [
          { a: "\ud800" },
          { "\udfff": 1 },
          { a: [{ "\0": 1 }] },
          { a: BigDecimal.make(1n, -131_072) },
          { a: [BigDecimal.make(1n, 16_384)] }
        ].map((document) => [{ [field]: document }, new RegExp(`^${field}: must be an object`)] as const)
      ),
      ...[
        "schema",
        "changedField",
        "action",
        "correlationId",
        "requestId",
        "jobId",
        "traceId",
        "source",
        "dbUser",
        "actorLabel"
      ].flatMap((field) =>
        ["a\0", "a\ud800"].map(
          (text) => [{ [field]: text }, `${field}: must not hold a NUL or half of a surrogate pair`] as const
        )
      ),
      [{ actor: { type: "user", id: "a\0" } }, "actor: id must not hold a NUL or half of a surrogate pair"],
      [{ impersonator: { type: "user", id: "" } }, "impersonator: id must not be empty"],
      [{ table: '"a\0"' }, /^table: must be a table name/],
      [{ table: '"a\ud800"' }, /^table: must be a table name/],
      ...[null, Number.NaN, 1e21, "a\0", "\ud800", [], [null], { id: "\0" }, { "\ud800": 1 }].map(
        (key) =>
          [{ table: "posts", key }, /^key: must be the key of a row: .* beyond 2\^53 as text or bigint$/] as const
      ),
      [{ changedField: "title", op: "insert" }, "changedField: is about updates, which op leaves out"],
      [{ actor: { type: "robot" } }, /^actor: must be/],
      [{ actor: { type: "user", id: long } }, "actor: id must not exceed 256 bytes"],
      [{ actor: { type: "anonymous", id: "1" } }, "actor: an anonymous actor has no id"],
      [{ impersonator: { type: "anonymous", id: "1" } }, "impersonator: an anonymous actor has no id"],
      [{ unattributed: true, actor: { type: "user" } }, /^unattributed: excludes every actor/],
      [{ unattributed: true, actorLabel: "desk" }, /^unattributed: excludes every actorLabel/],
      [{ unattributed: true, impersonator: { type: "user" } }, /^unattributed: excludes every impersonator/],
      [{ includeCaptureOnly: true }, "includeCaptureOnly: widens correlationId, which is not given"],
      [{ includeCaptureOnly: true, correlationId: "c", action: "did" }, /^includeCaptureOnly: asks for transactions/],
      [{ actionStatus: "maybe" }, "actionStatus: must be ok or error"],
      ...["action", "correlationId", "requestId", "jobId", "traceId", "source", "dbUser", "schema", "changedField"].map(
        (field) => [{ [field]: long }, `${field}: must not exceed 256 bytes`] as const
      ),
      [{ requestId: "" }, "requestId: must not be empty"],
      [{ meta: "x" }, /^meta: must be an object/],
      [{ transactionId: "x" }, /^transactionId: must be an id/],
      [{ from: "yesterday" }, /^from: /],
      [{ from: "2026-01-02", to: "2026-01-01" }, "to: must not be before from"],
      [{ order: "random" }, "order: must be newest or oldest"],
      [{ limit: 0 }, "limit: must be a whole number from 1 to 1000"],
      [{ limit: 1001 }, "limit: must be a whole number from 1 to 1000"],
      [{ table: ["posts", "public.posts"], schema: "public" }, "fine"]
    ] as const) {
      const refused = refusal(input)
      if (typeof expected === "string") {
        expect([input, refused]).toEqual([input, expected])
      } else {
        expect(refused).toMatch(expected)
      }
    }
  })

  it("refuses what is nested deeper than anybody can look", () => {
    let deep: Json.JsonValue = 1
    for (let depth = 0; depth < 7000; depth++) {
      deep = [deep]
    }
    for (const input of [{ contains: { a: deep } }, { meta: { a: deep } }]) {
      expect(refusal(input)).toMatch(/^(request: is nested too deeply|contains: must be|meta: must be)/)
    }
    expect(Either.isLeft(Query.filterFromUrl(`contains=${"[".repeat(7000)}`))).toBe(true)
    expect(Either.isLeft(Query.filterFromUrl(`meta={"a":${"[".repeat(7000)}${"]".repeat(7000)}}`))).toBe(true)
  })

  it("is the same filter however it is written", () => {
    expect(decoded({ table: ["b", "a", "public.b"], op: ["update", "delete", "update"] })).toEqual(
      decoded({ table: ["public.a", "b"], op: ["delete", "update"] })
    )
    expect(decoded({ table: "posts", action: "did", changedField: "v" })).toMatchObject({
      table: [decoded({ table: ["posts"] }).table?.[0]],
      action: ["did"],
      changedField: ["v"]
    })
  })

  it("has one value for numbers that are the same", () => {
    for (const numbers of [
      [0, -0, 0n, BigDecimal.make(0n, 5), BigDecimal.make(0n, -20_000)],
      [1, 1n, BigDecimal.make(100n, 2), BigDecimal.make(1n, 0)],
      [1e21, 10n ** 21n, BigDecimal.make(1n, -21), BigDecimal.make(1000n, -18)],
      [1e-7, BigDecimal.make(1n, 7), BigDecimal.make(10n, 8)],
      [0.1, BigDecimal.make(100n, 3)],
      [-1.5e300, BigDecimal.make(-15n, -299), -15n * 10n ** 299n],
      [2 ** 60, 1152921504606847000n],
      [9007199254740991, 9007199254740991n, BigDecimal.make(9007199254740991n, 0)]
    ]) {
      const filters = numbers.map((n) => decoded({ contains: { n, m: [n] }, meta: { deep: { n } } }))
      expect(new Set(filters.map(Query.filterToUrl)).size).toBe(1)
      for (const filter of filters) {
        const again = Either.getOrThrow(Query.filterFromUrl(Query.filterToUrl(filter)))
        expect(shown(again)).toEqual(shown(filter))
        expect(Query.filterToUrl(again)).toBe(Query.filterToUrl(filter))
        expect(shown(decoded(filter))).toEqual(shown(filter))
      }
    }
    expect(Query.filterToUrl(decoded({ contains: { n: BigDecimal.make(1n, -131_071) } }))).toBe(
      "contains=%7B%22n%22%3A1e131071%7D"
    )
  })

  it("reads back from each of its forms: the text of a URL, its parameters, a document", () => {
    const text = FastCheck.string({ minLength: 1, maxLength: 20, unit: "grapheme" }).filter(
      (value) => !value.includes("\0")
    )
    const json = FastCheck.oneof(
      text,
      FastCheck.integer(),
      FastCheck.boolean(),
      FastCheck.constant(null),
      FastCheck.double({ noNaN: true, noDefaultInfinity: true }),
      FastCheck.constantFrom(-0, 1e21, 1e-7, 5e-324, 2 ** 53, 2 ** 70),
      FastCheck.bigInt({ min: -(2n ** 80n), max: 2n ** 80n }),
      FastCheck.integer({ min: 0, max: 400 }).map((power) => 10n ** BigInt(power)),
      FastCheck.tuple(FastCheck.bigInt({ min: -1000n, max: 1000n }), FastCheck.integer({ min: -400, max: 400 })).map(
        ([value, scale]) => BigDecimal.make(value, scale)
      )
    )
    const object = FastCheck.dictionary(text, FastCheck.oneof(json, FastCheck.array(json, { maxLength: 3 })), {
      minKeys: 1,
      maxKeys: 3
    })
    const sometimes = <A>(arbitrary: FastCheck.Arbitrary<A>) => FastCheck.option(arbitrary, { nil: undefined })
    const actor = FastCheck.record({
      type: FastCheck.constantFrom("user" as const, "service_account" as const),
      id: sometimes(text)
    }).map(({ id, type }) => (id === undefined ? { type } : { type, id }))
    const instant = FastCheck.date({ min: new Date(0), max: new Date("2100-01-01"), noInvalidDate: true })
    const several = <A>(one: FastCheck.Arbitrary<A>) =>
      FastCheck.array(one, { minLength: 1, maxLength: 3 }).map((list) => list as [A, ...Array<A>])
    FastCheck.assert(
      FastCheck.property(
        FastCheck.record({
          table: sometimes(several(FastCheck.constantFrom("posts", "other.notes", '"Odd.Schema"."T ü"'))),
          contains: sometimes(object),
          changedField: sometimes(several(text)),
          actor: sometimes(actor),
          impersonator: sometimes(actor),
          actorLabel: sometimes(text),
          action: sometimes(several(text)),
          actionStatus: sometimes(FastCheck.constantFrom("ok" as const, "error" as const)),
          correlationId: sometimes(text),
          requestId: sometimes(text),
          jobId: sometimes(text),
          traceId: sometimes(text),
          source: sometimes(text),
          meta: sometimes(object),
          dbUser: sometimes(text),
          transactionId: sometimes(FastCheck.bigInt({ min: 0n, max: 2n ** 63n - 1n }).map(String)),
          from: sometimes(instant),
          order: sometimes(FastCheck.constantFrom("newest" as const, "oldest" as const)),
          limit: sometimes(FastCheck.integer({ min: 1, max: 1000 })),
          cursor: sometimes(text),
          key: FastCheck.oneof(text, several(text), FastCheck.dictionary(text, text, { minKeys: 1, maxKeys: 3 })),
          keyed: FastCheck.boolean()
        }),
        ({ key, keyed, ...rest }) => {
          const input: Query.FilterInput =
            keyed && rest.table !== undefined ? { ...rest, table: rest.table[0], key } : rest
          const filter = decoded(input)
          const url = Query.filterToUrl(filter)
          const again = Either.getOrThrow(Query.filterFromUrl(`?${url}`))
          expect(shown(again)).toEqual(shown(filter))
          expect(Query.filterToUrl(again)).toBe(url)
          for (const form of forms) {
            expect(shown(form(filter))).toEqual(shown(filter))
          }
        }
      ),
      { numRuns: runs(300) }
    )
  })

  it("has one text, in which nothing stands that it would mean anyway", () => {
    expect(Query.filterToUrl(decoded({}))).toBe("")
    expect(Query.filterToUrl(decoded({ order: "newest", limit: 50, unattributed: false }))).toBe("")
    expect(
      Query.filterToUrl(
        decoded({
          op: ["update", "delete"],
          actor: { type: "user", id: "a:b" },
          table: "posts",
          meta: { b: 1, a: [2n] }
        })
      )
    ).toBe("table=public.posts&op=delete&op=update&actor=user%3Aa%3Ab&meta=%7B%22a%22%3A%5B2%5D%2C%22b%22%3A1%7D")
    expect(Query.filterToUrl(decoded({ table: "members", key: ["a", "b"] }))).toBe(
      "table=public.members&keyJson=%5B%22a%22%2C%22b%22%5D"
    )
    // A form sends `key=` if nobody filled it in.
    expect(Query.filterToUrl(decoded({ table: "members", key: "" }))).toBe("table=public.members&keyJson=%22%22")
    expect(Either.getOrThrow(Query.filterFromUrl("table=members&keyJson=%22%22")).key).toBe("")
  })

  it("has one document, in which nothing stands that it would mean anyway", () => {
    const documentOf = (filter: Query.FilterInput) =>
      Schema.encodeSync(Json.fromText(Query.FilterFromJson))(decoded(filter))
    expect(documentOf({ order: "newest", limit: 50, unattributed: false })).toBe("{}")
    expect(
      documentOf({ from: new Date(0), table: "posts", key: { b: 1, a: 2n ** 64n }, contains: { n: 2n ** 64n, m: 1 } })
    ).toBe(
      '{"table":["public.posts"],"key":{"a":"18446744073709551616","b":"1"},' +
        '"contains":{"m":1,"n":18446744073709551616},"from":"1970-01-01T00:00:00.000000Z"}'
    )
  })

  it("refuses a document and parameters that are none, and says why", () => {
    const because = (result: Either.Either<Query.Filter, unknown>) =>
      Either.match(result, { onLeft: String, onRight: () => "fine" })
    const fromJson = Schema.decodeUnknownEither(Query.FilterFromJson)
    expect(because(fromJson({ table: "posts", op: "delete" }))).toBe("fine")
    expect(because(fromJson({ tabel: "posts" }))).toContain('"tabel"')
    expect(because(fromJson({ table: "posts", op: "remove" }))).toContain('"op"')
    expect(because(fromJson({ limit: 5000 }))).toContain("limit must be a whole number from 1 to 1000")
    expect(because(fromJson({ key: "1" }))).toContain("key needs the table that it is a key of")
    const fromParams = Schema.decodeUnknownEither(Query.FilterFromUrlParams)
    expect(because(fromParams({ table: ["a", "b"], op: "delete" }))).toBe("fine")
    expect(because(fromParams({ tabel: "posts" }))).toContain('"tabel"')
    expect(because(fromParams({ from: ["2026-01-01", "2026-01-02"] }))).toContain('"from"')
    expect(because(fromParams({ limit: "ten" }))).toContain("limit must be a whole number from 1 to 1000")
    expect(because(fromParams({ table: "posts", key: "1", keyJson: "[1]" }))).toContain(
      "keyJson is another form of key"
    )
    expect(because(Schema.decodeUnknownEither(Query.FilterFromUrl)("?tabel=posts"))).toContain(
      "tabel is not known here"
    )
  })

  it("refuses a text that is none", () => {
    const refused = (text: string) =>
      Either.match(Query.filterFromUrl(text), {
        onLeft: ({ field, rule }) => `${field}: ${rule}`,
        onRight: () => "fine"
      })
    for (const [text, expected] of [
      ["?tabel=posts", "tabel: is not known here"],
      ["__proto__=1", "__proto__: is not known here"],
      ["from=2026-01-01&from=2026-01-02", "from: must be given once"],
      ["limit=ten", "limit: must be a whole number from 1 to 1000"],
      ["limit=1e2", "limit: must be a whole number from 1 to 1000"],
      ["unattributed=yes", "unattributed: must be true or false"],
      ["meta=%7B", /^meta: must be an object/],
      ["contains=7", /^contains: must be an object/],
      ["actor=robot:1", /^actor: must be/],
      ["table=posts&key=1&keyJson=[1]", /^keyJson: is another form/],
      ["table=posts&keyJson=1", /^keyJson: must be a JSON array, object or string/],
      ["key=1", /^key: needs the table/],
      ["", "fine"],
      ["?", "fine"]
    ] as const) {
      if (typeof expected === "string") {
        expect([text, refused(text)]).toEqual([text, expected])
      } else {
        expect(refused(text)).toMatch(expected)
      }
    }
  })
})

const throughForm =
  <I>(schema: Schema.Schema<Query.Filter, I>) =>
  (filter: Query.Filter): Query.Filter => {
    const encoded = Schema.encodeSync(schema)(filter)
    const again = Schema.decodeSync(schema)(encoded)
    // Equal filters have equal forms.
    expect(Json.stringify(Schema.encodeSync(schema)(again) as object)).toBe(Json.stringify(encoded as object))
    return again
  }

const forms = [
  throughForm(Query.FilterFromUrl),
  throughForm(Query.FilterFromUrlParams),
  throughForm(Query.FilterFromJson),
  throughForm(Json.fromText(Query.FilterFromJson))
]

/** A filter with its numbers as texts, to be compared. */
const shown = (filter: Query.Filter) => ({
  ...filter,
  contains: filter.contains === undefined ? undefined : canonical(filter.contains),
  meta: filter.meta === undefined ? undefined : canonical(filter.meta)
})
