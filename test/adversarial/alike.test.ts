/** Values that differ and have the same image, and columns that are new since the triggers were generated. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { attacks, brief, changes, clear } from "../support/adversarial.js"

attacks("values that differ and have one image", (attack) => {
  const cases: ReadonlyArray<readonly [type: string, before: string, after: string]> = [
    ["jsonb", "null", "'null'"],
    ["jsonb", "'null'", "null"],
    ["document", "null", "'null'"],
    ["json", "null", "'null'"],
    ["jsonb[]", "array[null]::jsonb[]", "array['null']::jsonb[]"],
    ["json[]", "array[null]::json[]", "array['null']::json[]"],
    ["pair", "row(1, null)::pair", "row(1, 'null')::pair"],
    ["int[]", "'{1,2}'", "'[0:1]={1,2}'"],
    ["text[]", "'[2:2]={a}'", "'{a}'"],
    ["float8", "0", "'-0'"],
    ["real", "'-0'", "0"]
  ]
  for (const mode of ["statement", "row"] as const) {
    attack(`make an update between them a recorded change that says so, in ${mode} mode`, ({ apply, db }) =>
      Effect.gen(function* () {
        yield* db.run("create domain document as jsonb", "create type pair as (a int, doc jsonb)")
        for (const [at, [type, before, after]] of cases.entries()) {
          yield* db.run(
            `create table t${at} (id int primary key, v ${type}, other text, secret text)`,
            `insert into t${at} values (1, ${before}, 'x', 's'), (2, ${before}, 'x', 's'), (3, ${after}, 'x', 's')`
          )
          yield* apply({ table: `t${at}`, mode, exclude: ["secret"] })
          yield* clear(db)
          yield* db.run(
            `update t${at} set v = ${after} where id = 1`,
            `update t${at} set v = v, other = other`,
            `update t${at} set v = ${before}`,
            `update t${at} set v = v, secret = secret || '!'`,
            `update t${at} set secret = 'one' where id = 1`
          )
          const recordedChanges = yield* changes(db)
          expect([type, before, brief(recordedChanges)]).toEqual([type, before, ["update 1", "update 3", "update 1"]])
          expect([type, recordedChanges.map(({ details, fields }) => `${fields} ${details}`)]).toEqual([
            type,
            recordedChanges.map(() => '{v} {"alike": ["v"]}')
          ])
          expect(recordedChanges.every(({ from }) => from?.startsWith('{"v": '))).toBe(true)
        }
      })
    )
  }

  attack("stay masked if they are, also if one statement updates a whole table of them", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run(
        "create table t (id int primary key, v jsonb, w int[])",
        "insert into t select i, null, '{1}' from generate_series(1, 300) i"
      )
      yield* apply({ table: "t", mask: ["v"] })
      yield* clear(db)
      yield* db.run("update t set v = 'null', w = case when id <= 100 then '[5:5]={1}'::int[] else w end")
      const recordedChanges = yield* changes(db)
      expect(recordedChanges).toHaveLength(300)
      expect(new Set(recordedChanges.map(({ fields, from }) => `${fields} ${from}`))).toEqual(
        new Set(['{v,w} {"v": "[masked]", "w": [1]}', '{v} {"v": "[masked]"}'])
      )
      yield* clear(db)
      // Two of a statement, of which one also changes otherwise.
      yield* db.run("update t set v = case id when 1 then null else '1'::jsonb end where id in (1, 2)")
      expect((yield* changes(db)).map(({ details, fields, key }) => `${key} ${fields} ${details}`)).toEqual([
        '1 {v} {"alike": ["v"]}',
        "2 {v} null"
      ])
    })
  )
})

attacks("columns that are new since capture was applied", (attack) => {
  for (const mode of ["statement", "row"] as const) {
    for (const masked of [false, true]) {
      attack(
        `have the same bytes from the first write on, whatever the session, in ${mode} mode${masked ? ", of a table with a masked column" : ""}`,
        ({ apply, db, session }) =>
          Effect.gen(function* () {
            yield* db.run("create table t (id int primary key, v text, secret text)")
            yield* apply({ table: "t", mode, ...(masked ? { mask: ["secret"] } : {}), truncate: "rows" })
            yield* db.run(
              `alter table t add at timestamptz default '2024-05-05 12:00:00.123456+02', add span interval default '1 day 02:03:04.5',
                 add bytes bytea default '\\xdeadbeef', add number float8 default 0.1::float8 + 0.2::float8, add day daterange default '[2024-01-02,2024-03-04)',
                 add price money default 12.5, add cls regclass default 'pg_catalog.pg_class'`
            )
            const odd = yield* session()
            yield* odd.run(
              "set timezone = 'Asia/Kolkata'; set datestyle = 'German'; set intervalstyle = 'iso_8601'; set bytea_output = 'escape'; set extra_float_digits = -10; set quote_all_identifiers = on"
            )
            const write = [
              "insert into t (id, v) values (1, 'a')",
              "insert into t (id, v) values (2, 'b'), (3, 'c')",
              "update t set v = v || '!' where id = 1",
              "update t set v = v || '?', number = number + 1",
              "update t set number = 1e-7",
              "delete from t where id = 1",
              "delete from t where id in (2, 3)",
              "insert into t (id, v) values (4, 'a'), (5, 'b')",
              "truncate t"
            ]
            const images = (who: typeof db) =>
              Effect.gen(function* () {
                yield* clear(db)
                yield* who.run(...write)
                return (yield* changes(db)).map(({ after, from }) => `${from} ${after}`)
              })
            const between = yield* images(odd)
            expect(between.join(" ")).toMatch(/2024-05-05T10:00:00.123456\+00:00/)
            expect(between.join(" ")).toMatch(/\\\\xdeadbeef/)
            expect(between.join(" ")).toMatch(/0\.30000000000000004/)
            expect(yield* images(db)).toEqual(between)
            yield* apply({ table: "t", mode, ...(masked ? { mask: ["secret"] } : {}), truncate: "rows" })
            expect(yield* images(odd)).toEqual(between)
          })
      )
    }

    attack(`are told apart by the exact text if they are json, in ${mode} mode`, ({ apply, db }) =>
      Effect.gen(function* () {
        yield* db.run("create table t (id int primary key, v text)", "insert into t values (1, 'a'), (2, 'b')")
        yield* apply({ table: "t", mode })
        yield* db.run(`alter table t add doc json default '{"a":1}'`)
        yield* clear(db)
        yield* db.run(
          `update t set doc = '{"a": 1}' where id = 1`,
          `update t set doc = '{"a":1 }'`,
          `update t set doc = '{"a":1 }'`,
          `update t set doc = '{ "a":1}', v = 'c' where id = 1`
        )
        expect((yield* changes(db)).map(({ fields, key }) => `${key} ${fields}`)).toEqual([
          "1 {doc}",
          "2 {doc}",
          "1 {doc}",
          "1 {doc,v}"
        ])
      })
    )
  }
})
