/** Values that images lose, refuse or mistake, and numbers that a careless reader rounds. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { literal } from "../../src/internal/sql/sqlText.js"
import { serverVersion } from "../harness/TestDatabase.js"
import { attacks, brief, chain, changes, clear } from "../support/adversarial.js"

interface Case {
  readonly type: string
  /** SQL expressions; each is another value than the one before it. */
  readonly values: ReadonlyArray<string>
}

const quoted = (...values: ReadonlyArray<string>): ReadonlyArray<string> =>
  values.map((value) => (value === "null" ? "null" : literal(value)))

// Every step from one value to the next is a change that has to be seen, and every value one that has to be kept.
const cases: ReadonlyArray<Case> = [
  {
    type: "numeric",
    values: quoted("1", "1.0", "1.00", "1.000000000000000000000000000000000001", "-0.0", "null", "0")
  },
  {
    type: "numeric",
    values: quoted("NaN", "Infinity", "-Infinity", "1e1000", "1e-1000", "123456789012345678901234567890.5")
  },
  { type: "numeric", values: ["repeat('9', 100000)::numeric", "('0.' || repeat('0', 16000) || '1')::numeric"] },
  { type: "numeric(12, 2)", values: quoted("1", "1.01", "-9999999999.99") },
  {
    type: "bigint",
    values: quoted("9007199254740993", "9007199254740992", "9223372036854775807", "-9223372036854775808")
  },
  { type: "smallint", values: quoted("-32768", "32767", "null") },
  {
    type: "float8",
    values: quoted("NaN", "Infinity", "-Infinity", "1e308", "5e-324", "0.1", "0.30000000000000004", "0")
  },
  { type: "float4", values: quoted("NaN", "3.4e38", "1e-45", "0.1", "16777217") },
  { type: "boolean", values: quoted("true", "false", "null", "true") },
  {
    type: "date",
    values: quoted("infinity", "-infinity", "4713-01-01 BC", "0044-03-15 BC", "5874897-12-31", "2000-02-29")
  },
  {
    type: "timestamp",
    values: quoted("infinity", "0044-03-15 12:00:00.000001 BC", "294276-12-31 23:59:59.999999", "2000-01-01")
  },
  {
    type: "timestamptz",
    values: quoted("-infinity", "4713-11-24 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00", "1900-01-01 00:00+00")
  },
  { type: "time", values: quoted("24:00", "23:59:59.999999", "00:00") },
  { type: "timetz", values: quoted("24:00+15:59", "12:00:00.1-03:30", "12:00:00.1+00") },
  {
    type: "interval",
    values: quoted("-1 year 2 mons -3 days 04:05:06.789", "178000000 years", "0", "1 mon", "30 days", "720 hours")
  },
  {
    type: "text",
    values: quoted(
      "",
      "null",
      "a",
      "A",
      "a ",
      "a\n\t\r\\ \"'$threadline$ $1 \\u0000",
      "\u0001\u001f\u007f",
      "ünï ☃ 😀",
      "e\u0301",
      "é"
    )
  },
  { type: "char(5)", values: quoted("a", "b", "null") },
  { type: "varchar(10)", values: quoted("a", "a ", " a") },
  { type: '"char"', values: quoted("a", "", "b") },
  { type: "name", values: quoted("a", "B") },
  { type: "bytea", values: ["''", "'\\x00'", "'\\xdeadbeef'", "null", "decode(repeat('00ff', 1000), 'hex')"] },
  { type: "uuid", values: quoted("00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff") },
  {
    type: "jsonb",
    values: quoted(
      '"1"',
      "1",
      "1.0",
      "1.00",
      "{}",
      "[]",
      '{"a": null}',
      '{"a": "null"}',
      '["1"]',
      "[1]",
      "true",
      '"true"',
      '""'
    )
  },
  {
    type: "jsonb",
    values: quoted('{"n": 9007199254740993}', '{"n": 9007199254740992}', '{"n": 1e1000}', '{"threadline:omitted": "x"}')
  },
  { type: "jsonpath", values: quoted("$.a", "strict $.a[*]") },
  { type: "xml", values: quoted("<a/>", "<a></a>", "<a>&lt;\u00e9</a>", "text only", '<?xml version="1.0"?><b/>') },
  { type: "point", values: quoted("(0,0)", "(1e300,-1e-300)", "(NaN,Infinity)", "(0.1,0.30000000000000004)") },
  { type: "box", values: quoted("(1,1),(0,0)", "(2,2),(0,0)") },
  { type: "circle", values: quoted("<(0,0),1>", "<(0,0),1.1>") },
  { type: "tsvector", values: quoted("", "a:1A b:2", "'it''s':1 'a b'") },
  { type: "tsquery", values: quoted("a & b", "a <-> b", "!'x y'") },
  { type: "int4range", values: quoted("empty", "[1,2)", "(,)", "[5,)", "null") },
  { type: "numrange", values: quoted("[1.0,2)", "[1.00,2)", "(-Infinity,NaN]") },
  { type: "tstzrange", values: quoted("[2000-01-01 00:00+00,infinity)", "[0044-03-15 BC,2000-01-01)", "empty") },
  { type: "daterange", values: quoted("[2000-01-01,2000-02-01)", "[4713-01-01 BC,infinity)") },
  { type: "int4multirange", values: quoted("{}", "{[1,2),[5,6)}", "{(,)}") },
  { type: "nummultirange", values: quoted("{[1.0,2.0]}", "{[1.00,2.0]}") },
  { type: "int[]", values: quoted("{}", "{1,NULL,3}", "{{1,2},{3,4}}", "null", "{1}") },
  { type: "text[]", values: quoted("{}", '{"",NULL,"NULL","a,b","\\"","\\\\"}', "{a}", "{{a},{b}}") },
  { type: "numeric[]", values: quoted("{1.0}", "{1.00}", "{NaN}") },
  { type: "float8[]", values: quoted("{0.1,NaN}", "{0.30000000000000004,-Infinity}") },
  { type: "jsonb[]", values: quoted('{"1","\\"1\\""}', '{"\\"1\\"","1"}') },
  { type: "bytea[]", values: quoted('{"\\\\x00"}', '{"\\\\xff",NULL}') },
  { type: "date[]", values: quoted('{"0044-03-15 BC"}', "{infinity}") },
  { type: "inet", values: quoted("10.0.0.1", "10.0.0.1/8", "::1", "::ffff:10.0.0.1") },
  { type: "cidr", values: quoted("10.0.0.0/8", "2001:db8::/32") },
  { type: "macaddr8", values: quoted("08:00:2b:01:02:03:04:05", "08:00:2b:01:02:03:04:06") },
  { type: "bit(3)", values: ["b'101'", "b'010'"] },
  { type: "bit varying", values: ["b''", "b'1'", "b'10'"] },
  { type: "money", values: quoted("1.00", "-92233720368547758.08", "0") },
  { type: "xid8", values: quoted("18446744073709551615", "0") },
  { type: "pg_lsn", values: quoted("16/B374D848", "0/0") },
  { type: "regtype", values: quoted("integer", "public.mood") },
  { type: "oid", values: quoted("4294967295", "0") },
  { type: "mood", values: quoted("sad", "it's", "a, b", "null") },
  { type: "positive", values: quoted("1.0", "1.00", "2") },
  { type: "pair", values: quoted("(1.0,x)", "(1.00,x)", "(,)", "null", '(1,"(""\\",)")') },
  { type: "pair[]", values: ["array[row(1.0, 'x')::pair]", "array[row(1.00, 'x')::pair]", "array[]::pair[]"] },
  { type: "pair_domain", values: quoted("(1.0,x)", "(1.00,x)") },
  { type: "float_range", values: quoted("[0.1,0.30000000000000004)", "[NaN,NaN]") },
  { type: "citext", values: quoted("a", "A", "null", "B") },
  { type: "hstore", values: quoted("a=>1", 'a=>"1", b=>NULL', "") },
  { type: "ltree", values: quoted("a.b", "a.b.c") }
]

attacks("values of every type", (attack) => {
  for (const mode of ["statement", "row"] as const) {
    attack(
      `keep their canonical images, and each change of them is seen, in ${mode} mode`,
      ({ apply, db }) =>
        Effect.gen(function* () {
          yield* db.run(
            `create extension citext; create extension hstore; create extension ltree;
           create type mood as enum ('sad', 'it''s', 'a, b');
           create domain positive as numeric check (value > 0);
           create type pair as (n numeric, t text);
           create domain pair_domain as pair;
           create type float_range as range (subtype = float8);
           create temp table seen (image jsonb, place int generated always as identity)`,
            ...cases.map(({ type }, at) => `create table v${at} (id int primary key, v ${type})`)
          )
          yield* apply(...cases.map((_, at) => ({ table: `v${at}`, mode })))
          const canonical =
            "set timezone = 'UTC'; set datestyle = 'ISO, YMD'; set intervalstyle = 'postgres'; set bytea_output = 'hex'; set extra_float_digits = 1; set lc_monetary = 'C'; set search_path = pg_temp"
          const wrong: Array<unknown> = []
          for (const [at, { type, values }] of cases.entries()) {
            // One row at a time, then several at once.
            for (const ids of [[1], [2, 3, 4]]) {
              const where = `where id = any ('{${ids.join(",")}}')`
              const note = `${canonical}; insert into pg_temp.seen (image) select to_jsonb(t.*) - 'id' from public.v${at} t where id = ${ids[0]}; reset all`
              yield* db.run(
                [
                  "truncate seen restart identity",
                  `insert into v${at} select id, ${values[0]} from unnest('{${ids.join(",")}}'::int[]) id`,
                  note,
                  // The same value again is nothing; another one is a change.
                  ...values
                    .slice(1)
                    .flatMap((value) => [
                      `update v${at} set v = v ${where}`,
                      `update v${at} set v = ${value} ${where}`,
                      note
                    ])
                ].join(";\n")
              )
              const images = yield* db.column("select image from seen order by place")
              yield* db.run(`delete from v${at} ${where}`)
              const recordedChanges = (yield* changes(db, `v${at}`)).filter(
                ({ key }) => key === String(ids[ids.length - 1])
              )
              const without = (text: string | null) =>
                text?.replace(new RegExp(`"id": ${ids[ids.length - 1]}, |, "id": ${ids[ids.length - 1]}`), "")
              const seen = recordedChanges.map(({ after, from, op }) =>
                op === "delete" ? `delete ${without(from)}` : `${op} ${without(after)}`
              )
              const expectedImages = [
                ...images.map((text, place) => `${place === 0 ? "insert" : "update"} ${text}`),
                `delete ${images[images.length - 1]}`
              ]
              const fields = recordedChanges.filter(({ op }) => op === "update").map((change) => change.fields)
              if (JSON.stringify(seen) !== JSON.stringify(expectedImages) || fields.some((field) => field !== "{v}")) {
                wrong.push({
                  type,
                  ids,
                  seen: seen.map((text) => text.slice(0, 200)),
                  wanted: expectedImages.map((text) => text.slice(0, 200))
                })
              }
            }
          }
          expect(wrong).toEqual([])
          for (const at of cases.keys()) {
            expect(yield* chain(db, `v${at}`)).toEqual([])
          }
        }),
      300_000
    )
  }
})

attacks("values that an image cannot tell apart", (attack) => {
  attack("are told apart in json by their text: duplicate keys, spaces and order are changes", ({ apply, db }) =>
    Effect.gen(function* () {
      for (const [at, mode] of (["statement", "row"] as const).entries()) {
        const table = `j${at}`
        yield* db.run(`create table ${table} (id int primary key, v json, w json[], n int)`)
        yield* apply({ table, mode })
        for (const ids of ["{1}", "{2,3}"]) {
          yield* clear(db)
          const set = (value: string) => `update ${table} set v = '${value}' where id = any ('${ids}')`
          yield* db.run(
            `insert into ${table} select id, '{"a":1,"a":2}', null, 0 from unnest('${ids}'::int[]) id`,
            set('{"a":1,"a":2}'),
            set('{"a":2}'),
            set('{"a": 2}'),
            set('{"b":1,"a":2}'),
            set('{"a":2,"b":1}'),
            set('{"a":2,"b":1.0}'),
            `update ${table} set w = array['{"x":1,"x":2}'::json] where id = any ('${ids}')`,
            `update ${table} set w = array['{"x":2}'::json] where id = any ('${ids}')`,
            `update ${table} set n = n where id = any ('${ids}')`
          )
          const key = ids === "{1}" ? "1" : "3"
          const recordedChanges = (yield* changes(db, table)).filter(
            (change) => change.key === key && change.op === "update"
          )
          expect(recordedChanges.map(({ fields }) => fields)).toEqual(["{v}", "{v}", "{v}", "{v}", "{v}", "{w}", "{w}"])
          expect(recordedChanges[0]).toMatchObject({ from: '{"v": {"a": 2}}' })
        }
      }
    })
  )

  attack("are a change even if jsonb itself cannot tell them apart", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run("create table t (id int primary key, f float8, a int[], j jsonb)")
      yield* apply("t")
      yield* db.run(
        "insert into t values (1, 0, '{1,2}', null)",
        "update t set f = '-0.0'",
        "update t set a = '[0:1]={1,2}'",
        "update t set j = 'null'",
        "delete from t"
      )
      expect(brief(yield* changes(db))).toEqual(["insert 1", "update 1", "update 1", "update 1", "delete 1"])
    })
  )
})

attacks("values that jsonb refuses", (attack) => {
  const documents = [
    `{"a":"\\u0000"}`,
    `"\\u0000"`,
    `{"\\u0000":1}`,
    `["\\ud800"]`,
    `{"a":"\\udc00\\ud800"}`,
    `1e400000`,
    `{"n":-1e999999}`,
    `${"[".repeat(5000)}${"]".repeat(5000)}`
  ]
  for (const mode of ["statement", "row"] as const) {
    attack(`are kept as their text if they are json, the other columns as ever, in ${mode} mode`, ({ apply, db }) =>
      Effect.gen(function* () {
        yield* db.run(
          "create table t (id int primary key, v json, n numeric, secret text, hidden text)",
          "create domain doc as json; create table u (id int primary key, v doc, w json[], n int)"
        )
        yield* apply({ table: "t", mode, mask: ["secret"], exclude: ["hidden"] }, { table: "u", mode })
        for (const document of documents) {
          for (const ids of ["{1}", "{2,3}"]) {
            yield* clear(db)
            const key = ids === "{1}" ? "1" : "3"
            const where = `where id = any ('${ids}')`
            yield* db.rows(
              `insert into t select id, $1::json, 1.50, 'topsecret', 'topsecret' from unnest('${ids}'::int[]) id`,
              [document]
            )
            yield* db.run(`update t set n = 1.500 ${where}`)
            yield* db.run(`update t set n = n ${where}`)
            yield* db.run(`update t set v = '{"fine":true}' ${where}`)
            yield* db.rows(`update t set v = $1 ${where}`, [document])
            yield* db.run(
              `update t set secret = 'topsecret2', hidden = 'topsecret2' ${where}`,
              `delete from t ${where}`
            )
            const recordedChanges = (yield* changes(db, "t")).filter((change) => change.key === key)
            const label = document.slice(0, 30)
            expect([label, recordedChanges.map(({ fields, op }) => [op, fields])]).toEqual([
              label,
              [
                ["insert", null],
                ["update", "{n}"],
                ["update", "{v}"],
                ["update", "{v}"],
                ["update", "{secret}"],
                ["delete", null]
              ]
            ])
            for (const [image, n] of [
              [recordedChanges[0]?.after, "1.50"],
              [recordedChanges[1]?.after, "1.500"],
              [recordedChanges[4]?.after, "1.500"],
              [recordedChanges[5]?.from, "1.500"]
            ] as const) {
              const [row] = yield* db.rows(
                "select $1::jsonb ->> 'v' as v, $1::jsonb ->> 'n' as n, $1::jsonb ->> 'secret' as secret, $1::jsonb ? 'hidden' as hidden",
                [image ?? null]
              )
              expect([label, row]).toEqual([label, { v: document, n, secret: "[masked]", hidden: "f" }])
            }
            expect(recordedChanges.filter((change) => JSON.stringify(change).includes("topsecret"))).toEqual([])
            // Behind a domain and in an array too.
            yield* db.rows(`insert into u select id, $1::json, array[$1::json], 0 from unnest('${ids}'::int[]) id`, [
              document
            ])
            yield* db.run(`update u set n = 1 ${where}`, `delete from u ${where}`)
            expect(
              (yield* changes(db, "u")).filter((change) => change.key === key).map(({ fields, op }) => [op, fields])
            ).toEqual([
              ["insert", null],
              ["update", "{n}"],
              ["delete", null]
            ])
          }
        }
      })
    )
  }

  attack("do not take their row along if a composite holds them", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run("create type jbox as (j json, n int); create table t (id int primary key, c jbox, cs jbox[])")
      yield* apply("t")
      for (const ids of ["{1}", "{2,3}"]) {
        yield* db.run(
          `insert into t select id, row('"\\u0000"', 1)::jbox, array[row('"\\ud800"', 2)::jbox] from unnest('${ids}'::int[]) id`,
          `update t set c.n = 2 where id = any ('${ids}')`,
          `delete from t where id = any ('${ids}')`
        )
      }
      expect(brief(yield* changes(db))).toEqual([
        "insert 1",
        "update 1",
        "delete 1",
        "insert 2",
        "insert 3",
        "update 2",
        "update 3",
        "delete 2",
        "delete 3"
      ])
      expect((yield* changes(db)).filter(({ fields, op }) => op === "update" && fields !== "{c}")).toEqual([])
    })
  )
})

attacks("columns that PostgreSQL computes", (attack) => {
  attack("are in the images if they are stored: generated columns and identities", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run(
        `create table t (
           id int generated always as identity primary key,
           a int, twice int generated always as (a * 2) stored
         )`
      )
      yield* apply("t")
      yield* db.run(
        "insert into t (a) values (1)",
        "update t set a = 2",
        "insert into t (a) values (5), (6)",
        "update t set a = a + 1"
      )
      expect((yield* changes(db)).map(({ after, fields }) => [fields, after])).toEqual([
        [null, '{"a": 1, "id": 1, "twice": 2}'],
        ["{a,twice}", '{"a": 2, "id": 1, "twice": 4}'],
        [null, '{"a": 5, "id": 2, "twice": 10}'],
        [null, '{"a": 6, "id": 3, "twice": 12}'],
        ["{a,twice}", '{"a": 3, "id": 1, "twice": 6}'],
        ["{a,twice}", '{"a": 6, "id": 2, "twice": 12}'],
        ["{a,twice}", '{"a": 7, "id": 3, "twice": 14}']
      ])
      expect(yield* chain(db, "t")).toEqual([])
    })
  )

  if (serverVersion >= 18) {
    attack("are left out and never said to change if they are virtual, which triggers never see", ({ apply, db }) =>
      Effect.gen(function* () {
        for (const [at, mode] of (["statement", "row"] as const).entries()) {
          const table = `v${at}`
          yield* db.run(
            `create table ${table} (id int primary key, a int, twice int generated always as (a * 2) virtual, j json)`
          )
          yield* apply({ table, mode })
          yield* clear(db)
          yield* db.run(
            `insert into ${table} (id, a) values (1, 1)`,
            `update ${table} set a = 2`,
            `update ${table} set a = 2`,
            `insert into ${table} (id, a, j) values (2, 5, '"\\u0000"'), (3, 6, null)`,
            `update ${table} set a = a + 1`,
            `delete from ${table}`
          )
          const recordedChanges = yield* changes(db, table)
          expect(recordedChanges.filter((change) => JSON.stringify(change).includes("twice"))).toEqual([])
          expect(brief(recordedChanges)).toEqual([
            "insert 1",
            "update 1",
            "insert 2",
            "insert 3",
            "update 1",
            "update 2",
            "update 3",
            "delete 1",
            "delete 2",
            "delete 3"
          ])
        }
      })
    )
  }
})

attacks("large values", (attack) => {
  attack("are captured whole: a megabyte of text and of bytes, in one row and in several", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run("create table t (id int primary key, t text, b bytea)")
      yield* apply("t")
      const noise = "(select string_agg(md5(i::text || random()), '') from generate_series(1, 32768) i)"
      for (const ids of ["{1}", "{2,3}"]) {
        yield* db.run(
          `insert into t select id, ${noise}, decode(${noise}, 'hex') from unnest('${ids}'::int[]) id`,
          `update t set t = t || '!' where id = any ('${ids}')`
        )
      }
      expect(
        yield* db.rows(`
          select t.id, length(c.data_after ->> 't') as text, c.data_after ->> 't' = t.t as same,
            decode(substr(c.data_after ->> 'b', 3), 'hex') = t.b as same_bytes
          from threadline.audit_changes c join t on t.id::text = c.row_key
          where c.op = 'update' order by c.id`)
      ).toEqual(["1", "2", "3"].map((id) => ({ id, text: String(32 * 32768 + 1), same: "t", same_bytes: "t" })))
    })
  )
})

attacks("numbers through the stored image, exactly", (attack) => {
  attack("have every digit in the text of the image and of the key, if they are bigint or numeric", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run("create table t (id bigint primary key, n numeric, f float8, j jsonb)")
      yield* apply("t")
      const ids = ["9007199254740993", "9223372036854775807", "-9223372036854775808"]
      const numbers = [
        "1.10",
        "12345678901234567890.12345678901234567890",
        "0.1000000000000000055511151231257827",
        "1e30"
      ]
      for (const id of ids) {
        for (const n of numbers) {
          yield* db.run(
            `insert into t values (${id}, ${n}, 0.1, '{"n": ${n}, "b": 9007199254740993}')`,
            "delete from t"
          )
        }
      }
      const recordedChanges = (yield* changes(db)).filter(({ op }) => op === "insert")
      expect(recordedChanges.map(({ after, key, pk }) => [key, pk, after])).toEqual(
        ids.flatMap((id) =>
          numbers.map((n) => {
            const exact = n === "1e30" ? `1${"0".repeat(30)}` : n
            return [
              id,
              `{"id": "${id}"}`,
              `{"f": 0.1, "j": {"b": 9007199254740993, "n": ${exact}}, "n": ${exact}, "id": ${id}}`
            ]
          })
        )
      )
    })
  )
})
