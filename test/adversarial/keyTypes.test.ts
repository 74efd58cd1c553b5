/** Types inside of keys: what alters them alters the texts of keys. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { asOf, attacks, type Host, lastChange, reading } from "../support/adversarial.js"
import { stringify } from "../../src/internal/core/json.js"
import * as Query from "../../src/Query.js"

interface Story {
  readonly what: string
  readonly types: string
  /** Columns of the table beside `v`, with the key. */
  readonly columns: string
  readonly values: string
  /** As the record shows it. */
  readonly key: string
  readonly alter: string
  readonly back?: string
  readonly keyNow: string
  /** The types of which the finding tells. */
  readonly subjects: ReadonlyArray<string>
}

const states = "create type e as enum ('a', 'b')"
const rename = {
  alter: "alter type e rename value 'a' to 'aa'",
  back: "alter type e rename value 'aa' to 'a'",
  subjects: ["public.e"]
}
const pairs = "create type ck as (x int, y text)"
const rename2 = {
  alter: "alter type ck rename attribute x to xx",
  back: "alter type ck rename attribute xx to x",
  subjects: ["public.ck"]
}

const stories: ReadonlyArray<Story> = [
  {
    ...rename,
    what: "an enum in an array",
    types: states,
    columns: "k e[] primary key",
    values: "'{a}'",
    key: '["a"]',
    keyNow: '["aa"]'
  },
  {
    ...rename,
    what: "an enum in a composite",
    types: `${states}; create type ck as (x e, y text)`,
    columns: "k ck primary key",
    values: "row('a', 'y')",
    key: '{"x": "a", "y": "y"}',
    keyNow: '{"x": "aa", "y": "y"}'
  },
  {
    ...rename,
    what: "an enum in a range",
    types: `${states}; create type er as range (subtype = e, multirange_type_name = erm)`,
    columns: "k er primary key",
    values: "er('a', 'b')",
    key: "[a,b)",
    keyNow: "[aa,b)"
  },
  {
    ...rename,
    what: "an enum in a multirange",
    types: `${states}; create type er as range (subtype = e, multirange_type_name = erm)`,
    columns: "k erm primary key",
    values: "erm(er('a', 'b'))",
    key: "{[a,b)}",
    keyNow: "{[aa,b)}"
  },
  {
    ...rename,
    what: "an enum in a domain over a domain over an array",
    types: `${states}; create domain d as e[]; create domain dd as d`,
    columns: "k dd primary key",
    values: "'{a}'",
    key: '["a"]',
    keyNow: '["aa"]'
  },
  {
    ...rename2,
    what: "an attribute of a composite",
    types: pairs,
    columns: "k ck primary key",
    values: "row(1, 'a')",
    key: '{"x": 1, "y": "a"}',
    keyNow: '{"y": "a", "xx": 1}'
  },
  {
    what: "an attribute added to a composite",
    types: pairs,
    columns: "k ck primary key",
    values: "row(1, 'a')",
    key: '{"x": 1, "y": "a"}',
    alter: "alter type ck add attribute z int",
    back: "alter type ck drop attribute z",
    subjects: ["public.ck"],
    keyNow: '{"x": 1, "y": "a", "z": null}'
  },
  {
    what: "an attribute dropped from a composite, with an enum",
    types: `${states}; create type ck as (x int, y e)`,
    columns: "k ck primary key",
    values: "row(1, 'a')",
    key: '{"x": 1, "y": "a"}',
    alter: "alter type ck drop attribute y",
    subjects: ["public.ck"],
    keyNow: '{"x": 1}'
  },
  {
    ...rename2,
    what: "an attribute of a composite in an array",
    types: pairs,
    columns: "k ck[] primary key",
    values: "array[row(1, 'a')::ck]",
    key: '[{"x": 1, "y": "a"}]',
    keyNow: '[{"y": "a", "xx": 1}]'
  },
  {
    ...rename2,
    what: "an attribute of a composite in a domain",
    types: `${pairs}; create domain d as ck`,
    columns: "k d primary key",
    values: "row(1, 'a')",
    key: '{"x": 1, "y": "a"}',
    keyNow: '{"y": "a", "xx": 1}'
  },
  {
    ...rename2,
    what: "an attribute of a nested composite",
    types: `${pairs}; create type outerk as (c ck, n numeric)`,
    columns: "k outerk primary key",
    values: "row(row(1, 'a'), 1.0)",
    key: '{"c": {"x": 1, "y": "a"}, "n": 1}',
    keyNow: '{"c": {"y": "a", "xx": 1}, "n": 1}'
  },
  {
    ...rename2,
    what: "an attribute of one of several key columns",
    types: pairs,
    columns: "n int, k ck, primary key (n, k)",
    values: "7, row(1, 'a')",
    key: '["7","{\\"x\\": 1, \\"y\\": \\"a\\"}"]',
    keyNow: '["7","{\\"y\\": \\"a\\", \\"xx\\": 1}"]'
  },
  {
    what: "a column of the table whose row type is the key",
    types: "create table ck (x int, y text)",
    columns: "k ck primary key",
    values: "row(1, 'a')",
    key: '{"x": 1, "y": "a"}',
    alter: "alter table ck rename x to xx",
    back: "alter table ck rename xx to x",
    subjects: ["public.ck"],
    keyNow: '{"y": "a", "xx": 1}'
  },
  {
    what: "a column added to the table whose row type is the key",
    types: "create table ck (x int, y text)",
    columns: "k ck primary key",
    values: "row(1, 'a')",
    key: '{"x": 1, "y": "a"}',
    alter: "alter table ck add z int",
    back: "alter table ck drop z",
    subjects: ["public.ck"],
    keyNow: '{"x": 1, "y": "a", "z": null}'
  }
]

/** The keys that were present at an instant, each with its value of `v`. */
const rowsAt = (host: Host, at: string) =>
  Effect.map(reading(host, Query.asOfRows("t", at)), ({ items }) =>
    items.map(({ row, rowKey }) => `${rowKey} = ${stringify(row["v"] ?? null).replaceAll(`"`, "")}`)
  )

const fresh = (host: Host, mode: "statement" | "row", { columns, types, values }: Story) =>
  Effect.gen(function* () {
    yield* host.db.run("drop schema public cascade; create schema public", types, `create table t (${columns}, v text)`)
    yield* host.apply({ table: "t", mode })
    yield* host.db.run(`insert into t values (${values}, 'one')`)
  })

const forgotten = ({ capture, db }: Host) =>
  Effect.zipRight(
    capture.remove(["t"]),
    db.run("truncate threadline.capture_policies, threadline.audit_changes, threadline.audit_transactions cascade")
  )

attacks("a type inside of a key", (attack) => {
  for (const mode of ["statement", "row"] as const) {
    attack(`that is altered is a lapse: the old key stays readable, and no row has two keys, in ${mode} mode`, (host) =>
      Effect.gen(function* () {
        const { apply, capture, db, now } = host
        for (const story of stories) {
          const { alter, key, keyNow, subjects, what } = story
          const told = <A>(value: A): readonly [string, A] => [what, value]
          yield* fresh(host, mode, story)
          const before = yield* lastChange(host)
          expect(told(yield* rowsAt(host, before))).toEqual(told([`${key} = one`]))
          expect(told(yield* host.findings())).toEqual(told([]))

          yield* db.run(alter)
          // Nobody has looked or written yet.
          expect(told(yield* rowsAt(host, yield* now))).toEqual(told([]))
          expect(told(yield* rowsAt(host, before))).toEqual(told([`${key} = one`]))
          yield* db.run("update t set v = 'two'")
          const since = yield* now
          expect(
            told(yield* db.value("select row_key from threadline.audit_changes order by id desc limit 1"))
          ).toEqual(told(keyNow))
          expect(told(yield* rowsAt(host, since))).toEqual(told([]))
          const [status] = yield* capture.status([{ table: "t", mode }])
          const findings = status?.findings.filter(({ severity }) => severity === "error") ?? []
          expect(told(findings.map(({ kind }) => kind))).toEqual(told(["KeyValuesRenamed"]))
          expect(told(findings.flatMap((finding) => finding.subjects))).toEqual(told(subjects))

          yield* apply({ table: "t", mode })
          expect(told(yield* host.findings())).toEqual(told([]))
          expect(told(yield* capture.plan([{ table: "t", mode }]))).toEqual(told([]))
          expect(told(yield* rowsAt(host, since))).toEqual(told([]))
          expect(told(yield* rowsAt(host, before))).toEqual(told([`${key} = one`]))
          expect(told(yield* asOf(host, "t", key, before))).toEqual(told(`Present "one"`))
          yield* db.run("update t set v = 'three'")
          expect(told(yield* rowsAt(host, yield* now))).toEqual(told([`${keyNow} = three`]))
          yield* forgotten(host)
        }
      })
    )
  }

  attack("that is altered and altered back is a lapse, whoever wrote meanwhile", (host) =>
    Effect.gen(function* () {
      const { apply, db, now } = host
      for (const story of stories) {
        const { alter, back, key, what } = story
        if (back === undefined) {
          continue
        }
        for (const meanwhile of ["update t set v = 'two'", "select"]) {
          const told = <A>(value: A): readonly [string, string, A] => [what, meanwhile, value]
          yield* fresh(host, "statement", story)
          const before = yield* lastChange(host)
          yield* db.run(alter, meanwhile)
          const since = yield* now
          yield* db.run(back, "update t set v = v || '.'")
          for (const applied of [false, true]) {
            if (applied) {
              yield* apply("t")
            }
            expect(told(yield* rowsAt(host, before))).toEqual(told([`${key} = one`]))
            expect(told(yield* rowsAt(host, since))).toEqual(told([]))
            expect(told(yield* host.findings())).toEqual(told(applied ? [] : ["AlteredMeanwhile"]))
          }
          yield* forgotten(host)
        }
      }
    })
  )

  attack("gets another value, or is not touched by what alters others: that is no lapse, whatever is quoted", (host) =>
    Effect.gen(function* () {
      const { apply, db, now } = host
      yield* db.run(
        states,
        `create type ck as (x e, "Y y" numeric(5, 2), z e[])`,
        "create type other as (x int)",
        "create table plain (id int primary key, o other, v text)",
        "create table t (k ck primary key, o other, v text)"
      )
      // Outside the key a type is no matter if its column is redacted.
      yield* apply({ table: "t", mask: ["o"] }, { table: "plain", mask: ["o"] })
      yield* db.run("insert into t values (row('a', 1, '{b}'), null, 'one')", "insert into plain values (1, null, 'v')")
      yield* db.run(
        "alter type e add value 'c' before 'a'",
        "alter type other rename attribute x to y",
        "alter type other add attribute z text",
        "set quote_all_identifiers = on",
        "update t set v = 'two'",
        "begin isolation level repeatable read",
        "update t set v = 'three'",
        "commit",
        "reset quote_all_identifiers"
      )
      expect(yield* rowsAt(host, yield* now)).toEqual([`{"x": "a", "z": ["b"], "Y y": 1} = three`])
      expect(yield* db.value("select count(*) from threadline.capture_alterations")).toBe("0")
      expect(yield* host.findings()).toEqual([])
      expect(
        yield* db.column("select table_name from threadline.capture_policies where key_values = '{}' order by 1")
      ).toEqual(["plain"])
    })
  )

  attack("that is altered under an older snapshot is noted by what is written with it", (host) =>
    Effect.gen(function* () {
      const { apply, db, now } = host
      const late = yield* host.session()
      for (const [at, [alter, back]] of [
        [rename2.alter, rename2.back],
        ["alter type ck add attribute z int", "alter type ck drop attribute z"]
      ].entries()) {
        yield* db.run(
          "drop schema public cascade; create schema public",
          pairs,
          "create table u (id int)",
          "create table t (k ck primary key, v text)"
        )
        yield* apply("t")
        yield* db.run("insert into t values (row(1, 'a'), 'one')")
        yield* late.run("begin isolation level repeatable read", "select count(*) from u")
        yield* db.run(alter ?? "")
        yield* late.run("update t set v = 'two'", "commit")
        const since = yield* now
        yield* db.run(back ?? "")
        expect([at, yield* db.column("select what from threadline.capture_alterations")]).toEqual([at, ["unknown"]])
        expect([at, yield* rowsAt(host, since)]).toEqual([at, []])
        yield* forgotten(host)
        yield* db.run("truncate threadline.capture_alterations")
      }
    })
  )
})
