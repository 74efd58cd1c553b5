import * as SqlClient from "@effect/sql/SqlClient"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { stringify } from "../../../src/internal/core/json.js"
import * as Grants from "../../../src/internal/schema/grants.js"
import * as Query from "../../../src/Query.js"
import * as Capture from "../../../src/Capture.js"
import { after, apply, kinds, now, plan, remove, rows, run, status, value } from "../../support/capture.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import { layerWithCapture } from "../../support/query.js"

const label = (answer: Query.AsOf) => (answer._tag === "Present" ? answer.row["label"] : answer._tag)

const at = (table: string, key: Query.KeyInput, instant: string) => Effect.map(Query.asOf(table, key, instant), label)

const labels = (table: string, instant: string, options?: Query.AsOfRowsOptions) =>
  Effect.map(Query.asOfRows(table, instant, options), ({ items }) =>
    items.map(({ row: { label }, rowKey }) => `${rowKey} ${typeof label === "string" ? label : ""}`)
  )

const lapses = (table: string) =>
  Effect.map(
    value(
      `select (select count(*) from unnest(lapses))::int from threadline.capture_policies where table_name = '${table}'`
    ),
    Number
  )

/** Waits until a number that a query gives is greater than now. */
const grows = (query: string) =>
  Effect.flatMap(value(query), (now) => Effect.repeat(value(query), { until: (later) => Number(later) > Number(now) }))

/** The real rows of a table, and when they were so. */
const snapshot = (table: string) =>
  Effect.all({
    rows: Effect.map(
      rows(`select id::text as id, to_jsonb(x)::text as image from ${table} x`),
      (found) => new Map(found.map(({ id, image }) => [String(id), String(image)]))
    ),
    instant: now
  })

/** Whether every read says nothing, or what was really so; counts what they know to be present. */
const neverInvents = Effect.fnUntraced(function* (
  table: string,
  { instant, rows: real }: Effect.Effect.Success<ReturnType<typeof snapshot>>,
  keys: ReadonlyArray<number>
) {
  const text = (row: Query.RowImage) => JSON.stringify(JSON.parse(stringify(row)))
  const expected = new Map([...real].map(([id, image]) => [id, JSON.stringify(JSON.parse(image))]))
  const answers = yield* Query.asOfKeys(table, keys, instant)
  for (const [index, { answer, rowKey }] of answers.entries()) {
    const key = keys[index] ?? 0
    if (answer._tag === "Present") {
      expect(text(answer.row)).toBe(expected.get(rowKey))
    } else if (answer._tag !== "BeforeCapture") {
      expect(expected.has(rowKey)).toBe(false)
    }
    expect(yield* Query.asOf(table, key, instant)).toEqual(answer)
    expect((yield* Query.asOfWith(table, key, instant, {})).answer).toEqual(answer)
    expect((yield* Query.diffBetween(table, key, instant, instant)).from).toEqual(answer)
  }
  const present = answers.flatMap(({ answer, rowKey }) => (answer._tag === "Present" ? [rowKey] : []))
  expect((yield* Query.asOfRows(table, instant)).items.map(({ rowKey }) => rowKey)).toEqual(present)
  expect((yield* Query.asOfRows(table, instant, { keys })).items.map(({ rowKey }) => rowKey)).toEqual(present)
  const streamed = yield* Stream.runCollect(Query.asOfRowsStream(table, instant))
  expect([...streamed].map(({ rowKey }) => rowKey)).toEqual(present)
  return present.length
})

const everything: Query.ReadScope = () => true

describe("Query, of tables that were not captured all the time", () => {
  it.layer(layerWithCapture)("reads", (it) => {
    for (const mode of ["statement", "row"] as const) {
      it.effect(`know nothing of a lapse, nor from one side of it of the other (${mode} mode)`, () =>
        Effect.gen(function* () {
          const table = `twice_${mode}`
          const config = [{ table, mode }]
          yield* run(
            `create table ${table} (id int primary key, label text)`,
            `insert into ${table} select g, 'old ' || g from generate_series(1, 5) g`
          )
          yield* apply(config)
          expect(yield* lapses(table)).toBe(0)
          const taken = [yield* snapshot(table)]
          const take = (...statements: ReadonlyArray<string>) =>
            Effect.gen(function* () {
              yield* run(...statements)
              const snapshotOfTable = yield* snapshot(table)
              taken.push(snapshotOfTable)
              return snapshotOfTable.instant
            })
          const first = yield* take(
            `update ${table} set label = 'a' where id <= 3`,
            `insert into ${table} values (6, 'six'), (7, 'seven')`
          )
          yield* remove(table)
          const removed = yield* take()
          const inside = yield* take(
            `delete from ${table} where id in (1, 6)`,
            `update ${table} set label = 'unseen' where id = 2`,
            `update ${table} set id = 8 where id = 7`,
            `insert into ${table} values (9, 'unseen')`
          )
          expect(kinds(yield* apply(config))).toEqual([`attach public.${table}`])
          const again = yield* take()
          const second = yield* take(
            `update ${table} set label = 'b' where id in (2, 3)`,
            `delete from ${table} where id = 9`,
            `insert into ${table} values (1, 'new')`
          )
          yield* remove(table)
          yield* take(`truncate ${table}`, `insert into ${table} values (3, 'another')`)
          yield* apply(config)
          const third = yield* take(`update ${table} set label = 'c' where id = 3`)
          expect(yield* lapses(table)).toBe(2)
          expect(
            yield* value(`select removed_at from threadline.capture_policies where table_name = '${table}'`)
          ).toBeNull()

          const life = (key: number) =>
            Effect.forEach([first, removed, inside, again, second, third], (instant) => at(table, key, instant))
          const unknown = "BeforeCapture"
          expect(yield* life(1)).toEqual(["a", unknown, unknown, "NotYetCreated", "new", unknown])
          expect(yield* life(2)).toEqual(["a", unknown, unknown, "unseen", "b", unknown])
          expect(yield* life(3)).toEqual(["a", unknown, unknown, "a", "b", "c"])
          expect(yield* life(4)).toEqual(Array.from({ length: 6 }, () => unknown))
          expect(yield* life(6)).toEqual(["six", ...Array.from({ length: 5 }, () => unknown)])
          expect(yield* life(9)).toEqual([unknown, unknown, unknown, "unseen", "Deleted", unknown])
          const counts = yield* Effect.forEach(taken, (one) =>
            neverInvents(table, one, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
          )
          expect(counts).toEqual([3, 5, 0, 0, 3, 3, 0, 1])
          // Facts stay.
          expect((yield* Query.history(table, 1)).items.map(({ op }) => op)).toEqual(["insert", "update"])
          expect((yield* Query.timeline({ table, key: 3 })).items).toHaveLength(3)
          expect((yield* Query.diffBetween(table, 2, first, inside)).fields).toMatchObject([
            { field: "id", before: 2 },
            { field: "label", before: "a" }
          ])
          // A key that is none is refused inside a lapse as well.
          const refused = yield* Effect.flip(Query.asOfRows(table, inside, { keys: ["x"] }))
          expect(refused).toMatchObject({ _tag: "threadline/InvalidRequest", field: "keys" })
        })
      )
    }

    it.effect("hold under a scope and with conditions", () =>
      Effect.gen(function* () {
        yield* run(
          "create table scoped (id int primary key, label text)",
          "insert into scoped values (1, 'x'), (2, 'y')"
        )
        yield* apply([{ table: "scoped" }])
        const knownInstant = yield* after(
          "update scoped set label = 'a' where id = 1",
          "update scoped set label = 'hidden' where id = 2"
        )
        yield* remove("scoped")
        const inside = yield* after("delete from scoped")
        yield* apply([{ table: "scoped" }])
        const again = yield* now
        const scope: Query.ReadScope = (surface, columns) =>
          surface === "changes" ? columns.sql`${columns.image} ->> 'label' <> 'hidden'` : true
        for (const [instant, seen, all] of [
          [knownInstant, ["1 a"], ["1 a", "2 hidden"]],
          [inside, [], []],
          [again, [], []]
        ] as const) {
          expect(yield* labels("scoped", instant).pipe(Query.withScope(scope))).toEqual(seen)
          expect(yield* labels("scoped", instant).pipe(Query.withScope(everything))).toEqual(all)
          expect(yield* labels("scoped", instant, { contains: { id: 1 } })).toEqual(all.slice(0, 1))
          expect(yield* at("scoped", 1, instant).pipe(Query.withScope(scope))).toBe(
            seen.length > 0 ? "a" : "BeforeCapture"
          )
        }
      })
    )

    it.effect("know nothing of a table that was dropped, nor of its rows in the one that took its place", () =>
      Effect.gen(function* () {
        const create = "create table gone (id int primary key, label text)"
        yield* run(create)
        yield* apply([{ table: "gone" }])
        const knownInstant = yield* after("insert into gone values (1, 'a'), (2, 'b')")
        const dropped = yield* after("drop table gone")
        expect(yield* labels("gone", knownInstant)).toEqual([])
        expect(yield* at("gone", 1, dropped)).toBe("BeforeCapture")
        const captured = yield* rows(
          "select max(captured_at)::text as at from threadline.audit_changes where table_name = 'gone'"
        )
        expect(yield* labels("gone", String(captured[0]?.["at"]))).toEqual(["1 a", "2 b"])
        expect(yield* labels("gone", dropped)).toEqual([])

        const recreated = yield* after(create, "insert into gone values (2, 'unseen')")
        const planned = yield* plan([{ table: "gone" }])
        expect(planned[0]?.summary).toContain("note the lapse")
        expect(kinds(yield* apply([{ table: "gone" }]))).toEqual(["repair public.gone", "refresh public.gone"])
        expect(yield* lapses("gone")).toBe(1)
        const repaired = yield* now
        const changed = yield* after("update gone set label = 'c' where id = 2")
        expect(yield* labels("gone", String(captured[0]?.["at"]))).toEqual(["1 a", "2 b"])
        expect(yield* labels("gone", dropped)).toEqual([])
        expect(yield* labels("gone", recreated)).toEqual([])
        expect(yield* labels("gone", repaired)).toEqual(["2 unseen"])
        expect(yield* labels("gone", changed)).toEqual(["2 c"])
        expect(yield* at("gone", 1, changed)).toBe("BeforeCapture")
        expect(yield* apply([{ table: "gone" }])).toEqual([])

        // Removed when it is gone already: nothing is known since its last change, not since the removal.
        yield* run("drop table gone")
        const between = yield* now
        yield* remove("gone")
        expect(yield* at("gone", 2, between)).toBe("BeforeCapture")
      })
    )

    it.effect("know nothing of the time in which triggers were disabled or dropped, once that is repaired", () =>
      Effect.gen(function* () {
        yield* run("create table off (id int primary key, label text)")
        yield* apply([{ table: "off" }])
        const knownInstant = yield* after("insert into off values (1, 'a')")
        for (const [count, end] of [
          "alter table off disable trigger all",
          'alter table off disable trigger "0_threadline_update"',
          'alter table off enable replica trigger "0_threadline_update"',
          'drop trigger "0_threadline_update" on off',
          'drop trigger "0_threadline_truncate" on off'
        ].entries()) {
          yield* run(end)
          const unseen = yield* after(
            end.includes("truncate")
              ? "begin; truncate off; insert into off values (1, 'new'); commit"
              : `update off set label = 'unseen ${count}'`
          )
          expect(kinds(yield* apply([{ table: "off" }]))).toEqual(["repair public.off"])
          // Nobody truncated it before: the last one reaches back to the one before it.
          expect(yield* lapses("off")).toBe(Math.min(count + 1, 4))
          const repaired = yield* now
          expect(yield* at("off", 1, unseen)).toBe("BeforeCapture")
          expect(yield* at("off", 1, repaired)).toBe("BeforeCapture")
          const changed = yield* after(`update off set label = 'seen ${count}'`)
          expect(yield* at("off", 1, repaired)).toBe(count === 4 ? "new" : `unseen ${count}`)
          expect(yield* at("off", 1, changed)).toBe(`seen ${count}`)
        }
        // What was recorded lies outside of a lapse, but where another trigger than the one at fault recorded it.
        expect(
          yield* rows(`
          select c.op
          from threadline.audit_changes c
          join threadline.capture_policies p using (table_schema, table_name)
          where p.table_name = 'off' and p.lapses @> c.captured_at
          order by c.id`)
        ).toEqual([{ op: "update" }, { op: "insert" }])
        const [inserted] = yield* rows(
          "select min(captured_at)::text as at from threadline.audit_changes where table_name = 'off'"
        )
        expect(yield* at("off", 1, String(inserted?.["at"]))).toBe("a")
        expect(yield* at("off", 1, knownInstant)).toBe("BeforeCapture")
      })
    )

    it.effect("take no change for a sign that the triggers of other operations were there", () =>
      Effect.gen(function* () {
        yield* run("create table half (id int primary key, label text)")
        yield* apply([{ table: "half" }])
        yield* run("insert into half values (1, 'a')")
        const knownInstant = yield* after("update half set label = 'b'")
        yield* run('alter table half disable trigger "0_threadline_update"', "update half set label = 'unseen'")
        const inserted = yield* after("insert into half values (2, 'c')")
        yield* apply([{ table: "half" }])
        expect(yield* labels("half", inserted)).toEqual([])
        const [updated] = yield* rows(
          "select max(captured_at)::text as at from threadline.audit_changes where op = 'update' and table_name = 'half'"
        )
        expect(yield* labels("half", String(updated?.["at"]))).toEqual(["1 b"])
        expect(yield* at("half", 1, knownInstant)).toBe("BeforeCapture")
      })
    )

    it.effect("take nothing for a lapse that is none", () =>
      Effect.gen(function* () {
        const config = [{ table: "whole" }]
        yield* run("create table whole (id int primary key, label text) partition by range (id)")
        yield* run("create table whole_1 partition of whole for values from (0) to (10)")
        yield* apply(config)
        yield* run("insert into whole values (1, 'a')")
        const sql = yield* SqlClient.SqlClient
        const [file] = yield* (yield* Capture.Capture).print(config)
        yield* sql.unsafe(`begin; ${file?.sql ?? ""} commit`)
        yield* run("alter table whole add note text")
        yield* apply(config)
        yield* apply([{ table: "whole", mask: ["note"] }])
        yield* run("create table whole_2 partition of whole for values from (10) to (20)")
        yield* apply([{ table: "whole", mask: ["note"] }])
        yield* run("alter table whole detach partition whole_2")
        yield* apply([{ table: "whole", mask: ["note"] }])
        expect(yield* lapses("whole")).toBe(0)
        expect(yield* at("whole", 1, yield* now)).toBe("a")

        yield* run(
          "create table constantly (id int primary key, label text)",
          "create foreign data wrapper nothing",
          "create server nowhere foreign data wrapper nothing",
          "create foreign table far (id int, label text) server nowhere"
        )
        for (const config of [{ table: "constantly", always: true }, { table: "constantly" }, { table: "far" }]) {
          yield* apply([config])
          const [again] = yield* (yield* Capture.Capture).print([config])
          yield* sql.unsafe(`begin; ${again?.sql ?? ""} commit`)
        }
        yield* apply([{ table: "constantly", always: true }])
        expect((yield* status([{ table: "constantly", always: true }]))[0]).toMatchObject({ captured: true })
        expect([yield* lapses("constantly"), yield* lapses("far")]).toEqual([0, 0])

        yield* run("alter table whole rename to renamed", "insert into renamed values (2, 'b')")
        const between = yield* now
        yield* apply([{ table: "renamed", mask: ["note"] }])
        expect(yield* lapses("renamed")).toBe(0)
        expect(yield* at("renamed", 2, yield* now)).toBe("b")
        // It is the same table under both names.
        expect(yield* at("renamed", 1, between)).toBe("a")
        expect(yield* at("whole", 1, between)).toBe("a")
        expect((yield* Query.history("whole", 1)).items).toEqual((yield* Query.history("renamed", 1)).items)
      })
    )

    it.effect(
      "take a trigger that a partition lacked for a lapse: rows may have been written to the partition itself",
      () =>
        Effect.gen(function* () {
          const config = [{ table: "lacking" }]
          yield* run("create table lacking (id int primary key, label text) partition by range (id)")
          yield* run("create table lacking_1 partition of lacking for values from (0) to (10)")
          yield* apply(config)
          const instant = yield* after("insert into lacking values (1, 'a')")
          yield* run('drop trigger "0_threadline_insert" on lacking_1', "insert into lacking_1 values (2, 'unseen')")
          expect(yield* at("lacking", 2, instant)).toBe("BeforeCapture")
          yield* apply(config)
          expect(yield* lapses("lacking")).toBe(1)
          expect(yield* at("lacking", 2, yield* now)).toBe("BeforeCapture")
        })
    )

    it.effect("are told by printed SQL as well", () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const capture = yield* Capture.Capture
        yield* run("create table printed (id int primary key, label text)")
        const [file] = yield* capture.print([{ table: "printed" }])
        const runFile = sql.unsafe(`begin; ${file?.sql ?? ""} commit`)
        yield* runFile
        yield* runFile
        expect(yield* lapses("printed")).toBe(0)
        yield* run("insert into printed values (1, 'a')", "alter table printed disable trigger all")
        const unseen = yield* after("update printed set label = 'unseen'")
        yield* runFile
        expect(yield* lapses("printed")).toBe(1)
        expect(yield* at("printed", 1, unseen)).toBe("BeforeCapture")
        yield* remove("printed")
        yield* run("delete from printed")
        yield* runFile
        expect(yield* lapses("printed")).toBe(2)
        expect(yield* at("printed", 1, yield* now)).toBe("BeforeCapture")
        expect((yield* status([{ table: "printed" }]))[0]).toMatchObject({ captured: true })
      })
    )

    it.effect("tell of a lapse to a role that may only read", () =>
      Effect.gen(function* () {
        yield* run("create schema closed", "create table closed.kept (id int primary key, label text)")
        yield* apply([{ table: "closed.kept" }])
        const knownInstant = yield* after("insert into closed.kept values (1, 'a')")
        const database = yield* TestDatabase.TestDatabase
        const { name } = yield* database.role("reader")
        yield* Grants.apply({ writers: [], readers: [name], operators: [] })
        const sql = yield* database.connect("reader")
        const asReader = Query.layer.pipe(Layer.provide(Layer.succeed(SqlClient.SqlClient, sql)))
        expect(yield* at("closed.kept", 1, knownInstant).pipe(Effect.provide(asReader))).toBe("a")
      }).pipe(Effect.scoped)
    )
  })

  for (const [again, partitions] of [
    ["removed", 0],
    ["disabled", 0],
    ["removed", 4]
  ] as const) {
    it.live(
      `leave no unseen write behind a lapse of a ${partitions > 0 ? "partitioned " : ""}table that was ${again} while it is written to`,
      () =>
        Effect.gen(function* () {
          yield* run(
            `create table busy (id int primary key, label text)${partitions > 0 ? " partition by list (id)" : ""}`,
            ...Array.from(
              { length: partitions },
              (_, index) => `create table busy_${index + 1} partition of busy for values in (${index + 1})`
            ),
            "insert into busy select g, '' from generate_series(1, 4) g",
            // When each write happened, whoever captured it.
            "create table written (id int, label text, at timestamptz)",
            `create function note_write() returns trigger language plpgsql as
             'begin insert into written values (new.id, new.label, clock_timestamp()); return null; end'`,
            "create trigger zz after update on busy for each row execute function note_write()"
          )
          yield* apply([{ table: "busy" }])
          let stopped = false
          const target = (id: number) => (partitions > 0 ? `busy_${id}` : "busy")
          const writer = (id: number) =>
            Effect.gen(function* () {
              const database = yield* TestDatabase.TestDatabase
              const raw = yield* database.rawClient()
              for (let n = 0; !stopped; n++) {
                yield* Effect.promise(() =>
                  raw.query(`begin; update ${target(id)} set label = '${n}' where id = ${id}`)
                )
                yield* Effect.promise(() => raw.query("commit"))
              }
            })
          const writers = yield* Effect.forEach([1, 2, 3, 4], (id) => Effect.fork(writer(id)))
          const recorded = "select count(*)::int from threadline.audit_changes where table_name = 'busy'"
          for (let round = 0; round < 4; round++) {
            yield* grows(recorded)
            yield* again === "removed"
              ? remove("busy")
              : run("alter table busy disable trigger user", "alter table busy enable trigger zz")
            yield* grows(`select count(*)::int - (${recorded}) from written`)
            yield* apply([{ table: "busy" }], { lockTimeout: "10 seconds" })
          }
          yield* grows(recorded)
          stopped = true
          yield* Fiber.joinAll(writers)
          expect(yield* lapses("busy")).toBe(4)
          const unseen = yield* rows(`
          select w.*
          from written w
          where not exists (
            select from threadline.audit_changes c
            where c.table_name = 'busy' and c.row_key = w.id::text and c.data_after ->> 'label' = w.label
          )`)
          expect(unseen.length).toBeGreaterThan(0)
          const outside = yield* rows(`
          select w.*
          from written w
          cross join threadline.capture_policies p
          where p.table_name = 'busy'
            and not p.lapses @> w.at
            and not exists (
              select from threadline.audit_changes c
              where c.table_name = 'busy' and c.row_key = w.id::text and c.data_after ->> 'label' = w.label
            )`)
          expect(outside).toEqual([])
          // Nor is anything captured inside of one.
          expect(
            yield* rows(`
          select c.id
          from threadline.audit_changes c
          join threadline.capture_policies p using (table_schema, table_name)
          where p.lapses @> c.captured_at`)
          ).toEqual([])
        }).pipe(Effect.scoped, Effect.provide(layerWithCapture))
    )
  }
})
