import { describe, expect, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as BigDecimal from "effect/BigDecimal"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as JSONSchema from "effect/JSONSchema"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Capture from "../../src/Capture.js"
import * as Feed from "../../src/Feed.js"
import * as Json from "../../src/Json.js"
import * as Migrations from "../../src/Migrations.js"
import * as Page from "../../src/Page.js"
import * as Query from "../../src/Query.js"

/** Whether `JSON.stringify` can write a number by its digits here. */
const hasRawJson = "rawJSON" in JSON

/** A number as `JSON.stringify` writes it if a double does not hold it. */
const digits = (text: string): string => (hasRawJson ? text : `"${text}"`)

const change: Query.Change = {
  id: "9007199254740993",
  transactionId: "7",
  capturedAt: "2026-11-22T10:00:00.123456Z",
  tableSchema: "public",
  tableName: "invoices",
  partitionName: null,
  op: "update",
  rowPk: { id: "9007199254740993" },
  rowKey: "9007199254740993",
  previousRowKey: null,
  changedFields: ["total"],
  changedFrom: { total: BigDecimal.make(110n, 2) },
  dataAfter: { id: 9007199254740993n, total: BigDecimal.make(120n, 2), lines: [1, 18446744073709551616n, { n: 1n }] },
  details: null,
  transaction: {
    id: "7",
    occurredAt: "2026-11-22T10:00:00.000000Z",
    actor: { type: "user", id: "42" },
    correlationId: null,
    requestId: null,
    jobId: null,
    traceId: null,
    source: null,
    remoteIp: null,
    meta: { weight: BigDecimal.make(5n, 1) },
    contextError: null,
    dbUser: "app",
    applicationName: null,
    clientAddr: null
  },
  action: null
}

const text = Json.stringify(change)

describe("JSON.stringify", () => {
  it("writes what was read with the digits that were stored, or with these digits in strings", () => {
    const stored =
      '{"big":9007199254740993,"deep":[{"list":[18446744073709551616,1]}],"price":1.10,"small":2,"tiny":1e-20000}'
    const value = Json.unsafeParse(stored)
    expect(Json.stringify(value)).toBe(stored)
    expect(JSON.stringify(value)).toBe(
      `{"big":${digits("9007199254740993")},"deep":[{"list":[${digits("18446744073709551616")},1]}],` +
        `"price":${digits("1.10")},"small":2,"tiny":${digits("1e-20000")}}`
    )
  })

  it("writes a decimal that is taken out of an image", () => {
    const image = Json.unsafeParse('{"price":1.10}')
    expect(Json.isObject(image) && JSON.stringify({ price: image["price"] })).toBe(`{"price":${digits("1.10")}}`)
  })

  it("is not stopped by a stored field of the name toJSON", () => {
    const stored = '{"payload":{"toJSON":1,"n":9007199254740993}}'
    expect(JSON.stringify(Json.unsafeParse(stored))).toBe(`{"payload":{"toJSON":1,"n":${digits("9007199254740993")}}}`)
    const root = Json.unsafeParse('{"toJSON":1,"n":9007199254740993}')
    expect(JSON.stringify(Page.make([root]))).toBe(
      `{"items":[{"toJSON":1,"n":${digits("9007199254740993")}}],"nextCursor":null,"hasMore":false}`
    )
  })

  it("reads and writes a stored field of the name toJSON wherever it stands", () => {
    for (const stored of [
      '{"toJSON":9007199254740993}',
      '{"a":9007199254740993,"toJSON":1}',
      '{"toJSON":1,"a":9007199254740993}',
      '{"toJSON":{"a":9007199254740993},"b":[9007199254740993]}',
      '[{"a":9007199254740993,"toJSON":{"toJSON":-9007199254740993}},9007199254740993]',
      '{"__proto__":9007199254740993,"toJSON":null,"price":1.10}'
    ]) {
      const value = Option.getOrThrow(Json.parse(stored))
      expect(Json.stringify(value)).toBe(stored)
      const printed = stored.replaceAll(/-?9007199254740993|1\.10/g, digits)
      expect(JSON.stringify(value)).toBe(printed)
      expect(JSON.stringify({ ...change, dataAfter: value })).toContain(printed)
    }
  })

  it("writes a page as the command line does", () => {
    const cursor = Page.Cursor.make("abc")
    expect(JSON.stringify(Page.make([1, 2], Option.some(cursor)))).toBe(
      '{"items":[1,2],"nextCursor":"abc","hasMore":true}'
    )
    expect(JSON.stringify(Page.make([], Option.some(cursor), true))).toBe(
      '{"items":[],"nextCursor":"abc","hasMore":true,"partial":true}'
    )
    expect(JSON.stringify({ page: Page.map(Page.make([1]), (item) => item + 1) })).toBe(
      '{"page":{"items":[2],"nextCursor":null,"hasMore":false}}'
    )
  })

  it("writes a page of images that a host has put together from others", () => {
    const page = Page.make([{ ...change, dataAfter: { ...change.dataAfter, more: 9007199254740995n } }])
    expect(JSON.stringify(page)).toContain(`"more":${digits("9007199254740995")}`)
    expect(JSON.stringify(page)).toContain(`"total":${digits("1.20")}`)
    expect(Json.stringify(page)).toContain('"more":9007199254740995}')
  })

  it("leaves the fields of a value alone: there is nothing more to list, to copy or to compare", () => {
    const image = Json.unsafeParse('{"n":9007199254740993,"list":[9007199254740993]}')
    expect(image).toStrictEqual({ n: 9007199254740993n, list: [9007199254740993n] })
    expect(Json.isObject(image) && Object.hasOwn(image, "toJSON")).toBe(false)
    expect(Page.make([1])).toEqual({ items: [1], nextCursor: Option.none(), hasMore: false, partial: false })
    expect(Object.keys(Page.make([1]))).toEqual(["items", "nextCursor", "hasMore", "partial"])
  })
})

describe("Json.stringify", () => {
  it("is JSON.stringify but for numbers", () => {
    class Named {
      constructor(readonly name: string) {}
      toJSON(): unknown {
        return { named: this.name, nested: new Date(0) }
      }
    }
    for (const value of [
      { a: undefined, b: () => 1, c: Symbol("c"), d: [undefined, () => 1, Symbol("d")], e: Number.NaN },
      new Named("x"),
      [new Named("y"), { z: new Named("z") }],
      Option.some(1),
      new Map([[1, 2]]),
      'a"\u2028\ud800',
      null,
      -1.5e-7
    ]) {
      expect(Json.stringify(value as Json.JsonValue)).toBe(JSON.stringify(value))
    }
  })

  it("refuses what has no JSON", () => {
    const itself: { self?: unknown } = {}
    itself.self = { itself }
    expect(() => Json.stringify(itself)).toThrow(TypeError)
    expect(() => Json.stringify(() => 1)).toThrow(TypeError)
    const twice = { a: 1 }
    expect(Json.stringify([twice, twice])).toBe('[{"a":1},{"a":1}]')
  })
})

const models = {
  Change: Query.Change,
  Action: Query.Action,
  AuditTransaction: Query.AuditTransaction,
  TransactionSummary: Query.TransactionSummary,
  ChangeDiff: Query.ChangeDiff,
  RowDiff: Query.RowDiff,
  AsOf: Query.AsOf,
  RowAsOf: Query.RowAsOf,
  KeyAsOf: Query.KeyAsOf,
  Incident: Query.Incident,
  Bundle: Query.Bundle,
  Count: Query.Count,
  RelatedRows: Query.RelatedRows,
  AsOfWith: Query.AsOfWith,
  "Feed.Batch": Feed.Batch,
  "Feed.Consumer": Feed.Consumer,
  "Feed.Consumed": Feed.Consumed,
  "Capture.Policy": Capture.Policy,
  "Capture.Step": Capture.Step,
  "Capture.TableStatus": Capture.TableStatus,
  "Migrations.Status": Migrations.Status,
  "Migrations.RunResult": Migrations.RunResult,
  "Page of changes": Page.schema(Query.Change)
}

describe("the schema of a model", () => {
  for (const [name, schema] of Object.entries(models) as ReadonlyArray<[string, Schema.Schema<object, unknown>]>) {
    it(`encodes to the JSON that Json.stringify writes, and decodes from it: ${name}`, () => {
      const encode = Schema.encodeSync(schema)
      const exact = Json.fromText(schema)
      FastCheck.assert(
        FastCheck.property(Arbitrary.make(schema), (value) => {
          const json = Json.stringify(value)
          expect(Json.stringify(encode(value) as object)).toBe(json)
          expect(JSON.stringify(encode(value))).toBe(JSON.stringify(Json.unsafeParse(json)))
          expect(Schema.encodeSync(exact)(value)).toBe(json)
          expect(Json.stringify(Schema.decodeSync(exact)(json))).toBe(json)
        }),
        { numRuns: 25 }
      )
    })

    it(`has a JSON Schema: ${name}`, () => {
      expect(JSONSchema.make(schema)).toMatchObject({ $schema: expect.any(String) as unknown })
    })
  }

  it("keeps what belongs to a column named __proto__", () => {
    const decode = Schema.decodeUnknownSync(Capture.TableConfig)
    const config: unknown = JSON.parse('{"table":"public.odd","columns":{"__proto__":{"formerly":["proto"]}}}')
    expect(JSON.stringify(decode(config))).toBe(JSON.stringify(config))
    const wrong: unknown = JSON.parse('{"table":"public.odd","columns":{"__proto__":{"formerly":1}}}')
    expect(() => decode(wrong)).toThrow("must be a list of names of columns")
    const policy = FastCheck.sample(Arbitrary.make(Capture.Policy), 1)[0]
    const columns = JSON.parse(
      '{"masks":{"__proto__":"last4"},"paths":{"__proto__":[{"path":["a"],"as":"hash"}]}}'
    ) as object
    const document = { ...(Schema.encodeSync(Capture.Policy)(policy as Capture.Policy) as object), ...columns }
    const text = JSON.stringify(document)
    expect(JSON.stringify(Schema.decodeUnknownSync(Capture.Policy)(JSON.parse(text)))).toBe(text)
  })

  it("names what is wrong with a document", () => {
    const decode = Schema.decodeUnknownEither(Page.schema(Query.Change))
    const page = JSON.parse(Json.stringify(Page.make([change]))) as { items: Array<Record<string, unknown>> }
    expect(Either.isRight(decode(page))).toBe(true)
    page.items[0] = { ...page.items[0], capturedAt: "yesterday" }
    expect(Either.getLeft(decode(page)).pipe(Option.map(String), Option.getOrThrow)).toContain(
      "must be an instant in UTC with microseconds"
    )
  })

  it("encodes images that a host has made itself", () => {
    expect(JSON.stringify(Schema.encodeSync(Query.Change)(change))).toBe(
      hasRawJson
        ? text
        : text.replaceAll(/(?<=[:[,])(\d{16,}|\d+\.\d+)(?=[,}\]])/g, '"$1"').replaceAll('{"n":1}', '{"n":"1"}')
    )
  })
})
