/** Excluded and masked values reach no table, image, diff, export, log, span or error, whatever the host does to its rows. */
import { describe, expect, it } from "@effect/vitest"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import type * as Capture from "../../src/Capture.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import { apply, changes, findingKinds, fresh, refusal, rows, run, status, value } from "../support/capture.js"

const tables = (more: Partial<Capture.TableConfig> = {}): ReadonlyArray<Capture.TableConfig> => [
  {
    table: "people",
    exclude: ["password", "settings.auth.token", { column: "notes", path: ["private.key"] }],
    mask: [
      "email",
      { column: "iban", as: "last4" },
      { column: "phone", as: "hash" },
      { column: "birthday", as: "null" },
      { column: "settings.pin", as: "hash" },
      { column: "notes", path: ["cards", "number"], as: "last4" }
    ],
    ...more
  }
]

const people = `create table people (
  id int primary key, name text, email text, iban text, phone text, birthday date, password text, settings jsonb, notes json
)`

/** Every value in this row that must not be found again has the word `hush`, or is one of the others. */
const row = (id: number, hush = "hush") => `(
  ${id}, 'Ada', '${hush}@example.com', 'DE00${hush}99991234', '+49-${hush}', '1815-12-10', '${hush}-password',
  '{"theme": "dark", "pin": "${hush}-pin", "auth": {"token": "${hush}-token", "kind": "basic"}}',
  '{"private.key": "${hush}", "cards": [{"number": "4111${hush}1111${hush}4242"}, {"number": "short"}], "text": "fine"}'
)`

/** Everything that is stored in the schema of the record, and everything that statements were told, as one text. */
const everything = Effect.gen(function* () {
  const names = yield* rows(
    `select c.oid::regclass::text as name
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = 'threadline' and c.relkind = 'r' and c.relname <> 'mask_keys'`
  )
  const texts: Array<string> = []
  for (const { name } of names) {
    texts.push(JSON.stringify(yield* rows(`select to_jsonb(t)::text as row from ${String(name)} t`)))
  }
  return texts.join("\n")
})

const leaks = (text: string): ReadonlyArray<string> =>
  ["hush", "1815-12-10", "12-10"].filter((secret) => text.includes(secret))

describe.each([
  ["statement", {}],
  ["row", { mode: "row" }],
  ["always", { always: true }]
] as const)("redaction in %s mode", (_, more) => {
  it.effect("lets no value through, whatever is done to the rows", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(people)
        yield* apply(tables({ truncate: "rows", ...more }))
        yield* run(
          `insert into people values ${row(1)}`,
          `insert into people values ${row(2)}, ${row(3)}, ${row(4)}`,
          "update people set name = 'Bea' where id = 1",
          "update people set name = 'Bea' where id > 1",
          "update people set email = 'hush-2', iban = 'hush-2 of 99991234', phone = 'hush-2', birthday = null where id = 1",
          "update people set email = 'hush-3', iban = 'hush-3 of 99991234', phone = 'hush-3', settings = settings || '{\"pin\": \"hush-3\", \"theme\": 3}'",
          `insert into people values ${row(1)} on conflict (id) do update set name = excluded.name, iban = excluded.iban`,
          `update people set settings = '["hush in an array of settings", {"pin": "hush", "auth": {"token": "hush"}}]' where false`,
          `update people set settings = '[{"pin": "hush", "auth": [{"token": "hush"}, {"token": ["hush"]}]}]' where id = 2`,
          `update people set settings = '{"pin": {"deep": "hush"}, "auth": {"token": {"deep": "hush"}}}' where id = 2`,
          `update people set settings = '"hush"' where id = 3`,
          // What jsonb cannot hold is kept as a text, and the path is inside of it.
          `update people set notes = '{"private.key": "hush \\u0000", "cards": {"number": "hush"}}' where id = 3`,
          `update people set notes = '{"private.key": "a", "private.key": "hush"}' where id = 4`,
          "delete from people where id = 2",
          "alter table people add column extra text default 'x'",
          "update people set extra = 'y', name = 'Cea', email = 'hush again' where id > 2",
          "truncate people"
        )
        expect(yield* value("select count(*)::int from threadline.audit_changes")).toBeGreaterThan(20)
        expect(leaks(yield* everything)).toEqual([])
      })
    )
  )

  it.effect("survives renames and exchanged names of redacted columns", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(people, "alter table people add column spare text, add column more jsonb")
        yield* apply(tables(more))
        yield* run(
          `insert into people values ${row(1)}`,
          "alter table people rename column settings to options",
          "alter table people rename column iban to account",
          "update people set name = 'Bea'",
          "alter table people rename column more to settings",
          "update people set name = 'Cea', settings = '{}'",
          "alter table people rename column spare to iban",
          "alter table people rename column phone to other",
          "alter table people rename column name to phone",
          "alter table people rename column other to name",
          "update people set email = 'hush'",
          "delete from people"
        )
        expect(leaks(yield* everything)).toEqual([])
        expect(findingKinds(yield* status())).toContain("RedactedColumnMissing")
      })
    )
  )

  it.effect("records a change of a masked part, and none of an excluded one alone", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(people)
        yield* apply(tables(more))
        yield* run(`insert into people values ${row(1)}`)
        const count = value("select count(*)::int from threadline.audit_changes")
        const last = Effect.map(
          rows(
            "select op, changed_fields, changed_from, data_after, details from threadline.audit_changes order by id desc limit 1"
          ),
          ([change]) => change ?? {}
        )
        yield* run(
          `update people set settings = jsonb_set(settings, '{auth,token}', '"another hush"')`,
          "update people set password = 'another hush'",
          `update people set notes = '{"private.key": "other hush", "cards": [{"number": "4111hush1111hush4242"}, {"number": "short"}], "text": "fine"}'`
        )
        expect(yield* count).toBe(1)
        yield* run(`update people set settings = jsonb_set(settings, '{pin}', '"other hush"'), phone = null`)
        expect(yield* count).toBe(2)
        const hash = expect.stringMatching(/^hmac:[0-9a-f]{8}:[0-9a-f]{64}$/)
        expect(yield* last).toEqual({
          op: "update",
          changed_fields: ["phone", "settings"],
          changed_from: { phone: hash, settings: { theme: "dark", pin: hash, auth: { kind: "basic" } } },
          data_after: {
            id: 1,
            name: "Ada",
            email: "[masked]",
            iban: "****1234",
            phone: hash,
            birthday: null,
            settings: { theme: "dark", pin: hash, auth: { kind: "basic" } },
            notes: { cards: [{ number: "****4242" }, { number: "****" }], text: "fine" }
          },
          details: null
        })
        yield* run(`update people set notes = '{"private.key": "x", "cards": [{"number": "9999"}], "text": "fine"}'`)
        expect(yield* last).toMatchObject({ changed_fields: ["notes"], changed_from: { notes: { text: "fine" } } })
        yield* run(`update people set settings = jsonb_set(settings, '{theme}', '1.0')`)
        yield* run(`update people set settings = jsonb_set(settings, '{theme}', '1.00')`)
        expect(yield* count).toBe(5)
        yield* run("update people set iban = 'AT77 0000 1111 99991234'")
        expect(yield* last).toMatchObject({ changed_fields: ["iban"], changed_from: { iban: "****1234" } })
      })
    )
  )
})

describe("masks", () => {
  it.effect("follow equal values by their hash, until the key is changed; nobody but the owner reads the key", () =>
    fresh(
      Effect.gen(function* () {
        const database = yield* TestDatabase.TestDatabase
        yield* run(
          "create table a (id int primary key, phone text, n numeric)",
          "create table b (id int primary key, tel text)"
        )
        yield* apply([
          {
            table: "a",
            mask: [
              { column: "phone", as: "hash" },
              { column: "n", as: "hash" }
            ]
          },
          { table: "b", mask: [{ column: "tel", as: "hash" }] }
        ])
        yield* run(
          "insert into a values (1, 'same', 7), (2, null, null), (3, 'other', 8)",
          "insert into b values (1, 'same'), (2, '7')"
        )
        const hashes = (table: string, column: string) =>
          Effect.map(
            rows(
              `select data_after ->> '${column}' as hash from threadline.audit_changes where table_name = '${table}' order by id`
            ),
            (found) => found.map(({ hash }) => String(hash))
          )
        const [one, none, other] = yield* hashes("a", "phone")
        const [same, seven] = yield* hashes("b", "tel")
        expect(same).toBe(one)
        expect((yield* hashes("a", "n"))[0]).toBe(seven)
        expect(new Set([one, none, other]).size).toBe(3)
        expect(none).toMatch(/^hmac:/)

        // HMAC as others compute it: with the key that the blocks were made from.
        const [{ key } = { key: "" }] = yield* rows(
          `select encode(substr(string_agg(decode(lpad(to_hex(get_byte(k.inner_block, n) # 54), 2, '0'), 'hex'), ''::bytea order by n), 1, 32), 'hex') as key
           from threadline.mask_keys k, generate_series(0, 63) n`
        )
        const { createHmac } = yield* Effect.promise(() => import("node:crypto"))
        expect(one?.split(":")[2]).toBe(
          createHmac("sha256", Buffer.from(String(key), "hex"))
            .update("tsame")
            .digest("hex")
        )

        const sources = yield* value(
          "select string_agg(prosrc, '') from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname = 'threadline'"
        )
        expect(String(sources)).not.toContain(String(key))
        const reader = yield* database.connect("reader")
        const [{ role } = { role: "" }] = yield* reader<{ role: string }>`select current_user::text as role`
        const { apply: grant } = yield* Effect.promise(() => import("../../src/Grants.js"))
        yield* grant({ readers: [role], writers: [role], operators: [role] })
        for (const statement of [
          "select * from threadline.mask_keys",
          "select threadline.mask_hash('same')",
          "select threadline.mask_value('\"same\"', 'hash')",
          "select threadline.rotate_mask_key()"
        ]) {
          expect((yield* Effect.flip(reader.unsafe(statement))).cause).toMatchObject({ code: "42501" })
        }

        yield* run("select threadline.rotate_mask_key()", "insert into b values (3, 'same')")
        expect((yield* hashes("b", "tel"))[2]).not.toBe(one)
        // Without a key nothing is shown, and the write goes through.
        yield* run("delete from threadline.mask_keys", "insert into b values (4, 'same')")
        expect((yield* hashes("b", "tel"))[3]).toBe("[masked]")
      })
    )
  )

  it.effect("do not reach partitions that are marked, nor errors of writes that fail", () =>
    fresh(
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* run(
          "create table logs (id int, day date, secret text, doc jsonb check (doc is not null), primary key (id, day)) partition by range (day)",
          "create table logs_1 partition of logs for values from ('2026-01-01') to ('2026-02-01')",
          "create table logs_2 (like logs including all)",
          `insert into logs_2 values (1, '2026-02-02', 'hush', '{"token": "hush", "a": 1}')`
        )
        const config = [{ table: "logs", exclude: ["doc.token"], mask: [{ column: "secret", as: "last4" as const }] }]
        yield* apply(config)
        yield* run("alter table logs attach partition logs_2 for values from ('2026-02-01') to ('2026-03-01')")
        yield* apply(config, { markPartitions: true })
        expect(yield* changes).toEqual(['logs baseline ["1","2026-02-02"]'])
        yield* run(
          "update logs set day = '2026-01-01'",
          `merge into logs l using (values (1)) v (id) on l.id = v.id when matched then update set day = '2026-02-03', secret = 'hush 2'`,
          "truncate logs_2"
        )
        expect(leaks(yield* everything)).toEqual([])
        // A failed write tells its own value to who wrote it. What capture adds to the error holds none.
        const failed = yield* Effect.flip(sql`insert into logs values (9, '2026-01-02', 'hush', null)`)
        expect(JSON.stringify((failed.cause as { where?: string }).where ?? "")).not.toContain("hush")
        // An error out of the trigger itself.
        yield* run("alter table threadline.audit_changes add constraint no check (table_name <> 'logs') not valid")
        const inTrigger = yield* Effect.flip(
          sql`insert into logs values (10, '2026-01-02', 'hush', '{"token": "hush"}')`
        )
        expect(leaks(JSON.stringify(inTrigger.cause))).toEqual([])
      })
    )
  )

  it.effect("mask a string on their way, which may hold a document", () =>
    fresh(
      Effect.gen(function* () {
        yield* run("create table t (id int primary key, doc jsonb, text json, n int)")
        yield* apply([{ table: "t", mask: ["doc.a.mk", "doc.list.mk"], exclude: ["text.a.mk"] }])
        yield* run(
          `insert into t values
            (1, '{"a": "{\\"mk\\": \\"hush\\"}", "b": "seen"}', '{"a": "{\\"mk\\": \\"hush\\"}", "b": "seen"}'),
            (2, '["hush", {"a": {"mk": "hush"}, "b": "seen"}, 7]', '["hush", {"a": {"mk": "hush"}, "b": "seen"}]'),
            (3, '{"list": ["hush", {"mk": "hush", "b": "seen"}, 7, null]}', '{"a": ["hush", {"mk": "hush", "b": "seen"}]}'),
            (4, '"hush"', '"hush"'),
            (5, '{"a": 7, "mk": "seen"}', '{"a": null, "mk": "seen"}')`
        )
        const images = yield* rows(
          "select data_after ->> 'doc' as doc, data_after ->> 'text' as text from threadline.audit_changes order by row_key"
        )
        expect(images).toEqual([
          { doc: '{"a": "[masked]", "b": "seen"}', text: '{"a": "[masked]", "b": "seen"}' },
          {
            doc: '["[masked]", {"a": {"mk": "[masked]"}, "b": "seen"}, 7]',
            text: '["[masked]", {"a": {}, "b": "seen"}]'
          },
          {
            doc: '{"list": ["[masked]", {"b": "seen", "mk": "[masked]"}, 7, null]}',
            text: '{"a": ["[masked]", {"b": "seen"}]}'
          },
          { doc: "[masked]", text: "[masked]" },
          { doc: '{"a": 7, "mk": "seen"}', text: '{"a": null, "mk": "seen"}' }
        ])
        // That something changed in such a string is recorded, and not what.
        yield* run(
          `update t set doc = '{"a": "hush 2", "b": "seen"}', text = '{"a": "hush 2", "b": "seen"}' where id = 1`
        )
        expect(
          yield* rows(
            "select changed_fields::text as fields, changed_from::text as old from threadline.audit_changes where op = 'update'"
          )
        ).toEqual([
          {
            fields: "{doc,text}",
            old: '{"doc": {"a": "[masked]", "b": "seen"}, "text": {"a": "[masked]", "b": "seen"}}'
          }
        ])
        expect(leaks(yield* everything)).toEqual([])
      })
    )
  )

  it.effect("are refused for keys, for paths into other columns, and for parts named twice", () =>
    fresh(
      Effect.gen(function* () {
        yield* run('create table t (id jsonb primary key, v text, doc jsonb, "doc.a" text)')
        const refused = (config: Partial<Capture.TableConfig>) =>
          Effect.map(refusal(apply([{ table: "t", ...config }])), ({ detail, reason }) => `${reason}: ${detail}`)
        expect(yield* refused({ mask: [{ column: "id", as: "hash" }] })).toMatch(/^KeyRedacted/)
        expect(yield* refused({ exclude: ["id.a"] })).toMatch(/^KeyRedacted/)
        expect(yield* refused({ exclude: ["v.a"] })).toMatch(
          /^PathUnsupported: v.a is a path into column v, which is of type text/
        )
        expect(yield* refused({ exclude: ["dog.a"] })).toMatch(/^UnknownColumn/)
        expect(yield* refused({ exclude: ["doc"], mask: ["doc"] })).toMatch(/^ExcludedAndMasked/)
        expect(yield* refused({ exclude: ["doc"], mask: ["doc.b"] })).toMatch(/^ExcludedAndMasked/)
        expect(yield* refused({ mask: ["doc.b", "doc.b.c"] })).toMatch(/^RedactedTwice/)
        expect(yield* refused({ mask: ["v", { column: "v", as: "hash" }] })).toMatch(/^RedactedTwice/)
        expect(yield* refused({ mask: [{ column: "v", as: "first4" }] as never })).toMatch(/as: must be/)
        yield* apply([{ table: "t", exclude: ["doc.a", "doc.b"] }])
        const [policy] = (yield* status()).map(({ policy }) => policy)
        expect(policy).toMatchObject({ exclude: ["doc.a"], paths: { doc: [{ path: ["b"], as: "exclude" }] } })
        expect(yield* refused({ exclude: ["doc.a"] })).toMatch(/^LessRedaction: doc.b /)
        expect(yield* refused({ exclude: ["doc.a"], mask: ["doc.b"] })).toMatch(/^LessRedaction: doc.b /)
        expect(yield* apply([{ table: "t", exclude: ["doc.a", "doc"] }])).toMatchObject([{ kind: "regenerate" }])
        expect(yield* apply([{ table: "t", exclude: ["doc.a", "doc"] }])).toEqual([])
      })
    )
  )
})
