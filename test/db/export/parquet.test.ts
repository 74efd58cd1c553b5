/** Parquet files, read back by DuckDB. */
import * as SqlClient from "@effect/sql/SqlClient"
import { describe, expect, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { vi } from "vitest"
import * as Export from "../../../src/Export.js"
import * as ExportJobs from "../../../src/ExportJobs.js"
import * as ExportStore from "../../../src/ExportStore.js"
import * as Json from "../../../src/Json.js"
import type * as Query from "../../../src/Query.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import { bytesOf } from "../../support/export.js"
import { read, readBytes } from "../../support/parquet.js"
import { at, reset, write } from "../../support/query.js"
import { scratch } from "../../support/scratch.js"

const layer = Export.layerWith({ record: false }).pipe(Layer.provideMerge(TestDatabase.layer))

const directory = scratch()

const parquetOf = (options: Omit<Export.StreamOptions, "format">) =>
  bytesOf(Export.stream({ ...options, format: "parquet" }))

const log = Effect.gen(function* () {
  yield* reset
  yield* write({
    transactions: [{ id: "1", occurredAt: at(1), actor: { type: "user", id: "42" }, actionId: "9000001" }],
    actions: [{ id: "9000001", transactionId: "1", name: "post.created", occurredAt: at(1) }],
    changes: [
      {
        id: "1",
        transactionId: "1",
        at: at(1, 7),
        op: "insert",
        key: "1",
        after: Json.unsafeParse(`{"id":1,"price":1.10,"big":9007199254740993}`) as Query.RowImage
      },
      { id: "2", transactionId: "1", at: at(2), op: "delete", key: "1", from: { id: 1, price: null } }
    ]
  })
})

/** So many changes of one transaction, each with a text of so many characters. */
const many = (count: number, size = 10) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    yield* log
    yield* sql`
      insert into threadline.audit_changes (id, transaction_id, captured_at, table_schema, table_name, op, row_key, data_after)
      select 10 + n, 1, ${at(3)}::timestamptz + n * interval '1 microsecond', 'public', 'posts', 'insert', lpad(n::text, 8, '0'),
        jsonb_build_object('id', n, 'text', repeat(md5(n::text), ${Math.ceil(size / 32)}::int))
      from generate_series(1, ${count}::int) n`
  })

it.layer(layer)("Export to Parquet", (it) => {
  describe("has", () => {
    it.scoped("the columns of a CSV, each with its type", () =>
      Effect.gen(function* () {
        yield* log
        const { columns, rows } = yield* Effect.flatMap(parquetOf({}), readBytes)
        expect(Object.keys(columns)).toEqual(Export.contractColumns)
        const ofType = (type: string) => Object.keys(columns).filter((column) => columns[column] === type)
        expect(ofType("BIGINT")).toEqual(["id", "transaction_id", "action_id"])
        expect(ofType("TIMESTAMP WITH TIME ZONE")).toEqual(["captured_at", "occurred_at"])
        expect(ofType("JSON")).toEqual([
          "row_pk",
          "changed_fields",
          "changed_from",
          "data_after",
          "details",
          "actor",
          "meta"
        ])
        expect(rows).toMatchObject([
          {
            id: "1",
            captured_at: at(1, 7),
            op: "insert",
            data_after: `{"id": 1, "big": 9007199254740993, "price": 1.10}`,
            changed_from: null,
            action_id: "9000001",
            action_name: "post.created"
          },
          { id: "2", captured_at: at(2), op: "delete", data_after: null, changed_from: `{"id": 1, "price": null}` }
        ])
      })
    )

    it.scoped("the columns that are asked for, those for people too", () =>
      Effect.gen(function* () {
        yield* log
        const { columns, rows } = yield* Effect.flatMap(
          parquetOf({ columns: ["at", "who", "field", "after", "id"], order: "newest", limit: 1 }),
          readBytes
        )
        expect(columns).toEqual({
          at: "TIMESTAMP WITH TIME ZONE",
          who: "VARCHAR",
          field: "VARCHAR",
          after: "VARCHAR",
          id: "BIGINT"
        })
        expect(rows).toEqual([
          { at: at(2), who: "user 42", field: "id", after: null, id: "2" },
          { at: at(2), who: "user 42", field: "price", after: null, id: "2" }
        ])
      })
    )

    it.scoped("no row, if there is none", () =>
      Effect.gen(function* () {
        yield* log
        const { columns, rows } = yield* Effect.flatMap(parquetOf({ filter: { transactionId: "99" } }), readBytes)
        expect(Object.keys(columns)).toEqual(Export.contractColumns)
        expect(rows).toEqual([])
      })
    )

    it.scoped("what the bounds of its columns say, in each of its groups", () =>
      Effect.gen(function* () {
        yield* many(17_000)
        const { ask } = yield* Effect.flatMap(parquetOf({ filter: { op: "insert" } }), readBytes)
        const [counts] = yield* ask(
          (file) => `
            select count(*)::int as rows, count(distinct id)::int as ids, max(row_key) as key, (
              select count(distinct row_group_id)::int from parquet_metadata(${file.slice("read_parquet(".length, -1)})
            ) as groups
            from ${file}`
        )
        expect(counts).toMatchObject({ rows: 17_001, ids: 17_001, key: "1" })
        expect(Number(counts?.["groups"])).toBeGreaterThan(1)
        // DuckDB leaves out groups whose bounds exclude a value.
        const parquetAnswer = yield* ask(
          (file) => `
            select id::int as id from ${file}
            where id in (17, 16911) and captured_at > '2020-01-01' and op = 'insert' and table_name = 'posts' and db_user <> ''`
        )
        expect(parquetAnswer.map(({ id }) => id)).toEqual([17, 16_911])
      })
    )

    it.scoped("values longer than a group", () =>
      Effect.gen(function* () {
        yield* many(3, 5_000_000)
        const { ask } = yield* Effect.flatMap(parquetOf({ filter: { from: at(3) } }), readBytes)
        const rows = yield* ask(
          (file) =>
            `select id::int as id, md5(data_after ->> 'text') as text, length(data_after ->> 'text')::int as size from ${file}`
        )
        const sql = yield* SqlClient.SqlClient
        expect(rows).toEqual(
          yield* sql`
            select id::int as id, md5(data_after ->> 'text') as text, length(data_after ->> 'text') as size
            from threadline.audit_changes where id > 10 order by id`
        )
        expect(rows).toHaveLength(3)
      })
    )
  })

  describe("says what is wrong", () => {
    it.effect("with options that are of other formats", () =>
      Effect.forEach(
        [
          [{ compression: "gzip" }, "compression", /inside of a Parquet file: leave it out for Snappy, or say zstd/],
          [{ raw: true }, "raw", /cells of a CSV/],
          [{ shape: "ocsf" }, "shape", /of NDJSON/],
          [{ columns: ["ids"] }, "columns", /"ids" is none/]
        ] as const satisfies ReadonlyArray<readonly [Omit<Export.StreamOptions, "format">, string, RegExp]>,
        ([options, field, rule]) =>
          Effect.gen(function* () {
            const failure = yield* Effect.flip(parquetOf(options))
            expect(failure).toMatchObject({ _tag: "threadline/InvalidRequest", field })
            expect(failure.message).toMatch(rule)
          })
      )
    )

    it.effect("with zstd, where Node.js has none", () =>
      Effect.gen(function* () {
        yield* log
        const outcome = yield* Effect.either(parquetOf({ compression: "zstd" }))
        if ("zstd" in process.versions) {
          const { rows } = yield* Effect.scoped(readBytes(Either.getOrThrow(outcome)))
          expect(rows).toHaveLength(2)
        } else {
          expect(outcome).toMatchObject({
            left: { reason: "Unsupported", detail: expect.stringMatching(/from 22\.15 can; Snappy needs no option$/) }
          })
        }
      })
    )

    it.scoped.each([
      { what: "not installed", module: () => Promise.reject(new Error("Cannot find package")) },
      // Next.js does this.
      { what: "not installed, and bundled as an empty module", module: () => ({}) }
    ])("if what writes it is $what, and leaves nothing behind", ({ module }) =>
      Effect.gen(function* () {
        yield* Effect.acquireRelease(
          Effect.sync(() => vi.doMock("hyparquet-writer", module)),
          () => Effect.sync(() => vi.doUnmock("hyparquet-writer"))
        )
        const path = yield* directory
        const failure = yield* Effect.flip(Export.toFile(join(path, "a.parquet"), { format: "parquet" }))
        expect(failure).toMatchObject({ _tag: "ExportError", reason: "NotInstalled" })
        expect(failure.message).toContain("npm install hyparquet-writer")
        expect(readdirSync(path)).toEqual([])
        expect(yield* Export.toFile(join(path, "a.csv"), { format: "csv" })).toMatchObject({ format: "csv" })
      })
    )
  })

  describe("as a file", () => {
    it.scoped("verifies, and says what differs where a byte or its end was changed", () =>
      Effect.gen(function* () {
        yield* many(500)
        const path = yield* directory
        const file = join(path, "a.parquet")
        const manifest = yield* Export.toFile(file, { format: "parquet" })
        expect(manifest).toMatchObject({ format: "parquet", count: 502, compression: null, raw: null })
        expect(manifest.columns).toEqual(Export.contractColumns)
        expect((yield* Export.verify(file)).differences).toEqual([])
        const { ask, rows } = yield* read(file)
        expect(rows).toHaveLength(502)
        const [described = {}] = yield* ask(() => `select value::varchar as value from parquet_kv_metadata('${file}')`)
        const { bytes: _, count: __, sha256: ___, ...known } = manifest
        expect(JSON.parse((described["value"] as string).replaceAll("\\x22", '"'))).toEqual(
          JSON.parse(Json.stringify(known))
        )

        const whole = readFileSync(file)
        const fieldsOf = (bytes: Buffer) => {
          writeFileSync(file, bytes)
          return Effect.map(Export.verify(file), ({ differences }) => differences.map(({ field }) => field))
        }
        for (let place = 0; place < whole.length; place += 97) {
          const changed = Buffer.from(whole)
          changed[place] = (changed[place] ?? 0) ^ 0x41
          expect(yield* fieldsOf(changed)).toContain("sha256")
        }
        for (const length of [0, 3, 4, 11, whole.length - 1, whole.length - 9]) {
          expect(yield* fieldsOf(whole.subarray(0, length))).toEqual(["bytes", "sha256", "content"])
        }
        // A file of another one's manifest.
        yield* Export.toFile(join(path, "b.parquet"), { format: "parquet", limit: 3 })
        writeFileSync(file, whole)
        copyFileSync(join(path, "b.parquet.manifest.json"), join(path, "a.parquet.manifest.json"))
        expect((yield* Export.verify(file)).differences.map(({ field }) => field)).toEqual(["bytes", "sha256", "count"])
      })
    )

    it.scoped("is that of a job, under a name of its own", () =>
      Effect.gen(function* () {
        yield* many(100)
        const path = yield* directory
        const jobs = ExportJobs.layer.pipe(Layer.provide(ExportStore.layerDirectory(path)))
        yield* Effect.gen(function* () {
          const { id } = yield* ExportJobs.queue({ format: "parquet", columns: ["id", "captured_at"] })
          expect(yield* ExportJobs.run()).toMatchObject({ completed: 1 })
          const job = yield* ExportJobs.get(id)
          expect(job.file).toMatch(/\.parquet$/)
          expect(job.manifest).toMatchObject({ count: 102, columns: ["id", "captured_at"] })
          const { bytes, contentEncoding, contentType, fileName } = yield* ExportJobs.download(id)
          expect({ contentEncoding, contentType, fileName }).toEqual({
            contentEncoding: undefined,
            contentType: "application/vnd.apache.parquet",
            fileName: `export-${id}.parquet`
          })
          const { rows } = yield* readBytes(Buffer.concat(Chunk.toReadonlyArray(yield* Stream.runCollect(bytes))))
          expect(rows).toHaveLength(102)
        }).pipe(Effect.provide(jobs))
      })
    )
  })
})
