/** Virtual generated columns: triggers see null in them, so no image has them, whenever they were added. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { attacks, brief, changes, clear } from "../support/adversarial.js"
import { serverVersion } from "../harness/TestDatabase.js"

// Every kind of write, of one row and of several.
const writes = (keyed: boolean) => [
  "insert into t (id, a) values (1, 5)",
  "update t set a = 6",
  "insert into t (id, a) values (2, 5), (3, 6)",
  "update t set a = a + 10",
  "update t set id = id + 10",
  `merge into t using (values (11, 1), (12, 2), (13, 3), (14, 4), (15, 5)) s (id, a) on t.id = s.id
    when matched and s.a = 3 then delete
    when matched then update set a = s.a
    when not matched then insert (id, a) values (s.id, s.a)`,
  ...(keyed ? ["insert into t (id, a) values (14, 9), (15, 9) on conflict (id) do update set a = excluded.a"] : []),
  "delete from t"
]

const recorded = (keyed: boolean) => ({
  insert: 5,
  update: keyed ? 11 : 9,
  delete: 5
})

const counts = (found: ReadonlyArray<{ readonly op: string }>) => {
  const of = (op: string) => found.filter((change) => change.op === op).length
  return { insert: of("insert"), update: of("update"), delete: of("delete") }
}

const virtual = (name: string) => `${name} int generated always as (100 / a) virtual`

// "made" are the tables, "altered" what happens to them after apply. None of their images may have "v" or "w".
const tables: Readonly<
  Record<string, { readonly made: ReadonlyArray<string>; readonly altered: ReadonlyArray<string> }>
> = {
  plain: {
    made: ["create table t (id int primary key, a int)"],
    altered: [`alter table t add ${virtual("w")}`]
  },
  "with another virtual column": {
    made: [`create table t (id int primary key, a int, ${virtual("v")})`],
    altered: [`alter table t add ${virtual("w")}`]
  },
  "whose virtual column was renamed": {
    made: [`create table t (id int primary key, a int, ${virtual("v")})`],
    altered: ["alter table t rename v to w"]
  },
  "whose virtual column was renamed, and another took its name": {
    made: [`create table t (id int primary key, a int, ${virtual("v")})`],
    altered: ["alter table t rename v to w", `alter table t add ${virtual("v")}`]
  },
  "whose stored column became virtual": {
    made: ["create table t (id int primary key, a int, w int generated always as (a + 1) stored)"],
    altered: ["alter table t drop w", `alter table t add ${virtual("w")}`]
  },
  "whose stored column became virtual, with json": {
    made: ["create table t (id int primary key, a int, j json, w int generated always as (a + 1) stored)"],
    altered: ["alter table t drop w", `alter table t add ${virtual("w")}`]
  },
  "without a key": {
    made: ["create table t (id int, a int)"],
    altered: [`alter table t add ${virtual("w")}`]
  },
  "with json": {
    made: ["create table t (id int primary key, a int, j json)"],
    altered: [`alter table t add ${virtual("w")}`]
  },
  "without a key, whose stored column became virtual": {
    made: ["create table t (id int, a int, w int generated always as (a + 1) stored)"],
    altered: ["alter table t drop w", `alter table t add ${virtual("w")}`]
  },
  partitioned: {
    made: [
      "create table t (id int primary key, a int) partition by range (id)",
      "create table t_1 partition of t for values from (1) to (20)",
      "create table t_2 partition of t for values from (20) to (40)"
    ],
    altered: [`alter table t add ${virtual("w")}`]
  },
  "partitioned, without a key, with another virtual column": {
    made: [
      `create table t (id int, a int, ${virtual("v")}) partition by range (id)`,
      "create table t_1 partition of t for values from (1) to (20)",
      "create table t_2 partition of t for values from (20) to (40)"
    ],
    altered: [`alter table t add ${virtual("w")}`]
  }
}

attacks("virtual generated columns", (attack) => {
  if (serverVersion < 18) {
    attack("are of PostgreSQL 18", () => Effect.void)
    return
  }
  for (const mode of ["statement", "row"] as const) {
    for (const [what, { altered, made }] of Object.entries(tables)) {
      attack(`that came after apply are in no image of a table ${what}, in ${mode} mode`, ({ apply, db }) =>
        Effect.gen(function* () {
          const keyed = !what.includes("without a key")
          yield* db.run(...made)
          yield* apply({ table: "t", mode })
          yield* db.run(...altered)
          yield* clear(db)
          yield* db.run(...writes(keyed))
          const found = yield* changes(db)
          expect(
            found.filter(({ after, fields, from }) => /\b[vw]\b/.test([after, fields, from].join())).map(({ op }) => op)
          ).toEqual([])
          expect(counts(found)).toEqual(recorded(keyed))
        })
      )
    }
  }

  attack("are in no image of a row that is too large for the quick way", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run(`create table t (id int primary key, a int, b bytea, ${virtual("v")})`)
      yield* apply("t")
      yield* db.run(
        "alter table t alter b set storage external",
        "insert into t (id, a, b) select i, 5, decode(repeat('ab', 200000), 'hex') from generate_series(1, 2) i",
        "update t set a = 6",
        "delete from t"
      )
      const found = yield* changes(db)
      expect(brief(found)).toEqual(["insert 1", "insert 2", "update 1", "update 2", "delete 1", "delete 2"])
      expect(found.filter(({ after, from }) => /"v"/.test(`${after} ${from}`)).map(({ op }) => op)).toEqual([])
    })
  )
})
