import * as SqlClient from "@effect/sql/SqlClient"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Json from "../../../src/Json.js"
import * as Query from "../../../src/Query.js"
import { after, apply, fresh, now, remove, rows, run, value } from "../../support/capture.js"
import { layerWithCapture } from "../../support/query.js"

/** How a row stood: its label, marked if it is rebuilt, or the answer. */
const at = (table: string, key: Query.KeyInput, instant: string) =>
  Effect.map(Query.asOf(table, key, instant), (answer) =>
    answer._tag === "Present"
      ? `${Json.stringify(answer.row["label"] ?? null).slice(1, -1)}${answer.rebuilt === true ? " rebuilt" : ""}`
      : answer._tag
  )

const since = (table: string) =>
  value(`select captured_since::text from threadline.capture_policies where table_name = '${table}'`)

const table = (name: string, ...labels: ReadonlyArray<string>) => [
  `create table ${name} (id int primary key, label text)`,
  ...labels.map((label, index) => `insert into ${name} values (${index + 1}, '${label}')`)
]

describe("What is known of a row before its first change", () => {
  it.layer(layerWithCapture)("reads", (it) => {
    it.effect("rebuild it back to the beginning of capture, say so, and claim nothing before that", () =>
      Effect.gen(function* () {
        yield* run(...table("fees", "early", "kept", "gone"))
        yield* run("update fees set label = 'before capture' where id = 1")
        const before = yield* now
        yield* apply([{ table: "fees" }])
        const begun = yield* now
        const changed = yield* after(
          "update fees set label = 'changed' where id = 1",
          "delete from fees where id = 3",
          "insert into fees values (4, 'new')"
        )
        for (const key of [1, 2, 3, 4]) {
          expect(yield* at("fees", key, "2001-01-01T00:00:00Z")).toBe("BeforeCapture")
          expect(yield* at("fees", key, before)).toBe("BeforeCapture")
        }
        expect(yield* Effect.forEach([1, 2, 3, 4], (key) => at("fees", key, begun))).toEqual([
          "before capture rebuilt",
          "BeforeCapture",
          "gone rebuilt",
          "NotYetCreated"
        ])
        expect(yield* Effect.forEach([1, 2, 3, 4], (key) => at("fees", key, changed))).toEqual([
          "changed",
          "BeforeCapture",
          "Deleted",
          "new"
        ])
      })
    )

    it.effect("say so in JSON, of one row, of many, of relations, of two instants and by a schema", () =>
      Effect.gen(function* () {
        yield* run(...table("tariffs", "a", "b"))
        yield* apply([{ table: "tariffs" }])
        const begun = yield* now
        const changed = yield* after("update tariffs set label = 'A' where id = 1", "delete from tariffs where id = 2")
        const json = (instant: string) => Effect.map(Query.asOf("tariffs", 1, instant), Json.stringify)
        expect(yield* json(begun)).toBe(
          `{"answer":"Present","row":{"id":1,"label":"a"},"rebuilt":true,"at":"${begun}"}`
        )
        expect(yield* json(changed)).toBe(`{"answer":"Present","row":{"id":1,"label":"A"},"at":"${changed}"}`)

        const many = yield* Query.asOfRows("tariffs", begun)
        expect(many.items.map((one) => Json.stringify(one))).toEqual([
          '{"rowKey":"1","rowPk":{"id":"1"},"row":{"id":1,"label":"a"},"rebuilt":true}',
          '{"rowKey":"2","rowPk":{"id":"2"},"row":{"id":2,"label":"b"},"rebuilt":true}'
        ])
        expect((yield* Query.asOfRows("tariffs", changed)).items.map((one) => Json.stringify(one))).toEqual([
          '{"rowKey":"1","rowPk":{"id":"1"},"row":{"id":1,"label":"A"}}'
        ])
        const [one] = yield* Query.asOfKeys("tariffs", [2], begun)
        expect(one?.answer).toMatchObject({ _tag: "Present", rebuilt: true })
        const { answer, related } = yield* Query.asOfWith("tariffs", 1, begun, {
          same: { table: "tariffs", columns: { id: "id" } }
        })
        expect(answer).toMatchObject({ rebuilt: true })
        expect(related.same.items[0]).toMatchObject({ rebuilt: true })
        const diff = yield* Query.diffBetween("tariffs", 1, begun, changed)
        expect(diff.from).toMatchObject({ rebuilt: true })
        expect(diff.to).not.toHaveProperty("rebuilt")
        expect(diff.fields).toEqual([{ field: "label", before: "a", after: "A" }])
        const typed = Query.typed("tariffs", Schema.Struct({ id: Schema.Number, label: Schema.String }))
        expect(yield* typed.asOf(1, begun)).toMatchObject({ rebuilt: true })
        expect((yield* typed.asOfRows(begun)).items[1]).toMatchObject({ rebuilt: true })
      })
    )

    it.effect("keep the beginning when a table is removed and captured again, and stop at the lapse", () =>
      Effect.gen(function* () {
        yield* run(...table("rents", "a", "b", "c"))
        yield* apply([{ table: "rents" }])
        const first = yield* since("rents")
        const begun = yield* after("update rents set label = 'A' where id = 1")
        yield* remove("rents")
        const inside = yield* after("update rents set label = 'unseen' where id = 2")
        yield* apply([{ table: "rents" }])
        const again = yield* now
        yield* apply([{ table: "rents", mask: [] }])
        yield* run("update rents set label = 'B' where id = 2", "delete from rents where id = 3")
        expect(yield* since("rents")).toBe(first)
        const answersAt = (instant: string) => Effect.forEach([1, 2, 3], (key) => at("rents", key, instant))
        expect(yield* answersAt(begun)).toEqual(["A", "BeforeCapture", "BeforeCapture"])
        expect(yield* answersAt(inside)).toEqual(["BeforeCapture", "BeforeCapture", "BeforeCapture"])
        expect(yield* answersAt(again)).toEqual(["BeforeCapture", "unseen rebuilt", "c rebuilt"])
      })
    )

    it.effect("claim nothing before a TRUNCATE of rows that nothing is known of, not that they were not there", () =>
      Effect.gen(function* () {
        yield* run(...table("bins", "there"))
        yield* apply([{ table: "bins" }])
        const begun = yield* now
        const emptied = yield* after("truncate bins")
        const filled = yield* after("insert into bins values (1, 'again'), (2, 'new')")
        expect(yield* Effect.forEach([1, 2], (key) => at("bins", key, begun))).toEqual([
          "BeforeCapture",
          "BeforeCapture"
        ])
        expect(yield* Effect.forEach([1, 2], (key) => at("bins", key, emptied))).toEqual([
          "NotYetCreated",
          "NotYetCreated"
        ])
        expect(yield* Effect.forEach([1, 2], (key) => at("bins", key, filled))).toEqual(["again", "new"])
      })
    )

    it.effect("know a renamed table from its first change under the new name", () =>
      Effect.gen(function* () {
        yield* run(...table("olds", "a", "b"))
        yield* apply([{ table: "olds" }])
        yield* run("alter table olds rename to news")
        const first = yield* after("update news set label = 'A' where id = 1")
        yield* apply([{ table: "news" }])
        yield* run("update news set label = 'B' where id = 2")
        expect(yield* Effect.forEach([1, 2], (key) => at("news", key, first))).toEqual(["A", "b rebuilt"])
        expect(yield* at("news", 2, "2001-01-01T00:00:00Z")).toBe("BeforeCapture")
      })
    )
  })

  const removed = (label: string, removal: (between: string) => string) =>
    it.effect(`ends where retention has removed changes: ${label}`, () =>
      fresh(
        Effect.gen(function* () {
          yield* run(...table("dues", "a", "b"), ...table("others", "x"))
          yield* apply([{ table: "dues" }, { table: "others" }])
          const begun = yield* now
          yield* run("update dues set label = 'aa' where id = 1", "update dues set label = 'bb' where id = 2")
          const between = yield* now
          yield* run("update dues set label = 'aaa' where id = 1", "delete from dues where id = 2")
          yield* run("update others set label = 'y' where id = 1")
          const end = yield* now
          const answersAt = (instant: string) => Effect.forEach([1, 2], (key) => at("dues", key, instant))
          expect(yield* answersAt(begun)).toEqual(["a rebuilt", "b rebuilt"])
          yield* run(removal(between))
          expect(yield* answersAt(begun)).toEqual(["BeforeCapture", "BeforeCapture"])
          expect(yield* answersAt(between)).toEqual(["aa rebuilt", "bb rebuilt"])
          expect(yield* answersAt(end)).toEqual(["aaa", "Deleted"])
          expect(yield* at("others", 1, begun)).toBe("x rebuilt")
        }).pipe(Effect.provide(Query.layer))
      )
    )

  removed("older ones", (between) => `delete from threadline.audit_changes where captured_at < '${between}'`)
  removed(
    "older ones of one table",
    (between) => `delete from threadline.audit_changes where captured_at < '${between}' and table_name = 'dues'`
  )
  removed(
    "all, one at a time",
    (between) => `do $$
      declare one record;
      begin
        for one in select id from threadline.audit_changes where captured_at < '${between}' loop
          delete from threadline.audit_changes where id = one.id;
        end loop;
      end $$`
  )

  it.effect("ends where a partition of the record was dropped", () =>
    fresh(
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* run(...table("dues", "a", "b"))
        yield* apply([{ table: "dues" }])
        yield* run("update dues set label = 'aa' where id = 1")
        // Capture began long ago, and the month before this one has a partition.
        yield* run(
          "update threadline.capture_policies set captured_since = '2026-01-01'",
          "select threadline.ensure_partitions(date_trunc('month', now()) - interval '3 months', now())"
        )
        const months = yield* rows(
          "select to_char(date_trunc('month', now() at time zone 'UTC') - n * interval '1 month', 'YYYYMMDD') as leaf from generate_series(0, 3) n"
        )
        const instant = (back: number) =>
          Effect.map(
            value(
              `select to_char(date_trunc('month', now() at time zone 'UTC') - interval '${back} months' + interval '1 day', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`
            ),
            String
          )
        const [first, second, third] = [yield* instant(3), yield* instant(2), yield* instant(1)]
        expect(yield* at("dues", 1, first)).toBe("a rebuilt")
        yield* sql.unsafe(`drop table threadline.audit_changes_${String(months[3]?.["leaf"])}`)
        expect(yield* at("dues", 1, first)).toBe("BeforeCapture")
        expect(yield* at("dues", 1, second)).toBe("a rebuilt")
        yield* sql.unsafe(`drop table threadline.audit_changes_${String(months[2]?.["leaf"])}`)
        expect(yield* at("dues", 1, second)).toBe("BeforeCapture")
        expect(yield* at("dues", 1, third)).toBe("a rebuilt")
      }).pipe(Effect.provide(Query.layer))
    )
  )

  it.effect("ends at a TRUNCATE of the record itself", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(...table("dues", "a"))
        yield* apply([{ table: "dues" }])
        yield* run("update dues set label = 'aa' where id = 1")
        const between = yield* now
        yield* run("truncate threadline.audit_changes")
        const emptied = yield* now
        yield* run("update dues set label = 'aaa' where id = 1")
        expect(yield* at("dues", 1, between)).toBe("BeforeCapture")
        expect(yield* at("dues", 1, emptied)).toBe("aa rebuilt")
      }).pipe(Effect.provide(Query.layer))
    )
  )

  it.effect("is the same for a role that reads, and at any session's settings", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(...table("dues", "a"))
        yield* apply([{ table: "dues" }])
        const begun = yield* now
        yield* run("update dues set label = 'aa' where id = 1")
        yield* run(
          "alter database " +
            String(yield* value("select quote_ident(current_database())")) +
            " set datestyle = 'SQL, DMY'"
        )
        yield* run("set timezone = 'Asia/Kolkata'", "set datestyle = 'German'")
        expect(yield* at("dues", 1, begun)).toBe("a rebuilt")
        expect(yield* at("dues", 1, "2001-01-01T00:00:00Z")).toBe("BeforeCapture")
      }).pipe(Effect.provide(Query.layer))
    )
  )
})
