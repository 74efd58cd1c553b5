import * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import { describe, expect, it } from "@effect/vitest"
import { parse as parseCsv } from "csv-parse/sync"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Stream from "effect/Stream"
import { createHash } from "node:crypto"
import { readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { gunzipSync } from "node:zlib"
import * as Actor from "../../../src/Actor.js"
import * as AuditContext from "../../../src/AuditContext.js"
import * as Export from "../../../src/Export.js"
import * as Grants from "../../../src/Grants.js"
import * as Json from "../../../src/Json.js"
import * as Query from "../../../src/Query.js"
import { clientOf } from "../../harness/client.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import { bytesOf, textOf } from "../../support/export.js"
import * as Parquet from "../../support/parquet.js"
import { at, reset, write } from "../../support/query.js"
import { scratch } from "../../support/scratch.js"

const layer = Layer.merge(Query.layer, Export.layer).pipe(Layer.provideMerge(TestDatabase.layer))

const directory = scratch()

const nasty = `=1+1;"a,b"\r\nc'\u{1f600}\t\\`

const log = Effect.gen(function* () {
  yield* reset
  yield* write({
    transactions: [
      {
        id: "1",
        occurredAt: at(1),
        actor: { type: "user", id: "42", label: nasty, impersonator: { type: "admin", id: "7" } },
        correlationId: "req-1",
        requestId: "=req",
        meta: { plan: "gold" },
        actionId: "9000001"
      },
      { id: "2", occurredAt: at(2) },
      { id: "3", occurredAt: at(3), actor: { type: "anonymous" }, source: "'web" }
    ],
    actions: [{ id: "9000001", transactionId: "1", name: "post.created", correlationId: "req-1", occurredAt: at(1) }],
    changes: [
      {
        id: "1",
        transactionId: "1",
        at: at(1, 7),
        op: "insert",
        key: "1",
        after: Json.unsafeParse(
          `{"id":1,"title":${JSON.stringify(nasty)},"price":1.10,"big":9007199254740993}`
        ) as Query.RowImage
      },
      {
        id: "2",
        transactionId: "2",
        at: at(2),
        op: "update",
        key: "+1",
        previousKey: "1",
        fields: ["title", "gone"],
        from: { title: nasty, gone: null },
        after: { id: 1, title: "" }
      },
      { id: "3", transactionId: "3", at: at(3), op: "delete", key: "-1", from: { id: 1, title: "" } },
      { id: "4", transactionId: "3", at: at(3, 1), table: "notes", op: "truncate", details: { rows: 3 } }
    ]
  })
})

const header = [
  ..."id transaction_id captured_at table_schema table_name partition_name op row_key row_pk previous_row_key".split(
    " "
  ),
  ..."changed_fields changed_from data_after details occurred_at actor_type actor_id actor correlation_id".split(" "),
  ..."request_id job_id trace_id source remote_ip meta context_error db_user application_name client_addr".split(" "),
  ..."action_id action_name action_status action_correlation_id".split(" ")
]

it.layer(layer)("Export", (it) => {
  describe("formats", () => {
    it.effect("write NDJSON as the timeline's JSON, a change a line, oldest first", () =>
      Effect.gen(function* () {
        yield* log
        const text = yield* textOf({ format: "ndjson" })
        const page = yield* Query.timeline({ order: "oldest" })
        expect(text.endsWith("}\n")).toBe(true)
        const lines = text.trimEnd().split("\n")
        expect(lines.map(Json.unsafeParse)).toEqual(
          page.items.map((change) => Json.unsafeParse(Json.stringify(change)))
        )
        expect(lines[0]).toContain(`"big": 9007199254740993`)
        expect(lines[0]).toContain(`"price": 1.10`)
        const newest = yield* textOf({ format: "ndjson", order: "newest", limit: 2 })
        expect(newest.trimEnd().split("\n")).toEqual([...lines].reverse().slice(0, 2))
      })
    )

    it.effect("write JSON as one document that ends with its manifest", () =>
      Effect.gen(function* () {
        yield* log
        for (const filter of [{}, { transactionId: "99" }]) {
          const text = yield* textOf({ format: "json", filter })
          const { items, manifest } = JSON.parse(text)
          const page = yield* Query.timeline({ ...filter, order: "oldest" })
          expect(items).toEqual(page.items.map((change) => JSON.parse(Json.stringify(change))))
          const before = text.slice(0, text.lastIndexOf(',"manifest":'))
          expect(manifest).toMatchObject({
            count: page.items.length,
            bytes: Buffer.byteLength(before),
            sha256: createHash("sha256").update(before).digest("hex")
          })
        }
      })
    )

    it.effect("write CSV with the columns of the contract, CRLF, and cells that no spreadsheet runs", () =>
      Effect.gen(function* () {
        yield* log
        const text = yield* textOf({ format: "csv" })
        expect(text.startsWith(`${header.join(",")}\r\n`)).toBe(true)
        expect(text.endsWith("\r\n")).toBe(true)
        const records: ReadonlyArray<Record<string, string>> = parseCsv(text, {
          columns: true,
          record_delimiter: "\r\n"
        })
        expect(records).toHaveLength(4)
        const [insert, update, removal, truncate] = records
        expect(insert?.["request_id"]).toBe("'=req")
        expect(update?.["row_key"]).toBe("'+1")
        expect(removal?.["row_key"]).toBe("'-1")
        expect(removal?.["source"]).toBe("''web")
        expect(insert?.["data_after"]).toContain(`"price": 1.10`)
        expect(insert?.["captured_at"]).toBe(at(1, 7))
        expect(truncate?.["details"]).toBe('{"rows": 3}')
        expect(text).toContain(`,"{""plan"": ""gold""}",,app,,,9000001,post.created,ok,req-1\r\n`)
        const raw = yield* textOf({ format: "csv", raw: true, columns: ["source", "row_key"] })
        expect(raw).toBe("source,row_key\r\n,1\r\n,+1\r\n'web,-1\r\n'web,\r\n")
      })
    )

    it.effect("write a person's CSV with a line for each field that changed", () =>
      Effect.gen(function* () {
        yield* log
        const text = yield* textOf({ format: "csv", columns: [...Export.personColumns], filter: { table: "posts" } })
        const records: ReadonlyArray<ReadonlyArray<string>> = parseCsv(text)
        const user = `user 42 (${nasty}) by admin 7`
        const [insert, update, removal] = ["insert posts: post.created", "update posts", "delete posts"]
        expect(records).toEqual([
          ["at", "who", "what", "row", "field", "before", "after"],
          [at(1, 7), user, insert, "1", "big", "", "9007199254740993"],
          [at(1, 7), user, insert, "1", "id", "", "1"],
          [at(1, 7), user, insert, "1", "price", "", "1.10"],
          [at(1, 7), user, insert, "1", "title", "", `'${nasty}`],
          [at(2), "unattributed", update, "1 -> +1", "gone", "", ""],
          [at(2), "unattributed", update, "1 -> +1", "title", `'${nasty}`, ""],
          [at(3), "anonymous", removal, "'-1", "id", "1", ""],
          [at(3), "anonymous", removal, "'-1", "title", "", ""]
        ])
        expect(yield* textOf({ format: "csv", columns: ["who", "id"], filter: { transactionId: "3" } })).toBe(
          "who,id\r\nanonymous,3\r\nanonymous,4\r\n"
        )
      })
    )

    it.effect("are compressed by gzip", () =>
      Effect.gen(function* () {
        yield* log
        for (const format of ["csv", "ndjson"] as const) {
          const packed = yield* bytesOf(Export.stream({ format, compression: "gzip" }))
          expect(String(gunzipSync(packed))).toBe(yield* textOf({ format }))
        }
        const zstd = yield* Effect.either(bytesOf(Export.stream({ format: "csv", compression: "zstd" })))
        if ("zstd" in process.versions) {
          expect(Either.isRight(zstd)).toBe(true)
        } else {
          expect(zstd).toMatchObject({ left: { _tag: "ExportError", reason: "Unsupported" } })
        }
      })
    )
  })

  describe("requests", () => {
    it.effect("that are wrong are refused by the name of the field", () =>
      Effect.forEach(
        [
          [{ format: "xml" }, "format"],
          [{}, "format"],
          [{ format: "csv", columns: ["id", "captured"] }, "columns"],
          [{ format: "csv", columns: [] }, "columns"],
          [{ format: "csv", columns: ["id", "id"] }, "columns"],
          [{ format: "json", columns: ["id"] }, "columns"],
          [{ format: "ndjson", raw: true }, "raw"],
          [{ format: "csv", limit: 0 }, "limit"],
          [{ format: "csv", limit: 1.5 }, "limit"],
          [{ format: "csv", order: "sideways" }, "order"],
          [{ format: "csv", compression: "lzma" }, "compression"],
          [{ format: "csv", colums: [] }, "colums"],
          [{ format: "csv", filter: { from: "2026-02-01", to: "2026-01-01" } }, "to"],
          [{ format: "csv", filter: { tabel: "posts" } }, "tabel"],
          [{ format: "csv", filter: [] }, "filter"],
          [{ format: "csv", filter: { cursor: "x" } }, "cursor"],
          [{ format: "csv", requestedBy: { type: "nobody" } }, "requestedBy.type"],
          [{ format: "csv", onProgress: true }, "onProgress"],
          [null, "options"]
        ] as const,
        ([options, field]) =>
          Effect.gen(function* () {
            const given = options as unknown as Export.StreamOptions
            expect(yield* Effect.flip(bytesOf(Export.stream(given)))).toMatchObject({ field })
            expect(Either.flip(Export.validate(given))).toMatchObject({ right: { field } })
          })
      )
    )

    it.effect("for a table or a column that nobody knows are not found", () =>
      Effect.gen(function* () {
        yield* log
        const failure = yield* Effect.flip(textOf({ format: "csv", filter: { table: "nosuch" } }))
        expect(failure).toMatchObject({ _tag: "threadline/NotFound", id: "public.nosuch" })
      })
    )
  })

  describe("scopes", () => {
    const ofTitle: Query.ReadScope = (surface, { sql, ...columns }) =>
      surface === "changes" && "image" in columns ? sql`${columns.image} ->> 'title' = ${""}` : false

    it.effect("restrict an export as they restrict the timeline", () =>
      Effect.gen(function* () {
        yield* log
        const options = { format: "ndjson", scopeName: "tenant" } as const
        const manifests: Array<Export.Manifest> = []
        const text = yield* textOf({
          ...options,
          onManifest: (manifest) => Effect.sync(() => void manifests.push(manifest))
        }).pipe(Query.withScope(ofTitle))
        const page = yield* Query.timeline({ order: "oldest" }).pipe(Query.withScope(ofTitle))
        expect(page.items.map(({ id }) => id)).toEqual(["2", "3"])
        expect(
          text
            .trimEnd()
            .split("\n")
            .map((line) => JSON.parse(line))
        ).toEqual(page.items.map((change) => JSON.parse(Json.stringify(change))))
        expect(manifests).toMatchObject([{ scope: "tenant", count: 2, knowledge: [] }])
        // What the update replaced is not visible, so that its fields are not told.
        const csv = yield* textOf({ format: "csv", columns: ["op", "row", "field", "before"] }).pipe(
          Query.withScope(ofTitle)
        )
        expect(csv).toBe("op,row,field,before\r\nupdate,'+1,,\r\ndelete,'-1,id,1\r\ndelete,'-1,title,\"\"\r\n")
      })
    )

    it.effect("tell by no estimate how much they hide", () =>
      Effect.gen(function* () {
        yield* log
        const estimates = (filter: Export.Options["filter"]) =>
          Effect.gen(function* () {
            const seen: Array<number | undefined> = []
            const onProgress = ({ estimate }: Export.Progress) => Effect.sync(() => void seen.push(estimate))
            yield* textOf({ format: "csv", filter, onProgress })
            return new Set(seen)
          })
        for (const filter of [{}, { table: "posts" }, { actor: { type: "user", id: "42" } }] as const) {
          expect([...(yield* estimates(filter))]).toEqual([expect.any(Number)])
          expect([...(yield* estimates(filter).pipe(Query.withScope(ofTitle)))]).toEqual([undefined])
        }
      })
    )

    it.effect("are required where a layer says so", () =>
      Effect.gen(function* () {
        yield* log
        const failure = yield* Effect.flip(textOf({ format: "csv" }))
        expect(failure).toMatchObject({ field: "scope" })
        expect(yield* textOf({ format: "csv", columns: ["id"] }).pipe(Query.withScope(ofTitle))).toBe(
          "id\r\n2\r\n3\r\n"
        )
      }).pipe(Effect.provide(Export.layerScopeRequired))
    )

    it.effect("bind what no statement without parameters could hold safely", () =>
      Effect.gen(function* () {
        yield* log
        const values = ["it's", "\\'; drop table x; --", "$1", nasty, "$$"]
        const scope: Query.ReadScope = (surface, { sql }) =>
          surface === "changes" &&
          sql`${values[0]} = ${`it's`} and ${values} = array[${sql.csv(values.map((value) => sql`${value}`))}]::text[]
            and ${1.5}::numeric + 1 = 2.5 and ${true} and ${new Date(0)}::timestamptz = 'epoch' and ${Buffer.from("\0'")}::bytea = '\\x0027'
            and ${JSON.stringify({ a: "'" })}::jsonb ->> 'a' = '''' and '$1 ${sql.literal("$2")}' <> ${"$2"} and ${null}::text is null`
        expect(yield* textOf({ format: "csv", columns: ["id"], limit: 1 }).pipe(Query.withScope(scope))).toBe(
          "id\r\n1\r\n"
        )
        const wrong: Query.ReadScope = (_, { sql }) => sql`(${"x"}::text)::int = 1`
        expect(yield* Effect.flip(textOf({ format: "csv" }).pipe(Query.withScope(wrong)))).toMatchObject({
          field: "scope"
        })
      })
    )
  })

  describe("streams", () => {
    const many = Effect.gen(function* () {
      yield* reset
      const sql = yield* SqlClient.SqlClient
      yield* sql`
        insert into threadline.audit_transactions (id, xid, epoch, occurred_at, db_user, backend_pid)
        overriding system value
        select n, n::text::xid8, 1, '2026-01-02', 'app', 1 from generate_series(1, 20000) n`
      yield* sql`
        insert into threadline.audit_changes (id, transaction_id, captured_at, table_schema, table_name, op, row_key, data_after)
        select n, n, '2026-01-02', 'public', 'posts', 'insert', n, jsonb_build_object('id', n, 'text', repeat('x', 2000))
        from generate_series(1, 20000) n`
    })

    const running = Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      return yield* sql<{ pid: number; query: string }>`
        select pid, query from pg_stat_activity
        where datname = current_database() and state <> 'idle' and query ilike 'copy%'`
    })

    it.effect("run an effect for each piece, which then is used again, and give the manifest", () =>
      Effect.gen(function* () {
        yield* reset
        yield* write({
          transactions: [{ id: "1", occurredAt: at(1) }],
          changes: Array.from({ length: 300 }, (_, index) => ({
            id: String(index + 1),
            transactionId: "1",
            at: at(1),
            op: "insert" as const,
            key: String(index),
            after: { id: index, text: "x".repeat(3000) }
          }))
        })
        for (const format of ["csv", "ndjson", "json", "parquet"] as const) {
          const whole = yield* bytesOf(Export.stream({ format, limit: 300 }))
          const pieces: Array<Buffer> = []
          const memories = new Set<ArrayBufferLike>()
          const manifest = yield* Export.runForEach({ format, limit: 300 }, (bytes) =>
            Effect.sync(() => {
              memories.add(bytes.buffer)
              pieces.push(Buffer.from(bytes))
            })
          )
          const copy = Buffer.concat(pieces)
          if (format === "csv" || format === "ndjson") {
            // A matcher would compare them byte by byte.
            expect(copy.equals(whole)).toBe(true)
            expect(pieces.length).toBeGreaterThan(4)
            // One that is read, and one that is written meanwhile.
            expect(memories.size).toBeLessThanOrEqual(4)
          }
          const sha256 = createHash("sha256").update(copy).digest("hex")
          expect(manifest).toMatchObject({ format, count: 300, bytes: copy.length, sha256 })
        }
        const failure = Export.runForEach({ format: "csv" }, () => Effect.fail("no room" as const))
        expect(yield* Effect.flip(failure)).toBe("no room")
        const { items } = yield* Query.actions({ action: "export.ended" })
        expect(items[0]).toMatchObject({ status: "error", data: { format: "csv" } })
        expect(yield* Effect.flip(Export.runForEach({ format: "csv", limit: 0 }, () => Effect.void))).toMatchObject({
          field: "limit"
        })
      })
    )

    it.effect(
      "that are left cancel their statement, and the pool goes on",
      () =>
        Effect.gen(function* () {
          yield* many
          const first = yield* Stream.runCollect(Stream.take(Export.stream({ format: "ndjson" }), 1))
          expect(Chunk.size(first)).toBe(1)
          const left = performance.now()
          yield* Effect.repeat(running, { until: (list) => list.length === 0 })
          expect(performance.now() - left).toBeLessThan(20_000)
          // A statement that has sent nothing yet.
          const slow: Query.ReadScope = (_, { sql }) => sql`pg_sleep(30) is not null`
          const fiber = yield* Effect.fork(textOf({ format: "csv" }).pipe(Query.withScope(slow)))
          yield* Effect.repeat(running, { until: (list) => list.length > 0 })
          const started = performance.now()
          yield* Fiber.interrupt(fiber)
          expect(performance.now() - started).toBeLessThan(20_000)
          yield* Effect.repeat(running, { until: (list) => list.length === 0 })
          for (let round = 0; round < 8; round++) {
            yield* Stream.runDrain(Stream.take(Export.stream({ format: "csv" }), 1))
          }
          expect((yield* textOf({ format: "csv", columns: ["id"] })).split("\r\n")).toHaveLength(20_002)
        }),
      300_000
    )

    it.effect("that are slow make the database wait, and see one snapshot", () =>
      Effect.gen(function* () {
        yield* many
        const sql = yield* SqlClient.SqlClient
        const begun = yield* Deferred.make<void>()
        const go = yield* Deferred.make<void>()
        const seen: Array<Export.Progress> = []
        const fiber = yield* Effect.fork(
          textOf({
            format: "ndjson",
            onProgress: (progress) =>
              Effect.zipRight(
                Effect.sync(() => void seen.push(progress)),
                Effect.zipRight(Deferred.succeed(begun, undefined), Deferred.await(go))
              )
          })
        )
        yield* Deferred.await(begun)
        yield* sql`delete from threadline.audit_changes where id > 100`
        expect(yield* running).toHaveLength(1)
        yield* Deferred.succeed(go, undefined)
        expect((yield* Fiber.join(fiber)).trimEnd().split("\n")).toHaveLength(20_000)
        expect(seen.at(-1)).toMatchObject({ records: 20_000 })
        expect(seen.length).toBeGreaterThan(10)
        expect(yield* textOf({ format: "csv", columns: ["id"], limit: 3, order: "newest" })).toBe(
          "id\r\n100\r\n99\r\n98\r\n"
        )
      })
    )

    it.effect("inside a transaction read what is committed, and do not wait for it", () =>
      Effect.gen(function* () {
        yield* log
        const sql = yield* SqlClient.SqlClient
        const inside = sql.withTransaction(
          Effect.gen(function* () {
            yield* sql`delete from threadline.audit_changes`
            return yield* Stream.runFoldEffect(Export.stream({ format: "csv", columns: ["id"] }), "", (text, piece) =>
              Effect.as(sql`select 1`, text + String(Buffer.from(piece)))
            )
          })
        )
        expect(yield* inside).toBe("id\r\n1\r\n2\r\n3\r\n4\r\n")
      })
    )

    /** A client whose reserved connections have no client of the driver. */
    const withoutDriver = Layer.effect(
      SqlClient.SqlClient,
      Effect.map(SqlClient.SqlClient, (sql) => {
        const reserve = Effect.map(sql.reserve, (connection): Connection => ({
          execute: (...args) => connection.execute(...args),
          executeRaw: (...args) => connection.executeRaw(...args),
          executeValues: (...args) => connection.executeValues(...args),
          executeUnprepared: (...args) => connection.executeUnprepared(...args),
          executeStream: (...args) => connection.executeStream(...args)
        }))
        const client: SqlClient.SqlClient = new Proxy(sql, {
          get: (target, key): unknown =>
            key === "reserve" ? reserve : key === "withoutTransforms" ? () => client : Reflect.get(target, key)
        })
        return client
      })
    )

    it.scoped("go through a cursor where there is no driver to copy with", () =>
      Effect.gen(function* () {
        const both = Effect.forEach(
          [
            { format: "csv" },
            { format: "json", limit: 2 },
            { format: "ndjson", filter: { op: "delete" } },
            { format: "csv", columns: Export.personColumns, filter: { table: "posts" } }
          ] satisfies ReadonlyArray<Export.StreamOptions>,
          textOf
        )
        const stamped = (text: string) => text.replace(/"manifest":.*/, "")
        yield* log
        const through = Export.layerWith({ record: false }).pipe(Layer.provide(withoutDriver))
        expect((yield* Effect.provide(both, through)).map(stamped)).toEqual((yield* both).map(stamped))
        const parquet = Effect.flatMap(bytesOf(Export.stream({ format: "parquet" })), Parquet.readBytes)
        expect((yield* Effect.provide(parquet, through)).rows).toEqual((yield* parquet).rows)
        yield* many
        const ids = textOf({ format: "csv", columns: ["id"] }).pipe(Effect.provide(through))
        expect((yield* ids).split("\r\n")).toHaveLength(20_002)
        yield* Stream.runDrain(Stream.take(Export.stream({ format: "ndjson" }), 1)).pipe(Effect.provide(through))
        const wrong: Query.ReadScope = (_, { sql }) => sql`1 / (${1}::int - 1) = 1`
        const failure = yield* Effect.flip(
          textOf({ format: "csv" }).pipe(Query.withScope(wrong), Effect.provide(through))
        )
        expect(failure).toMatchObject({ field: "scope" })
      })
    )

    it.effect("fail with one type if their connection is lost", () =>
      Effect.gen(function* () {
        yield* many
        const database = yield* TestDatabase.TestDatabase
        const failure = yield* Stream.runForEach(Export.stream({ format: "ndjson" }), () =>
          Effect.flatMap(running, (list) => Effect.forEach(list, ({ pid }) => database.terminate(pid)))
        ).pipe(Effect.flip)
        expect(failure).toMatchObject({ _tag: "ThreadlineError", reason: "Unreachable" })
      })
    )
  })

  describe("records", () => {
    const recorded = Effect.gen(function* () {
      const page = yield* Query.actions({ limit: 1 })
      return page.items[0]
    })

    it.effect("each export as an action: who, filter, count", () =>
      Effect.gen(function* () {
        yield* log
        yield* textOf({ format: "csv", filter: { table: "posts" } }).pipe(
          AuditContext.withActor(Actor.user("9")),
          AuditContext.withRequestId("r-1")
        )
        expect(yield* recorded).toMatchObject({
          name: "export.completed",
          status: "ok",
          actor: { type: "user", id: "9" },
          requestId: "r-1",
          data: { format: "csv", filter: { table: ["public.posts"] }, count: 3, scope: null }
        })
        yield* Stream.runDrain(Stream.take(Export.stream({ format: "ndjson", requestedBy: Actor.admin("7") }), 1))
        expect(yield* recorded).toMatchObject({ status: "error", actor: { type: "admin" }, reason: "nobody read on" })
        yield* Stream.runDrain(Stream.take(Export.stream({ format: "parquet", columns: ["id", "at"] }), 1))
        expect(yield* recorded).toMatchObject({ status: "error", data: { format: "parquet", columns: ["id", "at"] } })
      })
    )

    it.effect("as many exports at once as the pool has connections, whole ones and those that are left", () =>
      Effect.gen(function* () {
        yield* log
        const database = yield* TestDatabase.TestDatabase
        for (const connections of [1, 3]) {
          const begun = yield* Ref.make(0)
          const all = yield* Deferred.make<void>()
          // Each holds a connection until all of them do.
          const held = Stream.tap(Export.stream({ format: "csv" }), () =>
            Effect.flatMap(
              Ref.updateAndGet(begun, (before) => before + 1),
              (now) =>
                Effect.zipRight(
                  now === connections ? Deferred.succeed(all, undefined) : Effect.void,
                  Deferred.await(all)
                )
            )
          )
          for (const [stream, status] of [
            [held, "ok"],
            [Stream.take(held, 1), "error"]
          ] as const) {
            yield* Ref.set(begun, 0)
            yield* Effect.all(
              Array.from({ length: connections }, () => Stream.runDrain(stream)),
              { concurrency: "unbounded" }
            ).pipe(Effect.provide(Export.layer), Effect.provide(clientOf(database.url, connections)))
            const { items } = yield* Query.actions({ limit: connections })
            expect(items.map((action) => action.status)).toEqual(Array(connections).fill(status))
          }
        }
      })
    )

    it.effect("no export if the host turned that off, and reads nothing if it may not record", () =>
      Effect.gen(function* () {
        yield* log
        const database = yield* TestDatabase.TestDatabase
        const sql = yield* SqlClient.SqlClient
        const { name } = yield* database.role("reader")
        yield* Grants.apply({ readers: [name] })
        const reader = database.connectLayer("reader")
        const csv = textOf({ format: "csv", columns: ["id"], limit: 1 })
        const granted = csv.pipe(Effect.provide(Export.layer), Effect.provide(reader))
        expect(yield* granted).toBe("id\r\n1\r\n")
        yield* sql.unsafe(`revoke execute on function threadline.record_export(jsonb, jsonb) from ${name}`)
        const refused = csv.pipe(Effect.provide(Export.layer), Effect.provide(reader), Effect.flip)
        expect(yield* refused).toMatchObject({ _tag: "ThreadlineError", reason: "InsufficientPrivilege" })
        const off = csv.pipe(Effect.provide(Export.layerWith({ record: false })), Effect.provide(reader))
        expect(yield* off).toBe("id\r\n1\r\n")
        const elsewhere = csv.pipe(
          Effect.provide(Export.layer),
          Effect.provide(reader),
          Effect.provideService(Export.RecordingClient, sql)
        )
        expect(yield* elsewhere).toBe("id\r\n1\r\n")
      })
    )
  })

  describe("files", () => {
    it.scoped("are whole, with a manifest that verifies", () =>
      Effect.gen(function* () {
        yield* log
        const path = join(yield* directory, "changes.csv")
        for (const [format, compression] of [
          ["csv", undefined],
          ["ndjson", "gzip"],
          ["json", undefined],
          ["json", "gzip"]
        ] as const) {
          const manifest = yield* Export.toFile(path, { format, compression, force: true, filter: { from: at(1) } })
          const bytes = readFileSync(path)
          expect(manifest).toMatchObject({
            format,
            formatVersion: 1,
            compression: compression ?? null,
            filter: { from: at(1) },
            order: "oldest",
            from: at(1),
            to: null,
            count: 4,
            bytes: bytes.length,
            sha256: createHash("sha256").update(bytes).digest("hex"),
            snapshot: expect.stringMatching(/^\d+:\d+:/),
            createdAt: expect.stringMatching(/Z$/)
          })
          expect(JSON.parse(readFileSync(`${path}.manifest.json`, "utf8"))).toEqual(
            JSON.parse(Json.stringify(manifest))
          )
          const { differences, manifest: read } = yield* Export.verify(path)
          expect(differences).toEqual([])
          expect(Option.getOrThrow(read)).toEqual(manifest)
        }
        rmSync(`${path}.manifest.json`)
        expect(yield* Export.verify(path)).toMatchObject({ differences: [] })
      })
    )

    it.scoped("say in their manifest what the record does not know of their time", () =>
      Effect.gen(function* () {
        yield* log
        const sql = yield* SqlClient.SqlClient
        const path = join(yield* directory, "posts.csv")
        yield* sql`
          update threadline.capture_policies
          set captured_since = ${at(1)}::timestamptz,
            kept_since = ${at(3)}::timestamptz,
            lapses = tstzmultirange(tstzrange(${at(4)}, ${at(5)}))
          where table_name = 'posts'`
        const knowledgeOf = (filter: Export.Options["filter"]) =>
          Effect.map(
            Export.toFile(path, { format: "csv", filter: { table: "posts", ...filter }, force: true }),
            ({ knowledge }) => knowledge
          )
        const before = [null, at(1)]
        const lapse = [at(4), at(5)]
        // The table has no triggers: nothing is known since somebody looked first.
        const today = [expect.any(String), null]
        const posts = { table: "public.posts", keptSince: at(3) }
        expect(yield* knowledgeOf({})).toEqual([{ ...posts, unknown: [before, lapse, today] }])
        expect(yield* knowledgeOf({ from: at(2) })).toEqual([{ ...posts, unknown: [lapse, today] }])
        expect(yield* knowledgeOf({ to: at(3, 999_999) })).toEqual([{ ...posts, unknown: [before] }])
        expect(yield* knowledgeOf({ from: at(3), to: at(4) })).toEqual([
          { ...posts, keptSince: null, unknown: [lapse] }
        ])
        expect(yield* knowledgeOf({ from: at(5), to: at(6) })).toEqual([])
        expect(JSON.parse(readFileSync(`${path}.manifest.json`, "utf8"))).toMatchObject({ from: at(5), knowledge: [] })
        yield* sql`update threadline.capture_policies set lapses = '{}'`
      })
    )

    it.scoped("of JSON verify whatever their filter says, and by their own manifest alone", () =>
      Effect.gen(function* () {
        yield* log
        const path = join(yield* directory, "changes.json")
        yield* Export.toFile(path, { format: "json", filter: { contains: { id: 1, manifest: { manifest: 2 } } } })
        expect((yield* Export.verify(path)).differences).toEqual([])
        rmSync(`${path}.manifest.json`)
        expect((yield* Export.verify(path)).differences).toEqual([])
      })
    )

    it.scoped("that were changed do not verify", () =>
      Effect.gen(function* () {
        yield* log
        const path = join(yield* directory, "changes")
        const fieldsOf = Effect.map(Export.verify(path), ({ differences }) => differences.map(({ field }) => field))
        for (const format of ["csv", "ndjson", "json"] as const) {
          yield* Export.toFile(path, { format, force: true })
          const whole = readFileSync(path)
          writeFileSync(path, whole.subarray(0, whole.lastIndexOf("\n", whole.length - 2) + 1))
          expect(yield* fieldsOf).toEqual(expect.arrayContaining(["bytes", "sha256", "count"]))
          whole[100] = 0x7a
          writeFileSync(path, whole)
          expect(yield* fieldsOf).toContain("sha256")
          if (format === "json") {
            rmSync(`${path}.manifest.json`)
            expect(yield* fieldsOf).toEqual(["manifest.sha256"])
          }
        }
        yield* Export.toFile(path, { format: "csv", force: true })
        writeFileSync(path, "")
        expect((yield* Export.verify(path)).differences).toContainEqual(
          expect.objectContaining({ field: "count", found: "0" })
        )
        yield* Export.toFile(path, { format: "csv", compression: "gzip", force: true })
        writeFileSync(path, readFileSync(path).subarray(0, 60))
        expect(yield* fieldsOf).toContain("content")
        writeFileSync(`${path}.manifest.json`, "{}")
        expect(yield* fieldsOf).toEqual(["manifest"])
        rmSync(`${path}.manifest.json`)
        expect(yield* fieldsOf).toEqual(["manifest"])
        expect(yield* Effect.flip(Export.verify(`${path}.nosuch`))).toMatchObject({ reason: "NotReadable" })
      })
    )

    it.scoped("may have the longest name that leaves room for that of the manifest", () =>
      Effect.gen(function* () {
        yield* log
        const path = join(yield* directory, `${"\u{1f600}".repeat(59)}.c`)
        yield* Export.toFile(path, { format: "csv" })
        expect((yield* Export.verify(path)).differences).toEqual([])
      })
    )

    it.scoped("replace nothing unless forced, and leave nothing behind", () =>
      Effect.gen(function* () {
        yield* log
        const made = yield* directory
        const path = join(made, "x.csv")
        const csv = { format: "csv" } as const
        writeFileSync(path, "mine")
        expect(yield* Effect.flip(Export.toFile(path, csv))).toMatchObject({ reason: "OutputExists" })
        rmSync(path)
        writeFileSync(`${path}.manifest.json`, "mine")
        expect(yield* Effect.flip(Export.toFile(path, csv))).toMatchObject({ reason: "OutputExists" })
        expect(yield* Effect.flip(Export.toFile(join(made, "no", "x.csv"), csv))).toMatchObject({
          reason: "NoDirectory"
        })
        expect(yield* Effect.flip(Export.toFile(made, { ...csv, force: true }))).toMatchObject({
          reason: "NotWritable",
          detail: expect.stringContaining("is no file, and is left alone")
        })
        symlinkSync(join(made, "nowhere"), join(made, "dangling"))
        expect(yield* Effect.flip(Export.toFile(join(made, "dangling"), { ...csv, force: true }))).toMatchObject({
          reason: "NotWritable",
          detail: expect.stringContaining("is a link that leads nowhere")
        })
        rmSync(join(made, "dangling"))
        const missing = { ...csv, force: true, filter: { table: "nosuch" } }
        expect(yield* Effect.flip(Export.toFile(path, missing))).toMatchObject({ _tag: "threadline/NotFound" })
        expect(readdirSync(made)).toEqual(["x.csv.manifest.json"])
        writeFileSync(join(made, "target"), "old")
        symlinkSync(join(made, "target"), path)
        yield* Export.toFile(path, { ...csv, columns: ["id"], force: true })
        expect(readFileSync(join(made, "target"), "utf8")).toBe("id\r\n1\r\n2\r\n3\r\n4\r\n")
        expect(readdirSync(made).sort()).toEqual(["target", "x.csv", "x.csv.manifest.json"])
        const begun = yield* Deferred.make<void>()
        const onProgress = () => Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never)
        const fiber = yield* Effect.fork(Export.toFile(join(made, "y"), { ...csv, onProgress }))
        yield* Deferred.await(begun)
        expect(readdirSync(made).length).toBeGreaterThan(3)
        yield* Fiber.interrupt(fiber)
        expect(readdirSync(made)).toHaveLength(3)
      })
    )
  })

  describe("responses", () => {
    it.effect("stream the export, and fail before it begins if they can", () =>
      Effect.gen(function* () {
        yield* log
        const response = yield* Export.toWebResponse({
          format: "csv",
          columns: ["id"],
          fileName: 'a"é.csv',
          manifestUrl: "/manifests/1"
        })
        expect(Object.fromEntries(response.headers)).toMatchObject({
          "content-type": expect.stringContaining("text/csv"),
          "content-disposition": `attachment; filename="a__.csv"; filename*=UTF-8''a%22%C3%A9.csv`,
          link: '</manifests/1>; rel="describedby"; type="application/json"',
          "cache-control": "no-store"
        })
        expect(yield* Effect.promise(() => response.text())).toBe("id\r\n1\r\n2\r\n3\r\n4\r\n")
        const failure = yield* Effect.flip(Export.toResponse({ format: "csv", filter: { table: "nosuch" } }))
        expect(failure).toMatchObject({ _tag: "threadline/NotFound" })
      })
    )
  })
})
