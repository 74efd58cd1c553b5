/** The same bytes whatever the writing session has set. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { attacks, brief, changes, clear } from "../support/adversarial.js"

const columns = [
  ["ts", "timestamptz", "'2024-02-29 23:30:00.123456+01'"],
  ["tsn", "timestamp", "'0044-03-15 12:00:00 BC'"],
  ["d", "date", "'2024-02-03'"],
  ["tz", "timetz", "'12:00+02'"],
  ["iv", "interval", "'-1 year 2 mons -3 days 04:05:06.7'"],
  ["b", "bytea", "'\\x00ff5c'"],
  ["f8", "float8", "0.1::float8 + 0.2::float8"],
  ["f4", "float4", "1.1::float4 / 3"],
  ["m", "money", "1234.5::numeric::money"],
  ["p", "point", "point(0.1::float8 + 0.2::float8, 1/3.0)"],
  ["x", "xml", "'<a/>'::xml"],
  ["num", "numeric", "1.10"],
  ["rel", "regclass", "'t'::regclass"],
  ["typ", "regtype", "'wrapped'::regtype"],
  ["tsr", "tstzrange", "tstzrange('2024-02-03 00:00+00', '2024-03-04 00:00+00')"],
  ["dr", "daterange", "daterange('2024-02-03', '2024-03-04')"],
  ["dmr", "datemultirange", "datemultirange(daterange('2024-02-03', '2024-03-04'))"],
  ["ivr", "interval_range", "interval_range('1 day', '2 days')"],
  ["fr", "float_range", "float_range(0.1::float8 + 0.2::float8, 5)"],
  ["tsa", "timestamptz[]", "array['2024-02-29 23:30:00+01'::timestamptz]"],
  ["bya", "bytea[]", "array['\\x00'::bytea]"],
  ["iva", "interval[]", "array['1 mon 2 days'::interval]"],
  ["fa", "float8[]", "array[0.1::float8 + 0.2::float8]"],
  ["ma", "money[]", "array[1234.5::numeric::money]"],
  [
    "w",
    "wrapped",
    "row('2024-02-29 23:30:00+01', '1 mon', '\\x00', 0.1::float8 + 0.2::float8, 5.5::numeric::money)::wrapped"
  ],
  [
    "wa",
    "wrapped[]",
    "array[row('2024-02-29 23:30:00+01', '1 mon', '\\x00', 0.1::float8 + 0.2::float8, 5.5::numeric::money)::wrapped]"
  ],
  ["dom", "moment", "'2024-02-29 23:30:00+01'"],
  ["js", "json", `'{"a": 1.10}'`],
  ["a", "text[]", `array['NULL', null, 'a\\b']`]
] as const

// One session each: whatever a client, a driver or a role's defaults may set.
const sessions: ReadonlyArray<string> = [
  "set timezone = 'Asia/Kolkata'",
  "set timezone = 'America/St_Johns'",
  "set timezone = 'XYZ-5:45'",
  "set datestyle = 'German, DMY'",
  "set datestyle = 'SQL, MDY'",
  "set datestyle = 'Postgres, YMD'",
  "set intervalstyle = 'iso_8601'",
  "set intervalstyle = 'postgres_verbose'",
  "set intervalstyle = 'sql_standard'",
  "set bytea_output = 'escape'",
  "set extra_float_digits = 0",
  "set extra_float_digits = -15",
  "set extra_float_digits = 3",
  "set lc_monetary = 'C.UTF-8'",
  "set lc_numeric = 'C.UTF-8'; set lc_time = 'C.UTF-8'",
  "set xmloption = 'document'; set xmlbinary = 'hex'",
  "set search_path = 'public'",
  "set search_path = ''",
  "set quote_all_identifiers = on",
  "set standard_conforming_strings = off; set escape_string_warning = off; set backslash_quote = off",
  "set array_nulls = off",
  "set transform_null_equals = on",
  "set plpgsql.extra_errors = 'all'; set plpgsql.extra_warnings = 'all'",
  "set plpgsql.variable_conflict = 'use_column'",
  "set plpgsql.variable_conflict = 'use_variable'",
  "set check_function_bodies = off; set row_security = off",
  "set plan_cache_mode = 'force_generic_plan'",
  "set plan_cache_mode = 'force_custom_plan'",
  "set enable_hashjoin = off; set enable_mergejoin = off; set enable_nestloop = off; set enable_sort = off; set enable_material = off",
  "set work_mem = '64kB'; set jit = on",
  "set parallel_setup_cost = 0; set parallel_tuple_cost = 0; set min_parallel_table_scan_size = 0",
  "set default_transaction_isolation = 'serializable'",
  "set client_encoding = 'LATIN1'",
  "set session_authorization = default; set statement_timeout = '1min'; set lock_timeout = '1min'"
]

attacks("session settings", (attack) => {
  for (const mode of ["statement", "row"] as const) {
    attack(
      `give the same images, keys and fields, whichever they are, in ${mode} mode`,
      ({ apply, db, session }) =>
        Effect.gen(function* () {
          yield* db.run(`
            create type interval_range as range (subtype = interval);
            create type float_range as range (subtype = float8);
            create type wrapped as (t timestamptz, i interval, b bytea, f float8, m money);
            create domain moment as timestamptz`)
          const list = columns.map(([name]) => name).join(", ")
          yield* db.run(
            `create table t (k timestamptz, i interval, f float8, ${columns.map(([name, type]) => `${name} ${type}`).join(", ")},
              "a\\b" text, "it's" text, primary key (k, i, f))`,
            // The values come from here, so that no setting has a say in reading them.
            "create table source (like t)",
            `insert into source select '2024-02-29 23:30:00.5+01', '1 mon 3 days', 0.1::float8 + 0.2::float8, ${columns.map(([, , value]) => value).join(", ")}, 'x', 'y'`
          )
          yield* apply({ table: "t", mode, mask: ["it's"] })
          const statements = [
            "insert into public.t select * from public.source",
            `update public.t set d = d + 1, num = 1.100, iv = iv * 2, b = b || '\\1'::bytea`.replace(
              "'\\1'::bytea",
              "b"
            ),
            "update public.t set f4 = f4",
            "update public.t set k = k + interval '1 hour', i = i * 2",
            "delete from public.t",
            "insert into public.t (k, i, f) select k + n * interval '1 hour', i, f from public.source, generate_series(1, 3) n",
            "update public.t set ts = s.ts, ivr = s.ivr, b = s.b, w = s.w, wa = s.wa, js = s.js from public.source s",
            "update public.t set k = k + interval '1000 hours', ts = ts + interval '1 hour'",
            "delete from public.t"
          ]
          // In which order a statement meets its rows is the server's affair: it depends on where it found room for them.
          const story = Effect.map(changes(db, "t"), (found) =>
            found
              .map(({ after, fields, from, key, op, pk, previous }, place) => ({
                op,
                statement: place < 4 ? place : 4 + Math.floor((place - 4) / 3),
                key,
                previous,
                pk,
                fields,
                from,
                after
              }))
              .sort((a, b) => a.statement - b.statement || ((a.key ?? "") < (b.key ?? "") ? -1 : 1))
          )
          yield* db.run(...statements)
          const expected = yield* story
          expect(expected).toHaveLength(4 + 12)
          expect(JSON.stringify(expected[0])).toContain("2024-02-29T22:30:00.5+00:00")
          for (const settings of sessions) {
            yield* clear(db)
            const writer = yield* session()
            yield* writer.run(settings, ...statements)
            expect([settings, yield* story]).toEqual([settings, expected])
          }
          expect(list).toContain("tsr")
        }),
      300_000
    )
  }

  attack(
    "of the old rules of strings change nothing, with backslashes in names and texts of every kind",
    ({ apply, db }) =>
      Effect.gen(function* () {
        yield* db.run(`create table "back\\slash's" ("i\\d'" int, "b\\""x" text, "m\\'" text, primary key ("i\\d'"))`)
        yield* apply({ table: `"back\\slash's"`, mask: ["m\\'"], exclude: [] })
        yield* db.run("set standard_conforming_strings = off; set escape_string_warning = off")
        yield* db.run(
          `insert into "back\\slash's" values (1, 'a', 'secret')`,
          `update "back\\slash's" set "b\\""x" = 'b'`,
          `insert into "back\\slash's" values (2, 'a', 'secret'), (3, 'a', 'secret')`,
          `update "back\\slash's" set "b\\""x" = 'c', "m\\'" = 'secret2'`,
          `truncate "back\\slash's"`,
          "reset all"
        )
        const recordedChanges = yield* changes(db)
        expect(brief(recordedChanges)).toEqual([
          "insert 1",
          "update 1",
          "insert 2",
          "insert 3",
          "update 1",
          "update 2",
          "update 3",
          "truncate -"
        ])
        expect(recordedChanges.filter((change) => JSON.stringify(change).includes("secret"))).toEqual([])
        const image: unknown = JSON.parse(recordedChanges[0]?.after ?? "")
        expect(image).toEqual({ 'b\\"x': "a", "i\\d'": 1, "m\\'": "[masked]" })
      })
  )

  attack("of the old rules of strings keep the keys of ranges apart", ({ apply, db, session }) =>
    Effect.gen(function* () {
      yield* db.run("create table t (k numrange primary key)")
      yield* apply("t")
      const insert = "insert into t values (numrange(100, 200.50)), (numrange(300.0, 400)), (numrange(null, 1.0))"
      yield* db.run(insert)
      const keys = ["[100,200.5)", "[300,400)", "(,1)"]
      expect((yield* changes(db)).map(({ key }) => key)).toEqual(keys)
      yield* db.run("delete from t")
      yield* clear(db)
      const writer = yield* session()
      yield* writer.run("set standard_conforming_strings = off; set escape_string_warning = off", insert)
      expect((yield* changes(db)).map(({ key }) => key)).toEqual(keys)
    })
  )

  attack(
    "of the old rules of strings do not hide that the oldest partitions of the record are gone",
    ({ db, session }) =>
      Effect.gen(function* () {
        const oldest = "select to_char(threadline.oldest_kept() at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS')"
        const expected = yield* db.value(oldest)
        expect(expected).toMatch(/^20\d\d-\d\d-01 00:00:00$/)
        const reader = yield* session()
        yield* reader.run("set standard_conforming_strings = off; set escape_string_warning = off")
        expect(yield* reader.value(oldest)).toBe(expected)
      })
  )
})
