/** Types with a cast to json that an extension brings: it may leave out a part of a value, or raise. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { attacks, brief, changes, clear, type Host } from "../support/adversarial.js"

// What PostGIS does: GeoJSON has no M, and a CIRCULARSTRING has no GeoJSON. Any extension lends its name.
const geometry = ({ db }: Host) =>
  db.run(
    "create extension hstore",
    "create type geometry as (x float8, y float8, m float8)",
    `create function geojson(geometry) returns json language plpgsql immutable as $$ begin
       if $1.m < 0 then raise exception 'no geojson' using errcode = 'XX000'; end if;
       return json_build_object('type', 'Point', 'coordinates', array[$1.x, $1.y]);
     end $$`,
    "create cast (geometry as json) with function geojson(geometry)",
    "alter extension hstore add type geometry",
    "alter extension hstore add function geojson(geometry)",
    "alter extension hstore add cast (geometry as json)"
  )

attacks("casts to json of an extension", (attack) => {
  for (const mode of ["statement", "row"] as const) {
    attack(`cost no part of a value and no other column, in ${mode} mode`, (host) =>
      Effect.gen(function* () {
        const { apply, db } = host
        yield* geometry(host)
        yield* db.run(
          `create table places (
             id int primary key, at geometry, many geometry[], inside geometry, note text, secret text
           )`,
          "insert into places values (0, row(1, 2, 9), array[row(1, 2, 9)::geometry], row(1, 2, 9), 'n', 's')"
        )
        yield* apply({ table: "places", mode, mask: ["secret"] })
        const statements: ReadonlyArray<readonly [sql: string, expected: string, fields: string]> = [
          ["update places set at = row(1, 2, 10)", "update 0", "{at}"],
          ["update places set many = array[row(1, 2, 10)::geometry]", "update 0", "{many}"],
          ["update places set at = row(1, 2, -1), note = 'raises'", "update 0", "{at,note}"],
          ["update places set note = 'beside it'", "update 0", "{note}"],
          ["update places set at = row(1, 2, -2)", "update 0", "{at}"],
          ["update places set many = array[row(1, 2, -1)::geometry, null]", "update 0", "{many}"],
          ["update places set id = 1", "update 1<-0", "{id}"],
          ["insert into places values (2, row(0, 0, -1), null, row(0, 0, -1), 'n', 's')", "insert 2", ""],
          ["delete from places where id = 2", "delete 2", ""]
        ]
        for (const [sql, expected, fields] of statements) {
          yield* clear(db)
          yield* db.run(sql)
          const recordedChanges = yield* changes(db)
          expect([sql, brief(recordedChanges), recordedChanges[0]?.fields ?? ""]).toEqual([sql, [expected], fields])
        }
        yield* clear(db)
        yield* db.run(
          "insert into places select i, format('(%s,%s,%s)', i, i, -i)::geometry, null, null, 'n', 's' from generate_series(10, 12) i"
        )
        yield* db.run("update places set at = row((at).x, (at).y, -100) where id >= 10")
        const recordedChanges = yield* changes(db)
        expect(brief(recordedChanges)).toEqual(
          [10, 11, 12].map((id) => `insert ${id}`).concat([10, 11, 12].map((id) => `update ${id}`))
        )
        // A value of such a type is kept by its attributes or as its text, never by the cast.
        expect(
          yield* db.column(
            "select data_after -> 'at' ->> 'm' from threadline.audit_changes where op = 'update' order by id"
          )
        ).toEqual(["-100", "-100", "-100"])
        expect(
          yield* db.value("select count(*) from threadline.audit_changes where data_after ->> 'secret' <> '[masked]'")
        ).toBe("0")
        yield* clear(db)
        yield* db.run("truncate places")
        expect(brief(yield* changes(db))).toEqual(["truncate -"])
      })
    )
  }
})
