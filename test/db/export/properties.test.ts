/** Exports against the timeline: the same changes in the same order, and each of them equal when it is read back. */
import * as SqlClient from "@effect/sql/SqlClient"
import { describe, expect, it } from "@effect/vitest"
import { parse as parseCsv } from "csv-parse/sync"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Export from "../../../src/Export.js"
import * as Json from "../../../src/Json.js"
import * as Query from "../../../src/Query.js"
import { bytesOf, textOf } from "../../support/export.js"
import { check } from "../../support/property.js"
import { filters } from "../../support/queryFilters.js"
import * as Model from "../../support/queryModel.js"
import { layer as queryLayer, reset, write } from "../../support/query.js"
import * as Parquet from "../../support/parquet.js"
import { scopes, sharedKeys } from "../../support/scopeModel.js"

const layer = Export.layerWith({ record: false }).pipe(Layer.provideMerge(queryLayer))

const minutes = { timeout: 600_000 }

const parquetOf = (options: Omit<Export.StreamOptions, "format">) =>
  Effect.scoped(Effect.flatMap(bytesOf(Export.stream({ ...options, format: "parquet" })), Parquet.readBytes))

const linesOf = (text: string): ReadonlyArray<unknown> => text.split("\n").slice(0, -1).map(Json.unsafeParse)

type Cells = Parquet.Cells

/** Cells as an independent reader has them: one that is empty and not in quotes is a null. */
const recordsOf = (text: string, raw: boolean): ReadonlyArray<Cells> =>
  parseCsv(text, {
    columns: true,
    record_delimiter: "\r\n",
    cast: (cell, { header, quoting }) =>
      header ? cell : cell === "" && !quoting ? null : raw ? cell : Export.cellValue(cell)
  })

const jsonOf = (cell: string | null | undefined): unknown => (typeof cell === "string" ? Json.unsafeParse(cell) : null)

/** The change that a line of the contract says. */
const changeOf = (cells: Cells): unknown => {
  const get = (column: string): string | null => cells[column] ?? null
  return {
    id: get("id"),
    transactionId: get("transaction_id"),
    capturedAt: get("captured_at"),
    tableSchema: get("table_schema"),
    tableName: get("table_name"),
    partitionName: get("partition_name"),
    op: get("op"),
    rowPk: jsonOf(get("row_pk")),
    rowKey: get("row_key"),
    previousRowKey: get("previous_row_key"),
    changedFields: jsonOf(get("changed_fields")),
    changedFrom: jsonOf(get("changed_from")),
    dataAfter: jsonOf(get("data_after")),
    details: jsonOf(get("details")),
    transaction: {
      id: get("transaction_id"),
      occurredAt: get("occurred_at"),
      actor: jsonOf(get("actor")),
      correlationId: get("correlation_id"),
      requestId: get("request_id"),
      jobId: get("job_id"),
      traceId: get("trace_id"),
      source: get("source"),
      remoteIp: get("remote_ip"),
      meta: jsonOf(get("meta")),
      contextError: get("context_error"),
      dbUser: get("db_user"),
      applicationName: get("application_name"),
      clientAddr: get("client_addr")
    },
    action:
      get("action_id") === null
        ? null
        : {
            id: get("action_id"),
            name: get("action_name"),
            status: get("action_status"),
            correlationId: get("action_correlation_id")
          }
  }
}

/** As `timeline --json` prints them. */
const changeTexts = (changes: Iterable<Query.Change>): ReadonlyArray<unknown> =>
  Array.from(changes, (change) => Json.unsafeParse(Json.stringify(change)))

const decoded = Schema.decodeUnknownSync(Query.Change)

it.layer(layer)("exports", (it) => {
  describe("and the timeline", () => {
    it.effect(
      "agree under random filters and scopes",
      () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          yield* sql`create table if not exists shared_keys (key text)`
          yield* sql`insert into shared_keys ${sql.insert(sharedKeys.map((key) => ({ key })))}`
          yield* check(
            Model.plans.chain((plan) => {
              const simulation = Model.simulate(plan)
              const times = [...simulation.snapshots.flatMap(({ from, to }) => [from, to, to + 1]), 0]
              return FastCheck.record({
                simulation: FastCheck.constant(simulation),
                scope: FastCheck.constantFrom(undefined, undefined, ...scopes),
                filters: FastCheck.array(filters(times.map(Model.timeOf)), { minLength: 6, maxLength: 6 })
              })
            }),
            12,
            ({ filters, scope, simulation }) =>
              Effect.gen(function* () {
                yield* reset
                yield* write(simulation.log)
                for (const filter of filters) {
                  const { order, ...given } = filter
                  const read = Effect.all({
                    changes: Effect.either(Stream.runCollect(Query.timelineStream(filter))),
                    ndjson: Effect.either(textOf({ format: "ndjson", filter: given, order })),
                    csv: Effect.either(textOf({ format: "csv", filter: given, order })),
                    some: Effect.either(textOf({ format: "csv", filter: given, order, limit: 2, columns: ["id"] }))
                  })
                  const { changes, csv, ndjson, some } = yield* scope === undefined
                    ? read
                    : Query.withScope(read, scope.scope)
                  const said = { filter, scope: scope?.name }
                  if (Either.isLeft(changes)) {
                    expect({ ...said, ndjson }).toEqual({ ...said, ndjson: Either.left(changes.left) })
                    continue
                  }
                  const expected = changeTexts(changes.right)
                  expect({ ...said, changes: linesOf(Either.getOrThrow(ndjson)) }).toEqual({
                    ...said,
                    changes: expected
                  })
                  expect({ ...said, changes: recordsOf(Either.getOrThrow(csv), false).map(changeOf) }).toEqual({
                    ...said,
                    changes: expected
                  })
                  const ids = Array.from(changes.right, ({ id }) => id).slice(0, 2)
                  expect({ ...said, some: Either.getOrThrow(some) }).toEqual({
                    ...said,
                    some: ["id", ...ids, ""].join("\r\n")
                  })
                }
              })
          )
        }),
      minutes
    )
  })

  /** What hosts, people and attackers may have left in a text. */
  const nasty = FastCheck.oneof(
    FastCheck.string({ unit: "binary", maxLength: 12 }).map((text) => text.replaceAll(/[\0\ud800-\udfff]/g, "")),
    FastCheck.constantFrom(
      "",
      "=cmd|' /C calc'!A0",
      "+1",
      "-1",
      "@SUM(1)",
      "\t=1",
      "\r=1",
      "'",
      "''=1",
      "'plain",
      '"',
      '""',
      "a,b",
      "line\nbreak",
      "line\r\nbreak",
      "\\.",
      "\\N",
      "null",
      "\u0001\u0002",
      "\u{1f600}",
      "\ufeffbom",
      "\u2028"
    )
  )
  const maybe = FastCheck.option(nasty, { nil: null, freq: 3 })
  const digits = FastCheck.constantFrom(
    "0",
    "-0.0",
    "1.10",
    "9007199254740993",
    "-1e-7",
    "12345678901234567890.000",
    "1e400"
  )
  const json: FastCheck.Arbitrary<string> = FastCheck.letrec<{ value: string; object: string }>((tie) => ({
    value: FastCheck.oneof(
      { depthSize: "small", maxDepth: 2 },
      nasty.map((text) => JSON.stringify(text)),
      digits,
      FastCheck.constantFrom("true", "null"),
      FastCheck.array(tie("value"), { maxLength: 2 }).map((items) => `[${items.join(",")}]`),
      tie("object")
    ),
    object: FastCheck.dictionary(nasty, tie("value"), { maxKeys: 3 }).map(
      (fields) =>
        `{${Object.entries(fields)
          .map(([key, value]) => `${JSON.stringify(key)}:${value}`)
          .join(",")}}`
    )
  })).object
  const maybeJson = FastCheck.option(json, { nil: "null" })
  const text = (value: string | null): string => JSON.stringify(value)

  const row = FastCheck.record({
    table_schema: nasty.map(text),
    table_name: nasty.map(text),
    partition_name: maybe.map(text),
    op: FastCheck.constantFrom('"insert"', '"update"', '"delete"', '"truncate"', '"baseline"'),
    row_pk: FastCheck.oneof(
      FastCheck.dictionary(nasty, nasty, { maxKeys: 2 }).map((key) => JSON.stringify(key)),
      FastCheck.constantFrom("null", '{"id":5,"x":1.50,"y":null}')
    ),
    row_key: maybe.map(text),
    previous_row_key: maybe.map(text),
    changed_fields: FastCheck.option(FastCheck.array(nasty, { maxLength: 3 }), { nil: null }).map((list) =>
      JSON.stringify(list)
    ),
    changed_from: maybeJson,
    data_after: maybeJson,
    details: FastCheck.oneof(
      maybeJson,
      digits,
      nasty.map((value) => JSON.stringify(value))
    )
  })

  const actor = FastCheck.constantFrom(
    { actor: null, actor_type: null, actor_id: null },
    { actor: { type: "anonymous", label: "=who" }, actor_type: "anonymous", actor_id: null },
    {
      actor: { type: "user", id: "'42", label: "\n", impersonator: { type: "admin", id: "7" } },
      actor_type: "user",
      actor_id: "'42"
    },
    // Written by hand.
    { actor: { type: "user" }, actor_type: "user", actor_id: "9" },
    { actor: { type: "nobody", id: "1" }, actor_type: null, actor_id: null },
    { actor: null, actor_type: "anonymous", actor_id: null },
    { actor: { type: "user", id: "1", label: 5 }, actor_type: "job", actor_id: "j" }
  )

  const transaction = FastCheck.record({
    ...Object.fromEntries(
      ["correlation_id", "request_id", "job_id", "trace_id", "source", "context_error", "application_name"].map(
        (column) => [column, maybe.map(text)]
      )
    ),
    meta: json,
    db_user: nasty.map(text),
    remote_ip: FastCheck.constantFrom("null", '"10.0.0.7"', '"::1"', '"10.0.0.0/8"')
  })

  const document = (fields: Readonly<Record<string, string>>): string =>
    `{${Object.entries(fields)
      .map(([key, value]) => `${JSON.stringify(key)}:${value}`)
      .join(",")}}`

  describe("of any change that the record can hold", () => {
    it.effect(
      "come back equal from CSV, raw CSV, NDJSON, JSON and Parquet",
      () =>
        check(
          FastCheck.record({
            rows: FastCheck.array(row, { minLength: 15, maxLength: 15 }),
            transaction,
            actor,
            name: maybe
          }),
          12,
          ({ actor, name, rows, transaction }) =>
            Effect.gen(function* () {
              const sql = yield* SqlClient.SqlClient
              yield* reset
              yield* sql`
                insert into threadline.audit_transactions overriding system value
                select * from jsonb_populate_record(null::threadline.audit_transactions, ${document({
                  ...transaction,
                  id: "1",
                  xid: '"5"',
                  epoch: "1",
                  occurred_at: '"2026-01-02T00:00:00.000001Z"',
                  backend_pid: "1",
                  action_id: name === null ? "null" : "77",
                  actor: JSON.stringify(actor.actor),
                  actor_type: JSON.stringify(actor.actor_type),
                  actor_id: JSON.stringify(actor.actor_id)
                })}::jsonb)`
              if (name !== null) {
                yield* sql`
                  insert into threadline.audit_actions (id, xid, name, status, correlation_id, occurred_at)
                  overriding system value
                  values (77, '5', ${name}, 'error', ${name}, now())`
              }
              const changes = rows.map((fields, index) =>
                document({
                  ...fields,
                  id: String(index + 1),
                  transaction_id: "1",
                  captured_at: `"2026-01-02T00:00:00.00000${index % 10}Z"`
                })
              )
              yield* sql`
                insert into threadline.audit_changes
                select * from jsonb_populate_recordset(null::threadline.audit_changes, ${`[${changes.join(",")}]`}::jsonb)`
              const expected = changeTexts(yield* Stream.runCollect(Query.timelineStream({ order: "oldest" })))
              expect(expected).toHaveLength(rows.length)
              const ndjson = linesOf(yield* textOf({ format: "ndjson" }))
              expect(ndjson).toEqual(expected)
              expect(ndjson.map((change) => decoded(change))).toHaveLength(rows.length)
              const { items } = Json.unsafeParse(yield* textOf({ format: "json" })) as { readonly items: unknown }
              expect(items).toEqual(expected)
              const { rows: parquet } = yield* parquetOf({})
              for (const format of ["csv", "raw csv", "parquet"]) {
                const raw = format === "raw csv"
                const records = format === "parquet" ? parquet : recordsOf(yield* textOf({ format: "csv", raw }), raw)
                // Columns have what is stored: the actor and the key of what was written by hand are as they stand there.
                const stored = yield* sql<{ readonly pk: string | null }>`
                  select row_pk::text as pk from threadline.audit_changes order by id`
                expect(records.map((cells) => cells["row_pk"])).toEqual(stored.map(({ pk }) => pk))
                expect(jsonOf(records[0]?.["actor"])).toEqual(actor.actor)
                const same = (change: unknown) => ({
                  ...(change as object),
                  rowPk: null,
                  transaction: { ...(change as { readonly transaction: object }).transaction, actor: null }
                })
                expect(records.map(changeOf).map(same)).toEqual(expected.map(same))
                if (format === "csv") {
                  const cells = parseCsv(yield* textOf({ format: "csv" })) as ReadonlyArray<ReadonlyArray<string>>
                  expect(
                    cells
                      .slice(1)
                      .flat()
                      .filter((cell) => /^[=+@\t\r-]/.test(cell))
                  ).toEqual([])
                }
              }
            })
        ),
      minutes
    )
  })
})
