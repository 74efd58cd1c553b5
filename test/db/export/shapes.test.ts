import * as SqlClient from "@effect/sql/SqlClient"
import { describe, expect, it } from "@effect/vitest"
import { Ajv } from "ajv"
import addFormats from "ajv-formats"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { join } from "node:path"
import * as Export from "../../../src/Export.js"
import * as Json from "../../../src/Json.js"
import * as Query from "../../../src/Query.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import { linesOf } from "../../support/export.js"
import { at, reset, write } from "../../support/query.js"
import { scratch } from "../../support/scratch.js"
import * as schemas from "../../support/shapeSchemas.js"

const layer = Layer.merge(Query.layer, Export.layerWith({ record: false })).pipe(Layer.provideMerge(TestDatabase.layer))

const image = (text: string) => Json.unsafeParse(text) as Query.RowImage

/** Every operation, with what is hard: digits, keys of several columns or with control characters, masked values, no actor. */
const log = Effect.gen(function* () {
  yield* reset
  yield* write({
    transactions: [
      {
        id: "1",
        occurredAt: at(1),
        actor: { type: "admin", id: "42", label: 'the "desk"', impersonator: { type: "system", id: "cron" } },
        correlationId: "req\n1",
        requestId: "r-1",
        source: "web",
        meta: { plan: "gold" },
        actionId: "9000001"
      },
      { id: "2", occurredAt: at(2) },
      { id: "3", occurredAt: at(3), actor: { type: "anonymous" } },
      { id: "4", occurredAt: at(4), actor: { type: "job", id: "nightly" } }
    ],
    actions: [{ id: "9000001", transactionId: "1", name: "post.created", occurredAt: at(1) }],
    changes: [
      {
        id: "1",
        transactionId: "1",
        at: at(1, 999_999),
        op: "insert",
        key: "1",
        after: image(`{"id":1,"price":1.10,"big":9007199254740993,"email":"[masked]"}`)
      },
      {
        id: "2",
        transactionId: "2",
        at: at(2),
        op: "update",
        key: "2,\tb",
        previousKey: "1,a",
        fields: ["price", "email"],
        from: image(`{"price":1.10,"email":"[masked]"}`),
        after: image(`{"id":2,"price":12345678901234567890.50,"email":"[masked]","kept":[null,{"a":1e400}]}`)
      },
      { id: "3", transactionId: "3", at: at(3), op: "delete", key: "3", from: image(`{"id":3}`) },
      { id: "4", transactionId: "3", at: at(3, 1), table: "notes", op: "truncate", details: { rows: 3 } },
      { id: "5", transactionId: "4", at: at(4), op: "truncate", key: "5", from: image(`{"id":5}`) },
      { id: "6", transactionId: "4", at: at(4, 1), op: "baseline", key: "6", after: image(`{"id":6}`) },
      // Rows that somebody wrote by hand.
      { id: "7", transactionId: "4", at: at(4, 2), op: "update", key: "7" }
    ]
  })
  const sql = yield* SqlClient.SqlClient
  yield* sql`update threadline.audit_changes set row_pk = '{"tenant": "2", "name": "\\tb"}' where id = 2`
})

/** A line as every other program reads it. */
const plain = (line: string | undefined) => JSON.parse(line ?? "") as Record<string, unknown>

const millis = Date.UTC(2026, 0, 2)

it.layer(layer)("shapes", (it) => {
  it.effect("of OCSF are events of Entity Management, class 3004", () =>
    Effect.gen(function* () {
      yield* log
      const lines = yield* linesOf({ shape: "ocsf" })
      const events = lines.map(plain)
      expect(
        events.map((event) => [event["activity_id"], event["activity_name"], event["type_uid"], event["message"]])
      ).toEqual([
        [1, "Create", 300_401, "insert public.posts 1"],
        [3, "Update", 300_403, "update public.posts 2,\tb"],
        [4, "Delete", 300_404, "delete public.posts 3"],
        [4, "Delete", 300_404, "truncate public.notes"],
        [4, "Delete", 300_404, "truncate public.posts 5"],
        [99, "Baseline", 300_499, "baseline public.posts 6"],
        [3, "Update", 300_403, "update public.posts 7"]
      ])
      const [first] = yield* Effect.map(Query.timeline({ order: "oldest", limit: 1 }), ({ items }) => items)
      const { action, transaction } = plain(Json.stringify(first ?? null))
      expect(events[0]).toEqual({
        activity_id: 1,
        activity_name: "Create",
        type_uid: 300_401,
        type_name: "Entity Management: Create",
        category_uid: 3,
        category_name: "Identity & Access Management",
        class_uid: 3004,
        class_name: "Entity Management",
        severity_id: 1,
        severity: "Informational",
        status_id: 1,
        status: "Success",
        time: millis + 1999,
        message: "insert public.posts 1",
        comment: "post.created",
        metadata: {
          version: "1.6.0",
          product: { name: "Threadline", vendor_name: "Threadline" },
          log_name: "audit_changes",
          uid: "1",
          event_code: "insert",
          original_time: at(1, 999_999),
          correlation_uid: "req\n1"
        },
        actor: { user: { uid: "42", name: 'the "desk"', type_id: 2, type: "Admin" } },
        entity: { name: "public.posts 1", type: "public.posts", type_id: 99, uid: "1" },
        entity_result: {
          name: "public.posts 1",
          type: "public.posts",
          type_id: 99,
          uid: "1",
          data: JSON.parse(`{"id":1,"price":1.10,"big":9007199254740993,"email":"[masked]"}`) as unknown
        },
        unmapped: {
          rowPk: { id: "1" },
          previousRowKey: null,
          partitionName: null,
          changedFields: null,
          details: null,
          transaction,
          action
        }
      })
      expect(lines[0]).toContain(`"big": 9007199254740993`)
      expect(lines[0]).toContain(`"price": 1.10`)
      expect(events[1]).toMatchObject({
        entity: { uid: "1,a", data: { id: 2, price: 1.1, email: "[masked]" } },
        entity_result: { uid: "2,\tb", data: { id: 2 } },
        unmapped: { rowPk: { tenant: "2", name: "\tb" }, changedFields: ["price", "email"] }
      })
      expect(lines[1]).toContain("12345678901234567890.50")
      expect(events[1]).not.toHaveProperty("actor")
      expect(events[2]).not.toHaveProperty("entity_result")
      expect(events.map((event) => event["actor"])).toEqual([
        expect.anything(),
        undefined,
        { user: { name: "anonymous", type_id: 99, type: "anonymous" } },
        { user: { name: "anonymous", type_id: 99, type: "anonymous" } },
        ...Array.from({ length: 3 }, () => ({
          user: { uid: "nightly", name: "nightly", type_id: 99, type: "job" }
        }))
      ])
      expect(events[3]).toMatchObject({
        entity: { name: "public.notes", type: "public.notes", type_id: 99 },
        unmapped: { rowPk: null, details: { rows: 3 } }
      })
    })
  )

  it.effect("of CloudEvents have the JSON of a change as the data of an event", () =>
    Effect.gen(function* () {
      yield* log
      const lines = yield* linesOf({ shape: "cloudevents" })
      const changes = yield* linesOf({})
      const events = lines.map(plain)
      const sql = yield* SqlClient.SqlClient
      const [database] = yield* sql<{ name: string }>`select current_database() as name`
      expect(events[0]).toEqual({
        specversion: "1.0",
        id: "1",
        source: `/threadline/${encodeURIComponent(database?.name ?? "")}`,
        type: "threadline.change.insert",
        time: at(1, 999_999),
        subject: "public.posts/1",
        partitionkey: "public.posts/1",
        correlationid: "req 1",
        datacontenttype: "application/json",
        data: plain(changes[0])
      })
      expect(events.map(({ data }) => data)).toEqual(changes.map(plain))
      // The data is the very text of the change, so no digit is lost.
      lines.forEach((line, index) => expect(line.endsWith(`"data":${changes[index] ?? ""}}`)).toBe(true))
      expect(events[1]).toMatchObject({ subject: "public.posts/2, b" })
      expect(events[1]).not.toHaveProperty("correlationid")
      expect(events[3]).toMatchObject({ subject: "public.notes", type: "threadline.change.truncate" })
    })
  )

  it.effect("of Debezium have the rows before and after", () =>
    Effect.gen(function* () {
      yield* log
      const lines = yield* linesOf({ shape: "debezium" })
      const events = lines.map(plain)
      const sql = yield* SqlClient.SqlClient
      const [database] = yield* sql<{ name: string }>`select current_database() as name`
      expect(events.map(({ after, before, op }) => [op, before, after])).toEqual([
        ["c", null, JSON.parse(`{"id":1,"price":1.10,"big":9007199254740993,"email":"[masked]"}`)],
        [
          "u",
          JSON.parse(`{"id":2,"price":1.10,"email":"[masked]","kept":[null,{"a":1e400}]}`),
          JSON.parse(`{"id":2,"price":12345678901234567890.50,"email":"[masked]","kept":[null,{"a":1e400}]}`)
        ],
        ["d", { id: 3 }, null],
        ["t", null, null],
        ["d", { id: 5 }, null],
        ["r", null, { id: 6 }],
        ["u", null, null]
      ])
      const micros = `${millis + 1999}999`
      expect(lines[0]).toContain(`"ts_ms":${millis + 1999},"ts_us":${micros},"ts_ns":${micros}000`)
      expect(events[0]?.["source"]).toEqual({
        version: "1",
        connector: "threadline",
        name: database?.name,
        db: database?.name,
        schema: "public",
        table: "posts",
        snapshot: "false",
        txId: 1,
        lsn: null,
        xmin: null,
        ts_ms: millis + 1999,
        ts_us: Number(micros),
        ts_ns: Number(`${micros}000`)
      })
      expect(events[5]).toMatchObject({ source: { snapshot: "true" } })
      const changes = yield* linesOf({})
      events.forEach((event, index) => {
        const { changedFrom, dataAfter, tableName, tableSchema, ...rest } = plain(changes[index])
        expect(event["threadline"]).toEqual(rest)
        expect([changedFrom, dataAfter, tableName, tableSchema]).toHaveLength(4)
      })
      expect(lines[1]).toContain(`"price": 1.10`)
    })
  )

  it.effect("are what their standards say, for each operation", () =>
    Effect.gen(function* () {
      yield* log
      const ajv = new Ajv({ strict: false, allErrors: true })
      addFormats.default(ajv)
      const sql = yield* SqlClient.SqlClient
      yield* sql`update threadline.audit_transactions set remote_ip = '2001:db8::7', application_name = 'psql' where id = 2`
      for (const shape of ["ocsf", "cloudevents", "debezium"] as const) {
        const fits = ajv.compile(schemas[shape])
        const events = (yield* linesOf({ shape })).map(plain)
        expect(events).toHaveLength(7)
        for (const event of events) {
          expect([fits(event), fits.errors, event]).toEqual([true, null, event])
        }
        // The schemas are no formality.
        for (const key of Object.keys(events[0] ?? {}).filter((name) =>
          (schemas[shape]["required"] as ReadonlyArray<string>).includes(name)
        )) {
          const { [key]: _, ...rest } = events[0] ?? {}
          expect([key, fits(rest)]).toEqual([key, false])
        }
        expect(fits({ ...events[0], "un-known": "\n" })).toBe(false)
      }
    })
  )

  describe("with other options", () => {
    it.effect("hide the row before, too, under a scope", () =>
      Effect.gen(function* () {
        yield* log
        const scope: Query.ReadScope = (surface, columns) =>
          surface === "changes" && columns.sql`${columns.image} ->> 'price' = '12345678901234567890.50'`
        for (const shape of ["ocsf", "debezium", "cloudevents"] as const) {
          const lines = yield* Query.withScope(scope)(linesOf({ shape }))
          expect(lines).toHaveLength(1)
          expect(lines[0]).not.toContain("1.10")
          expect(lines[0]).not.toContain("1,a")
        }
      })
    )

    it.scoped("are named by the manifest, and a file of one is verified", () =>
      Effect.gen(function* () {
        yield* log
        const directory = yield* scratch()
        const file = join(directory, "events.ndjson")
        const manifest = yield* Export.toFile(file, { format: "ndjson", shape: "ocsf", compression: "gzip" })
        expect(manifest).toMatchObject({ format: "ndjson", shape: "ocsf", shapeVersion: "1.6.0", count: 7 })
        const verified = yield* Export.verify(file)
        expect(verified.differences).toEqual([])
        expect(Option.map(verified.manifest, ({ shape }) => shape)).toEqual(Option.some("ocsf"))
      })
    )

    it("are refused if they are not known, or of another format", () => {
      const unknown = Export.validate({ format: "ndjson", shape: "leef" as never })
      expect(Either.getOrThrow(Either.flip(unknown))).toMatchObject({
        field: "shape",
        rule: "must be ocsf, cloudevents or debezium"
      })
      for (const format of ["csv", "json"] as const) {
        expect(Either.getOrThrow(Either.flip(Export.validate({ format, shape: "ocsf" })))).toMatchObject({
          field: "shape",
          rule: `is one of NDJSON: ${format} has none`
        })
      }
    })
  })
})
