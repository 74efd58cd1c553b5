/** Keys: swapped, shifted, moved, of every type, too long for an index; the reader's rendering is the writer's. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as TestDatabase from "../harness/TestDatabase.js"
import { attacks, brief, chain, changes } from "../support/adversarial.js"
import { runs } from "../support/runs.js"

attacks("keys that move", (attack) => {
  for (const mode of ["statement", "row"] as const) {
    attack(`are followed when one statement swaps and shifts them, in ${mode} mode`, ({ apply, db }) =>
      Effect.gen(function* () {
        yield* db.run("create table t (id int primary key deferrable initially immediate, v text, n int)")
        yield* db.run("create unique index on t (id, v)")
        yield* apply({ table: "t", mode })
        yield* db.run("insert into t select i, 'row ' || i, 0 from generate_series(1, 5) i")
        yield* db.run(
          "update t set id = 3 - id where id in (1, 2)",
          "update t set id = id + 1",
          "update t set id = -id, n = n + 1"
        )
        const recordedChanges = yield* changes(db)
        expect(brief(recordedChanges).slice(5)).toEqual([
          "update 2<-1",
          "update 1<-2",
          ...brief(recordedChanges).slice(7)
        ])
        // Each change pairs the images of one row: its text never changes.
        expect(recordedChanges.filter(({ fields }) => fields?.includes("v"))).toEqual([])
        expect(new Set(brief(recordedChanges).slice(7, 12))).toEqual(
          new Set(["update 3<-2", "update 2<-1", "update 4<-3", "update 5<-4", "update 6<-5"])
        )
        expect(yield* chain(db, "t")).toEqual([])
        expect(yield* db.column("select v from t order by id desc")).toEqual([
          "row 2",
          "row 1",
          "row 3",
          "row 4",
          "row 5"
        ])
      })
    )
  }

  attack("are followed under both names when they move back", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run("create table t (a text, b int, v text, primary key (a, b))")
      yield* apply("t")
      yield* db.run(
        "insert into t values ('x', 1, 'v')",
        "update t set a = 'y', b = 2",
        "update t set v = 'w'",
        "update t set a = 'x', b = 1",
        "insert into t values ('y', 2, 'another')",
        "delete from t where a = 'x'"
      )
      const recordedChanges = yield* changes(db)
      expect(brief(recordedChanges)).toEqual([
        'insert ["x","1"]',
        'update ["y","2"]<-["x","1"]',
        'update ["y","2"]',
        'update ["x","1"]<-["y","2"]',
        'insert ["y","2"]',
        'delete ["x","1"]'
      ])
      expect(recordedChanges[1]?.pk).toBe('{"a": "y", "b": "2"}')
      // The history of a key: what it is called now, and what it was called before.
      const history = (key: string) =>
        db.column(
          `select op from threadline.audit_changes where '${key}' in (row_key, previous_row_key) order by captured_at, id`
        )
      expect(yield* history('["x","1"]')).toEqual(["insert", "update", "update", "delete"])
      expect(yield* history('["y","2"]')).toEqual(["update", "update", "update", "insert"])
      expect(yield* chain(db, "t")).toEqual([])
    })
  )

  attack("stay the same key when an equal value is written otherwise", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run(
        "create extension citext",
        "create table a (k numeric primary key, v int)",
        "create table b (k citext primary key, v int)",
        "create table c (k char(5) primary key, v int)",
        "create table d (k interval primary key, v int)",
        "create table e (k float8 primary key, v int)"
      )
      yield* apply("a", "b", "c", "d", "e")
      yield* db.run(
        "insert into a values (1.0, 0); update a set k = 1.00; update a set k = 1; delete from a where k = 1.000",
        "insert into b values ('Ab', 0); update b set k = 'aB'; delete from b",
        "insert into c values ('a', 0); update c set k = 'a  '; update c set v = 1; delete from c",
        "insert into d values ('1 mon', 0); update d set k = '30 days'; update d set k = '720 hours'; delete from d",
        "insert into e values (0, 0); update e set k = '-0', v = 1; delete from e"
      )
      for (const table of ["a", "b", "c", "d", "e"]) {
        const recordedChanges = yield* changes(db, table)
        expect([
          table,
          new Set(recordedChanges.map(({ key }) => key)).size,
          recordedChanges.filter(({ previous }) => previous !== null)
        ]).toEqual([table, 1, []])
      }
    })
  )
})

attacks("equal keys that are written in several ways", (attack) => {
  attack("are keys also of a type that has another name without a length", ({ apply, db, findings }) =>
    Effect.gen(function* () {
      const types = ["bpchar", "bpchar[]", '"bit"', "interval day to second", "interval(3)", "char(3)", "numeric(5,2)"]
      for (const [at, type] of types.entries()) {
        yield* db.run(`create table t${at} (id ${type} primary key)`)
        yield* apply(`t${at}`)
        expect([type, yield* db.column(`select gap from threadline.capture_gaps('public', 't${at}')`)]).toEqual([
          type,
          []
        ])
      }
      expect(yield* findings()).toEqual([])
      yield* db.run("alter table t5 alter id type char(9)", "alter table t6 alter id type numeric(9,2)")
      expect(yield* db.column("select gap from threadline.capture_gaps('public', 't5') where gap = 'key'")).toEqual([])
    })
  )

  const slot = '{"at": "[1,2)", "long": "1 day", "name": "A 1.0"}'
  const cases: ReadonlyArray<readonly [type: string, key: string, same: string, text: string]> = [
    ["numrange", "'[1.0,20.50)'", "'[1,20.5)'", "[1,20.5)"],
    ["nummultirange", "'{[1.00,2.0),[3,40.0]}'", "'{[1,2),[3.0,40]}'", "{[1,2),[3,40]}"],
    ["prices", "'[0.10,)'", "'[0.1000,)'", "[0.1,)"],
    ["numeric[]", "'{1.0,20.50,300}'", "'{1,20.5,300.0}'", "[1, 20.5, 300]"],
    ["pair", "row(1.0, 'a 1.0')::pair", "row(1.00, 'a 1.0')::pair", '{"a": 1, "b": "a 1.0"}'],
    ["jsonb", `'{"a": [1.0, "1.0"]}'`, `'{"a": [1.000, "1.0"]}'`, '{"a": [1, "1.0"]}'],
    ["numrange[]", `'{"[1.0,2.0)","[3,4.50]"}'`, `'{"[1,2)","[3.0,4.5]"}'`, '["[1,2)", "[3,4.5]"]'],
    [
      "interval[]",
      "'{{24 hours,NULL},{1 mon,0}}'",
      "'{{1 day,NULL},{30 days,0}}'",
      '[["1 day", null], ["1 mon", "00:00:00"]]'
    ],
    ["words", "'{Ab,c d}'", "'{aB,C D}'", '["ab", "c d"]'],
    ["slot", "row('[1.0,2)', '24 hours', 'A 1.0')::slot", "row('[1,2.0)', '1 day', 'A 1.0')::slot", slot],
    [
      "slot[]",
      "array[[row('[1.0,2)', '24 hours', 'A 1.0')::slot]]",
      "array[[row('[1,2.0)', '1 day', 'A 1.0')::slot]]",
      `[[${slot}]]`
    ],
    [
      "visit",
      "row(1.0, array[row('[1.0,2)', '24 hours', 'A 1.0')::slot], '[1.0,2)')::visit",
      "row(1, array[row('[1,2.0)', '1 day', 'A 1.0')::slot], '[1.0,2)')::visit",
      `{"n": 1, "note": "[1.0,2)", "slots": [${slot}]}`
    ]
  ]
  for (const mode of ["statement", "row"] as const) {
    attack(`are one row with one key, in ${mode} mode`, ({ apply, db }) =>
      Effect.gen(function* () {
        yield* db.run(
          "create type pair as (a numeric, b text)",
          "create domain price as numeric check (value >= 0)",
          "create type prices as range (subtype = price)",
          "create extension citext",
          "create domain words as citext[]",
          "create type slot as (at numrange, long interval, name text)",
          "create type visit as (n numeric, slots slot[], note text)"
        )
        for (const [at, [type, key, same, text]] of cases.entries()) {
          yield* db.run(`create table t${at} (id ${type} primary key, v text)`)
          yield* apply({ table: `t${at}`, mode })
          yield* db.run(
            `insert into t${at} values (${key}, 'a')`,
            `update t${at} set id = ${same}`,
            `update t${at} set v = 'b' where id = ${key}`,
            `delete from t${at}`
          )
          const recordedChanges = yield* changes(db, `t${at}`)
          expect([type, brief(recordedChanges)]).toEqual([
            type,
            [`insert ${text}`, `update ${text}`, `update ${text}`, `delete ${text}`]
          ])
          for (const given of [key, same]) {
            expect([
              type,
              yield* db.value(`select threadline.row_key('public', 't${at}', to_jsonb((${given})::${type}::text))`)
            ]).toEqual([type, text])
          }
        }
      })
    )
  }

  if (TestDatabase.serverVersion >= 18) {
    attack(
      "are the key of a table without overlaps, and not null holds for every row of a key",
      ({ apply, capture, db }) =>
        Effect.gen(function* () {
          yield* db.run(
            "create extension if not exists btree_gist",
            "create table t (id int, during numrange, v text, primary key (id, during without overlaps))"
          )
          yield* apply("t")
          yield* db.run(
            "insert into t values (1, '[1.0,2.00)', 'a')",
            "update t set during = '[1,2)', v = 'b'",
            "delete from t"
          )
          expect(brief(yield* changes(db))).toEqual([
            'insert ["1","[1,2)"]',
            'update ["1","[1,2)"]',
            'delete ["1","[1,2)"]'
          ])
          yield* db.run(
            "create table u (id int unique)",
            "insert into u values (null)",
            "alter table u add not null id not valid"
          )
          const refused = yield* Effect.either(capture.apply([{ table: "u", key: ["id"] }]))
          expect(refused._tag === "Left" && refused.left._tag === "CaptureError" && refused.left.reason).toBe(
            "KeyUnusable"
          )
        })
    )
  }
})

attacks("keys too long for an index", (attack) => {
  attack("let the write succeed, are found again, and two of them stay two", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run(
        "create table t (k text primary key, v int)",
        "create table b (k bytea primary key, v int)",
        "create table c (x text, y text, v int, primary key (x, y))",
        "create table free (k text not null, v int)"
      )
      yield* apply("t", "b", "c", "free")
      // Compressible: over two kilobytes, and still within an index tuple of the host's own.
      const long = "repeat('é', 100000)"
      yield* db.run(
        `insert into t values (${long}, 1), (${long} || 'a', 2), ('x', 3)`,
        `update t set k = k || 'b' where v = 2`,
        "update t set v = v + 10",
        `insert into b values (convert_to(${long}, 'utf8'), 1)`,
        "update b set v = 2",
        `insert into c values (repeat('é', 40000), repeat('é', 40000) || '"', 1)`,
        "update c set v = 2; delete from c",
        "insert into free values (repeat('z', 10000000), 1); update free set v = 2"
      )
      const recordedChanges = yield* changes(db, "t")
      expect(recordedChanges).toHaveLength(7)
      expect(new Set(recordedChanges.map(({ key }) => key)).size).toBe(4)
      expect(
        Math.max(
          ...(yield* db.column("select coalesce(max(octet_length(row_key)), 0) from threadline.audit_changes")).map(
            Number
          )
        )
      ).toBeLessThan(600)
      expect(
        yield* db.value(
          "select count(*) from threadline.audit_changes c join t on t.k = c.row_pk ->> 'k' where c.op = 'update'"
        )
      ).toBe("4")
      for (const [table, key] of [
        ["t", "to_jsonb(k)"],
        ["b", "to_jsonb(k)"],
        ["c", "jsonb_build_array(x, y)"]
      ] as const) {
        expect([
          table,
          yield* db.value(`select count(*) from ${table} h
            where not exists (select from threadline.audit_changes a where a.table_name = '${table}' and a.row_key = threadline.row_key('public', '${table}', ${key}))`)
        ]).toEqual([table, "0"])
      }
      expect(yield* chain(db, "t")).toEqual([])
    })
  )
})

interface KeyType {
  readonly type: string
  /** Texts of values, as a person or a driver writes them. */
  readonly values: FastCheck.Arbitrary<string>
}

const text = FastCheck.oneof(
  FastCheck.string({ unit: "grapheme", maxLength: 30 }),
  FastCheck.constantFrom(
    "",
    " ",
    "a ",
    "NULL",
    "null",
    "{}",
    "[]",
    '"',
    "\\",
    "'",
    '["1","x"]',
    "\u0001\n\t",
    "😀",
    "x".repeat(600),
    "é".repeat(400)
  )
).filter(
  (value) => !value.includes("\0") && !/[\ud800-\udfff]/.test(value.replaceAll(/[\ud800-\udbff][\udc00-\udfff]/g, ""))
)

const pad = (value: number, width: number) => String(value).padStart(width, "0")
const between = (min: number, max: number) => FastCheck.integer({ min, max })
const date = FastCheck.tuple(between(1, 4000), between(1, 12), between(1, 28), FastCheck.constantFrom("", " BC")).map(
  ([y, m, d, era]) => ({ day: `${pad(y, 4)}-${pad(m, 2)}-${pad(d, 2)}`, era })
)
const time = FastCheck.tuple(between(0, 23), between(0, 59), between(0, 59), between(0, 999999)).map(
  ([h, m, s, u]) => `${pad(h, 2)}:${pad(m, 2)}:${pad(s, 2)}.${pad(u, 6)}`
)
const zone = FastCheck.tuple(
  FastCheck.constantFrom("+", "-"),
  between(0, 14),
  FastCheck.constantFrom("00", "30", "45")
).map(([sign, h, m]) => `${sign}${pad(h, 2)}:${m}`)
const hex = FastCheck.uint8Array({ maxLength: 20 }).map((bytes) => `\\x${Buffer.from(bytes).toString("hex")}`)
const decimal = FastCheck.tuple(
  FastCheck.bigInt({ min: -(10n ** 30n), max: 10n ** 30n }),
  FastCheck.stringMatching(/^[0-9]{0,20}$/)
).map(([whole, fraction]) => (fraction === "" ? String(whole) : `${whole}.${fraction}`))
const quotedElement = (value: string) => `"${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`

const keyTypes: ReadonlyArray<KeyType> = [
  { type: "bigint", values: FastCheck.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String) },
  { type: "smallint", values: between(-32768, 32767).map(String) },
  {
    type: "numeric",
    values: FastCheck.oneof(decimal, FastCheck.constantFrom("NaN", "Infinity", "-Infinity", "1e100", "-0.000", "1.500"))
  },
  {
    type: "numeric(10,3)",
    values: FastCheck.tuple(between(-999999, 999999), between(0, 999)).map(([a, b]) => `${a}.${b}`)
  },
  {
    type: "float8",
    values: FastCheck.oneof(FastCheck.double().map(String), FastCheck.constantFrom("-0", "1e308", "5e-324", "NaN"))
  },
  {
    type: "float4",
    values: FastCheck.float({ noDefaultInfinity: true })
      .map(String)
      .filter((value) => !/e-4[0-9]/.test(value))
  },
  { type: "text", values: text },
  { type: "citext", values: text },
  { type: "varchar(700)", values: text },
  { type: "char(12)", values: FastCheck.stringMatching(/^[a-zA-Z"'\\ ]{0,12}$/) },
  { type: "name", values: FastCheck.stringMatching(/^[a-zA-Z"'\\ ]{0,30}$/) },
  { type: "boolean", values: FastCheck.constantFrom("t", "false", "yes", "0") },
  {
    type: "uuid",
    values: FastCheck.oneof(
      FastCheck.uuid(),
      FastCheck.uuid().map((value) => value.toUpperCase().replaceAll("-", ""))
    )
  },
  { type: "bytea", values: hex },
  {
    type: "date",
    values: FastCheck.oneof(
      date.map(({ day, era }) => `${day}${era}`),
      FastCheck.constantFrom("infinity", "-infinity")
    )
  },
  { type: "timestamp", values: FastCheck.tuple(date, time).map(([{ day, era }, at]) => `${day} ${at}${era}`) },
  {
    type: "timestamptz",
    values: FastCheck.tuple(date, time, zone).map(([{ day, era }, at, offset]) => `${day} ${at}${offset}${era}`)
  },
  { type: "timestamptz(3)", values: FastCheck.tuple(date, time).map(([{ day }, at]) => `${day}T${at.slice(0, 12)}Z`) },
  { type: "time", values: time },
  { type: "timetz", values: FastCheck.tuple(time, zone).map((parts) => parts.join("")) },
  {
    type: "interval",
    values: FastCheck.tuple(between(-99, 99), between(-99, 99), between(-999, 999), between(-99999, 99999)).map(
      ([y, m, d, s]) => `${y} years ${m} mons ${d} days ${s}.25 seconds`
    )
  },
  { type: "money", values: between(-1000000, 1000000).map((value) => `${value}.07`) },
  {
    type: "inet",
    values: FastCheck.oneof(
      FastCheck.ipV4(),
      FastCheck.tuple(FastCheck.ipV4(), between(0, 32)).map(([ip, bits]) => `${ip}/${bits}`),
      FastCheck.ipV6()
    )
  },
  { type: "macaddr", values: FastCheck.stringMatching(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/) },
  { type: "bit varying", values: FastCheck.stringMatching(/^[01]{0,20}$/) },
  { type: "bit(4)", values: FastCheck.stringMatching(/^[01]{4}$/) },
  { type: "oid", values: FastCheck.nat(4294967295).map(String) },
  { type: "pg_lsn", values: FastCheck.stringMatching(/^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/) },
  { type: "mood", values: FastCheck.constantFrom("sad", "it's", "a, b", '"', "\\") },
  { type: "positive", values: decimal.map((value) => value.replace("-", "")) },
  {
    type: "pair",
    values: FastCheck.tuple(
      between(-9, 9),
      text.filter((value) => value !== "")
    ).map(([n, t]) => `(${n},"${t.replaceAll("\\", "\\\\").replaceAll('"', '""')}")`)
  },
  { type: "int[]", values: FastCheck.array(between(-9, 9), { maxLength: 4 }).map((items) => `{${items.join(",")}}`) },
  {
    type: "text[]",
    values: FastCheck.array(text, { maxLength: 3 }).map((items) => `{${items.map(quotedElement).join(",")}}`)
  },
  { type: "int4range", values: FastCheck.tuple(between(-9, 9), between(10, 20)).map(([a, b]) => `(${a},${b}]`) },
  { type: "daterange", values: date.map(({ day }) => `[${day},infinity)`) },
  {
    type: "tstzrange",
    values: FastCheck.tuple(date, time).map(([{ day, era }, at]) => `[${day} ${at}+02${era},infinity)`)
  },
  { type: "ltree", values: FastCheck.stringMatching(/^[a-z]{1,5}(\.[a-z]{1,5}){0,3}$/) }
]

attacks("keys of every type", (attack) => {
  const setup = `create extension citext; create extension ltree;
    create type mood as enum ('sad', 'it''s', 'a, b', '"', '\\');
    create domain positive as numeric;
    create type pair as (n int, t text)`

  attack(
    "have what the writer stored as their row_key, alone and with another column",
    ({ apply, db }) =>
      Effect.gen(function* () {
        yield* db.run(
          setup,
          ...keyTypes.map(
            ({ type }, at) =>
              `create table k${at} (k ${type} primary key, v int); create table m${at} (a text, k ${type}, v int, primary key (a, k))`
          )
        )
        yield* apply(...keyTypes.flatMap((_, at) => [`k${at}`, `m${at}`]))
        const seed = 20_241_122
        for (const [at, { type, values }] of keyTypes.entries()) {
          const sample = JSON.stringify(FastCheck.sample(values, { numRuns: runs(25), seed }))
          for (const table of [`k${at}`, `m${at}`]) {
            const composite = table.startsWith("m")
            // What was stored is what the reader makes of the text that the host's client wrote, whatever its settings.
            yield* db.rows(
              `insert into ${table} (${composite ? "a, " : ""}k, v)
               select ${composite ? "'q\"\\', " : ""}x::${type}, n from jsonb_array_elements_text($1::jsonb) with ordinality e (x, n)
               on conflict do nothing`,
              [sample]
            )
            yield* db.run(
              "set datestyle = 'German'; set intervalstyle = 'iso_8601'; set bytea_output = 'escape'; set timezone = 'Asia/Kolkata'; set extra_float_digits = 0"
            )
            const wrong = yield* db.rows(
              `select e.x as text, c.row_key as stored, r.key as read
               from jsonb_array_elements_text($1::jsonb) with ordinality e (x, n)
               join threadline.audit_changes c on c.table_name = '${table}' and c.data_after ->> 'v' = e.n::text
               cross join lateral (
                 select threadline.row_key('public', '${table}', ${composite ? "jsonb_build_object('k', e.x, 'a', 'q\"\\')" : "to_jsonb(e.x)"}) as key
               ) r
               where r.key is distinct from c.row_key`,
              [sample]
            )
            yield* db.run("reset all")
            expect([type, table, wrong]).toEqual([type, table, []])
            expect([
              type,
              table,
              yield* db.value(
                `select count(distinct row_key) = count(*) and count(*) > 0 from threadline.audit_changes where table_name = '${table}'`
              )
            ]).toEqual([type, table, "t"])
          }
        }
      }),
    300_000
  )

  attack("are the key again when a person copies them from the record", ({ apply, db }) =>
    Effect.gen(function* () {
      // Arrays and composites are shown as JSON; every other type takes its own canonical text.
      const scalars = keyTypes.filter(({ type }) => !/\[\]$|^pair$/.test(type))
      yield* db.run(setup, ...scalars.map(({ type }, at) => `create table k${at} (k ${type} primary key)`))
      yield* apply(...scalars.map((_, at) => `k${at}`))
      for (const [at, { type, values }] of scalars.entries()) {
        yield* db.rows(
          `insert into k${at} select x::${type} from jsonb_array_elements_text($1::jsonb) x on conflict do nothing`,
          [JSON.stringify(FastCheck.sample(values, { numRuns: runs(25), seed: 7 }))]
        )
        const wrong = yield* db.rows(
          `select row_key as stored, threadline.row_key('public', 'k${at}', row_pk) as read
           from threadline.audit_changes
           where table_name = 'k${at}' and threadline.row_key('public', 'k${at}', row_pk) <> row_key`
        )
        expect([type, wrong]).toEqual([type, []])
      }
    })
  )

  attack("refuse a string that is no key of the table, and never cut it into another's", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run(
        "create table v (k varchar(3) primary key)",
        "create table c (k char(3) primary key)",
        "create table b (k bit(3) primary key)",
        "create table n (k numeric(4, 1) primary key)",
        "create table i (k int primary key)",
        "create table m (a int, b text, primary key (a, b))"
      )
      yield* apply("v", "c", "b", "n", "i", "m")
      const read = (table: string, key: string) =>
        db.outcome(`select threadline.row_key('public', '${table}', '${key}')`)
      for (const [table, key, state] of [
        ["v", '"abcd"', "22001"],
        ["c", '"abcd"', "22001"],
        ["b", '"1011"', "22026"],
        ["i", '"x"', "22P02"],
        ["i", '"1 or 1=1"', "22P02"],
        ["i", '"99999999999"', "22003"],
        ["i", "null", "TL003"],
        ["i", "[]", "TL003"],
        ["i", '{"k": null}', "TL003"],
        ["i", '{"K": 1}', "TL003"],
        ["m", '"1"', "TL003"],
        ["m", "[1]", "TL003"],
        ["m", '{"a": 1}', "TL003"],
        ["m", '{"a": 1, "b": "x", "c": 2}', "TL003"],
        ["nothing", '"1"', "TL002"]
      ] as const) {
        expect([table, key, yield* read(table, key)]).toEqual([table, key, state])
      }
    })
  )
})
