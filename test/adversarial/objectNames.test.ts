/** Tables, columns and paths named like members of JavaScript's objects: nothing of them is lost, and nothing of them leaks. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Capture from "../../src/Capture.js"
import { stringify } from "../../src/internal/core/json.js"
import * as Query from "../../src/Query.js"
import { clientOf } from "../harness/client.js"
import { attacks } from "../support/adversarial.js"

attacks("names of JavaScript's objects", (attack) => {
  attack("are captured, masked, planned, shown and compared as any others", ({ apply, capture, database, db }) =>
    Effect.gen(function* () {
      yield* db.run(
        'create table "__proto__" (id int primary key, "__proto__" jsonb, "constructor" text, "toJSON" text, "hasOwnProperty" text)',
        'create table "constructor" ("__proto__" int primary key, "constructor" text, "toJSON" text)'
      )
      const tables: ReadonlyArray<Capture.TableConfig> = [
        {
          table: '"__proto__"',
          mask: ["constructor", { column: "toJSON", as: "hash" }, { column: "__proto__", path: ["__proto__"] }],
          exclude: ["hasOwnProperty"]
        },
        { table: "constructor", mask: ["toJSON"] }
      ]
      yield* apply(...tables)
      yield* db.run(
        `insert into "__proto__" values
           (1, '{"__proto__": "secret 1", "a": {"__proto__": 2}}', 'secret 2', 'secret 3', 'secret 4'),
           (2, '{"constructor": 5}', 'secret 5', 'secret 6', 'secret 7')`,
        `update "__proto__" set "constructor" = 'secret 8', "__proto__" = '{"__proto__": "secret 9", "toJSON": 1}' where id = 1`,
        `insert into "constructor" values (1, 'open', 'secret 10')`,
        `update "constructor" set "constructor" = 'wide', "__proto__" = 7`
      )
      expect(yield* db.column("select c::text from threadline.audit_changes c where c::text ~ 'secret [0-9]'")).toEqual(
        []
      )
      expect(yield* capture.plan(tables)).toEqual([])
      const statuses = yield* capture.status(tables)
      expect(statuses.flatMap(({ findings }) => findings.filter(({ severity }) => severity !== "info"))).toEqual([])
      expect(statuses.map(({ policy }) => policy?.mask)).toEqual([["constructor", "toJSON"], ["toJSON"]])

      const layer = Query.layer.pipe(Layer.provide(clientOf(database.url, 1)))
      yield* Effect.gen(function* () {
        const { items } = yield* Query.history('"__proto__"', "1")
        const columns = items.map(({ changedFields, dataAfter }) => [
          changedFields,
          stringify(dataAfter?.["__proto__"] ?? null)
        ])
        expect(columns).toEqual([
          [["__proto__", "constructor"], '{"toJSON":1,"__proto__":"[masked]"}'],
          [null, '{"a":{"__proto__":2},"__proto__":"[masked]"}']
        ])
        const later = "2100-01-01T00:00:00Z"
        const there = yield* Query.asOf("constructor", "7", later)
        expect(there._tag === "Present" ? stringify(there.row) : there._tag).toBe(
          '{"toJSON":"[masked]","__proto__":7,"constructor":"wide"}'
        )
        const moved = yield* Query.history("constructor", "7")
        expect(moved.items.map(({ previousRowKey, rowPk }) => [previousRowKey, stringify(rowPk ?? null)])).toEqual([
          ["1", '{"__proto__":"7"}']
        ])
        const { fields } = yield* Query.diffBetween('"__proto__"', "1", items[1]?.capturedAt ?? later, later)
        expect(fields.map(({ field }) => field)).toEqual(["__proto__"])
        const matchingPage = yield* Query.timeline({ table: '"__proto__"', changedField: "__proto__" })
        expect(matchingPage.items.map(({ op, rowKey }) => `${op} ${rowKey ?? ""}`)).toEqual(["update 1"])
      }).pipe(Effect.provide(layer), Effect.orDie)

      yield* db.run('alter table "constructor" rename column "toJSON" to "valueOf"')
      yield* apply({ table: "constructor", mask: ["valueOf"] })
      yield* db.run(`update "constructor" set "valueOf" = 'secret 11', "constructor" = 'shut'`)
      expect(yield* db.value("select data_after::text from threadline.audit_changes order by id desc limit 1")).toBe(
        '{"valueOf": "[masked]", "__proto__": 7, "constructor": "shut"}'
      )
    })
  )
})
