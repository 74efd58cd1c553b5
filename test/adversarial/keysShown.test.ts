/** The key that the record shows is accepted as a key. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { asOf, attacks, changes, reading } from "../support/adversarial.js"
import * as Query from "../../src/Query.js"

interface Case {
  /** Columns of the table beside `v`, with the key. */
  readonly columns: string
  readonly values: string
  /** Further spellings of the key. */
  readonly also: ReadonlyArray<Query.KeyInput>
}

const cases: ReadonlyArray<Case> = [
  {
    columns: "k ck primary key",
    values: "row(1.50, 'a', '[1,2)', '{\"p\": 1}')",
    also: [`(1.5,a,"[1,2)","{""p"": 1}")`, '{"x":1.500,"y":"a","r":"[1,2)","j":{"p":1}}']
  },
  { columns: "k ck primary key", values: "row(null, '\"\\,(', null, null)", also: [] },
  { columns: "k text[] primary key", values: "array['a', null, '{\"x\"}']", also: [`{a,NULL,"{\\"x\\"}"}`] },
  { columns: "k int[] primary key", values: "'{{1,2},{3,4}}'", also: ["{{1,2},{3,4}}", "[[1,2],[3,4]]"] },
  { columns: "k int[] primary key", values: "'{}'", also: ["{}", "[ ]"] },
  { columns: "k varchar(3)[] primary key", values: "'{abc}'", also: ["{abc}"] },
  { columns: "k timestamptz[] primary key", values: "'{2026-01-01 12:00+02}'", also: ["{2026-01-01 10:00Z}"] },
  { columns: "k ck[] primary key", values: "array[row(1.0, 'a', null, null)::ck]", also: [`{"(1,a,,)"}`] },
  { columns: "k dk primary key", values: "row(row(1.0, 'a', null, '[]')::ck, '{24 hours}')::nk", also: [] },
  {
    columns: "n int, k ck, l text[], primary key (n, k, l)",
    values: "7, row(2, 'a', null, null)::ck, '{b}'",
    also: [["7", "(2,a,,)", "{b}"], { n: 7, k: "(2,a,,)", l: '["b"]' }]
  },
  { columns: "k jsonb primary key", values: `'["a", {"b": 1.0}]'`, also: ['["a",{"b":1}]'] },
  { columns: "k text primary key", values: `'["a"]'`, also: [] },
  { columns: "k bytea primary key", values: "decode(repeat('ab', 600), 'hex')", also: [] },
  { columns: "k ck primary key", values: "row(1, repeat('a', 600), null, null)", also: [] },
  { columns: "n int, k text[], primary key (n, k)", values: "1, array[repeat('a', 600)]", also: [] }
]

attacks("the key that the record shows", (attack) => {
  for (const mode of ["statement", "row"] as const) {
    attack(`is accepted as a key, and so is what PostgreSQL writes, in ${mode} mode`, (host) =>
      Effect.gen(function* () {
        const { apply, db, now } = host
        yield* db.run(
          "create type ck as (x numeric, y text, r int4range, j jsonb)",
          "create type nk as (c ck, i interval[])",
          "create domain dk as nk"
        )
        for (const [at, { also, columns, values }] of cases.entries()) {
          const table = `t${at}`
          yield* db.run(`create table ${table} (${columns}, v text)`)
          yield* apply({ table, mode })
          yield* db.run(`insert into ${table} values (${values}, 'one')`)
          const [change] = yield* changes(db, table)
          const key = change?.key ?? ""
          const instant = yield* now
          for (const given of [key, ...also]) {
            const told = (answer: string): ReadonlyArray<unknown> => [columns, given, answer]
            expect(told(yield* asOf(host, table, given))).toEqual(told(`Present "one"`))
            const [first] = yield* reading(host, Query.asOfKeys(table, [given], instant))
            expect(told(first?.answer._tag ?? "")).toEqual(told("Present"))
            const history = yield* reading(host, Query.history(table, given))
            expect(told(String(history.items.length))).toEqual(told("1"))
          }
        }
      })
    )
  }

  attack("is accepted after its attributes got other names, before and after apply, and others are refused", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run("create type ck as (x int, y text)", "create table t (k ck primary key, v text)")
      yield* apply("t")
      yield* db.run("insert into t values (row(1, 'a'), 'one')")
      const old = '{"x": 1, "y": "a"}'
      const recorded = (key: string) =>
        Effect.map(reading(host, Query.history("t", key)), ({ items }) => items.map(({ op }) => op))
      yield* db.run("alter type ck rename attribute x to z")
      expect(yield* recorded(old)).toEqual(["insert"])
      yield* apply("t")
      yield* db.run("update t set v = 'two'")
      expect(yield* recorded(old)).toEqual(["insert"])
      expect(yield* recorded('{"y": "a", "z": 1}')).toEqual(["update"])
      expect(yield* recorded("(1,a)")).toEqual(["update"])

      yield* db.run("create table u (k int[] primary key, v text)")
      yield* apply("u")
      const refused = yield* Effect.either(host.readers.query.history("u", '["a"]'))
      expect(refused._tag === "Left" && refused.left._tag).toBe("threadline/InvalidRequest")
    })
  )

  attack("names what is gone", (host) =>
    Effect.gen(function* () {
      const { apply, db } = host
      yield* db.run(
        "create table gone (id int)",
        "create function f() returns int language sql as 'select 1'",
        "create table t (k regclass primary key, v text)",
        "create table u (k regprocedure primary key, v text)"
      )
      yield* apply("t", "u")
      yield* db.run("insert into t values ('gone', 'one')", "insert into u values ('f()', 'one')")
      const keys = [(yield* changes(db, "t"))[0]?.key ?? "", (yield* changes(db, "u"))[0]?.key ?? ""]
      yield* db.run("drop table gone; drop function f()")
      expect([yield* asOf(host, "t", keys[0] ?? ""), yield* asOf(host, "u", keys[1] ?? "")]).toEqual([
        `Present "one"`,
        `Present "one"`
      ])
      expect([yield* asOf(host, "t", "never"), yield* asOf(host, "u", "never()")]).toEqual([
        "BeforeCapture",
        "BeforeCapture"
      ])
    })
  )
})
