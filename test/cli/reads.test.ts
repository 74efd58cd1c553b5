import { describe, expect, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { unsafeParse } from "../../src/internal/core/json.js"
import * as Cli from "../support/cli.js"

Cli.setup()

/** A captured host in which four transactions happened; ids are those of the record. */
class Host extends Context.Tag("test/Host")<
  Host,
  Pick<Cli.MadeHost, "query" | "url"> & { readonly before: string; readonly created: string }
>() {}

const host = Layer.scoped(
  Host,
  Effect.gen(function* () {
    const { query, url } = yield* Cli.makeHost(
      `create table invoices (id bigint primary key, total numeric, note text);
      create table members (account text, person int, primary key (account, person));
      create table plain (id int primary key)`,
      "invoices",
      "members"
    )
    const now = Effect.map(
      query(`select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as now`),
      (rows) => rows[0]?.["now"] ?? ""
    )
    const before = yield* now
    yield* query(`
      begin;
      select threadline.set_context('{
        "actor": { "type": "user", "id": "42", "label": "billing desk" },
        "correlationId": "req-9f2", "source": "web", "remoteIp": "192.0.2.7", "meta": { "plan": "gold" }
      }');
      insert into invoices values (9007199254740993, 1.10, E'\\x1b[31mred\\x07');
      insert into members values ('acme', 7);
      select threadline.finish('{ "action": { "name": "invoice.created", "reason": "order 7" } }');
      commit`)
    const created = yield* now
    yield* query(`update invoices set total = 1.1, note = repeat('long ', 40)`)
    yield* query(`delete from members`)
    return { url, before, created, query }
  })
)

const short = (text: string) => {
  expect(text).not.toContain("\u001b")
  for (const line of text.split("\n").filter((line) => !line.startsWith("More: "))) {
    expect([...line].length, line).toBeLessThanOrEqual(80)
  }
}

it.layer(host, { timeout: 300_000 })("threadline", (it) => {
  describe("timeline", () => {
    it.effect("lists changes for people and as one exact document", () =>
      Effect.gen(function* () {
        const { url } = yield* Host
        const human = yield* Cli.text(["timeline"], { url })
        short(human)
        expect(human).toContain("invoice.created")
        expect(human).toContain("unattributed")
        expect(human).toMatch(/ set (note|total)/)
        const output = yield* Cli.text(["timeline", "--json"], { url })
        expect(output.trimEnd().split("\n")).toHaveLength(1)
        expect(output).toContain(`"id":9007199254740993`)
        expect(output).toContain(`"total":1.10`)
        expect(unsafeParse(output)).toMatchObject({
          items: [
            { op: "delete", tableName: "members", rowPk: { account: "acme", person: "7" }, action: null },
            { op: "update", tableName: "invoices", changedFields: expect.arrayContaining(["note", "total"]) },
            { op: "insert", tableName: "members" },
            {
              op: "insert",
              tableName: "invoices",
              rowKey: "9007199254740993",
              transaction: { actor: { type: "user", id: "42", label: "billing desk" }, correlationId: "req-9f2" },
              action: { name: "invoice.created", status: "ok" }
            }
          ],
          nextCursor: null,
          hasMore: false
        })
      })
    )

    it.effect("pages with --limit and --cursor in either order", () =>
      Effect.gen(function* () {
        const { url } = yield* Host
        for (const order of ["newest", "oldest"]) {
          const seen: Array<unknown> = []
          let cursor: unknown = null
          do {
            const more = typeof cursor === "string" ? ["--cursor", cursor] : []
            const args = ["timeline", "--limit=1", "--order", order, ...more]
            const page: Record<string, unknown> = yield* Cli.json(args, { url })
            const [item] = page["items"] as ReadonlyArray<{ readonly id: string }>
            seen.push(Number(item?.id))
            cursor = page["nextCursor"]
            expect(page["hasMore"]).toBe(cursor !== null)
          } while (cursor !== null)
          expect(seen).toHaveLength(4)
          const sorted = [...seen].sort((a, b) => (order === "newest" ? Number(b) - Number(a) : Number(a) - Number(b)))
          expect(seen).toEqual(sorted)
        }
        const human = yield* Cli.text(["timeline", "--limit", "1"], { url })
        const cursor = /^More: --cursor (\S+)$/m.exec(human)?.[1] ?? ""
        expect(yield* Cli.text(["timeline", "--limit", "1", "--cursor", cursor], { url })).toContain("update")
      })
    )

    it.effect("takes every filter", () =>
      Effect.gen(function* () {
        const { before, created, url } = yield* Host
        const filters: ReadonlyArray<readonly [args: ReadonlyArray<string>, found: number]> = [
          [["--table", "invoices"], 2],
          [["--table=public.members", "--key", `["acme", 7]`], 2],
          [["--table=members", "--key", `{"person": 7, "account": "acme"}`, "--op=delete"], 1],
          [["--op", "insert", "--op=delete"], 3],
          [["--actor", "user:42"], 2],
          [["--actor", "user"], 2],
          [["--actor", "admin"], 0],
          [["--unattributed"], 2],
          [["--correlation-id", "req-9f2"], 2],
          [["--correlation-id", "req-9f2", "--include-capture-only"], 2],
          [["--table", "invoices", "--table", "members"], 4],
          [["--table-schema", "public"], 4],
          [["--table-schema", "other"], 0],
          [["--contains", '{"total":1.10}'], 2],
          [["--contains", '{"id":9007199254740993,"note":"none"}'], 0],
          [["--changed-field", "note"], 1],
          [["--action", "invoice.created", "--action-status", "ok"], 2],
          [["--impersonator", "admin"], 0],
          [["--source", "web", "--meta", '{"plan":"gold"}'], 2],
          [["--request-id", "none"], 0],
          [["--from", created], 2],
          [["--from", before, "--to", created], 2],
          [["--to", before], 0]
        ]
        yield* Cli.checkEach(filters, ([args, found]) =>
          Effect.map(Cli.json(["timeline", ...args], { url }), ({ items }) =>
            expect(items, args.join(" ")).toHaveLength(found)
          )
        )
        expect(yield* Cli.text(["timeline", "--to", before], { url })).toBe("No change matches.\n")
      })
    )

    it.effect("refuses what is wrong, and what is not there", () =>
      Effect.gen(function* () {
        const { url } = yield* Host
        const cases: ReadonlyArray<readonly [args: ReadonlyArray<string>, code: number, sentence: RegExp]> = [
          [["timeline", "--limit", "0"], 2, /--limit is a whole number from 1 to 1000/],
          [["timeline", "--cursor", "nonsense"], 2, /cursor: /],
          [["timeline", "--from", "yesterday"], 2, /from: must be an instant/],
          [["timeline", "--from", "2026-02-01", "--to", "2026-01-01"], 2, /--to: must not be before --from/],
          [["timeline", "--key", "1"], 2, /key: needs the table/],
          [["timeline", "--table", "a.b.c"], 2, /table: must be a table/],
          [["timeline", "--actor", "user:42", "--unattributed"], 2, /unattributed: /],
          [["timeline", "--transaction-id", "x"], 2, /--transaction-id: must be an id/],
          [["timeline", "--contains", "[1]"], 2, /--contains is a JSON object/],
          [["timeline", "--table-schema", "x", "--table", "invoices"], 2, /--table-schema: holds none of the tables/],
          [
            ["timeline", "--include-capture-only"],
            2,
            /--include-capture-only: widens --correlation-id, which is not given/
          ],
          [
            ["timeline", "--include-capture-only", "--correlation-id", "c", "--action", "x"],
            2,
            /--include-capture-only: .* which --action and --action-status leave out/
          ],
          [["timeline", "--changed-field", "note", "--op", "insert"], 2, /--changed-field: .* which --op leaves out/],
          [["timeline", "--contains", `{"note":"\\u0000"}`], 2, /--contains: must be an object of at least one field/],
          [["timeline", "--meta", `{"\\ud800":1}`], 2, /--meta: must be an object of at least one field/],
          [["timeline", "--meta", `{"n":1e131072}`], 2, /--meta: must be an object of at least one field/],
          [["timeline", "--actor", `user:${"x".repeat(257)}`], 2, /--actor: id must not exceed 256 bytes/],
          [["actions", "--table", "invoices"], 2, /the option --table does not belong to this command/],
          [["actions", "--action-status", "maybe"], 2, /--action-status is one of ok, error/],
          [["actor", "robot"], 2, /TYPE is one of user, admin/],
          [["actor", "anonymous", "1"], 2, /ID: an anonymous actor has no id/],
          [["correlation", "x".repeat(257)], 2, /ID: must not exceed 256 bytes/],
          [["timeline", "--actor", "user:"], 2, /--actor user: names no id: leave the colon out for every user/],
          [["unattributed", "--actor", "user"], 2, /the option --actor does not belong to this command/],
          [["timeline", "--table", "nowhere"], 1, /table public.nowhere is not known here/],
          [["transactions", "--table", "nowhere"], 1, /table public.nowhere is not known here/],
          [["transactions", "--limit", "0"], 2, /--limit is a whole number from 1 to 1000/],
          [["transactions", "--order", "random"], 2, /--order is one of newest, oldest/],
          [["transactions", "--key", "1"], 2, /key: needs the table/],
          [["transactions", "--op", "rename"], 2, /--op is one of insert/],
          [["transactions", "1"], 2, /there is an argument too many: 1/],
          [["timeline", "--table", "plain"], 1, /table public.plain is not known here/],
          [["history", "nowhere", "1"], 1, /table public.nowhere is not known here/],
          [["history", "invoices", "one"], 2, /KEY: /],
          [["history", "a.b.c", "one"], 2, /TABLE: must be a table/],
          [["history", "members", "acme"], 2, /KEY: /],
          [["as-of", "invoices", "1", "yesterday"], 2, /INSTANT: must be an instant/],
          [["as-of", "nowhere", "1", "2026-01-01"], 1, /table public.nowhere is not known here/],
          [["transaction", "x"], 2, /ID: must be an id/],
          [["transaction", "99999"], 1, /transaction 99999 is not known here/]
        ]
        yield* Cli.checkEach(
          cases.flatMap(([args, code, sentence]) => [
            { args, code, sentence },
            { args: [...args, "--json"], code, sentence }
          ]),
          ({ args, code, sentence }) =>
            Effect.map(Cli.run(args, { url }), (outcome) =>
              expect(outcome, args.join(" ")).toEqual(Cli.refusal(code, sentence))
            )
        )
      })
    )
  })

  describe("commands that read", () => {
    it.effect("refuse wrong input before any database is asked", () =>
      Effect.gen(function* () {
        const url = "postgres://nobody@127.0.0.1:1/nowhere"
        const cases: ReadonlyArray<ReadonlyArray<string>> = [
          ["timeline", "--limit", "1001"],
          ["timeline", "--cursor", "nonsense"],
          ["timeline", "--from", "yesterday"],
          ["timeline", "--actor", "user:42", "--unattributed"],
          ["history", "a.b.c", "1"],
          ["history", "posts", "1", "--cursor", "nonsense"],
          ["as-of", "posts", "1", "yesterday"],
          ["transaction", "x"],
          ["actor", "user", "42", "--from", "yesterday"],
          ["correlation", "c", "--cursor", "nonsense"],
          ["actions", "--transaction-id", "x"],
          ["unattributed", "--to", "tomorrow"],
          ["transactions", "--cursor", "nonsense"]
        ]
        yield* Cli.checkEach(cases, (args) =>
          Effect.map(Cli.run(args, { url }), (outcome) => expect(outcome.code, args.join(" ")).toBe(2))
        )
        expect((yield* Cli.run(["actions"], { url })).code).toBe(3)
      })
    )
  })

  describe("actions, transactions and unattributed", () => {
    it.effect("list for people and as documents", () =>
      Effect.gen(function* () {
        const { url } = yield* Host
        const cases: ReadonlyArray<readonly [args: ReadonlyArray<string>, human: ReadonlyArray<string>, json: object]> =
          [
            [
              ["actions"],
              ["invoice.created", "user 42", "req-9f2"],
              { items: [{ name: "invoice.created", status: "ok", reason: "order 7" }], hasMore: false }
            ],
            [["actions", "--action-status", "error"], ["No action matches."], { items: [], nextCursor: null }],
            [
              ["transactions"],
              ["who  ", "action  ", "changes  ", "user 42 (", "invoice.", "2        invoices", "unattributed"],
              {
                items: [
                  { action: null, tables: ["public.members"] },
                  { action: null, tables: ["public.invoices"] },
                  { action: { name: "invoice.created" }, changes: { count: 2, exact: true } }
                ],
                nextCursor: null,
                hasMore: false
              }
            ],
            [["transactions", "--actor", "admin"], ["No transaction matches."], { items: [], nextCursor: null }],
            [
              ["transactions", "--table", "invoices", "--op", "insert"],
              ["invoice."],
              { items: [{ tables: ["public.invoices", "public.members"] }] }
            ],
            [
              ["unattributed"],
              ["database user", "postgres", "members"],
              { items: [{ changes: { count: 1, exact: true }, tables: ["public.members"] }, { action: null }] }
            ],
            [
              ["actor", "user", "42"],
              ["actions\n", "transactions\n", "changes\n", "invoice.created", "invoices"],
              { actions: { items: [{}] }, transactions: { items: [{}] }, changes: { items: [{}, {}] } }
            ],
            [["actor", "job"], ["No action.", "No transaction.", "No change."], { changes: { items: [] } }],
            [
              ["correlation", "req-9f2"],
              ["invoice.created", "insert"],
              { actions: { items: [{}] }, transactions: { items: [{}] }, changes: { items: [{}, {}] } }
            ]
          ]
        yield* Cli.checkEach(cases, ([args, parts, document]) =>
          Effect.gen(function* () {
            const human = yield* Cli.text(args, { url })
            short(human)
            for (const part of parts) {
              expect(human).toContain(part)
            }
            expect(yield* Cli.json([...args, "--json"], { url })).toMatchObject(document)
          })
        )
      })
    )
  })

  it.effect("transactions pages in either order, by a cursor of its own", () =>
    Effect.gen(function* () {
      const { url } = yield* Host
      const idsOf = ({ items }: Record<string, unknown>) =>
        (items as ReadonlyArray<{ readonly transaction: { readonly id: string } }>).map(
          ({ transaction }) => transaction.id
        )
      const newest = idsOf(yield* Cli.json(["transactions"], { url }))
      expect(newest).toHaveLength(3)
      for (const [order, expected] of [
        ["newest", newest],
        ["oldest", [...newest].reverse()]
      ] as const) {
        const args = ["transactions", "--order", order]
        const first = yield* Cli.json([...args, "--limit", "2"], { url })
        expect(idsOf(first)).toEqual(expected.slice(0, 2))
        const cursor = String(first["nextCursor"])
        const rest = yield* Cli.json([...args, "--cursor", cursor], { url })
        expect(idsOf(rest)).toEqual(expected.slice(2))
        expect(rest).toMatchObject({ nextCursor: null, hasMore: false })
        expect(yield* Cli.run(["timeline", "--order", order, "--cursor", cursor], { url })).toEqual(
          Cli.refusal(2, /--cursor: /)
        )
      }
      expect(yield* Cli.text(["transactions", "--limit", "1"], { url })).toMatch(/^More: --cursor \S+$/m)
    })
  )

  describe("history", () => {
    it.effect("shows a row change by change, with its diffs", () =>
      Effect.gen(function* () {
        const { url } = yield* Host
        const human = yield* Cli.text(["history", "invoices", "9007199254740993"], { url })
        short(human)
        expect(human).toMatch(
          /update invoices 9007199254740993\n {2}unattributed, transaction \d+\n {2}total: 1\.10 -> 1\.1\n {2}note:\n/
        )
        expect(human).toContain("  total: 1.10 -> 1.1\n")
        expect(human).toContain(String.raw`- "\u001b[31mred\u0007"`)
        expect(human).toContain("  user 42 (billing desk), invoice.created, transaction ")
        expect(yield* Cli.json(["history", "invoices", "9007199254740993", "--order=oldest"], { url })).toMatchObject({
          items: [{ op: "insert" }, { op: "update" }]
        })
        expect(yield* Cli.json(["history", "members", `["acme","7"]`], { url })).toMatchObject({
          items: [{ op: "delete" }, { op: "insert" }]
        })
        expect(yield* Cli.text(["history", "invoices", "-5"], { url })).toBe("Nothing is recorded of this row.\n")
        expect(yield* Cli.text(["history", "invoices", "--json", "--", "5"], { url })).toBe(
          '{"items":[],"nextCursor":null,"hasMore":false,"schemaEvents":[]}\n'
        )
      })
    )
  })

  describe("as-of", () => {
    it.effect("shows a row as it stood", () =>
      Effect.gen(function* () {
        const { before, created, url } = yield* Host
        const asOf = (...args: ReadonlyArray<string>) => Cli.json(["as-of", ...args], { url })
        expect(yield* asOf("invoices", "9007199254740993", before)).toEqual({ answer: "NotYetCreated", at: before })
        expect(yield* asOf("members", `["acme", 7]`, "2999-01-01")).toEqual({
          answer: "Deleted",
          at: "2999-01-01T00:00:00.000000Z"
        })
        expect(yield* asOf("invoices", "1", created)).toEqual({ answer: "BeforeCapture", at: created })
        const exact = yield* Cli.text(["as-of", "invoices", "9007199254740993", created, "--json"], { url })
        expect(exact).toContain(`"answer":"Present"`)
        expect(exact).toContain(`"id":9007199254740993`)
        expect(exact).toContain(`"total":1.10`)
        const human = yield* Cli.text(["as-of", "invoices", "9007199254740993", "2999-01-01"], { url })
        short(human)
        expect(human).toMatch(/^2999-01-01T00:00:00\.000000Z: this instant is still to come\.\nThe row as it is now:\n/)
        expect(human).toContain("  total: 1.1\n")
        expect(yield* Cli.text(["as-of", "invoices", "1", created], { url })).toContain("Nothing is known of the row")
      })
    )
  })

  describe("transaction", () => {
    it.effect("shows who, why, from where, and what changed", () =>
      Effect.gen(function* () {
        const { url } = yield* Host
        const { items } = yield* Cli.json(["timeline", "--actor", "user:42", "--limit", "1"], { url })
        const [{ transactionId: id }] = items as readonly [{ readonly transactionId: string }]
        const human = yield* Cli.text(["transaction", id], { url })
        short(human)
        for (const part of [
          `transaction ${id}\n`,
          "user 42 (billing desk)",
          "req-9f2",
          "192.0.2.7",
          `{"plan":"gold"}`,
          "action invoice.created\n",
          "order 7",
          "insert invoices 9007199254740993\n",
          "insert members "
        ]) {
          expect(human).toContain(part)
        }
        expect(yield* Cli.json(["transaction", "--json", id], { url })).toMatchObject({
          transaction: { id, source: "web", meta: { plan: "gold" } },
          actions: [{ name: "invoice.created", reason: "order 7" }],
          siblings: [],
          changes: { items: [{ change: { op: "insert" } }, { change: { op: "insert" } }], hasMore: false }
        })
        const page = yield* Cli.text(["transaction", id, "--limit=1"], { url })
        const cursor = /^More: --cursor (\S+)$/m.exec(page)?.[1] ?? ""
        const next = yield* Cli.json(["transaction", id, "--limit=1", "--cursor", cursor], { url })
        expect(next).toMatchObject({ changes: { items: [{ change: { tableName: "members" } }], hasMore: false } })
      })
    )
  })

  describe("on a terminal", () => {
    it.effect("shows what was captured, and no value of it commands the terminal", () =>
      Effect.gen(function* () {
        const { query, url } = yield* Host
        const evil = "\u001b[31mred\u009b1m\u202eback\nnext\u0007"
        const json = JSON.stringify(evil)
        const [made] = yield* query(`
          begin;
          select threadline.set_context('{
            "actor": { "type": "user", "id": ${json}, "label": ${json} }, "correlationId": ${json}, "requestId": ${json},
            "source": ${json}, "meta": { ${json}: ${json} }
          }');
          insert into invoices (id, note) values (66, '${json}'::jsonb #>> '{}');
          select (threadline.finish('{
            "action": {
              "name": ${json}, "reason": ${json}, "comment": ${json}, "data": { ${json}: ${json} },
              "subject": { "type": ${json}, "id": ${json} }
            }
          }') is not null)::text;
          commit;
          select max(id)::text as id from threadline.audit_transactions`)
        const reads: ReadonlyArray<ReadonlyArray<string>> = [
          ["timeline"],
          ["transactions"],
          ["unattributed"],
          ["actions"],
          ["history", "invoices", "66"],
          ["as-of", "invoices", "66", "2999-01-01"],
          ["transaction", made?.["id"] ?? ""],
          ["actor", "user", evil],
          ["correlation", evil],
          ["feed"],
          ["feed", "--ndjson"]
        ]
        const shown = yield* Effect.forEach(
          reads.flatMap((args) => (args.includes("--ndjson") ? [args] : [args, [...args, "--json"]])),
          (args) => Effect.map(Cli.text(args, { url }), (text) => ({ args, text })),
          { concurrency: 4 }
        )
        for (const { args, text } of shown) {
          // oxlint-disable-next-line no-control-regex -- it is about them
          expect(text, args.join(" ")).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/)
          expect(text, args.join(" ")).not.toMatch(/^next/m)
        }
        const human = shown.find(({ args }) => args[0] === "transaction" && args.length === 2)?.text ?? ""
        expect(human).toContain(String.raw`action \u{1b}[31mred\u{9b}1m\u{202e}back\nnext\u{7}` + "\n")
        const exact = yield* Cli.json(["actions", "--limit", "1"], { url })
        expect(exact).toMatchObject({ items: [{ name: evil, reason: evil }] })
      })
    )

    it.effect("shows what changed in a long value, in 80 columns", () =>
      Effect.gen(function* () {
        const { query, url } = yield* Host
        yield* query(`
          create table contracts (id int primary key, body text, terms jsonb);
          select 1`)
        yield* Cli.text(["capture", "apply", "--table", "contracts"], { url })
        yield* query(`
          insert into contracts
          select 1, repeat('long ', 60) || 'old part' || repeat(' tail', 60),
            jsonb_build_object('a', repeat('x', 300), 'n', 1, 'z', repeat('y', 300));
          update contracts set body = replace(body, 'old part', 'new part'), terms = terms || '{"n": 2}'`)
        const human = yield* Cli.text(["history", "contracts", "1", "--limit", "1"], { url })
        short(human)
        expect(human).toMatch(/^ {2}body:\n {4}- …long long .*old part tail.*…\n {4}\+ …long long .*new part tail.*…$/m)
        expect(human).toMatch(/^ {2}terms:\n {4}- …x*","n":1,"z":"y*…\n {4}\+ …x*","n":2,"z":"y*…$/m)
      })
    )
  })
})
